//! Suspensions: a suspended object is not changed, and nothing is copied from it.

use std::collections::BTreeMap;

use crate::model::{Kind, Name, Suspension};

use crate::plan::draft::Draft;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;
use crate::text::rfc3339;

use super::object_hold::hold_objects;

/// Returns the suspension of an object: its own, else the one of everything.
pub fn suspension_of<'a>(suspended: &'a [Suspension], kind: Kind, name: &Name) -> Option<&'a Suspension> {
    let covering = || suspended.iter().filter(|suspension| suspension.covers(kind, name));
    covering().find(|suspension| suspension.object.is_some()).or_else(|| covering().next())
}

/// Returns the command that ends a suspension.
pub fn resume(suspension: &Suspension) -> String {
    match &suspension.object {
        Some(object) => format!("`kiln resume {object}`"),
        None => "`kiln resume`".to_owned(),
    }
}

/// Returns a suspension as a sentence: `it is suspended until 2026-11-27T10:00:00Z: the disk is being exchanged`.
pub fn suspended_because(suspension: &Suspension) -> String {
    let what = if suspension.object.is_some() { "it is" } else { "everything is" };
    let until = suspension.until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
    format!("{what} suspended{until}: {}", suspension.reason)
}

/// Holds every step on a suspended object, every step that waits for one, and every step that would read one.
pub(in crate::plan) fn hold_suspended(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    let suspended = inventory.inputs.suspended;
    if suspended.is_empty() {
        return;
    }
    let mut by_object: BTreeMap<_, (&Suspension, Vec<usize>)> = BTreeMap::new();
    for (index, step) in draft.live_steps() {
        // An object that is being renamed is suspended under either name.
        let identity = &step.identity;
        let existing = inventory.by_uid.get(&identity.uid).map(|object| object.identity);
        let mut along = step.action.with().iter().map(|inner| &inner.identity);
        let suspension = suspension_of(suspended, identity.kind, &identity.name)
            .or_else(|| suspension_of(suspended, identity.kind, &existing?.name))
            .or_else(|| along.find_map(|inner| suspension_of(suspended, inner.kind, &inner.name)));
        if let Some(suspension) = suspension {
            by_object.entry(step.identity.uid).or_insert((suspension, Vec::new())).1.push(index);
        }
    }
    let held = by_object.into_values().map(|(suspension, indexes)| {
        (indexes, HeldReason::Suspended, suspended_because(suspension), resume(suspension))
    });
    hold_objects(draft, held);
    hold_readers_of_suspended(inventory, draft);
}

/// Holds every step that would copy from a suspended object: its content may be changing now.
fn hold_readers_of_suspended(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    for index in 0..draft.steps.len() {
        let source = draft.steps[index].action.reads().and_then(|(_, object)| inventory.by_uid.get(&object.uid));
        let Some(identity) = source.map(|object| object.identity) else { continue };
        let Some(suspension) = suspension_of(inventory.inputs.suspended, identity.kind, &identity.name) else {
            continue;
        };
        let message = format!(
            "it takes its content from {} {}, which is suspended: {}",
            identity.kind.as_lower(),
            identity.name,
            suspension.reason
        );
        draft.hold_step(index, HeldReason::DependencyHeld, message, &resume(suspension));
    }
}
