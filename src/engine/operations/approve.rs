//! Approving what waits: kept on the pools until it is carried out.

use std::collections::BTreeSet;

use crate::model::{
    ApprovalSet, DriverError, Endpoint, ErrorKind, JournalAction, JournalEntry, Kind, Reading, Size, Step,
};
use crate::plan::{Irreversible, Plan};
use crate::store::Batch;
use crate::text::counted;

use super::error::OperationError;
use super::run::{begin, remember};
use crate::engine::ledger;
use crate::engine::options::Options;
use crate::engine::session::Session;
use crate::engine::setup::Setup;
use crate::engine::writers::writers;

/// Approves the set of steps that waits under this digest, and runs nothing: the next pass executes exactly that set without asking. The
/// approval is entered in the ledger of each pool concerned, so that it outlives the store. Returns a sentence for each object, and the sum.
/// `by`: the person, for the journal.
///
/// # Errors
/// [`OperationError::Held`] if another set waits, or none; otherwise see [`OperationError`].
pub async fn approve(setup: &Setup, digest: &str, by: Option<&str>) -> Result<Vec<String>, OperationError> {
    let mut session = begin(setup).await?;
    let listed = session.plan_closely(&[], Irreversible::List).await;
    // The set that `kiln plan` shows, and the set for which an unattended run waits.
    let unattended = session.plan(&[], Irreversible::HoldRestores);
    let shown = [(Irreversible::List, &listed), (Irreversible::HoldRestores, &unattended)];
    let waits = |set: &Option<ApprovalSet>| set.as_ref().is_some_and(|set| set.digest == digest);
    let Some((irreversible, _)) = shown.into_iter().find(|(_, plan)| waits(&plan.awaiting)) else {
        if listed.used.iter().any(|used| used.digest == digest) {
            return Ok(vec![format!(
                "{digest} is approved already: the next run (`kiln apply`, or the daemon) executes its steps"
            )]);
        }
        if let Some(unobserved) = listed.unobserved.first() {
            let message = format!("approval {digest} is not what waits now: {}", unobserved.message);
            return Err(OperationError::Unobserved(message));
        }
        return Err(OperationError::Held(unmatched(digest, &listed)));
    };
    let plan = session.plan(&[digest.to_owned()], irreversible);
    let Some(approved) = plan.used.iter().find(|used| used.digest == digest) else {
        return Err(OperationError::Held(format!("approval {digest} is not what waits now: see `kiln plan`")));
    };
    let steps: Vec<&Step> = plan.steps.iter().filter(|step| approved.covers(&step.approval_item())).collect();
    let mut written: Vec<Endpoint> = Vec::new();
    let endpoints: BTreeSet<&Endpoint> = steps.iter().map(|step| &step.endpoint).collect();
    let mut failed = None;
    for endpoint in endpoints {
        let result = match endpoint {
            Endpoint::Backend(backend) => {
                if let Some(ledger) = session.ledgers.get_mut(backend) {
                    ledger::approve(ledger, steps.iter().copied().filter(|step| step.endpoint == *endpoint), approved);
                }
                session.write_ledger(backend).await
            }
            Endpoint::Target(_) => Err(DriverError::before(ErrorKind::Unsupported, "it has no ledger")),
        };
        if let Err(error) = result {
            // Some pools may have it: the journal says so.
            let before = match written.as_slice() {
                [] => String::new(),
                several => format!(
                    " (approved are those on {})",
                    several.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(", ")
                ),
            };
            failed = Some(format!("{endpoint}: the approval could not be written{before}: {error}"));
            break;
        }
        written.push(endpoint.clone());
    }
    let recorded = steps.iter().filter(|step| written.contains(&step.endpoint));
    let journal = recorded.map(|step| line(step, Some(digest), by, session.now, &setup.reading.revision)).collect();
    remember(&session, Batch { journal, ..Batch::default() }).await?;
    if let Some(why) = failed {
        return Err(OperationError::Failed(why));
    }
    let mut said: Vec<String> = steps.iter().map(|step| format!("approved: {}", sentence(step))).collect();
    let bytes = Size(steps.iter().map(|step| step.bytes.bytes()).sum()).rounded();
    said.push(format!(
        "{}, {bytes} ({digest}): the next run (`kiln apply`, or the daemon) executes {}, and the steps that need no approval",
        counted(steps.len(), "step"),
        if steps.len() == 1 { "it" } else { "them" }
    ));
    said.extend(writers(&session.observations.world, &setup.reading.specs.stack.owner, None));
    Ok(said)
}

/// Says that no set with this digest waits in a plan.
pub(in crate::engine) fn unmatched(digest: &str, plan: &Plan) -> String {
    match &plan.awaiting {
        None => format!("approval {digest} is not what waits now: nothing waits for an approval"),
        Some(now) => {
            let (now, count) = (&now.digest, counted(now.set.len(), "step"));
            format!("approval {digest} is not what waits now: that is {now}, for {count}")
        }
    }
}

/// Names the steps of a plan that wait for an approval.
pub(in crate::engine) fn unconfirmed(plan: &Plan) -> String {
    let waiting = plan.steps.iter().filter(|step| plan.waits_for_yes(step));
    let waiting: Vec<String> = waiting.map(|step| format!("{} {}", step.action.word(), step.identity.id())).collect();
    let wait = if waiting.len() == 1 { "waits" } else { "wait" };
    format!("{} {wait} for an approval: {}", counted(waiting.len(), "step"), waiting.join(", "))
}

fn sentence(step: &Step) -> String {
    let (kind, name) = (step.identity.kind.as_lower(), &step.identity.name);
    format!("{} {kind}/{name} on {}, {} ({})", step.action.word(), step.endpoint, step.bytes, step.action)
}

/// Returns the journal's lines about the steps that are approved with a run: by a person, with a digest or by answering its question with
/// yes, or by a document. An approval that a ledger holds was recorded when it was given.
pub(in crate::engine) fn approved_with_run(
    session: &Session<'_>,
    plan: &Plan,
    options: &Options,
    confirmed: bool,
) -> Vec<JournalEntry> {
    let person = options.by.as_deref();
    let is_recorded = |digest: &String| {
        let mut approvals = session.ledgers.values().flat_map(|ledger| &ledger.approvals);
        approvals.any(|approval| approval.digest == *digest)
    };
    let given: Vec<(&ApprovalSet, Option<String>)> = plan
        .used
        .iter()
        .filter_map(|used| match options.approve.contains(&used.digest) {
            true => Some((used, person.map(str::to_owned))),
            false if is_recorded(&used.digest) => None,
            false => Some((used, Some(document(session.reading(), &used.digest)?))),
        })
        .collect();
    let approved =
        plan.steps.iter().filter_map(|step| match given.iter().find(|(used, _)| used.covers(&step.approval_item())) {
            Some((used, by)) => Some(line(step, Some(&used.digest), by.as_deref(), session.now, &plan.revision)),
            None if confirmed && plan.waits_for_yes(step) => {
                Some(line(step, None, person, session.now, &plan.revision))
            }
            None => None,
        });
    approved.collect()
}

/// The document that approves a digest, with its file.
fn document(reading: &Reading, digest: &str) -> Option<String> {
    let name = &reading.specs.approvals.values().find(|approval| approval.digest == digest)?.meta.name;
    let file = reading.place(Kind::Approval, name).map(|place| format!(" in {}", place.file));
    Some(format!("approval/{name}{}", file.unwrap_or_default()))
}

/// The journal's line about a step that a person approves, under a digest unless the run asked about it.
fn line(step: &Step, digest: Option<&str>, by: Option<&str>, now: u64, revision: &str) -> JournalEntry {
    let digest = digest.map(|digest| format!(", in {digest}")).unwrap_or_default();
    let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
    let detail = format!("{}{digest}{by}", step.action);
    JournalEntry::new(now, revision, step.endpoint.clone(), &step.identity, JournalAction::Approve, detail)
}
