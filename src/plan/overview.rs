//! What was observed and recorded, with the plan that follows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Plan, World};
use crate::model::{JournalEntry, Kind, Name, Records, Suspension};

/// One observation of every declared backend, and the plan that follows from it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overview {
    /// When, in seconds since 1970.
    pub now: u64,
    /// What every declared backend showed.
    pub world: World,
    /// What the store remembers.
    pub records: Arc<Records>,
    /// What is suspended of this owner's, by its pools and the store: that of everything first.
    pub suspended: Vec<Suspension>,
    /// Of the journal, the last `engine::JOURNAL` lines.
    pub journal: Vec<JournalEntry>,
    /// What apply would do.
    pub plan: Plan,
    /// Objects whose last step failed, and that the daemon tries again.
    pub retries: Vec<Retry>,
}

/// An object whose last step failed, and that the daemon tries again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Of the object.
    pub kind: Kind,
    /// Of the object.
    pub name: Name,
    /// In a row.
    pub failures: u32,
    /// The last one.
    pub error: String,
    /// When it is tried again, in RFC 3339.
    pub next_attempt_at: String,
}
