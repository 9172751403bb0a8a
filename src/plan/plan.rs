//! The headline: [`plan`].

use std::collections::BTreeMap;

use crate::model::Name;

use super::backend_state::{self, BackendState, Blocked};
use super::draft::Draft;
use super::gate::{self, GateVerdict};
use super::inventory::Inventory;
use super::types::{Inputs, Plan, Unobserved};
use super::unreachable::hold_unreachable;
use super::{digest, drift, kind, order};

/// Compares what is declared with what is there, and says which steps bring the second to the first.
///
/// Guarantees: every declared volume and snapshot is as declared, or has steps, or is held; nothing that is not ours has a step,
/// other than being adopted; nothing is removed whose absence from the specs is in doubt. [`super::lint`] checks this of every
/// plan once more.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let inventory = Inventory::new(inputs);
    let mut draft = Draft::new(&inventory);
    kind::hold_unreadable(&inventory, &mut draft);
    kind::hold_unbuilt(&inventory, &mut draft);
    kind::complete_renames(&inventory, &mut draft);
    kind::volumes(&inventory, &mut draft);
    kind::snapshots(&inventory, &mut draft);
    kind::restores(&inventory, &mut draft);
    kind::growths_back(&inventory, &mut draft);
    kind::removals(&inventory, &mut draft);
    gate::wait_for_confirmation(&inventory, &mut draft);
    hold_unreachable(&inventory, &mut draft);
    gate::hold_suspended(&inventory, &mut draft);
    gate::hold_locked(&inventory, &mut draft);
    let GateVerdict { asked: approval, used, too_much } = gate::approve(&inventory, &mut draft);
    kind::keep_what_gives_way_in_vain(&mut draft);
    gate::warn_of_renames(&inventory, &mut draft);

    let Draft { mut held, warnings, steps, dropped, doubted, unsettled, look_inside, .. } = draft;
    held.sort();
    held.dedup();
    let mut plan = Plan {
        owner: inputs.reading.specs.stack.owner.clone(),
        revision: inputs.reading.revision.clone(),
        steps: order::order(steps, &dropped),
        held,
        drift: drift::drift(&inventory),
        warnings,
        unobserved: not_usable(&inventory.backends),
        approval,
        used,
        too_much,
        doubted,
        unsettled,
        look_inside,
        digest: String::new(),
    };
    plan.digest = digest::digest(&plan);
    plan
}

/// The backends of which the look shows nothing to go by, or not all.
pub fn unobserved(inputs: &Inputs<'_>) -> Vec<Unobserved> {
    not_usable(&backend_state::states(inputs))
}

fn not_usable(backends: &BTreeMap<&Name, BackendState<'_>>) -> Vec<Unobserved> {
    backends
        .iter()
        .filter_map(|(name, state)| match state {
            BackendState::Blocked(Blocked { unobserved: true, message, .. }) => {
                Some(Unobserved { backend: (*name).clone(), message: message.clone() })
            }
            BackendState::Usable(good) if !good.observed.gaps.is_empty() => {
                let message = format!("{name} was seen only in part: {}", good.observed.gaps.join("; "));
                Some(Unobserved { backend: (*name).clone(), message })
            }
            BackendState::Blocked(_) | BackendState::Usable(_) => None,
        })
        .collect()
}
