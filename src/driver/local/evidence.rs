//! What a file shows of programs that a lease does not notice: those of other hosts, and those that use another mount of the same files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{self, AtFlags, StatxFlags};
use rustix::io::Errno;

/// The file systems on which every program that opens a file for writing does so through the kernel of this host, so that a lease
/// proves that there is none (linux/magic.h, and the sources of ZFS). On all others (NFS, SMB, FUSE, 9P, Ceph, Lustre, OCFS2, GFS2, …)
/// a lease is granted while another host, or another mount on this host, writes. On overlayfs it is granted while a program has the
/// file of a layer open.
const LOCAL: [u64; 11] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
    0xCA45_1A4E, // bcachefs
    0x3153_464A, // JFS
    0x3434,      // NILFS2
    0x5265_4973, // reiserfs
];

/// Whether a lease on a file of this file system proves that no program writes to it.
pub(super) fn lease_proves_idleness(file: BorrowedFd<'_>) -> bool {
    // The numbers have 32 bits; on some platforms they are signed.
    let magic = fs::fstatfs(file).ok().and_then(|stat| u64::try_from(stat.f_type & 0xFFFF_FFFF).ok());
    magic.is_some_and(|magic| LOCAL.contains(&magic))
}

/// The bytes of an image that QEMU locks while it uses it (`block/file-posix.c`): 100 plus the permission for each permission that it
/// uses, 200 plus the permission for each that it does not share. 101, 102 and 103 are writing, rewriting the same content and
/// resizing; 200 says that the content is inconsistent now. A program that only reads locks none of them.
const WRITING: [libc::off_t; 4] = [101, 102, 103, 200];

/// Whether a program holds a lock by which QEMU says that it writes to the file. Servers of network file systems pass these locks on,
/// so it may run on another host.
pub(super) fn is_locked_by_writer(file: BorrowedFd<'_>) -> bool {
    WRITING.into_iter().any(|byte| is_locked(file, byte))
}

#[expect(unsafe_code, reason = "rustix has no locks of open file descriptions")]
fn is_locked(file: BorrowedFd<'_>, byte: libc::off_t) -> bool {
    // SAFETY: all fields of `flock` are integers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    // A lock for writing conflicts with every lock, and asking for it takes no write permission.
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    (lock.l_start, lock.l_len) = (byte, 1);
    // SAFETY: the descriptor is open for as long as it is borrowed, and `lock` is a `flock` that the kernel may write to.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    answer == 0 && lock.l_type != libc::F_UNLCK as libc::c_short
}

/// Metadata that changes when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) struct FileStamp {
    /// The length and the modification time, which the owner of the file can set.
    pub(in crate::driver) written: (u64, i64, u32),
    /// The change time, which no program can set. It also changes with the owner, the mode and the links of the file.
    changed: (i64, u32),
}

impl FileStamp {
    /// Returns the stamp of an open file, as the server has it now: network and FUSE file systems otherwise answer from a cache for
    /// seconds after another mount wrote.
    pub(in crate::driver) fn of(file: &impl AsFd) -> Result<Self, Errno> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        let stat = fs::statx(file.as_fd(), c"", flags, StatxFlags::BASIC_STATS)?;
        let (modified, changed) = (stat.stx_mtime, stat.stx_ctime);
        Ok(Self {
            written: (stat.stx_size, modified.tv_sec, modified.tv_nsec),
            changed: (changed.tv_sec, changed.tv_nsec),
        })
    }
}
