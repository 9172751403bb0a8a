//! What one call shows of a directory entry.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, FileType, StatxFlags};
use rustix::io::Errno;

use super::file_id::FileId;

/// The status and the identity of an entry. Both are of the same file, because one call returns them.
pub(super) struct EntryStatus {
    pub(super) kind: FileType,
    pub(super) size: u64,
    /// The bytes that are allocated to it. Blocks are counted in 512 bytes, whatever the file system's own are (statx(2)).
    pub(super) used: u64,
    /// The number of hard links.
    pub(super) links: u32,
    pub(super) id: FileId,
}

impl EntryStatus {
    /// Returns the status of an entry, links not followed.
    pub(super) fn of(dir: BorrowedFd<'_>, name: &str) -> Result<Self, Errno> {
        let stat = fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
        Ok(Self {
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            size: stat.stx_size,
            used: stat.stx_blocks.saturating_mul(512),
            links: stat.stx_nlink,
            id: FileId::from_call(&stat),
        })
    }

    /// Returns what it is, in words.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            FileType::RegularFile => "a file",
            FileType::Directory => "a directory",
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            _ => "a device",
        }
    }
}
