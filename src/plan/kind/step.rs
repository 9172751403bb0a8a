//! Steps on objects that exist.

use crate::model::{Action, Expect, Reason, Step};

use crate::plan::inventory::OwnedObject;

/// Returns a step on an object under the names that it has now. It has no risk, shows no changes, removes nothing and waits for no
/// other step.
pub(super) fn step_on(object: &OwnedObject<'_>, action: Action, reason: Reason, expect: Expect) -> Step {
    Step {
        native: object.native.clone(),
        parent_volume: object.parent_volume.clone(),
        expect,
        ..Step::new(object.backend.clone(), object.identity.clone(), action, reason)
    }
}
