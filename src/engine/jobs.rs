//! Jobs: steps that copy much data and go on without the pass that began them. Later passes observe and change everything else on their
//! backend, through the session that has the writer lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{BackendSpec, DriverError, IntentId, Name, Outcome, Owner, Step};
use crate::plan::RunningStep;

use super::backend_session::BackendSession;

/// The jobs of a process.
#[derive(Default)]
pub struct Jobs {
    backends: Mutex<BTreeMap<JobPlace, BackendJobs>>,
    /// Notified when a job has ended: a pass enters what it did.
    pub ended: Notify,
    /// Notified when a job has ended, for those who wait for it.
    changed: Notify,
}

/// A Backend, and the owner of the objects there.
pub(super) type JobPlace = (Name, Owner);

/// The jobs of one owner on one backend.
struct BackendJobs {
    /// It has the writer lock, which is free when the last job was entered.
    session: BackendSession,
    jobs: BTreeMap<IntentId, Job>,
}

/// A step that goes on without its pass.
struct Job {
    running: RunningStep,
    announced: Announcement,
    /// `None`: it still runs.
    end: Option<JobEnd>,
}

/// What the ledger announced of a step, which is taken back if the step had no effect.
#[derive(Clone, Default)]
pub(super) struct Announcement {
    /// The digest of the approval that it uses up.
    pub used_up: Option<String>,
    /// Whether an earlier step had announced the same object.
    pub is_earlier: bool,
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
    pub announced: Announcement,
    /// `None`: it shows only on the backend how it ended, or it was never begun.
    pub result: Option<Result<Outcome, DriverError>>,
}

/// The session of a backend that has jobs.
pub(super) enum JobSession {
    /// There are none.
    None,
    /// It is the one to use.
    Open(Box<BackendSession>),
    /// So many run in the place where the backend was before.
    Elsewhere(usize),
}

impl Jobs {
    fn backends(&self) -> MutexGuard<'_, BTreeMap<JobPlace, BackendJobs>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a job on an open backend.
    pub(super) fn begin(
        &self,
        place: &JobPlace,
        session: &BackendSession,
        intent: IntentId,
        running: RunningStep,
        announced: Announcement,
    ) {
        let mut backends = self.backends();
        let here = backends
            .entry(place.clone())
            .or_insert_with(|| BackendJobs { session: session.clone(), jobs: BTreeMap::new() });
        here.jobs.insert(intent, Job { running, announced, end: None });
    }

    /// Enters how far a job is.
    pub(super) fn progressed(&self, place: &JobPlace, intent: IntentId, done: u64, total: u64) {
        if let Some(job) = self.backends().get_mut(place).and_then(|here| here.jobs.get_mut(&intent)) {
            (job.running.done, job.running.total) = (done, total);
        }
    }

    /// Enters how a job ended.
    pub(super) fn end(&self, place: &JobPlace, intent: IntentId, result: Option<Result<Outcome, DriverError>>) {
        if let Some(job) = self.backends().get_mut(place).and_then(|here| here.jobs.get_mut(&intent)) {
            job.end = Some(JobEnd { result, is_shown: false });
        }
        self.changed.notify_waiters();
        self.ended.notify_one();
    }

    /// Returns the session that jobs have on a backend, to observe it and to make other steps there.
    pub(super) fn session(&self, place: &JobPlace, spec: &BackendSpec) -> JobSession {
        let mut backends = self.backends();
        let Some(here) = backends.get(place) else { return JobSession::None };
        if is_same_place(&here.session.spec, spec) {
            // Other settings of its driver are used when the jobs have ended.
            let mut session = here.session.clone();
            session.spec = spec.clone();
            return JobSession::Open(Box::new(session));
        }
        match here.jobs.values().filter(|job| job.end.is_none()).count() {
            0 => {
                // Nothing shows what they did, and their effects are not on the place that is declared now.
                let closed = backends.remove(place);
                drop(backends);
                // Releasing a lock may block.
                drop(closed);
                JobSession::None
            }
            running => JobSession::Elsewhere(running),
        }
    }

    /// How many jobs on a backend run.
    pub(super) fn count(&self, place: &JobPlace) -> usize {
        self.running_on(place).len()
    }

    /// Whether there is a job that runs, or that no pass has entered yet.
    pub fn is_empty(&self) -> bool {
        self.backends().is_empty()
    }

    /// Whether a job on a backend has ended and its end was not observed.
    pub(super) fn has_ended(&self, place: &JobPlace) -> bool {
        self.not_shown(place).len() > self.running_on(place).len()
    }

    /// The observation of a backend begins: jobs that have ended are shown by it. Returns the others, with their intents.
    pub(super) fn begin_observation(&self, place: &JobPlace) -> Vec<(IntentId, RunningStep)> {
        let mut backends = self.backends();
        let ended = backends.get_mut(place).into_iter().flat_map(|here| here.jobs.values_mut());
        ended.filter_map(|job| job.end.as_mut()).for_each(|end| end.is_shown = true);
        drop(backends);
        self.not_shown(place)
    }

    /// Returns the jobs on a backend whose end its last observation does not show.
    pub(super) fn not_shown(&self, place: &JobPlace) -> Vec<(IntentId, RunningStep)> {
        self.select(place, |job| job.end.as_ref().is_none_or(|end| !end.is_shown))
    }

    /// Returns the jobs on a backend that still run.
    pub(super) fn running_on(&self, place: &JobPlace) -> Vec<(IntentId, RunningStep)> {
        self.select(place, |job| job.end.is_none())
    }

    fn select(&self, place: &JobPlace, of: impl Fn(&Job) -> bool) -> Vec<(IntentId, RunningStep)> {
        let backends = self.backends();
        let jobs = backends.get(place).into_iter().flat_map(|here| &here.jobs);
        jobs.filter(|(_, job)| of(job)).map(|(intent, job)| (*intent, job.running.clone())).collect()
    }

    /// Returns the jobs on a backend whose end was observed. They stay until [`Jobs::entered`].
    pub(super) fn shown(&self, place: &JobPlace) -> Vec<(IntentId, EndedJob)> {
        let backends = self.backends();
        let jobs = backends.get(place).into_iter().flat_map(|here| &here.jobs);
        let shown = jobs.filter_map(|(intent, job)| {
            let end = job.end.as_ref().filter(|end| end.is_shown)?;
            let (step, announced) = (job.running.step.clone(), job.announced.clone());
            Some((*intent, EndedJob { step, announced, result: end.result.clone() }))
        });
        shown.collect()
    }

    /// A pass has entered what these jobs did.
    pub(super) fn entered(&self, intents: &BTreeSet<IntentId>) {
        self.forget(|_, intent, job| job.end.is_some() && intents.contains(intent));
    }

    /// Forgets jobs that have ended in places that are not used any more, and returns those that run there. (An approval that one of them
    /// used up is needed again.)
    pub(super) fn elsewhere(&self, is_used: impl Fn(&JobPlace) -> bool) -> Vec<(IntentId, RunningStep)> {
        self.forget(|place, _, job| job.end.is_some() && !is_used(place));
        let places: Vec<JobPlace> = self.backends().keys().filter(|place| !is_used(place)).cloned().collect();
        places.iter().flat_map(|place| self.running_on(place)).collect()
    }

    fn forget(&self, of: impl Fn(&JobPlace, &IntentId, &Job) -> bool) {
        let mut backends = self.backends();
        for (place, here) in backends.iter_mut() {
            here.jobs.retain(|intent, job| !of(place, intent, job));
        }
        let closed: Vec<JobPlace> =
            backends.iter().filter(|(_, here)| here.jobs.is_empty()).map(|(place, _)| place.clone()).collect();
        let closed: Vec<Option<BackendJobs>> = closed.iter().map(|place| backends.remove(place)).collect();
        drop(backends);
        // Releasing a lock may block.
        drop(closed);
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
