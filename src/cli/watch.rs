//! `kiln watch`: the daemon.

use std::path::Path;
use std::sync::Arc;

use super::args::WatchArgs;
use super::client::Holder;
use super::config;
use super::context::{BuiltIn, Context, block_on_two};
use super::exit::Exit;
use super::failure::Failure;
use crate::daemon::{self, DaemonConfig, DaemonError, Listen, ListenError};
use crate::engine::SystemClock;
use crate::report::Commands;

pub(crate) fn watch(context: &Context, args: &WatchArgs) -> Result<Exit, Failure> {
    let specs = args.specs.clone();
    if specs.as_os_str() == "-" {
        return Err(Failure::new(Exit::Usage, "standard input cannot be watched").hint("name a directory, or a file"));
    }
    // What is wrong with it now is said now, and ends the command.
    context.allowed()?;
    let listen = args.listen.map(|address| {
        Listen::new(address, args.tls_cert.clone(), args.tls_key.clone(), args.token_file.clone())
            .map(Arc::new)
            .map_err(|error| listen_failure(Exit::Usage, error))
    });
    let listen = listen.transpose()?;
    if let Holder::Daemon(other) = context.holder()? {
        let message =
            format!("the daemon {} has the store, and follows {}", other.view.pid, other.view.specs.display());
        return Err(Failure::new(Exit::Store, message).hint("one is enough; or give another store with --state DIR"));
    }
    let store = context.open_store()?;
    let named = context.config().map(Path::to_owned);
    let config = DaemonConfig {
        specs,
        state: context.state().to_owned(),
        allowed: Box::new(move || config::read(named.as_deref()).map_err(|failure| failure.message)),
        store,
        connect: Arc::new(BuiltIn),
        clock: Arc::new(SystemClock),
        listen,
        commands: everywhere(context.terminal.commands(), args, context.state()),
    };
    match block_on_two(daemon::watch(config))? {
        Ok(()) => Ok(Exit::Done),
        Err(DaemonError::Store(error)) => Err(error.into()),
        Err(DaemonError::Start(message)) => Err(Failure::new(Exit::Failed, message)),
        Err(DaemonError::Listen(error)) => Err(listen_failure(Exit::Failed, error)),
    }
}

/// The commands of the daemon's log: they are pasted where the working directory is another.
fn everywhere(commands: Commands, args: &WatchArgs, state: &Path) -> Commands {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    Commands {
        specs: Some(absolute(&args.specs)),
        state: Some(absolute(state)),
        config: commands.config.as_deref().map(|config| absolute(Path::new(config))),
        ..commands
    }
}

fn listen_failure(exit: Exit, ListenError { message, fix }: ListenError) -> Failure {
    Failure::new(exit, message).hint(fix)
}
