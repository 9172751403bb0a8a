//! A driver and a store behind the [gate](super::gate).

use std::sync::Arc;

use async_trait::async_trait;
use kiln::driver::{Driver, PoolMetadata, StepContext, WriterLock};
use kiln::model::{
    Access, Action, Address, Capabilities, DriverError, IntentId, JournalEntry, Ledger, LedgerCommit, LedgerView,
    Listed, Observed, OpenIntent, Outcome, Owner, PoolId, Records, Restores, Scope, Step, Suspension,
};
use kiln::store::{Batch, CrashPoint, MemoryStore, Store, StoreError};

use super::gate::{CallKind, Done, Fault, Gate, deed};
use super::pool::Opened;

/// A driver behind the gate.
pub struct Door {
    pub pool: String,
    pub opened: Opened,
    pub gate: Arc<Gate>,
    /// Held by everything that a process has open.
    pub alive: Arc<()>,
}

struct HeldLock {
    _lock: Box<dyn WriterLock>,
    _alive: Arc<()>,
}

impl WriterLock for HeldLock {}

impl Door {
    fn inner(&self) -> &dyn Driver {
        self.opened.driver.as_ref()
    }

    async fn call<T>(
        &self,
        name: &str,
        kind: CallKind,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        self.gate.around(format!("{}.{name}", self.pool), kind, call).await
    }

    /// Whether a crash can leave half of a step.
    fn can_be_half(&self, action: &Action) -> bool {
        let is_long = match action {
            Action::Create { .. } | Action::Snapshot { .. } => true,
            Action::Restore { .. } => self.inner().capabilities().restore == Restores::InSteps,
            _ => false,
        };
        is_long && self.opened.cut_short.is_some()
    }
}

#[async_trait]
impl Driver for Door {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }
    fn capabilities(&self) -> &Capabilities {
        self.inner().capabilities()
    }
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let (name, kind) = match scope {
            Scope::All { .. } => ("list", CallKind::List),
            Scope::Objects(_) => ("ask", CallKind::Read),
        };
        let name = format!("{}.{name}", self.pool);
        let Some(fault) = self.gate.next(name, kind) else { return std::future::pending().await };
        self.gate.strike_before(fault).await?;
        let mut seen = self.inner().observe(scope).await?;
        match fault {
            Some(Fault::Stale) => {
                if let Some(before) = self.gate.lagging(&self.pool) {
                    seen.objects = before.objects;
                }
            }
            Some(Fault::Cut) => {
                seen.objects.truncate(seen.objects.len() / 2);
                seen.listed = Listed::NONE;
                seen.gaps.push("the listing ended early".to_owned());
            }
            _ => {}
        }
        Ok(seen)
    }
    fn access(&self, object: &Address) -> Access {
        self.inner().access(object)
    }
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        let deed = deed(&step.action);
        let kind = CallKind::Step(deed, self.can_be_half(&step.action));
        let name = format!("{}.{deed} {}", self.pool, step.identity.name);
        let Some(fault) = self.gate.next(name, kind) else { return std::future::pending().await };
        if fault == Some(Fault::Lie) {
            return Ok(Outcome::Changed);
        }
        self.gate.strike_before(fault).await?;
        if self.gate.lags() {
            let owner = step.identity.owner.clone();
            let seen = self.inner().observe(&Scope::All { owner }).await?;
            self.gate.note_lagging(&self.pool, seen);
        }
        let half = matches!(fault, Some(Fault::CrashHalf | Fault::Half));
        if let (true, Some(cut_short)) = (half, &self.opened.cut_short) {
            cut_short();
        }
        let result = self.inner().execute(step, context).await;
        self.gate.note(Done { pool: self.pool.clone(), step: step.clone(), result: result.clone(), half });
        self.gate.strike_after(fault, result).await
    }
}

#[async_trait]
impl PoolMetadata for Door {
    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        self.call("init", CallKind::Metadata, self.inner().metadata().init_pool()).await
    }
    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        let lock = async {
            let lock = self.inner().metadata().lock(owner).await?;
            Ok(Box::new(HeldLock { _lock: lock, _alive: Arc::clone(&self.alive) }) as Box<dyn WriterLock>)
        };
        self.call("lock", CallKind::Lock, lock).await
    }
    async fn announce(&self, owner: &Owner) {
        self.inner().metadata().announce(owner).await;
    }
    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        self.call("read-ledger", CallKind::Read, self.inner().metadata().ledger(owner)).await
    }
    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError> {
        self.call("change-ledger", CallKind::Metadata, self.inner().metadata().change_ledger(commit)).await
    }
    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        self.call("write-ledger", CallKind::Metadata, self.inner().metadata().write_ledger(ledger)).await
    }
    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        self.call("remove-ledger", CallKind::Metadata, self.inner().metadata().remove_ledger(owner)).await
    }
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        self.call("suspensions", CallKind::Read, self.inner().metadata().suspensions(owner)).await
    }
    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        let write = self.inner().metadata().write_suspension(suspension);
        self.call("write-suspension", CallKind::Metadata, write).await
    }
}

/// A store behind the gate.
pub struct StoreDoor {
    pub store: Arc<MemoryStore>,
    pub gate: Arc<Gate>,
}

impl Store for StoreDoor {
    fn waits_for_disk(&self) -> bool {
        self.store.waits_for_disk()
    }
    fn records(&self) -> Result<Arc<Records>, StoreError> {
        self.store.records()
    }
    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.store.intents()
    }
    fn next_intent(&self) -> IntentId {
        self.store.next_intent()
    }
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let next = self.store.commits() + 1;
        match self.gate.next("commit".to_owned(), CallKind::Commit) {
            Some(Some(Fault::CrashBefore)) => {
                self.store.crash_at(next, CrashPoint::Before);
                self.gate.die();
            }
            Some(Some(Fault::CrashAfter)) => {
                self.store.crash_at(next, CrashPoint::After);
                self.gate.die();
            }
            // The process died, and this thread did not hear of it yet.
            None => self.store.fail_at(next),
            Some(_) => {}
        }
        self.store.commit(batch)
    }
    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.store.journal(limit)
    }
}
