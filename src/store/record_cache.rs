//! The records in memory, as of the commits that are on disk. A daemon does not read them from disk for each pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::contract::Batch;
use crate::model::Records;

/// The records, unless they must be read from disk.
pub(super) struct RecordCache(Mutex<Option<CachedRecords>>);

struct CachedRecords {
    records: Arc<Records>,
    /// Changes that are on disk. They are entered at the next request: by then the previous records usually have no other user, so they
    /// need not be copied.
    committed: Vec<Batch>,
}

impl RecordCache {
    pub(super) fn new(records: Records) -> RecordCache {
        RecordCache(Mutex::new(Some(CachedRecords { records: Arc::new(records), committed: Vec::new() })))
    }

    fn inner(&self) -> MutexGuard<'_, Option<CachedRecords>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all records. `None` if they must be read from disk.
    pub(super) fn records(&self) -> Option<Arc<Records>> {
        let mut inner = self.inner();
        let inner = inner.as_mut()?;
        if !inner.committed.is_empty() {
            let records = Arc::make_mut(&mut inner.records);
            std::mem::take(&mut inner.committed).into_iter().for_each(|batch| batch.enter(records));
        }
        Some(Arc::clone(&inner.records))
    }

    /// Enters changes that are on disk now.
    pub(super) fn committed(&self, batches: Vec<Batch>) {
        if let Some(inner) = self.inner().as_mut() {
            // Intents and journal entries are not kept here, and most batches change no record.
            let records = batches.into_iter().map(|Batch { backends, objects, suspensions, .. }| Batch {
                backends,
                objects,
                suspensions,
                ..Batch::default()
            });
            inner.committed.extend(records.filter(|batch| *batch != Batch::default()));
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

    #[test]
    fn after_a_commit_with_an_unknown_result_records_are_read_from_disk() {
        let cache = RecordCache::new(Records::default());
        assert_eq!(cache.records().as_deref(), Some(&Records::default()));
        cache.forget();
        cache.committed(vec![Batch::default()]);
        assert_eq!(cache.records(), None);
    }
}
