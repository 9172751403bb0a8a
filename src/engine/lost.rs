//! Which objects are lost: a ledger or the store expects them, and no backend shows them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Absence, Address, Identity, Kind, Name, Object, Owner, Place, Records, Uid};
use crate::plan::{Observation, World};

use super::ledger::SharedLedger;

/// An object that is lost.
pub(super) struct LostObject {
    /// The backend that should hold it.
    pub backend: Name,
    pub kind: Kind,
    pub name: Name,
    pub uid: Uid,
    /// Whether its backend was observed, and does not prove that it is gone.
    pub may_exist: bool,
}

/// Returns what is lost, of any name. An object that stands under another name is not lost. Where the ledger proves absence, a creation
/// whose outcome is not known is among them.
///
/// An object on a backend that was not observed is among them: callers tell it apart.
pub(super) fn lost(
    world: &World,
    ledgers: &BTreeMap<Name, SharedLedger>,
    records: &Records,
    owner: &Owner,
) -> Vec<LostObject> {
    let objects = world.values().flat_map(Observation::objects);
    let shown: BTreeSet<Uid> = objects.filter(|o| o.place != Place::Temporary).filter_map(Object::uid).collect();
    let may_exist = |backend: &Name, kind: Kind, known: &[Address]| {
        world.get(backend).and_then(Observation::observed).is_some_and(|seen| !seen.proves_gone(kind, known))
    };
    let lost = |backend: &Name, kind: Kind, name: &Name, uid: Uid, known: &[Address]| {
        let may_exist = may_exist(backend, kind, known);
        LostObject { backend: backend.clone(), kind, name: name.clone(), uid, may_exist }
    };
    let by_ledger = ledgers.iter().flat_map(|(backend, ledger)| {
        let expected = ledger.complete.iter().filter(|(uid, _)| !ledger.leaving.contains(uid) && !shown.contains(uid));
        expected.map(move |(uid, entry)| lost(backend, entry.kind, &entry.name, *uid, &ledger.addresses_of(*uid)))
    });
    let is_by_ledger = |backend: &Name| {
        world.get(backend).and_then(Observation::capabilities).is_some_and(|can| can.absence == Absence::ByLedger)
    };
    let creating = ledgers.iter().filter(|(backend, _)| is_by_ledger(backend)).flat_map(|(backend, ledger)| {
        let unseen =
            ledger.creating.iter().filter(|(uid, _)| !ledger.complete.contains_key(uid) && !shown.contains(uid));
        unseen.map(move |(uid, entry)| lost(backend, entry.kind, &entry.name, *uid, &[entry.address()]))
    });
    // Seconds pass before a create is entered in the ledger.
    let by_store = records.objects.values().filter(|record| {
        let (id, uid) = (&record.identity, record.identity.uid);
        let is_known = ledgers.values().any(|ledger| {
            ledger.complete.contains_key(&uid) || ledger.leaving.contains(&uid) || ledger.tombstones.contains_key(&uid)
        });
        record.was_live() && !is_known && id.owner == *owner && !shown.contains(&uid)
    });
    let by_store = by_store.map(|record| {
        let Identity { kind, name, uid, .. } = &record.identity;
        lost(&record.backend, *kind, name, *uid, &[record.address()])
    });
    by_ledger.chain(creating).chain(by_store).collect()
}
