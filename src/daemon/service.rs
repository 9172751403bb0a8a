//! What the service manager is told (sd_notify). Without one, nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells the service manager.
pub(super) struct Service {
    /// How often it wants to hear that the loop turns.
    watchdog: Option<Duration>,
}

impl Service {
    /// From the environment, which says whether there is one.
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often [`Service::alive`] has to be called: twice as often as it is waited for.
    pub(super) fn beat(&self) -> Option<Duration> {
        self.watchdog.map(|every| every / 2)
    }

    /// The daemon answers.
    pub(super) fn ready(&self, what: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(what)]);
    }

    /// Everything is read again; [`Service::ready`] ends it.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "the service manager is not told of a reload"),
        }
    }

    /// One line for `systemctl status`.
    pub(super) fn says(&self, what: &str) {
        tell(&[NotifyState::Status(what)]);
    }

    /// The daemon ends.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// The loop turns.
    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager this does nothing.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
