//! Looking at backends: side by side, each within its own time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::driver::{Driver, WriterLock};
use crate::model::{
    BackendSpec, DriverError, ErrorKind, Kind, Ledger, Name, NativeName, Observed, Owner, Place, PoolId, Reading,
    Records, Scope, Suspension,
};
use crate::plan::{Observation, Plan, World, looks};

use super::Connect;

/// Looks that failed in a way that may pass are taken again this often. Three tries within a second get over a hiccup; a backend
/// that is really away is told of soon.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// An open backend, for the length of a pass.
#[derive(Clone)]
pub(super) struct Backend {
    pub spec: BackendSpec,
    pub driver: Arc<dyn Driver>,
    /// Held while writing.
    pub lock: Option<Arc<dyn WriterLock>>,
    /// Whether the last ledger that was written may not be on the pool.
    unsure: Arc<AtomicBool>,
}

impl Backend {
    /// No call may last longer than this: what does not answer must not hold up the rest.
    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(self.spec.timeout.0)
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
        match tokio::time::timeout(self.limit(), call).await {
            Ok(result) => result,
            Err(_) => Err(DriverError::timed_out(self.spec.timeout)),
        }
    }

    /// See [`Driver::init_pool`].
    pub(super) async fn init_pool(&self) -> Result<PoolId, DriverError> {
        self.within(self.driver.init_pool()).await
    }

    /// See [`Driver::write_ledger`].
    pub(super) async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        self.within(self.driver.write_ledger(ledger)).await
    }

    /// Writes a ledger that was changed, under its next number.
    pub(super) async fn write_ledger_again(&self, ledger: &mut Ledger) -> Result<(), DriverError> {
        ledger.serial += 1;
        self.unsure.store(true, Ordering::Relaxed);
        self.write_ledger(ledger).await?;
        self.unsure.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the pool certainly has the ledger as it is in memory, but for what was settled since. Only such a ledger may be recorded:
    /// a pool whose ledger is older than the recorded one was rolled back.
    pub(super) fn has_ledger(&self) -> bool {
        !self.unsure.load(Ordering::Relaxed)
    }

    /// See [`Driver::remove_ledger`].
    pub(super) async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        self.within(self.driver.remove_ledger(owner)).await
    }

    /// See [`Driver::suspensions`].
    pub(super) async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        self.within(self.driver.suspensions(owner)).await
    }

    /// See [`Driver::write_suspension`].
    pub(super) async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        self.within(self.driver.write_suspension(suspension)).await
    }

    /// The writer lock of any owner.
    pub(super) async fn lock_of(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        self.within(self.driver.lock(owner)).await
    }

    /// A look, within the time limit, tried again where that may help.
    pub(super) async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let mut tried = 1;
        loop {
            let result = self.within(self.driver.observe(scope)).await;
            match result {
                Err(error) if error.kind == ErrorKind::Transient && tried < TRIES => {
                    tracing::debug!(backend = %self.spec.meta.name, %error, "looking again");
                    tokio::time::sleep(PAUSE * tried).await;
                    tried += 1;
                }
                result => return result,
            }
        }
    }

    /// Takes the writer lock of `owner` for this pass.
    pub(super) async fn lock(&mut self, owner: &Owner) -> Result<(), DriverError> {
        self.lock = Some(Arc::from(self.lock_of(owner).await?));
        Ok(())
    }
}

/// Whether a look also takes the writer locks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Only to show.
    Look,
    /// To write afterwards: what is seen under the lock stays so, but for strangers.
    Write,
}

/// All backends that could be opened, and a view of every one.
pub(super) struct Observations {
    pub backends: BTreeMap<Name, Backend>,
    pub world: World,
    /// The records of this owner's suspensions on each backend that was seen.
    pub suspensions: BTreeMap<Name, Vec<Suspension>>,
}

/// Opens and observes these backends, all at once.
pub(super) async fn look(
    connect: &Arc<dyn Connect>,
    reading: &Reading,
    records: &Records,
    intent: Intent,
) -> Observations {
    let specs = &reading.specs;
    let owner = &specs.stack.owner;
    let mut observations =
        Observations { backends: BTreeMap::new(), world: World::new(), suspensions: BTreeMap::new() };
    let mut tasks = JoinSet::new();
    for spec in specs.backends.values() {
        if let Some(barred) = reading.not_allowed(Kind::Backend, &spec.meta.name) {
            // Nothing is opened there, not even to look: the planner says why.
            let view = match barred.silent {
                true => Observation::Failed { why: barred.message.clone() },
                false => Observation::Unsupported,
            };
            observations.world.insert(spec.meta.name.clone(), view);
            continue;
        }
        let (connect, spec, owner) = (Arc::clone(connect), spec.clone(), owner.clone());
        let known = records.backends.get(&spec.meta.name).map(|record| record.pool.clone());
        tasks.spawn(async move {
            let name = spec.meta.name.clone();
            let (backend, view) = look_at(connect, spec, &owner, known, intent).await;
            let suspensions = match (&backend, &view) {
                (Some(backend), Observation::Seen { .. } | Observation::LockedBy { .. }) => {
                    backend.suspensions(&owner).await
                }
                _ => Ok(Vec::new()),
            };
            match suspensions {
                Ok(suspensions) => (name, backend, view, suspensions),
                // What cannot be read may suspend everything there.
                Err(error) => (name, backend, Observation::Failed { why: error.message }, Vec::new()),
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((name, backend, view, suspensions)) => {
                observations.suspensions.insert(name.clone(), suspensions);
                observations.backends.extend(backend.map(|backend| (name.clone(), backend)));
                observations.world.insert(name, view);
            }
            // A driver that panics is a backend that did not answer; the planner holds what has no view.
            Err(error) => tracing::error!(%error, "a look ended in a panic"),
        }
    }
    observations
}

/// Opens a backend, to call it outside of a pass.
pub(super) async fn open(connect: Arc<dyn Connect>, spec: BackendSpec) -> Result<Backend, DriverError> {
    if !spec.config.is_built() || !spec.via.is_empty() {
        return Err(DriverError::before(ErrorKind::Unsupported, "its driver is not built yet"));
    }
    let opening = {
        let spec = spec.clone();
        tokio::task::spawn_blocking(move || connect.connect(&spec))
    };
    let opened = match tokio::time::timeout(Duration::from_secs(spec.timeout.0), opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(_)) => Err(DriverError::before(ErrorKind::Permanent, "its driver failed in a panic")),
        Err(_) => Err(DriverError::timed_out(spec.timeout)),
    };
    opened.map(|driver| Backend { spec, driver, lock: None, unsure: Arc::default() })
}

async fn look_at(
    connect: Arc<dyn Connect>,
    spec: BackendSpec,
    owner: &Owner,
    known: Option<PoolId>,
    intent: Intent,
) -> (Option<Backend>, Observation) {
    let unseen = |error: &DriverError| Observation::Failed { why: error.message.clone() };
    let mut backend = match open(connect, spec).await {
        Ok(backend) => backend,
        Err(error) if error.kind == ErrorKind::Unsupported => return (None, Observation::Unsupported),
        Err(error) => return (None, unseen(&error)),
    };
    let mut taken = None;
    if intent == Intent::Write {
        // A first glance, at no object: a pool that is not the one it was is not even locked.
        let glance = match backend.observe(&Scope::Objects(Vec::new())).await {
            Ok(glance) => glance,
            Err(error) => return (Some(backend), unseen(&error)),
        };
        if glance.pool.is_some() && (known.is_none() || known == glance.pool) {
            match backend.lock(owner).await {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::OtherWriter => taken = Some(error.message),
                Err(error) => return (Some(backend), unseen(&error)),
            }
        }
    }
    let view = match backend.observe(&Scope::All).await {
        Ok(observed) => {
            let capabilities = backend.driver.capabilities().clone();
            match taken {
                None => Observation::Seen { capabilities, observed },
                Some(by) => Observation::LockedBy { by, capabilities, observed },
            }
        }
        Err(error) => unseen(&error),
    };
    (Some(backend), view)
}

impl Observations {
    /// Looks closer at what the plan asks about (who has an object open) and puts it into the world. Whether anything was learnt:
    /// then one plans again.
    pub(super) async fn ask(&mut self, plan: &Plan) -> bool {
        let mut learnt = false;
        for (name, natives) in looks(plan, &self.world) {
            let Some(backend) = self.backends.get(&name) else { continue };
            match backend.observe(&Scope::Objects(natives)).await {
                Ok(seen) => {
                    learnt = true;
                    self.put(&name, seen);
                }
                // The step's own expectation is checked again by the driver.
                Err(error) => tracing::warn!(backend = %name, %error, "who has objects open could not be seen"),
            }
        }
        learnt
    }

    /// Replaces what is known of live objects by what a look at them by name showed.
    fn put(&mut self, name: &Name, seen: Observed) {
        let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) =
            self.world.get_mut(name)
        else {
            return;
        };
        let mut closer: BTreeMap<NativeName, _> =
            seen.objects.into_iter().filter(|o| o.place == Place::Live).map(|o| (o.native.clone(), o)).collect();
        for object in observed.objects.iter_mut().filter(|object| object.place == Place::Live) {
            if let Some(seen) = closer.remove(&object.native) {
                *object = seen;
            }
        }
    }
}
