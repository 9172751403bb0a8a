//! Checks of a removal that concern the object itself and its backend.

use crate::model::Object;

use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::lost::unproven;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

/// Holds an object that something depends on which is not among the backend's objects.
pub(super) fn check_not_needed_elsewhere(subject: &Subject<'_>, object: &Object) -> Result<(), Hold> {
    if object.needed_by.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} is needed by what Kiln does not manage here: {}", object.address(), object.needed_by.join(", "));
    let fix = "remove that, or make it independent, then run `kiln apply`";
    Err(subject.hold(HeldReason::HasDependents, message, fix))
}

/// Holds an object that must not be removed, whatever depends on it. One that is released, or gives way to a renamed one, must pass too.
pub(super) fn check_removable(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    object: &OwnedObject<'_>,
) -> Result<(), Hold> {
    let (stack, backend, native) = (inventory.stack(), usable.name, &object.native);
    if let Some(why) = &object.conflict {
        return Err(subject.hold_inconsistent(&object.address(), why));
    }
    if let Some(known) = inventory.known_name(object).filter(|known| *known != subject.name) {
        let message = format!("{native} was {known} and has been renamed on the backend");
        return Err(subject.hold(HeldReason::Renamed, message, format!("rename it to {known} on the backend")));
    }
    if inventory.duplicates.contains(&object.uid()) {
        let message = format!("{native} exists more than once, or also in the trash");
        return Err(subject.hold(HeldReason::Ambiguous, message, "on the backend, remove all but the right one"));
    }
    if object.tags.protected || inventory.settled(object).protected {
        let message = "it is protected; protection remains when the document is removed";
        let has_no_volume = object.tags.volume.is_some_and(|volume| !inventory.by_uid.contains_key(&volume));
        let fix = match has_no_volume {
            true => {
                "its volume is gone: declare it again with `protected: false`, as a snapshot of any declared volume, and apply \
                 (it is held as Immutable, and its protection is lifted); then remove it"
            }
            false => "declare it again with `protected: false` and apply; then remove it",
        };
        return Err(subject.hold(HeldReason::Protected, message, fix));
    }
    if !stack.declared && !inventory.inputs.records.objects.contains_key(&object.uid()) {
        let message = "without a Stack, Kiln removes only objects that this store has a record of: other manifests may declare this one";
        let fix = format!(
            "declare it again; or, if no other manifests have objects on {backend}, declare a Stack, and `kiln adopt {backend} \
             --from-owner {owner}` gives it all of them",
            owner = stack.owner,
        );
        return Err(subject.hold(HeldReason::OwnerChanged, message, fix));
    }
    if !usable.shows_all {
        let (why, fix) = unproven(usable);
        return Err(subject.hold(HeldReason::Unobserved, format!("{why}: other objects may depend on it"), fix));
    }
    Ok(())
}
