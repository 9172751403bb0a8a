//! What a driver can do, as data that the planner reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a driver can do on this pool. What it cannot do is held when planning, never found out half-way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Sizes are rounded up to a multiple of this many bytes.
    pub granularity: u64,
    /// The largest object, in bytes.
    pub max_size: u64,
    /// The longest native name, in bytes, that may be given by `object:` or `adopt:`.
    pub max_name: usize,
    /// Whether objects can be made thin.
    pub thin: bool,
    /// Whether objects can be made thick.
    pub thick: bool,
    /// Whether a volume that someone has open for writing can be snapshotted and cloned without a torn copy.
    pub snapshot_while_open: bool,
    /// Whether a volume can be grown while it is open.
    pub grow_while_open: bool,
    /// Whether a clone goes on needing its source: then a source with clones cannot be removed, only detached.
    pub clones_depend: bool,
    /// Whether a volume can be cloned without a declared snapshot between.
    pub clone_volume: bool,
    /// Whether a volume can be brought back to a snapshot.
    pub restore: bool,
    /// Whether objects can be renamed.
    pub rename: bool,
    /// Whether `object:` (a native name of the manifest's choice) is understood.
    pub own_names: bool,
    /// Whether objects made by others can be taken over under the names they have.
    pub adopt: bool,
    /// Whether clones can be made independent of their source (`onRemove: Detach`).
    pub detach: bool,
    /// Whether rates can be limited.
    pub qos: bool,
    /// Whether volumes can be made from images.
    pub images: bool,
    /// Whether volumes can be encrypted.
    pub encryption: bool,
    /// The file system within which a copy shares the blocks of its source and takes no room, by its device number. `None`: every
    /// copy takes room of its own.
    #[serde(default)]
    pub shares_blocks: Option<u64>,
    /// Why no step can be made on this pool at all, as the rest of a sentence about it. `None`: steps can be made.
    #[serde(default)]
    pub unusable: Option<String>,
}

/// How an object is opened by what reads or writes its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// A regular file; its length is the size.
    File(PathBuf),
    /// A block device.
    Block(PathBuf),
    /// Nothing outside of the driver can open it.
    None,
}
