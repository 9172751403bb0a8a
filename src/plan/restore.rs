//! Restores: a volume's content brought back to a snapshot's.

use serde_json::json;

use crate::model::{Action, Expect, Kind, Name, Object, ObjectRef, Place, Reason, Risk, Step, Uid, Verb};

use super::plan::{About, Planner, Ready};
use super::types::HeldReason;

use super::tags::{change, exact};

impl<'a> Planner<'a> {
    /// Restores, when all snapshots of this plan are drafted: a snapshot that is to be made is made of what the volume holds
    /// before it is brought back.
    pub(super) fn restores(&mut self) {
        for (name, object) in std::mem::take(&mut self.to_restore) {
            self.restore(name, object);
        }
    }

    pub(super) fn restore(&mut self, name: &'a Name, object: &'a Object) -> Option<()> {
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
        if snapshot.size > volume.size {
            let message = format!("the snapshot has {}, and the volume {}", exact(snapshot.size), exact(volume.size));
            let unblock = format!("declare at least `size: {}`", snapshot.size.bytes());
            self.hold(&about, HeldReason::SizeBelowSource, message, unblock);
            return None;
        }
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
