//! Converts the tree of one document into its spec. Checks across documents are in [`super::link`].

mod backend;
mod checks;
mod document;
mod head;

pub(super) use document::{BackendBody, Body, Document, Pool, PoolPlace, Reference};
pub(super) use head::{document, name_as_written, unnamed};
