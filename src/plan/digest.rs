//! The digest of a plan: equal where the same would be done to the same objects.

use super::types::Plan;

/// Over the steps with everything they expect, and what is held; not over the revision, messages or anything that is a time.
pub(super) fn digest(plan: &Plan) -> String {
    let mut hash = blake3::Hasher::new();
    let mut add = |value: serde_json::Result<String>| {
        // Nothing here can fail to serialise: strings, numbers, and maps with string keys.
        hash.update(value.unwrap_or_default().as_bytes());
        hash.update(b"\n");
    };
    add(serde_json::to_string(&plan.owner));
    for step in &plan.steps {
        add(serde_json::to_string(step));
    }
    for held in &plan.held {
        add(serde_json::to_string(&(held.kind, &held.name, held.action, &held.backend, held.uid, held.reason)));
    }
    hash.finalize().to_hex().as_str()[..32].to_owned()
}
