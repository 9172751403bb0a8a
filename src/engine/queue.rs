//! Which step begins next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::model::{Name, Step};

use super::backend_session::BackendSession;

/// How many steps are begun for each call that a backend takes at once: their intents are written ahead, in one commit, since a commit
/// costs the same for one as for many.
const AHEAD: usize = 4;

/// The ready steps in the order of the plan, by backend and by whether they copy data: if there is room for one such step, there is room
/// for any of them. A step is ready when no step that it depends on is left.
pub(super) struct StepQueue {
    waiting: Vec<usize>,
    needed_by: Vec<Vec<usize>>,
    free: BTreeMap<(Name, bool), BTreeSet<usize>>,
}

impl StepQueue {
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut needed_by = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            for needed in &step.after {
                needed_by[*needed].push(index);
            }
        }
        let waiting = steps.iter().map(|step| step.after.len()).collect();
        let mut queue = Self { waiting, needed_by, free: BTreeMap::new() };
        for index in (0..steps.len()).filter(|index| steps[*index].after.is_empty()) {
            queue.release(index, steps);
        }
        queue
    }

    fn release(&mut self, index: usize, steps: &[Step]) {
        let step = &steps[index];
        self.free.entry((step.backend.clone(), step.action.is_long())).or_default().insert(index);
    }

    /// Takes the first ready step for which there is room.
    pub(super) fn next(&mut self, steps: &[Step], has_room: impl Fn(&Step) -> bool) -> Option<usize> {
        let firsts = self.free.values().filter_map(|free| free.first().copied());
        let index = firsts.filter(|index| has_room(&steps[*index])).min()?;
        let step = &steps[index];
        self.free.get_mut(&(step.backend.clone(), step.action.is_long()))?.remove(&index);
        Some(index)
    }

    /// Takes every step that depends on a step, directly or not, out of the queue and returns them.
    pub(super) fn waiting_for(&mut self, index: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut left = vec![index];
        while let Some(index) = left.pop() {
            left.extend(std::mem::take(&mut self.needed_by[index]).into_iter().filter(|other| found.insert(*other)));
        }
        found
    }

    pub(super) fn done(&mut self, index: usize, steps: &[Step]) {
        for other in std::mem::take(&mut self.needed_by[index]) {
            self.waiting[other] -= 1;
            if self.waiting[other] == 0 {
                self.release(other, steps);
            }
        }
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
