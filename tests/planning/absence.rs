//! The same world seen through backends that prove absence in other ways than by complete lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln::model::{Absence, Action, LedgerView, Listed, Name, NativeName, Object, Place, Step, TrashAbility, Uid};
use kiln::plan::{HeldReason, Observation, Plan, lint, plan};

use crate::planning::Scene;
use crate::{ledgers, objects};

/// What is wrong with the plans of the same world where names or the ledger prove absence.
pub(crate) fn differs(scene: &Scene, first: &Plan) -> Vec<String> {
    let lost = if objects(scene).count().is_multiple_of(2) { usize::MAX } else { 3 };
    differs_by_name(scene, first).into_iter().chain(differs_by_ledger(scene, lost)).collect()
}

/// The same world where lists show every second object, and backends answer for names.
fn with_answers(scene: &Scene) -> Scene {
    let mut scene = scene.clone();
    for (name, view) in &mut scene.world {
        if let Observation::Seen { capabilities, observed } | Observation::LockedBy { capabilities, observed, .. } =
            view
        {
            capabilities.absence = Absence::ByName;
            observed.listed = Listed::NONE;
            scene.by_name.insert(name.clone(), observed.objects.clone());
            let mut nth = 0_u32..;
            observed.objects.retain(|_| nth.next().is_some_and(|nth| nth % 2 == 0));
        }
    }
    scene.ask_for_names();
    scene
}

/// Whether the native name of an object follows from its identity, or a document, a ledger or the store has it. One that was chosen, and
/// that nothing has any more, only a list can show.
fn can_be_asked_for(scene: &Scene, object: &Object) -> bool {
    // Nor is a snapshot asked for inside of a volume that does not exist, or that neither its document nor the ledger or the store names.
    let is_volume = |volume: &NativeName| objects(scene).any(|(_, other)| other.native == *volume);
    let is_entered = |uid: Uid| ledgers(scene).any(|ledger| ledger.complete.contains_key(&uid));
    let is_recorded = |uid: Uid| scene.records.objects.contains_key(&uid);
    if let Some(volume) = &object.parent_volume
        && !object.uid().is_some_and(is_entered)
        && !(is_volume(volume) && (is_of_document(scene, object, volume) || object.uid().is_some_and(is_recorded)))
    {
        return false;
    }
    let Some(identity) = &object.tags.identity else { return true };
    let spec = scene.reading.specs.volumes.get(&identity.name);
    spec.is_some_and(|spec| spec.object.as_deref() == Some(object.native.as_str()))
        || ledgers(scene).any(|ledger| ledger.complete.contains_key(&identity.uid))
        || scene.records.objects.contains_key(&identity.uid)
}

/// Whether a native name is that of the volume that a snapshot's document names, by its name or its old one.
fn is_of_document(scene: &Scene, snapshot: &Object, native: &NativeName) -> bool {
    let specs = &scene.reading.specs;
    let document = snapshot.identity.as_ref().and_then(|identity| specs.snapshots.get(&identity.name));
    let Some(volume) = document.and_then(|document| specs.volumes.get(&document.volume)) else { return false };
    let is_asked = [&volume.object, &volume.adopt].into_iter().flatten().any(|own| **own == *native.as_str());
    let is_it = |name: &Name| *name == volume.meta.name || Some(name) == volume.meta.renamed_from.as_ref();
    let of_name = |object: &Object| object.identity.as_ref().is_some_and(|identity| is_it(&identity.name));
    is_asked || objects(scene).any(|(_, object)| object.native == *native && of_name(object))
}

/// What is wrong with the plan of a world in which lists show every second object, and backends answer for names: it is that of complete
/// lists, if all objects are found, and else it creates nothing that exists under a name that can be asked for.
fn differs_by_name(scene: &Scene, first: &Plan) -> Vec<String> {
    let is_complete = |view: &Observation| view.observed().is_none_or(|seen| seen.lists_all() && seen.gaps.is_empty());
    if !scene.world.values().all(is_complete) {
        return Vec::new();
    }
    let answered = with_answers(scene);
    let plan = plan(&answered.inputs());
    let mut wrong: Vec<String> =
        lint(&plan, &answered.inputs()).into_iter().map(|breach| format!("by name, lint: {breach}")).collect();
    // The ledger knows the snapshot of each restore that was begun.
    let is_known = |(_, volume): (&Name, &Object)| {
        let snapshot = volume.tags.restoring.as_ref().and_then(|begun| begun.snapshot);
        snapshot.is_none_or(|uid| objects(scene).any(|(_, object)| object.uid() == Some(uid)))
    };
    if objects(&answered).eq(objects(scene)) && objects(scene).all(is_known) {
        let differs = (&plan.steps, &plan.held, &plan.drift) != (&first.steps, &first.held, &first.drift);
        wrong.extend(differs.then(|| format!("by name, it is another plan: {:?} {:?}", plan.steps, plan.held)));
    }
    let exists = |step: &&Step| {
        let is_first = matches!(step.action, Action::Create { .. } | Action::Snapshot { .. });
        let is_it = |(at, object): (&Name, &Object)| {
            Some(at) == step.backend() && object.uid() == Some(step.identity.uid) && can_be_asked_for(scene, object)
        };
        is_first && objects(scene).any(is_it)
    };
    wrong.extend(plan.steps.iter().filter(exists).map(|step| format!("by name, it is created again: {}", step.native)));
    wrong
}

/// The same world where backends have no trash.
fn without_trash(scene: &Scene) -> Scene {
    let mut scene = scene.clone();
    for view in scene.world.values_mut() {
        if let Observation::Seen { capabilities, .. } | Observation::LockedBy { capabilities, .. } = view {
            capabilities.trash = TrashAbility::None;
        }
    }
    scene
}

/// The same world without the objects that have no owner.
fn without_foreign(scene: &Scene) -> Scene {
    let mut scene = scene.clone();
    for view in scene.world.values_mut() {
        if let Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } = view {
            observed.objects.retain(|object| object.identity.is_some());
        }
    }
    scene
}

/// The same world where drivers show only what they have a record of, and the ledger proves absence. There is no record of every `lost`th
/// object that a ledger has.
fn with_records(scene: &Scene, lost: usize) -> Scene {
    let mut scene = scene.clone();
    let entered: BTreeSet<Uid> = ledgers(&scene).flat_map(|ledger| ledger.complete.keys().copied()).collect();
    let mut nth = 0;
    for view in scene.world.values_mut() {
        if let Observation::Seen { capabilities, observed } | Observation::LockedBy { capabilities, observed, .. } =
            view
        {
            (capabilities.absence, capabilities.trash) = (Absence::ByLedger, TrashAbility::None);
            observed.listed = Listed::NONE;
            observed.objects.retain(|object| {
                let is_entered = object.uid().is_some_and(|uid| entered.contains(&uid));
                nth += usize::from(is_entered);
                !(is_entered && nth % lost == 0)
            });
        }
    }
    scene.ask_for_names();
    scene
}

/// The same world where these objects never were.
fn without(scene: &Scene, uids: &BTreeSet<Uid>) -> Scene {
    let mut scene = scene.clone();
    for view in scene.world.values_mut() {
        if let Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } = view {
            observed.objects.retain(|object| object.uid().is_none_or(|uid| !uids.contains(&uid)));
            if let Some(LedgerView::Good(ledger) | LedgerView::Older(ledger, _)) = &mut observed.ledger {
                Arc::make_mut(ledger).complete.retain(|uid, _| !uids.contains(uid));
            }
        }
    }
    for ledger in scene.records.backends.values_mut().filter_map(|record| record.ledger.as_mut()) {
        ledger.complete.retain(|uid, _| !uids.contains(uid));
    }
    scene.records.objects.retain(|uid, _| !uids.contains(uid));
    scene
}

/// What is wrong with the plan of a world in which the ledger proves absence: it removes or creates what the plan of complete lists does not;
/// or, where records are missing, it creates what exists or is in a ledger. (Objects without owner are left out: nothing shows them there, and the backend refuses a creation under the name of one.)
fn differs_by_ledger(scene: &Scene, lost: usize) -> Vec<String> {
    let is_complete = |view: &Observation| view.observed().is_none_or(|seen| seen.lists_all() && seen.gaps.is_empty());
    // If one of two objects of a name is not shown or held, the other is planned. There is no trash.
    let shown = objects(scene).filter_map(|(_, object)| object.identity.as_ref());
    let shown = shown.map(|id| ((&id.owner, id.kind, &id.name), id.uid));
    let entered = ledgers(scene)
        .flat_map(|ledger| ledger.complete.iter().map(|(uid, entry)| ((&ledger.owner, entry.kind, &entry.name), *uid)));
    let known: BTreeSet<_> = shown.chain(entered).collect();
    let names: BTreeSet<_> = known.iter().map(|(name, _)| name).collect();
    let has_trash = objects(scene).any(|(_, object)| object.place == Place::Trash);
    if !scene.world.values().all(is_complete) || names.len() < known.len() || has_trash {
        return Vec::new();
    }
    let listed = without_foreign(scene);
    let recorded = with_records(&listed, lost);
    // A removal that exceeds a limit only together with that of an object without a record is planned without it.
    let uids = |scene: &Scene| objects(scene).filter_map(|(_, object)| object.uid()).collect::<BTreeSet<_>>();
    let unrecorded = &uids(&listed) - &uids(&recorded);
    let fewer = plan(&without_trash(&without(&listed, &unrecorded)).inputs());
    let (first, plan) = (plan(&without_trash(&listed).inputs()), plan(&recorded.inputs()));
    let breaches = lint(&plan, &recorded.inputs()).into_iter().map(|breach| format!("by ledger, lint: {breach}"));
    let is_in = |plan: &Plan, step: &Step| {
        plan.steps.iter().any(|other| other.identity == step.identity && other.action == step.action)
    };
    let is_planned = |step: &Step| is_in(&first, step) || step.is_removal() && is_in(&fewer, step);
    // What is not shown is not in the way of objects of other names.
    let is_other = |step: &Step| {
        let Step { identity, action, .. } = step;
        let is_known = ledgers(scene).any(|ledger| ledger.expected(identity.kind, &identity.name).next().is_some());
        let exists = objects(scene).any(|(_, object)| object.uid() == Some(identity.uid));
        lost < usize::MAX && action.is_first() && !is_known && !exists
    };
    let held =
        |step: &Step| first.held.iter().find(|held| held.kind == step.identity.kind && held.name == step.identity.name);
    // A new volume that resembles one that lists would destroy may begin where that one stays.
    let destroys = plan.steps.iter().any(|step| step.action == Action::Destroy);
    let is_unlike = |step: &Step| {
        !destroys && step.action.is_first() && held(step).is_some_and(|held| held.reason == HeldReason::LooksLikeRename)
    };
    // A backend without an intact ledger is as one that is away: what it has shows nowhere, and a moved document begins anew.
    let is_away = |at: &Name| {
        let ledger = recorded.world.get(at).and_then(|view| view.observed()?.ledger.as_ref());
        ledger.is_some_and(|view| !matches!(view, LedgerView::Good(_)))
    };
    let is_elsewhere = |step: &Step| {
        let Step { identity, action, .. } = step;
        let mut of_name =
            objects(&listed).filter(|(_, object)| object.identity.as_ref().is_some_and(|id| id.id() == identity.id()));
        action.is_first() && of_name.all(|(at, _)| Some(at) != step.backend() && is_away(at))
    };
    let is_excused = |step: &Step| is_planned(step) || is_other(step) || is_unlike(step) || is_elsewhere(step);
    let is_wrong = |step: &&Step| (step.is_removal() || step.action.is_first()) && !is_excused(step);
    let others = plan.steps.iter().filter(is_wrong);
    let told = |step: &Step| {
        format!("by ledger, it is planned too: {} {}, where lists give {:?}", step.action, step.native, held(step))
    };
    breaches.chain(others.map(told)).collect()
}
