//! Scheduling the steps of one endpoint: a step begins when the steps it depends on are done and the endpoint has room for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;

use crate::model::{Absence, Action, DriverError, Effect, Endpoint, IntentId, OpenIntent, Outcome, Step};
use crate::plan::RunningStep;
use crate::store::{Batch, QueuedCommit, StoreError};

use super::event::Event;
use super::execution::Execution;
use super::job_tasks::LeftSteps;
use super::ledger::SharedLedger;
use super::queue::{BackendSlots, Mail, StepEnd, StepQueue, cost_on};
use super::report::Report;
use super::span::step_span;
use super::step_task::{EndedTask, StepTask, TaskEnd, TaskMessage};
use super::verify::verify;

/// The longest time between the end of a step and its entry in the ledger (architecture: "within 5 s").
const VERIFY_EVERY: Duration = Duration::from_secs(5);

/// Runs the steps of one endpoint.
pub(super) struct Scheduler<'r> {
    execution: Arc<Execution>,
    endpoint: &'r Endpoint,
    /// `Err`: why nothing can be done there.
    slots: Result<BackendSlots, DriverError>,
    /// This owner's ledger there, as already written.
    ledger: &'r mut Option<SharedLedger>,
    mail: Mail,
    report: &'r mut Report,
    /// Of each step of the plan.
    stages: Vec<Stage>,
    queue: StepQueue,
    /// Steps that are done and not yet in the ledger.
    unverified: Vec<(usize, Outcome)>,
    /// The steps of the tasks that were begun.
    indexes: HashMap<Id, usize>,
    /// The steps that copy data and have begun, with their intents.
    copies: BTreeMap<usize, (IntentId, RunningStep)>,
    /// Whether the pass has left, and other steps need not wait for the calls of copies.
    is_left: bool,
    /// The first error of the store.
    store_error: Option<StoreError>,
}

/// How far a step has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Of another endpoint.
    Elsewhere,
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

/// What is left of the steps of an endpoint when its run ends.
pub(super) struct Ended {
    /// The steps that certainly had no effect: never begun, or failed before it.
    pub untouched: Vec<usize>,
    /// Steps that copy data and go on without the pass.
    pub left: Option<LeftSteps>,
}

impl<'r> Scheduler<'r> {
    pub(super) fn new(
        execution: Arc<Execution>,
        endpoint: &'r Endpoint,
        slots: Result<BackendSlots, DriverError>,
        ledger: &'r mut Option<SharedLedger>,
        mail: Mail,
        report: &'r mut Report,
    ) -> Self {
        let stage = |step: &Step| if step.endpoint == *endpoint { Stage::Waiting } else { Stage::Elsewhere };
        Self {
            stages: execution.steps().iter().map(stage).collect(),
            queue: StepQueue::new(
                execution.steps(),
                endpoint,
                slots.as_ref().map_or(Action::cost, |slots| cost_on(&slots.backend)),
            ),
            execution,
            endpoint,
            slots,
            ledger,
            mail,
            report,
            unverified: Vec::new(),
            indexes: HashMap::new(),
            copies: BTreeMap::new(),
            is_left: false,
            store_error: None,
        }
    }

    /// Runs all steps that can be run, and enters them in the ledger. If the pass leaves, it ends as soon as only copies run.
    ///
    /// # Errors
    /// If the store fails: then no further step is begun.
    pub(super) async fn run(mut self) -> Result<Ended, StoreError> {
        let mut tasks: JoinSet<EndedTask> = JoinSet::new();
        let (sender, mut messages) = mpsc::unbounded_channel();
        let mut verify_at = Instant::now() + VERIFY_EVERY;
        let execution = Arc::clone(&self.execution);
        loop {
            let is_stopped = execution.stop.is_cancelled();
            if !is_stopped {
                self.begin_steps(&mut tasks, &sender);
            }
            if tasks.is_empty() && (is_stopped || !self.queue.waits_for_others()) {
                break;
            }
            let is_left = execution.left.is_cancelled();
            if is_left && !self.is_left {
                self.is_left = true;
                self.slots.iter().for_each(|slots| slots.calls.add_permits(self.copies.len()));
            }
            if is_left && self.store_error.is_none() && tasks.len() == self.copies.len() {
                break;
            }
            tokio::select! {
                biased;
                Some(message) = messages.recv() => self.note_message(message),
                told = self.mail.inbox.recv(), if self.queue.waits_for_others() => match told {
                    Some((index, end)) => self.end(index, end),
                    // The other runs have ended without telling: in a panic.
                    None => self.queue.others().into_iter().for_each(|index| self.end(index, StepEnd::Unknown)),
                },
                Some(joined) = tasks.join_next() => match joined {
                    Ok(EndedTask { index, end }) => self.note_end(index, end),
                    Err(error) => {
                        // The step is as after a crash: its intent stays open, and the next pass observes its effect.
                        tracing::error!("a step ended in a panic");
                        self.report.stopped = true;
                        if let Some(index) = self.indexes.get(&error.id()) {
                            self.copies.remove(index);
                        }
                        if let Some(index) = self.indexes.get(&error.id()).copied() {
                            let to_tell = self.queue.take_told(index);
                            self.tell(index, StepEnd::Unknown, to_tell);
                        }
                    }
                },
                () = tokio::time::sleep_until(verify_at), if !self.unverified.is_empty() => {
                    self.verify().await;
                    verify_at = Instant::now() + VERIFY_EVERY;
                }
                () = execution.stop.cancelled(), if !is_stopped => {}
                () = execution.left.cancelled(), if !is_left => {}
            }
        }
        self.verify().await;
        // Runs that wait for a step without an end wait no longer.
        for (index, endpoints) in self.queue.not_told() {
            self.tell(index, StepEnd::Unknown, endpoints);
        }
        let left = (!tasks.is_empty()).then(|| LeftSteps {
            tasks,
            messages,
            steps: std::mem::take(&mut self.copies),
            indexes: std::mem::take(&mut self.indexes),
        });
        let indexes = || 0..self.stages.len();
        // The next pass plans them again.
        let is_full = self.slots.as_ref().is_ok_and(BackendSlots::is_full_of_jobs);
        let is_postponed = (execution.left.is_cancelled() || is_full) && !execution.stop.is_cancelled();
        for index in indexes().filter(|index| self.stages[*index] == Stage::Waiting) {
            if is_postponed {
                self.report.postponed += 1;
                continue;
            }
            self.report.stopped = true;
            self.report.skipped += 1;
            execution.event(Event::skipped(index, &execution.steps()[index], "stopped before its turn"));
        }
        let untouched = indexes().filter(|index| matches!(self.stages[*index], Stage::Waiting | Stage::Undone));
        match self.store_error {
            Some(error) => Err(error),
            None => Ok(Ended { untouched: untouched.collect(), left }),
        }
    }

    /// Begins the steps that are ready and for which there is room. Their intents are one commit.
    fn begin_steps(&mut self, tasks: &mut JoinSet<EndedTask>, sender: &mpsc::UnboundedSender<TaskMessage>) {
        let execution = Arc::clone(&self.execution);
        let steps = execution.steps();
        let slots = match &mut self.slots {
            Ok(slots) => slots,
            Err(error) => {
                // Reported only when they end: they were never under way.
                while let Some(index) = self.queue.next(steps, |_| true) {
                    self.stages[index] = Stage::Called;
                    let end = Ok(TaskEnd::Called(Err(error.clone())));
                    tasks.spawn(async move { EndedTask { index, end } });
                }
                return;
            }
        };
        slots.refill();
        let is_left = execution.left.is_cancelled();
        let (mut begun, mut open) = (Vec::new(), Vec::new());
        while let Some(index) =
            self.queue.next(steps, |step| slots.has_room(step) && !(is_left && step.action.is_copy()))
        {
            let step = &steps[index];
            self.stages[index] = Stage::Begun;
            slots.take(step);
            let lists = slots.backend.driver.capabilities().absence == Absence::ByList;
            let known = self.ledger.as_ref().filter(|_| step.action == Action::Detach && !lists);
            let intent = execution.store.next_intent();
            let at = execution.now();
            if step.action.is_copy() {
                let running = RunningStep { step: step.clone(), since: at, done: 0, total: 0 };
                self.copies.insert(index, (intent, running));
            }
            open.push(OpenIntent { id: intent, step: step.clone(), at });
            begun.push(StepTask {
                index,
                step: step.clone(),
                intent,
                is_awaited: self.queue.is_awaited(index),
                suspensions: execution.suspensions.by(index),
                backend: slots.backend.clone(),
                pool: self.ledger.as_ref().map(|ledger| ledger.pool.clone()),
                known: known.cloned(),
                calls: Arc::clone(&slots.calls),
                stop: match step.action.is_copy() {
                    true => execution.stop_copies.clone(),
                    false => execution.stop.clone(),
                },
                store: Arc::clone(&execution.store),
                clock: Arc::clone(&execution.setup.clock),
                revision: execution.revision().to_owned(),
                sender: sender.clone(),
            });
        }
        if begun.is_empty() {
            return;
        }
        let batch = Batch { open, ..Batch::default() };
        let intents_written = execution.store.queue(batch).unwrap_or_else(QueuedCommit::failed);
        for task in begun {
            let (index, intent_written) = (task.index, intents_written.clone());
            let span = step_span(index, &task.step);
            let task = async move { EndedTask { index, end: task.run(intent_written).await } };
            self.indexes.insert(tasks.spawn(task.instrument(span)).id(), index);
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
        match message {
            // The backend has room for the next call while the outcome of this one is written.
            TaskMessage::Called(_) => {
                self.free_slot(index);
                self.stages[index] = Stage::Called;
            }
            TaskMessage::Progress(_, done, total) => {
                if let Some((_, running)) = self.copies.get_mut(&index) {
                    (running.done, running.total) = (done, total);
                }
            }
            TaskMessage::Begun(_) | TaskMessage::Retrying(..) => {}
        }
        self.execution.report(message);
    }

    fn free_slot(&mut self, index: usize) {
        if let Ok(slots) = &mut self.slots {
            slots.free(&self.execution.steps()[index]);
        }
    }

    /// Notes how the task of a step ended.
    fn note_end(&mut self, index: usize, end: Result<TaskEnd, StoreError>) {
        if self.stages[index] == Stage::Begun {
            self.free_slot(index);
        }
        self.copies.remove(&index);
        let execution = Arc::clone(&self.execution);
        let step = &execution.steps()[index];
        match end {
            Err(error) => {
                self.stages[index] = Stage::Unsure;
                self.store_error.get_or_insert(error);
                execution.stop.cancel();
            }
            Ok(TaskEnd::Stopped) => self.stages[index] = Stage::Waiting,
            Ok(TaskEnd::Suspended(suspension)) => {
                self.stages[index] = Stage::Undone;
                self.report.skipped += 1;
                execution.event(Event::skipped(index, step, "it was suspended before its turn"));
                self.report.suspended.push((step.clone(), suspension));
                self.end(index, StepEnd::NotDone);
            }
            Ok(TaskEnd::Called(result)) => self.note_result(index, result),
        }
    }

    fn note_result(&mut self, index: usize, result: Result<Outcome, DriverError>) {
        let execution = Arc::clone(&self.execution);
        let step = &execution.steps()[index];
        execution.event(Event::finished(index, step, &result));
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

    /// Releases what waited for a step of any endpoint, or skips it: what depends on a step that was not done, and what waits for one whose
    /// effect is unknown. Tells the other endpoints.
    fn end(&mut self, index: usize, end: StepEnd) {
        let execution = Arc::clone(&self.execution);
        let to_tell = self.queue.take_told(index);
        self.tell(index, end, to_tell);
        for index in self.queue.end(index, end, execution.steps()) {
            let step = &execution.steps()[index];
            self.stages[index] = Stage::Undone;
            self.report.skipped += 1;
            self.report.waiting.push(step.clone());
            execution.event(Event::skipped(index, step, "what it waits for was not done"));
            let to_tell = self.queue.take_told(index);
            self.tell(index, StepEnd::NotDone, to_tell);
        }
    }

    fn tell(&self, index: usize, end: StepEnd, endpoints: BTreeSet<Endpoint>) {
        for other in endpoints.iter().filter_map(|endpoint| self.mail.others.get(endpoint)) {
            // A run that has ended waits for nothing.
            let _ = other.send((index, end));
        }
    }

    async fn verify(&mut self) {
        let done = std::mem::take(&mut self.unverified);
        if done.is_empty() {
            return;
        }
        let place = self.slots.as_ref().ok().map(|slots| &slots.backend).zip(self.ledger.as_mut());
        verify(&self.execution, self.endpoint, place, done, self.report).await;
    }
}

#[cfg(test)]
mod tests;
