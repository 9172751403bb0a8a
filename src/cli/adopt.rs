//! `kiln adopt`: lists objects without an owner and writes manifests that adopt them, or adopts the objects of another owner.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::args::{AdoptArgs, AdoptFormat};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::files::{create_dir, missing_schema, modeline, write_new};
use super::runtime::block_on;
use crate::daemon::protocol::UnownedAnswer;
use crate::engine::{Executed, Operation, OperationResult, with_content};
use crate::model::{Kind, Name, Owner, Size};
use crate::report::{Adoption, Unowned};
use crate::text::{counted, sized, table};

pub(crate) fn adopt(context: &Context, args: &AdoptArgs) -> Result<Exit, Failure> {
    match &args.from_owner {
        Some(from) => from_owner(context, args, from),
        None => unowned_objects(context, args),
    }
}

fn from_owner(context: &Context, args: &AdoptArgs, from: &Owner) -> Result<Exit, Failure> {
    let operation = Operation::AdoptOwner { backend: args.backend.clone(), from: from.clone() };
    let result = context.operate(&args.specs.specs, operation)?;
    if matches!(&result, OperationResult::Executed(Executed { done, left }) if done.is_empty() && left.is_empty()) {
        context.terminal.line(&format!("{} holds no objects of {from}.", args.backend));
    }
    Ok(context.print_result(result))
}

/// An object without an owner, as in `kiln adopt -o json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnownedView<'a> {
    backend: &'a Name,
    kind: Kind,
    object: &'a str,
    /// Of a snapshot: the native name of its volume.
    of: Option<&'a str>,
    size: u64,
    used: Option<u64>,
    /// The declared volume or snapshot that adopts it.
    declared: Option<&'a Name>,
    /// A free name to declare it under; null if it cannot be adopted.
    name: Option<&'a Name>,
    /// Why it cannot be adopted.
    message: Option<&'a str>,
}

fn unowned_objects(context: &Context, args: &AdoptArgs) -> Result<Exit, Failure> {
    let backend = &args.backend;
    let question = format!("/v1/unowned?backend={backend}");
    let (UnownedAnswer { unowned, unobserved }, standing) = match context.ask(&args.specs.specs, &question)? {
        Some(answered) => answered,
        None => {
            let (reading, overview) = context.overview(&args.specs.specs)?;
            let overview = block_on(with_content(&context.setup(reading.clone(), None), overview, backend))?;
            (UnownedAnswer::new(&overview, &reading, backend), Exit::Done)
        }
    };
    let found = unowned?;
    if let Some(message) = &unobserved {
        context.terminal.note(&format!("backend/{backend}: {message}"));
    }
    let new: Vec<(&Adoption, &Unowned)> = found
        .iter()
        .filter(|unowned| unowned.declared.is_none())
        .filter_map(|unowned| Some((unowned.adoption.as_ref().ok()?, unowned)))
        .collect();
    match args.format {
        AdoptFormat::Yaml => {
            let documents: Vec<String> =
                new.iter().map(|(adoption, unowned)| document(backend, adoption, unowned)).collect();
            context.terminal.out(&format!("{}{}", modeline(), documents.join("---\n")));
        }
        AdoptFormat::Json => {
            let view = |unowned| view(backend, unowned);
            context.json(&found.iter().map(view).collect::<Vec<_>>());
        }
        AdoptFormat::Text if found.is_empty() => {
            context.terminal.line(&format!("{backend} has no objects without an owner."))
        }
        AdoptFormat::Text => context.terminal.out(&as_table(context, &found)),
    }
    let Some(dir) = &args.write else {
        if args.format == AdoptFormat::Text && !new.is_empty() {
            let next = context.terminal.commands().command(&format!("kiln adopt {backend} --write DIR"));
            let next = format!("`{next}` writes manifests that adopt them");
            context.terminal.line(&format!("{} can be adopted: {next}.", counted(new.len(), "object")));
        }
        return Ok(Exit::combine([standing, Exit::Unobserved.when(unobserved.is_some())]));
    };
    write(dir, backend, &new)?;
    let written = format!("Wrote {} to {}", counted(new.len(), "manifest"), dir.display());
    let commands = context.terminal.commands();
    match args.format {
        AdoptFormat::Text => context.terminal.line(
            &commands
                .complete(&format!("{written}; move them into your specs, then `kiln plan` shows what is adopted.")),
        ),
        // The data is on stdout.
        _ => context.terminal.note(&written),
    }
    Ok(Exit::combine([standing, Exit::Unobserved.when(unobserved.is_some())]))
}

fn view<'a>(backend: &'a Name, unowned: &'a Unowned) -> UnownedView<'a> {
    let Unowned { kind, native, of, shown: _, size, used, qos: _, declared, adoption } = unowned;
    UnownedView {
        backend,
        kind: *kind,
        object: native,
        of: of.as_deref(),
        size: size.bytes(),
        used: *used,
        declared: declared.as_ref(),
        name: adoption.as_ref().ok().map(|adoption| &adoption.name),
        message: adoption.as_ref().err().map(String::as_str),
    }
}

fn as_table(context: &Context, found: &[Unowned]) -> String {
    let (commands, paint) = (context.terminal.commands(), context.terminal.paint);
    let rows: Vec<[String; 4]> = found
        .iter()
        .map(|unowned| {
            let kind = unowned.kind.as_lower();
            let what = match (&unowned.declared, &unowned.adoption) {
                (Some(name), Err(why)) => format!("declared as {kind}/{name}, and cannot be adopted: {why}"),
                (Some(name), Ok(_)) => commands.complete(&format!("declared as {kind}/{name}: `kiln apply` adopts it")),
                (None, Ok(Adoption { name, volume: None })) => format!("could be {kind}/{name}"),
                (None, Ok(Adoption { name, volume: Some(of) })) => format!("could be {kind}/{name} of volume/{of}"),
                (None, Err(why)) => format!("cannot be adopted: {why}"),
            };
            let used = unowned.used.map_or_else(|| "-".to_owned(), |used| Size(used).rounded());
            [unowned.shown.clone(), sized(unowned.size, paint), used, what]
        })
        .collect();
    table(["OBJECT", "SIZE", "USED", "MANIFEST"], rows, paint)
}

/// Returns a manifest that adopts an object as it is, with its limits. `onRemove` is left out: adopted objects are released by default.
fn document(backend: &Name, adoption: &Adoption, unowned: &Unowned) -> String {
    // JSON strings are YAML strings.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = String::new();
    let kind = unowned.kind;
    let _ = write!(
        out,
        "apiVersion: kiln/v1\nkind: {kind}\nmetadata: {{name: {}}}\nspec:\n",
        quoted(adoption.name.as_str())
    );
    let _ = match &adoption.volume {
        Some(volume) => writeln!(out, "  volume: {}", quoted(volume.as_str())),
        None => writeln!(out, "  backend: {}\n  size: {}", quoted(backend.as_str()), unowned.size),
    };
    if !unowned.qos.is_empty() {
        let limits: Vec<String> = unowned.qos.iter().map(|(field, limit)| format!("{field}: {limit}")).collect();
        let _ = writeln!(out, "  qos: {{{}}}", limits.join(", "));
    }
    let _ = writeln!(out, "  adopt: {{name: {}}}", quoted(&unowned.native));
    out
}

/// Writes a file per object: all files or none. Overwrites nothing.
fn write(dir: &Path, backend: &Name, new: &[(&Adoption, &Unowned)]) -> Result<(), Failure> {
    create_dir(dir)?;
    let path_of = |name: &Name| dir.join(format!("{name}.yaml"));
    // Checked before anything is written: all of them or none.
    if let Some(there) =
        new.iter().map(|(adoption, _)| path_of(&adoption.name)).find(|path| fs::symlink_metadata(path).is_ok())
    {
        return Err(Failure::new(Exit::Usage, format!("{} already exists", there.display()))
            .hint("nothing was written: choose another directory, or move that file"));
    }
    let text = |adoption, unowned| format!("{}{}", modeline(), document(backend, adoption, unowned));
    let files = new.iter().map(|(adoption, unowned)| (path_of(&adoption.name), text(adoption, unowned)));
    write_new(files.chain(missing_schema(dir)).collect())
}
