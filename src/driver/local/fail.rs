//! Translates errors of the kernel into errors of drivers.

use std::fmt::Display;

use rustix::io::Errno;

use crate::model::{DriverError, Effect, ErrorKind};

/// Returns the kind of a kernel error.
pub(in crate::driver) fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT => ErrorKind::Full,
        Errno::ACCESS | Errno::PERM => ErrorKind::Denied,
        // Another process holds a lease (during a copy) or a lock.
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => ErrorKind::Busy,
        // A link where none is allowed, an existing entry, or an entry of another type.
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

/// Returns the error of a call before any visible change.
pub(in crate::driver) fn before(doing: impl Display, errno: Errno) -> DriverError {
    DriverError::before(kind_of(errno), format!("{doing}: {}", describe(errno)))
}

/// Returns the error of a call with unknown effect.
pub(in crate::driver) fn after(doing: impl Display, errno: Errno) -> DriverError {
    DriverError { effect: Effect::Unknown, ..before(doing, errno) }
}

/// Returns the error that an object differs from what the step expects.
pub(in crate::driver) fn conflict(message: impl Into<String>) -> DriverError {
    DriverError::before(ErrorKind::Conflict, message)
}

/// Describes a kernel error, with advice where the text of the kernel has none.
pub(in crate::driver) fn describe(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "the path contains a symbolic link, and Kiln follows none".to_owned(),
        Errno::NOSYS => "the kernel does not support this call (Linux 5.6 or later is required), or a sandbox forbids it (as RestrictSUIDSGID= of systemd does)".to_owned(),
        Errno::ROFS => "it is read-only: mount it for writing, or let a sandbox allow it (ReadWritePaths= of systemd, and a restart)".to_owned(),
        _ => errno.to_string(),
    }
}
