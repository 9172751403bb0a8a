//! `kind: Snapshot`.

use serde::{Deserialize, Serialize};

use super::volume::{ADOPT, Adopt};
use super::{Meta, OnRemove};
use crate::model::table::{DocumentTable, FieldForm, FieldRule, fields};
use crate::model::{Kind, Name};

pub(super) const SNAPSHOT: DocumentTable = DocumentTable {
    doc: "What a volume held when this was made; never changes.",
    spec: &SnapshotSpec::TABLE,
    example: ("db-monday", r#"{"volume": "db"}"#),
};

fields! {
    /// What the snapshot is of.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SnapshotSpec("SnapshotSpec") {
        given {
            /// `metadata`.
            meta: Meta,
        }
        /// The declared volume.
        "volume" => volume: Name =
            FieldRule::required("write the name of the volume that it is of", FieldForm::Name(Some(Kind::Volume))),
        /// Blocks every step that could lose it; only a written `false` lifts it.
        "protected" => protected: Option<bool> = FieldRule::optional(FieldForm::Bool),
        /// What happens when the document goes; Detach makes its clones independent first. Default: Trash.
        "onRemove" => on_remove: Option<OnRemove> = FieldRule::optional(FieldForm::Choice(&OnRemove::CHOICES)),
        /// Takes over what exists on the backend, under its own name.
        "adopt" => adopt: Option<String>, with Adopt = FieldRule::optional(FieldForm::Map(&ADOPT)),
    }
}
