//! One observation of all backends, with the plan made from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Judged, Plan, RunningStep, World};
use crate::model::{Address, JournalEntry, Kind, Name, Records, Suspension};

/// One observation of every declared backend, with the records and the plan made from them.
#[derive(Debug, Clone)]
pub struct Overview {
    /// When the backends were observed, in seconds since 1970.
    pub now: u64,
    /// The observations, by Backend name.
    pub world: World,
    /// The judgement of the backends that the plan was made with.
    pub judged: Arc<Judged>,
    /// Where clients open this owner's live objects, by Backend name, as far as they have a path on this host.
    pub paths: BTreeMap<Name, BTreeMap<Address, PathBuf>>,
    /// The store's records.
    pub records: Arc<Records>,
    /// This owner's suspensions, from its pools and the store; a suspension of everything comes first.
    pub suspended: Vec<Suspension>,
    /// The last `engine::JOURNAL_SHOWN` entries of the journal.
    pub journal: Vec<JournalEntry>,
    /// The plan that `kiln apply` would execute.
    pub plan: Plan,
    /// Objects whose last step failed and that the daemon retries.
    pub retries: Vec<Retry>,
    /// The steps of earlier passes that still run.
    pub running: Vec<RunningStep>,
}

/// An object whose last step failed and that the daemon retries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Of the object.
    pub kind: Kind,
    /// Of the object.
    pub name: Name,
    /// Consecutive failures.
    pub failures: u32,
    /// The last error.
    pub error: String,
    /// When the daemon retries it, in RFC 3339.
    pub next_attempt_at: String,
}
