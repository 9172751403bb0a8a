//! What the tests of the planner share: a world described in a few lines of YAML, and what a plan makes of it.

pub(crate) mod applied;
pub(crate) mod described;

pub(crate) use applied::applied;
pub(crate) use described::{Described, Scene};

use kiln::model::{Identity, LedgerEntry, NativeName, Size};

/// The entry of an object of which nothing particular is known.
fn entry(identity: &Identity, n: u32, native: &NativeName, size: Size) -> LedgerEntry {
    LedgerEntry {
        kind: identity.kind,
        name: identity.name.clone(),
        n,
        native: native.clone(),
        size,
        protected: false,
        restored: Default::default(),
        declared_in: None,
        accepted: None,
    }
}
