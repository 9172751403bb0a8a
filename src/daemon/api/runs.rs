//! Applies that clients ask for: each a pass of the daemon, told to its client line by line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::pass::{By, Refused};
use super::super::reconciler::Reconciler;
use super::protocol::{ApplyRequest, Line};
use crate::engine::{Event, Report, Reporter};
use crate::manifest::problem_views;
use crate::model::Action;
use crate::plan::Plan;

/// A question that nobody answers for so long is answered with no: meanwhile nothing else is done.
const ANSWER: Duration = Duration::from_secs(120);
/// How often the progress of a step is told: enough for a bar to move, and few lines for a client that has stopped reading.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// The applies that run now.
#[derive(Default)]
pub(in crate::daemon) struct Runs {
    next: AtomicU64,
    running: Mutex<HashMap<u64, Run>>,
}

struct Run {
    stop: CancellationToken,
    /// Waits for the answer to a question.
    question: Option<oneshot::Sender<bool>>,
}

impl Runs {
    fn running(&self) -> MutexGuard<'_, HashMap<u64, Run>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the question of a run. Whether there was one.
    pub(in crate::daemon) fn answer(&self, run: u64, yes: bool) -> bool {
        let question = self.running().get_mut(&run).and_then(|run| run.question.take());
        question.is_some_and(|question| question.send(yes).is_ok())
    }

    /// Lets the running steps of a run end, and begins no other. Whether there is such a run.
    pub(in crate::daemon) fn stop(&self, run: u64) -> bool {
        self.running().get(&run).map(|run| run.stop.cancel()).is_some()
    }
}

/// Begins an apply. What it has to say comes out of the channel, until it is closed; who lets go of the channel has gone away, which stops
/// the run as a first Ctrl-C does.
pub(in crate::daemon) fn apply(
    reconciler: &Arc<Reconciler>,
    runs: &Arc<Runs>,
    ask: ApplyRequest,
) -> mpsc::UnboundedReceiver<Line> {
    let (lines, receiver) = mpsc::unbounded_channel();
    let (reconciler, runs) = (Arc::clone(reconciler), Arc::clone(runs));
    let run = runs.next.fetch_add(1, Ordering::Relaxed);
    let stop = reconciler.stop.child_token();
    runs.running().insert(run, Run { stop: stop.clone(), question: None });
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
            told: Mutex::default(),
        });
        reporter.tell(Line::Begun(run));
        if reconciler.turn.try_lock().is_err() {
            reporter.tell(Line::Note("the daemon is making a pass; this one comes after it".to_owned()));
        }
        let last = last_line(reconciler.pass(By::Hand(ask), stop, reporter).await);
        // A client that has gone away asks no more.
        let _ = lines.send(last);
        runs.running().remove(&run);
        // It keeps the channel open.
        gone.abort();
    });
    receiver
}

/// What a client is told at the end. A pass that was not made is never told as one that was.
fn last_line(result: Result<Report, Refused>) -> Line {
    match result {
        Ok(report) => Line::Done(Box::new(report)),
        Err(Refused::Problems(problems)) => Line::Invalid(problem_views(&problems)),
        Err(Refused::Store(error)) => Line::Store(error),
        Err(
            refused @ (Refused::OtherSpecs
            | Refused::Unusable
            | Refused::Unchanged
            | Refused::Checkout
            | Refused::Written),
        ) => Line::Refused(refused.to_string()),
    }
}

struct RunReporter {
    run: u64,
    lines: mpsc::UnboundedSender<Line>,
    runs: Arc<Runs>,
    stop: CancellationToken,
    /// When the progress of a step was last told.
    told: Mutex<HashMap<usize, Instant>>,
}

impl RunReporter {
    fn tell(&self, line: Line) {
        // Who listens no more has stopped the run already.
        let _ = self.lines.send(line);
    }

    fn is_due(&self, step: usize) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.get(&step).is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
        if is_due {
            told.insert(step, Instant::now());
        }
        is_due
    }
}

#[async_trait]
impl Reporter for RunReporter {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Note(note) => self.tell(Line::Note(note)),
            Event::Planned(plan) => self.tell(Line::Planned(plan.clone())),
            Event::Started(step, _) => self.tell(Line::Started(step)),
            Event::Progress(step, done, all) if self.is_due(step) => self.tell(Line::Progress(step, done, all)),
            Event::Progress(..) => {}
            Event::Retrying(step, _, error, millis) => self.tell(Line::Retrying(step, error.clone(), millis)),
            Event::Finished(step, _, result) => self.tell(Line::Finished(step, result.clone())),
            Event::Skipped(step, _, why) => self.tell(Line::Skipped(step, why.to_owned())),
        }
    }

    async fn confirm(&self, plan: &Plan) -> bool {
        let (question, answer) = oneshot::channel();
        match self.runs.running().get_mut(&self.run) {
            Some(run) => run.question = Some(question),
            None => return false,
        }
        self.tell(Line::Confirm(plan.clone()));
        let yes = tokio::select! {
            answer = answer => answer.unwrap_or(false),
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(ANSWER) => {
                let minutes = ANSWER.as_secs() / 60;
                self.tell(Line::Note(format!("no answer for {minutes} minutes, and others wait: that counts as no")));
                false
            }
        };
        if !yes && plan.steps.iter().any(|step| matches!(step.action, Action::Destroy)) {
            let note = "what its document removes with `onRemove: Delete` the daemon destroys all the same, by itself: \
                        `kiln suspend KIND/NAME --reason TEXT` keeps it";
            self.tell(Line::Note(note.to_owned()));
        }
        yes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::daemon::tests::{Bench, ask};
    use crate::store::StoreError;

    #[test]
    fn a_pass_that_was_not_made_is_told_with_its_own_reason() {
        let others = [Refused::OtherSpecs, Refused::Unusable, Refused::Unchanged, Refused::Checkout, Refused::Written];
        for refused in others {
            let why = refused.to_string();
            let line = last_line(Err(refused));
            assert!(matches!(&line, Line::Refused(told) if *told == why), "{why}: {line:?}");
        }
        let full = StoreError::Io { path: "state".to_owned(), message: "no space".to_owned() };
        let line = last_line(Err(Refused::Store(full)));
        assert!(matches!(&line, Line::Store(told) if told.to_string().contains("no space")), "{line:?}");
        assert!(matches!(last_line(Err(Refused::Problems(Arc::new([])))), Line::Invalid(_)));
        assert!(matches!(last_line(Ok(Report::default())), Line::Done(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_saved_plan_of_other_manifests_is_refused_and_changes_nothing() {
        let bench = Bench::new().await;
        let manifests = bench.reconciler.read().await;
        let By::Hand(ask) = ask(&bench) else { unreachable!() };
        let plan = bench.pass().await.unwrap().plan.unwrap();
        bench.volume("c");
        let ask = ApplyRequest { saved: Some((plan, crate::model::Reading::clone(&manifests.reading))), ..ask };
        let mut lines = apply(&bench.reconciler, &Arc::default(), ask);
        let mut told = Vec::new();
        while let Some(line) = lines.recv().await {
            told.push(line);
        }
        let last = told.last();
        assert!(matches!(last, Some(Line::Refused(why)) if why.contains("other manifests")), "{told:?}");
        assert_eq!(bench.live(), 2);
    }
}
