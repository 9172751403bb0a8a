//! Gates: what may stop a drafted step (a suspension, a step that still runs, a blocker, another writer, a likely rename, a limit, a missing approval). They run when
//! every object is planned.

mod approval;
mod blocker;
mod lock;
mod object_hold;
mod rename;
mod running;
mod successor;
mod suspension;

pub(super) use approval::{GateVerdict, hold_unapproved};
pub(super) use blocker::hold_blocked;
pub(super) use lock::hold_locked;
pub(super) use rename::{hold_until_confirmation_read, hold_until_old_is_decided, warn_of_renames};
pub use running::RUNNING_FIX;
pub(super) use running::hold_running;
pub(super) use suspension::hold_suspended;
pub use suspension::{resume, suspended_because, suspension_of};
