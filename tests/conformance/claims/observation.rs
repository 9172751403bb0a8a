//! What observe shows.

use std::collections::BTreeSet;

use kiln::model::{
    Absence, Action, Address, ClientVisibility, Clients, ErrorKind, Kind, Listed, NativeName, Object, Observed, Origin,
    Outcome, Place, Provisioning, Scope, TrashAbility, Written,
};

use crate::suite::Bench;
use crate::suite::kit::Kit;

pub(crate) async fn observe_of_a_fresh_pool_is_empty_and_changes_nothing(bench: &dyn Bench) {
    let before = bench.fingerprint();
    let driver = bench.another();
    for scope in [
        Scope::All { owner: "prod".parse().unwrap() },
        Scope::Objects(vec![Address::flat(&NativeName::new("volume-1"))]),
    ] {
        let seen = driver.observe(&scope).await.unwrap();
        let mut expected = Observed::nothing_in(&scope);
        match driver.capabilities().absence {
            Absence::ByList => {}
            Absence::ByName => expected.listed = Listed::NONE,
            Absence::ByLedger => (expected.listed, expected.queried) = (Listed::NONE, BTreeSet::new()),
        }
        assert_eq!(Observed { capacities: Vec::new(), ..seen }, expected);
    }
    assert_eq!(bench.fingerprint(), before);
}

pub(crate) async fn observe_changes_nothing(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, object, monday, _) = kit.with_history().await;
    if kit.can().trash.takes(Kind::Snapshot) && kit.can().snapshots.is_some() {
        assert!(kit.trash(&monday).await);
    }
    bench.make_foreign(&NativeName::new("volume-1"), kit.size.bytes(), 1);
    let before = bench.fingerprint();
    let first = kit.all().await;
    let names = [object.native, monday.native(), NativeName::new("volume-1"), NativeName::new("nothing")];
    kit.driver.observe(&Scope::Objects(names.iter().map(Address::flat).collect())).await.unwrap();
    // Others write to the same file system.
    let second = Observed { capacities: first.capacities.clone(), ..kit.all().await };
    assert_eq!(second, first, "two observations of one world differ");
    assert_eq!(bench.fingerprint(), before);
    assert_eq!(kit.read(&db, 0), Some(21));
}

pub(crate) async fn observe_sees_what_execute_said(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _, monday, frozen) = kit.with_history().await;
    let copy = kit.identity(Kind::Volume, "copy");
    let has_snapshots = kit.can().snapshots.is_some();
    let is_cloned = has_snapshots && kit.clone_from(Origin::Snapshot(frozen), &copy, kit.double()).await;
    let old = kit.volume("old").await.0;
    let place = kit.remove(&old).await;
    // Seen alike by who did it and by anyone else.
    for driver in [std::sync::Arc::clone(&kit.driver), bench.another()] {
        let seen = kit.all_by(&*driver).await;
        assert_eq!(seen.pool, Some(kit.pool.clone()));
        let all = [
            Some((copy.clone(), Place::Live, kit.double())).filter(|_| is_cloned),
            Some((db.clone(), Place::Live, kit.size)),
            Some((monday.clone(), Place::Live, kit.size)).filter(|_| has_snapshots),
            place.map(|place| (old.clone(), place, kit.size)),
        ];
        let mut expected: Vec<_> = all.into_iter().flatten().collect();
        expected.sort_by_key(|(identity, ..)| identity.native());
        let found: Vec<_> = seen.objects.iter().map(|o| (o.identity.clone().unwrap(), o.place, o.size)).collect();
        assert_eq!(found, expected);
    }
}

pub(crate) async fn thousand_objects_in_one_listing(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let mut names = Vec::new();
    for i in 0..990 {
        let native = NativeName::new(format!("volume-{i}"));
        bench.make_foreign(&native, kit.can().granularity.max(4096), i + 1);
        names.extend(kit.shows_foreign().then_some((native, Place::Live)));
    }
    for i in 0..10 {
        let (identity, _) = kit.volume(&format!("ours-{i}")).await;
        let place = if i % 2 == 0 { kit.remove(&identity).await } else { Some(Place::Live) };
        names.extend(place.map(|place| (identity.native(), place)));
    }
    names.sort();
    let found: Vec<_> = kit.all().await.objects.into_iter().map(|o| (o.native, o.place)).collect();
    assert_eq!(found, names, "all of them once, sorted by name and place");
}

pub(crate) async fn scope_objects_reports_clients_and_proves_absence(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (db, _) = kit.volume("db").await;
    let (idle, _) = kit.volume("idle").await;
    kit.volume("unasked").await;
    let gone = kit.identity(Kind::Volume, "gone").native();
    let open = bench.hold_open(&db.native());
    let asked = [idle.native(), gone, db.native(), db.native()].map(|native| Address::flat(&native));
    let seen = kit.driver.observe(&Scope::Objects(asked.to_vec())).await.unwrap();
    // Where the ledger proves absence, no name is answered for.
    let answered = if kit.can().absence == Absence::ByLedger { BTreeSet::new() } else { asked.into() };
    assert_eq!((seen.listed, seen.queried), (Listed::NONE, answered), "each name is answered, and none is listed");
    let found: Vec<_> = seen.objects.iter().map(|object| object.native.clone()).collect();
    assert_eq!(found, [db.native(), idle.native()]);
    let shown = &seen.objects[0].clients;
    match kit.can().client_visibility {
        // The bench is a client of this host.
        ClientVisibility::All | ClientVisibility::Host => {
            assert!(matches!(shown, Clients::Some(who) if !who.is_empty()), "{shown:?}");
        }
        ClientVisibility::None => assert_eq!(*shown, Clients::Unknown, "who cannot be seen is not known to be absent"),
    }
    assert!(seen.objects.iter().all(Object::was_named), "a report by name says so");
    assert!(!matches!(seen.objects[1].clients, Clients::Some(_)), "{:?}", seen.objects[1].clients);
    drop(open);
    assert!(!matches!(kit.one(&db).await.clients, Clients::Some(_)), "still shown after it was closed");
}

pub(crate) async fn records_show_what_was_made_until_it_is_destroyed(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if kit.can().absence != Absence::ByLedger {
        return kit.does_not_apply("it shows more than what it made");
    }
    let adopts_snapshots = kit.can().snapshots.as_ref().is_some_and(|snapshots| snapshots.adopt);
    assert_eq!((kit.can().trash, kit.can().adopt, adopts_snapshots), (TrashAbility::None, false, false));
    let (db, _, monday, _) = kit.with_history().await;
    let foreign = NativeName::new("volume-1");
    bench.make_foreign(&foreign, kit.size.bytes(), 1);
    assert_eq!(kit.look(&foreign).await, [], "it has no record");
    let mut made = vec![db.native()];
    made.extend(kit.can().snapshots.is_some().then(|| monday.native()));
    made.sort();
    for driver in [std::sync::Arc::clone(&kit.driver), bench.another()] {
        let shown: Vec<_> = kit.all_by(&*driver).await.objects.into_iter().map(|object| object.native).collect();
        assert_eq!(shown, made);
    }
    let other = kit.volume("other").await.0;
    assert_eq!(kit.remove(&other).await, None);
    assert_eq!(kit.look(&other.native()).await, [], "its record is gone with it");
}

pub(crate) async fn names_are_answered_for_whether_or_not_a_list_shows_them(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    if !kit.shows_foreign() {
        return kit.does_not_apply("it answers for no name");
    }
    let (db, _, monday, _) = kit.with_history().await;
    let mut expected = vec![(db.native(), Place::Live)];
    if kit.can().snapshots.is_some() {
        let in_trash = kit.can().trash.takes(Kind::Snapshot) && kit.trash(&monday).await;
        expected.push((monday.native(), if in_trash { Place::Trash } else { Place::Live }));
    }
    let foreign = NativeName::new("volume-1");
    bench.make_foreign(&foreign, kit.size.bytes(), 1);
    expected.push((foreign, Place::Live));
    for nth in 0..8 {
        let volume = kit.volume(&format!("v{nth}")).await.0;
        expected.push((volume.native(), Place::Live));
    }
    for (native, place) in expected {
        let places: Vec<Place> = kit.look(&native).await.iter().map(|object| object.place).collect();
        assert_eq!(places, [place], "{native}");
    }
    for nth in 0..8 {
        let absent = kit.identity(Kind::Volume, &format!("absent{nth}"));
        assert_eq!(kit.look(&absent.native()).await, [], "it was never made");
    }
    let listed = kit.driver.observe(&Scope::All { owner: kit.owner.clone() }).await.unwrap();
    for object in listed.objects {
        let places: Vec<Place> = kit.look(&object.native).await.iter().map(|object| object.place).collect();
        assert_eq!(places, [object.place], "{} is listed", object.native);
    }
}

pub(crate) async fn half_made_objects_are_shown_as_such(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let left = kit.identity(Kind::Volume, "left");
    let temporary = left.temporary();
    bench.make_left_over(&temporary, kit.size.bytes());
    if !kit.shows_foreign() {
        assert_eq!(kit.look(&temporary).await, [], "it has no record");
        return kit.does_not_apply("it shows only what it knows to have made");
    }
    let seen = kit.named(&temporary).await;
    let identity = seen.identity.unwrap();
    assert_eq!((identity.owner, identity.name, identity.uid), (left.owner.clone(), left.name.clone(), left.uid));
    assert_eq!((seen.place, kit.place(&left).await), (Place::Temporary, None));
    assert_eq!(kit.all().await.objects.len(), 1);
    let mut sweep = kit.step(&left, Action::Sweep);
    sweep.native = temporary;
    sweep.expect.place = Some(Place::Temporary);
    assert_eq!(kit.run(&sweep).await, Ok(Outcome::Changed));
}

pub(crate) async fn a_volume_is_unwritten_until_a_client_writes(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (thin, _) = kit.volume("thin").await;
    let mut made = vec![thin];
    if kit.can().thick {
        let thick = kit.identity(Kind::Volume, "thick");
        let mut action = kit.create_action(kit.size, None);
        if let Action::Create { provisioning, tags, .. } = &mut action {
            (*provisioning, tags.provisioning) = (Provisioning::Thick, Some(Provisioning::Thick));
        }
        assert_eq!(kit.act(&thick, action).await, Ok(Outcome::Changed));
        made.push(thick);
    }
    for volume in &made {
        assert_eq!(kit.act(volume, Action::Grow { to: kit.double() }).await, Ok(Outcome::Changed));
        assert_eq!(kit.one(volume).await.written, Written::Never, "{volume:?}");
    }
    assert!(kit.all().await.objects.iter().all(|object| object.written == Written::Unknown), "a listing stays cheap");
    let (whole, _) = kit.volume("whole").await;
    for volume in &made {
        // The last block, in what was grown.
        kit.write(volume, kit.double().bytes() / 4096 - 1, 5);
        assert_eq!(kit.one(volume).await.written, Written::Yes, "{volume:?}");
        let mut step = kit.step(volume, kit.removal(Kind::Volume));
        step.expect.unwritten = true;
        kit.refused_for("what was written", &step, &[ErrorKind::Conflict]).await;
    }
    let copy = kit.identity(Kind::Volume, "copy");
    let source = kit.reference(&made[0], kit.double());
    if kit.can().clones.as_ref().is_some_and(|clones| clones.of_volume) {
        let action = kit.create_action(kit.double(), Some(Origin::Volume(source)));
        assert_eq!(kit.act(&copy, action).await, Ok(Outcome::Changed));
        assert_eq!(kit.one(&copy).await.written, Written::Yes, "a copy holds what its source does");
    }
    let mut step = kit.step(&whole, kit.removal(Kind::Volume));
    step.expect.unwritten = true;
    let place = (step.action != Action::Destroy).then_some(Place::Trash);
    assert_eq!(kit.run(&step).await, Ok(Outcome::Changed));
    assert_eq!(kit.place(&whole).await, place);
}
