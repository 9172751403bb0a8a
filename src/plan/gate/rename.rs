//! Likely renames: a volume is no longer declared, and a similar one is created empty.
//!
//! Only a document can declare a rename (`renamedFrom`). Without it Kiln creates an empty volume and removes the old one, so the
//! plan shows both together, before either runs:
//!
//! - while the removal waits for the confirmation read, the new volume waits with it;
//! - if the old volume would be destroyed and exactly one volume could be its successor, both are held until a person decides;
//! - in every other case the plan warns: `renamedFrom` can still bring the old volume back.
//!
//! Snapshots are not compared: one removed while another is created is a rotation.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};

use crate::model::{Action, Kind, Name, NativeName, Object, Place, Provisioning, Size, Step, Uid, Written};

use crate::plan::draft::Draft;
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::types::{HeldReason, Warning};

/// The number of successors that a warning names.
const SHOWN: usize = 3;

type Labels = BTreeMap<String, String>;

/// How a volume resembles the one that it may succeed. Every candidate is on the same backend and holds no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// The same size and labels.
    Same,
    /// The same native name.
    Native,
    /// The same size, other labels.
    Size,
    /// The same labels, and a larger size.
    Labels,
}

/// A volume that may be the successor of a withdrawn one.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Successor<'a> {
    name: &'a Name,
    likeness: Likeness,
    /// The step that creates it; none if it exists and was never written to.
    made: Option<usize>,
}

/// A withdrawn volume with its possible successors, at least one.
pub(in crate::plan) struct Renamed<'a> {
    pub old: OwnedObject<'a>,
    name: &'a Name,
    /// The successors, the most alike first; at most one more than a warning names.
    successors: Vec<Successor<'a>>,
}

impl<'a> Renamed<'a> {
    /// Returns the only volume with the backend, size and labels of the old one.
    pub(super) fn only_successor(&self) -> Option<&Successor<'a>> {
        let mut exact = self.successors.iter().filter(|successor| successor.likeness == Likeness::Same);
        let first = exact.next()?;
        exact.next().is_none().then_some(first)
    }
}

/// The new, empty volumes of a plan, indexed to find those that resemble another.
#[derive(Default)]
struct Made<'s> {
    by_labels: BTreeSet<(&'s Name, &'s Labels, Size, usize)>,
    by_size: BTreeSet<(&'s Name, Size, usize)>,
    by_native: HashMap<(&'s Name, &'s NativeName), usize>,
}

impl Made<'_> {
    /// Returns the steps that create volumes like this one, the most alike first.
    fn like(&self, backend: &Name, old: &Object) -> Vec<(Likeness, usize)> {
        let labels = &old.tags.labels;
        let of_labels = |from: Size| {
            let all = self.by_labels.range((backend, labels, from, 0)..);
            all.take_while(|(at, its, ..)| *at == backend && *its == labels)
        };
        let same = of_labels(old.size).take_while(|(.., size, _)| *size == old.size);
        let mut like: Vec<(Likeness, usize)> = same.take(SHOWN + 1).map(|(.., made)| (Likeness::Same, *made)).collect();
        like.extend(self.by_native.get(&(backend, &old.native)).map(|made| (Likeness::Native, *made)));
        let of_size = self.by_size.range((backend, old.size, 0)..);
        let of_size = of_size.take_while(|(at, size, _)| *at == backend && *size == old.size).map(|(.., made)| *made);
        // Those with the same size and labels are among them.
        like.extend(of_size.take(2 * (SHOWN + 1)).map(|made| (Likeness::Size, made)));
        let larger = of_labels(Size(old.size.bytes().saturating_add(1)));
        like.extend(larger.take(SHOWN + 1).map(|(.., made)| (Likeness::Labels, *made)));
        let mut seen = BTreeSet::new();
        like.retain(|(_, made)| seen.insert(*made));
        like
    }
}

/// Returns every withdrawn volume that may have been renamed.
///
/// `closely`: compares it with existing volumes too, which may have to be observed by name.
pub(in crate::plan) fn renamed<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    closely: bool,
) -> Vec<Renamed<'a>> {
    if draft.withdrawn.is_empty() {
        return Vec::new();
    }
    let specs = inventory.specs();
    let withdrawn = std::mem::take(&mut draft.withdrawn);
    let found: Vec<Renamed<'a>> = {
        let made = made(draft);
        let successor = |(likeness, made): (Likeness, usize)| {
            let name = &draft.steps[made].identity.name;
            let (name, _) = specs.volumes.get_key_value(name)?;
            Some(Successor { name, likeness, made: Some(made) })
        };
        let renamed = withdrawn.iter().map(|old| {
            let successors = made.like(old.backend, old).into_iter().filter_map(successor).collect();
            Renamed { old: *old, name: &old.identity.name, successors }
        });
        renamed.collect()
    };
    let mut unused = None;
    let mut renamed = Vec::new();
    for found in found {
        if !found.successors.is_empty() {
            renamed.push(found);
        } else if closely {
            let unused = unused.get_or_insert_with(|| unused_volumes(inventory));
            let like = unused.get(&(found.old.backend, found.old.size, &found.old.object.tags.labels)).copied();
            let Some(Some(duplicate)) = like else { continue };
            if draft.is_unwritten(&duplicate) && holds_data(draft, &found.old) {
                let name = &duplicate.identity.name;
                let successor = Successor { name, likeness: Likeness::Same, made: None };
                renamed.push(Renamed { successors: vec![successor], ..found });
            }
        }
    }
    draft.withdrawn = withdrawn;
    renamed
}

fn made<'s>(draft: &'s Draft<'_>) -> Made<'s> {
    let mut made = Made::default();
    for (index, step) in draft.live_steps() {
        if let Action::Create { size, origin: None, tags, .. } = &step.action {
            made.by_labels.insert((&step.backend, &tags.labels, *size, index));
            made.by_size.insert((&step.backend, *size, index));
            made.by_native.insert((&step.backend, &step.native), index);
        }
    }
    made
}

/// Returns declared volumes that exist and may never have been written to, by backend, size and labels; none where several match,
/// because none of them is more likely than the others.
fn unused_volumes<'a>(inventory: &Inventory<'a>) -> HashMap<(&'a Name, Size, &'a Labels), Option<OwnedObject<'a>>> {
    let mut unused = HashMap::new();
    for ((kind, name), objects) in &inventory.by_name {
        let Some(spec) = inventory.specs().volumes.get(*name).filter(|_| *kind == Kind::Volume) else { continue };
        // A volume that this plan changes is compared after the change.
        let settled = |object: &&OwnedObject<'_>| spec.meta.labels == object.tags.labels && spec.size <= object.size;
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

/// Holds every new volume that resembles one whose removal waits for the confirmation read.
pub(in crate::plan) fn wait_for_confirmation<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    if !inventory.reading().unconfirmed {
        return;
    }
    for renamed in renamed(inventory, draft, false) {
        let old = renamed.name;
        for Successor { name, likeness, made } in renamed.successors {
            let message = format!(
                "volume {old}, {}, is missing from the manifests since the last read only: the new volume waits for the \
                 confirmation read with it",
                resembles(likeness)
            );
            let fix =
                format!("{}; otherwise wait: the daemon reads again within seconds", rename_fix(inventory, old, name));
            if let Some(made) = made {
                draft.hold_step(made, HeldReason::LooksLikeRename, message, &fix);
            }
        }
    }
}

/// Returns the volumes that would be destroyed and may have been renamed, by uid.
pub(in crate::plan) fn renamed_and_destroyed<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
) -> HashMap<Uid, Renamed<'a>> {
    let destroyed = |step: &Step| step.action == Action::Destroy && step.identity.kind == Kind::Volume;
    let destroyed: BTreeSet<Uid> =
        draft.live_steps().filter(|(_, step)| destroyed(step)).map(|(_, step)| step.identity.uid).collect();
    if destroyed.is_empty() {
        return HashMap::new();
    }
    let all = renamed(inventory, draft, true).into_iter().map(|renamed| (renamed.old.uid(), renamed));
    all.filter(|(uid, renamed)| destroyed.contains(uid) && renamed.only_successor().is_some()).collect()
}

/// Holds the destruction of a volume that may have been renamed, and the creation of its possible successor.
pub(in crate::plan) fn hold_renamed<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    destroy: usize,
    renamed: &Renamed<'a>,
    approve: &str,
) {
    let Some(successor) = renamed.only_successor() else { return };
    let (old, new) = (renamed.name, successor.name);
    let fix = format!("{}; to destroy {old}, {approve}", rename_fix(inventory, old, new));
    let message = match successor.made {
        Some(made) => {
            let message = format!(
                "it would begin empty, and volume {old}, {}, would be destroyed: this may be a rename",
                resembles(successor.likeness)
            );
            draft.hold_step(made, HeldReason::LooksLikeRename, message, &fix);
            format!("it would be destroyed, and the new volume {new} would begin empty: this may be a rename")
        }
        None => format!(
            "it would be destroyed, and volume {new}, which {} and was never written to, stays: this may be a rename",
            has(successor.likeness)
        ),
    };
    draft.hold_step(destroy, HeldReason::LooksLikeRename, message, &fix);
    draft.withdrawn.retain(|object| object.uid() != renamed.old.uid());
}

/// Warns of every volume that is removed or released and may have been renamed.
pub(in crate::plan) fn warn_of_renames<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    // While a manifest is invalid nothing is removed, and a withdrawn volume may only be unreadable.
    if inventory.reading().broken {
        return;
    }
    let renamed = renamed(inventory, draft, true);
    let last: HashMap<Uid, &Action> = draft.live_steps().map(|(_, step)| (step.identity.uid, &step.action)).collect();
    let warning = |renamed: &Renamed<'a>| {
        let fate = match last.get(&renamed.old.uid()) {
            Some(Action::Destroy) => "is destroyed",
            // Any unused volume may be meant; `renamedFrom` can still be written when the old one turns out to be needed.
            _ if renamed.successors.iter().all(|one| one.made.is_none()) => return None,
            Some(Action::Trash { .. }) => "goes to the trash",
            Some(Action::SetTags { .. }) => "is released",
            _ => "is no longer declared",
        };
        Some(Warning { code: "LooksLikeRename".to_owned(), message: rename_warning(inventory, renamed, fate) })
    };
    let warnings: Vec<Warning> = renamed.iter().filter_map(warning).collect();
    draft.warnings.extend(warnings);
}

fn rename_warning(inventory: &Inventory<'_>, renamed: &Renamed<'_>, fate: &str) -> String {
    let old = renamed.name;
    let first = renamed.successors[0].likeness;
    let alike: Vec<&Successor<'_>> = renamed.successors.iter().filter(|one| one.likeness == first).collect();
    let empty = if alike[0].made.is_some() { "begins empty" } else { "was never written to" };
    if let [one] = alike[..] {
        let (new, has) = (one.name, has(first));
        return format!(
            "volume {old} {fate}, and volume {new}, which {has}, {empty}; fix: {}",
            rename_fix(inventory, old, new)
        );
    }
    let mut names: Vec<&str> = alike.iter().take(SHOWN).map(|one| one.name.as_str()).collect();
    names.extend((alike.len() > SHOWN).then_some("others"));
    let last = names.pop().unwrap_or_default();
    format!(
        "volume {old} {fate}, and the new volumes {} and {last}, each of which {}, begin empty; fix: if {old} was renamed, write \
         `renamedFrom: {old}` under `metadata` of the volume that it became",
        names.join(", "),
        has(first)
    )
}

/// Returns what to write, and where, if a volume was renamed.
pub(in crate::plan) fn rename_fix(inventory: &Inventory<'_>, old: &Name, new: &Name) -> String {
    let place = inventory.reading().place(Kind::Volume, new);
    let place = place.filter(|place| !place.file.is_empty()).map(|place| format!(" ({place})"));
    let place = place.unwrap_or_default();
    format!("if {old} was renamed, write `renamedFrom: {old}` under `metadata` of volume {new}{place}")
}

/// Returns what a volume has in common with the one that it may succeed.
fn has(likeness: Likeness) -> &'static str {
    match likeness {
        Likeness::Same => "has its backend, size and labels",
        Likeness::Size => "has its backend and size",
        Likeness::Labels => "has its backend and labels and is larger",
        Likeness::Native => "takes over its native name",
    }
}

/// Returns the same for the old volume.
fn resembles(likeness: Likeness) -> &'static str {
    match likeness {
        Likeness::Same => "of the same backend, size and labels",
        Likeness::Size => "of the same backend and size",
        Likeness::Labels => "of the same backend and labels",
        Likeness::Native => "of the same native name",
    }
}
