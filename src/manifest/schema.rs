//! Generates JSON Schema from the tables of fields, for editors and `kiln explain`.

use serde_json::{Map, Value, json};

use crate::driver::settings as drivers;
use crate::model::table::{Choices, FieldForm, FieldRule, FieldTable, Text};
use crate::model::{Kind, Meta, Percent};

/// Returns the JSON Schema (draft 2020-12) of documents of a kind, or of all kinds, distinguished by `kind`.
pub fn schema(kind: Option<Kind>) -> Value {
    let mut definitions = Definitions::default();
    let mut root = match kind {
        Some(kind) => definitions.document(kind),
        None => json!({
            "title": "Kiln manifest",
            "oneOf": Kind::ALL.map(|kind| definitions.document(kind)),
            "discriminator": {"propertyName": "kind"},
        }),
    };
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["$defs"] = Value::Object(definitions.0);
    root
}

/// The definitions in `$defs`, by name.
#[derive(Default)]
struct Definitions(Map<String, Value>);

impl Definitions {
    fn document(&mut self, kind: Kind) -> Value {
        let table = kind.table();
        let (name, spec) = table.example;
        let spec: Value = serde_json::from_str(spec).unwrap_or_default();
        json!({
            "title": kind.as_str(),
            "description": table.doc,
            "type": "object",
            "properties": {
                "apiVersion": {"description": "The version of the format.", "const": "kiln/v1"},
                "kind": {"description": "What the document declares.", "const": kind.as_str()},
                "metadata": self.table(&Meta::TABLE, None),
                "spec": self.table(table.spec, Some(kind)),
            },
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "additionalProperties": false,
            "examples": [{"apiVersion": "kiln/v1", "kind": kind.as_str(), "metadata": {"name": name}, "spec": spec}],
        })
    }

    /// Returns the map of a table, with the driver sections of a kind.
    fn table(&mut self, table: &FieldTable, spec_of: Option<Kind>) -> Value {
        if !self.0.contains_key(table.name) {
            let mut properties: Map<String, Value> =
                table.all().map(|field| (field.name.to_owned(), self.field(field))).collect();
            let required: Vec<&str> = table.all().filter(|f| f.required.is_some()).map(|field| field.name).collect();
            let mut map = json!({"type": "object", "description": table.doc, "additionalProperties": false});
            for driver in spec_of.into_iter().flat_map(drivers::tables) {
                let mut section = self.table(&driver.settings, None);
                section["description"] = json!(format!("For `driver: {}`.", driver.name));
                properties.insert(driver.name.to_owned(), section);
                // Sections of drivers without a table.
                map["additionalProperties"] = json!({"type": "object"});
            }
            map["properties"] = Value::Object(properties);
            if !required.is_empty() {
                map["required"] = json!(required);
            }
            if !table.one_of.is_empty() && table.all().all(|field| table.one_of.contains(&field.name)) {
                map["minProperties"] = json!(1);
                map["maxProperties"] = json!(1);
            }
            self.0.insert(table.name.to_owned(), map);
        }
        refer(table.name)
    }

    fn field(&mut self, field: &FieldRule) -> Value {
        let mut value = self.form(&field.form);
        let default = match (field.form, field.default) {
            (FieldForm::Map(_), _) => None,
            (FieldForm::Factor, None) => Some(of_drivers()),
            (_, default) => default.map(str::to_owned),
        };
        let sentences = [Some(field.doc.to_owned()), default.map(|default| format!("Default: {default}."))];
        value["description"] = json!(sentences.into_iter().flatten().collect::<Vec<_>>().join(" "));
        value
    }

    fn form(&mut self, form: &FieldForm) -> Value {
        match *form {
            FieldForm::Bool => json!({"type": "boolean"}),
            // The maximum of the type is no useful limit.
            FieldForm::Whole { min, max } if max > u64::from(u32::MAX) => json!({"type": "integer", "minimum": min}),
            FieldForm::Whole { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            FieldForm::Factor => json!({"type": "number", "minimum": 0.01, "maximum": 1000}),
            FieldForm::Size { .. } => self.named(
                "Size",
                json!({
                    "description": "A number of bytes, or one with Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (powers of 1000).",
                    "type": ["integer", "string"],
                    "examples": ["10Gi", 1048576],
                    "minimum": 0,
                    "pattern": "^(0|[1-9][0-9]*)(\\.[0-9]+)?([KMGTP]iB?|[kMGTP])?$",
                }),
            ),
            FieldForm::Duration { .. } => self.named(
                "Duration",
                json!({
                    "description": "A whole number with s, m, h or d.",
                    "type": "string",
                    "examples": ["30s", "12h", "7d"],
                    "pattern": "^(0|[1-9][0-9]*)[smhd]$",
                }),
            ),
            FieldForm::Share { .. } => self.named(
                "Percent",
                json!({
                    "description": "Whole percent, like 90%.",
                    "type": ["integer", "string"],
                    "examples": ["90%"],
                    "minimum": 0,
                    "pattern": "^(0|[1-9][0-9]*)%?$",
                }),
            ),
            FieldForm::Name(_) => self.named(
                "Label",
                json!({
                    "description": "A DNS-1123 label of at most 63 characters.",
                    "type": "string",
                    "examples": ["db-1"],
                    "maxLength": 63,
                    "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
                }),
            ),
            FieldForm::Path => json!({"type": "string"}),
            FieldForm::Text(Text { max, pattern, check: _ }) => {
                let mut text = json!({"type": "string"});
                if let Some(max) = max {
                    text["minLength"] = json!(1);
                    text["maxLength"] = json!(max);
                }
                if let Some(pattern) = pattern {
                    text["pattern"] = json!(pattern);
                }
                text
            }
            FieldForm::Choice(choices) => self.named(choices.name, words(choices)),
            FieldForm::List { of, min, max } => {
                json!({"type": "array", "items": self.form(of), "minItems": min, "maxItems": max})
            }
            FieldForm::Map(table) => self.table(table, None),
            FieldForm::Labels => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        }
    }

    fn named(&mut self, name: &str, value: Value) -> Value {
        self.0.insert(name.to_owned(), value);
        refer(name)
    }
}

fn refer(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn words(choices: &Choices) -> Value {
    let words = choices.words.iter().map(|(word, doc)| json!({"const": word, "description": doc, "type": "string"}));
    json!({"description": choices.doc, "oneOf": words.collect::<Vec<_>>()})
}

/// Returns the default of `overcommit`, and those of drivers that differ.
fn of_drivers() -> String {
    let shown = |share: Option<Percent>| {
        share.map_or("no limit".to_owned(), |share| format!("{:.1}", f64::from(share.0) / 100.0))
    };
    let usual = drivers::overcommit("");
    let others = drivers::tables(Kind::Backend).filter(|driver| driver.overcommit != usual);
    let others = others.map(|driver| format!("; {}: {}", driver.name, shown(driver.overcommit)));
    others.fold(shown(usual), |all, other| all + &other)
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

    /// A document in which the map at `path` holds nothing but unknown fields: two, since one could be a missing field misspelt.
    fn document_with(kind: Kind, path: &[String]) -> String {
        let mut inner = json!({"yyy": 1, "zzz": 1});
        for (depth, name) in path.iter().enumerate().rev() {
            inner = json!({name: inner});
            // A section is read only for its driver.
            if depth == 1 && drivers::tables(kind).any(|driver| driver.name == name) {
                inner["driver"] = json!(name);
            }
        }
        if !path.is_empty() {
            inner["kind"] = json!(kind.as_str());
            inner["apiVersion"] = json!("kiln/v1");
        } else {
            inner = json!({"yyy": 1, "zzz": 1, "kind": kind.as_str()});
        }
        inner.to_string()
    }

    fn check(root: &Value, kind: Kind, path: &mut Vec<String>, value: &Value, maps: &mut usize) {
        let Some(properties) = value["properties"].as_object() else { return };
        *maps += 1;
        let document = document_with(kind, path);
        let problems = load(&Source::Text(document.clone()), &Limits::default()).problems;
        // The message does not repeat what stands below a secret's key: it may be the secret.
        let known = problems
            .iter()
            .find_map(|p| p.hint.as_deref()?.strip_prefix("known fields: "))
            .unwrap_or_else(|| panic!("{document}: {problems:#?}"));
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

    /// Every field of a table is in the schema (and so in `kiln explain`, and by tests/docs.rs on the page), those of drivers by their
    /// registration alone.
    #[test]
    fn every_field_of_every_table_is_in_the_schema() {
        fn holds(root: &Value, value: &Value, table: &FieldTable, fields: &mut usize) {
            for field in table.all() {
                let found = &resolve(root, value)["properties"][field.name];
                assert!(found.is_object(), "{} lacks {}", table.name, field.name);
                let default = field.default.map(|default| (default, field.default_value().is_some()));
                assert!(default.is_none_or(|(_, is_read)| is_read), "{}.{}: {default:?}", table.name, field.name);
                *fields += 1;
                if let FieldForm::Map(inner) = field.form {
                    holds(root, found, inner, fields);
                }
            }
        }
        let (mut fields, mut drivers) = (0, 0);
        for kind in Kind::ALL {
            let root = schema(Some(kind));
            let spec = resolve(&root, &root["properties"]["spec"]);
            holds(&root, spec, kind.table().spec, &mut fields);
            for driver in drivers::tables(kind) {
                holds(&root, &spec["properties"][driver.name], &driver.settings, &mut fields);
                drivers += 1;
            }
        }
        assert!(fields > 80 && drivers >= 4, "{fields} fields, {drivers} drivers");
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
