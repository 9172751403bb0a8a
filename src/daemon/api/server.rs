//! The control socket: who may connect, what is answered, and what a client cannot do to the daemon.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path as UrlPath, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::reconciler::{Age, Reconciler};
use super::protocol::{
    ApplyRequest, DaemonView, HEADER, Line, OperationAnswer, OperationRequest, OverviewAnswer, Remembered, SOCKET,
    VERSION, real,
};
use super::runs::{Runs, apply};
use crate::engine;
use crate::plan::Overview;

/// Connections at once; a person has a few, monitoring two. One more takes the place of the one that has been idle longest; where
/// each has a request under way, it waits in the kernel's queue.
const CONNECTIONS: usize = 128;
/// A request's head has to come within this time …
const HEAD: Duration = Duration::from_secs(5);
/// … its body within this, and whoever takes none of the answer for so long is left.
const STALLED: Duration = Duration::from_secs(60);
/// A saved plan of a hundred thousand volumes has some 60 MB.
const BODY: usize = 256 << 20;
/// How often the daemon sees whether its socket is still under its name.
const LOOK: Duration = Duration::from_secs(1);
/// For how long answers that are being written are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What serves, until it is ended.
pub(in crate::daemon) struct Server {
    /// Removed at the end, if it is still this daemon's.
    socket: Option<Arc<Mutex<Socket>>>,
    connections: TaskTracker,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(in crate::daemon) fn new(connections: TaskTracker, accepting: tokio::task::JoinHandle<()>) -> Self {
        Self { socket: None, connections, accepting }
    }

    /// Takes no more connections, and lets answers that are being written end.
    pub(in crate::daemon) async fn end(self) {
        self.accepting.abort();
        if let Some(socket) = &self.socket {
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            if socket.is_there() {
                let _ = fs::remove_file(&socket.path);
            }
        }
        self.connections.close();
        let _ = tokio::time::timeout(LAST_WORDS, self.connections.wait()).await;
    }
}

/// Serves the control socket.
///
/// # Errors
/// What keeps it from being made.
pub(in crate::daemon) fn serve(reconciler: Arc<Reconciler>) -> Result<Server, String> {
    let state = reconciler.config.state.clone();
    let cannot = |error| format!("the control socket in {} cannot be made: {error}", state.display());
    let mut listener = bind(&state).map_err(cannot)?;
    let socket = Arc::new(Mutex::new(Socket::at(state.join(SOCKET)).map_err(cannot)?));
    let connections = TaskTracker::new();
    let clients = Clients::new(&connections);
    let router = control(Arc::clone(&reconciler));
    let ours = Arc::clone(&socket);
    let accepting = tokio::spawn(async move {
        let mut look = tokio::time::interval(LOOK);
        let mut missing = 0;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => clients.serve(std::future::ready(Ok(stream)), router.clone()).await,
                    Err(error) => clients.refused(&error).await,
                },
                _ = look.tick() => {
                    missing = if ours.lock().unwrap_or_else(PoisonError::into_inner).is_there() { 0 } else { missing + 1 };
                    // Twice: while a directory is being removed as a whole, the store goes with it. And only who has the store
                    // makes its socket.
                    if missing >= 2 && reconciler.check_store().await.is_ok() {
                        let made = bind(&state).and_then(|made| Ok((made, Socket::at(state.join(SOCKET))?)));
                        match made {
                            Ok((made, socket)) => {
                                tracing::warn!("the control socket was removed or replaced: it is made again");
                                (listener, *ours.lock().unwrap_or_else(PoisonError::into_inner)) = (made, socket);
                            }
                            Err(error) => tracing::warn!(%error, "the control socket cannot be made again"),
                        }
                    }
                }
            }
        }
    });
    Ok(Server { socket: Some(socket), ..Server::new(connections, accepting) })
}

/// The control socket, and which file it is.
struct Socket {
    path: PathBuf,
    /// Device and inode.
    which: (u64, u64),
}

impl Socket {
    fn at(path: PathBuf) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { which: (metadata.dev(), metadata.ino()), path })
    }

    fn is_there(&self) -> bool {
        Self::at(self.path.clone()).is_ok_and(|there| there.which == self.which)
    }
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
pub(in crate::daemon) struct Clients {
    connections: TaskTracker,
    table: Arc<Table>,
}

/// The connections that are open.
#[derive(Default)]
struct Table {
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    /// One has ended, or become idle.
    changed: Notify,
}

struct Open {
    /// Since when it has no request under way. A request begins when all of it has come.
    idle: Option<Instant>,
    /// Closes it.
    close: CancellationToken,
}

/// One connection: what its requests are counted with.
#[derive(Clone)]
struct Connection {
    table: Arc<Table>,
    number: u64,
}

impl Table {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection, and enters it.
    async fn enter(self: &Arc<Self>) -> (Connection, CancellationToken) {
        loop {
            let changed = self.changed.notified();
            {
                let mut open = self.open();
                if open.len() >= CONNECTIONS {
                    let idle = open.iter().filter_map(|(number, one)| Some((one.idle?, *number)));
                    if let Some((_, longest)) = idle.min()
                        && let Some(one) = open.remove(&longest)
                    {
                        one.close.cancel();
                    }
                }
                if open.len() < CONNECTIONS {
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    let close = CancellationToken::new();
                    open.insert(number, Open { idle: Some(Instant::now()), close: close.clone() });
                    return (Connection { table: Arc::clone(self), number }, close);
                }
            }
            changed.await;
        }
    }

    fn set(&self, number: u64, idle: Option<Instant>) {
        if let Some(one) = self.open().get_mut(&number) {
            one.idle = idle;
        }
        self.changed.notify_one();
    }
}

/// A request is under way, until it is dropped with the last of its answer.
struct Busy(Connection);

impl Busy {
    fn new(connection: Connection) -> Self {
        connection.table.set(connection.number, None);
        Self(connection)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.table.set(self.0.number, Some(Instant::now()));
    }
}

/// The answer to a request that is under way until all of it has been sent.
struct UnderWay {
    body: Body,
    _busy: Option<Busy>,
}

impl HttpBody for UnderWay {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Without it an answer of known length would be sent in chunks.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Takes a connection out of the table when its task ends.
struct Entered(Connection);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.table.open().remove(&self.0.number);
        self.0.table.changed.notify_one();
    }
}

impl Clients {
    pub(in crate::daemon) fn new(connections: &TaskTracker) -> Self {
        Self { connections: connections.clone(), table: Arc::default() }
    }

    /// Serves a connection, once there is room for it, and it has been opened (with TLS a handshake is a part of that).
    pub(in crate::daemon) async fn serve<S>(
        &self,
        opening: impl Future<Output = io::Result<S>> + Send + 'static,
        router: Router,
    ) where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (connection, close) = self.table.enter().await;
        let entered = Entered(connection.clone());
        let served = async move {
            let _entered = entered;
            let mut stream = match opening.await {
                Ok(stream) => TimeoutStream::new(stream),
                Err(error) => {
                    tracing::debug!(%error, "a connection came to nothing");
                    return;
                }
            };
            stream.set_write_timeout(Some(STALLED));
            let router = TowerToHyperService::new(router);
            let counted = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(connection.clone());
                router.call(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(Box::pin(stream)), counted);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client left, or did not speak HTTP");
            }
        };
        self.connections.spawn(async move {
            tokio::select! {
                () = close.cancelled() => tracing::debug!("a connection was idle longest, and gave its place to another"),
                () = served => {}
            }
        });
    }

    /// Out of descriptors, most likely: others will be closed.
    pub(in crate::daemon) async fn refused(&self, error: &io::Error) {
        tracing::warn!(%error, "a connection could not be taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the answers are made from.
#[derive(Clone)]
struct Desk {
    reconciler: Arc<Reconciler>,
    runs: Arc<Runs>,
    /// The last look, and when it began: who asked before that is answered with it.
    looked: Arc<tokio::sync::Mutex<Option<(Instant, Bytes)>>>,
    /// How many ask for a look now: it is kept as long as somebody does.
    asking: Arc<AtomicUsize>,
}

fn control(reconciler: Arc<Reconciler>) -> Router {
    let monitoring = monitoring(Arc::clone(&reconciler));
    let desk = Desk { reconciler, runs: Arc::default(), looked: Arc::default(), asking: Arc::default() };
    Router::new()
        .route("/v1/daemon", get(daemon))
        .route("/v1/overview", get(overview))
        .route("/v1/store", get(store))
        .route("/v1/apply", post(begin_apply))
        .route("/v1/runs/{run}/answer", post(answer))
        .route("/v1/runs/{run}/stop", post(stop))
        .route("/v1/act", post(operate))
        .route("/v1/reconcile", post(reconcile))
        .layer(middleware::from_fn(checked))
        .with_state(desk)
        .merge(monitoring)
}

/// What monitoring asks for.
pub(in crate::daemon) fn monitoring(reconciler: Arc<Reconciler>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async |State(reconciler): State<Arc<Reconciler>>| health(reconciler.illness())))
        .route("/readyz", get(async |State(reconciler): State<Arc<Reconciler>>| health(reconciler.unready())))
        .with_state(reconciler)
}

async fn metrics(State(reconciler): State<Arc<Reconciler>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], reconciler.metrics.text()).into_response()
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
        Ok(Ok(bytes)) => {
            let busy = head.extensions.get::<Connection>().cloned().map(Busy::new);
            let response = next.run(Request::from_parts(head, Body::from(bytes))).await;
            response.map(|body| Body::new(UnderWay { body, _busy: busy }))
        }
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request did not come to its end").into_response(),
    }
}

async fn daemon(State(desk): State<Desk>) -> Json<DaemonView> {
    Json(desk.reconciler.view())
}

async fn overview(State(desk): State<Desk>) -> Response {
    let asked = Instant::now();
    let _asking = Counted::new(&desk.asking);
    let mut looked = desk.looked.lock().await;
    let bytes = match looked.as_ref().filter(|(began, _)| *began >= asked) {
        Some((_, bytes)) => bytes.clone(),
        None => {
            let began = Instant::now();
            // To its end, whether or not the client waits for it: a call that is left is no call that failed.
            let bytes = match tokio::spawn(look(Arc::clone(&desk.reconciler))).await {
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
async fn look(reconciler: Arc<Reconciler>) -> Result<Bytes, String> {
    let manifests = reconciler.read().await;
    // What a person may do at once they see at once; for a vanished directory they wait like the daemon.
    let settles_at = reconciler.known().confirmed.settles_at(&manifests.content, Instant::now());
    let reading = reconciler.aged(&manifests, &Age { settles_at, ..Age::default() });
    let overview = engine::overview(&reconciler.setup(Arc::clone(&reading)), &[]).await;
    let overview = Overview { retries: reconciler.retries(), ..overview };
    let overview = OverviewAnswer { problems: crate::manifest::problem_views(&manifests.problems), reading, overview };
    let json = tokio::task::spawn_blocking(move || serde_json::to_vec(&overview)).await;
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
    let store = Arc::clone(&desk.reconciler.config.store);
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
fn other_specs(reconciler: &Reconciler, theirs: &Path) -> Option<String> {
    let (pid, ours) = (std::process::id(), reconciler.specs.display());
    let message =
        || format!("the store is in use by the daemon {pid}, which follows {ours} and not {}", theirs.display());
    (real(&reconciler.specs) != real(theirs)).then(message)
}

async fn begin_apply(State(desk): State<Desk>, Json(ask): Json<ApplyRequest>) -> Response {
    let mut lines = match other_specs(&desk.reconciler, &ask.specs).filter(|_| ask.saved.is_none()) {
        Some(message) => {
            let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
            // It is received below.
            let _ = sender.send(Line::Refused(message));
            lines
        }
        None => apply(&desk.reconciler, &desk.runs, ask),
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

async fn operate(
    State(desk): State<Desk>,
    Json(OperationRequest { specs, act }): Json<OperationRequest>,
) -> Json<OperationAnswer> {
    if let Some(message) = other_specs(&desk.reconciler, &specs) {
        return Json(OperationAnswer::OtherSpecs(message));
    }
    // To its end, whether or not the client waits for it.
    let acted = tokio::spawn(async move {
        // What is only written down need not wait for a copy that takes an hour.
        let _turn = match act.needs_the_owner_alone() {
            true => None,
            false => Some(desk.reconciler.turn.lock().await),
        };
        let manifests = desk.reconciler.read().await;
        let is_enough = manifests.usable && act.needs_the_owner_alone();
        if !manifests.problems.is_empty() && !is_enough {
            return OperationAnswer::Invalid(crate::manifest::problem_views(&manifests.problems));
        }
        // What has been read once only may be a file that is just being written: nothing is given up for it.
        let age = {
            let (mut known, now) = (desk.reconciler.known(), Instant::now());
            let confirm_at = known.confirmed.read(&manifests.content, now);
            Age { confirm_at, settles_at: known.confirmed.settles_at(&manifests.content, now), prune: false }
        };
        let reading = desk.reconciler.aged(&manifests, &age);
        let end_if_store = |error: &engine::OperationError| {
            if let engine::OperationError::Store(error) = error {
                desk.reconciler.end(error);
            }
        };
        let answer = match engine::operate(&desk.reconciler.setup(reading), act).await {
            Ok(said) => {
                match &said {
                    engine::OperationResult::Sentences(said) => {
                        said.iter().for_each(|said| tracing::info!("by hand: {said}"))
                    }
                    engine::OperationResult::Executed(engine::Executed { done, left }) => {
                        done.iter().for_each(|done| tracing::info!("by hand: {done}"));
                        left.iter().for_each(|why| tracing::warn!("by hand: {why}"));
                        left.iter().for_each(end_if_store);
                    }
                    engine::OperationResult::ToPurge(..) => {}
                    engine::OperationResult::Recorded(engine::Written { said, missed }) => {
                        said.iter().for_each(|said| tracing::info!("by hand: {said}"));
                        missed.iter().for_each(|missed| tracing::warn!("{missed}"));
                    }
                }
                OperationAnswer::Done(said)
            }
            Err(error) => {
                end_if_store(&error);
                OperationAnswer::Failed(error)
            }
        };
        // What was decided may have something to be done.
        desk.reconciler.wake.notify_one();
        answer
    });
    let panicked = |_| OperationAnswer::Failed(engine::OperationError::Failed("it ended in a panic".to_owned()));
    Json(acted.await.unwrap_or_else(panicked))
}

async fn reconcile(State(desk): State<Desk>) -> StatusCode {
    desk.reconciler.wake.notify_one();
    StatusCode::OK
}

#[cfg(test)]
mod tests {
    use super::super::super::schedule::CONFIRM;
    use super::super::super::tests::{Bench, HOUR};
    use super::super::protocol::real;
    use super::*;
    use crate::engine::{Operation, OperationError, OperationResult, Purge};

    fn desk(bench: &Bench) -> State<Desk> {
        let reconciler = Arc::clone(&bench.reconciler);
        State(Desk { reconciler, runs: Arc::default(), looked: Arc::default(), asking: Arc::default() })
    }

    async fn asks(bench: &Bench, specs: PathBuf, act: Operation) -> OperationAnswer {
        super::operate(desk(bench), Json(OperationRequest { specs, act })).await.0
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_by_a_person_believes_no_absence_that_was_read_once() {
        let bench = Bench::new().await;
        bench.remove("b.yaml");
        bench.confirmed().await;
        bench.write(
            "stack.yaml",
            &std::fs::read_to_string(bench.specs().join("stack.yaml")).unwrap().replace("1h", "2h"),
        );
        bench.later(HOUR).await;
        // A pass records the time, which a purge has to agree with.
        bench.pass().await.unwrap();
        bench.write("more.yaml", "# just being written\n");
        let list = || asks(&bench, bench.specs(), Operation::ListPurge(Purge::Expired));
        let answer = list().await;
        assert!(
            matches!(&answer, OperationAnswer::Done(OperationResult::ToPurge(found, 1)) if found.is_empty()),
            "{answer:?}"
        );
        bench.later(CONFIRM.as_secs()).await;
        let answer = list().await;
        assert!(
            matches!(&answer, OperationAnswer::Done(OperationResult::ToPurge(found, 0)) if found.len() == 1),
            "{answer:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn commands_for_other_specs_are_refused() {
        let bench = Bench::new().await;
        let other = tempfile::tempdir().unwrap();
        let forget = || Operation::ForgetObject((crate::model::Kind::Volume, "a".parse().unwrap()).into(), None);
        let answer = asks(&bench, real(other.path()), forget()).await;
        assert!(matches!(answer, OperationAnswer::OtherSpecs(_)), "{answer:?}");
        let answer = asks(&bench, bench.specs(), forget()).await;
        assert!(matches!(answer, OperationAnswer::Failed(OperationError::Usage(_))), "it is there: {answer:?}");
        let ask =
            |specs| ApplyRequest { specs, approve: Vec::new(), by: None, saved: None, only: Vec::new(), prune: false };
        let refused = begin_apply(desk(&bench), Json(ask(real(other.path())))).await;
        let lines = to_bytes(refused.into_body(), BODY).await.unwrap();
        let line: Line = serde_json::from_slice(&lines).unwrap();
        assert!(matches!(line, Line::Refused(_)), "{line:?}");
        assert_eq!(bench.live(), 2);
    }

    fn waits(table: &Arc<Table>) -> bool {
        let entering = table.enter();
        futures_util::FutureExt::now_or_never(entering).is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_longest_gives_its_place_and_none_with_a_request_does() {
        let table: Arc<Table> = Arc::default();
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            all.push(table.enter().await);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first has a request under way, the second had one a moment ago.
        let busy = Busy::new(all[0].0.clone());
        drop(Busy::new(all[1].0.clone()));
        let _one = table.enter().await;
        let closed = |all: &[(Connection, CancellationToken)]| {
            all.iter().enumerate().filter(|(_, (_, close))| close.is_cancelled()).map(|(n, _)| n).collect::<Vec<_>>()
        };
        assert_eq!(closed(&all), [2]);
        let requests: Vec<Busy> = all.iter().skip(1).map(|(connection, _)| Busy::new(connection.clone())).collect();
        let last = Busy::new(_one.0.clone());
        assert!(waits(&table), "each has a request under way");
        drop((requests, last, busy));
        assert!(!waits(&table));
    }
}
