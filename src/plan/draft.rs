//! What the planner writes: steps, what is held, and what later rules need to know of earlier ones.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet as StdHashSet};

use foldhash::{HashMap, HashMapExt, HashSet};

use crate::model::{Action, Doubt, Kind, Name, NativeName, Object, ObjectRef, Origin, Step, Tags, Uid, Written};

use super::hold::{Hold, Subject, see_what_holds};
use super::inventory::{Inventory, OwnedObject};
use super::types::{Held, HeldReason, Warning};

/// What a step that needs another object learns of it.
#[derive(Clone)]
pub(super) enum Availability {
    /// It exists, or will exist after these steps.
    Here { backend: Name, object: ObjectRef, after: Vec<usize> },
    /// It is declared, and will not exist by this plan.
    Held,
    /// It is neither declared nor does it exist.
    Missing,
    /// It is not declared, and several objects could be it, or its marks contradict each other.
    Unclear,
    /// It is being planned now: it needs itself.
    Circle,
}

/// What was decided about an object of a kind and name.
#[derive(Default)]
struct Decision {
    /// A document speaks for the objects of this name: they are not removed.
    claimed: bool,
    availability: Option<Availability>,
}

/// Room that is taken on each backend.
#[derive(Default)]
pub(super) struct RoomTaken<'a> {
    /// Bytes of all volumes, those that exist and those that steps make: what clients may write.
    pub provisioned: HashMap<&'a Name, u64>,
    /// Bytes that steps take at once: thick volumes, and copies that share no blocks.
    pub bytes: HashMap<&'a Name, u64>,
    /// Objects that steps make.
    pub objects: HashMap<&'a Name, u64>,
    /// Bytes that each new object takes, by uid.
    pub of_object: HashMap<Uid, u64>,
}

/// A plan in the making.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub steps: Vec<Step>,
    /// Steps that were held after they were drafted.
    pub dropped: BTreeSet<usize>,
    /// By step: those that wait for it.
    waiting: HashMap<usize, Vec<usize>>,
    pub held: Vec<Held>,
    pub warnings: Vec<Warning>,
    decisions: HashMap<(Kind, &'a Name), Decision>,
    pub room: RoomTaken<'a>,
    /// Uids of new objects.
    pub new_uids: HashSet<Uid>,
    /// How many volumes are being planned, each because the one before needs it.
    pub depth: usize,
    /// Live volumes with a restore, which is planned when all snapshots are.
    pub to_restore: Vec<(&'a Name, OwnedObject<'a>)>,
    /// Volumes that a person accepted as smaller than they were, and that are declared as large as before.
    pub to_grow_back: Vec<(&'a Name, OwnedObject<'a>)>,
    /// Steps that need an approval of their own, and why.
    pub withheld: BTreeMap<usize, String>,
    /// Steps that make something under a native name which an object of ours has, with that object.
    pub freeing: Vec<(usize, OwnedObject<'a>)>,
    /// By uid: the steps that read the object; of a volume that is restored, that step too.
    pub readers: HashMap<Uid, Vec<usize>>,
    /// By uid: the step that completes an interrupted rename. All other steps on the object wait for it.
    pub completing: HashMap<Uid, usize>,
    /// Steps on objects that may be declared all the same, and why.
    pub doubts: BTreeMap<usize, Doubt>,
    /// These objects, whatever else holds them.
    pub doubted: BTreeSet<Uid>,
    /// Whether something waits only for the manifests to stay as they are for longer.
    pub unsettled: bool,
    /// Our live volumes that no document declares any more, released ones left out.
    pub withdrawn: Vec<OwnedObject<'a>>,
    /// Steps that move an object away, each with the rename of the object that takes its place.
    pub giving_way: Vec<(usize, usize)>,
    /// See [`Plan::look_inside`](super::Plan::look_inside).
    pub look_inside: BTreeSet<(Name, NativeName)>,
}

impl<'a> Draft<'a> {
    /// An empty draft. It counts the room that it takes beside what the volumes of the inventory take.
    pub(super) fn new(inventory: &Inventory<'a>) -> Self {
        let specs = inventory.specs();
        Self {
            decisions: HashMap::with_capacity(specs.volumes.len() + specs.snapshots.len()),
            room: RoomTaken { provisioned: inventory.provisioned.clone(), ..RoomTaken::default() },
            ..Self::default()
        }
    }

    /// What was found out about a declared object, if anything was yet.
    pub(super) fn availability(&self, kind: Kind, name: &'a Name) -> Option<&Availability> {
        self.decisions.get(&(kind, name))?.availability.as_ref()
    }

    pub(super) fn set_availability(&mut self, kind: Kind, name: &'a Name, availability: Availability) {
        self.decisions.entry((kind, name)).or_default().availability = Some(availability);
    }

    /// Keeps everything of this name from being removed: a document speaks for it.
    pub(super) fn claim(&mut self, kind: Kind, name: &'a Name) {
        self.decisions.entry((kind, name)).or_default().claimed = true;
    }

    pub(super) fn is_claimed(&self, kind: Kind, name: &Name) -> bool {
        self.decisions.get(&(kind, name)).is_some_and(|decision| decision.claimed)
    }

    /// Adds a step; its index is what others wait for.
    pub(super) fn add(&mut self, mut step: Step) -> usize {
        let index = self.steps.len();
        let concerned = [Some(step.identity.uid), read_by(&step).map(|object| object.uid)];
        for first in concerned.into_iter().flatten().filter_map(|uid| self.completing.get(&uid)) {
            if !step.after.contains(first) {
                step.after.push(*first);
            }
        }
        for needed in &step.after {
            self.waiting.entry(*needed).or_default().push(index);
        }
        if let Some(object) = read_by(&step) {
            self.readers.entry(object.uid).or_default().push(index);
        }
        self.steps.push(step);
        index
    }

    /// Adds a step on an object that may be declared all the same: it is held unless a person approves it.
    pub(super) fn add_doubted(&mut self, step: Step, doubt: Option<&Doubt>) -> usize {
        let index = self.add(step);
        self.doubts.extend(doubt.map(|doubt| (index, doubt.clone())));
        index
    }

    /// Holds an object.
    pub(super) fn hold(&mut self, hold: Hold) {
        self.held.push(hold.into_held());
    }

    /// Holds an object where a rule does; whether the rule lets it pass.
    pub(super) fn accept<T>(&mut self, result: Result<T, Hold>) -> Option<T> {
        result.map_err(|hold| self.hold(hold)).ok()
    }

    /// Turns a drafted step into something held, with every step that waits for it.
    pub(super) fn hold_step(&mut self, index: usize, reason: HeldReason, message: String, fix: &str) {
        // Not by recursion: chains of clones can be longer than the processor's stack.
        let mut todo = vec![(index, reason, message, fix.to_owned())];
        while let Some((index, reason, message, fix)) = todo.pop() {
            if !self.dropped.insert(index) {
                continue;
            }
            let waiting = self.waiting.remove(&index).unwrap_or_default();
            let step = &self.steps[index];
            // What comes back to be renamed is held under the name that its document gives it.
            let is_rename = |other: &&Step| {
                other.identity.uid == step.identity.uid && matches!(other.action, Action::Rename { .. })
            };
            let step = waiting.iter().map(|other| &self.steps[*other]).find(is_rename).unwrap_or(step);
            let subject = Subject::existing(&step.identity, &step.backend, step.action.verb());
            let hold = subject.hold(reason, message, fix);
            let identity = &step.identity;
            for other in waiting {
                let next = &self.steps[other].identity;
                if next.uid == identity.uid || (next.kind, &next.name) == (identity.kind, &identity.name) {
                    // One object is held once for one reason; what else was planned for it, or to take its place, waits silently
                    // behind that.
                    self.dropped.insert(other);
                } else {
                    let message = format!("it waits for {} {}, which is held", identity.kind.as_lower(), identity.name);
                    let fix = see_what_holds(identity.kind, &identity.name);
                    todo.push((other, HeldReason::DependencyHeld, message, fix));
                }
            }
            self.hold(hold);
        }
    }

    /// Takes steps out without holding them; the steps that waited for them.
    pub(super) fn drop_steps(&mut self, indexes: &[usize]) -> Vec<usize> {
        self.dropped.extend(indexes);
        indexes.iter().flat_map(|index| self.waiting.remove(index).unwrap_or_default()).collect()
    }

    /// Makes a step wait for another that was drafted later.
    pub(super) fn wait(&mut self, step: usize, needed: usize) {
        self.steps[step].after.push(needed);
        self.waiting.entry(needed).or_default().push(step);
    }

    /// Whether a step waits for another, directly or not.
    pub(super) fn waits_for(&self, index: usize, needed: usize) -> bool {
        let (mut todo, mut seen) = (vec![index], StdHashSet::new());
        while let Some(index) = todo.pop() {
            if index == needed {
                return true;
            }
            if seen.insert(index) {
                todo.extend(&self.steps[index].after);
            }
        }
        false
    }

    /// The steps that were not dropped.
    pub(super) fn live_steps(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().filter(|(index, _)| !self.dropped.contains(index))
    }

    /// The steps that read an object.
    pub(super) fn readers_of(&self, uid: Uid) -> &[usize] {
        self.readers.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// The native name of an object after the steps `before`.
    pub(super) fn native_after(&self, before: &[usize], object: &Object) -> NativeName {
        before.last().map_or_else(|| object.native.clone(), |index| self.steps[*index].native.clone())
    }

    /// The tags of a live object after the steps `before`.
    pub(super) fn tags_after<'o>(&self, before: &[usize], object: &'o Object) -> Cow<'o, Tags> {
        if before.is_empty() && object.tags.expires.is_none() {
            return Cow::Borrowed(&object.tags);
        }
        let last = before.iter().rev().find_map(|index| self.steps[*index].action.replaced_tags().cloned());
        Cow::Owned(last.unwrap_or_else(|| Tags { expires: None, ..object.tags.clone() }))
    }

    /// Whether an object was never written to, as far as is known; if it is not known, the caller observes it more closely.
    pub(super) fn is_unwritten(&mut self, object: &OwnedObject<'_>) -> bool {
        if object.written == Written::Unknown {
            self.look_inside.insert((object.backend.clone(), object.native.clone()));
        }
        // What was adopted had its content before.
        object.written != Written::Yes && !object.tags.adopted
    }

    pub(super) fn warn(&mut self, code: &str, message: String) {
        self.warnings.push(Warning { code: code.to_owned(), message });
    }
}

/// The object whose content a step copies, if it copies one.
pub fn read_by(step: &Step) -> Option<&ObjectRef> {
    match &step.action {
        Action::Create { origin, .. } => origin.as_ref().and_then(Origin::object),
        Action::Snapshot { volume: object, .. } | Action::Restore { snapshot: object, .. } => Some(object),
        Action::Grow { .. }
        | Action::SetTags { .. }
        | Action::Rename { .. }
        | Action::Adopt { .. }
        | Action::Trash { .. }
        | Action::Undelete { .. }
        | Action::Destroy
        | Action::Purge
        | Action::Sweep
        | Action::Detach => None,
    }
}
