//! `kiln describe`: shows one object: spec, observed state, condition, recent history.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::args::{DescribeArgs, DescribeFormat};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::get::{ask, full_name, is_in_doubt, must_be_shown};
use super::log::{Line, lines_as_table};
use crate::model::{ObjectId, Size};
use crate::report::{ObjectStatus, ObjectsAnswer, ObjectsQuestion};
use crate::text::{Paint, escape};

/// The number of journal entries shown; `kiln log` shows all.
const HISTORY: usize = 10;

#[derive(Serialize)]
struct Described<'a> {
    /// Several only if one name has several objects, of which at most one is not in the trash.
    objects: Vec<ObjectStatus<'a>>,
    /// Journal entries, oldest first.
    history: Vec<Line>,
}

pub(crate) fn describe(context: &Context, args: &DescribeArgs) -> Result<Exit, Failure> {
    let ObjectId { kind, name } = &args.what;
    must_be_shown(*kind)?;
    let question = ObjectsQuestion { kind: Some(*kind), name: Some(name.clone()), history: HISTORY };
    let mut kept = None;
    let (answer, standing) = ask(context, &args.specs.specs, &question, &mut kept)?;
    let exit = Exit::combine([standing, Exit::Unobserved.when(is_in_doubt(&answer, true))]);
    let ObjectsAnswer { objects, history, .. } = answer;
    let history: Vec<Line> = history.iter().map(Line::new).collect();
    match args.format {
        DescribeFormat::Text => {}
        DescribeFormat::Json => {
            context.json(&Described { objects, history });
            return Ok(exit);
        }
        DescribeFormat::Yaml => {
            context.yaml(&Described { objects, history });
            return Ok(exit);
        }
    }
    let paint = context.terminal.paint;
    let mut out = String::new();
    for object in &objects {
        describe_one(&mut out, object, paint);
    }
    if history.is_empty() {
        out.push_str("History: none recorded.\n");
    } else {
        let _ = writeln!(out, "{}", paint.bold("History:"));
        out.push_str(&lines_as_table(&history, paint));
    }
    context.terminal.out(&out);
    Ok(exit)
}

fn describe_one(out: &mut String, object: &ObjectStatus<'_>, paint: Paint) {
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(out, "  {name:<12} {}", escape(&value));
        }
    };
    let status = &object.status;
    field("condition", Some(format!("{} ({})", status.condition.as_str(), status.reason)));
    field("why", Some(status.message.to_string()));
    field("fix", status.fix.as_deref().map(ToOwned::to_owned));
    field("owner", Some(status.owner.to_string()));
    field("backend", status.backend.as_deref().map(ToString::to_string));
    field("location", status.location.clone());
    field("pool", status.pool.as_deref().map(ToString::to_string));
    field("uid", status.uid.map(|uid| uid.to_string()));
    field("object", status.object.as_deref().map(ToString::to_string));
    let bytes = |size: u64| format!("{} ({size} bytes)", Size(size));
    field("path", status.path.as_deref().map(|path| path.display().to_string()));
    field("size", status.size.map(bytes));
    field("used", status.used.map(bytes));
    field("place", status.place.as_deref().map(ToOwned::to_owned));
    field("protected", status.protected.map(|protected| protected.to_string()));
    field("onRemove", status.on_remove.map(|on_remove| format!("{on_remove:?}")));
    field("expires", status.expires.map(|at| at.to_string()));
    field("clients", status.clients.as_ref().map(|who| if who.is_empty() { "none".into() } else { who.join(", ") }));
    for (key, value) in &*object.metadata.labels {
        field("label", Some(format!("{key}={value}")));
    }
    field("observed at", status.observed_at.map(|at| at.to_string()));
    let body = std::mem::take(out);
    let _ = writeln!(out, "{}", paint.bold(&full_name(object)));
    out.push_str(&body);
    match &object.spec {
        None => out.push_str("Declared: no.\n"),
        Some(spec) => {
            let _ = writeln!(out, "{}", paint.bold("Declared:"));
            for (key, value) in spec.json().as_object().into_iter().flatten() {
                let value = match value {
                    Value::Number(size) if key == "size" => size.as_u64().map_or_else(|| size.to_string(), bytes),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let _ = writeln!(out, "  {:<12} {}", escape(key), escape(&value));
            }
        }
    }
}
