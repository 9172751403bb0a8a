//! The specs: what manifests declare, with every value checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ApprovalSpec, BackendSpec, Endpoint, ExportSpec, Kind, Meta, Name, SnapshotSpec, Stack, TargetSpec, VolumeSpec,
};

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

    /// Whether a document declares an object.
    pub fn declares(&self, kind: Kind, name: &Name) -> bool {
        self.document(kind, name).is_some()
    }
}
