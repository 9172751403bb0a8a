//! Volumes that look renamed: one is withdrawn from the manifests, and one like it begins empty.
//!
//! Only a document can say that a volume was renamed (`renamedFrom`). Without it Kiln makes an empty volume and removes the old
//! one, so both are told together, and before either is done:
//!
//! - while the removal waits for the confirmation read, the new volume waits with it;
//! - where the old volume would be destroyed, both are held until a person decides, if exactly one volume could be its successor;
//! - in every other case the plan warns: the old volume can still be taken back by `renamedFrom`.
//!
//! Snapshots never look renamed: one that goes while another comes is a rotation.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};

use crate::model::{Action, Kind, Name, NativeName, Object, Place, Provisioning, Size, Step, Uid, Written};

use super::plan::Planner;
use super::types::{HeldReason, Warning};

/// Volumes that a warning names; more say no more.
const SHOWN: usize = 3;

type Labels = BTreeMap<String, String>;

/// How a volume resembles the one that it could be the successor of. Every one of them is on the same backend and holds no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// The same size and labels.
    Same,
    /// It takes over the native name.
    Native,
    /// The same size, other labels.
    Size,
    /// The same labels, a larger size.
    Labels,
}

/// A volume that could be the successor of a withdrawn one.
#[derive(Debug, Clone)]
pub(super) struct Successor<'a> {
    name: &'a Name,
    likeness: Likeness,
    /// The step that makes it; none if it exists and was never written to.
    made: Option<usize>,
}

/// A withdrawn volume, with the volumes that could be its successors; at least one.
pub(super) struct Renamed<'a> {
    pub old: &'a Object,
    name: &'a Name,
    /// The most alike first, at most one more than are shown.
    successors: Vec<Successor<'a>>,
}

impl<'a> Renamed<'a> {
    /// The only volume that has the backend, size and labels of the old one.
    pub(super) fn only_successor(&self) -> Option<&Successor<'a>> {
        let mut exact = self.successors.iter().filter(|successor| successor.likeness == Likeness::Same);
        let first = exact.next()?;
        exact.next().is_none().then_some(first)
    }
}

/// The new, empty volumes of a plan, for finding those that resemble another.
#[derive(Default)]
struct Made<'s> {
    by_labels: BTreeSet<(&'s Name, &'s Labels, Size, usize)>,
    by_size: BTreeSet<(&'s Name, Size, usize)>,
    by_native: HashMap<(&'s Name, &'s NativeName), usize>,
}

impl Made<'_> {
    /// The steps that make volumes like this one, the most alike first.
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
        // Each of those that are the same is among them.
        like.extend(of_size.take(2 * (SHOWN + 1)).map(|made| (Likeness::Size, made)));
        let larger = of_labels(Size(old.size.bytes().saturating_add(1)));
        like.extend(larger.take(SHOWN + 1).map(|(.., made)| (Likeness::Labels, *made)));
        let mut seen = BTreeSet::new();
        like.retain(|(_, made)| seen.insert(*made));
        like
    }
}

impl<'a> Planner<'a> {
    /// Every withdrawn volume that may have been renamed.
    ///
    /// `closely`: among those that exist, too, of which one more look may be wanted.
    pub(super) fn renamed(&mut self, closely: bool) -> Vec<Renamed<'a>> {
        if self.withdrawn.is_empty() {
            return Vec::new();
        }
        let specs = &*self.inputs.reading.specs;
        let withdrawn = std::mem::take(&mut self.withdrawn);
        let found: Vec<Renamed<'a>> = {
            let made = self.made();
            let successor = |(likeness, made): (Likeness, usize)| {
                let name = &self.steps[made].identity.name;
                let (name, _) = specs.volumes.get_key_value(name)?;
                Some(Successor { name, likeness, made: Some(made) })
            };
            let renamed = withdrawn.iter().filter_map(|(backend, old)| {
                let successors = made.like(backend, old).into_iter().filter_map(successor).collect();
                Some(Renamed { old, name: &old.identity.as_ref()?.name, successors })
            });
            renamed.collect()
        };
        let mut unused = None;
        let mut renamed = Vec::new();
        for (found, (backend, _)) in found.into_iter().zip(&withdrawn) {
            if !found.successors.is_empty() {
                renamed.push(found);
            } else if closely {
                let unused = unused.get_or_insert_with(|| self.unused());
                let like = unused.get(&(*backend, found.old.size, &found.old.tags.labels)).copied();
                let Some(Some(duplicate)) = like else { continue };
                let (duplicate_name, never_written) =
                    (duplicate.identity.as_ref().map(|id| &id.name), self.is_unwritten(backend, duplicate));
                if let (Some(name), true) = (duplicate_name, never_written)
                    && self.holds_data(backend, found.old)
                {
                    let successor = Successor { name, likeness: Likeness::Same, made: None };
                    renamed.push(Renamed { successors: vec![successor], ..found });
                }
            }
        }
        self.withdrawn = withdrawn;
        renamed
    }

    fn made(&self) -> Made<'_> {
        let mut made = Made::default();
        for (index, step) in self.steps.iter().enumerate().filter(|(index, _)| !self.dropped.contains(index)) {
            if let Action::Create { size, origin: None, tags, .. } = &step.action {
                made.by_labels.insert((&step.backend, &tags.labels, *size, index));
                made.by_size.insert((&step.backend, *size, index));
                made.by_native.insert((&step.backend, &step.native), index);
            }
        }
        made
    }

    /// The declared volumes that exist and may never have been written to, by backend, size and labels: where there is one of
    /// each. Of several, none is more likely than the others.
    fn unused(&self) -> HashMap<(&'a Name, Size, &'a Labels), Option<&'a Object>> {
        let mut unused = HashMap::new();
        for ((kind, name), known) in &self.known {
            let Some(spec) = self.inputs.reading.specs.volumes.get(*name).filter(|_| *kind == Kind::Volume) else {
                continue;
            };
            // What becomes another by this plan is compared when it has.
            let settled = |object: &Object| spec.meta.labels == object.tags.labels && spec.size <= object.size;
            for (backend, object) in known.objects.iter().filter(|(_, object)| settled(object)) {
                // As far as a listing tells: it shows reserved room like data.
                let thick = object.tags.provisioning == Some(Provisioning::Thick);
                let perhaps = object.used.is_some_and(|used| used == 0 || thick);
                if object.place == Place::Live && perhaps && !object.tags.adopted && object.written != Written::Yes {
                    let same = unused.entry((*backend, object.size, &object.tags.labels));
                    same.and_modify(|one| *one = None).or_insert(Some(*object));
                }
            }
        }
        unused
    }

    /// Whether an object was never written to, as far as is known; if it is not, a closer look is wanted.
    pub(super) fn is_unwritten(&mut self, backend: &Name, object: &Object) -> bool {
        if object.written == Written::Unknown {
            self.look_inside.insert((backend.clone(), object.native.clone()));
        }
        // What was taken over had its content before.
        object.written != Written::Yes && !object.tags.adopted
    }

    fn holds_data(&mut self, backend: &Name, object: &Object) -> bool {
        self.is_unwritten(backend, object);
        object.written != Written::Never
    }

    /// Holds every new volume that looks like one whose removal waits for the confirmation read.
    pub(super) fn wait_for_confirmation(&mut self) {
        if !self.inputs.reading.unconfirmed {
            return;
        }
        for renamed in self.renamed(false) {
            let old = renamed.name;
            for Successor { name, likeness, made } in renamed.successors {
                let message = format!(
                    "volume {old}, {}, is missing from the manifests since the last read only: the new volume waits for the \
                     confirmation read with it",
                    resembles(likeness)
                );
                let fix =
                    format!("{}; otherwise wait: the daemon reads again within seconds", self.rename_fix(old, name));
                if let Some(made) = made {
                    self.hold_step(made, HeldReason::LooksLikeRename, message, &fix);
                }
            }
        }
    }

    /// The volumes that would be destroyed although they look renamed, by their uids.
    pub(super) fn renamed_and_destroyed(&mut self) -> HashMap<Uid, Renamed<'a>> {
        let destroyed = |step: &Step| step.action == Action::Destroy && step.identity.kind == Kind::Volume;
        let destroyed: BTreeSet<Uid> =
            self.live_steps().filter(|step| destroyed(step)).map(|step| step.identity.uid).collect();
        if destroyed.is_empty() {
            return HashMap::new();
        }
        let all = self.renamed(true).into_iter().filter_map(|renamed| Some((renamed.old.uid()?, renamed)));
        all.filter(|(uid, renamed)| destroyed.contains(uid) && renamed.only_successor().is_some()).collect()
    }

    /// Holds the destruction of a volume that looks renamed, and the volume that could be its successor.
    pub(super) fn hold_renamed(&mut self, destroy: usize, renamed: &Renamed<'a>, approve: &str) {
        let Some(successor) = renamed.only_successor() else { return };
        let (old, new) = (renamed.name, successor.name);
        let fix = format!("{}; if {old} is to be destroyed, {approve}", self.rename_fix(old, new));
        let message = match successor.made {
            Some(made) => {
                let message = format!(
                    "it would begin empty, and volume {old}, {}, would be destroyed: this looks like a rename",
                    resembles(successor.likeness)
                );
                self.hold_step(made, HeldReason::LooksLikeRename, message, &fix);
                format!("it would be destroyed, and the new volume {new} would begin empty: this looks like a rename")
            }
            None => format!(
                "it would be destroyed, and volume {new}, which {} and was never written to, stays: this looks like a rename",
                has(successor.likeness)
            ),
        };
        self.hold_step(destroy, HeldReason::LooksLikeRename, message, &fix);
        self.withdrawn.retain(|(_, object)| object.uid() != renamed.old.uid());
    }

    /// Warns of every volume that leaves and may have been renamed.
    pub(super) fn warn_of_renames(&mut self) {
        // While a manifest has a problem nothing leaves, and what seems withdrawn may only be unreadable.
        if self.inputs.reading.broken {
            return;
        }
        let renamed = self.renamed(true);
        let last: HashMap<Uid, &Action> = self.live_steps().map(|step| (step.identity.uid, &step.action)).collect();
        let warning = |renamed: &Renamed<'a>| {
            let fate = match renamed.old.uid().and_then(|uid| last.get(&uid)) {
                Some(Action::Destroy) => "is destroyed",
                // Any unused volume could be meant. `renamedFrom` can still be written when the old one is missed.
                _ if renamed.successors.iter().all(|one| one.made.is_none()) => return None,
                Some(Action::Trash { .. }) => "goes to the trash",
                Some(Action::SetTags { .. }) => "is released",
                _ => "is no longer declared",
            };
            Some(Warning { code: "LooksLikeRename".to_owned(), message: self.rename_warning(renamed, fate) })
        };
        let warnings: Vec<Warning> = renamed.iter().filter_map(warning).collect();
        self.warnings.extend(warnings);
    }

    fn rename_warning(&self, renamed: &Renamed<'a>, fate: &str) -> String {
        let old = renamed.name;
        let first = renamed.successors[0].likeness;
        let alike: Vec<&Successor<'_>> = renamed.successors.iter().filter(|one| one.likeness == first).collect();
        let empty = if alike[0].made.is_some() { "begins empty" } else { "was never written to" };
        if let [one] = alike[..] {
            let (new, has) = (one.name, has(first));
            return format!(
                "volume {old} {fate}, and volume {new}, which {has}, {empty}; fix: {}",
                self.rename_fix(old, new)
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

    /// What to write, and where, if a volume was renamed.
    pub(super) fn rename_fix(&self, old: &Name, new: &Name) -> String {
        let place = self.inputs.reading.place(Kind::Volume, new);
        let place = place.filter(|place| !place.file.is_empty()).map(|place| format!(" ({place})"));
        let place = place.unwrap_or_default();
        format!("if {old} was renamed, write `renamedFrom: {old}` under `metadata` of volume {new}{place}")
    }
}

/// What a volume has in common with the one that it could be the successor of.
fn has(likeness: Likeness) -> &'static str {
    match likeness {
        Likeness::Same => "has its backend, size and labels",
        Likeness::Size => "has its backend and size",
        Likeness::Labels => "has its backend and labels and is larger",
        Likeness::Native => "takes over its native name",
    }
}

/// The same, said of the old volume.
fn resembles(likeness: Likeness) -> &'static str {
    match likeness {
        Likeness::Same => "of the same backend, size and labels",
        Likeness::Size => "of the same backend and size",
        Likeness::Labels => "of the same backend and labels",
        Likeness::Native => "of the same native name",
    }
}
