//! Backends whose writer lock another process holds.

use crate::plan::draft::Draft;
use crate::plan::hold::OTHER_WRITER_FIX;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;

/// Holds every step on a backend whose writer lock another process holds.
pub(in crate::plan) fn hold_locked(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    for index in 0..draft.steps.len() {
        let usable = draft.steps[index].backend().and_then(|backend| inventory.usable(backend));
        let Some(by) = usable.and_then(|usable| usable.locked_by) else { continue };
        draft.hold_step(index, HeldReason::OtherWriter, by.to_owned(), OTHER_WRITER_FIX);
    }
}
