//! Absence by ledger: where a backend can neither list its objects nor answer for a name, the intact ledger answers.

use std::collections::{BTreeMap, HashSet};

use crate::model::{
    Absence, Address, Ledger, Name, NativeName, Object, ObjectRecord, Observed, OpenIntent, Place, Reading, Records,
    Uid,
};

use super::backend_state::certain_ledger;
use super::places::wanted_names;
use super::types::{Observation, World};

/// Answers for the names that matter on backends that prove absence by their ledger. Absent is what neither the ledger nor the store
/// knows: it has no entry, no creation of it was announced, and none was begun whose outcome is not known. Without an intact ledger there
/// is no answer.
pub fn answer_by_ledger(reading: &Reading, world: &mut World, records: &Records, intents: &[OpenIntent]) {
    for (name, wanted) in wanted_names(reading, world, records, intents, Absence::ByLedger) {
        let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) = world.get_mut(&name)
        else {
            continue;
        };
        // A record that cannot be read may be that of any object.
        if !observed.gaps.is_empty() {
            continue;
        }
        let owner = &reading.specs.stack.owner;
        let of_pool = observed.pool.iter().flat_map(|pool| records.of_pool(pool));
        let here: BTreeMap<&Name, _> = of_pool.chain(records.backends.get_key_value(&name)).collect();
        let stored = here.values().filter_map(|record| record.ledger.as_ref()).filter(|ledger| ledger.owner == *owner);
        let Ok(ledger) = certain_ledger(observed, stored.max_by_key(|ledger| ledger.serial)) else { continue };
        let is_here = |record: &&ObjectRecord| {
            (record.backend == name || here.contains_key(&record.backend)) && record.identity.owner == *owner
        };
        let remembered = records.objects.values().filter(is_here);
        let begun = intents.iter().filter(|intent| intent.step.backend() == Some(&name));
        let may_exist = may_exist(observed, ledger, remembered, begun);
        let shown: HashSet<Address> = observed.objects.iter().map(Object::address).collect();
        observed.queried.extend(wanted.into_iter().filter(|at| shown.contains(at) || !may_exist.contains(&at.native)));
    }
}

/// Returns every native name that an object can have which is not shown. It counts inside of each volume: the volume of a snapshot may have
/// been renamed since, and the names that Kiln makes contain the uid.
fn may_exist<'a>(
    observed: &Observed,
    ledger: Option<&Ledger>,
    remembered: impl Iterator<Item = &'a ObjectRecord>,
    begun: impl Iterator<Item = &'a OpenIntent>,
) -> HashSet<NativeName> {
    let whole = observed.objects.iter().filter(|object| object.place != Place::Temporary);
    let shown: HashSet<Uid> = whole.filter_map(Object::uid).collect();
    let is_gone = |uid: Uid| {
        shown.contains(&uid) || ledger.is_some_and(|ledger| ledger.has_tombstone(uid) || ledger.lets_go(uid))
    };
    let entered = ledger.into_iter().flat_map(|ledger| ledger.unseen(observed)).flat_map(|(_, _, addresses)| addresses);
    let remembered = remembered.filter(|record| record.was_live() && !is_gone(record.identity.uid));
    let begun = begun.filter(|intent| intent.step.action.is_first() && !is_gone(intent.step.identity.uid));
    let begun = begun.flat_map(|intent| {
        let step = &intent.step;
        std::iter::once(step.address()).chain(step.address_of_unfinished())
    });
    let addresses = entered.chain(remembered.map(ObjectRecord::address)).chain(begun);
    addresses.map(|at| at.native).collect()
}
