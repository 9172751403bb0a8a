//! Executing a plan: each endpoint has a task of its own, so that none waits for another.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use crate::model::{Endpoint, Name};
use crate::plan::Plan;
use crate::store::StoreError;

use super::endpoint_run::{EndpointEnd, EndpointRun};
use super::event::Reporter;
use super::execution::Execution;
use super::observe::{Background, HAND_OVER, LEAVE_AFTER, LONGEST};
use super::options::Options;
use super::queue::Mail;
use super::reconcile::is_answer;
use super::record::record_ledger;
use super::report::Report;
use super::session::Session;
use super::suspensions::StepSuspensions;

impl Session<'_> {
    /// Executes the steps of a plan, on all endpoints at the same time: see [`EndpointRun`]. Ledgers that changed are written also where
    /// there is no step. If another pass is due, steps that copy data become jobs; others that still run go on without this session, and their
    /// backends are busy.
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
        let may_leave = self.wait.is_some();
        let execution = Arc::new(Execution::new(setup, store, plan, suspensions, stop, may_leave, reporter));
        let mut tasks = JoinSet::new();
        let mut running = BTreeMap::new();
        for run in self.runs(&execution) {
            let (sender, end) = oneshot::channel();
            running.insert(run.endpoint.clone(), end);
            // A pass that has gone on without it takes the end from the background.
            let run = async move { drop(sender.send(run.run().await)) };
            tasks.spawn(run.instrument(Span::current()));
        }
        let wait = self.wait.clone();
        let leave = async {
            match &wait {
                None => pending().await,
                Some(wait) => {
                    let due = async {
                        wait.leave.cancelled().await;
                        tokio::time::sleep(LEAVE_AFTER).await;
                    };
                    // Whichever comes first.
                    let _ = tokio::time::timeout(LONGEST, due).await;
                    execution.leave();
                    tokio::time::sleep(HAND_OVER).await;
                }
            }
        };
        tokio::pin!(leave);
        let mut ends = Vec::new();
        while !running.is_empty() {
            tokio::select! {
                biased;
                (endpoint, end) = next_end(&mut running) => {
                    running.remove(&endpoint);
                    match end {
                        Ok(end) => ends.push(end),
                        Err(_) => panic_of(&mut tasks).await,
                    }
                }
                () = &mut leave => break,
            }
        }
        let mut failed = None;
        for end in ends {
            let error = self.take_back(end, report);
            failed = failed.or(error);
        }
        tasks.detach_all();
        self.leave(running, &execution);
        failed.map_or(Ok(()), Err)
    }

    /// Leaves the steps of these endpoints to go on without this session.
    fn leave(&mut self, running: BTreeMap<Endpoint, oneshot::Receiver<EndpointEnd>>, execution: &Arc<Execution>) {
        let Some(wait) = &self.wait else { return };
        for (endpoint, run) in running {
            let Some(name) = endpoint.backend() else { continue };
            tracing::info!(backend = %name, "its steps go on without this pass");
            self.observations.backends.remove(name);
            self.observations.busy.insert(name.clone());
            self.usable.remove(name);
            leave_steps(&wait.background, name.clone(), run, Arc::clone(execution));
        }
    }

    /// What is to be done on each endpoint that has steps or a ledger. It takes the ledgers along.
    fn runs(&mut self, execution: &Arc<Execution>) -> Vec<EndpointRun> {
        // Nothing is done on busy backends.
        self.ledgers.retain(|name, _| !self.observations.busy.contains(name));
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

/// Leaves the steps of a backend to go on without their pass.
fn leave_steps(
    background: &Arc<Background>,
    name: Name,
    run: oneshot::Receiver<EndpointEnd>,
    execution: Arc<Execution>,
) {
    background.begin(&name, execution.stop.clone());
    let background = Arc::clone(background);
    tokio::spawn(async move {
        // If it ended in a panic, its steps are as after a crash.
        let Ok(end) = run.await else { return background.steps_ended(&name, None) };
        // That was observed before these steps.
        let _ = background.last(&name);
        if let (Some(backend), Some(ledger)) = (&end.backend, &end.ledger)
            && let Err(error) = record_ledger(&execution.store, backend, ledger, execution.now()).await
        {
            tracing::error!(backend = %name, %error, "what its steps did could not be recorded in the store");
        }
        let EndpointEnd { mut report, store_error, .. } = end;
        if let Some(error) = store_error {
            tracing::error!(backend = %name, %error, "its steps ended because the store failed");
        }
        report.failed.retain(|(_, error)| !is_answer(error));
        background.steps_ended(&name, Some((Arc::clone(&execution.setup.reading), report)));
    });
}

/// Waits for the first of the runs that ends, and returns how.
async fn next_end(
    running: &mut BTreeMap<Endpoint, oneshot::Receiver<EndpointEnd>>,
) -> (Endpoint, Result<EndpointEnd, oneshot::error::RecvError>) {
    poll_fn(|context| {
        let ended = running.iter_mut().find_map(|(endpoint, run)| match Pin::new(run).poll(context) {
            Poll::Ready(end) => Some((endpoint.clone(), end)),
            Poll::Pending => None,
        });
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Goes on with the panic of a task that has ended without its result.
async fn panic_of(tasks: &mut JoinSet<()>) {
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
}
