//! `kiln check`: validates the manifests; contacts no backend.

use serde::Serialize;

use super::args::{Annotations, CheckArgs};
use super::context::{Context, whole_source};
use super::exit::Exit;
use super::failure::Failure;
use super::{annotations, no_specs};
use crate::model::{ProblemView, Specs};
use crate::text::counted;

/// The `format` of the JSON form.
const FORMAT: &str = "kiln.check/v1";

#[derive(Serialize)]
struct Checked {
    format: &'static str,
    problems: Vec<ProblemView>,
}

pub(crate) fn check(context: &Context, args: &CheckArgs) -> Result<Exit, Failure> {
    let instead = "`kiln check` validates all manifests; one object is planned with `kiln plan";
    no_specs::refuse_objects(&args.specs, "check", instead)?;
    let loaded = context.read_specs(args.specs.path())?;
    if let Some(Annotations::Github) = args.annotations {
        annotations::problems(&context.terminal, &loaded.problems);
    }
    if args.output.is_json() {
        context.json(&Checked { format: FORMAT, problems: crate::manifest::problem_views(&loaded.problems) });
        return Ok(Exit::Invalid.when(!loaded.problems.is_empty()));
    }
    if loaded.problems.is_empty() {
        context.terminal.line(&format!("{}, no problems", counted(documents(&loaded.reading.specs), "document")));
        return Ok(Exit::Done);
    }
    if let Some(failure) = whole_source(&loaded.problems) {
        return Err(failure);
    }
    let mut failure = context.show_problems(&loaded.problems);
    failure.message = format!("the manifests have {}", counted(loaded.problems.len(), "problem"));
    Err(failure)
}

fn documents(specs: &Specs) -> usize {
    let Specs { stack, backends, volumes, snapshots, targets, exports, approvals } = specs;
    usize::from(stack.declared)
        + backends.len()
        + volumes.len()
        + snapshots.len()
        + targets.len()
        + exports.len()
        + approvals.len()
}
