//! The order of steps: a step comes after those it waits for; ties are broken by one table, then by name.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::model::{Action, Step};

/// Returns the rank of a step: renames first, creations before removals, irreversible steps
/// last.
fn rank(step: &Step) -> u8 {
    match &step.action {
        Action::Rename { .. } => 0,
        Action::Undelete { .. } => 1,
        Action::Adopt { .. } => 2,
        Action::Create { .. } => 3,
        Action::SetTags { tags } if !tags.retained => 4,
        Action::Configure { .. } => 5,
        Action::Grow { .. } => 6,
        Action::Reserve => 7,
        Action::Snapshot { .. } => 8,
        Action::Restore { .. } => 9,
        Action::Detach => 10,
        Action::SetTags { .. } => 11,
        Action::Trash { .. } => 12,
        Action::Destroy | Action::Purge | Action::Sweep => 13,
    }
}

/// Orders the steps that were not dropped, and makes `after` refer to the new indexes.
pub(super) fn order(steps: Vec<Step>, dropped: &BTreeSet<usize>) -> Vec<Step> {
    let mut waiting: Vec<usize> = vec![0; steps.len()];
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (index, step) in steps.iter().enumerate() {
        let needs: BTreeSet<usize> = step.waits_for().filter(|needed| !dropped.contains(needed)).collect();
        waiting[index] = needs.len();
        for needed in needs {
            needed_by[needed].push(index);
        }
    }
    let key = |index: usize| {
        let step = &steps[index];
        Reverse((rank(step), step.identity.kind, step.identity.name.clone(), step.endpoint.clone(), index))
    };
    let mut free: BinaryHeap<_> =
        (0..steps.len()).filter(|index| waiting[*index] == 0 && !dropped.contains(index)).map(key).collect();
    let mut sequence = Vec::with_capacity(steps.len());
    let mut place = vec![usize::MAX; steps.len()];
    while let Some(Reverse((.., index))) = free.pop() {
        place[index] = sequence.len();
        sequence.push(index);
        for other in &needed_by[index] {
            waiting[*other] -= 1;
            if waiting[*other] == 0 && !dropped.contains(other) {
                free.push(key(*other));
            }
        }
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let ordered = sequence.iter().filter_map(|index| steps[*index].take());
    let moved = |indexes: &mut Vec<usize>| {
        // A dropped step has no effect: a step that waits only for its completion does not wait.
        let places: BTreeSet<usize> = indexes.iter().map(|i| place[*i]).filter(|p| *p != usize::MAX).collect();
        *indexes = places.into_iter().collect();
    };
    ordered
        .map(|mut step| {
            moved(&mut step.after);
            moved(&mut step.after_completion);
            step
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, volume};
    use crate::model::{Reason, Tags};

    fn step(object: &str, action: Action, after: &[usize], after_completion: &[usize]) -> Step {
        let step = Step::new(name("fast"), volume(object), action, Reason::NotThere);
        Step { after: after.to_vec(), after_completion: after_completion.to_vec(), ..step }
    }

    fn adopt(object: &str, after: &[usize], after_completion: &[usize]) -> Step {
        step(object, Action::Adopt { tags: Tags::default(), n: 0 }, after, after_completion)
    }

    #[test]
    fn a_step_comes_after_those_whose_success_or_completion_it_waits_for() {
        // By rank and name, `a` would be first, and `c` last.
        let steps = vec![adopt("a", &[], &[1]), adopt("b", &[2], &[]), step("c", Action::Destroy, &[], &[])];
        let ordered = order(steps, &BTreeSet::new());
        let shown: Vec<_> = ordered
            .iter()
            .map(|step| (step.identity.name.as_str(), step.after.as_slice(), step.after_completion.as_slice()))
            .collect();
        assert_eq!(shown, [("c", &[][..], &[][..]), ("b", &[0], &[]), ("a", &[], &[1])]);
    }

    #[test]
    fn a_step_that_waits_for_the_completion_of_a_dropped_step_does_not_wait() {
        let steps = vec![adopt("a", &[], &[1]), adopt("b", &[], &[]), adopt("c", &[], &[])];
        let ordered = order(steps, &BTreeSet::from([1]));
        assert_eq!(ordered.iter().map(|step| step.after_completion.len()).collect::<Vec<_>>(), [0, 0]);
    }
}
