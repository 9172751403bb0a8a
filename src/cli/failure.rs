//! What ends a command early: one sentence, what to do next, and the exit code.

use super::exit::Exit;
use crate::engine::OperationError;
use crate::report::NotListed;
use crate::store::StoreError;

/// Printed as `error: …` and `hint: …` on standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the command ends.
    pub(crate) exit: Exit,
    /// One sentence.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// With one.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::Locked { pid, .. } => {
                format!("wait until process {pid} is done, or give another store with --state DIR")
            }
            StoreError::Newer { .. } => "use the newer kiln, or give another store with --state DIR".to_owned(),
            StoreError::Replaced { .. } => {
                "start it again: the store is rebuilt from the backends; keep cleaners away from its directory"
                    .to_owned()
            }
            StoreError::Io { .. } => "make it writable or make room, or give another store with --state DIR".to_owned(),
        };
        Self::new(Exit::Store, error.to_string()).hint(hint)
    }
}

impl From<NotListed> for Failure {
    fn from(error: NotListed) -> Self {
        let message = error.to_string();
        match error {
            NotListed::NotDeclared(_) | NotListed::Unsupported(_) => OperationError::Usage(message).into(),
            NotListed::Unobserved(..) => OperationError::Unobserved(message).into(),
            NotListed::NotAllowed(..) => OperationError::Held(message).into(),
        }
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Usage(message) => {
                Self::new(Exit::Usage, message).hint("`kiln get` and `kiln trash list` show what there is")
            }
            OperationError::Unobserved(message) => {
                Self::new(Exit::Unobserved, message).hint("`kiln get backends` shows which backends can be seen")
            }
            OperationError::Held(message) => Self::new(Exit::Held, message).hint("`kiln plan` shows the fix"),
            OperationError::Failed(message) => {
                Self::new(Exit::Failed, message).hint("`kiln plan` shows what is left to do")
            }
            OperationError::Store(error) => error.into(),
        }
    }
}
