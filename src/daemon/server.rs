//! The control socket: who may connect, what is answered, and what a client cannot do to the daemon.

use std::convert::Infallible;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path as UrlPath, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;

use super::hub::{Age, Hub};
use super::protocol::{
    ActAnswer, ActRequest, Ask, DaemonView, HEADER, Line, Remembered, SOCKET, Surveyed, VERSION, real,
};
use super::runs::{Runs, apply};
use crate::engine;

/// Connections at once; more wait in the kernel's queue. A person has a few, monitoring two.
const CONNECTIONS: usize = 128;
/// A request's head has to come within this time …
const HEAD: Duration = Duration::from_secs(5);
/// … its body within this, and whoever takes none of the answer for so long is left.
const STALLED: Duration = Duration::from_secs(60);
/// A saved plan of a hundred thousand volumes has some 60 MB.
const BODY: usize = 256 << 20;
/// For how long answers that are being written are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What serves, until it is ended.
pub(super) struct Server {
    /// Removed at the end.
    socket: Option<PathBuf>,
    connections: TaskTracker,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) fn new(connections: TaskTracker, accepting: tokio::task::JoinHandle<()>) -> Self {
        Self { socket: None, connections, accepting }
    }

    /// Takes no more connections, and lets answers that are being written end.
    pub(super) async fn end(self) {
        self.accepting.abort();
        if let Some(socket) = &self.socket {
            // Nobody else has the store, so it is this daemon's socket.
            let _ = fs::remove_file(socket);
        }
        self.connections.close();
        let _ = tokio::time::timeout(LAST_WORDS, self.connections.wait()).await;
    }
}

/// Serves the control socket.
///
/// # Errors
/// What keeps it from being made.
pub(super) fn serve(hub: Arc<Hub>) -> Result<Server, String> {
    let state = hub.config.state.clone();
    let listener =
        bind(&state).map_err(|error| format!("the control socket in {} cannot be made: {error}", state.display()))?;
    let connections = TaskTracker::new();
    let clients = Clients::new(&connections);
    let router = control(hub);
    let accepting = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => clients.serve(std::future::ready(Ok(stream)), router.clone()).await,
                Err(error) => clients.refused(&error).await,
            }
        }
    });
    Ok(Server { socket: Some(state.join(SOCKET)), ..Server::new(connections, accepting) })
}

/// Makes the socket, for this user alone from its first instant. One that is there is left over: only who has the store comes here.
fn bind(state: &Path) -> io::Result<UnixListener> {
    let directory = File::open(state)?;
    // The name of a socket has 107 bytes at most; that of a directory may have more.
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

/// Those who are connected.
pub(super) struct Clients {
    connections: TaskTracker,
    room: Arc<Semaphore>,
}

impl Clients {
    pub(super) fn new(connections: &TaskTracker) -> Self {
        Self { connections: connections.clone(), room: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Serves a connection, once there is room for it, and it has been opened (with TLS a handshake is a part of that).
    pub(super) async fn serve<S>(&self, opening: impl Future<Output = io::Result<S>> + Send + 'static, router: Router)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        // It is never closed.
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
        self.connections.spawn(async move {
            let _room = room;
            let mut stream = match opening.await {
                Ok(stream) => TimeoutStream::new(stream),
                Err(error) => {
                    tracing::debug!(%error, "a connection came to nothing");
                    return;
                }
            };
            stream.set_write_timeout(Some(STALLED));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client left, or did not speak HTTP");
            }
        });
    }

    /// Out of descriptors, most likely: others will be closed.
    pub(super) async fn refused(&self, error: &io::Error) {
        tracing::warn!(%error, "a connection could not be taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the answers are made from.
#[derive(Clone)]
struct Desk {
    hub: Arc<Hub>,
    runs: Arc<Runs>,
    /// The last look, and when it began: who asked before that is answered with it.
    looked: Arc<tokio::sync::Mutex<Option<(Instant, Bytes)>>>,
    /// How many ask for a look now: it is kept as long as somebody does.
    asking: Arc<AtomicUsize>,
}

fn control(hub: Arc<Hub>) -> Router {
    let monitoring = monitoring(Arc::clone(&hub));
    let desk = Desk { hub, runs: Arc::default(), looked: Arc::default(), asking: Arc::default() };
    Router::new()
        .route("/v1/daemon", get(daemon))
        .route("/v1/survey", get(survey))
        .route("/v1/store", get(store))
        .route("/v1/apply", post(begin_apply))
        .route("/v1/runs/{run}/answer", post(answer))
        .route("/v1/runs/{run}/stop", post(stop))
        .route("/v1/act", post(act))
        .route("/v1/reconcile", post(reconcile))
        .layer(middleware::from_fn(checked))
        .with_state(desk)
        .merge(monitoring)
}

/// What monitoring asks for.
pub(super) fn monitoring(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async |State(hub): State<Arc<Hub>>| health(hub.illness())))
        .route("/readyz", get(async |State(hub): State<Arc<Hub>>| health(hub.unready())))
        .with_state(hub)
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], hub.metrics.text()).into_response()
}

fn health(trouble: Option<String>) -> (StatusCode, String) {
    match trouble {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
    }
}

/// Refuses another version, and reads the body before anything waits for it.
async fn checked(request: Request, next: Next) -> Response {
    let theirs = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or("another version");
    if theirs != VERSION {
        let text =
            format!("this daemon is kiln {VERSION}, and was asked by {theirs}: restart it, or use the kiln that it is");
        return (StatusCode::UPGRADE_REQUIRED, text).into_response();
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(STALLED, to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request did not come to its end").into_response(),
    }
}

async fn daemon(State(desk): State<Desk>) -> Json<DaemonView> {
    Json(desk.hub.view())
}

async fn survey(State(desk): State<Desk>) -> Response {
    let asked = Instant::now();
    let _asking = Counted::new(&desk.asking);
    let mut looked = desk.looked.lock().await;
    let bytes = match looked.as_ref().filter(|(began, _)| *began >= asked) {
        Some((_, bytes)) => bytes.clone(),
        None => {
            let began = Instant::now();
            // To its end, whether or not the client waits for it: a call that is left is no call that failed.
            let bytes = match tokio::spawn(look(Arc::clone(&desk.hub))).await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(why)) => return (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
                Err(_) => return (StatusCode::INTERNAL_SERVER_ERROR, "a look ended in a panic").into_response(),
            };
            *looked = (desk.asking.load(Ordering::Relaxed) > 1).then(|| (began, bytes.clone()));
            bytes
        }
    };
    json(bytes)
}

/// A fresh look at everything, as JSON.
async fn look(hub: Arc<Hub>) -> Result<Bytes, String> {
    let reading = hub.read().await;
    let survey = engine::survey(&hub.setup(Arc::clone(&reading.specs)), &[]).await;
    let survey = engine::Survey { retries: hub.retries(), ..survey };
    let surveyed = Surveyed { problems: engine::problem_views(&reading.problems), specs: reading.specs, survey };
    let json = tokio::task::spawn_blocking(move || serde_json::to_vec(&surveyed)).await;
    json.map_err(|error| error.to_string())?.map(Bytes::from).map_err(|error| error.to_string())
}

/// Counts as one as long as it is there.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn json(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

#[derive(Deserialize)]
struct StoreQuery {
    journal: usize,
}

async fn store(State(desk): State<Desk>, Query(query): Query<StoreQuery>) -> Response {
    let store = Arc::clone(&desk.hub.config.store);
    let read = tokio::task::spawn_blocking(move || {
        let (records, intents, journal) = (store.records()?, store.intents()?, store.journal(query.journal)?);
        Ok::<_, crate::store::StoreError>(serde_json::to_vec(&Remembered { records, intents, journal }))
    });
    match read.await {
        Ok(Ok(Ok(bytes))) => json(Bytes::from(bytes)),
        Ok(Ok(Err(error))) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "reading the store ended in a panic").into_response(),
    }
}

/// What a client is told that means other manifests.
fn other_specs(hub: &Hub, theirs: &Path) -> Option<String> {
    let (pid, ours) = (std::process::id(), hub.specs.display());
    let message =
        || format!("the store is in use by the daemon {pid}, which follows {ours} and not {}", theirs.display());
    (real(&hub.specs) != real(theirs)).then(message)
}

async fn begin_apply(State(desk): State<Desk>, Json(ask): Json<Ask>) -> Response {
    let mut lines = match other_specs(&desk.hub, &ask.specs).filter(|_| ask.saved.is_none()) {
        Some(message) => {
            let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
            // It is received below.
            let _ = sender.send(Line::Refused(message));
            lines
        }
        None => apply(&desk.hub, &desk.runs, ask),
    };
    let stream = futures_util::stream::poll_fn(move |context| {
        lines.poll_recv(context).map(|line| {
            line.map(|line| {
                // A path that is no text has come here as one.
                let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
                bytes.push(b'\n');
                Ok::<_, Infallible>(Bytes::from(bytes))
            })
        })
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}

async fn answer(State(desk): State<Desk>, UrlPath(run): UrlPath<u64>, Json(yes): Json<bool>) -> StatusCode {
    found(desk.runs.answer(run, yes))
}

async fn stop(State(desk): State<Desk>, UrlPath(run): UrlPath<u64>) -> StatusCode {
    found(desk.runs.stop(run))
}

fn found(is_found: bool) -> StatusCode {
    if is_found { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

async fn act(State(desk): State<Desk>, Json(ActRequest { specs, act }): Json<ActRequest>) -> Json<ActAnswer> {
    if let Some(message) = other_specs(&desk.hub, &specs) {
        return Json(ActAnswer::OtherSpecs(message));
    }
    // To its end, whether or not the client waits for it.
    let acted = tokio::spawn(async move {
        // What is only written down need not wait for a copy that takes an hour.
        let _turn = match act.needs_the_owner_alone() {
            true => None,
            false => Some(desk.hub.turn.lock().await),
        };
        let reading = desk.hub.read().await;
        let is_enough = reading.usable && act.needs_the_owner_alone();
        if !reading.problems.is_empty() && !is_enough {
            return ActAnswer::Invalid(engine::problem_views(&reading.problems));
        }
        // What has been read once only may be a file that is just being written: nothing is given up for it.
        let age = {
            let (mut known, now) = (desk.hub.known(), Instant::now());
            let confirm_at = known.confirmed.read(&reading.content, now);
            Age { confirm_at, young_until: known.confirmed.young_until(now), prune: false }
        };
        let specs = desk.hub.aged(&reading, &age);
        let answer = match engine::act(&desk.hub.setup(specs), act).await {
            Ok(said) => {
                match &said {
                    engine::Said::Sentences(said) => said.iter().for_each(|said| tracing::info!("by hand: {said}")),
                    engine::Said::ToPurge(..) => {}
                    engine::Said::Recorded(engine::Written { said, missed }) => {
                        said.iter().for_each(|said| tracing::info!("by hand: {said}"));
                        missed.iter().for_each(|missed| tracing::warn!("{missed}"));
                    }
                }
                ActAnswer::Done(said)
            }
            Err(error) => {
                if let engine::ActError::Store(error) = &error {
                    // The loop ends by it; if it has ended already, nobody has to be told.
                    let _ = desk.hub.ended.send(Err(error.clone()));
                }
                ActAnswer::Failed(error)
            }
        };
        // What was decided may have something to be done.
        desk.hub.wake.notify_one();
        answer
    });
    let panicked = |_| ActAnswer::Failed(engine::ActError::Failed("it ended in a panic".to_owned()));
    Json(acted.await.unwrap_or_else(panicked))
}

async fn reconcile(State(desk): State<Desk>) -> StatusCode {
    desk.hub.wake.notify_one();
    StatusCode::OK
}
