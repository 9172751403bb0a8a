//! Backends that can neither list their objects nor say that a name does not exist: absence is taken from the ledger.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::rig::spy::{Lie, Spy, spied};
use crate::rig::{self, HEAD, Point, Rig, held, join, once, run, snapshot, specs, volume};
use kiln::driver::sim::{FaultRates, SimEffect, SimObject};
use kiln::engine::{OperationError, adopt_owner, forget_backend, forget_object};
use kiln::model::{
    Absence, Action, Capabilities, Kind, Name, NativeName, ObjectRef, OpenIntent, Outcome, Percent, Reading, Reason,
    Restores, Restoring, Size, SnapshotAbility, Step, TrashAbility,
};
use kiln::plan::{HeldReason, Observation};
use kiln::report::{Commands, HeldView, backend_status, fold};
use kiln::store::{Batch, Store};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn rig_of(repeatable: bool) -> Rig {
    let everything = Capabilities::everything();
    let (trash, absence) = (TrashAbility::None, Absence::ByLedger);
    Rig { capabilities: Capabilities { trash, absence, repeatable, adopt: false, ..everything }, ..Rig::new() }
}

fn db(more: &str) -> Reading {
    join(&[volume("db", &format!("size: 1Mi, onRemove: Delete{more}"))])
}

/// A run in which the reply to each creation is lost. Returns how many calls it made.
async fn without_reply(rig: &Rig, declared: &Reading) -> usize {
    let loses: fn(&Action) -> bool = |action| matches!(action, Action::Create { .. });
    let (setup, spy) = spied(rig, declared, Spy { loses: Some(loses), ..Spy::default() });
    once(&setup).await;
    spy.steps.load(Ordering::SeqCst)
}

async fn is_held(rig: &Rig, declared: &Reading) -> Vec<(String, HeldReason)> {
    let report = rig.pass(declared).await.unwrap();
    assert_eq!(report.plan.as_ref().unwrap().steps, []);
    held(&report).into_iter().map(|(name, reason)| (name.to_owned(), reason)).collect()
}

#[test]
fn a_creation_whose_reply_was_lost_is_not_repeated() {
    for repeatable in [false, true] {
        run(async {
            let rig = rig_of(repeatable);
            let declared = db("");
            assert_eq!(without_reply(&rig, &declared).await, 1, "repeatable {repeatable}");
            let leaked = rig.native("db");
            for rig in [&rig, &rig.fork(false)] {
                for _ in 0..2 {
                    assert_eq!(is_held(rig, &declared).await, [("db".to_owned(), HeldReason::Unobserved)]);
                }
            }
            assert_eq!(rig.store.intents().unwrap().len(), 1, "its outcome is not known");
            // A person looked, and did not find it.
            for rig in [&rig.fork(true), &rig.fork(false)] {
                forget_object(&rig.setup(&declared), Kind::Volume, &name("db"), None).await.unwrap();
                assert!(rig.store.intents().unwrap().is_empty());
                rig.settle(&declared, 3, "made").await;
                assert_eq!(rig.count(SimEffect::Created), 2);
                let natives: Vec<NativeName> = rig.world().live_objects().map(|(native, _)| native.clone()).collect();
                assert!(natives.len() == 2 && natives.contains(&leaked), "it has another name: {natives:?}");
                rig.stays_settled(&declared).await;
            }
        });
    }
}

#[test]
fn lists_prove_nothing() {
    run(async {
        let rig = rig_of(false);
        let declared = db("");
        without_reply(&rig, &declared).await;
        let (setup, spy) = spied(&rig, &declared, Spy { claims: true, ..Spy::default() });
        assert_eq!(held(&once(&setup).await), [("db", HeldReason::Unobserved)]);
        assert_eq!(spy.steps.load(Ordering::SeqCst), 0);
        // Nor does a driver that lost its record of an object.
        let rig = rig_of(false);
        rig.settle(&declared, 3, "made").await;
        let db = rig.native("db");
        rig.world().change_by_hand(&db, |object| object.recorded = false);
        let (setup, spy) = spied(&rig, &declared, Spy { claims: true, ..Spy::default() });
        assert_eq!(held(&once(&setup).await), [("db", HeldReason::Unobserved)]);
        assert_eq!(spy.steps.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_snapshot_without_an_outcome_is_not_made_in_another_volume() {
    run(async {
        let mut rig = rig_of(false);
        let snapshots = rig.capabilities.snapshots.clone();
        rig.capabilities.snapshots = snapshots.map(|all| SnapshotAbility { nested: true, adopt: false, ..all });
        let s = |of: &str| snapshot("s", of, ", onRemove: Delete");
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "made").await;
        let loses: fn(&Action) -> bool = |action| matches!(action, Action::Snapshot { .. });
        let declared = join(&[volume("db", "size: 1Mi"), s("db")]);
        let (setup, _) = spied(&rig, &declared, Spy { loses: Some(loses), ..Spy::default() });
        once(&setup).await;
        // The volume is renamed with what is inside of it, and another gets its name.
        let old = volume("old", "size: 1Mi").replace("name: old", "name: old, renamedFrom: db");
        rig.settle(&join(std::slice::from_ref(&old)), 3, "renamed").await;
        let owner = "prod".parse().unwrap();
        let volumes: Vec<Option<Box<NativeName>>> = {
            let world = rig.world();
            world.ledger(&owner).unwrap().creating.values().map(|entry| entry.parent_volume.clone()).collect()
        };
        assert_eq!(volumes, [Some(Box::new(rig.native("old")))]);
        let both = join(&[volume("old", "size: 1Mi"), volume("db", "size: 2Mi"), s("db")]);
        rig.settle(&both, 3, "declared").await;
        assert_eq!(is_held(&rig, &both).await, [("s".to_owned(), HeldReason::Unobserved)]);
        rig::made_and_destroyed_once(&rig.world());
    });
}

#[test]
fn a_chosen_name_is_free_when_its_creation_is_forgotten() {
    run(async {
        let rig = rig_of(false);
        let declared = db(", object: by-name");
        without_reply(&rig, &declared).await;
        assert_eq!(is_held(&rig, &declared).await, [("db".to_owned(), HeldReason::Unobserved)]);
        rig.world().delete_by_hand(&NativeName::new("by-name"));
        assert_eq!(is_held(&rig, &declared).await, [("db".to_owned(), HeldReason::Unobserved)]);
        forget_object(&rig.setup(&declared), Kind::Volume, &name("db"), None).await.unwrap();
        rig.settle(&declared, 3, "made").await;
        assert!(rig.world().live(&NativeName::new("by-name")).is_some());
    });
}

#[test]
fn what_another_host_forgot_is_made_again() {
    run(async {
        let rig = rig_of(false);
        let declared = db(", object: by-name");
        rig.settle(&declared, 3, "made").await;
        rig.world().delete_by_hand(&NativeName::new("by-name"));
        assert_eq!(is_held(&rig, &declared).await, [("db".to_owned(), HeldReason::Unobserved)]);
        let other = Rig { world: Arc::clone(&rig.world), ..rig.fork(false) };
        forget_object(&other.setup(&declared), Kind::Volume, &name("db"), None).await.unwrap();
        rig.settle(&declared, 3, "made again").await;
        assert_eq!(rig.count(SimEffect::Created), 2);
    });
}

#[test]
fn a_creation_that_certainly_had_no_effect_is_planned_again() {
    run(async {
        let rig = rig_of(false);
        let declared = db(", object: by-name");
        // The backend refuses it: the name is that of an object that it does not show.
        let native = NativeName::new("by-name");
        rig.world().make_by_hand(&native, SimObject::empty(Size(1 << 20)));
        let report = rig.pass(&declared).await.unwrap();
        assert_eq!(report.failed.len(), 1, "{report:?}");
        rig.world().delete_by_hand(&native);
        rig.settle(&declared, 2, "made").await;
        assert_eq!(rig.count(SimEffect::Created), 1);
    });
}

#[test]
fn a_creation_that_leaves_no_record_has_failed() {
    run(async {
        let rig = rig_of(false);
        let declared = db("");
        let lies = Lie(|action| matches!(action, Action::Create { .. }), Outcome::Changed);
        let (setup, _) = spied(&rig, &declared, Spy { lies: Some(lies), ..Spy::default() });
        let report = once(&setup).await;
        assert_eq!((report.changed, report.failed.len()), (0, 1), "{report:?}");
        assert_eq!(is_held(&rig, &declared).await, [("db".to_owned(), HeldReason::Unobserved)]);
    });
}

#[test]
fn a_damaged_ledger_is_accepted_by_a_person_with_all_that_is_not_shown_given_up() {
    for with_store in [true, false] {
        run(async {
            let rig = rig_of(false);
            let declared = join(&[volume("web", "size: 1Mi"), volume("db", "size: 1Mi, object: by-name")]);
            let web = join(&[volume("web", "size: 1Mi")]);
            rig.settle(&web, 3, "made").await;
            without_reply(&rig, &declared).await;
            let owner = "prod".parse().unwrap();
            rig.world().damage_ledger(&owner, true);
            rig.world().delete_by_hand(&NativeName::new("by-name"));
            let rig = rig.fork(with_store);
            let changed = ["db", "web"].map(|name| (name.to_owned(), HeldReason::BackendChanged));
            assert_eq!(is_held(&rig, &declared).await, changed, "with store {with_store}");
            let said = forget_backend(&rig.setup(&declared), &name("pool"), None).await.unwrap();
            assert_eq!(said.contains("not there, and given up: volume db"), with_store, "{said}");
            assert!(rig.store.intents().unwrap().is_empty());
            rig.settle(&declared, 3, "made").await;
            assert_eq!(rig.overview(&declared).await.plan.held, []);
            assert_eq!(rig.count(SimEffect::Created), 3);
        });
    }
}

#[test]
fn recovery_takes_no_missing_record_for_a_destruction_while_records_cannot_be_read() {
    let mut open = 0;
    for seed in 0..8 {
        run(async {
            let mut rig = rig_of(false);
            let kept = join(&[volume("keep", "size: 1Mi")]);
            let both = join(&[volume("keep", "size: 1Mi"), volume("db", "size: 2Mi, onRemove: Delete")]);
            rig.settle(&both, 3, "made").await;
            // The process dies before the destruction begins.
            let calls = rig.calls_of(async |rig| rig.pass(&kept).await).await;
            for at in 0..calls {
                let mut crashed = rig.killed(at, Point::Before, true, async |rig| rig.pass(&kept).await).await;
                if crashed.store.intents().unwrap().is_empty() || crashed.count(SimEffect::Destroyed) > 0 {
                    continue;
                }
                open += 1;
                crashed.rates = FaultRates { cut: Percent(100), ..FaultRates::NONE };
                crashed.seed = seed;
                crashed.pass(&kept).await.unwrap();
                assert_eq!(crashed.store.intents().unwrap().len(), 1, "seed {seed}, call {at}");
                crashed.rates = FaultRates::NONE;
                crashed.settle(&kept, 3, "destroyed").await;
                assert_eq!(crashed.count(SimEffect::Destroyed), 1, "seed {seed}, call {at}");
            }
            rig.seed = seed;
        });
    }
    assert!(open > 0, "no destruction was interrupted");
}

#[test]
fn a_destruction_without_an_outcome_is_completed_and_its_object_does_not_count_as_there() {
    run(async {
        let rig = rig_of(false);
        let kept = join(&[volume("keep", "size: 1Mi")]);
        let both = join(&[volume("keep", "size: 1Mi"), volume("db", "size: 2Mi, onRemove: Delete")]);
        rig.settle(&both, 3, "made").await;
        let mut begun = 0;
        for at in 0..rig.calls_of(async |rig| rig.pass(&kept).await).await {
            let crashed = rig.killed(at, Point::Before, true, async |rig| rig.pass(&kept).await).await;
            if crashed.store.intents().unwrap().is_empty() || crashed.count(SimEffect::Destroyed) > 0 {
                continue;
            }
            begun += 1;
            for rig in [&crashed, &crashed.fork(false)] {
                for _ in 0..2 {
                    assert_eq!(is_held(rig, &both).await, [("db".to_owned(), HeldReason::Unobserved)]);
                }
                // Another call that certainly has no effect does not tell what became of the first.
                let (setup, _) = spied(rig, &kept, Spy { keeps: true, ..Spy::default() });
                assert_eq!(once(&setup).await.failed.len(), 1);
                assert_eq!(is_held(rig, &both).await, [("db".to_owned(), HeldReason::Unobserved)]);
                rig.settle(&kept, 3, "destroyed").await;
                assert_eq!(rig.count(SimEffect::Destroyed), 1);
                rig.settle(&both, 3, "made again").await;
                assert_eq!((rig.overview(&both).await.plan.held, rig.count(SimEffect::Created)), (vec![], 3));
            }
        }
        assert!(begun > 0, "no destruction was interrupted");
    });
}

#[test]
fn a_destruction_that_certainly_had_no_effect_leaves_its_object_as_it_was() {
    run(async {
        let rig = rig_of(false);
        let kept = join(&[volume("keep", "size: 1Mi")]);
        let both = join(&[volume("keep", "size: 1Mi"), volume("db", "size: 2Mi, onRemove: Delete")]);
        rig.settle(&both, 3, "made").await;
        let (setup, _) = spied(&rig, &kept, Spy { keeps: true, ..Spy::default() });
        assert_eq!(once(&setup).await.failed.len(), 1);
        rig.settle(&both, 2, "declared again").await;
        assert_eq!((rig.overview(&both).await.plan.held, rig.count(SimEffect::Created)), (vec![], 2));
    });
}

#[test]
fn recovery_does_not_say_that_a_change_had_no_effect() {
    run(async {
        let rig = rig_of(false);
        let declared = db("");
        let plan = rig.pass(&declared).await.unwrap().plan.unwrap();
        let grow = Action::Grow { to: Size(2 << 20) };
        let step = Step { action: grow.clone(), ..plan.steps[0].clone() };
        let intent = OpenIntent { id: rig.store.next_intent(), step, at: 0 };
        rig.store.commit(Batch { open: vec![intent], ..Batch::default() }).unwrap();
        rig.pass(&declared).await.unwrap();
        let journal = rig.store.journal(usize::MAX).unwrap();
        let told: Vec<_> = journal.iter().filter(|entry| entry.detail == grow.to_string()).collect();
        let message = "interrupted; the backend cannot show whether it had an effect";
        assert_eq!(told.iter().map(|entry| entry.message.as_deref()).collect::<Vec<_>>(), [Some(message)]);
        assert_eq!(rig.store.intents().unwrap(), []);
    });
}

#[test]
fn recovery_tells_of_a_restore_that_a_record_shows_to_be_incomplete() {
    run(async {
        let mut rig = rig_of(false);
        rig.capabilities.restore = Restores::InSteps;
        let declared = join(&[volume("db", "size: 1Mi"), snapshot("s", "db", ", onRemove: Delete")]);
        rig.settle(&declared, 3, "made").await;
        let world = rig.overview(&declared).await.world;
        let identity = |native: NativeName| {
            let object = world.values().flat_map(Observation::objects).find(|object| object.native == native);
            object.unwrap().identity.clone().unwrap()
        };
        let (db, s) = (identity(rig.native("db")), identity(rig.native("s")));
        let snapshot = ObjectRef::new(s.native(), s.uid, Size(1 << 20));
        let restore = Action::Restore { snapshot, request: "r".to_owned() };
        let begun = Restoring { request: "r".to_owned(), snapshot: Some(s.uid), size: None };
        rig.world().change_by_hand(&db.native(), |object| object.tags.restoring = Some(Box::new(begun)));
        let step = Step::new(name("pool"), db, restore.clone(), Reason::RestoreRequested);
        let intent = OpenIntent { id: rig.store.next_intent(), step, at: 0 };
        rig.store.commit(Batch { open: vec![intent], ..Batch::default() }).unwrap();
        rig.settle(&declared, 3, "completed").await;
        let journal = rig.store.journal(usize::MAX).unwrap();
        let message = "interrupted; the backend shows that it is not complete";
        assert!(journal.iter().any(|entry| entry.message.as_deref() == Some(message)), "{journal:#?}");
    });
}

#[test]
fn the_status_of_a_backend_says_that_absence_is_taken_from_the_ledger() {
    run(async {
        let rig = rig_of(false);
        let declared = db("");
        rig.settle(&declared, 3, "made").await;
        let overview = rig.overview(&declared).await;
        let status = backend_status(&overview, &declared);
        assert_eq!(status[0].status.reason, "ByLedger");
        assert!(status[0].status.message.contains("absence of objects is taken from the ledger"), "{status:?}");
    });
}

#[test]
fn the_simulator_shows_only_what_it_knows_to_have_made() {
    run(async {
        let text = HEAD.replace("{driver: sim}", "{driver: sim, sim: {mode: {absence: ByLedger}}}");
        let backend = specs(&text).specs.backends.values().next().unwrap().clone();
        let driver = kiln::driver::connect(&backend).unwrap();
        let can = driver.capabilities();
        assert_eq!((can.absence, can.trash, can.adopt), (Absence::ByLedger, TrashAbility::None, false));
        assert!(!can.snapshots.as_ref().unwrap().adopt);
    });
}

#[test]
fn creations_that_a_crash_left_announced_are_forgotten_by_one_command() {
    run(async {
        let rig = rig_of(false);
        let names = ["a", "b", "c"];
        let declared = join(&names.map(|name| volume(name, "size: 1Mi")));
        // The last call before that is the announcement.
        let announced = first_creation(&rig, &declared).await - 1;
        let lost = rig.killed(announced, Point::After, false, async |rig| rig.pass(&declared).await).await;
        let report = lost.pass(&declared).await.unwrap();
        let plan = report.plan.unwrap();
        assert_eq!(plan.steps, []);
        let held = HeldView::all(&plan, &Commands::default());
        let told = fold(&held);
        let [entry] = told.as_slice() else { panic!("{told:?}") };
        assert!(entry.fix.contains("`kiln forget volume/a volume/b volume/c`"), "{}", entry.fix);
        assert_eq!(lost.count(SimEffect::Created), 0);
        for of in names {
            forget_object(&lost.setup(&declared), Kind::Volume, &name(of), None).await.unwrap();
        }
        lost.settle(&declared, 3, "made").await;
        assert_eq!(lost.count(SimEffect::Created), 3);
    });
}

/// Manifests of another Stack, or of another owner.
fn of_another(owner: &str, parts: &[String]) -> Reading {
    let head = HEAD.replace("{name: prod}", &format!("{{name: {owner}}}")).replace("5c1d2e8a90", "a123456789");
    specs(&format!("{head}{}", parts.concat()))
}

#[test]
fn a_takeover_keeps_what_only_the_ledger_knows() {
    run(async {
        let rig = rig_of(false);
        let parts = ["a", "gone"].map(|name| volume(name, "size: 1Mi"));
        rig.settle(&join(&parts), 3, "made").await;
        let made = [parts.to_vec(), vec![volume("db", "size: 1Mi")]].concat();
        without_reply(&rig, &join(&made)).await;
        let (gone, ours) = (rig.native("gone"), of_another("neu", &made));
        rig.world().delete_by_hand(&gone);
        let rig = rig.fork(false);
        let adopt = async || adopt_owner(&rig.setup(&ours), &name("pool"), &"prod".parse().unwrap()).await;
        for both in [false, true] {
            let damaged = rig.fork(false);
            damaged.world().damage_ledger(&"prod".parse().unwrap(), both);
            let before = damaged.world().clone();
            let refused = adopt_owner(&damaged.setup(&ours), &name("pool"), &"prod".parse().unwrap()).await;
            assert!(matches!(refused, Err(OperationError::Unobserved(_))), "{refused:?}");
            assert!(rig::same_objects(&before, &damaged.world()));
        }
        assert!(adopt().await.unwrap().left.is_empty());
        assert!(rig.native("a").as_str().contains("neu"));
        let unknown = ["db", "gone"].map(|name| (name.to_owned(), HeldReason::Unobserved));
        for rig in [&rig, &rig.fork(false)] {
            assert_eq!(is_held(rig, &ours).await, unknown);
        }
        assert_eq!(rig.count(SimEffect::Created), 3);
        for of in ["db", "gone"] {
            forget_object(&rig.setup(&ours), Kind::Volume, &name(of), None).await.unwrap();
        }
        rig.settle(&ours, 3, "made").await;
        assert_eq!(rig.count(SimEffect::Created), 5);
    });
}

#[test]
fn a_pool_of_another_stack_is_not_taken_over_with_an_older_ledger() {
    run(async {
        let rig = rig_of(false);
        let parts = [volume("a", "size: 1Mi")];
        rig.settle(&join(&parts), 3, "made").await;
        let (rig, prod) = (rig.fork(false), "prod".parse().unwrap());
        let ours = of_another("prod", &parts);
        for damaged in [true, false] {
            let rig = rig.fork(false);
            if damaged {
                rig.world().damage_ledger(&prod, false);
            }
            let taken = adopt_owner(&rig.setup(&ours), &name("pool"), &prod).await;
            match damaged {
                true => assert!(matches!(&taken, Err(OperationError::Unobserved(_))), "{taken:?}"),
                false => drop(taken.unwrap()),
            }
        }
    });
}

/// Returns the number of the driver call that is the first creation of a pass.
async fn first_creation(rig: &Rig, declared: &Reading) -> u64 {
    for at in 0.. {
        let crashed = rig.killed(at, Point::After, true, async |rig| rig.pass(declared).await).await;
        if crashed.count(SimEffect::Created) > 0 {
            return at;
        }
    }
    unreachable!("a creation is made")
}
