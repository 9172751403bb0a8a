//! Where an object is on its backend.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NativeName;

/// What a backend finds an object by: its native name and, for a snapshot inside of a volume, the native name of that volume. Native
/// names alone are not unique on a backend that nests snapshots. Ordered by native name first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The native name.
    pub native: NativeName,
    /// The native name of the volume that the object is inside of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_volume: Option<NativeName>,
}

impl Address {
    /// Returns the address of an object that is inside of no other.
    pub fn flat(native: &NativeName) -> Self {
        Self { native: native.clone(), parent_volume: None }
    }

    /// Returns the address of a snapshot inside of a volume.
    pub fn inside(volume: &NativeName, native: &NativeName) -> Self {
        Self { native: native.clone(), parent_volume: Some(volume.clone()) }
    }
}

impl fmt::Display for Address {
    /// `NAME` or `VOLUME@NAME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parent_volume {
            None => self.native.fmt(f),
            Some(volume) => f.pad(&format!("{volume}@{}", self.native)),
        }
    }
}
