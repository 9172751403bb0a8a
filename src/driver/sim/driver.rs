//! The driver of simulated pools, which adds faults to the calls.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;

use crate::driver::{Driver, PoolMetadata, StepContext, WriterLock};
use crate::model::{
    Absence, Access, Action, Address, BackendSpec, Capabilities, ClientVisibility, Clients, DriverError, ErrorKind,
    Ledger, LedgerCommit, LedgerView, Listed, Name, Observed, Outcome, Owner, PoolId, Reservation, Restores, Scope,
    Size, Step, Suspension,
};

use super::apply::apply;
use super::copies::Copies;
use super::fault::{CallKind, Dice, Fault, Faults};
use super::file::{FileLock, SimFile, random};
use super::observe::{list_some, observe};
use super::settings::{FaultRates, SimSettings};
use super::world::{SimKey, SimWorld};

/// The duration of a slow call: longer than a user waits, shorter than the default timeout.
const SLOW: Duration = Duration::from_secs(10);

/// The pools in memory of this process. A daemon connects on every pass, and must find the same pool.
static MEMORY: Mutex<BTreeMap<PoolKey, Arc<Mutex<SimWorld>>>> = Mutex::new(BTreeMap::new());

/// The dice of this process, by pool and seed. A daemon connects on every pass, and must not get the same faults in each.
static DICE: Mutex<BTreeMap<(PoolKey, u64), Arc<Dice>>> = Mutex::new(BTreeMap::new());

/// The key of a pool in this process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum PoolKey {
    File(PathBuf),
    /// The name of the Backend.
    Memory(Name),
}

/// A driver of a simulated pool. Several may share one [`SimWorld`].
pub struct SimDriver {
    world: Arc<Mutex<SimWorld>>,
    file: Option<Arc<SimFile>>,
    capabilities: Capabilities,
    faults: Faults,
    /// The writer locks taken through this driver.
    locks: Mutex<Vec<(Owner, Weak<SimLock>)>>,
}

/// A writer lock.
enum SimLock {
    Memory { world: Arc<Mutex<SimWorld>>, owner: Owner, token: u64 },
    File(FileLock),
}

impl SimDriver {
    /// Returns a driver of a pool in memory.
    pub fn new(world: Arc<Mutex<SimWorld>>, faults: FaultRates, seed: u64) -> Self {
        Self::of(world, None, Faults::new(faults, Dice::new(seed)))
    }

    /// Returns a driver without faults of a pool in a file, which is created together with the identity of the pool.
    pub fn at(path: &Path, seed: u64) -> Self {
        let world = Arc::new(Mutex::new(SimWorld::new(seed)));
        Self::of(world, Some(path), Faults::new(FaultRates::NONE, Dice::new(seed)))
    }

    fn of(world: Arc<Mutex<SimWorld>>, path: Option<&Path>, faults: Faults) -> Self {
        let file = path.map(|path| Arc::new(SimFile::new(path)));
        Self { world, file, capabilities: Capabilities::everything(), faults, locks: Mutex::default() }
    }

    /// Returns the driver of a Backend, whose pool is in its file or in this process.
    pub fn connect(name: &Name, settings: SimSettings) -> Self {
        let SimSettings { path, seed, capacity, faults, mode } = settings;
        let path = path.as_deref();
        let pool = path.map_or_else(|| PoolKey::Memory(name.clone()), |path| PoolKey::File(path.to_owned()));
        let dice = Arc::clone(locked(&DICE).entry((pool.clone(), seed)).or_insert_with(|| {
            // Every process counts its calls from 0. Without the length of the file, all of them would get the same faults, and a process
            // that fails at its first effect would always fail there.
            let age = path.map_or(0, |path| SimFile::new(path).age());
            Dice::new(seed ^ age.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        }));
        let new = |seed| Arc::new(Mutex::new(SimWorld::new(seed)));
        let world = match path {
            Some(_) => new(seed),
            // Two pools with one seed are different pools.
            None => Arc::clone(locked(&MEMORY).entry(pool).or_insert_with(|| new(random()))),
        };
        let mode = mode.unwrap_or_default();
        {
            let mut world = locked(&world);
            world.capacity = capacity;
            world.metadata = mode.capacities.and_then(|capacities| capacities.metadata);
            world.most = mode.capacities.and_then(|capacities| capacities.objects);
        }
        Self::of(world, path, Faults::new(faults.unwrap_or(FaultRates::NONE), dice))
            .with_capabilities(mode.capabilities())
    }

    /// Restricts the capabilities of the driver.
    #[must_use]
    pub fn with_capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// Limits the capacity of the pool, or lifts the limit.
    #[must_use]
    pub fn with_capacity(self, capacity: Option<Size>) -> Self {
        locked(&self.world).capacity = capacity;
        self
    }

    /// Returns the pool. A pool in a file is as of the last call.
    pub fn world(&self) -> Arc<Mutex<SimWorld>> {
        Arc::clone(&self.world)
    }

    /// Changes the pool directly, without faults.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn edit<T>(&self, change: impl FnOnce(&mut SimWorld) -> T) -> Result<T, DriverError> {
        match &self.file {
            Some(file) => file.access(&self.world, true, change),
            None => {
                let mut world = locked(&self.world);
                let answer = change(&mut world);
                world.settle();
                Ok(answer)
            }
        }
    }

    /// Injects a fault into a call. Calls (observe, execute, init_pool, lock, and both ledger calls) are counted from 0; a fault that does not
    /// fit the kind of call is ignored.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.faults.fail_at(call, fault);
    }

    /// Returns the number of calls so far, which is the number of the next call.
    pub fn calls(&self) -> u64 {
        self.faults.calls()
    }

    /// Calls `act` with the current pool, on a blocking thread if it is in a file.
    async fn with<T: Send + 'static>(
        &self,
        write: bool,
        act: impl FnOnce(&mut SimWorld) -> T + Send + 'static,
    ) -> Result<T, DriverError> {
        match &self.file {
            None => self.edit(act),
            Some(file) => {
                let (file, world) = (Arc::clone(file), Arc::clone(&self.world));
                blocking(move || file.access(&world, write, act)).await
            }
        }
    }

    /// Changes the pool, unless a writer lock of the owner that this driver took has been lost.
    async fn change<T: Send + 'static>(
        &self,
        owner: &Owner,
        act: impl FnOnce(&mut SimWorld) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let lock = self.lock_of(owner);
        let act = |lock: Option<&Arc<SimLock>>, world: &mut SimWorld| {
            if let Some(lock) = lock {
                lock.check(world)?;
                lock.note();
            }
            act(world)
        };
        // If the engine leaves meanwhile, this is the last handle of the lock. Dropping it locks the world or the file: after the access.
        let answer = match &self.file {
            None => self.edit(|world| act(lock.as_ref(), world)),
            Some(file) => {
                let (file, world) = (Arc::clone(file), Arc::clone(&self.world));
                blocking(move || file.access(&world, true, |world| act(lock.as_ref(), world))).await
            }
        };
        answer.and_then(|answer| answer)
    }

    /// Changes a ledger of this pool under its writer lock.
    async fn write(
        &self,
        owner: &Owner,
        pool: PoolId,
        act: impl FnOnce(&mut SimWorld) -> Result<(), DriverError> + Send + 'static,
    ) -> Result<(), DriverError> {
        let (file, of) = (self.file.clone(), owner.clone());
        self.change(owner, move |world| {
            let locked = match file {
                Some(file) => file.locked().contains(&of),
                None => world.locks.contains_key(&of),
            };
            if !locked {
                return Err(DriverError::before(ErrorKind::Permanent, "the writer lock is not held"));
            }
            if world.pool() != Some(&pool) {
                return Err(DriverError::before(ErrorKind::Conflict, "the ledger is of another pool"));
            }
            act(world)
        })
        .await
    }

    fn lock_of(&self, owner: &Owner) -> Option<Arc<SimLock>> {
        let mut locks = locked(&self.locks);
        locks.retain(|(_, lock)| lock.strong_count() > 0);
        locks.iter().rev().filter(|(of, _)| of == owner).find_map(|(_, lock)| lock.upgrade())
    }

    /// Applies the faults before the effect: errors, delays and hangs. Returns the fault that remains for the call.
    async fn meet(&self, call: CallKind) -> Result<(Option<Fault>, u64), DriverError> {
        let (fault, choice) = self.faults.next(call);
        match fault {
            Some(Fault::Error) => {
                let kind = if call == CallKind::Observe { ErrorKind::Unreachable } else { ErrorKind::Transient };
                Err(DriverError::before(kind, "simulated: the call failed"))
            }
            Some(Fault::Hang) => pending().await,
            Some(Fault::Slow) => {
                tokio::time::sleep(SLOW).await;
                Ok((None, choice))
            }
            other => Ok((other, choice)),
        }
    }

    /// Applies the faults after the effect.
    async fn reply<T>(fault: Option<Fault>, answer: Result<T, DriverError>) -> Result<T, DriverError> {
        match fault {
            Some(Fault::HangAfter) => pending().await,
            Some(Fault::LostReply) => Err(lost()),
            _ => answer,
        }
    }
}

/// Opens the pool of a Backend; `None` if its settings are not those of this driver.
pub(in crate::driver) fn open(backend: &BackendSpec) -> Option<Arc<dyn Driver>> {
    let settings = SimSettings::from_values(&mut backend.config.settings.clone())?;
    Some(Arc::new(SimDriver::connect(&backend.meta.name, settings)))
}

fn lost() -> DriverError {
    DriverError::unknown(ErrorKind::Transient, "simulated: the reply was lost")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(DriverError::unknown(ErrorKind::Permanent, error.to_string())))
}

#[async_trait]
impl Driver for SimDriver {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let (fault, choice) = self.meet(CallKind::Observe).await?;
        let (scope, file) = (scope.clone(), self.file.clone());
        let blind = self.capabilities.client_visibility == ClientVisibility::None;
        let by_name = self.capabilities.absence == Absence::ByName && matches!(scope, Scope::All { .. });
        let by_records = self.capabilities.absence == Absence::ByLedger;
        // Records show each effect at once.
        let fault = fault.filter(|fault| !(by_records && *fault == Fault::Stale));
        let hides_reservation = self.capabilities.reservation == Reservation::Hidden;
        self.with(false, move |world| {
            let locked = match file {
                Some(file) => file.locked(),
                None => world.locks.keys().cloned().collect(),
            };
            let mut seen = observe(world, &scope, fault, choice, locked);
            if by_name {
                list_some(&mut seen);
            }
            if by_records {
                seen.objects.retain(|object| world.has_record(object));
                (seen.listed, seen.queried) = (Listed::NONE, BTreeSet::new());
            }
            if blind {
                seen.objects.iter_mut().for_each(|object| object.clients = Clients::Unknown);
            }
            if hides_reservation { seen.without_provisioning() } else { seen }
        })
        .await
    }

    fn access(&self, _: &Address) -> Access {
        Access::None
    }

    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        let (fault, _) = self.meet(CallKind::Execute).await?;
        let half = fault == Some(Fault::Half);
        if fault == Some(Fault::Lie) {
            return Ok(Outcome::Changed);
        }
        let can_be_half = match step.action {
            Action::Create { .. } | Action::Snapshot { .. } => true,
            Action::Restore { .. } => self.capabilities.restore == Restores::InSteps,
            Action::Grow { .. }
            | Action::SetTags { .. }
            | Action::Reserve
            | Action::Configure { .. }
            | Action::Rename { .. }
            | Action::Adopt { .. }
            | Action::Trash { .. }
            | Action::Undelete { .. }
            | Action::Destroy
            | Action::Purge
            | Action::Sweep
            | Action::Detach => false,
        };
        if half && !can_be_half {
            return Err(DriverError::before(ErrorKind::Transient, "simulated: the call failed"));
        }
        let (made, can, now) = (step.clone(), self.capabilities.clone(), context.now);
        let is_answered = !matches!(fault, Some(Fault::LostReply | Fault::HangAfter));
        let changed = self.change(&step.identity.owner, move |world| {
            let outcome = apply(world, &can, &made, now, half);
            if outcome.is_ok() && is_answered && made.action.is_first() && can.absence == Absence::ByLedger {
                world.change(&SimKey::new(made.address(), None), |object| object.recorded = true);
            }
            if half { Err(lost()) } else { outcome }
        });
        let answer = changed.await;
        if let (Action::Create { size, origin: Some(_), .. }, Ok(Outcome::Changed)) = (&step.action, &answer) {
            (context.progress)(size.bytes(), size.bytes());
        }
        Self::reply(fault, answer).await
    }
}

#[async_trait]
impl PoolMetadata for SimDriver {
    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        let (fault, _) = self.meet(CallKind::Upkeep).await?;
        let file = self.file.clone();
        if let Some(file) = file.clone() {
            blocking(move || file.create_directory()).await?;
        }
        let answer = self
            .with(true, move |world| {
                if let Some(pool) = world.pool() {
                    return pool.clone();
                }
                world.founded += 1;
                // The identity of a pool in memory depends only on the seed. Several files may have one seed.
                let own = if file.is_some() { random() } else { 0 };
                let text = format!("{} {} {own}", world.seed, world.founded);
                let pool = PoolId(blake3::hash(text.as_bytes()).to_hex()[..32].to_owned());
                world.swap_pool(Some(pool.clone()));
                pool
            })
            .await;
        Self::reply(fault, answer).await
    }

    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        let (fault, _) = self.meet(CallKind::Upkeep).await?;
        if !self.with(false, |world| world.pool().is_some()).await? {
            return Err(DriverError::before(ErrorKind::Permanent, "the pool does not have its identity yet"));
        }
        let lock = match self.file.clone() {
            Some(file) => {
                let owner = owner.clone();
                SimLock::File(blocking(move || file.lock_owner(&owner)).await?)
            }
            None => {
                let mut world = locked(&self.world);
                if world.locks.contains_key(owner) {
                    let message = format!("process {} is writing for {owner}", std::process::id());
                    return Err(DriverError::before(ErrorKind::OtherWriter, message));
                }
                let token = world.steal_lock(owner);
                SimLock::Memory { world: Arc::clone(&self.world), owner: owner.clone(), token }
            }
        };
        let lock = Arc::new(lock);
        locked(&self.locks).push((owner.clone(), Arc::downgrade(&lock)));
        let lock: Box<dyn WriterLock> = Box::new(lock);
        Self::reply(fault, Ok(lock)).await
    }

    // Nothing shows who has the lock.
    async fn announce(&self, _owner: &Owner) {}

    // Reads by an observer are not counted either: those of other owners' ledgers happen in few passes.
    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        let owner = owner.clone();
        self.with(false, move |world| world.content.ledgers.get(&owner).map(Copies::view)).await
    }

    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError> {
        let (fault, _) = self.meet(CallKind::Upkeep).await?;
        let commit = commit.clone();
        let changed =
            self.write(&commit.owner.clone(), commit.pool.clone(), move |world| world.change_ledger(&commit)).await;
        Self::reply(fault, changed).await
    }

    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        let (fault, _) = self.meet(CallKind::Upkeep).await?;
        let ledger = ledger.clone();
        let changed =
            self.write(&ledger.owner.clone(), ledger.pool.clone(), move |world| world.replace_ledger(ledger)).await;
        Self::reply(fault, changed).await
    }

    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        let (fault, _) = self.meet(CallKind::Upkeep).await?;
        let owner = owner.clone();
        let answer = self.with(true, move |world| world.lose_ledger(&owner)).await;
        Self::reply(fault, answer).await
    }

    // These two have no faults and are not counted: scripts count the calls that change objects.
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        let owner = owner.clone();
        let unreadable = || DriverError::before(ErrorKind::Unreachable, "the record of a suspension cannot be read");
        self.with(false, move |world| world.suspensions_of(&owner)).await?.ok_or_else(unreadable)
    }

    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        let suspension = suspension.clone();
        let full = || DriverError::before(ErrorKind::Permanent, "the maximum number of suspensions is in force");
        self.with(true, move |world| world.record_suspension(&suspension)).await?.then_some(()).ok_or_else(full)
    }
}

// The handle that the engine holds.
impl WriterLock for Arc<SimLock> {}

impl SimLock {
    /// Names this process to others.
    fn note(&self) {
        match self {
            SimLock::File(lock) => lock.note(),
            SimLock::Memory { .. } => {}
        }
    }

    /// Checks that the lock is still held. Called within the access that it guards.
    fn check(&self, world: &SimWorld) -> Result<(), DriverError> {
        match self {
            SimLock::File(lock) => lock.check(),
            SimLock::Memory { owner, token, .. } if world.locks.get(owner) == Some(token) => Ok(()),
            SimLock::Memory { owner, .. } => {
                Err(DriverError::before(ErrorKind::OtherWriter, format!("the lock of {owner} was taken over")))
            }
        }
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        if let SimLock::Memory { world, owner, token } = self {
            let mut world = locked(world);
            if world.locks.get(owner) == Some(token) {
                world.locks.remove(owner);
            }
        }
    }
}
