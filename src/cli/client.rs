//! The client of the daemon that has the store, over its control socket.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::exit::Exit;
use super::failure::Failure;
use super::runtime::block_on;
use crate::daemon::protocol::{DaemonView, HEADER, SOCKET, VERSION};

/// How long a daemon may take to answer. A healthy one answers within milliseconds; the host may be busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two attempts to enter a full accept queue.
const QUEUED: Duration = Duration::from_millis(20);

/// A daemon that has answered.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    state: PathBuf,
    /// Its description of itself.
    pub(crate) view: DaemonView,
}

/// What holds the store.
#[derive(Debug, Clone)]
pub(crate) enum Holder {
    /// No daemon.
    None,
    /// This daemon.
    Daemon(Box<Daemon>),
    /// A daemon that does not answer correctly, with the cause in one sentence.
    Mute(String),
    /// Unknown: this user may not read the directory of the store.
    Barred,
}

impl Holder {
    /// Finds the daemon that has the store in `state`. A socket without a server is ignored.
    ///
    /// # Errors
    /// Exit code 1 if the host provides no event loop.
    pub(crate) fn find(state: &Path) -> Result<Self, Failure> {
        match state.join(SOCKET).try_exists() {
            Ok(true) => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Holder::Barred),
            Ok(false) | Err(_) => return Ok(Holder::None),
        }
        block_on(async {
            let stream = match tokio::time::timeout(PATIENCE, connect(state)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => return Holder::Barred,
                Ok(Err(_)) => return Holder::None,
                Err(_) => return Holder::Mute(format!("it accepted no connection for {} s", PATIENCE.as_secs())),
            };
            if let Err(why) = check_peer(state, &stream) {
                return Holder::Mute(why);
            }
            let asked = tokio::time::timeout(PATIENCE, ask(stream, Method::GET, "/v1/daemon", Bytes::new()));
            let view = match asked.await {
                Ok(Ok(response)) => read::<DaemonView>(response).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(format!("it has not answered for {} s", PATIENCE.as_secs())),
            };
            match view {
                Ok(view) => Holder::Daemon(Box::new(Daemon { state: state.to_owned(), view })),
                Err(why) => Holder::Mute(why),
            }
        })
    }
}

impl Daemon {
    /// Sends a GET request and waits for the answer without a limit.
    ///
    /// # Errors
    /// Exit code 7 if the daemon stops or refuses.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        read(response).await.map_err(|why| self.trouble(&why))
    }

    /// Sends a POST request and returns the answer.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let response = self.begin(path, body).await?;
        read(response).await.map_err(|why| self.trouble(&why))
    }

    /// Sends a POST request whose answer is a stream or empty.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(crate) async fn begin(&self, path: &str, body: &impl Serialize) -> Result<Response<Incoming>, Failure> {
        let json = serde_json::to_vec(body).map_err(|error| self.trouble(&error.to_string()))?;
        self.send(Method::POST, path, Bytes::from(json)).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let stream = connect(&self.state).await.map_err(|error| self.trouble(&error.to_string()))?;
        ask(stream, method, path, body).await.map_err(|why| self.trouble(&why))
    }

    /// Returns the failure of a request that was not answered as expected.
    pub(crate) fn trouble(&self, why: &str) -> Failure {
        let message = format!("the daemon (process {}) that has the store did not answer: {why}", self.view.pid);
        Failure::new(Exit::Store, message).hint("see its log, then run the command again")
    }
}

async fn connect(state: &Path) -> std::io::Result<UnixStream> {
    // The name of a socket has at most 107 bytes; the path of its directory may be longer.
    let directory = File::open(state)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    loop {
        match UnixStream::connect(&path).await {
            // A full accept queue means a daemon with many clients, not a missing one.
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(QUEUED).await,
            other => return other,
        }
    }
}

/// Checks that the server of the socket could write the store too: this user, root, or the owner of the directory.
fn check_peer(state: &Path, stream: &UnixStream) -> Result<(), String> {
    let served_by = stream.peer_cred().map_err(|error| error.to_string())?.uid();
    let own = rustix::process::geteuid().as_raw();
    let owner = std::fs::metadata(state).map_err(|error| error.to_string())?.uid();
    match served_by == own || served_by == 0 || served_by == owner {
        true => Ok(()),
        false => Err(format!("it is served by another user ({served_by})")),
    }
}

async fn ask(stream: UnixStream, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, String> {
    let say = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(say)?;
    // The task ends when the answer was read or dropped.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "kiln")
        .header("content-type", "application/json")
        .header(HEADER, VERSION)
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(say)?;
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let status = response.status();
    let text = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match text.is_empty() {
        true => Err(status.to_string()),
        false => Err(String::from_utf8_lossy(&text).into_owned()),
    }
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, String> {
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("its answer cannot be read: {error}"))
}
