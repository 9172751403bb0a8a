//! `kiln approve`: approves the set that waits under a digest.

use super::args::ApproveArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::person::person;
use crate::engine::Operation;

pub(crate) fn approve(context: &Context, args: ApproveArgs) -> Result<Exit, Failure> {
    context.operate_and_print(&args.specs.specs, Operation::Approve(args.digest, person()))
}
