//! Operations: what a person decides about one object or backend. Each runs its steps as a pass does.

mod adopt;
mod approve;
mod error;
mod forget;
mod image;
mod operation;
mod purge;
mod run;
mod stackless;
mod suspend;
mod trash;

pub use adopt::adopt_owner;
pub use approve::approve;
pub(super) use approve::{approved_with_run, unconfirmed, unmatched};
pub use error::OperationError;
pub use forget::{forget_backend, forget_object};
pub use image::{ImageExport, image_export};
pub use operation::{Operation, OperationResult, operate};
pub use purge::{Purge, is_kept_by_reading, sources_of_restores, trash_purge, trash_purge_after, trash_purge_list};
pub use run::Executed;
pub use suspend::{SuspensionResult, resume, suspend};
pub use trash::{Trashed, trash_in, trash_restore};
