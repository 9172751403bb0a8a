//! The form of a text: its words, without the values that other texts of the same form have in their place. Pure.
//!
//! The planner writes names, sizes and numbers into its sentences. This module finds them again by how they are written: `volume db`,
//! `volume/db`, `` `size: 2Gi` ``, `2Gi`, and every name that the caller knows. A value that is found once in a text is found wherever
//! the same word stands in it.

use std::borrow::Cow;
use std::ops::Range;

use foldhash::{HashMap, HashMapExt};

/// The values in a text, as found in it.
#[derive(Debug)]
pub(super) struct TextForm<'t> {
    text: Cow<'t, str>,
    /// The distinct values, in the order in which they first occur.
    values: Vec<FoundValue>,
    /// Where values stand, in order, each with its index.
    at: Vec<(Range<usize>, usize)>,
}

#[derive(Debug)]
struct FoundValue {
    /// Where it first stands.
    first: Range<usize>,
    /// What stands for it in the form: `SIZE`, `VOLUME`.
    label: Option<Cow<'static, str>>,
}

/// What stands for a name of which nothing else is known.
const OBJECT: &str = "OBJECT";

/// The setting with the old name of an object.
const RENAMED_FROM: &str = "renamedFrom";

/// Which values to find.
pub(super) struct ValueSearch<'k> {
    /// Whether a word is the name or the uid of an object.
    pub(super) is_known: &'k dyn Fn(&str) -> bool,
    /// Whether numbers are values.
    pub(super) numbers: bool,
}

impl<'t> TextForm<'t> {
    /// Finds the values in a text.
    pub(super) fn of(text: Cow<'t, str>, search: &ValueSearch<'_>) -> Self {
        let words = words(&text);
        let settings = settings(&text);
        let mut labels: HashMap<&str, Option<Cow<'static, str>>> = HashMap::new();
        for (value, field) in &settings {
            let label = if *field == RENAMED_FROM { "OLD".into() } else { field.to_uppercase().into() };
            labels.entry(&text[value.clone()]).or_default().get_or_insert(label);
        }
        // Beside an old name, another one is the new one.
        let named = if settings.iter().any(|(_, field)| *field == RENAMED_FROM) { Some("NEW") } else { None };
        let in_setting =
            |word: &Range<usize>| settings.iter().any(|(value, _)| value.start <= word.start && word.end <= value.end);
        let mut before: Option<&Range<usize>> = None;
        for word in &words {
            let kind = before.filter(|before| matches!(&text[before.end..word.start], " " | "/"));
            let kind = kind.and_then(|before| kind_of(&text[before.clone()])).map(|kind| named.unwrap_or(kind));
            before = Some(word);
            let word_text = &text[word.clone()];
            let label = kind.or_else(|| label_of_number(word_text, search.numbers));
            if !in_setting(word) && (label.is_some() || (search.is_known)(word_text)) {
                let known = labels.entry(word_text).or_default();
                *known = known.take().or(label.map(Cow::Borrowed));
            }
        }
        let mut places: Vec<Range<usize>> = settings.iter().map(|(value, _)| value.clone()).collect();
        places.extend(words.into_iter().filter(|word| !in_setting(word) && labels.contains_key(&text[word.clone()])));
        places.sort_by_key(|place| place.start);
        let mut index_of: HashMap<&str, usize> = HashMap::new();
        let mut values = Vec::new();
        let mut at = Vec::new();
        for place in places {
            let value = &text[place.clone()];
            let index = *index_of.entry(value).or_insert_with(|| {
                values.push(FoundValue { first: place.clone(), label: labels.remove(value).flatten() });
                values.len() - 1
            });
            at.push((place, index));
        }
        drop((settings, labels, index_of));
        Self { text, values, at }
    }

    /// Returns what texts of the same form have in common: the text with the numbers of its values in their place.
    pub(super) fn key(&self) -> String {
        self.filled(|index| format!("\0{index}\0"))
    }

    /// Returns the text with something in place of each value.
    pub(super) fn filled<S: AsRef<str>>(&self, with: impl Fn(usize) -> S) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut copied = 0;
        for (place, index) in &self.at {
            out.push_str(&self.text[copied..place.start]);
            out.push_str(with(*index).as_ref());
            copied = place.end;
        }
        out + &self.text[copied..]
    }

    /// Returns the number of distinct values.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns a value, by its place in the order in which they first occur.
    pub(super) fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", |value| &self.text[value.first.clone()])
    }

    /// Returns what stands for a value in the form.
    pub(super) fn label(&self, index: usize) -> &str {
        self.values.get(index).and_then(|value| value.label.as_deref()).unwrap_or(OBJECT)
    }
}

/// Returns what stands for the name after a kind: `VOLUME` after `volume`.
fn kind_of(word: &str) -> Option<&'static str> {
    match word {
        "volume" => Some("VOLUME"),
        "snapshot" => Some("SNAPSHOT"),
        "backend" => Some("BACKEND"),
        _ => None,
    }
}

/// Returns what stands for a size, and if asked for, for a number.
fn label_of_number(word: &str, numbers: bool) -> Option<&'static str> {
    match word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.') {
        unit if unit.len() == word.len() => None,
        "" => numbers.then_some("NUMBER"),
        "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => Some("SIZE"),
        _ => None,
    }
}

/// Returns where words stand, as names and numbers are written.
fn words(text: &str) -> Vec<Range<usize>> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for part in text.split_inclusive(|c| !is_word(c)) {
        let word = part.trim_end_matches(|c| !is_word(c));
        let end = start + word.len();
        if !word.is_empty() {
            let is_digits = |of: &Range<usize>| text[of.clone()].bytes().all(|byte| byte.is_ascii_digit());
            match words.last_mut() {
                // A decimal point.
                Some(last)
                    if is_digits(last)
                        && &text[last.end..start] == "."
                        && word.starts_with(|c: char| c.is_ascii_digit()) =>
                {
                    last.end = end
                }
                _ => words.push(start..end),
            }
        }
        start += part.len();
    }
    words
}

/// Returns the values of settings between backticks, with their fields: `2Gi` and `size` of `` `size: 2Gi` ``.
fn settings(text: &str) -> Vec<(Range<usize>, &str)> {
    let parts: Vec<&str> = text.split('`').collect();
    let last = parts.len() - 1;
    let mut at = 0;
    let mut settings = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let is_field = |field: &str| !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        if index % 2 == 1
            && index < last
            && let Some((field, value)) = part.split_once(": ")
            && is_field(field)
        {
            settings.push((at + part.len() - value.len()..at + part.len(), field));
        }
        at += part.len() + 1;
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the form of a text with the names of its values, and the values.
    fn shown(text: &str) -> (String, Vec<String>) {
        let search = ValueSearch { is_known: &|word| matches!(word, "db" | "7np53nfs"), numbers: true };
        let form = TextForm::of(text.into(), &search);
        let values = (0..form.len()).map(|index| form.value(index).to_owned()).collect();
        (form.filled(|index| form.label(index).to_owned()), values)
    }

    #[test]
    fn values_are_found_by_how_they_are_written() {
        for (text, form, values) in [
            ("write `size: 2Gi`, or 1.5Gi", "write `size: SIZE`, or SIZE", &["2Gi", "1.5Gi"] as &[_]),
            ("`kiln forget volume/web-1` frees it", "`kiln forget volume/VOLUME` frees it", &["web-1"]),
            (
                "its snapshot m is in the trash, and m stays",
                "its snapshot SNAPSHOT is in the trash, and SNAPSHOT stays",
                &["m"],
            ),
            ("if a was renamed, write `renamedFrom: a`", "if OLD was renamed, write `renamedFrom: OLD`", &["a"]),
            ("write `renamedFrom: a` under volume b", "write `renamedFrom: OLD` under volume NEW", &["a", "b"]),
            ("write `source: {snapshot: m}` instead", "write `source: SOURCE` instead", &["{snapshot: m}"]),
            ("kiln.prod.db.7np53nfs is missing", "kiln.prod.OBJECT.OBJECT is missing", &["db", "7np53nfs"]),
            ("write a name that is 2 bytes shorter", "write a name that is NUMBER bytes shorter", &["2"]),
            ("a name inside of dbase is no name", "a name inside of dbase is no name", &[]),
            ("close it there, then run `kiln apply`", "close it there, then run `kiln apply`", &[]),
            ("a ` alone: `size: 1Gi", "a ` alone: `size: SIZE", &["1Gi"]),
        ] {
            let (told, found) = shown(text);
            assert_eq!(
                (told.as_str(), found.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
                (form, values)
            );
        }
    }

    #[test]
    fn equal_keys_are_texts_that_differ_by_their_values_only() {
        let key = |text: &str| {
            let search = ValueSearch { is_known: &|_| false, numbers: false };
            TextForm::of(text.to_owned().into(), &search).key()
        };
        assert_eq!(key("volume a needs volume b"), key("volume c needs volume d"));
        assert_ne!(key("volume a needs volume a"), key("volume c needs volume d"), "one of them is about two volumes");
        assert_ne!(key("it has 2 of them"), key("it has 3 of them"), "numbers were not asked for");
        assert_ne!(key("write `size: 1Gi`"), key("write `quota: 1Gi`"));
    }
}
