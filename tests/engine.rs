//! The engine on simulated pools. One binary: each would be linked with all of Kiln and its dependencies.

#[path = "engine/by_ledger.rs"]
mod by_ledger;
#[path = "engine/clock.rs"]
mod clock;
#[path = "engine/inside.rs"]
mod inside;
#[path = "engine/ledgers.rs"]
mod ledgers;
#[path = "engine/operations.rs"]
mod operations;
#[path = "engine/questions.rs"]
mod questions;
mod rig;
#[path = "engine/saved.rs"]
mod saved;
#[path = "engine/steps.rs"]
mod steps;
#[path = "engine/suspensions.rs"]
mod suspensions;
