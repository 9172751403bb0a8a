//! When the next pass begins. Pure: events and the time are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// A pass begins once the manifests have not changed for this long: one save of an editor is several events, a checkout thousands. Shorter
/// than a person notices, longer than the pauses within one save.
pub(super) const QUIET: Duration = Duration::from_millis(300);
/// A pass begins at most this long after the first change, so that constant changes do not postpone everything.
pub(super) const AT_MOST: Duration = Duration::from_secs(2);
/// The least time between a read and its confirmation read, which must find the same content before anything is removed.
pub(super) const CONFIRM: Duration = Duration::from_secs(2);
/// How long a directory outside Git must be gone before the objects that it declared are removed. An unmounted file system, a directory
/// moved away and back, or an unfinished copy lasts seconds.
pub(super) const VANISHED: Duration = Duration::from_secs(60);
/// A pass that changed something is followed by another that verifies it, after this long. The pause doubles while passes keep changing
/// something, so that another program that reverts the changes does not keep Kiln busy.
const VERIFY: Duration = Duration::from_secs(1);

/// The longest interval, whatever the Stack declares.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// When the next pass begins, and why.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The first and last change since the last pass began.
    changed: Option<(Instant, Instant)>,
    /// The earliest due time: of a request, a retry or the interval.
    due: Option<Instant>,
    /// Since when a slow backend has answered that no pass has waited for.
    answered: Option<Instant>,
    /// Changes arrived while a pass ran; the next pass follows for them.
    deferred: bool,
    /// How many passes in a row changed something.
    changing_passes: u32,
}

/// Why a pass is due that no change requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Its time has come: a request, a retry, the interval.
    Time,
    /// A slow backend has answered.
    Answer,
}

/// What a finished pass requires of the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct After {
    /// `Stack.spec.interval`.
    pub(super) interval: Duration,
    /// Whether the pass changed something.
    pub(super) changed: bool,
    /// The earliest retry, confirmation read or expiry.
    pub(super) due: Option<Instant>,
}

impl Schedule {
    /// The first pass begins at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { changed: None, due: Some(now), answered: None, deferred: false, changing_passes: 0 }
    }

    /// The manifests may have changed.
    pub(super) fn changed(&mut self, now: Instant) {
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
    }

    /// Requests a pass at `at` or earlier.
    pub(super) fn want(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |other| other.min(at)));
    }

    /// A slow backend has answered that no pass has waited for.
    pub(super) fn answered(&mut self, now: Instant) {
        self.answered.get_or_insert(now);
    }

    /// When the changes so far count as complete.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.changed.map(|(first, last)| (last + QUIET).min(first + AT_MOST))
    }

    /// Leaves the changes that arrive while a pass runs to the next pass.
    pub(super) fn defer_changes(&mut self) {
        self.deferred |= self.changed.take().is_some();
    }

    /// When the next pass begins, if nothing else happens.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.quiet_at(), self.due, self.answered].into_iter().flatten().min()
    }

    /// When another pass is due while one runs, but for changes.
    pub(super) fn due_beside(&self) -> Option<Instant> {
        [self.due, self.answered].into_iter().flatten().min()
    }

    /// Records that a pass begins, for all changes so far. Returns why else it is due.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Due> {
        self.changed = None;
        let answered = self.answered.take().map(|_| Due::Answer);
        self.due.take_if(|at| *at <= now).map(|_| Due::Time).or(answered)
    }

    /// Records the end of a pass.
    pub(super) fn ended(&mut self, now: Instant, after: After) {
        // Adding a longer interval would overflow the clock.
        let after = After { interval: after.interval.min(LONGEST), ..after };
        self.want(now + after.interval);
        after.due.into_iter().for_each(|due| self.want(due));
        if std::mem::take(&mut self.deferred) {
            self.changed.get_or_insert((now, now));
        }
        self.changing_passes = if after.changed { self.changing_passes + 1 } else { 0 };
        if after.changed {
            self.want(now + (VERIFY * 2_u32.saturating_pow(self.changing_passes - 1)).min(after.interval));
        }
    }
}

/// Whether two reads of the manifests, [`CONFIRM`] apart, found the same content.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    content: Option<(String, Instant)>,
    /// A person asked for this content to be applied.
    requested: bool,
}

impl Confirmed {
    /// Records a read. Returns when to read again, or `None` if the content is confirmed.
    pub(super) fn read(&mut self, content: &str, now: Instant) -> Option<Instant> {
        match &self.content {
            Some((known, since)) if known == content => {
                let again = *since + CONFIRM;
                (!self.requested && now < again).then_some(again)
            }
            _ => {
                self.content = Some((content.to_owned(), now));
                self.requested = false;
                Some(now + CONFIRM)
            }
        }
    }

    /// Returns until when objects of a vanished directory are kept, or `None` if `content` has lasted long enough.
    pub(super) fn settles_at(&self, content: &str, now: Instant) -> Option<Instant> {
        let before = self.content.as_ref().filter(|(known, _)| known == content);
        let since = before.map_or(now, |(_, since)| *since);
        Some(since + VANISHED).filter(|until| now < *until)
    }

    /// Records that a person asked for `content` to be applied, which replaces the confirmation read.
    pub(super) fn asked_for(&mut self, content: &str, now: Instant) {
        let since = self.content.take().filter(|(known, _)| known == content).map_or(now, |(_, since)| since);
        self.content = Some((content.to_owned(), since));
        self.requested = true;
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
        assert_eq!(schedule.begin(start), Some(Due::Time));
        schedule.ended(start, after(false, None));
        for millis in [0, 50, 250] {
            schedule.changed(start + Duration::from_millis(millis));
        }
        assert_eq!(schedule.next(), Some(start + Duration::from_millis(250) + QUIET));
    }

    #[tokio::test(start_paused = true)]
    async fn constant_changes_do_not_prevent_passes() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert_eq!(schedule.begin(start), Some(Due::Time));
        for step in 0..1_000 {
            schedule.changed(start + Duration::from_millis(100) * step);
        }
        assert_eq!(schedule.next(), Some(start + AT_MOST));
        assert_eq!(schedule.begin(start + AT_MOST), None, "only the changes require it");
        assert_eq!(schedule.next(), None, "the pass covers all changes so far");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_due_after_the_interval_a_retry_or_a_change_to_verify() {
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
        assert_eq!(pause_after(&mut schedule, after(true, None)), VERIFY, "a pass without changes resets the pause");
    }

    #[tokio::test(start_paused = true)]
    async fn changes_during_a_pass_are_checked_each_time_and_followed_by_another_pass() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.begin(now);
        let mut checks = 0;
        for second in 1..=10 {
            let at = now + Duration::from_secs(10 * second);
            schedule.changed(at);
            assert_eq!(schedule.quiet_at(), Some(at + QUIET));
            schedule.defer_changes();
            checks += 1;
        }
        assert_eq!((checks, schedule.quiet_at()), (10, None));
        let end = now + Duration::from_secs(200);
        schedule.ended(end, after(false, None));
        assert_eq!(schedule.next(), Some(end + QUIET));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_for_a_change_does_not_replace_one_that_is_due_later() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.begin(now);
        schedule.ended(now, after(false, None));
        schedule.changed(now);
        assert_eq!(schedule.begin(now + QUIET), None);
        assert_eq!(schedule.next(), Some(now + INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn content_is_confirmed_by_a_second_read() {
        let now = Instant::now();
        let mut confirmed = Confirmed::default();
        assert_eq!(confirmed.read("a", now), Some(now + CONFIRM));
        assert_eq!(confirmed.read("a", now + CONFIRM / 2), Some(now + CONFIRM));
        assert_eq!(confirmed.read("a", now + CONFIRM), None);
        assert_eq!(confirmed.read("b", now + CONFIRM), Some(now + CONFIRM * 2));
        assert_eq!(confirmed.read("a", now + CONFIRM * 2), Some(now + CONFIRM * 3), "the content differed in between");
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
        assert_eq!(
            settles(&confirmed, "b", now + VANISHED),
            Some(now + VANISHED * 2),
            "another content restarts the wait"
        );
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
    async fn a_request_by_a_person_needs_no_confirmation_read() {
        let now = Instant::now();
        let mut confirmed = Confirmed::default();
        confirmed.asked_for("a", now);
        assert_eq!(confirmed.read("a", now), None);
        assert_eq!(confirmed.read("b", now), Some(now + CONFIRM));
        assert_eq!(confirmed.read("a", now), Some(now + CONFIRM));
    }
}
