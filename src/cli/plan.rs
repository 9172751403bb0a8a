//! `kiln plan`: shows the plan; changes nothing.

use std::sync::Arc;

use super::annotations;
use super::args::{Annotations, PlanArgs, PlanFormat};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::saved;
use crate::daemon::protocol::{Answer, PlanAnswer};
use crate::model::Reading;
use crate::plan::{Overview, Plan, Saved};
use crate::report::{PlanView, markdown, render};
use crate::text::quoted;

pub(crate) fn plan(context: &Context, args: &PlanArgs) -> Result<Exit, Failure> {
    if let Some(Saved { reading, plan, .. }) = saved::read(&args.specs.specs)? {
        return show_saved(context, args, &reading, &plan);
    }
    // The daemon that follows these manifests has the store, and plans.
    let (mut loaded, store) = match context.daemon_of(&args.specs.specs)? {
        Some(_) => (context.read_specs(&args.specs.specs)?, None),
        None => {
            let (loaded, store) = context.read_specs_and_store(&args.specs.specs)?;
            (loaded, Some(store))
        }
    };
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
        return Err(context.show_problems(&loaded.problems));
    }
    // The manifests are needed only to save the plan with them.
    let question = format!("/v1/plan?reading={}", args.out.is_some());
    let answer: Option<Answer<PlanAnswer<'static>>> = match is_pruned {
        true => None,
        false => context.ask_quietly(&args.specs.specs, &question)?,
    };
    let (plan, reading) = match answer {
        Some(Answer { answer: PlanAnswer { plan, reading }, .. }) => {
            (plan.into_owned(), reading.unwrap_or_else(|| Arc::new(loaded.reading)))
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
    let exit = show(context, args, &reading, &plan);
    match &args.out {
        Some(path) => {
            saved::save(path, &Saved::new(Arc::unwrap_or_clone(reading), plan))?;
            let path = quoted(&path.display().to_string());
            context.terminal.note(&format!("saved: `kiln apply {path}` executes exactly this plan, or refuses"));
        }
        None => std::mem::forget(reading),
    }
    Ok(exit)
}

/// Shows a saved plan as it was saved. Nothing is observed.
fn show_saved(context: &Context, args: &PlanArgs, reading: &Reading, plan: &Plan) -> Result<Exit, Failure> {
    if args.out.is_some() {
        let message = format!("{} is already a saved plan", args.specs.specs.display());
        return Err(Failure::new(Exit::Usage, message).hint("copy the file, or plan again from its specs"));
    }
    context.terminal.is_about_saved(reading);
    context.terminal.note("this is the plan as it was saved; nothing was observed now");
    Ok(show(context, args, reading, plan))
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
