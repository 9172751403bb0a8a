//! What the tasks of one execution share: each endpoint of the plan has one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::Step;
use crate::plan::Plan;
use crate::store::Store;

use super::event::{Event, Reporter};
use super::setup::Setup;
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
    reporter: Mutex<Arc<dyn Reporter>>,
}

impl Execution {
    pub(super) fn new(
        setup: Setup,
        store: Arc<dyn Store>,
        plan: Arc<Plan>,
        suspensions: StepSuspensions,
        stop: CancellationToken,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        Self { setup, store, plan, suspensions, stop, reporter: Mutex::new(reporter) }
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

    /// Reports an event, one at a time.
    pub(super) fn event(&self, event: Event) {
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner).event(event);
    }
}
