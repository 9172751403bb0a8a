//! What a person approves: a set of steps, named by a digest.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::Uid;
use super::verb::Verb;

/// One step of an approval: `UID VERB`; a restore adds its snapshot and request, growing adds the size in bytes.
///
/// Stored as that text; text of a form that this version does not know approves nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApprovalItem(String);

impl ApprovalItem {
    /// Names a step. `detail`: what tells it from other steps of this kind for the object; may be empty.
    pub(super) fn new(uid: Uid, verb: Verb, detail: &str) -> Self {
        Self(if detail.is_empty() { format!("{uid} {verb}") } else { format!("{uid} {verb} {detail}") })
    }

    /// Returns the item that is stored as this text.
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The object that the step changes.
    pub fn uid(&self) -> Option<Uid> {
        self.0.split(' ').next()?.parse().ok()
    }

    /// What the step does.
    pub fn verb(&self) -> Option<Verb> {
        let word = self.0.split(' ').nth(1)?;
        Verb::ALL.into_iter().find(|verb| verb.as_str() == word)
    }
}

impl fmt::Display for ApprovalItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Steps that a person approves together, or has approved and that are not all done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalSet {
    /// Names the set as it was when it was approved: what is given to `--approve`.
    pub digest: String,
    /// The steps. A ledger keeps those of its pool that are not done.
    pub set: BTreeSet<ApprovalItem>,
}

impl ApprovalSet {
    /// Returns the set of these steps, named by their digest.
    pub fn of(steps: impl IntoIterator<Item = ApprovalItem>) -> Self {
        let set: BTreeSet<ApprovalItem> = steps.into_iter().collect();
        let mut hash = blake3::Hasher::new();
        for item in &set {
            hash.update(item.0.as_bytes());
            hash.update(b"\n");
        }
        Self { digest: hash.finalize().to_hex().as_str()[..16].to_owned(), set }
    }

    /// Whether it covers a step.
    pub fn covers(&self, step: &ApprovalItem) -> bool {
        self.set.contains(step)
    }

    /// The objects that it covers a step for.
    pub fn uids(&self) -> BTreeSet<Uid> {
        self.set.iter().filter_map(ApprovalItem::uid).collect()
    }

    /// Whether it covers any step for this object.
    pub fn names(&self, uid: Uid) -> bool {
        // Items of one object are beside each other, and begin with its uid.
        self.set.range(ApprovalItem(uid.to_string())..).next().is_some_and(|item| item.uid() == Some(uid))
    }
}
