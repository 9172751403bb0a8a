//! The judgement of every declared backend: steps can be planned on it, or it is blocked, and why.

use std::collections::BTreeMap;

use crate::model::{
    Absence, BackendRecord, BackendSpec, Kind, Ledger, LedgerView, Name, Object, ObjectId, Observed, Owner, Place,
    PlacedField, PoolId, Reading, Records,
};

use super::blocked::{BlockCause, Blocked};
use super::owner_conflict::{check_no_other_owner, given_away, of_another_stack, other_stack, shared_store};
use super::types::{HeldReason, Observation, World};
use super::usable::Usable;

/// The judgement of every declared backend. A pass judges once, from one observation of all backends; its plans, its lint, its
/// ledgers and its orphans follow that judgement.
#[derive(Debug, Clone, Default)]
pub struct Judged(BTreeMap<Name, Option<Blocked>>);

/// The state of a declared backend.
pub(super) enum BackendState<'a> {
    /// Steps can be planned on it.
    Usable(Usable<'a>),
    /// No step is planned on it.
    Blocked(&'a Blocked),
}

impl Judged {
    /// Judges every declared backend.
    pub fn of(reading: &Reading, world: &World, records: &Records) -> Self {
        let judge = Judge { reading, world, records };
        let mut judged = BTreeMap::new();
        // Two Backends with one pool: their objects cannot be told apart.
        let mut by_pool: BTreeMap<&PoolId, Vec<&Name>> = BTreeMap::new();
        for (name, spec) in &reading.specs.backends {
            let place = || reading.place_of_field(Kind::Backend, name, PlacedField::Path);
            let checked = judge.check(name, spec).map_err(|blocked| blocked.with_place_of_path(&place()));
            if let Ok(Observed { pool: Some(pool), .. }) = checked {
                by_pool.entry(pool).or_default().push(name);
            }
            judged.insert(name.clone(), checked.err());
        }
        for names in by_pool.into_values().filter(|names| names.len() > 1) {
            for name in &names {
                let blocked = Blocked {
                    reason: HeldReason::Ambiguous,
                    message: format!("the Backends {} have the same pool", list(&names)),
                    fix: format!("remove all but one of them: {}", places(reading, &names)),
                    cause: BlockCause::Shared,
                };
                judged.insert((*name).clone(), Some(blocked));
            }
        }
        Self(judged)
    }

    /// Returns the state of every backend that was judged, from the observations and records that it was judged by.
    pub(super) fn states<'a>(
        &'a self,
        reading: &'a Reading,
        world: &'a World,
        records: &'a Records,
    ) -> BTreeMap<&'a Name, BackendState<'a>> {
        let judge = Judge { reading, world, records };
        let state = |(name, blocked): (&'a Name, &'a Option<Blocked>)| {
            let state = match blocked {
                Some(blocked) => BackendState::Blocked(blocked),
                None => BackendState::Usable(judge.usable(name)?),
            };
            Some((name, state))
        };
        self.0.iter().filter_map(state).collect()
    }

    /// Returns the backends that can be planned for and written to, with this owner's ledger on each (none before first use): the
    /// ledger that the plan is made with, which is the store's copy if those on the pool are damaged.
    pub fn usable<'a>(
        &'a self,
        reading: &'a Reading,
        world: &'a World,
        records: &'a Records,
    ) -> BTreeMap<&'a Name, Option<&'a Ledger>> {
        let states = self.states(reading, world, records).into_iter();
        let writable = states.filter_map(|(name, state)| match state {
            BackendState::Usable(usable) if usable.locked_by.is_none() => Some((name, usable.ledger)),
            BackendState::Usable(_) | BackendState::Blocked(_) => None,
        });
        writable.collect()
    }
}

fn places(reading: &Reading, names: &[&Name]) -> String {
    names.iter().map(|name| format!("{name}{}", reading.place_of(Kind::Backend, name))).collect::<Vec<_>>().join(", ")
}

fn list(names: &[&Name]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" and ")
}

/// What backends are judged by.
#[derive(Clone, Copy)]
struct Judge<'a> {
    reading: &'a Reading,
    world: &'a World,
    records: &'a Records,
}

impl<'a> Judge<'a> {
    fn owner(&self) -> &'a Owner {
        &self.reading.specs.stack.owner
    }

    /// Returns what a backend showed if steps can be planned on it.
    fn check(&self, name: &Name, spec: &BackendSpec) -> Result<&'a Observed, Blocked> {
        self.check_document(name, spec)?;
        let (capabilities, observed) = match self.world.get(name) {
            Some(
                Observation::Seen { capabilities, observed } | Observation::LockedBy { capabilities, observed, by: _ },
            ) => (capabilities, observed),
            Some(Observation::Unsupported) => {
                let message = format!("the driver {:?} is not implemented yet", spec.config.driver());
                let fix = format!(
                    "write `driver: local`, or `driver: sim` for a trial{}",
                    self.reading.place_of_field(Kind::Backend, name, PlacedField::Driver)
                );
                return Err(Blocked::document(HeldReason::Unsupported, message, &fix));
            }
            Some(Observation::Failed { why, fix }) => {
                let is_known = self.record(name, spec, None).is_some();
                let fix = fix.as_ref().map(|fix| fix.text(is_known));
                return Err(Blocked::unobserved(name, why, fix.as_deref()));
            }
            None => return Err(Blocked::unobserved(name, "it was not observed", None)),
        };
        if let Some(why) = &capabilities.unusable {
            let message = format!("backend {name} cannot be used: {why}");
            let place = self.reading.place_of_field(Kind::Backend, name, PlacedField::Path);
            let fix = format!("write the `path` of a directory on ext4, XFS, btrfs or tmpfs{place}");
            return Err(Blocked::document(HeldReason::Unsupported, message, &fix));
        }
        let record = self.record(name, spec, Some(observed));
        check_pool_id(self.reading, name, spec, observed, record)?;
        match self.readable_ledger(name, observed, record)? {
            Some(ledger) => self.check_ledger(name, observed, record, ledger)?,
            None => check_no_other_owner(self.reading, name, observed)?,
        }
        if capabilities.absence == Absence::ByLedger {
            self.check_certain(name, observed, record)?;
        }
        Ok(observed)
    }

    /// Blocks a backend whose document is not allowed here.
    fn check_document(&self, name: &Name, spec: &BackendSpec) -> Result<(), Blocked> {
        if let Some(barred) = self.reading.not_allowed(Kind::Backend, name) {
            // Its path did not answer: it may be allowed, and hold anything.
            return Err(match barred.unresponsive {
                true => Blocked::unobserved(name, &barred.message, Some(&barred.fix)),
                false => Blocked::document(HeldReason::NotAllowed, barred.message.clone(), &barred.fix),
            });
        }
        if !spec.via.is_empty() {
            let message = "`via` is not implemented yet: manifests may not run commands".to_owned();
            let place = self.reading.place_of_field(Kind::Backend, name, PlacedField::Via);
            let fix = format!("remove `via`{place}");
            return Err(Blocked::document(HeldReason::NotAllowed, message, &fix));
        }
        Ok(())
    }

    /// Returns the ledger of this owner on a pool, and blocks the pool if it is missing or unreadable.
    fn readable_ledger(
        &self,
        name: &Name,
        observed: &'a Observed,
        record: Option<&'a BackendRecord>,
    ) -> Result<Option<&'a Ledger>, Blocked> {
        let owner = self.owner();
        let is_ours = |object: &Object| object.identity.as_ref().is_some_and(|id| id.owner == *owner);
        let has_objects = || observed.objects.iter().any(|o| o.place != Place::Temporary && is_ours(o));
        let has_recorded =
            || record.is_some_and(|r| r.owner == *owner && r.ledger.as_ref().is_some_and(|l| !l.complete.is_empty()));
        let ledger = self.newest_ledger(observed, record);
        match &observed.ledger {
            Some(LedgerView::Unreadable(why)) => Err(Blocked::unobserved(name, why, None)),
            Some(LedgerView::Damaged(why)) if ledger.is_none() => Err(Blocked::changed(
                name,
                format!("both copies of the ledger are damaged ({why}) and the store has no copy"),
            )),
            Some(_) => Ok(ledger),
            None if has_objects() => {
                Err(Blocked::changed(name, format!("the pool holds objects of {owner} and no ledger of that owner")))
            }
            None if has_recorded() => Err(given_away(name, observed, record).unwrap_or_else(|| {
                Blocked::changed(name, "the pool's ledger and the objects that it listed are missing".to_owned())
            })),
            None => Ok(ledger),
        }
    }

    /// Blocks a backend whose ledger alone says which objects exist, if it is not certain what that says.
    fn check_certain(&self, name: &Name, observed: &Observed, record: Option<&BackendRecord>) -> Result<(), Blocked> {
        match certain_ledger(observed, self.stored(record)) {
            Ok(_) => Ok(()),
            Err(why) => Err(Blocked {
                fix: format!(
                    "restore the newest ledger; or remove from the pool what Kiln made there and its driver does not show, and run \
                     `kiln forget backend/{name}` to accept the pool as it is"
                ),
                ..Blocked::changed(
                    name,
                    format!(
                        "the newest ledger of {name} is damaged ({why}), and only that ledger shows which objects may exist"
                    ),
                )
            }),
        }
    }

    /// Returns the ledger of this owner that counts for a pool: the newest undamaged copy.
    fn newest_ledger(&self, observed: &'a Observed, record: Option<&'a BackendRecord>) -> Option<&'a Ledger> {
        match &observed.ledger {
            Some(view) => trusted_ledger(view, self.stored(record)),
            // The stored ledger lists no object, but used names and spent approvals.
            None => self.stored(record.filter(|record| Some(&record.pool) == observed.pool.as_ref())),
        }
    }

    /// Blocks a pool whose ledger is of another pool or Stack, or older than one that was written before.
    fn check_ledger(
        &self,
        name: &Name,
        observed: &Observed,
        record: Option<&BackendRecord>,
        ledger: &Ledger,
    ) -> Result<(), Blocked> {
        if Some(&ledger.pool) != observed.pool.as_ref() {
            let message = format!("the ledger in the pool belongs to another pool, {}", ledger.pool);
            return Err(Blocked::changed(name, message));
        }
        if ledger.stack != self.reading.specs.stack.id {
            return Err(Blocked {
                reason: HeldReason::OwnerChanged,
                message: format!("the pool is used by another Stack named {} (id {:?})", self.owner(), ledger.stack),
                fix: other_stack(self.reading, name, &ledger.stack),
                cause: BlockCause::Shared,
            });
        }
        let is_newer = |stored: &&Ledger| stored.stack == ledger.stack && stored.serial > ledger.serial;
        match self.stored(record).filter(is_newer) {
            None => Ok(()),
            Some(newer) => Err(Blocked {
                reason: HeldReason::BackendChanged,
                message: format!(
                    "the pool is an older state of itself: its ledger has serial {} and serial {} was written; it was rolled back or \
                     restored from a backup",
                    ledger.serial, newer.serial
                ),
                fix: format!(
                    "bring the pool back to its newest state; or run `kiln forget backend/{name}` to accept it as it is: every \
                     volume keeps its size"
                ),
                cause: BlockCause::Unobserved,
            }),
        }
    }

    /// Returns a backend on which steps can be planned, unless it is not among the observations any more.
    fn usable(&self, name: &'a Name) -> Option<Usable<'a>> {
        let spec = self.reading.specs.backends.get(name)?;
        let (capabilities, observed, locked_by) = match self.world.get(name)? {
            Observation::Seen { capabilities, observed } => (capabilities, observed, None),
            Observation::LockedBy { by, capabilities, observed } => (capabilities, observed, Some(by.as_str())),
            Observation::Failed { .. } | Observation::Unsupported => return None,
        };
        let ledger = self.newest_ledger(observed, self.record(name, spec, Some(observed)));
        let shows_all = observed.shows_all(capabilities.absence, ledger);
        let unseen = match capabilities.absence {
            Absence::ByLedger if !shows_all => ledger.into_iter().flat_map(|ledger| ledger.unseen(observed)).collect(),
            Absence::ByList | Absence::ByName | Absence::ByLedger => Vec::new(),
        };
        let unseen = unseen.into_iter().map(|(_, entry, _)| ObjectId::new(entry.kind, &entry.name)).collect();
        Some(Usable { name, spec, capabilities, observed, ledger, shows_all, unseen, locked_by })
    }

    fn record(&self, name: &Name, spec: &BackendSpec, observed: Option<&Observed>) -> Option<&'a BackendRecord> {
        let pool = observed.and_then(|observed| observed.pool.as_ref());
        self.records.of_backend(name, &spec.config.place(), pool)
    }

    /// Returns the store's copy of the ledger of this owner.
    fn stored<'r>(&self, record: Option<&'r BackendRecord>) -> Option<&'r Ledger> {
        record?.ledger.as_ref().filter(|ledger| ledger.owner == *self.owner())
    }
}

/// Blocks a backend whose pool is not the one that the store has a record of.
fn check_pool_id(
    reading: &Reading,
    name: &Name,
    spec: &BackendSpec,
    observed: &Observed,
    record: Option<&BackendRecord>,
) -> Result<(), Blocked> {
    let place = spec.config.place();
    let has_objects = || observed.objects.iter().any(|object| object.native.is_reserved());
    let message = match (&observed.pool, record) {
        // A pool id that cannot be read may still exist.
        (None, _) if !observed.gaps.is_empty() => {
            return Err(Blocked::unobserved(name, &observed.gaps.join("; "), None));
        }
        (None, Some(record)) if record.place == place => {
            format!("{place} was pool {} and has no pool id now: is it mounted?", record.pool)
        }
        (None, Some(record)) => {
            format!("the backend was pool {} at {}; {place} has no pool id", record.pool, record.place)
        }
        (Some(pool), Some(record)) if record.pool != *pool => {
            format!("the backend was pool {} at {}; {place} is pool {pool}", record.pool, record.place)
        }
        (None, None) if has_objects() => "the pool holds objects of Kiln and has no pool id".to_owned(),
        (None, None) if !observed.owners.is_empty() => "the pool has a ledger and no pool id".to_owned(),
        (Some(_), Some(_)) | (_, None) => return Ok(()),
    };
    let other = record.and_then(|record| of_another_stack(&reading.specs.stack, record));
    Err(other.map_or_else(|| Blocked::changed(name, message), |other| shared_store(name, &other)))
}

/// Returns the newest undamaged ledger: the pool's, or the store's copy if the pool's newest copy is damaged.
pub fn trusted_ledger<'a>(view: &'a LedgerView, stored: Option<&'a Ledger>) -> Option<&'a Ledger> {
    match view {
        LedgerView::Good(ledger) => Some(ledger),
        LedgerView::Older(older, _) => {
            let newer = |stored: &&Ledger| stored.serial > older.serial && stored.stack == older.stack;
            Some(stored.filter(newer).unwrap_or(older))
        }
        LedgerView::Damaged(_) => stored,
        LedgerView::Unreadable(_) => None,
    }
}

/// Returns the newest ledger of a pool, if it is certain which that is. `Err`: why not.
pub(super) fn certain_ledger<'a>(
    observed: &'a Observed,
    stored: Option<&'a Ledger>,
) -> Result<Option<&'a Ledger>, &'a str> {
    match &observed.ledger {
        None => Ok(stored),
        Some(LedgerView::Good(ledger)) => Ok(Some(ledger)),
        Some(LedgerView::Older(older, why)) => {
            stored.filter(|stored| stored.serial > older.serial && stored.stack == older.stack).map(Some).ok_or(why)
        }
        Some(LedgerView::Damaged(why) | LedgerView::Unreadable(why)) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ledger(serial: u64, stack: &str) -> Ledger {
        Ledger { serial, ..Ledger::new(PoolId("p".to_owned()), Owner::unnamed(), stack.to_owned()) }
    }

    #[test]
    fn the_copy_before_a_damaged_ledger_gives_way_to_a_newer_one_of_its_stack_in_the_store() {
        let older = LedgerView::Older(Arc::new(ledger(2, "a")), "damaged".to_owned());
        for (stored, serial, why) in [
            (ledger(3, "a"), 3, "it lacks the last write"),
            (ledger(2, "a"), 2, "both are the same"),
            (ledger(1, "a"), 2, "the store is older"),
            (ledger(3, "b"), 2, "another Stack wrote it"),
        ] {
            let newest = trusted_ledger(&older, Some(&stored)).unwrap();
            assert_eq!((newest.serial, newest.stack.as_str()), (serial, "a"), "{why}");
        }
        assert_eq!(trusted_ledger(&older, None).unwrap().serial, 2);
        let unreadable = LedgerView::Unreadable("it cannot be read".to_owned());
        assert!(trusted_ledger(&unreadable, Some(&ledger(3, "a"))).is_none(), "it may be newer");
    }
}
