//! A rig for the engine: a simulated pool, a store in memory, a clock that the test turns, and a person who says yes or no.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "each test binary uses a part of the rig"
)]

pub mod spy;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use kiln::driver::sim::FaultRates;
use kiln::driver::sim::{Fault, SimDriver, SimEffect, SimWorld};
use kiln::driver::{Driver, PoolMetadata, StepContext, WriterLock};
use kiln::engine::{
    Clock, Confirmation, Connect, Event, Options, Report, Reporter, Setup, forget_object, overview, reconcile_once,
};
use kiln::manifest::{self, Limits, Source};
use kiln::model::{
    Access, Address, BackendSpec, Capabilities, DriverError, ErrorKind, Ledger, LedgerCommit, LedgerEntry, LedgerView,
    NativeName, Observed, Outcome, Owner, PoolId, Reading, Scope, Size, Step, Suspension, Tags, Uid, VolumeSettings,
};
use kiln::plan::{HeldReason, Overview, Plan};
use kiln::store::{MemoryStore, Store, StoreError};
use tokio::sync::Notify;

/// Where and how the process is to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    Before,
    After,
    /// In the middle of a step that takes several changes.
    Half,
}

/// A process that dies in its n-th driver call.
pub struct Doom {
    pub calls: AtomicU64,
    pub at: u64,
    pub point: Point,
    pub died: Notify,
}

impl Doom {
    pub fn never() -> Arc<Self> {
        Self::at(u64::MAX, Point::Before)
    }
    pub fn at(at: u64, point: Point) -> Arc<Self> {
        Arc::new(Self { calls: AtomicU64::new(0), at, point, died: Notify::new() })
    }
    async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        let hit = self.calls.fetch_add(1, Ordering::SeqCst) == self.at;
        if hit && self.point == Point::Before {
            self.died.notify_one();
            return std::future::pending().await;
        }
        let result = call.await;
        if hit {
            self.died.notify_one();
            return std::future::pending().await;
        }
        result
    }
}

struct Doomed {
    inner: SimDriver,
    doom: Arc<Doom>,
}

#[async_trait]
impl Driver for Doomed {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        self.doom.around(self.inner.observe(scope)).await
    }
    fn access(&self, object: &Address) -> Access {
        self.inner.access(object)
    }
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        if self.doom.point == Point::Half && self.doom.calls.load(Ordering::SeqCst) == self.doom.at {
            self.inner.fail_at(self.inner.calls(), Fault::Half);
        }
        self.doom.around(self.inner.execute(step, context)).await
    }
}

#[async_trait]
impl PoolMetadata for Doomed {
    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        self.doom.around(self.inner.init_pool()).await
    }
    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        self.doom.around(self.inner.lock(owner)).await
    }
    async fn announce(&self, owner: &Owner) {
        self.inner.announce(owner).await;
    }

    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        self.doom.around(self.inner.ledger(owner)).await
    }
    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError> {
        self.doom.around(self.inner.change_ledger(commit)).await
    }
    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        self.doom.around(self.inner.write_ledger(ledger)).await
    }
    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        self.doom.around(self.inner.remove_ledger(owner)).await
    }
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        self.inner.suspensions(owner).await
    }
    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        self.doom.around(self.inner.write_suspension(suspension)).await
    }
}

/// What the test turns while the engine reads it.
pub struct Turned(pub AtomicU64);

impl Clock for Turned {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Opens a simulated pool for every Backend by its name.
pub struct Pools {
    pub worlds: BTreeMap<String, Arc<Mutex<SimWorld>>>,
    pub rates: FaultRates,
    pub seed: u64,
    pub opened: AtomicU64,
    pub away: AtomicBool,
    pub doom: Arc<Doom>,
    pub capabilities: Capabilities,
}

impl Connect for Pools {
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(DriverError::before(ErrorKind::Unreachable, "it is away"));
        }
        let Some(world) = self.worlds.get(backend.meta.name.as_str()) else {
            return Err(DriverError::before(ErrorKind::Unreachable, "no such pool"));
        };
        let nth = self.opened.fetch_add(1, Ordering::SeqCst);
        let inner = SimDriver::new(Arc::clone(world), self.rates, self.seed.wrapping_add(nth))
            .with_capabilities(self.capabilities.clone());
        Ok(Arc::new(Doomed { inner, doom: Arc::clone(&self.doom) }))
    }
}

/// A person who says yes or no, and hears everything.
pub struct Person {
    pub yes: bool,
    pub heard: Mutex<Vec<String>>,
}

#[async_trait]
impl Reporter for Person {
    fn event(&self, event: Event) {
        let text = match event {
            Event::Note { message } => message,
            Event::Finished { object, outcome, .. } => {
                format!("{} {}: {}", object.detail, object.native, outcome.as_str())
            }
            _ => return,
        };
        self.heard.lock().unwrap().push(text);
    }
    async fn confirm(&self, _plan: &Plan) -> Confirmation {
        if self.yes { Confirmation::Given } else { Confirmation::NotAsked }
    }
}

/// A world of one pool with everything around it.
pub struct Rig {
    pub world: Arc<Mutex<SimWorld>>,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<Turned>,
    pub rates: FaultRates,
    pub seed: u64,
    pub yes: bool,
    pub approve: Vec<String>,
    pub doom: Arc<Doom>,
    pub capabilities: Capabilities,
}

impl Rig {
    pub fn new() -> Self {
        Self {
            world: Arc::new(Mutex::new(SimWorld::new(7))),
            store: Arc::new(MemoryStore::new()),
            clock: Arc::new(Turned(AtomicU64::new(1_800_000_000))),
            rates: FaultRates::NONE,
            seed: 0,
            yes: true,
            approve: Vec::new(),
            doom: Doom::never(),
            capabilities: Capabilities::everything(),
        }
    }

    /// Another process's view of the same pool, as it is at this moment.
    pub fn fork(&self, with_store: bool) -> Self {
        let store = if with_store { self.store.reopen() } else { MemoryStore::new() };
        let world = self.world().clone();
        Self {
            world: Arc::new(Mutex::new(world)),
            store: Arc::new(store),
            clock: Arc::new(Turned(AtomicU64::new(self.clock.now()))),
            approve: self.approve.clone(),
            doom: Doom::never(),
            capabilities: self.capabilities.clone(),
            ..*self
        }
    }

    /// How many driver calls some work takes.
    pub async fn calls_of<T>(&self, work: impl AsyncFnOnce(&Self) -> T) -> u64 {
        let undisturbed = self.fork(true);
        work(&undisturbed).await;
        undisturbed.doom.calls.load(Ordering::SeqCst)
    }

    /// Another process that dies in its n-th driver call, and a new one after it.
    pub async fn killed<T: std::fmt::Debug>(
        &self,
        at: u64,
        point: Point,
        with_store: bool,
        work: impl AsyncFnOnce(&Self) -> T,
    ) -> Self {
        let mut dying = self.fork(true);
        dying.doom = Doom::at(at, point);
        tokio::select! {
            biased;
            () = dying.doom.died.notified() => {}
            done = work(&dying) => panic!("call {at} {point:?}: the process did not die: {done:?}"),
        }
        dying.restarted(with_store).await
    }

    /// A new process after the last one died, when the runtime has let go of all that one held.
    pub async fn restarted(mut self, with_store: bool) -> Self {
        while Arc::strong_count(&self.world) > 1 {
            tokio::task::yield_now().await;
        }
        self.store = Arc::new(if with_store { self.store.reopen() } else { MemoryStore::new() });
        self.doom = Doom::never();
        self
    }

    pub fn world(&self) -> MutexGuard<'_, SimWorld> {
        self.world.lock().unwrap()
    }

    pub fn setup(&self, specs: &Reading) -> Setup {
        let worlds = BTreeMap::from([("pool".to_owned(), Arc::clone(&self.world))]);
        let pools = Pools {
            worlds,
            rates: self.rates,
            seed: self.seed,
            opened: AtomicU64::new(0),
            away: AtomicBool::new(false),
            doom: Arc::clone(&self.doom),
            capabilities: self.capabilities.clone(),
        };
        let store: Arc<dyn Store> = self.store.clone();
        let clock: Arc<dyn Clock> = self.clock.clone();
        Setup {
            reading: Arc::new(specs.clone()),
            store: Some(store),
            connect: Arc::new(pools),
            clock,
            jobs: Arc::default(),
        }
    }

    pub async fn pass(&self, specs: &Reading) -> Result<Report, StoreError> {
        let person = Arc::new(Person { yes: self.yes, heard: Mutex::default() });
        let options = Options { approve: self.approve.clone(), ..Options::default() };
        self.clock.0.fetch_add(1, Ordering::SeqCst);
        let report = reconcile_once(&self.setup(specs), &options, person).await;
        if let Ok(report) = &report {
            assert_eq!(report.breaches, Vec::<String>::new(), "the lint found a breach");
        }
        report
    }

    /// The native name of a live object.
    pub fn native(&self, object: &str) -> NativeName {
        let part = format!(".{object}.");
        let world = self.world();
        let mut natives = world.live_objects().map(|(native, _)| native);
        natives.find(|native| native.as_str().contains(&part)).unwrap().clone()
    }

    pub fn size_of(&self, object: &str) -> Size {
        let native = self.native(object);
        self.world().live(&native).unwrap().size
    }

    /// How many effects of a kind there were.
    pub fn count(&self, effect: SimEffect) -> usize {
        self.world().events().iter().filter(|event| event.effect == effect).count()
    }

    pub async fn overview(&self, specs: &Reading) -> Overview {
        overview(&self.setup(specs), &[]).await
    }

    /// Passes until nothing is left to do; how many it took.
    pub async fn settle(&self, specs: &Reading, most: usize, what: &str) -> usize {
        let mut last = None;
        for pass in 1..=most {
            let report = self.pass(specs).await.unwrap();
            let plan = report.plan.as_ref().unwrap();
            // The lock of a process that died is let go when the runtime gets to it: until then it is another writer's.
            let passing = plan.held.iter().any(|held| held.reason == HeldReason::OtherWriter);
            if plan.steps.is_empty() && report.failed.is_empty() && !passing {
                return pass;
            }
            last = Some(report);
        }
        panic!("{what}: not settled after {most} passes: {last:#?}");
    }

    /// As a person who looks on a backend where the ledger proves absence: removes what exists of each object of which that is not known, and
    /// forgets it. Returns how many there were.
    pub async fn forget_what_may_exist(&self, specs: &Reading, what: &str) -> usize {
        let unknown: Vec<(Uid, LedgerEntry)> = {
            let world = self.world();
            let shown = |native: &NativeName| world.live(native).is_some_and(|object| object.recorded);
            let ledgers = world.ledger(&"prod".parse().unwrap()).into_iter();
            let entries = ledgers.flat_map(|ledger| {
                let complete = ledger.complete.iter().filter(|(uid, _)| !ledger.lets_go(**uid));
                complete.chain(ledger.creating.iter().filter(|(uid, _)| !ledger.complete.contains_key(uid)))
            });
            let unknown = entries.filter(|(_, entry)| !shown(&entry.native));
            unknown.map(|(uid, entry)| (*uid, entry.clone())).collect()
        };
        for (uid, LedgerEntry { kind, name, native, .. }) in &unknown {
            let is_it = |at: &NativeName| at == native || at.parse().is_some_and(|(.., of)| of == *uid);
            let natives: Vec<NativeName> = self.world().live_objects().map(|(native, _)| native.clone()).collect();
            for native in natives.into_iter().filter(is_it) {
                self.world().delete_by_hand(&native);
            }
            let forgotten = forget_object(&self.setup(specs), *kind, name, None).await;
            assert!(forgotten.is_ok(), "{what}: {native}: {forgotten:?}");
        }
        unknown.len()
    }

    /// Three more passes: no effect (O5), and the plan stays empty.
    pub async fn stays_settled(&self, specs: &Reading) {
        let before = self.world().clone();
        let events = self.world().events().len();
        for _ in 0..3 {
            let report = self.pass(specs).await.unwrap();
            assert_eq!(report.plan.unwrap().steps, [], "a settled world has steps");
        }
        assert_eq!(self.world().events().len(), events, "a settled world was changed");
        assert!(same_objects(&before, &self.world()), "a settled world was changed");
    }
}

/// Reads manifests from text; they must be good.
pub fn specs(text: &str) -> Reading {
    let loaded = manifest::load(&Source::Text(text.to_owned()), &Limits::default());
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new(), "{text}");
    // As a directory that holds them.
    Reading { coverage: Default::default(), ..loaded.reading }
}

/// One pass in which a person says yes.
pub async fn once(setup: &Setup) -> Report {
    let person = Arc::new(Person { yes: true, heard: Mutex::default() });
    let report = reconcile_once(setup, &Options::default(), person).await.unwrap();
    assert_eq!(report.breaches, Vec::<String>::new(), "the lint found a breach");
    report
}

/// What a pass held.
pub fn held(report: &Report) -> Vec<(&str, HeldReason)> {
    report.plan.as_ref().unwrap().held.iter().map(|held| (held.name.as_str(), held.reason)).collect()
}

/// Documents behind [`HEAD`].
pub fn join(parts: &[String]) -> Reading {
    specs(&format!("{HEAD}{}", parts.concat()))
}

/// The volumes from `v<from>` to `v8` of a Stack that lets three objects leave in a day.
pub fn volumes_from(from: u32, spec: &str) -> Reading {
    let volumes: String = (from..9).map(|n| volume(&format!("v{n}"), spec)).collect();
    specs(&format!("{}{volumes}", HEAD.replace("maxRemovals: 1000", "maxRemovals: 3")))
}

/// The beginning of every set of manifests here.
pub const HEAD: &str = "\
apiVersion: kiln/v1
kind: Stack
metadata: {name: prod}
spec:
  id: 5c1d2e8a90
  defaults: {backend: pool}
  safety: {maxRemovals: 1000, maxRemovedPercent: 100, maxRemovedBytes: 1Pi}
---
apiVersion: kiln/v1
kind: Backend
metadata: {name: pool}
spec: {driver: sim}
";

pub fn volume(name: &str, spec: &str) -> String {
    format!("---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

pub fn snapshot(name: &str, volume: &str, more: &str) -> String {
    format!("---\napiVersion: kiln/v1\nkind: Snapshot\nmetadata: {{name: {name}}}\nspec: {{volume: {volume}{more}}}\n")
}

/// An object as an outsider would describe it: no times.
type Seen = (Size, Tags, VolumeSettings, BTreeMap<u64, u64>);

fn seen(object: &kiln::driver::sim::SimObject) -> Seen {
    let tags = object.tags.lasting();
    (object.size, tags, object.settings.clone(), object.content.as_ref().clone())
}

/// All objects, live and in the trash.
pub fn objects(world: &SimWorld) -> (BTreeMap<String, Seen>, BTreeMap<String, Seen>) {
    let live = world.live_addresses();
    let live = live.iter().map(|at| (at.to_string(), seen(world.live_at(at).unwrap()))).collect();
    let trash = world.trashed_objects().map(|(native, _, object)| (native.to_string(), seen(object))).collect();
    (live, trash)
}

/// Whether two worlds hold the same objects (ledgers count writes, and expiries are times: both may differ).
pub fn same_objects(one: &SimWorld, other: &SimWorld) -> bool {
    objects(one) == objects(other)
}

/// O2: per uid at most one create and one destroy succeeded.
pub fn made_and_destroyed_once(world: &SimWorld) {
    let mut counts: BTreeMap<(Uid, SimEffect), usize> = BTreeMap::new();
    for event in world.events() {
        *counts.entry((event.uid, event.effect)).or_default() += 1;
    }
    for ((uid, effect), count) in counts {
        if matches!(effect, SimEffect::Created | SimEffect::Destroyed) {
            let story: Vec<_> = world.events().iter().filter(|event| event.uid == uid).collect();
            assert!(count <= 1, "{uid} was {effect:?} {count} times: {story:#?}");
        }
    }
}

/// A small generator of pseudo-random numbers (splitmix64), so that a seed says everything.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
    pub fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// A runtime whose clock is virtual: pauses and hangs cost nothing, and time-outs come in order.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}
