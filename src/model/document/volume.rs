//! `kind: Volume`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Meta;
use super::secret::SECRET_FROM;
use crate::model::table::{
    Choices, Complaint, DocumentTable, FieldCheck, FieldForm, FieldRule, FieldTable, FieldValue, Setting, Settings,
    Text, choices, fields,
};
use crate::model::{ImageRef, Kind, Name, NativeName, Size};

pub(super) const VOLUME: DocumentTable = DocumentTable {
    doc: "A volume.",
    spec: &VolumeSpec::TABLE,
    example: ("db", r#"{"backend": "fast", "size": "10Gi", "protected": true}"#),
};

fields! {
    /// What the volume should be.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct VolumeSpec("VolumeSpec") {
        given {
            /// `metadata`.
            meta: Meta,
        }
        /// The Backend that it is on. Default: the Stack's.
        "backend" => backend: Name = FieldRule::optional(FieldForm::Name(Some(Kind::Backend))),
        /// At least one byte; rounded up to what the backend can do. Only grows.
        "size" => size: Size = FieldRule::required("write a size, like 10Gi", FieldForm::size(1)),
        /// Default: thin where the driver can.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "provisioning" => provisioning: Option<Provisioning> = FieldRule::optional(FieldForm::Choice(&Provisioning::CHOICES)),
        /// How it begins. Has no effect once the volume exists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "source" => source: Option<SourceSpec> = FieldRule::optional(FieldForm::Map(&SOURCE)),
        /// Blocks every step that could lose data; only a written `false` lifts it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "protected" => protected: Option<bool> = FieldRule::optional(FieldForm::Bool),
        /// What happens when the document goes. Default: the Stack's, else Trash.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "onRemove" => on_remove: Option<OnRemove> = FieldRule::optional(FieldForm::Choice(&ON_REMOVE)),
        /// The native name, where it must be known beforehand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "object" => object: Option<String> = FieldRule::optional(FieldForm::Text(Text::line(255).checked(is_free_native_name))),
        /// Takes over what exists on the backend, under its own name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "adopt" => adopt: Option<String>, with Adopt = FieldRule::optional(FieldForm::Map(&ADOPT)),
        /// Back to a snapshot, once for each distinct request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "restore" => restore: Option<RestoreSpec> = FieldRule::optional(FieldForm::Map(&RestoreSpec::TABLE)),
        /// Rate limits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        "qos" => qos: Option<Qos> = FieldRule::optional(FieldForm::Map(&Qos::TABLE)),
        /// LUKS2; `size` is what can be used.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        "encryption" => encrypted: bool, with Encryption = FieldRule::optional(FieldForm::Map(&ENCRYPTION)).secret(),
    }
}

choices! {
    /// When space is taken.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Provisioning("Provisioning") {
        /// When written to.
        "thin" => Thin,
        /// When made.
        "thick" => Thick,
    }
}

choices! {
    /// What happens to a snapshot whose document goes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum OnRemove("OnRemoveSnapshot") {
        /// Into the trash, from where it can be brought back.
        "Trash" => Trash,
        /// It stays, released.
        "Retain" => Retain,
        /// Destroyed at once: cannot be undone.
        "Delete" => Delete,
        /// Its clones are made independent of it first, then Trash.
        "Detach" => Detach,
    }
}

/// `onRemove` of volumes, and of the Stack's defaults, which are for volumes too.
pub(super) const ON_REMOVE: Choices = Choices {
    name: "OnRemove",
    doc: "What happens to an object whose document goes.",
    words: OnRemove::CHOICES.words.split_at(3).0,
    refused: Some(("Detach", "is Detach, which is for snapshots only", "write Trash, Retain or Delete")),
};

/// How a volume begins. What it names is judged when it is used: it need not be declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceSpec {
    /// A declared or owned snapshot.
    Snapshot(Name),
    /// A volume as it is at that moment.
    Volume(Name),
    /// A file with an image.
    Image(ImageRef),
}

const SOURCE: FieldTable = FieldTable {
    one_of: &["snapshot", "volume", "image"],
    ..FieldTable::of(
        "Source",
        "How a volume begins: exactly one of these.",
        &[
            FieldRule::optional(FieldForm::Name(None)).named("snapshot", "A copy of a snapshot."),
            FieldRule::optional(FieldForm::Name(None)).named("volume", "A copy of a volume as it is at that moment."),
            FieldRule::optional(FieldForm::Map(&ImageRef::TABLE)).named("image", "A copy of an image."),
        ],
    )
};

impl FieldValue for SourceSpec {
    fn from_value(value: Setting) -> Option<Self> {
        let Setting::Map(mut values) = value else { return None };
        let mut name = |field| values.take(field).and_then(Name::from_value);
        let named = name("snapshot").map(Self::Snapshot).or_else(|| name("volume").map(Self::Volume));
        named.or_else(|| ImageRef::from_value(values.take("image")?).map(Self::Image))
    }

    fn to_value(&self) -> Option<Setting> {
        let (field, value) = match self {
            Self::Snapshot(name) => ("snapshot", name.to_value()),
            Self::Volume(name) => ("volume", name.to_value()),
            Self::Image(image) => ("image", image.to_value()),
        };
        Some(Setting::Map(Settings::default().with(field, value)))
    }

    fn paths<'v>(&'v self, out: &mut Vec<&'v Path>) {
        match self {
            Self::Image(image) => image.paths(out),
            Self::Snapshot(_) | Self::Volume(_) => {}
        }
    }
}

/// `adopt` is kept as the name alone.
pub(super) struct Adopt;

pub(super) const ADOPT: FieldTable = FieldTable::of(
    "Adopt",
    "What is taken over.",
    &[FieldRule::required(
        "write the name that the backend lists",
        FieldForm::Text(Text::line(255).checked(is_native_name)),
    )
    .named("name", "As the backend lists it.")],
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

/// A native name of an object on a backend: nothing that could be taken for a path, an option, or a hidden file.
fn is_native_name(text: &str) -> FieldCheck {
    let hint = "write the name alone, as the backend lists it";
    Complaint::unless(!text.contains('/'), "is {}, and a `/` cannot be in a name", hint)?;
    Complaint::unless(!text.starts_with(['.', '-']), "is {}, and must not begin with `.` or `-`", hint)
}

/// One that Kiln is to give: it must not have the form of those that it makes by itself.
fn is_free_native_name(text: &str) -> FieldCheck {
    is_native_name(text)?;
    let hint = "take a name that does not begin with kiln., kiln-snap. or kiln-tmp.";
    Complaint::unless(!NativeName::new(text).is_reserved(), "is {}, a name that Kiln keeps for itself", hint)
}

fields! {
    /// Back to a snapshot.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct RestoreSpec("Restore") {
        /// The snapshot to go back to.
        "snapshot" => snapshot: Name = FieldRule::required("write the name of the snapshot", FieldForm::Name(None)),
        /// Any text; another text is another restore.
        "request" => request: String = FieldRule::required(
            "write any text, like today's date; another text is another restore",
            FieldForm::Text(Text::line(200)),
        ),
    }
}

const RATE: FieldRule = FieldRule::optional(FieldForm::Whole { min: 1, max: i64::MAX as u64 });
const BYTE_RATE: FieldRule = FieldRule::optional(FieldForm::size(1));

fields! {
    /// Operations and bytes a second.
    #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    pub struct Qos("Qos") {
        /// Reads and writes together.
        "iops" => iops: Option<u64> = RATE,
        /// Reads.
        "readIops" => read_iops: Option<u64> = RATE,
        /// Writes.
        "writeIops" => write_iops: Option<u64> = RATE,
        /// Bytes read and written.
        "bps" => bps: Option<Size> = BYTE_RATE,
        /// Bytes read.
        "readBps" => read_bps: Option<Size> = BYTE_RATE,
        /// Bytes written.
        "writeBps" => write_bps: Option<Size> = BYTE_RATE,
        /// Operations above `iops` for a short while.
        "iopsBurst" => iops_burst: Option<u64> = RATE,
        /// Bytes above `bps` for a short while.
        "bpsBurst" => bps_burst: Option<Size> = BYTE_RATE,
    }
}

/// Of `encryption` nothing is kept but that it is written: no driver can do it yet.
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
