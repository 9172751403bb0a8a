//! Probes: one small call to each backend whose circuit breaker is open, to see whether it answers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::engine::Connect;
use crate::model::{BackendSpec, DriverError, ErrorKind, Scope};

/// How many calls may be unanswered at once. Bounded, because each may block a thread; more than one, because an answer may be lost.
const UNANSWERED: usize = 8;

/// The probes of one backend. Dropping it abandons the calls that are not answered.
pub(super) struct Probe {
    backend: BackendSpec,
    /// Calls without an answer so far, or with one after the time-out.
    calls: JoinSet<Result<(), DriverError>>,
}

impl Probe {
    pub(super) fn new(backend: BackendSpec) -> Self {
        Self { backend, calls: JoinSet::new() }
    }

    /// Whether it probes a backend with the same connection settings.
    pub(super) fn is_of(&self, backend: &BackendSpec) -> bool {
        self.backend.is_reached_like(backend)
    }

    /// Whether no further call may be made.
    pub(super) fn is_full(&self) -> bool {
        self.calls.len() >= UNANSWERED
    }

    /// Makes a call and waits up to the time-out. The success of an earlier call counts as well; its failure does not.
    ///
    /// # Errors
    /// The error of the driver, or a time-out.
    pub(super) async fn ask(&mut self, connect: &Arc<dyn Connect>) -> Result<(), DriverError> {
        while let Some(late) = self.calls.try_join_next() {
            if let Ok(Ok(())) = late {
                return Ok(());
            }
        }
        let mut asked = None;
        if !self.is_full() {
            let (connect, backend) = (Arc::clone(connect), self.backend.clone());
            let call = self.calls.spawn(async move {
                let driver = tokio::task::spawn_blocking(move || connect.connect(&backend)).await;
                let panicked = |_| DriverError::before(ErrorKind::Permanent, "the driver panicked (a bug)");
                driver.map_err(panicked)??.observe(&Scope::Objects(Vec::new())).await.map(|_| ())
            });
            asked = Some(call.id());
        }
        let limit = Duration::from_secs(self.backend.timeout.0);
        let answered = async {
            while let Some(answer) = self.calls.join_next_with_id().await {
                match answer {
                    Ok((_, Ok(()))) => return Ok(()),
                    Ok((call, Err(error))) if asked == Some(call) => return Err(error),
                    Err(died) if asked == Some(died.id()) => {
                        return Err(DriverError::before(ErrorKind::Permanent, died.to_string()));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            Err(DriverError::timed_out(self.backend.timeout))
        };
        let late = Err(DriverError::timed_out(self.backend.timeout));
        tokio::time::timeout(limit, answered).await.unwrap_or(late)
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::tests::{OnePool, backend};
    use super::*;
    use crate::driver::sim::FaultRates;
    use crate::driver::sim::{Fault, SimDriver};

    /// A pool whose first `hanging` calls are never answered.
    fn probing(hanging: u64) -> (Arc<SimDriver>, Arc<dyn Connect>, Probe) {
        let sim = Arc::new(SimDriver::new(Arc::default(), FaultRates::NONE, 0));
        (0..hanging).for_each(|call| sim.fail_at(call, Fault::Hang));
        (sim.clone(), Arc::new(OnePool(sim)), Probe::new(backend()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_does_not_prevent_further_probes() {
        let (_, connect, mut probe) = probing(3);
        for _ in 0..3 {
            assert_eq!(probe.ask(&connect).await.unwrap_err().kind, ErrorKind::TimedOut);
        }
        probe.ask(&connect).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_failure_of_an_earlier_probe_is_ignored() {
        let (_, connect, mut probe) = probing(0);
        probe.calls.spawn(async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Err(DriverError::before(ErrorKind::Unreachable, "the mount was dead"))
        });
        probe.calls.spawn(async { Err(DriverError::before(ErrorKind::Unreachable, "the mount was dead too")) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        probe.ask(&connect).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_unanswered_probes_is_bounded() {
        let (sim, connect, mut probe) = probing(1000);
        for _ in 0..50 {
            assert_eq!(probe.ask(&connect).await.unwrap_err().kind, ErrorKind::TimedOut);
        }
        assert_eq!(sim.calls(), UNANSWERED as u64);
    }
}
