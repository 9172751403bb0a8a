//! `kiln approve`: a person's yes to what waits under a digest.

use super::args::ApproveArgs;
use super::context::{Context, block_on};
use super::exit::Exit;
use super::failure::Failure;
use crate::engine;

pub(crate) fn approve(context: &Context, args: &ApproveArgs) -> Result<Exit, Failure> {
    let setup = context.writing(context.good_specs(&args.specs.specs)?)?;
    let said = block_on(async { engine::approve(&setup, &args.digest).await })??;
    context.say(&said);
    Ok(Exit::Done)
}
