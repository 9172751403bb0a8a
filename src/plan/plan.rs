//! The headline: [`plan`].

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use smallvec::SmallVec;

use crate::model::{
    Action, Doubt, Kind, Ledger, LedgerEntry, Name, NativeName, Object, ObjectRecord, ObjectRef, Origin, Place,
    Removal, Step, Uid, Unreadable, Verb,
};

use super::backend_state::{self, BackendState, Blocked, Usable};
use super::types::{Held, HeldReason, Inputs, Observation, Plan, Unobserved, Warning};
use super::{approve, digest, drift, order};

/// Compares what is declared with what is there, and says which steps bring the second to the first.
///
/// Guarantees: every declared volume and snapshot is as declared, or has steps, or is held; nothing that is not ours has a step,
/// other than being adopted; nothing is removed whose absence from the specs is in doubt. [`super::lint`] checks this of every
/// plan once more.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut planner = Planner::new(inputs);
    planner.hold_unreadable();
    planner.hold_what_has_no_driver();
    planner.complete_renames();
    planner.volumes();
    for name in inputs.reading.specs.snapshots.keys() {
        planner.snapshot(name);
    }
    planner.restores();
    planner.growths_back();
    planner.removals();
    planner.wait_for_confirmation();
    planner.hold_unreachable();
    planner.hold_suspended();
    planner.hold_locked();
    let approve::Judged { asked: approval, used, too_much } = approve::judge(&mut planner);
    planner.nothing_gives_way_in_vain();
    planner.warn_of_renames();
    let drift = drift::drift(&planner);

    let Planner { backends, mut held, warnings, steps, dropped, doubted, unsettled, look_inside, .. } = planner;
    held.sort();
    held.dedup();
    let mut plan = Plan {
        owner: inputs.reading.specs.stack.owner.clone(),
        revision: inputs.reading.revision.clone(),
        steps: order::order(steps, &dropped),
        held,
        drift,
        warnings,
        unobserved: not_good(backends),
        approval,
        used,
        too_much,
        doubted,
        unsettled,
        look_inside,
        digest: String::new(),
    };
    plan.digest = digest::digest(&plan);
    plan
}

/// The backends of which the look shows nothing to go by, or not all.
pub fn unobserved(inputs: &Inputs<'_>) -> Vec<Unobserved> {
    not_good(backend_state::states(inputs))
}

fn not_good(backends: BTreeMap<&Name, BackendState<'_>>) -> Vec<Unobserved> {
    backends
        .into_iter()
        .filter_map(|(name, ground)| match ground {
            BackendState::Blocked(Blocked { unobserved: true, message, .. }) => {
                Some(Unobserved { backend: name.clone(), message })
            }
            BackendState::Usable(good) if !good.observed.gaps.is_empty() => {
                let message = format!("{name} was seen only in part: {}", good.observed.gaps.join("; "));
                Some(Unobserved { backend: name.clone(), message })
            }
            _ => None,
        })
        .collect()
}

/// What a step that needs another object gets to know of it.
#[derive(Clone)]
pub(super) enum Ready {
    /// It is there, or will be after these steps.
    Here { backend: Name, object: ObjectRef, after: Vec<usize> },
    /// It is declared, and will not be there in this plan.
    Held,
    /// Neither declared nor there.
    Missing,
    /// Not declared, and there several times, or with marks that cannot be believed.
    Unclear,
    /// It is being resolved right now: it needs, by some way, itself.
    Circle,
}

/// What there is under a kind and name, and what was found out about it so far.
#[derive(Default)]
pub(super) struct PlannedObject<'a> {
    /// Our objects, live or in the trash, on good ground.
    pub objects: SmallVec<[(&'a Name, &'a Object); 1]>,
    /// A document speaks for these objects: they are not removed.
    pub claimed: bool,
    /// What was found out about the declared object.
    pub ready: Option<Ready>,
}

/// An entry of one of our ledgers: where, which, and what it says.
type Entered<'a> = (&'a Name, Uid, &'a LedgerEntry);

/// A plan in the making.
pub(super) struct Planner<'a> {
    pub inputs: &'a Inputs<'a>,
    pub backends: BTreeMap<&'a Name, BackendState<'a>>,
    /// All that is ours, and all that is declared once it was asked for.
    pub known: HashMap<(Kind, &'a Name), PlannedObject<'a>>,
    /// Every uid on good backend_state, with the object that bears it.
    pub by_uid: HashMap<Uid, (&'a Name, &'a Object)>,
    /// Uids that more than one object bears: copies that somebody made.
    pub duplicates: HashSet<Uid>,
    /// See [`Planner::entered`].
    entered: OnceCell<HashMap<(Kind, &'a Name), SmallVec<[Entered<'a>; 1]>>>,
    /// See [`Planner::recorded`].
    recorded: OnceCell<HashMap<(Kind, &'a Name), Vec<&'a ObjectRecord>>>,
    /// Bytes of volumes provisioned so far, by backend.
    pub provisioned: HashMap<&'a Name, u64>,
    /// Bytes that the steps of this plan take at once, by backend: thick volumes, and copies that share no blocks.
    pub taken: HashMap<&'a Name, u64>,
    /// Objects that the steps of this plan make, by backend.
    pub made: HashMap<&'a Name, u64>,
    /// Bytes that each object made by this plan takes, by uid.
    pub filled: HashMap<Uid, u64>,
    pub steps: Vec<Step>,
    /// Steps that were held after they were drafted.
    pub dropped: BTreeSet<usize>,
    /// By step: those that wait for it.
    pub waiting: HashMap<usize, Vec<usize>>,
    pub held: Vec<Held>,
    pub warnings: Vec<Warning>,
    /// How many volumes are being resolved, each for the sake of the one before.
    pub depth: usize,
    /// Live volumes with a restore to be planned when all snapshots are known.
    pub to_restore: Vec<(&'a Name, &'a Object)>,
    /// Volumes that a person accepted as smaller than they were, and that are declared as large as before.
    pub to_grow_back: Vec<(&'a Name, &'a Object)>,
    /// Steps that need an approval of their own, and why.
    pub withheld: BTreeMap<usize, String>,
    /// Uids given out in this plan.
    pub given: HashSet<Uid>,
    /// Native names that several documents ask for, by backend: which of them is to have it cannot be said.
    pub asked_twice: HashSet<(&'a Name, &'a str)>,
    /// Steps that make something under a native name which an object of ours bears, with that object.
    pub freeing: Vec<(usize, &'a Name, &'a Object)>,
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
    pub withdrawn: Vec<(&'a Name, &'a Object)>,
    /// Steps that move an object away, each with the rename of the object that comes in its place.
    pub giving_way: Vec<(usize, usize)>,
    /// See [`Plan::look_inside`].
    pub look_inside: BTreeSet<(Name, NativeName)>,
}

impl<'a> Planner<'a> {
    fn new(inputs: &'a Inputs<'a>) -> Self {
        let backends = backend_state::states(inputs);
        let owner = &inputs.reading.specs.stack.owner;
        let all: usize = usable_backends(&backends).map(|(_, good)| good.observed.objects.len()).sum();
        let declared = inputs.reading.specs.volumes.len() + inputs.reading.specs.snapshots.len();
        let mut known: HashMap<_, PlannedObject<'_>> = HashMap::with_capacity(all.max(declared));
        let mut by_uid = HashMap::with_capacity(all);
        let mut duplicates = HashSet::new();
        let mut provisioned = HashMap::new();
        for (backend, good) in usable_backends(&backends) {
            for object in &good.observed.objects {
                let Some(identity) = &object.identity else { continue };
                if object.place == Place::Temporary {
                    continue;
                }
                if identity.kind == Kind::Volume {
                    *provisioned.entry(backend).or_default() += object.size.bytes();
                }
                if by_uid.insert(identity.uid, (backend, object)).is_some() {
                    duplicates.insert(identity.uid);
                }
                if identity.owner == *owner {
                    known.entry((identity.kind, &identity.name)).or_default().objects.push((backend, object));
                }
            }
        }
        Self {
            inputs,
            backends,
            known,
            by_uid,
            duplicates,
            entered: OnceCell::new(),
            recorded: OnceCell::new(),
            provisioned,
            taken: HashMap::new(),
            made: HashMap::new(),
            filled: HashMap::new(),
            steps: Vec::new(),
            dropped: BTreeSet::new(),
            waiting: HashMap::new(),
            held: Vec::new(),
            warnings: Vec::new(),
            depth: 0,
            to_restore: Vec::new(),
            to_grow_back: Vec::new(),
            withheld: BTreeMap::new(),
            given: HashSet::new(),
            asked_twice: asked_twice(inputs),
            freeing: Vec::new(),
            readers: HashMap::new(),
            completing: HashMap::new(),
            doubts: BTreeMap::new(),
            doubted: BTreeSet::new(),
            unsettled: false,
            withdrawn: Vec::new(),
            giving_way: Vec::new(),
            look_inside: BTreeSet::new(),
        }
    }

    /// The ground under a backend, where it is good.
    pub(super) fn good(&self, backend: &Name) -> Option<&Usable<'a>> {
        match self.backends.get(backend) {
            Some(BackendState::Usable(good)) => Some(good),
            _ => None,
        }
    }

    /// Our objects of a name in a place.
    pub(super) fn found(&self, kind: Kind, name: &Name, place: Place) -> SmallVec<[(&'a Name, &'a Object); 1]> {
        let all = self.known.get(&(kind, name)).map_or(&[][..], |known| &known.objects);
        all.iter().copied().filter(|(_, object)| object.place == place).collect()
    }

    /// What was found out about a declared object, if anything was yet.
    pub(super) fn ready(&self, kind: Kind, name: &'a Name) -> Option<&Ready> {
        self.known.get(&(kind, name))?.ready.as_ref()
    }

    pub(super) fn set_ready(&mut self, kind: Kind, name: &'a Name, ready: Ready) {
        self.known.entry((kind, name)).or_default().ready = Some(ready);
    }

    /// By the ledgers, the objects of ours that must be there under this name. (Only what is not live is asked for.)
    pub(super) fn entered(&self, kind: Kind, name: &'a Name) -> &[Entered<'a>] {
        let all = self.entered.get_or_init(|| {
            let mut entered: HashMap<_, SmallVec<_>> = HashMap::new();
            for (backend, good) in usable_backends(&self.backends) {
                let ledger: Option<&'a Ledger> = good.ledger;
                let whole =
                    ledger.into_iter().flat_map(|l| l.complete.iter().filter(|(uid, _)| !l.leaving.contains(uid)));
                for (uid, entry) in whole {
                    entered.entry((entry.kind, &entry.name)).or_default().push((backend, *uid, entry));
                }
            }
            entered
        });
        all.get(&(kind, name)).map_or(&[], SmallVec::as_slice)
    }

    /// What the store knows of our objects under this name. (Asked for like [`Planner::entered`].)
    pub(super) fn recorded(&self, kind: Kind, name: &'a Name) -> &[&'a ObjectRecord] {
        let inputs = self.inputs;
        let all = self.recorded.get_or_init(|| {
            let mut recorded: HashMap<_, Vec<_>> = HashMap::new();
            let ours = |record: &&ObjectRecord| record.identity.owner == inputs.reading.specs.stack.owner;
            for record in inputs.records.objects.values().filter(ours) {
                recorded.entry((record.identity.kind, &record.identity.name)).or_default().push(record);
            }
            recorded
        });
        all.get(&(kind, name)).map_or(&[], Vec::as_slice)
    }

    /// Drafts a step; its index is what others wait for.
    pub(super) fn step(&mut self, mut step: Step) -> usize {
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

    /// Holds an object.
    pub(super) fn hold(&mut self, about: &Subject<'_>, reason: HeldReason, message: String, fix: impl Into<String>) {
        self.held.push(Held {
            kind: about.kind,
            name: about.name.clone(),
            action: about.action,
            backend: about.backend.cloned(),
            uid: about.uid,
            reason,
            message,
            fix: fix.into(),
        });
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
            let (identity, backend) = (step.identity.clone(), step.backend.clone());
            let about = Subject {
                kind: identity.kind,
                name: &identity.name,
                backend: Some(&backend),
                uid: Some(identity.uid),
                action: step.action.verb(),
            };
            self.hold(&about, reason, message, fix);
            for other in waiting {
                let next = &self.steps[other].identity;
                if next.uid == identity.uid || (next.kind, &next.name) == (identity.kind, &identity.name) {
                    // One object is held once for one reason; what else was planned for it, or to come in its place, waits silently
                    // behind that.
                    self.dropped.insert(other);
                } else {
                    let message = format!("it waits for {} {}, which is held", identity.kind.as_lower(), identity.name);
                    let fix =
                        format!("see what holds it: `kiln describe {}/{}`", identity.kind.as_lower(), identity.name);
                    todo.push((other, HeldReason::DependencyHeld, message, fix));
                }
            }
        }
    }

    /// Documents for which nothing is built yet.
    fn hold_what_has_no_driver(&mut self) {
        let specs = &*self.inputs.reading.specs;
        for (name, target) in &specs.targets {
            let about = Subject::declared(Kind::Target, name);
            if self.hold_not_allowed(&about) {
                continue;
            }
            let message = format!("the target driver {:?} is not built yet", target.driver);
            self.hold(&about, HeldReason::Unsupported, message, "remove the Target until it is");
        }
        // An Export that is no longer declared will be closed only where `Reading::withdraws` says so, once exports are built.
        for name in specs.exports.keys() {
            let about = Subject::declared(Kind::Export, name);
            if self.hold_not_allowed(&about) {
                continue;
            }
            let message = "no target driver is built yet".to_owned();
            self.hold(&about, HeldReason::Unsupported, message, "remove the Export until one is");
        }
        for (name, spec) in &specs.backends {
            let about = Subject::declared(Kind::Backend, name);
            // One whose path did not answer is among those that were not observed.
            if self.inputs.reading.not_allowed(Kind::Backend, name).is_some_and(|barred| barred.silent) {
                continue;
            }
            // A backend that may not be reached was not looked at, whatever its driver.
            if self.hold_not_allowed(&about) {
                continue;
            }
            if !spec.via.is_empty() {
                let message = "`via` is off: manifests may not run commands".to_owned();
                self.hold(&about, HeldReason::NotAllowed, message, "remove `via`");
            } else if matches!(self.inputs.world.get(name), Some(Observation::Unsupported)) {
                let message = format!("the driver {:?} is not built yet", spec.config.driver());
                self.hold(&about, HeldReason::Unsupported, message, "use a driver that this kiln has: local or sim");
            } else if let Some(Observation::Seen { capabilities, .. } | Observation::LockedBy { capabilities, .. }) =
                self.inputs.world.get(name)
                && let Some(why) = &capabilities.unusable
            {
                let message = format!("the backend {name} cannot be used: {why}");
                self.hold(&about, HeldReason::Unsupported, message, backend_state::UNUSABLE);
            }
        }
    }

    /// Holds a document that names a path which manifests may not reach on this host.
    pub(super) fn hold_not_allowed(&mut self, about: &Subject<'_>) -> bool {
        let Some(barred) = self.inputs.reading.not_allowed(about.kind, about.name) else { return false };
        let reason = if barred.silent { HeldReason::Unobserved } else { HeldReason::NotAllowed };
        self.hold(about, reason, barred.message.clone(), barred.fix.clone());
        true
    }

    /// Documents without a valid meaning now, beside whatever is planned by what they said last.
    fn hold_unreadable(&mut self) {
        for Unreadable { kind, name, message, fix } in &self.inputs.reading.unreadable {
            let about = Subject { action: Verb::Update, ..Subject::declared(*kind, name) };
            self.hold(&about, HeldReason::SourceBroken, message.clone(), fix.clone());
        }
    }

    /// Steps on a backend to which another process is writing.
    fn hold_locked(&mut self) {
        for index in 0..self.steps.len() {
            let Some(by) = self.good(&self.steps[index].backend).and_then(|good| good.locked_by) else { continue };
            let message = format!("another process is writing to the pool for this owner: {by}");
            self.hold_step(index, HeldReason::OtherWriter, message, "wait for it to end, or stop it, then run again");
        }
    }

    pub(super) fn live_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().enumerate().filter(|(index, _)| !self.dropped.contains(index)).map(|(_, step)| step)
    }

    /// Removals of the last 24 hours that count: not approved, and not brought back since.
    pub(super) fn counted(&self) -> Vec<&'a Removal> {
        let back = |uid: Uid| self.by_uid.get(&uid).is_some_and(|(_, object)| object.place == Place::Live);
        self.inputs.recent.iter().filter(|removal| !removal.approved && !back(removal.uid)).collect()
    }
}

/// The object whose content a step copies, if it copies one.
pub fn read_by(step: &Step) -> Option<&ObjectRef> {
    match &step.action {
        Action::Create { origin, .. } => origin.as_ref().and_then(Origin::object),
        Action::Snapshot { volume: object, .. } | Action::Restore { snapshot: object, .. } => Some(object),
        _ => None,
    }
}

/// Native names that more than one document writes, by backend.
fn asked_twice<'a>(inputs: &Inputs<'a>) -> HashSet<(&'a Name, &'a str)> {
    let mut asked = HashSet::new();
    let written = inputs.reading.specs.volumes.values().filter_map(|spec| {
        let name = spec.object.as_deref().or(spec.adopt.as_deref())?;
        Some((&spec.backend, name))
    });
    written.filter(|name| !asked.insert(*name)).collect()
}

/// Which object, and what would be done to it: what every Held says.
pub(super) struct Subject<'n> {
    pub kind: Kind,
    pub name: &'n Name,
    pub backend: Option<&'n Name>,
    pub uid: Option<Uid>,
    pub action: Verb,
}

impl<'n> Subject<'n> {
    fn declared(kind: Kind, name: &'n Name) -> Self {
        Self { kind, name, backend: None, uid: None, action: Verb::Create }
    }
}

/// Backends that can be planned for.
pub(super) fn usable_backends<'g, 'a>(
    backends: &'g BTreeMap<&'a Name, BackendState<'a>>,
) -> impl Iterator<Item = (&'a Name, &'g Usable<'a>)> {
    backends.iter().filter_map(|(name, ground)| match ground {
        BackendState::Usable(good) => Some((*name, good)),
        BackendState::Blocked(_) => None,
    })
}
