//! A read-only store in memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{IntentId, JournalEntry, OpenIntent, Records};

use super::codec;
use super::contract::{Batch, Store};
use super::error::StoreError;

/// A read-only store.
pub(super) struct Frozen {
    dir: PathBuf,
    records: Arc<Records>,
    intents: Vec<OpenIntent>,
    /// As JSON: most commands need a few lines, and decoding a hundred thousand takes half a second.
    journal: VecDeque<Vec<u8>>,
    next_intent: AtomicU64,
}

impl Frozen {
    /// `journal` is JSON, oldest first.
    pub(super) fn new(dir: &Path, records: Arc<Records>, intents: Vec<OpenIntent>, journal: VecDeque<Vec<u8>>) -> Frozen {
        let next = intents.iter().map(|intent| intent.id.0.saturating_add(1)).max().unwrap_or(1);
        Frozen { dir: dir.to_owned(), records, intents, journal, next_intent: AtomicU64::new(next) }
    }

    fn failed(&self, message: &str) -> StoreError {
        StoreError::Io { path: self.dir.display().to_string(), message: message.to_owned() }
    }
}

impl Store for Frozen {
    fn records(&self) -> Result<Arc<Records>, StoreError> {
        Ok(Arc::clone(&self.records))
    }

    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        Ok(self.intents.clone())
    }

    fn next_intent(&self) -> IntentId {
        IntentId(self.next_intent.fetch_add(1, Ordering::Relaxed))
    }

    fn commit(&self, _: Batch) -> Result<(), StoreError> {
        Err(self.failed("it was opened read-only"))
    }

    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        let lines = self.journal.iter().skip(self.journal.len().saturating_sub(limit));
        Ok(codec::journal_entries(lines.map(Vec::as_slice)))
    }
}
