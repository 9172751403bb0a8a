//! Objects that are there and become what a document declares: taken over, brought back, renamed.

use serde_json::{Value, json};

use crate::model::{
    Action, Expect, Identity, Kind, Name, NativeName, Object, ObjectRef, OnRemove, Place, Reason, Risk, Size, Step,
    Tags, Verb, VolumeSpec,
};
use crate::text::quoted;

use super::plan::{Planner, Ready, Subject, usable_backends};
use super::room::Room;
use super::types::HeldReason;

use super::tags::{DesiredTags, change, desired_tags, first_tags, tag_changes};

impl<'a> Planner<'a> {
    /// Takes over an object that nobody owns.
    pub(super) fn adopt(&mut self, spec: &'a VolumeSpec, about: &Subject<'a>, native: &NativeName) -> Option<Ready> {
        let about = Subject { action: Verb::Adopt, ..*about };
        self.hold_unsupported_fields(spec, &about)?;
        let good = self.good(&spec.backend)?;
        if !good.capabilities.adopt {
            let message = format!("the backend {} cannot take objects over", spec.backend);
            self.hold(&about, HeldReason::Unsupported, message, "leave `adopt` out for a new, empty volume");
            return None;
        }
        let Some(object) = good.find(native, |place| place == Place::Live) else {
            let message =
                format!("{native} was never seen on {}; an empty volume is not what was asked for", spec.backend);
            self.hold(
                &about,
                HeldReason::AdoptMissing,
                message,
                "correct the name, or leave `adopt` out for a new, empty volume",
            );
            return None;
        };
        if let Some(id) = &object.identity {
            let message = format!("{native} is {} {} of {}", id.kind.as_lower(), id.name, id.owner);
            self.hold(&about, HeldReason::Foreign, message, "adopt only what nobody owns");
            return None;
        }
        if let Some(why) = &object.conflict {
            let message = format!("{native} cannot be taken over: {why}");
            self.hold(&about, HeldReason::Conflict, message, "see to it on the backend");
            return None;
        }
        if let Some(format) = &object.image {
            let message = format!("{native} holds an image of the format {format}, not a raw disk");
            // The name that `qemu-img` has for it.
            let tool = if format == "vhd" { "vpc" } else { format };
            let place = good.spec.config.place();
            let path = |name: &str| std::path::Path::new(&place).join(name).display().to_string();
            let fix = match format.as_str() {
                "qcow2" => format!(
                    "write `source: {{image: {{path: {}, format: qcow2}}}}` instead of `adopt`, for a volume of what is in it",
                    path(native.as_str())
                ),
                _ => {
                    // `qemu-img` overwrites what bears the name.
                    let is_free = |name: &String| good.observed.objects.iter().all(|o| o.native.as_str() != name);
                    let mut names = std::iter::once(format!("{native}.raw"))
                        .chain((2..=u32::MAX).map(|n| format!("{native}.{n}.raw")));
                    let new = names.find(is_free).unwrap_or_default();
                    let (from, to) = (quoted(&path(native.as_str())), quoted(&path(&new)));
                    format!("`qemu-img convert -f {tool} -O raw {from} {to}`, then `adopt: {{name: {new}}}`")
                }
            };
            self.hold(&about, HeldReason::Conflict, message, fix);
            return None;
        }
        if self.asked_twice.contains(&(&spec.backend, native.as_str())) {
            let message = format!("several documents ask for the native name {native}");
            self.hold(&about, HeldReason::Ambiguous, message, "write it in one of them only");
            return None;
        }
        let (identity, n) = self.new_identity(Kind::Volume, &spec.meta.name, &spec.backend)?;
        let about = Subject { uid: Some(identity.uid), ..about };
        let mut tags = desired_tags(
            // What was taken over is only let go when its manifest goes, unless the document says otherwise.
            &DesiredTags { on_remove: spec.on_remove.or(Some(OnRemove::Retain)), ..self.wanted_volume(spec) },
            &Tags::default(),
        );
        self.fits(&spec.backend, &about, object.size, Room { provisioned: 0, taken: 0, objects: 1 })?;
        tags.protected |= spec.protected.is_none() && self.inputs.reading.specs.stack.defaults.protected == Some(true);
        tags.identity = Some(Box::new(identity.clone()));
        tags.adopted = true;
        tags.restored = spec.restore.as_ref().map(|restore| restore.request.clone());
        let mut changes = vec![change("adopt.name", Value::Null, json!(native))];
        changes.extend(first_tags(&tags));
        let uid = identity.uid;
        let index = self.step(Step {
            backend: spec.backend.clone(),
            identity,
            native: native.clone(),
            action: Action::Adopt { tags, n },
            expect: Expect { tags: Some(Tags::default()), ..Expect::live(object) },
            risk: Risk::None,
            reason: Reason::AdoptRequested,
            changes,
            bytes: Size(0),
            after: Vec::new(),
        });
        let mut after = vec![index];
        let adopted = Object { identity: Some(self.steps[index].identity.clone()), ..object.clone() };
        let size = self.grow(spec, &about, &adopted, native, &mut after);
        Some(Ready::Here {
            backend: spec.backend.clone(),
            object: ObjectRef { native: native.clone(), uid, size },
            after,
        })
    }

    pub(super) fn undelete(
        &mut self,
        about: &Subject<'_>,
        object: &Object,
        tags: Tags,
        after: Vec<usize>,
    ) -> Option<usize> {
        let identity = object.identity.clone()?;
        self.hold_if_place_is_taken(about, object)?;
        let now = Tags { expires: None, ..object.tags.clone() };
        let step = Step {
            backend: self.backend_of(about),
            identity,
            native: object.native.clone(),
            changes: tag_changes(&now, &tags),
            action: Action::Undelete { tags },
            expect: Expect { place: Some(Place::Trash), ..Expect::live(object) },
            risk: Risk::None,
            reason: Reason::InTrash,
            bytes: Size(0),
            after,
        };
        Some(self.step(step))
    }

    /// Moves a volume that was never written to into the trash: `old`, from which its document was renamed, comes in its place.
    fn give_way(&mut self, about: &Subject<'a>, object: &'a Object, old: &Name) -> Option<usize> {
        let backend = about.backend?;
        let about = Subject { uid: object.uid(), action: Verb::Remove, ..*about };
        let gives_way = format!("it was never written to and gives way to {old}");
        if self.inputs.reading.broken || self.inputs.reading.unconfirmed {
            let (why, fix) = match self.inputs.reading.broken {
                true => ("a manifest has a problem", "correct the manifests: `kiln check`"),
                false => ("the manifests were read only once", "wait: the daemon reads again within seconds"),
            };
            let message = format!("{gives_way}, but {why}, so nothing is removed yet");
            self.hold(&about, HeldReason::SourceBroken, message, fix);
            return None;
        }
        if object.tags.protected || self.remembered(about.backend, object).protected {
            let message = format!("{gives_way}, but it is protected");
            let fix = format!(
                "remove `renamedFrom: {old}`, declare {old} again, write `protected: false` here, and apply; then remove the \
                 document of {old} and write `renamedFrom: {old}` again"
            );
            self.hold(&about, HeldReason::Protected, message, fix);
            return None;
        }
        self.hold_if_guarded(&about, object)?;
        self.hold_if_open(&about, object, &format!("it does not give way to {old} meanwhile"))?;
        Some(self.step(Step {
            backend: backend.clone(),
            identity: object.identity.clone()?,
            native: object.native.clone(),
            action: Action::Trash { ttl: self.inputs.reading.specs.stack.trash.ttl },
            expect: Expect { idle: true, unwritten: true, ..Expect::live(object) },
            risk: Risk::Recoverable,
            reason: Reason::GivesWay,
            changes: vec![change("size", json!(object.size), Value::Null)],
            bytes: Size(0),
            after: Vec::new(),
        }))
    }

    /// Where what was to come in the place of an object is held, that object stays.
    pub(super) fn nothing_gives_way_in_vain(&mut self) {
        let held = self.giving_way.iter().filter(|(_, rename)| self.dropped.contains(rename));
        let in_vain: Vec<usize> = held.map(|(given_way, _)| *given_way).collect();
        self.dropped.extend(in_vain);
    }

    /// Gives an object its new name after the steps `before`, and adds its own steps to them. What bears the new name `instead`
    /// gives way first; then an object in the trash comes back, under its old name.
    pub(super) fn rename(
        &mut self,
        about: &Subject<'a>,
        object: &'a Object,
        instead: Option<&'a Object>,
        before: &mut Vec<usize>,
    ) -> Option<()> {
        let backend = about.backend?;
        let old = object.identity.as_ref()?;
        if !self.good(backend)?.capabilities.rename {
            let message = format!("the backend {backend} cannot rename");
            self.hold(about, HeldReason::Unsupported, message, format!("keep the name {}", old.name));
            return None;
        }
        let identity = Identity { name: about.name.clone(), ..old.clone() };
        let own_name = object.tags.identity.is_some();
        let native = if own_name { object.native.clone() } else { identity.native() };
        let now = Tags { expires: None, ..object.tags.clone() };
        let tags = Tags { identity: own_name.then(|| Box::new(identity.clone())), ..now.clone() };
        if native != object.native {
            self.hold_if_in_the_way(about, backend, &native)?;
        }
        let given_way = match instead {
            Some(instead) => Some(self.give_way(about, instead, &old.name)?),
            None => None,
        };
        before.extend(given_way);
        if object.place == Place::Trash {
            before.push(self.undelete(about, object, now, before.clone())?);
        }
        let step = self.step(Step {
            backend: backend.clone(),
            changes: vec![change("metadata.name", json!(old.name), json!(identity.name))],
            identity,
            native,
            action: Action::Rename { from: object.native.clone(), tags },
            expect: Expect::live(object),
            risk: Risk::None,
            reason: Reason::RenamedFrom,
            bytes: Size(0),
            after: before.clone(),
        });
        before.push(step);
        self.giving_way.extend(given_way.map(|given_way| (given_way, step)));
        Some(())
    }

    /// Completes renames of our objects that were interrupted, whether a document declares the object or not.
    ///
    /// An object that the ledger knows by another name was renamed on the backend by somebody else: that is held where it is located.
    pub(super) fn complete_renames(&mut self) {
        let mut unfinished = Vec::new();
        for (backend, good) in usable_backends(&self.backends) {
            let live = good.observed.objects.iter().filter(|o| o.unfinished && o.place == Place::Live);
            let believed =
                live.filter(|o| o.conflict.is_none() && o.uid().is_some_and(|uid| !self.duplicates.contains(&uid)));
            unfinished.extend(believed.map(|object| (backend, object)));
        }
        for (backend, object) in unfinished {
            let Some(identity) = object.identity.clone().filter(|id| id.owner == self.inputs.reading.specs.stack.owner)
            else {
                continue;
            };
            let specs = &*self.inputs.reading.specs;
            let old = match identity.kind {
                Kind::Volume => specs.volumes.get(&identity.name).and_then(|v| v.meta.renamed_from.as_ref()),
                _ => specs.snapshots.get(&identity.name).and_then(|s| s.meta.renamed_from.as_ref()),
            };
            let known = self.known_name(Some(backend), object);
            if known.is_some_and(|known| *known != identity.name && Some(known) != old) {
                continue;
            }
            let before = old.map(|old| Identity { name: old.clone(), ..identity.clone() });
            let from = before.map_or_else(|| object.native.clone(), |before| before.native());
            let changes = old.map(|old| change("metadata.name", json!(old), json!(identity.name)));
            let uid = identity.uid;
            let now = Tags { expires: None, ..object.tags.clone() };
            let index = self.step(Step {
                backend: backend.clone(),
                identity,
                native: object.native.clone(),
                action: Action::Rename { from, tags: now },
                expect: Expect::live(object),
                risk: Risk::None,
                reason: if old.is_some() { Reason::RenamedFrom } else { Reason::LeftOver },
                changes: changes.into_iter().collect(),
                bytes: Size(0),
                after: Vec::new(),
            });
            self.completing.insert(uid, index);
        }
    }

    pub(super) fn backend_of(&self, about: &Subject<'_>) -> Name {
        about.backend.cloned().unwrap_or_else(|| about.name.clone())
    }

    /// The identity that an object has under the document's name.
    pub(super) fn identity_of(&self, about: &Subject<'_>, object: &Object) -> Option<Identity> {
        let identity = object.identity.clone()?;
        Some(Identity { name: about.name.clone(), ..identity })
    }
}
