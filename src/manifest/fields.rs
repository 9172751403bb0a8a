//! A cursor over a document that reports all of its problems.
//!
//! Every reader function returns `None` after it has reported a problem. The caller continues with the other fields and fails at the end.

use std::cell::RefCell;
use std::fmt::Display;
use std::str::FromStr;

use super::homes::DOCUMENT;
use super::known::lists_beside;
use super::repair;
use super::scan::{Key, Node, NodeContent, Scalar};
use super::span::Span;
use super::strays::{Gap, Strays, Unknown, UnknownKey};
use super::text::{File, names_secret, quote};
use crate::model::{DeclaredSize, Name, Percent, Seconds, Size};
use crate::text::{closest, is_unsafe};

/// A value with its place.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) node: &'a Node<'a>,
    /// The field of the value; for items of a list, the field of the list.
    pub(super) field: &'a str,
    /// The place of the field's name, or of the item.
    pub(super) key: Span,
    /// Whether the value may be a secret by mistake. Problems never show it then.
    pub(super) secret: bool,
    pub(super) strays: &'a RefCell<Strays>,
}

impl<'a> At<'a> {
    /// Returns a cursor at the root of the document. Unknown and missing fields are added to `strays`.
    pub(super) fn document(file: &'a File, node: &'a Node<'a>, strays: &'a RefCell<Strays>) -> Self {
        Self { file, node, field: DOCUMENT, key: node.span, secret: false, strays }
    }

    pub(super) fn span(&self) -> Span {
        match &self.node.content {
            NodeContent::Scalar { .. } => self.node.span,
            NodeContent::List(_) | NodeContent::Map(_) => self.key,
        }
    }

    /// Returns a cursor whose problems show no values.
    pub(super) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Reports a problem with this value. The message continues a sentence that starts with the field's name.
    pub(super) fn wrong(&self, message: impl Display, hint: impl Into<String>) {
        if let Some(text) = self.variable() {
            let message = format!("`{}` is {}, but Kiln does not fill in variables", self.field, quote(text));
            return self.file.report(self.span(), message, "write the value, or fill in the file first");
        }
        if let (Some(sign), Some((_, text))) = (self.block_sign(), self.scalar())
            && !self.secret
            && !text.trim_end().contains('\n')
        {
            let message = format!("this sign makes `{}` a text that ends with a line feed", self.field);
            return self.file.report(sign, message, self.write(Some(text.trim_end()), ""));
        }
        if let Some(next) = self.continuation() {
            let first = next.split([' ', ':']).next().unwrap_or(next);
            let line = self.span().line + 1;
            let (message, hint) = match (first, lists_beside(self.field).first()) {
                ("-", Some(list)) => (
                    format!("`{}` has one value, but a list begins on the next line", self.field),
                    format!("write the key of the list before line {line}, like `{list}:`"),
                ),
                _ => {
                    let first = if first == "-" { "the dash" } else { &*format!("`{first}`") };
                    (
                        format!("`{}` continues on the next line, which is indented further", self.field),
                        format!("remove spaces before {first} on line {line}"),
                    )
                }
            };
            return self.file.report(self.span(), message, hint);
        }
        self.report(self.span(), message, hint);
    }

    /// Reports a problem with this field, whatever its value is. The message continues as in [`At::wrong`].
    pub(super) fn wrong_field(&self, message: impl Display, hint: impl Into<String>) {
        self.report(self.key, message, hint);
    }

    fn report(&self, span: Span, message: impl Display, hint: impl Into<String>) {
        let message = match self.field {
            DOCUMENT => format!("the document {message}"),
            field => format!("`{field}` {message}"),
        };
        match self.secret {
            true => self.file.report_hidden(span, message, hint),
            false => self.file.report(span, message, hint),
        }
    }

    /// Calls `read` and discards the problems that it reports.
    pub(super) fn quietly<T>(self, read: impl FnOnce(Self) -> T) -> T {
        let mark = self.file.mark();
        let value = read(self);
        let _ = self.file.remove_problems_after(mark);
        value
    }

    /// Reports that this map lacks a field.
    pub(super) fn missing(&self, name: &str, hint: &str) {
        let message = match self.field {
            DOCUMENT => format!("`{name}` is missing"),
            field => format!("`{name}` is missing in `{field}`"),
        };
        self.gap(&[name], self.key, message, hint.to_owned());
    }

    /// Records a problem that an unknown field may explain.
    pub(super) fn gap(&self, names: &[&str], span: Span, message: String, hint: String) {
        if self.file.is_full() {
            return self.file.report(span, message, hint);
        }
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.strays.borrow_mut().add_gap(Gap { section: self.field.to_owned(), names, span, message, hint });
    }

    /// Returns the name of the field.
    pub(super) fn field(&self) -> &'a str {
        self.field
    }

    /// Whether the value is this text.
    pub(super) fn is_text(&self, wanted: &str) -> bool {
        self.scalar() == Some((Scalar::Text, wanted))
    }

    /// Describes the value.
    fn described(&self) -> String {
        let kind = match &self.node.content {
            NodeContent::List(_) => return "a list".to_owned(),
            NodeContent::Map(_) => return "a map".to_owned(),
            NodeContent::Scalar { means, .. } => match means {
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
            NodeContent::Scalar { text, .. } => text,
            NodeContent::List(_) | NodeContent::Map(_) => "",
        }
    }

    pub(super) fn expected(&self, what: &str, hint: impl Into<String>) {
        if self.node.is_null() {
            if let Some(typo) = self.without_colon() {
                return self.file.report_typo(typo);
            }
            return match self.value_in_comment() {
                Some(hint) => self.wrong("has no value: `#` begins a comment", hint),
                None if !self.written().is_empty() => {
                    let word = self.written();
                    self.wrong(
                        format_args!("has no value: `{word}` means none"),
                        format!("write {what} in place of it"),
                    );
                }
                None => self.wrong("has no value", format!("write {what} after the colon")),
            };
        }
        if !self.secret && mentions_secret(self.node) {
            return self.secret().expected(what, format!("write {what}"));
        }
        let takes_one = !what.starts_with("a map") && what != "a list";
        if let Some(sign) = self.block_sign().filter(|_| !takes_one) {
            let hint = format!("write `{}:`, without this sign", self.field);
            return self.report(
                sign,
                format_args!("must be {what}, but this sign makes the lines below it a text"),
                hint,
            );
        }
        let hint = match (self.inner().filter(|_| takes_one), &self.node.content) {
            (Some(inner), _) => self.write(Some(inner), ""),
            (None, NodeContent::List(items)) if takes_one && items.len() > 1 => "keep one of the items".to_owned(),
            _ => hint.into(),
        };
        self.wrong(format_args!("must be {what}, not {}", self.described()), hint);
    }

    pub(super) fn scalar(&self) -> Option<(Scalar, &'a str)> {
        match &self.node.content {
            NodeContent::Scalar { text, means, .. } => Some((*means, text)),
            NodeContent::List(_) | NodeContent::Map(_) => None,
        }
    }

    /// Reads a non-empty text that every YAML parser reads as text.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.scalar() {
            Some((Scalar::Text, "")) => self.wrong("must not be empty", "write the value between the quotes"),
            Some((Scalar::Text, text)) if self.node.is_plain() && text.starts_with(['“', '”', '„', '‘', '’']) =>
            {
                let hint = match self.secret {
                    true => "replace the curly quotes with straight ones".to_owned(),
                    false => self.write(repair::unquoted(text), ""),
                };
                self.wrong("begins with a curly quote, which YAML takes for a letter of the text", hint);
            }
            Some((Scalar::Text, text)) if self.node.is_plain() && is_no_text_to_some(text) => {
                let hint =
                    if self.secret { "put it in quotes".to_owned() } else { self.write(Some(in_quotes(text)), "") };
                self.wrong("is ambiguous: not every YAML parser reads it as text", hint);
            }
            Some((Scalar::Text, text)) => return Some(text),
            Some((Scalar::Null, _)) | None => self.expected("text", ""),
            Some((_, text)) if self.secret => {
                self.expected("text", if text.is_empty() { "" } else { "put it in quotes" })
            }
            Some((_, text)) => self.expected("text", self.write(Some(in_quotes(text)), "")),
        }
        None
    }

    /// Reads a text of at most `max` characters, none of them unsafe.
    pub(super) fn line(&self, max: usize) -> Option<&'a str> {
        let text = self.text()?;
        let len = text.chars().count();
        if len > max {
            self.wrong(format_args!("has {len} characters; at most {max} are allowed"), "shorten it");
            return None;
        }
        match text.chars().find(|c| is_unsafe(*c)) {
            Some(c) => self.wrong(
                format_args!("contains the character U+{:04X}, which manifests must not contain", c as u32),
                "remove it",
            ),
            None => return Some(text),
        }
        None
    }

    /// Parses the text. `guesses`: what it was perhaps meant to be; `hint`: if there is no guess.
    fn parsed<T: FromStr<Err: Display>>(
        &self,
        text: &str,
        guesses: impl IntoIterator<Item = String>,
        hint: &str,
    ) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let guesses = guesses.into_iter().map(|guess| guess + &repair::comment(text));
                self.wrong(format_args!("is {}, which {error}", quote(text)), self.write(guesses, hint));
                None
            }
        }
    }

    /// Reads the name of an object, or another value with the syntax of a label.
    pub(super) fn label<T: FromStr<Err: Display>>(&self) -> Option<T> {
        let text = self.text()?;
        let name = text.parse::<T>().map_err(|error| {
            let hint = self.write(repair::name::<T>(text), "a name consists of a-z, 0-9 and '-', like db-1");
            self.wrong(format_args!("is {}: the name {error}", quote(text)), hint);
        });
        name.ok()
    }

    /// Reads the name of another document.
    pub(super) fn name(&self) -> Option<Name> {
        self.label()
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.scalar() {
            Some((Scalar::Bool(value), _)) => return Some(value),
            Some((Scalar::Text, text)) => {
                let meant = match repair::bare(text).to_ascii_lowercase().as_str() {
                    "y" | "yes" | "on" | "true" => Some(true),
                    "n" | "no" | "off" | "false" => Some(false),
                    _ => None,
                };
                let hint = match closest(text, ["true", "false"]).filter(|_| meant.is_none()) {
                    Some(word) => format!("did you mean {}?", self.line_of(word)),
                    None => self.write(meant, ""),
                };
                self.expected("true or false", hint);
            }
            _ => self.expected("true or false", self.write([true, false], "")),
        }
        None
    }

    /// Reads a whole number within bounds.
    pub(super) fn whole(&self, min: u64, max: u64) -> Option<u64> {
        match self.scalar() {
            Some((Scalar::Whole(value), _)) if (min..=max).contains(&value) => return Some(value),
            Some((Scalar::Whole(_) | Scalar::Negative, text)) => {
                let range = match max {
                    // The maximum of the type is no useful limit.
                    max if max > u64::from(u32::MAX) => format!("at least {min}"),
                    max => format!("from {min} to {max}"),
                };
                let positive =
                    text.strip_prefix('-').filter(|text| text.parse().is_ok_and(|value| (min..=max).contains(&value)));
                self.wrong(format_args!("must be {range}, not {text}"), self.write(positive, ""));
            }
            Some((Scalar::Text, text)) if text.parse::<u64>().is_ok() => {
                let bare = Some(text).filter(|_| !self.node.is_plain());
                self.expected("a whole number", self.write(bare, "write plain digits without a leading zero"));
            }
            Some((Scalar::Text, text)) => {
                // `1k`
                let bytes = text.parse::<Size>().ok().map(|size| size.0);
                let meant = bytes.filter(|bytes| (min..=max).contains(bytes));
                self.expected("a whole number", self.write(meant, "write plain digits"));
            }
            _ => self.expected("a whole number", "write plain digits"),
        }
        None
    }

    /// Reads a number of bytes, at least `min`.
    pub(super) fn size(&self, min: u64) -> Option<DeclaredSize> {
        let hint = "write a number of bytes, or one with a unit, like 10Gi";
        let size: DeclaredSize = match self.scalar() {
            Some((Scalar::Whole(bytes), _)) if bytes <= Size::MAX.0 => Size(bytes).into(),
            Some((Scalar::Negative, text)) => {
                self.wrong(format_args!("must not be negative, but is {text}"), self.write(repair::size(text), hint));
                return None;
            }
            Some((Scalar::Float(value), text))
                if value.fract() != 0.0 || !value.is_finite() || text.contains(['e', 'E']) =>
            {
                let bytes = (value.fract() == 0.0 && (1.0..1e15).contains(&value)).then_some(value as u64);
                self.wrong(format_args!("must be a whole number of bytes, not {text}"), self.write(bytes, hint));
                return None;
            }
            Some((Scalar::Text, text)) if text.starts_with('-') => {
                let hint = self.write(repair::size(text), hint);
                self.wrong(format_args!("must not be negative, but is {}", quote(text)), hint);
                return None;
            }
            Some((Scalar::Text | Scalar::Whole(_) | Scalar::Float(_), text)) => {
                self.parsed(text, repair::size(text), hint)?
            }
            _ => {
                self.expected("a size", hint);
                return None;
            }
        };
        if size.bytes() < min {
            self.wrong(format_args!("must be at least {min} byte{}", if min == 1 { "" } else { "s" }), hint);
            return None;
        }
        Some(size)
    }

    /// Parses a number with an optional unit.
    fn quantity<T: FromStr<Err: Display>, G: IntoIterator<Item = String>>(
        &self,
        what: &str,
        guess: fn(&str) -> G,
        hint: &str,
    ) -> Option<T> {
        match self.scalar() {
            Some((Scalar::Text | Scalar::Whole(_) | Scalar::Float(_) | Scalar::Negative, text)) => {
                self.parsed(text, guess(text), hint)
            }
            Some((Scalar::Null | Scalar::Bool(_), _)) | None => {
                self.expected(what, hint);
                None
            }
        }
    }

    /// Reads a duration of at least `min` seconds.
    pub(super) fn duration(&self, min: u64) -> Option<Seconds> {
        let hint = "write a whole number with s, m, h or d, like 30s";
        let value: Seconds = self.quantity("a duration", repair::durations, hint)?;
        if value.0 < min {
            self.wrong(format_args!("must be at least {}", Seconds(min)), hint);
            return None;
        }
        Some(value)
    }

    /// Reads a percentage within bounds: `90%`, or 90.
    pub(super) fn percent(&self, min: u32, max: u32) -> Option<Percent> {
        let hint = "write whole percent, like 90%";
        let value: Percent = self.quantity("a percentage", repair::percent, hint)?;
        if !(min..=max).contains(&value.0) {
            self.wrong(format_args!("must be from {min}% to {max}%, not {value}"), hint);
            return None;
        }
        Some(value)
    }

    /// Reads a positive factor, in whole percent: 1.5 is 150%.
    pub(super) fn factor(&self) -> Option<Percent> {
        let value = match self.scalar() {
            Some((Scalar::Whole(value), _)) => value as f64,
            Some((Scalar::Float(value), _)) => value,
            Some((Scalar::Negative, _)) => -1.0,
            _ => {
                let guess = self.scalar().and_then(|(_, text)| repair::factor(text));
                self.expected(
                    "a number",
                    self.write(guess, "for example 1.5, which promises 50% more than the capacity"),
                );
                return None;
            }
        };
        if !(0.01..=1000.0).contains(&value) {
            self.wrong("must be from 0.01 to 1000", "1.0 promises no more than the capacity");
            return None;
        }
        Some(Percent((value * 100.0).round() as u32))
    }

    /// Reads one of a few words, each given with its description.
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
            Some(word) => format!("did you mean {}?", self.line_of(word)),
            None => {
                let longer = words.iter().map(|(word, _)| *word).filter(|word| word.starts_with(text));
                self.write(longer, &format!("write one of {all}"))
            }
        };
        self.wrong(format_args!("must be one of {all}, not {}", quote(text)), hint);
        None
    }

    /// Returns the items of a list, from `min` to `max` of them.
    pub(super) fn items(&self, min: usize, max: usize) -> Option<Vec<At<'a>>> {
        let NodeContent::List(items) = &self.node.content else {
            match self.scalar() {
                Some((Scalar::Text, text))
                    if text.starts_with(['-', '–', '—', '•'])
                        && self.is_line(text)
                        && self.file.report_no_colon(self.span()) => {}
                Some((Scalar::Text, text)) => self.expected("a list", self.write(Some(repair::as_list(text)), "")),
                _ => self.expected("a list", "write [a, b], or one line `- a` for each"),
            }
            return None;
        };
        if !(min..=max).contains(&items.len()) {
            self.wrong(format_args!("must have {min} to {max} items, not {}", items.len()), "");
            return None;
        }
        Some(items.iter().map(|node| At { node, key: node.span, ..*self }).collect())
    }

    /// Reads every item of a list with `read`. Returns `None` if one of them has a problem, after reading all.
    pub(super) fn each<T>(&self, min: usize, max: usize, read: impl FnMut(At<'a>) -> Option<T>) -> Option<Vec<T>> {
        let items: Vec<Option<T>> = self.items(min, max)?.into_iter().map(read).collect();
        items.into_iter().collect()
    }

    /// Returns the entries of a map with arbitrary keys.
    pub(super) fn entries(&self) -> Option<Vec<(&'a Key<'a>, At<'a>)>> {
        let NodeContent::Map(entries) = &self.node.content else {
            if let Some((Scalar::Text, text)) = self.scalar()
                && self.is_line(text)
                && self.file.report_no_colon(self.span())
            {
                return None;
            }
            if self.node.is_null() {
                let message = format!("`{}` has no value", self.field);
                self.gap(&[], self.span(), message, "write a map after the colon".to_owned());
                return None;
            }
            let pairs = self.pairs().unwrap_or_else(|| "KEY: VALUE".to_owned());
            self.expected("a map", format!("write `{}: {{{pairs}}}`", self.field));
            return None;
        };
        let value = |(key, node): &'a (Key<'a>, Node<'a>)| {
            let secret = self.secret || names_secret(&key.text);
            (key, At { node, field: &key.text, key: key.span, secret, ..*self })
        };
        Some(entries.iter().map(value).collect())
    }

    /// Returns the fields of a map with fixed keys. `meant`: returns the fields that a single value is probably meant for, with it; of
    /// several alternatives, each.
    pub(super) fn fields(&self, meant: impl FnOnce(Option<&str>) -> Vec<String>) -> Option<Fields<'a>> {
        let NodeContent::Map(entries) = &self.node.content else {
            self.no_fields(meant);
            return None;
        };
        Some(Fields { at: *self, entries, requested: Vec::new() })
    }
}

/// Whether a name of a secret is in a value.
fn mentions_secret(node: &Node<'_>) -> bool {
    match &node.content {
        NodeContent::Scalar { text, .. } => names_secret(text),
        NodeContent::List(items) => items.iter().any(mentions_secret),
        NodeContent::Map(entries) => entries.iter().any(|(key, node)| names_secret(&key.text) || mentions_secret(node)),
    }
}

/// Returns the only value in nested maps and lists of one.
fn only_value<'a>(node: &'a Node<'_>) -> Option<&'a str> {
    match &node.content {
        NodeContent::List(items) if items.len() == 1 => only_value(&items[0]),
        NodeContent::Map(entries) if entries.len() == 1 && !names_secret(&entries[0].0.text) => {
            only_value(&entries[0].1)
        }
        NodeContent::Scalar { text, .. } if !text.is_empty() && !text.contains('\n') => Some(text),
        NodeContent::List(_) | NodeContent::Map(_) | NodeContent::Scalar { .. } => None,
    }
}

fn in_quotes(text: &str) -> String {
    format!("\"{text}\"")
}

/// Whether a plain scalar is a number to a parser of YAML 1.1, or not text in the core schema of YAML 1.2. Dates are not included,
/// because a parser that knows them writes them back unchanged; nor are `yes`, `no`, `on` and `off`, which no parser reads as a number.
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

/// The fields of a map. [`Fields::finish`] reports those that were not requested.
#[must_use = "finish() reports unknown fields"]
pub(super) struct Fields<'a> {
    at: At<'a>,
    entries: &'a [(Key<'a>, Node<'a>)],
    requested: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    /// Returns the cursor of the map itself.
    pub(super) fn at(&self) -> At<'a> {
        self.at
    }

    /// Whether the map is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns an optional field.
    pub(super) fn get(&mut self, name: &'a str) -> Option<At<'a>> {
        self.requested.push(name);
        Some(At { field: name, ..self.peek(name)? })
    }

    /// Returns a field without marking it as requested.
    pub(super) fn peek(&self, name: &str) -> Option<At<'a>> {
        // Of a key that is written twice, which was reported, the one with a value.
        let same = || self.entries.iter().filter(|(key, _)| key.text == name);
        let (key, node) = same().find(|(_, node)| !node.is_null()).or_else(|| same().next())?;
        Some(At { node, field: &key.text, key: key.span, ..self.at })
    }

    /// Returns a required field, or reports that it is missing.
    pub(super) fn need(&mut self, name: &'a str, hint: &str) -> Option<At<'a>> {
        let found = self.get(name);
        if found.is_none() {
            self.at.missing(name, hint);
        }
        found
    }

    /// Reports a field that is known only to be refused, with its own message.
    pub(super) fn refuse(&mut self, name: &str, message: &str, hint: &str) {
        if let Some((key, _)) = self.entries.iter().find(|(key, _)| key.text == name) {
            self.at.file.report_hidden(key.span, message, hint);
        }
    }

    /// Returns the one field of `names` that is written, or reports that none or several are.
    pub(super) fn one_of(&mut self, names: &[&'a str]) -> Option<At<'a>> {
        let mut found: Vec<At<'a>> = names.iter().filter_map(|name| self.get(name)).collect();
        found.sort_by_key(|at| at.key);
        let all = names.join(", ");
        match found.as_slice() {
            [one] => return Some(*one),
            [] => {
                let message = format!("`{}` must have one of {all}", self.at.field);
                self.at.gap(names, self.at.key, message, "add one of them".to_owned());
            }
            [first, second, ..] => {
                second.wrong_field(format_args!("cannot be combined with `{}`", first.field), "keep one of them")
            }
        }
        None
    }

    /// Records the fields that were not requested, except for `passed`.
    pub(super) fn finish_except(self, passed: &str) {
        let At { file, field, secret, strays, .. } = self.at;
        let mut unknown = Vec::new();
        let mut below = None;
        for (key, node) in self.entries {
            if self.requested.contains(&&*key.text) || key.text == passed {
                below = node.is_null().then(|| key.text.to_string());
            } else if file.is_full() {
                file.report_hidden(key.span, "", "");
            } else {
                let value = At { node, ..self.at }.scalar().map(|(means, text)| match means {
                    Scalar::Text if !node.is_plain() => format!("\"{text}\""),
                    _ => text.to_owned(),
                });
                let (below, inner) = (below.clone(), only_value(node).map(str::to_owned));
                let scalar = node.owned_scalar().filter(|_| !secret);
                unknown.push(UnknownKey { text: key.text.to_string(), span: key.span, value, scalar, inner, below });
            }
        }
        if unknown.is_empty() {
            return;
        }
        let known = |key: &&Key<'_>| self.requested.contains(&&*key.text);
        let written = self.entries.iter().map(|(key, _)| key).filter(known).map(|key| key.text.to_string()).collect();
        let mut known: Vec<String> = self.requested.iter().map(|name| (*name).to_owned()).collect();
        known.sort_unstable();
        let unknown = Unknown { section: field.to_owned(), known, written, keys: unknown, is_secret: secret };
        strays.borrow_mut().add_unknown(unknown);
    }

    /// Records the fields that were not requested.
    pub(super) fn finish(self) {
        self.finish_except("");
    }
}
