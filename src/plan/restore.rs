//! Restores: a volume's content brought back to a snapshot's.

use serde_json::json;

use crate::model::{Action, Expect, Kind, Name, Object, ObjectRef, Place, Provisioning, Reason, Risk, Step, Uid};

use super::plan::{Planner, Ready, Subject};
use super::room::Room;
use super::tags::{change, exact};
use super::types::HeldReason;

impl<'a> Planner<'a> {
    /// Restores, when all snapshots of this plan are drafted: a snapshot that is to be made is made of what the volume holds
    /// before it is brought back.
    pub(super) fn restores(&mut self) {
        for (name, object) in std::mem::take(&mut self.to_restore) {
            self.restore(name, object);
        }
    }

    pub(super) fn restore(&mut self, name: &'a Name, object: &'a Object) -> Option<()> {
        let (spec, about, volume, mut after) = self.volume_to_update(name)?;
        let request = spec.restore.as_ref()?;
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
        let (snapshot, made) = self.snapshot_to_restore(&about, &request.snapshot, volume.uid)?;
        if snapshot.size > volume.size {
            let message = format!("the snapshot has {}, and the volume {}", exact(snapshot.size), exact(volume.size));
            let fix = match spec.size < snapshot.size {
                true => format!("declare at least `size: {}`", snapshot.size.bytes()),
                false => format!("let the volume grow first: `kiln describe volume/{name}` says what holds that"),
            };
            self.hold(&about, HeldReason::SizeBelowSource, message, fix);
            return None;
        }
        self.hold_if_open(&about, object, "a restore would change what its client reads")?;
        // The new content is made beside the old one, which gives its room back only afterwards.
        let copied = self.copy_of(&spec.backend, &snapshot);
        let thick = tags.provisioning == Some(Provisioning::Thick);
        let taken = if thick && self.copies(&spec.backend) { volume.size.bytes() } else { copied };
        if taken > 0 {
            self.fits(&spec.backend, &about, volume.size, Room { provisioned: 0, taken, objects: 1 })?;
        }
        // After the volume's own steps, and after every snapshot and clone that is to be taken of what it holds now.
        after.extend(made);
        after.extend(self.readers.get(&volume.uid).into_iter().flatten());
        let identity = self.identity_of(&about, object)?;
        let index = self.step(Step {
            backend: spec.backend.clone(),
            identity,
            native: volume.native.clone(),
            changes: vec![change("restore.request", json!(tags.restored), json!(request.request))],
            action: Action::Restore { snapshot, request: request.request.clone() },
            expect: Expect {
                place: Some(Place::Live),
                size: Some(volume.size),
                tags: Some(tags.into_owned()),
                idle: true,
                unwritten: false,
            },
            risk: Risk::Irreversible,
            reason: Reason::RestoreRequested,
            bytes: volume.size,
            after,
        });
        self.readers.entry(volume.uid).or_default().push(index);
        Some(())
    }

    /// The snapshot that a volume is to be brought back to, and the steps after which it is there; or holds the restore.
    fn snapshot_to_restore(
        &mut self,
        about: &Subject<'a>,
        name: &'a Name,
        volume: Uid,
    ) -> Option<(ObjectRef, Vec<usize>)> {
        let ready = match self.snapshot(name) {
            Ready::Missing => self.undeclared(Kind::Snapshot, name),
            ready => ready,
        };
        let Ready::Here { backend, object, after } = ready else {
            let (reason, message, fix) = match ready {
                Ready::Held => (
                    HeldReason::DependencyHeld,
                    format!("it is to be brought back to snapshot {name}, which is held"),
                    format!("see what holds it: `kiln describe snapshot/{name}`"),
                ),
                Ready::Unclear => (
                    HeldReason::Ambiguous,
                    format!("there are several snapshots {name}, or one with doubtful marks"),
                    format!("declare snapshot {name}, and see what holds it"),
                ),
                _ => (
                    HeldReason::SourceMissing,
                    format!("the snapshot {name} is not there"),
                    "correct the snapshot's name, or remove `restore`".to_owned(),
                ),
            };
            self.hold(about, reason, message, fix);
            return None;
        };
        let of_it = match self.by_uid.get(&object.uid) {
            Some((_, seen)) => seen.tags.volume == Some(volume),
            // It is made by this plan.
            None => {
                self.inputs.reading.specs.snapshots.get(name).is_some_and(|snapshot| snapshot.volume == *about.name)
            }
        };
        if !of_it || Some(&backend) != about.backend {
            let message = format!("the snapshot {name} is not one of this volume");
            self.hold(about, HeldReason::SourceMissing, message, "name a snapshot of this volume, or remove `restore`");
            return None;
        }
        Some((object, after))
    }
}
