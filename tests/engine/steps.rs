//! How steps are made: retries by the kind of error, time-outs, limits, what waits for what, stopping, and that what is reported is so.
//! Time is virtual throughout.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::rig::spy::{Spy, spied};
use crate::rig::{HEAD, Person, Point, Rig, Turned, held, once, run, snapshot, specs, volume};
use async_trait::async_trait;
use kiln::driver::sim::FaultRates;
use kiln::driver::sim::{Fault, SimDriver, SimEffect, SimObject, SimWorld};
use kiln::driver::{Driver, PoolMetadata, StepContext};
use kiln::engine::{Clock, Confirmation, Connect, Event, Options, Report, Reporter, Setup, StepObject, reconcile_once};
use kiln::model::{
    Absence, Access, Action, Address, BackendSpec, Blocker, BlockerReason, Capabilities, DriverError, Effect, Endpoint,
    ErrorKind, Identity, IntentId, JournalAction, JournalEntry, JournalOutcome, Kind, NativeForm, NativeName, Observed,
    OpenIntent, Outcome, Owner, Percent, PoolId, Reading, Records, Restores, Restoring, Scope, Size, Step, Tags,
};
use kiln::plan::{HeldReason, Observation, Plan};
use kiln::store::{Batch, MemoryStore, Store, StoreError};
use tokio::time::{Duration, Instant};

/// What a test makes of the n-th try of a step; `None`: the simulator does it.
type Script = Box<dyn Fn(&Step, u32) -> Option<Play> + Send + Sync>;

enum Play {
    Fail(DriverError),
    Sleep(Duration, bool),
}

/// A simulated pool that plays by a script, and remembers how many calls ran side by side.
#[derive(Clone)]
struct Played(Arc<Inner>);

struct Inner {
    sim: SimDriver,
    script: Script,
    tries: Mutex<BTreeMap<String, u32>>,
    running: Mutex<(usize, usize)>,
    /// A look at no object shows a pool without a mark.
    sees_no_pool_at_first: bool,
}

impl Played {
    fn new(sim: SimDriver, script: Script, sees_no_pool_at_first: bool) -> Self {
        let (tries, running) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { sim, script, tries, running, sees_no_pool_at_first }))
    }
}

#[async_trait]
impl Driver for Played {
    fn metadata(&self) -> &dyn PoolMetadata {
        self.0.sim.metadata()
    }
    fn capabilities(&self) -> &Capabilities {
        self.0.sim.capabilities()
    }
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        match scope {
            Scope::Objects(natives) if natives.is_empty() && self.0.sees_no_pool_at_first => Ok(Observed::nothing()),
            scope => self.0.sim.observe(scope).await,
        }
    }
    fn access(&self, object: &Address) -> Access {
        self.0.sim.access(object)
    }
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        let nth = {
            let mut tries = self.0.tries.lock().unwrap();
            let nth = tries.entry(step.native.to_string()).or_default();
            *nth += 1;
            *nth
        };
        {
            let mut running = self.0.running.lock().unwrap();
            running.0 += 1;
            running.1 = running.1.max(running.0);
        }
        let play = (self.0.script)(step, nth);
        let result = match play {
            Some(Play::Fail(error)) => Err(error),
            Some(Play::Sleep(time, progress)) => {
                let until = Instant::now() + time;
                while Instant::now() < until {
                    tokio::time::sleep((until - Instant::now()).min(Duration::from_secs(20))).await;
                    if progress {
                        (context.progress)(1, 2);
                    }
                }
                self.0.sim.execute(step, context).await
            }
            None => self.0.sim.execute(step, context).await,
        };
        self.0.running.lock().unwrap().0 -= 1;
        result
    }
}

impl Connect for Played {
    fn connect(&self, _: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(self.clone()))
    }
}

#[derive(Default)]
struct Ear(Mutex<Vec<(String, Duration)>>, Mutex<Option<(Instant, tokio_util::sync::CancellationToken)>>);

#[async_trait]
impl Reporter for Ear {
    fn event(&self, event: Event) {
        let line = match event {
            Event::Started { object, .. } => format!("started {}", object.name),
            Event::Retrying { object, .. } => format!("retrying {}", object.name),
            Event::Finished { object, error: None, .. } => format!("done {}", object.name),
            Event::Finished { object, .. } => format!("failed {}", object.name),
            Event::Skipped { object, .. } => format!("skipped {}", object.name),
            Event::Progress { .. } => "progress".to_owned(),
            Event::Note { .. } => return,
        };
        let mut stop = self.1.lock().unwrap();
        let (began, token) = stop.get_or_insert_with(|| (Instant::now(), tokio_util::sync::CancellationToken::new()));
        if line == "started stopper" {
            token.cancel();
        }
        self.0.lock().unwrap().push((line, began.elapsed()));
    }
    async fn confirm(&self, _: &Plan) -> Confirmation {
        Confirmation::Given
    }
}

struct Run {
    report: Report,
    heard: Vec<(String, Duration)>,
    most: usize,
    store: Arc<MemoryStore>,
}

impl Run {
    fn when(&self, line: &str) -> Option<Duration> {
        self.heard.iter().find(|(heard, _)| heard == line).map(|(_, when)| *when)
    }
}

fn play(specs: &Reading, script: impl Fn(&Step, u32) -> Option<Play> + Send + Sync + 'static) -> Run {
    run(async {
        let sim = SimDriver::new(Arc::new(Mutex::new(SimWorld::new(1))), FaultRates::NONE, 0);
        let played = Played::new(sim, Box::new(script), false);
        let store = Arc::new(MemoryStore::new());
        let dyn_store: Arc<dyn Store> = store.clone();
        let clock: Arc<dyn Clock> = Arc::new(Turned(1_800_000_000.into()));
        let setup = Setup {
            reading: Arc::new(specs.clone()),
            store: Some(dyn_store),
            connect: Arc::new(played.clone()),
            clock,
            jobs: Arc::default(),
        };
        let ear = Arc::new(Ear::default());
        let stop = tokio_util::sync::CancellationToken::new();
        *ear.1.lock().unwrap() = Some((Instant::now(), stop.clone()));
        let report = reconcile_once(&setup, &Options { stop, ..Options::default() }, ear.clone()).await.unwrap();
        let heard = ear.0.lock().unwrap().clone();
        let most = played.0.running.lock().unwrap().1;
        Run { report, heard, most, store }
    })
}

fn join(parts: &[String]) -> Reading {
    specs(&format!("{HEAD}{}", parts.concat()))
}

fn fails_with(kind: ErrorKind) -> impl Fn(&Step, u32) -> Option<Play> + Send + Sync + 'static {
    move |step, nth| {
        let error = DriverError::before(kind, "as the script says");
        (step.identity.name.as_str() == "bad" && nth <= 2).then_some(Play::Fail(error))
    }
}

#[test]
fn transient_errors_are_retried_with_growing_pauses_and_others_are_not() {
    let bad = join(&[volume("bad", "size: 1Mi"), volume("good", "size: 1Mi")]);
    for kind in [ErrorKind::Transient, ErrorKind::Unreachable] {
        let run = play(&bad, fails_with(kind));
        assert_eq!((run.report.changed, run.report.failed.len()), (2, 0), "{kind}");
        let retries: Vec<Duration> =
            run.heard.iter().filter(|(line, _)| line == "retrying bad").map(|(_, when)| *when).collect();
        assert_eq!(retries.len(), 2, "{kind}");
        let (first, second) = (retries[1] - retries[0], run.when("done bad").unwrap() - retries[1]);
        assert!(second > first, "{kind}: {first:?}, {second:?}");
    }
    for kind in [ErrorKind::Permanent, ErrorKind::Conflict, ErrorKind::Full, ErrorKind::Denied, ErrorKind::TimedOut] {
        let run = play(&bad, fails_with(kind));
        assert_eq!((run.report.changed, run.report.failed.len()), (1, 1), "{kind}");
        assert_eq!(run.when("retrying bad"), None, "{kind}");
    }
}

/// What a creation made twice would leave is counted: where calls cannot be repeated, the object is observed before the next try.
#[test]
fn a_call_whose_reply_was_lost_is_not_blindly_repeated() {
    let declared = join(&[
        volume("db", "size: 1Mi"),
        snapshot("s", "db", ""),
        volume("copy", "size: 1Mi, source: {snapshot: s}"),
        volume("named", "size: 1Mi, object: by-name"),
    ]);
    for (repeatable, cut) in [(true, 0), (false, 0), (false, 50)] {
        let mut changed = 0;
        for seed in 0..12 {
            run(async {
                let mut rig = Rig::new();
                rig.capabilities.repeatable = repeatable;
                rig.rates = FaultRates { lost_reply: Percent(60), cut: Percent(cut), ..FaultRates::NONE };
                rig.seed = seed;
                for _ in 0..3 {
                    changed += rig.pass(&declared).await.unwrap().changed;
                }
                rig.rates = FaultRates::NONE;
                rig.settle(&declared, 3, "without faults").await;
                assert_eq!(rig.count(SimEffect::Created), 4, "seed {seed}, repeatable: {repeatable}");
                assert_eq!(rig.world().live_objects().count(), 4, "seed {seed}, repeatable: {repeatable}");
            });
        }
        assert!(changed > 0, "no call succeeded within its pass");
    }
}

/// A call that failed without effect after one whose reply was lost proves nothing about the first.
#[test]
fn a_later_call_without_effect_does_not_hide_an_earlier_one() {
    for (first, open) in [(Effect::No, 0), (Effect::Unknown, 1)] {
        let fails = move |step: &Step, nth| {
            let effect = if nth == 1 { first } else { Effect::No };
            let error = DriverError { effect, ..DriverError::before(ErrorKind::Transient, "no connection") };
            step.native.as_str().contains("bad").then_some(Play::Fail(error))
        };
        let run = play(&join(&[volume("bad", "size: 1Mi")]), fails);
        assert_eq!(run.report.failed.len(), 1, "{first:?}");
        assert_eq!(run.store.intents().unwrap().len(), open, "{first:?}");
    }
}

/// Nor does it where calls cannot be repeated, and the observation in between showed the first one half done.
#[test]
fn a_later_call_without_effect_does_not_hide_a_half_restore() {
    run(async {
        let mut rig = Rig::new();
        rig.capabilities = Capabilities { restore: Restores::InSteps, repeatable: false, ..Capabilities::everything() };
        let made = join(&[volume("db", "size: 1Mi"), snapshot("s", "db", "")]);
        rig.settle(&made, 3, "made").await;
        let db = rig.native("db");
        let uid = rig
            .overview(&made)
            .await
            .world
            .values()
            .flat_map(Observation::objects)
            .find_map(|object| (object.kind() == Kind::Snapshot).then(|| object.uid()).flatten());
        let begun = Restoring { request: "one".to_owned(), snapshot: uid, size: None };
        rig.world().change_by_hand(&db, |object| object.tags.restoring = Some(Box::new(begun)));
        let fails = |_: &Step, nth| {
            let (effect, kind) =
                if nth == 1 { (Effect::Unknown, ErrorKind::Transient) } else { (Effect::No, ErrorKind::Busy) };
            Some(Play::Fail(DriverError { effect, ..DriverError::before(kind, "as the script says") }))
        };
        let sim =
            SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0).with_capabilities(rig.capabilities.clone());
        let setup = Setup { connect: Arc::new(Played::new(sim, Box::new(fails), false)), ..rig.setup(&made) };
        reconcile_once(&setup, &Options::default(), Arc::new(Ear::default())).await.unwrap();
        let open = setup.store.unwrap().intents().unwrap();
        assert_eq!(open.len(), 1, "the restore has begun");
    });
}

#[test]
fn busy_is_held_and_no_failure() {
    let run = play(&join(&[volume("bad", "size: 1Mi")]), fails_with(ErrorKind::Busy));
    assert!(run.report.failed.is_empty());
    let held = run.report.plan.unwrap().held;
    assert_eq!(held.iter().map(|held| held.reason).collect::<Vec<_>>(), [HeldReason::InUse]);
}

/// What was done and could not be made sure of afterwards is no answer of another's: it is told as a failure.
#[test]
fn busy_after_the_effect_is_a_failure() {
    for kind in [ErrorKind::Busy, ErrorKind::OtherWriter] {
        for (effect, failed) in [(Effect::No, 0), (Effect::Unknown, 0), (Effect::Yes, 1)] {
            let fails = move |step: &Step, _| {
                let error = DriverError { effect, ..DriverError::before(kind, "somebody else") };
                step.native.as_str().contains("bad").then_some(Play::Fail(error))
            };
            let report = play(&join(&[volume("bad", "size: 1Mi")]), fails).report;
            assert_eq!(report.failed.len(), failed, "{kind} {effect:?}");
            assert_eq!(report.plan.unwrap().held.len(), 1 - failed, "{kind} {effect:?}");
        }
    }
}

/// An approval is not used up by a step that certainly had no effect.
#[test]
fn an_approval_outlives_a_restore_that_was_not_done() {
    run(async {
        let asks = join(&[volume("db", "size: 1Mi, restore: {snapshot: s, request: one}"), snapshot("s", "db", "")]);
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi"), snapshot("s", "db", "")]), 3, "made").await;
        let setup = |tries: u32| {
            let sim = SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0);
            let script = move |step: &Step, nth| {
                let busy = Play::Fail(DriverError::before(ErrorKind::Busy, "a client has just opened it"));
                (matches!(step.action, Action::Restore { .. }) && nth <= tries).then_some(busy)
            };
            Setup { connect: Arc::new(Played::new(sim, Box::new(script), false)), ..rig.setup(&asks) }
        };
        let pass = async |tries: u32| {
            let options = Options { unattended: true, ..Options::default() };
            let report = reconcile_once(&setup(tries), &options, Arc::new(Ear::default())).await.unwrap();
            report.plan.unwrap()
        };
        let digest = pass(0).await.awaiting.unwrap().digest;
        kiln::engine::approve(&setup(0), &digest, None).await.unwrap();
        for _ in 0..2 {
            let held: Vec<_> = pass(9).await.held.iter().map(|held| held.reason).collect();
            assert_eq!(held, [HeldReason::InUse]);
        }
        let plan = pass(0).await;
        assert_eq!((plan.held, plan.steps.len()), (Vec::new(), 1));
        assert_eq!(pass(0).await.steps, []);
    });
}

#[test]
fn dependents_of_a_failed_step_are_held_and_the_rest_runs() {
    let all = join(&[
        volume("bad", "size: 1Mi"),
        snapshot("of-bad", "bad", ""),
        volume("from-it", "size: 1Mi, source: {snapshot: of-bad}"),
        volume("other", "size: 1Mi"),
    ]);
    let run = play(&all, fails_with(ErrorKind::Permanent));
    assert_eq!((run.report.changed, run.report.failed.len(), run.report.skipped), (1, 1, 2));
    assert!(run.when("done other").is_some() && run.when("started of-bad").is_none());
    let held = run.report.plan.unwrap().held;
    let names: Vec<(Kind, &str, HeldReason)> =
        held.iter().map(|held| (held.kind, held.name.as_str(), held.reason)).collect();
    assert_eq!(
        names,
        [(Kind::Volume, "from-it", HeldReason::DependencyHeld), (Kind::Snapshot, "of-bad", HeldReason::DependencyHeld)]
    );
}

#[test]
fn steps_run_side_by_side_up_to_the_backends_limit() {
    let volumes: Vec<String> = (0..20).map(|n| volume(&format!("v{n}"), "size: 1Mi")).collect();
    let run = play(&join(&volumes), |_, _| Some(Play::Sleep(Duration::from_secs(1), false)));
    assert_eq!((run.report.changed, run.most), (20, 8));
}

#[test]
fn copies_leave_room_for_the_rest_and_show_how_far_they_are() {
    let mut parts = vec![volume("base", "size: 1Mi"), snapshot("s", "base", "")];
    parts.extend((0..8).map(|n| volume(&format!("copy{n}"), "size: 1Mi, source: {snapshot: s}")));
    parts.extend((0..30).map(|n| volume(&format!("z{n}"), "size: 1Mi")));
    let run = play(&join(&parts), |step, _| {
        let copies = matches!(&step.action, Action::Create { origin: Some(_), .. });
        Some(Play::Sleep(Duration::from_secs(if copies { 1000 } else { 1 }), copies))
    });
    assert_eq!((run.report.changed, run.report.failed.len()), (40, 0));
    let small = (0..30).map(|n| run.when(&format!("done z{n}")).unwrap()).max().unwrap();
    assert!(small < Duration::from_secs(60), "{small:?}: the rest waited for the copies");
    assert!(run.when("progress").is_some());
    assert!(run.when("done copy0").unwrap() > Duration::from_secs(999), "a copy that gets on is not given up");
}

#[test]
fn a_call_that_hangs_is_given_up_in_time_and_delays_nothing_else() {
    let both = join(&[volume("bad", "size: 1Mi"), volume("good", "size: 1Mi")]);
    let run = play(&both, |step, _| {
        (step.identity.name.as_str() == "bad").then_some(Play::Sleep(Duration::from_secs(1_000_000), false))
    });
    let (_, error) = &run.report.failed[0];
    assert_eq!((error.kind, error.effect), (ErrorKind::TimedOut, Effect::Unknown));
    assert_eq!(run.when("failed bad").unwrap().as_secs(), 30, "the Backend's time-out");
    assert!(run.when("done good").unwrap() < Duration::from_secs(1));
}

#[test]
fn a_copy_without_progress_is_given_up_after_ten_times_the_time_out() {
    let all = join(&[
        volume("base", "size: 1Mi"),
        snapshot("s", "base", ""),
        volume("bad", "size: 1Mi, source: {snapshot: s}"),
    ]);
    let run = play(&all, |step, _| {
        (step.identity.name.as_str() == "bad").then_some(Play::Sleep(Duration::from_secs(1_000_000), false))
    });
    assert_eq!(run.report.failed[0].1.kind, ErrorKind::TimedOut);
    assert_eq!(run.when("failed bad").unwrap().as_secs(), 300);
}

#[test]
fn stopping_finishes_what_runs_and_begins_nothing_more() {
    let mut parts: Vec<String> = (0..20).map(|n| volume(&format!("v{n}"), "size: 1Mi")).collect();
    parts.push(volume("stopper", "size: 1Mi"));
    let run = play(&join(&parts), |_, _| Some(Play::Sleep(Duration::from_secs(1), false)));
    assert!(run.report.stopped);
    let started = run.heard.iter().filter(|(line, _)| line.starts_with("started")).count();
    let done = run.heard.iter().filter(|(line, _)| line.starts_with("done")).count();
    assert_eq!(started, done, "what was begun was finished");
    assert_eq!(done + run.report.skipped, 21);
    assert!(run.report.skipped > 0);
    assert!(run.store.intents().unwrap().is_empty());
}

/// Every Backend is the pool of this driver.
struct One(Arc<SimDriver>);

impl Connect for One {
    fn connect(&self, _: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_rename_never_makes_a_second_volume_of_a_name() {
    // Every call in turn lies, or lists what was there one change ago, or a part of it.
    let made = join(&[volume("old", "size: 1Mi"), volume("new", "size: 1Mi")]);
    let renamed = join(&[volume("new, renamedFrom: old", "size: 1Mi")]);
    let (mut failed, mut held) = (0, 0);
    for (call, fault) in (0..24).flat_map(|call| [Fault::Lie, Fault::Stale, Fault::Cut].map(|fault| (call, fault))) {
        run(async {
            let rig = Rig::new();
            rig.settle(&made, 3, "made").await;
            let old = rig.native("old");
            rig.world().write(&old, 1, 7);
            let driver = Arc::new(SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0));
            driver.fail_at(call, fault);
            let setup = Setup { connect: Arc::new(One(driver)), ..rig.setup(&renamed) };
            let report = reconcile_once(&setup, &Options::default(), Arc::new(Ear::default())).await.unwrap();
            let live: Vec<String> = rig.world().live_objects().map(|(native, _)| native.to_string()).collect();
            let new = live.iter().filter(|native| native.contains(".new.")).count();
            assert!(new <= 1, "call {call}, {fault:?}: {live:?}");
            failed += usize::from(!report.failed.is_empty());
            held += report.plan.map_or(0, |plan| plan.held.len());
            rig.settle(&renamed, 4, "renamed").await;
            let new = rig.native("new");
            assert_eq!(rig.world().read(&new, 1), Some(7), "call {call}, {fault:?}");
        });
    }
    assert!(failed > 1 && held > 1, "{failed} passes failed, {held} volumes were held");
}

#[test]
fn what_was_reported_as_destroyed_and_not_seen_is_destroyed_later() {
    // A call lies, and one of the next answers only in part: the names that no list shows are not forgotten.
    let other = volume("other", "size: 1Mi");
    let going = ["one", "two", "three"].map(|name| volume(name, "size: 1Mi, onRemove: Delete"));
    let (made, withdrawn) = (join(&[&going[..], std::slice::from_ref(&other)].concat()), join(&[other]));
    let mut unseen = 0;
    for (lie, cut) in (0..16).flat_map(|lie| (lie + 1..lie + 6).map(move |cut| (lie, cut))) {
        run(async {
            let rig = Rig { capabilities: by_name(), ..Rig::new() };
            rig.settle(&made, 3, "made").await;
            let sim = SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0).with_capabilities(by_name());
            sim.fail_at(lie, Fault::Lie);
            sim.fail_at(cut, Fault::Cut);
            let setup = Setup { connect: Arc::new(One(Arc::new(sim))), ..rig.setup(&withdrawn) };
            let report = reconcile_once(&setup, &Options::default(), Arc::new(Ear::default())).await.unwrap();
            let left = rig.world().live_objects().count() - 1;
            unseen += usize::from(report.changed == 3 && left == 1);
            let records = rig.store.records().unwrap();
            let ledger = records.backends.values().find_map(|record| record.ledger.clone()).unwrap();
            let is_dead =
                |native: &NativeName| native.parse().is_some_and(|(_, _, _, uid)| ledger.tombstones.contains_key(&uid));
            let dead = rig.world().live_objects().map(|(native, _)| native.clone()).find(is_dead);
            assert_eq!(dead, None, "call {lie} lied, {cut} was cut: it has a tombstone, and is there");
            rig.settle(&withdrawn, 4, "withdrawn").await;
            assert_eq!(rig.world().live_objects().count(), 1, "call {lie} lied, {cut} was cut");
        });
    }
    assert!(unseen > 0, "no lie was unseen");
}

#[test]
fn what_was_reported_as_done_is_done() {
    // Every call of a driver in turn lies: what it says is believed only when a look agrees.
    let declared = join(&[
        volume("a", "size: 1Mi"),
        volume("b", "size: 1Mi"),
        snapshot("s", "a", ""),
        volume("c", "size: 2Mi, source: {snapshot: s}"),
    ]);
    let mut lies = 0;
    for call in 0..40 {
        run(async {
            let rig = Rig::new();
            let world = Arc::clone(&rig.world);
            let driver = Arc::new(SimDriver::new(world, FaultRates::NONE, 0));
            driver.fail_at(call, Fault::Lie);
            let setup = Setup { connect: Arc::new(One(driver)), ..rig.setup(&declared) };
            let report = reconcile_once(&setup, &Options::default(), Arc::new(Ear::default())).await.unwrap();
            let there = rig.world().live_objects().count();
            assert_eq!(
                report.changed, there,
                "call {call}: {} steps were reported as done, {there} objects are there",
                report.changed
            );
            assert_eq!(report.changed + report.failed.len() + report.skipped, 4, "call {call}");
            // The journal's last word on each object agrees with the backend.
            let mut last = BTreeMap::new();
            for entry in rig.store.journal(100).unwrap() {
                last.insert(entry.name.to_string(), entry.outcome);
            }
            let done = last.values().filter(|outcome| **outcome == JournalOutcome::Changed).count();
            assert_eq!(done, there, "call {call}: the journal says otherwise");
            lies += usize::from(!report.failed.is_empty());
        });
    }
    assert_eq!(lies, 4, "each of the four steps was lied about once");
}

#[test]
fn a_backend_that_is_away_delays_only_its_own() {
    let away = "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: away}\nspec: {driver: sim}\n";
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("here", "size: 1Mi")]), 3, "alone").await;
        let grown = join(&[away.to_owned(), volume("here", "size: 2Mi"), volume("there", "size: 1Mi, backend: away")]);
        let report = rig.pass(&grown).await.unwrap();
        let plan = report.plan.unwrap();
        assert_eq!(plan.unobserved.iter().map(|u| u.backend.as_str()).collect::<Vec<_>>(), ["away"]);
        let reasons: Vec<(&str, HeldReason)> = plan.held.iter().map(|h| (h.name.as_str(), h.reason)).collect();
        assert_eq!(reasons, [("there", HeldReason::Unobserved)]);
        assert_eq!((report.changed, report.failed.len()), (1, 0), "what is here was grown");
    });
}

#[test]
fn a_removal_over_the_limit_stays_held_when_objects_are_added() {
    run(async {
        let mut rig = Rig::new();
        rig.settle(&join(&[volume("old", "size: 1Mi")]), 3, "the old").await;
        let new = join(&[volume("new", "size: 1Mi")]);
        for _ in 0..3 {
            // The first pass makes the new one; then the old one is not the last volume there any more.
            let plan = rig.pass(&new).await.unwrap().plan.unwrap();
            let held: Vec<(&str, HeldReason)> = plan.held.iter().map(|h| (h.name.as_str(), h.reason)).collect();
            assert_eq!(held, [("old", HeldReason::RemovalLimit)]);
            rig.approve = vec![plan.awaiting.unwrap().digest];
            assert_eq!(rig.fork(true).pass(&new).await.unwrap().plan.unwrap().held, [], "approved, it goes");
            rig.approve.clear();
        }
    });
}

/// A store whose commits have to be waited for, as those of a disk have.
struct OnDisk(MemoryStore);

impl Store for OnDisk {
    fn records(&self) -> Result<Arc<Records>, StoreError> {
        self.0.records()
    }
    fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.0.intents()
    }
    fn next_intent(&self) -> IntentId {
        self.0.next_intent()
    }
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        std::thread::sleep(Duration::from_millis(1));
        self.0.commit(batch)
    }
    fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.0.journal(limit)
    }
}

impl OnDisk {
    fn is_open(&self, object: &StepObject) -> bool {
        self.0.intents().unwrap().iter().any(|intent| StepObject::from(&intent.step) == *object)
    }
    fn is_told(&self, name: &str) -> bool {
        self.0.journal(usize::MAX).unwrap().iter().any(|entry| entry.name.as_str() == name)
    }
}

struct Witness(Arc<OnDisk>);

#[async_trait]
impl Reporter for Witness {
    fn event(&self, event: Event) {
        if let Event::Finished { object, .. } = event {
            assert!(self.0.is_told(object.name.as_str()) && !self.0.is_open(&object), "{object:?} before its outcome");
        }
    }
    async fn confirm(&self, _: &Plan) -> Confirmation {
        Confirmation::Given
    }
}

#[test]
fn the_intent_is_on_disk_before_the_call_and_the_outcome_before_what_follows() {
    let mut parts = vec![volume("base", "size: 1Mi"), snapshot("s", "base", "")];
    parts.extend((0..50).map(|n| volume(&format!("v{n}"), "size: 1Mi")));
    let specs = join(&parts);
    let store = Arc::new(OnDisk(MemoryStore::new()));
    let seen = store.clone();
    let script: Script = Box::new(move |step, _| {
        assert!(seen.is_open(&step.into()), "{step:?} before its intent");
        assert!(step.identity.name.as_str() != "s" || seen.is_told("base"), "before what it waits for");
        None
    });
    let sim = SimDriver::new(Arc::new(Mutex::new(SimWorld::new(1))), FaultRates::NONE, 0);
    let played = Played::new(sim, script, false);
    let setup = Setup {
        reading: Arc::new(specs),
        store: Some(store.clone()),
        connect: Arc::new(played.clone()),
        clock: Arc::new(Turned(1_800_000_000.into())),
        jobs: Arc::default(),
    };
    // In real time: what waits for a disk waits in a thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let options = Options::default();
    let report = runtime.block_on(reconcile_once(&setup, &options, Arc::new(Witness(store.clone())))).unwrap();
    assert_eq!((report.changed, report.failed.len()), (52, 0));
    assert!(played.0.running.lock().unwrap().1 <= 8, "no more calls at once than the Backend takes");
    assert!(store.0.intents().unwrap().is_empty());
}

#[test]
fn recovery_does_not_report_an_unstarted_intent_as_done() {
    run(async {
        let rig = Rig::new();
        let clone = volume("clone", "size: 1Mi, source: {snapshot: s}");
        let declared = join(&[volume("base", "size: 1Mi"), snapshot("s", "base", ""), clone]);
        let plan = rig.pass(&declared).await.unwrap().plan.unwrap();
        let made = plan.steps.iter().find(|step| step.identity.name.as_str() == "s").unwrap();
        // A run that was killed between writing it down and the call: the clone goes on needing its snapshot.
        let intent = OpenIntent {
            id: rig.store.next_intent(),
            step: Step { action: Action::Detach, after: Vec::new(), ..made.clone() },
            at: rig.clock.now(),
        };
        rig.store.commit(Batch { open: vec![intent], ..Batch::default() }).unwrap();
        rig.pass(&declared).await.unwrap();
        assert!(rig.store.intents().unwrap().is_empty());
        let (journal, verb) = (rig.store.journal(usize::MAX).unwrap(), JournalAction::from(Action::Detach.verb()));
        let told: Vec<JournalOutcome> =
            journal.iter().filter(|e| e.action == verb).map(|entry| entry.outcome.clone()).collect();
        assert_eq!(told, [JournalOutcome::Failed]);
    });
}

/// The step that makes the volume `db`, and an intent for another action on it as an interrupted run leaves it.
async fn interrupted(rig: &Rig, declared: &Reading, action: impl FnOnce(&Step) -> Action) {
    let plan = rig.pass(declared).await.unwrap().plan.unwrap();
    let made = plan.steps.iter().find(|step| step.identity.name.as_str() == "db").unwrap();
    let step = Step { action: action(made), after: Vec::new(), ..made.clone() };
    let intent = OpenIntent { id: rig.store.next_intent(), step, at: rig.clock.now() };
    rig.store.commit(Batch { open: vec![intent], ..Batch::default() }).unwrap();
}

/// What the journal says of the intent of [`interrupted`].
fn told(rig: &Rig, action: &Action) -> Vec<String> {
    let journal = rig.store.journal(usize::MAX).unwrap();
    journal
        .into_iter()
        .filter(|entry| entry.detail == action.to_string())
        .map(|entry| entry.outcome.as_str().to_owned())
        .collect()
}

#[test]
fn recovery_judges_an_open_intent_by_what_it_observes() {
    for (done, outcome) in [(true, "changed"), (false, "failed")] {
        run(async {
            let rig = Rig::new();
            let declared = join(&[volume("db", "size: 1Mi")]);
            let grow = Action::Grow { to: Size(2 << 20) };
            interrupted(&rig, &declared, |_| grow.clone()).await;
            if done {
                let db = rig.world().live_objects().next().unwrap().0.clone();
                rig.world().resize_by_hand(&db, Size(2 << 20));
            }
            rig.pass(&declared).await.unwrap();
            assert_eq!(told(&rig, &grow), [outcome]);
            assert!(rig.store.intents().unwrap().is_empty());
        });
    }
}

#[test]
fn the_journal_does_not_claim_that_an_interrupted_destruction_is_why_an_object_is_gone() {
    for (action, message) in [
        (Action::Destroy, "interrupted; the object was gone when the backend was next observed"),
        (Action::Purge, "interrupted; the object was gone when the backend was next observed"),
        (Action::Grow { to: Size(1 << 20) }, "interrupted; the backend shows that it was done"),
    ] {
        run(async {
            let rig = Rig::new();
            let declared = join(&[volume("db", "size: 1Mi"), volume("keep", "size: 1Mi")]);
            interrupted(&rig, &declared, |_| action.clone()).await;
            if !matches!(action, Action::Grow { .. }) {
                // Another program may have removed it before the step began.
                let db = rig.native("db");
                rig.world().delete_by_hand(&db);
            }
            rig.pass(&declared).await.unwrap();
            let journal = rig.store.journal(usize::MAX).unwrap();
            let told: Vec<_> = journal.iter().filter(|entry| entry.detail == action.to_string()).collect();
            assert_eq!(told.len(), 1, "{journal:?}");
            assert_eq!((told[0].outcome.as_str(), told[0].message.as_deref()), ("changed", Some(message)));
        });
    }
}

#[test]
fn recovery_reports_an_open_intent_on_an_unknown_endpoint_as_failed() {
    let target = "---\napiVersion: kiln/v1\nkind: Target\nmetadata: {name: san}\n\
                  spec: {driver: tgt, tgt: {iqnPrefix: iqn.2026-01.org.example}}\n";
    for (endpoint, is_declared) in [
        (Endpoint::Backend("gone".parse().unwrap()), false),
        (Endpoint::Target("gone".parse().unwrap()), false),
        // Of the name of a Backend that is declared, and observed.
        (Endpoint::Target("pool".parse().unwrap()), false),
        (Endpoint::Target("san".parse().unwrap()), true),
    ] {
        run(async {
            let rig = Rig::new();
            let declared = join(&[volume("db", "size: 1Mi"), target.to_owned()]);
            let grow = Action::Grow { to: Size(1 << 20) };
            let plan = rig.pass(&declared).await.unwrap().plan.unwrap();
            let step = Step { action: grow.clone(), endpoint: endpoint.clone(), ..plan.steps[0].clone() };
            let intent = OpenIntent { id: rig.store.next_intent(), step, at: rig.clock.now() };
            rig.store.commit(Batch { open: vec![intent], ..Batch::default() }).unwrap();
            rig.pass(&declared).await.unwrap();
            // What cannot be observed yet stays open; what is gone is not silently forgotten, nor reported as done.
            assert_eq!(rig.store.intents().unwrap().len(), usize::from(is_declared), "{endpoint}");
            let expected: &[&str] = if is_declared { &[] } else { &["failed"] };
            assert_eq!(told(&rig, &grow), expected, "{endpoint}");
        });
    }
}

#[test]
fn recovery_settles_no_intent_by_an_incomplete_listing() {
    let (mut open, mut closed) = (0, 0);
    for seed in 0..16 {
        run(async {
            let mut rig = Rig::new();
            let declared = join(&[volume("db", "size: 1Mi")]);
            interrupted(&rig, &declared, |_| Action::Destroy).await;
            rig.rates = FaultRates { cut: Percent(100), ..FaultRates::NONE };
            rig.seed = seed;
            let report = rig.pass(&declared).await.unwrap();
            let Some(Observation::Seen { observed, .. }) = report.world.values().next() else { panic!("not seen") };
            let proven = observed.proves_gone(Kind::Volume, &[]);
            assert_eq!(rig.store.intents().unwrap().is_empty(), proven, "seed {seed}: {:?}", observed.listed);
            assert_eq!(told(&rig, &Action::Destroy).len(), usize::from(proven), "seed {seed}");
            if proven { closed += 1 } else { open += 1 }
        });
    }
    assert!(open > 2 && closed > 0, "{open} {closed}");
}

#[test]
fn recovery_reports_a_detach_as_done_when_no_object_names_the_snapshot() {
    let cases = [(true, "changed"), (false, "failed")];
    let all = [Capabilities::everything(), by_name()].into_iter().flat_map(|can| cases.map(|case| (can.clone(), case)));
    for (capabilities, (done, outcome)) in all {
        run(async {
            let rig = Rig { capabilities, ..Rig::new() };
            let clone = volume("clone", "size: 1Mi, source: {snapshot: db}");
            let declared = join(&[volume("base", "size: 1Mi"), snapshot("db", "base", ""), clone]);
            interrupted(&rig, &declared, |_| Action::Detach).await;
            if done {
                let clone = rig.world().live_objects().find(|(_, o)| o.parent.is_some()).unwrap().0.clone();
                rig.world().change_by_hand(&clone, |object| object.parent = None);
            }
            rig.pass(&declared).await.unwrap();
            assert_eq!(told(&rig, &Action::Detach), [outcome]);
        });
    }
}

#[test]
fn answers_that_are_no_answers_are_not_taken() {
    type Answering = fn(&mut Observed);
    let elsewhere = || Address::flat(&NativeName::new("not-asked-for"));
    // What becomes of an answer, and whether everything is known in the end.
    let cases: [(Answering, bool); 4] = [
        // It answers for a name that was not asked for.
        (|seen| seen.queried = [Address::flat(&NativeName::new("not-asked-for"))].into(), false),
        (|seen| seen.queried.extend([Address::flat(&NativeName::new("not-asked-for"))]), true),
        // Another pool answers.
        (
            |seen| {
                if !seen.queried.is_empty() {
                    seen.pool = Some(PoolId("another".to_owned()));
                    seen.objects.clear();
                }
            },
            false,
        ),
        // It answers for one name in each call, and says so.
        (
            |seen| {
                if let Some(first) = seen.queried.pop_first() {
                    seen.objects.retain(|object| object.is_at(&first));
                    seen.queried = [first].into();
                    seen.gaps.push("one name was answered for".to_owned());
                }
            },
            true,
        ),
    ];
    for (nth, (answer, is_known)) in cases.into_iter().enumerate() {
        run(async {
            let rig = Rig { capabilities: by_name(), ..Rig::new() };
            let declared =
                |from: usize| join(&(from..6).map(|n| volume(&format!("v{n}"), "size: 1Mi")).collect::<Vec<_>>());
            rig.settle(&declared(0), 3, "made").await;
            let (setup, _) = spied(&rig, &declared(5), Spy { answer: Some(answer), ..Spy::default() });
            let report = reconcile_once(&setup, &Options::default(), Arc::new(Ear::default())).await.unwrap();
            let Some(Observation::Seen { observed, .. }) = report.world.values().next() else { panic!("not seen") };
            assert!(!observed.queried.contains(&elsewhere()), "case {nth}");
            assert_eq!(observed.gaps.is_empty(), is_known, "case {nth}: {:?}", observed.gaps);
            assert_eq!(report.plan.unwrap().steps.len(), if is_known { 5 } else { 0 }, "case {nth}");
            rig.settle(&declared(5), 3, "withdrawn").await;
            assert_eq!(rig.world().live_objects().count(), 1, "case {nth}");
        });
    }
}

#[test]
fn recovery_asks_for_the_object_of_an_intent_that_nothing_else_knows() {
    run(async {
        let rig = Rig { capabilities: by_name(), ..Rig::new() };
        let declared = join(&[volume("db", "size: 1Mi")]);
        let plan = rig.pass(&declared).await.unwrap().plan.unwrap();
        let made = &plan.steps[0];
        let other = Identity { uid: "aaaaaaaa".parse().unwrap(), ..made.identity.clone() };
        let step = Step { native: other.native(), identity: other, action: Action::Destroy, ..made.clone() };
        let intent = OpenIntent { id: rig.store.next_intent(), step, at: rig.clock.now() };
        rig.store.commit(Batch { open: vec![intent], ..Batch::default() }).unwrap();
        rig.pass(&declared).await.unwrap();
        assert_eq!((rig.store.intents().unwrap(), told(&rig, &Action::Destroy)), (vec![], vec!["changed".to_owned()]));
    });
}

/// A run in which the replies to such steps are lost.
async fn without_replies(rig: &Rig, declared: &Reading, spy: Spy) -> Report {
    let (setup, _) = spied(rig, declared, spy);
    once(&setup).await
}

#[test]
fn a_detach_whose_reply_was_lost_is_seen_where_names_are_answered() {
    run(async {
        let capabilities = Capabilities { repeatable: false, ..by_name() };
        let rig = Rig { capabilities, ..Rig::new() };
        // More than are asked for in one call.
        let others: String = (0..1100).map(|nth| volume(&format!("v{nth}"), "size: 4Ki")).collect();
        let clone = volume("clone", "size: 1Mi, source: {snapshot: s}");
        let kept = [volume("base", "size: 1Mi"), clone, others];
        let declared = join(&[&kept[..], &[snapshot("s", "base", ", onRemove: Detach")]].concat());
        rig.settle(&declared, 3, "made").await;
        let loses: fn(&Action) -> bool = |action| *action == Action::Detach;
        let report = without_replies(&rig, &join(&kept), Spy { loses: Some(loses), ..Spy::default() }).await;
        assert!(report.failed.is_empty() && report.skipped == 0, "{:?}", report.failed);
        assert_eq!((rig.count(SimEffect::Detached), rig.store.intents().unwrap()), (1, vec![]));
        rig.stays_settled(&join(&kept)).await;
    });
}

#[test]
fn the_answer_of_another_pool_shows_no_effect() {
    let another: fn(&mut Observed) = |seen| {
        if !seen.queried.is_empty() {
            seen.pool = Some(PoolId("another".to_owned()));
        }
    };
    let creates: fn(&Action) -> bool = |action| matches!(action, Action::Create { .. });
    // A step that was reported as done, and one whose reply was lost.
    for (loses, effect) in [(None, Effect::Yes), (Some(creates), Effect::Unknown)] {
        run(async {
            let mut rig = Rig::new();
            rig.capabilities.repeatable = false;
            rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "made").await;
            let declared = join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")]);
            let report = without_replies(&rig, &declared, Spy { loses, answer: Some(another), ..Spy::default() }).await;
            let effects: Vec<Effect> = report.failed.iter().map(|(_, error)| error.effect).collect();
            assert_eq!(effects, [effect], "{:?}", report.failed);
        });
    }
}

/// Lists show only some of the objects, and names are answered for.
fn by_name() -> Capabilities {
    Capabilities { absence: Absence::ByName, ..Capabilities::everything() }
}

#[test]
fn a_rename_that_keeps_the_native_name_is_not_done_because_the_object_exists() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi, object: disk")]);
        let mut action = None;
        interrupted(&rig, &declared, |made| {
            let Action::Create { tags, .. } = &made.action else { panic!("{made:?}") };
            let identity = Identity { name: "new".parse().unwrap(), ..made.identity.clone() };
            let tags = Tags { identity: Some(Box::new(identity)), ..tags.clone() };
            action.insert(Action::Rename { from: made.native.clone(), tags }).clone()
        })
        .await;
        rig.pass(&declared).await.unwrap();
        assert_eq!(told(&rig, &action.unwrap()), ["failed"]);
        rig.stays_settled(&declared).await;
    });
}

#[test]
fn a_sweep_leaves_the_temporary_objects_of_other_owners() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&declared, 3, "made").await;
        let name = "half".parse().unwrap();
        let temporary =
            |owner: &str| NativeName::temporary(&owner.parse().unwrap(), &name, "aaaaaaaa".parse().unwrap());
        for owner in ["prod", "other"] {
            rig.world().make_by_hand(&temporary(owner), SimObject::empty(Size(4096)));
        }
        rig.pass(&declared).await.unwrap();
        let left = |owner| rig.world().live(&temporary(owner)).is_some();
        assert_eq!((left("prod"), left("other")), (false, true));
    });
}

#[test]
fn a_blocked_unfinished_object_is_neither_swept_nor_made_again() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        let pass = async |rig: &Rig| rig.pass(&declared).await.map(|_| ());
        let mut seen = 0;
        for at in 0..rig.calls_of(pass).await {
            let crashed = rig.killed(at, Point::Half, true, pass).await;
            let is_unfinished =
                |native: &&NativeName| native.parse().is_some_and(|(form, ..)| form == NativeForm::Temporary);
            let Some(left) = crashed.world().live_objects().map(|(native, _)| native).find(is_unfinished).cloned()
            else {
                continue;
            };
            seen += 1;
            let message = "it is mirrored to cluster b";
            let blocker = Box::new(Blocker { reason: BlockerReason::Mirrored, message: message.to_owned() });
            crashed.world().change_by_hand(&left, |object| object.blocker = Some(blocker));
            for _ in 0..2 {
                let person = Arc::new(Person { yes: true, heard: Mutex::default() });
                let setup = crashed.setup(&declared);
                let report = reconcile_once(&setup, &Options::default(), person.clone()).await.unwrap();
                assert!(crashed.world().live(&left).is_some(), "call {at}");
                assert!(report.failed.is_empty(), "call {at}: {report:?}");
                assert_eq!(held(&report), [("db", HeldReason::Blocked)], "call {at}");
                let heard = person.heard.lock().unwrap();
                assert!(heard.iter().any(|note| note.contains(message)), "call {at}: {heard:?}");
            }
            assert_eq!((crashed.count(SimEffect::Swept), crashed.count(SimEffect::Created)), (0, 0), "call {at}");
            crashed.world().change_by_hand(&left, |object| object.blocker = None);
            crashed.settle(&declared, 3, "made").await;
            assert!(crashed.world().live(&left).is_none(), "call {at}");
        }
        assert!(seen > 0, "no creation was interrupted");
    });
}

#[test]
fn a_sweep_needs_the_writer_lock() {
    run(async {
        // Another process founds the pool and begins to make an object, between our glance at the pool and our look at it.
        let world = Arc::new(Mutex::new(SimWorld::new(1)));
        let sim = SimDriver::new(Arc::clone(&world), FaultRates::NONE, 0);
        let owner: Owner = "prod".parse().unwrap();
        sim.init_pool().await.unwrap();
        let _theirs = sim.lock(&owner).await.unwrap();
        let temporary = NativeName::temporary(&owner, &"half".parse().unwrap(), "aaaaaaaa".parse().unwrap());
        world.lock().unwrap().make_by_hand(&temporary, SimObject::empty(Size(4096)));
        let setup = Setup {
            reading: Arc::new(join(&[volume("db", "size: 1Mi")])),
            store: Some(Arc::new(MemoryStore::new())),
            connect: Arc::new(Played::new(sim, Box::new(|_, _| None), true)),
            clock: Arc::new(Turned(1_800_000_000.into())),
            jobs: Arc::default(),
        };
        let report = reconcile_once(&setup, &Options::default(), Arc::new(Ear::default())).await.unwrap();
        assert_eq!(report.changed, 0, "{report:?}");
        assert!(world.lock().unwrap().live(&temporary).is_some(), "what another process was making is gone");
    });
}

#[test]
fn an_unsweepable_object_is_a_failure() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&declared, 3, "made").await;
        let temporary =
            NativeName::temporary(&"prod".parse().unwrap(), &"half".parse().unwrap(), "aaaaaaaa".parse().unwrap());
        rig.world().make_by_hand(&temporary, SimObject::empty(Size(4096)));
        rig.world().open(&temporary, "somebody");
        let report = rig.pass(&declared).await.unwrap();
        assert_eq!(report.plan.unwrap().held.len(), 1, "it is in use");
        rig.world().close(&temporary, "somebody");
        assert_eq!(rig.settle(&declared, 1, "swept").await, 1);
        assert!(rig.world().live(&temporary).is_none());
    });
}
