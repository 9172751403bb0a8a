//! What a document says about the tags of its object, and how differences are shown.

use serde_json::{Value, json};

use crate::model::{FieldChange, Meta, OnRemove, Provisioning, Size, Tags};

/// What a document says about the tags of its object.
pub(super) struct Wanted<'s> {
    pub meta: &'s Meta,
    pub protected: Option<bool>,
    pub on_remove: Option<OnRemove>,
}

/// The tags that a document asks for on an object that has `now`: as written, else as tagged.
pub(super) fn wanted_tags(wanted: &Wanted<'_>, now: &Tags) -> Tags {
    let Tags {
        labels: _,
        protected,
        on_remove,
        provisioning,
        retained,
        expires: _,
        identity,
        adopted,
        volume,
        restored,
        restoring,
    } = now.clone();
    let on_remove = match wanted.on_remove {
        // Not stored: none means Trash.
        Some(OnRemove::Trash) => None,
        Some(other) => Some(other),
        None => on_remove,
    };
    Tags {
        labels: wanted.meta.labels.clone(),
        protected: wanted.protected.unwrap_or(protected),
        on_remove,
        provisioning,
        retained,
        expires: None,
        identity,
        adopted,
        volume,
        restored,
        restoring,
    }
}

/// What people see of a change of tags.
pub(super) fn tag_changes(before: &Tags, after: &Tags) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let keys: std::collections::BTreeSet<&String> = before.labels.keys().chain(after.labels.keys()).collect();
    for key in keys {
        let (old, new) = (before.labels.get(key), after.labels.get(key));
        if old != new {
            changes.push(change(&format!("labels.{key}"), json!(old), json!(new)));
        }
    }
    if before.protected != after.protected {
        changes.push(change("protected", json!(before.protected), json!(after.protected)));
    }
    if before.on_remove() != after.on_remove() {
        changes.push(change("onRemove", json!(before.on_remove()), json!(after.on_remove())));
    }
    if before.retained != after.retained {
        changes.push(change("retained", json!(before.retained), json!(after.retained)));
    }
    changes
}

/// What people see of the tags of a new object: there was nothing before.
pub(super) fn first_tags(tags: &Tags) -> Vec<FieldChange> {
    let changes = tag_changes(&Tags::default(), tags).into_iter();
    changes.map(|change| FieldChange { before: Value::Null, ..change }).collect()
}

pub(super) fn change(path: &str, before: Value, after: Value) -> FieldChange {
    FieldChange { path: path.to_owned(), before, after }
}

pub(super) fn word(provisioning: Provisioning) -> &'static str {
    match provisioning {
        Provisioning::Thin => "thin",
        Provisioning::Thick => "thick",
    }
}

/// A size for a sentence in which two sizes are compared: never two different sizes that read alike.
pub(super) fn exact(size: Size) -> String {
    let short = size.to_string();
    if short.parse() == Ok(size) { short } else { format!("{} bytes", size.bytes()) }
}
