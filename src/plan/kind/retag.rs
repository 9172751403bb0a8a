//! Changes of an existing object's tags to those that its document asks for.

use crate::model::{Action, Expect, Place, Reason, Step, Tags};

use crate::plan::doubt::because;
use crate::plan::draft::Draft;
use crate::plan::hold::Subject;
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::tags::{DesiredTags, are_desired, desired_tags, tag_changes};
use crate::plan::types::HeldReason;

use super::step::step_on;

/// Returns the tags that a document asks for on an object tagged `now`. Protection that must not be lifted stays, with a hold.
pub(super) fn declared_tags<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    subject: &Subject<'_>,
    wanted: &DesiredTags<'_>,
    object: &OwnedObject<'a>,
    now: &Tags,
) -> Tags {
    // A protection tag removed outside of Kiln is restored: only a written `false` lifts protection.
    let protected = now.protected || inventory.settled(object).protected;
    let now = Tags { protected, ..now.clone() };
    let mut tags = Tags { retained: false, ..desired_tags(wanted, &now) };
    if !now.protected || tags.protected {
        return tags;
    }
    if inventory.reading().broken {
        let message = "a manifest is invalid: Kiln lifts no protection";
        draft.hold(subject.hold(
            HeldReason::SourceBroken,
            message,
            "correct the manifests: `kiln check` lists the problems",
        ));
        tags.protected = true;
    }
    if let Some(doubt) = inventory.reading().is_other_source(inventory.ledger(object.backend)) {
        let (reason, message, fix) = because(&doubt, &inventory.reading().coverage);
        let fix = format!("{fix}; or apply these without `protected: false` first");
        draft.hold(subject.hold(reason, format!("its protection is not lifted: {message}"), fix));
        draft.doubted.insert(object.uid());
        tags.protected = true;
    }
    tags
}

/// Drafts the change of a live object's tags after the steps `after`, and adds its own step to them.
pub(super) fn retag<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    subject: &Subject<'a>,
    wanted: &DesiredTags<'_>,
    object: &OwnedObject<'a>,
    after: &mut Vec<usize>,
) {
    let now: &Tags = &draft.tags_after(after, object);
    let forgotten = || !now.protected && inventory.settled(object).protected;
    if are_desired(wanted, now) && !forgotten() {
        return;
    }
    let tags = declared_tags(inventory, draft, subject, wanted, object, now);
    if tags == *now {
        return;
    }
    let changes = tag_changes(now, &tags);
    let reason = if now.retained { Reason::WasRetained } else { Reason::TagsDiffer };
    let expect = Expect { place: Some(Place::Live), tags: Some(now.clone()), ..Expect::default() };
    let step = draft.add(Step {
        identity: subject.identity(object.identity),
        native: draft.native_after(after, object),
        changes,
        after: after.clone(),
        ..step_on(object, Action::SetTags { tags }, reason, expect)
    });
    after.push(step);
}
