//! The line about the steps that wait for an approval.

use super::Commands;
use crate::model::ApprovalItem;
use crate::plan::Plan;
use crate::text::counted;

/// Returns the line about the set that waits in a plan; `None` if none waits. The command that approves the set is given only if the
/// plan shows all of it: a part of a plan names the whole set.
pub(super) fn waiting(plan: &Plan, commands: &Commands) -> Option<String> {
    let set = plan.awaiting.as_ref()?;
    let shown = set.set.iter().filter(|item| has_step(plan, item) || has_hold(plan, item)).count();
    let steps = counted(set.set.len(), "step");
    if shown == set.set.len() {
        return Some(approval_line(&steps, &commands.approve(&set.digest)));
    }
    let are = if shown == 1 { "is" } else { "are" };
    let all = commands.complete("`kiln plan` shows all");
    Some(format!("Waiting for approval: {steps}, of which {shown} {are} shown: {all}."))
}

/// Returns the line about what still waits once the steps of a plan are confirmed; `None` if nothing does. The steps that run leave the
/// set, and the digest that approves the rest is known only after the run.
pub fn waiting_after_confirmation(plan: &Plan, commands: &Commands) -> Option<String> {
    let set = plan.awaiting.as_ref()?;
    let (run, rest): (Vec<_>, Vec<_>) = set.set.iter().partition(|item| has_step(plan, item));
    if !rest.iter().any(|item| has_hold(plan, item)) {
        return None;
    }
    if run.is_empty() {
        return waiting(plan, commands);
    }
    let all = commands.complete("`kiln plan` shows all");
    Some(format!("Waiting for approval after this run: {}: {all}.", counted(rest.len(), "step")))
}

/// Whether the plan executes a step.
fn has_step(plan: &Plan, item: &ApprovalItem) -> bool {
    plan.steps.iter().any(|step| step.approval_item() == *item)
}

/// Whether the plan holds the object of a step.
fn has_hold(plan: &Plan, item: &ApprovalItem) -> bool {
    plan.held.iter().any(|held| held.uid.is_some() && held.uid == item.uid())
}

/// Returns the line about steps that wait. `steps`: all of them, or their number. `command` approves them.
pub(super) fn approval_line(steps: &str, command: &str) -> String {
    format!("Waiting for approval: {steps}. `{command}` approves exactly these steps.")
}
