//! `kiln get`: what is declared and what is there.

use std::mem::ManuallyDrop;

use super::args::{GetArgs, GetFormat, Selector};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::table::table;
use crate::engine::{Condition, ObjectStatus, Survey, backend_status, status};
use crate::model::{Kind, Size, Specs};

pub(crate) fn get(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    if let Some(what) = &args.what {
        must_be_shown(what.kind)?;
    }
    let (specs, survey) = context.survey(&args.specs.specs)?;
    let mut shown = select(&survey, &specs, args.what.as_ref())?;
    shown.retain(|object| args.labels.iter().all(|(key, value)| object.metadata.labels.get(key) == Some(value)));
    match args.format {
        GetFormat::Json => context.json(&shown),
        GetFormat::Name => shown.iter().for_each(|object| context.terminal.line(&full_name(object))),
        GetFormat::Yaml => context.yaml(&shown),
        GetFormat::Table | GetFormat::Wide if shown.is_empty() => {
            context.terminal.line(match args.labels.is_empty() {
                true => "Nothing is declared, and nothing is there.",
                false => "Nothing has these labels.",
            });
        }
        GetFormat::Table => context.terminal.out(&as_table(context, &shown)),
        GetFormat::Wide => context.terminal.out(&as_wide_table(context, &shown)),
    }
    // The process is about to end: taking all of it apart would take longer than showing it.
    let (survey, shown) = (ManuallyDrop::new(survey), ManuallyDrop::new(shown));
    std::mem::forget(specs);
    let is_one = args.what.as_ref().is_some_and(|what| what.name.is_some());
    Ok(Exit::Unobserved.when(is_in_doubt(&survey, &shown, is_one)))
}

/// `volume/db`.
pub(crate) fn full_name(object: &ObjectStatus) -> String {
    format!("{}/{}", object.kind.as_lower(), object.metadata.name)
}

/// What is selected, with the spec of each.
///
/// # Errors
/// Exit code 2 for a name that is neither declared nor there.
pub(crate) fn select(survey: &Survey, specs: &Specs, what: Option<&Selector>) -> Result<Vec<ObjectStatus>, Failure> {
    let Some(Selector { kind, name }) = what else { return Ok(status(survey, specs)) };
    let mut all = match kind {
        Kind::Backend => backend_status(survey, specs),
        _ => status(survey, specs),
    };
    all.retain(|object| object.kind == *kind && name.as_ref().is_none_or(|n| object.metadata.name == n.as_str()));
    match name {
        Some(name) if all.is_empty() => {
            let message = format!("there is no {}/{name}: it is not declared, and not there", kind.as_lower());
            Err(Failure::new(Exit::Usage, message).hint("`kiln get` lists what there is"))
        }
        _ => Ok(all),
    }
}

/// Whether something shown could not be looked at: of one object its own backend counts, else all of them.
pub(crate) fn is_in_doubt(survey: &Survey, shown: &[ObjectStatus], is_one: bool) -> bool {
    survey.plan.unobserved.iter().any(|unobserved| {
        !is_one || shown.iter().any(|object| object.status.backend.as_deref() == Some(unobserved.backend.as_str()))
    })
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

fn as_table(context: &Context, shown: &[ObjectStatus]) -> String {
    let rows: Vec<[String; 6]> = shown
        .iter()
        .map(|object| {
            let status = &object.status;
            [
                full_name(object),
                status.backend.clone().unwrap_or_else(|| "-".to_owned()),
                status.size.map_or_else(|| "-".to_owned(), |size| Size(size).to_string()),
                status.condition.as_str().to_owned(),
                status.reason.clone(),
                if status.condition == Condition::Settled { String::new() } else { said(object) },
            ]
        })
        .collect();
    table(["NAME", "BACKEND", "SIZE", "CONDITION", "REASON", "MESSAGE"], &rows, context.terminal.paint)
}

fn as_wide_table(context: &Context, shown: &[ObjectStatus]) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 12]> = shown
        .iter()
        .map(|object| {
            let status = &object.status;
            let labels: Vec<String> =
                object.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            [
                full_name(object),
                or_none(status.backend.clone()),
                or_none(status.size.map(|size| Size(size).to_string())),
                or_none(status.used.map(|used| Size(used).to_string())),
                or_none(status.protected.map(|protected| if protected { "yes" } else { "no" }.to_owned())),
                or_none(status.on_remove.map(|on_remove| format!("{on_remove:?}"))),
                or_none(status.uid.clone()),
                or_none(status.object.clone()),
                or_none((!labels.is_empty()).then(|| labels.join(","))),
                status.condition.as_str().to_owned(),
                status.reason.clone(),
                if status.condition == Condition::Settled { String::new() } else { said(object) },
            ]
        })
        .collect();
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
    table(heading, &rows, context.terminal.paint)
}

/// The message; of what cannot be seen, with the time when it was.
fn said(object: &ObjectStatus) -> String {
    let status = &object.status;
    match &status.observed_at {
        Some(at) if status.condition == Condition::Unknown => format!("last seen {at}; {}", status.message),
        _ => status.message.clone(),
    }
}
