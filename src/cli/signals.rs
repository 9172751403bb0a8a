//! Ctrl-C: the first finishes the running steps, the second stops at once (which is just another crash: safe).

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::terminal::Terminal;

/// Waits for signals for as long as the event loop runs. `running` tells how many steps there are to finish.
///
/// # Errors
/// Whatever keeps the host from handing out signals; then they end the process as if nobody waited for them.
pub(crate) fn listen(
    terminal: Terminal,
    stop: CancellationToken,
    running: Arc<dyn Fn() -> usize + Send + Sync>,
) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                at_once();
            }
            stop.cancel();
            let steps = crate::plan::counted(running(), "running step");
            terminal.note(&format!("finishing {steps}; press Ctrl-C again to stop at once"));
        }
    });
    Ok(())
}

#[expect(clippy::exit, reason = "a person asked twice; every instant is one at which Kiln may be killed")]
fn at_once() -> ! {
    std::process::exit(i32::from(Exit::Failed.code()))
}
