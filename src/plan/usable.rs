//! A backend on which steps can be planned.

use crate::model::{
    Absence, Address, BackendSpec, Capabilities, Kind, Ledger, Name, NativeName, Object, ObjectId, Observed, Place, Uid,
};

/// A backend on which steps can be planned.
pub(super) struct Usable<'a> {
    pub name: &'a Name,
    pub spec: &'a BackendSpec,
    pub capabilities: &'a Capabilities,
    pub observed: &'a Observed,
    /// This owner's ledger on the pool; none before first use.
    pub ledger: Option<&'a Ledger>,
    /// Whether everything is observed that can depend on an object: see [`Observed::shows_all`].
    pub shows_all: bool,
    /// Where the ledger proves absence, and not everything is observed: the objects of the ledger that are not shown.
    pub unseen: Vec<ObjectId>,
    /// The holder of the writer lock, if another process has it: steps are held.
    pub locked_by: Option<&'a str>,
}

impl<'a> Usable<'a> {
    /// Returns the object at an address in a matching place.
    pub(super) fn find(&self, at: &Address, place: impl Fn(Place) -> bool) -> Option<&'a Object> {
        self.bearing(at).find(|object| place(object.place))
    }

    /// Returns the objects at an address: a live one, and those in the trash. Observed objects are sorted by address.
    pub(super) fn bearing<'n>(&self, at: &'n Address) -> impl Iterator<Item = &'a Object> + use<'a, 'n> {
        let objects = &self.observed.objects;
        let before = |object: &Object| (&object.native, &object.parent_volume) < (&at.native, &at.parent_volume);
        let first = objects.partition_point(before);
        objects[first..].iter().take_while(|object| object.is_at(at))
    }

    /// Whether an object that is not observed is proven to be nowhere on the pool. `recorded`: where the store last saw it.
    pub(super) fn proves_gone(&self, kind: Kind, uid: Uid, recorded: Option<&Address>) -> bool {
        let mut known = self.ledger.map(|ledger| ledger.addresses_of(uid)).unwrap_or_default();
        if known.is_empty() {
            known.extend(recorded.cloned());
        }
        self.observed.proves_gone(kind, &known) || self.ledger.is_some_and(|ledger| ledger.has_tombstone(uid))
    }

    /// Whether a step was about to destroy an object that is shown, and nothing tells whether it did.
    pub(super) fn may_be_destroyed(&self, uid: Uid) -> bool {
        self.capabilities.absence == Absence::ByLedger
            && self.ledger.is_some_and(|ledger| ledger.destroying.contains(&uid))
    }

    /// Returns the address of a snapshot of a volume.
    pub(super) fn address_in(&self, volume: &NativeName, snapshot: NativeName) -> Address {
        Address { native: snapshot, parent_volume: self.capabilities.nests_snapshots().then(|| volume.clone()) }
    }
}
