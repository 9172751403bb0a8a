//! Documents whose driver is not implemented, that are not allowed on this host, or that cannot be read.

use crate::model::{Kind, Unreadable, Verb};

use crate::plan::backend_state::BackendState;
use crate::plan::blocked::BlockCause;
use crate::plan::draft::Draft;
use crate::plan::hold::Subject;
use crate::plan::inventory::Inventory;
use crate::plan::types::HeldReason;

use super::checks::check_allowed;

/// Holds documents whose driver is not implemented yet, or not allowed.
pub(in crate::plan) fn hold_unimplemented(inventory: &Inventory<'_>, draft: &mut Draft<'_>) {
    let specs = inventory.specs();
    for (name, target) in &specs.targets {
        let message = format!("the target driver {:?} is not implemented yet", target.driver);
        hold_no_driver(inventory, draft, &Subject::declared(Kind::Target, name), message, "remove the Target");
    }
    // An Export that is no longer declared will be closed only where `Reading::withdraws` allows it, once exports are implemented.
    for (name, export) in &specs.exports {
        let message = "no target driver is implemented yet".to_owned();
        let subject = Subject { target: Some(&export.target), ..Subject::declared(Kind::Export, name) };
        hold_no_driver(inventory, draft, &subject, message, "remove the Export");
    }
    for (name, state) in &inventory.backends {
        if let BackendState::Blocked(blocked) = state
            && blocked.cause == BlockCause::Document
        {
            let subject = Subject::declared(Kind::Backend, name);
            draft.hold(subject.hold(blocked.reason, blocked.message.clone(), blocked.fix.clone()));
        }
    }
}

fn hold_no_driver(inventory: &Inventory<'_>, draft: &mut Draft<'_>, subject: &Subject<'_>, message: String, fix: &str) {
    let allowed = check_allowed(inventory, subject);
    let fix = format!("{fix}{}", inventory.place_of(subject.kind, subject.name));
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
