//! Where the fields of documents are written.

use serde::{Deserialize, Serialize};

/// A field that fixes name with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlacedField {
    /// `metadata`, for fields to be written below it.
    Metadata,
    /// `metadata.name`.
    Name,
    /// `metadata.renamedFrom`.
    RenamedFrom,
    /// `adopt` of volumes and snapshots.
    Adopt,
    /// `backend` of volumes.
    Backend,
    /// `driver` of backends.
    Driver,
    /// `encryption` of volumes.
    Encryption,
    /// `maxFill` of backends.
    MaxFill,
    /// `object` of volumes.
    Object,
    /// `overcommit` of backends.
    Overcommit,
    /// `path` of a driver's section, or of an image.
    Path,
    /// `protected` of volumes and snapshots.
    Protected,
    /// `provisioning` of volumes.
    Provisioning,
    /// `qos` of volumes.
    Qos,
    /// `restore` of volumes.
    Restore,
    /// `size` of volumes.
    Size,
    /// `source` of volumes.
    Source,
    /// `via` of backends.
    Via,
    /// `volume` of snapshots.
    Volume,
}

impl PlacedField {
    /// Returns the field with this name in manifests.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "metadata" => Self::Metadata,
            "name" => Self::Name,
            "renamedFrom" => Self::RenamedFrom,
            "adopt" => Self::Adopt,
            "backend" => Self::Backend,
            "driver" => Self::Driver,
            "encryption" => Self::Encryption,
            "maxFill" => Self::MaxFill,
            "object" => Self::Object,
            "overcommit" => Self::Overcommit,
            "path" => Self::Path,
            "protected" => Self::Protected,
            "provisioning" => Self::Provisioning,
            "qos" => Self::Qos,
            "restore" => Self::Restore,
            "size" => Self::Size,
            "source" => Self::Source,
            "via" => Self::Via,
            "volume" => Self::Volume,
            _ => return None,
        })
    }
}

/// Where a field of a document is written, in the file of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldPlace {
    /// The field.
    pub field: PlacedField,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}
