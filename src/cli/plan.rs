//! `kiln plan`: shows the plan; changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::annotations;
use super::args::{Annotations, PlanArgs, PlanFormat, Selection};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::no_specs;
use super::objects;
use super::saved;
use crate::daemon::protocol::{Answer, PlanAnswer};
use crate::model::{ApprovalSet, ObjectId, Reading, Specs};
use crate::plan::{Overview, Plan, Saved, select};
use crate::report::{PlanView, markdown, render};
use crate::text::{counted, quoted};

pub(crate) fn plan(context: &Context, args: &PlanArgs) -> Result<Exit, Failure> {
    let (source, only) = split(context, &args.selection, "plan")?;
    if args.out.is_some() && !only.is_empty() {
        let message = "a saved plan is complete: --out takes no KIND/NAME";
        return Err(Failure::new(Exit::Usage, message).hint("select when you apply it: `kiln apply FILE KIND/NAME`"));
    }
    if let Some(Saved { reading, plan, .. }) = saved::read(&source)? {
        return show_saved(context, args, &reading, plan, &only);
    }
    // The daemon that follows these manifests has the store, and plans.
    let (mut loaded, store) = match context.daemon_of(&source)? {
        Some(_) => (context.read_specs(&source)?, None),
        None => {
            let (loaded, store) = context.read_specs_and_store(&source)?;
            (loaded, Some(store))
        }
    };
    no_specs::explain(context, &args.selection, "plan", &mut loaded);
    if args.prune {
        loaded.reading.coverage.prune();
    }
    // A daemon that follows a file plans without `--prune`.
    let is_pruned = args.prune && loaded.reading.coverage.is_pruned();
    if !loaded.problems.is_empty() {
        if let Some(Annotations::Github) = args.annotations {
            annotations::problems(&context.terminal, &loaded.problems);
        }
        let view = PlanView::invalid(crate::manifest::problem_views(&loaded.problems));
        match args.format {
            // The problems were printed to stderr.
            PlanFormat::Text => {}
            PlanFormat::Json => context.terminal.out(&view.to_json()),
            PlanFormat::Markdown => context.terminal.out(&markdown(&view)),
        }
        return Err(context.refused(&loaded.problems));
    }
    // The manifests are needed only to save the plan with them.
    let question = format!("/v1/plan?reading={}", args.out.is_some());
    let answer: Option<Answer<PlanAnswer<'static>>> = match is_pruned {
        true => None,
        false => context.ask_quietly(&source, &question)?,
    };
    let (plan, reading) = match answer {
        Some(Answer { answer: PlanAnswer { plan, reading }, .. }) => {
            let reading = match reading {
                Some(mut reading) => {
                    Arc::make_mut(&mut reading).specs_mut().write_sizes(&loaded.reading.specs.written_sizes());
                    reading
                }
                None => Arc::new(loaded.reading),
            };
            (plan.into_owned(), reading)
        }
        None => {
            let reading = Arc::new(loaded.reading);
            let store = store.map_or_else(|| context.begin_opening_store(), Ok)?;
            let Overview { plan, world, records, .. } = context.overview_of(&reading, store)?;
            // The process is about to end: freeing the overview would take as long as planning from it.
            std::mem::forget((world, records));
            (plan, reading)
        }
    };
    let plan = selected(context, plan, &only, &reading.specs)?;
    let exit = show(context, args, &reading, &plan);
    match &args.out {
        Some(path) => {
            let waiting = plan.awaiting.clone();
            saved::save(path, &Saved::new(Arc::unwrap_or_clone(reading), plan))?;
            let path = quoted(&path.display().to_string());
            let mut note = format!("saved: `kiln apply {path}` executes exactly this plan, or refuses");
            if let Some(ApprovalSet { digest, set }) = waiting {
                let (count, wait) = (counted(set.len(), "step"), if set.len() == 1 { "waits" } else { "wait" });
                note += &format!("; {count} {wait} for an approval: `kiln apply {path} --approve {digest}` gives it");
            }
            context.terminal.note(&note);
        }
        None => std::mem::forget(reading),
    }
    Ok(exit)
}

/// Shows a saved plan as it was saved. Nothing is observed.
fn show_saved(
    context: &Context,
    args: &PlanArgs,
    reading: &Reading,
    plan: Plan,
    only: &BTreeSet<ObjectId>,
) -> Result<Exit, Failure> {
    if args.out.is_some() {
        let message = format!("{} is already a saved plan", args.selection.path().display());
        return Err(Failure::new(Exit::Usage, message).hint("copy the file, or plan again from its specs"));
    }
    context.terminal.is_about_saved(reading);
    context.terminal.note("this is the plan as it was saved; nothing was observed now");
    let plan = selected(context, plan, only, &reading.specs)?;
    Ok(show(context, args, reading, &plan))
}

/// Splits the arguments of `plan` or `apply` into SPECS and the selected objects.
///
/// # Errors
/// Exit code 2 if an argument is neither.
pub(crate) fn split(
    context: &Context,
    selection: &Selection,
    command: &str,
) -> Result<(PathBuf, BTreeSet<ObjectId>), Failure> {
    selection.split().map_err(|message| {
        let hint = match no_specs::in_full(context, selection) {
            Some(objects) => format!("write `kiln {command} {objects}`"),
            None => format!("write `kiln {command} [SPECS|PLAN-FILE] [KIND/NAME …]`"),
        };
        Failure::new(Exit::Usage, message).hint(hint)
    })
}

/// Returns the part of a plan that is about the selected objects, and prints what was left out. None selected: the whole plan.
fn selected(context: &Context, whole: Plan, only: &BTreeSet<ObjectId>, specs: &Specs) -> Result<Plan, Failure> {
    if only.is_empty() {
        return Ok(whole);
    }
    let part = select(&whole, only, specs);
    if let [object, ..] = part.unknown(specs).as_slice() {
        return Err(unknown(object, specs));
    }
    if let Some(text) = left_out((part.other_steps, part.other_held)) {
        context.terminal.note(&text);
    }
    Ok(part.plan)
}

/// Returns the failure for a selected object that is neither declared nor in the plan.
pub(crate) fn unknown(object: &ObjectId, specs: &Specs) -> Failure {
    let message = objects::unmatched(object, specs, "it is neither declared nor in the plan");
    Failure::new(Exit::Usage, message).hint("nothing was changed; `kiln plan` shows the whole plan")
}

/// Returns what was not selected, in one line. The parts: steps and holds.
pub(crate) fn left_out((steps, held): (usize, usize)) -> Option<String> {
    let steps = (steps > 0).then(|| match steps {
        1 => "1 other step was not selected".to_owned(),
        _ => format!("{steps} other steps were not selected"),
    });
    let held = (held > 0).then(|| match held {
        1 => "1 other object is held".to_owned(),
        _ => format!("{held} other objects are held"),
    });
    let parts: Vec<String> = [steps, held].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{}: `kiln plan` shows all", parts.join("; ")))
}

fn show(context: &Context, args: &PlanArgs, reading: &Reading, plan: &Plan) -> Exit {
    let view = PlanView::new(plan, &reading.specs, &context.terminal.commands());
    context.terminal.out(&match args.format {
        PlanFormat::Text => render(&view, context.terminal.paint),
        PlanFormat::Json => view.to_json(),
        PlanFormat::Markdown => markdown(&view),
    });
    if let Some(Annotations::Github) = args.annotations {
        annotations::plan(&context.terminal, plan, reading);
    }
    let changes = Exit::Changes.when(args.detailed_exitcode && !plan.steps.is_empty());
    Exit::combine([standing(plan, args.allow_held), changes])
}

/// Returns the exit code for unobserved backends and holds of a plan.
pub(crate) fn standing(plan: &Plan, allow_held: bool) -> Exit {
    Exit::combine([
        Exit::Unobserved.when(!plan.unobserved.is_empty()),
        Exit::Held.when(!plan.held.is_empty() && !allow_held),
    ])
}
