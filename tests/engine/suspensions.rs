//! Suspensions as records on the pools: none is lost with a store, none is missed that another process writes, and a resume wins.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::rig::spy::{Meanwhile, Spy, spied};
use crate::rig::{self, Doom, Pools, Rig, Turned, held, join, once, run, snapshot, volume};
use kiln::driver::PoolMetadata as _;
use kiln::driver::sim::{FaultRates, SimDriver, SimWorld};
use kiln::engine::{
    Clock, OperationError, Options, Purge, Report, Setup, SuspensionResult, reconcile, resume, suspend, trash_in,
    trash_purge, trash_purge_after, trash_purge_list,
};
use kiln::model::{Capabilities, Kind, NotAllowed, ObjectId, Reading, Seconds, Suspension, SuspensionId};
use kiln::plan::HeldReason;
use kiln::store::{Batch, MemoryStore, Store};

fn object(kind: Kind, name: &str) -> Option<ObjectId> {
    Some(ObjectId::new(kind, &name.parse().unwrap()))
}

fn suspended(name: &str) -> Vec<(&str, HeldReason)> {
    vec![(name, HeldReason::Suspended)]
}

#[test]
fn losing_the_store_loses_no_suspension() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "made").await;
        let larger = join(&[volume("db", "size: 2Mi")]);
        let written = suspend(&rig.setup(&larger), object(Kind::Volume, "db"), "work", None).await.unwrap();
        assert_eq!((written.missed.len(), written.said[1].as_str()), (0, "recorded on pool"));
        let other = rig.fork(false);
        assert_eq!(held(&other.pass(&larger).await.unwrap()), suspended("db"));
        resume(&other.setup(&larger), object(Kind::Volume, "db")).await.unwrap();
        // The first store still has it, and the pool knows that it was ended.
        let first = Rig { world: Arc::clone(&other.world), ..rig };
        assert_eq!(held(&first.pass(&larger).await.unwrap()), []);
        assert_eq!(first.store.records().unwrap().suspensions.len(), 0);
    });
}

#[test]
fn a_suspension_of_a_store_without_ids_is_carried_over_once() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "made").await;
        let larger = join(&[volume("db", "size: 2Mi")]);
        let old = Suspension {
            id: None,
            owner: "prod".parse().unwrap(),
            object: object(Kind::Volume, "db"),
            reason: "as it was written before".to_owned(),
            since: 1_700_000_000,
            until: None,
            resumed: None,
        };
        let change = || Batch { suspensions: vec![(old.key(), Some(old.clone()))], ..Batch::default() };
        rig.store.commit(change()).unwrap();
        assert_eq!(held(&rig.pass(&larger).await.unwrap()), suspended("db"));
        let keys: Vec<String> = rig.store.records().unwrap().suspensions.keys().cloned().collect();
        assert_eq!(keys, [Suspension { id: Some(old.id()), ..old.clone() }.key()]);
        let other = rig.fork(false);
        assert_eq!(held(&other.pass(&larger).await.unwrap()), suspended("db"), "it is on the pool");
        resume(&rig.setup(&larger), object(Kind::Volume, "db")).await.unwrap();
        // A store of that time may come back.
        rig.store.commit(change()).unwrap();
        assert_eq!(held(&rig.pass(&larger).await.unwrap()), []);
    });
}

#[test]
fn a_clock_that_jumps_ahead_ends_no_suspension_for_good() {
    run(async {
        let rig = Rig::new();
        let (made, larger) = (join(&[volume("db", "size: 1Mi")]), join(&[volume("db", "size: 2Mi")]));
        rig.settle(&made, 3, "made").await;
        suspend(&rig.setup(&made), object(Kind::Volume, "db"), "fsck", Some(Seconds(600))).await.unwrap();
        let jump = |by: u64| rig.clock.0.fetch_add(by, Ordering::SeqCst);
        jump(3600);
        for _ in 0..2 {
            assert_eq!(held(&rig.pass(&made).await.unwrap()), []);
        }
        rig.clock.0.fetch_sub(3600, Ordering::SeqCst);
        assert_eq!(held(&rig.pass(&larger).await.unwrap()), suspended("db"));
        // A day after its time it ends for good, and its record on the pool says so.
        jump(600 + 86_400);
        rig.pass(&larger).await.unwrap();
        let driver = SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0);
        let records = driver.suspensions(&"prod".parse().unwrap()).await.unwrap();
        assert!(records.iter().all(|one| one.resumed.is_some()), "{records:?}");
    });
}

#[test]
fn records_that_cannot_be_read_hold_the_whole_pool() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "made").await;
        let more = join(&[volume("db", "size: 2Mi"), volume("new", "size: 1Mi")]);
        suspend(&rig.setup(&more), object(Kind::Volume, "db"), "work", None).await.unwrap();
        assert!(rig.world().damage_suspensions(&"prod".parse().unwrap()));
        let events = rig.world().events().len();
        let report = rig.pass(&more).await.unwrap();
        assert_eq!(held(&report).iter().filter(|(_, reason)| *reason == HeldReason::Unobserved).count(), 2);
        assert_eq!(report.plan.unwrap().unobserved.len(), 1);
        assert_eq!(rig.world().events().len(), events);
    });
}

#[test]
fn a_suspension_of_the_same_object_takes_the_place_of_the_one_before() {
    run(async {
        let rig = Rig::new();
        let db = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&db, 3, "made").await;
        for reason in ["first", "second"] {
            suspend(&rig.setup(&db), object(Kind::Volume, "db"), reason, None).await.unwrap();
        }
        let reasons: Vec<String> = rig.overview(&db).await.suspended.into_iter().map(|one| one.reason).collect();
        assert_eq!(reasons, ["second"]);
        assert_eq!(resume(&rig.setup(&db), object(Kind::Volume, "db")).await.unwrap().said[0], "volume/db is resumed");
        assert_eq!(rig.fork(false).overview(&db).await.suspended, []);
        // One after the other within one second, with the same words: not the one that was ended.
        suspend(&rig.setup(&db), object(Kind::Volume, "db"), "second", None).await.unwrap();
        assert_eq!(rig.overview(&db).await.suspended.len(), 1);
    });
}

/// Two pools, each of which may be away.
struct Two {
    worlds: BTreeMap<String, Arc<Mutex<SimWorld>>>,
    store: Arc<MemoryStore>,
    clock: Arc<Turned>,
}

impl Two {
    fn new() -> Self {
        let world = |seed| Arc::new(Mutex::new(SimWorld::new(seed)));
        let worlds = BTreeMap::from([("pool".to_owned(), world(1)), ("other".to_owned(), world(2))]);
        let clock = Arc::new(Turned(AtomicU64::new(1_800_000_000)));
        Self { worlds, store: Arc::new(MemoryStore::new()), clock }
    }

    fn specs(size: &str) -> Reading {
        let other = "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: other}\nspec: {driver: sim}\n";
        join(&[other.to_owned(), volume("a", size), volume("b", &format!("{size}, backend: other"))])
    }

    fn setup(&self, specs: &Reading, away: &[&str]) -> Setup {
        let mut worlds = self.worlds.clone();
        worlds.retain(|name, _| !away.contains(&name.as_str()));
        let pools = Pools {
            worlds,
            rates: FaultRates::NONE,
            seed: 0,
            opened: AtomicU64::new(0),
            away: AtomicBool::new(false),
            doom: Doom::never(),
            capabilities: Capabilities::everything(),
        };
        let (store, clock): (Arc<dyn Store>, Arc<dyn Clock>) = (self.store.clone(), self.clock.clone());
        Setup {
            reading: Arc::new(specs.clone()),
            store: Some(store),
            connect: Arc::new(pools),
            clock,
            jobs: Arc::default(),
        }
    }

    async fn pass(&self, specs: &Reading, away: &[&str]) -> Report {
        self.clock.0.fetch_add(1, Ordering::SeqCst);
        once(&self.setup(specs, away)).await
    }

    fn lose_the_store(&mut self) {
        self.store = Arc::new(MemoryStore::new());
    }
}

#[test]
fn a_suspension_names_the_pools_it_reached_and_reaches_the_others_later() {
    run(async {
        let mut two = Two::new();
        assert_eq!(held(&two.pass(&Two::specs("size: 1Mi"), &[]).await), []);
        let larger = Two::specs("size: 2Mi");
        let SuspensionResult { said, missed } =
            suspend(&two.setup(&larger, &["other"]), None, "moving", None).await.unwrap();
        assert_eq!(said[1], "recorded on pool");
        assert!(missed.len() == 1 && missed[0].starts_with("not recorded on other: "), "{missed:?}");
        let all = || [suspended("a"), suspended("b")].concat();
        assert_eq!(held(&two.pass(&larger, &[]).await), all());
        // From now on the pool that was away knows it too, whatever else is gone.
        two.lose_the_store();
        let on_it = two.pass(&larger, &["pool"]).await;
        assert!(held(&on_it).contains(&suspended("b")[0]), "{:?}", held(&on_it));
    });
}

#[test]
fn a_resume_wins_on_a_pool_that_was_away_when_it_was_given() {
    run(async {
        for (lost, name) in [(false, "with the store"), (true, "without it")] {
            let mut two = Two::new();
            assert_eq!(held(&two.pass(&Two::specs("size: 1Mi"), &[]).await), []);
            let larger = Two::specs("size: 2Mi");
            assert_eq!(suspend(&two.setup(&larger, &[]), None, "moving", None).await.unwrap().missed, [""; 0]);
            let written = resume(&two.setup(&larger, &["other"]), None).await.unwrap();
            assert!(written.missed[0].starts_with("not recorded on other: "), "{written:?}");
            if lost {
                two.lose_the_store();
            } else {
                // A pass meanwhile does not forget what that pool has yet to be told.
                two.pass(&larger, &["other"]).await;
            }
            assert_eq!(held(&two.pass(&larger, &[]).await), [], "{name}");
            // It was told: it says so by itself.
            two.lose_the_store();
            let report = two.pass(&Two::specs("size: 3Mi"), &["pool"]).await;
            let held = held(&report);
            assert!(held.iter().all(|(_, reason)| *reason != HeldReason::Suspended), "{name}: {held:?}");
        }
    });
}

#[test]
fn a_resume_that_reached_no_pool_is_remembered_until_they_are_told() {
    run(async {
        let two = Two::new();
        assert_eq!(held(&two.pass(&Two::specs("size: 1Mi"), &[]).await), []);
        let larger = Two::specs("size: 2Mi");
        suspend(&two.setup(&larger, &[]), None, "moving", None).await.unwrap();
        let written = resume(&two.setup(&larger, &["pool", "other"]), None).await.unwrap();
        assert_eq!((written.said.len(), written.missed.len()), (1, 2), "{written:?}");
        two.pass(&larger, &["pool", "other"]).await;
        assert_eq!(two.store.records().unwrap().suspensions.len(), 1, "the pools have yet to be told");
        assert_eq!(held(&two.pass(&larger, &[]).await), []);
        assert_eq!(two.store.records().unwrap().suspensions.len(), 0);
    });
}

async fn suspended_meanwhile(what: Option<ObjectId>, resumed: Option<u64>, until: Option<u64>) -> Report {
    let suspension = Suspension {
        id: Some(SuspensionId::of("meanwhile")),
        owner: "prod".parse().unwrap(),
        object: what,
        reason: "meanwhile".to_owned(),
        since: 0,
        until,
        resumed,
    };
    let rig = Rig::new();
    let made =
        join(&[volume("db", "size: 1Mi"), snapshot("s", "db", ""), volume("copy", "size: 1Mi, source: {snapshot: s}")]);
    let world = Arc::clone(&rig.world);
    let meanwhile: Meanwhile = Box::new(move || {
        Box::pin(async move { SimDriver::new(world, FaultRates::NONE, 9).write_suspension(&suspension).await.unwrap() })
    });
    let (setup, _) = spied(&rig, &made, Spy { before_step: Mutex::new(Some(meanwhile)), ..Spy::default() });
    let report = once(&setup).await;
    assert_eq!(report.failed.len(), 0, "{report:?}");
    assert_eq!(rig.store.intents().unwrap(), [], "every intent is closed");
    report
}

#[test]
fn a_suspension_by_another_process_holds_in_the_middle_of_a_pass() {
    run(async {
        // By its own name, by that of what it reads, and with everything; what waits for it waits on.
        for what in [object(Kind::Snapshot, "s"), object(Kind::Volume, "db"), None] {
            let report = suspended_meanwhile(what.clone(), None, None).await;
            let expected = [("copy", HeldReason::DependencyHeld), ("s", HeldReason::Suspended)];
            let mut held = held(&report);
            held.sort();
            assert_eq!((report.changed, held), (1, expected.to_vec()), "{what:?}");
        }
        let last = suspended_meanwhile(object(Kind::Volume, "copy"), None, None).await;
        assert_eq!((last.changed, held(&last)), (2, suspended("copy")));
        for (what, resumed, until) in
            [(object(Kind::Volume, "elsewhere"), None, None), (None, Some(1), None), (None, None, Some(1_700_000_000))]
        {
            let report = suspended_meanwhile(what, resumed, until).await;
            assert_eq!((report.changed, held(&report).len()), (3, 0));
        }
    });
}

#[test]
fn an_object_suspended_after_listing_is_purged_only_by_name() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("a", "size: 1Mi"), volume("b", "size: 1Mi")]), 3, "made").await;
        let none = join(&[volume("b", "size: 1Mi")]);
        rig.settle(&none, 3, "trashed").await;
        rig.clock.0.fetch_add(8 * 86_400, Ordering::SeqCst);
        rig.pass(&none).await.unwrap();
        let setup = rig.setup(&none);
        let (listed, _) = trash_purge_list(&setup, &Purge::Expired).await.unwrap();
        assert_eq!(listed.len(), 1);
        let other = Rig { store: Arc::new(MemoryStore::new()), world: Arc::clone(&rig.world), ..rig.fork(false) };
        suspend(&other.setup(&none), None, "wait", None).await.unwrap();
        let refused = trash_purge(&setup, &Purge::Expired, &listed).await.unwrap();
        assert_eq!(refused.done, Vec::<String>::new());
        assert!(
            matches!(&refused.left[..], [OperationError::Held(why)] if why.contains("everything is suspended: wait")),
            "{refused:?}"
        );
        assert_eq!(rig.world().trashed_objects().count(), 1);
        assert_eq!(trash_purge_list(&setup, &Purge::Expired).await.unwrap(), (Vec::new(), 1));
        trash_purge(&setup, &Purge::Named((Kind::Volume, "a".parse().unwrap()).into()), &listed).await.unwrap();
        assert_eq!(rig.world().trashed_objects().count(), 0);
    });
}

#[test]
fn a_purge_after_a_pass_obeys_what_any_pool_and_the_path_policy_say_by_then() {
    run(async {
        let two = Two::new();
        let other =
            "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: other}\nspec: {driver: sim}\n".to_owned();
        let kept = [other, volume("b", "size: 1Mi, backend: other"), volume("c", "size: 1Mi")];
        two.pass(&join(&[kept.as_slice(), &[volume("a", "size: 1Mi")]].concat()), &[]).await;
        let kept = join(&kept);
        two.pass(&kept, &[]).await;
        two.clock.0.fetch_add(8 * 86_400, Ordering::SeqCst);
        two.pass(&kept, &[]).await;
        let trashed = || two.worlds["pool"].lock().unwrap().trashed_objects().count();
        let setup = two.setup(&kept, &[]);
        let purge = async |later: &Setup, meanwhile: &mut dyn FnMut()| {
            let person = Arc::new(rig::Person { yes: true, heard: Mutex::default() });
            let (report, pass) = reconcile(&setup, &Options::default(), person).await.unwrap();
            let trash = trash_in(&report.world, &kept.specs.stack.owner);
            assert_eq!(trash.len(), 1);
            meanwhile();
            trash_purge_after(pass, later, &trash).await.unwrap();
            trashed()
        };
        let mut not_allowed = kept.clone();
        not_allowed.not_allowed.push(NotAllowed {
            kind: Kind::Backend,
            name: "pool".parse().unwrap(),
            message: "the path is not allowed any more".to_owned(),
            fix: String::new(),
            unresponsive: false,
        });
        assert_eq!(purge(&two.setup(&not_allowed, &[]), &mut || ()).await, 1, "the path policy");
        // Another process, with another store, reaches only the other pool.
        let suspension = Suspension {
            id: Some(SuspensionId::of("wait")),
            owner: "prod".parse().unwrap(),
            object: None,
            reason: "wait".to_owned(),
            since: 1_800_000_000,
            until: None,
            resumed: None,
        };
        let reached = SimDriver::new(Arc::clone(&two.worlds["other"]), FaultRates::NONE, 0);
        let mut suspend =
            || futures_util::FutureExt::now_or_never(reached.write_suspension(&suspension)).unwrap().unwrap();
        assert_eq!(purge(&setup, &mut suspend).await, 1, "suspended on the other pool");
        resume(&setup, None).await.unwrap();
        assert_eq!(purge(&setup, &mut || ()).await, 0);
    });
}
