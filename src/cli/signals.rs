//! Ctrl-C: the first lets running steps finish, the second stops at once (which is as safe as a crash).

use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;

/// Handles signals for the life of the process, on a thread of its own: the second Ctrl-C stops at once even if all others block, for
/// example on a terminal that accepts no text. Signals are caught when it returns. `announce` prints what the first one
/// does.
///
/// # Errors
/// The host provides no signal handler; then signals end the process.
pub(crate) fn listen(stop: CancellationToken, announce: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut next = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
        };
        next();
        stop.cancel();
        // On another thread, for the same reason.
        let _ = thread::Builder::new().name("announce".to_owned()).spawn(announce);
        next();
        at_once()
    })?;
    Ok(())
}

#[expect(clippy::exit, reason = "a person asked twice; every instant is one at which Kiln may be killed")]
fn at_once() -> ! {
    std::process::exit(i32::from(Exit::Failed.code()))
}
