//! Where the objects of a ledger can be.

use std::collections::HashSet;

use super::{Absence, Address, Identity, Ledger, LedgerEntry, NativeName, Object, Observed, Place, Uid};

impl Observed {
    /// Whether everything is among the objects that can depend on one of them: all of the pool or, where no list shows it, all
    /// of the owner's ledger. (There the driver must refuse the removal of an object that others depend on.)
    pub fn shows_all(&self, absence: Absence, ledger: Option<&Ledger>) -> bool {
        let shows_known = || match absence {
            Absence::ByList => false,
            Absence::ByName | Absence::ByLedger => ledger.is_some_and(|ledger| ledger.is_shown_by(self)),
        };
        self.lists_all() || shows_known()
    }
}

impl Ledger {
    /// Returns every address at which an object of the ledger can be: the one that was entered, and those that announced renames of it or of
    /// the volume that it is inside of would give it. Empty if it has no entry.
    pub fn addresses_of(&self, uid: Uid) -> Vec<Address> {
        let Some(entry) = self.complete.get(&uid) else { return Vec::new() };
        let at = entry.address();
        if self.renaming.is_empty() {
            return vec![at];
        }
        let volume = at.parent_volume.as_ref().and_then(|parent| {
            let is_it = |uid: &&Uid| self.complete.get(*uid).is_some_and(|volume| volume.native == *parent);
            self.renamed(*self.renaming.keys().find(is_it)?)
        });
        let natives = [Some(at.native.clone()), self.renamed(uid)];
        let volumes = [Some(at.parent_volume.clone()), volume.map(Some)];
        let inside = |parent_volume: Option<NativeName>| {
            natives
                .iter()
                .flatten()
                .map(move |native| Address { native: native.clone(), parent_volume: parent_volume.clone() })
        };
        volumes.into_iter().flatten().flat_map(inside).collect()
    }

    /// Returns the addresses at which an object that is being made can be: its own, and that of the unfinished one.
    pub fn addresses_being_made(&self, uid: Uid, entry: &LedgerEntry) -> [Address; 2] {
        [entry.address(), self.identity_of(uid, entry).unfinished_address()]
    }

    /// Returns every address at which an object of the ledger can be, also one that is being made.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        let being_made = self.creating.iter().flat_map(|(uid, entry)| self.addresses_being_made(*uid, entry));
        self.complete.keys().flat_map(|uid| self.addresses_of(*uid)).chain(being_made)
    }

    /// Whether a step was about to destroy an object, or it has left.
    pub fn lets_go(&self, uid: Uid) -> bool {
        self.leaving.contains(&uid) || self.destroying.contains(&uid)
    }

    /// Returns the objects of the ledger that an observation does not show and that may exist all the same, also those that are being made,
    /// with the addresses at which each can be.
    pub fn unseen<'l>(&'l self, observed: &Observed) -> impl Iterator<Item = (Uid, &'l LedgerEntry, Vec<Address>)> {
        let shown = whole(observed);
        let is_unseen = move |uid: &Uid| !shown.contains(uid) && !self.lets_go(*uid);
        let complete = self.complete.iter().map(|(uid, entry)| (*uid, entry, self.addresses_of(*uid)));
        let creating = self.creating.iter().filter(|(uid, _)| !self.complete.contains_key(uid));
        let creating = creating.map(|(uid, entry)| (*uid, entry, self.addresses_being_made(*uid, entry).to_vec()));
        complete.chain(creating).filter(move |(uid, ..)| is_unseen(uid))
    }

    /// Whether every object of the ledger, also one that is being made, is among the observed ones, or is proven to be nowhere on the pool.
    pub fn is_shown_by(&self, observed: &Observed) -> bool {
        let shown = whole(observed);
        let is_shown = |(uid, entry): (&Uid, &LedgerEntry)| {
            shown.contains(uid) || observed.proves_gone(entry.kind, &self.addresses_of(*uid))
        };
        let is_made_and_shown = |(uid, entry): (&Uid, &LedgerEntry)| {
            shown.contains(uid) || observed.proves_gone(entry.kind, &self.addresses_being_made(*uid, entry))
        };
        self.complete.iter().all(is_shown) && self.creating.iter().all(is_made_and_shown)
    }

    /// Returns the identity of the object of an entry.
    pub fn identity_of(&self, uid: Uid, entry: &LedgerEntry) -> Identity {
        Identity { owner: self.owner.clone(), kind: entry.kind, name: entry.name.clone(), uid }
    }

    /// Returns the native name that the announced rename of an object would give it.
    fn renamed(&self, uid: Uid) -> Option<NativeName> {
        let (entry, name) = (self.complete.get(&uid)?, self.renaming.get(&uid)?);
        let renamed = || Identity { name: name.clone(), ..self.identity_of(uid, entry) }.native();
        // A native name of its own stays.
        entry.native.is_reserved().then(renamed)
    }
}

/// Returns the uids of the objects that are shown and not unfinished.
fn whole(observed: &Observed) -> HashSet<Uid> {
    observed.objects.iter().filter(|object| object.place != Place::Temporary).filter_map(Object::uid).collect()
}

impl Identity {
    /// Returns the address of an object that is being made.
    pub fn unfinished_address(&self) -> Address {
        Address::flat(&self.temporary())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{identity, name, owner, volume};
    use crate::model::{Kind, Listed, PoolId, Size};

    #[test]
    fn announced_renames_give_further_addresses() {
        let mut ledger = Ledger::new(PoolId("p".to_owned()), owner(), "5c1d2e8a90".to_owned());
        let (db, monday) = (volume("db"), identity(Kind::Snapshot, "monday"));
        let (inside, own) = (Address::inside(&db.native(), &monday.native()), Address::flat(&NativeName::new("own")));
        ledger.complete.insert(db.uid, db.ledger_entry(0, Address::flat(&db.native()), Size(1)));
        ledger.complete.insert(monday.uid, monday.ledger_entry(0, inside.clone(), Size(1)));
        ledger.complete.insert(volume("web").uid, volume("web").ledger_entry(0, own.clone(), Size(1)));
        assert_eq!(ledger.addresses_of(monday.uid), std::slice::from_ref(&inside));
        assert_eq!(ledger.addresses_of(volume("other").uid), [], "it was never entered");
        for uid in [db.uid, volume("web").uid] {
            ledger.renaming.insert(uid, name("renamed"));
        }
        let renamed = Identity { name: name("renamed"), ..db.clone() }.native();
        assert_eq!(ledger.addresses_of(db.uid), [Address::flat(&db.native()), Address::flat(&renamed)]);
        assert_eq!(ledger.addresses_of(monday.uid), [inside, Address::inside(&renamed, &monday.native())]);
        assert_eq!(ledger.addresses_of(volume("web").uid), [own], "a native name of its own stays");
    }

    #[test]
    fn what_is_being_made_is_shown_or_proven_absent_under_both_names() {
        let mut ledger = Ledger::new(PoolId("p".to_owned()), owner(), "5c1d2e8a90".to_owned());
        let db = volume("db");
        let entry = db.ledger_entry(0, Address::flat(&db.native()), Size(1));
        let both = ledger.addresses_being_made(db.uid, &entry);
        ledger.creating.insert(db.uid, entry);
        assert_eq!(ledger.addresses().collect::<Vec<_>>(), both);
        let none = Observed { listed: Listed::NONE, ..Observed::nothing() };
        let shown = |place| vec![Object::of(db.clone(), place, Size(1))];
        for (asked, objects, is_shown) in [
            (&both[..0], vec![], false),
            (&both[..1], vec![], false),
            (&both[1..], vec![], false),
            (&both[..], vec![], true),
            (&both[..0], shown(Place::Live), true),
            (&both[..0], shown(Place::Temporary), false),
        ] {
            let observed = Observed { queried: asked.iter().cloned().collect(), objects, ..none.clone() };
            assert_eq!(
                observed.shows_all(Absence::ByName, Some(&ledger)),
                is_shown,
                "{asked:?} {:?}",
                observed.objects
            );
        }
    }
}
