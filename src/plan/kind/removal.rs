//! Removal of our objects that no document declares, and what holds it.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::model::{
    Action, Address, Doubt, Expect, InnerSnapshot, Kind, Name, Object, OnRemove, Place, Reason, Risk, Step, Tags, Uid,
    Verb, Withdrawal,
};

use crate::plan::doubt::because;
use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::name_conflict::{check_trash_is_free, give_freed_names};
use crate::plan::tags::change;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::along::{check_trash_takes, may_go_along, moves_with_volume};
use super::checks::{check_not_open, unseen_clients};
use super::removable::{check_not_needed_elsewhere, check_removable};
use super::step::step_on;

/// Where an object is. A uid is not unique if a copy was made outside of Kiln.
type PlaceKey<'a> = (&'a Name, Address);

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
    /// It goes to the trash inside of its volume, which is planned after it.
    Along,
}

/// How an object leaves.
enum Departure {
    /// By this step, its last.
    Step(usize),
    /// Inside of its volume.
    Along,
    /// It was released before, and stays.
    Stays,
}

/// The undeclared objects, and the dependencies between objects on usable backends.
#[derive(Default)]
struct Leaving<'a> {
    /// This owner's live objects that no document declares.
    objects: Vec<OwnedObject<'a>>,
    /// The fate of each of them.
    fates: HashMap<PlaceKey<'a>, (OwnedObject<'a>, Fate)>,
    /// By backend and uid: the live snapshots of a volume, and the clones, live or in the trash, that keep depending on it.
    dependents: HashMap<(&'a Name, Uid), Vec<Placed<'a>>>,
}

impl<'a> Leaving<'a> {
    fn dependents(&self, object: &OwnedObject<'a>) -> &[Placed<'a>] {
        self.dependents.get(&(object.backend, object.uid())).map_or(&[], Vec::as_slice)
    }

    /// Returns the object if it is undeclared and not planned yet, and marks it as planned.
    fn begin(&mut self, (backend, object): Placed<'a>) -> Option<OwnedObject<'a>> {
        match self.fates.get_mut(&(backend, object.address())) {
            Some((object, fate @ Fate::Open)) => {
                *fate = Fate::Stays;
                Some(*object)
            }
            Some((_, Fate::Stays | Fate::Leaves(_) | Fate::Along)) | None => None,
        }
    }

    fn leaves_by(&self, (backend, object): Placed<'a>) -> Option<usize> {
        match self.fates.get(&(backend, object.address())) {
            Some((_, Fate::Leaves(step))) => Some(*step),
            Some((_, Fate::Open | Fate::Stays | Fate::Along)) | None => None,
        }
    }

    /// Returns the snapshots that go along with a volume.
    fn along(&self, volume: &OwnedObject<'a>) -> impl Iterator<Item = OwnedObject<'a>> {
        self.dependents(volume).iter().filter_map(|(backend, object)| {
            match self.fates.get(&(*backend, object.address())) {
                Some((snapshot, Fate::Along)) => Some(*snapshot),
                Some((_, Fate::Open | Fate::Stays | Fate::Leaves(_))) | None => None,
            }
        })
    }

    /// Whether a snapshot can go along with its volume: that is being planned, goes to the trash, and takes what is inside of it along.
    fn goes_with_volume(&self, usable: &Usable<'a>, snapshot: &OwnedObject<'a>) -> bool {
        let at = snapshot.parent_volume.as_ref().map(Address::flat);
        let volume = at.and_then(|at| self.fates.get(&(usable.name, at)));
        let is_planned = |(volume, fate): &(OwnedObject<'_>, Fate)| {
            matches!(fate, Fate::Stays)
                && snapshot.tags.volume == Some(volume.uid())
                && volume.tags.on_remove() == OnRemove::Trash
        };
        moves_with_volume(usable, snapshot) && volume.is_some_and(is_planned)
    }
}

/// Plans every live undeclared object of this owner, dependents first.
pub(in crate::plan) fn removals<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    let (mut leaving, not_covered) = leaving(inventory, draft);
    warn_not_covered(inventory, draft, not_covered);
    let is_volume = |object: &&OwnedObject<'_>| object.identity.kind == Kind::Volume;
    draft.withdrawn = leaving.objects.iter().filter(is_volume).copied().collect();
    // Volumes first: a snapshot may go to the trash inside of its volume, which visits it.
    leaving.objects.sort_by_key(|object| object.identity.kind);
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
        let fate = match draft.accept(removed) {
            Some(Departure::Step(step)) => Fate::Leaves(step),
            Some(Departure::Along) => Fate::Along,
            Some(Departure::Stays) => Fate::Stays,
            None => {
                hold_along(draft, leaving, &object);
                continue;
            }
        };
        leaving.fates.insert((object.backend, object.address()), (object, fate));
    }
}

/// Holds the snapshots that would have gone along with a volume which is held. Their clones stay as they are.
fn hold_along<'a>(draft: &mut Draft<'a>, leaving: &Leaving<'a>, volume: &OwnedObject<'a>) {
    for snapshot in leaving.along(volume).filter(|snapshot| !snapshot.tags.retained) {
        let is_detach = |index: &&usize| draft.steps[**index].action == Action::Detach;
        let detaches: Vec<usize> = draft.readers_of(snapshot.uid()).iter().filter(is_detach).copied().collect();
        draft.drop_steps(&detaches);
        let subject = Subject::existing(snapshot.identity, snapshot.backend, Verb::Remove);
        let name = &volume.identity.name;
        draft.hold(subject.waits_for_held(format!("its volume {name} is held"), Kind::Volume, name));
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
                leaving.dependents.entry((backend, parent)).or_default().push((backend, object));
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
                leaving.dependents.entry((backend, volume)).or_default().push((backend, object));
            }
            if draft.is_claimed(ours.identity.kind, &ours.identity.name) {
                continue;
            }
            if object.tags.retained {
                if moves_with_volume(usable, object) && may_go_along(inventory, &ours) {
                    leaving.fates.insert((backend, object.address()), (ours, Fate::Open));
                }
                continue;
            }
            if withdrawal(inventory, &ours) == Withdrawal::NotCovered {
                not_covered += 1;
                continue;
            }
            leaving.objects.push(ours);
            leaving.fates.insert((backend, object.address()), (ours, Fate::Open));
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
    draft.warn("NotCovered", format!("{message}; `--prune` treats these manifests as complete"), BTreeSet::new());
}

/// Drafts the removal or release of one object.
fn remove<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    object: &OwnedObject<'a>,
    leaving: &Leaving<'a>,
) -> Result<Departure, Hold> {
    let goes_along = leaving.goes_with_volume(usable, object);
    if object.tags.retained {
        // Its volume says what keeps it.
        let goes_along = goes_along && matches!(check_leaves(inventory, draft, usable, object, leaving), Ok(false));
        return Ok(if goes_along { Departure::Along } else { Departure::Stays });
    }
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
        check_decidable(inventory, &subject, doubt)?;
    }
    if on_remove == OnRemove::Retain {
        check_removable(inventory, usable, &subject, object)?;
        return Ok(Departure::Step(draft.add_doubted(release(object), doubt.as_ref())));
    }
    let needs_detach = check_leaves(inventory, draft, usable, object, leaving)?;
    if !goes_along && on_remove != OnRemove::Delete {
        check_trash_takes(usable, &subject)?;
    }
    let mut after = draft.readers_of(uid).to_vec();
    if needs_detach {
        let detach = step_on(object, Action::Detach, Reason::HasClones, Expect::live(object));
        after.push(draft.add_doubted(Step { after: after.clone(), ..detach }, doubt.as_ref()));
    }
    after.extend(leaving.dependents(object).iter().filter_map(|dependent| leaving.leaves_by(*dependent)));
    if goes_along && on_remove != OnRemove::Delete {
        draft.readers.insert(uid, after);
        return Ok(Departure::Along);
    }
    let along: Vec<OwnedObject<'_>> = leaving.along(object).collect();
    after.extend(along.iter().flat_map(|snapshot| draft.readers_of(snapshot.uid())));
    let doubt = doubt.or_else(|| along.iter().find_map(|snapshot| self::doubt(inventory, usable, snapshot, verb)));
    let (action, risk) = match on_remove {
        OnRemove::Delete => (Action::Destroy, Risk::Irreversible),
        OnRemove::Trash | OnRemove::Detach | OnRemove::Retain => {
            let with =
                along.iter().filter_map(|snapshot| InnerSnapshot::of(snapshot, snapshot.tags.retained)).collect();
            (Action::Trash { ttl: inventory.stack().trash.ttl, with }, Risk::Recoverable)
        }
    };
    let step = Step {
        risk,
        changes: vec![change("size", json!(object.size), Value::Null)],
        bytes: object.size,
        after,
        ..step_on(object, action, Reason::NotDeclared, Expect { idle: true, ..Expect::live(object) })
    };
    let destroys = step.action == Action::Destroy;
    let index = draft.add_doubted(step, doubt.as_ref());
    // The trash keeps what a client still writes.
    if destroys {
        draft.unseen.extend(unseen_clients(usable, object).map(|why| (index, why)));
    }
    Ok(Departure::Step(index))
}

/// Holds an object that must not leave now, whether by itself or inside of its volume. `true`: its clones must be detached first.
fn check_leaves<'a>(
    inventory: &Inventory<'a>,
    draft: &Draft<'a>,
    usable: &Usable<'a>,
    object: &OwnedObject<'a>,
    leaving: &Leaving<'a>,
) -> Result<bool, Hold> {
    let verb = if object.tags.on_remove() == OnRemove::Delete { Verb::Destroy } else { Verb::Remove };
    let subject = Subject::existing(object.identity, object.backend, verb);
    check_removable(inventory, usable, &subject, object)?;
    if verb == Verb::Remove {
        check_trash_is_free(inventory, usable, &subject, object)?;
    }
    let needs_detach = check_not_needed(inventory, draft, usable, &subject, object, leaving)?;
    check_not_open(&subject, object, "Kiln does not remove an object in use")?;
    Ok(needs_detach)
}

/// Returns the step that releases an object: it stays, and Kiln no longer reconciles it.
fn release(object: &OwnedObject<'_>) -> Step {
    let tags = Tags { retained: true, ..object.tags.lasting() };
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
fn check_decidable(inventory: &Inventory<'_>, subject: &Subject<'_>, doubt: &Doubt) -> Result<(), Hold> {
    if doubt.may_be_approved() {
        return Ok(());
    }
    let (reason, message, fix) = because(doubt, &inventory.reading().coverage);
    Err(subject.hold(reason, message, fix))
}

/// Holds a volume with snapshots inside of it that are not this owner's, and would go with it. One that is to be destroyed must also hold
/// none of this owner's in the trash.
fn check_holds_only_ours<'a>(
    inventory: &Inventory<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    volume: &OwnedObject<'a>,
) -> Result<(), Hold> {
    if volume.identity.kind != Kind::Volume || !usable.capabilities.nests_snapshots() {
        return Ok(());
    }
    let is_ours = |object: &Object| object.identity.as_ref().is_some_and(|id| id.owner == inventory.stack().owner);
    let inside = || inventory.inside(volume).iter().copied();
    let others: Vec<&Object> = inside().filter(|object| object.place == Place::Live && !is_ours(object)).collect();
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|object| object.address().to_string()).collect();
        let message = format!("snapshots that Kiln does not manage are inside of it: {}", names.join(", "));
        let can_adopt = usable.capabilities.snapshots.as_ref().is_some_and(|snapshots| snapshots.adopt);
        let is_free = |object: &&Object| object.identity.is_none() && object.why_not_adopted().is_none();
        let fix = match can_adopt && others.iter().all(is_free) {
            true => format!("adopt them (`kiln adopt {}`) or remove them on the backend, then apply", usable.name),
            false => "remove them on the backend, then apply".to_owned(),
        };
        return Err(subject.hold(HeldReason::HasDependents, message, fix));
    }
    let trashed = |object: &&Object| object.place == Place::Trash && object.tags.volume == Some(volume.uid());
    match inside().find(trashed).filter(|_| volume.tags.on_remove() == OnRemove::Delete) {
        None => Ok(()),
        Some(snapshot) => {
            let message = format!("its snapshot {} is in the trash, inside of it", snapshot.address());
            let what = snapshot.identity.as_ref().map(|id| id.id().to_string()).unwrap_or_default();
            let fix = format!("`kiln trash purge {what}` or `kiln trash restore {what}`, then apply");
            Err(subject.hold(HeldReason::HasDependents, message, fix))
        }
    }
}

/// Holds an object that others depend on. `true`: its clones must be detached first.
fn check_not_needed<'a>(
    inventory: &Inventory<'a>,
    draft: &Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    object: &OwnedObject<'a>,
    leaving: &Leaving<'a>,
) -> Result<bool, Hold> {
    check_not_needed_elsewhere(subject, object)?;
    check_holds_only_ours(inventory, usable, subject, object)?;
    let uid = object.uid();
    let capabilities = usable.capabilities;
    let (mut snapshots, mut clones) = (Vec::new(), Vec::new());
    for dependent in leaving.dependents(object) {
        let (other, step) = (dependent.1, leaving.leaves_by(*dependent).map(|step| &draft.steps[step]));
        let goes_along = leaving.along(object).any(|snapshot| std::ptr::eq(snapshot.object, other));
        let leaves = goes_along || step.is_some_and(Step::is_removal);
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
