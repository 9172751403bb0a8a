//! The specs: what manifests declare, with every value checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ApprovalSpec, BackendSpec, DeclaredSize, Endpoint, ExportSpec, Kind, Meta, Name, SnapshotSpec, Stack, TargetSpec,
    VolumeSpec,
};

/// Sizes as documents write them, by the name of the volume and the path of the field: see [`Specs::written_sizes`].
pub type WrittenSizes = BTreeMap<Name, BTreeMap<String, String>>;

/// Everything that one set of manifests declares. Specs that declare the same are equal, wherever in the files it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specs {
    /// The Stack, or [`Stack::unnamed`].
    pub stack: Stack,
    /// Backends, by name, like all fields below.
    pub backends: BTreeMap<Name, BackendSpec>,
    /// Volumes.
    pub volumes: BTreeMap<Name, VolumeSpec>,
    /// Snapshots.
    pub snapshots: BTreeMap<Name, SnapshotSpec>,
    /// Targets.
    pub targets: BTreeMap<Name, TargetSpec>,
    /// Exports.
    pub exports: BTreeMap<Name, ExportSpec>,
    /// Approvals.
    pub approvals: BTreeMap<Name, ApprovalSpec>,
}

impl Specs {
    /// Returns specs that declare only a Stack.
    pub fn of(stack: Stack) -> Self {
        Self {
            stack,
            backends: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            targets: BTreeMap::new(),
            exports: BTreeMap::new(),
            approvals: BTreeMap::new(),
        }
    }

    /// Returns the `metadata` of a document. `None` for the Stack, whose name is the owner.
    pub fn document(&self, kind: Kind, name: &Name) -> Option<&Meta> {
        match kind {
            Kind::Stack => None,
            Kind::Backend => self.backends.get(name).map(|spec| &spec.meta),
            Kind::Volume => self.volumes.get(name).map(|spec| &spec.meta),
            Kind::Snapshot => self.snapshots.get(name).map(|spec| &spec.meta),
            Kind::Target => self.targets.get(name).map(|spec| &spec.meta),
            Kind::Export => self.exports.get(name).map(|spec| &spec.meta),
            Kind::Approval => self.approvals.get(name).map(|spec| &spec.meta),
        }
    }

    /// Returns the metadata of the declared objects: volumes, snapshots and exports, by kind, then name.
    pub fn objects(&self) -> impl Iterator<Item = (Kind, &Meta)> {
        let Self { stack: _, backends: _, volumes, snapshots, targets: _, exports, approvals: _ } = self;
        let volumes = volumes.values().map(|spec| (Kind::Volume, &spec.meta));
        let snapshots = snapshots.values().map(|spec| (Kind::Snapshot, &spec.meta));
        volumes.chain(snapshots).chain(exports.values().map(|spec| (Kind::Export, &spec.meta)))
    }

    /// Returns the renames that documents declare: kind, old name, new name.
    pub fn renames(&self) -> impl Iterator<Item = (Kind, &Name, &Name)> {
        self.objects().filter_map(|(kind, meta)| Some((kind, meta.renamed_from.as_ref()?, &meta.name)))
    }

    /// Whether a document declares a Backend or Target.
    pub fn declares_endpoint(&self, endpoint: &Endpoint) -> bool {
        match endpoint {
            Endpoint::Backend(name) => self.backends.contains_key(name),
            Endpoint::Target(name) => self.targets.contains_key(name),
        }
    }

    /// Returns the sizes of volumes whose documents do not write them in the shortest form, as they write them, by volume and the path of
    /// the field. JSON does not have that: see [`Specs::write_sizes`].
    pub fn written_sizes(&self) -> WrittenSizes {
        let of_volume = |(name, spec): (&Name, &VolumeSpec)| {
            let written = spec.sizes().filter_map(|(path, size)| Some((path.to_owned(), size.as_written()?)));
            let written: BTreeMap<String, String> = written.collect();
            (!written.is_empty()).then(|| (name.clone(), written))
        };
        self.volumes.iter().filter_map(of_volume).collect()
    }

    /// Takes over how documents write sizes, where they are the same.
    pub fn write_sizes(&mut self, written: &WrittenSizes) {
        for (name, sizes) in written {
            let Some(spec) = self.volumes.get_mut(name) else { continue };
            for (path, text) in sizes {
                if let (Some(size), Ok(written)) = (spec.size_mut(path), text.parse::<DeclaredSize>())
                    && *size == written
                {
                    *size = written;
                }
            }
        }
    }

    /// Whether a document declares an object.
    pub fn declares(&self, kind: Kind, name: &Name) -> bool {
        self.document(kind, name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Qos;

    #[test]
    fn how_sizes_are_written_is_taken_over_where_they_are_the_same() {
        let specs = |size: &str, bps: &str| {
            let json = serde_json::json!({"meta": {"name": "db", "labels": {}, "renamed_from": null}, "backend": "fast", "size": 0,
                "provisioning": null, "source": null, "protected": null, "on_remove": null, "object": null, "adopt": null,
                "restore": null, "qos": null, "encrypted": false});
            let mut volume: VolumeSpec = serde_json::from_value(json).unwrap();
            volume.size = size.parse().unwrap();
            volume.qos = Some(Box::new(Qos { bps: Some(bps.parse().unwrap()), ..Qos::default() }));
            let mut specs = Specs::of(Stack::unnamed());
            specs.volumes.insert(volume.meta.name.clone(), volume);
            specs
        };
        let written = specs("2048Mi", "1024Ki").written_sizes();
        assert_eq!(written.values().next().unwrap().len(), 2);
        assert_eq!(specs("2Gi", "1Mi").written_sizes(), WrittenSizes::new(), "the shortest forms");
        let mut read = specs("2Gi", "3Mi");
        read.write_sizes(&written);
        let sizes: Vec<(&str, String)> =
            read.volumes.values().flat_map(VolumeSpec::sizes).map(|(path, size)| (path, size.to_string())).collect();
        assert_eq!(sizes, [("size", "2048Mi".to_owned()), ("qos.bps", "3Mi".to_owned())]);
    }
}
