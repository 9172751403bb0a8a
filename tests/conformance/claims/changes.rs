//! Growing, restoring, tagging, naming.

use std::collections::BTreeMap;

use kiln::model::{
    Action, Effect, ErrorKind, Expect, Growth, Identity, Kind, NativeName, ObjectRef, OnRemove, Origin, Outcome, Place,
    Provisioning, Qos, Reservation, Restores, Restoring, Size, Step, Tags, VolumeSettings,
};

use crate::suite::Bench;
use crate::suite::bench::BLOCK;
use crate::suite::kit::{Kit, TTL};

pub(crate) async fn grow_keeps_content_and_adds_zeroes(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    let last = kit.size.bytes() / BLOCK - 1;
    kit.write(&db, last, 8);
    assert_eq!(kit.act(&db, Action::Grow { to: kit.double() }).await, Ok(Outcome::Changed));
    assert_eq!(kit.act(&db, Action::Grow { to: kit.double() }).await, Ok(Outcome::Unchanged));
    assert_eq!(kit.one(&db).await.size, kit.double());
    assert_eq!((kit.read(&db, last), kit.read(&db, last + 1)), (Some(8), Some(0)));
    assert_eq!(kit.read(&db, 2 * last + 2), None);
}

pub(crate) async fn grow_while_open(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    let open = bench.hold_open(&db.native());
    let grow = Action::Grow { to: kit.double() };
    if kit.can().grow != Growth::Open && kit.sees_clients() {
        kit.refused(&kit.step(&db, grow.clone()), &[ErrorKind::Busy]).await;
        drop(open);
    }
    assert_eq!(kit.act(&db, grow).await, Ok(Outcome::Changed));
    assert_eq!(kit.one(&db).await.size, kit.double());
}

pub(crate) async fn space_is_reserved_and_shown_and_content_stays(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let can = kit.can().reservation;
    let (db, _) = kit.volume("db").await;
    for block in [0, 7] {
        kit.write(&db, block, 11 + block);
    }
    let made = if kit.can().thin { Provisioning::Thin } else { Provisioning::Thick };
    assert_eq!(kit.one(&db).await.provisioning, Some(made).filter(|_| can != Reservation::Hidden));
    if can != Reservation::Changeable {
        kit.refused(&kit.step(&db, Action::Reserve), &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("it reserves no space of volumes that exist");
    }
    let reserve = kit.step(&db, Action::Reserve);
    let only_idle = Step { expect: Expect { place: Some(Place::Live), idle: true, ..Expect::default() }, ..reserve };
    let open = bench.hold_open(&db.native());
    if kit.sees_clients() {
        kit.refused(&only_idle, &[ErrorKind::Busy]).await;
    }
    drop(open);
    assert_eq!(kit.run(&only_idle).await, Ok(Outcome::Changed));
    assert_eq!(kit.run(&only_idle).await, Ok(Outcome::Unchanged));
    let thick = Tags { provisioning: Some(Provisioning::Thick), ..Tags::default() };
    assert_eq!(kit.act(&db, Action::SetTags { tags: thick }).await, Ok(Outcome::Changed));
    let seen = kit.one(&db).await;
    assert_eq!((seen.provisioning, seen.size), (Some(Provisioning::Thick), kit.size));
    assert!(seen.used.is_none_or(|used| used >= kit.size.bytes()), "{seen:?}");
    assert_eq!([0, 3, 7].map(|block| kit.read(&db, block)), [Some(11), Some(0), Some(18)]);
    let (monday, _) = kit.snapshot("monday", &kit.reference(&db, kit.size)).await;
    if kit.can().snapshots.is_some() {
        assert_eq!(kit.one(&monday).await.provisioning, None);
        kit.refused(&kit.step(&monday, Action::Reserve), &[ErrorKind::Conflict]).await;
    }
}

pub(crate) async fn shrink_is_refused(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    assert_eq!(kit.act(&db, Action::Grow { to: kit.double() }).await, Ok(Outcome::Changed));
    let kinds = [ErrorKind::Conflict, ErrorKind::Permanent, ErrorKind::Unsupported];
    kit.refused(&kit.step(&db, Action::Grow { to: kit.size }), &kinds).await;
}

pub(crate) async fn snapshots_never_grow(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((_, _, monday, _)) = kit.with_snapshot().await else { return };
    let kinds = [ErrorKind::Conflict, ErrorKind::Permanent, ErrorKind::Unsupported];
    kit.refused(&kit.step(&monday, Action::Grow { to: kit.double() }), &kinds).await;
}

pub(crate) async fn restore_keeps_size_and_tags(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, monday, frozen) = kit.with_history().await;
    let restore = Action::Restore { snapshot: frozen, request: "once".to_owned() };
    if kit.can().restore == Restores::No {
        kit.refused(&kit.step(&db, restore), &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("it restores no volumes");
    }
    let tags = Tags { on_remove: Some(OnRemove::Retain), ..labels() };
    assert_eq!(kit.act(&db, Action::SetTags { tags: tags.clone() }).await, Ok(Outcome::Changed));
    assert_eq!(kit.act(&db, Action::Grow { to: kit.double() }).await, Ok(Outcome::Changed));
    let beyond = kit.size.bytes() / BLOCK;
    kit.write(&db, beyond, 99);
    assert_eq!(kit.act(&db, restore).await, Ok(Outcome::Changed));
    for (block, stamp) in [(0, 11), (3, 0), (7, 17), (beyond, 0)] {
        assert_eq!(kit.read(&db, block), Some(stamp), "block {block}");
        assert_eq!(kit.read(&monday, block).unwrap_or(0), stamp, "block {block} of the snapshot");
    }
    let seen = kit.one(&db).await;
    assert_eq!(seen.size, kit.double());
    assert_eq!(seen.tags.lasting(), Tags { restored: Some("once".to_owned()), ..tags });
    kit.write(&db, 0, 41);
    assert_eq!(kit.read(&monday, 0), Some(11), "the volume writes into its snapshot");
}

pub(crate) async fn restore_twice_same_request_is_unchanged(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, _, frozen) = kit.with_history().await;
    if kit.can().restore == Restores::No {
        return kit.does_not_apply("it restores no volumes");
    }
    let restore = |request: &str| Action::Restore { snapshot: frozen.clone(), request: request.to_owned() };
    assert_eq!(kit.act(&db, restore("2026-11-22 a")).await, Ok(Outcome::Changed));
    kit.write(&db, 0, 51);
    assert_eq!(kit.act(&db, restore("2026-11-22 a")).await, Ok(Outcome::Unchanged));
    assert_eq!(kit.read(&db, 0), Some(51), "what was written since was lost");
    assert_eq!(kit.act(&db, restore("2026-11-22 b")).await, Ok(Outcome::Changed));
    assert_eq!(kit.read(&db, 0), Some(11));
}

pub(crate) async fn restore_of_an_open_volume_is_busy(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, _, frozen) = kit.with_history().await;
    if kit.can().restore == Restores::No {
        return kit.does_not_apply("it restores no volumes");
    }
    let restore = Action::Restore { snapshot: frozen, request: "once".to_owned() };
    kit.busy_while_open(bench, &db, restore.clone()).await;
    assert_eq!(kit.act(&db, restore).await, Ok(Outcome::Changed));
}

pub(crate) async fn restore_from_another_volumes_snapshot_is_refused(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (_, _, _, frozen) = kit.with_history().await;
    let (other, _) = kit.volume("other").await;
    let restore = Action::Restore { snapshot: frozen, request: "once".to_owned() };
    let kinds = [ErrorKind::Conflict, ErrorKind::Permanent, ErrorKind::Unsupported];
    kit.refused(&kit.step(&other, restore), &kinds).await;
}

pub(crate) async fn a_half_restore_is_completed_never_reported_as_done_and_never_copied(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, reference, monday, frozen) = kit.with_history().await;
    if kit.can().restore != Restores::InSteps {
        return kit.does_not_apply("no restore takes several steps");
    }
    assert_eq!(kit.act(&db, Action::Grow { to: kit.double() }).await, Ok(Outcome::Changed));
    let beyond = kit.size.bytes() / BLOCK;
    kit.write(&db, beyond, 99);
    let restore = |request: &str| Action::Restore { snapshot: frozen.clone(), request: request.to_owned() };
    bench.cut_short();
    let error = kit.act(&db, restore("once")).await.unwrap_err();
    assert_ne!(error.effect, Effect::No, "{error}");
    let begun = Restoring { request: "once".to_owned(), snapshot: Some(monday.uid), size: Some(kit.double()) };
    let seen = kit.one(&db).await;
    assert_eq!((&seen.tags.restored, seen.tags.restoring.as_deref()), (&None, Some(&begun)));

    let four = Size(kit.double().bytes() * 2);
    let (tuesday, clone) = (kit.identity(Kind::Snapshot, "tuesday"), kit.identity(Kind::Volume, "clone"));
    let volume = ObjectRef { size: seen.size, ..reference };
    for (identity, action) in [
        (&tuesday, kit.snapshot_action(&volume)),
        (&clone, kit.create_action(kit.double(), Some(Origin::Volume(volume.clone())))),
        (&db, Action::Grow { to: four }),
        (&db, Action::SetTags { tags: labels() }),
        (&db, kit.removal(Kind::Volume)),
        (&db, Action::Destroy),
        (&db, restore("twice")),
        (&monday, kit.removal(Kind::Snapshot)),
        (&monday, Action::Destroy),
    ] {
        kit.refused(&kit.step(identity, action), &[ErrorKind::Conflict]).await;
    }
    assert_eq!(kit.act(&db, restore("once")).await, Ok(Outcome::Changed));
    for (block, stamp) in [(0, 11), (3, 0), (7, 17), (beyond, 0)] {
        assert_eq!(kit.read(&db, block), Some(stamp), "block {block}");
    }
    let seen = kit.one(&db).await;
    assert_eq!((seen.size, seen.tags.restored.as_deref(), &seen.tags.restoring), (kit.double(), Some("once"), &None));
    assert_eq!(kit.act(&db, restore("once")).await, Ok(Outcome::Unchanged));
}

/// Labels that have been seen to break encodings.
fn labels() -> Tags {
    let labels = [
        ("plain", "value"),
        ("empty", ""),
        ("ключ", "значение"),
        ("quotes", "\"'`\\ \n\t\u{1}"),
        ("bidi \u{202e}", "🚀\u{200d}\u{fe0f} e\u{301}"),
        ("@#,=:/;.kiln", "a=b,c:d"),
    ];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Tags { labels: labels.chain([("long".to_owned(), "x".repeat(4000))]).collect(), ..Tags::default() }
}

pub(crate) async fn tags_round_trip(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let db = kit.identity(Kind::Volume, "db");
    let Action::Create { size, provisioning, origin, n, .. } = kit.create_action(kit.size, None) else {
        unreachable!()
    };
    let created = Action::Create { size, provisioning, origin, tags: labels(), settings: VolumeSettings::default(), n };
    assert_eq!(kit.act(&db, created).await, Ok(Outcome::Changed));
    assert_eq!(kit.one(&db).await.tags, labels(), "written with the object");
    let all = [
        Tags { protected: true, ..labels() },
        Tags { on_remove: Some(OnRemove::Delete), provisioning: Some(Provisioning::Thin), ..Tags::default() },
        Tags { retained: true, restored: Some("a\nb".to_owned()), ..Tags::default() },
        Tags { labels: [("k".to_owned(), "é".to_owned())].into(), ..Tags::default() },
        Tags {
            identity: Some(Box::new(db.clone())),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            ..Tags::default()
        },
        Tags::default(),
    ];
    for tags in all {
        assert_eq!(kit.act(&db, Action::SetTags { tags: tags.clone() }).await, Ok(Outcome::Changed), "{tags:?}");
        let seen = kit.one(&db).await;
        assert_eq!((seen.tags, seen.conflict, seen.identity), (tags.clone().into(), None, Some(db.clone())));
        let listed = kit.all().await.objects.remove(0);
        assert_eq!(listed.tags, tags, "in a listing");
    }
}

pub(crate) async fn tags_of_a_snapshot_round_trip(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((db, _, monday, _)) = kit.with_snapshot().await else { return };
    let tags = Tags { volume: Some(db.uid), protected: true, on_remove: Some(OnRemove::Detach), ..labels() };
    assert_eq!(kit.act(&monday, Action::SetTags { tags: tags.clone() }).await, Ok(Outcome::Changed));
    assert_eq!(kit.one(&monday).await.tags, tags);
    assert_eq!(kit.read(&monday, 0), Some(11));
}

pub(crate) async fn set_tags_twice_is_unchanged(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    assert_eq!(kit.act(&db, Action::SetTags { tags: Tags::default() }).await, Ok(Outcome::Unchanged));
    assert_eq!(kit.act(&db, Action::SetTags { tags: labels() }).await, Ok(Outcome::Changed));
    let before = bench.fingerprint();
    assert_eq!(kit.act(&db, Action::SetTags { tags: labels() }).await, Ok(Outcome::Unchanged));
    assert_eq!(bench.fingerprint(), before);
    let missing = kit.step(&kit.identity(Kind::Volume, "nothing"), Action::SetTags { tags: labels() });
    kit.refused(&missing, &[ErrorKind::NotFound, ErrorKind::Conflict]).await;
}

fn own_name(kit: &Kit<'_>, native: &str, identity: &Identity, size: Size) -> kiln::model::Step {
    let tags = Tags { identity: Some(Box::new(identity.clone())), ..labels() };
    let Action::Create { provisioning, origin, n, .. } = kit.create_action(size, None) else { unreachable!() };
    let mut step =
        kit.step(identity, Action::Create { size, provisioning, origin, tags, settings: VolumeSettings::default(), n });
    step.native = NativeName::new(native);
    step
}

pub(crate) async fn object_names(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let db = kit.identity(Kind::Volume, "db");
    let step = own_name(&kit, "Db_01.main", &db, kit.size);
    if !kit.can().names.own {
        kit.refused(&step, &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("objects have no names of their own");
    }
    assert_eq!(kit.run(&step).await, Ok(Outcome::Changed));
    kit.again(&step).await;
    let seen = kit.named(&step.native).await;
    assert_eq!((seen.identity, seen.place, seen.conflict), (Some(db.clone()), Place::Live, None));
    bench.write(&step.native, 1, 7);
    // It lives as any other object does.
    for (action, place) in [
        (Action::Grow { to: kit.double() }, Place::Live),
        (Action::Trash { ttl: TTL, with: Vec::new() }, Place::Trash),
        (
            Action::Undelete {
                tags: Tags { identity: Some(Box::new(db.clone())), ..Tags::default() },
                with: Vec::new(),
            },
            Place::Live,
        ),
    ] {
        let mut step = kit.step(&db, action);
        step.native = NativeName::new("Db_01.main");
        if place == Place::Trash && !kit.can().trash.takes(Kind::Volume) {
            kit.refused(&step, &[ErrorKind::Unsupported]).await;
            break;
        }
        assert_eq!(kit.run(&step).await, Ok(Outcome::Changed), "{:?}", step.action);
        let seen = kit.named(&step.native).await;
        assert_eq!((seen.place, seen.identity), (place, Some(db.clone())));
    }
    assert_eq!(bench.read(&step.native, 1), Some(7));
}

pub(crate) async fn names_have_limits(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    // The longest names that Kiln gives are never refused: nothing could be declared about it.
    let longest = Kit { owner: "o".repeat(20).parse().unwrap(), ..Kit::new(bench).await };
    let identity = longest.identity(Kind::Snapshot, &"s".repeat(63));
    if kit.can().names.check(&identity.native()).is_err() {
        let volume = longest.identity(Kind::Volume, &"v".repeat(63));
        let action = longest.create_action(longest.size, None);
        longest.refused(&longest.step(&volume, action), &[ErrorKind::Permanent]).await;
        return;
    }
    let (volume, object) = longest.volume(&"v".repeat(63)).await;
    let (snapshot, frozen) = longest.snapshot(&"s".repeat(63), &object).await;
    assert_eq!(snapshot.native().as_str().len(), 103);
    let copy = longest.identity(Kind::Volume, &"c".repeat(63));
    let has_snapshots = kit.can().snapshots.is_some();
    if has_snapshots && longest.clone_from(Origin::Snapshot(frozen), &copy, longest.size).await {
        // A clone in the trash may still need its snapshot.
        assert_eq!(longest.act(&copy, Action::Destroy).await, Ok(Outcome::Changed));
    }
    for identity in [Some(&snapshot).filter(|_| has_snapshots), Some(&volume)].into_iter().flatten() {
        let place = longest.remove(identity).await;
        assert_eq!(longest.place(identity).await, place);
    }
    if !kit.can().names.own {
        return;
    }
    let max = kit.can().names.max_bytes;
    let db = kit.identity(Kind::Volume, "db");
    let kinds = [ErrorKind::Permanent, ErrorKind::Unsupported];
    kit.refused(&own_name(&kit, &"x".repeat(max + 1), &db, kit.size), &kinds).await;
    kit.refused(&own_name(&kit, "", &db, kit.size), &kinds).await;
    let step = own_name(&kit, &"x".repeat(max), &db, kit.size);
    assert_eq!(kit.run(&step).await, Ok(Outcome::Changed));
    let mut trash = kit.step(&db, kit.removal(Kind::Volume));
    trash.native = step.native.clone();
    assert_eq!(kit.run(&trash).await, Ok(Outcome::Changed), "a name that can be created and not removed");
}

fn adoption(kit: &Kit<'_>, native: &str, identity: &Identity) -> kiln::model::Step {
    let tags = Tags { identity: Some(Box::new(identity.clone())), adopted: true, ..labels() };
    let mut step = kit.step(identity, Action::Adopt { tags, n: 0 });
    step.native = NativeName::new(native);
    step
}

pub(crate) async fn adopt_takes_over_what_is_there_as_it_is(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let native = NativeName::new("volume-77");
    bench.make_foreign(&native, kit.size.bytes(), 77);
    let db = kit.identity(Kind::Volume, "db");
    let step = adoption(&kit, "volume-77", &db);
    if kit.shows_foreign() {
        assert_eq!(kit.named(&native).await.identity, None);
    }
    if !kit.can().adopt {
        kit.refused(&step, &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("it adopts no volumes");
    }
    assert_eq!(kit.run(&step).await, Ok(Outcome::Changed));
    assert_eq!(kit.run(&step).await, Ok(Outcome::Unchanged));
    let adopted = kit.named(&native).await;
    assert_eq!((&adopted.identity, adopted.size, &adopted.conflict), (&Some(db.clone()), kit.size, &None));
    let Action::Adopt { tags, .. } = step.action else { unreachable!() };
    assert_eq!(adopted.tags, tags);
    assert_eq!(bench.read(&native, 0), Some(77));
    for (action, place) in [
        (Action::Grow { to: kit.double() }, Place::Live),
        (Action::Trash { ttl: TTL, with: Vec::new() }, Place::Trash),
        (Action::Undelete { tags: tags.clone(), with: Vec::new() }, Place::Live),
    ] {
        let mut step = kit.step(&db, action);
        step.native = native.clone();
        if place == Place::Trash && !kit.can().trash.takes(Kind::Volume) {
            kit.refused(&step, &[ErrorKind::Unsupported]).await;
            break;
        }
        assert_eq!(kit.run(&step).await, Ok(Outcome::Changed), "{:?}", step.action);
        let seen = kit.named(&native).await;
        assert_eq!((seen.place, &seen.identity, seen.conflict), (place, &Some(db.clone()), None), "{:?}", step.action);
        assert!(seen.tags.adopted);
    }
    assert_eq!(bench.read(&native, 0), Some(77));
}

pub(crate) async fn adopt_of_what_is_somebodys_is_conflict(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if !kit.can().adopt {
        return kit.does_not_apply("it adopts no volumes");
    }
    bench.make_foreign(&NativeName::new("volume-77"), kit.size.bytes(), 77);
    let (db, other) = (kit.identity(Kind::Volume, "db"), kit.identity(Kind::Volume, "other"));
    kit.refused(&adoption(&kit, "volume-78", &db), &[ErrorKind::NotFound, ErrorKind::Conflict]).await;
    assert_eq!(kit.run(&adoption(&kit, "volume-77", &db)).await, Ok(Outcome::Changed));
    kit.refused(&adoption(&kit, "volume-77", &other), &[ErrorKind::Conflict]).await;
    let (plain, _) = kit.volume("plain").await;
    let kinds = [ErrorKind::Conflict, ErrorKind::Permanent];
    kit.refused(&adoption(&kit, plain.native().as_str(), &other), &kinds).await;
}

pub(crate) async fn rename_keeps_content_and_tags(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, monday, frozen) = kit.with_history().await;
    let new = Identity { name: "database".parse().unwrap(), ..db.clone() };
    let rename = kit.step(&new, Action::Rename { from: db.native(), tags: labels() });
    if !kit.can().rename {
        kit.refused(&rename, &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("it renames nothing");
    }
    assert_eq!(kit.act(&db, Action::SetTags { tags: labels() }).await, Ok(Outcome::Changed));
    assert_eq!(kit.run(&rename).await, Ok(Outcome::Changed));
    assert_eq!(kit.run(&rename).await, Ok(Outcome::Unchanged));
    assert_eq!(kit.place(&db).await, None);
    let seen = kit.one(&new).await;
    assert_eq!((seen.identity, seen.size, seen.tags), (Some(new.clone()), kit.size, labels().into()));
    assert_eq!((kit.read(&new, 0), kit.read(&new, 3)), (Some(21), Some(23)));
    // A snapshot knows its volume by its uid, which stays.
    if kit.can().snapshots.is_some() {
        assert_eq!(kit.one(&monday).await.tags.volume, Some(new.uid));
    }
    if kit.can().restore != Restores::No {
        let frozen = kit.reference(&monday, frozen.size);
        let restore = Action::Restore { snapshot: frozen, request: "r".to_owned() };
        assert_eq!(kit.act(&new, restore).await, Ok(Outcome::Changed));
        assert_eq!(kit.read(&new, 0), Some(11));
    }
}

pub(crate) async fn rename_onto_what_is_there_is_conflict(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if !kit.can().rename {
        return kit.does_not_apply("it renames nothing");
    }
    let (db, _) = kit.volume("db").await;
    let new = Identity { name: "database".parse().unwrap(), ..db.clone() };
    bench.make_foreign(&new.native(), kit.size.bytes(), 66);
    let rename = kit.step(&new, Action::Rename { from: db.native(), tags: Tags::default() });
    kit.refused(&rename, &[ErrorKind::Conflict]).await;
    let nobody = kit.identity(Kind::Volume, "nobody");
    let was = kit.incarnation(Kind::Volume, "was", 3);
    let rename = kit.step(&nobody, Action::Rename { from: was.native(), tags: Tags::default() });
    kit.refused(&rename, &[ErrorKind::NotFound, ErrorKind::Conflict]).await;
    let rename = kit.step(&nobody, Action::Rename { from: db.native(), tags: Tags::default() });
    kit.refused(&rename, &[ErrorKind::NotFound, ErrorKind::Conflict]).await;
}

pub(crate) async fn detach(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let Some((_, _, monday, frozen)) = kit.with_snapshot().await else { return };
    let copy = kit.identity(Kind::Volume, "copy");
    let is_made = kit.clone_from(Origin::Snapshot(frozen), &copy, kit.size).await;
    if !kit.can().detaches_clones() {
        kit.refused(&kit.step(&monday, Action::Detach), &[ErrorKind::Unsupported]).await;
        return kit.does_not_apply("it detaches no clones");
    }
    assert!(is_made, "it detaches clones and makes none");
    let first = if kit.can().clones_depend() { Outcome::Changed } else { Outcome::Unchanged };
    assert_eq!(kit.act(&monday, Action::Detach).await, Ok(first));
    assert_eq!(kit.act(&monday, Action::Detach).await, Ok(Outcome::Unchanged));
    assert_eq!(kit.one(&copy).await.parent, None);
    assert_eq!(kit.act(&monday, Action::Destroy).await, Ok(Outcome::Changed));
    assert_eq!((kit.read(&copy, 0), kit.read(&copy, 7)), (Some(11), Some(17)));
}

pub(crate) async fn settings_are_observed_as_they_were_set(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let can = kit.can().settings;
    let limits =
        |iops| can.qos.then(|| Box::new(Qos { iops: Some(iops), bps: Some(Size(1 << 20).into()), ..Qos::default() }));
    let settings = VolumeSettings { qos: limits(5), encrypted: can.encryption };
    let with = |wanted: &VolumeSettings, origin| match kit.create_action(kit.size, origin) {
        Action::Create { size, provisioning, origin, tags, n, settings: _ } => {
            Action::Create { size, provisioning, origin, tags, n, settings: wanted.clone() }
        }
        other => panic!("{other}"),
    };
    let db = kit.identity(Kind::Volume, "db");
    let create = kit.step(&db, with(&settings, None));
    assert_eq!(kit.run(&create).await, Ok(Outcome::Changed));
    kit.again(&create).await;
    assert_eq!(kit.one(&db).await.settings, settings);
    let (plain, _) = kit.volume("plain").await;
    for (missing, wanted) in [
        (!can.qos, VolumeSettings { qos: Some(Box::new(Qos { iops: Some(1), ..Qos::default() })), encrypted: false }),
        (!can.encryption, VolumeSettings { qos: None, encrypted: true }),
    ] {
        if missing {
            let other = kit.identity(Kind::Volume, "other");
            kit.refused(&kit.step(&other, with(&wanted, None)), &[ErrorKind::Unsupported]).await;
            kit.refused(&kit.step(&plain, Action::Configure { settings: wanted }), &[ErrorKind::Unsupported]).await;
        }
    }
    assert!(kit.one(&plain).await.settings.is_plain());
    let (monday, _) = kit.snapshot("monday", &kit.reference(&db, kit.size)).await;
    if kit.can().snapshots.is_some() {
        assert_eq!(kit.one(&monday).await.settings, settings.of_snapshot());
    }
    let slower = VolumeSettings { qos: limits(3), ..settings.clone() };
    let configure = Action::Configure { settings: slower.clone() };
    let open = bench.hold_open(&db.native());
    if can.qos && !can.qos_live && kit.sees_clients() {
        kit.refused(&kit.step(&db, configure.clone()), &[ErrorKind::Busy]).await;
        drop(open);
    }
    let changed = if can.qos { Outcome::Changed } else { Outcome::Unchanged };
    assert_eq!(kit.act(&db, configure.clone()).await, Ok(changed));
    assert_eq!(kit.act(&db, configure).await, Ok(Outcome::Unchanged));
    assert_eq!(kit.one(&db).await.settings, slower);
    if can.encryption {
        // A volume is neither encrypted nor decrypted once it exists.
        let kinds = [ErrorKind::Conflict, ErrorKind::Permanent, ErrorKind::Unsupported];
        for (identity, encrypted) in [(&db, false), (&plain, true)] {
            let settings = VolumeSettings { encrypted, ..kit.one(identity).await.settings };
            kit.refused(&kit.step(identity, Action::Configure { settings }), &kinds).await;
        }
    }
}
