//! New volumes: where their content comes from, what they are called, whether there is room.

use serde_json::{Value, json};

use crate::model::{
    Action, Expect, Identity, ImageLook, ImageRef, Kind, Ledger, Name, NativeName, Object, ObjectRef, Origin, Place,
    Provisioning, Reason, Risk, Size, SourceSpec, Step, Tags, Uid, Verb, VolumeSpec,
};

use super::plan::{Planner, Ready, Subject};
use super::room::Room;
use super::types::HeldReason;

use super::tags::{DesiredTags, change, desired_tags, exact, first_tags, word};

impl<'a> Planner<'a> {
    /// A new volume.
    pub(super) fn create(&mut self, spec: &'a VolumeSpec, about: &Subject<'a>) -> Option<Ready> {
        if self.hold_not_allowed(about) {
            return None;
        }
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
        let about = Subject { uid: Some(identity.uid), ..*about };
        let native = match &spec.object {
            None => identity.native(),
            Some(name) => self.own_name(spec, &about, name)?,
        };
        let leaving = self.perhaps_leaving(&spec.backend, &native);
        if leaving.is_none() {
            self.hold_if_in_the_way(&about, &spec.backend, &native)?;
        }
        self.hold_if_asked_twice(&about, &spec.backend, &native)?;
        let copied = origin.as_ref().map_or(0, |origin| self.copied(&spec.backend, origin));
        let taken = if provisioning == Provisioning::Thick { size.bytes() } else { copied };
        self.fits(&spec.backend, &about, size, Room { provisioned: size.bytes(), taken, objects: 1 })?;
        self.filled.insert(identity.uid, taken);
        let defaults = &self.inputs.reading.specs.stack.defaults;
        let mut tags = desired_tags(
            &DesiredTags {
                meta: &spec.meta,
                protected: spec.protected.or(defaults.protected),
                on_remove: spec.on_remove.or(defaults.on_remove),
            },
            &Tags::default(),
        );
        tags.provisioning = (provisioning == Provisioning::Thick).then_some(provisioning);
        tags.identity = (native != identity.native()).then(|| Box::new(identity.clone()));
        // A restore that is asked for before there is anything to bring back has nothing to do: it counts as done.
        tags.restored = spec.restore.as_ref().map(|restore| restore.request.clone());
        let mut changes = vec![change("size", Value::Null, json!(size))];
        if let Some(source) = &spec.source {
            let (path, name) = match source {
                SourceSpec::Snapshot(name) => ("source.snapshot", name.to_string()),
                SourceSpec::Volume(name) => ("source.volume", name.to_string()),
                SourceSpec::Image(image) => ("source.image", image.path.display().to_string()),
            };
            changes.push(change(path, Value::Null, json!(name)));
        }
        if provisioning == Provisioning::Thick {
            changes.push(change("provisioning", Value::Null, json!(provisioning)));
        }
        changes.extend(first_tags(&tags));
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
        self.freeing.extend(leaving.map(|object| (index, &spec.backend, object)));
        let object = ObjectRef { native, uid, size };
        Some(Ready::Here { backend: spec.backend.clone(), object, after: vec![index] })
    }

    /// Where a new volume's content comes from, and the steps to wait for.
    pub(super) fn origin(
        &mut self,
        spec: &'a VolumeSpec,
        about: &Subject<'a>,
        size: Size,
    ) -> Option<(Option<Origin>, Vec<usize>)> {
        let Some(source) = &spec.source else { return Some((None, Vec::new())) };
        let (kind, name) = match source {
            SourceSpec::Snapshot(name) => (Kind::Snapshot, name),
            SourceSpec::Volume(name) => (Kind::Volume, name),
            SourceSpec::Image(image) => return Some((Some(self.image(spec, about, size, image)?), Vec::new())),
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
                let fix = format!("see what holds it: `kiln describe {}/{name}`", kind.as_lower());
                self.hold(about, HeldReason::DependencyHeld, message, fix);
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
            Ready::Unclear => {
                let message =
                    format!("it is to be made from {what}, of which there are several, or with doubtful marks");
                self.hold(about, HeldReason::Ambiguous, message, format!("declare {what}, and see what holds it"));
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
            let fix = format!("declare at least `size: {}`", object.size.bytes());
            self.hold(about, HeldReason::SizeBelowSource, message, fix);
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

    /// The image that a new volume's content comes from.
    ///
    /// One that nobody has looked at yet is planned as if it were good: [`super::questions::images`] names it, and after a look one plans
    /// again. So images are looked at only when something is really to be made from them.
    fn image(&mut self, spec: &VolumeSpec, about: &Subject<'_>, size: Size, image: &ImageRef) -> Option<Origin> {
        if !self.good(&spec.backend)?.capabilities.images {
            let message = format!("the backend {} makes no volumes from images", spec.backend);
            self.hold(about, HeldReason::Unsupported, message, "leave `source` out");
            return None;
        }
        let path = image.path.display();
        let seen = match self.inputs.images.get(image) {
            None => None,
            Some(ImageLook::Good { size, .. }) => Some(*size),
            Some(ImageLook::Missing) => {
                let message = format!("it is to be made from the image {path}, and there is no such file");
                let fix = "bring the file there, correct `path`, or leave `source` out for an empty volume";
                self.hold(about, HeldReason::SourceMissing, message, fix);
                return None;
            }
            Some(ImageLook::Refused { why }) => {
                let message = format!("it is to be made from the {} image {path}, and {why}", image.format);
                let fix = "give an image that is whole in itself and of the format that is written; \
                               `qemu-img convert` on a host that trusts it makes one";
                self.hold(about, HeldReason::Unsupported, message, fix);
                return None;
            }
        };
        if let Some(needed) = seen.filter(|needed| size < *needed) {
            let message = format!("it is declared as {}, and the image {path} has {}", exact(spec.size), exact(needed));
            let fix = format!("declare at least `size: {}`", needed.bytes());
            self.hold(about, HeldReason::SizeBelowSource, message, fix);
            return None;
        }
        Some(Origin::Image { image: image.clone(), size: seen })
    }

    /// An object that no document declares, and that is ours and there.
    pub(super) fn undeclared(&mut self, kind: Kind, name: &'a Name) -> Ready {
        match self.found(kind, name, Place::Live).as_slice() {
            [] => Ready::Missing,
            [(backend, object)] if object.conflict.is_none() => {
                let Some(uid) = object.uid() else { return Ready::Missing };
                let about = Subject { kind, name, backend: Some(backend), uid: Some(uid), action: Verb::Remove };
                if self.hold_if_cut(&about, object).is_none() {
                    self.claim_all(kind, name);
                    return Ready::Held;
                }
                Ready::Here {
                    backend: (*backend).clone(),
                    object: ObjectRef { native: object.native.clone(), uid, size: object.size },
                    after: Vec::new(),
                }
            }
            _ => {
                // None of them leaves while it is in doubt which was meant.
                self.claim_all(kind, name);
                Ready::Unclear
            }
        }
    }

    /// Holds what would copy from a volume that somebody is writing to, where such a copy would be torn.
    pub(super) fn hold_if_torn(&mut self, about: &Subject<'_>, backend: &Name, volume: &ObjectRef) -> Option<()> {
        let good = self.good(backend)?;
        if good.capabilities.snapshot_while_open {
            return Some(());
        }
        // What this plan makes is open nowhere.
        let Some((_, object)) = self.by_uid.get(&volume.uid) else { return Some(()) };
        self.hold_if_open(about, object, "a copy of it would be torn")
    }

    /// Holds an object that somebody is known to have open.
    pub(super) fn hold_if_open(&mut self, about: &Subject<'_>, object: &Object, why: &str) -> Option<()> {
        match &object.clients {
            crate::model::Clients::Some(who) => {
                let message = format!("{} is open by {}: {why}", object.native, who.join(", "));
                self.hold(about, HeldReason::InUse, message, "close it there, then run again");
                None
            }
            _ => Some(()),
        }
    }

    pub(super) fn new_identity(&mut self, kind: Kind, name: &Name, backend: &'a Name) -> Option<(Identity, u32)> {
        let stack = &self.inputs.reading.specs.stack;
        let ledger: Option<&Ledger> = self.good(backend)?.ledger;
        let first = ledger.and_then(|l| l.next.get(&Ledger::next_key(kind, name))).copied().unwrap_or(0);
        let known = |uid: &Uid| {
            self.by_uid.contains_key(uid)
                || self.given.contains(uid)
                || ledger.is_some_and(|l| l.complete.contains_key(uid) || l.tombstones.contains_key(uid))
        };
        let (uid, n) = (first..)
            .map(|n| (Uid::derive(&stack.id, &stack.owner, kind, backend, name, n), n))
            .find(|(uid, _)| !known(uid))?;
        self.given.insert(uid);
        Some((Identity { owner: stack.owner.clone(), kind, name: name.clone(), uid }, n))
    }

    pub(super) fn own_name(&mut self, spec: &VolumeSpec, about: &Subject<'_>, name: &str) -> Option<NativeName> {
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

    /// Holds an object for which more than one document writes the native name.
    fn hold_if_asked_twice(&mut self, about: &Subject<'_>, backend: &'a Name, native: &NativeName) -> Option<()> {
        if !self.asked_twice.contains(&(backend, native.as_str())) {
            return Some(());
        }
        let message = format!("several documents ask for the native name {native}");
        self.hold(about, HeldReason::Ambiguous, message, "write it in one of them only");
        None
    }
}
