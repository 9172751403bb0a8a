//! The metadata of a pool in memory: a driver that is being written starts with it, and replaces it by what its pool keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use kiln::driver::{PoolMetadata, WriterLock};
use kiln::model::{
    DriverError, ErrorKind, Ledger, LedgerCommit, LedgerView, Observed, Owner, PoolId, Scope, Suspension, SuspensionId,
};

type Result<T> = std::result::Result<T, DriverError>;

fn refuse<T>(kind: ErrorKind, message: impl Into<String>) -> Result<T> {
    Err(DriverError::before(kind, message))
}

/// The metadata of a pool. Clones are connections to the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryMetadata(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    id: Option<PoolId>,
    locked: Vec<Owner>,
    ledgers: BTreeMap<Owner, LedgerCopies>,
    /// `None`: the record is damaged.
    suspensions: BTreeMap<(Owner, SuspensionId), Option<Suspension>>,
}

/// Two copies of a ledger. `None`: there is none, or it is damaged.
#[derive(Debug, Default)]
struct LedgerCopies {
    newest: Option<Arc<Ledger>>,
    before: Option<Arc<Ledger>>,
}

impl Kept {
    fn view(&self, owner: &Owner) -> Option<LedgerView> {
        let LedgerCopies { newest, before } = self.ledgers.get(owner)?;
        Some(match (newest, before) {
            (Some(newest), _) => LedgerView::Good(Arc::clone(newest)),
            (None, Some(before)) => LedgerView::Older(Arc::clone(before), "the newest copy is damaged".to_owned()),
            (None, None) => LedgerView::Damaged("both copies are damaged".to_owned()),
        })
    }

    /// Keeps the newest copy as the second one, if it is intact.
    fn put(&mut self, ledger: Ledger) {
        let LedgerCopies { newest, before } = self.ledgers.entry(ledger.owner.clone()).or_default();
        if let Some(earlier) = newest.replace(Arc::new(ledger)) {
            *before = Some(earlier);
        }
    }
}

impl MemoryMetadata {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    /// What an observation says about the pool itself. It has no objects yet.
    pub(crate) fn observed(&self, scope: &Scope) -> Observed {
        let kept = self.kept();
        let (ledger, owners) = match scope {
            Scope::All { owner } => (kept.view(owner), kept.ledgers.keys().cloned().collect()),
            Scope::Objects(_) => (None, BTreeSet::new()),
        };
        Observed { pool: kept.id.clone(), locked: kept.locked.clone(), ledger, owners, ..Observed::nothing_in(scope) }
    }

    /// All of it but the locks.
    pub(crate) fn fingerprint(&self) -> String {
        let Kept { id, locked: _, ledgers, suspensions } = &*self.kept();
        format!("{id:?} {ledgers:?} {suspensions:?}")
    }

    /// Damages the newest copy of a ledger, or all.
    pub(crate) fn damage_ledger(&self, owner: &Owner, all: bool) {
        let kept = &mut *self.kept();
        let LedgerCopies { newest, before } = kept.ledgers.get_mut(owner).unwrap();
        assert!(newest.take().is_some());
        if all {
            *before = None;
        }
    }

    /// Damages every record of an owner's suspensions.
    pub(crate) fn damage_suspensions(&self, owner: &Owner) {
        self.kept().suspensions.iter_mut().filter(|((of, _), _)| of == owner).for_each(|(_, record)| *record = None);
    }
}

struct MemoryLock(MemoryMetadata, Owner);

impl WriterLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.kept().locked.retain(|owner| *owner != self.1);
    }
}

#[async_trait]
impl PoolMetadata for MemoryMetadata {
    async fn init_pool(&self) -> Result<PoolId> {
        static POOLS: AtomicU64 = AtomicU64::new(0);
        let new = || PoolId(format!("{:032x}", POOLS.fetch_add(1, Ordering::Relaxed)));
        Ok(self.kept().id.get_or_insert_with(new).clone())
    }

    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>> {
        let mut kept = self.kept();
        if kept.locked.contains(owner) {
            return refuse(ErrorKind::OtherWriter, format!("process {} writes as {owner}", std::process::id()));
        }
        kept.locked.push(owner.clone());
        Ok(Box::new(MemoryLock(self.clone(), owner.clone())))
    }

    async fn announce(&self, _owner: &Owner) {}

    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>> {
        Ok(self.kept().view(owner))
    }

    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<()> {
        let mut kept = self.kept();
        let Some(LedgerView::Good(now)) = kept.view(&commit.owner).filter(|_| kept.id.as_ref() == Some(&commit.pool))
        else {
            return refuse(ErrorKind::Conflict, "there is no intact ledger to change");
        };
        let mut changed = Ledger::clone(&now);
        if let Err(key) = changed.apply(commit) {
            return refuse(ErrorKind::Permanent, format!("the key {key} is not known"));
        }
        if now.serial == commit.to && changed == *now {
            return Ok(());
        }
        if now.serial != commit.from || commit.to <= commit.from {
            return refuse(ErrorKind::Conflict, "the ledger has another serial");
        }
        kept.put(changed);
        Ok(())
    }

    async fn write_ledger(&self, ledger: &Ledger) -> Result<()> {
        let mut kept = self.kept();
        if kept.view(&ledger.owner).is_some_and(|view| view.ledger().is_some_and(|now| now.serial > ledger.serial)) {
            return refuse(ErrorKind::Conflict, "there is a newer ledger");
        }
        kept.put(ledger.clone());
        Ok(())
    }

    async fn remove_ledger(&self, owner: &Owner) -> Result<()> {
        self.kept().ledgers.remove(owner);
        Ok(())
    }

    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>> {
        let kept = self.kept();
        let records = kept.suspensions.iter().filter(|((of, _), _)| of == owner).map(|(_, record)| record.clone());
        let damaged = || DriverError::before(ErrorKind::Unreachable, "the record of a suspension is damaged");
        records.collect::<Option<Vec<_>>>().ok_or_else(damaged)
    }

    async fn write_suspension(&self, suspension: &Suspension) -> Result<()> {
        let records = &mut self.kept().suspensions;
        let key = (suspension.owner.clone(), suspension.id());
        let has_ended = |record: &Suspension| record.resumed.is_some();
        if !has_ended(suspension) {
            if records.get(&key).is_some_and(|record| record.as_ref().is_some_and(has_ended)) {
                return Ok(());
            }
            let others = records.iter().filter(|(other, _)| other.0 == key.0 && **other != key);
            if others.filter(|(_, record)| !record.as_ref().is_some_and(has_ended)).count() >= Suspension::MOST {
                return refuse(ErrorKind::Permanent, format!("{} suspensions are in force", Suspension::MOST));
            }
        }
        records.insert(key, Some(suspension.clone()));
        Ok(())
    }
}
