//! What the tests of the planner share: a world described in a few lines of YAML, and what a plan makes of it.

pub(crate) mod applied;
pub(crate) mod described;

pub(crate) use applied::applied;
pub(crate) use described::{Described, Scene};
