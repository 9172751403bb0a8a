//! Both copies of a simulated ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Ledger, LedgerCommit, LedgerView};

/// Both copies of a ledger. Of the older one, only what differs is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Copies {
    /// `None` if it is damaged.
    pub(super) newest: Option<Arc<Ledger>>,
    /// `None` if there is no second copy yet.
    older: Option<OlderCopy>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum OlderCopy {
    Damaged,
    Whole(Arc<Ledger>),
    /// What turns the newest copy, which is intact, into the older one.
    Undo(LedgerCommit),
}

impl Copies {
    fn of(newest: Option<Arc<Ledger>>, older: Option<Option<Arc<Ledger>>>) -> Self {
        let older = older.map(|older| match (older, &newest) {
            (None, _) => OlderCopy::Damaged,
            (Some(older), None) => OlderCopy::Whole(older),
            (Some(older), Some(newest)) => match older.commit_from(newest) {
                Some(undo) => OlderCopy::Undo(undo),
                None => OlderCopy::Whole(older),
            },
        });
        Self { newest, older }
    }

    /// The older copy; `Some(None)` if it is damaged.
    fn older(&self) -> Option<Option<Arc<Ledger>>> {
        Some(match (self.older.as_ref()?, &self.newest) {
            (OlderCopy::Damaged, _) | (OlderCopy::Undo(_), None) => None,
            (OlderCopy::Whole(older), _) => Some(Arc::clone(older)),
            (OlderCopy::Undo(undo), Some(newest)) => {
                let mut older = Ledger::clone(newest);
                older.apply(undo).is_ok().then(|| Arc::new(older))
            }
        })
    }

    /// The copies after a ledger was written. The previous copy is kept if it is intact, or else the one before it.
    pub(super) fn after(before: Option<Self>, ledger: Ledger) -> Self {
        let kept = before.and_then(|before| before.newest.clone().or_else(|| before.older().flatten()));
        Self::of(Some(Arc::new(ledger)), kept.map(Some))
    }

    /// Changes the newest copy and keeps it as it was. Returns whether that is so now: the changes are of this copy, which is intact, or
    /// were made before.
    pub(super) fn change(&mut self, commit: &LedgerCommit) -> bool {
        let Some(newest) = &mut self.newest else { return false };
        if newest.pool != commit.pool || commit.to <= commit.from {
            return false;
        }
        let Some(undo) = newest.undo(commit) else { return false };
        if newest.serial == commit.to {
            return undo.changes == commit.changes;
        }
        if newest.serial != commit.from {
            return false;
        }
        let newest = Arc::make_mut(newest);
        let changed = newest.apply(commit).is_ok();
        if changed {
            self.older = Some(OlderCopy::Undo(undo));
        } else {
            // A change that cannot be read changes nothing. What was there can be read.
            let _ = newest.apply(&undo);
        }
        changed
    }

    /// The newest intact copy.
    pub(super) fn intact(&self) -> Option<&Ledger> {
        match (&self.newest, &self.older) {
            (Some(newest), _) => Some(newest),
            (None, Some(OlderCopy::Whole(older))) => Some(older),
            (None, Some(OlderCopy::Damaged | OlderCopy::Undo(_)) | None) => None,
        }
    }

    /// Damages the newest copy, or both.
    pub(super) fn damage(&mut self, both: bool) {
        let older = self.older().map(|older| older.filter(|_| !both));
        *self = Self::of(None, older);
    }

    /// The ledger as observed.
    pub(super) fn view(&self) -> LedgerView {
        match (&self.newest, &self.older) {
            (Some(newest), _) => LedgerView::Good(Arc::clone(newest)),
            (None, Some(OlderCopy::Whole(older))) => {
                let why = "the checksum of its newest copy does not match";
                LedgerView::Older(Arc::clone(older), why.to_owned())
            }
            (None, Some(OlderCopy::Damaged | OlderCopy::Undo(_)) | None) => {
                LedgerView::Damaged("no copy of it has a matching checksum".to_owned())
            }
        }
    }
}

/// As format 1 of the file has them: the newest first; `None` stands for a damaged copy.
impl From<Vec<Option<Arc<Ledger>>>> for Copies {
    fn from(copies: Vec<Option<Arc<Ledger>>>) -> Self {
        let mut copies = copies.into_iter();
        Self::of(copies.next().flatten(), copies.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LedgerChange, Owner, PoolId};

    #[test]
    fn a_change_that_cannot_be_read_changes_nothing() {
        let ledger = Ledger::new(PoolId("p".to_owned()), Owner::unnamed(), "5c1d2e8a90".to_owned());
        let mut copies = Copies::after(None, ledger);
        let before = copies.clone();
        let change = |key: &str, value: &str| LedgerChange { key: key.to_owned(), value: Some(value.to_owned()) };
        let changes = vec![change("next/volume/db", "3"), change("reading", "half of it")];
        let commit = LedgerCommit { pool: PoolId("p".to_owned()), owner: Owner::unnamed(), from: 0, to: 1, changes };
        assert!(!copies.change(&commit));
        assert_eq!(copies, before);
        let readable = LedgerCommit { changes: vec![change("next/volume/db", "3")], ..commit };
        assert!(copies.change(&readable) && copies != before);
    }
}
