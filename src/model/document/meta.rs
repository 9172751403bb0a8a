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
    /// Free text by key, stored on the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The previous name of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<Name>,
}

impl Meta {
    /// The fields of `metadata`.
    pub const TABLE: FieldTable = FieldTable::of("Metadata", "The metadata of every document.", FIELDS);
}

const FIELDS: &[FieldRule] = &[
    FieldRule::required("write a name, like db-1", FieldForm::Name(None)).named(
        "name",
        "Unique per kind. The name of a Stack has at most 20 characters, because every native name contains it.",
    ),
    FieldRule::optional(FieldForm::Labels).named("labels", "Free text by key, stored on the object."),
    FieldRule::optional(FieldForm::Name(None))
        .named("renamedFrom", "The previous name of the document. The object keeps its data under the new name."),
];

/// A place in a manifest: `FILE:LINE:COLUMN` in messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct SourcePlace {
    /// The file: the path from the command line, and the path below it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl SourcePlace {
    /// Returns the place, unless it is none: what is wrong with all of SPECS has no file.
    pub fn known(&self) -> Option<&SourcePlace> {
        (!self.file.is_empty()).then_some(self)
    }

    /// Reads `FILE:LINE:COLUMN`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, ':');
        let mut number = || parts.next()?.parse().ok();
        let (column, line) = (number()?, number()?);
        let file = parts.next().filter(|file| !file.is_empty())?;
        Some(Self { file: file.into(), line, column })
    }

    /// Returns `PLACE: MESSAGE`; the message alone if there is no place.
    pub fn beside(&self, message: &str) -> String {
        self.known().map_or_else(|| message.to_owned(), |place| format!("{place}: {message}"))
    }
}

impl fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
