//! The tags that documents ask for, and how changes of tags are shown.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::model::{FieldChange, Meta, OnRemove, Provisioning, SnapshotSpec, Stack, Tags, VolumeSpec};

/// The tag fields of a document.
pub(super) struct DesiredTags<'s> {
    pub meta: &'s Meta,
    pub protected: Option<bool>,
    pub on_remove: Option<OnRemove>,
    /// `None`: as it is.
    pub provisioning: Option<Provisioning>,
}

impl<'s> DesiredTags<'s> {
    pub(super) fn of_volume(spec: &'s VolumeSpec) -> Self {
        Self { meta: &spec.meta, protected: spec.protected, on_remove: spec.on_remove, provisioning: None }
    }

    pub(super) fn of_snapshot(spec: &'s SnapshotSpec) -> Self {
        Self { meta: &spec.meta, protected: spec.protected, on_remove: spec.on_remove, provisioning: None }
    }

    /// Takes fields that the document omits from the Stack. Only for new objects: those that exist keep theirs.
    pub(super) fn or_defaults(self, stack: &Stack) -> Self {
        let defaults = &stack.defaults;
        let (protected, on_remove) = (self.protected.or(defaults.protected), self.on_remove.or(defaults.on_remove));
        Self { protected, on_remove, ..self }
    }
}

/// Returns the tags that a document asks for on an object tagged `now`: written fields win over tags.
pub(super) fn desired_tags(wanted: &DesiredTags<'_>, now: &Tags) -> Tags {
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
        // The default, Trash, is not stored.
        Some(OnRemove::Trash) => None,
        Some(other) => Some(other),
        None => on_remove,
    };
    let provisioning = match wanted.provisioning {
        // The default, thin, is not stored.
        Some(provisioning) => Some(provisioning).filter(|wanted| *wanted == Provisioning::Thick),
        None => provisioning,
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

/// Whether tags already are what [`desired_tags`] would return, without building them.
pub(super) fn are_desired(wanted: &DesiredTags<'_>, now: &Tags) -> bool {
    let on_remove = match wanted.on_remove {
        Some(OnRemove::Trash) => now.on_remove.is_none(),
        Some(other) => now.on_remove == Some(other),
        None => true,
    };
    let is_thick = now.provisioning == Some(Provisioning::Thick);
    on_remove
        && wanted.provisioning.is_none_or(|wanted| (wanted == Provisioning::Thick) == is_thick)
        && wanted.protected.is_none_or(|protected| protected == now.protected)
        && !now.retained
        && now.expires.is_none()
        && wanted.meta.labels == now.labels
}

/// Returns the shown changes between two sets of tags.
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
    let provisioning = |tags: &Tags| tags.provisioning.unwrap_or(Provisioning::Thin);
    if provisioning(before) != provisioning(after) {
        changes.push(change("provisioning", json!(provisioning(before)), json!(provisioning(after))));
    }
    if before.retained != after.retained {
        changes.push(change("retained", json!(before.retained), json!(after.retained)));
    }
    changes
}

/// Returns the shown changes of a new object's tags.
pub(super) fn first_tags(tags: &Tags) -> Vec<FieldChange> {
    let changes = tag_changes(&Tags::default(), tags).into_iter();
    changes.map(|change| FieldChange { before: Value::Null, ..change }).collect()
}

pub(super) fn change(path: &str, before: Value, after: Value) -> FieldChange {
    FieldChange { path: path.to_owned(), before, after }
}

/// Returns a size for a sentence, with its unit.
pub(super) fn exact(size: impl Display) -> String {
    let text = size.to_string();
    if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text} bytes") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_wanted_exactly_if_wanting_them_changes_nothing() {
        let labels_of = |on: bool| on.then(|| ("a".to_owned(), "b".to_owned())).into_iter().collect();
        let kinds = [None, Some(OnRemove::Trash), Some(OnRemove::Retain), Some(OnRemove::Delete)];
        let (mut same, mut other) = (0, 0);
        for bits in 0..=u8::MAX {
            let bit = |index: u8| bits >> index & 1 == 1;
            let (name, labels) = ("db".parse().unwrap(), labels_of(bit(0)));
            let meta = Meta { name, labels, renamed_from: None };
            for (wanted_kind, kind) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (*a, *b))) {
                for protected in [None, Some(false), Some(true)] {
                    let provisioning = bit(5).then_some(if bit(6) { Provisioning::Thick } else { Provisioning::Thin });
                    let wanted = DesiredTags { meta: &meta, protected, on_remove: wanted_kind, provisioning };
                    let now = Tags {
                        labels: labels_of(bit(1)),
                        protected: bit(2),
                        retained: bit(3),
                        expires: bit(4).then_some(1),
                        on_remove: kind,
                        provisioning: bit(7).then_some(Provisioning::Thick),
                        ..Tags::default()
                    };
                    let changed = Tags { retained: false, ..desired_tags(&wanted, &now) } != now;
                    assert_eq!(are_desired(&wanted, &now), !changed, "{protected:?} {wanted_kind:?} {now:?}");
                    *if changed { &mut other } else { &mut same } += 1;
                }
            }
        }
        assert!(same > 50 && other > 500, "{same} {other}");
    }
}
