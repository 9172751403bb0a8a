//! When what failed is tried again: objects one by one, backends as wholes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Kind, Name, ObjectId};

/// Pauses of objects: from the time that a hiccup takes, to one after which nobody waits for it any more.
const OBJECT: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(300) };
/// Pauses of backends. A probe is one small call, so it can be made more often than steps are.
const BACKEND: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };
/// A backend of which so many calls in a row have failed is left alone. One that did not answer in time is, at once: each such call
/// costs its whole time-out.
const TRIPS: u32 = 5;

/// Pauses that double, with jitter.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row, up to a quarter shorter or longer, by `who`: what failed together is not tried again
    /// together, and a run can be repeated exactly.
    fn pause(self, failures: u32, who: &str) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.most);
        let hash = blake3::Hasher::new().update(who.as_bytes()).update(&failures.to_le_bytes()).finalize();
        let spread = u32::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]));
        doubled * (750 + spread * 500 / u32::from(u16::MAX)) / 1000
    }
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    /// In a row.
    pub(super) failures: u32,
    /// The last error.
    pub(super) error: String,
    /// When it is tried again.
    pub(super) next: Instant,
}

impl Failing {
    fn again(before: Option<&Failing>, backoff: Backoff, who: &str, error: &str, now: Instant) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        Self { failures, error: error.to_owned(), next: now + backoff.pause(failures, who) }
    }
}

/// Objects whose last step failed.
#[derive(Debug, Default)]
pub(super) struct Objects(BTreeMap<ObjectId, (Failing, blake3::Hash)>);

impl Objects {
    /// A step of an object failed; `spec` is a hash of what is declared of it.
    pub(super) fn failed(&mut self, kind: Kind, name: &Name, spec: blake3::Hash, error: &str, now: Instant) {
        let key = ObjectId::new(kind, name);
        let before = self.0.get(&key).map(|(failing, _)| failing);
        let failing = Failing::again(before, OBJECT, name.as_str(), error, now);
        self.0.insert(key, (failing, spec));
    }

    /// Forgets what `keep` does not want: nothing is to be done for it any more, or it succeeded.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Kind, &Name) -> bool) {
        self.0.retain(|object, _| keep(object.kind, &object.name));
    }

    /// Those whose time has not come. What is declared otherwise now than when it failed begins anew: somebody may have mended it.
    pub(super) fn waiting(
        &mut self,
        now: Instant,
        mut spec: impl FnMut(Kind, &Name) -> blake3::Hash,
    ) -> BTreeSet<ObjectId> {
        self.0.retain(|object, (_, known)| *known == spec(object.kind, &object.name));
        self.0.iter().filter(|(_, (failing, _))| failing.next > now).map(|(key, _)| key.clone()).collect()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the next one is tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|(failing, _)| failing.next).min()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&ObjectId, &Failing)> {
        self.0.iter().map(|(key, (failing, _))| (key, failing))
    }
}

/// Backends whose calls fail.
#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<Name, Breaker>);

#[derive(Debug, Default)]
struct Breaker {
    /// Calls in a row, since one succeeded or the breaker last tripped.
    calls: u32,
    /// How often in a row it has tripped or a probe has failed, since the backend last showed itself.
    failures: u32,
    /// Set while it is open.
    open: Option<Failing>,
}

impl Breaker {
    fn rest(&mut self, backend: &Name, error: &str, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let next = now + BACKEND.pause(self.failures, backend.as_str());
        self.open = Some(Failing { failures: self.failures, error: error.to_owned(), next });
    }
}

impl Breakers {
    /// A call was answered.
    pub(super) fn answered(&mut self, backend: &Name) {
        // What an open one is asked for is a probe, and only a probe closes it.
        if let Some(breaker) = self.0.get_mut(backend).filter(|breaker| breaker.open.is_none()) {
            breaker.calls = 0;
        }
    }

    /// A call failed in a way that says something of the backend. Whether that opened its breaker.
    pub(super) fn failed(&mut self, backend: &Name, in_time: bool, error: &str, now: Instant) -> bool {
        let breaker = self.0.entry(backend.clone()).or_default();
        breaker.calls += 1;
        let trips = breaker.open.is_none() && (!in_time || breaker.calls >= TRIPS);
        if trips {
            breaker.rest(backend, error, now);
        }
        trips
    }

    /// A whole look at a backend has succeeded.
    pub(super) fn seen(&mut self, backend: &Name) {
        if let Some(breaker) = self.0.get_mut(backend).filter(|breaker| breaker.open.is_none()) {
            breaker.failures = 0;
        }
    }

    /// A probe of a open backend has ended. Whether the breaker is closed now.
    pub(super) fn probed(&mut self, backend: &Name, result: Result<(), &str>, now: Instant) -> bool {
        match (result, self.0.get_mut(backend)) {
            // Half open: whoever answers a small call and fails the next one again rests longer each time.
            (Ok(()), Some(breaker)) => (breaker.open, breaker.calls) = (None, 0),
            (Err(error), Some(breaker)) if breaker.open.is_some() => breaker.rest(backend, error, now),
            (_, _) => {}
        }
        result.is_ok()
    }

    /// Why a backend is not asked now, if it is not.
    pub(super) fn open(&self, backend: &Name) -> Option<&Failing> {
        self.0.get(backend)?.open.as_ref()
    }

    /// All that rest.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, &Failing)> {
        self.0.iter().filter_map(|(name, breaker)| Some((name, breaker.open.as_ref()?)))
    }

    /// Forgets backends that are declared no more.
    pub(super) fn retain(&mut self, declared: impl Fn(&Name) -> bool) {
        self.0.retain(|name, _| declared(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn spec(text: &str) -> blake3::Hash {
        blake3::hash(text.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_to_a_bound_and_are_spread() {
        let start = Instant::now();
        let mut objects = Objects::default();
        let mut last = Duration::ZERO;
        for failures in 1..40 {
            objects.failed(Kind::Volume, &name("db"), spec("a"), "no", start);
            let pause = objects.next().unwrap() - start;
            let middle = OBJECT.first.saturating_mul(2_u32.saturating_pow(failures - 1)).min(OBJECT.most);
            assert!(pause >= middle * 3 / 4 && pause <= middle * 5 / 4, "{failures}: {pause:?}");
            assert!(failures > 7 || pause > last, "{failures}: {pause:?} after {last:?}");
            last = pause;
        }
        let of_many: BTreeSet<Duration> = (0..100).map(|n| OBJECT.pause(5, &format!("volume-{n}"))).collect();
        assert!(of_many.len() > 50, "{} of 100 differ", of_many.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_waits_until_its_time_or_until_it_is_declared_otherwise() {
        let now = Instant::now();
        let mut objects = Objects::default();
        let db = ObjectId::new(Kind::Volume, &name("db"));
        objects.failed(db.kind, &db.name, spec("a"), "no", now);
        assert_eq!(objects.waiting(now, |_, _| spec("a")), BTreeSet::from([db.clone()]));
        assert_eq!(objects.waiting(objects.next().unwrap(), |_, _| spec("a")), BTreeSet::new());
        assert_eq!(objects.all().count(), 1, "its failures go on being counted");
        assert_eq!(objects.waiting(now, |_, _| spec("b")), BTreeSet::new());
        assert_eq!(objects.all().count(), 0, "another spec begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_opens_after_failures_in_a_row_and_closes_by_a_probe_alone() {
        let (now, fast) = (Instant::now(), name("fast"));
        let mut breakers = Breakers::default();
        for _ in 0..3 {
            for _ in 1..TRIPS {
                assert!(!breakers.failed(&fast, true, "no", now));
            }
            breakers.answered(&fast);
        }
        let tripped: Vec<bool> = (0..TRIPS).map(|_| breakers.failed(&fast, true, "no", now)).collect();
        assert_eq!(tripped, [false, false, false, false, true]);
        breakers.answered(&fast);
        assert!(breakers.open(&fast).is_some(), "an answer that was on its way closes nothing");
        let first = breakers.open(&fast).unwrap().next;
        assert!(!breakers.probed(&fast, Err("still not"), first));
        let second = breakers.open(&fast).unwrap().clone();
        assert_eq!((second.failures, second.error.as_str()), (2, "still not"));
        assert!(second.next > first);
        assert!(breakers.probed(&fast, Ok(()), second.next));
        assert!(breakers.open(&fast).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_answers_probes_only_rests_longer_each_time() {
        let (mut now, fast) = (Instant::now(), name("fast"));
        let mut breakers = Breakers::default();
        let mut rests = Vec::new();
        for _ in 0..20 {
            assert!(breakers.failed(&fast, false, "the listing hangs", now));
            let next = breakers.open(&fast).unwrap().next;
            rests.push(next - now);
            now = next;
            assert!(breakers.probed(&fast, Ok(()), now));
        }
        assert!(rests[0] < Duration::from_secs(2) && rests[19] >= BACKEND.most * 3 / 4, "{rests:?}");
        breakers.seen(&fast);
        assert!(breakers.failed(&fast, false, "again", now));
        assert_eq!(breakers.open(&fast).unwrap().failures, 1, "a whole look begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_that_hangs_opens_it() {
        let (now, fast) = (Instant::now(), name("fast"));
        let mut breakers = Breakers::default();
        assert!(breakers.failed(&fast, false, "no answer", now));
        assert!(!breakers.failed(&fast, false, "no answer", now), "it is open already");
    }
}
