//! Objects that the store remembers in places that cannot be looked at now.

use crate::model::{Name, ObjectRecord, Place, Verb, Withdrawal};

use super::backend_state::BackendState;
use super::plan::{Planner, Subject, usable_backends};
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
    pub(super) fn hold_unreachable(&mut self) {
        let inputs = self.inputs;
        let specs = &*inputs.reading.specs;
        for record in inputs.records.objects.values() {
            let (kind, name) = (record.identity.kind, &record.identity.name);
            let there = record.seen.as_ref().is_some_and(|o| o.place == Place::Live && !o.tags.retained);
            // What a document renames is held under its new name.
            let claimed = self.known.get(&(kind, name)).is_some_and(|known| known.claimed);
            if record.identity.owner != specs.stack.owner || !there || claimed {
                continue;
            }
            let hidden = match self.whereabouts(record) {
                Whereabouts::Visible => continue,
                Whereabouts::Hidden(why, fix) => Some((why, fix)),
                Whereabouts::Undeclared => None,
            };
            let ledger = inputs.records.backends.get(&record.backend).and_then(|backend| backend.ledger.as_ref());
            match inputs.reading.withdraws(kind, name, ledger, record.identity.uid) {
                Withdrawal::Declared | Withdrawal::NotCovered => continue,
                Withdrawal::Withdrawn | Withdrawal::Doubted(_) => {}
            }
            let about = Subject {
                kind,
                name,
                backend: Some(&record.backend),
                uid: Some(record.identity.uid),
                action: Verb::Remove,
            };
            match hidden {
                Some(((reason, message), fix)) => self.hold(&about, reason, message, fix),
                None => self.hold_undeclared(&about),
            }
        }
    }

    pub(super) fn hold_undeclared(&mut self, about: &Subject<'_>) {
        let backend = about.backend.map(Name::as_str).unwrap_or_default();
        let message = format!("it is on the backend {backend}, which is no longer declared");
        let fix = format!("declare the Backend again, or give up what is there with `kiln forget backend/{backend}`");
        self.hold(about, HeldReason::BackendUndeclared, message, fix);
    }

    /// Whether the place where the store last saw an object can be looked at.
    pub(super) fn whereabouts(&self, record: &ObjectRecord) -> Whereabouts {
        let pool = self.inputs.records.backends.get(&record.backend).map(|b| &b.pool);
        let seen_under_another_name =
            || pool.is_some() && usable_backends(&self.backends).any(|(_, good)| good.observed.pool.as_ref() == pool);
        match self.backends.get(&record.backend) {
            Some(BackendState::Usable(_)) => Whereabouts::Visible,
            _ if seen_under_another_name() => Whereabouts::Visible,
            Some(BackendState::Blocked(bad)) => Whereabouts::Hidden((bad.reason, bad.message.clone()), bad.fix.clone()),
            None => Whereabouts::Undeclared,
        }
    }
}
