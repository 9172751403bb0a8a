//! The store on disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::model::{IntentId, JournalEntry, OpenIntent, Records};

use super::codec;
use super::commit::{CommitReply, Committer, QueuedBatch, Shared};
use super::contract::{Batch, QueuedCommit, Store};
use super::db::Db;
use super::dir::DATABASE;
use super::error::{DbError, StoreError, trouble};
use super::load::{self, LoadedStore};
use super::lock::{self, StoreLock};
use super::mark::MarkFile;
use super::record_cache::RecordCache;

/// How long to wait for a commit. A group takes a hundredth of a second; a disk that resets its link, half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// A database that is open for writing.
pub(super) struct Persistent {
    /// `None` only while dropping.
    shared: Option<Arc<Shared>>,
    jobs: Option<Sender<QueuedBatch>>,
    committer: Option<JoinHandle<()>>,
    next_intent: AtomicU64,
    /// Whether a commit has timed out.
    hangs: Arc<AtomicBool>,
    /// Held by the one that waits for an answer on a thread; the others follow in the order of the queue.
    turns: Arc<tokio::sync::Mutex<()>>,
    /// Device and inode of the database's directory when it was opened.
    database: Option<(u64, u64)>,
    /// Released last.
    lock: StoreLock,
}

impl Persistent {
    /// Starts the writing thread of a database that was opened and read.
    pub(super) fn start(
        dir: &Path,
        lock: StoreLock,
        db: Db,
        mark: MarkFile,
        loaded: LoadedStore,
    ) -> Result<Persistent, StoreError> {
        let next = loaded.intents.iter().map(|intent| intent.id.0.saturating_add(1)).max().unwrap_or(1);
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            db,
            gate: RwLock::new(()),
            lines: Mutex::new(loaded.lines),
            cache: RecordCache::new(loaded.records),
        });
        let committer = Committer {
            shared: Arc::clone(&shared),
            seq: loaded.seq,
            rows: loaded.rows,
            checksum: loaded.checksum,
            mark,
            failed: None,
        };
        let (jobs, queue): (Sender<QueuedBatch>, Receiver<QueuedBatch>) = channel();
        let thread = std::thread::Builder::new().name("kiln-commit".to_owned()).spawn(move || committer.run(&queue));
        Ok(Persistent {
            shared: Some(shared),
            jobs: Some(jobs),
            committer: Some(thread.map_err(|e| trouble(dir, "no thread can be started", &e))?),
            next_intent: AtomicU64::new(next),
            hangs: Arc::default(),
            turns: Arc::default(),
            database: lock::identity_at(&dir.join(DATABASE)).map_err(|e| trouble(dir, "it cannot be checked", &e))?,
            lock,
        })
    }

    fn failed(&self, message: String) -> StoreError {
        let path = self.shared.as_ref().map(|shared| shared.dir.display().to_string()).unwrap_or_default();
        StoreError::Io { path, message }
    }

    /// Queues a batch for the writing thread.
    fn send(&self, batch: Batch, done: CommitReply) -> Result<(), StoreError> {
        if let Some(highest) = batch.open.iter().map(|intent| intent.id.0).max() {
            self.next_intent.fetch_max(highest.saturating_add(1), Ordering::Relaxed);
        }
        let jobs = self.jobs.as_ref().ok_or_else(|| self.gone())?;
        jobs.send(QueuedBatch { batch, done }).map_err(|_| self.gone())
    }

    fn gone(&self) -> StoreError {
        self.failed("its writing thread has ended".to_owned())
    }

    fn late(&self) -> StoreError {
        self.failed(format!("the disk has not answered for {} s", PATIENCE.as_secs()))
    }

    fn shared(&self) -> Result<&Shared, StoreError> {
        self.shared.as_deref().ok_or_else(|| self.failed("it is closed".to_owned()))
    }

    /// Reads while no batch is applied.
    fn read<T>(&self, read: impl FnOnce(&Shared) -> Result<T, DbError>) -> Result<T, StoreError> {
        let shared = self.shared()?;
        let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        read(shared).map_err(|bad| match bad {
            DbError::Damaged(how) => self.failed(format!(
                "it was damaged while it was in use ({how}); run the command again, which sets it aside"
            )),
            DbError::Newer(_) | DbError::Io(..) => self.failed(bad.sentence()),
        })
    }
}

impl Store for Persistent {
    fn records(&self) -> Result<Arc<Records>, StoreError> {
        match self.shared()?.cache.records() {
            Some(records) => Ok(records),
            None => self.read(|shared| load::records(&shared.db)).map(Arc::new),
        }
    }

    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.read(|shared| load::intents(&shared.db))
    }

    fn check_place(&self) -> Result<(), StoreError> {
        let dir = &self.shared()?.dir;
        let unseen = |error: std::io::Error| trouble(dir, "it cannot be checked", &error);
        let what =
            match (self.lock.is_at(dir).map_err(unseen)?, lock::identity_at(&dir.join(DATABASE)).map_err(unseen)?) {
                (true, there) if there == self.database => return Ok(()),
                (true, _) => "its database",
                (false, _) => "its lock",
            };
        Err(StoreError::Replaced {
            path: dir.display().to_string(),
            message: format!("{what} was removed or replaced"),
        })
    }

    fn next_intent(&self) -> IntentId {
        IntentId(self.next_intent.fetch_add(1, Ordering::Relaxed))
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let (done, answer) = sync_channel(1);
        self.send(batch, Box::new(move |result| drop(done.send(result))))?;
        answer.recv_timeout(PATIENCE).unwrap_or_else(|error| match error {
            RecvTimeoutError::Disconnected => Err(self.gone()),
            RecvTimeoutError::Timeout => {
                self.hangs.store(true, Ordering::Relaxed);
                Err(self.late())
            }
        })
    }

    fn queue(&self, batch: Batch) -> Result<QueuedCommit, StoreError> {
        let (done, answer) = sync_channel(1);
        self.send(batch, Box::new(move |result| drop(done.send(result))))?;
        let (gone, late) = (self.gone(), self.late());
        let (hangs, turns, until) = (Arc::clone(&self.hangs), Arc::clone(&self.turns), Instant::now() + PATIENCE);
        Ok(QueuedCommit::new(async move {
            // One thread at a time waits, in the order of the queue, which is the order of the answers.
            let _turn = turns.lock().await;
            // The answers of a group come together.
            if let Ok(result) = answer.try_recv() {
                return result;
            }
            let waiting = move || answer.recv_timeout(until.saturating_duration_since(Instant::now()));
            match tokio::task::spawn_blocking(waiting).await {
                Ok(Ok(result)) => result,
                Ok(Err(RecvTimeoutError::Timeout)) => {
                    hangs.store(true, Ordering::Relaxed);
                    Err(late)
                }
                Ok(Err(RecvTimeoutError::Disconnected)) | Err(_) => Err(gone),
            }
        }))
    }

    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.read(|shared| {
            let lines = *shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let first = lines.first.max(lines.next.saturating_sub(limit as u64));
            let mut entries = Vec::new();
            for number in first..lines.next {
                let key = codec::journal_key(number);
                let mut json = Vec::new();
                for (index, row) in load::rows(&shared.db, &key)?.iter().enumerate() {
                    json.extend_from_slice(codec::open_row(&codec::row_key(&key, index), row)?.1);
                }
                entries.push(json);
            }
            // A missing line was cut off after the range was read.
            entries.retain(|json| !json.is_empty());
            Ok(codec::journal_entries(entries.iter().map(Vec::as_slice)))
        })
    }
}

impl Drop for Persistent {
    fn drop(&mut self) {
        // The writing thread ends after the queued batches when the last sender is dropped.
        drop(self.jobs.take());
        if self.hangs.load(Ordering::Relaxed) {
            // The thread may never end. It and the database stay until the end of the process.
            return;
        }
        if let Some(committer) = self.committer.take() {
            // The callers that waited have received the error of a panic.
            let _ = committer.join();
        }
        if let Some(Ok(shared)) = self.shared.take().map(Arc::try_unwrap) {
            // All acknowledged batches are on disk, so an error loses nothing.
            let _ = shared.db.close();
        }
    }
}
