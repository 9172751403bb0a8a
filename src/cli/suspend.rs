//! `kiln suspend` and `kiln resume`: hold every step on an object, and end that.

use super::args::{ResumeArgs, SuspendArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::objects;
use crate::engine::Operation;

pub(crate) fn suspend(context: &Context, args: SuspendArgs) -> Result<Exit, Failure> {
    let SuspendArgs { what, reason, length, specs } = args;
    let operation = |object| Operation::Suspend { object, reason: reason.clone(), length };
    if what.is_empty() {
        return context.operate_and_print(&specs.specs, operation(None));
    }
    let objects = objects::declared(context, &specs.specs, &what)?;
    let exit =
        context.operate_on_each(&specs.specs, objects.into_iter().map(|object| operation(Some(object))).collect())?;
    if !objects::selection(&what)?.is_exact() {
        context.terminal.note(
            "only declared objects match: name all others in full, such as those that wait for removal, or suspend everything: \
             `kiln suspend --reason TEXT`",
        );
    }
    Ok(exit)
}

pub(crate) fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, Failure> {
    let specs = &args.specs.specs;
    if args.what.is_empty() {
        return context.operate_and_print(specs, Operation::Resume(None));
    }
    // Most objects of a kind, or of a pattern, are not suspended.
    if !objects::selection(&args.what)?.is_exact() {
        let message = format!("{:?} does not name each object in full", args.what.join(" "));
        return Err(Failure::new(Exit::Usage, message).hint("`kiln status` lists the suspensions"));
    }
    let objects = objects::declared(context, specs, &args.what)?;
    context.operate_on_each(specs, objects.into_iter().map(|object| Operation::Resume(Some(object))).collect())
}
