//! The store: what Kiln remembers between runs, behind a trait. Never the only truth.
//!
//! [`open`] takes the store's directory for writing, [`look`] reads it and changes nothing. Whatever they find there, they end
//! in a store that can be used or in one of the three errors of [`StoreError`]: a damaged database is set aside under its own
//! directory, and a new one begun, which the next pass fills from what the backends show.
//!
//! ```text
//! DIR/lock         who has it: a lock of the kernel's, see `lock`
//! DIR/mark         the format, and the number of the last batch: what the database must have at least, see `mark`
//! DIR/db/          the database: rows with checksums, and one row about all others, see `codec`
//! DIR/db.new/      a database being made; it becomes `db` by a rename, so a `db` without its rows is a damaged one
//! DIR/damaged-…/   databases that could not be believed
//! ```
//!
//! Changes go through one thread (`commit`), which gathers what is waiting into one batch. Only `db` knows sled.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::model::{BackendRecord, IntentId, JournalEntry, Name, ObjectRecord, OpenIntent, Records, Suspension, Uid};

mod codec;
mod commit;
mod db;
mod frozen;
mod load;
mod lock;
mod mark;
mod memory;
mod open;
mod persistent;
mod record_cache;
#[cfg(test)]
mod tests;

pub use memory::{CrashPoint, MemoryStore};
pub use open::{Found, Opened, look, look_briefly, open, told, try_writing};

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
    /// Lines to add to the journal.
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

/// Why the store cannot be used.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
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
    /// What is at its path is not what was opened: what this process writes, no other finds.
    #[error("the store {path} was removed or replaced while it was in use: {message}")]
    Replaced {
        /// The store's directory.
        path: String,
        /// Which part of it.
        message: String,
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

/// What to tell a person about an error of the file system: what it means and what to do, where that is known.
fn sentence(message: &str, errno: Option<i32>) -> String {
    use rustix::io::Errno;
    match errno.map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => "no room is left there; free some, or choose another place with --state",
        Some(Errno::ROFS) => "the file system is read-only; choose another place with --state",
        Some(Errno::ACCESS | Errno::PERM) => "this user may not; give it the directory, or choose another with --state",
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open; raise the limit",
        _ => return message.to_owned(),
    }
    .to_owned()
}

fn trouble(dir: &Path, what: &str, error: &io::Error) -> StoreError {
    let message = format!("{what}: {}", sentence(&error.to_string(), error.raw_os_error()));
    StoreError::Io { path: dir.display().to_string(), message }
}
