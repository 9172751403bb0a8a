//! Whether an observation shows the effect of a step. The whole effect is checked, not the existence of the object, which may be
//! unfinished.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::model::{
    Absence, Action, Address, Capabilities, DriverError, ErrorKind, Identity, InnerSnapshot, Kind, Ledger, NativeName,
    Object, Observed, Place, Provisioning, Step, Tags, Uid,
};

/// The observed objects of one backend, by native name and place. Several snapshots have one name where each is inside of another volume.
pub(super) struct ObservedObjects<'o> {
    observed: &'o Observed,
    /// Where no list shows everything: the ledger, which lists the objects that can be clones.
    known: Option<&'o Ledger>,
    /// Whether only records of the driver are shown: an effect that they show was made, and of one that they do not show nothing is known.
    by_records: bool,
    objects: HashMap<(&'o NativeName, Place), SmallVec<[&'o Object; 1]>>,
}

impl<'o> ObservedObjects<'o> {
    pub(super) fn new(observed: &'o Observed) -> Self {
        let mut objects: HashMap<_, SmallVec<[&Object; 1]>> = HashMap::with_capacity(observed.objects.len());
        for object in &observed.objects {
            objects.entry((&object.native, object.place)).or_default().push(object);
        }
        Self { observed, known: None, by_records: false, objects }
    }

    /// The observed objects of a backend with this owner's ledger.
    pub(super) fn of(observed: &'o Observed, can: &Capabilities, ledger: Option<&'o Ledger>) -> Self {
        let known = ledger.filter(|_| can.absence != Absence::ByList);
        Self { known, by_records: can.absence == Absence::ByLedger, ..Self::new(observed) }
    }

    fn named<'s>(&'s self, native: &'s NativeName, place: Place) -> &'s [&'o Object] {
        self.objects.get(&(native, place)).map_or(&[], SmallVec::as_slice)
    }

    /// The object of a step in a place, at the address that it has after the step.
    pub(super) fn find(&self, step: &Step, place: Place) -> Option<&'o Object> {
        let at = step.address();
        self.named(&step.native, place).iter().copied().find(|o| o.is_at(&at) && o.uid() == Some(step.identity.uid))
    }

    /// The snapshots that a step moved inside of its volume.
    pub(super) fn inner(&self, step: &Step) -> impl Iterator<Item = (Identity, &'o Object)> {
        step.action.with().iter().filter_map(|inner| {
            let both = [Place::Live, Place::Trash].into_iter().flat_map(|place| self.named(&inner.native, place));
            let object = both.copied().find(|object| object.uid() == Some(inner.identity.uid))?;
            Some((inner.identity.clone(), object))
        })
    }

    /// Whether an object is in a place, also if its volume has been renamed since the step was planned: then it is not gone.
    fn is_in(&self, place: Place, native: &NativeName, uid: Uid) -> bool {
        self.named(native, place).iter().any(|object| object.uid() == Some(uid))
    }

    /// Whether the step is a restore that has begun and is not complete.
    pub(super) fn shows_begun(&self, step: &Step) -> bool {
        let live = self.find(step, Place::Live);
        live.and_then(|object| object.tags.restoring.as_ref()).is_some_and(|begun| step.action.completes(begun))
    }

    /// Whether a step whose outcome is not known has had its whole effect. `None`: the observation does not tell.
    pub(super) fn shows_outcome(&self, step: &Step) -> Option<bool> {
        self.shows(step).filter(|done| *done || !self.by_records || self.shows_begun(step))
    }

    /// Whether the step, as far as the backend shows it, has had its whole effect. `None`: not everything is observed that tells. Temporary objects, which a sweep removes,
    /// are not considered.
    pub(super) fn shows(&self, step: &Step) -> Option<bool> {
        let inner =
            step.action.with().iter().map(|inner| (Kind::Snapshot, Address::inside(&step.native, &inner.native)));
        let mut concerned = inner.chain([(step.identity.kind, step.address())]);
        let is_answered = match self.by_records {
            true => self.observed.gaps.is_empty(),
            false => concerned.all(|(kind, at)| self.observed.proves_absence(kind, &at)),
        };
        if !is_answered {
            return None;
        }
        let live = self.find(step, Place::Live);
        let is_in = |place| self.is_in(place, &step.native, step.identity.uid);
        let inner_in = |place, inner: &InnerSnapshot| self.is_in(place, &inner.native, inner.identity.uid);
        // A restore that was begun since is not of these steps.
        let comparable = |tags: &Tags| Tags { restoring: None, ..tags.clone() };
        let tagged = |tags: &Tags| live.is_some_and(|object| comparable(&object.tags).lasting() == comparable(tags));
        Some(match &step.action {
            Action::Create { size, settings, .. } => {
                live.is_some_and(|object| object.size >= *size && object.settings == *settings)
            }
            Action::Snapshot { .. } => live.is_some(),
            // An adopted object keeps its native name, so the name alone proves nothing.
            Action::Rename { tags, .. } => {
                let whole = |object: &Object| !object.unfinished && object.identity.as_ref() == Some(&step.identity);
                live.is_some_and(whole) && tagged(tags)
            }
            Action::Grow { to } => live.is_some_and(|object| object.size >= *to),
            Action::Restore { request, .. } => {
                live.is_some_and(|o| o.tags.restored.as_ref() == Some(request) && o.tags.restoring.is_none())
            }
            Action::Reserve => live.is_some_and(|object| object.provisioning != Some(Provisioning::Thin)),
            Action::Configure { settings } => live.is_some_and(|object| object.settings == *settings),
            Action::SetTags { tags } | Action::Adopt { tags, .. } => tagged(tags),
            Action::Undelete { tags, with } => tagged(tags) && with.iter().all(|inner| inner_in(Place::Live, inner)),
            Action::Trash { with, .. } => {
                let gone = |inner| !inner_in(Place::Live, inner) && inner_in(Place::Trash, inner);
                !is_in(Place::Live) && is_in(Place::Trash) && with.iter().all(gone)
            }
            Action::Destroy => !is_in(Place::Live) && !is_in(Place::Trash),
            Action::Purge => !is_in(Place::Trash),
            Action::Sweep => self.named(&step.native, Place::Temporary).is_empty(),
            Action::Detach => {
                // Clones can have any name.
                let all_known = self.known.is_some_and(|ledger| ledger.is_shown_by(self.observed));
                if !all_known && !self.observed.proves_gone(Kind::Volume, &[]) {
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

/// The error of an observation that shows another pool than the one that steps were made on.
pub(super) fn pool_replaced() -> DriverError {
    DriverError::before(ErrorKind::Unreachable, "its pool was replaced while steps were made")
}

/// Returns the addresses of the objects that a step concerns: its own, and those of the snapshots that move inside of it.
pub(super) fn concerned(step: &Step) -> impl Iterator<Item = Address> {
    let inner = step.action.with().iter().map(|inner| Address::inside(&step.native, &inner.native));
    inner.chain([step.address()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{identity, name, volume};
    use crate::model::{Listed, ObjectRef, Reason, Restoring, Seconds, Size};

    fn object(place: Place) -> Object {
        Object::of(volume("db"), place, Size(4096))
    }

    #[test]
    fn a_removal_is_judged_by_both_places() {
        use Place::{Live, Trash};
        let trash = Action::Trash { ttl: Seconds(60), with: Vec::new() };
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
    fn a_restore_is_done_when_nothing_of_it_is_left_to_do() {
        let snapshot = ObjectRef::new(NativeName::new("s"), identity(Kind::Snapshot, "s").uid, Size(4096));
        let restore = Action::Restore { snapshot: snapshot.clone(), request: "r".to_owned() };
        let step = Step::new(name("fast"), volume("db"), restore, Reason::RestoreRequested);
        let shows = |restored: Option<&str>, begun: Option<&str>| {
            let restoring = |request: &str| {
                let request = request.to_owned();
                Box::new(Restoring { request, snapshot: Some(snapshot.uid), size: None })
            };
            let tags =
                Tags { restored: restored.map(ToOwned::to_owned), restoring: begun.map(restoring), ..Tags::default() };
            let objects = vec![Object { tags: tags.into(), ..object(Place::Live) }];
            ObservedObjects::new(&Observed { objects, ..Observed::nothing() }).shows(&step)
        };
        assert_eq!(shows(Some("r"), None), Some(true));
        assert_eq!(shows(Some("r"), Some("r")), Some(false), "it was begun again, and is not complete");
        assert_eq!(shows(Some("r"), Some("other")), Some(false), "another one is not complete");
        assert_eq!(shows(None, Some("r")), Some(false));
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
