//! A document before it is linked with the others.

use std::path::PathBuf;
use std::sync::Arc;

use crate::manifest::span::Span;
use crate::model::{
    ApprovalSpec, BackendSpec, ExportSpec, FieldPlace, Kind, Name, SnapshotSpec, Stack, TargetSpec, VolumeSpec,
};

/// A document whose kind and name could be read.
#[derive(Clone)]
pub(in crate::manifest) struct Document {
    /// Index of its file among those that are linked together: set for [`crate::manifest::link`].
    pub(in crate::manifest) file: usize,
    pub(in crate::manifest) kind: Kind,
    pub(in crate::manifest) name: Name,
    /// Of the whole document.
    pub(in crate::manifest) span: Span,
    /// Of `metadata.name`.
    pub(in crate::manifest) name_span: Span,
    /// Of `spec`.
    pub(in crate::manifest) spec_span: Span,
    /// Where its fields are written: see [`crate::model::FieldPlaces`].
    pub(in crate::manifest) fields: Arc<[FieldPlace]>,
    pub(in crate::manifest) renamed_from: Option<(Name, Span)>,
    /// Whether `spec.backend` is written, valid or not.
    pub(in crate::manifest) backend_written: bool,
    /// References to other documents, which must be declared too.
    pub(in crate::manifest) references: Vec<Reference>,
    /// The paths that it names, made absolute from the directory of its file.
    pub(in crate::manifest) paths: Vec<PathBuf>,
    /// What it declares; `None` if it has a problem.
    pub(in crate::manifest) body: Option<Body>,
}

/// A field that names another document.
#[derive(Clone)]
pub(in crate::manifest) struct Reference {
    pub(in crate::manifest) kind: Kind,
    pub(in crate::manifest) name: Name,
    pub(in crate::manifest) span: Span,
    pub(in crate::manifest) field: &'static str,
}

/// The checked content of a document.
#[derive(Clone)]
pub(in crate::manifest) enum Body {
    Stack(Stack),
    Backend(BackendBody),
    /// If no `backend` is written, it is a placeholder until [`crate::manifest::link`] sets the Stack's default.
    Volume(VolumeSpec),
    Snapshot(SnapshotSpec),
    Target(TargetSpec),
    Export(ExportSpec),
    Approval(ApprovalSpec),
}

/// A Backend, with what linking needs besides its spec.
#[derive(Clone)]
pub(in crate::manifest) struct BackendBody {
    pub(in crate::manifest) spec: BackendSpec,
    pub(in crate::manifest) driver_span: Span,
    pub(in crate::manifest) pool: Option<Pool>,
}

/// The pool of a Backend, which no other Backend may share.
#[derive(Clone)]
pub(in crate::manifest) struct Pool {
    pub(in crate::manifest) span: Span,
    pub(in crate::manifest) place: PoolPlace,
}

/// Where a pool is: the host, the driver and, in its terms, the pool.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::manifest) enum PoolPlace {
    /// A directory or file on this host.
    Path(PathBuf),
    /// Any other.
    Other {
        /// The command that runs the driver on another host; empty on this one.
        via: Vec<String>,
        /// The driver and its key settings.
        key: Vec<String>,
    },
}
