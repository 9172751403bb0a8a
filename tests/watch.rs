//! `kiln watch`, by running the real binary on real directories: the traps of watching files, and everything that may go wrong beside a
//! daemon.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails; what helps the tests is not marked as one")]

// First, for its macro.
#[macro_use]
#[path = "watch/daemon.rs"]
mod daemon;

// Tests begin in the order of their names, and this one takes longest.
#[path = "watch/soak.rs"]
mod a_soak;
#[path = "watch/beside.rs"]
mod beside;
#[path = "watch/broken.rs"]
mod broken;
#[path = "watch/clients.rs"]
mod clients;
#[path = "watch/drift.rs"]
mod drift;
#[path = "watch/editor.rs"]
mod editor;
#[path = "watch/followed.rs"]
mod followed;
#[path = "watch/killed.rs"]
mod killed;
#[path = "watch/place.rs"]
mod place;
#[path = "watch/questions.rs"]
mod questions;
#[path = "watch/renamed.rs"]
mod renamed;
#[path = "watch/retries.rs"]
mod retries;
#[path = "watch/roots.rs"]
mod roots;
#[path = "watch/runs.rs"]
mod runs;
#[path = "cli/sandbox.rs"]
mod sandbox;
#[path = "watch/told.rs"]
mod told;
#[path = "watch/traps.rs"]
mod traps;
#[path = "watch/trash.rs"]
mod trash;
#[path = "watch/withdrawal.rs"]
mod withdrawal;
