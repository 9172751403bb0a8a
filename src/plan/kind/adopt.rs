//! Adoption of objects without an owner.

use std::path::Path;

use serde_json::{Value, json};

use crate::model::{
    Action, Address, Expect, Identity, Kind, NativeName, Object, ObjectRef, OnRemove, Place, PlacedField, Provisioning,
    Reason, Reservation, Step, Tags, Verb, VolumeSpec,
};

use crate::plan::draft::{Availability, Draft};
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::name_conflict::check_requested_once;
use crate::plan::room::{Room, take_room};
use crate::plan::tags::{DesiredTags, change, desired_tags, first_tags};
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;
use crate::text::quoted;

use super::checks::new_identity;
use super::configure::{check_settings, configure};
use super::provisioning::{may_reserve, reserve};
use super::volume::grow;

/// The room that an adopted object takes.
pub(super) const ADOPTED: Room = Room { provisioned: 0, taken: 0, objects: 0, adopted: 1 };

/// Returns the tags of an adopted object. By default it is released when its document is removed.
pub(super) fn adopted_tags(inventory: &Inventory<'_>, desired: DesiredTags<'_>, identity: &Identity) -> Tags {
    let on_remove = desired.on_remove.or(Some(OnRemove::Retain));
    let mut tags = desired_tags(&DesiredTags { on_remove, ..desired }, &Tags::default());
    tags.protected |= desired.protected.is_none() && inventory.stack().defaults.protected == Some(true);
    Tags { identity: Some(Box::new(identity.clone())), adopted: true, ..tags }
}

/// Drafts the adoption of an object without an owner.
pub(super) fn adopt<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    spec: &'a VolumeSpec,
    native: &NativeName,
) -> Result<Availability, Hold> {
    let backend = usable.name;
    let subject =
        Subject { backend: Some(backend), action: Verb::Adopt, ..Subject::declared(Kind::Volume, &spec.meta.name) };
    check_settings(inventory, usable, &subject, spec)?;
    let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Adopt);
    if !usable.capabilities.adopt {
        let message = format!("backend {backend} cannot adopt objects");
        let fix = format!("remove `adopt`{place} to create an empty volume");
        return Err(subject.hold(HeldReason::Unsupported, message, fix));
    }
    let Some(object) = usable.find(&Address::flat(native), |place| place == Place::Live) else {
        let message =
            format!("the volume {native} does not exist on {backend}; Kiln does not create an empty volume instead");
        let fix = format!(
            "`kiln adopt {backend}` lists what can be adopted: correct the name{place}, or remove `adopt` to create an empty volume"
        );
        return Err(subject.hold(HeldReason::AdoptMissing, message, fix));
    };
    check_adoptable(usable, &subject, object, &place)?;
    check_requested_once(inventory, usable, &subject, native, None)?;
    let (identity, n) = new_identity(inventory, draft, usable, Kind::Volume, &spec.meta.name);
    let subject = Subject { uid: Some(identity.uid), ..subject };
    take_room(inventory, draft, usable, &subject, object.size, ADOPTED)?;
    let mut tags = adopted_tags(inventory, DesiredTags::of_volume(spec), &identity);
    tags.restored = spec.restore.as_ref().map(|restore| restore.request.clone());
    let is_thick = object.provisioning == Some(Provisioning::Thick);
    let can_reserve = usable.capabilities.reservation == Reservation::Changeable;
    let becomes_thick = spec.provisioning == Some(Provisioning::Thick) && can_reserve && !is_thick;
    // What cannot be reserved now is adopted as it is, and becomes thick later.
    let may_reserve = becomes_thick.then(|| may_reserve(inventory, draft, usable, &subject, object, false));
    let becomes_thick = may_reserve.and_then(|may| draft.accept(may)).unwrap_or(false);
    tags.provisioning = (is_thick || becomes_thick).then_some(Provisioning::Thick);
    let mut changes = vec![change("adopt.name", Value::Null, json!(native))];
    changes.extend(first_tags(&tags));
    let step = draft.add(Step {
        native: native.clone(),
        expect: Expect { tags: Some(Tags::default()), ..Expect::live(object) },
        changes,
        ..Step::new(backend.clone(), identity.clone(), Action::Adopt { tags, n }, Reason::AdoptRequested)
    });
    let mut after = vec![step];
    let adopted = OwnedObject { backend, identity: &identity, object };
    if object.settings.encrypted {
        draft.encrypted.insert(identity.uid);
    }
    let configured = configure(inventory, draft, usable, &subject, spec, (&adopted, native), &mut after);
    draft.accept(configured);
    if becomes_thick {
        reserve(draft, &subject, (&adopted, native), false, &mut after);
    }
    let grown = grow(inventory, draft, usable, &subject, &adopted, native, spec.size, &mut after);
    let size = draft.accept(grown).unwrap_or(object.size);
    let object = ObjectRef { id: object.id.clone(), ..ObjectRef::new(native.clone(), identity.uid, size) };
    Ok(Availability::Here { backend: backend.clone(), object, after })
}

/// Holds the adoption of a copy of an object on another pool. `place`: that of `adopt` in the document.
pub(super) fn check_not_copy(subject: &Subject<'_>, object: &Object, place: &str) -> Result<(), Hold> {
    let Some(of) = &object.copy_of else { return Ok(()) };
    let message = format!("{} is a copy of {}, which is on another pool", object.address(), of.id());
    let fix = format!("correct the name{place}; or declare {} on this backend, once the other object is gone", of.id());
    Err(subject.hold(HeldReason::Foreign, message, fix))
}

/// Holds an object that cannot be adopted: it has an owner, is inconsistent, or is an image and not a raw disk.
/// `place`: that of `adopt` in its document.
fn check_adoptable(usable: &Usable<'_>, subject: &Subject<'_>, object: &Object, place: &str) -> Result<(), Hold> {
    let native = &object.native;
    if let Some(id) = &object.identity {
        let message = format!("{native} is {} {} of {}", id.kind.as_lower(), id.name, id.owner);
        let fix = format!("`kiln adopt {}` lists the objects that have no owner; correct the name{place}", usable.name);
        return Err(subject.hold(HeldReason::Foreign, message, fix));
    }
    check_not_copy(subject, object, place)?;
    if let Some(why) = &object.conflict {
        let message = format!("{native} cannot be adopted: {why}");
        let fix = format!(
            "correct {native} on the backend; or correct the name{place}: `kiln adopt {}` lists what can be adopted",
            usable.name
        );
        return Err(subject.hold(HeldReason::Conflict, message, fix));
    }
    if object.kind() != Kind::Volume {
        let message = format!("{native} is a snapshot, not a volume");
        let fix = format!("declare a Snapshot of its volume with `adopt: {{name: {native}}}` instead{place}");
        return Err(subject.hold(HeldReason::Conflict, message, fix));
    }
    let Some(format) = &object.image else { return Ok(()) };
    let message = format!("{native} holds an image of the format {format}, not a raw disk");
    // The name of the format in `qemu-img`.
    let tool = if format == "vhd" { "vpc" } else { format };
    let pool = usable.spec.config.place();
    let path = |name: &str| Path::new(&pool).join(name).display().to_string();
    let fix = match format.as_str() {
        "qcow2" => format!(
            "write `source: {{image: {{path: {}, format: qcow2}}}}` instead of `adopt`{place} to create a volume from the image",
            path(native.as_str())
        ),
        _ => {
            // `qemu-img` overwrites an existing file.
            let is_free = |name: &String| usable.observed.objects.iter().all(|o| o.native.as_str() != name);
            let mut names =
                std::iter::once(format!("{native}.raw")).chain((2..=u32::MAX).map(|n| format!("{native}.{n}.raw")));
            let new = names.find(is_free).unwrap_or_default();
            let (from, to) = (quoted(&path(native.as_str())), quoted(&path(&new)));
            format!("`qemu-img convert -f {tool} -O raw {from} {to}`, then write `adopt: {{name: {new}}}`{place}")
        }
    };
    Err(subject.hold(HeldReason::Conflict, message, fix))
}
