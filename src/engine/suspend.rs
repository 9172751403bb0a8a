//! Suspensions: what a person suspends and resumes, recorded on every pool that can be reached and in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::model::{
    Action, DriverError, Kind, Name, Object, ObjectId, Observed, Owner, Place, Records, Scope, Seconds, Specs, Step,
    Suspension, SuspensionId, Suspensions, Uid, Writer,
};
use crate::plan::{Observation, World, read_by, suspended_because};
use crate::store::Batch;
use crate::text::rfc3339;

use super::Setup;
use super::execute::commit;
use super::observe::{Backend, Intent, open};
use super::operations::OperationError;
use super::pass::Pass;
use super::stackless::refuse_without_stack;

/// What came of a suspension or its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    /// What holds now, a sentence each.
    pub said: Vec<String>,
    /// Backends on which it is not recorded, with why.
    pub missed: Vec<String>,
}

/// Suspends an object, or everything of this owner: until it is resumed, or for so long. It takes the place of an earlier suspension
/// of the same. No backend is observed for an object that is declared or remembered.
///
/// # Errors
/// [`OperationError::Usage`] for an object that is not known, [`OperationError::Failed`] if it is recorded nowhere, and [`OperationError::Store`].
pub async fn suspend(
    setup: &Setup,
    object: Option<ObjectId>,
    reason: &str,
    length: Option<Seconds>,
) -> Result<Written, OperationError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(OperationError::Usage("a suspension needs a reason: others will read it".to_owned()));
    }
    if reason.len() > Suspension::LONGEST_REASON {
        let most = Suspension::LONGEST_REASON;
        return Err(OperationError::Usage(format!(
            "a reason has at most {most} bytes, and this one has {}",
            reason.len()
        )));
    }
    let records = records(setup)?;
    let pools = Pools::open(setup, &records).await?;
    if let Some(ObjectId { kind, name }) = &object {
        must_be_known(setup, &records, *kind, name).await?;
    }
    let (now, owner) = (setup.clock.now(), &setup.reading.specs.stack.owner);
    let until = length.map(|length| now.saturating_add(length.0));
    let id = SuspensionId::of(&format!("{owner} {object:?} {now} {reason} {}", random()));
    let new = Suspension {
        id: Some(id),
        owner: owner.clone(),
        object,
        reason: reason.to_owned(),
        since: now,
        until,
        resumed: None,
    };
    let before = pools.union(owner, &records).in_force(now).into_iter().filter(|other| other.object == new.object);
    let before = before.map(|other| Suspension { resumed: Some(now), ..other });
    let until = until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
    let said = vec![format!("{} is suspended{until}: {}", named(&new), new.reason)];
    pools.write(setup, &records, std::iter::once(new.clone()).chain(before).collect(), said).await
}

/// Ends the suspension of an object, or that of everything. (Objects that are suspended by name stay so, and everything that is
/// suspended keeps each of its objects so.) Returns what holds now.
///
/// # Errors
/// [`OperationError::Usage`] if that is not suspended, [`OperationError::Failed`] if it is recorded nowhere, and [`OperationError::Store`].
pub async fn resume(setup: &Setup, object: Option<ObjectId>) -> Result<Written, OperationError> {
    let records = records(setup)?;
    let pools = Pools::open(setup, &records).await?;
    let now = setup.clock.now();
    let in_force = pools.union(&setup.reading.specs.stack.owner, &records).in_force(now);
    let (those, others): (Vec<_>, Vec<_>) = in_force.into_iter().partition(|suspension| suspension.object == object);
    let others: Vec<String> =
        others.iter().map(|other| format!("{}: {}", named(other), suspended_because(other))).collect();
    let Some(lifted) = those.first() else {
        let what = match &object {
            Some(object) => format!("{object} is not suspended by its name"),
            None => "there is no suspension of everything".to_owned(),
        };
        let instead = if others.is_empty() { "nor is anything else".to_owned() } else { others.join("; ") };
        let unread = pools.missed.iter().map(|missed| format!("; {missed}")).collect::<String>();
        return Err(OperationError::Usage(format!("{what}; {instead}{unread}")));
    };
    let mut said = vec![format!("{} is resumed", named(lifted))];
    said.extend(others.into_iter().map(|other| format!("still suspended: {other}")));
    let ended = those.into_iter().map(|one| Suspension { resumed: Some(now), ..one }).collect();
    pools.write(setup, &records, ended, said).await
}

fn named(suspension: &Suspension) -> String {
    match &suspension.object {
        Some(object) => object.to_string(),
        None => format!("everything of {}", suspension.owner),
    }
}

/// What the store remembers. Without a store (it is in use, say) the pools alone are asked.
fn records(setup: &Setup) -> Result<Arc<Records>, OperationError> {
    setup.store.as_ref().map_or_else(|| Ok(Arc::default()), |store| Ok(store.records()?))
}

/// A number that no other process gets: std keys its hash maps with the system's randomness.
fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// The pools of all declared backends, as far as records can be written to them.
struct Pools {
    reached: BTreeMap<Name, (Backend, Vec<Suspension>)>,
    /// Other processes that write there for this owner, a sentence each.
    writers: Vec<String>,
    /// Those without the mark: nothing of this owner is on them yet.
    fresh: Vec<Name>,
    /// Why others are not reached, a sentence each.
    missed: Vec<String>,
}

impl Pools {
    /// Opens them side by side, each within its own time. Nothing is listed where a Stack is declared.
    ///
    /// # Errors
    /// As [`refuse_without_stack`]: a suspension for `default` would not hold the objects of the Stack that is missing.
    async fn open(setup: &Setup, records: &Records) -> Result<Self, OperationError> {
        let (specs, mut pools) = (
            &setup.reading.specs,
            Self { reached: BTreeMap::new(), writers: Vec::new(), fresh: Vec::new(), missed: Vec::new() },
        );
        let mut tasks = JoinSet::new();
        for spec in specs.backends.values() {
            let name = spec.meta.name.clone();
            if let Some(barred) = setup.reading.not_allowed(Kind::Backend, &name) {
                pools.missed.push(format!("{name}: {}", barred.message));
                continue;
            }
            let known = records.backends.get(&name).map(|record| record.pool.clone());
            let (connect, spec, owner) = (Arc::clone(&setup.connect), spec.clone(), specs.stack.owner.clone());
            // Without a Stack the ledgers tell whose the pool is, and only a whole listing has them.
            let scope = if specs.stack.declared { Scope::Objects(Vec::new()) } else { Scope::All };
            tasks.spawn(async move {
                let opened = async {
                    let backend = open(connect, spec).await?;
                    let seen = backend.observe(&scope).await?;
                    let on_it = backend.suspensions(&owner).await?;
                    Ok((backend, seen, on_it))
                };
                let opened = opened.await.map_err(|error: DriverError| error.message);
                (name, known, opened)
            });
        }
        while let Some(joined) = tasks.join_next().await {
            let Ok((name, known, opened)) = joined else { continue };
            let observed = opened.as_ref().ok().map(|(_, seen, _)| seen);
            refuse_without_stack(specs, &name, observed, records.backends.get(&name))?;
            match opened {
                Ok((_, seen, _)) if seen.pool.is_none() && known.is_none() => pools.fresh.push(name),
                Ok((_, seen, _)) if seen.pool.is_none() || (known.is_some() && seen.pool != known) => {
                    pools.missed.push(format!("{name}: another pool is there than before"));
                }
                Ok((backend, seen, on_it)) => {
                    pools.writers.extend(writers_in(&name, &seen, &specs.stack.owner, None));
                    pools.reached.insert(name, (backend, on_it));
                }
                Err(why) => pools.missed.push(format!("{name}: {why}")),
            }
        }
        pools.fresh.sort();
        pools.missed.sort();
        Ok(pools)
    }

    /// Every record of an owner's suspensions, on these pools and in the store.
    fn union(&self, owner: &Owner, records: &Records) -> Suspensions {
        let on_pools = self.reached.values().flat_map(|(_, on_it)| on_it);
        Suspensions::union(on_pools.chain(records.suspensions.values().filter(|one| one.owner == *owner)))
    }

    /// Writes records to the store, then to every pool.
    async fn write(
        mut self,
        setup: &Setup,
        records: &Records,
        changed: Vec<Suspension>,
        mut said: Vec<String>,
    ) -> Result<Written, OperationError> {
        if let Some(store) = &setup.store {
            let mut suspensions: Vec<(String, Option<Suspension>)> = Vec::new();
            for one in &changed {
                // The row that it had before suspensions had ids.
                let old = Suspension { id: None, ..one.clone() }.key();
                if records.suspensions.get(&old).is_some_and(|there| there.id() == one.id()) {
                    suspensions.push((old, None));
                }
                suspensions.push((one.key(), Some(one.clone())));
            }
            commit(store, Batch { suspensions, ..Batch::default() }).await?;
        }
        let mut tasks = JoinSet::new();
        for (name, (backend, _)) in std::mem::take(&mut self.reached) {
            let changed = changed.clone();
            tasks.spawn(async move {
                for one in &changed {
                    if let Err(error) = backend.write_suspension(one).await {
                        return (name, Err(error.message));
                    }
                }
                (name, Ok(()))
            });
        }
        let mut reached = BTreeSet::new();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok((name, Ok(()))) => drop(reached.insert(name)),
                Ok((name, Err(why))) => self.missed.push(format!("{name}: {why}")),
                Err(error) => self.missed.push(format!("a backend: {error}")),
            }
        }
        self.missed.sort();
        if setup.store.is_none() && reached.is_empty() {
            let why = self.missed.iter().map(|missed| format!("; {missed}")).collect::<String>();
            return Err(OperationError::Failed(format!("it is recorded nowhere: no pool could be reached{why}")));
        }
        if !reached.is_empty() {
            let names: Vec<&str> = reached.iter().map(Name::as_str).collect();
            said.push(format!("recorded on {}", names.join(", ")));
        } else if self.missed.is_empty() {
            said.push("recorded in the store alone: no pool has been used yet".to_owned());
        }
        self.writers.sort();
        said.append(&mut self.writers);
        let missed = self.missed.into_iter().map(|missed| format!("not recorded on {missed}")).collect();
        Ok(Written { said, missed })
    }
}

/// The other processes that write to these backends for this owner, a sentence each; `daemon` is the one that is known already. They
/// work with another store (or their daemon is mute): no command reaches them through this one.
pub fn writers(world: &World, owner: &Owner, daemon: Option<u32>) -> Vec<String> {
    let of_one = |(name, view): (&Name, &Observation)| match view {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => {
            writers_in(name, observed, owner, daemon)
        }
        Observation::Failed { .. } | Observation::Unsupported => Vec::new(),
    };
    world.iter().flat_map(of_one).collect()
}

fn writers_in(backend: &Name, observed: &Observed, owner: &Owner, daemon: Option<u32>) -> Vec<String> {
    let others = observed.writers.get(owner).into_iter().flatten().filter(|writer| Some(writer.pid) != daemon);
    let sentence = |Writer { pid, command }: &Writer| {
        let command = if command.is_empty() { String::new() } else { format!(" ({command})") };
        format!(
            "process {pid}{command} on this host writes to {backend} for {owner}, and does not answer through this store: name its \
             store (`--state`, KILN_STATE), or end it"
        )
    };
    others.map(sentence).collect()
}

/// A name mistyped would suspend nothing, and nobody would notice.
async fn must_be_known(setup: &Setup, records: &Arc<Records>, kind: Kind, name: &Name) -> Result<(), OperationError> {
    let (specs, owner): (&Specs, _) = (&setup.reading.specs, &setup.reading.specs.stack.owner);
    let declared = match kind {
        Kind::Volume => specs.volumes.contains_key(name),
        Kind::Snapshot => specs.snapshots.contains_key(name),
        Kind::Export => specs.exports.contains_key(name),
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => {
            let sentence = format!("a {} cannot be suspended: only volumes, snapshots and exports", kind.as_lower());
            return Err(OperationError::Usage(sentence));
        }
    };
    let ledgers = || records.backends.values().filter_map(|record| record.ledger.as_ref());
    let entered = || {
        let ours = ledgers().filter(|ledger| ledger.owner == *owner);
        ours.flat_map(|ledger| ledger.complete.values()).any(|entry| entry.kind == kind && entry.name == *name)
    };
    if declared || records.find(owner, kind, name).is_some() || entered() {
        return Ok(());
    }
    let pass = Pass::begin(setup, Arc::clone(records), Intent::Look).await;
    let is_it = |o: &Object| o.place != Place::Temporary && o.is(owner, kind, name);
    let there = pass.observations.world.values().any(|view| match view {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => {
            observed.objects.iter().any(is_it)
        }
        Observation::Failed { .. } | Observation::Unsupported => false,
    });
    if there {
        return Ok(());
    }
    let mut sentence = format!("{}/{name} is not declared, not there, and not remembered", kind.as_lower());
    if let Some(unobserved) = pass.unobserved().first() {
        sentence.push_str(&format!(" (but {})", unobserved.message));
    }
    Err(OperationError::Usage(sentence))
}

impl Pass<'_> {
    /// Every record of this owner's suspensions, on the pools and in the store.
    pub(super) fn suspensions(&self) -> Suspensions {
        let owner = &self.specs().stack.owner;
        let stored = self.records.suspensions.values().filter(|one| one.owner == *owner);
        Suspensions::union(self.observations.suspensions.values().flatten().chain(stored))
    }

    /// Records on a backend, for this owner, what another owner suspended and did not resume: the objects that are taken over stay
    /// suspended. May be done again; what this owner resumed since stays resumed. Returns a sentence for each that is in force.
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

    /// Writes to the pools whose lock is held what only others, or the store, know: a suspension that is in force, and the end of one
    /// that is. A record that cannot be written stays where it is, and holds from there.
    pub(super) async fn spread_suspensions(&mut self) {
        let union = self.suspensions();
        for (name, backend) in self.observations.backends.iter().filter(|(_, backend)| backend.lock.is_some()) {
            let Some(on_it) = self.observations.suspensions.get_mut(name) else { continue };
            for one in union.0.values() {
                let there = on_it.iter().find(|other| other.id() == one.id());
                let is_in_force_there = there.is_some_and(|there| there.resumed.is_none());
                // One whose time has passed ends for good only a day later: a clock may have jumped.
                let is_over =
                    one.resumed.is_some() || one.until.is_some_and(|until| until.saturating_add(86_400) <= self.now);
                let record = match one.is_in_force(self.now) {
                    true if there.is_none() => one.clone(),
                    false if is_in_force_there && is_over => {
                        Suspension { resumed: one.resumed.or(one.until), ..one.clone() }
                    }
                    _ => continue,
                };
                match backend.write_suspension(&record).await {
                    Ok(()) => {
                        on_it.retain(|other| other.id() != record.id());
                        on_it.push(record);
                    }
                    Err(error) => tracing::warn!(backend = %name, %error, "a suspension could not be recorded"),
                }
            }
        }
    }

    /// What is to change in the store so that it has what the pools have, and the ends of suspensions that a pool may not know yet.
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

    /// What the steps of this pass mind while they are made.
    pub(super) fn step_suspensions(&self, steps: &[Step]) -> StepSuspensions {
        let ended = self.suspensions().0.into_iter().filter(|(_, one)| one.resumed.is_some()).map(|(id, _)| id);
        // What an object is called now matters where it is renamed, and where another is made from it.
        let mut wanted: HashMap<Uid, Vec<ObjectId>> = HashMap::new();
        for step in steps {
            if let Action::Rename { .. } = step.action {
                wanted.insert(step.identity.uid, Vec::new());
            }
            wanted.extend(read_by(step).map(|object| (object.uid, Vec::new())));
        }
        if !wanted.is_empty() {
            let seen = self.observations.world.values().flat_map(|view| match view {
                Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => {
                    observed.objects.as_slice()
                }
                Observation::Failed { .. } | Observation::Unsupported => &[],
            });
            let identities = seen.filter_map(|object| object.identity.as_ref());
            for identity in identities.chain(steps.iter().map(|step| &step.identity)) {
                if let Some(names) = wanted.get_mut(&identity.uid) {
                    names.push(identity.id());
                }
            }
        }
        let about = |step: &Step| {
            let mut about = vec![step.identity.id()];
            let others = [Some(step.identity.uid), read_by(step).map(|object| object.uid)].into_iter().flatten();
            about.extend(others.filter_map(|uid| wanted.get(&uid)).flatten().cloned());
            about
        };
        StepSuspensions { ended: Arc::new(ended.collect()), about: steps.iter().map(about).collect() }
    }
}

/// What steps mind while they are made: a suspension that another process records meanwhile.
#[derive(Default)]
pub(super) struct StepSuspensions {
    ended: Arc<BTreeSet<SuspensionId>>,
    /// For each step, the objects that it is about and those that it reads.
    about: Vec<Vec<ObjectId>>,
}

/// What one step minds.
pub(super) struct ObjectSuspensions {
    ended: Arc<BTreeSet<SuspensionId>>,
    about: Vec<ObjectId>,
}

impl StepSuspensions {
    /// For steps on objects that a person named.
    pub(super) fn nothing() -> Self {
        Self::default()
    }

    /// Returns what the step of this index minds.
    pub(super) fn by(&self, index: usize) -> ObjectSuspensions {
        let about = self.about.get(index).cloned().unwrap_or_default();
        ObjectSuspensions { ended: Arc::clone(&self.ended), about }
    }
}

impl ObjectSuspensions {
    /// Reads the pool's records, and returns the suspension that is against making the step now.
    pub(super) async fn suspended(
        &self,
        backend: &Backend,
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
