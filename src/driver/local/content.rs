//! The content of volumes: allocating space, and copying.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{self, FallocateFlags, SeekFrom, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::evidence::{self, FileStamp};
use super::fail;
use super::lease::{self, Lease, Leased};
use crate::model::{DriverError, Effect, ErrorKind, Size};

/// The granularity of sizes in bytes: the largest block size of the clients that use the files as block devices, and a page.
pub(super) const GRANULARITY: u64 = 4096;

/// One call copies at most this many bytes: about 10 ms on a fast disk and well under a second on a slow one, which bounds the wait of
/// a writer for the lease, of Ctrl-C, and of the progress line.
const PIECE: u64 = 8 << 20;
/// One call reserves at most this many bytes: a client that writes at the same time takes no more room than this before it is noticed.
const RESERVED_PIECE: u64 = 128 << 20;
/// Where the kernel does not copy by itself.
const BUFFER: usize = 1 << 20;

/// The context of a long copy: progress, and cancellation.
pub(in crate::driver) struct CopyWork {
    pub(in crate::driver) now: u64,
    pub(in crate::driver) progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
    /// Set when the caller no longer waits: the copy stops at the next safe point.
    pub(in crate::driver) abandoned: Arc<AtomicBool>,
}

impl CopyWork {
    /// Fails if the work is abandoned.
    pub(in crate::driver) fn check(&self) -> Result<(), DriverError> {
        check(&self.abandoned)
    }
}

/// Fails if the work is abandoned.
pub(super) fn check(abandoned: &AtomicBool) -> Result<(), DriverError> {
    if abandoned.load(Ordering::Relaxed) {
        return Err(DriverError::before(ErrorKind::Transient, "stopped before it was complete"));
    }
    Ok(())
}

/// Gives a new file its length, filled with zeroes.
pub(in crate::driver) fn allot(file: &OwnedFd, size: u64, thick: bool) -> Result<(), Errno> {
    if thick && size > 0 { fs::fallocate(file, FallocateFlags::empty(), 0, size) } else { fs::ftruncate(file, size) }
}

/// Returns whether a file holds no data: every byte lies in a hole, or in space that was allocated and never written.
///
/// `SEEK_DATA` proves it (lseek(2)): it finds written blocks, blocks that are only in the page cache, and blocks that a client
/// mapped and changed, but not what `fallocate` reserved. A file system that does not track holes says that everything is data,
/// and every error counts as data. The number of allocated blocks proves nothing: some file systems report it late or never.
pub(super) fn holds_no_data(file: &OwnedFd) -> bool {
    matches!(fs::seek(file, SeekFrom::Data(0)), Err(Errno::NXIO))
}

/// Extends a file. With `thick`, space is allocated first, so that a full pool leaves the length unchanged.
pub(super) fn lengthen(file: &OwnedFd, from: u64, to: u64, thick: bool) -> Result<(), Errno> {
    if thick && let Err(errno) = fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, to - from) {
        // Frees what was allocated past the end.
        let _ = fs::ftruncate(file, from);
        return Err(errno);
    }
    fs::ftruncate(file, to)
}

/// Fills a new, empty file with what another holds, followed by zeroes up to `size`.
///
/// Shares the blocks where the file system can (then the source may be in use: the copy is of one moment), else copies them and
/// keeps holes; then no process may have the source open for writing. `what` names the source for messages.
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
        return Err(fail::conflict(format!("{what} has {length} bytes, more than the {size} of its copy")));
    }
    match fs::ioctl_ficlone(into, from) {
        // No data was copied.
        Ok(()) => (work.progress)(0, 0),
        // Every error by which a file system says that it does not share blocks, or not these.
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

/// The bytes that a file occupies on its file system.
pub(in crate::driver) fn allocated(stat: &Stat) -> u64 {
    // Blocks are counted in 512 bytes, whatever the file system's own are (stat(2)).
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// Fails with `Full` if a file system has no space for `bytes` more, before anything is written: what fails halfway has filled the file
/// system for all other users. `doing`: what needs the space; `so_far`: what was done.
pub(in crate::driver) fn check_room(into: &OwnedFd, bytes: u64, doing: &str, so_far: &str) -> Result<(), DriverError> {
    let stat = fs::fstatvfs(into).map_err(|errno| fail::before(doing, errno))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if bytes <= free {
        return Ok(());
    }
    let message = format!("{doing} needs {}, and {} are free; {so_far}", Size(bytes).rounded(), Size(free).rounded());
    Err(DriverError::before(ErrorKind::Full, message))
}

/// Held from reading the free space until it is allocated, so that no two count on the same free bytes.
static TAKING: Mutex<()> = Mutex::new(());

/// Allocates the space that a copy needs, with the holes of the source, or fails with `Full` before anything is copied.
fn take_room(into: &OwnedFd, from: &OwnedFd, length: u64, what: &str) -> Result<(), DriverError> {
    let copying = format!("copying {what}");
    let failed = |errno| fail::before(&copying, errno);
    let needed = allocated(&fs::fstat(from).map_err(failed)?).min(length);
    let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    check_room(into, needed, &copying, "nothing was copied")?;
    let mut at = 0;
    while at < length {
        let (start, end) = next_data(from, at, length).map_err(failed)?;
        if start < end {
            match fs::fallocate(into, FallocateFlags::empty(), start, end - start) {
                Ok(()) => {}
                // The free space is all that is known here.
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

/// Allocates space for every block of a file, in holes too. Its content stays: what is allocated reads as zeroes until it is written.
///
/// In pieces, each only while all that is still missing is free: others may write at the same time, and a file system keeps what it
/// allocated before it had no more.
pub(super) fn reserve(file: &OwnedFd, size: u64, doing: &str, work: &CopyWork) -> Result<(), DriverError> {
    let mut at = 0;
    while at < size {
        let piece = (size - at).min(RESERVED_PIECE);
        let so_far = if at == 0 { "nothing was reserved" } else { "a part was reserved" };
        let begin = || {
            work.check()?;
            let used = allocated(&fs::fstat(file).map_err(|errno| fail::before(doing, errno))?);
            let alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
            check_room(file, size.saturating_sub(used), doing, so_far).map(|()| alone)
        };
        let alone = begin().map_err(|error| match at {
            0 => error,
            _ => DriverError { effect: Effect::Unknown, ..error },
        })?;
        fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, piece).map_err(|errno| fail::after(doing, errno))?;
        drop(alone);
        at += piece;
        (work.progress)(at, size);
    }
    Ok(())
}

/// Allocates space for every block, shared blocks included where the file system supports that.
fn make_thick(file: &OwnedFd, size: u64) -> Result<(), Errno> {
    match fs::fallocate(file, FallocateFlags::UNSHARE_RANGE, 0, size) {
        Err(Errno::OPNOTSUPP | Errno::INVAL) => fs::fallocate(file, FallocateFlags::empty(), 0, size),
        other => other,
    }
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Copies a file that no process writes to. Busy if one does, or begins to.
fn copy_undisturbed(into: &OwnedFd, from: &OwnedFd, what: &str, work: &CopyWork) -> Result<(), DriverError> {
    let busy = |who: Vec<String>| {
        DriverError::before(
            ErrorKind::Busy,
            format!("{what} is open for writing by {}; a copy would be inconsistent", who.join(", ")),
        )
    };
    let failed = |errno| fail::before(format!("copying {what}"), errno);
    let lease = match Lease::take(from.as_fd()) {
        Leased::Idle(lease) | Leased::Unproven(lease) => Some(lease),
        Leased::Writers => return Err(busy(lease::writers(from.as_fd()))),
        Leased::Unknown => None,
    };
    let before = FileStamp::of(from).map_err(failed)?;
    let length = before.written.0;
    let disturbed = || lease.as_ref().is_some_and(Lease::broken);
    copy(into, from, length, &mut |done, total| {
        if disturbed() {
            return Err(busy(vec!["a process that opened it during the copy".to_owned()]));
        }
        (work.progress)(done, total);
        work.check()
    })
    .map_err(|stopped| match stopped {
        Stopped::Kernel(errno) => failed(errno),
        Stopped::Shorter => busy(vec!["a process that shortened it during the copy".to_owned()]),
        Stopped::Told(error) => error,
    })?;
    let after = FileStamp::of(from).map_err(failed)?;
    // Where a lease proves nothing, the timestamps and the locks of QEMU are the only evidence.
    if disturbed() || before.written != after.written || evidence::is_locked_by_writer(from.as_fd()) {
        return Err(busy(vec!["a process that wrote to it during the copy".to_owned()]));
    }
    Ok(())
}

enum Stopped {
    Kernel(Errno),
    Shorter,
    Told(DriverError),
}

/// Copies `length` bytes, keeping holes. `go_on` is called for every piece, with the bytes of data that are copied and those of all data;
/// an error from it ends the copy.
fn copy(
    into: &OwnedFd,
    from: &OwnedFd,
    length: u64,
    go_on: &mut dyn FnMut(u64, u64) -> Result<(), DriverError>,
) -> Result<(), Stopped> {
    fs::ftruncate(into, length).map_err(Stopped::Kernel)?;
    let mut by_kernel = true;
    let data = data_in(from, length).map_err(Stopped::Kernel)?;
    let (mut at, mut copied) = (0, 0);
    go_on(0, data).map_err(Stopped::Told)?;
    while at < length {
        let (start, end) = next_data(from, at, length).map_err(Stopped::Kernel)?;
        at = start;
        while at < end {
            let piece = (end - at).min(PIECE);
            let done = if by_kernel { copy_by_kernel(into, from, at, piece) } else { Ok(0) };
            let done = match done {
                // Old kernels return 0 if they cannot copy.
                Ok(0) => {
                    by_kernel = false;
                    copy_by_hand(into, from, at, piece)
                }
                Err(Errno::INVAL | Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::IO) => {
                    // An unreadable block fails with EIO here and again in the copy with read and write.
                    by_kernel = false;
                    Ok(Some(0))
                }
                Err(errno) => Err(errno),
                Ok(done) => Ok(Some(done)),
            };
            match done.map_err(Stopped::Kernel)? {
                Some(done) => (at, copied) = (at + done, copied + done),
                None => return Err(Stopped::Shorter),
            }
            go_on(copied.min(data), data).map_err(Stopped::Told)?;
        }
    }
    go_on(data, data).map_err(Stopped::Told)
}

/// The bytes of a file that are not in holes.
fn data_in(from: &OwnedFd, length: u64) -> Result<u64, Errno> {
    let (mut at, mut data) = (0, 0);
    while at < length {
        let (start, end) = next_data(from, at, length)?;
        (at, data) = (end, data + (end - start));
    }
    Ok(data)
}

/// The next range of data at or after `at`; (`length`, `length`) after the last.
fn next_data(from: &OwnedFd, at: u64, length: u64) -> Result<(u64, u64), Errno> {
    let start = match fs::seek(from, SeekFrom::Data(at)) {
        Ok(start) => start.min(length),
        Err(Errno::NXIO) => return Ok((length, length)),
        // The file system does not track holes: all is data.
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
    retry_on_intr(|| fs::copy_file_range(from, Some(&mut source), into, Some(&mut target), piece)).map(|n| n as u64)
}

/// `None` at the end of the source.
pub(super) fn copy_by_hand(into: &OwnedFd, from: &OwnedFd, at: u64, piece: u64) -> Result<Option<u64>, Errno> {
    let mut buffer = vec![0; usize::try_from(piece).unwrap_or(BUFFER).min(BUFFER)];
    let read = retry_on_intr(|| rustix::io::pread(from, &mut buffer[..], at))?;
    let mut written = 0;
    while written < read {
        match retry_on_intr(|| rustix::io::pwrite(into, &buffer[written..read], at + written as u64))? {
            0 => return Err(Errno::IO),
            n => written += n,
        }
    }
    Ok((read > 0).then_some(read as u64))
}
