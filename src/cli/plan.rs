//! `kiln plan`: shows what apply would do; changes nothing.

use std::sync::Arc;

use super::args::PlanArgs;
use super::context::{Context, problem_views};
use super::exit::Exit;
use super::failure::Failure;
use crate::plan::{Plan, PlanView, render};

pub(crate) fn plan(context: &Context, args: &PlanArgs) -> Result<Exit, Failure> {
    let loaded = context.read_specs(&args.specs.specs)?;
    if !loaded.problems.is_empty() {
        if args.output.is_json() {
            context.terminal.out(&PlanView::invalid(problem_views(&loaded.problems)).to_json());
        }
        return Err(context.show_problems(&loaded.problems));
    }
    let specs = Arc::new(loaded.specs);
    let plan = context.survey(&specs)?.plan;
    let view = PlanView::new(&plan, &specs);
    let shown = if args.output.is_json() { view.to_json() } else { render(&view, context.terminal.paint) };
    context.terminal.out(&shown);
    let changes = Exit::Changes.when(args.detailed_exitcode && !plan.steps.is_empty());
    Ok(Exit::combine([standing(&plan, args.allow_held), changes]))
}

/// What a plan says of the world, steps apart: not observed, or held.
pub(crate) fn standing(plan: &Plan, allow_held: bool) -> Exit {
    Exit::combine([
        Exit::Unobserved.when(!plan.unobserved.is_empty()),
        Exit::Held.when(!plan.held.is_empty() && !allow_held),
    ])
}
