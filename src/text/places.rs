//! Places of documents in texts.

use std::borrow::Cow;

use crate::model::SourcePlace;

/// Returns a text without the places of documents that follow what is to be written there: ` (specs/db.yaml:3:1)`. Texts about several
/// objects that are equal without them say the same.
pub fn without_places(text: &str) -> Cow<'_, str> {
    split_places(text).0
}

/// Returns a text without the places of documents, and the places: `specs/db.yaml:3:1`.
pub fn split_places(text: &str) -> (Cow<'_, str>, Vec<&str>) {
    let mut out = String::new();
    let mut places = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (") {
        out.push_str(before);
        rest = match after.split_once(')') {
            Some((inside, behind)) if SourcePlace::parse(inside).is_some() => {
                places.push(inside);
                behind
            }
            _ => {
                out.push_str(" (");
                after
            }
        };
    }
    match places.is_empty() {
        true => (Cow::Borrowed(text), places),
        false => (Cow::Owned(out + rest), places),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_left_out_and_other_parentheses_stay() {
        for (text, without) in [
            ("write `size: 2Gi` (specs/db.yaml:3:1), or less", "write `size: 2Gi`, or less"),
            ("remove one: fast (a.yaml:1:1), slow (b c.yaml:20:1)", "remove one: fast, slow"),
            ("free space (`df -i`) there", "free space (`df -i`) there"),
            ("at (12:30) and (a.yaml:1:1)", "at (12:30) and"),
            ("no place", "no place"),
            ("open (", "open ("),
        ] {
            assert_eq!(without_places(text), without);
        }
        assert_eq!(split_places("one: fast (a.yaml:1:1), slow (b c.yaml:20:1)").1, ["a.yaml:1:1", "b c.yaml:20:1"]);
    }
}
