//! Random stories on the simulator: manifests change, faults strike, strangers meddle, processes die, the store is lost. When the
//! faults stop, everything settles within a few passes and stays so; nothing was made twice, lost, or touched that is not ours;
//! and what is held at the end is held for a cause that an oracle of its own knows.
//!
//! Every story is told by its seed. `KILN_SEED=n` tells one again; `KILN_SEEDS=n` tells that many, from `KILN_SEED` or 0 on, and
//! of each mode of the simulator a part of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use kiln::driver::sim::FaultRates;
use kiln::driver::sim::{SimEffect, SimObject};
use kiln::model::{
    Absence, Capabilities, Kind, NativeForm, NativeName, OnRemove, Percent, Reading, Restores, Size, SnapshotAbility,
    TrashAbility, Uid, VolumeSettings,
};
use kiln::plan::HeldReason;
use rig::{Dice, Doom, HEAD, Point, Rig, made_and_destroyed_once, objects, run, specs, volume};

const VOLUMES: u64 = 5;
const SNAPSHOTS: u64 = 4;
/// Passes within which a world without faults must settle: one to recover, one to act, one for what only then could be begun
/// (a clone of an undeleted snapshot, …), and as many again for detours.
const BOUND: usize = 6;

/// A random set of manifests. Volumes come and go; sizes only grow within a story, most of the time.
fn declare(dice: &mut Dice, generation: u64) -> Reading {
    let mut text = HEAD.to_owned();
    let present: Vec<u64> = (0..VOLUMES).filter(|_| !dice.one_in(3)).collect();
    let mut renamed_away = Vec::new();
    for v in &present {
        let size = 1 + generation + dice.roll(3);
        let mut spec = format!("size: {size}Mi");
        match dice.roll(8) {
            0 => spec.push_str(&format!(", source: {{snapshot: s{}}}", dice.roll(SNAPSHOTS))),
            1 => spec.push_str(&format!(", source: {{volume: v{}}}", dice.roll(VOLUMES))),
            _ => {}
        }
        match dice.roll(6) {
            0 => spec.push_str(", protected: true"),
            1 => spec.push_str(", protected: false"),
            _ => {}
        }
        match dice.roll(6) {
            0 => spec.push_str(", onRemove: Retain"),
            1 => spec.push_str(", onRemove: Delete"),
            2 => spec.push_str(", onRemove: Trash"),
            _ => {}
        }
        if dice.one_in(5) {
            spec.push_str(&format!(", restore: {{snapshot: s{}, request: r{}}}", dice.roll(SNAPSHOTS), dice.roll(3)));
        }
        if dice.one_in(8) {
            spec.push_str(", provisioning: thick");
        }
        if dice.one_in(3) {
            spec.push_str(&format!(", qos: {{iops: {}}}", 1 + dice.roll(2)));
        }
        if *v == 3 {
            spec.push_str(", encryption: {passphraseFrom: {env: PASS}}");
        }
        if *v == 4 {
            spec.push_str(", object: by-name");
        }
        // Some are renamed, with and without saying so.
        let renamed = *v < 2 && dice.one_in(4);
        let name = format!("{}{v}", if renamed { "w" } else { "v" });
        let document = volume(&name, &spec);
        text.push_str(&match renamed && !dice.one_in(3) {
            true => document.replace(&format!("name: {name}"), &format!("name: {name}, renamedFrom: v{v}")),
            false => document,
        });
        if renamed {
            renamed_away.push(*v);
        }
    }
    for s in 0..SNAPSHOTS {
        // Each snapshot is of one volume for ever; without it, it cannot be declared.
        let of = s % VOLUMES;
        if present.contains(&of) && !renamed_away.contains(&of) && !dice.one_in(3) {
            let more = match dice.roll(5) {
                0 => ", onRemove: Detach",
                1 => ", onRemove: Delete",
                2 => ", protected: true",
                3 => ", protected: false",
                _ => "",
            };
            text.push_str(&rig::snapshot(&format!("s{s}"), &format!("v{of}"), more));
        }
    }
    specs(&text)
}

fn rates(dice: &mut Dice) -> FaultRates {
    let mut rate = |most: u64| Percent(if dice.one_in(2) { 0 } else { u32::try_from(dice.roll(most)).unwrap() });
    FaultRates {
        error: rate(20),
        lost_reply: rate(20),
        half: rate(20),
        stale: rate(10),
        cut: rate(15),
        slow: rate(10),
        hang: rate(5),
        lie: rate(10),
    }
}

/// What the oracles remember of a story.
#[derive(Default)]
struct Memory {
    /// The content of every snapshot when it was first seen.
    snapshots: BTreeMap<Uid, BTreeMap<u64, u64>>,
    /// What strangers did to objects that are ours: only these may be Lost, Renamed, …
    meddled: bool,
    /// Whether calls may have lied.
    lied: bool,
    /// What runs destroyed, and of which the ledger does not tell yet that it is gone.
    destroyed: BTreeSet<Uid>,
    /// Of this, what no journal tells of, because the store was lost with the run.
    forgotten: BTreeSet<Uid>,
}

fn uid_of(native: &NativeName) -> Option<(NativeForm, Uid)> {
    native.parse().map(|(form, _, _, uid)| (form, uid))
}

impl Memory {
    fn destroyed(&mut self, rig: &Rig, events: usize) {
        let world = rig.world();
        let gone = world.events()[events..].iter().filter(|event| event.effect == SimEffect::Destroyed);
        self.destroyed.extend(gone.map(|event| event.uid));
        let ledger = world.ledger(&"prod".parse().unwrap());
        self.destroyed.retain(|uid| ledger.is_some_and(|ledger| ledger.destroying.contains(uid)));
    }

    /// I4: a snapshot's content never changes; a volume's only by what clients write and by a restore.
    fn check(&mut self, rig: &Rig, seed: u64) {
        let world = rig.world();
        for (native, object) in world.live_objects() {
            if let Some((NativeForm::Snapshot, uid)) = uid_of(native) {
                let content = object.content.as_ref().clone();
                let first = self.snapshots.entry(uid).or_insert_with(|| content.clone());
                assert_eq!(*first, content, "seed {seed}: the snapshot {native} changed");
            }
        }
    }
}

/// Every volume's content before a pass must be its content after it, unless it was restored or is gone.
fn contents(rig: &Rig) -> BTreeMap<NativeName, BTreeMap<u64, u64>> {
    let world = rig.world();
    let whole = world.live_objects().filter(|(native, _)| !native.as_str().starts_with("kiln-tmp."));
    whole.map(|(native, object)| (native.clone(), object.content.as_ref().clone())).collect()
}

fn nothing_changed_behind_the_back(
    rig: &Rig,
    before: &BTreeMap<NativeName, BTreeMap<u64, u64>>,
    events_before: usize,
    seed: u64,
) {
    let world = rig.world();
    let events = &world.events()[events_before..];
    for (native, content) in before {
        let Some(object) = world.live(native) else { continue };
        let restores = [SimEffect::Restored, SimEffect::HalfRestored];
        let restored = events.iter().any(|event| event.native == *native && restores.contains(&event.effect));
        let remade = events.iter().any(|event| event.native == *native && event.effect == SimEffect::Created);
        assert!(
            !remade || !content.is_empty() || object.content.is_empty(),
            "seed {seed}: {native} was made over itself"
        );
        if !restored {
            assert_eq!(object.content.as_ref(), content, "seed {seed}: the content of {native} changed");
        }
    }
}

fn strangers_meddle(dice: &mut Dice, rig: &Rig, memory: &mut Memory) {
    let mut world = rig.world();
    // What was made seconds before a crash and is not in the ledger yet cannot be told from what never was, once the store is lost
    // too: ARCHITECTURE says so. Strangers in these stories leave it alone.
    let Some(ledger) = world.ledger(&"prod".parse().unwrap()) else { return };
    let ours: Vec<NativeName> = ledger.complete.values().map(|entry| entry.native.clone()).collect();
    let ours: Vec<NativeName> = ours.into_iter().filter(|native| world.live(native).is_some()).collect();
    if ours.is_empty() {
        return;
    }
    let victim = &ours[usize::try_from(dice.roll(ours.len() as u64)).unwrap()];
    memory.meddled = true;
    match dice.roll(6) {
        5 => {
            world.change_by_hand(victim, |object| object.settings.qos = None);
        }
        4 => {
            let size = world.live(victim).unwrap().size;
            world.resize_by_hand(victim, Size(size.bytes() / 2 / 4096 * 4096));
        }
        0 => {
            world.delete_by_hand(victim);
        }
        1 => {
            let size = world.live(victim).unwrap().size;
            world.resize_by_hand(victim, Size(size.bytes() + (1 << 20)));
        }
        2 => {
            world.change_by_hand(victim, |object| {
                object.tags.labels.insert("by".to_owned(), "a stranger".to_owned());
            });
        }
        _ => world.empty_trash_by_hand(),
    }
}

async fn story(seed: u64, capabilities: Capabilities) -> usize {
    let mut dice = Dice(seed);
    let mut rig = Rig { capabilities, ..Rig::new() };
    rig.seed = seed;
    rig.capabilities.repeatable = !seed.is_multiple_of(3);
    let foreign = NativeName::new("foreign");
    rig.world().make_by_hand(&foreign, SimObject::empty(Size(1 << 20)));
    rig.world().write(&foreign, 1, 99);
    let mut memory = Memory::default();
    let strangers = dice.one_in(3);
    let mut last = declare(&mut dice, 0);
    let mut passes = 0;
    for generation in 0..(2 + dice.roll(4)) {
        last = declare(&mut dice, generation);
        rig.rates = rates(&mut dice);
        if !rig.capabilities.repeatable {
            // By a complete listing that does not show what was made, everything is made once more.
            rig.rates.stale = Percent(0);
        }
        memory.lied |= rig.rates.lie != Percent(0);
        rig.yes = !dice.one_in(4);
        for _ in 0..=dice.roll(3) {
            let before = contents(&rig);
            let events = rig.world().events().len();
            if dice.one_in(5) {
                let point = if dice.one_in(2) { Point::Before } else { Point::After };
                rig.doom = Doom::at(dice.roll(30), point);
                tokio::select! {
                    biased;
                    () = rig.doom.died.notified() => {}
                    _ = rig.pass(&last) => {}
                }
                let keeps_store = !dice.one_in(3);
                rig = rig.restarted(keeps_store).await;
                memory.destroyed(&rig, events);
                if !keeps_store {
                    memory.forgotten.append(&mut memory.destroyed);
                }
            } else {
                rig.pass(&last).await.unwrap();
                memory.destroyed(&rig, events);
            }
            passes += 1;
            rig.seed = rig.seed.wrapping_add(1_000_003);
            nothing_changed_behind_the_back(&rig, &before, events, seed);
            memory.check(&rig, seed);
            // Clients write.
            let natives: Vec<NativeName> = rig.world().live_objects().map(|(native, _)| native.clone()).collect();
            for native in natives.iter().filter(|native| **native != foreign) {
                if dice.one_in(2) {
                    rig.world().write(native, dice.roll(64), 1 + dice.roll(1000));
                }
            }
            if strangers && dice.one_in(3) {
                strangers_meddle(&mut dice, &rig, &mut memory);
            }
            rig.clock.0.fetch_add(dice.roll(100), Ordering::SeqCst);
        }
    }
    // The faults stop, and somebody is there to say yes.
    rig.rates = FaultRates::NONE;
    rig.yes = true;
    let (mut before, mut events) = (contents(&rig), rig.world().events().len());
    passes += rig.settle(&last, BOUND, &format!("seed {seed}")).await;
    if rig.capabilities.absence == Absence::ByLedger {
        nothing_changed_behind_the_back(&rig, &before, events, seed);
        // The person removes what may exist, too.
        rig.forget_what_may_exist(&last, &format!("seed {seed}")).await;
        (before, events) = (contents(&rig), rig.world().events().len());
        passes += rig.settle(&last, BOUND, &format!("seed {seed}")).await;
    }
    nothing_changed_behind_the_back(&rig, &before, events, seed);
    memory.check(&rig, seed);
    rig.stays_settled(&last).await;
    made_and_destroyed_once(&rig.world());
    judge(&rig, &last, &memory, seed).await;
    // O12: a process that knows nothing sees it as settled too.
    let stranger = rig.fork(false);
    let plan = stranger.overview(&last).await.plan;
    assert_eq!(plan.steps, [], "seed {seed}: without the store there is something to do");
    assert_eq!(rig.world().read(&foreign, 1), Some(99), "seed {seed}: what is not ours was touched");
    passes
}

/// I3, and its converse: a declared object exists or is held; an existing one is declared, released or held; and each hold has its cause.
async fn judge(rig: &Rig, specs: &Reading, memory: &Memory, seed: u64) {
    let overview = rig.overview(specs).await;
    let plan = overview.plan;
    let held: BTreeSet<(Kind, String)> = plan.held.iter().map(|held| (held.kind, held.name.to_string())).collect();
    let mut there: BTreeMap<(Kind, String), SimObject> = BTreeMap::new();
    for (native, object) in rig.world().live_objects().filter(|(native, _)| native.as_str() != "foreign") {
        let identity = match (&object.tags.identity, native.parse()) {
            (Some(identity), _) => (identity.kind, identity.name.to_string()),
            (None, Some((NativeForm::Snapshot, _, name, _))) => (Kind::Snapshot, name.to_string()),
            (None, Some((NativeForm::Volume, _, name, _))) => (Kind::Volume, name.to_string()),
            _ => panic!("seed {seed}: {native} orphaned"),
        };
        assert!(there.insert(identity, object.clone()).is_none(), "seed {seed}: {native} is there twice");
    }
    for (name, spec) in &specs.specs.volumes {
        let key = (Kind::Volume, name.to_string());
        match there.get(&key) {
            Some(object) if !held.contains(&key) => {
                assert!(object.size >= *spec.size && !object.tags.retained, "seed {seed}: {name} is not as declared");
                assert_eq!(object.settings, VolumeSettings::of(spec), "seed {seed}: {name}");
                assert_eq!(
                    object.tags.protected,
                    spec.protected.unwrap_or(object.tags.protected),
                    "seed {seed}: {name}"
                );
            }
            None => assert!(held.contains(&key), "seed {seed}: volume {name} is neither there nor held"),
            Some(_) => {}
        }
    }
    for name in specs.specs.snapshots.keys() {
        let key = (Kind::Snapshot, name.to_string());
        assert!(
            there.contains_key(&key) || held.contains(&key),
            "seed {seed}: snapshot {name} is neither there nor held"
        );
    }
    for ((kind, name), object) in &there {
        let declared = match kind {
            Kind::Volume => specs.specs.volumes.contains_key(name.as_str()),
            _ => specs.specs.snapshots.contains_key(name.as_str()),
        };
        // What is said to be renamed from it is held, and it with that.
        let renamed = specs.specs.volumes.values().any(|spec| {
            let is_it = spec.meta.renamed_from.as_ref().is_some_and(|old| old.as_str() == name);
            is_it && *kind == Kind::Volume && held.contains(&(Kind::Volume, spec.meta.name.to_string()))
        });
        let excused = declared || renamed || object.tags.retained || held.contains(&(*kind, name.clone()));
        assert!(excused, "seed {seed}: {kind} {name} is there, and neither declared nor released nor held");
    }
    let never_made =
        |uid: Uid| rig.world().events().iter().all(|event| event.uid != uid || event.effect != SimEffect::Created);
    for held in &plan.held {
        let object = there.get(&(held.kind, held.name.to_string()));
        let volume = specs.specs.volumes.get(held.name.as_str());
        let cause = match held.reason {
            // By its tag or, where a stranger or a crash got in between, by the ledger.
            HeldReason::Protected => {
                let ledger = rig.world().ledger(&"prod".parse().unwrap()).cloned();
                let entered =
                    |uid| ledger.and_then(|l| l.complete.get(&uid).map(|entry| entry.protected)).unwrap_or(false);
                object.is_some_and(|object| object.tags.protected) || held.uid.is_some_and(entered)
            }
            HeldReason::ShrinkRefused => object.zip(volume).is_some_and(|(object, spec)| *spec.size < object.size),
            // A call that lied about a create, where the look afterwards failed too, is believed: rather missed than made twice.
            // And without the store nothing tells what the run that died with it had destroyed from what vanished.
            HeldReason::Lost => {
                let unknown_end = held.uid.is_some_and(|uid| memory.forgotten.contains(&uid));
                memory.meddled
                    || (object.is_none() && (unknown_end || (memory.lied && held.uid.is_some_and(never_made))))
            }
            // A call that lied about a rename, where the look afterwards failed too, is believed as well.
            HeldReason::Renamed => object.is_some() && (memory.lied || memory.meddled),
            // A destruction was begun, and its document came back.
            HeldReason::Unobserved => {
                let world = rig.world();
                let ledger = world.ledger(&"prod".parse().unwrap());
                let is_begun = |uid| ledger.is_some_and(|ledger| ledger.destroying.contains(&uid));
                rig.capabilities.absence == Absence::ByLedger && held.uid.is_some_and(is_begun)
            }
            HeldReason::Immutable | HeldReason::HasDependents => object.is_some(),
            // A snapshot's source is its volume: missing only where that is made from the snapshot.
            HeldReason::SourceMissing => {
                let is_half = object.is_some_and(|object| object.tags.restoring.is_some());
                volume.is_some() || object.is_none() || (is_half && memory.meddled)
            }
            HeldReason::SizeBelowSource => volume.is_some() && (object.is_none() || memory.meddled),
            HeldReason::DependencyHeld => plan.held.iter().any(|other| other.reason != HeldReason::DependencyHeld),
            HeldReason::RemovalLimit => object.is_some(),
            // Two volumes, or snapshots, of which one was renamed from the other, or seems to be; or that both left under one name.
            HeldReason::Ambiguous => {
                let world = rig.world();
                let trashed = world
                    .trashed_objects()
                    .filter(|(native, ..)| native.parse().is_some_and(|(_, _, name, _)| name == held.name));
                trashed.count() > 1 || specs.specs.volumes.values().any(|spec| spec.meta.renamed_from.is_some())
            }
            HeldReason::LooksLikeRename => there.iter().any(|((kind, name), object)| {
                *kind == Kind::Volume
                    && !specs.specs.volumes.contains_key(name.as_str())
                    && object.tags.on_remove() == OnRemove::Delete
            }),
            // A snapshot that would go to a trash which takes none alone, or is in it inside of a volume that does not come back; or
            // anything, where there is no trash.
            HeldReason::Unsupported => {
                let trash = rig.capabilities.trash;
                let is_plain_copy = volume.is_some_and(|spec| spec.source.is_some() && !spec.encrypted);
                is_plain_copy
                    || trash == TrashAbility::None
                    || (trash == TrashAbility::Volumes && held.kind == Kind::Snapshot)
            }
            other => panic!("seed {seed}: {other} has no cause in this story: {held:?}"),
        };
        assert!(cause, "seed {seed}: held without cause: {held:?} among {:?}\n{:#?}", plan.held, objects(&rig.world()));
    }
}

/// The number of stories of the first test, unless `KILN_SEEDS` says another.
const STORIES: u64 = 400;

/// Returns the seeds of a test that usually tells this many stories. All tests tell more or fewer in the same proportion.
#[expect(clippy::disallowed_methods, reason = "a test is told its seeds by the environment")]
fn seeds(usually: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, many) = (number("KILN_SEED"), number("KILN_SEEDS"));
    let many = many.unwrap_or(if first.is_some() { 1 } else { STORIES });
    (0..(many * usually).div_ceil(STORIES)).map(|nth| first.unwrap_or(0) + nth).collect()
}

#[test]
fn any_story_settles_when_its_faults_stop() {
    let mut passes = 0;
    let seeds = seeds(STORIES);
    for seed in &seeds {
        // The runtime's own threads make no choices: the seed says everything.
        println!("seed {seed}");
        passes += run(story(*seed, Capabilities::everything()));
    }
    println!("{} seeds, {passes} passes", seeds.len());
}

#[test]
fn any_story_settles_where_snapshots_are_inside_of_volumes() {
    for trash in [TrashAbility::All, TrashAbility::Volumes, TrashAbility::None] {
        let everything = Capabilities::everything();
        let snapshots = everything.snapshots.clone().map(|all| SnapshotAbility { nested: true, ..all });
        let capabilities = Capabilities { snapshots, trash, ..everything };
        for seed in &seeds(100) {
            println!("{trash:?}, seed {seed}");
            run(story(*seed, capabilities.clone()));
        }
    }
}

#[test]
fn any_story_settles_where_restores_take_several_steps() {
    let capabilities = Capabilities { restore: Restores::InSteps, ..Capabilities::everything() };
    for seed in &seeds(200) {
        println!("seed {seed}");
        run(story(*seed, capabilities.clone()));
    }
}

#[test]
fn any_story_settles_where_backends_answer_only_for_names() {
    for nested in [false, true] {
        let everything = Capabilities::everything();
        let snapshots = everything.snapshots.clone().map(|all| SnapshotAbility { nested, ..all });
        let capabilities = Capabilities { snapshots, absence: Absence::ByName, ..everything };
        for seed in &seeds(100) {
            println!("nested {nested}, seed {seed}");
            run(story(*seed, capabilities.clone()));
        }
    }
}

#[test]
fn any_story_settles_where_the_ledger_proves_absence() {
    for nested in [false, true] {
        let everything = Capabilities::everything();
        let snapshots = everything.snapshots.clone().map(|all| SnapshotAbility { nested, ..all });
        let (trash, absence) = (TrashAbility::None, Absence::ByLedger);
        let capabilities = Capabilities { snapshots, trash, absence, adopt: false, ..everything };
        for seed in &seeds(100) {
            println!("nested {nested}, seed {seed}");
            run(story(*seed, capabilities.clone()));
        }
    }
}
