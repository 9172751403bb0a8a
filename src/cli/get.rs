//! `kiln get`: what is declared and what is there.

use std::borrow::Cow;
use std::mem::ManuallyDrop;

use super::args::{GetArgs, GetFormat, Selector};
use super::context::{Context, Looked};
use super::exit::Exit;
use super::failure::Failure;
use crate::model::{Kind, Reading, Size};
use crate::plan::Overview;
use crate::report::{Condition, ObjectStatus, backend_status, status};
use crate::text::table;

pub(crate) fn get(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    if let Some(what) = &args.what {
        must_be_shown(what.kind)?;
    }
    // The process is about to end: taking all of it apart would take longer than showing it.
    let all = ManuallyDrop::new(context.overview(&args.specs.specs)?);
    let Looked { reading, overview, standing } = &*all;
    let mut shown = ManuallyDrop::new(select(context, overview, reading, args.what.as_ref())?);
    shown.retain(|object| args.labels.iter().all(|(key, value)| object.metadata.labels.get(key) == Some(value)));
    match args.format {
        GetFormat::Json => context.json(&*shown),
        GetFormat::Name => shown.iter().for_each(|object| context.terminal.line(&full_name(object))),
        GetFormat::Yaml => context.yaml(&*shown),
        GetFormat::Table | GetFormat::Wide if shown.is_empty() => {
            context.terminal.line(match args.labels.is_empty() {
                true => "Nothing is declared, and nothing is there.",
                false => "Nothing has these labels.",
            });
        }
        GetFormat::Table => context.terminal.out(&as_table(context, &shown)),
        GetFormat::Wide => context.terminal.out(&as_wide_table(context, &shown)),
    }
    let is_one = args.what.as_ref().is_some_and(|what| what.name.is_some());
    Ok(Exit::combine([*standing, Exit::Unobserved.when(is_in_doubt(overview, &shown, is_one))]))
}

/// `volume/db`.
pub(crate) fn full_name(object: &ObjectStatus<'_>) -> String {
    format!("{}/{}", object.kind.as_lower(), object.metadata.name)
}

/// What is selected, with the spec of each.
///
/// # Errors
/// Exit code 2 for a name that is neither declared nor there.
pub(crate) fn select<'a>(
    context: &Context,
    overview: &'a Overview,
    reading: &'a Reading,
    what: Option<&Selector>,
) -> Result<Vec<ObjectStatus<'a>>, Failure> {
    let mut all = match what {
        Some(Selector { kind: Kind::Backend, .. }) => backend_status(overview, reading),
        _ => status(overview, reading),
    };
    let commands = context.terminal.commands();
    for fix in all.iter_mut().filter_map(|object| object.status.fix.as_mut()) {
        *fix = commands.complete(fix).into();
    }
    let Some(Selector { kind, name }) = what else { return Ok(all) };
    all.retain(|object| object.kind == *kind && name.as_ref().is_none_or(|n| object.metadata.name == n));
    match name {
        Some(name) if all.is_empty() => {
            let message = format!("there is no {}/{name}: it is not declared, and not there", kind.as_lower());
            Err(Failure::new(Exit::Usage, message).hint("`kiln get` lists what there is"))
        }
        _ => Ok(all),
    }
}

/// Whether something shown could not be looked at: of one object its own backend counts, else all of them.
pub(crate) fn is_in_doubt(overview: &Overview, shown: &[ObjectStatus<'_>], is_one: bool) -> bool {
    overview
        .plan
        .unobserved
        .iter()
        .any(|unobserved| !is_one || shown.iter().any(|object| object.status.backend == Some(&unobserved.backend)))
}

/// # Errors
/// Exit code 2 for kinds that have no status.
pub(crate) fn must_be_shown(kind: Kind) -> Result<(), Failure> {
    match kind {
        Kind::Volume | Kind::Snapshot | Kind::Export | Kind::Backend => Ok(()),
        Kind::Stack | Kind::Target | Kind::Approval => {
            let message = format!("documents of kind {kind} have no status to show");
            Err(Failure::new(Exit::Usage, message).hint("what can be shown: volume, snapshot, export, backend"))
        }
    }
}

fn as_table(context: &Context, shown: &[ObjectStatus<'_>]) -> String {
    let rows = shown.iter().map(|object| {
        let status = &object.status;
        [
            full_name(object).into(),
            or_none(status.backend.map(|backend| backend.as_str())),
            or_none(status.size.map(|size| Size(size).to_string())),
            status.condition.as_str().into(),
            status.reason.as_str().into(),
            said(object),
        ]
    });
    table(["NAME", "BACKEND", "SIZE", "CONDITION", "REASON", "MESSAGE"], rows, context.terminal.paint)
}

fn as_wide_table(context: &Context, shown: &[ObjectStatus<'_>]) -> String {
    let rows = shown.iter().map(|object| {
        let status = &object.status;
        let labels: Vec<String> = object.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        [
            full_name(object).into(),
            or_none(status.backend.map(|backend| backend.as_str())),
            or_none(status.size.map(|size| Size(size).to_string())),
            or_none(status.used.map(|used| Size(used).to_string())),
            or_none(status.protected.map(|protected| if protected { "yes" } else { "no" })),
            or_none(status.on_remove.map(|on_remove| format!("{on_remove:?}"))),
            or_none(status.uid.map(|uid| uid.to_string())),
            or_none(status.object.map(|object| object.as_str())),
            or_none((!labels.is_empty()).then(|| labels.join(","))),
            status.condition.as_str().into(),
            status.reason.as_str().into(),
            said(object),
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
        "LABELS",
        "CONDITION",
        "REASON",
        "MESSAGE",
    ];
    table(heading, rows, context.terminal.paint)
}

fn or_none<'a>(text: Option<impl Into<Cow<'a, str>>>) -> Cow<'a, str> {
    text.map_or(Cow::Borrowed("-"), Into::into)
}

/// The message, where there is something to say; of what cannot be seen, with the time when it was.
fn said<'a>(object: &'a ObjectStatus<'_>) -> Cow<'a, str> {
    let status = &object.status;
    match (status.condition, status.observed_at) {
        (Condition::Settled, _) => Cow::Borrowed(""),
        (Condition::Unknown, Some(at)) => format!("last seen {at}; {}", status.message).into(),
        _ => Cow::Borrowed(&status.message),
    }
}
