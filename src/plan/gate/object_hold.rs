//! Holds an object with all of its steps.

use std::collections::BTreeSet;

use crate::model::Action;

use crate::model::Step;
use crate::plan::draft::Draft;
use crate::plan::hold::{Subject, see_what_holds};
use crate::plan::types::HeldReason;

/// Drops the steps of each object, holds the object once, and holds every step that waits for them.
pub(super) fn hold_objects(
    draft: &mut Draft<'_>,
    objects: impl IntoIterator<Item = (Vec<usize>, HeldReason, String, String)>,
) {
    let mut waiting = BTreeSet::new();
    for (indexes, reason, message, fix) in objects {
        // For the last of its steps, which tells what would become of it.
        let steps = indexes.iter().map(|index| &draft.steps[*index]);
        let is_renamed = |step: &Step| matches!(step.action, Action::Rename { .. });
        let Some(step) = steps.min_by_key(|step| (!step.is_removal(), !is_renamed(step))) else { continue };
        let hold = Subject::of_step(step).hold(reason, message, fix);
        let (kind, name) = (step.identity.kind, step.identity.name.clone());
        draft.hold(hold);
        indexes.iter().for_each(|index| draft.hold_along(*index));
        waiting.extend(draft.drop_steps(&indexes).into_iter().map(|other| (other, kind, name.clone())));
    }
    for (index, kind, name) in waiting {
        let message = format!("it waits for {} {name}, which is held", kind.as_lower());
        draft.hold_step(index, HeldReason::DependencyHeld, message, &see_what_holds(kind, &name));
    }
}
