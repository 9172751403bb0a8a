//! A wrapper around every driver: it measures each call and feeds the circuit breakers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::backoff::Failing;
use super::breaker::{Breakers, FailedCall, OpenBreaker};
use super::metrics::Metrics;
use crate::driver::{Driver, PoolMetadata, StepContext, WriterLock};
use crate::engine::{Clock, Connect};
use crate::model::{
    Access, Address, BackendSpec, Capabilities, DriverError, ErrorKind, Ledger, LedgerCommit, LedgerView, Name,
    Observed, Outcome, Owner, PoolId, Scope, Step, Suspension, Uid,
};
use crate::text::rfc3339;

/// The circuit breakers and metrics of driver calls.
pub(super) struct Calls {
    breakers: Mutex<Breakers>,
    clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

impl Calls {
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { breakers: Mutex::default(), clock, metrics }
    }

    pub(super) fn breakers(&self) -> MutexGuard<'_, Breakers> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Converts an instant to the time of the wall clock.
    pub(super) fn wall(&self, at: Instant) -> u64 {
        self.clock.now().saturating_add(at.saturating_duration_since(Instant::now()).as_secs())
    }

    fn open(&self, backend: &Name) -> Option<DriverError> {
        let OpenBreaker { failing: Failing { failures, error, next }, fix } = self.breakers().open(backend)?.clone();
        let again = rfc3339(self.wall(next));
        // Backends with other numbers have a message of the same form, which is told once.
        let message = format!("{error} (circuit breaker open: failures: {failures}, next probe: {again})");
        // The cause is still the last failure, and so is what ends it.
        Some(DriverError { fix, ..DriverError::before(ErrorKind::BreakerOpen, message) })
    }

    /// `object`: whose step it was; `None` if the call was for the pool.
    fn record<T>(&self, backend: &Name, object: Option<Uid>, result: &Result<T, DriverError>) {
        let failed = |error: &DriverError, in_time: bool| {
            let call = object.map_or(FailedCall::Pool { in_time }, FailedCall::Object);
            self.breakers().failed(backend, call, error.into(), Instant::now())
        };
        let opened = match result {
            Ok(_) => {
                self.breakers().answered(backend);
                false
            }
            Err(error) => match error.kind {
                ErrorKind::Unreachable | ErrorKind::Transient => failed(error, true),
                ErrorKind::TimedOut => failed(error, false),
                ErrorKind::BreakerOpen => false,
                // An error that the backend answered with.
                ErrorKind::Busy
                | ErrorKind::Conflict
                | ErrorKind::NotFound
                | ErrorKind::Full
                | ErrorKind::Denied
                | ErrorKind::Unsupported
                | ErrorKind::OtherWriter
                | ErrorKind::Permanent => {
                    self.breakers().answered(backend);
                    false
                }
            },
        };
        if opened {
            tracing::warn!(%backend, "circuit breaker opened after failed calls");
        }
    }
}

/// Opens drivers whose calls are measured and guarded.
pub(super) struct WatchedConnect {
    pub(super) inner: Arc<dyn Connect>,
    pub(super) calls: Arc<Calls>,
}

impl Connect for WatchedConnect {
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        let name = &backend.meta.name;
        if let Some(open) = self.calls.open(name) {
            return Err(open);
        }
        let driver = self.inner.connect(backend)?;
        Ok(Arc::new(WatchedDriver {
            driver,
            backend: name.clone(),
            limit: backend.timeout.into(),
            calls: Arc::clone(&self.calls),
        }))
    }
}

struct WatchedDriver {
    driver: Arc<dyn Driver>,
    backend: Name,
    /// The time-out of calls.
    limit: Duration,
    calls: Arc<Calls>,
}

/// A call in progress. Dropped before [`MeasuredCall::end`], it was abandoned: after the time-out because the backend did not answer, before
/// it because the caller stopped.
struct MeasuredCall<'w> {
    watched: &'w WatchedDriver,
    what: &'static str,
    /// Whose step it is; `None` if it is for the pool.
    object: Option<Uid>,
    began: Instant,
    ended: bool,
}

impl MeasuredCall<'_> {
    fn end<T>(mut self, result: Result<T, DriverError>) -> Result<T, DriverError> {
        self.ended = true;
        self.watched.calls.record(&self.watched.backend, self.object, &result);
        let outcome = match &result {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.kind.to_string(),
        };
        self.measure(&outcome);
        result
    }

    fn measure(&self, outcome: &str) {
        let metrics = &self.watched.calls.metrics;
        metrics.driver_call(self.watched.backend.as_str(), self.what, outcome, self.began.elapsed());
    }
}

impl Drop for MeasuredCall<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.began.elapsed() < self.watched.limit {
            self.measure("Dropped");
        } else {
            self.watched.calls.record::<()>(
                &self.watched.backend,
                self.object,
                &Err(DriverError::unknown(ErrorKind::TimedOut, format!("no answer to {}", self.what))),
            );
            self.measure("TimedOut");
        }
    }
}

impl WatchedDriver {
    fn call(&self, what: &'static str) -> Result<MeasuredCall<'_>, DriverError> {
        match self.calls.open(&self.backend) {
            Some(open) => Err(open),
            None => Ok(MeasuredCall { watched: self, what, object: None, began: Instant::now(), ended: false }),
        }
    }
}

#[async_trait]
impl Driver for WatchedDriver {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }

    fn capabilities(&self) -> &Capabilities {
        self.driver.capabilities()
    }

    async fn observe(&self, scope: &Scope) -> Result<Observed, DriverError> {
        let call = self.call("observe")?;
        call.end(self.driver.observe(scope).await)
    }

    fn access(&self, object: &Address) -> Access {
        self.driver.access(object)
    }

    async fn execute(&self, step: &Step, context: &StepContext) -> Result<Outcome, DriverError> {
        let mut call = self.call(step.action.verb().as_str())?;
        call.object = Some(step.identity.uid);
        call.end(self.driver.execute(step, context).await)
    }
}

#[async_trait]
impl PoolMetadata for WatchedDriver {
    async fn init_pool(&self) -> Result<PoolId, DriverError> {
        let call = self.call("init")?;
        call.end(self.driver.metadata().init_pool().await)
    }

    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>, DriverError> {
        let call = self.call("lock")?;
        call.end(self.driver.metadata().lock(owner).await)
    }

    async fn announce(&self, owner: &Owner) {
        self.driver.metadata().announce(owner).await;
    }

    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>, DriverError> {
        let call = self.call("observe")?;
        call.end(self.driver.metadata().ledger(owner).await)
    }

    // Both are called even while the breaker is open: the last call of a pass, which records what the pass did.
    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<(), DriverError> {
        let call = MeasuredCall { watched: self, what: "ledger", object: None, began: Instant::now(), ended: false };
        call.end(self.driver.metadata().change_ledger(commit).await)
    }

    async fn write_ledger(&self, ledger: &Ledger) -> Result<(), DriverError> {
        let call = MeasuredCall { watched: self, what: "ledger", object: None, began: Instant::now(), ended: false };
        call.end(self.driver.metadata().write_ledger(ledger).await)
    }

    async fn remove_ledger(&self, owner: &Owner) -> Result<(), DriverError> {
        let call = self.call("ledger")?;
        call.end(self.driver.metadata().remove_ledger(owner).await)
    }

    // Suspensions are neither measured nor counted: their answers between failing steps must not reset the breaker.
    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>, DriverError> {
        self.driver.metadata().suspensions(owner).await
    }

    async fn write_suspension(&self, suspension: &Suspension) -> Result<(), DriverError> {
        self.driver.metadata().write_suspension(suspension).await
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::driver::sim::FaultRates;
    use crate::driver::sim::{Fault, SimDriver};
    use crate::engine::SystemClock;
    use crate::model::table::{Setting, Settings};
    use crate::model::{DriverFix, fixtures};

    /// The same simulated pool for every connection.
    pub(in crate::daemon) struct OnePool(pub(in crate::daemon) Arc<SimDriver>);

    impl Connect for OnePool {
        fn connect(&self, _backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
            Ok(self.0.clone())
        }
    }

    pub(in crate::daemon) fn backend() -> BackendSpec {
        let seed = Settings::default().with("seed", Some(Setting::Whole(0)));
        fixtures::backend("fast", crate::driver::settings::config("sim", seed))
    }

    /// A pool whose first calls fail with `faults`, behind the wrapper.
    fn watching(faults: &[Fault]) -> (Arc<SimDriver>, Arc<Calls>, WatchedConnect) {
        let sim = Arc::new(SimDriver::new(Arc::default(), FaultRates::NONE, 0));
        faults.iter().zip(0..).for_each(|(fault, call)| sim.fail_at(call, *fault));
        let calls = Arc::new(Calls::new(Arc::new(SystemClock), Arc::new(Metrics::new())));
        let watching = WatchedConnect { inner: Arc::new(OnePool(sim.clone())), calls: calls.clone() };
        (sim, calls, watching)
    }

    fn everything() -> Scope {
        Scope::All { owner: fixtures::owner() }
    }

    #[tokio::test(start_paused = true)]
    async fn five_failed_calls_in_a_row_open_the_circuit_breaker() {
        let (sim, calls, watching) = watching(&[Fault::Error; 100]);
        let driver = watching.connect(&backend()).unwrap();
        for _ in 0..20 {
            driver.observe(&everything()).await.unwrap_err();
        }
        let asked = sim.calls();
        assert!(asked < 10, "{asked} of 20 calls were made");
        let error = driver.metadata().lock(&"prod".parse().unwrap()).await.map(|_| ()).unwrap_err();
        assert_eq!((error.kind, sim.calls()), (ErrorKind::BreakerOpen, asked));
        let error = watching.connect(&backend()).map(|_| ()).unwrap_err();
        assert!(error.message.contains("next probe: "), "{}", error.message);
        // Neither another answer nor time closes it: only a probe does.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(driver.observe(&everything()).await.unwrap_err().kind, ErrorKind::BreakerOpen);
        assert!(calls.breakers().probed(&backend().meta.name, Ok(()), Instant::now()));
        assert_ne!(driver.observe(&everything()).await.unwrap_err().kind, ErrorKind::BreakerOpen);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_names_the_last_failure_and_its_fix() {
        let (_, calls, watching) = watching(&[]);
        let missing = DriverError::before(ErrorKind::TimedOut, "no directory").with_fix("`mkdir pool`");
        let opens = |error: &DriverError| calls.record::<()>(&backend().meta.name, None, &Err(error.clone()));
        opens(&missing);
        let error = watching.connect(&backend()).map(|_| ()).unwrap_err();
        assert!(error.message.starts_with("no directory (circuit breaker open: "), "{}", error.message);
        assert_eq!(error.fix, Some(DriverFix::Do("`mkdir pool`".to_owned())));
        let unmounted = DriverError::before(ErrorKind::Unreachable, "not mounted");
        assert!(!calls.breakers().probed(&backend().meta.name, Err((&unmounted).into()), Instant::now()));
        let error = watching.connect(&backend()).map(|_| ()).unwrap_err();
        assert_eq!((error.message.starts_with("not mounted ("), error.fix), (true, None), "the cause is another one");
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_call_opens_the_breaker_and_is_measured() {
        let (_, calls, watching) = watching(&[Fault::Hang]);
        let driver = watching.connect(&backend()).unwrap();
        let limit = Duration::from_secs(30);
        assert!(tokio::time::timeout(limit, driver.observe(&everything())).await.is_err());
        assert_eq!(driver.observe(&everything()).await.unwrap_err().kind, ErrorKind::BreakerOpen);
        let line = "kiln_driver_call_seconds_count{backend=\"fast\",call=\"observe\",outcome=\"TimedOut\"} 1";
        let text = calls.metrics.text();
        assert!(text.lines().any(|have| have == line), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_resets_the_failed_calls_before_it() {
        let faults = [Fault::Error; 4];
        let (sim, _, watching) = watching(&faults);
        let driver = watching.connect(&backend()).unwrap();
        for _ in 0..faults.len() {
            driver.observe(&everything()).await.unwrap_err();
        }
        driver.observe(&everything()).await.unwrap();
        let calls = sim.calls();
        faults.iter().zip(calls..).for_each(|(fault, call)| sim.fail_at(call, *fault));
        for _ in 0..faults.len() {
            assert_ne!(driver.observe(&everything()).await.unwrap_err().kind, ErrorKind::BreakerOpen);
        }
        driver.observe(&everything()).await.unwrap();
    }
}
