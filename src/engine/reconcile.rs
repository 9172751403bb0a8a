//! A pass: [`reconcile_once`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Action, Address, DriverError, Effect, ErrorKind, Kind, Name, ObjectId, Specs, Step};
use crate::plan::{self, Held, HeldReason, Irreversible, Plan, Selected};
use crate::store::{Batch, StoreError};

use super::event::{Confirmation, Reporter};
use super::open_pass::OpenPass;
use super::operations;
use super::options::Options;
use super::record::commit;
use super::report::Report;
use super::session::Session;
use super::setup::Setup;

/// Makes one pass: lock, observe, recover from a crash, plan, confirm, lint, execute, verify, record, report.
///
/// # Errors
/// Only if the store fails: no step begins before its intent is on disk.
pub async fn reconcile_once(
    setup: &Setup,
    options: &Options,
    reporter: Arc<dyn Reporter>,
) -> Result<Report, StoreError> {
    reconcile(setup, options, reporter).await.map(|(report, _)| report)
}

/// Like [`reconcile_once`], but leaves the backends open, for a purge.
///
/// # Errors
/// As [`reconcile_once`].
pub async fn reconcile<'s>(
    setup: &'s Setup,
    options: &Options,
    reporter: Arc<dyn Reporter>,
) -> Result<(Report, OpenPass<'s>), StoreError> {
    let mut session = Session::begin_writing(setup, options.wait.as_ref()).await?;
    let mut report = session.recover(reporter.as_ref()).await?;
    report.running = session.observations.running.values().cloned().collect();
    report.suspensions = session.suspensions().in_force(session.now);
    let irreversible = if options.unattended { Irreversible::HoldRestores } else { Irreversible::List };
    let mut whole = session.plan_closely(&options.approve, irreversible).await;
    if let Some(saved) = &options.saved {
        let shown = session.shown();
        let is_running = |step: &Step| {
            let is_it = |running: &Step| running.identity == step.identity && running.action == step.action;
            report.running.iter().any(|running| is_it(&running.step))
        };
        report.refused = plan::differences(saved, &whole, |step| shown(step) || is_running(step));
    }
    // A digest of another set than the one that waits: the person has not seen the present plan.
    let unmatched = options.approve.iter().filter(|digest| !whole.knows_approval(digest));
    report.refused.extend(unmatched.map(|digest| operations::unmatched(digest, &whole)));
    let mut part = part_of(&whole, options, &setup.reading.specs);
    report.unknown = part.as_ref().map_or_else(Vec::new, |part| part.unknown(&setup.reading.specs));
    if !report.refused.is_empty() || !report.unknown.is_empty() {
        report.plan = Some(whole);
        return Ok((report, OpenPass::new(session)));
    }
    let asked = part.as_ref().map_or(&whole, |part| &part.plan);
    let mut confirmed = false;
    if !options.unattended && (has_steps_that_wait(asked) || options.ask && !asked.steps.is_empty()) {
        match reporter.confirm(asked).await {
            Confirmation::Given => confirmed = true,
            Confirmation::Refused => {
                report.declined = true;
                report.plan = Some(part.map_or(whole, |part| part.plan));
                return Ok((report, OpenPass::new(session)));
            }
            // Without the steps that wait it would be another plan than the saved one.
            Confirmation::NotAsked if options.saved.is_some() && has_steps_that_wait(asked) => {
                report.refused.push(operations::unconfirmed(asked));
                report.unconfirmed = true;
                report.plan = Some(part.map_or(whole, |part| part.plan));
                return Ok((report, OpenPass::new(session)));
            }
            Confirmation::NotAsked => {
                whole = session.plan(&options.approve, Irreversible::Hold);
                part = part_of(&whole, options, &setup.reading.specs);
            }
        }
    }
    carry_out(session, whole, part, options, confirmed, reporter, report).await
}

/// Checks a plan and executes it, or the part that was requested by name. A plan that breaks a rule is not executed. `confirmed`: a person
/// confirmed it.
async fn carry_out<'s>(
    mut session: Session<'s>,
    whole: Plan,
    part: Option<Selected>,
    options: &Options,
    confirmed: bool,
    reporter: Arc<dyn Reporter>,
    mut report: Report,
) -> Result<(Report, OpenPass<'s>), StoreError> {
    let irreversible = if options.unattended { Irreversible::HoldRestores } else { Irreversible::List };
    report.breaches = session.with_inputs(&options.approve, irreversible, |inputs| plan::lint(&whole, inputs));
    let settled = session.note_plan(&whole);
    let plan = match part {
        None => whole,
        Some(Selected { plan, other_steps, other_held, silent: _ }) => {
            report.left_out = (other_steps, other_held);
            plan
        }
    };
    if options.unattended {
        // A process that stays is named before it has something to do.
        session.announce().await;
    }
    let plan = Arc::new(plan);
    let mut postponed = options.postponed.clone();
    postponed.extend(on_backends(&plan, &session.observations.busy));
    // Copies of earlier passes that have just failed.
    let failed = report.failed.iter().map(|(step, _)| step).filter(|step| step.action != Action::Sweep);
    postponed.extend(failed.map(|step| step.identity.id()));
    let to_run = plan::without(&plan, &postponed).map_or_else(|| Arc::clone(&plan), Arc::new);
    let postponed = plan.steps.len() - to_run.steps.len();
    tracing::debug!(steps = to_run.steps.len(), postponed, held = plan.held.len(), "planned");
    reporter.planned(&to_run);
    if report.breaches.is_empty() {
        report.postponed = postponed;
        // The journal says who approved a step before the step is made.
        let journal = operations::approved_with_run(&session, &to_run, options, confirmed);
        if let (Some(store), false) = (&session.store, journal.is_empty()) {
            commit(store, Batch { journal, ..Batch::default() }).await?;
        }
        session.execute(&to_run, options, reporter, &mut report).await?;
        session.record(&settled).await?;
        session.setup.jobs.entered(&session.entered);
        if !options.unattended && report.failed.is_empty() && report.skipped == 0 {
            report.paths = new_paths(&session, &to_run).await;
        }
    }
    drop(to_run);
    let mut plan = Arc::unwrap_or_clone(plan);
    hold_what_was_not_done(&mut plan, &mut report);
    report.plan = Some(plan);
    report.usable = session.usable.clone();
    report.judged = Arc::clone(&session.judged);
    report.written = session.written();
    report.world = std::mem::take(&mut session.observations.world);
    report.on_pools.clone_from(&session.observations.suspensions);
    report.busy.clone_from(&session.observations.busy);
    Ok((report, OpenPass::new(session)))
}

/// The objects of the steps on these backends.
fn on_backends<'p>(plan: &'p Plan, backends: &'p BTreeSet<Name>) -> impl Iterator<Item = ObjectId> + 'p {
    let is_there = |step: &&Step| step.backend().is_some_and(|backend| backends.contains(backend));
    plan.steps.iter().filter(is_there).map(|step| step.identity.id())
}

/// Returns where clients open the first volumes that a plan created, adopted, renamed or restored from the trash.
async fn new_paths(session: &Session<'_>, made: &Plan) -> Vec<(ObjectId, PathBuf)> {
    let has_path =
        |action: &Action| action.is_first() || matches!(action, Action::Rename { .. } | Action::Undelete { .. });
    let volumes = made.steps.iter().filter(|step| has_path(&step.action) && step.identity.kind == Kind::Volume);
    let first: Vec<&Step> = volumes.take(Report::PATHS).collect();
    let mut addresses: BTreeMap<&Name, Vec<Address>> = BTreeMap::new();
    for (step, backend) in first.iter().filter_map(|step| Some((step, step.backend()?))) {
        addresses.entry(backend).or_default().push(step.address());
    }
    let paths = session.paths_of(addresses).await;
    let path = |step: &Step| Some((step.identity.id(), paths.get(step.backend()?)?.get(&step.address())?.clone()));
    first.into_iter().filter_map(path).collect()
}

/// Returns the part of a plan that was requested by name; `None`: all of it.
fn part_of(whole: &Plan, options: &Options, specs: &Specs) -> Option<Selected> {
    (!options.only.is_empty()).then(|| plan::select(whole, &options.only, specs))
}

/// Whether the plan has steps that wait for a confirmation: they are irreversible, or the manifests come from a pipe that may have been cut
/// short. An earlier approval covers the others.
fn has_steps_that_wait(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| plan.waits_for_yes(step))
}

/// Whether the step was refused because the object is in use or another process has the writer lock.
pub(super) fn is_answer(error: &DriverError) -> bool {
    error.effect != Effect::Yes && matches!(error.kind, ErrorKind::Busy | ErrorKind::OtherWriter)
}

/// Moves steps that were refused, suspended, or that depend on a step that was not done, from the failures to the held changes of the plan.
fn hold_what_was_not_done(plan: &mut Plan, report: &mut Report) {
    let (answers, failed): (Vec<_>, Vec<_>) =
        std::mem::take(&mut report.failed).into_iter().partition(|(_, error)| is_answer(error));
    report.failed = failed;
    let answered = answers.into_iter().map(|(step, error)| match error.kind {
        ErrorKind::Busy => held(step, HeldReason::InUse, error.message, plan::IN_USE_FIX),
        _ => held(step, HeldReason::OtherWriter, error.message, plan::OTHER_WRITER_FIX),
    });
    let waiting = report.waiting.iter().map(|step| {
        let message = "a step that it waits for was not done".to_owned();
        held(step.clone(), HeldReason::DependencyHeld, message, "run `kiln apply` when that step can be done")
    });
    let suspended = std::mem::take(&mut report.suspended).into_iter().map(|(step, suspension)| {
        held(step, HeldReason::Suspended, plan::suspended_because(&suspension), &plan::resume(&suspension))
    });
    plan.held.extend(answered.chain(waiting).chain(suspended));
    plan.held.sort();
}

fn held(step: Step, reason: HeldReason, message: String, fix: &str) -> Held {
    Held {
        in_trash: matches!(step.action, Action::Undelete { .. }),
        action: step.action.verb(),
        kind: step.identity.kind,
        name: step.identity.name,
        endpoint: Some(step.endpoint),
        uid: Some(step.identity.uid),
        reason,
        message,
        fix: fix.to_owned(),
    }
}

#[cfg(test)]
mod tests;
