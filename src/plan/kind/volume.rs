//! Declared volumes that exist or are restored: fields, size, tags.

use serde_json::json;

use crate::model::{
    Action, DeclaredSize, Expect, Growth, Kind, Name, NativeName, ObjectRef, Place, PlacedField, Provisioning, Reason,
    Size, Step, Verb, VolumeSpec,
};

use crate::plan::draft::{Availability, Draft};
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::room::{Room, take_room};
use crate::plan::tags::{DesiredTags, change, exact};
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::checks::check_closed;
use super::configure::{check_settings, configure};
use super::provisioning::provision;
use super::retag::retag;
use super::step::step_on;

/// Plans the changes of a volume that exists, or that the steps `before` restore.
pub(super) fn update<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    spec: &'a VolumeSpec,
    object: &OwnedObject<'a>,
    before: Vec<usize>,
) -> Result<Availability, Hold> {
    check_settings(inventory, usable, subject, spec)?;
    let place_of = |field| inventory.place_of_field(subject.kind, subject.name, field);
    let native = draft.native_after(&before, object);
    let mut after = before;
    let tags_now = draft.tags_after(&after, object);
    if let Some(object_name) = spec.object.as_deref().filter(|n| *n != native.as_str() && !tags_now.adopted) {
        let message = format!("`object: {object_name}` cannot change: the native name is {native}");
        let place = place_of(PlacedField::Object);
        let fix = match native.is_reserved() {
            true => format!("remove `object`{place}"),
            false => format!("write `object: {native}`{place}, or remove the field"),
        };
        draft.hold(subject.hold(HeldReason::Immutable, message, fix));
    }
    let provisioned = provision(inventory, draft, usable, subject, spec, (object, &native), &mut after);
    let wanted = DesiredTags { provisioning: draft.accept(provisioned), ..DesiredTags::of_volume(spec) };
    retag(inventory, draft, subject, &wanted, object, &mut after);
    let configured = configure(inventory, draft, usable, subject, spec, (object, &native), &mut after);
    draft.accept(configured);
    let would_grow_back = *spec.size > object.whole_size() && inventory.settled(object).accepted == Some(*spec.size);
    let size = match would_grow_back {
        true => {
            draft.to_grow_back.push((&spec.meta.name, *object));
            object.size
        }
        false => {
            let grown = grow(inventory, draft, usable, subject, object, &native, spec.size, &mut after);
            draft.accept(grown).unwrap_or(object.size)
        }
    };
    let done = |request: &String| inventory.settled(object).restored.contains(request);
    let asks = |request: &String| tags_now.restored.as_ref() != Some(request) && !done(request);
    if spec.restore.as_ref().is_some_and(|restore| asks(&restore.request)) {
        draft.to_restore.push((&spec.meta.name, *object));
    }
    let object = ObjectRef { native, size, ..object.reference() };
    Ok(Availability::Here { backend: spec.backend.clone(), object, after })
}

/// Plans growths of volumes whose smaller size was accepted; they would add zeroes where data was. They come after all other steps of
/// the volume, so that none waits for their approval.
pub(in crate::plan) fn growths_back<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    for (name, object) in std::mem::take(&mut draft.to_grow_back) {
        let grown = grow_back(inventory, draft, name, &object);
        draft.accept(grown);
    }
}

/// A declared volume that exists, as the draft leaves it.
pub(super) struct PlannedVolume<'i, 'a> {
    pub spec: &'a VolumeSpec,
    pub usable: &'i Usable<'a>,
    pub subject: Subject<'a>,
    pub object: ObjectRef,
    /// The steps to wait for.
    pub after: Vec<usize>,
}

/// Returns a declared volume, if it exists in the draft.
pub(super) fn planned<'i, 'a>(
    inventory: &'i Inventory<'a>,
    draft: &Draft<'a>,
    name: &'a Name,
) -> Option<PlannedVolume<'i, 'a>> {
    let spec = inventory.specs().volumes.get(name)?;
    let usable = inventory.usable(&spec.backend)?;
    let Some(Availability::Here { object, after, .. }) = draft.availability(Kind::Volume, name) else {
        return None;
    };
    let backend = Some(&spec.backend);
    let subject = Subject {
        kind: Kind::Volume,
        name,
        backend,
        target: None,
        uid: Some(object.uid),
        action: Verb::Update,
        in_trash: false,
    };
    Some(PlannedVolume { spec, usable, subject, object, after })
}

fn grow_back<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    name: &'a Name,
    object: &OwnedObject<'a>,
) -> Result<(), Hold> {
    let Some(volume) = planned(inventory, draft, name) else { return Ok(()) };
    let PlannedVolume { spec, usable, subject, object: volume, mut after } = volume;
    after.extend(draft.readers_of(volume.uid));
    let before = draft.steps.len();
    grow(inventory, draft, usable, &subject, object, &volume.native, spec.size, &mut after)?;
    if draft.steps.len() > before {
        let (was, now) = (exact(spec.size), exact(object.size));
        let why = format!("it was accepted with {now}; growing it back to {was} would put zeroes where data was");
        draft.withheld.insert(before, why);
    }
    Ok(())
}

/// Drafts the growth of a volume after the steps `after` if its document declares a larger size, and adds its own step to them;
/// returns the size after them.
#[expect(clippy::too_many_arguments, reason = "the place of the field is for the fix")]
pub(super) fn grow<'a>(
    inventory: &Inventory<'_>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    object: &OwnedObject<'_>,
    native: &NativeName,
    declared: DeclaredSize,
    after: &mut Vec<usize>,
) -> Result<Size, Hold> {
    let to = declared.round_up(usable.capabilities.granularity);
    let size = object.whole_size();
    if to < size {
        let message =
            format!("its size is {} and the document says {}; volumes only grow", exact(size), exact(declared));
        let (size, place) = (size, inventory.place_of_field(subject.kind, subject.name, PlacedField::Size));
        let fix = format!("write `size: {size}`{place}, or create a smaller volume and copy the data");
        return Err(subject.hold(HeldReason::ShrinkRefused, message, fix));
    }
    // An adopted object may have a size between two multiples of the granularity: it need not grow.
    if *declared <= size {
        return Ok(object.size);
    }
    let idle = match usable.capabilities.grow {
        Growth::No => {
            let (message, size) = (format!("backend {} cannot grow volumes", usable.name), object.size);
            let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Size);
            let fix = format!("write `size: {size}`{place}, or create a larger volume and copy the data");
            return Err(subject.hold(HeldReason::Unsupported, message, fix));
        }
        Growth::Idle => {
            check_closed(usable, subject, object, "the backend cannot grow an open volume", || {
                let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Size);
                format!("write `size: {}`{place}, or create a larger volume and copy the data", object.size)
            })?;
            true
        }
        Growth::Open => false,
    };
    let more = Size(to.bytes() - object.size.bytes());
    let thick = draft.tags_after(after, object).provisioning == Some(Provisioning::Thick);
    let room = Room { provisioned: more.bytes(), taken: if thick { more.bytes() } else { 0 }, objects: 0, adopted: 0 };
    take_room(inventory, draft, usable, subject, to, room)?;
    // A restore may come before, after which some backends have another object.
    let restores = inventory.specs().volumes.get(subject.name).is_some_and(|spec| spec.restore.is_some());
    let id = object.id.clone().filter(|_| !restores);
    let expect = Expect { place: Some(Place::Live), id, size: Some(object.size), idle, ..Expect::default() };
    let step = draft.add(Step {
        identity: subject.identity(object.identity),
        native: native.clone(),
        changes: vec![change("size", json!(object.size), json!(to))],
        after: after.clone(),
        ..step_on(object, Action::Grow { to }, Reason::Grown, expect)
    });
    after.push(step);
    Ok(to)
}
