//! What manifests declare, checked: values that could not be acted on do not get here.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ApprovalSpec, BackendSpec, ExportSpec, Kind, Meta, Name, Size, SnapshotSpec, Stack, TargetSpec, VolumeSpec,
};

/// Everything that the files of one spec directory declare, wherever in them it stands: specs that declare the same are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specs {
    /// The Stack; without one, [`Stack::unnamed`].
    pub stack: Stack,
    /// By name, as everything below.
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
    /// Specs that declare nothing but a Stack.
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

    /// The `metadata` of a document. None of the Stack, whose name is that of the owner.
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

    /// Whether a document declares an object.
    pub fn declares(&self, kind: Kind, name: &Name) -> bool {
        self.document(kind, name).is_some()
    }
}

/// Where the content of a new volume comes from, found on the backend. Its fields are those of the object at plan time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A snapshot.
    Snapshot(super::ObjectRef),
    /// A volume as it is when the step runs.
    Volume(super::ObjectRef),
    /// A file of the host.
    Image {
        /// Which.
        image: super::ImageRef,
        /// Of the disk in it, when it was looked at; the driver refuses another. `None`: nobody has looked yet, and such a step is
        /// not made.
        size: Option<Size>,
    },
}

impl Origin {
    /// The object, if it is one.
    pub fn object(&self) -> Option<&super::ObjectRef> {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => Some(object),
            Origin::Image { .. } => None,
        }
    }

    /// What a volume made from it must have at least; `None`: not known yet.
    pub fn size(&self) -> Option<Size> {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => Some(object.size),
            Origin::Image { size, .. } => *size,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => object.native.fmt(f),
            Origin::Image { image, .. } => write!(f, "the {} image {}", image.format, image.path.display()),
        }
    }
}
