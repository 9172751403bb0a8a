//! The loop of the daemon: it waits for events, starts passes when they are due, and ends on a signal.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::api::protocol::PassEnding;
use super::api::tls::ListenError;
use super::api::{server, tcp};
use super::log_reporter::LogReporter;
use super::pass::{PassRefused, Trigger};
use super::reconciler::{DaemonConfig, Reconciler, WRITER_RETRY};
use super::schedule::{After, Schedule};
use super::service::Service;
use super::watch_files::ManifestWatcher;
use crate::store::StoreError;

/// How often the loop checks that the store and the watched directory are still in place, and which backends to probe.
const TICK: Duration = Duration::from_secs(1);
/// The pause after a pass that panicked: the next pass may meet the same bug.
const AFTER_PANIC: Duration = Duration::from_secs(60);
/// How long the end of the daemon waits for running steps: longer than the default time-out of a call, shorter than the 90 s after which
/// a service manager kills.
const GRACE: Duration = Duration::from_secs(60);

/// Why a daemon ended without a signal.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store failed. A damaged store is set aside when it is next opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon could not start.
    #[error("{0}")]
    Start(String),
    /// The address of `--listen` could not be used.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// See [`DaemonError`].
pub async fn watch(config: DaemonConfig) -> Result<(), DaemonError> {
    let start = |what: &str, error: std::io::Error| DaemonError::Start(format!("{what}: {error}"));
    let mut signals = Signals::new().map_err(|error| start("signals cannot be caught", error))?;
    let service = Service::new();
    let (ended, passes) = mpsc::unbounded_channel();
    let reconciler = Arc::new(Reconciler::new(config, ended).map_err(DaemonError::Start)?);
    let server = server::serve(Arc::clone(&reconciler)).map_err(DaemonError::Start)?;
    let listening = match &reconciler.config.listen {
        None => None,
        Some(listen) => match tcp::serve(listen, &reconciler).await {
            Ok((listening, url)) => {
                tracing::info!("listening on {url}");
                let _ = reconciler.listening.set(url);
                Some(listening)
            }
            Err(error) => {
                server.end().await;
                return Err(error.into());
            }
        },
    };
    tracing::info!(specs = %reconciler.specs.display(), state = %reconciler.config.state.display(), "following the manifests");
    service.ready("making the first pass");
    let mut run_loop = RunLoop {
        watcher: None,
        checking: Some(watch_manifests(&reconciler)),
        probing: None,
        store_check: None,
        running: None,
        leave: CancellationToken::new(),
        schedule: Schedule::new(Instant::now()),
        passes,
        service,
        reconciler: Arc::clone(&reconciler),
    };
    let result = run_loop.run(&mut signals).await;
    run_loop.service.stopping();
    run_loop.stop(&mut signals).await;
    let others = async {
        if let Some(listening) = listening {
            listening.end().await;
        }
    };
    tokio::join!(server.end(), others);
    result
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
enum SignalRequest {
    End(&'static str),
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.interrupt.recv() => SignalRequest::End("SIGINT"),
            _ = self.terminate.recv() => SignalRequest::End("SIGTERM"),
            _ = self.hangup.recv() => SignalRequest::Reload,
        }
    }
}

struct RunLoop {
    reconciler: Arc<Reconciler>,
    service: Service,
    schedule: Schedule,
    /// Receives the end of each pass, of the loop or of a client.
    passes: mpsc::UnboundedReceiver<Result<After, StoreError>>,
    /// The loop's own pass.
    running: Option<JoinHandle<Result<(), PassRefused>>>,
    /// Cancelled when another pass is due while it runs.
    leave: CancellationToken,
    /// None while `checking` runs.
    watcher: Option<ManifestWatcher>,
    checking: Option<JoinHandle<ManifestWatcher>>,
    probing: Option<JoinHandle<bool>>,
    /// Checks that the store is still at its path.
    store_check: Option<JoinHandle<Result<(), StoreError>>>,
}

impl RunLoop {
    /// Runs until a signal arrives or the store fails.
    async fn run(&mut self, signals: &mut Signals) -> Result<(), DaemonError> {
        let every =
            self.service.keep_alive_interval().map_or(TICK, |interval| interval.clamp(Duration::from_millis(1), TICK));
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due();
            self.reconciler.known().next_pass = self.schedule.next();
            tokio::select! {
                biased;
                request = signals.next() => match request {
                    SignalRequest::End(signal) => {
                        tracing::info!("{signal}: waiting for the running steps to finish");
                        return Ok(());
                    }
                    SignalRequest::Reload => {
                        tracing::info!("SIGHUP: reloading");
                        self.service.reloading();
                        self.reconciler.reload();
                        self.schedule.want(Instant::now());
                        self.service.ready("reloading");
                    }
                },
                Some(pass) = self.passes.recv() => self.schedule.ended(Instant::now(), pass?),
                ended = joined(&mut self.running) => {
                    self.running = None;
                    self.pass_ended(ended);
                }
                checked = joined(&mut self.checking) => {
                    self.checking = None;
                    match checked {
                        Ok(watcher) => self.watcher = Some(watcher),
                        // A panic in it is a bug.
                        Err(_) => self.checking = Some(watch_manifests(&self.reconciler)),
                    }
                }
                back = joined(&mut self.probing) => {
                    self.probing = None;
                    if back.unwrap_or_default() {
                        self.schedule.want(Instant::now());
                    }
                }
                checked = joined(&mut self.store_check) => {
                    self.store_check = None;
                    // A panic in it is a bug, and says nothing about the store.
                    if let Ok(Err(error)) = checked {
                        tracing::error!("{error}");
                        return Err(error.into());
                    }
                }
                () = self.reconciler.dirty.notified() => self.schedule.changed(Instant::now()),
                () = self.reconciler.wake.notified() => self.schedule.want(Instant::now()),
                () = self.reconciler.background.ended.notified() => self.schedule.answered(Instant::now()),
                () = self.reconciler.jobs.ended.notified() => self.schedule.answered(Instant::now()),
                _ = tick.tick() => self.tick(),
                () = until(due) => self.begin(),
            }
        }
    }

    /// When to begin a pass or, while one runs, to check whether newer manifests replace its own.
    fn due(&self) -> Option<Instant> {
        match self.running {
            None => self.schedule.next(),
            Some(_) => {
                let beside = self.schedule.due_beside().filter(|_| !self.leave.is_cancelled());
                [self.schedule.quiet_at(), beside].into_iter().flatten().min()
            }
        }
    }

    fn tick(&mut self) {
        self.reconciler.record_heartbeat();
        self.service.alive();
        // Whatever may hang runs outside the loop.
        if let Some(mut watcher) = self.watcher.take() {
            self.checking = Some(tokio::task::spawn_blocking(move || {
                watcher.check();
                watcher
            }));
        }
        if self.store_check.is_none() {
            let reconciler = Arc::clone(&self.reconciler);
            self.store_check = Some(tokio::spawn(async move { reconciler.check_store().await }));
        }
        if self.probing.is_none() {
            let reconciler = Arc::clone(&self.reconciler);
            self.probing = Some(tokio::spawn(async move { reconciler.probe(false).await }));
        }
    }

    fn begin(&mut self) {
        let now = Instant::now();
        if self.running.is_some() {
            if self.schedule.quiet_at().is_some_and(|at| at <= now) {
                self.schedule.defer_changes();
                tokio::spawn(stop_if_outdated(Arc::clone(&self.reconciler)));
            }
            self.leave.cancel();
            return;
        }
        self.leave = CancellationToken::new();
        let trigger = Trigger::Loop(self.schedule.begin(now), self.leave.clone());
        let (reconciler, stop) = (Arc::clone(&self.reconciler), self.reconciler.stop.child_token());
        self.running =
            Some(tokio::spawn(async move { reconciler.pass(trigger, stop, Arc::new(LogReporter)).await.map(|_| ()) }));
    }

    fn pass_ended(&mut self, ended: Result<Result<(), PassRefused>, JoinError>) {
        match ended {
            Ok(Ok(()) | Err(PassRefused::Unchanged)) => {}
            Ok(Err(PassRefused::Checkout | PassRefused::Written)) => self.schedule.want(Instant::now() + WRITER_RETRY),
            Ok(Err(PassRefused::Unusable)) => {
                tracing::warn!("the Stack cannot be read, so the owner of the objects is unknown: no pass is made");
            }
            Ok(Err(refused @ PassRefused::OtherStack)) => tracing::warn!("{refused}"),
            // The store's error arrives through `passes`; the others only concern passes of clients.
            Ok(Err(PassRefused::Store(_) | PassRefused::Problems(_) | PassRefused::OtherSpecs)) => {}
            Err(error) => {
                tracing::error!(%error, "a pass panicked (a bug in Kiln)");
                self.schedule.want(Instant::now() + AFTER_PANIC);
            }
        }
        if let Some(last) = &self.reconciler.known().last_pass {
            let held = if last.held > 0 { format!(", {} held", last.held) } else { String::new() };
            self.service.status(&format!("last pass {}: {}{held}", last.began_at, last.ending));
        }
    }

    /// Waits for the running steps, for a limited time or until a second signal.
    async fn stop(&mut self, signals: &mut Signals) {
        self.reconciler.stop.cancel();
        let again = async {
            loop {
                if let SignalRequest::End(signal) = signals.next().await {
                    return signal;
                }
            }
        };
        let idle = async {
            let turn = self.reconciler.turn().await;
            self.reconciler.jobs.wait(|_| true).await;
            turn
        };
        tokio::select! {
            _turn = idle => tracing::info!("ended"),
            signal = again => tracing::warn!("{signal} again: ended at once; the next run observes the effects of the running steps"),
            () = tokio::time::sleep(GRACE) => {
                tracing::warn!("steps still run after {} s: ended without them; the next run observes their effects", GRACE.as_secs());
            }
        }
    }
}

/// Starts to watch the manifests, outside the loop: a file system that hangs must not block it.
fn watch_manifests(reconciler: &Arc<Reconciler>) -> JoinHandle<ManifestWatcher> {
    let reconciler = Arc::clone(reconciler);
    tokio::task::spawn_blocking(move || ManifestWatcher::start(&reconciler.config.specs, Arc::clone(&reconciler.dirty)))
}

/// Stops the running pass before its next step if the manifests have changed since it read them.
async fn stop_if_outdated(reconciler: Arc<Reconciler>) {
    let reading = reconciler.read().await;
    let known = reconciler.known();
    // Not after a pass that was stopped before it changed anything: constant changes must not prevent all progress.
    let is_allowed = known.last_pass.as_ref().is_none_or(|last| last.ending != PassEnding::Stopped || last.changed > 0);
    if let Some(running) = known.running.as_ref().filter(|running| !running.by_client && is_allowed)
        && running.content.as_ref().is_some_and(|content| *content != reading.content)
    {
        tracing::info!("the manifests have changed: the running pass stops before its next step");
        running.stop.cancel();
    }
}

/// Waits for a task; without one it never returns.
async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
