//! Observing the declared backends, and what goes on without its pass: the calls of those that are slow. A pass of the daemon waits for none
//! of them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::model::{
    Address, BackendSpec, DriverError, DriverFix, ErrorKind, IntentId, Kind, Name, Observed, Owner, Place, Reading,
    Records, Scope, Step, Suspension,
};
use crate::plan::{Observation, Plan, RunningStep, World, objects_to_observe};

use super::backend_session::BackendSession;
use super::jobs::{EndedJob, JobSession};
use super::observe_one::{AccessMode, Asked, observe_one};
use super::report::Report;
use super::setup::Setup;
use super::span::backend_span;

/// The open backends, and an observation of every declared one.
pub(super) struct Observations {
    pub backends: BTreeMap<Name, BackendSession>,
    pub world: World,
    /// The records of this owner's suspensions on each backend that was observed.
    pub suspensions: BTreeMap<Name, Vec<Suspension>>,
    /// The backends, declared or not, on which a call of this pass or an earlier one goes on: what the world shows of them is what they showed last, and
    /// nothing is done there.
    pub busy: BTreeSet<Name>,
    /// The steps of earlier passes that were running when their backend was observed, by their intents.
    pub running: BTreeMap<IntentId, RunningStep>,
    /// Those that have ended, which the world shows.
    pub ended: BTreeMap<IntentId, EndedJob>,
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
    setup: &Setup,
    records: &Records,
    mode: AccessMode,
    wait: Option<&Wait>,
) -> Observations {
    let (reading, jobs) = (&setup.reading, &setup.jobs);
    let specs = &reading.specs;
    let owner = &specs.stack.owner;
    let patience =
        wait.map(|wait| Patience { background: Arc::clone(&wait.background), until: Instant::now() + PATIENCE });
    let mut observations = Observations {
        backends: BTreeMap::new(),
        world: World::new(),
        suspensions: BTreeMap::new(),
        busy: BTreeSet::new(),
        running: BTreeMap::new(),
        ended: BTreeMap::new(),
        unswept: Vec::new(),
        notes: Vec::new(),
        done: BTreeMap::new(),
        owner: owner.clone(),
        patience,
    };
    let is_used = |name: &Name| specs.backends.contains_key(name) && reading.not_allowed(Kind::Backend, name).is_none();
    observations.running.extend(jobs.elsewhere(|(name, of)| is_used(name) && of == owner));
    if let Some(wait) = wait {
        // A session of a Backend that has another name now may hold the lock of its pool.
        wait.background.close_answers(|name| !is_used(name));
        observations.busy.extend(wait.background.busy().into_iter().filter(|name| !specs.backends.contains_key(name)));
    }
    // Only passes of the loop enter what jobs did: no other is certain to be carried out.
    let enters = wait.is_some() && mode == AccessMode::Write;
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
        let place = (spec.meta.name.clone(), owner.clone());
        if let Some(wait) = wait {
            let only_answers = wait.only_answers && !jobs.has_ended(&place);
            match wait.background.take(spec, owner, only_answers) {
                Readiness::Free => {}
                Readiness::Busy(last) => {
                    observations.running.extend(jobs.not_shown(&place));
                    observations.busy.insert(spec.meta.name.clone());
                    observations.enter_last(&spec.meta.name, last.map(|last| *last));
                    continue;
                }
                Readiness::Back(back) => {
                    let Back { session, done, last, enter } = *back;
                    observations.done.insert(spec.meta.name.clone(), done);
                    observations.backends.extend(session.map(|session| (spec.meta.name.clone(), session)));
                    observations.enter_last(&spec.meta.name, last);
                    observations.running.extend(jobs.not_shown(&place));
                    enter(&mut observations);
                    if enters {
                        observations.ended.extend(jobs.shown(&place));
                    }
                    if jobs.has_ended(&place) {
                        // The next observation shows it.
                        jobs.ended.notify_one();
                    }
                    continue;
                }
            }
        }
        let name = &spec.meta.name;
        let session = match mode {
            AccessMode::Pools | AccessMode::Read => {
                observations.running.extend(jobs.running_on(&place));
                None
            }
            AccessMode::Write => {
                observations.running.extend(jobs.begin_observation(&place));
                match jobs.session(&place, spec) {
                    JobSession::None => None,
                    JobSession::Open(session) => Some(*session),
                    JobSession::Elsewhere(running) => {
                        observations.busy.insert(name.clone());
                        observations.world.insert(name.clone(), copies_elsewhere(running));
                        continue;
                    }
                }
            }
        };
        let ask_others = !specs.stack.declared && mode != AccessMode::Pools;
        let known = records.backends.get(name).map(|record| record.pool.clone());
        let asked = Asked { owner: owner.clone(), known, mode, ask_others };
        let (connect, of) = (Arc::clone(&setup.connect), spec.clone());
        let observing = async move { observe_one(connect, of, session, asked).await };
        calls.push((spec.clone(), None, observing));
    }
    let (jobs, owner) = (Arc::clone(jobs), owner.clone());
    observations
        .each(None, calls, move |observations, name, (backend, view, suspensions)| {
            if enters && view.observed().is_some() {
                observations.ended.extend(jobs.shown(&(name.clone(), owner.clone())));
            }
            observations.suspensions.insert(name.clone(), suspensions);
            observations.backends.extend(backend.map(|backend| (name.clone(), backend)));
            observations.world.insert(name, view);
        })
        .await;
    observations
}

/// A backend whose document names another place than the one where its jobs run.
fn copies_elsewhere(count: usize) -> Observation {
    let steps = if count == 1 { "a step still runs".to_owned() } else { format!("{count} steps still run") };
    let why = format!("{steps} in the place where it was before");
    let fix = "wait until they end: `kiln status` shows how far they are".to_owned();
    Observation::Failed { why, fix: Some(DriverFix::Do(fix)) }
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

/// How long a pass waits, from its begin, for the answers that it plans with. A backend that answers later joins the pass after its answer.
/// Most answer sooner; and a person who has changed a manifest waits no longer than that for a step elsewhere.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// How long it waits at least for each kind of call: backends that answer soon are not busy because another has used up the patience.
pub(super) const LEAST_PATIENCE: Duration = Duration::from_millis(50);
/// The longest time that a pass waits for its steps: what it makes due (retries, the confirmation read) is known at its end.
pub(super) const LONGEST: Duration = Duration::from_secs(2);
/// How long a pass still waits for its running steps when another pass is due: most calls end sooner.
pub(super) const LEAVE_AFTER: Duration = Duration::from_millis(80);
/// How long it then waits for endpoints on which only copies run: they end as soon as the ledger is written.
pub(super) const HAND_OVER: Duration = Duration::from_millis(40);

/// The slow endpoints of a daemon: their calls in progress, and what they last showed.
#[derive(Default)]
pub struct Background {
    slow: Mutex<BTreeMap<Name, Slow>>,
    /// What steps did that ended without their pass, and the manifests that they follow from.
    reports: Mutex<Vec<(Arc<Reading>, Report)>>,
    /// Notified when a call has ended.
    pub ended: Notify,
    /// Notified when nothing is in progress any more.
    idle: Notify,
}

/// How a pass of the daemon treats endpoints that are slow.
#[derive(Clone)]
pub struct Wait {
    /// What goes on without it.
    pub background: Arc<Background>,
    /// The pass is made because a slow backend has answered: it does not ask other slow ones again.
    pub only_answers: bool,
    /// Cancelled when another pass is due: steps that still run go on without this one.
    pub leave: CancellationToken,
}

/// What a pass does on a backend between its observation and its steps. One that was late is not repeated in the pass that gets its answer,
/// whatever that is: else a backend that is always late there would have no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Asking for names of objects; what is answered is not asked again.
    Names,
    /// Removing what is unfinished.
    Sweep,
    /// Writing suspensions that other pools have.
    Suspensions,
    /// Observing objects more closely.
    Clients,
    /// Naming this process.
    Announce,
}

/// Enters an answer in the observations of a pass.
type Enter = Box<dyn FnOnce(&mut Observations) + Send>;

/// A backend that did not answer in time, in this pass or an earlier one.
#[derive(Default)]
struct Slow {
    doing: Doing,
    /// Since when, if it does something or has an answer.
    since: Option<Instant>,
    /// What it showed last, and the records of suspensions on it. A pass plans with that while it is busy, and does nothing on it.
    last: Option<Last>,
}

#[derive(Default)]
enum Doing {
    #[default]
    Nothing,
    /// A call, or the steps of an earlier pass, with what stops them before the next one.
    Call(CancellationToken),
    /// The call has ended, or the steps, and no pass has used that. `None`: there is no answer.
    Ended(Option<Box<LateAnswer>>),
}

/// The answer to a call, with what it was asked in.
struct LateAnswer {
    spec: BackendSpec,
    owner: Owner,
    /// The open session, unless the call was to open it.
    session: Option<BackendSession>,
    /// What was done in this session.
    done: BTreeSet<Phase>,
    enter: Enter,
}

/// What a slow backend showed last, and the records of suspensions on it.
pub(super) type Last = (Observation, Vec<Suspension>);

/// What a pass has to know of a backend before it observes it.
pub(super) enum Readiness {
    /// It can be observed.
    Free,
    /// A call is in progress, or the pass leaves it out.
    Busy(Option<Box<Last>>),
    /// It has answered a call of an earlier pass.
    Back(Box<Back>),
}

/// A backend that has answered a call of an earlier pass.
pub(super) struct Back {
    pub session: Option<BackendSession>,
    pub done: BTreeSet<Phase>,
    pub last: Option<Last>,
    pub enter: Enter,
}

impl Background {
    fn slow(&self) -> MutexGuard<'_, BTreeMap<Name, Slow>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is known of a backend, for a pass. `only_answers`: see [`Wait`].
    pub(super) fn take(&self, spec: &BackendSpec, owner: &Owner, only_answers: bool) -> Readiness {
        let mut slow = self.slow();
        let Some(backend) = slow.get_mut(&spec.meta.name) else { return Readiness::Free };
        match std::mem::take(&mut backend.doing) {
            Doing::Call(stop) => {
                backend.doing = Doing::Call(stop);
                Readiness::Busy(backend.last.take().map(Box::new))
            }
            Doing::Nothing if only_answers && backend.last.is_some() => {
                Readiness::Busy(backend.last.take().map(Box::new))
            }
            Doing::Nothing | Doing::Ended(None) => Readiness::Free,
            Doing::Ended(Some(answer)) => {
                let last = backend.last.take();
                drop(slow);
                // Asked for another place or owner, or what it was asked in is not known any more: it is closed, and observed anew.
                let is_known = answer.session.is_none() || last.is_some();
                if answer.spec != *spec || answer.owner != *owner || !is_known {
                    return Readiness::Free;
                }
                let LateAnswer { session, done, enter, .. } = *answer;
                Readiness::Back(Box::new(Back { session, done, last, enter }))
            }
        }
    }

    /// Takes what a slow backend showed last.
    pub(super) fn last(&self, name: &Name) -> Option<Last> {
        self.slow().get_mut(name)?.last.take()
    }

    /// Leaves a call to go on without its pass. `call` returns how its answer is entered in the observations of a later pass.
    pub(super) fn leave(
        self: &Arc<Self>,
        spec: BackendSpec,
        owner: Owner,
        session: Option<BackendSession>,
        done: BTreeSet<Phase>,
        call: JoinHandle<Enter>,
    ) {
        let name = spec.meta.name.clone();
        self.begin(&name, CancellationToken::new());
        // What it showed in this pass is kept at its end.
        let _ = self.last(&name);
        let background = Arc::clone(self);
        tokio::spawn(async move {
            let answer = call.await.ok().map(|enter| LateAnswer { spec, owner, session, done, enter });
            background.end(&name, answer);
        });
    }

    /// Something begins on a backend that no pass waits for. `stop` ends it before its next call.
    pub(super) fn begin(&self, name: &Name, stop: CancellationToken) {
        let mut slow = self.slow();
        let backend = slow.entry(name.clone()).or_default();
        (backend.doing, backend.since) = (Doing::Call(stop), Some(Instant::now()));
    }

    /// Steps of a backend have ended that went on without their pass.
    pub(super) fn steps_ended(&self, name: &Name, done: Option<(Arc<Reading>, Report)>) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).extend(done);
        self.end(name, None);
    }

    fn end(&self, name: &Name, answer: Option<LateAnswer>) {
        let mut slow = self.slow();
        if let Some(backend) = slow.get_mut(name) {
            backend.doing = Doing::Ended(answer.map(Box::new));
        }
        let is_idle = !slow.values().any(|backend| matches!(backend.doing, Doing::Call(_)));
        drop(slow);
        self.ended.notify_one();
        if is_idle {
            self.idle.notify_waiters();
        }
    }

    /// Keeps what slow backends showed in a pass, for the passes while they are busy, and forgets backends that are not `declared` any more.
    /// What a backend showed before this pass changed it is not kept.
    pub fn keep(&self, report: &mut Report, declared: impl Fn(&Name) -> bool) {
        let mut forgotten = Vec::new();
        let mut slow = self.slow();
        let names: Vec<Name> = slow.keys().cloned().collect();
        for name in names {
            let Some(backend) = slow.get_mut(&name) else { continue };
            if !declared(&name) && !matches!(backend.doing, Doing::Call(_)) {
                forgotten.extend(slow.remove(&name));
                continue;
            }
            let is_seen = report.world.get(&name).and_then(Observation::observed).is_some();
            // Steps that this pass left have ended already.
            let has_changed = report.busy.contains(&name) && matches!(backend.doing, Doing::Ended(None));
            if has_changed || report.written.contains(&name) {
                backend.last = None;
            } else if is_seen {
                let suspensions = report.on_pools.remove(&name).unwrap_or_default();
                backend.last = report.world.remove(&name).map(|view| (view, suspensions));
            }
        }
        drop(slow);
        // Releasing a lock may block.
        drop(forgotten);
    }

    /// Takes what steps did that ended without their pass.
    pub fn take_reports(&self) -> Vec<(Arc<Reading>, Report)> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops the steps that go on without their pass before the next one: calls that run are not interrupted.
    pub fn stop_steps(&self) {
        for backend in self.slow().values() {
            if let Doing::Call(stop) = &backend.doing {
                stop.cancel();
            }
        }
    }

    /// The backends on which a call is in progress, declared or not.
    pub(super) fn busy(&self) -> BTreeSet<Name> {
        let slow = self.slow();
        let busy = slow.iter().filter(|(_, backend)| matches!(backend.doing, Doing::Call(_)));
        busy.map(|(name, _)| name.clone()).collect()
    }

    /// The backends that are slow now, and for how long: a call is in progress, or no pass has used its answer yet.
    pub fn waiting(&self) -> Vec<(Name, Duration)> {
        let slow = self.slow();
        let waiting = slow.iter().filter(|(_, backend)| !matches!(backend.doing, Doing::Nothing));
        waiting.map(|(name, backend)| (name.clone(), backend.since.map_or(Duration::ZERO, |at| at.elapsed()))).collect()
    }

    /// Whether a call is in progress.
    pub fn is_busy(&self) -> bool {
        self.slow().values().any(|backend| matches!(backend.doing, Doing::Call(_)))
    }

    /// Waits until nothing is in progress.
    pub async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if !self.is_busy() {
                return;
            }
            idle.await;
        }
    }

    /// Closes the sessions of these backends that have answered. The next pass observes them anew.
    pub fn close_answers(&self, of: impl Fn(&Name) -> bool) {
        let mut closed = Vec::new();
        for (_, backend) in self.slow().iter_mut().filter(|(name, _)| of(name)) {
            if let Doing::Ended(answer) = &mut backend.doing {
                closed.push(answer.take());
            }
        }
        // Releasing a lock may block.
        drop(closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Capabilities;
    use crate::model::fixtures::name;

    #[tokio::test]
    async fn what_a_backend_showed_is_not_kept_if_the_steps_that_were_left_have_ended_meanwhile() {
        let (background, slow) = (Background::default(), name("slow"));
        let view = || Observation::Seen { capabilities: Capabilities::everything(), observed: Observed::nothing() };
        let report =
            || Report { world: [(slow.clone(), view())].into(), busy: [slow.clone()].into(), ..Report::default() };
        background.begin(&slow, CancellationToken::new());
        background.keep(&mut report(), |_| true);
        assert!(background.last(&slow).is_some(), "they still run");
        background.steps_ended(&slow, None);
        background.keep(&mut report(), |_| true);
        assert!(background.last(&slow).is_none(), "they have changed it");
    }
}
