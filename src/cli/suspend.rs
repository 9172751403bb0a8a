//! `kiln suspend` and `kiln resume`: what a person wants left as it is.

use super::args::{ObjectName, ResumeArgs, SuspendArgs};
use super::context::{Context, block_on};
use super::exit::Exit;
use super::failure::Failure;
use crate::engine;

pub(crate) fn suspend(context: &Context, args: SuspendArgs) -> Result<Exit, Failure> {
    let setup = context.writing(context.good_specs(&args.specs.specs)?)?;
    let object = args.what.map(|ObjectName { kind, name }| (kind, name));
    let said = block_on(async { engine::suspend(&setup, object, &args.reason, args.length).await })??;
    context.say(&said);
    Ok(Exit::Done)
}

pub(crate) fn resume(context: &Context, args: ResumeArgs) -> Result<Exit, Failure> {
    let setup = context.writing(context.good_specs(&args.specs.specs)?)?;
    let object = args.what.map(|ObjectName { kind, name }| (kind, name));
    let said = block_on(async { engine::resume(&setup, object).await })??;
    context.say(&said);
    Ok(Exit::Done)
}
