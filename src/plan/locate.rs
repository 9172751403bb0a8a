//! Where a declared object is: live, in the trash, under its old name, proven absent; or why that cannot be said.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::model::{Kind, Ledger, LedgerEntry, Name, NativeName, Object, ObjectRecord, Place, Size, Uid, Verb};

use super::backend_state::BackendState;
use super::plan::{Planner, Subject, usable_backends};
use super::tags::exact;
use super::types::HeldReason;
use super::unreachable::Whereabouts;

/// Where a declared object is.
pub(super) enum Located<'a> {
    /// In use under its name.
    Live(&'a Object),
    /// To be brought back.
    Trashed(&'a Object),
    /// Live or in the trash under the name that `renamedFrom` gives. `instead`: the volume that was made under the new name when
    /// `renamedFrom` was not written yet, and that was never written to.
    OldName { object: &'a Object, instead: Option<&'a Object> },
    /// Proven not to be there, nor anywhere else, and never lost.
    Absent,
    /// It cannot be said, or must not be acted on; the reason has been held.
    Held,
}

/// What an object was when Kiln last settled it.
pub(super) struct Remembered {
    /// Found smaller, it has lost data.
    pub size: Size,
    /// Tags can be lost; protection is lifted by a document only.
    pub protected: bool,
    /// Restores that were done.
    pub restored: BTreeSet<String>,
    /// The size that was declared when a person accepted that the object is smaller.
    pub accepted: Option<Size>,
}

impl<'a> Planner<'a> {
    /// Looks for the object that a document declares on `backend`.
    pub(super) fn locate(
        &mut self,
        kind: Kind,
        name: &'a Name,
        backend: &'a Name,
        old: Option<&'a Name>,
    ) -> Located<'a> {
        let located = self.locate_now(kind, name, backend, old);
        match (&located, old) {
            // While it is held, too: what is to be renamed is not removed.
            (Located::OldName { .. } | Located::Held, Some(old)) => self.claim_all(kind, old),
            (Located::Live(_) | Located::Trashed(_) | Located::Absent, _) | (_, None) => {}
        }
        located
    }

    fn locate_now(&mut self, kind: Kind, name: &'a Name, backend: &'a Name, old: Option<&'a Name>) -> Located<'a> {
        let about = Subject { kind, name, backend: Some(backend), uid: None, action: Verb::Create };
        if let Some(BackendState::Blocked(bad)) = self.backends.get(backend) {
            let (reason, message, fix) = (bad.reason, bad.message.clone(), bad.fix.clone());
            let known = self.recorded(kind, name).first().copied();
            let about = match known {
                Some(record) => Subject { uid: Some(record.identity.uid), action: Verb::Update, ..about },
                None => about,
            };
            self.claim_all(kind, name);
            self.hold(&about, reason, message, fix);
            return Located::Held;
        }
        let (here, elsewhere): (SmallVec<[_; 1]>, SmallVec<[_; 1]>) =
            self.found(kind, name, Place::Live).into_iter().partition(|(at, _)| *at == backend);
        self.claim_all(kind, name);
        if let (Some(old), [(_, new)], []) = (old, here.as_slice(), elsewhere.as_slice())
            && let Some(located) = self.locate_both(&about, old, new)
        {
            return located;
        }
        match (here.as_slice(), elsewhere.as_slice()) {
            ([(_, object)], []) => self.believed(&about, object, old).map_or(Located::Held, Located::Live),
            ([], []) => self.locate_not_live(about, old),
            ([], [(at, object)]) => {
                let about = Subject { uid: object.uid(), action: Verb::Move, ..about };
                let message = format!("it is on the backend {at}; moving it to {backend} is not built yet");
                self.hold(&about, HeldReason::Unsupported, message, format!("declare `backend: {at}` again"));
                Located::Held
            }
            (several, others) => {
                let names: Vec<String> =
                    several.iter().chain(others).map(|(at, o)| format!("{} on {at}", o.native)).collect();
                let message = format!("two or more objects could be it: {}", names.join(", "));
                let fix = "rename or remove on the backend what is not it";
                self.hold(&about, HeldReason::Ambiguous, message, fix);
                Located::Held
            }
        }
    }

    /// A document speaks for everything of this name: nothing of it is removed.
    pub(super) fn claim_all(&mut self, kind: Kind, name: &'a Name) {
        self.known.entry((kind, name)).or_default().claimed = true;
    }

    /// Whether the marks of a found object can be believed.
    fn believed(&mut self, about: &Subject<'_>, object: &'a Object, old: Option<&Name>) -> Option<&'a Object> {
        let action = if object.place == Place::Trash { Verb::Adopt } else { Verb::Update };
        let about = Subject { uid: object.uid(), action, backend: about.backend, ..*about };
        if let Some(why) = &object.conflict {
            let message = format!("the marks of {} cannot be believed: {why}", object.native);
            self.hold(&about, HeldReason::Conflict, message, format!("see to {} on the backend", object.native));
            return None;
        }
        if let Some(other) =
            self.known_name(about.backend, object).filter(|known| *known != about.name && Some(*known) != old)
        {
            let message = format!("{} is known as {other}, and somebody renamed it on the backend", object.native);
            let fix =
                format!("name it {other} again on the backend, or write `renamedFrom: {other}` under its metadata");
            self.hold(&about, HeldReason::Renamed, message, fix);
            return None;
        }
        self.hold_if_cut(&about, object)?;
        Some(object)
    }

    /// Holds an object that is smaller than it was: it is neither grown back as zeroes nor copied from.
    pub(super) fn hold_if_cut(&mut self, about: &Subject<'_>, object: &Object) -> Option<()> {
        let whole = self.remembered(about.backend, object).size;
        if object.size >= whole {
            return Some(());
        }
        let message = format!(
            "{} was {} and is {} now: what was at its end is lost",
            object.native,
            exact(whole),
            exact(object.size)
        );
        // Until it is renamed it is known by its old name.
        let name = object.identity.as_ref().map_or(about.name, |identity| &identity.name);
        let fix = format!(
            "bring it back on the backend; or, if it is to be used as it is, `kiln forget {}/{name}` accepts its size, and it is not grown back",
            about.kind.as_lower()
        );
        self.hold(about, HeldReason::Lost, message, fix);
        None
    }

    /// What an object was when Kiln last settled it: by the ledger or, where it is not in there yet, by the store.
    pub(super) fn remembered(&self, backend: Option<&Name>, object: &Object) -> Remembered {
        let nothing = Remembered { size: Size(0), protected: false, restored: BTreeSet::new(), accepted: None };
        let Some(uid) = object.uid() else { return nothing };
        let ledger = backend.and_then(|backend| self.good(backend)).and_then(|good| good.ledger);
        if let Some(entry) = ledger.and_then(|ledger| ledger.complete.get(&uid)) {
            let LedgerEntry { size, protected, restored, accepted, .. } = entry;
            return Remembered { size: *size, protected: *protected, restored: restored.clone(), accepted: *accepted };
        }
        match self.inputs.records.objects.get(&uid) {
            Some(record) => Remembered {
                size: record.size,
                protected: record.tags.protected,
                restored: record.tags.restored.clone().into_iter().collect(),
                accepted: None,
            },
            None => nothing,
        }
    }

    /// The name under which an object's uid is known: by the ledger or, where it is not in there yet, by the store.
    pub(super) fn known_name(&self, backend: Option<&Name>, object: &Object) -> Option<&'a Name> {
        let (ledger, uid): (Option<&'a Ledger>, _) = (self.good(backend?)?.ledger, object.uid()?);
        // A rename of ours that a crash kept from being entered.
        let renamed = ledger
            .and_then(|ledger| ledger.renaming.get(&uid))
            .filter(|new| object.identity.as_ref().is_some_and(|id| id.name == **new));
        let entered = renamed.or_else(|| Some(&ledger?.complete.get(&uid)?.name));
        entered.or_else(|| self.inputs.records.objects.get(&uid).map(|record| &record.identity.name))
    }

    fn locate_not_live(&mut self, about: Subject<'a>, old: Option<&'a Name>) -> Located<'a> {
        let (kind, name, Some(backend)) = (about.kind, about.name, about.backend) else { return Located::Held };
        if self.hold_unless_free(&about, backend, old) {
            return Located::Held;
        }
        if let Some(old) = old
            && let Some(located) = self.locate_old_name(&about, old, backend)
        {
            return located;
        }
        let trashed = self.found(kind, name, Place::Trash);
        match trashed.as_slice() {
            [] => {}
            [(at, object)] if *at == backend => {
                return self.believed(&about, object, old).map_or(Located::Held, Located::Trashed);
            }
            [(at, object)] => {
                let about = Subject { uid: object.uid(), action: Verb::Adopt, ..about };
                let message = format!("it is in the trash of the backend {at}, not of {backend}");
                let fix = format!("declare `backend: {at}`, or `kiln trash purge {}/{name}`", kind.as_lower());
                self.hold(&about, HeldReason::Unsupported, message, fix);
                return Located::Held;
            }
            several => {
                let names: Vec<&str> = several.iter().map(|(_, o)| o.native.as_str()).collect();
                let message = format!("the trash holds several that could be it: {}", names.join(", "));
                // `kiln trash purge` by name takes the one that left last too, which is the one that is missed.
                let fix = format!(
                    "bring back the one that left last with `kiln trash restore {}/{name}`: the others stay in the trash",
                    kind.as_lower()
                );
                self.hold(&about, HeldReason::Ambiguous, message, fix);
                return Located::Held;
            }
        }
        Located::Absent
    }

    /// Holds what is to get a name that another object may bear. Whatever is made, renamed or brought back under a name hides a
    /// loss if the object of that name is lost, and is the second of the name if that object only cannot be seen.
    fn hold_unless_free(&mut self, about: &Subject<'a>, backend: &Name, old: Option<&Name>) -> bool {
        if !self.good(backend).is_some_and(|good| good.observed.listed.proves_absence_of(about.kind)) {
            let message = format!("the listing of {backend} is not complete, so it may be there");
            self.hold(about, HeldReason::Unobserved, message, "run again when the backend can be listed");
            return true;
        }
        self.hold_if_lost(about, about.name, old) || self.hold_if_hidden(about, about.name)
    }

    /// Where objects exist under the new name and the old one: the old one is what the document means, and comes back if nothing
    /// is lost by that. `None`: there is none under the old name that could be meant.
    fn locate_both(&mut self, about: &Subject<'a>, old: &'a Name, new: &'a Object) -> Option<Located<'a>> {
        let kind = about.kind;
        let (live, trashed) = (self.found(kind, old, Place::Live), self.found(kind, old, Place::Trash));
        // What was removed or released under the old name may be an earlier object of that name, if this one was renamed from it.
        let left = live.iter().all(|(_, object)| object.tags.retained);
        if (live.is_empty() && trashed.is_empty()) || (left && !self.was_made_as(about, new)) {
            return None;
        }
        let about = Subject { uid: new.uid(), action: Verb::Move, ..*about };
        let why = match (live.as_slice(), trashed.as_slice()) {
            ([_], _) | ([], [_]) => self.cannot_give_way(kind, about.backend?, new),
            _ => Some(format!("there are several objects of the name {old}")),
        };
        if let Some(why) = why {
            let message = format!("{} exists beside {old}, from which it is said to be renamed, and {why}", about.name);
            let keep = format!("remove `renamedFrom: {old}` and declare {old} again, in one edit: both are kept");
            self.hold(&about, HeldReason::Ambiguous, message, keep);
            return Some(Located::Held);
        }
        match self.locate_old_name(&about, old, about.backend?)? {
            Located::OldName { object, .. } => self
                .believed(&about, new, Some(old))
                .map_or(Some(Located::Held), |new| Some(Located::OldName { object, instead: Some(new) })),
            other => Some(other),
        }
    }

    /// Why an object cannot leave for the one that it was renamed from: something would be lost.
    fn cannot_give_way(&mut self, kind: Kind, backend: &Name, new: &Object) -> Option<String> {
        if kind == Kind::Snapshot {
            return Some("a snapshot always holds data".to_owned());
        }
        if !self.is_unwritten(backend, new) {
            return Some("it was written to".to_owned());
        }
        let needs_it = |object: &&Object| object.parent == new.uid() || object.tags.volume == new.uid();
        let needing = self.good(backend)?.observed.objects.iter().find(needs_it)?;
        Some(format!("{} was made from it", needing.native))
    }

    /// Whether an object was made under the name that it has: its uid is derived from that.
    fn was_made_as(&self, about: &Subject<'_>, object: &Object) -> bool {
        let (stack, inputs) = (&self.inputs.reading.specs.stack, self.inputs);
        let backends = || inputs.reading.specs.backends.keys().chain(inputs.records.backends.keys());
        let ledger = about.backend.and_then(|backend| self.good(backend)?.ledger);
        let Some(uid) = object.uid() else { return false };
        let next = ledger.and_then(|l| l.next.get(&Ledger::next_key(about.kind, about.name))).copied().unwrap_or(0);
        let entered = ledger.and_then(|ledger| ledger.complete.get(&uid)).map(|entry| entry.n);
        let derives =
            |n: u32| backends().any(|b| Uid::derive(&stack.id, &stack.owner, about.kind, b, about.name, n) == uid);
        entered.map_or_else(|| (0..=next).any(derives), derives)
    }

    fn locate_old_name(&mut self, about: &Subject<'a>, old: &'a Name, backend: &'a Name) -> Option<Located<'a>> {
        let live = self.found(about.kind, old, Place::Live);
        let trashed = self.found(about.kind, old, Place::Trash);
        let (at, object) = match (live.as_slice(), trashed.as_slice()) {
            ([one], _) | ([], [one]) => *one,
            ([], []) => {
                // Lost or hidden under the old name is so under the new one too; otherwise the rename is done, or was never needed.
                let held = self.hold_if_lost(about, old, None) || self.hold_if_hidden(about, old);
                return held.then_some(Located::Held);
            }
            (several, others) => {
                let objects = if several.is_empty() { others } else { several };
                let names: Vec<&str> = objects.iter().map(|(_, o)| o.native.as_str()).collect();
                let message = format!("several objects have the old name {old}: {}", names.join(", "));
                let fix = format!(
                    "remove `renamedFrom: {old}` to leave them as they are, or remove on the backend those that it is not"
                );
                self.hold(about, HeldReason::Ambiguous, message, fix);
                return Some(Located::Held);
            }
        };
        if at != backend {
            let about = Subject { uid: object.uid(), action: Verb::Move, ..*about };
            let message =
                format!("what was declared as {old} is on the backend {at}; moving it to {backend} is not built yet");
            self.hold(&about, HeldReason::Unsupported, message, format!("declare `backend: {at}` again"));
            return Some(Located::Held);
        }
        let located = |object| Located::OldName { object, instead: None };
        Some(self.believed(about, object, Some(old)).map_or(Located::Held, located))
    }

    /// Holds an object that was complete under `name` and is absent: on this backend or another, by the ledgers or, for the
    /// seconds before a create is entered there, by the store. What bears `old` is no loss: it is about to be renamed.
    fn hold_if_lost(&mut self, about: &Subject<'a>, name: &'a Name, old: Option<&Name>) -> bool {
        let kind = about.kind;
        let is_seen = |uid| self.is_seen_as(uid, kind, name) || old.is_some_and(|old| self.is_seen_as(uid, kind, old));
        let by_ledger = || {
            let (at, uid, entry) = self.entered(kind, name).iter().find(|(_, uid, _)| !is_seen(*uid))?;
            Some((*at, *uid, &entry.native))
        };
        let by_store = || {
            let was_live = |record: &&&'a ObjectRecord| self.was_live(record) && !is_seen(record.identity.uid);
            let record: &'a ObjectRecord = self.recorded(kind, name).iter().find(was_live)?;
            Some((&record.backend, record.identity.uid, &record.native))
        };
        let Some((at, uid, native)) = by_ledger().or_else(by_store) else { return false };
        let about = Subject { uid: Some(uid), ..*about };
        if let Some((_, object)) = self.by_uid.get(&uid)
            && let Some(identity) = &object.identity
            && (identity.name != *name || identity.owner != self.inputs.reading.specs.stack.owner)
        {
            let message = format!("its object stands on {at} as {}: somebody renamed it", object.native);
            let fix = format!(
                "name it {native} again on the backend, or declare it as {} with `renamedFrom: {name}`",
                identity.name
            );
            self.hold(&about, HeldReason::Renamed, message, fix);
            return true;
        }
        let object = self.good(at).and_then(|good| good.bearing(native).find(|object| object.conflict.is_some()));
        if let Some(why) = object.and_then(|object| object.conflict.as_ref()) {
            let message = format!("the marks of {native} cannot be believed: {why}");
            self.hold(&about, HeldReason::Conflict, message, format!("see to {native} on the backend"));
            return true;
        }
        if self.hold_if_replaced(&about, at, native) {
            return true;
        }
        let message =
            format!("{native} was whole on {at} and is not there any more; an empty one will not be put in its place");
        let fix = format!(
            "bring it back on the backend; or, if it is gone for good, `kiln forget {}/{name}` frees the name",
            kind.as_lower()
        );
        self.hold(&about, HeldReason::Lost, message, fix);
        true
    }

    /// Whether an object of ours bears a name, live or in the trash.
    fn is_seen_as(&self, uid: Uid, kind: Kind, name: &Name) -> bool {
        self.by_uid.get(&uid).is_some_and(|(_, object)| object.is(&self.inputs.reading.specs.stack.owner, kind, name))
    }

    /// Holds an object under whose native name another stands, which belongs to no owner: somebody replaced it, or the pool is a
    /// copy in which its marks do not count.
    fn hold_if_replaced(&mut self, about: &Subject<'_>, at: &Name, native: &NativeName) -> bool {
        let other = self.good(at).and_then(|good| good.find(native, |place| place == Place::Live));
        if other.is_none_or(|other| other.identity.is_some()) {
            return false;
        }
        let (kind, name) = (about.kind.as_lower(), about.name);
        let adopts = self.inputs.reading.specs.volumes.get(name).and_then(|spec| spec.adopt.as_deref());
        let message = format!("{native} on {at} is not the object that was {kind} {name}: it was replaced or copied");
        let fix = match about.kind == Kind::Volume && adopts == Some(native.as_str()) {
            true => format!(
                "put the original back; or, if {native} holds the data of {name} now, run `kiln forget {kind}/{name}`, then \
                 `kiln apply`, which adopts it as it is"
            ),
            false => format!("move {native} out of the pool and put the original back, or `kiln forget {kind}/{name}`"),
        };
        self.hold(about, HeldReason::Conflict, message, fix);
        true
    }

    /// Whether the store last saw the object live on a pool that can be looked at now, and no ledger says that it left or that it
    /// was renamed since.
    fn was_live(&self, record: &ObjectRecord) -> bool {
        let uid = record.identity.uid;
        let left = |ledger: &Ledger| {
            ledger.leaving.contains(&uid)
                || ledger.tombstones.contains_key(&uid)
                || ledger.complete.get(&uid).is_some_and(|entry| entry.name != record.identity.name)
        };
        let left_somewhere = usable_backends(&self.backends).filter_map(|(_, good)| good.ledger).any(left);
        record.seen.as_ref().is_some_and(|o| o.place == Place::Live)
            && !left_somewhere
            && matches!(self.whereabouts(record), Whereabouts::Visible)
    }

    /// Holds an object that may be, as `name`, on a backend that cannot be observed.
    fn hold_if_hidden(&mut self, about: &Subject<'a>, name: &'a Name) -> bool {
        let records = self.recorded(about.kind, name).to_vec();
        for record in records.iter().filter(|r| r.seen.is_some()) {
            let about = Subject { uid: Some(record.identity.uid), action: Verb::Move, ..*about };
            match self.whereabouts(record) {
                Whereabouts::Visible => continue,
                Whereabouts::Undeclared => {
                    let about = Subject { backend: Some(&record.backend), ..about };
                    self.hold_undeclared(&about);
                }
                Whereabouts::Hidden((reason, message), fix) => {
                    let message = format!("it was last seen on {}: {message}", record.backend);
                    self.hold(&about, reason, message, fix);
                }
            }
            return true;
        }
        // A backend that this store has never seen, and that cannot be seen now, may hold anything. But where nothing was ever made, in no place that can be seen and by nothing that is remembered, nothing is hidden.
        let records = &self.inputs.records.backends;
        let first = records.is_empty() && usable_backends(&self.backends).all(|(_, good)| good.ledger.is_none());
        let unknown = self.backends.iter().find_map(|(other, ground)| match ground {
            BackendState::Blocked(bad) if bad.unobserved && !records.contains_key(*other) && !first => {
                Some((*other, bad.message.clone(), bad.fix.clone()))
            }
            _ => None,
        });
        let Some((other, message, fix)) = unknown else { return false };
        let message = format!("it may be on the backend {other}, of which nothing is remembered: {message}");
        self.hold(about, HeldReason::Unobserved, message, fix);
        true
    }
}
