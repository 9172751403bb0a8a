//! The crash sweep: in every phase of a story, the process dies at every driver call (before it, and after it with nobody to hear
//! the reply) and at every store write (before and after); with the store and without it, the next process must end where the
//! undisturbed one ends, with nothing made twice, nothing leaked and nothing lost.

mod rig;

use kiln::driver::sim::{SimObject, SimWorld};
use kiln::model::{NativeName, Size, Specs};
use kiln::store::CrashPoint;
use rig::{Doom, HEAD, Point, Rig, made_and_destroyed_once, objects, run, snapshot, specs, volume};

/// The story: each phase is what is declared, and what clients write before it is.
fn phases() -> Vec<(&'static str, Specs)> {
    let join = |parts: &[String]| specs(&format!("{HEAD}{}", parts.concat()));
    let db = |more: &str| volume("db", &format!("size: 1Mi{more}"));
    vec![
        (
            "declare",
            join(&[
                db(", protected: true"),
                volume("web", "size: 2Mi, provisioning: thick"),
                volume("named", "size: 1Mi, object: by-name"),
                volume("going", "size: 1Mi, onRemove: Delete"),
                volume("kept", "size: 1Mi, onRemove: Retain"),
                snapshot("monday", "web", ""),
                volume("copy", "size: 4Mi, source: {snapshot: monday}"),
                volume("twin", "size: 2Mi, source: {volume: web}"),
            ]),
        ),
        (
            "change",
            join(&[
                volume("db", "size: 3Mi, protected: false"),
                volume("web", "size: 2Mi, restore: {snapshot: monday, request: once}"),
                volume("named", "size: 2Mi, object: by-name"),
                volume("going", "size: 1Mi"),
                volume("kept", "size: 1Mi"),
                "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {name: clone, renamedFrom: copy, labels: {a: b}}\nspec: {size: 5Mi}\n"
                    .to_owned(),
                volume("twin", "size: 2Mi"),
                snapshot("monday", "web", ", onRemove: Detach"),
                snapshot("tuesday", "web", ""),
                volume("taken", "size: 1Mi, adopt: {name: theirs}"),
            ]),
        ),
        ("remove", join(&[volume("db", "size: 3Mi"), volume("web", "size: 2Mi"), volume("twin", "size: 2Mi")])),
        (
            "bring back",
            join(&[
                volume("db", "size: 4Mi"),
                volume("web", "size: 2Mi"),
                volume("twin", "size: 2Mi"),
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
async fn converges(rig: &Rig, specs: &Specs, reference: &SimWorld, what: &str) {
    rig.settle(specs, 6, what).await;
    let held = rig.survey(specs).await.plan.held;
    {
        let world = rig.world();
        made_and_destroyed_once(&world);
        assert_eq!(objects(&world), objects(reference), "{what}: it ends elsewhere; held: {held:#?}");
    }
    rig.stays_settled(specs).await;
}

#[test]
fn every_crash_point_converges_with_and_without_the_store() {
    let mut points = 0;
    run(async {
        let mut rig = begin();
        for (index, (phase, specs)) in phases().iter().enumerate() {
            clients_write(&mut rig.world(), index as u64);
            // The undisturbed run, which also counts the points.
            let undisturbed = rig.fork(true);
            undisturbed.settle(specs, 6, phase).await;
            let reference = undisturbed.world().clone();
            assert_eq!(undisturbed.survey(specs).await.plan.held, [], "{phase}: the story has nothing held");
            assert_ne!(objects(&rig.world()), objects(&reference), "the phase {phase} does nothing");
            let once = rig.fork(true);
            once.pass(specs).await.unwrap();
            let (calls, commits) = (once.doom.calls.load(std::sync::atomic::Ordering::SeqCst), once.store.commits());
            for with_store in [true, false] {
                for at in 0..calls {
                    for point in [Point::Before, Point::After] {
                        let what = format!("{phase}, call {at} {point:?}, store {with_store}");
                        let mut crashed = rig.fork(true);
                        crashed.doom = Doom::at(at, point);
                        tokio::select! {
                            biased;
                            () = crashed.doom.died.notified() => {}
                            report = crashed.pass(specs) => panic!("{what}: nobody died: {report:?}"),
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
                        assert!(crashed.pass(specs).await.is_err(), "{what}: nobody died");
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
                    report = crashed.pass(specs) => panic!("nobody died: {report:?}"),
                }
                let crashed = crashed.restarted(true).await;
                for second in 0.. {
                    let mut again = crashed.fork(true);
                    again.doom = Doom::at(second, Point::After);
                    let died = tokio::select! {
                        biased;
                        () = again.doom.died.notified() => true,
                        report = again.pass(specs) => { report.unwrap(); false }
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
    });
    println!("{points} crash points");
    assert!(points > 500, "only {points} crash points");
}
