//! `kiln forget`: gives up a lost object, or accepts a backend as it is now.

use super::args::ForgetArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::in_full;
use super::person::person;
use crate::engine::Operation;
use crate::model::Kind;

pub(crate) fn forget(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    let specs = &args.specs.specs;
    let what = in_full::one(context, specs, &args.what, |_| true, |name| format!("kiln forget {name}"))?;
    let operation = match what.kind {
        Kind::Backend => Operation::ForgetBackend(what.name, person()),
        Kind::Volume | Kind::Snapshot => Operation::ForgetObject(what, person()),
        Kind::Stack | Kind::Target | Kind::Export | Kind::Approval => {
            let message = format!("{what}: Kiln records only volumes, snapshots and backends");
            return Err(Failure::new(Exit::Usage, message).hint("name a volume, a snapshot or a backend"));
        }
    };
    context.operate_and_print(specs, operation)
}
