//! Limits on removals, irreversible steps, and the approvals of both.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;

use crate::model::{
    Action, ApprovalSet, ApprovalSpec, Extent, Identity, Kind, Name, ObjectId, Owner, Place, PlacedField, Reading,
    Risk, Size, Step, Uid,
};

use crate::plan::doubt::because;
use crate::plan::draft::Draft;
use crate::plan::inputs::Irreversible;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;

use super::rename::{hold_renamed, renamed_and_destroyed};
use super::successor::PossibleRename;

/// What the approval gate decided.
#[derive(Default)]
pub(in crate::plan) struct GateVerdict {
    /// The set that waits for confirmation or approval.
    pub awaiting: Option<ApprovalSet>,
    /// Approvals that are used.
    pub used: Vec<ApprovalSet>,
    /// Removals that exceed the limits: they are held, or an approval that was given now covers them.
    pub too_much: BTreeSet<Uid>,
}

/// Holds steps that need an approval and have none; returns the set that waits and the approvals that were used.
pub(in crate::plan) fn hold_unapproved<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) -> GateVerdict {
    let (verdict, fitting) = match_approvals(inventory, draft);
    let known = |digest: &String| {
        verdict.awaiting.as_ref().is_some_and(|awaiting| awaiting.digest == *digest)
            || verdict.used.iter().any(|used| used.digest == *digest)
    };
    for digest in given(inventory).into_iter().filter(|digest| !known(digest)) {
        let message = format!("approval {digest} matches nothing in this plan");
        draft.warn("ApprovalUnmatched", message, BTreeSet::new());
    }
    let spent = spent(inventory);
    let documents = inventory.specs().approvals.values();
    let is_spent = |approval: &&ApprovalSpec| spent.contains(&approval.digest) && fitting.contains(&approval.digest);
    for ApprovalSpec { meta, digest } in documents.filter(is_spent) {
        let message = format!(
            "{} no longer approves {digest}: that set was approved before and then executed, or is no longer planned; a document \
             approves a set once; `kiln approve {digest}` approves it again",
            meta.name
        );
        let waits = |step: &&Step| verdict.awaiting.iter().any(|set| set.covers(&step.approval_item()));
        let objects = draft.steps.iter().filter(waits).map(|step| step.identity.id()).collect();
        draft.warn("ApprovalSpent", message, objects);
    }
    // An approved removal is no longer in doubt.
    let approved: BTreeSet<Uid> = draft
        .doubts
        .keys()
        .filter(|index| !draft.dropped.contains(index))
        .map(|index| draft.steps[*index].identity.uid)
        .collect();
    draft.doubted.retain(|uid| !approved.contains(uid));
    warn_unseen(draft);
    verdict
}

/// Warns of steps that a person may be asked to confirm although clients of their objects cannot be seen.
fn warn_unseen(draft: &mut Draft<'_>) {
    let planned = draft.unseen.iter().filter(|(index, _)| !draft.dropped.contains(index));
    let mut of_cause: BTreeMap<&String, Vec<&Step>> = BTreeMap::new();
    for (index, why) in planned {
        of_cause.entry(why).or_default().push(&draft.steps[*index]);
    }
    let warning = |(why, steps): (&String, Vec<&Step>)| {
        let natives: Vec<&str> = steps.iter().map(|step| step.native.as_str()).collect();
        let message = format!("{why}: check that none has {} open", natives.join(", "));
        (message, steps.iter().map(|step| step.identity.id()).collect())
    };
    let warnings: Vec<(String, BTreeSet<ObjectId>)> = of_cause.into_iter().map(warning).collect();
    for (message, objects) in warnings {
        draft.warn("ClientsUnseen", message, objects);
    }
}

/// Whether a step removes or releases an object because its document was removed.
fn lets_go(step: &Step) -> bool {
    step.is_removal() || matches!(&step.action, Action::SetTags { tags } if tags.retained)
}

/// Whether the end of the manifests may have been cut off: a broken pipe ends like a complete one.
fn may_be_cut(reading: &Reading) -> bool {
    reading.coverage.stdin && reading.coverage.extent == Extent::Whole
}

/// A removal limit that is exceeded. Every removal that counts then waits.
enum OverLimit<'a> {
    /// All removals together exceed it, in one sentence.
    Together(String),
    /// The owner would lose its last volume on these backends.
    LastVolume(&'a Owner, BTreeSet<&'a Name>),
    /// These objects waited before: later changes do not approve their removal.
    Waited(BTreeSet<Uid>),
}

impl OverLimit<'_> {
    /// Returns why a step waits, in one sentence: the limit, and whether it is this step that exceeds it.
    fn message(&self, step: &Step) -> String {
        match self {
            Self::Together(message) => message.clone(),
            Self::LastVolume(owner, backends) => match step.backend().filter(|backend| backends.contains(backend)) {
                Some(backend) => format!("the last volume of {owner} on {backend} would be removed"),
                None => {
                    let backends: Vec<&str> = backends.iter().map(|backend| backend.as_str()).collect();
                    let on = backends.join(" and on ");
                    format!("it waits with other removals: the last volume of {owner} on {on} would be removed")
                }
            },
            Self::Waited(before) => match removed(step).any(|uid| before.contains(&uid)) {
                true => "it exceeded a removal limit when it was first planned and has not been approved since".to_owned(),
                false => "it waits with a removal that exceeded a limit when it was first planned and has not been approved since"
                    .to_owned(),
            },
        }
    }
}

/// The steps that wait for a person, with what decides why.
struct Waiting<'a> {
    /// Steps that no approval in the ledgers covers and that a person could be asked about.
    all: Vec<usize>,
    /// Those of `all` that need a yes or an approval in this run.
    steps: Vec<usize>,
    /// The removal limit that is exceeded.
    over: Option<OverLimit<'a>>,
    /// Volumes that would be destroyed and were perhaps renamed.
    renamed: HashMap<Uid, PossibleRename<'a>>,
    /// Whether no person can be asked: a declared `onRemove: Delete` is then its own confirmation.
    unattended: bool,
}

/// Returns which steps wait. `open`: the approvals in the ledgers.
fn waiting<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>, open: &[ApprovalSet]) -> Waiting<'a> {
    let covered = |step: &Step| open.iter().any(|approval| approval.covers(&step.approval_item()));
    let live: Vec<usize> = (0..draft.steps.len()).filter(|index| !draft.dropped.contains(index)).collect();
    let uncovered: Vec<usize> = live.iter().copied().filter(|index| !covered(&draft.steps[*index])).collect();
    // A removal in doubt waits for approval anyway, and must not hold the other steps.
    let counts = |index: &usize| takes_away(&draft.steps[*index]) && !draft.doubts.contains_key(index);
    let removals: Vec<usize> = uncovered.iter().copied().filter(counts).collect();
    let granted: Vec<usize> =
        live.into_iter().filter(|index| covered(&draft.steps[*index]) && takes_away(&draft.steps[*index])).collect();
    let over = over_the_limit(inventory, draft, &removals, &granted);
    let renamed = renamed_and_destroyed(inventory, draft);
    let is_cut = may_be_cut(inventory.reading());
    let waits = |index: &usize| {
        let step = &draft.steps[*index];
        step.risk == Risk::Irreversible
            || (over.is_some() && takes_away(step))
            || draft.doubts.contains_key(index)
            || draft.withheld.contains_key(index)
            || (is_cut && lets_go(step))
    };
    let unattended = inventory.inputs.irreversible == Irreversible::HoldRestores;
    let confirmed = |index: &usize| {
        let is_sure = over.is_none() && !is_cut && !draft.doubts.contains_key(index);
        let step = &draft.steps[*index];
        let is_sure = is_sure && !draft.unseen.contains_key(index);
        unattended && is_sure && step.is_removal() && !renamed.contains_key(&step.identity.uid)
    };
    let all: Vec<usize> = uncovered.into_iter().filter(waits).collect();
    let steps = all.iter().copied().filter(|index| !confirmed(index)).collect();
    Waiting { all, steps, over, renamed, unattended }
}

/// Finds what waits, matches it with the approvals that are given, and holds it if none covers it. Returns also the digests that
/// would approve it.
fn match_approvals<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) -> (GateVerdict, BTreeSet<String>) {
    let mut used = open_approvals(inventory);
    let waiting = waiting(inventory, draft, &used);
    if waiting.steps.is_empty() {
        return (GateVerdict { used, ..GateVerdict::default() }, BTreeSet::new());
    }
    let set_of = |indexes: &[usize]| ApprovalSet::of(indexes.iter().map(|index| draft.steps[*index].approval_item()));
    let awaiting = set_of(&waiting.steps);
    // The person may have seen steps here that need no approval, and approved the whole set.
    let fitting = [awaiting.clone(), set_of(&waiting.all)];
    let given = given(inventory);
    if let Some(approved) = fitting.iter().find(|set| given.contains(&set.digest)).cloned() {
        used.push(approved);
        // The run may be limited to some objects, or end early. What it does not remove then waits for another approval.
        let is_over = |index: &&usize| {
            waiting.over.is_some() && takes_away(&draft.steps[**index]) && !draft.doubts.contains_key(*index)
        };
        let over = waiting.steps.iter().filter(is_over);
        let too_much = over.flat_map(|index| removed(&draft.steps[*index])).collect();
        return (GateVerdict { used, too_much, ..GateVerdict::default() }, BTreeSet::new());
    }
    let too_much = hold_waiting(inventory, draft, &waiting, &awaiting);
    (GateVerdict { awaiting: Some(awaiting), used, too_much }, fitting.map(|set| set.digest).into())
}

/// Holds each step that waits, for its own reason. Returns the objects whose removal exceeds a limit.
fn hold_waiting<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    waiting: &Waiting<'a>,
    awaiting: &ApprovalSet,
) -> BTreeSet<Uid> {
    let Waiting { all: _, steps, over, renamed, unattended } = waiting;
    let mut too_much = BTreeSet::new();
    // A hold shows a part of what the digest approves.
    let approves = match awaiting.set.len() {
        1 => "exactly this step".to_owned(),
        several => format!("all {several} steps that wait"),
    };
    let approve = format!("`kiln approve {}` approves {approves}", awaiting.digest);
    // Backwards: a step that waits for another of the set is held for its own reason.
    for index in steps.iter().rev().copied() {
        let step = &draft.steps[index];
        if let Some(doubt) = draft.doubts.get(&index).cloned() {
            if step.action == Action::Detach {
                // It is held with the removal that it precedes.
                draft.dropped.insert(index);
                continue;
            }
            let (reason, message, fix) = because(&doubt, &inventory.reading().coverage);
            let fix = format!("{fix}; {approve}");
            draft.hold_step(index, reason, message, &fix);
        } else if let Some(renamed) = renamed.get(&step.identity.uid) {
            too_much.extend(over.as_ref().map(|_| step.identity.uid));
            hold_renamed(inventory, draft, index, renamed, &approve);
        } else if let Some(why) = draft.withheld.get(&index).cloned() {
            let size = step.expect.size.unwrap_or_default();
            let Identity { kind, name, .. } = &step.identity;
            let place = inventory.place_of_field(*kind, name, PlacedField::Size);
            let fix =
                format!("write `size: {size}`{place} to keep its size, or a larger size to grow it; or {approve}");
            draft.hold_step(index, HeldReason::GrowRefused, why, &fix);
        } else if takes_away(step)
            && let Some(over) = over
        {
            too_much.extend(removed(step));
            let why = over.message(step);
            draft.hold_step(index, HeldReason::RemovalLimit, why, &approve);
        } else if inventory.inputs.irreversible != Irreversible::List {
            let message = match (draft.unseen.get(&index), step.risk) {
                (Some(unseen), _) => {
                    format!("the step cannot be undone and was not confirmed, and a client may have it open: {unseen}")
                }
                (None, Risk::Irreversible) => "the step cannot be undone and was not confirmed".to_owned(),
                (None, Risk::None | Risk::Recoverable | Risk::Disruptive) => {
                    "stdin may have been cut short: removing objects that it does not declare must be confirmed"
                        .to_owned()
                }
            };
            let fix = match unattended {
                true => approve.clone(),
                false => format!("confirm at a terminal, or run `kiln apply --yes`; {approve}"),
            };
            draft.hold_step(index, HeldReason::NeedsConfirmation, message, &fix);
        }
    }
    too_much
}

/// Whether the limits count a step. The removal of an unwritten volume to make room for the one that it was renamed from loses
/// nothing.
fn takes_away(step: &Step) -> bool {
    step.is_removal() && !step.expect.unwritten
}

/// Returns the objects that a removal takes away: its own, and the snapshots that go to the trash inside of it.
fn removed(step: &Step) -> impl Iterator<Item = Uid> {
    std::iter::once(step.identity.uid).chain(step.action.with().iter().map(|inner| inner.identity.uid))
}

/// Returns the approvals in the ledgers that are not yet used up. Each ledger has the part of the set on its pool.
fn open_approvals(inventory: &Inventory<'_>) -> Vec<ApprovalSet> {
    let mut by_digest: BTreeMap<&String, ApprovalSet> = BTreeMap::new();
    for approval in inventory.ledgers().flat_map(|l| &l.approvals) {
        let whole = by_digest
            .entry(&approval.digest)
            .or_insert_with(|| ApprovalSet { digest: approval.digest.clone(), set: BTreeSet::new() });
        whole.set.extend(approval.set.iter().cloned());
    }
    by_digest.into_values().collect()
}

/// Returns the digests of approvals that were used up, or that lapsed because their set was no longer planned.
fn spent<'a>(inventory: &Inventory<'a>) -> BTreeSet<&'a String> {
    inventory.ledgers().flat_map(|ledger| &ledger.spent).collect()
}

/// Returns the digests approved now, on the command line or by a document. A document approves a set once.
fn given(inventory: &Inventory<'_>) -> BTreeSet<String> {
    let spent = spent(inventory);
    let by_commit = inventory.specs().approvals.values().map(|approval| &approval.digest);
    by_commit.filter(|digest| !spent.contains(digest)).chain(inventory.inputs.approved).cloned().collect()
}

/// Returns which limit these removals exceed, if any.
///
/// `granted`: removals that an earlier approval covers. They do not count, but their objects are gone for the limits.
fn over_the_limit<'a>(
    inventory: &Inventory<'a>,
    draft: &Draft<'_>,
    removals: &[usize],
    granted: &[usize],
) -> Option<OverLimit<'a>> {
    if removals.is_empty() {
        return None;
    }
    let safety = &inventory.specs().stack.safety;
    let before = inventory.recent_removals();
    let steps = || removals.iter().map(|index| &draft.steps[*index]);
    let now = steps().flat_map(removed).count();
    let count = now + before.len();
    let bytes_along = steps().flat_map(|step| step.action.with()).map(|inner| inner.size.bytes()).sum::<u64>();
    let bytes_now = steps().map(|step| step.bytes.bytes()).sum::<u64>() + bytes_along;
    let bytes_before = before.iter().map(|removal| removal.size.bytes()).sum::<u64>();
    let all = inventory.by_name.values().flatten().filter(|object| object.place == Place::Live).count() + before.len();
    let counted = |count: usize| if count == 1 { "1 object".to_owned() } else { format!("{count} objects") };
    let objects = with_earlier(counted(now), before.len().to_string(), before.is_empty());
    if count > safety.max_removals as usize {
        return Some(OverLimit::Together(format!("{objects}; maxRemovals is {}", safety.max_removals)));
    }
    if bytes_now + bytes_before > safety.max_removed_bytes.bytes() {
        let limit = safety.max_removed_bytes;
        let bytes = with_earlier(Size(bytes_now).rounded(), Size(bytes_before).rounded(), before.is_empty());
        return Some(OverLimit::Together(format!("{bytes}; maxRemovedBytes is {limit}")));
    }
    // A share of a few objects means little.
    if count > 3 && count as u64 * 100 > all as u64 * u64::from(safety.max_removed_percent.0) {
        let limit = safety.max_removed_percent;
        let share = with_earlier(format!("{now} of {all} objects"), before.len().to_string(), before.is_empty());
        return Some(OverLimit::Together(format!("{share}; maxRemovedPercent is {limit}")));
    }
    last_volume(inventory, draft, removals, granted).or_else(|| waited_before(inventory, draft, removals))
}

/// Returns what would be removed now and what was removed before, for the limits of 24 hours.
fn with_earlier(now: String, before: String, is_first: bool) -> String {
    match is_first {
        true => format!("{now} would be removed"),
        false => format!("{now} would be removed now, after {before} in the last 24 hours"),
    }
}

/// Returns those of these removals that the limits held in an earlier run, if there are any.
fn waited_before<'a>(inventory: &Inventory<'_>, draft: &Draft<'_>, removals: &[usize]) -> Option<OverLimit<'a>> {
    let ledgers = || inventory.ledgers();
    let waited = |uid: &Uid| ledgers().any(|ledger| ledger.waiting.contains(uid));
    let before: BTreeSet<Uid> =
        removals.iter().flat_map(|index| removed(&draft.steps[*index])).filter(waited).collect();
    (!before.is_empty()).then_some(OverLimit::Waited(before))
}

/// Returns the backends on which this owner would lose its last volume, if there are any.
fn last_volume<'a>(
    inventory: &Inventory<'a>,
    draft: &Draft<'_>,
    removals: &[usize],
    granted: &[usize],
) -> Option<OverLimit<'a>> {
    let mut left: BTreeMap<&'a Name, usize> = BTreeMap::new();
    for object in inventory.by_name.values().flatten().filter(|object| object.identity.kind == Kind::Volume) {
        *left.entry(object.backend).or_default() += usize::from(object.place == Place::Live);
    }
    let mut remove = |indexes: &[usize]| {
        let mut emptied = BTreeSet::new();
        let steps = indexes.iter().map(|index| &draft.steps[*index]);
        for step in steps.filter(|step| step.identity.kind == Kind::Volume) {
            let Some((backend, left)) = left.iter_mut().find(|(backend, _)| Some(**backend) == step.backend()) else {
                continue;
            };
            *left = left.saturating_sub(1);
            emptied.extend((*left == 0).then_some(*backend));
        }
        emptied
    };
    remove(granted);
    let emptied = remove(removals);
    let owner = &inventory.specs().stack.owner;
    (!emptied.is_empty()).then_some(OverLimit::LastVolume(owner, emptied))
}
