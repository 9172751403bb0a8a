//! What is inside of a volume: allotting room, and copying.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{self, FallocateFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::fail;
use super::lease::{self, Lease, Leased};
use crate::model::{DriverError, ErrorKind, Size};

/// The granularity of sizes in bytes: the largest block size of the clients that use the files as block devices, and a page.
pub(super) const GRANULARITY: u64 = 4096;

/// One call copies at most this much: about 10 ms on a fast disk and well under a second on a slow one, so that a writer who
/// waits for our lease, a Ctrl-C, and the progress line do not wait long.
const PIECE: u64 = 8 << 20;
/// Where the kernel does not copy by itself.
const BUFFER: usize = 1 << 20;

/// What long work reports to, and is stopped by.
pub(in crate::driver) struct CopyWork {
    pub(in crate::driver) now: u64,
    pub(in crate::driver) progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
    /// The caller has gone: stop at the next safe place.
    pub(in crate::driver) abandoned: Arc<AtomicBool>,
}

impl CopyWork {
    /// An error once the caller has gone.
    pub(in crate::driver) fn check(&self) -> Result<(), DriverError> {
        check(&self.abandoned)
    }
}

/// An error once the caller has gone.
pub(super) fn check(abandoned: &AtomicBool) -> Result<(), DriverError> {
    if abandoned.load(Ordering::Relaxed) {
        return Err(DriverError::before(ErrorKind::Transient, "stopped before it was done"));
    }
    Ok(())
}

/// Gives a new file its length, all zeroes.
pub(in crate::driver) fn allot(file: &OwnedFd, size: u64, thick: bool) -> Result<(), Errno> {
    if thick && size > 0 { fs::fallocate(file, FallocateFlags::empty(), 0, size) } else { fs::ftruncate(file, size) }
}

/// Returns whether a file holds no data: every byte lies in a hole, or in room that was reserved and never written to.
///
/// `SEEK_DATA` proves it (lseek(2)): it finds written blocks, blocks that are only in the page cache, and blocks that a client
/// mapped and changed, but not what `fallocate` reserved. A file system that does not track holes says that everything is data,
/// and every error counts as data. The number of allocated blocks proves nothing: some file systems report it late or never.
pub(super) fn holds_no_data(file: &OwnedFd) -> bool {
    matches!(fs::seek(file, SeekFrom::Data(0)), Err(Errno::NXIO))
}

/// Makes a file longer. With `thick`, the room is taken first, so that a full pool leaves the length as it was.
pub(super) fn lengthen(file: &OwnedFd, from: u64, to: u64, thick: bool) -> Result<(), Errno> {
    if thick && let Err(errno) = fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, to - from) {
        // Gives back what was taken past the end.
        let _ = fs::ftruncate(file, from);
        return Err(errno);
    }
    fs::ftruncate(file, to)
}

/// Fills a new, empty file with what another holds, followed by zeroes up to `size`.
///
/// Shares the blocks where the file system can (then the source may be in use: the copy is of one moment), else copies them and
/// keeps holes; then nobody may be writing to the source. `what` names the source for messages.
pub(in crate::driver) fn fill(
    into: &OwnedFd,
    from: &OwnedFd,
    size: u64,
    thick: bool,
    what: &str,
    work: &CopyWork,
) -> Result<(), DriverError> {
    let failed = |errno| fail::before(format!("copying {what}"), errno);
    let length = length(&fs::fstat(from).map_err(failed)?);
    if length > size {
        return Err(fail::conflict(format!(
            "{what} has {length} bytes, more than the {size} of what it is to be copied to"
        )));
    }
    match fs::ioctl_ficlone(into, from) {
        Ok(()) => (work.progress)(length, length),
        // Every way in which a file system says that it does not share blocks, or not these.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV | Errno::NOTTY | Errno::NOSYS | Errno::PERM) => {
            take_room(into, from, length, what)?;
            copy_undisturbed(into, from, what, work)?;
        }
        Err(errno) => return Err(failed(errno)),
    }
    if thick {
        make_thick(into, size).map_err(failed)?;
    }
    fs::ftruncate(into, size).map_err(failed)
}

/// Bytes that a file takes up on its file system.
pub(in crate::driver) fn allocated(stat: &Stat) -> u64 {
    // Blocks are counted in 512 bytes, whatever the file system's own are (stat(2)).
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// Fails with `Full` if a file system has no room for `bytes` more, before anything of them is written: a copy that finds out
/// half-way has filled the file system for everybody else.
pub(in crate::driver) fn check_room(into: &OwnedFd, bytes: u64, what: &str) -> Result<(), DriverError> {
    let stat = fs::fstatvfs(into).map_err(|errno| fail::before(format!("copying {what}"), errno))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if bytes <= free {
        return Ok(());
    }
    let message = format!("copying {what} takes {}, and {} are free: nothing was copied", Size(bytes), Size(free));
    Err(DriverError::before(ErrorKind::Full, message))
}

/// Takes the room that a copy needs, hole by hole as in the source, or fails with `Full` before anything is copied. Copies take
/// it one at a time, so that two of them never count on the same free bytes.
fn take_room(into: &OwnedFd, from: &OwnedFd, length: u64, what: &str) -> Result<(), DriverError> {
    static TAKING: Mutex<()> = Mutex::new(());
    let failed = |errno| fail::before(format!("copying {what}"), errno);
    let needed = allocated(&fs::fstat(from).map_err(failed)?).min(length);
    let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    check_room(into, needed, what)?;
    let mut at = 0;
    while at < length {
        let (start, end) = next_data(from, at, length).map_err(failed)?;
        if start < end {
            match fs::fallocate(into, FallocateFlags::empty(), start, end - start) {
                Ok(()) => {}
                // What was free is all that can be known here.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => break,
                Err(errno) => return Err(failed(errno)),
            }
        }
        at = end;
    }
    Ok(())
}

/// Whether a file system shares blocks between two files.
pub(super) fn shares_blocks(into: &OwnedFd, from: &OwnedFd) -> bool {
    fs::ioctl_ficlone(into, from).is_ok()
}

/// Takes room of its own for every block, shared ones included where the file system can say so.
fn make_thick(file: &OwnedFd, size: u64) -> Result<(), Errno> {
    match fs::fallocate(file, FallocateFlags::UNSHARE_RANGE, 0, size) {
        Err(Errno::OPNOTSUPP | Errno::INVAL) => fs::fallocate(file, FallocateFlags::empty(), 0, size),
        other => other,
    }
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Copies while nobody writes; Busy if somebody does, or begins to.
fn copy_undisturbed(into: &OwnedFd, from: &OwnedFd, what: &str, work: &CopyWork) -> Result<(), DriverError> {
    let busy = |who: Vec<String>| {
        DriverError::before(
            ErrorKind::Busy,
            format!("{what} is open for writing by {}: a copy would be torn", who.join(", ")),
        )
    };
    let failed = |errno| fail::before(format!("copying {what}"), errno);
    let lease = match Lease::take(from.as_fd()) {
        Leased::Idle(lease) => Some(lease),
        Leased::Writers => return Err(busy(lease::writers(from.as_fd()))),
        Leased::Unknown => None,
    };
    let before = fs::fstat(from).map_err(failed)?;
    let disturbed = || lease.as_ref().is_some_and(Lease::broken);
    copy(into, from, length(&before), &mut |done, total| {
        if disturbed() {
            return Err(busy(vec!["someone who opened it while it was being copied".to_owned()]));
        }
        (work.progress)(done, total);
        work.check()
    })
    .map_err(|stopped| match stopped {
        Stopped::Kernel(errno) => failed(errno),
        Stopped::Shorter => busy(vec!["someone who cut it short while it was being copied".to_owned()]),
        Stopped::Told(error) => error,
    })?;
    let after = fs::fstat(from).map_err(failed)?;
    // The one sign there is where leases are not known.
    let stamp = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec);
    if disturbed() || stamp(&before) != stamp(&after) {
        return Err(busy(vec!["someone who wrote to it while it was being copied".to_owned()]));
    }
    Ok(())
}

enum Stopped {
    Kernel(Errno),
    Shorter,
    Told(DriverError),
}

/// Copies `length` bytes, keeping holes. `go_on` hears of every piece and may end it.
fn copy(
    into: &OwnedFd,
    from: &OwnedFd,
    length: u64,
    go_on: &mut dyn FnMut(u64, u64) -> Result<(), DriverError>,
) -> Result<(), Stopped> {
    fs::ftruncate(into, length).map_err(Stopped::Kernel)?;
    let mut by_kernel = true;
    let mut at = 0;
    go_on(0, length).map_err(Stopped::Told)?;
    while at < length {
        let (start, end) = next_data(from, at, length).map_err(Stopped::Kernel)?;
        at = start;
        while at < end {
            let piece = (end - at).min(PIECE);
            let done = if by_kernel { copy_by_kernel(into, from, at, piece) } else { Ok(0) };
            let done = match done {
                // Old kernels answer 0 where they cannot.
                Ok(0) => {
                    by_kernel = false;
                    copy_by_hand(into, from, at, piece)
                }
                Err(Errno::INVAL | Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::IO) => {
                    // An unreadable block answers EIO here as well, and says so again when read by hand.
                    by_kernel = false;
                    Ok(Some(0))
                }
                Err(errno) => Err(errno),
                Ok(done) => Ok(Some(done)),
            };
            match done.map_err(Stopped::Kernel)? {
                Some(done) => at += done,
                None => return Err(Stopped::Shorter),
            }
            go_on(at, length).map_err(Stopped::Told)?;
        }
    }
    go_on(length, length).map_err(Stopped::Told)
}

/// The next part at or behind `at` that is no hole; (`length`, `length`) behind the last.
fn next_data(from: &OwnedFd, at: u64, length: u64) -> Result<(u64, u64), Errno> {
    let start = match fs::seek(from, SeekFrom::Data(at)) {
        Ok(start) => start.min(length),
        Err(Errno::NXIO) => return Ok((length, length)),
        // Holes are not known here: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((at, length)),
        Err(errno) => return Err(errno),
    };
    match fs::seek(from, SeekFrom::Hole(start)) {
        Ok(end) => Ok((start, end.min(length))),
        Err(Errno::NXIO) => Ok((length, length)),
        Err(errno) => Err(errno),
    }
}

fn copy_by_kernel(into: &OwnedFd, from: &OwnedFd, at: u64, piece: u64) -> Result<u64, Errno> {
    let (mut source, mut target) = (at, at);
    let piece = usize::try_from(piece).unwrap_or(BUFFER);
    match fs::copy_file_range(from, Some(&mut source), into, Some(&mut target), piece) {
        Err(Errno::INTR) => copy_by_kernel(into, from, at, piece as u64),
        other => other.map(|n| n as u64),
    }
}

/// `None`: the source ends here.
pub(super) fn copy_by_hand(into: &OwnedFd, from: &OwnedFd, at: u64, piece: u64) -> Result<Option<u64>, Errno> {
    let mut buffer = vec![0; usize::try_from(piece).unwrap_or(BUFFER).min(BUFFER)];
    let read = loop {
        match rustix::io::pread(from, &mut buffer[..], at) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut written = 0;
    while written < read {
        match rustix::io::pwrite(into, &buffer[written..read], at + written as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => written += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok((read > 0).then_some(read as u64))
}
