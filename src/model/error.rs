//! Errors of drivers, classified by how to act on them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Seconds;

/// A failed driver call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    /// How to act on it.
    pub kind: ErrorKind,
    /// Whether the call took effect although it failed.
    pub effect: Effect,
    /// One sentence, without the name of the backend, which the caller knows.
    pub message: String,
    /// What to run or write so that the call succeeds, if the driver knows. Shown for a backend that could not be observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<DriverFix>,
}

/// What to run or write so that a call succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DriverFix {
    /// A command to run or a line to write, as a clause.
    Do(String),
    /// The pool does not exist: mount its file system, or create it by `new` if it is a new one.
    MountOr {
        /// What creates it, as a clause: `` `mkdir -p /pools/fast` ``.
        new: String,
    },
}

impl DriverFix {
    /// Returns the text for people. `is_known`: the pool was used before. Then an empty pool in its place would be refused, and none is
    /// proposed.
    pub fn text(&self, is_known: bool) -> Cow<'_, str> {
        match self {
            DriverFix::Do(fix) => fix.into(),
            DriverFix::MountOr { new: _ } if is_known => {
                "mount its file system (an empty pool in its place would be refused)".into()
            }
            DriverFix::MountOr { new } => format!("mount its file system; or, for a new pool, {new}").into(),
        }
    }
}

/// Whether a failed call changed the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It had no effect.
    No,
    /// It took full effect.
    Yes,
    /// Unknown until the backend is observed: after a time-out, a lost reply or a killed tool.
    Unknown,
}

/// Kinds of errors, one for each way to act on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The backend cannot be reached or read as a whole (missing path, cluster down). Its objects are Unknown.
    Unreachable,
    /// The call did not end in time.
    TimedOut,
    /// A transient error of the backend.
    Transient,
    /// A client has the object open; the message names the client if known. Becomes Held(InUse).
    Busy,
    /// The object differs from what the step expects, or another object has the name. Nothing was changed.
    Conflict,
    /// Something that the step needs, such as a source, does not exist.
    NotFound,
    /// No space is left.
    Full,
    /// Not permitted to this user.
    Denied,
    /// The backend cannot do this.
    Unsupported,
    /// Another process holds, or has taken, the writer lock of this owner on this pool.
    OtherWriter,
    /// The backend failed recently; its circuit breaker is open. A later pass tries again.
    BreakerOpen,
    /// Any other error that persists: damage, wrong arguments.
    Permanent,
}

impl ErrorKind {
    /// Whether the same call may succeed shortly afterwards without intervention.
    pub fn retryable(self) -> bool {
        match self {
            ErrorKind::Unreachable | ErrorKind::Transient => true,
            // A call that timed out may still be running, so it must not be repeated blindly. The next pass observes first.
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
    /// Returns an error without effect.
    pub fn before(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, effect: Effect::No, message: message.into(), fix: None }
    }

    /// Returns an error with unknown effect.
    pub fn unknown(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, effect: Effect::Unknown, message: message.into(), fix: None }
    }

    /// Adds what to run or write so that the call succeeds.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(DriverFix::Do(fix.into())), ..self }
    }

    /// Adds what to do about a pool that does not exist. `new`: what creates it if it is a new one, as a clause.
    #[must_use]
    pub fn of_missing_pool(self, new: impl Into<String>) -> Self {
        Self { fix: Some(DriverFix::MountOr { new: new.into() }), ..self }
    }

    /// Returns the error of a call to a Backend or Target that is not declared, or not open.
    pub fn not_open() -> Self {
        Self::before(ErrorKind::Unreachable, "it is not open")
    }

    /// Returns the error of a call that exceeded `limit`.
    pub fn timed_out(limit: Seconds) -> Self {
        Self::unknown(ErrorKind::TimedOut, format!("no answer within {limit}"))
    }
}
