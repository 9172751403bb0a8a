//! Suspending and resuming: recorded on every pool that can be reached, and in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::model::{
    Kind, Name, Object, ObjectId, Observed, Owner, Place, Records, Seconds, Specs, Suspension, SuspensionId,
    Suspensions,
};
use crate::plan::{Observation, suspended_because};
use crate::store::Batch;
use crate::text::rfc3339;

use super::error::OperationError;
use super::stackless::refuse_without_stack;
use crate::engine::backend_session::BackendSession;
use crate::engine::observe::observe_all;
use crate::engine::observe_one::AccessMode;
use crate::engine::record::commit;
use crate::engine::session::Session;
use crate::engine::setup::Setup;
use crate::engine::suspensions::named;
use crate::engine::writers::writers_in;

/// What suspending or resuming did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SuspensionResult {
    /// What is suspended or resumed now, a sentence each.
    pub said: Vec<String>,
    /// Backends on which it is not recorded, with why.
    pub missed: Vec<String>,
}

/// Suspends an object, or everything of this owner, until it is resumed or for `length`. Replaces an earlier suspension of the same object.
/// For an object that is declared or recorded no backend is observed.
///
/// # Errors
/// [`OperationError::Usage`] for an object that is not known, [`OperationError::Failed`] if it is recorded nowhere, and [`OperationError::Store`].
pub async fn suspend(
    setup: &Setup,
    object: Option<ObjectId>,
    reason: &str,
    length: Option<Seconds>,
) -> Result<SuspensionResult, OperationError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(OperationError::Usage("a suspension needs a reason: others will read it".to_owned()));
    }
    if reason.len() > Suspension::LONGEST_REASON {
        let most = Suspension::LONGEST_REASON;
        return Err(OperationError::Usage(format!(
            "a reason has at most {most} bytes, and this one has {}",
            reason.len()
        )));
    }
    let records = records(setup)?;
    let pools = SuspensionPools::open(setup, &records).await?;
    if let Some(ObjectId { kind, name }) = &object {
        must_be_known(setup, &records, *kind, name).await?;
    }
    let (now, owner) = (setup.clock.now(), &setup.reading.specs.stack.owner);
    let until = length.map(|length| now.saturating_add(length.0));
    let id = SuspensionId::of(&format!("{owner} {object:?} {now} {reason} {}", random()));
    let new = Suspension {
        id: Some(id),
        owner: owner.clone(),
        object,
        reason: reason.to_owned(),
        since: now,
        until,
        resumed: None,
    };
    let before = pools.union(owner, &records).in_force(now).into_iter().filter(|other| other.object == new.object);
    let before = before.map(|other| Suspension { resumed: Some(now), ..other });
    let until = until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
    let said = vec![format!("{} is suspended{until}: {}", named(&new), new.reason)];
    pools.write(setup, &records, std::iter::once(new.clone()).chain(before).collect(), said).await
}

/// Ends the suspension of an object, or that of everything. The two are independent: resuming everything does not resume objects that are
/// suspended by name, nor the reverse. Returns what is still suspended.
///
/// # Errors
/// [`OperationError::Usage`] if that is not suspended, [`OperationError::Failed`] if it is recorded nowhere, and [`OperationError::Store`].
pub async fn resume(setup: &Setup, object: Option<ObjectId>) -> Result<SuspensionResult, OperationError> {
    let records = records(setup)?;
    let pools = SuspensionPools::open(setup, &records).await?;
    let now = setup.clock.now();
    let in_force = pools.union(&setup.reading.specs.stack.owner, &records).in_force(now);
    let (those, others): (Vec<_>, Vec<_>) = in_force.into_iter().partition(|suspension| suspension.object == object);
    let others: Vec<String> =
        others.iter().map(|other| format!("{}: {}", named(other), suspended_because(other))).collect();
    let Some(lifted) = those.first() else {
        let what = match &object {
            Some(object) => format!("{object} is not suspended by its name"),
            None => "there is no suspension of everything".to_owned(),
        };
        let instead = if others.is_empty() { "nor is anything else".to_owned() } else { others.join("; ") };
        let unread = pools.missed.iter().map(|missed| format!("; {missed}")).collect::<String>();
        return Err(OperationError::Usage(format!("{what}; {instead}{unread}")));
    };
    let mut said = vec![format!("{} is resumed", named(lifted))];
    said.extend(others.into_iter().map(|other| format!("still suspended: {other}")));
    let ended = those.into_iter().map(|one| Suspension { resumed: Some(now), ..one }).collect();
    pools.write(setup, &records, ended, said).await
}

/// The records of the store. Without a store (another process may have it) only the pools are read.
fn records(setup: &Setup) -> Result<Arc<Records>, OperationError> {
    setup.store.as_ref().map_or_else(|| Ok(Arc::default()), |store| Ok(store.records()?))
}

/// A random number: the standard library seeds its hash maps from the system.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// The pools of all declared backends, by whether records can be written to them.
struct SuspensionPools {
    reached: BTreeMap<Name, (BackendSession, Vec<Suspension>)>,
    /// Other processes that write there for this owner, a sentence each.
    writers: Vec<String>,
    /// Uninitialised pools: nothing of this owner is on them yet.
    fresh: Vec<Name>,
    /// Why the others cannot be written to, a sentence each.
    missed: Vec<String>,
}

impl SuspensionPools {
    /// Opens all at the same time, each within its own time limit. With a declared Stack, objects are not listed.
    ///
    /// # Errors
    /// See [`refuse_without_stack`]: a suspension for `default` would not hold the objects of the Stack that is missing.
    async fn open(setup: &Setup, records: &Records) -> Result<Self, OperationError> {
        let specs = &setup.reading.specs;
        let mut pools = Self { reached: BTreeMap::new(), writers: Vec::new(), fresh: Vec::new(), missed: Vec::new() };
        // Without a Stack the ledgers tell which owner the pool has, and only a complete listing has them.
        let mode = if specs.stack.declared { AccessMode::Pools } else { AccessMode::Read };
        let mut seen = observe_all(setup, records, mode, None).await;
        for name in specs.backends.keys().cloned() {
            let view = seen.world.remove(&name);
            let observed = view.as_ref().and_then(Observation::observed);
            refuse_without_stack(specs, &name, observed, records.backends.get(&name))?;
            let why = match (&view, setup.reading.not_allowed(Kind::Backend, &name)) {
                (Some(Observation::Failed { why, fix: _ }), _) => why,
                (_, Some(barred)) => &barred.message,
                (Some(_), None) => "its driver is not implemented yet",
                (None, None) => "its observation ended in a panic",
            };
            let known = records.backends.get(&name).map(|record| &record.pool);
            match (observed, seen.backends.remove(&name)) {
                (Some(Observed { pool: None, .. }), _) if known.is_none() => pools.fresh.push(name),
                (Some(Observed { pool, .. }), _) if pool.is_none() || (known.is_some() && pool.as_ref() != known) => {
                    pools.missed.push(format!("{name}: another pool is there than before"));
                }
                (Some(observed), Some(backend)) => {
                    pools.writers.extend(writers_in(&name, observed, &specs.stack.owner, None));
                    let on_it = seen.suspensions.remove(&name).unwrap_or_default();
                    pools.reached.insert(name, (backend, on_it));
                }
                _ => pools.missed.push(format!("{name}: {why}")),
            }
        }
        pools.fresh.sort();
        pools.missed.sort();
        Ok(pools)
    }

    /// Every record of an owner's suspensions, on these pools and in the store.
    fn union(&self, owner: &Owner, records: &Records) -> Suspensions {
        let on_pools = self.reached.values().flat_map(|(_, on_it)| on_it);
        Suspensions::union(on_pools.chain(records.suspensions.values().filter(|one| one.owner == *owner)))
    }

    /// Writes records to the store, then to every pool.
    async fn write(
        mut self,
        setup: &Setup,
        records: &Records,
        changed: Vec<Suspension>,
        mut said: Vec<String>,
    ) -> Result<SuspensionResult, OperationError> {
        if let Some(store) = &setup.store {
            let mut suspensions: Vec<(String, Option<Suspension>)> = Vec::new();
            for one in &changed {
                // The key of the record before suspensions had ids.
                let old = Suspension { id: None, ..one.clone() }.key();
                if records.suspensions.get(&old).is_some_and(|there| there.id() == one.id()) {
                    suspensions.push((old, None));
                }
                suspensions.push((one.key(), Some(one.clone())));
            }
            commit(store, Batch { suspensions, ..Batch::default() }).await?;
        }
        let mut tasks = JoinSet::new();
        for (name, (backend, _)) in std::mem::take(&mut self.reached) {
            let changed = changed.clone();
            tasks.spawn(async move {
                for one in &changed {
                    if let Err(error) = backend.write_suspension(one).await {
                        return (name, Err(error.message));
                    }
                }
                (name, Ok(()))
            });
        }
        let mut reached = BTreeSet::new();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok((name, Ok(()))) => drop(reached.insert(name)),
                Ok((name, Err(why))) => self.missed.push(format!("{name}: {why}")),
                Err(error) => self.missed.push(format!("a backend: {error}")),
            }
        }
        self.missed.sort();
        if setup.store.is_none() && reached.is_empty() {
            let why = self.missed.iter().map(|missed| format!("; {missed}")).collect::<String>();
            return Err(OperationError::Failed(format!("it is recorded nowhere: no pool could be reached{why}")));
        }
        if !reached.is_empty() {
            let names: Vec<&str> = reached.iter().map(Name::as_str).collect();
            said.push(format!("recorded on {}", names.join(", ")));
        } else if self.missed.is_empty() {
            said.push("recorded in the store alone: no pool has been used yet".to_owned());
        }
        self.writers.sort();
        said.append(&mut self.writers);
        let missed = self.missed.into_iter().map(|missed| format!("not recorded on {missed}")).collect();
        Ok(SuspensionResult { said, missed })
    }
}

/// Checks that the object exists: a mistyped name would suspend nothing, without a message.
async fn must_be_known(setup: &Setup, records: &Arc<Records>, kind: Kind, name: &Name) -> Result<(), OperationError> {
    let (specs, owner): (&Specs, _) = (&setup.reading.specs, &setup.reading.specs.stack.owner);
    let declared = match kind {
        Kind::Volume => specs.volumes.contains_key(name),
        Kind::Snapshot => specs.snapshots.contains_key(name),
        Kind::Export => specs.exports.contains_key(name),
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => {
            let sentence = format!("a {} cannot be suspended: only volumes, snapshots and exports", kind.as_lower());
            return Err(OperationError::Usage(sentence));
        }
    };
    let ledgers = || records.backends.values().filter_map(|record| record.ledger.as_ref());
    let entered = || {
        let ours = ledgers().filter(|ledger| ledger.owner == *owner);
        ours.flat_map(|ledger| ledger.complete.values()).any(|entry| entry.kind == kind && entry.name == *name)
    };
    if declared || records.find(owner, kind, name).is_some() || entered() {
        return Ok(());
    }
    let session = Session::begin_reading(setup, Arc::clone(records)).await;
    let is_it = |o: &Object| o.place != Place::Temporary && o.is(owner, kind, name);
    if session.observations.world.values().flat_map(Observation::objects).any(is_it) {
        return Ok(());
    }
    let mut sentence = format!("{}/{name} is not declared, not there, and not remembered", kind.as_lower());
    if let Some(unobserved) = session.unobserved().first() {
        sentence.push_str(&format!(" (but {})", unobserved.message));
    }
    Err(OperationError::Usage(sentence))
}
