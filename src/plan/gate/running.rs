//! Steps of earlier passes that still run: what they make, change or copy from is not changed meanwhile.

use std::collections::BTreeMap;

use crate::model::Uid;

use crate::plan::draft::Draft;
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
    for (_, step) in draft.live_steps() {
        if let Some(message) = inventory.inputs.running.iter().find_map(|running| running.forbids(step, parent)) {
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
