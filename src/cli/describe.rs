//! `kiln describe`: shows objects in full: spec, observed state, condition, recent history.

use serde::Serialize;

use super::args::{DescribeArgs, DescribeFormat};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::get::{all_exist, ask, is_in_doubt, observable};
use crate::engine::{Clock, SystemClock};
use crate::report::{JournalLine, LabelSelector, ObjectStatus, ObjectsAnswer, ObjectsQuestion, described};

/// The number of journal entries shown about each object; `kiln log` shows all.
const HISTORY: usize = 10;

#[derive(Serialize)]
struct Described<'a> {
    /// The objects. Several have one name only if others are in the trash, or a move is incomplete.
    objects: Vec<ObjectStatus<'a>>,
    /// Journal entries, oldest first.
    history: Vec<JournalLine>,
}

pub(crate) fn describe(context: &Context, args: &DescribeArgs) -> Result<Exit, Failure> {
    let selection = observable(&args.what)?;
    let question = ObjectsQuestion { selection, labels: LabelSelector::default(), details: Some(HISTORY) };
    let mut kept = None;
    let (answer, standing) = ask(context, &args.specs.specs, &question, &mut kept)?;
    if let Some(ambiguous) = answer.ambiguous {
        return Err(Failure::new(Exit::Usage, ambiguous).hint("name one of them as KIND/NAME"));
    }
    let named = all_exist(&answer);
    if answer.objects.is_empty() {
        named?;
        let message = format!("nothing matches {}", args.what.join(" "));
        return Err(Failure::new(Exit::Usage, message).hint("`kiln get` lists all objects"));
    }
    let exit = Exit::combine([standing, Exit::Unobserved.when(is_in_doubt(&answer, &question.selection))]);
    let ObjectsAnswer { objects, history, .. } = answer;
    let history: Vec<JournalLine> = history.iter().map(JournalLine::new).collect();
    match args.format {
        DescribeFormat::Text => {}
        DescribeFormat::Json => {
            context.json(&Described { objects, history });
            return named.map(|()| exit);
        }
        DescribeFormat::Yaml => {
            context.yaml(&Described { objects, history });
            return named.map(|()| exit);
        }
    }
    context.terminal.out(&described(&objects, &history, SystemClock.now(), context.terminal.paint));
    named.map(|()| exit)
}
