//! A store that is made by the first change: a run whose plan is not confirmed leaves none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::terminal::Terminal;
use crate::engine::{Clock, SystemClock};
use crate::model::{IntentId, JournalEntry, OpenIntent, Records};
use crate::store::{self, Batch, QueuedCommit, Store, StoreError};

/// A store that does not exist yet. It is empty until the first change, which makes and locks it.
pub(super) struct LateStore {
    dir: PathBuf,
    terminal: Terminal,
    made: Mutex<Option<Arc<dyn Store>>>,
}

impl LateStore {
    /// Returns the store in a directory without one.
    pub(super) fn new(dir: PathBuf, terminal: Terminal) -> Self {
        Self { dir, terminal, made: Mutex::default() }
    }

    /// Returns the store, if it was made.
    fn made(&self) -> Option<Arc<dyn Store>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the store, unless it was made.
    ///
    /// # Errors
    /// Those of [`store::open`]; [`StoreError::Io`] if another process has made and filled it meanwhile.
    fn make(&self) -> Result<Arc<dyn Store>, StoreError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*made {
            return Ok(Arc::clone(store));
        }
        let opened = store::open(&self.dir, SystemClock.now())?;
        // What was planned does not know these records.
        if *opened.store.records()? != Records::default() || !opened.store.intents()?.is_empty() {
            let message = "another process made it during this run, which changed nothing: run the command again";
            return Err(StoreError::Io { path: self.dir.display().to_string(), message: message.to_owned() });
        }
        opened.notes.iter().for_each(|note| self.terminal.note(note));
        Ok(Arc::clone(made.insert(opened.store)))
    }
}

impl Store for LateStore {
    fn records(&self) -> Result<Arc<Records>, StoreError> {
        self.made().map_or_else(|| Ok(Arc::default()), |store| store.records())
    }

    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.made().map_or_else(|| Ok(Vec::new()), |store| store.intents())
    }

    fn next_intent(&self) -> IntentId {
        // If the store cannot be made, the commit that opens this intent says so.
        self.make().map_or(IntentId(1), |store| store.next_intent())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.make()?.commit(batch)
    }

    fn queue(&self, batch: Batch) -> Result<QueuedCommit, StoreError> {
        self.make()?.queue(batch)
    }

    fn check_place(&self) -> Result<(), StoreError> {
        self.made().map_or(Ok(()), |store| store.check_place())
    }

    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.made().map_or_else(|| Ok(Vec::new()), |store| store.journal(limit))
    }
}
