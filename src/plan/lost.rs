//! Objects that should exist and are not observed: lost, shrunk, replaced, or on a backend that cannot be observed.

use crate::model::{
    Absence, Address, Kind, Ledger, LedgerEntry, Name, ObjectId, ObjectRecord, Place, PlacedField, Uid, Verb,
};

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
        return Err(not_proven_absent(inventory, &subject, usable));
    }
    let message =
        format!("{at} is missing from backend {backend}; Kiln does not recreate a lost object as an empty one");
    let fix = format!(
        "restore it on the backend; or accept the loss with `kiln forget {}/{name}`, which frees the name",
        kind.as_lower()
    );
    Err(subject.hold(HeldReason::Lost, message, fix))
}

/// Holds an object that may exist, because nothing proves its absence.
pub(super) fn not_proven_absent(inventory: &Inventory<'_>, subject: &Subject<'_>, usable: &Usable<'_>) -> Hold {
    let (why, fix) = match usable.capabilities.absence {
        Absence::ByList | Absence::ByName => unproven(usable),
        Absence::ByLedger => not_known(inventory, subject, usable),
    };
    subject.hold(HeldReason::Unobserved, format!("{why}: the object may exist"), fix)
}

/// Returns why it is not proven that no other objects exist, and when it will be.
pub(super) fn unproven(usable: &Usable<'_>) -> (String, String) {
    let backend = usable.name;
    match usable.capabilities.absence {
        Absence::ByList => (
            format!("the listing of {backend} is incomplete"),
            "`kiln apply`, when the backend lists all its objects".to_owned(),
        ),
        Absence::ByName => (
            format!("backend {backend} did not answer for each name"),
            "`kiln apply`, when the backend answers for the names of all objects".to_owned(),
        ),
        Absence::ByLedger if !usable.observed.gaps.is_empty() => unread(backend),
        Absence::ByLedger => {
            let (first, more) = usable.unseen.split_at(usable.unseen.len().min(3));
            let list = |one: &dyn Fn(&ObjectId) -> String| first.iter().map(one).collect::<Vec<_>>().join(", ");
            let and = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let why = format!(
                "backend {backend} cannot be asked for objects, and it is not known whether these exist: {}{and}",
                list(&ObjectId::to_string)
            );
            let fix = format!(
                "check which of them exist on the backend, and forget each that does not: {}",
                list(&|id| format!("`kiln forget {id}`"))
            );
            (why, fix)
        }
    }
}

/// Returns that the records of a driver, which alone show objects, cannot all be read.
fn unread(backend: &Name) -> (String, String) {
    let why = format!("the driver of backend {backend} cannot read all of its records");
    (why, "`kiln apply`, when the driver can read them".to_owned())
}

/// Returns why a ledger does not prove that an object is absent, and what a person does about it.
fn not_known(inventory: &Inventory<'_>, subject: &Subject<'_>, usable: &Usable<'_>) -> (String, String) {
    let (kind, backend) = (subject.kind.as_lower(), usable.name);
    if !usable.observed.gaps.is_empty() {
        return unread(backend);
    }
    let is_unseen = |uid: &Uid| !inventory.by_uid.contains_key(uid);
    let of_entry = |entry: &LedgerEntry| (entry.address(), entry.name.clone());
    let by_uid = subject.uid.and_then(|uid| usable.ledger?.complete.get(&uid));
    let declared = inventory.specs().document(subject.kind, subject.name);
    let by_name = || {
        let mut entered = inventory.entered(subject.kind, &declared?.name).iter();
        Some(entered.find(|entered| entered.backend == backend && is_unseen(&entered.uid))?.entry)
    };
    let by_store = || {
        let mut records = inventory.recorded(subject.kind, &declared?.name).iter();
        let record = records.find(|record| record.was_live() && is_unseen(&record.identity.uid))?;
        Some((record.address(), record.identity.name.clone()))
    };
    if let Some((at, name)) = by_uid.or_else(by_name).map(of_entry).or_else(by_store) {
        let why = format!("it existed, backend {backend} cannot be asked for it, and its driver has no record of it");
        let fix = format!(
            "restore the record of {at} that the driver keeps on the pool; or, if the object is gone, run `kiln forget {kind}/{name}`, \
             which frees the name"
        );
        return (why, fix);
    }
    let is_it = |entry: &LedgerEntry| entry.kind == subject.kind && entry.name == *subject.name;
    let mut creating = usable.ledger.into_iter().flat_map(|ledger| &ledger.creating);
    let creating = creating.find(|(uid, entry)| is_unseen(uid) && is_it(entry));
    let native = creating.map_or_else(|| "it".to_owned(), |(_, entry)| entry.address().to_string());
    let why =
        format!("a run began to create it and did not learn the outcome, and backend {backend} cannot be asked for it");
    let fix = format!(
        "if {native} exists on the backend, remove it there; then run `kiln forget {kind}/{}`, which frees the name",
        subject.name
    );
    (why, fix)
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
