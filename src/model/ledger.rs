//! The ledger: what must not be forgotten about an owner's objects, kept on the pool itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Kind, LastReading, Name, NativeName, Owner, Size, Uid};

/// The identity of a pool: 32 hexadecimal digits, made once when Kiln first writes to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PoolId(pub String);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A ledger as an observation of the pool found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerView {
    /// Its newest copy is whole.
    Good(Ledger),
    /// Its newest copy is damaged or missing; this is the copy before it, which lacks the last write. The sentence says why.
    Older(Ledger, String),
    /// No copy of it can be believed. The sentence says why.
    Damaged(String),
    /// It exists and could not be read, or a newer program wrote it: it may be whole, and nothing is known of it. The sentence says why.
    Unreadable(String),
}

impl LedgerView {
    /// The newest ledger that can be believed.
    pub fn ledger(&self) -> Option<&Ledger> {
        match self {
            LedgerView::Good(ledger) | LedgerView::Older(ledger, _) => Some(ledger),
            LedgerView::Damaged(_) | LedgerView::Unreadable(_) => None,
        }
    }
}

/// What one owner has on one pool. It makes an absent object Lost and not new when the store is gone, and another pool under
/// the same path visible as another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The pool it was written for.
    pub pool: PoolId,
    /// Whose it is.
    pub owner: Owner,
    /// `Stack.spec.id`; empty without a Stack.
    pub stack: String,
    /// Counts writes, so that the newer of two copies is known.
    pub serial: u64,
    /// Objects that were made whole and not yet proven gone: live, in the trash, or Lost.
    #[serde(rename = "whole")]
    pub complete: BTreeMap<Uid, LedgerEntry>,
    /// Those of `whole` that have left for the trash: one that is absent is gone for good, and not Lost.
    pub leaving: BTreeSet<Uid>,
    /// Those of `whole` that a step was about to destroy. One that is absent counts as a removal; it is gone for good only if no document
    /// declares it, or if the store shows that the step was begun.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub destroying: BTreeSet<Uid>,
    /// Objects that are gone for good; kept for 30 days.
    pub tombstones: BTreeMap<Uid, Tombstone>,
    /// For each kind and name that ever left, one more than the highest `n` (see [`Uid::derive`]) it had. Kept for ever: a
    /// name that comes again is another object.
    pub next: BTreeMap<String, u32>,
    /// Volumes and snapshots that left by remove or destroy in the last 24 hours.
    pub removals: Vec<Removal>,
    /// Approvals whose sets are not yet done.
    pub approvals: Vec<ApprovalInUse>,
    /// Digests of approvals that are done: an Approval document with one of them no longer approves anything.
    pub spent: BTreeSet<String>,
    /// Objects that are about to get another name, with that name: found under it, Kiln renamed them, whatever the manifests say by
    /// then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub renaming: BTreeMap<Uid, Name>,
    /// Objects whose removal was too much at once, and that wait for a person. Without this, objects made in the meantime would
    /// make the same removal look smaller.
    #[serde(default)]
    pub waiting: BTreeSet<Uid>,
    /// The last whole reading of the manifests: tells another directory from an edit of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<LastReading>,
}

/// An object that the owner has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Volume or Snapshot.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: Name,
    /// Which of the name's uids it bears.
    pub n: u32,
    /// What the backend calls it.
    pub native: NativeName,
    /// Its size when Kiln last settled it: found smaller, it has lost data.
    pub size: Size,
    /// Whether it was protected when Kiln last settled it: tags can be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// The restores that were done: each distinct request is done once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub restored: BTreeSet<String>,
    /// The file that declared it last: its path relative to SPECS, or absolute where SPECS was that file. None: not known.
    #[serde(default, rename = "declaredIn", skip_serializing_if = "Option::is_none")]
    pub declared_in: Option<String>,
    /// Set when a person accepted the object although it is smaller than it was: the size that was declared then. Growing it back would
    /// put zeroes where data was, so it is not grown while its document declares this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Size>,
}

/// An object that is gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Volume or Snapshot.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: Name,
    /// When it was found to be gone, in seconds since 1970.
    pub at: u64,
}

/// A removal that counts against the limits of `Stack.spec.safety`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// What left.
    pub uid: Uid,
    /// Volume or Snapshot.
    pub kind: Kind,
    /// Its size.
    pub size: Size,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Whether a person approved it: then it does not count.
    pub approved: bool,
}

/// An approval that was given and is not yet done: it covers exactly this set, and what a crash left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalInUse {
    /// The digest that the person gave.
    pub digest: String,
    /// What it covers: `uid action [request]`, as hashed for the digest.
    pub set: BTreeSet<String>,
}

impl Ledger {
    /// For how long removals count against the limits of `Stack.spec.safety`, in seconds.
    pub const REMOVAL_WINDOW: u64 = 24 * 3600;

    /// Days for which a tombstone is kept.
    pub const TOMBSTONE_DAYS: u64 = 30;

    /// The first ledger of an owner on a pool.
    pub fn new(pool: PoolId, owner: Owner, stack: String) -> Self {
        Self {
            pool,
            owner,
            stack,
            serial: 0,
            complete: BTreeMap::new(),
            leaving: BTreeSet::new(),
            destroying: BTreeSet::new(),
            tombstones: BTreeMap::new(),
            next: BTreeMap::new(),
            removals: Vec::new(),
            approvals: Vec::new(),
            spent: BTreeSet::new(),
            renaming: BTreeMap::new(),
            waiting: BTreeSet::new(),
            reading: None,
        }
    }

    /// The key of `next`.
    pub fn next_key(kind: Kind, name: &Name) -> String {
        format!("{}/{name}", kind.as_lower())
    }

    /// The entries of a name that are neither leaving nor gone: these objects must be there.
    pub fn expected(&self, kind: Kind, name: &Name) -> impl Iterator<Item = (Uid, &LedgerEntry)> {
        let named = self.complete.iter().filter(move |(_, entry)| entry.kind == kind && entry.name == *name);
        named.filter(|(uid, _)| !self.leaving.contains(uid)).map(|(uid, entry)| (*uid, entry))
    }

    /// Whether an object is gone for good, by this ledger.
    pub fn has_tombstone(&self, uid: Uid) -> bool {
        self.tombstones.contains_key(&uid) && !self.complete.contains_key(&uid)
    }

    /// Turns an entry into a tombstone: the object is gone for good and its name may be used by another.
    pub fn add_tombstone(&mut self, uid: Uid, now: u64) {
        self.leaving.remove(&uid);
        self.destroying.remove(&uid);
        self.renaming.remove(&uid);
        if let Some(entry) = self.complete.remove(&uid) {
            let next = self.next.entry(Self::next_key(entry.kind, &entry.name)).or_default();
            *next = (*next).max(entry.n + 1);
            self.tombstones.insert(uid, Tombstone { kind: entry.kind, name: entry.name, at: now });
        }
    }
}
