//! Detects processes that have a file open for writing, or that open it meanwhile, by `fcntl` leases.
//!
//! A read lease is granted only on a file that no process has open for writing. It delays a process that opens it so until it is given
//! back: [`Lease::broken`] notices the delay, and the lease is given back at once. Readers are neither noticed nor delayed.
//!
//! Where other hosts or other mounts can write too, a lease proves nothing: there, only a refused lease and the locks of QEMU are evidence.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs;
use rustix::io::Errno;

use super::evidence::{is_locked_by_writer, lease_proves_idleness};
use crate::driver::tool;

/// The command that sets the signal for a break: the number in Linux's `asm-generic/fcntl.h`, which `libc` leaves out.
const F_SETSIG: libc::c_int = 10;

/// A read lease, given back on drop.
pub(in crate::driver) struct Lease<'fd> {
    fd: BorrowedFd<'fd>,
}

/// The result of taking a lease.
pub(in crate::driver) enum Leased<'fd> {
    /// No process writes, and one that begins to is noticed.
    Idle(Lease<'fd>),
    /// A process has the file open for writing, or holds QEMU's lock of a writer.
    Writers,
    /// No process of this mount writes, and one that begins to is noticed. There may be writers elsewhere: the file system is one where
    /// a lease does not prove that there is none.
    Unproven(Lease<'fd>),
    /// Unknown: the file system does not support leases, or the file belongs to another user.
    Unknown,
}

/// How often, and at which interval, taking a lease is retried: 50 ms in all, many times the time from fork to exec on a busy machine,
/// and short for a caller if there is a real writer.
const PATIENCE: u32 = 10;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

impl<'fd> Lease<'fd> {
    /// Takes a lease on a file that is opened for reading only.
    pub(in crate::driver) fn take(fd: BorrowedFd<'fd>) -> Leased<'fd> {
        // The kernel announces a break by a signal, SIGIO by default, which ends the process. SIGURG is ignored by default; the
        // break is polled for instead.
        if control(fd, F_SETSIG, libc::SIGURG).is_err() {
            return Leased::Unknown;
        }
        let ask = || control(fd, libc::F_SETLEASE, libc::F_RDLCK);
        // A child process has our files open until it executes its tool. It is not a writer.
        let mut answer = ask().or_else(|_| tool::while_none_starts(ask));
        // The same holds for a child that another part of this process starts: its copy is closed at its exec; a writer stays.
        for _ in 0..PATIENCE {
            if answer != Err(Errno::AGAIN) {
                break;
            }
            std::thread::sleep(PAUSE);
            answer = ask();
        }
        let lease = answer.map(|_| Lease { fd });
        if is_locked_by_writer(fd) {
            return Leased::Writers;
        }
        match lease {
            Ok(lease) if lease_proves_idleness(fd) => Leased::Idle(lease),
            Ok(lease) => Leased::Unproven(lease),
            Err(Errno::AGAIN) => Leased::Writers,
            Err(_) => Leased::Unknown,
        }
    }

    /// Whether a process has opened the file for writing since, or waits to.
    pub(in crate::driver) fn broken(&self) -> bool {
        control(self.fd, libc::F_GETLEASE, 0) != Ok(libc::F_RDLCK)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Closing the file gives it back as well.
        let _ = control(self.fd, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// Whether a process has a regular file open for writing. `false` if that cannot be known.
pub(crate) fn has_writer(path: &std::path::Path) -> bool {
    let flags = fs::OFlags::RDONLY | fs::OFlags::NONBLOCK | fs::OFlags::NOCTTY | fs::OFlags::CLOEXEC;
    let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
    let opened = is_file.then(|| fs::open(path, flags, fs::Mode::empty()).ok()).flatten();
    opened.is_some_and(|file| matches!(Lease::take(file.as_fd()), Leased::Writers))
}

#[expect(unsafe_code, reason = "rustix has no leases; these fcntl commands take and give plain integers")]
fn control(fd: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> Result<libc::c_int, Errno> {
    // SAFETY: the descriptor is open for as long as it is borrowed; F_SETSIG, F_SETLEASE and F_GETLEASE touch no memory of ours.
    let answer = unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) };
    if answer == -1 { Err(super::pool::errno_of(std::io::Error::last_os_error())) } else { Ok(answer) }
}

/// The processes that have a file open for writing, as far as `/proc` shows them to this user. Slow (reads all descriptors of the host): only
/// called after a lease has shown that there is a writer.
pub(in crate::driver) fn writers(file: BorrowedFd<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(wanted) = fs::fstat(file) {
        for process in numbered("/proc") {
            let fds = format!("/proc/{process}/fd");
            let writes = numbered(&fds).any(|fd| {
                fs::stat(format!("{fds}/{fd}")).is_ok_and(|s| (s.st_dev, s.st_ino) == (wanted.st_dev, wanted.st_ino))
                    && opened_for_writing(process, fd)
            });
            if writes {
                let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
                found.push(format!("pid {process} ({})", name.trim_end()));
            }
        }
    }
    if found.is_empty() {
        let who = match is_locked_by_writer(file) {
            true => "a program that holds QEMU's lock of a writer (perhaps on another host)",
            false => "a writer that this user cannot see (a loop device, or another user's process)",
        };
        found.push(who.to_owned());
    }
    found
}

fn numbered(directory: &str) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn opened_for_writing(process: u32, fd: u32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{process}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
    flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32
}

/// The processes that write to a file. `None` if that cannot be known.
pub(in crate::driver) fn writers_of(file: &impl AsFd) -> Option<Vec<String>> {
    match Lease::take(file.as_fd()) {
        Leased::Idle(_) => Some(Vec::new()),
        Leased::Writers => Some(writers(file.as_fd())),
        Leased::Unproven(_) | Leased::Unknown => None,
    }
}
