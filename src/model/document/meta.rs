//! `metadata`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Name;
use crate::model::table::{FieldForm, FieldRule, FieldTable};

/// `metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Unique per kind.
    pub name: Name,
    /// Free text by key, kept on the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The name it used to be declared under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<Name>,
}

impl Meta {
    /// The fields of `metadata`.
    pub const TABLE: FieldTable = FieldTable::of("Metadata", "What every object has.", FIELDS);
}

const FIELDS: &[FieldRule] = &[
    FieldRule::required("give it a name, like db-1", FieldForm::Name(None))
        .named("name", "Unique per kind. Of a Stack: at most 20 characters, since every native name begins with it."),
    FieldRule::optional(FieldForm::Labels).named("labels", "Free text by key, kept on the object."),
    FieldRule::optional(FieldForm::Name(None))
        .named("renamedFrom", "This is the object that used to be declared under that name."),
];

/// Where a document stands: `FILE:LINE:COLUMN` for messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct SourcePlace {
    /// The file, as given on the command line and found below it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
