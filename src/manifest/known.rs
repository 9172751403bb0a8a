//! What the name of a field can be in documents of any kind: for typing errors in text that cannot be parsed.

use std::iter::once;

use super::lines::TOP;
use crate::driver::settings as drivers;
use crate::model::table::{FieldForm, FieldRule, FieldTable, Text};
use crate::model::{Kind, Meta};

/// Whether a field of this name is a map in some document.
pub(super) fn is_section(name: &str) -> bool {
    let is_map = |field: &FieldRule| matches!(field.form, FieldForm::Map(_) | FieldForm::Labels);
    matches!(name, "metadata" | "spec")
        || Kind::ALL.into_iter().flat_map(drivers::tables).any(|table| table.name == name)
        || any_field(&|field| field.name == name && is_map(field))
}

/// Whether any text may be the value of a field of this name: it is the key of a label, or a field for text.
pub(super) fn takes_any_text(name: &str) -> bool {
    let is_text = |field: &FieldRule| matches!(field.form, FieldForm::Text(_) | FieldForm::Path);
    !any_field(&|field| field.name == name && !is_text(field))
}

/// Whether a text that begins with `#` may be the value of a field of this name.
pub(super) fn takes_hash(name: &str) -> bool {
    let is_free = |form: &FieldForm| matches!(form, FieldForm::Text(Text { check: None, .. }));
    !TOP.contains(&name) && !any_field(&|field| field.name == name && !is_free(&field.form))
}

/// Whether a field of this name is a list.
pub(super) fn takes_list(name: &str) -> bool {
    any_field(&|field| field.name == name && matches!(field.form, FieldForm::List { .. }))
}

/// Returns the lists that may be in the same section as a field of this name.
pub(super) fn lists_beside(name: &str) -> Vec<&'static str> {
    let mut lists = Vec::new();
    for kind in Kind::ALL {
        for table in once(kind.table().spec).chain(drivers::tables(kind).map(|table| &table.settings)) {
            if table.all().any(|field| field.name == name) {
                let is_list = |field: &&FieldRule| matches!(field.form, FieldForm::List { .. });
                lists.extend(table.all().filter(is_list).map(|field| field.name));
            }
        }
    }
    lists.sort_unstable();
    lists.dedup();
    lists
}

/// Whether a field of this name is the name of an object.
pub(super) fn takes_name(name: &str) -> bool {
    any_field(&|field| field.name == name && matches!(field.form, FieldForm::Name(_)))
}

/// Whether a field of this name may contain a secret.
pub(super) fn is_secret(name: &str) -> bool {
    any_field(&|field| field.name == name && field.is_secret)
}

/// Whether a field of any document is so.
fn any_field(is: &dyn Fn(&FieldRule) -> bool) -> bool {
    let of_kind = |kind: Kind| once(kind.table().spec).chain(drivers::tables(kind).map(|table| &table.settings));
    once(&Meta::TABLE).chain(Kind::ALL.into_iter().flat_map(of_kind)).any(|table| any_in(table, is))
}

fn any_in(table: &FieldTable, is: &dyn Fn(&FieldRule) -> bool) -> bool {
    table.all().any(|field| {
        let below = match field.form {
            FieldForm::Map(table) => any_in(table, is),
            FieldForm::Bool
            | FieldForm::Whole { .. }
            | FieldForm::Factor
            | FieldForm::Size { .. }
            | FieldForm::Duration { .. }
            | FieldForm::Share { .. }
            | FieldForm::Text(_)
            | FieldForm::Name(_)
            | FieldForm::Path
            | FieldForm::Choice(_)
            | FieldForm::List { .. }
            | FieldForm::Labels => false,
        };
        is(field) || below
    })
}
