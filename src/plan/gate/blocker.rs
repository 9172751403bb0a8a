//! Blockers: an object that something else on its backend keeps from being changed has no step.

use std::collections::BTreeMap;

use crate::model::{Action, Address, Blocker, Object, Place, Step, Uid};

use crate::plan::draft::Draft;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;

use super::object_hold::hold_objects;

/// Holds every step that would change a blocked object, and every step that waits for one. A blocked object is still copied.
pub(in crate::plan) fn hold_blocked(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    let observed = inventory.usable_backends().flat_map(|usable| &usable.observed.objects);
    if observed.into_iter().all(|object| object.blocker.is_none()) {
        return;
    }
    let mut by_object: BTreeMap<Uid, (String, &Blocker, Vec<usize>)> = BTreeMap::new();
    for (_, step) in draft.live_steps() {
        let changed = changed_by(inventory, step);
        let Some((object, blocker)) = changed.into_iter().find_map(|o| Some((o, o.blocker.as_deref()?))) else {
            continue;
        };
        let message = match object.uid() {
            Some(uid) if uid != step.identity.uid => {
                format!("{} cannot be changed: {}", object.native, blocker.message)
            }
            _ => blocker.message.clone(),
        };
        by_object.entry(step.identity.uid).or_insert((message, blocker, Vec::new()));
    }
    // With one step of an object, all of them are held.
    for (index, step) in draft.live_steps() {
        by_object.entry(step.identity.uid).and_modify(|(_, _, indexes)| indexes.push(index));
    }
    let held = by_object
        .into_values()
        .map(|(message, blocker, indexes)| (indexes, HeldReason::Blocked, message, blocker.fix().to_owned()));
    hold_objects(draft, held);
}

/// Returns the observed objects that a step changes: its own, the unfinished one that a creation replaces, the volume that it is inside of,
/// the snapshots that go along, and clones that it makes independent.
fn changed_by<'a>(inventory: &Inventory<'a>, step: &Step) -> Vec<&'a Object> {
    let of = |uid| inventory.by_uid.get(&uid).map(|object| object.object);
    let usable = step.backend().and_then(|backend| inventory.usable(backend));
    let find = |at: Address| usable?.find(&at, |place| place == Place::Live);
    let own = of(step.identity.uid).or_else(|| find(step.address_before()));
    let left = step.address_of_unfinished().and_then(|at| usable?.find(&at, |place| place == Place::Temporary));
    let volume = step.parent_volume.as_ref().and_then(|volume| find(Address::flat(volume)));
    let inner = step.action.with().iter().filter_map(|inner| of(inner.identity.uid));
    let is_detach = step.action == Action::Detach;
    let objects = usable.into_iter().flat_map(|usable| &usable.observed.objects).filter(|_| is_detach);
    let clones = objects.filter(|object| object.parent == Some(step.identity.uid));
    own.into_iter().chain(left).chain(volume).chain(inner).chain(clones).collect()
}
