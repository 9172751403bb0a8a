//! `kind: Volume`.

use serde::{Deserialize, Serialize};

use super::Meta;
use super::secret::SECRET_FROM;
use crate::model::table::{
    Choices, Complaint, DocumentTable, FieldCheck, FieldForm, FieldRule, FieldTable, FieldValue, Setting, Settings,
    Text, choices, fields,
};
use crate::model::{DeclaredSize, ImageRef, Kind, Name};

pub(super) const VOLUME: DocumentTable = DocumentTable {
    doc: "A volume.",
    spec: &VolumeSpec::TABLE,
    example: ("db", r#"{"backend": "fast", "size": "10Gi", "protected": true}"#),
};

fields! {
    /// A volume.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct VolumeSpec("VolumeSpec") {
        given {
            /// `metadata`.
            meta: Meta,
        }
        /// The Backend of the volume. Default: the Stack's.
        "backend" => backend: Name = FieldRule::optional(FieldForm::Name(Some(Kind::Backend))),
        /// At least one byte; rounded up to the granularity of the backend. It can only grow.
        "size" => size: DeclaredSize = FieldRule::required("write a size, like 10Gi", FieldForm::size(1)),
        /// When space is allocated. Default: thin where the driver can.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "provisioning" => provisioning: Option<Provisioning> = FieldRule::optional(FieldForm::Choice(&Provisioning::CHOICES)),
        /// The initial content. Has no effect once the volume exists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "source" => source: Option<Box<SourceSpec>> = FieldRule::optional(FieldForm::Map(&SOURCE)),
        /// Blocks every step that could lose data, until `false` is written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "protected" => protected: Option<bool> = FieldRule::optional(FieldForm::Bool),
        /// What happens when the document is removed. Default: the Stack's, else Trash.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "onRemove" => on_remove: Option<OnRemove> = FieldRule::optional(FieldForm::Choice(&ON_REMOVE)),
        /// The native name, if it must be known in advance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "object" => object: Option<String> = FieldRule::optional(FieldForm::Text(Text::line(255).checked(is_free_native_name))),
        /// Adopts an existing object on the backend, under its native name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "adopt" => adopt: Option<String>, with Adopt = FieldRule::optional(FieldForm::Map(&ADOPT)),
        /// Restores a snapshot, once for each distinct request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "restore" => restore: Option<Box<RestoreSpec>> = FieldRule::optional(FieldForm::Map(&RestoreSpec::TABLE)),
        /// Rate limits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "qos" => qos: Option<Box<Qos>> = FieldRule::optional(FieldForm::Map(&Qos::TABLE)),
        /// Encryption with LUKS2; `size` is the usable size.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        "encryption" => encrypted: bool, with Encryption = FieldRule::optional(FieldForm::Map(&ENCRYPTION)).secret(),
    }
}

impl VolumeSpec {
    /// Returns the sizes that the document writes, by the paths of their fields below `spec`: `size`, `qos.bps`.
    pub fn sizes(&self) -> impl Iterator<Item = (&'static str, DeclaredSize)> {
        let qos = self.qos.as_deref();
        let sizes = [
            ("size", Some(self.size)),
            ("qos.bps", qos.and_then(|qos| qos.bps)),
            ("qos.readBps", qos.and_then(|qos| qos.read_bps)),
            ("qos.writeBps", qos.and_then(|qos| qos.write_bps)),
            ("qos.bpsBurst", qos.and_then(|qos| qos.bps_burst)),
        ];
        sizes.into_iter().filter_map(|(path, size)| Some((path, size?)))
    }

    /// Returns one of [`VolumeSpec::sizes`] to change it.
    pub(crate) fn size_mut(&mut self, path: &str) -> Option<&mut DeclaredSize> {
        let qos = self.qos.as_deref_mut();
        match path {
            "size" => Some(&mut self.size),
            "qos.bps" => qos?.bps.as_mut(),
            "qos.readBps" => qos?.read_bps.as_mut(),
            "qos.writeBps" => qos?.write_bps.as_mut(),
            "qos.bpsBurst" => qos?.bps_burst.as_mut(),
            _ => None,
        }
    }
}

choices! {
    /// When space is allocated.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Provisioning("Provisioning") {
        /// When the volume is written to.
        "thin" => Thin,
        /// When the volume is created.
        "thick" => Thick,
    }
}

choices! {
    /// What happens to a snapshot whose document is removed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum OnRemove("OnRemoveSnapshot") {
        /// It is moved to the trash, and can be restored.
        "Trash" => Trash,
        /// It is released, and stays.
        "Retain" => Retain,
        /// It is destroyed at once, which cannot be undone.
        "Delete" => Delete,
        /// Its clones are made independent of it, then it is moved to the trash.
        "Detach" => Detach,
    }
}

/// `onRemove` of volumes and of the Stack's defaults, which also apply to volumes.
pub(super) const ON_REMOVE: Choices = Choices {
    name: "OnRemove",
    doc: "What happens to an object whose document is removed.",
    words: OnRemove::CHOICES.words.split_at(3).0,
    refused: Some(("Detach", "is Detach, which is for snapshots only", "write Trash, Retain or Delete")),
};

/// The initial content of a volume. Its source need not be declared, and is checked when it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceSpec {
    /// A declared or owned snapshot.
    Snapshot(Name),
    /// A volume, with its content at the time of the step.
    Volume(Name),
    /// The same of a volume that no client writes to meanwhile, as the document says.
    Quiesced(Name),
    /// An image file.
    Image(ImageRef),
}

const SOURCE: FieldTable = FieldTable {
    one_of: &["volume", "snapshot", "image"],
    ..FieldTable::of(
        "Source",
        "The initial content of a volume: exactly one of volume, snapshot and image.",
        &[
            FieldRule::optional(FieldForm::Name(None)).named("snapshot", "A copy of a snapshot."),
            FieldRule::optional(FieldForm::Name(None)).named("volume", "A copy of a volume at the time of creation."),
            FieldRule::optional(FieldForm::Map(&ImageRef::TABLE)).named("image", "A copy of an image."),
            FieldRule::optional(FieldForm::Bool).named(
                "quiesced",
                "With `volume`: that no client writes to it while it is copied. Needed where the backend cannot see clients.",
            ),
        ],
    )
};

impl FieldValue for SourceSpec {
    fn from_value(value: Setting) -> Option<Self> {
        let Setting::Map(mut values) = value else { return None };
        let of_volume = match values.take("quiesced") {
            Some(Setting::Bool(true)) => Self::Quiesced,
            _ => Self::Volume,
        };
        let mut name = |field| values.take(field).and_then(Name::from_value);
        let named = name("snapshot").map(Self::Snapshot).or_else(|| name("volume").map(of_volume));
        named.or_else(|| ImageRef::from_value(values.take("image")?).map(Self::Image))
    }

    fn to_value(&self) -> Option<Setting> {
        let (field, value) = match self {
            Self::Snapshot(name) => ("snapshot", name.to_value()),
            Self::Volume(name) | Self::Quiesced(name) => ("volume", name.to_value()),
            Self::Image(image) => ("image", image.to_value()),
        };
        let quiesced = matches!(self, Self::Quiesced(_)).then_some(Setting::Bool(true));
        Some(Setting::Map(Settings::default().with(field, value).with("quiesced", quiesced)))
    }
}

/// Stores `adopt` as the name only.
pub(super) struct Adopt;

pub(super) const ADOPT: FieldTable = FieldTable::of(
    "Adopt",
    "The object to adopt.",
    &[FieldRule::required(
        "write the name that the backend lists",
        FieldForm::Text(Text::line(255).checked(is_native_name)),
    )
    .named("name", "The native name, as the backend lists it.")],
);

impl Adopt {
    #[expect(clippy::option_option, reason = "a field that may not be written, of a map that may be wrong")]
    pub(super) fn read(value: Option<Setting>) -> Option<Option<String>> {
        match value {
            None => Some(None),
            Some(Setting::Map(mut values)) => values.take("name").and_then(String::from_value).map(Some),
            Some(_) => None,
        }
    }

    pub(super) fn write(name: &Option<String>) -> Option<Setting> {
        Some(Setting::Map(Settings::default().with("name", Some(name.as_ref()?.to_value()?))))
    }
}

/// Checks a native name: it must not be readable as a path, an option, or a hidden file.
fn is_native_name(text: &str) -> FieldCheck {
    let hint = "write the name alone, as the backend lists it";
    Complaint::unless(!text.contains('/'), "is {}, but a name cannot contain `/`", hint)?;
    Complaint::unless(!text.starts_with(['.', '-']), "is {}, but must not start with `.` or `-`", hint)
}

/// Checks a native name that Kiln is to give: it must not be a reserved one.
fn is_free_native_name(text: &str) -> FieldCheck {
    is_native_name(text)?;
    let hint = "write a name that does not start with kiln. or kiln-";
    Complaint::unless(
        !text.starts_with("kiln.") && !text.starts_with("kiln-"),
        "is {}, which is reserved for Kiln",
        hint,
    )
}

fields! {
    /// Restores a snapshot.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct RestoreSpec("Restore") {
        /// The snapshot to restore.
        "snapshot" => snapshot: Name = FieldRule::required("write the name of the snapshot", FieldForm::Name(None)),
        /// Any text; another text requests another restore.
        "request" => request: String = FieldRule::required(
            "write any text, like today's date; another text requests another restore",
            FieldForm::Text(Text::line(200)),
        ),
    }
}

const RATE: FieldRule = FieldRule::optional(FieldForm::Whole { min: 1, max: i64::MAX as u64 });
const BYTE_RATE: FieldRule = FieldRule::optional(FieldForm::size(1));

fields! {
    /// Limits per second.
    #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    pub struct Qos("Qos") {
        /// Operations, reads and writes together.
        "iops" => iops: Option<u64> = RATE,
        /// Read operations.
        "readIops" => read_iops: Option<u64> = RATE,
        /// Write operations.
        "writeIops" => write_iops: Option<u64> = RATE,
        /// Bytes read and written.
        "bps" => bps: Option<DeclaredSize> = BYTE_RATE,
        /// Bytes read.
        "readBps" => read_bps: Option<DeclaredSize> = BYTE_RATE,
        /// Bytes written.
        "writeBps" => write_bps: Option<DeclaredSize> = BYTE_RATE,
        /// Operations above `iops` for a short time.
        "iopsBurst" => iops_burst: Option<u64> = RATE,
        /// Bytes above `bps` for a short time.
        "bpsBurst" => bps_burst: Option<DeclaredSize> = BYTE_RATE,
    }
}

/// Stores only whether `encryption` is written: no driver supports it yet.
struct Encryption;

const ENCRYPTION: FieldTable = FieldTable {
    checked: &[FieldRule::required("write `passphraseFrom: {file: …}` or `{env: …}`", FieldForm::Map(&SECRET_FROM))
        .named("passphraseFrom", "Where the passphrase is read from.")],
    refused: Some((
        "passphrase",
        "a passphrase is never written in a manifest",
        "write `passphraseFrom: {file: …}` or `{env: …}`",
    )),
    ..FieldTable::of("Encryption", "LUKS2.", &[])
};

impl Encryption {
    #[expect(clippy::unnecessary_wraps, reason = "adapters may fail")]
    fn read(value: Option<Setting>) -> Option<bool> {
        Some(value.is_some())
    }

    fn write(encrypted: &bool) -> Option<Setting> {
        encrypted.then(|| Setting::Map(Settings::default()))
    }
}
