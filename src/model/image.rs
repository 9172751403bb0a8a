//! Images: files of the host that volumes are made from and written to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Size;

/// The format of an image. It is always written, never guessed: a raw disk whose guest wrote a qcow2 header into it could name any
/// file of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// The bytes of the disk, one after the other.
    Raw,
    /// QEMU's format, version 2 or 3.
    Qcow2,
}

impl ImageFormat {
    /// As in manifests, and as `qemu-img` calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageFormat::Raw => "raw",
            ImageFormat::Qcow2 => "qcow2",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An image as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageRef {
    /// Resolved against the file that names it.
    pub path: PathBuf,
    /// As written.
    pub format: ImageFormat,
    /// Of the file's bytes, in lower-case hexadecimal.
    pub sha256: Option<String>,
}

/// What a look at an image showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageLook {
    /// It can be read, is of the format that is written, and refers to nothing else.
    Good {
        /// Of the disk in it: what a volume made from it must have at least.
        size: Size,
        /// Bytes that a copy of the disk takes up at most.
        #[serde(default)]
        used: u64,
        /// The device number of the file system whose blocks a copy can share ([`super::Capabilities::shares_blocks`]). `None`: the
        /// content must be converted.
        #[serde(default)]
        device: Option<u64>,
    },
    /// There is no such file.
    Missing,
    /// It cannot be used.
    Refused {
        /// Why, in one sentence without the path.
        why: String,
    },
}

/// What is known of the images that volumes are to be made from.
pub type Images = BTreeMap<ImageRef, ImageLook>;
