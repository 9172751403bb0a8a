//! One step on the simulated pool: every check that a backend could make, then the effect, all or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    Action, Address, Capabilities, ClientVisibility, Clients, DriverError, ErrorKind, Growth, Identity, InnerSnapshot,
    Kind, NativeName, Object, ObjectRef, Origin, Outcome, Place, Provisioning, Restoring, Size, Step, Tags,
    TrashAbility, Uid, VolumeSettings, Written,
};

use super::world::{BLOCK, SimEffect, SimKey, SimObject, SimWorld, identity_of, is_snapshot};

type Result<T> = std::result::Result<T, DriverError>;

fn refuse<T>(kind: ErrorKind, message: impl Into<String>) -> Result<T> {
    Err(DriverError::before(kind, message))
}

fn conflict<T>(message: impl Into<String>) -> Result<T> {
    refuse(ErrorKind::Conflict, message)
}

/// Executes a step. An error changes nothing. `half`: leaves a new object under its temporary name, or a restore incomplete, as a crash
/// would.
pub(super) fn apply(world: &mut SimWorld, can: &Capabilities, step: &Step, now: u64, half: bool) -> Result<Outcome> {
    let mut call = SimCall { world, can, step, now };
    can.check(step)?;
    match &step.action {
        Action::Create { size, provisioning, origin, tags, settings, n: _ } => {
            let made = call.volume(*size, *provisioning, origin.as_ref(), (tags, settings))?;
            call.create(made, half)
        }
        Action::Snapshot { volume, tags, n: _ } => {
            let made = call.snapshot(volume, tags)?;
            call.create(made, half)
        }
        Action::Grow { to } => call.grow(*to),
        Action::Restore { snapshot, request } => call.restore(snapshot, request, half),
        Action::SetTags { tags } => call.set_tags(tags),
        Action::Reserve => call.reserve(),
        Action::Configure { settings } => call.configure(settings),
        Action::Rename { from, tags } => call.rename(from, tags),
        Action::Adopt { tags, n: _ } => call.adopt(tags),
        Action::Trash { ttl, with } => call.trash(now.saturating_add(ttl.0), with),
        Action::Undelete { tags, with } => call.undelete(tags, with),
        Action::Destroy => call.destroy(),
        Action::Purge => call.purge(),
        Action::Sweep => call.sweep(),
        Action::Detach => call.detach(),
    }
}

struct SimCall<'a> {
    world: &'a mut SimWorld,
    can: &'a Capabilities,
    step: &'a Step,
    /// In seconds since 1970.
    now: u64,
}

impl SimCall<'_> {
    fn id(&self) -> &Identity {
        &self.step.identity
    }

    /// Where the object is while it is live.
    fn key(&self) -> SimKey {
        SimKey::new(self.step.address(), None)
    }

    /// Where the object is while it is in the trash.
    fn trash_key(&self) -> SimKey {
        SimKey::new(self.step.address(), Some(self.id().uid))
    }

    fn done(&mut self, effect: SimEffect) -> Result<Outcome> {
        self.world.record(self.step.identity.uid, &self.step.native, effect);
        Ok(Outcome::Changed)
    }

    // Checks.

    /// The live object that the step is about, once it is certain that it is the one; `None`: nothing bears its name.
    fn ours(&self) -> Result<Option<Arc<SimObject>>> {
        let Some(object) = self.world.get(&self.key()) else { return Ok(None) };
        match identity_of(&self.step.native, object) {
            (_, Some(why)) => conflict(format!("{}: {why}", self.step.native)),
            (Some(identity), None) if identity == *self.id() => Ok(Some(Arc::clone(object))),
            _ => conflict(format!("{} is another object", self.step.native)),
        }
    }

    fn ours_to_change(&self) -> Result<Arc<SimObject>> {
        match self.ours()? {
            Some(object) => Ok(object),
            None if self.trashed().is_some() => conflict("it is in the trash"),
            None => refuse(ErrorKind::NotFound, format!("{} is not there", self.step.native)),
        }
    }

    fn trashed(&self) -> Option<Arc<SimObject>> {
        self.world.get(&self.trash_key()).cloned()
    }

    /// Compares the object with what the step expects.
    fn expected(&self, place: Place, object: &SimObject) -> Result<()> {
        if let Some(blocker) = &object.blocker {
            return conflict(format!("it is blocked: {}", blocker.message));
        }
        if let Some(volume) = &self.step.parent_volume {
            let place = |trashed| self.world.get(&SimKey::new(Address::flat(volume), trashed));
            let volumes = place(None).into_iter().chain(object.tags.volume.and_then(|uid| place(Some(uid))));
            if let Some(blocker) = volumes.into_iter().find_map(|volume| volume.blocker.as_ref()) {
                return conflict(format!("the volume that it is inside of is blocked: {}", blocker.message));
            }
        }
        let begun = object.tags.restoring.as_deref().filter(|_| place == Place::Live);
        if begun.is_some() && !matches!(self.step.action, Action::Restore { .. }) {
            return conflict("its restore is not complete");
        }
        let mut expect = self.step.expect.clone();
        let mut there = Object {
            id: object.id(),
            tags: object.tags.clone(),
            settings: object.settings.clone(),
            written: if object.content.is_empty() { Written::Never } else { Written::Yes },
            clients: self.clients(&self.step.address(), place),
            ..Object::new(self.step.native.clone(), place, object.size)
        };
        // What the step itself has begun is as it was planned.
        if let Some(begun) = begun.filter(|begun| self.step.action.completes(begun)) {
            there.tags.restoring = None;
            expect.tags.iter_mut().for_each(|tags| tags.restoring = None);
            there.size = begun.size.filter(|before| expect.size == Some(*before)).unwrap_or(there.size);
        }
        expect.check(&there, self.can.client_visibility)
    }

    /// The clients of an object, as far as the backend shows them.
    fn clients(&self, at: &Address, place: Place) -> Clients {
        match self.world.open.get(at).filter(|_| place != Place::Trash) {
            _ if self.can.client_visibility == ClientVisibility::None => Clients::Unknown,
            Some(clients) => Clients::Some(clients.clone()),
            None => Clients::None,
        }
    }

    fn idle(&self, at: &Address, place: Place) -> Result<()> {
        match self.clients(at, place) {
            Clients::Some(clients) => refuse(ErrorKind::Busy, format!("{at} is open: {}", clients.join(", "))),
            Clients::None | Clients::Unknown => Ok(()),
        }
    }

    /// What must hold before an object goes where its clients and clones no longer reach it.
    fn may_leave(&self, object: &SimObject) -> Result<()> {
        if object.tags.protected {
            return conflict("it is protected");
        }
        self.idle(&self.step.address(), Place::Live)?;
        self.no_dependents(object)
    }

    /// What must hold before a volume is destroyed: the snapshots inside of it would go with it.
    fn is_empty(&self, volume: &SimKey) -> Result<()> {
        self.holds_none(volume, |_| true)
    }

    fn holds_none(&self, volume: &SimKey, counts: impl Fn(&SimKey) -> bool) -> Result<()> {
        match self.world.inside(volume).find(|(key, _)| counts(key)) {
            Some((key, _)) => conflict(format!("the snapshot {} is inside of it", key.native)),
            None => Ok(()),
        }
    }

    fn no_dependents(&self, object: &SimObject) -> Result<()> {
        let needing = self.world.dependents(self.id().uid);
        let elsewhere = object.needed_by.iter().map(String::as_str);
        let restoring = self.world.live_objects().filter(|(_, other)| {
            other.tags.restoring.as_ref().is_some_and(|begun| begun.snapshot == Some(self.id().uid))
        });
        let restoring = restoring.map(|(native, _)| native.as_str());
        let names: Vec<_> = needing.iter().map(|key| key.native.as_str()).chain(elsewhere).chain(restoring).collect();
        if names.is_empty() {
            return Ok(());
        }
        conflict(format!("it is needed by {}", names.join(", ")))
    }

    /// A live object that the step reads, with its kind.
    fn source(&self, source: &ObjectRef, kind: Kind) -> Result<Arc<SimObject>> {
        let Some(object) = self.world.get(&SimKey::new(source.address(), None)) else {
            return refuse(ErrorKind::NotFound, format!("the source {} does not exist", source.native));
        };
        match identity_of(&source.native, object) {
            _ if source.id.as_ref().is_some_and(|wanted| object.id().as_ref() != Some(wanted)) => {
                conflict(format!("the source {} was replaced after it was observed", source.native))
            }
            (Some(id), None) if id.uid == source.uid && id.kind == kind && !source.native.is_temporary() => {
                match object.tags.restoring {
                    Some(_) => conflict(format!("the restore of the source {} is not complete", source.native)),
                    None => Ok(Arc::clone(object)),
                }
            }
            _ => conflict(format!("the source {} is another object", source.native)),
        }
    }

    fn room_for(&self, more: u64) -> Result<()> {
        match self.world.capacity {
            Some(capacity) if more > 0 && self.world.used().saturating_add(more) > capacity.bytes() => {
                refuse(ErrorKind::Full, format!("no space for {} more", Size(more)))
            }
            _ => Ok(()),
        }
    }

    /// Tags that would make an object, under a name, another one than the step says.
    fn tags_fit(&self, tags: &Tags) -> Result<()> {
        let said = match tags.identity.as_deref() {
            Some(identity) => identity == self.id(),
            None => self.step.native.is_reserved(),
        };
        if !said || (self.id().kind == Kind::Snapshot && tags.volume.is_none()) {
            return refuse(ErrorKind::Permanent, "the tags are not those of this object");
        }
        Ok(())
    }

    // Creation.

    /// The object that a creation need not create. A backend on which calls cannot be repeated does not know of it.
    fn there_already(&self) -> Result<Option<Arc<SimObject>>> {
        Ok(self.ours()?.filter(|_| self.can.repeatable))
    }

    /// The volume that the step creates. `None` if it already exists.
    fn volume(
        &self,
        size: Size,
        provisioning: Provisioning,
        origin: Option<&Origin>,
        (tags, settings): (&Tags, &VolumeSettings),
    ) -> Result<Option<SimObject>> {
        if let Some(there) = self.there_already()? {
            return match (there.size == size, there.settings == *settings) {
                (true, true) => Ok(None),
                (true, false) => conflict("it exists with other settings"),
                (false, _) => conflict(format!("it exists with a size of {}", there.size)),
            };
        }
        let mut object = SimObject { tags: tags.clone().into(), settings: settings.clone(), ..SimObject::empty(size) };
        object.thick = provisioning == Provisioning::Thick;
        if let Some((kind, from)) = origin.and_then(Origin::object) {
            if kind == Kind::Volume {
                self.is_quiet(from)?;
            }
            let source = self.source(from, kind)?;
            if source.size > size {
                return conflict(format!("its source has {}, which is larger", source.size));
            }
            if source.settings.encrypted && !settings.encrypted {
                return conflict("its source is encrypted");
            }
            object.content = self.copied(from, &source);
            object.parent = self.can.clones_depend().then_some(from.uid);
        } else if origin.is_some() {
            return refuse(ErrorKind::Unsupported, "the simulator cannot hold the data of an image");
        }
        Ok(Some(object))
    }

    /// The snapshot that the step creates. `None` if it already exists.
    fn snapshot(&self, volume: &ObjectRef, tags: &Tags) -> Result<Option<SimObject>> {
        if tags.volume != Some(volume.uid) {
            return refuse(ErrorKind::Permanent, "the tags do not name the volume");
        }
        if self.step.parent_volume.as_ref().is_some_and(|inside| *inside != volume.native) {
            return refuse(ErrorKind::Permanent, "a snapshot is inside of the volume that it is of");
        }
        if let Some(there) = self.there_already()? {
            return match there.tags.volume == tags.volume {
                true => Ok(None),
                false => conflict("it exists as a snapshot of another volume"),
            };
        }
        let source = self.source(volume, Kind::Volume)?;
        self.is_quiet(volume)?;
        let content = self.copied(volume, &source);
        let settings = source.settings.of_snapshot();
        let (tags, created) = (tags.clone().into(), self.now);
        Ok(Some(SimObject { tags, settings, content, created, ..SimObject::empty(source.size) }))
    }

    /// Checks that a volume can be copied although clients may have it open.
    fn is_quiet(&self, volume: &ObjectRef) -> Result<()> {
        if self.can.copies_open_volumes() { Ok(()) } else { self.idle(&volume.address(), Place::Live) }
    }

    /// Returns the content of a copy. One of a volume that a client has open, and cannot be seen to have, lacks what it was writing.
    fn copied(&self, from: &ObjectRef, source: &SimObject) -> Arc<BTreeMap<u64, u64>> {
        let mut content = Arc::clone(&source.content);
        if !self.can.copies_open_volumes() && self.world.open.contains_key(&from.address()) {
            Arc::make_mut(&mut content).pop_last();
        }
        content
    }

    /// Puts the object under its temporary name, in place of what an earlier try left there, and publishes it.
    fn create(&mut self, object: Option<SimObject>, half: bool) -> Result<Outcome> {
        let Some(object) = object else { return Ok(Outcome::Unchanged) };
        let object = self.world.numbered(object);
        self.tags_fit(&object.tags)?;
        if self.trashed().is_some() {
            return conflict("it is in the trash");
        }
        if self.step.expect.place.is_some() {
            return conflict("it is expected to exist, and does not");
        }
        if object.thick {
            self.room_for(object.used())?;
        }
        if let Some(full) = self.world.capacities().iter().find(|capacity| capacity.more_objects() == Some(0)) {
            return refuse(ErrorKind::Full, format!("no room for another object: {:?}", full.resource));
        }
        let temporary = self.id().temporary();
        let left = self.world.get(&SimKey::live(&temporary));
        if let Some(blocker) = left.and_then(|left| left.blocker.as_ref()) {
            return conflict(format!("{temporary} is blocked: {}", blocker.message));
        }
        if half {
            self.world.put(SimKey::live(&temporary), Some(object));
            return self.done(SimEffect::HalfMade);
        }
        self.idle(&Address::flat(&temporary), Place::Temporary)?;
        self.world.put(SimKey::live(&temporary), None);
        if self.ours()?.is_some() {
            let identity = Some(Box::new(self.id().clone()));
            let second = NativeName::new(format!("second-{}", self.world.events.len()));
            let tags = Tags { identity, ..object.tags.into() }.into();
            let object = SimObject { tags, ..object };
            self.world.put(SimKey::live(&second), Some(object));
        } else {
            self.world.put(self.key(), Some(object));
        }
        self.done(SimEffect::Created)
    }

    // Changes.

    fn grow(&mut self, to: Size) -> Result<Outcome> {
        let object = self.ours_to_change()?;
        if self.id().kind != Kind::Volume {
            return conflict("a snapshot cannot be resized");
        }
        if object.size == to {
            return Ok(Outcome::Unchanged);
        }
        self.expected(Place::Live, &object)?;
        if object.size > to {
            return conflict(format!("its size is already {}; Kiln never shrinks an object", object.size));
        }
        if self.can.grow == Growth::Idle {
            self.idle(&self.step.address(), Place::Live)?;
        }
        if object.thick {
            self.room_for(to.bytes() - object.size.bytes())?;
        }
        self.world.change(&self.key(), |object| object.size = to);
        self.done(SimEffect::Grown)
    }

    fn reserve(&mut self) -> Result<Outcome> {
        let object = self.ours_to_change()?;
        if self.id().kind != Kind::Volume {
            return conflict("a snapshot is not thick");
        }
        if object.thick {
            return Ok(Outcome::Unchanged);
        }
        self.expected(Place::Live, &object)?;
        if self.step.expect.idle {
            self.idle(&self.step.address(), Place::Live)?;
        }
        self.room_for(object.size.bytes() - object.used())?;
        self.world.change(&self.key(), |object| object.thick = true);
        self.done(SimEffect::Reserved)
    }

    fn restore(&mut self, snapshot: &ObjectRef, request: &str, half: bool) -> Result<Outcome> {
        let object = self.ours_to_change()?;
        let begun = object.tags.restoring.as_deref();
        if begun.is_none() && object.tags.restored.as_deref() == Some(request) {
            return Ok(Outcome::Unchanged);
        }
        self.expected(Place::Live, &object)?;
        let is_there = |snapshot: Uid| {
            let mut uids =
                self.world.content.objects.iter().filter_map(|(key, object)| identity_of(&key.native, object).0);
            uids.any(|id| id.uid == snapshot)
        };
        let own = begun.is_some_and(|begun| self.step.action.completes(begun));
        if begun.and_then(|begun| begun.snapshot).is_some_and(|snapshot| !own && is_there(snapshot)) {
            return conflict("another restore of it is not complete");
        }
        let source = self.source(snapshot, Kind::Snapshot)?;
        if source.tags.volume != Some(self.id().uid) || self.id().kind != Kind::Volume {
            return conflict(format!("{} is not a snapshot of this volume", snapshot.native));
        }
        let size = begun.and_then(|begun| begun.size).unwrap_or(object.size);
        if source.size > size {
            return conflict("the snapshot is larger than the volume");
        }
        if object.tags.protected && begun.is_none() {
            return conflict("it is protected");
        }
        self.idle(&self.step.address(), Place::Live)?;
        if half {
            // What is beyond the snapshot cannot be read, and is not gone.
            let middle = source.size.bytes() / BLOCK / 2;
            let restored = source.content.iter().filter(|(block, _)| **block < middle);
            let kept = object.content.iter().filter(|(block, _)| **block >= middle);
            let content = Arc::new(restored.chain(kept).map(|(block, stamp)| (*block, *stamp)).collect());
            let restoring = Restoring { request: request.to_owned(), snapshot: Some(snapshot.uid), size: Some(size) };
            self.world.change(&self.key(), |object| {
                object.size = source.size;
                object.content = content;
                object.tags.restoring = Some(Box::new(restoring));
            });
            return self.done(SimEffect::HalfRestored);
        }
        self.world.change(&self.key(), |object| {
            object.size = size;
            object.content = Arc::clone(&source.content);
            object.tags.restored = Some(request.to_owned());
            object.tags.restoring = None;
        });
        self.done(SimEffect::Restored)
    }

    fn set_tags(&mut self, tags: &Tags) -> Result<Outcome> {
        self.tags_fit(tags)?;
        let object = self.ours_to_change()?;
        self.retag(&object, tags, SimEffect::Tagged)
    }

    fn configure(&mut self, settings: &VolumeSettings) -> Result<Outcome> {
        let object = self.ours_to_change()?;
        if object.settings == *settings {
            return Ok(Outcome::Unchanged);
        }
        self.expected(Place::Live, &object)?;
        if self.id().kind != Kind::Volume || object.settings.encrypted != settings.encrypted {
            return conflict("only the limits of a volume can be changed");
        }
        if !self.can.settings.qos_live {
            self.idle(&self.step.address(), Place::Live)?;
        }
        self.world.change(&self.key(), |object| object.settings = settings.clone());
        self.done(SimEffect::Configured)
    }

    fn retag(&mut self, object: &SimObject, tags: &Tags, effect: SimEffect) -> Result<Outcome> {
        if object.tags.lasting() == tags.lasting() {
            return Ok(Outcome::Unchanged);
        }
        self.expected(Place::Live, object)?;
        self.world.change(&self.key(), |object| object.tags = tags.lasting().into());
        self.done(effect)
    }

    fn rename(&mut self, from: &NativeName, tags: &Tags) -> Result<Outcome> {
        self.tags_fit(tags)?;
        let to = &self.step.native;
        let old = SimKey { native: from.clone(), ..self.key() };
        let Some(object) = self.world.get(&old).cloned() else {
            // Without the old name it can only be done already.
            let object = self.ours_to_change()?;
            return match object.tags.lasting() == tags.lasting() {
                true => Ok(Outcome::Unchanged),
                false => conflict(format!("{from} does not exist, and {to} has other tags")),
            };
        };
        match identity_of(from, &object) {
            (_, Some(why)) => return conflict(format!("{from}: {why}")),
            (Some(id), None) if id.uid == self.id().uid && id.kind == self.id().kind && !from.is_temporary() => (),
            _ => return conflict(format!("{from} is another object")),
        }
        if from == to {
            // An object with a name of its own keeps it: who it is stands in its tags.
            return self.retag(&object, tags, SimEffect::Renamed);
        }
        if self.world.get(&self.key()).is_some() {
            return conflict(format!("{to} exists"));
        }
        self.expected(Place::Live, &object)?;
        if self.step.expect.idle {
            self.idle(&old.address(), Place::Live)?;
        }
        self.world.rename(&old, to);
        self.world.change(&self.key(), |object| object.tags = tags.lasting().into());
        self.done(SimEffect::Renamed)
    }

    fn adopt(&mut self, tags: &Tags) -> Result<Outcome> {
        self.tags_fit(tags)?;
        let native = &self.step.native;
        let Some(object) = self.world.get(&self.key()).cloned() else {
            return refuse(ErrorKind::NotFound, format!("{native} does not exist"));
        };
        match identity_of(native, &object) {
            (None, None) if !native.is_reserved() => (),
            (Some(id), None) if id == *self.id() && !native.is_reserved() => (),
            _ => return conflict(format!("{native} belongs to another object")),
        }
        if is_snapshot(&self.key(), &object) != (self.id().kind == Kind::Snapshot) {
            return conflict(format!("{native} is not a {}", self.id().kind.as_lower()));
        }
        let volume = self.step.parent_volume.as_ref().or(object.of_volume.as_deref());
        let volume = volume.and_then(|volume| Some((volume, self.world.get(&SimKey::live(volume))?)));
        let uid = volume.and_then(|(native, volume)| identity_of(native, volume).0).map(|id| id.uid);
        if tags.volume != uid {
            return conflict(format!("{native} is not a snapshot of the volume that the tags name"));
        }
        self.retag(&object, tags, SimEffect::Adopted)
    }

    // Removal, and restoring from the trash.

    fn trash(&mut self, expires: u64, with: &[InnerSnapshot]) -> Result<Outcome> {
        let Some(object) = self.ours()? else { return Ok(Outcome::Unchanged) };
        self.expected(Place::Live, &object)?;
        self.may_leave(&object)?;
        if self.trashed().is_some() {
            return conflict("another object of this identity is in the trash");
        }
        let inside = self.moved_along(&self.key(), None, with)?;
        for (key, inner, _) in &inside {
            self.inner_may_leave(key, inner)?;
        }
        for (key, inner, uid) in inside {
            let mut inner = SimObject::clone(&inner);
            inner.tags.expires = Some(expires);
            self.world.put(key.clone(), None);
            self.world.put(SimKey { trashed: Some(uid), ..key.clone() }, Some(inner));
            self.world.record(uid, &key.native, SimEffect::Trashed);
        }
        let mut object = SimObject::clone(&object);
        object.tags.expires = Some(expires);
        self.world.put(self.key(), None);
        self.world.put(self.trash_key(), Some(object));
        self.done(SimEffect::Trashed)
    }

    /// The snapshots inside of a volume in one place, once it is certain that they are those of the step: with them the whole volume
    /// moves. A backend whose trash takes snapshots by themselves moves none along.
    fn moved_along(
        &self,
        volume: &SimKey,
        trashed: Option<Uid>,
        with: &[InnerSnapshot],
    ) -> Result<Vec<(SimKey, Arc<SimObject>, Uid)>> {
        let inside = self.world.inside(volume).filter(|(key, _)| key.trashed.is_some() == trashed.is_some());
        let inside = inside.map(|(key, object)| (key.clone(), Arc::clone(object))).collect::<Vec<_>>();
        if self.can.trash != TrashAbility::Volumes {
            return match (inside.first().filter(|_| trashed.is_none()), with) {
                (None, []) => Ok(Vec::new()),
                _ => conflict("its trash takes each snapshot by itself"),
            };
        }
        let named = |key: &SimKey, object: &SimObject| {
            let uid = identity_of(&key.native, object).0?.uid;
            with.iter().any(|inner| inner.identity.uid == uid && inner.native == key.native).then_some(uid)
        };
        let found: Vec<_> = inside.into_iter().map(|(key, object)| (named(&key, &object), key, object)).collect();
        if let Some((_, key, _)) = found.iter().find(|(uid, ..)| uid.is_none()) {
            return conflict(format!("the snapshot {} is inside of it, and the step does not name it", key.native));
        }
        if found.len() != with.len() {
            return conflict("a snapshot that the step names is not inside of it");
        }
        Ok(found.into_iter().filter_map(|(uid, key, object)| Some((key, object, uid?))).collect())
    }

    fn inner_may_leave(&self, key: &SimKey, inner: &SimObject) -> Result<()> {
        if inner.tags.protected {
            return conflict(format!("the snapshot {} inside of it is protected", key.native));
        }
        if let Some(blocker) = &inner.blocker {
            return conflict(format!("the snapshot {} inside of it is blocked: {}", key.native, blocker.message));
        }
        self.idle(&key.address(), Place::Live)?;
        let uid = identity_of(&key.native, inner).0.map(|id| id.uid);
        match uid.is_some_and(|uid| !self.world.dependents(uid).is_empty()) || !inner.needed_by.is_empty() {
            true => conflict(format!("the snapshot {} inside of it has clones", key.native)),
            false => Ok(()),
        }
    }

    fn undelete(&mut self, tags: &Tags, with: &[InnerSnapshot]) -> Result<Outcome> {
        self.tags_fit(tags)?;
        let live = self.ours()?;
        let Some(object) = self.trashed() else {
            return match live {
                Some(_) => Ok(Outcome::Unchanged),
                None => refuse(ErrorKind::NotFound, format!("{} is not in the trash", self.step.native)),
            };
        };
        if live.is_some() {
            return conflict("it is both live and in the trash");
        }
        self.expected(Place::Trash, &object)?;
        if let Some(volume) = &self.step.parent_volume
            && self.world.get(&SimKey::live(volume)).is_none()
        {
            return conflict(format!("its volume {volume} is not live"));
        }
        let inside = match self.id().kind == Kind::Volume {
            true => self.moved_along(&self.trash_key(), Some(self.id().uid), with)?,
            false => Vec::new(),
        };
        for (key, inner, uid) in inside {
            let released = with.iter().any(|one| one.identity.uid == uid && one.released);
            let tags = Tags { retained: released, ..inner.tags.lasting() }.into();
            self.world.put(key.clone(), None);
            self.world
                .put(SimKey { trashed: None, ..key.clone() }, Some(SimObject { tags, ..SimObject::clone(&inner) }));
            self.world.record(uid, &key.native, SimEffect::Undeleted);
        }
        let object = SimObject { tags: tags.lasting().into(), ..SimObject::clone(&object) };
        self.world.put(self.trash_key(), None);
        self.world.put(self.key(), Some(object));
        self.done(SimEffect::Undeleted)
    }

    fn destroy(&mut self) -> Result<Outcome> {
        let Some(object) = self.ours()? else {
            return match self.trashed() {
                Some(_) => conflict("it is in the trash; only a purge destroys it there"),
                None => Ok(Outcome::Unchanged),
            };
        };
        self.expected(Place::Live, &object)?;
        self.may_leave(&object)?;
        self.is_empty(&self.key())?;
        self.world.put(self.key(), None);
        self.done(SimEffect::Destroyed)
    }

    fn purge(&mut self) -> Result<Outcome> {
        let Some(object) = self.trashed() else {
            return match self.ours()? {
                Some(_) => conflict("it is not in the trash"),
                None => Ok(Outcome::Unchanged),
            };
        };
        self.expected(Place::Trash, &object)?;
        self.no_dependents(&object)?;
        self.is_empty(&self.trash_key())?;
        self.world.put(self.trash_key(), None);
        self.done(SimEffect::Destroyed)
    }

    fn sweep(&mut self) -> Result<Outcome> {
        // A temporary name does not say what kind it was to become.
        if self.step.native != self.id().temporary() {
            return conflict(format!("{} is not a temporary name of this object", self.step.native));
        }
        let Some(object) = self.world.get(&self.key()).cloned() else { return Ok(Outcome::Unchanged) };
        self.expected(Place::Temporary, &object)?;
        self.idle(&self.step.address(), Place::Temporary)?;
        self.world.put(self.key(), None);
        self.done(SimEffect::Swept)
    }

    fn detach(&mut self) -> Result<Outcome> {
        let object = self.ours_to_change()?;
        let clones = self.world.dependents(self.id().uid);
        if clones.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        self.expected(Place::Live, &object)?;
        if !object.needed_by.is_empty() {
            return conflict(format!("clones that this backend does not see need it: {}", object.needed_by.join(", ")));
        }
        for clone in clones {
            self.world.change(&clone, |clone| clone.parent = None);
        }
        self.done(SimEffect::Detached)
    }
}
