//! `kiln watch`: runs the daemon.

use std::path::Path;
use std::sync::Arc;

use super::args::WatchArgs;
use super::client::Holder;
use super::config;
use super::context::{BuiltIn, Context};
use super::exit::Exit;
use super::failure::Failure;
use super::no_specs;
use super::runtime::block_on_two;
use crate::daemon::{self, DaemonConfig, DaemonError, Listen, ListenError};
use crate::engine::SystemClock;
use crate::report::Commands;

pub(crate) fn watch(context: &Context, args: &WatchArgs) -> Result<Exit, Failure> {
    let instead = "`kiln watch` reconciles every object; one object is reconciled once with `kiln apply";
    no_specs::refuse_objects(&args.specs, "watch", instead)?;
    let specs = args.specs.path().clone();
    if specs.as_os_str() == "-" {
        return Err(Failure::new(Exit::Usage, "stdin cannot be watched").hint("name a directory or a file"));
    }
    // Problems of the manifests end the command now.
    context.allowed()?;
    let listen = args.listen.map(|address| {
        Listen::new(address, args.tls_cert.clone(), args.tls_key.clone(), args.token_file.clone())
            .map(Arc::new)
            .map_err(|error| listen_failure(Exit::Usage, error))
    });
    let listen = listen.transpose()?;
    if let Holder::Daemon(other) = context.holder()? {
        let message = format!(
            "a daemon (process {}) already has the store and follows {}",
            other.view.pid,
            other.view.specs.display()
        );
        return Err(Failure::new(Exit::Store, message).hint("stop that daemon, or use another store: --state DIR"));
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

/// Returns commands with absolute paths, for the daemon's log: they are pasted in another working directory.
fn everywhere(commands: Commands, args: &WatchArgs, state: &Path) -> Commands {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    Commands {
        specs: Some(absolute(args.specs.path())),
        state: Some(absolute(state)),
        config: commands.config.as_deref().map(|config| absolute(Path::new(config))),
        ..commands
    }
}

fn listen_failure(exit: Exit, ListenError { message, fix }: ListenError) -> Failure {
    Failure::new(exit, message).hint(fix)
}
