//! The store: what Kiln remembers between runs, behind a trait. Never the only truth.

use crate::model::{BackendRecord, IntentId, JournalEntry, Name, ObjectRecord, OpenIntent, Records, Uid};

/// One durable change: all of it or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Backends to write (`Some`) or forget (`None`).
    pub backends: Vec<(Name, Option<BackendRecord>)>,
    /// Objects to write or forget.
    pub objects: Vec<(Uid, Option<ObjectRecord>)>,
    /// Intents to open.
    pub open: Vec<OpenIntent>,
    /// Intents to close.
    pub close: Vec<IntentId>,
    /// Lines to add to the journal.
    pub journal: Vec<JournalEntry>,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A living process has it.
    #[error("the store {path} is in use by process {pid} since {since}")]
    Locked {
        /// The store's directory.
        path: String,
        /// Of the process that holds it.
        pid: u32,
        /// In RFC 3339.
        since: String,
    },
    /// Written by a newer Kiln.
    #[error("the store {path} has format {found}; this kiln reads up to {known}")]
    Newer {
        /// The store's directory.
        path: String,
        /// What it has.
        found: u32,
        /// What this program reads.
        known: u32,
    },
    /// No room, or not writable, or another trouble of the file system.
    #[error("the store {path} cannot be written: {message}")]
    Io {
        /// The store's directory.
        path: String,
        /// One sentence.
        message: String,
    },
}

/// What the engine asks of a store. Calls block (a commit until it is on disk) and come from any thread.
pub trait Store: Send + Sync {
    /// All records.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn records(&self) -> Result<Records, StoreError>;

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

    /// The last `limit` lines of the journal, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError>;
}
