//! Restores of a volume's content from a snapshot.

use std::collections::HashMap;

use serde_json::json;

use crate::model::{
    Action, Expect, Kind, Name, ObjectRef, Place, PlacedField, Provisioning, Reason, Restores, Risk, SourceSpec, Step,
    Uid,
};

use crate::plan::draft::{Availability, Draft};
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::room::{Room, copies, copy_of, take_room};
use crate::plan::tags::{change, exact};
use crate::plan::types::HeldReason;

use super::checks::{check_not_open, unseen_clients};
use super::resolve::resolve_source;
use super::step::step_on;
use super::unfinished::half_restored;
use super::volume::{PlannedVolume, planned};

/// Plans restores, after all snapshots are drafted: a new snapshot is taken of the volume's content before the
/// restore.
pub(in crate::plan) fn restores<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    let to_restore = std::mem::take(&mut draft.to_restore);
    let held_copies = if to_restore.is_empty() { HashMap::new() } else { held_copies(inventory, draft) };
    for (name, object) in to_restore {
        let restored = restore(inventory, draft, name, &object, held_copies.get(name).copied());
        draft.accept(restored);
    }
}

/// Returns new snapshots and clones that are held, by the volume of whose content they are to be made.
fn held_copies<'a>(inventory: &Inventory<'a>, draft: &Draft<'a>) -> HashMap<&'a Name, (Kind, &'a Name)> {
    let specs = inventory.specs();
    let snapshots = specs.snapshots.iter().map(|(name, spec)| (&spec.volume, (Kind::Snapshot, name)));
    let clones = specs.volumes.iter().filter_map(|(name, spec)| match spec.source.as_deref()? {
        SourceSpec::Volume(of) | SourceSpec::Quiesced(of) => Some((of, (Kind::Volume, name))),
        SourceSpec::Snapshot(_) | SourceSpec::Image(_) => None,
    });
    let is_new = |copy: &(Kind, &'a Name)| inventory.by_name.get(copy).is_none_or(|objects| objects.is_empty());
    let is_held = |(kind, name): (Kind, &'a Name)| draft.availability(kind, name) == Some(Availability::Held);
    snapshots.chain(clones).filter(|(_, copy)| is_new(copy) && is_held(*copy)).collect()
}

fn restore<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    name: &'a Name,
    object: &OwnedObject<'a>,
    held_copy: Option<(Kind, &'a Name)>,
) -> Result<(), Hold> {
    let Some(volume) = planned(inventory, draft, name) else { return Ok(()) };
    let PlannedVolume { spec, usable, subject, object: volume, mut after } = volume;
    let Some(request) = &spec.restore else { return Ok(()) };
    let unfinished = draft.unfinished.get_mut(&volume.uid);
    let replaces = unfinished.is_some();
    let volume = match unfinished {
        None => volume,
        Some(unfinished) if unfinished.begun.request == request.request => return Ok(()),
        Some(unfinished) if unfinished.may_be_replaced => {
            unfinished.may_be_replaced = false;
            // Nothing else is done to the volume.
            after.clear();
            object.reference()
        }
        Some(unfinished) => return Err(half_restored(&subject, unfinished)),
    };
    let size = object.whole_size().max(volume.size);
    let place_of = |field| inventory.place_of_field(Kind::Volume, name, field);
    if usable.capabilities.restore == Restores::No {
        let message = format!("backend {} cannot restore a volume from a snapshot", spec.backend);
        let place = place_of(PlacedField::Restore);
        let fix = format!(
            "remove `restore`{place}, and declare a new volume with `source: {{snapshot: {}}}`",
            request.snapshot
        );
        return Err(subject.hold(HeldReason::Unsupported, message, fix));
    }
    let tags = draft.tags_after(&after, object);
    if tags.protected && !replaces {
        let message = "it is protected; a restore discards what was written since the snapshot";
        let place = place_of(PlacedField::Protected);
        let fix = format!("write `protected: false`{place} until the restore is done");
        return Err(subject.hold(HeldReason::Protected, message, fix));
    }
    let (snapshot, made) = snapshot_to_restore(inventory, draft, &subject, &request.snapshot, volume.uid)?;
    if snapshot.size > size {
        let message = format!("the snapshot has {}, and the volume {}", exact(snapshot.size), exact(size));
        let fix = match *spec.size < snapshot.size {
            true => format!("write at least `size: {}`{}", snapshot.size, place_of(PlacedField::Size)),
            false => format!("grow the volume first: `kiln describe volume/{name}` shows what holds it"),
        };
        return Err(subject.hold(HeldReason::SizeBelowSource, message, fix));
    }
    if let Some((kind, copy)) = held_copy.filter(|_| !replaces) {
        let message = format!("{} {copy}, which is to be made of its present content, is held", kind.as_lower());
        return Err(subject.waits_for_held(message, kind, copy));
    }
    check_not_open(&subject, object, "a restore would change the data under its client")?;
    // The restored content is written beside the old, which is freed only afterwards.
    let thick = tags.provisioning == Some(Provisioning::Thick);
    let taken = match thick && copies(usable) {
        true => size.bytes(),
        false => copy_of(inventory, draft, usable, &snapshot),
    };
    if taken > 0 {
        let room = Room { provisioned: 0, taken, objects: 1, adopted: 0 };
        take_room(inventory, draft, usable, &subject, size, room)?;
    }
    // After the volume's own steps, and after every snapshot and clone that is taken of its content of now.
    after.extend(made);
    if !replaces {
        after.extend(draft.readers_of(volume.uid));
    }
    let changes = vec![change("restore.request", json!(tags.restored), json!(request.request))];
    let action = Action::Restore { snapshot, request: request.request.clone() };
    let expect = Expect {
        place: Some(Place::Live),
        id: object.id.clone(),
        size: Some(volume.size),
        tags: Some(tags.into_owned()),
        idle: true,
        ..Expect::default()
    };
    let step = draft.add(Step {
        identity: if replaces { object.identity.clone() } else { subject.identity(object.identity) },
        native: volume.native.clone(),
        risk: Risk::Irreversible,
        changes,
        bytes: size,
        after,
        ..step_on(object, action, Reason::RestoreRequested, expect)
    });
    draft.unseen.extend(unseen_clients(usable, object).map(|why| (step, why)));
    draft.readers.entry(volume.uid).or_default().push(step);
    draft.unfinished.entry(volume.uid).and_modify(|unfinished| unfinished.step = Some(step));
    Ok(())
}

/// Returns the snapshot to restore, and the steps after which it exists.
fn snapshot_to_restore<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    subject: &Subject<'a>,
    name: &'a Name,
    volume: Uid,
) -> Result<(ObjectRef, Vec<usize>), Hold> {
    let place = inventory.place_of_field(Kind::Volume, subject.name, PlacedField::Restore);
    let (backend, object, after) = match resolve_source(inventory, draft, Kind::Snapshot, name) {
        Availability::Here { backend, object, after } => (backend, object, after),
        Availability::Held => {
            let message = format!("its `restore` snapshot {name} is held");
            return Err(subject.waits_for_held(message, Kind::Snapshot, name));
        }
        Availability::Unclear => {
            let message = format!("snapshot {name} exists more than once or is inconsistent");
            let fix = format!("declare snapshot {name} to see what holds it");
            return Err(subject.hold(HeldReason::Ambiguous, message, fix));
        }
        Availability::Missing | Availability::Cycle => {
            let message = format!("snapshot {name} does not exist");
            let fix = format!("correct the snapshot's name, or remove `restore`{place}");
            return Err(subject.hold(HeldReason::SourceMissing, message, fix));
        }
    };
    let of_it = match inventory.by_uid.get(&object.uid) {
        Some(seen) => seen.tags.volume == Some(volume),
        // This plan creates the snapshot.
        None => inventory.specs().snapshots.get(name).is_some_and(|snapshot| snapshot.volume == *subject.name),
    };
    if !of_it || Some(&backend) != subject.backend {
        let message = format!("snapshot {name} is of another volume");
        let fix = format!("name a snapshot of this volume, or remove `restore`{place}");
        return Err(subject.hold(HeldReason::SourceMissing, message, fix));
    }
    Ok((object, after))
}
