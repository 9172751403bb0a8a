//! The loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::api::monitoring::Unfit;
use super::api::server;
use super::log_reporter::LogReporter;
use super::metrics::Ending;
use super::pass::{By, Refused};
use super::reconciler::{CHECKOUT, DaemonConfig, Reconciler};
use super::schedule::{After, Schedule};
use super::service::Service;
use super::watch_files::Files;
use crate::store::StoreError;

/// The loop turns at least this often: it looks whether SPECS is still the directory that is watched, and which backends are to be
/// asked again.
const TICK: Duration = Duration::from_secs(1);
/// After a pass that ended in a panic: a bug, which another pass may meet again.
const AFTER_PANIC: Duration = Duration::from_secs(60);
/// For how long running steps are waited for when the daemon is to end. Longer than the default time-out of a call, shorter than the
/// 90 s after which a service manager kills.
const GRACE: Duration = Duration::from_secs(60);

/// Why a daemon ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Nothing can be written down any more. Opened anew, a store that is damaged is set aside.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not begin.
    #[error("{0}")]
    Begin(String),
    /// It could not listen.
    #[error(transparent)]
    Listen(#[from] Unfit),
}

/// Follows the manifests until a signal ends it.
///
/// # Errors
/// See [`Ended`].
pub async fn watch(config: DaemonConfig) -> Result<(), Ended> {
    let begin = |what: &str, error: std::io::Error| Ended::Begin(format!("{what}: {error}"));
    let mut signals = Signals::new().map_err(|error| begin("signals cannot be caught", error))?;
    let service = Service::new();
    let (ended, passes) = mpsc::unbounded_channel();
    let reconciler = Arc::new(Reconciler::new(config, ended).map_err(Ended::Begin)?);
    let server = server::serve(Arc::clone(&reconciler)).map_err(Ended::Begin)?;
    let listening = match &reconciler.config.listen {
        None => None,
        Some(listen) => match listen.serve(&reconciler).await {
            Ok((listening, url)) => {
                tracing::info!("listening on {url}");
                let _ = reconciler.listening.set(url);
                Some(listening)
            }
            Err(unfit) => {
                server.end().await;
                return Err(unfit.into());
            }
        },
    };
    tracing::info!(specs = %reconciler.specs.display(), state = %reconciler.config.state.display(), "following the manifests");
    service.ready("making the first pass");
    let mut turning = Turning {
        files: None,
        checking: Some(watch_files(&reconciler)),
        probing: None,
        placing: None,
        running: None,
        schedule: Schedule::new(Instant::now()),
        passes,
        service,
        reconciler: Arc::clone(&reconciler),
    };
    let result = turning.turn(&mut signals).await;
    turning.service.stopping();
    turning.stop(&mut signals).await;
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

enum Told {
    ToEnd(&'static str),
    ToReadAgain,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::ToEnd("SIGINT"),
            _ = self.terminate.recv() => Told::ToEnd("SIGTERM"),
            _ = self.hangup.recv() => Told::ToReadAgain,
        }
    }
}

struct Turning {
    reconciler: Arc<Reconciler>,
    service: Service,
    schedule: Schedule,
    /// Passes that have ended, whoever made them.
    passes: mpsc::UnboundedReceiver<Result<After, StoreError>>,
    /// The loop's own pass.
    running: Option<JoinHandle<Result<(), Refused>>>,
    /// None while it is being checked.
    files: Option<Files>,
    checking: Option<JoinHandle<Files>>,
    probing: Option<JoinHandle<bool>>,
    /// Whether the store is where it was.
    placing: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Turning {
    /// Until a signal, or a store that fails.
    async fn turn(&mut self, signals: &mut Signals) -> Result<(), Ended> {
        let beat = self.service.beat().map_or(TICK, |beat| beat.clamp(Duration::from_millis(1), TICK));
        let mut tick = interval(beat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due();
            self.reconciler.known().next = self.schedule.next();
            tokio::select! {
                biased;
                told = signals.next() => match told {
                    Told::ToEnd(signal) => {
                        tracing::info!("{signal}: finishing what runs");
                        return Ok(());
                    }
                    Told::ToReadAgain => {
                        tracing::info!("SIGHUP: reading everything again");
                        self.service.reloading();
                        self.reconciler.reload();
                        self.schedule.want(Instant::now());
                        self.service.ready("reading everything again");
                    }
                },
                Some(pass) = self.passes.recv() => self.schedule.ended(Instant::now(), pass?),
                ended = joined(&mut self.running) => {
                    self.running = None;
                    self.own_pass_ended(ended);
                }
                files = joined(&mut self.checking) => {
                    self.checking = None;
                    match files {
                        Ok(files) => self.files = Some(files),
                        // A panic there is a bug.
                        Err(_) => self.checking = Some(watch_files(&self.reconciler)),
                    }
                }
                back = joined(&mut self.probing) => {
                    self.probing = None;
                    if back.unwrap_or_default() {
                        self.schedule.want(Instant::now());
                    }
                }
                placed = joined(&mut self.placing) => {
                    self.placing = None;
                    // A panic there is a bug, and says nothing about the store.
                    if let Ok(Err(error)) = placed {
                        tracing::error!("{error}");
                        return Err(error.into());
                    }
                }
                () = self.reconciler.dirty.notified() => self.schedule.changed(Instant::now()),
                () = self.reconciler.wake.notified() => self.schedule.want(Instant::now()),
                _ = tick.tick() => self.tick(),
                () = until(due) => self.begin(),
            }
        }
    }

    /// When something is to be begun: a pass, or while one runs, a look whether it is overtaken.
    fn due(&self) -> Option<Instant> {
        match self.running {
            None => self.schedule.next(),
            Some(_) => self.schedule.quiet_at(),
        }
    }

    fn tick(&mut self) {
        self.reconciler.beat();
        self.service.alive();
        // Off the loop, as everything that may hang.
        if let Some(mut files) = self.files.take() {
            self.checking = Some(tokio::task::spawn_blocking(move || {
                files.check();
                files
            }));
        }
        if self.placing.is_none() {
            let reconciler = Arc::clone(&self.reconciler);
            self.placing = Some(tokio::spawn(async move { reconciler.check_store().await }));
        }
        if self.probing.is_none() {
            let reconciler = Arc::clone(&self.reconciler);
            self.probing = Some(tokio::spawn(async move { reconciler.probe(false).await }));
        }
    }

    fn begin(&mut self) {
        let now = Instant::now();
        if self.running.is_some() {
            self.schedule.look();
            tokio::spawn(overtake(Arc::clone(&self.reconciler)));
            return;
        }
        let by = if self.schedule.begin(now) { By::Time } else { By::Change };
        let (reconciler, stop) = (Arc::clone(&self.reconciler), self.reconciler.stop.child_token());
        self.running =
            Some(tokio::spawn(async move { reconciler.pass(by, stop, Arc::new(LogReporter)).await.map(|_| ()) }));
    }

    fn own_pass_ended(&mut self, ended: Result<Result<(), Refused>, JoinError>) {
        match ended {
            Ok(Ok(()) | Err(Refused::Unchanged)) => {}
            Ok(Err(Refused::Checkout | Refused::Written)) => self.schedule.want(Instant::now() + CHECKOUT),
            Ok(Err(Refused::Unusable)) => {
                tracing::warn!(
                    "nobody can say whose objects these are while the Stack cannot be read: nothing is done"
                );
            }
            // Told by way of `passes`, or only ever said to a person.
            Ok(Err(Refused::Store(_) | Refused::Problems(_) | Refused::OtherSpecs)) => {}
            Err(error) => {
                tracing::error!(%error, "a pass ended in a panic (a bug in Kiln)");
                self.schedule.want(Instant::now() + AFTER_PANIC);
            }
        }
        if let Some(last) = &self.reconciler.known().last {
            let held = if last.held > 0 { format!(", {} held", last.held) } else { String::new() };
            self.service.says(&format!("last pass {}: {}{held}", last.began_at, last.ending));
        }
    }

    /// Lets the running steps end, for a while, or until a second signal.
    async fn stop(&mut self, signals: &mut Signals) {
        self.reconciler.stop.cancel();
        let again = async {
            loop {
                if let Told::ToEnd(signal) = signals.next().await {
                    return signal;
                }
            }
        };
        tokio::select! {
            _turn = self.reconciler.turn.lock() => tracing::info!("ended"),
            signal = again => tracing::warn!("{signal} again: ended at once; what was running is looked at by the next run"),
            () = tokio::time::sleep(GRACE) => {
                tracing::warn!("steps still run after {} s: they are left, and looked at by the next run", GRACE.as_secs());
            }
        }
    }
}

/// Begins to watch the manifests, off the loop: a file system that hangs must not hang it.
fn watch_files(reconciler: &Arc<Reconciler>) -> JoinHandle<Files> {
    let reconciler = Arc::clone(reconciler);
    tokio::task::spawn_blocking(move || Files::watch(&reconciler.config.specs, Arc::clone(&reconciler.dirty)))
}

/// Stops a pass whose manifests are no longer those that are there, at its next step.
async fn overtake(reconciler: Arc<Reconciler>) {
    let reading = reconciler.read().await;
    let known = reconciler.known();
    // One that was stopped before it changed anything is not followed by another such: changes without end must not stop everything.
    let is_allowed = known.last.as_ref().is_none_or(|last| last.ending != Ending::Stopped.as_str() || last.changed > 0);
    if let Some(running) = known.running.as_ref().filter(|running| !running.by_hand && is_allowed)
        && running.content.as_ref().is_some_and(|content| *content != reading.content)
    {
        tracing::info!("the manifests have changed: the pass that runs stops at its next step");
        running.stop.cancel();
    }
}

/// Waits for a task, for ever if there is none.
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
