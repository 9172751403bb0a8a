//! A pass of the daemon, whoever asked for it: read, decide what is not to be tried now, reconcile, note what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::protocol::{ApplyRequest, PassView};
use super::metrics::Ending;
use super::probe::Probe;
use super::reconciler::{Age, AppliedContent, Reconciler, Running};
use super::schedule::After;
use crate::engine::{self, Options, Report, Reporter};
use crate::manifest::{ManifestState, Problem};
use crate::model::{
    Action, BackendSpec, DriverError, ErrorKind, Kind, Name, ObjectId, Owner, Reading, Specs, Step, Uid, Verb,
};
use crate::plan::{Observation, Overview, Plan, World};
use crate::report::Commands;
use crate::store::StoreError;
use crate::text::rfc3339;

/// Who asks for a pass.
#[expect(clippy::large_enum_variant, reason = "there is one of them for each pass")]
pub(super) enum By {
    /// The loop, because manifests may have changed, and for nothing else.
    Change,
    /// The loop, for another reason.
    Time,
    /// A person.
    Hand(ApplyRequest),
}

/// Why a pass was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The manifests are as they were for the last pass, and nothing else asked for one.
    #[error("the manifests have not changed since the last pass")]
    Unchanged,
    /// Git is just changing them.
    #[error("Git is changing the manifests")]
    Checkout,
    /// A process is just writing one of them.
    #[error("a process is writing a manifest")]
    Written,
    /// Nobody can say whose objects these are.
    #[error("the Stack cannot be read")]
    Unusable,
    /// The manifests have problems, and a person's apply does nothing then.
    #[error("the manifests have problems")]
    Problems(Arc<[Problem]>),
    /// The saved plan is of other manifests.
    #[error("the plan was saved for other manifests than those that the daemon follows now")]
    OtherSpecs,
    /// Nothing can be written down.
    #[error(transparent)]
    Store(StoreError),
}

impl Reconciler {
    /// Makes a pass, when it is its turn.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(super) async fn pass(
        self: &Arc<Self>,
        by: By,
        stop: CancellationToken,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Report, Refused> {
        let by_hand = matches!(by, By::Hand(_));
        let _turn = self.turn.lock().await;
        let since = self.config.clock.now();
        self.known().running = Some(Running { content: None, since, by_hand, stop: stop.clone() });
        let _running = Ran(self);
        let result = self.make(by, stop, reporter).await;
        if let Err(Refused::Store(error)) = &result {
            self.end(error);
        }
        result
    }

    async fn make(
        self: &Arc<Self>,
        by: By,
        stop: CancellationToken,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Report, Refused> {
        let began = Instant::now();
        let by_hand = matches!(by, By::Hand(_));
        self.check_store().await.map_err(Refused::Store)?;
        let is_checked_out = self.is_checked_out().await;
        if !by_hand && is_checked_out {
            return Err(Refused::Checkout);
        }
        let manifests = self.read().await;
        if !by_hand && self.is_written(&manifests).await {
            return Err(Refused::Written);
        }
        let (options, age) = self.options(by, stop, &manifests, is_checked_out, began)?;
        let confirm_at = age.confirm_at;
        let (is_whole, is_foreign) = {
            let known = self.known();
            let stack = &manifests.reading.specs.stack;
            // A Stack that has gone, or is another, may be in a file that is just being written: it needs a second look too.
            let is_other = |known: &(Owner, String)| known.0 != stack.owner || known.1 != stack.id;
            let is_foreign = confirm_at.is_some() && known.stack.as_ref().is_some_and(is_other);
            (options.only.is_empty() && options.saved.is_none(), is_foreign)
        };
        if !manifests.usable || is_foreign {
            // What was before is another content again, when it comes back.
            self.known().passed = Some(manifests.content.clone());
            let view = self.viewed(&manifests, Ending::Invalid, began, &Report::default());
            self.noted(view, Ending::Invalid, began);
            self.ended_with(After {
                interval: manifests.reading.specs.stack.interval.into(),
                changed: false,
                due: confirm_at,
            });
            return Err(Refused::Unusable);
        }
        // A removal needs a second look at the manifests.
        let reading = self.aged(&manifests, &age);
        let setup = self.setup(Arc::clone(&reading));
        if by_hand {
            // Whoever asks has perhaps just mended what failed.
            self.probe(true).await;
        }
        let mut report = engine::reconcile_once(&setup, &options, reporter).await.map_err(Refused::Store)?;
        {
            let mut known = self.known();
            let stack = &manifests.reading.specs.stack;
            known.stack = Some((stack.owner.clone(), stack.id.clone()));
            if is_whole && !(by_hand && report.stopped) {
                known.passed = Some(manifests.content.clone());
            }
        }
        if !report.refused.is_empty() || !report.unknown.is_empty() {
            // Nothing was run, and nothing of what was seen is told.
            return Ok(report);
        }
        let mut after = self.note(&manifests, confirm_at.is_some(), &options, &mut report, began, by_hand);
        self.note_trash(&manifests, &reading, &report);
        if !by_hand && manifests.problems.is_empty() {
            self.purge(&reading, &options, &report, &manifests).await;
        }
        let ripe = self.known().expiry.next(Instant::now());
        let settled = age.settles_at.filter(|_| report.plan.as_ref().is_some_and(|plan| plan.unsettled));
        after.due = [after.due, confirm_at, settled, ripe].into_iter().flatten().min();
        self.ended_with(after);
        Ok(report)
    }

    /// How the pass is to be made, and how sure it is that what the manifests do not name is gone.
    fn options(
        &self,
        by: By,
        stop: CancellationToken,
        manifests: &ManifestState,
        is_checked_out: bool,
        now: Instant,
    ) -> Result<(Options, Age), Refused> {
        let mut known = self.known();
        let known = &mut *known;
        if let Some(running) = &mut known.running {
            running.content = Some(manifests.content.clone());
        }
        tell_problems(known.manifests.as_ref(), manifests);
        self.metrics.problems(manifests.problems.len());
        let before = known.manifests.replace(manifests.clone());
        let same_facts = before.as_ref().is_some_and(|before| before.reading.coverage == manifests.reading.coverage);
        if let Some(before) = before {
            self.begin_anew(&before.reading.specs, &manifests.reading.specs);
        }
        // A commit of what is applied already changes what it is called, and nothing else.
        if let Some(applied) = known.applied.as_mut().filter(|applied| applied.content == manifests.content) {
            applied.revision.clone_from(&manifests.reading.revision);
        }
        let mut options = Options { stop, ..Options::default() };
        let mut age = Age { settles_at: known.confirmed.settles_at(&manifests.content, now), ..Age::default() };
        match by {
            By::Change if same_facts && known.passed.as_ref() == Some(&manifests.content) => {
                return Err(Refused::Unchanged);
            }
            By::Change | By::Time => {
                options.unattended = true;
                age.confirm_at = known.confirmed.read(&manifests.content, now);
                if !known.objects.is_empty() {
                    let specs = &manifests.reading.specs;
                    options.postponed = known.objects.waiting(now, |kind, name| spec_hash(specs, kind, name));
                }
            }
            By::Hand(_) if !manifests.problems.is_empty() => return Err(Refused::Problems(manifests.problems.clone())),
            By::Hand(ask) => {
                // What is asked for is as good as a second look. Of a part, nothing is said about the rest; and what Git is just
                // changing is not what was meant for good.
                let is_whole = ask.only.is_empty() && ask.saved.is_none();
                if is_whole && !is_checked_out && !options.stop.is_cancelled() {
                    known.confirmed.asked_for(&manifests.content, now);
                }
                if ask.saved.as_ref().is_some_and(|(_, saved)| !saved.declares_the_same(&manifests.reading)) {
                    return Err(Refused::OtherSpecs);
                }
                age.prune = ask.prune;
                options.approve = ask.approve;
                options.by = ask.by;
                options.only = ask.only.into_iter().collect();
                options.saved = ask.saved.map(|(plan, _)| Arc::new(plan));
            }
        }
        Ok((options, age))
    }

    /// A backend that is reached otherwise now is asked as if it had never failed: somebody may have mended it.
    fn begin_anew(&self, before: &Specs, now: &Specs) {
        let mut breakers = self.calls.breakers();
        breakers.retain(|name| match (before.backends.get(name), now.backends.get(name)) {
            (Some(before), Some(now)) => before.is_reached_like(now),
            (_, now) => now.is_some(),
        });
    }

    /// Notes what came of a pass. When the next one is due, but for what the manifests and the trash ask for.
    fn note(
        &self,
        manifests: &ManifestState,
        unconfirmed: bool,
        options: &Options,
        report: &mut Report,
        began: Instant,
        by_hand: bool,
    ) -> After {
        let (now, specs) = (Instant::now(), &manifests.reading.specs);
        let no_plan = Plan::of(specs.stack.owner.clone(), String::new(), Vec::new());
        let plan = report.plan.as_ref().unwrap_or(&no_plan);
        let is_failed = !report.failed.is_empty() || !report.breaches.is_empty() || !plan.unobserved.is_empty();
        let ending = match () {
            () if is_failed => Ending::Failed,
            () if report.stopped => Ending::Stopped,
            () => Ending::Done,
        };
        for breach in &report.breaches {
            tracing::error!("the plan breaks a rule of its own, and nothing of it was run (a bug in Kiln): {breach}");
        }
        self.note_backends(&manifests.reading, report, now);
        let view = self.viewed(manifests, ending, began, report);
        let due = {
            let mut known = self.known();
            let known = &mut *known;
            let failed: BTreeSet<(Kind, &Name)> =
                report.failed.iter().map(|(step, _)| (step.identity.kind, &step.identity.name)).collect();
            let planned: BTreeSet<(Kind, &Name)> =
                plan.steps.iter().map(|step| (step.identity.kind, &step.identity.name)).collect();
            // What was done, and what nothing is to be done for any more, has no failures to count.
            known.objects.retain(|kind, name| match planned.contains(&(kind, name)) {
                true => failed.contains(&(kind, name)) || options.postponed.contains(&ObjectId::new(kind, name)),
                false => by_hand,
            });
            // Of a backend that rests every step fails: that says nothing of the objects. Nor does what an earlier run left half made.
            let of_object = |(step, error): &&(Step, DriverError)| {
                error.kind != ErrorKind::BreakerOpen && step.action != Action::Sweep
            };
            if !report.failed.is_empty() {
                for (step, error) in report.failed.iter().filter(of_object) {
                    let (kind, name) = (step.identity.kind, &step.identity.name);
                    known.objects.failed(kind, name, spec_hash(specs, kind, name), &error.message, now);
                }
            }
            if ending == Ending::Done
                && manifests.problems.is_empty()
                && report.postponed == 0
                && options.only.is_empty()
            {
                let (content, revision) = (manifests.content.clone(), manifests.reading.revision.clone());
                known.applied = Some(AppliedContent { content, revision });
                self.metrics.success(self.config.clock.now());
            }
            tell_held(&mut known.told, plan, unconfirmed, &self.config.commands);
            tell_warnings(&mut known.warned, plan, &self.config.commands);
            tell_gaps(&mut known.gaps, &report.world);
            known.objects.next()
        };
        self.metrics.steps("changed", report.changed);
        self.metrics.steps("unchanged", report.unchanged);
        self.metrics.steps("failed", report.failed.len());
        let intents = self.config.store.intents().map_or(0, |intents| intents.len());
        self.metrics.waiting(self.known().objects.all().count(), intents);
        if options.only.is_empty() {
            let left = left_of(plan, report, &options.postponed);
            let overview = Overview {
                now: self.config.clock.now(),
                world: std::mem::take(&mut report.world),
                records: self.config.store.records().unwrap_or_default(),
                suspended: report.suspensions.clone(),
                journal: Vec::new(),
                plan: plan.clone(),
                retries: Vec::new(),
            };
            let orphans = crate::report::orphans(&overview, &manifests.reading);
            self.metrics.seen(specs, &overview.world, &overview.plan, &left, &orphans);
            report.world = overview.world;
        }
        self.noted(view, ending, began);
        After { interval: specs.stack.interval.into(), changed: report.changed > 0 || report.stopped, due }
    }

    /// A backend that did not show itself at all is left alone for a while.
    fn note_backends(&self, reading: &Reading, report: &Report, now: Instant) {
        let specs = &reading.specs;
        let mut breakers = self.calls.breakers();
        breakers.retain(|name| specs.backends.contains_key(name));
        for (name, view) in &report.world {
            match view {
                Observation::Failed { why } if breakers.open(name).is_none() => {
                    breakers.failed(name, false, why, now);
                    tracing::warn!(backend = %name, "it could not be observed, and is left alone for a while: {why}");
                }
                Observation::Seen { .. } | Observation::LockedBy { .. } => breakers.seen(name),
                Observation::Failed { .. } | Observation::Unsupported => {}
            }
        }
        drop(breakers);
        let mut known = self.known();
        if known.unseen.is_none() && reading.broken {
            // It is not known yet which there are.
            return;
        }
        let unseen = known.unseen.get_or_insert_with(|| specs.backends.keys().cloned().collect());
        unseen.retain(|name| {
            let is_waited_for = matches!(report.world.get(name), Some(Observation::Failed { .. }));
            specs.backends.contains_key(name) && is_waited_for
        });
    }

    fn viewed(&self, manifests: &ManifestState, ending: Ending, began: Instant, report: &Report) -> PassView {
        PassView {
            began_at: rfc3339(self.config.clock.now().saturating_sub(began.elapsed().as_secs())),
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            revision: manifests.reading.revision.clone(),
            ending: ending.to_string(),
            changed: report.changed,
            failed: report.failed.len(),
            postponed: report.postponed + report.waiting.len(),
            held: report.plan.as_ref().map_or(0, |plan| plan.held.len()),
        }
    }

    fn noted(&self, view: PassView, ending: Ending, began: Instant) {
        self.metrics.pass(ending, began.elapsed());
        self.known().last = Some(view);
    }

    fn ended_with(&self, after: After) {
        // A loop that has ended need not be told.
        let _ = self.ended.send(Ok(after));
    }

    /// Asks backends that rest whether they are back: those whose time has come, or all. Whether one is.
    pub(super) async fn probe(self: &Arc<Self>, all: bool) -> bool {
        let Some(specs) = self.known().manifests.as_ref().map(|manifests| Arc::clone(&manifests.reading.specs)) else {
            return false;
        };
        let now = Instant::now();
        let due: Vec<Name> = {
            let breakers = self.calls.breakers();
            breakers.all().filter(|(_, failing)| all || failing.next <= now).map(|(name, _)| name.clone()).collect()
        };
        let mut asked = JoinSet::new();
        for backend in due.iter().filter_map(|name| specs.backends.get(name)).cloned() {
            let reconciler = Arc::clone(self);
            asked.spawn(async move {
                let answer = reconciler.ask(&backend, all).await;
                let name = &backend.meta.name;
                let result = answer.as_ref().copied().map_err(|error| error.message.as_str());
                let is_back = reconciler.calls.breakers().probed(name, result, Instant::now());
                if is_back {
                    tracing::info!(backend = %name, "it answers again");
                }
                is_back
            });
        }
        asked.join_all().await.into_iter().any(|is_back| is_back)
    }

    /// Asks one. A person is not told that nothing is asked any more because too many answers are missing: then it begins anew.
    async fn ask(&self, backend: &BackendSpec, by_hand: bool) -> Result<(), DriverError> {
        let (began, name) = (Instant::now(), &backend.meta.name);
        let before = self.known().probes.remove(name);
        let before = before.filter(|probe| probe.is_of(backend) && !(by_hand && probe.is_full()));
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

/// When it is dropped, no pass runs any more, however it ended.
struct Ran<'r>(&'r Reconciler);

impl Drop for Ran<'_> {
    fn drop(&mut self) {
        self.0.known().running = None;
    }
}

/// What each step of a plan that is still to be made does: it failed, was postponed or stopped before, or waits for one of those.
fn left_of(plan: &Plan, report: &Report, postponed: &BTreeSet<ObjectId>) -> Vec<Verb> {
    let not_made: BTreeSet<(Uid, Verb)> = report
        .failed
        .iter()
        .map(|(step, _)| step)
        .chain(&report.waiting)
        .map(|step| (step.identity.uid, step.action.verb()))
        .collect();
    let mut left = vec![false; plan.steps.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        left[index] = report.stopped
            || not_made.contains(&(step.identity.uid, step.action.verb()))
            || postponed.contains(&step.identity.id())
            || step.after.iter().any(|before| left[*before]);
    }
    plan.steps.iter().zip(left).filter(|(_, left)| *left).map(|(step, _)| step.action.verb()).collect()
}

/// A hash of what is declared of an object.
fn spec_hash(specs: &Specs, kind: Kind, name: &Name) -> blake3::Hash {
    // `Debug` shows every field, and paths that are no text too. The hash never leaves the process.
    let declared = match kind {
        Kind::Volume => format!("{:?}", specs.volumes.get(name)),
        Kind::Snapshot => format!("{:?}", specs.snapshots.get(name)),
        Kind::Export => format!("{:?}", specs.exports.get(name)),
        // No step is of one of these.
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => String::new(),
    };
    blake3::hash(declared.as_bytes())
}

/// Logs what is wrong with the manifests, once for each time that it changes.
fn tell_problems(before: Option<&ManifestState>, now: &ManifestState) {
    let same = |before: &ManifestState| before.problems == now.problems;
    if before.is_some_and(same) {
        return;
    }
    for problem in now.problems.iter() {
        tracing::warn!("{}: {}", problem.place, problem.message);
    }
    match (before, now.problems.len()) {
        (_, 0) if before.is_some_and(|before| !before.problems.is_empty()) => {
            tracing::info!("the manifests are good again")
        }
        (_, 0) => {}
        (_, _) => tracing::warn!("while a manifest has a problem nothing is removed; what it last said holds"),
    }
}

/// Logs what is held, once, and that it no longer is.
///
/// What only waits for the confirmation read (a removal, and a new volume that may be the removed one renamed) is not worth a line: it
/// is told when it is made.
fn tell_held(told: &mut BTreeSet<String>, plan: &Plan, unconfirmed: bool, commands: &Commands) {
    let mut now = BTreeSet::new();
    for held in &plan.held {
        let what = format!("{}/{} ({} of it): {}", held.kind.as_lower(), held.name, held.action, held.reason);
        let is_told = told.contains(&what);
        if unconfirmed && !is_told && matches!(held.action, Verb::Create | Verb::Remove | Verb::Destroy) {
            continue;
        }
        if !is_told && !now.contains(&what) {
            let (message, fix) = (commands.complete(&held.message), commands.complete(&held.fix));
            tracing::warn!("held: {what}: {message}; fix: {fix}");
        }
        now.insert(what);
    }
    for gone in told.difference(&now) {
        tracing::info!("no longer held: {gone}");
    }
    *told = now;
}

/// Logs each warning of the plan once, for as long as the plan has it.
fn tell_warnings(told: &mut BTreeSet<String>, plan: &Plan, commands: &Commands) {
    let now: BTreeSet<String> = plan.warnings.iter().map(|w| format!("{}: {}", w.code, w.message)).collect();
    now.difference(told).for_each(|warning| tracing::warn!("{}", commands.complete(warning)));
    *told = now;
}

/// Logs what of the backends cannot be seen, once for each time that it changes.
fn tell_gaps(told: &mut BTreeMap<Name, Vec<String>>, world: &World) {
    let mut now = BTreeMap::new();
    for (name, view) in world {
        let (Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) = view else { continue };
        if observed.gaps.is_empty() {
            continue;
        }
        if told.get(name) != Some(&observed.gaps) {
            tracing::warn!(backend = %name, "seen only in part: {}", observed.gaps.join("; "));
        }
        now.insert(name.clone(), observed.gaps.clone());
    }
    for name in told
        .keys()
        .filter(|name| matches!(world.get(*name), Some(Observation::Seen { .. })) && !now.contains_key(*name))
    {
        tracing::info!(backend = %name, "seen as a whole again");
    }
    *told = now;
}
