//! Holds: what a rule of the planner returns instead of a step.

use crate::model::{Action, Address, Endpoint, Identity, Kind, Name, Place, Step, Uid, Verb};

use super::inventory::OwnedObject;
use super::types::{Held, HeldReason};

/// The fix for a step on an object that a client has open.
pub const IN_USE_FIX: &str = "close it there, then run `kiln apply`";

/// The fix for a step on a backend whose writer lock another process holds.
pub const OTHER_WRITER_FIX: &str = "wait for it to end, or stop it, then run `kiln apply`";

/// Why an object is held. A rule returns it as its error; the caller adds it to the draft.
pub(super) struct Hold(Box<Held>);

impl Hold {
    pub(super) fn into_held(self) -> Held {
        *self.0
    }
}

/// The object that a rule is about, and the action that it would take: the common part of every [`Held`].
#[derive(Clone, Copy)]
pub(super) struct Subject<'n> {
    pub kind: Kind,
    pub name: &'n Name,
    pub backend: Option<&'n Name>,
    /// The Target, of an object that is on one.
    pub target: Option<&'n Name>,
    pub uid: Option<Uid>,
    pub action: Verb,
    /// Whether the object is in the trash.
    pub in_trash: bool,
}

impl<'n> Subject<'n> {
    /// A declared object that is not known to exist.
    pub(super) fn declared(kind: Kind, name: &'n Name) -> Self {
        Self { kind, name, backend: None, target: None, uid: None, action: Verb::Create, in_trash: false }
    }

    /// An object that exists on a backend.
    pub(super) fn existing(identity: &'n Identity, backend: &'n Name, action: Verb) -> Self {
        let Identity { kind, name, uid, owner: _ } = identity;
        Self { kind: *kind, name, backend: Some(backend), target: None, uid: Some(*uid), action, in_trash: false }
    }

    /// The object of a step.
    pub(super) fn of_step(step: &'n Step) -> Self {
        let Identity { kind, name, uid, owner: _ } = &step.identity;
        let (backend, target) = (step.backend(), step.endpoint.target());
        let in_trash = matches!(step.action, Action::Undelete { .. });
        Self { kind: *kind, name, backend, target, uid: Some(*uid), action: step.action.verb(), in_trash }
    }

    /// Returns the subject for an object that exists under this name or under its old one.
    pub(super) fn of(self, object: &OwnedObject<'_>, action: Verb) -> Self {
        Self { uid: Some(object.uid()), action, in_trash: object.place == Place::Trash, ..self }
    }

    /// Returns the identity of an object with the name in its document.
    pub(super) fn identity(&self, of: &Identity) -> Identity {
        Identity { name: self.name.clone(), ..of.clone() }
    }

    /// Returns a hold of this object.
    pub(super) fn hold(&self, reason: HeldReason, message: impl Into<String>, fix: impl Into<String>) -> Hold {
        let target = self.target.cloned().map(Endpoint::Target);
        Hold(Box::new(Held {
            kind: self.kind,
            name: self.name.clone(),
            action: self.action,
            endpoint: target.or_else(|| self.backend.cloned().map(Endpoint::Backend)),
            uid: self.uid,
            reason,
            message: message.into(),
            fix: fix.into(),
            in_trash: self.in_trash,
        }))
    }

    /// Returns a hold because an object is inconsistent on the backend: its tags or its files, in one sentence in `why`.
    pub(super) fn hold_inconsistent(&self, at: &Address, why: &str) -> Hold {
        let message = format!("{at} is inconsistent: {why}");
        self.hold(HeldReason::Conflict, message, format!("correct {at} on the backend"))
    }

    /// Returns a hold because an object that it needs is held.
    pub(super) fn waits_for_held(&self, message: String, kind: Kind, needed: &Name) -> Hold {
        self.hold(HeldReason::DependencyHeld, message, see_what_holds(kind, needed))
    }
}

/// Returns the fix that points to the command which shows why an object is held.
pub(super) fn see_what_holds(kind: Kind, name: &Name) -> String {
    format!("see what holds it: `kiln describe {}/{name}`", kind.as_lower())
}
