//! `kiln watch`: the daemon. It keeps backends as the manifests declare them for as long as it runs.
//!
//! `run_loop` waits for whatever may call for a pass (a changed manifest, a signal, a timer, a client) and `schedule` decides when the next
//! pass begins; `watch_files` notices changed manifests. `pass` makes every pass, whether the loop or a client asked for it, with the same
//! `engine::reconcile` as `kiln apply`, or refuses it; `reconciler` holds what a pass works with, and `state` what passes, the loop and
//! clients share. `backoff` (objects), and `breaker`, `calls` and `probe` (backends) keep what fails from being tried without end; `expiry`
//! and `purge` empty the trash. `api` answers clients on the control socket and serves monitoring.

mod api;
mod backoff;
mod breaker;
mod calls;
mod expiry;
mod health;
mod log_changes;
mod log_reporter;
mod metrics;
mod pass;
mod probe;
mod purge;
mod reconciler;
mod run_loop;
mod schedule;
mod service;
mod state;

#[cfg(test)]
mod tests;
mod watch_files;

pub use api::protocol;
pub use api::tls::{Listen, ListenError};
pub use reconciler::DaemonConfig;
pub use run_loop::{DaemonError, watch};
