//! The writer lock: `flock` on a file that is never replaced.
//!
//! The kernel lets it go when its process ends, however it ends. A step that still runs after its caller has gone (a dropped
//! future; blocking work cannot be ended from outside) keeps the lock until it is done, so that nobody starts beside it.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::pool::{self, FILE_MODE, LocalPool, MARK};
use super::{fail, ledger};
use crate::driver::WriterLock;
use crate::model::{DriverError, ErrorKind, Owner, PoolId, Writer};

const ENDING: &str = ".lock";

/// How long a lock is waited for that is only being looked at, or kept by a step whose caller has gone. Looking takes
/// microseconds; such a step is told to stop and notices within one piece of a copy, well under a second on a disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// The lock as it is held.
pub(super) struct HeldLock {
    file: OwnedFd,
    /// Device and inode of the file.
    which: (u64, u64),
    owner: Owner,
    id: PoolId,
    /// Nobody wants it any more; only steps that are still running keep it.
    released: AtomicBool,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // A child process between fork and exec may have a copy of the descriptor: closing ours alone would not let it go.
        let _ = fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Those held by this process: to tell a living writer from steps that outlived theirs.
static HELD: Mutex<Vec<Weak<HeldLock>>> = Mutex::new(Vec::new());

fn only_lingering(which: (u64, u64)) -> bool {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.iter().filter_map(Weak::upgrade).any(|lock| lock.which == which && lock.released.load(Ordering::SeqCst))
}

/// Takes the lock. See [`crate::driver::Driver::lock`].
pub(super) fn take(pool: &LocalPool, owner: &Owner) -> Result<Arc<HeldLock>, DriverError> {
    let name = format!("{owner}{ENDING}");
    let shown = format!("{}/{MARK}/{name}", pool.path.display());
    let failed = |errno| fail::before(format!("taking the lock {shown}"), errno);
    let id = identity(pool)?;
    let mark = pool.mark().and_then(|mark| mark.ok_or(Errno::NOENT)).map_err(failed)?;
    let file = pool::open_in(mark, &name, OFlags::RDWR | OFlags::CREATE, FILE_MODE).map_err(failed)?;
    let stat = fs::fstat(&file).map_err(failed)?;
    let which = (stat.st_dev, stat.st_ino);
    let begun = Instant::now();
    loop {
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(failed(errno)),
        }
        // Shared locks are those of somebody who looks whether it is held, for a moment: another can be had beside them.
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
                format!("another process is writing to {} for {owner}: {}", pool.path.display(), holder(mark, &name)),
            ));
        }
        std::thread::sleep(PAUSE);
    }
    // A courtesy: a pool that is full must still be one from which something can be removed.
    let _ = note_holder(&file, &read_notes(mark, &name));
    let held = Arc::new(HeldLock { file, which, owner: owner.clone(), id, released: AtomicBool::new(false) });
    let mut all = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|lock| lock.strong_count() > 0);
    all.push(Arc::downgrade(&held));
    Ok(held)
}

/// The identity that a pool must have to be written to.
pub(super) fn identity(pool: &LocalPool) -> Result<PoolId, DriverError> {
    let unreachable = |why| DriverError::before(ErrorKind::Unreachable, why);
    pool.id().map_err(unreachable)?.ok_or_else(|| {
        unreachable(format!(
            "{0} has no mark of Kiln's ({0}/{MARK}/id): is the right file system mounted?",
            pool.path.display()
        ))
    })
}

/// A line of the lock's file is `pid 12 on host, begun 34`. The first is the process that took it last, the others took it before and
/// still live. A process's number can be used again, but not with the time at which it began (in ticks since the host did).
const BEGUN: &str = ", begun ";
/// How many processes are noted.
const MOST_NOTED: usize = 16;
/// How much of a command line is shown.
const SHOWN: usize = 200;

/// Says in the file who holds it, for whoever is kept out; since when is the file's own time.
fn note_holder(file: &OwnedFd, before: &str) -> Result<(), Errno> {
    let begun = begun(std::process::id()).map(|begun| format!("{BEGUN}{begun}")).unwrap_or_default();
    let mut text = format!("pid {} on {}{begun}\n", std::process::id(), host());
    for (line, _) in living(before).take(MOST_NOTED - 1) {
        text.push_str(line);
        text.push('\n');
    }
    rustix::io::pwrite(file, text.as_bytes(), 0)?;
    fs::ftruncate(file, text.len() as u64)
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned()
}

/// When a living process of this host began.
fn begun(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| !has_ended)?.parse().ok()
}

fn read_notes(mark: BorrowedFd<'_>, name: &str) -> String {
    let text = pool::read_small(mark, name, 4096).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// The lines of other processes of this host that live.
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

/// For each owner, the other processes of this host that took its lock and still live. A courtesy: what cannot be read says nothing.
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

fn holder(mark: BorrowedFd<'_>, name: &str) -> String {
    let notes = read_notes(mark, name);
    let who = notes.lines().next().unwrap_or_default();
    let who = who.rsplit_once(BEGUN).map_or(who, |(who, _)| who);
    let since = pool::stat_in(mark, name).ok().flatten();
    let since = since.and_then(|stat| jiff::Timestamp::from_second(stat.st_mtime).ok());
    match since {
        Some(since) if !who.is_empty() => format!("{who}, since {since}"),
        _ => "it does not say who it is".to_owned(),
    }
}

/// Owners whose lock is held now, by whomever.
pub(super) fn held(pool: &LocalPool, gaps: &mut Vec<String>) -> Vec<Owner> {
    let look = || {
        let Some(mark) = pool.mark()? else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        for owner in ledger::owners(mark, &[ENDING])? {
            if is_held(mark, &owner)? {
                held.push(owner);
            }
        }
        Ok(held)
    };
    look().unwrap_or_else(|errno: Errno| {
        gaps.push(format!("the locks in {}/{MARK} cannot be seen: {}", pool.path.display(), fail::describe(errno)));
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

/// What the engine holds.
pub(super) struct LocalLock(pub(super) Arc<HeldLock>);

impl Drop for LocalLock {
    fn drop(&mut self) {
        self.0.released.store(true, Ordering::SeqCst);
    }
}

impl WriterLock for LocalLock {}

impl HeldLock {
    /// The same file must still be under the same name, in the same pool: a lock on a file that is nowhere keeps nobody out. And
    /// whatever else is at the pool's path now (the directory below a file system that is no longer mounted, say) is not written to.
    pub(super) fn check(&self, pool: &LocalPool) -> Result<(), DriverError> {
        if identity(pool)? != self.id {
            return Err(DriverError::before(
                ErrorKind::Unreachable,
                format!("{} is not the pool that it was when the lock was taken", pool.path.display()),
            ));
        }
        let name = format!("{}{ENDING}", self.owner);
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
                format!("the lock {}/{MARK}/{name} cannot be seen: {}", pool.path.display(), fail::describe(errno)),
            )),
        }
    }
}
