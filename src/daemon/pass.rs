//! A pass of the daemon, for the loop or a client: read the manifests, postpone what failed recently, reconcile, record the results.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::api::protocol::{ApplyRequest, PassEnding, PassView};
use super::breaker::{CallFailure, FailedCall};
use super::log_changes::{log_backends, log_gaps, log_held, log_problems, log_warnings};
use super::reconciler::Reconciler;
use super::schedule::{After, Due};
use super::state::{AppliedContent, Certainty, DaemonState, RunningPass};
use crate::engine::{self, Options, Report, Reporter, Wait};
use crate::manifest::{ManifestState, Problem};
use crate::model::{Action, DriverError, ErrorKind, Kind, Name, ObjectId, Owner, Reading, Specs, Step, Uid, Verb};
use crate::plan::{Observation, Overview, Plan, begun_without};
use crate::store::StoreError;
use crate::text::rfc3339;

/// Why a pass is made.
#[expect(clippy::large_enum_variant, reason = "there is one of them for each pass")]
pub(super) enum Trigger {
    /// The loop makes it: for what is due, or else because manifests may have changed. The token is cancelled when another pass is due: then
    /// steps that still run go on without this one.
    Loop(Option<Due>, CancellationToken),
    /// A client asked for an apply.
    Client(ApplyRequest),
}

/// Why no pass was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassRefused {
    /// The manifests are those of the last pass, and nothing else is due.
    #[error("the manifests have not changed since the last pass")]
    Unchanged,
    /// Git is changing the manifests.
    #[error("Git is changing the manifests")]
    Checkout,
    /// A process is writing a manifest.
    #[error("a process is writing a manifest")]
    Written,
    /// The owner of the objects is unknown.
    #[error("the Stack cannot be read")]
    Unusable,
    /// The Stack is missing, or is another one than before, and the confirmation read has not shown the same. Only the loop waits for it.
    #[error("the Stack is missing, or is another one than before: the pass waits for the confirmation read")]
    OtherStack,
    /// The manifests have problems: a client's apply does nothing then.
    #[error("the manifests have problems")]
    Problems(Arc<[Problem]>),
    /// The saved plan was made for other manifests.
    #[error("the saved plan was made for other manifests than those that the daemon follows now")]
    OtherSpecs,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl Trigger {
    /// As in the log.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Loop(None, _) => "change",
            Self::Loop(Some(Due::Time), _) => "due",
            Self::Loop(Some(Due::Answer), _) => "answer",
            Self::Client(_) => "client",
        }
    }
}

impl PassRefused {
    /// What a client does about it.
    pub(super) fn fix(&self) -> &'static str {
        match self {
            PassRefused::Unchanged => "edit the manifests, then `kiln apply`",
            PassRefused::Checkout => "wait until Git has finished, then `kiln apply`",
            PassRefused::Written => "wait until the manifest is written, then `kiln apply`",
            PassRefused::Unusable => "correct the Stack: `kiln check` shows the problems",
            PassRefused::OtherStack => "wait: the daemon reads the manifests again within seconds",
            PassRefused::Problems(_) => "`kiln check` shows the problems",
            PassRefused::OtherSpecs => "`kiln plan --out FILE` makes a plan of the manifests as they are now",
            PassRefused::Store(_) => "`kiln doctor` shows what the store lacks",
        }
    }
}

impl Reconciler {
    /// Waits for the running pass or operation to end, then makes a pass.
    ///
    /// # Errors
    /// See [`PassRefused`].
    pub(super) async fn pass(
        self: &Arc<Self>,
        trigger: Trigger,
        stop: CancellationToken,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Report, PassRefused> {
        let by_client = matches!(trigger, Trigger::Client(_));
        let _turn = match &trigger {
            Trigger::Client(ask) => self.turn_to_apply(ask, &stop).await,
            Trigger::Loop(..) => self.turn_of_loop().await,
        };
        let since = self.config.clock.now();
        self.known().running = Some(RunningPass { content: None, since, by_client, stop: stop.clone() });
        let _running = ClearsRunningPass(self);
        let span = engine::pass_span(trigger.as_str());
        let result = self.make_pass(trigger, stop, reporter).instrument(span).await;
        if let Err(PassRefused::Store(error)) = &result {
            self.end(error);
        }
        result
    }

    async fn make_pass(
        self: &Arc<Self>,
        trigger: Trigger,
        stop: CancellationToken,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Report, PassRefused> {
        let began = Instant::now();
        let by_client = matches!(trigger, Trigger::Client(_));
        self.check_store().await.map_err(PassRefused::Store)?;
        let is_checkout_running = self.is_checkout_running().await;
        if !by_client && is_checkout_running {
            return Err(PassRefused::Checkout);
        }
        let manifests = self.read().await;
        if !by_client && self.is_being_written(&manifests).await {
            return Err(PassRefused::Written);
        }
        if self.known().reconciled_content.as_ref() != Some(&manifests.content) {
            // Steps that go on without their pass follow from the manifests before.
            self.background.stop_steps();
        }
        let (options, certainty) = self.options(trigger, stop, &manifests, is_checkout_running, began)?;
        let confirm_at = certainty.confirm_at;
        let (is_complete, is_other_stack) = {
            let known = self.known();
            let stack = &manifests.reading.specs.stack;
            // The file of a Stack that is missing or different may be half written: it needs the confirmation read too.
            let is_other = |known: &(Owner, String)| known.0 != stack.owner || known.1 != stack.id;
            let is_other_stack = confirm_at.is_some() && known.stack.as_ref().is_some_and(is_other);
            (options.only.is_empty() && options.saved.is_none(), is_other_stack)
        };
        if !manifests.usable || is_other_stack {
            // The earlier content counts as a change when it comes back.
            self.known().reconciled_content = Some(manifests.content.clone());
            let view = self.pass_view(&manifests, PassEnding::Invalid, began, &Report::default());
            self.record_pass(view, began);
            // The next pass may be far away: until then no session stays open.
            self.background.close_answers(|_| true);
            self.report_end(After {
                interval: manifests.reading.specs.stack.interval.into(),
                changed: false,
                due: confirm_at,
            });
            return Err(if manifests.usable { PassRefused::OtherStack } else { PassRefused::Unusable });
        }
        let left = self.background.take_reports();
        left.iter().for_each(|(reading, report)| self.note_steps(&reading.specs, report));
        let changed_before = left.iter().any(|(_, report)| report.changed > 0);
        // Removals need a confirmation read of the manifests.
        let reading = self.with_certainty(&manifests, &certainty);
        let setup = self.setup(Arc::clone(&reading));
        if by_client {
            // The person who asks may have just repaired a backend.
            self.probe(true).await;
        }
        let (mut report, pass) = engine::reconcile(&setup, &options, reporter).await.map_err(PassRefused::Store)?;
        let purges = !by_client && manifests.problems.is_empty();
        // Without a purge the writer locks are free at once.
        let pass = purges.then_some(pass);
        if report.declined {
            // A person said no: nothing was executed, and the next pass finds everything as if it had not been asked for.
            return Ok(report);
        }
        {
            let mut known = self.known();
            let stack = &manifests.reading.specs.stack;
            known.stack = Some((stack.owner.clone(), stack.id.clone()));
            if is_complete && !(by_client && report.stopped) {
                known.reconciled_content = Some(manifests.content.clone());
            }
        }
        if !report.refused.is_empty() || !report.unknown.is_empty() {
            // Nothing was executed; this pass says nothing about the backends.
            return Ok(report);
        }
        let mut after = self.record_results(&manifests, confirm_at.is_some(), &options, &mut report, began, by_client);
        self.note_trash(&manifests, &reading, &report);
        if purges {
            self.purge(pass, &reading, &options, &report, &manifests).await;
        }
        self.background.keep(&mut report, |name| manifests.reading.specs.backends.contains_key(name));
        after.changed |= changed_before;
        let expires = self.known().expiry.next(Instant::now());
        let settled = certainty.settles_at.filter(|_| report.plan.as_ref().is_some_and(|plan| plan.unsettled));
        after.due = [after.due, confirm_at, settled, expires].into_iter().flatten().min();
        self.report_end(after);
        Ok(report)
    }

    /// Returns the options of the pass, and how far an absence from the manifests can be believed.
    fn options(
        &self,
        trigger: Trigger,
        stop: CancellationToken,
        manifests: &ManifestState,
        is_checkout_running: bool,
        now: Instant,
    ) -> Result<(Options, Certainty), PassRefused> {
        let mut known = self.known();
        let known = &mut *known;
        if let Some(running) = &mut known.running {
            running.content = Some(manifests.content.clone());
        }
        log_problems(known.manifests.as_ref(), manifests, &self.config.commands);
        self.metrics.problems(manifests.problems.len());
        let before = known.manifests.replace(manifests.clone());
        let same_facts = before.as_ref().is_some_and(|before| before.reading.coverage == manifests.reading.coverage);
        if let Some(before) = before {
            self.reset_breakers(&before.reading.specs, &manifests.reading.specs);
        }
        // A commit of content that is already applied changes its revision only.
        if let Some(applied) = known.applied.as_mut().filter(|applied| applied.content == manifests.content) {
            applied.revision.clone_from(&manifests.reading.revision);
        }
        let mut options = Options { stop, ..Options::default() };
        let mut certainty =
            Certainty { settles_at: known.confirmed.settles_at(&manifests.content, now), ..Certainty::default() };
        let is_same = known.reconciled_content.as_ref() == Some(&manifests.content);
        match trigger {
            Trigger::Loop(None, _) if same_facts && is_same => return Err(PassRefused::Unchanged),
            Trigger::Loop(due, leave) => {
                options.unattended = true;
                let only_answers = due == Some(Due::Answer) && is_same;
                options.wait = Some(Wait { background: Arc::clone(&self.background), only_answers, leave });
                certainty.confirm_at = known.confirmed.read(&manifests.content, now);
                if !known.failures.is_empty() {
                    let specs = &manifests.reading.specs;
                    options.postponed = known.failures.waiting(now, |kind, name| spec_hash(specs, kind, name));
                }
            }
            Trigger::Client(_) if !manifests.problems.is_empty() => {
                return Err(PassRefused::Problems(manifests.problems.clone()));
            }
            Trigger::Client(ask) => {
                // A person's request replaces the confirmation read, unless it concerns a part of the manifests only, or Git is
                // changing them.
                let is_complete = ask.only.is_empty() && ask.saved.is_none();
                if is_complete && !is_checkout_running && !options.stop.is_cancelled() {
                    known.confirmed.asked_for(&manifests.content, now);
                }
                if ask.saved.as_ref().is_some_and(|(_, saved)| !saved.declares_the_same(&manifests.reading)) {
                    return Err(PassRefused::OtherSpecs);
                }
                certainty.prune = ask.prune;
                options.approve = ask.approve;
                options.by = ask.by;
                options.ask = ask.ask;
                options.only = ask.only.into_iter().collect();
                options.saved = ask.saved.map(|(plan, _)| Arc::new(plan));
            }
        }
        Ok((options, certainty))
    }

    /// Forgets the failures of a backend whose connection settings have changed: the change may have repaired it.
    fn reset_breakers(&self, before: &Specs, now: &Specs) {
        let mut breakers = self.calls.breakers();
        breakers.retain(|name| match (before.backends.get(name), now.backends.get(name)) {
            (Some(before), Some(now)) => before.is_reached_like(now),
            (_, now) => now.is_some(),
        });
    }

    /// Records the results of a pass. Returns when the next one is due; the manifests and the trash may require an earlier one.
    fn record_results(
        &self,
        manifests: &ManifestState,
        unconfirmed: bool,
        options: &Options,
        report: &mut Report,
        began: Instant,
        by_client: bool,
    ) -> After {
        let (now, specs) = (Instant::now(), &manifests.reading.specs);
        let no_plan = Plan::of(specs.stack.owner.clone(), String::new(), Vec::new());
        let plan = report.plan.as_ref().unwrap_or(&no_plan);
        // What a slow backend lacks is known when it has answered.
        let mut unobserved = plan.unobserved.iter().filter(|missing| !report.busy.contains(&missing.backend));
        let is_failed = !report.failed.is_empty() || !report.breaches.is_empty() || unobserved.next().is_some();
        let ending = match () {
            () if is_failed => PassEnding::Failed,
            () if report.stopped => PassEnding::Stopped,
            () => PassEnding::Done,
        };
        for breach in &report.breaches {
            tracing::error!("the plan breaks an invariant, so none of it was executed (a bug in Kiln): {breach}");
        }
        self.record_backends(&manifests.reading, report, now);
        let view = self.pass_view(manifests, ending, began, report);
        let (due, postponed) = {
            let mut known = self.known();
            let known = &mut *known;
            let failed: BTreeSet<(Kind, &Name)> =
                report.failed.iter().map(|(step, _)| (step.identity.kind, &step.identity.name)).collect();
            let planned: BTreeSet<(Kind, &Name)> =
                plan.steps.iter().map(|step| (step.identity.kind, &step.identity.name)).collect();
            let on_busy = plan.steps.iter().filter(|step| step.backend().is_some_and(|at| report.busy.contains(at)));
            let on_busy: BTreeSet<ObjectId> = on_busy.map(|step| step.identity.id()).collect();
            let postponed: BTreeSet<ObjectId> = options.postponed.union(&on_busy).cloned().collect();
            // An object that succeeded, or that needs no step any more, has no failures.
            known.failures.retain(|kind, name| match planned.contains(&(kind, name)) {
                true => failed.contains(&(kind, name)) || postponed.contains(&ObjectId::new(kind, name)),
                false => by_client,
            });
            note_failures(known, specs, report, now);
            if ending == PassEnding::Done
                && manifests.problems.is_empty()
                && report.postponed == 0
                && options.only.is_empty()
                && self.background.waiting().is_empty()
                && self.jobs.is_empty()
            {
                let (content, revision) = (manifests.content.clone(), manifests.reading.revision.clone());
                known.applied = Some(AppliedContent { content, revision });
                self.metrics.success(self.config.clock.now());
            }
            log_held(&mut known.logged_held, plan, unconfirmed, &self.config.commands);
            log_warnings(&mut known.logged_warnings, plan, &self.config.commands);
            log_gaps(&mut known.logged_gaps, report);
            // The end of what goes on there starts a pass.
            (known.failures.next(&on_busy), postponed)
        };
        self.count_steps(report);
        self.metrics.jobs(specs, &self.jobs.running());
        let intents = self.config.store.intents().map_or(0, |intents| intents.len());
        self.metrics.waiting(self.known().failures.all().count(), intents);
        if options.only.is_empty() {
            let pending = pending_steps(plan, report, &postponed);
            let overview = Overview {
                now: self.config.clock.now(),
                world: std::mem::take(&mut report.world),
                judged: Arc::clone(&report.judged),
                paths: Default::default(),
                records: self.config.store.records().unwrap_or_default(),
                suspended: report.suspensions.clone(),
                journal: Vec::new(),
                plan: plan.clone(),
                retries: Vec::new(),
                running: Vec::new(),
            };
            let orphans = crate::report::orphans(&overview, &manifests.reading);
            self.metrics.observed(specs, &overview.world, &overview.plan, &pending, &orphans);
            report.world = overview.world;
        }
        self.record_pass(view, began);
        After { interval: specs.stack.interval.into(), changed: report.changed > 0 || report.stopped, due }
    }

    /// Records what steps did that ended without their pass.
    fn note_steps(&self, specs: &Specs, report: &Report) {
        note_failures(&mut self.known(), specs, report, Instant::now());
        self.count_steps(report);
    }

    fn count_steps(&self, report: &Report) {
        self.metrics.steps("changed", report.changed);
        self.metrics.steps("unchanged", report.unchanged);
        self.metrics.steps("failed", report.failed.len());
    }

    /// Opens the circuit breaker of each backend that could not be observed.
    fn record_backends(&self, reading: &Reading, report: &Report, now: Instant) {
        let specs = &reading.specs;
        let mut breakers = self.calls.breakers();
        breakers.retain(|name| specs.backends.contains_key(name));
        let mut opened = Vec::new();
        for (name, view) in &report.world {
            match view {
                Observation::Failed { why, fix } if breakers.open(name).is_none() && !report.busy.contains(name) => {
                    breakers.failed(
                        name,
                        FailedCall::Pool { in_time: false },
                        CallFailure { error: why, fix: fix.as_ref() },
                        now,
                    );
                    opened.push((name, why.clone()));
                }
                // A busy backend showed it earlier.
                Observation::Seen { .. } | Observation::LockedBy { .. } if report.busy.contains(name) => {}
                Observation::Seen { .. } | Observation::LockedBy { .. } => breakers.observed(name),
                Observation::Failed { .. } | Observation::Unsupported => {}
            }
        }
        drop(breakers);
        log_backends("observation failed, circuit breaker opened", opened.into_iter());
        let mut known = self.known();
        if known.unobserved.is_none() && reading.broken {
            // The declared backends are not known yet.
            return;
        }
        let unobserved = known.unobserved.get_or_insert_with(|| specs.backends.keys().cloned().collect());
        unobserved.retain(|name| {
            let has_failed = matches!(report.world.get(name), Some(Observation::Failed { .. }));
            specs.backends.contains_key(name) && has_failed
        });
    }

    fn pass_view(&self, manifests: &ManifestState, ending: PassEnding, began: Instant, report: &Report) -> PassView {
        PassView {
            began_at: rfc3339(self.config.clock.now().saturating_sub(began.elapsed().as_secs())),
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            revision: manifests.reading.revision.clone(),
            ending,
            changed: report.changed,
            failed: report.failed.len(),
            postponed: report.postponed + report.waiting.len(),
            held: report.plan.as_ref().map_or(0, |plan| plan.held.len()),
        }
    }

    fn record_pass(&self, view: PassView, began: Instant) {
        let PassView { ending, revision, millis, changed, failed, postponed, held, .. } = &view;
        match changed + failed {
            0 => tracing::debug!(%ending, revision, changed, failed, postponed, held, millis, "pass ended"),
            _ => tracing::info!(%ending, revision, changed, failed, postponed, held, millis, "pass ended"),
        }
        self.metrics.pass(view.ending, began.elapsed());
        self.known().last_pass = Some(view);
    }

    fn report_end(&self, after: After) {
        // A loop that has ended does not need it.
        let _ = self.ended.send(Ok(after));
    }
}

/// Records, when it is dropped, that no pass runs: also after a panic.
struct ClearsRunningPass<'r>(&'r Reconciler);

impl Drop for ClearsRunningPass<'_> {
    fn drop(&mut self) {
        self.0.known().running = None;
    }
}

/// Records the objects whose steps failed.
fn note_failures(known: &mut DaemonState, specs: &Specs, report: &Report, now: Instant) {
    // While a breaker is open every step fails, which says nothing about the objects. Neither does a failed sweep.
    let is_of_object =
        |(step, error): &&(Step, DriverError)| error.kind != ErrorKind::BreakerOpen && step.action != Action::Sweep;
    for (step, error) in report.failed.iter().filter(is_of_object) {
        let (kind, name) = (step.identity.kind, &step.identity.name);
        known.failures.failed(kind, name, spec_hash(specs, kind, name), &error.message, now);
    }
}

/// Returns the actions of the steps that are still pending: failed, postponed, stopped, or waiting for one of those.
fn pending_steps(plan: &Plan, report: &Report, postponed: &BTreeSet<ObjectId>) -> Vec<Verb> {
    let not_done: BTreeSet<(Uid, Verb)> = report
        .failed
        .iter()
        .map(|(step, _)| step)
        .chain(&report.waiting)
        .map(|step| (step.identity.uid, step.action.verb()))
        .collect();
    let begun = begun_without(&plan.steps, postponed);
    let mut pending = vec![false; plan.steps.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        pending[index] = report.stopped
            || not_done.contains(&(step.identity.uid, step.action.verb()))
            || !begun[index]
            || step.after.iter().any(|before| pending[*before]);
    }
    plan.steps.iter().zip(pending).filter(|(_, pending)| *pending).map(|(step, _)| step.action.verb()).collect()
}

/// Returns a hash of the declaration of an object.
fn spec_hash(specs: &Specs, kind: Kind, name: &Name) -> blake3::Hash {
    // `Debug` shows every field, and also paths that are not UTF-8. The hash never leaves the process.
    let declared = match kind {
        Kind::Volume => format!("{:?}", specs.volumes.get(name)),
        Kind::Snapshot => format!("{:?}", specs.snapshots.get(name)),
        Kind::Export => format!("{:?}", specs.exports.get(name)),
        // No step concerns one of these.
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => String::new(),
    };
    blake3::hash(declared.as_bytes())
}
