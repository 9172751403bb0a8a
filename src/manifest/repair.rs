//! Guesses what an invalid value was meant to be. Each guess is a valid value.

use std::fmt::Display;
use std::str::FromStr;

use crate::model::{Percent, Seconds, Size};

/// Removes what does not belong to a value: quotes, a comma or bracket at its end, a comment that does not begin with ` #`.
pub(super) fn bare(text: &str) -> &str {
    let text = text.split('#').next().unwrap_or(text);
    let text = text.split("//").next().filter(|before| before.ends_with(' ')).unwrap_or(text);
    let around = |c: char| {
        matches!(c, ',' | ';' | '，' | '；' | '}' | ']' | '"' | '\'' | '“' | '”' | '„' | '‘' | '’') || c.is_whitespace()
    };
    text.trim_matches(around)
}

/// Returns a text in straight quotes in place of curly ones.
pub(super) fn unquoted(text: &str) -> Option<String> {
    let text = bare(text);
    (!text.contains('"')).then(|| format!("\"{text}\""))
}

/// Returns the comment that begins without a blank before `#`, or with `//`, as YAML has it.
pub(super) fn comment(text: &str) -> String {
    let comment = text.split_once('#').or_else(|| text.split_once(" //")).map_or("", |(_, comment)| comment.trim());
    if comment.is_empty() { String::new() } else { format!(" # {comment}") }
}

/// Returns the text if it is valid.
fn valid<T: FromStr>(text: String) -> Option<String> {
    text.parse::<T>().is_ok().then_some(text)
}

/// Splits a number and its unit.
fn number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// Guesses the sizes that `10GB`, `10 Gi`, `1,5gi` or `-10Gi` can mean: two if the unit could be a power of 1024 or of 1000.
pub(super) fn size(text: &str) -> Vec<String> {
    let text: String = bare(text).chars().map(base_character).collect();
    let text = text.trim_start_matches('-').trim_end_matches("/s").replace([' ', '_', '\u{a0}'], "");
    // `1.000.000` is a million.
    let groups = || text.split('.').skip(1).all(|group| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit()));
    let text = if text.matches('.').count() > 1 && groups() { text.replace('.', "") } else { text };
    // `1OGi`, `10G1`
    let digits =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, 'O' | 'l' | 'I' | '.' | ','))).unwrap_or(text.len());
    let (whole, unit) = text.split_at(digits);
    let whole = whole.replace('O', "0").replace(['l', 'I'], "1");
    let text = match unit.char_indices().nth(1) {
        Some((at, '1' | 'l' | '|')) => format!("{whole}{}i{}", &unit[..at], &unit[at + 1..]),
        _ => format!("{whole}{unit}"),
    };
    let text = match text.trim_start_matches('0') {
        rest if rest.starts_with(|c: char| c.is_ascii_digit()) => rest.to_owned(),
        _ => text,
    };
    let text = match text.split_once(',') {
        // `1,000Mi` is a thousand, `1,5Gi` one and a half.
        Some((whole, rest)) if number(rest).0.len() == 3 => format!("{whole}{rest}"),
        Some((whole, rest)) => format!("{whole}.{rest}"),
        None => text,
    };
    let (number, unit) = number(&text);
    let lower = unit.to_ascii_lowercase();
    let first = lower.chars().next().map(|c| if c == 'k' { c } else { c.to_ascii_uppercase() });
    let (decimal, binary) = match first {
        None => (String::new(), String::new()),
        Some(c @ ('k' | 'M' | 'G' | 'T' | 'P')) => (c.to_string(), format!("{}i", c.to_ascii_uppercase())),
        Some(_) => return Vec::new(),
    };
    let guess = |unit: &str| valid::<Size>(format!("{number}{unit}"));
    match lower.get(1..).unwrap_or_default() {
        "i" | "ib" | "ibibytes" => guess(&binary).into_iter().collect(),
        "" if decimal == unit => guess(&decimal).into_iter().collect(),
        "" | "b" | "bytes" | "igabytes" | "egabytes" | "erabytes" => {
            guess(&binary).into_iter().chain(guess(&decimal)).collect()
        }
        _ => Vec::new(),
    }
}

/// Guesses the durations that `7 days`, `1w` or `1h30m` mean; `60` can mean one of each unit.
pub(super) fn durations(text: &str) -> Vec<String> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => ["s", "m", "h", "d"].into_iter().filter_map(|unit| valid::<Seconds>(format!("{text}{unit}"))).collect(),
        false => duration(text).into_iter().collect(),
    }
}

fn duration(text: &str) -> Option<String> {
    let text: String = bare(text).chars().map(base_character).collect();
    let text = text.replace(' ', "").to_ascii_lowercase();
    let (mut rest, mut total) = (text.as_str(), 0_u64);
    while !rest.is_empty() {
        let (count, more) = number(rest);
        let (unit, more) = more.split_at(more.find(|c: char| c.is_ascii_digit()).unwrap_or(more.len()));
        let factor = match unit {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 7 * 86_400,
            _ => return None,
        };
        total = total.checked_add(count.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = more;
    }
    (total > 0).then(|| valid::<Seconds>(Seconds(total).to_string())).flatten()
}

/// Guesses the percentage that `50 %` or `0.5` mean.
pub(super) fn percent(text: &str) -> Option<String> {
    let text = bare(text).replace(' ', "");
    match text.parse::<f64>() {
        Ok(share) if share < 1.0 && text.contains('.') => valid::<Percent>(format!("{:.0}%", share * 100.0)),
        _ => valid::<Percent>(text),
    }
}

/// Guesses the factor that `150%` means.
pub(super) fn factor(text: &str) -> Option<String> {
    let percent: f64 = bare(text).strip_suffix('%')?.trim().parse().ok()?;
    (percent > 0.0 && percent.is_finite()).then(|| (percent / 100.0).to_string())
}

/// Guesses the name that `Web_1`, `web server`, `web:` or `volume/web` mean.
pub(super) fn name<T: FromStr<Err: Display>>(text: &str) -> Option<String> {
    let text = bare(text).trim_end_matches('/');
    let text = text.rsplit('/').next().unwrap_or(text);
    let text: String = text.to_lowercase().chars().map(base_character).collect();
    let text = text.replace(": ", "-").replace(['_', ' ', '.', ':'], "-");
    valid::<T>(text.trim_matches(|c: char| c.is_ascii_punctuation()).to_owned())
}

/// Returns a letter without its accent, and a full-width character as an ordinary one.
pub(super) fn base_character(c: char) -> char {
    match c {
        'à'..='å' => 'a',
        'ç' => 'c',
        'è'..='ë' => 'e',
        'ì'..='ï' => 'i',
        'ñ' => 'n',
        'ò'..='ö' | 'ø' => 'o',
        'ù'..='ü' => 'u',
        'ý' | 'ÿ' => 'y',
        '‐'..='―' => '-',
        '！'..='～' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Writes a text as a value in braces: in quotes, if it would end there.
pub(super) fn in_braces(text: &str) -> String {
    let is_safe = !text.contains([',', '{', '}', '[', ']', '"', '\'']) && !text.contains(": ") && !text.contains(" #");
    if is_safe { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// Writes pairs like `team=shop,tier:web` as the entries of a map.
pub(super) fn as_pairs(text: &str) -> Option<String> {
    let pair = |part: &str| {
        let (key, value) =
            part.split_once(['=', ':', ';', '：', '＝']).map(|(key, value)| (key.trim(), value.trim()))?;
        let is_plain = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        };
        let value = value.trim_matches(['"', '\'']);
        let is_text = |text: &str| is_plain(text) && !["true", "false", "null"].contains(&text);
        (is_plain(key) && !value.contains('"')).then(|| match is_text(value) {
            true => format!("{key}: {value}"),
            false => format!("{key}: \"{value}\""),
        })
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(pair).collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty()).map(|pairs| pairs.join(", "))
}

/// Writes words, or parts between commas, as a list.
pub(super) fn as_list(text: &str) -> String {
    format!("[{}]", list_items(text).collect::<Vec<_>>().join(", "))
}

/// Returns the words of a text, or its parts between commas.
pub(super) fn list_items(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    text.split(|c: char| matches!(c, ',' | '，' | '[' | ']' | '［' | '］') || c.is_whitespace())
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;

    #[test]
    fn guesses_are_what_a_person_means() {
        let sizes = [
            "10 Gi",
            "10gi",
            "1,5Gi",
            "1,000Mi",
            "1_000Mi",
            "-10Gi",
            "10Gi,",
            "10Gi#was 5Gi",
            "10Gi // was 5Gi",
            "“10Gi”",
        ];
        let meant = ["10Gi", "10Gi", "1.5Gi", "1000Mi", "1000Mi", "10Gi", "10Gi", "10Gi", "10Gi", "10Gi"];
        assert_eq!(sizes.map(|text| size(text).concat()), meant);
        let others = ["1.000.000", "010Gi", "0100", "１０Gi", "1OGi", "10G1", "10Gi，"];
        assert_eq!(others.map(|text| size(text).concat()), ["1000000", "10Gi", "100", "10Gi", "10Gi", "10Gi", "10Gi"]);
        for text in ["10GB", "10gb", "10g", "10 gigabytes"] {
            assert_eq!(size(text), ["10Gi", "10G"], "{text}");
        }
        let durations = ["7 days", "1w", "1h30m", "60", "5min", "2 weeks"];
        assert_eq!(durations.map(|text| duration(text).unwrap()), ["7d", "7d", "90m", "1m", "5m", "14d"]);
        assert_eq!(["50 %", "0.5", "5,"].map(|text| percent(text).unwrap()), ["50%", "50%", "5"]);
        assert_eq!(factor("150%").unwrap(), "1.5");
        let names = ["Web_1", "web server", "volume/web", "web,", "_web", "web%:", "web/", "Wéb", "ｗｅｂ"];
        let meant = ["web-1", "web-server", "web", "web", "web", "web", "web", "web", "web"];
        assert_eq!(names.map(|text| name::<Name>(text).unwrap()), meant);
    }

    #[test]
    fn what_cannot_be_guessed_is_not() {
        for text in ["", "ten", "10Xi", "10..5Gi", "Gi", "10Gi more", "99999999999Pi"] {
            assert_eq!(size(text), [""; 0], "{text}");
        }
        for text in ["", "0s", "soon", "1.5h", "10 years", "99999999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!((percent("half"), factor("1.5"), name::<Name>("値"), name::<Name>("--")), (None, None, None, None));
        assert_eq!(["inf%", "nan%", "-5%", "1e999%"].map(factor), [None, None, None, None]);
    }
}
