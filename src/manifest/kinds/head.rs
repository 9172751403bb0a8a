//! What every document has: `apiVersion`, `kind`, `metadata`, `spec`.

use std::collections::BTreeMap;

use super::{Body, Document, Reference, backend, export, stack, volume};
use crate::manifest::fields::{At, Fields, is_no_text_to_some, showable};
use crate::manifest::scan::{Content, Node};
use crate::manifest::text::{File, Span, closest, quote};
use crate::model::{ApprovalSpec, Kind, Meta, Name, NativeName, SourcePlace};

/// The only version there is.
const API_VERSION: &str = "kiln/v1";

/// Labels per object, characters per key, characters per value: what fits the tags of every backend (LVM has the smallest room)
/// if used with measure, and bounds what a document can make Kiln write.
const LABELS: (usize, usize, usize) = (64, 128, 1024);

/// Reads a document; `before` it, so many problems were known of its file. `None`: its kind or name cannot be known; the problems say
/// why.
pub(in crate::manifest) fn document(file: &File, node: &Node<'_>, before: usize) -> Option<Document> {
    // Those of a document that could not be read belong to no other.
    file.take_paths();
    let at = At::document(file, node);
    let mut fields = at.fields()?;
    api_version(&mut fields);
    let kind = fields.need("kind", "write `kind: Volume`, or another kind").and_then(kind);
    let metadata = fields.need("metadata", "write `metadata: {name: …}`").and_then(|at| at.fields());
    let spec = fields.need("spec", "write `spec:` with the fields of the kind");
    fields.finish();
    let name_at = metadata.as_ref().and_then(|fields| fields.peek("name"));
    let named = metadata.and_then(|fields| read_metadata(fields, kind, file.place(at.span())));
    // Readers fall back to defaults where a value is wrong: that was reported, and drops the whole document below.
    // Nothing below `spec` can be judged without the kind, but with it everything can, whatever else is wrong.
    let kind = kind?;
    let mut references = Vec::new();
    let meta = named.as_ref().map(|named| named.meta.clone());
    let spec_fields = spec.and_then(|at| at.fields());
    let backend_written = spec_fields.as_ref().is_some_and(|fields| fields.peek("backend").is_some());
    let body = spec_fields.and_then(|fields| match kind {
        Kind::Stack => stack::read(fields, name_at, meta, &mut references).map(Body::Stack),
        Kind::Backend => backend::read(fields, meta).map(Body::Backend),
        Kind::Volume => volume::read(fields, meta, &mut references).map(Body::Volume),
        Kind::Snapshot => volume::read_snapshot(fields, meta, &mut references).map(Body::Snapshot),
        Kind::Target => export::read_target(fields, meta).map(Body::Target),
        Kind::Export => export::read(fields, meta, &mut references).map(Body::Export),
        Kind::Approval => approval(fields, meta).map(Body::Approval),
    });
    // Which document it is cannot be said where that is written twice.
    let metadata = entries(node, "metadata");
    let twice = entries(node, "kind").len() > 1
        || metadata.len() > 1
        || metadata.first().is_some_and(|metadata| entries(metadata, "name").len() > 1);
    let Named { meta, name_span, renamed_from } = named.filter(|_| !twice)?;
    Some(Document {
        file: 0,
        kind,
        name: meta.name,
        name_span,
        spec_span: spec.map_or(Span::START, |at| at.span()),
        renamed_from,
        backend_written,
        references,
        paths: file.take_paths(),
        body: body.filter(|_| file.count() == before),
    })
}

/// What a map holds under a key: one value, or several that were reported.
fn entries<'n, 't>(node: &'n Node<'t>, key: &str) -> Vec<&'n Node<'t>> {
    match &node.content {
        Content::Map(entries) => entries.iter().filter(|(name, _)| name.text == key).map(|(_, value)| value).collect(),
        _ => Vec::new(),
    }
}

fn api_version(fields: &mut Fields<'_>) {
    let hint = format!("write `apiVersion: {API_VERSION}`");
    let Some(at) = fields.need("apiVersion", &hint) else { return };
    match at.text() {
        Some(API_VERSION) | None => {}
        Some(other) => at.wrong(format_args!("must be {API_VERSION}, not {}", quote(other)), hint),
    }
}

fn kind(at: At<'_>) -> Option<Kind> {
    let text = at.text()?;
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    if found.is_none() {
        let all = Kind::ALL.map(Kind::as_str);
        let hint = match closest(text, all) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("write one of {}", all.join(", ")),
        };
        at.wrong(format_args!("is {}, which is not a kind", quote(text)), hint);
    }
    found
}

struct Named {
    meta: Meta,
    name_span: Span,
    renamed_from: Option<(Name, Span)>,
}

fn read_metadata(mut fields: Fields<'_>, kind: Option<Kind>, place: SourcePlace) -> Option<Named> {
    let at = fields.need("name", "give it a name, like db-1");
    let labels = fields.get("labels").map(labels);
    let renamed = fields.get("renamedFrom").and_then(|at| Some((at.name()?, at)));
    fields.finish();
    let name = at.and_then(|at| at.name());
    if let (Some((_, at)), Some(kind @ (Kind::Stack | Kind::Approval | Kind::Target))) = (&renamed, kind) {
        let hint = match kind {
            Kind::Stack => "its objects are taken over with `kiln adopt --from-owner`",
            _ => "remove the field: nothing is bound to the old name",
        };
        at.wrong(format_args!("has no meaning on a {kind}"), hint);
    }
    if let (Some((old, at)), Some(name)) = (&renamed, &name)
        && old == name
    {
        at.wrong(
            format_args!("is the name that it has now, {name}"),
            "write the name that it had before, or remove the field",
        );
    }
    let at = at?;
    let renamed_from = renamed.as_ref().map(|(old, _)| old.clone());
    let meta = Meta { name: name?, labels: labels.flatten().unwrap_or_default(), renamed_from, place };
    Some(Named { meta, name_span: at.span(), renamed_from: renamed.map(|(old, at)| (old, at.span())) })
}

fn labels(at: At<'_>) -> Option<BTreeMap<String, String>> {
    let (most, key_max, value_max) = LABELS;
    let entries = at.entries()?;
    if entries.len() > most {
        at.wrong(format_args!("has {} entries; at most {most} are allowed", entries.len()), "remove some");
        return None;
    }
    let mut labels = BTreeMap::new();
    for (key, value) in entries {
        let key_ok = !key.text.is_empty() && key.text.chars().count() <= key_max && key.text.chars().all(showable);
        if !key_ok {
            let message =
                format!("the label's name {} is not one of 1 to {key_max} visible characters", quote(&key.text));
            at.file.report(key.span, message, "write a short name, like team");
        } else if key.plain && is_no_text_to_some(&key.text) {
            let message = format!("the label's name {} is not text to YAML", quote(&key.text));
            at.file.report(key.span, message, format!("put it in quotes: \"{}\"", key.text));
        }
        // An empty value is fine: the label is a mark.
        let text = if value.is_text("") { Some("") } else { value.line(value_max) };
        if let Some(text) = text {
            labels.insert(key.text.to_string(), text.to_owned());
        }
    }
    Some(labels)
}

fn approval(mut fields: Fields<'_>, meta: Option<Meta>) -> Option<ApprovalSpec> {
    let digest = fields.need("digest", "copy the digest that `kiln plan` prints").and_then(|at| {
        let text = at.text()?;
        let fits =
            (8..=80).contains(&text.len()) && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='z' | '-' | ':'));
        if !fits {
            at.wrong(
                format_args!("is {}, which is not a digest", quote(text)),
                "copy the digest that `kiln plan` prints",
            );
        }
        fits.then(|| text.to_owned())
    });
    fields.finish();
    Some(ApprovalSpec { meta: meta?, digest: digest? })
}

/// A native name of an object on a backend: nothing that could be taken for a path, an option, or a hidden file.
/// `ours`: Kiln will give this name, which must then not look like those it makes by itself.
pub(super) fn native_name(at: At<'_>, ours: bool) -> Option<String> {
    let text = at.line(255)?;
    let hint = "write the name alone, as the backend lists it";
    if text.contains('/') {
        at.wrong(format_args!("is {}, and a `/` cannot be in a name", quote(text)), hint);
    } else if text.starts_with(['.', '-']) {
        at.wrong(format_args!("is {}, and must not begin with `.` or `-`", quote(text)), hint);
    } else if ours && NativeName::new(text).is_reserved() {
        let hint = "take a name that does not begin with kiln., kiln-snap. or kiln-tmp.";
        at.wrong(format_args!("is {}, a name that Kiln keeps for itself", quote(text)), hint);
    } else {
        return Some(text.to_owned());
    }
    None
}

/// `adopt: {name: …}`.
pub(super) fn adopt(at: At<'_>) -> Option<String> {
    let mut fields = at.fields()?;
    let name = fields.need("name", "write the name that the backend lists").and_then(|at| native_name(at, false));
    fields.finish();
    name
}

/// A path, relative ones resolved against the directory of the file.
pub(super) fn path(at: At<'_>) -> Option<std::path::PathBuf> {
    let text = at.line(4095)?;
    if text.starts_with('~') {
        at.wrong(
            format_args!("is {}, and `~` is not expanded", quote(text)),
            "write the path in full, or relative to this file",
        );
        return None;
    }
    let path = crate::manifest::files::absolute(&at.file.directory.join(text));
    // Every path of every kind comes by here, so that none escapes the question whether it may be reached.
    at.file.note_path(path.clone());
    Some(path)
}

/// A reference, noted for the check of all documents.
pub(super) fn refer(
    at: Option<At<'_>>,
    kind: Kind,
    field: &'static str,
    references: &mut Vec<Reference>,
) -> Option<Name> {
    let reference = Reference::new(kind, at?, field)?;
    let name = reference.name.clone();
    references.push(reference);
    Some(name)
}
