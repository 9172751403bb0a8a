//! What is said on the control socket: HTTP/1.1 with JSON bodies, under `/v1`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/daemon` | [`DaemonView`] |
//! | `GET /v1/overview` | [`OverviewAnswer`]: a fresh look at everything |
//! | `GET /v1/store?journal=N` | [`Remembered`]: what the store has, with at most N lines of the journal |
//! | `POST /v1/apply` with [`ApplyRequest`] | lines of [`Line`], as it happens |
//! | `POST /v1/runs/ID/answer` with `true` or `false` | the answer to [`Line::Confirm`] |
//! | `POST /v1/runs/ID/stop` | finishes the running steps, and begins no other |
//! | `POST /v1/act` with [`OperationRequest`] | `Result<OperationResult, OperationError>` |
//! | `POST /v1/reconcile` | makes a pass soon |
//!
//! Answers other than 200 carry a sentence. Both ends are of one version: [`VERSION`] is in every request, and another is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::{OperationError, Options, Report};
use crate::model::{DriverError, JournalEntry, Name, ObjectId, OpenIntent, Outcome, ProblemView, Reading, Records};
use crate::plan::{Overview, Plan, Retry};
use crate::store::StoreError;

/// The socket's name in the store's directory.
pub const SOCKET: &str = "kiln.sock";
/// The header with the version.
pub const HEADER: &str = "kiln-version";
/// What is spoken here. What is said is the inside of one version of Kiln, so it is that.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A path as it is said here: absolute, and with no links in it, as far as it is there.
pub fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// What a person asks to be applied.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// See [`real`].
    pub specs: PathBuf,
    /// Digests that are approved.
    pub approve: Vec<String>,
    /// The person who asks, for the journal.
    #[serde(default)]
    pub by: Option<String>,
    /// A saved plan: this and nothing else, or nothing; and the reading that it was made for.
    pub saved: Option<(Plan, Reading)>,
    /// Only these, and what they need.
    pub only: Vec<ObjectId>,
    /// Whether the manifests count as all that the owner has, though SPECS is a file: `--prune`.
    #[serde(default)]
    pub prune: bool,
}

/// What an apply says while it runs. Steps are told by their index in the plan.
#[derive(Debug, Serialize, Deserialize)]
pub enum Line {
    /// The first: the number of the run, for `/v1/runs/ID`.
    Begun(u64),
    /// Something a person should know.
    Note(String),
    /// The plan that is about to run.
    Planned(Plan),
    /// A step begins.
    Started(usize),
    /// Bytes done, of bytes.
    Progress(usize, u64, u64),
    /// A step is tried again after so many milliseconds.
    Retrying(usize, DriverError, u64),
    /// A step ended.
    Finished(usize, Result<Outcome, DriverError>),
    /// A step was not begun.
    Skipped(usize, String),
    /// May the irreversible steps of this plan be made? The run waits for the answer.
    Confirm(Plan),
    /// The last, of a run that came to its end.
    Done(Box<Report>),
    /// The only one, where the manifests have problems.
    Invalid(Vec<ProblemView>),
    /// The last, where the run could not be made: exit code 7.
    Refused(String),
    /// The last, where the store failed.
    Store(StoreError),
}

impl ApplyRequest {
    /// What an apply of these options asks for.
    pub fn new(specs: &Path, options: &Options, reading: &Reading) -> Self {
        Self {
            specs: real(specs),
            approve: options.approve.clone(),
            by: options.by.clone(),
            saved: options.saved.as_ref().map(|plan| (Plan::clone(plan), reading.clone())),
            only: options.only.iter().cloned().collect(),
            prune: reading.coverage.is_pruned(),
        }
    }
}

/// A decision by hand, and for which manifests.
#[derive(Debug, Serialize, Deserialize)]
pub struct OperationRequest {
    /// See [`real`].
    pub specs: PathBuf,
    /// What to do.
    pub act: crate::engine::Operation,
}

/// What came of a decision by hand.
#[derive(Debug, Serialize, Deserialize)]
pub enum OperationAnswer {
    /// It was carried out.
    Done(crate::engine::OperationResult),
    /// It was not.
    Failed(OperationError),
    /// The manifests have problems.
    Invalid(Vec<ProblemView>),
    /// The daemon follows other manifests: exit code 7.
    OtherSpecs(String),
}

/// A fresh look at everything.
#[derive(Debug, Serialize, Deserialize)]
pub struct OverviewAnswer {
    /// What is declared; of files with a problem, what they last said.
    pub reading: Arc<Reading>,
    /// What was seen and planned.
    pub overview: Overview,
    /// What is wrong with the manifests.
    pub problems: Vec<ProblemView>,
}

/// What the store has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remembered {
    /// Backends and objects.
    pub records: Arc<Records>,
    /// Steps of which the end is not known.
    pub intents: Vec<OpenIntent>,
    /// Its last lines.
    pub journal: Vec<JournalEntry>,
}

/// The daemon at a glance. Times are in RFC 3339.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonView {
    /// Of the program.
    pub version: String,
    /// Of the process.
    pub pid: u32,
    /// What it follows, absolute, with the links that are in it: see [`real`].
    pub specs: PathBuf,
    /// When it began.
    pub started_at: String,
    /// For how long it has run, by the clock that does not jump.
    pub uptime_seconds: u64,
    /// The revision that everything was last brought to.
    pub revision_applied: Option<String>,
    /// The revision that was last read.
    pub revision_attempted: Option<String>,
    /// The last pass.
    pub last_pass: Option<PassView>,
    /// The one that is being made.
    pub running: Option<RunningView>,
    /// When the next one begins at the latest.
    pub next_pass_at: Option<String>,
    /// Whether every backend was seen, once.
    pub ready: bool,
    /// Where `--listen` answers, as a URL.
    pub listening: Option<String>,
    /// What is wrong with the manifests.
    pub problems: Vec<ProblemView>,
    /// Objects whose last step failed.
    pub retries: Vec<Retry>,
    /// Backends that are left alone for a while.
    pub open_breakers: Vec<BreakerView>,
}

/// A pass that has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassView {
    /// When it began.
    pub began_at: String,
    /// How long it took.
    pub millis: u64,
    /// For which revision.
    pub revision: String,
    /// `done`, `stopped`, `failed` or `invalid`.
    pub ending: String,
    /// Steps that changed something.
    pub changed: usize,
    /// Steps that failed.
    pub failed: usize,
    /// Steps that were postponed, or that wait for others.
    pub postponed: usize,
    /// Objects that are held.
    pub held: usize,
}

/// A pass that is being made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningView {
    /// Since when.
    pub since: String,
    /// Whether a person asked for it.
    pub by_hand: bool,
}

/// A backend that is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerView {
    /// Which.
    pub backend: Name,
    /// In a row.
    pub failures: u32,
    /// The last one.
    pub error: String,
    /// When it is asked again.
    pub next_attempt_at: String,
}
