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

/// Returns the line about what waits once the steps of a plan are executed; `None` if nothing does.
pub(super) fn waiting_after_run(plan: &Plan, commands: &Commands) -> Option<String> {
    match parts(plan) {
        (_, 0) => None,
        (0, _) => waiting(plan, commands),
        (_, rest) => {
            let shown = commands.complete("`kiln plan` shows the approval");
            Some(format!("Waiting for approval after this run: {}. {shown}.", counted(rest, "step")))
        }
    }
}

/// Whether executing the steps of a plan changes the digest of what waits: they leave the set, and others of the set wait.
pub(super) fn digest_changes(plan: &Plan) -> bool {
    matches!(parts(plan), (1.., 1..))
}

/// Returns how many steps of the set that waits are in a plan, and how many wait after it; the latter is 0 if the plan holds none of them.
fn parts(plan: &Plan) -> (usize, usize) {
    let Some(set) = &plan.awaiting else { return (0, 0) };
    let steps = steps_of(plan);
    let (run, rest): (Vec<_>, Vec<_>) = set.set.iter().partition(|item| steps.contains(item));
    let held = held_in(plan);
    let is_held = rest.iter().filter_map(|item| item.uid()).any(|uid| held.contains(&uid));
    (run.len(), if is_held { rest.len() } else { 0 })
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
        assert_eq!(waiting_after_run(&plan, &Commands::default()), None);
        plan.steps.truncate(29_999);
        let line = waiting(&plan, &Commands::default()).unwrap();
        assert!(line.starts_with("Waiting for approval: 30000 steps, of which 29999 are shown"), "{line}");
    }
}
