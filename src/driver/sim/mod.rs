//! The simulator: a backend that is stricter than any real one, and fails on request.
//!
//! It is part of the binary (`driver: sim`), so that a user can try Kiln without any storage, and the planner and the engine are tested
//! on it. The pool is a [`SimWorld`], in memory or kept in a file by [`file`]; a step on it is one
//! function, [`apply`], which checks all that a backend could check and then acts completely or not at all; an observation is
//! [`observe`]. The driver around them, [`SimDriver`], puts in the faults of [`fault`]: from rates and a seed, or from a script.
//!
//! Stricter means: a clone goes on needing what it was made from, so that its source can neither be trashed nor destroyed; an open
//! object is never moved; sizes are multiples of 4096; protected objects are not lost even if a plan says so; the ledger is
//! written only by who holds the lock, and only for this pool.

mod apply;
mod driver;
mod fault;
mod file;
mod observe;
mod settings;
#[cfg(test)]
mod tests;
mod world;

pub use driver::SimDriver;
pub(super) use driver::open;
pub use fault::Fault;
pub(super) use settings::TABLE;
pub use settings::{FaultRates, SimSettings};
pub use world::{BLOCK, SimEffect, SimEvent, SimObject, SimWorld};
