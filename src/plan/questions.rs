//! Which objects deserve a closer look before their steps are made: a listing does not tell who has an object open, nor what an
//! object that is to be adopted holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, Clients, ImageRef, Name, NativeName, Origin, Place, Written};

use super::types::{Observation, Plan, World};

/// By backend, the objects whose clients or content decide whether a step may be made and are not known yet, and those of which it
/// must be known whether they were ever written to. The caller observes them by name, puts them into the world, and plans again.
pub fn looks(plan: &Plan, world: &World) -> BTreeMap<Name, Vec<NativeName>> {
    let mut wanted: BTreeMap<&Name, BTreeSet<&NativeName>> = BTreeMap::new();
    for step in &plan.steps {
        let Some(Observation::Seen { capabilities, .. } | Observation::LockedBy { capabilities, .. }) =
            world.get(&step.backend)
        else {
            continue;
        };
        let torn = !capabilities.snapshot_while_open;
        let copied = match &step.action {
            Action::Snapshot { volume, .. } => Some(volume),
            Action::Create { origin: Some(Origin::Volume(volume)), .. } => Some(volume),
            Action::Create { .. }
            | Action::Grow { .. }
            | Action::Restore { .. }
            | Action::SetTags { .. }
            | Action::Rename { .. }
            | Action::Adopt { .. }
            | Action::Trash { .. }
            | Action::Undelete { .. }
            | Action::Destroy
            | Action::Purge
            | Action::Sweep
            | Action::Detach => None,
        };
        // A listing does not show what an object holds that is to be adopted.
        let itself = step.expect.idle || matches!(step.action, Action::Adopt { .. });
        let native = if itself { Some(&step.native) } else { copied.filter(|_| torn).map(|volume| &volume.native) };
        wanted.entry(&step.backend).or_default().extend(native);
    }
    for (backend, native) in &plan.look_inside {
        wanted.entry(backend).or_default().insert(native);
    }
    let mut looks = BTreeMap::new();
    for (backend, natives) in wanted {
        let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) = world.get(backend)
        else {
            continue;
        };
        let unknown = |object: &&crate::model::Object| {
            let seen = object.clients != Clients::Unknown && object.written != Written::Unknown;
            object.place == Place::Live && !seen && natives.contains(&object.native)
        };
        let names: Vec<NativeName> =
            observed.objects.iter().filter(unknown).map(|object| object.native.clone()).collect();
        if !names.is_empty() {
            looks.insert(backend.clone(), names);
        }
    }
    looks
}

/// The images that something is to be made from and that nobody has looked at. The caller looks, puts what it saw into the inputs,
/// and plans again.
pub fn images(plan: &Plan) -> BTreeSet<ImageRef> {
    let origins = plan.steps.iter().filter_map(|step| step.action.origin());
    let unknown = origins.filter_map(|origin| match origin {
        Origin::Image { image, size: None } => Some(image.clone()),
        Origin::Image { size: Some(_), .. } | Origin::Volume(_) | Origin::Snapshot(_) => None,
    });
    unknown.collect()
}
