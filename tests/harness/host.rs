//! A process on a host, with everything that it sees: pools, a store, a clock and a person.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiln::driver::Driver;
use kiln::engine::{
    Clock, Confirmation, Connect, Event, Options, Report, Reporter, Setup, forget_object, overview, reconcile_once,
};
use kiln::model::{Address, BackendSpec, DriverError, ErrorKind, Ledger, LedgerEntry, Owner, Reading, Uid};
use kiln::plan::{Overview, Plan};
use kiln::store::{MemoryStore, Store, StoreError};

use crate::rig::Turned;

use super::door::{Door, StoreDoor};
use super::gate::{Done, Gate};
use super::pool::{Opened, Outside, Pool, Thing};

/// The owner of all stories.
pub fn prod() -> Owner {
    "prod".parse().unwrap()
}

/// Longer than this, a pass hangs (O10).
pub const FOR_EVER: Duration = Duration::from_secs(3600);

/// A person who says yes or no and hears everything.
pub struct Listener {
    yes: bool,
    heard: Mutex<(Plan, Vec<Event>)>,
}

#[async_trait]
impl Reporter for Listener {
    fn planned(&self, plan: &Plan) {
        self.heard.lock().unwrap().0 = plan.clone();
    }
    fn event(&self, event: Event) {
        self.heard.lock().unwrap().1.push(event);
    }
    async fn confirm(&self, _: &Plan) -> Confirmation {
        if self.yes { Confirmation::Given } else { Confirmation::NotAsked }
    }
}

/// What a pass did, and what it said meanwhile.
pub struct Passed {
    pub report: Report,
    /// The plan that was run.
    pub run: Plan,
    pub heard: Vec<Event>,
}

/// How a pass is made.
#[derive(Debug, Clone)]
pub struct Manner {
    pub yes: bool,
    /// Approves what waits.
    pub approves: bool,
    pub unattended: bool,
    pub saved: Option<Arc<Plan>>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { yes: true, approves: false, unattended: false, saved: None }
    }
}

struct Doors {
    pools: Arc<BTreeMap<String, Box<dyn Pool>>>,
    gate: Arc<Gate>,
    alive: Arc<()>,
}

impl Connect for Doors {
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        let name = backend.meta.name.to_string();
        let away = || DriverError::before(ErrorKind::Unreachable, "no such pool");
        let opened: Opened = self.pools.get(&name).ok_or_else(away)?.open()?;
        Ok(Arc::new(Door { pool: name, opened, gate: Arc::clone(&self.gate), alive: Arc::clone(&self.alive) }))
    }
}

/// A process on a host.
pub struct Host {
    pub pools: Arc<BTreeMap<String, Box<dyn Pool>>>,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<Turned>,
    pub gate: Arc<Gate>,
    alive: Arc<()>,
    /// What earlier processes did.
    pub past: Vec<Done>,
}

impl Host {
    pub fn new(pools: BTreeMap<String, Box<dyn Pool>>) -> Self {
        Self {
            pools: Arc::new(pools),
            store: Arc::new(MemoryStore::new()),
            clock: Arc::new(Turned(AtomicU64::new(1_800_000_000))),
            gate: Arc::default(),
            alive: Arc::default(),
            past: Vec::new(),
        }
    }

    /// Another host with copies of everything.
    pub fn fork(&self, with_store: bool) -> Self {
        let pools = self.pools.iter().map(|(name, pool)| (name.clone(), pool.fork())).collect();
        Self {
            pools: Arc::new(pools),
            store: Arc::new(if with_store { self.store.reopen() } else { MemoryStore::new() }),
            clock: Arc::new(Turned(AtomicU64::new(self.clock.now()))),
            gate: Arc::default(),
            alive: Arc::default(),
            past: self.done(),
        }
    }

    /// A new process on this host, when the runtime has let go of all that the last one held.
    pub async fn restarted(&mut self, with_store: bool) {
        let mut yields = 0;
        while Arc::strong_count(&self.alive) > 1 {
            tokio::task::yield_now().await;
            yields += 1;
            assert!(yields < 100_000, "the process that died still holds a driver");
        }
        self.past = self.done();
        self.store = Arc::new(if with_store { self.store.reopen() } else { MemoryStore::new() });
        self.gate = Arc::default();
    }

    /// All steps that ever reached a backend.
    pub fn done(&self) -> Vec<Done> {
        self.past.iter().cloned().chain(self.gate.done()).collect()
    }

    pub fn things(&self) -> Vec<(String, Thing)> {
        let mut things = Vec::new();
        for (name, pool) in self.pools.iter() {
            things.extend(pool.things().into_iter().map(|thing| (name.clone(), thing)));
        }
        things
    }

    /// The ledgers of the owner, by pool.
    pub fn ledgers(&self) -> BTreeMap<String, Ledger> {
        self.pools.iter().filter_map(|(name, pool)| Some((name.clone(), pool.ledger(&prod())?))).collect()
    }

    /// Somebody changes the pool of this name.
    pub fn outside(&self, pool: &str, event: &Outside) {
        assert!(self.pools[pool].outside(event), "{event:?} cannot happen to {pool}");
    }

    pub fn setup(&self, reading: &Reading) -> Setup {
        let (pools, gate, alive) = (Arc::clone(&self.pools), Arc::clone(&self.gate), Arc::clone(&self.alive));
        let store: Arc<dyn Store> = Arc::new(StoreDoor { store: Arc::clone(&self.store), gate: Arc::clone(&gate) });
        let clock: Arc<dyn Clock> = self.clock.clone();
        let connect = Arc::new(Doors { pools, gate, alive });
        Setup { reading: Arc::new(reading.clone()), store: Some(store), connect, clock, jobs: Arc::default() }
    }

    pub async fn overview(&self, reading: &Reading) -> Overview {
        overview(&self.setup(reading), &[]).await
    }

    /// One pass.
    pub async fn pass(&self, reading: &Reading, manner: &Manner) -> Result<Passed, StoreError> {
        self.clock.0.fetch_add(1, Ordering::SeqCst);
        let mut approve = Vec::new();
        if manner.approves {
            approve.extend(self.overview(reading).await.plan.awaiting.map(|set| set.digest));
        }
        let options =
            Options { approve, unattended: manner.unattended, saved: manner.saved.clone(), ..Options::default() };
        let heard = Mutex::new((Plan::of(prod(), String::new(), Vec::new()), Vec::new()));
        let person = Arc::new(Listener { yes: manner.yes, heard });
        let setup = self.setup(reading);
        let pass = reconcile_once(&setup, &options, person.clone());
        let ended = tokio::time::timeout(FOR_EVER, pass).await;
        let report = ended.expect("O10: a pass that did not end within an hour")?;
        assert_eq!(report.breaches, Vec::<String>::new(), "the lint found a breach");
        let (run, heard) = std::mem::replace(
            &mut *person.heard.lock().unwrap(),
            (Plan::of(prod(), String::new(), Vec::new()), Vec::new()),
        );
        Ok(Passed { report, run, heard })
    }

    /// Passes until nothing is left to do. Returns the last plan. `Err`: it did not end (O6).
    pub async fn settle(&self, reading: &Reading, manner: &Manner, most: usize) -> Result<Plan, String> {
        let (mut last, mut held) = (None, None);
        for _ in 0..most {
            let passed = self.pass(reading, manner).await.map_err(|error| error.to_string())?;
            super::reports::o13_reports_are_true(&passed, &self.things(), &self.ledgers())?;
            let plan = passed.report.plan.unwrap();
            if !passed.report.refused.is_empty() {
                return Err(format!("refused: {:?}", passed.report.refused));
            }
            let holds = super::oracles::holds(&plan);
            if plan.steps.is_empty() && passed.report.failed.is_empty() {
                // What is held may be so only because of what this pass recovered.
                if holds.is_empty() || held.as_ref() == Some(&holds) {
                    return Ok(plan);
                }
                held = Some(holds);
            }
            last = Some((plan, passed.report.failed));
        }
        Err(format!("O6: not settled after {most} passes: {last:#?}"))
    }

    /// As a person who looks at a backend where the ledger proves absence: removes what exists of each object of which that is not known,
    /// and forgets it.
    pub async fn forget_what_may_exist(&self, reading: &Reading) -> Result<(), String> {
        let setup = self.setup(reading);
        for (name, pool) in self.pools.iter() {
            let seen: Vec<Address> = match self.overview(reading).await.world.get(name.as_str()) {
                Some(view) => view.objects().iter().map(kiln::model::Object::address).collect(),
                None => continue,
            };
            let ledgers = pool.ledger(&prod()).into_iter();
            let entries = ledgers.flat_map(|ledger| {
                let mut all: Vec<(Uid, LedgerEntry)> = Vec::new();
                let complete = ledger.complete.iter().filter(|(uid, _)| !ledger.lets_go(**uid));
                all.extend(complete.map(|(uid, entry)| (*uid, entry.clone())));
                let creating = ledger.creating.iter().filter(|(uid, _)| !ledger.complete.contains_key(uid));
                all.extend(creating.map(|(uid, entry)| (*uid, entry.clone())));
                all
            });
            for (uid, entry) in entries.filter(|(_, entry)| !seen.contains(&entry.address())) {
                let is_it = |thing: &Thing| thing.at() == entry.address() || thing.object.uid() == Some(uid);
                for thing in pool.things().iter().filter(|thing| is_it(thing)) {
                    pool.outside(&Outside::DeleteAt(thing.at()));
                }
                let forgotten = forget_object(&setup, entry.kind, &entry.name, None).await;
                forgotten.map_err(|error| format!("{}: {error}", entry.native))?;
            }
        }
        Ok(())
    }
}
