//! What the store keeps. The store can be lost: the ledgers and the names of objects hold what is essential.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Address, Identity, Kind, Ledger, Name, NativeName, Object, ObjectTags, Owner, Place, PoolId, Provisioning, Size,
    Step, Suspension, Tags, Uid, VolumeSettings,
};

/// Everything that the planner reads from the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Records {
    /// By the name of the Backend.
    pub backends: BTreeMap<Name, BackendRecord>,
    /// By uid.
    pub objects: BTreeMap<Uid, ObjectRecord>,
    /// By [`Suspension::key`]: the suspensions last observed on the pools, and those still to be written to unreachable pools.
    #[serde(default)]
    pub suspensions: BTreeMap<String, Suspension>,
}

impl Records {
    /// Returns the record of a Backend: by its name, by the pool observed there (for a renamed Backend), or by its place.
    pub fn of_backend(&self, name: &Name, place: &str, observed: Option<&PoolId>) -> Option<&BackendRecord> {
        let same_pool = self.backends.values().find(|record| Some(&record.pool) == observed);
        // A pool in memory has no place to find it at again.
        let same_place = || self.backends.values().find(|record| record.place == place && place != "memory");
        self.backends.get(name).or(same_pool).or_else(same_place)
    }

    /// Returns the records of a pool, under all names of its Backend: renaming a Backend does not change its pool.
    pub fn of_pool<'r>(&'r self, pool: &'r PoolId) -> impl Iterator<Item = (&'r Name, &'r BackendRecord)> {
        self.backends.iter().filter(move |(_, record)| record.pool == *pool)
    }
}

/// A Backend as it was last observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// Where its pool was, for people (a path).
    pub place: String,
    /// The pool observed there.
    pub pool: PoolId,
    /// The owner whose manifests declared it.
    pub owner: Owner,
    /// When it was last observed, in seconds since 1970.
    pub observed_at: u64,
    /// The ledger as last written: used if both copies on the pool are damaged.
    pub ledger: Option<Ledger>,
}

/// An object as it was last reconciled, and as it was last observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredRecord", into = "StoredRecord")]
pub struct ObjectRecord {
    /// Its identity.
    pub identity: Identity,
    /// The Backend it is on.
    pub backend: Name,
    /// Its native name.
    pub native: NativeName,
    /// Its size when it was last reconciled. Another observed size is drift.
    pub size: Size,
    /// Its tags when it was last reconciled.
    pub tags: ObjectTags,
    /// Its settings when it was last reconciled.
    pub settings: VolumeSettings,
    /// Its last observation, in as far as it differs from the fields above.
    seen: LastSeen,
    /// When it was last observed, in seconds since 1970.
    pub seen_at: u64,
}

/// The last observation of a recorded object. There may be 100,000, and nearly all are as they were reconciled.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LastSeen {
    /// It was absent.
    Absent,
    /// It was as recorded, and nothing else was observed of it.
    AsRecorded { place: Place, used: Option<u64>, created: Option<u64>, expires: Option<u64> },
    /// It was this object.
    Otherwise(Box<Object>),
}

/// What a record shows of the last observation of an object.
#[derive(Debug, Clone, Copy)]
pub struct SeenObject<'a> {
    /// Its uid, if it had an owner.
    pub uid: Option<Uid>,
    /// Its native name.
    pub native: &'a NativeName,
    /// The native name of the volume that it was inside of.
    pub parent_volume: Option<&'a NativeName>,
    /// Where it was.
    pub place: Place,
    /// Its size.
    pub size: Size,
    /// The bytes that it occupied, if known.
    pub used: Option<u64>,
    /// When a snapshot was created, in seconds since 1970, if known.
    pub created: Option<u64>,
    /// Its tags, but for the time until when it was in the trash.
    pub tags: &'a Tags,
    /// Its settings.
    pub settings: &'a VolumeSettings,
    /// Whether all of its space was reserved, if the backend showed it.
    pub provisioning: Option<Provisioning>,
    /// In the trash: when it may be purged.
    pub expires: Option<u64>,
}

impl<'a> From<&'a Object> for SeenObject<'a> {
    fn from(object: &'a Object) -> Self {
        let Object { native, place, size, used, created, provisioning, tags, settings, .. } = object;
        let (place, size, used, created, provisioning) = (*place, *size, *used, *created, *provisioning);
        let (uid, expires, parent_volume) = (object.uid(), tags.expires, object.parent_volume.as_ref());
        Self { uid, native, parent_volume, place, size, used, created, tags, settings, provisioning, expires }
    }
}

impl SeenObject<'_> {
    /// Returns what the backend found it by.
    pub fn address(&self) -> Address {
        Address { native: self.native.clone(), parent_volume: self.parent_volume.cloned() }
    }
}

impl ObjectRecord {
    /// Returns what the backend found the object by when it was last observed.
    pub fn address(&self) -> Address {
        let parent_volume = self.seen().and_then(|seen| seen.parent_volume.cloned());
        Address { native: self.native.clone(), parent_volume }
    }

    /// Returns the record of an object as it is observed.
    pub fn of(identity: Identity, backend: Name, object: &Object, seen_at: u64) -> Self {
        let tags = object.tags.lasting();
        let settled = (object.native.clone(), object.size, tags, object.settings.clone());
        Self::new(identity, backend, settled, Some(object), seen_at)
    }

    /// Returns the record of an object that was reconciled with this native name, size, tags and settings, and was last observed as
    /// `seen`; `None`: it was absent.
    pub fn new(
        identity: Identity,
        backend: Name,
        (native, size, tags, settings): (NativeName, Size, Tags, VolumeSettings),
        seen: Option<&Object>,
        seen_at: u64,
    ) -> Self {
        let tags = tags.into();
        Self { identity, backend, native, size, tags, settings, seen: LastSeen::Absent, seen_at }.with_seen(seen)
    }

    /// Returns this record with another last observation.
    #[must_use]
    pub fn with_seen(mut self, seen: Option<&Object>) -> Self {
        self.seen = LastSeen::Absent;
        if let Some(object) = seen {
            let Object { place, used, created, tags, .. } = object;
            self.seen = LastSeen::AsRecorded { place: *place, used: *used, created: *created, expires: tags.expires };
            // The tags say whether it is thick; what blocks it is of now.
            let without_id = Object { id: None, provisioning: None, blocker: None, ..object.clone() };
            if self.seen_object().as_ref() != Some(&without_id) {
                self.seen = LastSeen::Otherwise(Box::new(without_id));
            }
        }
        self
    }

    /// Returns its last observation; `None`: it was absent.
    pub fn seen(&self) -> Option<SeenObject<'_>> {
        match &self.seen {
            LastSeen::Absent => None,
            LastSeen::AsRecorded { place, used, created, expires } => Some(SeenObject {
                uid: Some(self.identity.uid),
                native: &self.native,
                parent_volume: None,
                place: *place,
                size: self.size,
                used: *used,
                created: *created,
                tags: &self.tags,
                settings: &self.settings,
                provisioning: None,
                expires: *expires,
            }),
            LastSeen::Otherwise(object) => Some(SeenObject::from(&**object)),
        }
    }

    /// Whether it was live when it was last observed.
    pub fn was_live(&self) -> bool {
        self.seen().is_some_and(|seen| seen.place == Place::Live)
    }

    /// Returns the object as it was last observed, with everything that was observed of it.
    pub fn seen_object(&self) -> Option<Object> {
        match &self.seen {
            LastSeen::Absent => None,
            LastSeen::AsRecorded { place, used, created, expires } => Some(Object {
                used: *used,
                created: *created,
                tags: Tags { expires: *expires, ..Tags::clone(&self.tags) }.into(),
                settings: self.settings.clone(),
                identity: Some(self.identity.clone()),
                ..Object::new(self.native.clone(), *place, self.size)
            }),
            LastSeen::Otherwise(object) => Some(Object::clone(object)),
        }
    }
}

/// A record as the store has it: with the whole object, as in every version.
#[derive(Serialize, Deserialize)]
struct StoredRecord {
    identity: Identity,
    backend: Name,
    native: NativeName,
    size: Size,
    tags: Tags,
    #[serde(default, skip_serializing_if = "VolumeSettings::is_plain")]
    settings: VolumeSettings,
    seen: Option<Object>,
    seen_at: u64,
}

impl From<StoredRecord> for ObjectRecord {
    fn from(stored: StoredRecord) -> Self {
        let StoredRecord { identity, backend, native, size, tags, settings, seen, seen_at } = stored;
        Self::new(identity, backend, (native, size, tags, settings), seen.as_ref(), seen_at)
    }
}

impl From<ObjectRecord> for StoredRecord {
    fn from(record: ObjectRecord) -> Self {
        let seen = record.seen_object();
        let ObjectRecord { identity, backend, native, size, tags, settings, seen: _, seen_at } = record;
        Self { identity, backend, native, size, tags: tags.into(), settings, seen, seen_at }
    }
}

/// The number of an intent; it grows with each one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(pub u64);

/// A step that is about to be executed or is being executed. One that is left from an earlier process means a crash: the backend must be
/// observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIntent {
    /// Its number.
    pub id: IntentId,
    /// The step.
    pub step: Step,
    /// When it was opened, in seconds since 1970.
    pub at: u64,
}
impl Records {
    /// Returns the record of an object by name, on any Backend. Of several, the last observed.
    pub fn find(&self, owner: &Owner, kind: Kind, name: &Name) -> Option<&ObjectRecord> {
        self.objects
            .values()
            .filter(|r| r.identity.owner == *owner && r.identity.kind == kind && r.identity.name == *name)
            .max_by_key(|r| r.seen_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{name, volume};

    /// A record takes little memory where nothing differs, and loses nothing where something does.
    #[test]
    fn a_record_shows_an_object_as_it_was_last_observed() {
        let (identity, size) = (volume("db"), Size(4096));
        let plain = Object { used: Some(1), created: Some(2), ..Object::of(identity.clone(), Place::Live, size) };
        let last = || (plain.native.clone(), size, Tags::default(), VolumeSettings::default());
        let others: [fn(&mut Object); 8] = [
            |_| {},
            |object| object.place = Place::Trash,
            |object| object.tags.expires = Some(9),
            |object| object.size = Size(8192),
            |object| object.tags.protected = true,
            |object| object.native = NativeName::new("moved"),
            |object| object.clients = super::super::Clients::None,
            |object| object.settings.encrypted = true,
        ];
        for (index, change) in others.into_iter().enumerate() {
            let mut object = plain.clone();
            change(&mut object);
            let record = ObjectRecord::new(identity.clone(), name("fast"), last(), Some(&object), 1);
            assert_eq!(matches!(record.seen, LastSeen::Otherwise(_)), index > 2, "{object:?}");
            assert_eq!(record.seen_object(), Some(object.clone()));
            let seen = record.seen().unwrap();
            assert_eq!((seen.place, seen.size, seen.native), (object.place, object.size, &object.native));
            assert_eq!((seen.used, seen.created, seen.expires), (object.used, object.created, object.tags.expires));
            assert_eq!((seen.uid, seen.tags.protected), (Some(identity.uid), object.tags.protected));
            let json = serde_json::to_value(&record).unwrap();
            assert_eq!(json["seen"], serde_json::to_value(&object).unwrap(), "stored as in every version");
            assert_eq!(serde_json::from_value::<ObjectRecord>(json).unwrap(), record);
        }
        let absent = ObjectRecord::new(identity, name("fast"), last(), None, 1);
        assert!(absent.seen().is_none() && absent.seen_object().is_none() && !absent.was_live());
    }
}
