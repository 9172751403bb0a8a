//! Native names that are taken, and those that are given up in the plan that asks for them.
//!
//! An object that is destroyed frees its name: what is made under it waits for that. In every other case the bearer counts as staying:
//! what is released keeps its name, what goes to the trash keeps it there, and so does what is held.

use crate::model::{Action, NativeName, Object, OnRemove, Place};

use super::backend_state::Usable;
use super::draft::Draft;
use super::hold::{Hold, Subject};
use super::inventory::{Inventory, OwnedObject};
use super::types::HeldReason;

/// The object of ours that has a native name which it may give up in this plan: [`give_freed_names`] settles that.
pub(super) fn perhaps_leaving<'a>(
    inventory: &Inventory<'a>,
    usable: &Usable<'a>,
    native: &NativeName,
) -> Option<OwnedObject<'a>> {
    let object = OwnedObject::of(usable.name, usable.find(native, |place| place == Place::Live)?)?;
    let ours = object.identity.owner == inventory.stack().owner;
    let for_good = object.tags.on_remove() == OnRemove::Delete;
    (ours && for_good && usable.find(native, |place| place == Place::Trash).is_none()).then_some(object)
}

/// Holds an object whose native name is taken.
pub(super) fn check_name_is_free(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    native: &NativeName,
) -> Result<(), Hold> {
    let Some(object) = usable.find(native, |place| place != Place::Temporary) else { return Ok(()) };
    let (reason, message, fix) = in_the_way(inventory, usable, object);
    Err(subject.hold(reason, message, fix))
}

/// Holds an object for which more than one document writes the native name.
pub(super) fn check_asked_once(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    native: &NativeName,
) -> Result<(), Hold> {
    if !inventory.asked_twice.contains(&(usable.name, native.as_str())) {
        return Ok(());
    }
    let message = format!("several documents ask for the native name {native}");
    Err(subject.hold(HeldReason::Ambiguous, message, "write it in one of them only"))
}

/// Holds an object in the trash whose native name something live has taken: it cannot come back beside it.
pub(super) fn check_place_is_free(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    trashed: &Object,
) -> Result<(), Hold> {
    let native = &trashed.native;
    let Some(other) = usable.find(native, |place| place == Place::Live) else { return Ok(()) };
    let (reason, message, fix) = match &other.identity {
        None => {
            let message = format!("{native} is in the way of the one in the trash, and is not an object of Kiln");
            (HeldReason::Foreign, message, format!("move {native} away on the backend"))
        }
        Some(_) => in_the_way(inventory, usable, other),
    };
    Err(subject.hold(reason, message, fix))
}

/// Holds an object that is to leave while the trash holds another of its native name.
pub(super) fn check_trash_is_free(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    object: &Object,
) -> Result<(), Hold> {
    let native = &object.native;
    let Some(other) = usable.find(native, |place| place == Place::Trash) else { return Ok(()) };
    let message = format!("the trash holds another {native} already");
    let fix = match &other.identity {
        Some(id) if id.owner == inventory.stack().owner => format!("`kiln trash purge {}`", id.id()),
        _ => format!("move {native} out of the trash on the backend"),
    };
    Err(subject.hold(HeldReason::Foreign, message, fix))
}

/// Once it is known what leaves, and by which step: what is made under the name of an object waits until that is gone, or is held.
pub(super) fn give_freed_names<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    leaves_by: impl Fn(&OwnedObject<'a>) -> Option<usize>,
) {
    for (made, object) in std::mem::take(&mut draft.freeing) {
        if draft.dropped.contains(&made) {
            continue;
        }
        let gone = leaves_by(&object).filter(|step| draft.steps[*step].action == Action::Destroy);
        match gone {
            // A step that was dropped has told those that waited for it, and tells no other.
            Some(step) if !draft.dropped.contains(&step) && !draft.waits_for(step, made) => draft.wait(made, step),
            _ => {
                let Some(usable) = inventory.usable(object.backend) else { continue };
                let (reason, message, fix) = in_the_way(inventory, usable, object.object);
                draft.hold_step(made, reason, message, &fix);
            }
        }
    }
}

/// That an object has a name and stays, and the fix.
fn in_the_way(inventory: &Inventory<'_>, usable: &Usable<'_>, object: &Object) -> (HeldReason, String, String) {
    let native = &object.native;
    let Some(id) = &object.identity else {
        let message = format!("{native} already exists, and Kiln does not know its owner");
        let fix = match usable.capabilities.adopt && !native.is_reserved() {
            true => {
                format!(
                    "write `adopt: {{name: {native}}}` in place of `object` to take it over, or choose another name"
                )
            }
            false => "choose another name".to_owned(),
        };
        return (HeldReason::Foreign, message, fix);
    };
    let message = format!("{native} is already there, and is {} {} of {}", id.kind.as_lower(), id.name, id.owner);
    let (what, another) = (id.id(), "choose another name");
    let is_declared = inventory.specs().declares(id.kind, &id.name) && object.place == Place::Live;
    if id.owner != inventory.stack().owner || is_declared {
        return (HeldReason::Foreign, message, another.to_owned());
    }
    if object.place == Place::Trash {
        return (HeldReason::Foreign, message, format!("{another}, or purge that one: `kiln trash purge {what}`"));
    }
    if object.tags.retained || object.tags.on_remove() == OnRemove::Retain {
        return (HeldReason::Foreign, message, format!("{another}: that one was released, and stays"));
    }
    if object.tags.on_remove() == OnRemove::Delete {
        let message = format!("{message}, which does not go");
        return (
            HeldReason::DependencyHeld,
            message,
            format!("see what holds it: `kiln describe {what}`, or {another}"),
        );
    }
    let fix = format!("{another}, or let that one go for good: `kiln trash purge {what}` once it is in the trash");
    (HeldReason::Foreign, message, fix)
}
