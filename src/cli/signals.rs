//! Ctrl-C: the first finishes the running steps, the second stops at once (which is just another crash: safe).

use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;

/// Waits for signals for as long as the process runs, on a thread of its own: the second Ctrl-C stops at once whatever the
/// others wait for, be it a terminal that takes no more text. When it returns, signals are caught. `announce` says what the
/// first one does.
///
/// # Errors
/// Whatever keeps the host from handing out signals; then they end the process as if nobody waited for them.
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
        // Beside this thread, for the same reason.
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
