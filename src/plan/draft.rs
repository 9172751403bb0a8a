//! What the planner writes: steps, holds, and what later rules need to know of earlier ones.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet as StdHashSet};

use foldhash::{HashMap, HashMapExt, HashSet};

use crate::model::{
    Action, Address, Doubt, Kind, Name, NativeName, Object, ObjectId, ObjectRef, Restoring, Step, Tags, Uid, Written,
};

use super::hold::{Hold, Subject, see_what_holds};
use super::inventory::{Inventory, OwnedObject};
use super::types::{Held, HeldReason, Warning};

/// The availability of an object that a step needs.
#[derive(Clone, PartialEq)]
pub(super) enum Availability {
    /// It exists, or will exist after these steps.
    Here { backend: Name, object: ObjectRef, after: Vec<usize> },
    /// It is declared, and this plan does not create it.
    Held,
    /// It is neither declared nor does it exist.
    Missing,
    /// It is not declared, and several objects match or it is inconsistent.
    Unclear,
    /// It is being planned now: it depends on itself.
    Cycle,
}

/// The decisions about the objects of one kind and name.
#[derive(Default)]
struct Decision<'a> {
    /// A document declares the objects of this name: they are not removed.
    claimed: bool,
    availability: Option<KeptAvailability<'a>>,
}

/// An availability as it is kept: there may be 100,000, nearly all of them of objects that stay as they are observed.
enum KeptAvailability<'a> {
    AsObserved(OwnedObject<'a>),
    Other(Box<Availability>),
}

impl From<&OwnedObject<'_>> for Availability {
    fn from(object: &OwnedObject<'_>) -> Self {
        Self::Here { backend: object.backend.clone(), object: object.reference(), after: Vec::new() }
    }
}

/// The room that the plan takes on each backend.
#[derive(Default)]
pub(super) struct RoomTaken<'a> {
    /// Bytes that clients may write, by backend: of all existing volumes and of those that steps create.
    pub provisioned: HashMap<&'a Name, u64>,
    /// Bytes that steps allocate, by backend: thick volumes, and copies that share no blocks.
    pub bytes: HashMap<&'a Name, u64>,
    /// Objects that steps create, by backend.
    pub objects: HashMap<&'a Name, u64>,
    /// Objects that steps adopt, by backend.
    pub adopted: HashMap<&'a Name, u64>,
    /// Bytes that each new object allocates, by uid.
    pub of_object: HashMap<Uid, u64>,
}

/// A restore that was begun and is not complete.
#[derive(Clone, Copy)]
pub(super) struct UnfinishedRestore<'a> {
    pub volume: OwnedObject<'a>,
    pub begun: &'a Restoring,
    /// The step that completes it, or another restore that replaces it.
    pub step: Option<usize>,
    /// Its snapshot is gone, and no document asks for another restore.
    pub may_be_replaced: bool,
}

/// A plan in the making. Rules are its only writers.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub steps: Vec<Step>,
    /// Indexes of steps that were held after they were drafted.
    pub dropped: BTreeSet<usize>,
    /// The steps that wait for the success of a step, by its index.
    waiting: HashMap<usize, Vec<usize>>,
    /// The steps that wait for the completion of a step, by its index.
    awaiting: HashMap<usize, Vec<usize>>,
    pub held: Vec<Held>,
    pub warnings: Vec<Warning>,
    decisions: HashMap<(Kind, &'a Name), Decision<'a>>,
    pub room: RoomTaken<'a>,
    /// The uids of new objects.
    pub new_uids: HashSet<Uid>,
    /// The uids of those that are encrypted.
    pub encrypted: HashSet<Uid>,
    /// The depth of the recursion over `source`: volumes being planned because another needs them.
    pub depth: usize,
    /// Live volumes with a pending `restore`. Restores are planned after all snapshots.
    pub to_restore: Vec<(&'a Name, OwnedObject<'a>)>,
    /// Volumes whose smaller size was accepted, and that are declared as large as before.
    pub to_grow_back: Vec<(&'a Name, OwnedObject<'a>)>,
    /// Steps that need an approval of their own, with the cause.
    pub withheld: BTreeMap<usize, String>,
    /// Steps that lose what a client writes that cannot be seen, with what cannot be seen, in one sentence. They are irreversible.
    pub unseen: BTreeMap<usize, String>,
    /// Steps that create an object under a native name that another object of this owner has, with that object.
    pub awaiting_names: Vec<(usize, OwnedObject<'a>)>,
    /// By uid: the steps that read the object; for a volume that is restored, the restore too.
    pub readers: HashMap<Uid, Vec<usize>>,
    /// By uid: the step that completes an interrupted rename. All other steps of the object wait for it.
    pub completing: HashMap<Uid, usize>,
    /// By the uid of the volume: the restores that are not complete. Nothing else is done to such a volume.
    pub unfinished: BTreeMap<Uid, UnfinishedRestore<'a>>,
    /// Steps on objects whose removal is in doubt, with the doubt.
    pub doubts: BTreeMap<usize, Doubt>,
    /// The uids of these objects, whatever else holds them.
    pub doubted: BTreeSet<Uid>,
    /// See [`Plan::unsettled`](super::Plan::unsettled).
    pub unsettled: bool,
    /// Live volumes of this owner that no document declares any more, except released ones.
    pub withdrawn: Vec<OwnedObject<'a>>,
    /// Pairs of steps: one moves an unwritten volume to the trash, the other renames a volume to its name.
    pub replacements: Vec<(usize, usize)>,
    /// See [`Plan::to_inspect`](super::Plan::to_inspect).
    pub to_inspect: BTreeSet<(Name, Address)>,
}

impl<'a> Draft<'a> {
    /// Returns an empty draft, which counts room on top of what the inventory's volumes take.
    pub(super) fn new(inventory: &Inventory<'a>) -> Self {
        let specs = inventory.specs();
        Self {
            decisions: HashMap::with_capacity(specs.volumes.len() + specs.snapshots.len()),
            room: RoomTaken { provisioned: inventory.provisioned.clone(), ..RoomTaken::default() },
            ..Self::default()
        }
    }

    /// Returns the availability of a declared object, if it was planned already.
    pub(super) fn availability(&self, kind: Kind, name: &'a Name) -> Option<Availability> {
        Some(match self.decisions.get(&(kind, name))?.availability.as_ref()? {
            KeptAvailability::AsObserved(object) => object.into(),
            KeptAvailability::Other(availability) => Availability::clone(availability),
        })
    }

    pub(super) fn set_availability(
        &mut self,
        inventory: &Inventory<'a>,
        (kind, name): (Kind, &'a Name),
        availability: Availability,
    ) {
        let mut objects = inventory.by_name.get(&(kind, name)).into_iter().flatten();
        let as_observed = objects.find(|object| availability == Availability::from(*object)).copied();
        let kept =
            as_observed.map_or_else(|| KeptAvailability::Other(availability.into()), KeptAvailability::AsObserved);
        self.decisions.entry((kind, name)).or_default().availability = Some(kept);
    }

    /// Keeps the objects of this name from being removed, because a document declares them.
    pub(super) fn claim(&mut self, kind: Kind, name: &'a Name) {
        self.decisions.entry((kind, name)).or_default().claimed = true;
    }

    pub(super) fn is_claimed(&self, kind: Kind, name: &Name) -> bool {
        self.decisions.get(&(kind, name)).is_some_and(|decision| decision.claimed)
    }

    /// Adds a step and returns its index, which other steps wait for.
    pub(super) fn add(&mut self, mut step: Step) -> usize {
        let index = self.steps.len();
        let concerned = [Some(step.identity.uid), step.action.reads().map(|(_, object)| object.uid)];
        for first in concerned.into_iter().flatten().filter_map(|uid| self.completing.get(&uid)) {
            if !step.after.contains(first) {
                step.after.push(*first);
            }
        }
        for needed in &step.after {
            self.waiting.entry(*needed).or_default().push(index);
        }
        for awaited in &step.after_completion {
            self.awaiting.entry(*awaited).or_default().push(index);
        }
        if let Some((_, object)) = step.action.reads() {
            self.readers.entry(object.uid).or_default().push(index);
        }
        self.steps.push(step);
        index
    }

    /// Adds a step on an object whose removal may be in doubt: a doubted step is held unless it is approved.
    pub(super) fn add_doubted(&mut self, step: Step, doubt: Option<&Doubt>) -> usize {
        let index = self.add(step);
        self.doubts.extend(doubt.map(|doubt| (index, doubt.clone())));
        index
    }

    /// Adds a hold.
    pub(super) fn hold(&mut self, hold: Hold) {
        self.held.push(hold.into_held());
    }

    /// Returns the value of a rule, or adds its hold and returns none.
    pub(super) fn accept<T>(&mut self, result: Result<T, Hold>) -> Option<T> {
        result.map_err(|hold| self.hold(hold)).ok()
    }

    /// Turns a drafted step into a hold, with every step that waits for it.
    pub(super) fn hold_step(&mut self, index: usize, reason: HeldReason, message: String, fix: &str) {
        // Iterative: a chain of clones can be longer than the call stack allows.
        let mut todo = vec![(index, reason, message, fix.to_owned())];
        while let Some((index, reason, message, fix)) = todo.pop() {
            if !self.dropped.insert(index) {
                continue;
            }
            self.drop_around(index);
            let mut waiting = self.waiting.remove(&index).unwrap_or_default();
            waiting.extend(self.made_for(index));
            let step = &self.steps[index];
            // An object that is restored to be renamed is held under the name in its document.
            let is_rename = |other: &&Step| {
                other.identity.uid == step.identity.uid && matches!(other.action, Action::Rename { .. })
            };
            let step = waiting.iter().map(|other| &self.steps[*other]).find(is_rename).unwrap_or(step);
            let subject = Subject::of_step(step);
            let hold = subject.hold(reason, message, fix);
            let identity = step.identity.clone();
            let mut next = 0;
            while let Some(other) = waiting.get(next).copied() {
                next += 1;
                let its = &self.steps[other].identity;
                if its.uid == identity.uid || (its.kind, &its.name) == (identity.kind, &identity.name) {
                    // An object is held once, with one reason. Its other steps, and the steps that need its place, are dropped without
                    // a hold of their own; what waits for them is held.
                    if self.dropped.insert(other) {
                        self.drop_around(other);
                        waiting.extend(self.waiting.remove(&other).unwrap_or_default());
                        waiting.extend(self.made_for(other));
                    }
                } else {
                    let message = format!("it waits for {} {}, which is held", identity.kind.as_lower(), identity.name);
                    let fix = see_what_holds(identity.kind, &identity.name);
                    todo.push((other, HeldReason::DependencyHeld, message, fix));
                }
            }
            self.hold(hold);
            self.hold_along(index);
        }
    }

    /// Holds the snapshots that a dropped step would have taken along to the trash.
    pub(super) fn hold_along(&mut self, index: usize) {
        let step = &self.steps[index];
        let waits = step.action.with().iter().filter(|inner| step.is_removal() && !inner.released).map(|inner| {
            let volume = &step.identity.name;
            let kind = inner.identity.kind;
            let of_volume = Subject::of_step(step);
            let subject = Subject { kind, name: &inner.identity.name, uid: Some(inner.identity.uid), ..of_volume };
            subject.waits_for_held(format!("its volume {volume} is held"), Kind::Volume, volume)
        });
        for hold in waits.collect::<Vec<_>>() {
            self.hold(hold);
        }
    }

    /// Drops steps without holding them; returns the steps that waited for them.
    pub(super) fn drop_steps(&mut self, indexes: &[usize]) -> Vec<usize> {
        self.dropped.extend(indexes);
        indexes.iter().for_each(|index| self.drop_around(*index));
        indexes.iter().flat_map(|index| self.waiting.remove(index).unwrap_or_default()).collect()
    }

    /// Drops the steps that are made only around a dropped step: of an object that is changed before it, and changed back when it is over
    /// (an export that is closed for a restore). Other steps that wait for its completion just do not wait.
    fn drop_around(&mut self, index: usize) {
        for back in self.awaiting.remove(&index).unwrap_or_default() {
            let uid = self.steps[back].identity.uid;
            let is_before = |before: &&usize| self.steps[**before].identity.uid == uid;
            let before: Vec<usize> = self.steps[index].after.iter().filter(is_before).copied().collect();
            let is_needed = |other: &usize| *other != back && !self.dropped.contains(other);
            let waiting = before.iter().filter_map(|before| self.waiting.get(before)).flatten();
            if !before.is_empty() && !waiting.into_iter().any(is_needed) {
                self.dropped.extend(before);
                self.dropped.insert(back);
            }
        }
    }

    /// Returns the steps that a dropped step would have changed back when another step is over: they are not made without it.
    fn made_for(&self, back: usize) -> Vec<usize> {
        let step = &self.steps[back];
        let awaited = step.after_completion.iter().filter(|index| !self.dropped.contains(index));
        let before = awaited.flat_map(|index| &self.steps[*index].after).copied();
        before.filter(|before| self.steps[*before].identity.uid == step.identity.uid).collect()
    }

    /// Makes a step wait for another that was drafted later.
    pub(super) fn wait(&mut self, step: usize, needed: usize) {
        self.steps[step].after.push(needed);
        self.waiting.entry(needed).or_default().push(step);
    }

    /// Whether a step waits for another, directly or indirectly.
    pub(super) fn waits_for(&self, index: usize, needed: usize) -> bool {
        let (mut todo, mut seen) = (vec![index], StdHashSet::new());
        while let Some(index) = todo.pop() {
            if index == needed {
                return true;
            }
            if seen.insert(index) {
                todo.extend(self.steps[index].waits_for());
            }
        }
        false
    }

    /// Returns the steps that were not dropped, with their indexes.
    pub(super) fn live_steps(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().filter(|(index, _)| !self.dropped.contains(index))
    }

    /// Returns the steps that read an object.
    pub(super) fn readers_of(&self, uid: Uid) -> &[usize] {
        self.readers.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// Returns those of the steps `before` that are on this object. Others may be on its volume.
    fn steps_of(&self, before: &[usize], object: &Object) -> impl DoubleEndedIterator<Item = &Step> {
        let uid = object.uid();
        before.iter().map(|index| &self.steps[*index]).filter(move |step| Some(step.identity.uid) == uid)
    }

    /// Returns the native name of an object after the steps `before`.
    pub(super) fn native_after(&self, before: &[usize], object: &Object) -> NativeName {
        let own = self.steps_of(before, object).last();
        own.map_or_else(|| object.native.clone(), |step| step.native.clone())
    }

    /// Returns the tags of a live object after the steps `before`.
    pub(super) fn tags_after<'o>(&self, before: &[usize], object: &'o Object) -> Cow<'o, Tags> {
        if before.is_empty() && object.tags.expires.is_none() {
            return Cow::Borrowed(&object.tags);
        }
        let last = self.steps_of(before, object).rev().find_map(|step| step.action.replaced_tags().cloned());
        Cow::Owned(last.unwrap_or_else(|| object.tags.lasting()))
    }

    /// Whether an object is known to be unwritten. If that is unknown, the caller is asked to observe it by name.
    pub(super) fn is_unwritten(&mut self, object: &OwnedObject<'_>) -> bool {
        if object.written == Written::Unknown {
            self.to_inspect.insert((object.backend.clone(), object.address()));
        }
        // An adopted object had content before.
        object.written != Written::Yes && !object.tags.adopted
    }

    pub(super) fn warn(&mut self, code: &str, message: String, objects: BTreeSet<ObjectId>) {
        self.warnings.push(Warning { code: code.to_owned(), message, objects });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use crate::model::fixtures::{name, volume};

    fn step(object: &str, after: &[usize], after_completion: &[usize]) -> Step {
        let step = Step::new(name("fast"), volume(object), Action::Detach, Reason::NotThere);
        Step { after: after.to_vec(), after_completion: after_completion.to_vec(), ..step }
    }

    /// A draft of these steps, of which the one with this index was held: what was dropped, and the objects that are held.
    fn held(steps: Vec<Step>, index: usize) -> (Vec<usize>, Vec<String>) {
        let mut draft = Draft::default();
        for step in steps {
            draft.add(step);
        }
        draft.hold_step(index, HeldReason::InUse, String::new(), "");
        let held = draft.held.iter().map(|held| format!("{} {}", held.name, held.reason));
        (draft.dropped.iter().copied().collect(), held.collect())
    }

    #[test]
    fn what_waits_for_the_completion_of_a_held_step_does_not_wait() {
        let steps = vec![step("v", &[], &[]), step("x", &[], &[0]), step("y", &[0], &[])];
        assert_eq!(held(steps, 0), (vec![0, 2], vec!["v InUse".to_owned(), "y DependencyHeld".to_owned()]));
    }

    #[test]
    fn what_is_done_only_around_a_held_step_is_dropped_with_it() {
        let around = |more: Option<Step>| {
            let steps = [step("x", &[], &[]), step("v", &[0], &[]), step("x", &[0], &[1])];
            held(steps.into_iter().chain(more).collect(), 1)
        };
        assert_eq!(around(None), (vec![0, 1, 2], vec!["v InUse".to_owned()]));
        // It is closed for another step too.
        assert_eq!(around(Some(step("w", &[0], &[]))), (vec![1], vec!["v InUse".to_owned()]));
        // The held step is an earlier one of the same object.
        let steps = [step("v", &[], &[]), step("x", &[], &[]), step("v", &[0, 1], &[]), step("x", &[1], &[2])];
        assert_eq!(held(steps.into(), 0), (vec![0, 1, 2, 3], vec!["v InUse".to_owned()]));
    }

    #[test]
    fn what_waits_for_a_step_that_is_dropped_with_its_object_is_held() {
        let steps = vec![step("v", &[], &[]), step("v", &[0], &[]), step("y", &[1], &[])];
        assert_eq!(held(steps, 0), (vec![0, 1, 2], vec!["v InUse".to_owned(), "y DependencyHeld".to_owned()]));
    }

    #[test]
    fn what_cannot_be_changed_back_is_not_changed() {
        let steps = [step("z", &[], &[]), step("x", &[], &[]), step("v", &[1], &[]), step("x", &[1, 0], &[2])];
        let (dropped, held) = held(steps.into(), 0);
        assert_eq!(dropped, [0, 1, 2, 3]);
        assert_eq!(held, ["z InUse", "x DependencyHeld", "v DependencyHeld"]);
    }
}
