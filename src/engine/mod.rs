//! Making it so: observe, plan, execute, look again, report.

mod clock;
mod declared;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::driver::Driver;
use crate::model::{BackendSpec, DriverError, JournalEntry, Kind, Name, Object, Outcome, Owner, Records, Specs, Step};
use crate::plan::{Plan, World};
use crate::store::{Store, StoreError};

pub use clock::SystemClock;
pub use status::{Condition, Metadata, ObjectStatus, Status, backend_status, rfc3339, status};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn now(&self) -> u64;
}

/// Where drivers come from: [`crate::driver::connect`], or a test's own.
pub trait Connect: Send + Sync {
    /// Opens the driver of a Backend.
    ///
    /// # Errors
    /// See [`crate::driver::connect`].
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError>;
}

/// What every pass needs.
#[derive(Clone)]
pub struct Setup {
    /// What is declared.
    pub specs: Arc<Specs>,
    /// What is remembered; none when only looking while the store cannot be opened.
    pub store: Option<Arc<dyn Store>>,
    /// Where drivers come from.
    pub connect: Arc<dyn Connect>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// A look at everything, with the plan that follows from it. Nothing was changed.
pub struct Survey {
    /// When, in seconds since 1970.
    pub now: u64,
    /// What every declared backend showed.
    pub world: World,
    /// What the store remembers.
    pub records: Records,
    /// Of the journal, the last lines.
    pub journal: Vec<JournalEntry>,
    /// What apply would do.
    pub plan: Plan,
}

/// What a pass tells while it runs.
pub enum Event<'a> {
    /// Something a person should know, in one sentence.
    Note(String),
    /// The plan that is about to run (also when it is empty).
    Planned(&'a Plan),
    /// A step begins; the index is that in the plan.
    Started(usize, &'a Step),
    /// Bytes done, of bytes.
    Progress(usize, u64, u64),
    /// A step failed in a way that may pass; it is tried again after so many milliseconds.
    Retrying(usize, &'a Step, &'a DriverError, u64),
    /// A step ended.
    Finished(usize, &'a Step, &'a Result<Outcome, DriverError>),
    /// A step was not begun because one that it depends on was not done, or because the run is being stopped.
    Skipped(usize, &'a Step, &'a str),
}

/// Who listens to a pass, and answers for the person.
#[async_trait]
pub trait Reporter: Send + Sync {
    /// Called in order, from one thread at a time.
    fn event(&self, event: Event<'_>);
    /// Whether the irreversible steps of this plan may be made. Without a terminal: whether `--yes` was given.
    async fn confirm(&self, plan: &Plan) -> bool;
}

/// What a pass did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Steps that changed something.
    pub changed: usize,
    /// Steps that found it already so.
    pub unchanged: usize,
    /// Steps that failed, with why.
    pub failed: Vec<(Step, DriverError)>,
    /// Steps that were not begun because what they depend on was not done.
    pub skipped: usize,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// The plan as run, with everything held (what the run itself found to be held included).
    pub plan: Option<Plan>,
}

/// How a pass is to be made.
#[derive(Clone, Default)]
pub struct Options {
    /// Digests that a person approves now.
    pub approve: Vec<String>,
    /// Cancelled by the first Ctrl-C: running steps are finished, no other is begun.
    pub stop: CancellationToken,
}

/// Looks at everything and plans; changes nothing. Never fails: what cannot be seen is in the plan's `unobserved` and `held`.
pub async fn survey(setup: &Setup, approve: &[String]) -> Survey {
    let _ = (setup, approve);
    unreachable!("written next")
}

/// One pass: recover what a crash left, observe, plan, ask, execute, look again, report.
///
/// # Errors
/// Only if the store fails: nothing is done that could not be written down first.
pub async fn reconcile_once(
    setup: &Setup,
    options: &Options,
    reporter: Arc<dyn Reporter>,
) -> Result<Report, StoreError> {
    let _ = (setup, options, reporter);
    unreachable!("written next")
}

/// Why a decision by hand was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The name is not known, or the object is not in the place that the command is about. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A backend could not be observed. Exit code 6.
    #[error("{0}")]
    Unobserved(String),
    /// Something holds it (protection, another writer). Exit code 4.
    #[error("{0}")]
    Held(String),
    /// A step failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The store cannot be written. Exit code 7.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An object in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Where.
    pub backend: Name,
    /// What.
    pub object: Object,
    /// When it may be purged, in seconds since 1970; `None`: not known.
    pub expires: Option<u64>,
}

/// What of the trash is to be purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Everything that is past its time.
    Expired,
    /// This object, expired or not; and its uid where several bear the name.
    Named(Kind, Name),
}

/// Lists this owner's trash on every backend of a survey, by kind and name.
pub fn trash_list(survey: &Survey, owner: &Owner) -> Vec<Trashed> {
    let _ = (survey, owner);
    unreachable!("written next")
}

/// Brings an object back from the trash. What is not declared is tagged as retained, until it is. A volume brings back the snapshots
/// that went with it. Returns a sentence for each object.
///
/// # Errors
/// See [`ActError`].
pub async fn trash_restore(setup: &Setup, kind: Kind, name: &Name) -> Result<Vec<String>, ActError> {
    let _ = (setup, kind, name);
    unreachable!("written next")
}

/// What [`trash_purge`] would destroy.
///
/// # Errors
/// See [`ActError`].
pub async fn trash_purge_list(setup: &Setup, what: &Purge) -> Result<Vec<Trashed>, ActError> {
    let _ = (setup, what);
    unreachable!("written next")
}

/// Destroys what [`trash_purge_list`] gave, for good; an object that is no longer as it was then is left. Returns a sentence for each.
///
/// # Errors
/// See [`ActError`].
pub async fn trash_purge(setup: &Setup, objects: &[Trashed]) -> Result<Vec<String>, ActError> {
    let _ = (setup, objects);
    unreachable!("written next")
}

/// Gives up a lost object: its name is free for another, empty one. Returns a sentence.
///
/// # Errors
/// See [`ActError`].
pub async fn forget_object(setup: &Setup, kind: Kind, name: &Name) -> Result<String, ActError> {
    let _ = (setup, kind, name);
    unreachable!("written next")
}

/// Accepts the pool under a declared Backend as it is seen now; or drops what is remembered of one that is no longer declared. Returns a
/// sentence.
///
/// # Errors
/// See [`ActError`].
pub async fn forget_backend(setup: &Setup, name: &Name) -> Result<String, ActError> {
    let _ = (setup, name);
    unreachable!("written next")
}

/// Gives all objects of `from` on the declared backends to this Stack, under their names and uids. Returns a sentence for each.
///
/// # Errors
/// See [`ActError`].
pub async fn adopt_owner(setup: &Setup, backend: &Name, from: &Owner) -> Result<Vec<String>, ActError> {
    let _ = (setup, backend, from);
    unreachable!("written next")
}
