//! `kiln get`: lists objects.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;

use super::args::{GetArgs, GetFormat, Selector};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::model::{Kind, Name, Reading};
use crate::plan::Overview;
use crate::report::{ObjectsAnswer, ObjectsQuestion, has_status, objects, objects_table, wide_objects_table};

pub(crate) fn get(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    if let Some(what) = &args.what {
        must_be_shown(what.kind)?;
    }
    let (kind, name) = match &args.what {
        Some(Selector { kind, name }) => (Some(*kind), name.clone()),
        None => (None, None),
    };
    let question = ObjectsQuestion { kind, name, history: 0 };
    // The process is about to end: freeing this memory would take longer than printing it.
    let mut kept = ManuallyDrop::new(None);
    let (answer, standing) = ask(context, &args.specs.specs, &question, &mut kept)?;
    let mut answer = ManuallyDrop::new(answer);
    answer
        .objects
        .retain(|object| args.labels.iter().all(|(key, value)| object.metadata.labels.get(key) == Some(value)));
    let shown = &answer.objects;
    match args.format {
        GetFormat::Json => context.json(shown),
        GetFormat::Name => shown.iter().for_each(|object| context.terminal.line(&object.full_name())),
        GetFormat::Yaml => context.yaml(shown),
        GetFormat::Table | GetFormat::Wide if shown.is_empty() => {
            context.terminal.line(match args.labels.is_empty() {
                true => "No objects.",
                false => "No objects have these labels.",
            });
        }
        GetFormat::Table => context.terminal.out(&objects_table(shown, context.terminal.paint)),
        GetFormat::Wide => context.terminal.out(&wide_objects_table(shown, context.terminal.paint)),
    }
    Ok(Exit::combine([standing, Exit::Unobserved.when(is_in_doubt(&answer, question.name.is_some()))]))
}

/// Asks for objects: the daemon that follows these manifests, or else the backends, which `kept` holds.
///
/// # Errors
/// Exit code 2 for a name that is neither declared nor observed; those of [`Context::overview`].
pub(crate) fn ask<'a>(
    context: &Context,
    specs: &Path,
    question: &ObjectsQuestion,
    kept: &'a mut Option<(Arc<Reading>, Overview)>,
) -> Result<(ObjectsAnswer<'a>, Exit), Failure> {
    let ObjectsQuestion { kind, name, history } = question;
    let kind_is = kind.map(|kind| format!("kind={}&", kind.as_lower())).unwrap_or_default();
    let name_is = name.as_ref().map(|name| format!("name={name}&")).unwrap_or_default();
    let path = format!("/v1/objects?{kind_is}{name_is}history={history}");
    let (mut answer, standing) = match context.ask::<ObjectsAnswer<'static>>(specs, &path)? {
        Some(answered) => answered,
        None => {
            let (reading, overview) = &*kept.insert(context.overview(specs)?);
            (objects(overview, reading, question), Exit::Done)
        }
    };
    let commands = context.terminal.commands();
    for fix in answer.objects.iter_mut().filter_map(|object| object.status.fix.as_mut()) {
        *fix = commands.complete(fix).into();
    }
    match (kind, name) {
        (Some(kind), Some(name)) if answer.objects.is_empty() => {
            let message = format!("{}/{name} not found: it is neither declared nor observed", kind.as_lower());
            Err(Failure::new(Exit::Usage, message).hint("`kiln get` lists all objects"))
        }
        _ => Ok((answer, standing)),
    }
}

/// Whether a shown object could not be observed: for a single object its backend counts, else all backends.
pub(crate) fn is_in_doubt(answer: &ObjectsAnswer<'_>, is_one: bool) -> bool {
    let ObjectsAnswer { objects, unobserved, .. } = answer;
    let is_on = |backend: &Name| objects.iter().any(|object| object.status.backend.as_deref() == Some(backend));
    unobserved.iter().any(|unobserved| !is_one || is_on(&unobserved.backend))
}

/// Refuses kinds that have no status.
///
/// # Errors
/// Exit code 2 for kinds that have no status.
pub(crate) fn must_be_shown(kind: Kind) -> Result<(), Failure> {
    if has_status(kind) {
        return Ok(());
    }
    let message = format!("documents of kind {kind} have no status to show");
    Err(Failure::new(Exit::Usage, message).hint("name a volume, snapshot, export or backend"))
}
