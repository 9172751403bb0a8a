//! New volumes: their content, native name and room.

use serde_json::{Value, json};

use crate::model::{
    Action, Address, FieldChange, Identity, ImageObservation, ImageRef, Kind, Name, NameFault, NativeName, ObjectRef,
    Origin, PlacedField, Provisioning, Reason, Size, SourceSpec, Step, Tags, VolumeSettings, VolumeSpec,
};

use crate::plan::draft::{Availability, Draft};
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::Inventory;
use crate::plan::name_conflict::{check_name_is_free, check_requested_once, may_free_name};
use crate::plan::room::{Room, copied, take_room};
use crate::plan::settings::first_settings;
use crate::plan::tags::{DesiredTags, change, desired_tags, exact, first_tags};
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;
use crate::text::closest;

use super::checks::{check_allowed, check_made_names, check_not_torn, new_identity, too_many};
use super::configure::{check_settings, check_source_is_plain};

/// The content of a new volume.
pub(super) enum ContentSource<'a> {
    Object(SourceObject<'a>),
    Image(&'a ImageRef),
}

/// The volume or snapshot that a new volume is copied from.
pub(super) struct SourceObject<'a> {
    pub kind: Kind,
    pub name: &'a Name,
    pub availability: Availability,
}

/// Holds a new volume that its backend cannot create, whatever its content; returns its provisioning.
pub(super) fn check(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    spec: &VolumeSpec,
) -> Result<Provisioning, Hold> {
    check_allowed(inventory, subject)?;
    check_settings(inventory, usable, subject, spec)?;
    let capabilities = usable.capabilities;
    let provisioning =
        spec.provisioning.unwrap_or(if capabilities.thin { Provisioning::Thin } else { Provisioning::Thick });
    let can = match provisioning {
        Provisioning::Thin => capabilities.thin,
        Provisioning::Thick => capabilities.thick,
    };
    if can {
        return Ok(provisioning);
    }
    let message = format!("backend {} cannot create {} volumes", usable.name, provisioning.as_str());
    let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Provisioning);
    Err(subject.hold(HeldReason::Unsupported, message, format!("remove `provisioning`{place}")))
}

/// A smaller volume is probably declared without the unit of its size: no partition table or file system fits into less than a page.
const SMALLEST: Size = Size(4096);

/// Drafts a new volume.
pub(super) fn create<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    spec: &'a VolumeSpec,
    provisioning: Provisioning,
    source: Option<ContentSource<'_>>,
) -> Result<Availability, Hold> {
    let size = spec.size.round_up(usable.capabilities.granularity);
    let (origin, after) = match source {
        None => (None, Vec::new()),
        Some(ContentSource::Image(image)) => {
            (Some(image_origin(inventory, usable, subject, spec, size, image)?), Vec::new())
        }
        Some(ContentSource::Object(source)) => {
            let name = source.name;
            let (origin, after) = source.origin(inventory, usable, subject, spec, size)?;
            if let Some((_, object)) = origin.object() {
                check_source_is_plain(inventory, draft, subject, spec, (object.uid, name))?;
            }
            (Some(origin), after)
        }
    };
    let (identity, n) = new_identity(inventory, draft, usable, Kind::Volume, &spec.meta.name);
    let subject = Subject { uid: Some(identity.uid), ..*subject };
    let native = native_name(inventory, usable, &subject, spec, &identity)?;
    let at = Address::flat(&native);
    let leaving = may_free_name(inventory, usable, &at);
    if leaving.is_none() {
        check_name_is_free(inventory, usable, &subject, &at)?;
    }
    check_requested_once(inventory, usable, &subject, &native, None)?;
    let copied = origin.as_ref().map_or(0, |origin| copied(inventory, draft, usable, origin));
    let taken = if provisioning == Provisioning::Thick { size.bytes() } else { copied };
    let room = Room { provisioned: size.bytes(), taken, objects: 1, adopted: 0 };
    take_room(inventory, draft, usable, &subject, size, room)?;
    draft.room.of_object.insert(identity.uid, taken);
    let settings = VolumeSettings::of(spec);
    if settings.encrypted {
        draft.encrypted.insert(identity.uid);
    }
    let desired = DesiredTags::of_volume(spec).or_defaults(inventory.stack());
    let mut tags = desired_tags(&desired, &Tags::default());
    tags.provisioning = (provisioning == Provisioning::Thick).then_some(provisioning);
    tags.identity = (native != identity.native()).then(|| Box::new(identity.clone()));
    // A `restore` that is declared with a new volume has nothing to restore: it counts as done.
    tags.restored = spec.restore.as_ref().map(|restore| restore.request.clone());
    let object = ObjectRef::new(native.clone(), identity.uid, size);
    let changes = changes(spec, size, &tags, &settings);
    let action = Action::Create { size, provisioning, origin, tags, settings, n };
    let created = Step::new(spec.backend.clone(), identity, action, Reason::NotThere);
    if *spec.size < SMALLEST {
        let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Size);
        let (name, bytes) = (&spec.meta.name, spec.size.bytes());
        let message = format!(
            "volume {name} is declared with {bytes} bytes; fix: if a unit is missing, write `size: {bytes}Gi`{place}"
        );
        draft.warn("TinySize", message, [created.identity.id()].into());
    }
    let step = draft.add(Step { native, changes, after, ..created });
    draft.awaiting_names.extend(leaving.map(|object| (step, object)));
    Ok(Availability::Here { backend: spec.backend.clone(), object, after: vec![step] })
}

/// Returns the shown fields of a new volume.
fn changes(spec: &VolumeSpec, size: Size, tags: &Tags, settings: &VolumeSettings) -> Vec<FieldChange> {
    let mut changes = vec![change("size", Value::Null, json!(size))];
    if let Some(source) = spec.source.as_deref() {
        let (path, name) = match source {
            SourceSpec::Snapshot(name) => ("source.snapshot", name.to_string()),
            SourceSpec::Volume(name) | SourceSpec::Quiesced(name) => ("source.volume", name.to_string()),
            SourceSpec::Image(image) => ("source.image", image.path.display().to_string()),
        };
        changes.push(change(path, Value::Null, json!(name)));
    }
    changes.extend(first_settings(settings));
    changes.extend(first_tags(tags));
    changes
}

impl SourceObject<'_> {
    /// Returns the object to copy into a volume of this size, and the steps after which it exists.
    fn origin(
        self,
        inventory: &Inventory<'_>,
        usable: &Usable<'_>,
        subject: &Subject<'_>,
        spec: &VolumeSpec,
        size: Size,
    ) -> Result<(Origin, Vec<usize>), Hold> {
        let kind = self.kind;
        let (name, what) = (self.name, format!("{} {}", kind.as_lower(), self.name));
        let place_of = |field| inventory.place_of_field(subject.kind, subject.name, field);
        let place = place_of(PlacedField::Source);
        let (backend, object, after) = self.existing(inventory, subject, &place)?;
        if backend != spec.backend {
            let message = format!("{what} is on backend {backend}; copying between backends is not implemented yet");
            let fix = format!("write `backend: {backend}`{}", place_of(PlacedField::Backend));
            return Err(subject.hold(HeldReason::Unsupported, message, fix));
        }
        match &usable.capabilities.clones {
            None => {
                let message = format!("backend {backend} makes only empty volumes");
                let fix = format!("remove `source`{place} to create an empty volume");
                return Err(subject.hold(HeldReason::Unsupported, message, fix));
            }
            Some(clones) if kind == Kind::Volume && !clones.of_volume => {
                let message = format!("backend {backend} clones only snapshots");
                let fix = format!(
                    "declare a Snapshot with `spec: {{volume: {name}}}`, and write `source: {{snapshot: NAME}}`{place} with its name"
                );
                return Err(subject.hold(HeldReason::Unsupported, message, fix));
            }
            Some(_) => {}
        }
        if size < object.size {
            let message = format!("it is declared with {}, and {what} has {}", exact(spec.size), exact(object.size));
            let fix = format!("write at least `size: {}`{}", object.size, place_of(PlacedField::Size));
            return Err(subject.hold(HeldReason::SizeBelowSource, message, fix));
        }
        if kind == Kind::Snapshot {
            return Ok((Origin::Snapshot(object), after));
        }
        let quiesced = matches!(spec.source.as_deref(), Some(SourceSpec::Quiesced(_)));
        let declare = format!("source: {{volume: {name}, quiesced: true}}");
        check_not_torn(inventory, usable, subject, &object, quiesced, &declare)?;
        Ok((Origin::Volume(object), after))
    }

    /// Returns the object and its backend, if it exists or will exist after these steps.
    /// `place`: that of `source` in the volume's document.
    fn existing(
        self,
        inventory: &Inventory<'_>,
        subject: &Subject<'_>,
        place: &str,
    ) -> Result<(Name, ObjectRef, Vec<usize>), Hold> {
        let Self { kind, name, availability } = self;
        let what = format!("{} {name}", kind.as_lower());
        match availability {
            Availability::Here { backend, object, after } => Ok((backend, object, after)),
            Availability::Held => Err(subject.waits_for_held(format!("its source {what} is held"), kind, name)),
            Availability::Missing => {
                let message = format!("its source {what} is not declared and does not exist");
                let or = format!("declare {what}, or remove `source`{place} to create an empty volume");
                let fix = match (
                    declared_as(inventory, subject, kind, name),
                    declared_like(inventory, subject, kind, name),
                ) {
                    (Some(other), _) => {
                        format!("write `source: {{{}: {name}}}`{place}, or declare {what}", other.as_lower())
                    }
                    (None, Some(meant)) => format!("did you mean `{meant}`? If not, {or}"),
                    (None, None) => or,
                };
                Err(subject.hold(HeldReason::SourceMissing, message, fix))
            }
            Availability::Unclear => {
                let message = format!("its source {what} exists more than once or is inconsistent");
                let fix = format!("declare {what} to see what holds it");
                Err(subject.hold(HeldReason::Ambiguous, message, fix))
            }
            Availability::Cycle => {
                let message = format!("its source {what} is made from it");
                let fix = format!("remove one `source` of the cycle{place}");
                Err(subject.hold(HeldReason::SourceMissing, message, fix))
            }
        }
    }
}

/// Returns the other kind of source, if it declares an object of this name: never the new volume itself.
fn declared_as(inventory: &Inventory<'_>, subject: &Subject<'_>, kind: Kind, name: &Name) -> Option<Kind> {
    let other = if kind == Kind::Volume { Kind::Snapshot } else { Kind::Volume };
    let is_itself = (other, name) == (subject.kind, subject.name);
    (inventory.specs().declares(other, name) && !is_itself).then_some(other)
}

/// Returns the declared source whose name is closest to one that is not declared, if any is close: never the new volume itself.
fn declared_like<'a>(inventory: &Inventory<'a>, subject: &Subject<'_>, kind: Kind, name: &Name) -> Option<&'a str> {
    // Each missing source is compared with these, and any number of sources may be missing.
    const COMPARED: usize = 1_000;
    let specs = inventory.specs();
    let volumes = specs.volumes.keys().filter(|_| kind == Kind::Volume).filter(|other| *other != subject.name);
    let snapshots = specs.snapshots.keys().filter(|_| kind == Kind::Snapshot);
    closest(name.as_str(), volumes.chain(snapshots).take(COMPARED).map(Name::as_str))
}

/// Returns the image that a new volume is copied from.
///
/// An image that was not inspected yet is planned as if it were usable: [`images`](crate::plan::images) names it, and the caller plans
/// again after the inspection. So only images that are needed are inspected.
fn image_origin(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    spec: &VolumeSpec,
    size: Size,
    image: &ImageRef,
) -> Result<Origin, Hold> {
    let place_of = |field| inventory.place_of_field(subject.kind, subject.name, field);
    if !usable.capabilities.images {
        let message = format!("backend {} cannot create volumes from images", usable.name);
        let fix = format!("remove `source`{}", place_of(PlacedField::Source));
        return Err(subject.hold(HeldReason::Unsupported, message, fix));
    }
    let path = image.path.display();
    let seen = match inventory.inputs.images.get(image) {
        None => None,
        Some(ImageObservation::Good { size, .. }) => Some(*size),
        Some(ImageObservation::Missing) => {
            let message = format!("its source image {path} does not exist");
            let place = place_of(PlacedField::Path);
            let fix =
                format!("put the file there, correct `path`{place}, or remove `source` to create an empty volume");
            return Err(subject.hold(HeldReason::SourceMissing, message, fix));
        }
        Some(ImageObservation::Refused { why }) => {
            let message = format!("its source, the {} image {path}, cannot be used: {why}", image.format);
            let fix = "use an image of the declared format without a backing file; \
                       `qemu-img convert` makes one, on a host that trusts the image";
            return Err(subject.hold(HeldReason::Unsupported, message, fix));
        }
    };
    if let Some(needed) = seen.filter(|needed| size < *needed) {
        let message = format!("it is declared with {}, and the image {path} has {}", exact(spec.size), exact(needed));
        let fix = format!("write at least `size: {}`{}", needed, place_of(PlacedField::Size));
        return Err(subject.hold(HeldReason::SizeBelowSource, message, fix));
    }
    Ok(Origin::Image { image: image.clone(), size: seen })
}

/// Returns the native name of a new volume: as declared, else made from its identity.
fn native_name(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    subject: &Subject<'_>,
    spec: &VolumeSpec,
    identity: &Identity,
) -> Result<NativeName, Hold> {
    check_made_names(inventory, usable, subject, identity)?;
    let Some(name) = &spec.object else { return Ok(identity.native()) };
    let names = &usable.capabilities.names;
    let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Object);
    if !names.own {
        let message = format!("backend {} chooses native names itself", usable.name);
        return Err(subject.hold(HeldReason::Unsupported, message, format!("remove `object`{place}")));
    }
    let native = NativeName::new(name);
    let (reason, message, fix) = match names.check(&native) {
        Ok(()) => return Ok(native),
        Err(NameFault::TooLong(bytes)) => {
            let message = format!("`object` has {}", too_many(usable, bytes));
            (HeldReason::NameTooLong, message, format!("write a shorter `object`{place}"))
        }
        Err(NameFault::Character(bad)) => {
            let message = format!("`object` contains {bad:?}, which backend {} does not allow in names", usable.name);
            (
                HeldReason::Unsupported,
                message,
                format!("write an `object` of A-Z, a-z, 0-9, `.`, `_`, `+` and `-`{place}"),
            )
        }
    };
    Err(subject.hold(reason, message, fix))
}
