//! `kiln watch`: keeps storage in the declared shape for as long as it runs.
//!
//! [`watch`] is the loop. What it is told (by `files`, a signal, a clock, a client) only wakes it, by way of `schedule`; what a pass
//! does follows from what is there, by the same `engine::reconcile_once` as that of `kiln apply`. `hub` is what the loop and its clients
//! share, and the one place where a pass is made, whoever asked for it. `retry`, `calls` and `probe` keep what fails from being
//! asked without end, and from slowing the rest; `expiry` knows what of the trash is past its time. `server` answers on the control socket, in the
//! words of `protocol`; `metrics` is what monitoring sees, there or by way of `listen`.

mod calls;
mod expiry;
mod files;
mod hub;
mod listen;
mod log_reporter;
mod metrics;
mod pass;
mod probe;
pub mod protocol;
mod purge;
mod retry;
mod runs;
mod schedule;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod watch;

pub use hub::DaemonConfig;
pub use listen::{Listen, Unfit};
pub use watch::{Ended, watch};
