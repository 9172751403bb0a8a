//! The state in which Kiln last settled an object.

use std::collections::BTreeSet;

use crate::model::{LedgerEntry, Name, NativeName, Records, Size, Uid};

use super::types::World;

/// The state in which Kiln last settled an object.
#[derive(Default)]
pub struct SettledState {
    /// The size. An object that is smaller now lost data.
    pub size: Size,
    /// Whether it was protected. Tags can be lost; only a document lifts protection.
    pub protected: bool,
    /// The restore requests that are done.
    pub restored: BTreeSet<String>,
    /// The size that was declared when a smaller size was accepted.
    pub accepted: Option<Size>,
    /// The names, with the native ones, by which the store and other ledgers know an object without an entry. If it has none of them, it was
    /// renamed outside of Kiln.
    pub names: Vec<(Name, NativeName)>,
}

impl From<&LedgerEntry> for SettledState {
    fn from(entry: &LedgerEntry) -> Self {
        let LedgerEntry { size, protected, restored, accepted, .. } = entry;
        Self { size: *size, protected: *protected, restored: restored.clone(), accepted: *accepted, names: Vec::new() }
    }
}

impl SettledState {
    /// Returns what is known of an object that the ledger of its pool has no entry of: by the store, and by the ledgers of all pools. A
    /// person may have moved it here, by a copy that ended early, so the largest size counts.
    pub fn without_entry(uid: Uid, world: &World, records: &Records) -> Self {
        let record = records.objects.get(&uid);
        let mut known = record.map_or_else(Self::default, |record| Self {
            size: record.size,
            protected: record.tags.protected,
            restored: record.tags.restored.clone().into_iter().collect(),
            accepted: None,
            names: vec![(record.identity.name.clone(), record.native.clone())],
        });
        let observed = world.values().filter_map(|view| view.observed()?.ledger.as_ref()?.ledger());
        let stored = records.backends.values().filter_map(|record| record.ledger.as_ref());
        for entry in observed.chain(stored).filter_map(|ledger| ledger.complete.get(&uid)) {
            known.size = known.size.max(entry.size);
            known.protected |= entry.protected;
            known.restored.extend(entry.restored.iter().cloned());
            known.accepted = known.accepted.max(entry.accepted);
            known.names.push((entry.name.clone(), entry.native.clone()));
        }
        known
    }
}
