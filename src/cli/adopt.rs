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
use crate::model::{Name, Owner, Size};
use crate::report::Unowned;
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
    object: &'a str,
    size: u64,
    used: Option<u64>,
    /// The declared volume that adopts it.
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
    let new: Vec<(&Name, &Unowned)> = found
        .iter()
        .filter(|unowned| unowned.declared.is_none())
        .filter_map(|unowned| Some((unowned.name.as_ref().ok()?, unowned)))
        .collect();
    match args.format {
        AdoptFormat::Yaml => {
            let documents: Vec<String> = new.iter().map(|(name, unowned)| document(backend, name, unowned)).collect();
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
    let Unowned { native, size, used, declared, name } = unowned;
    UnownedView {
        backend,
        object: native,
        size: size.bytes(),
        used: *used,
        declared: declared.as_ref(),
        name: name.as_ref().ok(),
        message: name.as_ref().err().map(String::as_str),
    }
}

fn as_table(context: &Context, found: &[Unowned]) -> String {
    let (commands, paint) = (context.terminal.commands(), context.terminal.paint);
    let rows: Vec<[String; 4]> = found
        .iter()
        .map(|unowned| {
            let what = match (&unowned.declared, &unowned.name) {
                (Some(name), _) => commands.complete(&format!("declared as volume/{name}: `kiln apply` adopts it")),
                (None, Ok(name)) => format!("could be volume/{name}"),
                (None, Err(why)) => format!("cannot be adopted: {why}"),
            };
            let used = unowned.used.map_or_else(|| "-".to_owned(), |used| Size(used).rounded());
            [unowned.native.clone(), sized(unowned.size, paint), used, what]
        })
        .collect();
    table(["OBJECT", "SIZE", "USED", "MANIFEST"], rows, paint)
}

/// Returns a manifest that adopts an object as it is. `onRemove` is left out: adopted objects are released by default.
fn document(backend: &Name, name: &Name, unowned: &Unowned) -> String {
    // JSON strings are YAML strings.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = String::new();
    let _ = write!(
        out,
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec:\n  backend: {backend}\n  size: {size}\n  \
         adopt: {{name: {native}}}\n",
        name = quoted(name.as_str()),
        backend = quoted(backend.as_str()),
        native = quoted(&unowned.native),
        size = unowned.size,
    );
    out
}

/// Writes a file per object: all files or none. Overwrites nothing.
fn write(dir: &Path, backend: &Name, new: &[(&Name, &Unowned)]) -> Result<(), Failure> {
    create_dir(dir)?;
    let path_of = |name: &Name| dir.join(format!("{name}.yaml"));
    // Checked before anything is written: all of them or none.
    if let Some(there) = new.iter().map(|(name, _)| path_of(name)).find(|path| fs::symlink_metadata(path).is_ok()) {
        return Err(Failure::new(Exit::Usage, format!("{} already exists", there.display()))
            .hint("nothing was written: choose another directory, or move that file"));
    }
    let text = |name, unowned| format!("{}{}", modeline(), document(backend, name, unowned));
    let files = new.iter().map(|(name, unowned)| (path_of(name), text(name, unowned)));
    write_new(files.chain(missing_schema(dir)).collect())
}
