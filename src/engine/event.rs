//! What a pass reports while it runs.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{
    DriverError, Effect, Endpoint, ErrorKind, JournalOutcome, Kind, Name, NativeName, Outcome, Step, Uid, Verb,
};
use crate::plan::Plan;

/// Something that happened in a pass: the same value on the terminal, in the lines of `kiln apply -o json`, on the daemon's socket and in
/// its log. `step` is the index of a step in the plan that [`Reporter::planned`] received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// A message for people, one sentence.
    Note {
        /// The sentence.
        message: String,
    },
    /// The driver call of a step begins.
    Started {
        /// Its index.
        step: usize,
        /// What it does to which object.
        object: StepObject,
    },
    /// Progress of a step.
    Progress {
        /// Its index.
        step: usize,
        /// Bytes done.
        done: u64,
        /// Bytes in total.
        total: u64,
    },
    /// A step failed with a retryable error and is tried again.
    Retrying {
        /// Its index.
        step: usize,
        /// What it does to which object.
        object: StepObject,
        /// The kind of the error.
        error: ErrorKind,
        /// The error.
        message: String,
        /// The pause before the next call, in milliseconds.
        millis: u64,
    },
    /// A step ended. One that was reported as changed may be reported as failed later, if its effect is not observed.
    Finished {
        /// Its index.
        step: usize,
        /// What it does to which object.
        object: StepObject,
        /// How it ended.
        outcome: JournalOutcome,
        /// The kind of the error, if it failed.
        error: Option<ErrorKind>,
        /// Whether it had its effect although it failed.
        effect: Option<Effect>,
        /// The error, if it failed.
        message: Option<String>,
    },
    /// A step was not begun.
    Skipped {
        /// Its index.
        step: usize,
        /// What it would do to which object.
        object: StepObject,
        /// Why: a step it depends on was not done, its object was suspended, or the run was stopped.
        message: String,
    },
}

/// What a step does to which object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepObject {
    /// The verb of the step.
    pub action: Verb,
    /// The kind of the object.
    pub kind: Kind,
    /// The name of the object.
    pub name: Name,
    /// The Backend that it is on; null if it is on a Target.
    pub backend: Option<Name>,
    /// The Target that it is on; null if it is on a Backend.
    #[serde(default)]
    pub target: Option<Name>,
    /// The uid of the object.
    pub uid: Uid,
    /// Its name on the backend after the step.
    pub native: NativeName,
    /// The step in words, as in the journal: `grow to 2Gi`.
    pub detail: String,
}

impl StepObject {
    /// Returns where it is, for people: `fast`, `target tgt1`.
    pub fn place(&self) -> String {
        let target = self.target.clone().map(Endpoint::Target);
        let endpoint = target.or_else(|| self.backend.clone().map(Endpoint::Backend));
        endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default()
    }
}

/// `volume/db`.
impl fmt::Display for StepObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_lower(), self.name)
    }
}

impl From<&Step> for StepObject {
    fn from(step: &Step) -> Self {
        Self {
            action: step.action.verb(),
            kind: step.identity.kind,
            name: step.identity.name.clone(),
            backend: step.backend().cloned(),
            target: step.endpoint.target().cloned(),
            uid: step.identity.uid,
            native: step.native.clone(),
            detail: step.action.to_string(),
        }
    }
}

impl Event {
    pub(super) fn note(message: impl Into<String>) -> Self {
        Self::Note { message: message.into() }
    }

    pub(super) fn finished(step: usize, about: &Step, result: &Result<Outcome, DriverError>) -> Self {
        let error = result.as_ref().err();
        Self::Finished {
            step,
            object: about.into(),
            outcome: result.into(),
            error: error.map(|error| error.kind),
            effect: error.map(|error| error.effect),
            message: error.map(|error| error.message.clone()),
        }
    }

    pub(super) fn skipped(step: usize, about: &Step, why: &str) -> Self {
        Self::Skipped { step, object: about.into(), message: why.to_owned() }
    }
}

/// The answer to [`Reporter::confirm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Confirmation {
    /// A person confirmed the plan, now or with `--yes`.
    Given,
    /// A person was asked and did not confirm it: nothing is executed.
    Refused,
    /// No person can be asked: the steps that need a confirmation are held, and the others are executed.
    NotAsked,
}

/// Receives the events of a pass and answers its questions.
#[async_trait]
pub trait Reporter: Send + Sync {
    /// Receives the plan that is about to run, even if it is empty.
    fn planned(&self, _plan: &Plan) {}
    /// Receives an event. Events come in order, from one thread at a time.
    fn event(&self, event: Event);
    /// Asks whether this plan may be executed: it has steps that need a confirmation, or [`Options::ask`](super::Options::ask) is set.
    async fn confirm(&self, plan: &Plan) -> Confirmation;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Identity;
    use crate::model::fixtures::volume;

    fn object() -> StepObject {
        let identity = volume("db");
        let (native, Identity { kind, name, uid, .. }) = (identity.native(), identity);
        StepObject {
            action: Verb::Update,
            kind,
            name,
            backend: Some("fast".parse().unwrap()),
            target: None,
            uid,
            native,
            detail: "grow to 2Gi".to_owned(),
        }
    }

    #[test]
    fn an_event_is_the_same_in_the_lines_of_apply_and_on_the_socket() {
        let about = serde_json::to_value(object()).unwrap();
        for (key, value) in
            [("action", "update"), ("kind", "Volume"), ("name", "db"), ("backend", "fast"), ("detail", "grow to 2Gi")]
        {
            assert_eq!(about[key], value);
        }
        let (step, object, message) = (0, object(), "the pool is full".to_owned());
        let failed = Event::Finished {
            step,
            object: object.clone(),
            outcome: JournalOutcome::Failed,
            error: Some(ErrorKind::Full),
            effect: Some(Effect::No),
            message: Some(message.clone()),
        };
        let changed = Event::Finished {
            step,
            object: object.clone(),
            outcome: JournalOutcome::Changed,
            error: None,
            effect: None,
            message: None,
        };
        let none = Value::Null;
        for (event, line) in [
            (Event::note("recovered"), json!({"event": "note", "message": "recovered"})),
            (Event::Started { step, object: object.clone() }, json!({"event": "started", "step": 0, "object": about})),
            (
                Event::Progress { step, done: 1, total: 2 },
                json!({"event": "progress", "step": 0, "done": 1, "total": 2}),
            ),
            (
                Event::Retrying {
                    step,
                    object: object.clone(),
                    error: ErrorKind::Transient,
                    message: message.clone(),
                    millis: 100,
                },
                json!({"event": "retrying", "step": 0, "object": about, "error": "Transient", "message": message, "millis": 100}),
            ),
            (
                changed,
                json!({"event": "finished", "step": 0, "object": about, "outcome": "changed", "error": none, "effect": none, "message": none}),
            ),
            (
                failed,
                json!({"event": "finished", "step": 0, "object": about, "outcome": "failed", "error": "Full", "effect": "No", "message": message}),
            ),
            (
                Event::Skipped { step, object, message: message.clone() },
                json!({"event": "skipped", "step": 0, "object": about, "message": message}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&event).unwrap(), line);
            assert_eq!(serde_json::from_value::<Event>(line).unwrap(), event);
        }
    }
}
