//! Finds the word that was probably meant.

/// Returns the candidate that is closest to a typed word, if any is close enough.
pub fn closest<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let near = candidates.into_iter().filter_map(|candidate| Some((distance(typed, candidate)?, candidate)));
    near.min().map(|(_, candidate)| candidate)
}

/// Returns what is added to the message about an unknown word: `; did you mean db?`, or nothing.
pub fn did_you_mean<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    closest(typed, candidates).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
}

/// Returns how many letters of a typed word differ from a known one; `None` if it is no likely typing error. Case does not count.
pub fn distance(typed: &str, known: &str) -> Option<usize> {
    let (typed_len, known_len) = (typed.chars().count(), known.chars().count());
    // At most a third of the letters may differ, and one must be right; beyond that, most guesses are wrong.
    let most = (known_len.max(3) / 3).min(typed_len.saturating_sub(1));
    // The comparison takes time in the product of both lengths, so lengths that differ by more are not compared.
    let near = typed_len.abs_diff(known_len) <= most;
    let distance = near.then(|| strsim::osa_distance(&typed.to_lowercase(), &known.to_lowercase()))?;
    (distance <= most).then_some(distance)
}

/// Whether two names differ only in their numbers, like `web-1` and `web-11`: they are names of two objects, and no typing error.
pub fn differ_in_number(one: &str, other: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    let words =
        |name: &str| name.split(is_digit).filter(|word| !word.is_empty()).map(str::to_lowercase).collect::<Vec<_>>();
    one.contains(is_digit) && other.contains(is_digit) && words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_few_different_letters_resemble_each_other() {
        for (typed, known, expected) in [
            ("volumne", "volume", Some(1)),
            ("Volume", "volume", Some(0)),
            ("fats", "fast", Some(1)),
            ("db", "db2", Some(1)),
            ("db-copy-1", "db-copy-222", Some(3)),
            ("db-1", "web", None),
            ("volume", "vol", None),
            // A word of one letter resembles nothing.
            ("b", "db", None),
            ("a", "b", None),
        ] {
            assert_eq!(distance(typed, known), expected, "{typed} {known}");
        }
        assert_eq!(closest("postgrse", ["progress", "postgres", "db"]), Some("postgres"));
        assert_eq!(closest("grafana", ["postgres", "db"]), None);
    }

    #[test]
    fn names_with_other_numbers_are_no_typing_errors() {
        for (one, other, expected) in [
            ("e11", "e1", true),
            ("web-1", "web-02", true),
            ("web-1", "wbe-1", false),
            ("db", "db2", false),
            ("a1b", "a2c", false),
        ] {
            assert_eq!(differ_in_number(one, other), expected, "{one} {other}");
        }
    }
}
