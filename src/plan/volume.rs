//! Declared volumes: the steps that make them what their documents say.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::json;

use crate::model::{
    Action, Expect, Kind, Name, NativeName, Object, ObjectRef, Place, Provisioning, Reason, Risk, Size, SourceSpec,
    Step, Tags, Verb, VolumeSpec,
};

use super::locate::Located;
use super::plan::{Planner, Ready, Subject};
use super::removal::because;
use super::room::Room;
use super::types::HeldReason;

use super::tags::{DesiredTags, are_desired, change, desired_tags, exact, tag_changes, word};

/// Volumes that may wait for one another to be resolved. Sources are planned before what is made from them, so that only a circle
/// gets deep, and one that is longer need not be followed to its end.
const DEEPEST: usize = 50;

impl<'a> Planner<'a> {
    /// Plans all declared volumes, each after the one that it would be made from.
    pub(super) fn volumes(&mut self) {
        let specs = &*self.inputs.reading.specs;
        let origin = |name: &Name| match specs.volumes.get(name)?.source.as_ref()? {
            SourceSpec::Volume(volume) => Some(volume),
            SourceSpec::Snapshot(snapshot) => specs.snapshots.get(snapshot).map(|snapshot| &snapshot.volume),
            SourceSpec::Image(_) => None,
        };
        let mut begun = HashSet::new();
        for (first, spec) in &specs.volumes {
            if spec.source.is_none() {
                self.volume(first);
                continue;
            }
            let chain = std::iter::successors(Some(first), |name| origin(name));
            let chain: Vec<&Name> = chain.take_while(|name| begun.insert(*name)).collect();
            for name in chain.into_iter().rev() {
                self.volume(name);
            }
        }
    }

    /// Plans a declared volume, once; what others may count on.
    pub(super) fn volume(&mut self, name: &'a Name) -> Ready {
        if let Some(ready) = self.ready(Kind::Volume, name) {
            return ready.clone();
        }
        let Some(spec) = self.inputs.reading.specs.volumes.get(name) else { return Ready::Missing };
        if self.depth == DEEPEST {
            return Ready::Circle;
        }
        self.depth += 1;
        self.set_ready(Kind::Volume, name, Ready::Circle);
        let ready = self.volume_unless_held(spec).unwrap_or(Ready::Held);
        self.depth -= 1;
        self.set_ready(Kind::Volume, name, ready.clone());
        ready
    }

    pub(super) fn volume_unless_held(&mut self, spec: &'a VolumeSpec) -> Option<Ready> {
        let (name, backend) = (&spec.meta.name, &spec.backend);
        let located = self.locate(Kind::Volume, name, backend, spec.meta.renamed_from.as_ref());
        let about = Subject { kind: Kind::Volume, name, backend: Some(backend), uid: None, action: Verb::Create };
        match located {
            Located::Held => None,
            Located::Absent => match &spec.adopt {
                Some(native) => self.adopt(spec, &about, &NativeName::new(native)),
                None => self.create(spec, &about),
            },
            Located::Live(object) => {
                let about = Subject { uid: object.uid(), action: Verb::Update, ..about };
                self.bring_volume_up(spec, &about, object, Vec::new())
            }
            Located::Trashed(object) => {
                let about = Subject { uid: object.uid(), action: Verb::Adopt, ..about };
                let tags = self.declared_tags(&about, &self.wanted_volume(spec), object, &object.tags);
                let back = self.undelete(&about, object, tags, Vec::new())?;
                self.bring_volume_up(spec, &about, object, vec![back])
            }
            Located::OldName { object, instead } => {
                let about = Subject { uid: object.uid(), action: Verb::Move, ..about };
                let mut steps = Vec::new();
                self.rename(&about, object, instead, &mut steps)?;
                self.bring_volume_up(spec, &about, object, steps)
            }
        }
    }

    pub(super) fn wanted_volume(&self, spec: &'a VolumeSpec) -> DesiredTags<'a> {
        DesiredTags { meta: &spec.meta, protected: spec.protected, on_remove: spec.on_remove }
    }

    /// Size, tags and restore of a volume that is there, or comes back by the steps `before`.
    pub(super) fn bring_volume_up(
        &mut self,
        spec: &'a VolumeSpec,
        about: &Subject<'a>,
        object: &'a Object,
        before: Vec<usize>,
    ) -> Option<Ready> {
        self.hold_unsupported_fields(spec, about)?;
        let native = self.native_after(&before, object);
        let mut after = before;
        let tags_now = self.tags_after(&after, object);
        if let Some(object_name) = spec.object.as_deref().filter(|n| *n != native.as_str() && !tags_now.adopted) {
            let message = format!("`object: {object_name}` cannot change: the volume is called {native}");
            let fix = match native.is_reserved() {
                true => "leave `object` out".to_owned(),
                false => format!("write `object: {native}`, or leave it out"),
            };
            self.hold(about, HeldReason::Immutable, message, fix);
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
        let would_grow_back =
            spec.size > object.size && self.remembered(about.backend, object).accepted == Some(spec.size);
        let size = match would_grow_back {
            true => {
                self.to_grow_back.push((&spec.meta.name, object));
                object.size
            }
            false => self.grow(spec, about, object, &native, &mut after),
        };
        let done = |request: &String| self.remembered(about.backend, object).restored.contains(request);
        let asks = |request: &String| tags_now.restored.as_ref() != Some(request) && !done(request);
        if spec.restore.as_ref().is_some_and(|restore| asks(&restore.request)) {
            self.to_restore.push((&spec.meta.name, object));
        }
        let uid = object.uid()?;
        Some(Ready::Here { backend: spec.backend.clone(), object: ObjectRef { native, uid, size }, after })
    }

    pub(super) fn native_after(&self, before: &[usize], object: &Object) -> NativeName {
        before.last().map_or_else(|| object.native.clone(), |index| self.steps[*index].native.clone())
    }

    pub(super) fn tags_after<'o>(&self, before: &[usize], object: &'o Object) -> Cow<'o, Tags> {
        if before.is_empty() && object.tags.expires.is_none() {
            return Cow::Borrowed(&object.tags);
        }
        let last = before.iter().rev().find_map(|index| match &self.steps[*index].action {
            Action::Undelete { tags } | Action::SetTags { tags } | Action::Rename { tags, .. } => Some(tags.clone()),
            _ => None,
        });
        Cow::Owned(last.unwrap_or_else(|| Tags { expires: None, ..object.tags.clone() }))
    }

    pub(super) fn hold_unsupported_fields(&mut self, spec: &VolumeSpec, about: &Subject<'_>) -> Option<()> {
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

    /// The tags that a document asks for on an object that has `now`, as far as they may be had.
    pub(super) fn declared_tags(
        &mut self,
        about: &Subject<'_>,
        wanted: &DesiredTags<'_>,
        object: &Object,
        now: &Tags,
    ) -> Tags {
        // A tag that somebody took away is put back: only a written `false` lifts protection.
        let protected = now.protected || self.remembered(about.backend, object).protected;
        let now = Tags { protected, ..now.clone() };
        let mut tags = Tags { retained: false, ..desired_tags(wanted, &now) };
        if !now.protected || tags.protected {
            return tags;
        }
        if self.inputs.reading.broken {
            let message = "a manifest has a problem, so nothing is unprotected".to_owned();
            self.hold(about, HeldReason::SourceBroken, message, "mend the manifests: `kiln check`");
            tags.protected = true;
        }
        let ledger = about.backend.and_then(|backend| self.good(backend)).and_then(|good| good.ledger);
        if let Some(doubt) = self.inputs.reading.is_other_source(ledger) {
            let (reason, message, fix) = because(&doubt);
            let fix = format!("{fix}; or apply these without `protected: false` first");
            self.hold(about, reason, format!("it is not unprotected: {message}"), fix);
            self.doubted.extend(about.uid);
            tags.protected = true;
        }
        tags
    }

    /// Tags of an object that is there, brought to what its document says.
    pub(super) fn retag(
        &mut self,
        about: &Subject<'a>,
        wanted: &DesiredTags<'_>,
        object: &Object,
        native: &NativeName,
        now: &Tags,
        after: &mut Vec<usize>,
    ) {
        let forgotten = || !now.protected && self.remembered(about.backend, object).protected;
        if are_desired(wanted, now) && !forgotten() {
            return;
        }
        let tags = self.declared_tags(about, wanted, object, now);
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
            expect: Expect {
                place: Some(Place::Live),
                size: None,
                tags: Some(now.clone()),
                idle: false,
                unwritten: false,
            },
            risk: Risk::None,
            reason,
            bytes: Size(0),
            after: after.clone(),
        };
        let index = self.step(step);
        after.push(index);
    }

    /// Growths that would put zeroes where data was. They come after everything that reads or changes the volume, so that nothing waits
    /// for the approval they need.
    pub(super) fn growths_back(&mut self) {
        for (name, object) in std::mem::take(&mut self.to_grow_back) {
            self.grow_back(name, object);
        }
    }

    /// A declared volume that exists: its document, the volume as this plan leaves it, and the steps to wait for.
    pub(super) fn volume_to_update(
        &self,
        name: &'a Name,
    ) -> Option<(&'a VolumeSpec, Subject<'a>, ObjectRef, Vec<usize>)> {
        let spec = self.inputs.reading.specs.volumes.get(name)?;
        let Some(Ready::Here { object, after, .. }) = self.ready(Kind::Volume, name).cloned() else {
            return None;
        };
        let backend = Some(&spec.backend);
        let about = Subject { kind: Kind::Volume, name, backend, uid: Some(object.uid), action: Verb::Update };
        Some((spec, about, object, after))
    }

    fn grow_back(&mut self, name: &'a Name, object: &'a Object) -> Option<()> {
        let (spec, about, volume, mut after) = self.volume_to_update(name)?;
        after.extend(self.readers.get(&volume.uid).into_iter().flatten());
        let before = self.steps.len();
        self.grow(spec, &about, object, &volume.native, &mut after);
        if self.steps.len() > before {
            let (was, now) = (exact(spec.size), exact(object.size));
            let why =
                format!("it was accepted with {now}, and growing it back to {was} would put zeroes where data was");
            self.withheld.insert(before, why);
        }
        Some(())
    }

    /// Grows a volume, or holds it where that cannot be; the size that it will have.
    pub(super) fn grow(
        &mut self,
        spec: &'a VolumeSpec,
        about: &Subject<'a>,
        object: &Object,
        native: &NativeName,
        after: &mut Vec<usize>,
    ) -> Size {
        let Some(capabilities) = self.good(&spec.backend).map(|good| good.capabilities) else { return object.size };
        let to = spec.size.round_up(capabilities.granularity);
        if to < object.size {
            let message =
                format!("it is {} and is declared as {}; volumes only grow", exact(object.size), exact(spec.size));
            let fix = format!("declare `size: {}`, or make a smaller volume and copy", object.size.bytes());
            self.hold(about, HeldReason::ShrinkRefused, message, fix);
            return object.size;
        }
        // What was made elsewhere and adopted may have a size between two multiples: that is no reason to grow it.
        if spec.size <= object.size {
            return object.size;
        }
        let idle = !capabilities.grow_while_open;
        if idle && self.hold_if_open(about, object, "the backend cannot grow it meanwhile").is_none() {
            return object.size;
        }
        let more = Size(to.bytes() - object.size.bytes());
        let thick = object.tags.provisioning == Some(Provisioning::Thick);
        let room = Room { provisioned: more.bytes(), taken: if thick { more.bytes() } else { 0 }, objects: 0 };
        if self.fits(&spec.backend, about, to, room).is_none() {
            return object.size;
        }
        let Some(identity) = self.identity_of(about, object) else { return object.size };
        let step = Step {
            backend: spec.backend.clone(),
            identity,
            native: native.clone(),
            action: Action::Grow { to },
            expect: Expect { place: Some(Place::Live), size: Some(object.size), tags: None, idle, unwritten: false },
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
}
