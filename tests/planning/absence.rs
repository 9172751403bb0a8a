//! The same world seen through backends that prove absence in other ways than by complete lists.

use std::collections::BTreeSet;

use kiln::model::{Absence, Action, Listed, Name, Object, Place, Step, TrashAbility, Uid};
use kiln::plan::{Held, HeldReason, Observation, Plan, lint, plan};

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
    let Some(identity) = &object.tags.identity else { return true };
    let spec = scene.reading.specs.volumes.get(&identity.name);
    spec.is_some_and(|spec| spec.object.as_deref() == Some(object.native.as_str()))
        || ledgers(scene).any(|ledger| ledger.complete.contains_key(&identity.uid))
        || scene.records.objects.contains_key(&identity.uid)
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
    let (first, plan) = (plan(&without_trash(&listed).inputs()), plan(&recorded.inputs()));
    let breaches = lint(&plan, &recorded.inputs()).into_iter().map(|breach| format!("by ledger, lint: {breach}"));
    let is_planned =
        |step: &Step| first.steps.iter().any(|other| other.identity == step.identity && other.action == step.action);
    // What is not shown is not in the way of objects of other names.
    let is_other = |step: &Step| {
        let Step { identity, action, .. } = step;
        let is_known = ledgers(scene).any(|ledger| ledger.expected(identity.kind, &identity.name).next().is_some());
        let exists = objects(scene).any(|(_, object)| object.uid() == Some(identity.uid));
        lost < usize::MAX && action.is_first() && !is_known && !exists
    };
    // A likely rename holds the new volume only while nothing else holds the removal.
    let is_likely_rename = |step: &Step| {
        let of_it = |held: &Held| held.reason == HeldReason::LooksLikeRename && held.name == step.identity.name;
        step.action.is_first() && first.held.iter().any(of_it)
    };
    let is_wrong = |step: &&Step| {
        (step.is_removal() || step.action.is_first()) && !is_planned(step) && !is_other(step) && !is_likely_rename(step)
    };
    let others = plan.steps.iter().filter(is_wrong);
    breaches
        .chain(others.map(|step| format!("by ledger, it is planned too: {} {}", step.action, step.native)))
        .collect()
}
