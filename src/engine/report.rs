//! What a pass did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{DriverError, Name, ObjectId, Step, Suspension};
use crate::plan::{Judged, Plan, RunningStep, World};

/// What a pass did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Steps that changed something.
    pub changed: usize,
    /// Steps whose effect was already there.
    pub unchanged: usize,
    /// Steps that failed, with their errors.
    pub failed: Vec<(Step, DriverError)>,
    /// How many steps were not begun: a step they depend on was not done, their object was suspended, or the run was stopped.
    pub skipped: usize,
    /// Those of them that depend on a step that was not done. In the plan as run they are held.
    pub waiting: Vec<Step>,
    /// Where clients open the volumes that were created, adopted, renamed or restored from the trash, if every step was done. The first [`Report::PATHS`] of them.
    pub paths: Vec<(ObjectId, PathBuf)>,
    /// Whether the pass was stopped before its end.
    pub stopped: bool,
    /// Rules that the plan breaks, found by the lint: a bug in the planner. Nothing was run.
    pub breaches: Vec<String>,
    /// Why nothing was run, one sentence each: the plan differs from the saved plan or waits for an approval, or an approved digest is not
    /// what waits.
    pub refused: Vec<String>,
    /// Whether it is refused because steps of the saved plan wait for an approval, and no person could be asked.
    #[serde(default)]
    pub unconfirmed: bool,
    /// Whether a person was asked for confirmation and did not give it. Nothing was run.
    #[serde(default)]
    pub declined: bool,
    /// Objects that were requested by name but are neither declared nor in the plan. Nothing was run.
    pub unknown: Vec<ObjectId>,
    /// How many steps and held changes were left out because other objects were requested by name.
    pub left_out: (usize, usize),
    /// The plan as run, with everything that is held, including what the run itself found to be held. If nothing was run: the plan that would
    /// run. If objects were requested by name: the part that concerns them.
    pub plan: Option<Plan>,
    /// Steps that were skipped because their object was suspended while the pass ran.
    pub suspended: Vec<(Step, Suspension)>,
    /// The suspensions in force when the pass began.
    #[serde(skip)]
    pub suspensions: Vec<Suspension>,
    /// How many steps of the plan were postponed: not begun, and planned again by the next pass.
    pub postponed: usize,
    /// The steps of earlier passes that were running when the pass began.
    #[serde(default)]
    pub running: Vec<RunningStep>,
    /// What every declared backend showed before the first step. (Only this process reads it.)
    #[serde(skip)]
    pub world: World,
    /// The records of suspensions on each backend. (Only this process reads it.)
    #[serde(skip)]
    pub on_pools: BTreeMap<Name, Vec<Suspension>>,
    /// The backends on which a call goes on that this pass does not wait for: the world shows what they showed last, and nothing more is
    /// done there. (Only this process reads it.)
    #[serde(skip)]
    pub busy: BTreeSet<Name>,
    /// The backends whose ledgers this pass has written: the world shows them as they were before. (Only this process reads it.)
    #[serde(skip)]
    pub written: BTreeSet<Name>,
    /// The judgement of the backends that the plan was made with. (Only this process reads it.)
    #[serde(skip)]
    pub judged: Arc<Judged>,
    /// The backends that this owner may use: their pools are those from before, and their ledgers this owner's.
    #[serde(skip)]
    pub usable: BTreeSet<Name>,
}

impl Report {
    /// How many paths a report has; `kiln get -o wide` has all.
    pub const PATHS: usize = 5;

    /// Adds what the steps of another endpoint did.
    pub(super) fn add(&mut self, other: Self) {
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.failed.extend(other.failed);
        self.skipped += other.skipped;
        self.waiting.extend(other.waiting);
        self.postponed += other.postponed;
        self.stopped |= other.stopped;
        self.suspended.extend(other.suspended);
    }
}
