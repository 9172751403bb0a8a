//! The settings of a volume that its backend enforces.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Qos, VolumeSpec};

/// The settings of a volume, declared or observed. Where a backend shows none, there are none: `VolumeSettings::default()`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct VolumeSettings {
    /// Rate limits, at least one. (Boxed, because it is rare and objects are many.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<Box<Qos>>,
    /// Whether the content is encrypted on the backend. Of a snapshot, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
}

impl VolumeSettings {
    /// Returns the settings that a document declares: without `qos`, rates are not limited.
    pub fn of(spec: &VolumeSpec) -> Self {
        let VolumeSpec { qos, encrypted, .. } = spec;
        Self { qos: qos.clone().filter(|qos| **qos != Qos::default()), encrypted: *encrypted }
    }

    /// Returns the settings of a snapshot of a volume: a snapshot is encrypted like its volume, and has no clients whose rates are limited.
    pub fn of_snapshot(&self) -> Self {
        Self { qos: None, encrypted: self.encrypted }
    }

    /// Returns the rate limits that are set, by the names of their fields in `qos`.
    pub fn limits(&self) -> Map<String, Value> {
        let Some(Value::Object(mut fields)) = self.qos.as_ref().map(|qos| json!(qos)) else { return Map::new() };
        fields.retain(|_, limit| !limit.is_null());
        fields
    }

    /// Whether there are none.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}
