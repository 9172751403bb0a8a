//! The tasks of jobs: followed until they end, when no pass follows them any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

use crate::model::{DriverError, IntentId, Outcome};
use crate::plan::RunningStep;
use crate::store::StoreError;

use super::backend_session::BackendSession;
use super::event::Event;
use super::execution::Execution;
use super::jobs::{Announcement, JobPlace};
use super::step_task::{EndedTask, TaskEnd, TaskMessage};

/// The steps that a run leaves.
pub(super) struct LeftSteps {
    pub tasks: JoinSet<EndedTask>,
    pub messages: mpsc::UnboundedReceiver<TaskMessage>,
    /// The steps, with their intents.
    pub steps: BTreeMap<usize, (IntentId, RunningStep)>,
    /// The steps of the tasks.
    pub indexes: HashMap<Id, usize>,
}

impl LeftSteps {
    /// Makes these steps on an open backend jobs. `announced`: what the ledger announced of a step of the plan.
    pub(super) fn become_jobs(
        self,
        execution: Arc<Execution>,
        session: &BackendSession,
        announced: impl Fn(usize) -> Announcement,
    ) {
        let place = (session.spec.meta.name.clone(), execution.setup.reading.specs.stack.owner.clone());
        for (index, (intent, running)) in &self.steps {
            let (object, action) = (running.step.identity.id(), &running.step.action);
            tracing::info!(backend = %place.0, "{object} ({action}) goes on without this pass");
            execution.setup.jobs.begin(&place, session, *intent, running.clone(), announced(*index));
        }
        tokio::spawn(self.follow(execution, place));
    }

    /// Follows them until each has ended.
    async fn follow(self, execution: Arc<Execution>, place: JobPlace) {
        let Self { mut tasks, mut messages, steps, indexes } = self;
        let jobs = &execution.setup.jobs;
        loop {
            tokio::select! {
                biased;
                Some(message) = messages.recv() => {
                    if let TaskMessage::Progress(index, done, total) = message
                        && let Some((intent, _)) = steps.get(&index)
                    {
                        jobs.progressed(&place, *intent, done, total);
                    }
                    execution.report(message);
                }
                joined = tasks.join_next() => {
                    let (index, result) = match joined {
                        None => return,
                        Some(Ok(EndedTask { index, end })) => (Some(index), result_of(end)),
                        Some(Err(error)) => {
                            tracing::error!("a step ended in a panic");
                            (indexes.get(&error.id()).copied(), None)
                        }
                    };
                    let Some((index, (intent, _))) = index.and_then(|index| Some((index, steps.get(&index)?))) else {
                        continue;
                    };
                    if let Some(result) = &result {
                        execution.event(Event::finished(index, &execution.steps()[index], result));
                    }
                    jobs.end(&place, *intent, result);
                }
            }
        }
    }
}

/// What the end of a task says of its step.
fn result_of(end: Result<TaskEnd, StoreError>) -> Option<Result<Outcome, DriverError>> {
    match end {
        Ok(TaskEnd::Called(result)) => Some(result),
        // The next pass plans it again.
        Ok(TaskEnd::Stopped | TaskEnd::Suspended(_)) => None,
        Err(error) => {
            tracing::error!(%error, "the outcome of a step could not be recorded in the store");
            None
        }
    }
}
