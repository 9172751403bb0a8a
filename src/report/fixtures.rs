//! Fixtures shared by the tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::model::fixtures::name;
use crate::model::{BackendSpec, Capabilities, Object, Observed, Owner, Reading, Specs, Stack, VolumeSpec};
use crate::plan::{Observation, Overview, Plan};

/// The time of an [`overview`].
pub(super) const NOW: u64 = 1_795_305_600;

/// Returns an overview with nothing to do, in which a backend `fast` has these objects.
pub(super) fn overview(objects: Vec<Object>) -> Overview {
    let paths = objects.iter().map(|object| (object.address(), format!("/pool/{}", object.native).into())).collect();
    let observed = Observed { objects, ..Observed::nothing() };
    let seen = Observation::Seen { capabilities: Capabilities::everything(), observed };
    Overview {
        now: NOW,
        world: BTreeMap::from([(name("fast"), seen)]),
        judged: Arc::default(),
        paths: BTreeMap::from([(name("fast"), paths)]),
        records: Arc::default(),
        suspended: Vec::new(),
        journal: Vec::new(),
        plan: Plan::of(Owner::unnamed(), String::new(), Vec::new()),
        retries: Vec::new(),
        running: Vec::new(),
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
