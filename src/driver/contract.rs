//! The interface that every driver implements.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{
    Access, Address, Capabilities, DriverError, Ledger, LedgerCommit, LedgerView, Observed, Outcome, Owner, PoolId,
    Scope, Step, Suspension,
};

/// What a driver is given with a step.
#[derive(Clone)]
pub struct StepContext {
    /// The host's clock, in seconds since 1970. The expiry of trashed objects is computed from it.
    pub now: u64,
    /// Reports the progress of a copy: the bytes of data that are copied, and those of all data; holes do not count. Or that of a
    /// reservation: the bytes that are reserved, and all. Called often and from any
    /// thread; must be cheap.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
}

impl StepContext {
    /// A context that reports no progress.
    pub fn at(now: u64) -> Self {
        Self { now, progress: Arc::new(|_, _| ()) }
    }
}

/// The writer lock of one owner on one pool. Dropping it releases the lock when the steps that run under it have ended.
pub trait WriterLock: Send + Sync {}

/// What a pool keeps beside its objects: its identity, the writer locks, the ledgers and the suspensions. They survive the loss of the
/// store and of the host. It needs no more of a backend than locks, and small maps that are changed in one step: see
/// [`LedgerCommit`](crate::model::LedgerCommit) for the keys of a ledger.
#[async_trait]
pub trait PoolMetadata: Send + Sync {
    /// Makes the pool one of Kiln's: creates it where it may be created, and gives it its identity. A pool that has an identity keeps
    /// it. Called on a pool that was observed without one; several processes may call it at once, and all get the same identity.
    ///
    /// # Errors
    /// `Unreachable`, `Denied` or `Full`.
    async fn init_pool(&self) -> Result<PoolId, DriverError>;

    /// Takes the writer lock of `owner`. The pool must have its identity.
    ///
    /// # Errors
    /// `OtherWriter`, naming the process, if a living process holds it; `Unreachable`.
    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError>;

    /// Names this process to others as the holder of the writer lock of `owner`, where they see that. Taking the lock leaves the pool as it
    /// was: a person may still answer that nothing is to be changed. Every step and every change of a ledger names the process, too.
    async fn announce(&self, owner: &Owner);

    /// Reads the ledger of an owner. `None` if there is none, or the pool does not have its identity yet.
    ///
    /// # Errors
    /// `Unreachable` if it cannot be known whether there is one.
    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError>;

    /// Changes the owner's ledger, durably and all together or not at all, and keeps the previous one as the second copy. Making the
    /// same changes again succeeds, if the ledger has their serial and their content. A damaged newest copy is never kept as the second
    /// one. The caller holds the writer lock.
    ///
    /// # Errors
    /// As [`Driver::execute`]; `Conflict` if the pool does not have the ledger of the serial that the changes start from, intact, or
    /// their own serial is not a later one.
    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError>;

    /// Replaces the owner's ledger durably and in one step, whether or not the pool has one that is intact, and keeps the previous one
    /// as the second copy. The caller holds the writer lock.
    ///
    /// # Errors
    /// As [`Driver::execute`]; `Conflict` if the pool has a newer one.
    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError>;

    /// Removes the ledger of an owner whose objects have all been transferred to another owner (`kiln adopt --from-owner`). The caller
    /// holds the writer lock of the former owner.
    ///
    /// # Errors
    /// As [`Driver::execute`].
    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError>;

    /// Returns every record of the owner's suspensions that was written before the call, ended ones included, and none on a pool
    /// without an identity. Needs no lock. The engine calls it before every step, so it must be cheap.
    ///
    /// # Errors
    /// `Unreachable` if a record cannot be read: it may suspend anything.
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError>;

    /// Records a suspension, or its end, beside the ledger: durably, in one step, and **without** the writer lock. An ended record
    /// replaces the record in force of the same id, never the reverse. The suspension has an id, and the pool has an identity.
    ///
    /// At least the newest [`Suspension::MOST`] ended records are kept.
    ///
    /// # Errors
    /// As [`Driver::execute`]; `Permanent` if there are [`Suspension::MOST`] others that have not been resumed. (The driver does not
    /// compare [`Suspension::until`] with a clock.)
    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError>;
}

/// A backend. The [module](crate::driver) lists the guarantees.
#[async_trait]
pub trait Driver: Send + Sync {
    /// What the pool keeps beside its objects.
    fn metadata(&self) -> &dyn PoolMetadata;

    /// What the backend can do on this pool.
    fn capabilities(&self) -> &Capabilities;

    /// Observes the pool, in as few calls as the backend allows. Changes nothing. The identity of the pool and the locked owners are in every
    /// observation. [`Observed::others`] is filled by the caller.
    ///
    /// A backend that can neither list its objects nor say that a name does not exist (`Absence::ByLedger`) reports in both scopes the
    /// objects that its driver keeps a record of on the pool, beside the ledgers: those that it has made, as they are after the last call whose
    /// success it knows. It makes a record when it knows that the object was made, and removes it only when it knows that the object was
    /// destroyed. `listed` and `queried` say nothing: Kiln takes from the ledger which other names are absent. A record that cannot be read is
    /// a gap.
    ///
    /// A pool that does not exist and may be made (`create: true`) is observed as an empty pool without [`Observed::pool`].
    ///
    /// # Errors
    /// `Unreachable` if nothing can be observed or written. What cannot be observed in part is listed in [`Observed::gaps`].
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError>;

    /// How clients open the content of a live object. Pure.
    fn access(&self, object: &Address) -> Access;

    /// Executes one step. If the owner's writer lock was taken through this driver, the driver checks just before the effect that the
    /// lock is still held.
    ///
    /// # Errors
    /// [`DriverError`] says how to react and whether the effect happened. `OtherWriter` if another process took over the lock,
    /// `Unreachable` if the lock cannot be checked.
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError>;
}
