//! Documents without a supported driver, not allowed on this host, or unreadable.

use crate::model::{Kind, Name, Unreadable, Verb};

use crate::plan::backend_state;
use crate::plan::draft::Draft;
use crate::plan::hold::Subject;
use crate::plan::inventory::Inventory;
use crate::plan::types::{HeldReason, Observation};

use super::checks::check_allowed;

/// Holds documents whose driver is not supported yet, or not allowed.
pub(in crate::plan) fn hold_unbuilt(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    let specs = inventory.specs();
    for (name, target) in &specs.targets {
        let message = format!("the target driver {:?} is not supported yet", target.driver);
        hold_no_driver(inventory, draft, Kind::Target, name, message, "remove the Target");
    }
    // An Export that is no longer declared will be closed only where `Reading::withdraws` allows it, once exports are supported.
    for name in specs.exports.keys() {
        let message = "no target driver is supported yet".to_owned();
        hold_no_driver(inventory, draft, Kind::Export, name, message, "remove the Export until one is");
    }
    for (name, spec) in &specs.backends {
        let subject = Subject::declared(Kind::Backend, name);
        // A Backend whose path did not answer is reported as unobserved.
        if inventory.reading().not_allowed(Kind::Backend, name).is_some_and(|barred| barred.unresponsive) {
            continue;
        }
        // A Backend that is not allowed was not observed, whatever its driver.
        if draft.accept(check_allowed(inventory, &subject)).is_none() {
            continue;
        }
        if !spec.via.is_empty() {
            let message = "`via` is not supported yet: manifests may not run commands";
            draft.hold(subject.hold(HeldReason::NotAllowed, message, "remove `via`"));
            continue;
        }
        match inventory.inputs.world.get(name) {
            Some(Observation::Unsupported) => {
                let message = format!("the driver {:?} is not supported yet", spec.config.driver());
                let fix = "use a supported driver: local or sim";
                draft.hold(subject.hold(HeldReason::Unsupported, message, fix));
            }
            Some(Observation::Seen { capabilities, .. } | Observation::LockedBy { capabilities, .. }) => {
                if let Some(why) = &capabilities.unusable {
                    let message = format!("backend {name} cannot be used: {why}");
                    draft.hold(subject.hold(HeldReason::Unsupported, message, backend_state::UNUSABLE));
                }
            }
            Some(Observation::Failed { .. }) | None => {}
        }
    }
}

fn hold_no_driver(
    inventory: &Inventory<'_>,
    draft: &mut Draft<'_>,
    kind: Kind,
    name: &Name,
    message: String,
    fix: &str,
) {
    let subject = Subject::declared(kind, name);
    let allowed = check_allowed(inventory, &subject);
    let hold = allowed.err().unwrap_or_else(|| subject.hold(HeldReason::Unsupported, message, fix));
    draft.hold(hold);
}

/// Holds documents that cannot be read now, beside the plan made from their last valid content.
pub(in crate::plan) fn hold_unreadable(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    for Unreadable { kind, name, message, fix } in &inventory.reading().unreadable {
        let subject = Subject { action: Verb::Update, ..Subject::declared(*kind, name) };
        draft.hold(subject.hold(HeldReason::SourceBroken, message.clone(), fix.clone()));
    }
}
