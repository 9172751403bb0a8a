//! A closer observation of the objects that no owner has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend_session::open;
use super::setup::Setup;
use crate::model::{Name, Object, Place, Scope};
use crate::plan::{Observation, Overview};

/// Observes by name what belongs to no owner on a declared backend: only then is it known which of it is an image and no raw disk.
/// What cannot be observed so stays as the overview has it; a plan observes it again.
pub async fn with_content(setup: &Setup, mut overview: Overview, backend: &Name) -> Overview {
    let Some(spec) = setup.reading.specs.backends.get(backend).cloned() else { return overview };
    let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) =
        overview.world.get_mut(backend)
    else {
        return overview;
    };
    let is_foreign = |object: &Object| object.identity.is_none() && object.place == Place::Live;
    let foreign = observed.objects.iter().filter(|object| is_foreign(object)).map(Object::address);
    let scope = Scope::Objects(foreign.collect());
    let Ok(backend) = open(Arc::clone(&setup.connect), spec).await else { return overview };
    let Ok(seen) = backend.observe(&scope).await else { return overview };
    let images: BTreeMap<_, _> = seen.objects.into_iter().map(|object| (object.address(), object.image)).collect();
    for object in observed.objects.iter_mut().filter(|object| is_foreign(object)) {
        object.image = images.get(&object.address()).cloned().flatten();
    }
    overview
}
