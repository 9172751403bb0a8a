//! The same fields for editors: JSON Schema, and the help text of each field.
//!
//! The structs of `raw` are the form of documents and are never filled: documents are read field by field with a cursor
//! (`kinds`), since values read by derived code stop at the first thing that is wrong. A test holds the two together.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::raw::{ApprovalSpec, BackendSpec, ExportSpec, Metadata, SnapshotSpec, StackSpec, TargetSpec, VolumeSpec};
use crate::model::Kind;

/// The JSON Schema (draft 2020-12) of documents of a kind; without one, of every kind, told apart by `kind`.
pub fn schema(kind: Option<Kind>) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let schemas: Vec<Value> = kind
        .map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind])
        .into_iter()
        .map(|kind| document(&mut generator, kind))
        .collect();
    let mut root = match <[Value; 1]>::try_from(schemas) {
        Ok([one]) => one,
        Err(schemas) => json!({
            "title": "Kiln manifest",
            "oneOf": schemas,
            "discriminator": {"propertyName": "kind"},
        }),
    };
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["$defs"] = Value::Object(generator.take_definitions(true));
    without_null(&mut root);
    root
}

/// What may be left out is an `Option` here, which schemars takes for "may be null". In a manifest it may not: a field with no
/// value is most likely half-written.
fn without_null(value: &mut Value) {
    let is_null = |value: &Value| *value == json!("null") || *value == json!({"type": "null"});
    match value {
        Value::Object(map) => {
            for key in ["type", "anyOf"] {
                let Some(Value::Array(choices)) = map.get_mut(key) else { continue };
                choices.retain(|choice| !is_null(choice));
                if let [one] = choices.as_mut_slice() {
                    match (key, one.take()) {
                        ("anyOf", Value::Object(fields)) => {
                            map.remove(key);
                            map.extend(fields);
                        }
                        (_, one) => drop(map.insert(key.to_owned(), one)),
                    }
                }
            }
            map.retain(|key, value| !(key == "default" && value.is_null()));
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

fn document(generator: &mut SchemaGenerator, kind: Kind) -> Value {
    let (spec, description) = match kind {
        Kind::Stack => {
            (generator.subschema_for::<StackSpec>(), "The owner of all objects, and its policy. At most one.")
        }
        Kind::Backend => (generator.subschema_for::<BackendSpec>(), "A pool of storage behind a driver."),
        Kind::Volume => (generator.subschema_for::<VolumeSpec>(), "A volume."),
        Kind::Snapshot => {
            (generator.subschema_for::<SnapshotSpec>(), "What a volume held when this was made; never changes.")
        }
        Kind::Target => (generator.subschema_for::<TargetSpec>(), "A server that exports volumes to clients."),
        Kind::Export => (generator.subschema_for::<ExportSpec>(), "A volume or snapshot offered to clients."),
        Kind::Approval => (generator.subschema_for::<ApprovalSpec>(), "Lets a held set of removals go, by commit."),
    };
    json!({
        "title": kind.as_str(),
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": {"description": "The version of the format.", "const": "kiln/v1"},
            "kind": {"description": "What the document declares.", "const": kind.as_str()},
            "metadata": generator.subschema_for::<Metadata>(),
            "spec": spec,
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "examples": [example(kind)],
    })
}

/// A document of a kind that could be written as it is.
fn example(kind: Kind) -> Value {
    let (name, spec) = match kind {
        Kind::Stack => ("prod", json!({"id": "5c1d2e8a90", "trash": {"ttl": "7d"}})),
        Kind::Backend => ("fast", json!({"driver": "local", "local": {"path": "../pool", "create": true}})),
        Kind::Volume => ("db", json!({"backend": "fast", "size": "10Gi", "protected": true})),
        Kind::Snapshot => ("db-monday", json!({"volume": "db"})),
        Kind::Target => ("san", json!({"driver": "tgt", "tgt": {"iqnPrefix": "iqn.2026-01.org.example"}})),
        Kind::Export => (
            "db",
            json!({"volume": "db", "target": "san", "protocol": "iscsi", "initiators": ["iqn.2026-01.org.example:host1"]}),
        ),
        Kind::Approval => ("spring-clean", json!({"digest": "0123456789abcdef"})),
    };
    json!({"apiVersion": "kiln/v1", "kind": kind.as_str(), "metadata": {"name": name}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::manifest::{Limits, Source, load};

    fn resolve<'v>(root: &'v Value, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// A document in which the map at `path` holds nothing but an unknown field.
    fn document_with(kind: Kind, path: &[String]) -> String {
        let mut inner = json!({"zzz": 1});
        for (depth, name) in path.iter().enumerate().rev() {
            inner = json!({name: inner});
            // A section is read only for its driver.
            if depth == 1 && ["local", "sim", "rbd", "tgt"].contains(&name.as_str()) {
                inner["driver"] = json!(name);
            }
        }
        if !path.is_empty() {
            inner["kind"] = json!(kind.as_str());
            inner["apiVersion"] = json!("kiln/v1");
        } else {
            inner = json!({"zzz": 1, "kind": kind.as_str()});
        }
        inner.to_string()
    }

    fn check(root: &Value, kind: Kind, path: &mut Vec<String>, value: &Value, maps: &mut usize) {
        let Some(properties) = value["properties"].as_object() else { return };
        *maps += 1;
        let document = document_with(kind, path);
        let problems = load(&Source::Text(document.clone()), &Limits::default()).problems;
        let unknown = problems
            .iter()
            .find(|p| p.message.contains("\"zzz\""))
            .unwrap_or_else(|| panic!("{document}: {problems:#?}"));
        let known = unknown.hint.as_deref().unwrap().strip_prefix("known here: ").unwrap();
        let known: BTreeSet<&str> = known.split(", ").collect();
        let declared: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(known, declared, "{kind} {path:?}: the reader's fields, and the schema's");

        let end = path.last().map_or("is missing".to_owned(), |name| format!("is missing in `{name}`"));
        let missing = problems.iter().filter(|p| p.message.ends_with(&end));
        let missing: BTreeSet<&str> = missing.filter_map(|p| p.message.split('`').nth(1)).collect();
        let required = value["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut required: BTreeSet<&str> = required.collect();
        if path.is_empty() {
            required.remove("kind");
        }
        assert_eq!(missing, required, "{kind} {path:?}: what the reader misses, and what the schema requires");

        for (name, property) in properties {
            let target = resolve(root, property);
            let described = property["description"].is_string() || target["description"].is_string();
            assert!(described, "{kind} {path:?} {name} has no description");
            path.push(name.clone());
            check(root, kind, path, target, maps);
            path.pop();
        }
    }

    #[test]
    fn the_reader_and_the_schema_know_the_same_fields() {
        let mut maps = 0;
        for kind in Kind::ALL {
            let root = schema(Some(kind));
            check(&root, kind, &mut Vec::new(), &root, &mut maps);
        }
        // Seven documents with metadata and spec each, and what is inside.
        assert!(maps > 40, "{maps}");
    }

    #[test]
    fn the_examples_of_all_kinds_are_good_together() {
        let all: Vec<String> = Kind::ALL.map(|kind| schema(Some(kind))["examples"][0].to_string()).into();
        let problems = load(&Source::Text(all.join("\n---\n")), &Limits::default()).problems;
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn one_schema_tells_all_kinds_apart() {
        let root = schema(None);
        let kinds: Vec<&str> = root["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one["properties"]["kind"]["const"].as_str())
            .collect();
        assert_eq!(kinds, Kind::ALL.map(Kind::as_str));
        let text = root.to_string();
        assert!(!text.contains("null"), "a field without a value is a problem: {text}");
        assert_eq!(root["$defs"]["OnRemoveSnapshot"]["oneOf"].as_array().unwrap().len(), 4);
    }
}
