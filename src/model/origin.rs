//! Where the content of a new volume comes from.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Address, ImageRef, Kind, NativeName, Size, Uid};

/// An object that a step reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its native name.
    pub native: NativeName,
    /// Its uid; the driver refuses another object of this name.
    pub uid: Uid,
    /// Its size when the step was planned.
    pub size: Size,
    /// The native name of the volume that it is inside of, for a snapshot on a backend that nests them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_volume: Option<NativeName>,
    /// Its [`Object::id`](super::Object::id), if it was observed; the driver refuses another object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SmolStr>,
}

impl ObjectRef {
    /// Returns a reference to an object of which nothing else is known.
    pub fn new(native: NativeName, uid: Uid, size: Size) -> Self {
        Self { native, uid, size, parent_volume: None, id: None }
    }

    /// Returns what the backend finds the object by.
    pub fn address(&self) -> Address {
        Address { native: self.native.clone(), parent_volume: self.parent_volume.clone() }
    }
}

/// Where the content of a new volume comes from, as observed when the step was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A snapshot.
    Snapshot(ObjectRef),
    /// A volume, with its content at the time of the step.
    Volume(ObjectRef),
    /// An image file on the host.
    Image {
        /// The image.
        image: ImageRef,
        /// The observed size of the disk in it; the driver refuses another size. `None`: not observed yet; no such step is executed.
        size: Option<Size>,
    },
}

impl Origin {
    /// Returns the object with its kind, if the origin is one.
    pub fn object(&self) -> Option<(Kind, &ObjectRef)> {
        match self {
            Origin::Snapshot(object) => Some((Kind::Snapshot, object)),
            Origin::Volume(object) => Some((Kind::Volume, object)),
            Origin::Image { .. } => None,
        }
    }

    /// Returns the minimum size of a volume created from it. `None`: not known yet.
    pub fn size(&self) -> Option<Size> {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => Some(object.size),
            Origin::Image { size, .. } => *size,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => object.native.fmt(f),
            Origin::Image { image, .. } => write!(f, "the {} image {}", image.format, image.path.display()),
        }
    }
}
