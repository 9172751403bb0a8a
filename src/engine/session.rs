//! The session of a pass: open backends, observations, writer locks, and the plan that follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::Span;

use tokio::task::JoinSet;

use crate::driver::image;
use crate::model::{
    Address, DriverError, ImageObservation, ImageRef, Images, IntentId, Ledger, Name, Object, OpenIntent, Place,
    PoolId, Reading, Records, Removal, Specs,
};
use crate::plan::{self, Inputs, Irreversible, Judged, Observation, Plan, RunningStep, Unobserved};
use crate::store::{Store, StoreError};

use super::backend_session::BackendSession;
use super::ledger::SharedLedger;
use super::lost::{LostObject, lost};
use super::observe::{Observations, observe_all};
use super::observe::{Phase, Wait};
use super::observe_one::AccessMode;
use super::setup::Setup;

/// What a pass or an operation has open and knows.
pub(super) struct Session<'s> {
    pub setup: &'s Setup,
    pub store: Option<Arc<dyn Store>>,
    pub records: Arc<Records>,
    pub observations: Observations,
    /// Which backends are usable: nothing is, before [`Session::judge`].
    pub judged: Arc<Judged>,
    pub now: u64,
    /// The images that were inspected.
    pub images: Images,
    /// This owner's ledgers on usable backends, as on the pools except for what was settled since. Filled by `settle`.
    pub ledgers: BTreeMap<Name, SharedLedger>,
    /// The backends that this pass may write to, including those that were never written to. Filled by `judge`.
    pub usable: BTreeSet<Name>,
    /// The jobs whose ends are entered in the ledgers of this session.
    pub entered: BTreeSet<IntentId>,
    /// What goes on without this session; `None` if it waits for everything.
    pub wait: Option<Wait>,
}

impl<'s> Session<'s> {
    /// Observes every declared backend.
    pub(super) async fn begin(setup: &'s Setup, records: Arc<Records>, mode: AccessMode, wait: Option<&Wait>) -> Self {
        let observations = observe_all(setup, &records, mode, wait).await;
        let now = setup.clock.now();
        Self {
            setup,
            store: setup.store.clone(),
            records,
            observations,
            judged: Arc::default(),
            now,
            images: Images::new(),
            ledgers: BTreeMap::new(),
            usable: BTreeSet::new(),
            entered: BTreeSet::new(),
            wait: wait.cloned(),
        }
    }

    /// Begins a session that only observes.
    pub(super) async fn begin_reading(setup: &'s Setup, records: Arc<Records>) -> Self {
        let mut session = Self::begin(setup, records, AccessMode::Read, None).await;
        session.ask_for_names(&setup.store.as_ref().and_then(|store| store.intents().ok()).unwrap_or_default()).await;
        session.judge();
        session
    }

    /// Asks the backends that prove absence by name for every name that matters: until each has answered, or one does not answer. For
    /// backends that answer for nothing, their ledgers answer.
    pub(super) async fn ask_for_names(&mut self, intents: &[OpenIntent]) {
        let mut silent = BTreeSet::new();
        loop {
            plan::answer_by_ledger(&self.setup.reading, &mut self.observations.world, &self.records, intents);
            let mut wanted = plan::names_to_ask(self.reading(), &self.observations.world, &self.records, intents);
            wanted.retain(|name, _| !silent.contains(name));
            if wanted.is_empty() {
                return;
            }
            let asked: BTreeSet<Name> = wanted.keys().cloned().collect();
            let answered = self.observations.ask_for(wanted).await;
            silent.extend(asked.difference(&answered).cloned());
        }
    }

    /// Begins a session that writes: takes the writer locks. `wait`: what goes on without it; `None` if it waits for every answer.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn begin_writing(setup: &'s Setup, wait: Option<&Wait>) -> Result<Self, StoreError> {
        let records = match &setup.store {
            Some(store) => store.records()?,
            None => return Err(StoreError::Io { path: String::new(), message: "it is not open".to_owned() }),
        };
        Ok(Self::begin(setup, records, AccessMode::Write, wait).await)
    }

    pub(super) fn reading(&self) -> &Reading {
        &self.setup.reading
    }

    pub(super) fn specs(&self) -> &Specs {
        &self.setup.reading.specs
    }

    /// Judges the backends, once for everything that follows from this observation.
    pub(super) fn judge(&mut self) {
        let (reading, world) = (&self.setup.reading, &self.observations.world);
        self.judged = Arc::new(Judged::of(reading, world, &self.records));
        let usable = self.judged.usable(reading, world, &self.records).into_keys();
        self.usable = usable.filter(|name| !self.observations.busy.contains(*name)).cloned().collect();
        plan::disown_copies(&self.judged, reading, &mut self.observations.world, &self.records);
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
        let running: Vec<RunningStep> = self.observations.running.values().cloned().collect();
        f(&Inputs {
            reading: self.reading(),
            world: &self.observations.world,
            records: &self.records,
            recent: &recent,
            suspended: &suspended,
            running: &running,
            approved,
            images: &self.images,
            irreversible,
            judged: Arc::clone(&self.judged),
        })
    }

    /// Returns what is lost, of any name.
    pub(super) fn lost(&self) -> Vec<LostObject> {
        lost(&self.observations.world, &self.ledgers, &self.records, &self.specs().stack.owner)
    }

    /// Returns where clients open this owner's live objects, by Backend name.
    pub(super) async fn paths(&self) -> BTreeMap<Name, BTreeMap<Address, PathBuf>> {
        let owner = &self.specs().stack.owner;
        let is_ours = |object: &&Object| {
            object.place == Place::Live && object.identity.as_ref().is_some_and(|id| id.owner == *owner)
        };
        let world = self.observations.world.iter();
        let addresses = world.map(|(name, observation)| {
            let ours = observation.objects().iter().filter(is_ours);
            (name, ours.map(Object::address).collect())
        });
        self.paths_of(addresses.collect()).await
    }

    /// Returns where clients open these objects. A driver may ask the file system, which may hang: a backend that does not answer in time
    /// has no paths.
    pub(super) async fn paths_of(
        &self,
        addresses: BTreeMap<&Name, Vec<Address>>,
    ) -> BTreeMap<Name, BTreeMap<Address, PathBuf>> {
        let mut tasks = JoinSet::new();
        for (name, addresses) in addresses.into_iter().filter(|(_, addresses)| !addresses.is_empty()) {
            let Some(backend) = self.observations.backends.get(name) else { continue };
            let (name, driver, limit) = (name.clone(), Arc::clone(&backend.driver), backend.limit());
            let asking = tokio::task::spawn_blocking(move || {
                let path = |at: Address| driver.access(&at).path().map(|path| (at, path.to_owned()));
                addresses.into_iter().filter_map(path).collect()
            });
            tasks.spawn(async move { Some((name, tokio::time::timeout(limit, asking).await.ok()?.ok()?)) });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }

    /// Removals of the last 24 hours: by the ledgers as settled, and by the store's copies where a backend cannot be seen.
    fn recent(&self) -> Vec<Removal> {
        let owner = &self.specs().stack.owner;
        let ledger = |name: &Name| {
            let stored = || self.records.backends.get(name)?.ledger.as_ref();
            self.ledgers.get(name).map(Deref::deref).or_else(stored).filter(|ledger| ledger.owner == *owner)
        };
        let removals = self.specs().backends.keys().filter_map(ledger).flat_map(|ledger| &ledger.removals);
        removals.filter(|removal| removal.at + Ledger::REMOVAL_WINDOW > self.now).cloned().collect()
    }

    /// The backends whose observation cannot be used, even if they answered: the pool is gone, or is another pool than before.
    pub(super) fn unobserved(&self) -> Vec<Unobserved> {
        self.with_inputs(&[], Irreversible::Hold, plan::unobserved)
    }

    /// Plans, observes more closely what the plan depends on (clients of objects, images), and plans again. Steps that wait for a person
    /// are observed too, so that every caller sees the same set waiting.
    pub(super) async fn plan_closely(&mut self, approved: &[String], irreversible: Irreversible) -> Plan {
        let first = self.plan(approved, Irreversible::List);
        let clients = self.observations.ask(&first).await;
        let images = self.inspect_images(plan::images(&first)).await;
        let differs = irreversible != Irreversible::List && first.awaiting.is_some();
        if clients || images || differs { self.plan(approved, irreversible) } else { first }
    }

    /// Inspects images. Returns whether there were any.
    async fn inspect_images(&mut self, wanted: BTreeSet<ImageRef>) -> bool {
        let any = !wanted.is_empty();
        for image in wanted {
            let look = {
                let image = image.clone();
                let span = Span::current();
                tokio::task::spawn_blocking(move || span.in_scope(|| image::look(&image)))
            };
            let look =
                look.await.unwrap_or_else(|_| ImageObservation::Refused { why: "inspecting it failed".to_owned() });
            self.images.insert(image, look);
        }
        any
    }

    /// Names this process on every pool whose writer lock it has.
    pub(super) async fn announce(&mut self) {
        let owner = self.specs().stack.owner.clone();
        let call = |backend: &BackendSession| {
            let (spec, session, backend, owner) =
                (backend.spec.clone(), Some(backend.clone()), backend.clone(), owner.clone());
            (spec, session, async move { backend.announce(&owner).await })
        };
        let is_seen = |backend: &&BackendSession| {
            self.observations.world.get(&backend.spec.meta.name).and_then(Observation::observed).is_some()
        };
        let calls = self.observations.backends.values().filter(is_seen).map(call).collect();
        self.observations.each(Some(Phase::Announce), calls, |_, _, ()| ()).await;
    }

    /// Initialises and locks a backend that a person accepted, even if the planner holds it.
    pub(super) async fn init_and_lock(&mut self, name: &Name) -> Result<PoolId, DriverError> {
        let owner = self.setup.reading.specs.stack.owner.clone();
        let Some(backend) = self.observations.backends.get_mut(name) else {
            return Err(DriverError::not_open());
        };
        let pool = backend.init_pool().await?;
        if backend.lock.is_none() {
            backend.lock(&owner).await?;
        }
        Ok(pool)
    }
}
