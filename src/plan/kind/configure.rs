//! The settings of volumes: rate limits, which can be changed, and encryption, which cannot.

use crate::model::{
    Action, Expect, Name, NativeName, Place, PlacedField, Reason, Step, Uid, VolumeSettings, VolumeSpec,
};

use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::settings::settings_changes;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::checks::check_closed;
use super::step::step_on;

/// Holds a volume with settings that its backend does not support.
pub(super) fn check_settings(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    spec: &VolumeSpec,
) -> Result<(), Hold> {
    let can = usable.capabilities.settings;
    let missing = [
        (spec.qos.is_some() && !can.qos, "limit rates", "qos", PlacedField::Qos),
        (spec.encrypted && !can.encryption, "encrypt", "encryption", PlacedField::Encryption),
    ];
    let Some((_, what, field, placed)) = missing.into_iter().find(|(missing, ..)| *missing) else { return Ok(()) };
    let message = format!("backend {} cannot {what} (`{field}`)", usable.name);
    let place = inventory.place_of_field(subject.kind, subject.name, placed);
    Err(subject.hold(HeldReason::Unsupported, message, format!("remove `{field}`{place}, or choose another backend")))
}

/// Drafts the change of a live volume's limits to the declared ones after the steps `after`, and adds its own step to them. Holds a
/// volume that is not encrypted as declared.
pub(super) fn configure<'a>(
    inventory: &Inventory<'_>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    spec: &VolumeSpec,
    (object, native): (&OwnedObject<'_>, &NativeName),
    after: &mut Vec<usize>,
) -> Result<(), Hold> {
    let (can, now, wanted) = (usable.capabilities.settings, &object.settings, VolumeSettings::of(spec));
    if can.encryption && wanted.encrypted != now.encrypted {
        draft.hold(encryption_differs(inventory, subject, now.encrypted));
    }
    let settings = VolumeSettings { encrypted: now.encrypted, ..wanted };
    if !can.qos || settings == *now {
        return Ok(());
    }
    if !can.qos_live {
        check_closed(usable, subject, object, "the backend cannot change the limits of an open volume", || {
            let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Qos);
            format!("write the `qos` that it has{place}, or create another volume with these limits")
        })?;
    }
    let expect =
        Expect { place: Some(Place::Live), settings: Some(now.clone()), idle: !can.qos_live, ..Expect::default() };
    let changes = settings_changes(now, &settings);
    let step = draft.add(Step {
        identity: subject.identity(object.identity),
        native: native.clone(),
        changes,
        after: after.clone(),
        ..step_on(object, Action::Configure { settings }, Reason::SettingsDiffer, expect)
    });
    after.push(step);
    Ok(())
}

fn encryption_differs(inventory: &Inventory<'_>, subject: &Subject<'_>, is_encrypted: bool) -> Hold {
    let (message, fix) = match is_encrypted {
        true => {
            let place = inventory.place_of(subject.kind, subject.name);
            let message = "the volume is encrypted; encryption cannot be removed from a volume that exists";
            (message, format!("write its `encryption`{place}, or copy the data to a new volume"))
        }
        false => {
            let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Encryption);
            let message = "the volume is not encrypted; `encryption` cannot be added to a volume that exists";
            (message, format!("copy the data to a new volume with `encryption`, or remove `encryption`{place}"))
        }
    };
    subject.hold(HeldReason::Immutable, message, fix)
}

/// Holds a new volume without `encryption` whose source is encrypted: what is copied cannot be read without the passphrase of the source.
pub(super) fn check_source_is_plain(
    inventory: &Inventory<'_>,
    draft: &Draft<'_>,
    subject: &Subject<'_>,
    spec: &VolumeSpec,
    (source, name): (Uid, &Name),
) -> Result<(), Hold> {
    if spec.encrypted || !is_encrypted(inventory, draft, source) {
        return Ok(());
    }
    let message = format!("its source {name} is encrypted, and a copy of it is encrypted too");
    let place = inventory.place_of(subject.kind, subject.name);
    Err(subject.hold(HeldReason::Unsupported, message, format!("write the `encryption` of {name}{place}")))
}

/// Whether an object is encrypted, or will be by this plan.
pub(super) fn is_encrypted(inventory: &Inventory<'_>, draft: &Draft<'_>, uid: Uid) -> bool {
    draft.encrypted.contains(&uid) || inventory.by_uid.get(&uid).is_some_and(|object| object.settings.encrypted)
}
