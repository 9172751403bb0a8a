//! `kiln log`: shows executed steps: when, for which revision, with which outcome.

use super::args::LogArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::objects;
use crate::model::{ObjectId, Owner};
use crate::report::{JournalLine, journal_table};
use crate::text::did_you_mean;

pub(crate) fn log(context: &Context, args: &LogArgs) -> Result<Exit, Failure> {
    let owner = args.specs.as_ref().map(|specs| context.owner(specs)).transpose()?;
    let what = if args.what.is_empty() { None } else { Some(object(context, owner.as_ref(), &args.what)?) };
    let entries = context.journal(owner.as_ref(), what.as_ref(), args.lines)?;
    let lines: Vec<JournalLine> = entries.iter().map(JournalLine::new).collect();
    if args.output.is_json() {
        context.json(&lines);
    } else if lines.is_empty() {
        context.terminal.line(&match what {
            None => "No steps recorded.".to_owned(),
            Some(what) => {
                let entries = context.journal(owner.as_ref(), None, usize::MAX)?;
                let known = entries.iter().filter(|entry| entry.kind == what.kind).map(|entry| entry.name.as_str());
                match did_you_mean(what.name.as_str(), known).as_str() {
                    "" => format!("No steps recorded on {what}."),
                    meant => format!("No steps recorded on {what}{meant}"),
                }
            }
        });
    } else {
        context.terminal.out(&journal_table(&lines, what.is_some(), context.terminal.paint));
    }
    Ok(Exit::Done)
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
