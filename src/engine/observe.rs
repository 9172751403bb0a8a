//! Observing the declared backends: at the same time, each within its own time limit.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::model::{
    Address, BackendSpec, DriverError, DriverFix, ErrorKind, Kind, LedgerView, Name, Observed, Owner, Place, PoolId,
    Reading, Records, Scope, Step, Suspension,
};
use crate::plan::{Observation, Plan, World, objects_to_observe};

use super::backend_session::{BackendSession, open};
use super::background::{Background, Enter, LEAST_PATIENCE, Last, PATIENCE, Phase, Readiness, Wait};
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
    /// The backends on which a call of this pass or an earlier one goes on: what the world shows of them is what they showed last, and
    /// nothing is done there.
    pub busy: BTreeSet<Name>,
    /// What was left unfinished on a backend and could not be removed.
    pub unswept: Vec<(Step, DriverError)>,
    /// What calls did, for the reporter.
    pub notes: Vec<String>,
    /// What was done in sessions that an earlier pass began.
    done: BTreeMap<Name, BTreeSet<Phase>>,
    owner: Owner,
    patience: Option<Patience>,
}

/// How long a pass waits for answers.
struct Patience {
    background: Arc<Background>,
    until: Instant,
}

/// An answer that a pass waits for.
struct Awaited {
    spec: BackendSpec,
    session: Option<BackendSession>,
    call: AbortOnDropHandle<Enter>,
}

/// Opens and observes all declared backends at the same time. `wait`: what goes on without this pass; `None` if it waits for every answer.
pub(super) async fn observe_all(
    connect: &Arc<dyn Connect>,
    reading: &Reading,
    records: &Records,
    mode: AccessMode,
    wait: Option<&Wait>,
) -> Observations {
    let specs = &reading.specs;
    let owner = &specs.stack.owner;
    let patience =
        wait.map(|wait| Patience { background: Arc::clone(&wait.background), until: Instant::now() + PATIENCE });
    let mut observations = Observations {
        backends: BTreeMap::new(),
        world: World::new(),
        suspensions: BTreeMap::new(),
        busy: BTreeSet::new(),
        unswept: Vec::new(),
        notes: Vec::new(),
        done: BTreeMap::new(),
        owner: owner.clone(),
        patience,
    };
    let mut calls = Vec::new();
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
        if let Some(wait) = wait {
            match wait.background.take(spec, owner, wait.only_answers) {
                Readiness::Free => {}
                Readiness::Busy(last) => {
                    observations.busy.insert(spec.meta.name.clone());
                    observations.enter_last(&spec.meta.name, last);
                    continue;
                }
                Readiness::Back { session, done, last, enter } => {
                    observations.done.insert(spec.meta.name.clone(), done);
                    observations.backends.extend(session.map(|session| (spec.meta.name.clone(), session)));
                    observations.enter_last(&spec.meta.name, last);
                    enter(&mut observations);
                    continue;
                }
            }
        }
        let (connect, spec, owner) = (Arc::clone(connect), spec.clone(), owner.clone());
        let ask_others = !specs.stack.declared && mode != AccessMode::Pools;
        let known = records.backends.get(&spec.meta.name).map(|record| record.pool.clone());
        let of = spec.clone();
        let observing = async move {
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
            (backend, view, suspensions)
        };
        calls.push((of, None, observing));
    }
    observations
        .each(None, calls, |observations, name, (backend, view, suspensions)| {
            observations.suspensions.insert(name.clone(), suspensions);
            observations.backends.extend(backend.map(|backend| (name.clone(), backend)));
            observations.world.insert(name, view);
        })
        .await;
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
    /// Makes these calls at the same time, each in a task of its own, and enters the answers. A backend whose answer does not come in time
    /// is busy: the call goes on, and a later pass enters its answer. (If a driver panics, its backend did not answer. The planner holds
    /// what has no observation.)
    pub(super) async fn each<T: Send + 'static>(
        &mut self,
        phase: Option<Phase>,
        calls: Vec<(BackendSpec, Option<BackendSession>, impl Future<Output = T> + Send + 'static)>,
        enter: impl Fn(&mut Self, Name, T) + Clone + Send + 'static,
    ) {
        let spawn = |(spec, session, call): (BackendSpec, Option<BackendSession>, _)| {
            let (name, enter) = (spec.meta.name.clone(), enter.clone());
            let span = backend_span(&name);
            let call = async move {
                let answer = call.await;
                Box::new(move |observations: &mut Self| enter(observations, name, answer)) as Enter
            };
            Awaited { spec, session, call: AbortOnDropHandle::new(tokio::spawn(call.instrument(span))) }
        };
        let is_done = |spec: &BackendSpec| {
            let done = self.done.get(&spec.meta.name);
            phase.is_some_and(|phase| done.is_some_and(|done| done.contains(&phase)))
        };
        let awaited: Vec<Awaited> = calls.into_iter().filter(|(spec, ..)| !is_done(spec)).map(spawn).collect();
        // A slow backend that used up the patience must not make others appear slow.
        let until = self.patience.as_ref().map(|patience| patience.until.max(Instant::now() + LEAST_PATIENCE));
        for Awaited { spec, session, mut call } in awaited {
            let joined = match until {
                None => Some((&mut call).await),
                Some(until) => timeout_at(until, &mut call).await.ok(),
            };
            match joined {
                Some(Ok(enter)) => enter(self),
                Some(Err(error)) => tracing::error!(%error, "a call ended in a panic"),
                None => self.leave(phase, Awaited { spec, session, call }),
            }
        }
    }

    /// Leaves a call to go on without this pass.
    fn leave(&mut self, phase: Option<Phase>, Awaited { spec, session, call }: Awaited) {
        // Without patience there is no time limit.
        let Some(Patience { background, .. }) = &self.patience else { return };
        let (background, name) = (Arc::clone(background), spec.meta.name.clone());
        tracing::debug!(backend = %name, "it does not answer in time; the pass goes on without it");
        self.busy.insert(name.clone());
        self.backends.remove(&name);
        if !self.world.contains_key(&name) {
            self.enter_last(&name, background.last(&name));
        }
        let mut done = self.done.remove(&name).unwrap_or_default();
        done.extend(phase.filter(|phase| *phase != Phase::Names));
        background.leave(spec, self.owner.clone(), session, done, call.detach());
    }

    fn enter_last(&mut self, name: &Name, last: Option<Last>) {
        let late = || (Observation::Failed { why: "it has not answered yet".to_owned(), fix: None }, Vec::new());
        let (view, suspensions) = last.unwrap_or_else(late);
        self.world.insert(name.clone(), view);
        self.suspensions.insert(name.clone(), suspensions);
    }

    /// The open backends of these names that are not busy.
    fn open<'a, T>(
        &'a self,
        of: impl IntoIterator<Item = (Name, T)> + 'a,
    ) -> impl Iterator<Item = (BackendSession, T)> + 'a {
        of.into_iter().filter_map(|(name, of)| Some((self.backends.get(&name)?.clone(), of)))
    }

    /// Observes by name the objects whose clients the plan depends on, and enters them in the world. Returns whether anything was asked: then
    /// the caller plans again.
    pub(super) async fn ask(&mut self, plan: &Plan) -> bool {
        let questions = objects_to_observe(plan, &self.world);
        let call = |(backend, addresses): (BackendSession, Vec<Address>)| {
            let (spec, session) = (backend.spec.clone(), Some(backend.clone()));
            (spec, session, async move { backend.observe(&Scope::Objects(addresses)).await })
        };
        let calls: Vec<_> = self.open(questions).map(call).collect();
        let asked = !calls.is_empty();
        self.each(Some(Phase::Clients), calls, |observations, name, answer| match answer {
            Ok(seen) => observations.put(&name, seen),
            // The driver checks the step's expectation again.
            Err(error) => tracing::warn!(backend = %name, %error, "the clients of objects could not be observed"),
        })
        .await;
        asked
    }

    /// Asks backends for these names, and adds the answers to the world. Returns the backends that answered for any. What one of them left
    /// out can be asked for again; a backend that answered for none has a gap.
    pub(super) async fn ask_for(&mut self, wanted: BTreeMap<Name, Vec<Address>>) -> BTreeSet<Name> {
        let names: BTreeSet<Name> = wanted.keys().cloned().collect();
        let before: BTreeMap<&Name, usize> = names.iter().map(|name| (name, self.queried(name))).collect();
        let call = |(backend, addresses): (BackendSession, Vec<Address>)| {
            let (spec, session, count) = (backend.spec.clone(), Some(backend.clone()), addresses.len());
            let asking = async move {
                let scope = Scope::Objects(addresses);
                let answer = AssertUnwindSafe(backend.observe(&scope)).catch_unwind().await;
                let why = "asking for the names of objects failed in a panic";
                (count, answer.unwrap_or_else(|_| Err(DriverError::before(ErrorKind::Permanent, why))))
            };
            (spec, session, asking)
        };
        let calls: Vec<_> = self.open(wanted).map(call).collect();
        self.each(Some(Phase::Names), calls, |observations, name, (count, answer)| {
            observations.enter_names(&name, count, answer)
        })
        .await;
        let answered = |name: &&Name| self.queried(name) > before[*name];
        names.iter().filter(answered).cloned().collect()
    }

    /// For how many names a backend has answered.
    fn queried(&self, name: &Name) -> usize {
        self.world.get(name).and_then(Observation::observed).map_or(0, |observed| observed.queried.len())
    }

    /// Enters the answer of a backend that was asked for so many names.
    fn enter_names(&mut self, name: &Name, count: usize, answer: Result<Observed, DriverError>) {
        let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) =
            self.world.get_mut(name)
        else {
            return;
        };
        match answer {
            Ok(seen) if seen.pool != observed.pool => {
                observed.gaps.push("its pool was replaced while it was asked for the names of objects".to_owned());
            }
            Ok(mut seen) => {
                if seen.queried.is_empty() {
                    seen.gaps.push("it did not answer for the names of objects".to_owned());
                } else if seen.queried.len() < count {
                    // Asked for the rest, it answers or leaves a gap.
                    seen.gaps.clear();
                }
                observed.add(seen);
            }
            Err(error) => observed.gaps.push(format!("it did not answer for the names of objects: {error}")),
        }
    }

    /// Replaces the observations of live objects by those that were made by name, of the same pool.
    fn put(&mut self, name: &Name, seen: Observed) {
        let Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) =
            self.world.get_mut(name)
        else {
            return;
        };
        if seen.pool != observed.pool {
            return;
        }
        let live = seen.objects.into_iter().filter(|o| o.place == Place::Live);
        let mut closer: BTreeMap<Address, _> = live.map(|o| (o.address(), o)).collect();
        for object in observed.objects.iter_mut().filter(|object| object.place == Place::Live) {
            if let Some(seen) = closer.remove(&object.address()) {
                *object = seen;
            }
        }
    }
}
