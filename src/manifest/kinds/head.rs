//! Reads the fields that every document has: `apiVersion`, `kind`, `metadata`, `spec`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{Body, Document, Reference};
use super::{backend, checks};
use crate::manifest::advice::BEGIN;
use crate::manifest::fields::{At, Fields};
use crate::manifest::read;
use crate::manifest::scan::{Node, NodeContent, Scalar};
use crate::manifest::span::Span;
use crate::manifest::strays::settle;
use crate::manifest::text::{File, quote};
use crate::model::table::{FieldValue, Setting};
use crate::model::{
    ApprovalSpec, ExportSpec, FieldPlace, Kind, Meta, Name, Owner, PlacedField, SnapshotSpec, Stack, TargetSpec,
    VolumeSpec,
};
use crate::text::closest;

/// The only version of the manifest format.
const API_VERSION: &str = "kiln/v1";

/// Kinds of Kubernetes, with those of Kiln that are alike.
const HABITS: [(&str, Kind); 4] = [
    ("PersistentVolume", Kind::Volume),
    ("PersistentVolumeClaim", Kind::Volume),
    ("StorageClass", Kind::Backend),
    ("VolumeSnapshot", Kind::Snapshot),
];

/// Reads a document. `before`: the number of problems of its file so far. Returns `None`, with the problems reported, if its kind or
/// name is unknown.
pub(in crate::manifest) fn document(file: &File, node: &Node<'_>, before: usize) -> Option<Document> {
    // Discard the paths of an earlier document that could not be read.
    file.take_paths();
    let strays = RefCell::default();
    let (kind, document) = read_all(At::document(file, node, &strays), node);
    let wrong_value =
        |rule, node: &Node<'_>, key| read::wrong_value(file, rule, node, key).map(|wrong| (wrong.message, wrong.hint));
    let meant = settle(strays.into_inner(), file, node, kind, &wrong_value);
    file.settle_ambiguous();
    let document = document?;
    Some(Document {
        backend_written: document.backend_written || meant.iter().any(|field| field == "backend"),
        // A wrong value was reported and replaced by its default; this drops the whole document.
        body: document.body.filter(|_| file.count() == before),
        ..document
    })
}

/// Reads a document as far as possible: its kind, and the document if its name is known too.
fn read_all(at: At<'_>, node: &Node<'_>) -> (Option<Kind>, Option<Document>) {
    let Some(mut fields) = at.fields(|_| Vec::new()) else { return (None, None) };
    if fields.is_empty() {
        at.wrong("has no fields", BEGIN);
        return (None, None);
    }
    // `kubectl get -o yaml` writes such a list.
    if let Some(at) = fields.peek("kind").filter(|at| at.is_text("List") && fields.peek("items").is_some()) {
        at.wrong("is List, which is not a kind", "write each item as a document of its own; `---` separates two");
        return (None, None);
    }
    api_version(&mut fields);
    let kind = fields.need("kind", "write `kind: Volume`, or another kind").and_then(kind);
    let metadata =
        fields.need("metadata", "write `metadata: {name: NAME}`").and_then(|at| read::fields(at, &Meta::TABLE));
    let spec = fields.need("spec", "write `spec:` with the fields of the kind");
    fields.finish();
    let name_at = metadata.as_ref().and_then(|fields| fields.peek("name"));
    let named = metadata.and_then(|fields| read_metadata(fields, kind));
    // `spec` can be checked as soon as the kind is known, whatever else is wrong.
    let Some(kind) = kind else { return (None, None) };
    let mut references = Vec::new();
    let meta = named.as_ref().map(|named| named.meta.clone());
    let spec_fields = spec.and_then(|at| read::fields(at, kind.table().spec));
    // Without its fields it is not known.
    let backend_written = spec_fields.as_ref().is_none_or(|fields| fields.peek("backend").is_some());
    let body = spec_fields.and_then(|fields| body(fields, kind, name_at, meta, &mut references));
    // A document whose kind or name is written twice has no identity.
    let metadata = entries(node, "metadata");
    let twice = entries(node, "kind").len() > 1
        || metadata.len() > 1
        || metadata.first().is_some_and(|metadata| entries(metadata, "name").len() > 1);
    let Some(ReadMetadata { meta, name_span, renamed_from }) = named.filter(|_| !twice) else {
        return (Some(kind), None);
    };
    let document = Document {
        file: 0,
        kind,
        name: meta.name,
        span: at.span(),
        name_span,
        spec_span: spec.map_or(Span::START, |at| at.span()),
        fields: field_places(node),
        renamed_from,
        backend_written,
        references,
        paths: at.file.take_paths(),
        body,
    };
    (Some(kind), Some(document))
}

/// Reads `spec`.
fn body(
    mut fields: Fields<'_>,
    kind: Kind,
    name: Option<At<'_>>,
    meta: Option<Meta>,
    references: &mut Vec<Reference>,
) -> Option<Body> {
    let mut values = read::table(&mut fields, kind.table().spec, references);
    match kind {
        Kind::Stack => {
            // The owner is part of every native name, so it must be shorter than other names.
            let owner: Option<Owner> = name.filter(|_| meta.is_some()).and_then(|at| at.label());
            fields.finish();
            Stack::from_values(&mut values, owner?, true).map(Body::Stack)
        }
        Kind::Backend => backend::backend(fields, values, meta, references).map(Body::Backend),
        Kind::Volume => {
            checks::volume(&fields, &values);
            let backend_written = fields.peek("backend").is_some();
            fields.finish();
            let meta = meta?;
            if !backend_written {
                values.set("backend", Setting::Name(meta.name.clone()));
            }
            VolumeSpec::from_values(&mut values, meta).map(Body::Volume)
        }
        Kind::Snapshot => {
            fields.finish();
            SnapshotSpec::from_values(&mut values, meta?).map(Body::Snapshot)
        }
        Kind::Target => {
            let driver = values.get("driver").map(Setting::shown);
            let settings = backend::section(fields, kind, driver.as_deref(), references).settings;
            TargetSpec::from_values(&mut values, meta?, settings?).map(Body::Target)
        }
        Kind::Export => {
            checks::export(&fields, &values);
            fields.finish();
            ExportSpec::from_values(&mut values, meta?).map(Body::Export)
        }
        Kind::Approval => {
            fields.finish();
            ApprovalSpec::from_values(&mut values, meta?).map(Body::Approval)
        }
    }
}

/// Returns the kind of a document that has one and no name.
pub(in crate::manifest) fn unnamed(node: &Node<'_>) -> Option<Kind> {
    let is_named = names(node).any(|name| text_of(name).is_none_or(|name| !name.is_empty()));
    known_kind(node).filter(|_| !is_named)
}

/// Returns the kind and the name of a document that has both, valid or not.
pub(in crate::manifest) fn name_as_written(node: &Node<'_>) -> Option<(Kind, String)> {
    let name = names(node).find_map(text_of).filter(|name| !name.is_empty())?;
    Some((known_kind(node)?, name.to_owned()))
}

fn known_kind(node: &Node<'_>) -> Option<Kind> {
    let kind = text_of(entries(node, "kind").first()?)?;
    Kind::ALL.into_iter().find(|known| known.as_str() == kind)
}

fn names<'n, 't>(node: &'n Node<'t>) -> impl Iterator<Item = &'n Node<'t>> {
    entries(node, "metadata").into_iter().flat_map(|metadata| entries(metadata, "name"))
}

fn text_of<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.content {
        NodeContent::Scalar { text, .. } => Some(text),
        NodeContent::List(_) | NodeContent::Map(_) => None,
    }
}

/// Returns the values of a key in a map. More than one were reported.
fn entries<'n, 't>(node: &'n Node<'t>, key: &str) -> Vec<&'n Node<'t>> {
    match &node.content {
        NodeContent::Map(entries) => {
            entries.iter().filter(|(name, _)| name.text == key).map(|(_, value)| value).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns where the fields of a document are written, the outermost first.
fn field_places(node: &Node<'_>) -> Arc<[FieldPlace]> {
    let mut places = Vec::new();
    let mut level = vec![node];
    while !level.is_empty() {
        let mut below = Vec::new();
        for node in level {
            let NodeContent::Map(entries) = &node.content else { continue };
            // The keys of labels are no fields.
            for (key, value) in entries.iter().filter(|(key, _)| key.text != "labels") {
                let Span { line, column, .. } = key.span;
                places.extend(PlacedField::named(&key.text).map(|field| FieldPlace { field, line, column }));
                below.push(value);
            }
        }
        level = below;
    }
    places.into()
}

fn api_version(fields: &mut Fields<'_>) {
    let hint = format!("write `apiVersion: {API_VERSION}`");
    let Some(at) = fields.need("apiVersion", &hint) else { return };
    match at.scalar() {
        Some((Scalar::Text, API_VERSION)) => {}
        Some((Scalar::Null, _)) => at.expected(API_VERSION, hint),
        Some((_, other)) => at.wrong(format_args!("must be {API_VERSION}, not {}", quote(other)), hint),
        None => at.wrong(format_args!("must be {API_VERSION}"), hint),
    }
}

fn kind(at: At<'_>) -> Option<Kind> {
    let text = at.text()?;
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    if found.is_none() {
        let all = Kind::ALL.map(Kind::as_str);
        let habit = HABITS.iter().find(|(habit, _)| *habit == text).map(|(_, kind)| kind.as_str());
        let hint = match habit.or_else(|| closest(text, all)) {
            Some(meant) => format!("did you mean `kind: {meant}`?"),
            None => format!("write one of {}", all.join(", ")),
        };
        at.wrong(format_args!("is {}, which is not a kind", quote(text)), hint);
    }
    found
}

struct ReadMetadata {
    meta: Meta,
    name_span: Span,
    renamed_from: Option<(Name, Span)>,
}

fn read_metadata(mut fields: Fields<'_>, kind: Option<Kind>) -> Option<ReadMetadata> {
    let mut values = read::table(&mut fields, &Meta::TABLE, &mut Vec::new());
    let (at, renamed_at) = (fields.peek("name"), fields.peek("renamedFrom"));
    fields.finish();
    let mut name_in = |field| values.take(field).and_then(Name::from_value);
    let name = name_in("name");
    let renamed = name_in("renamedFrom").zip(renamed_at);
    let labels = values.take("labels").and_then(labels);
    if let (Some((_, at)), Some(kind @ (Kind::Stack | Kind::Approval | Kind::Target))) = (&renamed, kind) {
        let hint = if kind == Kind::Stack {
            "`kiln adopt --from-owner` adopts the objects of the old owner"
        } else {
            "remove the field: no object on a backend carries the old name"
        };
        at.wrong(format_args!("has no effect on a {kind}"), hint);
    }
    if let (Some((old, at)), Some(name)) = (&renamed, &name)
        && old == name
    {
        at.wrong(format_args!("is the current name, {name}"), "write the previous name, or remove the field");
    }
    let at = at?;
    let renamed_from = renamed.as_ref().map(|(old, _)| old.clone());
    let meta = Meta { name: name?, labels: labels.unwrap_or_default(), renamed_from };
    Some(ReadMetadata { meta, name_span: at.span(), renamed_from: renamed.map(|(old, at)| (old, at.span())) })
}

fn labels(value: Setting) -> Option<BTreeMap<String, String>> {
    let Setting::Map(labels) = value else { return None };
    labels.into_iter().map(|(key, value)| Some((key.to_string(), String::from_value(value)?))).collect()
}
