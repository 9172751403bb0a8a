//! What goes wrong in a driver, by how one acts on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Seconds;

/// A driver call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    /// How to act on it.
    pub kind: ErrorKind,
    /// Whether what was asked happened all the same.
    pub effect: Effect,
    /// One sentence for a person, without the backend's name (the caller knows it).
    pub message: String,
}

/// Whether a failed call changed the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Certainly not.
    No,
    /// Completely.
    Yes,
    /// Nobody knows until someone looks: a time-out, a lost reply, a killed tool.
    Unknown,
}

/// Kinds of errors: one for each way of acting on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The backend cannot be reached or read as a whole (missing path, cluster away). Its objects are Unknown.
    Unreachable,
    /// The call did not end in time.
    TimedOut,
    /// A passing trouble of the backend.
    Transient,
    /// Someone has the object open; the message names them where they are known. Becomes Held(InUse).
    Busy,
    /// The world is not what the step expects, or another identity bears the name. Nothing was touched.
    Conflict,
    /// Something that is needed (a source) is not there.
    NotFound,
    /// No room left.
    Full,
    /// Not permitted to this user.
    Denied,
    /// The backend cannot do this.
    Unsupported,
    /// Another process holds, or has taken, the writer lock of this owner on this pool.
    OtherWriter,
    /// The backend failed lately, and is not asked now. A later pass does.
    BreakerOpen,
    /// Everything else that will not go away by itself: damage, wrong arguments.
    Permanent,
}

impl ErrorKind {
    /// Whether the same call may succeed a little later with nobody doing anything.
    pub fn retryable(self) -> bool {
        match self {
            ErrorKind::Unreachable | ErrorKind::Transient => true,
            // A call that was given up may still be running: a second one beside it is not the same as one after it. The next
            // pass looks first.
            ErrorKind::TimedOut
            | ErrorKind::Busy
            | ErrorKind::Conflict
            | ErrorKind::NotFound
            | ErrorKind::Full
            | ErrorKind::Denied
            | ErrorKind::Unsupported
            | ErrorKind::OtherWriter
            | ErrorKind::BreakerOpen
            | ErrorKind::Permanent => false,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl DriverError {
    /// An error before any effect.
    pub fn before(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, effect: Effect::No, message: message.into() }
    }

    /// An error after which one must look.
    pub fn unknown(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, effect: Effect::Unknown, message: message.into() }
    }

    /// A call that was given up after `limit`.
    pub fn timed_out(limit: Seconds) -> Self {
        Self::unknown(ErrorKind::TimedOut, format!("no answer within {limit}"))
    }
}
