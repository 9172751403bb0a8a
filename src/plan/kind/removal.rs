//! Removal of our objects that no document declares, and what holds it.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::model::{
    Action, Doubt, Expect, Kind, Name, NativeName, Object, OnRemove, Place, Reason, Risk, Step, Tags, Uid, Verb,
    Withdrawal,
};

use crate::plan::doubt::because;
use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::name_conflict::{check_trash_is_free, give_freed_names};
use crate::plan::tags::change;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::checks::check_not_open;
use super::removable::check_removable;
use super::step::step_on;

/// The address of an object. A uid is not unique if a copy was made outside of Kiln.
type PlaceKey<'a> = (&'a Name, &'a NativeName);

/// An object on a usable backend, of any owner or none.
type Placed<'a> = (&'a Name, &'a Object);

/// The fate of an object that no document declares.
#[derive(Clone, Copy)]
enum Fate {
    /// It is not planned yet.
    Open,
    /// It is being planned, or it is held and stays.
    Stays,
    /// This step removes or releases it.
    Leaves(usize),
}

/// The undeclared objects, and the dependencies between objects on usable backends.
#[derive(Default)]
struct Leaving<'a> {
    /// This owner's live objects that no document declares.
    objects: Vec<OwnedObject<'a>>,
    /// The fate of each of them.
    fates: HashMap<PlaceKey<'a>, (OwnedObject<'a>, Fate)>,
    /// By uid: the live snapshots of a volume, and the clones, live or in the trash, that keep depending on it.
    dependents: HashMap<Uid, Vec<Placed<'a>>>,
}

impl<'a> Leaving<'a> {
    fn dependents(&self, object: &OwnedObject<'_>) -> &[Placed<'a>] {
        self.dependents.get(&object.uid()).map_or(&[], Vec::as_slice)
    }

    /// Returns the object if it is undeclared and not planned yet, and marks it as planned.
    fn begin(&mut self, (backend, object): Placed<'a>) -> Option<OwnedObject<'a>> {
        match self.fates.get_mut(&(backend, &object.native)) {
            Some((object, fate @ Fate::Open)) => {
                *fate = Fate::Stays;
                Some(*object)
            }
            Some((_, Fate::Stays | Fate::Leaves(_))) | None => None,
        }
    }

    fn leaves_by(&self, (backend, object): Placed<'a>) -> Option<usize> {
        match self.fates.get(&(backend, &object.native)) {
            Some((_, Fate::Leaves(step))) => Some(*step),
            Some((_, Fate::Open | Fate::Stays)) | None => None,
        }
    }
}

/// Plans every live undeclared object of this owner, dependents first.
pub(in crate::plan) fn removals<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    let (mut leaving, not_covered) = leaving(inventory, draft);
    warn_not_covered(inventory, draft, not_covered);
    let is_volume = |object: &&OwnedObject<'_>| object.identity.kind == Kind::Volume;
    draft.withdrawn = leaving.objects.iter().filter(is_volume).copied().collect();
    for object in std::mem::take(&mut leaving.objects) {
        remove_after_dependents(inventory, draft, &mut leaving, (object.backend, object.object));
    }
    give_freed_names(inventory, draft, |object| leaving.leaves_by((object.backend, object.object)));
}

/// Plans an undeclared object, after the undeclared objects that depend on it, unless it is planned already.
///
/// Iterative: a chain of clones can be longer than the call stack allows.
fn remove_after_dependents<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    leaving: &mut Leaving<'a>,
    object: Placed<'a>,
) {
    // Each object with the number of its dependents that were visited.
    let mut stack: Vec<(OwnedObject<'a>, usize)> =
        leaving.begin(object).map(|object| (object, 0)).into_iter().collect();
    while let Some((object, visited)) = stack.last_mut() {
        let object = *object;
        if let Some(dependent) = leaving.dependents(&object).get(*visited).copied() {
            *visited += 1;
            stack.extend(leaving.begin(dependent).map(|dependent| (dependent, 0)));
            continue;
        }
        stack.pop();
        let Some(usable) = inventory.usable(object.backend) else { continue };
        let removed = remove(inventory, draft, usable, &object, leaving);
        if let Some(step) = draft.accept(removed) {
            leaving.fates.insert((object.backend, &object.object.native), (object, Fate::Leaves(step)));
        }
    }
}

/// Returns the undeclared objects, and the number of further objects that the reading does not cover.
fn leaving<'a>(inventory: &Inventory<'a>, draft: &Draft<'a>) -> (Leaving<'a>, usize) {
    let mut leaving = Leaving::default();
    let mut not_covered = 0;
    for usable in inventory.usable_backends() {
        let backend = usable.name;
        for object in usable.observed.objects.iter().filter(|object| object.place != Place::Temporary) {
            if let Some(parent) = object.parent {
                leaving.dependents.entry(parent).or_default().push((backend, object));
            }
            let Some(ours) = OwnedObject::of(backend, object).filter(|o| o.identity.owner == inventory.stack().owner)
            else {
                continue;
            };
            if object.place != Place::Live {
                continue;
            }
            // A copy of a snapshot made outside of Kiln has the same tags, and is never removed.
            if let Some(volume) = object.tags.volume {
                leaving.dependents.entry(volume).or_default().push((backend, object));
            }
            if object.tags.retained || draft.is_claimed(ours.identity.kind, &ours.identity.name) {
                continue;
            }
            if withdrawal(inventory, &ours) == Withdrawal::NotCovered {
                not_covered += 1;
                continue;
            }
            leaving.objects.push(ours);
            leaving.fates.insert((backend, &object.native), (ours, Fate::Open));
        }
    }
    (leaving, not_covered)
}

fn withdrawal(inventory: &Inventory<'_>, object: &OwnedObject<'_>) -> Withdrawal {
    let identity = object.identity;
    inventory.reading().withdraws(identity.kind, &identity.name, inventory.ledger(object.backend), identity.uid)
}

/// Warns of undeclared objects that a partial reading leaves as they are, in one count.
fn warn_not_covered(inventory: &Inventory<'_>, draft: &mut Draft<'_>, count: usize) {
    let (owner, source) = (&inventory.stack().owner, inventory.reading().coverage.called());
    let message = match count {
        0 => return,
        1 => format!("1 object of {owner} is not declared in {source} and is left as it is"),
        _ => format!("{count} objects of {owner} are not declared in {source} and are left as they are"),
    };
    draft.warn("NotCovered", format!("{message}; `--prune` treats these manifests as complete"));
}

/// Drafts the removal or release of one object, and returns its last step.
fn remove<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    object: &OwnedObject<'a>,
    leaving: &Leaving<'a>,
) -> Result<usize, Hold> {
    let on_remove = object.tags.on_remove();
    let verb = match on_remove {
        OnRemove::Delete => Verb::Destroy,
        OnRemove::Trash | OnRemove::Detach | OnRemove::Retain => Verb::Remove,
    };
    let (uid, subject) = (object.uid(), Subject::existing(object.identity, object.backend, verb));
    let doubt = doubt(inventory, usable, object, verb);
    if let Some(doubt) = &doubt {
        draft.doubted.insert(uid);
        draft.unsettled |= matches!(doubt, Doubt::Vanished(_, Some(_)));
        check_decidable(&subject, doubt)?;
    }
    check_removable(inventory, usable, &subject, object)?;
    if on_remove == OnRemove::Retain {
        return Ok(draft.add_doubted(release(object), doubt.as_ref()));
    }
    check_trash_is_free(inventory, usable, &subject, object)?;
    let needs_detach = check_not_needed(draft, usable, &subject, object, leaving)?;
    check_not_open(&subject, object, "Kiln does not remove an object in use")?;
    let mut after = draft.readers_of(uid).to_vec();
    if needs_detach {
        let detach = step_on(object, Action::Detach, Reason::HasClones, Expect::live(object));
        after.push(draft.add_doubted(Step { after: after.clone(), ..detach }, doubt.as_ref()));
    }
    after.extend(leaving.dependents(object).iter().filter_map(|dependent| leaving.leaves_by(*dependent)));
    let (action, risk) = match on_remove {
        OnRemove::Delete => (Action::Destroy, Risk::Irreversible),
        OnRemove::Trash | OnRemove::Detach | OnRemove::Retain => {
            (Action::Trash { ttl: inventory.stack().trash.ttl }, Risk::Recoverable)
        }
    };
    let step = Step {
        risk,
        changes: vec![change("size", json!(object.size), Value::Null)],
        bytes: object.size,
        after,
        ..step_on(object, action, Reason::NotDeclared, Expect { idle: true, ..Expect::live(object) })
    };
    Ok(draft.add_doubted(step, doubt.as_ref()))
}

/// Returns the step that releases an object: it stays, and Kiln no longer reconciles it.
fn release(object: &OwnedObject<'_>) -> Step {
    let tags = Tags { retained: true, expires: None, ..object.tags.clone() };
    let changes = vec![change("retained", json!(false), json!(true))];
    Step { changes, ..step_on(object, Action::SetTags { tags }, Reason::NotDeclared, Expect::live(object)) }
}

/// Returns why the removal of an object is in doubt, if it is.
fn doubt(inventory: &Inventory<'_>, usable: &Usable<'_>, object: &OwnedObject<'_>, verb: Verb) -> Option<Doubt> {
    match withdrawal(inventory, object) {
        Withdrawal::Doubted(doubt) => Some(doubt),
        Withdrawal::Withdrawn | Withdrawal::Declared | Withdrawal::NotCovered if verb == Verb::Destroy => {
            inventory.reading().doubts_destruction(usable.ledger, object.uid())
        }
        Withdrawal::Withdrawn | Withdrawal::Declared | Withdrawal::NotCovered => None,
    }
}

/// Holds removals that no approval can settle: the doubt ends within seconds, or with a problem of the manifests.
fn check_decidable(subject: &Subject<'_>, doubt: &Doubt) -> Result<(), Hold> {
    if doubt.may_be_approved() {
        return Ok(());
    }
    let (reason, message, fix) = because(doubt);
    Err(subject.hold(reason, message, fix))
}

/// Holds an object that others depend on. `true`: its clones must be detached first.
fn check_not_needed<'a>(
    draft: &Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    object: &OwnedObject<'a>,
    leaving: &Leaving<'a>,
) -> Result<bool, Hold> {
    let uid = object.uid();
    let capabilities = usable.capabilities;
    let (mut snapshots, mut clones) = (Vec::new(), Vec::new());
    for dependent in leaving.dependents(object) {
        let (other, step) = (dependent.1, leaving.leaves_by(*dependent).map(|step| &draft.steps[step]));
        let leaves = step.is_some_and(Step::is_removal);
        // A released snapshot needs no volume, except on backends where it is inside of its volume.
        let released = other.tags.retained || (step.is_some() && !leaves);
        if other.tags.volume == Some(uid) && !leaves && (capabilities.nests_snapshots() || !released) {
            snapshots.push(other.native.as_str());
        }
        // A clone in the trash still depends on it.
        let destroyed = step.is_some_and(|step| matches!(step.action, Action::Destroy));
        if other.parent == Some(uid) && !destroyed {
            clones.push(other.native.as_str());
        }
    }
    if !snapshots.is_empty() {
        let message = format!("snapshots of it remain: {}", snapshots.join(", "));
        let fix = "remove the snapshots first; declare released ones again with another `onRemove`";
        return Err(subject.hold(HeldReason::HasDependents, message, fix));
    }
    let clones_it = |step: &usize| matches!(draft.steps[*step].action, Action::Create { .. });
    let made_now = capabilities.clones_depend() && draft.readers_of(uid).iter().any(clones_it);
    if clones.is_empty() && !made_now {
        return Ok(false);
    }
    if object.tags.on_remove() == OnRemove::Detach && capabilities.detaches_clones() {
        return Ok(true);
    }
    let message = match clones.is_empty() {
        true => "this plan makes a clone that depends on it".to_owned(),
        false => format!("clones depend on it: {}", clones.join(", ")),
    };
    let fix = match subject.kind == Kind::Snapshot && capabilities.detaches_clones() {
        true => "declare it again with `onRemove: Detach` and apply; then remove it",
        false => "remove and purge the clones first",
    };
    Err(subject.hold(HeldReason::HasDependents, message, fix))
}
