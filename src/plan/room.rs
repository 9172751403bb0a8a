//! Whether a pool has room for the plan: provisioned bytes, and each resource that it can run out of.

use crate::model::{
    Action, Capacity, ImageObservation, Kind, Name, ObjectRef, Origin, Percent, Place, PlacedField, Provisioning,
    Resource, Size,
};

use super::draft::{Draft, RoomTaken};
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
    /// Objects that are adopted: they are there, and only what marks them is new.
    pub adopted: u64,
}

impl<'a> RoomTaken<'a> {
    /// Adds the room of a step.
    pub(super) fn add(&mut self, backend: &'a Name, room: Room) {
        let Room { provisioned, taken, objects, adopted } = room;
        let counted = [
            (&mut self.provisioned, provisioned),
            (&mut self.bytes, taken),
            (&mut self.objects, objects),
            (&mut self.adopted, adopted),
        ];
        for (all, more) in counted {
            let sum = all.entry(backend).or_default();
            *sum = sum.saturating_add(more);
        }
    }
}

/// A resource of a pool as it is used after the steps so far.
struct Needed {
    capacity: Capacity,
    used: u64,
}

impl Needed {
    /// `taken`: the bytes that the steps allocate; `made`, `adopted`: the objects that they create and adopt.
    fn of(capacity: &Capacity, taken: u64, made: u64, adopted: u64) -> Self {
        let (content, objects) = match capacity.resource {
            Resource::Data => (taken, made),
            Resource::Metadata | Resource::Objects => (0, made),
            // The mark of an adopted file is a file.
            Resource::Inodes => (0, made.saturating_add(adopted)),
        };
        let more = capacity.per_object.saturating_mul(objects).saturating_add(content);
        Self { capacity: *capacity, used: capacity.used.saturating_add(more) }
    }

    /// Whether a step that takes this room must be held because too little of it is left.
    fn exceeds(&self, max_fill: Percent, room: Room) -> bool {
        let above = self.used > self.capacity.total;
        match self.capacity.resource {
            Resource::Data | Resource::Metadata => self.used > max_fill.of(self.capacity.total),
            Resource::Objects => room.objects > 0 && above,
            Resource::Inodes => room.objects + room.adopted > 0 && above,
        }
    }

    /// Returns the used share in thousandths.
    fn permille(&self) -> u128 {
        (u128::from(self.used) * 1000).checked_div(u128::from(self.capacity.total)).unwrap_or(u128::MAX)
    }

    /// Returns the message and the fix of a hold because too little of it is left. `taken`: the bytes that the step allocates; `made`: the objects of the plan;
    /// `place`: that of `maxFill`.
    fn text(&self, usable: &Usable<'_>, taken: u64, made: u64, place: &str) -> (String, String) {
        let (used, total) = (Size(self.used).rounded(), Size(self.capacity.total).rounded());
        let (name, max_fill) = (usable.name, usable.spec.max_fill);
        let raise = format!("or raise `maxFill` of backend {name}{place}");
        let left = self.capacity.more_objects().unwrap_or(0);
        match self.capacity.resource {
            Resource::Data => {
                let copy = match taken {
                    0 => String::new(),
                    taken => format!("it allocates {} at once; ", Size(taken).rounded()),
                };
                (
                    format!("{copy}{used} of {total} would be used; `maxFill` is {max_fill}"),
                    format!("free space on it (`kiln trash list` shows what can be purged), {raise}"),
                )
            }
            Resource::Metadata => (
                format!("{used} of its {total} of metadata would be used; `maxFill` is {max_fill}"),
                format!("give it more metadata, purge the trash (`kiln trash list`), {raise}"),
            ),
            Resource::Objects => (
                format!("the backend has room for {left} more objects; the plan would create {made}"),
                "remove objects from that backend, or purge the trash: `kiln trash list`".to_owned(),
            ),
            Resource::Inodes => (
                format!("the file system has inodes for {left} more objects; the plan would create {made}"),
                "remove files from that file system, or purge the trash: `kiln trash list`".to_owned(),
            ),
        }
    }
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
    let (spec, capabilities) = (usable.spec, usable.capabilities);
    if subject.uid.is_some_and(|uid| inventory.inputs.running.iter().any(|running| running.changes(uid))) {
        // It has been checked, and is counted already.
        return Ok(());
    }
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
    let adopted = so_far(&draft.room.adopted).saturating_add(room.adopted);
    let then = usable.observed.capacities.iter().map(|capacity| Needed::of(capacity, taken, made, adopted));
    // The fullest is named: it is what ends the hold.
    let full = then.filter(|needed| needed.exceeds(spec.max_fill, room)).max_by_key(Needed::permille);
    let over = || {
        let total = usable.observed.capacity(Resource::Data)?.total;
        let share = spec.overcommit.filter(|share| provisioned > share.of(total))?;
        let message = format!(
            "{} would be provisioned of a capacity of {}; `overcommit` is {share}",
            Size(provisioned).rounded(),
            Size(total).rounded()
        );
        let place = place_of(PlacedField::Overcommit);
        Some((message, format!("declare less, or raise `overcommit` of backend {}{place}", usable.name)))
    };
    let full = match full {
        Some(needed) => Some(needed.text(usable, room.taken, made + adopted, &place_of(PlacedField::MaxFill))),
        None => over(),
    };
    if let Some((message, fix)) = full {
        return Err(subject.hold(HeldReason::PoolFull, message, fix));
    }
    draft.room.add(usable.name, room);
    Ok(())
}

/// Takes the room that steps which still run are going to take: before all others, and also if nothing declares their objects any more.
pub(super) fn take_room_of_running<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    for running in inventory.inputs.running {
        let Some(usable) = running.step.backend().and_then(|name| inventory.usable(name)) else { continue };
        let copied = match (running.step.action.origin(), running.step.action.reads()) {
            (Some(origin), _) => copied(inventory, draft, usable, origin),
            (None, Some((_, source))) => copy_of(inventory, draft, usable, source),
            (None, None) => 0,
        };
        let (mut provisioned, mut taken) = (0, copied);
        if let Action::Create { size, provisioning, .. } = &running.step.action {
            provisioned = size.bytes();
            if *provisioning == Provisioning::Thick {
                taken = size.bytes();
            }
        }
        // What it has taken so far is observed.
        let uid = Some(running.step.identity.uid);
        let unfinished = usable.observed.objects.iter().filter(|object| object.place == Place::Temporary);
        let used: u64 = unfinished.filter(|object| object.uid() == uid).filter_map(|object| object.used).sum();
        let taken = taken.saturating_sub(used);
        draft.room.add(usable.name, Room { provisioned, taken, objects: 0, adopted: 0 });
    }
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
