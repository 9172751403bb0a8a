//! Orphans: objects, remains and records that no document declares and that no step or hold is about. Pure.
//!
//! An orphan is no error. Each comes with the command that resolves it; Kiln never removes one because it was found.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    Identity, Kind, Ledger, Name, NativeName, Object, ObjectId, Observed, Place, Reading, Records, Suspension, Uid,
    Withdrawal,
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
        match self.object.as_ref().filter(|_| self.reason != OrphanReason::HalfMade) {
            Some(object) => object.to_string(),
            None => format!("backend/{}", self.backend),
        }
    }
}

/// Why something is an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OrphanReason {
    /// It exists, is ours, and is neither declared, released, planned nor held.
    Unaccounted,
    /// It was left incomplete by an interrupted run.
    HalfMade,
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
            OrphanReason::HalfMade => "LeftOver",
            OrphanReason::Expired => "Expired",
            OrphanReason::Remembered => "Remembered",
        }
    }
}

/// Returns all orphans, sorted by reason, object and place. Backends that were not observed contribute none; while it is in doubt what
/// is declared, undeclared objects are not orphans.
pub fn orphans(overview: &Overview, reading: &Reading) -> Vec<Orphan> {
    let specs = &*reading.specs;
    let usable = overview.judged.usable(reading, &overview.world, &overview.records);
    let spoken = Spoken::new(overview, reading);
    let wanted = Referenced::of(specs);
    let mut orphans = Vec::new();
    for (backend, observation) in &overview.world {
        // While another process holds the writer lock, incomplete objects and missing ledger entries may be its work in progress.
        let Observation::Seen { observed, .. } = observation else { continue };
        let ours = |o: &&Object| o.identity.as_ref().is_some_and(|id| id.owner == specs.stack.owner);
        for object in observed.objects.iter().filter(ours) {
            match object.place {
                Place::Temporary if !observed.locked.contains(&specs.stack.owner) => {
                    orphans.push(left_over(backend, object));
                }
                Place::Trash => orphans.extend(expired(overview.now, &overview.suspended, &wanted, backend, object)),
                Place::Live if usable.contains_key(backend) => {
                    let ledger = usable.get(backend).copied().flatten();
                    orphans.extend(unaccounted(&spoken, &overview.records, backend, object, ledger));
                }
                Place::Temporary | Place::Live => {}
            }
        }
        if !observed.locked.contains(&specs.stack.owner) {
            let ledger = usable.get(backend).copied().flatten();
            remembered(&spoken, &overview.records, backend, observed, ledger, &mut orphans);
        }
    }
    orphans.sort_by(|a, b| {
        (a.reason, &a.object, &a.backend, &a.native).cmp(&(b.reason, &b.object, &b.backend, &b.native))
    });
    orphans
}

/// The objects that documents and the plan refer to.
struct Spoken<'a> {
    reading: &'a Reading,
    /// Held objects, and old names in documents.
    names: HashSet<(Kind, &'a Name)>,
    uids: HashSet<Uid>,
}

impl<'a> Spoken<'a> {
    fn new(overview: &'a Overview, reading: &'a Reading) -> Self {
        let specs = &reading.specs;
        let plan = &overview.plan;
        let held = plan.held.iter().map(|held| (held.kind, &held.name));
        let volumes = specs.volumes.values().filter_map(|v| Some((Kind::Volume, v.meta.renamed_from.as_ref()?)));
        let snapshots = specs.snapshots.values().filter_map(|s| Some((Kind::Snapshot, s.meta.renamed_from.as_ref()?)));
        let uids = plan.steps.iter().map(|step| step.identity.uid).chain(plan.held.iter().filter_map(|held| held.uid));
        Self { reading, names: held.chain(volumes).chain(snapshots).collect(), uids: uids.collect() }
    }

    /// Whether a document (also by `renamedFrom`), a step or a hold is about an object.
    fn of(&self, identity: &Identity) -> bool {
        let (kind, name) = (identity.kind, &identity.name);
        self.reading.specs.declares(kind, name)
            || self.uids.contains(&identity.uid)
            || self.names.contains(&(kind, name))
    }

    /// Whether the manifests no longer declare an object and nothing else is about it.
    fn is_given_up(&self, identity: &Identity, ledger: Option<&Ledger>) -> bool {
        let Identity { kind, name, uid, .. } = identity;
        !self.of(identity) && self.reading.withdraws(*kind, name, ledger, *uid) == Withdrawal::Withdrawn
    }
}

fn object_of(object: &Object) -> Option<ObjectId> {
    object.identity.as_ref().map(Identity::id)
}

fn bytes_of(object: &Object) -> Option<u64> {
    Some(object.used.unwrap_or(object.size.bytes()))
}

fn left_over(backend: &Name, object: &Object) -> Orphan {
    Orphan {
        reason: OrphanReason::HalfMade,
        object: object_of(object),
        native: object.native.clone(),
        backend: backend.clone(),
        bytes: bytes_of(object),
        since: None,
        message: match &object.conflict {
            Some(why) => format!("{} is not removed: {why}", object.native),
            None => format!("{} was left incomplete by an interrupted run", object.native),
        },
        // It removes what can be removed, and prints a command for what cannot.
        fix: "`kiln apply`".to_owned(),
    }
}

fn expired(
    now: u64,
    suspended: &[Suspension],
    wanted: &Referenced<'_>,
    backend: &Name,
    object: &Object,
) -> Option<Orphan> {
    let identity = object.identity.as_ref()?;
    let expires = object.tags.expires.filter(|expires| *expires <= now)?;
    let (more, fix) = match plan::suspension_of(suspended, identity.kind, &identity.name) {
        Some(suspension) => (
            format!("; {}", plan::suspended_because(suspension)),
            format!("{}, then `kiln trash purge`", plan::resume(suspension)),
        ),
        None if wanted.contains(identity.kind, &identity.name) => (
            "; it stays while a document refers to it".to_owned(),
            format!(
                "`kiln describe {}/{}`; or `kiln trash purge`, once no document does",
                identity.kind.as_lower(),
                identity.name
            ),
        ),
        None => (String::new(), "`kiln trash purge`".to_owned()),
    };
    Some(Orphan {
        reason: OrphanReason::Expired,
        object: object_of(object),
        native: object.native.clone(),
        backend: backend.clone(),
        bytes: bytes_of(object),
        since: Some(expires),
        message: format!("in the trash of {backend}, expired since {}{more}", rfc3339(expires)),
        fix,
    })
}

fn unaccounted(
    spoken: &Spoken<'_>,
    records: &Records,
    backend: &Name,
    object: &Object,
    ledger: Option<&Ledger>,
) -> Option<Orphan> {
    let given_up = |identity: &&Identity| !object.tags.retained && spoken.is_given_up(identity, ledger);
    let identity = object.identity.as_ref().filter(given_up)?;
    let (kind, name) = (identity.kind, &identity.name);
    Some(Orphan {
        reason: OrphanReason::Unaccounted,
        object: object_of(object),
        native: object.native.clone(),
        backend: backend.clone(),
        bytes: bytes_of(object),
        since: records.objects.get(&identity.uid).map(|record| record.seen_at),
        message: format!(
            "{} on {backend} belongs to this Stack, is not declared, and has no planned step",
            object.native
        ),
        fix: format!(
            "`kiln describe {}/{name}` shows it; declare it again, or see what `kiln plan` does with it",
            kind.as_lower()
        ),
    })
}

/// Returns entries of a ledger or the store that a complete observation does not confirm.
fn remembered(
    spoken: &Spoken<'_>,
    records: &Records,
    backend: &Name,
    observed: &Observed,
    ledger: Option<&Ledger>,
    orphans: &mut Vec<Orphan>,
) {
    let Some(ledger) = ledger else { return };
    let there: HashSet<Uid> = observed.objects.iter().filter_map(Object::uid).collect();
    let unclear: HashSet<&NativeName> =
        observed.objects.iter().filter(|o| o.conflict.is_some()).map(|o| &o.native).collect();
    let gone = |kind: Kind, uid: Uid, native: &NativeName| {
        observed.listed.proves_absence_of(kind) && !there.contains(&uid) && !unclear.contains(native)
    };
    let mut orphan = |identity: &Identity, native: &NativeName, message: String, fix: String| {
        orphans.push(Orphan {
            reason: OrphanReason::Remembered,
            object: Some(identity.id()),
            native: native.clone(),
            backend: backend.clone(),
            bytes: None,
            since: records.objects.get(&identity.uid).map(|record| record.seen_at),
            message,
            fix,
        });
    };
    for (uid, entry) in ledger.complete.iter().filter(|(uid, entry)| gone(entry.kind, **uid, &entry.native)) {
        let (kind, name) = (entry.kind, entry.name.clone());
        let identity = Identity { owner: ledger.owner.clone(), kind, name, uid: *uid };
        if ledger.leaving.contains(uid) || spoken.is_given_up(&identity, Some(ledger)) {
            let message = format!(
                "{} no longer exists on {backend} and is not declared; its ledger still lists it",
                entry.native
            );
            orphan(&identity, &entry.native, message, "`kiln apply`".to_owned());
        }
    }
    for record in records.objects.values().filter(|record| record.backend == *backend && record.seen.is_some()) {
        let identity = &record.identity;
        let known = ledger.complete.contains_key(&identity.uid);
        if known || identity.owner != ledger.owner || !gone(identity.kind, identity.uid, &record.native) {
            continue;
        }
        let fix = match ledger.tombstones.contains_key(&identity.uid) {
            true => "`kiln apply`".to_owned(),
            false if !spoken.is_given_up(identity, Some(ledger)) => continue,
            false => format!("`kiln forget {}/{}`", identity.kind.as_lower(), identity.name),
        };
        let message =
            format!("{} no longer exists on {backend} and is not declared; the store still lists it", record.native);
        orphan(identity, &record.native, message, fix);
    }
}

#[cfg(test)]
mod tests;
