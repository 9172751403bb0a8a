//! What people decide by hand, and what holds when somebody meddled: on the simulator, with crashes in between.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::rig::spy::{Spy, spied};
use crate::rig::{self, Doom, HEAD, Point, Pools, Rig, join, objects, run, snapshot, specs, volume, volumes_from};
use kiln::driver::PoolMetadata;
use kiln::driver::sim::FaultRates;
use kiln::driver::sim::{SimDriver, SimEffect, SimObject, SimWorld};
use kiln::engine::{
    Executed, ImageExport, OperationError, Options, Purge, Setup, adopt_owner, approve, forget_backend, forget_object,
    image_export, reconcile_once, resume, suspend, trash_in, trash_purge, trash_purge_list, trash_restore,
};
use kiln::model::{
    Absence, Blocker, BlockerReason, Capabilities, ImageFormat, Kind, Name, NameRules, NativeName, ObjectId, Observed,
    Percent, Reading, Restores, Restoring, Seconds, Size,
};
use kiln::plan::HeldReason;
use kiln::plan::Plan;
use kiln::store::Store;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A rig for each way in which a backend proves absence.
fn rigs() -> impl Iterator<Item = Rig> {
    [Absence::ByList, Absence::ByName].into_iter().map(|absence| {
        let capabilities = Capabilities { absence, ..Capabilities::everything() };
        Rig { capabilities, ..Rig::new() }
    })
}

async fn held(rig: &Rig, specs: &Reading) -> Vec<(String, HeldReason)> {
    let plan = rig.pass(specs).await.unwrap().plan.unwrap();
    plan.held.iter().map(|held| (held.name.to_string(), held.reason)).collect()
}

#[test]
fn nothing_is_given_to_another_owner_under_a_name_that_the_backend_does_not_allow() {
    run(async {
        let mut rig = Rig::new();
        let theirs = join(&[volume("db", "size: 1Mi"), volume("gone", "size: 1Mi")]);
        rig.settle(&theirs, 3, "made").await;
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "one in the trash").await;
        let new = HEAD.replace("{name: prod}", "{name: a-long-name}").replace("5c1d2e8a90", "6c1d2e8a90");
        let ours = specs(&format!("{new}{}", volume("db", "size: 1Mi")));
        let (pool, prod) = (name("pool"), "prod".parse().unwrap());
        let before = objects(&rig.world());
        let all = rig.capabilities.clone();
        let no_rename = Capabilities { rename: false, ..all.clone() };
        let short = Capabilities { names: NameRules::up_to(30), ..all.clone() };
        for (can, why) in [(no_rename, "pool cannot rename objects"), (short, "has 32 bytes; pool allows 30")] {
            rig.capabilities = can;
            match adopt_owner(&rig.setup(&ours), &pool, &prod).await {
                Err(OperationError::Held(message)) => assert!(message.contains(why), "{message}"),
                other => panic!("{why}: {other:?}"),
            }
            assert_eq!(objects(&rig.world()), before, "{why}");
        }
        rig.capabilities = all;
        adopt_owner(&rig.setup(&ours), &pool, &prod).await.unwrap();
        assert_ne!(objects(&rig.world()), before);
    });
}

#[test]
fn a_volume_that_was_cut_is_lost_until_a_person_accepts_it() {
    rigs().for_each(|rig| {
        run(async {
            let declared = join(&[volume("db", "size: 4Mi"), snapshot("s", "db", "")]);
            rig.settle(&declared, 3, "made").await;
            for object in ["db", "s"] {
                let native = rig.native(object);
                rig.world().resize_by_hand(&native, Size(1 << 20));
            }
            // Neither grown back as zeroes, nor used: a clone of the snapshot would be of what is left of it.
            let with_clone = join(&[
                volume("db", "size: 4Mi"),
                snapshot("s", "db", ""),
                volume("c", "size: 4Mi, source: {snapshot: s}"),
            ]);
            for rig in [&rig, &rig.fork(false)] {
                let reasons = held(rig, &with_clone).await;
                let expected = [("c", HeldReason::DependencyHeld), ("db", HeldReason::Lost), ("s", HeldReason::Lost)];
                assert_eq!(reasons, expected.map(|(name, reason)| (name.to_owned(), reason)));
            }
            forget_object(&rig.setup(&declared), Kind::Volume, &name("db"), None).await.unwrap();
            forget_object(&rig.setup(&declared), Kind::Snapshot, &name("s"), None).await.unwrap();
            // Accepted, it is used as it is, and not grown back as zeroes while its document says what it said.
            for rig in [&rig, &rig.fork(false)] {
                for _ in 0..2 {
                    assert_eq!(held(rig, &declared).await, [("db".to_owned(), HeldReason::GrowRefused)]);
                }
                assert_eq!(held(rig, &with_clone).await, [("db".to_owned(), HeldReason::GrowRefused)]);
                assert_eq!(rig.size_of("db"), Size(1 << 20));
            }
            // Another size asks for growing anew; so does an approval.
            let larger = join(&[volume("db", "size: 5Mi"), snapshot("s", "db", "")]);
            let other = rig.fork(true);
            other.settle(&larger, 3, "declared anew").await;
            assert_eq!(other.size_of("db"), Size(5 << 20));
            let mut approving = rig.fork(true);
            let digest = approving.pass(&declared).await.unwrap().plan.unwrap().awaiting.unwrap().digest;
            approving.approve = vec![digest];
            approving.settle(&declared, 3, "approved").await;
            assert_eq!(approving.size_of("db"), Size(4 << 20));
            approving.approve.clear();
            assert_eq!(held(&approving, &declared).await, []);
            // Cut again, it is Lost again.
            let db = approving.native("db");
            approving.world().resize_by_hand(&db, Size(1 << 20));
            assert_eq!(held(&approving, &declared).await, [("db".to_owned(), HeldReason::Lost)]);
        })
    });
}

#[test]
fn protection_outlives_its_tag() {
    rigs().for_each(|rig| {
        run(async {
            let other = volume("other", "size: 1Mi");
            rig.settle(&join(&[volume("db", "size: 1Mi, protected: true"), other.clone()]), 3, "made").await;
            let db = rig.native("db");
            rig.world().change_by_hand(&db, |object| object.tags.protected = false);
            for rig in [&rig, &rig.fork(false)] {
                assert_eq!(
                    held(rig, &join(std::slice::from_ref(&other))).await,
                    [("db".to_owned(), HeldReason::Protected)]
                );
            }
            // Declared without a word about it, the tag is put back; a written `false` lifts it for good.
            rig.settle(&join(&[volume("db", "size: 1Mi"), other.clone()]), 3, "declared").await;
            assert!(rig.world().live(&db).unwrap().tags.protected);
            rig.settle(&join(&[volume("db", "size: 1Mi, protected: false"), other.clone()]), 3, "lifted").await;
            rig.settle(&join(&[other]), 3, "removed").await;
            assert!(rig.world().live(&db).is_none());
        })
    });
}

#[test]
fn each_distinct_restore_is_done_once() {
    run(async {
        let rig = Rig::new();
        let asks = |request: &str| {
            join(&[
                volume("db", &format!("size: 1Mi, restore: {{snapshot: s, request: {request}}}")),
                snapshot("s", "db", ""),
            ])
        };
        rig.settle(&join(&[volume("db", "size: 1Mi"), snapshot("s", "db", "")]), 3, "made").await;
        for request in ["one", "two", "one", "two"] {
            rig.settle(&asks(request), 3, request).await;
        }
        assert_eq!(rig.count(SimEffect::Restored), 2);
    });
}

#[test]
fn a_loss_after_a_failed_removal_is_not_taken_for_the_removal() {
    rigs().for_each(|rig| {
        run(async {
            let both = join(&[volume("db", "size: 1Mi"), volume("other", "size: 1Mi")]);
            rig.settle(&both, 3, "made").await;
            let db = rig.native("db");
            rig.world().open(&db, "a client");
            let without = join(&[volume("other", "size: 1Mi")]);
            assert_eq!(held(&rig, &without).await, [("db".to_owned(), HeldReason::InUse)]);
            rig.world().close(&db, "a client");
            rig.world().delete_by_hand(&db);
            assert_eq!(held(&rig, &both).await, [("db".to_owned(), HeldReason::Lost)]);
        })
    });
}

#[test]
fn a_removal_before_a_crash_counts_against_the_limits() {
    rigs().for_each(|rig| {
        run(async {
            let from = |n| volumes_from(n, "size: 1Mi");
            rig.settle(&from(0), 3, "made").await;
            // Killed at the last call of a run that removes three: they are in the trash, and not yet counted.
            let calls = rig.calls_of(async |rig| rig.pass(&from(3)).await).await;
            let crashed = rig.killed(calls - 1, Point::Before, false, async |rig| rig.pass(&from(3)).await).await;
            assert_eq!(crashed.world().trashed_objects().count(), 3);
            assert_eq!(held(&crashed, &from(6)).await.len(), 3, "three more are too many");
        })
    });
}

#[test]
fn an_object_under_another_name_is_not_lost() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&declared, 3, "made").await;
        let db = rig.native("db");
        let moved = NativeName::new(db.as_str().replace(".db.", ".moved."));
        rig.world().rename_by_hand(&db, &moved);
        let answer = forget_object(&rig.setup(&declared), Kind::Volume, &name("db"), None).await;
        assert!(matches!(answer, Err(OperationError::Held(_))), "{answer:?}");
        assert!(held(&rig, &declared).await.iter().all(|(_, reason)| *reason == HeldReason::Renamed));
    });
}

#[test]
fn a_takeover_cut_short_anywhere_makes_nothing_anew_and_can_be_finished() {
    rigs().for_each(|old| {
        run(async {
            let theirs = join(&[
                volume("a", "size: 1Mi"),
                volume("b", "size: 1Mi, object: by-name"),
                volume("gone", "size: 1Mi"),
                snapshot("s", "a", ""),
            ]);
            old.settle(&theirs, 3, "made").await;
            for object in ["a", "s"] {
                let native = old.native(object);
                old.world().write(&native, 1, 11);
            }
            old.settle(
                &join(&[volume("a", "size: 1Mi"), volume("b", "size: 1Mi, object: by-name"), snapshot("s", "a", "")]),
                3,
                "gone",
            )
            .await;
            let text = HEAD.replace("{name: prod}", "{name: neu}").replace("5c1d2e8a90", "a123456789");
            let parts = [volume("a", "size: 1Mi"), volume("b", "size: 1Mi, object: by-name"), snapshot("s", "a", "")];
            let ours = specs(&format!("{text}{}", parts.concat()));
            let (pool, prod) = (name("pool"), "prod".parse().unwrap());
            let s = || Some(ObjectId::new(Kind::Snapshot, &name("s")));
            suspend(&old.setup(&theirs), s(), "audit", None).await.unwrap();
            assert!(held(&old.fork(false), &ours).await.iter().all(|(_, reason)| *reason == HeldReason::OwnerChanged));
            let old = old.fork(false);
            let adopt = async |rig: &Rig| adopt_owner(&rig.setup(&ours), &pool, &prod).await;
            let calls = old.calls_of(adopt).await;
            let whole = old.fork(false);
            let said = adopt(&whole).await.unwrap().done;
            assert!(said.contains(&"still suspended: snapshot/s: it is suspended: audit".to_owned()), "{said:?}");
            whole.settle(&ours, 3, "taken over").await;
            let reference = objects(&whole.world());
            assert_eq!(reference.1.len(), 1, "the trash comes along");
            for at in 0..calls {
                for point in [Point::Before, Point::After] {
                    let crashed = old.killed(at, point, false, adopt).await;
                    let made = crashed.count(SimEffect::Created);
                    crashed.pass(&ours).await.unwrap();
                    let driver = SimDriver::new(Arc::clone(&crashed.world), FaultRates::NONE, 0);
                    let neu = "neu".parse().unwrap();
                    let is_ours = crashed.world().live_objects().any(|(native, _)| native.as_str().contains("neu"));
                    let suspended = driver.suspensions(&neu).await.unwrap().iter().any(|one| one.object == s());
                    assert!(suspended || !is_ours, "call {at} {point:?}: an object lost its suspension");
                    assert_eq!(made, crashed.count(SimEffect::Created), "call {at} {point:?}: something was made anew");
                    if crashed.world().ledger(&prod).is_some() {
                        // What was resumed meanwhile is not suspended again.
                        let resumed = resume(&crashed.setup(&ours), s()).await.is_ok();
                        let said = adopt(&crashed).await.unwrap().done;
                        assert_eq!(said.iter().any(|said| said.contains("suspended")), !resumed, "{said:?}");
                        let on_pool = driver.suspensions(&neu).await.unwrap();
                        let in_force = on_pool.iter().filter(|one| one.resumed.is_none()).count();
                        assert_eq!(in_force, usize::from(!resumed), "call {at} {point:?}: {on_pool:?}");
                    }
                    crashed.settle(&ours, 4, "finished").await;
                    assert_eq!(objects(&crashed.world()), reference, "call {at} {point:?}");
                }
            }
        })
    });
}

#[test]
fn a_takeover_leaves_copies_of_objects_of_another_pool() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("a", "size: 1Mi"), volume("copy", "size: 1Mi")]), 3, "made").await;
        let (copy, prod, neu) = (rig.native("copy"), "prod".parse().unwrap(), "neu".parse().unwrap());
        let mut ledger = rig.world().ledger(&prod).unwrap().clone();
        let uid = *ledger.complete.iter().find(|(_, entry)| entry.native == copy).unwrap().0;
        ledger.complete.remove(&uid);
        ledger.copies.insert(uid);
        ledger.serial += 1;
        let driver = SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0);
        let lock = driver.lock(&prod).await.unwrap();
        driver.write_ledger(&ledger).await.unwrap();
        drop(lock);
        let rig = rig.fork(false);
        let text = HEAD.replace("{name: prod}", "{name: neu}").replace("5c1d2e8a90", "a123456789");
        let ours = specs(&format!("{text}{}", volume("a", "size: 1Mi")));
        adopt_owner(&rig.setup(&ours), &name("pool"), &prod).await.unwrap();
        assert_eq!(rig.native("copy"), copy);
        assert!(rig.native("a").as_str().contains("neu"));
        // Without a document for it, it is not removed either.
        rig.settle(&ours, 3, "taken over").await;
        assert_eq!(rig.native("copy"), copy);
        let world = rig.world();
        assert!(!world.ledger(&neu).unwrap().complete.contains_key(&uid));
    });
}

#[test]
fn no_pool_is_taken_over_with_a_blocked_or_half_restored_object() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("a", "size: 1Mi"), volume("b", "size: 1Mi")]), 3, "made").await;
        let text = HEAD.replace("{name: prod}", "{name: neu}").replace("5c1d2e8a90", "a123456789");
        let ours = specs(&format!("{text}{}", volume("a", "size: 1Mi")));
        let b = rig.native("b");
        let half = |object: &mut SimObject| {
            let restoring = Restoring { request: "r".to_owned(), snapshot: None, size: None };
            object.tags.restoring = Some(Box::new(restoring));
        };
        let is_blocked = |object: &mut SimObject| object.blocker = Some(mirrored());
        for why in ["is not complete", "it is mirrored"] {
            let rig = rig.fork(false);
            match why {
                "it is mirrored" => rig.world().change_by_hand(&b, is_blocked),
                _ => rig.world().change_by_hand(&b, half),
            };
            let before = rig.world().clone();
            match adopt_owner(&rig.setup(&ours), &name("pool"), &"prod".parse().unwrap()).await {
                Err(OperationError::Held(message)) => assert!(message.contains(why), "{message}"),
                other => panic!("{why}: {other:?}"),
            }
            assert!(rig::same_objects(&before, &rig.world()), "{why}");
        }
    });
}

#[test]
fn a_blocked_object_stays_in_the_trash() {
    run(async {
        let rig = Rig::new();
        let kept = in_the_trash(&rig).await;
        let trash = trash_in(&rig.overview(&kept).await.world, &"prod".parse().unwrap());
        let db = trash.iter().find(|trashed| trashed.object.kind() == Kind::Volume).unwrap().object.native.clone();
        rig.world().change_trashed_by_hand(&db, |object| object.blocker = Some(mirrored()));
        let before = rig.world().clone();
        let restored = trash_restore(&rig.setup(&kept), Kind::Volume, &name("db")).await;
        assert!(matches!(&restored, Err(OperationError::Held(why)) if why.contains("it is mirrored")), "{restored:?}");
        let trash = trash_in(&rig.overview(&kept).await.world, &"prod".parse().unwrap());
        let db = trash.iter().find(|trashed| trashed.object.native == db).unwrap();
        rig.clock.0.fetch_add(10_000_000, Ordering::SeqCst);
        for what in [Purge::Named(ObjectId::new(Kind::Volume, &name("db"))), Purge::Expired] {
            let purged = trash_purge(&rig.setup(&kept), &what, std::slice::from_ref(db)).await.unwrap();
            let left = purged.left[0].to_string();
            assert!(purged.done.is_empty() && left.contains("it is mirrored") && !left.contains("blocked"), "{left}");
        }
        let (expired, left) = trash_purge_list(&rig.setup(&kept), &Purge::Expired).await.unwrap();
        assert!(expired.iter().all(|trashed| trashed.object.native != db.object.native), "{left:?}");
        assert!(rig::same_objects(&before, &rig.world()));
    });
}

fn mirrored() -> Box<Blocker> {
    Box::new(Blocker { reason: BlockerReason::Mirrored, message: "it is mirrored to cluster b".to_owned() })
}

/// Why an operation did nothing.
fn refusal(result: Result<Executed, OperationError>) -> OperationError {
    let mut executed = result.unwrap();
    assert_eq!(executed.done, Vec::<String>::new());
    executed.left.remove(0)
}

#[test]
fn one_object_that_cannot_be_purged_keeps_no_other() {
    rigs().for_each(|rig| {
        run(async {
            let parts: Vec<String> = (0..4).map(|n| volume(&format!("v{n}"), "size: 1Mi")).collect();
            let keep = volume("keep", "size: 1Mi");
            rig.settle(&join(&[parts.concat(), keep.clone()]), 3, "made").await;
            rig.settle(&join(std::slice::from_ref(&keep)), 3, "removed").await;
            rig.clock.0.fetch_add(8 * 86_400, Ordering::SeqCst);
            let kept = join(&[keep]);
            rig.pass(&kept).await.unwrap();
            let setup = rig.setup(&kept);
            let (listed, _) = trash_purge_list(&setup, &Purge::Expired).await.unwrap();
            assert_eq!(listed.len(), 4);
            // Between the list and the yes, one is brought back: it is left, and the others go.
            trash_restore(&setup, Kind::Volume, &name("v0")).await.unwrap();
            let Executed { done, left } = trash_purge(&setup, &Purge::Expired, &listed).await.unwrap();
            assert_eq!(done, ["v1", "v2", "v3"].map(|name| format!("purged volume {name} from pool")));
            assert!(matches!(left.as_slice(), [OperationError::Failed(why)] if why.contains("v0")), "{left:?}");
            assert_eq!(rig.world().trashed_objects().count(), 0);
            assert!(rig.world().live_objects().any(|(native, _)| native.as_str().contains(".v0.")));
        })
    });
}

/// A volume with two snapshots in the trash, and nothing of it declared.
async fn in_the_trash(rig: &Rig) -> Reading {
    let keep = volume("keep", "size: 1Mi");
    let all = [volume("db", "size: 1Mi"), snapshot("a", "db", ""), snapshot("b", "db", ""), keep.clone()];
    rig.settle(&join(&all), 3, "made").await;
    let kept = join(&[keep]);
    rig.settle(&kept, 3, "removed").await;
    assert_eq!(rig.world().trashed_objects().count(), 3);
    kept
}

#[test]
fn an_interrupted_trash_restore_is_completed_by_running_it_again() {
    rigs().for_each(|rig| {
        run(async {
            let kept = in_the_trash(&rig).await;
            let restore = async |rig: &Rig| trash_restore(&rig.setup(&kept), Kind::Volume, &name("db")).await;
            let calls = rig.calls_of(restore).await;
            let mut halves = 0;
            for at in 0..calls {
                for with_store in [true, false] {
                    let crashed = rig.killed(at, Point::After, with_store, restore).await;
                    let left = crashed.world().trashed_objects().count();
                    halves += usize::from(left == 1 || left == 2);
                    let again = restore(&crashed).await;
                    assert_eq!(crashed.world().trashed_objects().count(), 0, "call {at}: {again:?}");
                    assert_eq!(again.is_ok(), left > 0, "call {at}: {again:?}");
                    // What an interrupted run of Kiln left is no drift.
                    crashed.settle(&kept, 2, "after the restore").await;
                    assert_eq!(crashed.pass(&kept).await.unwrap().plan.unwrap().drift, [], "call {at}");
                }
            }
            assert!(halves > 1, "{halves}");
        })
    });
}

#[test]
fn a_trash_restore_does_not_put_an_object_beside_a_live_one_of_its_name() {
    run(async {
        let rig = Rig::new();
        let kept = in_the_trash(&rig).await;
        // A snapshot of the same name is taken of another volume, and then another volume gets the name.
        let other_a = [volume("keep", "size: 1Mi"), snapshot("a", "keep", "")];
        let rig_a = rig.fork(true);
        // Declared under the name of what is in the trash it comes back: so the trash is hidden for as long as it is made.
        rig_a.world().rename_trashed_by_hand("a", "z");
        rig_a.settle(&join(&other_a), 3, "another a").await;
        rig_a.world().rename_trashed_by_hand("z", "a");
        let said = trash_restore(&rig_a.setup(&join(&other_a)), Kind::Volume, &name("db")).await.unwrap().done;
        assert!(said.iter().any(|line| line.contains("left snapshot a in the trash")), "{said:?}");
        let trashed: Vec<String> = rig_a.world().trashed_objects().map(|(native, ..)| native.to_string()).collect();
        assert!(trashed.len() == 1 && trashed[0].contains(".a."), "{trashed:?}");

        rig.world().rename_trashed_by_hand("db", "z");
        let other_db = join(&[volume("keep", "size: 1Mi"), volume("db", "size: 2Mi")]);
        rig.settle(&other_db, 3, "another db").await;
        rig.world().rename_trashed_by_hand("z", "db");
        let before = rig.world().clone();
        let refused = trash_restore(&rig.setup(&kept), Kind::Volume, &name("db")).await;
        assert!(matches!(refused, Err(OperationError::Usage(_))), "{refused:?}");
        assert_eq!(objects(&before), objects(&rig.world()));

        // The live one is lost: the older one must not take its place.
        let db = rig.native("db");
        for with_store in [true, false] {
            let lost = rig.fork(with_store);
            lost.world().delete_by_hand(&db);
            let refused = trash_restore(&lost.setup(&other_db), Kind::Volume, &name("db")).await;
            let is_lost = |error: &OperationError| error.to_string().contains("volume/db is lost from");
            assert!(refused.as_ref().is_err_and(is_lost), "{refused:?}");
            assert_eq!(held(&lost, &other_db).await, [("db".to_owned(), HeldReason::Lost)]);
            forget_object(&lost.setup(&other_db), Kind::Volume, &name("db"), None).await.unwrap();
            trash_restore(&lost.setup(&other_db), Kind::Volume, &name("db")).await.unwrap();
        }
    });
}

#[test]
fn a_purge_leaves_objects_that_changed_since_they_were_listed() {
    rigs().for_each(|rig| {
        run(async {
            let kept = in_the_trash(&rig).await;
            rig.clock.0.fetch_add(8 * 86_400, Ordering::SeqCst);
            rig.pass(&kept).await.unwrap();
            let (listed, _) = trash_purge_list(&rig.setup(&kept), &Purge::Expired).await.unwrap();
            let db = listed.iter().find(|t| t.object.is(&"prod".parse().unwrap(), Kind::Volume, &name("db"))).unwrap();
            let native = db.object.native.clone();
            let is_left = |rig: &Rig| rig.world().trashed_objects().any(|(n, ..)| *n == native);

            // Brought back and removed again, it has another time before it.
            let again = rig.fork(true);
            trash_restore(&again.setup(&kept), Kind::Volume, &name("db")).await.unwrap();
            let all = [
                volume("db", "size: 1Mi"),
                snapshot("a", "db", ""),
                snapshot("b", "db", ""),
                volume("keep", "size: 1Mi"),
            ];
            again.settle(&join(&all), 3, "taken back").await;
            again.settle(&kept, 3, "removed again").await;
            let refused = trash_purge(&again.setup(&kept), &Purge::Expired, std::slice::from_ref(db)).await;
            assert!(matches!(refusal(refused), OperationError::Failed(_)) && is_left(&again));

            // Its metadata was damaged, seen in the list or since.
            let mut odd = db.clone();
            odd.object.conflict = Some("odd".to_owned());
            let refused = trash_purge(&rig.setup(&kept), &Purge::Expired, &[odd]).await;
            assert!(matches!(refusal(refused), OperationError::Held(_)) && is_left(&rig));

            // Another owner's.
            let mut others = db.clone();
            others.object.identity.as_mut().unwrap().owner = "other".parse().unwrap();
            let refused = trash_purge(&rig.setup(&kept), &Purge::Expired, &[others]).await;
            assert!(matches!(refused, Err(OperationError::Usage(_))) && is_left(&rig), "{refused:?}");

            trash_purge(&rig.setup(&kept), &Purge::Expired, &listed).await.unwrap();
            assert_eq!(rig.world().trashed_objects().count(), 0);
        })
    });
}

#[test]
fn an_expired_object_with_a_reference_is_not_purged() {
    rigs().for_each(|rig| {
        run(async {
            let all: Vec<String> =
                ["again", "old", "source", "gone", "keep"].map(|name| volume(name, "size: 1Mi")).into();
            let keep = all[4].clone();
            rig.settle(&join(&all), 3, "made").await;
            rig.settle(&join(std::slice::from_ref(&keep)), 3, "removed").await;
            rig.clock.0.fetch_add(8 * 86_400, Ordering::SeqCst);
            rig.pass(&join(std::slice::from_ref(&keep))).await.unwrap();
            let renamed = volume("new", "size: 1Mi").replace("name: new", "name: new, renamedFrom: old");
            let clone = volume("clone", "size: 1Mi, source: {volume: source}");
            let wanting = rig.setup(&join(&[keep.clone(), all[0].clone(), renamed, clone]));
            let (listed, kept) = trash_purge_list(&wanting, &Purge::Expired).await.unwrap();
            let names: Vec<String> =
                listed.iter().map(|t| t.object.identity.as_ref().unwrap().name.to_string()).collect();
            assert_eq!((names, kept), (vec!["gone".to_owned()], 3));
            // A person who names it means it.
            let named = Purge::Named(ObjectId::new(Kind::Volume, &name("old")));
            assert_eq!(trash_purge_list(&wanting, &named).await.unwrap().0.len(), 1);
            let in_doubt = Reading { broken: true, ..join(std::slice::from_ref(&keep)) };
            assert_eq!(trash_purge_list(&rig.setup(&in_doubt), &Purge::Expired).await.unwrap(), (Vec::new(), 4));
            // What is written into the manifests after the list was made counts as well.
            let (all, _) = trash_purge_list(&rig.setup(&join(&[keep])), &Purge::Expired).await.unwrap();
            assert_eq!(all.len(), 4);
            let refused = trash_purge(&rig.setup(&in_doubt), &Purge::Expired, &all).await;
            assert!(matches!(refusal(refused), OperationError::Held(_)));
            assert_eq!(rig.world().trashed_objects().count(), 4);
            let Executed { done, left } = trash_purge(&wanting, &Purge::Expired, &all).await.unwrap();
            assert_eq!((done.len(), left.len()), (1, 3), "{left:?}");
            let is_needed =
                |why: &OperationError| matches!(why, OperationError::Held(why) if why.contains("a document needs it"));
            assert!(left.iter().all(is_needed), "{left:?}");
            assert_eq!(rig.world().trashed_objects().count(), 3);
            // The consent to destroy one object covers no other.
            let refused = trash_purge(&wanting, &named, &all).await;
            assert!(matches!(&refused, Err(OperationError::Usage(_))), "{refused:?}");
            assert_eq!(rig.world().trashed_objects().count(), 3);
        })
    });
}

#[test]
fn a_backend_that_is_not_this_stacks_keeps_no_other_from_being_purged() {
    run(async {
        let (gone, keep) = (volume("gone", "size: 1Mi"), volume("keep", "size: 1Mi"));
        let ours = Rig::new();
        let theirs = Rig { world: Arc::new(Mutex::new(SimWorld::new(8))), ..Rig::new() };
        // Another Stack of the same name.
        let head = HEAD.replace("5c1d2e8a90", "a123456789");
        for (rig, head, other) in [(&ours, HEAD, "mine"), (&theirs, head.as_str(), "foreign")] {
            let other = volume(other, "size: 1Mi");
            rig.settle(&specs(&format!("{head}{gone}{other}{keep}")), 3, "made").await;
            rig.settle(&specs(&format!("{head}{keep}")), 3, "removed").await;
        }
        ours.clock.0.fetch_add(8 * 86_400, Ordering::SeqCst);
        let second =
            "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: other}\nspec: {driver: sim}\n".to_owned();
        let declared = join(&[second, keep]);
        let worlds = [("pool", &ours), ("other", &theirs)].map(|(name, rig)| (name.to_owned(), Arc::clone(&rig.world)));
        let pools = Pools {
            worlds: worlds.into(),
            rates: ours.rates,
            seed: 0,
            opened: AtomicU64::new(0),
            away: AtomicBool::new(false),
            doom: Doom::never(),
            capabilities: ours.capabilities.clone(),
        };
        let setup = Setup { connect: Arc::new(pools), ..ours.setup(&declared) };
        let person = Arc::new(rig::Person { yes: true, heard: Mutex::default() });
        let report = reconcile_once(&setup, &Options::default(), person).await.unwrap();
        assert_eq!(report.usable, BTreeSet::from([name("pool")]));
        let (listed, left) = trash_purge_list(&setup, &Purge::Expired).await.unwrap();
        assert_eq!((listed.iter().all(|t| t.backend == name("pool")), listed.len(), left), (true, 2, 2));
        let foreign = trash_purge_list(&setup, &Purge::Named(ObjectId::new(Kind::Volume, &name("foreign")))).await;
        assert!(matches!(foreign, Err(OperationError::Unobserved(_))), "{foreign:?}");
        // The name is in both: ours is meant.
        let (both, _) =
            trash_purge_list(&setup, &Purge::Named(ObjectId::new(Kind::Volume, &name("gone")))).await.unwrap();
        assert_eq!(both[0].backend, name("pool"));
        // Should they be asked for all the same, they are left, and so is what cannot be believed; the others go.
        let mut all = trash_in(&report.world, &declared.specs.stack.owner);
        let doubtful = all.iter_mut().find(|t| t.backend == name("pool")).unwrap();
        doubtful.object.conflict = Some("two of them".to_owned());
        assert_eq!(all.len(), 4);
        let Executed { done, left } = trash_purge(&setup, &Purge::Expired, &all).await.unwrap();
        assert_eq!((done.len(), left.len()), (1, 3), "{left:?}");
        assert_eq!(ours.world().trashed_objects().count(), 1);
        assert_eq!(theirs.world().trashed_objects().count(), 2);
        // With nothing else to purge it is told why nothing is.
        trash_purge(&setup, &Purge::Expired, &listed).await.unwrap();
        let nothing = trash_purge_list(&setup, &Purge::Expired).await;
        assert!(matches!(nothing, Err(OperationError::Unobserved(_))), "{nothing:?}");
        assert_eq!(theirs.world().trashed_objects().count(), 2);
    });
}

/// A run that died when it had written down its first step on `declared`, and nothing else of it.
async fn died_at_a_step(rig: &Rig, declared: &Reading) -> Rig {
    for at in 0.. {
        let dead = rig.killed(at, Point::Before, true, async |rig| rig.pass(declared).await).await;
        if !dead.store.intents().unwrap().is_empty() {
            return dead;
        }
    }
    unreachable!()
}

#[test]
fn an_intent_stays_open_while_its_pool_is_not_mounted() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("a", "size: 1Mi")]), 3, "made").await;
        let declared = join(&[volume("a", "size: 1Mi"), volume("db", "size: 1Mi")]);
        let mut crashed = died_at_a_step(&rig, &declared).await;
        // The empty directory below the mount point answers, and has nothing.
        let mounted = std::mem::replace(&mut crashed.world, Arc::new(Mutex::new(SimWorld::new(8))));
        crashed.pass(&declared).await.unwrap();
        assert_eq!(crashed.store.intents().unwrap().len(), 1, "nothing was seen of the pool that the step was on");
        crashed.world = mounted;
        crashed.settle(&declared, 3, "mounted again").await;
        assert_eq!(crashed.store.intents().unwrap(), []);
    });
}

#[test]
fn an_intent_on_a_perhaps_declared_backend_stays_open() {
    run(async {
        let rig = Rig::new();
        let declared = join(&[volume("db", "size: 1Mi")]);
        let crashed = died_at_a_step(&rig, &declared).await;
        let mut nothing = declared;
        (nothing.specs_mut().backends, nothing.specs_mut().volumes) = (BTreeMap::new(), BTreeMap::new());
        for in_doubt in [Reading { broken: true, ..nothing.clone() }, Reading { unconfirmed: true, ..nothing.clone() }]
        {
            crashed.pass(&in_doubt).await.unwrap();
            assert_eq!(crashed.store.intents().unwrap().len(), 1);
        }
        crashed.pass(&nothing).await.unwrap();
        assert_eq!(crashed.store.intents().unwrap(), []);
    });
}

#[test]
fn an_object_removed_again_gets_its_full_time_in_the_trash() {
    rigs().for_each(|rig| {
        run(async {
            let (old, keep) = (volume("old", "size: 1Mi"), volume("keep", "size: 1Mi"));
            let (both, one) = (join(&[old, keep.clone()]), join(std::slice::from_ref(&keep)));
            rig.settle(&both, 3, "made").await;
            rig.settle(&one, 3, "removed").await;
            rig.clock.0.fetch_add(8 * 86_400, Ordering::SeqCst);
            rig.pass(&one).await.unwrap();
            let (listed, _) = trash_purge_list(&rig.setup(&one), &Purge::Expired).await.unwrap();
            assert_eq!(listed.len(), 1);
            rig.settle(&both, 3, "declared again").await;
            rig.settle(&one, 3, "removed again").await;
            let answer = trash_purge(&rig.setup(&one), &Purge::Expired, &listed).await;
            let why = refusal(answer);
            assert!(matches!(&why, OperationError::Failed(why) if why.contains("removed again")), "{why:?}");
            assert_eq!(rig.world().trashed_objects().count(), 1);
        })
    });
}

/// A run without a person to ask.
async fn unattended(rig: &Rig, specs: &Reading) -> Plan {
    let options = Options { unattended: true, ..Options::default() };
    // Whoever asks all the same gets a yes, and the restore would be made.
    let person = std::sync::Arc::new(rig::Person { yes: true, heard: std::sync::Mutex::default() });
    rig.clock.0.fetch_add(1, Ordering::SeqCst);
    let report = reconcile_once(&rig.setup(specs), &options, person).await.unwrap();
    assert_eq!(report.breaches, Vec::<String>::new());
    report.plan.unwrap()
}

#[test]
fn an_unattended_run_destroys_what_is_declared_so_and_waits_with_restores() {
    run(async {
        let rig = Rig::new();
        let monday = snapshot("s", "db", "");
        let gone = volume("gone", "size: 1Mi, onRemove: Delete");
        rig.settle(&join(&[volume("db", "size: 1Mi"), monday.clone(), gone]), 3, "made").await;
        let asks = join(&[volume("db", "size: 1Mi, restore: {snapshot: s, request: one}"), monday]);
        // What a plan for people shows is approved as that is shown.
        let shown = rig.overview(&asks).await.plan.awaiting.unwrap();
        assert_eq!(shown.set.len(), 2);
        let plan = unattended(&rig, &asks).await;
        let reasons: Vec<_> = plan.held.iter().map(|held| (held.name.as_str(), held.reason)).collect();
        assert_eq!(reasons, [("db", HeldReason::NeedsConfirmation)]);
        let digest = plan.awaiting.unwrap().digest;
        assert_eq!(plan.held[0].fix, format!("`kiln approve {digest}` approves exactly this step"));
        assert_eq!((rig.count(SimEffect::Restored), rig.count(SimEffect::Destroyed)), (0, 1));
        assert!(matches!(approve(&rig.setup(&asks), &shown.digest, None).await, Err(OperationError::Held(_))));
        approve(&rig.setup(&asks), &digest, None).await.unwrap();
        // With the store or without it.
        for rig in [rig.fork(false), rig] {
            assert_eq!(unattended(&rig, &asks).await.held, []);
            assert_eq!((rig.count(SimEffect::Restored), rig.count(SimEffect::Destroyed)), (1, 1));
        }
    });
}

/// What a client wrote since the approval is not overwritten by it.
#[test]
fn an_approval_of_a_restore_covers_one_execution() {
    run(async {
        let asks = join(&[volume("db", "size: 1Mi, restore: {snapshot: s, request: one}"), snapshot("s", "db", "")]);
        let begin = async || {
            let rig = Rig::new();
            rig.settle(&join(&[volume("db", "size: 1Mi"), snapshot("s", "db", "")]), 3, "made").await;
            let digest = unattended(&rig, &asks).await.awaiting.unwrap().digest;
            approve(&rig.setup(&asks), &digest, None).await.unwrap();
            (rig, digest)
        };
        // A process that dies in the call, before the effect or after it.
        let calls = begin().await.0.calls_of(async |rig| rig.pass(&asks).await).await;
        let (mut asked_again, mut done) = (0, 0);
        for at in 0..calls {
            for point in [Point::Before, Point::After] {
                let (mut rig, digest) = begin().await;
                rig.doom = Doom::at(at, point);
                tokio::select! {
                    biased;
                    () = rig.doom.died.notified() => {}
                    _ = unattended(&rig, &asks) => {}
                }
                let rig = rig.restarted(at % 2 == 0).await;
                let before = rig.count(SimEffect::Restored);
                let db = rig.native("db");
                rig.world().write(&db, 7, 4242);
                for _ in 0..2 {
                    let plan = unattended(&rig, &asks).await;
                    for held in &plan.held {
                        assert_eq!(held.reason, HeldReason::NeedsConfirmation, "call {at} {point:?}");
                        asked_again += 1;
                    }
                }
                done += before;
                assert!(rig.count(SimEffect::Restored) <= 1, "call {at} {point:?}: restored over what a client wrote");
                if rig.count(SimEffect::Restored) == 0 {
                    // Asked again, a person may say yes again.
                    approve(&rig.setup(&asks), &digest, None).await.unwrap();
                    assert_eq!((unattended(&rig, &asks).await.held, rig.count(SimEffect::Restored)), (Vec::new(), 1));
                }
            }
        }
        assert!(asked_again > 0 && done > 0, "{asked_again} {done}");
    });
}

#[test]
fn a_half_restore_is_completed_without_another_approval_even_if_it_is_withdrawn() {
    run(async {
        let (s, in_steps) =
            (snapshot("s", "db", ""), Capabilities { restore: Restores::InSteps, ..Capabilities::everything() });
        let with = |more: &str| join(&[volume("db", &format!("size: 2Mi{more}")), s.clone()]);
        let (made, asks) = (with(""), with(", restore: {snapshot: s, request: one}"));
        let asks_else = with(", restore: {snapshot: s, request: two}");
        let gone = join(&[volume("other", "size: 1Mi")]);
        let begin = async || {
            let rig = Rig { capabilities: in_steps.clone(), ..Rig::new() };
            rig.settle(&join(&[volume("db", "size: 1Mi")]), 2, "made").await;
            let db = rig.native("db");
            for block in [1, 200] {
                rig.world().write(&db, block, 11);
            }
            rig.settle(&join(&[volume("db", "size: 1Mi"), s.clone()]), 2, "frozen").await;
            rig.settle(&made, 2, "grown").await;
            for block in [1, 200, 300] {
                rig.world().write(&db, block, 22);
            }
            let digest = unattended(&rig, &asks).await.awaiting.unwrap().digest;
            approve(&rig.setup(&asks), &digest, None).await.unwrap();
            rig
        };
        let read = |rig: &Rig| {
            let db = rig.native("db");
            [1, 200, 300].map(|block| rig.world().read(&db, block))
        };
        let calls = begin().await.calls_of(async |rig| rig.pass(&asks).await).await;
        let mut interrupted = 0;
        for at in 0..calls {
            let mut rig = begin().await;
            rig.doom = Doom::at(at, Point::Half);
            tokio::select! {
                biased;
                () = rig.doom.died.notified() => {}
                _ = unattended(&rig, &asks) => {}
            }
            let rig = rig.restarted(at % 2 == 0).await;
            if rig.count(SimEffect::HalfRestored) == 0 {
                continue;
            }
            interrupted += 1;
            assert_eq!(read(&rig), [Some(11), Some(22), None], "half of each content");
            for (said, later) in [("declared", &asks), ("withdrawn", &made), ("another", &asks_else), ("gone", &gone)] {
                let rig = rig.fork(at % 2 == 0);
                unattended(&rig, later).await;
                assert_eq!((rig.count(SimEffect::Restored), rig.count(SimEffect::Trashed)), (1, 0), "{said}");
                assert_eq!(read(&rig), [Some(11), Some(11), Some(0)], "{said}");
                let db = rig.native("db");
                let tags = rig.world().live(&db).unwrap().tags.clone();
                assert_eq!((tags.restored.as_deref(), &tags.restoring), (Some("one"), &None), "{said}");
                // A client writes again: nothing restores that.
                rig.world().write(&db, 1, 33);
                let plan = unattended(&rig, later).await;
                assert_eq!(plan.awaiting.is_some(), said == "another", "{said}: {plan:#?}");
                assert_eq!(rig.count(SimEffect::Restored), 1, "{said}");
            }
        }
        assert_eq!(interrupted, 1);
    });
}

#[test]
fn a_half_restored_volume_is_not_exported() {
    run(async {
        let rig = Rig::new();
        let made = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&made, 3, "made").await;
        let db = rig.native("db");
        let begun = Restoring { request: "one".to_owned(), snapshot: None, size: None };
        rig.world().change_by_hand(&db, |object| object.tags.restoring = Some(Box::new(begun)));
        let export = ImageExport {
            kind: Kind::Volume,
            name: name("db"),
            file: "never.raw".into(),
            format: ImageFormat::Raw,
            force: false,
            quiesced: true,
            progress: Arc::new(|_, _| ()),
            abandoned: Arc::default(),
        };
        let error = image_export(&rig.setup(&made), export).await.unwrap_err();
        assert!(matches!(&error, OperationError::Held(why) if why.contains("is not complete")), "{error}");
    });
}

#[test]
fn the_snapshot_of_a_half_restore_is_not_purged() {
    run(async {
        let in_steps = Capabilities { restore: Restores::InSteps, ..Capabilities::everything() };
        let rig = Rig { capabilities: in_steps, ..Rig::new() };
        let made = join(&[volume("db", "size: 1Mi"), snapshot("s", "db", "")]);
        rig.settle(&made, 3, "made").await;
        let without = join(&[volume("db", "size: 1Mi")]);
        rig.settle(&without, 3, "the snapshot is in the trash").await;
        let snapshot = trash_in(&rig.overview(&without).await.world, &"prod".parse().unwrap()).remove(0);
        // Another program began to restore it, or an earlier version of Kiln.
        let begun = Restoring { request: "one".to_owned(), snapshot: snapshot.object.uid(), size: None };
        let db = rig.native("db");
        rig.world().change_by_hand(&db, |object| object.tags.restoring = Some(Box::new(begun)));
        let named = Purge::Named(ObjectId::new(Kind::Snapshot, &name("s")));
        rig.clock.0.fetch_add(10_000_000, Ordering::SeqCst);
        for what in [named, Purge::Expired] {
            let purged = trash_purge(&rig.setup(&without), &what, std::slice::from_ref(&snapshot)).await.unwrap();
            assert_eq!((purged.done.len(), rig.count(SimEffect::Destroyed)), (0, 0), "{what:?}");
            assert!(purged.left[0].to_string().contains("is not complete"), "{what:?}: {:?}", purged.left);
        }
    });
}

#[test]
fn a_removal_over_the_limit_stays_held_while_in_doubt() {
    run(async {
        let rig = Rig::new();
        let head = HEAD.replace("maxRemovedPercent: 100", "maxRemovedPercent: 50");
        let with = |volumes: &[String]| specs(&format!("{head}{}", volumes.concat()));
        let volumes: Vec<String> = (0..6).map(|n| volume(&format!("v{n}"), "size: 1Mi")).collect();
        rig.settle(&with(&volumes), 3, "made").await;
        let fewer = with(&volumes[..2]);
        let reasons = |held: Vec<(String, HeldReason)>| held.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>();
        assert_eq!(reasons(held(&rig, &fewer).await), [HeldReason::RemovalLimit; 4]);
        let in_doubt = Reading { unconfirmed: true, ..fewer };
        assert_eq!(reasons(held(&rig, &in_doubt).await), [HeldReason::SourceBroken; 4]);
        // With more volumes the share would be small enough.
        let more: Vec<String> = (10..20).map(|n| volume(&format!("v{n}"), "size: 1Mi")).collect();
        let more = with(&[&volumes[..2], &more].concat());
        assert_eq!(reasons(held(&rig, &more).await), [HeldReason::RemovalLimit; 4]);
        assert_eq!(reasons(held(&rig, &more).await), [HeldReason::RemovalLimit; 4]);
    });
}

#[test]
fn a_suspension_ends_with_its_time_and_is_forgotten() {
    run(async {
        let rig = Rig::new();
        rig.settle(&join(&[volume("db", "size: 1Mi")]), 3, "made").await;
        let larger = join(&[volume("db", "size: 2Mi")]);
        let db = || Some(ObjectId::new(Kind::Volume, &name("db")));
        suspend(&rig.setup(&larger), db(), "work", Some(Seconds(60))).await.unwrap();
        assert_eq!(held(&rig, &larger).await, [("db".to_owned(), HeldReason::Suspended)]);
        rig.clock.0.fetch_add(60, Ordering::SeqCst);
        assert!(matches!(resume(&rig.setup(&larger), db()).await, Err(OperationError::Usage(_))), "it is over");
        assert_eq!(rig.store.records().unwrap().suspensions.len(), 1);
        rig.settle(&larger, 3, "grown").await;
        assert_eq!(rig.store.records().unwrap().suspensions.len(), 0);
        let db = rig.native("db");
        assert_eq!(rig.world().live(&db).unwrap().size, Size(2 << 20));
    });
}

#[test]
fn what_a_backend_does_not_show_is_neither_lost_nor_given_up() {
    let (mut hidden, mut shown) = (0, 0);
    for seed in 0..16 {
        rigs().for_each(|mut rig| {
            run(async {
                let declared = join(&[volume("db", "size: 1Mi")]);
                rig.settle(&declared, 3, "made").await;
                rig.rates = FaultRates { cut: Percent(100), ..FaultRates::NONE };
                rig.seed = seed;
                match trash_restore(&rig.setup(&declared), Kind::Volume, &name("db")).await {
                    Err(OperationError::Usage(why)) if why.contains("is live") => shown += 1,
                    Err(OperationError::Unobserved(_)) => hidden += 1,
                    other => panic!("seed {seed}: {other:?}"),
                }
                let forgotten = forget_object(&rig.setup(&declared), Kind::Volume, &name("db"), None).await;
                assert!(forgotten.is_err(), "seed {seed}: {forgotten:?}");
                let accepted = forget_backend(&rig.setup(&declared), &name("pool"), None).await;
                assert!(matches!(accepted, Err(OperationError::Unobserved(_))), "seed {seed}: {accepted:?}");
                rig.rates = FaultRates::NONE;
                assert!(rig.pass(&declared).await.unwrap().plan.unwrap().steps.is_empty(), "seed {seed}");
            });
        });
    }
    assert!(hidden > 2 && shown > 2, "{hidden} {shown}");
}

#[test]
fn what_no_answer_proves_to_be_gone_is_not_given_up() {
    // Write sessions glance at the pool first, which asks for nothing.
    let faults: [fn(&mut Observed); 2] = [
        |seen| assert!(seen.queried.is_empty(), "a driver that panics"),
        |seen| seen.queried.retain(|at| !at.native.as_str().contains(".db.")),
    ];
    for answer in faults {
        run(async {
            let capabilities = Capabilities { absence: Absence::ByName, ..Capabilities::everything() };
            let rig = Rig { capabilities, ..Rig::new() };
            // The list shows about half of the objects.
            let declared = join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")]);
            rig.settle(&declared, 3, "made").await;
            let db = rig.native("db");
            rig.world().delete_by_hand(&db);
            let (setup, _) = spied(&rig, &declared, Spy { answer: Some(answer), ..Spy::default() });
            let forgotten = forget_object(&setup, Kind::Volume, &name("db"), None).await;
            assert!(matches!(forgotten, Err(OperationError::Unobserved(_))), "{forgotten:?}");
            let accepted = forget_backend(&setup, &name("pool"), None).await;
            assert!(matches!(accepted, Err(OperationError::Unobserved(_))), "{accepted:?}");
            // Without the store only the ledger knows it.
            let (setup, _) = spied(&rig.fork(false), &declared, Spy { answer: Some(answer), ..Spy::default() });
            let accepted = forget_backend(&setup, &name("pool"), None).await;
            assert!(matches!(accepted, Err(OperationError::Unobserved(_))), "{accepted:?}");
            forget_object(&rig.setup(&declared), Kind::Volume, &name("db"), None).await.unwrap();
        });
    }
}

#[test]
fn a_pool_that_answers_only_for_names_is_accepted_as_it_is() {
    rigs().for_each(|rig| {
        run(async {
            let declared = join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")]);
            rig.settle(&declared, 3, "made").await;
            let db = rig.native("db");
            rig.world().delete_by_hand(&db);
            assert_eq!(held(&rig, &declared).await, [("db".to_owned(), HeldReason::Lost)]);
            let said = forget_backend(&rig.setup(&declared), &name("pool"), None).await.unwrap();
            assert!(said.contains("not there, and given up: volume db"), "{said}");
            rig.settle(&declared, 3, "made again").await;
            assert_ne!(rig.native("db"), db);
        });
    });
}
