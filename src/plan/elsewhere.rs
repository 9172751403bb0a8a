//! Objects that the store remembers in places that cannot be looked at now.

use crate::model::{Name, ObjectRecord, Place, Verb, Withdrawal};

use super::ground::Ground;
use super::plan::{About, Planner, good_grounds};
use super::types::HeldReason;

/// Where a record's object could be found.
pub(super) enum Whereabouts {
    /// On a backend that was looked at: what is not there is gone.
    Visible,
    /// On one that could not be.
    Hidden((HeldReason, String), String),
    /// On one that is no longer declared.
    Undeclared,
}

impl<'a> Planner<'a> {
    /// What the store remembers on backends that cannot be looked at, and that no document speaks for.
    pub(super) fn hold_what_is_elsewhere(&mut self) {
        let inputs = self.inputs;
        let specs = inputs.specs;
        for record in inputs.records.objects.values() {
            let (kind, name) = (record.identity.kind, &record.identity.name);
            let there = record.seen.as_ref().is_some_and(|o| o.place == Place::Live && !o.tags.retained);
            if record.identity.owner != specs.stack.owner || !there {
                continue;
            }
            let hidden = match self.whereabouts(record) {
                Whereabouts::Visible => continue,
                Whereabouts::Hidden(why, unblock) => Some((why, unblock)),
                Whereabouts::Undeclared => None,
            };
            let ledger = inputs.records.backends.get(&record.backend).and_then(|backend| backend.ledger.as_ref());
            match specs.withdraws(kind, name, ledger, record.identity.uid) {
                Withdrawal::Declared | Withdrawal::NotCovered => continue,
                Withdrawal::Withdrawn | Withdrawal::Doubted(_) => {}
            }
            let about = About {
                kind,
                name,
                backend: Some(&record.backend),
                uid: Some(record.identity.uid),
                action: Verb::Remove,
            };
            match hidden {
                Some(((reason, message), unblock)) => self.hold(&about, reason, message, unblock),
                None => self.hold_undeclared(&about),
            }
        }
    }

    pub(super) fn hold_undeclared(&mut self, about: &About<'_>) {
        let backend = about.backend.map(Name::as_str).unwrap_or_default();
        let message = format!("it is on the backend {backend}, which is no longer declared");
        let unblock =
            format!("declare the Backend again, or give up what is there with `kiln forget backend/{backend}`");
        self.hold(about, HeldReason::BackendUndeclared, message, unblock);
    }

    /// Whether the place where the store last saw an object can be looked at.
    pub(super) fn whereabouts(&self, record: &ObjectRecord) -> Whereabouts {
        let pool = self.inputs.records.backends.get(&record.backend).map(|b| &b.pool);
        let seen_under_another_name =
            || pool.is_some() && good_grounds(&self.grounds).any(|(_, good)| good.observed.pool.as_ref() == pool);
        match self.grounds.get(&record.backend) {
            Some(Ground::Good(_)) => Whereabouts::Visible,
            _ if seen_under_another_name() => Whereabouts::Visible,
            Some(Ground::Bad(bad)) => Whereabouts::Hidden((bad.reason, bad.message.clone()), bad.unblock.clone()),
            None => Whereabouts::Undeclared,
        }
    }
}
