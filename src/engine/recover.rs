//! What an interrupted run left: open intents are resolved by observing, unfinished objects are swept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::StepContext;
use crate::model::{
    Action, Address, DriverError, Effect, Endpoint, ErrorKind, Expect, JournalEntry, LedgerView, Name, Object, Outcome,
    Place, Reason, Resource, Step, Uid,
};
use crate::plan::Observation;
use crate::store::{Batch, Store, StoreError};

use super::blockers::Blockers;
use super::effect::ObservedObjects;
use super::event::{Event, Reporter};
use super::ledger;
use super::overview::JOURNAL_SHOWN;
use super::record::{commit, journal_entry};
use super::session::Session;

impl Session<'_> {
    /// Resolves the open intents of an interrupted run by observing the backends, settles the ledgers and sweeps unfinished objects. Returns the
    /// sweeps that failed.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn recover(&mut self, reporter: &dyn Reporter) -> Result<Vec<(Step, DriverError)>, StoreError> {
        let Some(store) = self.store.clone() else { return Ok(Vec::new()) };
        let intents = store.intents()?;
        self.ask_for_names(&intents).await;
        let mut batch = Batch::default();
        let mut finished = Vec::new();
        let mut observed_objects: HashMap<&Name, ObservedObjects<'_>> = HashMap::new();
        for intent in &intents {
            let step = &intent.step;
            let place = step.backend().and_then(|name| match self.observations.world.get(name)? {
                Observation::Seen { capabilities, observed } => Some((name, capabilities, observed)),
                Observation::LockedBy { .. } | Observation::Failed { .. } | Observation::Unsupported => None,
            });
            let Some((backend, can, observed)) = place else {
                // It cannot be observed. The intent stays open until it can be, or until a whole reading no longer declares its endpoint.
                if !self.specs().declares_endpoint(&step.endpoint) && self.reading().is_whole() {
                    let message = format!("interrupted; {} is no longer declared, and shows no outcome", step.endpoint);
                    reporter.event(Event::note(format!(
                        "an earlier run did not learn the outcome of {} {} ({}): {} is no longer declared",
                        step.identity.kind.as_lower(),
                        step.identity.name,
                        step.action,
                        step.endpoint
                    )));
                    let result = Err(DriverError::unknown(ErrorKind::Unreachable, message));
                    batch.journal.push(journal_entry(step, "", self.now, &result, Duration::ZERO));
                    batch.close.push(intent.id);
                }
                continue;
            };
            // A pool that was replaced is not locked, and a missing object there says nothing about the step.
            if self.observations.backends.get(backend).is_none_or(|open| open.lock.is_none()) {
                continue;
            }
            // An intent is written before its step begins: only an effect that is observed counts as done.
            let seen = observed_objects.entry(backend).or_insert_with(|| {
                ObservedObjects::of(observed, can, observed.ledger.as_ref().and_then(LedgerView::ledger))
            });
            if seen.shows(step).is_none() {
                continue;
            }
            let outcome = seen.shows_outcome(step);
            // Nothing shows whether it was made. The intent stays open until it is shown, or a person says that it does not exist.
            if outcome.is_none() && step.action.is_first() {
                continue;
            }
            let done = outcome == Some(true);
            let failed = |effect, message: &str| {
                Err(DriverError { effect, ..DriverError::before(ErrorKind::Transient, message) })
            };
            let (result, what) = match (outcome, seen.shows_begun(step)) {
                (Some(true), _) => (Ok(Outcome::Changed), "the backend shows that it was done"),
                (Some(false), true) => {
                    let message = "interrupted; the backend shows that it is not complete";
                    (failed(Effect::Yes, message), "the backend shows that it was begun and is not complete")
                }
                (Some(false), false) => {
                    let message = "interrupted; the backend shows that it had no effect";
                    (failed(Effect::No, message), "the backend shows that it was not done")
                }
                (None, _) => {
                    let message = "interrupted; the backend cannot show whether it had an effect";
                    (failed(Effect::Unknown, message), "the backend cannot show whether it was done")
                }
            };
            reporter.event(Event::note(format!(
                "an earlier run did not learn the outcome of {} {} ({}): {what}",
                step.identity.kind.as_lower(),
                step.identity.name,
                step.action
            )));
            if done {
                finished.push(step.clone());
            }
            batch.close.push(intent.id);
            let message = done.then_some(match matches!(step.action, Action::Destroy | Action::Purge) {
                // It looks the same if another program removed the object.
                true => "interrupted; the object was gone when the backend was next observed",
                false => "interrupted; the backend shows that it was done",
            });
            let entry = journal_entry(step, "", self.now, &result, Duration::ZERO);
            batch.journal.push(JournalEntry { message: message.map(str::to_owned).or(entry.message), ..entry });
        }
        drop(observed_objects);
        if !batch.close.is_empty() {
            commit(&store, batch).await?;
        }
        self.spread_suspensions().await;
        // What was destroyed is not Lost, although the ledger on the pool does not say so yet: the run ended before the step's outcome
        // was written down, or between that and the ledger.
        let recovered = finished.iter().filter(|step| matches!(step.action, Action::Destroy));
        let mut destroyed: HashSet<(Endpoint, Uid)> =
            recovered.map(|step| (step.endpoint.clone(), step.identity.uid)).collect();
        let declared: HashSet<Endpoint> = self.specs().backends.keys().cloned().map(Endpoint::Backend).collect();
        for (name, view) in &mut self.observations.world {
            if let Observation::Seen { observed, .. } = view
                && let Some(LedgerView::Good(ledger) | LedgerView::Older(ledger, _)) = &mut observed.ledger
            {
                if !ledger.destroying.is_empty() {
                    destroyed.extend(journaled_destructions(&store, ledger.destroying.len())?);
                }
                let endpoint = Endpoint::Backend(name.clone());
                // A Backend may have had another name then.
                let is_here = |at: &Endpoint| *at == endpoint || !declared.contains(at);
                let here = destroyed.iter().filter(|(at, _)| is_here(at)).map(|(_, uid)| *uid);
                let known: Vec<Uid> = here.filter(|uid| ledger.complete.contains_key(uid)).collect();
                if !known.is_empty() {
                    Arc::make_mut(ledger).leaving.extend(known);
                }
            }
        }
        self.judge();
        let mut unswept = Vec::new();
        for name in self.usable.clone() {
            unswept.append(&mut self.sweep(&name, reporter).await);
        }
        self.settle();
        // What was done and not entered (protection lifted, an approved item) is entered now.
        for step in finished {
            // On a backend that is blocked now, a later pass observes the object and settles it.
            if let Some(ledger) = step.backend().and_then(|backend| self.ledgers.get_mut(backend)) {
                ledger::note(ledger, &step, None, true, self.now);
            }
        }
        Ok(unswept)
    }

    /// Returns a function that tells whether the observation shows the effect of a step.
    pub(super) fn shown(&self) -> impl Fn(&Step) -> bool {
        let mut seen: HashMap<&Name, ObservedObjects<'_>> = HashMap::new();
        for (name, view) in &self.observations.world {
            if let Observation::Seen { capabilities, observed } = view {
                let ledger = observed.ledger.as_ref().and_then(LedgerView::ledger);
                seen.insert(name, ObservedObjects::of(observed, capabilities, ledger));
            }
        }
        move |step| {
            step.backend().and_then(|backend| seen.get(backend)).is_some_and(|seen| seen.shows(step) == Some(true))
        }
    }

    /// Removes this owner's unfinished objects, except those that something else on the backend blocks. The writer lock excludes that
    /// another process is still making them. Returns the sweeps that failed.
    async fn sweep(&mut self, name: &Name, reporter: &dyn Reporter) -> Vec<(Step, DriverError)> {
        let owner = self.specs().stack.owner.clone();
        let Some(backend) = self.observations.backends.get(name).filter(|backend| backend.lock.is_some()) else {
            return Vec::new();
        };
        let Some(Observation::Seen { observed, .. }) = self.observations.world.get_mut(name) else { return Vec::new() };
        let unfinished =
            |o: &Object| o.place == Place::Temporary && o.identity.as_ref().is_some_and(|id| id.owner == owner);
        let mut left = Vec::new();
        let blockers = Blockers::in_objects(name, &observed.objects);
        let blocked = observed.objects.iter().filter(|object| unfinished(object));
        let blocked: BTreeMap<Address, String> =
            blocked.filter_map(|object| Some((object.address(), blockers.why(name, object)?))).collect();
        for (at, why) in &blocked {
            reporter.event(Event::note(format!("{at} on {name} was left unfinished and is not removed: {why}")));
        }
        let unfinished = |object: &Object| unfinished(object) && !blocked.contains_key(&object.address());
        for object in observed.objects.iter().filter(|object| unfinished(object)) {
            let Some(identity) = object.identity.clone() else { continue };
            let step = Step {
                expect: Expect { place: Some(Place::Temporary), ..Expect::default() },
                native: object.native.clone(),
                parent_volume: object.parent_volume.clone(),
                ..Step::new(name.clone(), identity, Action::Sweep, Reason::LeftOver)
            };
            let limit = backend.limit_of(&step.action);
            let context = StepContext::at(self.now);
            match tokio::time::timeout(limit, backend.driver.execute(&step, &context)).await {
                Ok(Ok(_)) => {
                    reporter
                        .event(Event::note(format!("removed {} on {name}, which was left unfinished", object.native)));
                }
                Ok(Err(error)) => left.push((step, error)),
                Err(_) => left.push((step, DriverError::timed_out(backend.spec.timeout))),
            }
        }
        for (step, error) in &left {
            let native = &step.native;
            reporter
                .event(Event::note(format!("{native} on {name} was left unfinished and cannot be removed: {error}")));
        }
        let stays = |object: &Object| !unfinished(object) || left.iter().any(|(step, _)| object.is_at(&step.address()));
        // What was removed takes no room any more.
        for removed in observed.objects.iter().filter(|object| !stays(object)) {
            for capacity in &mut observed.capacities {
                let freed = if capacity.resource == Resource::Data { removed.used } else { Some(capacity.per_object) };
                capacity.used = capacity.used.saturating_sub(freed.unwrap_or(0));
            }
        }
        observed.objects.retain(stays);
        left
    }
}

/// The objects whose destruction the journal reports as done. `announced`: how many destructions the ledger does not know the end of.
fn journaled_destructions(store: &Arc<dyn Store>, announced: usize) -> Result<Vec<(Endpoint, Uid)>, StoreError> {
    // Between two writes of the ledger other steps end too.
    let lines = store.journal(JOURNAL_SHOWN + 4 * announced)?;
    Ok(lines.into_iter().filter(JournalEntry::records_destruction).map(|line| (line.endpoint, line.uid)).collect())
}
