//! Keeping the ledger of a pool true: pure, apart from the one who writes it.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};

use crate::model::{
    Action, ApprovalItem, ApprovalSet, Extent, Identity, Kind, Ledger, LedgerEntry, Object, Observed, Owner, Place,
    Reading, Removal, Size, Specs, Step, Uid, Verb, Withdrawal,
};
use crate::plan::Plan;

/// Brings a ledger up to what a complete look shows, before anything is planned from it.
///
/// - what is there and ours, and not entered, is entered (a crash within the seconds before its entry);
/// - what was leaving and is gone is buried; so is what is Lost and no longer declared;
/// - what left and was not counted, is counted (a crash before its count);
/// - what is too old to matter is dropped.
pub(super) fn settle(ledger: &mut Ledger, observed: &Observed, reading: &Reading, now: u64) {
    let mut there: HashMap<Uid, (&Object, &Identity)> = HashMap::with_capacity(observed.objects.len());
    for object in observed.objects.iter().filter(|o| o.place != Place::Temporary && o.conflict.is_none()) {
        if let Some(identity) = object.identity.as_ref().filter(|id| id.owner == ledger.owner) {
            there.insert(identity.uid, (object, identity));
        }
    }
    for (uid, (object, identity)) in &there {
        match ledger.complete.get(uid) {
            None => enter(ledger, identity, object, guess_n(&reading.specs, identity, ledger)),
            // A rename of ours that a crash kept from being entered.
            Some(LedgerEntry { name, n, .. })
                if *name != identity.name
                    && (ledger.renaming.get(uid) == Some(&identity.name)
                        || Some(name) == specs_renamed_from(&reading.specs, identity)) =>
            {
                rename(ledger, identity, object, *n);
            }
            Some(_) => {}
        }
        // Name and size are not touched: what a stranger renamed or cut must show. Protection is lifted by a step of ours only.
        if let Some(entry) = ledger.complete.get_mut(uid) {
            entry.protected |= object.tags.protected;
            entry.restored.extend(object.tags.restored.clone());
        }
        match object.place {
            Place::Trash => leave(ledger, *uid, identity.kind, object.size, now),
            Place::Live | Place::Temporary => {
                ledger.leaving.remove(uid);
                ledger.destroying.remove(uid);
            }
        }
    }
    let mut counted = BTreeSet::new();
    let is_live = |uid| there.get(&uid).is_some_and(|(object, _)| object.place == Place::Live);
    ledger.removals.retain(|removal| !is_live(removal.uid) && counted.insert(removal.uid));
    let in_doubt: BTreeSet<_> = observed.objects.iter().filter(|o| o.conflict.is_some()).map(|o| &o.native).collect();
    let renamed = old_names(&reading.specs);
    let gone: Vec<(Uid, Kind, Size)> = ledger
        .complete
        .iter()
        .filter(|(uid, entry)| {
            let withdrawn = || reading.withdraws(entry.kind, &entry.name, Some(ledger), **uid) == Withdrawal::Withdrawn;
            let renamed = || renamed.contains(&(entry.kind == Kind::Volume, &entry.name));
            !there.contains_key(uid)
                && !in_doubt.contains(&entry.native)
                && observed.listed.proves_absence_of(entry.kind)
                && (ledger.leaving.contains(uid) || (withdrawn() && !renamed()))
        })
        .map(|(uid, entry)| (*uid, entry.kind, entry.size))
        .collect();
    for (uid, kind, size) in gone {
        if ledger.destroying.contains(&uid) {
            // It has not been counted.
            ledger.leaving.remove(&uid);
            leave(ledger, uid, kind, size, now);
        }
        ledger.add_tombstone(uid, now);
    }
    // What a clock that was ahead had noted would count until that time has come: it counts from now on.
    let stones = ledger.tombstones.values_mut().map(|stone| &mut stone.at);
    let removals = ledger.removals.iter_mut().map(|removal| &mut removal.at);
    stones.chain(removals).filter(|at| is_of_the_future(**at, now)).for_each(|at| *at = now);
    ledger.tombstones.retain(|_, stone| stone.at + Ledger::TOMBSTONE_DAYS * 86_400 > now);
    ledger.removals.retain(|removal| removal.at + Ledger::REMOVAL_WINDOW > now);
}

/// Whether a time was noted by a clock that was ahead of this one by more than clocks of hosts differ.
pub(super) fn is_of_the_future(at: u64, now: u64) -> bool {
    at > now.saturating_add(300)
}

/// The name that the document of an object gives as its old one.
fn specs_renamed_from<'s>(specs: &'s Specs, identity: &Identity) -> Option<&'s crate::model::Name> {
    specs.document(identity.kind, &identity.name)?.renamed_from.as_ref()
}

/// Enters an object under its new name. The old name has used its number up: what is declared under it later is another object.
fn rename(ledger: &mut Ledger, identity: &Identity, object: &Object, n: u32) {
    if let Some(old) = ledger.complete.get(&identity.uid) {
        let next = ledger.next.entry(Ledger::next_key(old.kind, &old.name)).or_default();
        *next = (*next).max(old.n + 1);
    }
    enter(ledger, identity, object, n);
}

/// The names that documents give as old ones: of volumes (`true`) and of snapshots.
fn old_names(specs: &Specs) -> BTreeSet<(bool, &crate::model::Name)> {
    let volumes = specs.volumes.values().filter_map(|v| Some((true, v.meta.renamed_from.as_ref()?)));
    volumes.chain(specs.snapshots.values().filter_map(|s| Some((false, s.meta.renamed_from.as_ref()?)))).collect()
}

/// Which of its name's uids an object bears, where nobody noted it: uids are derived, so the first that fits. One that fits none
/// (it came from another owner) counts as the first.
fn guess_n(specs: &Specs, identity: &Identity, ledger: &Ledger) -> u32 {
    let next = ledger.next.get(&Ledger::next_key(identity.kind, &identity.name)).copied().unwrap_or(0);
    let backends = || specs.backends.keys();
    let fits = |n: &u32| {
        backends().any(|backend| {
            Uid::derive(&ledger.stack, &identity.owner, identity.kind, backend, &identity.name, *n) == identity.uid
        })
    };
    (0..next + 8).find(fits).unwrap_or(next)
}

/// Enters an object as whole.
pub(super) fn enter(ledger: &mut Ledger, identity: &Identity, object: &Object, n: u32) {
    let before = ledger.complete.get(&identity.uid);
    let mut restored = before.map(|entry| entry.restored.clone()).unwrap_or_default();
    restored.extend(object.tags.restored.clone());
    let entry = LedgerEntry {
        kind: identity.kind,
        name: identity.name.clone(),
        n,
        native: object.native.clone(),
        size: object.size,
        protected: before.is_some_and(|entry| entry.protected) || object.tags.protected,
        restored,
        declared_in: before.and_then(|entry| entry.declared_in.clone()),
        accepted: before.and_then(|entry| entry.accepted),
    };
    ledger.complete.insert(identity.uid, entry);
    // A look that lagged may have had it buried.
    ledger.tombstones.remove(&identity.uid);
    ledger.leaving.remove(&identity.uid);
    ledger.destroying.remove(&identity.uid);
    if ledger.renaming.get(&identity.uid) == Some(&identity.name) {
        ledger.renaming.remove(&identity.uid);
    }
}

/// Notes that an object has left. It counts as a removal once, when it is first found to have left.
fn leave(ledger: &mut Ledger, uid: Uid, kind: Kind, size: Size, now: u64) {
    ledger.destroying.remove(&uid);
    if ledger.leaving.insert(uid) && !ledger.tombstones.contains_key(&uid) {
        let approved = ledger.approvals.iter().any(|approval| approval.names(uid));
        ledger.removals.push(Removal { uid, kind, size, at: now, approved });
    }
}

/// Before the first step of a pass: enters what is about to be destroyed or renamed, and the approvals that are made use of.
///
/// What goes to the trash is not entered: whether it went there shows in the trash.
pub(super) fn announce<'s>(ledger: &mut Ledger, steps: impl Iterator<Item = &'s Step> + Clone, used: &[ApprovalSet]) {
    let destroys = |step: &&Step| matches!(step.action, Action::Destroy);
    ledger.destroying.extend(steps.clone().filter(destroys).map(|step| step.identity.uid));
    let renames = steps.clone().filter(|step| matches!(step.action, Action::Rename { .. }));
    ledger.renaming.extend(renames.map(|step| (step.identity.uid, step.identity.name.clone())));
    for approval in used {
        approve(ledger, steps.clone(), approval);
    }
}

/// Enters an approval as in use: what it covers of these steps, which are on the ledger's pool.
pub(super) fn approve<'s>(ledger: &mut Ledger, steps: impl Iterator<Item = &'s Step>, approval: &ApprovalSet) {
    let part: BTreeSet<ApprovalItem> =
        steps.filter(|step| approval.covers(&step.approval_item())).map(Step::approval_item).collect();
    let known = ledger.approvals.iter().any(|begun| begun.digest == approval.digest);
    if !known && !part.is_empty() {
        ledger.approvals.push(ApprovalSet { digest: approval.digest.clone(), set: part });
    }
}

/// Uses up the approvals of restores that are about to be made. A restore overwrites what clients wrote, so that a yes covers one
/// execution: after a crash in it somebody is asked again. Returns what [`give_back`] takes: the index of each step that was covered,
/// and the digest.
pub(super) fn use_up<'s>(ledger: &mut Ledger, steps: impl Iterator<Item = (usize, &'s Step)>) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (index, step) in steps.filter(|(_, step)| matches!(step.action, Action::Restore { .. })) {
        let item = step.approval_item();
        for approval in &mut ledger.approvals {
            if approval.set.remove(&item) {
                used.push((index, approval.digest.clone()));
            }
        }
    }
    spend(ledger);
    used
}

/// Gives the approval of a restore back that certainly had no effect.
pub(super) fn give_back(ledger: &mut Ledger, step: &Step, digest: &str) {
    ledger.spent.remove(digest);
    let item = step.approval_item();
    match ledger.approvals.iter_mut().find(|approval| approval.digest == digest) {
        Some(approval) => drop(approval.set.insert(item)),
        None => ledger.approvals.push(ApprovalSet { digest: digest.to_owned(), set: BTreeSet::from([item]) }),
    }
}

/// After a step whose effect was seen: `object` is what a look shows of it now, if it is there.
pub(super) fn note(ledger: &mut Ledger, step: &Step, object: Option<&Object>, now: u64) {
    let uid = step.identity.uid;
    match (&step.action, object) {
        (Action::Create { n, .. } | Action::Snapshot { n, .. } | Action::Adopt { n, .. }, Some(object)) => {
            enter(ledger, &step.identity, object, *n);
        }
        (Action::Undelete { .. }, Some(object)) => {
            let n = ledger.complete.get(&uid).map_or(0, |entry| entry.n);
            enter(ledger, &step.identity, object, n);
        }
        (
            Action::Rename { .. } | Action::Grow { .. } | Action::Restore { .. } | Action::SetTags { .. },
            Some(object),
        ) => {
            let n = ledger.complete.get(&uid).map_or(0, |entry| entry.n);
            enter(ledger, &step.identity, object, n);
        }
        (Action::Trash { .. }, _) => leave(ledger, uid, step.identity.kind, step.bytes, now),
        (Action::Destroy, None) => {
            leave(ledger, uid, step.identity.kind, step.bytes, now);
            ledger.add_tombstone(uid, now);
        }
        (Action::Purge, None) => ledger.add_tombstone(uid, now),
        // What a step makes or changes and is not there was not done, or is gone since: the next complete listing tells which.
        (
            Action::Create { .. }
            | Action::Snapshot { .. }
            | Action::Adopt { .. }
            | Action::Undelete { .. }
            | Action::Rename { .. }
            | Action::Grow { .. }
            | Action::Restore { .. }
            | Action::SetTags { .. },
            None,
        ) => {}
        (Action::Destroy | Action::Purge, Some(_)) | (Action::Sweep | Action::Detach, _) => {}
    }
    if let Action::SetTags { tags } | Action::Undelete { tags } = &step.action
        && let Some(entry) = ledger.complete.get_mut(&uid)
    {
        entry.protected = tags.protected;
    }
    if let Action::Grow { .. } = &step.action
        && let Some(entry) = ledger.complete.get_mut(&uid)
    {
        entry.accepted = None;
    }
    // What was approved and is done is struck off; an approval with nothing left is spent.
    let done = step.approval_item();
    for approval in &mut ledger.approvals {
        approval.set.remove(&done);
    }
    spend(ledger);
}

/// Enters an object that is as declared, with nothing to do: whoever grew it, its document followed; and protection that no
/// document asks for is lifted.
pub(super) fn accept(ledger: &mut Ledger, uid: Uid, object: &Object) {
    if let Some(entry) = ledger.complete.get_mut(&uid) {
        entry.size = object.size;
        entry.protected = object.tags.protected;
        entry.accepted = None;
    }
}

/// Accepts an object that is smaller than it was, or than `declared`, as it is. What it was, if it is smaller than that.
///
/// `known`: its size as far as anything remembers it.
pub(super) fn accept_smaller(
    ledger: &mut Ledger,
    uid: Uid,
    object: &Object,
    declared: Option<Size>,
    known: Option<Size>,
) -> Option<Size> {
    let entry = ledger.complete.get_mut(&uid)?;
    let was = known.into_iter().chain([entry.size]).max().filter(|was| *was > object.size);
    entry.size = object.size;
    if entry.kind == Kind::Volume {
        // Without a document, one may come back that declares what it was.
        entry.accepted = declared.or(was).filter(|size| *size > object.size).or(entry.accepted);
    }
    was.or(declared.filter(|declared| *declared > object.size))
}

/// Moves approvals with nothing left to do to the spent ones.
fn spend(ledger: &mut Ledger) {
    let (open, done): (Vec<_>, Vec<_>) =
        std::mem::take(&mut ledger.approvals).into_iter().partition(|approval| !approval.set.is_empty());
    ledger.approvals = open;
    ledger.spent.extend(done.into_iter().map(|approval| approval.digest));
}

/// Strikes approved items off that nothing is planned for any more (a person removed the object by hand, or its document came
/// back). `pending`: object and verb of all steps and of all that is held. What these manifests do not cover keeps its approvals.
pub(super) fn drop_stale(ledger: &mut Ledger, pending: &BTreeSet<(Uid, Verb)>, reading: &Reading) {
    let is_pending = |item: &ApprovalItem| {
        let step = item.uid().zip(item.verb());
        step.is_some_and(|step| pending.contains(&step))
    };
    let mut approvals = std::mem::take(&mut ledger.approvals);
    for approval in &mut approvals {
        approval.set.retain(|item| is_pending(item) || is_left(ledger, item, reading));
    }
    ledger.approvals = approvals;
    spend(ledger);
}

/// Whether these manifests say nothing about the object of an approved item.
fn is_left(ledger: &Ledger, item: &ApprovalItem, reading: &Reading) -> bool {
    let entry = item.uid().and_then(|uid| Some((uid, ledger.complete.get(&uid)?)));
    entry.is_some_and(|(uid, entry)| is_not_covered(ledger, uid, entry, reading))
}

fn is_not_covered(ledger: &Ledger, uid: Uid, entry: &LedgerEntry, reading: &Reading) -> bool {
    reading.withdraws(entry.kind, &entry.name, Some(ledger), uid) == Withdrawal::NotCovered
}

/// Removals that waited because they were too much at once, and about which these manifests say nothing: they go on waiting.
pub(super) fn waiting_elsewhere(ledger: &Ledger, reading: &Reading) -> BTreeSet<Uid> {
    let is_left = |uid: &&Uid| {
        let entry = ledger.complete.get(uid);
        entry.is_some_and(|entry| is_not_covered(ledger, **uid, entry, reading))
    };
    ledger.waiting.iter().filter(is_left).copied().collect()
}

/// Enters which file declares an object. A part of the manifests does not know better than all of them did.
pub(super) fn declare(ledger: &mut Ledger, uid: Uid, reading: &Reading) {
    let Some(entry) = ledger.complete.get_mut(&uid) else { return };
    let is_known = reading.coverage.extent == Extent::Partial && entry.declared_in.is_some();
    if let Some(file) = reading.declared_in(entry.kind, &entry.name).filter(|_| !is_known) {
        entry.declared_in = Some(file);
    }
}

/// Enters which files declare the objects, and which manifests were read. While objects wait because these are other manifests, those
/// before stay the ones to compare with.
pub(super) fn read(ledger: &mut Ledger, reading: &Reading, plan: &Plan) {
    let uids: Vec<Uid> = ledger.complete.keys().copied().collect();
    uids.into_iter().for_each(|uid| declare(ledger, uid, reading));
    if !reading.is_whole() || reading.coverage.stdin || reading.coverage.files.is_empty() {
        return;
    }
    let waits = plan.doubted.iter().any(|uid| ledger.complete.contains_key(uid));
    if waits && reading.is_other_source(Some(ledger)).is_some() {
        return;
    }
    let declared_below = |directory: &str| {
        let below = format!("{directory}/");
        ledger.complete.values().any(|entry| entry.declared_in.as_ref().is_some_and(|file| file.starts_with(&below)))
    };
    ledger.reading = Some(reading.coverage.remembered(ledger.reading.as_ref(), declared_below));
}

/// The first ledger of an owner on a pool.
pub(super) fn first(pool: crate::model::PoolId, owner: &Owner, specs: &Specs) -> Ledger {
    Ledger::new(pool, owner.clone(), specs.stack.id.clone())
}

/// Enters what another owner's ledger knows into ours, before the first object is renamed: from then on each of them is expected
/// under the new owner, so that none can be made anew if this is cut short. What was lost stays lost. May be done again.
pub(super) fn take_over(ours: &mut Ledger, theirs: &Ledger) {
    // An approval covers what its owner does, and is not handed on.
    let Ledger {
        pool: _,
        owner: _,
        stack: _,
        serial: _,
        approvals: _,
        complete,
        leaving,
        destroying,
        tombstones,
        next,
        removals,
        spent,
        renaming,
        waiting,
        reading,
    } = theirs;
    for (name, next) in next {
        let known = ours.next.entry(name.clone()).or_default();
        *known = (*known).max(*next);
    }
    for (uid, stone) in tombstones {
        ours.tombstones.entry(*uid).or_insert_with(|| stone.clone());
    }
    for (uid, entry) in complete.iter().filter(|(uid, _)| !ours.tombstones.contains_key(uid)) {
        if !ours.complete.contains_key(uid) {
            ours.complete.insert(*uid, entry.clone());
            if leaving.contains(uid) {
                ours.leaving.insert(*uid);
            }
            if destroying.contains(uid) {
                ours.destroying.insert(*uid);
            }
            if let Some(name) = renaming.get(uid) {
                ours.renaming.insert(*uid, name.clone());
            }
        }
    }
    let counted: BTreeSet<Uid> = ours.removals.iter().map(|removal| removal.uid).collect();
    ours.removals.extend(removals.iter().filter(|removal| !counted.contains(&removal.uid)).cloned());
    ours.spent.extend(spent.iter().cloned());
    ours.waiting.extend(waiting.iter().copied());
    if ours.reading.is_none() {
        ours.reading.clone_from(reading);
    }
}

#[cfg(test)]
mod tests;
