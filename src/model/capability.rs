//! What a driver can do, as data for the planner.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::table::{FieldValue, Setting, choices};
use super::{ClientVisibility, Kind, NameRules};

/// What a driver can do on a pool. The planner holds what it cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Sizes are rounded up to a multiple of this many bytes.
    pub granularity: u64,
    /// The largest object, in bytes.
    pub max_size: u64,
    /// The native names that objects may have.
    pub names: NameRules,
    /// Whether objects can be thin.
    pub thin: bool,
    /// Whether objects can be thick.
    pub thick: bool,
    /// Whether it is shown that the space of a volume is reserved, and whether it can be reserved later.
    #[serde(default = "hidden")]
    pub reservation: Reservation,
    /// When volumes can be grown.
    pub grow: Growth,
    /// Snapshots of volumes. `None`: the backend has none.
    pub snapshots: Option<SnapshotAbility>,
    /// Volumes made from snapshots and volumes. `None`: the backend makes only empty ones.
    pub clones: Option<CloneAbility>,
    /// Whose clients are observed.
    #[serde(default)]
    pub client_visibility: ClientVisibility,
    /// How it is proven that an object does not exist.
    #[serde(default = "by_list")]
    pub absence: Absence,
    /// How a volume is restored from a snapshot.
    pub restore: Restores,
    /// Whether objects can be renamed.
    pub rename: bool,
    /// Whether objects without owner can be adopted under their native names.
    pub adopt: bool,
    /// Which objects its trash takes.
    pub trash: TrashAbility,
    /// Whether a call can be made again without harm while it is not known whether the first had its effect. `false`: a creation that is
    /// made again makes a second object, so the object is observed before the call is repeated.
    pub repeatable: bool,
    /// The settings that volumes can have.
    pub settings: SettingsAbility,
    /// Whether volumes can be created from images.
    pub images: bool,
    /// Device number of the file system on which a copy shares the blocks of its source and needs no space. `None`: every copy needs space.
    #[serde(default)]
    pub shares_blocks: Option<u64>,
    /// Why no step can be executed on this pool, as the end of a sentence about it. `None`: steps can be executed.
    #[serde(default)]
    pub unusable: Option<String>,
}

fn hidden() -> Reservation {
    Reservation::Hidden
}

/// When volumes can be grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Growth {
    /// Never.
    No,
    /// While no client has the volume open.
    Idle,
    /// At any time.
    Open,
}

/// How a backend makes snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAbility {
    /// Whether a snapshot is inside of its volume, so that it cannot stay when the volume goes.
    pub nested: bool,
    /// Whether a volume that is open for writing can be snapshotted and cloned consistently.
    pub while_open: bool,
    /// Whether snapshots without owner can be adopted under their native names.
    pub adopt: bool,
}

/// How a backend makes clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneAbility {
    /// Whether a volume can be cloned without a declared snapshot.
    pub of_volume: bool,
    /// Whether a clone depends on its source. A source with clones can then only be removed after they are detached.
    pub depend: bool,
    /// Whether clones can be made independent of their source (`onRemove: Detach`).
    pub detach: bool,
}

/// The settings that volumes of a backend can have. A driver that declares one enforces it, and observes it exactly as it was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsAbility {
    /// Whether rates can be limited.
    pub qos: bool,
    /// Whether the limits of a volume that a client has open can be changed.
    pub qos_live: bool,
    /// Whether volumes can be created encrypted.
    pub encryption: bool,
}

choices! {
    /// How a backend proves that an object does not exist.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum Absence("Absence") {
        /// Its lists are complete, or say that they are not.
        "ByList" => ByList,
        /// It answers for each name. Its lists may lack any object.
        "ByName" => ByName,
        /// Not at all: it can neither list its objects nor say that a name does not exist. The driver shows the objects that it keeps a record
        /// of; what the intact ledger does not have is absent, and what it has may exist.
        "ByLedger" => ByLedger,
    }
}

fn by_list() -> Absence {
    Absence::ByList
}

choices! {
    /// Which objects the trash of a backend takes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum TrashAbility("Trash") {
        /// None: the backend has no trash.
        "None" => None,
        /// Volumes, together with the snapshots inside of them, but no snapshot alone.
        "Volumes" => Volumes,
        /// Volumes and snapshots, each by itself.
        "All" => All,
    }
}

choices! {
    /// How a volume is restored from a snapshot.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    pub enum Restores("Restores") {
        /// Not at all.
        "No" => No,
        /// In one step: the volume has its content from before, or that of the snapshot.
        "Atomic" => Atomic,
        /// In several steps: one that is interrupted leaves parts of both contents, and the tag `restoring`.
        "InSteps" => InSteps,
    }
}

choices! {
    /// Whether a backend shows that the space of a volume is reserved (thick), and whether that can change.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum Reservation("Reservation") {
        /// It is not shown.
        "Hidden" => Hidden,
        /// It is shown, and cannot be changed.
        "Fixed" => Fixed,
        /// It is shown, and the space of a thin volume can be reserved without a change of its content.
        "Changeable" => Changeable,
    }
}

impl<'de> Deserialize<'de> for Restores {
    /// Reads also `true` and `false`, as an earlier version wrote it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Restores;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("No, Atomic or InSteps")
            }
            fn visit_bool<E: de::Error>(self, can: bool) -> Result<Restores, E> {
                Ok(if can { Restores::Atomic } else { Restores::No })
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Restores, E> {
                let read = Restores::from_value(Setting::Text(word.to_owned()));
                read.ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
            }
        }
        deserializer.deserialize_any(Word)
    }
}

impl TrashAbility {
    /// Whether it takes an object of this kind by itself.
    pub fn takes(self, kind: Kind) -> bool {
        match self {
            TrashAbility::None => false,
            TrashAbility::Volumes => kind == Kind::Volume,
            TrashAbility::All => true,
        }
    }
}

impl Capabilities {
    /// Everything that the simulator can do, and what tests of the planner restrict.
    pub fn everything() -> Self {
        Self {
            granularity: 4096,
            max_size: 1 << 60,
            names: NameRules::up_to(128),
            thin: true,
            thick: true,
            reservation: Reservation::Changeable,
            grow: Growth::Open,
            snapshots: Some(SnapshotAbility { nested: false, while_open: true, adopt: true }),
            clones: Some(CloneAbility { of_volume: true, depend: true, detach: true }),
            client_visibility: ClientVisibility::All,
            absence: Absence::ByList,
            restore: Restores::Atomic,
            rename: true,
            adopt: true,
            trash: TrashAbility::All,
            repeatable: true,
            settings: SettingsAbility { qos: true, qos_live: true, encryption: true },
            images: false,
            shares_blocks: Some(0),
            unusable: None,
        }
    }

    /// Whether a volume that is open for writing can be copied consistently.
    pub fn copies_open_volumes(&self) -> bool {
        self.snapshots.as_ref().is_some_and(|snapshots| snapshots.while_open)
    }

    /// Whether snapshots are inside of their volumes.
    pub fn nests_snapshots(&self) -> bool {
        self.snapshots.as_ref().is_some_and(|snapshots| snapshots.nested)
    }

    /// Whether a clone depends on its source.
    pub fn clones_depend(&self) -> bool {
        self.clones.as_ref().is_some_and(|clones| clones.depend)
    }

    /// Whether clones can be made independent of their source.
    pub fn detaches_clones(&self) -> bool {
        self.clones.as_ref().is_some_and(|clones| clones.detach)
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
