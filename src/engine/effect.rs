//! Whether an observation shows the effect of a step. The whole effect is checked, not the existence of the object, which may be
//! unfinished.

use std::collections::HashMap;

use crate::model::{Action, DriverError, ErrorKind, Kind, NativeName, Object, Observed, Place, Step, Tags};

/// The observed objects of one backend, by native name and place.
pub(super) struct ObservedObjects<'o> {
    observed: &'o Observed,
    objects: HashMap<(&'o NativeName, Place), &'o Object>,
}

impl<'o> ObservedObjects<'o> {
    pub(super) fn new(observed: &'o Observed) -> Self {
        Self { observed, objects: observed.objects.iter().map(|o| ((&o.native, o.place), o)).collect() }
    }

    /// The object of a step in a place, under the name that it has after the step.
    pub(super) fn find(&self, step: &Step, place: Place) -> Option<&'o Object> {
        self.objects.get(&(&step.native, place)).copied().filter(|o| o.uid() == Some(step.identity.uid))
    }

    /// Whether the step has had its whole effect. `None`: the listing is not complete enough to tell. Temporary objects, which a sweep removes,
    /// are not considered.
    pub(super) fn shows(&self, step: &Step) -> Option<bool> {
        if !self.observed.listed.proves_absence_of(step.identity.kind) {
            return None;
        }
        let (live, trashed) = (self.find(step, Place::Live), self.find(step, Place::Trash));
        let tagged = |tags: &Tags| live.is_some_and(|object| Tags { expires: None, ..object.tags.clone() } == *tags);
        Some(match &step.action {
            Action::Create { size, .. } => live.is_some_and(|object| object.size >= *size),
            Action::Snapshot { .. } => live.is_some(),
            // An adopted object keeps its native name, so the name alone proves nothing.
            Action::Rename { tags, .. } => {
                let whole = |object: &Object| !object.unfinished && object.identity.as_ref() == Some(&step.identity);
                live.is_some_and(whole) && tagged(tags)
            }
            Action::Grow { to } => live.is_some_and(|object| object.size >= *to),
            Action::Restore { request, .. } => {
                live.is_some_and(|object| object.tags.restored.as_ref() == Some(request))
            }
            Action::SetTags { tags } | Action::Adopt { tags, .. } | Action::Undelete { tags } => tagged(tags),
            Action::Trash { .. } => live.is_none() && trashed.is_some(),
            Action::Destroy => live.is_none() && trashed.is_none(),
            Action::Purge => trashed.is_none(),
            Action::Sweep => !self.objects.contains_key(&(&step.native, Place::Temporary)),
            Action::Detach => {
                if !self.observed.listed.proves_absence_of(Kind::Volume) {
                    return None;
                }
                self.observed.objects.iter().all(|object| object.parent != Some(step.identity.uid))
            }
        })
    }
}

/// The error of a step that was reported as done, and whose effect is not observed.
pub(super) fn not_observed(step: &Step) -> DriverError {
    let message = format!("{} was reported as done, but observing {} does not show it", step.action, step.native);
    DriverError::unknown(ErrorKind::Conflict, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{identity, name, volume};
    use crate::model::{Listed, Reason, Seconds, Size};

    fn object(place: Place) -> Object {
        Object::of(volume("db"), place, Size(4096))
    }

    #[test]
    fn a_removal_is_judged_by_both_places() {
        use Place::{Live, Trash};
        let trash = Action::Trash { ttl: Seconds(60) };
        // Absence from one place is not enough: another process may have put it into the trash, or destroyed it.
        for (action, places, done) in [
            (&Action::Destroy, &[][..], true),
            (&Action::Destroy, &[Live], false),
            (&Action::Destroy, &[Trash], false),
            (&Action::Destroy, &[Live, Trash], false),
            (&trash, &[], false),
            (&trash, &[Live], false),
            (&trash, &[Trash], true),
            (&trash, &[Live, Trash], false),
            (&Action::Purge, &[], true),
            (&Action::Purge, &[Live], true),
            (&Action::Purge, &[Trash], false),
        ] {
            let step = Step::new(name("fast"), volume("db"), action.clone(), Reason::NotThere);
            let objects: Vec<Object> = places.iter().map(|place| object(*place)).collect();
            let seen = Observed { objects, ..Observed::nothing() };
            assert_eq!(ObservedObjects::new(&seen).shows(&step), Some(done), "{action} with {places:?}");
            let partly = Observed { listed: Listed { volumes: false, trash: false, ..seen.listed }, ..seen };
            assert_eq!(ObservedObjects::new(&partly).shows(&step), None, "{action}, not all of it seen");
        }
    }

    #[test]
    fn a_detach_is_judged_by_a_complete_listing_of_volumes() {
        let step = Step::new(name("fast"), identity(Kind::Snapshot, "db"), Action::Detach, Reason::HasClones);
        let seen = Observed::nothing();
        assert_eq!(ObservedObjects::new(&seen).shows(&step), Some(true));
        let clone = Object { parent: Some(step.identity.uid), ..object(Place::Live) };
        let cloned = Observed { objects: vec![clone], ..seen.clone() };
        assert_eq!(ObservedObjects::new(&cloned).shows(&step), Some(false));
        let partly = Observed { listed: Listed { volumes: false, ..seen.listed }, ..seen };
        assert_eq!(ObservedObjects::new(&partly).shows(&step), None, "a clone may not have been listed");
    }
}
