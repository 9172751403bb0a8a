//! Warnings that differ only by two names are told once, with the names below. Pure.

use std::borrow::Cow;

use crate::plan::Warning;
use crate::text::split_places;

/// A warning, or several of one code whose messages differ only by two names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ToldWarning<'a> {
    /// The kind of warning.
    pub(super) code: &'a str,
    /// The cause. Of several warnings, `OLD` and `NEW` stand for the names.
    pub(super) message: String,
    /// What to write; empty if the warning names no fix.
    pub(super) fix: String,
    /// Of several warnings, the names and places of each: `OLD db, NEW database (specs/database.yaml:3:11)`.
    pub(super) names: Vec<String>,
}

/// What begins the fix in the message of a warning.
const FIX: &str = "; fix: ";

/// Warnings that are told together.
struct Group<'a> {
    first: &'a Warning,
    /// The message of the first one, without places.
    text: Cow<'a, str>,
    /// The names in it that are others in the other ones; none while there is no other one.
    names: Option<[String; 2]>,
    lines: Vec<String>,
}

/// Folds warnings. They keep the order in which they first occur.
pub(super) fn told(warnings: &[Warning]) -> Vec<ToldWarning<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for warning in warnings {
        let (text, places) = split_places(&warning.message);
        let line = |[old, new]: [&str; 2], places: &[&str]| match places {
            [] => format!("OLD {old}, NEW {new}"),
            places => format!("OLD {old}, NEW {new} ({})", places.join(", ")),
        };
        let joined = groups.iter_mut().filter(|group| group.first.code == warning.code).any(|group| {
            let Some([(old, old_here), (new, new_here)]) = other_names(&group.text, &text) else { return false };
            let names = group.names.get_or_insert_with(|| {
                group.lines = vec![line([old, new], &split_places(&group.first.message).1)];
                [old.to_owned(), new.to_owned()]
            });
            let is_alike = names[0] == old && names[1] == new;
            if is_alike {
                group.lines.push(line([old_here, new_here], &places));
            }
            is_alike
        });
        if !joined {
            groups.push(Group { first: warning, text, names: None, lines: Vec::new() });
        }
    }
    groups.into_iter().map(Group::told).collect()
}

impl<'a> Group<'a> {
    fn told(self) -> ToldWarning<'a> {
        let message = match &self.names {
            None => self.first.message.clone(),
            Some([old, new]) => {
                let named = |part: &str| match part {
                    part if part == old => "OLD".to_owned(),
                    part if part == new => "NEW".to_owned(),
                    part => part.to_owned(),
                };
                parts(&self.text).into_iter().map(named).collect()
            }
        };
        let (message, fix) = match message.split_once(FIX) {
            Some((message, fix)) => (message.to_owned(), fix.to_owned()),
            None => (message, String::new()),
        };
        ToldWarning { code: &self.first.code, message, fix, names: self.lines }
    }
}

/// Returns the two words of a text in whose place another text has others, each with the other one. None if the texts differ by
/// more, or if one of these words also stands where they are the same.
fn other_names<'t>(text: &'t str, other: &'t str) -> Option<[(&'t str, &'t str); 2]> {
    let (here, there) = (parts(text), parts(other));
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for pair in here.iter().copied().zip(there.iter().copied()) {
        if pair.0 != pair.1 && !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let [old, new] = <[(&str, &str); 2]>::try_from(pairs).ok()?;
    let renamed = |part: &'t str| match part {
        part if part == old.0 => old.1,
        part if part == new.0 => new.1,
        part => part,
    };
    let is_exact = old.0 != new.0 && old.1 != new.1 && here.into_iter().map(renamed).eq(there);
    is_exact.then_some([old, new])
}

/// Splits a text into words, as names are written, and what is between them.
fn parts(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let split = text.split_inclusive(|c| !is_word(c)).flat_map(|part| {
        let word = part.trim_end_matches(|c| !is_word(c));
        [word, &part[word.len()..]]
    });
    split.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(old: &str, new: &str, fate: &str) -> Warning {
        let message = format!(
            "volume {old} {fate}, and volume {new} begins empty; fix: if {old} was renamed, write `renamedFrom: {old}` under \
             `metadata` of volume {new} (specs/{new}.yaml:3:11)"
        );
        Warning { code: "LooksLikeRename".to_owned(), message }
    }

    fn shown(warnings: &[Warning]) -> Vec<String> {
        let lines = told(warnings).into_iter().flat_map(|ToldWarning { message, fix, names, .. }| {
            [message, fix].into_iter().filter(|text| !text.is_empty()).chain(names)
        });
        lines.collect()
    }

    #[test]
    fn warnings_that_differ_by_two_names_are_one() {
        let trash = "goes to the trash";
        let alike = [renamed("a", "b", trash), renamed("c", "d-1", trash), renamed("e", "f", trash)];
        assert_eq!(
            shown(&alike),
            [
                "volume OLD goes to the trash, and volume NEW begins empty",
                "if OLD was renamed, write `renamedFrom: OLD` under `metadata` of volume NEW",
                "OLD a, NEW b (specs/b.yaml:3:11)",
                "OLD c, NEW d-1 (specs/d-1.yaml:3:11)",
                "OLD e, NEW f (specs/f.yaml:3:11)",
            ]
        );
    }

    #[test]
    fn a_warning_of_its_own_stays_as_it_is() {
        let other =
            Warning { code: "ApprovalUnmatched".to_owned(), message: "approval 12ab matches nothing".to_owned() };
        let warnings = [renamed("a", "b", "goes to the trash"), renamed("c", "d", "is released"), other];
        let shown = shown(&warnings);
        assert_eq!(shown.len(), 5, "{shown:?}");
        assert!(shown[1].ends_with("of volume b (specs/b.yaml:3:11)") && shown[3].ends_with("(specs/d.yaml:3:11)"));
        assert_eq!(shown[4], "approval 12ab matches nothing");
        // What NAME stands for must be clear.
        for (first, second) in
            [(("volume", "x"), ("a", "b")), (("x", "metadata"), ("a", "b")), (("a", "b"), ("c", "c"))]
        {
            let warnings = [first, second].map(|(old, new)| renamed(old, new, "is released"));
            let told = told(&warnings);
            assert_eq!(told.len(), 2, "{told:?}");
        }
    }
}
