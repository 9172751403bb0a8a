//! What documents ask for, by kind and name.

use crate::model::{ExportedThing, Kind, Name, SourceSpec, Specs};

/// Whether a document declares an object, names it as what it was called, or cannot do without it (`source`, `restore`, the volume of a
/// snapshot, what is exported): then it must not be destroyed, whatever time has passed.
pub fn is_wanted(specs: &Specs, kind: Kind, name: &Name) -> bool {
    let volumes = || specs.volumes.values();
    let snapshots = || specs.snapshots.values();
    match kind {
        Kind::Volume => {
            specs.volumes.contains_key(name)
                || volumes().any(|volume| {
                    volume.meta.renamed_from.as_ref() == Some(name)
                        || matches!(&volume.source, Some(SourceSpec::Volume(source)) if source == name)
                })
                || snapshots().any(|snapshot| snapshot.volume == *name)
                || specs
                    .exports
                    .values()
                    .any(|export| matches!(&export.what, ExportedThing::Volume(what) if what == name))
        }
        _ => {
            specs.snapshots.contains_key(name)
                || snapshots().any(|snapshot| snapshot.meta.renamed_from.as_ref() == Some(name))
                || volumes().any(|volume| {
                    matches!(&volume.source, Some(SourceSpec::Snapshot(source)) if source == name)
                        || volume.restore.as_ref().is_some_and(|restore| restore.snapshot == *name)
                })
                || specs
                    .exports
                    .values()
                    .any(|export| matches!(&export.what, ExportedThing::Snapshot(what) if what == name))
        }
    }
}
