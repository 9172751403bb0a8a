//! Copies of objects, made outside of Kiln: an object whose uid is that of an object of another pool. A uid counts within one pool.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet};
use smallvec::SmallVec;

use crate::model::{Identity, Kind, Ledger, Name, Object, Place, Reading, Records, Specs, Uid};

use super::backend_state::{BackendState, Judged};
use super::draft::Draft;
use super::inventory::Inventory;
use super::types::{Observation, World};

/// How many copies a warning names.
const SHOWN: usize = 3;

/// Takes the identity from every object that is a copy of one on another pool: from then on it has no owner, and
/// [`Object::copy_of`] says whose copy it is. So it is not adopted, changed or removed, and not in the way of the object that counts.
///
/// That is, of several pools with one uid, the pool whose ledger lists it. If several do, or none, it is the declared Backend, and if
/// none is declared, no object is a copy: which one counts is unclear. An object that is on one pool only is a copy if its ledger says so,
/// or if only another ledger knows its uid, unless a document declares it there: then a person has moved it.
pub fn disown_copies(judged: &Judged, reading: &Reading, world: &mut World, records: &Records) {
    let copies: HashSet<(Name, Uid)> = {
        let known = KnownUids::of(judged, reading, world, records);
        let found = known.copies(&reading.specs);
        found.into_iter().map(|(backend, uid)| (backend.clone(), uid)).collect()
    };
    let backends: std::collections::BTreeSet<&Name> = copies.iter().map(|(backend, _)| backend).collect();
    for backend in backends {
        let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) = world.get_mut(backend)
        else {
            continue;
        };
        for object in observed.objects.iter_mut().filter(|object| object.place != Place::Temporary) {
            let is_copy = |id: &mut Identity| copies.contains(&(backend.clone(), id.uid));
            if let Some(identity) = object.identity.take_if(is_copy) {
                object.unowned_kind = identity.kind;
                object.copy_of = Some(Box::new(identity));
            }
        }
    }
}

/// Where the uids of this owner are.
struct KnownUids<'a> {
    /// The usable backends with an object of this uid, and its identity on the first of them.
    found: HashMap<Uid, (&'a Identity, SmallVec<[&'a Name; 1]>)>,
    /// The ledgers of usable backends.
    ledgers: BTreeMap<&'a Name, &'a Ledger>,
    /// The ledgers, as the store has them, of pools that cannot be used now.
    away: Vec<&'a Ledger>,
}

impl<'a> KnownUids<'a> {
    fn of(judged: &'a Judged, reading: &'a Reading, world: &'a World, records: &'a Records) -> Self {
        let owner = &reading.specs.stack.owner;
        let states = judged.states(reading, world, records);
        let usable = || {
            states.values().filter_map(|state| match state {
                BackendState::Usable(usable) => Some(usable),
                BackendState::Blocked(_) => None,
            })
        };
        let ledgers: BTreeMap<&Name, &Ledger> = usable().filter_map(|one| Some((one.name, one.ledger?))).collect();
        let is_away = |ledger: &&Ledger| usable().all(|usable| usable.observed.pool.as_ref() != Some(&ledger.pool));
        let recorded = records.backends.values().filter_map(|record| record.ledger.as_ref());
        let away: Vec<&Ledger> = recorded.filter(|ledger| ledger.owner == *owner).filter(is_away).collect();
        let mut found: HashMap<Uid, (&Identity, SmallVec<[&Name; 1]>)> = HashMap::new();
        if usable().count() < 2 && away.is_empty() && ledgers.values().all(|ledger| ledger.copies.is_empty()) {
            return Self { found, ledgers, away };
        }
        for usable in usable() {
            for object in usable.observed.objects.iter().filter(|object| object.place != Place::Temporary) {
                let Some(identity) = object.identity.as_ref().filter(|id| id.owner == *owner) else { continue };
                let (_, backends) = found.entry(identity.uid).or_insert_with(|| (identity, SmallVec::new()));
                if backends.last() != Some(&usable.name) {
                    backends.push(usable.name);
                }
            }
        }
        Self { found, ledgers, away }
    }

    fn copies(&self, specs: &Specs) -> Vec<(&'a Name, Uid)> {
        let renamed: HashMap<_, _> = specs.renames().map(|(kind, old, new)| ((kind, old), new)).collect();
        let mut copies = Vec::new();
        for (uid, (identity, backends)) in &self.found {
            let declared = || declared_on(specs, &renamed, identity);
            match backends.as_slice() {
                [one] if self.is_listed(one, *uid) => {}
                [one] => copies.extend(self.is_copy(one, *uid, declared()).then_some((*one, *uid))),
                several => {
                    let listed: SmallVec<[&Name; 2]> =
                        several.iter().copied().filter(|backend| self.is_listed(backend, *uid)).collect();
                    let among = if listed.is_empty() { several } else { &listed };
                    let declared = || declared().filter(|backend| among.contains(backend));
                    let counts = if let [one] = among { Some(*one) } else { declared() };
                    let others = several.iter().filter(|backend| counts.is_some_and(|counts| counts != **backend));
                    copies.extend(others.map(|backend| (*backend, *uid)));
                }
            }
        }
        copies
    }

    fn is_listed(&self, backend: &Name, uid: Uid) -> bool {
        self.ledgers.get(backend).is_some_and(|ledger| ledger.complete.contains_key(&uid))
    }

    /// Whether an object is a copy that its own ledger does not list, and of which there is no second one. `declared`: the Backend
    /// on which a document declares it.
    fn is_copy(&self, backend: &Name, uid: Uid, declared: Option<&Name>) -> bool {
        let others = self.ledgers.iter().filter(|(other, _)| **other != backend).map(|(_, ledger)| *ledger);
        let mut others = others.chain(self.away.iter().copied());
        let known_copy = self.ledgers.get(backend).is_some_and(|ledger| ledger.copies.contains(&uid));
        match declared {
            Some(declared) if declared == backend => false,
            // It is held as moved, unless the object was removed. A known copy is one only while another ledger knows its object: without
            // that ledger, nothing else shows that there was an object.
            Some(_) => {
                others.any(|ledger| ledger.has_tombstone(uid) || (known_copy && ledger.complete.contains_key(&uid)))
            }
            None => known_copy || others.any(|ledger| ledger.complete.contains_key(&uid) || ledger.has_tombstone(uid)),
        }
    }
}

/// Returns the Backend on which a document declares an object, under its name or under a new one. `renamed`: the new names, by kind and old
/// name.
fn declared_on<'s>(
    specs: &'s Specs,
    renamed: &HashMap<(Kind, &'s Name), &'s Name>,
    identity: &Identity,
) -> Option<&'s Name> {
    let (kind, name) = (identity.kind, &identity.name);
    let name = if specs.declares(kind, name) { name } else { renamed.get(&(kind, name))? };
    let volume = match kind {
        Kind::Volume => name,
        Kind::Snapshot => &specs.snapshots.get(name)?.volume,
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => return None,
    };
    Some(&specs.volumes.get(volume)?.backend)
}

/// Warns, once for each backend, of copies of objects.
pub(super) fn warn_of_copies(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    for usable in inventory.usable_backends() {
        let copies = usable.observed.objects.iter().filter(|object| object.copy_of.is_some());
        let objects =
            copies.clone().filter_map(|object| object.copy_of.as_ref()).map(|identity| identity.id()).collect();
        let mut named: Vec<String> = copies.map(copy).collect();
        let more = named.len().saturating_sub(SHOWN);
        named.truncate(SHOWN);
        let backend = usable.name;
        let more =
            if more > 0 { format!(" and {more} more (`kiln adopt {backend}` lists all)") } else { String::new() };
        if !named.is_empty() {
            let message = format!(
                "{backend} has copies of objects of another pool, which Kiln leaves as they are: {}{more}; fix: move them out of the pool",
                named.join(", ")
            );
            draft.warn("Copies", message, objects);
        }
    }
}

/// Names a copy: `kiln.prod.db.k3m9x2ab of volume/db`.
fn copy(object: &Object) -> String {
    let of = object.copy_of.as_ref().map(|identity| format!(" of {}", identity.id())).unwrap_or_default();
    format!("{}{of}", object.address())
}
