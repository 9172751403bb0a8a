//! The headline: [`reconcile_once`].

use std::sync::Arc;

use crate::model::{ErrorKind, Records, Step};
use crate::plan::{self, Held, HeldReason, Irreversible, Plan};
use crate::store::StoreError;

use super::look::Intent;
use super::pass::Pass;
use super::{Event, Options, Report, Reporter, Setup, Survey};

/// Looks at everything and plans; changes nothing. Never fails: what cannot be seen is in the plan's `unobserved` and `held`.
pub async fn survey(setup: &Setup, approve: &[String]) -> Survey {
    let remembered = setup.store.as_ref().map(|store| store.records());
    let records = match remembered {
        None => Records::default(),
        Some(Ok(records)) => records,
        Some(Err(error)) => {
            tracing::warn!(%error, "going on without what is remembered");
            Records::default()
        }
    };
    let mut pass = Pass::begin(setup, records, Intent::Look).await;
    pass.settle_to_look();
    let plan = pass.plan_closely(approve).await;
    let journal = setup.store.as_ref().and_then(|store| store.journal(1000).ok()).unwrap_or_default();
    Survey { now: pass.now, world: pass.looked.world, records: pass.records, journal, plan }
}

/// One pass: lock, observe, recover what a crash left, plan, check the plan, ask, execute, look again, remember, report.
///
/// # Errors
/// Only if the store fails: nothing is done that could not be written down first.
pub async fn reconcile_once(
    setup: &Setup,
    options: &Options,
    reporter: Arc<dyn Reporter>,
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut pass = Pass::begin_writing(setup).await?;
    pass.recover(reporter.as_ref()).await?;
    let mut plan = pass.plan_closely(&options.approve).await;
    if plan.approval.is_some() && has_irreversible(&plan) && !reporter.confirm(&plan).await {
        plan = pass.plan(&options.approve, Irreversible::Hold);
    }
    report.breaches = pass.with_inputs(&options.approve, Irreversible::List, |inputs| plan::lint(&plan, inputs));
    reporter.event(Event::Planned(&plan));
    if report.breaches.is_empty() {
        pass.take_note(&plan);
        pass.make(&plan, options, reporter, &mut report).await?;
        pass.remember().await?;
    }
    hold_what_was_not_done(&mut plan, &mut report);
    report.plan = Some(plan);
    Ok(report)
}

/// Whether the plan has steps that cannot be undone and that wait for a person: an approval given earlier covers the others.
fn has_irreversible(plan: &Plan) -> bool {
    let waits = |item: String| plan.approval.as_ref().is_some_and(|approval| approval.set.contains(&item));
    plan.steps.iter().any(|step| step.risk == crate::model::Risk::Irreversible && waits(plan::approval_item(step)))
}

/// Busy and taken are answers, not failures: what they stop is held, and so is what waits for a step that was not done.
fn hold_what_was_not_done(plan: &mut Plan, report: &mut Report) {
    let (answers, failed): (Vec<_>, Vec<_>) = std::mem::take(&mut report.failed)
        .into_iter()
        .partition(|(_, error)| matches!(error.kind, ErrorKind::Busy | ErrorKind::OtherWriter));
    report.failed = failed;
    let answered = answers.into_iter().map(|(step, error)| match error.kind {
        ErrorKind::Busy => held(step, HeldReason::InUse, error.message, "close it there, then run again"),
        _ => held(step, HeldReason::OtherWriter, error.message, "wait for it to end, or stop it, then run again"),
    });
    let waiting = report.waiting.iter().map(|step| {
        let message = "a step that it waits for was not done".to_owned();
        held(step.clone(), HeldReason::DependencyHeld, message, "run again when that step can be done")
    });
    plan.held.extend(answered.chain(waiting));
    plan.held.sort();
}

fn held(step: Step, reason: HeldReason, message: String, unblock: &str) -> Held {
    Held {
        action: step.action.verb(),
        kind: step.identity.kind,
        name: step.identity.name,
        backend: Some(step.backend),
        uid: Some(step.identity.uid),
        reason,
        message,
        unblock: unblock.to_owned(),
    }
}
