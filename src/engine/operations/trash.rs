//! The trash: listing it and bringing objects back.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::model::{
    Action, Expect, Identity, InnerSnapshot, Kind, Name, Object, ObjectId, Owner, Place, Reason, Risk, Step, Tags,
    TrashAbility, Uid,
};
use crate::plan::{self, Observation};

use super::error::OperationError;
use super::run::{Executed, begin, lower, make};
use crate::engine::session::Session;
use crate::engine::setup::Setup;
use crate::text::did_you_mean;

/// An object in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    /// The backend that it is on.
    pub backend: Name,
    /// As observed.
    pub object: Object,
    /// When it expires, in seconds since 1970; `None`: unknown.
    pub expires: Option<u64>,
    /// Whether its backend cannot see who has it open: then only a person purges it, by its name.
    #[serde(default)]
    pub clients_unseen: bool,
}

/// Lists an owner's trash on every observed backend, by kind and name.
pub fn trash_in(world: &plan::World, owner: &Owner) -> Vec<Trashed> {
    let mut found = Vec::new();
    for (backend, view) in world {
        let ours = |o: &&Object| o.place == Place::Trash && o.identity.as_ref().is_some_and(|id| id.owner == *owner);
        found.extend(view.objects().iter().filter(ours).map(|object| Trashed {
            backend: backend.clone(),
            object: object.clone(),
            expires: object.tags.expires,
            clients_unseen:
                view.capabilities().is_some_and(|can| object.may_have_unseen_clients(can.client_visibility)),
        }));
    }
    found.sort_by(|a, b| key(a).cmp(&key(b)));
    found
}

fn key(trashed: &Trashed) -> (Option<(Kind, &Name, Uid)>, &Name) {
    (trashed.object.identity.as_ref().map(|id| (id.kind, &id.name, id.uid)), &trashed.backend)
}

/// Restores an object from the trash. An object that is not declared is released until it is. A volume is restored with the
/// snapshots that went with it, even if an earlier run restored only the volume.
///
/// # Errors
/// See [`OperationError`]. Then no object was restored.
pub async fn trash_restore(setup: &Setup, kind: Kind, name: &Name) -> Result<Executed, OperationError> {
    let mut session = begin(setup).await?;
    let owner = &setup.reading.specs.stack.owner;
    let all = trash_in(&session.observations.world, owner);
    let live: Vec<Object> = session.observations.world.values().flat_map(live_objects).cloned().collect();
    let ours = live
        .iter()
        .rev()
        .filter_map(|object| Some((object.identity.as_ref().filter(|id| id.owner == *owner)?, object)));
    let live_as: HashMap<(Kind, &Name), &Object> = ours.map(|(id, object)| ((id.kind, &id.name), object)).collect();
    let live_as = |kind: Kind, name: &Name| live_as.get(&(kind, name)).copied();
    let lost = session.lost();
    let lost_one = |kind: Kind, name: &Name| lost.iter().find(|one| one.kind == kind && one.name == *name);
    let lost_from = |kind: Kind, name: &Name| lost_one(kind, name).map(|one| &one.backend);
    let of_volume = |uid: Option<Uid>| {
        all.iter()
            .filter(move |t| kind == Kind::Volume && t.object.tags.volume.is_some() && t.object.tags.volume == uid)
    };
    let in_the_way = live_as(kind, name);
    if in_the_way.is_none()
        && let Some(backend) = lost_from(kind, name)
    {
        let what = ObjectId::new(kind, name);
        if session.observations.world.get(backend).and_then(Observation::observed).is_none() {
            return Err(OperationError::Unobserved(format!(
                "{what} was last seen on {backend}, which was not observed"
            )));
        }
        if lost_one(kind, name).is_some_and(|one| one.may_exist) {
            return Err(OperationError::Unobserved(format!(
                "{what} was last seen on {backend}, which was seen only in part"
            )));
        }
        return Err(OperationError::Held(format!(
            "{what} is lost from {backend}, and an older object under its name would hide that; fix: restore it on the backend, or \
             accept the loss with `kiln forget {what}`, then restore the older one"
        )));
    }
    let is_trashed = all.iter().any(|trashed| trashed.object.is(owner, kind, name));
    let left_behind: Vec<&Trashed> = in_the_way.map_or_else(Vec::new, |live| of_volume(live.uid()).collect());
    let mut said = Vec::new();
    let back: Vec<&Trashed> = match in_the_way {
        None => {
            let wanted = one_of(&session, &all, kind, name)?;
            std::iter::once(wanted).chain(of_volume(wanted.object.uid())).collect()
        }
        Some(_) if !is_trashed && !left_behind.is_empty() => left_behind,
        Some(_) => {
            return Err(OperationError::Usage(format!(
                "another {} {name} is live; fix: remove its document, or rename it with `renamedFrom: {name}`, and run `kiln apply`; then \
                 restore this one",
                kind.as_lower()
            )));
        }
    };
    // Those that come back only together.
    let wanted_uids: Vec<Option<Uid>> = back.iter().map(|trashed| trashed.object.uid()).collect();
    let mut back = back;
    back.retain(|trashed| {
        let Some(id) = trashed.object.identity.as_ref() else { return false };
        let what = format!("{} {}", id.kind.as_lower(), id.name);
        let why = match live_as(id.kind, &id.name) {
            Some(_) => Some(format!("another {what} is live")),
            None => lost_from(id.kind, &id.name).map(|backend| format!("another {what} is missing from {backend}")),
        };
        said.extend(why.iter().map(|why| format!("left {what} in the trash of {}: {why}", trashed.backend)));
        why.is_none()
    });
    let volume_comes = in_the_way.is_none() && kind == Kind::Volume;
    let moves_inside = |trashed: &Trashed| {
        let observation = session.observations.world.get(&trashed.backend);
        let trash = observation.and_then(Observation::capabilities).map(|can| can.trash);
        trash == Some(TrashAbility::Volumes) && trashed.object.parent_volume.is_some()
    };
    let with: Vec<InnerSnapshot> = match volume_comes {
        true => {
            let inner = back.iter().filter(|trashed| moves_inside(trashed));
            let declared = |id: &Identity| setup.reading.specs.declares(id.kind, &id.name);
            inner.filter_map(|t| InnerSnapshot::of(&t.object, !declared(t.object.identity.as_ref()?))).collect()
        }
        false => Vec::new(),
    };
    let stays = all.iter().filter(|trashed| moves_inside(trashed) && wanted_uids.contains(&trashed.object.uid()));
    if stays.count() > with.len() {
        return Err(OperationError::Held(inside_text(kind, name, &said)));
    }
    back.retain(|trashed| !moves_inside(trashed));
    let steps: Vec<Step> = back
        .into_iter()
        .enumerate()
        .filter_map(|(index, trashed)| {
            let identity = trashed.object.identity.clone()?;
            let declared = setup.reading.specs.declares(identity.kind, &identity.name);
            let before = trashed.object.tags.lasting();
            let tags = Tags { retained: !declared, ..before.clone() };
            let with = if identity.kind == Kind::Volume { with.clone() } else { Vec::new() };
            let mut step = by_hand(trashed, identity, Action::Undelete { tags, with }, Reason::InTrash, Risk::None);
            step.expect.tags = Some(before);
            // Snapshots come after their volume.
            step.after = if index > 0 && volume_comes { vec![0] } else { Vec::new() };
            Some(step)
        })
        .collect();
    let brought = |step: &Step| {
        let inner: Vec<&str> = step.action.with().iter().map(|inner| inner.identity.name.as_str()).collect();
        let with = if inner.is_empty() { String::new() } else { format!(", with snapshot {}", inner.join(", ")) };
        let back = format!("brought {} {} back on {}{with}", lower(step), step.identity.name, step.endpoint);
        let is_retained = matches!(&step.action, Action::Undelete { tags, .. } if tags.retained);
        Some(if is_retained { format!("{back}; it is released until it is declared") } else { back })
    };
    let volume = steps.iter().find(|step| step.identity.kind == Kind::Volume);
    let volume = volume.and_then(|step| Some((step.backend()?.clone(), step.address())));
    let mut executed = make(&mut session, steps, brought, None, true).await?;
    executed.done.append(&mut said);
    if let Some((backend, address)) = volume.filter(|_| executed.left.is_empty()) {
        let paths = session.paths_of([(&backend, vec![address])].into()).await;
        let paths = paths.into_values().flat_map(BTreeMap::into_values);
        executed.done.extend(paths.map(|path| format!("the path of volume {name} is {}", path.display())));
    }
    Ok(executed)
}

/// Why objects that come back from the trash only together do not.
fn inside_text(kind: Kind, name: &Name, said: &[String]) -> String {
    match kind {
        Kind::Snapshot => format!(
            "snapshot {name} is in the trash inside of its volume, and comes back only with it: `kiln trash list` shows the volume"
        ),
        Kind::Volume | Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => {
            format!("volume {name} comes back only with all snapshots inside of it: {}", said.join("; "))
        }
    }
}

fn live_objects(observation: &Observation) -> impl Iterator<Item = &Object> {
    observation.objects().iter().filter(|object| object.place == Place::Live)
}

/// Returns the object in the trash with this kind and name.
pub(super) fn one_of<'t>(
    session: &Session<'_>,
    all: &'t [Trashed],
    kind: Kind,
    name: &Name,
) -> Result<&'t Trashed, OperationError> {
    let named = |t: &&Trashed| t.object.is(&session.specs().stack.owner, kind, name);
    // Of several, the one that was trashed last; objects on a pool of another Stack of this name come last.
    let last = all.iter().filter(named).max_by_key(|t| (session.usable.contains(&t.backend), t.expires));
    last.ok_or_else(|| match session.unobserved().first() {
        Some(unobserved) => OperationError::Unobserved(unobserved.message.clone()),
        None => {
            let known = all.iter().filter_map(|t| t.object.identity.as_ref()).filter(|id| id.kind == kind);
            let meant = did_you_mean(name.as_str(), known.map(|id| id.name.as_str()));
            OperationError::Usage(format!("no {} {name} is in the trash{meant}", kind.as_lower()))
        }
    })
}

pub(super) fn by_hand(trashed: &Trashed, identity: Identity, action: Action, reason: Reason, risk: Risk) -> Step {
    Step {
        expect: Expect { place: Some(Place::Trash), tags: None, ..Expect::live(&trashed.object) },
        risk,
        bytes: trashed.object.size,
        native: trashed.object.native.clone(),
        parent_volume: trashed.object.parent_volume.clone(),
        ..Step::new(trashed.backend.clone(), identity, action, reason)
    }
}
