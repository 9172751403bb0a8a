//! What a pass reports while it runs.

use async_trait::async_trait;

use crate::model::{DriverError, Outcome, Step};
use crate::plan::Plan;

/// Something that happened in a pass. Indexes of steps are those in the plan.
pub enum Event<'a> {
    /// A message for people, one sentence.
    Note(String),
    /// The plan that is about to run, even if it is empty.
    Planned(&'a Plan),
    /// The driver call of a step begins.
    Started(usize, &'a Step),
    /// Progress of a step: bytes done, and bytes in total.
    Progress(usize, u64, u64),
    /// A step failed with a retryable error; it is tried again after this many milliseconds.
    Retrying(usize, &'a Step, &'a DriverError, u64),
    /// A step ended.
    Finished(usize, &'a Step, &'a Result<Outcome, DriverError>),
    /// A step was not begun, and why: a step it depends on was not done, its object was suspended, or the run was stopped.
    Skipped(usize, &'a Step, &'a str),
}

/// Receives the events of a pass and answers its questions.
#[async_trait]
pub trait Reporter: Send + Sync {
    /// Receives an event. Events come in order, from one thread at a time.
    fn event(&self, event: Event<'_>);
    /// Returns whether the irreversible steps of this plan may be made. Without a terminal this is whether `--yes` was given.
    async fn confirm(&self, plan: &Plan) -> bool;
}
