//! Rules that several kinds of change share, and the identity of new objects.

use crate::model::{ClientVisibility, Clients, Identity, Kind, Name, NameFault, NameRules, Object, ObjectRef, Place};

use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, IN_USE_FIX, Subject};
use crate::plan::inventory::Inventory;
use crate::plan::places::{first_number, is_used, numbered_identity};
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

/// Holds a copy of a volume that a client has open, or may have, if the backend cannot make it consistent. `quiesced`: the document
/// says that no client writes to the volume; else `declare` is what to write.
pub(super) fn check_not_torn(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    volume: &ObjectRef,
    quiesced: bool,
    declare: &str,
) -> Result<(), Hold> {
    if usable.capabilities.copies_open_volumes() {
        return Ok(());
    }
    // An object that this plan adopts has no owner yet.
    let adopted =
        || usable.find(&volume.address(), |place| place == Place::Live).filter(|object| object.identity.is_none());
    match inventory.by_uid.get(&volume.uid).map(|object| object.object).or_else(adopted) {
        Some(object) => {
            check_not_open(subject, object, "a copy of it would be inconsistent")?;
            let Some(unseen) = unseen_clients(usable, object).filter(|_| !quiesced) else { return Ok(()) };
            let message = format!("{} may be open: {unseen}; a copy of it could be inconsistent", object.native);
            let place = inventory.place_of(subject.kind, subject.name);
            let fix = format!("stop everything that writes to it, and write `{declare}`{place}");
            Err(subject.hold(HeldReason::InUse, message, fix))
        }
        // No client has an object open that this plan creates.
        None => Ok(()),
    }
}

/// Returns which clients of an object cannot be seen, as a sentence; None if it is known that there are none, or that there are some.
pub(super) fn unseen_clients(usable: &Usable<'_>, object: &Object) -> Option<String> {
    let shown = usable.capabilities.client_visibility;
    let whose = match shown {
        ClientVisibility::All => "who has it open",
        ClientVisibility::Host => "clients on other hosts",
        ClientVisibility::None => "clients",
    };
    object.may_have_unseen_clients(shown).then(|| format!("backend {} cannot see {whose}", usable.name))
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

/// Holds a change that the backend makes only of an object that no client has open, if one has, or may have. `why`: what it cannot do.
/// `fix`: what to write if the clients cannot be seen.
pub(super) fn check_closed(
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    object: &Object,
    why: &str,
    fix: impl FnOnce() -> String,
) -> Result<(), Hold> {
    check_not_open(subject, object, why)?;
    match unseen_clients(usable, object) {
        Some(unseen) => Err(subject.hold(HeldReason::InUse, format!("{why}, and {unseen}"), fix())),
        None => Ok(()),
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
    let is_used = |uid| is_used(inventory, usable, uid) || draft.new_uids.contains(&uid);
    let mut n = first_number(usable, kind, name);
    let mut identity = numbered_identity(inventory, usable, kind, name, n);
    while is_used(identity.uid) {
        n += 1;
        identity = numbered_identity(inventory, usable, kind, name, n);
    }
    draft.new_uids.insert(identity.uid);
    (identity, n)
}

/// Holds an object that would have names which are too long for its backend: the one under which it lives, and the temporary one.
pub(super) fn check_made_names(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    identity: &Identity,
) -> Result<(), Hold> {
    let rules = &usable.capabilities.names;
    let longest = NameRules::longest(identity);
    let Err(NameFault::TooLong(bytes)) = rules.check(&longest) else { return Ok(()) };
    let place = inventory.place_of(subject.kind, subject.name);
    let message = format!("its native name {longest} has {}", too_many(usable, bytes));
    let over = bytes - rules.max_bytes;
    let shorter = format!("{over} {} shorter", if over == 1 { "byte" } else { "bytes" });
    let fix = match over < identity.name.as_str().len() {
        true => format!("write a `metadata.name` that is {shorter}{place}"),
        false => format!("use another backend{place}, or a Stack whose name is {shorter}"),
    };
    Err(subject.hold(HeldReason::NameTooLong, message, fix))
}

/// Tells how many bytes a name has and may have, after "has".
pub(super) fn too_many(usable: &Usable<'_>, bytes: usize) -> String {
    let rules = &usable.capabilities.names;
    let dashes =
        if rules.dash_bytes > 1 { format!(", each dash counted as {}", rules.dash_bytes) } else { String::new() };
    let prefix = match rules.prefix_bytes {
        0 => String::new(),
        more => format!(", with {more} that the backend adds"),
    };
    format!("{bytes} bytes{dashes}{prefix}; backend {} allows {}", usable.name, rules.max_bytes)
}
