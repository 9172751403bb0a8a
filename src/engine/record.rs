//! Records and journal lines.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Action, BackendRecord, Clients, DriverError, Identity, JournalEntry, JournalOutcome, Ledger, Name, Object,
    ObjectRecord, Outcome, Place, Step, Uid, Written,
};
use crate::plan::Observation;
use crate::store::{Batch, Store, StoreError};

use super::backend_session::BackendSession;
use super::session::Session;

/// How old a record may become, in seconds, before it is written again because of its time alone, or of the bytes that an object occupies:
/// a pass with nothing to do writes nothing. `trash purge` trusts a clock up to a day beyond the recorded time.
const FRESH: u64 = 3600;

fn is_fresh(at: u64, now: u64) -> bool {
    at.abs_diff(now) <= FRESH
}

impl Session<'_> {
    /// Records what was observed in the store, for drift and for objects on backends that are away later. Writes only what changed.
    ///
    /// `settled`: the objects that match their declarations, with nothing to do.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn record(&mut self, settled: &HashSet<Uid>) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        // Drops the records that the plan was made from, so that the store does not keep two copies.
        self.records = Arc::default();
        let known = store.records()?;
        let owner = &self.specs().stack.owner;
        let mut batch = Batch::default();
        for (name, ledger) in &self.ledgers {
            let Some(Observation::Seen { observed, .. }) = self.observations.world.get(name) else { continue };
            let place = self.specs().backends[name].config.place();
            let is_recorded = known.backends.get(name).is_some_and(|old| {
                let BackendRecord { place: at, pool, owner: of, observed_at, ledger: stored } = old;
                let is_same = *at == place && *pool == ledger.pool && of == owner && stored.as_ref() == Some(&**ledger);
                is_same && is_fresh(*observed_at, self.now)
            });
            let is_on_pool = self.observations.backends.get(name).is_some_and(BackendSession::has_ledger);
            if ledger.serial > 0 && is_on_pool && !is_recorded {
                let (pool, owner, ledger) = (ledger.pool.clone(), owner.clone(), Some(Ledger::clone(ledger)));
                let record = BackendRecord { place, pool, owner, observed_at: self.now, ledger };
                batch.backends.push((name.clone(), Some(record)));
            }
            for object in observed.objects.iter().filter(|o| o.place != Place::Temporary && o.conflict.is_none()) {
                let Some(identity) = object.identity.as_ref().filter(|id| id.owner == *owner) else { continue };
                let (clients, written) = (Clients::Unknown, Written::Unknown);
                let without = Object { id: None, provisioning: None, blocker: None, ..object.clone() };
                let object = Object { clients, written, ..without };
                let mut known = known.objects.get(&identity.uid).cloned();
                if settled.contains(&identity.uid) {
                    // If it differs, the record is replaced by what was observed.
                    known = known.filter(|record| {
                        record.size == object.size
                            && record.settings == object.settings
                            && record.tags == object.tags.lasting()
                            && record.native == object.native
                            && record.identity == *identity
                    });
                }
                // Without a Stack, the record distinguishes objects of these manifests from those that other manifests declare.
                if known.is_none()
                    && !self.specs().stack.declared
                    && !self.specs().declares(identity.kind, &identity.name)
                {
                    continue;
                }
                batch.objects.extend(record_of(name, identity, &object, known.as_ref(), ledger, self.now));
            }
        }
        batch.suspensions = self.suspensions_to_remember(&known);
        // Objects with a tombstone have no record, unless they are on another pool now.
        let is_somewhere = |uid: &&Uid| self.ledgers.values().any(|ledger| ledger.complete.contains_key(uid));
        for ledger in self.ledgers.values() {
            let buried = |uid: &&Uid| ledger.tombstones.contains_key(uid) && !is_somewhere(uid);
            batch.objects.extend(known.objects.keys().filter(buried).map(|uid| (*uid, None)));
        }
        drop(known);
        if batch == Batch::default() { Ok(()) } else { commit(store, batch).await }
    }
}

/// Records the ledger of a backend, if the pool certainly has it.
pub(super) async fn record_ledger(
    store: &Arc<dyn Store>,
    backend: &BackendSession,
    ledger: &Ledger,
    now: u64,
) -> Result<(), StoreError> {
    if ledger.serial == 0 || !backend.has_ledger() {
        return Ok(());
    }
    let spec = &backend.spec;
    let (place, pool, owner) = (spec.config.place(), ledger.pool.clone(), ledger.owner.clone());
    let record = BackendRecord { place, pool, owner, observed_at: now, ledger: Some(ledger.clone()) };
    let backends = vec![(spec.meta.name.clone(), Some(record))];
    commit(store, Batch { backends, ..Batch::default() }).await
}

/// The record to write for an object as it was observed before the steps of this pass, unless the store has it already. A record that
/// was written after a step of this pass is newer than the observation.
fn record_of(
    backend: &Name,
    identity: &Identity,
    object: &Object,
    known: Option<&ObjectRecord>,
    ledger: &Ledger,
    now: u64,
) -> Option<(Uid, Option<ObjectRecord>)> {
    let uid = identity.uid;
    if ledger.tombstones.contains_key(&uid) {
        return None;
    }
    match known {
        Some(known) if known.seen_at >= now => None,
        Some(known) if known.backend == *backend && is_recorded(known, object, now) => None,
        Some(known) => {
            let mut record = known.clone().with_seen(Some(object));
            (record.seen_at, record.backend) = (now, backend.clone());
            Some((uid, Some(record)))
        }
        None => Some((uid, Some(ObjectRecord::of(identity.clone(), backend.clone(), object, now)))),
    }
}

/// Whether a record shows an object as it is observed. The bytes that it occupies change with every write of a client.
fn is_recorded(known: &ObjectRecord, object: &Object, now: u64) -> bool {
    known.seen_object().is_some_and(|mut seen| {
        if is_fresh(known.seen_at, now) {
            seen.used = object.used;
        }
        seen == *object
    })
}

/// The record of an object after its step, under the name that it is `known` by in the ledger.
///
/// Only an object on a Backend has one: `backend` is that of the step.
pub(super) fn record_after(
    step: &Step,
    known: Option<&Name>,
    backend: &Name,
    live: Option<&Object>,
    trashed: Option<&Object>,
    now: u64,
) -> (Uid, Option<ObjectRecord>) {
    let name = known.unwrap_or(&step.identity.name).clone();
    let of = |object| ObjectRecord::of(Identity { name, ..step.identity.clone() }, backend.clone(), object, now);
    (step.identity.uid, live.or(trashed).map(of))
}

/// The record of a snapshot that a step moved inside of its volume.
pub(super) fn record_of_inner(
    backend: &Name,
    identity: Identity,
    object: &Object,
    now: u64,
) -> (Uid, Option<ObjectRecord>) {
    (identity.uid, Some(ObjectRecord::of(identity, backend.clone(), object, now)))
}

/// The journal's line about a step that was made.
pub(super) fn journal_entry(
    step: &Step,
    revision: &str,
    now: u64,
    result: &Result<Outcome, DriverError>,
    took: Duration,
) -> JournalEntry {
    let (action, detail) = (step.action.verb().into(), step.action.to_string());
    JournalEntry {
        destroys: Some(step.action == Action::Destroy),
        outcome: JournalOutcome::from(result),
        message: result.as_ref().err().map(ToString::to_string),
        millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        ..JournalEntry::new(now, revision, step.endpoint.clone(), &step.identity, action, detail)
    }
}

/// Queues a change at once, and returns when it is on disk: calls and the journal keep the order of the plan.
pub(super) async fn commit(store: &Arc<dyn Store>, batch: Batch) -> Result<(), StoreError> {
    store.queue(batch)?.done().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, volume};
    use crate::model::{Reason, Seconds};

    #[test]
    fn the_journal_tells_destructions_from_other_steps() {
        for (action, destroys) in [
            (Action::Destroy, true),
            (Action::Purge, false),
            (Action::Sweep, false),
            (Action::Trash { ttl: Seconds(60), with: Vec::new() }, false),
        ] {
            let step = Step::new(name("fast"), volume("db"), action, Reason::NotDeclared);
            let entry = journal_entry(&step, "", 1000, &Ok(Outcome::Changed), Duration::ZERO);
            assert_eq!((entry.destroys, entry.records_destruction()), (Some(destroys), destroys), "{entry:?}");
        }
    }
}
