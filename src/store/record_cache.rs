//! The records in memory, as of the acknowledged commits. A daemon does not read them from disk for each pass.
//!
//! Commits come from any thread, and their results wake those threads in any order. So each commit gets a number when it is queued; the
//! writer works in that order, and does nothing after a failure. The result of one commit therefore covers all that were queued before
//! it. After a commit with an unknown result, the records are read from disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::contract::Batch;
use super::error::StoreError;
use crate::model::{BackendRecord, Name, ObjectRecord, Records, Suspension, Uid};

/// The changes of a batch to the records.
#[derive(Debug, Default)]
pub(super) struct Changes {
    backends: BTreeMap<Name, Option<BackendRecord>>,
    objects: BTreeMap<Uid, Option<ObjectRecord>>,
    suspensions: BTreeMap<String, Option<Suspension>>,
}

impl Changes {
    /// The last change to a record counts.
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

/// The records, unless they must be read from disk.
pub(super) struct RecordCache(Mutex<Option<CachedRecords>>);

struct CachedRecords {
    records: Arc<Records>,
    /// Acknowledged changes. They are applied at the next request: by then the previous records usually have no other user, so they
    /// need not be copied.
    acknowledged: Changes,
    /// Queued changes, oldest first.
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

    /// All records. `None` if they must be read from disk.
    pub(super) fn records(&self) -> Option<Arc<Records>> {
        let mut inner = self.inner();
        let inner = inner.as_mut()?;
        if !inner.acknowledged.is_empty() {
            std::mem::take(&mut inner.acknowledged).apply(Arc::make_mut(&mut inner.records));
        }
        Some(Arc::clone(&inner.records))
    }

    /// Queues changes by `send`, and returns their number.
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

    /// Acknowledges the changes of this number and all before: they are on disk.
    pub(super) fn acknowledge(&self, number: u64) {
        let mut inner = self.inner();
        let Some(inner) = inner.as_mut() else { return };
        while inner.sent.front().is_some_and(|(sent, _)| *sent <= number) {
            if let Some((_, changes)) = inner.sent.pop_front() {
                inner.acknowledged.then(changes);
            }
        }
    }

    /// Records that the result of a commit is unknown. From now on, records are read from disk.
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
    fn a_result_covers_all_commits_that_were_queued_before() {
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
    fn after_a_commit_with_an_unknown_result_records_are_read_from_disk() {
        let known = RecordCache::new(records(&["a"]));
        let number = known.hand_over(forgets(&["a"]), || Ok(())).unwrap();
        known.forget();
        known.acknowledge(number);
        assert_eq!(known.records(), None);
        assert!(known.hand_over(forgets(&["a"]), || Ok(())).is_ok(), "the writer refuses it");
        assert_eq!(known.records(), None);
    }
}
