//! Giving up lost objects; accepting objects and pools as they are now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{
    Absence, BackendRecord, DeclaredSize, DriverError, Identity, JournalAction, JournalEntry, Kind, Ledger,
    LedgerEntry, LedgerView, Name, Object, ObjectId, ObjectRecord, OpenIntent, Place, Size, Specs, Step, Uid,
};
use crate::plan::{self, Observation, SettledState};
use crate::store::Batch;

use super::error::OperationError;
use super::run::{begin, check_none_runs, no_driver, observed, remember};
use super::stackless::refuse_without_stack;
use crate::engine::ledger::{self, SharedLedger};
use crate::engine::lost::LostObject;
use crate::engine::session::Session;
use crate::engine::setup::Setup;
use crate::text::did_you_mean;

/// Gives up a lost object, so that its name is free for a new, empty one; or accepts an object that has become smaller. Returns a sentence.
/// `by`: the person, for the journal.
///
/// # Errors
/// See [`OperationError`].
pub async fn forget_object(setup: &Setup, kind: Kind, name: &Name, by: Option<&str>) -> Result<String, OperationError> {
    let mut session = begin(setup).await?;
    check_none_runs(&session, |step| step.identity.kind == kind && step.identity.name == *name)?;
    let owner = &setup.reading.specs.stack.owner;
    let mut lost = session.lost();
    lost.retain(|one| one.kind == kind && one.name == *name);
    // Beside a lost object another of its name may be there: an older one in the trash.
    let of_name = session.observations.world.iter().find_map(|(backend, observation)| {
        let is_it = |o: &&Object| o.place != Place::Temporary && o.is(owner, kind, name);
        Some((backend.clone(), observation.objects().iter().find(is_it)?.clone()))
    });
    if let Some((backend, object)) = of_name.filter(|_| lost.is_empty()) {
        return accept_as_it_is(&mut session, &backend, &object, by).await;
    }
    if let Some(unobserved) = session.unobserved().first() {
        return Err(OperationError::Unobserved(format!("{}: it may still be there", unobserved.message)));
    }
    // What was on a backend that is not even opened may be there as well.
    let records = session.records.objects.values();
    let mut remembered =
        records.filter(|r| r.identity.owner == *owner && r.identity.kind == kind && r.identity.name == *name);
    let closed = |backend: &Name| matches!(session.observations.world.get(backend), Some(Observation::Unsupported));
    if let Some(record) = remembered.find(|record| closed(&record.backend)) {
        return Err(OperationError::Held(format!(
            "{}: it may still be there",
            no_driver(&setup.reading, &record.backend)
        )));
    }
    // Where nothing but the ledger tells of an object, the person who looked on the backend does.
    let is_by_ledger = |backend: &Name| {
        let can = session.observations.world.get(backend).and_then(Observation::capabilities);
        can.is_some_and(|can| can.absence == Absence::ByLedger)
    };
    if let Some(LostObject { backend, .. }) = lost.iter().find(|one| one.may_exist && !is_by_ledger(&one.backend)) {
        return Err(OperationError::Unobserved(format!(
            "{} was last seen on {backend}, which was seen only in part: it may still be there",
            ObjectId::new(kind, name)
        )));
    }
    let objects = || session.observations.world.values().flat_map(Observation::objects);
    for ledger in session.ledgers.values() {
        for (uid, entry) in ledger.expected(kind, name) {
            let is_other = |o: &&Object| o.place == Place::Temporary || !o.is(owner, kind, name);
            if objects().filter(|o| o.uid() == Some(uid)).any(|o| is_other(&o)) {
                return Err(OperationError::Held(format!(
                    "{} {name} is not lost: {uid} stands under another name, and {} is what it was called",
                    kind.as_lower(),
                    entry.native
                )));
            }
        }
    }
    let shown: BTreeSet<Uid> = objects().filter_map(Object::uid).collect();
    let now = session.now;
    let mut batch = Batch::default();
    let of_name = session.records.objects.values().map(|record| &record.identity);
    let of_name = of_name.filter(|id| id.owner == *owner && id.kind == kind && id.name == *name);
    batch.objects = of_name.filter(|id| !shown.contains(&id.uid)).map(|id| (id.uid, None)).collect();
    let mut backends = BTreeSet::new();
    for LostObject { backend, uid, .. } in &lost {
        let Some(ledger) = session.ledgers.get_mut(backend) else { continue };
        if let Some(entry) = ledger.creating.remove(uid) {
            ledger.complete.entry(*uid).or_insert(entry);
        }
        if !ledger.complete.contains_key(uid) {
            continue;
        }
        ledger.add_tombstone(*uid, now);
        let identity = Identity { owner: owner.clone(), kind, name: name.clone(), uid: *uid };
        batch.journal.push(decided(&session, backend, &identity, GIVEN_UP.to_owned(), by));
        backends.insert(backend.clone());
    }
    // Creations that were begun and whose outcome is not known.
    let intents = session.store.as_ref().map_or_else(|| Ok(Vec::new()), |store| store.intents())?;
    let is_it = |intent: &&OpenIntent| {
        let Step { identity, action, .. } = &intent.step;
        let of_name = identity.owner == *owner && identity.kind == kind && identity.name == *name;
        of_name
            && action.is_first()
            && !shown.contains(&identity.uid)
            && intent.step.backend().is_some_and(is_by_ledger)
    };
    batch.close = intents.iter().filter(is_it).map(|intent| intent.id).collect();
    if backends.is_empty() && batch.objects.is_empty() && batch.close.is_empty() {
        let there = session.observations.world.values().flat_map(Observation::objects);
        let there = there.filter(|o| o.place != Place::Temporary).filter_map(|o| o.identity.as_ref());
        let there = there.filter(|id| id.owner == *owner && id.kind == kind).map(|id| &id.name);
        let all_lost = session.lost();
        let known = all_lost.iter().filter(|one| one.kind == kind).map(|one| &one.name).chain(there);
        let meant = did_you_mean(name.as_str(), known.map(Name::as_str));
        return Err(OperationError::Usage(format!("no {} {name} is lost{meant}", kind.as_lower())));
    }
    for backend in backends {
        session.write_ledger(&backend).await.map_err(|error| OperationError::Failed(format!("{backend}: {error}")))?;
    }
    remember(&session, batch).await?;
    Ok(format!("{} {name} is forgotten; if it is declared, the next apply makes a new one", kind.as_lower()))
}

/// Accepts an object that has become smaller. It is not grown while its document declares the earlier size.
async fn accept_as_it_is(
    session: &mut Session<'_>,
    backend: &Name,
    object: &Object,
    by: Option<&str>,
) -> Result<String, OperationError> {
    let Some(identity) = object.identity.clone() else {
        return Err(OperationError::Usage(format!("{} has no owner", object.native)));
    };
    let (kind, name) = (identity.kind.as_lower(), &identity.name);
    let declared = declared_size(&session.setup.reading.specs, &identity);
    let ledger = session.ledgers.get_mut(backend);
    // Only what is smaller than the ledger says is accepted.
    let smaller =
        ledger.filter(|ledger| ledger.complete.get(&identity.uid).is_some_and(|entry| entry.size > object.size));
    let was =
        smaller.and_then(|ledger| ledger::accept_smaller(ledger, identity.uid, object, declared.map(Size::from), None));
    let Some(was) = was else {
        return Err(OperationError::Usage(format!("{kind} {name} is there: only what is lost is forgotten")));
    };
    session.write_ledger(backend).await.map_err(|error| OperationError::Failed(format!("{backend}: {error}")))?;
    let line = decided(session, backend, &identity, accepted(object.size, was), by);
    let batch = Batch { objects: vec![(identity.uid, None)], journal: vec![line], ..Batch::default() };
    remember(session, batch).await?;
    let mut said = format!("{kind} {name} is accepted as it is, with {}", object.size);
    if let Some(declared) = declared.filter(|declared| **declared > object.size) {
        said.push_str(&format!(
            "; it is not grown back to {declared} until that is approved or another size is declared"
        ));
    }
    Ok(said)
}

/// The size that is declared for a volume, by its name or by a document that renames it.
fn declared_size(specs: &Specs, identity: &Identity) -> Option<DeclaredSize> {
    let renamed = || specs.volumes.values().find(|volume| volume.meta.renamed_from.as_ref() == Some(&identity.name));
    let volume = || specs.volumes.get(&identity.name).or_else(renamed);
    (identity.kind == Kind::Volume).then(volume).flatten().map(|volume| volume.size)
}

const GIVEN_UP: &str = "given up as lost";

fn accepted(size: Size, was: Size) -> String {
    format!("accepted with {size}, instead of {was}")
}

/// The journal's line about a lost or smaller object that a person accepted.
fn decided(session: &Session<'_>, backend: &Name, identity: &Identity, what: String, by: Option<&str>) -> JournalEntry {
    let detail = by.map_or_else(|| what.clone(), |by| format!("{what}, by {by}"));
    let revision = &session.reading().revision;
    JournalEntry::new(session.now, revision, backend.clone(), identity, JournalAction::Forget, detail)
}

/// Accepts the pool of a declared Backend as it is observed now; or drops the records of a Backend that is no longer declared. Returns a
/// sentence. `by`: the person, for the journal.
///
/// Nothing grows by that: a volume that is smaller than the store, the ledger or its document says keeps its size until another size is
/// declared or the growth is approved.
///
/// # Errors
/// See [`OperationError`].
pub async fn forget_backend(setup: &Setup, name: &Name, by: Option<&str>) -> Result<String, OperationError> {
    let specs = &setup.reading.specs;
    let owner = &specs.stack.owner;
    let mut session = begin(setup).await?;
    check_none_runs(&session, |step| step.backend() == Some(name))?;
    let seen = session.observations.world.get(name).and_then(Observation::observed);
    let record = session.records.backends.get(name);
    refuse_without_stack(specs, name, seen, record)?;
    // The pool of this Stack may be recorded under the name that its Backend had in another.
    let is_elsewhere = |record: &&BackendRecord| seen.and_then(|seen| seen.pool.as_ref()) != Some(&record.pool);
    if let Some(other) = record.filter(is_elsewhere).and_then(|record| plan::of_another_stack(&specs.stack, record)) {
        return Err(OperationError::Held(format!(
            "what the store knows of backend {name} is of the Stack {other}; fix: give each Stack a store of its own: `--state DIR`, with \
             every command"
        )));
    }
    let mut batch = Batch::default();
    let on_it = session.records.objects.values().filter(|r| r.backend == *name && r.identity.owner == *owner);
    batch.objects.extend(on_it.map(|record| (record.identity.uid, None)));
    batch.backends.push((name.clone(), None));
    if !specs.backends.contains_key(name) {
        if !session.records.backends.contains_key(name) && batch.objects.is_empty() {
            let known = specs.backends.keys().chain(session.records.backends.keys());
            let meant = did_you_mean(name.as_str(), known.map(Name::as_str));
            return Err(OperationError::Usage(format!("no Backend {name} is declared or remembered{meant}")));
        }
        remember(&session, batch).await?;
        return Ok(format!("backend {name} is forgotten; what is on it is left as it is"));
    }
    let observed = observed(&session, name)?;
    // An object that could not be observed would be given up as well.
    if let Some(LedgerView::Unreadable(why)) = &observed.ledger {
        return Err(OperationError::Unobserved(format!("{name} could not be observed: {why}")));
    }
    // A backend that is asked for names says which it did not answer for.
    let can = session.observations.world.get(name).and_then(Observation::capabilities);
    let absence = can.map_or(Absence::ByList, |can| can.absence);
    if (absence == Absence::ByList && !observed.lists_all()) || !observed.gaps.is_empty() {
        let gaps = observed.gaps.join("; ");
        return Err(OperationError::Unobserved(format!(
            "{name} was seen only in part, so it cannot be accepted: {gaps}"
        )));
    }
    // The Backend may have had another name.
    let of_pool: Vec<_> = observed.pool.iter().flat_map(|pool| session.records.of_pool(pool)).collect();
    let is_ours = |ledger: &&Ledger| ledger.owner == *owner && ledger.stack == specs.stack.id;
    let ledgers = of_pool.iter().filter_map(|(_, record)| record.ledger.as_ref()).filter(is_ours);
    let known = ledgers.max_by_key(|ledger| ledger.serial).cloned();
    let names: BTreeSet<Name> = of_pool.into_iter().map(|(of, _)| of.clone()).chain([name.clone()]).collect();
    let kept = match observed.ledger.as_ref().and_then(|view| plan::trusted_ledger(view, known.as_ref())) {
        Some(ledger) if ledger.stack != specs.stack.id => {
            return Err(OperationError::Held(format!(
                "the pool is used by another Stack of the name {owner}; `kiln adopt {name} --from-owner {owner}` takes it over"
            )));
        }
        kept => kept.cloned(),
    };
    let there: HashMap<Uid, &Object> =
        observed.objects.iter().filter_map(|object| Some((object.uid()?, object))).collect();
    let records = Arc::clone(&session.records);
    let is_ours = |record: &&ObjectRecord| record.identity.owner == *owner && names.contains(&record.backend);
    let records = records.objects.values().filter(is_ours);
    let remembered: HashMap<Uid, &ObjectRecord> = records.map(|record| (record.identity.uid, record)).collect();
    let is_proven = |record: &&ObjectRecord| {
        let id = &record.identity;
        there.contains_key(&id.uid) || observed.proves_gone(id.kind, &[record.address()])
    };
    let shows_all = || kept.iter().chain(&known).all(|ledger| observed.shows_all(absence, Some(ledger)));
    // Where nothing but the ledger tells of an object, the person who accepts the pool does.
    if absence != Absence::ByLedger && !(shows_all() && remembered.values().all(is_proven)) {
        return Err(OperationError::Unobserved(format!(
            "{name} did not answer for every object that is known to be there, so it cannot be accepted"
        )));
    }
    let failed = |error: DriverError| OperationError::Failed(format!("{name}: {error}"));
    let pool = session.init_and_lock(name).await.map_err(failed)?;
    let mut ledger = match kept {
        Some(ledger) => Ledger { pool: pool.clone(), ..ledger },
        None => ledger::first(pool.clone(), owner, specs),
    };
    // A reader that knows a later ledger of the pool must take this one for the newest.
    ledger.serial = ledger.serial.max(known.as_ref().map_or(0, |known| known.serial));
    if absence == Absence::ByLedger {
        // Creations whose outcome is not known are given up as well.
        for (uid, entry) in std::mem::take(&mut ledger.creating) {
            ledger.complete.entry(uid).or_insert(entry);
        }
        let intents = session.store.as_ref().map_or_else(|| Ok(Vec::new()), |store| store.intents())?;
        let begun = intents.iter().filter(|intent| intent.step.action.is_first());
        batch.close = begun.filter(|intent| intent.step.backend() == Some(name)).map(|intent| intent.id).collect();
    }
    // An object that is not observed is given up.
    let mut gone: BTreeMap<Uid, Identity> = BTreeMap::new();
    for (uid, entry) in ledger.complete.iter().filter(|(uid, _)| !there.contains_key(uid)) {
        let LedgerEntry { kind, name, .. } = entry.clone();
        gone.insert(*uid, Identity { owner: owner.clone(), kind, name, uid: *uid });
    }
    for uid in gone.keys() {
        ledger.add_tombstone(*uid, session.now);
    }
    let unseen = remembered.values().filter(|r| r.seen().is_some() && !there.contains_key(&r.identity.uid));
    gone.extend(unseen.map(|record| (record.identity.uid, record.identity.clone())));
    batch.objects = remembered.keys().map(|uid| (*uid, None)).collect();
    let mut ledger = SharedLedger::from(ledger);
    // The pool is accepted as it is.
    ledger::settle(&mut ledger, &observed, &setup.reading, |_| SettledState::default(), session.now);
    let objects = ledger.complete.len();
    let line = |identity: &Identity, what: String| decided(&session, name, identity, what, by);
    batch.journal.extend(gone.values().map(|identity| line(identity, GIVEN_UP.to_owned())));
    let mut smaller = Vec::new();
    for (uid, object) in &there {
        let Some(identity) = object.identity.as_ref().filter(|_| object.conflict.is_none()) else { continue };
        let stored = known.as_ref().and_then(|ledger| Some(ledger.complete.get(uid)?.size));
        let known = stored.into_iter().chain(remembered.get(uid).map(|record| record.size)).max();
        let declared = declared_size(specs, identity);
        if let Some(was) = ledger::accept_smaller(&mut ledger, *uid, object, declared.map(Size::from), known) {
            batch.journal.push(line(identity, accepted(object.size, was)));
            smaller.push(format!("{} {} ({}, was {was})", identity.kind.as_lower(), identity.name, object.size));
        }
    }
    smaller.sort();
    session.ledgers.insert(name.clone(), ledger);
    session.write_ledger(name).await.map_err(failed)?;
    let record = BackendRecord {
        place: specs.backends[name].config.place(),
        pool: pool.clone(),
        owner: owner.clone(),
        observed_at: session.now,
        ledger: session.ledgers.get(name).map(|ledger| Ledger::clone(ledger)),
    };
    batch.backends = vec![(name.clone(), Some(record))];
    remember(&session, batch).await?;
    let mut said = format!("backend {name} is accepted as it is: pool {pool}, objects of {owner}: {objects}");
    if !gone.is_empty() {
        let gone: BTreeSet<String> = gone.values().map(|id| format!("{} {}", id.kind.as_lower(), id.name)).collect();
        said.push_str("; not there, and given up: ");
        said.push_str(&gone.into_iter().collect::<Vec<_>>().join(", "));
    }
    if !smaller.is_empty() {
        said.push_str("; smaller than before or than declared, and not grown until that is approved or another size is declared: ");
        said.push_str(&smaller.join(", "));
    }
    Ok(said)
}
