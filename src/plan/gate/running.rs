//! Steps of earlier passes that still run: what they make, change or copy from is not changed meanwhile.

use std::collections::BTreeMap;

use crate::model::{Step, Uid};

use crate::plan::draft::Draft;
use crate::plan::inputs::RunningStep;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;

use super::object_hold::hold_objects;

/// The fix for a step that a running one forbids.
pub const RUNNING_FIX: &str = "wait until it ends: `kiln status` shows how far it is";

/// Holds every step that a running one forbids, with all steps of its object, and every step that waits for one.
pub(in crate::plan) fn hold_running(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    if inventory.inputs.running.is_empty() {
        return;
    }
    let parent = |uid| inventory.by_uid.get(&uid).and_then(|object| object.object.parent);
    let mut by_object: BTreeMap<Uid, (String, Vec<usize>)> = BTreeMap::new();
    let specs = &inventory.reading().specs;
    let forbids = |running: &RunningStep, step: &Step| {
        let (old, new) = (&running.step.identity, &step.identity);
        let renamed_from = || specs.document(new.kind, &new.name)?.renamed_from.as_ref();
        if step.action.is_first() && old.kind == new.kind && renamed_from() == Some(&old.name) {
            return Some(format!("{} {}, its old name, is still being made", old.kind.as_lower(), old.name));
        }
        running.forbids(step, parent)
    };
    for (_, step) in draft.live_steps() {
        if let Some(message) = inventory.inputs.running.iter().find_map(|running| forbids(running, step)) {
            by_object.entry(step.identity.uid).or_insert((message, Vec::new()));
        }
    }
    for (index, step) in draft.live_steps() {
        by_object.entry(step.identity.uid).and_modify(|(_, indexes)| indexes.push(index));
    }
    let held = by_object
        .into_values()
        .map(|(message, indexes)| (indexes, HeldReason::Progressing, message, RUNNING_FIX.to_owned()));
    hold_objects(draft, held);
}
