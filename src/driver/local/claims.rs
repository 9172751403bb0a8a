//! Which objects and names running steps work on.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::model::{Action, NativeName, Step, Uid};

/// What one step at a time may work on: its object, and each native name that it may move something to or from. Two steps on one name
/// can be about two objects, for example a file that two manifests adopt one after the other.
#[derive(PartialEq, Eq, Hash)]
enum Claim {
    Object(Uid),
    Name(NativeName),
}

impl Claim {
    fn of(step: &Step) -> Vec<Self> {
        let mut claims = vec![Self::Object(step.identity.uid), Self::Name(step.native.clone())];
        if let Action::Rename { from, .. } = &step.action {
            claims.push(Self::Name(from.clone()));
        }
        claims
    }

    fn any_taken(taken: &HashSet<Self>, step: &Step) -> bool {
        Self::of(step).iter().any(|claim| taken.contains(claim))
    }
}

/// The claims of all running steps of a driver.
#[derive(Default)]
pub(super) struct StepClaims {
    taken: Mutex<HashSet<Claim>>,
    released: Condvar,
}

impl StepClaims {
    /// Waits until no other step works on what this step works on. All claims of a step are taken at once, so no two steps wait for
    /// each other.
    pub(super) fn take(&self, step: &Step) -> TakenClaims<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let must_wait = |taken: &mut HashSet<Claim>| Claim::any_taken(taken, step);
        let mut taken = self.released.wait_while(taken, must_wait).unwrap_or_else(PoisonError::into_inner);
        taken.extend(Claim::of(step));
        TakenClaims { all: self, own: Claim::of(step) }
    }

    #[cfg(test)]
    pub(super) fn must_wait(&self, step: &Step) -> bool {
        Claim::any_taken(&self.taken.lock().unwrap(), step)
    }
}

/// The claims of one step, released on drop.
pub(super) struct TakenClaims<'a> {
    all: &'a StepClaims,
    own: Vec<Claim>,
}

impl Drop for TakenClaims<'_> {
    fn drop(&mut self) {
        let mut taken = self.all.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for claim in &self.own {
            taken.remove(claim);
        }
        drop(taken);
        self.all.released.notify_all();
    }
}
