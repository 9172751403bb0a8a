//! Trash, undelete, purge, destroy, sweep.

use kiln::model::{
    Action, ErrorKind, Identity, InnerSnapshot, Kind, OnRemove, Origin, Outcome, Place, Tags, TrashAbility,
};

use crate::suite::Bench;
use crate::suite::kit::{Kit, NOW, TTL};

pub(crate) async fn remove_twice_succeeds(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    let has_trash = kit.can().trash.takes(Kind::Volume);
    if !has_trash {
        kit.trash(&db).await;
    }
    let ways = [(Action::Trash { ttl: TTL, with: Vec::new() }, Some(Place::Trash)), (Action::Purge, None)];
    for (action, place) in ways.into_iter().filter(|_| has_trash) {
        assert_eq!(kit.act(&db, action.clone()).await, Ok(Outcome::Changed), "{action:?}");
        let before = bench.fingerprint();
        assert_eq!(kit.act(&db, action.clone()).await, Ok(Outcome::Unchanged), "{action:?}");
        assert_eq!(bench.fingerprint(), before, "the second {action:?} changed something");
        assert_eq!(kit.place(&db).await, place);
    }
    let (other, _) = kit.volume("other").await;
    assert_eq!(kit.act(&other, Action::Destroy).await, Ok(Outcome::Changed));
    assert_eq!(kit.act(&other, Action::Destroy).await, Ok(Outcome::Unchanged));
}

pub(crate) async fn removing_what_is_not_there_succeeds(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let before = bench.fingerprint();
    let db = kit.identity(Kind::Volume, "db");
    for expected in [None, Some(Place::Live)] {
        for action in [Action::Trash { ttl: TTL, with: Vec::new() }, Action::Destroy, Action::Purge] {
            let mut step = kit.step(&db, action);
            step.expect.place = expected;
            if step.action != Action::Destroy && !kit.can().trash.takes(Kind::Volume) {
                // It may say so before it looks.
                kit.harmless(&step).await;
                continue;
            }
            assert_eq!(kit.run(&step).await, Ok(Outcome::Unchanged), "{:?}", step.action);
        }
    }
    let mut step = kit.step(&db, Action::Sweep);
    step.native = db.temporary();
    assert_eq!(kit.run(&step).await, Ok(Outcome::Unchanged));
    assert_eq!(bench.fingerprint(), before);
}

pub(crate) async fn trash_and_undelete_keep_content_and_tags(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, monday, _) = kit.with_history().await;
    let tags = Tags {
        on_remove: Some(OnRemove::Delete),
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ..Tags::default()
    };
    assert_eq!(kit.act(&db, Action::SetTags { tags: tags.clone() }).await, Ok(Outcome::Changed));
    if kit.can().trash == TrashAbility::None {
        kit.trash(&db).await;
        return kit.does_not_apply("it has no trash");
    }
    for (identity, tags, stamp) in [(&monday, Tags { volume: Some(db.uid), ..Tags::default() }, 11), (&db, tags, 21)] {
        if identity == &monday && kit.can().snapshots.is_none() {
            continue;
        }
        if identity == &db && kit.can().nests_snapshots() {
            kit.refused(&kit.step(&db, Action::Trash { ttl: TTL, with: Vec::new() }), &[ErrorKind::Conflict]).await;
            assert_eq!(kit.act(&monday, Action::Destroy).await, Ok(Outcome::Changed));
        }
        let live = kit.one(identity).await;
        if !kit.trash(identity).await {
            continue;
        }
        let trashed = kit.one(identity).await;
        assert_eq!(
            (trashed.place, &trashed.identity, trashed.size),
            (Place::Trash, &Some(identity.clone()), live.size)
        );
        assert_eq!(trashed.tags.expires, Some(NOW + TTL.0));
        assert_eq!(trashed.tags.lasting(), tags);
        assert_eq!(
            kit.act(identity, Action::Undelete { tags: tags.clone(), with: Vec::new() }).await,
            Ok(Outcome::Changed)
        );
        let back = kit.one(identity).await;
        assert_eq!((back.place, back.size, back.tags.lasting()), (Place::Live, live.size, tags));
        assert_eq!((kit.read(identity, 0), kit.read(identity, 7)), (Some(stamp), Some(17)));
    }
}

/// A volume goes to the trash, and comes back, with exactly the snapshots inside of it that the step names.
pub(crate) async fn a_volume_moves_with_the_snapshots_that_are_named(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, monday, _) = kit.with_history().await;
    let names = |identities: &[&Identity]| -> Vec<InnerSnapshot> {
        let named = identities.iter().map(|identity| InnerSnapshot {
            identity: Identity::clone(identity),
            native: identity.native(),
            size: kit.size,
            released: false,
        });
        named.collect()
    };
    let missing = kit.identity(Kind::Snapshot, "tuesday");
    let trash = |with| Action::Trash { ttl: TTL, with };
    if !kit.can().trash.takes(Kind::Volume) {
        kit.trash(&db).await;
        return kit.does_not_apply("it has no trash");
    }
    kit.refused(&kit.step(&db, trash(names(&[&missing]))), &[ErrorKind::Conflict]).await;
    if !kit.can().nests_snapshots() || kit.can().trash != TrashAbility::Volumes {
        // None is taken along.
        kit.refused(&kit.step(&db, trash(names(&[&monday]))), &[ErrorKind::Conflict]).await;
        return;
    }
    for with in [names(&[]), names(&[&monday, &missing])] {
        kit.refused(&kit.step(&db, trash(with)), &[ErrorKind::Conflict]).await;
    }
    assert_eq!(kit.act(&db, trash(names(&[&monday]))).await, Ok(Outcome::Changed));
    assert_eq!((kit.place(&db).await, kit.place(&monday).await), (Some(Place::Trash), Some(Place::Trash)));
    let undelete = |with| Action::Undelete { tags: Tags::default(), with };
    for with in [names(&[]), names(&[&missing]), names(&[&monday, &missing])] {
        kit.refused(&kit.step(&db, undelete(with)), &[ErrorKind::Conflict]).await;
    }
    kit.refused(&kit.step(&db, Action::Purge), &[ErrorKind::Conflict]).await;
    assert_eq!(kit.act(&db, undelete(names(&[&monday]))).await, Ok(Outcome::Changed));
    assert_eq!((kit.place(&db).await, kit.place(&monday).await), (Some(Place::Live), Some(Place::Live)));
    assert_eq!((kit.read(&db, 0), kit.read(&monday, 0)), (Some(21), Some(11)));
}

pub(crate) async fn undelete_twice_is_unchanged(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    let undelete = Action::Undelete { tags: Tags::default(), with: Vec::new() };
    if !kit.can().trash.takes(Kind::Volume) {
        kit.harmless(&kit.step(&db, undelete)).await;
        return kit.does_not_apply("it has no trash");
    }
    assert_eq!(kit.act(&db, undelete.clone()).await, Ok(Outcome::Unchanged), "never left");
    assert_eq!(kit.act(&db, Action::Trash { ttl: TTL, with: Vec::new() }).await, Ok(Outcome::Changed));
    assert_eq!(kit.act(&db, undelete.clone()).await, Ok(Outcome::Changed));
    assert_eq!(kit.act(&db, undelete).await, Ok(Outcome::Unchanged));
    // What expired in the trash means nothing for the living: it can leave again, for as long as any other.
    assert_eq!(kit.act(&db, Action::Trash { ttl: TTL, with: Vec::new() }).await, Ok(Outcome::Changed));
    assert_eq!(kit.one(&db).await.tags.expires, Some(NOW + TTL.0));
}

pub(crate) async fn undelete_of_what_is_nowhere_is_not_found(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let db = kit.identity(Kind::Volume, "db");
    let has_trash = kit.can().trash.takes(Kind::Volume);
    let kinds = [ErrorKind::NotFound, ErrorKind::Unsupported];
    let kinds = if has_trash { &kinds[..1] } else { &kinds[..] };
    kit.refused(&kit.step(&db, Action::Undelete { tags: Tags::default(), with: Vec::new() }), kinds).await;
}

pub(crate) async fn undelete_under_a_taken_name_is_conflict(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    kit.write(&db, 0, 5);
    if !kit.trash(&db).await {
        return kit.does_not_apply("it has no trash");
    }
    bench.make_foreign(&db.native(), kit.size.bytes(), 66);
    kit.refused(&kit.step(&db, Action::Undelete { tags: Tags::default(), with: Vec::new() }), &[ErrorKind::Conflict])
        .await;
    kit.harmless(&kit.step(&db, Action::Trash { ttl: TTL, with: Vec::new() })).await;
    assert_eq!(kit.read(&db, 0), Some(66));
}

pub(crate) async fn trash_of_open_object_is_busy(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    if !kit.can().trash.takes(Kind::Volume) {
        kit.trash(&db).await;
        return kit.does_not_apply("it has no trash");
    }
    kit.busy_while_open(bench, &db, Action::Trash { ttl: TTL, with: Vec::new() }).await;
    assert_eq!(kit.act(&db, Action::Trash { ttl: TTL, with: Vec::new() }).await, Ok(Outcome::Changed));
}

pub(crate) async fn destroy_of_open_object_is_busy_or_refused(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    kit.busy_while_open(bench, &db, Action::Destroy).await;
    assert_eq!(kit.act(&db, Action::Destroy).await, Ok(Outcome::Changed));
}

pub(crate) async fn what_clones_need_does_not_leave(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((_, _, monday, frozen)) = kit.with_snapshot().await else { return };
    let copy = kit.identity(Kind::Volume, "copy");
    if !kit.clone_from(Origin::Snapshot(frozen), &copy, kit.size).await {
        return kit.does_not_apply("it makes no clones");
    }
    if !kit.can().clones_depend() {
        assert_eq!(kit.one(&copy).await.parent, None);
        assert_eq!(kit.act(&monday, Action::Destroy).await, Ok(Outcome::Changed));
        assert_eq!(kit.read(&copy, 0), Some(11));
        return;
    }
    // Neither while the clone lives nor while it can be brought back.
    let mut place = Some(Place::Live);
    while place.is_some() {
        let ways = [Some(Action::Destroy), Some(kit.removal(Kind::Snapshot)).filter(|way| *way != Action::Destroy)];
        for action in ways.into_iter().flatten() {
            let error = kit.refused(&kit.step(&monday, action), &[ErrorKind::Conflict]).await;
            assert!(error.message.contains(copy.native().as_str()), "does not say who needs it: {error}");
        }
        place = match place {
            Some(Place::Trash) => {
                assert_eq!(kit.act(&copy, Action::Purge).await, Ok(Outcome::Changed));
                None
            }
            _ => kit.remove(&copy).await,
        };
    }
    kit.remove(&monday).await;
}

pub(crate) async fn snapshots_and_clones_outlive_what_they_do_not_need(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((db, _, monday, frozen)) = kit.with_snapshot().await else { return };
    if kit.can().nests_snapshots() {
        // A volume does not go without the snapshots inside of it.
        kit.refused(&kit.step(&db, Action::Destroy), &[ErrorKind::Conflict]).await;
        if kit.can().trash.takes(Kind::Volume) {
            kit.refused(&kit.step(&db, kit.removal(Kind::Volume)), &[ErrorKind::Conflict]).await;
        }
        return;
    }
    let place = kit.remove(&db).await;
    assert_eq!((kit.read(&monday, 0), kit.read(&monday, 7)), (Some(11), Some(17)));
    let copy = kit.identity(Kind::Volume, "copy");
    if kit.clone_from(Origin::Snapshot(frozen), &copy, kit.size).await {
        assert_eq!(kit.act(&copy, Action::Destroy).await, Ok(Outcome::Changed));
    }
    assert_eq!(kit.act(&monday, Action::Destroy).await, Ok(Outcome::Changed));
    if place.is_none() {
        return;
    }
    assert_eq!(kit.act(&db, Action::Undelete { tags: Tags::default(), with: Vec::new() }).await, Ok(Outcome::Changed));
    assert_eq!((kit.read(&db, 0), kit.read(&db, 3), kit.read(&db, 7)), (Some(21), Some(23), Some(17)));
}

pub(crate) async fn destroy_leaves_nothing(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let empty = bench.fingerprint();
    let (db, _, monday, _) = kit.with_history().await;
    let destroyed = if kit.can().snapshots.is_some() { Outcome::Changed } else { Outcome::Unchanged };
    assert_eq!(kit.act(&monday, Action::Destroy).await, Ok(destroyed));
    assert_eq!(kit.read(&db, 0), Some(21));
    assert_eq!(kit.act(&db, Action::Destroy).await, Ok(Outcome::Changed));
    assert!(kit.all().await.objects.is_empty());
    assert_eq!(bench.fingerprint(), empty);
}

pub(crate) async fn purge_only_takes_trash(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let empty = bench.fingerprint();
    let (db, _) = kit.volume("db").await;
    kit.refused(&kit.step(&db, Action::Purge), &[ErrorKind::Conflict, ErrorKind::Unsupported]).await;
    if !kit.trash(&db).await {
        return kit.does_not_apply("it has no trash");
    }
    // Another incarnation of the name is another object.
    let next = kit.incarnation(Kind::Volume, "db", 1);
    kit.harmless(&kit.step(&next, Action::Purge)).await;
    assert_eq!(kit.act(&db, Action::Purge).await, Ok(Outcome::Changed));
    assert_eq!(bench.fingerprint(), empty);
}

pub(crate) async fn sweep_only_takes_temporaries(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    kit.harmless(&kit.step(&db, Action::Sweep)).await;
    let left = kit.identity(Kind::Volume, "left");
    let temporary = left.temporary();
    bench.make_left_over(&temporary, kit.size.bytes());
    // Nothing but a sweep is aimed at a temporary name.
    for action in [
        Action::Trash { ttl: TTL, with: Vec::new() },
        Action::Destroy,
        Action::Purge,
        Action::Grow { to: kit.double() },
    ] {
        let mut step = kit.step(&left, action);
        step.native = temporary.clone();
        kit.harmless(&step).await;
    }
    let mut sweep = kit.step(&left, Action::Sweep);
    sweep.native = temporary;
    assert_eq!(kit.run(&sweep).await, Ok(Outcome::Changed));
    assert_eq!(kit.run(&sweep).await, Ok(Outcome::Unchanged));
    assert_eq!(kit.place(&db).await, Some(Place::Live));
    assert_eq!(kit.all().await.objects.len(), 1);
}

pub(crate) async fn the_trash_of_a_name_is_told_apart(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let old = kit.identity(Kind::Volume, "db");
    let new = kit.incarnation(Kind::Volume, "db", 1);
    for (identity, stamp) in [(&old, 1), (&new, 2)] {
        assert_eq!(kit.act(identity, kit.create_action(kit.size, None)).await, Ok(Outcome::Changed));
        kit.write(identity, 0, stamp);
        if !kit.trash(identity).await {
            return kit.does_not_apply("it has no trash");
        }
    }
    assert_eq!(kit.all().await.objects.len(), 2);
    assert_eq!(kit.act(&old, Action::Undelete { tags: Tags::default(), with: Vec::new() }).await, Ok(Outcome::Changed));
    assert_eq!(kit.read(&old, 0), Some(1));
    assert_eq!(kit.place(&new).await, Some(Place::Trash));
}
