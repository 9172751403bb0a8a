//! The interface of a store.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::Shared;

use super::error::StoreError;
use crate::model::{BackendRecord, IntentId, JournalEntry, Name, ObjectRecord, OpenIntent, Records, Suspension, Uid};

/// The number of journal entries that are kept: years of manual applies, or a day of the busiest daemon; about 40 MB.
pub const JOURNAL_LINES: u64 = 100_000;

/// One atomic and durable change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Backends to write (`Some`) or remove (`None`).
    pub backends: Vec<(Name, Option<BackendRecord>)>,
    /// Objects to write or remove.
    pub objects: Vec<(Uid, Option<ObjectRecord>)>,
    /// Suspensions to write or remove, by [`Suspension::key`].
    pub suspensions: Vec<(String, Option<Suspension>)>,
    /// Intents to open.
    pub open: Vec<OpenIntent>,
    /// Intents to close.
    pub close: Vec<IntentId>,
    /// Entries to add to the journal.
    pub journal: Vec<JournalEntry>,
    /// Whether it may wait some milliseconds for others: nothing waits for it, and others follow soon.
    pub can_wait: bool,
}

impl Batch {
    /// Returns the number of its changes.
    pub(super) fn len(&self) -> usize {
        let Batch { backends, objects, suspensions, open, close, journal, can_wait: _ } = self;
        backends.len() + objects.len() + suspensions.len() + open.len() + close.len() + journal.len()
    }

    /// Enters the records of this change, which is made: in the order of its lists.
    pub(super) fn enter(self, records: &mut Records) {
        let Batch { backends, objects, suspensions, open: _, close: _, journal: _, can_wait: _ } = self;
        put(&mut records.backends, backends);
        put(&mut records.objects, objects);
        put(&mut records.suspensions, suspensions);
    }
}

fn put<K: Ord, V>(records: &mut BTreeMap<K, V>, changes: Vec<(K, Option<V>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => records.insert(key, value),
            None => records.remove(&key),
        };
    }
}

/// A change that is queued, and may not be durable yet. Several may wait for it.
#[derive(Clone)]
pub struct QueuedCommit(Shared<CommitResult>);

/// The result of a queued change, when it is known.
type CommitResult = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

impl QueuedCommit {
    pub(super) fn new(result: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Self {
        let result: CommitResult = Box::pin(result);
        Self(result.shared())
    }

    /// A change that failed before it was queued.
    pub(crate) fn failed(error: StoreError) -> Self {
        Self::new(std::future::ready(Err(error)))
    }

    /// Returns when it is durable. Those that wait are woken in the order in which they were queued.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn done(self) -> Result<(), StoreError> {
        self.0.await
    }
}

/// A store. Calls block (a commit until it is on disk) and may come from any thread.
pub trait Store: Send + Sync {
    /// Returns all records.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn records(&self) -> Result<Arc<Records>, StoreError>;

    /// Returns the open intents: the steps that were running when a process died.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError>;

    /// Returns a new intent number, larger than the number of every open intent.
    fn next_intent(&self) -> IntentId;

    /// Makes sure that changes can be made. Called before the first effect of a run.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes a change durable: when it returns, a power cut does not undo it. Concurrent calls are written as one.
    ///
    /// # Errors
    /// See [`StoreError`]. After an error the change may or may not have been made.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Queues a change without waiting for the disk. Changes are made in the order in which they are queued.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn queue(&self, batch: Batch) -> Result<QueuedCommit, StoreError> {
        self.commit(batch).map(|()| QueuedCommit::new(std::future::ready(Ok(()))))
    }

    /// Checks that the store's lock and database are still at the path where they were opened.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] if they are not; [`StoreError::Io`] if that cannot be checked.
    fn check_place(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether a commit blocks, and must not be called from an async thread.
    fn waits_for_disk(&self) -> bool {
        true
    }

    /// Returns the last `limit` entries of the journal, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError>;
}
