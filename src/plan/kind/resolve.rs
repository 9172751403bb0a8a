//! Plans every declared volume and snapshot once, after its source.

use std::collections::HashSet;

use crate::model::{Kind, Name, NativeName, Place, SnapshotSpec, SourceSpec, Verb, VolumeSpec};

use crate::plan::draft::{Availability, Draft};
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::locate::{Located, locate};
use crate::plan::lost::check_not_shrunk;
use crate::plan::tags::DesiredTags;
use crate::plan::usable::Usable;

use super::adopt::adopt;
use super::adopt_snapshot::adopt_snapshot;
use super::along::{check_not_left_inside, moves_with_volume};
use super::create::{self, ContentSource, SourceObject};
use super::rename::rename;
use super::retag::declared_tags;
use super::undelete::undelete;
use super::{snapshot, volume};

/// The depth at which volumes that need each other count as a cycle. Sources are planned before what is copied from them, so that
/// only a cycle gets this deep.
const DEEPEST: usize = 50;

/// Plans all declared volumes, each after its source.
pub(in crate::plan) fn volumes<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    let specs = inventory.specs();
    let origin = |name: &Name| match specs.volumes.get(name)?.source.as_deref()? {
        SourceSpec::Volume(volume) | SourceSpec::Quiesced(volume) => Some(volume),
        SourceSpec::Snapshot(snapshot) => specs.snapshots.get(snapshot).map(|snapshot| &snapshot.volume),
        SourceSpec::Image(_) => None,
    };
    let mut begun = HashSet::new();
    for (first, spec) in &specs.volumes {
        if spec.source.is_none() {
            resolve_volume(inventory, draft, first);
            continue;
        }
        let chain = std::iter::successors(Some(first), |name| origin(name));
        let chain: Vec<&Name> = chain.take_while(|name| begun.insert(*name)).collect();
        for name in chain.into_iter().rev() {
            resolve_volume(inventory, draft, name);
        }
    }
}

/// Plans all declared snapshots.
pub(in crate::plan) fn snapshots<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    for name in inventory.specs().snapshots.keys() {
        resolve_snapshot(inventory, draft, name);
    }
}

/// Plans the source of another object, declared or not, and returns its availability.
pub(super) fn resolve_source<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    kind: Kind,
    name: &'a Name,
) -> Availability {
    let declared = match kind {
        Kind::Volume => resolve_volume(inventory, draft, name),
        Kind::Snapshot => resolve_snapshot(inventory, draft, name),
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => Availability::Missing,
    };
    match declared {
        Availability::Missing => undeclared(inventory, draft, kind, name),
        Availability::Here { .. } | Availability::Held | Availability::Unclear | Availability::Cycle => declared,
    }
}

/// Plans a declared volume once, and returns its availability.
fn resolve_volume<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>, name: &'a Name) -> Availability {
    if let Some(availability) = draft.availability(Kind::Volume, name) {
        return availability;
    }
    let Some(spec) = inventory.specs().volumes.get(name) else { return Availability::Missing };
    if draft.depth == DEEPEST {
        return Availability::Cycle;
    }
    draft.depth += 1;
    draft.set_availability(inventory, (Kind::Volume, name), Availability::Cycle);
    let planned = plan_volume(inventory, draft, spec);
    let availability = draft.accept(planned).unwrap_or(Availability::Held);
    draft.depth -= 1;
    draft.set_availability(inventory, (Kind::Volume, name), availability.clone());
    availability
}

/// Plans a declared snapshot once, and returns its availability.
fn resolve_snapshot<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>, name: &'a Name) -> Availability {
    if let Some(availability) = draft.availability(Kind::Snapshot, name) {
        return availability;
    }
    let Some(spec) = inventory.specs().snapshots.get(name) else { return Availability::Missing };
    draft.set_availability(inventory, (Kind::Snapshot, name), Availability::Cycle);
    let planned = plan_snapshot(inventory, draft, spec);
    let availability = draft.accept(planned).unwrap_or(Availability::Held);
    draft.set_availability(inventory, (Kind::Snapshot, name), availability.clone());
    availability
}

fn plan_volume<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    spec: &'a VolumeSpec,
) -> Result<Availability, Hold> {
    let name = &spec.meta.name;
    let subject = Subject { backend: Some(&spec.backend), ..Subject::declared(Kind::Volume, name) };
    let (usable, located) = locate(inventory, draft, &subject, &spec.backend, spec.meta.renamed_from.as_ref())?;
    let (subject, object, before) = match located {
        Located::Absent => return plan_absent_volume(inventory, draft, usable, &subject, spec),
        Located::Live(object) => (subject.of(&object, Verb::Update), object, Vec::new()),
        Located::Trashed(object) => {
            let subject = subject.of(&object, Verb::Adopt);
            let wanted = DesiredTags::of_volume(spec);
            let tags = declared_tags(inventory, draft, &subject, &wanted, &object, &object.tags);
            let step = undelete(inventory, draft, usable, &subject, &object, tags, Vec::new())?;
            (subject, object, vec![step])
        }
        Located::OldName { object, instead } => {
            let subject = subject.of(&object, Verb::Move);
            let mut steps = Vec::new();
            rename(inventory, draft, usable, &subject, &object, instead, &mut steps)?;
            (subject, object, steps)
        }
    };
    volume::update(inventory, draft, usable, &subject, spec, &object, before)
}

fn plan_absent_volume<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    spec: &'a VolumeSpec,
) -> Result<Availability, Hold> {
    if let Some(native) = &spec.adopt {
        return adopt(inventory, draft, usable, spec, &NativeName::new(native));
    }
    let provisioning = create::check(inventory, usable, subject, spec)?;
    let mut resolve = |kind, name| {
        let availability = resolve_source(inventory, draft, kind, name);
        ContentSource::Object(SourceObject { kind, name, availability })
    };
    let source = spec.source.as_deref().map(|source| match source {
        SourceSpec::Image(image) => ContentSource::Image(image),
        SourceSpec::Snapshot(name) => resolve(Kind::Snapshot, name),
        SourceSpec::Volume(name) | SourceSpec::Quiesced(name) => resolve(Kind::Volume, name),
    });
    create::create(inventory, draft, usable, subject, spec, provisioning, source)
}

fn plan_snapshot<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    spec: &'a SnapshotSpec,
) -> Result<Availability, Hold> {
    let name = &spec.meta.name;
    let Some(volume) = inventory.specs().volumes.get(&spec.volume) else { return Ok(Availability::Held) };
    let subject = Subject { backend: Some(&volume.backend), ..Subject::declared(Kind::Snapshot, name) };
    let (usable, located) = locate(inventory, draft, &subject, &volume.backend, spec.meta.renamed_from.as_ref())?;
    let (object, before) = match located {
        Located::Absent => {
            let volume = resolve_volume(inventory, draft, &spec.volume);
            if let Some(native) = &spec.adopt {
                return adopt_snapshot(inventory, draft, usable, spec, &NativeName::new(native), volume);
            }
            return snapshot::take(inventory, draft, usable, &subject, spec, volume);
        }
        Located::Live(object) => (object, Vec::new()),
        Located::Trashed(object) => {
            let subject = subject.of(&object, Verb::Adopt);
            let wanted = DesiredTags::of_snapshot(spec);
            let tags = declared_tags(inventory, draft, &subject, &wanted, &object, &object.tags);
            let after = after_volume_in_trash(inventory, draft, usable, &subject, &object)?;
            match moves_with_volume(usable, &object) {
                true => (object, after),
                false => (object, vec![undelete(inventory, draft, usable, &subject, &object, tags, after)?]),
            }
        }
        // No snapshot makes room for another: each holds data.
        Located::OldName { object, instead: _ } => {
            let subject = subject.of(&object, Verb::Move);
            let mut steps = match object.place {
                Place::Trash => after_volume_in_trash(inventory, draft, usable, &subject, &object)?,
                Place::Live | Place::Temporary => Vec::new(),
            };
            rename(inventory, draft, usable, &subject, &object, None, &mut steps)?;
            (object, steps)
        }
    };
    let subject = subject.of(&object, Verb::Update);
    let volume = resolve_volume(inventory, draft, &spec.volume);
    snapshot::update(inventory, draft, &subject, spec, &object, before, volume)
}

/// Returns the steps after which a snapshot can be restored from the trash: its volume comes first, since some backends keep the
/// snapshot inside of it. A snapshot of a purged volume waits for none.
fn after_volume_in_trash<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    snapshot: &OwnedObject<'a>,
) -> Result<Vec<usize>, Hold> {
    // The volume that it was taken of, whatever the document says; an undeclared one stays in the trash.
    let of = snapshot.tags.volume.and_then(|uid| inventory.by_uid.get(&uid));
    let in_trash = of.filter(|volume| volume.place == Place::Trash).map(|volume| volume.identity);
    let specs = inventory.specs();
    let declared = |name: &'a Name| match specs.volumes.contains_key(name) {
        true => Some(name),
        false => specs.volumes.values().find(|v| v.meta.renamed_from.as_ref() == Some(name)).map(|v| &v.meta.name),
    };
    let Some(volume) = in_trash.and_then(|id| declared(&id.name)) else {
        return check_not_left_inside(inventory, usable, subject, snapshot).map(|()| Vec::new());
    };
    match resolve_volume(inventory, draft, volume) {
        Availability::Here { after, .. } => Ok(after),
        Availability::Held | Availability::Missing | Availability::Unclear | Availability::Cycle => {
            Err(subject.waits_for_held(format!("its volume {volume} is held"), Kind::Volume, volume))
        }
    }
}

/// Returns the availability of an object of ours that no document declares.
fn undeclared<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>, kind: Kind, name: &'a Name) -> Availability {
    match inventory.find(kind, name, Place::Live).as_slice() {
        [] => Availability::Missing,
        [object] if object.conflict.is_none() => {
            let subject = Subject { name, ..Subject::existing(object.identity, object.backend, Verb::Remove) };
            if draft.accept(check_not_shrunk(inventory, &subject, object)).is_none() {
                draft.claim(kind, name);
                return Availability::Held;
            }
            object.into()
        }
        _ => {
            // None of them is removed while it is unclear which was meant.
            draft.claim(kind, name);
            Availability::Unclear
        }
    }
}
