//! What keeps objects from being changed: something on their backend that blocks them, or the volume that they are inside of.

use std::collections::HashMap;

use crate::model::{Blocker, Name, NativeName, Object};
use crate::plan::{self, Observation};

/// The blocked volumes of an observation, live or in the trash, by their backend and native name.
pub struct Blockers<'a>(HashMap<(&'a Name, &'a NativeName), &'a Object>);

impl<'a> Blockers<'a> {
    /// Collects those of all backends.
    pub fn in_world(world: &'a plan::World) -> Self {
        Self(world.iter().flat_map(|(backend, view)| blocked_volumes(backend, Observation::objects(view))).collect())
    }

    /// Collects those of one backend.
    pub(super) fn in_objects(backend: &'a Name, objects: &'a [Object]) -> Self {
        Self(blocked_volumes(backend, objects).collect())
    }

    /// Returns what blocks an object: a blocker of its own, or that of the volume that it is inside of.
    pub(super) fn of<'b>(&self, backend: &'b Name, object: &'b Object) -> Option<(&'b Object, &'b Blocker)>
    where
        'a: 'b,
    {
        let volume = || self.0.get(&(backend, object.parent_volume.as_ref()?)).copied();
        let blocked = |object: &'b Object| Some((object, object.blocker.as_deref()?));
        blocked(object).or_else(|| blocked(volume()?))
    }

    /// Returns why an object is blocked, as a sentence.
    pub fn why(&self, backend: &Name, object: &Object) -> Option<String> {
        let (blocked, blocker) = self.of(backend, object)?;
        Some(match blocked.is_at(&object.address()) {
            true => blocker.message.clone(),
            false => format!("{} cannot be changed: {}", blocked.native, blocker.message),
        })
    }
}

fn blocked_volumes<'a>(
    backend: &'a Name,
    objects: &'a [Object],
) -> impl Iterator<Item = ((&'a Name, &'a NativeName), &'a Object)> {
    let blocked = objects.iter().filter(|object| object.blocker.is_some() && object.parent_volume.is_none());
    blocked.map(move |volume| ((backend, &volume.native), volume))
}
