//! Which volumes may be the successors of withdrawn ones, because they resemble them.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};

use crate::model::{Action, Kind, Name, NativeName, Object, OnRemove, Place, Provisioning, Size, Verb, Written};

use crate::plan::draft::Draft;
use crate::plan::inventory::{Inventory, OwnedObject};

/// The number of successors that a warning names.
pub(super) const SHOWN: usize = 3;

type Labels = BTreeMap<String, String>;

/// How a volume resembles the one that it may succeed, from the closest to the least. Every candidate is on the same backend and
/// holds no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// The same size and labels.
    Same,
    /// The same native name.
    Native,
    /// The same size, other labels.
    Size,
    /// The same labels, and a larger size.
    Labels,
}

impl Likeness {
    /// Returns what a volume has in common with the one that it may succeed.
    pub(super) fn of_new(self) -> &'static str {
        match self {
            Likeness::Same => "has its backend, size and labels",
            Likeness::Size => "has its backend and size",
            Likeness::Labels => "has its backend and labels and is larger",
            Likeness::Native => "takes over its native name",
        }
    }

    /// Returns the same for the old volume.
    pub(super) fn of_old(self) -> &'static str {
        match self {
            Likeness::Same => "of the same backend, size and labels",
            Likeness::Size => "of the same backend and size",
            Likeness::Labels => "of the same backend and labels",
            Likeness::Native => "of the same native name",
        }
    }
}

/// A volume that may be the successor of a withdrawn one.
#[derive(Debug, Clone)]
pub(super) struct Successor<'a> {
    pub name: &'a Name,
    pub likeness: Likeness,
    pub state: SuccessorState,
}

/// What becomes of a possible successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SuccessorState {
    /// This step creates it.
    New(usize),
    /// It is to be created, and held for another reason.
    Held,
    /// It exists and was never written to.
    Unused,
}

/// A withdrawn volume that may have been renamed, with its possible successors, at least one.
pub(super) struct PossibleRename<'a> {
    pub old: OwnedObject<'a>,
    pub name: &'a Name,
    /// The closest first.
    pub successors: Vec<Successor<'a>>,
}

impl<'a> PossibleRename<'a> {
    /// Returns the successors that resemble the old volume most.
    pub(super) fn closest(&self) -> &[Successor<'a>] {
        self.successors.chunk_by(|one, next| one.likeness == next.likeness).next().unwrap_or_default()
    }

    /// Returns the volumes for which the old one waits, all with its backend, size and labels: a single one, or several that cannot be
    /// created yet.
    pub(super) fn likely(&self) -> &[Successor<'a>] {
        let closest = self.closest();
        let is_likely = |one: &Successor<'_>| {
            one.likeness == Likeness::Same && (closest.len() == 1 || one.state == SuccessorState::Held)
        };
        if closest.iter().all(is_likely) { closest } else { &[] }
    }
}

/// The steps that create empty volumes, indexed to find those that resemble another volume.
#[derive(Default)]
struct NewVolumes<'s> {
    by_labels: BTreeSet<(&'s Name, &'s Labels, Size, usize)>,
    by_size: BTreeSet<(&'s Name, Size, usize)>,
    by_native: HashMap<(&'s Name, &'s NativeName), usize>,
}

impl<'s> NewVolumes<'s> {
    fn of(draft: &'s Draft<'_>) -> Self {
        let mut new = Self::default();
        for (index, step) in draft.live_steps() {
            if let (Some(backend), Action::Create { size, origin: None, tags, .. }) = (step.backend(), &step.action) {
                new.by_labels.insert((backend, &tags.labels, *size, index));
                new.by_size.insert((backend, *size, index));
                new.by_native.insert((backend, &step.native), index);
            }
        }
        new
    }

    /// Returns the steps that create volumes like this one, the closest first: enough of each likeness to know whether there are more
    /// than a warning names.
    fn like(&self, backend: &Name, old: &Object) -> Vec<(Likeness, usize)> {
        let enough = SHOWN + 1;
        let labels = &old.tags.labels;
        let with_labels = |from: Size| {
            let all = self.by_labels.range((backend, labels, from, 0)..);
            all.take_while(|(at, its, ..)| *at == backend && *its == labels)
        };
        let same = with_labels(old.size).take_while(|(.., size, _)| *size == old.size).take(enough);
        let native = self.by_native.get(&(backend, &old.native));
        // Those with the same size and labels are among them.
        let of_size = self.by_size.range((backend, old.size, 0)..).take(2 * enough);
        let of_size = of_size.take_while(|(at, size, _)| *at == backend && *size == old.size);
        let larger = with_labels(Size(old.size.bytes().saturating_add(1))).take(enough);
        let all = same
            .map(|(.., step)| (Likeness::Same, *step))
            .chain(native.map(|step| (Likeness::Native, *step)))
            .chain(of_size.map(|(.., step)| (Likeness::Size, *step)))
            .chain(larger.map(|(.., step)| (Likeness::Labels, *step)));
        let mut seen = BTreeSet::new();
        all.filter(|(_, step)| seen.insert(*step)).collect()
    }
}

/// Returns the declared volumes whose creation is held, by backend, size and labels: enough to know whether there are more than a text
/// names.
fn held_volumes<'a>(
    inventory: &Inventory<'a>,
    draft: &Draft<'a>,
) -> HashMap<(&'a Name, Size, &'a Labels), Vec<&'a Name>> {
    let mut alike: HashMap<_, Vec<&Name>> = HashMap::new();
    let names: BTreeSet<&Name> = draft
        .held
        .iter()
        .filter(|held| held.kind == Kind::Volume && held.action == Verb::Create)
        .map(|held| &held.name)
        .collect();
    for name in names {
        let Some((name, spec)) = inventory.specs().volumes.get_key_value(name) else { continue };
        // A lost volume existed under this name.
        let is_new = spec.source.is_none() && inventory.entered(Kind::Volume, name).is_empty();
        let Some(usable) = inventory.usable(&spec.backend).filter(|_| is_new) else { continue };
        let size = spec.size.round_up(usable.capabilities.granularity);
        let same = alike.entry((&spec.backend, size, &spec.meta.labels)).or_default();
        if same.len() <= SHOWN {
            same.push(name);
        }
    }
    alike
}

/// Returns every withdrawn volume that may have been renamed. The caller of the planner may be asked to observe volumes by name.
pub(super) fn possible_renames<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) -> Vec<PossibleRename<'a>> {
    if draft.withdrawn.is_empty() {
        return Vec::new();
    }
    let withdrawn = std::mem::take(&mut draft.withdrawn);
    let with_new = with_new_successors(inventory, draft, &withdrawn);
    // What is held now is created later.
    let held = held_volumes(inventory, draft);
    let mut unused = None;
    let mut renames = Vec::new();
    for mut rename in with_new {
        let key = (rename.old.backend, rename.old.size, &rename.old.object.tags.labels);
        // What resembles the old volume less does not replace what is like it.
        let has_same = |rename: &PossibleRename<'_>| rename.successors.iter().any(|one| one.likeness == Likeness::Same);
        let same = |name, state| Successor { name, likeness: Likeness::Same, state };
        if !has_same(&rename) {
            let held = held.get(&key).into_iter().flatten();
            rename.successors.splice(0..0, held.map(|name| same(*name, SuccessorState::Held)));
        }
        if !has_same(&rename) && is_to_be_destroyed(&rename.old) {
            let unused = unused.get_or_insert_with(|| unused_volumes(inventory));
            if let Some(Some(volume)) = unused.get(&key).copied()
                && draft.is_unwritten(&volume)
                && holds_data(draft, &rename.old)
            {
                rename.successors.insert(0, same(&volume.identity.name, SuccessorState::Unused));
            }
        }
        if !rename.successors.is_empty() {
            renames.push(rename);
        }
    }
    draft.withdrawn = withdrawn;
    renames
}

/// Whether a withdrawn volume is destroyed, not moved to the trash or released, unless something holds it.
pub(super) fn is_to_be_destroyed(old: &OwnedObject<'_>) -> bool {
    old.tags.on_remove() == OnRemove::Delete
}

/// Returns the withdrawn volumes, each with the new volumes that may be its successors, if any.
fn with_new_successors<'a>(
    inventory: &Inventory<'a>,
    draft: &Draft<'a>,
    withdrawn: &[OwnedObject<'a>],
) -> Vec<PossibleRename<'a>> {
    let new = NewVolumes::of(draft);
    let successor = |(likeness, step): (Likeness, usize)| {
        let (name, _) = inventory.specs().volumes.get_key_value(&draft.steps[step].identity.name)?;
        Some(Successor { name, likeness, state: SuccessorState::New(step) })
    };
    let rename = |old: &OwnedObject<'a>| {
        let successors = new.like(old.backend, old).into_iter().filter_map(successor).collect();
        PossibleRename { old: *old, name: &old.identity.name, successors }
    };
    withdrawn.iter().map(rename).collect()
}

/// Returns declared volumes that exist and may never have been written to, by backend, size and labels; none where several match,
/// because none of them is more likely than the others.
fn unused_volumes<'a>(inventory: &Inventory<'a>) -> HashMap<(&'a Name, Size, &'a Labels), Option<OwnedObject<'a>>> {
    let mut unused = HashMap::new();
    for ((kind, name), objects) in &inventory.by_name {
        let Some(spec) = inventory.specs().volumes.get(*name).filter(|_| *kind == Kind::Volume) else { continue };
        // A volume that this plan changes is compared after the change.
        let settled = |object: &&OwnedObject<'_>| spec.meta.labels == object.tags.labels && *spec.size <= object.size;
        for object in objects.iter().filter(settled) {
            // As far as a listing shows: reserved room looks like data.
            let thick = object.tags.provisioning == Some(Provisioning::Thick);
            let perhaps = object.used.is_some_and(|used| used == 0 || thick);
            if object.place == Place::Live && perhaps && !object.tags.adopted && object.written != Written::Yes {
                let same = unused.entry((object.backend, object.size, &object.object.tags.labels));
                same.and_modify(|one| *one = None).or_insert(Some(*object));
            }
        }
    }
    unused
}

/// Whether an object was or may have been written to. If that is unknown, the caller is asked to observe it by name.
fn holds_data(draft: &mut Draft<'_>, object: &OwnedObject<'_>) -> bool {
    draft.is_unwritten(object);
    object.written != Written::Never
}
