//! Times in RFC 3339.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time in seconds since 1970, shown in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&rfc3339(self.0))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seconds = match text.strip_suffix(PAST_RFC3339) {
            Some(seconds) => seconds.parse().ok(),
            None => text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_second()).ok()),
        };
        seconds.map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is not a time in RFC 3339")))
    }
}

/// What follows a number of seconds that RFC 3339 cannot express.
const PAST_RFC3339: &str = " seconds after 1970";

/// Formats seconds since 1970 in RFC 3339, in UTC; as a number of seconds past the year 9999, which RFC 3339 cannot express.
pub fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("{seconds}{PAST_RFC3339}"), |time| time.to_string())
}
