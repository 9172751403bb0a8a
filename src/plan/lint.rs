//! Checks a finished plan against the planner's guarantees, by independent rules: a plan that breaks one must not run.

use std::collections::{HashMap, HashSet};

use crate::model::{
    Action, Address, Endpoint, Identity, Kind, Name, NativeName, Object, Place, Reservation, Risk, SourceSpec, Step,
    Verb, VolumeSettings, Withdrawal, Written,
};

use super::backend_state::BackendState;
use super::gate::suspension_of;
use super::inputs::{Inputs, Irreversible};
use super::types::Plan;
use super::usable::Usable;

/// Returns every breach, in one sentence each; none if the plan may run.
pub fn lint(plan: &Plan, inputs: &Inputs<'_>) -> Vec<String> {
    let mut breaches = Vec::new();
    let backends = inputs.backends();
    let mut created = HashSet::new();
    let mut left = HashSet::new();
    let mut indexes: HashMap<&Name, HashMap<(Address, Place), &Object>> = HashMap::new();
    let mut inside: HashMap<(&Name, &NativeName), Vec<&Object>> = HashMap::new();
    for state in backends.values() {
        if let BackendState::Usable(usable) = state {
            for object in usable.observed.objects.iter().filter(|object| object.place != Place::Temporary) {
                let volume = object.parent_volume.as_ref().map(|volume| (usable.name, volume));
                volume.into_iter().for_each(|volume| inside.entry(volume).or_default().push(object));
            }
        }
    }
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
            .or_insert_with(|| usable.observed.objects.iter().map(|o| ((o.address(), o.place), o)).collect());
        let observed = |at: Address, place| objects.get(&(before_renames(plan, step, at), place)).copied();
        let object = step.expect.place.and_then(|place| observed(step.address_before(), place));
        if object.is_some_and(|object| object.copy_of.is_some()) {
            breach("its object is a copy of one on another pool");
        }
        let with = |object: &&Object| step.action.with().iter().any(|inner| Some(inner.identity.uid) == object.uid());
        let along = usable.observed.objects.iter().filter(|_| !step.action.with().is_empty()).filter(with);
        let unfinished = step.address_of_unfinished().and_then(|at| observed(at, Place::Temporary));
        if object.into_iter().chain(unfinished).chain(along).any(|object| object.blocker.is_some()) {
            breach("its object is blocked");
        }
        let there = object.and_then(|object| object.id.as_ref());
        if there.is_some() && step.expect.id.as_ref().is_some_and(|expected| Some(expected) != there) {
            breach("it expects another object than the one observed");
        }
        let is_nested = usable.capabilities.nests_snapshots() && step.identity.kind == Kind::Snapshot;
        if is_nested != step.parent_volume.is_some() {
            breach("its address is not one of its backend");
        }
        if let Some((_, source)) = step.action.reads()
            && !created.contains(&source.uid)
            && observed(source.address(), Place::Live).is_some_and(|object| object.uid() != Some(source.uid))
        {
            breach("it reads another object than the one observed");
        }
        let names = [Some(&step.identity), object.and_then(|object| object.identity.as_ref())];
        let suspended = |id: &Identity| suspension_of(inputs.suspended, id.kind, &id.name).is_some();
        if names.into_iter().flatten().any(suspended) {
            breach("its object is suspended");
        }
        let frees = |gone: &Step| {
            gone.action == Action::Destroy && gone.endpoint == step.endpoint && gone.address() == step.address()
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
        let at = &before_renames(plan, step, step.address());
        let around = Around { objects, at, freed, approved, is_replaced };
        check_restores(usable, step, object, objects, &mut breach);
        check_action(inputs, usable, step, object, &around, &mut breach);
        let inner = object.and_then(|object| inside.get(&(usable.name, &object.native)));
        check_inside(inputs, usable, plan, step, inner.map_or(&[], Vec::as_slice), &mut breach);
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

/// Returns an address as it is before the renames that a step waits for: those of a volume change the addresses inside of it.
fn before_renames(plan: &Plan, step: &Step, at: Address) -> Address {
    let renames = step.after.iter().filter_map(|before| plan.steps.get(*before));
    let of_volume = |other: &Step| {
        let renamed = at.parent_volume.is_some() && Some(&other.native) == at.parent_volume.as_ref();
        (renamed && matches!(other.action, Action::Rename { .. })).then(|| other.address_before().native)
    };
    match renames.into_iter().find_map(of_volume) {
        Some(from) => Address { parent_volume: Some(from), ..at },
        None => at,
    }
}

/// Checks that nothing is done beside a restore that is not complete.
fn check_restores(
    usable: &Usable<'_>,
    step: &Step,
    object: Option<&Object>,
    objects: &HashMap<(Address, Place), &Object>,
    breach: &mut dyn FnMut(&str),
) {
    let is_volume = |object: &Object| object.place == Place::Live && object.kind() == Kind::Volume;
    let is_ours = |object: &Object| object.identity.as_ref().is_some_and(|id| id.owner == step.identity.owner);
    let begun = |object: &Object| object.tags.restoring.clone().filter(|_| is_volume(object) && is_ours(object));
    let is_restore = matches!(step.action, Action::Restore { .. });
    match object.and_then(begun) {
        Some(begun) if step.action.completes(&begun) => {}
        // Another one replaces it when its snapshot is gone.
        Some(begun) if is_restore && step.risk == Risk::Irreversible => {
            // What was left unfinished under its name has nothing of its content.
            let is_whole = |object: &Object| object.place != Place::Temporary && object.uid().is_some();
            let is_there = |object: &Object| is_whole(object) && object.uid() == begun.snapshot;
            let may_exist = |uid| !usable.proves_gone(Kind::Snapshot, uid, None);
            if objects.values().any(|object| is_there(object)) || begun.snapshot.is_some_and(may_exist) {
                breach("it replaces a restore that can be completed");
            }
        }
        Some(_) if object.is_some_and(|object| object.unfinished) => {}
        Some(_) => breach("the restore of its object is not complete"),
        None if is_restore && step.risk != Risk::Irreversible => breach("it begins a restore as if it completed one"),
        None => {}
    }
    let copied = step.action.reads().filter(|(kind, _)| *kind == Kind::Volume);
    if copied.is_some_and(|(_, read)| {
        objects.get(&(read.address(), Place::Live)).is_some_and(|there| begun(there).is_some())
    }) {
        breach("it copies a volume whose restore is not complete");
    }
    let is_retag = matches!(&step.action, Action::SetTags { tags } if !tags.retained);
    // The completion waits for these.
    let completes_rename =
        matches!(step.action, Action::Rename { .. }) && object.is_some_and(|object| object.unfinished);
    let is_allowed = is_retag || completes_rename || matches!(step.action, Action::Undelete { .. });
    let needs_it = |object: &&Object| begun(object).is_some_and(|begun| begun.snapshot == Some(step.identity.uid));
    if step.identity.kind == Kind::Snapshot && !is_allowed && objects.values().any(needs_it) {
        breach("a restore from its object is not complete");
    }
}

/// The context that a step is checked in.
struct Around<'a> {
    /// The observation of its backend.
    objects: &'a HashMap<(Address, Place), &'a Object>,
    /// Its address, before the rename of its volume if it waits for one.
    at: &'a Address,
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
    let Around { objects, at, freed, approved, is_replaced } = *around;
    let ours = |object: &Object| object.identity.as_ref().is_some_and(|id| id.uid == step.identity.uid);
    let identity = &step.identity;
    let is_doubted = || match inputs.reading.withdraws(identity.kind, &identity.name, usable.ledger, identity.uid) {
        Withdrawal::Doubted(doubt) => !(approved && doubt.may_be_approved()),
        Withdrawal::NotCovered => true,
        Withdrawal::Declared | Withdrawal::Withdrawn => false,
    };
    let is_gone = || inputs.reading.doubts_destruction(usable.ledger, identity.uid).is_some();
    let unprotection_in_doubt = || inputs.reading.broken || inputs.reading.is_other_source(usable.ledger).is_some();
    let shown = usable.capabilities.client_visibility;
    let is_unseen = |object: &Object| object.may_have_unseen_clients(shown);
    let unattended = inputs.irreversible == Irreversible::HoldRestores;
    let copied = step.action.reads().filter(|(kind, _)| *kind == Kind::Volume);
    // The source, or the object that it is adopted from; not one that leaves its name to it.
    let copied = copied.and_then(|(_, volume)| {
        objects.get(&(volume.address(), Place::Live)).filter(|there| there.uid().is_none_or(|uid| uid == volume.uid))
    });
    if copied.is_some_and(|volume| is_unseen(volume))
        && !usable.capabilities.copies_open_volumes()
        && !quiesced(inputs, step)
    {
        breach("it copies a volume whose clients cannot be seen");
    }
    let can = usable.capabilities.settings;
    let exceeds =
        |settings: &VolumeSettings| (settings.qos.is_some() && !can.qos) || (settings.encrypted && !can.encryption);
    match &step.action {
        Action::Create { settings, .. } if !is_as_declared(inputs, step, settings) => {
            breach("it creates a volume with other settings than its document declares");
        }
        Action::Create { settings, .. } if exceeds(settings) => breach("its backend does not support its settings"),
        // The encryption that it has stays.
        Action::Configure { settings } if settings.qos.is_some() && !can.qos => {
            breach("its backend does not support its settings");
        }
        Action::Configure { settings } => match object {
            // One that this plan adopts has no identity yet.
            Some(object) if object.identity.is_some() && !ours(object) => breach("its object is not the one observed"),
            Some(object) if object.settings.encrypted != settings.encrypted => breach("it changes the encryption"),
            _ => {}
        },
        Action::Reserve if usable.capabilities.reservation != Reservation::Changeable => {
            breach("its backend cannot reserve space");
        }
        Action::Reserve => match object {
            Some(object) if object.identity.is_some() && !ours(object) => breach("its object is not the one observed"),
            _ => {}
        },
        Action::Create { size, origin, .. } => {
            let borne = |place| objects.contains_key(&(step.address(), place));
            if (borne(Place::Live) && !freed) || borne(Place::Trash) {
                breach("its native name is taken");
            }
            if origin.as_ref().is_some_and(|origin| origin.size().is_none_or(|source| source > *size)) {
                breach("it is smaller than its source, or the size of its source is unknown");
            }
            if !usable.observed.proves_absence(step.identity.kind, at) {
                breach("its absence is not proven");
            }
        }
        Action::Snapshot { .. } => {
            if objects.contains_key(&(step.address(), Place::Live)) {
                breach("its native name is taken");
            }
            if !usable.observed.proves_absence(step.identity.kind, at) {
                breach("its absence is not proven");
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
            Some(object) if !object.needed_by.is_empty() => breach("another object needs its object"),
            Some(_) if !usable.shows_all => breach("objects that depend on its object may not be listed"),
            Some(_) if is_doubted() => breach("it removes an object that may still be declared"),
            Some(_) if step.action == Action::Destroy && !approved && !is_replaced && is_gone() => {
                breach("it destroys an object whose directory may come back");
            }
            Some(object) if step.action == Action::Destroy && unattended && !approved && is_unseen(object) => {
                breach("it destroys an object whose clients cannot be seen, without an approval");
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
            if step.expect.tags.as_ref().is_some_and(|tags| tags.protected && tags.restoring.is_none()) {
                breach("its object is protected");
            }
        }
        Action::SetTags { tags } if tags.retained && declared(inputs, step) => breach("it releases a declared object"),
        Action::SetTags { tags } if tags.retained && is_doubted() => {
            breach("it releases an object that may still be declared");
        }
        Action::SetTags { tags } | Action::Rename { tags, .. } | Action::Undelete { tags, .. } => match object {
            Some(object) if !ours(object) => breach("its object is not the one observed"),
            Some(object) if object.tags.protected && !tags.protected && unprotection_in_doubt() => {
                breach("it lifts protection while a manifest is invalid, or by other manifests");
            }
            Some(object) if comes_under_a_name(step, object) && !usable.observed.proves_absence(identity.kind, at) => {
                breach("its new name is not proven free");
            }
            _ => {}
        },
        Action::Detach => match object {
            Some(object) if !ours(object) => breach("its object is not the one observed"),
            Some(object) if !object.needed_by.is_empty() => breach("another object needs its object"),
            _ => {}
        },
    }
}

/// Checks what a removal does to the snapshots inside of its volume, and that it is the same as it says.
fn check_inside(
    inputs: &Inputs<'_>,
    usable: &Usable<'_>,
    plan: &Plan,
    step: &Step,
    inside: &[&Object],
    breach: &mut dyn FnMut(&str),
) {
    let along = |object: &Object| step.action.with().iter().any(|inner| Some(inner.identity.uid) == object.uid());
    if step.is_removal() && step.identity.kind == Kind::Volume {
        let before = |object: &Object| {
            let earlier = step.after.iter().filter_map(|before| plan.steps.get(*before));
            earlier.filter(|earlier| earlier.is_removal()).any(|earlier| Some(earlier.identity.uid) == object.uid())
        };
        let live = inside.iter().filter(|object| object.place == Place::Live);
        if live.into_iter().any(|object| !along(object) && !before(object)) {
            breach("it removes a snapshot inside of its volume that it does not name");
        }
    }
    for inner in step.action.with() {
        let Identity { kind, name, uid, .. } = &inner.identity;
        let Some(object) = inside.iter().find(|object| object.uid() == Some(*uid)) else {
            breach("a snapshot that it names is not inside of its volume");
            continue;
        };
        if inner.identity.owner != inputs.reading.specs.stack.owner {
            breach("it moves a snapshot of another owner");
        }
        if suspension_of(inputs.suspended, *kind, name).is_some() {
            breach("it moves a suspended snapshot");
        }
        if !step.is_removal() {
            continue;
        }
        if object.tags.protected || !object.needed_by.is_empty() {
            breach("it removes a snapshot that is protected or needed");
        }
        let approved = plan.used.iter().any(|used| used.covers(&step.approval_item()));
        match inputs.reading.withdraws(*kind, name, usable.ledger, *uid) {
            Withdrawal::Withdrawn => {}
            Withdrawal::Doubted(doubt) if approved && doubt.may_be_approved() => {}
            Withdrawal::Doubted(_) | Withdrawal::NotCovered | Withdrawal::Declared => {
                breach("it removes a snapshot that may still be declared");
            }
        }
    }
}

/// Whether the document of a copy says that no client writes to the volume.
fn quiesced(inputs: &Inputs<'_>, step: &Step) -> bool {
    let (specs, name) = (&inputs.reading.specs, &step.identity.name);
    let source = || specs.volumes.get(name).and_then(|volume| volume.source.as_deref());
    match step.identity.kind {
        Kind::Snapshot => specs.snapshots.get(name).is_some_and(|snapshot| snapshot.quiesced),
        Kind::Volume | Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => {
            matches!(source(), Some(SourceSpec::Quiesced(_)))
        }
    }
}

/// Whether a step gives an existing object a name under which it is not in use yet.
fn comes_under_a_name(step: &Step, object: &Object) -> bool {
    let renamed = object.identity.as_ref().is_some_and(|id| id.name != step.identity.name);
    object.place == Place::Trash || (matches!(step.action, Action::Rename { .. }) && renamed)
}

fn is_as_declared(inputs: &Inputs<'_>, step: &Step, settings: &VolumeSettings) -> bool {
    let declared = inputs.reading.specs.volumes.get(&step.identity.name).map(VolumeSettings::of);
    declared.is_none_or(|declared| declared == *settings)
}

fn is_grown_back(inputs: &Inputs<'_>, usable: &Usable<'_>, step: &Step) -> bool {
    let entry = usable.ledger.and_then(|ledger| ledger.complete.get(&step.identity.uid));
    let declared = inputs.reading.specs.volumes.get(&step.identity.name).map(|spec| *spec.size);
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
    for step in plan.steps.iter().filter(brings) {
        let along = step.action.with().iter().map(|inner| &inner.identity);
        accounted.extend(along.chain([&step.identity]).map(|identity| (identity.kind, &identity.name)));
    }
    for state in backends.values() {
        if let BackendState::Usable(usable) = state {
            let live = usable.observed.objects.iter().filter(|object| object.place == Place::Live);
            let ours =
                live.filter_map(|o| o.identity.as_ref()).filter(|id| id.owner == inputs.reading.specs.stack.owner);
            accounted.extend(ours.map(|id| (id.kind, &id.name)));
        }
    }
    let all = inputs.reading.specs.objects().map(|(kind, meta)| (kind, &meta.name));
    all.filter(|key| !accounted.contains(key))
        .map(|(kind, name)| format!("{kind} {name} does not exist, is not planned and is not held"))
        .collect()
}
