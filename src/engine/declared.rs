//! Specs in the form of the manifests that declared them, for `kiln get -o json`: the fields that were written, under their names there,
//! sizes in bytes.

use serde_json::{Map, Value, json};

use crate::model::{
    BackendSpec, DriverConfig, ExportSpec, ExportedThing, ImageRef, Provisioning, Qos, SnapshotSpec, SourceSpec,
    VolumeSpec,
};

/// Only what is written (null is what is not), under the names that manifests use.
fn written<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

pub(super) fn volume_json(spec: &VolumeSpec) -> Value {
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

pub(super) fn snapshot_json(spec: &SnapshotSpec) -> Value {
    let SnapshotSpec { meta: _, volume, protected, on_remove, adopt } = spec;
    written([
        ("volume", json!(volume)),
        ("protected", json!(protected)),
        ("onRemove", json!(on_remove)),
        ("adopt", adopt.as_ref().map_or(Value::Null, |name| json!({"name": name}))),
    ])
}

pub(super) fn export_json(spec: &ExportSpec) -> Value {
    let ExportSpec { meta: _, what, target, protocol } = spec;
    let (volume, snapshot) = match what {
        ExportedThing::Volume(name) => (json!(name), Value::Null),
        ExportedThing::Snapshot(name) => (Value::Null, json!(name)),
    };
    written([("volume", volume), ("snapshot", snapshot), ("target", json!(target)), ("protocol", json!(protocol))])
}

pub(super) fn backend_json(spec: &BackendSpec) -> Value {
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
