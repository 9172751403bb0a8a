//! Declared snapshots, new and existing.

use serde_json::{Value, json};

use crate::model::{Action, Kind, NativeForm, NativeName, ObjectRef, PlacedField, Reason, SnapshotSpec, Step, Tags};

use crate::plan::draft::{Availability, Draft};
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::locate::volume_changed;
use crate::plan::name_conflict::check_name_is_free;
use crate::plan::room::{Room, copy_of, take_room};
use crate::plan::tags::{DesiredTags, change, desired_tags, first_tags};
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::checks::{check_made_names, check_not_torn, new_identity};
use super::configure::is_encrypted;
use super::retag::retag;

/// Plans the changes of a snapshot that exists, or that the steps `before` restore. `volume`: the volume named in its
/// document.
pub(super) fn update<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    subject: &Subject<'a>,
    spec: &'a SnapshotSpec,
    object: &OwnedObject<'a>,
    before: Vec<usize>,
    volume: Availability,
) -> Result<Availability, Hold> {
    let native = draft.native_after(&before, object);
    let mut after = before;
    // Also for a snapshot whose volume was purged: otherwise its protection could never be lifted.
    retag(inventory, draft, subject, &DesiredTags::of_snapshot(spec), object, &mut after);
    if let Availability::Here { object: volume, .. } = volume
        && object.tags.volume != Some(volume.uid)
    {
        return Err(volume_changed(inventory, subject, spec, object));
    }
    let reference = ObjectRef { native, ..object.reference() };
    Ok(Availability::Here { backend: object.backend.clone(), object: reference, after })
}

/// Returns the volume of a snapshot to be taken or adopted, and the steps after which it exists.
pub(super) fn volume_of(
    inventory: &Inventory<'_>,
    subject: &Subject<'_>,
    spec: &SnapshotSpec,
    volume: Availability,
) -> Result<(ObjectRef, Vec<usize>), Hold> {
    let name = &spec.volume;
    match volume {
        Availability::Here { object, after, .. } => Ok((object, after)),
        Availability::Cycle => {
            let message = format!("its volume {name} is made from it");
            let place = inventory.place_of_field(Kind::Volume, name, PlacedField::Source);
            let fix = format!("remove one `source` of the cycle{place}");
            Err(subject.hold(HeldReason::SourceMissing, message, fix))
        }
        Availability::Held | Availability::Missing | Availability::Unclear => {
            let message = format!("its volume {name} is held");
            Err(subject.waits_for_held(message, Kind::Volume, name))
        }
    }
}

/// Drafts a new snapshot of a volume.
pub(super) fn take<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    spec: &'a SnapshotSpec,
    volume: Availability,
) -> Result<Availability, Hold> {
    let name = &spec.volume;
    if usable.capabilities.snapshots.is_none() {
        let message = format!("backend {} cannot create snapshots", usable.name);
        let fix = format!("remove the document{}", inventory.place_of(subject.kind, subject.name));
        return Err(subject.hold(HeldReason::Unsupported, message, fix));
    }
    let (volume, after) = volume_of(inventory, subject, spec, volume)?;
    check_not_torn(inventory, usable, subject, &volume, spec.quiesced, "quiesced: true")?;
    let (identity, n) = new_identity(inventory, draft, usable, Kind::Snapshot, subject.name);
    let subject = Subject { uid: Some(identity.uid), ..*subject };
    check_made_names(inventory, usable, &subject, &identity)?;
    let native = NativeName::of(NativeForm::Snapshot, &identity.owner, &identity.name, identity.uid);
    let at = usable.address_in(&volume.native, native.clone());
    // A volume that this plan renames has its old native name until then.
    let volume_now = inventory.by_uid.get(&volume.uid).map_or(&volume.native, |object| &object.native);
    check_name_is_free(inventory, usable, &subject, &usable.address_in(volume_now, native.clone()))?;
    let taken = copy_of(inventory, draft, usable, &volume);
    let (size, room) = (volume.size, Room { provisioned: 0, taken, objects: 1, adopted: 0 });
    take_room(inventory, draft, usable, &subject, size, room)?;
    draft.room.of_object.insert(identity.uid, taken);
    if is_encrypted(inventory, draft, volume.uid) {
        draft.encrypted.insert(identity.uid);
    }
    let desired = DesiredTags::of_snapshot(spec).or_defaults(inventory.stack());
    let tags = Tags { volume: Some(volume.uid), ..desired_tags(&desired, &Tags::default()) };
    let mut changes = vec![change("volume", Value::Null, json!(name)), change("size", Value::Null, json!(size))];
    changes.extend(first_tags(&tags));
    let object =
        ObjectRef { parent_volume: at.parent_volume.clone(), ..ObjectRef::new(native.clone(), identity.uid, size) };
    let taken = Step::new(usable.name.clone(), identity, Action::Snapshot { volume, tags, n }, Reason::NotThere);
    let step = draft.add(Step { native, parent_volume: at.parent_volume, changes, after, ..taken });
    Ok(Availability::Here { backend: usable.name.clone(), object, after: vec![step] })
}
