//! `kiln get`: lists objects.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;

use super::args::{GetArgs, GetFormat};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::objects::selection;
use crate::engine::{Clock, SystemClock};
use crate::model::{Kind, Name, ObjectId, Reading};
use crate::plan::Overview;
use crate::report::{
    LabelSelector, ObjectSelection, ObjectsAnswer, ObjectsQuestion, has_status, objects, objects_table,
    wide_objects_table,
};

pub(crate) fn get(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    let mut labels = LabelSelector::default();
    args.labels.iter().cloned().for_each(|selector| labels.and(selector));
    let question = ObjectsQuestion { selection: observable(&args.what)?, labels, details: None };
    // The process is about to end: freeing this memory would take longer than printing it.
    let mut kept = ManuallyDrop::new(None);
    let (answer, standing) = ask(context, &args.specs.specs, &question, &mut kept)?;
    let answer = ManuallyDrop::new(answer);
    let (shown, now, paint) = (&answer.objects, SystemClock.now(), context.terminal.paint);
    if shown.is_empty() {
        all_exist(&answer)?;
    }
    match args.format {
        GetFormat::Json => context.json(shown),
        GetFormat::Name => shown.iter().for_each(|object| context.terminal.line(&object.full_name())),
        GetFormat::Yaml => context.yaml(shown),
        GetFormat::Table | GetFormat::Wide if shown.is_empty() => {
            context.terminal.line(match (question.labels.is_empty(), question.selection.is_empty()) {
                (true, true) => "No objects.",
                (true, false) => "No such objects.",
                (false, _) => "No objects have these labels.",
            });
        }
        GetFormat::Table => context.terminal.out(&objects_table(shown, now, paint)),
        GetFormat::Wide => context.terminal.out(&wide_objects_table(shown, now, paint)),
    }
    all_exist(&answer)?;
    Ok(Exit::combine([standing, Exit::Unobserved.when(is_in_doubt(&answer, &question.selection))]))
}

/// Checks that every named object exists.
///
/// # Errors
/// Exit code 2 for a name that is neither declared nor observed.
pub(crate) fn all_exist(answer: &ObjectsAnswer<'_>) -> Result<(), Failure> {
    match answer.unmatched.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Usage, answer.unmatched.join("; "))
            .hint("`kiln get` lists all objects; the kinds are volume, snapshot, export and backend")),
    }
}

/// Parses arguments that name objects of the kinds that have a status.
///
/// # Errors
/// Exit code 2 for a word that names no object, and for kinds that have no status.
pub(crate) fn observable(words: &[String]) -> Result<ObjectSelection, Failure> {
    let selection = selection(words)?;
    let without = selection.kinds().find(|kind| !has_status(*kind));
    match without {
        None => Ok(selection),
        Some(kind) => {
            let message = format!("documents of kind {kind} have no status to show");
            let instead = match kind {
                Kind::Stack => "`kiln status` shows the Stack as a whole",
                Kind::Approval => "`kiln plan` shows what waits for an approval",
                Kind::Target | Kind::Volume | Kind::Snapshot | Kind::Export | Kind::Backend => {
                    "`kiln check` validates them"
                }
            };
            Err(Failure::new(Exit::Usage, message)
                .hint(format!("{instead}; `kiln get` lists volumes, snapshots, exports and backends")))
        }
    }
}

/// Asks for objects: the daemon that follows these manifests, or else the backends, which `kept` holds.
///
/// # Errors
/// Those of [`Context::overview`].
pub(crate) fn ask<'a>(
    context: &Context,
    specs: &Path,
    question: &ObjectsQuestion,
    kept: &'a mut Option<(Arc<Reading>, Overview)>,
) -> Result<(ObjectsAnswer<'a>, Exit), Failure> {
    let ObjectsQuestion { selection, labels, details } = question;
    let details = details.map(|details| format!("&details={details}")).unwrap_or_default();
    let (what, labels) = (in_url(&selection.to_string()), in_url(&labels.to_string()));
    let path = format!("/v1/objects?what={what}&labels={labels}{details}");
    let (mut answer, standing) = match context.ask::<ObjectsAnswer<'static>>(specs, &path)? {
        Some(answered) => answered,
        None => {
            let (reading, overview) = &*kept.insert(context.overview(specs)?);
            (objects(overview, reading, question), Exit::Done)
        }
    };
    let commands = context.terminal.commands();
    for object in &mut answer.objects {
        let id = ObjectId::new(object.kind, &object.metadata.name);
        if let Some(fix) = &mut object.status.fix {
            *fix = commands.complete_for(&id, fix).into();
        }
    }
    Ok((answer, standing))
}

/// Encodes a value of a query.
fn in_url(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'*' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Whether a shown object could not be observed: for named objects their backends count, else all backends.
pub(crate) fn is_in_doubt(answer: &ObjectsAnswer<'_>, selection: &ObjectSelection) -> bool {
    let ObjectsAnswer { objects, unobserved, .. } = answer;
    let is_on = |backend: &Name| objects.iter().any(|object| object.status.backend.as_deref() == Some(backend));
    unobserved.iter().any(|unobserved| !selection.is_exact() || is_on(&unobserved.backend))
}
