//! Objects of ours that no document declares: what lets them go, and everything that holds them.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use crate::model::{
    Action, Expect, FieldChange, Kind, Name, Object, OnRemove, Place, Reason, Risk, Size, Step, Tags, Uid, Verb,
};

use super::plan::{About, Planner, good_grounds};
use super::types::HeldReason;

/// What needs what, on good ground.
#[derive(Default)]
struct Dependents<'a> {
    /// By volume: its live snapshots.
    snapshots: HashMap<Uid, Vec<&'a Object>>,
    /// By the object that clones go on needing: the clones, live or in the trash.
    clones: HashMap<Uid, Vec<&'a Object>>,
}

impl<'a> Planner<'a> {
    /// Plans for everything that is ours, live, and not declared: snapshots first, because volumes wait for them.
    pub(super) fn removals(&mut self) {
        let mut leaving: Vec<(&'a Name, &'a Object)> = Vec::new();
        let mut dependents = Dependents::default();
        for (backend, good) in good_grounds(&self.grounds) {
            for object in &good.observed.objects {
                if object.place == Place::Temporary {
                    continue;
                }
                if let Some(parent) = object.parent {
                    dependents.clones.entry(parent).or_default().push(object);
                }
                if object.place != Place::Live {
                    continue;
                }
                if let Some(volume) = object.tags.volume {
                    dependents.snapshots.entry(volume).or_default().push(object);
                }
                let ours = object.identity.as_ref().is_some_and(|id| id.owner == self.inputs.specs.stack.owner);
                if ours && !object.tags.retained && !self.claimed.contains(&(backend, &object.native)) {
                    leaving.push((backend, object));
                }
            }
        }
        leaving.sort_by_key(|(backend, object)| {
            let id = object.identity.as_ref();
            (id.map(|id| id.kind != Kind::Snapshot), *backend, id.map(|id| &id.name))
        });
        let mut gone: HashSet<Uid> = HashSet::new();
        for (backend, object) in leaving {
            if let Some(uid) = self.remove(backend, object, &dependents, &gone) {
                gone.insert(uid);
            }
        }
    }

    /// Drafts the removal of one object, or holds it. Its uid, if it leaves.
    fn remove(
        &mut self,
        backend: &'a Name,
        object: &'a Object,
        dependents: &Dependents<'a>,
        gone: &HashSet<Uid>,
    ) -> Option<Uid> {
        let identity = object.identity.clone()?;
        let (kind, uid) = (identity.kind, identity.uid);
        let verb = match object.tags.on_remove() {
            OnRemove::Delete => Verb::Destroy,
            _ => Verb::Remove,
        };
        let name = identity.name.clone();
        let about = About { kind, name: &name, backend: Some(backend), uid: Some(uid), action: verb };
        self.hold_if_guarded(&about, object)?;
        let tags = Tags { expires: None, ..object.tags.clone() };
        let step = Step {
            backend: backend.clone(),
            identity,
            native: object.native.clone(),
            action: Action::Trash { ttl: self.inputs.specs.stack.trash.ttl },
            expect: Expect { place: Some(Place::Live), size: Some(object.size), tags: Some(tags.clone()), idle: true },
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
            self.step(Step { action, expect, risk: Risk::None, changes, bytes: Size(0), ..step });
            // Released, it is still there: what it depends on stays with it.
            return None;
        }
        let mut after = self.steps_that_need(uid);
        let detach = self.hold_if_needed(&about, backend, object, dependents, gone)?;
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
            after.push(self.step(detach));
        }
        self.hold_if_open(&about, object, "it will not be taken away from them")?;
        if kind == Kind::Volume {
            after.extend(self.removals_of_snapshots(uid, dependents));
        }
        let step = match object.tags.on_remove() {
            OnRemove::Delete => Step { action: Action::Destroy, risk: Risk::Irreversible, after, ..step },
            OnRemove::Trash | OnRemove::Detach | OnRemove::Retain => Step { after, ..step },
        };
        self.step(step);
        Some(uid)
    }

    /// Guards that do not look at other objects. A release passes them too: what is in doubt is not let go either.
    fn hold_if_guarded(&mut self, about: &About<'_>, object: &Object) -> Option<()> {
        let stack = &self.inputs.specs.stack;
        if self.inputs.specs.broken {
            let message = "a manifest has a problem, so that its document may only be unreadable".to_owned();
            self.hold(about, HeldReason::SourceBroken, message, "mend the manifests: `kiln check`");
            return None;
        }
        if let Some(why) = &object.conflict {
            let message = format!("the marks of {} cannot be believed: {why}", object.native);
            self.hold(about, HeldReason::Conflict, message, "mend its tags on the backend");
            return None;
        }
        let known_as = self.name_in_ledger(about.backend, object).filter(|known| *known != about.name);
        if let Some(known) = known_as {
            let message = format!("{} is known as {known}, and somebody renamed it on the backend", object.native);
            self.hold(about, HeldReason::Renamed, message, format!("name it {known} again on the backend"));
            return None;
        }
        if object.tags.protected {
            let message = "it is protected, and protection outlives the manifest that declared it".to_owned();
            let unblock = "declare it again with `protected: false` and apply; then remove it";
            self.hold(about, HeldReason::Protected, message, unblock);
            return None;
        }
        if !stack.declared && !self.inputs.records.objects.contains_key(&about.uid?) {
            let message =
                "without a Stack nothing is removed that this store has no record of: other manifests may declare it";
            let unblock =
                "declare it, or write a Stack and take it over with `kiln adopt BACKEND --from-owner default`";
            self.hold(about, HeldReason::OwnerChanged, message.to_owned(), unblock);
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
    fn hold_if_needed(
        &mut self,
        about: &About<'_>,
        backend: &Name,
        object: &Object,
        dependents: &Dependents<'a>,
        gone: &HashSet<Uid>,
    ) -> Option<bool> {
        let uid = object.uid()?;
        let capabilities = self.good(backend)?.capabilities;
        let empty = Vec::new();
        let inside = capabilities.clones_depend;
        let staying: Vec<&str> = dependents
            .snapshots
            .get(&uid)
            .unwrap_or(&empty)
            .iter()
            .filter(|s| s.uid().is_some_and(|uid| !gone.contains(&uid)))
            // A released snapshot stays for itself where it does not live inside its volume.
            .filter(|s| inside || !s.tags.retained)
            .map(|s| s.native.as_str())
            .collect();
        if !staying.is_empty() {
            let message = format!("it has snapshots that stay: {}", staying.join(", "));
            self.hold(about, HeldReason::HasDependents, message, "remove those first; see what holds them");
            return None;
        }
        let clones: Vec<&str> =
            dependents.clones.get(&uid).unwrap_or(&empty).iter().map(|c| c.native.as_str()).collect();
        let made_now = inside && !self.steps_that_need(uid).is_empty();
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
        let unblock = match about.kind {
            Kind::Snapshot => "declare it again with `onRemove: Detach` and apply; then remove it",
            _ => "remove and purge the clones first",
        };
        self.hold(about, HeldReason::HasDependents, message, unblock);
        None
    }

    /// Steps of this plan that copy from the object.
    fn steps_that_need(&self, uid: Uid) -> Vec<usize> {
        let needs = |step: &Step| match &step.action {
            Action::Create { origin: Some(origin), .. } => origin.object().uid == uid,
            Action::Snapshot { volume, .. } => volume.uid == uid,
            Action::Restore { snapshot, .. } => snapshot.uid == uid,
            _ => false,
        };
        self.steps.iter().enumerate().filter(|(_, step)| needs(step)).map(|(index, _)| index).collect()
    }

    fn removals_of_snapshots(&self, volume: Uid, dependents: &Dependents<'a>) -> Vec<usize> {
        let uids: BTreeSet<Uid> =
            dependents.snapshots.get(&volume).into_iter().flatten().filter_map(|object| object.uid()).collect();
        if uids.is_empty() {
            return Vec::new();
        }
        let leaving = |step: &Step| step.is_removal() && uids.contains(&step.identity.uid);
        self.steps.iter().enumerate().filter(|(_, step)| leaving(step)).map(|(index, _)| index).collect()
    }
}
