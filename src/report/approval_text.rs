//! The line about the steps that wait for an approval.

use std::collections::BTreeSet;

use super::Commands;
use crate::model::{ApprovalItem, Step, Uid};
use crate::plan::Plan;
use crate::text::counted;

/// Returns the line about the set that waits in a plan; `None` if none waits. The command that approves the set is given only if the
/// plan shows all of it: a part of a plan names the whole set.
pub(super) fn waiting(plan: &Plan, commands: &Commands) -> Option<String> {
    let set = plan.awaiting.as_ref()?;
    let (steps, held) = (steps_of(plan), held_in(plan));
    let is_held = |item: &ApprovalItem| item.uid().is_some_and(|uid| held.contains(&uid));
    let shown = set.set.iter().filter(|item| steps.contains(item) || is_held(item)).count();
    let count = counted(set.set.len(), "step");
    if shown == set.set.len() {
        return Some(approval_line(&count, &commands.approve(&set.digest)));
    }
    let are = if shown == 1 { "is" } else { "are" };
    let all = commands.complete("`kiln plan` shows all");
    Some(format!("Waiting for approval: {count}, of which {shown} {are} shown: {all}."))
}

/// Returns the line about what still waits once the steps of a plan are confirmed; `None` if nothing does. The steps that run leave the
/// set, and the digest that approves the rest is known only after the run.
pub fn waiting_after_confirmation(plan: &Plan, commands: &Commands) -> Option<String> {
    let set = plan.awaiting.as_ref()?;
    let steps = steps_of(plan);
    let (run, rest): (Vec<_>, Vec<_>) = set.set.iter().partition(|item| steps.contains(item));
    let held = held_in(plan);
    if !rest.iter().filter_map(|item| item.uid()).any(|uid| held.contains(&uid)) {
        return None;
    }
    if run.is_empty() {
        return waiting(plan, commands);
    }
    let all = commands.complete("`kiln plan` shows all");
    Some(format!("Waiting for approval after this run: {}: {all}.", counted(rest.len(), "step")))
}

/// Returns the line about the set that waits, where a person is asked to confirm the steps of a plan: a yes confirms only those.
pub fn waiting_at_question(plan: &Plan, commands: &Commands) -> Option<String> {
    let all = waiting(plan, commands)?;
    match waiting_after_confirmation(plan, commands) {
        Some(rest) if rest != all => Some(format!("{all} {rest}")),
        Some(_) | None => Some(all),
    }
}

/// Returns the steps of a plan as an approval names them.
fn steps_of(plan: &Plan) -> BTreeSet<ApprovalItem> {
    plan.steps.iter().map(Step::approval_item).collect()
}

/// Returns the objects that a plan holds.
fn held_in(plan: &Plan) -> BTreeSet<Uid> {
    plan.held.iter().filter_map(|held| held.uid).collect()
}

/// Returns the line about steps that wait. `steps`: all of them, or their number. `command` approves them.
pub(super) fn approval_line(steps: &str, command: &str) -> String {
    format!("Waiting for approval: {steps}. `{command}` approves exactly these steps.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, owner, volume};
    use crate::model::{Action, ApprovalSet, Reason};

    #[test]
    fn many_steps_are_found_in_the_plan_without_comparing_each_with_each() {
        // If each step of the set were compared with each step of the plan, this would take minutes.
        let step = |n| Step::new(name("fast"), volume(&format!("v{n}")), Action::Destroy, Reason::NotDeclared);
        let mut plan = Plan::of(owner(), String::new(), (0..30_000).map(step).collect());
        plan.awaiting = Some(ApprovalSet::of(plan.steps.iter().map(Step::approval_item)));
        let line = waiting(&plan, &Commands::default()).unwrap();
        assert!(line.starts_with("Waiting for approval: 30000 steps. `kiln approve "), "{line}");
        assert_eq!(waiting_after_confirmation(&plan, &Commands::default()), None);
        assert_eq!(waiting_at_question(&plan, &Commands::default()), Some(line));
        plan.steps.truncate(29_999);
        let line = waiting(&plan, &Commands::default()).unwrap();
        assert!(line.starts_with("Waiting for approval: 30000 steps, of which 29999 are shown"), "{line}");
    }
}
