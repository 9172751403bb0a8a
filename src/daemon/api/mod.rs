//! What the daemon answers: clients on the control socket (`server`, `control`, `questions`, `runs`, in the terms of `protocol`), and
//! `monitoring` there and over TCP (`tcp`, with the certificate and token of `tls`).

mod connections;
mod control;
mod monitoring;
pub mod protocol;
mod questions;
pub(super) mod runs;
pub(super) mod server;
pub(super) mod tcp;
pub(super) mod tls;
