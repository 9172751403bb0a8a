//! What the planner reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Images, Name, Reading, Records, Removal, Suspension};

use super::backend_state::{BackendState, Judged};
use super::types::World;

/// Everything that the planner reads. Equal inputs give equal plans.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The specs, and the problems, gaps and doubts of the read that gave them.
    pub reading: &'a Reading,
    /// One observation of every declared backend.
    pub world: &'a World,
    /// The store's records.
    pub records: &'a Records,
    /// Removals of the last 24 hours, from all ledgers of this owner. The caller selects them, because the planner has no clock.
    pub recent: &'a [Removal],
    /// Suspensions of this owner that have not expired. The caller selects them, because the planner has no clock.
    pub suspended: &'a [Suspension],
    /// Digests approved on the command line. They count even if they were used before.
    pub approved: &'a [String],
    /// Inspections of source images. An image that is not listed has not been inspected.
    pub images: &'a Images,
    /// What to do with steps that cannot be undone.
    pub irreversible: Irreversible,
    /// The judgement of the backends by `reading`, `world` and `records`.
    pub judged: Arc<Judged>,
}

impl<'a> Inputs<'a> {
    /// Returns inputs without recent removals, suspensions, approvals and images, which list irreversible steps. Judges the
    /// backends.
    pub fn new(reading: &'a Reading, world: &'a World, records: &'a Records) -> Self {
        static NO_IMAGES: Images = Images::new();
        Self {
            reading,
            world,
            records,
            recent: &[],
            suspended: &[],
            approved: &[],
            images: &NO_IMAGES,
            irreversible: Irreversible::List,
            judged: Arc::new(Judged::of(reading, world, records)),
        }
    }

    /// Returns the state of every declared backend.
    pub(super) fn backends(&self) -> BTreeMap<&Name, BackendState<'_>> {
        self.judged.states(self.reading, self.world, self.records)
    }
}

/// What the planner does with irreversible steps that no approval covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Irreversible {
    /// Lists them as steps: to show a plan, or after confirmation.
    List,
    /// Holds them as `NeedsConfirmation`.
    Hold,
    /// Holds restores only, for unattended runs: a declared `onRemove: Delete` is its own confirmation of what it destroys, within
    /// the removal limits.
    HoldRestores,
}
