//! Specs in the form of the manifests that declared them, for `kiln get -o json`: the fields that were written, under their names there,
//! sizes in bytes.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::model::{
    BackendSpec, DriverConfig, ExportSpec, ExportedThing, ImageRef, Kind, Meta, Name, Provisioning, Qos, SnapshotSpec,
    SourceSpec, Specs, VolumeSpec,
};

/// The spec of one object. Its JSON is made where it is shown: a table of a hundred thousand shows none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Declared<'a> {
    /// Of a Volume.
    Volume(&'a VolumeSpec),
    /// Of a Snapshot.
    Snapshot(&'a SnapshotSpec),
    /// Of an Export.
    Export(&'a ExportSpec),
    /// Of a Backend.
    Backend(&'a BackendSpec),
}

impl<'a> Declared<'a> {
    /// What is declared under a kind and name, where that kind has objects.
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

    /// In the form of the manifest, with sizes in bytes.
    pub fn json(self) -> Value {
        match self {
            Self::Volume(spec) => volume_json(spec),
            Self::Snapshot(spec) => snapshot_json(spec),
            Self::Export(spec) => export_json(spec),
            Self::Backend(spec) => backend_json(spec),
        }
    }
}

impl Serialize for Declared<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

/// Only what is written (null is what is not), under the names that manifests use.
fn written<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

fn volume_json(spec: &VolumeSpec) -> Value {
    let VolumeSpec {
        meta: _,
        backend,
        size,
        provisioning,
        source,
        protected,
        on_remove,
        object,
        adopt,
        restore,
        qos,
        encrypted,
    } = spec;
    written([
        ("backend", json!(backend)),
        ("size", json!(size)),
        (
            "provisioning",
            json!(provisioning.map(|p| match p {
                Provisioning::Thin => "thin",
                Provisioning::Thick => "thick",
            })),
        ),
        (
            "source",
            match source {
                None => Value::Null,
                Some(SourceSpec::Snapshot(name)) => json!({"snapshot": name}),
                Some(SourceSpec::Volume(name)) => json!({"volume": name}),
                Some(SourceSpec::Image(ImageRef { path, format, sha256 })) => {
                    let path = path.display().to_string();
                    json!({"image": written([("path", json!(path)), ("format", json!(format)), ("sha256", json!(sha256))])})
                }
            },
        ),
        ("protected", json!(protected)),
        ("onRemove", json!(on_remove)),
        ("object", json!(object)),
        ("adopt", adopt.as_ref().map_or(Value::Null, |name| json!({"name": name}))),
        ("restore", restore.as_ref().map_or(Value::Null, |r| json!({"snapshot": r.snapshot, "request": r.request}))),
        (
            "qos",
            qos.as_ref().map_or(Value::Null, |qos| {
                let Qos { iops, read_iops, write_iops, bps, read_bps, write_bps, iops_burst, bps_burst } = qos;
                written([
                    ("iops", json!(iops)),
                    ("readIops", json!(read_iops)),
                    ("writeIops", json!(write_iops)),
                    ("bps", json!(bps)),
                    ("readBps", json!(read_bps)),
                    ("writeBps", json!(write_bps)),
                    ("iopsBurst", json!(iops_burst)),
                    ("bpsBurst", json!(bps_burst)),
                ])
            }),
        ),
        ("encryption", if *encrypted { json!({}) } else { Value::Null }),
    ])
}

fn snapshot_json(spec: &SnapshotSpec) -> Value {
    let SnapshotSpec { meta: _, volume, protected, on_remove, adopt } = spec;
    written([
        ("volume", json!(volume)),
        ("protected", json!(protected)),
        ("onRemove", json!(on_remove)),
        ("adopt", adopt.as_ref().map_or(Value::Null, |name| json!({"name": name}))),
    ])
}

fn export_json(spec: &ExportSpec) -> Value {
    let ExportSpec { meta: _, what, target, protocol } = spec;
    let (volume, snapshot) = match what {
        ExportedThing::Volume(name) => (json!(name), Value::Null),
        ExportedThing::Snapshot(name) => (Value::Null, json!(name)),
    };
    written([("volume", volume), ("snapshot", snapshot), ("target", json!(target)), ("protocol", json!(protocol))])
}

fn backend_json(spec: &BackendSpec) -> Value {
    let BackendSpec { meta: _, config, concurrency, timeout, max_fill, overcommit, via } = spec;
    let path = |path: &std::path::Path| json!(path.display().to_string());
    let (section, values) = match config {
        DriverConfig::Local { path: pool, create } => ("local", json!({"path": path(pool), "create": create})),
        DriverConfig::Sim { path: file, seed, capacity, faults: _ } => (
            "sim",
            written([
                ("path", file.as_deref().map_or(Value::Null, path)),
                ("seed", json!(seed)),
                ("capacity", json!(capacity)),
            ]),
        ),
        DriverConfig::Unbuilt { .. } => ("", Value::Null),
    };
    written([
        ("driver", json!(config.driver())),
        (section, values),
        ("concurrency", json!(concurrency)),
        ("timeout", json!(timeout.to_string())),
        ("maxFill", json!(max_fill.to_string())),
        ("overcommit", overcommit.map_or(Value::Null, |share| json!(f64::from(share.0) / 100.0))),
        ("via", if via.is_empty() { Value::Null } else { json!(via) }),
    ])
}
