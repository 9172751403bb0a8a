//! A driver of the simulator to whose calls something happens.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiln::driver::sim::FaultRates;
use kiln::driver::sim::{Fault, SimDriver};
use kiln::driver::{Driver, PoolMetadata, StepContext, WriterLock};
use kiln::engine::{Connect, Setup};
use kiln::model::{
    Access, Action, Address, BackendSpec, Capabilities, DriverError, ErrorKind, Ledger, LedgerCommit, LedgerView,
    Listed, Observed, Outcome, Owner, PoolId, Reading, Scope, Step, Suspension, VolumeSettings,
};

use super::Rig;

/// What another process does.
pub type Meanwhile = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Steps with such an action are answered so.
#[derive(Clone, Copy)]
pub struct Lie(pub fn(&Action) -> bool, pub Outcome);

/// What happens to the calls of a driver.
#[derive(Default)]
pub struct Spy {
    pub locks: AtomicUsize,
    pub executed: AtomicBool,
    /// The calls that make a step.
    pub steps: AtomicUsize,
    /// The calls that write to the pool.
    pub writes: AtomicUsize,
    /// The entries of ledgers that were changed.
    pub changed: Mutex<Vec<String>>,
    /// Done by another just before a lock is taken.
    pub before_lock: Mutex<Option<Meanwhile>>,
    /// Done by another just before the first step is made.
    pub before_step: Mutex<Option<Meanwhile>>,
    /// After the first step, nothing can be observed.
    pub blind: bool,
    /// Each observation says that its lists are complete, and that every object which it does not show was asked for.
    pub claims: bool,
    /// What becomes of each answer about names.
    pub answer: Option<fn(&mut Observed)>,
    /// After the first step, no ledger can be written; `Some(true)`: it is written, and that is not reported.
    pub mute: Option<bool>,
    /// Nothing can be destroyed.
    pub keeps: bool,
    /// Settings are reported as made, and are not.
    pub ignores_settings: bool,
    /// Steps that are answered, and not made.
    pub lies: Option<Lie>,
    /// Steps with such an action are made, and the reply is lost.
    pub loses: Option<fn(&Action) -> bool>,
}

impl Spy {
    /// Writes a ledger, unless none can be written any more.
    async fn muted(&self, write: impl Future<Output = Result<(), DriverError>>) -> Result<(), DriverError> {
        match self.mute.filter(|_| self.executed.load(Ordering::SeqCst)) {
            None => write.await,
            Some(written) => {
                if written {
                    write.await?;
                }
                Err(DriverError::unknown(ErrorKind::Transient, "the ledger cannot be written"))
            }
        }
    }
}

struct Spied {
    sim: SimDriver,
    spy: Arc<Spy>,
}

async fn meanwhile(what: &Mutex<Option<Meanwhile>>) {
    let what = what.lock().unwrap().take();
    if let Some(what) = what {
        what().await;
    }
}

fn failed(message: &str) -> DriverError {
    DriverError::before(ErrorKind::Permanent, message)
}

#[async_trait]
impl Driver for Spied {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }
    fn capabilities(&self) -> &Capabilities {
        self.sim.capabilities()
    }
    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        if self.spy.blind && self.spy.executed.load(Ordering::SeqCst) {
            return Err(failed("the pool cannot be observed"));
        }
        let mut seen = self.sim.observe(scope).await?;
        if self.spy.claims {
            seen.listed = Listed::COMPLETE;
            let world = self.sim.world();
            seen.queried.extend(world.lock().unwrap().live_objects().map(|(native, _)| Address::flat(native)));
        }
        if let (Scope::Objects(_), Some(answer)) = (scope, self.spy.answer) {
            answer(&mut seen);
        }
        Ok(seen)
    }
    fn access(&self, object: &Address) -> Access {
        self.sim.access(object)
    }
    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        self.spy.writes.fetch_add(1, Ordering::SeqCst);
        self.spy.steps.fetch_add(1, Ordering::SeqCst);
        if self.spy.loses.is_some_and(|is_of| is_of(&step.action)) {
            self.sim.fail_at(self.sim.calls(), Fault::LostReply);
        }
        if self.spy.keeps && step.action == Action::Destroy {
            return Err(failed("it cannot be destroyed"));
        }
        meanwhile(&self.spy.before_step).await;
        if let Some(Lie(_, outcome)) = self.spy.lies.filter(|Lie(is_of, _)| is_of(&step.action)) {
            return Ok(outcome);
        }
        let mut step = step.clone();
        match &mut step.action {
            Action::Configure { .. } if self.spy.ignores_settings => return Ok(Outcome::Changed),
            Action::Create { settings, .. } if self.spy.ignores_settings => *settings = VolumeSettings::default(),
            _ => {}
        }
        let done = self.sim.execute(&step, context).await;
        self.spy.executed.store(true, Ordering::SeqCst);
        done
    }
}

#[async_trait]
impl PoolMetadata for Spied {
    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        self.spy.writes.fetch_add(1, Ordering::SeqCst);
        self.sim.init_pool().await
    }
    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        meanwhile(&self.spy.before_lock).await;
        self.spy.locks.fetch_add(1, Ordering::SeqCst);
        self.sim.lock(owner).await
    }
    async fn announce(&self, owner: &Owner) {
        self.sim.announce(owner).await;
    }

    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        self.sim.ledger(owner).await
    }
    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError> {
        self.spy.writes.fetch_add(1, Ordering::SeqCst);
        self.spy.changed.lock().unwrap().extend(commit.changes.iter().map(|change| change.key.clone()));
        self.spy.muted(self.sim.change_ledger(commit)).await
    }
    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        self.spy.writes.fetch_add(1, Ordering::SeqCst);
        self.spy.muted(self.sim.write_ledger(ledger)).await
    }
    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        self.spy.writes.fetch_add(1, Ordering::SeqCst);
        self.sim.remove_ledger(owner).await
    }
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        self.sim.suspensions(owner).await
    }
    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        self.spy.writes.fetch_add(1, Ordering::SeqCst);
        self.sim.write_suspension(suspension).await
    }
}

struct One(Arc<Spied>);

impl Connect for One {
    fn connect(&self, _: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.0.clone())
    }
}

/// The setup of a rig whose driver is spied on.
pub fn spied(rig: &Rig, specs: &Reading, spy: Spy) -> (Setup, Arc<Spy>) {
    let spy = Arc::new(spy);
    let sim = SimDriver::new(Arc::clone(&rig.world), FaultRates::NONE, 0).with_capabilities(rig.capabilities.clone());
    let driver = Arc::new(Spied { sim, spy: Arc::clone(&spy) });
    (Setup { connect: Arc::new(One(driver)), ..rig.setup(specs) }, spy)
}
