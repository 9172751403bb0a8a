//! `kiln describe`: shows one object: spec, observed state, condition, recent history.

use serde::Serialize;

use super::args::{DescribeArgs, DescribeFormat};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::get::{ask, is_in_doubt, must_be_shown};
use crate::model::ObjectId;
use crate::report::{JournalLine, ObjectStatus, ObjectsAnswer, ObjectsQuestion, described};

/// The number of journal entries shown; `kiln log` shows all.
const HISTORY: usize = 10;

#[derive(Serialize)]
struct Described<'a> {
    /// Several only if one name has several objects, of which at most one is not in the trash.
    objects: Vec<ObjectStatus<'a>>,
    /// Journal entries, oldest first.
    history: Vec<JournalLine>,
}

pub(crate) fn describe(context: &Context, args: &DescribeArgs) -> Result<Exit, Failure> {
    let ObjectId { kind, name } = &args.what;
    must_be_shown(*kind)?;
    let question = ObjectsQuestion { kind: Some(*kind), name: Some(name.clone()), history: HISTORY };
    let mut kept = None;
    let (answer, standing) = ask(context, &args.specs.specs, &question, &mut kept)?;
    let exit = Exit::combine([standing, Exit::Unobserved.when(is_in_doubt(&answer, true))]);
    let ObjectsAnswer { objects, history, .. } = answer;
    let history: Vec<JournalLine> = history.iter().map(JournalLine::new).collect();
    match args.format {
        DescribeFormat::Text => {}
        DescribeFormat::Json => {
            context.json(&Described { objects, history });
            return Ok(exit);
        }
        DescribeFormat::Yaml => {
            context.yaml(&Described { objects, history });
            return Ok(exit);
        }
    }
    context.terminal.out(&described(&objects, &history, context.terminal.paint));
    Ok(exit)
}
