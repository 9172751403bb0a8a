//! Why something may be held at the end of a generated story, by rules that know nothing of the planner's ways.

use std::collections::BTreeMap;

use kiln::model::{Absence, Action, Capabilities, ClientVisibility, Kind, Object, Place, Reading, TrashAbility, Uid};
use kiln::plan::{HeldReason, Plan};

use super::generated::{Memory, is_destroyed_on_removal};
use super::host::{Host, prod};
use super::pool::Thing;

/// Checks every hold of a plan.
pub fn each_hold_has_its_cause(
    host: &Host,
    reading: &Reading,
    can: &Capabilities,
    memory: &Memory,
    plan: &Plan,
) -> Result<(), String> {
    let things: Vec<Thing> = host.things().into_iter().map(|(_, thing)| thing).collect();
    let mut there: BTreeMap<(Kind, String), &Thing> = BTreeMap::new();
    for thing in things.iter().filter(|thing| thing.object.place == Place::Live) {
        if let Some(identity) = &thing.object.identity {
            there.insert((identity.kind, identity.name.to_string()), thing);
        }
    }
    let ledger = host.pools["pool"].ledger(&prod());
    let done = host.done();
    let never_made = |uid: Uid| {
        let made = |action: &Action| matches!(action, Action::Create { .. } | Action::Snapshot { .. });
        !done.iter().any(|one| one.changed() && one.step.identity.uid == uid && made(&one.step.action))
    };
    for held in &plan.held {
        let object: Option<&Object> = there.get(&(held.kind, held.name.to_string())).map(|thing| &thing.object);
        let volume = reading.specs.volumes.get(held.name.as_str()).filter(|_| held.kind == Kind::Volume);
        let cause = match held.reason {
            // By its tag or, where a stranger or a crash got in between, by the ledger.
            HeldReason::Protected => {
                let entry = |uid| ledger.as_ref()?.complete.get(&uid);
                let entered = held.uid.and_then(entry).is_some_and(|entry| entry.protected);
                object.is_some_and(|object| object.tags.protected) || entered
            }
            HeldReason::ShrinkRefused => object.zip(volume).is_some_and(|(object, spec)| *spec.size < object.size),
            // A call that lied about a create, where the look afterwards failed too, is believed: rather missed than made twice.
            // And without the store nothing tells what the run that died with it had destroyed from what vanished.
            HeldReason::Lost => {
                let unknown_end = held.uid.is_some_and(|uid| memory.forgotten.contains(&uid));
                let lied = memory.lied && held.uid.is_some_and(never_made);
                memory.meddled || (object.is_none() && (unknown_end || lied))
            }
            // A call that lied about a rename, where the look afterwards failed too, is believed as well.
            HeldReason::Renamed => object.is_some() && (memory.lied || memory.meddled),
            // A destruction was begun, and its document came back.
            HeldReason::Unobserved => {
                let is_begun = |uid| ledger.as_ref().is_some_and(|ledger| ledger.destroying.contains(&uid));
                can.absence == Absence::ByLedger && held.uid.is_some_and(is_begun)
            }
            HeldReason::Immutable | HeldReason::HasDependents | HeldReason::RemovalLimit => object.is_some(),
            // A snapshot's source is its volume: missing only where that is made from the snapshot.
            HeldReason::SourceMissing => {
                let is_half = object.is_some_and(|object| object.tags.restoring.is_some());
                volume.is_some() || object.is_none() || (is_half && memory.meddled)
            }
            HeldReason::SizeBelowSource => volume.is_some() && (object.is_none() || memory.meddled),
            HeldReason::DependencyHeld => plan.held.iter().any(|other| other.reason != HeldReason::DependencyHeld),
            // Two volumes, or snapshots, of which one was renamed from the other, or seems to be; or that both left under one name.
            HeldReason::Ambiguous => {
                let in_trash = |thing: &&Thing| {
                    let identity = thing.object.identity.as_ref();
                    thing.object.place == Place::Trash && identity.is_some_and(|identity| identity.name == held.name)
                };
                let renamed = reading.specs.volumes.values().any(|spec| spec.meta.renamed_from.is_some());
                renamed || things.iter().filter(in_trash).count() > 1
            }
            HeldReason::LooksLikeRename => there.iter().any(|((kind, name), thing)| {
                let is_declared = reading.specs.volumes.contains_key(name.as_str());
                *kind == Kind::Volume && !is_declared && is_destroyed_on_removal(thing)
            }),
            // A snapshot that would go to a trash which takes none alone, or is in it inside of a volume that does not come back; or
            // anything, where there is no trash or nothing is renamed.
            HeldReason::Unsupported => {
                let is_plain_copy = volume.is_some_and(|spec| spec.source.is_some() && !spec.encrypted);
                let is_inside = held.in_trash && can.snapshots.as_ref().is_some_and(|snapshots| snapshots.nested);
                let of_volumes = held.kind == Kind::Snapshot && (can.trash == TrashAbility::Volumes || is_inside);
                is_plain_copy || can.trash == TrashAbility::None || of_volumes || !can.rename
            }
            HeldReason::InUse => can.client_visibility == ClientVisibility::None,
            other => return Err(format!("{other} has no cause in this story: {held:?}")),
        };
        if !cause {
            return Err(format!("held without cause: {held:?} among {:?}", plan.held));
        }
    }
    Ok(())
}
