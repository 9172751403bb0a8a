//! Native names that are taken, and those that become free in the plan that needs them.
//!
//! A destroyed object frees its name: the object to be created under it waits for that. In every other case the name stays taken:
//! released objects keep theirs, trashed objects keep theirs in the trash, and held objects stay.

use crate::model::{Action, Address, Kind, Name, NativeName, Object, OnRemove, Place, PlacedField};

use super::draft::Draft;
use super::hold::{Hold, Subject};
use super::inventory::{Inventory, OwnedObject, RequestedName, requests};
use super::lost::not_proven_absent;
use super::types::HeldReason;
use super::usable::Usable;

/// Returns this owner's object that has a native name and may free it in this plan; [`give_freed_names`] decides.
pub(super) fn may_free_name<'a>(
    inventory: &Inventory<'a>,
    usable: &Usable<'a>,
    at: &Address,
) -> Option<OwnedObject<'a>> {
    let object = OwnedObject::of(usable.name, usable.find(at, |place| place == Place::Live)?)?;
    let ours = object.identity.owner == inventory.stack().owner;
    let for_good = object.tags.on_remove() == OnRemove::Delete;
    (ours && for_good && usable.find(at, |place| place == Place::Trash).is_none()).then_some(object)
}

/// Holds an object whose native name is taken.
pub(super) fn check_name_is_free(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    at: &Address,
) -> Result<(), Hold> {
    let Some(object) = usable.find(at, |place| place != Place::Temporary) else {
        return check_absence(inventory, usable, subject, at);
    };
    let (reason, message, fix) = in_the_way(inventory, usable, (subject.kind, subject.name), object);
    Err(subject.hold(reason, message, fix))
}

/// Holds an object that is to get a native name which an unobserved object may have.
fn check_absence(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    at: &Address,
) -> Result<(), Hold> {
    match usable.observed.proves_absence(subject.kind, at) {
        true => Ok(()),
        false => Err(not_proven_absent(inventory, subject, usable)),
    }
}

/// Holds an object whose native name several documents ask for. `volume`: of a snapshot, the declared volume.
pub(super) fn check_requested_once(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    native: &NativeName,
    volume: Option<&Name>,
) -> Result<(), Hold> {
    let volume = volume.filter(|_| usable.capabilities.nests_snapshots());
    let asked = RequestedName { backend: usable.name, volume, native: native.as_str() };
    if !inventory.requested_twice.contains(&asked) {
        return Ok(());
    }
    let message = format!("several documents ask for the native name {native}");
    let asking = requests(inventory.specs(), &inventory.backends).filter(|(_, asks)| *asks == asked);
    let asking = asking.map(|((kind, name), _)| {
        let has_object = inventory.specs().volumes.get(name).is_some_and(|spec| spec.object.is_some());
        let field = if kind == Kind::Volume && has_object { PlacedField::Object } else { PlacedField::Adopt };
        format!("{} {name}{}", kind.as_lower(), inventory.place_of_field(kind, name, field))
    });
    let fix = format!("write it in one of them only: {}", Vec::from_iter(asking).join(", "));
    Err(subject.hold(HeldReason::Ambiguous, message, fix))
}

/// Holds an object in the trash whose native name a live object has taken: both cannot be live.
pub(super) fn check_place_is_free(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    trashed: &Object,
) -> Result<(), Hold> {
    let at = trashed.address();
    let Some(other) = usable.find(&at, |place| place == Place::Live) else {
        return check_absence(inventory, usable, subject, &at);
    };
    let (reason, message, fix) = match &other.identity {
        None => {
            let message =
                format!("a live object named {at}, which Kiln does not manage, prevents a restore from the trash");
            (HeldReason::Foreign, message, format!("rename or move {at} on the backend"))
        }
        Some(_) => in_the_way(inventory, usable, (subject.kind, subject.name), other),
    };
    Err(subject.hold(reason, message, fix))
}

/// Holds the removal of an object while the trash holds another of its native name.
pub(super) fn check_trash_is_free(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    object: &Object,
) -> Result<(), Hold> {
    let at = object.address();
    let Some(other) = usable.find(&at, |place| place == Place::Trash) else {
        return check_absence(inventory, usable, subject, &at);
    };
    let message = format!("the trash already holds an object named {at}");
    let fix = match &other.identity {
        Some(id) if id.owner == inventory.stack().owner => format!("`kiln trash purge {}`", id.id()),
        _ => format!("move {at} out of the trash on the backend"),
    };
    Err(subject.hold(HeldReason::Foreign, message, fix))
}

/// Makes each new object wait for the destruction of the one that has its name, or holds it; called once all removals are planned.
pub(super) fn give_freed_names<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    leaves_by: impl Fn(&OwnedObject<'a>) -> Option<usize>,
) {
    for (made, object) in std::mem::take(&mut draft.awaiting_names) {
        if draft.dropped.contains(&made) {
            continue;
        }
        let gone = leaves_by(&object).filter(|step| draft.steps[*step].action == Action::Destroy);
        match gone {
            // A dropped step has already dropped the steps that waited for it, and accepts no more.
            Some(step) if !draft.dropped.contains(&step) && !draft.waits_for(step, made) => draft.wait(made, step),
            _ => {
                let Some(usable) = inventory.usable(object.backend) else { continue };
                let made_for = &draft.steps[made].identity;
                let (reason, message, fix) =
                    in_the_way(inventory, usable, (made_for.kind, &made_for.name), object.object);
                draft.hold_step(made, reason, message, &fix);
            }
        }
    }
}

/// Returns the reason, message and fix for a native name that `asking` asks for and that an object which stays has.
fn in_the_way(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    asking: (Kind, &Name),
    object: &Object,
) -> (HeldReason, String, String) {
    let at = object.address();
    let place_of = |field| inventory.place_of_field(asking.0, asking.1, field);
    let place = place_of(PlacedField::Object);
    let another = match object.native.is_reserved() {
        true => format!("choose another name{}", place_of(PlacedField::Name)),
        false => format!("write another `object`{place}"),
    };
    if let Some(of) = &object.copy_of {
        let message = format!("{at} already exists: it is a copy of {}, which is on another pool", of.id());
        return (HeldReason::Foreign, message, another);
    }
    let Some(id) = &object.identity else {
        let message = format!("the object {at} already exists and has no owner");
        let can_adopt = usable.capabilities.adopt && !object.native.is_reserved();
        return match object.why_not_adopted().filter(|_| can_adopt) {
            Some(why) => {
                let fix = format!("{another}, or move {at} out of the pool");
                (HeldReason::Foreign, format!("{message}; it cannot be adopted: {why}"), fix)
            }
            None if can_adopt => {
                let fix = format!(
                    "write `adopt: {{name: {at}}}` in place of `object`{place} to adopt it, or another `object`"
                );
                (HeldReason::Foreign, message, fix)
            }
            None => (HeldReason::Foreign, message, another),
        };
    };
    let message = format!("{at} already exists: it is {} {} of {}", id.kind.as_lower(), id.name, id.owner);
    let what = id.id();
    let is_declared = inventory.specs().declares(id.kind, &id.name) && object.place == Place::Live;
    if id.owner != inventory.stack().owner || is_declared {
        return (HeldReason::Foreign, message, another);
    }
    if object.place == Place::Trash {
        return (
            HeldReason::Foreign,
            message,
            format!("{another}, or purge the trashed object: `kiln trash purge {what}`"),
        );
    }
    if object.tags.retained || object.tags.on_remove() == OnRemove::Retain {
        return (HeldReason::Foreign, message, format!("{another}: the existing object was released and stays"));
    }
    if object.tags.on_remove() == OnRemove::Delete {
        let message = format!("{message} and is not removed");
        return (
            HeldReason::DependencyHeld,
            message,
            format!("see what holds it: `kiln describe {what}`; or {another}"),
        );
    }
    let fix = format!("{another}, or purge the existing object once it is in the trash: `kiln trash purge {what}`");
    (HeldReason::Foreign, message, fix)
}
