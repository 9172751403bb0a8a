//! Which objects in the trash have expired, by two clocks. Pure.
//!
//! The expiry time on the backend comes from the wall clock, which may jump. The daemon therefore also measures, with the monotonic
//! clock, how long it has observed the object in the trash; both must agree.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::schedule::CONFIRM;
use crate::engine::Trashed;
use crate::model::{Name, Uid};

/// The least time that objects wait which are in the trash when the daemon first observes a backend, or `trash.ttl` if that is less: the
/// wall clock may have been wrong before. An administrator notices that within a day.
pub(super) const GRACE: Duration = Duration::from_secs(86_400);

/// How long the daemon has observed each object in the trash.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    timers: HashMap<Uid, ExpiryTimer>,
    /// Backends whose trash was observed completely before: new objects in it were removed since then.
    observed: BTreeSet<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ExpiryTimer {
    backend: Name,
    /// The expiry time on the backend, in seconds since 1970.
    expires: u64,
    /// The earliest purge by the monotonic clock.
    earliest: Instant,
    /// Since when no reading of the manifests refers to it; `None` if the last one does.
    unreferenced: Option<Instant>,
}

impl Expiry {
    /// Records the objects in the trash at `wall` (seconds since 1970). `complete`: backends whose trash was listed completely; `ttl`: how
    /// long they keep it; `is_referenced`: whether the manifests as read now refer to an object, or may.
    pub(super) fn note(
        &mut self,
        trash: &[Trashed],
        complete: &BTreeSet<Name>,
        ttl: Duration,
        wall: u64,
        now: Instant,
        is_referenced: impl Fn(&Trashed) -> bool,
    ) {
        // An object is gone only if a complete listing lacks it.
        let there: BTreeSet<Uid> = trash.iter().filter_map(|trashed| trashed.object.uid()).collect();
        self.timers.retain(|uid, timer| there.contains(uid) || !complete.contains(&timer.backend));
        for trashed in trash {
            let Trashed { backend, object, expires, clients_unseen: _ } = trashed;
            let (Some(uid), Some(expires)) = (object.uid(), *expires) else { continue };
            let unreferenced = (!is_referenced(trashed)).then_some(now);
            if let Some(timer) = self.timers.get_mut(&uid).filter(|timer| timer.expires == expires) {
                timer.unreferenced = unreferenced.map(|now| timer.unreferenced.unwrap_or(now));
                continue;
            }
            let left = Duration::from_secs(expires.saturating_sub(wall));
            let least = if self.observed.contains(backend) { ttl } else { ttl.min(GRACE) };
            match now.checked_add(left.max(least)) {
                Some(earliest) => drop(
                    self.timers.insert(uid, ExpiryTimer { backend: backend.clone(), expires, earliest, unreferenced }),
                ),
                // A time that the clock cannot represent never comes.
                None => drop(self.timers.remove(&uid)),
            }
        }
        self.observed.extend(complete.iter().cloned());
    }

    /// Whether a recorded object may be purged: both clocks have passed its expiry, and no reading of the manifests has referred to it for
    /// [`CONFIRM`]. (Other changes of the manifests do not matter: constant changes must not prevent purging.)
    pub(super) fn is_expired(&self, trashed: &Trashed, wall: u64, now: Instant) -> bool {
        let timer = trashed.object.uid().and_then(|uid| self.timers.get(&uid));
        timer.is_some_and(|timer| {
            let is_confirmed = timer.unreferenced.is_some_and(|since| since + CONFIRM <= now);
            Some(timer.expires) == trashed.expires && timer.expires <= wall && timer.earliest <= now && is_confirmed
        })
    }

    /// When the next object may be purged, by the monotonic clock.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let due = |timer: &ExpiryTimer| {
            timer.unreferenced.map_or(timer.earliest, |since| timer.earliest.max(since + CONFIRM))
        };
        self.timers.values().map(due).filter(|due| *due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{self, name};
    use crate::model::{Object, Place, Size, Tags};

    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    const YEAR: u64 = 365 * 86_400;
    const TODAY: u64 = 1_800_000_000;

    fn trashed(volume: &str, expires: u64) -> Trashed {
        let object = Object {
            tags: Tags { expires: Some(expires), ..Tags::default() }.into(),
            ..Object::of(fixtures::volume(volume), Place::Trash, Size(1))
        };
        Trashed { backend: name("fast"), object, expires: Some(expires), clients_unseen: false }
    }

    /// Observes one trash with a ttl of a week, as the daemon does in every pass.
    struct Watcher {
        expiry: Expiry,
        now: Instant,
        /// Whether a document refers to the object in the trash.
        referenced: bool,
    }

    impl Watcher {
        /// A watcher that observed the backend before, when its trash was empty.
        fn used() -> Self {
            let mut watcher = Self::new();
            assert!(!watcher.observe(None, TODAY, 0));
            watcher
        }

        fn new() -> Self {
            Self { expiry: Expiry::default(), now: Instant::now(), referenced: false }
        }

        /// A complete observation, `later` seconds after the last by the monotonic clock. Returns whether the object may be purged.
        fn observe(&mut self, trash: Option<&Trashed>, wall: u64, later: u64) -> bool {
            self.now += Duration::from_secs(later);
            let trash: Vec<Trashed> = trash.into_iter().cloned().collect();
            self.expiry.note(&trash, &BTreeSet::from([name("fast")]), WEEK, wall, self.now, |_| self.referenced);
            trash.iter().any(|trashed| self.expiry.is_expired(trashed, wall, self.now))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_expires_when_both_clocks_agree() {
        let (mut watcher, week) = (Watcher::used(), WEEK.as_secs());
        let old = trashed("db", TODAY + week);
        assert!(!watcher.observe(Some(&old), TODAY, 0));
        assert_eq!(watcher.expiry.next(watcher.now), Some(watcher.now + WEEK));
        assert!(!watcher.observe(Some(&old), TODAY + week, week - 1), "a second too early by the daemon's own clock");
        assert!(!watcher.observe(Some(&old), TODAY + week - 1, 1), "the host's clock was turned back by a second");
        assert!(watcher.observe(Some(&old), TODAY + week, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_jumps_a_year_purges_nothing() {
        let mut watcher = Watcher::used();
        let old = trashed("db", TODAY + WEEK.as_secs());
        assert!(!watcher.observe(Some(&old), TODAY, 0));
        for minute in 1..3 * 24 * 60 {
            assert!(!watcher.observe(Some(&old), TODAY + YEAR, 60), "after {minute} minutes");
        }
        assert!(!watcher.observe(Some(&old), TODAY - YEAR, WEEK.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn correcting_a_wall_clock_that_was_behind_purges_nothing() {
        let mut watcher = Watcher::used();
        let old = trashed("db", TODAY - YEAR + WEEK.as_secs());
        assert!(!watcher.observe(Some(&old), TODAY, 0), "expired when it is first observed");
        assert!(!watcher.observe(Some(&old), TODAY, WEEK.as_secs() - 1));
        assert!(
            watcher.observe(Some(&old), TODAY, 1),
            "it was removed while the daemon ran, and a week has passed since"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_waits_a_day_after_its_start() {
        let mut watcher = Watcher::new();
        let old = trashed("db", TODAY - 1);
        assert!(!watcher.observe(Some(&old), TODAY, 0));
        assert!(!watcher.observe(Some(&old), TODAY, GRACE.as_secs() - 1));
        assert!(watcher.observe(Some(&old), TODAY, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_the_trash_restarts_the_wait_and_an_incomplete_listing_does_not() {
        let (mut watcher, week) = (Watcher::used(), WEEK.as_secs());
        assert!(!watcher.observe(Some(&trashed("db", TODAY + week)), TODAY, 0));
        let again = trashed("db", TODAY + 30);
        assert!(!watcher.observe(Some(&again), TODAY + week, week), "its expiry time has changed");
        // An observation without this backend changes nothing.
        watcher.expiry.note(&[], &BTreeSet::new(), WEEK, TODAY + week, watcher.now, |_| false);
        assert!(watcher.observe(Some(&again), TODAY + week, week));
        assert!(!watcher.observe(None, TODAY + week, 0));
        assert!(!watcher.observe(Some(&again), TODAY + week, week - 1), "it was not there in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_ttl_is_not_extended() {
        let (mut expiry, now, ttl) = (Expiry::default(), Instant::now(), Duration::from_secs(3));
        let old = trashed("db", TODAY);
        expiry.note(std::slice::from_ref(&old), &BTreeSet::from([name("fast")]), ttl, TODAY, now, |_| false);
        assert!(!expiry.is_expired(&old, TODAY, now + ttl - Duration::from_millis(1)));
        assert!(expiry.is_expired(&old, TODAY, now + ttl));
    }
    #[tokio::test(start_paused = true)]
    async fn an_unreferenced_object_expires_after_a_second_reading_confirms_it() {
        let (mut watcher, week) = (Watcher::used(), WEEK.as_secs());
        let old = trashed("db", TODAY + week);
        watcher.referenced = true;
        assert!(!watcher.observe(Some(&old), TODAY, 0));
        assert!(!watcher.observe(Some(&old), TODAY + 2 * week, 2 * week), "a document refers to it");
        watcher.referenced = false;
        assert!(!watcher.observe(Some(&old), TODAY + 2 * week, 1), "read once");
        assert_eq!(watcher.expiry.next(watcher.now), Some(watcher.now + CONFIRM), "the time of the next read is known");
        assert!(!watcher.observe(Some(&old), TODAY + 2 * week, CONFIRM.as_secs() - 1));
        watcher.referenced = true;
        assert!(!watcher.observe(Some(&old), TODAY + 2 * week, 1), "it is declared again");
        watcher.referenced = false;
        assert!(!watcher.observe(Some(&old), TODAY + 2 * week, 0), "the wait restarts");
        assert!(watcher.observe(Some(&old), TODAY + 2 * week, CONFIRM.as_secs()));
    }
}
