//! The driver around the pool directory: blocking work off the async threads, locks, and steps that exclude each other.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::claims::StepClaims;
use super::pool::{self, Closed, LocalPool};
use super::settings::LocalSettings;
use super::{ability, content, fail, ledger, lock, marks, object, observe, steps, suspended};
use crate::driver::contract::{Driver, PoolMetadata, StepContext, WriterLock};
use crate::model::{
    Access, Address, BackendSpec, Capabilities, DriverError, ErrorKind, Ledger, LedgerCommit, LedgerView, Observed,
    Outcome, Owner, PoolId, Reservation, Scope, Step, Suspension,
};

/// The `local` driver. Cheap to clone.
#[derive(Clone)]
pub struct Local(pub(super) Arc<LocalState>);

pub(super) struct LocalState {
    path: PathBuf,
    create: bool,
    capabilities: Capabilities,
    /// What running steps work on. A caller may go away and come back while its blocking work still runs.
    claims: StepClaims,
    /// The writer locks taken through this driver. A running step keeps its owner's lock, and so does a ledger being written.
    locks: Mutex<Vec<(Owner, Weak<lock::HeldLock>)>>,
    /// The records of suspensions that have been read.
    recorded: Mutex<suspended::Recorded>,
    /// Held while a ledger is replaced or removed: an abandoned write may still be running.
    ledgers: Mutex<()>,
}

impl Local {
    /// Opens a pool, which need not exist. Finds out by trial what its file system can do, and leaves no files behind.
    pub fn connect(path: &Path, create: bool) -> Self {
        Self(Arc::new(LocalState {
            path: path.to_owned(),
            create,
            capabilities: ability::known_capabilities(path),
            claims: StepClaims::default(),
            locks: Mutex::default(),
            recorded: Mutex::default(),
            ledgers: Mutex::default(),
        }))
    }
}

/// Opens the pool that a Backend declares. `None` if its settings are not those of this driver.
pub(in crate::driver) fn open(backend: &BackendSpec) -> Option<Arc<dyn Driver>> {
    let LocalSettings { path, create } = LocalSettings::from_values(&mut backend.config.settings.clone())?;
    Some(Arc::new(Local::connect(&path, create)))
}

/// Runs blocking work on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await.unwrap_or_else(|died| {
        Err(DriverError::unknown(ErrorKind::Permanent, format!("the local driver failed inside: {died}")))
    })
}

/// Tells running work, on drop, that its caller no longer waits for it.
struct AbandonOnDrop(Arc<AtomicBool>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl LocalState {
    fn pool(&self) -> Result<LocalPool, DriverError> {
        LocalPool::open(&self.path).map_err(|closed| self.why(closed))
    }

    fn why(&self, closed: Closed) -> DriverError {
        match closed {
            Closed::Missing => observe::missing(&self.path),
            Closed::Error(error) => error,
        }
    }

    pub(super) fn init_pool(&self) -> Result<PoolId, DriverError> {
        match LocalPool::open(&self.path) {
            Ok(pool) => pool.mark_made(),
            Err(Closed::Error(error)) => Err(error),
            Err(Closed::Missing) if !self.create => Err(observe::missing(&self.path)),
            Err(Closed::Missing) => {
                let parent = pool::parent_of(&self.path);
                let doing = format!("making {} (only the last directory of the path is made)", self.path.display());
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = fs::open(parent, flags, Mode::empty());
                let name = self.path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL);
                let made = opened.as_ref().map_err(|errno| *errno).and_then(|dir| pool::mkdir(dir, name?));
                match made {
                    // Another process was faster.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(Errno::NOENT) => {
                        return Err(DriverError {
                            kind: ErrorKind::Unreachable,
                            ..fail::before(format!("{doing}: {} is not there", parent.display()), Errno::NOENT)
                        });
                    }
                    Err(errno) => return Err(fail::before(doing, errno)),
                }
                opened
                    .and_then(|parent| pool::sync(parent.as_fd()))
                    .map_err(|e| fail::after(format!("making {} durable", self.path.display()), e))?;
                self.pool()?.mark_made()
            }
        }
    }

    /// The writer lock of an owner, if it was taken through this driver. A step keeps it until it has ended.
    fn lock_of(&self, owner: &Owner) -> Option<Arc<lock::HeldLock>> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.iter().rev().filter(|(of, _)| of == owner).find_map(|(_, lock)| lock.upgrade())
    }

    /// Opens the pool and checks that it has an identity, and that it is still the pool on which the owner's lock was taken.
    fn pool_for(&self, owner: &Owner) -> Result<LocalPool, DriverError> {
        let pool = LocalPool::reach(&self.path).map_err(|closed| self.why(closed))?;
        match self.lock_of(owner) {
            Some(lock) => {
                lock.check(&pool)?;
                lock.note();
            }
            None => drop(lock::identity(&pool)?),
        }
        Ok(pool)
    }

    pub(super) fn execute(&self, step: &Step, work: &content::CopyWork) -> Result<Outcome, DriverError> {
        let _claimed = self.claims.take(step);
        // An abandoned step is not begun: its caller may have left while it waited for its turn.
        work.check()?;
        self.capabilities.check(step)?;
        let pool = self.pool_for(&step.identity.owner)?;
        steps::Task { pool: &pool, step, work }.run()
    }

    /// Changes a ledger, one change at a time. Work that was abandoned before its turn is not begun. Work that has begun keeps the
    /// owner's lock to its end, so that no other writer comes in between.
    pub(super) async fn with_ledgers(
        self: Arc<Self>,
        owner: Owner,
        work: impl FnOnce(&LocalPool) -> Result<(), DriverError> + Send + 'static,
    ) -> Result<(), DriverError> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = AbandonOnDrop(abandoned.clone());
        let lock = self.lock_of(&owner);
        blocking(move || {
            let alone = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
            content::check(&abandoned)?;
            let done = self.pool_for(&owner).and_then(|pool| work(&pool));
            drop((alone, lock));
            done
        })
        .await
    }
}

#[async_trait]
impl Driver for Local {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }

    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let (inner, scope) = (self.0.clone(), scope.clone());
        blocking(move || {
            let seen = observe::observe(&inner.path, inner.create, &scope)?;
            let hides = inner.capabilities.reservation == Reservation::Hidden;
            Ok(if hides { seen.without_provisioning() } else { seen })
        })
        .await
    }

    fn access(&self, object: &Address) -> Access {
        let name = object.native.as_str();
        let path = self.0.path.join(name);
        // Under Kiln's own names there are only directories. An adopted file has kept its place and name, and the file system says whether
        // this is one.
        if object.native.is_reserved() {
            return Access::File(path.join(object::image_name(name)));
        }
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Access::File(path),
            _ => Access::File(path.join(object::image_name(name))),
        }
    }

    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        let (inner, step) = (self.0.clone(), step.clone());
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = AbandonOnDrop(abandoned.clone());
        let work = content::CopyWork { now: context.now, progress: context.progress.clone(), abandoned };
        // Taken before the work is queued, so that the lock is kept even if the caller leaves before the work begins.
        let lock = inner.lock_of(&step.identity.owner);
        blocking(move || {
            let outcome = inner.execute(&step, &work);
            drop(lock);
            outcome
        })
        .await
    }
}

#[async_trait]
impl PoolMetadata for Local {
    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        let inner = self.0.clone();
        blocking(move || inner.init_pool()).await
    }

    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        let (inner, owner) = (self.0.clone(), owner.clone());
        blocking(move || {
            let pool = inner.pool()?;
            let held = lock::take(&pool, &owner)?;
            marks::update(&pool, &owner, || ledger::read_of(&pool, &owner));
            suspended::clean(&pool);
            let mut locks = inner.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|(_, lock)| lock.strong_count() > 0);
            locks.push((owner, Arc::downgrade(&held)));
            Ok(Box::new(lock::LocalLock(held)) as Box<dyn WriterLock>)
        })
        .await
    }

    async fn announce(&self, owner: &Owner) {
        let lock = self.0.lock_of(owner);
        let noting = blocking(move || {
            lock.iter().for_each(|lock| lock.note());
            Ok(())
        });
        // It is only for messages.
        let _ = noting.await;
    }

    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        let (inner, owner) = (self.0.clone(), owner.clone());
        blocking(move || {
            let pool = inner.pool()?;
            Ok(if ledger::all_owners(&pool)?.contains(&owner) { ledger::read_of(&pool, &owner) } else { None })
        })
        .await
    }

    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError> {
        let commit = commit.clone();
        self.0.clone().with_ledgers(commit.owner.clone(), move |pool| ledger::change(pool, &commit)).await
    }

    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        let ledger = ledger.clone();
        self.0.clone().with_ledgers(ledger.owner.clone(), move |pool| ledger::write(pool, &ledger)).await
    }

    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        let owner = owner.clone();
        self.0.clone().with_ledgers(owner.clone(), move |pool| ledger::remove(pool, &owner)).await
    }

    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        let (inner, owner) = (self.0.clone(), owner.clone());
        blocking(move || {
            let pool = match LocalPool::reach(&inner.path) {
                Ok(pool) => pool,
                Err(Closed::Missing) if inner.create => return Ok(Vec::new()),
                Err(closed) => return Err(inner.why(closed)),
            };
            let mut recorded = inner.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            suspended::read(&pool, &owner, &mut recorded)
        })
        .await
    }

    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        let (inner, suspension) = (self.0.clone(), suspension.clone());
        blocking(move || suspended::write(&inner.pool()?, &suspension)).await
    }
}
