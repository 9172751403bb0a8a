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
        Action::Grow { .. } => 5,
        Action::Snapshot { .. } => 6,
        Action::Restore { .. } => 7,
        Action::Detach => 8,
        Action::SetTags { .. } => 9,
        Action::Trash { .. } => 10,
        Action::Destroy | Action::Purge | Action::Sweep => 11,
    }
}

/// Orders the steps that were not dropped, and makes `after` refer to the new indexes.
pub(super) fn order(steps: Vec<Step>, dropped: &BTreeSet<usize>) -> Vec<Step> {
    let mut waiting: Vec<usize> = vec![0; steps.len()];
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (index, step) in steps.iter().enumerate() {
        let needs: BTreeSet<usize> = step.after.iter().copied().filter(|needed| !dropped.contains(needed)).collect();
        waiting[index] = needs.len();
        for needed in needs {
            needed_by[needed].push(index);
        }
    }
    let key = |index: usize| {
        let step = &steps[index];
        Reverse((rank(step), step.identity.kind, step.identity.name.clone(), step.backend.clone(), index))
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
    ordered
        .map(|mut step| {
            let after: BTreeSet<usize> = step.after.iter().map(|i| place[*i]).filter(|p| *p != usize::MAX).collect();
            step.after = after.into_iter().collect();
            step
        })
        .collect()
}
