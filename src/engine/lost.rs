//! Which objects are lost: a ledger or the store expects them, and no backend shows them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Kind, Ledger, Name, Object, Owner, Place, Records, Uid};
use crate::plan::{Observation, World};

/// Returns what is lost of a name, each with the backend that should hold it. An object that stands under another name is not lost.
///
/// An object on a backend that was not observed is among them: callers tell it apart.
pub(super) fn lost(
    world: &World,
    ledgers: &BTreeMap<Name, Ledger>,
    records: &Records,
    owner: &Owner,
    kind: Kind,
    name: &Name,
) -> Vec<(Name, Uid)> {
    let objects = world.values().flat_map(Observation::objects);
    let shown: BTreeSet<Uid> = objects.filter(|o| o.place != Place::Temporary).filter_map(Object::uid).collect();
    let by_ledger =
        ledgers.iter().flat_map(|(backend, ledger)| ledger.expected(kind, name).map(|(uid, _)| (backend.clone(), uid)));
    // Seconds pass before a create is entered in the ledger.
    let by_store = records.objects.values().filter(|record| {
        let (id, uid) = (&record.identity, record.identity.uid);
        let was_live = record.seen.as_ref().is_some_and(|seen| seen.place == Place::Live);
        let is_known = ledgers.values().any(|ledger| {
            ledger.complete.contains_key(&uid) || ledger.leaving.contains(&uid) || ledger.tombstones.contains_key(&uid)
        });
        was_live && !is_known && id.owner == *owner && id.kind == kind && id.name == *name
    });
    let all = by_ledger.chain(by_store.map(|record| (record.backend.clone(), record.identity.uid)));
    all.filter(|(_, uid)| !shown.contains(uid)).collect()
}
