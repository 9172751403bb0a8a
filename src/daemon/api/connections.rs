//! The open connections of one listener: how many there may be, how long a client may take, and which one makes room for another.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::routing::Router;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that may be open at once: a person uses a few, monitoring two. One more closes the connection that has been idle longest;
/// while every connection has a request in progress, it waits in the kernel's queue.
const CONNECTIONS: usize = 128;
/// The time for the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// The time for the body of a request; also how long a client may leave an answer unread.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// The connections of one listener.
pub(super) struct Connections {
    tasks: TaskTracker,
    table: Arc<Table>,
}

/// The open connections by number.
#[derive(Default)]
struct Table {
    open: Mutex<HashMap<u64, OpenConnection>>,
    next: AtomicU64,
    /// Notified when a connection ends or becomes idle.
    changed: Notify,
}

struct OpenConnection {
    /// Since when no request is in progress. A request begins when all of it has been received.
    idle: Option<Instant>,
    /// Closes it.
    close: CancellationToken,
}

/// A connection in its table. Requests carry it, to mark it busy.
#[derive(Clone)]
pub(super) struct Connection {
    table: Arc<Table>,
    number: u64,
}

impl Table {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, OpenConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more connection, and adds it.
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
                    open.insert(number, OpenConnection { idle: Some(Instant::now()), close: close.clone() });
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

/// A request in progress, from its last byte received until the last byte of its answer is sent.
pub(super) struct RequestInProgress(Connection);

impl RequestInProgress {
    pub(super) fn new(connection: Connection) -> Self {
        connection.table.set(connection.number, None);
        Self(connection)
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.table.set(self.0.number, Some(Instant::now()));
    }
}

/// The body of an answer. The request is in progress until all of it has been sent.
pub(super) struct AnswerBody {
    pub(super) body: Body,
    pub(super) _request: Option<RequestInProgress>,
}

impl HttpBody for AnswerBody {
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

    /// Forwarded, because otherwise an answer of known length would be sent in chunks.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Removes a connection from the table when its task ends.
struct TableEntry(Connection);

impl Drop for TableEntry {
    fn drop(&mut self) {
        self.0.table.open().remove(&self.0.number);
        self.0.table.changed.notify_one();
    }
}

impl Connections {
    pub(super) fn new(tasks: &TaskTracker) -> Self {
        Self { tasks: tasks.clone(), table: Arc::default() }
    }

    /// Serves a connection once there is room for it. `opening` finishes it: with TLS, that is the handshake.
    pub(super) async fn serve<S>(&self, opening: impl Future<Output = io::Result<S>> + Send + 'static, router: Router)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (connection, close) = self.table.enter().await;
        let entry = TableEntry(connection.clone());
        let served = async move {
            let _entry = entry;
            let mut stream = match opening.await {
                Ok(stream) => TimeoutStream::new(stream),
                Err(error) => {
                    tracing::debug!(%error, "a connection failed before its first request");
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
                tracing::debug!(%error, "a client disconnected, or did not speak HTTP");
            }
        };
        self.tasks.spawn(async move {
            tokio::select! {
                () = close.cancelled() => tracing::debug!("closed the connection that was idle longest, to make room for another"),
                () = served => {}
            }
        });
    }

    /// Logs that a connection could not be accepted, and pauses: the process is probably out of file descriptors.
    pub(super) async fn accept_failed(&self, error: &io::Error) {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(table: &Arc<Table>) -> bool {
        let entering = table.enter();
        futures_util::FutureExt::now_or_never(entering).is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_idle_longest_is_closed_for_a_new_one_and_none_with_a_request_in_progress_is() {
        let table: Arc<Table> = Arc::default();
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            all.push(table.enter().await);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first has a request in progress, the second had one a moment ago.
        let busy = RequestInProgress::new(all[0].0.clone());
        drop(RequestInProgress::new(all[1].0.clone()));
        let _one = table.enter().await;
        let closed = |all: &[(Connection, CancellationToken)]| {
            all.iter().enumerate().filter(|(_, (_, close))| close.is_cancelled()).map(|(n, _)| n).collect::<Vec<_>>()
        };
        assert_eq!(closed(&all), [2]);
        let requests: Vec<RequestInProgress> =
            all.iter().skip(1).map(|(connection, _)| RequestInProgress::new(connection.clone())).collect();
        let last = RequestInProgress::new(_one.0.clone());
        assert!(waits(&table), "each has a request in progress");
        drop((requests, last, busy));
        assert!(!waits(&table));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_no_answer_is_disconnected_after_a_minute() {
        let tasks = TaskTracker::new();
        let router = Router::new().route("/", axum::routing::get(|| async { "x".repeat(1 << 20) }));
        let (client, server) = tokio::net::UnixStream::pair().unwrap();
        Connections::new(&tasks).serve(std::future::ready(Ok(server)), router).await;
        let request = b"GET / HTTP/1.1\r\nhost: kiln\r\n\r\n";
        client.writable().await.unwrap();
        assert_eq!(client.try_write(request).unwrap(), request.len());
        tasks.close();
        tokio::time::timeout(STALLED * 2, tasks.wait()).await.expect("it is kept for ever");
    }
}
