//! `kiln suspend` and `kiln resume`: what a person wants left as it is.

use super::args::{ResumeArgs, SuspendArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::Operation;

pub(crate) fn suspend(context: &Context, args: SuspendArgs) -> Result<Exit, Failure> {
    let act = Operation::Suspend { object: args.what, reason: args.reason, length: args.length };
    context.act_and_say(&args.specs.specs, act)
}

pub(crate) fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, Failure> {
    context.act_and_say(&args.specs.specs, Operation::Resume(args.what))
}
