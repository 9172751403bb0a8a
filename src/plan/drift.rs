//! Drift: changes made outside of Kiln since it last settled an object. Kept apart from changes that a document asks for.

use serde_json::{Value, json};

use crate::model::{FieldChange, Object, ObjectRecord, Place, Provisioning, Tags};

use super::inventory::Inventory;
use super::settings::settings_changes;
use super::types::Drift;

/// Compares every record with the observed object.
pub(super) fn drift(inventory: &Inventory<'_>) -> Vec<Drift> {
    let inputs = inventory.inputs;
    let mut found = Vec::new();
    for record in inputs.records.objects.values() {
        if record.identity.owner != inputs.reading.specs.stack.owner {
            continue;
        }
        match inventory.by_uid.get(&record.identity.uid) {
            Some(object) if object.place == Place::Live => compare(record, object, &mut found),
            Some(_) => {}
            None if is_proven(inventory, record) => {
                found.push(entry(record, "object", json!(record.native), Value::Null));
            }
            None => {}
        }
    }
    found.sort_by(|a, b| (a.kind, &a.name, &a.path).cmp(&(b.kind, &b.name, &b.path)));
    found
}

/// Whether the live object of a record is proven absent.
fn is_proven(inventory: &Inventory<'_>, record: &ObjectRecord) -> bool {
    let there = match inventory.usable(&record.backend) {
        Some(usable) => {
            let left = usable.ledger.is_some_and(|l| {
                l.leaving.contains(&record.identity.uid) || l.tombstones.contains_key(&record.identity.uid)
            });
            let (kind, uid) = (record.identity.kind, record.identity.uid);
            usable.proves_gone(kind, uid, Some(&record.address())) && !left
        }
        None => false,
    };
    record.was_live() && there && inventory.inputs.world.contains_key(&record.backend)
}

fn compare(record: &ObjectRecord, object: &Object, found: &mut Vec<Drift>) {
    if object.whole_size() != record.size {
        found.push(entry(record, "size", json!(record.size), json!(object.size)));
    }
    if object.native != record.native {
        found.push(entry(record, "object", json!(record.native), json!(object.native)));
    }
    // Only declared fields: the others are internal to Kiln.
    let Tags {
        labels,
        protected,
        on_remove: _,
        provisioning: _, // Compared with what the backend shows, and not with the tag.
        retained,
        expires: _,
        identity: _,
        adopted: _,
        volume: _,
        restored,
        restoring: _,
    } = &*object.tags;
    let then = &record.tags;
    if *labels != then.labels {
        found.push(entry(record, "labels", json!(then.labels), json!(labels)));
    }
    if *protected != then.protected {
        found.push(entry(record, "protected", json!(then.protected), json!(protected)));
    }
    if object.tags.on_remove() != then.on_remove() {
        found.push(entry(record, "onRemove", json!(then.on_remove()), json!(object.tags.on_remove())));
    }
    if *retained != then.retained {
        found.push(entry(record, "retained", json!(then.retained), json!(retained)));
    }
    let provisioning = then.provisioning.unwrap_or(Provisioning::Thin);
    if let Some(shown) = object.provisioning.filter(|shown| *shown != provisioning) {
        found.push(entry(record, "provisioning", json!(provisioning), json!(shown)));
    }
    for FieldChange { path, before, after } in settings_changes(&record.settings, &object.settings) {
        found.push(entry(record, &path, before, after));
    }
    if *restored != then.restored {
        found.push(entry(record, "restore.request", json!(then.restored), json!(restored)));
    }
}

fn entry(record: &ObjectRecord, path: &str, recorded: Value, observed: Value) -> Drift {
    let (kind, name) = (record.identity.kind, record.identity.name.clone());
    Drift { kind, name, endpoint: Some(record.backend.clone().into()), path: path.to_owned(), recorded, observed }
}
