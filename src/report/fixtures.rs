//! Fixtures shared by the tests of this module.

use std::collections::BTreeMap;

use serde_json::json;

use crate::model::fixtures::name;
use crate::model::{BackendSpec, Reading, Specs, Stack, VolumeSpec};

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
