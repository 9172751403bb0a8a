//! What every pass begins with: a look, under the writer locks where it will write, and what the last crash left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::{StepContext, image};
use crate::model::{
    Action, BackendRecord, Clients, DriverError, Effect, ErrorKind, Expect, Identity, ImageLook, ImageRef, Images,
    JournalEntry, Ledger, LedgerView, Name, Object, ObjectRecord, Outcome, Place, Reading, Reason, Records, Removal,
    Risk, Size, Specs, Step, Tags, Uid, Verb, Written,
};
use crate::plan::{self, Inputs, Irreversible, Observation, Plan, Unobserved};
use crate::store::{Batch, Store, StoreError};
use crate::text::rfc3339;

use super::effect::Seen;
use super::execute::{Run, commit, journal_entry};
use super::observe::{Backend, Intent, Observations, look};
use super::reconcile::JOURNAL;
use super::suspend::StepSuspensions;
use super::{Event, Options, Report, Reporter, Setup, ledger};

/// A pass under way.
pub(super) struct Pass<'s> {
    pub setup: &'s Setup,
    pub store: Option<Arc<dyn Store>>,
    pub records: Arc<Records>,
    pub observations: Observations,
    pub now: u64,
    /// What looks at images showed, in this pass.
    pub images: Images,
    /// Our ledgers on usable backends, as they are on the pools but for what was settled since; from [`Pass::settle`] on.
    pub ledgers: BTreeMap<Name, Ledger>,
    /// The usable backends, also those that were never written to; from [`Pass::settle`] on.
    pub usable: BTreeSet<Name>,
    /// What an earlier run left half made and could not be removed, with the error; from [`Pass::recover`] on.
    pub unswept: Vec<(Step, DriverError)>,
    /// Objects that are as declared, with nothing to do.
    settled: HashSet<Uid>,
}

impl<'s> Pass<'s> {
    /// Looks at every declared backend, with these records in mind.
    pub(super) async fn begin(setup: &'s Setup, records: Arc<Records>, intent: Intent) -> Self {
        let observations = look(&setup.connect, &setup.reading, &records, intent).await;
        let now = setup.clock.now();
        Self {
            setup,
            store: setup.store.clone(),
            records,
            observations,
            now,
            images: Images::new(),
            ledgers: BTreeMap::new(),
            usable: BTreeSet::new(),
            unswept: Vec::new(),
            settled: HashSet::new(),
        }
    }

    /// Begins a pass that writes.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn begin_writing(setup: &'s Setup) -> Result<Self, StoreError> {
        let records = match &setup.store {
            Some(store) => store.records()?,
            None => return Err(StoreError::Io { path: String::new(), message: "it is not open".to_owned() }),
        };
        Ok(Self::begin(setup, records, Intent::Write).await)
    }

    pub(super) fn reading(&self) -> &Reading {
        &self.setup.reading
    }

    pub(super) fn specs(&self) -> &Specs {
        &self.setup.reading.specs
    }

    /// Plans from what is known now.
    pub(super) fn plan(&self, approved: &[String], irreversible: Irreversible) -> Plan {
        self.with_inputs(approved, irreversible, plan::plan)
    }

    /// Calls `f` with the planner's inputs.
    pub(super) fn with_inputs<T>(
        &self,
        approved: &[String],
        irreversible: Irreversible,
        f: impl FnOnce(&Inputs<'_>) -> T,
    ) -> T {
        let recent = self.recent();
        let suspended = self.suspensions().in_force(self.now);
        f(&Inputs {
            reading: self.reading(),
            world: &self.observations.world,
            records: &self.records,
            recent: &recent,
            suspended: &suspended,
            approved,
            images: &self.images,
            irreversible,
        })
    }

    /// Removals of the last 24 hours: by the ledgers as settled, and by the store's copies where a backend cannot be seen.
    fn recent(&self) -> Vec<Removal> {
        let owner = &self.specs().stack.owner;
        let ledger = |name: &Name| {
            let stored = || self.records.backends.get(name)?.ledger.as_ref();
            self.ledgers.get(name).or_else(stored).filter(|ledger| ledger.owner == *owner)
        };
        let removals = self.specs().backends.keys().filter_map(ledger).flat_map(|ledger| &ledger.removals);
        removals.filter(|removal| removal.at + Ledger::REMOVAL_WINDOW > self.now).cloned().collect()
    }

    /// Settles the ledgers in memory, for a plan that only looks.
    pub(super) fn settle_to_look(&mut self) {
        let usable = self.with_inputs(&[], Irreversible::Hold, plan::usable);
        self.settle(usable);
    }

    /// The backends of which the look shows nothing to go by, though they may have answered: a pool that is gone, or another than it
    /// was.
    pub(super) fn unobserved(&self) -> Vec<Unobserved> {
        self.with_inputs(&[], Irreversible::Hold, plan::unobserved)
    }

    /// Plans, and looks closer where the plan depends on who has an object open. What waits for a person is looked at as well, so
    /// that a set that waits is the same whoever asks for it.
    pub(super) async fn plan_closely(&mut self, approved: &[String], irreversible: Irreversible) -> Plan {
        let first = self.plan(approved, Irreversible::List);
        let clients = self.observations.ask(&first).await;
        let images = self.inspect_images(plan::images(&first)).await;
        let differs = irreversible != Irreversible::List && first.approval.is_some();
        if clients || images || differs { self.plan(approved, irreversible) } else { first }
    }

    /// Looks at images. Whether there were any.
    async fn inspect_images(&mut self, wanted: BTreeSet<ImageRef>) -> bool {
        let any = !wanted.is_empty();
        for image in wanted {
            let look = {
                let image = image.clone();
                tokio::task::spawn_blocking(move || image::look(&image))
            };
            let look = look.await.unwrap_or_else(|_| ImageLook::Refused { why: "looking at it failed".to_owned() });
            self.images.insert(image, look);
        }
        any
    }

    /// Resolves what a crash left: open intents by looking at the backends, half-made objects by removing them.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn recover(&mut self, reporter: &dyn Reporter) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let intents = store.intents()?;
        let mut batch = Batch::default();
        let mut finished = Vec::new();
        let mut looks: HashMap<&Name, Seen<'_>> = HashMap::new();
        for intent in &intents {
            let step = &intent.step;
            let Some(Observation::Seen { observed, .. }) = self.observations.world.get(&step.backend) else {
                // It cannot be looked at. The intent stays open until it can, or until its backend is surely declared no more.
                if !self.specs().backends.contains_key(&step.backend) && self.reading().is_whole() {
                    batch.close.push(intent.id);
                }
                continue;
            };
            // A pool that is not the one it was is not locked, and what it lacks says nothing of the step.
            if self.observations.backends.get(&step.backend).is_none_or(|open| open.lock.is_none()) {
                continue;
            }
            // Written down ahead, it may not even have begun: nothing is taken for done that a look does not show.
            let seen = looks.entry(&step.backend).or_insert_with(|| Seen::new(observed));
            let Some(done) = seen.shows(step) else { continue };
            let result = if done {
                Ok(Outcome::Changed)
            } else {
                Err(DriverError {
                    kind: ErrorKind::Transient,
                    effect: Effect::No,
                    message: "interrupted, and a look shows that it did not happen".to_owned(),
                })
            };
            let what = if done { "was done" } else { "was not done" };
            reporter.event(Event::Note(format!(
                "an earlier run did not learn the end of {} {} ({}): the backend shows that it {what}",
                step.identity.kind.as_lower(),
                step.identity.name,
                step.action
            )));
            if done {
                finished.push(step.clone());
            }
            batch.close.push(intent.id);
            batch.journal.push(journal_entry(step, "", self.now, &result, Duration::ZERO));
        }
        if !batch.close.is_empty() {
            commit(&store, batch).await?;
        }
        self.spread_suspensions().await;
        // What was destroyed is not Lost, although the ledger on the pool does not say so yet: the run ended before the step's outcome
        // was written down, or between that and the ledger.
        let recovered = finished.iter().filter(|step| matches!(step.action, Action::Destroy));
        let mut destroyed: HashSet<Uid> = recovered.map(|step| step.identity.uid).collect();
        let owner = self.setup.reading.specs.stack.owner.clone();
        for view in self.observations.world.values_mut() {
            if let Observation::Seen { observed, .. } = view
                && let Some(LedgerView::Good(ledger) | LedgerView::Older(ledger, _)) = observed.ledgers.get_mut(&owner)
            {
                if !ledger.destroying.is_empty() {
                    destroyed.extend(journaled_destructions(&store, ledger.destroying.len())?);
                }
                ledger.leaving.extend(destroyed.iter().filter(|uid| ledger.complete.contains_key(uid)));
            }
        }
        let usable = self.with_inputs(&[], Irreversible::Hold, plan::usable);
        for name in usable.keys() {
            self.sweep(name, reporter).await;
        }
        self.settle(usable);
        // What was done and not entered (protection lifted, an approved item) is entered now.
        for step in finished {
            if let Some(ledger) = self.ledgers.get_mut(&step.backend) {
                ledger::note(ledger, &step, None, self.now);
            }
        }
        Ok(())
    }

    /// Tells of steps whether the look at the beginning shows what they were to bring about.
    pub(super) fn shown(&self) -> impl Fn(&Step) -> bool {
        let mut seen: HashMap<&Name, Seen<'_>> = HashMap::new();
        for (name, view) in &self.observations.world {
            if let Observation::Seen { observed, .. } = view {
                seen.insert(name, Seen::new(observed));
            }
        }
        move |step| seen.get(&step.backend).is_some_and(|seen| seen.shows(step) == Some(true))
    }

    /// Removes our half-made objects. Under the writer lock they are nobody's work in progress.
    async fn sweep(&mut self, name: &Name, reporter: &dyn Reporter) {
        let owner = self.specs().stack.owner.clone();
        let Some(backend) = self.observations.backends.get(name).filter(|backend| backend.lock.is_some()) else {
            return;
        };
        let Some(Observation::Seen { observed, .. }) = self.observations.world.get_mut(name) else { return };
        let half_made =
            |o: &Object| o.place == Place::Temporary && o.identity.as_ref().is_some_and(|id| id.owner == owner);
        let mut left = Vec::new();
        for object in observed.objects.iter().filter(|object| half_made(object)) {
            let Some(identity) = object.identity.clone() else { continue };
            let step = Step {
                backend: name.clone(),
                identity,
                native: object.native.clone(),
                action: Action::Sweep,
                expect: Expect { place: Some(Place::Temporary), ..Expect::default() },
                risk: Risk::None,
                reason: Reason::LeftOver,
                changes: Vec::new(),
                bytes: Size(0),
                after: Vec::new(),
            };
            let limit = backend.limit() * 10;
            let context = StepContext::at(self.now);
            match tokio::time::timeout(limit, backend.driver.execute(&step, &context)).await {
                Ok(Ok(_)) => {
                    reporter
                        .event(Event::Note(format!("removed {} on {name}, which was left half made", object.native)));
                }
                Ok(Err(error)) => left.push((step, error)),
                Err(_) => left.push((step, DriverError::timed_out(backend.spec.timeout))),
            }
        }
        for (step, error) in &left {
            let native = &step.native;
            reporter
                .event(Event::Note(format!("{native} on {name} was left half made and cannot be removed: {error}")));
        }
        observed
            .objects
            .retain(|object| !half_made(object) || left.iter().any(|(step, _)| step.native == object.native));
        self.unswept.append(&mut left);
    }

    /// Takes the ledgers over from the look, and settles them. Nothing is written yet.
    fn settle(&mut self, usable: BTreeMap<Name, Option<Ledger>>) {
        self.usable = usable.keys().cloned().collect();
        for (name, ledger) in usable {
            let Some(Observation::Seen { observed, .. }) = self.observations.world.get(&name) else { continue };
            let Some(mut ledger) = ledger.or_else(|| {
                let pool = observed.pool.clone()?;
                Some(ledger::first(pool, &self.setup.reading.specs.stack.owner, &self.setup.reading.specs))
            }) else {
                continue;
            };
            let ahead = ledger.removals.iter().map(|removal| removal.at).max();
            if let Some(at) = ahead.filter(|at| ledger::is_of_the_future(*at, self.now)) {
                let at = rfc3339(at);
                tracing::warn!(
                    backend = %name,
                    "its ledger has removals of {at}: a clock was ahead when they were noted, or this one is behind. They count \
                     against the limits of the Stack for 24 h from now"
                );
            }
            ledger::settle(&mut ledger, observed, &self.setup.reading, self.now);
            self.ledgers.insert(name, ledger);
        }
    }

    /// Makes sure that a backend can be written to: its pool founded, its lock held, its ledger begun.
    async fn ready(&mut self, name: &Name) -> Result<(), DriverError> {
        let owner = self.setup.reading.specs.stack.owner.clone();
        let Some(backend) = self.observations.backends.get_mut(name) else {
            return Err(DriverError::before(ErrorKind::Unreachable, "it is not open"));
        };
        if backend.lock.is_none() {
            let pool = backend.init_pool().await?;
            backend.lock(&owner).await?;
            // Between the look and the lock another may have begun here.
            let again = backend.observe(&crate::model::Scope::All).await?;
            if again.ledgers.contains_key(&owner) {
                let message = "another process has just begun to use the pool for this owner";
                return Err(DriverError::before(ErrorKind::OtherWriter, message));
            }
            self.ledgers.insert(name.clone(), ledger::first(pool, &owner, &self.setup.reading.specs));
        }
        Ok(())
    }

    /// Makes a backend ready to be written to, whatever the planner thinks of it: a person decided.
    pub(super) async fn found_and_lock(&mut self, name: &Name) -> Result<crate::model::PoolId, DriverError> {
        let owner = self.setup.reading.specs.stack.owner.clone();
        let Some(backend) = self.observations.backends.get_mut(name) else {
            return Err(DriverError::before(ErrorKind::Unreachable, "it is not open"));
        };
        let pool = backend.init_pool().await?;
        if backend.lock.is_none() {
            backend.lock(&owner).await?;
        }
        Ok(pool)
    }

    /// Writes a ledger now.
    pub(super) async fn write_now(&mut self, name: &Name) -> Result<(), DriverError> {
        let (Some(backend), Some(ledger)) = (self.observations.backends.get(name), self.ledgers.get_mut(name)) else {
            return Ok(());
        };
        backend.write_ledger_again(ledger).await
    }

    /// Writes a ledger if it is not what the pool has.
    async fn write_ledger(&mut self, name: &Name) -> Result<(), DriverError> {
        let on_pool = match self.observations.world.get(name) {
            Some(Observation::Seen { observed, .. }) => observed.ledgers.get(&self.setup.reading.specs.stack.owner),
            _ => None,
        };
        if matches!(on_pool, Some(crate::model::LedgerView::Good(there)) if Some(there) == self.ledgers.get(name)) {
            return Ok(());
        }
        self.write_now(name).await
    }

    /// Takes over into the ledgers what a whole plan says beyond its steps: what waits because it is too much at once, and which
    /// approved items nothing is planned for any more. (What a person does by hand says nothing about the rest.)
    pub(super) fn take_note(&mut self, plan: &Plan) {
        let planned = plan.steps.iter().map(|step| (step.identity.uid, step.action.verb()));
        let held = plan.held.iter().filter_map(|held| Some((held.uid?, held.action)));
        let all: Vec<(Uid, Verb)> = planned.chain(held).collect();
        let pending: BTreeSet<String> = all.iter().map(|(uid, verb)| format!("{uid} {verb}")).collect();
        let removed = plan.held.iter().filter(|held| matches!(held.action, Verb::Remove | Verb::Destroy));
        let leaving: BTreeSet<Uid> = removed.filter_map(|held| held.uid).collect();
        let busy: HashSet<Uid> = all.iter().map(|(uid, _)| *uid).collect();
        for ledger in self.ledgers.values_mut() {
            ledger::drop_stale(ledger, &pending, &self.setup.reading);
            ledger::read(ledger, &self.setup.reading, plan);
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
        // What is as declared with nothing to do is settled as it is, whoever made it so.
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
                    self.settled.insert(id.uid);
                } else if object.tags.retained && is_known_as(&id.name) {
                    self.settled.insert(id.uid);
                }
            }
        }
    }

    /// Makes these steps: readies their backends, announces what leaves, executes, and enters what was done. Steps on a backend that
    /// cannot be readied fail.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn make(
        &mut self,
        plan: &Plan,
        options: &Options,
        reporter: Arc<dyn Reporter>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let mut unready: BTreeMap<Name, DriverError> = BTreeMap::new();
        let concerned: BTreeSet<&Name> = plan.steps.iter().map(|step| &step.backend).collect();
        for name in concerned {
            if let Err(error) = self.ready(name).await {
                unready.insert(name.clone(), error);
            }
        }
        let names: Vec<Name> = self.ledgers.keys().cloned().collect();
        let mut used_up = Vec::new();
        for name in names {
            if let Some(ledger) = self.ledgers.get_mut(&name) {
                let here = plan.steps.iter().filter(|step| step.backend == name);
                ledger::announce(ledger, here, &plan.used);
                // One that has just begun was not there to take note of anything.
                if ledger.serial == 0 {
                    ledger::read(ledger, &self.setup.reading, plan);
                }
                let here = plan.steps.iter().enumerate().filter(|(_, step)| step.backend == name);
                used_up.extend(ledger::use_up(ledger, here));
            }
            // A pool with nothing of ours, and nothing to be made there, is not written to.
            let idle = self.ledgers.get(&name).is_some_and(|ledger| ledger.complete.is_empty() && ledger.serial == 0)
                && !plan.steps.iter().any(|step| step.backend == name);
            if idle {
                continue;
            }
            if let Err(error) = self.write_ledger(&name).await {
                unready.insert(name, error);
            }
        }
        for (name, error) in &unready {
            reporter.event(Event::Note(format!("nothing is done on {name}: {error}")));
        }
        let backends: BTreeMap<Name, _> = self
            .observations
            .backends
            .iter()
            .map(|(name, backend)| (name.clone(), backend.clone()))
            .filter(|(name, _)| !unready.contains_key(name))
            .collect();
        let step_suspensions =
            if options.by_name { StepSuspensions::nothing() } else { self.step_suspensions(&plan.steps) };
        let mut run = Run {
            step_suspensions: &step_suspensions,
            store,
            clock: Arc::clone(&self.setup.clock),
            backends: &backends,
            ledgers: &mut self.ledgers,
            reporter,
            stop: options.stop.clone(),
            reading: &self.setup.reading,
            revision: self.setup.reading.revision.clone(),
            unready: &unready,
        };
        let not_done = run.make(&plan.steps, report).await?;
        let mut changed = BTreeSet::new();
        for (index, digest) in used_up.iter().filter(|(index, _)| not_done.contains(index)) {
            let step = &plan.steps[*index];
            if let Some(ledger) = self.ledgers.get_mut(&step.backend) {
                ledger::give_back(ledger, step, digest);
                changed.insert(step.backend.clone());
            }
        }
        for name in changed {
            if let Err(error) = self.write_now(&name).await {
                tracing::warn!(backend = %name, %error, "the ledger could not be written; the next run does it");
            }
        }
        Ok(())
    }

    /// Remembers what was seen, so that drift can be told and what is away can be named. Writes only what changed.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn remember(&mut self) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        // What was planned from is not needed any more: the store need not keep it beside what was written since.
        self.records = Arc::default();
        let known = store.records()?;
        let owner = &self.specs().stack.owner;
        let mut batch = Batch::default();
        for (name, ledger) in &self.ledgers {
            let Some(Observation::Seen { observed, .. }) = self.observations.world.get(name) else { continue };
            let spec = &self.specs().backends[name];
            if ledger.serial > 0 && self.observations.backends.get(name).is_some_and(Backend::has_ledger) {
                let record = BackendRecord {
                    place: spec.config.place(),
                    pool: ledger.pool.clone(),
                    owner: owner.clone(),
                    observed_at: self.now,
                    ledger: Some(ledger.clone()),
                };
                let same = known
                    .backends
                    .get(name)
                    .is_some_and(|old| BackendRecord { observed_at: self.now, ..old.clone() } == record);
                // The time alone is not worth a write a pass.
                let stale = known.backends.get(name).is_none_or(|old| old.observed_at + 60 < self.now);
                if !same || stale {
                    batch.backends.push((name.clone(), Some(record)));
                }
            }
            for object in observed.objects.iter().filter(|o| o.place != Place::Temporary && o.conflict.is_none()) {
                let Some(identity) = object.identity.as_ref().filter(|id| id.owner == *owner) else { continue };
                let object = Object { clients: Clients::Unknown, written: Written::Unknown, ..object.clone() };
                let mut known = known.objects.get(&identity.uid).cloned();
                if self.settled.contains(&identity.uid) {
                    // Written anew, from what is there, if it differs.
                    known = known.filter(|record| {
                        record.size == object.size
                            && record.tags == Tags { expires: None, ..object.tags.clone() }
                            && record.native == object.native
                            && record.identity == *identity
                    });
                }
                // Without a Stack, a record is what tells ours from what other manifests declare.
                if known.is_none()
                    && !self.specs().stack.declared
                    && !self.specs().declares(identity.kind, &identity.name)
                {
                    continue;
                }
                batch.objects.extend(seen(name, identity, &object, known.as_ref(), ledger, self.now));
            }
        }
        batch.suspensions = self.suspensions_to_remember(&known);
        // What is buried is remembered no more.
        for ledger in self.ledgers.values() {
            let buried = |uid: &&Uid| ledger.tombstones.contains_key(uid);
            batch.objects.extend(known.objects.keys().filter(buried).map(|uid| (*uid, None)));
        }
        drop(known);
        if batch == Batch::default() { Ok(()) } else { commit(store, batch).await }
    }
}

/// The objects whose destruction the journal reports as done. `announced`: how many destructions the ledger does not know the end of.
fn journaled_destructions(store: &Arc<dyn Store>, announced: usize) -> Result<Vec<Uid>, StoreError> {
    // Between two writes of the ledger other steps end too.
    let lines = store.journal(JOURNAL + 4 * announced)?;
    let destroys = Action::Destroy.to_string();
    // An approval is no step, though it names the one that it lets go.
    let is_done = |line: &JournalEntry| line.is_step() && line.detail == destroys && line.outcome == "changed";
    let done = lines.into_iter().filter(is_done);
    Ok(done.map(|line| line.uid).collect())
}

/// The record to be written for an object as it was seen before the steps of this pass, if it is not there already. What was
/// recorded after a step of this pass is newer than the look.
fn seen(
    backend: &Name,
    identity: &Identity,
    object: &Object,
    known: Option<&ObjectRecord>,
    ledger: &Ledger,
    now: u64,
) -> Option<(Uid, Option<ObjectRecord>)> {
    let uid = identity.uid;
    if ledger.tombstones.contains_key(&uid) {
        return None;
    }
    match known {
        Some(known) if known.seen_at >= now => None,
        Some(known) if known.seen.as_ref() == Some(object) && known.backend == *backend => None,
        Some(known) => {
            let record =
                ObjectRecord { seen: Some(object.clone()), seen_at: now, backend: backend.clone(), ..known.clone() };
            Some((uid, Some(record)))
        }
        None => {
            let record = ObjectRecord {
                identity: identity.clone(),
                backend: backend.clone(),
                native: object.native.clone(),
                size: object.size,
                tags: Tags { expires: None, ..object.tags.clone() },
                seen: Some(object.clone()),
                seen_at: now,
            };
            Some((uid, Some(record)))
        }
    }
}
