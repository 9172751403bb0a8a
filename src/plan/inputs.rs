//! What the planner reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Action, Images, Name, ObjectRef, Reading, Records, Removal, Size, Step, Suspension, Uid};

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
    /// The steps of earlier passes that still run. The caller knows them.
    pub running: &'a [RunningStep],
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
            running: &[],
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

/// A step of an earlier pass that still runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningStep {
    /// The step, as it was planned.
    pub step: Step,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// The bytes that it has copied or reserved.
    pub done: u64,
    /// All bytes that it copies or reserves; zero if it has not said so yet.
    pub total: u64,
}

impl RunningStep {
    /// Whether the step makes or changes this object.
    pub fn changes(&self, uid: Uid) -> bool {
        self.step.identity.uid == uid || self.step.action.with().iter().any(|inner| inner.identity.uid == uid)
    }

    /// Returns what it does and how far it is: `create 10Gi from snapshot x, 43 % of 4Gi`.
    pub fn progress(&self) -> String {
        let action = &self.step.action;
        match (u128::from(self.done) * 100).checked_div(u128::from(self.total)) {
            Some(percent) => format!("{action}, {percent} % of {}", Size(self.total).rounded()),
            None => action.to_string(),
        }
    }

    /// The object that it copies from.
    pub fn source(&self) -> Option<&ObjectRef> {
        self.step.action.reads().map(|(_, object)| object)
    }

    /// Returns why another step must not begin beside it. `parent`: the snapshot that an object is a clone of.
    pub fn forbids(&self, step: &Step, parent: impl Fn(Uid) -> Option<Uid>) -> Option<String> {
        let (identity, what) = (&self.step.identity, &self.step.action);
        let of = format!("{} {}", identity.kind.as_lower(), identity.name);
        let inner = step.action.with().iter().map(|inner| inner.identity.uid);
        let touched: Vec<Uid> = inner.chain([step.identity.uid]).collect();
        if touched.iter().any(|uid| self.changes(*uid)) {
            return Some(format!("a step on it still runs: {what}"));
        }
        // It would copy what is being written.
        if step.action.reads().is_some_and(|(_, source)| self.changes(source.uid)) {
            return Some(format!("a step on {of}, its source, still runs: {what}"));
        }
        if *what == Action::Detach && touched.iter().any(|uid| parent(*uid) == Some(identity.uid)) {
            return Some(format!("it is being made independent of {of}"));
        }
        let source = self.source()?;
        if step.action == Action::Detach && parent(source.uid) == Some(step.identity.uid) {
            return Some(format!("{of} is being copied from a clone of it"));
        }
        // A nested snapshot is found by the name of its volume.
        let has_source = source.parent_volume.is_some() && source.parent_volume == Some(step.address_before().native);
        let is_disturbed = touched.contains(&source.uid) || has_source;
        (is_disturbed && !step.action.leaves_content()).then(|| format!("{of} is being copied from it"))
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
