//! Objects of ours that no document declares: what lets them go, and everything that holds them.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::model::{
    Action, Doubt, Expect, FieldChange, Identity, Kind, Name, NativeName, Object, OnRemove, Place, Reading, Reason,
    Risk, Size, Step, Tags, Uid, Verb, Withdrawal,
};
use crate::text::rfc3339;

use super::plan::{Planner, Subject, usable_backends};
use super::types::{HeldReason, Warning};

/// An object by its place: a uid says less, where somebody copied something.
type Key<'a> = (&'a Name, &'a NativeName);

/// What became of an object that no document declares.
#[derive(Clone, Copy)]
enum Judged {
    NotYet,
    /// It is being judged, or it stays.
    Stays,
    /// It leaves or is released by this step.
    Leaves(usize),
}

/// What leaves, and what needs what, on good ground.
#[derive(Default)]
struct Leaving<'a> {
    /// Ours, live, and declared by no document.
    objects: Vec<(&'a Name, &'a Object)>,
    /// What became of each of them.
    judged: HashMap<Key<'a>, Judged>,
    /// By uid: the live snapshots of a volume, and the clones, live or in the trash, that go on needing it.
    needing: HashMap<Uid, Vec<(&'a Name, &'a Object)>>,
}

impl<'a> Leaving<'a> {
    fn needing(&self, object: &Object) -> &[(&'a Name, &'a Object)] {
        object.uid().and_then(|uid| self.needing.get(&uid)).map_or(&[], Vec::as_slice)
    }

    /// Whether it is to be judged and has not been; from now on it has.
    fn begin(&mut self, (backend, object): (&'a Name, &'a Object)) -> bool {
        match self.judged.get_mut(&(backend, &object.native)) {
            Some(judged @ Judged::NotYet) => {
                *judged = Judged::Stays;
                true
            }
            _ => false,
        }
    }

    fn left(&self, (backend, object): (&'a Name, &'a Object)) -> Option<usize> {
        match self.judged.get(&(backend, &object.native)) {
            Some(Judged::Leaves(step)) => Some(*step),
            _ => None,
        }
    }
}

impl<'a> Planner<'a> {
    /// Plans for everything that is ours, live, and not declared: what needs another is judged before it.
    pub(super) fn removals(&mut self) {
        let (mut leaving, not_covered) = self.leaving();
        self.warn_not_covered(not_covered);
        let is_volume = |object: &Object| object.identity.as_ref().is_some_and(|id| id.kind == Kind::Volume);
        self.withdrawn = leaving.objects.iter().filter(|(_, object)| is_volume(object)).copied().collect();
        for first in std::mem::take(&mut leaving.objects) {
            // With each object, how many of those that need it have been looked at. Not by recursion: chains of clones can be
            // longer than the processor's stack.
            let mut open = Vec::new();
            if leaving.begin(first) {
                open.push((first, 0));
            }
            while let Some((object, looked)) = open.last_mut() {
                let object = *object;
                *looked += 1;
                match leaving.needing(object.1).get(*looked - 1).copied() {
                    Some(needing) if leaving.begin(needing) => open.push((needing, 0)),
                    Some(_) => {}
                    None => {
                        open.pop();
                        if let Some(step) = self.remove(object.0, object.1, &leaving) {
                            leaving.judged.insert((object.0, &object.1.native), Judged::Leaves(step));
                        }
                    }
                }
            }
        }
        self.give_freed_names(|object| leaving.left(object));
    }

    /// What no document declares, and how many objects more there are that the reading does not cover.
    fn leaving(&self) -> (Leaving<'a>, usize) {
        let mut leaving = Leaving::default();
        let mut not_covered = 0;
        for (backend, good) in usable_backends(&self.backends) {
            for object in good.observed.objects.iter().filter(|object| object.place != Place::Temporary) {
                if let Some(parent) = object.parent {
                    leaving.needing.entry(parent).or_default().push((backend, object));
                }
                if object.place != Place::Live {
                    continue;
                }
                let ours = object.identity.as_ref().is_some_and(|id| id.owner == self.inputs.reading.specs.stack.owner);
                // A copy that somebody made of a snapshot says the same of itself, and never leaves.
                if let Some(volume) = object.tags.volume.filter(|_| ours) {
                    leaving.needing.entry(volume).or_default().push((backend, object));
                }
                let claimed = |id: &Identity| self.known.get(&(id.kind, &id.name)).is_some_and(|known| known.claimed);
                if ours && !object.tags.retained && !object.identity.as_ref().is_some_and(claimed) {
                    if self.withdrawal(backend, object) == Withdrawal::NotCovered {
                        not_covered += 1;
                        continue;
                    }
                    leaving.objects.push((backend, object));
                    leaving.judged.insert((backend, &object.native), Judged::NotYet);
                }
            }
        }
        (leaving, not_covered)
    }

    fn withdrawal(&self, backend: &Name, object: &Object) -> Withdrawal {
        let Some(Identity { kind, name, uid, .. }) = &object.identity else { return Withdrawal::NotCovered };
        self.inputs.reading.withdraws(*kind, name, self.good(backend).and_then(|good| good.ledger), *uid)
    }

    /// What a part of the manifests does not name is left as it is, and told as one count.
    fn warn_not_covered(&mut self, count: usize) {
        let Reading { specs, coverage, .. } = self.inputs.reading;
        let (owner, source) = (&specs.stack.owner, coverage.called());
        let message = match count {
            0 => return,
            1 => format!("1 object of {owner} is not declared in {source} and is left as it is"),
            _ => format!("{count} objects of {owner} are not declared in {source} and are left as they are"),
        };
        let message = format!("{message}; with `--prune` the manifests there count as all of them");
        self.warnings.push(Warning { code: "NotCovered".to_owned(), message });
    }

    /// The object of a withdrawn document that may be declared all the same. The step is held unless a person approves it.
    fn doubt(&mut self, step: usize, doubt: Option<&Doubt>) {
        if let Some(doubt) = doubt {
            self.doubts.insert(step, doubt.clone());
        }
    }

    /// Drafts the removal or the release of one object, or holds it. Its last step, if it has any.
    fn remove(&mut self, backend: &'a Name, object: &'a Object, leaving: &Leaving<'a>) -> Option<usize> {
        let identity = object.identity.clone()?;
        let (kind, uid) = (identity.kind, identity.uid);
        let verb = match object.tags.on_remove() {
            OnRemove::Delete => Verb::Destroy,
            _ => Verb::Remove,
        };
        let name = identity.name.clone();
        let about = Subject { kind, name: &name, backend: Some(backend), uid: Some(uid), action: verb };
        let doubt = match self.withdrawal(backend, object) {
            Withdrawal::Doubted(doubt) => Some(doubt),
            Withdrawal::Withdrawn | Withdrawal::Declared | Withdrawal::NotCovered => None,
        };
        let once = || self.inputs.reading.doubts_destruction(self.good(backend).and_then(|good| good.ledger), uid);
        let doubt = doubt.or_else(|| once().filter(|_| verb == Verb::Destroy));
        if let Some(doubt) = &doubt {
            self.doubted.insert(uid);
            self.hold_if_undecided(&about, doubt)?;
        }
        self.hold_if_guarded(&about, object)?;
        let tags = Tags { expires: None, ..object.tags.clone() };
        let step = Step {
            backend: backend.clone(),
            identity,
            native: object.native.clone(),
            action: Action::Trash { ttl: self.inputs.reading.specs.stack.trash.ttl },
            expect: Expect { idle: true, ..Expect::live(object) },
            risk: Risk::Recoverable,
            reason: Reason::NotDeclared,
            changes: vec![FieldChange { path: "size".to_owned(), before: json!(object.size), after: Value::Null }],
            bytes: object.size,
            after: Vec::new(),
        };
        if object.tags.on_remove() == OnRemove::Retain {
            let released = Tags { retained: true, ..tags };
            let changes = vec![FieldChange { path: "retained".to_owned(), before: json!(false), after: json!(true) }];
            let expect = Expect { idle: false, ..step.expect };
            let action = Action::SetTags { tags: released };
            let step = self.step(Step { action, expect, risk: Risk::None, changes, bytes: Size(0), ..step });
            self.doubt(step, doubt.as_ref());
            return Some(step);
        }
        self.hold_if_trash_is_taken(&about, object)?;
        let mut after = self.readers.get(&uid).cloned().unwrap_or_default();
        let detach = self.hold_if_needed(&about, object, leaving)?;
        if detach {
            let expect = Expect { idle: false, ..step.expect.clone() };
            let detach = Step {
                action: Action::Detach,
                risk: Risk::None,
                reason: Reason::HasClones,
                changes: Vec::new(),
                bytes: Size(0),
                expect,
                after: after.clone(),
                ..step.clone()
            };
            let detach = self.step(detach);
            self.doubt(detach, doubt.as_ref());
            after.push(detach);
        }
        self.hold_if_open(&about, object, "it will not be taken away from them")?;
        after.extend(leaving.needing(object).iter().filter_map(|needing| leaving.left(*needing)));
        let step = match object.tags.on_remove() {
            OnRemove::Delete => Step { action: Action::Destroy, risk: Risk::Irreversible, after, ..step },
            OnRemove::Trash | OnRemove::Detach | OnRemove::Retain => Step { after, ..step },
        };
        let step = self.step(step);
        self.doubt(step, doubt.as_ref());
        Some(step)
    }

    /// Holds what no person can decide: the doubt ends within seconds, or with a problem of the manifests.
    fn hold_if_undecided(&mut self, about: &Subject<'_>, doubt: &Doubt) -> Option<()> {
        self.unsettled |= matches!(doubt, Doubt::Vanished(_, Some(_)));
        if doubt.may_be_approved() {
            return Some(());
        }
        let (reason, message, fix) = because(doubt);
        self.hold(about, reason, message, fix);
        None
    }

    /// Guards that do not look at other objects. A release passes them too: what is in doubt is not let go either.
    pub(super) fn hold_if_guarded(&mut self, about: &Subject<'_>, object: &Object) -> Option<()> {
        let stack = &self.inputs.reading.specs.stack;
        if let Some(why) = &object.conflict {
            let message = format!("the marks of {} cannot be believed: {why}", object.native);
            self.hold(about, HeldReason::Conflict, message, format!("see to {} on the backend", object.native));
            return None;
        }
        let known_as = self.known_name(about.backend, object).filter(|known| *known != about.name);
        if let Some(known) = known_as {
            let message = format!("{} is known as {known}, and somebody renamed it on the backend", object.native);
            self.hold(about, HeldReason::Renamed, message, format!("name it {known} again on the backend"));
            return None;
        }
        if about.uid.is_some_and(|uid| self.duplicates.contains(&uid)) {
            let message =
                format!("{} is there more than once, or in the trash too: which of them is it?", object.native);
            self.hold(about, HeldReason::Ambiguous, message, "remove on the backend what is not it");
            return None;
        }
        if object.tags.protected || self.remembered(about.backend, object).protected {
            let message = "it is protected, and protection outlives the manifest that declared it".to_owned();
            let is_orphan = object.tags.volume.is_some_and(|volume| !self.by_uid.contains_key(&volume));
            let fix = match is_orphan {
                true => {
                    "its volume is gone: declare it again with `protected: false`, as a snapshot of any declared volume, and apply \
                     (it is held as Immutable, and its protection is lifted); then remove it"
                }
                false => "declare it again with `protected: false` and apply; then remove it",
            };
            self.hold(about, HeldReason::Protected, message, fix);
            return None;
        }
        if !stack.declared && !self.inputs.records.objects.contains_key(&about.uid?) {
            let message =
                "without a Stack nothing is removed that this store has no record of: other manifests may declare it";
            let fix = format!(
                "declare it again; or, if no other manifests have objects on {backend}, declare a Stack, and `kiln adopt {backend} \
                 --from-owner {owner}` gives it all of them",
                backend = about.backend?,
                owner = stack.owner,
            );
            self.hold(about, HeldReason::OwnerChanged, message.to_owned(), fix);
            return None;
        }
        let listed = self.good(about.backend?)?.observed.listed;
        if !listed.proves_absence_of(Kind::Snapshot) || !listed.proves_absence_of(Kind::Volume) {
            let message = "the listing of its backend is not complete, so what depends on it is not known".to_owned();
            self.hold(about, HeldReason::Unobserved, message, "run again when the backend can be listed");
            return None;
        }
        Some(())
    }

    /// Holds what others need. `Some(true)`: its clones must be detached first.
    fn hold_if_needed(&mut self, about: &Subject<'_>, object: &'a Object, leaving: &Leaving<'a>) -> Option<bool> {
        let uid = object.uid()?;
        let capabilities = self.good(about.backend?)?.capabilities;
        let inside = capabilities.clones_depend;
        let (mut snapshots, mut clones) = (Vec::new(), Vec::new());
        for needing in leaving.needing(object) {
            let (other, step) = (needing.1, leaving.left(*needing).map(|step| &self.steps[step]));
            let leaves = step.is_some_and(Step::is_removal);
            // A released snapshot stays for itself where it does not live inside its volume.
            let released = other.tags.retained || (step.is_some() && !leaves);
            if other.tags.volume == Some(uid) && !leaves && (inside || !released) {
                snapshots.push(other.native.as_str());
            }
            // In the trash a clone needs it still.
            let destroyed = step.is_some_and(|step| matches!(step.action, Action::Destroy));
            if other.parent == Some(uid) && !destroyed {
                clones.push(other.native.as_str());
            }
        }
        if !snapshots.is_empty() {
            let message = format!("it has snapshots that stay: {}", snapshots.join(", "));
            let fix = "let those go first: see what holds them, or, if they were released, declare them again with \
                           another `onRemove`";
            self.hold(about, HeldReason::HasDependents, message, fix);
            return None;
        }
        let clones_it = |step: &usize| matches!(self.steps[*step].action, Action::Create { .. });
        let made_now = inside && self.readers.get(&uid).is_some_and(|readers| readers.iter().any(clones_it));
        if clones.is_empty() && !made_now {
            return Some(false);
        }
        if object.tags.on_remove() == OnRemove::Detach && capabilities.detach {
            return Some(true);
        }
        let message = match clones.is_empty() {
            true => "a clone of it is being made, which goes on needing it".to_owned(),
            false => format!("clones go on needing it: {}", clones.join(", ")),
        };
        let fix = match about.kind {
            Kind::Snapshot if capabilities.detach => {
                "declare it again with `onRemove: Detach` and apply; then remove it"
            }
            _ => "remove and purge the clones first",
        };
        self.hold(about, HeldReason::HasDependents, message, fix);
        None
    }
}

/// Why an object is held that may be declared all the same: the reason, the message, and what ends the doubt.
pub(super) fn because(doubt: &Doubt) -> (HeldReason, String, String) {
    let (reason, message, fix) = match doubt {
        Doubt::Problem => (
            HeldReason::SourceBroken,
            "a manifest has a problem, so that its document may only be unreadable".to_owned(),
            "mend the manifests: `kiln check`".to_owned(),
        ),
        Doubt::ReadOnce => (
            HeldReason::SourceBroken,
            "its document is missing from the manifests since the last look only; a removal waits for a second look"
                .to_owned(),
            "nothing to do: the daemon looks again within seconds".to_owned(),
        ),
        Doubt::Vanished(directory, Some(time)) => (
            HeldReason::SourceBroken,
            format!(
                "the directory {directory} that declared it disappeared; its removal waits until {}, when the directory has been gone \
                 for 60 s",
                rfc3339(*time)
            ),
            format!("wait if {directory} was removed on purpose, or else bring it back"),
        ),
        Doubt::Vanished(directory, None) => (
            HeldReason::SourceBroken,
            format!(
                "the directory {directory} that declared it disappeared, and one reading cannot tell for how long; `--yes` alone does not \
                 destroy it"
            ),
            format!("bring {directory} back if it was not removed on purpose"),
        ),
        Doubt::NotCheckedOut(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it, has manifests in the commit that is checked out, and has none here"),
            format!("check {directory} out again, or remove it from Git (`git rm -r`) and commit"),
        ),
        Doubt::GitUnreadable(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it and is gone, and the Git repository of the manifests cannot be read"),
            "make the repository readable to this user, complete (no partial clone)".to_owned(),
        ),
        Doubt::Unmounted(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it, was on another file system when last read, and is not there"),
            format!("mount {directory} again"),
        ),
        Doubt::Bare(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it, and exists without manifests"),
            format!("bring the manifests of {directory} back, or remove the directory as well"),
        ),
        Doubt::Emptied(file) => (
            HeldReason::SourceBroken,
            format!("{file} declared it, and holds only white space"),
            format!("write {file} again, or remove the file"),
        ),
        Doubt::OtherFiles => (
            HeldReason::SourceChanged,
            "these manifests share no file with those that this Stack was last applied from".to_owned(),
            "apply the directory that this Stack was applied from; another one needs a Stack of its own".to_owned(),
        ),
        Doubt::OtherPlace(before) => (
            HeldReason::SourceChanged,
            format!(
                "this Stack was last applied from {} of the work tree",
                if before.is_empty() { "the top" } else { before }
            ),
            "apply that directory; another one needs a Stack of its own".to_owned(),
        ),
    };
    (reason, message, fix)
}
