//! Why a store cannot be used.

use std::io;
use std::path::Path;

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

/// What to tell a person about an error of the file system: what it means and what to do, where that is known.
pub(super) fn sentence(message: &str, errno: Option<i32>) -> String {
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

pub(super) fn trouble(dir: &Path, what: &str, error: &io::Error) -> StoreError {
    let message = format!("{what}: {}", sentence(&error.to_string(), error.raw_os_error()));
    StoreError::Io { path: dir.display().to_string(), message }
}
