//! `kiln log`: shows executed steps: when, for which revision, with which outcome.

use super::args::LogArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::objects;
use crate::report::{JournalLine, journal_table};

pub(crate) fn log(context: &Context, args: &LogArgs) -> Result<Exit, Failure> {
    let what = if args.what.is_empty() { None } else { Some(objects::one(&args.what)?) };
    let entries = context.journal(what.as_ref(), args.lines)?;
    let lines: Vec<JournalLine> = entries.iter().map(JournalLine::new).collect();
    if args.output.is_json() {
        context.json(&lines);
    } else if lines.is_empty() {
        context.terminal.line("No steps recorded.");
    } else {
        context.terminal.out(&journal_table(&lines, what.is_some(), context.terminal.paint));
    }
    Ok(Exit::Done)
}
