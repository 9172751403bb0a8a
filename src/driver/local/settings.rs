//! The section `local` of a Backend.

use std::path::PathBuf;

use crate::model::table::{FieldForm, FieldRule, fields};
use crate::model::{DriverTable, Kind, Percent};

pub(in crate::driver) const TABLE: DriverTable = DriverTable {
    kind: Kind::Backend,
    name: "local",
    settings: LocalSettings::TABLE,
    required: Some("write `local: {path: ../pool}`, relative to this file"),
    needs_stack: false,
    overcommit: Some(Percent(100)),
    place: "",
};

fields! {
    /// A directory that holds the objects.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LocalSettings("Local") {
        /// The directory, relative to the file.
        "path" => path: PathBuf =
            FieldRule::required("write the directory of the pool, relative to this file", FieldForm::Path).key(),
        /// Makes the directory on first use.
        "create" => create: bool = FieldRule::default(FieldForm::Bool, "false"),
    }
}
