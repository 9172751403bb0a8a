//! The journal: one entry for each executed step and each decision of a person.

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{DriverError, Endpoint, Identity, Kind, Name, Outcome, Owner, Uid, Verb};

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
    /// The Backend or Target.
    #[serde(rename = "backend")]
    pub endpoint: Endpoint,
    /// The kind of the object.
    pub kind: Kind,
    /// The name of the object.
    pub name: Name,
    /// The uid of the object.
    pub uid: Uid,
    /// What happened.
    pub action: JournalAction,
    /// The step or decision in words (`grow 1Gi → 2Gi`). For people; see [`JournalEntry::records_destruction`] for the one exception.
    pub detail: String,
    /// Whether the step was to destroy a live object. None: no step, or written by a version that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroys: Option<bool>,
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
        endpoint: impl Into<Endpoint>,
        object: &Identity,
        action: JournalAction,
        detail: String,
    ) -> Self {
        let Identity { owner, kind, name, uid } = object.clone();
        Self {
            at,
            revision: revision.to_owned(),
            owner,
            endpoint: endpoint.into(),
            kind,
            name,
            uid,
            action,
            detail,
            destroys: None,
            outcome: JournalOutcome::Changed,
            message: None,
            millis: 0,
        }
    }

    /// Whether it records that a step destroyed a live object, which is therefore not lost.
    pub fn records_destruction(&self) -> bool {
        // Earlier versions recorded it in words only.
        let in_words = || self.action.is_step() && self.detail == "destroy";
        self.outcome == JournalOutcome::Changed && self.destroys.unwrap_or_else(in_words)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, volume};

    #[test]
    fn a_destruction_is_recognised_by_its_field_and_in_earlier_journals_by_its_words() {
        let (step, changed) = (JournalAction::Step(Verb::Destroy), JournalOutcome::Changed);
        for (action, detail, destroys, outcome, expected) in [
            (step.clone(), "destroy", Some(true), changed.clone(), true),
            (step.clone(), "destroy it at once", Some(true), changed.clone(), true),
            (step.clone(), "destroy", Some(false), changed.clone(), false),
            (step.clone(), "destroy", Some(true), JournalOutcome::Failed, false),
            (step.clone(), "destroy", None, changed.clone(), true),
            (step.clone(), "destroy", None, JournalOutcome::Unchanged, false),
            (step, "purge from the trash", None, changed.clone(), false),
            (JournalAction::Approve, "destroy", None, changed.clone(), false),
            (JournalAction::Other("resize".into()), "destroy", None, changed, false),
        ] {
            let entry = JournalEntry::new(1000, "", name("fast"), &volume("db"), action, detail.to_owned());
            let entry = JournalEntry { destroys, outcome, ..entry };
            assert_eq!(entry.records_destruction(), expected, "{entry:?}");
        }
    }
}
