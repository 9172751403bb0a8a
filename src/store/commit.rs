//! The group commit: one thread writes all batches.
//!
//! A commit costs the same for one batch as for a hundred. The thread therefore collects the waiting batches, writes and syncs them together,
//! and then answers their callers. Meanwhile, the next batches queue up. Only a batch for which no driver call waits is held back for later ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::codec::{self, Checksum, StoreMeta, key, kind};
use super::contract::{Batch, JOURNAL_LINES};
use super::db::{Db, Write};
use super::dir::make_sure_of_room;
use super::error::{DbError, StoreError, sentence};
use super::load::{self, JournalRange};
use super::mark::MarkFile;
use super::record_cache::RecordCache;

/// Maximum number of changes in a group. Measurements show that larger groups gain little and delay the first batch.
const GROUP: usize = 256;

/// Maximum time that a batch which can wait is held back.
const HELD_BACK: Duration = Duration::from_millis(20);

/// The journal is truncated when it exceeds its limit by this many entries, so that not every commit pays for a removal.
const PRUNE: u64 = 1_000;

/// A change of the database.
enum RowChange {
    /// Write this JSON under this key.
    Put(Vec<u8>, Vec<u8>),
    /// Remove the value under this key.
    Remove(Vec<u8>),
    /// Add this JSON to the journal.
    Journal(Vec<u8>),
}

/// A batch that waits to be written.
pub(super) struct QueuedBatch {
    pub(super) batch: Batch,
    /// Receives the result. The caller may have stopped waiting.
    pub(super) done: CommitReply,
}

/// Receives the result of a commit.
pub(super) type CommitReply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// State that readers share with the writing thread.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) db: Db,
    /// Locked for writing while a group is applied, so that a reader sees a complete batch or none of it.
    pub(super) gate: RwLock<()>,
    pub(super) lines: Mutex<JournalRange>,
    pub(super) cache: RecordCache,
}

impl Shared {
    /// Returns the message about a failed write. The text of sled about a full disk varies and is not meant for users.
    fn why_not(&self, why: String) -> String {
        match make_sure_of_room(&self.dir) {
            Err(StoreError::Io { message, .. }) => message,
            _ => why,
        }
    }
}

/// The state of the writing thread.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) seq: u64,
    pub(super) rows: u64,
    pub(super) checksum: Checksum,
    pub(super) mark: MarkFile,
    /// The error of a failed write. Nothing is written after it, because the content of the disk is unknown: a second `fsync` reports success
    /// for pages that the first one lost.
    pub(super) failed: Option<String>,
}

impl Committer {
    /// Writes the queued batches until the last sender is dropped.
    pub(super) fn run(mut self, jobs: &Receiver<QueuedBatch>) {
        let shared = Arc::clone(&self.shared);
        let failed = |message| StoreError::Io { path: shared.dir.display().to_string(), message };
        while let Ok(first) = jobs.recv() {
            let (mut changes, mut batches, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
            for QueuedBatch { batch, done } in gather(first, jobs) {
                match row_changes(&batch) {
                    Ok(rows) => {
                        changes.extend(rows);
                        batches.push(batch);
                        waiting.push(done);
                    }
                    Err(message) => done(Err(failed(message))),
                }
            }
            if self.failed.is_none() {
                self.failed = self.commit(changes).err().map(|why| shared.why_not(why));
                match &self.failed {
                    None => shared.cache.committed(batches),
                    Some(_) => shared.cache.forget(),
                }
            }
            let failed = self.failed.clone().map(failed);
            for done in waiting {
                done(failed.clone().map_or(Ok(()), Err));
            }
        }
        if self.failed.is_none() {
            // The batches are durable. The mark may lag behind.
            let _ = self.mark.sync();
        }
    }

    fn commit(&mut self, row_changes: Vec<RowChange>) -> Result<(), String> {
        let mut lines = *self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for change in row_changes {
            match change {
                RowChange::Put(key, json) => changes.insert(key, Some(json)),
                RowChange::Remove(key) => changes.insert(key, None),
                RowChange::Journal(json) => {
                    lines.next += 1;
                    changes.insert(codec::journal_key(lines.next - 1), Some(json))
                }
            };
        }
        if lines.next - lines.first >= JOURNAL_LINES + PRUNE {
            for number in lines.first..lines.first + PRUNE {
                changes.insert(codec::journal_key(number), None);
            }
            lines.first += PRUNE;
        }
        let (mut rows, mut checksum) = (self.rows, self.checksum);
        let mut writes: Vec<Write> = Vec::new();
        for (key, json) in changes {
            let old = load::rows(&self.shared.db, &key).map_err(DbError::sentence)?;
            let new = json.map(|json| codec::rows(&key, &json)).unwrap_or_default();
            for index in 0..old.len().max(new.len()) {
                let (was, is) = (old.get(index), new.get(index));
                if was == is {
                    continue;
                }
                if let Some(row) = was {
                    checksum.toggle(row);
                    rows -= 1;
                }
                if let Some(row) = is {
                    checksum.toggle(row);
                    rows += 1;
                }
                writes.push((codec::row_key(&key, index), is.cloned()));
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let seq = self.seq + 1;
        writes.extend(meta_rows(&StoreMeta { seq, rows, checksum: checksum.to_hex() })?);
        {
            let _gate = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            self.shared.db.write(writes).map_err(DbError::sentence)?;
        }
        self.shared.db.sync().map_err(DbError::sentence)?;
        self.mark.set(seq).map_err(|e| sentence(&e.to_string(), e.raw_os_error()))?;
        (self.seq, self.rows, self.checksum) = (seq, rows, checksum);
        *self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner) = lines;
        Ok(())
    }
}

/// Collects a group: what is queued and, as long as no batch is urgent, what comes soon.
fn gather(first: QueuedBatch, jobs: &Receiver<QueuedBatch>) -> Vec<QueuedBatch> {
    let until = Instant::now() + HELD_BACK;
    let (mut count, mut can_wait) = (first.batch.len(), first.batch.can_wait);
    let mut group = vec![first];
    while count < GROUP {
        let wait = if can_wait { until.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
        let Ok(job) = jobs.recv_timeout(wait) else { break };
        count += job.batch.len();
        can_wait &= job.batch.can_wait;
        group.push(job);
    }
    group
}

/// Encodes the changes of a batch.
fn row_changes(batch: &Batch) -> Result<Vec<RowChange>, String> {
    fn change<T: Serialize>(key: Vec<u8>, record: Option<&T>) -> Result<RowChange, String> {
        Ok(match record {
            Some(record) => RowChange::Put(key, codec::encode(record)?),
            None => RowChange::Remove(key),
        })
    }
    let Batch { backends, objects, suspensions, open, close, journal, can_wait: _ } = batch;
    let backends = backends.iter().map(|(name, one)| change(key(kind::BACKEND, name.as_str()), one.as_ref()));
    let objects = objects.iter().map(|(uid, one)| change(key(kind::OBJECT, uid.as_str()), one.as_ref()));
    let suspensions = suspensions.iter().map(|(of, one)| change(key(kind::SUSPENSION, of), one.as_ref()));
    let open = open.iter().map(|intent| change(codec::intent_key(intent.id), Some(intent)));
    let close = close.iter().map(|id| Ok(RowChange::Remove(codec::intent_key(*id))));
    let journal = journal.iter().map(|entry| Ok(RowChange::Journal(codec::encode(entry)?)));
    backends.chain(objects).chain(suspensions).chain(open).chain(close).chain(journal).collect()
}

/// Returns the row about the whole store.
pub(super) fn meta_rows(meta: &StoreMeta) -> Result<Vec<Write>, String> {
    let json = codec::encode(meta)?;
    let key = [codec::kind::META];
    let rows = codec::rows(&key, &json).into_iter().enumerate();
    Ok(rows.map(|(index, row)| (codec::row_key(&key, index), Some(row))).collect())
}
