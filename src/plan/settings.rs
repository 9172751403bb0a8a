//! How changes of settings are shown.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::model::{FieldChange, VolumeSettings};

use super::tags::change;

/// Returns the shown changes between two sets of settings.
pub(super) fn settings_changes(before: &VolumeSettings, after: &VolumeSettings) -> Vec<FieldChange> {
    let (old, new) = (before.limits(), after.limits());
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = |field: &&String| old.get(*field) != new.get(*field);
    let mut changes: Vec<FieldChange> = fields
        .into_iter()
        .filter(changed)
        .map(|field| change(&format!("qos.{field}"), json!(old.get(field)), json!(new.get(field))))
        .collect();
    if before.encrypted != after.encrypted {
        changes.push(change("encryption", json!(before.encrypted), json!(after.encrypted)));
    }
    changes
}

/// Returns the shown changes of a new volume's settings.
pub(super) fn first_settings(settings: &VolumeSettings) -> Vec<FieldChange> {
    let changes = settings_changes(&VolumeSettings::default(), settings).into_iter();
    changes.map(|change| FieldChange { before: Value::Null, ..change }).collect()
}
