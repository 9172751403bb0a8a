//! The ledger: what must not be lost about an owner's objects, stored on the pool itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

use super::approval::ApprovalSet;
use super::{Address, Kind, LastReading, Name, NativeName, Owner, Size, Uid};

/// The identity of a pool: 32 hexadecimal digits, generated when Kiln first writes to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PoolId(pub String);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A ledger as it was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerView {
    /// The newest copy is intact.
    Good(Arc<Ledger>),
    /// The newest copy is damaged or missing; this is the copy before it, which lacks the last write. The sentence says why.
    Older(Arc<Ledger>, String),
    /// No copy is intact. The sentence says why.
    Damaged(String),
    /// It exists but could not be read, or a newer version of Kiln wrote it. It may be intact. The sentence says why.
    Unreadable(String),
}

impl LedgerView {
    /// Returns the newest intact copy.
    pub fn ledger(&self) -> Option<&Ledger> {
        match self {
            LedgerView::Good(ledger) | LedgerView::Older(ledger, _) => Some(ledger),
            LedgerView::Damaged(_) | LedgerView::Unreadable(_) => None,
        }
    }
}

/// The objects of one owner on one pool. Without a store, the ledger still shows that an absent object is Lost and not new, and that
/// another pool is at the same path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The pool that it was written for.
    pub pool: PoolId,
    /// The owner of the objects.
    pub owner: Owner,
    /// `Stack.spec.id`; empty without a Stack.
    pub stack: String,
    /// Counts writes, and so identifies the newer of two copies.
    pub serial: u64,
    /// Objects that were created completely and are not proven gone: live, in the trash, or Lost.
    #[serde(rename = "whole", deserialize_with = "in_bulk")]
    pub complete: BTreeMap<Uid, LedgerEntry>,
    /// Those of `complete` that went to the trash or were destroyed. If one is absent, it is gone and not Lost.
    pub leaving: BTreeSet<Uid>,
    /// Those of `complete` that a step was about to destroy. If one is absent, it counts as a removal; it is gone only if no document declares
    /// it, or if the store shows that the step was started.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub destroying: BTreeSet<Uid>,
    /// Objects that are gone; kept for 30 days.
    pub tombstones: BTreeMap<Uid, Tombstone>,
    /// For each kind and name of an object that is gone, one more than the highest `n` (see [`Uid::derive`]) it had. Kept forever: an object
    /// that is declared again under this name is a new one.
    pub next: BTreeMap<String, u32>,
    /// Volumes and snapshots that were removed or destroyed in the last 24 hours.
    pub removals: Vec<Removal>,
    /// Approvals whose sets are not completely executed.
    pub approvals: Vec<ApprovalSet>,
    /// Digests of approvals that were executed, or that lapsed because their set was no longer planned. An Approval document with one of
    /// them approves nothing any more.
    pub spent: BTreeSet<String>,
    /// Objects that are about to be renamed, with their new name. An object found under this name was renamed by Kiln, whatever the manifests
    /// declare by then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub renaming: BTreeMap<Uid, Name>,
    /// Objects that steps were about to create or adopt, on a backend whose lists do not prove absence, with the entries that they get. Nothing
    /// else may tell that there is one whose document is withdrawn: each is asked for until it is found, or its absence is proven. Where the
    /// ledger proves absence, each may exist until it is shown, its step certainly had no effect, or a person forgets it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub creating: BTreeMap<Uid, LedgerEntry>,
    /// Objects whose removal exceeded a limit and waits for approval. Without this, objects created in the meantime would lower the share of
    /// the same removal.
    #[serde(default)]
    pub waiting: BTreeSet<Uid>,
    /// Objects on this pool that are copies of objects of another one. They stay copies when the other pool is away or has forgotten them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub copies: BTreeSet<Uid>,
    /// The last whole reading of the manifests, to tell another directory from an edit of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<LastReading>,
}

/// An object of the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Volume or Snapshot.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: Name,
    /// Number of its uid among those of its name: see [`Uid::derive`].
    pub n: u32,
    /// Its native name.
    pub native: NativeName,
    /// Its size when Kiln last reconciled it. If it is observed smaller, it has lost data.
    pub size: Size,
    /// Whether it was protected when Kiln last reconciled it, because tags can be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// Requests of the restores that were executed. Each distinct request is executed once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub restored: BTreeSet<String>,
    /// The file that last declared it: its path relative to SPECS, or absolute if SPECS was that file. `None`: unknown.
    #[serde(default, rename = "declaredIn", skip_serializing_if = "Option::is_none")]
    pub declared_in: Option<SmolStr>,
    /// The declared size when a person accepted the object although it had shrunk. It is not grown while its document declares this size,
    /// because growing it back would put zeroes where data was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Size>,
    /// The native name of the volume that it is inside of, for a snapshot on a backend that nests them. (Boxed, because it is rare.)
    #[serde(default, rename = "parentVolume", skip_serializing_if = "Option::is_none")]
    pub parent_volume: Option<Box<NativeName>>,
}

impl LedgerEntry {
    /// Returns what the backend finds the object by.
    pub fn address(&self) -> Address {
        Address { native: self.native.clone(), parent_volume: self.parent_volume.as_deref().cloned() }
    }
}

/// An object that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Volume or Snapshot.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: Name,
    /// When it was observed to be gone, in seconds since 1970.
    pub at: u64,
}

/// A removal that counts against the limits of `Stack.spec.safety`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The removed object.
    pub uid: Uid,
    /// Volume or Snapshot.
    pub kind: Kind,
    /// Its size.
    pub size: Size,
    /// When it was removed, in seconds since 1970.
    pub at: u64,
    /// Whether it was approved, and therefore does not count.
    pub approved: bool,
}

/// Reads a map whose keys are in order. If it grew one by one, half of each node of the tree would be empty: entries are added many at a
/// time.
fn in_bulk<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Uid, LedgerEntry>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = BTreeMap<Uid, LedgerEntry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the objects of a ledger")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let (mut map, mut more) = (BTreeMap::new(), Vec::new());
            while let Some(entry) = entries.next_entry()? {
                more.push(entry);
                // This builds the whole map again.
                if more.len() > 1000 + map.len() / 4 {
                    map.append(&mut std::mem::take(&mut more).into_iter().collect());
                }
            }
            map.append(&mut more.into_iter().collect());
            Ok(map)
        }
    }

    deserializer.deserialize_map(Entries)
}

impl Ledger {
    /// How long a removal counts against the limits of `Stack.spec.safety`, in seconds.
    pub const REMOVAL_WINDOW: u64 = 24 * 3600;

    /// How long a tombstone is kept, in days.
    pub const TOMBSTONE_DAYS: u64 = 30;

    /// Returns the first ledger of an owner on a pool.
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
            creating: BTreeMap::new(),
            waiting: BTreeSet::new(),
            copies: BTreeSet::new(),
            reading: None,
        }
    }

    /// Returns the key of `next`.
    pub fn next_key(kind: Kind, name: &Name) -> String {
        format!("{}/{name}", kind.as_lower())
    }

    /// Returns the entries of a name that are not leaving: these objects must exist.
    pub fn expected(&self, kind: Kind, name: &Name) -> impl Iterator<Item = (Uid, &LedgerEntry)> {
        let named = self.complete.iter().filter(move |(_, entry)| entry.kind == kind && entry.name == *name);
        named.filter(|(uid, _)| !self.leaving.contains(uid)).map(|(uid, entry)| (*uid, entry))
    }

    /// Whether this ledger records that an object is gone.
    pub fn has_tombstone(&self, uid: Uid) -> bool {
        self.tombstones.contains_key(&uid) && !self.complete.contains_key(&uid)
    }

    /// Turns an entry into a tombstone: the object is gone, and its name may be used again.
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
