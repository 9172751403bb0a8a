//! Warnings as facts, which are folded like holds. Pure.

use super::folded::{Fact, TellsFact};
use crate::plan::Warning;

/// A warning, with what ends it apart from its cause.
#[derive(Debug, PartialEq, Eq)]
pub struct ToldWarning<'a> {
    code: &'a str,
    message: &'a str,
    fix: &'a str,
}

/// What begins the fix in the message of a warning.
const FIX: &str = "; fix: ";

impl<'a> ToldWarning<'a> {
    /// Divides a warning. Its fix is empty if it names none.
    pub fn of(Warning { code, message, objects: _ }: &'a Warning) -> Self {
        let (message, fix) = message.split_once(FIX).unwrap_or((message, ""));
        Self { code, message, fix }
    }
}

impl TellsFact for ToldWarning<'_> {
    fn fact(&self) -> Fact<'_> {
        Fact::new("", self.code, self.message, self.fix)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::fold;

    fn renamed(old: &str, new: &str, fate: &str) -> Warning {
        let message = format!(
            "volume {old} {fate}, and volume {new} begins empty; fix: if {old} was renamed, write `renamedFrom: {old}` under \
             `metadata` of volume {new} (specs/{new}.yaml:3:11)"
        );
        Warning { code: "LooksLikeRename".to_owned(), message, objects: BTreeSet::new() }
    }

    fn shown(warnings: &[Warning]) -> Vec<String> {
        let told: Vec<ToldWarning<'_>> = warnings.iter().map(ToldWarning::of).collect();
        let lines = fold(&told).into_iter().flat_map(|entry| {
            let causes = entry.causes.iter().map(|cause| cause.message.to_string());
            let names = entry.lines(false).0.into_iter().map(|line| line.text);
            causes.chain([entry.fix.to_string()]).chain(names).filter(|text| !text.is_empty()).collect::<Vec<_>>()
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
                "volume <old> goes to the trash, and volume <new> begins empty",
                "if <old> was renamed, write `renamedFrom: <old>` under `metadata` of volume <new>",
                "`renamedFrom: a`, <new> b, specs/b.yaml:3:11",
                "`renamedFrom: c`, <new> d-1, specs/d-1.yaml:3:11",
                "`renamedFrom: e`, <new> f, specs/f.yaml:3:11",
            ]
        );
    }

    #[test]
    fn a_warning_of_its_own_stays_as_it_is() {
        let other = Warning {
            code: "ApprovalUnmatched".to_owned(),
            message: "approval 12ab matches nothing".to_owned(),
            objects: BTreeSet::new(),
        };
        assert_eq!(
            shown(&[renamed("a", "b", "is released"), other]),
            [
                "volume a is released, and volume b begins empty",
                "if a was renamed, write `renamedFrom: a` under `metadata` of volume b (specs/b.yaml:3:11)",
                "approval 12ab matches nothing",
            ]
        );
    }
}
