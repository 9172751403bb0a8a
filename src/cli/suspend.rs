//! `kiln suspend` and `kiln resume`: hold every step on an object, and end that.

use std::path::Path;
use std::sync::Arc;

use super::args::{ResumeArgs, SuspendArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::objects;
use crate::engine::Operation;
use crate::model::ObjectId;

pub(crate) fn suspend(context: &Context, args: SuspendArgs) -> Result<Exit, Failure> {
    let SuspendArgs { what, reason, length, specs } = args;
    let operation = |object| Operation::Suspend { object, reason: reason.clone(), length };
    if what.is_empty() {
        return context.operate_and_print(&specs.specs, operation(None));
    }
    let exit = each(context, &specs.specs, objects::declared(context, &specs.specs, &what)?, operation)?;
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
    each(context, specs, objects::declared(context, specs, &args.what)?, Operation::Resume)
}

/// Executes an operation for each object, also after one that failed. Reads the manifests once.
///
/// # Errors
/// Those of [`Context::declared_for`].
fn each(
    context: &Context,
    specs: &Path,
    objects: Vec<ObjectId>,
    operation: impl Fn(Option<ObjectId>) -> Operation,
) -> Result<Exit, Failure> {
    let declared = context.declared_for(specs, &operation(None))?;
    let operate = |object| {
        let result = context.operate_on(specs, Arc::clone(&declared), operation(Some(object)));
        result.map(|result| context.print_result(result)).unwrap_or_else(|Failure { exit, message, hint }| {
            context.terminal.error(&message, hint.as_deref());
            exit
        })
    };
    Ok(Exit::combine(objects.into_iter().map(operate)))
}
