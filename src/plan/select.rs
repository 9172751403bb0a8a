//! Parts of a plan: the steps of selected objects with those they wait for, or all but some.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, HeldReason, Plan, digest};
use crate::model::{ApprovalSet, Kind, Name, ObjectId, Specs, Step};

/// The part of a plan that is about selected objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The steps of the selected objects and, by `after`, those that they wait for; the holds and drift of the selected objects.
    /// Everything else is as in the whole plan, for which removal limits and approvals were judged.
    pub plan: Plan,
    /// The number of steps left out.
    pub other_steps: usize,
    /// The number of holds left out.
    pub other_held: usize,
    /// Selected objects without a step or hold: they are as declared, or unknown.
    pub silent: BTreeSet<ObjectId>,
}

impl Selected {
    /// Returns the selected objects that are neither declared nor in the plan: most likely mistyped names.
    pub fn unknown(&self, specs: &Specs) -> Vec<ObjectId> {
        let is_declared = |ObjectId { kind, name }: &&ObjectId| match kind {
            Kind::Volume => specs.volumes.contains_key(name),
            Kind::Snapshot => specs.snapshots.contains_key(name),
            Kind::Export => specs.exports.contains_key(name),
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => false,
        };
        self.silent.iter().filter(|object| !is_declared(object)).cloned().collect()
    }
}

/// Returns the part of `whole` that is about the selected objects. Steps keep their order.
pub fn select(whole: &Plan, wanted: &BTreeSet<ObjectId>) -> Selected {
    let asked = |kind: Kind, name: &Name| wanted.contains(&ObjectId::new(kind, name));
    // An object created in the place of another was selected; the removal of the other was not.
    let mut barred: Vec<Option<&Step>> = Vec::with_capacity(whole.steps.len());
    for step in &whole.steps {
        let unasked = |gone: &&Step| gone.is_removal() && !asked(gone.identity.kind, &gone.identity.name);
        let direct = step.after.iter().map(|before| &whole.steps[*before]).find(unasked).filter(|_| !step.is_removal());
        barred.push(direct.or_else(|| step.after.iter().find_map(|before| barred[*before])));
    }
    // Backwards: a step comes after those it waits for.
    let mut needed = vec![false; whole.steps.len()];
    for (index, step) in whole.steps.iter().enumerate().rev() {
        needed[index] |= barred[index].is_none() && asked(step.identity.kind, &step.identity.name);
        if needed[index] {
            step.after.iter().for_each(|before| needed[*before] = true);
        }
    }
    let kept: BTreeMap<usize, usize> =
        (0..whole.steps.len()).filter(|index| needed[*index]).enumerate().map(|(new, old)| (old, new)).collect();
    let steps: Vec<Step> = kept
        .keys()
        .map(|index| {
            let step = &whole.steps[*index];
            let after = step.after.iter().filter_map(|before| kept.get(before).copied()).collect();
            Step { after, ..step.clone() }
        })
        .collect();
    let mut held: Vec<_> = whole.held.iter().filter(|held| asked(held.kind, &held.name)).cloned().collect();
    for (step, gone) in
        whole.steps.iter().zip(&barred).filter(|(step, _)| asked(step.identity.kind, &step.identity.name))
    {
        held.extend(gone.map(|gone| waits_for_removal(step, gone)));
    }
    held.sort();
    held.dedup();
    let told: BTreeSet<ObjectId> = steps
        .iter()
        .map(|step| step.identity.id())
        .chain(held.iter().map(|held| ObjectId::new(held.kind, &held.name)))
        .collect();
    // The approval stays that of the whole set: an approval covers all of it or nothing.
    let waits = |approval: &ApprovalSet| {
        let is_held = |held: &Held| held.uid.is_some_and(|uid| approval.names(uid));
        steps.iter().any(|step| approval.covers(&step.approval_item())) || held.iter().any(is_held)
    };
    let approval = whole.approval.clone().filter(waits);
    let drift = whole.drift.iter().filter(|drift| asked(drift.kind, &drift.name)).cloned().collect();
    let mut plan = Plan {
        owner: whole.owner.clone(),
        revision: whole.revision.clone(),
        steps,
        held,
        drift,
        warnings: whole.warnings.clone(),
        unobserved: whole.unobserved.clone(),
        approval,
        used: whole.used.clone(),
        too_much: whole.too_much.clone(),
        doubted: whole.doubted.clone(),
        unsettled: whole.unsettled,
        to_inspect: whole.to_inspect.clone(),
        digest: String::new(),
    };
    plan.digest = digest::digest(&plan);
    Selected {
        other_steps: whole.steps.len() - plan.steps.len(),
        other_held: whole.held.iter().filter(|held| !asked(held.kind, &held.name)).count(),
        silent: wanted.difference(&told).cloned().collect(),
        plan,
    }
}

/// Returns the plan without the steps of the `postponed` objects and the steps that wait for them, or none if no step is left.
/// Everything else is as in the whole plan.
pub fn without(whole: &Plan, postponed: &BTreeSet<ObjectId>) -> Option<Plan> {
    let is_postponed = |step: &Step| postponed.contains(&step.identity.id());
    if postponed.is_empty() || !whole.steps.iter().any(is_postponed) {
        return None;
    }
    let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    // A step comes after those it waits for.
    for (index, step) in whole.steps.iter().enumerate().filter(|(_, step)| !is_postponed(step)) {
        if let Some(after) = step.after.iter().map(|before| kept.get(before).copied()).collect() {
            kept.insert(index, steps.len());
            steps.push(Step { after, ..step.clone() });
        }
    }
    Some(Plan { steps, ..whole.clone() })
}

/// Returns the hold of a selected step that waits for the removal of an object which was not selected.
fn waits_for_removal(step: &Step, gone: &Step) -> Held {
    let what = gone.identity.id();
    Held {
        kind: step.identity.kind,
        name: step.identity.name.clone(),
        action: step.action.verb(),
        backend: Some(step.backend.clone()),
        uid: Some(step.identity.uid),
        reason: HeldReason::DependencyHeld,
        message: format!("{what} must be removed first and was not selected"),
        fix: format!("name {what} too, or apply everything"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Identity, Reason, Tags, Uid};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn step(volume: &str, after: &[usize]) -> Step {
        let owner: crate::model::Owner = "prod".parse().unwrap();
        let uid = Uid::derive("5c1d2e8a90", &owner, Kind::Volume, &name("fast"), &name(volume), 0);
        let identity = Identity { owner, kind: Kind::Volume, name: name(volume), uid };
        Step {
            after: after.to_vec(),
            ..Step::new(name("fast"), identity, Action::Adopt { tags: Tags::default(), n: 0 }, Reason::AdoptRequested)
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        let held = Held {
            kind: Kind::Volume,
            name: name("kept"),
            action: crate::model::Verb::Remove,
            backend: None,
            uid: None,
            reason: HeldReason::Protected,
            message: String::new(),
            fix: String::new(),
        };
        Plan { held: vec![held], digest: "whole".to_owned(), ..Plan::of("prod".parse().unwrap(), String::new(), steps) }
    }

    fn wanted(names: &[&str]) -> BTreeSet<ObjectId> {
        names.iter().map(|text| ObjectId::new(Kind::Volume, &name(text))).collect()
    }

    #[test]
    fn selected_objects_bring_their_dependencies_only() {
        let whole = plan(vec![step("a", &[]), step("b", &[]), step("c", &[1]), step("d", &[2]), step("e", &[0, 3])]);
        let part = select(&whole, &wanted(&["d"]));
        let kept: Vec<(&str, &[usize])> =
            part.plan.steps.iter().map(|s| (s.identity.name.as_str(), s.after.as_slice())).collect();
        assert_eq!(kept, [("b", &[][..]), ("c", &[0][..]), ("d", &[1][..])]);
        assert_eq!((part.other_steps, part.other_held), (2, 1));
        assert_eq!(part.plan.held, []);
        assert!(part.silent.is_empty());
        assert_ne!(part.plan.digest, whole.digest);
    }

    #[test]
    fn a_postponed_step_postpones_its_dependents() {
        let whole = plan(vec![step("a", &[]), step("b", &[]), step("c", &[1]), step("d", &[2, 0]), step("e", &[0])]);
        let rest = without(&whole, &wanted(&["b"])).unwrap();
        let kept: Vec<(&str, &[usize])> =
            rest.steps.iter().map(|s| (s.identity.name.as_str(), s.after.as_slice())).collect();
        assert_eq!(kept, [("a", &[][..]), ("e", &[0][..])]);
        assert_eq!(rest.held, whole.held);
        assert_eq!(without(&whole, &wanted(&["other"])), None);
    }

    #[test]
    fn objects_missing_from_the_plan_are_named() {
        let part = select(&plan(vec![step("a", &[])]), &wanted(&["a", "kept", "other"]));
        assert_eq!(part.silent, wanted(&["other"]));
        assert_eq!((part.plan.steps.len(), part.plan.held.len()), (1, 1));
        assert_eq!((part.other_steps, part.other_held), (0, 0));
    }
}
