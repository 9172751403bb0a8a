//! Restores from the trash.

use crate::model::{Action, Expect, Place, Reason, Step, Tags};

use crate::plan::draft::Draft;
use crate::plan::hold::{Hold, Subject};
use crate::plan::inventory::{Inventory, OwnedObject};
use crate::plan::name_conflict::check_place_is_free;
use crate::plan::tags::tag_changes;
use crate::plan::usable::Usable;

use super::along::come_along;
use super::step::step_on;

/// Drafts the restore of an object from the trash with these tags, after the steps `after`.
pub(super) fn undelete<'a>(
    inventory: &Inventory<'a>,
    draft: &mut Draft<'a>,
    usable: &Usable<'a>,
    subject: &Subject<'_>,
    object: &OwnedObject<'a>,
    tags: Tags,
    after: Vec<usize>,
) -> Result<usize, Hold> {
    check_place_is_free(inventory, usable, subject, object)?;
    let now = object.tags.lasting();
    let changes = tag_changes(&now, &tags);
    let expect = Expect { place: Some(Place::Trash), ..Expect::live(object) };
    let with = come_along(inventory, draft, usable, subject, object)?;
    let step = step_on(object, Action::Undelete { tags, with }, Reason::InTrash, expect);
    Ok(draft.add(Step { changes, after, ..step }))
}
