//! Circuit breakers: after failed calls in a row Kiln stops calling a backend, until a probe succeeds. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Backoff, Failing};
use crate::model::{DriverError, DriverFix, Name, Uid};

/// Pauses between probes. A probe is one small call, so it may come more often than retries of steps.
const BACKEND: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };
/// Failed calls in a row to a pool that open a breaker. One time-out opens it too, because each further call would cost the full time-out.
const FAILED_CALLS: u32 = 5;

/// The circuit breakers of all backends that have failed.
#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<Name, Breaker>);

#[derive(Debug, Default)]
struct Breaker {
    /// Failed calls to the pool in a row, since one succeeded or the breaker last opened.
    failed_calls: u32,
    /// The object whose step failed last, since a call succeeded or the breaker last opened.
    failed_object: Option<Uid>,
    /// How often the breaker has opened or a probe has failed, since the backend was last observed.
    failures: u32,
    /// Set while it is open.
    open: Option<OpenBreaker>,
}

/// The state of an open breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenBreaker {
    /// Its failures, with the last error.
    pub(super) failing: Failing,
    /// What to run or write so that the backend answers, if the driver knows.
    pub(super) fix: Option<DriverFix>,
}

/// What a call was for that failed because of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailedCall {
    /// The pool: an observation, a lock, a ledger. `in_time`: there was an answer.
    Pool { in_time: bool },
    /// A step of an object. A call that hangs for one object says nothing about the others: two in a row do.
    Object(Uid),
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallFailure<'a> {
    /// The error, in one sentence.
    pub(super) error: &'a str,
    /// What to run or write so that the call succeeds, if the driver knows.
    pub(super) fix: Option<&'a DriverFix>,
}

impl<'a> From<&'a DriverError> for CallFailure<'a> {
    fn from(error: &'a DriverError) -> Self {
        Self { error: &error.message, fix: error.fix.as_ref() }
    }
}

impl Breaker {
    fn reopen(&mut self, backend: &Name, CallFailure { error, fix }: CallFailure<'_>, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let next = now + BACKEND.pause(self.failures, backend.as_str());
        let failing = Failing { failures: self.failures, error: error.to_owned(), next };
        self.open = Some(OpenBreaker { failing, fix: fix.cloned() });
    }
}

impl Breakers {
    /// Records an answered call.
    pub(super) fn answered(&mut self, backend: &Name) {
        // Only a probe closes an open breaker.
        if let Some(breaker) = self.0.get_mut(backend).filter(|breaker| breaker.open.is_none()) {
            (breaker.failed_calls, breaker.failed_object) = (0, None);
        }
    }

    /// Records a call that failed because of the backend. Returns whether that opened its breaker.
    pub(super) fn failed(&mut self, backend: &Name, call: FailedCall, failure: CallFailure<'_>, now: Instant) -> bool {
        let breaker = self.0.entry(backend.clone()).or_default();
        let is_enough = match call {
            FailedCall::Pool { in_time } => {
                breaker.failed_calls += 1;
                !in_time || breaker.failed_calls >= FAILED_CALLS
            }
            FailedCall::Object(uid) => breaker.failed_object.replace(uid).is_some_and(|before| before != uid),
        };
        let opens = is_enough && breaker.open.is_none();
        if opens {
            breaker.reopen(backend, failure, now);
        }
        opens
    }

    /// Records that a backend was observed completely.
    pub(super) fn observed(&mut self, backend: &Name) {
        if let Some(breaker) = self.0.get_mut(backend).filter(|breaker| breaker.open.is_none()) {
            breaker.failures = 0;
        }
    }

    /// Records the result of a probe. Returns whether the breaker is closed now.
    pub(super) fn probed(&mut self, backend: &Name, result: Result<(), CallFailure<'_>>, now: Instant) -> bool {
        match (result, self.0.get_mut(backend)) {
            // Half open: a backend that answers probes but fails the next call gets a longer pause each time.
            (Ok(()), Some(breaker)) => {
                (breaker.open, breaker.failed_calls, breaker.failed_object) = (None, 0, None);
            }
            (Err(failure), Some(breaker)) if breaker.open.is_some() => breaker.reopen(backend, failure, now),
            (_, _) => {}
        }
        result.is_ok()
    }

    /// Returns the state of a breaker, if it is open.
    pub(super) fn open(&self, backend: &Name) -> Option<&OpenBreaker> {
        self.0.get(backend)?.open.as_ref()
    }

    /// All backends whose breaker is open.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, &Failing)> {
        self.0.iter().filter_map(|(name, breaker)| Some((name, &breaker.open.as_ref()?.failing)))
    }

    /// Forgets the backends that `keep` rejects.
    pub(super) fn retain(&mut self, keep: impl Fn(&Name) -> bool) {
        self.0.retain(|name, _| keep(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, volume};

    fn failure(error: &str) -> CallFailure<'_> {
        CallFailure { error, fix: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_opens_after_failures_in_a_row_and_only_a_probe_closes_it() {
        let (now, fast) = (Instant::now(), name("fast"));
        let mut breakers = Breakers::default();
        for _ in 0..3 {
            for _ in 1..FAILED_CALLS {
                assert!(!breakers.failed(&fast, FailedCall::Pool { in_time: true }, failure("no"), now));
            }
            breakers.answered(&fast);
        }
        let opened: Vec<bool> = (0..FAILED_CALLS)
            .map(|_| breakers.failed(&fast, FailedCall::Pool { in_time: true }, failure("no"), now))
            .collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breakers.answered(&fast);
        assert!(breakers.open(&fast).is_some(), "a late answer does not close it");
        let first = breakers.open(&fast).unwrap().failing.next;
        assert!(!breakers.probed(&fast, Err(failure("still not")), first));
        let second = breakers.open(&fast).unwrap().failing.clone();
        assert_eq!((second.failures, second.error.as_str()), (2, "still not"));
        assert!(second.next > first);
        assert!(breakers.probed(&fast, Ok(()), second.next));
        assert!(breakers.open(&fast).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_answers_only_probes_gets_longer_pauses() {
        let (mut now, fast) = (Instant::now(), name("fast"));
        let mut breakers = Breakers::default();
        let mut pauses = Vec::new();
        for _ in 0..20 {
            assert!(breakers.failed(&fast, FailedCall::Pool { in_time: false }, failure("the listing hangs"), now));
            let next = breakers.open(&fast).unwrap().failing.next;
            pauses.push(next - now);
            now = next;
            assert!(breakers.probed(&fast, Ok(()), now));
        }
        assert!(pauses[0] < Duration::from_secs(2) && pauses[19] >= BACKEND.most * 3 / 4, "{pauses:?}");
        breakers.observed(&fast);
        assert!(breakers.failed(&fast, FailedCall::Pool { in_time: false }, failure("again"), now));
        assert_eq!(breakers.open(&fast).unwrap().failing.failures, 1, "a complete observation resets the failures");
    }

    #[tokio::test(start_paused = true)]
    async fn one_time_out_opens_a_breaker() {
        let (now, fast) = (Instant::now(), name("fast"));
        let mut breakers = Breakers::default();
        assert!(breakers.failed(&fast, FailedCall::Pool { in_time: false }, failure("no answer"), now));
        assert!(
            !breakers.failed(&fast, FailedCall::Pool { in_time: false }, failure("no answer"), now),
            "it is open already"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn two_objects_in_a_row_open_a_breaker_and_one_does_not() {
        let (now, fast) = (Instant::now(), name("fast"));
        let of = |object: &str| FailedCall::Object(volume(object).uid);
        let mut breakers = Breakers::default();
        for _ in 0..20 {
            assert!(!breakers.failed(&fast, of("a"), failure("no answer"), now), "only this object waits");
        }
        breakers.answered(&fast);
        assert!(!breakers.failed(&fast, of("b"), failure("no answer"), now), "another one was answered before");
        assert!(breakers.failed(&fast, of("a"), failure("no answer"), now));
        assert!(breakers.probed(&fast, Ok(()), now));
        assert!(!breakers.failed(&fast, of("b"), failure("no answer"), now), "a probe was answered before");
    }
}
