//! A store that is opened for writing by the first change: a run whose plan is not confirmed leaves none, and changes none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::terminal::Terminal;
use crate::engine::{Clock, SystemClock};
use crate::model::{IntentId, JournalEntry, OpenIntent, Records};
use crate::store::{self, Batch, QueuedCommit, Store, StoreError};

/// A store that was read and is not locked, so that others can read it while a question is open. The first change makes it if it does
/// not exist, and locks it.
pub(super) struct LateStore {
    dir: PathBuf,
    terminal: Terminal,
    stage: Mutex<LateStage>,
}

enum LateStage {
    /// What was read, without the journal.
    Read(Arc<dyn Store>),
    /// Open for writing.
    Open(Arc<dyn Store>),
}

impl LateStore {
    /// Returns the store in a directory, in which `seen` was read.
    pub(super) fn new(dir: PathBuf, terminal: Terminal, seen: Arc<dyn Store>) -> Self {
        Self { dir, terminal, stage: Mutex::new(LateStage::Read(seen)) }
    }

    fn stage(&self) -> MutexGuard<'_, LateStage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the store if it is open for writing, else what was read.
    fn current(&self) -> Arc<dyn Store> {
        match &*self.stage() {
            LateStage::Read(store) | LateStage::Open(store) => Arc::clone(store),
        }
    }

    /// Returns the store, if it is open for writing.
    fn opened(&self) -> Option<Arc<dyn Store>> {
        match &*self.stage() {
            LateStage::Read(_) => None,
            LateStage::Open(store) => Some(Arc::clone(store)),
        }
    }

    /// Opens the store for writing, unless it is open.
    ///
    /// # Errors
    /// Those of [`store::open`]; [`StoreError::Io`] if another process has changed it meanwhile.
    fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let mut stage = self.stage();
        let seen = match &*stage {
            LateStage::Open(store) => return Ok(Arc::clone(store)),
            LateStage::Read(seen) => seen,
        };
        let opened = store::open(&self.dir, SystemClock.now())?;
        // What was planned does not know other records.
        if opened.store.records()? != seen.records()? || opened.store.intents()? != seen.intents()? {
            let message = "another process changed it during this run, which changed nothing: run the command again";
            return Err(StoreError::Io { path: self.dir.display().to_string(), message: message.to_owned() });
        }
        opened.notes.iter().for_each(|note| self.terminal.note(note));
        *stage = LateStage::Open(Arc::clone(&opened.store));
        Ok(opened.store)
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
        // If the store cannot be opened, the commit that opens this intent says so.
        self.open().map_or(IntentId(1), |store| store.next_intent())
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
