//! Which names must be answered for where no list proves absence: the backend is asked for them, or its ledger answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Absence, Address, Identity, Kind, Ledger, Meta, Name, NativeName, Object, Observed, OpenIntent, Place, Reading,
    Records, Uid,
};

use super::inputs::Inputs;
use super::inventory::{Inventory, OwnedObject};
use super::types::World;
use super::usable::Usable;

/// How many of its first uids an object can have where no ledger tells which are used up.
const WITHOUT_LEDGER: u32 = 8;

/// Returns, by backend that proves absence by name, the addresses that were not asked for yet and must be, before anything is recovered,
/// settled or planned: those at which the objects of the ledgers, of the store, of open intents and of documents can be. An object that is
/// declared and listed live is left out: nothing is made or removed under its names.
pub fn names_to_ask(
    reading: &Reading,
    world: &World,
    records: &Records,
    intents: &[OpenIntent],
) -> BTreeMap<Name, Vec<Address>> {
    wanted_names(reading, world, records, intents, Absence::ByName)
}

/// Returns the addresses that are not answered for yet, by backend that proves absence in this way: see [`names_to_ask`].
pub(super) fn wanted_names(
    reading: &Reading,
    world: &World,
    records: &Records,
    intents: &[OpenIntent],
    absence: Absence,
) -> BTreeMap<Name, Vec<Address>> {
    let mut by_name = world.iter().filter_map(|(name, view)| {
        let asks = view.capabilities().is_some_and(|can| can.absence == absence);
        Some((name, view.observed().filter(|_| asks)?))
    });
    let Some(first) = by_name.next() else { return BTreeMap::new() };
    let inputs = Inputs::new(reading, world, records);
    let inventory = Inventory::new(&inputs);
    let mut questions = BTreeMap::new();
    for (name, observed) in std::iter::once(first).chain(by_name) {
        let mut wanted = known(reading, observed, (name, records));
        wanted.extend(intents.iter().filter(|intent| intent.step.backend() == Some(name)).flat_map(of_intent));
        if let Some(usable) = inventory.usable(name) {
            wanted.extend(declared(&inventory, usable));
        }
        let wanted: Vec<Address> = wanted.difference(&observed.queried).cloned().collect();
        if !wanted.is_empty() {
            questions.insert(name.clone(), wanted);
        }
    }
    questions
}

/// Returns the addresses of objects that the ledgers or the store know, except of those that are declared and listed live.
fn known(reading: &Reading, observed: &Observed, (name, records): (&Name, &Records)) -> BTreeSet<Address> {
    let (specs, owner) = (&reading.specs, &reading.specs.stack.owner);
    let is_as_declared = |object: &&Object| {
        let declares = |id: &Identity| id.owner == *owner && specs.declares(id.kind, &id.name);
        object.place == Place::Live && object.identity.as_ref().is_some_and(declares)
    };
    let left_out: BTreeSet<Uid> =
        observed.objects.iter().filter(is_as_declared).filter_map(|object| object.uid()).collect();
    // The Backend may have had another name.
    let is_here = |(of, record): &(&Name, &crate::model::BackendRecord)| {
        *of == name || observed.pool.as_ref() == Some(&record.pool)
    };
    let recorded: Vec<_> = records.backends.iter().filter(is_here).collect();
    let stored = recorded.iter().filter_map(|(_, record)| record.ledger.as_ref());
    let on_pool = observed.ledger.as_ref().and_then(|view| view.ledger());
    let ledgers = stored.chain(on_pool).filter(|ledger| ledger.owner == *owner);
    let entered = |ledger: &Ledger| -> Vec<Address> {
        let uids = ledger.complete.keys().filter(|uid| !left_out.contains(uid));
        let made = ledger.creating.iter().flat_map(|(uid, entry)| ledger.addresses_being_made(*uid, entry));
        uids.flat_map(|uid| ledger.addresses_of(*uid)).chain(made).collect()
    };
    let of_record = records.objects.values().filter(|record| {
        let is_here = record.backend == *name || recorded.iter().any(|(of, _)| **of == record.backend);
        is_here && record.identity.owner == *owner && !left_out.contains(&record.identity.uid)
    });
    // What is removed or comes back must not meet another object of its name.
    let listed = observed.objects.iter().filter(|object| {
        let is_ours = object.identity.as_ref().is_some_and(|id| id.owner == *owner && !left_out.contains(&id.uid));
        is_ours && object.place != Place::Temporary
    });
    let known = ledgers.flat_map(entered).chain(of_record.map(|record| record.address()));
    known.chain(listed.map(Object::address)).collect()
}

/// Returns the addresses that show what came of a step that was begun.
fn of_intent(intent: &OpenIntent) -> impl Iterator<Item = Address> {
    let step = &intent.step;
    let inner = step.action.with().iter().map(|inner| Address::inside(&step.native, &inner.native));
    inner.chain([step.address(), step.address_before()]).chain(step.address_of_unfinished())
}

/// Returns the addresses of declared objects that are not listed live, and those under which their creation can have been interrupted.
fn declared(inventory: &Inventory<'_>, usable: &Usable<'_>) -> BTreeSet<Address> {
    let mut wanted = BTreeSet::new();
    for (kind, meta) in inventory.specs().objects() {
        let is_here = |volume: &Name| inventory.specs().volumes.get(volume).is_some_and(|v| v.backend == *usable.name);
        let is_here = match kind {
            Kind::Volume => is_here(&meta.name),
            Kind::Snapshot => inventory.specs().snapshots.get(&meta.name).is_some_and(|s| is_here(&s.volume)),
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => false,
        };
        let is_shown = |old: &Name| inventory.by_name.contains_key(&(kind, old));
        let is_live = || !inventory.find(kind, &meta.name, Place::Live).is_empty();
        if is_here && (meta.renamed_from.as_ref().is_some_and(is_shown) || !is_live()) {
            wanted.extend(addresses(inventory, usable, kind, meta));
            wanted.extend(identities(inventory, usable, kind, &meta.name).iter().map(Identity::unfinished_address));
        }
    }
    wanted
}

/// Returns every address that a declared object can have without an entry in a ledger, or be given by a step: only if each of them is
/// asked for, it is known that there is none.
pub(super) fn addresses(inventory: &Inventory<'_>, usable: &Usable<'_>, kind: Kind, meta: &Meta) -> Vec<Address> {
    let natives = natives(inventory, usable, kind, meta);
    let specs = inventory.specs();
    let volume = || specs.volumes.get(&specs.snapshots.get(&meta.name)?.volume);
    if kind != Kind::Snapshot || !usable.capabilities.nests_snapshots() {
        return natives.iter().map(Address::flat).collect();
    }
    let mut volumes =
        volume().map(|volume| self::natives(inventory, usable, Kind::Volume, &volume.meta)).unwrap_or_default();
    // A snapshot gets its name in the volume that it is in, which may be another than the document says.
    volumes.extend(shown(inventory, usable, kind, meta).filter_map(|object| object.parent_volume.clone()));
    volumes.iter().flat_map(|volume| natives.iter().map(|native| Address::inside(volume, native))).collect()
}

/// Returns the native names that a declared object can have, under its name and its old one.
fn natives(inventory: &Inventory<'_>, usable: &Usable<'_>, kind: Kind, meta: &Meta) -> BTreeSet<NativeName> {
    let specs = inventory.specs();
    let own = match kind {
        Kind::Volume => specs.volumes.get(&meta.name).and_then(|v| v.object.as_deref().or(v.adopt.as_deref())),
        Kind::Snapshot => specs.snapshots.get(&meta.name).and_then(|s| s.adopt.as_deref()),
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => None,
    };
    let mut natives: BTreeSet<NativeName> = own.map(NativeName::new).into_iter().collect();
    for name in names(meta) {
        natives.extend(identities(inventory, usable, kind, name).iter().map(Identity::native));
    }
    for object in shown(inventory, usable, kind, meta) {
        natives.insert(object.native.clone());
        natives.insert(Identity { name: meta.name.clone(), ..object.identity.clone() }.native());
    }
    natives
}

/// Returns the objects that are shown on a backend under the name of a document or its old one.
fn shown<'i, 'a>(
    inventory: &'i Inventory<'a>,
    usable: &'i Usable<'_>,
    kind: Kind,
    meta: &'i Meta,
) -> impl Iterator<Item = &'i OwnedObject<'a>> {
    names(meta)
        .filter_map(move |name| inventory.by_name.get(&(kind, name)))
        .flatten()
        .filter(|object| object.backend == usable.name)
}

fn names(meta: &Meta) -> impl Iterator<Item = &Name> {
    std::iter::once(&meta.name).chain(&meta.renamed_from)
}

/// Returns the identities that an object of this name can have which is not in the ledger: up to the first that is free.
fn identities(inventory: &Inventory<'_>, usable: &Usable<'_>, kind: Kind, name: &Name) -> Vec<Identity> {
    let least = if usable.ledger.is_some() { 1 } else { WITHOUT_LEDGER };
    let first = first_number(usable, kind, name);
    let mut identities = Vec::new();
    for n in first.. {
        let identity = numbered_identity(inventory, usable, kind, name, n);
        let is_free = !is_used(inventory, usable, identity.uid);
        identities.push(identity);
        if is_free && n + 1 >= first + least {
            break;
        }
    }
    identities
}

/// Returns the number of the first new object of this name.
pub(super) fn first_number(usable: &Usable<'_>, kind: Kind, name: &Name) -> u32 {
    let next = usable.ledger.and_then(|ledger| ledger.next.get(&Ledger::next_key(kind, name)));
    next.copied().unwrap_or(0)
}

/// Returns the identity of the `n`th object of this name.
pub(super) fn numbered_identity(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    kind: Kind,
    name: &Name,
    n: u32,
) -> Identity {
    let stack = inventory.stack();
    let uid = Uid::derive(&stack.id, &stack.owner, kind, usable.name, name, n);
    Identity { owner: stack.owner.clone(), kind, name: name.clone(), uid }
}

/// Whether an object has or had a uid, as far as the observations and the ledger show.
pub(super) fn is_used(inventory: &Inventory<'_>, usable: &Usable<'_>, uid: Uid) -> bool {
    inventory.by_uid.contains_key(&uid)
        || inventory.copied.contains(&uid)
        || usable.ledger.is_some_and(|l| l.complete.contains_key(&uid) || l.tombstones.contains_key(&uid))
}
