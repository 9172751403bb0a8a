//! Snapshots that go to the trash inside of their volume, and come back with it, on backends whose trash holds volumes only.

use crate::model::{InnerSnapshot, Kind, Object, OnRemove, Place, TrashAbility, Verb, Withdrawal};

use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

/// Whether a snapshot can go to the trash and come back only inside of its volume.
pub(super) fn moves_with_volume(usable: &Usable<'_>, object: &Object) -> bool {
    usable.capabilities.trash == TrashAbility::Volumes && object.parent_volume.is_some()
}

/// Holds an object that is to go to the trash by itself, and cannot.
pub(super) fn check_trash_takes(usable: &Usable<'_>, subject: &Subject<'_>) -> Result<(), Hold> {
    if usable.capabilities.trash.takes(subject.kind) {
        return Ok(());
    }
    let backend = usable.name;
    let message = match usable.capabilities.trash {
        TrashAbility::Volumes => format!("the trash of backend {backend} takes a snapshot only inside of its volume"),
        TrashAbility::None | TrashAbility::All => format!("backend {backend} has no trash"),
    };
    let fix = "declare it again with `onRemove: Delete` or `onRemove: Retain` and apply; then remove it";
    Err(subject.hold(HeldReason::Unsupported, message, fix))
}

/// Whether a released snapshot may go to the trash inside of its volume: one that only came back with it. `onRemove: Retain` keeps a
/// snapshot where it is.
pub(super) fn may_go_along(inventory: &Inventory<'_>, object: &OwnedObject<'_>) -> bool {
    let identity = object.identity;
    let ledger = inventory.ledger(object.backend);
    object.tags.on_remove() != OnRemove::Retain
        && inventory.reading().withdraws(identity.kind, &identity.name, ledger, identity.uid) == Withdrawal::Withdrawn
}

/// Returns the snapshots that come back from the trash inside of a volume. Each keeps its name, which no other snapshot may have.
pub(super) fn come_along<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    volume: &OwnedObject<'a>,
) -> Result<Vec<InnerSnapshot>, Hold> {
    if usable.capabilities.trash != TrashAbility::Volumes || volume.identity.kind != Kind::Volume {
        return Ok(Vec::new());
    }
    let mut along = Vec::new();
    for object in inventory.inside(volume).iter().copied().filter(|object| object.place == Place::Trash) {
        let at = object.address();
        let Some(snapshot) = OwnedObject::of(usable.name, object).filter(|one| one.tags.volume == Some(volume.uid()))
        else {
            continue;
        };
        if let Some(why) = &object.conflict {
            return Err(subject.hold_inconsistent(&at, why));
        }
        let name = &snapshot.identity.name;
        let live = inventory.find(Kind::Snapshot, name, Place::Live);
        if let Some(other) = live.iter().find(|other| other.uid() != snapshot.uid()) {
            let message = format!("{at}, which comes back with it, has the name of {}", other.address());
            let fix = format!("remove or rename snapshot {name}, and apply");
            return Err(subject.hold(HeldReason::Ambiguous, message, fix));
        }
        let specs = inventory.specs();
        let renames = |old: &Option<_>| old.as_ref() == Some(name);
        let declared =
            specs.snapshots.contains_key(name) || specs.snapshots.values().any(|s| renames(&s.meta.renamed_from));
        if !declared {
            let of_snapshot = Subject::existing(snapshot.identity, usable.name, Verb::Adopt);
            let of_snapshot = Subject { in_trash: true, ..of_snapshot };
            let lost = crate::plan::lost::check_not_lost(inventory, &of_snapshot, name, None);
            if draft.accept(lost).is_none() {
                let message = format!("its snapshot {name}, which comes back with it, is held");
                return Err(subject.waits_for_held(message, Kind::Snapshot, name));
            }
        }
        along.extend(InnerSnapshot::of(object, !declared));
    }
    Ok(along)
}

/// Holds a snapshot that is in the trash inside of a volume which no document brings back. A snapshot that went to the trash by itself comes
/// back alone if its volume is live.
pub(super) fn check_not_left_inside(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    object: &OwnedObject<'_>,
) -> Result<(), Hold> {
    let volume = object.tags.volume.and_then(|uid| inventory.by_uid.get(&uid));
    let is_live = volume.is_some_and(|volume| volume.place == Place::Live);
    if !moves_with_volume(usable, object) && (object.parent_volume.is_none() || is_live) {
        return Ok(());
    }
    let at = object.address();
    let message = format!("{at} is in the trash inside of its volume, and comes back only with it");
    let fix = match volume {
        Some(volume) => {
            format!("declare volume {0}, or `kiln trash restore volume/{0}`", volume.identity.name)
        }
        None => "declare the new snapshot under another name".to_owned(),
    };
    Err(subject.hold(HeldReason::Unsupported, message, fix))
}
