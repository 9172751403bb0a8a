//! The world after a plan was executed in it: each action as it is documented, without the checks of a driver. The next plan for it
//! must be empty.

use std::sync::Arc;

use kiln::model::{
    Action, ApprovalSet, BackendRecord, Capacity, ImageObservation, Ledger, LedgerView, Object, ObjectRecord,
    ObjectRef, Origin, Place, PoolId, Provisioning, Removal, Resource, Step, Tags, Uid, Verb, VolumeSettings,
};
use kiln::plan::{Observation, Plan};

use super::Scene;

/// The scene in which every step of the plan was made and recorded.
pub(crate) fn applied(scene: &Scene, plan: &Plan) -> Scene {
    let mut after = scene.clone();
    let inputs = scene.inputs();
    for (backend, known) in inputs.judged.usable(inputs.reading, inputs.world, inputs.records) {
        let Some(Observation::Seen { capabilities, observed }) = after.world.get_mut(backend) else { continue };
        let steps: Vec<&Step> = plan.steps.iter().filter(|step| step.backend() == Some(backend)).collect();
        if steps.is_empty() {
            continue;
        }
        let stack = &scene.reading.specs.stack;
        let pool = observed.pool.get_or_insert_with(|| PoolId(backend.to_string())).clone();
        let first = || Ledger::new(pool.clone(), stack.owner.clone(), stack.id.clone());
        let mut ledger = known.cloned().unwrap_or_else(first);
        for step in steps {
            let taken = taken(step, scene, &observed.objects, capabilities.shares_blocks.is_some());
            make(step, &mut observed.objects, capabilities.clones_depend());
            make_inside(step, &mut observed.objects);
            let is_made = step.action.verb() == Verb::Create;
            let is_marked = |room: &Capacity| room.resource == Resource::Inodes && step.action.verb() == Verb::Adopt;
            for room in &mut observed.capacities {
                room.used += if room.resource == Resource::Data { taken } else { 0 };
                room.used += if is_made || is_marked(room) { room.per_object } else { 0 };
            }
            if let (Action::Create { .. } | Action::Snapshot { .. }, Some(new)) =
                (&step.action, observed.objects.iter_mut().find(|object| is(object, step)))
            {
                new.used = Some(taken);
            }
            enter(step, &mut ledger, &plan.used);
            let inner = step.action.with().iter().map(|inner| &inner.identity);
            for identity in inner.chain([&step.identity]) {
                after.records.objects.remove(&identity.uid);
                let is_it = |o: &&Object| o.uid() == Some(identity.uid) && o.place != Place::Temporary;
                let Some(object) = observed.objects.iter().find(is_it) else { continue };
                let record = ObjectRecord::of(identity.clone(), backend.clone(), object, 1);
                after.records.objects.insert(identity.uid, record);
            }
        }
        observed.objects.sort_by_key(|object| (object.address(), object.place));
        after.recent.extend(ledger.removals.iter().filter(|r| r.at == 1).cloned());
        let place = scene.reading.specs.backends[backend].config.place();
        let record =
            BackendRecord { place, pool, owner: stack.owner.clone(), observed_at: 1, ledger: Some(ledger.clone()) };
        after.records.backends.insert(backend.clone(), record);
        observed.owners.insert(stack.owner.clone());
        observed.ledger = Some(LedgerView::Good(Arc::new(ledger)));
    }
    after.approved.clear();
    after
}

/// What a step takes of its pool at once. (A restore gives it back when it is done.)
fn taken(step: &Step, scene: &Scene, objects: &[Object], shares_blocks: bool) -> u64 {
    let copy = |source: &ObjectRef| match objects.iter().find(|object| is_of(object, source.uid)) {
        _ if shares_blocks => 0,
        Some(object) => object.used.unwrap_or(object.size.bytes()),
        None => source.size.bytes(),
    };
    match &step.action {
        Action::Create { provisioning: Provisioning::Thick, size, .. } => size.bytes(),
        Action::Create { origin: Some(Origin::Image { image, .. }), .. } => match scene.images.get(image) {
            Some(ImageObservation::Good { used, .. }) => *used,
            _ => 0,
        },
        Action::Create { origin: Some(Origin::Snapshot(source) | Origin::Volume(source)), .. } => copy(source),
        Action::Snapshot { volume, .. } => copy(volume),
        Action::Reserve => objects
            .iter()
            .find(|object| is(object, step))
            .map_or(0, |object| object.size.bytes().saturating_sub(object.used.unwrap_or(0))),
        _ => 0,
    }
}

fn is(object: &Object, step: &Step) -> bool {
    is_of(object, step.identity.uid)
}

/// Whether an object has a uid, and is not what is left of its creation.
fn is_of(object: &Object, uid: Uid) -> bool {
    object.uid() == Some(uid) && object.place != Place::Temporary
}

fn make(step: &Step, objects: &mut Vec<Object>, clones_depend: bool) {
    let uid = step.identity.uid;
    let new = |size, tags: &Tags, settings: VolumeSettings, parent| Object {
        settings,
        identity: Some(step.identity.clone()),
        tags: tags.clone().into(),
        parent,
        parent_volume: step.parent_volume.clone(),
        ..Object::new(step.native.clone(), Place::Live, size)
    };
    match &step.action {
        Action::Create { size, origin, tags, settings, .. } => {
            let parent = origin
                .as_ref()
                .filter(|_| clones_depend)
                .and_then(|origin| origin.object())
                .map(|(_, object)| object.uid);
            return objects.push(new(*size, tags, settings.clone(), parent));
        }
        Action::Snapshot { volume, tags, .. } => {
            let of = objects.iter().find(|object| is_of(object, volume.uid));
            let settings = of.map(|of| of.settings.of_snapshot()).unwrap_or_default();
            return objects.push(new(volume.size, tags, settings, None));
        }
        Action::Adopt { tags, .. } => {
            let object = objects.iter_mut().find(|o| o.is_at(&step.address()) && o.place == Place::Live).unwrap();
            (object.identity, object.tags) = (Some(step.identity.clone()), tags.clone().into());
            return;
        }
        Action::Destroy => return objects.retain(|object| !is(object, step)),
        Action::Detach => {
            objects.iter_mut().filter(|o| o.parent == Some(uid)).for_each(|o| o.parent = None);
            return;
        }
        _ => {}
    }
    let object = objects.iter_mut().find(|object| is(object, step)).expect("a step is of what is there");
    match &step.action {
        Action::Grow { to } => object.size = *to,
        Action::Restore { request, .. } => {
            object.size = object.whole_size();
            (object.tags.restored, object.tags.restoring) = (Some(request.clone()), None);
        }
        Action::SetTags { tags } => object.tags = tags.clone().into(),
        Action::Reserve => {
            object.provisioning = Some(Provisioning::Thick);
            object.used = Some(object.size.bytes());
        }
        Action::Configure { settings } => object.settings = settings.clone(),
        Action::Rename { tags, .. } => {
            (object.native, object.identity) = (step.native.clone(), Some(step.identity.clone()));
            (object.tags, object.unfinished) = (tags.clone().into(), false);
        }
        Action::Trash { ttl, .. } => (object.place, object.tags.expires) = (Place::Trash, Some(ttl.0)),
        Action::Undelete { tags, .. } => (object.place, object.tags) = (Place::Live, tags.clone().into()),
        other => panic!("{other} is never part of a plan"),
    }
}

/// What happens to the snapshots inside of the volume of a step.
fn make_inside(step: &Step, objects: &mut [Object]) {
    for inner in step.action.with() {
        let object = objects.iter_mut().find(|object| is_of(object, inner.identity.uid)).unwrap();
        if let Action::Trash { ttl, .. } = &step.action {
            (object.place, object.tags.expires) = (Place::Trash, Some(ttl.0));
        } else {
            (object.place, object.tags.expires, object.tags.retained) = (Place::Live, None, inner.released);
        }
    }
    if let Action::Rename { from, .. } = &step.action {
        for object in objects.iter_mut().filter(|object| object.parent_volume.as_ref() == Some(from)) {
            object.parent_volume = Some(step.native.clone());
        }
    }
}

fn enter(step: &Step, ledger: &mut Ledger, used: &[ApprovalSet]) {
    let (uid, kind) = (step.identity.uid, step.identity.kind);
    if let Action::Create { n, .. } | Action::Snapshot { n, .. } | Action::Adopt { n, .. } = step.action {
        let size = match &step.action {
            Action::Create { size, .. } => *size,
            _ => step.bytes,
        };
        ledger.complete.insert(uid, step.identity.ledger_entry(n, step.address(), size));
    }
    // No other step changes the name by which an object is known.
    if let (Action::Rename { .. }, Some(entry)) = (&step.action, ledger.complete.get_mut(&uid)) {
        (entry.name, entry.native) = (step.identity.name.clone(), step.native.clone());
    }
    if step.is_removal() {
        let approved = used.iter().any(|approval| approval.covers(&step.approval_item()));
        ledger.removals.push(Removal { uid, kind, size: step.bytes, at: 1, approved });
        for inner in step.action.with() {
            let (uid, kind, size) = (inner.identity.uid, inner.identity.kind, inner.size);
            ledger.removals.push(Removal { uid, kind, size, at: 1, approved });
        }
    }
    match step.action {
        Action::Trash { .. } => {
            ledger.leaving.insert(uid);
            ledger.leaving.extend(step.action.with().iter().map(|inner| inner.identity.uid));
        }
        Action::Undelete { .. } => {
            ledger.leaving.remove(&uid);
            for inner in step.action.with() {
                ledger.leaving.remove(&inner.identity.uid);
            }
        }
        Action::Destroy => ledger.add_tombstone(uid, 1),
        _ => {}
    }
}
