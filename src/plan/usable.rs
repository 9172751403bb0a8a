//! A backend on which steps can be planned.

use crate::model::{BackendSpec, Capabilities, Ledger, Name, NativeName, Object, Observed, Place};

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
    /// Returns the object with a native name in a matching place.
    pub(super) fn find(&self, native: &NativeName, place: impl Fn(Place) -> bool) -> Option<&'a Object> {
        self.bearing(native).find(|object| place(object.place))
    }

    /// Returns the objects with a native name. Observed objects are sorted by native name.
    pub(super) fn bearing<'n>(&self, native: &'n NativeName) -> impl Iterator<Item = &'a Object> + use<'a, 'n> {
        let objects = &self.observed.objects;
        let first = objects.partition_point(|object| object.native < *native);
        objects[first..].iter().take_while(|object| object.native == *native)
    }
}
