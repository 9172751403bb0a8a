//! Images: files on the host that volumes are created from and exported to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Size;
use super::table::{Complaint, FieldCheck, FieldForm, FieldRule, FieldValue, Setting, Text, choices, fields};

choices! {
    /// The format of an image.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum ImageFormat("ImageFormat") {
        /// The bytes of the disk.
        "raw" => Raw,
        /// QEMU copy-on-write, version 2 or 3.
        "qcow2" => Qcow2,
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

fields! {
    /// An image file.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub struct ImageRef("Image") {
        /// The file, relative to the one that names it.
        "path" => path: PathBuf =
            FieldRule::required("write the path of the image, relative to this file", FieldForm::Path),
        // A raw disk whose guest wrote a qcow2 header into it could otherwise name any file of the host.
        /// Never detected from the content.
        "format" => format: ImageFormat =
            FieldRule::required("write `format: raw` or `format: qcow2`", FieldForm::Choice(&ImageFormat::CHOICES)),
        /// SHA-256 of the file, in hexadecimal.
        "sha256" => sha256: Option<String>, with LowerCase = FieldRule::optional(FieldForm::Text(SHA256)),
    }
}

const SHA256: Text = Text { pattern: Some("^[0-9a-fA-F]{64}$"), ..Text::of(is_sha256) };

fn is_sha256(text: &str) -> FieldCheck {
    let fits = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
    Complaint::unless(fits, "must be 64 hexadecimal digits", "`sha256sum FILE` prints them")
}

/// Stores the digits in lower case.
struct LowerCase;

impl LowerCase {
    #[expect(clippy::option_option, reason = "a field that may not be written, of a form that its table excludes")]
    fn read(value: Option<Setting>) -> Option<Option<String>> {
        Some(Option::<String>::from_field(value)?.map(|text| text.to_ascii_lowercase()))
    }

    fn write(text: &Option<String>) -> Option<Setting> {
        text.to_value()
    }
}

/// An observation of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageObservation {
    /// It can be read, has the declared format, and refers to no other file.
    Good {
        /// The size of the disk in it: the minimum size of a volume created from it.
        size: Size,
        /// Maximum number of bytes that a copy of the disk occupies.
        #[serde(default)]
        used: u64,
        /// Device number of the file system on which a copy can share its blocks ([`super::Capabilities::shares_blocks`]). `None`: the
        /// content must be converted.
        #[serde(default)]
        device: Option<u64>,
    },
    /// The file does not exist.
    Missing,
    /// It cannot be used.
    Refused {
        /// Why, in one sentence without the path.
        why: String,
    },
}

/// Observations of the images that volumes are created from.
pub type Images = BTreeMap<ImageRef, ImageObservation>;
