//! Reads documents by the tables of their fields. Checks every value, reports every problem, and returns the valid values.

use std::cell::RefCell;
use std::path::PathBuf;

use super::fields::{At, Fields, is_no_text_to_some};
use super::kinds::Reference;
use super::lines::{TOP, Typo, write};
use super::repair;
use super::scan::{Key, Node, NodeContent, Scalar};
use super::span::Span;
use super::text::{File, has_cephx_key, quote};
use crate::model::Name;
use crate::model::table::{Complaint, FieldCheck, FieldForm, FieldRule, FieldTable, Setting, Settings, Text};
use crate::text::is_unsafe;

/// Labels per object, characters per key, characters per value. Moderate use fits the tags of every backend (LVM has the least room).
const LABELS: (usize, usize, usize) = (64, 128, 1024);

/// Reads the fields of a table, with defaults for those that are not written. Invalid fields are missing from the result. The caller
/// then calls [`Fields::finish`].
pub(super) fn table(fields: &mut Fields<'_>, table: &'static FieldTable, references: &mut Vec<Reference>) -> Settings {
    let one = if table.one_of.is_empty() { None } else { fields.one_of(table.one_of) };
    if let Some((name, message, hint)) = table.refused {
        fields.refuse(name, message, hint);
    }
    let mut values = Settings::default();
    for field in table.all() {
        let at = match field.required {
            _ if table.one_of.contains(&field.name) => one.filter(|at| at.field() == field.name),
            Some(hint) => fields.need(field.name, hint),
            None => fields.get(field.name),
        };
        let read = match at {
            Some(at) => value(if field.is_secret { at.secret() } else { at }, field, &field.form, references),
            None => field.default_value(),
        };
        if let Some(value) = read {
            values.set(field.name, value);
        }
    }
    values
}

/// Reads a map by a table.
pub(super) fn map(at: At<'_>, by: &'static FieldTable, references: &mut Vec<Reference>) -> Option<Settings> {
    let mut fields = fields(at, by)?;
    let values = table(&mut fields, by, references);
    fields.finish_except(by.refused.map_or("", |(name, ..)| name));
    Some(values)
}

/// What is shown and stored in place of a value that may be a secret.
const HIDDEN: &str = "(hidden)";

/// Returns a map without a table as it is written, but for values that may be secrets.
pub(super) fn written_map(at: At<'_>) -> Option<Settings> {
    let entries = at.entries()?.into_iter();
    Some(entries.fold(Settings::default(), |values, (key, value)| {
        let value = if may_be_secret(&key.text) { value.secret() } else { value };
        values.with(&key.text, written(value))
    }))
}

/// Whether the name of a field of an unknown driver suggests a secret, besides the names that problems hide.
fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "auth", "cred"].iter().any(|part| name.contains(part))
        || ["key", "pass", "passwd", "pwd"].iter().any(|end| name.ends_with(end))
}

/// Whether a text may contain a password as URLs do: `https://user:password@host`. A password may contain any character, and a text
/// several URLs.
fn has_password(text: &str) -> bool {
    let before_host = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    before_host.is_some_and(|(user, _)| user.contains(':'))
}

/// Returns a value without a form as it is written; none for null.
fn written(at: At<'_>) -> Option<Setting> {
    if at.secret {
        return Some(Setting::Text(HIDDEN.to_owned()));
    }
    match &at.node.content {
        NodeContent::Scalar { means: Scalar::Text, text, .. } if has_password(text) => {
            Some(Setting::Text(HIDDEN.to_owned()))
        }
        NodeContent::Scalar { means: Scalar::Null, .. } => None,
        NodeContent::Scalar { means: Scalar::Bool(flag), .. } => Some(Setting::Bool(*flag)),
        NodeContent::Scalar { means: Scalar::Whole(number), .. } => Some(Setting::Whole(*number)),
        NodeContent::Scalar { means: Scalar::Negative | Scalar::Float(_) | Scalar::Text, text, .. } => {
            Some(Setting::Text(text.to_string()))
        }
        NodeContent::List(items) => {
            let items = items.iter().map(|node| At { node, key: node.span, ..at });
            Some(Setting::List(items.filter_map(written).collect()))
        }
        NodeContent::Map(_) => written_map(at).map(Setting::Map),
    }
}

/// Returns the fields of a map, to read them by a table.
pub(super) fn fields<'a>(at: At<'a>, by: &'static FieldTable) -> Option<Fields<'a>> {
    at.fields(|text| meant(at, by, text))
}

/// Returns the fields that a single text in place of a map is probably meant as: the one that it is valid for, and the other required
/// ones with examples. Without a text, or if it is valid for none, only examples. Several alternatives if it can name objects of several
/// kinds.
fn meant(at: At<'_>, table: &'static FieldTable, text: Option<&str>) -> Vec<String> {
    if let Some((name, value)) = text.and_then(|text| text.split_once([' ', '=']))
        && table.all().any(|field| field.name == name)
    {
        return vec![format!("{name}: {}", value.trim_start_matches([' ', '=']))];
    }
    let one_of = || table.one_of.iter().filter_map(|name| table.all().find(|field| field.name == *name));
    let names = one_of().filter(|field| matches!(field.form, FieldForm::Name(_)));
    let names = names.filter_map(|field| Some(format!("{}: {}", field.name, fitting(at, field, text?)?)));
    let names: Vec<String> = names.collect();
    if names.len() > 1 && table.all().all(|field| field.required.is_none()) {
        return names;
    }
    let required = || one_of().take(1).chain(table.all().filter(|field| field.required.is_some()));
    let first = text.and_then(|text| {
        let all = one_of().chain(required()).chain(table.all());
        all.into_iter().find_map(|field| Some((field.name, fitting(at, field, text)?)))
    });
    let is_one = |name: &str| table.one_of.contains(&name);
    let others = required().filter(|field| match first {
        Some((name, _)) => field.name != name && !(is_one(name) && is_one(field.name)),
        None => true,
    });
    let others = others.map(|field| Some(format!("{}: {}", field.name, example(field.form, text)?)));
    let Some(others) = others.collect::<Option<Vec<String>>>() else { return Vec::new() };
    let first = first.as_ref().map(|(name, value)| format!("{name}: {value}"));
    let all: Vec<String> = first.into_iter().chain(others).collect();
    if all.is_empty() { Vec::new() } else { vec![all.join(", ")] }
}

/// Returns the value of a field that a text is probably meant as.
fn fitting(at: At<'_>, field: &'static FieldRule, text: &str) -> Option<String> {
    match field.form {
        // Only paths that documents name are recorded.
        FieldForm::Path => Some(repair::in_braces(text)),
        FieldForm::Map(table) => {
            let fields = meant(at, table, Some(text)).into_iter().next().filter(|_| text.contains(['.', '/']))?;
            Some(format!("{{{fields}}}"))
        }
        form => {
            let is_valid = at.quietly(|at| value(at, field, &form, &mut Vec::new()).is_some());
            is_valid.then(|| repair::in_braces(text))
        }
    }
}

/// Returns an example of a form beside a text. One in capitals must be replaced.
fn example(form: FieldForm, text: Option<&str>) -> Option<String> {
    Some(match form {
        FieldForm::Choice(choices) => {
            let words = || choices.words.iter().map(|(word, _)| *word);
            let named = words().find(|word| text.is_some_and(|text| text.ends_with(word)));
            named.or_else(|| words().next())?.to_owned()
        }
        FieldForm::Map(table) => {
            let required = table.all().filter(|field| field.required.is_some());
            let one = table.one_of.first();
            let fields = required.chain(table.all().filter(|field| one == Some(&field.name)));
            let fields: Option<Vec<String>> =
                fields.map(|field| Some(format!("{}: {}", field.name, example(field.form, None)?))).collect();
            format!("{{{}}}", fields?.join(", "))
        }
        FieldForm::Size { .. } => "10Gi".to_owned(),
        FieldForm::Name(_) => "NAME".to_owned(),
        FieldForm::Path => "PATH".to_owned(),
        FieldForm::Text(_) => "TEXT".to_owned(),
        FieldForm::Bool
        | FieldForm::Whole { .. }
        | FieldForm::Factor
        | FieldForm::Duration { .. }
        | FieldForm::Share { .. }
        | FieldForm::List { .. }
        | FieldForm::Labels => return None,
    })
}

fn value(at: At<'_>, field: &'static FieldRule, form: &FieldForm, references: &mut Vec<Reference>) -> Option<Setting> {
    match *form {
        FieldForm::Bool => at.flag().map(Setting::Bool),
        FieldForm::Whole { min, max } => at.whole(min, max).map(Setting::Whole),
        FieldForm::Factor => at.factor().map(Setting::Factor),
        FieldForm::Size { min, check } => {
            let size = at.size(min)?;
            passes(at, "", |_| check.map_or(Ok(()), |check| check(*size))).then_some(Setting::Size(size))
        }
        FieldForm::Duration { min } => at.duration(min).map(Setting::Duration),
        FieldForm::Share { min, max } => at.percent(min, max).map(Setting::Share),
        FieldForm::Text(Text { max, check, pattern: _ }) => {
            let text = max.map_or_else(|| at.text(), |max| at.line(max))?;
            passes(at, text, |text| check.map_or(Ok(()), |check| check(text))).then(|| Setting::Text(text.to_owned()))
        }
        FieldForm::Name(of) => {
            let name: Name = at.name()?;
            references.extend(of.map(|kind| Reference {
                kind,
                name: name.clone(),
                span: at.span(),
                field: field.name,
            }));
            Some(Setting::Name(name))
        }
        FieldForm::Path => path(at).map(Setting::Path),
        FieldForm::Choice(choices) => match choices.refused {
            Some((word, message, hint)) if at.is_text(word) => {
                at.wrong(message, hint);
                None
            }
            _ => at.choice(choices.words).map(|word| Setting::Text(word.to_owned())),
        },
        FieldForm::List { of, min, max } => {
            if let Some(items) = corrected_items(at, field, of) {
                at.expected("a list", at.write(Some(format!("[{}]", items.join(", "))), ""));
                return None;
            }
            at.each(min, max, |item| value(item, field, of, references)).map(Setting::List)
        }
        FieldForm::Map(by) => map(at, by, references).map(Setting::Map),
        FieldForm::Labels => labels(at).map(Setting::Map),
    }
}

/// Why a value is wrong.
pub(super) struct WrongValue {
    /// A sentence that begins with the field's name.
    pub(super) message: String,
    pub(super) hint: String,
}

impl WrongValue {
    /// Returns the value that the hint writes, if it writes one. `field`: none for an item of a list.
    pub(super) fn corrected(&self, field: Option<&str>) -> Option<&str> {
        let rest = self.hint.strip_prefix("write ")?;
        // Some hints quote a text as it is written.
        if let Some(text) = rest.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|_| field.is_none()) {
            return (!text.contains('"')).then_some(rest);
        }
        let code = rest.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'))?;
        match field {
            Some(field) => code.strip_prefix(field)?.strip_prefix(": "),
            None => Some(code),
        }
    }
}

/// Returns why a value would be wrong for a field that it is not written for. `key`: the place of the field's name.
pub(super) fn wrong_value(file: &File, field: &'static FieldRule, node: &Node<'_>, key: Span) -> Option<WrongValue> {
    let strays = RefCell::default();
    let at = At { file, node, field: field.name, key, secret: field.is_secret, strays: &strays };
    why_wrong(at, field, &field.form)
}

/// Returns why a scalar is wrong in a form. Only paths that documents name are recorded, so these are not read.
fn why_wrong(at: At<'_>, field: &'static FieldRule, form: &FieldForm) -> Option<WrongValue> {
    if matches!(form, FieldForm::Path) {
        return None;
    }
    let mark = at.file.mark();
    let read = value(at, field, form, &mut Vec::new());
    let problem = at.file.remove_problems_after(mark).filter(|_| read.is_none())?;
    Some(WrongValue { message: problem.message, hint: problem.hint.unwrap_or_default() })
}

/// Returns the items that a text in place of a list means, if at least one of them must be corrected, too.
fn corrected_items(at: At<'_>, field: &'static FieldRule, of: &FieldForm) -> Option<Vec<String>> {
    let (Scalar::Text, text) = at.scalar().filter(|_| !at.secret)? else { return None };
    let why_wrong = |item: &str| {
        let content = NodeContent::Scalar { text: item.into(), plain: true, means: Scalar::Text };
        let node = Node { span: at.node.span, content };
        let strays = RefCell::default();
        why_wrong(At { node: &node, key: node.span, strays: &strays, ..at }, field, of)
    };
    let mut is_corrected = false;
    let items = repair::list_items(text).map(|item| {
        let Some(wrong) = why_wrong(item) else { return Some(item.to_owned()) };
        is_corrected = true;
        let written = || wrong.hint.strip_prefix("write ")?.split(' ').next().filter(|word| word.starts_with(item));
        let written = || written().filter(|word| why_wrong(word).is_none());
        wrong.corrected(None).or_else(written).map(str::to_owned)
    });
    let items: Vec<String> = items.collect::<Option<_>>()?;
    is_corrected.then_some(items)
}

fn passes(at: At<'_>, text: &str, check: impl Fn(&str) -> FieldCheck) -> bool {
    let verdict = check(text);
    if let Err(Complaint { message, hint }) = &verdict {
        let bare = repair::bare(text);
        let guesses = [bare.to_owned(), bare.to_lowercase()].into_iter();
        let guess = guesses.filter(|guess| guess != text).find(|guess| check(guess).is_ok());
        at.wrong(message.replace("{}", &quote(text)), at.write(guess, hint));
    }
    verdict.is_ok()
}

/// Reads a path. A relative path starts at the directory of the file.
fn path(at: At<'_>) -> Option<PathBuf> {
    let text = at.line(4095)?;
    if text.starts_with('~') {
        let what = if at.secret { "begins with `~`".to_owned() } else { format!("is {}", quote(text)) };
        let hint = "write an absolute path, or one relative to this file";
        at.wrong(format_args!("{what}, but `~` is not expanded"), hint);
        return None;
    }
    if at.secret && has_cephx_key(text) {
        at.wrong(
            "is a key, and must be the path of a file with it",
            "write the path of the file that contains the key",
        );
        return None;
    }
    let path = super::files::absolute(&at.file.directory.join(text));
    // Every path of every kind is recorded here, so the path policy applies to all of them.
    at.file.record_path(path.clone());
    Some(path)
}

fn labels(at: At<'_>) -> Option<Settings> {
    let (most, key_max, value_max) = LABELS;
    let entries = at.entries()?;
    if entries.len() > most {
        at.wrong(format_args!("has {} entries; at most {most} are allowed", entries.len()), "remove some");
        return None;
    }
    // `{team=shop, tier:"1"}`
    let is_pair = |(key, value): &&(&Key<'_>, At<'_>)| {
        value.node.is_null() && key.plain && key.text.contains(['=', ':', ';', '：', '＝'])
    };
    let pairs: Vec<_> = entries.iter().filter(is_pair).map(|(key, _)| *key).collect();
    if let Some(typo) = pairs_in_braces(at.file, &pairs) {
        at.file.report_typo(typo);
        return None;
    }
    let mut labels = Settings::default();
    let (strays, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, value)| is_section_here(key, value));
    at.add_unknown(strays);
    for (key, value) in entries {
        let key_ok = !key.text.is_empty() && key.text.chars().count() <= key_max && !key.text.contains(is_unsafe);
        if !key_ok {
            let message =
                format!("the label key {} must have 1 to {key_max} characters, all of them visible", quote(&key.text));
            at.file.report(key.span, message, "write a short key, like team");
        } else if key.plain && is_no_text_to_some(&key.text) {
            let message =
                format!("the label key {} is ambiguous: not every YAML parser reads it as text", quote(&key.text));
            at.file.report(key.span, message, format!("put it in quotes: \"{}\"", key.text));
        }
        // A label may have an empty value.
        let text = if value.is_text("") { Some("") } else { value.line(value_max) };
        labels = labels.with(&key.text, text.map(|text| Setting::Text(text.to_owned())));
    }
    Some(labels)
}

/// Whether an entry of labels is a section of the document that is indented too far.
fn is_section_here(key: &Key<'_>, value: &At<'_>) -> bool {
    TOP.contains(&&*key.text) && matches!(value.node.content, NodeContent::Map(_))
}

/// Keys of labels that contain their value, because the colon or the space after it is missing.
fn pairs_in_braces(file: &File, keys: &[&Key<'_>]) -> Option<Typo> {
    let first = keys.first()?;
    let (name, rest) = first.text.split_at(first.text.find(['=', ':', ';', '：', '＝'])?);
    let mut line = file.line(first.span.line).to_owned();
    for key in keys.iter().filter(|key| key.span.line == first.span.line) {
        line = line.replacen(&*key.text, &repair::as_pairs(&key.text)?, 1);
    }
    let (what, of) = match rest.starts_with('=') {
        true => ("there is an equals sign in place of a colon", format!(" after `{name}`")),
        false if rest.starts_with(';') => ("there is a semicolon in place of a colon", format!(" after `{name}`")),
        false if !rest.starts_with(':') => ("this is another character than the colon", format!(" after `{name}`")),
        false => ("a space is missing after the colon", format!(" of `{name}`")),
    };
    let column = first.span.column + name.chars().count() as u32;
    Some(Typo { span: Span { column, len: 1, ..first.span }, what, of, fix: write(&line) })
}
