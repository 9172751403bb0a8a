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

/// Formats the time since an event as an age, in the unit of which it has at least two: `90s`, `5m`, `47h`, `12d`, `3y`. An event in the
/// future has the age `0s`.
pub fn age(now: u64, since: u64) -> String {
    let seconds = now.saturating_sub(since);
    let units = [(365 * 86_400, "y"), (86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, letter) = unit.unwrap_or((1, "s"));
    format!("{}{letter}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::{Moment, age};

    #[test]
    fn ages_have_one_unit() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_199, "119m"),
            (7_200, "2h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
        ] {
            assert_eq!(age(1_795_305_600 + seconds, 1_795_305_600), shown);
        }
        assert_eq!(age(5, 10), "0s");
    }

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        for moment in [Moment(0), Moment(1_795_305_600), Moment(u64::MAX)] {
            let json = serde_json::to_string(&moment).unwrap();
            assert_eq!(serde_json::from_str::<Moment>(&json).unwrap(), moment, "{json}");
        }
        for text in ["\"yesterday\"", "\"-1 seconds after 1970\"", "\"1969-01-01T00:00:00Z\"", "12"] {
            assert!(serde_json::from_str::<Moment>(text).is_err(), "{text}");
        }
    }
}
