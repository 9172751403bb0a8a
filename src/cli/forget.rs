//! `kiln forget`: gives up what is lost, or accepts a backend as it is now.

use super::args::ForgetArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::person::person;
use crate::engine::Operation;
use crate::model::Kind;

pub(crate) fn forget(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    let what = &args.what;
    if !matches!(what.kind, Kind::Volume | Kind::Snapshot | Kind::Backend) {
        let message = format!("{what}: only what is on a backend, and backends, are remembered");
        return Err(Failure::new(Exit::Usage, message).hint("what can be forgotten: volume, snapshot, backend"));
    }
    let act = match what.kind {
        Kind::Backend => Operation::ForgetBackend(what.name.clone(), person()),
        _ => Operation::ForgetObject(what.clone(), person()),
    };
    context.act_and_say(&args.specs.specs, act)
}
