//! `kind: Snapshot`.

use serde::{Deserialize, Serialize};

use super::volume::{ADOPT, Adopt};
use super::{Meta, OnRemove};
use crate::model::table::{DocumentTable, FieldForm, FieldRule, fields};
use crate::model::{Kind, Name};

pub(super) const SNAPSHOT: DocumentTable = DocumentTable {
    doc: "The content of a volume at one time, which never changes.",
    spec: &SnapshotSpec::TABLE,
    example: ("db-monday", r#"{"volume": "db"}"#),
};

fields! {
    /// The snapshot of a volume.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SnapshotSpec("SnapshotSpec") {
        given {
            /// `metadata`.
            meta: Meta,
        }
        /// The declared volume.
        "volume" => volume: Name =
            FieldRule::required("write the name of the volume", FieldForm::Name(Some(Kind::Volume))),
        /// That no client writes to the volume while the snapshot is taken. Needed where the backend cannot see clients.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        "quiesced" => quiesced: bool = FieldRule::default(FieldForm::Bool, "false"),
        /// Blocks every step that could lose data, until `false` is written.
        "protected" => protected: Option<bool> = FieldRule::optional(FieldForm::Bool),
        /// What happens when the document is removed; Detach makes its clones independent first. Default: Trash.
        "onRemove" => on_remove: Option<OnRemove> = FieldRule::optional(FieldForm::Choice(&OnRemove::CHOICES)),
        /// Adopts an existing snapshot of the volume, under its native name.
        "adopt" => adopt: Option<String>, with Adopt = FieldRule::optional(FieldForm::Map(&ADOPT)),
    }
}
