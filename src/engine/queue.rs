//! Which step begins next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::model::{Endpoint, Step};

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

/// The ready steps in the order of the plan, by endpoint and by whether they copy data: if there is room for one such step, there is room
/// for any of them. A step is ready when no step that it waits for is left.
pub(super) struct StepQueue {
    /// Of each step, how many others it still waits for.
    waiting: Vec<usize>,
    /// Of each step, those that wait for its success.
    needed_by: Vec<Vec<usize>>,
    /// Of each step, those that wait for its completion.
    awaited_by: Vec<Vec<usize>>,
    /// Of each step, whether it was taken out of the queue and is never begun.
    skipped: Vec<bool>,
    free: BTreeMap<(Endpoint, bool), BTreeSet<usize>>,
}

impl StepQueue {
    pub(super) fn new(steps: &[Step]) -> Self {
        let (mut needed_by, mut awaited_by) = (vec![Vec::new(); steps.len()], vec![Vec::new(); steps.len()]);
        for (index, step) in steps.iter().enumerate() {
            step.after.iter().for_each(|needed| needed_by[*needed].push(index));
            step.after_completion.iter().for_each(|awaited| awaited_by[*awaited].push(index));
        }
        let waiting: Vec<usize> = steps.iter().map(|step| step.waits_for().count()).collect();
        let ready: Vec<usize> = (0..steps.len()).filter(|index| waiting[*index] == 0).collect();
        let skipped = vec![false; steps.len()];
        let mut queue = Self { waiting, needed_by, awaited_by, skipped, free: BTreeMap::new() };
        for index in ready {
            queue.release(index, steps);
        }
        queue
    }

    fn release(&mut self, index: usize, steps: &[Step]) {
        let step = &steps[index];
        self.free.entry((step.endpoint.clone(), step.action.is_long())).or_default().insert(index);
    }

    /// Takes the first ready step for which there is room.
    pub(super) fn next(&mut self, steps: &[Step], has_room: impl Fn(&Step) -> bool) -> Option<usize> {
        let firsts = self.free.values().filter_map(|free| free.first().copied());
        let index = firsts.filter(|index| has_room(&steps[*index])).min()?;
        let step = &steps[index];
        self.free.get_mut(&(step.endpoint.clone(), step.action.is_long()))?.remove(&index);
        Some(index)
    }

    /// Whether other steps wait for a step.
    pub(super) fn is_awaited(&self, index: usize) -> bool {
        !(self.needed_by[index].is_empty() && self.awaited_by[index].is_empty())
    }

    /// Notes how a step ended. Takes the steps that are never begun because of it out of the queue and returns them.
    pub(super) fn end(&mut self, index: usize, end: StepEnd, steps: &[Step]) -> BTreeSet<usize> {
        let mut skipped = BTreeSet::new();
        let mut left = vec![(index, end)];
        while let Some((index, end)) = left.pop() {
            let (needed_by, awaited_by) =
                (std::mem::take(&mut self.needed_by[index]), std::mem::take(&mut self.awaited_by[index]));
            let (on, out) = match end {
                StepEnd::Done => ([needed_by, awaited_by].concat(), Vec::new()),
                StepEnd::NotDone => (awaited_by, needed_by),
                StepEnd::Unknown => (Vec::new(), [needed_by, awaited_by].concat()),
            };
            for other in out {
                if !std::mem::replace(&mut self.skipped[other], true) {
                    skipped.insert(other);
                    left.push((other, StepEnd::NotDone));
                }
            }
            for other in on {
                self.waiting[other] -= 1;
                if self.waiting[other] == 0 {
                    self.release(other, steps);
                }
            }
        }
        skipped
    }
}

/// The steps of one backend that are begun and whose call has not ended.
pub(super) struct BackendSlots {
    pub backend: BackendSession,
    /// One permit for each call that the backend takes at once.
    pub calls: Arc<Semaphore>,
    most: usize,
    begun: usize,
    /// Of these, those that copy data.
    long: usize,
    /// Whether more are begun: many at once, then none until they are few, so that their intents become one commit.
    fills: bool,
}

impl BackendSlots {
    pub(super) fn new(backend: &BackendSession) -> Self {
        let most = backend.spec.concurrency.get() as usize;
        let calls = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { backend: backend.clone(), calls, most, begun: 0, long: 0, fills: true }
    }

    /// Call before steps are begun.
    pub(super) fn refill(&mut self) {
        self.fills |= self.begun <= self.most;
    }

    /// Whether a step can be begun. Steps that copy data get half of the calls, so that they do not block the others.
    pub(super) fn has_room(&self, step: &Step) -> bool {
        self.fills && (!step.action.is_long() || self.long < self.most.div_ceil(2))
    }

    pub(super) fn take(&mut self, step: &Step) {
        self.begun += 1;
        self.long += usize::from(step.action.is_long());
        self.fills = self.begun < self.most.saturating_mul(AHEAD);
    }

    pub(super) fn free(&mut self, step: &Step) {
        self.begun -= 1;
        self.long -= usize::from(step.action.is_long());
    }
}
