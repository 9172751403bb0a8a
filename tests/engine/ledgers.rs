//! What the ledger and the store remember of a pool, and what they must not: on the simulator, with calls that fail or are beaten to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::rig::spy::{Lie, Meanwhile, Spy, spied};
use crate::rig::{HEAD, Point, Rig, held, join, once, run, snapshot, specs, volume, volumes_from};
use kiln::driver::Driver;
use kiln::driver::sim::{Fault, FaultRates, SimDriver, SimEffect, SimObject};
use kiln::engine::{Connect, OperationError, Setup, adopt_owner, forget_backend};
use kiln::model::{
    Action, BackendSpec, Coverage, DriverError, Name, NativeName, Outcome, Owner, Percent, PoolId, Qos, Reading, Size,
};
use kiln::plan::HeldReason;
use kiln::store::Store;

fn pool() -> Name {
    "pool".parse().unwrap()
}

fn prod() -> Owner {
    "prod".parse().unwrap()
}

#[test]
fn a_pool_that_is_not_the_recorded_one_is_not_locked() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&declared, 3, "made").await;
        let (setup, spy) = spied(&rig, &declared, Spy::default());
        once(&setup).await;
        assert_eq!(spy.locks.load(Ordering::SeqCst), 1, "the recorded one is locked");
        rig.world().swap_pool(Some(PoolId("0".repeat(32))));
        let (setup, spy) = spied(&rig, &declared, Spy::default());
        let report = once(&setup).await;
        assert_eq!(held(&report), [("db", HeldReason::BackendChanged)]);
        assert_eq!(spy.locks.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_pass_with_nothing_to_do_writes_nothing() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi"), snapshot("s", "db", "")]);
        rig.settle(&declared, 3, "made").await;
        let (setup, spy) = spied(&rig, &declared, Spy::default());
        once(&setup).await;
        let settled = rig.store.commits();
        let writes = || (rig.store.commits() - settled, spy.writes.load(Ordering::SeqCst));
        for seconds in [0, 1, 61, 600] {
            rig.clock.0.fetch_add(seconds, Ordering::SeqCst);
            once(&setup).await;
            assert_eq!(writes(), (0, 0), "after {seconds} s");
        }
        // The time is recorded now and then: a purge compares its clock with it.
        rig.clock.0.fetch_add(3600, Ordering::SeqCst);
        once(&setup).await;
        assert_eq!(writes(), (1, 0));
        assert_eq!(rig.store.records().unwrap().backends[&pool()].observed_at, rig.clock.0.load(Ordering::SeqCst));
    });
}

/// One write for each step, of no more entries than it changes: what a pool with a map writes.
#[test]
fn a_change_of_one_object_is_one_entry_of_the_ledger() {
    run(async {
        let rig = Rig::new();
        let many = |size: &str| {
            let others = (0..40).map(|n| volume(&format!("v{n}"), "size: 1Mi"));
            join(&others.chain([volume("db", size)]).collect::<Vec<_>>())
        };
        rig.settle(&many("size: 1Mi"), 3, "made").await;
        let (setup, spy) = spied(&rig, &many("size: 2Mi"), Spy::default());
        assert_eq!(once(&setup).await.changed, 1);
        let changed = spy.changed.lock().unwrap().clone();
        let uid = rig.native("db").parse().unwrap().3;
        assert_eq!(changed, [format!("whole/{uid}")]);
    });
}

#[test]
fn a_controller_that_begins_between_observation_and_lock_is_not_overwritten() {
    run(async {
        let rig = Rig::new();
        let theirs = Rig { world: Arc::clone(&rig.world), ..Rig::new() };
        let (ours, declared) = (join(&[volume("mine", "size: 1Mi")]), join(&[volume("theirs", "size: 1Mi")]));
        let meanwhile: Meanwhile = Box::new(move || {
            Box::pin(async move {
                theirs.settle(&declared, 3, "begun meanwhile").await;
            })
        });
        let (setup, _) = spied(&rig, &ours, Spy { before_lock: Mutex::new(Some(meanwhile)), ..Spy::default() });
        let report = once(&setup).await;
        assert_eq!(held(&report), [("mine", HeldReason::OtherWriter)]);
        let world = rig.world();
        let names: Vec<String> = world.ledger(&prod()).unwrap().complete.values().map(|e| e.name.to_string()).collect();
        assert_eq!(names, ["theirs"], "the other's ledger was overwritten");
    });
}

#[test]
fn an_object_that_was_made_and_cannot_be_observed_is_missed_when_it_vanishes() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        let (setup, _) = spied(&rig, &declared, Spy { blind: true, ..Spy::default() });
        let report = once(&setup).await;
        assert!(report.failed[0].1.message.contains("could not be observed afterwards"), "{:?}", report.failed);
        let db = rig.native("db");
        assert_eq!(rig.world().ledger(&prod()).unwrap().complete.len(), 1);
        rig.world().delete_by_hand(&db);
        let report = rig.fork(false).pass(&declared).await.unwrap();
        assert_eq!(held(&report), [("db", HeldReason::Lost)]);
    });
}

#[test]
fn a_ledger_that_cannot_be_written_afterwards_is_reported_and_is_not_taken_for_known() {
    run(async {
        for written in [false, true] {
            let rig = Rig::new();
            rig.settle(&join(&[volume("other", "size: 1Mi")]), 3, "made").await;
            let declared = join(&[volume("other", "size: 1Mi"), volume("db", "size: 1Mi")]);
            let (setup, _) = spied(&rig, &declared, Spy { mute: Some(written), ..Spy::default() });
            let report = once(&setup).await;
            let failed: Vec<&str> = report.failed.iter().map(|(step, _)| step.identity.name.as_str()).collect();
            assert_eq!(failed, ["db"], "written: {written}");
            assert!(report.failed[0].1.message.contains("the ledger of pool could not be written"));
            // What the pool perhaps does not have is not recorded: else it would look rolled back.
            let known = rig.store.records().unwrap().backends[&pool()].ledger.clone().unwrap();
            assert!(known.serial <= rig.world().ledger(&prod()).unwrap().serial, "written: {written}");
            let report = rig.pass(&declared).await.unwrap();
            assert_eq!((held(&report), report.failed.len()), (vec![], 0), "written: {written}");
            rig.stays_settled(&declared).await;
        }
    });
}

#[test]
fn a_removal_that_failed_leaves_no_mark_that_hides_a_later_loss() {
    run(async {
        let rig = Rig::new();
        let other = volume("other", "size: 1Mi");
        let both = join(&[volume("db", "size: 1Mi, onRemove: Delete"), other.clone()]);
        rig.settle(&both, 3, "made").await;
        let (setup, _) = spied(&rig, &join(&[other]), Spy { keeps: true, ..Spy::default() });
        let report = once(&setup).await;
        assert_eq!(report.failed.len(), 1);
        let db = rig.native("db");
        rig.world().delete_by_hand(&db);
        for rig in [&rig, &rig.fork(false)] {
            assert_eq!(held(&rig.pass(&both).await.unwrap()), [("db", HeldReason::Lost)]);
        }
    });
}

/// Killed before the removal, at whatever call; then the directory vanishes, and the document is put back.
#[test]
fn a_removal_that_never_began_does_not_hide_that_the_volume_vanished() {
    run(async {
        for on_remove in ["Trash", "Delete"] {
            let rig = Rig::new();
            let other = volume("other", "size: 1Mi");
            let both = join(&[volume("db", &format!("size: 1Mi, onRemove: {on_remove}")), other.clone()]);
            rig.settle(&both, 3, "made").await;
            let without = join(&[other]);
            let calls = rig.calls_of(async |rig| rig.pass(&without).await).await;
            let mut vanished = 0;
            for (at, with_store) in (0..calls).flat_map(|at| [(at, true), (at, false)]) {
                let crashed = rig.killed(at, Point::Before, with_store, async |rig| rig.pass(&without).await).await;
                let db = rig.native("db");
                // An object that is gone with its destruction begun was destroyed: nothing tells who did it.
                let begun = crashed.store.intents().unwrap().iter().any(|i| i.step.action == Action::Destroy);
                if begun || !crashed.world().delete_by_hand(&db) {
                    continue;
                }
                let before = crashed.count(SimEffect::Created);
                let report = crashed.pass(&both).await.unwrap();
                let what = format!("{on_remove}, call {at}, store: {with_store}");
                assert_eq!(crashed.count(SimEffect::Created), before, "{what}: it was made anew");
                assert_eq!(held(&report), [("db", HeldReason::Lost)], "{what}");
                vanished += 1;
            }
            assert!(vanished >= 4, "{on_remove}: {vanished}");
        }
    });
}

#[test]
fn what_a_removal_destroyed_before_a_crash_is_not_lost_when_its_document_comes_back() {
    run(async {
        let rig = Rig::new();
        let other = volume("other", "size: 1Mi");
        let both = join(&[volume("db", "size: 1Mi, onRemove: Delete"), other.clone()]);
        rig.settle(&both, 3, "made").await;
        let without = join(&[other]);
        let calls = rig.calls_of(async |rig| rig.pass(&without).await).await;
        let mut destroyed = 0;
        for at in 0..calls {
            let crashed = rig.killed(at, Point::After, true, async |rig| rig.pass(&without).await).await;
            if crashed.world().live_objects().count() == 1 {
                let report = crashed.pass(&both).await.unwrap();
                assert_eq!((held(&report), report.changed), (vec![], 1), "call {at}");
                destroyed += 1;
            }
        }
        assert!(destroyed > 2, "{destroyed}: between the effect and its outcome, that and the ledger, and after it");
    });
}

#[test]
fn what_a_removal_destroyed_before_a_crash_counts_against_the_limits_without_the_store() {
    run(async {
        let from = |n| volumes_from(n, "size: 1Mi, onRemove: Delete");
        let rig = Rig::new();
        rig.settle(&from(0), 3, "made").await;
        let calls = rig.calls_of(async |rig| rig.pass(&from(3)).await).await;
        let crashed = rig.killed(calls - 1, Point::Before, false, async |rig| rig.pass(&from(3)).await).await;
        assert_eq!(crashed.world().live_objects().count(), 6);
        let report = crashed.pass(&from(6)).await.unwrap();
        assert_eq!(held(&report).len(), 3, "three more are too many");
    });
}

#[test]
fn trashed_objects_count_against_the_limits_for_one_day() {
    run(async {
        let all = |from| volumes_from(from, "size: 1Mi");
        let rig = Rig::new();
        rig.settle(&all(0), 3, "made").await;
        rig.settle(&all(3), 3, "removed").await;
        assert_eq!(held(&rig.fork(true).pass(&all(6)).await.unwrap()).len(), 3);
        for _ in 0..3 {
            rig.clock.0.fetch_add(20 * 3600, Ordering::SeqCst);
            rig.pass(&all(3)).await.unwrap();
        }
        assert_eq!(held(&rig.pass(&all(6)).await.unwrap()), [], "they left days ago");
    });
}

#[test]
fn the_store_knows_an_object_as_it_was_last_observed() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&declared, 3, "made").await;
        let db = rig.native("db");
        rig.world().resize_by_hand(&db, Size(2 << 20));
        assert_eq!(held(&rig.pass(&declared).await.unwrap()), [("db", HeldReason::ShrinkRefused)]);
        let records = rig.store.records().unwrap();
        let record = records.objects.values().next().unwrap();
        let seen = record.seen().unwrap();
        assert_eq!((record.size, seen.size), (Size(1 << 20), Size(2 << 20)), "settled, and observed");
    });
}

#[test]
fn inconsistent_objects_are_not_transferred_to_another_owner() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("a", "size: 1Mi"), volume("b", "size: 1Mi")]), 3, "made").await;
        let b = rig.native("b");
        rig.world().change_by_hand(&b, |object| object.tags_unreadable = true);
        let before = rig.world().clone();
        let text = HEAD.replace("{name: prod}", "{name: neu}").replace("5c1d2e8a90", "ab12cd34ef");
        let ours = specs(&format!("{text}{}{}", volume("a", "size: 1Mi"), volume("b", "size: 1Mi")));
        let answer = adopt_owner(&rig.setup(&ours), &pool(), &prod()).await;
        assert!(matches!(answer, Err(OperationError::Held(_))), "{answer:?}");
        assert!(*rig.world() == before, "something was given");
    });
}

/// A pool that was restored from a backup under a store that was kept.
#[test]
fn a_pool_that_was_rolled_back_is_not_grown_with_zeroes() {
    run(async {
        let rig = Rig::new();
        let of = |size: &str| join(&[volume("db", size), volume("same", "size: 1Mi"), snapshot("s", "same", "")]);
        rig.settle(&of("size: 1Mi"), 3, "made").await;
        let backup = rig.world().clone();
        rig.settle(&of("size: 4Mi"), 3, "grown").await;
        *rig.world() = backup;
        for _ in 0..2 {
            let report = rig.pass(&of("size: 4Mi")).await.unwrap();
            assert!(
                held(&report).iter().all(|(_, reason)| *reason == HeldReason::BackendChanged),
                "{:?}",
                held(&report)
            );
            assert_eq!(report.plan.unwrap().unobserved.len(), 1);
        }
        assert_eq!(rig.size_of("db"), Size(1 << 20));
        let said = forget_backend(&rig.setup(&of("size: 4Mi")), &pool(), Some("alice")).await.unwrap();
        assert!(said.contains("volume db (1Mi, was 4Mi)") && !said.contains("same"), "{said}");
        let journal = rig.store.journal(1).unwrap();
        assert_eq!(journal[0].detail, "accepted with 1Mi, instead of 4Mi, by alice");
        for rig in [&rig, &rig.fork(false)] {
            for _ in 0..2 {
                assert_eq!(held(&rig.pass(&of("size: 4Mi")).await.unwrap()), [("db", HeldReason::GrowRefused)]);
            }
            assert_eq!(rig.size_of("db"), Size(1 << 20));
        }
        // A store that knew the pool as it was takes what was accepted for newer.
        let other = rig.fork(true);
        other.settle(&of("size: 5Mi"), 3, "declared anew").await;
        assert_eq!(other.size_of("db"), Size(5 << 20));
        // Declared as it is, it is settled; what is declared then asks anew.
        rig.settle(&of("size: 1Mi"), 3, "as it is").await;
        rig.settle(&of("size: 4Mi"), 3, "and grown").await;
        assert_eq!(rig.size_of("db"), Size(4 << 20));
    });
}

#[test]
fn forgetting_a_backend_accepts_the_sizes_of_what_no_document_declares() {
    run(async {
        let rig = Rig::new();
        let other = volume("other", "size: 1Mi");
        let declared = join(&[volume("db", "size: 4Mi, onRemove: Retain"), other.clone()]);
        rig.settle(&declared, 3, "made").await;
        rig.settle(&join(std::slice::from_ref(&other)), 3, "released").await;
        let db = rig.native("db");
        rig.world().resize_by_hand(&db, Size(1 << 20));
        forget_backend(&rig.setup(&join(&[other])), &pool(), None).await.unwrap();
        assert_eq!(held(&rig.pass(&declared).await.unwrap()), [("db", HeldReason::GrowRefused)]);
        assert_eq!(rig.size_of("db"), Size(1 << 20));
    });
}

#[test]
fn a_renamed_backend_is_accepted_with_the_records_of_its_pool() {
    run(async {
        let rig = Rig::new();
        let of = |size: &str| join(&[volume("db", size)]);
        rig.settle(&of("size: 1Mi"), 3, "made").await;
        let backup = rig.world().clone();
        rig.settle(&of("size: 4Mi"), 3, "grown").await;
        let serial_of = |rig: &Rig| {
            let records = rig.store.records().unwrap();
            records.backends.values().filter_map(|record| record.ledger.as_ref()).map(|ledger| ledger.serial).max()
        };
        let known = serial_of(&rig);
        *rig.world() = backup;
        let head = HEAD.replace("backend: pool", "backend: quick").replace("name: pool", "name: quick");
        let renamed = specs(&format!("{head}{}", volume("db", "size: 2Mi")));
        let (setup, _) = spied(&rig, &renamed, Spy::default());
        let said = forget_backend(&setup, &"quick".parse().unwrap(), None).await.unwrap();
        assert!(said.contains("volume db (1Mi, was 4Mi)"), "{said}");
        assert!(serial_of(&rig) > known, "a store that knows the later ledger would take it for an older one");
        assert_eq!(held(&once(&setup).await), [("db", HeldReason::GrowRefused)]);
        assert_eq!(rig.size_of("db"), Size(1 << 20));
    });
}

#[test]
fn a_backend_that_is_seen_only_in_part_is_not_accepted() {
    run(async {
        let mut rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&declared, 3, "made").await;
        rig.rates = FaultRates { cut: Percent(100), ..FaultRates::NONE };
        let refused = forget_backend(&rig.setup(&declared), &pool(), None).await;
        assert!(matches!(refused, Err(OperationError::Unobserved(_))), "{refused:?}");
        assert_eq!(rig.world().ledger(&prod()).unwrap().complete.len(), 1);
    });
}

const SECRET: &str = "size: 1Mi, qos: {iops: 5}, encryption: {passphraseFrom: {env: PASS}}";

#[test]
fn a_volume_whose_driver_ignores_its_settings_is_not_reported_as_done() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", SECRET), volume("web", "size: 1Mi")]);
        let lying = || Spy { ignores_settings: true, ..Spy::default() };
        let (setup, _) = spied(&rig, &declared, lying());
        let report = once(&setup).await;
        assert_eq!((report.changed, report.failed.len()), (1, 1), "{report:?}");
        assert!(report.failed[0].1.message.contains("observing"), "{:?}", report.failed);
        // The volume is there, without encryption: nothing says that it is as declared, from this run on.
        for _ in 0..2 {
            let report = once(&spied(&rig, &declared, lying()).0).await;
            assert_eq!(held(&report), [("db", HeldReason::Immutable)]);
            assert_eq!((report.changed, report.failed.len()), (0, 1), "the limits: {report:?}");
        }
        // Limits are made up for, encryption is not.
        let (setup, _) = spied(&rig, &declared, Spy::default());
        assert_eq!(once(&setup).await.changed, 1);
        let report = once(&setup).await;
        assert_eq!(held(&report), [("db", HeldReason::Immutable)]);
        assert!(report.plan.unwrap().steps.is_empty());
    });
}

#[test]
fn a_lie_about_limits_is_noticed_though_the_volume_grew_after_it() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "plain").await;
        let declared = join(&[volume("db", "size: 2Mi, qos: {iops: 5}")]);
        let (setup, _) = spied(&rig, &declared, Spy { ignores_settings: true, ..Spy::default() });
        let report = once(&setup).await;
        let failed: Vec<_> = report.failed.iter().map(|(step, _)| step.action.to_string()).collect();
        assert_eq!((report.changed, failed), (1, vec!["set limits".to_owned()]));
    });
}

#[test]
fn a_lie_about_tags_is_noticed_though_the_volume_grew_after_it() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "plain").await;
        let declared = join(&[volume("db", "size: 2Mi, protected: true, qos: {iops: 5}")]);
        let is_tags = |action: &Action| matches!(action, Action::SetTags { .. });
        let (setup, _) = spied(&rig, &declared, Spy { lies: Some(Lie(is_tags, Outcome::Changed)), ..Spy::default() });
        let report = once(&setup).await;
        let failed: Vec<_> = report.failed.iter().map(|(step, _)| step.action.to_string()).collect();
        assert_eq!((report.changed, failed), (2, vec!["set tags".to_owned()]));
    });
}

#[test]
fn a_step_that_did_nothing_and_shows_no_effect_is_not_taken_from_those_that_changed_something() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")]), 3, "plain").await;
        let declared = join(&[volume("db", "size: 1Mi, qos: {iops: 5}"), volume("web", "size: 2Mi")]);
        let is_limits = |action: &Action| matches!(action, Action::Configure { .. });
        let (setup, _) =
            spied(&rig, &declared, Spy { lies: Some(Lie(is_limits, Outcome::Unchanged)), ..Spy::default() });
        let report = once(&setup).await;
        assert_eq!((report.changed, report.unchanged, report.failed.len()), (1, 0, 1), "{report:?}");
    });
}

#[test]
fn limits_that_another_program_changed_after_the_plan_are_not_overwritten() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi, qos: {iops: 5}")]), 3, "limited").await;
        let (db, world) = (rig.native("db"), Arc::clone(&rig.world));
        let other = move || {
            let limits = Qos { iops: Some(9), ..Qos::default() };
            world.lock().unwrap().change_by_hand(&db, |object| object.settings.qos = Some(Box::new(limits)));
        };
        let meanwhile: Meanwhile = Box::new(move || Box::pin(async move { other() }));
        let declared = join(&[volume("db", "size: 1Mi, qos: {iops: 7}")]);
        let spy = Spy { before_step: Mutex::new(Some(meanwhile)), ..Spy::default() };
        let report = once(&spied(&rig, &declared, spy).0).await;
        assert_eq!((report.changed, report.failed.len()), (0, 1), "{report:?}");
        assert!(report.failed[0].1.message.contains("settings have changed"), "{:?}", report.failed);
    });
}

/// The pass could not know whether one of them waits because the manifests are others.
#[test]
fn an_incomplete_listing_does_not_make_other_manifests_the_known_ones() {
    run(async {
        let rig = Rig::new();
        let of = |file: &str, volumes: &[String]| {
            let coverage = Coverage { files: [file.to_owned()].into(), ..Coverage::default() };
            Reading { coverage, ..join(volumes) }
        };
        let both = of("a.yaml", &[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")]);
        rig.settle(&both, 3, "made").await;
        let others = of("b.yaml", &[volume("db", "size: 1Mi")]);
        let changed = [("web", HeldReason::SourceChanged)];
        for cut in [false, true, false] {
            let Setup { connect, .. } = rig.setup(&others);
            let sim = SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0);
            (0..40).filter(|_| cut).for_each(|call| sim.fail_at(call, Fault::Cut));
            let connect = if cut { Arc::new(Only(Arc::new(sim))) } else { connect };
            let report = once(&Setup { connect, ..rig.setup(&others) }).await;
            assert_eq!(report.changed, 0, "listing cut: {cut}");
            if !cut {
                assert_eq!(held(&report), changed);
            }
        }
    });
}

#[test]
fn a_step_that_was_not_made_is_a_failure_although_a_later_one_of_its_object_failed() {
    run(async {
        let rig = Rig::new();
        let clone = volume("copy", "size: 1Mi, source: {snapshot: s}");
        let web = volume("web", "size: 1Mi");
        let declared = join(&[web.clone(), snapshot("s", "web", ", onRemove: Detach"), clone.clone()]);
        rig.settle(&declared, 3, "made").await;
        let is_detach = |action: &Action| *action == Action::Detach;
        let spy = Spy { lies: Some(Lie(is_detach, Outcome::Changed)), ..Spy::default() };
        let (setup, _) = spied(&rig, &join(&[web, clone]), spy);
        let report = once(&setup).await;
        let failed: Vec<&Action> = report.failed.iter().map(|(step, _)| &step.action).collect();
        assert!(matches!(failed[..], [Action::Trash { .. }, Action::Detach]), "{failed:?}");
        assert_eq!(report.changed, 0);
    });
}

#[test]
fn what_is_swept_makes_room_for_what_is_made_again() {
    run(async {
        let rig = Rig::new();
        let left = NativeName::temporary(&prod(), &"db".parse().unwrap(), "aaaaaaaa".parse().unwrap());
        let declared = join(&[volume("db", "size: 3Mi, provisioning: thick")]);
        rig.settle(&join(&[volume("other", "size: 1Mi")]), 3, "made").await;
        rig.world().make_by_hand(&left, SimObject { thick: true, ..SimObject::empty(Size(3 << 20)) });
        let sim = SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0).with_capacity(Some(Size(4 << 20)));
        let report = once(&Setup { connect: Arc::new(Only(Arc::new(sim))), ..rig.setup(&declared) }).await;
        assert_eq!(rig.world().live(&left), None);
        assert!(held(&report).iter().all(|(_, reason)| *reason != HeldReason::PoolFull), "{:?}", held(&report));
        assert_eq!(report.failed, []);
    });
}

/// A volume renamed without `renamedFrom`, which is written later: from the trash, and where the volume still is.
#[test]
fn renamed_from_written_later_brings_the_data_back() {
    let renamed = |name: &str, from: &str, spec: &str| {
        volume(name, spec).replace(&format!("name: {name}"), &format!("name: {name}, renamedFrom: {from}"))
    };
    run(async {
        let rig = Rig::new();
        let kept = volume("kept", "size: 3Mi, onRemove: Retain");
        let declared = [volume("db", "size: 1Mi"), kept, snapshot("monday", "db", "")];
        let without = [volume("database", "size: 1Mi"), volume("held", "size: 4Mi, provisioning: thick")];
        let with = [
            renamed("database", "db", "size: 2Mi"),
            renamed("held", "kept", "size: 4Mi"),
            snapshot("monday", "database", ""),
        ];
        rig.settle(&join(&declared), 6, "declare").await;
        for native in ["db", "kept"].map(|name| rig.native(name)) {
            assert!(rig.world().write(&native, 7, 1007));
        }
        rig.settle(&join(&without), 6, "without renamedFrom").await;
        rig.settle(&join(&with), 6, "with it").await;
        let world = rig.world();
        let stamps: Vec<(String, Option<u64>)> = world
            .live_objects()
            .filter_map(|(native, _)| Some((native.parse()?.2.to_string(), world.read(native, 7))))
            .collect();
        let of = |name: &str| stamps.iter().find(|(its, _)| its == name).and_then(|(_, stamp)| *stamp);
        assert_eq!((of("database"), of("held"), of("db"), of("kept")), (Some(1007), Some(1007), None, None));
        let trashed: Vec<bool> = world.trashed_objects().map(|(.., object)| object.content.is_empty()).collect();
        assert_eq!(trashed, [true, true], "only the empty ones are in the trash");
    });
}

/// One driver for every Backend.
struct Only(Arc<SimDriver>);

impl Connect for Only {
    fn connect(&self, _: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.0.clone())
    }
}
