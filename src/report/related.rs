//! The snapshots and clones of an object, as `kiln describe` shows them.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::condition::Condition;
use crate::model::Name;
use crate::text::Moment;

/// The snapshots of a volume, and the volumes that were made from a volume or snapshot; each sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelatedObjects {
    /// The snapshots of a volume; empty for a snapshot.
    pub snapshots: Vec<RelatedObject>,
    /// The volumes whose content came from it, or from one of its snapshots.
    pub clones: Vec<RelatedObject>,
}

/// A snapshot or clone of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelatedObject {
    /// Its name.
    pub name: Name,
    /// What it was made from: `volume/db`.
    pub source: String,
    /// Its size in bytes; null if it does not exist.
    pub size: Option<u64>,
    /// As the document of a clone writes it: see [`super::Status::written_size`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_size: Option<SmolStr>,
    /// When a snapshot was created, if its backend reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Moment>,
    /// Its condition.
    pub condition: Condition,
}
