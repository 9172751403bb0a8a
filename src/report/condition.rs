//! The condition of an object.

use serde::{Deserialize, Serialize};

/// The condition of an object, compared with its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// It is as declared, or released and unchanged.
    Settled,
    /// Steps are planned for it, and none is held.
    Progressing,
    /// It was changed outside of Kiln.
    Drifted,
    /// Steps for it are held.
    Held,
    /// Its last step failed and is still planned.
    Failed,
    /// It is to be removed.
    Removing,
    /// It is in the trash.
    Trashed,
    /// Its backend was not observed; the state is that of the last observation.
    Unknown,
}

impl Condition {
    /// Returns the condition as written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Settled => "Settled",
            Condition::Progressing => "Progressing",
            Condition::Drifted => "Drifted",
            Condition::Held => "Held",
            Condition::Failed => "Failed",
            Condition::Removing => "Removing",
            Condition::Trashed => "Trashed",
            Condition::Unknown => "Unknown",
        }
    }
}
