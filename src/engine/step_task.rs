//! One step: its intent, its call with retries and time limits, its outcome.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::driver::StepContext;
use crate::model::{
    Absence, Action, DriverError, Effect, IntentId, Observed, Outcome, PoolId, Reason, Scope, Step, Suspension, Uid,
};
use crate::store::{Batch, QueuedCommit, Store, StoreError};

use super::backend_session::BackendSession;
use super::clock::Clock;
use super::effect::{ObservedObjects, concerned, not_observed, pool_replaced};
use super::ledger::SharedLedger;
use super::record::{commit, journal_entry};
use super::suspensions::ObjectSuspensions;

/// How often a call is tried whose error is retryable, with pauses that double from a tenth of a second: less than two seconds in all, so
/// that a pass ends soon. The next pass tries again.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What a step's task sends while it runs and when it ends.
pub(super) enum TaskMessage {
    Begun(usize),
    Progress(usize, u64, u64),
    Called(usize),
    Retrying(usize, DriverError, u64),
}

/// How a step's task ended.
pub(super) enum TaskEnd {
    /// The pass was stopped before its call.
    Stopped,
    /// Its object was suspended before its call.
    Suspended(Suspension),
    /// Its call was made.
    Called(Result<Outcome, DriverError>),
}

/// The task of a step that has ended.
pub(super) struct EndedTask {
    pub index: usize,
    pub end: Result<TaskEnd, StoreError>,
}

/// One step that is being run.
pub(super) struct StepTask {
    pub index: usize,
    pub step: Step,
    pub intent: IntentId,
    /// Whether other steps wait for its outcome.
    pub is_awaited: bool,
    pub suspensions: ObjectSuspensions,
    pub backend: BackendSession,
    /// The pool of the backend.
    pub pool: Option<PoolId>,
    /// Where no list shows everything, and only all objects together show the effect of the step: the ledger, which knows them.
    pub known: Option<SharedLedger>,
    pub calls: Arc<Semaphore>,
    pub stop: CancellationToken,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub revision: String,
    pub sender: mpsc::UnboundedSender<TaskMessage>,
}

impl StepTask {
    /// Waits until the intent is written, calls the driver and writes the outcome: each is durable before the next.
    pub(super) async fn run(self, intent_written: QueuedCommit) -> Result<TaskEnd, StoreError> {
        let id = self.intent;
        intent_written.done().await?;
        let turn = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            turn = self.calls.acquire() => turn.ok(),
        };
        let Some(turn) = turn else {
            commit(&self.store, Batch { close: vec![id], ..Batch::default() }).await?;
            return Ok(TaskEnd::Stopped);
        };
        tracing::debug!("its intent is on disk; calling the driver");
        // A receiver that is gone does not stop the step.
        let _ = self.sender.send(TaskMessage::Begun(self.index));
        let began = Instant::now();
        let called = self.call().await;
        drop(turn);
        let result = match called {
            Ok(Ok(outcome)) => self.check_that_it_gave_way().await.map(|()| outcome),
            Ok(failed) => failed,
            Err(suspension) => {
                commit(&self.store, Batch { close: vec![id], ..Batch::default() }).await?;
                return Ok(TaskEnd::Suspended(suspension));
            }
        };
        if self.store.waits_for_disk() {
            let _ = self.sender.send(TaskMessage::Called(self.index));
        }
        let entry = journal_entry(&self.step, &self.revision, self.clock.now(), &result, began.elapsed());
        tracing::debug!(
            outcome = entry.outcome.as_str(),
            millis = entry.millis,
            error = entry.message,
            "the call ended"
        );
        // If the effect is unknown the intent stays open: the next observation shows whether there was one.
        let is_known = result.as_ref().err().is_none_or(|error| error.effect != Effect::Unknown);
        let close = if is_known { vec![id] } else { Vec::new() };
        let others_run = self.calls.available_permits() < self.backend.spec.concurrency.get() as usize;
        let can_wait = others_run && !self.is_awaited;
        let outcome = Batch { close, journal: vec![entry], can_wait, ..Batch::default() };
        commit(&self.store, outcome).await?;
        Ok(TaskEnd::Called(result))
    }

    /// Calls the driver, with retries. `Err`: the object is suspended, and no call was made.
    async fn call(&self) -> Result<Result<Outcome, DriverError>, Suspension> {
        let mut pause = FIRST_PAUSE;
        let (mut failed, mut tried) = (None, 0);
        // A later call without effect does not say that an earlier one had none.
        let mut may_have_changed = false;
        let told = |error: DriverError, may_have_changed: bool| match (may_have_changed, error.effect) {
            (true, Effect::No) => DriverError { effect: Effect::Unknown, ..error },
            _ => error,
        };
        loop {
            tried += 1;
            match self.suspensions.suspended(&self.backend, &self.step, self.clock.now()).await {
                Ok(None) => {}
                Ok(Some(suspension)) => {
                    return failed.map(|error| Err(told(error, may_have_changed))).ok_or(suspension);
                }
                Err(error) => return Ok(Err(told(failed.unwrap_or(error), may_have_changed))),
            }
            match self.attempt().await {
                Err(error) if error.kind.retryable() && tried < TRIES => {
                    match self.seen_before_repeating(&error).await {
                        ControlFlow::Break(end) => return Ok(end),
                        ControlFlow::Continue(may_have) => may_have_changed |= may_have,
                    }
                    failed = Some(error.clone());
                    let pausing = pause + jitter(self.step.identity.uid, pause);
                    let millis = u64::try_from(pausing.as_millis()).unwrap_or(u64::MAX);
                    let _ = self.sender.send(TaskMessage::Retrying(self.index, error, millis));
                    tracing::debug!(tried, millis, "calling again after a pause");
                    tokio::time::sleep(pausing).await;
                    pause *= 2;
                }
                result => return Ok(result.map_err(|error| told(error, may_have_changed))),
            }
        }
    }

    /// Observes whether a call that failed had its effect, if it may have had one and cannot be repeated without harm. Breaks with how the
    /// step ends; or continues, if the call can be made again, with whether it may have changed something.
    async fn seen_before_repeating(&self, error: &DriverError) -> ControlFlow<Result<Outcome, DriverError>, bool> {
        let can = self.backend.driver.capabilities();
        let is_repeatable = can.repeatable && can.absence != Absence::ByLedger;
        if error.effect == Effect::No || is_repeatable {
            return ControlFlow::Continue(error.effect != Effect::No);
        }
        // An error of the observation hides no effect: the intent stays open, and the next pass observes again.
        let seen = self.observe().await.ok();
        let seen = seen.as_ref().map(|seen| ObservedObjects::of(seen, can, self.known.as_deref()));
        match seen.and_then(|seen| Some((seen.shows_outcome(&self.step)?, seen.shows_begun(&self.step)))) {
            Some((true, _)) => ControlFlow::Break(Ok(Outcome::Changed)),
            Some((false, is_begun)) => ControlFlow::Continue(is_begun),
            None => ControlFlow::Break(Err(DriverError { effect: Effect::Unknown, ..error.clone() })),
        }
    }

    /// Observes that an object which gives way to another is gone. If it were not, the rename that follows would leave two objects of one
    /// name, and no driver can refuse that. Every other step is verified after all steps.
    async fn check_that_it_gave_way(&self) -> Result<(), DriverError> {
        if self.step.reason != Reason::GivesWay {
            return Ok(());
        }
        let seen = self.observe().await.map_err(|error| DriverError { effect: Effect::Unknown, ..error })?;
        match ObservedObjects::of(&seen, self.backend.driver.capabilities(), None).shows(&self.step) {
            Some(true) => Ok(()),
            Some(false) | None => Err(not_observed(&self.step)),
        }
    }

    /// Observes what shows the effect of the step, on the pool that the step was planned for.
    async fn observe(&self) -> Result<Observed, DriverError> {
        let own = concerned(&self.step);
        let scope = match &self.known {
            // A clone can be any object.
            Some(ledger) => Scope::Objects(own.chain(ledger.addresses()).collect()),
            None if self.step.action == Action::Detach => Scope::All { owner: self.step.identity.owner.clone() },
            None => Scope::Objects(own.collect()),
        };
        let seen = self.backend.observe(&scope).await?;
        match seen.pool == self.pool {
            true => Ok(seen),
            false => Err(pool_replaced()),
        }
    }

    async fn attempt(&self) -> Result<Outcome, DriverError> {
        let ticks = Arc::new(AtomicU64::new(0));
        let progress = {
            let (ticks, sender, index) = (Arc::clone(&ticks), self.sender.clone(), self.index);
            Arc::new(move |done, total| {
                ticks.fetch_add(1, Ordering::Relaxed);
                let _ = sender.send(TaskMessage::Progress(index, done, total));
            })
        };
        let context = StepContext { now: self.clock.now(), progress };
        let mut call = self.backend.driver.execute(&self.step, &context);
        let timeout = self.backend.spec.timeout;
        let limit = self.backend.limit_of(&self.step.action);
        loop {
            let before = ticks.load(Ordering::Relaxed);
            match tokio::time::timeout(limit, &mut call).await {
                Ok(result) => return result,
                Err(_) if ticks.load(Ordering::Relaxed) > before => {}
                Err(_) => return Err(DriverError::timed_out(timeout)),
            }
        }
    }
}

/// Up to half of the pause, derived from the object: retries of many objects are spread out, and a run can be repeated exactly.
fn jitter(uid: Uid, pause: Duration) -> Duration {
    let spread = uid.as_str().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 100;
    pause * spread / 200
}
