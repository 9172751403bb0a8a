//! What each declared backend is to the plan: ground to stand on, or the reason why nothing on it is touched.

use std::collections::BTreeMap;

use crate::model::{
    BackendRecord, BackendSpec, Capabilities, Kind, Ledger, LedgerView, Name, NativeName, Object, Observed, Owner,
    Place, PoolId,
};

use super::types::{HeldReason, Inputs, Observation};

/// What to do about a pool on which no step can be made.
pub(super) const UNUSABLE: &str = "use a directory on ext4, XFS, btrfs or tmpfs";

/// A declared backend, judged.
pub(super) enum BackendState<'a> {
    /// It can be planned for.
    Usable(Usable<'a>),
    /// Nothing on it is touched.
    Blocked(Blocked),
}

/// A backend that can be planned for.
pub(super) struct Usable<'a> {
    pub name: &'a Name,
    pub spec: &'a BackendSpec,
    pub capabilities: &'a Capabilities,
    pub observed: &'a Observed,
    /// Ours on this pool; none on first use.
    pub ledger: Option<&'a Ledger>,
    /// Another process is writing: steps are held.
    pub locked_by: Option<&'a str>,
}

impl<'a> Usable<'a> {
    /// The object of a native name in such a place.
    pub(super) fn find(&self, native: &NativeName, place: impl Fn(Place) -> bool) -> Option<&'a Object> {
        self.bearing(native).find(|object| place(object.place))
    }

    /// The objects of a native name. A report is sorted by native name.
    pub(super) fn bearing<'n>(&self, native: &'n NativeName) -> impl Iterator<Item = &'a Object> + use<'a, 'n> {
        let objects = &self.observed.objects;
        let first = objects.partition_point(|object| object.native < *native);
        objects[first..].iter().take_while(|object| object.native == *native)
    }
}

/// Why nothing on a backend is touched.
pub(super) struct Blocked {
    pub reason: HeldReason,
    pub message: String,
    pub fix: String,
    /// Whether it counts as unobserved (exit code 6).
    pub unobserved: bool,
}

/// Judges every declared backend.
pub(super) fn states<'a>(inputs: &Inputs<'a>) -> BTreeMap<&'a Name, BackendState<'a>> {
    let mut backends: BTreeMap<&Name, BackendState<'_>> =
        inputs.reading.specs.backends.iter().map(|(name, spec)| (name, judge(inputs, name, spec))).collect();
    // Two Backends that turn out to be one pool: which of them an object belongs to cannot be said.
    let mut by_pool: BTreeMap<&PoolId, Vec<&Name>> = BTreeMap::new();
    for (name, ground) in &backends {
        if let BackendState::Usable(Usable { observed: Observed { pool: Some(pool), .. }, .. }) = ground {
            by_pool.entry(pool).or_default().push(name);
        }
    }
    for names in by_pool.into_values().filter(|names| names.len() > 1) {
        for name in &names {
            let bad = Blocked {
                reason: HeldReason::Ambiguous,
                message: format!("the Backends {} are one and the same pool", list(&names)),
                fix: "declare the pool once".to_owned(),
                unobserved: false,
            };
            backends.insert(name, BackendState::Blocked(bad));
        }
    }
    backends
}

fn list(names: &[&Name]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" and ")
}

fn judge<'a>(inputs: &Inputs<'a>, name: &'a Name, spec: &'a BackendSpec) -> BackendState<'a> {
    if let Some(barred) = inputs.reading.not_allowed(Kind::Backend, name) {
        // It may well be allowed, and hold anything.
        if barred.silent {
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
            message: "`via` is off: manifests may not run commands".to_owned(),
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
                message: format!("the driver {:?} is not built yet", spec.config.driver()),
                fix: "use a driver that this kiln has: local or sim".to_owned(),
                unobserved: false,
            });
        }
        Some(Observation::Failed { why }) => return BackendState::Blocked(unseen(name, why)),
        None => return BackendState::Blocked(unseen(name, "it was not looked at")),
    };
    if let Some(why) = &capabilities.unusable {
        return BackendState::Blocked(Blocked {
            reason: HeldReason::Unsupported,
            message: format!("the backend {name} cannot be used: {why}"),
            fix: UNUSABLE.to_owned(),
            unobserved: false,
        });
    }
    match ledger(inputs, name, spec, observed) {
        Ok(ledger) => BackendState::Usable(Usable { name, spec, capabilities, observed, ledger, locked_by }),
        Err(bad) => BackendState::Blocked(bad),
    }
}

fn unseen(name: &Name, why: &str) -> Blocked {
    Blocked {
        reason: HeldReason::Unobserved,
        message: format!("the backend {name} could not be observed: {why}"),
        fix: "repair the backend, then run again".to_owned(),
        unobserved: true,
    }
}

/// Our ledger on the pool, after every check that the pool is the one it was and is ours.
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
            "point the Backend back to its pool; if this pool is right as it is, `kiln forget backend/{name}` accepts it"
        ),
        unobserved: true,
    };
    let record = record_of(inputs, name, spec, observed);
    let place = spec.config.place();
    match (&observed.pool, record) {
        // A mark that cannot be read may be there all the same.
        (None, _) if !observed.gaps.is_empty() => return Err(unseen(name, &observed.gaps.join("; "))),
        (None, Some(record)) => {
            return Err(changed(if record.place == place {
                format!("{place} was pool {} and bears no mark of Kiln now: is it mounted?", record.pool)
            } else {
                format!("it was pool {} at {}; {place} bears no mark of Kiln", record.pool, record.place)
            }));
        }
        (Some(pool), Some(record)) if record.pool != *pool => {
            return Err(changed(format!("it was pool {} at {}; {place} is pool {pool}", record.pool, record.place)));
        }
        (None, None) if observed.objects.iter().any(|o| o.native.is_reserved()) => {
            return Err(changed("there are objects of Kiln in a pool that bears no mark of Kiln".to_owned()));
        }
        (None, None) if !observed.ledgers.is_empty() => {
            return Err(changed("the pool has a ledger, and its mark is gone".to_owned()));
        }
        _ => {}
    }
    let has_objects = observed
        .objects
        .iter()
        .any(|o| o.place != Place::Temporary && o.identity.as_ref().is_some_and(|id| id.owner == *owner));
    let ledger = match observed.ledgers.get(owner) {
        Some(LedgerView::Unreadable(why)) => return Err(unseen(name, why)),
        Some(view) => match (believed(view, stored(inputs, record)), view) {
            (None, LedgerView::Damaged(why)) => {
                return Err(changed(format!("both copies of the ledger are damaged ({why}), and the store has none")));
            }
            (ledger, _) => ledger,
        },
        None if has_objects => {
            return Err(changed(format!("there are objects of {owner} in the pool, and no ledger that knows them")));
        }
        None if record
            .is_some_and(|r| r.owner == *owner && r.ledger.as_ref().is_some_and(|l| !l.complete.is_empty())) =>
        {
            return Err(given_away(name, observed, record)
                .unwrap_or_else(|| changed("the pool's ledger is gone, and so are the objects it listed".to_owned())));
        }
        // It knows of no object, but of names that were used up and approvals that are spent.
        None => {
            record.filter(|record| Some(&record.pool) == observed.pool.as_ref()).and_then(|r| stored(inputs, Some(r)))
        }
    };
    match ledger {
        Some(ledger) if Some(&ledger.pool) != observed.pool.as_ref() => {
            Err(changed(format!("the ledger in the pool was written for another pool, {}", ledger.pool)))
        }
        Some(ledger) if ledger.stack != inputs.reading.specs.stack.id => Err(Blocked {
            reason: HeldReason::OwnerChanged,
            message: format!("the pool is used by another Stack of the name {owner} (id {:?})", ledger.stack),
            fix: other_stack(inputs, name, &ledger.stack),
            unobserved: false,
        }),
        Some(ledger) => match stored(inputs, record).filter(|k| k.stack == ledger.stack && k.serial > ledger.serial) {
            None => Ok(Some(ledger)),
            Some(known) => Err(Blocked {
                reason: HeldReason::BackendChanged,
                message: format!(
                    "the pool is older than Kiln left it: its ledger is number {}, and number {} was written; it was rolled back, or \
                     restored from a backup",
                    ledger.serial, known.serial
                ),
                fix: format!(
                    "bring the pool back to its newest state; if it is right as it is, `kiln forget backend/{name}` accepts it, and every \
                     volume keeps the size it has"
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

/// The newest ledger that can be believed: the one on the pool, or the store's copy where the pool's newest copy is damaged.
pub fn believed<'a>(view: &'a LedgerView, stored: Option<&'a Ledger>) -> Option<&'a Ledger> {
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

/// What the store knows of this Backend: by its name, by its pool (a renamed Backend is the pool it points to), or by its place.
fn record_of<'a>(
    inputs: &Inputs<'a>,
    name: &Name,
    spec: &BackendSpec,
    observed: &Observed,
) -> Option<&'a BackendRecord> {
    let records = &inputs.records.backends;
    let same_pool = records.values().find(|record| Some(&record.pool) == observed.pool.as_ref());
    // Memory is no place that can be gone back to.
    let same_place = || records.values().find(|record| record.place == spec.config.place() && record.place != "memory");
    records.get(name).or(same_pool).or_else(same_place)
}

fn stored<'a>(inputs: &Inputs<'a>, record: Option<&'a BackendRecord>) -> Option<&'a Ledger> {
    record?.ledger.as_ref().filter(|ledger| ledger.owner == inputs.reading.specs.stack.owner)
}

/// A pool that we have never used, where another owner's objects bear names that we declare: most likely the Stack was renamed,
/// or got its first name.
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
    // It is said of everything that is declared on the backend: of what the other owner has, and of what it does not have.
    let others = match clashes.filter(|id| id.owner == *owner).count() {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    Some(Blocked {
        reason: HeldReason::OwnerChanged,
        message: format!(
            "the pool has been used by {owner}, which has objects on it that are declared here: {} {}{others}",
            clash.kind.as_lower(),
            clash.name
        ),
        fix: former_owner(inputs, name, owner, observed),
        unobserved: false,
    })
}

/// A pool without our ledger, where another owner has objects that our last ledger listed: `kiln adopt --from-owner` gave them away.
fn given_away(name: &Name, observed: &Observed, record: Option<&BackendRecord>) -> Option<Blocked> {
    let ours = &record?.ledger.as_ref()?.complete;
    let given = observed.objects.iter().filter_map(|object| object.identity.as_ref());
    let other = &given.into_iter().find(|identity| ours.contains_key(&identity.uid))?.owner;
    Some(Blocked {
        reason: HeldReason::OwnerChanged,
        message: format!("the objects of this Stack on the pool were given to {other}"),
        fix: format!("to take them back, `kiln adopt {name} --from-owner {other}`"),
        unobserved: false,
    })
}

/// What to do where a pool belongs to another Stack of this name.
fn other_stack(inputs: &Inputs<'_>, backend: &Name, id: &str) -> String {
    let stack = &inputs.reading.specs.stack;
    let back = match id {
        "" => "if this Stack document is new and its objects were made without one".to_owned(),
        id => format!(
            "if the id of this Stack was changed, write `spec: {{id: {id}}}` in it again; if it replaces that Stack"
        ),
    };
    format!(
        "{back}, `kiln adopt {backend} --from-owner {owner}` gives it the objects; otherwise give this Stack another name",
        owner = stack.owner
    )
}

/// What to do where a pool belongs to an owner that bears another name. Without a Stack document, the one that is missing is most
/// likely that owner's: to take over its objects, or to accept the pool, would make other objects beside them.
fn former_owner(inputs: &Inputs<'_>, backend: &Name, owner: &Owner, observed: &Observed) -> String {
    if !inputs.reading.specs.stack.declared && *owner != inputs.reading.specs.stack.owner {
        return missing_stack(owner, observed);
    }
    if *owner == Owner::unnamed() {
        return format!(
            "if its objects were made before this Stack was declared, `kiln adopt {backend} --from-owner {owner}` gives them to it; \
             if they belong to other manifests, `kiln forget backend/{backend}` accepts the pool, for objects of its own beside those"
        );
    }
    format!(
        "if this Stack was renamed, write `metadata: {{name: {owner}}}` in it again, or give it the objects with `kiln adopt \
         {backend} --from-owner {owner}`; if it is another Stack, which is to have objects of its own beside those, `kiln forget \
         backend/{backend}` accepts the pool"
    )
}

/// What to do where no Stack is declared and another owner's objects are on a pool.
pub fn missing_stack(owner: &Owner, observed: &Observed) -> String {
    let id = match observed.ledgers.get(owner) {
        Some(LedgerView::Good(ledger)) => ledger.stack.as_str(),
        _ => "…",
    };
    format!(
        "no Stack is declared: bring its document back (`kind: Stack`, `metadata: {{name: {owner}}}`, `spec: {{id: {id}}}`)"
    )
}

/// The backends that can be planned for and written to, with our ledger on each (none on first use): the one that the plan was
/// made with, which is the store's copy where those on the pool are damaged.
pub fn usable(inputs: &Inputs<'_>) -> BTreeMap<Name, Option<Ledger>> {
    let backends = states(inputs).into_iter();
    backends
        .filter_map(|(name, ground)| match ground {
            BackendState::Usable(good) if good.locked_by.is_none() => Some((name.clone(), good.ledger.cloned())),
            _ => None,
        })
        .collect()
}
