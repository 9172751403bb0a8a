//! The writer lock: `flock` on a file. The file is never replaced. It is removed with its lock if it is empty: then nothing was written to
//! the pool under it. Only the holder of the lock removes it, and a lock counts only if its file still has its name.
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
    /// The directory of the file.
    mark: OwnedFd,
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
        let is_empty = fs::fstat(&self.file).is_ok_and(|stat| stat.st_size == 0);
        let name = lock_file(&self.owner);
        if is_empty && is_at(self.mark.as_fd(), &name, self.which) == Ok(true) {
            let _ = fs::unlinkat(&self.mark, name, AtFlags::empty());
        }
        let _ = pool::unlock(&self.file);
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

/// Opens the file of a lock; makes it if there is none. `None`: another process made or removed it meanwhile.
fn open_or_make(mark: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>, Errno> {
    if let Some(file) = pool::absent_is_none(pool::open_in(mark, name, OFlags::RDWR, Mode::empty()))? {
        return Ok(Some(file));
    }
    match pool::open_in(mark, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, FILE_MODE) {
        Err(Errno::EXIST) => Ok(None),
        made => made.map(Some),
    }
}

/// The result of one try to take a lock.
enum LockTry {
    /// It is taken. The file, its device and inode.
    Taken(OwnedFd, (u64, u64)),
    /// Its file was made or removed meanwhile.
    Moved,
    /// A process that checks it, or a step that outlived its writer, holds it for a while.
    Passing(OwnedFd),
    /// Another writer holds it.
    Held(OwnedFd),
}

fn try_to_take(mark: BorrowedFd<'_>, name: &str) -> Result<LockTry, Errno> {
    let Some(file) = open_or_make(mark, name)? else { return Ok(LockTry::Moved) };
    let stat = fs::fstat(&file)?;
    let which = (stat.st_dev, stat.st_ino);
    // Before the kernel is asked: a step that ends afterwards is no longer known here, and would be taken for a writer.
    let lingers = only_lingering(which);
    if pool::try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
        let there = is_at(mark, name, which);
        if there == Ok(true) {
            return Ok(LockTry::Taken(file, which));
        }
        pool::unlock(&file)?;
        return there.map(|_| LockTry::Moved);
    }
    // A shared lock is taken briefly by a process that checks the lock. Another can be taken beside it.
    if pool::try_lock(&file, FlockOperation::NonBlockingLockShared)? {
        pool::unlock(&file)?;
        return Ok(LockTry::Passing(file));
    }
    Ok(match lingers {
        true => LockTry::Passing(file),
        // By a process that has not found out yet that the file lost its name.
        false if !is_at(mark, name, which)? => LockTry::Moved,
        false => LockTry::Held(file),
    })
}

/// Takes the lock. See [`crate::driver::PoolMetadata::lock`].
pub(super) fn take(pool: &LocalPool, owner: &Owner) -> Result<Arc<HeldLock>, DriverError> {
    take_within(pool, owner, PATIENCE)
}

/// Takes the lock, unless something that does not last is in the way for longer than `patience`.
pub(super) fn take_within(pool: &LocalPool, owner: &Owner, patience: Duration) -> Result<Arc<HeldLock>, DriverError> {
    let name = lock_file(owner);
    let shown = format!("{}/{MARK}/{name}", pool.path.display());
    let failed = |errno| fail::before(format!("taking the lock {shown}"), errno);
    let id = identity(pool)?;
    let dir = pool.mark().and_then(|mark| mark.ok_or(Errno::NOENT)).map_err(failed)?;
    let mark = dir.try_clone_to_owned().map_err(|error| failed(pool::errno_of(error)))?;
    let refused = |why| Err(DriverError::before(ErrorKind::OtherWriter, why));
    let written_by = |file| {
        let holder = holder(dir, &name, file);
        format!("another process is writing to {} for {owner}: {holder}", pool.path.display())
    };
    let begun = Instant::now();
    let (file, which) = loop {
        let found = try_to_take(dir, &name).map_err(failed)?;
        let waits = begun.elapsed() <= patience;
        match found {
            LockTry::Taken(file, which) => break (file, which),
            LockTry::Moved | LockTry::Passing(_) if waits => std::thread::sleep(PAUSE),
            LockTry::Moved => {
                return refused(format!("other processes take and release the lock {shown} all the time"));
            }
            LockTry::Passing(file) | LockTry::Held(file) => return refused(written_by(&file)),
        }
    };
    let (noted, released) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    held_here().push((which, Arc::clone(&released)));
    Ok(Arc::new(HeldLock { file, which, mark, noted, owner: owner.clone(), id, released }))
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
    match pool::try_lock(&file, FlockOperation::NonBlockingLockShared)? {
        true => pool::unlock(&file).map(|()| false),
        false => Ok(true),
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
