//! What the daemon knows: the manifests as last read, the results of earlier passes, and the pass that runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::protocol::PassView;
use super::backoff::ObjectFailures;
use super::expiry::Expiry;
use super::probe::Probe;
use super::schedule::Confirmed;
use crate::manifest::ManifestState;
use crate::model::{Name, Owner};

/// What the daemon knows from earlier passes.
#[derive(Default)]
pub(super) struct DaemonState {
    /// The manifests as last read.
    pub(super) manifests: Option<ManifestState>,
    /// Since when a manifest has been open for writing.
    pub(super) open_for_writing: Option<Instant>,
    pub(super) confirmed: Confirmed,
    /// The content of the manifests in the last pass that was not limited to a part of them.
    pub(super) reconciled_content: Option<String>,
    /// Owner and id of the Stack in the last pass.
    pub(super) stack: Option<(Owner, String)>,
    /// Probes of backends whose circuit breaker is open.
    pub(super) probes: HashMap<Name, Probe>,
    /// Objects whose last step failed.
    pub(super) failures: ObjectFailures,
    pub(super) expiry: Expiry,
    pub(super) running: Option<RunningPass>,
    pub(super) last_pass: Option<PassView>,
    /// The manifests that were last applied completely.
    pub(super) applied: Option<AppliedContent>,
    /// When the next pass begins.
    pub(super) next_pass: Option<Instant>,
    /// Declared backends that no pass has observed yet; `None` before the first pass.
    pub(super) unobserved: Option<BTreeSet<Name>>,
    /// When the loop last ran.
    pub(super) heartbeat: Option<Instant>,
    /// When each read of the manifests that still runs began, by its number.
    pub(super) reads: HashMap<u64, Instant>,
    /// The holds that were logged.
    pub(super) logged_held: BTreeSet<String>,
    /// The warnings that were logged.
    pub(super) logged_warnings: BTreeSet<String>,
    /// The gaps in observations that were logged, by backend.
    pub(super) logged_gaps: BTreeMap<Name, Vec<String>>,
}

/// Manifests that a pass applied completely.
pub(super) struct AppliedContent {
    /// A hash of their content. A commit gives the same content another revision.
    pub(super) content: String,
    pub(super) revision: String,
}

/// A pass that runs.
pub(super) struct RunningPass {
    /// A hash of its manifests, once they are read.
    pub(super) content: Option<String>,
    /// When it began, in seconds since 1970.
    pub(super) since: u64,
    /// Whether a client requested it.
    pub(super) by_client: bool,
    pub(super) stop: CancellationToken,
}

/// How far the absence of an object from the manifests can be believed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Certainty {
    /// When the manifests must be read again before anything may be removed.
    pub(super) confirm_at: Option<Instant>,
    /// Until when objects that a vanished directory declared are not removed.
    pub(super) settles_at: Option<Instant>,
    /// `--prune`: the manifests count as complete although SPECS is a file.
    pub(super) prune: bool,
}
