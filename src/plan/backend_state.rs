//! The state of each declared backend: usable, or blocked with the reason why no step is planned on it.

use std::collections::BTreeMap;

use crate::model::{
    BackendRecord, BackendSpec, Capabilities, Kind, Ledger, LedgerView, Name, NativeName, Object, Observed, Owner,
    Place, PoolId,
};

use super::types::{HeldReason, Inputs, Observation};

/// The fix for a pool on a file system without the features that Kiln needs.
pub(super) const UNUSABLE: &str = "use a directory on ext4, XFS, btrfs or tmpfs";

/// The state of a declared backend.
pub(super) enum BackendState<'a> {
    /// Steps can be planned on it.
    Usable(Usable<'a>),
    /// No step is planned on it.
    Blocked(Blocked),
}

/// A backend on which steps can be planned.
pub(super) struct Usable<'a> {
    pub name: &'a Name,
    pub spec: &'a BackendSpec,
    pub capabilities: &'a Capabilities,
    pub observed: &'a Observed,
    /// This owner's ledger on the pool; none before first use.
    pub ledger: Option<&'a Ledger>,
    /// The holder of the writer lock, if another process has it: steps are held.
    pub locked_by: Option<&'a str>,
}

impl<'a> Usable<'a> {
    /// Returns the object with a native name in a matching place.
    pub(super) fn find(&self, native: &NativeName, place: impl Fn(Place) -> bool) -> Option<&'a Object> {
        self.bearing(native).find(|object| place(object.place))
    }

    /// Returns the objects with a native name. Observed objects are sorted by native name.
    pub(super) fn bearing<'n>(&self, native: &'n NativeName) -> impl Iterator<Item = &'a Object> + use<'a, 'n> {
        let objects = &self.observed.objects;
        let first = objects.partition_point(|object| object.native < *native);
        objects[first..].iter().take_while(|object| object.native == *native)
    }
}

/// Why no step is planned on a backend.
pub(super) struct Blocked {
    pub reason: HeldReason,
    pub message: String,
    pub fix: String,
    /// Whether the backend counts as unobserved (exit code 6).
    pub unobserved: bool,
}

/// Judges every declared backend.
pub(super) fn states<'a>(inputs: &Inputs<'a>) -> BTreeMap<&'a Name, BackendState<'a>> {
    let mut backends: BTreeMap<&Name, BackendState<'_>> =
        inputs.reading.specs.backends.iter().map(|(name, spec)| (name, judge(inputs, name, spec))).collect();
    // Two Backends with one pool: their objects cannot be told apart.
    let mut by_pool: BTreeMap<&PoolId, Vec<&Name>> = BTreeMap::new();
    for (name, state) in &backends {
        if let BackendState::Usable(Usable { observed: Observed { pool: Some(pool), .. }, .. }) = state {
            by_pool.entry(pool).or_default().push(name);
        }
    }
    for names in by_pool.into_values().filter(|names| names.len() > 1) {
        for name in &names {
            let blocked = Blocked {
                reason: HeldReason::Ambiguous,
                message: format!("the Backends {} have the same pool", list(&names)),
                fix: "remove all but one of these Backends".to_owned(),
                unobserved: false,
            };
            backends.insert(name, BackendState::Blocked(blocked));
        }
    }
    backends
}

fn list(names: &[&Name]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" and ")
}

fn judge<'a>(inputs: &Inputs<'a>, name: &'a Name, spec: &'a BackendSpec) -> BackendState<'a> {
    if let Some(barred) = inputs.reading.not_allowed(Kind::Backend, name) {
        // Its path did not answer: it may be allowed, and hold anything.
        if barred.unresponsive {
            return BackendState::Blocked(unseen(name, &barred.message));
        }
        return BackendState::Blocked(Blocked {
            reason: HeldReason::NotAllowed,
            message: barred.message.clone(),
            fix: barred.fix.clone(),
            unobserved: false,
        });
    }
    if !spec.via.is_empty() {
        return BackendState::Blocked(Blocked {
            reason: HeldReason::NotAllowed,
            message: "`via` is not supported yet: manifests may not run commands".to_owned(),
            fix: "remove `via`".to_owned(),
            unobserved: false,
        });
    }
    let (capabilities, observed, locked_by) = match inputs.world.get(name) {
        Some(Observation::Seen { capabilities, observed }) => (capabilities, observed, None),
        Some(Observation::LockedBy { by, capabilities, observed }) => (capabilities, observed, Some(by.as_str())),
        Some(Observation::Unsupported) => {
            return BackendState::Blocked(Blocked {
                reason: HeldReason::Unsupported,
                message: format!("the driver {:?} is not supported yet", spec.config.driver()),
                fix: "use a supported driver: local or sim".to_owned(),
                unobserved: false,
            });
        }
        Some(Observation::Failed { why }) => return BackendState::Blocked(unseen(name, why)),
        None => return BackendState::Blocked(unseen(name, "it was not observed")),
    };
    if let Some(why) = &capabilities.unusable {
        return BackendState::Blocked(Blocked {
            reason: HeldReason::Unsupported,
            message: format!("backend {name} cannot be used: {why}"),
            fix: UNUSABLE.to_owned(),
            unobserved: false,
        });
    }
    match ledger(inputs, name, spec, observed) {
        Ok(ledger) => BackendState::Usable(Usable { name, spec, capabilities, observed, ledger, locked_by }),
        Err(blocked) => BackendState::Blocked(blocked),
    }
}

fn unseen(name: &Name, why: &str) -> Blocked {
    Blocked {
        reason: HeldReason::Unobserved,
        message: format!("backend {name} could not be observed: {why}"),
        fix: "repair the backend, then run `kiln apply`".to_owned(),
        unobserved: true,
    }
}

/// Returns this owner's ledger on the pool, after checking that the pool is the recorded one and is ours.
fn ledger<'a>(
    inputs: &Inputs<'a>,
    name: &Name,
    spec: &BackendSpec,
    observed: &'a Observed,
) -> Result<Option<&'a Ledger>, Blocked> {
    let owner = &inputs.reading.specs.stack.owner;
    let changed = |message: String| Blocked {
        reason: HeldReason::BackendChanged,
        message,
        fix: format!(
            "point the Backend to its pool again; or run `kiln forget backend/{name}` to accept this pool as it is"
        ),
        unobserved: true,
    };
    let record = record_of(inputs, name, spec, observed);
    let place = spec.config.place();
    match (&observed.pool, record) {
        // A pool id that cannot be read may still exist.
        (None, _) if !observed.gaps.is_empty() => return Err(unseen(name, &observed.gaps.join("; "))),
        (None, Some(record)) => {
            return Err(changed(if record.place == place {
                format!("{place} was pool {} and has no pool id now: is it mounted?", record.pool)
            } else {
                format!("the backend was pool {} at {}; {place} has no pool id", record.pool, record.place)
            }));
        }
        (Some(pool), Some(record)) if record.pool != *pool => {
            return Err(changed(format!(
                "the backend was pool {} at {}; {place} is pool {pool}",
                record.pool, record.place
            )));
        }
        (None, None) if observed.objects.iter().any(|o| o.native.is_reserved()) => {
            return Err(changed("the pool holds objects of Kiln and has no pool id".to_owned()));
        }
        (None, None) if !observed.ledgers.is_empty() => {
            return Err(changed("the pool has a ledger and no pool id".to_owned()));
        }
        _ => {}
    }
    let has_objects = observed
        .objects
        .iter()
        .any(|o| o.place != Place::Temporary && o.identity.as_ref().is_some_and(|id| id.owner == *owner));
    let ledger = match observed.ledgers.get(owner) {
        Some(LedgerView::Unreadable(why)) => return Err(unseen(name, why)),
        Some(view) => match (trusted_ledger(view, stored(inputs, record)), view) {
            (None, LedgerView::Damaged(why)) => {
                return Err(changed(format!(
                    "both copies of the ledger are damaged ({why}) and the store has no copy"
                )));
            }
            (ledger, _) => ledger,
        },
        None if has_objects => {
            return Err(changed(format!("the pool holds objects of {owner} and no ledger of that owner")));
        }
        None if record
            .is_some_and(|r| r.owner == *owner && r.ledger.as_ref().is_some_and(|l| !l.complete.is_empty())) =>
        {
            return Err(given_away(name, observed, record).unwrap_or_else(|| {
                changed("the pool's ledger and the objects that it listed are missing".to_owned())
            }));
        }
        // The stored ledger lists no object, but used names and spent approvals.
        None => {
            record.filter(|record| Some(&record.pool) == observed.pool.as_ref()).and_then(|r| stored(inputs, Some(r)))
        }
    };
    match ledger {
        Some(ledger) if Some(&ledger.pool) != observed.pool.as_ref() => {
            Err(changed(format!("the ledger in the pool belongs to another pool, {}", ledger.pool)))
        }
        Some(ledger) if ledger.stack != inputs.reading.specs.stack.id => Err(Blocked {
            reason: HeldReason::OwnerChanged,
            message: format!("the pool is used by another Stack named {owner} (id {:?})", ledger.stack),
            fix: other_stack(inputs, name, &ledger.stack),
            unobserved: false,
        }),
        Some(ledger) => match stored(inputs, record).filter(|k| k.stack == ledger.stack && k.serial > ledger.serial) {
            None => Ok(Some(ledger)),
            Some(known) => Err(Blocked {
                reason: HeldReason::BackendChanged,
                message: format!(
                    "the pool is an older state of itself: its ledger has serial {} and serial {} was written; it was rolled back or \
                     restored from a backup",
                    ledger.serial, known.serial
                ),
                fix: format!(
                    "bring the pool back to its newest state; or run `kiln forget backend/{name}` to accept it as it is: every \
                     volume keeps its size"
                ),
                unobserved: true,
            }),
        },
        None => match other_owner(inputs, name, observed) {
            Some(other) => Err(other),
            None => Ok(None),
        },
    }
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

/// Returns the store's record of this Backend: by its name, by its pool (for a renamed Backend), or by its place.
fn record_of<'a>(
    inputs: &Inputs<'a>,
    name: &Name,
    spec: &BackendSpec,
    observed: &Observed,
) -> Option<&'a BackendRecord> {
    let records = &inputs.records.backends;
    let same_pool = records.values().find(|record| Some(&record.pool) == observed.pool.as_ref());
    // A pool in memory has no place to find it at again.
    let same_place = || records.values().find(|record| record.place == spec.config.place() && record.place != "memory");
    records.get(name).or(same_pool).or_else(same_place)
}

fn stored<'a>(inputs: &Inputs<'a>, record: Option<&'a BackendRecord>) -> Option<&'a Ledger> {
    record?.ledger.as_ref().filter(|ledger| ledger.owner == inputs.reading.specs.stack.owner)
}

/// Returns why a pool without our ledger is blocked if another owner has objects there under names that we declare: most likely the
/// Stack was renamed, or got its first name.
fn other_owner(inputs: &Inputs<'_>, name: &Name, observed: &Observed) -> Option<Blocked> {
    let specs = &*inputs.reading.specs;
    let declared_here = |kind: Kind, object: &Name| match kind {
        Kind::Volume => specs.volumes.get(object).is_some_and(|v| v.backend == *name),
        Kind::Snapshot => {
            specs.snapshots.get(object).and_then(|s| specs.volumes.get(&s.volume)).is_some_and(|v| v.backend == *name)
        }
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => false,
    };
    let live = observed.objects.iter().filter(|o| o.place == Place::Live).filter_map(|o| o.identity.as_ref());
    let mut clashes = live.filter(|id| id.owner != specs.stack.owner && declared_here(id.kind, &id.name));
    let clash = clashes.next()?;
    let owner: &Owner = &clash.owner;
    // The message holds for everything declared on the backend: what the other owner has and what it does not have.
    let others = match clashes.filter(|id| id.owner == *owner).count() {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    Some(Blocked {
        reason: HeldReason::OwnerChanged,
        message: format!(
            "the pool holds objects of {owner} that are declared here: {} {}{others}",
            clash.kind.as_lower(),
            clash.name
        ),
        fix: former_owner(inputs, name, owner, observed),
        unobserved: false,
    })
}

/// Returns why a pool without our ledger is blocked if our objects got another owner there, by `kiln adopt --from-owner`.
fn given_away(name: &Name, observed: &Observed, record: Option<&BackendRecord>) -> Option<Blocked> {
    let ours = &record?.ledger.as_ref()?.complete;
    let given = observed.objects.iter().filter_map(|object| object.identity.as_ref());
    let other = &given.into_iter().find(|identity| ours.contains_key(&identity.uid))?.owner;
    Some(Blocked {
        reason: HeldReason::OwnerChanged,
        message: format!("the objects of this Stack on the pool were adopted by {other}"),
        fix: format!("`kiln adopt {name} --from-owner {other}` adopts them back"),
        unobserved: false,
    })
}

/// Returns the fix for a pool that belongs to another Stack of this name.
fn other_stack(inputs: &Inputs<'_>, backend: &Name, id: &str) -> String {
    let stack = &inputs.reading.specs.stack;
    let back = match id {
        "" => "if this Stack document is new and its objects were created without one".to_owned(),
        id => format!(
            "if the id of this Stack was changed, write `spec: {{id: {id}}}` in it again; if it replaces that Stack"
        ),
    };
    format!(
        "{back}, `kiln adopt {backend} --from-owner {owner}` adopts the objects; otherwise give this Stack another name",
        owner = stack.owner
    )
}

/// Returns the fix for a pool that belongs to an owner of another name. Without a Stack document, the missing document is most likely
/// that owner's: adopting its objects, or accepting the pool, would create other objects beside them.
fn former_owner(inputs: &Inputs<'_>, backend: &Name, owner: &Owner, observed: &Observed) -> String {
    if !inputs.reading.specs.stack.declared && *owner != inputs.reading.specs.stack.owner {
        return missing_stack(owner, observed);
    }
    if *owner == Owner::unnamed() {
        return format!(
            "if its objects were created before this Stack was declared, `kiln adopt {backend} --from-owner {owner}` adopts them; \
             if they belong to other manifests, `kiln forget backend/{backend}` accepts the pool and creates new objects beside them"
        );
    }
    format!(
        "if this Stack was renamed, write `metadata: {{name: {owner}}}` in it again, or give it the objects with `kiln adopt \
         {backend} --from-owner {owner}`; if it is another Stack, which is to have objects of its own beside those, `kiln forget \
         backend/{backend}` accepts the pool"
    )
}

/// Returns the fix for a pool with another owner's objects while no Stack is declared.
pub fn missing_stack(owner: &Owner, observed: &Observed) -> String {
    let id = match observed.ledgers.get(owner) {
        Some(LedgerView::Good(ledger)) => ledger.stack.as_str(),
        _ => "…",
    };
    format!(
        "no Stack is declared: restore its document (`kind: Stack`, `metadata: {{name: {owner}}}`, `spec: {{id: {id}}}`)"
    )
}

/// Returns the backends that can be planned for and written to, with this owner's ledger on each (none before first use): the
/// ledger that the plan was made with, which is the store's copy if those on the pool are damaged.
pub fn usable(inputs: &Inputs<'_>) -> BTreeMap<Name, Option<Ledger>> {
    let backends = states(inputs).into_iter();
    backends
        .filter_map(|(name, state)| match state {
            BackendState::Usable(usable) if usable.locked_by.is_none() => Some((name.clone(), usable.ledger.cloned())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(serial: u64, stack: &str) -> Ledger {
        Ledger { serial, ..Ledger::new(PoolId("p".to_owned()), Owner::unnamed(), stack.to_owned()) }
    }

    #[test]
    fn the_copy_before_a_damaged_ledger_gives_way_to_a_newer_one_of_its_stack_in_the_store() {
        let older = LedgerView::Older(ledger(2, "a"), "damaged".to_owned());
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
