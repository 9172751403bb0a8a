//! Executing a plan: each endpoint has a task of its own, so that none waits for another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use crate::model::Endpoint;
use crate::plan::Plan;
use crate::store::StoreError;

use super::endpoint_run::{EndpointEnd, EndpointRun};
use super::event::Reporter;
use super::execution::Execution;
use super::options::Options;
use super::queue::Mail;
use super::report::Report;
use super::session::Session;
use super::suspensions::StepSuspensions;

impl Session<'_> {
    /// Executes the steps of a plan, on all endpoints at the same time: see [`EndpointRun`]. Ledgers that changed are written also where
    /// there is no step.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn execute(
        &mut self,
        plan: &Arc<Plan>,
        options: &Options,
        reporter: Arc<dyn Reporter>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        if !plan.steps.is_empty() {
            // Before pools are initialised and ledgers announce the steps.
            store.prepare()?;
        }
        let suspensions = if options.by_name { StepSuspensions::nothing() } else { self.step_suspensions(&plan.steps) };
        let (setup, plan, stop) = (self.setup.clone(), Arc::clone(plan), options.stop.child_token());
        let execution = Arc::new(Execution::new(setup, store, plan, suspensions, stop, reporter));
        let mut runs = JoinSet::new();
        for run in self.runs(&execution) {
            runs.spawn(run.run().instrument(Span::current()));
        }
        let mut failed = None;
        while let Some(joined) = runs.join_next().await {
            let end = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let error = self.take_back(end, report);
            failed = failed.or(error);
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is to be done on each endpoint that has steps or a ledger. It takes the ledgers along.
    fn runs(&mut self, execution: &Arc<Execution>) -> Vec<EndpointRun> {
        let of_steps = execution.steps().iter().map(|step| step.endpoint.clone());
        let endpoints: BTreeSet<Endpoint> = of_steps.chain(self.ledgers.keys().cloned().map(Endpoint::from)).collect();
        let mut mail: BTreeMap<Endpoint, Mail> = Mail::between(&endpoints);
        let run = |endpoint: Endpoint| {
            let backend = endpoint.backend().and_then(|name| self.observations.backends.get(name)).cloned();
            let ledger = endpoint.backend().and_then(|name| self.ledgers.remove(name));
            let mail = mail.remove(&endpoint)?;
            Some(EndpointRun { execution: Arc::clone(execution), endpoint, backend, ledger, mail })
        };
        endpoints.into_iter().filter_map(run).collect()
    }

    /// Takes back what a run had, and adds what it did to the report. Returns the error of the store that ended it.
    fn take_back(&mut self, end: EndpointEnd, report: &mut Report) -> Option<StoreError> {
        let EndpointEnd { endpoint, backend, ledger, report: done, store_error } = end;
        if let Some(name) = endpoint.backend() {
            self.observations.backends.extend(backend.map(|backend| (name.clone(), backend)));
            self.ledgers.extend(ledger.map(|ledger| (name.clone(), ledger)));
        }
        report.add(done);
        store_error
    }
}
