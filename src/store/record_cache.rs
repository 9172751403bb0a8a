//! The records in memory, as the acknowledged commits left them: a process that runs for months does not read them anew for
//! each pass.
//!
//! Commits come from any thread, and their answers wake those threads in any order. So each is given its place when it is handed
//! to the committer, which works in that order, and none after one that failed: an answer speaks for all that were handed over
//! before. After a commit of which nobody knows what became, the disk alone knows, and is read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::contract::Batch;
use super::error::StoreError;
use crate::model::{BackendRecord, Name, ObjectRecord, Records, Suspension, Uid};

/// What a batch changes of the records.
#[derive(Debug, Default)]
pub(super) struct Changes {
    backends: BTreeMap<Name, Option<BackendRecord>>,
    objects: BTreeMap<Uid, Option<ObjectRecord>>,
    suspensions: BTreeMap<String, Option<Suspension>>,
}

impl Changes {
    /// Of what is written twice, the last is what holds.
    pub(super) fn of(batch: Batch) -> Changes {
        let Batch { backends, objects, suspensions, open: _, close: _, journal: _ } = batch;
        Changes {
            backends: backends.into_iter().collect(),
            objects: objects.into_iter().collect(),
            suspensions: suspensions.into_iter().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        let Changes { backends, objects, suspensions } = self;
        backends.is_empty() && objects.is_empty() && suspensions.is_empty()
    }

    fn then(&mut self, later: Changes) {
        let Changes { backends, objects, suspensions } = later;
        self.backends.extend(backends);
        self.objects.extend(objects);
        self.suspensions.extend(suspensions);
    }

    fn apply(self, records: &mut Records) {
        let Changes { backends, objects, suspensions } = self;
        put(&mut records.backends, backends);
        put(&mut records.objects, objects);
        put(&mut records.suspensions, suspensions);
    }
}

fn put<K: Ord, V>(there: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => there.insert(key, value),
            None => there.remove(&key),
        };
    }
}

/// The records, while they are known without reading.
pub(super) struct RecordCache(Mutex<Option<CachedRecords>>);

struct CachedRecords {
    records: Arc<Records>,
    /// Acknowledged, and put in when somebody asks next: by then, most often, nobody has the records of before any more, and
    /// they need not be copied.
    acknowledged: Changes,
    /// With the committer, oldest first.
    sent: VecDeque<(u64, Changes)>,
    next: u64,
}

impl RecordCache {
    pub(super) fn new(records: Records) -> RecordCache {
        let inner = CachedRecords {
            records: Arc::new(records),
            acknowledged: Changes::default(),
            sent: VecDeque::new(),
            next: 0,
        };
        RecordCache(Mutex::new(Some(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Option<CachedRecords>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them; `None`: they have to be read.
    pub(super) fn records(&self) -> Option<Arc<Records>> {
        let mut inner = self.inner();
        let inner = inner.as_mut()?;
        if !inner.acknowledged.is_empty() {
            std::mem::take(&mut inner.acknowledged).apply(Arc::make_mut(&mut inner.records));
        }
        Some(Arc::clone(&inner.records))
    }

    /// Hands changes over by `send`; their number in the order in which that was done.
    pub(super) fn hand_over(
        &self,
        changes: Changes,
        send: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let mut inner = self.inner();
        send()?;
        let Some(inner) = inner.as_mut() else { return Ok(0) };
        let number = inner.next;
        inner.next += 1;
        inner.sent.push_back((number, changes));
        Ok(number)
    }

    /// The changes of this number, and all that were handed over before, are on disk.
    pub(super) fn acknowledge(&self, number: u64) {
        let mut inner = self.inner();
        let Some(inner) = inner.as_mut() else { return };
        while inner.sent.front().is_some_and(|(sent, _)| *sent <= number) {
            if let Some((_, changes)) = inner.sent.pop_front() {
                inner.acknowledged.then(changes);
            }
        }
    }

    /// Nobody knows what became of a commit: from now on the disk is read.
    pub(super) fn forget(&self) {
        *self.inner() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgets(names: &[&str]) -> Changes {
        let backends = names.iter().map(|name| (name.parse().unwrap(), None)).collect();
        Changes { backends, ..Changes::default() }
    }

    fn records(names: &[&str]) -> Records {
        let record = BackendRecord {
            place: String::new(),
            pool: crate::model::PoolId(String::new()),
            owner: crate::model::Owner::unnamed(),
            observed_at: 0,
            ledger: None,
        };
        let backends = names.iter().map(|name| (name.parse().unwrap(), record.clone())).collect();
        Records { backends, ..Records::default() }
    }

    #[test]
    fn an_answer_speaks_for_all_that_was_handed_over_before() {
        let known = RecordCache::new(records(&["a", "b", "c"]));
        let first = known.hand_over(forgets(&["a"]), || Ok(())).unwrap();
        let second = known.hand_over(forgets(&["b"]), || Ok(())).unwrap();
        known.hand_over(forgets(&["c"]), || Ok(())).unwrap();
        assert_eq!(known.records().as_deref(), Some(&records(&["a", "b", "c"])));
        known.acknowledge(second);
        known.acknowledge(first);
        assert_eq!(known.records().as_deref(), Some(&records(&["c"])));
    }

    #[test]
    fn after_a_commit_of_which_nobody_knows_nothing_is_known() {
        let known = RecordCache::new(records(&["a"]));
        let number = known.hand_over(forgets(&["a"]), || Ok(())).unwrap();
        known.forget();
        known.acknowledge(number);
        assert_eq!(known.records(), None);
        assert!(known.hand_over(forgets(&["a"]), || Ok(())).is_ok(), "it is for the committer to refuse");
        assert_eq!(known.records(), None);
    }
}
