//! One document at a time: its tree to what it declares. What concerns several documents is in [`super::link`].

mod backend;
mod checks;
mod head;

pub(super) use head::document;

use super::text::Span;
use crate::model::{ApprovalSpec, BackendSpec, ExportSpec, Kind, Name, SnapshotSpec, Stack, TargetSpec, VolumeSpec};

/// A document whose kind and name could be read.
#[derive(Clone)]
pub(super) struct Document {
    /// Which of the files that are linked together it is in: set for [`super::link`].
    pub(super) file: usize,
    pub(super) kind: Kind,
    pub(super) name: Name,
    /// Of the whole document.
    pub(super) span: Span,
    /// Of `metadata.name`.
    pub(super) name_span: Span,
    /// Of `spec`.
    pub(super) spec_span: Span,
    pub(super) renamed_from: Option<(Name, Span)>,
    /// Whether `spec.backend` is written, however badly.
    pub(super) backend_written: bool,
    /// What it names that must be declared too.
    pub(super) references: Vec<Reference>,
    /// The paths that it names, resolved against its file.
    pub(super) paths: Vec<std::path::PathBuf>,
    /// What it declares; `None` if there was a problem in it.
    pub(super) body: Option<Body>,
}

/// A field that names another document.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) span: Span,
    pub(super) field: &'static str,
}

/// The checked content of a document.
#[derive(Clone)]
pub(super) enum Body {
    Stack(Stack),
    Backend(BackendBody),
    /// Its `backend` is a stand-in, if none is written, until [`super::link`] has put the Stack's default there.
    Volume(VolumeSpec),
    Snapshot(SnapshotSpec),
    Target(TargetSpec),
    Export(ExportSpec),
    Approval(ApprovalSpec),
}

/// A Backend with what only the check of all documents needs.
#[derive(Clone)]
pub(super) struct BackendBody {
    pub(super) spec: BackendSpec,
    pub(super) driver_span: Span,
    pub(super) pool: Option<Pool>,
}

/// What two Backends must not share.
#[derive(Clone)]
pub(super) struct Pool {
    pub(super) span: Span,
    pub(super) place: PoolPlace,
}

/// A pool's place in the terms of its driver.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PoolPlace {
    /// A directory or file of this host.
    Path(std::path::PathBuf),
    /// Anything else: driver and coordinates.
    Other(Vec<String>),
}
