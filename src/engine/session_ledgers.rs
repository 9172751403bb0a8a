//! The ledgers of a session: settled from what was observed, changed by the plan, written to the pools.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::model::{Absence, DriverError, LedgerView, Name, Place, Uid, Verb};
use crate::plan::{Observation, Plan, SettledState};

use crate::text::rfc3339;

use super::ledger::{self, SharedLedger};
use super::session::Session;

impl Session<'_> {
    /// Takes the ledgers of usable backends from the observation and settles them. Writes nothing.
    pub(super) fn settle(&mut self) {
        let (reading, world) = (&self.setup.reading, &self.observations.world);
        for (name, ledger) in self.judged.usable(reading, world, &self.records) {
            let Some(Observation::Seen { observed, capabilities }) = world.get(name) else { continue };
            if self.observations.busy.contains(name) {
                continue;
            }
            let on_pool = observed.ledger.as_ref().and_then(|view| match view {
                LedgerView::Good(there) | LedgerView::Older(there, _) => Some(there),
                LedgerView::Damaged(_) | LedgerView::Unreadable(_) => None,
            });
            let ledger: Option<SharedLedger> = match (ledger, on_pool) {
                (Some(ledger), Some(there)) if std::ptr::eq(ledger, &**there) => Some(Arc::clone(there).into()),
                (Some(ledger), _) => Some(ledger.clone().into()),
                (None, _) => observed
                    .pool
                    .clone()
                    .map(|pool| ledger::first(pool, &reading.specs.stack.owner, &reading.specs).into()),
            };
            let Some(mut ledger) = ledger else { continue };
            let ahead = ledger.removals.iter().map(|removal| removal.at).max();
            if let Some(at) = ahead.filter(|at| ledger::is_of_the_future(*at, self.now)) {
                let at = rfc3339(at);
                tracing::warn!(
                    backend = %name,
                    "its ledger has removals of {at}: a clock was ahead when they were noted, or this one is behind. They count \
                     against the limits of the Stack for 24 h from now"
                );
            }
            let known = |uid| SettledState::without_entry(uid, world, &self.records);
            let destroying = ledger.destroying.clone();
            ledger::settle(&mut ledger, observed, reading, known, self.now);
            // A record does not show that a destruction had no effect.
            if capabilities.absence == Absence::ByLedger && !destroying.is_empty() {
                let still = destroying.into_iter().filter(|uid| ledger.complete.contains_key(uid)).collect::<Vec<_>>();
                ledger.destroying.extend(still);
            }
            self.ledgers.insert(name.clone(), ledger);
        }
    }

    /// Enters in the ledgers what a whole plan says beyond its steps: which removals wait because they exceed a limit, and which approved
    /// items no longer have a plan. Returns the objects that match their declarations. (The plan of an operation says nothing about other
    /// objects, and is not noted.)
    pub(super) fn note_plan(&mut self, plan: &Plan) -> HashSet<Uid> {
        let planned = plan.steps.iter().map(|step| (step.identity.uid, step.action.verb()));
        let held = plan.held.iter().filter_map(|held| Some((held.uid?, held.action)));
        let pending: BTreeSet<(Uid, Verb)> = planned.chain(held).collect();
        let removed = plan.held.iter().filter(|held| matches!(held.action, Verb::Remove | Verb::Destroy));
        let leaving: BTreeSet<Uid> = removed.filter_map(|held| held.uid).collect();
        let busy: HashSet<Uid> = pending.iter().map(|(uid, _)| *uid).collect();
        for (name, ledger) in &mut self.ledgers {
            ledger::drop_stale(ledger, &pending, &self.setup.reading);
            // An object that was not observed may wait because these are other manifests, too.
            let seen = self.observations.world.get(name).and_then(Observation::observed);
            let is_shown = seen.is_some_and(|seen| ledger.is_shown_by(seen));
            if is_shown || self.setup.reading.is_other_source(Some(ledger)).is_none() {
                ledger::enter_reading(ledger, &self.setup.reading, plan);
            }
            let elsewhere = ledger::waiting_elsewhere(ledger, &self.setup.reading);
            // What waited and is held for another reason now (a file that cannot be read for a moment) goes on waiting.
            let still = ledger.waiting.intersection(&leaving);
            ledger.waiting = plan
                .too_much
                .iter()
                .chain(still)
                .chain(&elsewhere)
                .filter(|uid| ledger.complete.contains_key(uid))
                .copied()
                .collect();
        }
        // An object that matches its declaration is settled as it is, no matter what made it match.
        let mut settled = HashSet::new();
        for (name, ledger) in &mut self.ledgers {
            let Some(Observation::Seen { observed, .. }) = self.observations.world.get(name) else { continue };
            for object in observed.objects.iter().filter(|o| o.place == Place::Live && o.conflict.is_none()) {
                let Some(id) = object.identity.as_ref().filter(|id| id.owner == plan.owner && !busy.contains(&id.uid))
                else {
                    continue;
                };
                // What was released is as it should be, too. Its size and protection in the ledger stay: a loss must show when it is
                // declared again.
                let is_known_as = |name: &Name| ledger.complete.get(&id.uid).is_none_or(|entry| entry.name == *name);
                if self.setup.reading.specs.declares(id.kind, &id.name) {
                    ledger::accept(ledger, id.uid, object);
                    settled.insert(id.uid);
                } else if object.tags.retained && is_known_as(&id.name) {
                    settled.insert(id.uid);
                }
            }
        }
        settled
    }

    /// The backends whose ledgers were written since they were observed.
    pub(super) fn written(&self) -> BTreeSet<Name> {
        let is_written = |(name, ledger): &(&Name, &SharedLedger)| {
            let observed = self.observations.world.get(*name).and_then(Observation::observed);
            let view = observed.and_then(|observed| observed.ledger.as_ref()).and_then(LedgerView::ledger);
            view.map_or(0, |there| there.serial) != ledger.serial
        };
        self.ledgers.iter().filter(is_written).map(|(name, _)| name.clone()).collect()
    }

    /// Writes a ledger under its next serial number.
    ///
    /// # Errors
    /// Also if the backend is not open, or has no ledger.
    pub(super) async fn write_ledger(&mut self, name: &Name) -> Result<(), DriverError> {
        let (Some(backend), Some(ledger)) = (self.observations.backends.get(name), self.ledgers.get_mut(name)) else {
            return Err(DriverError::not_open());
        };
        backend.write_ledger(ledger).await
    }
}
