//! Any specs × any world: what holds of every plan, and what is refused only where it must be. `KILN_SEED` replays a run,
//! `KILN_CASES` says how many scenes are tried.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "planning/abilities.rs"]
mod abilities;
#[path = "planning/absence.rs"]
mod absence;
#[path = "planning/bad_plans.rs"]
mod bad_plans;
mod planning;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use absence::differs;
use kiln::manifest::{Limits, Source, load};
use kiln::model::{
    Action, ClientVisibility, Clients, Kind, Ledger, Name, NativeName, Object, OnRemove, Place, SourceSpec, Step, Uid,
    Verb,
};
use kiln::plan::{Held, HeldReason, Inputs, Observation, Plan, lint, plan};
use planning::{Described, Scene, applied};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Few names, so that documents and objects meet.
const VOLUMES: [&str; 4] = ["a", "b", "c", "d"];
const SNAPSHOTS: [&str; 3] = ["s", "t", "u"];
const BACKENDS: [&str; 2] = ["fast", "slow"];
/// Native names of objects without an owner, which documents ask for.
const NATIVES: [&str; 2] = ["x.img", "y.img"];

/// Scenes tried in a run: about five seconds of an unoptimised build.
const CASES: u32 = 2_000;

/// One of several lines, each with its weight.
fn one_of(choices: &[(u32, &str)]) -> BoxedStrategy<String> {
    let all: Vec<_> = choices.iter().map(|(weight, text)| (*weight, Just((*text).to_owned()).boxed())).collect();
    proptest::strategy::Union::new_weighted(all).boxed()
}

fn sometimes(weight: u32, text: &'static str) -> BoxedStrategy<String> {
    one_of(&[(weight, text), (10 - weight, "")])
}

fn joined(parts: Vec<BoxedStrategy<String>>) -> BoxedStrategy<String> {
    parts.prop_map(|parts| parts.concat()).boxed()
}

fn volume_document() -> BoxedStrategy<String> {
    joined(vec![
        one_of(&[(3, "backend: fast"), (1, "backend: slow")]),
        one_of(&[(4, ", size: 1Gi"), (2, ", size: 2Gi"), (1, ", size: 512Mi"), (1, ", size: 1000")]),
        one_of(&[(6, ""), (2, ", protected: true"), (2, ", protected: false")]),
        one_of(&[(6, ""), (1, ", onRemove: Trash"), (1, ", onRemove: Retain"), (1, ", onRemove: Delete")]),
        one_of(&[(8, ""), (1, ", provisioning: thick"), (1, ", provisioning: thin")]),
        one_of(&[
            (8, ""),
            (1, ", source: {snapshot: s}"),
            (1, ", source: {snapshot: t}"),
            (1, ", source: {volume: a}"),
            (1, ", source: {volume: b}"),
            (1, ", object: x.img"),
            (1, ", adopt: {name: x.img}"),
            (1, ", adopt: {name: y.img}"),
        ]),
        one_of(&[(8, ""), (1, ", restore: {snapshot: s, request: r}"), (1, ", restore: {snapshot: t, request: q}")]),
        one_of(&[(8, ""), (1, ", qos: {iops: 5}"), (1, ", encryption: {passphraseFrom: {env: P}}")]),
    ])
}

/// What manifests say: some of the names, each in some way.
fn specs() -> BoxedStrategy<String> {
    let rename = |from: &'static str| one_of(&[(7, ""), (2, from), (1, ", labels: {k: v}")]);
    let safety = one_of(&[
        (3, "safety: {maxRemovals: 100, maxRemovedPercent: 100}"),
        (1, "safety: {maxRemovals: 1}"),
        (1, "safety: {maxRemovedBytes: 2Gi}"),
        (1, "interval: 1m"),
    ]);
    let defaults = one_of(&[(3, ""), (1, ", protected: true"), (1, ", onRemove: Delete")]);
    let volumes: Vec<_> =
        VOLUMES.iter().map(|_| (any::<bool>(), rename(", renamedFrom: x"), volume_document())).collect();
    let more = one_of(&[(6, ""), (2, ", protected: true"), (2, ", protected: false"), (1, ", onRemove: Detach")]);
    let snapshots: Vec<_> = SNAPSHOTS.iter().map(|_| (0..6_usize, rename(", renamedFrom: y"), more.clone())).collect();
    (safety, defaults, volumes, snapshots)
        .prop_map(|(safety, defaults, volumes, snapshots)| {
            let mut text = String::new();
            let mut document = |kind: &str, name: &str, meta: &str, spec: &str| {
                let head = if text.is_empty() { "" } else { "---\n" };
                let meta = format!("metadata: {{name: {name}{meta}}}");
                writeln!(text, "{head}apiVersion: kiln/v1\nkind: {kind}\n{meta}\nspec: {{{spec}}}").unwrap();
            };
            document("Stack", "prod", "", &format!("id: 5c1d2e8a90, defaults: {{backend: fast{defaults}}}, {safety}"));
            BACKENDS.iter().for_each(|name| document("Backend", name, "", "driver: sim"));
            // An old name can have become one new one only.
            let mut renamed = [false; 2];
            let mut once = |which: usize, meta: String| {
                let again = meta.contains("renamedFrom") && std::mem::replace(&mut renamed[which], true);
                if again { String::new() } else { meta }
            };
            for (name, (declared, meta, spec)) in VOLUMES.iter().zip(&volumes) {
                if *declared {
                    document("Volume", name, &once(0, meta.clone()), spec);
                }
            }
            for (name, (of, meta, more)) in SNAPSHOTS.iter().zip(snapshots) {
                if volumes.get(of).is_some_and(|(declared, ..)| *declared) {
                    document("Snapshot", name, &once(1, meta), &format!("volume: {}{more}", VOLUMES[of]));
                }
            }
            text
        })
        .boxed()
}

/// An object as `world.yaml` has it.
fn thing() -> BoxedStrategy<String> {
    let volume = one_of(&[
        (3, "volume: a"),
        (3, "volume: b"),
        (2, "volume: c"),
        (2, "volume: d"),
        (2, "volume: x"),
        (1, "volume: a, n: 1"),
        (1, "volume: b, native: x.img"),
        (1, "volume: a, was: {name: b}"),
    ]);
    let size = one_of(&[(5, ", size: 1Gi"), (1, ", size: 2Gi"), (1, ", size: 1536Mi")]);
    let clone = one_of(&[(4, ""), (1, ", cloneOf: s"), (1, ", cloneOf: t")]);
    let snapshot = joined(vec![
        one_of(&[(2, "snapshot: s"), (2, "snapshot: t"), (1, "snapshot: u"), (1, "snapshot: y")]),
        one_of(&[(2, ", of: a"), (2, ", of: b"), (1, ", of: x")]),
    ]);
    let ours = joined(vec![
        prop_oneof![3 => joined(vec![volume, size, clone]), 2 => snapshot].boxed(),
        one_of(&[(12, ""), (2, ", trash: true"), (1, ", gone: true"), (1, ", half: true")]),
        sometimes(2, ", protected: true"),
        one_of(&[(8, ""), (1, ", onRemove: Retain"), (1, ", onRemove: Delete")]),
        sometimes(1, ", retained: true"),
        one_of(&[(12, ""), (1, ", qos: {iops: 5}"), (1, ", qos: {bps: 9}"), (1, ", encrypted: true")]),
        one_of(&[(16, ""), (1, ", noLedger: true"), (1, ", noStore: true"), (1, ", leaving: true")]),
        one_of(&[
            (16, ""),
            (1, ", owner: dev"),
            (1, ", conflict: odd"),
            (1, ", clients: [qemu]"),
            (2, ", written: true"),
            (4, ", written: false, used: 0"),
            (1, ", recent: true"),
            (1, ", blocker: {reason: Locked, message: it is locked}"),
            (1, ", shown: thin"),
            (1, ", shown: thick"),
            (1, ", shown: thick, provisioning: thick"),
            (2, ", shown: thin, provisioning: thick, used: 1Mi"),
            (1, ", shown: thin, provisioning: thick, clients: [qemu]"),
            (1, ", restoring: {request: r, snapshot: s, size: 2Gi}"),
            (1, ", restoring: {request: q, snapshot: t}"),
        ]),
    ]);
    let foreign = NATIVES.map(|native| Just(format!("foreign: {native}")));
    let [x, y] = foreign;
    prop_oneof![12 => ours, 1 => x, 1 => y].boxed()
}

fn pool() -> BoxedStrategy<(String, Vec<String>)> {
    let settings = one_of(&[
        (40, "{}"),
        (1, "{cut: [volumes]}"),
        (1, "{cut: [snapshots]}"),
        (1, "{cut: [trash]}"),
        (1, "{away: no route to host}"),
        (1, "{away: no route to host, remembered: {nothing: true}}"),
        (1, "{taken: process 17}"),
        (1, "{ledger: damaged}"),
        (1, "{ledger: none}"),
        (1, "{remembered: {pool: another}}"),
        (1, "{stack: another-id}"),
        (1, "{capacity: {total: 4Gi, used: 1Gi}}"),
        (1, "{can: {clones: {depend: false}, snapshots: {while_open: false}, grow: Idle}}"),
        (1, "{capacity: {total: 8Gi, used: 1Gi, objects: 2}, can: {shares_blocks: null}}"),
        (1, "{capacities: [{resource: metadata, total: 100, used: 80, perObject: 5}]}"),
        (1, "{capacities: [{resource: objects, total: 100, used: 98, perObject: 1}]}"),
        (1, "{can: {client_visibility: None, snapshots: {while_open: false}}}"),
        (1, "{can: {restore: false, rename: false, clones: {detach: false}}}"),
        (2, "{can: {restore: InSteps}}"),
        (1, "{can: {snapshots: {nested: true}}}"),
        (1, "{can: {snapshots: {nested: true}, trash: Volumes}}"),
        (1, "{can: {snapshots: {nested: true}, trash: None}}"),
        (1, "{can: {reservation: Fixed}}"),
        (1, "{next: {volume/a: 1}}"),
    ]);
    (settings, vec(thing(), 0..8)).boxed()
}

fn world() -> BoxedStrategy<String> {
    let person = one_of(&[
        (20, ""),
        (4, "unattended: true\n"),
        (1, "unconfirmed: true\n"),
        (1, "suspended: [{because: work}]\n"),
        (2, "suspended: [{volume: a, because: work}, {snapshot: s, because: work}]\n"),
        (2, "suspended: [{volume: x, because: work}, {volume: b, because: work}]\n"),
    ]);
    (any::<bool>(), 0..8_u8, person, pool(), pool())
        .prop_map(|(hold, store, person, fast, slow)| {
            let mut text = format!("hold: {hold}\nstore: {}\n{person}backends:\n", store > 0);
            for (name, (settings, things)) in BACKENDS.into_iter().zip([fast, slow]) {
                let settings = settings.trim_start_matches('{').trim_end_matches('}');
                let settings = match settings {
                    "" => String::new(),
                    // The last brace of a setting may be its own.
                    _ => format!(
                        "{settings}{}, ",
                        "}".repeat(settings.matches('{').count() - settings.matches('}').count())
                    ),
                };
                writeln!(text, "  {name}: {{{settings}objects: [").unwrap();
                things.iter().for_each(|thing| writeln!(text, "    {{{thing}}},").unwrap());
                writeln!(text, "  ]}}").unwrap();
            }
            text
        })
        .boxed()
}

/// No two objects under one name in one place: no backend holds such.
fn is_possible(scene: &Scene) -> bool {
    scene.world.values().all(|view| match view {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => {
            observed.objects.windows(2).all(|pair| (&pair[0].native, pair[0].place) != (&pair[1].native, pair[1].place))
                && observed.objects.iter().enumerate().all(|(index, object)| {
                    object.place == Place::Temporary
                        || object.uid().is_none()
                        || observed.objects[..index]
                            .iter()
                            .all(|other| other.place == Place::Temporary || other.uid() != object.uid())
                })
        }
        _ => true,
    })
}

/// Whether no object needs itself: a snapshot its volume, a clone what it was made from.
fn is_made_of_others(scene: &Scene) -> bool {
    let needs = |uid: Uid| {
        let all = objects(scene).filter(move |(_, o)| o.uid() == Some(uid));
        all.flat_map(|(_, o)| [o.parent, o.tags.volume]).flatten().collect::<Vec<_>>()
    };
    objects(scene).filter_map(|(_, o)| o.uid()).all(|uid| {
        let (mut seen, mut open) = (BTreeSet::new(), needs(uid));
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(needs(next));
            }
        }
        !seen.contains(&uid)
    })
}

/// All objects that are seen and whole, with their Backends.
fn objects(scene: &Scene) -> impl Iterator<Item = (&Name, &Object)> {
    scene.world.iter().flat_map(|(backend, view)| match view {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => observed
            .objects
            .iter()
            .filter(|o| o.place != Place::Temporary)
            .map(move |o| (backend, o))
            .collect::<Vec<_>>(),
        _ => Vec::new(),
    })
}

/// A step is of an object that is ours, or creates one, or adopts one without an owner.
fn is_our_business(scene: &Scene, plan: &Plan, step: &Step) -> bool {
    let made = |uid: Uid| {
        plan.steps.iter().any(|s| {
            s.identity.uid == uid
                && matches!(s.action, Action::Create { .. } | Action::Snapshot { .. } | Action::Adopt { .. })
        })
    };
    let of_uid = |object: &&Object| object.uid() == Some(step.identity.uid);
    let seen = objects(scene).filter(|(at, _)| Some(*at) == step.backend()).map(|(_, o)| o).find(of_uid);
    match (&step.action, seen) {
        (Action::Adopt { .. }, None) => objects(scene).any(|(at, o)| {
            Some(at) == step.backend()
                && o.is_at(&step.address())
                && o.identity.is_none()
                && o.place == Place::Live
                && o.blocker.is_none()
        }),
        (Action::Create { .. } | Action::Snapshot { .. }, None) => true,
        (_, None) => made(step.identity.uid),
        (Action::Create { .. } | Action::Snapshot { .. } | Action::Adopt { .. }, Some(_)) => false,
        (_, Some(object)) if object.blocker.is_some() => false,
        (_, Some(object)) => object.identity.as_ref().is_some_and(|id| id.owner.as_str() == "prod"),
    }
}

/// Whether the object that a step copies is told apart from one that is made again under its name, if it was observed.
fn reads_what_was_observed(scene: &Scene, step: &Step) -> bool {
    let Some((_, read)) = step.action.reads() else { return true };
    let is_it = |object: &&Object| match object.uid() {
        Some(uid) => uid == read.uid,
        None => object.native == read.native && object.place == Place::Live,
    };
    let here = objects(scene).filter(|(at, _)| Some(*at) == step.backend()).map(|(_, object)| object);
    here.filter(is_it).all(|object| object.id == read.id)
}

/// Whether the ledgers, or where none speaks of it the store, remember an object as protected.
fn was_protected(scene: &Scene, uid: Uid) -> bool {
    let entered = scene.world.values().find_map(|view| match view {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => {
            Some(observed.ledger.as_ref()?.ledger()?.complete.get(&uid)?.protected)
        }
        _ => None,
    });
    entered.or_else(|| Some(scene.records.objects.get(&uid)?.tags.protected)).unwrap_or(false)
}

/// Whether a refusal is one that must be: by rules that know nothing of the planner's ways.
fn must_be_refused(scene: &Scene, plan: &Plan, held: &Held) -> bool {
    let of_uid = |uid: Option<Uid>| objects(scene).map(|(_, o)| o).find(move |o| uid.is_some() && o.uid() == uid);
    let object = of_uid(held.uid);
    let volume = scene.reading.specs.volumes.get(&held.name).filter(|_| held.kind == Kind::Volume);
    let seen = |kind: Kind, name: &Name| {
        let ours = |o: &Object| o.is(&scene.reading.specs.stack.owner, kind, name);
        objects(scene).any(|(at, o)| Some(at) == held.backend() && ours(o))
    };
    let live = |kind: Kind, name: &Name| {
        let ours = |o: &Object| o.place == Place::Live && o.is(&scene.reading.specs.stack.owner, kind, name);
        objects(scene).any(|(at, o)| Some(at) == held.backend() && ours(o))
    };
    match held.reason {
        HeldReason::Protected => {
            let declared = volume.is_some_and(|spec| spec.protected == Some(true));
            declared || object.is_some_and(|o| o.tags.protected) || held.uid.is_some_and(|uid| was_protected(scene, uid))
        }
        HeldReason::ShrinkRefused => {
            let bytes = object.map(Object::whole_size).or_else(|| {
                let native = volume?.adopt.as_deref()?;
                objects(scene).find(|(_, o)| o.native.as_str() == native).map(|(_, o)| o.size)
            });
            volume.zip(bytes).is_some_and(|(spec, bytes)| *spec.size < bytes)
        }
        HeldReason::Lost => {
            let old = volume.and_then(|spec| spec.meta.renamed_from.clone());
            let snapshot = scene.reading.specs.snapshots.get(&held.name).filter(|_| held.kind == Kind::Snapshot);
            let old = old.or_else(|| snapshot.and_then(|spec| spec.meta.renamed_from.clone()));
            // An earlier one of the name in the trash does not make up for it.
            let gone = object.is_none()
                && (!live(held.kind, &held.name) || old.is_some_and(|old| !seen(held.kind, &old)));
            gone || held.uid.is_some_and(|uid| was_larger(scene, uid))
        }
        HeldReason::Foreign => {
            let natives = volume.map(|spec| [spec.object.as_deref(), spec.adopt.as_deref()]);
            let asked =
                natives.into_iter().flatten().flatten().any(|native| objects(scene).any(|(_, o)| o.native.as_str() == native));
            // What comes back from the trash needs its own name.
            let in_the_way = |own: &Object| objects(scene).any(|(_, o)| o.native == own.native && o.uid() != own.uid());
            // What goes to the trash keeps its name there.
            let is_kept = |own: &Object| {
                objects(scene).any(|(_, o)| o.place == Place::Trash && o.native == own.native && o.uid() != own.uid())
            };
            let leaves = held.action == Verb::Remove;
            asked || object.is_some_and(|own| if own.place == Place::Trash { in_the_way(own) } else { leaves && is_kept(own) })
        }
        HeldReason::Conflict => {
            // Some other object has the native name of one that the ledgers, or the store, know under this name.
            let is_taken = |native: &NativeName| objects(scene).any(|(_, o)| o.native == *native);
            let mut entries = ledgers(scene).flat_map(|ledger| ledger.complete.values());
            let mut records = scene.records.objects.values();
            let replaced = entries.any(|e| e.kind == held.kind && e.name == held.name && is_taken(&e.native))
                || records.any(|r| {
                    r.identity.kind == held.kind && r.identity.name == held.name && is_taken(&r.native)
                });
            let of_another = object.is_some_and(|o| o.tags.restoring.is_some());
            of_another || objects(scene).any(|(_, o)| o.conflict.is_some()) || (object.is_none() && replaced)
        }
        HeldReason::InUse => {
            let blind = |view: &Observation| {
                view.capabilities().is_some_and(|can| can.client_visibility != ClientVisibility::All)
            };
            scene.world.values().any(blind)
                || objects(scene).any(|(_, o)| {
                    matches!(o.clients, Clients::Some(_)) || o.may_have_unseen_clients(ClientVisibility::All)
                })
        }
        HeldReason::HasDependents => {
            let is_held = |o: &Object| o.uid() == held.uid;
            let is_inside = |o: &Object| {
                objects(scene).any(|(_, volume)| is_held(volume) && o.parent_volume.as_ref() == Some(&volume.native))
            };
            let needs = |o: &Object| o.parent == held.uid || o.tags.volume == held.uid || is_inside(o);
            let named = |source: &SourceSpec| match source {
                SourceSpec::Volume(name) | SourceSpec::Quiesced(name) | SourceSpec::Snapshot(name) => *name == held.name,
                SourceSpec::Image(_) => false,
            };
            let asked = scene.reading.specs.volumes.values().filter_map(|spec| spec.source.as_deref()).any(named);
            asked || objects(scene).any(|(_, o)| needs(o))
        }
        HeldReason::Blocked => {
            // Also one that an interrupted creation left.
            let mut observed = scene.world.values().filter_map(Observation::observed).flat_map(|o| &o.objects);
            observed.any(|o| o.blocker.is_some())
        }
        HeldReason::HalfRestored => objects(scene).any(|(_, o)| o.tags.restoring.is_some()),
        HeldReason::SourceBroken => scene.reading.broken || scene.reading.unconfirmed,
        HeldReason::Suspended => !scene.suspended.is_empty(),
        HeldReason::Progressing => !scene.running.is_empty(),
        HeldReason::Unobserved => !plan.unobserved.is_empty(),
        HeldReason::OtherWriter => scene.world.values().any(|view| matches!(view, Observation::LockedBy { .. })),
        HeldReason::PoolFull => scene.world.values().any(
            |view| matches!(view, Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } if !observed.capacities.is_empty()),
        ),
        // What is suspended is held only if there is something to do for it.
        HeldReason::DependencyHeld => plan.held.iter().any(|other| other != held) || !scene.suspended.is_empty(),
        HeldReason::LooksLikeRename => {
            let undeclared = |o: &Object| {
                o.identity.as_ref().is_some_and(|id| id.kind == Kind::Volume && !scene.reading.specs.volumes.contains_key(&id.name))
            };
            let withdrawn = |o: &Object| o.place == Place::Live && !o.tags.retained && undeclared(o);
            // It is to be destroyed, and something holds that.
            let is_held = |o: &Object| {
                let is_destroyed = |step: &Step| step.action == Action::Destroy && Some(step.identity.uid) == o.uid();
                o.tags.on_remove() == OnRemove::Delete && !plan.steps.iter().any(is_destroyed)
            };
            let waits = |o: &Object| scene.reading.unconfirmed || plan.awaiting.is_some() || is_held(o);
            held.kind == Kind::Volume
                && objects(scene).any(|(at, o)| Some(at) == held.backend() && withdrawn(o) && waits(o))
        }
        HeldReason::NeedsConfirmation => scene.irreversible != kiln::plan::Irreversible::List,
        _ => true,
    }
}

/// The ledgers on the pools, and the store's copies of them.
fn ledgers(scene: &Scene) -> impl Iterator<Item = &Ledger> {
    let views = scene.world.values().filter_map(|view| match view {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => Some(observed),
        _ => None,
    });
    let good = views.filter_map(|observed| observed.ledger.as_ref()?.ledger());
    // Where those on the pool are damaged, the store's copy counts.
    let stored = scene.records.backends.values().filter_map(|record| record.ledger.as_ref());
    good.chain(stored)
}

/// Whether an object is smaller than a ledger or the store knows it.
fn was_larger(scene: &Scene, uid: Uid) -> bool {
    let stored = scene.records.objects.get(&uid).map(|record| record.size);
    let entered = ledgers(scene).filter_map(|ledger| Some(ledger.complete.get(&uid)?.size));
    let whole = entered.chain(stored).max();
    objects(scene).any(|(_, object)| object.uid() == Some(uid) && whole.is_some_and(|whole| object.size < whole))
}

/// Whether every declared object is as declared, or has a step, or is held.
fn forgotten(scene: &Scene, plan: &Plan) -> Vec<String> {
    let volumes = scene.reading.specs.volumes.values().map(|spec| (Kind::Volume, &spec.meta.name));
    let declared = volumes.chain(scene.reading.specs.snapshots.values().map(|spec| (Kind::Snapshot, &spec.meta.name)));
    // A snapshot comes back from the trash inside of its volume.
    let made = |step: &'_ Step| {
        let along = step.action.with().iter().map(|inner| inner.identity.clone());
        std::iter::once(step.identity.clone()).chain(along).collect::<Vec<_>>()
    };
    let spoken = |kind: Kind, name: &Name| {
        let is_it = |step: &Step| made(step).iter().any(|identity| identity.kind == kind && identity.name == *name);
        plan.held.iter().any(|h| h.kind == kind && h.name == *name)
            || plan.steps.iter().any(|step| !step.is_removal() && is_it(step))
            || objects(scene).any(|(_, o)| o.place == Place::Live && o.is(&scene.reading.specs.stack.owner, kind, name))
    };
    declared
        .filter(|(kind, name)| !spoken(*kind, name))
        .map(|(kind, name)| format!("{kind} {name} is forgotten"))
        .collect()
}

/// Everything that is wrong with a plan, and then the plan.
fn wrong(scene: &Scene, first: &Plan) -> Vec<String> {
    let mut wrong: Vec<String> =
        lint(first, &scene.inputs()).into_iter().map(|breach| format!("lint: {breach}")).collect();
    let bytes = |plan: &Plan| serde_json::to_vec(plan).unwrap();
    if bytes(&plan(&scene.inputs())) != bytes(first) {
        wrong.push("the same inputs gave other bytes".to_owned());
    }
    wrong.extend(forgotten(scene, first));
    for step in first.steps.iter().filter(|step| !is_our_business(scene, first, step)) {
        wrong.push(format!("not ours: {step:?}"));
    }
    for step in first.steps.iter().filter(|step| !reads_what_was_observed(scene, step)) {
        wrong.push(format!("it may read another object than the one observed: {step:?}"));
    }
    for held in first.held.iter().filter(|held| !must_be_refused(scene, first, held)) {
        wrong.push(format!("refused for nothing: {held:?}"));
    }
    let later = applied(scene, first);
    let second = plan(&later.inputs());
    // What this plan makes is whole in the next one, so that what was too large a share may no longer be one.
    let limited = first.held.iter().any(|held| held.reason == HeldReason::RemovalLimit);
    // What this plan holds for the sake of another object, or of one that it makes again under another name, may be free when its steps
    // are done. The next plan has steps for such objects only, and the one after it has none.
    let is_made = |held: &Held| first.steps.iter().any(|step| Some(step.identity.uid) == held.uid);
    // A rename that is held is freed with its first step, which restores the object from the trash under its old name.
    let begins_rename = |held: &Held, step: &Step| {
        let meta = scene.reading.specs.document(held.kind, &held.name);
        let old = meta.and_then(|meta| meta.renamed_from.as_ref());
        matches!(step.action, Action::Undelete { .. })
            && (held.kind, old) == (step.identity.kind, Some(&step.identity.name))
    };
    let was_held = |step: &Step| {
        let of_it = |held: &&Held| {
            held.uid == Some(step.identity.uid)
                || (held.kind, &held.name) == (step.identity.kind, &step.identity.name)
                || begins_rename(held, step)
        };
        first.held.iter().filter(of_it).any(|held| is_for_another(held.reason) || is_made(held))
    };
    let is_of_limit = |step: &Step| limited && step.is_removal();
    let is_expected = |step: &Step| was_held(step) || is_of_limit(step);
    let is_freed = !first.steps.is_empty() && !second.steps.is_empty() && second.steps.iter().all(is_expected);
    let (mut later, mut last) = (later, second);
    if is_freed {
        later = applied(&later, &last);
        last = plan(&later.inputs());
        // A volume that came back from the trash half restored is completed before it is changed.
        let is_half = first.held.iter().any(|held| held.reason == HeldReason::HalfRestored);
        if is_half && last.steps.iter().all(is_expected) {
            last = plan(&applied(&later, &last).inputs());
        }
    }
    let left = last.steps.iter().filter(|step| !is_of_limit(step));
    wrong.extend(left.map(|step| format!("left once applied: {} {}", step.action, step.native)));
    if !wrong.is_empty() {
        wrong.extend(first.steps.iter().map(|step| format!("step: {} {}", step.action, step.native)));
        wrong.extend(first.held.iter().map(|h| format!("held: {} {} {} {}", h.reason, h.action, h.kind, h.name)));
    }
    wrong
}

/// Whether such a hold is about what another object is like, which a step of the same plan can change.
fn is_for_another(reason: HeldReason) -> bool {
    matches!(
        reason,
        HeldReason::Ambiguous
            | HeldReason::DependencyHeld
            | HeldReason::HalfRestored
            | HeldReason::LooksLikeRename
            | HeldReason::SourceMissing
    )
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the switches that replay a run and make it longer")]
fn any_specs_in_any_world_get_a_sound_plan() {
    use std::hash::{BuildHasher, RandomState};
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("KILN_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let cases = number("KILN_CASES").map_or(CASES, |cases| cases as u32);
    eprintln!("KILN_SEED={seed}, {cases} scenes");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_global_rejects: cases * 20, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (steps, refusals) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&(specs(), world(), 0..10_u8), |(specs, world, broken)| {
        let mut loaded = load(&Source::Text(specs.clone()), &Limits::default());
        prop_assume!(loaded.problems.is_empty());
        // As if there were one more file, with a problem.
        loaded.reading.broken = broken == 0;
        let described: Described =
            serde_yaml::from_str(&world).map_err(|error| TestCaseError::fail(format!("{error}\n{world}")))?;
        let scene = described.scene(loaded.reading);
        prop_assume!(is_possible(&scene) && is_made_of_others(&scene));
        let first = plan(&scene.inputs());
        steps.set(steps.get() + first.steps.len());
        refusals.set(refusals.get() + first.held.len());
        let mut wrong = wrong(&scene, &first);
        wrong.extend(differs(&scene, &first));
        prop_assert!(wrong.is_empty(), "{}\n{specs}\n{world}broken: {broken}", wrong.join("\n"));
        Ok(())
    });
    eprintln!("{} steps, {} refusals", steps.get(), refusals.get());
    assert!(result.is_ok(), "KILN_SEED={seed}: {}", result.unwrap_err());
    assert!(steps.get() > 0 && refusals.get() > 0, "nothing was tried");
}

/// What the test above once found, as small as it can be.
#[test]
fn scenes_that_were_wrong_once_get_a_sound_plan() {
    let head = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\n\
                spec: {id: 5c1d2e8a90, defaults: {backend: fast}}\n---\n\
                apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";
    let volume =
        |meta: &str| format!("---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{{meta}}}\nspec: {{size: 1Gi}}\n");
    let snapshot = "---\napiVersion: kiln/v1\nkind: Snapshot\nmetadata: {name: s, renamedFrom: y}\nspec: {volume: a}\n";
    let stories = [
        // The rename is held until the snapshot is gone, and begins with the restore of x.
        (
            volume("name: b, renamedFrom: x"),
            "{objects: [{snapshot: s, of: b, onRemove: Delete}, {volume: b}, {volume: x, trash: true}]}",
        ),
        // The snapshot is renamed in the volume that it is in.
        (
            volume("name: a") + &volume("name: b") + snapshot,
            "{can: {snapshots: {nested: true}}, objects: [{snapshot: y, of: b}, {volume: a}, {volume: b}]}",
        ),
        // What is left of the creation of its snapshot completes no restore.
        (
            volume("name: b, labels: {k: v}").replace("{size: 1Gi}", "{size: 1Gi, restore: {snapshot: s, request: r}}"),
            "{objects: [{volume: b, size: 1Gi, restoring: {request: q, snapshot: t}}, {snapshot: s, of: b, retained: true}, \
             {snapshot: t, of: a, half: true}]}",
        ),
        // What is left of a creation has a temporary name: it is not where the lost volume was.
        (
            volume("name: a") + &volume("name: b"),
            "{objects: [{volume: b, native: x.img, half: true, conflict: odd}, {volume: b, native: x.img, gone: true}]}",
        ),
        // Where only names are answered for, nothing leads to a snapshot in another volume than its document's that nothing remembers.
        (
            volume("name: d") + "---\napiVersion: kiln/v1\nkind: Snapshot\nmetadata: {name: t}\nspec: {volume: d}\n",
            "{can: {snapshots: {nested: true}}, objects: [{snapshot: s, of: a, retained: true}, {volume: a, retained: true}, \
             {snapshot: t, of: a, noLedger: true, noStore: true}]}",
        ),
        // When its restore is complete, the volume is still known by the name that it had before a person renamed it.
        (
            volume("name: b"),
            "{objects: [{volume: a, was: {name: b}, restoring: {request: r, snapshot: s}}, {snapshot: s, of: a, retained: true}]}",
        ),
    ];
    for (specs, pool) in stories {
        let loaded = load(&Source::Text(format!("{head}{specs}")), &Limits::default());
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let described: Described = serde_yaml::from_str(&format!("backends: {{fast: {pool}}}")).unwrap();
        let scene = described.scene(loaded.reading);
        let first = plan(&scene.inputs());
        assert!(!first.steps.is_empty() && !first.held.is_empty(), "{first:#?}");
        assert_eq!(wrong(&scene, &first), [""; 0]);
        assert_eq!(differs(&scene, &first), [""; 0]);
    }
}

#[test]
fn a_backend_that_was_not_judged_is_not_used() {
    let specs = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n---\n\
                 apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec: {backend: fast, size: 1Gi}\n";
    let loaded = load(&Source::Text(specs.to_owned()), &Limits::default());
    let scene = Described::default().scene(loaded.reading);
    let judged = plan(&scene.inputs());
    assert_eq!((judged.steps.len(), judged.held.len()), (1, 0));
    let unjudged = Inputs { judged: Arc::default(), ..scene.inputs() };
    let plan = plan(&unjudged);
    assert_eq!((plan.steps.len(), plan.held.len()), (0, 1));
    let breaches = lint(&judged, &unjudged);
    assert!(breaches[0].contains("its backend is not usable"), "{breaches:?}");
}

/// Ten thousand volumes, each a clone of the next, and the reverse: they come, and they leave.
#[test]
fn chains_of_clones_are_planned_however_long() {
    let mut specs = String::from(
        "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\n\
         spec: {id: 5c1d2e8a90, defaults: {backend: fast}, safety: {maxRemovals: 100000, maxRemovedPercent: 100}}\n---\n\
         apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n",
    );
    let without = specs.clone();
    for index in 0..10_000 {
        let source = if index < 9_999 { format!(", source: {{volume: v{:05}}}", index + 1) } else { String::new() };
        let spec = format!("spec: {{size: 1Gi, onRemove: Delete{source}}}");
        writeln!(specs, "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: v{index:05}}}\n{spec}").unwrap();
    }
    let scene = |text: String| {
        let loaded = load(&Source::Text(text), &Limits { file_bytes: 8 << 20, ..Limits::default() });
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        Described::default().scene(loaded.reading)
    };
    let first = scene(specs);
    let made = plan(&first.inputs());
    assert_eq!((made.steps.len(), made.held.len()), (10_000, 0));
    assert_eq!(made.steps[0].identity.name.as_str(), "v09999");
    let later = Scene { reading: scene(without).reading, ..applied(&first, &made) };
    let gone = plan(&later.inputs());
    assert_eq!(lint(&gone, &later.inputs()), [""; 0]);
    let limited = gone.held.iter().filter(|held| held.reason == HeldReason::RemovalLimit).count();
    assert_eq!((gone.steps.len(), limited), (0, 10_000));
    let later = Scene { approved: vec![gone.awaiting.unwrap().digest], ..later };
    let gone = plan(&later.inputs());
    assert_eq!((gone.steps.len(), gone.held.len()), (10_000, 0));
    assert_eq!(gone.steps[0].identity.name.as_str(), "v00000");
}

/// Volumes are renamed, many at once and again and again, to names that others had before: each object follows its document, and none is
/// created or removed. Where the backend cannot rename, each is held under its new name, and nothing happens to any.
#[test]
#[expect(clippy::disallowed_methods, reason = "the switch that replays a run")]
fn a_storm_of_renames_moves_names_and_touches_nothing_else() {
    use std::hash::{BuildHasher, RandomState};
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let seed = std::env::var("KILN_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(1));
    eprintln!("KILN_SEED={seed}");
    let mut state = seed;
    let mut roll = |sides: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % sides
    };
    let reading = |documents: &[(&str, Option<&str>)]| {
        let mut text = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: 5c1d2e8a90}\n---\n\
                        apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n"
            .to_owned();
        for (name, from) in documents {
            let from = from.map_or_else(String::new, |old| format!(", renamedFrom: {old}"));
            let meta = format!("metadata: {{name: {name}{from}}}");
            writeln!(text, "---\napiVersion: kiln/v1\nkind: Volume\n{meta}\nspec: {{backend: fast, size: 1Gi}}")
                .unwrap();
        }
        let loaded = load(&Source::Text(text.clone()), &Limits::default());
        assert!(loaded.problems.is_empty(), "{:?}\n{text}", loaded.problems);
        loaded.reading
    };
    let (mut renames, mut refusals) = (0, 0);
    for story in 0..60 {
        let can = roll(2) == 0;
        let mut names: Vec<&str> = NAMES.into_iter().take(2 + roll(5)).collect();
        let things = names.iter().map(|name| {
            let native = if roll(4) == 0 { format!(", native: own-{name}") } else { String::new() };
            let written = ["", ", written: true", ", written: false, used: 0"][roll(3)];
            let protected = if roll(3) == 0 { ", protected: true" } else { "" };
            format!("{{volume: {name}{native}{written}{protected}}}")
        });
        let things = things.collect::<Vec<_>>().join(", ");
        let world = format!("backends:\n  fast: {{can: {{rename: {can}}}, objects: [{things}]}}\n");
        let described: Described = serde_yaml::from_str(&world).unwrap();
        let mut scene = described.scene(reading(&[]));
        for round in 0..6 {
            // An old name is free only when no document has it.
            let mut free: Vec<&str> = NAMES.into_iter().filter(|name| !names.contains(name)).collect();
            let mut moved: Vec<(&str, Option<&str>)> = Vec::new();
            for name in &names {
                let new = if free.is_empty() || roll(2) == 0 { None } else { Some(free.swap_remove(roll(free.len()))) };
                moved.push(new.map_or((*name, None), |new| (new, Some(*name))));
            }
            scene = Scene { reading: reading(&moved), ..scene };
            let first = plan(&scene.inputs());
            let what = format!("KILN_SEED={seed}, story {story}, round {round}: {moved:?}\n{world}{first:#?}");
            assert_eq!(lint(&first, &scene.inputs()), [""; 0], "{what}");
            assert!(first.steps.iter().all(|step| matches!(step.action, Action::Rename { .. })), "{what}");
            let changed = moved.iter().filter(|(_, from)| from.is_some()).count();
            let expected = if can { (changed, 0) } else { (0, changed) };
            assert_eq!((first.steps.len(), first.held.len()), expected, "{what}");
            (renames, refusals) = (renames + first.steps.len(), refusals + first.held.len());
            let later = applied(&scene, &first);
            let uid = |scene: &Scene, name: &str| {
                let is_it = |o: &&Object| o.identity.as_ref().is_some_and(|id| id.name.as_str() == name);
                objects(scene).map(|(_, o)| o).filter(|o| o.place == Place::Live).find(is_it).and_then(Object::uid)
            };
            for (name, from) in &moved {
                let before = uid(&scene, from.unwrap_or(name));
                let now = if can { name } else { from.as_ref().unwrap_or(name) };
                assert!(before.is_some() && before == uid(&later, now), "{name}: {what}");
            }
            assert_eq!(objects(&later).count(), names.len(), "{what}");
            let second = plan(&later.inputs());
            assert_eq!((second.steps.len(), second.held.len()), (0, expected.1), "not settled: {second:#?}\n{what}");
            scene = later;
            if can {
                names = moved.iter().map(|(name, _)| *name).collect();
            }
        }
    }
    assert!(renames > 100 && refusals > 100, "{renames} {refusals}");
}
