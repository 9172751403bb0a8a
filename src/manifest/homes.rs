//! The sections of documents, with the fields that belong in each.

use super::lines::TOP;
use crate::driver::settings as drivers;
use crate::model::table::{FieldForm, FieldRule, FieldTable};
use crate::model::{Kind, Meta};

/// The name of the document in place of a section.
pub(super) const DOCUMENT: &str = "the document";

/// A section that a kind of documents may have.
pub(super) struct Home {
    /// Its path; empty for the top of the document.
    pub(super) path: Vec<&'static str>,
    pub(super) fields: Vec<&'static str>,
    /// The rules of those fields that are in a table.
    pub(super) rules: Vec<&'static FieldRule>,
}

impl Home {
    /// The name of the section, as [`Unknown::section`] has it.
    pub(super) fn section(&self) -> &'static str {
        self.path.last().copied().unwrap_or(DOCUMENT)
    }

    /// Returns the sections of a kind. Of the drivers only the section of `driver`, if it has one.
    pub(super) fn all(kind: Option<Kind>, driver: Option<&str>) -> Vec<Home> {
        let mut homes =
            vec![Home { path: vec![], fields: TOP.to_vec(), rules: Vec::new() }, Home::of(&["metadata"], &Meta::TABLE)];
        let Some(kind) = kind else { return homes };
        let own = drivers::tables(kind).any(|table| Some(table.name) == driver);
        let sections = drivers::tables(kind).filter(|table| !own || Some(table.name) == driver);
        let mut spec = Home::of(&["spec"], kind.table().spec);
        spec.fields.extend(drivers::tables(kind).map(|table| table.name));
        homes.push(spec);
        for field in kind.table().spec.all() {
            if let FieldForm::Map(table) = field.form {
                Home::add(&["spec", field.name], table, &mut homes);
            }
        }
        sections.for_each(|table| Home::add(&["spec", table.name], &table.settings, &mut homes));
        homes
    }

    fn of(path: &[&'static str], table: &FieldTable) -> Self {
        let fields = table.all().map(|field| field.name).collect();
        Home { path: path.to_vec(), fields, rules: table.all().collect() }
    }

    /// Adds a section with those in it.
    fn add(path: &[&'static str], table: &'static FieldTable, homes: &mut Vec<Home>) {
        homes.push(Home::of(path, table));
        for field in table.all() {
            if let FieldForm::Map(table) = field.form {
                Home::add(&[path, &[field.name]].concat(), table, homes);
            }
        }
    }
}
