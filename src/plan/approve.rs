//! Limits on how much may leave, steps that cannot be undone, and what a person said about both.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, ApprovalInUse, ApprovalSpec, Extent, Kind, Name, Place, Reading, Risk, Size, Step, Uid};

use super::plan::{Planner, usable_backends};
use super::removal::because;
use super::tags::writable;
use super::types::{ApprovalSet, HeldReason, Irreversible, Warning};

/// The digest that names a set of waiting steps: of its sorted items, nothing else.
pub fn digest_of(set: &BTreeSet<String>) -> String {
    let mut hash = blake3::Hasher::new();
    for item in set {
        hash.update(item.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().to_hex().as_str()[..16].to_owned()
}

/// `uid action [snapshot request | size]`: how a step is named in an approval. (Two restores of one request from two snapshots are two
/// things to say yes to; so are two sizes.)
pub fn approval_item(step: &Step) -> String {
    match &step.action {
        Action::Restore { snapshot, request } => {
            format!("{} {} {} {request}", step.identity.uid, step.action.verb(), snapshot.uid)
        }
        Action::Grow { to } => format!("{} {} {}", step.identity.uid, step.action.verb(), to.bytes()),
        _ => format!("{} {}", step.identity.uid, step.action.verb()),
    }
}

/// What a person has to do with a plan.
#[derive(Default)]
pub(super) struct Judged {
    /// What waits for them.
    pub asked: Option<ApprovalSet>,
    /// Approvals that are made use of.
    pub used: Vec<ApprovalSet>,
    /// Removals that are held by the limits.
    pub too_much: BTreeSet<Uid>,
}

/// Holds what needs a person and has none; gives the set that waits, and the approvals that were made use of.
pub(super) fn judge(planner: &mut Planner<'_>) -> Judged {
    let (judged, fitting) = judge_steps(planner);
    let known = |digest: &String| {
        judged.asked.as_ref().is_some_and(|asked| asked.digest == *digest)
            || judged.used.iter().any(|used| used.digest == *digest)
    };
    let unmatched: Vec<Warning> = given(planner)
        .into_iter()
        .filter(|digest| !known(digest))
        .map(|digest| Warning {
            code: "ApprovalUnmatched".to_owned(),
            message: format!("the approval {digest} matches nothing that waits for one"),
        })
        .collect();
    planner.warnings.extend(unmatched);
    let spent = spent(planner);
    let documents = planner.inputs.reading.specs.approvals.values();
    let used_up: Vec<Warning> = documents
        .filter(|approval| spent.contains(&approval.digest) && fitting.contains(&approval.digest))
        .map(|ApprovalSpec { meta, digest }| Warning {
            code: "ApprovalSpent".to_owned(),
            message: format!(
                "{} approves {digest} no more: that set was approved before, and then carried out or no longer planned; a document \
                 approves a set once; `kiln approve {digest}` approves it again",
                meta.name
            ),
        })
        .collect();
    planner.warnings.extend(used_up);
    // Approved, it is not in doubt any more.
    let approved: Vec<Uid> = planner
        .doubts
        .keys()
        .filter(|index| !planner.dropped.contains(index))
        .map(|index| planner.steps[*index].identity.uid)
        .collect();
    planner.doubted.retain(|uid| !approved.contains(uid));
    judged
}

/// Whether a step takes an object away, or releases it, because a document is gone.
fn lets_go(step: &Step) -> bool {
    step.is_removal() || matches!(&step.action, Action::SetTags { tags } if tags.retained)
}

/// Whether what the manifests do not name may only have been cut off: a pipe that breaks ends like one that is done.
fn may_be_cut(reading: &Reading) -> bool {
    reading.coverage.stdin && reading.coverage.extent == Extent::Whole
}

/// Likewise, and the digests that would let go what waits.
fn judge_steps(planner: &mut Planner<'_>) -> (Judged, BTreeSet<String>) {
    let begun = begun(planner);
    let given: BTreeSet<String> = given(planner);
    let covered = |step: &Step| begun.iter().any(|approval| approval.set.contains(&approval_item(step)));
    let live: Vec<usize> = (0..planner.steps.len()).filter(|index| !planner.dropped.contains(index)).collect();
    let uncovered: Vec<usize> = live.iter().copied().filter(|index| !covered(&planner.steps[*index])).collect();
    // What is in doubt waits for a person anyway, and must not hold the rest.
    let counts = |index: &usize| takes_away(&planner.steps[*index]) && !planner.doubts.contains_key(index);
    let removals: Vec<usize> = uncovered.iter().copied().filter(counts).collect();
    let granted: Vec<usize> = live
        .into_iter()
        .filter(|index| covered(&planner.steps[*index]) && takes_away(&planner.steps[*index]))
        .collect();
    let over = over_the_limit(planner, &removals, &granted);
    let renamed = planner.renamed_and_destroyed();
    let is_cut = may_be_cut(planner.inputs.reading);
    let waits = |index: &usize| {
        let step = &planner.steps[*index];
        step.risk == Risk::Irreversible
            || (over.is_some() && takes_away(step))
            || planner.doubts.contains_key(index)
            || planner.withheld.contains_key(index)
            || (is_cut && lets_go(step))
    };
    let unattended = planner.inputs.irreversible == Irreversible::HoldRestores;
    let confirmed = |index: &usize| {
        let is_sure = over.is_none() && !is_cut && !planner.doubts.contains_key(index);
        let step = &planner.steps[*index];
        unattended && is_sure && step.is_removal() && !renamed.contains_key(&step.identity.uid)
    };
    let all: Vec<usize> = uncovered.into_iter().filter(waits).collect();
    let waiting: Vec<usize> = all.iter().copied().filter(|index| !confirmed(index)).collect();
    let mut used: Vec<ApprovalSet> =
        begun.into_iter().map(|approval| ApprovalSet { digest: approval.digest, set: approval.set }).collect();
    if waiting.is_empty() {
        return (Judged { used, ..Judged::default() }, BTreeSet::new());
    }
    let set_of = |indexes: &[usize]| {
        let set: BTreeSet<String> = indexes.iter().map(|index| approval_item(&planner.steps[*index])).collect();
        ApprovalSet { digest: digest_of(&set), set }
    };
    let asked = set_of(&waiting);
    // A person was perhaps shown also what is its own confirmation here, and approved all of that.
    let fitting = [asked.clone(), set_of(&all)];
    if let Some(approved) = fitting.iter().find(|set| given.contains(&set.digest)).cloned() {
        used.push(approved);
        return (Judged { used, ..Judged::default() }, BTreeSet::new());
    }
    let mut too_much = BTreeSet::new();
    let fix = match unattended {
        true => format!("`kiln approve {}` lets exactly this set go", asked.digest),
        false => format!("`kiln apply --approve {}` lets exactly this set go", asked.digest),
    };
    // Backwards: what waits for another of the set is held for its own reason, not for the other's.
    for index in waiting.into_iter().rev() {
        let step = &planner.steps[index];
        if let Some(doubt) = planner.doubts.get(&index).cloned() {
            if step.action == Action::Detach {
                // It is held with the removal that it comes before.
                planner.dropped.insert(index);
                continue;
            }
            let (reason, message, fix) = because(&doubt);
            let fix = format!("{fix}; `kiln approve {}` lets exactly this set go", asked.digest);
            planner.hold_step(index, reason, message, &fix);
        } else if let Some(renamed) = renamed.get(&step.identity.uid) {
            too_much.extend(over.as_ref().map(|_| step.identity.uid));
            planner.hold_renamed(index, renamed, &fix);
        } else if let Some(why) = planner.withheld.get(&index).cloned() {
            let size = writable(step.expect.size.unwrap_or_default());
            let fix = format!("write `size: {size}` to keep it as it is, or another size to grow it to that; or {fix}");
            planner.hold_step(index, HeldReason::GrowRefused, why, &fix);
        } else if takes_away(step)
            && let Some(why) = &over
        {
            too_much.insert(step.identity.uid);
            planner.hold_step(index, HeldReason::RemovalLimit, why.clone(), &fix);
        } else if planner.inputs.irreversible != Irreversible::List {
            let message = match step.risk {
                Risk::Irreversible => "it cannot be undone, and nobody said yes",
                Risk::None | Risk::Recoverable | Risk::Disruptive => {
                    "standard input may have been cut short, so what it does not name waits for a yes"
                }
            };
            let message = message.to_owned();
            let fix = match unattended {
                true => format!("`kiln approve {}`", asked.digest),
                false => format!(
                    "say yes at a terminal, or with `kiln apply --yes`, or `kiln apply --approve {}`",
                    asked.digest
                ),
            };
            planner.hold_step(index, HeldReason::NeedsConfirmation, message, &fix);
        }
    }
    (Judged { asked: Some(asked), used, too_much }, fitting.map(|set| set.digest).into())
}

/// Whether the limits count a step. What was never written to and gives way to the object that comes back in its place takes nothing
/// away.
fn takes_away(step: &Step) -> bool {
    step.is_removal() && !step.expect.unwritten
}

/// Approvals in the ledgers: given earlier, and not yet done. Each ledger has the part of the set that is on its pool.
fn begun(planner: &Planner<'_>) -> Vec<ApprovalInUse> {
    let mut by_digest: BTreeMap<&String, ApprovalInUse> = BTreeMap::new();
    for approval in usable_backends(&planner.backends).filter_map(|(_, good)| good.ledger).flat_map(|l| &l.approvals) {
        let whole = by_digest
            .entry(&approval.digest)
            .or_insert_with(|| ApprovalInUse { digest: approval.digest.clone(), set: BTreeSet::new() });
        whole.set.extend(approval.set.iter().cloned());
    }
    by_digest.into_values().collect()
}

/// Digests of approvals that were carried out, or that lapsed because nothing was planned for them any more.
fn spent<'p>(planner: &'p Planner<'_>) -> BTreeSet<&'p String> {
    usable_backends(&planner.backends).filter_map(|(_, good)| good.ledger).flat_map(|ledger| &ledger.spent).collect()
}

/// Digests that a person gives now, by hand or by commit. One that was committed holds once.
fn given(planner: &Planner<'_>) -> BTreeSet<String> {
    let spent = spent(planner);
    let by_commit = planner.inputs.reading.specs.approvals.values().map(|approval| &approval.digest);
    by_commit.filter(|digest| !spent.contains(digest)).chain(planner.inputs.approved).cloned().collect()
}

/// Why these removals are too many at once, if they are.
///
/// `granted`: removals that an earlier approval covers. They do not count, but what they take away is no longer there.
fn over_the_limit(planner: &Planner<'_>, removals: &[usize], granted: &[usize]) -> Option<String> {
    if removals.is_empty() {
        return None;
    }
    let safety = &planner.inputs.reading.specs.stack.safety;
    let before = planner.counted();
    let count = removals.len() + before.len();
    let bytes = removals.iter().map(|index| planner.steps[*index].bytes.bytes()).sum::<u64>()
        + before.iter().map(|removal| removal.size.bytes()).sum::<u64>();
    let all = planner
        .known
        .values()
        .flat_map(|known| &known.objects)
        .filter(|(_, object)| object.place == Place::Live)
        .count()
        + before.len();
    if count > safety.max_removals as usize {
        return Some(format!(
            "{count} objects would have left within 24 hours, and maxRemovals is {}",
            safety.max_removals
        ));
    }
    if bytes > safety.max_removed_bytes.bytes() {
        let limit = safety.max_removed_bytes;
        return Some(format!("{} would have left within 24 hours, and maxRemovedBytes is {limit}", Size(bytes)));
    }
    // Of a handful of objects, a share says little.
    if count > 3 && count as u64 * 100 > all as u64 * u64::from(safety.max_removed_percent.0) {
        let limit = safety.max_removed_percent;
        return Some(format!(
            "{count} of {all} objects would have left within 24 hours, and maxRemovedPercent is {limit}"
        ));
    }
    last_volume(planner, removals, granted).or_else(|| waited_before(planner, removals))
}

/// Whether one of them was held by these limits in an earlier run: what was made since does not let it go.
fn waited_before(planner: &Planner<'_>, removals: &[usize]) -> Option<String> {
    let ledgers = || usable_backends(&planner.backends).filter_map(|(_, good)| good.ledger);
    let waits = |index: &usize| {
        let uid = &planner.steps[*index].identity.uid;
        ledgers().any(|ledger| ledger.waiting.contains(uid))
    };
    let held_before = removals.iter().any(waits);
    held_before
        .then(|| "it was too much at once when it was first planned, and nobody has approved it since".to_owned())
}

/// Whether this owner would have no volume left on a backend where it has some.
fn last_volume(planner: &Planner<'_>, removals: &[usize], granted: &[usize]) -> Option<String> {
    let mut left: BTreeMap<&Name, usize> = BTreeMap::new();
    for ((kind, _), known) in &planner.known {
        for (backend, object) in known.objects.iter().filter(|_| *kind == Kind::Volume) {
            *left.entry(backend).or_default() += usize::from(object.place == Place::Live);
        }
    }
    let volumes = |indexes: &[usize]| {
        let steps = indexes.iter().map(|index| &planner.steps[*index]);
        steps.filter(|step| step.identity.kind == Kind::Volume).collect::<Vec<_>>()
    };
    for step in volumes(granted) {
        if let Some(left) = left.get_mut(&step.backend) {
            *left = left.saturating_sub(1);
        }
    }
    for step in volumes(removals) {
        if let Some(left) = left.get_mut(&step.backend) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Some(format!(
                    "it would leave no volume of {} on {}",
                    planner.inputs.reading.specs.stack.owner, step.backend
                ));
            }
        }
    }
    None
}
