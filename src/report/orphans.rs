//! Orphans: objects, remains and records that no document declares and that no step or hold is about. Pure.
//!
//! An orphan is no error. Each comes with the command that resolves it; Kiln never removes one because it was found. An object
//! without an owner is not an orphan: `kiln adopt` lists those.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    Address, Identity, Kind, Ledger, Name, NativeName, Object, ObjectId, ObjectRecord, Observed, Owner, Place, Reading,
    Uid, Withdrawal,
};
use crate::plan::{self, Observation, Overview, Referenced};
use crate::text::rfc3339;

/// An orphan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Why it is an orphan.
    pub reason: OrphanReason,
    /// The kind and name of the object that it is or was, if it was one of ours.
    pub object: Option<ObjectId>,
    /// Its native name.
    pub native: NativeName,
    /// Its backend.
    pub backend: Name,
    /// The bytes it allocates if known, else its size; none if it no longer exists.
    pub bytes: Option<u64>,
    /// When it became an orphan, in seconds since 1970, if known.
    pub since: Option<u64>,
    /// What was found, in one sentence.
    pub message: String,
    /// The command that resolves it.
    pub fix: String,
}

impl Orphan {
    /// Returns the object as `volume/db`, or the backend of an incomplete object.
    pub fn what(&self) -> String {
        match self.object.as_ref().filter(|_| self.reason != OrphanReason::LeftOver) {
            Some(object) => object.to_string(),
            None => format!("backend/{}", self.backend),
        }
    }
}

/// Why something is an orphan. Each reason is found by a function of its own below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OrphanReason {
    /// It exists, is ours, and is neither declared, released, planned nor held.
    Unaccounted,
    /// It was left incomplete by an interrupted run.
    LeftOver,
    /// It is in the trash and expired.
    Expired,
    /// A ledger or the store has a record of it, it is proven absent, and no hold reports it as lost.
    Remembered,
}

impl OrphanReason {
    /// Returns the reason as written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            OrphanReason::Unaccounted => "Unaccounted",
            OrphanReason::LeftOver => "LeftOver",
            OrphanReason::Expired => "Expired",
            OrphanReason::Remembered => "Remembered",
        }
    }
}

/// Returns all orphans, sorted by reason, object and place. Backends that were not observed contribute none; while it is in doubt what
/// is declared, undeclared objects are not orphans.
pub fn orphans(overview: &Overview, reading: &Reading) -> Vec<Orphan> {
    let usable = overview.judged.usable(reading, &overview.world, &overview.records);
    let accounted = Accounted::new(overview, reading);
    let referenced = Referenced::of(&reading.specs);
    let mut orphans = Vec::new();
    for (backend, observation) in &overview.world {
        // While another process holds the writer lock, incomplete objects and missing ledger entries may be its work in progress.
        let Observation::Seen { observed, .. } = observation else { continue };
        let is_locked = observed.locked.contains(&reading.specs.stack.owner);
        let observed_backend = ObservedBackend { overview, owner: &reading.specs.stack.owner, backend, observed };
        orphans.extend(observed_backend.expired(&referenced));
        if !is_locked {
            orphans.extend(observed_backend.left_over());
        }
        if let Some(ledger) = usable.get(backend) {
            orphans.extend(observed_backend.unaccounted(&accounted, *ledger));
        }
        if let (Some(Some(ledger)), false) = (usable.get(backend), is_locked) {
            orphans.extend(observed_backend.remembered_by_ledger(&accounted, ledger));
            orphans.extend(observed_backend.remembered_by_store(&accounted, ledger));
        }
    }
    orphans.sort_by(|a, b| {
        (a.reason, &a.object, &a.backend, &a.native).cmp(&(b.reason, &b.object, &b.backend, &b.native))
    });
    orphans
}

/// The objects that a document, a step or a hold is about.
struct Accounted<'a> {
    reading: &'a Reading,
    /// Held objects, and old names in documents.
    names: HashSet<(Kind, &'a Name)>,
    /// Objects with steps or holds.
    uids: HashSet<Uid>,
}

impl<'a> Accounted<'a> {
    fn new(overview: &'a Overview, reading: &'a Reading) -> Self {
        let specs = &reading.specs;
        let plan = &overview.plan;
        let held = plan.held.iter().map(|held| (held.kind, &held.name));
        let old = specs.renames().map(|(kind, old, _)| (kind, old));
        let uids = plan.steps.iter().map(|step| step.identity.uid).chain(plan.held.iter().filter_map(|held| held.uid));
        Self { reading, names: held.chain(old).collect(), uids: uids.collect() }
    }

    fn contains(&self, identity: &Identity) -> bool {
        let (kind, name) = (identity.kind, &identity.name);
        self.reading.specs.declares(kind, name)
            || self.uids.contains(&identity.uid)
            || self.names.contains(&(kind, name))
    }

    /// Whether the manifests no longer declare an object, without doubt, and nothing else is about it.
    fn is_given_up(&self, identity: &Identity, ledger: Option<&Ledger>) -> bool {
        let Identity { kind, name, uid, .. } = identity;
        !self.contains(identity) && self.reading.withdraws(*kind, name, ledger, *uid) == Withdrawal::Withdrawn
    }
}

/// A backend that was observed. Each of its methods finds the orphans of one reason on it.
struct ObservedBackend<'a> {
    overview: &'a Overview,
    owner: &'a Owner,
    backend: &'a Name,
    observed: &'a Observed,
}

impl<'a> ObservedBackend<'a> {
    /// Returns this owner's objects in a place.
    fn ours(&self, place: Place) -> impl Iterator<Item = (&'a Identity, &'a Object)> {
        let in_place = self.observed.objects.iter().filter(move |object| object.place == place);
        let with_identity = in_place.filter_map(|object| Some((object.identity.as_ref()?, object)));
        let owner = self.owner;
        with_identity.filter(move |(identity, _)| identity.owner == *owner)
    }

    /// Objects under a temporary name: a run was interrupted while it made them. The next pass removes those that it can.
    fn left_over(&self) -> impl Iterator<Item = Orphan> {
        self.ours(Place::Temporary).map(|(identity, object)| {
            let message = match &object.conflict {
                Some(why) => format!("{} is not removed: {why}", object.native),
                None => format!("{} was left incomplete by an interrupted run", object.native),
            };
            // It removes what can be removed, and prints a command for what cannot.
            self.existing(OrphanReason::LeftOver, identity, object, None, message, "`kiln apply`".to_owned())
        })
    }

    /// Objects in the trash whose time is over. The daemon purges them; without one they stay until `kiln trash purge`.
    fn expired(&self, referenced: &Referenced<'_>) -> impl Iterator<Item = Orphan> {
        self.ours(Place::Trash).filter_map(|(identity, object)| {
            let expires = object.tags.expires.filter(|expires| *expires <= self.overview.now)?;
            let (more, fix) = match plan::suspension_of(&self.overview.suspended, identity.kind, &identity.name) {
                Some(suspension) => (
                    format!("; {}", plan::suspended_because(suspension)),
                    format!("{}, then `kiln trash purge`", plan::resume(suspension)),
                ),
                None if referenced.contains(identity.kind, &identity.name) => (
                    "; it stays while a document refers to it".to_owned(),
                    format!("`kiln describe {}`; or `kiln trash purge`, once no document does", identity.id()),
                ),
                None => (String::new(), "`kiln trash purge`".to_owned()),
            };
            let message = format!("in the trash of {}, expired since {}{more}", self.backend, rfc3339(expires));
            Some(self.existing(OrphanReason::Expired, identity, object, Some(expires), message, fix))
        })
    }

    /// Live objects of this owner that are not released, and that no document, step or hold is about: a plan should have one for each,
    /// so this is usually empty.
    fn unaccounted(&self, accounted: &Accounted<'_>, ledger: Option<&Ledger>) -> impl Iterator<Item = Orphan> {
        let is_unaccounted = move |(identity, object): &(&Identity, &Object)| {
            !object.tags.retained && accounted.is_given_up(identity, ledger)
        };
        self.ours(Place::Live).filter(is_unaccounted).map(|(identity, object)| {
            let message = format!(
                "{} on {} belongs to this Stack, is not declared, and has no planned step",
                object.native, self.backend
            );
            let fix = format!(
                "`kiln describe {}` shows it; declare it again, or see what `kiln plan` does with it",
                identity.id()
            );
            self.existing(OrphanReason::Unaccounted, identity, object, self.last_seen(identity.uid), message, fix)
        })
    }

    /// Entries of the ledger for objects that are proven absent, and that were being removed or are not declared.
    fn remembered_by_ledger(&self, accounted: &Accounted<'_>, ledger: &Ledger) -> Vec<Orphan> {
        let absent = self.absent();
        let mut orphans = Vec::new();
        for (uid, entry) in
            ledger.complete.iter().filter(|(uid, entry)| absent(entry.kind, **uid, &ledger.addresses_of(**uid)))
        {
            let (kind, name) = (entry.kind, entry.name.clone());
            let identity = Identity { owner: ledger.owner.clone(), kind, name, uid: *uid };
            if ledger.leaving.contains(uid) || accounted.is_given_up(&identity, Some(ledger)) {
                let message = format!(
                    "{} no longer exists on {} and is not declared; its ledger still lists it",
                    entry.native, self.backend
                );
                orphans.push(self.remembered(&identity, &entry.native, message, "`kiln apply`".to_owned()));
            }
        }
        orphans
    }

    /// Records of the store for objects that are proven absent and not in the ledger: removed ones, and those that no document
    /// declares.
    fn remembered_by_store(&self, accounted: &Accounted<'_>, ledger: &Ledger) -> Vec<Orphan> {
        let absent = self.absent();
        let is_here = |record: &&ObjectRecord| record.backend == *self.backend && record.seen().is_some();
        let mut orphans = Vec::new();
        for record in self.overview.records.objects.values().filter(is_here) {
            let identity = &record.identity;
            let is_entered = ledger.complete.contains_key(&identity.uid);
            let known = [record.address()];
            if is_entered || identity.owner != ledger.owner || !absent(identity.kind, identity.uid, &known) {
                continue;
            }
            let fix = match ledger.tombstones.contains_key(&identity.uid) {
                true => "`kiln apply`".to_owned(),
                false if !accounted.is_given_up(identity, Some(ledger)) => continue,
                false => format!("`kiln forget {}`", identity.id()),
            };
            let message = format!(
                "{} no longer exists on {} and is not declared; the store still lists it",
                record.native, self.backend
            );
            orphans.push(self.remembered(identity, &record.native, message, fix));
        }
        orphans
    }

    /// Returns the test whether an object is proven absent, by the addresses at which it can be. An inconsistent object of its native
    /// name may be it.
    fn absent(&self) -> impl Fn(Kind, Uid, &[Address]) -> bool {
        let (seen, objects) = (self.observed, &self.observed.objects);
        let observed: HashSet<Uid> = objects.iter().filter_map(Object::uid).collect();
        let unclear: HashSet<&NativeName> =
            objects.iter().filter(|object| object.conflict.is_some()).map(|object| &object.native).collect();
        move |kind, uid, known| {
            let is_unclear = || known.iter().any(|at| unclear.contains(&at.native));
            !observed.contains(&uid) && seen.proves_gone(kind, known) && !is_unclear()
        }
    }

    /// Returns when the store last saw an object.
    fn last_seen(&self, uid: Uid) -> Option<u64> {
        self.overview.records.objects.get(&uid).map(|record| record.seen_at)
    }

    fn existing(
        &self,
        reason: OrphanReason,
        identity: &Identity,
        object: &Object,
        since: Option<u64>,
        message: String,
        fix: String,
    ) -> Orphan {
        Orphan {
            reason,
            object: Some(identity.id()),
            native: object.native.clone(),
            backend: self.backend.clone(),
            bytes: Some(object.used.unwrap_or(object.size.bytes())),
            since,
            message,
            fix,
        }
    }

    fn remembered(&self, identity: &Identity, native: &NativeName, message: String, fix: String) -> Orphan {
        Orphan {
            reason: OrphanReason::Remembered,
            object: Some(identity.id()),
            native: native.clone(),
            backend: self.backend.clone(),
            bytes: None,
            since: self.last_seen(identity.uid),
            message,
            fix,
        }
    }
}

#[cfg(test)]
mod tests;
