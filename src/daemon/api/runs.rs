//! Applies requested by clients: each is a pass of the daemon, reported to its client line by line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::log_reporter::log_event;
use super::super::pass::{PassRefused, Trigger};
use super::super::reconciler::Reconciler;
use super::protocol::{ApplyRequest, RunLine};
use crate::engine::{Confirmation, Event, Report, Reporter};
use crate::manifest::problem_views;
use crate::plan::Plan;

/// How long a run waits for a confirmation; no answer counts as no. Meanwhile no other pass is made.
const ANSWER: Duration = Duration::from_secs(120);
/// How often the progress of a step is reported: enough for a progress bar, and few lines for a client that has stopped reading.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// The applies of clients that run or wait for their turn.
#[derive(Default)]
pub(in crate::daemon) struct Runs {
    next: AtomicU64,
    running: Mutex<HashMap<u64, ClientRun>>,
}

struct ClientRun {
    stop: CancellationToken,
    /// Receives the answer to the confirmation that the run waits for.
    question: Option<oneshot::Sender<Confirmation>>,
}

impl Runs {
    fn running(&self) -> MutexGuard<'_, HashMap<u64, ClientRun>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the confirmation of a run. Returns whether it waits for one.
    pub(in crate::daemon) fn answer(&self, run: u64, answer: Confirmation) -> bool {
        let question = self.running().get_mut(&run).and_then(|run| run.question.take());
        question.is_some_and(|question| question.send(answer).is_ok())
    }

    /// Lets the running steps of a run finish and starts no others. Returns whether the run exists.
    pub(in crate::daemon) fn stop(&self, run: u64) -> bool {
        self.running().get(&run).map(|run| run.stop.cancel()).is_some()
    }
}

/// Starts an apply and returns the channel of its lines. Dropping the channel means that the client has disconnected; it stops the run as a
/// first Ctrl-C does.
pub(in crate::daemon) fn apply(
    reconciler: &Arc<Reconciler>,
    runs: &Arc<Runs>,
    ask: ApplyRequest,
) -> mpsc::UnboundedReceiver<RunLine> {
    let (lines, receiver) = mpsc::unbounded_channel();
    let (reconciler, runs) = (Arc::clone(reconciler), Arc::clone(runs));
    let run = runs.next.fetch_add(1, Ordering::Relaxed);
    let stop = reconciler.stop.child_token();
    runs.running().insert(run, ClientRun { stop: stop.clone(), question: None });
    let gone = (lines.clone(), stop.clone());
    let gone = tokio::spawn(async move {
        gone.0.closed().await;
        gone.1.cancel();
    });
    tokio::spawn(async move {
        let reporter = Arc::new(RunReporter {
            run,
            lines: lines.clone(),
            runs: Arc::clone(&runs),
            stop: stop.clone(),
            reported: Mutex::default(),
        });
        reporter.send(RunLine::Begun(run));
        if reconciler.is_busy() {
            reporter.note("the daemon is making a pass; this one follows it");
        }
        for running in reconciler.jobs.running().iter().filter(|running| ask.concerns(running)) {
            reporter.note(&format!("waiting for {}: {}", running.step.identity.id(), running.progress()));
        }
        let last = last_line(reconciler.pass(Trigger::Client(ask), stop, reporter).await);
        // A client that has disconnected needs no answer.
        let _ = lines.send(last);
        runs.running().remove(&run);
        // The task holds a sender, which would keep the channel open.
        gone.abort();
    });
    receiver
}

/// Returns the last line for the client. It never reports a pass that was not made as done.
fn last_line(result: Result<Report, PassRefused>) -> RunLine {
    match result {
        Ok(report) => RunLine::Done(Box::new(report)),
        Err(PassRefused::Problems(problems)) => RunLine::Invalid(problem_views(&problems)),
        Err(PassRefused::Store(error)) => RunLine::Store(error),
        Err(
            refused @ (PassRefused::OtherSpecs
            | PassRefused::Unusable
            | PassRefused::OtherStack
            | PassRefused::Unchanged
            | PassRefused::Checkout
            | PassRefused::Written),
        ) => RunLine::Refused { message: refused.to_string(), fix: refused.fix().to_owned() },
    }
}

struct RunReporter {
    run: u64,
    lines: mpsc::UnboundedSender<RunLine>,
    runs: Arc<Runs>,
    stop: CancellationToken,
    /// When the progress of each step was last reported.
    reported: Mutex<HashMap<usize, Instant>>,
}

impl RunReporter {
    fn send(&self, line: RunLine) {
        // A client that has disconnected stops the run itself.
        let _ = self.lines.send(line);
    }

    fn note(&self, message: &str) {
        self.send(RunLine::Event(Event::Note { message: message.to_owned() }));
    }

    fn is_due(&self, step: usize) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = reported.get(&step).is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
        if is_due {
            reported.insert(step, Instant::now());
        }
        is_due
    }
}

#[async_trait]
impl Reporter for RunReporter {
    fn planned(&self, plan: &Plan) {
        self.send(RunLine::Planned(plan.clone()));
    }

    fn event(&self, event: Event) {
        log_event(&event);
        match &event {
            Event::Progress { step, .. } if !self.is_due(*step) => {}
            _ => self.send(RunLine::Event(event)),
        }
    }

    async fn confirm(&self, plan: &Plan) -> Confirmation {
        let (question, answer) = oneshot::channel();
        match self.runs.running().get_mut(&self.run) {
            Some(run) => run.question = Some(question),
            None => return Confirmation::Refused,
        }
        self.send(RunLine::Confirm(plan.clone()));
        tokio::select! {
            answer = answer => answer.unwrap_or(Confirmation::Refused),
            () = self.stop.cancelled() => Confirmation::Refused,
            () = tokio::time::sleep(ANSWER) => {
                let minutes = ANSWER.as_secs() / 60;
                self.note(&format!("no answer within {minutes} minutes: that counts as no, so that other passes can run"));
                Confirmation::Refused
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::daemon::tests::{Bench, ask, change};
    use crate::store::StoreError;

    #[test]
    fn a_pass_that_was_not_made_is_reported_with_its_reason() {
        let others = [
            PassRefused::OtherSpecs,
            PassRefused::Unusable,
            PassRefused::OtherStack,
            PassRefused::Unchanged,
            PassRefused::Checkout,
            PassRefused::Written,
        ];
        let mut fixes = std::collections::BTreeSet::new();
        for refused in others {
            let why = refused.to_string();
            let line = last_line(Err(refused));
            assert!(
                matches!(&line, RunLine::Refused { message, fix } if *message == why && fixes.insert(fix.clone())),
                "{why}: {line:?}"
            );
        }
        let full = StoreError::Io { path: "state".to_owned(), message: "no space".to_owned() };
        let line = last_line(Err(PassRefused::Store(full)));
        assert!(matches!(&line, RunLine::Store(told) if told.to_string().contains("no space")), "{line:?}");
        assert!(matches!(last_line(Err(PassRefused::Problems(Arc::new([])))), RunLine::Invalid(_)));
        assert!(matches!(last_line(Ok(Report::default())), RunLine::Done(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_saved_plan_of_other_manifests_is_refused_and_changes_nothing() {
        let bench = Bench::new().await;
        let manifests = bench.reconciler.read().await;
        let plan = bench.pass().await.unwrap().plan.unwrap();
        bench.volume("c");
        let ask = ApplyRequest { saved: Some((plan, crate::model::Reading::clone(&manifests.reading))), ..ask(&bench) };
        let mut lines = apply(&bench.reconciler, &Arc::default(), ask);
        let mut told = Vec::new();
        while let Some(line) = lines.recv().await {
            told.push(line);
        }
        let last = told.last();
        assert!(
            matches!(last, Some(RunLine::Refused { message, fix }) if message.contains("other manifests") && fix.contains("`kiln plan ")),
            "{told:?}"
        );
        assert_eq!(bench.live(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_apply_that_is_answered_with_no_leaves_the_daemon_as_it_was() {
        let bench = Bench::new().await;
        let applied = || bench.reconciler.known().applied.as_ref().map(|applied| applied.content.clone());
        let before = applied();
        bench.volume("c");
        let runs = Arc::default();
        let mut lines = apply(&bench.reconciler, &runs, ApplyRequest { ask: true, ..ask(&bench) });
        let (mut run, mut declined) = (None, false);
        while let Some(line) = lines.recv().await {
            match line {
                RunLine::Begun(id) => run = Some(id),
                RunLine::Confirm(plan) => {
                    assert_eq!(plan.steps.len(), 1);
                    assert!(runs.answer(run.unwrap(), Confirmation::Refused));
                }
                RunLine::Done(report) => declined = report.declined,
                other => panic!("{other:?}"),
            }
        }
        assert!(declined);
        assert_eq!((bench.live(), applied()), (2, before));
        // The edit is still due: the next pass for a change is not refused as one without changes.
        bench.triggered(change()).await.unwrap();
        assert_eq!(bench.live(), 3);
    }
}
