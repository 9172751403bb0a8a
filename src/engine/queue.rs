//! Which step of an endpoint begins next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::model::{Action, Cost, Endpoint, Step};

use super::backend_session::BackendSession;

/// How many steps are begun for each call that a backend takes at once: their intents are written ahead, in one commit, since a commit
/// costs the same for one as for many.
const AHEAD: usize = 4;

/// How a step ended, for those that wait for it.
#[derive(Clone, Copy)]
pub(super) enum StepEnd {
    /// It was done.
    Done,
    /// It failed or was never begun, and certainly had either no effect or all of it.
    NotDone,
    /// It may have had its effect, or a part of it.
    Unknown,
}

/// The messages between the runs of an execution: how steps ended that steps on other endpoints wait for.
pub(super) struct Mail {
    pub inbox: mpsc::UnboundedReceiver<(usize, StepEnd)>,
    pub others: BTreeMap<Endpoint, mpsc::UnboundedSender<(usize, StepEnd)>>,
}

impl Mail {
    /// The mail of each of these endpoints.
    pub(super) fn between(endpoints: &BTreeSet<Endpoint>) -> BTreeMap<Endpoint, Self> {
        let (mut inboxes, mut senders) = (Vec::new(), BTreeMap::new());
        for endpoint in endpoints {
            let (sender, inbox) = mpsc::unbounded_channel();
            senders.insert(endpoint.clone(), sender);
            inboxes.push((endpoint.clone(), inbox));
        }
        let mail = |(endpoint, inbox): (Endpoint, _)| {
            let mut others = senders.clone();
            others.remove(&endpoint);
            (endpoint, Self { inbox, others })
        };
        inboxes.into_iter().map(mail).collect()
    }
}

/// The steps of one endpoint that are ready, in the order of the plan, and by what they cost: if there is room for one such step, there is
/// room for any of them. A step is ready when no step that it waits for is left.
pub(super) struct StepQueue {
    /// Of each of its steps, how many others it still waits for.
    waiting: BTreeMap<usize, usize>,
    /// Of each step of any endpoint, those of this endpoint that wait for its success.
    needed_by: BTreeMap<usize, Vec<usize>>,
    /// Of each step of any endpoint, those of this endpoint that wait for its completion.
    awaited_by: BTreeMap<usize, Vec<usize>>,
    /// The steps of other endpoints that steps of this one still wait for.
    elsewhere: BTreeSet<usize>,
    /// Of its steps that have not ended, the other endpoints that wait for it.
    told: BTreeMap<usize, BTreeSet<Endpoint>>,
    /// Its steps that were taken out of the queue and are never begun.
    skipped: BTreeSet<usize>,
    free: BTreeMap<Cost, BTreeSet<usize>>,
    cost: fn(&Action) -> Cost,
}

impl StepQueue {
    /// `cost`: what an action costs the endpoint.
    pub(super) fn new(steps: &[Step], endpoint: &Endpoint, cost: fn(&Action) -> Cost) -> Self {
        let mut queue = Self {
            cost,
            waiting: BTreeMap::new(),
            needed_by: BTreeMap::new(),
            awaited_by: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            told: BTreeMap::new(),
            skipped: BTreeSet::new(),
            free: BTreeMap::new(),
        };
        for (index, step) in steps.iter().enumerate() {
            let is_here = step.endpoint == *endpoint;
            for before in step.waits_for() {
                match (is_here, steps[before].endpoint == *endpoint) {
                    (true, false) => drop(queue.elsewhere.insert(before)),
                    (false, true) => drop(queue.told.entry(before).or_default().insert(step.endpoint.clone())),
                    (true, true) | (false, false) => {}
                }
            }
            if !is_here {
                continue;
            }
            step.after.iter().for_each(|needed| queue.needed_by.entry(*needed).or_default().push(index));
            step.after_completion.iter().for_each(|awaited| queue.awaited_by.entry(*awaited).or_default().push(index));
            match step.waits_for().count() {
                0 => queue.release(index, steps),
                waiting => drop(queue.waiting.insert(index, waiting)),
            }
        }
        queue
    }

    fn release(&mut self, index: usize, steps: &[Step]) {
        self.free.entry((self.cost)(&steps[index].action)).or_default().insert(index);
    }

    /// Takes the first ready step for which there is room.
    pub(super) fn next(&mut self, steps: &[Step], has_room: impl Fn(&Step) -> bool) -> Option<usize> {
        let firsts = self.free.values().filter_map(|free| free.first().copied());
        let index = firsts.filter(|index| has_room(&steps[*index])).min()?;
        self.free.get_mut(&(self.cost)(&steps[index].action))?.remove(&index);
        Some(index)
    }

    /// Whether other steps wait for a step.
    pub(super) fn is_awaited(&self, index: usize) -> bool {
        [&self.needed_by, &self.awaited_by].iter().any(|by| by.contains_key(&index)) || self.told.contains_key(&index)
    }

    /// Whether a step of another endpoint has to end before all steps of this one can.
    pub(super) fn waits_for_others(&self) -> bool {
        !self.elsewhere.is_empty()
    }

    /// The steps of other endpoints that steps of this one wait for.
    pub(super) fn others(&self) -> BTreeSet<usize> {
        self.elsewhere.clone()
    }

    /// Takes the endpoints that are to be told how a step of this endpoint ended.
    pub(super) fn take_told(&mut self, index: usize) -> BTreeSet<Endpoint> {
        self.told.remove(&index).unwrap_or_default()
    }

    /// Takes the steps of this endpoint that have not ended and that other endpoints wait for.
    pub(super) fn not_told(&mut self) -> BTreeMap<usize, BTreeSet<Endpoint>> {
        std::mem::take(&mut self.told)
    }

    /// Notes how a step of any endpoint ended. Takes the steps that are never begun because of it out of the queue and returns them.
    pub(super) fn end(&mut self, index: usize, end: StepEnd, steps: &[Step]) -> BTreeSet<usize> {
        self.elsewhere.remove(&index);
        let mut skipped = BTreeSet::new();
        let mut left = vec![(index, end)];
        while let Some((index, end)) = left.pop() {
            let take = |by: &mut BTreeMap<usize, Vec<usize>>| by.remove(&index).unwrap_or_default();
            let (needed_by, awaited_by) = (take(&mut self.needed_by), take(&mut self.awaited_by));
            let (on, out) = match end {
                StepEnd::Done => ([needed_by, awaited_by].concat(), Vec::new()),
                StepEnd::NotDone => (awaited_by, needed_by),
                StepEnd::Unknown => (Vec::new(), [needed_by, awaited_by].concat()),
            };
            for other in out {
                if self.skipped.insert(other) {
                    skipped.insert(other);
                    left.push((other, StepEnd::NotDone));
                }
            }
            for other in on {
                let Some(waiting) = self.waiting.get_mut(&other) else { continue };
                *waiting -= 1;
                if *waiting == 0 {
                    self.waiting.remove(&other);
                    self.release(other, steps);
                }
            }
        }
        skipped
    }
}

/// What actions cost a backend.
pub(super) fn cost_on(backend: &BackendSession) -> fn(&Action) -> Cost {
    match backend.driver.capabilities().shares_blocks {
        Some(_) => Action::cost_if_shared,
        None => Action::cost,
    }
}

/// The steps of one backend that are begun and whose call has not ended.
pub(super) struct BackendSlots {
    pub backend: BackendSession,
    /// One permit for each call that the backend takes at once.
    pub calls: Arc<Semaphore>,
    most: usize,
    begun: usize,
    /// Of these, those that copy or free data.
    long: usize,
    /// The copies that earlier passes began and that still run.
    jobs: usize,
    /// What an action costs it.
    cost: fn(&Action) -> Cost,
    /// Whether more are begun: many at once, then none until they are few, so that their intents become one commit.
    fills: bool,
}

impl BackendSlots {
    /// `jobs`: how many copies of earlier passes still run.
    pub(super) fn new(backend: &BackendSession, jobs: usize) -> Self {
        let most = backend.spec.concurrency.get() as usize;
        // One call is always possible: a copy of hours must not stop everything else.
        let calls = Arc::new(Semaphore::new(most.saturating_sub(jobs).clamp(1, Semaphore::MAX_PERMITS)));
        Self { backend: backend.clone(), calls, most, begun: 0, long: 0, jobs, cost: cost_on(backend), fills: true }
    }

    /// Whether copies of earlier passes leave no room for another one.
    pub(super) fn is_full_of_jobs(&self) -> bool {
        self.jobs >= self.most.div_ceil(2)
    }

    /// Call before steps are begun.
    pub(super) fn refill(&mut self) {
        self.fills |= self.begun <= self.most;
    }

    /// Whether a step can be begun. Steps that copy or free data get half of the calls, so that they do not block the others.
    pub(super) fn has_room(&self, step: &Step) -> bool {
        let long = match (self.cost)(&step.action) {
            Cost::Call => return self.fills,
            Cost::Free => self.long,
            Cost::Copy => self.long + self.jobs,
        };
        self.fills && long < self.most.div_ceil(2)
    }

    pub(super) fn take(&mut self, step: &Step) {
        self.begun += 1;
        self.long += usize::from((self.cost)(&step.action) != Cost::Call);
        self.fills = self.begun < self.most.saturating_mul(AHEAD);
    }

    pub(super) fn free(&mut self, step: &Step) {
        self.begun -= 1;
        self.long -= usize::from((self.cost)(&step.action) != Cost::Call);
    }
}
