//! `kiln approve`: approves the set that waits under a digest.

use std::path::Path;

use super::args::ApproveArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::person::person;
use crate::engine::Operation;
use crate::report::{StackStatus, stack_status};

pub(crate) fn approve(context: &Context, args: ApproveArgs) -> Result<Exit, Failure> {
    let specs = &args.specs.specs;
    let Some(digest) = args.digest else { return without_digest(context, specs) };
    context.operate_and_print(specs, Operation::Approve(digest, person())).map_err(|failure| match failure.exit {
        Exit::Held => failure.hint("`kiln plan` shows the approval that waits, with its command"),
        _ => failure,
    })
}

/// Says what waits for an approval.
///
/// # Errors
/// Exit code 2 if a set waits: its digest was not given; those of [`Context::overview`].
fn without_digest(context: &Context, specs: &Path) -> Result<Exit, Failure> {
    let kept;
    let (status, standing) = match context.ask::<StackStatus<'static>>(specs, "/v1/status")? {
        Some(answered) => answered,
        None => {
            kept = context.overview(specs)?;
            (stack_status(&kept.1, &kept.0, false, Vec::new()), Exit::Done)
        }
    };
    if let Some(digest) = &status.approval {
        let message = format!("no approval is named; {digest} waits: {}", status.awaiting_approval.join(", "));
        return Err(Failure::new(Exit::Usage, message)
            .hint(format!("`kiln plan` shows it, `{}` approves it", context.terminal.commands().approve(digest))));
    }
    context.terminal.line("Nothing waits for an approval.");
    for unobserved in status.unobserved.iter() {
        context.terminal.note(&format!("backend/{}: {}", unobserved.backend, unobserved.message));
    }
    Ok(Exit::combine([standing, Exit::Unobserved.when(!status.unobserved.is_empty())]))
}
