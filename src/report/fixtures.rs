//! Fixtures shared by the tests of this module.

use std::collections::BTreeMap;

use serde_json::json;

use crate::model::{BackendSpec, Capabilities, Name, Reading, Specs, Stack, VolumeSpec};

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn capabilities() -> Capabilities {
    Capabilities {
        granularity: 4096,
        max_size: 1 << 60,
        max_name: 100,
        thin: true,
        thick: true,
        snapshot_while_open: true,
        grow_while_open: true,
        clones_depend: true,
        clone_volume: true,
        restore: true,
        rename: true,
        own_names: true,
        adopt: true,
        detach: true,
        qos: false,
        images: false,
        encryption: false,
        shares_blocks: Some(0),
        unusable: None,
    }
}

/// Returns the reading of a Stack with these volumes on a backend `fast`.
pub(super) fn reading(stack: Stack, volumes: &[&str]) -> Reading {
    let volume = |text: &str| -> VolumeSpec {
        serde_json::from_value(json!({
            "meta": {"name": text, "labels": {"a": "b"}, "renamed_from": null},
            "backend": "fast", "size": 4096, "provisioning": null, "source": null, "protected": null,
            "on_remove": null, "object": null, "adopt": null, "restore": null, "qos": null, "encrypted": false,
        }))
        .unwrap()
    };
    let fast: BackendSpec = serde_json::from_value(json!({
        "meta": {"name": "fast", "labels": {}, "renamed_from": null},
        "config": {"driver": "sim", "settings": {}, "place": "memory", "built": true},
        "concurrency": 8, "timeout": 30, "max_fill": 900_000, "overcommit": null, "via": [],
    }))
    .unwrap();
    let volumes = volumes.iter().map(|text| (name(text), volume(text))).collect();
    Reading::of(Specs { volumes, backends: BTreeMap::from([(name("fast"), fast)]), ..Specs::of(stack) })
}
