//! The planner's read side: the state of every backend, and the objects on usable backends by name and uid. It does not
//! change while a plan is made.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Deref;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use smallvec::SmallVec;

use crate::model::{
    Identity, Kind, Ledger, LedgerEntry, Name, NativeName, Object, ObjectRecord, ObjectRef, Observed, Place,
    PlacedField, Reading, Removal, Specs, Stack, Uid,
};

use super::backend_state::BackendState;
use super::inputs::Inputs;
use super::settled::SettledState;
use super::usable::Usable;

/// An object with an identity, and its backend.
#[derive(Clone, Copy)]
pub(super) struct OwnedObject<'a> {
    pub backend: &'a Name,
    pub identity: &'a Identity,
    pub object: &'a Object,
}

impl<'a> OwnedObject<'a> {
    pub(super) fn of(backend: &'a Name, object: &'a Object) -> Option<Self> {
        Some(Self { backend, identity: object.identity.as_ref()?, object })
    }

    pub(super) fn uid(&self) -> Uid {
        self.identity.uid
    }

    /// Returns what a step on another object records of this one.
    pub(super) fn reference(&self) -> ObjectRef {
        ObjectRef {
            parent_volume: self.parent_volume.clone(),
            id: self.object.id.clone(),
            ..ObjectRef::new(self.native.clone(), self.uid(), self.size)
        }
    }
}

impl Deref for OwnedObject<'_> {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.object
    }
}

/// The objects of one name: one, unless a copy was made outside of Kiln.
pub(super) type OwnedObjects<'a> = SmallVec<[OwnedObject<'a>; 1]>;

/// An entry of one of our ledgers, with the ledger's backend.
pub(super) struct EnteredObject<'a> {
    pub backend: &'a Name,
    pub uid: Uid,
    pub entry: &'a LedgerEntry,
}

/// The entries of one name: one, unless ledgers disagree.
type EnteredObjects<'a> = SmallVec<[EnteredObject<'a>; 1]>;

/// The planner's inputs, indexed.
pub(super) struct Inventory<'a> {
    pub inputs: &'a Inputs<'a>,
    pub backends: BTreeMap<&'a Name, BackendState<'a>>,
    /// Objects of this owner on usable backends, live or in the trash, by kind and name.
    pub by_name: HashMap<(Kind, &'a Name), OwnedObjects<'a>>,
    /// Objects of any owner on usable backends, live or in the trash, by uid.
    pub by_uid: HashMap<Uid, OwnedObject<'a>>,
    /// Uids that more than one object has, because a copy was made outside of Kiln.
    pub duplicates: HashSet<Uid>,
    /// Uids of copies, which have no owner, of objects of another pool.
    pub copied: HashSet<Uid>,
    /// Bytes of all volumes of all owners, by backend.
    pub provisioned: HashMap<&'a Name, u64>,
    /// Native names that several documents ask for.
    pub requested_twice: HashSet<RequestedName<'a>>,
    /// See [`Inventory::inside`].
    inside: OnceCell<HashMap<(&'a Name, &'a NativeName), Vec<&'a Object>>>,
    /// Ledger entries by kind and name; see [`Inventory::entered`].
    entered: OnceCell<HashMap<(Kind, &'a Name), EnteredObjects<'a>>>,
    /// Records by kind and name; see [`Inventory::recorded`].
    recorded: OnceCell<HashMap<(Kind, &'a Name), Vec<&'a ObjectRecord>>>,
}

impl<'a> Inventory<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>) -> Self {
        let backends = inputs.backends();
        let owner = &inputs.reading.specs.stack.owner;
        let all: usize = usable_backends(&backends).map(|usable| usable.observed.objects.len()).sum();
        let mut by_name: HashMap<_, OwnedObjects<'_>> = HashMap::with_capacity(all);
        let mut by_uid = HashMap::with_capacity(all);
        let (mut duplicates, mut copied) = (HashSet::new(), HashSet::new());
        let mut provisioned = HashMap::new();
        for usable in usable_backends(&backends) {
            for object in &usable.observed.objects {
                if object.place == Place::Temporary {
                    continue;
                }
                if object.kind() == Kind::Volume {
                    *provisioned.entry(usable.name).or_default() += object.size.bytes();
                }
                let Some(object) = OwnedObject::of(usable.name, object) else {
                    copied.extend(object.copy_of.as_ref().map(|identity| identity.uid));
                    continue;
                };
                let identity = object.identity;
                if by_uid.insert(identity.uid, object).is_some() {
                    duplicates.insert(identity.uid);
                }
                if identity.owner == *owner {
                    by_name.entry((identity.kind, &identity.name)).or_default().push(object);
                }
            }
        }
        let requested_twice = requested_twice(&inputs.reading.specs, &backends);
        let (inside, entered, recorded) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self {
            inputs,
            backends,
            by_name,
            by_uid,
            duplicates,
            copied,
            provisioned,
            requested_twice,
            inside,
            entered,
            recorded,
        }
    }

    pub(super) fn reading(&self) -> &'a Reading {
        self.inputs.reading
    }

    pub(super) fn specs(&self) -> &'a Specs {
        &self.reading().specs
    }

    pub(super) fn stack(&self) -> &'a Stack {
        &self.specs().stack
    }

    /// See [`Reading::place_of`].
    pub(super) fn place_of(&self, kind: Kind, name: &Name) -> String {
        self.reading().place_of(kind, name)
    }

    /// See [`Reading::place_of_field`].
    pub(super) fn place_of_field(&self, kind: Kind, name: &Name, field: PlacedField) -> String {
        self.reading().place_of_field(kind, name, field)
    }

    /// Returns a backend, if it is usable.
    pub(super) fn usable(&self, backend: &Name) -> Option<&Usable<'a>> {
        match self.backends.get(backend) {
            Some(BackendState::Usable(usable)) => Some(usable),
            Some(BackendState::Blocked(_)) | None => None,
        }
    }

    /// Returns the usable backends.
    pub(super) fn usable_backends(&self) -> impl Iterator<Item = &Usable<'a>> {
        usable_backends(&self.backends)
    }

    /// Returns this owner's ledgers.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = &'a Ledger> {
        self.usable_backends().filter_map(|usable| usable.ledger)
    }

    /// Returns this owner's ledger on a backend.
    pub(super) fn ledger(&self, backend: &Name) -> Option<&'a Ledger> {
        self.usable(backend)?.ledger
    }

    /// Returns this owner's objects of a name in a place.
    pub(super) fn find(&self, kind: Kind, name: &Name, place: Place) -> OwnedObjects<'a> {
        let all = self.by_name.get(&(kind, name)).map_or(&[][..], |objects| objects);
        all.iter().copied().filter(|object| object.place == place).collect()
    }

    /// Returns the snapshots inside of volumes of this native name, of any owner or none, live or in the trash.
    pub(super) fn inside(&self, volume: &OwnedObject<'a>) -> &[&'a Object] {
        let all = self.inside.get_or_init(|| {
            let mut inside: HashMap<(&'a Name, &'a NativeName), Vec<&'a Object>> = HashMap::new();
            for usable in self.usable_backends() {
                let observed: &'a Observed = usable.observed;
                for object in observed.objects.iter().filter(|object| object.place != Place::Temporary) {
                    if let Some(volume) = &object.parent_volume {
                        inside.entry((usable.name, volume)).or_default().push(object);
                    }
                }
            }
            inside
        });
        all.get(&(volume.backend, &volume.object.native)).map_or(&[], Vec::as_slice)
    }

    /// Returns the ledger entries of objects that must exist under this name. Called only for objects that are not live.
    pub(super) fn entered(&self, kind: Kind, name: &'a Name) -> &[EnteredObject<'a>] {
        let all = self.entered.get_or_init(|| {
            let mut entered: HashMap<_, EnteredObjects<'_>> = HashMap::new();
            for usable in self.usable_backends() {
                let ledger: Option<&'a Ledger> = usable.ledger;
                let complete = ledger
                    .into_iter()
                    .flat_map(|ledger| ledger.complete.iter().filter(|(uid, _)| !ledger.leaving.contains(uid)));
                for (uid, entry) in complete {
                    let object = EnteredObject { backend: usable.name, uid: *uid, entry };
                    entered.entry((entry.kind, &entry.name)).or_default().push(object);
                }
            }
            entered
        });
        all.get(&(kind, name)).map_or(&[], SmallVec::as_slice)
    }

    /// Returns the store's records of objects of this name. Called only for objects that are not live.
    pub(super) fn recorded(&self, kind: Kind, name: &'a Name) -> &[&'a ObjectRecord] {
        let all = self.recorded.get_or_init(|| {
            let mut recorded: HashMap<_, Vec<_>> = HashMap::new();
            let ours = |record: &&ObjectRecord| record.identity.owner == self.stack().owner;
            for record in self.inputs.records.objects.values().filter(ours) {
                recorded.entry((record.identity.kind, &record.identity.name)).or_default().push(record);
            }
            recorded
        });
        all.get(&(kind, name)).map_or(&[], Vec::as_slice)
    }

    /// Returns the state in which Kiln last settled an object: from the ledger of its pool or, if that has no entry yet, from the store and
    /// the ledgers of other pools.
    pub(super) fn settled(&self, object: &OwnedObject<'_>) -> SettledState {
        let uid = object.uid();
        match self.ledger(object.backend).and_then(|ledger| ledger.complete.get(&uid)) {
            Some(entry) => entry.into(),
            None => SettledState::without_entry(uid, self.inputs.world, self.inputs.records),
        }
    }

    /// Returns the name that an object's uid is known by: from the ledger or, if the ledger has no entry yet, from the store.
    pub(super) fn known_name(&self, object: &OwnedObject<'_>) -> Option<&'a Name> {
        let (ledger, uid) = (self.ledger(object.backend), object.uid());
        // A rename by Kiln that was interrupted before its ledger entry.
        let renamed = ledger.and_then(|ledger| ledger.renaming.get(&uid)).filter(|new| object.identity.name == **new);
        let entered = renamed.or_else(|| Some(&ledger?.complete.get(&uid)?.name));
        entered.or_else(|| self.inputs.records.objects.get(&uid).map(|record| &record.identity.name))
    }

    /// Returns the removals of the last 24 hours that count against the limits: neither approved nor restored since.
    pub(super) fn recent_removals(&self) -> Vec<&'a Removal> {
        let back = |uid: Uid| self.by_uid.get(&uid).is_some_and(|object| object.place == Place::Live);
        self.inputs.recent.iter().filter(|removal| !removal.approved && !back(removal.uid)).collect()
    }
}

/// A native name that a document asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RequestedName<'a> {
    pub backend: &'a Name,
    /// The declared volume, where the name of a snapshot is one only inside of it.
    pub volume: Option<&'a Name>,
    pub native: &'a str,
}

/// Returns the native names that documents ask for, with the kind and name of the document.
pub(super) fn requests<'a>(
    specs: &'a Specs,
    backends: &BTreeMap<&'a Name, BackendState<'a>>,
) -> impl Iterator<Item = ((Kind, &'a Name), RequestedName<'a>)> {
    let volumes = specs.volumes.values().filter_map(|spec| {
        let native = spec.object.as_deref().or(spec.adopt.as_deref())?;
        Some(((Kind::Volume, &spec.meta.name), RequestedName { backend: &spec.backend, volume: None, native }))
    });
    let nested: Vec<&Name> =
        usable_backends(backends).filter(|usable| usable.capabilities.nests_snapshots()).map(|u| u.name).collect();
    let snapshots = specs.snapshots.values().filter_map(move |spec| {
        let (native, backend) = (spec.adopt.as_deref()?, &specs.volumes.get(&spec.volume)?.backend);
        let volume = nested.contains(&backend).then_some(&spec.volume);
        Some(((Kind::Snapshot, &spec.meta.name), RequestedName { backend, volume, native }))
    });
    volumes.chain(snapshots)
}

/// Returns the native names that more than one document asks for.
fn requested_twice<'a>(
    specs: &'a Specs,
    backends: &BTreeMap<&'a Name, BackendState<'a>>,
) -> HashSet<RequestedName<'a>> {
    let mut asked = HashSet::new();
    requests(specs, backends).map(|(_, name)| name).filter(|name| !asked.insert(*name)).collect()
}

fn usable_backends<'g, 'a>(backends: &'g BTreeMap<&'a Name, BackendState<'a>>) -> impl Iterator<Item = &'g Usable<'a>> {
    backends.values().filter_map(|state| match state {
        BackendState::Usable(usable) => Some(usable),
        BackendState::Blocked(_) => None,
    })
}
