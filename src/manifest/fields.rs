//! A cursor over a document that reports everything that is wrong with it, and not only the first thing.
//!
//! Every reader returns `None` after it has reported why; the caller goes on with the other fields and gives up at the end.

use std::fmt::Display;
use std::str::FromStr;

use super::scan::{Content, Key, Node, Scalar};
use super::text::{File, Span, closest, quote};
use crate::model::{Name, Percent, Seconds, Size};

/// A value at its place.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    node: &'a Node<'a>,
    /// The field that holds it; for items of a list, that of the list.
    field: &'a str,
    /// Where the field's name stands, or the item.
    key: Span,
    /// Whether what is written here may be a secret by mistake: it is then never repeated.
    secret: bool,
}

impl<'a> At<'a> {
    /// The whole document.
    pub(super) fn document(file: &'a File, node: &'a Node<'a>) -> Self {
        Self { file, node, field: "the document", key: node.span, secret: false }
    }

    pub(super) fn span(&self) -> Span {
        match &self.node.content {
            Content::Scalar { .. } => self.node.span,
            Content::List(_) | Content::Map(_) => self.key,
        }
    }

    /// From here on nothing is repeated in problems.
    pub(super) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Reports a problem with this value. The message continues the field's name.
    pub(super) fn wrong(&self, message: impl Display, hint: impl Into<String>) {
        let message = match self.field {
            "the document" => format!("the document {message}"),
            field => format!("`{field}` {message}"),
        };
        match self.secret {
            true => self.file.report_hidden(self.span(), message, hint),
            false => self.file.report(self.span(), message, hint),
        }
    }

    /// What `read` returns, without the problems that it reports.
    pub(super) fn quietly<T>(self, read: impl FnOnce(Self) -> T) -> T {
        let mark = self.file.mark();
        let value = read(self);
        self.file.cut_back(mark);
        value
    }

    /// Reports that this map lacks a field.
    pub(super) fn missing(&self, name: &str, hint: &str) {
        let message = match self.field {
            "the document" => format!("`{name}` is missing"),
            field => format!("`{name}` is missing in `{field}`"),
        };
        self.file.report(self.key, message, hint);
    }

    /// The name of the field.
    pub(super) fn field(&self) -> &'a str {
        self.field
    }

    /// Whether the value is this text.
    pub(super) fn is_text(&self, wanted: &str) -> bool {
        self.scalar() == Some((Scalar::Text, wanted))
    }

    /// What the value is, in words.
    fn found(&self) -> String {
        let kind = match &self.node.content {
            Content::List(_) => return "a list".to_owned(),
            Content::Map(_) => return "a map".to_owned(),
            Content::Scalar { means, .. } => match means {
                Scalar::Null => return "nothing".to_owned(),
                Scalar::Bool(_) => "the truth value",
                Scalar::Whole(_) | Scalar::Negative | Scalar::Float(_) => "the number",
                Scalar::Text => "the text",
            },
        };
        if self.secret { kind.to_owned() } else { format!("{kind} {}", quote(self.written())) }
    }

    fn written(&self) -> &'a str {
        match &self.node.content {
            Content::Scalar { text, .. } => text,
            Content::List(_) | Content::Map(_) => "",
        }
    }

    fn expected(&self, what: &str, hint: impl Into<String>) {
        if matches!(&self.node.content, Content::Scalar { means: Scalar::Null, .. }) {
            return self.wrong("has no value", format!("write {what}, or remove the field"));
        }
        self.wrong(format_args!("must be {what}, not {}", self.found()), hint);
    }

    fn scalar(&self) -> Option<(Scalar, &'a str)> {
        match &self.node.content {
            Content::Scalar { text, means, .. } => Some((*means, text)),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    fn is_plain(&self) -> bool {
        matches!(&self.node.content, Content::Scalar { plain: true, .. })
    }

    /// A text, not empty, that every parser of YAML takes for text.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.scalar() {
            Some((Scalar::Text, "")) => self.wrong("must not be empty", ""),
            Some((Scalar::Text, text)) if self.is_plain() && is_no_text_to_some(text) => {
                let hint = if self.secret { "put it in quotes".to_owned() } else { in_quotes(text) };
                self.wrong("can be read in two ways: not every YAML parser takes it for text", hint);
            }
            Some((Scalar::Text, text)) => return Some(text),
            Some((Scalar::Null, _)) | None => self.expected("text", ""),
            Some((_, text)) if self.secret => {
                self.expected("text", if text.is_empty() { "" } else { "put it in quotes" })
            }
            Some((_, text)) => self.expected("text", in_quotes(text)),
        }
        None
    }

    /// A text of at most `max` characters, none of which is invisible or moves a cursor.
    pub(super) fn line(&self, max: usize) -> Option<&'a str> {
        let text = self.text()?;
        let len = text.chars().count();
        if len > max {
            self.wrong(format_args!("has {len} characters; at most {max} are allowed"), "shorten it");
            return None;
        }
        match text.chars().find(|c| !showable(*c)) {
            Some(c) => {
                self.wrong(format_args!("holds the character U+{:04X}, which cannot be seen", c as u32), "remove it")
            }
            None => return Some(text),
        }
        None
    }

    fn parsed<T: FromStr<Err: Display>>(&self, text: &str, hint: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(format_args!("{}: it {error}", quote(text)), hint);
                None
            }
        }
    }

    /// A name of an object, or anything else that is read from a label.
    pub(super) fn label<T: FromStr<Err: Display>>(&self) -> Option<T> {
        self.parsed(self.text()?, "a name is like db-1: a-z, 0-9 and '-'")
    }

    /// The name of another document.
    pub(super) fn name(&self) -> Option<Name> {
        self.label()
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.scalar() {
            Some((Scalar::Bool(value), _)) => return Some(value),
            Some((Scalar::Text, text)) => {
                let meant = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" => "write true, without quotes",
                    "no" | "off" | "false" => "write false, without quotes",
                    _ => "",
                };
                self.expected("true or false", meant);
            }
            _ => self.expected("true or false", ""),
        }
        None
    }

    /// A whole number within bounds.
    pub(super) fn whole(&self, min: u64, max: u64) -> Option<u64> {
        match self.scalar() {
            Some((Scalar::Whole(value), _)) if (min..=max).contains(&value) => return Some(value),
            Some((Scalar::Whole(_) | Scalar::Negative, text)) => {
                let range = match max {
                    // The limit of the type says nothing to a person.
                    max if max > u64::from(u32::MAX) => format!("at least {min}"),
                    max => format!("from {min} to {max}"),
                };
                self.wrong(format_args!("must be {range}, not {text}"), "");
            }
            Some((Scalar::Text, text)) if text.parse::<u64>().is_ok() => {
                let hint = if self.is_plain() {
                    "write it in plain digits, without a zero before them"
                } else {
                    "remove the quotes"
                };
                self.expected("a whole number", hint);
            }
            _ => self.expected("a whole number", ""),
        }
        None
    }

    /// A number of bytes, at least `min`.
    pub(super) fn size(&self, min: u64) -> Option<Size> {
        let hint = "write a number of bytes, or one with a unit, like 10Gi";
        let size: Size = match self.scalar() {
            Some((Scalar::Whole(bytes), _)) if bytes <= Size::MAX.0 => Size(bytes),
            Some((Scalar::Negative, text)) => {
                self.wrong(format_args!("must not be negative, and is {text}"), hint);
                return None;
            }
            Some((Scalar::Float(value), text))
                if value.fract() != 0.0 || !value.is_finite() || text.contains(['e', 'E']) =>
            {
                self.wrong(format_args!("must be a whole number of bytes, not {text}"), hint);
                return None;
            }
            Some((Scalar::Text, text)) if text.starts_with('-') => {
                self.wrong(format_args!("must not be negative, and is {}", quote(text)), hint);
                return None;
            }
            Some((Scalar::Text | Scalar::Whole(_) | Scalar::Float(_), text)) => self.parsed(text, hint)?,
            _ => {
                self.expected("a size", hint);
                return None;
            }
        };
        if size.0 < min {
            self.wrong(format_args!("must be at least {min} byte{}", if min == 1 { "" } else { "s" }), hint);
            return None;
        }
        Some(size)
    }

    /// A duration of at least `min` seconds.
    pub(super) fn duration(&self, min: u64) -> Option<Seconds> {
        let hint = "write a whole number with s, m, h or d, like 30s";
        let value: Seconds = match self.scalar() {
            Some((Scalar::Text | Scalar::Whole(_) | Scalar::Float(_) | Scalar::Negative, text)) => {
                self.parsed(text, hint)?
            }
            _ => {
                self.expected("a duration", hint);
                return None;
            }
        };
        if value.0 < min {
            self.wrong(format_args!("must be at least {}", Seconds(min)), hint);
            return None;
        }
        Some(value)
    }

    /// A share in whole percent, within bounds: `90%`, or 90.
    pub(super) fn percent(&self, min: u32, max: u32) -> Option<Percent> {
        let hint = "write whole percent, like 90%";
        let value: Percent = match self.scalar() {
            Some((Scalar::Text | Scalar::Whole(_) | Scalar::Float(_) | Scalar::Negative, text)) => {
                self.parsed(text, hint)?
            }
            _ => {
                self.expected("a percentage", hint);
                return None;
            }
        };
        if !(min..=max).contains(&value.0) {
            self.wrong(format_args!("must be from {min}% to {max}%, not {value}"), hint);
            return None;
        }
        Some(value)
    }

    /// A positive factor, kept in whole percent: 1.5 is 150%.
    pub(super) fn factor(&self) -> Option<Percent> {
        let value = match self.scalar() {
            Some((Scalar::Whole(value), _)) => value as f64,
            Some((Scalar::Float(value), _)) => value,
            Some((Scalar::Negative, _)) => -1.0,
            _ => {
                self.expected("a number", "for example 1.5: half as much again as there is");
                return None;
            }
        };
        if !(0.01..=1000.0).contains(&value) {
            self.wrong("must be from 0.01 to 1000", "1.0 promises no more than there is");
            return None;
        }
        Some(Percent((value * 100.0).round() as u32))
    }

    /// One of a few words, each with what it means.
    pub(super) fn choice(&self, words: &[(&'static str, &str)]) -> Option<&'static str> {
        let all = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let text = match self.scalar() {
            Some((Scalar::Text, text)) => text,
            _ => {
                self.expected(&format!("one of {all}"), "");
                return None;
            }
        };
        if let Some((word, _)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*word);
        }
        let hint = match closest(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean {word}?"),
            None => format!("write one of {all}"),
        };
        self.wrong(format_args!("must be one of {all}, not {}", quote(text)), hint);
        None
    }

    /// The items of a list, at least `min` and at most `max`.
    pub(super) fn items(&self, min: usize, max: usize) -> Option<Vec<At<'a>>> {
        let Content::List(items) = &self.node.content else {
            self.expected("a list", "write [a, b], or one line `- a` for each");
            return None;
        };
        if !(min..=max).contains(&items.len()) {
            self.wrong(format_args!("must have {min} to {max} items, not {}", items.len()), "");
            return None;
        }
        Some(items.iter().map(|node| At { node, key: node.span, ..*self }).collect())
    }

    /// Every item of a list, read by `read`; `None` if one of them is wrong, after all were looked at.
    pub(super) fn each<T>(&self, min: usize, max: usize, read: impl FnMut(At<'a>) -> Option<T>) -> Option<Vec<T>> {
        let items: Vec<Option<T>> = self.items(min, max)?.into_iter().map(read).collect();
        items.into_iter().collect()
    }

    /// The entries of a map whose keys are free.
    pub(super) fn entries(&self) -> Option<Vec<(&'a Key<'a>, At<'a>)>> {
        let Content::Map(entries) = &self.node.content else {
            self.expected("a map", "");
            return None;
        };
        Some(entries.iter().map(|(key, node)| (key, At { node, field: &key.text, key: key.span, ..*self })).collect())
    }

    /// The fields of a map whose keys are known.
    pub(super) fn fields(&self) -> Option<Fields<'a>> {
        let Content::Map(entries) = &self.node.content else {
            self.expected("a map of fields", "write `field: value` lines below it");
            return None;
        };
        Some(Fields { at: *self, entries, asked: Vec::new() })
    }
}

fn in_quotes(text: &str) -> String {
    format!("put it in quotes: \"{text}\"")
}

/// Whether a plain scalar is a number to a parser of YAML 1.1, or no text by the core schema of YAML 1.2, whatever it is to Kiln's.
/// (Dates are left out, since a parser that knows them writes them back as they were. `yes`, `no`, `on` and `off` are text, as the
/// manual says: no parser takes them for a number.)
pub(super) fn is_no_text_to_some(text: &str) -> bool {
    const WORDS: [&str; 6] = ["~", "null", ".nan", ".inf", "true", "false"];
    let number = text.strip_prefix(['+', '-']).unwrap_or(text).replace('_', "");
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let based = |base: &str| {
        let rest = number.strip_prefix(base).unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    // `010` and `1_000`, `190:20:30` in base 60, and each with a fraction.
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let sexagesimal = whole.split(':').all(digits) && (fraction.is_empty() || digits(fraction));
    let decimal = number.starts_with(|c: char| c == '.' || c.is_ascii_digit()) && number.parse::<f64>().is_ok();
    decimal
        || sexagesimal
        || ["0b", "0o", "0x"].into_iter().any(based)
        || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a person sees the character where it stands: not a control, not one that hides or reorders its neighbours.
pub(super) fn showable(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// The fields of a map. [`Fields::finish`] reports those that nobody asked for.
#[must_use = "finish() reports unknown fields"]
pub(super) struct Fields<'a> {
    at: At<'a>,
    entries: &'a [(Key<'a>, Node<'a>)],
    asked: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    /// The map itself.
    pub(super) fn at(&self) -> At<'a> {
        self.at
    }

    /// A field that may be left out.
    pub(super) fn get(&mut self, name: &'a str) -> Option<At<'a>> {
        self.asked.push(name);
        let (key, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        Some(At { node, field: name, key: key.span, ..self.at })
    }

    /// A field that is looked at without being asked for.
    pub(super) fn peek(&self, name: &str) -> Option<At<'a>> {
        let (key, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        Some(At { node, field: &key.text, key: key.span, ..self.at })
    }

    /// A field that must be there.
    pub(super) fn need(&mut self, name: &'a str, hint: &str) -> Option<At<'a>> {
        let found = self.get(name);
        if found.is_none() {
            self.at.missing(name, hint);
        }
        found
    }

    /// A field that is understood only to be refused, with a sentence of its own.
    pub(super) fn refuse(&mut self, name: &str, message: &str, hint: &str) {
        if let Some((key, _)) = self.entries.iter().find(|(key, _)| key.text == name) {
            self.at.file.report_hidden(key.span, message, hint);
        }
    }

    /// Exactly one of some fields; says which.
    pub(super) fn one_of(&mut self, names: &[&'a str]) -> Option<At<'a>> {
        let found: Vec<At<'a>> = names.iter().filter_map(|name| self.get(name)).collect();
        let all = names.join(", ");
        match found.as_slice() {
            [one] => return Some(*one),
            [] => self.at.wrong(format_args!("must have one of {all}"), "add one of them"),
            [_, second, ..] => {
                second.wrong(format_args!("is one too many: only one of {all} can be here"), "keep one of them")
            }
        }
        None
    }

    /// Reports what is there and was not asked for, except for `passed`.
    pub(super) fn finish_except(self, passed: &str) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.asked.contains(&&*key.text) && key.text != passed) {
            let hint = match closest(&key.text, self.asked.iter().copied().filter(|_| !self.at.file.is_full())) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => {
                    let mut known = self.asked.clone();
                    known.sort_unstable();
                    format!("known here: {}", known.join(", "))
                }
            };
            let message = format!("the field {} is not known here", quote(&key.text));
            match self.at.secret {
                true => self.at.file.report_hidden(key.span, message, hint),
                false => self.at.file.report(key.span, message, hint),
            }
        }
    }

    /// Reports what is there and was not asked for.
    pub(super) fn finish(self) {
        self.finish_except("");
    }
}
