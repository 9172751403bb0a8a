//! Warnings as facts, which are folded like holds. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::commands::Commands;
use super::folded::{Fact, NAMED, TellsFact, listed};
use crate::model::ObjectId;
use crate::plan::Warning;

/// A warning, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarningView {
    /// The kind of warning, for programs.
    pub code: String,
    /// The warning, in one sentence.
    pub message: String,
    /// The objects that it is about.
    #[serde(skip)]
    objects: BTreeSet<ObjectId>,
}

impl WarningView {
    /// Makes the shown form of a warning. `commands` completes the commands in it.
    pub fn new(Warning { code, message, objects }: &Warning, commands: &Commands) -> Self {
        Self { code: code.clone(), message: commands.complete(message), objects: objects.clone() }
    }
}

/// A warning, with what ends it apart from its cause.
#[derive(Debug, PartialEq, Eq)]
pub struct ToldWarning<'a> {
    code: &'a str,
    message: &'a str,
    fix: &'a str,
    /// `volume/a, volume/b`
    objects: String,
}

/// What begins the fix in the message of a warning.
const FIX: &str = "; fix: ";

impl<'a> ToldWarning<'a> {
    /// Divides a warning. Its fix is empty if it names none.
    pub fn of(WarningView { code, message, objects }: &'a WarningView) -> Self {
        let (message, fix) = message.split_once(FIX).unwrap_or((message, ""));
        // It may be about more objects than it names.
        let is_named = |object: &&ObjectId| {
            message.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == object.name.as_str())
        };
        let named: Vec<&ObjectId> = objects.iter().filter(is_named).collect();
        let objects = if named.is_empty() { objects.iter().collect() } else { named };
        Self { code, message, fix, objects: listed(objects.into_iter().map(ObjectId::to_string), NAMED) }
    }
}

impl TellsFact for ToldWarning<'_> {
    fn fact(&self) -> Fact<'_> {
        match self.objects.contains(", ") {
            true => Fact { name: &self.objects, ..Fact::new("", self.code, self.message, self.fix) },
            false => Fact::new(&self.objects, self.code, self.message, self.fix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::model::fixtures::name;
    use crate::report::fold;

    fn renamed(old: &str, new: &str, fate: &str) -> WarningView {
        let message = format!(
            "volume {old} {fate}, and volume {new} begins empty; fix: if {old} was renamed, write `renamedFrom: {old}` under \
             `metadata` of volume {new} (specs/{new}.yaml:3:11)"
        );
        let objects = [old, new].map(|object| ObjectId::new(Kind::Volume, &name(object))).into();
        WarningView { code: "LooksLikeRename".to_owned(), message, objects }
    }

    fn shown(warnings: &[WarningView]) -> Vec<String> {
        let told: Vec<ToldWarning<'_>> = warnings.iter().map(ToldWarning::of).collect();
        let lines = fold(&told).into_iter().flat_map(|entry| {
            let causes = entry.causes.iter().map(|cause| cause.message.to_string());
            let names = entry.lines(false).0.into_iter().map(|line| line.text).filter(|_| !entry.is_single());
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
                "volume/a, volume/b (`renamedFrom: a`, specs/b.yaml:3:11)",
                "volume/c, volume/d-1 (`renamedFrom: c`, specs/d-1.yaml:3:11)",
                "volume/e, volume/f (`renamedFrom: e`, specs/f.yaml:3:11)",
            ]
        );
    }

    #[test]
    fn a_warning_of_its_own_stays_as_it_is() {
        let other = WarningView {
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
