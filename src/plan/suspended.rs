//! What a person suspended: nothing is done to it, and nothing is made from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, Kind, Name, Step, Suspension};
use crate::text::rfc3339;

use super::plan::{Planner, Subject, read_by};
use super::types::HeldReason;

/// The suspension of an object: its own, else that of everything.
pub fn suspension_of<'a>(suspended: &'a [Suspension], kind: Kind, name: &Name) -> Option<&'a Suspension> {
    let covering = || suspended.iter().filter(|suspension| suspension.covers(kind, name));
    covering().find(|suspension| suspension.object.is_some()).or_else(|| covering().next())
}

/// The command that ends it.
pub fn resume(suspension: &Suspension) -> String {
    match &suspension.object {
        Some(object) => format!("`kiln resume {object}`"),
        None => "`kiln resume`".to_owned(),
    }
}

/// What a person said, in one sentence: `it is suspended until 2026-11-27T10:00:00Z: the disk is being exchanged`.
pub fn suspended_because(suspension: &Suspension) -> String {
    let what = if suspension.object.is_some() { "it is" } else { "everything is" };
    let until = suspension.until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
    format!("{what} suspended{until}: {}", suspension.reason)
}

impl Planner<'_> {
    /// Holds every step for what is suspended, with all that waits for it, and every step that would read it.
    pub(super) fn hold_suspended(&mut self) {
        let inputs = self.inputs;
        if inputs.suspended.is_empty() {
            return;
        }
        let mut by_object: BTreeMap<_, (&Suspension, Vec<usize>)> = BTreeMap::new();
        for (index, step) in self.steps.iter().enumerate().filter(|(index, _)| !self.dropped.contains(index)) {
            // An object that is being renamed is suspended under either name.
            let identity = &step.identity;
            let bears = self.by_uid.get(&identity.uid).and_then(|(_, object)| object.identity.as_ref());
            let suspension = suspension_of(inputs.suspended, identity.kind, &identity.name)
                .or_else(|| suspension_of(inputs.suspended, identity.kind, &bears?.name));
            if let Some(suspension) = suspension {
                by_object.entry(step.identity.uid).or_insert((suspension, Vec::new())).1.push(index);
            }
        }
        let mut waiting = BTreeSet::new();
        for (suspension, indexes) in by_object.values() {
            // One object is held once: what is said is what would become of it in the end.
            let steps = indexes.iter().map(|index| &self.steps[*index]);
            let is_renamed = |step: &Step| matches!(step.action, Action::Rename { .. });
            let Some(step) = steps.min_by_key(|step| (!step.is_removal(), !is_renamed(step))) else { continue };
            let (identity, backend, action) = (step.identity.clone(), step.backend.clone(), step.action.verb());
            let (kind, name, uid) = (identity.kind, &identity.name, Some(identity.uid));
            let about = Subject { kind, name, backend: Some(&backend), uid, action };
            self.hold(&about, HeldReason::Suspended, suspended_because(suspension), resume(suspension));
            self.dropped.extend(indexes);
            for index in indexes {
                let others = self.waiting.remove(index).unwrap_or_default();
                waiting.extend(others.into_iter().map(|other| (other, kind, name.clone())));
            }
        }
        for (index, kind, name) in waiting {
            let what = format!("{} {name}", kind.as_lower());
            let message = format!("it waits for {what}, which is held");
            self.hold_step(
                index,
                HeldReason::DependencyHeld,
                message,
                &format!("see what holds it: `kiln describe {}/{name}`", kind.as_lower()),
            );
        }
        self.hold_readers_of_suspended();
    }

    /// Whoever suspends an object perhaps works on it by hand: what would be copied now is nobody's intention.
    fn hold_readers_of_suspended(&mut self) {
        let inputs = self.inputs;
        for index in 0..self.steps.len() {
            let source = read_by(&self.steps[index]).and_then(|object| self.by_uid.get(&object.uid));
            let Some(identity) = source.and_then(|(_, object)| object.identity.as_ref()) else { continue };
            let Some(suspension) = suspension_of(inputs.suspended, identity.kind, &identity.name) else { continue };
            let message = format!(
                "it takes its content from {} {}, which is suspended: {}",
                identity.kind.as_lower(),
                identity.name,
                suspension.reason
            );
            self.hold_step(index, HeldReason::DependencyHeld, message, &resume(suspension));
        }
    }
}
