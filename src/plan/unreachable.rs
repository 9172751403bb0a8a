//! Objects that the store has a record of and that cannot be observed now.

use crate::model::{Name, ObjectRecord, Place, Verb, Withdrawal};

use super::backend_state::BackendState;
use super::blocked::Blocked;
use super::draft::Draft;
use super::hold::{Hold, Subject};
use super::inventory::Inventory;
use super::types::HeldReason;

/// Where the object of a record could be observed.
pub(super) enum Whereabouts<'i> {
    /// On a usable backend: if it is not observed there, it does not exist.
    Visible,
    /// On a backend that is not usable.
    Hidden(&'i Blocked),
    /// On a backend that is no longer declared.
    Undeclared,
}

/// Holds recorded objects on backends that cannot be observed, unless a document declares them.
pub(super) fn hold_unreachable<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    let (inputs, specs) = (inventory.inputs, inventory.specs());
    for record in inputs.records.objects.values() {
        let (kind, name) = (record.identity.kind, &record.identity.name);
        let there = record.seen().is_some_and(|seen| seen.place == Place::Live && !seen.tags.retained);
        // An object that a document renames is held under its new name.
        if record.identity.owner != specs.stack.owner || !there || draft.is_claimed(kind, name) {
            continue;
        }
        let hidden = match whereabouts(inventory, record) {
            Whereabouts::Visible => continue,
            Whereabouts::Hidden(blocked) => Some(blocked),
            Whereabouts::Undeclared => None,
        };
        let ledger = inputs.records.backends.get(&record.backend).and_then(|backend| backend.ledger.as_ref());
        match inventory.reading().withdraws(kind, name, ledger, record.identity.uid) {
            Withdrawal::Declared | Withdrawal::NotCovered => continue,
            Withdrawal::Withdrawn | Withdrawal::Doubted(_) => {}
        }
        let subject = Subject::existing(&record.identity, &record.backend, Verb::Remove);
        draft.hold(match hidden {
            Some(blocked) => subject.hold(blocked.reason, blocked.message.clone(), blocked.fix.clone()),
            None => undeclared_backend(&subject),
        });
    }
}

/// Holds an object whose backend is no longer declared.
pub(super) fn undeclared_backend(subject: &Subject<'_>) -> Hold {
    let backend = subject.backend.map(Name::as_str).unwrap_or_default();
    let message = format!("it is on backend {backend}, which is no longer declared");
    let fix = format!("declare the Backend again, or give up its objects with `kiln forget backend/{backend}`");
    subject.hold(HeldReason::BackendUndeclared, message, fix)
}

/// Returns whether the place where the store last saw an object can be observed.
pub(super) fn whereabouts<'i>(inventory: &'i Inventory<'_>, record: &ObjectRecord) -> Whereabouts<'i> {
    let pool = inventory.inputs.records.backends.get(&record.backend).map(|backend| &backend.pool);
    let seen_under_another_name =
        || pool.is_some() && inventory.usable_backends().any(|usable| usable.observed.pool.as_ref() == pool);
    match inventory.backends.get(&record.backend) {
        Some(BackendState::Usable(_)) => Whereabouts::Visible,
        _ if seen_under_another_name() => Whereabouts::Visible,
        Some(BackendState::Blocked(blocked)) => Whereabouts::Hidden(blocked),
        None => Whereabouts::Undeclared,
    }
}
