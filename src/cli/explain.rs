//! `kiln explain`: explains a field of a manifest, from the JSON Schema.

use std::fmt::Write;

use serde_json::{Value, json};

use super::args::ExplainArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::manifest;
use crate::model::Kind;
use crate::report::kind_named;
use crate::text::{Paint, closest};

pub(crate) fn explain(context: &Context, args: &ExplainArgs) -> Result<Exit, Failure> {
    let paint = context.terminal.paint;
    let Some(path) = &args.path else {
        let mut out = String::new();
        for kind in Kind::ALL {
            let root = manifest::schema(Some(kind));
            out.push_str(
                &paint.beside(&format!("{:<10}", kind.as_lower()), &paint.message(text(&root["description"]))),
            );
        }
        out.push_str("\n`kiln explain KIND` lists its fields, `kiln explain KIND.spec.FIELD` one of them.\n");
        context.terminal.out(&paint.fit(&out));
        return Ok(Exit::Done);
    };
    let mut parts = path.split('.');
    let kind = parts.next().unwrap_or_default();
    let kind = kind_named(kind).map_err(|message| {
        Failure::new(Exit::Usage, message).hint("write KIND or KIND.FIELD, like volume.spec.size")
    })?;
    let root = manifest::schema(Some(kind));
    let mut field = Field { value: resolve(&root, &root), own: None, required: true };
    let mut so_far = kind.as_lower().to_owned();
    for part in parts {
        let fields = fields_of(&root, field.value);
        let found = fields.iter().find(|(name, _)| *name == part).map(|(_, field)| *field);
        field = found.ok_or_else(|| unknown(&root, &so_far, part, &fields))?;
        so_far = format!("{so_far}.{part}");
    }
    if args.output.is_json() {
        let mut value = field.value.clone();
        if let Some(own) = field.own {
            value["description"] = own.clone();
        }
        context.json(&json!({"path": so_far, "required": field.required, "schema": value}));
    } else {
        context.terminal.out(&paint.message(&shown(&root, &so_far, field, paint)));
    }
    Ok(Exit::Done)
}

/// A field of a map.
#[derive(Clone, Copy)]
struct Field<'v> {
    /// Its schema, with references resolved.
    value: &'v Value,
    /// The description at the field, which is more specific than that of its type.
    own: Option<&'v Value>,
    required: bool,
}

fn resolve<'v>(root: &'v Value, value: &'v Value) -> &'v Value {
    let reference = value["$ref"].as_str().and_then(|reference| root.pointer(reference.trim_start_matches('#')));
    reference.unwrap_or(value)
}

fn fields_of<'v>(root: &'v Value, value: &'v Value) -> Vec<(&'v str, Field<'v>)> {
    let required: Vec<&str> = value["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // A list is explained by its items.
    let map = if value["type"] == "array" { resolve(root, &value["items"]) } else { value };
    let fields = map["properties"].as_object().into_iter().flatten();
    fields
        .map(|(name, field)| {
            let own = field.get("description");
            (name.as_str(), Field { value: resolve(root, field), own, required: required.contains(&name.as_str()) })
        })
        .collect()
}

fn unknown(root: &Value, above: &str, part: &str, fields: &[(&str, Field<'_>)]) -> Failure {
    let message = format!("{above} has no field {part:?}");
    let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let in_spec = |(name, field): &&(&str, Field<'_>)| {
        *name == "spec" && fields_of(root, field.value).iter().any(|(name, _)| *name == part)
    };
    let hint = match closest(part, known.iter().copied()) {
        _ if fields.iter().any(|field| in_spec(&field)) => format!("did you mean {above}.spec.{part}?"),
        Some(near) => format!("did you mean {above}.{near}?"),
        None if known.is_empty() => format!("{above} has no fields: it is a plain value"),
        None => format!("its fields: {}", known.join(", ")),
    };
    Failure::new(Exit::Usage, message).hint(hint)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn shown(root: &Value, path: &str, field: Field<'_>, paint: Paint) -> String {
    let Field { value, own, required } = field;
    let mut out = String::new();
    let need = if required { ", required" } else { "" };
    let _ = writeln!(out, "{} <{}{need}>", paint.bold(path), kind_of(root, value));
    let description = text(own.unwrap_or(&value["description"]));
    let _ = writeln!(out, "\n  {description}");
    // The description of the type, unless that of the field says it too.
    let general = text(&value["description"]);
    if own.is_some() && !description.contains(general.trim_end_matches('.')) {
        let _ = writeln!(out, "  {general}");
    }
    let examples: Vec<String> = value["examples"].as_array().into_iter().flatten().map(in_yaml).collect();
    if !examples.is_empty() {
        let _ = writeln!(out, "  For example: {}", examples.join(paint.between()));
    }
    let choices = value["oneOf"].as_array().into_iter().flatten();
    let choices = choices.map(|one| (text(&one["const"]).to_owned(), text(&one["description"]).to_owned()));
    list(&mut out, "Choices:", choices, paint);
    let fields = fields_of(root, value).into_iter().map(|(name, field)| {
        let mark = if field.required { " *" } else { "" };
        (format!("{name}{mark}"), text(field.own.unwrap_or(&field.value["description"])).to_owned())
    });
    list(&mut out, "Fields (* required):", fields, paint);
    paint.fit(&out)
}

fn list(out: &mut String, heading: &str, rows: impl Iterator<Item = (String, String)>, paint: Paint) {
    let rows: Vec<(String, String)> = rows.collect();
    let Some(width) = rows.iter().map(|(name, _)| name.len()).max() else { return };
    let _ = writeln!(out, "\n{}", paint.bold(heading));
    for (name, description) in rows {
        out.push_str(&paint.beside(&format!("  {name:<width$} "), &description));
    }
}

/// Returns the type, in a word.
fn kind_of(root: &Value, value: &Value) -> String {
    match &value["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind_of(root, resolve(root, &value["items"]))),
        Value::String(name) if name == "object" => "map".to_owned(),
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ if value.get("const").is_some() => format!("always {}", text(&value["const"])),
        _ if value.get("oneOf").is_some() || value.get("enum").is_some() => "choice".to_owned(),
        _ => "value".to_owned(),
    }
}

fn in_yaml(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
