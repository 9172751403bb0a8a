//! Ctrl-C. If a command handles it, the first lets running steps finish and the second stops at once, which is as safe as a crash; else the
//! first ends the command. The lines that change on a terminal are cleared before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::live::LiveLines;

/// Whether [`listen`] handles the signals of this process.
static IS_HANDLED: AtomicBool = AtomicBool::new(false);

/// How long clearing a terminal may take. One that accepts no text must not keep the process from ending.
const CLEARING: Duration = Duration::from_millis(200);

/// Handles signals for the life of the process, on a thread of its own: the second Ctrl-C stops at once even if all others block, for
/// example on a terminal that accepts no text. Signals are caught when it returns. `announce` prints what the first one
/// does, `end` what the second one did.
///
/// # Errors
/// The host provides no signal handler; then signals end the process.
pub(crate) fn listen(
    live: LiveLines,
    stop: CancellationToken,
    announce: impl Fn() + Send + 'static,
    end: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
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
        clear_quickly(move || {
            live.close();
            end();
        });
        at_once()
    })?;
    IS_HANDLED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Calls `clear` before Ctrl-C ends the process, unless [`listen`] handles it. Only the first call has an effect.
pub(crate) fn clear_first(clear: impl Fn() + Send + 'static) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        let interrupt = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())
        };
        // Without a handler or a thread, Ctrl-C ends the process at once, which is the default.
        let Ok(mut interrupt) = interrupt else { return };
        let _ = thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
            while runtime.block_on(interrupt.recv()).is_some() {
                if !IS_HANDLED.load(Ordering::Relaxed) {
                    clear_quickly(clear);
                    return interrupted();
                }
            }
        });
    });
}

/// Clears the terminal on another thread, and waits for it a short time.
fn clear_quickly(clear: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let spawned = thread::Builder::new().name("clear".to_owned()).spawn(move || {
        clear();
        let _ = done.send(());
    });
    if spawned.is_ok() {
        let _ = wait.recv_timeout(CLEARING);
    }
}

/// Ends the process as SIGINT does without a handler: shells end a script only then.
#[expect(unsafe_code, reason = "neither std nor rustix restores the action of a signal")]
fn interrupted() {
    // SAFETY: both calls take plain numbers and touch no memory of ours.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::raise(libc::SIGINT);
    }
}

#[expect(clippy::exit, reason = "a person asked twice; every instant is one at which Kiln may be killed")]
fn at_once() -> ! {
    std::process::exit(i32::from(Exit::Failed.code()))
}
