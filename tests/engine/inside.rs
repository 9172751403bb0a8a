//! Backends that keep snapshots inside of their volumes, and backends whose trash takes little or nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::rig::{self, HEAD, Person, Rig, held, join, run, snapshot, specs, volume};
use kiln::driver::sim::{FaultRates, SimDriver, SimObject, SimWorld};
use kiln::driver::{Driver, StepContext};
use kiln::engine::{
    OperationError, Options, Purge, Trashed, adopt_owner, reconcile, trash_in, trash_purge, trash_purge_after,
    trash_purge_list, trash_restore,
};
use kiln::model::{
    Action, Address, Blocker, BlockerReason, Capabilities, Kind, Ledger, Name, NativeName, ObjectId, Owner, Reading,
    Reason, Size, SnapshotAbility, Step, TrashAbility, Uid,
};
use kiln::plan::HeldReason;

const MIB: Size = Size(1 << 20);

fn nested(trash: TrashAbility) -> Rig {
    let everything = Capabilities::everything();
    let snapshots = everything.snapshots.clone().map(|all| SnapshotAbility { nested: true, ..all });
    Rig { capabilities: Capabilities { snapshots, trash, ..everything }, ..Rig::new() }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn prod() -> Owner {
    name("prod").as_str().parse().unwrap()
}

fn ledger(rig: &Rig) -> Ledger {
    rig.world().ledger(&prod()).unwrap().clone()
}

fn uid(rig: &Rig, of: &str) -> Uid {
    let ledger = ledger(rig);
    let (uid, _) = ledger.complete.iter().find(|(_, entry)| entry.name.as_str() == of).unwrap();
    *uid
}

/// Every live object by its address, with its content.
fn contents(world: &SimWorld) -> BTreeMap<Address, SimObject> {
    world.live_addresses().into_iter().map(|at| (at.clone(), world.live_at(&at).unwrap().clone())).collect()
}

/// Risk: a step on a snapshot that is given by its name alone takes another volume's snapshot of that name.
#[test]
fn of_a_hundred_snapshots_of_one_name_exactly_the_one_meant_is_adopted_and_removed() {
    run(async {
        let rig = nested(TrashAbility::Volumes);
        let s = NativeName::new("s");
        let native = |n: u32| NativeName::new(format!("disk{n}"));
        for n in 0..100 {
            let mut world = rig.world();
            world.make_by_hand(&native(n), SimObject::empty(MIB));
            world.write(&native(n), 0, u64::from(n) + 1);
            let inside =
                SimObject { content: world.live(&native(n)).unwrap().content.clone(), ..SimObject::empty(MIB) };
            world.make_inside_by_hand(&native(n), &s, inside);
        }
        let disks = |with: &str| {
            let adopted = |n| volume(&format!("v{n}"), &format!("size: 1Mi, adopt: {{name: disk{n}}}"));
            let mut parts: Vec<String> = (0..100).map(adopted).collect();
            parts.push(with.to_owned());
            join(&parts)
        };
        rig.settle(&disks(""), 3, "the volumes are adopted").await;
        let before = contents(&rig.world());
        let mine = snapshot("mine", "v42", ", adopt: {name: s}, onRemove: Delete");
        rig.settle(&disks(&mine), 3, "one snapshot is adopted").await;
        let at = Address::inside(&native(42), &s);
        let changed = |before: &BTreeMap<Address, SimObject>, now: &BTreeMap<Address, SimObject>| {
            let differ = |at: &&Address| before.get(*at) != now.get(*at);
            before.keys().chain(now.keys()).filter(differ).cloned().collect::<BTreeSet<Address>>()
        };
        let adopted = contents(&rig.world());
        assert_eq!(changed(&before, &adopted), BTreeSet::from([at.clone()]));
        assert!(adopted[&at].tags.adopted);
        // The same with another process, which knows nothing: the snapshot is not adopted again.
        assert_eq!(rig.fork(false).overview(&disks(&mine)).await.plan.steps, []);
        rig.settle(&disks(""), 3, "it is removed").await;
        assert_eq!(changed(&adopted, &contents(&rig.world())), BTreeSet::from([at.clone()]));
        assert_eq!(rig.world().live_at(&at), None);
    });
}

#[test]
fn a_volume_renamed_by_hand_takes_its_snapshots_along_and_nothing_is_lost() {
    run(async {
        let rig = nested(TrashAbility::All);
        let theirs = NativeName::new("theirs");
        rig.world().make_by_hand(&theirs, SimObject::empty(MIB));
        let with = |more: &str| {
            let adopted = volume("db", "size: 1Mi, adopt: {name: theirs}");
            join(&[adopted, snapshot("monday", "db", more), snapshot("tuesday", "db", "")])
        };
        rig.settle(&with(""), 3, "made").await;
        assert!(rig.world().rename_by_hand(&theirs, &NativeName::new("moved")));
        for rig in [&rig, &rig.fork(false)] {
            let overview = rig.overview(&with("")).await;
            assert_eq!((overview.plan.steps, overview.plan.held), (vec![], vec![]));
            let drifted: Vec<_> =
                overview.plan.drift.iter().map(|drift| (drift.name.as_str(), drift.path.as_str())).collect();
            assert!(drifted.iter().all(|(name, _)| *name == "db"), "{drifted:?}");
        }
        rig.settle(&with(", protected: true"), 3, "a step finds it at its new address").await;
        let monday = ledger(&rig).complete[&uid(&rig, "monday")].clone();
        assert_eq!(monday.parent_volume, Some(Box::new(NativeName::new("moved"))));
        assert!(monday.protected);
    });
}

/// What went to the trash inside of its volume is in the ledger, counts as a removal, comes back with it and is gone with it.
#[test]
fn snapshots_are_trashed_restored_and_purged_with_their_volume() {
    run(async {
        let rig = nested(TrashAbility::Volumes);
        let all = join(&[
            volume("db", "size: 1Mi"),
            volume("web", "size: 1Mi"),
            snapshot("m", "db", ""),
            snapshot("n", "db", ""),
        ]);
        rig.settle(&all, 3, "made").await;
        let native = rig.native("db");
        rig.world().write(&native, 1, 7);
        let kept = join(&[volume("web", "size: 1Mi")]);
        let uids: BTreeSet<Uid> = ["db", "m", "n"].map(|name| uid(&rig, name)).into();
        let report = rig.pass(&kept).await.unwrap();
        assert_eq!(report.plan.unwrap().steps.len(), 1, "one step moves all");
        rig.settle(&kept, 2, "removed").await;
        let after = ledger(&rig);
        assert_eq!(after.leaving, uids);
        assert_eq!(after.removals.iter().map(|removal| removal.uid).collect::<BTreeSet<_>>(), uids);
        assert_eq!(rig.world().trashed_objects().count(), 3);
        // A snapshot does not come back alone.
        let alone = trash_restore(&rig.setup(&kept), Kind::Snapshot, &name("m")).await;
        assert!(matches!(alone, Err(OperationError::Held(_))), "{alone:?}");
        // The volume comes back with both, which are released.
        let back = rig.fork(true);
        let executed = trash_restore(&back.setup(&kept), Kind::Volume, &name("db")).await.unwrap();
        assert!(executed.left.is_empty(), "{executed:?}");
        assert!(executed.done[0].contains("with snapshot m, n"), "{executed:?}");
        assert_eq!(back.world().trashed_objects().count(), 0);
        assert_eq!(back.world().read(&native, 1), Some(7));
        back.settle(&kept, 2, "they are released").await;
        assert_eq!(back.overview(&kept).await.plan.held, []);
        assert!(ledger(&back).leaving.is_empty());
        // Declared and removed again, the volume takes the released ones along once more.
        back.settle(&join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")]), 3, "declared again").await;
        back.settle(&kept, 2, "removed again").await;
        assert_eq!(back.overview(&kept).await.plan.held, []);
        assert_eq!(back.world().trashed_objects().count(), 3);
        // Purged: the snapshots go first.
        let db = Purge::Named(ObjectId::new(Kind::Volume, &name("db")));
        let (found, _) = trash_purge_list(&rig.setup(&kept), &db).await.unwrap();
        let refused = trash_purge(&rig.setup(&kept), &db, &found).await.unwrap();
        assert!(
            matches!(refused.left.as_slice(), [OperationError::Held(why)] if why.contains("inside of it")),
            "{refused:?}"
        );
        rig.clock.0.fetch_add(8 * 86_400, std::sync::atomic::Ordering::SeqCst);
        rig.pass(&kept).await.unwrap();
        let (found, stay) = trash_purge_list(&rig.setup(&kept), &Purge::Expired).await.unwrap();
        assert_eq!((found.len(), stay), (3, 0));
        // After a pass only what is to be purged is observed again, and what is inside of it.
        let setup = rig.setup(&kept);
        let (_, pass) = reconcile(&setup, &Options::default(), Arc::new(Person { yes: true, heard: Mutex::default() }))
            .await
            .unwrap();
        let is_volume = |trashed: &&Trashed| trashed.object.kind() == Kind::Volume;
        let alone: Vec<_> = found.iter().filter(is_volume).cloned().collect();
        let refused = trash_purge_after(pass, &setup, &alone).await.unwrap();
        assert!(
            matches!(refused.left.as_slice(), [OperationError::Held(why)] if why.contains("inside of it")),
            "{refused:?}"
        );
        let purged = trash_purge(&rig.setup(&kept), &Purge::Expired, &found).await.unwrap();
        assert_eq!((purged.done.len(), purged.left.len()), (3, 0), "{purged:?}");
        assert_eq!(rig.world().trashed_objects().count(), 0);
        assert_eq!(ledger(&rig).tombstones.keys().copied().collect::<BTreeSet<_>>(), uids);
        rig.stays_settled(&kept).await;
    });
}

#[test]
fn a_snapshot_that_appears_inside_of_a_volume_after_the_plan_keeps_it() {
    run(async {
        for foreign in [true, false] {
            let rig = nested(TrashAbility::Volumes);
            let all = join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi"), snapshot("m", "db", "")]);
            rig.settle(&all, 3, "made").await;
            let plan = rig.overview(&join(&[volume("web", "size: 1Mi")])).await.plan;
            let step = plan.steps[0].clone();
            assert!(matches!(&step.action, Action::Trash { with, .. } if with.len() == 1));
            let driver =
                SimDriver::new(rig.world.clone(), FaultRates::NONE, 0).with_capabilities(rig.capabilities.clone());
            let (db, m) = (rig.native("db"), rig.native("m"));
            match foreign {
                true => rig.world().make_inside_by_hand(&db, &NativeName::new("s"), SimObject::empty(MIB)),
                false => assert!(rig.world().change_by_hand(&m, |object| object.tags.protected = true)),
            }
            let before = contents(&rig.world());
            let refused = Driver::execute(&driver, &step, &StepContext::at(1)).await;
            assert!(refused.is_err(), "foreign {foreign}");
            assert_eq!(contents(&rig.world()), before);
        }
    });
}

/// What a removal that an interrupted run began is judged by: a snapshot whose volume has another name now is not gone.
#[test]
fn an_interrupted_removal_is_not_taken_for_done_because_the_volume_was_renamed() {
    run(async {
        let rig = nested(TrashAbility::All);
        rig.world().make_by_hand(&NativeName::new("theirs"), SimObject::empty(MIB));
        let adopted = volume("db", "size: 1Mi, adopt: {name: theirs}");
        rig.settle(&join(&[adopted.clone(), snapshot("m", "db", ", onRemove: Delete")]), 3, "made").await;
        let m = uid(&rig, "m");
        let without = join(&[adopted]);
        let calls = rig.calls_of(async |rig: &Rig| rig.pass(&without).await.map(|_| ())).await;
        let mut seen_open = 0;
        for at in 0..calls {
            let killed =
                rig.killed(at, rig::Point::Before, true, async |rig: &Rig| rig.pass(&without).await.map(|_| ())).await;
            let is_there = killed.world().live(&rig.native("m")).is_some();
            if !is_there {
                continue;
            }
            seen_open += 1;
            killed.world().rename_by_hand(&NativeName::new("theirs"), &NativeName::new("moved"));
            // Suspended, so that the recovery's judgement is what is seen.
            let report = killed
                .pass(&join(&[volume("db", "size: 1Mi, adopt: {name: theirs}"), snapshot("m", "db", "")]))
                .await
                .unwrap();
            assert_eq!(held(&report), [], "call {at}: it counts as gone");
            assert!(
                ledger(&killed).complete.contains_key(&m) && !ledger(&killed).tombstones.contains_key(&m),
                "call {at}"
            );
        }
        assert!(seen_open > 1, "no run died before its effect");
    });
}

#[test]
fn what_another_backend_needs_is_neither_removed_nor_purged() {
    run(async {
        let rig = Rig::new();
        let kept = join(&[volume("web", "size: 1Mi")]);
        rig.settle(&join(&[volume("web", "size: 1Mi"), volume("db", "size: 1Mi")]), 3, "made").await;
        let db = rig.native("db");
        let needs = |needed: bool| {
            let by = if needed { vec!["pool2/clone".to_owned()] } else { Vec::new() };
            assert!(rig.world().change_by_hand(&db, |object| object.needed_by = by));
        };
        needs(true);
        assert_eq!(held(&rig.pass(&kept).await.unwrap()), [("db", HeldReason::HasDependents)]);
        needs(false);
        rig.settle(&kept, 2, "removed").await;
        // A clone of the trashed one appears elsewhere.
        let trashed: Vec<_> = trash_in(&rig.overview(&kept).await.world, &prod());
        let mut seen = trashed.clone();
        rig.world().change_trashed_by_hand(&db, |object| object.needed_by.push("pool2/clone".to_owned()));
        rig.clock.0.fetch_add(8 * 86_400, std::sync::atomic::Ordering::SeqCst);
        rig.pass(&kept).await.unwrap();
        let refused = trash_purge(&rig.setup(&kept), &Purge::Expired, &seen).await.unwrap();
        assert!(
            matches!(refused.left.as_slice(), [OperationError::Held(why)] if why.contains("pool2/clone")),
            "{refused:?}"
        );
        assert_eq!(rig.world().trashed_objects().count(), 1);
        seen.clear();
    });
}

/// What blocks a volume keeps the snapshots inside of it too, wherever the volume is.
#[test]
fn what_is_inside_of_a_blocked_volume_stays_in_the_trash() {
    run(async {
        for (trash, is_live) in [(TrashAbility::Volumes, false), (TrashAbility::All, false), (TrashAbility::All, true)]
        {
            let rig = nested(trash);
            let db = || volume("db", "size: 1Mi");
            let inside = [snapshot("a", "db", ""), snapshot("b", "db", "")].concat();
            rig.settle(&join(&[db(), volume("web", "size: 1Mi"), inside]), 3, "made").await;
            let kept = [if is_live { db() } else { String::new() }, volume("web", "size: 1Mi")].concat();
            let kept = join(&[kept]);
            rig.settle(&kept, 3, "removed").await;
            rig.clock.0.fetch_add(8 * 86_400, std::sync::atomic::Ordering::SeqCst);
            rig.pass(&kept).await.unwrap();
            let (listed, _) = trash_purge_list(&rig.setup(&kept), &Purge::Expired).await.unwrap();
            assert_eq!(listed.len(), if is_live { 2 } else { 3 }, "{trash:?}");
            let free = rig.fork(true);
            let message = "it is mirrored to cluster b";
            let blocker = Box::new(Blocker { reason: BlockerReason::Mirrored, message: message.to_owned() });
            let native = match is_live {
                true => rig.native("db"),
                false => {
                    let is_volume = |trashed: &&Trashed| trashed.object.kind() == Kind::Volume;
                    listed.iter().find(is_volume).unwrap().object.native.clone()
                }
            };
            match is_live {
                true => drop(rig.world().change_by_hand(&native, |object| object.blocker = Some(blocker))),
                false => rig.world().change_trashed_by_hand(&native, |object| object.blocker = Some(blocker.clone())),
            }
            let before = rig.world().clone();
            let refused = |left: &[OperationError]| {
                assert!(
                    !left.is_empty()
                        && left.iter().all(|why| matches!(why, OperationError::Held(why) if why.contains(message))),
                    "{left:?}"
                );
            };
            for what in [Purge::Expired, Purge::Named(ObjectId::new(Kind::Snapshot, &name("a")))] {
                let objects = match &what {
                    Purge::Expired => listed.clone(),
                    Purge::Named(id) => {
                        listed.iter().filter(|t| t.object.is(&prod(), id.kind, &id.name)).cloned().collect()
                    }
                };
                let purged = trash_purge(&rig.setup(&kept), &what, &objects).await.unwrap();
                assert_eq!(purged.done, [""; 0], "{trash:?}");
                refused(&purged.left);
            }
            let (found, stay) = trash_purge_list(&rig.setup(&kept), &Purge::Expired).await.unwrap();
            assert_eq!((found.len(), stay), (0, listed.len()), "{trash:?}");
            // After a pass only what is to be purged is observed again, and the volume that it is inside of.
            let setup = rig.setup(&kept);
            let person = Arc::new(Person { yes: true, heard: Mutex::default() });
            let (_, pass) = reconcile(&setup, &Options::default(), person).await.unwrap();
            let snapshots = listed.iter().filter(|trashed| trashed.object.kind() == Kind::Snapshot);
            let purged = trash_purge_after(pass, &setup, &snapshots.cloned().collect::<Vec<_>>()).await.unwrap();
            assert_eq!(purged.done, [""; 0], "{trash:?}");
            refused(&purged.left);
            let (kind, of) = if is_live { (Kind::Snapshot, "a") } else { (Kind::Volume, "db") };
            refused(&[trash_restore(&rig.setup(&kept), kind, &name(of)).await.unwrap_err()]);
            assert!(rig::same_objects(&before, &rig.world()), "{trash:?}");
            // The driver refuses it too.
            let steps = listed.iter().map(|trashed| {
                let step =
                    Step::new(name("pool"), trashed.object.identity.clone().unwrap(), Action::Purge, Reason::Purged);
                let (native, parent_volume) = (trashed.object.native.clone(), trashed.object.parent_volume.clone());
                Step { native, parent_volume, ..step }
            });
            let driver =
                SimDriver::new(rig.world.clone(), FaultRates::NONE, 0).with_capabilities(rig.capabilities.clone());
            for step in steps {
                assert!(Driver::execute(&driver, &step, &StepContext::at(1)).await.is_err(), "{trash:?}");
            }
            assert_eq!(
                trash_purge(&free.setup(&kept), &Purge::Expired, &listed).await.unwrap().done.len(),
                listed.len()
            );
        }
    });
}

fn stack(of: &str, parts: &[String]) -> Reading {
    specs(&format!("{}{}", HEAD.replace("name: prod", &format!("name: {of}")), parts.concat()))
}

/// All objects of a Stack become another one's, live and in the trash, and stay inside of the same volumes.
#[test]
fn snapshots_inside_of_volumes_are_given_to_another_owner_with_them() {
    run(async {
        for trash in [TrashAbility::Volumes, TrashAbility::All, TrashAbility::None] {
            let rig = nested(trash);
            let more = if trash == TrashAbility::None { ", onRemove: Delete" } else { "" };
            let db = || [volume("db", "size: 1Mi"), snapshot("m", "db", "")].concat();
            let old = [volume("old", &format!("size: 1Mi{more}")), snapshot("n", "old", more)].concat();
            rig.settle(&stack("prod", &[db(), old]), 4, "made").await;
            rig.settle(&stack("prod", &[db()]), 4, "removed").await;
            let trashed = rig.world().trashed_objects().count();
            assert_eq!(trashed, if trash == TrashAbility::None { 0 } else { 2 }, "{trash:?}");
            let next = stack("next", &[db()]);
            let executed = adopt_owner(&rig.setup(&next), &name("pool"), &prod()).await.unwrap();
            assert!(executed.left.is_empty(), "{trash:?}: {executed:?}");
            rig.settle(&next, 2, "given").await;
            assert_eq!(rig.overview(&next).await.plan.held, [], "{trash:?}");
            let world = rig.world();
            assert_eq!(world.trashed_objects().count(), trashed, "{trash:?}");
            let ours = |native: &NativeName| native.as_str().contains(".next.");
            assert!(world.live_objects().all(|(native, _)| ours(native)), "{trash:?}: {:?}", world.live_addresses());
            assert!(world.trashed_objects().all(|(native, ..)| ours(native)), "{trash:?}");
            for at in world.live_addresses().iter().filter(|at| at.parent_volume.is_some()) {
                assert!(at.parent_volume.as_ref().is_some_and(ours), "{trash:?}: {at}");
            }
        }
    });
}
