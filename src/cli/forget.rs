//! `kiln forget`: gives up lost objects, or accepts backends as they are now.

use super::args::ForgetArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::in_full;
use super::objects;
use super::person::person;
use crate::engine::Operation;
use crate::model::{Kind, ObjectId};

pub(crate) fn forget(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    let specs = &args.specs.specs;
    let objects = match objects::selection(&args.what)?.ids() {
        Some(several) if several.len() > 1 => several,
        _ => vec![in_full::one(context, specs, &args.what, |_| true, |name| format!("kiln forget {name}"))?],
    };
    let operations = objects.into_iter().map(operation).collect::<Result<_, _>>()?;
    context.operate_on_each(specs, operations)
}

fn operation(what: ObjectId) -> Result<Operation, Failure> {
    match what.kind {
        Kind::Backend => Ok(Operation::ForgetBackend(what.name, person())),
        Kind::Volume | Kind::Snapshot => Ok(Operation::ForgetObject(what, person())),
        Kind::Stack | Kind::Target | Kind::Export | Kind::Approval => {
            let message = format!("{what}: Kiln records only volumes, snapshots and backends");
            Err(Failure::new(Exit::Usage, message).hint("name a volume, a snapshot or a backend"))
        }
    }
}
