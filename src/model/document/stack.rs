//! `kind: Stack`.

use serde::{Deserialize, Serialize};

use super::OnRemove;
use super::volume::ON_REMOVE;
use crate::model::table::{Complaint, DocumentTable, FieldCheck, FieldForm, FieldRule, Text, choices, fields};
use crate::model::{Kind, Name, Owner, Percent, Seconds, Size};

pub(super) const STACK: DocumentTable = DocumentTable {
    doc: "The owner of all objects, and its policy. At most one.",
    spec: &Stack::TABLE,
    example: ("prod", r#"{"id": "5c1d2e8a90", "trash": {"ttl": "7d"}}"#),
};

fields! {
    /// The policy of the owner.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Stack("StackSpec") {
        given {
            /// `metadata.name`.
            owner: Owner,
            /// Whether a Stack is declared. Without one `id` is empty.
            declared: bool,
        }
        /// 8 to 40 of a-z, 0-9 and '-', generated once by `kiln init`. Distinguishes two Stacks with the same name; must never change.
        "id" => id: String = FieldRule::required("generate one with `kiln init`, once; it must never change", FieldForm::Text(ID)),
        /// Defaults for fields that documents omit.
        "defaults" => defaults: Defaults = FieldRule::default(FieldForm::Map(&Defaults::TABLE), "{}"),
        /// How often the daemon observes everything again.
        "interval" => interval: Seconds = FieldRule::default(FieldForm::Duration { min: 1 }, "1m"),
        /// How long removed objects can be restored.
        "trash" => trash: TrashPolicy =
            FieldRule::default(FieldForm::Map(&TrashPolicy::TABLE), "{}"),
        /// How much may be removed within 24 hours without an approval.
        "safety" => safety: Safety = FieldRule::default(FieldForm::Map(&Safety::TABLE), "{}"),
    }
}

impl Stack {
    /// Returns the policy without a Stack.
    pub fn unnamed() -> Self {
        let mut values = Self::TABLE.defaults();
        values.set("id", crate::model::table::Setting::Text(String::new()));
        let stack = Self::from_values(&mut values, Owner::unnamed(), false);
        stack.unwrap_or_else(|| unreachable!("every other field of a Stack has a default"))
    }
}

const ID: Text = Text { pattern: Some("^[a-z0-9-]{8,40}$"), ..Text::of(is_id) };

fn is_id(text: &str) -> FieldCheck {
    let fits = (8..=40).contains(&text.len()) && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    Complaint::unless(fits, "is {}, but must be 8 to 40 of a-z, 0-9 and '-'", "generate one with `kiln init`")
}

fields! {
    /// Defaults for fields that documents omit.
    #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub struct Defaults("StackDefaults") {
        /// The Backend of volumes that name none. No default.
        "backend" => backend: Option<Name> = FieldRule::optional(FieldForm::Name(Some(Kind::Backend))),
        /// `onRemove` of objects that are created. Default: Trash.
        "onRemove" => on_remove: Option<OnRemove> = FieldRule::optional(FieldForm::Choice(&ON_REMOVE)),
        /// `protected` of objects that are created. Default: false.
        "protected" => protected: Option<bool> = FieldRule::optional(FieldForm::Bool),
    }
}

fields! {
    /// How long removed objects can be restored.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TrashPolicy("Trash") {
        /// How long they are kept at least.
        "ttl" => ttl: Seconds = FieldRule::default(FieldForm::Duration { min: 1 }, "7d"),
        /// auto: the daemon purges expired objects; manual: only `kiln trash purge` does.
        "purge" => purge: PurgeMode = FieldRule::default(FieldForm::Choice(&PurgeMode::CHOICES), "auto"),
    }
}

choices! {
    /// Who purges the trash.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub enum PurgeMode("Purge") {
        /// The daemon purges expired objects.
        "auto" => Auto,
        /// Only `kiln trash purge` does.
        "manual" => Manual,
    }
}

fields! {
    /// How much may be removed within 24 hours without an approval.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Safety("Safety") {
        /// Number of volumes and snapshots.
        "maxRemovals" => max_removals: u32 = FieldRule::default(FieldForm::Whole { min: 0, max: 1_000_000 }, "10"),
        /// Their percentage of all volumes and snapshots.
        "maxRemovedPercent" => max_removed_percent: Percent =
            FieldRule::default(FieldForm::Share { min: 0, max: 100 }, "50%"),
        /// Their total size.
        "maxRemovedBytes" => max_removed_bytes: Size = FieldRule::default(FieldForm::size(0), "1Ti"),
    }
}
