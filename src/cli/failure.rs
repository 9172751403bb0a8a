//! The error that ends a command early: message, hint and exit code.

use super::exit::Exit;
use crate::engine::OperationError;
use crate::report::NotListed;
use crate::store::StoreError;
use crate::text::counted;

/// An error, printed to stderr as `error: …` and `hint: …`.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What failed, in one sentence.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Returns a failure without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Returns the failure of a command that changes nothing while manifests have problems, which `kiln check` shows.
    pub(crate) fn invalid(problems: usize) -> Self {
        let message = format!("the manifests have {}; nothing was changed", counted(problems, "problem"));
        Self::new(Exit::Invalid, message).hint("`kiln check` lists them")
    }

    /// Adds the hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::Locked { pid, .. } => {
                format!("wait until process {pid} ends, or use another store: --state DIR")
            }
            StoreError::Newer { .. } => "use the newer version of Kiln, or another store: --state DIR".to_owned(),
            StoreError::Replaced { .. } => {
                "start it again, which rebuilds the store from the backends; keep cleanup jobs away from its directory"
                    .to_owned()
            }
            StoreError::Changed { .. } => "run the command again: it makes a new plan".to_owned(),
            StoreError::Io { .. } => {
                "make it writable or free space on its file system, or use another store: --state DIR".to_owned()
            }
        };
        Self::new(Exit::Store, error.to_string()).hint(hint)
    }
}

impl From<NotListed> for Failure {
    fn from(error: NotListed) -> Self {
        let message = error.to_string();
        match error {
            NotListed::NotDeclared(..) | NotListed::Unsupported(_) => OperationError::Usage(message).into(),
            NotListed::Unobserved(..) => OperationError::Unobserved(message).into(),
            NotListed::NotAllowed(..) => OperationError::Held(message).into(),
        }
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Usage(message) => {
                Self::new(Exit::Usage, message).hint("`kiln get` and `kiln trash list` list the objects")
            }
            OperationError::Unobserved(message) => {
                Self::new(Exit::Unobserved, message).hint("`kiln get backends` shows which backends can be observed")
            }
            OperationError::Held(message) => Self::new(Exit::Held, message).hint("`kiln plan` shows the fix"),
            OperationError::Failed(message) => {
                Self::new(Exit::Failed, message).hint("`kiln plan` shows the remaining steps")
            }
            OperationError::Store(error) => error.into(),
        }
    }
}
