//! `kiln log`: shows executed steps: when, for which revision, with which outcome.

use super::args::LogArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::objects;
use crate::model::{Identity, ObjectId, Owner};
use crate::report::{JournalLine, journal_table};
use crate::text::{did_you_mean, differ_in_number};

pub(crate) fn log(context: &Context, args: &LogArgs) -> Result<Exit, Failure> {
    let owner = args.specs.as_ref().map(|specs| context.owner(specs)).transpose()?;
    let what = if args.what.is_empty() { None } else { Some(object(context, owner.as_ref(), &args.what)?) };
    let entries = context.journal(owner.as_ref(), what.as_ref(), args.lines)?;
    let lines: Vec<JournalLine> = entries.iter().map(JournalLine::new).collect();
    if args.output.is_json() {
        context.json(&lines);
        if let (Some(what), true) = (&what, lines.is_empty()) {
            context.terminal.note(&nothing_on(context, owner.as_ref(), what)?);
        }
    } else if lines.is_empty() {
        context.terminal.line(&match &what {
            None => "No steps recorded.".to_owned(),
            Some(what) => nothing_on(context, owner.as_ref(), what)?,
        });
    } else {
        context.terminal.out(&journal_table(&lines, what.is_some(), context.terminal.paint));
    }
    Ok(Exit::Done)
}

/// Says that the journal has nothing on an object, and whether the store knows it at all.
fn nothing_on(context: &Context, owner: Option<&Owner>, what: &ObjectId) -> Result<String, Failure> {
    let records = context.open_store_quietly()?.map(|opened| opened.store.records()).transpose()?;
    let is_it = |identity: &Identity| identity.kind == what.kind && identity.name == what.name;
    if records.is_some_and(|records| records.objects.values().any(|record| is_it(&record.identity))) {
        return Ok(format!("No steps recorded on {what}."));
    }
    let entries = context.journal(owner, None, usize::MAX)?;
    let known = entries.iter().filter(|entry| entry.kind == what.kind).map(|entry| entry.name.as_str());
    let known = known.filter(|name| !differ_in_number(what.name.as_str(), name));
    Ok(match did_you_mean(what.name.as_str(), known) {
        meant if meant.is_empty() => {
            format!("No steps recorded on {what}, and the store does not know it; `kiln get` lists what there is.")
        }
        meant => format!("No steps recorded on {what}{meant}"),
    })
}

/// Returns the object that arguments name: in full, or by a name that only one object of the journal has.
///
/// # Errors
/// Exit code 2 for anything else; those of [`Context::journal`].
fn object(context: &Context, owner: Option<&Owner>, words: &[String]) -> Result<ObjectId, Failure> {
    let selection = objects::selection(words)?;
    if !selection.is_exact() || selection.ids().is_some() {
        return objects::one(words);
    }
    let entries = context.journal(owner, None, usize::MAX)?;
    let known = entries.iter().map(|entry| (entry.kind, &entry.name));
    objects::only(objects::chosen(
        &selection,
        known,
        "the journal has no step on it",
        "`kiln log` shows the steps on all objects",
    )?)
}
