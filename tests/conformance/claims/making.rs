//! Creating volumes and snapshots.

use std::sync::Arc;

use kiln::driver::StepContext;
use kiln::model::{
    Action, ErrorKind, Kind, NativeName, Origin, Outcome, Place, Provisioning, Size, Tags, VolumeSettings,
};

use crate::suite::Bench;
use crate::suite::bench::BLOCK;
use crate::suite::kit::{Kit, NOW};

pub(crate) async fn create_twice_is_unchanged(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    kit.write(&db, 5, 55);
    let before = bench.fingerprint();
    kit.again(&kit.step(&db, kit.create_action(kit.size, None))).await;
    assert_eq!(bench.fingerprint(), before);
    assert_eq!(kit.read(&db, 5), Some(55));
}

pub(crate) async fn create_of_another_identity_is_conflict(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if !kit.can().names.own {
        return kit.does_not_apply("objects have no names of their own");
    }
    let native = NativeName::new("db01");
    for (name, first) in [("db", true), ("other", false)] {
        let identity = kit.identity(Kind::Volume, name);
        let tags = Tags { identity: Some(Box::new(identity.clone())), ..Tags::default() };
        let action = Action::Create {
            size: kit.size,
            provisioning: Provisioning::Thin,
            origin: None,
            tags,
            settings: VolumeSettings::default(),
            n: 0,
        };
        let mut step = kit.step(&identity, action);
        step.native = native.clone();
        if first {
            assert_eq!(kit.run(&step).await, Ok(Outcome::Changed));
        } else {
            kit.refused(&step, &[ErrorKind::Conflict]).await;
        }
    }
}

pub(crate) async fn create_of_another_size_is_conflict(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if !kit.can().repeatable {
        return kit.does_not_apply("calls cannot be repeated");
    }
    let (db, _) = kit.volume("db").await;
    kit.refused(&kit.step(&db, kit.create_action(kit.double(), None)), &[ErrorKind::Conflict]).await;
}

pub(crate) async fn create_of_what_is_in_the_trash_is_conflict(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    if !kit.trash(&db).await {
        return kit.does_not_apply("it has no trash");
    }
    kit.refused(&kit.step(&db, kit.create_action(kit.size, None)), &[ErrorKind::Conflict]).await;
}

pub(crate) async fn create_finishes_over_what_a_crash_left(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let db = kit.identity(Kind::Volume, "db");
    bench.make_left_over(&db.temporary(), kit.double().bytes());
    assert_eq!(kit.act(&db, kit.create_action(kit.size, None)).await, Ok(Outcome::Changed));
    assert_eq!(kit.one(&db).await.size, kit.size);
    assert_eq!(kit.read(&db, 0), Some(0), "the content of an earlier try");
    assert_eq!(kit.all().await.objects.len(), 1);
}

pub(crate) async fn new_volumes_are_zeroes_of_the_exact_size(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    let last = kit.size.bytes() / BLOCK - 1;
    for block in [0, 1, last] {
        assert_eq!(kit.read(&db, block), Some(0));
    }
    assert_eq!(kit.read(&db, last + 1), None);
    let seen = kit.one(&db).await;
    assert_eq!(
        (seen.size, seen.place, seen.tags, seen.conflict),
        (kit.size, Place::Live, Tags::default().into(), None)
    );
}

pub(crate) async fn sizes_are_rounded_up_or_refused(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let odd = Size(kit.size.bytes() + 1);
    let db = kit.identity(Kind::Volume, "db");
    match kit.act(&db, kit.create_action(odd, None)).await {
        Ok(_) => assert!(kit.one(&db).await.size >= odd, "less than was asked"),
        Err(error) => {
            assert!(!error.kind.retryable(), "{error:?}");
            assert_eq!(kit.place(&db).await, None);
        }
    }
}

pub(crate) async fn thick_volumes_take_their_space(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let db = kit.identity(Kind::Volume, "db");
    let thick = |size| {
        let tags = Tags { provisioning: Some(Provisioning::Thick), ..Tags::default() };
        Action::Create {
            size,
            provisioning: Provisioning::Thick,
            origin: None,
            tags,
            settings: VolumeSettings::default(),
            n: 0,
        }
    };
    if !kit.can().thick {
        kit.refused(&kit.step(&db, thick(kit.size)), &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("no volume is thick");
    }
    assert_eq!(kit.act(&db, thick(kit.size)).await, Ok(Outcome::Changed));
    kit.again(&kit.step(&db, thick(kit.size))).await;
    let seen = kit.one(&db).await;
    assert!(seen.used.is_none_or(|used| used >= kit.size.bytes()), "{seen:?}");
    assert_eq!(seen.tags.provisioning, Some(Provisioning::Thick));
    assert_eq!(kit.read(&db, 3), Some(0));
    // What is grown later is thick too.
    assert_eq!(kit.act(&db, Action::Grow { to: kit.double() }).await, Ok(Outcome::Changed));
    let seen = kit.one(&db).await;
    assert!(seen.used.is_none_or(|used| used >= kit.double().bytes()), "grown, but not thick: {seen:?}");
}

pub(crate) async fn snapshot_content_is_frozen(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((db, _, monday, _)) = kit.with_snapshot().await else { return };
    assert_eq!(kit.act(&db, Action::Grow { to: kit.double() }).await, Ok(Outcome::Changed));
    for (block, stamp) in [(0, 11), (3, 0), (7, 17)] {
        assert_eq!(kit.read(&monday, block), Some(stamp), "block {block} of the snapshot");
    }
    for (block, stamp) in [(0, 21), (3, 23), (7, 17)] {
        assert_eq!(kit.read(&db, block), Some(stamp), "block {block} of the volume");
    }
    let seen = kit.one(&monday).await;
    assert_eq!((seen.size, seen.tags.volume), (kit.size, Some(db.uid)));
    assert_eq!(seen.identity, Some(monday));
}

pub(crate) async fn snapshot_twice_is_unchanged(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((_, object, monday, _)) = kit.with_snapshot().await else { return };
    kit.again(&kit.step(&monday, kit.snapshot_action(&object))).await;
    assert_eq!(kit.read(&monday, 0), Some(11), "the second call took another snapshot");
}

pub(crate) async fn snapshot_of_an_open_volume_is_made_or_busy(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, object) = kit.volume("db").await;
    kit.write(&db, 0, 1);
    let open = bench.hold_open(&db.native());
    let monday = kit.identity(Kind::Snapshot, "monday");
    if kit.can().snapshots.is_none() {
        kit.snapshot("monday", &object).await;
        kit.does_not_apply("it has no snapshots");
    } else if kit.can().copies_open_volumes() {
        assert_eq!(kit.act(&monday, kit.snapshot_action(&object)).await, Ok(Outcome::Changed));
        assert_eq!(kit.read(&monday, 0), Some(1));
    } else {
        if kit.sees_clients() {
            kit.refused(&kit.step(&monday, kit.snapshot_action(&object)), &[ErrorKind::Busy]).await;
        }
        drop(open);
        assert_eq!(kit.act(&monday, kit.snapshot_action(&object)).await, Ok(Outcome::Changed));
    }
}

pub(crate) async fn clone_has_the_content_of_its_snapshot_and_is_written_apart(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((db, _, monday, frozen)) = kit.with_snapshot().await else { return };
    let copy = kit.identity(Kind::Volume, "copy");
    let action = kit.create_action(kit.size, Some(Origin::Snapshot(frozen.clone())));
    if !kit.clone_from(Origin::Snapshot(frozen), &copy, kit.size).await {
        return kit.does_not_apply("it makes no clones");
    }
    kit.write(&copy, 1, 31);
    kit.again(&kit.step(&copy, action)).await;
    for (block, stamp) in [(0, 11), (1, 31), (3, 0), (7, 17)] {
        assert_eq!(kit.read(&copy, block), Some(stamp), "block {block}");
    }
    assert_eq!((kit.read(&monday, 1), kit.read(&db, 1)), (Some(0), Some(0)));
    let seen = kit.one(&copy).await;
    assert_eq!(seen.parent, kit.can().clones_depend().then_some(monday.uid));
}

pub(crate) async fn clone_larger_than_its_source_is_grown_and_zero_beyond(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, object) = kit.volume("db").await;
    let last = kit.size.bytes() / BLOCK - 1;
    kit.write(&db, last, 9);
    let (_, frozen) = kit.snapshot("monday", &object).await;
    let origin = if kit.can().snapshots.is_some() { Origin::Snapshot(frozen) } else { Origin::Volume(object) };
    let copy = kit.identity(Kind::Volume, "copy");
    if !kit.clone_from(origin, &copy, kit.double()).await {
        return kit.does_not_apply("it makes no clones");
    }
    assert_eq!(kit.one(&copy).await.size, kit.double());
    assert_eq!(kit.read(&copy, last), Some(9));
    for block in [last + 1, 2 * last, 2 * last + 1] {
        assert_eq!(kit.read(&copy, block), Some(0), "block {block}");
    }
}

pub(crate) async fn clone_from_volume(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, object) = kit.volume("db").await;
    kit.write(&db, 2, 12);
    let copy = kit.identity(Kind::Volume, "copy");
    let action = kit.create_action(kit.size, Some(Origin::Volume(object)));
    if !kit.can().clones.as_ref().is_some_and(|clones| clones.of_volume) {
        kit.refused(&kit.step(&copy, action), &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("it makes no clones of volumes");
    }
    let open = bench.hold_open(&db.native());
    if !kit.can().copies_open_volumes() {
        if kit.sees_clients() {
            kit.refused(&kit.step(&copy, action.clone()), &[ErrorKind::Busy]).await;
        }
        drop(open);
    }
    assert_eq!(kit.act(&copy, action).await, Ok(Outcome::Changed));
    kit.write(&db, 2, 22);
    kit.write(&copy, 4, 14);
    assert_eq!((kit.read(&copy, 2), kit.read(&db, 4)), (Some(12), Some(0)));
}

pub(crate) async fn origins_are_checked(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((_, object, _, frozen)) = kit.with_snapshot().await else { return };
    let copy = kit.identity(Kind::Volume, "copy");
    let step = |origin, size| kit.step(&copy, kit.create_action(size, Some(origin)));
    if kit.can().clones.is_some() {
        let missing = kit.reference(&kit.identity(Kind::Snapshot, "tuesday"), kit.size);
        kit.refused(&step(Origin::Snapshot(missing), kit.size), &[ErrorKind::NotFound]).await;
        let mut another = frozen.clone();
        another.uid = copy.uid;
        kit.refused(&step(Origin::Snapshot(another), kit.size), &[ErrorKind::Conflict]).await;
        let half = Size(kit.size.bytes() / 2).round_up(kit.can().granularity);
        if half < kit.size {
            let kinds = [ErrorKind::Conflict, ErrorKind::Permanent];
            kit.refused(&step(Origin::Snapshot(frozen), half), &kinds).await;
        }
    } else {
        kit.clone_from(Origin::Snapshot(frozen), &copy, kit.size).await;
    }
    let mut another = object.clone();
    another.uid = copy.uid;
    let tuesday = kit.identity(Kind::Snapshot, "tuesday");
    kit.refused(&kit.step(&tuesday, kit.snapshot_action(&another)), &[ErrorKind::Conflict]).await;
    let missing = kit.reference(&kit.identity(Kind::Volume, "nothing"), kit.size);
    kit.refused(&kit.step(&tuesday, kit.snapshot_action(&missing)), &[ErrorKind::NotFound]).await;
}

/// A call that was given up may still run when it is made again.
pub(crate) async fn concurrent_creates_of_one_uid_make_one(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if !kit.can().repeatable {
        return kit.does_not_apply("calls cannot be repeated");
    }
    let db = kit.identity(Kind::Volume, "db");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (driver, step) = (Arc::clone(&kit.driver), kit.step(&db, kit.create_action(kit.size, None)));
        calls.spawn(async move { driver.execute(&step, &StepContext::at(NOW)).await });
    }
    let answers = calls.join_all().await;
    let changed = answers.iter().filter(|answer| **answer == Ok(Outcome::Changed)).count();
    assert_eq!(changed, 1, "{answers:?}");
    assert_eq!(kit.one(&db).await.size, kit.size);
    kit.again(&kit.step(&db, kit.create_action(kit.size, None))).await;
}

pub(crate) async fn eight_side_by_side(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (_, _, _, frozen) = kit.with_history().await;
    let clones = kit.can().snapshots.is_some() && kit.can().clones.is_some();
    let mut calls = tokio::task::JoinSet::new();
    let ids: Vec<_> = (0..8).map(|i| kit.identity(Kind::Volume, &format!("side-{i}"))).collect();
    for (i, id) in ids.iter().enumerate() {
        let origin = (clones && i % 2 == 0).then(|| Origin::Snapshot(frozen.clone()));
        let step = kit.step(id, kit.create_action(kit.size, origin));
        let driver = Arc::clone(&kit.driver);
        calls.spawn(async move { driver.execute(&step, &StepContext::at(NOW)).await });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| *answer == Ok(Outcome::Changed)), "{answers:?}");
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(kit.read(id, 7), Some(if clones && i % 2 == 0 { 17 } else { 0 }), "{}", id.name);
    }
}
