//! Renames.

use serde_json::{Value, json};

use crate::model::{Action, Address, Expect, Identity, Kind, Name, Place, PlacedField, Reason, Risk, Step, Tags, Verb};

use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::name_conflict::check_name_is_free;
use crate::plan::tags::change;
use crate::plan::types::HeldReason;
use crate::plan::usable::Usable;

use super::along::moves_with_volume;
use super::checks::{check_made_names, check_not_open};
use super::removable::check_removable;
use super::step::step_on;
use super::undelete::undelete;

/// Drafts the rename of an object after the steps `before`, and adds its own steps to them. First the object `instead`, which has the
/// new name, goes to the trash; then the object to rename is restored under its old name, if it is in the trash.
pub(super) fn rename<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    object: &OwnedObject<'a>,
    instead: Option<OwnedObject<'a>>,
    before: &mut Vec<usize>,
) -> Result<(), Hold> {
    let old = object.identity;
    if !usable.capabilities.rename {
        let message = format!("backend {} cannot rename objects", usable.name);
        let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::Name);
        let fix = format!("write `name: {0}` again{place}, without `renamedFrom: {0}`", old.name);
        return Err(subject.hold(HeldReason::Unsupported, message, fix));
    }
    let identity = subject.identity(old);
    let own_name = object.tags.identity.is_some();
    let native = if own_name { object.native.clone() } else { identity.native() };
    let now = object.tags.lasting();
    let tags = Tags { identity: own_name.then(|| Box::new(identity.clone())), ..now.clone() };
    if native != object.native {
        check_made_names(inventory, usable, subject, &identity)?;
        check_name_is_free(inventory, usable, subject, &Address { native: native.clone(), ..object.address() })?;
    }
    let replaced = match instead {
        Some(instead) => Some(trash_unwritten(inventory, draft, usable, subject, &instead, &old.name)?),
        None => None,
    };
    before.extend(replaced);
    if object.place == Place::Trash && !moves_with_volume(usable, object) {
        let back = undelete(inventory, draft, usable, subject, object, now, before.clone())?;
        before.push(back);
    }
    let action = Action::Rename { from: object.native.clone(), tags };
    let step = draft.add(Step {
        changes: vec![change("metadata.name", json!(old.name), json!(identity.name))],
        identity,
        native,
        after: before.clone(),
        ..step_on(object, action, Reason::RenamedFrom, Expect::live(object))
    });
    before.push(step);
    draft.replacements.extend(replaced.map(|replaced| (replaced, step)));
    Ok(())
}

/// Drafts moving an unwritten volume to the trash: `old`, from which its document was renamed, takes its place.
fn trash_unwritten<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'a>,
    object: &OwnedObject<'a>,
    old: &Name,
) -> Result<usize, Hold> {
    let subject = subject.of(object, Verb::Remove);
    let replaced = format!("it was never written to and is to be replaced by {old}");
    let reading = inventory.reading();
    if reading.broken || reading.unconfirmed {
        let (why, fix) = match reading.broken {
            true => ("a manifest is invalid", "correct the manifests: `kiln check`"),
            false => ("the manifests were read only once", "wait: the daemon reads again within seconds"),
        };
        let message = format!("{replaced}, but {why}: nothing is removed yet");
        return Err(subject.hold(HeldReason::SourceBroken, message, fix));
    }
    if object.tags.protected || inventory.settled(object).protected {
        let message = format!("{replaced}, but it is protected");
        let place = inventory.place_of_field(subject.kind, subject.name, PlacedField::RenamedFrom);
        let fix = format!(
            "remove `renamedFrom: {old}`{place}, declare {old} again, write `protected: false` here, and apply; then remove the \
             document of {old} and write `renamedFrom: {old}` again"
        );
        return Err(subject.hold(HeldReason::Protected, message, fix));
    }
    check_removable(inventory, usable, &subject, object)?;
    if !usable.capabilities.trash.takes(subject.kind) {
        let message = format!("{replaced}, and backend {} has no trash", usable.name);
        let place = inventory.place_of(subject.kind, subject.name);
        let fix = format!("in one edit, remove `renamedFrom: {old}`{place} and declare {old} again: both are kept");
        return Err(subject.hold(HeldReason::Unsupported, message, fix));
    }
    check_not_open(&subject, object, &format!("it cannot be replaced by {old}"))?;
    let action = Action::Trash { ttl: inventory.stack().trash.ttl, with: Vec::new() };
    let expect = Expect { idle: true, unwritten: true, ..Expect::live(object) };
    Ok(draft.add(Step {
        risk: Risk::Recoverable,
        changes: vec![change("size", json!(object.size), Value::Null)],
        ..step_on(object, action, Reason::GivesWay, expect)
    }))
}

/// Completes interrupted renames of our objects, whether a document declares the object or not.
///
/// An object that the ledger has under another name was renamed outside of Kiln: that is held where it is located.
pub(in crate::plan) fn complete_renames<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>) {
    for usable in inventory.usable_backends() {
        let unfinished = usable.observed.objects.iter().filter(|o| o.unfinished && o.place == Place::Live);
        let unfinished = unfinished.filter_map(|object| OwnedObject::of(usable.name, object));
        let ours = unfinished.filter(|object| object.identity.owner == inventory.stack().owner);
        for object in ours.filter(|o| o.conflict.is_none() && !inventory.duplicates.contains(&o.uid())) {
            complete_rename(inventory, draft, &object);
        }
    }
}

fn complete_rename<'a>(inventory: &Inventory<'a>, draft: &mut Draft<'a>, object: &OwnedObject<'a>) {
    let (specs, identity) = (inventory.specs(), object.identity);
    let old = match identity.kind {
        Kind::Volume => specs.volumes.get(&identity.name).and_then(|v| v.meta.renamed_from.as_ref()),
        Kind::Snapshot => specs.snapshots.get(&identity.name).and_then(|s| s.meta.renamed_from.as_ref()),
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => None,
    };
    let known = inventory.known_name(object);
    if known.is_some_and(|known| *known != identity.name && Some(known) != old) {
        return;
    }
    let before = old.map(|old| Identity { name: old.clone(), ..identity.clone() });
    let from = before.map_or_else(|| object.native.clone(), |before| before.native());
    let changes = old.map(|old| change("metadata.name", json!(old), json!(identity.name)));
    let action = Action::Rename { from, tags: object.tags.lasting() };
    let reason = if old.is_some() { Reason::RenamedFrom } else { Reason::LeftOver };
    let step = step_on(object, action, reason, Expect::live(object));
    let step = draft.add(Step { changes: changes.into_iter().collect(), ..step });
    draft.completing.insert(object.uid(), step);
}

/// Drops every step that moves an unwritten volume to the trash for a rename that is held: that volume stays.
pub(in crate::plan) fn keep_unreplaced(draft: &mut Draft<'_>) {
    let held = draft.replacements.iter().filter(|(_, rename)| draft.dropped.contains(rename));
    let unreplaced: Vec<usize> = held.map(|(trash, _)| *trash).collect();
    draft.dropped.extend(unreplaced);
}
