//! Likely renames: a volume is no longer declared, and a similar one is created empty.
//!
//! Only a document can declare a rename (`renamedFrom`). Without it Kiln creates an empty volume and removes the old one, so the
//! plan shows both together, before either runs:
//!
//! - while the removal waits for the confirmation read, the new volume waits with it;
//! - if the old volume would be destroyed and exactly one volume could be its successor, both are held until a person decides;
//! - in every other case the plan warns: `renamedFrom` can still bring the old volume back.
//!
//! Snapshots are not compared: one removed while another is created is a rotation.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};

use crate::model::{Action, Kind, Name, ObjectId, PlacedField, Step, Uid};

use crate::plan::draft::Draft;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;

use super::successor::{Candidates, PossibleRename, SHOWN, Successor, SuccessorState, possible_renames};

/// Holds every new volume that resembles one whose removal waits for the confirmation read.
pub(in crate::plan) fn hold_until_confirmation_read<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    if !inventory.reading().unconfirmed {
        return;
    }
    for renamed in possible_renames(inventory, draft, Candidates::New) {
        let old = renamed.name;
        for Successor { name, likeness, state } in renamed.successors {
            let SuccessorState::New(step) = state else { continue };
            let message = format!(
                "volume {old}, {}, is missing from the manifests since the last read only: the new volume waits for the \
                 confirmation read with it",
                likeness.of_old()
            );
            let fix =
                format!("{}; otherwise wait: the daemon reads again within seconds", rename_fix(inventory, old, name));
            draft.hold_step(step, HeldReason::LooksLikeRename, message, &fix);
        }
    }
}

/// Returns the volumes that would be destroyed and may have been renamed, by uid.
pub(super) fn renamed_and_destroyed<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
) -> HashMap<Uid, PossibleRename<'a>> {
    let destroyed = |step: &Step| step.action == Action::Destroy && step.identity.kind == Kind::Volume;
    let destroyed: BTreeSet<Uid> =
        draft.live_steps().filter(|(_, step)| destroyed(step)).map(|(_, step)| step.identity.uid).collect();
    if destroyed.is_empty() {
        return HashMap::new();
    }
    let all = possible_renames(inventory, draft, Candidates::NewAndUnused)
        .into_iter()
        .map(|renamed| (renamed.old.uid(), renamed));
    all.filter(|(uid, renamed)| destroyed.contains(uid) && renamed.only_successor().is_some()).collect()
}

/// Holds the destruction of a volume that may have been renamed, and the creation of its possible successor.
pub(super) fn hold_renamed<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    destroy: usize,
    renamed: &PossibleRename<'a>,
    approve: &str,
) {
    let Some(successor) = renamed.only_successor() else { return };
    let (old, new) = (renamed.name, successor.name);
    let rename = rename_fix(inventory, old, new);
    let begins_empty = format!(
        "volume {old}, {}, would be destroyed, and the new volume {new} would begin empty: this may be a rename",
        successor.likeness.of_old()
    );
    let message = match successor.state {
        SuccessorState::New(step) => {
            // An approval for the new volume alone would create it empty: it is given for the old one. Both have the same message, so
            // that reports name the pair once.
            let fix = format!("{rename}; otherwise {new} waits for the decision about {old}: `kiln plan volume/{old}`");
            draft.hold_step(step, HeldReason::LooksLikeRename, begins_empty.clone(), &fix);
            begins_empty
        }
        SuccessorState::Held => begins_empty,
        SuccessorState::Unused => format!(
            "it would be destroyed, and volume {new}, which {} and was never written to, stays: this may be a rename",
            successor.likeness.of_new()
        ),
    };
    let fix = format!("{rename}; to destroy {old}, {approve}");
    draft.hold_step(destroy, HeldReason::LooksLikeRename, message, &fix);
    draft.withdrawn.retain(|object| object.uid() != renamed.old.uid());
}

/// Warns of every volume that is removed or released and may have been renamed.
pub(in crate::plan) fn warn_of_renames<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    // While a manifest is invalid nothing is removed, and a withdrawn volume may only be unreadable.
    if inventory.reading().broken {
        return;
    }
    let renamed = possible_renames(inventory, draft, Candidates::NewAndUnused);
    let last: HashMap<Uid, &Action> = draft.live_steps().map(|(_, step)| (step.identity.uid, &step.action)).collect();
    let is_told = |renamed: &&PossibleRename<'a>| {
        // Any unused volume may be meant; `renamedFrom` can still be written when the old one turns out to be needed.
        let is_destroyed = matches!(last.get(&renamed.old.uid()), Some(Action::Destroy));
        is_destroyed || renamed.successors.iter().any(|one| matches!(one.state, SuccessorState::New(_)))
    };
    // What becomes of the old volume is in its step: a run that is limited to the new one does not make it.
    let told: Vec<&PossibleRename<'a>> = renamed.iter().filter(is_told).collect();
    for renamed in told {
        let names = renamed.successors.iter().map(|one| one.name).chain([renamed.name]);
        let objects = names.map(|name| ObjectId::new(Kind::Volume, name)).collect();
        draft.warn("LooksLikeRename", rename_warning(inventory, renamed), objects);
    }
}

fn rename_warning(inventory: &Inventory<'_>, renamed: &PossibleRename<'_>) -> String {
    let old = renamed.name;
    let first = renamed.successors[0].likeness;
    let alike: Vec<&Successor<'_>> = renamed.successors.iter().filter(|one| one.likeness == first).collect();
    let empty = if alike[0].state == SuccessorState::Unused { "was never written to" } else { "begins empty" };
    if let [one] = alike[..] {
        let (new, has) = (one.name, first.of_new());
        return format!(
            "volume {old} is no longer declared, and volume {new}, which {has}, {empty}; fix: {}",
            rename_fix(inventory, old, new)
        );
    }
    let mut names: Vec<&str> = alike.iter().take(SHOWN).map(|one| one.name.as_str()).collect();
    names.extend((alike.len() > SHOWN).then_some("others"));
    let last = names.pop().unwrap_or_default();
    format!(
        "volume {old} is no longer declared, and the new volumes {} and {last}, each of which {}, begin empty; fix: if {old} was renamed, write \
         `renamedFrom: {old}` under `metadata` of the volume that it became",
        names.join(", "),
        first.of_new()
    )
}

/// Returns what to write, and where, if a volume was renamed.
fn rename_fix(inventory: &Inventory<'_>, old: &Name, new: &Name) -> String {
    let place = inventory.place_of_field(Kind::Volume, new, PlacedField::Metadata);
    format!("if {old} was renamed, write `renamedFrom: {old}` under `metadata` of volume {new}{place}")
}
