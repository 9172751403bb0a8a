//! Adoption of snapshots without an owner.

use serde_json::{Value, json};

use crate::model::{
    Action, Address, Expect, Kind, NativeName, Object, ObjectRef, Place, PlacedField, Reason, SnapshotSpec, Step, Tags,
    Verb,
};

use crate::plan::draft::{Availability, Draft};
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::Inventory;
use crate::plan::name_conflict::check_requested_once;
use crate::plan::room::take_room;
use crate::plan::tags::{DesiredTags, change, first_tags};
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::adopt::{ADOPTED, adopted_tags, check_not_copy};
use super::checks::new_identity;
use super::snapshot::volume_of;

/// Drafts the adoption of a snapshot of a declared volume.
pub(super) fn adopt_snapshot<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    spec: &'a SnapshotSpec,
    native: &NativeName,
    volume: Availability,
) -> Result<Availability, Hold> {
    let backend = usable.name;
    let subject =
        Subject { backend: Some(backend), action: Verb::Adopt, ..Subject::declared(Kind::Snapshot, &spec.meta.name) };
    let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Adopt);
    if !usable.capabilities.snapshots.as_ref().is_some_and(|snapshots| snapshots.adopt) {
        let message = format!("backend {backend} cannot adopt snapshots");
        let fix = format!("remove `adopt`{place} to take a new snapshot");
        return Err(subject.hold(HeldReason::Unsupported, message, fix));
    }
    let (volume, after) = volume_of(inventory, &subject, spec, volume)?;
    // A volume that this plan renames has its old native name until then.
    let volume_now = inventory.by_uid.get(&volume.uid).map_or(&volume.native, |object| &object.native);
    let at = usable.address_in(volume_now, native.clone());
    let Some(object) = usable.find(&at, |place| place == Place::Live) else {
        let other = usable.observed.objects.iter().find(|object| is_of_another(object, native, volume_now));
        let elsewhere = other.map(|object| format!("; {} is of another volume", object.address())).unwrap_or_default();
        let message = format!(
            "the snapshot {at} does not exist on {backend}{elsewhere}; Kiln does not take a new snapshot instead"
        );
        let fix = format!(
            "`kiln adopt {backend}` lists what can be adopted: correct `volume` and the name{place}, or remove `adopt` to take a new \
             snapshot"
        );
        return Err(subject.hold(HeldReason::AdoptMissing, message, fix));
    };
    check_adoptable(usable, &subject, object, volume_now, &place)?;
    check_requested_once(inventory, usable, &subject, native, Some(&spec.volume))?;
    let (identity, n) = new_identity(inventory, draft, usable, Kind::Snapshot, &spec.meta.name);
    let subject = Subject { uid: Some(identity.uid), ..subject };
    take_room(inventory, draft, usable, &subject, object.size, ADOPTED)?;
    let mut tags = adopted_tags(inventory, DesiredTags::of_snapshot(spec), &identity);
    tags.volume = Some(volume.uid);
    let mut changes = vec![change("adopt.name", Value::Null, json!(native))];
    changes.extend(first_tags(&tags));
    let Address { native, parent_volume } = usable.address_in(&volume.native, native.clone());
    let uid = identity.uid;
    let step = draft.add(Step {
        native: native.clone(),
        parent_volume: parent_volume.clone(),
        expect: Expect { tags: Some(Tags::default()), ..Expect::live(object) },
        changes,
        after,
        ..Step::new(backend.clone(), identity, Action::Adopt { tags, n }, Reason::AdoptRequested)
    });
    let object = ObjectRef { parent_volume, id: object.id.clone(), ..ObjectRef::new(native, uid, object.size) };
    Ok(Availability::Here { backend: backend.clone(), object, after: vec![step] })
}

/// Whether an object is a snapshot without owner that has this name, and is of another volume than this one.
fn is_of_another(object: &Object, native: &NativeName, volume: &NativeName) -> bool {
    object.identity.is_none()
        && object.native == *native
        && object.parent_volume.as_ref().is_some_and(|other| other != volume)
}

/// Holds an object that cannot be adopted as a snapshot of a volume. `place`: that of its document.
fn check_adoptable(
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    object: &Object,
    volume: &NativeName,
    place: &str,
) -> Result<(), Hold> {
    let (at, backend) = (object.address(), usable.name);
    if let Some(id) = &object.identity {
        let message = format!("{at} is {} {} of {}", id.kind.as_lower(), id.name, id.owner);
        let fix = format!("`kiln adopt {backend}` lists the objects that have no owner; correct the name{place}");
        return Err(subject.hold(HeldReason::Foreign, message, fix));
    }
    check_not_copy(subject, object, place)?;
    if let Some(why) = &object.conflict {
        return Err(subject.hold_inconsistent(&at, why));
    }
    if object.kind() != Kind::Snapshot {
        let message = format!("{at} is a volume, not a snapshot");
        let fix = format!("declare a Volume with `adopt: {{name: {}}}` instead{place}", object.native);
        return Err(subject.hold(HeldReason::Conflict, message, fix));
    }
    match object.volume_native() {
        Some(of) if of == volume => Ok(()),
        Some(of) => {
            let message = format!("{at} is a snapshot of {of}, not of {volume}");
            let fix = format!("write the volume that it is of as `volume`{place}: `kiln adopt {backend}` shows it");
            Err(subject.hold(HeldReason::Conflict, message, fix))
        }
        None => {
            let message = format!("backend {backend} does not show which volume {at} was taken of");
            let fix = format!("remove `adopt`{place} to take a new snapshot");
            Err(subject.hold(HeldReason::Unsupported, message, fix))
        }
    }
}
