//! The interface of a store.

use std::sync::Arc;

use super::error::StoreError;
use crate::model::{BackendRecord, IntentId, JournalEntry, Name, ObjectRecord, OpenIntent, Records, Suspension, Uid};

/// How many lines of the journal are kept: years of a person's applies, a day of the busiest daemon, some 40 MB.
pub const JOURNAL_LINES: u64 = 100_000;

/// One durable change: all of it or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Backends to write (`Some`) or forget (`None`).
    pub backends: Vec<(Name, Option<BackendRecord>)>,
    /// Objects to write or forget.
    pub objects: Vec<(Uid, Option<ObjectRecord>)>,
    /// Suspensions to write or lift, by [`Suspension::key`].
    pub suspensions: Vec<(String, Option<Suspension>)>,
    /// Intents to open.
    pub open: Vec<OpenIntent>,
    /// Intents to close.
    pub close: Vec<IntentId>,
    /// JournalRange to add to the journal.
    pub journal: Vec<JournalEntry>,
}

impl Batch {
    /// Makes this change and that one a single one. What `other` says of the same thing counts.
    pub fn append(&mut self, other: Batch) {
        let Batch { backends, objects, suspensions, open, close, journal } = other;
        self.backends.extend(backends);
        self.objects.extend(objects);
        self.suspensions.extend(suspensions);
        self.open.extend(open);
        self.close.extend(close);
        self.journal.extend(journal);
    }
}

/// What the engine asks of a store. Calls block (a commit until it is on disk) and come from any thread.
pub trait Store: Send + Sync {
    /// All records.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn records(&self) -> Result<Arc<Records>, StoreError>;

    /// Intents that were opened and not closed: what was running when a process died.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError>;

    /// A number that no intent, open or closed, has had since the store was opened, larger than those open.
    fn next_intent(&self) -> IntentId;

    /// Makes a change durable: when it returns, a power cut does not undo it. Concurrent calls are gathered into one.
    ///
    /// # Errors
    /// See [`StoreError`]. After an error the change may or may not be there.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Checks that the store's lock and database are still at the path where they were opened.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] if they are not; [`StoreError::Io`] if that cannot be told.
    fn check_place(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether a commit waits for a disk, so that it must not be called from an async thread.
    fn waits_for_disk(&self) -> bool {
        true
    }

    /// The last `limit` lines of the journal, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError>;
}
