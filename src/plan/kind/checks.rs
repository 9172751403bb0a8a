//! Rules that several kinds of change share, and the identity of new objects.

use crate::model::{Clients, Identity, Kind, Ledger, Name, Object, ObjectRef, Uid};

use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, IN_USE_FIX, Subject};
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

/// Holds a document with a path that manifests may not use on this host.
pub(super) fn check_allowed(inventory: &Inventory<'_>, subject: &Subject<'_>) -> Result<(), Hold> {
    match inventory.reading().not_allowed(subject.kind, subject.name) {
        None => Ok(()),
        Some(barred) => {
            let reason = if barred.unresponsive { HeldReason::Unobserved } else { HeldReason::NotAllowed };
            Err(subject.hold(reason, barred.message.clone(), barred.fix.clone()))
        }
    }
}

/// Holds a copy of a volume that a client has open, if the backend cannot make it consistent.
pub(super) fn check_not_torn(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    volume: &ObjectRef,
) -> Result<(), Hold> {
    if usable.capabilities.copies_open_volumes() {
        return Ok(());
    }
    match inventory.by_uid.get(&volume.uid) {
        Some(object) => check_not_open(subject, object, "a copy of it would be inconsistent"),
        // No client has an object open that this plan creates.
        None => Ok(()),
    }
}

/// Holds an object that a client is known to have open.
pub(super) fn check_not_open(subject: &Subject<'_>, object: &Object, why: &str) -> Result<(), Hold> {
    match &object.clients {
        Clients::Some(clients) => {
            let message = format!("{} is open by {}: {why}", object.native, clients.join(", "));
            Err(subject.hold(HeldReason::InUse, message, IN_USE_FIX))
        }
        Clients::None | Clients::Unknown => Ok(()),
    }
}

/// Returns the identity of a new object, and which of the name's uids it has.
pub(super) fn new_identity<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    kind: Kind,
    name: &Name,
) -> (Identity, u32) {
    let stack = inventory.stack();
    let ledger = usable.ledger;
    let is_used = |uid: &Uid| {
        inventory.by_uid.contains_key(uid)
            || draft.new_uids.contains(uid)
            || ledger.is_some_and(|l| l.complete.contains_key(uid) || l.tombstones.contains_key(uid))
    };
    let derive = |n| Uid::derive(&stack.id, &stack.owner, kind, usable.name, name, n);
    let mut n = ledger.and_then(|l| l.next.get(&Ledger::next_key(kind, name))).copied().unwrap_or(0);
    let mut uid = derive(n);
    while is_used(&uid) {
        n += 1;
        uid = derive(n);
    }
    draft.new_uids.insert(uid);
    (Identity { owner: stack.owner.clone(), kind, name: name.clone(), uid }, n)
}
