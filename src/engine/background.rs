//! What goes on after its pass: the calls of endpoints that are slow. A pass of the daemon waits for none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::model::{BackendSpec, Name, Owner, Suspension};
use crate::plan::Observation;

use super::backend_session::BackendSession;
use super::endpoint_run::EndpointEnd;
use super::observe::Observations;
use super::reconcile::is_answer;
use super::report::Report;

/// How long a pass waits, from its begin, for the answers that it plans with. A backend that answers later joins the pass after its answer.
/// Most answer sooner; and a person who has changed a manifest waits no longer than that for a step elsewhere.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// How long it waits at least for each kind of call: backends that answer soon are not busy because another has used up the patience.
pub(super) const LEAST_PATIENCE: Duration = Duration::from_millis(50);
/// How long a pass still waits for its running steps when another pass is due: most calls end sooner.
pub(super) const LEAVE_AFTER: Duration = Duration::from_millis(100);

/// The slow endpoints of a daemon: their calls in progress, and what they last showed.
#[derive(Default)]
pub struct Background {
    slow: Mutex<BTreeMap<Name, Slow>>,
    /// What steps did that ended without their pass.
    reports: Mutex<Vec<Report>>,
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
pub(super) type Enter = Box<dyn FnOnce(&mut Observations) + Send>;

/// A backend that did not answer in time, in this pass or an earlier one.
#[derive(Default)]
struct Slow {
    doing: Doing,
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
    Ended(Option<Box<Answer>>),
}

/// The answer to a call, with what it was asked in.
struct Answer {
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
    Busy(Option<Last>),
    /// It has answered a call of an earlier pass.
    Back { session: Option<BackendSession>, done: BTreeSet<Phase>, last: Option<Last>, enter: Enter },
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
                Readiness::Busy(backend.last.take())
            }
            Doing::Nothing if only_answers => Readiness::Busy(backend.last.take()),
            Doing::Nothing | Doing::Ended(None) => Readiness::Free,
            Doing::Ended(Some(answer)) => {
                let Answer { spec: of, owner: by, session, done, enter } = *answer;
                // Asked for another place or owner: it is closed, and observed anew.
                if of != *spec || by != *owner {
                    return Readiness::Free;
                }
                Readiness::Back { session, done, last: backend.last.take(), enter }
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
        self.slow().entry(name.clone()).or_default().doing = Doing::Call(CancellationToken::new());
        let background = Arc::clone(self);
        tokio::spawn(async move {
            let answer = call.await.ok().map(|enter| Answer { spec, owner, session, done, enter });
            background.end(&name, answer);
        });
    }

    /// Leaves the steps of a backend to go on without their pass.
    pub(super) fn leave_steps(
        self: &Arc<Self>,
        name: Name,
        run: oneshot::Receiver<EndpointEnd>,
        stop: CancellationToken,
    ) {
        self.slow().entry(name.clone()).or_default().doing = Doing::Call(stop);
        let background = Arc::clone(self);
        tokio::spawn(async move {
            // If it ended in a panic, its steps are as after a crash.
            if let Ok(EndpointEnd { mut report, store_error, .. }) = run.await {
                report.failed.retain(|(_, error)| !is_answer(error));
                if let Some(error) = store_error {
                    // The next pass fails for it.
                    tracing::error!(backend = %name, %error, "the steps of an earlier pass ended: the store failed");
                }
                background.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            }
            background.end(&name, None);
        });
    }

    fn end(&self, name: &Name, answer: Option<Answer>) {
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
    pub fn keep(&self, report: &mut Report, declared: impl Fn(&Name) -> bool) {
        let mut slow = self.slow();
        slow.retain(|name, backend| declared(name) || matches!(backend.doing, Doing::Call(_)));
        for (name, backend) in slow.iter_mut() {
            if let Some(Observation::Seen { .. } | Observation::LockedBy { .. }) = report.world.get(name) {
                let suspensions = report.on_pools.remove(name).unwrap_or_default();
                backend.last = report.world.remove(name).map(|view| (view, suspensions));
            }
        }
    }

    /// Takes what steps did that ended without their pass.
    pub fn take_reports(&self) -> Vec<Report> {
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

    /// Whether a call is in progress.
    pub fn is_busy(&self) -> bool {
        self.slow().values().any(|backend| matches!(backend.doing, Doing::Call(_)))
    }

    /// Waits until nothing is in progress, and closes the sessions of backends that have answered: for whoever needs all of them. The caller
    /// sees to it that no pass begins meanwhile.
    pub async fn settled(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            {
                let mut slow = self.slow();
                if !slow.values().any(|backend| matches!(backend.doing, Doing::Call(_))) {
                    slow.values_mut().for_each(|backend| backend.doing = Doing::Nothing);
                    return;
                }
            }
            idle.await;
        }
    }
}
