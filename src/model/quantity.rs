//! Sizes, durations and percentages, as in manifests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a quantity. The message completes "the value …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It has no number, or text after the unit.
    #[error("is not a number with a unit, like {example}")]
    Form {
        /// A valid value.
        example: &'static str,
    },
    /// A leading zero: `010` is 8 to some parsers and 10 to others.
    #[error("begins with a zero, so that some parsers read an octal number")]
    LeadingZero,
    /// An unknown unit.
    #[error("has the unknown unit {unit:?}; known are {known}")]
    Unit {
        /// The written unit.
        unit: String,
        /// The known units.
        known: &'static str,
    },
    /// More than the maximum.
    #[error("is too large; at most {max}")]
    Large {
        /// The maximum.
        max: &'static str,
    },
}

/// A number of bytes, at most 2^63 - 1 (the largest file offset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(pub u64);

impl Size {
    /// The maximum: the largest `off_t`.
    pub const MAX: Size = Size(i64::MAX as u64);

    /// Returns the number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Rounds up to a multiple of `granularity` (in bytes; 0 and 1 change nothing).
    pub fn round_up(self, granularity: u64) -> Size {
        match granularity {
            0 | 1 => self,
            unit => Size(self.0.div_ceil(unit).saturating_mul(unit)),
        }
    }

    /// Returns the number and the unit in which it has the fewest digits; of two, the binary unit.
    fn shortest(self) -> (u64, &'static str) {
        let binary = BINARY.iter().map(|(unit, bits)| (1 << bits, *unit));
        let decimal = DECIMAL.iter().map(|(unit, digits)| (10_u64.pow(*digits), *unit));
        let exact = binary.chain(decimal).filter(|(factor, _)| self.0 > 0 && self.0.is_multiple_of(*factor));
        let forms = exact.map(|(factor, unit)| (self.0 / factor, unit));
        forms.min_by_key(|(number, _)| number.checked_ilog10()).unwrap_or((self.0, ""))
    }

    /// Returns a size for people who compare it: with its bytes where the short form is rounded, so that different sizes never read alike.
    pub fn exact(self) -> String {
        let short = self.rounded();
        if short.parse() == Ok(self) { short } else { format!("{short} ({} bytes)", self.0) }
    }

    /// Returns a size for people who need its magnitude: exact up to five digits, else rounded to two decimals of a binary unit.
    pub fn rounded(self) -> String {
        let (number, unit) = self.shortest();
        match BINARY.iter().find(|(_, bits)| self.0 >= 1 << bits) {
            Some((unit, bits)) if number > MOST_EXACT => {
                format!("{:.2}{unit}", self.0 as f64 / (1_u64 << bits) as f64)
            }
            _ => format!("{number}{unit}"),
        }
    }
}

/// The largest number that people read as it is.
const MOST_EXACT: u64 = 99_999;

const BINARY: [(&str, u32); 5] = [("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
const DECIMAL: [(&str, u32); 5] = [("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15)];

/// Refuses a leading zero.
fn no_leading_zero(number: &str) -> Result<(), QuantityError> {
    let mut bytes = number.bytes();
    let is_octal = bytes.next() == Some(b'0') && bytes.next().is_some_and(|byte| byte.is_ascii_digit());
    if is_octal { Err(QuantityError::LeadingZero) } else { Ok(()) }
}

/// Splits `1.5Gi` into (15, 1 decimal digit, "Gi").
fn split(text: &str) -> Option<(u128, u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits_ok = !whole.is_empty() && (!fraction.is_empty() || !number.contains('.'));
    // 19 digits before and 9 after the point suffice for any size, and do not overflow below.
    if !digits_ok || fraction.contains('.') || whole.len() > 19 || fraction.len() > 9 {
        return None;
    }
    Some((format!("{whole}{fraction}").parse().ok()?, fraction.len() as u32, unit))
}

impl FromStr for Size {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let form = || QuantityError::Form { example: "10Gi" };
        no_leading_zero(text)?;
        let (number, decimals, unit) = split(text).ok_or_else(form)?;
        let binary =
            BINARY.iter().find(|(name, _)| unit.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "B")));
        let factor = match (unit, binary) {
            ("", _) => 1,
            (_, Some((_, bits))) => 1_u128 << bits,
            _ => match DECIMAL.iter().find(|(name, _)| *name == unit) {
                Some((_, digits)) => 10_u128.pow(*digits),
                None => {
                    let known = "Ki Mi Gi Ti Pi (powers of 1024) and k M G T P (powers of 1000)";
                    return Err(QuantityError::Unit { unit: unit.to_owned(), known });
                }
            },
        };
        // A fraction of a byte is rounded up: the size is never less than requested.
        let bytes = (number * factor).div_ceil(10_u128.pow(decimals));
        match u64::try_from(bytes) {
            Ok(bytes) if bytes <= Self::MAX.0 => Ok(Size(bytes)),
            _ => Err(QuantityError::Large { max: "8Ei - 1" }),
        }
    }
}

impl fmt::Display for Size {
    /// Exact, in the form of a manifest: a whole number of the unit in which it has the fewest digits (`10Gi`, `1500Mi`, `1500M`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = self.shortest();
        f.pad(&format!("{number}{unit}"))
    }
}

/// A duration in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u64);

const SPANS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl From<Seconds> for std::time::Duration {
    fn from(seconds: Seconds) -> Self {
        std::time::Duration::from_secs(seconds.0)
    }
}

impl FromStr for Seconds {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let form = || QuantityError::Form { example: "30s, 15m, 12h or 7d" };
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
        let (number, unit) = text.split_at(end);
        no_leading_zero(number)?;
        let number: u64 = number.parse().map_err(|_| form())?;
        let Some((_, factor)) = SPANS.iter().find(|(name, _)| *name == unit) else {
            return Err(QuantityError::Unit { unit: unit.to_owned(), known: "s m h d" });
        };
        // 100 years: more than any use needs, and safe to add to any time.
        match number.checked_mul(*factor) {
            Some(seconds) if seconds <= 36_525 * 86_400 => Ok(Seconds(seconds)),
            _ => Err(QuantityError::Large { max: "36525d" }),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SPANS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}s", self.0),
        }
    }
}

/// A percentage; may exceed 100 for overcommit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(pub u32);

impl Percent {
    /// Returns this percentage of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / 100).unwrap_or(u64::MAX)
    }
}

impl FromStr for Percent {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let form = || QuantityError::Form { example: "90%" };
        let number = text.strip_suffix('%').unwrap_or(text);
        no_leading_zero(number)?;
        // `parse` accepts a sign.
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|_| is_plain).map(Percent).ok_or_else(form)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_exactly_and_rounded_up() {
        for (text, bytes) in [
            ("1", 1),
            ("10Gi", 10 << 30),
            ("10GiB", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("0.1Ki", 103),
            ("1k", 1000),
            ("2P", 2_000_000_000_000_000),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in [
            "",
            "Gi",
            "-1",
            "1.",
            ".5Gi",
            "1.2.3",
            "1Gb",
            "1 000",
            "1e9",
            "0x10",
            "010",
            "010Gi",
            "00",
            "00.5Gi",
            "8192Pi",
            "99999999999999999999",
            "1Gii",
            "10GiBB",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size(1).round_up(4096), Size(4096));
        assert_eq!(Size(4096).round_up(4096), Size(4096));
    }

    #[test]
    fn a_size_is_shown_in_the_unit_in_which_it_was_written() {
        for written in ["1", "512", "1k", "1500Mi", "10Gi", "1500M", "5G", "1000Ki", "1025Gi", "1000001", "2P", "0"] {
            assert_eq!(written.parse::<Size>().map(|size| size.to_string()), Ok(written.to_owned()));
        }
        for (written, shown) in [("2048Mi", "2Gi"), ("1.5Gi", "1536Mi"), ("1.5G", "1500M"), ("1024k", "1000Ki")] {
            assert_eq!(written.parse::<Size>().map(|size| size.to_string()), Ok(shown.to_owned()));
        }
        for bytes in (0..64).flat_map(|bits| [1_u64 << bits, (1 << bits) - 1, 3 << bits.min(61)]) {
            let size = Size(bytes.min(Size::MAX.0));
            assert_eq!(size.to_string().parse(), Ok(size), "{bytes}");
        }
    }

    #[test]
    fn a_measured_amount_is_rounded_if_its_number_is_long() {
        for (bytes, shown) in
            [(97_570_000_896, "90.87Gi"), (1500 << 20, "1500Mi"), (0, "0"), (1000, "1k"), (1001, "1001")]
        {
            assert_eq!(Size(bytes).rounded(), shown);
        }
        assert_eq!(Size((1 << 30) + 1).rounded(), "1.00Gi");
    }

    #[test]
    fn spans_are_shown_in_one_unit() {
        assert_eq!(Seconds(604_800).to_string(), "7d");
        assert_eq!(Seconds(90).to_string(), "90s");
    }

    #[test]
    fn durations_have_one_unit() {
        assert_eq!("15m".parse(), Ok(Seconds(900)));
        for text in ["", "15", "m", "1h30m", "1w", "-1s", "010s", "+1s", "99999999999d"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_plain_digits() {
        assert_eq!("90%".parse(), Ok(Percent(90)));
        assert_eq!("0".parse(), Ok(Percent(0)));
        for text in ["", "%", "090%", "+90%", "-1%", "9 0%", "90%%", "0x5a"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
