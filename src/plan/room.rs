//! Whether a pool has room for the plan: provisioned bytes, bytes that steps allocate, and objects.

use crate::model::{Capacity, ImageObservation, Kind, Name, ObjectRef, Origin, PlacedField, Size};

use super::draft::Draft;
use super::hold::{Hold, Subject};
use super::inventory::Inventory;
use super::types::HeldReason;
use super::usable::Usable;

/// The room that a step needs in a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes that clients may write later.
    pub provisioned: u64,
    /// Bytes that the step itself allocates: for a thick volume, or a copy that shares no blocks.
    pub taken: u64,
    /// New objects.
    pub objects: u64,
}

/// Takes the room of a step, on top of what earlier steps of this plan take.
pub(super) fn take_room<'a>(
    inventory: &Inventory<'_>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    size: Size,
    room: Room,
) -> Result<(), Hold> {
    let (spec, capabilities, capacity) = (usable.spec, usable.capabilities, usable.observed.capacity);
    if size.bytes() > capabilities.max_size {
        let max = Size(capabilities.max_size);
        let message = format!("{size} exceeds the largest object that the backend supports ({max})");
        let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Size);
        return Err(subject.hold(HeldReason::Unsupported, message, format!("write at most `size: {max}`{place}")));
    }
    let place_of = |field| inventory.place_of_field(Kind::Backend, usable.name, field);
    let so_far = |all: &foldhash::HashMap<&Name, u64>| all.get(usable.name).copied().unwrap_or(0);
    let provisioned = so_far(&draft.room.provisioned).saturating_add(room.provisioned);
    let taken = so_far(&draft.room.bytes).saturating_add(room.taken);
    let made = so_far(&draft.room.objects).saturating_add(room.objects);
    let full = capacity.and_then(|capacity| {
        let Capacity { total, used, objects } = capacity;
        let fill = spec.max_fill.of(total);
        let used = used.saturating_add(taken);
        let limit = spec.overcommit.map(|share| share.of(total));
        if used > fill {
            let copy = match room.taken {
                0 => String::new(),
                taken => format!("it allocates {} at once; ", Size(taken).rounded()),
            };
            let message = format!(
                "{copy}{} of {} would be used; `maxFill` is {}",
                Size(used).rounded(),
                Size(total).rounded(),
                spec.max_fill
            );
            Some((
                message,
                format!(
                    "free space on it (`kiln trash list` shows what can be purged), or raise `maxFill` of backend {}{}",
                    usable.name,
                    place_of(PlacedField::MaxFill)
                ),
            ))
        } else if limit.is_some_and(|limit| provisioned > limit) {
            let share = spec.overcommit.unwrap_or(spec.max_fill);
            let message = format!(
                "{} would be provisioned of a capacity of {}; `overcommit` is {share}",
                Size(provisioned).rounded(),
                Size(total).rounded()
            );
            let place = place_of(PlacedField::Overcommit);
            Some((message, format!("declare less, or raise `overcommit` of backend {}{place}", usable.name)))
        } else if room.objects > 0 && objects.is_some_and(|left| made > left) {
            let left = objects.unwrap_or(0);
            let message = format!("the file system has inodes for {left} more objects; the plan would create {made}");
            Some((message, "remove files from that file system, or purge the trash: `kiln trash list`".to_owned()))
        } else {
            None
        }
    });
    if let Some((message, fix)) = full {
        return Err(subject.hold(HeldReason::PoolFull, message, fix));
    }
    draft.room.provisioned.insert(usable.name, provisioned);
    draft.room.bytes.insert(usable.name, taken);
    draft.room.objects.insert(usable.name, made);
    Ok(())
}

/// Whether copies within a pool share no blocks with their source.
pub(super) fn copies(usable: &Usable<'_>) -> bool {
    usable.capabilities.shares_blocks.is_none()
}

/// Returns the bytes that a copy of an object allocates: as many as the object itself, or its size if that is unknown.
pub(super) fn copy_of(inventory: &Inventory<'_>, draft: &Draft<'_>, usable: &Usable<'_>, source: &ObjectRef) -> u64 {
    if !copies(usable) {
        return 0;
    }
    let seen = inventory.by_uid.get(&source.uid).and_then(|object| object.used);
    let made = || draft.room.of_object.get(&source.uid).copied();
    seen.or_else(made).unwrap_or_else(|| source.size.bytes())
}

/// Returns the bytes that a new volume allocates by being copied from `origin`.
pub(super) fn copied(inventory: &Inventory<'_>, draft: &Draft<'_>, usable: &Usable<'_>, origin: &Origin) -> u64 {
    match origin {
        Origin::Snapshot(object) | Origin::Volume(object) => copy_of(inventory, draft, usable, object),
        Origin::Image { image, .. } => match inventory.inputs.images.get(image) {
            Some(ImageObservation::Good { used, device, .. }) => {
                let here = usable.capabilities.shares_blocks;
                if here.is_some() && here == *device { 0 } else { *used }
            }
            // An image that was not inspected yet: the plan is made again after the inspection.
            Some(ImageObservation::Missing | ImageObservation::Refused { .. }) | None => 0,
        },
    }
}
