//! Drivers: what Kiln asks of a backend.
//!
//! A driver offers its capabilities, a look ([`Driver::observe`]), a way to open an object ([`Driver::access`]) and one method for
//! all steps ([`Driver::execute`]); it keeps the ledger and the writer lock of its pool. For every step it is
//!
//! - **repeatable**: done twice, it leaves the world as once, and the second answer is `Unchanged`. Removing what is not there
//!   succeeds. Creating what is there with the same identity and size succeeds; with another it is a Conflict;
//! - **honest**: an error says whether the effect happened, and `Unknown` where nobody can tell;
//! - **exact**: a clone or restore into a larger size is grown; a thing half made is never under its final name;
//! - **only ours**: what the step expects is checked again just before the effect, otherwise Conflict, and nothing touched;
//! - **polite**: an object in use is Busy, naming who, and is never forced.
//!
//! One suite, `tests/conformance`, holds every driver to this.

pub mod image;
mod local;
mod newfile;
mod rbd;
mod registry;
pub mod settings;
pub mod sim;
mod tgt;
mod tool;

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{
    Access, Capabilities, DriverError, Ledger, NativeName, Observed, Outcome, Owner, PoolId, Scope, Step, Suspension,
};

pub(crate) use local::lease::has_writer;
pub use local::{Local, LocalSettings};
pub use newfile::NewFile;
pub use registry::connect;

/// What a step is given besides itself.
#[derive(Clone)]
pub struct StepContext {
    /// The host's clock, in seconds since 1970: from it the trash expiry is counted.
    pub now: u64,
    /// Told how much of a copy is done; bytes of bytes. Called from any thread, often; must be cheap.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
}

impl StepContext {
    /// A context that shows no progress.
    pub fn at(now: u64) -> Self {
        Self { now, progress: Arc::new(|_, _| ()) }
    }
}

/// The writer lock of one owner on one pool. Dropping it lets it go, once the steps that run under it are done.
pub trait WriterLock: Send + Sync {}

/// A backend. See the module for what is promised.
#[async_trait]
pub trait Driver: Send + Sync {
    /// What it can do on this pool.
    fn capabilities(&self) -> &Capabilities;

    /// Looks, in as few calls as the backend allows. Changes nothing.
    ///
    /// A pool that is not there yet but may be made (`create: true`) is an empty one with no [`Observed::pool`].
    ///
    /// # Errors
    /// `Unreachable` if nothing at all can be seen or written. What can be seen only in part is in [`Observed::gaps`].
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError>;

    /// How the content of a live object is opened. Pure.
    fn access(&self, object: &NativeName) -> Access;

    /// Makes one step. If the writer lock of its owner was taken by way of this driver, it is looked at just before.
    ///
    /// # Errors
    /// See [`DriverError`]: how to act, and whether the effect happened. `OtherWriter` if the lock was taken over, `Unreachable` if that
    /// cannot be seen.
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError>;

    /// Marks the pool as Kiln's, once: makes it where it may be made, and gives it its identity. A pool that has one keeps it.
    /// Only called on what was observed to be fresh.
    ///
    /// # Errors
    /// `Unreachable`, `Denied` or `Full`.
    async fn init_pool(&self) -> Result<PoolId, DriverError>;

    /// Takes the writer lock of `owner`. The pool must have its mark.
    ///
    /// # Errors
    /// `OtherWriter`, naming the process, if someone living holds it; `Unreachable`.
    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError>;

    /// Replaces the ledger of its owner, durably and at once; the one before it is kept as the second copy. The caller holds the
    /// writer lock.
    ///
    /// # Errors
    /// As `execute`.
    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError>;

    /// Removes the ledger of an owner whose objects have all been given to another (`kiln adopt --from-owner`). The caller holds
    /// that owner's writer lock.
    ///
    /// # Errors
    /// As `execute`.
    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError>;

    /// Returns every record of the owner's suspensions that was written before the call, ended ones included; none on a pool without
    /// the mark. Needs no lock. The engine calls it before every step, so it must cost little.
    ///
    /// # Errors
    /// `Unreachable` if there is a record that cannot be read: it may suspend anything.
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError>;

    /// Records a suspension, or its end, beside the ledger: durably, in one step, and **without** the writer lock. An ended one takes
    /// the place of the record of its id that is in force, never the reverse. The suspension has an id, the pool its mark.
    ///
    /// Of ended ones at least the newest [`Suspension::MOST`] are kept.
    ///
    /// # Errors
    /// As `execute`; `Permanent` if [`Suspension::MOST`] are in force.
    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError>;
}
