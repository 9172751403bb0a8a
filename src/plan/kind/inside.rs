//! Steps on snapshots that are inside of their volumes.

use foldhash::{HashMap, HashMapExt};

use crate::model::{Action, NativeName, Uid};

use crate::plan::draft::Draft;
use crate::plan::inventory::Inventory;

/// Makes each step on a snapshot inside of a volume, and each step that reads one, wait for the rename of that volume, and address the
/// snapshot by the volume's new native name.
pub(in crate::plan) fn follow_renames(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    let mut renamed: HashMap<Uid, (usize, NativeName)> = HashMap::new();
    for (index, step) in draft.live_steps() {
        if let Action::Rename { from, .. } = &step.action
            && *from != step.native
        {
            renamed.insert(step.identity.uid, (index, step.native.clone()));
        }
    }
    if renamed.is_empty() {
        return;
    }
    let renamed_volume = |snapshot: Uid| {
        let snapshot = inventory.by_uid.get(&snapshot).filter(|object| object.parent_volume.is_some())?;
        renamed.get(&snapshot.tags.volume?)
    };
    for index in 0..draft.steps.len() {
        let step = &mut draft.steps[index];
        let own = renamed_volume(step.identity.uid);
        if let Some((_, volume)) = own {
            step.parent_volume = Some(volume.clone());
        }
        let read = step.action.read_mut().and_then(|object| {
            let (renaming, volume) = renamed_volume(object.uid)?;
            object.parent_volume = Some(volume.clone());
            Some(*renaming)
        });
        for renaming in [own.map(|(renaming, _)| *renaming), read].into_iter().flatten() {
            // A direct edge, by which the lint finds the old address.
            if !draft.steps[index].after.contains(&renaming) && !draft.waits_for(renaming, index) {
                draft.wait(index, renaming);
            }
        }
    }
}
