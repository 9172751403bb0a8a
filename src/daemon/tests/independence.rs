//! Five backends, one of which is slow in one kind of call: the others go on as if it were not there.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;

use super::*;
use crate::driver::sim::{SimObject, SimWorld};
use crate::driver::{StepContext, WriterLock};
use crate::model::{
    Access, Action, Address, Capabilities, ErrorKind, Identity, Kind, Ledger, LedgerCommit, LedgerView, Listed, Name,
    Observed, Outcome, Owner, Scope, Size, Step, Uid,
};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// The first observation of a pass, of no object.
    Glance,
    Lock,
    List,
    /// The answer of a listing.
    Answer,
    /// An observation by name.
    Look,
    Suspensions,
    Spread,
    Sweep,
    Init,
    Announce,
    Ledger,
    Step,
    /// A step that copies data: the rest of its copy stays unfinished that long.
    Copy,
}

const CALLS: [Call; 11] = [
    Call::Glance,
    Call::Lock,
    Call::List,
    Call::Look,
    Call::Suspensions,
    Call::Spread,
    Call::Sweep,
    Call::Init,
    Call::Announce,
    Call::Ledger,
    Call::Step,
];

/// How long a slow call takes: less than the time-out of 30 s.
const SLOW: Duration = Duration::from_secs(10);

/// Which calls of which backend are slow, and how many were made.
#[derive(Default)]
pub(super) struct Slowness {
    slow: Mutex<Option<(Name, Call)>>,
    /// Another one.
    pub(super) also: Mutex<Option<(Name, Call)>>,
    /// The other one takes a second only.
    pub(super) short: AtomicBool,
    pub(super) made: AtomicU64,
    /// Steps fail.
    pub(super) fails: AtomicBool,
    /// Steps that copy fail.
    pub(super) copies_fail: AtomicBool,
    /// Steps that copy end in a panic.
    pub(super) panics: AtomicBool,
    /// Listings do not show everything.
    pub(super) partial: AtomicBool,
    /// Nothing can be observed.
    pub(super) gone: AtomicBool,
}

struct SlowPool {
    name: Name,
    sim: Arc<SimDriver>,
    slowness: Arc<Slowness>,
}

impl SlowPool {
    async fn call(&self, call: Call) {
        let this = Some((self.name.clone(), call));
        let Slowness { slow, also, short, .. } = &*self.slowness;
        let (is_slow, is_also) = (*slow.lock().unwrap() == this, *also.lock().unwrap() == this);
        if is_slow || is_also {
            self.slowness.made.fetch_add(1, Ordering::SeqCst);
            let is_short = is_also && short.load(Ordering::SeqCst);
            tokio::time::sleep(if is_short { Duration::from_secs(1) } else { SLOW }).await;
        }
    }
}

impl SlowPool {
    async fn copy(&self, step: &Step, context: &StepContext) {
        let (world, unfinished) = (self.sim.world(), step.address_of_unfinished());
        if let Some(at) = &unfinished {
            world.lock().unwrap().make_by_hand(&at.native, SimObject::empty(Size(1 << 20)));
        }
        (context.progress)(43, 100);
        self.call(Call::Copy).await;
        if let Some(at) = &unfinished {
            let is_there = world.lock().unwrap().delete_by_hand(&at.native);
            assert!(is_there, "{} was swept while it was made", at.native);
        }
    }
}

#[async_trait]
impl Driver for SlowPool {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }
    fn capabilities(&self) -> &Capabilities {
        self.sim.capabilities()
    }
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        if self.name.as_str() == "slow" && self.slowness.gone.load(Ordering::SeqCst) {
            return Err(DriverError::before(ErrorKind::Unreachable, "it is gone"));
        }
        self.call(match scope {
            Scope::All { .. } => Call::List,
            Scope::Objects(objects) if objects.is_empty() => Call::Glance,
            Scope::Objects(_) => Call::Look,
        })
        .await;
        let mut answer = self.sim.observe(scope).await;
        if matches!(scope, Scope::All { .. }) {
            if let (true, Ok(seen)) = (self.slowness.partial.load(Ordering::SeqCst), &mut answer) {
                seen.objects.clear();
                seen.listed = Listed::NONE;
                seen.gaps.push("a directory cannot be read".to_owned());
            }
            self.call(Call::Answer).await;
        }
        answer
    }
    fn access(&self, object: &Address) -> Access {
        self.sim.access(object)
    }
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        if step.action.is_copy() {
            self.copy(step, context).await;
            assert!(!self.slowness.panics.load(Ordering::SeqCst), "the driver panics");
            if self.slowness.copies_fail.load(Ordering::SeqCst) {
                return Err(DriverError::before(ErrorKind::Permanent, "no copy"));
            }
        }
        self.call(if step.action == Action::Sweep { Call::Sweep } else { Call::Step }).await;
        if self.slowness.fails.load(Ordering::SeqCst) {
            return Err(DriverError::before(ErrorKind::Permanent, "no"));
        }
        self.sim.execute(step, context).await
    }
}

#[async_trait]
impl PoolMetadata for SlowPool {
    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        self.call(Call::Init).await;
        self.sim.init_pool().await
    }
    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        self.call(Call::Lock).await;
        self.sim.lock(owner).await
    }
    async fn announce(&self, owner: &Owner) {
        self.call(Call::Announce).await;
        self.sim.announce(owner).await;
    }
    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        self.sim.ledger(owner).await
    }
    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError> {
        self.call(Call::Ledger).await;
        self.sim.change_ledger(commit).await
    }
    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        self.call(Call::Ledger).await;
        self.sim.write_ledger(ledger).await
    }
    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        self.sim.remove_ledger(owner).await
    }
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        self.call(Call::Suspensions).await;
        self.sim.suspensions(owner).await
    }
    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        self.call(Call::Spread).await;
        self.sim.write_suspension(suspension).await
    }
}

/// The pools by the name of their Backend.
pub(super) struct Pools {
    pub(super) sims: BTreeMap<Name, Arc<SimDriver>>,
    pub(super) slowness: Arc<Slowness>,
}

impl Connect for Pools {
    fn connect(&self, spec: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        let (name, slowness) = (spec.meta.name.clone(), Arc::clone(&self.slowness));
        Ok(Arc::new(SlowPool { sim: Arc::clone(&self.sims[&name]), name, slowness }))
    }
}

pub(super) struct Five {
    pub(super) dir: tempfile::TempDir,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) pools: Arc<Pools>,
    pub(super) clock: Arc<Wall>,
    pub(super) ended: Ended,
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A Stack that allows three removals.
pub(super) const LIMITED: &str = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\n\
    spec: {id: 5c1d2e8a90, safety: {maxRemovals: 3, maxRemovedPercent: 100, maxRemovedBytes: 1Ti}}\n";

const BACKENDS: [&str; 5] = ["a", "b", "c", "d", "slow"];

impl Five {
    /// With the volume `old` on each backend; `fresh`: the slow one was never used.
    pub(super) async fn new(fresh: bool) -> Self {
        Self::of(fresh, Capabilities::everything()).await
    }

    /// With these capabilities of each backend.
    pub(super) async fn of(fresh: bool, capabilities: Capabilities) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("specs")).unwrap();
        let sim = |(seed, backend): (u64, &&str)| {
            let world = Arc::new(Mutex::new(SimWorld::new(seed)));
            let sim = SimDriver::new(world, FaultRates::NONE, 0).with_capabilities(capabilities.clone());
            (name(backend), Arc::new(sim))
        };
        let pools = Arc::new(Pools { sims: (0..).zip(&BACKENDS).map(sim).collect(), slowness: Arc::default() });
        let clock = Arc::new(Wall(AtomicU64::new(1_800_000_000)));
        let (reconciler, ended) = daemon(dir.path(), Arc::new(MemoryStore::new()), pools.clone(), &clock);
        let five = Self { dir, reconciler, pools, clock, ended };
        let head = "apiVersion: kiln/v1\nkind:";
        five.write("stack", &format!("{head} Stack\nmetadata: {{name: prod}}\nspec: {{id: 5c1d2e8a90}}\n"));
        for backend in BACKENDS {
            five.write(backend, &format!("{head} Backend\nmetadata: {{name: {backend}}}\nspec: {{driver: sim}}\n"));
        }
        five.declare("old", |backend| !(fresh && backend == "slow"));
        five.pass(Some(Due::Time)).await;
        tokio::time::advance(CONFIRM).await;
        five.pass(Some(Due::Time)).await;
        five
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join("specs").join(file).with_extension("yaml"), text).unwrap();
    }

    pub(super) fn declare(&self, volume: &str, on: impl Fn(&str) -> bool) {
        for backend in BACKENDS.iter().filter(|backend| on(backend)) {
            let meta = format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {volume}-{backend}}}\n");
            self.write(&format!("{volume}-{backend}"), &format!("{meta}spec: {{size: 1Mi, backend: {backend}}}\n"));
        }
    }

    pub(super) async fn pass(&self, due: Option<Due>) {
        self.pass_until(due, CancellationToken::new()).await;
    }

    pub(super) async fn pass_until(&self, due: Option<Due>, leave: CancellationToken) {
        let pass = self.reconciler.pass(Trigger::Loop(due, leave), CancellationToken::new(), Arc::new(LogReporter));
        match pass.await {
            Ok(_) | Err(PassRefused::Unchanged) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn live(&self, backend: &str) -> BTreeSet<String> {
        let world = self.pools.sims[&name(backend)].world();
        let world = world.lock().unwrap();
        let natives = world.live_objects().map(|(native, _)| native.as_str());
        let complete = natives.filter(|native| native.starts_with("kiln."));
        complete.filter_map(|native| Some(native.split('.').nth(2)?.to_owned())).collect()
    }

    pub(super) fn undeclare(&self, volume: &str, backend: &str) {
        self.remove(&format!("{volume}-{backend}"));
    }

    pub(super) fn remove(&self, file: &str) {
        fs::remove_file(self.dir.path().join("specs").join(file).with_extension("yaml")).unwrap();
    }

    /// From now on this call is slow.
    pub(super) fn slow(&self, call: Option<Call>) {
        *self.pools.slowness.slow.lock().unwrap() = call.map(|call| (name("slow"), call));
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.reconciler.config.store
    }

    /// Makes a pass whenever a slow backend has answered, as the loop does, until none is busy. Returns how many.
    pub(super) async fn catch_up(&self) -> usize {
        let mut passes = 0;
        loop {
            let ended = self.reconciler.background.ended.notified();
            if tokio::time::timeout(Duration::from_secs(100), ended).await.is_err() {
                assert!(!self.reconciler.background.is_busy());
                return passes;
            }
            passes += 1;
            assert!(passes < 100, "endless passes");
            self.pass(Some(Due::Answer)).await;
        }
    }

    /// The plan of a client, which waits for every backend.
    pub(super) async fn plan(&self) -> crate::plan::Plan {
        let setup = self.reconciler.setup(self.reconciler.read().await.reading);
        crate::engine::overview(&setup, &[]).await.plan
    }

    /// Whether each of the fast backends has the volume.
    fn is_fast_done(&self, volume: &str) -> bool {
        let fast = BACKENDS.iter().filter(|backend| **backend != "slow");
        fast.into_iter().all(|backend| self.live(backend).contains(&format!("{volume}-{backend}")))
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_delays_no_other_in_any_kind_of_call() {
    for call in CALLS {
        println!("{call:?}");
        let five = Five::new(call == Call::Init).await;
        let slow = &five.pools.sims[&name("slow")];
        let owner: Owner = "prod".parse().unwrap();
        match call {
            // Something unfinished is there.
            Call::Sweep => {
                let (kind, volume) = (Kind::Volume, name("half"));
                let uid = Uid::derive("5c1d2e8a90", &owner, kind, &name("slow"), &volume, 0);
                let identity = Identity { owner: owner.clone(), kind, name: volume, uid };
                let native = identity.temporary();
                slow.world().lock().unwrap().make_by_hand(&native, SimObject::empty(Size(1 << 20)));
            }
            // Only another pool knows of a suspension.
            Call::Spread => {
                let suspension = Suspension {
                    id: Some(SuspensionId::of("fsck")),
                    owner: owner.clone(),
                    object: Some((Kind::Volume, name("none")).into()),
                    reason: "fsck".to_owned(),
                    since: five.clock.now(),
                    until: None,
                    resumed: None,
                };
                five.pools.sims[&name("a")].write_suspension(&suspension).await.unwrap();
            }
            _ => {}
        }
        five.slow(Some(call));
        five.declare("new", |_| true);
        let leave = CancellationToken::new();
        let (reconciler, until) = (Arc::clone(&five.reconciler), leave.clone());
        let first = tokio::spawn(async move {
            let pass = reconciler.pass(Trigger::Loop(None, until), CancellationToken::new(), Arc::new(LogReporter));
            pass.await.map(|_| ())
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(five.is_fast_done("new"), "{call:?}: the steps of the others");
        assert!(five.pools.slowness.made.load(Ordering::SeqCst) > 0, "{call:?} was made");
        // As the loop does when another change is due.
        leave.cancel();
        five.declare("later", |_| true);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(first.is_finished(), "{call:?}: the pass goes on without it");
        first.await.unwrap().unwrap();
        let second = tokio::time::timeout(Duration::from_millis(500), five.pass(None)).await;
        assert!(second.is_ok() && five.is_fast_done("later"), "{call:?}: steps of a later change");
        // The slow one is reconciled as fast as it answers, and each pass does something for it.
        let passes = five.catch_up().await;
        assert!(passes <= 12, "{call:?}: {passes} passes");
        let made: BTreeSet<String> = ["new-slow", "later-slow"].map(str::to_owned).into();
        assert!(five.live("slow").is_superset(&made), "{call:?}: {:?}", five.live("slow"));
        for (backend, sim) in &five.pools.sims {
            assert!(sim.world().lock().unwrap().repeated().is_empty(), "{call:?} on {backend}");
        }
        assert!(five.store().intents().unwrap().is_empty(), "{call:?}: an intent is open");
        five.pass(Some(Due::Time)).await;
        five.catch_up().await;
        let left = five.plan().await;
        assert!(left.steps.is_empty() && left.held.is_empty(), "{call:?}: {left:?}");
    }
}

/// Declares the volume `new` everywhere, while the slow backend is slow in this call. Returns when a pass has left it behind.
pub(super) async fn left_behind(call: Call) -> Five {
    let five = Five::new(false).await;
    five.slow(Some(call));
    five.declare("new", |_| true);
    let leave = CancellationToken::new();
    leave.cancel();
    five.pass_until(None, leave).await;
    assert!(five.reconciler.background.is_busy() && five.is_fast_done("new"));
    five
}

#[tokio::test(start_paused = true)]
async fn steps_that_go_on_stop_before_the_next_one_when_the_manifests_change() {
    let five = Five::new(false).await;
    five.slow(Some(Call::Step));
    (0..20).for_each(|n| five.declare(&format!("many{n}"), |backend| backend == "slow"));
    let leave = CancellationToken::new();
    leave.cancel();
    five.pass_until(None, leave).await;
    (10..20).for_each(|n| five.undeclare(&format!("many{n}"), "slow"));
    five.pass(None).await;
    five.slow(None);
    five.catch_up().await;
    five.pass(Some(Due::Time)).await;
    // A backend takes eight calls at once.
    assert!(five.pools.slowness.made.load(Ordering::SeqCst) <= 8, "calls: {:?}", five.pools.slowness.made);
    let live = five.live("slow");
    assert!((0..10).all(|n| live.contains(&format!("many{n}-slow"))), "{live:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_of_steps_that_go_on_are_tried_again_later_and_later() {
    let five = left_behind(Call::Step).await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    five.catch_up().await;
    let failures = five.reconciler.known().failures.all().count();
    assert_eq!(failures, 1, "new-slow");
    assert!(!five.live("slow").contains("new-slow"));
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_the_backends_that_are_slow() {
    let five = left_behind(Call::Step).await;
    let specs = real(&five.dir.path().join("specs"));
    let apply = Trigger::Client(ApplyRequest { specs, ..ApplyRequest::default() });
    let report = five.reconciler.pass(apply, CancellationToken::new(), Arc::new(LogReporter)).await.unwrap();
    assert!(report.failed.is_empty() && report.busy.is_empty(), "{report:?}");
    assert!(five.live("slow").contains("new-slow"), "done by the steps that went on");
}

#[tokio::test(start_paused = true)]
async fn removals_that_go_on_count_against_the_limits() {
    let five = Five::new(false).await;
    five.write("stack", LIMITED);
    (0..3).for_each(|n| five.declare(&format!("out{n}"), |backend| ["slow", "a"].contains(&backend)));
    five.pass(None).await;
    five.catch_up().await;
    five.slow(Some(Call::Step));
    (0..3).for_each(|n| five.undeclare(&format!("out{n}"), "slow"));
    five.pass(Some(Due::Time)).await;
    tokio::time::advance(CONFIRM).await;
    let leave = CancellationToken::new();
    leave.cancel();
    five.pass_until(Some(Due::Time), leave).await;
    assert!(five.reconciler.background.is_busy(), "three removals go on");
    (0..3).for_each(|n| five.undeclare(&format!("out{n}"), "a"));
    five.pass(Some(Due::Time)).await;
    tokio::time::advance(CONFIRM).await;
    five.pass(Some(Due::Time)).await;
    assert!(five.reconciler.background.is_busy(), "they still do");
    assert!((0..3).all(|n| five.live("a").contains(&format!("out{n}-a"))), "{:?}", five.live("a"));
}

#[tokio::test(start_paused = true)]
async fn the_intent_of_a_step_that_goes_on_stays_open_also_when_its_backend_is_not_declared_any_more() {
    let five = left_behind(Call::Step).await;
    assert_eq!(five.store().intents().unwrap().len(), 1);
    ["slow", "old-slow", "new-slow"].iter().for_each(|file| five.remove(file));
    five.pass(None).await;
    tokio::time::advance(CONFIRM).await;
    five.pass(Some(Due::Time)).await;
    assert!(five.reconciler.background.is_busy() && five.store().intents().unwrap().len() == 1);
    five.catch_up().await;
    let last = five.store().journal(1).unwrap().remove(0);
    assert_eq!((last.outcome.as_str(), five.store().intents().unwrap().len()), ("changed", 0));
}

#[tokio::test(start_paused = true)]
async fn two_slow_backends_do_not_wake_each_other_for_ever() {
    let five = Five::new(false).await;
    *five.pools.slowness.also.lock().unwrap() = Some((name("a"), Call::List));
    five.slow(Some(Call::List));
    five.declare("new", |_| true);
    five.pass(None).await;
    let passes = five.catch_up().await;
    assert!(passes <= 4, "{passes} passes");
    assert!(five.is_fast_done("new") && five.live("slow").contains("new-slow"));
}
