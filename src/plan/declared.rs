//! Declared volumes and snapshots: the steps that make them what their documents say.

use serde_json::{Value, json};

use crate::model::{
    Action, Expect, FieldChange, Identity, Kind, Ledger, Meta, Name, NativeForm, NativeName, Object, ObjectRef,
    OnRemove, Origin, Place, Provisioning, Reason, Risk, Size, SourceSpec, Step, Tags, Uid, Verb, VolumeSpec,
};

use super::locate::Located;
use super::plan::{About, Planner, Ready};
use super::types::HeldReason;

/// What a document says about the tags of its object.
struct Wanted<'s> {
    meta: &'s Meta,
    protected: Option<bool>,
    on_remove: Option<OnRemove>,
}

impl<'a> Planner<'a> {
    /// Plans a declared volume, once; what others may count on.
    pub(super) fn volume(&mut self, name: &'a Name) -> Ready {
        let key = (Kind::Volume, name);
        if let Some(ready) = self.ready.get(&key) {
            return ready.clone();
        }
        let Some(spec) = self.inputs.specs.volumes.get(name) else { return Ready::Missing };
        self.ready.insert(key, Ready::Circle);
        let ready = self.volume_unless_held(spec).unwrap_or(Ready::Held);
        self.ready.insert(key, ready.clone());
        ready
    }

    fn volume_unless_held(&mut self, spec: &'a VolumeSpec) -> Option<Ready> {
        let (name, backend) = (&spec.meta.name, &spec.backend);
        let located = self.locate(Kind::Volume, name, backend, spec.meta.renamed_from.as_ref());
        let about = About { kind: Kind::Volume, name, backend: Some(backend), uid: None, action: Verb::Create };
        match located {
            Located::Held => None,
            Located::Absent => match &spec.adopt {
                Some(native) => self.adopt(spec, &about, &NativeName::new(native)),
                None => self.create(spec, &about),
            },
            Located::Live(object) => {
                let about = About { uid: object.uid(), action: Verb::Update, ..about };
                self.bring_volume_up(spec, &about, object, Vec::new())
            }
            Located::Trashed(object) => {
                let about = About { uid: object.uid(), action: Verb::Adopt, ..about };
                let tags = self.undeleted_tags(&self.wanted_volume(spec), object);
                let back = self.undelete(&about, object, tags, Vec::new())?;
                self.bring_volume_up(spec, &about, object, vec![back])
            }
            Located::OldName(object) => {
                let about = About { uid: object.uid(), action: Verb::Move, ..about };
                let renamed = self.rename(&about, object)?;
                self.bring_volume_up(spec, &about, object, vec![renamed])
            }
        }
    }

    fn wanted_volume(&self, spec: &'a VolumeSpec) -> Wanted<'a> {
        Wanted { meta: &spec.meta, protected: spec.protected, on_remove: spec.on_remove }
    }

    /// Size, tags and restore of a volume that is there, or comes back by the steps `before`.
    fn bring_volume_up(
        &mut self,
        spec: &'a VolumeSpec,
        about: &About<'a>,
        object: &'a Object,
        before: Vec<usize>,
    ) -> Option<Ready> {
        self.hold_unsupported_fields(spec, about)?;
        let native = self.native_after(&before, object);
        let mut after = before;
        let tags_now = self.tags_after(&after, object);
        if let Some(object_name) = spec.object.as_deref().filter(|n| *n != native.as_str() && !tags_now.adopted) {
            let message = format!("`object: {object_name}` cannot change: the volume is called {native}");
            self.hold(about, HeldReason::Immutable, message, format!("write `object: {native}`, or leave it out"));
        }
        let made = tags_now.provisioning.unwrap_or(Provisioning::Thin);
        if spec.provisioning.is_some_and(|wanted| wanted != made) {
            let message = format!("`provisioning` cannot change: the volume was made {}", word(made));
            self.hold(
                about,
                HeldReason::Immutable,
                message,
                format!("write `provisioning: {}`, or leave it out", word(made)),
            );
        }
        let wanted = self.wanted_volume(spec);
        self.retag(about, &wanted, object, &native, &tags_now, &mut after);
        let size = self.grow(spec, about, object, &native, &mut after);
        if spec.restore.as_ref().is_some_and(|r| tags_now.restored.as_ref() != Some(&r.request)) {
            self.to_restore.push((&spec.meta.name, object));
        }
        let uid = object.uid()?;
        Some(Ready::Here { backend: spec.backend.clone(), object: ObjectRef { native, uid, size }, after })
    }

    fn native_after(&self, before: &[usize], object: &Object) -> NativeName {
        before.last().map_or_else(|| object.native.clone(), |index| self.steps[*index].native.clone())
    }

    fn tags_after(&self, before: &[usize], object: &Object) -> Tags {
        let last = before.iter().rev().find_map(|index| match &self.steps[*index].action {
            Action::Undelete { tags } | Action::SetTags { tags } | Action::Rename { tags, .. } => Some(tags.clone()),
            _ => None,
        });
        last.unwrap_or_else(|| Tags { expires: None, ..object.tags.clone() })
    }

    fn hold_unsupported_fields(&mut self, spec: &VolumeSpec, about: &About<'_>) -> Option<()> {
        let capabilities = self.good(&spec.backend)?.capabilities;
        let missing = [
            (spec.qos.is_some() && !capabilities.qos, "limit rates (`qos`)"),
            (spec.encrypted && !capabilities.encryption, "encrypt (`encryption`)"),
        ];
        let what = missing.into_iter().find_map(|(missing, what)| missing.then_some(what));
        match what {
            None => Some(()),
            Some(what) => {
                let message = format!("the backend {} cannot {what}", spec.backend);
                self.hold(about, HeldReason::Unsupported, message, "leave the field out, or choose another backend");
                None
            }
        }
    }

    /// Tags of an object that is there, brought to what its document says.
    fn retag(
        &mut self,
        about: &About<'a>,
        wanted: &Wanted<'_>,
        object: &Object,
        native: &NativeName,
        now: &Tags,
        after: &mut Vec<usize>,
    ) {
        let mut tags = wanted_tags(wanted, now);
        tags.retained = false;
        if now.protected && !tags.protected && self.inputs.specs.broken {
            let message = "a manifest has a problem, so nothing is unprotected".to_owned();
            self.hold(about, HeldReason::SourceBroken, message, "mend the manifests: `kiln check`");
            tags.protected = true;
        }
        if tags == *now {
            return;
        }
        let reason = if now.retained { Reason::WasRetained } else { Reason::TagsDiffer };
        let Some(identity) = self.identity_of(about, object) else { return };
        let step = Step {
            backend: self.backend_of(about),
            identity,
            native: native.clone(),
            changes: tag_changes(now, &tags),
            action: Action::SetTags { tags },
            expect: Expect { place: Some(Place::Live), size: None, tags: Some(now.clone()), idle: false },
            risk: Risk::None,
            reason,
            bytes: Size(0),
            after: after.clone(),
        };
        let index = self.step(step);
        after.push(index);
    }

    /// Grows a volume, or holds it where that cannot be; the size that it will have.
    fn grow(
        &mut self,
        spec: &'a VolumeSpec,
        about: &About<'a>,
        object: &Object,
        native: &NativeName,
        after: &mut Vec<usize>,
    ) -> Size {
        let Some(granularity) = self.good(&spec.backend).map(|good| good.capabilities.granularity) else {
            return object.size;
        };
        let to = spec.size.round_up(granularity);
        if to < object.size {
            let message =
                format!("it is {} and is declared as {}; volumes only grow", exact(object.size), exact(spec.size));
            let unblock = format!("declare `size: {}`, or make a smaller volume and copy", object.size.bytes());
            self.hold(about, HeldReason::ShrinkRefused, message, unblock);
            return object.size;
        }
        // What was made elsewhere and adopted may have a size between two multiples: that is no reason to grow it.
        if spec.size <= object.size {
            return object.size;
        }
        let more = Size(to.bytes() - object.size.bytes());
        let thick = object.tags.provisioning == Some(Provisioning::Thick);
        if !self.fits(&spec.backend, about, to, more, thick) {
            return object.size;
        }
        let Some(identity) = self.identity_of(about, object) else { return object.size };
        let step = Step {
            backend: spec.backend.clone(),
            identity,
            native: native.clone(),
            action: Action::Grow { to },
            expect: Expect { place: Some(Place::Live), size: Some(object.size), tags: None, idle: false },
            risk: Risk::None,
            reason: Reason::Grown,
            changes: vec![change("size", json!(object.size), json!(to))],
            bytes: Size(0),
            after: after.clone(),
        };
        let index = self.step(step);
        after.push(index);
        to
    }

    /// Whether there is room; holds the object if not, and counts it if so.
    fn fits(&mut self, backend: &'a Name, about: &About<'_>, size: Size, more: Size, thick: bool) -> bool {
        let Some(good) = self.good(backend) else { return false };
        let (spec, capabilities, capacity) = (good.spec, good.capabilities, good.observed.capacity);
        if size.bytes() > capabilities.max_size {
            let message =
                format!("{size} is more than the backend can hold in one object ({})", Size(capabilities.max_size));
            self.hold(about, HeldReason::Unsupported, message, "declare a smaller size");
            return false;
        }
        let provisioned = self.provisioned.get(backend).copied().unwrap_or(0).saturating_add(more.bytes());
        let full = capacity.and_then(|capacity| {
            let fill = spec.max_fill.of(capacity.total);
            let used = capacity.used.saturating_add(if thick { more.bytes() } else { 0 });
            let limit = spec.overcommit.map(|share| share.of(capacity.total));
            if used > fill {
                Some(format!(
                    "{} of {} would be used, and `maxFill` is {}",
                    Size(used),
                    Size(capacity.total),
                    spec.max_fill
                ))
            } else if limit.is_some_and(|limit| provisioned > limit) {
                let share = spec.overcommit.unwrap_or(spec.max_fill);
                Some(format!(
                    "{} would be provisioned of a capacity of {}, and `overcommit` is {share}",
                    Size(provisioned),
                    Size(capacity.total)
                ))
            } else {
                None
            }
        });
        if let Some(message) = full {
            self.hold(about, HeldReason::PoolFull, message, "make room, or raise the limit of the Backend");
            return false;
        }
        self.provisioned.insert(backend, provisioned);
        true
    }

    /// A new volume.
    fn create(&mut self, spec: &'a VolumeSpec, about: &About<'a>) -> Option<Ready> {
        self.hold_unsupported_fields(spec, about)?;
        let capabilities = self.good(&spec.backend)?.capabilities;
        let provisioning =
            spec.provisioning.unwrap_or(if capabilities.thin { Provisioning::Thin } else { Provisioning::Thick });
        let can = match provisioning {
            Provisioning::Thin => capabilities.thin,
            Provisioning::Thick => capabilities.thick,
        };
        if !can {
            let message = format!("the backend {} cannot make {} volumes", spec.backend, word(provisioning));
            self.hold(about, HeldReason::Unsupported, message, "leave `provisioning` out");
            return None;
        }
        let size = spec.size.round_up(capabilities.granularity);
        let (origin, after) = self.origin(spec, about, size)?;
        let (identity, n) = self.new_identity(Kind::Volume, &spec.meta.name, &spec.backend)?;
        let about = About { uid: Some(identity.uid), ..*about };
        let native = match &spec.object {
            None => identity.native(),
            Some(name) => self.own_name(spec, &about, name)?,
        };
        self.hold_if_in_the_way(&about, &spec.backend, &native)?;
        if !self.fits(&spec.backend, &about, size, size, provisioning == Provisioning::Thick) {
            return None;
        }
        let defaults = &self.inputs.specs.stack.defaults;
        let mut tags = wanted_tags(
            &Wanted {
                meta: &spec.meta,
                protected: spec.protected.or(defaults.protected),
                on_remove: spec.on_remove.or(defaults.on_remove),
            },
            &Tags::default(),
        );
        tags.provisioning = (provisioning == Provisioning::Thick).then_some(provisioning);
        tags.identity = (native != identity.native()).then(|| identity.clone());
        // A restore that is asked for before there is anything to bring back has nothing to do: it counts as done.
        tags.restored = spec.restore.as_ref().map(|restore| restore.request.clone());
        let mut changes = vec![change("size", Value::Null, json!(size))];
        if let Some(source) = &spec.source {
            let (path, name) = match source {
                SourceSpec::Snapshot(name) => ("source.snapshot", name.as_str()),
                SourceSpec::Volume(name) => ("source.volume", name.as_str()),
                SourceSpec::Image { .. } => ("source.image", "image"),
            };
            changes.push(change(path, Value::Null, json!(name)));
        }
        if provisioning == Provisioning::Thick {
            changes.push(change("provisioning", Value::Null, json!(provisioning)));
        }
        changes.extend(tag_changes(&Tags::default(), &tags));
        let uid = identity.uid;
        let index = self.step(Step {
            backend: spec.backend.clone(),
            identity,
            native: native.clone(),
            action: Action::Create { size, provisioning, origin, tags, n },
            expect: Expect::default(),
            risk: Risk::None,
            reason: Reason::NotThere,
            changes,
            bytes: Size(0),
            after,
        });
        let object = ObjectRef { native, uid, size };
        Some(Ready::Here { backend: spec.backend.clone(), object, after: vec![index] })
    }

    /// Where a new volume's content comes from, and the steps to wait for.
    fn origin(&mut self, spec: &'a VolumeSpec, about: &About<'a>, size: Size) -> Option<(Option<Origin>, Vec<usize>)> {
        let Some(source) = &spec.source else { return Some((None, Vec::new())) };
        let (kind, name) = match source {
            SourceSpec::Snapshot(name) => (Kind::Snapshot, name),
            SourceSpec::Volume(name) => (Kind::Volume, name),
            SourceSpec::Image { .. } => {
                let message = "volumes from images are not built yet".to_owned();
                self.hold(about, HeldReason::Unsupported, message, "leave `source` out");
                return None;
            }
        };
        let what = format!("{} {name}", kind.as_lower());
        let ready = match kind {
            Kind::Snapshot => self.snapshot(name),
            _ => self.volume(name),
        };
        let ready = match ready {
            Ready::Missing => self.undeclared(kind, name),
            ready => ready,
        };
        let (backend, object, after) = match ready {
            Ready::Here { backend, object, after } => (backend, object, after),
            Ready::Held => {
                let message = format!("it is to be made from {what}, which is held");
                self.hold(about, HeldReason::DependencyHeld, message, format!("see what holds {what}"));
                return None;
            }
            Ready::Missing => {
                let message = format!("it is to be made from {what}, which is neither declared nor there");
                self.hold(
                    about,
                    HeldReason::SourceMissing,
                    message,
                    "declare it, or leave `source` out for an empty volume",
                );
                return None;
            }
            Ready::Circle => {
                let message = format!("it is to be made from {what}, which is to be made from it");
                self.hold(about, HeldReason::SourceMissing, message, "break the circle of sources");
                return None;
            }
        };
        if backend != spec.backend {
            let message = format!("{what} is on the backend {backend}; copying between backends is not built yet");
            self.hold(about, HeldReason::Unsupported, message, format!("declare `backend: {backend}`"));
            return None;
        }
        if kind == Kind::Volume && !self.good(&backend)?.capabilities.clone_volume {
            let message = format!("the backend {backend} clones snapshots only");
            self.hold(
                about,
                HeldReason::Unsupported,
                message,
                "declare a Snapshot of the volume, and that as the source",
            );
            return None;
        }
        if size < object.size {
            let message = format!("it is declared as {}, and {what} has {}", exact(spec.size), exact(object.size));
            let unblock = format!("declare at least `size: {}`", object.size.bytes());
            self.hold(about, HeldReason::SizeBelowSource, message, unblock);
            return None;
        }
        if kind == Kind::Volume {
            self.hold_if_torn(about, &backend, &object)?;
        }
        let origin = match kind {
            Kind::Snapshot => Origin::Snapshot(object),
            _ => Origin::Volume(object),
        };
        Some((Some(origin), after))
    }

    /// An object that no document declares, and that is ours and there.
    fn undeclared(&self, kind: Kind, name: &'a Name) -> Ready {
        match self.found(kind, name, Place::Live).as_slice() {
            [(backend, object)] if object.conflict.is_none() => match object.uid() {
                Some(uid) => Ready::Here {
                    backend: (*backend).clone(),
                    object: ObjectRef { native: object.native.clone(), uid, size: object.size },
                    after: Vec::new(),
                },
                None => Ready::Missing,
            },
            _ => Ready::Missing,
        }
    }

    /// Holds what would copy from a volume that somebody is writing to, where such a copy would be torn.
    fn hold_if_torn(&mut self, about: &About<'_>, backend: &Name, volume: &ObjectRef) -> Option<()> {
        let good = self.good(backend)?;
        if good.capabilities.snapshot_while_open {
            return Some(());
        }
        let (_, object) = self.by_uid.get(&volume.uid)?;
        self.hold_if_open(about, object, "a copy of it would be torn")
    }

    /// Holds an object that somebody is known to have open.
    pub(super) fn hold_if_open(&mut self, about: &About<'_>, object: &Object, why: &str) -> Option<()> {
        match &object.clients {
            crate::model::Clients::Some(who) => {
                let message = format!("{} is open by {}: {why}", object.native, who.join(", "));
                self.hold(about, HeldReason::InUse, message, "close it there, then run again");
                None
            }
            _ => Some(()),
        }
    }

    fn new_identity(&mut self, kind: Kind, name: &Name, backend: &'a Name) -> Option<(Identity, u32)> {
        let stack = &self.inputs.specs.stack;
        let ledger: Option<&Ledger> = self.good(backend)?.ledger;
        let first = ledger.and_then(|l| l.next.get(&Ledger::next_key(kind, name))).copied().unwrap_or(0);
        let known = |uid: &Uid| {
            self.by_uid.contains_key(uid)
                || self.given.contains(uid)
                || ledger.is_some_and(|l| l.whole.contains_key(uid) || l.tombstones.contains_key(uid))
        };
        let (uid, n) = (first..)
            .map(|n| (Uid::derive(&stack.id, &stack.owner, kind, backend, name, n), n))
            .find(|(uid, _)| !known(uid))?;
        self.given.insert(uid);
        Some((Identity { owner: stack.owner.clone(), kind, name: name.clone(), uid }, n))
    }

    fn own_name(&mut self, spec: &VolumeSpec, about: &About<'_>, name: &str) -> Option<NativeName> {
        let capabilities = self.good(&spec.backend)?.capabilities;
        if !capabilities.own_names {
            let message = format!("the backend {} gives names of its own", spec.backend);
            self.hold(about, HeldReason::Unsupported, message, "leave `object` out");
            return None;
        }
        if name.len() > capabilities.max_name {
            let message = format!("`object` has {} bytes; the backend allows {}", name.len(), capabilities.max_name);
            self.hold(about, HeldReason::NameTooLong, message, "choose a shorter name");
            return None;
        }
        Some(NativeName::new(name))
    }

    /// Holds an object whose native name is taken by something that is not ours, or is given twice.
    fn hold_if_in_the_way(&mut self, about: &About<'_>, backend: &'a Name, native: &NativeName) -> Option<()> {
        let objects = &self.good(backend)?.observed.objects;
        let taken = objects.iter().find(|o| o.native == *native && o.place != Place::Temporary);
        if let Some(object) = taken {
            let whose = match &object.identity {
                None => "nobody's that Kiln knows".to_owned(),
                Some(id) => format!("{} {} of {}", id.kind.as_lower(), id.name, id.owner),
            };
            let message = format!("{native} is already there, and is {whose}");
            let unblock = format!("write `adopt: {{name: {native}}}` to take it over, or choose another name");
            self.hold(about, HeldReason::Foreign, message, unblock);
            return None;
        }
        if !self.named.insert((backend, native.clone())) {
            let message = format!("two documents ask for the native name {native}");
            self.hold(about, HeldReason::Ambiguous, message, "give each its own");
            return None;
        }
        Some(())
    }

    /// Takes over an object that nobody owns.
    fn adopt(&mut self, spec: &'a VolumeSpec, about: &About<'a>, native: &NativeName) -> Option<Ready> {
        let about = About { action: Verb::Adopt, ..*about };
        self.hold_unsupported_fields(spec, &about)?;
        let good = self.good(&spec.backend)?;
        if !good.capabilities.adopt {
            let message = format!("the backend {} cannot take objects over", spec.backend);
            self.hold(&about, HeldReason::Unsupported, message, "leave `adopt` out");
            return None;
        }
        let objects: &'a [Object] = &good.observed.objects;
        let Some(object) = objects.iter().find(|o| o.native == *native && o.place == Place::Live) else {
            let message =
                format!("{native} was never seen on {}; an empty volume is not what was asked for", spec.backend);
            self.hold(
                &about,
                HeldReason::AdoptMissing,
                message,
                "correct the name, or leave `adopt` out for a new volume",
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
        if !self.named.insert((&spec.backend, native.clone())) {
            let message = format!("two documents adopt {native}");
            self.hold(&about, HeldReason::Ambiguous, message, "only one can have it");
            return None;
        }
        let (identity, n) = self.new_identity(Kind::Volume, &spec.meta.name, &spec.backend)?;
        let about = About { uid: Some(identity.uid), ..about };
        let mut tags = wanted_tags(
            // What was taken over is only let go when its manifest goes, unless the document says otherwise.
            &Wanted { on_remove: spec.on_remove.or(Some(OnRemove::Retain)), ..self.wanted_volume(spec) },
            &Tags::default(),
        );
        tags.protected |= spec.protected.is_none() && self.inputs.specs.stack.defaults.protected == Some(true);
        tags.identity = Some(identity.clone());
        tags.adopted = true;
        tags.restored = spec.restore.as_ref().map(|restore| restore.request.clone());
        let mut changes = vec![change("adopt.name", Value::Null, json!(native))];
        changes.extend(tag_changes(&Tags::default(), &tags));
        let uid = identity.uid;
        let index = self.step(Step {
            backend: spec.backend.clone(),
            identity,
            native: native.clone(),
            action: Action::Adopt { tags, n },
            expect: Expect {
                place: Some(Place::Live),
                size: Some(object.size),
                tags: Some(Tags::default()),
                idle: false,
            },
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

    fn undeleted_tags(&self, wanted: &Wanted<'_>, object: &Object) -> Tags {
        let mut tags = wanted_tags(wanted, &object.tags);
        tags.retained = false;
        tags
    }

    fn undelete(&mut self, about: &About<'_>, object: &Object, tags: Tags, after: Vec<usize>) -> Option<usize> {
        let identity = object.identity.clone()?;
        let now = Tags { expires: None, ..object.tags.clone() };
        let step = Step {
            backend: self.backend_of(about),
            identity,
            native: object.native.clone(),
            changes: tag_changes(&now, &tags),
            action: Action::Undelete { tags },
            expect: Expect { place: Some(Place::Trash), size: Some(object.size), tags: Some(now), idle: false },
            risk: Risk::None,
            reason: Reason::InTrash,
            bytes: Size(0),
            after,
        };
        Some(self.step(step))
    }

    fn rename(&mut self, about: &About<'a>, object: &'a Object) -> Option<usize> {
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
        let tags = Tags { identity: own_name.then(|| identity.clone()), ..now.clone() };
        if native != object.native {
            self.hold_if_in_the_way(about, backend, &native)?;
        }
        Some(self.step(Step {
            backend: backend.clone(),
            changes: vec![change("metadata.name", json!(old.name), json!(identity.name))],
            identity,
            native,
            action: Action::Rename { from: object.native.clone(), tags },
            expect: Expect { place: Some(Place::Live), size: Some(object.size), tags: Some(now), idle: false },
            risk: Risk::None,
            reason: Reason::RenamedFrom,
            bytes: Size(0),
            after: Vec::new(),
        }))
    }

    fn backend_of(&self, about: &About<'_>) -> Name {
        about.backend.cloned().unwrap_or_else(|| about.name.clone())
    }

    /// The identity that an object has under the document's name.
    fn identity_of(&self, about: &About<'_>, object: &Object) -> Option<Identity> {
        let identity = object.identity.clone()?;
        Some(Identity { name: about.name.clone(), ..identity })
    }

    /// Plans a declared snapshot, once; what others may count on.
    pub(super) fn snapshot(&mut self, name: &'a Name) -> Ready {
        let key = (Kind::Snapshot, name);
        if let Some(ready) = self.ready.get(&key) {
            return ready.clone();
        }
        if !self.inputs.specs.snapshots.contains_key(name) {
            return Ready::Missing;
        }
        self.ready.insert(key, Ready::Circle);
        let ready = self.snapshot_unless_held(name).unwrap_or(Ready::Held);
        self.ready.insert(key, ready.clone());
        ready
    }

    fn snapshot_unless_held(&mut self, name: &'a Name) -> Option<Ready> {
        let specs = self.inputs.specs;
        let spec = specs.snapshots.get(name)?;
        let backend = &specs.volumes.get(&spec.volume)?.backend;
        let wanted = Wanted { meta: &spec.meta, protected: spec.protected, on_remove: spec.on_remove };
        let located = self.locate(Kind::Snapshot, name, backend, spec.meta.renamed_from.as_ref());
        let about = About { kind: Kind::Snapshot, name, backend: Some(backend), uid: None, action: Verb::Create };
        let (object, before) = match located {
            Located::Held => return None,
            Located::Absent if spec.adopt.is_some() => {
                let about = About { action: Verb::Adopt, ..about };
                let message = "taking over snapshots is not built yet".to_owned();
                self.hold(&about, HeldReason::Unsupported, message, "leave `adopt` out for a new snapshot");
                return None;
            }
            Located::Absent => return self.take_snapshot(&spec.volume, &about, &wanted),
            Located::Live(object) => (object, Vec::new()),
            Located::Trashed(object) => {
                let about = About { uid: object.uid(), action: Verb::Adopt, ..about };
                let tags = self.undeleted_tags(&wanted, object);
                // A volume comes back before its snapshots: on some backends they are inside of it.
                let Ready::Here { after, .. } = self.volume(&spec.volume) else {
                    let message = format!("its volume {} is held", spec.volume);
                    self.hold(
                        &about,
                        HeldReason::DependencyHeld,
                        message,
                        format!("see what holds volume {}", spec.volume),
                    );
                    return None;
                };
                (object, vec![self.undelete(&about, object, tags, after)?])
            }
            Located::OldName(object) => {
                let about = About { uid: object.uid(), action: Verb::Move, ..about };
                (object, vec![self.rename(&about, object)?])
            }
        };
        let about = About { uid: object.uid(), action: Verb::Update, ..about };
        if let Ready::Here { object: volume, .. } = self.volume(&spec.volume)
            && object.tags.volume != Some(volume.uid)
        {
            let message = format!("`volume` cannot change: the snapshot is of another volume than {}", spec.volume);
            self.hold(&about, HeldReason::Immutable, message, "give the new snapshot another name");
        }
        let native = self.native_after(&before, object);
        let mut after = before;
        let now = self.tags_after(&after, object);
        self.retag(&about, &wanted, object, &native, &now, &mut after);
        Some(Ready::Here {
            backend: backend.clone(),
            object: ObjectRef { native, uid: object.uid()?, size: object.size },
            after,
        })
    }

    fn take_snapshot(&mut self, volume: &'a Name, about: &About<'a>, wanted: &Wanted<'_>) -> Option<Ready> {
        let backend = about.backend?;
        let (volume_object, after) = match self.volume(volume) {
            Ready::Here { object, after, .. } => (object, after),
            Ready::Circle => {
                let message = format!("it is of volume {volume}, which is to be made from it");
                self.hold(about, HeldReason::SourceMissing, message, "break the circle of sources");
                return None;
            }
            Ready::Held | Ready::Missing => {
                let message = format!("it is of volume {volume}, which is held");
                self.hold(about, HeldReason::DependencyHeld, message, format!("see what holds volume {volume}"));
                return None;
            }
        };
        self.hold_if_torn_or_new(about, backend, &volume_object)?;
        let (identity, n) = self.new_identity(Kind::Snapshot, about.name, backend)?;
        let about = About { uid: Some(identity.uid), ..*about };
        let native = NativeName::of(NativeForm::Snapshot, &identity.owner, &identity.name, identity.uid);
        self.hold_if_in_the_way(&about, backend, &native)?;
        if !self.fits(backend, &about, volume_object.size, Size(0), false) {
            return None;
        }
        let defaults = &self.inputs.specs.stack.defaults;
        let with_defaults = Wanted {
            meta: wanted.meta,
            protected: wanted.protected.or(defaults.protected),
            on_remove: wanted.on_remove.or(defaults.on_remove),
        };
        let mut tags = wanted_tags(&with_defaults, &Tags::default());
        tags.volume = Some(volume_object.uid);
        let uid = identity.uid;
        let mut changes =
            vec![change("volume", Value::Null, json!(volume)), change("size", Value::Null, json!(volume_object.size))];
        changes.extend(tag_changes(&Tags::default(), &tags));
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

    fn hold_if_torn_or_new(&mut self, about: &About<'_>, backend: &Name, volume: &ObjectRef) -> Option<()> {
        if self.by_uid.contains_key(&volume.uid) { self.hold_if_torn(about, backend, volume) } else { Some(()) }
    }

    /// Restores, when all snapshots of this plan are drafted: a snapshot that is to be made is made of what the volume holds
    /// before it is brought back.
    pub(super) fn restores(&mut self) {
        for (name, object) in std::mem::take(&mut self.to_restore) {
            self.restore(name, object);
        }
    }

    fn restore(&mut self, name: &'a Name, object: &'a Object) -> Option<()> {
        let spec = self.inputs.specs.volumes.get(name)?;
        let request = spec.restore.as_ref()?;
        let Some(Ready::Here { object: volume, after, .. }) = self.ready.get(&(Kind::Volume, name)).cloned() else {
            return None;
        };
        let about = About {
            kind: Kind::Volume,
            name,
            backend: Some(&spec.backend),
            uid: Some(volume.uid),
            action: Verb::Update,
        };
        if !self.good(&spec.backend)?.capabilities.restore {
            let message = format!("the backend {} cannot bring a volume back to a snapshot", spec.backend);
            self.hold(&about, HeldReason::Unsupported, message, "declare a new volume with the snapshot as its source");
            return None;
        }
        let tags = self.tags_after(&after, object);
        if tags.protected {
            let message = "it is protected, and a restore loses what was written since the snapshot".to_owned();
            self.hold(&about, HeldReason::Protected, message, "write `protected: false` for the time of the restore");
            return None;
        }
        let snapshots = self.found(Kind::Snapshot, &request.snapshot, Place::Live);
        let snapshot = match snapshots.as_slice() {
            [(at, snapshot)] if **at == spec.backend && snapshot.tags.volume == Some(volume.uid) => *snapshot,
            [] => {
                let message = format!("the snapshot {} is not there", request.snapshot);
                self.hold(
                    &about,
                    HeldReason::SourceMissing,
                    message,
                    "correct the snapshot's name, or remove `restore`",
                );
                return None;
            }
            _ => {
                let message = format!("the snapshot {} is not one of this volume", request.snapshot);
                self.hold(
                    &about,
                    HeldReason::SourceMissing,
                    message,
                    "name a snapshot of this volume, or remove `restore`",
                );
                return None;
            }
        };
        self.hold_if_open(&about, object, "a restore would change what its client reads")?;
        let snapshot = ObjectRef { native: snapshot.native.clone(), uid: snapshot.uid()?, size: snapshot.size };
        // After the volume's own steps, and after every snapshot and clone that is to be taken of what it holds now.
        let mut after = after;
        after.extend(self.steps.iter().enumerate().filter(|(_, step)| reads(step, volume.uid)).map(|(index, _)| index));
        let identity = self.identity_of(&about, object)?;
        self.step(Step {
            backend: spec.backend.clone(),
            identity,
            native: volume.native.clone(),
            changes: vec![change("restore.request", json!(tags.restored), json!(request.request))],
            action: Action::Restore { snapshot, request: request.request.clone() },
            expect: Expect { place: Some(Place::Live), size: Some(volume.size), tags: Some(tags), idle: true },
            risk: Risk::Irreversible,
            reason: Reason::RestoreRequested,
            bytes: volume.size,
            after,
        });
        Some(())
    }
}

/// Whether a step copies from the volume of this uid.
fn reads(step: &Step, uid: Uid) -> bool {
    match &step.action {
        Action::Create { origin: Some(origin), .. } => origin.object().uid == uid,
        Action::Snapshot { volume, .. } => volume.uid == uid,
        _ => false,
    }
}

/// The tags that a document asks for on an object that has `now`: as written, else as tagged.
fn wanted_tags(wanted: &Wanted<'_>, now: &Tags) -> Tags {
    let Tags {
        labels: _,
        protected,
        on_remove,
        provisioning,
        retained,
        expires: _,
        identity,
        adopted,
        volume,
        restored,
        restoring,
    } = now.clone();
    let on_remove = match wanted.on_remove {
        // Not stored: none means Trash.
        Some(OnRemove::Trash) => None,
        Some(other) => Some(other),
        None => on_remove,
    };
    Tags {
        labels: wanted.meta.labels.clone(),
        protected: wanted.protected.unwrap_or(protected),
        on_remove,
        provisioning,
        retained,
        expires: None,
        identity,
        adopted,
        volume,
        restored,
        restoring,
    }
}

/// What people see of a change of tags.
fn tag_changes(before: &Tags, after: &Tags) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let keys: std::collections::BTreeSet<&String> = before.labels.keys().chain(after.labels.keys()).collect();
    for key in keys {
        let (old, new) = (before.labels.get(key), after.labels.get(key));
        if old != new {
            changes.push(change(&format!("labels.{key}"), json!(old), json!(new)));
        }
    }
    if before.protected != after.protected {
        changes.push(change("protected", json!(before.protected), json!(after.protected)));
    }
    if before.on_remove() != after.on_remove() {
        changes.push(change("onRemove", json!(before.on_remove()), json!(after.on_remove())));
    }
    if before.retained != after.retained {
        changes.push(change("retained", json!(before.retained), json!(after.retained)));
    }
    changes
}

fn change(path: &str, before: Value, after: Value) -> FieldChange {
    FieldChange { path: path.to_owned(), before, after }
}

fn word(provisioning: Provisioning) -> &'static str {
    match provisioning {
        Provisioning::Thin => "thin",
        Provisioning::Thick => "thick",
    }
}

/// A size for a sentence in which two sizes are compared: never two different sizes that read alike.
fn exact(size: Size) -> String {
    let short = size.to_string();
    if short.parse() == Ok(size) { short } else { format!("{} bytes", size.bytes()) }
}
