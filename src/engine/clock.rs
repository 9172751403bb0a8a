//! The host's clock: the one place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Clock;

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// Seconds since 1970; 0 on a host whose clock stands before it.
    fn now(&self) -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the time comes from; all else is given a Clock"
        )]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
    }
}
