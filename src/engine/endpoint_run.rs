//! What an execution does on one endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Absence, DriverError, Endpoint, ErrorKind, Scope, Step, Uid};
use crate::store::StoreError;

use super::backend_session::BackendSession;
use super::event::Event;
use super::execution::Execution;
use super::jobs::Announcement;
use super::ledger::{self, SharedLedger};
use super::queue::{BackendSlots, Mail};
use super::report::Report;
use super::scheduler::{Ended, Scheduler};

/// Executes the steps of one endpoint: prepares it, announces removals in its ledger, runs the steps and enters what was done. It waits for
/// other endpoints only where a step depends on one of theirs.
pub(super) struct EndpointRun {
    pub execution: Arc<Execution>,
    pub endpoint: Endpoint,
    /// `None`: it is not open, and its steps fail.
    pub backend: Option<BackendSession>,
    /// This owner's ledger, if the endpoint is a backend that is usable.
    pub ledger: Option<SharedLedger>,
    pub mail: Mail,
}

/// A run that has ended, with what it had.
pub(super) struct EndpointEnd {
    pub endpoint: Endpoint,
    pub backend: Option<BackendSession>,
    pub ledger: Option<SharedLedger>,
    /// What its steps did.
    pub report: Report,
    pub store_error: Option<StoreError>,
}

/// What a ledger announced before the first step.
#[derive(Default)]
struct Announced {
    /// What an earlier run began and did not learn the outcome of. A call of this run that has no effect does not tell it.
    earlier: BTreeSet<Uid>,
    /// The steps whose approval is used up, with its digest.
    used_up: Vec<(usize, String)>,
}

impl Announced {
    fn of(&self, index: usize, execution: &Execution) -> Announcement {
        let used_up = self.used_up.iter().find(|(of, _)| *of == index).map(|(_, digest)| digest.clone());
        Announcement { used_up, is_earlier: self.earlier.contains(&execution.steps()[index].identity.uid) }
    }
}

impl EndpointRun {
    /// Runs the steps. Steps on an endpoint that cannot be prepared fail.
    pub(super) async fn run(mut self) -> EndpointEnd {
        let (mut announced, mut report) = (Announced::default(), Report::default());
        let prepared = self.prepare(&mut announced).await;
        if let Err(error) = &prepared {
            self.execution.event(Event::note(format!("nothing is done on {}: {error}", self.endpoint)));
        }
        let slots = prepared.and_then(|()| self.slots());
        let (execution, ledger) = (Arc::clone(&self.execution), &mut self.ledger);
        let scheduler = Scheduler::new(execution, &self.endpoint, slots, ledger, self.mail, &mut report);
        let store_error = match scheduler.run().await {
            Ok(Ended { untouched, left }) => {
                if let (Some(backend), Some(left)) = (&self.backend, left) {
                    left.become_jobs(Arc::clone(&self.execution), backend, |index| {
                        announced.of(index, &self.execution)
                    });
                }
                let steps = self.execution.steps();
                let ledger = self.ledger.as_mut();
                if let (Some(backend), Some(ledger)) = (&self.backend, ledger)
                    && take_back(backend, ledger, steps, &announced, &untouched)
                    && let Err(error) = backend.write_ledger(ledger).await
                {
                    let name = &self.endpoint;
                    tracing::warn!(backend = %name, %error, "the ledger could not be written; the next run does it");
                }
                None
            }
            Err(error) => Some(error),
        };
        EndpointEnd { endpoint: self.endpoint, backend: self.backend, ledger: self.ledger, report, store_error }
    }

    /// The calls that the backend takes.
    fn slots(&self) -> Result<BackendSlots, DriverError> {
        let backend = self.backend.as_ref().ok_or_else(DriverError::not_open)?;
        // A pass that waits for its own copies does not wait for those of earlier passes.
        let jobs = match self.execution.may_leave {
            true => {
                let Execution { setup, .. } = &*self.execution;
                setup.jobs.count(&(backend.spec.meta.name.clone(), setup.reading.specs.stack.owner.clone()))
            }
            false => 0,
        };
        Ok(BackendSlots::new(backend, jobs))
    }

    /// The steps on this endpoint, with their indexes in the plan.
    fn steps(&self) -> impl Iterator<Item = (usize, &Step)> + Clone {
        self.execution.steps().iter().enumerate().filter(|(_, step)| step.endpoint == self.endpoint)
    }

    /// Initialises a pool that is not one of Kiln's yet, takes its lock, and announces the steps in its ledger.
    async fn prepare(&mut self, announced: &mut Announced) -> Result<(), DriverError> {
        let has_steps = self.steps().next().is_some();
        if has_steps {
            self.begin_pool().await?;
        }
        let (Some(backend), Some(mut ledger)) = (self.backend.as_ref(), self.ledger.take()) else {
            return if has_steps { Err(DriverError::not_open()) } else { Ok(()) };
        };
        let Execution { plan, setup, .. } = &*self.execution;
        announced.earlier = ledger.creating.keys().chain(&ledger.destroying).copied().collect();
        let steps = self.steps().map(|(_, step)| step);
        ledger::announce(&mut ledger, steps, &plan.used, backend.driver.capabilities().absence);
        // A ledger that has just begun did not exist when the plan was noted.
        if ledger.serial == 0 {
            ledger::enter_reading(&mut ledger, &setup.reading, plan);
        }
        announced.used_up = ledger::use_up(&mut ledger, self.steps());
        // A pool without objects of this owner, and without steps, is not written to.
        let is_idle = ledger.complete.is_empty() && ledger.serial == 0 && !has_steps;
        let written = match is_idle || backend.has_same_ledger(&ledger) {
            true => Ok(()),
            false => backend.write_ledger(&mut ledger).await,
        };
        self.ledger = Some(ledger);
        written
    }

    /// Makes a pool one of Kiln's and takes its lock, unless this session has it, and begins this owner's ledger there.
    async fn begin_pool(&mut self) -> Result<(), DriverError> {
        let specs = &self.execution.setup.reading.specs;
        let owner = &specs.stack.owner;
        let Some(backend) = &mut self.backend else { return Err(DriverError::not_open()) };
        if backend.lock.is_some() {
            return Ok(());
        }
        let pool = backend.init_pool().await?;
        backend.lock(owner).await?;
        // Between the observation and the lock another process may have started to use the pool.
        let again = backend.observe(&Scope::All { owner: owner.clone() }).await?;
        if again.ledger.is_some() {
            let message = "another process has just begun to use the pool for this owner";
            return Err(DriverError::before(ErrorKind::OtherWriter, message));
        }
        self.ledger = Some(ledger::first(pool, owner, specs).into());
        Ok(())
    }
}

/// Takes back what the ledger announced of steps that certainly had no effect. Returns whether that changed it.
fn take_back(
    backend: &BackendSession,
    ledger: &mut SharedLedger,
    steps: &[Step],
    announced: &Announced,
    not_done: &[usize],
) -> bool {
    let mut changed = false;
    // Only here it is known that these were not made or destroyed: no later observation shows it.
    if backend.driver.capabilities().absence == Absence::ByLedger {
        for step in not_done.iter().map(|index| &steps[*index]) {
            changed |= !announced.earlier.contains(&step.identity.uid) && ledger::withdraw(ledger, step);
        }
    }
    for (index, digest) in announced.used_up.iter().filter(|(index, _)| not_done.contains(index)) {
        ledger::give_back(ledger, &steps[*index], digest);
        changed = true;
    }
    changed
}
