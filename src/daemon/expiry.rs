//! What of the trash is past its time, by two clocks. Pure.
//!
//! When an object may be purged is written on the backend, by the host's clock. A clock that jumps must not purge anything: so the
//! daemon also counts for how long it has itself seen the object in the trash.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::schedule::CONFIRM;
use crate::engine::Trashed;
use crate::model::{Name, Uid};

/// What is in the trash when a backend is first looked at waits this long at least, or as long as the trash is kept, if that is less:
/// nobody knows what the clock has done before. A wrong one is noticed within a day.
pub(super) const GRACE: Duration = Duration::from_secs(86_400);

/// For how long objects in the trash have been seen there.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    seen: HashMap<Uid, Seen>,
    /// Backends that have shown all of their trash before: what is new in it was removed since.
    looked: BTreeSet<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    backend: Name,
    /// As written on it.
    expires: u64,
    /// By the clock that does not jump: not before this.
    ripe: Instant,
    /// Since when no reading of the manifests wants it; `None` if the last one does.
    unwanted: Option<Instant>,
}

impl Expiry {
    /// Notes what is in the trash at `wall` (seconds since 1970). `complete`: backends that showed all of it. `ttl`: how long it is kept.
    /// `is_referenced`: whether the manifests, as read just now, want an object, or may.
    pub(super) fn note(
        &mut self,
        trash: &[Trashed],
        complete: &BTreeSet<Name>,
        ttl: Duration,
        wall: u64,
        now: Instant,
        is_referenced: impl Fn(&Trashed) -> bool,
    ) {
        // What a listing leaves out may only not have been listed.
        let there: BTreeSet<Uid> = trash.iter().filter_map(|trashed| trashed.object.uid()).collect();
        self.seen.retain(|uid, seen| there.contains(uid) || !complete.contains(&seen.backend));
        for trashed in trash {
            let Trashed { backend, object, expires } = trashed;
            let (Some(uid), Some(expires)) = (object.uid(), *expires) else { continue };
            let unwanted = (!is_referenced(trashed)).then_some(now);
            if let Some(seen) = self.seen.get_mut(&uid).filter(|seen| seen.expires == expires) {
                seen.unwanted = unwanted.map(|now| seen.unwanted.unwrap_or(now));
                continue;
            }
            let left = Duration::from_secs(expires.saturating_sub(wall));
            let least = if self.looked.contains(backend) { ttl } else { ttl.min(GRACE) };
            match now.checked_add(left.max(least)) {
                Some(ripe) => drop(self.seen.insert(uid, Seen { backend: backend.clone(), expires, ripe, unwanted })),
                // What lies beyond the end of the clock never comes.
                None => drop(self.seen.remove(&uid)),
            }
        }
        self.looked.extend(complete.iter().cloned());
    }

    /// Whether an object that was noted may be purged: its time has passed by the host's clock, and by how long it was seen there; and
    /// every reading of the manifests for [`CONFIRM`] did not want it. (What else changes in them does not matter: manifests that
    /// change all the time would stop purging for good.)
    pub(super) fn is_ripe(&self, trashed: &Trashed, wall: u64, now: Instant) -> bool {
        let seen = trashed.object.uid().and_then(|uid| self.seen.get(&uid));
        seen.is_some_and(|seen| {
            let is_confirmed = seen.unwanted.is_some_and(|since| since + CONFIRM <= now);
            Some(seen.expires) == trashed.expires && seen.expires <= wall && seen.ripe <= now && is_confirmed
        })
    }

    /// When the next one may be, by the clock that does not jump.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let due = |seen: &Seen| seen.unwanted.map_or(seen.ripe, |since| seen.ripe.max(since + CONFIRM));
        self.seen.values().map(due).filter(|due| *due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Clients, Identity, Kind, Object, Owner, Place, Size, Tags};

    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    const YEAR: u64 = 365 * 86_400;
    const TODAY: u64 = 1_800_000_000;

    fn trashed(volume: &str, expires: u64) -> Trashed {
        let owner: Owner = "prod".parse().unwrap();
        let (fast, name) = (fast(), volume.parse().unwrap());
        let uid = Uid::derive("5c1d2e8a90", &owner, Kind::Volume, &fast, &name, 0);
        let identity = Identity { owner, kind: Kind::Volume, name, uid };
        let object = Object {
            native: identity.native(),
            place: Place::Trash,
            identity: Some(identity),
            size: Size(1),
            used: None,
            tags: Tags { expires: Some(expires), ..Tags::default() },
            conflict: None,
            unfinished: false,
            parent: None,
            clients: Clients::Unknown,
            image: None,
            written: crate::model::Written::Unknown,
        };
        Trashed { backend: fast, object, expires: Some(expires) }
    }

    fn fast() -> Name {
        "fast".parse().unwrap()
    }

    /// Looks at one trash with a week's time, as a daemon does in every pass.
    struct Watcher {
        expiry: Expiry,
        now: Instant,
        /// Whether a document wants what is in the trash.
        wanted: bool,
    }

    impl Watcher {
        /// One that has seen the backend before, when its trash was empty.
        fn used() -> Self {
            let mut watcher = Self::new();
            assert!(!watcher.look(None, TODAY, 0));
            watcher
        }

        fn new() -> Self {
            Self { expiry: Expiry::default(), now: Instant::now(), wanted: false }
        }

        /// A complete look, so many seconds after the last by the clock that does not jump. Whether what is there may be purged.
        fn look(&mut self, trash: Option<&Trashed>, wall: u64, later: u64) -> bool {
            self.now += Duration::from_secs(later);
            let trash: Vec<Trashed> = trash.into_iter().cloned().collect();
            self.expiry.note(&trash, &BTreeSet::from([fast()]), WEEK, wall, self.now, |_| self.wanted);
            trash.iter().any(|trashed| self.expiry.is_ripe(trashed, wall, self.now))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ripe_when_both_clocks_say_so() {
        let (mut watcher, week) = (Watcher::used(), WEEK.as_secs());
        let old = trashed("db", TODAY + week);
        assert!(!watcher.look(Some(&old), TODAY, 0));
        assert_eq!(watcher.expiry.next(watcher.now), Some(watcher.now + WEEK));
        assert!(!watcher.look(Some(&old), TODAY + week, week - 1), "a second too early by the daemon's own clock");
        assert!(!watcher.look(Some(&old), TODAY + week - 1, 1), "the host's clock was turned back by a second");
        assert!(watcher.look(Some(&old), TODAY + week, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_a_year_purges_nothing() {
        let mut watcher = Watcher::used();
        let old = trashed("db", TODAY + WEEK.as_secs());
        assert!(!watcher.look(Some(&old), TODAY, 0));
        for minute in 1..3 * 24 * 60 {
            assert!(!watcher.look(Some(&old), TODAY + YEAR, 60), "after {minute} minutes");
        }
        assert!(!watcher.look(Some(&old), TODAY - YEAR, WEEK.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_behind_when_it_was_removed_purges_nothing_when_it_is_set() {
        let mut watcher = Watcher::used();
        let old = trashed("db", TODAY - YEAR + WEEK.as_secs());
        assert!(!watcher.look(Some(&old), TODAY, 0), "past its time when it is first seen");
        assert!(!watcher.look(Some(&old), TODAY, WEEK.as_secs() - 1));
        assert!(watcher.look(Some(&old), TODAY, 1), "it was removed while the daemon ran, and a week has passed since");
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_begins_waits_a_day() {
        let mut watcher = Watcher::new();
        let old = trashed("db", TODAY - 1);
        assert!(!watcher.look(Some(&old), TODAY, 0));
        assert!(!watcher.look(Some(&old), TODAY, GRACE.as_secs() - 1));
        assert!(watcher.look(Some(&old), TODAY, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_left_the_trash_and_came_back_is_counted_anew_and_what_was_not_listed_is_not() {
        let (mut watcher, week) = (Watcher::used(), WEEK.as_secs());
        assert!(!watcher.look(Some(&trashed("db", TODAY + week)), TODAY, 0));
        let again = trashed("db", TODAY + 30);
        assert!(!watcher.look(Some(&again), TODAY + week, week), "another time is written on it");
        // A look that shows nothing of the backend changes nothing.
        watcher.expiry.note(&[], &BTreeSet::new(), WEEK, TODAY + week, watcher.now, |_| false);
        assert!(watcher.look(Some(&again), TODAY + week, week));
        assert!(!watcher.look(None, TODAY + week, 0));
        assert!(!watcher.look(Some(&again), TODAY + week, week - 1), "it was not there in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_time_is_not_made_longer() {
        let (mut expiry, now, ttl) = (Expiry::default(), Instant::now(), Duration::from_secs(3));
        let old = trashed("db", TODAY);
        expiry.note(std::slice::from_ref(&old), &BTreeSet::from([fast()]), ttl, TODAY, now, |_| false);
        assert!(!expiry.is_ripe(&old, TODAY, now + ttl - Duration::from_millis(1)));
        assert!(expiry.is_ripe(&old, TODAY, now + ttl));
    }
    #[tokio::test(start_paused = true)]
    async fn what_no_document_wants_is_ripe_after_a_second_reading_says_so() {
        let (mut watcher, week) = (Watcher::used(), WEEK.as_secs());
        let old = trashed("db", TODAY + week);
        watcher.wanted = true;
        assert!(!watcher.look(Some(&old), TODAY, 0));
        assert!(!watcher.look(Some(&old), TODAY + 2 * week, 2 * week), "a document wants it");
        watcher.wanted = false;
        assert!(!watcher.look(Some(&old), TODAY + 2 * week, 1), "read once");
        assert_eq!(watcher.expiry.next(watcher.now), Some(watcher.now + CONFIRM), "it is known when to read again");
        assert!(!watcher.look(Some(&old), TODAY + 2 * week, CONFIRM.as_secs() - 1));
        watcher.wanted = true;
        assert!(!watcher.look(Some(&old), TODAY + 2 * week, 1), "it came back");
        watcher.wanted = false;
        assert!(!watcher.look(Some(&old), TODAY + 2 * week, 0), "it counts anew");
        assert!(watcher.look(Some(&old), TODAY + 2 * week, CONFIRM.as_secs()));
    }
}
