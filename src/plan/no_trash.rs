//! Warns of new objects that their backend cannot move to the trash when their documents are removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, Kind, Name, ObjectId, OnRemove, TrashAbility};

use super::draft::Draft;
use super::inventory::Inventory;

/// How many objects a warning names.
const SHOWN: usize = 3;

/// Warns, once for each backend, of the new objects whose removal will be held because there is no trash for them.
pub(super) fn warn_without_trash(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    let mut new: BTreeMap<&Name, BTreeSet<ObjectId>> = BTreeMap::new();
    for usable in inventory.usable_backends() {
        let takes = |kind| usable.capabilities.trash.takes(kind);
        if takes(Kind::Volume) && takes(Kind::Snapshot) {
            continue;
        }
        for (_, step) in draft.live_steps().filter(|(_, step)| step.backend() == Some(usable.name)) {
            let (Action::Create { tags, .. } | Action::Snapshot { tags, .. } | Action::Adopt { tags, .. }) =
                &step.action
            else {
                continue;
            };
            if !takes(step.identity.kind) && matches!(tags.on_remove(), OnRemove::Trash | OnRemove::Detach) {
                new.entry(usable.name).or_default().insert(step.identity.id());
            }
        }
    }
    for (backend, objects) in new {
        let has = match inventory.usable(backend).map(|usable| usable.capabilities.trash) {
            Some(TrashAbility::Volumes) => "takes snapshots to the trash only inside of their volumes",
            Some(TrashAbility::None | TrashAbility::All) | None => "has no trash",
        };
        let more = objects.len().saturating_sub(SHOWN);
        let mut named = objects.iter().take(SHOWN).map(ObjectId::to_string).collect::<Vec<_>>().join(", ");
        if more > 0 {
            named.push_str(&format!(" and {more} more"));
        }
        let message = format!(
            "backend {backend} {has}: removing the document of {named} will be held; fix: write `onRemove: Delete` or `onRemove: Retain`, \
             or a `defaults.onRemove` in the Stack"
        );
        draft.warn("NoTrash", message, objects);
    }
}
