//! Gates: what may stop a drafted step (a suspension, another writer, a likely rename, a limit, a missing approval). They run when
//! every object is planned.

mod approval;
mod lock;
mod rename;
mod successor;
mod suspension;

pub(super) use approval::{GateVerdict, approve};
pub(super) use lock::hold_locked;
pub(super) use rename::{wait_for_confirmation, warn_of_renames};
pub(super) use suspension::hold_suspended;
pub use suspension::{resume, suspended_because, suspension_of};
