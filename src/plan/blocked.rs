//! Why no step is planned on a backend.

use crate::model::Name;

use super::types::HeldReason;

/// Why no step is planned on a backend.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    pub reason: HeldReason,
    pub message: String,
    pub fix: String,
    pub cause: BlockCause,
}

/// What blocks a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockCause {
    /// Its document: the driver or the path. The document is held too.
    Document,
    /// It was not observed, or its pool is another one than before: it counts as unobserved (exit code 6).
    Unobserved,
    /// Its pool is used by another Backend or by another owner.
    Shared,
}

/// How fixes name the path of the pool. Drivers do not know where it is written.
const PATH: &str = "the `path` of the Backend";

impl Blocked {
    /// Adds to the fix where the path of the pool is written.
    pub(super) fn with_place_of_path(self, place: &str) -> Self {
        Self { fix: self.fix.replace(PATH, &format!("{PATH}{place}")), ..self }
    }

    /// Whether the backend counts as unobserved.
    pub(super) fn is_unobserved(&self) -> bool {
        self.cause == BlockCause::Unobserved
    }

    pub(super) fn document(reason: HeldReason, message: String, fix: &str) -> Self {
        Self { reason, message, fix: fix.to_owned(), cause: BlockCause::Document }
    }

    /// `fix`: what to run or write, if it is known.
    pub(super) fn unobserved(name: &Name, why: &str, fix: Option<&str>) -> Self {
        Self {
            reason: HeldReason::Unobserved,
            message: format!("backend {name} could not be observed: {why}"),
            fix: match fix {
                Some(fix) => format!("{fix}; then `kiln apply`"),
                None => "repair the backend, then run `kiln apply`".to_owned(),
            },
            cause: BlockCause::Unobserved,
        }
    }

    pub(super) fn changed(name: &Name, message: String) -> Self {
        Self {
            reason: HeldReason::BackendChanged,
            message,
            fix: format!(
                "mount its pool again, or correct {PATH}; or run `kiln forget backend/{name}` to accept this pool as it is"
            ),
            cause: BlockCause::Unobserved,
        }
    }
}
