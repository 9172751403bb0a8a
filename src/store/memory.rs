//! A store in memory: what a command that only reads works with, and what tests use, which can make it fail on demand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{IntentId, JournalEntry, OpenIntent, Records};

use super::contract::{Batch, JOURNAL_LINES, Store};
use super::error::StoreError;

/// The point of a commit at which the process crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before any of it is durable.
    Before,
    /// When it is durable, before the call returns.
    After,
}

#[derive(Debug, Clone, Default)]
struct StoredContent {
    records: Arc<Records>,
    intents: BTreeMap<IntentId, OpenIntent>,
    journal: Vec<JournalEntry>,
}

#[derive(Debug, Default)]
struct MemoryState {
    content: StoredContent,
    next_intent: u64,
    commits: u64,
    fail_at: Option<u64>,
    crash_at: Option<(u64, CrashPoint)>,
    dead: bool,
    /// The directory that the content was read from, which is not written to.
    read_from: Option<PathBuf>,
}

/// A store that is lost with its last handle. As with the store on disk, every commit after a failed one fails too, until
/// [`reopen`](Self::reopen).
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<MemoryState>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Returns a store with the content of the one in `dir`. Every commit fails.
    pub(super) fn read_from(
        dir: &Path,
        records: Arc<Records>,
        intents: Vec<OpenIntent>,
        journal: Vec<JournalEntry>,
    ) -> MemoryStore {
        let intents = intents.into_iter().map(|intent| (intent.id, intent)).collect();
        let content = StoredContent { records, intents, journal };
        MemoryStore(Mutex::new(MemoryState { content, read_from: Some(dir.to_owned()), ..MemoryState::default() }))
    }

    /// The number of commits that were begun, failed ones included.
    pub fn commits(&self) -> u64 {
        self.inner().commits
    }

    /// Makes the `n`-th commit (counted from 1) fail as on a full disk, without effect.
    pub fn fail_at(&self, n: u64) {
        self.inner().fail_at = Some(n);
    }

    /// Makes the process crash in the `n`-th commit (counted from 1): that call and all later ones fail, and
    /// [`reopen`](Self::reopen) returns the durable content.
    pub fn crash_at(&self, n: u64, point: CrashPoint) {
        self.inner().crash_at = Some((n, point));
    }

    /// Whether the crash or the failure has happened.
    pub fn is_dead(&self) -> bool {
        self.inner().dead
    }

    /// The store as a new process finds it: its content, without the settings and counts of this one.
    pub fn reopen(&self) -> MemoryStore {
        let inner = self.inner();
        let content = inner.content.clone();
        MemoryStore(Mutex::new(MemoryState { content, ..MemoryState::default() }))
    }

    fn inner(&self) -> MutexGuard<'_, MemoryState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dead() -> StoreError {
    StoreError::Io { path: "(in memory)".to_owned(), message: "simulated failure".to_owned() }
}

impl MemoryState {
    fn alive(&self) -> Result<(), StoreError> {
        if self.dead { Err(dead()) } else { Ok(()) }
    }
}

impl StoredContent {
    fn apply(&mut self, mut batch: Batch) {
        let (open, close, journal) =
            (std::mem::take(&mut batch.open), std::mem::take(&mut batch.close), std::mem::take(&mut batch.journal));
        batch.enter(Arc::make_mut(&mut self.records));
        self.intents.extend(open.into_iter().map(|intent| (intent.id, intent)));
        for id in close {
            self.intents.remove(&id);
        }
        self.journal.extend(journal);
        let surplus = self.journal.len().saturating_sub(JOURNAL_LINES as usize);
        self.journal.drain(..surplus);
    }
}

impl Store for MemoryStore {
    fn waits_for_disk(&self) -> bool {
        false
    }

    fn records(&self) -> Result<Arc<Records>, StoreError> {
        let inner = self.inner();
        inner.alive()?;
        Ok(inner.content.records.clone())
    }

    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        let inner = self.inner();
        inner.alive()?;
        Ok(inner.content.intents.values().cloned().collect())
    }

    fn next_intent(&self) -> IntentId {
        let mut inner = self.inner();
        let open = inner.content.intents.keys().next_back().map_or(0, |id| id.0);
        inner.next_intent = inner.next_intent.max(open) + 1;
        IntentId(inner.next_intent)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.alive()?;
        if let Some(dir) = &inner.read_from {
            let (path, message) = (dir.display().to_string(), "it was opened read-only".to_owned());
            return Err(StoreError::Io { path, message });
        }
        inner.commits += 1;
        let highest = batch.open.iter().map(|intent| intent.id.0).max().unwrap_or(0);
        inner.next_intent = inner.next_intent.max(highest);
        let crash = inner.crash_at.and_then(|(n, point)| (n == inner.commits).then_some(point));
        if inner.fail_at == Some(inner.commits) || crash == Some(CrashPoint::Before) {
            inner.dead = true;
            return Err(dead());
        }
        inner.content.apply(batch);
        if crash == Some(CrashPoint::After) {
            inner.dead = true;
            return Err(dead());
        }
        Ok(())
    }

    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        let inner = self.inner();
        inner.alive()?;
        let journal = &inner.content.journal;
        Ok(journal[journal.len().saturating_sub(limit)..].to_vec())
    }
}
