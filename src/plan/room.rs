//! Whether a pool has room for what is planned: bytes provisioned, bytes that steps take at once, and objects.

use crate::model::{Capacity, ImageLook, Name, ObjectRef, Origin, Size};

use super::plan::{Planner, Subject};
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

impl<'a> Planner<'a> {
    /// Counts what a step takes of a pool, beside what earlier steps of this plan take; `None` and holds it if there is no room.
    pub(super) fn fits(&mut self, backend: &'a Name, about: &Subject<'_>, size: Size, room: Room) -> Option<()> {
        let good = self.good(backend)?;
        let (spec, capabilities, capacity) = (good.spec, good.capabilities, good.observed.capacity);
        if size.bytes() > capabilities.max_size {
            let message =
                format!("{size} is more than the backend can hold in one object ({})", Size(capabilities.max_size));
            self.hold(about, HeldReason::Unsupported, message, "declare a smaller size");
            return None;
        }
        let so_far = |all: &foldhash::HashMap<&Name, u64>| all.get(backend).copied().unwrap_or(0);
        let provisioned = so_far(&self.provisioned).saturating_add(room.provisioned);
        let taken = so_far(&self.taken).saturating_add(room.taken);
        let made = so_far(&self.made).saturating_add(room.objects);
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
                Some(format!(
                    "{copy}{} of {} would be used, and `maxFill` is {}",
                    Size(used),
                    Size(total),
                    spec.max_fill
                ))
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
            self.hold(about, HeldReason::PoolFull, message, fix);
            return None;
        }
        self.provisioned.insert(backend, provisioned);
        self.taken.insert(backend, taken);
        self.made.insert(backend, made);
        Some(())
    }

    /// Whether every copy within a pool takes room of its own.
    pub(super) fn copies(&self, backend: &Name) -> bool {
        self.good(backend).is_some_and(|good| good.capabilities.shares_blocks.is_none())
    }

    /// Bytes that a copy of an object takes in its pool: what the object itself takes, or its size where that is not known.
    pub(super) fn copy_of(&self, backend: &Name, source: &ObjectRef) -> u64 {
        if !self.copies(backend) {
            return 0;
        }
        let seen = self.by_uid.get(&source.uid).and_then(|(_, object)| object.used);
        let made = || self.filled.get(&source.uid).copied();
        seen.or_else(made).unwrap_or_else(|| source.size.bytes())
    }

    /// Bytes that a new volume takes by being made from `origin`.
    pub(super) fn copied(&self, backend: &Name, origin: &Origin) -> u64 {
        match origin {
            Origin::Snapshot(object) | Origin::Volume(object) => self.copy_of(backend, object),
            Origin::Image { image, .. } => match self.inputs.images.get(image) {
                Some(ImageLook::Good { used, device, .. }) => {
                    let here = self.good(backend).and_then(|good| good.capabilities.shares_blocks);
                    if here.is_some() && here == *device { 0 } else { *used }
                }
                // One that was not looked at yet is planned once more after the look.
                Some(ImageLook::Missing | ImageLook::Refused { .. }) | None => 0,
            },
        }
    }
}
