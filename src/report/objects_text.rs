//! Objects as tables, and one object in full, for people.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use super::journal_text::{JournalLine, journal_table};
use super::status::{Condition, ObjectStatus};
use crate::model::Size;
use crate::text::{Paint, escape, table};

/// Returns a table of objects.
pub fn objects_table(shown: &[ObjectStatus<'_>], paint: Paint) -> String {
    let rows = shown.iter().map(|object| {
        let status = &object.status;
        [
            object.full_name().into(),
            or_none(status.backend.as_ref().map(|backend| backend.as_str())),
            or_none(status.size.map(|size| Size(size).to_string())),
            status.condition.as_str().into(),
            status.reason.as_str().into(),
            message_of(object),
        ]
    });
    table(["NAME", "BACKEND", "SIZE", "CONDITION", "REASON", "MESSAGE"], rows, paint)
}

/// Returns a table of objects with all columns.
pub fn wide_objects_table(shown: &[ObjectStatus<'_>], paint: Paint) -> String {
    let rows = shown.iter().map(|object| {
        let status = &object.status;
        let labels: Vec<String> = object.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        [
            object.full_name().into(),
            or_none(status.backend.as_ref().map(|backend| backend.as_str())),
            or_none(status.size.map(|size| Size(size).to_string())),
            or_none(status.used.map(|used| Size(used).to_string())),
            or_none(status.protected.map(|protected| if protected { "yes" } else { "no" })),
            or_none(status.on_remove.map(|on_remove| format!("{on_remove:?}"))),
            or_none(status.uid.map(|uid| uid.to_string())),
            or_none(status.object.as_ref().map(|object| object.as_str())),
            or_none(status.path.as_ref().map(|path| path.display().to_string())),
            or_none((!labels.is_empty()).then(|| labels.join(","))),
            status.condition.as_str().into(),
            status.reason.as_str().into(),
            message_of(object),
        ]
    });
    let heading = [
        "NAME",
        "BACKEND",
        "SIZE",
        "USED",
        "PROTECTED",
        "ONREMOVE",
        "UID",
        "OBJECT",
        "PATH",
        "LABELS",
        "CONDITION",
        "REASON",
        "MESSAGE",
    ];
    table(heading, rows, paint)
}

fn or_none<'a>(text: Option<impl Into<Cow<'a, str>>>) -> Cow<'a, str> {
    text.map_or(Cow::Borrowed("-"), Into::into)
}

/// Returns the message unless the object is settled; if it is unobserved, with the time of its last observation.
fn message_of<'a>(object: &'a ObjectStatus<'_>) -> Cow<'a, str> {
    let status = &object.status;
    match (status.condition, status.observed_at) {
        (Condition::Settled, _) => Cow::Borrowed(""),
        (Condition::Unknown, Some(at)) => format!("last seen {at}; {}", status.message).into(),
        _ => Cow::Borrowed(&status.message),
    }
}

/// Returns objects in full, with the journal entries about them.
pub fn described(objects: &[ObjectStatus<'_>], history: &[JournalLine], paint: Paint) -> String {
    let mut out = String::new();
    for object in objects {
        describe_one(&mut out, object, paint);
    }
    if history.is_empty() {
        out.push_str("History: none recorded.\n");
    } else {
        let _ = writeln!(out, "{}", paint.bold("History:"));
        out.push_str(&journal_table(history, paint));
    }
    out
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
    let _ = writeln!(out, "{}", paint.bold(&object.full_name()));
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
