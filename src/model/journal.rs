//! The journal: what was done, one line for each step or decision of a person.

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{DriverError, Kind, Name, Outcome, Owner, Uid, Verb};

/// A line of the journal: one step that was made, or one decision of a person, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// The content hash of the specs, or the Git revision, for which it was made.
    pub revision: String,
    /// The owner of the object.
    pub owner: Owner,
    /// The Backend.
    pub backend: Name,
    /// The kind of the object.
    pub kind: Kind,
    /// The name of the object.
    pub name: Name,
    /// The uid of the object.
    pub uid: Uid,
    /// What happened.
    pub action: JournalAction,
    /// The step or decision in words (`grow 1Gi → 2Gi`).
    pub detail: String,
    /// How it ended.
    pub outcome: JournalOutcome,
    /// Why it failed.
    pub message: Option<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// What a line of the journal is about: the verb of a step, or a decision of a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "SmolStr", into = "SmolStr")]
pub enum JournalAction {
    /// A step with this verb was made.
    Step(Verb),
    /// A person approved a step to come.
    Approve,
    /// A person gave up a lost object, or accepted one as it is.
    Forget,
    /// A word that this version does not know: another version wrote it.
    Other(SmolStr),
}

impl JournalAction {
    /// As in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Step(verb) => verb.as_str(),
            Self::Approve => "approve",
            Self::Forget => "forget",
            Self::Other(word) => word,
        }
    }

    /// Whether the line is about a step that was made. An unknown word is no proof of that.
    pub fn is_step(&self) -> bool {
        matches!(self, Self::Step(_))
    }
}

impl From<Verb> for JournalAction {
    fn from(verb: Verb) -> Self {
        Self::Step(verb)
    }
}

impl From<SmolStr> for JournalAction {
    fn from(word: SmolStr) -> Self {
        match word.as_str() {
            "approve" => Self::Approve,
            "forget" => Self::Forget,
            other => {
                let verb: Result<Verb, Error> = Verb::deserialize(other.into_deserializer());
                verb.map_or(Self::Other(word), Self::Step)
            }
        }
    }
}

impl From<JournalAction> for SmolStr {
    fn from(action: JournalAction) -> Self {
        action.as_str().into()
    }
}

/// How a step ended, in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "SmolStr", into = "SmolStr")]
pub enum JournalOutcome {
    /// It changed the backend.
    Changed,
    /// The backend was already so.
    Unchanged,
    /// It failed.
    Failed,
    /// A word that this version does not know: another version wrote it.
    Other(SmolStr),
}

impl JournalOutcome {
    /// As in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Other(word) => word,
        }
    }
}

impl From<SmolStr> for JournalOutcome {
    fn from(word: SmolStr) -> Self {
        match word.as_str() {
            "changed" => Self::Changed,
            "unchanged" => Self::Unchanged,
            "failed" => Self::Failed,
            _ => Self::Other(word),
        }
    }
}

impl From<JournalOutcome> for SmolStr {
    fn from(outcome: JournalOutcome) -> Self {
        outcome.as_str().into()
    }
}

impl From<&Result<Outcome, DriverError>> for JournalOutcome {
    fn from(result: &Result<Outcome, DriverError>) -> Self {
        match result {
            Ok(Outcome::Changed) => Self::Changed,
            Ok(Outcome::Unchanged) => Self::Unchanged,
            Err(_) => Self::Failed,
        }
    }
}
