//! Restores that were begun and are not complete: the content of their volumes is partly that of the snapshot, partly that from before.

use serde_json::json;

use crate::model::{Action, Expect, Kind, Place, PlacedField, Reason, Restores, Restoring, Risk, Step, Verb};

use crate::plan::draft::{Draft, UnfinishedRestore};
use crate::plan::hold::{Hold, Subject, see_what_holds};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::lost::unproven;
use crate::plan::tags::change;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::checks::{check_not_open, unseen_clients};
use super::step::step_on;

/// Drafts the completion of every restore that was begun, whether a document still asks for it or not. It needs no second approval: the
/// restore was approved before it began, and what it overwrites is of no use any more; unless a client that cannot be seen may write to
/// the volume.
pub(in crate::plan) fn complete_restores<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    for usable in inventory.usable_backends() {
        let objects = usable.observed.objects.iter().filter(|object| object.place != Place::Temporary);
        for object in objects.filter(|object| object.tags.restoring.is_some()) {
            let (Some(volume), Some(begun)) = (OwnedObject::of(usable.name, object), &object.tags.restoring) else {
                continue;
            };
            if volume.identity.owner != inventory.stack().owner || volume.identity.kind != Kind::Volume {
                continue;
            }
            let mut unfinished = UnfinishedRestore { volume, begun, step: None, may_be_replaced: false };
            // Another object of its uid, or its inconsistency, is held where it is located. In the trash it stays as it is.
            if object.place == Place::Live && object.conflict.is_none() && !inventory.duplicates.contains(&volume.uid())
            {
                match completion(inventory, usable, &volume, begun) {
                    Ok(Some(step)) => {
                        let step = draft.add(step);
                        draft.unseen.extend(unseen_clients(usable, object).map(|why| (step, why)));
                        unfinished.step = Some(step);
                    }
                    Ok(None) => unfinished.may_be_replaced = true,
                    Err(hold) => draft.hold(hold),
                }
            }
            draft.unfinished.insert(volume.uid(), unfinished);
        }
    }
}

/// Returns the step that completes a restore; `None` if its snapshot is gone.
fn completion(
    inventory: &Inventory<'_>,
    usable: &Usable<'_>,
    volume: &OwnedObject<'_>,
    begun: &Restoring,
) -> Result<Option<Step>, Hold> {
    let subject = Subject::existing(volume.identity, usable.name, Verb::Update);
    let not_complete = not_complete(begun);
    if usable.capabilities.restore == Restores::No {
        let message = format!("{not_complete}, and backend {} cannot restore it", usable.name);
        return Err(subject.hold(HeldReason::Unsupported, message, BY_HAND));
    }
    let Some(uid) = begun.snapshot else { return Ok(None) };
    let Some(snapshot) = inventory.by_uid.get(&uid).filter(|snapshot| snapshot.backend == usable.name) else {
        if usable.proves_gone(Kind::Snapshot, uid, None) {
            return Ok(None);
        }
        let (why, fix) = unproven(usable);
        let message = format!("{not_complete}, and its snapshot is not observed: {why}");
        return Err(subject.hold(HeldReason::Unobserved, message, fix));
    };
    let name = &snapshot.identity.name;
    if let Some(why) = &snapshot.conflict {
        let message = format!("{not_complete}, and its snapshot {name} is inconsistent: {why}");
        let fix = format!("correct {} on the backend", snapshot.address());
        return Err(subject.hold(HeldReason::Conflict, message, fix));
    }
    if snapshot.tags.volume != Some(volume.uid()) {
        let message = format!("{not_complete}, and its snapshot {name} is of another volume");
        return Err(subject.hold(HeldReason::Conflict, message, BY_HAND));
    }
    if inventory.duplicates.contains(&uid) {
        let message = format!("{not_complete}, and its snapshot {name} exists more than once, or also in the trash");
        return Err(subject.hold(HeldReason::Ambiguous, message, "on the backend, remove all but the right one"));
    }
    if snapshot.place == Place::Trash {
        let message = format!("{not_complete}, and its snapshot {name} is in the trash");
        let fix = format!("`kiln trash restore snapshot/{name}`, then `kiln apply`");
        return Err(subject.hold(HeldReason::SourceMissing, message, fix));
    }
    check_not_open(&subject, volume, "completing its restore would change the data under its client")?;
    let action = Action::Restore { snapshot: snapshot.reference(), request: begun.request.clone() };
    let expect = Expect { idle: true, ..Expect::live(volume) };
    let risk = unseen_clients(usable, volume).map_or(Risk::None, |_| Risk::Irreversible);
    Ok(Some(Step {
        risk,
        changes: vec![change("restore.request", json!(volume.tags.restored), json!(begun.request))],
        bytes: volume.whole_size(),
        ..step_on(volume, action, Reason::LeftOver, expect)
    }))
}

/// What a person does about a half restore that Kiln cannot complete.
const BY_HAND: &str = "put its data back on the backend, and remove its tag `restoring` there";

/// Holds every step beside a restore that is not complete: other changes of its volume, copies of it, and the removal of its snapshot.
pub(in crate::plan) fn hold_beside_restores<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    let unfinished: Vec<UnfinishedRestore<'a>> = draft.unfinished.values().copied().collect();
    for restore in &unfinished {
        if restore.may_be_replaced {
            draft.hold(without_snapshot(inventory, restore));
        }
        await_snapshot(draft, restore);
        hold_changes(draft, restore);
        for index in 0..draft.steps.len() {
            // The completion itself waits for the rename of its snapshot.
            let is_awaited = draft.completing.get(&draft.steps[index].identity.uid) == Some(&index);
            if !draft.dropped.contains(&index)
                && !is_awaited
                && let Some(message) = needs_it_complete(restore, &draft.steps[index])
            {
                draft.hold_step(index, HeldReason::HalfRestored, message, &fix(restore));
            }
        }
    }
}

/// If its snapshot comes back from the trash in this plan, says that instead of asking a person for it.
fn await_snapshot(draft: &mut Draft<'_>, restore: &UnfinishedRestore<'_>) {
    let volume = &restore.volume;
    let is_back = |(_, step): (usize, &Step)| {
        matches!(step.action, Action::Undelete { .. }) && Some(step.identity.uid) == restore.begun.snapshot
    };
    if volume.place != Place::Live || !draft.live_steps().any(is_back) {
        return;
    }
    let message = format!("{}, and its snapshot comes back from the trash first", not_complete(restore.begun));
    let subject = Subject::existing(volume.identity, volume.backend, Verb::Update);
    draft.held.retain(|held| held.uid != Some(volume.uid()) || held.reason != HeldReason::SourceMissing);
    draft.hold(subject.hold(HeldReason::HalfRestored, message, "`kiln apply` again, when it is back"));
}

/// Holds all other steps on the volume. If its restore cannot be completed, the volume is held for that, under its present name.
fn hold_changes(draft: &mut Draft<'_>, restore: &UnfinishedRestore<'_>) {
    let (uid, name) = (restore.volume.uid(), &restore.volume.identity.name);
    let is_other = |(index, step): &(usize, &Step)| {
        step.identity.uid == uid
            && restore.step != Some(*index)
            && draft.completing.get(&uid) != Some(index)
            && !matches!(step.action, Action::Undelete { .. })
    };
    let others: Vec<usize> = draft.live_steps().filter(is_other).map(|(index, _)| index).collect();
    let is_held = restore.step.is_none() && restore.volume.place == Place::Live;
    let comes_back =
        |(_, step): &(usize, &Step)| step.identity.uid == uid && matches!(step.action, Action::Undelete { .. });
    let back = draft.live_steps().find(comes_back);
    let back =
        back.map(|(_, step)| half_restored(&Subject { action: Verb::Update, ..Subject::of_step(step) }, restore));
    if let Some(hold) = back {
        draft.hold(hold);
    }
    for index in &others {
        if !is_held || draft.steps[*index].identity.name != *name {
            draft.hold_step(*index, HeldReason::HalfRestored, not_complete(restore.begun), &fix(restore));
        }
    }
    others.iter().for_each(|index| draft.hold_along(*index));
    for index in draft.drop_steps(&others) {
        let message = format!("it waits for volume {name}, which is held");
        draft.hold_step(index, HeldReason::DependencyHeld, message, &see_what_holds(Kind::Volume, name));
    }
}

/// Returns why a step on another object must wait until a restore is complete, in one sentence, if it must.
fn needs_it_complete(restore: &UnfinishedRestore<'_>, step: &Step) -> Option<String> {
    let (volume, begun) = (&restore.volume, restore.begun);
    let name = &volume.identity.name;
    if step.action.reads().is_some_and(|(_, read)| read.uid == volume.uid()) {
        return Some(format!("the restore of volume {name} ({begun}) is not complete"));
    }
    let is_retag = matches!(&step.action, Action::SetTags { tags } if !tags.retained);
    let is_harmless = is_retag || matches!(step.action, Action::Undelete { .. });
    let changes_source = volume.place == Place::Live && begun.snapshot == Some(step.identity.uid) && !is_harmless;
    changes_source.then(|| format!("the restore of volume {name} from it ({begun}) is not complete"))
}

fn not_complete(begun: &Restoring) -> String {
    format!("its restore ({begun}) is not complete")
}

fn fix(restore: &UnfinishedRestore<'_>) -> String {
    match (restore.step, restore.volume.place) {
        (Some(_), _) | (None, Place::Trash) => "`kiln apply` again, when the restore is complete".to_owned(),
        (None, Place::Live | Place::Temporary) => see_what_holds(Kind::Volume, &restore.volume.identity.name),
    }
}

/// Returns the hold of a volume for which another restore is declared than the one that is not complete.
pub(super) fn half_restored(subject: &Subject<'_>, restore: &UnfinishedRestore<'_>) -> Hold {
    subject.hold(HeldReason::HalfRestored, not_complete(restore.begun), fix(restore))
}

/// Returns the hold of a half restore whose snapshot is gone.
fn without_snapshot(inventory: &Inventory<'_>, restore: &UnfinishedRestore<'_>) -> Hold {
    let (volume, begun) = (&restore.volume, restore.begun);
    let subject = Subject::existing(volume.identity, volume.backend, Verb::Update);
    let message = format!("{}, and its snapshot no longer exists", not_complete(begun));
    let place = inventory.place_of_field(Kind::Volume, subject.name, PlacedField::Restore);
    let fix = format!(
        "write a `restore` with another snapshot and another request{place}, which replaces all of its content; or {BY_HAND}"
    );
    subject.hold(HeldReason::SourceMissing, message, fix)
}
