//! A backend on which steps can be planned.

use crate::model::{
    Address, BackendSpec, Capabilities, Kind, Ledger, Name, NativeName, Object, ObjectRecord, Observed, Place, Uid,
};

/// A backend on which steps can be planned.
pub(super) struct Usable<'a> {
    pub name: &'a Name,
    pub spec: &'a BackendSpec,
    pub capabilities: &'a Capabilities,
    pub observed: &'a Observed,
    /// This owner's ledger on the pool; none before first use.
    pub ledger: Option<&'a Ledger>,
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

    /// Whether an object that is not observed is proven to be nowhere on the pool.
    pub(super) fn proves_gone(&self, kind: Kind, uid: Uid) -> bool {
        let known = self.ledger.map(|ledger| ledger.addresses_of(uid)).unwrap_or_default();
        self.observed.proves_gone(kind, &known)
    }

    /// Whether the object of a record, which is not observed, is proven to be nowhere on the pool.
    pub(super) fn proves_record_gone(&self, record: &ObjectRecord) -> bool {
        let (kind, uid) = (record.identity.kind, record.identity.uid);
        match self.ledger.is_some_and(|ledger| ledger.complete.contains_key(&uid)) {
            true => self.proves_gone(kind, uid),
            false => self.observed.proves_absence(kind, &record.address()),
        }
    }

    /// Returns the address of a snapshot of a volume.
    pub(super) fn address_in(&self, volume: &NativeName, snapshot: NativeName) -> Address {
        Address { native: snapshot, parent_volume: self.capabilities.nests_snapshots().then(|| volume.clone()) }
    }
}
