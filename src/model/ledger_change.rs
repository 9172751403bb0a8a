//! A ledger as a small map, and what one write changes in it.
//!
//! A backend that keeps a map (RADOS: the omap of one object) stores each entry of a ledger under a key of its own, so that the change
//! of one object writes one entry. The keys, with their values as JSON:
//!
//! ```text
//! stack                    Stack.spec.id                leaving/UID       null
//! reading                  the last whole reading       destroying/UID    null
//! whole/UID                LedgerEntry                  waiting/UID       null
//! tombstones/UID           Tombstone                    renaming/UID      the new name
//! removals/UID             the removals of this object  next/KIND/NAME    number
//! approvals/DIGEST         null                         spent/DIGEST      null
//! approvals/DIGEST/STEP    null: a step that is not done copies/UID       null
//! creating/UID             LedgerEntry
//! ```

use std::cell::LazyCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ApprovalItem, ApprovalSet, Ledger, Owner, PoolId, Removal, Uid};

const STACK: &str = "stack";
const READING: &str = "reading";
const COMPLETE: &str = "whole";
const LEAVING: &str = "leaving";
const DESTROYING: &str = "destroying";
const WAITING: &str = "waiting";
const COPIES: &str = "copies";
const TOMBSTONES: &str = "tombstones";
const RENAMING: &str = "renaming";
const CREATING: &str = "creating";
const REMOVALS: &str = "removals";
const NEXT: &str = "next";
const APPROVALS: &str = "approvals";
const SPENT: &str = "spent";

/// The new value of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerChange {
    /// The key.
    pub key: String,
    /// Its value as JSON; `None` removes the key.
    pub value: Option<String>,
}

/// Changes of a ledger that a pool makes together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCommit {
    /// The pool of the ledger.
    pub pool: PoolId,
    /// The owner of the ledger.
    pub owner: Owner,
    /// The serial of the ledger that is changed. A pool whose ledger has another one refuses the changes.
    pub from: u64,
    /// Its serial afterwards; larger than `from`.
    pub to: u64,
    /// Each key once, in the order of the parts of a ledger.
    pub changes: Vec<LedgerChange>,
}

impl Ledger {
    /// Returns what turns an earlier state of this ledger into this one. `None` if that was the ledger of another pool or owner: then
    /// this one replaces it as a whole.
    pub fn commit_from(&self, before: &Ledger) -> Option<LedgerCommit> {
        let Ledger {
            pool,
            owner,
            stack,
            serial,
            complete,
            leaving,
            destroying,
            tombstones,
            next,
            removals,
            approvals,
            spent,
            renaming,
            creating,
            waiting,
            copies,
            reading,
        } = self;
        if *pool != before.pool || *owner != before.owner {
            return None;
        }
        let mut changes = Changes(Vec::new());
        if *stack != before.stack {
            changes.put(STACK.to_owned(), stack)?;
        }
        if *reading != before.reading {
            match reading {
                Some(reading) => changes.put(READING.to_owned(), reading)?,
                None => changes.remove(READING.to_owned()),
            }
        }
        changes.map(COMPLETE, &before.complete, complete)?;
        changes.set(LEAVING, &before.leaving, leaving)?;
        changes.set(DESTROYING, &before.destroying, destroying)?;
        changes.set(WAITING, &before.waiting, waiting)?;
        changes.set(COPIES, &before.copies, copies)?;
        changes.map(TOMBSTONES, &before.tombstones, tombstones)?;
        changes.map(RENAMING, &before.renaming, renaming)?;
        changes.map(CREATING, &before.creating, creating)?;
        changes.map(REMOVALS, &by_uid(&before.removals), &by_uid(removals))?;
        changes.map(NEXT, &before.next, next)?;
        changes.set(APPROVALS, &approval_keys(&before.approvals), &approval_keys(approvals))?;
        changes.set(SPENT, &before.spent, spent)?;
        Some(LedgerCommit {
            pool: pool.clone(),
            owner: owner.clone(),
            from: before.serial,
            to: *serial,
            changes: changes.0,
        })
    }

    /// Returns the commit that turns this ledger back into what it is now, after the given one. `None` if this version does not know one of
    /// its keys.
    pub fn undo(&self, commit: &LedgerCommit) -> Option<LedgerCommit> {
        let uid = |key: &str| key.strip_prefix(REMOVALS)?.strip_prefix('/')?.parse::<Uid>().ok();
        let removed: BTreeSet<Uid> = commit.changes.iter().filter_map(|change| uid(&change.key)).collect();
        let removals = by_uid(self.removals.iter().filter(|removal| removed.contains(&removal.uid)));
        let approvals = LazyCell::new(|| approval_keys(&self.approvals));
        let value = |key: &str| {
            let (part, name) = key.split_once('/').unwrap_or((key, ""));
            let uid = || name.parse::<Uid>().ok();
            match part {
                STACK => write(Some(&self.stack)),
                READING => write(self.reading.as_ref()),
                COMPLETE => write(self.complete.get(&uid()?)),
                LEAVING => write(self.leaving.contains(&uid()?).then_some(&())),
                DESTROYING => write(self.destroying.contains(&uid()?).then_some(&())),
                WAITING => write(self.waiting.contains(&uid()?).then_some(&())),
                COPIES => write(self.copies.contains(&uid()?).then_some(&())),
                TOMBSTONES => write(self.tombstones.get(&uid()?)),
                CREATING => write(self.creating.get(&uid()?)),
                RENAMING => write(self.renaming.get(&uid()?)),
                REMOVALS => write(removals.get(&uid()?)),
                NEXT => write(self.next.get(name)),
                APPROVALS => write(approvals.contains(name).then_some(&())),
                SPENT => write(self.spent.contains(name).then_some(&())),
                _ => None,
            }
        };
        let changes = commit
            .changes
            .iter()
            .map(|LedgerChange { key, value: _ }| Some(LedgerChange { key: key.clone(), value: value(key)? }));
        let (pool, owner) = (self.pool.clone(), self.owner.clone());
        Some(LedgerCommit { pool, owner, from: commit.to, to: self.serial, changes: changes.collect::<Option<_>>()? })
    }

    /// Makes the changes of a commit.
    ///
    /// # Errors
    /// The first key that this version does not know, or whose value it cannot read. The ledger is changed in part then.
    pub fn apply(&mut self, commit: &LedgerCommit) -> Result<(), String> {
        let mut removals = Vec::new();
        for change in &commit.changes {
            self.change(change, &mut removals).ok_or_else(|| change.key.clone())?;
        }
        if !removals.is_empty() {
            let changed: BTreeSet<Uid> = removals.iter().map(|(uid, _)| *uid).collect();
            self.removals.retain(|removal| !changed.contains(&removal.uid));
            self.removals.extend(removals.into_iter().flat_map(|(_, removals)| removals));
        }
        self.serial = commit.to;
        Ok(())
    }

    /// Changes one key; of removals, which are a list, it only collects the new values.
    fn change(&mut self, change: &LedgerChange, removals: &mut Vec<(Uid, Vec<Removal>)>) -> Option<()> {
        let (part, name) = change.key.split_once('/').unwrap_or((&change.key, ""));
        let value = change.value.as_deref();
        match part {
            STACK => self.stack = read(value?)?,
            READING => self.reading = value.map_or(Some(None), read)?,
            COMPLETE => put(&mut self.complete, name.parse().ok()?, value)?,
            LEAVING => put_key(&mut self.leaving, name.parse().ok()?, value),
            DESTROYING => put_key(&mut self.destroying, name.parse().ok()?, value),
            WAITING => put_key(&mut self.waiting, name.parse().ok()?, value),
            COPIES => put_key(&mut self.copies, name.parse().ok()?, value),
            TOMBSTONES => put(&mut self.tombstones, name.parse().ok()?, value)?,
            CREATING => put(&mut self.creating, name.parse().ok()?, value)?,
            RENAMING => put(&mut self.renaming, name.parse().ok()?, value)?,
            REMOVALS => removals.push((name.parse().ok()?, value.map_or(Some(Vec::new()), read)?)),
            NEXT => put(&mut self.next, name.to_owned(), value)?,
            APPROVALS => put_approval(&mut self.approvals, name, value),
            SPENT => put_key(&mut self.spent, name.to_owned(), value),
            _ => return None,
        }
        Some(())
    }
}

/// Changes, as they are collected. `None` is returned for a value that cannot be written as JSON; there is no such value.
struct Changes(Vec<LedgerChange>);

impl Changes {
    fn put(&mut self, key: String, value: &impl Serialize) -> Option<()> {
        self.0.push(LedgerChange { key, value: Some(serde_json::to_string(value).ok()?) });
        Some(())
    }

    fn remove(&mut self, key: String) {
        self.0.push(LedgerChange { key, value: None });
    }

    fn map<K: Ord + Display, V: PartialEq + Serialize>(
        &mut self,
        part: &str,
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
    ) -> Option<()> {
        self.part(part, old.iter(), new.iter())
    }

    fn set<K: Ord + Display>(&mut self, part: &str, old: &BTreeSet<K>, new: &BTreeSet<K>) -> Option<()> {
        self.part(part, old.iter().map(|key| (key, ())), new.iter().map(|key| (key, ())))
    }

    /// Adds the keys of a part whose values differ. Both states are sorted by key.
    fn part<'k, K: Ord + Display + 'k, V: PartialEq + Serialize>(
        &mut self,
        part: &str,
        old: impl Iterator<Item = (&'k K, V)>,
        new: impl Iterator<Item = (&'k K, V)>,
    ) -> Option<()> {
        let (mut old, mut new) = (old.peekable(), new.peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Some(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((was, _)), Some((is, _))) => was.cmp(is),
            };
            let was = if order.is_le() { old.next() } else { None };
            let is = if order.is_ge() { new.next() } else { None };
            match (was, is) {
                (Some((_, was)), Some((key, is))) if was != is => self.put(format!("{part}/{key}"), &is)?,
                (Some(_), Some(_)) | (None, None) => {}
                (Some((key, _)), None) => self.remove(format!("{part}/{key}")),
                (None, Some((key, is))) => self.put(format!("{part}/{key}"), &is)?,
            }
        }
    }
}

fn by_uid<'r>(removals: impl IntoIterator<Item = &'r Removal>) -> BTreeMap<Uid, Vec<&'r Removal>> {
    let mut by_uid: BTreeMap<Uid, Vec<&Removal>> = BTreeMap::new();
    for removal in removals {
        by_uid.entry(removal.uid).or_default().push(removal);
    }
    by_uid
}

/// The keys of approvals: one for each, and one for each of its steps.
fn approval_keys(approvals: &[ApprovalSet]) -> BTreeSet<String> {
    let keys = |approval: &ApprovalSet| {
        let steps = approval.set.iter().map(|step| format!("{}/{step}", approval.digest));
        std::iter::once(approval.digest.clone()).chain(steps).collect::<Vec<_>>()
    };
    approvals.iter().flat_map(keys).collect()
}

/// Returns the new value of a key: `Some(None)` if it has none.
fn write<T: Serialize>(value: Option<&T>) -> Option<Option<String>> {
    value.map(|value| serde_json::to_string(value).ok()).map_or(Some(None), |json| json.map(Some))
}

fn read<T: DeserializeOwned>(value: &str) -> Option<T> {
    serde_json::from_str(value).ok()
}

fn put<K: Ord, V: DeserializeOwned>(map: &mut BTreeMap<K, V>, key: K, value: Option<&str>) -> Option<()> {
    match value {
        Some(value) => drop(map.insert(key, read(value)?)),
        None => drop(map.remove(&key)),
    }
    Some(())
}

fn put_key<K: Ord>(set: &mut BTreeSet<K>, key: K, value: Option<&str>) {
    match value {
        Some(_) => set.insert(key),
        None => set.remove(&key),
    };
}

/// Enters an approval, or one of its steps (`DIGEST/STEP`), or removes it.
fn put_approval(approvals: &mut Vec<ApprovalSet>, name: &str, value: Option<&str>) {
    let (digest, step) = name.split_once('/').map_or((name, None), |(digest, step)| (digest, Some(step)));
    let at = approvals.iter().position(|approval| approval.digest == digest);
    let at = match (at, value) {
        (Some(at), None) if step.is_none() => return drop(approvals.remove(at)),
        (Some(at), _) => at,
        (None, None) => return,
        (None, Some(_)) => {
            approvals.push(ApprovalSet { digest: digest.to_owned(), set: BTreeSet::new() });
            approvals.len() - 1
        }
    };
    if let Some(step) = step {
        put_key(&mut approvals[at].set, ApprovalItem::from_text(step), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, nth};
    use crate::model::{Kind, LastReading, Size, Tombstone};

    fn empty() -> Ledger {
        Ledger::new(PoolId("p".to_owned()), Owner::unnamed(), "a".to_owned())
    }

    /// A ledger in which no part is empty.
    fn full(serial: u64) -> Ledger {
        let mut ledger = Ledger { serial, stack: "b".to_owned(), ..empty() };
        for n in 0..3 {
            let db = nth(Kind::Volume, "db", n);
            let uid = db.uid;
            ledger
                .complete
                .insert(uid, db.ledger_entry(n, crate::model::Address::flat(&db.native()), Size(u64::from(n))));
            ledger.leaving.insert(uid);
            ledger.destroying.insert(uid);
            ledger.waiting.insert(uid);
            ledger.copies.insert(uid);
            ledger.tombstones.insert(uid, Tombstone { kind: Kind::Volume, name: name("db"), at: 1 });
            ledger.renaming.insert(uid, name("db2"));
            ledger.removals.push(Removal { uid, kind: Kind::Volume, size: Size(1), at: 1, approved: false });
        }
        // The same object twice, and not in the order of uids.
        ledger.removals.push(Removal { at: 2, approved: true, ..ledger.removals[0].clone() });
        ledger.next.insert("volume/db".to_owned(), 2);
        let steps = ["aaaaaaaa destroy", "bbbbbbbb restore snapshot/x monday"].map(ApprovalItem::from_text);
        ledger.approvals.push(ApprovalSet { digest: "0f".to_owned(), set: BTreeSet::from(steps) });
        ledger.approvals.push(ApprovalSet { digest: "0e".to_owned(), set: BTreeSet::new() });
        ledger.spent.insert("ff".to_owned());
        ledger.reading = Some(LastReading::default());
        ledger
    }

    /// The order of lists has no meaning.
    fn sorted(mut ledger: Ledger) -> Ledger {
        ledger.removals.sort_by_key(|removal| (removal.uid, removal.at));
        ledger.approvals.sort_by(|a, b| a.digest.cmp(&b.digest));
        ledger
    }

    #[test]
    fn a_commit_turns_the_earlier_ledger_into_the_later_one() {
        let mut other = full(4);
        other.complete.pop_first();
        other.removals.remove(0);
        other.approvals.remove(1);
        other.approvals[0].set.pop_first();
        let states = [empty(), full(2), Ledger { reading: None, ..full(3) }, other];
        for (before, after) in states.iter().flat_map(|before| states.iter().map(move |after| (before, after))) {
            let commit = after.commit_from(before).unwrap();
            assert_eq!((commit.from, commit.to), (before.serial, after.serial));
            let mut changed = before.clone();
            changed.apply(&commit).unwrap();
            assert_eq!(sorted(changed), sorted(after.clone()));
            assert_eq!(commit.changes.is_empty(), before.serial == after.serial);
            let keys: BTreeSet<&str> = commit.changes.iter().map(|change| change.key.as_str()).collect();
            assert_eq!(keys.len(), commit.changes.len(), "each key once");
            // What is changed can be changed back.
            let mut back = after.clone();
            back.apply(&before.undo(&commit).unwrap()).unwrap();
            assert_eq!(sorted(back), sorted(before.clone()));
            // A repeated commit finds its own values.
            assert_eq!(after.undo(&commit).unwrap().changes, commit.changes);
        }
    }

    #[test]
    fn a_change_of_one_object_is_one_entry() {
        let (before, mut after) = (full(2), full(3));
        let uid = nth(Kind::Volume, "db", 1).uid;
        after.complete.get_mut(&uid).unwrap().size = Size(9);
        let commit = after.commit_from(&before).unwrap();
        let [LedgerChange { key, value: Some(value) }] = commit.changes.as_slice() else { panic!("{commit:?}") };
        assert_eq!(*key, format!("whole/{uid}"));
        assert!(value.contains(r#""size":9"#), "{value}");
    }

    #[test]
    fn a_ledger_of_another_pool_or_owner_is_no_earlier_state() {
        let pool = Ledger { pool: PoolId("q".to_owned()), ..full(2) };
        let owner = Ledger { owner: "staging".parse().unwrap(), ..full(2) };
        assert_eq!((pool.commit_from(&full(1)), owner.commit_from(&full(1))), (None, None));
    }

    #[test]
    fn a_key_of_a_later_version_is_refused() {
        let mut commit = full(2).commit_from(&empty()).unwrap();
        commit.changes.push(LedgerChange { key: "colour/aaaaaaaa".to_owned(), value: Some("1".to_owned()) });
        assert_eq!(empty().apply(&commit), Err("colour/aaaaaaaa".to_owned()));
        assert_eq!(empty().undo(&commit), None);
    }
}
