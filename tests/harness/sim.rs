//! The simulator as a driver under test, in each of its modes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use kiln::driver::sim::{Fault, FaultRates, SimDriver, SimMode, SimObject, SimWorld};
use kiln::driver::{Driver, PoolMetadata, WriterLock};
use kiln::model::{
    Absence, Capabilities, DriverError, ErrorKind, Ledger, NameRules, NativeName, Owner, Place, Reservation, Restores,
    Restoring, Scope, Size, TrashAbility,
};

use super::pool::{Bench, Opened, Outside, Pool, Thing};

/// The simulator.
pub struct Simulator;

/// The modes of the simulator, as the settings `sim: {mode: …}` make them: alone, and together as real backends have them.
fn modes() -> Vec<(&'static str, Capabilities)> {
    let none = SimMode::default();
    let nested = SimMode { nested_snapshots: true, ..none };
    let by_ledger = SimMode { absence: Some(Absence::ByLedger), ..none };
    let by_name = SimMode { absence: Some(Absence::ByName), ..none };
    let no_trash = SimMode { trash: Some(TrashAbility::None), ..none };
    let modes = [
        ("all", none),
        ("unrepeatable", SimMode { unrepeatable: true, ..none }),
        ("nested", nested),
        ("nested-volumes", SimMode { trash: Some(TrashAbility::Volumes), ..nested }),
        ("nested-no-trash", SimMode { nested_snapshots: true, ..no_trash }),
        ("no-trash", no_trash),
        ("in-steps", SimMode { restore: Some(Restores::InSteps), ..none }),
        ("by-name", by_name),
        ("by-name-nested", SimMode { nested_snapshots: true, ..by_name }),
        ("by-ledger", by_ledger),
        ("by-ledger-unrepeatable", SimMode { unrepeatable: true, ..by_ledger }),
        ("by-ledger-nested", SimMode { nested_snapshots: true, ..by_ledger }),
        ("no-rename", SimMode { no_rename: true, ..none }),
        ("blind", SimMode { blind_to_clients: true, ..none }),
        ("hidden-reservation", SimMode { reservation: Some(Reservation::Hidden), ..none }),
    ];
    let short = Capabilities { names: NameRules::up_to(40), ..Capabilities::everything() };
    let modes = modes.into_iter().map(|(name, mode)| (name, mode.capabilities()));
    modes.chain([("short-names", short)]).collect()
}

impl Bench for Simulator {
    fn modes(&self) -> Vec<(&'static str, Capabilities)> {
        modes()
    }

    fn pool(&self, mode: &str, seed: u64) -> Box<dyn Pool> {
        let found = modes().into_iter().find(|(name, _)| *name == mode);
        let (_, capabilities) = found.unwrap_or_else(|| panic!("the simulator has no mode {mode}"));
        let world = Arc::new(Mutex::new(SimWorld::new(seed)));
        Box::new(SimPool { world, capabilities, ..SimPool::default() })
    }
}

struct SimPool {
    world: Arc<Mutex<SimWorld>>,
    capabilities: Capabilities,
    capacity: Mutex<Option<Size>>,
    away: AtomicBool,
    /// The lock that another process holds.
    lock: Mutex<Option<(Owner, Box<dyn WriterLock>)>>,
}

impl Default for SimPool {
    fn default() -> Self {
        Self {
            world: Arc::default(),
            capabilities: Capabilities::everything(),
            capacity: Mutex::default(),
            away: AtomicBool::new(false),
            lock: Mutex::default(),
        }
    }
}

/// An answer of the simulator, which waits for nothing.
fn now<T>(answer: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(answer).expect("a pool in memory does not wait")
}

impl SimPool {
    fn world(&self) -> MutexGuard<'_, SimWorld> {
        self.world.lock().unwrap()
    }

    fn truth(&self) -> SimDriver {
        SimDriver::new(Arc::clone(&self.world), FaultRates::NONE, 0)
    }

    /// The live objects of a name.
    fn named(&self, name: &str) -> Option<NativeName> {
        let part = format!(".{name}.");
        let world = self.world();
        let mut natives = world.live_objects().map(|(native, _)| native);
        natives.find(|native| native.as_str() == name || native.as_str().contains(&part)).cloned()
    }

    fn all(&self) -> Vec<NativeName> {
        self.world().live_objects().map(|(native, _)| native.clone()).collect()
    }

    fn take_lock(&self, owner: &Owner) {
        let lock = now(self.truth().lock(owner)).unwrap_or_else(|error| panic!("the lock of {owner}: {error}"));
        *self.lock.lock().unwrap() = Some((owner.clone(), lock));
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut SimObject)) -> bool {
        self.named(name).is_some_and(|native| self.world().change_by_hand(&native, change))
    }
}

impl Pool for SimPool {
    fn open(&self) -> Result<Opened, DriverError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(DriverError::before(ErrorKind::Unreachable, "it is away"));
        }
        let driver = self.truth().with_capabilities(self.capabilities.clone());
        let driver = Arc::new(driver.with_capacity(*self.capacity.lock().unwrap()));
        let cut = Arc::clone(&driver);
        let cut_short = Box::new(move || cut.fail_at(cut.calls(), Fault::Half));
        Ok(Opened { driver, cut_short: Some(cut_short) })
    }

    fn fork(&self) -> Box<dyn Pool> {
        let owner = self.lock.lock().unwrap().take().map(|(owner, _)| owner);
        let world = Arc::new(Mutex::new(self.world().clone()));
        let away = AtomicBool::new(self.away.load(Ordering::SeqCst));
        let capacity = Mutex::new(*self.capacity.lock().unwrap());
        let copy = SimPool { world, capabilities: self.capabilities.clone(), away, capacity, lock: Mutex::default() };
        // The other process holds its lock on the copy too.
        if let Some(owner) = owner {
            self.take_lock(&owner);
            copy.take_lock(&owner);
        }
        Box::new(copy)
    }

    fn things(&self) -> Vec<Thing> {
        let owner = "nobody".parse().unwrap();
        let seen = now(self.truth().observe(&Scope::All { owner })).expect("the simulator answers");
        let world = self.world();
        let content = |object: &kiln::model::Object| -> BTreeMap<u64, u64> {
            let found = match (object.place, object.uid()) {
                (Place::Trash, Some(uid)) => world.trashed(&object.native, uid),
                _ => world.live_at(&object.address()),
            };
            found.map(|object| object.content.as_ref().clone()).unwrap_or_default()
        };
        seen.objects.into_iter().map(|object| Thing { content: content(&object), object }).collect()
    }

    fn ledger(&self, owner: &Owner) -> Option<Ledger> {
        self.world().ledger(owner).cloned()
    }

    fn outside(&self, event: &Outside) -> bool {
        let empty = |size: &Size| SimObject::empty(*size);
        match event {
            Outside::WriteAll { block, stamp } => {
                // Snapshots refuse.
                self.all().iter().filter(|native| !native.is_temporary()).for_each(|native| {
                    self.world().write(native, *block, *stamp);
                });
                true
            }
            Outside::Write { object, block, stamp } => {
                self.named(object).is_some_and(|native| self.world().write(&native, *block, *stamp))
            }
            Outside::Delete(name) => self.named(name).is_some_and(|native| self.world().delete_by_hand(&native)),
            Outside::DeleteAt(at) => self.world().delete_by_hand(&at.native),
            Outside::Resize(name, size) => {
                self.named(name).is_some_and(|native| self.world().resize_by_hand(&native, *size))
            }
            Outside::Rename(name, to) => self.named(name).is_some_and(|native| {
                let new = NativeName::new(native.as_str().replace(&format!(".{name}."), &format!(".{to}.")));
                self.world().rename_by_hand(&native, &new)
            }),
            Outside::Make { native, size, stamp } => {
                let native = NativeName::new(native);
                self.world().make_by_hand(&native, empty(size));
                *stamp == 0 || self.world().write(&native, 3, *stamp)
            }
            Outside::MakeInside { volume, native, size } => {
                let volume = NativeName::new(volume);
                self.world().make_inside_by_hand(&volume, &NativeName::new(native), empty(size));
                true
            }
            Outside::LeaveUnfinished(name) => {
                let (owner, uid) = ("prod".parse().unwrap(), "aaaaaaaa".parse().unwrap());
                let temporary = NativeName::temporary(&owner, &name.parse().unwrap(), uid);
                self.world().make_by_hand(&temporary, SimObject::empty(Size(4096)));
                true
            }
            Outside::Close(name) => {
                if let Some(native) = self.named(name) {
                    self.world().close(&native, "a client");
                }
                true
            }
            Outside::OpenAll => self.all().iter().all(|native| self.world().open(native, "a client")),
            Outside::Unlimit(name) => self.change(name, |object| object.settings.qos = None),
            Outside::Unprotect(name) => self.change(name, |object| object.tags.protected = false),
            Outside::Label(name) => self.change(name, |object| {
                object.tags.labels.insert("by".to_owned(), "a stranger".to_owned());
            }),
            Outside::SpoilTags(name) => self.change(name, |object| object.tags_unreadable = true),
            Outside::BeginRestore { volume, snapshot } => {
                let uid = self.named(snapshot).and_then(|native| native.parse()).map(|(.., uid)| uid);
                let begun = Restoring { request: "begun by hand".to_owned(), snapshot: uid, size: None };
                uid.is_some() && self.change(volume, |object| object.tags.restoring = Some(Box::new(begun)))
            }
            Outside::Block(name, blocker) => {
                self.change(name, |object| object.blocker = Some(Box::new(blocker.clone())))
            }
            Outside::EmptyTrash => {
                self.world().empty_trash_by_hand();
                true
            }
            Outside::RenameTrashed(name, to) => self.world().rename_trashed_by_hand(name, to),
            Outside::Capacity(size) => {
                *self.capacity.lock().unwrap() = *size;
                true
            }
            Outside::SwapPool(pool) => {
                self.world().swap_pool(pool.clone());
                true
            }
            Outside::TakeLock(owner) => {
                self.take_lock(owner);
                true
            }
            Outside::ReleaseLock => {
                *self.lock.lock().unwrap() = None;
                true
            }
            Outside::GoAway => {
                self.away.store(true, Ordering::SeqCst);
                true
            }
            Outside::ComeBack => {
                self.away.store(false, Ordering::SeqCst);
                true
            }
        }
    }
}
