//! `kiln trash`: lists, restores and purges removed objects.

use std::path::Path;

use serde::Serialize;

use super::args::{TrashCommand, TrashListArgs, TrashPurgeArgs, TrashRestoreArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::in_full;
use super::objects;
use crate::daemon::protocol::TrashAnswer;
use crate::engine::{Operation, OperationResult, Purge, Trashed};
use crate::model::{Kind, WrittenSizes};
use crate::report::{Condition, ObjectStatus};
use crate::text::{Paint, counted, rfc3339, sized, table};

/// A trashed object, as in `kiln trash list -o json`.
#[derive(Serialize)]
struct TrashedView {
    kind: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    backend: String,
    object: String,
    size: u64,
    protected: bool,
    /// When it expires, in RFC 3339.
    expires: Option<String>,
}

pub(crate) fn trash(context: &Context, command: TrashCommand) -> Result<Exit, Failure> {
    match command {
        TrashCommand::List(args) => list(context, &args),
        TrashCommand::Restore(args) => restore(context, &args),
        TrashCommand::Purge(args) => purge(context, &args),
    }
}

fn list(context: &Context, args: &TrashListArgs) -> Result<Exit, Failure> {
    let (TrashAnswer { trashed, unobserved, written_sizes }, standing) = ask(context, &args.specs.specs)?;
    if args.output.is_json() {
        context.json(&trashed.iter().map(view).collect::<Vec<_>>());
    } else if trashed.is_empty() {
        context.terminal.line("The trash is empty.");
    } else {
        context.terminal.out(&as_table(&trashed, &written_sizes, context.terminal.paint));
    }
    for unobserved in &unobserved {
        context.terminal.note(&format!("backend/{}: {}", unobserved.backend, unobserved.message));
    }
    Ok(Exit::combine([standing, Exit::Unobserved.when(!unobserved.is_empty())]))
}

fn ask(context: &Context, specs: &Path) -> Result<(TrashAnswer, Exit), Failure> {
    if let Some(answered) = context.ask(specs, "/v1/trash")? {
        return Ok(answered);
    }
    let (reading, overview) = context.overview(specs)?;
    Ok((TrashAnswer::new(&overview, &reading), Exit::Done))
}

fn restore(context: &Context, args: &TrashRestoreArgs) -> Result<Exit, Failure> {
    let specs = &args.specs.specs;
    let what = match objects::selection(&args.what)? {
        selection if selection.is_exact() && selection.ids().is_none() => {
            let (TrashAnswer { trashed, unobserved, .. }, _) = ask(context, specs)?;
            if let Some(first) = unobserved.first() {
                let message = format!(
                    "backend/{} was not observed, and {selection} may be the name of an object there too: {}",
                    first.backend, first.message
                );
                return Err(Failure::new(Exit::Unobserved, message)
                    .hint("name the object in full: `kiln trash restore KIND/NAME`"));
            }
            let known = trashed.iter().filter_map(|trashed| trashed.object.identity.as_ref());
            let known = known.map(|id| (id.kind, &id.name));
            objects::only(objects::chosen(
                &selection,
                known,
                "it is not in the trash",
                "`kiln trash list` lists what can be restored",
            )?)?
        }
        _ => objects::one(&args.what)?,
    };
    context.operate_and_print(specs, Operation::Restore(what))
}

fn purge(context: &Context, args: &TrashPurgeArgs) -> Result<Exit, Failure> {
    let what = match args.what.is_empty() {
        true => Purge::Expired,
        false => {
            let is_trashed = |object: &ObjectStatus<'_>| object.status.condition == Condition::Trashed;
            let command = |name: &str| format!("kiln trash purge {name}");
            Purge::Named(in_full::one(context, &args.specs.specs, &args.what, is_trashed, command)?)
        }
    };
    let (found, left) = match context.operate(&args.specs.specs, Operation::ListPurge(what.clone()))? {
        OperationResult::ToPurge(found, left) => (found, left),
        OperationResult::Sentences(_) | OperationResult::Executed(_) | OperationResult::Recorded(_) => {
            Default::default()
        }
    };
    if found.is_empty() {
        context.terminal.line(match left {
            0 => "Nothing in the trash has expired.",
            _ => "Nothing is purged: the expired objects are suspended, declared, or in doubt.",
        });
        return Ok(Exit::Done);
    }
    // Expired objects were removed long ago and kept for the declared time: only a named object needs confirmation.
    if matches!(what, Purge::Named(..)) && !args.yes {
        let terminal = &context.terminal;
        let objects = counted(found.len(), "object");
        if let Some(unseen) = found.iter().find(|trashed| trashed.clients_unseen) {
            let unseen = format!("backend/{} cannot see whether a client has it open.\n", unseen.backend);
            terminal.talk(&terminal.err_paint.fit(&unseen));
        }
        if !terminal.can_ask() {
            let message =
                format!("{objects} would be destroyed permanently, and there is no terminal to confirm that on");
            return Err(Failure::new(Exit::Held, message).hint("check `kiln trash list`, then pass --yes"));
        }
        terminal.talk(&as_table(&found, &WrittenSizes::new(), terminal.err_paint));
        terminal.ask(&format!("Destroy {objects} permanently? Only `yes` is accepted: "));
        if !terminal.read_yes() {
            return Err(Failure::new(Exit::Held, "nothing was purged"));
        }
    }
    let exit = context.operate_and_print(&args.specs.specs, Operation::Purge { what, objects: found })?;
    if left > 0 {
        context.terminal.line(&format!("Expired and kept (suspended, declared, or in doubt): {left}."));
    }
    Ok(exit)
}

fn view(trashed: &Trashed) -> TrashedView {
    let Trashed { backend, object, expires, clients_unseen: _ } = trashed;
    let identity = object.identity.as_ref();
    TrashedView {
        kind: identity.map(|id| id.kind.to_string()),
        name: identity.map(|id| id.name.to_string()),
        uid: identity.map(|id| id.uid.to_string()),
        backend: backend.to_string(),
        object: object.native.to_string(),
        size: object.size.bytes(),
        protected: object.tags.protected,
        expires: expires.map(rfc3339),
    }
}

/// `written`: how documents that declare the volumes again write their sizes.
fn as_table(trashed: &[Trashed], written: &WrittenSizes, paint: Paint) -> String {
    let rows: Vec<[String; 5]> = trashed
        .iter()
        .map(|trashed| {
            let name = match &trashed.object.identity {
                Some(id) => format!("{}/{}", id.kind.as_lower(), id.name),
                None => trashed.object.native.to_string(),
            };
            [
                name,
                trashed.backend.to_string(),
                as_written(trashed, written).unwrap_or_else(|| sized(trashed.object.size, paint)),
                trashed.expires.map_or_else(|| "not known".to_owned(), rfc3339),
                trashed.object.uid().map_or_else(|| "-".to_owned(), |uid| uid.to_string()),
            ]
        })
        .collect();
    table(["NAME", "BACKEND", "SIZE", "UNTIL", "UID"], rows, paint)
}

/// Returns the size of a volume as a document writes it that declares the volume again, with this size.
fn as_written(trashed: &Trashed, written: &WrittenSizes) -> Option<String> {
    let identity = trashed.object.identity.as_ref().filter(|identity| identity.kind == Kind::Volume)?;
    let size = written.get(&identity.name)?.get("size")?;
    (size.parse() == Ok(trashed.object.size)).then(|| size.clone())
}
