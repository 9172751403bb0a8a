//! The protocol of the control socket: HTTP/1.1 with JSON bodies, under `/v1`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/daemon` | [`DaemonView`] |
//! | `GET /v1/objects?what=W&labels=S&details=L` | [`Answer`] of [`ObjectsAnswer`](crate::report::ObjectsAnswer): all, or those that a [`ObjectSelection`](crate::report::ObjectSelection) and a [`LabelSelector`](crate::report::LabelSelector) select; with `details`, their snapshots and clones and the last L entries of the journal about each |
//! | `GET /v1/status` | [`Answer`] of [`StackStatus`](crate::report::StackStatus) |
//! | `GET /v1/plan?reading=true` | [`Answer`] of [`PlanAnswer`], with the manifests only if `reading` is true |
//! | `GET /v1/doctor` | [`Answer`] of [`DoctorAnswer`](crate::report::DoctorAnswer) |
//! | `GET /v1/trash` | [`Answer`] of [`TrashAnswer`] |
//! | `GET /v1/unowned?backend=B` | [`Answer`] of [`UnownedAnswer`] |
//! | `GET /v1/journal?limit=L&kind=K&name=N` | the last L entries of the journal as [`JournalEntry`]s (about one object, if it is named) |
//! | `GET /v1/store?journal=L` | [`StoreAnswer`]: the records, and the last L entries of the journal, for plans of other manifests |
//! | `POST /v1/apply` with [`ApplyRequest`] | lines of [`RunLine`], while it runs |
//! | `POST /v1/runs/ID/answer` with [`Confirmation`](crate::engine::Confirmation) | the answer to [`RunLine::Confirm`] |
//! | `POST /v1/runs/ID/stop` | finishes the running steps and starts no others |
//! | `POST /v1/operation` with [`OperationRequest`] | [`OperationAnswer`] |
//! | `POST /v1/reconcile` | requests a pass |
//!
//! An [`Answer`] is made from an observation that begins after the request. Invalid parameters are refused with 400. Answers other than
//! 200 carry an error message. Client and daemon must be of the same version: each request carries [`VERSION`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::{Event, Operation, OperationError, OperationResult, Options, Report, Trashed, trash_in};
use crate::model::{JournalEntry, Kind, Name, ObjectId, OpenIntent, ProblemView, Reading, Records, WrittenSizes};
use crate::plan::{Overview, Plan, Retry, RunningStep, Unobserved};
use crate::report::{NotListed, Unowned, unowned};
use crate::store::StoreError;

/// The name of the socket in the state directory.
pub const SOCKET: &str = "kiln.sock";
/// The header with the client's version.
pub const HEADER: &str = "kiln-version";
/// The version of the protocol. It carries internal types, so it is the version of Kiln.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns a path in the form that the protocol compares: absolute, with symbolic links resolved as far as it exists.
pub fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// A request to apply.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// See [`real`].
    pub specs: PathBuf,
    /// Approved digests.
    pub approve: Vec<String>,
    /// The person who applies, for the journal.
    #[serde(default)]
    pub by: Option<String>,
    /// A saved plan, to be executed exactly or refused, and the reading that it was made for.
    pub saved: Option<(Plan, Reading)>,
    /// Only these objects and what they depend on.
    pub only: Vec<ObjectId>,
    /// `--ask`: the plan needs a confirmation before any step.
    #[serde(default)]
    pub ask: bool,
    /// `--prune`: the manifests count as complete although SPECS is a file.
    #[serde(default)]
    pub prune: bool,
}

impl ApplyRequest {
    /// Whether a step that still runs makes something that it applies.
    pub fn concerns(&self, running: &RunningStep) -> bool {
        self.only.is_empty() || self.only.contains(&running.step.identity.id())
    }
}

/// A line of the answer to an apply.
#[derive(Debug, Serialize, Deserialize)]
pub enum RunLine {
    /// The first line: the number of the run, for `/v1/runs/ID`.
    Begun(u64),
    /// The plan that is about to be executed.
    Planned(Plan),
    /// Something happened.
    Event(Event),
    /// Asks for confirmation of this plan. The run waits for the answer.
    Confirm(Plan),
    /// The last line of a run that finished.
    Done(Box<Report>),
    /// The last line of a run that was not made because the manifests have problems.
    Invalid(Vec<ProblemView>),
    /// The last line of a run that was refused: exit code 7.
    Refused {
        /// Why.
        message: String,
        /// What to do about it.
        fix: String,
    },
    /// The last line if the store failed.
    Store(StoreError),
}

impl ApplyRequest {
    /// Returns the request for an apply with these options.
    pub fn new(specs: &Path, options: &Options, reading: &Reading) -> Self {
        Self {
            specs: real(specs),
            approve: options.approve.clone(),
            by: options.by.clone(),
            saved: options.saved.as_ref().map(|plan| (Plan::clone(plan), reading.clone())),
            only: options.only.iter().cloned().collect(),
            ask: options.ask,
            prune: reading.coverage.is_pruned(),
        }
    }
}

/// An operation, and the manifests that it concerns.
#[derive(Debug, Serialize, Deserialize)]
pub struct OperationRequest {
    /// See [`real`].
    pub specs: PathBuf,
    /// The operation.
    pub operation: Operation,
}

/// The result of an operation.
#[derive(Debug, Serialize, Deserialize)]
pub enum OperationAnswer {
    /// It was carried out.
    Done(OperationResult),
    /// It failed.
    Failed(OperationError),
    /// The manifests have problems.
    Invalid(Vec<ProblemView>),
    /// The daemon follows other manifests: exit code 7.
    OtherSpecs {
        /// Why it is refused.
        message: String,
        /// What to do about it.
        fix: String,
    },
}

/// An answer from manifests and backends as read and observed now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer<T> {
    /// The problems of the manifests. A file with problems contributes its last valid content.
    pub problems: Vec<ProblemView>,
    /// The answer to the question.
    pub answer: T,
}

/// The plan.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanAnswer<'a> {
    /// See [`Plan`].
    pub plan: Cow<'a, Plan>,
    /// The specs that it was made for, if they were asked for: to save it.
    pub reading: Option<Arc<Reading>>,
}

/// The trash.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrashAnswer {
    /// The trash of the owner, by kind and name.
    pub trashed: Vec<Trashed>,
    /// The backends that were not observed.
    pub unobserved: Vec<Unobserved>,
    /// How documents that declare volumes of the trash again write their sizes.
    #[serde(default)]
    pub written_sizes: WrittenSizes,
}

impl TrashAnswer {
    /// Selects the trash from an overview.
    pub fn new(overview: &Overview, reading: &Reading) -> Self {
        let trashed = trash_in(&overview.world, &reading.specs.stack.owner);
        let mut written_sizes = reading.specs.written_sizes();
        let identities = trashed.iter().filter_map(|trashed| trashed.object.identity.as_ref());
        let volumes: BTreeSet<&Name> =
            identities.filter(|identity| identity.kind == Kind::Volume).map(|identity| &identity.name).collect();
        written_sizes.retain(|name, _| volumes.contains(name));
        Self { trashed, unobserved: overview.plan.unobserved.clone(), written_sizes }
    }
}

/// The objects without an owner on a backend.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnownedAnswer {
    /// See [`unowned`].
    pub unowned: Result<Vec<Unowned>, NotListed>,
    /// Why the backend was not observed.
    pub unobserved: Option<String>,
}

impl UnownedAnswer {
    /// Selects the objects without an owner from an overview that includes their content (`engine::with_content`).
    pub fn new(overview: &Overview, reading: &Reading, backend: &Name) -> Self {
        let of_backend = |unobserved: &&Unobserved| unobserved.backend == *backend;
        let unobserved = overview.plan.unobserved.iter().find(of_backend).map(|found| found.message.clone());
        Self { unowned: unowned(overview, reading, backend), unobserved }
    }
}

/// The contents of the store.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoreAnswer {
    /// The records of backends and objects.
    pub records: Arc<Records>,
    /// Steps whose result is not known.
    pub intents: Vec<OpenIntent>,
    /// The last entries of the journal, oldest first.
    pub journal: Vec<JournalEntry>,
}

/// The state of the daemon. Times are in RFC 3339.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonView {
    /// The version of the program.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// SPECS as an absolute path; symbolic links are not resolved.
    pub specs: PathBuf,
    /// When the daemon started.
    pub started_at: String,
    /// How long it has run, by the monotonic clock.
    pub uptime_seconds: u64,
    /// The revision that was last applied completely.
    pub revision_applied: Option<String>,
    /// The revision that was last read.
    pub revision_attempted: Option<String>,
    /// The last pass.
    pub last_pass: Option<PassView>,
    /// The pass that runs now.
    pub running: Option<RunningView>,
    /// When the next pass begins at the latest.
    pub next_pass_at: Option<String>,
    /// Whether every backend has been observed at least once.
    pub ready: bool,
    /// The URL of `--listen`.
    pub listening: Option<String>,
    /// The problems of the manifests.
    pub problems: Vec<ProblemView>,
    /// Objects whose last step failed.
    pub retries: Vec<Retry>,
    /// Backends whose circuit breaker is open.
    pub open_breakers: Vec<BreakerView>,
    /// Backends that passes do not wait for.
    #[serde(default)]
    pub slow_backends: Vec<SlowView>,
    /// Steps that copy data and go on without their pass.
    #[serde(default)]
    pub jobs: Vec<JobView>,
}

/// A step that copies data and goes on without its pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// The object.
    pub object: ObjectId,
    /// What is done and how far it is, for people.
    pub progress: String,
    /// The bytes that it has copied or reserved.
    pub done: u64,
    /// All bytes; zero if that is not known yet.
    pub total: u64,
    /// When it began.
    pub since: String,
}

/// A backend on which a call or steps go on that no pass waits for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowView {
    /// The Backend's name.
    pub backend: Name,
    /// When the call or the steps began.
    pub since: String,
}

/// A finished pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassView {
    /// When it began.
    pub began_at: String,
    /// How long it took.
    pub millis: u64,
    /// The revision of its manifests.
    pub revision: String,
    /// How it ended.
    pub ending: PassEnding,
    /// Steps that changed something.
    pub changed: usize,
    /// Steps that failed.
    pub failed: usize,
    /// Steps that were postponed or wait for others.
    pub postponed: usize,
    /// How many objects are held.
    pub held: usize,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassEnding {
    /// No step failed and every backend answered.
    Done,
    /// It was stopped: the manifests changed, or the daemon is ending.
    Stopped,
    /// A step failed, or a backend did not answer.
    Failed,
    /// The Stack could not be read.
    Invalid,
}

impl fmt::Display for PassEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
        })
    }
}

/// A pass that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningView {
    /// When it began.
    pub since: String,
    /// Whether a client requested it.
    pub by_hand: bool,
}

/// A backend whose circuit breaker is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerView {
    /// The name of the backend.
    pub backend: Name,
    /// Failures in a row.
    pub failures: u32,
    /// The last error.
    pub error: String,
    /// When the next probe is due.
    pub next_attempt_at: String,
}
