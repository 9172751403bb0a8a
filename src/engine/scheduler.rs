//! Scheduling steps: a step begins when the steps it depends on are done and its backend has room for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::model::{Absence, Action, DriverError, Effect, Endpoint, Name, OpenIntent, Outcome, Step};
use crate::store::{Batch, QueuedCommit, StoreError};

use super::event::Event;
use super::execution::Execution;
use super::ledger::SharedLedger;
use super::queue::{BackendSlots, StepEnd, StepQueue};
use super::report::Report;
use super::span::step_span;
use super::step_task::{StepTask, TaskEnd, TaskMessage};
use super::verify::Verifier;

/// The longest time between the end of a step and its entry in the ledger (architecture: "within 5 s").
const VERIFY_EVERY: Duration = Duration::from_secs(5);

/// Runs the steps of a plan.
pub(super) struct Scheduler<'r> {
    execution: Execution<'r>,
    verifier: Verifier<'r>,
    steps: &'r [Step],
    report: &'r mut Report,
    /// Of each step.
    stages: Vec<Stage>,
    queue: StepQueue,
    /// Of the endpoints that are prepared.
    slots: BTreeMap<Endpoint, BackendSlots>,
    /// Cancelled when the pass is stopped and when the store fails: no further call is made, not even for intents that are written.
    stop: CancellationToken,
    /// Steps that are done and not yet in the ledgers.
    unverified: Vec<(usize, Outcome)>,
    /// The first error of the store.
    store_error: Option<StoreError>,
}

/// How far a step has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Its intent is being written, or it waits for its call, or its call runs.
    Begun,
    /// Its call has ended; its outcome is being written.
    Called,
    Done,
    /// Failed before any effect, or not begun because a step it depends on was not done.
    Undone,
    /// Failed, and may have had its effect.
    Unsure,
}

struct EndedTask {
    index: usize,
    end: Result<TaskEnd, StoreError>,
}

impl<'r> Scheduler<'r> {
    pub(super) fn new(
        execution: Execution<'r>,
        ledgers: &'r mut BTreeMap<Name, SharedLedger>,
        stop: &CancellationToken,
        steps: &'r [Step],
        report: &'r mut Report,
    ) -> Self {
        Self {
            verifier: Verifier { execution: execution.clone(), ledgers },
            steps,
            report,
            stages: vec![Stage::Waiting; steps.len()],
            queue: StepQueue::new(steps),
            slots: execution
                .backends
                .iter()
                .map(|(name, backend)| (name.clone().into(), BackendSlots::new(backend)))
                .collect(),
            stop: stop.child_token(),
            unverified: Vec::new(),
            store_error: None,
            execution,
        }
    }

    /// Runs all steps that can be run, and enters them in the ledgers.
    ///
    /// Returns the steps that certainly had no effect: never begun, or failed before it.
    ///
    /// # Errors
    /// If the store fails: then no further step is begun.
    pub(super) async fn run(mut self) -> Result<Vec<usize>, StoreError> {
        let mut tasks: JoinSet<EndedTask> = JoinSet::new();
        let (sender, mut messages) = mpsc::unbounded_channel();
        let mut verify_at = Instant::now() + VERIFY_EVERY;
        loop {
            if !self.stop.is_cancelled() {
                self.begin_steps(&mut tasks, &sender);
            }
            tokio::select! {
                biased;
                Some(message) = messages.recv() => self.note_message(message),
                joined = tasks.join_next() => match joined {
                    None => break,
                    Some(Ok(EndedTask { index, end })) => self.note_end(index, end),
                    Some(Err(_)) => {
                        // The step is as after a crash: its intent stays open, and the next pass observes its effect.
                        tracing::error!("a step ended in a panic");
                        self.report.stopped = true;
                    }
                },
                () = tokio::time::sleep_until(verify_at), if !self.unverified.is_empty() => {
                    self.verify().await;
                    verify_at = Instant::now() + VERIFY_EVERY;
                }
            }
        }
        self.verify().await;
        let indexes = || 0..self.steps.len();
        for index in indexes().filter(|index| self.stages[*index] == Stage::Waiting) {
            self.report.stopped = true;
            self.report.skipped += 1;
            self.execution.reporter.event(Event::skipped(index, &self.steps[index], "stopped before its turn"));
        }
        let untouched = indexes().filter(|index| matches!(self.stages[*index], Stage::Waiting | Stage::Undone));
        match self.store_error {
            Some(error) => Err(error),
            None => Ok(untouched.collect()),
        }
    }

    /// Begins the steps that are ready and for which their backends have room. Their intents are one commit.
    fn begin_steps(&mut self, tasks: &mut JoinSet<EndedTask>, sender: &mpsc::UnboundedSender<TaskMessage>) {
        self.slots.values_mut().for_each(BackendSlots::refill);
        let (mut begun, mut open) = (Vec::new(), Vec::new());
        loop {
            let has_room = |step: &Step| self.slots.get(&step.endpoint).is_none_or(|slots| slots.has_room(step));
            let Some(index) = self.queue.next(self.steps, has_room) else { break };
            let step = &self.steps[index];
            self.stages[index] = Stage::Begun;
            let Some(slots) = self.slots.get_mut(&step.endpoint) else {
                let error = self.execution.unready.get(&step.endpoint).cloned().unwrap_or_else(DriverError::not_open);
                // Reported only when it ends: it was never under way.
                tasks.spawn(async move { EndedTask { index, end: Ok(TaskEnd::Called(Err(error))) } });
                continue;
            };
            slots.take(step);
            let ledger = step.backend().and_then(|backend| self.verifier.ledgers.get(backend));
            let lists = slots.backend.driver.capabilities().absence == Absence::ByList;
            let known = ledger.filter(|_| step.action == Action::Detach && !lists);
            let intent = self.execution.store.next_intent();
            open.push(OpenIntent { id: intent, step: step.clone(), at: self.execution.now() });
            begun.push(StepTask {
                index,
                step: step.clone(),
                intent,
                is_awaited: self.queue.is_awaited(index),
                suspensions: self.execution.suspensions.by(index),
                backend: slots.backend.clone(),
                pool: ledger.map(|ledger| ledger.pool.clone()),
                known: known.cloned(),
                calls: Arc::clone(&slots.calls),
                stop: self.stop.clone(),
                store: Arc::clone(&self.execution.store),
                clock: Arc::clone(&self.execution.setup.clock),
                revision: self.execution.revision().to_owned(),
                sender: sender.clone(),
            });
        }
        if begun.is_empty() {
            return;
        }
        let batch = Batch { open, ..Batch::default() };
        let intents_written = self.execution.store.queue(batch).unwrap_or_else(QueuedCommit::failed);
        for task in begun {
            let (index, intent_written) = (task.index, intents_written.clone());
            let span = step_span(index, &task.step);
            tasks.spawn(async move { EndedTask { index, end: task.run(intent_written).await } }.instrument(span));
        }
    }

    /// Reports what the task of a step sent.
    fn note_message(&mut self, message: TaskMessage) {
        let (TaskMessage::Begun(index)
        | TaskMessage::Progress(index, ..)
        | TaskMessage::Called(index)
        | TaskMessage::Retrying(index, ..)) = message;
        // With several threads a task may end before its messages are read.
        if self.stages[index] != Stage::Begun {
            return;
        }
        let step = &self.steps[index];
        let reporter = &self.execution.reporter;
        match message {
            TaskMessage::Begun(_) => reporter.event(Event::Started { step: index, object: step.into() }),
            TaskMessage::Progress(_, done, total) => reporter.event(Event::Progress { step: index, done, total }),
            // The backend has room for the next call while the outcome of this one is written.
            TaskMessage::Called(_) => {
                self.free_slot(index);
                self.stages[index] = Stage::Called;
            }
            TaskMessage::Retrying(_, error, millis) => {
                let (object, DriverError { kind: error, message, .. }) = (step.into(), error);
                reporter.event(Event::Retrying { step: index, object, error, message, millis });
            }
        }
    }

    fn free_slot(&mut self, index: usize) {
        let step = &self.steps[index];
        if let Some(slots) = self.slots.get_mut(&step.endpoint) {
            slots.free(step);
        }
    }

    /// Notes how the task of a step ended.
    fn note_end(&mut self, index: usize, end: Result<TaskEnd, StoreError>) {
        if self.stages[index] == Stage::Begun {
            self.free_slot(index);
        }
        let step = &self.steps[index];
        match end {
            Err(error) => {
                self.stages[index] = Stage::Unsure;
                self.store_error.get_or_insert(error);
                self.stop.cancel();
            }
            Ok(TaskEnd::Stopped) => self.stages[index] = Stage::Waiting,
            Ok(TaskEnd::Suspended(suspension)) => {
                self.stages[index] = Stage::Undone;
                self.report.skipped += 1;
                self.execution.reporter.event(Event::skipped(index, step, "it was suspended before its turn"));
                self.report.suspended.push((step.clone(), suspension));
                self.end(index, StepEnd::NotDone);
            }
            Ok(TaskEnd::Called(result)) => self.note_result(index, result),
        }
    }

    fn note_result(&mut self, index: usize, result: Result<Outcome, DriverError>) {
        let step = &self.steps[index];
        self.execution.reporter.event(Event::finished(index, step, &result));
        match result {
            Ok(outcome) => {
                self.stages[index] = Stage::Done;
                match outcome {
                    Outcome::Changed => self.report.changed += 1,
                    Outcome::Unchanged => self.report.unchanged += 1,
                }
                self.unverified.push((index, outcome));
                self.end(index, StepEnd::Done);
            }
            Err(error) => {
                let (stage, end) = match error.effect {
                    Effect::No => (Stage::Undone, StepEnd::NotDone),
                    Effect::Yes => (Stage::Unsure, StepEnd::NotDone),
                    Effect::Unknown => (Stage::Unsure, StepEnd::Unknown),
                };
                self.stages[index] = stage;
                self.report.failed.push((step.clone(), error));
                self.end(index, end);
            }
        }
    }

    /// Releases what waited for a step, or skips it: what depends on a step that was not done, and what waits for one whose effect is unknown.
    fn end(&mut self, index: usize, end: StepEnd) {
        for index in self.queue.end(index, end, self.steps) {
            let step = &self.steps[index];
            self.stages[index] = Stage::Undone;
            self.report.skipped += 1;
            self.report.waiting.push(step.clone());
            self.execution.reporter.event(Event::skipped(index, step, "what it waits for was not done"));
        }
    }

    async fn verify(&mut self) {
        self.verifier.enter(self.steps, &mut self.unverified, self.report).await;
    }
}

#[cfg(test)]
mod tests;
