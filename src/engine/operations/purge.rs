//! Purging the trash.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::model::{
    Action, Identity, Kind, Ledger, LedgerView, Name, Object, ObjectId, Place, Reading, Reason, Risk, Step, Uid,
    Withdrawal,
};
use crate::plan::{self, Observation, Referenced};
use crate::text::rfc3339;

use super::error::OperationError;
use super::run::{Executed, begin, lower, make, must_be_usable};
use super::trash::{Trashed, by_hand, one_of, trash_in};
use crate::engine::blockers::Blockers;
use crate::engine::open_pass::OpenPass;
use crate::engine::session::Session;
use crate::engine::setup::Setup;

/// Which objects in the trash are purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purge {
    /// All expired objects, except those that are suspended, needed by a document, or in doubt.
    Expired,
    /// This object, expired or not.
    Named(ObjectId),
}

/// Returns the objects that [`trash_purge`] would destroy; and without a name, how many other expired objects stay: they are suspended, needed
/// by a document, or in doubt (also because of their backend, which does not keep other objects from being purged).
///
/// # Errors
/// See [`OperationError`]; also if all expired objects are on backends that this owner may not use.
pub async fn trash_purge_list(setup: &Setup, what: &Purge) -> Result<(Vec<Trashed>, usize), OperationError> {
    let session = begin(setup).await?;
    let all = trash_in(&session.observations.world, &setup.reading.specs.stack.owner);
    match what {
        Purge::Named(ObjectId { kind, name }) => {
            let one = one_of(&session, &all, *kind, name)?;
            must_be_usable(&session, &one.backend, None)?;
            Ok((vec![one.clone()], 0))
        }
        Purge::Expired => {
            let stays = stays(&session);
            let passed = |trashed: &Trashed| trashed.expires.is_some_and(|at| at <= session.now);
            let (mut kept, found): (Vec<_>, Vec<_>) =
                all.into_iter().filter(passed).partition(|trashed| stays(trashed).is_some());
            let (doubted, found) = by_recorded_times(&session, found);
            kept.extend(doubted);
            if found.is_empty() {
                kept.iter().try_for_each(|trashed| must_be_usable(&session, &trashed.backend, None))?;
            }
            Ok((found, kept.len()))
        }
    }
}

/// Why an expired object stays in the trash. Listing and purging use the same rules.
fn stays<'p>(session: &'p Session<'_>) -> impl Fn(&Trashed) -> Option<OperationError> + 'p {
    let wanted = Referenced::of(session.specs());
    let suspended = session.suspensions().in_force(session.now);
    let sources = sources_of_restores(&session.observations.world);
    let blockers = Blockers::in_world(&session.observations.world);
    move |trashed| {
        let Trashed { backend, object, expires, clients_unseen } = trashed;
        let left = |why: &str| Some(OperationError::Held(format!("{} is left: {why}", object.native)));
        if let Err(unusable) = must_be_usable(session, backend, None) {
            return Some(unusable);
        }
        let Some(id) = &object.identity else { return left("no tags say whose it is") };
        if let Some(why) = object.conflict.clone().or_else(|| blockers.why(backend, object)) {
            return left(&why);
        }
        if let Some(suspension) = plan::suspension_of(&suspended, id.kind, &id.name) {
            return left(&plan::suspended_because(suspension));
        }
        if wanted.contains(id.kind, &id.name) {
            return left("a document needs it");
        }
        if let Err(why) = check_no_restore(&sources, trashed) {
            return Some(why);
        }
        // A manifest that cannot be read may need any object.
        if is_kept_by_reading(session.reading(), session.ledgers.get(backend).map(|ledger| &**ledger), object) {
            return left("the manifests do not say that it is removed");
        }
        if expires.is_none_or(|at| at > session.now) {
            return left("its time is not over");
        }
        if *clients_unseen {
            let it = format!("{}/{}", id.kind.as_lower(), id.name);
            let why = "its backend cannot see whether a client has it open";
            return left(&format!("{why}; `kiln trash purge {it}` destroys it"));
        }
        None
    }
}

/// Whether the manifests may still declare an object in the trash, or say nothing about it.
pub fn is_kept_by_reading(reading: &Reading, ledger: Option<&Ledger>, object: &Object) -> bool {
    let Some(Identity { kind, name, uid, .. }) = &object.identity else { return true };
    reading.withdraws(*kind, name, ledger, *uid) != Withdrawal::Withdrawn
}

/// How far a single run trusts its clock beyond the newest time that earlier runs recorded for a pool, in seconds: it has no second clock.
const CLOCK_LEAD: u64 = 86_400;

/// Splits off the objects that are expired only by a clock far ahead of every recorded time, and logs a warning: the clock may have jumped.
fn by_recorded_times(session: &Session<'_>, expired: Vec<Trashed>) -> (Vec<Trashed>, Vec<Trashed>) {
    let mut doubted: BTreeMap<Name, usize> = BTreeMap::new();
    let recorded: BTreeMap<&Name, u64> =
        session.observations.world.iter().map(|(name, view)| (name, last_recorded(session, name, view))).collect();
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
            rfc3339(session.now),
            rfc3339(last(backend)),
        );
    }
    split
}

/// The newest time, not after now, that earlier runs recorded for a pool, in the store or in its ledger on the pool.
fn last_recorded(session: &Session<'_>, backend: &Name, view: &Observation) -> u64 {
    let observed = view.observed();
    let by_pool = observed.and_then(|observed| observed.pool.as_ref()).map(|pool| session.records.of_pool(pool));
    let records =
        session.records.backends.get(backend).into_iter().chain(by_pool.into_iter().flatten().map(|(_, of)| of));
    let stored = records.map(|record| record.observed_at);
    let ledger = match observed.and_then(|observed| observed.ledger.as_ref()) {
        Some(LedgerView::Good(ledger)) => Some(ledger),
        _ => None,
    };
    let noted = ledger.into_iter().flat_map(|ledger| {
        let stones = ledger.tombstones.values().map(|stone| stone.at);
        stones.chain(ledger.removals.iter().map(|removal| removal.at))
    });
    stored.chain(noted).filter(|at| *at <= session.now).max().unwrap_or_default()
}

/// Destroys the objects that [`trash_purge_list`] returned for the same purge, irreversibly. A purge of expired objects checks again
/// whether each object stays: manifests and suspensions may have changed since the list was made. An object that has changed since, or
/// cannot be purged now, is left.
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
    purge_in(begin(setup).await?, by_name, objects).await
}

/// Purges expired objects as [`trash_purge`] does, in the session of the pass that found them. `setup` has a later reading of the
/// manifests.
///
/// # Errors
/// See [`OperationError`]. Then no object was purged.
pub async fn trash_purge_after<'s>(
    pass: OpenPass<'s>,
    setup: &'s Setup,
    objects: &[Trashed],
) -> Result<Executed, OperationError> {
    let addresses = objects.iter().map(|trashed| (&trashed.backend, trashed.object.address()));
    let goes_on = pass.goes_on();
    match pass.continued(setup, addresses).await? {
        Some(session) => purge_in(session, false, objects).await,
        // A new session would wait for what goes on without the pass. The next pass purges.
        None if goes_on => Ok(Executed::default()),
        None => trash_purge(setup, &Purge::Expired, objects).await,
    }
}

/// The order in which objects are purged. Only volumes and snapshots are ever in the trash.
fn order(kind: Kind) -> u8 {
    match kind {
        Kind::Snapshot => 0,
        Kind::Volume => 1,
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => 2,
    }
}

async fn purge_in(mut session: Session<'_>, by_name: bool, objects: &[Trashed]) -> Result<Executed, OperationError> {
    let setup = session.setup;
    let there = trash_in(&session.observations.world, &setup.reading.specs.stack.owner);
    let there: HashMap<(&Name, Option<Uid>), &Trashed> =
        there.iter().map(|trashed| ((&trashed.backend, trashed.object.uid()), trashed)).collect();
    let stays = (!by_name).then(|| stays(&session));
    let sources = sources_of_restores(&session.observations.world);
    let blockers = Blockers::in_world(&session.observations.world);
    let mut steps = Vec::new();
    let mut left = Vec::new();
    // Snapshots come before their volume: some backends require it.
    let mut snapshots: HashMap<Uid, Vec<usize>> = HashMap::new();
    let mut objects: Vec<&Trashed> = objects.iter().collect();
    objects.sort_by_key(|trashed| trashed.object.identity.as_ref().map(|id| order(id.kind)));
    for trashed in objects {
        let Some(identity) = trashed.object.identity.clone() else { continue };
        if identity.owner != setup.reading.specs.stack.owner {
            return Err(OperationError::Usage(format!("{} is not of this owner", trashed.object.native)));
        }
        let stays = |trashed| stays.as_ref().and_then(|stays| stays(trashed)).map_or(Ok(()), Err);
        // A pass only lists the trash; the purge after it has observed each object by name.
        let now = there.get(&(&trashed.backend, trashed.object.uid())).copied().unwrap_or(trashed);
        let purged: HashSet<Uid> = steps.iter().map(|step: &Step| step.identity.uid).collect();
        let is_empty = || is_empty(&there, &purged, trashed);
        let may_be = stays(trashed).and_then(|()| may_be_purged(&session, &blockers, &there, trashed));
        let may_be = may_be.and_then(|()| check_no_restore(&sources, trashed));
        if let Err(why) = may_be.and_then(|()| stays(now)).and_then(|()| is_empty()) {
            left.push(why);
            continue;
        }
        let mut step = by_hand(trashed, identity, Action::Purge, Reason::Purged, Risk::Irreversible);
        step.expect.tags = Some(trashed.object.tags.lasting());
        match (step.identity.kind, trashed.object.tags.volume) {
            (Kind::Volume, _) => step.after = snapshots.remove(&step.identity.uid).unwrap_or_default(),
            (Kind::Snapshot, Some(volume)) => snapshots.entry(volume).or_default().push(steps.len()),
            (Kind::Snapshot, None) => {}
            (Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval, _) => continue,
        }
        steps.push(step);
    }
    drop(stays);
    let purged = |step: &Step| Some(format!("purged {} {} from {}", lower(step), step.identity.name, step.endpoint));
    let mut executed = make(&mut session, steps, purged, None, by_name).await?;
    executed.left.splice(0..0, left);
    Ok(executed)
}

/// Returns, by the uid of the snapshot, the volumes whose restore from it is not complete, also those in the trash: they may come back.
/// A snapshot inside of a volume in the trash is left out: it goes with its volume, and before it.
pub fn sources_of_restores(world: &plan::World) -> HashMap<Uid, &Object> {
    let mut sources = HashMap::new();
    for observed in world.values().filter_map(Observation::observed) {
        for volume in &observed.objects {
            let Some(uid) = volume.tags.restoring.as_ref().and_then(|begun| begun.snapshot) else { continue };
            let is_inside =
                |other: &Object| other.uid() == Some(uid) && other.parent_volume.as_ref() == Some(&volume.native);
            if volume.place == Place::Live || !observed.objects.iter().any(is_inside) {
                sources.insert(uid, volume);
            }
        }
    }
    sources
}

/// Checks that no restore from a snapshot in the trash is still to be completed.
fn check_no_restore(sources: &HashMap<Uid, &Object>, trashed: &Trashed) -> Result<(), OperationError> {
    let Some(volume) = trashed.object.uid().and_then(|uid| sources.get(&uid)) else { return Ok(()) };
    let named = |object: &Object| object.identity.as_ref().map_or_else(String::new, |id| id.id().to_string());
    let fix = match volume.place {
        Place::Trash => format!("`kiln trash purge {}` first", named(volume)),
        Place::Live | Place::Temporary => format!("`kiln trash restore {}`, then `kiln apply`", named(&trashed.object)),
    };
    Err(OperationError::Held(format!(
        "{} is left: the restore of {} from it is not complete; fix: {fix}",
        trashed.object.native, volume.native
    )))
}

/// Checks that no snapshot stays in the trash inside of a volume that is purged. `purged`: the objects that are purged before it.
fn is_empty(
    there: &HashMap<(&Name, Option<Uid>), &Trashed>,
    purged: &HashSet<Uid>,
    volume: &Trashed,
) -> Result<(), OperationError> {
    let native = &volume.object.native;
    let is_inside = |other: &&&Trashed| {
        other.backend == volume.backend
            && other.object.parent_volume.as_ref() == Some(native)
            && other.object.tags.volume == volume.object.uid()
            && other.object.uid().is_none_or(|uid| !purged.contains(&uid))
    };
    let Some(inner) = there.values().find(is_inside) else { return Ok(()) };
    let name = inner.object.identity.as_ref().map_or_else(String::new, |id| id.id().to_string());
    Err(OperationError::Held(format!(
        "{native} is left: {name} is in the trash inside of it; fix: `kiln trash purge {name}`"
    )))
}

/// Checks whether a listed object may be purged, as far as the observation shows. (If the object has been restored from the trash, the
/// driver refuses.)
fn may_be_purged(
    session: &Session<'_>,
    blockers: &Blockers<'_>,
    there: &HashMap<(&Name, Option<Uid>), &Trashed>,
    trashed: &Trashed,
) -> Result<(), OperationError> {
    must_be_usable(session, &trashed.backend, None)?;
    let native = &trashed.object.native;
    let object = &trashed.object;
    if let Some(why) = object.conflict.clone().or_else(|| blockers.why(&trashed.backend, object)) {
        return Err(OperationError::Held(format!("{native} cannot be purged: {why}")));
    }
    let now = there.get(&(&trashed.backend, trashed.object.uid()));
    let needed_by = &now.unwrap_or(&trashed).object.needed_by;
    if !needed_by.is_empty() {
        let why = needed_by.join(", ");
        return Err(OperationError::Held(format!("{native} is left: {why} needs it, which Kiln does not manage here")));
    }
    match now {
        Some(now) if now.expires != trashed.expires => Err(OperationError::Failed(format!(
            "{native} is left: it was brought back and removed again in the meantime, and has its time before it"
        ))),
        _ => Ok(()),
    }
}
