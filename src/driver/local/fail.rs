//! From what the kernel answers to what one does about it.

use std::fmt::Display;

use rustix::io::Errno;

use crate::model::{DriverError, Effect, ErrorKind};

/// How to act on an answer of the kernel.
pub(in crate::driver) fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT => ErrorKind::Full,
        Errno::ACCESS | Errno::PERM => ErrorKind::Denied,
        // A lease (a copy is being read) or a lock is in the way.
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => ErrorKind::Busy,
        // A link where none may be, something in the way, or something of another type.
        Errno::LOOP | Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR | Errno::XDEV => {
            ErrorKind::Conflict
        }
        Errno::NOENT => ErrorKind::Conflict,
        Errno::ROFS | Errno::STALE | Errno::NODEV | Errno::NXIO | Errno::NOTCONN | Errno::SHUTDOWN => {
            ErrorKind::Unreachable
        }
        Errno::TIMEDOUT => ErrorKind::TimedOut,
        Errno::NOSYS | Errno::OPNOTSUPP | Errno::FBIG => ErrorKind::Unsupported,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}

/// An error of a call before which nothing that others can see was changed.
pub(in crate::driver) fn before(doing: impl Display, errno: Errno) -> DriverError {
    DriverError::before(kind_of(errno), format!("{doing}: {}", describe(errno)))
}

/// An error of a call after which, or during which, the effect may have happened.
pub(in crate::driver) fn after(doing: impl Display, errno: Errno) -> DriverError {
    DriverError { effect: Effect::Unknown, ..before(doing, errno) }
}

/// The world is not what the step expects.
pub(in crate::driver) fn conflict(message: impl Into<String>) -> DriverError {
    DriverError::before(ErrorKind::Conflict, message)
}

/// In words, with what the kernel's own text does not say.
pub(in crate::driver) fn describe(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "there is a symbolic link in the way, and none is followed".to_owned(),
        Errno::NOSYS => "the kernel does not know this call (Linux 5.6 or later is needed), or a sandbox forbids it (RestrictSUIDSGID= of systemd does)".to_owned(),
        Errno::ROFS => "it is read-only: mount it for writing, or let a sandbox allow it (ReadWritePaths= of systemd, and a restart)".to_owned(),
        _ => errno.to_string(),
    }
}
