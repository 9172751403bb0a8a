//! What the store keeps. None of it is the only truth: see the ledger, and the names of objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Identity, Kind, Ledger, Name, NativeName, Object, Owner, PoolId, Size, Step, Suspension, Tags, Uid};

/// Everything that the planner reads of the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Records {
    /// By the name of the Backend.
    pub backends: BTreeMap<Name, BackendRecord>,
    /// By uid.
    pub objects: BTreeMap<Uid, ObjectRecord>,
    /// By [`Suspension::key`]: what the pools were last seen to hold, and what is still to be written to pools that were away.
    #[serde(default)]
    pub suspensions: BTreeMap<String, Suspension>,
}

impl Records {
    /// Returns what is remembered of a pool, under every Backend name: a Backend that was renamed is the pool that it points to.
    pub fn of_pool<'r>(&'r self, pool: &'r PoolId) -> impl Iterator<Item = (&'r Name, &'r BackendRecord)> {
        self.backends.iter().filter(move |(_, record)| record.pool == *pool)
    }
}

/// A Backend as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// Where it pointed to, in words for people (a path).
    pub place: String,
    /// The pool found there.
    pub pool: PoolId,
    /// Whose manifests declared it.
    pub owner: Owner,
    /// When it was last observed, in seconds since 1970.
    pub observed_at: u64,
    /// The ledger as last written: used when both copies on the pool are damaged.
    pub ledger: Option<Ledger>,
}

/// An object as it was when last brought to its spec, and as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Whose and which.
    pub identity: Identity,
    /// The Backend it is on.
    pub backend: Name,
    /// What the backend calls it.
    pub native: NativeName,
    /// Its size when Kiln last settled it: another size seen later is drift.
    pub size: Size,
    /// Its tags when Kiln last settled it.
    pub tags: Tags,
    /// What was last seen of it; `None`: seen to be absent.
    pub seen: Option<Object>,
    /// When that was, in seconds since 1970.
    pub seen_at: u64,
}

/// A number that grows with each intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(pub u64);

/// A step that was about to be made, or is being made; left over, it means a crash: look at the backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIntent {
    /// Its number.
    pub id: IntentId,
    /// The step.
    pub step: Step,
    /// When it was opened, in seconds since 1970.
    pub at: u64,
}

impl Records {
    /// The record of an object under a name, wherever it is. With several, the last seen.
    pub fn find(&self, owner: &Owner, kind: Kind, name: &Name) -> Option<&ObjectRecord> {
        self.objects
            .values()
            .filter(|r| r.identity.owner == *owner && r.identity.kind == kind && r.identity.name == *name)
            .max_by_key(|r| r.seen_at)
    }
}
