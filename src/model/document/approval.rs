//! `kind: Approval`.

use serde::{Deserialize, Serialize};

use super::Meta;
use crate::model::table::{Complaint, DocumentTable, FieldCheck, FieldForm, FieldRule, Text, fields};

pub(super) const APPROVAL: DocumentTable = DocumentTable {
    doc: "Approves a held set of removals by a commit.",
    spec: &ApprovalSpec::TABLE,
    example: ("spring-clean", r#"{"digest": "0123456789abcdef"}"#),
};

fields! {
    /// The approval of a set of removals.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ApprovalSpec("ApprovalSpec") {
        given {
            /// `metadata`.
            meta: Meta,
        }
        /// The digest that `kiln plan` prints. It covers exactly that set.
        "digest" => digest: String = FieldRule::required(COPY, FieldForm::Text(Text::of(is_digest))),
    }
}

const COPY: &str = "copy the digest that `kiln plan` prints";

fn is_digest(text: &str) -> FieldCheck {
    let fits = (8..=80).contains(&text.len()) && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='z' | '-' | ':'));
    Complaint::unless(fits, "is {}, which is not a digest", COPY)
}
