//! The journal: one entry for each executed step and each decision of a person.

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{DriverError, Identity, Kind, Name, Outcome, Owner, Uid, Verb};

/// An entry of the journal: an executed step or a decision of a person, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// The revision of the manifests for which it was executed.
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
    /// The outcome.
    pub outcome: JournalOutcome,
    /// The error, if it failed; or how an interrupted step was found to be done.
    pub message: Option<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

impl JournalEntry {
    /// Returns the entry about something that was done to an object at once.
    pub fn new(
        at: u64,
        revision: &str,
        backend: &Name,
        object: &Identity,
        action: JournalAction,
        detail: String,
    ) -> Self {
        let Identity { owner, kind, name, uid } = object.clone();
        Self {
            at,
            revision: revision.to_owned(),
            owner,
            backend: backend.clone(),
            kind,
            name,
            uid,
            action,
            detail,
            outcome: JournalOutcome::Changed,
            message: None,
            millis: 0,
        }
    }
}

/// The subject of a journal entry: the verb of a step, or a decision of a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "SmolStr", into = "SmolStr")]
pub enum JournalAction {
    /// A step with this verb was executed.
    Step(Verb),
    /// A person approved a future step.
    Approve,
    /// A person gave up a lost object, or accepted one as it is.
    Forget,
    /// A word that another version wrote, and that this version does not know.
    Other(SmolStr),
}

impl JournalAction {
    /// Returns the word as in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Step(verb) => verb.as_str(),
            Self::Approve => "approve",
            Self::Forget => "forget",
            Self::Other(word) => word,
        }
    }

    /// Whether the entry records an executed step. An unknown word does not.
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

/// The outcome of a step, in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "SmolStr", into = "SmolStr")]
pub enum JournalOutcome {
    /// The step changed the backend.
    Changed,
    /// The effect was already there.
    Unchanged,
    /// It failed.
    Failed,
    /// A word that another version wrote, and that this version does not know.
    Other(SmolStr),
}

impl JournalOutcome {
    /// Returns the word as in JSON.
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
