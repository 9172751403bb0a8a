//! The clock of a pass.

use std::time::{SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn now(&self) -> u64;
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// Seconds since 1970; 0 if the host's clock is before that.
    fn now(&self) -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the time comes from; all else is given a Clock"
        )]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
    }
}
