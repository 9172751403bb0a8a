//! Asking the daemon that has the store, by its control socket.

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

use super::context::block_on;
use super::exit::Exit;
use super::failure::Failure;
use crate::daemon::protocol::{DaemonView, HEADER, SOCKET, VERSION};

/// A daemon that turns answers within milliseconds; the host may be busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries to get into a full queue.
const QUEUED: Duration = Duration::from_millis(20);

/// A daemon that has answered.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    state: PathBuf,
    /// What it said of itself.
    pub(crate) view: DaemonView,
}

/// Who has the store.
#[derive(Debug, Clone)]
pub(crate) enum Holder {
    /// No daemon.
    None,
    /// This one.
    Daemon(Box<Daemon>),
    /// One that does not answer as it should. The sentence says why.
    Mute(String),
    /// Nobody knows: this user may not look.
    Barred,
}

impl Holder {
    /// Looks for the daemon that has the store in `state`. A socket that nobody serves is no obstacle.
    ///
    /// # Errors
    /// Exit code 1 if the host gives no event loop.
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
                Err(_) => return Holder::Mute(format!("it has taken no connection for {} s", PATIENCE.as_secs())),
            };
            if let Err(why) = believe(state, &stream) {
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
    /// Asks for something, with all the time that it takes.
    ///
    /// # Errors
    /// Exit code 7: the daemon went away, or refuses.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        read(response).await.map_err(|why| self.trouble(&why))
    }

    /// Sends something, and reads the answer.
    ///
    /// # Errors
    /// As [`Daemon::get`].
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let response = self.begin(path, body).await?;
        read(response).await.map_err(|why| self.trouble(&why))
    }

    /// Sends something whose answer comes bit by bit, or that has none.
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

    /// That it did not do what it was asked for.
    pub(crate) fn trouble(&self, why: &str) -> Failure {
        let message = format!("the daemon {} that has the store did not answer: {why}", self.view.pid);
        Failure::new(Exit::Store, message).hint("look at its log; the command can be given again")
    }
}

async fn connect(state: &Path) -> std::io::Result<UnixStream> {
    // The name of a socket has 107 bytes at most; that of a directory may have more.
    let directory = File::open(state)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    loop {
        match UnixStream::connect(&path).await {
            // The queue of those who wait to be taken is full: that is a daemon with many clients, and not none.
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(QUEUED).await,
            other => return other,
        }
    }
}

/// Whether who serves the socket is one of those who could write the store as well: this user, root, or whose directory it is.
fn believe(state: &Path, stream: &UnixStream) -> Result<(), String> {
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
    // It ends when the answer has been read, or let go of.
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
