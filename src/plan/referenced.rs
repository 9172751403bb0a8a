//! What documents ask for, by kind and name.

use std::collections::HashSet;

use crate::model::{ExportedThing, Kind, Name, SourceSpec, Specs};

/// The objects that a document declares, names as what they were called, or cannot do without (`source`, `restore`, the volume of a
/// snapshot, what is exported): they must not be destroyed, whatever time has passed.
pub struct Referenced<'a> {
    volumes: HashSet<&'a Name>,
    snapshots: HashSet<&'a Name>,
}

impl<'a> Referenced<'a> {
    /// All that these documents ask for.
    pub fn of(specs: &'a Specs) -> Self {
        let mut volumes: HashSet<&Name> = specs.volumes.keys().collect();
        let mut snapshots: HashSet<&Name> = specs.snapshots.keys().collect();
        for volume in specs.volumes.values() {
            volumes.extend(&volume.meta.renamed_from);
            snapshots.extend(volume.restore.as_ref().map(|restore| &restore.snapshot));
            match &volume.source {
                Some(SourceSpec::Volume(source)) => drop(volumes.insert(source)),
                Some(SourceSpec::Snapshot(source)) => drop(snapshots.insert(source)),
                Some(SourceSpec::Image(_)) | None => {}
            }
        }
        for snapshot in specs.snapshots.values() {
            snapshots.extend(&snapshot.meta.renamed_from);
            volumes.insert(&snapshot.volume);
        }
        for export in specs.exports.values() {
            match &export.what {
                ExportedThing::Volume(what) => volumes.insert(what),
                ExportedThing::Snapshot(what) => snapshots.insert(what),
            };
        }
        Self { volumes, snapshots }
    }

    /// Whether an object of this kind and name is among them.
    pub fn contains(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Volume => self.volumes.contains(name),
            Kind::Snapshot => self.snapshots.contains(name),
            // None of these lies in a trash; what does is kept.
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => true,
        }
    }
}
