//! The simulated pool: its objects with their content, its ledgers and locks, and changes by other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::copies::Copies;
use crate::model::{
    Address, Blocker, Capacity, DriverError, ErrorKind, Identity, Kind, Ledger, LedgerCommit, NativeName, Object,
    ObjectTags, Owner, Place, PoolId, Resource, Size, Suspension, SuspensionId, Uid, VolumeSettings,
};

/// The block size in bytes. A block contains one stamp.
pub const BLOCK: u64 = 4096;

/// An object of the pool: live, incomplete or in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimObject {
    /// A number that grows with every object that is made; 0: made by an earlier version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: u64,
    /// The size in bytes.
    pub size: Size,
    /// The tags.
    #[serde(default, skip_serializing_if = "ObjectTags::is_plain")]
    pub tags: ObjectTags,
    /// The settings.
    #[serde(default, skip_serializing_if = "VolumeSettings::is_plain")]
    pub settings: VolumeSettings,
    /// Whether its tags cannot be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tags_unreadable: bool,
    /// Whether all of its space is allocated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub thick: bool,
    /// The written stamps by block; all other blocks are zeroes. Shared with clones until either is written.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub content: Arc<BTreeMap<u64, u64>>,
    /// The object that this clone depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Uid>,
    /// What depends on it elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<String>,
    /// What keeps it from being changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<Box<Blocker>>,
    /// Of a snapshot of another program that is inside of no volume: the volume that it was taken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_volume: Option<Box<NativeName>>,
    /// Whether the driver knows that it made it, where it shows only such objects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// When a snapshot was created, in seconds since 1970; 0: by hand, or by an earlier version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_empty(content: &Arc<BTreeMap<u64, u64>>) -> bool {
    content.is_empty()
}

impl SimObject {
    /// Returns an empty, thin object without tags.
    pub fn empty(size: Size) -> Self {
        Self {
            id: 0,
            size,
            tags: ObjectTags::default(),
            settings: VolumeSettings::default(),
            tags_unreadable: false,
            thick: false,
            content: Arc::default(),
            parent: None,
            needed_by: Vec::new(),
            blocker: None,
            of_volume: None,
            recorded: false,
            created: 0,
        }
    }

    /// Returns its number as observed.
    pub(super) fn id(&self) -> Option<SmolStr> {
        (self.id > 0).then(|| format_smolstr!("{}", self.id))
    }

    /// Returns the bytes that it occupies.
    pub fn used(&self) -> u64 {
        if self.thick { self.size.bytes() } else { self.content.len() as u64 * BLOCK }
    }
}

/// Where an object is: its native name, the volume that it is inside of and, in the trash, its uid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SimKey {
    pub(super) native: NativeName,
    pub(super) volume: Option<NativeName>,
    pub(super) trashed: Option<Uid>,
}

impl SimKey {
    pub(super) fn new(at: Address, trashed: Option<Uid>) -> Self {
        Self { native: at.native, volume: at.parent_volume, trashed }
    }

    pub(super) fn live(native: &NativeName) -> Self {
        Self::new(Address::flat(native), None)
    }

    pub(super) fn address(&self) -> Address {
        Address { native: self.native.clone(), parent_volume: self.volume.clone() }
    }
}

/// What outlives the process if the pool is in a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SimContent {
    pub(super) pool: Option<PoolId>,
    /// Live and incomplete objects, and those in the trash.
    pub(super) objects: BTreeMap<SimKey, Arc<SimObject>>,
    pub(super) ledgers: BTreeMap<Owner, Copies>,
    /// `None` is a record that cannot be read.
    pub(super) suspensions: BTreeMap<(Owner, SuspensionId), Option<Suspension>>,
}

/// What the current change has touched so far. Used to write the change to a file, and for stale listings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Delta {
    /// The objects that were replaced; `None`: there was none.
    pub(super) objects: BTreeMap<SimKey, Option<Arc<SimObject>>>,
    /// With the changes; `None`: it is another one as a whole.
    pub(super) ledgers: BTreeMap<Owner, Option<LedgerCommit>>,
    pub(super) suspensions: BTreeSet<(Owner, SuspensionId)>,
    pub(super) pool: bool,
}

/// An effect of a driver call, for tests. (Changes by other programs are not recorded.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimEvent {
    /// The uid of the object.
    pub uid: Uid,
    /// The native name after the effect.
    pub native: NativeName,
    /// The effect.
    pub effect: SimEffect,
}

/// Kinds of effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimEffect {
    /// A volume or snapshot was published under its name.
    Created,
    /// An incomplete object was left.
    HalfMade,
    /// The size grew.
    Grown,
    /// Its space was reserved.
    Reserved,
    /// The content was restored.
    Restored,
    /// The content was restored in part.
    HalfRestored,
    /// The tags changed.
    Tagged,
    /// The settings changed.
    Configured,
    /// The native name changed.
    Renamed,
    /// Adopted.
    Adopted,
    /// Moved to the trash.
    Trashed,
    /// Restored from the trash.
    Undeleted,
    /// Destroyed or purged.
    Destroyed,
    /// An incomplete object was removed.
    Swept,
    /// Its clones were made independent.
    Detached,
}

/// The simulated pool. Clones share content and are cheap.
#[derive(Debug, Clone, Default)]
pub struct SimWorld {
    pub(super) content: SimContent,
    pub(super) seed: u64,
    pub(super) capacity: Option<Size>,
    /// Bytes of metadata, of which each object takes one block.
    pub(super) metadata: Option<Size>,
    /// The most objects.
    pub(super) most: Option<u64>,
    /// The clients that have a live object open.
    pub(super) open: BTreeMap<Address, Vec<String>>,
    /// The tokens of the writer locks of a pool in memory.
    pub(super) locks: BTreeMap<Owner, u64>,
    pub(super) next_lock: u64,
    /// The last number of an object. (In a file, the number of the newest object is used again if another process destroys it.)
    pub(super) last_id: u64,
    /// How often the pool was initialised.
    pub(super) founded: u64,
    pub(super) events: Vec<SimEvent>,
    pub(super) delta: Delta,
    /// The objects that the last change replaced.
    pub(super) before: BTreeMap<SimKey, Option<Arc<SimObject>>>,
}

/// Compares what is on the pool, and not its clients, locks, events and counters.
impl PartialEq for SimWorld {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content && self.capacity == other.capacity
    }
}

/// Enters a value in a map, or removes it. Returns the previous one.
pub(super) fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

/// Returns the identity of an object from its name and its tags, or why they contradict each other.
pub(super) fn identity_of(native: &NativeName, object: &SimObject) -> (Option<Identity>, Option<String>) {
    let by_name = Identity::of(native);
    if object.tags_unreadable {
        return (by_name, Some("its tags cannot be read".to_owned()));
    }
    match (by_name, object.tags.identity.as_deref()) {
        (Some(name), Some(tags)) if name != *tags && !native.is_temporary() => {
            let message = format!("its tags say that it is {}, which its name contradicts", tags.native());
            (Some(name), Some(message))
        }
        (Some(name), _) => (Some(name), None),
        // An object with a reserved name that is not a valid one has no identity, whatever its tags say.
        (None, _) if native.is_reserved() => (None, None),
        (None, tags) => (tags.cloned(), None),
    }
}

/// Whether an object is a snapshot: inside of a volume, of one, or by its identity.
pub(super) fn is_snapshot(key: &SimKey, object: &SimObject) -> bool {
    key.volume.is_some()
        || object.of_volume.is_some()
        || identity_of(&key.native, object).0.is_some_and(|id| id.kind == Kind::Snapshot)
}

impl SimWorld {
    /// Returns an empty pool that was never used. Its identity will be derived from the seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Returns the identity of the pool, if it has one.
    pub fn pool(&self) -> Option<&PoolId> {
        self.content.pool.as_ref()
    }

    /// Returns a live or incomplete object by its native name: the first, if several volumes have snapshots of this name.
    pub fn live(&self, native: &NativeName) -> Option<&SimObject> {
        self.get(&self.key_of(native, None)?).map(Arc::as_ref)
    }

    /// Returns a live object by its address.
    pub fn live_at(&self, at: &Address) -> Option<&SimObject> {
        self.get(&SimKey::new(at.clone(), None)).map(Arc::as_ref)
    }

    /// Returns an object in the trash.
    pub fn trashed(&self, native: &NativeName, uid: Uid) -> Option<&SimObject> {
        self.get(&self.key_of(native, Some(uid))?).map(Arc::as_ref)
    }

    /// Returns the key of the first object of a native name, inside of any volume or of none.
    fn key_of(&self, native: &NativeName, trashed: Option<Uid>) -> Option<SimKey> {
        let from = self.content.objects.range(SimKey::live(native)..).map(|(key, _)| key);
        from.take_while(|key| key.native == *native).find(|key| key.trashed == trashed).cloned()
    }

    /// Returns all live and incomplete objects, by name.
    pub fn live_objects(&self) -> impl Iterator<Item = (&NativeName, &SimObject)> {
        let objects = self.content.objects.iter();
        objects.filter(|(key, _)| key.trashed.is_none()).map(|(key, object)| (&key.native, object.as_ref()))
    }

    /// Returns the addresses of all live and incomplete objects.
    pub fn live_addresses(&self) -> Vec<Address> {
        self.content.objects.keys().filter(|key| key.trashed.is_none()).map(SimKey::address).collect()
    }

    /// Returns the addresses of all objects.
    pub fn addresses(&self) -> Vec<Address> {
        self.content.objects.keys().map(SimKey::address).collect()
    }

    /// Returns all objects in the trash.
    pub fn trashed_objects(&self) -> impl Iterator<Item = (&NativeName, Uid, &SimObject)> {
        let objects = self.content.objects.iter();
        objects.filter_map(|(key, object)| Some((&key.native, key.trashed?, object.as_ref())))
    }

    /// Returns the newest intact ledger of an owner.
    pub fn ledger(&self, owner: &Owner) -> Option<&Ledger> {
        self.content.ledgers.get(owner)?.intact()
    }

    /// Returns the effects of driver calls so far, in order.
    pub fn events(&self) -> &[SimEvent] {
        &self.events
    }

    /// Returns repeated creations and destructions of a uid. There must be none, whatever fails.
    pub fn repeated(&self) -> Vec<&SimEvent> {
        let mut seen = BTreeSet::new();
        self.events
            .iter()
            .filter(|event| matches!(event.effect, SimEffect::Created | SimEffect::Destroyed))
            .filter(|event| !seen.insert((event.uid, event.effect)))
            .collect()
    }

    /// Returns the stamp in a block of a live object, 0 if none was written. `None` if there is no such object or block.
    pub fn read(&self, native: &NativeName, block: u64) -> Option<u64> {
        let object = self.live(native)?;
        (block < object.size.bytes() / BLOCK).then(|| object.content.get(&block).copied().unwrap_or(0))
    }

    /// Writes a stamp as a client; 0 discards the block. Returns `false` without such an object or block, for a snapshot, and without space.
    pub fn write(&mut self, native: &NativeName, block: u64, stamp: u64) -> bool {
        let Some(object) = self.live(native) else { return false };
        let Some(key) = self.key_of(native, None) else { return false };
        let snapshot = is_snapshot(&key, object);
        let no_room = !object.thick
            && !object.content.contains_key(&block)
            && self.capacity.is_some_and(|capacity| self.used() + BLOCK > capacity.bytes());
        if snapshot || block >= object.size.bytes() / BLOCK || (stamp != 0 && no_room) {
            return false;
        }
        self.change(&key, |object| {
            let content = Arc::make_mut(&mut object.content);
            match stamp {
                0 => content.remove(&block),
                _ => content.insert(block, stamp),
            };
        })
    }

    /// Opens a live object as `client`; it stays open until [`SimWorld::close`].
    pub fn open(&mut self, native: &NativeName, client: &str) -> bool {
        let Some(key) = self.key_of(native, None) else { return false };
        self.open.entry(key.address()).or_default().push(client.to_owned());
        true
    }

    /// Closes an object for a client.
    pub fn close(&mut self, native: &NativeName, client: &str) {
        for (_, clients) in self.open.iter_mut().filter(|(at, _)| at.native == *native) {
            clients.retain(|c| c != client);
        }
        self.open.retain(|_, clients| !clients.is_empty());
    }

    /// As another program: creates or replaces an object.
    pub fn make_by_hand(&mut self, native: &NativeName, object: SimObject) {
        let object = self.numbered(object);
        self.put(SimKey::live(native), Some(object));
    }

    /// As another program: creates or replaces a snapshot inside of a volume.
    pub fn make_inside_by_hand(&mut self, volume: &NativeName, native: &NativeName, object: SimObject) {
        let object = self.numbered(object);
        self.put(SimKey::new(Address::inside(volume, native), None), Some(object));
    }

    /// As another program: removes a live object, with the snapshots inside of it.
    pub fn delete_by_hand(&mut self, native: &NativeName) -> bool {
        let Some(key) = self.key_of(native, None) else { return false };
        let inside: Vec<SimKey> = self.inside(&key).map(|(key, _)| key.clone()).collect();
        for key in inside.into_iter().chain([key]) {
            self.put(key, None);
        }
        true
    }

    /// As another program: changes an object in the trash.
    pub fn change_trashed_by_hand(&mut self, native: &NativeName, change: impl Fn(&mut SimObject)) {
        let trash = self.content.objects.keys().filter(|key| key.trashed.is_some() && key.native == *native);
        for key in trash.cloned().collect::<Vec<_>>() {
            self.change(&key, &change);
        }
    }

    /// As another program: empties the trash.
    pub fn empty_trash_by_hand(&mut self) {
        let trash: Vec<SimKey> = self.content.objects.keys().filter(|key| key.trashed.is_some()).cloned().collect();
        for key in trash {
            self.put(key, None);
        }
    }

    /// As another program: resizes a live object; content beyond the size is lost.
    pub fn resize_by_hand(&mut self, native: &NativeName, size: Size) -> bool {
        self.change_by_hand(native, |object| {
            object.size = size;
            Arc::make_mut(&mut object.content).retain(|block, _| *block < size.bytes() / BLOCK);
        })
    }

    /// As another program: renames a live object, and replaces an object of the new name.
    pub fn rename_by_hand(&mut self, from: &NativeName, to: &NativeName) -> bool {
        let Some(key) = self.key_of(from, None) else { return false };
        self.put(SimKey { native: to.clone(), ..key.clone() }, None);
        self.rename(&key, to);
        true
    }

    /// As another program: changes a live object. Returns whether it exists.
    pub fn change_by_hand(&mut self, native: &NativeName, change: impl FnOnce(&mut SimObject)) -> bool {
        self.key_of(native, None).is_some_and(|key| self.change(&key, change))
    }

    /// As another program: renames an object in the trash. Returns whether there is one of this name.
    pub fn rename_trashed_by_hand(&mut self, from: &str, to: &str) -> bool {
        let renamed = |native: &NativeName| {
            let (form, owner, _, uid) = native.parse().filter(|(_, _, name, _)| name.as_str() == from)?;
            Some(NativeName::of(form, &owner, &to.parse().ok()?, uid))
        };
        let mut trash = self.content.objects.keys().filter(|key| key.trashed.is_some());
        let Some((key, new)) = trash.find_map(|key| Some((key.clone(), renamed(&key.native)?))) else { return false };
        self.rename(&key, &new);
        true
    }

    /// Replaces a ledger. The previous copy is kept if it is intact, or else the one before it.
    pub(super) fn replace_ledger(&mut self, ledger: Ledger) -> Result<(), DriverError> {
        let newest = self.ledger(&ledger.owner);
        if newest == Some(&ledger) {
            return Ok(());
        }
        if newest.is_some_and(|newest| newest.serial >= ledger.serial) {
            return Err(DriverError::before(ErrorKind::Conflict, "the pool has a newer ledger"));
        }
        self.put_ledger(ledger);
        Ok(())
    }

    /// Changes the newest copy of a ledger, which must be intact, and keeps it as it was.
    pub(super) fn change_ledger(&mut self, commit: &LedgerCommit) -> Result<(), DriverError> {
        let copies = self.content.ledgers.get_mut(&commit.owner);
        let before = copies.as_ref().and_then(|copies| copies.intact()).map(|ledger| ledger.serial);
        if !copies.is_some_and(|copies| copies.change(commit)) {
            let why = format!("the pool does not have the ledger of serial {}, intact", commit.from);
            return Err(DriverError::before(ErrorKind::Conflict, why));
        }
        if before != Some(commit.to) {
            let whole = self.delta.ledgers.contains_key(&commit.owner);
            self.delta.ledgers.insert(commit.owner.clone(), (!whole).then(|| commit.clone()));
        }
        Ok(())
    }

    fn put_ledger(&mut self, ledger: Ledger) {
        let owner = ledger.owner.clone();
        let before = self.content.ledgers.remove(&owner);
        self.content.ledgers.insert(owner.clone(), Copies::after(before, ledger));
        self.delta.ledgers.insert(owner, None);
    }

    /// Damages the newest copy of a ledger, or both.
    pub fn damage_ledger(&mut self, owner: &Owner, both: bool) {
        if let Some(copies) = self.content.ledgers.get_mut(owner) {
            copies.damage(both);
            self.delta.ledgers.insert(owner.clone(), None);
        }
    }

    /// As another program: removes both copies of a ledger.
    pub fn lose_ledger(&mut self, owner: &Owner) {
        if self.content.ledgers.remove(owner).is_some() {
            self.delta.ledgers.insert(owner.clone(), None);
        }
    }

    /// Makes all suspension records of an owner unreadable. Returns whether there were any.
    pub fn damage_suspensions(&mut self, owner: &Owner) -> bool {
        let keys: Vec<_> = self.content.suspensions.keys().filter(|(of, _)| of == owner).cloned().collect();
        keys.iter().for_each(|key| self.put_suspension(key.clone(), None));
        !keys.is_empty()
    }

    /// Returns all suspension records of an owner. `None` if one cannot be read.
    pub(super) fn suspensions_of(&self, owner: &Owner) -> Option<Vec<Suspension>> {
        self.content.suspensions.iter().filter(|((of, _), _)| of == owner).map(|(_, record)| record.clone()).collect()
    }

    /// Records a suspension or its end. Returns `false` if the maximum number is in force.
    pub(super) fn record_suspension(&mut self, suspension: &Suspension) -> bool {
        let key = (suspension.owner.clone(), suspension.id());
        match self.content.suspensions.get(&key) {
            Some(Some(there)) if there.resumed.is_some() || suspension.resumed.is_none() => return true,
            Some(_) => {}
            None => {
                let mine = || self.content.suspensions.iter().filter(|((of, _), _)| *of == suspension.owner);
                let in_force = mine().filter(|(_, one)| one.as_ref().is_none_or(|one| one.resumed.is_none())).count();
                if suspension.resumed.is_none() && in_force >= Suspension::MOST {
                    return false;
                }
            }
        }
        self.put_suspension(key, Some(Suspension { id: Some(suspension.id()), ..suspension.clone() }));
        true
    }

    fn put_suspension(&mut self, key: (Owner, SuspensionId), record: Option<Suspension>) {
        self.content.suspensions.insert(key.clone(), record);
        self.delta.suspensions.insert(key);
    }

    /// Changes or removes the identity of the pool, as if another pool were mounted in its place.
    pub fn swap_pool(&mut self, pool: Option<PoolId>) {
        self.content.pool = pool;
        self.delta.pool = true;
    }

    /// Takes over the writer lock of an owner. Its previous holder notices at its next check.
    pub fn steal_lock(&mut self, owner: &Owner) -> u64 {
        self.next_lock += 1;
        self.locks.insert(owner.clone(), self.next_lock);
        self.next_lock
    }

    /// Returns the used bytes.
    pub fn used(&self) -> u64 {
        self.content.objects.values().map(|object| object.used()).sum()
    }

    /// Returns the capacities that are limited.
    pub(super) fn capacities(&self) -> Vec<Capacity> {
        let objects = self.content.objects.len() as u64;
        let data = self.capacity.map(|total| Capacity::data(total.bytes(), self.used()));
        let metadata = self.metadata.map(|total| Capacity {
            resource: Resource::Metadata,
            total: total.bytes(),
            used: objects * BLOCK,
            per_object: BLOCK,
        });
        let entries =
            self.most.map(|total| Capacity { resource: Resource::Objects, total, used: objects, per_object: 1 });
        data.into_iter().chain(metadata).chain(entries).collect()
    }

    /// Whether the driver has a record of an object.
    pub(super) fn has_record(&self, object: &Object) -> bool {
        let trashed = object.uid().filter(|_| object.place == Place::Trash);
        self.get(&SimKey::new(object.address(), trashed)).is_some_and(|object| object.recorded)
    }

    /// Returns the keys of the objects that depend on this one.
    pub(super) fn dependents(&self, uid: Uid) -> Vec<SimKey> {
        let needing = self.content.objects.iter().filter(|(_, object)| object.parent == Some(uid));
        needing.map(|(key, _)| key.clone()).collect()
    }

    /// Returns the snapshots inside of a volume. Those that went to the trash while it was live, or with it, are among them.
    pub(super) fn inside(&self, volume: &SimKey) -> impl Iterator<Item = (&SimKey, &Arc<SimObject>)> {
        let of = self.get(volume).and_then(|object| identity_of(&volume.native, object).0).map(|id| id.uid);
        let (native, is_live) = (volume.native.clone(), volume.trashed.is_none());
        self.content.objects.iter().filter(move |(key, object)| {
            // In the trash, another volume may have had this name.
            let is_its = if key.trashed.is_some() { object.tags.volume == of } else { is_live };
            key.volume.as_ref() == Some(&native) && is_its
        })
    }

    /// Renames an object, with the snapshots inside of it and their clients.
    pub(super) fn rename(&mut self, from: &SimKey, to: &NativeName) {
        let inside =
            self.inside(from).map(|(key, _)| (key.clone(), SimKey { volume: Some(to.clone()), ..key.clone() }));
        let mut moves: Vec<(SimKey, SimKey)> = inside.collect();
        moves.push((from.clone(), SimKey { native: to.clone(), ..from.clone() }));
        for (old, new) in moves {
            let object = self.put(old.clone(), None);
            // Clients have the object open, not its name.
            if let Some(clients) = self.open.remove(&old.address()).filter(|_| old.trashed.is_none()) {
                self.open.insert(new.address(), clients);
            }
            self.put(new, object);
        }
        let of_it = self.content.objects.iter().filter(|(_, object)| object.of_volume.as_deref() == Some(&from.native));
        for key in of_it.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.change(&key, |object| object.of_volume = Some(Box::new(to.clone())));
        }
    }

    /// Makes the numbers of new objects larger than those that were read from a file.
    pub(super) fn know_ids(&mut self) {
        let newest = self.content.objects.values().map(|object| object.id).max();
        self.last_id = self.last_id.max(newest.unwrap_or(0));
    }

    /// Returns a new object with a number of its own.
    pub(super) fn numbered(&mut self, object: SimObject) -> SimObject {
        self.last_id += 1;
        SimObject { id: self.last_id, ..object }
    }

    pub(super) fn get(&self, key: &SimKey) -> Option<&Arc<SimObject>> {
        self.content.objects.get(key)
    }

    /// Enters an object, or removes it. Returns the previous one.
    pub(super) fn put(&mut self, key: SimKey, object: Option<SimObject>) -> Option<SimObject> {
        let old = put(&mut self.content.objects, key.clone(), object.map(Arc::new));
        let previous = old.as_deref().cloned();
        // Keeps the first value that the change replaced.
        self.delta.objects.entry(key).or_insert(old);
        previous
    }

    /// Changes an object. Returns whether it exists.
    pub(super) fn change(&mut self, key: &SimKey, change: impl FnOnce(&mut SimObject)) -> bool {
        let Some(mut object) = self.get(key).map(|object| SimObject::clone(object)) else { return false };
        change(&mut object);
        self.put(key.clone(), Some(object));
        true
    }

    /// Ends a change: stale listings show what it replaced.
    pub(super) fn settle(&mut self) {
        if self.delta != Delta::default() {
            self.before = std::mem::take(&mut self.delta).objects;
        }
    }

    pub(super) fn record(&mut self, uid: Uid, native: &NativeName, effect: SimEffect) {
        self.events.push(SimEvent { uid, native: native.clone(), effect });
    }
}
