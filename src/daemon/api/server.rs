//! The control socket: a Unix socket in the state directory that only this user can open.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio_util::task::TaskTracker;

use super::super::reconciler::Reconciler;
use super::connections::Connections;
use super::control;
use super::protocol::SOCKET;

/// How often the daemon checks that its socket is still at its path.
const CHECK: Duration = Duration::from_secs(1);
/// How long the end of the daemon waits for answers that are being sent.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// A listener that accepts connections until [`Server::end`].
pub(in crate::daemon) struct Server {
    /// Removed at the end, if the file at its path is still this socket.
    socket: Option<Arc<Mutex<Socket>>>,
    tasks: TaskTracker,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(in crate::daemon) fn new(tasks: TaskTracker, accepting: tokio::task::JoinHandle<()>) -> Self {
        Self { socket: None, tasks, accepting }
    }

    /// Accepts no more connections, and waits for answers that are being sent.
    pub(in crate::daemon) async fn end(self) {
        self.accepting.abort();
        if let Some(socket) = &self.socket {
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            if socket.is_there() {
                let _ = fs::remove_file(&socket.path);
            }
        }
        self.tasks.close();
        let _ = tokio::time::timeout(LAST_ANSWERS, self.tasks.wait()).await;
    }
}

/// Serves the control socket.
///
/// # Errors
/// Why the socket cannot be created.
pub(in crate::daemon) fn serve(reconciler: Arc<Reconciler>) -> Result<Server, String> {
    let state = reconciler.config.state.clone();
    let cannot = |error| format!("cannot create the control socket in {}: {error}", state.display());
    let mut listener = bind(&state).map_err(cannot)?;
    let socket = Arc::new(Mutex::new(Socket::at(state.join(SOCKET)).map_err(cannot)?));
    let tasks = TaskTracker::new();
    let connections = Connections::new(&tasks);
    let router = control::routes(Arc::clone(&reconciler));
    let ours = Arc::clone(&socket);
    let accepting = tokio::spawn(async move {
        let mut check = tokio::time::interval(CHECK);
        let mut missing = 0;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => connections.serve(std::future::ready(Ok(stream)), router.clone()).await,
                    Err(error) => connections.accept_failed(&error).await,
                },
                _ = check.tick() => {
                    missing = if ours.lock().unwrap_or_else(PoisonError::into_inner).is_there() { 0 } else { missing + 1 };
                    // Twice, because a directory that is being removed loses the store a moment later. Only the process that
                    // holds the store creates its socket.
                    if missing >= 2 && reconciler.check_store().await.is_ok() {
                        let made = bind(&state).and_then(|made| Ok((made, Socket::at(state.join(SOCKET))?)));
                        match made {
                            Ok((made, socket)) => {
                                tracing::warn!("the control socket was removed or replaced; created it again");
                                (listener, *ours.lock().unwrap_or_else(PoisonError::into_inner)) = (made, socket);
                            }
                            Err(error) => tracing::warn!(%error, "cannot create the control socket again"),
                        }
                    }
                }
            }
        }
    });
    Ok(Server { socket: Some(socket), ..Server::new(tasks, accepting) })
}

/// The control socket as a file.
struct Socket {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl Socket {
    fn at(path: PathBuf) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { file: (metadata.dev(), metadata.ino()), path })
    }

    fn is_there(&self) -> bool {
        Self::at(self.path.clone()).is_ok_and(|now| now.file == self.file)
    }
}

/// Creates the socket, accessible to this user only from the start. It replaces one of an earlier process: the caller holds the store.
fn bind(state: &Path) -> io::Result<UnixListener> {
    let directory = File::open(state)?;
    // The path of a socket has at most 107 bytes; that of a directory may have more.
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let beside = short.join(format!("{SOCKET}.new"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
    fs::rename(&beside, short.join(SOCKET))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::Bench;
    use crate::store;

    /// A daemon with a store and a control socket in a directory.
    async fn serving() -> (Bench, PathBuf, Server) {
        let mut bench = Bench::new().await;
        let state = bench.reconciler.config.state.clone();
        bench.restart(store::open(&state, 1_800_000_000).unwrap().store);
        let server = serve(Arc::clone(&bench.reconciler)).unwrap();
        (bench, state, server)
    }

    /// Long enough for the daemon to notice, several times over.
    async fn waits() {
        for _ in 0..10 {
            tokio::time::sleep(CHECK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_was_removed_is_made_again_by_the_daemon_that_holds_the_store_only() {
        let (_bench, state, server) = serving().await;
        fs::remove_file(state.join(SOCKET)).unwrap();
        waits().await;
        assert!(state.join(SOCKET).exists());
        // Another daemon may have a store and a socket there by now.
        fs::rename(&state, state.with_extension("before")).unwrap();
        fs::create_dir(&state).unwrap();
        waits().await;
        assert!(!state.join(SOCKET).exists());
        server.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_ends_removes_its_own_socket_and_no_other() {
        let (_bench, state, server) = serving().await;
        server.end().await;
        assert!(!state.join(SOCKET).exists());
        let (_bench, state, server) = serving().await;
        fs::rename(state.join(SOCKET), state.join("before")).unwrap();
        fs::write(state.join(SOCKET), "another's").unwrap();
        server.end().await;
        assert!(state.join(SOCKET).exists());
    }
}
