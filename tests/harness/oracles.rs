//! What must hold, whatever failed: functions that can say no. Each is shown to say no in `tests/sweep.rs`.

use std::collections::{BTreeMap, BTreeSet};

use kiln::model::{
    Absence, Action, Capabilities, Kind, NativeName, Object, Origin, Place, Provisioning, Reading, Uid, VolumeSettings,
    VolumeSpec,
};
use kiln::plan::{HeldReason, Plan};

use super::gate::{CallKind, Done};
use super::host::{Host, Manner, prod};
use super::pool::{Outside, Thing};

/// What is held: `volume/db`, and why.
pub type Holds = Vec<(String, HeldReason)>;

pub fn holds(plan: &Plan) -> Holds {
    let mut holds: Holds =
        plan.held.iter().map(|held| (format!("{}/{}", held.kind.as_lower(), held.name), held.reason)).collect();
    holds.sort();
    holds
}

/// A world as lines that can be compared.
pub type Lines = BTreeMap<String, String>;

/// Everything on the pools, in the ledgers, and all that is held. Without what tells when or how often something was done.
pub fn lines(things: &[(String, Thing)], host: &Host, held: &[(String, HeldReason)], can: &Capabilities) -> Lines {
    let mut lines = Lines::new();
    let by_name = can.absence == Absence::ByLedger;
    for (pool, thing) in things {
        let object = &thing.object;
        let place = object.place;
        let (size, content) = (object.size, &thing.content);
        let (key, value) = match &object.identity {
            // What is created after its name was freed has another uid.
            Some(identity) if by_name => {
                let (kind, name, labels) = (identity.kind, &identity.name, &object.tags.labels);
                (format!("{pool} {place:?} {kind} {name}"), format!("{size} {labels:?} {content:?}"))
            }
            _ => {
                let (tags, settings, parent) = (object.tags.lasting(), &object.settings, object.parent);
                let thick = object.provisioning == Some(Provisioning::Thick);
                let key = format!("{pool} {place:?} {} {:?}", object.address(), object.uid());
                (key, format!("{size} {tags:?} {settings:?} thick: {thick} parent: {parent:?} {content:?}"))
            }
        };
        lines.insert(key, value);
    }
    if !by_name {
        for (name, pool) in host.pools.iter() {
            let Some(ledger) = pool.ledger(&prod()) else { continue };
            for (uid, entry) in &ledger.complete {
                lines.insert(format!("{name} ledger {uid}"), format!("{entry:?}"));
            }
            for (uid, tombstone) in &ledger.tombstones {
                lines.insert(format!("{name} tombstone {uid}"), format!("{} {}", tombstone.kind, tombstone.name));
            }
        }
    }
    for (object, reason) in held {
        lines.insert(format!("held {object} {reason}"), String::new());
    }
    lines
}

/// O1: the end is that of the undisturbed run. `are_where_they_should`: only the places are compared. What was copied from a volume that
/// was not grown, although its backend said so, has another size.
pub fn o1_ends_as_undisturbed(end: &Lines, reference: &Lines, are_where_they_should: bool) -> Result<(), String> {
    let keys: BTreeSet<&String> = end.keys().chain(reference.keys()).collect();
    let differ = keys.into_iter().filter(|key| match are_where_they_should {
        true => end.contains_key(*key) != reference.contains_key(*key),
        false => end.get(*key) != reference.get(*key),
    });
    let shown: Vec<String> = differ
        .map(|key| format!("{key}\n    is        {:?}\n    should be {:?}", end.get(key), reference.get(key)))
        .collect();
    if shown.is_empty() { Ok(()) } else { Err(format!("O1: it ends elsewhere:\n  {}", shown.join("\n  "))) }
}

/// O2: of each uid at most one creation and one destruction had an effect.
pub fn o2_made_and_destroyed_once(done: &[Done]) -> Result<(), String> {
    let mut counts: BTreeMap<(Uid, &str), usize> = BTreeMap::new();
    for one in done.iter().filter(|one| one.changed() && !one.half) {
        let what = match one.step.action {
            Action::Create { .. } | Action::Snapshot { .. } => "created",
            Action::Destroy | Action::Purge => "destroyed",
            _ => continue,
        };
        *counts.entry((one.step.identity.uid, what)).or_default() += 1;
    }
    match counts.into_iter().find(|(_, count)| *count > 1) {
        Some(((uid, what), count)) => Err(format!("O2: {uid} was {what} {count} times")),
        None => Ok(()),
    }
}

/// O2: nothing is done beside another writer, not even to what it is making.
pub fn o2_nothing_beside_another_writer(done: &[Done], held: &Holds) -> Result<(), String> {
    match done.first().filter(|_| held.iter().any(|(_, why)| *why == HeldReason::OtherWriter)) {
        Some(one) => Err(format!("O2: another process is writing: {} {}", one.step.action, one.step.native)),
        None => Ok(()),
    }
}

/// O3: every owned object is declared, in the trash, released or held; and every declared one exists or is held.
pub fn o3_objects_and_documents_agree(
    things: &[(String, Thing)],
    reading: &Reading,
    held: &[(String, HeldReason)],
) -> Result<(), String> {
    let is_written_to = held.iter().any(|(_, why)| *why == HeldReason::OtherWriter);
    let held: BTreeSet<&str> = held.iter().map(|(object, _)| object.as_str()).collect();
    let mut there: BTreeMap<String, &Object> = BTreeMap::new();
    let owned = |object: &&Object| object.identity.as_ref().is_some_and(|id| id.owner == prod());
    let declared = |pool: &str| reading.specs.backends.keys().any(|name| name.as_str() == pool);
    for object in things.iter().filter(|(pool, _)| declared(pool)).map(|(_, thing)| &thing.object).filter(owned) {
        let identity = object.identity.as_ref().unwrap();
        let key = format!("{}/{}", identity.kind.as_lower(), identity.name);
        match object.place {
            Place::Trash => continue,
            // Another process is making it.
            Place::Temporary if is_written_to => continue,
            Place::Temporary if !held.contains(key.as_str()) => {
                return Err(format!("O3: {} was left unfinished", object.native));
            }
            Place::Temporary => continue,
            Place::Live => {}
        }
        let declared = reading.specs.declares(identity.kind, &identity.name);
        // What is said to be renamed from it is held, and it with that.
        let volumes = reading.specs.volumes.values().map(|spec| (Kind::Volume, &spec.meta));
        let snapshots = reading.specs.snapshots.values().map(|spec| (Kind::Snapshot, &spec.meta));
        let renamed = volumes.chain(snapshots).any(|(kind, meta)| {
            let is_it = kind == identity.kind && meta.renamed_from.as_ref() == Some(&identity.name);
            is_it && held.contains(format!("{}/{}", kind.as_lower(), meta.name).as_str())
        });
        if !declared && !renamed && !object.tags.retained && !held.contains(key.as_str()) {
            return Err(format!("O3: {key} is there, and neither declared nor released nor held"));
        }
        if there.insert(key.clone(), object).is_some() && !held.contains(key.as_str()) {
            return Err(format!("O3: {key} is there twice"));
        }
    }
    let volumes = reading.specs.volumes.keys().map(|name| format!("volume/{name}"));
    let snapshots = reading.specs.snapshots.keys().map(|name| format!("snapshot/{name}"));
    for key in volumes.chain(snapshots).filter(|key| !held.contains(key.as_str())) {
        let Some(object) = there.get(&key) else { return Err(format!("O3: {key} is neither there nor held")) };
        let spec = reading.specs.volumes.get(key.strip_prefix("volume/").unwrap_or_default());
        let differs = |spec: &&VolumeSpec| {
            let is_protected = spec.protected.is_none_or(|protected| object.tags.protected == protected);
            object.size < *spec.size || object.settings != VolumeSettings::of(spec) || !is_protected
        };
        if spec.as_ref().is_some_and(differs) || object.tags.retained {
            return Err(format!("O3: {key} is not as declared: {object:?}"));
        }
    }
    Ok(())
}

/// What the content of every object must be, by what was done.
#[derive(Debug, Clone, Default)]
pub struct Canary {
    of: BTreeMap<(String, Key), BTreeMap<u64, u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Uid(Uid),
    Native(String),
}

fn key(object: &Object) -> Key {
    object.uid().map_or_else(|| Key::Native(object.address().to_string()), Key::Uid)
}

impl Canary {
    pub fn before(things: &[(String, Thing)]) -> Self {
        let whole = things.iter().filter(|(_, thing)| thing.object.place != Place::Temporary);
        Self { of: whole.map(|(pool, thing)| ((pool.clone(), key(&thing.object)), thing.content.clone())).collect() }
    }

    /// Follows what was done. After an interrupted restore the content is undefined.
    fn follow(&mut self, done: &[Done]) -> BTreeSet<(String, Key)> {
        let mut half = BTreeSet::new();
        for one in done.iter().filter(|one| one.changed() || one.half) {
            let at = |uid| (one.pool.clone(), Key::Uid(uid));
            let own = at(one.step.identity.uid);
            let content = match &one.step.action {
                Action::Restore { .. } if one.half => {
                    half.insert(own);
                    continue;
                }
                _ if one.half => continue,
                Action::Create { origin: None, .. } => BTreeMap::new(),
                Action::Create { origin: Some(Origin::Snapshot(from) | Origin::Volume(from)), .. }
                | Action::Snapshot { volume: from, .. }
                | Action::Restore { snapshot: from, .. } => self.of.get(&at(from.uid)).cloned().unwrap_or_default(),
                Action::Adopt { .. } => {
                    let foreign = (one.pool.clone(), Key::Native(one.step.address_before().to_string()));
                    self.of.remove(&foreign).unwrap_or_default()
                }
                _ => continue,
            };
            half.remove(&own);
            self.of.insert(own, content);
        }
        half
    }
}

/// O4: the content of every object is what the declared operations made it.
pub fn o4_content_is_as_declared(mut canary: Canary, done: &[Done], things: &[(String, Thing)]) -> Result<(), String> {
    let half = canary.follow(done);
    for (pool, thing) in things.iter().filter(|(_, thing)| thing.object.place != Place::Temporary) {
        let at = (pool.clone(), key(&thing.object));
        if half.contains(&at) {
            continue;
        }
        match canary.of.get(&at) {
            None => return Err(format!("O4: no step made {}", thing.object.native)),
            Some(content) if *content != thing.content => {
                let (native, is) = (&thing.object.native, &thing.content);
                return Err(format!("O4: the content of {native} is {is:?} and should be {content:?}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// O4: what vanishes now is missed: it is held, and nothing empty is put in its place.
pub async fn o4_losses_are_seen(host: &Host, reading: &Reading, manner: &Manner, held: &Holds) -> Result<(), String> {
    let after = host.fork(true);
    let mut vanished = Vec::new();
    for (pool, thing) in after.things().iter().filter(|(_, thing)| thing.object.place == Place::Live) {
        let Some(identity) = thing.object.identity.as_ref().filter(|id| id.owner == prod()) else { continue };
        let name = format!("{}/{}", identity.kind.as_lower(), identity.name);
        let is_declared = reading.specs.declares(identity.kind, &identity.name);
        if is_declared && !held.iter().any(|(other, _)| *other == name) {
            // One inside of a volume vanishes with it.
            after.pools[pool].outside(&Outside::DeleteAt(thing.at()));
            vanished.push(name);
        }
    }
    let passed = after.pass(reading, manner).await.map_err(|error| error.to_string())?;
    let now = holds(passed.report.plan.as_ref().unwrap());
    let made = after.gate.done();
    let is_made = |name: &String| {
        made.iter().any(|one| {
            let identity = &one.step.identity;
            one.step.action.is_first() && *name == format!("{}/{}", identity.kind.as_lower(), identity.name)
        })
    };
    match vanished.iter().find(|name| !now.iter().any(|(other, _)| other == *name) || is_made(name)) {
        Some(name) => Err(format!("O4: {name} vanished, and nothing says so: {now:?}")),
        None => Ok(()),
    }
}

/// O5: more passes do nothing to a pool, and from the second on they write nothing at all.
pub async fn o5_stays_settled(host: &Host, reading: &Reading, manner: &Manner) -> Result<(), String> {
    for pass in 1..=3 {
        let before = host.gate.trace().len();
        let passed = host.pass(reading, manner).await.map_err(|error| error.to_string())?;
        let plan = passed.report.plan.as_ref().unwrap();
        if !plan.steps.is_empty() {
            return Err(format!("O5: pass {pass} after the last has steps: {:#?}", plan.steps));
        }
        let trace = host.gate.trace();
        let wrote = trace[before..].iter().find(|(_, kind)| match kind {
            CallKind::List | CallKind::Read | CallKind::Lock => false,
            CallKind::Metadata | CallKind::Step(..) => true,
            CallKind::Commit => pass > 1,
        });
        if let Some((point, _)) = wrote {
            return Err(format!("O5: pass {pass} after the last makes the call {point}"));
        }
    }
    Ok(())
}

/// O7: what there was before is there again, under its name and as it was; it may have grown.
pub fn o7_went_back(reading: &Reading, earlier: &[(String, Thing)], now: &[(String, Thing)]) -> Result<(), String> {
    let declared = |(_, thing): &&(String, Thing)| {
        let identity = thing.object.identity.as_ref();
        let is_declared = identity.is_some_and(|id| id.owner == prod() && reading.specs.declares(id.kind, &id.name));
        is_declared && thing.object.place == Place::Live
    };
    for (pool, thing) in earlier.iter().filter(declared) {
        let object = &thing.object;
        let found = now
            .iter()
            .find(|(at, other)| at == pool && other.at() == object.address() && other.object.uid() == object.uid());
        let Some((_, other)) = found.filter(|(_, other)| other.object.place == Place::Live) else {
            return Err(format!("O7: {} did not come back", object.native));
        };
        let same_tags = other.object.tags.protected == object.tags.protected
            && other.object.tags.labels == object.tags.labels
            && other.object.tags.retained == object.tags.retained;
        if other.object.size < object.size || !same_tags {
            return Err(format!("O7: {} came back as {:?}", object.native, other.object));
        }
    }
    Ok(())
}

/// O8: a rejected document causes no step on its object.
pub fn o8_no_call_for(done: &[Done], kind: Kind, name: &str) -> Result<(), String> {
    let is_it = |one: &&Done| one.step.identity.kind == kind && one.step.identity.name.as_str() == name;
    match done.iter().find(is_it) {
        Some(one) => Err(format!("O8: its document was rejected: {} {}", one.step.action, one.step.native)),
        None => Ok(()),
    }
}

/// O11: objects of no owner, or of another one, are unchanged.
pub fn o11_foreign_objects_untouched(
    before: &[(String, Thing)],
    now: &[(String, Thing)],
    done: &[Done],
) -> Result<(), String> {
    let foreign = |(_, thing): &&(String, Thing)| thing.object.identity.as_ref().is_none_or(|id| id.owner != prod());
    let adopted: BTreeSet<(&str, &NativeName)> = done
        .iter()
        .filter(|one| matches!(one.step.action, Action::Adopt { .. }) || one.step.identity.owner != prod())
        .map(|one| (one.pool.as_str(), &one.step.native))
        .collect();
    for (pool, thing) in before.iter().filter(foreign) {
        let native = &thing.object.native;
        if adopted.contains(&(pool.as_str(), native)) {
            continue;
        }
        let same = |(at, other): &&(String, Thing)| {
            // Renamed with the volume that it is inside of, which was adopted, it is still the same.
            let (one, two) = (&thing.object, &other.object);
            at == pool
                && one.native == two.native
                && one.id == two.id
                && one.size == two.size
                && thing.content == other.content
        };
        if !now.iter().any(|other| same(&other)) {
            return Err(format!("O11: {native} is not ours, and was changed"));
        }
    }
    Ok(())
}

/// O12: a process that knows nothing has nothing to do either.
pub async fn o12_settled_for_a_stranger(host: &Host, reading: &Reading, manner: &Manner) -> Result<(), String> {
    let stranger = host.fork(false);
    let passed = stranger.pass(reading, manner).await.map_err(|error| error.to_string())?;
    match passed.report.plan.unwrap().steps {
        steps if steps.is_empty() => Ok(()),
        steps => Err(format!("O12: without the store there is something to do: {steps:#?}")),
    }
}
