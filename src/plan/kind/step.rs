//! Steps on objects that exist.

use crate::model::{Action, Expect, Reason, Risk, Size, Step};

use crate::plan::inventory::OwnedObject;

/// Returns a step on an object under the names that it has now. It has no risk, shows no changes, removes nothing and waits for no
/// other step.
pub(super) fn step_on(object: &OwnedObject<'_>, action: Action, reason: Reason, expect: Expect) -> Step {
    Step {
        backend: object.backend.clone(),
        identity: object.identity.clone(),
        native: object.native.clone(),
        action,
        expect,
        risk: Risk::None,
        reason,
        changes: Vec::new(),
        bytes: Size(0),
        after: Vec::new(),
    }
}
