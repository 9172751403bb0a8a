//! What must be observed by name before a plan is final: a listing does not show which clients have an object open, nor what an
//! object that is to be adopted holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, Address, ImageRef, Kind, Name, Origin, Place};

use super::types::{Observation, Plan, World};

/// Returns, by backend, the objects whose unknown clients or content decide whether a step is allowed, and those of which the plan
/// must know whether they were ever written to. The caller observes them by name, updates the world, and plans again.
pub fn objects_to_observe(plan: &Plan, world: &World) -> BTreeMap<Name, Vec<Address>> {
    let mut wanted: BTreeMap<&Name, BTreeSet<Address>> = BTreeMap::new();
    for step in &plan.steps {
        // Lint and the scheduler refuse a step on a backend that was not observed.
        let Some(backend) = step.backend() else { continue };
        let Some(capabilities) = world.get(backend).and_then(Observation::capabilities) else { continue };
        let torn = !capabilities.copies_open_volumes();
        let copied = step.action.reads().filter(|(kind, _)| torn && *kind == Kind::Volume);
        // A listing does not show what an object holds that is to be adopted.
        let itself = step.expect.idle || matches!(step.action, Action::Adopt { .. });
        let native = if itself { Some(step.address()) } else { copied.map(|(_, volume)| volume.address()) };
        let inner = step.action.with().iter().map(|inner| Address::inside(&step.native, &inner.native));
        wanted.entry(backend).or_default().extend(native.into_iter().chain(inner));
    }
    for (backend, at) in &plan.to_inspect {
        wanted.entry(backend).or_default().insert(at.clone());
    }
    let mut questions = BTreeMap::new();
    for (backend, wanted) in wanted {
        let unknown = |object: &&crate::model::Object| {
            object.place == Place::Live && !object.was_named() && wanted.contains(&object.address())
        };
        let objects = world.get(backend).map_or(&[][..], Observation::objects);
        let names: Vec<Address> = objects.iter().filter(unknown).map(crate::model::Object::address).collect();
        if !names.is_empty() {
            questions.insert(backend.clone(), names);
        }
    }
    questions
}

/// Returns the source images of new volumes that have not been inspected. The caller inspects them, updates the inputs,
/// and plans again.
pub fn images(plan: &Plan) -> BTreeSet<ImageRef> {
    let origins = plan.steps.iter().filter_map(|step| step.action.origin());
    let unknown = origins.filter_map(|origin| match origin {
        Origin::Image { image, size: None } => Some(image.clone()),
        Origin::Image { size: Some(_), .. } | Origin::Volume(_) | Origin::Snapshot(_) => None,
    });
    unknown.collect()
}
