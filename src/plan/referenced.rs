//! The objects that documents refer to, by kind and name.

use std::collections::HashSet;

use crate::model::{ExportedThing, Kind, Name, SourceSpec, Specs};

/// The objects that a document declares, names as `renamedFrom`, or depends on (`source`, `restore`, the volume of a
/// snapshot, what is exported): they are not purged, even if they have expired.
pub struct Referenced<'a> {
    volumes: HashSet<&'a Name>,
    snapshots: HashSet<&'a Name>,
}

impl<'a> Referenced<'a> {
    /// Collects the objects that these documents refer to.
    pub fn of(specs: &'a Specs) -> Self {
        let mut volumes: HashSet<&Name> = specs.volumes.keys().collect();
        let mut snapshots: HashSet<&Name> = specs.snapshots.keys().collect();
        for volume in specs.volumes.values() {
            volumes.extend(&volume.meta.renamed_from);
            snapshots.extend(volume.restore.as_ref().map(|restore| &restore.snapshot));
            match volume.source.as_deref() {
                Some(SourceSpec::Volume(source) | SourceSpec::Quiesced(source)) => drop(volumes.insert(source)),
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

    /// Whether a document refers to an object of this kind and name.
    pub fn contains(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Volume => self.volumes.contains(name),
            Kind::Snapshot => self.snapshots.contains(name),
            // The trash holds no objects of these kinds; one found there is kept.
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => true,
        }
    }
}
