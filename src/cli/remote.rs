//! An apply in the daemon: its lines become the events of an apply here.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::client::Daemon;
use super::exit::Exit;
use super::failure::Failure;
use crate::daemon::protocol::{ApplyRequest, RunLine};
use crate::engine::{Report, Reporter};
use crate::model::ProblemView;

/// How an apply in the daemon ended.
#[expect(clippy::large_enum_variant, reason = "there is one of them for each run")]
pub(crate) enum Applied {
    /// It ran.
    Ran(Report),
    /// The manifests are invalid, and nothing was changed.
    Invalid(Vec<ProblemView>),
}

/// Runs an apply in the daemon; `reporter` gets its events and questions as for an apply here.
///
/// # Errors
/// Exit code 7 if the daemon stops or refuses.
pub(crate) async fn apply(
    daemon: &Daemon,
    ask: &ApplyRequest,
    stop: &CancellationToken,
    reporter: Arc<dyn Reporter>,
) -> Result<Applied, Failure> {
    let mut lines = RunLines { body: daemon.begin("/v1/apply", ask).await?.into_body(), rest: Vec::new() };
    let mut run: Option<DaemonRun> = None;
    let mut is_stopping = false;
    loop {
        let line = tokio::select! {
            line = lines.next() => line.map_err(|why| daemon.trouble(&why))?,
            () = stop.cancelled(), if !is_stopping && run.is_some() => {
                is_stopping = true;
                if let Some(run) = &run {
                    // The run may have ended in the meantime.
                    let _ = daemon.begin(&format!("/v1/runs/{}/stop", run.number), &()).await;
                }
                continue;
            }
        };
        match line {
            None => return Err(daemon.trouble("it stopped; the next run resolves the steps that were running")),
            Some(RunLine::Done(report)) => return Ok(Applied::Ran(*report)),
            Some(RunLine::Invalid(problems)) => return Ok(Applied::Invalid(problems)),
            Some(RunLine::Refused { message, fix }) => return Err(Failure::new(Exit::Store, message).hint(fix)),
            Some(RunLine::Store(error)) => return Err(error.into()),
            Some(RunLine::Begun(number)) => {
                run = Some(DaemonRun { number, reporter: Arc::clone(&reporter) });
            }
            Some(line) => {
                if let Some(run) = &run {
                    run.tell(line, daemon).await;
                }
            }
        }
    }
}

/// A run in the daemon.
struct DaemonRun {
    number: u64,
    reporter: Arc<dyn Reporter>,
}

impl DaemonRun {
    /// Passes a line on to the reporter.
    async fn tell(&self, line: RunLine, daemon: &Daemon) {
        match line {
            RunLine::Planned(plan) => self.reporter.planned(&plan),
            RunLine::Event(event) => self.reporter.event(event),
            RunLine::Confirm(plan) => {
                let answer = self.reporter.confirm(&plan).await;
                // The daemon takes a late answer for a no, as its next lines report.
                let _ = daemon.begin(&format!("/v1/runs/{}/answer", self.number), &answer).await;
            }
            // The caller reads the first and the last line.
            RunLine::Begun(_)
            | RunLine::Done(_)
            | RunLine::Invalid(_)
            | RunLine::Refused { .. }
            | RunLine::Store(_) => {}
        }
    }
}

/// A stream of JSON lines.
struct RunLines {
    body: Incoming,
    rest: Vec<u8>,
}

impl RunLines {
    /// Returns the next line; none at the end.
    async fn next(&mut self) -> Result<Option<RunLine>, String> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.rest[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=searched + end).collect();
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|error| format!("a line cannot be read: {error}"));
            }
            searched = self.rest.len();
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }
}
