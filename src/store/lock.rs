//! The lock of the store: a kernel lock on a file that is never replaced. The text in the file only names the holder for messages.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::{Pid, test_kill_process};

use super::error::{StoreError, trouble};
use crate::text::rfc3339;

/// The file's name.
pub(super) const FILE: &str = "lock";

/// How long a writer waits for readers: they hold the lock while they copy the database, which takes a second for a gigabyte.
const WAIT_FOR_READERS: Duration = Duration::from_secs(10);

/// The flag with which files are opened, so that a FIFO under the name of one of them does not block.
pub(super) const NO_WAIT: i32 = OFlags::NONBLOCK.bits() as i32;

const POLL: Duration = Duration::from_millis(5);

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct StoreLock(File);

impl StoreLock {
    /// Whether the file under the lock's name is the one that is locked.
    pub(super) fn is_at(&self, dir: &Path) -> io::Result<bool> {
        Ok(identity(&self.0.metadata()?) == identity_at(&dir.join(FILE))?.unwrap_or_default())
    }
}

/// Device and inode.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Returns device and inode of the entry at a path; `None` if there is none.
pub(super) fn identity_at(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(identity(&metadata))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process has a copy of the descriptor until it executes its tool.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Takes the lock for writing, and writes the holder and the time into the file.
pub(super) fn exclusive(dir: &Path, now: u64) -> Result<StoreLock, StoreError> {
    let path = dir.join(FILE);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(NO_WAIT)
        .open(path)
        .map_err(|e| trouble(dir, "its lock cannot be opened", &e))?;
    let give_up = Instant::now() + WAIT_FOR_READERS;
    while !try_lock(dir, &file, FlockOperation::NonBlockingLockExclusive)? {
        // A shared lock is possible beside readers only. Their locks are worth waiting for.
        let is_read = try_lock(dir, &file, FlockOperation::NonBlockingLockShared)?;
        if !is_read || Instant::now() >= give_up {
            return Err(holder(dir, &file));
        }
        flock(&file, FlockOperation::Unlock).map_err(|e| trouble(dir, "its lock cannot be released", &e.into()))?;
        std::thread::sleep(POLL);
    }
    let text = format!("pid {}\nsince {}\n", std::process::id(), rfc3339(now));
    file.set_len(0)
        .and_then(|()| file.write_all_at(text.as_bytes(), 0))
        .map_err(|e| trouble(dir, "its lock cannot be written", &e))?;
    Ok(StoreLock(file))
}

/// Takes the lock for reading, without writing anything. `None` if there is no lock file, and so no writer.
pub(super) fn shared(dir: &Path) -> Result<Option<StoreLock>, StoreError> {
    let file = match OpenOptions::new().read(true).custom_flags(NO_WAIT).open(dir.join(FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(trouble(dir, "its lock cannot be opened", &e)),
    };
    match try_lock(dir, &file, FlockOperation::NonBlockingLockShared)? {
        true => Ok(Some(StoreLock(file))),
        false => Err(holder(dir, &file)),
    }
}

fn try_lock(dir: &Path, file: &File, operation: FlockOperation) -> Result<bool, StoreError> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(trouble(dir, "it cannot be locked", &e.into())),
    }
}

/// Waits until no thread or process has this file of sled locked: sled's threads release it a moment after it was closed.
pub(super) fn wait_until_free(path: &Path, limit: Duration) -> bool {
    let Ok(file) = File::open(path) else { return true };
    let give_up = Instant::now() + limit;
    while flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK) {
        if Instant::now() >= give_up {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// The holder that the file names. A process that has just taken the lock has not written its name yet, so a holder that does not run
/// any more is read again for a moment.
fn holder(dir: &Path, file: &File) -> StoreError {
    let mut tries = 20;
    let (pid, since) = loop {
        let mut bytes = [0; 256];
        let len = file.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..len]);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let pid = field("pid ").and_then(|pid| pid.parse::<i32>().ok()).and_then(Pid::from_raw);
        tries -= 1;
        if tries == 0 || pid.is_some_and(lives) {
            break (pid, field("since ").filter(|since| !since.is_empty()).unwrap_or("a moment ago").to_owned());
        }
        std::thread::sleep(POLL);
    };
    StoreError::Locked {
        path: dir.display().to_string(),
        pid: pid.map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs()),
        since,
    }
}

fn lives(pid: Pid) -> bool {
    // Any other error means that the process exists.
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}
