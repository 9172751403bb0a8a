//! The `local` driver: a directory with a directory per object. Nothing but a file system is needed.
//!
//! ```text
//! POOL/kiln.OWNER.NAME.UID/kiln.OWNER.NAME.UID.img      the data: its length is the size
//! POOL/kiln.OWNER.NAME.UID/tags.json                    only if there is more to say than the name does
//! POOL/kiln-tmp.OWNER.NAME.UID/                         being made, or being removed
//! POOL/.trash/kiln.OWNER.NAME.UID/                      can be brought back
//! POOL/.kiln-pool/id                                    the pool's identity
//! POOL/.kiln-pool/OWNER.lock                            the writer lock
//! POOL/.kiln-pool/OWNER.ledger, OWNER.ledger.old        the ledger, and the one before
//! POOL/.kiln-pool/suspended/OWNER.ID.suspended         what a person suspended; OWNER.ID.resumed once it was ended
//! POOL/.kiln-pool/reserve                               room for a ledger when there is none left
//! POOL/.kiln-pool/adopted/FILE.json                     mark of an adopted file: which file, and its tags
//! ```
//!
//! An object is made whole under its temporary name, made durable, and published by one rename; it leaves by one rename too. A
//! restore exchanges two directories. So a crash leaves an object where it was or where it was going, and never half of one
//! under a name that means something. What must happen in two steps (a rename, and the data file's name inside) has an order
//! in which the state between is recognised: see [`object`] and [`steps`]. An interrupted rename is observed as such
//! ([`Object::unfinished`](crate::model::Object)), and the planner plans its completion.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::{Driver, StepContext, WriterLock};
use crate::model::{
    Access, Action, BackendSpec, Capabilities, DriverError, ErrorKind, Ledger, NativeName, Observed, Outcome, Owner,
    PoolId, Scope, Step, Suspension, Uid,
};

mod ability;
pub(super) mod content;
pub(super) mod fail;
pub(super) mod lease;
mod ledger;
mod lock;
mod marks;
mod object;
mod observe;
mod pool;
mod removal;
mod restore;
mod settings;
mod steps;
mod suspended;
#[cfg(test)]
mod tests;

use pool::{Closed, Pool};
pub use settings::LocalSettings;
pub(super) use settings::TABLE;

/// Clients use the files as block devices, whose blocks have at most this size; and it is a page.
const GRANULARITY: u64 = 4096;
/// File names have at most 255 bytes on every file system in use; some are left for `.img` and `.json.new`.
const MAX_NAME: usize = 240;

/// The driver. Cheap to clone.
#[derive(Clone)]
pub struct Local(Arc<Inner>);

struct Inner {
    path: PathBuf,
    create: bool,
    capabilities: Capabilities,
    /// What a step is being made on. A caller may go away and come back while blocking work still runs.
    busy: Mutex<HashSet<Claim>>,
    freed: Condvar,
    /// The locks taken through this driver: a running step keeps its owner's, and so does a ledger being written.
    locks: Mutex<Vec<(Owner, Weak<lock::Held>)>>,
    /// The records of suspensions that were read.
    recorded: Mutex<suspended::Recorded>,
    /// Held while a ledger is replaced or removed: one that was given up on may still be running.
    ledgers: Mutex<()>,
}

impl Local {
    /// Opens a pool. Looks what its file system can do; leaves nothing behind, and does not mind if the pool is not there.
    pub fn connect(path: &Path, create: bool) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            create,
            capabilities: ability::capabilities(path),
            busy: Mutex::default(),
            freed: Condvar::new(),
            locks: Mutex::default(),
            recorded: Mutex::default(),
            ledgers: Mutex::default(),
        }))
    }
}

/// Opens the pool of a Backend; `None` if its settings are not those of this driver.
pub(super) fn open(backend: &BackendSpec) -> Option<Arc<dyn Driver>> {
    let LocalSettings { path, create } = LocalSettings::from_values(&mut backend.config.settings.clone())?;
    Some(Arc::new(Local::connect(&path, create)))
}

/// The directory that holds the pool.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|died| {
        Err(DriverError::unknown(ErrorKind::Permanent, format!("the local driver failed inside: {died}")))
    })
}

/// Tells running work that its caller has gone.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a step has to itself: the object, and each native name that it may move something to or from. Two steps on one name can
/// be of two objects: a file that was to be adopted as one, say, and then as another.
#[derive(PartialEq, Eq, Hash)]
enum Claim {
    Object(Uid),
    Name(NativeName),
}

impl Claim {
    fn of(step: &Step) -> Vec<Self> {
        let mut claims = vec![Self::Object(step.identity.uid), Self::Name(step.native.clone())];
        if let Action::Rename { from, .. } = &step.action {
            claims.push(Self::Name(from.clone()));
        }
        claims
    }

    /// Whether a step must wait.
    fn taken(busy: &HashSet<Self>, step: &Step) -> bool {
        Self::of(step).iter().any(|claim| busy.contains(claim))
    }
}

/// Keeps objects and names to one step at a time.
struct Busy<'a>(&'a Inner, Vec<Claim>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for claim in &self.1 {
            busy.remove(claim);
        }
        drop(busy);
        self.0.freed.notify_all();
    }
}

impl Inner {
    fn pool(&self) -> Result<Pool, DriverError> {
        Pool::open(&self.path).map_err(|closed| self.why(closed))
    }

    fn why(&self, closed: Closed) -> DriverError {
        match closed {
            Closed::Missing => observe::missing(&self.path),
            Closed::Error(error) => error,
        }
    }

    fn init_pool(&self) -> Result<PoolId, DriverError> {
        match Pool::open(&self.path) {
            Ok(pool) => pool.mark_made(),
            Err(Closed::Error(error)) => Err(error),
            Err(Closed::Missing) if !self.create => Err(observe::missing(&self.path)),
            Err(Closed::Missing) => {
                let parent = parent_of(&self.path);
                let doing = format!("making {} (only the last directory of the path is made)", self.path.display());
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = fs::open(parent, flags, Mode::empty());
                let name = self.path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL);
                let made = opened.as_ref().map_err(|errno| *errno).and_then(|dir| pool::mkdir(dir, name?));
                match made {
                    // Somebody else was faster.
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

    /// The lock under which a step of this owner runs, kept until the step is done.
    fn lock_of(&self, owner: &Owner) -> Option<Arc<lock::Held>> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.iter().rev().filter(|(of, _)| of == owner).find_map(|(_, lock)| lock.upgrade())
    }

    /// Waits until nobody else works on anything that the step is about. All claims are taken at once: no two steps wait for each
    /// other.
    fn alone(&self, step: &Step) -> Busy<'_> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |busy: &mut HashSet<Claim>| Claim::taken(busy, step);
        let mut busy = self.freed.wait_while(busy, taken).unwrap_or_else(PoisonError::into_inner);
        busy.extend(Claim::of(step));
        Busy(self, Claim::of(step))
    }

    /// The pool, if it is one, and still that for which the owner's lock was taken.
    fn pool_for(&self, owner: &Owner) -> Result<Pool, DriverError> {
        let pool = Pool::reach(&self.path).map_err(|closed| self.why(closed))?;
        match self.lock_of(owner) {
            Some(lock) => lock.check(&pool)?,
            None => drop(lock::identity(&pool)?),
        }
        Ok(pool)
    }

    fn execute(&self, step: &Step, work: &content::Work) -> Result<Outcome, DriverError> {
        let _alone = self.alone(step);
        // The caller may have gone while this waited for its turn: what nobody waits for is not begun.
        work.check()?;
        let pool = self.pool_for(&step.identity.owner)?;
        steps::Task { pool: &pool, step, work }.run()
    }

    /// Changes a ledger, off the async threads, one at a time. Work whose caller has gone before its turn came is not begun; what
    /// has begun keeps the owner's lock to its end, so that no other writer comes in between.
    async fn with_ledgers(
        self: Arc<Self>,
        owner: Owner,
        work: impl FnOnce(&Pool) -> Result<(), DriverError> + Send + 'static,
    ) -> Result<(), DriverError> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = Abandon(abandoned.clone());
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
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let (inner, scope) = (self.0.clone(), scope.clone());
        blocking(move || observe::observe(&inner.path, inner.create, &scope)).await
    }

    fn access(&self, object: &NativeName) -> Access {
        let name = object.as_str();
        let path = self.0.path.join(name);
        // A file that was taken over is where it was; which of both it is, is looked up and not guessed by the name.
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Access::File(path),
            _ => Access::File(path.join(object::image_name(name))),
        }
    }

    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        let (inner, step) = (self.0.clone(), step.clone());
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = Abandon(abandoned.clone());
        let work = content::Work { now: context.now, progress: context.progress.clone(), abandoned };
        // Taken before the work is queued: it is kept even if it begins after its caller has gone.
        let lock = inner.lock_of(&step.identity.owner);
        blocking(move || {
            let outcome = inner.execute(&step, &work);
            drop(lock);
            outcome
        })
        .await
    }

    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        let inner = self.0.clone();
        blocking(move || inner.init_pool()).await
    }

    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        let (inner, owner) = (self.0.clone(), owner.clone());
        blocking(move || {
            let pool = inner.pool()?;
            let held = lock::take(&pool, &owner)?;
            marks::update(&pool, &owner);
            suspended::clean(&pool);
            let mut locks = inner.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|(_, lock)| lock.strong_count() > 0);
            locks.push((owner, Arc::downgrade(&held)));
            Ok(Box::new(lock::LocalLock(held)) as Box<dyn WriterLock>)
        })
        .await
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
            let pool = match Pool::reach(&inner.path) {
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
