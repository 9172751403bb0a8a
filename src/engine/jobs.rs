//! Jobs: steps that copy much data and go on without the pass that began them. Later passes observe and change everything else on their
//! backend, through the session that has the writer lock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{BackendSpec, DriverError, IntentId, Name, Outcome, Owner, Step};
use crate::plan::RunningStep;

use super::backend_session::BackendSession;

/// The jobs of a process.
#[derive(Default)]
pub struct Jobs {
    backends: Mutex<BTreeMap<Name, BackendJobs>>,
    /// Notified when a job has ended: a pass enters what it did.
    pub ended: Notify,
    /// Notified when a job has ended, for those who wait for it.
    changed: Notify,
}

/// The jobs on one backend.
struct BackendJobs {
    owner: Owner,
    /// It has the writer lock, which is free when the last job was entered.
    session: BackendSession,
    jobs: BTreeMap<IntentId, Job>,
}

/// A step that goes on without its pass.
struct Job {
    running: RunningStep,
    /// The digest of the approval that it used up.
    used_up: Option<String>,
    /// `None`: it still runs.
    end: Option<JobEnd>,
}

/// How a job ended that no pass has entered yet.
struct JobEnd {
    /// `None`: it shows only on the backend how it ended, or it was never begun.
    result: Option<Result<Outcome, DriverError>>,
    /// Whether the backend was observed since.
    is_shown: bool,
}

/// A job that has ended, for the pass that enters it.
pub(super) struct EndedJob {
    pub step: Step,
    /// The digest of the approval that it used up.
    pub used_up: Option<String>,
    /// `None`: it shows only on the backend how it ended, or it was never begun.
    pub result: Option<Result<Outcome, DriverError>>,
}

/// The session of a backend that has jobs.
pub(super) enum JobSession {
    /// There are none.
    None,
    /// It is the one to use.
    Open(Box<BackendSession>),
    /// It is of the place where the backend was before.
    Elsewhere,
}

impl Jobs {
    fn backends(&self) -> MutexGuard<'_, BTreeMap<Name, BackendJobs>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a job on an open backend. `used_up`: the digest of the approval that it used up.
    pub(super) fn begin(
        &self,
        owner: &Owner,
        session: &BackendSession,
        intent: IntentId,
        job: RunningStep,
        used_up: Option<String>,
    ) {
        let mut backends = self.backends();
        let here = backends.entry(session.spec.meta.name.clone()).or_insert_with(|| BackendJobs {
            owner: owner.clone(),
            session: session.clone(),
            jobs: BTreeMap::new(),
        });
        here.jobs.insert(intent, Job { running: job, used_up, end: None });
    }

    /// Enters how far a job is.
    pub(super) fn progressed(&self, name: &Name, intent: IntentId, done: u64, total: u64) {
        if let Some(job) = self.backends().get_mut(name).and_then(|here| here.jobs.get_mut(&intent)) {
            (job.running.done, job.running.total) = (done, total);
        }
    }

    /// Enters how a job ended.
    pub(super) fn end(&self, name: &Name, intent: IntentId, result: Option<Result<Outcome, DriverError>>) {
        if let Some(job) = self.backends().get_mut(name).and_then(|here| here.jobs.get_mut(&intent)) {
            job.end = Some(JobEnd { result, is_shown: false });
        }
        self.changed.notify_waiters();
        self.ended.notify_one();
    }

    /// Returns the session that an owner's jobs have on a backend.
    pub(super) fn session(&self, spec: &BackendSpec, owner: &Owner) -> JobSession {
        match self.backends().get(&spec.meta.name).filter(|here| here.owner == *owner) {
            None => JobSession::None,
            Some(here) if is_same_place(&here.session.spec, spec) => {
                // Other settings of its driver are used when the jobs have ended.
                let mut session = here.session.clone();
                session.spec = spec.clone();
                JobSession::Open(Box::new(session))
            }
            Some(_) => JobSession::Elsewhere,
        }
    }

    /// How many jobs on a backend have not been entered.
    pub(super) fn count(&self, name: &Name) -> usize {
        self.backends().get(name).map_or(0, |here| here.jobs.len())
    }

    /// The observation of a backend begins: jobs that have ended are shown by it. Returns the others, with their intents.
    pub(super) fn begin_observation(&self, name: &Name) -> Vec<(IntentId, RunningStep)> {
        let mut backends = self.backends();
        let ended = backends.get_mut(name).into_iter().flat_map(|here| here.jobs.values_mut());
        ended.filter_map(|job| job.end.as_mut()).for_each(|end| end.is_shown = true);
        drop(backends);
        self.not_shown(name)
    }

    /// Returns the jobs on a backend whose end its last observation does not show.
    pub(super) fn not_shown(&self, name: &Name) -> Vec<(IntentId, RunningStep)> {
        self.select(name, |job| job.end.as_ref().is_none_or(|end| !end.is_shown))
    }

    /// Returns the jobs on a backend that still run.
    pub(super) fn running_on(&self, name: &Name) -> Vec<(IntentId, RunningStep)> {
        self.select(name, |job| job.end.is_none())
    }

    fn select(&self, name: &Name, of: impl Fn(&Job) -> bool) -> Vec<(IntentId, RunningStep)> {
        let backends = self.backends();
        let jobs = backends.get(name).into_iter().flat_map(|here| &here.jobs);
        jobs.filter(|(_, job)| of(job)).map(|(intent, job)| (*intent, job.running.clone())).collect()
    }

    /// Takes the jobs on a backend whose end was observed.
    pub(super) fn take_shown(&self, name: &Name) -> Vec<EndedJob> {
        self.take(name, |end| end.is_shown)
    }

    /// Asks for another pass if jobs on a backend have ended and no observation shows it.
    pub(super) fn remind(&self, name: &Name) {
        if self.not_shown(name).len() > self.running_on(name).len() {
            self.ended.notify_one();
        }
    }

    /// Forgets jobs that have ended on backends that are not used any more, and returns those that run there.
    pub(super) fn elsewhere(&self, is_used: impl Fn(&Name) -> bool) -> Vec<(IntentId, RunningStep)> {
        let names: Vec<Name> = self.backends().keys().filter(|name| !is_used(name)).cloned().collect();
        names.iter().for_each(|name| drop(self.take(name, |_| true)));
        names.iter().flat_map(|name| self.running_on(name)).collect()
    }

    fn take(&self, name: &Name, of: impl Fn(&JobEnd) -> bool) -> Vec<EndedJob> {
        let mut backends = self.backends();
        let Some(here) = backends.get_mut(name) else { return Vec::new() };
        let is_taken = |job: &Job| job.end.as_ref().is_some_and(&of);
        let intents: Vec<IntentId> =
            here.jobs.iter().filter(|(_, job)| is_taken(job)).map(|(intent, _)| *intent).collect();
        let taken: Vec<Job> = intents.iter().filter_map(|intent| here.jobs.remove(intent)).collect();
        let closed = here.jobs.is_empty().then(|| backends.remove(name));
        drop(backends);
        // Releasing a lock may block.
        drop(closed);
        let ended = |Job { running, used_up, end }: Job| EndedJob {
            step: running.step,
            used_up,
            result: end.and_then(|end| end.result),
        };
        taken.into_iter().map(ended).collect()
    }

    /// Returns all jobs that run, on any backend.
    pub fn running(&self) -> Vec<RunningStep> {
        let backends = self.backends();
        let jobs = backends.values().flat_map(|here| here.jobs.values());
        jobs.filter(|job| job.end.is_none()).map(|job| job.running.clone()).collect()
    }

    /// Waits until no job runs for which `of` holds.
    pub async fn wait(&self, of: impl Fn(&RunningStep) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.running().iter().any(&of) {
                return;
            }
            changed.await;
        }
    }
}

fn is_same_place(one: &BackendSpec, other: &BackendSpec) -> bool {
    one.config.place() == other.config.place() && one.via == other.via
}
