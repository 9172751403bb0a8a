//! What makes passes, for the loop and for clients, and what a pass works with: the manifests, the store, the drivers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::protocol::ApplyRequest;
use super::api::tls::Listen;
use super::breaker::CallFailure;
use super::calls::{Calls, WatchedConnect};
use super::metrics::Metrics;
use super::probe::Probe;
use super::schedule::After;
use super::state::{Certainty, DaemonState};
use crate::driver::has_writer;
use crate::engine::{Background, Clock, Connect, Jobs, Setup};
use crate::manifest::{Allowed, Limits, ManifestState, Reader, Source, checkout_in_progress};
use crate::model::{BackendSpec, DriverError, Name, Reading};
use crate::report::Commands;
use crate::store::{Store, StoreError};

/// The pause before the next attempt while Git or another process writes the manifests.
pub(super) const WRITER_RETRY: Duration = Duration::from_millis(200);
/// How long a pass waits for the writer of a manifest. A generator writes for seconds; an editor that keeps its file open must not stop
/// everything.
const WRITER: Duration = Duration::from_secs(60);

/// The configuration of a daemon.
pub struct DaemonConfig {
    /// The directory or file of manifests.
    pub specs: PathBuf,
    /// The state directory: the store and the control socket.
    pub state: PathBuf,
    /// Returns the path policy of the host configuration. Called at the start and on SIGHUP.
    pub allowed: Box<dyn Fn() -> Result<Allowed, String> + Send + Sync>,
    /// The store, open for writing.
    pub store: Arc<dyn Store>,
    /// Opens drivers.
    pub connect: Arc<dyn Connect>,
    /// The wall clock: for times that are recorded, never for waiting.
    pub clock: Arc<dyn Clock>,
    /// `--listen`: monitoring over TCP.
    pub listen: Option<Arc<Listen>>,
    /// Completes the commands in log messages.
    pub commands: Commands,
}

/// Makes passes, one at a time, and holds what the loop and clients share.
pub(super) struct Reconciler {
    pub(super) config: DaemonConfig,
    /// SPECS as an absolute path. Its symbolic links are resolved on every use, because they may be replaced.
    pub(super) specs: PathBuf,
    pub(super) calls: Arc<Calls>,
    pub(super) metrics: Arc<Metrics>,
    /// Opens drivers whose calls are measured and guarded by circuit breakers.
    connect: Arc<dyn Connect>,
    reader: Mutex<Reader>,
    allowed: Mutex<Allowed>,
    /// Held during a pass and during an operation of a client.
    turn: tokio::sync::Mutex<()>,
    /// The calls that passes of the loop do not wait for.
    pub(super) background: Arc<Background>,
    /// The copies that passes of the loop do not wait for.
    pub(super) jobs: Arc<Jobs>,
    known: Mutex<DaemonState>,
    /// Numbers the reads of the manifests.
    read_count: AtomicU64,
    /// Notified when manifests may have changed.
    pub(super) dirty: Arc<Notify>,
    /// Notified when a pass is requested.
    pub(super) wake: Notify,
    /// Cancelled when the daemon is to end.
    pub(super) stop: CancellationToken,
    /// Sends the end of each pass to the loop.
    pub(super) ended: mpsc::UnboundedSender<Result<After, StoreError>>,
    /// The URL of `--listen`, once it is bound.
    pub(super) listening: OnceLock<String>,
    pub(super) started: Instant,
    pub(super) started_at: u64,
}

/// A read of the manifests, until it is dropped. One that takes too long makes the daemon unhealthy.
struct OngoingRead<'r> {
    reconciler: &'r Reconciler,
    number: u64,
}

impl<'r> OngoingRead<'r> {
    fn new(reconciler: &'r Reconciler, began: Instant) -> Self {
        let number = reconciler.read_count.fetch_add(1, Ordering::Relaxed);
        reconciler.known().reads.insert(number, began);
        Self { reconciler, number }
    }
}

impl Drop for OngoingRead<'_> {
    fn drop(&mut self) {
        self.reconciler.known().reads.remove(&self.number);
    }
}

/// Runs work on a thread that may block. A panic in it goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

impl Reconciler {
    /// # Errors
    /// Why the host configuration cannot be read.
    pub(super) fn new(
        config: DaemonConfig,
        ended: mpsc::UnboundedSender<Result<After, StoreError>>,
    ) -> Result<Self, String> {
        let allowed = (config.allowed)()?;
        let metrics = Arc::new(Metrics::new());
        let calls = Arc::new(Calls::new(Arc::clone(&config.clock), Arc::clone(&metrics)));
        let connect = Arc::new(WatchedConnect { inner: Arc::clone(&config.connect), calls: Arc::clone(&calls) });
        Ok(Self {
            specs: std::path::absolute(&config.specs).unwrap_or_else(|_| config.specs.clone()),
            reader: Mutex::new(Reader::new(Source::Path(config.specs.clone()), Limits::default())),
            allowed: Mutex::new(allowed),
            calls,
            connect,
            metrics,
            turn: tokio::sync::Mutex::default(),
            background: Arc::default(),
            jobs: Arc::default(),
            known: Mutex::default(),
            read_count: AtomicU64::new(0),
            dirty: Arc::default(),
            wake: Notify::new(),
            stop: CancellationToken::new(),
            ended,
            listening: OnceLock::new(),
            started: Instant::now(),
            started_at: config.clock.now(),
            config,
        })
    }

    /// Ends the loop, because the store cannot be used.
    pub(super) fn end(&self, error: &StoreError) {
        // A loop that has ended need not be told.
        let _ = self.ended.send(Err(error.clone()));
    }

    pub(super) fn known(&self) -> MutexGuard<'_, DaemonState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the host configuration, and the certificate and token of `--listen`, again.
    pub(super) fn reload(&self) {
        match (self.config.allowed)() {
            Ok(allowed) => *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = allowed,
            // A mistake in the file must not stop everything.
            Err(error) => tracing::error!("{error}; the previous host configuration stays in use"),
        }
        if let Some(listen) = &self.config.listen {
            listen.reload();
        }
    }

    /// Waits until no pass and no operation runs, for a pass of the loop: calls of slow backends may go on.
    pub(super) async fn turn_of_loop(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether a pass or an operation runs, or a call of a slow backend goes on.
    pub(super) fn is_busy(&self) -> bool {
        self.turn.try_lock().is_err() || self.background.is_busy()
    }

    /// Waits until nothing is done on any backend.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        loop {
            // Not during the turn: the loop makes its passes meanwhile.
            self.background.idle().await;
            let turn = self.turn.lock().await;
            if !self.background.is_busy() {
                self.background.close_answers(|_| true);
                return turn;
            }
        }
    }

    /// Like [`Reconciler::turn`], for an apply: waits also until no copy runs that makes what it applies.
    pub(super) async fn turn_to_apply(
        &self,
        ask: &ApplyRequest,
        stop: &CancellationToken,
    ) -> tokio::sync::MutexGuard<'_, ()> {
        loop {
            tokio::select! {
                () = self.jobs.wait(|running| ask.concerns(running)) => {}
                () = stop.cancelled() => {}
            }
            let turn = self.turn().await;
            // A pass may have begun one meanwhile.
            if stop.is_cancelled() || !self.jobs.running().iter().any(|running| ask.concerns(running)) {
                return turn;
            }
        }
    }

    /// Reads the manifests, on a thread that may block.
    pub(super) async fn read(self: &Arc<Self>) -> ManifestState {
        let reconciler = Arc::clone(self);
        let began = Instant::now();
        blocking(move || {
            let _read = OngoingRead::new(&reconciler, began);
            let allowed = reconciler.allowed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            reconciler.reader.lock().unwrap_or_else(PoisonError::into_inner).read(&allowed)
        })
        .await
    }

    /// Returns the reading, with how far an absence from it can be believed.
    pub(super) fn with_certainty(&self, manifests: &ManifestState, certainty: &Certainty) -> Arc<Reading> {
        let Certainty { confirm_at, settles_at, prune } = certainty;
        if confirm_at.is_none() && settles_at.is_none() && !prune {
            return Arc::clone(&manifests.reading);
        }
        let mut reading = Reading::clone(&manifests.reading);
        reading.unconfirmed = confirm_at.is_some();
        reading.coverage.young = settles_at.is_some();
        reading.coverage.young_until = settles_at.map(|at| self.calls.wall(at));
        if *prune {
            reading.coverage.prune();
        }
        Arc::new(reading)
    }

    /// Whether a process is writing a manifest that no pass has used yet. Logs once that the daemon waits for it.
    pub(super) async fn is_being_written(self: &Arc<Self>, manifests: &ManifestState) -> bool {
        let coverage = &manifests.reading.coverage;
        {
            let mut known = self.known();
            if known.reconciled_content.as_ref() == Some(&manifests.content) {
                // The next writer gets the full time again.
                known.open_for_writing = None;
                return false;
            }
        }
        let files: Vec<PathBuf> = match &coverage.file {
            Some(file) => vec![PathBuf::from(file)],
            None => coverage.files.iter().map(|file| self.config.specs.join(file)).collect(),
        };
        let writer = tokio::task::spawn_blocking(move || files.into_iter().find(|file| has_writer(file)));
        let Some(file) = writer.await.ok().flatten() else {
            self.known().open_for_writing = None;
            return false;
        };
        let mut known = self.known();
        let now = Instant::now();
        if known.open_for_writing.is_none() {
            let seconds = WRITER.as_secs();
            tracing::info!(
                "{} is open for writing: waiting up to {seconds} s for the process that writes it",
                file.display()
            );
        }
        now < *known.open_for_writing.get_or_insert(now) + WRITER
    }

    /// Checks, on a thread that may block, that the store is still at its path.
    pub(super) async fn check_store(&self) -> Result<(), StoreError> {
        let store = Arc::clone(&self.config.store);
        blocking(move || store.check_place()).await
    }

    /// Whether Git is changing the manifests now.
    pub(super) async fn is_checkout_running(self: &Arc<Self>) -> bool {
        let source = Source::Path(self.config.specs.clone());
        let now = UNIX_EPOCH + Duration::from_secs(self.config.clock.now());
        let (reconciler, began) = (Arc::clone(self), Instant::now());
        blocking(move || {
            let _read = OngoingRead::new(&reconciler, began);
            checkout_in_progress(&source, now).is_some()
        })
        .await
    }

    /// Returns what a pass or an operation works with.
    pub(super) fn setup(&self, reading: Arc<Reading>) -> Setup {
        Setup {
            reading,
            store: Some(Arc::clone(&self.config.store)),
            connect: Arc::clone(&self.connect),
            clock: Arc::clone(&self.config.clock),
            jobs: Arc::clone(&self.jobs),
        }
    }

    /// Probes backends whose circuit breaker is open: all, or those that are due. Returns whether one answers again.
    pub(super) async fn probe(self: &Arc<Self>, all: bool) -> bool {
        let Some(specs) = self.known().manifests.as_ref().map(|manifests| Arc::clone(&manifests.reading.specs)) else {
            return false;
        };
        let now = Instant::now();
        let due: Vec<Name> = {
            let breakers = self.calls.breakers();
            breakers.all().filter(|(_, failing)| all || failing.next <= now).map(|(name, _)| name.clone()).collect()
        };
        let mut probes = JoinSet::new();
        for backend in due.iter().filter_map(|name| specs.backends.get(name)).cloned() {
            let reconciler = Arc::clone(self);
            probes.spawn(async move {
                let answer = reconciler.probe_backend(&backend, all).await;
                let name = &backend.meta.name;
                let result = answer.as_ref().copied().map_err(CallFailure::from);
                let is_back = reconciler.calls.breakers().probed(name, result, Instant::now());
                if is_back {
                    tracing::info!(backend = %name, "the backend answers again, circuit breaker closed");
                }
                is_back
            });
        }
        probes.join_all().await.into_iter().any(|is_back| is_back)
    }

    /// Probes one backend. For a client it gives up unanswered probes where they would keep it from asking.
    async fn probe_backend(&self, backend: &BackendSpec, by_client: bool) -> Result<(), DriverError> {
        let (began, name) = (Instant::now(), &backend.meta.name);
        let before = self.known().probes.remove(name);
        let before = before.filter(|probe| probe.is_of(backend) && !(by_client && probe.is_full()));
        let mut probe = before.unwrap_or_else(|| Probe::new(backend.clone()));
        let answer = probe.ask(&self.config.connect).await;
        if answer.is_err() {
            self.known().probes.insert(name.clone(), probe);
        }
        let outcome = answer.as_ref().map_or_else(|error| error.kind.to_string(), |()| "ok".to_owned());
        self.metrics.driver_call(name.as_str(), "probe", &outcome, began.elapsed());
        answer
    }
}
