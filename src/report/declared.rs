//! Specs in the form of the manifests that declared them, for `kiln get -o json`: the written fields under their names in the
//! manifest, with sizes in bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use smol_str::SmolStr;

use crate::model::table::{Setting, Settings};
use crate::model::{
    BackendSpec, DeclaredSize, ExportSpec, Kind, Meta, Name, SnapshotSpec, Specs, TargetSpec, VolumeSpec,
};

/// The spec of one object. It becomes JSON only when it is printed: a table of 100,000 objects prints none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Declared<'a> {
    /// The spec of a Volume.
    Volume(&'a VolumeSpec),
    /// The spec of a Snapshot.
    Snapshot(&'a SnapshotSpec),
    /// The spec of an Export.
    Export(&'a ExportSpec),
    /// The spec of a Target.
    Target(&'a TargetSpec),
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
            Kind::Target => specs.targets.get(name).map(Self::Target),
            Kind::Stack | Kind::Backend | Kind::Approval => None,
        }
    }

    pub(super) fn meta(self) -> &'a Meta {
        match self {
            Self::Volume(spec) => &spec.meta,
            Self::Snapshot(spec) => &spec.meta,
            Self::Export(spec) => &spec.meta,
            Self::Target(spec) => &spec.meta,
            Self::Backend(spec) => &spec.meta,
        }
    }

    /// Returns the declared size as its document writes it, if the size alone would be shown as another.
    pub(super) fn written_size(self) -> Option<String> {
        match self {
            Self::Volume(spec) => spec.size.as_written(),
            Self::Snapshot(_) | Self::Export(_) | Self::Target(_) | Self::Backend(_) => None,
        }
    }

    /// Returns the declared size in a field, by its path below `spec`.
    pub(super) fn size_of(self, path: &str) -> Option<DeclaredSize> {
        let Self::Volume(spec) = self else { return None };
        spec.sizes().find(|(field, _)| *field == path).map(|(_, size)| size)
    }

    /// Returns the declared limits of bytes as the document writes them, by field of `qos`, as [`Declared::written_size`].
    pub(super) fn written_limits(self) -> BTreeMap<SmolStr, SmolStr> {
        let Self::Volume(spec) = self else { return BTreeMap::new() };
        let limit =
            |(path, limit): (&str, DeclaredSize)| Some((path.strip_prefix("qos.")?.into(), limit.as_written()?.into()));
        spec.sizes().filter_map(limit).collect()
    }

    /// Returns the spec in the form of the manifest, with sizes in bytes.
    pub fn json(self) -> Value {
        match self {
            Self::Volume(spec) => spec.values().json(),
            Self::Snapshot(spec) => spec.values().json(),
            Self::Export(spec) => spec.values().json(),
            Self::Target(spec) => with_section(spec.values(), &spec.driver, &spec.settings).json(),
            Self::Backend(spec) => {
                let driver = spec.config.driver();
                let values = spec.values().with("driver", Some(Setting::Text(driver.to_owned())));
                with_section(values, driver, &spec.config.settings).json()
            }
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

/// Adds the section of a driver to a spec, if there is one.
fn with_section(values: Settings, driver: &str, section: &Settings) -> Settings {
    let section = Some(section).filter(|section| !section.is_empty());
    values.with(driver, section.cloned().map(Setting::Map))
}
