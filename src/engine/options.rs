//! How a pass is made.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::model::ObjectId;
use crate::plan::Plan;

use super::observe::Wait;

/// How a pass is made.
#[derive(Clone, Default)]
pub struct Options {
    /// Digests that a person approves now.
    pub approve: Vec<String>,
    /// The person who runs it, for the journal.
    pub by: Option<String>,
    /// No person sees the plan before it runs or can be asked: see [`Irreversible::HoldRestores`](crate::plan::Irreversible).
    pub unattended: bool,
    /// Ask for confirmation before any step, also of reversible ones.
    pub ask: bool,
    /// A saved plan: exactly this plan is run, or the run is refused.
    pub saved: Option<Arc<Plan>>,
    /// Restricts the pass to these objects and what they depend on. Empty: no restriction.
    pub only: BTreeSet<ObjectId>,
    /// Objects whose last steps failed: neither their steps nor steps that depend on them are begun in this pass.
    pub postponed: BTreeSet<ObjectId>,
    /// A person named each object: suspended objects are not skipped.
    pub by_name: bool,
    /// Cancelled by the first Ctrl-C: running steps finish, and no other step begins.
    pub stop: CancellationToken,
    /// What the pass does not wait for; `None`: it waits for every answer and every step.
    pub wait: Option<Wait>,
}
