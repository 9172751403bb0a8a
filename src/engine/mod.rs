//! Making it so: observe, plan, execute, look again, report.
//!
//! [`reconcile_once`] is the whole story of a pass; [`overview`] is the same up to the plan, and changes nothing. What a person decides by
//! hand (the trash, `forget`, `adopt`) is in `acts`, and makes its steps in the same way; what a person says about
//! steps to come is in `approve` and `suspend`.

mod approve;
mod batch_writer;
mod clock;
mod effect;
#[cfg(test)]
mod effort;
mod execute;
mod foreign;
mod forget;
mod image;
mod ledger;
mod observe;
mod operation;
mod operations;
mod pass;
mod reconcile;
mod stackless;
mod suspend;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use approve::approve;
pub use clock::SystemClock;
pub use foreign::with_content;
pub use forget::{forget_backend, forget_object};
pub use image::{ImageExport, image_export};
pub use operation::{Operation, OperationResult, operate};
pub use operations::{
    Executed, OperationError, Purge, Trashed, adopt_owner, is_kept_by_reading, trash_in, trash_purge, trash_purge_list,
    trash_restore,
};
pub use reconcile::{JOURNAL, overview, overview_while, reconcile_once};
pub use suspend::{Written, resume, suspend, writers};

use crate::driver::Driver;
use crate::model::{BackendSpec, DriverError, Name, ObjectId, Outcome, Reading, Step, Suspension};
use crate::plan::{Plan, World};
use crate::store::Store;

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
    /// What is declared, and how far it can be relied on.
    pub reading: Arc<Reading>,
    /// What is remembered; none when only looking while the store cannot be opened.
    pub store: Option<Arc<dyn Store>>,
    /// Where drivers come from.
    pub connect: Arc<dyn Connect>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Steps that changed something.
    pub changed: usize,
    /// Steps that found it already so.
    pub unchanged: usize,
    /// Steps that failed, with why.
    pub failed: Vec<(Step, DriverError)>,
    /// Steps that were not begun: what they depend on was not done, or the run was stopped.
    pub skipped: usize,
    /// Those of them that depend on what was not done: held, in the plan as run.
    pub waiting: Vec<Step>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// Breaches that the lint found in the plan: a bug in the planner, and nothing was run.
    pub breaches: Vec<String>,
    /// Why nothing was run, one sentence each: the plan is not the saved one that was to be applied, or a digest that is approved is not
    /// what waits.
    pub refused: Vec<String>,
    /// Objects that were asked for by name, and are neither declared nor anything that the plan is about: nothing was run.
    pub unknown: Vec<ObjectId>,
    /// Steps, and things held, that were left out because others were asked for by name.
    pub left_out: (usize, usize),
    /// The plan as run, with everything held (what the run itself found to be held included); where nothing was run, as it would be.
    /// Where objects were asked for by name, the part that is about them.
    pub plan: Option<Plan>,
    /// Steps that were not made because their object was suspended while the pass ran.
    pub suspended: Vec<(Step, Suspension)>,
    /// What was suspended when it began.
    #[serde(skip)]
    pub suspensions: Vec<Suspension>,
    /// Steps of it that were postponed: not begun, and planned again by the next pass.
    pub postponed: usize,
    /// What every declared backend showed before the first step. (Nobody outside of this process asks for it.)
    #[serde(skip)]
    pub world: World,
    /// Those of them that this owner may use: which are what they were, and its own.
    #[serde(skip)]
    pub usable: BTreeSet<Name>,
}

/// How a pass is to be made.
#[derive(Clone, Default)]
pub struct Options {
    /// Digests that a person approves now.
    pub approve: Vec<String>,
    /// The person who runs it, for the journal.
    pub by: Option<String>,
    /// Nobody is there to be asked, nor looks at the plan before it runs: see [`Irreversible::HoldRestores`](crate::plan::Irreversible).
    pub unattended: bool,
    /// A plan that was saved: this and nothing else is to be run, or the run is refused.
    pub saved: Option<Arc<Plan>>,
    /// Only these objects and what they need, unless there are none here: then all.
    pub only: BTreeSet<ObjectId>,
    /// Objects whose last steps failed: neither theirs nor what waits for them is begun in this pass.
    pub postponed: BTreeSet<ObjectId>,
    /// A person named each object: what is suspended is no obstacle.
    pub by_name: bool,
    /// Cancelled by the first Ctrl-C: running steps are finished, no other is begun.
    pub stop: CancellationToken,
}
