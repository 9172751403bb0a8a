//! Observing the declared backends: at the same time, each within its own time limit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::Instrument;

use crate::model::{
    Address, BackendSpec, DriverError, DriverFix, ErrorKind, Kind, LedgerView, Name, Observed, Owner, Place, PoolId,
    Reading, Records, Scope, Suspension,
};
use crate::plan::{Observation, Plan, World, objects_to_observe};

use super::backend_session::{BackendSession, open};
use super::setup::Connect;
use super::span::backend_span;

/// What is observed, and whether observing also takes the writer locks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessMode {
    /// To learn which pools are there, and what is suspended on them. No object is listed.
    Pools,
    /// To plan, without changing anything.
    Read,
    /// To write afterwards: under the lock only foreign processes change what was observed.
    Write,
}

/// The open backends, and an observation of every declared one.
pub(super) struct Observations {
    pub backends: BTreeMap<Name, BackendSession>,
    pub world: World,
    /// The records of this owner's suspensions on each backend that was observed.
    pub suspensions: BTreeMap<Name, Vec<Suspension>>,
}

/// Opens and observes all declared backends at the same time.
pub(super) async fn observe_all(
    connect: &Arc<dyn Connect>,
    reading: &Reading,
    records: &Records,
    mode: AccessMode,
) -> Observations {
    let specs = &reading.specs;
    let owner = &specs.stack.owner;
    let mut observations =
        Observations { backends: BTreeMap::new(), world: World::new(), suspensions: BTreeMap::new() };
    let mut tasks = JoinSet::new();
    for spec in specs.backends.values() {
        if let Some(barred) = reading.not_allowed(Kind::Backend, &spec.meta.name) {
            // The backend is not opened, not even to observe it. The planner reports why.
            let view = match barred.unresponsive {
                true => {
                    Observation::Failed { why: barred.message.clone(), fix: Some(DriverFix::Do(barred.fix.clone())) }
                }
                false => Observation::Unsupported,
            };
            observations.world.insert(spec.meta.name.clone(), view);
            continue;
        }
        let (connect, spec, owner) = (Arc::clone(connect), spec.clone(), owner.clone());
        let ask_others = !specs.stack.declared && mode != AccessMode::Pools;
        let known = records.backends.get(&spec.meta.name).map(|record| record.pool.clone());
        let span = backend_span(&spec.meta.name);
        let observing = async move {
            let name = spec.meta.name.clone();
            let (backend, mut view) = observe_one(connect, spec, &owner, known, mode).await;
            if let (true, Some(backend)) = (ask_others, &backend) {
                read_others(backend, &owner, &mut view).await;
            }
            let suspensions = match (&backend, &view) {
                (Some(backend), Observation::Seen { .. } | Observation::LockedBy { .. }) => {
                    backend.suspensions(&owner).await
                }
                _ => Ok(Vec::new()),
            };
            let (view, suspensions) = match suspensions {
                Ok(suspensions) => (view, suspensions),
                // Unreadable records may suspend every object there.
                Err(error) => (Observation::Failed { why: error.message, fix: error.fix }, Vec::new()),
            };
            log_observation(&view);
            (name, backend, view, suspensions)
        };
        tasks.spawn(observing.instrument(span));
    }
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((name, backend, view, suspensions)) => {
                observations.suspensions.insert(name.clone(), suspensions);
                observations.backends.extend(backend.map(|backend| (name.clone(), backend)));
                observations.world.insert(name, view);
            }
            // If a driver panics, its backend did not answer. The planner holds what has no observation.
            Err(error) => tracing::error!(%error, "an observation ended in a panic"),
        }
    }
    observations
}

fn log_observation(view: &Observation) {
    match view {
        Observation::Seen { observed, .. } => tracing::debug!(objects = observed.objects.len(), "observed"),
        Observation::LockedBy { by, observed, .. } => {
            tracing::debug!(objects = observed.objects.len(), by, "observed; another process holds the writer lock");
        }
        Observation::Failed { why, fix: _ } => tracing::debug!(why, "the observation failed"),
        Observation::Unsupported => tracing::debug!("its driver is not implemented yet"),
    }
}

async fn observe_one(
    connect: Arc<dyn Connect>,
    spec: BackendSpec,
    owner: &Owner,
    known: Option<PoolId>,
    mode: AccessMode,
) -> (Option<BackendSession>, Observation) {
    let unseen = |error: &DriverError| Observation::Failed { why: error.message.clone(), fix: error.fix.clone() };
    let mut backend = match open(connect, spec).await {
        Ok(backend) => backend,
        Err(error) if error.kind == ErrorKind::Unsupported => return (None, Observation::Unsupported),
        Err(error) => return (None, unseen(&error)),
    };
    let mut taken = None;
    if mode == AccessMode::Write {
        // First without any object: a pool that was replaced is not even locked.
        let glance = match backend.observe(&Scope::Objects(Vec::new())).await {
            Ok(glance) => glance,
            Err(error) => return (Some(backend), unseen(&error)),
        };
        if glance.pool.is_some() && (known.is_none() || known == glance.pool) {
            match backend.lock(owner).await {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::OtherWriter => taken = Some(error.message),
                Err(error) => return (Some(backend), unseen(&error)),
            }
        }
    }
    let scope = match mode {
        AccessMode::Pools => Scope::Objects(Vec::new()),
        AccessMode::Read | AccessMode::Write => Scope::All { owner: owner.clone() },
    };
    let view = match backend.observe(&scope).await {
        Ok(observed) => {
            let capabilities = backend.driver.capabilities().clone();
            match taken {
                None => Observation::Seen { capabilities, observed },
                Some(by) => Observation::LockedBy { by, capabilities, observed },
            }
        }
        Err(error) => unseen(&error),
    };
    (Some(backend), view)
}

/// Reads the ledgers of other owners. Where no Stack is declared, the document that is missing is most likely that of one of them.
async fn read_others(backend: &BackendSession, owner: &Owner, view: &mut Observation) {
    let (Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) = view else { return };
    for other in observed.owners.iter().filter(|other| *other != owner) {
        let ledger = match backend.ledger(other).await {
            Ok(ledger) => ledger,
            Err(error) => Some(LedgerView::Unreadable(error.message)),
        };
        observed.others.extend(ledger.map(|ledger| (other.clone(), ledger)));
    }
}

impl Observations {
    /// Observes by name the objects whose clients the plan depends on, and enters them in the world. Returns whether anything was learnt: then
    /// the caller plans again.
    pub(super) async fn ask(&mut self, plan: &Plan) -> bool {
        let mut learnt = false;
        for (name, addresses) in objects_to_observe(plan, &self.world) {
            let Some(backend) = self.backends.get(&name) else { continue };
            match backend.observe(&Scope::Objects(addresses)).await {
                Ok(seen) => learnt |= self.put(&name, seen),
                // The driver checks the step's expectation again.
                Err(error) => tracing::warn!(backend = %name, %error, "the clients of objects could not be observed"),
            }
        }
        learnt
    }

    /// Asks backends for these names, and adds the answers to the world. Returns the backends that answered for any. What one of them left
    /// out can be asked for again; a backend that answered for none has a gap.
    pub(super) async fn ask_for(&mut self, wanted: BTreeMap<Name, Vec<Address>>) -> BTreeSet<Name> {
        let (mut tasks, mut asked) = (JoinSet::new(), HashMap::new());
        for (name, addresses) in wanted {
            let Some(backend) = self.backends.get(&name).cloned() else { continue };
            let (span, of) = (backend_span(&name), (name, addresses.len()));
            let asking = async move { backend.observe(&Scope::Objects(addresses)).await };
            asked.insert(tasks.spawn(asking.instrument(span)).id(), of);
        }
        let mut answered = BTreeSet::new();
        while let Some(joined) = tasks.join_next_with_id().await {
            let (id, answer) = joined.unwrap_or_else(|error| {
                let why = "asking for the names of objects failed in a panic";
                (error.id(), Err(DriverError::before(ErrorKind::Permanent, why)))
            });
            let Some((name, count)) = asked.remove(&id) else { continue };
            let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) =
                self.world.get_mut(&name)
            else {
                continue;
            };
            match answer {
                Ok(seen) if seen.pool != observed.pool => {
                    observed.gaps.push("its pool was replaced while it was asked for the names of objects".to_owned());
                }
                Ok(mut seen) => {
                    if seen.queried.is_empty() {
                        seen.gaps.push("it did not answer for the names of objects".to_owned());
                    } else {
                        answered.insert(name);
                        if seen.queried.len() < count {
                            // Asked for the rest, it answers or leaves a gap.
                            seen.gaps.clear();
                        }
                    }
                    observed.add(seen);
                }
                Err(error) => observed.gaps.push(format!("it did not answer for the names of objects: {error}")),
            }
        }
        answered
    }

    /// Replaces the observations of live objects by those that were made by name, of the same pool. Returns whether it is the same.
    fn put(&mut self, name: &Name, seen: Observed) -> bool {
        let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) =
            self.world.get_mut(name)
        else {
            return false;
        };
        if seen.pool != observed.pool {
            return false;
        }
        let live = seen.objects.into_iter().filter(|o| o.place == Place::Live);
        let mut closer: BTreeMap<Address, _> = live.map(|o| (o.address(), o)).collect();
        for object in observed.objects.iter_mut().filter(|object| object.place == Place::Live) {
            if let Some(seen) = closer.remove(&object.address()) {
                *object = seen;
            }
        }
        true
    }
}
