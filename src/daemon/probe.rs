//! One small call to a backend that rests: whether it is back.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::engine::Connect;
use crate::model::{BackendSpec, DriverError, ErrorKind, Scope};

/// Calls that may be unanswered at once. A bound, because each may keep a thread; more than one, because an answer may have been lost
/// for good.
const UNANSWERED: usize = 8;

/// A backend that is asked. Dropped, nobody waits for its answers any more.
pub(super) struct Probe {
    backend: BackendSpec,
    /// Unanswered, or answered after their time.
    calls: JoinSet<Result<(), DriverError>>,
}

impl Probe {
    pub(super) fn new(backend: BackendSpec) -> Self {
        Self { backend, calls: JoinSet::new() }
    }

    /// Whether what it asks is what `backend` says.
    pub(super) fn is_of(&self, backend: &BackendSpec) -> bool {
        self.backend.is_reached_like(backend)
    }

    /// Asks, and waits as long as a call may take. An answer to an earlier call is as good.
    ///
    /// # Errors
    /// Those of the driver, or that it did not answer.
    pub(super) async fn ask(&mut self, connect: &Arc<dyn Connect>) -> Result<(), DriverError> {
        if self.calls.len() < UNANSWERED {
            let (connect, backend) = (Arc::clone(connect), self.backend.clone());
            self.calls.spawn(async move {
                let driver = tokio::task::spawn_blocking(move || connect.connect(&backend)).await;
                let panicked = |_| DriverError::before(ErrorKind::Permanent, "its driver failed in a panic");
                driver.map_err(panicked)??.observe(&Scope::Objects(Vec::new())).await.map(|_| ())
            });
        }
        let limit = Duration::from_secs(self.backend.timeout.0);
        match tokio::time::timeout(limit, self.calls.join_next()).await {
            Ok(Some(Ok(answer))) => answer,
            Ok(Some(Err(died))) => Err(DriverError::before(ErrorKind::Permanent, died.to_string())),
            Ok(None) | Err(_) => Err(DriverError::timed_out(self.backend.timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::tests::{Pool, backend};
    use super::*;
    use crate::driver::sim::{Fault, SimDriver};
    use crate::model::FaultRates;

    /// A pool whose first calls are never answered.
    fn probing(hanging: u64) -> (Arc<SimDriver>, Arc<dyn Connect>, Probe) {
        let sim = Arc::new(SimDriver::new(Arc::default(), FaultRates::NONE, 0));
        (0..hanging).for_each(|call| sim.fail_at(call, Fault::Hang));
        (sim.clone(), Arc::new(Pool(sim)), Probe::new(backend()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_lost_is_not_waited_for_alone() {
        let (_, connect, mut probe) = probing(3);
        for _ in 0..3 {
            assert_eq!(probe.ask(&connect).await.unwrap_err().kind, ErrorKind::TimedOut);
        }
        probe.ask(&connect).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_hang_do_not_grow_in_number() {
        let (sim, connect, mut probe) = probing(1000);
        for _ in 0..50 {
            assert_eq!(probe.ask(&connect).await.unwrap_err().kind, ErrorKind::TimedOut);
        }
        assert_eq!(sim.calls(), UNANSWERED as u64);
    }
}
