//! Executing a plan: backends are prepared, ledgers announce what leaves, the scheduler runs the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Absence, DriverError, Endpoint, Name, Uid};
use crate::plan::Plan;
use crate::store::StoreError;

use super::event::{Event, Reporter};
use super::execution::Execution;
use super::ledger;
use super::options::Options;
use super::report::Report;
use super::scheduler::Scheduler;
use super::session::Session;
use super::suspensions::StepSuspensions;

impl Session<'_> {
    /// Executes the steps of a plan: prepares their backends, announces removals in the ledgers, runs the steps and enters what was done. Steps
    /// on a backend that cannot be prepared fail.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn execute(
        &mut self,
        plan: &Plan,
        options: &Options,
        reporter: Arc<dyn Reporter>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        if !plan.steps.is_empty() {
            // Before pools are initialised and ledgers announce the steps.
            store.prepare()?;
        }
        let mut unready: BTreeMap<Endpoint, DriverError> = BTreeMap::new();
        let concerned: BTreeSet<&Endpoint> = plan.steps.iter().map(|step| &step.endpoint).collect();
        for endpoint in concerned {
            let prepared = match endpoint {
                Endpoint::Backend(name) => self.prepare_backend(name).await,
                Endpoint::Target(_) => Err(DriverError::not_open()),
            };
            if let Err(error) = prepared {
                unready.insert(endpoint.clone(), error);
            }
        }
        let names: Vec<Name> = self.ledgers.keys().cloned().collect();
        let mut used_up = Vec::new();
        // What an earlier run began and did not learn the outcome of. A call of this run that has no effect does not tell it.
        let mut earlier: BTreeSet<(Name, Uid)> = BTreeSet::new();
        for name in names {
            if let (Some(ledger), Some(backend)) = (self.ledgers.get_mut(&name), self.observations.backends.get(&name))
            {
                earlier.extend(ledger.creating.keys().chain(&ledger.destroying).map(|uid| (name.clone(), *uid)));
                let here = plan.steps.iter().filter(|step| step.backend() == Some(&name));
                ledger::announce(ledger, here, &plan.used, backend.driver.capabilities().absence);
                // A ledger that has just begun did not exist when the plan was noted.
                if ledger.serial == 0 {
                    ledger::enter_reading(ledger, &self.setup.reading, plan);
                }
                let here = plan.steps.iter().enumerate().filter(|(_, step)| step.backend() == Some(&name));
                used_up.extend(ledger::use_up(ledger, here));
            }
            // A pool without objects of this owner, and without steps, is not written to.
            let idle = self.ledgers.get(&name).is_some_and(|ledger| ledger.complete.is_empty() && ledger.serial == 0)
                && !plan.steps.iter().any(|step| step.backend() == Some(&name));
            if idle {
                continue;
            }
            if let Err(error) = self.write_ledger_if_changed(&name).await {
                unready.insert(name.into(), error);
            }
        }
        for (endpoint, error) in &unready {
            reporter.event(Event::note(format!("nothing is done on {endpoint}: {error}")));
        }
        let backends: BTreeMap<Name, _> = self
            .observations
            .backends
            .iter()
            .map(|(name, backend)| (name.clone(), backend.clone()))
            .filter(|(name, _)| !unready.contains_key(&Endpoint::from(name.clone())))
            .collect();
        let suspensions = if options.by_name { StepSuspensions::nothing() } else { self.step_suspensions(&plan.steps) };
        let execution = Execution {
            setup: self.setup,
            store,
            backends: &backends,
            unready: &unready,
            suspensions: &suspensions,
            reporter,
        };
        let scheduler = Scheduler::new(execution, &mut self.ledgers, &options.stop, &plan.steps, report);
        let not_done = scheduler.run().await?;
        let mut changed = BTreeSet::new();
        // Only here it is known that these were not made or destroyed: no later observation shows it.
        for step in not_done.iter().map(|index| &plan.steps[*index]) {
            let Some(backend) = step.backend() else { continue };
            let can = self.observations.backends.get(backend).map(|open| open.driver.capabilities());
            if can.is_some_and(|can| can.absence == Absence::ByLedger)
                && !earlier.contains(&(backend.clone(), step.identity.uid))
                && let Some(ledger) = self.ledgers.get_mut(backend)
                && ledger::withdraw(ledger, step)
            {
                changed.insert(backend.clone());
            }
        }
        for (index, digest) in used_up.iter().filter(|(index, _)| not_done.contains(index)) {
            let step = &plan.steps[*index];
            // Taken from the ledger of the step's backend above.
            let Some(backend) = step.backend() else { continue };
            if let Some(ledger) = self.ledgers.get_mut(backend) {
                ledger::give_back(ledger, step, digest);
                changed.insert(backend.clone());
            }
        }
        for name in changed {
            if let Err(error) = self.write_ledger(&name).await {
                tracing::warn!(backend = %name, %error, "the ledger could not be written; the next run does it");
            }
        }
        Ok(())
    }
}
