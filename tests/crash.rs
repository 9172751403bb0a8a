//! The crash sweep: in every phase of a story, the process dies at every driver call (before it, and after it with its reply
//! lost) and at every store write (before and after); with the store and without it, the next process must end where the
//! undisturbed one ends, with nothing made twice, nothing orphaned and nothing lost.

mod rig;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kiln::driver::sim::{SimObject, SimWorld};
use kiln::engine::{Options, reconcile_once};
use kiln::model::{Absence, Capabilities, NativeName, Reading, Restores, Size, SnapshotAbility, TrashAbility};
use kiln::plan::Saved;
use kiln::store::CrashPoint;
use rig::{
    Doom, HEAD, Person, Point, Rig, join, made_and_destroyed_once, objects, run, same_objects, snapshot, specs, volume,
};

const ENCRYPTED: &str = ", encryption: {passphraseFrom: {env: PASS}}";

/// The story: each phase is what is declared, and what clients write before it is.
fn phases() -> Vec<(&'static str, Reading)> {
    let join = |parts: &[String]| specs(&format!("{HEAD}{}", parts.concat()));
    let db = |more: &str| volume("db", &format!("size: 1Mi{more}"));
    vec![
        (
            "declare",
            join(&[
                db(", protected: true, qos: {iops: 5}"),
                volume("web", "size: 2Mi, provisioning: thick"),
                volume("named", "size: 1Mi, object: by-name"),
                volume("going", "size: 1Mi, onRemove: Delete"),
                volume("kept", "size: 1Mi, onRemove: Retain"),
                snapshot("monday", "web", ""),
                volume("copy", "size: 4Mi, source: {snapshot: monday}"),
                volume("twin", &format!("size: 2Mi, source: {{volume: web}}{ENCRYPTED}")),
            ]),
        ),
        (
            "change",
            join(&[
                volume("db", "size: 3Mi, protected: false, qos: {iops: 9, bps: 1Mi}"),
                volume("web", "size: 2Mi, restore: {snapshot: monday, request: once}"),
                volume("named", "size: 2Mi, object: by-name, provisioning: thick"),
                volume("going", "size: 1Mi"),
                volume("kept", "size: 1Mi"),
                "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {name: clone, renamedFrom: copy, labels: {a: b}}\nspec: {size: 5Mi}\n"
                    .to_owned(),
                volume("twin", &format!("size: 2Mi{ENCRYPTED}")),
                snapshot("monday", "web", ", onRemove: Detach"),
                snapshot("tuesday", "web", ""),
                volume("taken", "size: 1Mi, adopt: {name: theirs}"),
            ]),
        ),
        ("remove", join(&[volume("db", "size: 3Mi"), volume("web", "size: 2Mi"), volume("twin", &format!("size: 2Mi{ENCRYPTED}"))])),
        (
            "bring back",
            join(&[
                volume("db", "size: 4Mi"),
                volume("web", "size: 2Mi"),
                volume("twin", &format!("size: 2Mi{ENCRYPTED}")),
                volume("named", "size: 2Mi, object: by-name"),
                snapshot("tuesday", "web", ""),
                volume("kept", "size: 1Mi"),
                volume("going", "size: 1Mi"),
            ]),
        ),
    ]
}

fn clients_write(world: &mut SimWorld, phase: u64) {
    let names: Vec<NativeName> = world.live_objects().map(|(native, _)| native.clone()).collect();
    for native in names {
        // Snapshots refuse.
        world.write(&native, phase, 1000 + phase);
    }
}

fn begin() -> Rig {
    let rig = Rig::new();
    let theirs = NativeName::new("theirs");
    rig.world().make_by_hand(&theirs, SimObject::empty(Size(1 << 20)));
    rig.world().write(&theirs, 3, 77);
    rig.world().make_by_hand(&NativeName::new("foreign"), SimObject::empty(Size(1 << 20)));
    rig
}

/// What must hold of a world in which a crashed run was followed by others.
async fn converges(rig: &Rig, specs: &Reading, reference: &SimWorld, what: &str) {
    rig.settle(specs, 6, what).await;
    let by_ledger = rig.capabilities.absence == Absence::ByLedger;
    if by_ledger {
        rig.forget_what_may_exist(specs, what).await;
        rig.settle(specs, 6, what).await;
    }
    let held = rig.overview(specs).await.plan.held;
    {
        let world = rig.world();
        made_and_destroyed_once(&world);
        match by_ledger {
            // What is created after its name was freed has another uid.
            true => assert_eq!(by_name(&world), by_name(reference), "{what}: it ends elsewhere; held: {held:#?}"),
            false => assert_eq!(objects(&world), objects(reference), "{what}: it ends elsewhere; held: {held:#?}"),
        }
    }
    rig.stays_settled(specs).await;
}

/// Name, size, labels and content of an object.
type Described = (String, Size, BTreeMap<String, String>, BTreeMap<u64, u64>);

/// All objects by kind and name, without uids.
fn by_name(world: &SimWorld) -> Vec<Described> {
    let part = |native: &NativeName| match native.parse() {
        Some((form, owner, name, _)) => format!("{form:?} {owner} {name}"),
        None => native.to_string(),
    };
    let described = |(native, object): (&NativeName, &SimObject)| {
        (part(native), object.size, object.tags.labels.clone(), object.content.as_ref().clone())
    };
    let mut all: Vec<_> = world.live_objects().map(described).collect();
    all.sort();
    all
}

/// Dies at every point of every phase, with and without the store, and sees that it ends as if it had not. How many points there were.
async fn sweep(mut rig: Rig, phases: Vec<(&'static str, Reading)>, clients: impl Fn(&mut SimWorld, u64)) -> usize {
    let mut points = 0;
    for (index, (phase, specs)) in phases.iter().enumerate() {
        clients(&mut rig.world(), index as u64);
        // The undisturbed run, which also counts the points.
        let undisturbed = rig.fork(true);
        undisturbed.settle(specs, 6, phase).await;
        let reference = undisturbed.world().clone();
        assert_eq!(undisturbed.overview(specs).await.plan.held, [], "{phase}: the story has nothing held");
        assert_ne!(objects(&rig.world()), objects(&reference), "the phase {phase} does nothing");
        let once = rig.fork(true);
        once.pass(specs).await.expect("a store in memory");
        let (calls, commits) = (once.doom.calls.load(std::sync::atomic::Ordering::SeqCst), once.store.commits());
        for with_store in [true, false] {
            let deaths: &[Point] = match rig.capabilities.restore {
                Restores::No | Restores::Atomic => &[Point::Before, Point::After],
                Restores::InSteps => &[Point::Before, Point::Half, Point::After],
            };
            for at in 0..calls {
                for point in deaths.iter().copied() {
                    let what = format!("{phase}, call {at} {point:?}, store {with_store}");
                    let mut crashed = rig.fork(true);
                    crashed.doom = Doom::at(at, point);
                    tokio::select! {
                        biased;
                        () = crashed.doom.died.notified() => {}
                        report = crashed.pass(specs) => panic!("{what}: the process did not die: {report:?}"),
                    }
                    converges(&crashed.restarted(with_store).await, specs, &reference, &what).await;
                    points += 1;
                }
            }
            for at in 1..=commits {
                for point in [CrashPoint::Before, CrashPoint::After] {
                    let what = format!("{phase}, commit {at} {point:?}, store {with_store}");
                    let crashed = rig.fork(true);
                    crashed.store.crash_at(at, point);
                    assert!(crashed.pass(specs).await.is_err(), "{what}: the process did not die");
                    converges(&crashed.restarted(with_store).await, specs, &reference, &what).await;
                    points += 1;
                }
            }
        }
        // Crashes in the recovery of a crash: every seventh call, then every call of the run after it.
        for at in (0..calls).step_by(7) {
            let mut crashed = rig.fork(true);
            crashed.doom = Doom::at(at, Point::After);
            tokio::select! {
                biased;
                () = crashed.doom.died.notified() => {}
                report = crashed.pass(specs) => panic!("the process did not die: {report:?}"),
            }
            let crashed = crashed.restarted(true).await;
            for second in 0.. {
                let mut again = crashed.fork(true);
                again.doom = Doom::at(second, Point::After);
                let died = tokio::select! {
                    biased;
                    () = again.doom.died.notified() => true,
                    report = again.pass(specs) => { report.expect("a store in memory"); false }
                };
                let what = format!("{phase}, call {at}, then call {second}");
                converges(&again.restarted(second % 2 == 0).await, specs, &reference, &what).await;
                points += 1;
                if !died {
                    break;
                }
            }
        }
        rig = undisturbed;
    }
    points
}

#[test]
fn every_crash_point_converges_with_and_without_the_store() {
    let points = run(async { sweep(begin(), phases(), clients_write).await });
    println!("{points} crash points");
    assert!(points > 500, "only {points} crash points");
}

#[test]
fn every_crash_point_converges_where_calls_cannot_be_repeated() {
    let mut rig = begin();
    rig.capabilities.repeatable = false;
    // Changes and removals are swept above: what a second call would make twice is made in the first phase.
    let declare = phases().into_iter().take(1).collect();
    let points = run(async { sweep(rig, declare, clients_write).await });
    println!("{points} crash points");
    assert!(points > 100, "only {points} crash points");
}

fn renamed(name: &str, from: &str, spec: &str) -> String {
    volume(name, spec).replace(&format!("name: {name}"), &format!("name: {name}, renamedFrom: {from}"))
}

/// Renames of what is plain, adopted, or bears a name of its own, and has snapshots; and of what is open while it is renamed.
fn renames() -> Vec<(&'static str, Reading)> {
    let join = |parts: &[String]| specs(&format!("{HEAD}{}", parts.concat()));
    let declared = [
        volume("db", "size: 1Mi, protected: true"),
        volume("named", "size: 1Mi, object: by-name"),
        volume("taken", "size: 1Mi, adopt: {name: theirs}"),
        snapshot("monday", "db", ""),
        snapshot("frozen", "taken", ", protected: true"),
    ];
    let said = [
        renamed("database", "db", "size: 2Mi"),
        renamed("called", "named", "size: 1Mi"),
        renamed("adopted", "taken", "size: 1Mi"),
        snapshot("monday", "database", "").replace("name: monday", "name: montag, renamedFrom: monday"),
        snapshot("frozen", "adopted", ""),
    ];
    vec![("declare", join(&declared)), ("rename", join(&said))]
}

#[test]
fn a_rename_converges_from_every_crash_point() {
    let rig = begin();
    let points = run(async {
        sweep(rig, renames(), |world, phase| {
            clients_write(world, phase);
            // Clients hold everything open from the first phase on.
            let names: Vec<NativeName> = world.live_objects().map(|(native, _)| native.clone()).collect();
            names.iter().filter(|_| phase == 1).for_each(|native| assert!(world.open(native, "qemu")));
        })
        .await
    });
    println!("{points} crash points");
    assert!(points > 100, "only {points} crash points");
}

/// Two volumes exchange their names by way of a third, and others pass theirs on in a chain, with their snapshots.
fn storm() -> Vec<(&'static str, Reading)> {
    let plain = |name: &str| volume(name, "size: 1Mi");
    let move_to = |name: &str, from: &str| renamed(name, from, "size: 1Mi");
    let other = |name: &str, from: &str, of: &str| {
        snapshot(name, of, "").replace(&format!("name: {name}"), &format!("name: {name}, renamedFrom: {from}"))
    };
    vec![
        ("declare", join(&[["a", "b", "c", "d"].map(plain).concat(), snapshot("s", "a", ""), snapshot("t", "b", "")])),
        (
            "make room",
            join(&[
                move_to("x", "a"),
                plain("b"),
                plain("c"),
                move_to("e", "d"),
                other("y", "s", "x"),
                snapshot("t", "b", ""),
            ]),
        ),
        (
            "pass on",
            join(&[
                plain("x"),
                move_to("a", "b"),
                move_to("d", "c"),
                plain("e"),
                other("s", "t", "a"),
                snapshot("y", "x", ""),
            ]),
        ),
        (
            "exchanged",
            join(&[
                move_to("b", "x"),
                plain("a"),
                plain("d"),
                plain("e"),
                plain("c"),
                snapshot("s", "a", ""),
                other("t", "y", "b"),
            ]),
        ),
    ]
}

#[test]
fn exchanged_names_converge_from_every_crash_point() {
    let rig = Rig::new();
    let points = run(async { sweep(rig, storm(), clients_write).await });
    println!("{points} crash points");
    assert!(points > 100, "only {points} crash points");
}

#[test]
fn a_storm_of_renames_changes_nothing_where_nothing_can_be_renamed() {
    run(async {
        let able = Rig::new().capabilities.clone();
        let rig = Rig { capabilities: Capabilities { rename: false, ..able }, ..Rig::new() };
        let [(_, declared), (_, said), ..] = <[_; 4]>::try_from(storm()).unwrap();
        rig.settle(&declared, 3, "made").await;
        clients_write(&mut rig.world(), 1);
        let before = rig.world().clone();
        for with_store in [true, false] {
            let calls = rig.fork(true).calls_of(async |rig| rig.pass(&said).await).await;
            for at in 0..calls {
                let what = format!("call {at}, store {with_store}");
                let crashed = rig.killed(at, Point::After, with_store, async |rig| rig.pass(&said).await).await;
                crashed.settle(&said, 3, &what).await;
                let held = crashed.overview(&said).await.plan.held;
                assert_eq!(held.len(), 3, "{what}: {held:#?}");
                // What the documents say again needs no step.
                crashed.settle(&declared, 2, &what).await;
                assert_eq!(objects(&crashed.world()), objects(&before), "{what}");
            }
        }
    });
}

/// A volume renamed without `renamedFrom`, which is written later: from the trash, and where the volume still is.
fn renamed_later() -> Vec<(&'static str, Reading)> {
    let join = |parts: &[String]| specs(&format!("{HEAD}{}", parts.concat()));
    let kept = volume("kept", "size: 3Mi, onRemove: Retain");
    vec![
        ("declare", join(&[volume("db", "size: 1Mi"), kept, snapshot("monday", "db", "")])),
        (
            "without renamedFrom",
            join(&[volume("database", "size: 1Mi"), volume("held", "size: 4Mi, provisioning: thick")]),
        ),
        (
            "with it",
            join(&[
                renamed("database", "db", "size: 2Mi"),
                renamed("held", "kept", "size: 4Mi"),
                snapshot("monday", "database", ""),
            ]),
        ),
    ]
}

#[test]
fn renamed_from_written_later_converges_from_every_crash_point() {
    let points = run(async {
        let rig = Rig::new();
        sweep(rig, renamed_later(), |world, phase| {
            if phase == 1 {
                clients_write(world, 7);
            }
        })
        .await
    });
    println!("{points} crash points");
    assert!(points > 100, "only {points} crash points");
}

#[test]
fn renamed_from_written_later_brings_the_data_back() {
    run(async {
        let rig = Rig::new();
        for (index, (phase, specs)) in renamed_later().iter().enumerate() {
            if index == 1 {
                clients_write(&mut rig.world(), 7);
            }
            rig.settle(specs, 6, phase).await;
        }
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

/// Applies a saved plan; what it says when it is refused.
async fn apply_saved(rig: &Rig, saved: &Saved) -> Vec<String> {
    let options = Options { saved: Some(Arc::new(saved.plan.clone())), ..Options::default() };
    let person = Arc::new(Person { yes: true, heard: Mutex::default() });
    reconcile_once(&rig.setup(&saved.reading), &options, person).await.expect("a store in memory").refused
}

/// Applies a saved plan for each phase, dies at every call, and applies it again. How many points there were.
async fn sweep_saved(mut rig: Rig, deaths: &[Point]) -> usize {
    let mut points = 0;
    for (index, (phase, specs)) in phases().iter().enumerate() {
        clients_write(&mut rig.world(), index as u64);
        let saved = Saved::new(specs.clone(), rig.overview(specs).await.plan);
        let text = saved.to_json().expect("a plan has a text");
        let saved = Saved::parse(&text).expect("what was just written");
        let undisturbed = rig.fork(true);
        assert_eq!(apply_saved(&undisturbed, &saved).await, Vec::<String>::new(), "{phase}");
        let calls = undisturbed.doom.calls.load(std::sync::atomic::Ordering::SeqCst);
        undisturbed.settle(specs, 6, phase).await;
        let reference = undisturbed.world().clone();
        for at in 0..calls {
            for point in deaths.iter().copied() {
                let what = format!("{phase}, call {at} {point:?}");
                let mut crashed = rig.fork(true);
                crashed.doom = Doom::at(at, point);
                tokio::select! {
                    biased;
                    () = crashed.doom.died.notified() => {}
                    refused = apply_saved(&crashed, &saved) => panic!("{what}: the process did not die: {refused:?}"),
                }
                let crashed = crashed.restarted(at % 2 == 0).await;
                assert_eq!(apply_saved(&crashed, &saved).await, Vec::<String>::new(), "{what}");
                converges(&crashed, specs, &reference, &what).await;
                points += 1;
            }
        }
        rig = undisturbed;
    }
    points
}

#[test]
fn a_saved_plan_goes_on_after_a_crash_at_any_call() {
    let points = run(async { sweep_saved(begin(), &[Point::Before, Point::After]).await });
    assert!(points > 100, "only {points} crash points");
}

#[test]
fn a_saved_plan_goes_on_after_a_crash_inside_of_a_restore() {
    let mut rig = begin();
    rig.capabilities.restore = Restores::InSteps;
    let points = run(async { sweep_saved(rig, &[Point::Half]).await });
    assert!(points > 50, "only {points} crash points");
}

#[test]
fn a_saved_plan_is_refused_when_the_world_moved_and_nothing_is_done() {
    run(async {
        let rig = Rig::new();
        let before = specs(&format!("{HEAD}{}{}", volume("db", "size: 1Mi"), volume("old", "size: 1Mi")));
        rig.settle(&before, 2, "before").await;
        let wanted = specs(&format!("{HEAD}{}{}", volume("db", "size: 4Mi"), volume("web", "size: 1Mi")));
        let saved = Saved::new(wanted.clone(), rig.overview(&wanted).await.plan);
        assert_eq!(saved.plan.steps.len(), 3);

        // Somebody else grows db, and by another plan a volume comes.
        let moved = rig.fork(true);
        let db = moved.world().live_objects().find(|(native, _)| native.as_str().contains("db")).unwrap().0.clone();
        let other = specs(&format!("{HEAD}{}{}", volume("db", "size: 2Mi"), volume("old", "size: 1Mi")));
        moved.settle(&other, 2, "another").await;
        let untouched = moved.world().clone();
        let refused = apply_saved(&moved, &saved).await;
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].starts_with("volume/db: grow to 4Mi has changed: "), "{refused:?}");
        assert!(refused[0].contains("size was 1048576 bytes and is 2097152 bytes"), "{refused:?}");
        assert!(same_objects(&untouched, &moved.world()));

        // Somebody else deletes db: it is held now, and so is the last removal; nothing else is done either.
        let deleted = rig.fork(true);
        assert!(deleted.world().delete_by_hand(&db));
        let refused = apply_saved(&deleted, &saved).await;
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].contains("volume/db: grow to 4Mi is no longer planned: it is held (Lost: "), "{refused:?}");
        assert!(refused[1].contains("volume/old: move to the trash for 7d"), "{refused:?}");
        assert!(refused[1].contains("(RemovalLimit: "), "{refused:?}");

        // A volume that the plan did not have.
        let more = rig.fork(true);
        let third = format!(
            "{HEAD}{}{}{}",
            volume("db", "size: 1Mi"),
            volume("old", "size: 1Mi"),
            volume("third", "size: 1Mi")
        );
        more.settle(&specs(&third), 2, "third").await;
        let refused = apply_saved(&more, &saved).await;
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].ends_with("is not in the saved plan"), "{refused:?}");

        // What was done already is no reason, and the saved plan applied once more does nothing.
        assert_eq!(apply_saved(&rig, &saved).await, Vec::<String>::new());
        let done = rig.world().clone();
        assert_eq!(apply_saved(&rig, &saved).await, Vec::<String>::new());
        assert!(same_objects(&done, &rig.world()));
    });
}

/// A backend that keeps snapshots inside of their volumes.
fn inside(trash: TrashAbility) -> Rig {
    let everything = Capabilities::everything();
    let snapshots = everything.snapshots.clone().map(|all| SnapshotAbility { nested: true, ..all });
    let rig = Rig { capabilities: Capabilities { snapshots, trash, ..everything }, ..Rig::new() };
    let (theirs, other, s) = (NativeName::new("theirs"), NativeName::new("other"), NativeName::new("s"));
    for volume in [&theirs, &other] {
        rig.world().make_by_hand(volume, SimObject::empty(Size(1 << 20)));
        rig.world().make_inside_by_hand(volume, &s, SimObject::empty(Size(1 << 20)));
    }
    rig
}

/// Snapshots inside of volumes are taken, adopted, copied, renamed with and under their volumes, removed and brought back.
fn inside_phases(trash: TrashAbility) -> Vec<(&'static str, Reading)> {
    let join = |parts: &[String]| specs(&format!("{HEAD}{}", parts.concat()));
    let gone = if trash == TrashAbility::None { ", onRemove: Delete" } else { "" };
    let web = |more: &str| volume("web", &format!("size: 2Mi{gone}{more}"));
    let tuesday = |of: &str, more: &str| snapshot("tuesday", of, &format!("{gone}{more}"));
    let (copy, frozen) = (volume("copy", "size: 1Mi"), snapshot("frozen", "taken", ", adopt: {name: s}"));
    let taken = volume("taken", "size: 1Mi, adopt: {name: theirs}");
    let montag = |more: &str| snapshot("montag", "database", &format!(", protected: true{more}"));
    vec![
        (
            "declare",
            join(&[
                volume("db", "size: 1Mi"),
                web(""),
                snapshot("monday", "db", ""),
                tuesday("web", ""),
                snapshot("wednesday", "web", ", onRemove: Delete"),
                volume("copy", "size: 1Mi, source: {snapshot: monday}"),
                taken.clone(),
                frozen.clone(),
            ]),
        ),
        (
            "rename",
            join(&[
                renamed("database", "db", "size: 2Mi"),
                web(", restore: {snapshot: tuesday, request: once}"),
                montag("").replace("name: montag", "name: montag, renamedFrom: monday"),
                tuesday("web", ""),
                snapshot("wednesday", "web", ", onRemove: Delete"),
                snapshot("thursday", "database", ", onRemove: Delete"),
                copy.clone(),
                taken.clone(),
                frozen.clone(),
            ]),
        ),
        ("remove", join(&[volume("database", "size: 2Mi"), montag(""), copy.clone(), taken.clone(), frozen.clone()])),
        (
            "bring back",
            join(&[
                volume("database", "size: 2Mi"),
                montag(""),
                copy,
                taken,
                frozen,
                renamed("www", "web", &format!("size: 3Mi{gone}")),
                tuesday("www", ", protected: true"),
            ]),
        ),
    ]
}

#[test]
fn snapshots_inside_of_volumes_converge_from_every_crash_point() {
    for trash in [TrashAbility::All, TrashAbility::Volumes, TrashAbility::None] {
        let points = run(async { sweep(inside(trash), inside_phases(trash), clients_write).await });
        println!("{trash:?}: {points} crash points");
        assert!(points > 200, "{trash:?}: only {points} crash points");
    }
}

/// A volume that has grown since its snapshot is restored, while it is also to be changed and copied; then all but one copy goes.
fn restored() -> Vec<(&'static str, Reading)> {
    let join = |parts: &[String]| specs(&format!("{HEAD}{}", parts.concat()));
    let monday = snapshot("monday", "db", ", onRemove: Detach");
    let restore = ", restore: {snapshot: monday, request: once}";
    vec![
        ("declare", join(&[volume("db", "size: 2Mi")])),
        ("snapshot", join(&[volume("db", "size: 2Mi"), monday.clone()])),
        ("grow", join(&[volume("db", "size: 4Mi"), monday.clone()])),
        (
            "restore",
            join(&[
                volume("db", &format!("size: 4Mi, onRemove: Delete{restore}")),
                monday,
                snapshot("before", "db", ""),
                volume("copy", "size: 2Mi, source: {snapshot: monday}"),
            ]),
        ),
        (
            "after",
            join(&[
                renamed("database", "db", &format!("size: 5Mi{restore}")),
                snapshot("before", "database", ""),
                snapshot("after", "database", ""),
                volume("copy", "size: 2Mi"),
            ]),
        ),
        ("remove", join(&[volume("copy", "size: 2Mi")])),
    ]
}

/// Clients write to both halves of what the snapshot has, and beyond it.
fn clients_write_all_over(world: &mut SimWorld, phase: u64) {
    let names: Vec<NativeName> = world.live_objects().map(|(native, _)| native.clone()).collect();
    for native in names {
        for block in [1, 400, 600] {
            world.write(&native, block, 1000 * phase + block);
        }
    }
}

#[test]
fn a_restore_in_several_steps_converges_from_every_crash_point() {
    let in_steps = Capabilities { restore: Restores::InSteps, ..Capabilities::everything() };
    let rig = Rig { capabilities: in_steps, ..Rig::new() };
    let points = run(async { sweep(rig, restored(), clients_write_all_over).await });
    println!("{points} crash points");
    assert!(points > 300, "only {points} crash points");
}

#[test]
fn every_crash_point_converges_where_backends_answer_only_for_names() {
    let trash = TrashAbility::All;
    for (rig, phases) in [(begin(), phases()), (inside(trash), inside_phases(trash))] {
        let capabilities = Capabilities { absence: Absence::ByName, ..rig.capabilities.clone() };
        let points = run(async { sweep(Rig { capabilities, ..rig }, phases, clients_write).await });
        println!("{points} crash points");
        assert!(points > 100, "only {points} crash points");
    }
}

/// Creations, copies, changes, renames, a restore and removals where there is no trash and nothing is adopted.
fn without_trash() -> Vec<(&'static str, Reading)> {
    let gone = ", onRemove: Delete";
    let plain = |name: &str, more: &str| volume(name, &format!("size: 1Mi{gone}{more}"));
    let web = |more: &str| volume("web", &format!("size: 2Mi{gone}{more}"));
    let monday = snapshot("monday", "web", gone);
    vec![
        (
            "declare",
            join(&[
                plain("db", ", protected: true"),
                web(""),
                plain("named", ", object: by-name"),
                monday.clone(),
                volume("copy", &format!("size: 5Mi{gone}, source: {{snapshot: monday}}")),
            ]),
        ),
        (
            "change",
            join(&[
                volume("db", &format!("size: 3Mi{gone}, protected: false")),
                web(""),
                plain("named", ", object: by-name"),
                renamed("clone", "copy", &format!("size: 5Mi{gone}")),
                monday.clone(),
                snapshot("tuesday", "web", gone),
                volume("twin", &format!("size: 4Mi{gone}, source: {{volume: web}}")),
            ]),
        ),
        (
            "remove",
            join(&[
                volume("db", &format!("size: 3Mi{gone}")),
                web(", restore: {snapshot: monday, request: once}"),
                monday,
            ]),
        ),
        ("bring back", join(&[volume("db", "size: 3Mi"), web(""), plain("named", ", object: by-name")])),
    ]
}

#[test]
fn every_crash_point_converges_where_the_ledger_proves_absence() {
    for repeatable in [false, true] {
        let everything = Capabilities::everything();
        let (trash, absence) = (TrashAbility::None, Absence::ByLedger);
        let capabilities = Capabilities { trash, absence, repeatable, adopt: false, ..everything };
        let phases = without_trash();
        let points = run(async { sweep(Rig { capabilities, ..Rig::new() }, phases, clients_write).await });
        println!("repeatable {repeatable}: {points} crash points");
        assert!(points > 300, "only {points} crash points");
    }
}
