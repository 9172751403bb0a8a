//! `kiln adopt`: takes over the objects of another owner.

use super::args::AdoptArgs;
use super::context::{Context, block_on};
use super::exit::Exit;
use super::failure::Failure;
use crate::engine;

pub(crate) fn adopt(context: &Context, args: &AdoptArgs) -> Result<Exit, Failure> {
    let setup = context.writing(context.good_specs(&args.specs.specs)?)?;
    let (backend, from) = (args.backend.clone(), args.from_owner.clone());
    let said = block_on(async move { engine::adopt_owner(&setup, &backend, &from).await })??;
    if said.is_empty() {
        context.terminal.line(&format!("Nothing of {} is on {}.", args.from_owner, args.backend));
    }
    context.say(&said);
    Ok(Exit::Done)
}
