//! The form of a text: its words, without the values that other texts of the same form have in their place. Pure.
//!
//! The planner writes names, sizes and paths into its sentences. This module finds them again by how they are written: `volume db`,
//! `volume/db`, `` `size: 2Gi` ``, `2Gi`, `/pools/fast`, the operands of a command, and every name that the caller knows. It may find too
//! many: what is the same in all texts of a form stays as it is.

use std::borrow::Cow;
use std::ops::Range;

use foldhash::{HashMap, HashMapExt, HashSet};

use crate::model::{Kind, SourcePlace};

/// The values in a text, as found in it.
#[derive(Debug)]
pub(super) struct TextForm<'t> {
    text: Cow<'t, str>,
    /// In the order of the text, without overlap.
    values: Vec<FoundValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundValue {
    at: Range<usize>,
    /// What it is: `size`, `volume`. None for a name of which nothing else is known.
    label: Option<Cow<'static, str>>,
}

/// What stands between backticks in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code<'t> {
    /// A setting, a command, or a word.
    pub(super) text: &'t str,
    /// The place that follows it: `specs/db.yaml:3:1`.
    pub(super) place: Option<&'t str>,
}

/// The setting with the old name of an object.
const RENAMED_FROM: &str = "renamedFrom";

/// The commands whose operands are found.
const COMMANDS: [&str; 9] = ["kiln", "mkdir", "chown", "chmod", "mount", "mv", "qemu-img", "rm", "sudo"];

/// What native names begin with.
const NATIVE: [&str; 3] = ["kiln.", "kiln-tmp.", "kiln-snap."];

/// What is counted: a number and its noun are one value, because the noun of one has another form.
const COUNTED: [&str; 8] = ["backend", "byte", "client", "clone", "object", "snapshot", "step", "volume"];

/// What stands before the clients of an object, and after them. They are one value, however many they are.
const CLIENTS: (&str, &str) = (" is open by ", ": ");

/// The words that are values wherever they stand.
#[derive(Debug, Default)]
pub(super) struct KnownWords {
    /// Names and uids of objects.
    names: HashSet<String>,
    /// Names of backends.
    backends: HashSet<String>,
}

impl KnownWords {
    /// Adds names and uids.
    pub(super) fn add_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        self.names.extend(names.into_iter().map(str::to_owned));
    }

    /// Adds the name of a backend.
    pub(super) fn add_backend(&mut self, name: &str) {
        self.backends.insert(name.to_owned());
    }

    /// Adds the names that a text contains as such.
    pub(super) fn add_text(&mut self, text: &str) {
        let found = labelled(text).into_iter().map(|value| &text[value.at]);
        let is_word = |value: &&str| words(value).first().is_some_and(|word| word.len() == value.len());
        self.names.extend(found.filter(is_word).map(str::to_owned));
    }

    fn has(&self, word: &str) -> bool {
        self.names.contains(word) || self.backends.contains(word)
    }

    /// Returns what a word is, if that is known.
    fn label(&self, word: &str) -> Option<Cow<'static, str>> {
        self.backends.contains(word).then_some(Cow::Borrowed("backend"))
    }
}

const NUMBER_OF: &str = "number of ";

/// The most bytes of a command for several objects: 25 lines of a terminal.
const LONGEST: usize = 2_000;

impl<'t> TextForm<'t> {
    /// Finds the values in a text.
    pub(super) fn of(text: Cow<'t, str>, known: &KnownWords) -> Self {
        let mut values = labelled(&text);
        let is_within = |word: &Range<usize>| {
            let next = values.partition_point(|value| value.at.end < word.end);
            values.get(next).is_some_and(|value| value.at.start <= word.start)
        };
        let is_name = |word: &Range<usize>| known.has(&text[word.clone()]) && !is_within(word);
        let mut others: Vec<Range<usize>> =
            words(&text).into_iter().filter(is_name).map(|word| native_around(&text, word)).collect();
        others.dedup();
        let mut labels: HashMap<&str, &Cow<'static, str>> = HashMap::new();
        for value in &values {
            if let Some(label) = &value.label {
                labels.entry(&text[value.at.clone()]).or_insert(label);
            }
        }
        let label = |at: &Range<usize>| {
            let word = &text[at.clone()];
            labels.get(word).map(|label| (*label).clone()).or_else(|| known.label(word))
        };
        let others: Vec<FoundValue> = others.into_iter().map(|at| FoundValue { label: label(&at), at }).collect();
        values.extend(others);
        values.sort_by_key(|value| value.at.start);
        let values = lists_as_one(&text, values);
        Self { text, values }
    }

    /// Returns what texts of the same form have in common.
    pub(super) fn key(&self) -> String {
        let is_counted = |index: &usize| self.label(*index).starts_with(NUMBER_OF);
        self.filled(|index| Some(index).filter(is_counted).map_or("\0", |index| self.label(index)), |_| None)
    }

    /// Returns the text with something in place of each value, and of each text between backticks for which there is something.
    pub(super) fn filled<'s>(
        &self,
        value: impl Fn(usize) -> &'s str,
        code: impl Fn(usize) -> Option<&'s str>,
    ) -> String {
        let codes = code_ranges(&self.text);
        let mut places: Vec<(&Range<usize>, &str)> =
            codes.iter().enumerate().filter_map(|(index, at)| Some((at, code(index)?))).collect();
        places.extend(self.values.iter().enumerate().map(|(index, found)| (&found.at, value(index))));
        // What is inside of another place comes after it.
        places.sort_by_key(|(at, _)| (at.start, std::cmp::Reverse(at.end)));
        let mut out = String::with_capacity(self.text.len());
        let mut copied = 0;
        for (place, with) in places {
            if place.start >= copied {
                out.push_str(&self.text[copied..place.start]);
                out.push_str(with);
                copied = place.end;
            }
        }
        out + &self.text[copied..]
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns a value.
    pub(super) fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", |value| &self.text[value.at.clone()])
    }

    /// Returns what a value is.
    pub(super) fn label(&self, index: usize) -> &str {
        self.values.get(index).and_then(|value| value.label.as_deref()).unwrap_or("object")
    }
}

/// Returns the native name around a word, as in `prod.db@monday`, or the word.
fn native_around(text: &str, word: Range<usize>) -> Range<usize> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let before = &text[..word.start];
    let start = before.trim_end_matches(is_part).len();
    let start = word.start - before[start..].trim_start_matches(['.', '@']).len();
    let after = &text[word.end..];
    let len = after.find(|c| !is_part(c)).unwrap_or(after.len());
    start..word.end + after[..len].trim_end_matches(['.', '@']).len()
}

/// Makes one value of a list: a text about one object has the form of a text about several.
fn lists_as_one(text: &str, values: Vec<FoundValue>) -> Vec<FoundValue> {
    let mut merged: Vec<FoundValue> = Vec::with_capacity(values.len());
    for value in values {
        match merged.last_mut() {
            Some(last)
                if last.label == value.label
                    && last.at.end <= value.at.start
                    && matches!(&text[last.at.end..value.at.start], ", " | " and ") =>
            {
                last.at.end = value.at.end;
            }
            _ => merged.push(value),
        }
    }
    merged
}

/// Returns a value with `<name>` and `<uid>` in place of these. In a native name of Kiln each has its place: another part may be the same
/// word.
pub(super) fn with_own_words(value: &str, name: &str, uid: Option<&str>) -> String {
    let own = |word: &str| match word {
        _ if word == name => Some("<name>"),
        _ if Some(word) == uid => Some("<uid>"),
        _ => None,
    };
    let is_native = NATIVE.iter().any(|prefix| value.starts_with(prefix)) && !value.contains(['@', ' ', '/']);
    if is_native {
        let parts = value.split('.').enumerate();
        let part = |(index, part)| if index > 1 { own(part).unwrap_or(part) } else { part };
        return parts.map(part).collect::<Vec<_>>().join(".");
    }
    let mut out = String::with_capacity(value.len());
    let mut copied = 0;
    for word in words(value) {
        if let Some(with) = own(&value[word.clone()]) {
            out.push_str(&value[copied..word.start]);
            out.push_str(with);
            copied = word.end;
        }
    }
    out + &value[copied..]
}

/// Returns what stands between backticks.
pub(super) fn codes(text: &str) -> Vec<Code<'_>> {
    let place = |end: usize| {
        let (place, _) = text[end..].strip_prefix("` (")?.split_once(')')?;
        SourcePlace::parse(place).map(|_| place)
    };
    code_ranges(text).into_iter().map(|at| Code { place: place(at.end), text: &text[at] }).collect()
}

/// Returns the one command that does what several do: `mkdir -p a b` for `mkdir -p a` and `mkdir -p b`. None if they differ by more
/// than one operand, if the command takes one only, or if it would be too long.
pub(super) fn one_command(commands: &[&str]) -> Option<String> {
    let all: Vec<Vec<Range<usize>>> = commands.iter().map(|command| shell_words(command)).collect();
    let (first, command) = (all.first()?, *commands.first()?);
    if all.iter().any(|words| words.len() != first.len()) {
        return None;
    }
    let column = |index: usize| all.iter().zip(commands).map(move |(words, text)| &text[words[index].clone()]);
    let mut differing = (0..first.len()).filter(|index| {
        let mut column = column(*index);
        let first = column.next();
        column.any(|word| Some(word) != first)
    });
    let (index, None) = (differing.next()?, differing.next()) else { return None };
    let words: Vec<&str> = first.iter().map(|word| &command[word.clone()]).collect();
    let takes_several = match words.as_slice() {
        ["kiln", "apply" | "describe" | "plan" | "resume", ..] => index > 1 && column(index).all(is_object),
        // A backend is accepted by itself.
        ["kiln", "forget", ..] => {
            index > 1 && column(index).all(|word| is_object(word) && !word.starts_with("backend/"))
        }
        ["mkdir", "-p", ..] => index > 1,
        ["chown" | "rm", ..] => index > 1 && index + 1 == words.len(),
        _ => false,
    };
    let mut seen = HashSet::default();
    let operands: Vec<&str> = column(index).filter(|operand| seen.insert(*operand)).collect();
    let operands = operands.join(" ");
    let (before, after) = (&command[..first[index].start], &command[first[index].end..]);
    (takes_several && before.len() + operands.len() + after.len() <= LONGEST)
        .then(|| format!("{before}{operands}{after}"))
}

/// Whether a word is `volume/db`.
fn is_object(word: &str) -> bool {
    word.split_once('/').is_some_and(|(kind, _)| is_kind(kind))
}

fn is_kind(word: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.as_lower() == word)
}

/// Returns where the texts between backticks stand, without these.
fn code_ranges(text: &str) -> Vec<Range<usize>> {
    let ticks: Vec<usize> = text.match_indices('`').map(|(at, _)| at).collect();
    ticks.chunks_exact(2).map(|pair| pair[0] + 1..pair[1]).collect()
}

/// Returns the values that are found by how they are written, in order.
fn labelled(text: &str) -> Vec<FoundValue> {
    let mut found = Vec::new();
    let mut at = 0;
    for code in code_ranges(text) {
        in_prose(text, at..code.start, &mut found);
        match setting(&text[code.clone()]) {
            Some((field, value)) => {
                let label = if field == RENAMED_FROM { "old".into() } else { field.to_owned().into() };
                found.push(FoundValue { at: code.end - value.len()..code.end, label: Some(label) });
            }
            None => in_command(text, code.clone(), &mut found),
        }
        at = code.end;
        // A field is told with its value.
        let value = text[at..].strip_prefix("` is ").and_then(|rest| rest.split_once(", but ")).map(|(value, _)| value);
        if let Some(value) = value.filter(|value| !value.contains([' ', '`', '"'])) {
            let start = at + "` is ".len();
            at = start + value.len();
            found.push(FoundValue { at: start..at, label: Some(text[code].to_owned().into()) });
        }
    }
    in_prose(text, at..text.len(), &mut found);
    // Beside an old name, another one is the new one.
    let old = found.iter().find(|value| value.label.as_deref() == Some("old")).map(|value| &text[value.at.clone()]);
    if let Some(old) = old {
        let is_volume = |value: &&mut FoundValue| value.label.as_deref() == Some("volume");
        for value in found.iter_mut().filter(is_volume) {
            value.label = Some(if &text[value.at.clone()] == old { "old".into() } else { "new".into() });
        }
    }
    found
}

/// Returns the field and the value of a setting: `size` and `2Gi` of `size: 2Gi`.
fn setting(code: &str) -> Option<(&str, &str)> {
    let (field, value) = code.split_once(": ")?;
    let field = field.rsplit('.').next().unwrap_or(field);
    (!field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric())).then_some((field, value))
}

/// Finds the operands of a command.
fn in_command(text: &str, code: Range<usize>, found: &mut Vec<FoundValue>) {
    let shell_words: Vec<Range<usize>> = shell_words(&text[code.clone()])
        .into_iter()
        .map(|word| code.start + word.start..code.start + word.end)
        .collect();
    let word = |index: usize| shell_words.get(index).map_or("", |word| &text[word.clone()]);
    if !COMMANDS.contains(&word(0)) {
        return;
    }
    for (index, at) in shell_words.iter().enumerate().skip(1) {
        let (operand, before) = (word(index), word(index - 1));
        let is_of_kiln =
            word(0) == "kiln" && (index == 1 || matches!(operand, "purge" | "restore" | "export" | "list"));
        if operand.starts_with('-') || is_of_kiln {
            continue;
        }
        let value = |at: Range<usize>, label| FoundValue { at, label: Some(Cow::Borrowed(label)) };
        found.push(match operand.split_once('/').and_then(|(kind, name)| Some((label_of_kind(kind)?, name))) {
            Some((kind, name)) if word(0) == "kiln" => value(at.end - name.len()..at.end, kind),
            _ if operand.contains('/') || word(0) == "mkdir" => value(at.clone(), "path"),
            _ if before == "adopt" => value(at.clone(), "backend"),
            _ if before == "--from-owner" => value(at.clone(), "owner"),
            _ => value(at.clone(), "value"),
        });
    }
}

/// Finds the values in a text that is not between backticks.
fn in_prose(text: &str, range: Range<usize>, found: &mut Vec<FoundValue>) {
    if let Some((before, rest)) = text[range.clone()].split_once(CLIENTS.0)
        && let Some((clients, _)) = rest.split_once(CLIENTS.1)
    {
        let start = range.start + before.len() + CLIENTS.0.len();
        let end = start + clients.len();
        in_prose(text, range.start..range.start + before.len(), found);
        found.push(FoundValue { at: start..end, label: Some("clients".into()) });
        return in_prose(text, end..range.end, found);
    }
    let mut before: Option<Range<usize>> = None;
    for token in tokens(text, range) {
        let whole = label_of_token(&text[token.clone()]);
        let in_token = match whole {
            Some(_) => std::iter::once(0..token.len()).collect(),
            None => words(&text[token.clone()]),
        };
        for word in in_token {
            let mut word = token.start + word.start..token.start + word.end;
            if found.last().is_some_and(|found| word.start < found.at.end) {
                continue;
            }
            let last = before.replace(word.clone());
            if let Some(number) = found.last_mut().filter(|number| number.label.as_deref() == Some("number"))
                && text.get(number.at.end..word.start) == Some(" ")
                && let noun = text[word.clone()].strip_suffix('s').unwrap_or(&text[word.clone()])
                && COUNTED.contains(&noun)
            {
                *number =
                    FoundValue { at: number.at.start..word.end, label: Some(format!("{NUMBER_OF}{noun}s").into()) };
                before = None;
                continue;
            }
            let last = last.filter(|last| matches!(&text[last.end..word.start], " " | "/"));
            let last = last.map(|last| &text[last]);
            let of_kind = last.filter(|_| !matches!(whole, Some("path" | "object"))).and_then(label_of_kind);
            if of_kind.is_some() && whole.is_none() {
                word = native_around(text, word);
            }
            let label = of_kind.or(whole).or_else(|| label_of_number(&text[word.clone()], last));
            found.extend(label.map(|label| FoundValue { at: word, label: Some(label.into()) }));
        }
    }
}

/// Returns where the parts of a text stand that blanks separate, without the punctuation around them. What is quoted is one part.
fn tokens(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let rest = &text[at..range.end];
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.find('"')).map(|len| len + 2);
        let len = quoted.unwrap_or_else(|| rest.find(' ').unwrap_or(rest.len()));
        let token = &rest[..len];
        if quoted.is_some() {
            tokens.push(at..at + len);
        } else {
            let inner = token.trim_start_matches(['(', '\'', '`']);
            let start = at + token.len() - inner.len();
            let inner = inner.trim_end_matches([',', ';', ':', '.', '!', '?', ')', '\'', '`']);
            if !inner.is_empty() {
                tokens.push(start..start + inner.len());
            }
        }
        at += len.max(1);
        while text.as_bytes().get(at) == Some(&b' ') && at < range.end {
            at += 1;
        }
    }
    tokens
}

/// Returns what a part of a text is as a whole: something quoted, a path, a native name, or a time.
fn label_of_token(token: &str) -> Option<&'static str> {
    match token.split_once('/') {
        _ if token.starts_with('"') => Some("text"),
        Some((first, rest)) => (!is_kind(first) && !rest.is_empty()).then_some("path"),
        None if NATIVE.iter().any(|prefix| token.starts_with(prefix)) => Some("object"),
        None => is_time(token).then_some("time"),
    }
}

/// Whether a word is a time in RFC 3339.
fn is_time(word: &str) -> bool {
    word.len() >= 20
        && word.ends_with('Z')
        && word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b'Z'))
}

/// Returns what the name after a kind is.
fn label_of_kind(word: &str) -> Option<&'static str> {
    match word {
        "volume" => Some("volume"),
        "snapshot" => Some("snapshot"),
        "backend" => Some("backend"),
        "object" => Some("object"),
        _ => None,
    }
}

/// Returns what a number is, by its unit and the word before it. The ids of pools are hexadecimal numbers.
fn label_of_number(word: &str, before: Option<&str>) -> Option<&'static str> {
    if word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some("id");
    }
    match word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.') {
        unit if unit.len() == word.len() => None,
        "" if before == Some("pid") => Some("pid"),
        "" => Some("number"),
        "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" | "k" | "M" | "G" | "T" | "P" => Some("size"),
        "ms" | "s" | "m" | "h" | "d" => Some("time"),
        _ => None,
    }
}

/// Returns where the words of a command stand. What is in single quotes is one word, with these.
fn shell_words(command: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let (mut is_quoted, mut is_inside) = (false, false);
    for (at, c) in command.char_indices() {
        is_quoted ^= c == '\'';
        let is_word = is_quoted || c != ' ';
        match words.last_mut() {
            Some(last) if is_word && is_inside => last.end = at + c.len_utf8(),
            _ if is_word => words.push(at..at + c.len_utf8()),
            _ => {}
        }
        is_inside = is_word;
    }
    words
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the form of a text with the names of its values, and the values.
    fn shown(text: &str) -> (String, Vec<String>) {
        let mut known = KnownWords::default();
        known.add_names(["db", "7np53nfs", "it"]);
        known.add_backend("lab");
        known.add_text(text);
        let form = TextForm::of(text.into(), &known);
        let values = (0..form.len()).map(|index| form.value(index).to_owned()).collect();
        (form.filled(|index| form.label(index), |_| None), values)
    }

    #[test]
    fn values_are_found_by_how_they_are_written() {
        for (text, form, values) in [
            ("write `size: 2Gi`, or 1.5Gi", "write `size: size`, or size", &["2Gi", "1.5Gi"] as &[_]),
            ("`kiln forget volume/web-1` frees it", "`kiln forget volume/volume` frees object", &["web-1", "it"]),
            (
                "its snapshot m is in the trash, and m stays",
                "its snapshot snapshot is in the trash, and snapshot stays",
                &["m", "m"],
            ),
            ("if a was renamed, write `renamedFrom: a`", "if old was renamed, write `renamedFrom: old`", &["a", "a"]),
            (
                "write `renamedFrom: a` for volume a under volume b",
                "write `renamedFrom: old` for volume old under volume new",
                &["a", "a", "b"],
            ),
            ("write `source: {snapshot: m}` instead", "write `source: source` instead", &["{snapshot: m}"]),
            ("prod.db.7np53nfs is missing", "object is missing", &["prod.db.7np53nfs"]),
            ("kiln.prod.web.8x is missing", "object is missing", &["kiln.prod.web.8x"]),
            ("kiln.prod.web.8x@kiln-snap.prod.m.9y stays.", "object stays.", &["kiln.prod.web.8x@kiln-snap.prod.m.9y"]),
            ("object lv.0@x is foreign", "object object is foreign", &["lv.0@x"]),
            ("see (web@db), db. and lab", "see (object), object. and backend", &["web@db", "db", "lab"]),
            ("clones need it: kiln.p.a.1, kiln.p.b.2", "clones need object: object", &["it", "kiln.p.a.1, kiln.p.b.2"]),
            ("check volume a, db and it", "check volume volume, object", &["a", "db and it"]),
            (
                "lv0 is open by qemu (pid 12), nbd (pid 3): Kiln waits",
                "lv0 is open by clients: Kiln waits",
                &["qemu (pid 12), nbd (pid 3)"],
            ),
            ("write a name that is 2 bytes shorter", "write a name that is number of bytes shorter", &["2 bytes"]),
            ("1 snapshot of volume db is left", "number of snapshots of volume volume is left", &["1 snapshot", "db"]),
            ("it is open by qemu (pid 12)", "object is open by qemu (pid pid)", &["it", "12"]),
            (
                "/mnt/a is away (failures: 3; again at 2026-11-27T10:00:00Z, in 30s)",
                "path is away (failures: number; again at time, in time)",
                &["/mnt/a", "3", "2026-11-27T10:00:00Z", "30s"],
            ),
            ("`mkdir -p 'a b' c` or `rm -r /x`", "`mkdir -p path path` or `rm -r path`", &["'a b'", "c", "/x"]),
            ("`kiln adopt fast --state s` lists", "`kiln adopt backend --state value` lists", &["fast", "s"]),
            ("unknown field \"co lour\"", "unknown field text", &["\"co lour\""]),
            ("a name inside of dbase is no name", "a name inside of dbase is no name", &[]),
            ("close them there, then run `kiln apply`", "close them there, then run `kiln apply`", &[]),
            (
                "`backend` is fats, but no such Backend is there",
                "`backend` is backend, but no such Backend is there",
                &["fats"],
            ),
            ("remove `via`, or `spec.qos`", "remove `via`, or `spec.qos`", &[]),
            ("a ` alone: `size: 1Gi", "a ` alone: `size: size", &["1Gi"]),
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
        let key = |text: &str| TextForm::of(text.into(), &KnownWords::default()).key();
        assert_eq!(key("volume a needs volume b"), key("volume c needs volume d"));
        assert_eq!(key("it has 2 of them"), key("it has 30 of them"));
        assert_eq!(key("it has 1 snapshot left"), key("it has 2 snapshots left"));
        assert_ne!(key("it has 1 snapshot left"), key("it has 1 clone left"));
        assert_eq!(key("write a name that is 1 byte shorter"), key("write a name that is 2 bytes shorter"));
        assert_eq!(key("left: kiln-snap.prod.m.8x"), key("left: kiln-snap.prod.m.8x, kiln-snap.prod.t.9y"));
        assert_eq!(key("it is open by a (pid 1): no"), key("it is open by a (pid 1), b (pid 2): no"));
        assert_eq!(key("`mkdir -p a`"), key("`mkdir -p /b/c`"));
        assert_ne!(key("write `size: 1Gi`"), key("write `quota: 1Gi`"));
        assert_ne!(key("remove `via`"), key("remove `qos`"), "what to write is not the same");
    }

    #[test]
    fn a_command_that_takes_several_operands_is_one_for_all() {
        for (commands, one) in [
            (&["mkdir -p a", "mkdir -p 'b c'", "mkdir -p a"] as &[_], Some("mkdir -p a 'b c'")),
            (
                &["kiln resume volume/a --state s", "kiln resume snapshot/b --state s"],
                Some("kiln resume volume/a snapshot/b --state s"),
            ),
            (&["kiln forget volume/a", "kiln forget snapshot/b"], Some("kiln forget volume/a snapshot/b")),
            (&["chown -R u /a", "chown -R u /b"], Some("chown -R u /a /b")),
            // Two owners.
            (&["chown -R u /a", "chown -R v /a"], None),
            (&["chown -R u /a", "chown -R v /b"], None),
            // These take one.
            (&["kiln forget backend/a", "kiln forget backend/b"], None),
            (&["kiln trash purge volume/a", "kiln trash purge volume/b"], None),
            (&["kiln apply --approve a", "kiln apply --approve b"], None),
            (&["size: 1Gi", "size: 2Gi"], None),
            (&["mkdir -p a", "mkdir -p a b"], None),
        ] {
            assert_eq!(one_command(commands).as_deref(), one, "{commands:?}");
        }
        let many: Vec<String> = (0..1000).map(|n| format!("mkdir -p /{n}")).collect();
        assert_eq!(one_command(&many.iter().map(String::as_str).collect::<Vec<_>>()), None, "it is too long to paste");
    }

    #[test]
    fn texts_between_backticks_have_the_place_behind_them() {
        let found = codes("write `size: 1Gi` (a b.yaml:1:2), or `df -i` (as root), or `x");
        let found: Vec<_> = found.iter().map(|code| (code.text, code.place)).collect();
        assert_eq!(found, [("size: 1Gi", Some("a b.yaml:1:2")), ("df -i", None)]);
    }
}
