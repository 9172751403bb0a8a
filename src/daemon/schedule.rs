//! When the next pass begins. Pure: it is told what happened and what the time is.

use std::time::Duration;

use tokio::time::Instant;

/// A change of the manifests is acted on once nothing more has changed for this long: an editor's save is several events, a checkout
/// thousands. Shorter than a person notices, longer than the pauses within one save.
pub(super) const QUIET: Duration = Duration::from_millis(300);
/// … but never later than this after the first: something that changes without end must not keep everything else waiting.
pub(super) const AT_MOST: Duration = Duration::from_secs(2);
/// A removal is acted on only if a second look, this much later at least, reads the same bytes.
pub(super) const CONFIRM: Duration = Duration::from_secs(2);
/// What a directory declared that is gone, outside of Git, is removed only if it is gone for this long: a mount, a move away and back, or a
/// copy in the making looks like that for seconds.
pub(super) const VANISHED: Duration = Duration::from_secs(60);
/// After a pass that changed something another one looks whether that was all. This long after it, doubled each time that a pass
/// changes something again: what undoes Kiln's work, over and over, does not keep it busy.
const VERIFY: Duration = Duration::from_secs(1);

/// Of whatever interval is declared.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// When the next pass begins, and why.
#[derive(Debug)]
pub(super) struct Schedule {
    /// First and last change that no pass has taken up.
    changed: Option<(Instant, Instant)>,
    /// The earliest of what was asked for: by a person, a retry, the interval.
    at: Option<Instant>,
    /// Changes were seen while a pass ran, and looked at only to know whether it is overtaken.
    owed: bool,
    /// Passes in a row that changed something.
    busy: u32,
}

/// What a pass that has ended says about the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct After {
    /// `Stack.spec.interval`.
    pub(super) interval: Duration,
    /// Whether it changed something.
    pub(super) changed: bool,
    /// When the next retry falls due, and when the manifests have to be read again because they were read only once.
    pub(super) due: Option<Instant>,
}

impl Schedule {
    /// The first pass begins at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { changed: None, at: Some(now), owed: false, busy: 0 }
    }

    /// The manifests may have changed.
    pub(super) fn changed(&mut self, now: Instant) {
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
    }

    /// A pass is wanted at `at`, or earlier.
    pub(super) fn want(&mut self, at: Instant) {
        self.at = Some(self.at.map_or(at, |other| other.min(at)));
    }

    /// When the changes seen so far have come to rest.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.changed.map(|(first, last)| (last + QUIET).min(first + AT_MOST))
    }

    /// While a pass runs, what has changed is looked at; the next pass takes it up.
    pub(super) fn look(&mut self) {
        self.owed |= self.changed.take().is_some();
    }

    /// When the next pass begins, as far as is known now.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.quiet_at(), self.at].into_iter().flatten().min()
    }

    /// A pass begins, and takes up all changes that were seen so far. Whether it was asked for by more than those.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.changed = None;
        self.at.take_if(|at| *at <= now).is_some()
    }

    /// A pass has ended.
    pub(super) fn ended(&mut self, now: Instant, after: After) {
        // A clock does not count to the end of time.
        let after = After { interval: after.interval.min(LONGEST), ..after };
        self.want(now + after.interval);
        after.due.into_iter().for_each(|due| self.want(due));
        if std::mem::take(&mut self.owed) {
            self.changed.get_or_insert((now, now));
        }
        self.busy = if after.changed { self.busy + 1 } else { 0 };
        if after.changed {
            self.want(now + (VERIFY * 2_u32.saturating_pow(self.busy - 1)).min(after.interval));
        }
    }
}

/// Whether the manifests were read twice with the same content, [`CONFIRM`] apart.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    content: Option<(String, Instant)>,
    by_hand: bool,
}

impl Confirmed {
    /// Notes what was read. `None`: it is confirmed; else when to read again.
    pub(super) fn read(&mut self, content: &str, now: Instant) -> Option<Instant> {
        match &self.content {
            Some((known, since)) if known == content => {
                let again = *since + CONFIRM;
                (!self.by_hand && now < again).then_some(again)
            }
            _ => {
                self.content = Some((content.to_owned(), now));
                self.by_hand = false;
                Some(now + CONFIRM)
            }
        }
    }

    /// Until when nothing that a vanished directory declared is removed by what is read now; `None` if it has been so for long enough.
    pub(super) fn settles_at(&self, content: &str, now: Instant) -> Option<Instant> {
        let before = self.content.as_ref().filter(|(known, _)| known == content);
        let since = before.map_or(now, |(_, since)| *since);
        Some(since + VANISHED).filter(|until| now < *until)
    }

    /// A person asked for what is there now to be applied: that is as good as a second look.
    pub(super) fn asked_for(&mut self, content: &str, now: Instant) {
        let since = self.content.take().filter(|(known, _)| known == content).map_or(now, |(_, since)| since);
        self.content = Some((content.to_owned(), since));
        self.by_hand = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn after(changed: bool, due: Option<Instant>) -> After {
        After { interval: INTERVAL, changed, due }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_changes_is_one_pass() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(schedule.begin(start));
        schedule.ended(start, after(false, None));
        for millis in [0, 50, 250] {
            schedule.changed(start + Duration::from_millis(millis));
        }
        assert_eq!(schedule.next(), Some(start + Duration::from_millis(250) + QUIET));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_without_end_are_taken_up_all_the_same() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(schedule.begin(start));
        for step in 0..1_000 {
            schedule.changed(start + Duration::from_millis(100) * step);
        }
        assert_eq!(schedule.next(), Some(start + AT_MOST));
        assert!(!schedule.begin(start + AT_MOST), "nothing but changes asked for it");
        assert_eq!(schedule.next(), None, "what was seen is taken up");
    }

    #[tokio::test(start_paused = true)]
    async fn the_interval_a_retry_and_a_look_whether_that_was_all() {
        let now = Instant::now();
        let pause_after = |schedule: &mut Schedule, after: After| {
            schedule.begin(now + LONGEST * 2);
            schedule.ended(now, after);
            schedule.next().unwrap() - now
        };
        let mut schedule = Schedule::new(now);
        assert_eq!(pause_after(&mut schedule, after(false, None)), INTERVAL);
        let never = After { interval: Duration::MAX, ..after(false, None) };
        assert_eq!(pause_after(&mut schedule, never), LONGEST);
        let soon = Duration::from_secs(3);
        assert_eq!(pause_after(&mut schedule, after(false, Some(now + soon))), soon);
        let pauses: Vec<u64> = (0..9).map(|_| pause_after(&mut schedule, after(true, None)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause_after(&mut schedule, after(false, None)), INTERVAL);
        assert_eq!(pause_after(&mut schedule, after(true, None)), VERIFY, "nothing to do ends the doubling");
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_while_a_pass_runs_is_looked_at_each_time_and_taken_up_after_it() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.begin(now);
        let mut looks = 0;
        for second in 1..=10 {
            let at = now + Duration::from_secs(10 * second);
            schedule.changed(at);
            assert_eq!(schedule.quiet_at(), Some(at + QUIET));
            schedule.look();
            looks += 1;
        }
        assert_eq!((looks, schedule.quiet_at()), (10, None));
        let end = now + Duration::from_secs(200);
        schedule.ended(end, after(false, None));
        assert_eq!(schedule.next(), Some(end + QUIET));
    }

    #[tokio::test(start_paused = true)]
    async fn what_falls_due_later_is_not_taken_up_by_a_change() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.begin(now);
        schedule.ended(now, after(false, None));
        schedule.changed(now);
        assert!(!schedule.begin(now + QUIET));
        assert_eq!(schedule.next(), Some(now + INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn content_is_confirmed_by_a_second_look() {
        let now = Instant::now();
        let mut confirmed = Confirmed::default();
        assert_eq!(confirmed.read("a", now), Some(now + CONFIRM));
        assert_eq!(confirmed.read("a", now + CONFIRM / 2), Some(now + CONFIRM));
        assert_eq!(confirmed.read("a", now + CONFIRM), None);
        assert_eq!(confirmed.read("b", now + CONFIRM), Some(now + CONFIRM * 2));
        assert_eq!(confirmed.read("a", now + CONFIRM * 2), Some(now + CONFIRM * 3), "it was gone in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_vanished_directory_waits_longer_than_a_document() {
        let now = Instant::now();
        let mut confirmed = Confirmed::default();
        confirmed.read("a", now);
        confirmed.read("a", now + CONFIRM);
        let settles = |confirmed: &Confirmed, content: &str, at: Instant| confirmed.settles_at(content, at);
        assert_eq!(settles(&confirmed, "a", now + CONFIRM), Some(now + VANISHED));
        assert_eq!(settles(&confirmed, "a", now + VANISHED), None);
        assert_eq!(settles(&confirmed, "b", now + VANISHED), Some(now + VANISHED * 2), "another content begins anew");
        confirmed.read("b", now + VANISHED);
        assert_eq!(settles(&confirmed, "b", now + VANISHED), Some(now + VANISHED * 2), "it changed again");
        confirmed.asked_for("b", now + VANISHED);
        assert_eq!(
            settles(&confirmed, "b", now + VANISHED),
            Some(now + VANISHED * 2),
            "an apply does not shorten the wait"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_person_asks_for_needs_no_second_look() {
        let now = Instant::now();
        let mut confirmed = Confirmed::default();
        confirmed.asked_for("a", now);
        assert_eq!(confirmed.read("a", now), None);
        assert_eq!(confirmed.read("b", now), Some(now + CONFIRM));
        assert_eq!(confirmed.read("a", now), Some(now + CONFIRM));
    }
}
