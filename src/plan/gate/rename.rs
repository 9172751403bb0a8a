//! Likely renames: a volume is no longer declared, and a similar one is created empty.
//!
//! Only a document can declare a rename (`renamedFrom`). Without it Kiln creates an empty volume and removes the old one, so the
//! plan shows both together, before either runs:
//!
//! - while the removal waits for the confirmation read, the new volume waits with it;
//! - if the old volume would be destroyed and exactly one volume could be its successor, both are held until a person decides. It waits
//!   also for several, if none of them can be created yet;
//! - while the destruction is held for another reason, the new volume waits with it: once that was written to, the old one would be
//!   destroyed without a question;
//! - in every other case the plan warns: `renamedFrom` can still bring the old volume back.
//!
//! Snapshots are not compared: one removed while another is created is a rotation.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};

use crate::model::{Action, Kind, Name, ObjectId, PlacedField, Step, Uid};

use crate::plan::draft::Draft;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;

use super::successor::{PossibleRename, SHOWN, Successor, SuccessorState, is_to_be_destroyed, possible_renames};

/// Holds every new volume that resembles one whose removal waits for the confirmation read.
pub(in crate::plan) fn hold_until_confirmation_read<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    if !inventory.reading().unconfirmed {
        return;
    }
    for renamed in possible_renames(inventory, draft) {
        let old = renamed.name;
        for successor in &renamed.successors {
            let SuccessorState::New(step) = successor.state else { continue };
            let message = format!(
                "volume {old}, {}, is missing from the manifests since the last read only: the new volume waits for the \
                 confirmation read with it",
                successor.likeness.of_old()
            );
            let rename = rename_fix(inventory, old, std::slice::from_ref(successor));
            let fix = format!("{rename}; otherwise wait: the daemon reads again within seconds");
            draft.hold_step(step, HeldReason::LooksLikeRename, message, &fix);
        }
    }
}

fn destroyed_volumes(draft: &Draft<'_>) -> BTreeSet<Uid> {
    let destroys = |step: &Step| step.action == Action::Destroy && step.identity.kind == Kind::Volume;
    draft.live_steps().filter(|(_, step)| destroys(step)).map(|(_, step)| step.identity.uid).collect()
}

/// Returns the volumes that would be destroyed and may have been renamed, by uid.
pub(super) fn renamed_and_destroyed<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
) -> HashMap<Uid, PossibleRename<'a>> {
    let destroyed = destroyed_volumes(draft);
    if destroyed.is_empty() {
        return HashMap::new();
    }
    let all = possible_renames(inventory, draft).into_iter().map(|renamed| (renamed.old.uid(), renamed));
    all.filter(|(uid, renamed)| destroyed.contains(uid) && !renamed.likely().is_empty()).collect()
}

/// Holds the destruction of a volume that may have been renamed, and the creation of its only possible successor.
pub(super) fn hold_renamed<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    destroy: usize,
    renamed: &PossibleRename<'a>,
    approve: &str,
) {
    let likely = renamed.likely();
    let [successor, ..] = likely else { return };
    let (old, new) = (renamed.name, successor.name);
    let rename = rename_fix(inventory, old, likely);
    let volumes = if likely.len() == 1 { "volume" } else { "volumes" };
    let begin_empty = format!(
        "volume {old}, {}, would be destroyed, and the new {volumes} {} would begin empty: this may be a rename",
        successor.likeness.of_old(),
        listed(likely)
    );
    let message = match successor.state {
        SuccessorState::New(step) => {
            // An approval for the new volume alone would create it empty: it is given for the old one. Both have the same message, so
            // that reports name the pair once.
            let fix = format!("{rename}; otherwise {new} waits for the decision about {old}: `kiln plan volume/{old}`");
            draft.hold_step(step, HeldReason::LooksLikeRename, begin_empty.clone(), &fix);
            begin_empty
        }
        SuccessorState::Held => begin_empty,
        SuccessorState::Unused => format!(
            "it would be destroyed, and volume {new}, which {} and was never written to, stays: this may be a rename",
            successor.likeness.of_new()
        ),
    };
    let fix = format!("{rename}; to destroy {old}, {approve}");
    draft.hold_step(destroy, HeldReason::LooksLikeRename, message, &fix);
    draft.withdrawn.retain(|object| object.uid() != renamed.old.uid());
}

/// Holds every new volume that may be a renamed one whose destruction is held.
pub(in crate::plan) fn hold_until_old_is_decided<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    let destroyed = destroyed_volumes(draft);
    let mut told = BTreeSet::new();
    for renamed in possible_renames(inventory, draft) {
        let is_held = is_to_be_destroyed(&renamed.old) && !destroyed.contains(&renamed.old.uid());
        let [successor] = renamed.likely() else { continue };
        let (SuccessorState::New(step), true) = (successor.state, is_held) else { continue };
        let (old, new) = (renamed.name, successor.name);
        let message = format!(
            "it would begin empty, while the destruction of volume {old}, {}, is held: this may be a rename",
            successor.likeness.of_old()
        );
        let rename = rename_fix(inventory, old, renamed.likely());
        let fix = format!(
            "{rename}; otherwise {new} waits for the decision about {old}: `kiln plan volume/{old}`; to have both, declare {old} again"
        );
        draft.hold_step(step, HeldReason::LooksLikeRename, message, &fix);
        told.insert(renamed.old.uid());
    }
    draft.withdrawn.retain(|object| !told.contains(&object.uid()));
}

/// Warns of every volume that is removed or released and may have been renamed.
pub(in crate::plan) fn warn_of_renames<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    // While a manifest is invalid nothing is removed, and a withdrawn volume may only be unreadable.
    if inventory.reading().broken {
        return;
    }
    let renamed = possible_renames(inventory, draft);
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
    let alike = renamed.closest();
    let has = alike[0].likeness.of_new();
    let rename = rename_fix(inventory, old, alike);
    match alike {
        [Successor { name, state, .. }] => {
            let empty = if *state == SuccessorState::Unused { "was never written to" } else { "begins empty" };
            format!("volume {old} is no longer declared, and volume {name}, which {has}, {empty}; fix: {rename}")
        }
        _ => format!(
            "volume {old} is no longer declared, and the new volumes {}, each of which {has}, begin empty; fix: {rename}",
            listed(alike)
        ),
    }
}

/// Returns the names of volumes as a part of a sentence.
fn listed(volumes: &[Successor<'_>]) -> String {
    let mut names: Vec<&str> = volumes.iter().take(SHOWN).map(|one| one.name.as_str()).collect();
    names.extend((volumes.len() > SHOWN).then_some("others"));
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last.to_owned() } else { format!("{} and {last}", names.join(", ")) }
}

/// Returns what to write, and where, if a volume was renamed to one of these.
fn rename_fix(inventory: &Inventory<'_>, old: &Name, new: &[Successor<'_>]) -> String {
    let of = match new {
        [Successor { name, .. }] => {
            format!("volume {name}{}", inventory.place_of_field(Kind::Volume, name, PlacedField::Metadata))
        }
        _ => "the volume that it became".to_owned(),
    };
    format!("if {old} was renamed, write `renamedFrom: {old}` under `metadata` of {of}")
}
