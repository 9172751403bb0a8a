//! The suspensions that a pass obeys: the union of what the pools and the store have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{
    Action, DriverError, Name, ObjectId, Owner, Records, Step, Suspension, SuspensionId, Suspensions, Uid,
};
use crate::plan::{Observation, suspended_because};

use super::backend_session::BackendSession;
use super::observe::Observations;
use super::observe::Phase;
use super::session::Session;

impl Session<'_> {
    /// Every record of this owner's suspensions, on the pools and in the store.
    pub(super) fn suspensions(&self) -> Suspensions {
        let owner = &self.specs().stack.owner;
        let stored = self.records.suspensions.values().filter(|one| one.owner == *owner);
        Suspensions::union(self.observations.suspensions.values().flatten().chain(stored))
    }

    /// Copies the suspensions that another owner has not resumed to this owner, on one backend: adopted objects stay suspended. Repeatable; what
    /// this owner resumed since stays resumed. Returns a sentence for each suspension in force.
    pub(super) async fn take_over_suspensions(&self, name: &Name, from: &Owner) -> Result<Vec<String>, DriverError> {
        let Some(backend) = self.observations.backends.get(name) else { return Ok(Vec::new()) };
        let on_pool = backend.suspensions(from).await?;
        let stored = self.records.suspensions.values().filter(|one| one.owner == *from);
        let ours = self.suspensions();
        let mut said = Vec::new();
        for theirs in Suspensions::union(on_pool.iter().chain(stored)).0.into_values() {
            if theirs.resumed.is_some() || ours.0.contains_key(&theirs.id()) {
                continue;
            }
            let mine = Suspension { owner: self.specs().stack.owner.clone(), ..theirs };
            backend.write_suspension(&mine).await?;
            if mine.is_in_force(self.now) {
                said.push(format!("still suspended: {}: {}", named(&mine), suspended_because(&mine)));
            }
        }
        Ok(said)
    }

    /// Writes records that only other pools or the store have to the pools whose lock is held: suspensions in force, and resumes of suspensions
    /// that are in force there. A record that cannot be written stays where it is, and still applies.
    pub(super) async fn spread_suspensions(&mut self) {
        let union = self.suspensions();
        let mut calls = Vec::new();
        for (name, backend) in self.observations.backends.iter().filter(|(_, backend)| backend.lock.is_some()) {
            if self.observations.world.get(name).and_then(Observation::observed).is_none() {
                continue;
            }
            let Some(on_it) = self.observations.suspensions.get(name) else { continue };
            let mut missing = Vec::new();
            for one in union.0.values() {
                let there = on_it.iter().find(|other| other.id() == one.id());
                let is_in_force_there = there.is_some_and(|there| there.resumed.is_none());
                // A suspension whose time has passed is ended for good only a day later: a clock may have jumped.
                let is_over =
                    one.resumed.is_some() || one.until.is_some_and(|until| until.saturating_add(86_400) <= self.now);
                missing.push(match one.is_in_force(self.now) {
                    true if there.is_none() => one.clone(),
                    false if is_in_force_there && is_over => {
                        Suspension { resumed: one.resumed.or(one.until), ..one.clone() }
                    }
                    _ => continue,
                });
            }
            if !missing.is_empty() {
                let (spec, session, backend) = (backend.spec.clone(), Some(backend.clone()), backend.clone());
                calls.push((spec, session, async move { write_suspensions(&backend, missing).await }));
            }
        }
        let enter = |observations: &mut Observations, name: Name, written: Vec<Suspension>| {
            let Some(on_it) = observations.suspensions.get_mut(&name) else { return };
            on_it.retain(|other| !written.iter().any(|record| record.id() == other.id()));
            on_it.extend(written);
        };
        self.observations.each(Some(Phase::Suspensions), calls, enter).await;
    }

    /// The changes by which the store gets the records of the pools, and keeps resumes that a pool may not have yet.
    pub(super) fn suspensions_to_remember(&self, known: &Records) -> Vec<(String, Option<Suspension>)> {
        let owner = &self.specs().stack.owner;
        let mine = || known.suspensions.iter().filter(|(_, one)| one.owner == *owner);
        let union =
            Suspensions::union(mine().map(|(_, one)| one).chain(self.observations.suspensions.values().flatten()));
        let all_reached = self.specs().backends.keys().all(|name| self.usable.contains(name));
        let on_pools = || self.observations.suspensions.values().flatten();
        let unaware = |one: &Suspension| on_pools().any(|other| other.resumed.is_none() && other.id() == one.id());
        let remembered = |one: &&Suspension| match one.resumed {
            Some(at) => (!all_reached || unaware(one)) && at + Suspension::RESUMED_DAYS * 86_400 > self.now,
            None => one.is_in_force(self.now),
        };
        let kept: BTreeMap<String, &Suspension> =
            union.0.values().filter(remembered).map(|one| (one.key(), one)).collect();
        let gone = mine().filter(|(key, _)| !kept.contains_key(*key)).map(|(key, _)| (key.clone(), None));
        let new = kept.iter().filter(|(key, one)| known.suspensions.get(*key) != Some(**one));
        let new: Vec<_> = new.map(|(key, one)| (key.clone(), Some((*one).clone()))).collect();
        gone.chain(new).collect()
    }

    /// The objects whose suspensions the steps of this pass obey.
    pub(super) fn step_suspensions(&self, steps: &[Step]) -> StepSuspensions {
        let ended = self.suspensions().0.into_iter().filter(|(_, one)| one.resumed.is_some()).map(|(id, _)| id);
        // Steps that rename an object or read another one also obey suspensions of its present name.
        let mut wanted: HashMap<Uid, Vec<ObjectId>> = HashMap::new();
        for step in steps {
            if let Action::Rename { .. } = step.action {
                wanted.insert(step.identity.uid, Vec::new());
            }
            wanted.extend(step.action.reads().map(|(_, object)| (object.uid, Vec::new())));
        }
        if !wanted.is_empty() {
            let seen = self.observations.world.values().flat_map(Observation::objects);
            let identities = seen.filter_map(|object| object.identity.as_ref());
            for identity in identities.chain(steps.iter().map(|step| &step.identity)) {
                if let Some(names) = wanted.get_mut(&identity.uid) {
                    names.push(identity.id());
                }
            }
        }
        let about = |step: &Step| {
            let mut about = vec![step.identity.id()];
            about.extend(step.action.with().iter().map(|inner| inner.identity.id()));
            let others =
                [Some(step.identity.uid), step.action.reads().map(|(_, object)| object.uid)].into_iter().flatten();
            about.extend(others.filter_map(|uid| wanted.get(&uid)).flatten().cloned());
            about
        };
        StepSuspensions { ended: Arc::new(ended.collect()), about: steps.iter().map(about).collect() }
    }
}

/// Records suspensions on a pool. Returns those that were written.
async fn write_suspensions(backend: &BackendSession, records: Vec<Suspension>) -> Vec<Suspension> {
    let mut written = Vec::new();
    for record in records {
        match backend.write_suspension(&record).await {
            Ok(()) => written.push(record),
            Err(error) => {
                let backend = &backend.spec.meta.name;
                tracing::warn!(%backend, %error, "a suspension could not be recorded");
            }
        }
    }
    written
}

pub(super) fn named(suspension: &Suspension) -> String {
    match &suspension.object {
        Some(object) => object.to_string(),
        None => format!("everything of {}", suspension.owner),
    }
}

/// For each step, the objects whose suspensions it obeys, including those that another process records while the pass runs.
#[derive(Default)]
pub(super) struct StepSuspensions {
    ended: Arc<BTreeSet<SuspensionId>>,
    /// For each step, the objects that it is about and those that it reads.
    about: Vec<Vec<ObjectId>>,
}

/// The objects whose suspensions one step obeys.
pub(super) struct ObjectSuspensions {
    ended: Arc<BTreeSet<SuspensionId>>,
    about: Vec<ObjectId>,
}

impl StepSuspensions {
    /// For steps on objects that a person named.
    pub(super) fn nothing() -> Self {
        Self::default()
    }

    /// Returns the objects of the step with this index.
    pub(super) fn by(&self, index: usize) -> ObjectSuspensions {
        let about = self.about.get(index).cloned().unwrap_or_default();
        ObjectSuspensions { ended: Arc::clone(&self.ended), about }
    }
}

impl ObjectSuspensions {
    /// Reads the pool's records and returns the suspension that forbids the step now.
    pub(super) async fn suspended(
        &self,
        backend: &BackendSession,
        step: &Step,
        now: u64,
    ) -> Result<Option<Suspension>, DriverError> {
        if self.about.is_empty() {
            return Ok(None);
        }
        let on_pool = backend.suspensions(&step.identity.owner).await?;
        let is_against = |one: &Suspension| {
            let covers = || self.about.iter().any(|object| one.covers(object.kind, &object.name));
            one.is_in_force(now) && !self.ended.contains(&one.id()) && covers()
        };
        Ok(Suspensions::union(&on_pool).in_force(now).into_iter().rev().find(is_against))
    }
}
