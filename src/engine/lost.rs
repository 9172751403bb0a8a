//! Which objects are lost: a ledger or the store expects them, and no backend shows them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Identity, Kind, Name, Object, ObjectRecord, Owner, Place, Records, Uid};
use crate::plan::{Observation, World};

use super::ledger::SharedLedger;

/// An object that is lost.
pub(super) struct LostObject {
    /// The backend that should hold it.
    pub backend: Name,
    pub kind: Kind,
    pub name: Name,
    pub uid: Uid,
}

/// Returns what is lost, of any name. An object that stands under another name is not lost.
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
    let by_ledger = ledgers.iter().flat_map(|(backend, ledger)| {
        let expected = ledger.complete.iter().filter(|(uid, _)| !ledger.leaving.contains(uid));
        expected.map(move |(uid, entry)| (backend, entry.kind, &entry.name, *uid))
    });
    // Seconds pass before a create is entered in the ledger.
    let by_store = records.objects.values().filter(|record| {
        let (id, uid) = (&record.identity, record.identity.uid);
        let is_known = ledgers.values().any(|ledger| {
            ledger.complete.contains_key(&uid) || ledger.leaving.contains(&uid) || ledger.tombstones.contains_key(&uid)
        });
        record.was_live() && !is_known && id.owner == *owner
    });
    let by_store = by_store
        .map(|ObjectRecord { identity: Identity { kind, name, uid, .. }, backend, .. }| (backend, *kind, name, *uid));
    let lost = by_ledger.chain(by_store).filter(|(.., uid)| !shown.contains(uid));
    lost.map(|(backend, kind, name, uid)| LostObject { backend: backend.clone(), kind, name: name.clone(), uid })
        .collect()
}
