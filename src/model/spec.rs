//! What manifests declare, checked: values that could not be acted on do not get here.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ApprovalSpec, BackendSpec, Coverage, ExportSpec, Kind, Meta, Name, Size, SnapshotSpec, SourcePlace, Stack,
    TargetSpec, VolumeSpec,
};

/// Everything that the files of one spec directory declare.
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
    /// In a Git work tree the id of the commit, with `-dirty` after it if what was read is anything else. Elsewhere a hash of the content
    /// of all files with their paths. Equal specs, equal revision, on any machine.
    pub revision: String,
    /// Whether some file had a problem, so that what is missing here may only be unreadable. One-shot commands refuse before
    /// it matters; the daemon goes on with what is good, and then nothing is removed.
    pub broken: bool,
    /// Whether these files were read only once: a document that is missing may be in a file that is just being written.
    #[serde(default)]
    pub unconfirmed: bool,
    /// What the reading covers: see [`Specs::withdraws`]. Without it (older saved plans) it is a whole reading.
    #[serde(default)]
    pub coverage: Coverage,
    /// Documents that name a path which manifests may not reach on this host: they are Held(NotAllowed), and nothing is opened
    /// for them. One of each, sorted by kind and name.
    pub not_allowed: Vec<NotAllowed>,
    /// Documents that have no valid meaning as they are written now. One-shot commands never have any, since they refuse; the
    /// daemon goes on, by what these said last where that is known. One of each, sorted by kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

impl Specs {
    /// What these specs declare, whatever file and line declares it and whatever the revision is called. Two specs that declare
    /// the same are equal in it, and no others are.
    #[must_use]
    pub fn meaning(&self) -> Specs {
        fn all<T: Clone>(specs: &BTreeMap<Name, T>, meta: fn(&mut T) -> &mut Meta) -> BTreeMap<Name, T> {
            let mut specs = specs.clone();
            specs.values_mut().for_each(|spec| meta(spec).place = SourcePlace::default());
            specs
        }
        let Specs {
            stack,
            backends,
            volumes,
            snapshots,
            targets,
            exports,
            approvals,
            revision: _,
            broken: _,
            unconfirmed: _,
            coverage: _,
            not_allowed,
            unreadable,
        } = self;
        Specs {
            stack: stack.clone(),
            backends: all(backends, |spec| &mut spec.meta),
            volumes: all(volumes, |spec| &mut spec.meta),
            snapshots: all(snapshots, |spec| &mut spec.meta),
            targets: all(targets, |spec| &mut spec.meta),
            exports: all(exports, |spec| &mut spec.meta),
            approvals: all(approvals, |spec| &mut spec.meta),
            revision: String::new(),
            broken: false,
            unconfirmed: false,
            coverage: Coverage::default(),
            not_allowed: not_allowed.clone(),
            unreadable: unreadable.clone(),
        }
    }

    /// Why a document may not be acted on, if it names a path out of reach.
    pub fn not_allowed(&self, kind: Kind, name: &Name) -> Option<&NotAllowed> {
        let found = self.not_allowed.binary_search_by(|barred| (barred.kind, &barred.name).cmp(&(kind, name)));
        found.ok().map(|index| &self.not_allowed[index])
    }
}

/// A path that manifests may not reach, and the document that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAllowed {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// Why, in one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(rename = "unblock")]
    pub fix: String,
    /// Whether the path did not answer in time, so that nobody knows where it leads: what is there is Unobserved until it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

/// A document that has no valid meaning as it is written now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// Where and what the problem is, and whether what it said last holds, in one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(rename = "unblock")]
    pub fix: String,
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
