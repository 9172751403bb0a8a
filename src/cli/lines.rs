//! The events of a run as JSON lines: `kiln apply -o json`.
//!
//! The first line has the format; each following line is an event, as it happens; the last is the summary. Messages for people go to
//! stderr, as without this option.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;

use super::progress::Progress;
use super::terminal::Terminal;
use crate::engine::{Confirmation, Event, Reporter};
use crate::model::{ProblemView, Reading, Specs};
use crate::plan::Plan;
use crate::report::{HeldView, PlanView};

/// The `format` of the first line.
const FORMAT: &str = "kiln.apply/v1";

/// The shortest time between two progress lines of one step.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The first line.
#[derive(Serialize)]
struct HeaderLine<'a> {
    format: &'static str,
    owner: Option<&'a str>,
    revision: Option<&'a str>,
    /// The problems of invalid manifests: then this is the only line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemView>,
}

/// The lines that are not an [`Event`]: the second and the last.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
enum OuterLine<'a> {
    /// The plan that is about to run, as in `kiln plan -o json`.
    Planned { plan: Box<PlanView> },
    /// The summary.
    Summary(&'a RunSummary),
}

/// The result of the run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunSummary {
    /// Steps that changed something.
    pub(crate) changed: usize,
    /// Steps that found their effect in place.
    pub(crate) unchanged: usize,
    /// Steps that failed.
    pub(crate) failed: usize,
    /// Steps that were not started.
    pub(crate) skipped: usize,
    /// Steps that were not selected.
    pub(crate) not_asked_for: usize,
    /// Whether it was stopped before its end.
    pub(crate) stopped: bool,
    /// Where clients open the first volumes that were created, adopted, renamed or restored from the trash, if every step was done.
    pub(crate) paths: Vec<VolumePath>,
    /// All held objects, including those that the run held.
    pub(crate) held: Vec<HeldView>,
    /// Whether nothing was run because the question was not answered with `yes`.
    pub(crate) declined: bool,
    /// Why nothing was run: the saved plan no longer holds or waits for an approval, or the approved set is not the one that waits.
    pub(crate) refused: Vec<String>,
    /// Guarantees that the plan breaks: a bug in Kiln, and nothing was run.
    pub(crate) breaches: Vec<String>,
    /// The exit code.
    pub(crate) exit_code: u8,
}

/// Where clients open a volume.
#[derive(Serialize)]
pub(crate) struct VolumePath {
    /// `volume/NAME`.
    pub(crate) object: String,
    /// The path on this host.
    pub(crate) path: PathBuf,
}

/// A reporter that writes JSON lines to stdout, and passes events on to [`Progress`].
pub(crate) struct Lines {
    terminal: Terminal,
    specs: Arc<Specs>,
    people: Arc<Progress>,
    /// When progress of a running step was last written.
    written: Mutex<BTreeMap<usize, Instant>>,
}

impl Lines {
    /// Writes the first line.
    pub(crate) fn begin(terminal: Terminal, reading: &Reading, people: Arc<Progress>) -> Self {
        let owner = Some(reading.specs.stack.owner.as_str());
        let head = HeaderLine { format: FORMAT, owner, revision: Some(&reading.revision), problems: Vec::new() };
        write(&terminal, &head);
        Self { terminal, specs: reading.specs.clone(), people, written: Mutex::default() }
    }

    /// Writes the last line.
    pub(crate) fn end(&self, summary: &RunSummary) {
        write(&self.terminal, &OuterLine::Summary(summary));
    }

    /// Whether progress of a step is to be written now.
    fn is_due(&self, step: usize) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let due = written.get(&step).is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
        if due {
            written.insert(step, Instant::now());
        }
        due
    }
}

/// Writes the only line of a run whose manifests are invalid.
pub(crate) fn invalid(terminal: &Terminal, problems: Vec<ProblemView>) {
    write(terminal, &HeaderLine { format: FORMAT, owner: None, revision: None, problems });
}

/// Writes a line and flushes it: its reader may wait for it.
fn write(terminal: &Terminal, line: &impl Serialize) {
    // Serialization cannot fail: every key is a string and every value a plain one.
    terminal.out(&(serde_json::to_string(line).unwrap_or_default() + "\n"));
}

#[async_trait]
impl Reporter for Lines {
    fn planned(&self, plan: &Plan) {
        let view = Box::new(PlanView::of_run(plan, &self.specs, &self.terminal.commands()));
        write(&self.terminal, &OuterLine::Planned { plan: view });
        self.people.planned(plan);
    }

    fn event(&self, event: Event) {
        match &event {
            Event::Note { message } => {
                let message = self.terminal.commands().complete(message);
                write(&self.terminal, &Event::Note { message });
            }
            Event::Progress { step, .. } if !self.is_due(*step) => {}
            event => write(&self.terminal, event),
        }
        self.people.event(event);
    }

    async fn confirm(&self, plan: &Plan) -> Confirmation {
        self.people.confirm(plan).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ColorChoice;
    use crate::cli::progress::ProgressOptions;

    #[test]
    fn progress_of_a_step_is_reported_at_most_once_a_second() {
        let terminal = Terminal::new(ColorChoice::Never, Default::default());
        let specs =
            crate::manifest::load(&crate::manifest::Source::Text(String::new()), &Default::default()).reading.specs;
        let data_only = ProgressOptions { data_only: true, ..ProgressOptions::default() };
        let people = Arc::new(Progress::new(terminal.clone(), specs.clone(), data_only, Default::default()));
        let lines = Lines { terminal, specs, people, written: Mutex::default() };
        assert!(lines.is_due(0) && lines.is_due(1));
        assert!(!lines.is_due(0) && !lines.is_due(1));
        let long_ago = Instant::now().checked_sub(PROGRESS_EVERY);
        lines.written.lock().unwrap().insert(1, long_ago.expect("the host is up for a second"));
        assert!(!lines.is_due(0) && lines.is_due(1));
    }
}
