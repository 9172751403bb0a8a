//! Declared snapshots.

use serde_json::{Value, json};

use crate::model::{
    Action, Expect, Kind, Name, NativeForm, NativeName, Object, ObjectRef, Place, Reason, Risk, Size, Step, Tags, Verb,
};

use super::locate::Located;
use super::plan::{Planner, Ready, Subject};
use super::room::Room;
use super::types::HeldReason;

use super::tags::{DesiredTags, change, desired_tags, first_tags};

impl<'a> Planner<'a> {
    /// Plans a declared snapshot, once; what others may count on.
    pub(super) fn snapshot(&mut self, name: &'a Name) -> Ready {
        if let Some(ready) = self.ready(Kind::Snapshot, name) {
            return ready.clone();
        }
        if !self.inputs.reading.specs.snapshots.contains_key(name) {
            return Ready::Missing;
        }
        self.set_ready(Kind::Snapshot, name, Ready::Circle);
        let ready = self.snapshot_unless_held(name).unwrap_or(Ready::Held);
        self.set_ready(Kind::Snapshot, name, ready.clone());
        ready
    }

    pub(super) fn snapshot_unless_held(&mut self, name: &'a Name) -> Option<Ready> {
        let specs = &*self.inputs.reading.specs;
        let spec = specs.snapshots.get(name)?;
        let backend = &specs.volumes.get(&spec.volume)?.backend;
        let wanted = DesiredTags { meta: &spec.meta, protected: spec.protected, on_remove: spec.on_remove };
        let located = self.locate(Kind::Snapshot, name, backend, spec.meta.renamed_from.as_ref());
        let about = Subject { kind: Kind::Snapshot, name, backend: Some(backend), uid: None, action: Verb::Create };
        let (object, before) = match located {
            Located::Held => return None,
            Located::Absent if spec.adopt.is_some() => {
                let about = Subject { action: Verb::Adopt, ..about };
                let message = "taking over snapshots is not built yet".to_owned();
                self.hold(&about, HeldReason::Unsupported, message, "leave `adopt` out for a new snapshot");
                return None;
            }
            Located::Absent => return self.take_snapshot(&spec.volume, &about, &wanted),
            Located::Live(object) => (object, Vec::new()),
            Located::Trashed(object) => {
                let about = Subject { uid: object.uid(), action: Verb::Adopt, ..about };
                let tags = self.declared_tags(&about, &wanted, object, &object.tags);
                let after = self.volume_in_trash_first(&about, object)?;
                (object, vec![self.undelete(&about, object, tags, after)?])
            }
            // No snapshot gives way to another: each holds data.
            Located::OldName { object, .. } => {
                let about = Subject { uid: object.uid(), action: Verb::Move, ..about };
                let mut steps = match object.place {
                    Place::Trash => self.volume_in_trash_first(&about, object)?,
                    Place::Live | Place::Temporary => Vec::new(),
                };
                self.rename(&about, object, None, &mut steps)?;
                (object, steps)
            }
        };
        let about = Subject { uid: object.uid(), action: Verb::Update, ..about };
        let native = self.native_after(&before, object);
        let mut after = before;
        let now = self.tags_after(&after, object);
        // Also of a snapshot whose volume is gone for good: without this, its protection could never be lifted.
        self.retag(&about, &wanted, object, &native, &now, &mut after);
        if let Ready::Here { object: volume, .. } = self.volume(&spec.volume)
            && object.tags.volume != Some(volume.uid)
        {
            let message = format!("`volume` cannot change: the snapshot is of another volume than {}", spec.volume);
            self.hold(&about, HeldReason::Immutable, message, "give the new snapshot another name");
            return None;
        }
        Some(Ready::Here {
            backend: backend.clone(),
            object: ObjectRef { native, uid: object.uid()?, size: object.size },
            after,
        })
    }

    pub(super) fn take_snapshot(
        &mut self,
        volume: &'a Name,
        about: &Subject<'a>,
        wanted: &DesiredTags<'_>,
    ) -> Option<Ready> {
        let backend = about.backend?;
        let (volume_object, after) = match self.volume(volume) {
            Ready::Here { object, after, .. } => (object, after),
            Ready::Circle => {
                let message = format!("it is of volume {volume}, which is to be made from it");
                self.hold(about, HeldReason::SourceMissing, message, "break the circle of sources");
                return None;
            }
            Ready::Held | Ready::Missing | Ready::Unclear => {
                let message = format!("it is of volume {volume}, which is held");
                self.hold(
                    about,
                    HeldReason::DependencyHeld,
                    message,
                    format!("see what holds it: `kiln describe volume/{volume}`"),
                );
                return None;
            }
        };
        self.hold_if_torn(about, backend, &volume_object)?;
        let (identity, n) = self.new_identity(Kind::Snapshot, about.name, backend)?;
        let about = Subject { uid: Some(identity.uid), ..*about };
        let native = NativeName::of(NativeForm::Snapshot, &identity.owner, &identity.name, identity.uid);
        self.hold_if_in_the_way(&about, backend, &native)?;
        let taken = self.copy_of(backend, &volume_object);
        self.fits(backend, &about, volume_object.size, Room { provisioned: 0, taken, objects: 1 })?;
        self.filled.insert(identity.uid, taken);
        let defaults = &self.inputs.reading.specs.stack.defaults;
        let with_defaults = DesiredTags {
            meta: wanted.meta,
            protected: wanted.protected.or(defaults.protected),
            on_remove: wanted.on_remove.or(defaults.on_remove),
        };
        let mut tags = desired_tags(&with_defaults, &Tags::default());
        tags.volume = Some(volume_object.uid);
        let uid = identity.uid;
        let mut changes =
            vec![change("volume", Value::Null, json!(volume)), change("size", Value::Null, json!(volume_object.size))];
        changes.extend(first_tags(&tags));
        let size = volume_object.size;
        let index = self.step(Step {
            backend: backend.clone(),
            identity,
            native: native.clone(),
            action: Action::Snapshot { volume: volume_object, tags, n },
            expect: Expect::default(),
            risk: Risk::None,
            reason: Reason::NotThere,
            changes,
            bytes: Size(0),
            after,
        });
        Some(Ready::Here { backend: backend.clone(), object: ObjectRef { native, uid, size }, after: vec![index] })
    }

    /// A volume comes back before its snapshots: on some backends they are inside of it. A snapshot of a volume that is gone for
    /// good waits for none.
    fn volume_in_trash_first(&mut self, about: &Subject<'a>, snapshot: &'a Object) -> Option<Vec<usize>> {
        // The volume that it is of, whatever the document says; one that is not declared stays where it is.
        let of = snapshot.tags.volume.and_then(|uid| self.by_uid.get(&uid));
        let in_trash = of.filter(|(_, volume)| volume.place == Place::Trash).and_then(|(_, v)| v.identity.as_ref());
        let specs = &*self.inputs.reading.specs;
        let declared = |name: &'a Name| match specs.volumes.contains_key(name) {
            true => Some(name),
            false => specs.volumes.values().find(|v| v.meta.renamed_from.as_ref() == Some(name)).map(|v| &v.meta.name),
        };
        let Some(volume) = in_trash.and_then(|id| declared(&id.name)) else { return Some(Vec::new()) };
        match self.volume(volume) {
            Ready::Here { after, .. } => Some(after),
            Ready::Held | Ready::Missing | Ready::Unclear | Ready::Circle => {
                let message = format!("its volume {volume} is held");
                self.hold(
                    about,
                    HeldReason::DependencyHeld,
                    message,
                    format!("see what holds it: `kiln describe volume/{volume}`"),
                );
                None
            }
        }
    }
}
