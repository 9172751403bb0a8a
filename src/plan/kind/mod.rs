//! Plans for each kind of object, one file per kind of change.
//!
//! `resolve` plans every declared object once, its sources first; each other file drafts one kind of change and returns a
//! [`Hold`](super::hold::Hold) where a rule forbids it.

mod adopt;
mod adopt_snapshot;
mod along;
mod checks;
mod configure;
mod create;
mod inside;
mod provisioning;
mod removable;
mod removal;
mod rename;
mod resolve;
mod restore;
mod retag;
mod snapshot;
mod step;
mod undelete;
mod unfinished;
mod unimplemented;
mod volume;

pub(super) use inside::follow_renames;
pub(super) use removal::removals;
pub(super) use rename::{complete_renames, keep_unreplaced};
pub(super) use resolve::{snapshots, volumes};
pub(super) use restore::restores;
pub(super) use unfinished::{complete_restores, hold_beside_restores};
pub(super) use unimplemented::{hold_unimplemented, hold_unreadable};
pub(super) use volume::growths_back;
