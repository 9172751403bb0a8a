//! The store on disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::model::{IntentId, JournalEntry, OpenIntent, Records};

use super::codec;
use super::commit::{Committer, QueuedBatch, RowChange, Shared};
use super::contract::{Batch, Store};
use super::db::Db;
use super::dir::DATABASE;
use super::error::{StoreError, sentence, trouble};
use super::load::{self, JournalRange, LoadError, LoadedStore};
use super::lock::{self, StoreLock};
use super::mark::MarkFile;
use super::record_cache::{Changes, RecordCache};

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
    hangs: AtomicBool,
    cache: RecordCache,
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
        let shared =
            Arc::new(Shared { dir: dir.to_owned(), db, gate: RwLock::new(()), lines: Mutex::new(loaded.lines) });
        let committer = Committer {
            shared: Arc::clone(&shared),
            seq: loaded.seq,
            rows: loaded.rows,
            digest: loaded.digest,
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
            hangs: AtomicBool::new(false),
            cache: RecordCache::new(loaded.records),
            database: lock::identity_at(&dir.join(DATABASE)).map_err(|e| trouble(dir, "it cannot be checked", &e))?,
            lock,
        })
    }

    fn failed(&self, message: String) -> StoreError {
        let path = self.shared.as_ref().map(|shared| shared.dir.display().to_string()).unwrap_or_default();
        StoreError::Io { path, message }
    }

    /// Reads while no batch is applied.
    fn read<T>(&self, read: impl FnOnce(&Db) -> Result<T, LoadError>) -> Result<T, StoreError> {
        let Some(shared) = &self.shared else { return Err(self.failed("it is closed".to_owned())) };
        let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        read(&shared.db).map_err(|bad| match bad {
            LoadError::Newer(found) => {
                self.failed(format!("rows of format {found} have appeared in it while this process had it open"))
            }
            LoadError::Damaged(how) => self.failed(format!(
                "it was damaged while it was in use ({how}); run the command again, which sets it aside"
            )),
            LoadError::Io(message, errno) => self.failed(sentence(&message, errno)),
        })
    }
}

impl Store for Persistent {
    fn records(&self) -> Result<Arc<Records>, StoreError> {
        match self.cache.records() {
            Some(records) => Ok(records),
            None => self.read(load::records).map(Arc::new),
        }
    }

    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.read(load::intents)
    }

    fn check_place(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Err(self.failed("it is closed".to_owned())) };
        let dir = &shared.dir;
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
        if let Some(highest) = batch.open.iter().map(|intent| intent.id.0).max() {
            self.next_intent.fetch_max(highest.saturating_add(1), Ordering::Relaxed);
        }
        let ops = ops(&batch).map_err(|message| self.failed(message))?;
        let gone = || self.failed("its writing thread has ended".to_owned());
        let (done, answer) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        let send = || jobs.send(QueuedBatch { ops, done }).map_err(|_| gone());
        let number = self.cache.hand_over(Changes::of(batch), send)?;
        let result = match answer.recv_timeout(PATIENCE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
            Err(RecvTimeoutError::Timeout) => {
                self.hangs.store(true, Ordering::Relaxed);
                Err(self.failed(format!("the disk has not answered for {} s", PATIENCE.as_secs())))
            }
        };
        match result {
            Ok(()) => self.cache.acknowledge(number),
            Err(_) => self.cache.forget(),
        }
        result
    }

    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.read(|db| {
            let lines = match &self.shared {
                Some(shared) => *shared.lines.lock().unwrap_or_else(PoisonError::into_inner),
                None => JournalRange::default(),
            };
            let first = lines.first.max(lines.next.saturating_sub(limit as u64));
            let mut entries = Vec::new();
            for number in first..lines.next {
                // A missing line was cut off after the range was read.
                if let Some(json) = load::value(db, &codec::journal_key(number))? {
                    entries.push(json);
                }
            }
            Ok(codec::journal_entries(entries.iter().map(Vec::as_slice)))
        })
    }
}

impl Drop for Persistent {
    fn drop(&mut self) {
        // The writing thread ends after the queued batches when the last sender is dropped.
        drop(self.jobs.take());
        if *self.hangs.get_mut() {
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

fn ops(batch: &Batch) -> Result<Vec<RowChange>, String> {
    let Batch { backends, objects, suspensions, open, close, journal } = batch;
    let mut ops = Vec::with_capacity(backends.len() + objects.len() + open.len() + close.len() + journal.len());
    for (name, record) in backends {
        let key = codec::backend_key(name);
        ops.push(match record {
            Some(record) => RowChange::Put(key, codec::encode(record)?),
            None => RowChange::Remove(key),
        });
    }
    for (uid, record) in objects {
        let key = codec::object_key(*uid);
        ops.push(match record {
            Some(record) => RowChange::Put(key, codec::encode(record)?),
            None => RowChange::Remove(key),
        });
    }
    for (key, suspension) in suspensions {
        let key = codec::suspension_key(key);
        ops.push(match suspension {
            Some(suspension) => RowChange::Put(key, codec::encode(suspension)?),
            None => RowChange::Remove(key),
        });
    }
    for intent in open {
        ops.push(RowChange::Put(codec::intent_key(intent.id), codec::encode(intent)?));
    }
    for id in close {
        ops.push(RowChange::Remove(codec::intent_key(*id)));
    }
    for entry in journal {
        ops.push(RowChange::Journal(codec::encode(entry)?));
    }
    Ok(ops)
}
