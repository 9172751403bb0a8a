//! Progress of a run: a line per running step on a terminal, plain lines elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use super::live::{StepCopy, TotalLine};
use super::terminal::{Busy, Terminal};
use crate::engine::{Confirmation, Event, Reporter, StepObject};
use crate::model::{Action, JournalOutcome, Risk, Specs, Step};
use crate::plan::Plan;
use crate::report::{HeldView, PlanView, render};
use crate::text::{Paint, as_declared, counted, escape};

/// What is special about a run.
#[derive(Clone, Copy, Default)]
pub(crate) struct ProgressOptions {
    /// Whether stdout is for data alone (`-o json`): then all messages go to stderr.
    pub(crate) data_only: bool,
    /// Whether every step is confirmed (`--yes`).
    pub(crate) yes: bool,
    /// Whether the daemon makes it.
    pub(crate) in_daemon: bool,
}

/// A reporter for people, which also asks for confirmation.
pub(crate) struct Progress {
    terminal: Terminal,
    specs: Arc<Specs>,
    options: ProgressOptions,
    stop: CancellationToken,
    /// The line shown while the backends are observed.
    observing: Mutex<Option<Busy>>,
    running: Mutex<BTreeMap<usize, Running>>,
    /// The line of the whole run, below those of its steps, if lines are drawn.
    run: Mutex<Option<TotalLine>>,
    /// The texts of each step of the plan: while it runs, and when it is done.
    phrases: Mutex<Vec<Phrases>>,
    /// The holds that were shown with the plan.
    shown: Mutex<HashSet<HeldView>>,
    /// Whether the plan was shown before the confirmation.
    was_asked: AtomicBool,
    /// Whether the cursor is behind the question.
    at_question: Mutex<bool>,
    /// Whether Ctrl-C was pressed at the confirmation.
    interrupted: AtomicBool,
}

/// The texts of a step.
struct Phrases {
    /// The word for it: `update`.
    word: &'static str,
    /// While it runs: `growing`.
    doing: &'static str,
    /// When it is done: `grew volume/db on fast to 2Gi`.
    done: String,
}

struct Running {
    since: Instant,
    line: Option<ProgressBar>,
    copy: StepCopy,
}

impl Progress {
    pub(crate) fn new(
        terminal: Terminal,
        specs: Arc<Specs>,
        options: ProgressOptions,
        stop: CancellationToken,
    ) -> Self {
        Self {
            observing: Mutex::default(),
            terminal,
            specs,
            options,
            stop,
            running: Mutex::default(),
            run: Mutex::default(),
            phrases: Mutex::default(),
            shown: Mutex::default(),
            was_asked: AtomicBool::new(false),
            at_question: Mutex::default(),
            interrupted: AtomicBool::new(false),
        }
    }

    /// Whether Ctrl-C was pressed at the confirmation, which leaves the steps undone.
    fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether a hold was shown with the plan.
    pub(crate) fn was_shown(&self, held: &HeldView) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).contains(held)
    }

    /// Returns the form of what [`Progress::say`] prints.
    pub(crate) fn paint(&self) -> Paint {
        if self.options.data_only { self.terminal.err_paint } else { self.terminal.paint }
    }

    /// Prints what the first Ctrl-C does.
    pub(crate) fn announce_stop(&self) {
        self.leave_question();
        // Nothing runs: the end of the command says that nothing was changed.
        if self.was_interrupted() {
            return;
        }
        let what = match self.steps().len() {
            0 => "stopping before the next step".to_owned(),
            running => format!("finishing {}", counted(running, "running step")),
        };
        let safe = "both are safe: run `kiln apply` again to continue";
        self.terminal.note(&format!("{what}; press Ctrl-C again to stop at once; {safe}"));
    }

    /// Ends the line of a question that Ctrl-C leaves without an answer. Whatever prints next calls it: the announcement of a stop or the
    /// run.
    fn leave_question(&self) {
        let mut at_question = self.at_question.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *at_question) {
            self.interrupted.store(true, Ordering::Relaxed);
            self.terminal.talk("\n");
        }
    }

    /// Shows that the backends are observed, until the first event.
    pub(crate) fn begin(&self) {
        let line = self.terminal.busy("observing the backends");
        *self.observing.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }

    /// Prints what the second Ctrl-C did.
    pub(crate) fn announce_end(&self) {
        self.terminal.note("stopped at once; `kiln apply` continues from what was done");
    }

    /// Ends the line shown while the backends are observed.
    fn end_observing(&self) {
        drop(self.observing.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Ends the lines of the run.
    pub(crate) fn end(&self) {
        self.end_observing();
        for (_, running) in std::mem::take(&mut *self.steps()) {
            running.line.iter().for_each(|line| self.terminal.live.end(line));
        }
        if let Some(run) = self.run().take() {
            self.terminal.live.end(&run.bar);
        }
    }

    fn run(&self) -> MutexGuard<'_, Option<TotalLine>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints the whole plan. `to_person`: also where a person is asked, if stdout is elsewhere.
    fn show(&self, plan: &Plan, to_person: bool) {
        let commands = self.terminal.commands();
        let view = PlanView::of_run(plan, &self.specs, &commands);
        self.say(&render(&view, self.paint()));
        if to_person && !self.options.data_only && !io::stdout().is_terminal() {
            let paint = self.terminal.err_paint;
            self.terminal.talk(&paint.fit(&render(&view, paint)));
        }
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            HeldView::all(plan, &commands).into_iter().collect();
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<usize, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints text above the lines of running steps.
    pub(crate) fn say(&self, text: &str) {
        self.print(&self.paint().fit(text));
    }

    /// Prints text that fits the terminal.
    pub(crate) fn print(&self, text: &str) {
        if self.options.data_only { self.terminal.talk(text) } else { self.terminal.out(text) }
    }

    fn phrases<T>(&self, index: usize, phrase: impl FnOnce(&Phrases) -> T) -> Option<T> {
        self.phrases.lock().unwrap_or_else(PoisonError::into_inner).get(index).map(phrase)
    }

    /// Returns the word for a step.
    fn word(&self, index: usize, object: &StepObject) -> &'static str {
        self.phrases(index, |phrases| phrases.word).unwrap_or(object.action.as_str())
    }

    fn start(&self, index: usize, object: &StepObject) {
        let doing = self.phrases(index, |phrases| phrases.doing).unwrap_or_default();
        let text = || escape(&format!("{doing} {object} on {}", object.place())).into_owned();
        let line = self.run().as_ref().map(|run| self.terminal.live.running(text(), run));
        self.steps().insert(index, Running { since: Instant::now(), line, copy: StepCopy::default() });
    }

    fn progress(&self, index: usize, done: u64, all: u64) {
        let mut steps = self.steps();
        let Some(Running { line: Some(line), copy, .. }) = steps.get_mut(&index) else { return };
        self.terminal.live.copied(line, done, all);
        if let Some(run) = &mut *self.run() {
            run.copied(copy, done, all);
        }
    }

    fn finish(&self, index: usize, object: &StepObject, outcome: &JournalOutcome, message: Option<String>) {
        let mut ran = self.steps().remove(&index);
        if let Some(line) = ran.as_ref().and_then(|ran| ran.line.as_ref()) {
            self.terminal.live.end(line);
        }
        if let Some(run) = &mut *self.run() {
            ran.iter_mut().for_each(|ran| run.end_copy(&mut ran.copy));
            run.count(ran.is_some(), *outcome == JournalOutcome::Failed);
        }
        let took = ran.map_or(Duration::ZERO, |ran| ran.since.elapsed());
        match outcome {
            JournalOutcome::Changed => {
                let done = self.phrases(index, |phrases| phrases.done.clone());
                self.say(&format!("{} ({})\n", done.unwrap_or_default(), short_time(took)));
            }
            JournalOutcome::Unchanged => self.say(&format!("{object} on {} is unchanged\n", object.place())),
            JournalOutcome::Failed | JournalOutcome::Other(_) => {
                let error = message.unwrap_or_default();
                let message = format!("{} of {object} on {} failed: {error}", self.word(index, object), object.place());
                self.terminal.error(&message, None);
            }
        }
    }
}

#[async_trait]
impl Reporter for Progress {
    fn planned(&self, plan: &Plan) {
        self.end_observing();
        if !self.was_asked.load(Ordering::Relaxed) {
            self.show(plan, false);
        }
        let phrases = plan.steps.iter().map(|step| Phrases {
            word: step.action.word(),
            doing: doing(&step.action),
            done: done(step, &self.specs),
        });
        *self.phrases.lock().unwrap_or_else(PoisonError::into_inner) = phrases.collect();
        if !plan.steps.is_empty() {
            *self.run() = self.terminal.live.run(plan.steps.len());
        }
    }

    fn event(&self, event: Event) {
        self.end_observing();
        match event {
            Event::Note { message } => self.terminal.note(&message),
            Event::Started { step, object } => self.start(step, &object),
            Event::Progress { step, done, total } => self.progress(step, done, total),
            Event::Retrying { object, message, millis, .. } => {
                let again = short_time(Duration::from_millis(millis));
                let text = format!("{object} on {}: {message}; retrying in {again}", object.place());
                self.terminal.note(&text);
            }
            Event::Finished { step, object, outcome, message, .. } => self.finish(step, &object, &outcome, message),
            // A stopped run prints the number of steps that were not started at its end, and not each of them.
            Event::Skipped { .. } if self.stop.is_cancelled() => {}
            Event::Skipped { step, object, message } => {
                self.terminal.note(&format!("{} of {object} was not started: {message}", self.word(step, &object)));
            }
        }
    }

    async fn confirm(&self, plan: &Plan) -> Confirmation {
        self.end_observing();
        if self.options.yes {
            return Confirmation::Given;
        }
        if !self.terminal.can_ask() {
            return Confirmation::NotAsked;
        }
        self.show(plan, true);
        self.was_asked.store(true, Ordering::Relaxed);
        let at_question = |is| *self.at_question.lock().unwrap_or_else(PoisonError::into_inner) = is;
        at_question(true);
        let question = self.terminal.commands().complete(&question(plan, self.options.in_daemon));
        self.terminal.ask(&question);
        let terminal = self.terminal.clone();
        // Ctrl-C is an answer too. The thread that reads stdin ends with the process.
        let is_yes = tokio::select! {
            answer = tokio::task::spawn_blocking(move || terminal.read_yes()) => {
                at_question(false);
                answer.unwrap_or(false)
            }
            () = self.stop.cancelled() => {
                self.leave_question();
                false
            }
        };
        if is_yes { Confirmation::Given } else { Confirmation::Refused }
    }
}

/// Returns the question below a plan, which names the steps that need the confirmation.
fn question(plan: &Plan, in_daemon: bool) -> String {
    let waiting: Vec<&Step> = plan.steps.iter().filter(|step| plan.waits_for_yes(step)).collect();
    let names: Vec<String> =
        waiting.iter().map(|step| format!("{} {}", step.action.word(), step.identity.id())).collect();
    let (count, names) = (counted(waiting.len(), "step"), escape(&names.join(", ")).into_owned());
    let why = match waiting.iter().all(|step| step.risk == Risk::Irreversible) {
        _ if waiting.is_empty() => String::new(),
        true => format!("{count} cannot be undone: {names}.\n"),
        false => {
            let need = if waiting.len() == 1 { "needs" } else { "need" };
            format!("Stdin may have been cut short; {count} {need} confirmation: {names}.\n")
        }
    };
    let is_made_anyway = |step: &Step| !matches!(step.action, Action::Restore { .. });
    if in_daemon && plan.steps.iter().any(is_made_anyway) {
        return format!(
            "\n{why}Whatever you answer, the daemon's next pass makes the steps that need no confirmation, and destroys what was removed \
             with `onRemove: Delete`. To prevent that, edit the manifests, or hold an object with `kiln suspend KIND/NAME --reason TEXT`.\n\
             Execute this plan now? Only `yes` is accepted: "
        );
    }
    format!("\n{why}Execute this plan? Only `yes` is accepted; any other answer changes nothing: ")
}

/// Returns a running step as a participle.
fn doing(action: &Action) -> &'static str {
    match action {
        Action::Create { .. } | Action::Snapshot { .. } => "creating",
        Action::Grow { .. } => "growing",
        Action::Restore { .. } => "restoring",
        Action::SetTags { tags } if tags.retained => "releasing",
        Action::SetTags { .. } => "tagging",
        Action::Reserve => "reserving",
        Action::Configure { .. } => "limiting",
        Action::Rename { .. } => "renaming",
        Action::Adopt { .. } => "adopting",
        Action::Trash { .. } => "removing",
        Action::Undelete { .. } => "restoring",
        Action::Destroy => "destroying",
        Action::Purge => "purging",
        Action::Sweep => "sweeping",
        Action::Detach => "detaching",
    }
}

/// Returns a finished step as a sentence without its full stop: `created volume/db on fast`.
fn done(step: &Step, specs: &Specs) -> String {
    let (object, at) = (step.identity.id(), &step.endpoint);
    let text = match &step.action {
        Action::Create { .. } | Action::Snapshot { .. } => format!("created {object} on {at}"),
        Action::Grow { to } => {
            let declared = specs.volumes.get(&step.identity.name).map(|spec| spec.size);
            format!("grew {object} on {at} to {}", as_declared(declared, *to))
        }
        Action::Restore { .. } => format!("restored {object} on {at}"),
        Action::SetTags { tags } if tags.retained => format!("released {object} on {at}"),
        Action::SetTags { .. } | Action::Configure { .. } => format!("updated {object} on {at}"),
        Action::Reserve => format!("reserved the space of {object} on {at}"),
        Action::Rename { from, .. } => format!("renamed {from} to {object} on {at}"),
        Action::Adopt { .. } => format!("adopted {object} on {at}"),
        Action::Trash { .. } => format!("removed {object} on {at}: moved to the trash"),
        Action::Undelete { .. } => format!("restored {object} from the trash of {at}"),
        Action::Destroy => format!("destroyed {object} on {at}"),
        Action::Purge => format!("purged {object} on {at}"),
        Action::Sweep => format!("removed the incomplete object {object} from {at}"),
        Action::Detach => format!("made the clones of {object} on {at} independent"),
    };
    escape(&text).into_owned()
}

/// Returns a duration as `12 ms`, `3.4 s` or `2 min 5 s`.
fn short_time(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, owner, volume};
    use crate::model::{Reason, Size};

    #[test]
    fn beside_a_daemon_no_answer_is_said_to_change_nothing() {
        let step = Step::new(name("fast"), volume("db"), Action::Grow { to: Size(1 << 30) }, Reason::Grown);
        let plan = Plan::of(owner(), String::new(), vec![step]);
        assert!(question(&plan, false).contains("any other answer changes nothing"));
        let beside = question(&plan, true);
        assert!(beside.contains("Whatever you answer") && !beside.contains("changes nothing"), "{beside}");
    }

    #[test]
    fn times_are_short() {
        for (millis, text) in [(12, "12 ms"), (3400, "3.4 s"), (125_000, "2 min 5 s")] {
            assert_eq!(short_time(Duration::from_millis(millis)), text);
        }
    }
}
