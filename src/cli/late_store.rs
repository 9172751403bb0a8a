//! A store that is opened for writing by the first change: a run whose plan is not confirmed leaves none, and changes none.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::terminal::Terminal;
use crate::engine::{Clock, SystemClock};
use crate::model::{IntentId, JournalEntry, OpenIntent, Records};
use crate::store::{self, Batch, QueuedCommit, Store, StoreError};

/// A store that was read and is not locked, so that others can read it while a question is open. The first change makes it if it does
/// not exist, and locks it. If that fails, every later change fails with the same error.
pub(super) struct LateStore {
    dir: PathBuf,
    terminal: Terminal,
    /// What was read, without the journal.
    seen: Arc<dyn Store>,
    /// The store open for writing.
    opened: OnceLock<Result<Arc<dyn Store>, StoreError>>,
}

impl LateStore {
    /// Returns the store in a directory, in which `seen` was read.
    pub(super) fn new(dir: PathBuf, terminal: Terminal, seen: Arc<dyn Store>) -> Self {
        Self { dir, terminal, seen, opened: OnceLock::new() }
    }

    /// Returns the store if it is open for writing.
    fn opened(&self) -> Option<&Arc<dyn Store>> {
        self.opened.get()?.as_ref().ok()
    }

    /// Returns the store if it is open for writing, else what was read.
    fn current(&self) -> &Arc<dyn Store> {
        self.opened().unwrap_or(&self.seen)
    }

    /// Opens the store for writing, unless it is open.
    ///
    /// # Errors
    /// Those of [`store::open`]; [`StoreError::Changed`] if another process has changed it meanwhile.
    fn open(&self) -> Result<&Arc<dyn Store>, StoreError> {
        let open = || {
            let opened = store::open(&self.dir, SystemClock.now())?;
            opened.notes.iter().for_each(|note| self.terminal.note(note));
            // What was planned does not know other records.
            let is_as_read =
                opened.store.records()? == self.seen.records()? && opened.store.intents()? == self.seen.intents()?;
            is_as_read
                .then_some(opened.store)
                .ok_or_else(|| StoreError::Changed { path: self.dir.display().to_string() })
        };
        self.opened.get_or_init(open).as_ref().map_err(StoreError::clone)
    }
}

impl Store for LateStore {
    fn records(&self) -> Result<Arc<Records>, StoreError> {
        self.current().records()
    }

    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.current().intents()
    }

    fn next_intent(&self) -> IntentId {
        // If the store cannot be opened, the commit that opens this intent fails.
        self.open().map_or(IntentId(1), |store| store.next_intent())
    }

    fn prepare(&self) -> Result<(), StoreError> {
        self.open().map(drop)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.open()?.commit(batch)
    }

    fn queue(&self, batch: Batch) -> Result<QueuedCommit, StoreError> {
        self.open()?.queue(batch)
    }

    fn check_place(&self) -> Result<(), StoreError> {
        self.opened().map_or(Ok(()), |store| store.check_place())
    }

    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        match self.opened() {
            Some(store) => store.journal(limit),
            None => store::open_read_only(&self.dir, limit)?
                .map_or_else(|| Ok(Vec::new()), |read| read.store.journal(limit)),
        }
    }
}
