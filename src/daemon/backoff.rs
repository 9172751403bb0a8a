//! When a failed object is tried again: pauses that double, with jitter. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Kind, Name, ObjectId};

/// Pauses of objects: first long enough for a brief fault to pass, at last long enough not to load the backend.
const OBJECT: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(300) };

/// Pauses that double, with jitter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl Backoff {
    /// Returns the pause after `failures` failures in a row, varied by up to a quarter. The jitter is derived from `name`, so that names
    /// that failed together are not tried again together, and a run can be reproduced.
    pub(super) fn pause(self, failures: u32, name: &str) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.most);
        let hash = blake3::Hasher::new().update(name.as_bytes()).update(&failures.to_le_bytes()).finalize();
        let spread = u32::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]));
        doubled * (750 + spread * 500 / u32::from(u16::MAX)) / 1000
    }
}

/// The failures of an object or backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    /// How many in a row.
    pub(super) failures: u32,
    /// The last error.
    pub(super) error: String,
    /// When the next attempt is due.
    pub(super) next: Instant,
}

impl Failing {
    fn once_more(before: Option<&Failing>, name: &str, error: &str, now: Instant) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        Self { failures, error: error.to_owned(), next: now + OBJECT.pause(failures, name) }
    }
}

/// Objects whose last step failed.
#[derive(Debug, Default)]
pub(super) struct ObjectFailures(BTreeMap<ObjectId, (Failing, blake3::Hash)>);

impl ObjectFailures {
    /// Records that a step of an object failed; `spec` is a hash of its declaration.
    pub(super) fn failed(&mut self, kind: Kind, name: &Name, spec: blake3::Hash, error: &str, now: Instant) {
        let key = ObjectId::new(kind, name);
        let before = self.0.get(&key).map(|(failing, _)| failing);
        let failing = Failing::once_more(before, name.as_str(), error, now);
        self.0.insert(key, (failing, spec));
    }

    /// Forgets the objects that `keep` rejects: they succeeded, or need no step any more.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Kind, &Name) -> bool) {
        self.0.retain(|object, _| keep(object.kind, &object.name));
    }

    /// Returns the objects whose next attempt is not due. An object whose declaration has changed since it failed is tried at once.
    pub(super) fn waiting(
        &mut self,
        now: Instant,
        mut spec: impl FnMut(Kind, &Name) -> blake3::Hash,
    ) -> BTreeSet<ObjectId> {
        self.0.retain(|object, (_, known)| *known == spec(object.kind, &object.name));
        self.0.iter().filter(|(_, (failing, _))| failing.next > now).map(|(key, _)| key.clone()).collect()
    }

    /// Whether no object has failures.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the first of the next attempts is due, but for objects that wait for something else.
    pub(super) fn next(&self, waiting: &BTreeSet<ObjectId>) -> Option<Instant> {
        let others = self.0.iter().filter(|(object, _)| !waiting.contains(*object));
        others.map(|(_, (failing, _))| failing.next).min()
    }

    /// All objects with failures.
    pub(super) fn all(&self) -> impl Iterator<Item = (&ObjectId, &Failing)> {
        self.0.iter().map(|(key, (failing, _))| (key, failing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::name;

    fn spec(text: &str) -> blake3::Hash {
        blake3::hash(text.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_limit_and_are_spread() {
        let start = Instant::now();
        let mut objects = ObjectFailures::default();
        let mut last = Duration::ZERO;
        for failures in 1..40 {
            objects.failed(Kind::Volume, &name("db"), spec("a"), "no", start);
            let pause = objects.next(&BTreeSet::new()).unwrap() - start;
            let middle = OBJECT.first.saturating_mul(2_u32.saturating_pow(failures - 1)).min(OBJECT.most);
            assert!(pause >= middle * 3 / 4 && pause <= middle * 5 / 4, "{failures}: {pause:?}");
            assert!(failures > 7 || pause > last, "{failures}: {pause:?} after {last:?}");
            last = pause;
        }
        let of_many: BTreeSet<Duration> = (0..100).map(|n| OBJECT.pause(5, &format!("volume-{n}"))).collect();
        assert!(of_many.len() > 50, "{} of 100 differ", of_many.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_waits_until_its_next_attempt_is_due_or_its_declaration_changes() {
        let now = Instant::now();
        let mut objects = ObjectFailures::default();
        let db = ObjectId::new(Kind::Volume, &name("db"));
        objects.failed(db.kind, &db.name, spec("a"), "no", now);
        assert_eq!(objects.waiting(now, |_, _| spec("a")), BTreeSet::from([db.clone()]));
        assert_eq!(objects.waiting(objects.next(&BTreeSet::new()).unwrap(), |_, _| spec("a")), BTreeSet::new());
        assert_eq!(objects.all().count(), 1, "its failures are still counted");
        assert_eq!(objects.waiting(now, |_, _| spec("b")), BTreeSet::new());
        assert_eq!(objects.all().count(), 0, "a changed declaration resets its failures");
    }
}
