//! Objects as tables, and one object in full, for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use foldhash::{HashMap, HashMapExt};
use serde_json::Value;
use smol_str::SmolStr;

use super::condition::Condition;
use super::journal_text::{JournalLine, journal_table};
use super::plan_text::value;
use super::related::{RelatedObject, RelatedObjects};
use super::status::ObjectStatus;
use crate::model::{Capacity, Kind, ObjectId, Resource, Size};
use crate::text::{Cell, Moment, Paint, age, escape, sized, table};

/// Returns a table of objects. `now`: in seconds since 1970.
pub fn objects_table(shown: &[ObjectStatus<'_>], now: u64, paint: Paint) -> String {
    let rows = shown.iter().map(|object| {
        let status = &object.status;
        [
            object.full_name().into(),
            or_none(status.backend.as_ref().map(|backend| backend.as_str())),
            or_none(size_of(object, paint)),
            age_of(status.created_at, now),
            condition_of(status.condition),
            status.reason.as_str().into(),
            message_of(object).into(),
        ]
    });
    table(["NAME", "BACKEND", "SIZE", "AGE", "CONDITION", "REASON", "MESSAGE"], rows, paint)
}

/// Returns a table of objects with all columns. On a terminal, the longest come last, a settled object has no reason, and the uids and
/// native names are left out where every path contains them.
pub fn wide_objects_table(shown: &[ObjectStatus<'_>], now: u64, paint: Paint) -> String {
    let is_in_path = |object: &ObjectStatus<'_>| {
        let ObjectStatus { status, .. } = object;
        let path = status.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        status.uid.is_none_or(|uid| path.contains(&uid.to_string()))
            && status.object.as_ref().is_none_or(|native| path.contains(native.as_str()))
    };
    let is_left_out = paint.width.is_some() && shown.iter().all(is_in_path);
    let rows = shown.iter().map(|object| {
        let status = &object.status;
        let labels: Vec<String> = object.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let path = status.path.as_ref().map(|path| path.display().to_string());
        let uid = status.uid.map(|uid| uid.to_string()).filter(|_| !is_left_out);
        let native = status.object.as_ref().map(|object| object.as_str()).filter(|_| !is_left_out);
        [
            object.full_name().into(),
            or_none(status.backend.as_ref().map(|backend| backend.as_str())),
            or_none(size_of(object, paint)),
            or_none(status.used.map(|used| Size(used).rounded())),
            age_of(status.created_at, now),
            or_none(status.protected.map(|protected| if protected { "yes" } else { "no" })),
            or_none(status.on_remove.map(|on_remove| format!("{on_remove:?}"))),
            or_none(uid),
            native.map_or_else(|| or_none(None::<String>), Cell::whole),
            path.map_or_else(|| or_none(None::<String>), Cell::whole),
            or_none((!labels.is_empty()).then(|| labels.join(","))),
            condition_of(status.condition),
            match (paint.width, status.condition) {
                (Some(_), Condition::Settled) => "".into(),
                _ => status.reason.as_str().into(),
            },
            message_of(object).into(),
        ]
    });
    let heading = [
        "NAME",
        "BACKEND",
        "SIZE",
        "USED",
        "AGE",
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
    match paint.width {
        None => table(heading, rows, paint),
        Some(_) => table(for_terminal(heading), rows.map(for_terminal), paint),
    }
}

/// Returns a row of [`wide_objects_table`] in the order of a terminal.
fn for_terminal<T>(
    [name, backend, size, used, age, protected, on_remove, uid, object, path, labels, condition, reason, message]: [T; 14],
) -> [T; 14] {
    [name, backend, size, used, age, condition, protected, on_remove, reason, uid, labels, object, path, message]
}

fn age_of<'a>(created: Option<Moment>, now: u64) -> Cell<'a> {
    or_none(created.map(|created| age(now, created.0)))
}

fn or_none<'a>(text: Option<impl Into<Cow<'a, str>>>) -> Cell<'a> {
    text.map_or(Cow::Borrowed("-"), Into::into).into()
}

/// Returns a condition in the colour of its urgency.
pub(super) fn condition_of<'a>(condition: Condition) -> Cell<'a> {
    Cell::coloured(condition.as_str(), colour_of(condition))
}

/// Returns the code of a condition's colour.
fn colour_of(condition: Condition) -> &'static str {
    match condition {
        Condition::Settled => "32",
        Condition::Progressing | Condition::Removing => "36",
        Condition::Drifted | Condition::Held | Condition::Unknown => "33",
        Condition::Failed => "1;31",
        Condition::Trashed => "2",
    }
}

/// Returns the size; the capacity of a backend is a measured amount.
fn size_of(object: &ObjectStatus<'_>, paint: Paint) -> Option<String> {
    let size = object.status.size.map(Size)?;
    let declared = || object.status.rounded_up.as_deref().filter(|_| paint.width.is_some()).map(ToOwned::to_owned);
    Some(match object.kind == Kind::Backend {
        true => size.rounded(),
        false => declared().unwrap_or_else(|| in_column(size, object.status.written_size.as_deref(), paint)),
    })
}

/// Returns a size for a column of a table. `written`: the declared size as its document writes it.
fn in_column(size: Size, written: Option<&str>, paint: Paint) -> String {
    as_written(size, written).map_or_else(|| sized(size, paint), ToOwned::to_owned)
}

/// Returns a size as the document of the object writes it, if it is the declared one.
fn as_written(size: Size, written: Option<&str>) -> Option<&str> {
    written.filter(|written| written.parse() == Ok(size))
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

/// Returns objects in full, each with its snapshots, its clones and the journal entries about it. `now`: in seconds since 1970.
pub fn described(objects: &[ObjectStatus<'_>], history: &[JournalLine], now: u64, paint: Paint) -> String {
    let mut about: HashMap<(&str, &str), Vec<&JournalLine>> = HashMap::new();
    for line in history {
        about.entry(line.object()).or_default().push(line);
    }
    let mut out = String::new();
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        describe_one(&mut out, object, now, paint);
        // Several objects of one name share their history.
        let is_same = |next: &ObjectStatus<'_>| next.kind == object.kind && next.metadata.name == object.metadata.name;
        if objects.get(index + 1).is_some_and(is_same) {
            continue;
        }
        match about.remove(&(object.kind.as_str(), object.metadata.name.as_str())) {
            Some(lines) => {
                let _ = writeln!(out, "{}", paint.bold("History:"));
                out.push_str(&journal_table(lines, true, paint));
            }
            None => out.push_str("History: none recorded.\n"),
        }
    }
    out
}

/// Writes the snapshots and clones of an object.
fn list_related(out: &mut String, related: &RelatedObjects, now: u64, paint: Paint) {
    let row = |kind: Kind, object: &RelatedObject, third: Cell<'static>| {
        let written = object.written_size.as_deref();
        let size = object.size.map_or_else(|| "-".to_owned(), |size| in_column(Size(size), written, paint));
        [ObjectId::new(kind, &object.name).to_string().into(), size.into(), third, condition_of(object.condition)]
    };
    let snapshots =
        related.snapshots.iter().map(|snapshot| row(Kind::Snapshot, snapshot, age_of(snapshot.created_at, now)));
    let clones = related.clones.iter().map(|clone| row(Kind::Volume, clone, clone.source.clone().into()));
    let mut list = |heading: &str, third: &str, rows: Vec<[Cell<'static>; 4]>| {
        if !rows.is_empty() {
            let _ = writeln!(out, "{}", paint.bold(heading));
            out.push_str(&table(["NAME", "SIZE", third, "CONDITION"], rows, paint));
        }
    };
    list("Snapshots:", "AGE", snapshots.collect());
    list("Clones:", "SOURCE", clones.collect());
}

/// Returns the fields of a value in one line: `path: db.raw, format: raw`.
fn in_line(fields: &serde_json::Map<String, Value>) -> String {
    fields.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect::<Vec<_>>().join(", ")
}

/// Returns rate limits in one line. Bytes are sizes: `written` has how the document writes them.
fn limits_in_line(limits: &serde_json::Map<String, Value>, written: &BTreeMap<SmolStr, SmolStr>) -> String {
    let shown = |(field, limit): (&String, &Value)| {
        let declared = written.get(field.as_str()).and_then(|written| written.parse().ok());
        format!("{field}: {}", value(&format!("qos.{field}"), limit, declared))
    };
    limits.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Returns a value without the quotes of JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => format!("{{{}}}", in_line(fields)),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn describe_one(out: &mut String, object: &ObjectStatus<'_>, now: u64, paint: Paint) {
    let _ = writeln!(out, "{}", paint.bold(&object.full_name()));
    let status = &object.status;
    let condition = paint.with(colour_of(status.condition), status.condition.as_str());
    out.push_str(&paint.beside("  condition   ", &format!("{condition} ({})", escape(&status.reason))));
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let label = format!("{name:<12}");
            let label = if name == "fix" { paint.fix(&label) } else { label };
            // What is copied is not broken, at its blanks neither.
            let paint =
                if matches!(name, "path" | "object" | "location") { Paint { width: None, ..paint } } else { paint };
            out.push_str(&paint.beside(&format!("  {label}"), &escape(&value)));
        }
    };
    field("why", Some(status.message.to_string()));
    field("fix", status.fix.as_deref().map(ToOwned::to_owned));
    field("owner", Some(status.owner.to_string()));
    field("backend", status.backend.as_deref().map(ToString::to_string));
    field("location", status.location.clone());
    field("pool", status.pool.as_deref().map(ToString::to_string));
    field("uid", status.uid.map(|uid| uid.to_string()));
    field("object", status.object.as_deref().map(ToString::to_string));
    let bytes = |size: u64| match size {
        0 => "0".to_owned(),
        size => format!("{} ({size} bytes)", Size(size).rounded()),
    };
    let size_in_full = |size: u64| match as_written(Size(size), status.written_size.as_deref()) {
        Some(written) => format!("{written} ({size} bytes)"),
        None => bytes(size),
    };
    let limits = |fields: &serde_json::Map<String, Value>| limits_in_line(fields, &status.written_limits);
    let is_live_volume = object.kind == Kind::Volume && status.place.as_deref() == Some("live");
    field(
        "path",
        match &status.path {
            Some(path) => Some(path.display().to_string()),
            None => is_live_volume.then(|| "none: its backend shows no path on this host".to_owned()),
        },
    );
    let observed = |size| match &status.rounded_up {
        Some(declared) => format!("{}; the document says {declared}, which the backend rounds up", size_in_full(size)),
        None => size_in_full(size),
    };
    field("size", status.size.map(observed));
    field("used", status.used.map(bytes));
    for Capacity { resource, total, used, per_object: _ } in &status.capacities {
        let count = |number: &u64| if resource.is_bytes() { bytes(*number) } else { number.to_string() };
        if *resource != Resource::Data {
            field(resource.as_str(), Some(format!("{} of {} used", count(used), count(total))));
        }
    }
    field("created", status.created_at.map(|at| format!("{at} ({} ago)", age(now, at.0))));
    field("place", status.place.as_deref().map(ToOwned::to_owned));
    field("protected", status.protected.map(|protected| protected.to_string()));
    field("onRemove", status.on_remove.map(|on_remove| format!("{on_remove:?}")));
    field("provisioning", status.provisioning.map(|provisioning| provisioning.as_str().to_owned()));
    field("qos", Some(limits(&status.qos)).filter(|limits| !limits.is_empty()));
    field("encrypted", status.encrypted.then(|| "yes".to_owned()));
    field("expires", status.expires.map(|at| at.to_string()));
    field("clients", status.clients.as_ref().map(|who| if who.is_empty() { "none".into() } else { who.join(", ") }));
    for (key, value) in &*object.metadata.labels {
        field("label", Some(format!("{key}={value}")));
    }
    field("observed at", status.observed_at.map(|at| at.to_string()));
    match &object.spec {
        None => out.push_str("Declared: no.\n"),
        Some(spec) => {
            let _ = writeln!(out, "{}", paint.bold("Declared:"));
            for (key, value) in spec.json().as_object().into_iter().flatten() {
                let value = match value {
                    Value::Number(size) if key == "size" => {
                        size.as_u64().map_or_else(|| size.to_string(), size_in_full)
                    }
                    Value::Object(fields) => match fields.iter().next() {
                        Some((kind, Value::String(name))) if key == "source" => format!("{kind}/{name}"),
                        _ if key == "qos" => limits(fields),
                        _ => in_line(fields),
                    },
                    other => plain(other),
                };
                out.push_str(&paint.beside(&format!("  {:<12}", escape(key)), &escape(&value)));
            }
        }
    }
    if let Some(related) = &status.related {
        list_related(out, related, now, paint);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_text_of_a_described_object_reaches_the_terminal_unescaped() {
        let bad = "\u{1b}]0;title\u{7}\u{202e}";
        let mut json = json!({
            "apiVersion": "kiln/v1", "kind": "Volume", "metadata": {"name": "db", "labels": {"key": bad}},
            "spec": {bad: bad},
            "status": {"condition": "Held", "owner": "prod", "uid": null, "backend": "fast"},
        });
        for text in ["reason", "message", "fix", "object", "path", "place", "location"] {
            json["status"][text] = json!(bad);
        }
        json["status"]["clients"] = json!([bad]);
        let object: ObjectStatus<'_> = serde_json::from_value(json).unwrap();
        let shown = described(&[object], &[], 0, Paint::PLAIN);
        assert!(!shown.contains(|c: char| crate::text::is_unsafe(c) && c != '\n'), "{shown:?}");
        assert_eq!(shown.matches("]0;title").count(), 11, "{shown}");
    }

    #[test]
    fn a_wide_table_shows_no_value_as_absent_that_an_object_has() {
        let object = |name: &str, path: Option<&str>| -> ObjectStatus<'_> {
            serde_json::from_value(json!({
                "apiVersion": "kiln/v1", "kind": "Volume", "metadata": {"name": name, "labels": {}}, "spec": null,
                "status": {
                    "condition": "Settled", "owner": "prod", "uid": "s7pthnau", "backend": "fast", "reason": "AsDeclared",
                    "message": "", "object": "kiln.prod.db.s7pthnau", "path": path,
                },
            }))
            .unwrap()
        };
        let wide = Paint { width: Some(300), ..Paint::PLAIN };
        let in_path = object("db", Some("/po ol/kiln.prod.db.s7pthnau.img"));
        let all = wide_objects_table(&[in_path.clone(), object("sim", None)], 0, wide);
        assert_eq!(all.matches("  s7pthnau  ").count(), 2, "{all}");
        assert_eq!(all.matches("  kiln.prod.db.s7pthnau").count(), 2, "{all}");
        let only = std::slice::from_ref(&in_path);
        let one = wide_objects_table(only, 0, wide);
        assert!(!one.contains("UID") && !one.contains("OBJECT") && !one.contains(" - "), "{one}");
        // A path is copied.
        let narrow = Paint { width: Some(40), ..Paint::PLAIN };
        for shown in [wide_objects_table(only, 0, narrow), described(only, &[], 0, narrow)] {
            assert!(shown.contains("/po ol/kiln.prod.db.s7pthnau.img\n"), "{shown}");
        }
    }

    #[test]
    fn fields_of_a_spec_are_shown_without_the_quotes_of_json() {
        let spec = json!({
            "adopt": {"name": "lv0"}, "source": {"image": {"format": "raw"}}, "kinds": ["a", 1], "protected": true,
        });
        let object: ObjectStatus<'_> = serde_json::from_value(json!({
            "apiVersion": "kiln/v1", "kind": "Volume", "metadata": {"name": "db", "labels": {}}, "spec": spec,
            "status": {"condition": "Held", "owner": "prod", "uid": null, "reason": "", "message": ""},
        }))
        .unwrap();
        let shown = described(&[object], &[], 0, Paint::PLAIN);
        for (key, value) in
            [("adopt", "name: lv0"), ("source", "image: {format: raw}"), ("kinds", "[a, 1]"), ("protected", "true")]
        {
            assert!(shown.contains(&format!("  {key:<12} {value}\n")), "{key}: {shown}");
        }
    }
}
