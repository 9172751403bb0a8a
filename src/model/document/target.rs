//! `kind: Target`. No target driver is implemented yet. Documents are checked completely, so that manifests written today will be valid.

use serde::{Deserialize, Serialize};

use super::Meta;
use crate::model::table::{DocumentTable, FieldForm, FieldRule, Settings, Text, fields};

pub(super) const TARGET: DocumentTable = DocumentTable {
    doc: "A server that exports volumes to clients.",
    spec: &TargetSpec::TABLE,
    example: ("san", r#"{"driver": "tgt", "tgt": {"iqnPrefix": "iqn.2026-01.org.example"}}"#),
};

fields! {
    /// A server that exports volumes.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TargetSpec("TargetSpec") {
        given {
            /// `metadata`.
            meta: Meta,
            /// The section of the driver: see [`DriverConfig::settings`](super::DriverConfig::settings).
            #[serde(default, skip_serializing_if = "Settings::is_empty")]
            settings: Settings,
        }
        /// tgt, nbd, lio, nvmet, …
        "driver" => driver: String =
            FieldRule::required("write `driver: tgt`, or another driver", FieldForm::Text(Text::of(super::backend::is_driver))),
    }
}
