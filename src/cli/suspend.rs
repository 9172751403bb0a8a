//! `kiln suspend` and `kiln resume`: hold every step on an object, and end that.

use super::args::{ResumeArgs, SuspendArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::Operation;

pub(crate) fn suspend(context: &Context, args: SuspendArgs) -> Result<Exit, Failure> {
    let operation = Operation::Suspend { object: args.what, reason: args.reason, length: args.length };
    context.operate_and_print(&args.specs.specs, operation)
}

pub(crate) fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, Failure> {
    context.operate_and_print(&args.specs.specs, Operation::Resume(args.what))
}
