//! The simulator: a backend that is stricter than any real one and injects faults.
//!
//! It is part of the binary (`driver: sim`), so users can try Kiln without storage; the planner and the engine are tested with it. The pool
//! is a [`SimWorld`], in memory or in a file ([`file`]). The function [`apply`] executes a step: it checks everything that a backend could
//! check, and then acts completely or not at all. The function [`observe`] makes an observation. The driver, [`SimDriver`], adds the faults
//! of [`fault`], from rates and a seed or from a script.
//!
//! It is stricter in that a clone depends on its source, which can then neither be trashed nor destroyed; an open object is never moved;
//! sizes are multiples of 4096; protected objects are not removed even if a plan says so; and a ledger can only be written for this pool,
//! under the writer lock.

mod apply;
mod copies;
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
pub use settings::{FaultRates, SimMode, SimSettings};
pub use world::{BLOCK, SimEffect, SimEvent, SimObject, SimWorld};
