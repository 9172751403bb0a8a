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

    /// Whether all that may be asked is asked, and nothing answered.
    pub(super) fn is_full(&self) -> bool {
        self.calls.len() >= UNANSWERED
    }

    /// Asks, and waits as long as a call may take. That an earlier call is answered is as good; that one failed says nothing of now.
    ///
    /// # Errors
    /// Those of the driver, or that it did not answer.
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
                let panicked = |_| DriverError::before(ErrorKind::Permanent, "its driver failed in a panic");
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
    use super::super::calls::tests::{Pool, backend};
    use super::*;
    use crate::driver::sim::FaultRates;
    use crate::driver::sim::{Fault, SimDriver};

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
    async fn that_an_earlier_call_failed_says_nothing_of_now() {
        let (_, connect, mut probe) = probing(0);
        probe.calls.spawn(async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Err(DriverError::before(ErrorKind::Unreachable, "the mount was dead"))
        });
        probe.calls.spawn(async { Err(DriverError::before(ErrorKind::Unreachable, "so it was")) });
        tokio::time::sleep(Duration::from_secs(1)).await;
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
