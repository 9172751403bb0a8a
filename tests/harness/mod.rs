//! One harness against failure.
//!
//! A driver brings its [`Bench`]: pools that can be opened, copied, looked into, and changed behind Kiln's back. [`sweep`] tells
//! [stories] on it. Everything that the engine calls passes the [gate]: each step, each write of the pool's metadata, each observation
//! and each commit of the store is a point with a name, and a fault can strike there. After it the process starts again, with its store
//! or without it, dies once more or not, and must end as the undisturbed run ends. The [oracles] judge; [coverage] tells what was
//! reached, and what was not fails the run.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a module of a test binary, which says so by panicking when it cannot go on"
)]

#[cfg(test)]
mod able_to_fail;
pub mod case;
pub mod causes;
pub mod coverage;
pub mod door;
pub mod gate;
pub mod generated;
pub mod host;
pub mod oracles;
pub mod pool;
pub mod reports;
pub mod seed;
pub mod sim;
pub mod stories;
pub mod story;
pub mod sweep;

pub use pool::Bench;
pub use sweep::{Budget, sweep};
