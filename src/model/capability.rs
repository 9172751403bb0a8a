//! What a driver can do, as data for the planner.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a driver can do on a pool. The planner holds what it cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Sizes are rounded up to a multiple of this many bytes.
    pub granularity: u64,
    /// The largest object, in bytes.
    pub max_size: u64,
    /// The longest native name, in bytes, that may be given by `object:` or `adopt:`.
    pub max_name: usize,
    /// Whether objects can be thin.
    pub thin: bool,
    /// Whether objects can be thick.
    pub thick: bool,
    /// Whether a volume that is open for writing can be snapshotted and cloned consistently.
    pub snapshot_while_open: bool,
    /// Whether a volume can be grown while it is open.
    pub grow_while_open: bool,
    /// Whether a clone depends on its source. A source with clones can then only be removed after they are detached.
    pub clones_depend: bool,
    /// Whether a volume can be cloned without a declared snapshot.
    pub clone_volume: bool,
    /// Whether a volume can be restored from a snapshot.
    pub restore: bool,
    /// Whether objects can be renamed.
    pub rename: bool,
    /// Whether the manifest may choose a native name with `object:`.
    pub own_names: bool,
    /// Whether objects without owner can be adopted under their native names.
    pub adopt: bool,
    /// Whether clones can be made independent of their source (`onRemove: Detach`).
    pub detach: bool,
    /// Whether rates can be limited.
    pub qos: bool,
    /// Whether volumes can be created from images.
    pub images: bool,
    /// Whether volumes can be encrypted.
    pub encryption: bool,
    /// Device number of the file system on which a copy shares the blocks of its source and needs no space. `None`: every copy needs space.
    #[serde(default)]
    pub shares_blocks: Option<u64>,
    /// Why no step can be executed on this pool, as the end of a sentence about it. `None`: steps can be executed.
    #[serde(default)]
    pub unusable: Option<String>,
}

impl Capabilities {
    /// Everything that the simulator can do, and what tests of the planner restrict.
    pub fn everything() -> Self {
        Self {
            granularity: 4096,
            max_size: 1 << 60,
            max_name: 100,
            thin: true,
            thick: true,
            snapshot_while_open: true,
            grow_while_open: true,
            clones_depend: true,
            clone_volume: true,
            restore: true,
            rename: true,
            own_names: true,
            adopt: true,
            detach: true,
            qos: false,
            images: false,
            encryption: false,
            shares_blocks: Some(0),
            unusable: None,
        }
    }
}

/// How the content of an object is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// A regular file; its length is the size.
    File(PathBuf),
    /// A block device.
    Block(PathBuf),
    /// Only the driver can open it.
    None,
}

impl Access {
    /// The path under which clients open it.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Block(path) => Some(path),
            Self::None => None,
        }
    }
}
