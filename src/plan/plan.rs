//! [`plan`]: makes the plan, rule by rule.

use std::collections::BTreeMap;

use crate::model::Name;

use super::backend_state::BackendState;
use super::copies::warn_of_copies;
use super::draft::Draft;
use super::gate::{self, GateVerdict};
use super::inputs::Inputs;
use super::inventory::Inventory;
use super::no_trash::warn_without_trash;
use super::room::take_room_of_running;
use super::types::{Plan, Unobserved};
use super::unreachable::hold_unreachable;
use super::{drift, kind, order};

/// Compares the specs with the observations and returns the steps that make the backends match the specs.
///
/// Guarantees: every declared volume and snapshot is as declared, has steps, or is held; an object of another owner, or of none, has
/// no step but its adoption; no object is removed whose absence from the specs is in doubt. [`super::lint`] checks every plan
/// against these guarantees.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let inventory = Inventory::new(inputs);
    let mut draft = Draft::new(&inventory);
    kind::hold_unreadable(&inventory, &mut draft);
    take_room_of_running(&inventory, &mut draft);
    kind::hold_unimplemented(&inventory, &mut draft);
    kind::complete_renames(&inventory, &mut draft);
    kind::complete_restores(&inventory, &mut draft);
    kind::volumes(&inventory, &mut draft);
    kind::snapshots(&inventory, &mut draft);
    kind::restores(&inventory, &mut draft);
    kind::growths_back(&inventory, &mut draft);
    kind::removals(&inventory, &mut draft);
    kind::follow_renames(&inventory, &mut draft);
    kind::hold_beside_restores(&inventory, &mut draft);
    gate::hold_until_confirmation_read(&inventory, &mut draft);
    hold_unreachable(&inventory, &mut draft);
    gate::hold_running(&inventory, &mut draft);
    gate::hold_suspended(&inventory, &mut draft);
    gate::hold_blocked(&inventory, &mut draft);
    gate::hold_locked(&inventory, &mut draft);
    let GateVerdict { awaiting, used, too_much } = gate::hold_unapproved(&inventory, &mut draft);
    gate::hold_until_old_is_decided(&inventory, &mut draft);
    kind::keep_unreplaced(&mut draft);
    warn_without_trash(&inventory, &mut draft);
    warn_of_copies(&inventory, &mut draft);
    gate::warn_of_renames(&inventory, &mut draft);

    let Draft { mut held, warnings, steps, dropped, doubted, unsettled, to_inspect, .. } = draft;
    held.sort();
    held.dedup();
    Plan {
        owner: inputs.reading.specs.stack.owner.clone(),
        revision: inputs.reading.revision.clone(),
        steps: order::order(steps, &dropped),
        held,
        drift: drift::drift(&inventory),
        warnings,
        unobserved: not_usable(&inventory.backends),
        awaiting,
        used,
        too_much,
        doubted,
        unsettled,
        to_inspect,
    }
}

/// Returns the backends that were not observed completely, or whose pool changed.
pub fn unobserved(inputs: &Inputs<'_>) -> Vec<Unobserved> {
    not_usable(&inputs.backends())
}

fn not_usable(backends: &BTreeMap<&Name, BackendState<'_>>) -> Vec<Unobserved> {
    backends
        .iter()
        .filter_map(|(name, state)| match state {
            BackendState::Blocked(blocked) if blocked.is_unobserved() => {
                Some(Unobserved { backend: (*name).clone(), message: blocked.message.clone() })
            }
            BackendState::Usable(usable) if !usable.observed.gaps.is_empty() => {
                let message = format!("the observation of {name} is incomplete: {}", usable.observed.gaps.join("; "));
                Some(Unobserved { backend: (*name).clone(), message })
            }
            BackendState::Blocked(_) | BackendState::Usable(_) => None,
        })
        .collect()
}
