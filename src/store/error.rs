//! Why a store cannot be used.

use std::io;
use std::path::Path;

/// Why the store cannot be used.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum StoreError {
    /// A running process has it open.
    #[error("the store {path} is in use by process {pid} since {since}")]
    Locked {
        /// The store's directory.
        path: String,
        /// The process that has it open.
        pid: u32,
        /// The time when that process opened it, in RFC 3339.
        since: String,
    },
    /// A newer version of Kiln wrote it.
    #[error("the store {path} has format {found}; this version of kiln reads formats up to {known}")]
    Newer {
        /// The store's directory.
        path: String,
        /// The format of the store.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// The path no longer leads to the store that was opened, so no other process would find what this one writes.
    #[error("the store {path} was removed or replaced while it was in use: {message}")]
    Replaced {
        /// The store's directory.
        path: String,
        /// The part that was replaced.
        message: String,
    },
    /// Another process changed it between the plan and its first change.
    #[error("the store {path} is not as it was when the plan was made; this run changed nothing")]
    Changed {
        /// The store's directory.
        path: String,
    },
    /// An error of the file system: no space, not writable, and so on.
    #[error("the store {path} cannot be written: {message}")]
    Io {
        /// The store's directory.
        path: String,
        /// The cause and, where known, the fix.
        message: String,
    },
}

/// Translates an error of the file system for users: its meaning and the fix, where known.
pub(super) fn sentence(message: &str, errno: Option<i32>) -> String {
    use rustix::io::Errno;
    match errno.map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => "no space is left; free some, or choose another directory with --state",
        Some(Errno::ROFS) => "the file system is read-only; choose another directory with --state",
        Some(Errno::ACCESS | Errno::PERM) => {
            "permission denied; chown the directory to this user, or choose another with --state"
        }
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open; raise the limit (ulimit -n)",
        _ => return message.to_owned(),
    }
    .to_owned()
}

pub(super) fn trouble(dir: &Path, what: &str, error: &io::Error) -> StoreError {
    let message = format!("{what}: {}", sentence(&error.to_string(), error.raw_os_error()));
    StoreError::Io { path: dir.display().to_string(), message }
}

/// Why a database, or a row of it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DbError {
    /// A newer program wrote it. It is intact.
    Newer(u32),
    /// It is damaged. The sentence says how.
    Damaged(String),
    /// An error of the file system. It may be complete.
    Io(String, Option<i32>),
}

impl DbError {
    /// Returns the sentence for users about a database that was readable when it was opened.
    pub(super) fn sentence(self) -> String {
        match self {
            DbError::Newer(found) => {
                format!("rows of format {found} have appeared in it while this process had it open")
            }
            DbError::Damaged(how) => how,
            DbError::Io(message, errno) => sentence(&message, errno),
        }
    }
}
