//! Specs in the form of the manifests that declared them, for `kiln get -o json`: the written fields under their names in the
//! manifest, with sizes in bytes.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::model::table::{self, Settings};
use crate::model::{BackendSpec, ExportSpec, Kind, Meta, Name, SnapshotSpec, Specs, VolumeSpec};

/// The spec of one object. It becomes JSON only when it is printed: a table of 100,000 objects prints none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Declared<'a> {
    /// The spec of a Volume.
    Volume(&'a VolumeSpec),
    /// The spec of a Snapshot.
    Snapshot(&'a SnapshotSpec),
    /// The spec of an Export.
    Export(&'a ExportSpec),
    /// The spec of a Backend.
    Backend(&'a BackendSpec),
}

impl<'a> Declared<'a> {
    /// Returns the spec of a kind and name, if it is declared.
    pub(super) fn find(specs: &'a Specs, kind: Kind, name: &Name) -> Option<Self> {
        match kind {
            Kind::Volume => specs.volumes.get(name).map(Self::Volume),
            Kind::Snapshot => specs.snapshots.get(name).map(Self::Snapshot),
            Kind::Export => specs.exports.get(name).map(Self::Export),
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => None,
        }
    }

    pub(super) fn meta(self) -> &'a Meta {
        match self {
            Self::Volume(spec) => &spec.meta,
            Self::Snapshot(spec) => &spec.meta,
            Self::Export(spec) => &spec.meta,
            Self::Backend(spec) => &spec.meta,
        }
    }

    /// Returns the spec in the form of the manifest, with sizes in bytes.
    pub fn json(self) -> Value {
        match self {
            Self::Volume(spec) => spec.values().json(),
            Self::Snapshot(spec) => spec.values().json(),
            Self::Export(spec) => spec.values().json(),
            Self::Backend(spec) => backend(spec).json(),
        }
    }
}

/// The spec of one object as shown: made from the specs here, or received as JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum DeclaredView<'a> {
    /// In the specs.
    Specs(Declared<'a>),
    /// Received from the daemon.
    Json(Value),
}

impl DeclaredView<'_> {
    /// See [`Declared::json`].
    pub fn json(&self) -> Cow<'_, Value> {
        match self {
            Self::Specs(declared) => Cow::Owned(declared.json()),
            Self::Json(json) => Cow::Borrowed(json),
        }
    }
}

impl Serialize for DeclaredView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeclaredView<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::Json)
    }
}

/// Returns a Backend's settings and driver; only the driver's name if this version of Kiln does not support it.
fn backend(spec: &BackendSpec) -> Settings {
    let driver = spec.config.driver();
    let settings = Some(&spec.config.settings).filter(|settings| **settings != Settings::default());
    let values = spec.values().with("driver", Some(table::Setting::Text(driver.to_owned())));
    values.with(driver, settings.cloned().map(table::Setting::Map))
}
