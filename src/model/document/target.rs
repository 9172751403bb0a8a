//! `kind: Target`. Checked in full, though no target driver is built yet and little of it is kept: what is written today must not turn
//! out to be wrong on the day that one is.

use serde::{Deserialize, Serialize};

use super::Meta;
use crate::model::table::{DocumentTable, FieldForm, FieldRule, Text, fields};

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
        }
        /// tgt, nbd, lio, nvmet, …
        "driver" => driver: String =
            FieldRule::required("write `driver: tgt`, or another driver", FieldForm::Text(Text::of(super::backend::is_driver))),
    }
}
