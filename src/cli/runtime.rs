//! The event loops that commands run on.

use super::exit::Exit;
use super::failure::Failure;

/// Runs a future on this thread; blocking calls run on others.
///
/// # Errors
/// Exit code 1 if the host provides no event loop (for example, if it is out of file descriptors).
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    run_on(tokio::runtime::Builder::new_current_thread(), future)
}

/// Runs a daemon's future on two threads, so that clients are answered while it plans.
///
/// # Errors
/// As [`block_on`].
pub(crate) fn block_on_two<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    run_on(builder, future)
}

fn run_on<T>(mut builder: tokio::runtime::Builder, future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot create an event loop: {error}")))?;
    let output = runtime.block_on(future);
    // Does not wait for threads that block on stdin or on a backend that hangs.
    runtime.shutdown_background();
    Ok(output)
}
