//! Whether a pool has room for what is planned: bytes provisioned, bytes that steps take at once, and objects.

use crate::model::{Capacity, ImageObservation, Name, ObjectRef, Origin, Size};

use super::backend_state::Usable;
use super::draft::Draft;
use super::hold::{Hold, Subject};
use super::inventory::Inventory;
use super::types::HeldReason;

/// What a step asks of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes that clients may write later.
    pub provisioned: u64,
    /// Bytes that the step itself takes: of a thick volume, or of a copy that shares no blocks.
    pub taken: u64,
    /// New objects.
    pub objects: u64,
}

/// Counts what a step takes of a pool, beside what earlier steps of this plan take; holds its object if there is no room.
pub(super) fn take_room<'a>(
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    size: Size,
    room: Room,
) -> Result<(), Hold> {
    let (spec, capabilities, capacity) = (usable.spec, usable.capabilities, usable.observed.capacity);
    if size.bytes() > capabilities.max_size {
        let max = Size(capabilities.max_size);
        let message = format!("{size} is more than the backend can hold in one object ({max})");
        return Err(subject.hold(HeldReason::Unsupported, message, "declare a smaller size"));
    }
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
                taken => format!("it takes {} at once; ", Size(taken)),
            };
            Some(format!("{copy}{} of {} would be used, and `maxFill` is {}", Size(used), Size(total), spec.max_fill))
        } else if limit.is_some_and(|limit| provisioned > limit) {
            let share = spec.overcommit.unwrap_or(spec.max_fill);
            Some(format!(
                "{} would be provisioned of a capacity of {}, and `overcommit` is {share}",
                Size(provisioned),
                Size(total)
            ))
        } else if room.objects > 0 && objects.is_some_and(|left| made > left) {
            let left = objects.unwrap_or(0);
            Some(format!("the file system has inodes for {left} more objects, and the plan would make {made}"))
        } else {
            None
        }
    });
    if let Some(message) = full {
        let fix = match capacity.and_then(|capacity| capacity.objects) {
            Some(left) if made > left => "remove files from that file system, or purge trash: `kiln trash list`",
            _ => "make room, or raise the limit of the Backend",
        };
        return Err(subject.hold(HeldReason::PoolFull, message, fix));
    }
    draft.room.provisioned.insert(usable.name, provisioned);
    draft.room.bytes.insert(usable.name, taken);
    draft.room.objects.insert(usable.name, made);
    Ok(())
}

/// Whether every copy within a pool takes room of its own.
pub(super) fn copies(usable: &Usable<'_>) -> bool {
    usable.capabilities.shares_blocks.is_none()
}

/// Bytes that a copy of an object takes in its pool: what the object itself takes, or its size where that is not known.
pub(super) fn copy_of(inventory: &Inventory<'_>, draft: &Draft<'_>, usable: &Usable<'_>, source: &ObjectRef) -> u64 {
    if !copies(usable) {
        return 0;
    }
    let seen = inventory.by_uid.get(&source.uid).and_then(|object| object.used);
    let made = || draft.room.of_object.get(&source.uid).copied();
    seen.or_else(made).unwrap_or_else(|| source.size.bytes())
}

/// Bytes that a new volume takes by being made from `origin`.
pub(super) fn copied(inventory: &Inventory<'_>, draft: &Draft<'_>, usable: &Usable<'_>, origin: &Origin) -> u64 {
    match origin {
        Origin::Snapshot(object) | Origin::Volume(object) => copy_of(inventory, draft, usable, object),
        Origin::Image { image, .. } => match inventory.inputs.images.get(image) {
            Some(ImageObservation::Good { used, device, .. }) => {
                let here = usable.capabilities.shares_blocks;
                if here.is_some() && here == *device { 0 } else { *used }
            }
            // One that was not inspected yet is planned once more after the inspection.
            Some(ImageObservation::Missing | ImageObservation::Refused { .. }) | None => 0,
        },
    }
}
