//! `kiln plan`: shows what apply would do; changes nothing.

use std::sync::Arc;

use super::annotations;
use super::args::{Annotations, PlanArgs, PlanFormat};
use super::context::{Context, Told};
use super::exit::Exit;
use super::failure::Failure;
use super::saved;
use crate::daemon::protocol::PlanAnswer;
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
            let (loaded, store) = context.read_specs_and_look(&args.specs.specs)?;
            (loaded, Some(store))
        }
    };
    if args.prune {
        loaded.reading.coverage.prune();
    }
    // The daemon that follows a file plans without.
    let is_pruned = args.prune && loaded.reading.coverage.is_pruned();
    if !loaded.problems.is_empty() {
        if let Some(Annotations::Github) = args.annotations {
            annotations::problems(&context.terminal, &loaded.problems);
        }
        let view = PlanView::invalid(crate::manifest::problem_views(&loaded.problems));
        match args.format {
            // The problems themselves, on standard error, say all of it.
            PlanFormat::Text => {}
            PlanFormat::Json => context.terminal.out(&view.to_json()),
            PlanFormat::Markdown => context.terminal.out(&markdown(&view)),
        }
        return Err(context.show_problems(&loaded.problems));
    }
    // Its manifests are needed only to save the plan with them.
    let question = format!("/v1/plan?reading={}", args.out.is_some());
    let answer: Option<(PlanAnswer<'static>, _)> = match is_pruned {
        true => None,
        false => context.ask(&args.specs.specs, &question, Told::Already)?,
    };
    let (plan, reading) = match answer {
        Some((PlanAnswer { plan, reading }, _)) => {
            (plan.into_owned(), reading.unwrap_or_else(|| Arc::new(loaded.reading)))
        }
        None => {
            let reading = Arc::new(loaded.reading);
            let store = store.map_or_else(|| context.begin_look(), Ok)?;
            let Overview { plan, world, records, .. } = context.survey_of(&reading, store)?;
            // The process is about to end: taking apart what was seen would take as long as planning from it.
            std::mem::forget((world, records));
            (plan, reading)
        }
    };
    let exit = show(context, args, &reading, &plan);
    match &args.out {
        Some(path) => {
            saved::save(path, &Saved::new(Arc::unwrap_or_clone(reading), plan))?;
            let path = quoted(&path.display().to_string());
            context.terminal.note(&format!("saved: `kiln apply {path}` does exactly this, or refuses"));
        }
        None => std::mem::forget(reading),
    }
    Ok(exit)
}

/// A saved plan as it was: what `kiln apply FILE` would do, or refuse. Nothing is looked at.
fn show_saved(context: &Context, args: &PlanArgs, reading: &Reading, plan: &Plan) -> Result<Exit, Failure> {
    if args.out.is_some() {
        let message = format!("{} is a saved plan already", args.specs.specs.display());
        return Err(Failure::new(Exit::Usage, message).hint("copy the file, or plan anew from its specs"));
    }
    context.terminal.is_about_saved(reading);
    context.terminal.note("this is a saved plan as it was; nothing was looked at now");
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

/// What a plan says of the world, steps apart: not observed, or held.
pub(crate) fn standing(plan: &Plan, allow_held: bool) -> Exit {
    Exit::combine([
        Exit::Unobserved.when(!plan.unobserved.is_empty()),
        Exit::Held.when(!plan.held.is_empty() && !allow_held),
    ])
}
