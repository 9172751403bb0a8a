//! Parts of a plan: the steps of selected objects with those they wait for, or all but some.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, HeldReason, Plan, Unobserved, Warning};
use crate::model::{Action, ApprovalSet, Kind, Name, ObjectId, Specs, Step};

/// The part of a plan that is about selected objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The steps of the selected objects and, by `after`, those that they wait for; the holds and drift of the selected objects, the
    /// warnings about them, and their backends that were not observed. Everything else is as in the whole plan, for which removal limits
    /// and approvals were judged.
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

/// Returns the part of `whole` that is about the selected objects. Steps keep their order. `specs`: what the plan was made for.
pub fn select(whole: &Plan, wanted: &BTreeSet<ObjectId>, specs: &Specs) -> Selected {
    let is_wanted = |kind: Kind, name: &Name| wanted.contains(&ObjectId::new(kind, name));
    let is_of_wanted: Vec<bool> =
        whole.steps.iter().map(|step| is_wanted(step.identity.kind, &step.identity.name)).collect();
    let prevented_by = prevented_by(&whole.steps, &is_of_wanted);
    let steps = renumbered(&whole.steps, &needed(&whole.steps, &is_of_wanted, &prevented_by));

    let wanted_holds = whole.held.iter().filter(|held| is_wanted(held.kind, &held.name));
    let mut held: Vec<Held> = wanted_holds.cloned().collect();
    let other_held = whole.held.len() - held.len();
    let wanted_steps =
        whole.steps.iter().zip(&prevented_by).zip(&is_of_wanted).filter(|(_, is_of_wanted)| **is_of_wanted);
    held.extend(wanted_steps.filter_map(|((step, removal), _)| Some(waits_for_removal(step, (*removal)?))));
    held.sort();
    held.dedup();

    let mut silent = wanted.clone();
    for object in steps.iter().map(|step| step.identity.id()) {
        silent.remove(&object);
    }
    for object in held.iter().map(|held| ObjectId::new(held.kind, &held.name)) {
        silent.remove(&object);
    }

    let is_in_part: BTreeSet<ObjectId> =
        wanted.iter().cloned().chain(steps.iter().map(|step| step.identity.id())).collect();
    let is_concerned = |warning: &Warning| !warning.objects.is_disjoint(&is_in_part);
    let unobserved =
        whole.unobserved.iter().filter(|one| concerns(one, wanted, &steps, &held, specs)).cloned().collect();

    let drift = whole.drift.iter().filter(|drift| is_wanted(drift.kind, &drift.name)).cloned().collect();
    let plan = Plan {
        owner: whole.owner.clone(),
        revision: whole.revision.clone(),
        awaiting: awaiting_of(whole, &steps, &held),
        steps,
        held,
        drift,
        warnings: whole.warnings.iter().filter(|warning| is_concerned(warning)).cloned().collect(),
        unobserved,
        used: whole.used.clone(),
        too_much: whole.too_much.clone(),
        doubted: whole.doubted.clone(),
        unsettled: whole.unsettled,
        to_inspect: whole.to_inspect.clone(),
    };
    Selected { other_steps: whole.steps.len() - plan.steps.len(), other_held, silent, plan }
}

/// Whether a backend that was not observed concerns a part: it has a step, a hold or a selected object there, or a hold because of it.
fn concerns(
    unobserved: &Unobserved,
    wanted: &BTreeSet<ObjectId>,
    steps: &[Step],
    held: &[Held],
    specs: &Specs,
) -> bool {
    let backend = Some(&unobserved.backend);
    let declared_on = |ObjectId { kind, name }: &ObjectId| match kind {
        Kind::Volume => specs.volumes.get(name).map(|volume| &volume.backend),
        Kind::Snapshot => specs.volumes.get(&specs.snapshots.get(name)?.volume).map(|volume| &volume.backend),
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => None,
    };
    steps.iter().any(|step| step.backend() == backend)
        || held.iter().any(|held| held.backend() == backend || held.message.ends_with(&unobserved.message))
        || wanted.iter().any(|object| declared_on(object) == backend)
}

/// Returns, for each step, the removal of an unselected object that prevents it: the step needs the place of that object, or waits for a
/// step that does. A removal is not prevented: it includes the removals of its dependents.
fn prevented_by<'p>(steps: &'p [Step], is_of_wanted: &[bool]) -> Vec<Option<&'p Step>> {
    let mut prevented_by: Vec<Option<&Step>> = Vec::with_capacity(steps.len());
    for step in steps {
        let unselected = |before: &&usize| steps[**before].is_removal() && !is_of_wanted[**before];
        let first = step.after.iter().find(unselected).filter(|_| !step.is_removal());
        let removal = first.map(|before| &steps[*before]);
        prevented_by.push(removal.or_else(|| step.after.iter().find_map(|before| prevented_by[*before])));
    }
    prevented_by
}

/// Returns, for each step, whether it is part of the selection: it is on a selected object and not prevented, or such a step waits for
/// it.
fn needed(steps: &[Step], is_of_wanted: &[bool], prevented_by: &[Option<&Step>]) -> Vec<bool> {
    let around = AroundSteps::of(steps);
    let mut needed: Vec<bool> =
        is_of_wanted.iter().zip(prevented_by).map(|(wanted, prevented)| *wanted && prevented.is_none()).collect();
    loop {
        // Backwards: a step comes after those it waits for.
        for (index, step) in steps.iter().enumerate().rev() {
            if needed[index] {
                step.after.iter().for_each(|before| needed[*before] = true);
            }
        }
        // What is changed for a step is changed back with it.
        let back: Vec<usize> = around
            .backs(|index| needed[index])
            .filter(|back| !needed[*back] && prevented_by[*back].is_none())
            .collect();
        if back.is_empty() {
            break;
        }
        back.into_iter().for_each(|back| needed[back] = true);
    }
    around.leave_out(needed)
}

/// The steps that are made only around another: of an object that is changed before it, and changed back when it is over. (An export is
/// closed for a restore, and opened again.)
struct AroundSteps<'s> {
    steps: &'s [Step],
    /// The other step, one that it must wait for, and one of the same object that waits for its completion.
    pairs: Vec<(usize, usize, usize)>,
}

impl<'s> AroundSteps<'s> {
    fn of(steps: &'s [Step]) -> Self {
        let mut pairs = Vec::new();
        for (back, step) in steps.iter().enumerate() {
            for index in &step.after_completion {
                let before =
                    steps[*index].after.iter().filter(|before| steps[**before].identity.uid == step.identity.uid);
                pairs.extend(before.map(|before| (*index, *before, back)));
            }
        }
        Self { steps, pairs }
    }

    /// Returns the steps that change back what was changed for some steps.
    fn backs(&self, is_of: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
        self.pairs.iter().filter(move |(index, ..)| is_of(*index)).map(|(.., back)| *back)
    }

    /// Leaves out what is made only around steps that are left out, what would not be changed back, and everything that waits for
    /// something left out.
    fn leave_out(&self, mut is_kept: Vec<bool>) -> Vec<bool> {
        loop {
            // A step comes after those it waits for.
            for (index, step) in self.steps.iter().enumerate() {
                is_kept[index] = is_kept[index] && step.after.iter().all(|before| is_kept[*before]);
            }
            let is_needed = |before: usize, back: usize| {
                let mut others = self.steps.iter().enumerate().filter(|(other, _)| *other != back && is_kept[*other]);
                others.any(|(_, step)| step.after.contains(&before))
            };
            let is_out = |(index, before, back): &&(usize, usize, usize)| match (is_kept[*before], is_kept[*back]) {
                (true, true) => !is_kept[*index] && !is_needed(*before, *back),
                (true, false) | (false, true) => true,
                (false, false) => false,
            };
            let out = self.pairs.iter().filter(is_out);
            let out: Vec<usize> = out.flat_map(|(_, before, back)| [*before, *back]).collect();
            if out.is_empty() {
                return is_kept;
            }
            out.into_iter().for_each(|index| is_kept[index] = false);
        }
    }
}

/// Returns the kept steps; their `after` refers to each other.
fn renumbered(steps: &[Step], is_kept: &[bool]) -> Vec<Step> {
    let kept = (0..steps.len()).filter(|index| is_kept[*index]);
    let number: BTreeMap<usize, usize> = kept.enumerate().map(|(new, old)| (old, new)).collect();
    let renumbered = |old: &usize| {
        let step = &steps[*old];
        let kept = |indexes: &[usize]| indexes.iter().filter_map(|before| number.get(before).copied()).collect();
        Step { after: kept(&step.after), after_completion: kept(&step.after_completion), ..step.clone() }
    };
    number.keys().map(renumbered).collect()
}

/// Returns the set that waits for approval in the whole plan, if a part of it is selected: an approval covers all of a set or nothing.
fn awaiting_of(whole: &Plan, steps: &[Step], held: &[Held]) -> Option<ApprovalSet> {
    let set = whole.awaiting.as_ref()?;
    let covers_step = || steps.iter().any(|step| set.covers(&step.approval_item()));
    let covers_held = || held.iter().any(|held| held.uid.is_some_and(|uid| set.names(uid)));
    (covers_step() || covers_held()).then(|| set.clone())
}

/// Returns, for each step, whether it is begun if the steps of the `postponed` objects are not.
pub fn begun_without(steps: &[Step], postponed: &BTreeSet<ObjectId>) -> Vec<bool> {
    let is_kept = steps.iter().map(|step| !postponed.contains(&step.identity.id()));
    AroundSteps::of(steps).leave_out(is_kept.collect())
}

/// Returns the plan without the steps of the `postponed` objects and the steps that wait for them; `None` if there are no such steps.
/// Everything else is as in the whole plan.
pub fn without(whole: &Plan, postponed: &BTreeSet<ObjectId>) -> Option<Plan> {
    if postponed.is_empty() {
        return None;
    }
    let is_kept = begun_without(&whole.steps, postponed);
    is_kept.contains(&false).then(|| Plan { steps: renumbered(&whole.steps, &is_kept), ..whole.clone() })
}

/// Returns the hold of a selected step that waits for the removal of an object which was not selected.
fn waits_for_removal(step: &Step, gone: &Step) -> Held {
    let what = gone.identity.id();
    Held {
        kind: step.identity.kind,
        name: step.identity.name.clone(),
        action: step.action.verb(),
        endpoint: Some(step.endpoint.clone()),
        uid: Some(step.identity.uid),
        reason: HeldReason::DependencyHeld,
        message: format!("{what} must be removed first and was not selected"),
        fix: format!("`kiln apply {} {what}`, or apply everything with `kiln apply`", step.identity.id()),
        in_trash: matches!(step.action, Action::Undelete { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, volume};
    use crate::model::{Reason, Stack, Tags};

    fn step(text: &str, after: &[usize]) -> Step {
        let adopt = Action::Adopt { tags: Tags::default(), n: 0 };
        Step { after: after.to_vec(), ..Step::new(name("fast"), volume(text), adopt, Reason::AdoptRequested) }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        let held = Held {
            kind: Kind::Volume,
            name: name("kept"),
            action: crate::model::Verb::Remove,
            endpoint: None,
            uid: None,
            reason: HeldReason::Protected,
            message: String::new(),
            fix: String::new(),
            in_trash: false,
        };
        Plan { held: vec![held], ..Plan::of("prod".parse().unwrap(), String::new(), steps) }
    }

    fn select_of(whole: &Plan, wanted: &BTreeSet<ObjectId>) -> Selected {
        select(whole, wanted, &Specs::of(Stack::unnamed()))
    }

    fn wanted(names: &[&str]) -> BTreeSet<ObjectId> {
        names.iter().map(|text| ObjectId::new(Kind::Volume, &name(text))).collect()
    }

    #[test]
    fn selected_objects_bring_their_dependencies_only() {
        let whole = plan(vec![step("a", &[]), step("b", &[]), step("c", &[1]), step("d", &[2]), step("e", &[0, 3])]);
        let part = select_of(&whole, &wanted(&["d"]));
        let kept: Vec<(&str, &[usize])> =
            part.plan.steps.iter().map(|s| (s.identity.name.as_str(), s.after.as_slice())).collect();
        assert_eq!(kept, [("b", &[][..]), ("c", &[0][..]), ("d", &[1][..])]);
        assert_eq!((part.other_steps, part.other_held), (2, 1));
        assert_eq!(part.plan.held, []);
        assert!(part.silent.is_empty());
    }

    /// An export `x` is closed for the restore of `v`, and opened again when that is over; `n` is opened then for the first time.
    fn restored_behind_an_export() -> Plan {
        let back = |volume: &str, after: &[usize]| Step { after_completion: vec![1], ..step(volume, after) };
        plan(vec![step("x", &[]), step("v", &[0]), back("x", &[0]), back("n", &[]), step("o", &[])])
    }

    /// Each step's object, what it needs, and whose completion it waits for.
    fn shown(steps: &[Step]) -> Vec<(&str, &[usize], &[usize])> {
        steps.iter().map(|s| (s.identity.name.as_str(), s.after.as_slice(), s.after_completion.as_slice())).collect()
    }

    #[test]
    fn what_is_changed_for_a_selected_step_is_changed_back_with_it() {
        let part = select_of(&restored_behind_an_export(), &wanted(&["v"]));
        assert_eq!(shown(&part.plan.steps), [("x", &[][..], &[][..]), ("v", &[0], &[]), ("x", &[0], &[1])]);
    }

    #[test]
    fn what_is_done_only_around_an_unselected_step_is_left_out_with_it() {
        let whole = restored_behind_an_export();
        let kept = |name| select_of(&whole, &wanted(&[name])).plan.steps;
        assert_eq!(shown(&kept("x")), []);
        // What was not begun is over.
        assert_eq!(shown(&kept("n")), [("n", &[][..], &[][..])]);
    }

    #[test]
    fn what_is_done_only_around_a_postponed_step_is_postponed_with_it() {
        let whole = restored_behind_an_export();
        let begun = |name| without(&whole, &wanted(&[name])).unwrap().steps;
        assert_eq!(shown(&begun("v")), [("n", &[][..], &[][..]), ("o", &[], &[])]);
        assert_eq!(shown(&begun("x")), [("n", &[][..], &[][..]), ("o", &[], &[])]);
        assert_eq!(shown(&begun("n")).len(), 4);
    }

    #[test]
    fn what_is_done_around_two_steps_is_done_around_the_selected_one() {
        let back = Step { after_completion: vec![1, 2], ..step("x", &[0]) };
        let whole = plan(vec![step("x", &[]), step("v", &[0]), step("w", &[0]), back]);
        let around_w = [("x", &[][..], &[][..]), ("w", &[0], &[]), ("x", &[0], &[1])];
        assert_eq!(shown(&select_of(&whole, &wanted(&["w"])).plan.steps), around_w);
        assert_eq!(shown(&without(&whole, &wanted(&["v"])).unwrap().steps), around_w);
    }

    #[test]
    fn what_would_not_be_changed_back_is_not_changed() {
        let back = Step { after_completion: vec![1], ..step("x", &[0, 2]) };
        let whole = plan(vec![step("x", &[]), step("v", &[0]), step("z", &[]), back]);
        assert_eq!(shown(&without(&whole, &wanted(&["z"])).unwrap().steps), []);
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
        let part = select_of(&plan(vec![step("a", &[])]), &wanted(&["a", "kept", "other"]));
        assert_eq!(part.silent, wanted(&["other"]));
        assert_eq!((part.plan.steps.len(), part.plan.held.len()), (1, 1));
        assert_eq!((part.other_steps, part.other_held), (0, 0));
    }

    #[test]
    fn warnings_and_backends_that_do_not_concern_the_selection_are_left_out() {
        let warning = |code: &str, objects: &[&str]| Warning {
            code: code.to_owned(),
            message: String::new(),
            objects: wanted(objects),
        };
        let away = |backend: &str| Unobserved { backend: name(backend), message: format!("{backend} is away") };
        let hidden = Held {
            name: name("hidden"),
            message: "it may be on backend slow: slow is away".to_owned(),
            ..plan(Vec::new()).held.remove(0)
        };
        let whole = Plan {
            held: vec![hidden],
            warnings: vec![warning("All", &[]), warning("OfA", &["a", "x"]), warning("OfB", &["b"])],
            unobserved: vec![away("fast"), away("slow")],
            ..plan(vec![step("a", &[]), step("b", &[]), step("c", &[0])])
        };
        let shown = |name: &str| {
            let Plan { warnings, unobserved, .. } = select_of(&whole, &wanted(&[name])).plan;
            let codes: Vec<String> = warnings.into_iter().map(|warning| warning.code).collect();
            (codes.join(" "), unobserved.iter().map(|one| one.backend.as_str()).collect::<Vec<_>>().join(" "))
        };
        for (name, warnings, unobserved) in [
            ("a", "OfA", "fast"),
            ("b", "OfB", "fast"),
            ("c", "OfA", "fast"),
            ("hidden", "", "slow"),
            ("other", "", ""),
        ] {
            assert_eq!(shown(name), (warnings.to_owned(), unobserved.to_owned()), "{name}");
        }
    }
}
