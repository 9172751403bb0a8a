//! Native names that are taken, and those that are given up in the plan that asks for them.
//!
//! An object that is destroyed frees its name: what is made under it waits for that. In every other case the bearer counts as staying:
//! what is released keeps its name, what goes to the trash keeps it there, and so does what is held.

use std::collections::HashSet;

use crate::model::{Action, Kind, Name, NativeName, Object, OnRemove, Place};

use super::plan::{Planner, Subject};
use super::types::HeldReason;

impl<'a> Planner<'a> {
    /// The object of ours that bears a native name which it may give up in this plan: [`Self::give_freed_names`] settles that.
    pub(super) fn perhaps_leaving(&self, backend: &Name, native: &NativeName) -> Option<&'a Object> {
        let good = self.good(backend)?;
        let object = good.find(native, |place| place == Place::Live)?;
        let ours = object.identity.as_ref()?.owner == self.inputs.reading.specs.stack.owner;
        let for_good = object.tags.on_remove() == OnRemove::Delete;
        (ours && for_good && good.find(native, |place| place == Place::Trash).is_none()).then_some(object)
    }

    /// Holds an object whose native name something bears already.
    pub(super) fn hold_if_in_the_way(
        &mut self,
        about: &Subject<'_>,
        backend: &'a Name,
        native: &NativeName,
    ) -> Option<()> {
        let Some(object) = self.good(backend)?.find(native, |place| place != Place::Temporary) else { return Some(()) };
        let (reason, message, fix) = self.in_the_way(backend, object);
        self.hold(about, reason, message, fix);
        None
    }

    /// Holds an object in the trash whose native name something live has taken: it cannot come back beside it.
    pub(super) fn hold_if_place_is_taken(&mut self, about: &Subject<'_>, trashed: &Object) -> Option<()> {
        let native = &trashed.native;
        let Some(other) = self.good(about.backend?)?.find(native, |place| place == Place::Live) else {
            return Some(());
        };
        let (reason, message, fix) = match &other.identity {
            None => {
                let message = format!("{native} is in the way of the one in the trash, and is not an object of Kiln");
                (HeldReason::Foreign, message, format!("move {native} away on the backend"))
            }
            Some(_) => self.in_the_way(about.backend?, other),
        };
        self.hold(about, reason, message, fix);
        None
    }

    /// Holds an object that is to leave while the trash holds another of its native name.
    pub(super) fn hold_if_trash_is_taken(&mut self, about: &Subject<'_>, object: &Object) -> Option<()> {
        let native = &object.native;
        let Some(other) = self.good(about.backend?)?.find(native, |place| place == Place::Trash) else {
            return Some(());
        };
        let message = format!("the trash holds another {native} already");
        let fix = match &other.identity {
            Some(id) if id.owner == self.inputs.reading.specs.stack.owner => {
                format!("`kiln trash purge {}/{}`", id.kind.as_lower(), id.name)
            }
            _ => format!("move {native} out of the trash on the backend"),
        };
        self.hold(about, HeldReason::Foreign, message, fix);
        None
    }

    /// Once it is known what leaves, and by which step: what is made under the name of an object waits until that is gone, or is held.
    pub(super) fn give_freed_names(&mut self, left: impl Fn((&'a Name, &'a Object)) -> Option<usize>) {
        for (made, backend, object) in std::mem::take(&mut self.freeing) {
            if self.dropped.contains(&made) {
                continue;
            }
            let gone = left((backend, object)).filter(|step| self.steps[*step].action == Action::Destroy);
            match gone {
                // A step that was dropped has told those that waited for it, and tells nobody any more.
                Some(step) if !self.dropped.contains(&step) && !self.waits_for(step, made) => {
                    self.steps[made].after.push(step);
                    self.waiting.entry(step).or_default().push(made);
                }
                _ => {
                    let (reason, message, fix) = self.in_the_way(backend, object);
                    self.hold_step(made, reason, message, &fix);
                }
            }
        }
    }

    /// Whether a step waits for another, directly or not.
    fn waits_for(&self, index: usize, needed: usize) -> bool {
        let (mut todo, mut seen) = (vec![index], HashSet::new());
        while let Some(index) = todo.pop() {
            if index == needed {
                return true;
            }
            if seen.insert(index) {
                todo.extend(&self.steps[index].after);
            }
        }
        false
    }

    /// That something bears a name and stays, and the way out.
    fn in_the_way(&self, backend: &Name, object: &Object) -> (HeldReason, String, String) {
        let (specs, native) = (&self.inputs.reading.specs, &object.native);
        let Some(id) = &object.identity else {
            let message = format!("{native} is already there, and is nobody's that Kiln knows");
            let fix = match self.good(backend) {
                Some(good) if good.capabilities.adopt && !native.is_reserved() => {
                    format!(
                        "write `adopt: {{name: {native}}}` in place of `object` to take it over, or choose another name"
                    )
                }
                _ => "choose another name".to_owned(),
            };
            return (HeldReason::Foreign, message, fix);
        };
        let message = format!("{native} is already there, and is {} {} of {}", id.kind.as_lower(), id.name, id.owner);
        let declared = match id.kind {
            Kind::Volume => specs.volumes.contains_key(&id.name),
            _ => specs.snapshots.contains_key(&id.name),
        };
        let what = format!("{}/{}", id.kind.as_lower(), id.name);
        let another = "choose another name";
        if id.owner != specs.stack.owner || (declared && object.place == Place::Live) {
            return (HeldReason::Foreign, message, another.to_owned());
        }
        if object.place == Place::Trash {
            return (HeldReason::Foreign, message, format!("{another}, or purge that one: `kiln trash purge {what}`"));
        }
        if object.tags.retained || object.tags.on_remove() == OnRemove::Retain {
            return (HeldReason::Foreign, message, format!("{another}: that one was released, and stays"));
        }
        if object.tags.on_remove() == OnRemove::Delete {
            let message = format!("{message}, which does not go");
            return (
                HeldReason::DependencyHeld,
                message,
                format!("see what holds it: `kiln describe {what}`, or {another}"),
            );
        }
        let fix = format!("{another}, or let that one go for good: `kiln trash purge {what}` once it is in the trash");
        (HeldReason::Foreign, message, fix)
    }
}
