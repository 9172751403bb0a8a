//! Thin and thick volumes that exist: space that is reserved, or reserved again.

use serde_json::json;

use crate::model::{
    Action, Expect, NativeName, Object, Place, PlacedField, Provisioning, Reason, Reservation, Step, VolumeSpec,
};

use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::room::{Room, take_room};
use crate::plan::tags::change;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::checks::check_closed;
use super::step::step_on;

/// Compares the provisioning that is declared, tagged and shown by the backend, and drafts what reserves the space of a thick volume.
/// Returns the provisioning that its tag then has. Holds what the backend cannot change.
pub(super) fn provision<'a>(
    inventory: &Inventory<'_>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    spec: &VolumeSpec,
    (object, native): (&OwnedObject<'_>, &NativeName),
    after: &mut Vec<usize>,
) -> Result<Provisioning, Hold> {
    let was = draft.tags_after(after, object).provisioning.unwrap_or(Provisioning::Thin);
    let is = object.provisioning.unwrap_or(was);
    let wanted = spec.provisioning.unwrap_or(was.max(is));
    let place = || inventory.place_of_field(subject.kind, subject.name, PlacedField::Provisioning);
    let is_lost = was == Provisioning::Thick;
    let message = match (wanted, is) {
        (Provisioning::Thick, Provisioning::Thick) | (Provisioning::Thin, Provisioning::Thin) => return Ok(wanted),
        (Provisioning::Thick, Provisioning::Thin) if usable.capabilities.reservation == Reservation::Changeable => {
            if may_reserve(inventory, draft, usable, subject, object, is_lost)? {
                reserve(draft, subject, (object, native), is_lost, after);
            }
            return Ok(wanted);
        }
        (Provisioning::Thick, Provisioning::Thin) if is_lost => {
            let message = "the volume is thick, and its space is not reserved; the backend cannot reserve it now";
            let fix = format!("write `provisioning: thin`{}, or copy the data to a new volume", place());
            return Err(subject.hold(HeldReason::Immutable, message, fix));
        }
        _ if is == was => format!("`provisioning` cannot change: the volume was created {}", was.as_str()),
        _ => format!("`provisioning` cannot change: the volume is {}", is.as_str()),
    };
    let fix = format!("write `provisioning: {}`{}, or remove the field", is.as_str(), place());
    Err(subject.hold(HeldReason::Immutable, message, fix))
}

/// Takes the room for a volume's space, and returns whether a step reserves it. Holds the volume if it is open, or if there is no room.
///
/// `is_lost`: it was reserved before. A client that discards blocks can free the space of a thick file. While a client has such a volume
/// open, or may have, that is drift, and neither a step nor a hold: the client could free the space again at any time. The space still
/// counts as taken.
pub(super) fn may_reserve<'a>(
    inventory: &Inventory<'_>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    object: &Object,
    is_lost: bool,
) -> Result<bool, Hold> {
    let is_closed = check_closed(usable, subject, object, "its space cannot be reserved while it is open", || {
        let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Provisioning);
        format!("write `provisioning: thin`{place}, or create a thick volume and copy the data")
    });
    let is_open = match is_closed {
        Err(_) if is_lost => true,
        other => other.map(|()| false)?,
    };
    let missing = object.size.bytes().saturating_sub(object.used.unwrap_or(0));
    let room = Room { provisioned: 0, taken: missing, objects: 0, adopted: 0 };
    let has_room = take_room(inventory, draft, usable, subject, object.size, room);
    if !is_open {
        has_room?;
    }
    Ok(!is_open)
}

/// Drafts the reservation of a volume's space after the steps `after`, and adds its own step to them. See [`may_reserve`].
pub(super) fn reserve(
    draft: &mut Draft<'_>,
    subject: &Subject<'_>,
    (object, native): (&OwnedObject<'_>, &NativeName),
    is_lost: bool,
    after: &mut Vec<usize>,
) {
    let expect = Expect { place: Some(Place::Live), id: object.id.clone(), idle: true, ..Expect::default() };
    let shown = || change("provisioning", json!(Provisioning::Thin), json!(Provisioning::Thick));
    let step = draft.add(Step {
        identity: subject.identity(object.identity),
        native: native.clone(),
        // Else the tag shows it.
        changes: is_lost.then(shown).into_iter().collect(),
        after: after.clone(),
        ..step_on(object, Action::Reserve, Reason::NotReserved, expect)
    });
    after.push(step);
}
