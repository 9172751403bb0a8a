//! `kiln forget`: gives up what is lost, or accepts a backend as it is now.

use super::args::ForgetArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::Operation;
use crate::model::Kind;

/// Who runs the command, for the journal: who asked `sudo` for it, if that was used.
#[expect(clippy::disallowed_methods, reason = "no option of Kiln's: who it is, is known from the session alone")]
fn person() -> Option<String> {
    let fit = |name: &String| (1..=64).contains(&name.len()) && !name.contains(char::is_control);
    let named = |variable| std::env::var(variable).ok().filter(fit);
    named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME"))
}

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
