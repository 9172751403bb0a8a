//! Plans of a session's own: the planner makes none in which a step waits for the completion of another, or with an unknown endpoint.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::driver::sim::{FaultRates, SimDriver, SimWorld};
use crate::driver::{Driver, PoolMetadata, StepContext};
use crate::engine::connect::Connect;
use crate::engine::effort::Fixed;
use crate::engine::options::Options;
use crate::engine::session::Session;
use crate::engine::setup::Setup;
use crate::engine::suspensions::StepSuspensions;
use crate::engine::{Confirmation, Reporter};
use crate::manifest::fixtures::reading_of;
use crate::model::{
    Access, Action, Address, BackendSpec, Capabilities, ErrorKind, Identity, Kind, Name, Observed, Owner, Provisioning,
    Reason, Scope, Size, Suspension, Tags, Uid, VolumeSettings,
};
use crate::plan::Plan;
use crate::store::{MemoryStore, Store};

const READING: &str = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";

/// A simulated pool on which the steps of some objects fail.
#[derive(Clone)]
struct FailingPool {
    sim: Arc<SimDriver>,
    /// By the name of the object.
    fails: BTreeMap<&'static str, Effect>,
}

#[async_trait]
impl Driver for FailingPool {
    fn metadata(&self) -> &dyn PoolMetadata {
        self.sim.metadata()
    }
    fn capabilities(&self) -> &Capabilities {
        self.sim.capabilities()
    }
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        self.sim.observe(scope).await
    }
    fn access(&self, object: &Address) -> Access {
        self.sim.access(object)
    }
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        match self.fails.get(step.identity.name.as_str()) {
            Some(effect) => Err(DriverError { effect: *effect, ..DriverError::before(ErrorKind::Permanent, "no") }),
            None => self.sim.execute(step, context).await,
        }
    }
}

impl Connect for FailingPool {
    fn connect(&self, _: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(self.clone()))
    }
}

/// Hears how each step ended.
#[derive(Default)]
struct Ends(Mutex<Vec<String>>);

#[async_trait]
impl Reporter for Ends {
    fn event(&self, event: Event) {
        let end = match event {
            Event::Finished { object, outcome, .. } => format!("{} {}", object.name, outcome.as_str()),
            Event::Skipped { object, .. } => format!("{} skipped", object.name),
            Event::Note { .. } | Event::Started { .. } | Event::Progress { .. } | Event::Retrying { .. } => return,
        };
        self.0.lock().unwrap().push(end);
    }
    async fn confirm(&self, _: &Plan) -> Confirmation {
        Confirmation::Given
    }
}

/// A step that creates a volume, after the success of some steps and the completion of others.
fn step(name: &str, after: &[usize], after_completion: &[usize]) -> Step {
    let (owner, backend, name) = (Owner::unnamed(), "fast".parse::<Name>().unwrap(), name.parse::<Name>().unwrap());
    let uid = Uid::derive("", &owner, Kind::Volume, &backend, &name, 0);
    let identity = Identity { owner, kind: Kind::Volume, name, uid };
    let (size, provisioning) = (Size(1 << 20), Provisioning::Thin);
    let action = Action::Create {
        size,
        provisioning,
        origin: None,
        tags: Tags::default(),
        settings: VolumeSettings::default(),
        n: 0,
    };
    Step {
        after: after.to_vec(),
        after_completion: after_completion.to_vec(),
        ..Step::new(backend, identity, action, Reason::NotThere)
    }
}

struct Ran {
    /// How the steps ended, in this order.
    ends: Vec<String>,
    report: Report,
    store: Arc<MemoryStore>,
    /// The volumes that exist.
    made: usize,
}

/// Runs steps as the plan of a session.
async fn ran(steps: Vec<Step>, fails: &[(&'static str, Effect)], options: &Options, suspended: Option<&str>) -> Ran {
    let world = Arc::new(Mutex::new(SimWorld::new(7)));
    let sim = Arc::new(SimDriver::new(Arc::clone(&world), FaultRates::NONE, 0));
    let store = Arc::new(MemoryStore::new());
    let setup = Setup {
        reading: Arc::new(reading_of(READING)),
        store: Some(store.clone()),
        connect: Arc::new(FailingPool { sim: Arc::clone(&sim), fails: fails.iter().copied().collect() }),
        clock: Arc::new(Fixed(1_800_000_000)),
        jobs: Arc::default(),
    };
    let ends = Arc::new(Ends::default());
    let mut session = Session::begin_writing(&setup, None).await.unwrap();
    session.recover(ends.as_ref()).await.unwrap();
    let owner = Owner::unnamed();
    if let Some(name) = suspended {
        let object = Some((Kind::Volume, name.parse().unwrap()).into());
        let reason = "fsck".to_owned();
        let one = Suspension { id: None, owner: owner.clone(), object, reason, since: 0, until: None, resumed: None };
        sim.init_pool().await.unwrap();
        sim.write_suspension(&one).await.unwrap();
    }
    let plan = Arc::new(Plan::of(owner, String::new(), steps));
    let mut report = Report::default();
    session.execute(&plan, options, ends.clone(), &mut report).await.unwrap();
    let ends = std::mem::take(&mut *ends.0.lock().unwrap());
    let made = world.lock().unwrap().live_objects().count();
    Ran { ends, report, store, made }
}

#[tokio::test]
async fn a_step_waits_for_the_completion_of_another_and_not_for_its_success() {
    let close_restore_open = || vec![step("close", &[], &[]), step("restore", &[0], &[]), step("open", &[], &[1])];
    let (no, yes, unknown) = (Effect::No, Effect::Yes, Effect::Unknown);
    for (what, fails, ends) in [
        ("it was done", &[][..], &["close changed", "restore changed", "open changed"][..]),
        ("it had no effect", &[("restore", no)], &["close changed", "restore failed", "open changed"]),
        ("it had all of its effect", &[("restore", yes)], &["close changed", "restore failed", "open changed"]),
        ("its effect is unknown", &[("restore", unknown)], &["close changed", "restore failed", "open skipped"]),
        ("it was never begun", &[("close", no)], &["close failed", "restore skipped", "open changed"]),
        (
            "it was never begun because an effect is unknown",
            &[("close", unknown)],
            &["close failed", "restore skipped", "open changed"],
        ),
    ] {
        let ran = ran(close_restore_open(), fails, &Options::default(), None).await;
        assert_eq!(ran.ends, ends, "{what}");
        let skipped = ends.iter().filter(|end| end.ends_with("skipped")).count();
        assert_eq!((ran.report.skipped, ran.report.waiting.len()), (skipped, skipped), "{what}");
    }
}

#[tokio::test]
async fn a_step_that_waits_for_several_is_begun_only_when_none_of_them_is_left() {
    let unknown = [("a", Effect::Unknown)];
    let both = || vec![step("a", &[], &[]), step("b", &[], &[]), step("c", &[1], &[0])];
    assert_eq!(ran(both(), &[], &Options::default(), None).await.ends[2], "c changed");
    let ran_ = ran(both(), &unknown, &Options::default(), None).await;
    assert!(ran_.ends.contains(&"c skipped".to_owned()) && ran_.made == 1, "{:?}", ran_.ends);
    let without_effect = ran(both(), &[("a", Effect::No)], &Options::default(), None).await;
    assert!(without_effect.ends.contains(&"c changed".to_owned()), "{:?}", without_effect.ends);
    // What waits for one that is skipped in turn: it certainly has no effect.
    let chain = vec![step("a", &[], &[]), step("b", &[], &[0]), step("c", &[], &[1]), step("d", &[1], &[])];
    let ran = ran(chain, &unknown, &Options::default(), None).await;
    let mut ends = ran.ends.clone();
    ends.sort();
    assert_eq!(ends, ["a failed", "b skipped", "c changed", "d skipped"]);
}

#[tokio::test]
async fn a_step_that_waits_for_two_that_fail_is_skipped_once() {
    let steps = vec![step("a", &[], &[]), step("b", &[], &[]), step("c", &[0, 1], &[])];
    let ran = ran(steps, &[("a", Effect::No), ("b", Effect::No)], &Options::default(), None).await;
    assert_eq!((ran.report.skipped, ran.report.waiting.len()), (1, 1), "{:?}", ran.ends);
}

#[tokio::test]
async fn what_waits_for_the_completion_of_a_suspended_step_is_done() {
    let steps = vec![step("a", &[], &[]), step("b", &[], &[0]), step("c", &[0], &[])];
    let ran = ran(steps, &[], &Options::default(), Some("a")).await;
    assert_eq!(ran.ends, ["a skipped", "c skipped", "b changed"]);
    assert_eq!(ran.report.suspended.len(), 1);
}

#[tokio::test]
async fn a_stopped_run_begins_nothing_that_waits_for_a_completion() {
    let options = Options::default();
    options.stop.cancel();
    let ran = ran(vec![step("a", &[], &[]), step("b", &[], &[0])], &[], &options, None).await;
    assert_eq!((ran.ends, ran.made), (vec!["a skipped".to_owned(), "b skipped".to_owned()], 0));
    assert!(ran.report.stopped && ran.store.intents().unwrap().is_empty());
}

#[tokio::test]
async fn a_step_on_an_endpoint_that_is_not_open_fails_and_is_not_reported_as_done() {
    let endpoint = |endpoint: Endpoint| Step { endpoint, ..step("a", &[], &[]) };
    for unknown in [
        Endpoint::Backend("slow".parse().unwrap()),
        Endpoint::Target("tgt1".parse().unwrap()),
        // Of the name of a backend that is open.
        Endpoint::Target("fast".parse().unwrap()),
    ] {
        let steps = vec![endpoint(unknown.clone()), step("b", &[0], &[]), step("c", &[], &[0])];
        let ran = ran(steps, &[], &Options::default(), None).await;
        assert_eq!(ran.ends, ["a failed", "b skipped", "c changed"], "{unknown}");
        let [(failed, error)] = ran.report.failed.as_slice() else { panic!("{:?}", ran.report) };
        assert_eq!((&failed.endpoint, error), (&unknown, &DriverError::not_open()));
        assert_eq!((ran.report.changed, ran.made), (1, 1), "{unknown}");
        let journal = ran.store.journal(usize::MAX).unwrap();
        assert!(journal.iter().all(|line| line.endpoint != unknown), "{journal:?}");
    }
}

#[tokio::test]
async fn a_step_that_cannot_be_verified_is_not_reported_as_done() {
    let setup = Setup {
        reading: Arc::new(reading_of(READING)),
        store: None,
        connect: Arc::new(FailingPool {
            sim: Arc::new(SimDriver::new(Arc::default(), FaultRates::NONE, 0)),
            fails: BTreeMap::new(),
        }),
        clock: Arc::new(Fixed(1_800_000_000)),
        jobs: Arc::default(),
    };
    let target = Endpoint::Target("tgt1".parse().unwrap());
    let plan =
        Plan::of(Owner::unnamed(), String::new(), vec![Step { endpoint: target.clone(), ..step("a", &[], &[]) }]);
    let (store, stop) = (Arc::new(MemoryStore::new()), Default::default());
    let execution = Execution::new(
        setup,
        store,
        Arc::new(plan),
        StepSuspensions::nothing(),
        stop,
        false,
        Arc::new(Ends::default()),
    );
    let mut report = Report::default();
    verify(&execution, &target, None, vec![(0, Outcome::Changed)], &mut report).await;
    let [(failed, error)] = report.failed.as_slice() else { panic!("{report:?}") };
    assert_eq!((failed.identity.name.as_str(), error.effect), ("a", Effect::Yes));
    assert!(error.message.contains("target tgt1 is not open"), "{error}");
}
