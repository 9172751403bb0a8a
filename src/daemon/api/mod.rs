//! What the daemon answers: clients on the control socket (`server`, `runs`, in the terms of `protocol`), and monitoring there or over
//! TCP (`monitoring`).

pub(super) mod monitoring;
pub mod protocol;
pub(super) mod runs;
pub(super) mod server;
