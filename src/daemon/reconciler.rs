//! What the loop and its clients share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::monitoring::Listen;
use super::api::protocol::{BreakerView, DaemonView, PassView, RunningView, VERSION};
use super::backoff::Objects;
use super::calls::{Calls, Watching};
use super::expiry::Expiry;
use super::metrics::Metrics;
use super::probe::Probe;
use super::schedule::{After, Confirmed};
use crate::driver::has_writer;
use crate::engine::{Clock, Connect, Setup};
use crate::manifest::{Allowed, Limits, ManifestState, Reader, Source, checkout_in_progress, problem_views};
use crate::model::{Name, Owner, Reading};
use crate::plan::Retry;
use crate::report::Commands;
use crate::store::{Store, StoreError};
use crate::text::rfc3339;

/// While `git checkout` is at work, it is looked for again this often.
pub(super) const CHECKOUT: Duration = Duration::from_millis(200);
/// A manifest that is open for writing is waited for this long: a generator writes for seconds, and an editor that keeps its file open must
/// not hold everything up.
const WRITTEN: Duration = Duration::from_secs(60);
/// Manifests are read within a second; so late, their file system hangs.
const HANGS: Duration = Duration::from_secs(30);
/// The loop turns at least once a second; so late, it does not turn.
const STUCK: Duration = Duration::from_secs(10);

/// What a daemon is made of.
pub struct DaemonConfig {
    /// The directory or file that it follows.
    pub specs: PathBuf,
    /// The store's directory, where the control socket is.
    pub state: PathBuf,
    /// What manifests may reach: asked at the beginning, and when everything is to be read again.
    pub allowed: Box<dyn Fn() -> Result<Allowed, String> + Send + Sync>,
    /// Open for writing.
    pub store: Arc<dyn Store>,
    /// Where drivers come from.
    pub connect: Arc<dyn Connect>,
    /// The host's clock: for what is written down, never for how long something is waited for.
    pub clock: Arc<dyn Clock>,
    /// Where monitoring may ask besides the control socket.
    pub listen: Option<Arc<Listen>>,
    /// Completes the commands that the log names.
    pub commands: Commands,
}

/// What the loop and its clients share.
pub(super) struct Reconciler {
    pub(super) config: DaemonConfig,
    /// SPECS, absolute. Where its links lead is asked anew each time: they may be swapped.
    pub(super) specs: PathBuf,
    pub(super) calls: Arc<Calls>,
    pub(super) metrics: Arc<Metrics>,
    /// Drivers with their calls watched.
    connect: Arc<dyn Connect>,
    reader: Mutex<Reader>,
    allowed: Mutex<Allowed>,
    /// Whoever holds it makes a pass, or changes something by hand.
    pub(super) turn: tokio::sync::Mutex<()>,
    known: Mutex<DaemonState>,
    /// Numbers those who look at the file system of the manifests.
    looks: AtomicU64,
    /// Manifests may have changed.
    pub(super) dirty: Arc<Notify>,
    /// A pass is wanted.
    pub(super) wake: Notify,
    /// The daemon is to end.
    pub(super) stop: CancellationToken,
    /// Where passes that have ended are told to the loop.
    pub(super) ended: mpsc::UnboundedSender<Result<After, StoreError>>,
    /// Where monitoring may ask, as a URL, once that is known.
    pub(super) listening: OnceLock<String>,
    began: Instant,
    began_at: u64,
}

/// How long the manifests have been as they are, and what a person asks for about them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Age {
    /// When they have to be read again before something may be removed.
    pub(super) confirm_at: Option<Instant>,
    /// Until when what a vanished directory declared is not removed.
    pub(super) settles_at: Option<Instant>,
    /// `--prune`.
    pub(super) prune: bool,
}

/// What is known from earlier passes.
#[derive(Default)]
pub(super) struct DaemonState {
    /// What was last read.
    pub(super) manifests: Option<ManifestState>,
    /// Since when some manifest has been open for writing.
    pub(super) written: Option<Instant>,
    pub(super) confirmed: Confirmed,
    /// The content that the last pass over everything was made for.
    pub(super) passed: Option<String>,
    /// Owner and id of the Stack that the last pass was made for.
    pub(super) stack: Option<(Owner, String)>,
    /// Of backends that rest.
    pub(super) probes: HashMap<Name, Probe>,
    pub(super) objects: Objects,
    pub(super) expiry: Expiry,
    pub(super) running: Option<Running>,
    pub(super) last: Option<PassView>,
    /// What everything was last brought to.
    pub(super) applied: Option<AppliedContent>,
    /// When the next pass begins.
    pub(super) next: Option<Instant>,
    /// Declared backends that were never seen; `None` before the first pass.
    pub(super) unseen: Option<BTreeSet<Name>>,
    pub(super) heartbeat: Option<Instant>,
    /// Since when the file system of the manifests is looked at, by whom.
    looking: HashMap<u64, Instant>,
    /// What was told as held.
    pub(super) told: BTreeSet<String>,
    /// The warnings that were told.
    pub(super) warned: BTreeSet<String>,
    /// What was told as not seen of backends.
    pub(super) gaps: BTreeMap<Name, Vec<String>>,
}

/// Manifests that everything was brought to.
pub(super) struct AppliedContent {
    /// A hash of them, by which they are known when a commit gives them another revision.
    pub(super) content: String,
    pub(super) revision: String,
}

/// Somebody looks at the file system of the manifests, until it is dropped.
struct Looking<'r> {
    reconciler: &'r Reconciler,
    number: u64,
}

impl<'r> Looking<'r> {
    fn new(reconciler: &'r Reconciler, began: Instant) -> Self {
        let number = reconciler.looks.fetch_add(1, Ordering::Relaxed);
        reconciler.known().looking.insert(number, began);
        Self { reconciler, number }
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.reconciler.known().looking.remove(&self.number);
    }
}

/// A pass that is being made.
pub(super) struct Running {
    /// Of the manifests, once they are read.
    pub(super) content: Option<String>,
    pub(super) since: u64,
    pub(super) by_hand: bool,
    pub(super) stop: CancellationToken,
}

impl Reconciler {
    /// # Errors
    /// What keeps the operator's file from being read.
    pub(super) fn new(
        config: DaemonConfig,
        ended: mpsc::UnboundedSender<Result<After, StoreError>>,
    ) -> Result<Self, String> {
        let allowed = (config.allowed)()?;
        let metrics = Arc::new(Metrics::new());
        let calls = Arc::new(Calls::new(Arc::clone(&config.clock), Arc::clone(&metrics)));
        let connect = Arc::new(Watching { inner: Arc::clone(&config.connect), calls: Arc::clone(&calls) });
        Ok(Self {
            specs: std::path::absolute(&config.specs).unwrap_or_else(|_| config.specs.clone()),
            reader: Mutex::new(Reader::new(Source::Path(config.specs.clone()), Limits::default())),
            allowed: Mutex::new(allowed),
            calls,
            connect,
            metrics,
            turn: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            looks: AtomicU64::new(0),
            dirty: Arc::default(),
            wake: Notify::new(),
            stop: CancellationToken::new(),
            ended,
            listening: OnceLock::new(),
            began: Instant::now(),
            began_at: config.clock.now(),
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

    /// Reads the operator's file again, and what is listened with.
    pub(super) fn reload(&self) {
        match (self.config.allowed)() {
            Ok(allowed) => *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = allowed,
            // What was allowed stays so: a slip of the pen must not hold everything.
            Err(error) => tracing::error!("{error}; what was allowed before still is"),
        }
        if let Some(listen) = &self.config.listen {
            listen.reload();
        }
    }

    /// Reads the manifests, off the async threads.
    pub(super) async fn read(self: &Arc<Self>) -> ManifestState {
        let reconciler = Arc::clone(self);
        let began = Instant::now();
        let manifests = tokio::task::spawn_blocking(move || {
            let _looking = Looking::new(&reconciler, began);
            let allowed = reconciler.allowed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            reconciler.reader.lock().unwrap_or_else(PoisonError::into_inner).read(&allowed)
        });
        manifests.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// The reading, with how sure it is that what it does not name is gone.
    pub(super) fn aged(&self, manifests: &ManifestState, age: &Age) -> Arc<Reading> {
        let Age { confirm_at, settles_at, prune } = age;
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

    /// Whether a manifest that no pass was made for is open for writing. It is waited for, and that is said once.
    pub(super) async fn is_written(self: &Arc<Self>, manifests: &ManifestState) -> bool {
        let coverage = &manifests.reading.coverage;
        {
            let mut known = self.known();
            if known.passed.as_ref() == Some(&manifests.content) {
                // The next writer is waited for anew.
                known.written = None;
                return false;
            }
        }
        let files: Vec<PathBuf> = match &coverage.file {
            Some(file) => vec![PathBuf::from(file)],
            None => coverage.files.iter().map(|file| self.config.specs.join(file)).collect(),
        };
        let writer = tokio::task::spawn_blocking(move || files.into_iter().find(|file| has_writer(file)));
        let Some(file) = writer.await.ok().flatten() else {
            self.known().written = None;
            return false;
        };
        let mut known = self.known();
        let now = Instant::now();
        if known.written.is_none() {
            let seconds = WRITTEN.as_secs();
            tracing::info!("{} is open for writing: waiting for its writer, at most {seconds} s", file.display());
        }
        now < *known.written.get_or_insert(now) + WRITTEN
    }

    /// Checks, off the async threads, that the store is still where others look for it.
    pub(super) async fn check_store(&self) -> Result<(), StoreError> {
        let store = Arc::clone(&self.config.store);
        let checked = tokio::task::spawn_blocking(move || store.check_place());
        checked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Whether Git is just changing the manifests.
    pub(super) async fn is_checked_out(self: &Arc<Self>) -> bool {
        let source = Source::Path(self.config.specs.clone());
        let now = UNIX_EPOCH + Duration::from_secs(self.config.clock.now());
        let (reconciler, began) = (Arc::clone(self), Instant::now());
        let checkout = tokio::task::spawn_blocking(move || {
            let _looking = Looking::new(&reconciler, began);
            checkout_in_progress(&source, now).is_some()
        });
        checkout.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// What a pass or an act is made with.
    pub(super) fn setup(&self, reading: Arc<Reading>) -> Setup {
        Setup {
            reading,
            store: Some(Arc::clone(&self.config.store)),
            connect: Arc::clone(&self.connect),
            clock: Arc::clone(&self.config.clock),
        }
    }

    /// The loop turns.
    pub(super) fn beat(&self) {
        self.known().heartbeat = Some(Instant::now());
    }

    /// What is wrong with the daemon itself, if something is.
    pub(super) fn illness(&self) -> Option<String> {
        let late = self.known().heartbeat.unwrap_or(self.began).elapsed();
        if late > STUCK {
            return Some(format!("the loop has not turned for {} s", late.as_secs()));
        }
        let oldest = self.known().looking.values().min().map(Instant::elapsed).filter(|since| *since > HANGS);
        oldest.map(|since| format!("the manifests have been being read for {} s", since.as_secs()))
    }

    /// What it has yet to see before it can be relied on, if something.
    pub(super) fn unready(&self) -> Option<String> {
        match &self.known().unseen {
            None => Some("no pass has ended yet".to_owned()),
            Some(unseen) if unseen.is_empty() => None,
            Some(unseen) => {
                let names: Vec<&str> = unseen.iter().map(Name::as_str).collect();
                Some(format!("never seen yet: backend {}", names.join(", ")))
            }
        }
    }

    /// Objects whose last step failed.
    pub(super) fn retries(&self) -> Vec<Retry> {
        let known = self.known();
        let all = known.objects.all().map(|(object, failing)| Retry {
            kind: object.kind,
            name: object.name.clone(),
            failures: failing.failures,
            error: failing.error.clone(),
            next_attempt_at: rfc3339(self.calls.wall(failing.next)),
        });
        all.collect()
    }

    /// The daemon at a glance.
    pub(super) fn view(&self) -> DaemonView {
        let retries = self.retries();
        let breakers = self.calls.breakers();
        let open_breakers = breakers.all().map(|(backend, failing)| BreakerView {
            backend: backend.clone(),
            failures: failing.failures,
            error: failing.error.clone(),
            next_attempt_at: rfc3339(self.calls.wall(failing.next)),
        });
        let open_breakers = open_breakers.collect();
        drop(breakers);
        let ready = self.unready().is_none();
        let known = self.known();
        DaemonView {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            specs: self.specs.clone(),
            started_at: rfc3339(self.began_at),
            uptime_seconds: self.began.elapsed().as_secs(),
            revision_applied: known.applied.as_ref().map(|applied| applied.revision.clone()),
            revision_attempted: known.manifests.as_ref().map(|manifests| manifests.reading.revision.clone()),
            last_pass: known.last.clone(),
            running: known
                .running
                .as_ref()
                .map(|running| RunningView { since: rfc3339(running.since), by_hand: running.by_hand }),
            next_pass_at: known.next.map(|next| rfc3339(self.calls.wall(next))),
            ready,
            listening: self.listening.get().cloned(),
            problems: known.manifests.as_ref().map(|manifests| problem_views(&manifests.problems)).unwrap_or_default(),
            retries,
            open_breakers,
        }
    }
}
