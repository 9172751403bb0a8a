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

    /// Returns the exact form with the shortest number: a whole one, or one with a decimal digit where that is shorter (`1.5Gi`, `512Mi`);
    /// of two, one in a binary unit.
    fn shortest(self) -> ExactForm {
        // Of one unit, a whole number is shorter than one with a decimal digit.
        let of_unit = |unit| ExactForm::of(self, unit, 0).or_else(|| ExactForm::of(self, unit, 1));
        // A number below 1 is no shorter than that of a smaller unit.
        let forms = UNITS.iter().filter(|unit| self.0 >= unit.bytes).filter_map(of_unit);
        forms.min_by_key(ExactForm::width).unwrap_or(ExactForm { number: self.0, decimals: 0, unit: "" })
    }

    /// Returns a size for people who compare it: with its bytes where the short form is rounded, so that different sizes never read alike.
    pub fn exact(self) -> String {
        match self.short() {
            (short, true) => short,
            (short, false) => format!("{short} ({} bytes)", self.0),
        }
    }

    /// Returns a size for people who need its magnitude: exact up to five digits, else rounded to two decimals of a binary unit.
    pub fn rounded(self) -> String {
        self.short().0
    }

    /// Returns the form of [`Size::rounded`], and whether it is exact.
    fn short(self) -> (String, bool) {
        let shortest = self.shortest();
        match UNITS.iter().find(|unit| unit.is_binary() && self.0 >= unit.bytes) {
            Some(unit) if shortest.number > MOST_EXACT => {
                let rounded = format!("{:.2}{}", self.0 as f64 / unit.bytes as f64, unit.name);
                let is_exact = rounded.parse() == Ok(self);
                (rounded, is_exact)
            }
            _ => (shortest.to_string(), true),
        }
    }
}

/// The largest number that people read as it is, without its point.
const MOST_EXACT: u64 = 99_999;

/// A unit of sizes.
#[derive(Debug, PartialEq, Eq)]
struct SizeUnit {
    name: &'static str,
    bytes: u64,
}

impl SizeUnit {
    const fn binary(name: &'static str, bits: u32) -> Self {
        Self { name, bytes: 1 << bits }
    }

    const fn decimal(name: &'static str, digits: u32) -> Self {
        Self { name, bytes: 10_u64.pow(digits) }
    }

    fn is_binary(&self) -> bool {
        self.bytes.is_power_of_two()
    }
}

/// The units of sizes: binary ones first, the largest of each first.
static UNITS: [SizeUnit; 10] = [
    SizeUnit::binary("Pi", 50),
    SizeUnit::binary("Ti", 40),
    SizeUnit::binary("Gi", 30),
    SizeUnit::binary("Mi", 20),
    SizeUnit::binary("Ki", 10),
    SizeUnit::decimal("P", 15),
    SizeUnit::decimal("T", 12),
    SizeUnit::decimal("G", 9),
    SizeUnit::decimal("M", 6),
    SizeUnit::decimal("k", 3),
];

/// A size as a number of a unit, exactly.
struct ExactForm {
    /// The number without its point: 15 of `1.5Gi`.
    number: u64,
    /// The digits after the point.
    decimals: u8,
    unit: &'static str,
}

impl ExactForm {
    /// Returns a size as a number of this unit with so many digits after the point, if it is one.
    fn of(size: Size, unit: &'static SizeUnit, decimals: u8) -> Option<Self> {
        let number = match size.0.checked_mul(10_u64.pow(decimals.into())) {
            Some(scaled) => scaled.is_multiple_of(unit.bytes).then(|| scaled / unit.bytes),
            None => {
                let (scaled, unit_bytes) = (u128::from(size.0) * 10_u128.pow(decimals.into()), u128::from(unit.bytes));
                u64::try_from(scaled / unit_bytes).ok().filter(|_| scaled.is_multiple_of(unit_bytes))
            }
        };
        Some(Self { number: number?, decimals, unit: unit.name })
    }

    /// The length of its number, which is at least 1.
    fn width(&self) -> u32 {
        self.number.checked_ilog10().unwrap_or(0) + u32::from(self.decimals > 0)
    }
}

impl fmt::Display for ExactForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, decimals, unit } = self;
        if *decimals == 0 {
            return write!(f, "{number}{unit}");
        }
        let (one, digits) = (10_u64.pow((*decimals).into()), usize::from(*decimals));
        write!(f, "{}.{:0digits$}{unit}", number / one, number % one)
    }
}

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

/// Returns the unit with this name; `GiB` is `Gi`.
fn unit_named(name: &str) -> Option<&'static SizeUnit> {
    let is_named =
        |unit: &&SizeUnit| name == unit.name || unit.is_binary() && name.strip_suffix('B') == Some(unit.name);
    UNITS.iter().find(is_named)
}

impl FromStr for Size {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let form = || QuantityError::Form { example: "10Gi" };
        no_leading_zero(text)?;
        let (number, decimals, unit) = split(text).ok_or_else(form)?;
        let factor = match (unit, unit_named(unit)) {
            ("", _) => 1,
            (_, Some(unit)) => u128::from(unit.bytes),
            (_, None) => {
                let known = "Ki Mi Gi Ti Pi (powers of 1024) and k M G T P (powers of 1000)";
                return Err(QuantityError::Unit { unit: unit.to_owned(), known });
            }
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
    /// Exact, in the form of a manifest with the shortest number (`10Gi`, `1.5Gi`, `1500Mi`, `1500Ki`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shortest().to_string())
    }
}

/// A declared size, which is shown as its document writes it. Two are equal if their bytes are, and only these are stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "Size", into = "Size")]
pub struct DeclaredSize {
    size: Size,
    /// The place of its unit in the table, and its digits after the point, if the size alone would be shown in another form.
    written: Option<(u8, u8)>,
}

impl DeclaredSize {
    /// Formats a size for a comparison: as declared where it is the same, else as [`Size::exact`].
    pub fn exact(self, size: Size) -> String {
        self.as_written().filter(|_| size == self.size).unwrap_or_else(|| size.exact())
    }

    /// Returns the text of its document, if the size alone would be shown as another.
    pub fn as_written(self) -> Option<String> {
        self.written_form().map(|form| form.to_string())
    }

    fn written_form(self) -> Option<ExactForm> {
        let (unit, decimals) = self.written?;
        ExactForm::of(self.size, UNITS.get(usize::from(unit))?, decimals)
    }
}

impl From<Size> for DeclaredSize {
    fn from(size: Size) -> Self {
        Self { size, written: None }
    }
}

impl From<DeclaredSize> for Size {
    fn from(declared: DeclaredSize) -> Self {
        declared.size
    }
}

impl std::ops::Deref for DeclaredSize {
    type Target = Size;

    fn deref(&self) -> &Size {
        &self.size
    }
}

impl PartialEq for DeclaredSize {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size
    }
}

impl Eq for DeclaredSize {}

impl FromStr for DeclaredSize {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let size: Size = text.parse()?;
        let written = || {
            let (_, decimals, unit) = split(text)?;
            let unit = UNITS.iter().position(|known| known.name == unit)?;
            Some((u8::try_from(unit).ok()?, u8::try_from(decimals).ok()?))
        };
        let declared = Self { size, written: written() };
        // A number that is not a whole number of bytes was rounded up.
        let is_kept = declared.written_form().is_some_and(|form| form.to_string() == text) && size.to_string() != text;
        Ok(if is_kept { declared } else { size.into() })
    }
}

impl fmt::Display for DeclaredSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.written_form() {
            Some(form) => f.pad(&form.to_string()),
            None => self.size.fmt(f),
        }
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
    fn a_size_is_shown_in_the_unit_with_the_shortest_number() {
        for shown in
            ["1", "512", "1k", "1500Mi", "10Gi", "1.5Gi", "512Mi", "1.5G", "1000Ki", "1025Gi", "1000001", "2P", "0"]
        {
            assert_eq!(shown.parse::<Size>().map(|size| size.to_string()), Ok(shown.to_owned()));
        }
        for (written, shown) in [
            ("2048Mi", "2Gi"),
            ("1536Mi", "1.5Gi"),
            ("0.5Gi", "512Mi"),
            ("1500M", "1.5G"),
            ("1024k", "1000Ki"),
            ("1.25Gi", "1280Mi"),
        ] {
            assert_eq!(written.parse::<Size>().map(|size| size.to_string()), Ok(shown.to_owned()));
        }
        for bytes in (0..64).flat_map(|bits| [1_u64 << bits, (1 << bits) - 1, 3 << bits.min(61)]) {
            let size = Size(bytes.min(Size::MAX.0));
            assert_eq!(size.to_string().parse(), Ok(size), "{bytes}");
        }
    }

    #[test]
    fn a_declared_size_is_shown_as_it_is_written() {
        for written in [
            "1.5Gi",
            "2048Mi",
            "1536Mi",
            "0.5Gi",
            "1.25Gi",
            "1.50Gi",
            "1500M",
            "1024k",
            "10Gi",
            "0.000000001G",
            "20.000000001G",
            "0",
        ] {
            let declared: DeclaredSize = written.parse().unwrap();
            assert_eq!(declared.to_string(), written);
            assert_eq!(declared.exact(*declared), written);
            assert_eq!(declared, DeclaredSize::from(*declared), "the same size, however it is written");
            assert_eq!(serde_json::to_value(declared).unwrap(), serde_json::json!(declared.bytes()));
        }
        // Without a unit, and where it is no whole number of bytes.
        for (written, shown) in [("1073741824", "1Gi"), ("0.1Ki", "103"), ("10GiB", "10Gi")] {
            assert_eq!(written.parse::<DeclaredSize>().unwrap().to_string(), shown);
        }
        let declared: DeclaredSize = "2048Mi".parse().unwrap();
        assert_eq!(declared.exact(Size(4 << 30)), "4Gi", "another size");
    }

    #[test]
    fn a_measured_amount_is_rounded_if_its_number_is_long() {
        for (bytes, shown) in [
            (97_570_000_896, "90.87Gi"),
            (1500 << 20, "1500Mi"),
            (3 << 29, "1.5Gi"),
            (0, "0"),
            (1000, "1k"),
            (1001, "1001"),
        ] {
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
