//! Changes of a pool's ledger. Pure: [`Session`](super::session::Session) writes it to the pool.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::model::{
    Absence, Action, ApprovalItem, ApprovalSet, Extent, Identity, Kind, Ledger, LedgerEntry, Name, Object, Observed,
    Owner, Place, Reading, Removal, Size, Specs, Step, Tags, Uid, Verb, Withdrawal,
};
use crate::plan::{Plan, SettledState};

/// A ledger of a session: that of the observation until it is changed, and then a copy.
#[derive(Clone)]
pub(super) struct SharedLedger(Arc<Ledger>);

impl From<Arc<Ledger>> for SharedLedger {
    fn from(ledger: Arc<Ledger>) -> Self {
        Self(ledger)
    }
}

impl From<Ledger> for SharedLedger {
    fn from(ledger: Ledger) -> Self {
        Self(Arc::new(ledger))
    }
}

impl Deref for SharedLedger {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.0
    }
}

impl DerefMut for SharedLedger {
    fn deref_mut(&mut self) -> &mut Ledger {
        Arc::make_mut(&mut self.0)
    }
}

/// Settles a ledger from a complete observation, before a plan is made from it. One that is settled already is not copied.
///
/// - An object of this owner that is there and has no entry is entered: a crash came before its entry, or a person moved it here. What the
///   store and other ledgers know of it is kept, so that what is lost remains visible.
/// - An object that was leaving and is gone gets a tombstone, and so does one that is Lost and no longer declared.
/// - A removal that was not counted is counted: a crash came before its count.
/// - Copies of objects of another pool are listed as such.
/// - Tombstones and removals that are too old to matter are dropped.
///
/// `known`: what is known of an object that has no entry.
pub(super) fn settle(
    ledger: &mut SharedLedger,
    observed: &Observed,
    reading: &Reading,
    known: impl Fn(Uid) -> SettledState,
    now: u64,
) {
    let mut there: HashMap<Uid, (&Object, &Identity)> = HashMap::with_capacity(observed.objects.len());
    for object in observed.objects.iter().filter(|o| o.place != Place::Temporary && o.conflict.is_none()) {
        if let Some(identity) = object.identity.as_ref().filter(|id| id.owner == ledger.owner) {
            there.insert(identity.uid, (object, identity));
        }
    }
    for (uid, (object, identity)) in &there {
        match ledger.complete.get(uid) {
            None => {
                let SettledState { size, protected, restored, accepted, names } = known(*uid);
                let is_renamed = |old: &Name| {
                    ledger.renaming.get(uid) == Some(&identity.name)
                        || Some(old) == specs_renamed_from(&reading.specs, identity)
                };
                let is_known = names.iter().any(|(name, _)| *name == identity.name || is_renamed(name));
                let known = names.into_iter().next().filter(|_| !is_known);
                let name = known.as_ref().map_or(&identity.name, |(name, _)| name).clone();
                let n = guess_n(&reading.specs, &Identity { name, ..(*identity).clone() }, ledger);
                enter(ledger, identity, object, n);
                if let Some(entry) = ledger.complete.get_mut(uid) {
                    entry.size = entry.size.max(size);
                    entry.protected |= protected;
                    entry.restored.extend(restored);
                    entry.accepted = accepted;
                    // A rename from outside of Kiln must remain visible.
                    if let Some(known) = known {
                        (entry.name, entry.native) = known;
                    }
                }
            }
            // A rename by this owner, which was not entered because of a crash.
            Some(LedgerEntry { name, n, .. })
                if *name != identity.name
                    && (ledger.renaming.get(uid) == Some(&identity.name)
                        || Some(name) == specs_renamed_from(&reading.specs, identity)) =>
            {
                let n = *n;
                rename(ledger, identity, object, n);
            }
            Some(_) => {}
        }
        // Name and size stay: a rename or cut from outside Kiln must remain visible. Only a step of this owner lifts protection.
        let (Tags { protected, restored, .. }, parent_volume) = (&*object.tags, &object.parent_volume);
        let is_known = ledger.complete.get(uid).is_none_or(|entry| {
            (entry.protected || !protected)
                && entry.parent_volume.as_deref() == parent_volume.as_ref()
                && restored.iter().all(|request| entry.restored.contains(request))
        });
        if !is_known && let Some(entry) = ledger.complete.get_mut(uid) {
            entry.protected |= protected;
            entry.restored.extend(restored.clone());
            // A volume that is renamed takes the snapshots inside of it along.
            entry.parent_volume = parent_volume.clone().map(Box::new);
        }
        let (leaves, is_destroyed) = (ledger.leaving.contains(uid), ledger.destroying.contains(uid));
        match object.place {
            Place::Trash if leaves && !is_destroyed => {}
            Place::Trash => {
                let volume = object.tags.volume.filter(|_| object.parent_volume.is_some());
                leave(ledger, (*uid, volume), identity.kind, object.size, now);
            }
            Place::Live | Place::Temporary if !leaves && !is_destroyed => {}
            Place::Live | Place::Temporary => {
                ledger.leaving.remove(uid);
                ledger.destroying.remove(uid);
            }
        }
    }
    let mut counted = BTreeSet::new();
    let is_live = |uid| there.get(&uid).is_some_and(|(object, _)| object.place == Place::Live);
    if !ledger.removals.is_empty() {
        ledger.removals.retain(|removal| !is_live(removal.uid) && counted.insert(removal.uid));
    }
    let copies = observed.objects.iter().filter_map(|object| Some(object.copy_of.as_ref()?.uid));
    let unseen = ledger.copies.iter().copied().filter(|uid| !observed.lists_all() && !there.contains_key(uid));
    let copies: BTreeSet<Uid> = copies.chain(unseen).collect();
    if copies != ledger.copies {
        ledger.copies = copies;
    }
    let in_doubt: BTreeSet<_> = observed.objects.iter().filter(|o| o.conflict.is_some()).map(|o| &o.native).collect();
    let renamed: BTreeSet<_> = reading.specs.renames().map(|(kind, old, _)| (kind, old)).collect();
    let gone: Vec<(Uid, Kind, Size)> = ledger
        .complete
        .iter()
        .filter(|(uid, entry)| {
            let withdrawn = || reading.withdraws(entry.kind, &entry.name, Some(ledger), **uid) == Withdrawal::Withdrawn;
            let renamed = || renamed.contains(&(entry.kind, &entry.name));
            !there.contains_key(uid)
                && !in_doubt.contains(&entry.native)
                && observed.proves_gone(entry.kind, &ledger.addresses_of(**uid))
                && (ledger.leaving.contains(uid) || (withdrawn() && !renamed()))
        })
        .map(|(uid, entry)| (*uid, entry.kind, entry.size))
        .collect();
    for (uid, kind, size) in gone {
        if ledger.destroying.contains(&uid) {
            // Its removal has not been counted.
            ledger.leaving.remove(&uid);
            leave(ledger, (uid, None), kind, size, now);
        }
        ledger.add_tombstone(uid, now);
    }
    if !ledger.creating.is_empty() {
        let is_gone = |uid: Uid, entry: &LedgerEntry| {
            let known = ledger.addresses_being_made(uid, entry);
            let is_shown = observed.objects.iter().any(|object| known.iter().any(|at| object.is_at(at)));
            !is_shown && observed.proves_gone(entry.kind, &known)
        };
        let gone: Vec<Uid> =
            ledger.creating.iter().filter(|(uid, entry)| is_gone(**uid, entry)).map(|(uid, _)| *uid).collect();
        gone.iter().for_each(|uid| drop(ledger.creating.remove(uid)));
    }
    let is_over = |at: u64, length: u64| is_of_the_future(at, now) || at + length <= now;
    let has_old = ledger.tombstones.values().any(|stone| is_over(stone.at, Ledger::TOMBSTONE_DAYS * 86_400))
        || ledger.removals.iter().any(|removal| is_over(removal.at, Ledger::REMOVAL_WINDOW));
    if !has_old {
        return;
    }
    let ledger: &mut Ledger = ledger;
    // A time from a clock that was ahead would count until that time is reached. It counts from now on.
    let stones = ledger.tombstones.values_mut().map(|stone| &mut stone.at);
    let removals = ledger.removals.iter_mut().map(|removal| &mut removal.at);
    stones.chain(removals).filter(|at| is_of_the_future(**at, now)).for_each(|at| *at = now);
    ledger.tombstones.retain(|_, stone| stone.at + Ledger::TOMBSTONE_DAYS * 86_400 > now);
    ledger.removals.retain(|removal| removal.at + Ledger::REMOVAL_WINDOW > now);
}

/// Whether a time comes from a clock that was ahead of this one by more than the clocks of hosts differ.
pub(super) fn is_of_the_future(at: u64, now: u64) -> bool {
    at > now.saturating_add(300)
}

/// Returns the `renamedFrom` of an object's document.
fn specs_renamed_from<'s>(specs: &'s Specs, identity: &Identity) -> Option<&'s Name> {
    specs.document(identity.kind, &identity.name)?.renamed_from.as_ref()
}

/// Enters an object under its new name. The number of the old name is used up: a later document of that name declares another object.
fn rename(ledger: &mut Ledger, identity: &Identity, object: &Object, n: u32) {
    if let Some(old) = ledger.complete.get(&identity.uid) {
        let next = ledger.next.entry(Ledger::next_key(old.kind, &old.name)).or_default();
        *next = (*next).max(old.n + 1);
    }
    enter(ledger, identity, object, n);
}

/// Returns the number of an object among those of its name, where no ledger has it. Uids are derived from it, so the first number that
/// fits is right. An object that came from another owner fits none, and gets the next one.
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

/// Enters an object as complete.
pub(super) fn enter(ledger: &mut Ledger, identity: &Identity, object: &Object, n: u32) {
    let before = ledger.complete.get(&identity.uid);
    let mut restored = before.map(|entry| entry.restored.clone()).unwrap_or_default();
    restored.extend(object.tags.restored.clone());
    let entry = LedgerEntry {
        protected: before.is_some_and(|entry| entry.protected) || object.tags.protected,
        restored,
        declared_in: before.and_then(|entry| entry.declared_in.clone()),
        accepted: before.and_then(|entry| entry.accepted),
        ..identity.ledger_entry(n, object.address(), object.size)
    };
    let moved = before.map(|entry| entry.native.clone()).filter(|before| *before != object.native);
    ledger.complete.insert(identity.uid, entry);
    ledger.creating.remove(&identity.uid);
    // A volume that is renamed takes the snapshots inside of it along.
    if let Some(from) = moved {
        let entries = ledger.complete.values_mut().chain(ledger.creating.values_mut());
        for entry in entries.filter(|entry| entry.parent_volume.as_deref() == Some(&from)) {
            entry.parent_volume = Some(Box::new(object.native.clone()));
        }
    }
    // An observation that lagged may have given it a tombstone.
    ledger.tombstones.remove(&identity.uid);
    ledger.leaving.remove(&identity.uid);
    ledger.destroying.remove(&identity.uid);
    if ledger.renaming.get(&identity.uid) == Some(&identity.name) {
        ledger.renaming.remove(&identity.uid);
    }
}

/// Enters an object that a step changed and did not rename. It keeps the name that it is known by: a rename from outside of Kiln must remain
/// visible, or a new object would be created under that name.
fn enter_changed(ledger: &mut Ledger, identity: &Identity, object: &Object) {
    let before = ledger.complete.get(&identity.uid);
    let n = before.map_or(0, |entry| entry.n);
    let known =
        before.filter(|entry| entry.name != identity.name).map(|entry| (entry.name.clone(), entry.native.clone()));
    enter(ledger, identity, object, n);
    if let (Some(known), Some(entry)) = (known, ledger.complete.get_mut(&identity.uid)) {
        (entry.name, entry.native) = known;
    }
}

/// Enters that an object has left, with the uid of the volume that a snapshot left inside of: an approval may name that only. It counts as
/// one removal, when this is first observed.
fn leave(ledger: &mut Ledger, (uid, volume): (Uid, Option<Uid>), kind: Kind, size: Size, now: u64) {
    ledger.destroying.remove(&uid);
    if ledger.leaving.insert(uid) && !ledger.tombstones.contains_key(&uid) {
        let names = |approval: &ApprovalSet| [Some(uid), volume].into_iter().flatten().any(|uid| approval.names(uid));
        let approved = ledger.approvals.iter().any(names);
        ledger.removals.push(Removal { uid, kind, size, at: now, approved });
    }
}

/// Announces the steps of a pass before the first one begins: enters which objects they destroy or rename, and the approvals that they use.
///
/// Removals into the trash are not announced: an observation shows them.
///
/// Objects to be made are announced only where a list need not show them.
pub(super) fn announce<'s>(
    ledger: &mut Ledger,
    steps: impl Iterator<Item = &'s Step> + Clone,
    used: &[ApprovalSet],
    absence: Absence,
) {
    for step in steps.clone().filter(|_| absence != Absence::ByList) {
        if let Action::Create { n, .. } | Action::Snapshot { n, .. } | Action::Adopt { n, .. } = &step.action {
            let entry = step.identity.ledger_entry(*n, step.address(), Size(0));
            ledger.creating.insert(step.identity.uid, entry);
        }
    }
    let destroys = |step: &&Step| matches!(step.action, Action::Destroy);
    ledger.destroying.extend(steps.clone().filter(destroys).map(|step| step.identity.uid));
    let renames = steps.clone().filter(|step| matches!(step.action, Action::Rename { .. }));
    ledger.renaming.extend(renames.map(|step| (step.identity.uid, step.identity.name.clone())));
    for approval in used {
        approve(ledger, steps.clone(), approval);
    }
}

/// Takes back the announcement of a step that certainly had no effect. Returns whether there was one.
pub(super) fn withdraw(ledger: &mut Ledger, step: &Step) -> bool {
    let uid = &step.identity.uid;
    (step.action == Action::Destroy && ledger.destroying.remove(uid))
        || (step.action.is_first() && ledger.creating.remove(uid).is_some())
}

/// Enters an approval as in use, with the items that cover these steps. The steps are on the ledger's pool.
pub(super) fn approve<'s>(ledger: &mut Ledger, steps: impl Iterator<Item = &'s Step>, approval: &ApprovalSet) {
    let part: BTreeSet<ApprovalItem> =
        steps.filter(|step| approval.covers(&step.approval_item())).map(Step::approval_item).collect();
    let known = ledger.approvals.iter().any(|open| open.digest == approval.digest);
    if !known && !part.is_empty() {
        ledger.approvals.push(ApprovalSet { digest: approval.digest.clone(), set: part });
    }
}

/// Uses up the approvals of restores that are about to run. A restore overwrites the writes of clients, so an approval covers one execution:
/// after a crash before its first effect, a person must approve again. (One that is begun is completed without an approval.) Returns the index of each covered step and the digest, for [`give_back`].
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

/// Gives back the approval of a restore that certainly had no effect.
pub(super) fn give_back(ledger: &mut Ledger, step: &Step, digest: &str) {
    ledger.spent.remove(digest);
    let item = step.approval_item();
    match ledger.approvals.iter_mut().find(|approval| approval.digest == digest) {
        Some(approval) => drop(approval.set.insert(item)),
        None => ledger.approvals.push(ApprovalSet { digest: digest.to_owned(), set: BTreeSet::from([item]) }),
    }
}

/// Enters the effect of a step. `object` is the object as observed now, if it is there. `is_shown`: the observation shows the whole effect.
pub(super) fn note(ledger: &mut Ledger, step: &Step, object: Option<&Object>, is_shown: bool, now: u64) {
    let uid = step.identity.uid;
    // An object that the step made or changed, and that is missing, is not entered: the next complete listing shows whether it is gone or was
    // never made.
    match &step.action {
        Action::Create { n, .. } | Action::Snapshot { n, .. } | Action::Adopt { n, .. } => {
            object.into_iter().for_each(|object| enter(ledger, &step.identity, object, *n));
        }
        // A name in the trash is one that a person or a document asked for.
        Action::Undelete { .. } | Action::Rename { .. } => {
            let n = ledger.complete.get(&uid).map_or(0, |entry| entry.n);
            object.into_iter().for_each(|object| enter(ledger, &step.identity, object, n));
        }
        Action::Grow { .. }
        | Action::Restore { .. }
        | Action::SetTags { .. }
        | Action::Reserve
        | Action::Configure { .. } => {
            object.into_iter().for_each(|object| enter_changed(ledger, &step.identity, object));
        }
        Action::Trash { with, .. } => {
            for inner in with {
                leave(ledger, (inner.identity.uid, Some(uid)), inner.identity.kind, inner.size, now);
            }
            leave(ledger, (uid, None), step.identity.kind, step.bytes, now);
        }
        Action::Destroy | Action::Purge if object.is_none() => {
            if step.action == Action::Destroy {
                leave(ledger, (uid, None), step.identity.kind, step.bytes, now);
            }
            // Otherwise it gets its tombstone when an observation proves that it is gone.
            if is_shown {
                ledger.add_tombstone(uid, now);
            }
        }
        Action::Destroy | Action::Purge | Action::Sweep | Action::Detach => {}
    }
    if let Action::Undelete { with, .. } = &step.action {
        for inner in with {
            ledger.leaving.remove(&inner.identity.uid);
        }
    }
    if let Action::SetTags { tags } | Action::Undelete { tags, .. } = &step.action
        && let Some(entry) = ledger.complete.get_mut(&uid)
    {
        entry.protected = tags.protected;
    }
    if let Action::Grow { .. } = &step.action
        && let Some(entry) = ledger.complete.get_mut(&uid)
    {
        entry.accepted = None;
    }
    // An approved item that is done is removed; an approval without items is spent.
    let done = step.approval_item();
    for approval in &mut ledger.approvals {
        approval.set.remove(&done);
    }
    spend(ledger);
}

/// Enters an object that matches its declaration: its size, also if a person grew it and changed the document, and its protection.
pub(super) fn accept(ledger: &mut Ledger, uid: Uid, object: &Object) {
    if let Some(entry) = ledger.complete.get_mut(&uid) {
        entry.size = object.size;
        entry.protected = object.tags.protected;
        entry.accepted = None;
    }
}

/// Accepts an object that is smaller than before, or than `declared`. Returns the earlier size if the object is smaller than that.
///
/// `known`: its largest recorded size.
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
        // A document that declares the earlier size may come back.
        entry.accepted = declared.or(was).filter(|size| *size > object.size).or(entry.accepted);
    }
    was.or(declared.filter(|declared| *declared > object.size))
}

/// Moves approvals without items to the spent ones.
fn spend(ledger: &mut Ledger) {
    let (open, done): (Vec<_>, Vec<_>) =
        std::mem::take(&mut ledger.approvals).into_iter().partition(|approval| !approval.set.is_empty());
    ledger.approvals = open;
    ledger.spent.extend(done.into_iter().map(|approval| approval.digest));
}

/// Removes approved items for which nothing is planned any more: a person removed the object outside Kiln, or its document came back.
/// `pending`: object and verb of each step and each held change. Objects that these manifests do not cover keep their approvals.
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

/// Whether these manifests do not cover the object of an approved item.
fn is_left(ledger: &Ledger, item: &ApprovalItem, reading: &Reading) -> bool {
    let entry = item.uid().and_then(|uid| Some((uid, ledger.complete.get(&uid)?)));
    entry.is_some_and(|(uid, entry)| is_not_covered(ledger, uid, entry, reading))
}

fn is_not_covered(ledger: &Ledger, uid: Uid, entry: &LedgerEntry, reading: &Reading) -> bool {
    reading.withdraws(entry.kind, &entry.name, Some(ledger), uid) == Withdrawal::NotCovered
}

/// Returns the removals that wait because they exceeded a limit, of objects that these manifests do not cover: they continue to wait.
pub(super) fn waiting_elsewhere(ledger: &Ledger, reading: &Reading) -> BTreeSet<Uid> {
    let is_left = |uid: &&Uid| {
        let entry = ledger.complete.get(uid);
        entry.is_some_and(|entry| is_not_covered(ledger, **uid, entry, reading))
    };
    ledger.waiting.iter().filter(is_left).copied().collect()
}

/// Enters which file declares an object. A partial reading does not replace what a whole one entered.
pub(super) fn declare(ledger: &mut Ledger, uid: Uid, reading: &Reading) {
    let Some(entry) = ledger.complete.get_mut(&uid) else { return };
    let is_known = reading.coverage.extent == Extent::Partial && entry.declared_in.is_some();
    if let Some(file) = reading.declared_in(entry.kind, &entry.name).filter(|_| !is_known) {
        entry.declared_in = Some(file.into());
    }
}

/// Enters which files declare the objects, and which manifests were read. While objects wait because these are other manifests, the entry
/// of the earlier ones stays, for comparison.
pub(super) fn enter_reading(ledger: &mut Ledger, reading: &Reading, plan: &Plan) {
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

/// Returns the first ledger of an owner on a pool.
pub(super) fn first(pool: crate::model::PoolId, owner: &Owner, specs: &Specs) -> Ledger {
    Ledger::new(pool, owner.clone(), specs.stack.id.clone())
}

/// Enters the objects of another owner's ledger, before the first of them is renamed. From then on each is expected under the new owner, so
/// that an interruption creates no second one. Lost objects stay lost. Repeatable.
pub(super) fn take_over(ours: &mut Ledger, theirs: &Ledger) {
    // An approval covers steps of its owner only.
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
        // Those that exist were observed, and are entered when they are renamed; unless nothing but the ledger tells of them.
        creating: _,
        waiting,
        copies,
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
    ours.copies.extend(copies.iter().copied());
    if ours.reading.is_none() {
        ours.reading.clone_from(reading);
    }
}

#[cfg(test)]
mod tests;
