//! The command line, by running the real binary in directories of its own.

mod basics;
mod sandbox;
mod signals;
mod walk;
