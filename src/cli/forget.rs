//! `kiln forget`: gives up what is lost, or accepts a backend as it is now.

use super::args::{ForgetArgs, ObjectName};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::Act;
use crate::model::Kind;

pub(crate) fn forget(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    let ObjectName { kind, name } = args.what.clone();
    if !matches!(kind, Kind::Volume | Kind::Snapshot | Kind::Backend) {
        let message = format!("{}/{name}: only what is on a backend, and backends, are remembered", kind.as_lower());
        return Err(Failure::new(Exit::Usage, message).hint("what can be forgotten: volume, snapshot, backend"));
    }
    let act = match kind {
        Kind::Backend => Act::ForgetBackend(name),
        _ => Act::ForgetObject(kind, name),
    };
    context.act_and_say(&args.specs.specs, act)
}
