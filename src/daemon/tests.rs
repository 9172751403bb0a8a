//! Passes of a daemon over real manifests and a simulated pool; the tests control both clocks.

mod guards;
mod independence;
mod job_faults;
mod jobs;
mod left_behind;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api::protocol::{ApplyRequest, real};
use super::log_reporter::LogReporter;
use super::pass::{PassRefused, Trigger};
use super::reconciler::{DaemonConfig, Reconciler};
use super::schedule::{After, CONFIRM, Due};
use crate::driver::sim::{FaultRates, SimDriver};
use crate::driver::{Driver, PoolMetadata};
use crate::engine::{Clock, Connect, OpenPass, Operation, Options, Report, suspend};
use crate::manifest::Allowed;
use crate::model::{BackendSpec, DriverError, Kind, PoolId, PurgeMode, Reading, Suspension, SuspensionId, Verb};
use crate::store::{MemoryStore, Store, StoreError};

/// A wall clock that the test sets.
pub(super) struct Wall(AtomicU64);

impl Clock for Wall {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// One simulated pool. The hook runs when the pool is next opened, in the middle of a pass.
struct HookedPool {
    sim: Arc<SimDriver>,
    meanwhile: Mutex<Option<Hook>>,
    /// How often it was opened.
    opened: AtomicU64,
}

impl Connect for HookedPool {
    fn connect(&self, _: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        if let Some(hook) = self.meanwhile.lock().unwrap().take() {
            hook();
        }
        Ok(self.sim.clone())
    }
}

/// A daemon without its loop: each pass is made by the test.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    pub(super) reconciler: Arc<Reconciler>,
    clock: Arc<Wall>,
    pool: Arc<HookedPool>,
    _ended: Ended,
}

type Ended = mpsc::UnboundedReceiver<Result<After, StoreError>>;

fn daemon(dir: &Path, store: Arc<dyn Store>, pools: Arc<dyn Connect>, clock: &Arc<Wall>) -> (Arc<Reconciler>, Ended) {
    let config = DaemonConfig {
        specs: dir.join("specs"),
        state: dir.join("state"),
        allowed: Box::new(|| Ok(Allowed::default())),
        store,
        connect: pools,
        clock: clock.clone(),
        listen: None,
        commands: Default::default(),
    };
    let (ended, receiver) = mpsc::unbounded_channel();
    (Arc::new(Reconciler::new(config, ended).unwrap()), receiver)
}

const STACK: &str = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\n\
    spec: {id: 5c1d2e8a90, defaults: {backend: fast}, trash: {ttl: 1h}}\n---\n\
    apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";

pub(super) const HOUR: u64 = 3600;

impl Bench {
    /// With the volumes `a` and `b`, created.
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("specs")).unwrap();
        let clock = Arc::new(Wall(AtomicU64::new(1_800_000_000)));
        let sim = Arc::new(SimDriver::new(Arc::default(), FaultRates::NONE, 0));
        let pool = Arc::new(HookedPool { sim, meanwhile: Mutex::default(), opened: AtomicU64::new(0) });
        let (reconciler, ended) = daemon(dir.path(), Arc::new(MemoryStore::new()), pool.clone(), &clock);
        let bench = Self { dir, reconciler, clock, pool, _ended: ended };
        bench.write("stack.yaml", STACK);
        bench.volume("a");
        bench.volume("b");
        bench.confirmed().await;
        assert_eq!((bench.live(), bench.trash()), (2, 0));
        bench
    }

    /// With `b` in the trash, one second before both clocks agree that it has expired.
    async fn with_trash() -> Self {
        let bench = Self::new().await;
        bench.remove("b.yaml");
        bench.confirmed().await;
        assert_eq!((bench.live(), bench.trash()), (1, 1));
        // As the loop does, to verify.
        bench.pass().await.unwrap();
        bench.later(HOUR - 1).await;
        bench.pass().await.unwrap();
        assert_eq!(bench.trash(), 1);
        bench
    }

    /// Starts the daemon anew with a store, beside the same manifests and pool.
    pub(super) fn restart(&mut self, store: Arc<dyn Store>) {
        (self.reconciler, self._ended) = daemon(self.dir.path(), store, self.pool.clone(), &self.clock);
    }

    pub(super) fn specs(&self) -> PathBuf {
        real(&self.dir.path().join("specs"))
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join("specs").join(file), text).unwrap();
    }

    pub(super) fn volume(&self, name: &str) {
        let head = "apiVersion: kiln/v1\nkind: Volume\nmetadata:";
        self.write(&format!("{name}.yaml"), &format!("{head} {{name: {name}}}\nspec: {{size: 1Mi}}\n"));
    }

    pub(super) fn remove(&self, file: &str) {
        fs::remove_file(self.dir.path().join("specs").join(file)).unwrap();
    }

    /// Advances both clocks.
    pub(super) async fn later(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    pub(super) async fn triggered(&self, trigger: Trigger) -> Result<Report, PassRefused> {
        self.reconciler.pass(trigger, CancellationToken::new(), Arc::new(LogReporter)).await
    }

    pub(super) async fn pass(&self) -> Result<Report, PassRefused> {
        self.triggered(due()).await
    }

    /// Two passes with the confirmation read between them.
    pub(super) async fn confirmed(&self) {
        self.pass().await.unwrap();
        self.later(CONFIRM.as_secs()).await;
        self.pass().await.unwrap();
    }

    /// Runs a hook during the next pass, after it has read the manifests.
    fn meanwhile(&self, hook: impl FnOnce() + Send + 'static) {
        *self.pool.meanwhile.lock().unwrap() = Some(Box::new(hook));
    }

    pub(super) fn live(&self) -> usize {
        self.pool.sim.world().lock().unwrap().live_objects().count()
    }

    pub(super) fn trash(&self) -> usize {
        self.pool.sim.world().lock().unwrap().trashed_objects().count()
    }

    /// Asserts that the next pass purges `b`.
    async fn purges(&self) {
        self.later(CONFIRM.as_secs()).await;
        self.pass().await.unwrap();
        assert_eq!(self.trash(), 0);
    }
}

/// The loop makes a pass because its time has come.
pub(super) fn due() -> Trigger {
    Trigger::Loop(Some(Due::Time), CancellationToken::new())
}

/// The loop makes a pass because manifests may have changed.
pub(super) fn change() -> Trigger {
    Trigger::Loop(None, CancellationToken::new())
}

pub(super) fn ask(bench: &Bench) -> ApplyRequest {
    ApplyRequest { specs: bench.specs(), ..ApplyRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn a_removal_waits_for_the_confirmation_read() {
    let bench = Bench::new().await;
    bench.remove("b.yaml");
    bench.pass().await.unwrap();
    bench.later(CONFIRM.as_secs() - 1).await;
    bench.pass().await.unwrap();
    assert_eq!((bench.live(), bench.trash()), (2, 0));
    bench.later(1).await;
    bench.pass().await.unwrap();
    assert_eq!((bench.live(), bench.trash()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_pass_waits_for_each_writer_of_a_manifest() {
    let bench = Bench::new().await;
    let truncate = |file: &str| fs::File::create(bench.specs().join(file)).unwrap();
    let mut first = fs::File::options().append(true).open(bench.specs().join("a.yaml")).unwrap();
    first.write_all(b"# edited\n").unwrap();
    assert!(matches!(bench.pass().await, Err(PassRefused::Written)));
    bench.later(59).await;
    assert!(matches!(bench.pass().await, Err(PassRefused::Written)));
    // The wait is limited.
    bench.later(1).await;
    bench.pass().await.unwrap();
    drop(first);
    bench.pass().await.unwrap();
    bench.later(HOUR).await;
    let second = truncate("b.yaml");
    assert!(matches!(bench.pass().await, Err(PassRefused::Written)), "the second writer gets the full time too");
    drop(second);
    bench.volume("b");
    bench.confirmed().await;
    assert_eq!((bench.live(), bench.trash()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn constant_changes_of_the_manifests_do_not_prevent_purging() {
    let bench = Bench::with_trash().await;
    for n in 0..20 {
        bench.write("a.yaml", &format!("{}# {n}\n", fs::read_to_string(bench.specs().join("a.yaml")).unwrap()));
        bench.later(1).await;
        bench.pass().await.unwrap();
    }
    assert_eq!((bench.live(), bench.trash()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn manifests_are_read_again_just_before_a_purge() {
    let bench = Bench::with_trash().await;
    let file = bench.specs().join("b.yaml");
    let text = fs::read_to_string(bench.specs().join("a.yaml")).unwrap();
    let (wanted, broken) = (text.replace("name: a", "name: b"), "kind: [".to_owned());
    let stack = STACK.replace("ttl: 1h", "ttl: 1h, purge: manual");
    let other = STACK.replace("name: prod", "name: test");
    for (file, text) in [(file.clone(), wanted), (file, broken)] {
        bench.later(CONFIRM.as_secs()).await;
        let to = file.clone();
        bench.meanwhile(move || fs::write(to, text).unwrap());
        bench.pass().await.unwrap();
        assert_eq!(bench.trash(), 1, "{}", fs::read_to_string(&file).unwrap());
        fs::remove_file(file).unwrap();
    }
    for text in [stack, other] {
        bench.later(CONFIRM.as_secs()).await;
        let to = bench.specs().join("stack.yaml");
        bench.meanwhile(move || fs::write(to, text).unwrap());
        bench.pass().await.unwrap();
        assert_eq!(bench.trash(), 1);
        bench.write("stack.yaml", STACK);
    }
    bench.purges().await;
}

#[tokio::test(start_paused = true)]
async fn no_pass_and_no_purge_is_made_in_the_middle_of_a_checkout() {
    let bench = Bench::with_trash().await;
    bench.later(CONFIRM.as_secs()).await;
    let (dir, clock) = (bench.dir.path().to_owned(), Arc::clone(&bench.clock));
    bench.meanwhile(move || drop(guards::begin_checkout(&dir, &clock)));
    bench.pass().await.unwrap();
    assert_eq!(bench.trash(), 1, "the checkout began while the pass ran");
    bench.remove("a.yaml");
    assert!(matches!(bench.pass().await, Err(PassRefused::Checkout)));
    fs::remove_file(bench.dir.path().join(".git/index.lock")).unwrap();
    bench.purges().await;
}

#[tokio::test(start_paused = true)]
async fn another_stack_needs_the_confirmation_read() {
    let bench = Bench::new().await;
    bench.write("stack.yaml", &STACK.replace("name: prod", "name: test"));
    assert!(matches!(bench.pass().await, Err(PassRefused::OtherStack)));
    assert_eq!(bench.live(), 2);
    bench.later(CONFIRM.as_secs()).await;
    let report = bench.pass().await.unwrap();
    assert_eq!(report.plan.unwrap().owner.as_str(), "test");
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_a_client_with_broken_manifests_does_nothing() {
    let bench = Bench::new().await;
    bench.volume("c");
    bench.write("broken.yaml", "kind: [");
    assert!(
        matches!(bench.triggered(Trigger::Client(ask(&bench))).await, Err(PassRefused::Problems(problems)) if problems.len() == 1)
    );
    assert_eq!(bench.live(), 2);
    bench.remove("broken.yaml");
    bench.triggered(Trigger::Client(ask(&bench))).await.unwrap();
    assert_eq!(bench.live(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_purge_uses_the_backends_that_its_pass_has_open() {
    let bench = Bench::with_trash().await;
    let before = bench.pool.opened.load(Ordering::SeqCst);
    bench.purges().await;
    assert_eq!(bench.pool.opened.load(Ordering::SeqCst), before + 1);
    // The purge is in the journal, and no intent is left open.
    let store = &bench.reconciler.config.store;
    assert!(store.journal(1).unwrap().iter().any(|entry| entry.action == Verb::Destroy.into()), "purged");
    assert!(store.intents().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_changed_while_a_pass_ran_is_seen_before_its_purge() {
    let bench = Bench::with_trash().await;
    bench.later(CONFIRM.as_secs()).await;
    let manifests = bench.reconciler.read().await;
    let setup = bench.reconciler.setup(Arc::clone(&manifests.reading));
    let options = Options { unattended: true, ..Options::default() };
    let pass = async || crate::engine::reconcile(&setup, &options, Arc::new(LogReporter)).await.unwrap();
    let purge = async |(report, pass): (Report, OpenPass<'_>)| {
        bench.reconciler.purge(Some(pass), &manifests.reading, &options, &report, &manifests).await;
        bench.trash()
    };
    let (sim, world) = (&bench.pool.sim, bench.pool.sim.world());
    let suspension = Suspension {
        id: Some(SuspensionId::of("forensics")),
        owner: "prod".parse().unwrap(),
        object: Some((Kind::Volume, "b".parse().unwrap()).into()),
        reason: "forensics".to_owned(),
        since: bench.clock.now(),
        until: None,
        resumed: None,
    };
    let ended = pass().await;
    sim.write_suspension(&suspension).await.unwrap();
    assert_eq!(purge(ended).await, 1, "it is suspended");
    sim.write_suspension(&Suspension { resumed: Some(bench.clock.now()), ..suspension }).await.unwrap();
    let ended = pass().await;
    let pool = world.lock().unwrap().pool().cloned();
    world.lock().unwrap().swap_pool(Some(PoolId("another".to_owned())));
    assert_eq!(purge(ended).await, 1, "another pool is there");
    world.lock().unwrap().swap_pool(pool);
    let ended = pass().await;
    world.lock().unwrap().steal_lock(&"prod".parse().unwrap());
    assert_eq!(purge(ended).await, 1, "another process has the writer lock");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_object_is_not_purged() {
    let bench = Bench::with_trash().await;
    let setup = bench.reconciler.setup(bench.reconciler.read().await.reading);
    let b = Some((Kind::Volume, "b".parse().unwrap()).into());
    suspend(&setup, b.clone(), "forensics", None).await.unwrap();
    bench.later(CONFIRM.as_secs()).await;
    bench.pass().await.unwrap();
    assert_eq!(bench.trash(), 1);
    crate::engine::operate(&setup, Operation::Resume(b)).await.unwrap();
    bench.purges().await;
}

#[tokio::test(start_paused = true)]
async fn only_passes_of_the_loop_purge_and_none_that_leaves_doubt() {
    let bench = Bench::with_trash().await;
    bench.later(CONFIRM.as_secs()).await;
    // An apply of a client purges nothing.
    let report = bench.triggered(Trigger::Client(ask(&bench))).await.unwrap();
    assert_eq!(bench.trash(), 1);
    let manifests = bench.reconciler.read().await;
    let purge = async |reading: &Arc<Reading>, options: &Options, report: &Report| {
        bench.reconciler.purge(None, reading, options, report, &manifests).await;
        bench.trash()
    };
    let (reading, options) = (&manifests.reading, &Options::default());
    let mut manual = Reading::clone(reading);
    manual.specs_mut().stack.trash.purge = PurgeMode::Manual;
    assert_eq!(purge(&Arc::new(manual), options, &report).await, 1, "purging is manual");
    let breaks_an_invariant = Report { breaches: vec!["an invariant".to_owned()], ..report.clone() };
    assert_eq!(purge(reading, options, &breaks_an_invariant).await, 1, "the plan was refused");
    let ended_early = Report { stopped: true, ..report.clone() };
    assert_eq!(purge(reading, options, &ended_early).await, 1, "the pass was stopped");
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = Options { stop, ..Options::default() };
    assert_eq!(purge(reading, &stopped, &report).await, 1, "the daemon is ending");
    assert_eq!(purge(reading, options, &report).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limited_apply_confirms_no_removal() {
    let bench = Bench::new().await;
    bench.remove("b.yaml");
    let only = vec![(Kind::Volume, "a".parse().unwrap()).into()];
    bench.triggered(Trigger::Client(ApplyRequest { only, ..ask(&bench) })).await.unwrap();
    bench.pass().await.unwrap();
    assert_eq!((bench.live(), bench.trash()), (2, 0));
    bench.later(CONFIRM.as_secs()).await;
    bench.pass().await.unwrap();
    assert_eq!((bench.live(), bench.trash()), (1, 1));
}
