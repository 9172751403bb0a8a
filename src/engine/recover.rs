//! What an interrupted run left: open intents are resolved by observing, unfinished objects are swept.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::StepContext;
use crate::model::{
    Absence, Action, DriverError, Effect, Endpoint, ErrorKind, Expect, JournalEntry, LedgerView, Name, Object,
    OpenIntent, Outcome, Place, Reason, Resource, Step, Uid,
};
use crate::plan::Observation;
use crate::store::{Batch, Store, StoreError};

use super::backend_session::BackendSession;
use super::blockers::Blockers;
use super::effect::ObservedObjects;
use super::effect::not_observed;
use super::event::{Event, Reporter};
use super::jobs::{Announcement, EndedJob};
use super::ledger;
use super::observe::Observations;
use super::observe::Phase;
use super::overview::JOURNAL_SHOWN;
use super::record::{commit, journal_entry};
use super::report::Report;
use super::session::Session;

impl Session<'_> {
    /// Resolves the open intents of an interrupted run by observing the backends, enters the jobs that have ended, settles the ledgers and
    /// sweeps unfinished objects. Returns what the jobs did, and the sweeps that failed.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn recover(&mut self, reporter: &dyn Reporter) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let Some(store) = self.store.clone() else { return Ok(report) };
        let mut intents = store.intents()?;
        intents.retain(|intent| !self.observations.running.contains_key(&intent.id));
        let ended = self.observations.ended.iter();
        let ended = ended.map(|(intent, job)| OpenIntent { id: *intent, step: job.step.clone(), at: self.now });
        let asked: Vec<OpenIntent> = intents.iter().cloned().chain(ended).collect();
        self.ask_for_names(&asked).await;
        let mut batch = Batch::default();
        let (mut finished, mut without_effect) = (Vec::new(), Vec::new());
        let mut observed_objects: HashMap<&Name, ObservedObjects<'_>> = HashMap::new();
        for intent in &intents {
            let step = &intent.step;
            // The step of an earlier pass still runs.
            if step.backend().is_some_and(|name| self.observations.busy.contains(name)) {
                continue;
            }
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
        let ended = std::mem::take(&mut self.observations.ended);
        let mut entered = BTreeSet::new();
        // An index of all objects, which most passes do not need.
        let seen = if ended.is_empty() { HashMap::new() } else { self.seen() };
        let shows = |step: &Step| seen.get(step.backend()?)?.shows(step);
        for (intent, EndedJob { step, announced, result }) in ended {
            entered.insert(intent);
            match result {
                Some(Ok(_)) if shows(&step) == Some(false) => {
                    let result = Err(not_observed(&step));
                    batch.journal.push(journal_entry(&step, "", self.now, &result, Duration::ZERO));
                    report.failed.extend(result.err().map(|error| (step, error)));
                }
                Some(Ok(outcome)) => {
                    match outcome {
                        Outcome::Changed => report.changed += 1,
                        Outcome::Unchanged => report.unchanged += 1,
                    }
                    finished.push(step);
                }
                Some(Err(error)) => {
                    if error.effect == Effect::No {
                        without_effect.push((intent, step.clone(), announced));
                    }
                    report.failed.push((step, error));
                }
                None => {}
            }
        }
        drop(seen);
        self.entered = entered;
        if batch != Batch::default() {
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
        let is_by_ledger = |view: &Observation| view.capabilities().is_some_and(|can| can.absence == Absence::ByLedger);
        let by_ledger: HashSet<Name> = self
            .observations
            .world
            .iter()
            .filter(|(_, view)| is_by_ledger(view))
            .map(|(name, _)| name.clone())
            .collect();
        self.judge();
        self.sweep(reporter).await;
        self.settle();
        // What was done and not entered (protection lifted, an approved item) is entered now.
        for step in finished {
            // On a backend that is blocked now, a later pass observes the object and settles it.
            if let Some(ledger) = step.backend().and_then(|backend| self.ledgers.get_mut(backend)) {
                ledger::note(ledger, &step, None, true, self.now);
            }
        }
        for (intent, step, Announcement { used_up, is_earlier }) in without_effect {
            let Some(name) = step.backend() else { continue };
            match self.ledgers.get_mut(name) {
                Some(ledger) => {
                    if !is_earlier && by_ledger.contains(name) {
                        ledger::withdraw(ledger, &step);
                    }
                    if let Some(digest) = used_up {
                        ledger::give_back(ledger, &step, &digest);
                    }
                }
                // A later pass has its ledger.
                None if self.observations.busy.contains(name) => drop(self.entered.remove(&intent)),
                None => {}
            }
        }
        std::mem::take(&mut self.observations.notes).into_iter().for_each(|note| reporter.event(Event::note(note)));
        report.failed.append(&mut self.observations.unswept);
        Ok(report)
    }

    /// Returns what was observed on each backend.
    fn seen(&self) -> HashMap<&Name, ObservedObjects<'_>> {
        let mut seen = HashMap::new();
        for (name, view) in &self.observations.world {
            if let Observation::Seen { capabilities, observed } = view {
                let ledger = observed.ledger.as_ref().and_then(LedgerView::ledger);
                seen.insert(name, ObservedObjects::of(observed, capabilities, ledger));
            }
        }
        seen
    }

    /// Returns a function that tells whether the observation shows the effect of a step.
    pub(super) fn shown(&self) -> impl Fn(&Step) -> bool {
        let seen = self.seen();
        move |step| {
            step.backend().and_then(|backend| seen.get(backend)).is_some_and(|seen| seen.shows(step) == Some(true))
        }
    }

    /// Removes this owner's unfinished objects on usable backends, except those that something else there blocks. The writer lock excludes
    /// that another process is still making them.
    async fn sweep(&mut self, reporter: &dyn Reporter) {
        let owner = &self.specs().stack.owner;
        let unfinished =
            |o: &&Object| o.place == Place::Temporary && o.identity.as_ref().is_some_and(|id| id.owner == *owner);
        let running = self.observations.running.values();
        let running: HashSet<(&Name, Uid)> =
            running.filter_map(|running| Some((running.step.backend()?, running.step.identity.uid))).collect();
        let mut calls = Vec::new();
        for name in &self.usable {
            let Some(backend) = self.observations.backends.get(name).filter(|backend| backend.lock.is_some()) else {
                continue;
            };
            let Some(Observation::Seen { observed, .. }) = self.observations.world.get(name) else { continue };
            let blockers = Blockers::in_objects(name, &observed.objects);
            let mut steps = Vec::new();
            for object in observed.objects.iter().filter(unfinished) {
                if let Some(why) = blockers.why(name, object) {
                    let at = object.address();
                    reporter
                        .event(Event::note(format!("{at} on {name} was left unfinished and is not removed: {why}")));
                    continue;
                }
                let Some(identity) = object.identity.clone() else { continue };
                // It is being made.
                if running.contains(&(name, identity.uid)) {
                    continue;
                }
                steps.push(Step {
                    expect: Expect { place: Some(Place::Temporary), ..Expect::default() },
                    native: object.native.clone(),
                    parent_volume: object.parent_volume.clone(),
                    ..Step::new(name.clone(), identity, Action::Sweep, Reason::LeftOver)
                });
            }
            if !steps.is_empty() {
                let (spec, session, backend) = (backend.spec.clone(), Some(backend.clone()), backend.clone());
                let context = StepContext::at(self.now);
                calls.push((spec, session, async move { sweep(&backend, steps, &context).await }));
            }
        }
        self.observations.each(Some(Phase::Sweep), calls, enter_swept).await;
    }
}

/// Removes unfinished objects. Returns each step with its result.
async fn sweep(
    backend: &BackendSession,
    steps: Vec<Step>,
    context: &StepContext,
) -> Vec<(Step, Result<Outcome, DriverError>)> {
    let mut made = Vec::new();
    for step in steps {
        let call = backend.driver.execute(&step, context);
        let result = match tokio::time::timeout(backend.limit_of(&step.action), call).await {
            Ok(result) => result,
            Err(_) => Err(DriverError::timed_out(backend.spec.timeout)),
        };
        made.push((step, result));
    }
    made
}

/// Enters which unfinished objects were removed.
fn enter_swept(observations: &mut Observations, name: Name, made: Vec<(Step, Result<Outcome, DriverError>)>) {
    let mut gone = Vec::new();
    for (step, result) in made {
        let native = &step.native;
        let note = match &result {
            Ok(_) => format!("removed {native} on {name}, which was left unfinished"),
            Err(error) => format!("{native} on {name} was left unfinished and cannot be removed: {error}"),
        };
        observations.notes.push(note);
        match result {
            Ok(_) => gone.push(step.address()),
            Err(error) => observations.unswept.push((step, error)),
        }
    }
    if let Some(Observation::Seen { observed, .. }) = observations.world.get_mut(&name) {
        let is_gone = |object: &Object| gone.iter().any(|at| object.place == Place::Temporary && object.is_at(at));
        // What was removed takes no room any more.
        for removed in observed.objects.iter().filter(|object| is_gone(object)) {
            for capacity in &mut observed.capacities {
                let freed = if capacity.resource == Resource::Data { removed.used } else { Some(capacity.per_object) };
                capacity.used = capacity.used.saturating_sub(freed.unwrap_or(0));
            }
        }
        observed.objects.retain(|object| !is_gone(object));
    }
}

/// The objects whose destruction the journal reports as done. `announced`: how many destructions the ledger does not know the end of.
fn journaled_destructions(store: &Arc<dyn Store>, announced: usize) -> Result<Vec<(Endpoint, Uid)>, StoreError> {
    // Between two writes of the ledger other steps end too.
    let lines = store.journal(JOURNAL_SHOWN + 4 * announced)?;
    Ok(lines.into_iter().filter(JournalEntry::records_destruction).map(|line| (line.endpoint, line.uid)).collect())
}
