//! Suspensions, as recorded on the pools and in the store.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Kind, Name, ObjectId, Owner};

/// The identity of a suspension: 32 hexadecimal digits. A resume ends the suspension of its id on every pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SuspensionId(String);

impl SuspensionId {
    /// Derives an id from a text.
    pub fn of(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()).to_hex()[..32].to_owned())
    }

    /// Returns the hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SuspensionId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id { Ok(Self(text)) } else { Err("the id of a suspension has 32 hexadecimal digits") }
    }
}

impl From<SuspensionId> for String {
    fn from(id: SuspensionId) -> Self {
        id.0
    }
}

impl fmt::Display for SuspensionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A request of a person to leave objects unchanged. It is recorded on every reachable pool, beside the ledger, and in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Its identity; `None` in stores that were written before suspensions had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SuspensionId>,
    /// The owner of the objects.
    pub owner: Owner,
    /// The object; `None`: all objects of the owner.
    pub object: Option<ObjectId>,
    /// The reason that the person gave.
    pub reason: String,
    /// When it started, in seconds since 1970.
    pub since: u64,
    /// When it expires, in seconds since 1970.
    pub until: Option<u64>,
    /// When it was resumed, in seconds since 1970. A record with this field ends the suspension of its id on all pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<u64>,
}

impl Suspension {
    /// Maximum number in force per owner and pool. As many ended ones are kept.
    pub const MOST: usize = 256;
    /// Maximum length of a reason, in bytes.
    pub const LONGEST_REASON: usize = 1000;
    /// How long the end of a suspension is recorded for unreachable pools, in days.
    pub const RESUMED_DAYS: u64 = 30;

    /// Returns its recorded id, or else one that is derived from its content.
    pub fn id(&self) -> SuspensionId {
        let Self { id, owner, object, reason, since, until: _, resumed: _ } = self;
        id.clone().unwrap_or_else(|| {
            let object = object.as_ref().map(ToString::to_string);
            SuspensionId::of(&format!("{owner} {} {since} {reason}", object.unwrap_or_default()))
        })
    }

    /// Returns its key in the store: `OWNER/kind/NAME@ID`, or `OWNER@ID` for all objects. Without an id, the part before the `@`.
    pub fn key(&self) -> String {
        let what = match &self.object {
            Some(object) => format!("{}/{object}", self.owner),
            None => self.owner.to_string(),
        };
        self.id.as_ref().map_or_else(|| what.clone(), |id| format!("{what}@{id}"))
    }

    /// Whether it is in force.
    pub fn is_in_force(&self, now: u64) -> bool {
        self.resumed.is_none() && self.until.is_none_or(|until| now < until)
    }

    /// Whether it covers this object.
    pub fn covers(&self, kind: Kind, name: &Name) -> bool {
        self.object.as_ref().is_none_or(|object| object.kind == kind && object.name == *name)
    }
}

/// Every record of the suspensions of one owner, by id: the union over its pools and the store. A resume wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suspensions(pub BTreeMap<SuspensionId, Suspension>);

impl Suspensions {
    /// Returns the union of records.
    pub fn union<'a>(records: impl IntoIterator<Item = &'a Suspension>) -> Self {
        let mut union: BTreeMap<SuspensionId, Suspension> = BTreeMap::new();
        for record in records {
            let id = record.id();
            if record.resumed.is_some() || !union.contains_key(&id) {
                union.insert(id.clone(), Suspension { id: Some(id), ..record.clone() });
            }
        }
        Self(union)
    }

    /// Returns those in force; those that cover all objects first.
    pub fn in_force(&self, now: u64) -> Vec<Suspension> {
        let mut in_force: Vec<Suspension> = self.0.values().filter(|one| one.is_in_force(now)).cloned().collect();
        // Of several for one object, the newest is reported, so it comes first.
        in_force.sort_by(|a, b| (&a.object, b.since, &a.id).cmp(&(&b.object, a.since, &b.id)));
        in_force
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspension(reason: &str) -> Suspension {
        let (owner, object) = ("prod".parse().unwrap(), Some(ObjectId::new(Kind::Volume, &"db".parse().unwrap())));
        Suspension { id: None, owner, object, reason: reason.to_owned(), since: 1000, until: None, resumed: None }
    }

    #[test]
    fn a_resume_wins_in_whatever_order_records_are_read() {
        let (held, ended) = (suspension("fsck"), Suspension { resumed: Some(2000), ..suspension("fsck") });
        for records in [[&held, &ended], [&ended, &held]] {
            assert_eq!(Suspensions::union(records).in_force(3000), []);
        }
        let other = suspension("backup");
        assert_eq!(Suspensions::union([&held, &ended, &other]).in_force(3000).len(), 1, "by id, not by object");
    }

    #[test]
    fn the_derived_id_of_a_suspension_is_stable() {
        assert_eq!(suspension("fsck").id(), Suspension { until: Some(5), ..suspension("fsck") }.id());
        assert_ne!(suspension("fsck").id(), suspension("backup").id());
        assert_eq!(suspension("fsck").key(), "prod/volume/db");
    }
}
