//! `kiln suspend` and `kiln resume`: what a person wants left as it is.

use super::args::{ObjectName, ResumeArgs, SuspendArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::Act;

pub(crate) fn suspend(context: &Context, args: SuspendArgs) -> Result<Exit, Failure> {
    let object = args.what.map(|ObjectName { kind, name }| (kind, name));
    let act = Act::Suspend { object, reason: args.reason, length: args.length };
    context.act_and_say(&args.specs.specs, act)
}

pub(crate) fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, Failure> {
    let object = args.what.map(|ObjectName { kind, name }| (kind, name));
    context.act_and_say(&args.specs.specs, Act::Resume(object))
}
