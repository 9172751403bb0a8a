//! What a step needs of a backend, whatever objects are on it.

use super::{
    Action, Capabilities, DriverError, ErrorKind, Growth, Identity, Kind, NativeName, Origin, Provisioning,
    Reservation, Restores, Size, Step, TrashAbility, VolumeSettings,
};

fn need(can: bool, what: &str) -> Result<(), DriverError> {
    if can { Ok(()) } else { refuse(ErrorKind::Unsupported, format!("this backend does not support {what}")) }
}

fn refuse(kind: ErrorKind, message: impl Into<String>) -> Result<(), DriverError> {
    Err(DriverError::before(kind, message))
}

impl Capabilities {
    /// Refuses a step that a backend with these capabilities cannot execute, or that is not addressed to the object of its identity. Every
    /// driver calls this first, before it reads the object.
    ///
    /// # Errors
    /// `Unsupported` for what the capabilities do not contain, `Permanent` for a size, a name or an address that no object can have here,
    /// `Conflict` for the name of another object. No effect.
    pub fn check(&self, step: &Step) -> Result<(), DriverError> {
        let Step { identity, native, action, .. } = step;
        match action {
            Action::Create { size, provisioning, origin, settings, tags: _, n: _ } => {
                match provisioning {
                    Provisioning::Thin => need(self.thin, "thin volumes")?,
                    Provisioning::Thick => need(self.thick, "thick volumes")?,
                }
                let clones = self.clones.as_ref();
                match origin {
                    None => {}
                    Some(Origin::Snapshot(_)) => need(clones.is_some(), "clones")?,
                    Some(Origin::Volume(_)) => need(clones.is_some_and(|can| can.of_volume), "clones of volumes")?,
                    Some(Origin::Image { .. }) => need(self.images, "images")?,
                }
                self.check_settings(settings)?;
                self.check_size(*size)?;
            }
            Action::Snapshot { volume: _, tags: _, n: _ } => need(self.snapshots.is_some(), "snapshots")?,
            Action::Grow { to } => {
                need(self.grow != Growth::No, "growing")?;
                self.check_size(*to)?;
            }
            Action::Restore { snapshot: _, request: _ } => need(self.restore != Restores::No, "restores")?,
            Action::Reserve => need(self.reservation == Reservation::Changeable, "reserving space")?,
            Action::Configure { settings } => self.check_settings(settings)?,
            Action::Rename { from: _, tags: _ } => need(self.rename, "renaming")?,
            Action::Adopt { tags: _, n: _ } => {
                need(if identity.kind == Kind::Volume { self.adopt } else { self.adopts_snapshots() }, "adoption")?;
            }
            Action::Trash { ttl: _, with: _ } => need(self.trash.takes(identity.kind), "such a trash")?,
            // A snapshot in the trash may be inside of a volume that is there.
            Action::Undelete { tags: _, with: _ } | Action::Purge => need(self.trash != TrashAbility::None, "a trash")?,
            Action::Detach => need(self.detaches_clones(), "making clones independent")?,
            Action::SetTags { tags: _ } | Action::Destroy | Action::Sweep => {}
        }
        if matches!(action, Action::Create { .. } | Action::Snapshot { .. }) {
            need(self.names.own || native.is_reserved(), "chosen names")?;
        }
        if action.is_first() || matches!(action, Action::Rename { .. }) {
            self.check_name(native, identity)?;
        }
        self.check_address(step)
    }

    /// Whether objects of Kiln may have other names than those that it gives.
    fn has_other_names(&self) -> bool {
        self.names.own || self.adopt || self.adopts_snapshots()
    }

    fn adopts_snapshots(&self) -> bool {
        self.snapshots.as_ref().is_some_and(|snapshots| snapshots.adopt)
    }

    fn check_settings(&self, settings: &VolumeSettings) -> Result<(), DriverError> {
        let VolumeSettings { qos, encrypted } = settings;
        need(qos.is_none() || self.settings.qos, "limits")?;
        need(!encrypted || self.settings.encryption, "encryption")
    }

    fn check_size(&self, size: Size) -> Result<(), DriverError> {
        let bytes = size.bytes();
        if bytes > 0 && bytes.is_multiple_of(self.granularity) && bytes <= self.max_size {
            return Ok(());
        }
        refuse(ErrorKind::Permanent, format!("{bytes} bytes is not a size of this backend"))
    }

    /// Checks the name that an object gets.
    fn check_name(&self, native: &NativeName, identity: &Identity) -> Result<(), DriverError> {
        if native.as_str().is_empty() {
            return refuse(ErrorKind::Permanent, "the name is empty");
        }
        match self.names.check(native).and_then(|()| self.names.check(&identity.temporary())) {
            Ok(()) => Ok(()),
            Err(fault) => refuse(ErrorKind::Permanent, format!("{native} cannot be a name here: {fault:?}")),
        }
    }

    /// Checks that the step is addressed to an object that can be the one of its identity.
    fn check_address(&self, step: &Step) -> Result<(), DriverError> {
        let Step { identity, native, action, parent_volume, .. } = step;
        let is_sweep = *action == Action::Sweep;
        if native.is_temporary() != is_sweep {
            return refuse(ErrorKind::Conflict, "only a sweep works on a temporary name, and a sweep on nothing else");
        }
        let is_own = match is_sweep {
            // A temporary name does not say of which kind the object was to become, and a driver may append to it.
            true => native.parse().is_some_and(|(_, owner, name, uid)| {
                (&owner, &name, uid) == (&identity.owner, &identity.name, identity.uid)
            }),
            false => *native == identity.native() || (!native.is_reserved() && self.has_other_names()),
        };
        if !is_own {
            return refuse(ErrorKind::Conflict, format!("{native} is not the name of {}", identity.id()));
        }
        let is_nested = self.nests_snapshots() && identity.kind == Kind::Snapshot && !is_sweep;
        if is_nested != parent_volume.is_some() {
            return refuse(ErrorKind::Permanent, format!("{} is no address of this backend", step.address()));
        }
        match self.nests_snapshots() || action.with().is_empty() {
            true => Ok(()),
            false => refuse(ErrorKind::Conflict, "no object of this backend is inside of another"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{identity, name};
    use crate::model::{ObjectRef, Reason, SnapshotAbility, Tags};

    fn step(kind: Kind, action: Action) -> Step {
        Step::new(name("fast"), identity(kind, "db"), action, Reason::NotThere)
    }

    #[test]
    fn a_size_is_a_multiple_of_the_granularity_up_to_the_largest() {
        let can = Capabilities { granularity: 4096, max_size: 1 << 20, ..Capabilities::everything() };
        let answer = |bytes| can.check(&step(Kind::Volume, Action::Grow { to: Size(bytes) })).err().map(|e| e.kind);
        assert_eq!([4096, 1 << 20].map(answer), [None; 2]);
        assert_eq!([0, 1, 4097, (1 << 20) + 4096].map(answer), [Some(ErrorKind::Permanent); 4]);
    }

    #[test]
    fn a_snapshot_has_the_address_that_its_backend_gives() {
        let volume = identity(Kind::Volume, "db");
        let object = ObjectRef::new(volume.native(), volume.uid, Size(4096));
        let snapshot = Action::Snapshot { volume: object, tags: Tags::default(), n: 0 };
        let flat = step(Kind::Snapshot, snapshot);
        let inside = Step { parent_volume: Some(volume.native()), ..flat.clone() };
        for (nested, addresses) in [(false, [&flat, &inside]), (true, [&inside, &flat])] {
            let snapshots = Some(SnapshotAbility { nested, while_open: true, adopt: true });
            let can = Capabilities { snapshots, ..Capabilities::everything() };
            let answers = addresses.map(|step| can.check(step).err().map(|error| error.kind));
            assert_eq!(answers, [None, Some(ErrorKind::Permanent)], "nested: {nested}");
        }
    }
}
