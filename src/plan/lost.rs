//! Objects that should exist and are not observed: lost, shrunk, replaced, or on a backend that cannot be observed.

use crate::model::{Absence, Address, Kind, Ledger, Name, ObjectRecord, Place, PlacedField, Verb};

use super::backend_state::BackendState;
use super::hold::{Hold, Subject};
use super::inventory::{Inventory, OwnedObject};
use super::tags::exact;
use super::types::HeldReason;
use super::unreachable::{Whereabouts, undeclared_backend, whereabouts};
use super::usable::Usable;

/// Holds an object that is smaller than it was: Kiln neither grows it back with zeroes nor copies from it.
pub(super) fn check_not_shrunk(
    inventory: &Inventory<'_>,
    subject: &Subject<'_>,
    object: &OwnedObject<'_>,
) -> Result<(), Hold> {
    let complete = inventory.settled(object).size;
    if object.whole_size() >= complete {
        return Ok(());
    }
    let message = format!(
        "{} was {} and is now {}: the data at its end is lost",
        object.native,
        exact(complete),
        exact(object.size)
    );
    // Until it is renamed it is known by its old name.
    let (kind, name) = (subject.kind.as_lower(), &object.identity.name);
    let fix = format!(
        "restore its data on the backend; or accept the new size with `kiln forget {kind}/{name}`, and Kiln does not grow it back"
    );
    Err(subject.hold(HeldReason::Lost, message, fix))
}

/// Holds an object that was complete under `name` and is absent, on this backend or another: by the ledgers or, in the seconds
/// before a create is entered there, by the store. An object of the name `old` is not lost: it is about to be renamed.
pub(super) fn check_not_lost<'a>(
    inventory: &Inventory<'a>,
    subject: &Subject<'a>,
    name: &'a Name,
    old: Option<&Name>,
) -> Result<(), Hold> {
    let kind = subject.kind;
    let is_seen = |uid| {
        let is = |object: &OwnedObject<'_>, name| object.is(&inventory.stack().owner, kind, name);
        inventory.by_uid.get(&uid).is_some_and(|object| is(object, name) || old.is_some_and(|old| is(object, old)))
    };
    let by_ledger = || {
        let entered = inventory.entered(kind, name).iter().find(|entered| !is_seen(entered.uid))?;
        Some((entered.backend, entered.uid, entered.entry.address()))
    };
    let by_store = || {
        let was_live = |record: &&&ObjectRecord| was_live(inventory, record) && !is_seen(record.identity.uid);
        let record: &ObjectRecord = inventory.recorded(kind, name).iter().find(was_live)?;
        Some((&record.backend, record.identity.uid, record.address()))
    };
    let Some((backend, uid, at)) = by_ledger().or_else(by_store) else { return Ok(()) };
    let subject = Subject { uid: Some(uid), ..*subject };
    if let Some(object) = inventory.by_uid.get(&uid)
        && (object.identity.name != *name || object.identity.owner != inventory.stack().owner)
    {
        let message = format!("its object on {backend} has been renamed to {}", object.native);
        let fix = format!(
            "rename it to {} on the backend, or declare it as {} with `renamedFrom: {name}`{}",
            at.native,
            object.identity.name,
            inventory.place_of_field(kind, subject.name, PlacedField::Metadata)
        );
        return Err(subject.hold(HeldReason::Renamed, message, fix));
    }
    let object =
        inventory.usable(backend).and_then(|usable| usable.bearing(&at).find(|object| object.conflict.is_some()));
    if let Some(why) = object.and_then(|object| object.conflict.as_ref()) {
        return Err(subject.hold_inconsistent(&at, why));
    }
    check_not_replaced(inventory, &subject, backend, &at)?;
    if let Some(usable) = inventory.usable(backend).filter(|usable| !usable.proves_gone(kind, uid, Some(&at))) {
        return Err(not_proven_absent(&subject, usable));
    }
    let message = format!("{at} is missing from {backend}; Kiln does not recreate a lost object as an empty one");
    let fix = format!(
        "restore it on the backend; or accept the loss with `kiln forget {}/{name}`, which frees the name",
        kind.as_lower()
    );
    Err(subject.hold(HeldReason::Lost, message, fix))
}

/// Holds an object that may exist, because nothing proves its absence.
pub(super) fn not_proven_absent(subject: &Subject<'_>, usable: &Usable<'_>) -> Hold {
    let (why, fix) = unproven(usable);
    subject.hold(HeldReason::Unobserved, format!("{why}: the object may exist"), fix)
}

/// Returns why an observation does not prove that an object is absent, and when it will.
pub(super) fn unproven(usable: &Usable<'_>) -> (String, &'static str) {
    let backend = usable.name;
    match usable.capabilities.absence {
        Absence::ByList => {
            (format!("the listing of {backend} is incomplete"), "`kiln apply`, when the backend lists all its objects")
        }
        Absence::ByName => (
            format!("backend {backend} did not answer for each name"),
            "`kiln apply`, when the backend answers for the names of all objects",
        ),
    }
}

/// Holds an object whose native name belongs to an object without an owner: the original was replaced, or the pool is a copy
/// without its metadata.
fn check_not_replaced(
    inventory: &Inventory<'_>,
    subject: &Subject<'_>,
    backend: &Name,
    at: &Address,
) -> Result<(), Hold> {
    let other = inventory.usable(backend).and_then(|usable| usable.find(at, |place| place == Place::Live));
    if other.is_none_or(|other| other.identity.is_some()) {
        return Ok(());
    }
    let (kind, name) = (subject.kind.as_lower(), subject.name);
    let adopts = inventory.specs().volumes.get(name).and_then(|spec| spec.adopt.as_deref());
    let message = format!("{at} on {backend} is not the object that was {kind} {name}: it was replaced or copied");
    let fix = match subject.kind == Kind::Volume && adopts == Some(at.native.as_str()) {
        true => format!(
            "put the original back; or, if {at} holds the data of {name} now, run `kiln forget {kind}/{name}`, then \
             `kiln apply`, which adopts it as it is"
        ),
        false => format!("move {at} out of the pool and put the original back, or `kiln forget {kind}/{name}`"),
    };
    Err(subject.hold(HeldReason::Conflict, message, fix))
}

/// Whether the store last saw the object live on a pool that is observable now, and no ledger says that it was removed or renamed
/// since.
fn was_live(inventory: &Inventory<'_>, record: &ObjectRecord) -> bool {
    let uid = record.identity.uid;
    let left = |ledger: &Ledger| {
        ledger.leaving.contains(&uid)
            || ledger.tombstones.contains_key(&uid)
            || ledger.complete.get(&uid).is_some_and(|entry| entry.name != record.identity.name)
    };
    record.was_live()
        && !inventory.ledgers().any(left)
        && matches!(whereabouts(inventory, record), Whereabouts::Visible)
}

/// Holds an object that may exist as `name` on a backend that cannot be observed.
pub(super) fn check_not_hidden<'a>(
    inventory: &Inventory<'a>,
    subject: &Subject<'a>,
    name: &'a Name,
) -> Result<(), Hold> {
    for record in inventory.recorded(subject.kind, name).iter().filter(|record| record.seen().is_some()) {
        let subject = Subject { uid: Some(record.identity.uid), action: Verb::Move, ..*subject };
        match whereabouts(inventory, record) {
            Whereabouts::Visible => {}
            Whereabouts::Undeclared => {
                return Err(undeclared_backend(&Subject { backend: Some(&record.backend), ..subject }));
            }
            Whereabouts::Hidden(blocked) => {
                let message = format!("its backend {} cannot be used: {}", record.backend, blocked.message);
                return Err(subject.hold(blocked.reason, message, blocked.fix.clone()));
            }
        }
    }
    // An unobserved backend without a record may hold anything. But if there is neither a record nor a ledger anywhere, nothing was
    // ever created that it could hide.
    let records = &inventory.inputs.records.backends;
    let first = records.is_empty() && inventory.ledgers().next().is_none();
    let unknown = inventory.backends.iter().find_map(|(other, state)| match state {
        BackendState::Blocked(blocked) if blocked.is_unobserved() && !records.contains_key(*other) && !first => {
            Some((*other, blocked))
        }
        BackendState::Blocked(_) | BackendState::Usable(_) => None,
    });
    let Some((other, blocked)) = unknown else { return Ok(()) };
    let message = format!("it may be on backend {other}, which Kiln has no record of: {}", blocked.message);
    Err(subject.hold(HeldReason::Unobserved, message, blocked.fix.clone()))
}
