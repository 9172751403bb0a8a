//! Checks a finished plan against the planner's guarantees, by independent rules: a plan that breaks one must not run.

use std::collections::{HashMap, HashSet};

use crate::model::{
    Action, Endpoint, Identity, Kind, Name, NativeName, Object, Place, Step, Verb, Withdrawal, Written,
};

use super::backend_state::BackendState;
use super::gate::suspension_of;
use super::inputs::Inputs;
use super::types::Plan;
use super::usable::Usable;

/// Returns every breach, in one sentence each; none if the plan may run.
pub fn lint(plan: &Plan, inputs: &Inputs<'_>) -> Vec<String> {
    let mut breaches = Vec::new();
    let backends = inputs.backends();
    let mut created = HashSet::new();
    let mut left = HashSet::new();
    let mut indexes: HashMap<&Name, HashMap<(&NativeName, Place), &Object>> = HashMap::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let mut breach =
            |what: &str| breaches.push(format!("step {index}, {} {}: {what}", step.action.verb(), step.native));
        let Some((backend, BackendState::Usable(usable))) =
            step.backend().and_then(|name| backends.get_key_value(name))
        else {
            breach(match step.endpoint {
                Endpoint::Backend(_) => "its backend is not usable",
                Endpoint::Target(_) => "its target is not usable",
            });
            continue;
        };
        if step.waits_for().any(|needed| needed >= index) {
            breach("it waits for a later step");
        }
        if usable.locked_by.is_some() {
            breach("another process is writing to its backend");
        }
        if step.identity.owner != inputs.reading.specs.stack.owner {
            breach("its object belongs to another owner");
        }
        if step.action.is_first() && !created.insert(step.identity.uid) {
            breach("its object is created twice");
        }
        if step.is_removal() && !left.insert(step.identity.uid) {
            breach("its object is removed twice");
        }
        let objects = indexes
            .entry(backend)
            .or_insert_with(|| usable.observed.objects.iter().map(|o| ((&o.native, o.place), o)).collect());
        let object = step.expect.place.and_then(|place| objects.get(&(step.native_before(), place)).copied());
        let names = [Some(&step.identity), object.and_then(|object| object.identity.as_ref())];
        let suspended = |id: &Identity| suspension_of(inputs.suspended, id.kind, &id.name).is_some();
        if names.into_iter().flatten().any(suspended) {
            breach("its object is suspended");
        }
        let frees = |gone: &Step| {
            gone.action == Action::Destroy && gone.endpoint == step.endpoint && gone.native == step.native
        };
        let freed = step.after.iter().filter_map(|before| plan.steps.get(*before)).any(frees);
        let approved = plan.used.iter().any(|used| used.covers(&step.approval_item()));
        let replaces_it = |other: &Step| {
            matches!(other.action, Action::Rename { .. })
                && other.after.contains(&index)
                && (other.endpoint == step.endpoint && other.identity.kind == step.identity.kind)
                && other.identity.name == step.identity.name
        };
        let is_replaced = step.expect.unwritten && plan.steps.iter().any(replaces_it);
        let around = Around { objects, freed, approved, is_replaced };
        check_action(inputs, usable, step, object, &around, &mut breach);
        if matches!(step.action, Action::Grow { .. }) && is_grown_back(inputs, usable, step) && !approved {
            breach("it grows an object whose smaller size was accepted");
        }
    }
    if created.intersection(&left).next().is_some() {
        breaches.push("an object is created and removed in one plan".to_owned());
    }
    breaches.extend(forgotten(plan, inputs, &backends));
    breaches
}

/// The context that a step is checked in.
struct Around<'a> {
    /// The observation of its backend.
    objects: &'a HashMap<(&'a NativeName, Place), &'a Object>,
    /// Whether the object that has its native name is destroyed before.
    freed: bool,
    /// Whether it is approved.
    approved: bool,
    /// Whether it removes an unwritten object whose name another object gets by a rename.
    is_replaced: bool,
}

fn check_action(
    inputs: &Inputs<'_>,
    usable: &Usable<'_>,
    step: &Step,
    object: Option<&Object>,
    around: &Around<'_>,
    breach: &mut dyn FnMut(&str),
) {
    let Around { objects, freed, approved, is_replaced } = *around;
    let ours = |object: &Object| object.identity.as_ref().is_some_and(|id| id.uid == step.identity.uid);
    let identity = &step.identity;
    let is_doubted = || match inputs.reading.withdraws(identity.kind, &identity.name, usable.ledger, identity.uid) {
        Withdrawal::Doubted(doubt) => !(approved && doubt.may_be_approved()),
        Withdrawal::NotCovered => true,
        Withdrawal::Declared | Withdrawal::Withdrawn => false,
    };
    let is_gone = || inputs.reading.doubts_destruction(usable.ledger, identity.uid).is_some();
    let unprotection_in_doubt = || inputs.reading.broken || inputs.reading.is_other_source(usable.ledger).is_some();
    match &step.action {
        Action::Create { size, origin, .. } => {
            let borne = |place| objects.contains_key(&(&step.native, place));
            if (borne(Place::Live) && !freed) || borne(Place::Trash) {
                breach("its native name is taken");
            }
            if origin.as_ref().is_some_and(|origin| origin.size().is_none_or(|source| source > *size)) {
                breach("it is smaller than its source, or the size of its source is unknown");
            }
            if !usable.observed.listed.proves_absence_of(step.identity.kind) {
                breach("its absence is not proven");
            }
        }
        Action::Snapshot { .. } => {
            if objects.contains_key(&(&step.native, Place::Live)) {
                breach("its native name is taken");
            }
        }
        Action::Adopt { .. } => match object {
            Some(object) if object.identity.is_none() => {}
            _ => breach("it adopts an object that does not exist or has an owner"),
        },
        Action::Purge | Action::Sweep => breach("it is never part of a plan"),
        Action::Grow { to } => match step.expect.size {
            Some(size) if size < *to => {}
            _ => breach("it does not grow its object"),
        },
        Action::Trash { .. } | Action::Destroy => match object {
            Some(object) if object.tags.protected => breach("its object is protected"),
            Some(object) if !ours(object) => breach("its object is not the one observed"),
            Some(_) if is_doubted() => breach("it removes an object that may still be declared"),
            Some(_) if step.action == Action::Destroy && !approved && !is_replaced && is_gone() => {
                breach("it destroys an object whose directory may come back");
            }
            Some(_) if is_replaced && (inputs.reading.broken || inputs.reading.unconfirmed) => {
                breach("it removes an object by manifests that are in doubt");
            }
            Some(object) if is_replaced && object.written == Written::Yes => breach("its object was written to"),
            Some(_) if declared(inputs, step) && !is_replaced => breach("its object is declared"),
            Some(_) => {}
            None => breach("its object was not observed"),
        },
        Action::Restore { .. } => {
            if step.expect.tags.as_ref().is_some_and(|tags| tags.protected) {
                breach("its object is protected");
            }
        }
        Action::SetTags { tags } if tags.retained && declared(inputs, step) => breach("it releases a declared object"),
        Action::SetTags { tags } if tags.retained && is_doubted() => {
            breach("it releases an object that may still be declared");
        }
        Action::SetTags { tags } | Action::Rename { tags, .. } | Action::Undelete { tags } => match object {
            Some(object) if !ours(object) => breach("its object is not the one observed"),
            Some(object) if object.tags.protected && !tags.protected && unprotection_in_doubt() => {
                breach("it lifts protection while a manifest is invalid, or by other manifests");
            }
            Some(object)
                if comes_under_a_name(step, object) && !usable.observed.listed.proves_absence_of(identity.kind) =>
            {
                breach("its new name is not proven free");
            }
            _ => {}
        },
        Action::Detach => match object {
            Some(object) if !ours(object) => breach("its object is not the one observed"),
            _ => {}
        },
    }
}

/// Whether a step gives an existing object a name under which it is not in use yet.
fn comes_under_a_name(step: &Step, object: &Object) -> bool {
    let renamed = object.identity.as_ref().is_some_and(|id| id.name != step.identity.name);
    object.place == Place::Trash || (matches!(step.action, Action::Rename { .. }) && renamed)
}

fn is_grown_back(inputs: &Inputs<'_>, usable: &Usable<'_>, step: &Step) -> bool {
    let entry = usable.ledger.and_then(|ledger| ledger.complete.get(&step.identity.uid));
    let declared = inputs.reading.specs.volumes.get(&step.identity.name).map(|spec| spec.size);
    entry.is_some_and(|entry| entry.accepted.is_some() && entry.accepted == declared)
}

fn declared(inputs: &Inputs<'_>, step: &Step) -> bool {
    inputs.reading.specs.declares(step.identity.kind, &step.identity.name)
}

/// Returns declared objects that do not exist, have no step and are not held.
fn forgotten(
    plan: &Plan,
    inputs: &Inputs<'_>,
    backends: &std::collections::BTreeMap<&Name, BackendState<'_>>,
) -> Vec<String> {
    let mut accounted: HashSet<(Kind, &Name)> = HashSet::new();
    accounted.extend(plan.held.iter().map(|held| (held.kind, &held.name)));
    let brings = |step: &&Step| matches!(step.action.verb(), Verb::Create | Verb::Adopt | Verb::Move | Verb::Update);
    accounted.extend(plan.steps.iter().filter(brings).map(|step| (step.identity.kind, &step.identity.name)));
    for state in backends.values() {
        if let BackendState::Usable(usable) = state {
            let live = usable.observed.objects.iter().filter(|object| object.place == Place::Live);
            let ours =
                live.filter_map(|o| o.identity.as_ref()).filter(|id| id.owner == inputs.reading.specs.stack.owner);
            accounted.extend(ours.map(|id| (id.kind, &id.name)));
        }
    }
    let volumes = inputs.reading.specs.volumes.keys().map(|name| (Kind::Volume, name));
    let all = volumes.chain(inputs.reading.specs.snapshots.keys().map(|name| (Kind::Snapshot, name)));
    all.filter(|key| !accounted.contains(key))
        .map(|(kind, name)| format!("{kind} {name} does not exist, is not planned and is not held"))
        .collect()
}
