//! What a person decides by hand: the trash, what is given up, whose objects are whose. Each makes its steps as a pass does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{
    Action, Effect, Expect, Identity, Kind, Ledger, LedgerView, Name, NativeName, Object, ObjectId, Owner, Place,
    Reading, Reason, Risk, Seconds, Size, Step, Tags, Uid, Verb, Withdrawal,
};
use crate::plan::{self, Irreversible, Observation, Plan, Referenced};
use crate::store::{Batch, StoreError};
use crate::text::rfc3339;

use super::execute::commit;
use super::lost::lost;
use super::pass::Pass;
use super::stackless::refuse_without_stack;
use super::{Event, Options, Report, Reporter, Setup, ledger};

/// Why a decision by hand was not carried out.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum OperationError {
    /// The name is not known, or the object is not in the place that the command is about. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A backend could not be observed. Exit code 6.
    #[error("{0}")]
    Unobserved(String),
    /// Something holds it (protection, another writer). Exit code 4.
    #[error("{0}")]
    Held(String),
    /// A step failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The store cannot be written. Exit code 7.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of steps that a person asked for. Steps that are done stay done when another one fails, so both are reported.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Executed {
    /// A sentence for each thing that was done.
    pub done: Vec<String>,
    /// Why each other thing was not done, or not completely.
    pub left: Vec<OperationError>,
}

/// An object in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    /// Where.
    pub backend: Name,
    /// What.
    pub object: Object,
    /// When it may be purged, in seconds since 1970; `None`: not known.
    pub expires: Option<u64>,
}

/// What of the trash is to be purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purge {
    /// Everything that is past its time, unless it is suspended, wanted by a document, or in doubt.
    Expired,
    /// This object, expired or not.
    Named(ObjectId),
}

/// Lists an owner's trash on every backend that was seen, by kind and name.
pub fn trash_in(world: &plan::World, owner: &Owner) -> Vec<Trashed> {
    let mut found = Vec::new();
    for (backend, view) in world {
        let ours = |o: &&Object| o.place == Place::Trash && o.identity.as_ref().is_some_and(|id| id.owner == *owner);
        found.extend(view.objects().iter().filter(ours).map(|object| Trashed {
            backend: backend.clone(),
            object: object.clone(),
            expires: object.tags.expires,
        }));
    }
    found.sort_by(|a, b| key(a).cmp(&key(b)));
    found
}

fn key(trashed: &Trashed) -> (Option<(Kind, &Name, Uid)>, &Name) {
    (trashed.object.identity.as_ref().map(|id| (id.kind, &id.name, id.uid)), &trashed.backend)
}

/// Brings an object back from the trash. What is not declared is tagged as retained, until it is. A volume brings back the snapshots
/// that went with it, also if an earlier run brought back the volume only.
///
/// # Errors
/// See [`OperationError`]. Then no object was brought back.
pub async fn trash_restore(setup: &Setup, kind: Kind, name: &Name) -> Result<Executed, OperationError> {
    let mut pass = begin(setup).await?;
    let owner = &setup.reading.specs.stack.owner;
    let all = trash_in(&pass.observations.world, owner);
    let live: Vec<Object> = pass.observations.world.values().flat_map(live_objects).cloned().collect();
    let live_as = |kind: Kind, name: &Name| live.iter().find(|object| object.is(owner, kind, name));
    let of_volume = |uid: Option<Uid>| {
        all.iter()
            .filter(move |t| kind == Kind::Volume && t.object.tags.volume.is_some() && t.object.tags.volume == uid)
    };
    let in_the_way = live_as(kind, name);
    if in_the_way.is_none()
        && let Some((backend, _)) = lost(&pass, kind, name).first()
    {
        let what = ObjectId::new(kind, name);
        return Err(OperationError::Held(format!(
            "{what} is lost from {backend}, and an older object under its name would hide that; fix: bring it back on the backend, or \
             accept the loss with `kiln forget {what}`, then restore the older one"
        )));
    }
    let is_trashed = all.iter().any(|trashed| trashed.object.is(owner, kind, name));
    let left_behind: Vec<&Trashed> = in_the_way.map_or_else(Vec::new, |live| of_volume(live.uid()).collect());
    let mut said = Vec::new();
    let mut back: Vec<&Trashed> = match in_the_way {
        None => {
            let wanted = one_of(&pass, &all, kind, name)?;
            std::iter::once(wanted).chain(of_volume(wanted.object.uid())).collect()
        }
        Some(_) if !is_trashed && !left_behind.is_empty() => left_behind,
        Some(_) => {
            return Err(OperationError::Usage(format!(
                "{} {name} is there already: remove or rename that one first",
                kind.as_lower()
            )));
        }
    };
    back.retain(|trashed| {
        let Some(id) = trashed.object.identity.as_ref() else { return false };
        let what = format!("{} {}", id.kind.as_lower(), id.name);
        let why = match live_as(id.kind, &id.name) {
            Some(_) => Some(format!("another {what} is live")),
            None => lost(&pass, id.kind, &id.name)
                .first()
                .map(|(backend, _)| format!("another {what} is lost from {backend}")),
        };
        said.extend(why.iter().map(|why| format!("left {what} in the trash of {}: {why}", trashed.backend)));
        why.is_none()
    });
    let volume_comes = in_the_way.is_none() && kind == Kind::Volume;
    let steps: Vec<Step> = back
        .into_iter()
        .enumerate()
        .filter_map(|(index, trashed)| {
            let identity = trashed.object.identity.clone()?;
            let declared = setup.reading.specs.declares(identity.kind, &identity.name);
            let before = Tags { expires: None, ..trashed.object.tags.clone() };
            let tags = Tags { retained: !declared, ..before.clone() };
            let mut step = by_hand(trashed, identity, Action::Undelete { tags }, Reason::InTrash, Risk::None);
            step.expect.tags = Some(before);
            // Snapshots come after their volume.
            step.after = if index > 0 && volume_comes { vec![0] } else { Vec::new() };
            Some(step)
        })
        .collect();
    let brought = |step: &Step| {
        let back = format!("brought {} {} back on {}", lower(step), step.identity.name, step.backend);
        Some(match &step.action {
            Action::Undelete { tags } if tags.retained => format!("{back}; it is retained until it is declared"),
            _ => back,
        })
    };
    let mut executed = make(&mut pass, steps, brought, None, true).await?;
    executed.done.append(&mut said);
    Ok(executed)
}

fn live_objects(observation: &Observation) -> impl Iterator<Item = &Object> {
    observation.objects().iter().filter(|object| object.place == Place::Live)
}

/// What [`trash_purge`] would destroy; and without a name, how much more is past its time and stays: it is suspended, wanted by a
/// document, or in doubt (also because of its backend, which keeps no other from being purged).
///
/// # Errors
/// See [`OperationError`]: also where all that is past its time is on backends that this owner may not use.
pub async fn trash_purge_list(setup: &Setup, what: &Purge) -> Result<(Vec<Trashed>, usize), OperationError> {
    let pass = begin(setup).await?;
    let all = trash_in(&pass.observations.world, &setup.reading.specs.stack.owner);
    match what {
        Purge::Named(ObjectId { kind, name }) => {
            let one = one_of(&pass, &all, *kind, name)?;
            must_be_usable(&pass, &one.backend, None)?;
            Ok((vec![one.clone()], 0))
        }
        Purge::Expired => {
            let stays = stays(&pass);
            let passed = |trashed: &Trashed| trashed.expires.is_some_and(|at| at <= pass.now);
            let (mut kept, found): (Vec<_>, Vec<_>) =
                all.into_iter().filter(passed).partition(|trashed| stays(trashed).is_some());
            let (doubted, found) = by_recorded_times(&pass, found);
            kept.extend(doubted);
            if found.is_empty() {
                kept.iter().try_for_each(|trashed| must_be_usable(&pass, &trashed.backend, None))?;
            }
            Ok((found, kept.len()))
        }
    }
}

/// Why an object in the trash is not purged for its time alone. Listing and purging ask the same.
fn stays<'p>(pass: &'p Pass<'_>) -> impl Fn(&Trashed) -> Option<OperationError> + 'p {
    let wanted = Referenced::of(pass.specs());
    let suspended = pass.suspensions().in_force(pass.now);
    move |trashed| {
        let Trashed { backend, object, expires } = trashed;
        let left = |why: &str| Some(OperationError::Held(format!("{} is left: {why}", object.native)));
        if let Err(unusable) = must_be_usable(pass, backend, None) {
            return Some(unusable);
        }
        let Some(id) = &object.identity else { return left("no tags say whose it is") };
        if let Some(why) = &object.conflict {
            return left(why);
        }
        if let Some(suspension) = plan::suspension_of(&suspended, id.kind, &id.name) {
            return left(&plan::suspended_because(suspension));
        }
        if wanted.contains(id.kind, &id.name) {
            return left("a document needs it");
        }
        // What cannot be read may want anything.
        if is_kept_by_reading(pass.reading(), pass.ledgers.get(backend), object) {
            return left("the manifests do not say that it is removed");
        }
        if expires.is_none_or(|at| at > pass.now) {
            return left("its time is not over");
        }
        None
    }
}

/// Whether the manifests may still declare an object in the trash, or say nothing about it.
pub fn is_kept_by_reading(reading: &Reading, ledger: Option<&Ledger>, object: &Object) -> bool {
    let Some(Identity { kind, name, uid, .. }) = &object.identity else { return true };
    reading.withdraws(*kind, name, ledger, *uid) != Withdrawal::Withdrawn
}

/// How far a single run believes its clock beyond the newest time that earlier runs recorded of a pool. It has no second clock.
const CLOCK_LEAD: u64 = 86_400;

/// Splits off, and warns of, what is past its time only by a clock that is far ahead of all that was recorded: it may have jumped.
fn by_recorded_times(pass: &Pass<'_>, expired: Vec<Trashed>) -> (Vec<Trashed>, Vec<Trashed>) {
    let mut doubted: BTreeMap<Name, usize> = BTreeMap::new();
    let recorded: BTreeMap<&Name, u64> =
        pass.observations.world.iter().map(|(name, view)| (name, last_recorded(pass, name, view))).collect();
    let last = |backend: &Name| recorded.get(backend).copied().unwrap_or_default();
    let split = expired.into_iter().partition(|trashed| {
        let is_ahead = trashed.expires.is_none_or(|at| at > last(&trashed.backend).saturating_add(CLOCK_LEAD));
        if is_ahead {
            *doubted.entry(trashed.backend.clone()).or_default() += 1;
        }
        is_ahead
    });
    for (backend, objects) in &doubted {
        tracing::warn!(
            %backend,
            objects,
            "not purged: by the host's clock (now {}) their time is over, but the last recorded time of this pool is {}. If the \
             clock is right, run `kiln apply`, which records the time, and purge again",
            rfc3339(pass.now),
            rfc3339(last(backend)),
        );
    }
    split
}

/// The newest time, not after now, that earlier runs recorded of a pool: in the store, and in its ledger as it is on the pool.
fn last_recorded(pass: &Pass<'_>, backend: &Name, view: &Observation) -> u64 {
    let observed = view.observed();
    let by_pool = observed.and_then(|observed| observed.pool.as_ref()).map(|pool| pass.records.of_pool(pool));
    let records = pass.records.backends.get(backend).into_iter().chain(by_pool.into_iter().flatten().map(|(_, of)| of));
    let stored = records.map(|record| record.observed_at);
    let ledger = observed.and_then(|observed| observed.ledgers.get(&pass.specs().stack.owner));
    let ledger = if let Some(LedgerView::Good(ledger)) = ledger { Some(ledger) } else { None };
    let noted = ledger.into_iter().flat_map(|ledger| {
        let stones = ledger.tombstones.values().map(|stone| stone.at);
        stones.chain(ledger.removals.iter().map(|removal| removal.at))
    });
    stored.chain(noted).filter(|at| *at <= pass.now).max().unwrap_or_default()
}

/// Destroys what [`trash_purge_list`] gave for the same purge, for good. A purge of what is past its time asks again whether each object
/// stays; manifests and suspensions may have changed since the list was made. An object that is no longer as it was then, or cannot be
/// purged now, is left.
///
/// # Errors
/// See [`OperationError`]. Then no object was purged.
pub async fn trash_purge(setup: &Setup, what: &Purge, objects: &[Trashed]) -> Result<Executed, OperationError> {
    let by_name = match what {
        Purge::Expired => false,
        Purge::Named(ObjectId { kind, name }) => {
            let owner = &setup.reading.specs.stack.owner;
            if let Some(other) = objects.iter().find(|trashed| !trashed.object.is(owner, *kind, name)) {
                let (named, native) = (format!("{}/{name}", kind.as_lower()), &other.object.native);
                return Err(OperationError::Usage(format!("{native} is not {named} of {owner}")));
            }
            true
        }
    };
    let mut pass = begin(setup).await?;
    let there = trash_in(&pass.observations.world, &setup.reading.specs.stack.owner);
    let there: HashMap<(&Name, Option<Uid>), &Trashed> =
        there.iter().map(|trashed| ((&trashed.backend, trashed.object.uid()), trashed)).collect();
    let stays = (!by_name).then(|| stays(&pass));
    let mut steps = Vec::new();
    let mut left = Vec::new();
    // A volume's snapshots before it: some backends refuse otherwise.
    let mut snapshots: HashMap<Uid, Vec<usize>> = HashMap::new();
    let mut objects: Vec<&Trashed> = objects.iter().collect();
    objects.sort_by_key(|trashed| trashed.object.identity.as_ref().map(|id| id.kind != Kind::Snapshot));
    for trashed in objects {
        let Some(identity) = trashed.object.identity.clone() else { continue };
        if identity.owner != setup.reading.specs.stack.owner {
            return Err(OperationError::Usage(format!("{} is not of this owner", trashed.object.native)));
        }
        let stays = stays.as_ref().and_then(|stays| stays(trashed)).map_or(Ok(()), Err);
        if let Err(why) = stays.and_then(|()| may_be_purged(&pass, &there, trashed)) {
            left.push(why);
            continue;
        }
        let mut step = by_hand(trashed, identity, Action::Purge, Reason::Purged, Risk::Irreversible);
        step.expect.tags = Some(Tags { expires: None, ..trashed.object.tags.clone() });
        if step.identity.kind == Kind::Volume {
            step.after = snapshots.remove(&step.identity.uid).unwrap_or_default();
        } else if let Some(volume) = trashed.object.tags.volume {
            snapshots.entry(volume).or_default().push(steps.len());
        }
        steps.push(step);
    }
    drop(stays);
    let purged = |step: &Step| Some(format!("purged {} {} from {}", lower(step), step.identity.name, step.backend));
    let mut executed = make(&mut pass, steps, purged, None, by_name).await?;
    executed.left.splice(0..0, left);
    Ok(executed)
}

/// Whether what was listed may be purged, as far as a look shows it. (What is not in the trash any more, the driver refuses if it was
/// brought back.)
fn may_be_purged(
    pass: &Pass<'_>,
    there: &HashMap<(&Name, Option<Uid>), &Trashed>,
    trashed: &Trashed,
) -> Result<(), OperationError> {
    must_be_usable(pass, &trashed.backend, None)?;
    let native = &trashed.object.native;
    if let Some(why) = &trashed.object.conflict {
        return Err(OperationError::Held(format!("{native} cannot be purged: {why}")));
    }
    match there.get(&(&trashed.backend, trashed.object.uid())) {
        Some(now) if now.expires != trashed.expires => Err(OperationError::Failed(format!(
            "{native} is left: it was brought back and removed again in the meantime, and has its time before it"
        ))),
        _ => Ok(()),
    }
}

/// Gives all objects of `from` on a declared backend to this Stack, under their names and uids. What `from` suspended stays suspended.
///
/// # Errors
/// See [`OperationError`]. Then no object was given.
pub async fn adopt_owner(setup: &Setup, backend: &Name, from: &Owner) -> Result<Executed, OperationError> {
    let specs = &setup.reading.specs;
    let owner = &specs.stack.owner;
    if !specs.backends.contains_key(backend) {
        return Err(OperationError::Usage(format!("no Backend {backend} is declared")));
    }
    let mut pass = begin(setup).await?;
    let observed = match pass.observations.world.get(backend) {
        Some(Observation::Seen { observed, .. }) => observed.clone(),
        Some(Observation::LockedBy { by, .. }) => {
            return Err(OperationError::Held(format!("another process is writing to {backend}: {by}")));
        }
        Some(Observation::Failed { why }) => {
            return Err(OperationError::Unobserved(format!("{backend} could not be observed: {why}")));
        }
        Some(Observation::Unsupported) | None => return Err(no_driver(pass.reading(), backend)),
    };
    refuse_without_stack(specs, backend, Some(&observed), pass.records.backends.get(backend))?;
    let failed = |error: crate::model::DriverError| OperationError::Failed(format!("{backend}: {error}"));
    let theirs = observed.ledgers.get(from);
    if let Some(LedgerView::Unreadable(why) | LedgerView::Damaged(why)) = theirs {
        return Err(OperationError::Unobserved(format!("{backend}: {why}")));
    }
    let Some(theirs) = theirs.and_then(LedgerView::ledger).cloned() else {
        if let Some(unobserved) = pass.unobserved().into_iter().find(|unobserved| unobserved.backend == *backend) {
            return Err(OperationError::Unobserved(unobserved.message));
        }
        return Err(OperationError::Usage(format!("{from} has no ledger on {backend}")));
    };
    let pool = pass.found_and_lock(backend).await.map_err(failed)?;
    if from == owner {
        let ledger = Ledger { stack: specs.stack.id.clone(), ..theirs };
        pass.ledgers.insert(backend.clone(), ledger);
        pass.write_now(backend).await.map_err(failed)?;
        let done = vec![format!("{backend} now belongs to this Stack (id {})", specs.stack.id)];
        return Ok(Executed { done, left: Vec::new() });
    }
    let _their_lock = match pass.observations.backends.get(backend) {
        Some(open) => open.lock_of(from).await.map_err(|error| OperationError::Held(format!("{backend}: {error}")))?,
        None => return Err(OperationError::Unobserved(format!("{backend} is not open"))),
    };
    let mut ours = match observed.ledgers.get(owner) {
        Some(LedgerView::Good(ledger)) if ledger.stack == specs.stack.id => ledger.clone(),
        Some(LedgerView::Unreadable(why)) => return Err(OperationError::Unobserved(format!("{backend}: {why}"))),
        Some(_) => {
            return Err(OperationError::Held(format!(
                "the ledger of {owner} on {backend} is damaged, or another Stack's"
            )));
        }
        None => ledger::first(pool, owner, specs),
    };
    ledger::take_over(&mut ours, &theirs);
    // Names in use: ours, and theirs that are live.
    let (mut taken, mut live) = (HashSet::new(), HashSet::new());
    for object in observed.objects.iter().filter(|o| o.place != Place::Temporary) {
        let Some(identity) = &object.identity else { continue };
        let key = (identity.kind, &identity.name);
        if identity.owner == *owner {
            taken.insert(key);
        } else if identity.owner == *from && object.place == Place::Live {
            live.insert(key);
        }
    }
    let mut steps = Vec::new();
    let mut left = 0;
    for object in observed.objects.iter().filter(|o| o.place != Place::Temporary) {
        let Some(identity) = object.identity.as_ref().filter(|id| id.owner == *from) else { continue };
        let mine = Identity { owner: owner.clone(), ..identity.clone() };
        if let Some(why) = &object.conflict {
            return Err(OperationError::Held(format!("{} cannot be given away: {why}", object.native)));
        }
        if taken.contains(&(mine.kind, &mine.name)) {
            let sentence = format!("{owner} has a {} {} on {backend} already", mine.kind.as_lower(), mine.name);
            return Err(OperationError::Usage(sentence));
        }
        match object.place {
            Place::Trash if live.contains(&(mine.kind, &mine.name)) => left += 1,
            Place::Trash => give_trashed(&mut steps, backend, object, mine, pass.now),
            _ => steps.push(give(backend, object, mine)),
        }
    }
    // Before the first object is this owner's: whatever cuts this short, none loses its suspension.
    let suspended = pass.take_over_suspensions(backend, from).await.map_err(failed)?;
    pass.ledgers.insert(backend.clone(), ours);
    pass.write_now(backend).await.map_err(failed)?;
    let given = |step: &Step| {
        let is_rename = step.action.verb() == Verb::Move;
        is_rename.then(|| format!("{} {} is now {}", lower(step), step.identity.name, step.native))
    };
    let mut executed = make(&mut pass, steps, given, Some(backend), true).await?;
    executed.done.extend(suspended);
    if left > 0 {
        executed.done.push(format!("in the trash of {from} stay objects whose names are taken: {left}"));
    } else if executed.left.is_empty()
        && let Some(open) = pass.observations.backends.get(backend)
        && let Err(error) = open.remove_ledger(from).await
    {
        executed.left.push(failed(error));
    }
    Ok(executed)
}

/// Why a declared backend is not even opened.
pub(super) fn no_driver(reading: &Reading, backend: &Name) -> OperationError {
    match reading.not_allowed(Kind::Backend, backend) {
        Some(barred) => OperationError::Held(format!("{backend}: {}", barred.message)),
        None => OperationError::Usage(format!("the driver of {backend} is not built yet")),
    }
}

/// The steps by which an object in the trash becomes another owner's: out of it, renamed, and back for the time that was left. A
/// crash between them leaves it live, and then it is given as what is live is.
fn give_trashed(steps: &mut Vec<Step>, backend: &Name, object: &Object, mine: Identity, now: u64) {
    let Some(theirs) = object.identity.clone() else { return };
    let before = Tags { expires: None, ..object.tags.clone() };
    let trashed = Trashed { backend: backend.clone(), object: object.clone(), expires: object.tags.expires };
    let out = by_hand(&trashed, theirs, Action::Undelete { tags: before }, Reason::OwnerGiven, Risk::None);
    let renamed = Step { after: vec![steps.len()], ..give(backend, object, mine) };
    let ttl = Seconds(object.tags.expires.unwrap_or(now).saturating_sub(now));
    let back = Step {
        action: Action::Trash { ttl },
        expect: Expect { place: Some(Place::Live), size: Some(object.size), tags: None, idle: true, unwritten: false },
        after: vec![steps.len() + 1],
        ..renamed.clone()
    };
    steps.extend([out, renamed, back]);
}

/// The step by which an object becomes another owner's.
fn give(backend: &Name, object: &Object, mine: Identity) -> Step {
    let before = Tags { expires: None, ..object.tags.clone() };
    let own_name = before.identity.is_some();
    let native: NativeName = if own_name { object.native.clone() } else { mine.native() };
    let tags = Tags { identity: own_name.then(|| Box::new(mine.clone())), ..before.clone() };
    Step {
        backend: backend.clone(),
        identity: mine,
        native,
        action: Action::Rename { from: object.native.clone(), tags },
        expect: Expect {
            place: Some(Place::Live),
            size: Some(object.size),
            tags: Some(before),
            idle: false,
            unwritten: false,
        },
        risk: Risk::None,
        reason: Reason::OwnerGiven,
        changes: Vec::new(),
        bytes: Size(0),
        after: Vec::new(),
    }
}

fn by_hand(trashed: &Trashed, identity: Identity, action: Action, reason: Reason, risk: Risk) -> Step {
    Step {
        backend: trashed.backend.clone(),
        identity,
        native: trashed.object.native.clone(),
        action,
        expect: Expect {
            place: Some(Place::Trash),
            size: Some(trashed.object.size),
            tags: None,
            idle: false,
            unwritten: false,
        },
        risk,
        reason,
        changes: Vec::new(),
        bytes: trashed.object.size,
        after: Vec::new(),
    }
}

fn lower(step: &Step) -> &'static str {
    step.identity.kind.as_lower()
}

/// The one object in the trash that is meant.
fn one_of<'t>(pass: &Pass<'_>, all: &'t [Trashed], kind: Kind, name: &Name) -> Result<&'t Trashed, OperationError> {
    let named = |t: &&Trashed| t.object.is(&pass.specs().stack.owner, kind, name);
    let found: Vec<&Trashed> = all.iter().filter(named).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => match pass.plan(&[], Irreversible::List).unobserved.first() {
            Some(unobserved) => Err(OperationError::Unobserved(unobserved.message.clone())),
            None => Err(OperationError::Usage(format!("no {} {name} is in the trash", kind.as_lower()))),
        },
        // The one that left last is the one that is missed; of another Stack of this name none is.
        several => several
            .iter()
            .max_by_key(|t| (pass.usable.contains(&t.backend), t.expires))
            .copied()
            .ok_or_else(|| OperationError::Usage(format!("no {} {name} is in the trash", kind.as_lower()))),
    }
}

/// Begins by looking and recovering, as every pass does.
pub(super) async fn begin(setup: &Setup) -> Result<Pass<'_>, OperationError> {
    let mut pass = Pass::begin_writing(setup).await?;
    pass.recover(&Silent).await?;
    Ok(pass)
}

pub(super) async fn remember(pass: &Pass<'_>, batch: Batch) -> Result<(), OperationError> {
    match &pass.store {
        Some(store) => Ok(commit(store, batch).await?),
        None => Ok(()),
    }
}

/// Makes steps that a person asked for, through the same executor as a plan's. `sentence` says what a step did. A backend that has just
/// been `given` to this owner is usable, whatever the plan thinks of it. Unless a person named each object (`by_name`), what is suspended is
/// left.
///
/// # Errors
/// If a backend is not usable. Then no step was begun.
async fn make(
    pass: &mut Pass<'_>,
    steps: Vec<Step>,
    sentence: impl Fn(&Step) -> Option<String>,
    given: Option<&Name>,
    by_name: bool,
) -> Result<Executed, OperationError> {
    steps.iter().try_for_each(|step| must_be_usable(pass, &step.backend, given))?;
    let plan = Plan::of(pass.specs().stack.owner.clone(), pass.reading().revision.clone(), steps);
    let mut report = Report::default();
    let effects = Arc::new(Effects::default());
    let options = Options { by_name, ..Options::default() };
    let made = pass.make(&plan, &options, Arc::clone(&effects) as Arc<dyn Reporter>, &mut report).await;
    let done = effects.steps().iter().filter_map(|index| sentence(plan.steps.get(*index)?)).collect();
    let is_left = |step: &Step, why: String| format!("{} {} is left: {why}", lower(step), step.identity.name);
    let failed = report
        .failed
        .iter()
        .map(|(step, error)| OperationError::Failed(format!("{} {}: {error}", lower(step), step.identity.name)));
    let suspended = report
        .suspended
        .iter()
        .map(|(step, suspension)| OperationError::Held(is_left(step, plan::suspended_because(suspension))));
    let waiting = report
        .waiting
        .iter()
        .map(|step| OperationError::Failed(is_left(step, "a step that has to come first was not done".to_owned())));
    let store = made.err().map(OperationError::Store);
    Ok(Executed { done, left: failed.chain(suspended).chain(waiting).chain(store).collect() })
}

fn must_be_usable(pass: &Pass<'_>, backend: &Name, given: Option<&Name>) -> Result<(), OperationError> {
    match pass.observations.world.get(backend) {
        Some(Observation::LockedBy { by, .. }) => {
            Err(OperationError::Held(format!("another process is writing to {backend}: {by}")))
        }
        _ if pass.usable.contains(backend) || given == Some(backend) => Ok(()),
        _ => Err(OperationError::Unobserved(format!("nothing is done on {backend}: see `kiln plan`"))),
    }
}

/// Notes which steps had their effect: an operation returns that as its result. Notes go to the log.
#[derive(Default)]
struct Effects(Mutex<BTreeSet<usize>>);

impl Effects {
    /// The steps, by their index.
    fn steps(&self) -> BTreeSet<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Reporter for Effects {
    fn event(&self, event: Event<'_>) {
        if let Event::Finished(index, _, result) = &event {
            let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(_) => drop(steps.insert(*index)),
                Err(error) if error.effect == Effect::Yes => drop(steps.insert(*index)),
                // Also a step that was reported as done and is not seen to be.
                Err(_) => drop(steps.remove(index)),
            }
        }
        Silent.event(event);
    }

    async fn confirm(&self, plan: &Plan) -> bool {
        Silent.confirm(plan).await
    }
}

/// Reports nothing to a person; notes go to the log.
struct Silent;

#[async_trait]
impl Reporter for Silent {
    fn event(&self, event: Event<'_>) {
        if let Event::Note(note) = event {
            tracing::info!("{note}");
        }
    }

    async fn confirm(&self, _plan: &Plan) -> bool {
        false
    }
}
