//! Kiln: a declarative reconciler for block storage.
//!
//! See ARCHITECTURE.md for how the parts hang together. `model` is the hub; `manifest`, `plan`, `driver` and `store` import it and
//! never each other; `engine` imports those; `cli` imports anything and is the only place that prints or exits.

pub mod cli;
pub mod daemon;
pub mod driver;
pub mod engine;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod store;
