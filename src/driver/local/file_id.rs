//! The identity of a file or directory.

use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::model::NativeName;

/// Identifies a file or directory among all that have had its name.
///
/// Inode numbers are reused, often at once; birth times are not, and no program can set them. Device numbers may change with a reboot, so
/// they are not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileId {
    inode: u64,
    /// Birth time, in seconds since 1970 and nanoseconds; `None` if the file system does not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<(i64, u32)>,
}

impl FileId {
    /// Returns the identity of a directory entry, without following links.
    pub(super) fn of(dir: BorrowedFd<'_>, name: &str) -> Result<Self, Errno> {
        Ok(Self::from_call(&fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO | StatxFlags::BTIME)?))
    }

    /// Returns the identity in the answer of a call that asked for inode and birth time.
    pub(super) fn from_call(stat: &fs::Statx) -> Self {
        let knows_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let born = knows_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec));
        Self { inode: stat.stx_ino, born }
    }

    /// Returns the identity of an open file.
    pub(super) fn of_open(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self::from_call(&fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?))
    }

    /// The birth time in seconds since 1970, if the file system stores it. A copy of a file is born when it is made.
    pub(super) fn born(self) -> Option<u64> {
        self.born.and_then(|(seconds, _)| u64::try_from(seconds).ok())
    }

    /// Whether the birth time is known and after this time, in seconds since 1970 and nanoseconds.
    pub(super) fn is_born_after(self, time: (i64, u32)) -> bool {
        self.born.is_some_and(|born| born > time)
    }

    /// Whether a directory may be removed under a name. A temporary name ends with the identities of the directories that Kiln
    /// renames to it, or with none if Kiln makes the directory there.
    ///
    /// If another program replaces the directory just before the rename, and the process is killed just after it, the name is that of a
    /// directory that is not Kiln's.
    pub(super) fn is_named_by(self, name: &str) -> bool {
        let is_temporary = NativeName::new(name).is_temporary();
        let mut named = name.split('.').skip(4).peekable();
        !is_temporary || named.peek().is_none() || named.any(|id| id == self.to_string())
    }

    /// Whether both are the same file, as far as the file system reports it.
    pub(super) fn is(self, other: Self) -> bool {
        let born_differs = matches!((self.born, other.born), (Some(one), Some(another)) if one != another);
        self.inode == other.inode && !born_differs
    }
}

/// As at the end of a temporary name: in hexadecimal, without dots.
impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.inode)?;
        match self.born {
            Some((seconds, nanoseconds)) => write!(f, "-{seconds:x}-{nanoseconds:x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_at_the_end_of_a_temporary_name_keep_their_form() {
        let id = FileId { inode: 0x1f2e, born: Some((1_800_000_000, 255)) };
        assert_eq!(id.to_string(), "1f2e-6b49d200-ff");
        assert_eq!(FileId { born: None, ..id }.to_string(), "1f2e");
        assert!(id.is_named_by("kiln-tmp.prod.db.22222222.1f2e-6b49d200-ff"));
        assert!(!id.is_named_by("kiln-tmp.prod.db.22222222.1f2e-6b49d200-fe"));
    }
}
