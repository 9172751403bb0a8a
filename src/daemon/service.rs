//! Notifications to the service manager (sd_notify). Without a service manager they do nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The connection to the service manager.
pub(super) struct Service {
    /// The watchdog interval of the service manager.
    watchdog: Option<Duration>,
}

impl Service {
    /// Reads the watchdog interval from the environment.
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often to call [`Service::alive`]: twice per watchdog interval.
    pub(super) fn keep_alive_interval(&self) -> Option<Duration> {
        self.watchdog.map(|every| every / 2)
    }

    /// Reports that the daemon is ready.
    pub(super) fn ready(&self, what: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(what)]);
    }

    /// Reports a reload, which [`Service::ready`] ends.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "cannot report the reload to the service manager"),
        }
    }

    /// Sets the line that `systemctl status` shows.
    pub(super) fn status(&self, what: &str) {
        notify(&[NotifyState::Status(what)]);
    }

    /// Reports that the daemon is ending.
    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// Reports that the loop runs.
    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
