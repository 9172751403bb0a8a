//! What of the trash is past its time, by two clocks. Pure.
//!
//! When an object may be purged is written on the backend, by the host's clock. A clock that jumps must not purge anything: so the
//! daemon also counts for how long it has itself seen the object in the trash.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Trashed;
use crate::model::Uid;

/// What is past its time when it is first seen waits this long: a host that boots with a wrong clock has the right one by then.
pub(super) const GRACE: Duration = Duration::from_secs(600);

/// For how long objects in the trash have been seen there.
#[derive(Debug, Default)]
pub(super) struct Expiry(HashMap<Uid, Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// As written on it.
    expires: u64,
    /// By the clock that does not jump: not before this.
    ripe: Instant,
}

impl Expiry {
    /// Notes what is in the trash at `wall` (seconds since 1970), and gives what may be purged: its time has passed by the host's
    /// clock, and by how long it was seen there.
    pub(super) fn ripe(&mut self, trash: &[Trashed], wall: u64, now: Instant) -> Vec<Trashed> {
        let mut seen = HashMap::with_capacity(trash.len());
        let mut ripe = Vec::new();
        for trashed in trash {
            let (Some(uid), Some(expires)) = (trashed.object.uid(), trashed.expires) else { continue };
            let entry = match self.0.get(&uid).filter(|seen| seen.expires == expires) {
                Some(seen) => *seen,
                None => {
                    let left = expires.checked_sub(wall).filter(|left| *left > 0);
                    let wait = left.map_or(GRACE, Duration::from_secs);
                    // What lies beyond the end of the clock never comes.
                    let Some(at) = now.checked_add(wait) else { continue };
                    Seen { expires, ripe: at }
                }
            };
            seen.insert(uid, entry);
            if expires <= wall && entry.ripe <= now {
                ripe.push(trashed.clone());
            }
        }
        self.0 = seen;
        ripe
    }

    /// When the next one may be, by the clock that does not jump.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|seen| seen.ripe).filter(|ripe| *ripe > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Clients, Identity, Kind, Object, Owner, Place, Size, Tags};

    const WEEK: u64 = 7 * 86_400;
    const YEAR: u64 = 365 * 86_400;
    const TODAY: u64 = 1_800_000_000;

    fn trashed(volume: &str, expires: u64) -> Trashed {
        let owner: Owner = "prod".parse().unwrap();
        let (fast, name) = ("fast".parse().unwrap(), volume.parse().unwrap());
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
            parent: None,
            clients: Clients::Unknown,
        };
        Trashed { backend: fast, object, expires: Some(expires) }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ripe_when_both_clocks_say_so() {
        let start = Instant::now();
        let mut expiry = Expiry::default();
        let trash = [trashed("db", TODAY + WEEK)];
        assert_eq!(expiry.ripe(&trash, TODAY, start), []);
        let later = start + Duration::from_secs(WEEK);
        assert_eq!(expiry.next(start), Some(later));
        assert_eq!(expiry.ripe(&trash, TODAY + WEEK - 1, later), [], "the host's clock was turned back by a second");
        assert_eq!(expiry.ripe(&trash, TODAY + WEEK, later - Duration::from_secs(1)), []);
        assert_eq!(expiry.ripe(&trash, TODAY + WEEK, later), trash);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_a_year_purges_nothing() {
        let start = Instant::now();
        let mut expiry = Expiry::default();
        let trash = [trashed("db", TODAY + WEEK)];
        assert_eq!(expiry.ripe(&trash, TODAY, start), []);
        for minutes in 1..60 {
            let now = start + Duration::from_secs(60) * minutes;
            assert_eq!(expiry.ripe(&trash, TODAY + YEAR, now), [], "after {minutes} minutes");
        }
        assert_eq!(expiry.ripe(&trash, TODAY - YEAR, start + Duration::from_secs(WEEK)), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_its_time_when_first_seen_waits_for_the_clock_to_be_set() {
        let start = Instant::now();
        let mut expiry = Expiry::default();
        let trash = [trashed("db", TODAY - 1)];
        assert_eq!(expiry.ripe(&trash, TODAY, start), []);
        assert_eq!(expiry.ripe(&trash, TODAY, start + GRACE - Duration::from_millis(1)), []);
        assert_eq!(expiry.ripe(&trash, TODAY, start + GRACE), trash);
    }

    #[tokio::test(start_paused = true)]
    async fn what_left_the_trash_and_came_back_is_counted_anew() {
        let start = Instant::now();
        let mut expiry = Expiry::default();
        assert_eq!(expiry.ripe(&[trashed("db", TODAY + 60)], TODAY, start), []);
        let later = start + Duration::from_secs(60);
        let again = [trashed("db", TODAY + 30)];
        assert_eq!(expiry.ripe(&again, TODAY + 60, later), [], "another time is written on it");
        assert_eq!(expiry.ripe(&[], TODAY + 60, later), []);
        assert_eq!(expiry.ripe(&again, TODAY + 60, later + GRACE), [], "it was not there in between");
        assert_eq!(expiry.next(later + GRACE), Some(later + GRACE * 2));
    }
}
