//! A backend that is open for the length of a pass: every call has a time limit.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Instrument, Span};

use crate::driver::{Driver, WriterLock};
use crate::model::{
    Absence, Action, Address, BackendSpec, DriverError, ErrorKind, Ledger, LedgerView, Listed, Observed, Owner, PoolId,
    Scope, Suspension,
};

use super::connect::Connect;
use super::span::backend_span;

/// How often an observation that failed with a transient error is tried. Three tries within a second survive a short disturbance, and an
/// unreachable backend is still reported soon.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// How many names a backend is asked for in one call: it must answer within its time limit.
const ASKED_AT_ONCE: usize = 1000;

/// A call that copies or frees data has no time limit while it progresses. It fails after this many times the Backend's timeout without
/// progress.
const STALLED: u32 = 10;

/// An open backend, for the length of a pass.
#[derive(Clone)]
pub(super) struct BackendSession {
    pub spec: BackendSpec,
    pub driver: Arc<dyn Driver>,
    /// The writer lock, if this session has taken it.
    pub lock: Option<Arc<dyn WriterLock>>,
    /// Whether the ledger that was written last may be missing on the pool: its write failed or timed out.
    unsure: Arc<AtomicBool>,
    /// This owner's ledger as the pool certainly has it, intact: the next write changes it. Otherwise the ledger is written as a whole.
    on_pool: Arc<Mutex<Option<Arc<Ledger>>>>,
}

impl BackendSession {
    /// The time limit of each call: a backend that does not answer must not delay the others.
    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(self.spec.timeout.0)
    }

    /// The longest time without progress of a call that executes `action`.
    pub(super) fn limit_of(&self, action: &Action) -> Duration {
        self.limit() * if action.is_long() { STALLED } else { 1 }
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
        match tokio::time::timeout(self.limit(), call).await {
            Ok(result) => result,
            Err(_) => Err(DriverError::timed_out(self.spec.timeout)),
        }
    }

    /// See [`PoolMetadata::init_pool`](crate::driver::PoolMetadata::init_pool).
    pub(super) async fn init_pool(&self) -> Result<PoolId, DriverError> {
        self.within(self.driver.metadata().init_pool()).await
    }

    /// Writes a changed ledger under its next serial number: what changed, if the pool has the one before it.
    pub(super) async fn write_ledger(&self, ledger: &mut Ledger) -> Result<(), DriverError> {
        ledger.serial += 1;
        self.unsure.store(true, Ordering::Relaxed);
        let span = backend_span(&self.spec.meta.name);
        // An observation may have shown another one meanwhile: everything is written then.
        let before = self.on_pool().take().filter(|before| before.serial + 1 == ledger.serial);
        let commit = before.as_ref().and_then(|before| ledger.commit_from(before));
        let after = match (&commit, before) {
            (Some(commit), Some(before)) => {
                self.within(self.driver.metadata().change_ledger(commit)).instrument(span.clone()).await?;
                let mut after = Arc::unwrap_or_clone(before);
                after.apply(commit).is_ok().then_some(after)
            }
            _ => {
                self.within(self.driver.metadata().write_ledger(ledger)).instrument(span.clone()).await?;
                Some(ledger.clone())
            }
        };
        *self.on_pool() = after.map(Arc::new);
        self.unsure.store(false, Ordering::Relaxed);
        let entries = commit.map_or(ledger.complete.len(), |commit| commit.changes.len());
        span.in_scope(|| tracing::debug!(serial = ledger.serial, entries, "ledger written"));
        Ok(())
    }

    /// Whether the pool certainly has a ledger with the same content.
    pub(super) fn has_same_ledger(&self, ledger: &Ledger) -> bool {
        let commit = self.on_pool().as_ref().and_then(|before| ledger.commit_from(before));
        self.has_ledger() && commit.is_some_and(|commit| commit.changes.is_empty())
    }

    fn on_pool(&self) -> MutexGuard<'_, Option<Arc<Ledger>>> {
        self.on_pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`PoolMetadata::ledger`](crate::driver::PoolMetadata::ledger).
    pub(super) async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        self.within(self.driver.metadata().ledger(owner)).await
    }

    /// Whether the pool certainly has the ledger as it is in memory, but for what was settled since. Only such a ledger may be recorded:
    /// a pool whose ledger is older than the recorded one was rolled back.
    pub(super) fn has_ledger(&self) -> bool {
        !self.unsure.load(Ordering::Relaxed)
    }

    /// See [`PoolMetadata::remove_ledger`](crate::driver::PoolMetadata::remove_ledger).
    pub(super) async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        self.within(self.driver.metadata().remove_ledger(owner)).await
    }

    /// See [`PoolMetadata::suspensions`](crate::driver::PoolMetadata::suspensions).
    pub(super) async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        self.within(self.driver.metadata().suspensions(owner)).await
    }

    /// See [`PoolMetadata::write_suspension`](crate::driver::PoolMetadata::write_suspension).
    pub(super) async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        self.within(self.driver.metadata().write_suspension(suspension)).await
    }

    /// Takes the writer lock of any owner.
    pub(super) async fn lock_of(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        self.within(self.driver.metadata().lock(owner)).await
    }

    /// Observes the backend, each call within its time limit. Transient errors are retried. Many objects are observed in several calls.
    pub(super) async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let Scope::Objects(addresses) = scope else { return self.observe_at_once(scope).await };
        let mut parts = addresses.chunks(ASKED_AT_ONCE);
        let mut seen = self.observe_objects(parts.next().unwrap_or_default()).await?;
        for part in parts {
            let answer = self.observe_objects(part).await?;
            if answer.pool != seen.pool {
                return Err(DriverError::before(ErrorKind::Unreachable, "its pool was replaced while it was observed"));
            }
            seen.add(answer);
        }
        Ok(seen)
    }

    /// Observes objects. The answer proves nothing about names that were not asked for.
    async fn observe_objects(&self, asked: &[Address]) -> Result<Observed, DriverError> {
        let mut seen = self.observe_at_once(&Scope::Objects(asked.to_vec())).await?;
        let asked: BTreeSet<&Address> = asked.iter().collect();
        seen.queried.retain(|at| asked.contains(at));
        seen.listed = Listed::NONE;
        Ok(seen)
    }

    async fn observe_at_once(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let mut tried = 1;
        loop {
            let result = self.within(self.driver.observe(scope)).await;
            match result {
                Err(error) if error.kind == ErrorKind::Transient && tried < TRIES => {
                    tracing::debug!(%error, "observing again after a transient error");
                    tokio::time::sleep(PAUSE * tried).await;
                    tried += 1;
                }
                Ok(mut observed) => {
                    if self.driver.capabilities().absence == Absence::ByLedger {
                        // Records show what exists, and nothing else: what does not exist, the ledger shows.
                        (observed.listed, observed.queried) = (Listed::NONE, BTreeSet::new());
                    }
                    if let Scope::All { .. } = scope {
                        *self.on_pool() = match &observed.ledger {
                            Some(LedgerView::Good(ledger)) => Some(Arc::clone(ledger)),
                            _ => None,
                        };
                    }
                    return Ok(observed);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Names this process as the holder of the writer lock, if it has it.
    pub(super) async fn announce(&self, owner: &Owner) {
        if self.lock.is_some() {
            let announced = async {
                self.driver.metadata().announce(owner).await;
                Ok(())
            };
            // It is only for messages.
            let _ = self.within(announced).await;
        }
    }

    /// Takes the writer lock of `owner` for the length of the session.
    pub(super) async fn lock(&mut self, owner: &Owner) -> Result<(), DriverError> {
        self.lock = Some(Arc::from(self.lock_of(owner).await?));
        Ok(())
    }
}

/// Opens the driver of a backend, within the backend's time limit.
pub(super) async fn open(connect: Arc<dyn Connect>, spec: BackendSpec) -> Result<BackendSession, DriverError> {
    if !spec.config.is_implemented() || !spec.via.is_empty() {
        return Err(DriverError::before(ErrorKind::Unsupported, "its driver is not implemented yet"));
    }
    let opening = {
        let spec = spec.clone();
        let span = Span::current();
        tokio::task::spawn_blocking(move || span.in_scope(|| connect.connect(&spec)))
    };
    let opened = match tokio::time::timeout(Duration::from_secs(spec.timeout.0), opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(_)) => Err(DriverError::before(ErrorKind::Permanent, "its driver failed in a panic")),
        Err(_) => Err(DriverError::timed_out(spec.timeout)),
    };
    opened.map(|driver| BackendSession { spec, driver, lock: None, unsure: Arc::default(), on_pool: Arc::default() })
}
