//! Only what the step means is touched, and only as long as it is what was seen.

use kiln::model::{
    Action, ErrorKind, Expect, Identity, Kind, NativeName, Origin, Outcome, Place, Qos, Restores, Size, Step, Tags,
    VolumeSettings,
};

use crate::suite::Bench;
use crate::suite::kit::{Kit, TTL};

/// Every way in which an expectation of a live object can be wrong, with its name.
fn wrong(size: Size, place: Place) -> Vec<(&'static str, Expect)> {
    let elsewhere = if place == Place::Live { Place::Trash } else { Place::Live };
    let other = Tags { protected: true, ..Tags::default() };
    let limits = Qos { iops: Some(77), ..Qos::default() };
    let settings = VolumeSettings { qos: Some(Box::new(limits)), ..VolumeSettings::default() };
    vec![
        ("place", Expect { place: Some(elsewhere), ..Expect::default() }),
        ("id", Expect { id: Some("another".into()), ..Expect::default() }),
        ("size", Expect { size: Some(Size(size.bytes() * 4)), ..Expect::default() }),
        ("tags", Expect { tags: Some(other), ..Expect::default() }),
        ("settings", Expect { settings: Some(settings), ..Expect::default() }),
        ("unwritten", Expect { unwritten: true, ..Expect::default() }),
    ]
}

/// The steps that change a live volume, none of them done yet.
fn changes(kit: &Kit<'_>, db: &Identity, snapshot: &kiln::model::ObjectRef) -> Vec<Step> {
    let labelled = Tags { labels: [("a".to_owned(), "b".to_owned())].into(), ..Tags::default() };
    let new = Identity { name: "database".parse().unwrap(), ..db.clone() };
    let mut steps = vec![
        kit.step(db, Action::Grow { to: kit.double() }),
        kit.step(db, Action::SetTags { tags: labelled.clone() }),
        kit.step(db, Action::Destroy),
    ];
    if kit.can().trash.takes(Kind::Volume) {
        steps.push(kit.step(db, Action::Trash { ttl: TTL, with: Vec::new() }));
    }
    if kit.can().restore != Restores::No {
        steps.push(kit.step(db, Action::Restore { snapshot: snapshot.clone(), request: "r".to_owned() }));
    }
    if kit.can().rename {
        // With other tags: those it is to have may be there already, from a try that was cut short.
        steps.push(kit.step(&new, Action::Rename { from: db.native(), tags: labelled }));
    }
    steps
}

pub(crate) async fn expectation_mismatch_is_conflict_and_touches_nothing(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, monday, frozen) = kit.with_history().await;
    for step in changes(&kit, &db, &frozen) {
        for (field, expect) in wrong(kit.size, Place::Live) {
            let step = Step { expect, ..step.clone() };
            kit.refused_for(field, &step, &[ErrorKind::Conflict]).await;
        }
    }
    // What is open is Busy where the step itself does not mind, too.
    let open = bench.hold_open(&db.native());
    for step in changes(&kit, &db, &frozen).into_iter().filter(|_| kit.sees_clients()) {
        let step = Step { expect: Expect { idle: true, ..Expect::default() }, ..step };
        kit.refused_for("idle", &step, &[ErrorKind::Busy, ErrorKind::Conflict]).await;
    }
    drop(open);
    if kit.can().nests_snapshots() {
        assert_eq!(kit.act(&monday, Action::Destroy).await, Ok(Outcome::Changed));
    }
    if kit.remove(&db).await.is_none() {
        return;
    }
    let labelled = Tags { labels: [("a".to_owned(), "b".to_owned())].into(), ..Tags::default() };
    for action in [Action::Undelete { tags: labelled, with: Vec::new() }, Action::Purge] {
        for (field, expect) in wrong(kit.size, Place::Trash) {
            kit.refused_for(field, &Step { expect, ..kit.step(&db, action.clone()) }, &[ErrorKind::Conflict]).await;
        }
    }
}

pub(crate) async fn what_fits_the_expectation_is_done(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, _, frozen) = kit.with_history().await;
    for mut step in changes(&kit, &db, &frozen) {
        if matches!(step.action, Action::Destroy | Action::Rename { .. }) {
            continue;
        }
        // With a snapshot inside of it, it goes nowhere.
        if step.is_removal() && kit.can().nests_snapshots() {
            continue;
        }
        let seen = kit.one(&db).await;
        // An expiry is of no meaning to the living, whatever is expected of it.
        let tags = Tags { expires: Some(1), ..seen.tags.lasting() };
        assert!(seen.id.is_some());
        step.expect = Expect {
            place: Some(Place::Live),
            id: seen.id,
            size: Some(seen.size),
            tags: Some(tags),
            idle: true,
            ..Expect::default()
        };
        assert_eq!(kit.run(&step).await, Ok(Outcome::Changed), "{:?}", step.action);
        if matches!(step.action, Action::Trash { .. }) {
            let seen = kit.one(&db).await;
            let tags = seen.tags.lasting();
            let mut back = kit.step(&db, Action::Undelete { tags: tags.clone(), with: Vec::new() });
            back.expect = Expect {
                place: Some(Place::Trash),
                id: seen.id,
                size: Some(seen.size),
                tags: Some(tags),
                idle: true,
                ..Expect::default()
            };
            assert_eq!(kit.run(&back).await, Ok(Outcome::Changed));
        }
    }
}

pub(crate) async fn an_object_made_again_after_it_was_observed_is_left_alone(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    let seen = kit.one(&db).await;
    assert_eq!(kit.act(&db, Action::Destroy).await, Ok(Outcome::Changed));
    // It may get the inode of the first one.
    kit.volume("between").await;
    let (db, object) = kit.volume("db").await;
    let now = kit.one(&db).await;
    assert_eq!(now, kiln::model::Object { id: now.id.clone(), ..seen.clone() }, "nothing else tells them apart");
    assert_ne!(now.id, seen.id);
    let has_snapshots = kit.can().snapshots.is_some();
    let (monday, frozen) = match has_snapshots {
        true => kit.snapshot("monday", &object).await,
        false => (kit.identity(Kind::Snapshot, "monday"), object.clone()),
    };
    for step in changes(&kit, &db, &frozen) {
        let step = Step { expect: Expect::live(&seen), ..step };
        kit.refused_for("id", &step, &[ErrorKind::Conflict]).await;
    }
    if has_snapshots {
        let of_first = kiln::model::ObjectRef { id: seen.id, ..object };
        let tuesday = kit.step(&kit.identity(Kind::Snapshot, "tuesday"), kit.snapshot_action(&of_first));
        kit.refused_for("the id of the source", &tuesday, &[ErrorKind::Conflict]).await;
        assert_eq!(kit.act(&monday, Action::Destroy).await, Ok(Outcome::Changed));
    }

    if !kit.trash(&db).await {
        return;
    }
    let trash = Action::Trash { ttl: TTL, with: Vec::new() };
    let trashed = kit.one(&db).await;
    assert_eq!(trashed.id, now.id, "it is the same object in the trash");
    assert_eq!(kit.act(&db, Action::Purge).await, Ok(Outcome::Changed));
    kit.volume("beside").await;
    kit.volume("db").await;
    assert_eq!(kit.act(&db, trash).await, Ok(Outcome::Changed));
    for action in [Action::Undelete { tags: Tags::default(), with: Vec::new() }, Action::Purge] {
        let expect = Expect { place: Some(Place::Trash), ..Expect::live(&trashed) };
        kit.refused_for("id", &Step { expect, ..kit.step(&db, action) }, &[ErrorKind::Conflict]).await;
    }
}

pub(crate) async fn a_foreign_object_made_again_after_it_was_observed_is_not_adopted(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if !kit.can().adopt {
        return kit.does_not_apply("it does not adopt");
    }
    let native = NativeName::new("volume-77");
    let db = kit.identity(Kind::Volume, "db");
    let tags = Tags { identity: Some(Box::new(db.clone())), adopted: true, ..Tags::default() };
    let adopt =
        |expect| Step { native: native.clone(), expect, ..kit.step(&db, Action::Adopt { tags: tags.clone(), n: 0 }) };
    bench.make_foreign(&native, kit.size.bytes(), 77);
    let seen = kit.named(&native).await;
    // The only way to have it removed here.
    assert_eq!(kit.run(&adopt(Expect::live(&seen))).await, Ok(Outcome::Changed));
    assert_eq!(kit.named(&native).await.id, seen.id, "it is the same object");
    let destroy = Step { native: native.clone(), ..kit.step(&db, Action::Destroy) };
    assert_eq!(kit.run(&destroy).await, Ok(Outcome::Changed));
    kit.volume("between").await;
    bench.make_foreign(&native, kit.size.bytes(), 77);
    kit.refused_for("id", &adopt(Expect::live(&seen)), &[ErrorKind::Conflict]).await;
    let now = kit.named(&native).await;
    assert_eq!(kit.run(&adopt(Expect::live(&now))).await, Ok(Outcome::Changed));
}

/// Every action, aimed at a name.
fn everything_at(
    kit: &Kit<'_>,
    identity: &Identity,
    native: &NativeName,
    snapshot: &kiln::model::ObjectRef,
) -> Vec<Step> {
    let tags = Tags { identity: Some(Box::new(identity.clone())), ..Tags::default() };
    let volume = kit.reference(&kit.identity(Kind::Volume, "db"), kit.size);
    let Action::Create { size, provisioning, n, .. } = kit.create_action(kit.size, None) else { unreachable!() };
    let create = |origin| Action::Create {
        size,
        provisioning,
        origin,
        tags: tags.clone(),
        settings: VolumeSettings::default(),
        n,
    };
    let of_volume = Tags { volume: Some(volume.uid), ..tags.clone() };
    let actions = [
        create(None),
        create(Some(Origin::Snapshot(snapshot.clone()))),
        Action::Snapshot { volume, tags: of_volume, n: 0 },
        Action::Grow { to: Size(kit.size.bytes() * 8) },
        Action::Restore { snapshot: snapshot.clone(), request: "r".to_owned() },
        Action::SetTags { tags: tags.clone() },
        Action::Rename { from: kit.identity(Kind::Volume, "db").native(), tags: tags.clone() },
        Action::Rename { from: native.clone(), tags: tags.clone() },
        Action::Trash { ttl: TTL, with: Vec::new() },
        Action::Undelete { tags: tags.clone(), with: Vec::new() },
        Action::Destroy,
        Action::Purge,
        Action::Sweep,
        Action::Detach,
    ];
    actions.into_iter().map(|action| Step { native: native.clone(), ..kit.step(identity, action) }).collect()
}

pub(crate) async fn foreign_objects_are_never_touched(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, _, frozen) = kit.with_history().await;
    let native = NativeName::new("volume-1");
    bench.make_foreign(&native, kit.size.bytes(), 66);
    let ours = kit.identity(Kind::Volume, "ours");
    for identity in [&ours, &db] {
        for step in everything_at(&kit, identity, &native, &frozen) {
            kit.harmless(&step).await;
        }
    }
    // Under its own name nothing of it is read or taken either.
    let foreign = kiln::model::ObjectRef::new(native.clone(), ours.uid, kit.size);
    for action in [
        kit.create_action(kit.size, Some(Origin::Volume(foreign.clone()))),
        kit.create_action(kit.size, Some(Origin::Snapshot(foreign))),
        Action::Rename { from: native.clone(), tags: Tags::default() },
    ] {
        kit.harmless(&kit.step(&ours, action)).await;
    }
    assert_eq!(kit.place(&ours).await, None);
    if kit.shows_foreign() {
        let seen = kit.named(&native).await;
        assert_eq!((seen.identity, seen.size, seen.place), (None, kit.size, Place::Live));
    }
    assert_eq!(bench.read(&native, 0), Some(66));
}

pub(crate) async fn objects_of_another_owner_are_never_touched(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let theirs = Kit { owner: "staging".parse().unwrap(), ..Kit::new(bench).await };
    let (other, _) = theirs.volume("db").await;
    theirs.write(&other, 0, 44);
    let (db, _, _, frozen) = kit.with_history().await;
    for identity in [kit.identity(Kind::Volume, "ours"), db] {
        for step in everything_at(&kit, &identity, &other.native(), &frozen) {
            // Renaming from another identity is how an owner gives its objects away; it goes by the uid.
            kit.harmless(&step).await;
        }
    }
    assert_eq!(theirs.read(&other, 0), Some(44));
    assert_eq!(theirs.one(&other).await.identity, Some(other));
}
