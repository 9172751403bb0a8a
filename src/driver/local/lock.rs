//! The writer lock: `flock` on a file. The file is never replaced; one that was made for a lock under which nothing was written is removed
//! with it.
//!
//! The kernel releases it when its process ends, however it ends. An abandoned step (its future was dropped, and blocking work cannot
//! be ended from outside) keeps the lock until it has ended, so that no other writer starts beside it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::pool::{self, FILE_MODE, LocalPool, MARK};
use super::{fail, ledger};
use crate::driver::{WriterLock, flock};
use crate::model::{DriverError, ErrorKind, Owner, PoolId, Writer};

const ENDING: &str = ".lock";

/// How long to wait for a lock that is only being checked, or that an abandoned step keeps. A check takes microseconds; an abandoned
/// step notices within one piece of a copy, well under a second on a disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// A writer lock that this process holds.
pub(super) struct HeldLock {
    file: OwnedFd,
    /// Device and inode of the file.
    which: (u64, u64),
    /// The directory of a file that this process has made.
    made_in: Option<OwnedFd>,
    /// Whether the file names this process.
    noted: AtomicBool,
    owner: Owner,
    id: PoolId,
    /// Whether the engine has released it, so that only running steps keep it.
    released: Arc<AtomicBool>,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // Removed while it is locked: a process that has opened it finds that it lost its name, and opens the next one.
        if let (Some(dir), false) = (&self.made_in, self.noted.load(Ordering::SeqCst)) {
            let name = lock_file(&self.owner);
            if is_at(dir.as_fd(), &name, self.which) == Ok(true) {
                let _ = fs::unlinkat(dir, name, AtFlags::empty());
            }
        }
        // A child process between fork and exec may have a copy of the descriptor, so closing ours would not release the lock.
        let _ = fs::flock(&self.file, FlockOperation::Unlock);
        // Only now: until then, others of this process wait for it.
        held_here().retain(|(_, released)| !Arc::ptr_eq(released, &self.released));
    }
}

/// Device and inode of a lock's file, and whether the engine has released the lock.
type HeldEntry = ((u64, u64), Arc<AtomicBool>);

/// The locks that this process holds, by device and inode of their files, and whether the engine has released them: to distinguish a
/// writer from steps that outlived theirs.
static HELD: Mutex<Vec<HeldEntry>> = Mutex::new(Vec::new());

fn held_here() -> MutexGuard<'static, Vec<HeldEntry>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn only_lingering(which: (u64, u64)) -> bool {
    held_here().iter().any(|(of, released)| *of == which && released.load(Ordering::SeqCst))
}

fn lock_file(owner: &Owner) -> String {
    format!("{owner}{ENDING}")
}

/// Whether a name is that of the file with this device and inode. Opens it: a network file system may answer other questions about a name
/// from memory, after another host has removed the file.
fn is_at(dir: BorrowedFd<'_>, name: &str, which: (u64, u64)) -> Result<bool, Errno> {
    let Some(file) = pool::absent_is_none(pool::open_in(dir, name, OFlags::RDONLY, Mode::empty()))? else {
        return Ok(false);
    };
    let stat = fs::fstat(&file)?;
    Ok((stat.st_dev, stat.st_ino) == which)
}

/// Opens the file of a lock; makes it if there is none. Returns whether it was made.
fn open_or_make(mark: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, bool), Errno> {
    loop {
        match pool::open_in(mark, name, OFlags::RDWR, Mode::empty()) {
            Err(Errno::NOENT) => {}
            other => return other.map(|file| (file, false)),
        }
        match pool::open_in(mark, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, FILE_MODE) {
            // Another process was faster.
            Err(Errno::EXIST) => {}
            other => return other.map(|file| (file, true)),
        }
    }
}

/// Takes the lock. See [`crate::driver::PoolMetadata::lock`].
pub(super) fn take(pool: &LocalPool, owner: &Owner) -> Result<Arc<HeldLock>, DriverError> {
    take_opened(pool, owner, open_or_make)
}

/// Takes the lock. `open` opens its file at first.
fn take_opened(
    pool: &LocalPool,
    owner: &Owner,
    open: impl FnOnce(BorrowedFd<'_>, &str) -> Result<(OwnedFd, bool), Errno>,
) -> Result<Arc<HeldLock>, DriverError> {
    let name = lock_file(owner);
    let shown = format!("{}/{MARK}/{name}", pool.path.display());
    let failed = |errno| fail::before(format!("taking the lock {shown}"), errno);
    let id = identity(pool)?;
    let mark = pool.mark().and_then(|mark| mark.ok_or(Errno::NOENT)).map_err(failed)?;
    let begun = Instant::now();
    let (mut file, mut made) = open(mark, &name).map_err(failed)?;
    let which = loop {
        let stat = fs::fstat(&file).map_err(failed)?;
        let which = (stat.st_dev, stat.st_ino);
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(mark, &name, which).map_err(failed)? => break which,
            // Its holder wrote nothing to the pool and removed it.
            Ok(()) if begun.elapsed() <= PATIENCE => {
                (file, made) = open_or_make(mark, &name).map_err(failed)?;
                continue;
            }
            Ok(()) => return Err(failed(Errno::NOENT)),
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(failed(errno)),
        }
        // A shared lock is taken briefly by a process that checks the lock. Another can be taken beside it.
        let looked_at = match fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                fs::flock(&file, FlockOperation::Unlock).map_err(failed)?;
                true
            }
            Err(Errno::AGAIN) => false,
            Err(errno) => return Err(failed(errno)),
        };
        if !(looked_at || only_lingering(which)) || begun.elapsed() > PATIENCE {
            return Err(DriverError::before(
                ErrorKind::OtherWriter,
                format!(
                    "another process is writing to {} for {owner}: {}",
                    pool.path.display(),
                    holder(mark, &name, &file)
                ),
            ));
        }
        std::thread::sleep(PAUSE);
    };
    let made_in = made.then(|| mark.try_clone_to_owned()).transpose().map_err(|error| failed(pool::errno_of(error)))?;
    let (noted, released) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    held_here().push((which, Arc::clone(&released)));
    let held = Arc::new(HeldLock { file, which, made_in, noted, owner: owner.clone(), id, released });
    Ok(held)
}

/// The identity of the pool, without which it is not written to.
pub(super) fn identity(pool: &LocalPool) -> Result<PoolId, DriverError> {
    let unreachable = |why| DriverError::before(ErrorKind::Unreachable, why);
    pool.id().map_err(unreachable)?.ok_or_else(|| {
        unreachable(format!(
            "{0} is not a pool of Kiln ({0}/{MARK}/id does not exist); check that the right file system is mounted",
            pool.path.display()
        ))
    })
}

/// A line of the lock's file is `pid 12 on host, begun 34`. The first is the process that took it last, the others took it before and
/// still live. A process's number can be used again, but not with the time at which it began (in ticks since the host did).
const BEGUN: &str = ", begun ";
/// The most bytes of the file that are read.
const NOTES: usize = 4096;
/// The number of processes in the file.
const MOST_NOTED: usize = 16;
/// The length of a command line in messages.
const SHOWN: usize = 200;

/// Writes the holder into the file, for the messages of other processes. The time since when is that of the file: a process that takes
/// the lock again, with no other in between, writes nothing.
fn note_holder(file: &OwnedFd, before: &str) -> Result<(), Errno> {
    let begun = begun(std::process::id()).map(|begun| format!("{BEGUN}{begun}")).unwrap_or_default();
    let mut text = format!("pid {} on {}{begun}\n", std::process::id(), host());
    for (line, _) in living(before).take(MOST_NOTED - 1) {
        text.push_str(line);
        text.push('\n');
    }
    if text == before {
        return Ok(());
    }
    rustix::io::pwrite(file, text.as_bytes(), 0)?;
    fs::ftruncate(file, text.len() as u64)
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned()
}

/// The start time of a running process of this host.
fn begun(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program name, in parentheses, may contain any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| !has_ended)?.parse().ok()
}

/// The text of the file, which is short.
fn notes_in(file: &OwnedFd) -> String {
    let mut text = [0; NOTES];
    let len = rustix::io::pread(file, &mut text, 0).unwrap_or(0);
    String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into_owned()
}

fn read_notes(mark: BorrowedFd<'_>, name: &str) -> String {
    let text = pool::read_small(mark, name, NOTES as u64).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// The lines of other running processes of this host.
fn living(notes: &str) -> impl Iterator<Item = (&str, u32)> {
    let host = host();
    notes.lines().filter_map(move |line| {
        let (pid, rest) = line.strip_prefix("pid ")?.split_once(" on ")?;
        let (on, noted) = rest.rsplit_once(BEGUN)?;
        let (pid, noted): (u32, u64) = (pid.parse().ok()?, noted.parse().ok()?);
        let lives = on == host && pid != std::process::id() && begun(pid) == Some(noted);
        lives.then_some((line, pid))
    })
}

/// For each owner, the other processes of this host that took its lock and still run. Errors are ignored.
pub(super) fn writers(pool: &LocalPool) -> BTreeMap<Owner, Vec<Writer>> {
    let Ok(Some(mark)) = pool.mark() else { return BTreeMap::new() };
    let owners = ledger::owners(mark, &[ENDING]).unwrap_or_default();
    let of = |owner: &Owner| {
        let notes = read_notes(mark, &format!("{owner}{ENDING}"));
        living(&notes).map(|(_, pid)| Writer { pid, command: command(pid) }).collect::<Vec<_>>()
    };
    owners.into_iter().map(|owner| (owner.clone(), of(&owner))).filter(|(_, writers)| !writers.is_empty()).collect()
}

fn command(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    line.trim_end().chars().take(SHOWN).collect()
}

/// Names the holder: by the kernel, which knows the locks of this host, else by the file.
fn holder(mark: BorrowedFd<'_>, name: &str, file: &OwnedFd) -> String {
    let notes = read_notes(mark, name);
    let who = notes.lines().next().unwrap_or_default();
    let who = who.rsplit_once(BEGUN).map_or(who, |(who, _)| who);
    let since = pool::stat_in(mark, name).ok().flatten();
    let since = since.and_then(|stat| jiff::Timestamp::from_second(stat.st_mtime).ok());
    match (flock::holder(file).map(|pid| format!("pid {pid} on {}", host())), since) {
        (Some(by_kernel), Some(since)) if who == by_kernel => format!("{who}, since {since}"),
        (Some(by_kernel), _) => by_kernel,
        // A process writes its name only when it writes to the pool.
        (None, Some(since)) if !who.is_empty() => {
            format!("{who}, which wrote its name at {since}, or a process that has not written its name yet")
        }
        (None, _) => "the lock does not name its holder".to_owned(),
    }
}

/// The owners whose lock is held now, by any process.
pub(super) fn held(pool: &LocalPool, gaps: &mut Vec<String>) -> Vec<Owner> {
    let read = || {
        let Some(mark) = pool.mark()? else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        for owner in ledger::owners(mark, &[ENDING])? {
            if is_held(mark, &owner)? {
                held.push(owner);
            }
        }
        Ok(held)
    };
    read().unwrap_or_else(|errno: Errno| {
        gaps.push(format!("the locks in {}/{MARK} cannot be read: {}", pool.path.display(), fail::describe(errno)));
        Vec::new()
    })
}

fn is_held(mark: BorrowedFd<'_>, owner: &Owner) -> Result<bool, Errno> {
    let file = pool::open_in(mark, &format!("{owner}{ENDING}"), OFlags::RDONLY, Mode::empty());
    let Some(file) = pool::absent_is_none(file)? else { return Ok(false) };
    match fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => fs::flock(&file, FlockOperation::Unlock).map(|()| false),
        Err(Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// The handle that the engine holds.
pub(super) struct LocalLock(pub(super) Arc<HeldLock>);

impl Drop for LocalLock {
    fn drop(&mut self) {
        self.0.released.store(true, Ordering::SeqCst);
    }
}

impl WriterLock for LocalLock {}

impl HeldLock {
    /// Names this process in the file, once. Errors are ignored: removals must be possible on a full pool.
    pub(super) fn note(&self) {
        if !self.noted.swap(true, Ordering::SeqCst) {
            let _ = note_holder(&self.file, &notes_in(&self.file));
        }
    }

    /// Checks that the locked file still has its name, in the same pool: a lock on an unlinked file excludes no other process, and
    /// another pool at the path (for example the directory below a file system that is no longer mounted) must not be written to.
    pub(super) fn check(&self, pool: &LocalPool) -> Result<(), DriverError> {
        if identity(pool)? != self.id {
            return Err(DriverError::before(
                ErrorKind::Unreachable,
                format!("{} is no longer the pool on which the lock was taken", pool.path.display()),
            ));
        }
        let name = lock_file(&self.owner);
        let there = pool.mark().and_then(|mark| match mark {
            Some(mark) => pool::stat_in(mark, &name),
            None => Ok(None),
        });
        match there {
            Ok(Some(stat)) if (stat.st_dev, stat.st_ino) == self.which => Ok(()),
            Ok(_) => Err(DriverError::before(
                ErrorKind::OtherWriter,
                format!("the lock {}/{MARK}/{name} was removed or replaced", pool.path.display()),
            )),
            Err(errno) => Err(DriverError::before(
                ErrorKind::Unreachable,
                format!("the lock {}/{MARK}/{name} cannot be checked: {}", pool.path.display(), fail::describe(errno)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_file_was_removed_before_it_was_locked_is_taken_on_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let open = || LocalPool::open(dir.path()).ok().unwrap();
        open().mark_made().unwrap();
        let pool = open();
        let (owner, file): (Owner, _) = ("prod".parse().unwrap(), dir.path().join(".kiln-pool/prod.lock"));
        let ended = take(&pool, &owner).unwrap();
        assert!(file.exists());
        // Between the opening and the locking, the process that made the file ends without a change.
        let held = take_opened(&pool, &owner, |mark, name| {
            let opened = open_or_make(mark, name);
            drop(ended);
            opened
        });
        held.unwrap().check(&pool).unwrap();
    }
}
