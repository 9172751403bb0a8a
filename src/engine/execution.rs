//! What the tasks of one execution share: each endpoint of the plan has one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::{DriverError, Step};
use crate::plan::Plan;
use crate::store::Store;

use super::event::{Event, Reporter};
use super::setup::Setup;
use super::step_task::TaskMessage;
use super::suspensions::StepSuspensions;

/// One execution of a plan's steps.
pub(super) struct Execution {
    pub setup: Setup,
    pub store: Arc<dyn Store>,
    pub plan: Arc<Plan>,
    /// The suspensions that each step obeys, including those that are recorded after the plan was made.
    pub suspensions: StepSuspensions,
    /// Cancelled when the pass is stopped and when the store fails: no further call is made, not even for intents that are written.
    pub stop: CancellationToken,
    /// Whether the pass may go on without what still runs.
    pub may_leave: bool,
    /// Cancelled when the pass goes on without what still runs: steps that copy data become jobs.
    pub left: CancellationToken,
    /// Cancelled with either of them: no call that copies data is made any more.
    pub stop_copies: CancellationToken,
    reporter: Mutex<Arc<dyn Reporter>>,
}

impl Execution {
    pub(super) fn new(
        setup: Setup,
        store: Arc<dyn Store>,
        plan: Arc<Plan>,
        suspensions: StepSuspensions,
        stop: CancellationToken,
        may_leave: bool,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let (left, stop_copies) = (CancellationToken::new(), stop.child_token());
        Self { setup, store, plan, suspensions, stop, may_leave, left, stop_copies, reporter: Mutex::new(reporter) }
    }

    /// The pass goes on without what still runs.
    pub(super) fn leave(&self) {
        self.left.cancel();
        self.stop_copies.cancel();
    }

    /// The steps of the plan, on all endpoints.
    pub(super) fn steps(&self) -> &[Step] {
        &self.plan.steps
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.setup.clock.now()
    }

    /// The revision of the manifests that the steps follow from.
    pub(super) fn revision(&self) -> &str {
        &self.setup.reading.revision
    }

    /// Reports what the task of a step sent.
    pub(super) fn report(&self, message: TaskMessage) {
        let object = |index: usize| (&self.steps()[index]).into();
        self.event(match message {
            TaskMessage::Begun(step) => Event::Started { step, object: object(step) },
            TaskMessage::Progress(step, done, total) => Event::Progress { step, done, total },
            TaskMessage::Retrying(step, error, millis) => {
                let DriverError { kind: error, message, .. } = error;
                Event::Retrying { step, object: object(step), error, message, millis }
            }
            TaskMessage::Called(_) => return,
        });
    }

    /// Reports an event, one at a time.
    pub(super) fn event(&self, event: Event) {
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner).event(event);
    }
}
