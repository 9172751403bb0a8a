//! Where a declared object is: live, in the trash, under its old name, or proven absent.

use crate::model::{Absence, Kind, Ledger, LedgerEntry, Name, Object, Place, PlacedField, SnapshotSpec, Uid, Verb};

use super::backend_state::BackendState;
use super::draft::Draft;
use super::hold::{Hold, Subject};
use super::inventory::{Inventory, OwnedObject, OwnedObjects};
use super::lost::{check_not_hidden, check_not_lost, check_not_shrunk, not_proven_absent};
use super::places::addresses;
use super::types::HeldReason;
use super::usable::Usable;

/// Where a declared object is.
pub(super) enum Located<'a> {
    /// Live under its name.
    Live(OwnedObject<'a>),
    /// In the trash: to be restored.
    Trashed(OwnedObject<'a>),
    /// Live or in the trash under the name in `renamedFrom`. `instead`: a volume that was created under the new name before
    /// `renamedFrom` was written, and that was never written to.
    OldName { object: OwnedObject<'a>, instead: Option<OwnedObject<'a>> },
    /// Proven absent on every backend, and never lost.
    Absent,
}

/// Locates a declared object on its backend. `old`: the name in its `renamedFrom`.
pub(super) fn locate<'i, 'a>(
    inventory: &'i Inventory<'a>,
    draft: &mut Draft<'a>,
    subject: &Subject<'a>,
    backend: &'a Name,
    old: Option<&'a Name>,
) -> Result<(&'i Usable<'a>, Located<'a>), Hold> {
    draft.claim(subject.kind, subject.name);
    let located = usable_backend(inventory, subject, backend)
        .and_then(|usable| Ok((usable, locate_on(inventory, draft, usable, subject, old)?)));
    match (&located, old) {
        // Claimed even if it is held: an object to be renamed is not removed.
        (Ok((_, Located::OldName { .. })) | Err(_), Some(old)) => draft.claim(subject.kind, old),
        (Ok((_, Located::Live(_) | Located::Trashed(_) | Located::Absent)), _) | (_, None) => {}
    }
    located
}

/// Returns the backend of a declared object, if it is usable.
fn usable_backend<'i, 'a>(
    inventory: &'i Inventory<'a>,
    subject: &Subject<'a>,
    backend: &Name,
) -> Result<&'i Usable<'a>, Hold> {
    match inventory.backends.get(backend) {
        Some(BackendState::Usable(usable)) => Ok(usable),
        Some(BackendState::Blocked(blocked)) => {
            let subject = match inventory.recorded(subject.kind, subject.name).first() {
                Some(record) => Subject { uid: Some(record.identity.uid), action: Verb::Update, ..*subject },
                None => *subject,
            };
            Err(subject.hold(blocked.reason, blocked.message.clone(), blocked.fix.clone()))
        }
        None => {
            let message = format!("{backend} was not observed: the object may exist");
            Err(subject.hold(HeldReason::Unobserved, message, "`kiln apply`, when the backend can be observed"))
        }
    }
}

fn locate_on<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    old: Option<&'a Name>,
) -> Result<Located<'a>, Hold> {
    let (kind, name, backend) = (subject.kind, subject.name, usable.name);
    let (here, elsewhere): (OwnedObjects<'_>, OwnedObjects<'_>) =
        inventory.find(kind, name, Place::Live).into_iter().partition(|object| object.backend == backend);
    if let (Some(old), [new], []) = (old, &here[..], &elsewhere[..])
        && let Some(located) = locate_both(inventory, draft, usable, subject, old, *new)?
    {
        return Ok(located);
    }
    match (&here[..], &elsewhere[..]) {
        ([object], []) => check_found(inventory, subject, object, old).map(|()| Located::Live(*object)),
        ([], []) => locate_not_live(inventory, usable, subject, old),
        ([], [object]) => {
            check_volume(inventory, &subject.of(object, Verb::Update), object)?;
            let subject = subject.of(object, Verb::Move);
            let (at, place) = (object.backend, place_of_backend(inventory, &subject));
            let message = format!("it is on backend {at}; moving it to {backend} is not implemented yet");
            Err(subject.hold(HeldReason::Unsupported, message, format!("write `backend: {at}` again{place}")))
        }
        (several, others) => {
            let names: Vec<String> =
                several.iter().chain(others).map(|o| format!("{} on {}", o.native, o.backend)).collect();
            let message = format!("several objects have this name: {}", names.join(", "));
            Err(subject.hold(HeldReason::Ambiguous, message, "on the backend, rename or remove all but the right one"))
        }
    }
}

/// Holds an object that is inconsistent, was renamed outside of Kiln, or lost data.
fn check_found<'a>(
    inventory: &Inventory<'a>,
    subject: &Subject<'a>,
    object: &OwnedObject<'a>,
    old: Option<&Name>,
) -> Result<(), Hold> {
    let action = if object.place == Place::Trash { Verb::Adopt } else { Verb::Update };
    let subject = subject.of(object, action);
    if let Some(why) = &object.conflict {
        return Err(subject.hold_inconsistent(&object.address(), why));
    }
    if let Some(usable) = inventory.usable(object.backend).filter(|usable| usable.may_be_destroyed(object.uid())) {
        let message = format!(
            "a run began to destroy it and did not learn the outcome, and backend {} cannot be asked for it: it may be gone",
            usable.name
        );
        let fix = "remove its document and run `kiln apply`, which completes the removal; then declare it again";
        return Err(subject.hold(HeldReason::Unobserved, message, fix));
    }
    let other = inventory.known_name(object).filter(|known| *known != subject.name && Some(*known) != old);
    if let Some(other) = other {
        let message = format!("{} was {other} and has been renamed on the backend", object.native);
        let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Metadata);
        let fix =
            format!("rename it to {other} on the backend, or write `renamedFrom: {other}` under `metadata`{place}");
        return Err(subject.hold(HeldReason::Renamed, message, fix));
    }
    check_not_shrunk(inventory, &subject, object)
}

fn locate_not_live<'a>(
    inventory: &Inventory<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    old: Option<&'a Name>,
) -> Result<Located<'a>, Hold> {
    let (kind, name, backend) = (subject.kind, subject.name, usable.name);
    check_is_free(inventory, usable, subject, old)?;
    if let Some(old) = old
        && let Some(located) = locate_old_name(inventory, usable, subject, old)?
    {
        return Ok(located);
    }
    match inventory.find(kind, name, Place::Trash).as_slice() {
        [] => {}
        [object] if object.backend == backend => {
            return check_found(inventory, subject, object, old).map(|()| Located::Trashed(*object));
        }
        [object] => {
            check_volume(inventory, &subject.of(object, Verb::Adopt), object)?;
            let subject = subject.of(object, Verb::Adopt);
            let (at, place) = (object.backend, place_of_backend(inventory, &subject));
            let message = format!("it is in the trash of backend {at}, not of {backend}");
            let fix = format!("write `backend: {at}`{place}, or run `kiln trash purge {}/{name}`", kind.as_lower());
            return Err(subject.hold(HeldReason::Unsupported, message, fix));
        }
        several => {
            let message = format!("the trash holds several objects of this name: {}", native_names(several));
            // `kiln trash purge` by name would also purge the object trashed last, which is most likely the one that is wanted.
            let fix = format!(
                "`kiln trash restore {}/{name}` restores the one trashed last; the others stay in the trash",
                kind.as_lower()
            );
            return Err(subject.hold(HeldReason::Ambiguous, message, fix));
        }
    }
    Ok(Located::Absent)
}

/// Holds an object that is to get a name which another object may have. To create, rename or restore an object under the name of a
/// lost one would hide the loss; under the name of an unobserved one it would make a second object of that name.
fn check_is_free<'a>(
    inventory: &Inventory<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    old: Option<&Name>,
) -> Result<(), Hold> {
    // A name can be that of an object with any uid: a list shows them all, or each that it can have was asked for.
    let meta = inventory.specs().document(subject.kind, subject.name);
    let can_be = match usable.capabilities.absence {
        Absence::ByList => Vec::new(),
        Absence::ByName | Absence::ByLedger => {
            meta.map(|meta| addresses(inventory, usable, subject.kind, meta)).unwrap_or_default()
        }
    };
    if !usable.observed.proves_gone(subject.kind, &can_be) {
        return Err(not_proven_absent(inventory, subject, usable));
    }
    check_not_being_made(inventory, subject, old)?;
    check_not_lost(inventory, subject, subject.name, old)?;
    check_not_hidden(inventory, subject, subject.name)
}

/// Holds an object whose creation was announced where only the ledger tells of it, at whatever address: its document may have changed since.
fn check_not_being_made(inventory: &Inventory<'_>, subject: &Subject<'_>, old: Option<&Name>) -> Result<(), Hold> {
    for usable in inventory.usable_backends().filter(|usable| usable.capabilities.absence == Absence::ByLedger) {
        let Some(ledger) = usable.ledger else { continue };
        let is_it = |(uid, entry): (&Uid, &LedgerEntry)| {
            let is_named = entry.name == *subject.name || Some(&entry.name) == old;
            entry.kind == subject.kind
                && is_named
                && !ledger.complete.contains_key(uid)
                && !inventory.by_uid.contains_key(uid)
        };
        if ledger.creating.iter().any(is_it) {
            return Err(not_proven_absent(inventory, subject, usable));
        }
    }
    Ok(())
}

/// Decides where objects exist under the new name and the old one: the document means the old one, which is renamed if no data is
/// lost by it. `None`: no object under the old name can be meant.
fn locate_both<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    old: &'a Name,
    new: OwnedObject<'a>,
) -> Result<Option<Located<'a>>, Hold> {
    let kind = subject.kind;
    let (live, trashed) = (inventory.find(kind, old, Place::Live), inventory.find(kind, old, Place::Trash));
    // An object removed or released under the old name may be an earlier one, if this one was renamed from that name.
    let left = live.iter().all(|object| object.tags.retained);
    if (live.is_empty() && trashed.is_empty()) || (left && !was_made_as(inventory, subject, &new)) {
        return Ok(None);
    }
    let subject = subject.of(&new, Verb::Move);
    let why = match (live.as_slice(), trashed.as_slice()) {
        ([_], _) | ([], [_]) => why_not_replaceable(draft, kind, usable, &new),
        _ => Some(format!("several objects are named {old}")),
    };
    if let Some(why) = why {
        let message = format!(
            "{} and {old} both exist although `renamedFrom` says that one became the other, and {why}",
            subject.name
        );
        let place = inventory.place_of_field(kind, subject.name, PlacedField::RenamedFrom);
        let keep = format!("in one edit, remove `renamedFrom: {old}`{place} and declare {old} again: both are kept");
        return Err(subject.hold(HeldReason::Ambiguous, message, keep));
    }
    let Some(located) = locate_old_name(inventory, usable, &subject, old)? else { return Ok(None) };
    if let Located::OldName { object, .. } = located {
        check_found(inventory, &subject, &new, Some(old))?;
        return Ok(Some(Located::OldName { object, instead: Some(new) }));
    }
    Ok(Some(located))
}

/// Returns why an object cannot make room for the one that it was renamed from: data would be lost.
fn why_not_replaceable(
    draft: &mut Draft<'_>,
    kind: Kind,
    usable: &Usable<'_>,
    new: &OwnedObject<'_>,
) -> Option<String> {
    if kind == Kind::Snapshot {
        return Some("a snapshot always holds data".to_owned());
    }
    if !draft.is_unwritten(new) {
        return Some("it was written to".to_owned());
    }
    if let Some(needing) = new.needed_by.first() {
        return Some(format!("{needing} needs it"));
    }
    let uid = Some(new.uid());
    let is_of_it = |other: &&Object| {
        other.parent == uid || other.tags.volume == uid || other.parent_volume.as_ref() == Some(&new.native)
    };
    let needing = usable.observed.objects.iter().find(is_of_it)?;
    Some(format!("{} was made from it", needing.address()))
}

/// Whether an object was created under the name that it has: its uid is derived from its name.
fn was_made_as(inventory: &Inventory<'_>, subject: &Subject<'_>, object: &OwnedObject<'_>) -> bool {
    let (stack, inputs) = (inventory.stack(), inventory.inputs);
    let backends = || inputs.reading.specs.backends.keys().chain(inputs.records.backends.keys());
    let ledger = inventory.ledger(object.backend);
    let next = ledger.and_then(|l| l.next.get(&Ledger::next_key(subject.kind, subject.name))).copied().unwrap_or(0);
    let entered = ledger.and_then(|ledger| ledger.complete.get(&object.uid())).map(|entry| entry.n);
    let derives = |n: u32| {
        backends().any(|b| Uid::derive(&stack.id, &stack.owner, subject.kind, b, subject.name, n) == object.uid())
    };
    entered.map_or_else(|| (0..=next).any(derives), derives)
}

fn locate_old_name<'a>(
    inventory: &Inventory<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    old: &'a Name,
) -> Result<Option<Located<'a>>, Hold> {
    let live = inventory.find(subject.kind, old, Place::Live);
    let trashed = inventory.find(subject.kind, old, Place::Trash);
    let object = match (live.as_slice(), trashed.as_slice()) {
        ([one], _) | ([], [one]) => *one,
        ([], []) => {
            // Lost or hidden under the old name means lost or hidden under the new one; otherwise the rename is done, or was never needed.
            check_not_lost(inventory, subject, old, None)?;
            return check_not_hidden(inventory, subject, old).map(|()| None);
        }
        (several, others) => {
            let objects = if several.is_empty() { others } else { several };
            let message = format!("several objects have the old name {old}: {}", native_names(objects));
            let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::RenamedFrom);
            let fix = format!(
                "remove `renamedFrom: {old}`{place} to leave them as they are, or remove all but the right one on the backend"
            );
            return Err(subject.hold(HeldReason::Ambiguous, message, fix));
        }
    };
    let (at, backend) = (object.backend, usable.name);
    if at != backend {
        check_volume(inventory, &subject.of(&object, Verb::Update), &object)?;
        let subject = subject.of(&object, Verb::Move);
        let message = format!("{old} is on backend {at}; moving it to {backend} is not implemented yet");
        let place = place_of_backend(inventory, &subject);
        return Err(subject.hold(HeldReason::Unsupported, message, format!("write `backend: {at}` again{place}")));
    }
    check_found(inventory, subject, &object, Some(old))?;
    Ok(Some(Located::OldName { object, instead: None }))
}

/// Holds a snapshot on another backend than that of the volume in its document, if it is not of that volume: not the backend is the
/// mistake, but `volume`.
fn check_volume(inventory: &Inventory<'_>, subject: &Subject<'_>, object: &OwnedObject<'_>) -> Result<(), Hold> {
    let spec = inventory.specs().snapshots.get(subject.name).filter(|_| subject.kind == Kind::Snapshot);
    let (Some(spec), Some(of)) = (spec, object.tags.volume) else { return Ok(()) };
    let declared = inventory.specs().volumes.get(&spec.volume);
    let old = declared.and_then(|volume| volume.meta.renamed_from.as_ref());
    let is_same = inventory.by_uid.get(&of).is_some_and(|volume| {
        let name = &volume.identity.name;
        *name == spec.volume || Some(name) == old
    });
    if is_same { Ok(()) } else { Err(volume_changed(inventory, subject, spec, object)) }
}

/// Returns the hold of a snapshot that is not of the volume in its document.
pub(super) fn volume_changed(
    inventory: &Inventory<'_>,
    subject: &Subject<'_>,
    spec: &SnapshotSpec,
    object: &OwnedObject<'_>,
) -> Hold {
    let message = format!("`volume` cannot change: the snapshot is not of {}", spec.volume);
    let place_of = |field| inventory.place_of_field(subject.kind, subject.name, field);
    let fix = match object.tags.volume.and_then(|volume| inventory.by_uid.get(&volume)) {
        Some(volume) => {
            let place = place_of(PlacedField::Volume);
            format!("write `volume: {}`{place}, or declare the new snapshot under another name", volume.identity.name)
        }
        None => format!("declare the new snapshot under another name{}", place_of(PlacedField::Name)),
    };
    subject.hold(HeldReason::Immutable, message, fix)
}

/// Returns where the backend of a declared object is written: that of a snapshot in the document of its volume.
fn place_of_backend(inventory: &Inventory<'_>, subject: &Subject<'_>) -> String {
    let snapshot = inventory.specs().snapshots.get(subject.name).filter(|_| subject.kind == Kind::Snapshot);
    let volume = snapshot.map_or(subject.name, |snapshot| &snapshot.volume);
    inventory.place_of_field(Kind::Volume, volume, PlacedField::Backend)
}

fn native_names(objects: &[OwnedObject<'_>]) -> String {
    objects.iter().map(|object| object.native.as_str()).collect::<Vec<_>>().join(", ")
}
