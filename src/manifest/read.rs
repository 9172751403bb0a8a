//! Reads documents by the tables of their fields. Checks every value, reports every problem, and returns the valid values.

use std::path::PathBuf;

use super::fields::{At, Fields, is_no_text_to_some};
use super::kinds::Reference;
use super::repair;
use super::text::quote;
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
    let mut fields = at.fields(example(by))?;
    let values = table(&mut fields, by, references);
    fields.finish_except(by.refused.map_or("", |(name, ..)| name));
    Some(values)
}

/// Returns the field of a table that a single value is probably meant for: a required one, or the first.
pub(super) fn example(table: &'static FieldTable) -> &'static str {
    let required = table.all().find(|field| field.required.is_some());
    let first = required.or_else(|| table.all().next()).map_or("FIELD", |field| field.name);
    table.one_of.first().copied().unwrap_or(first)
}

fn value(at: At<'_>, field: &'static FieldRule, form: &FieldForm, references: &mut Vec<Reference>) -> Option<Setting> {
    match *form {
        FieldForm::Bool => at.flag().map(Setting::Bool),
        FieldForm::Whole { min, max } => at.whole(min, max).map(Setting::Whole),
        FieldForm::Factor => at.factor().map(Setting::Factor),
        FieldForm::Size { min, check } => {
            let size = at.size(min)?;
            passes(at, "", |_| check.map_or(Ok(()), |check| check(size))).then_some(Setting::Size(size))
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
            at.each(min, max, |item| value(item, field, of, references)).map(Setting::List)
        }
        FieldForm::Map(by) => map(at, by, references).map(Setting::Map),
        FieldForm::Labels => labels(at).map(Setting::Map),
    }
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
        at.wrong(
            format_args!("is {}, but `~` is not expanded", quote(text)),
            "write an absolute path, or one relative to this file",
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
    let mut labels = Settings::default();
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
