//! What the store keeps. The store can be lost: the ledgers and the names of objects hold what is essential.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Identity, Kind, Ledger, Name, NativeName, Object, Owner, PoolId, Size, Step, Suspension, Tags, Uid};

/// Everything that the planner reads from the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Records {
    /// By the name of the Backend.
    pub backends: BTreeMap<Name, BackendRecord>,
    /// By uid.
    pub objects: BTreeMap<Uid, ObjectRecord>,
    /// By [`Suspension::key`]: the suspensions last observed on the pools, and those still to be written to unreachable pools.
    #[serde(default)]
    pub suspensions: BTreeMap<String, Suspension>,
}

impl Records {
    /// Returns the records of a pool, under all names of its Backend: renaming a Backend does not change its pool.
    pub fn of_pool<'r>(&'r self, pool: &'r PoolId) -> impl Iterator<Item = (&'r Name, &'r BackendRecord)> {
        self.backends.iter().filter(move |(_, record)| record.pool == *pool)
    }
}

/// A Backend as it was last observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// Where its pool was, for people (a path).
    pub place: String,
    /// The pool observed there.
    pub pool: PoolId,
    /// The owner whose manifests declared it.
    pub owner: Owner,
    /// When it was last observed, in seconds since 1970.
    pub observed_at: u64,
    /// The ledger as last written: used if both copies on the pool are damaged.
    pub ledger: Option<Ledger>,
}

/// An object as it was last reconciled, and as it was last observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its identity.
    pub identity: Identity,
    /// The Backend it is on.
    pub backend: Name,
    /// Its native name.
    pub native: NativeName,
    /// Its size when it was last reconciled. Another observed size is drift.
    pub size: Size,
    /// Its tags when it was last reconciled.
    pub tags: Tags,
    /// Its last observation; `None`: it was absent.
    pub seen: Option<Object>,
    /// When it was last observed, in seconds since 1970.
    pub seen_at: u64,
}

impl ObjectRecord {
    /// Returns the record of an object as it is observed.
    pub fn of(identity: Identity, backend: Name, object: &Object, seen_at: u64) -> Self {
        Self {
            identity,
            backend,
            native: object.native.clone(),
            size: object.size,
            tags: Tags { expires: None, ..object.tags.clone() },
            seen: Some(object.clone()),
            seen_at,
        }
    }
}

/// The number of an intent; it grows with each one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(pub u64);

/// A step that is about to be executed or is being executed. One that is left from an earlier process means a crash: the backend must be
/// observed.
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
    /// Returns the record of an object by name, on any Backend. Of several, the last observed.
    pub fn find(&self, owner: &Owner, kind: Kind, name: &Name) -> Option<&ObjectRecord> {
        self.objects
            .values()
            .filter(|r| r.identity.owner == *owner && r.identity.kind == kind && r.identity.name == *name)
            .max_by_key(|r| r.seen_at)
    }
}
