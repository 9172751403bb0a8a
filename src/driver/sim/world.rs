//! The simulated pool: its objects with their content, its ledgers and locks, and changes by other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    Clients, Identity, Kind, Ledger, LedgerView, NativeForm, NativeName, Object, Owner, Place, PoolId, Size,
    Suspension, SuspensionId, Tags, Uid, Written,
};

/// The block size in bytes. A block contains one stamp.
pub const BLOCK: u64 = 4096;

/// An object of the pool: live, incomplete or in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimObject {
    /// The size in bytes.
    pub size: Size,
    /// The tags.
    #[serde(default, skip_serializing_if = "Tags::is_plain")]
    pub tags: Tags,
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
}

fn is_empty(content: &Arc<BTreeMap<u64, u64>>) -> bool {
    content.is_empty()
}

impl SimObject {
    /// Returns an empty, thin object without tags.
    pub fn empty(size: Size) -> Self {
        Self {
            size,
            tags: Tags::default(),
            tags_unreadable: false,
            thick: false,
            content: Arc::default(),
            parent: None,
        }
    }

    /// Returns the bytes that it occupies.
    pub fn used(&self) -> u64 {
        if self.thick { self.size.bytes() } else { self.content.len() as u64 * BLOCK }
    }
}

/// Both copies of a ledger, the newest first. `None` stands for a damaged copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Copies(pub(super) Vec<Option<Ledger>>);

/// What a change replaced. Used for stale listings, and to write the change to a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Delta {
    pub(super) live: BTreeMap<NativeName, Option<Arc<SimObject>>>,
    pub(super) trash: BTreeMap<(NativeName, Uid), Option<Arc<SimObject>>>,
    pub(super) ledgers: BTreeSet<Owner>,
    pub(super) suspensions: BTreeSet<(Owner, SuspensionId)>,
    pub(super) pool: bool,
}

impl Delta {
    pub(super) fn is_empty(&self) -> bool {
        let Self { live, trash, ledgers, suspensions, pool } = self;
        live.is_empty() && trash.is_empty() && ledgers.is_empty() && suspensions.is_empty() && !pool
    }
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
    /// The content was restored.
    Restored,
    /// The tags changed.
    Tagged,
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

/// The simulated pool. Clones share content and are cheap. Two are equal if their stored state is equal: open objects, locks, events and
/// counters are not compared.
#[derive(Debug, Clone, Default)]
pub struct SimWorld {
    pub(super) pool: Option<PoolId>,
    pub(super) seed: u64,
    pub(super) capacity: Option<Size>,
    pub(super) live: BTreeMap<NativeName, Arc<SimObject>>,
    pub(super) trash: BTreeMap<(NativeName, Uid), Arc<SimObject>>,
    pub(super) ledgers: BTreeMap<Owner, Copies>,
    /// `None` is a record that cannot be read.
    pub(super) suspensions: BTreeMap<(Owner, SuspensionId), Option<Suspension>>,
    pub(super) open: BTreeMap<NativeName, Vec<String>>,
    pub(super) locks: BTreeMap<Owner, u64>,
    pub(super) next_lock: u64,
    pub(super) founded: u64,
    pub(super) events: Vec<SimEvent>,
    pub(super) delta: Delta,
    pub(super) before: Delta,
}

impl PartialEq for SimWorld {
    fn eq(&self, other: &Self) -> bool {
        // Destructured so that a new field must be considered here.
        let Self {
            pool,
            seed: _,
            capacity,
            live,
            trash,
            ledgers,
            suspensions,
            open: _,
            locks: _,
            next_lock: _,
            founded: _,
            events: _,
            delta: _,
            before: _,
        } = self;
        *pool == other.pool
            && *capacity == other.capacity
            && *live == other.live
            && *trash == other.trash
            && *ledgers == other.ledgers
            && *suspensions == other.suspensions
    }
}

/// Returns the identity of an object from its name and its tags, or why they contradict each other.
pub(super) fn identity_of(native: &NativeName, object: &SimObject) -> (Option<Identity>, Option<String>) {
    let by_name = native.parse().map(|(form, owner, name, uid)| {
        let kind = if form == NativeForm::Snapshot { Kind::Snapshot } else { Kind::Volume };
        Identity { owner, kind, name, uid }
    });
    if object.tags_unreadable {
        return (by_name, Some("its tags cannot be read".to_owned()));
    }
    match (by_name, object.tags.identity.as_deref()) {
        (Some(name), Some(tags)) if name != *tags && !is_temporary(native) => {
            let message = format!("its tags say that it is {}, which its name contradicts", tags.native());
            (Some(name), Some(message))
        }
        (Some(name), _) => (Some(name), None),
        // An object with a reserved name that is not a valid one has no identity, whatever its tags say.
        (None, _) if native.is_reserved() => (None, None),
        (None, tags) => (tags.cloned(), None),
    }
}

pub(super) fn is_temporary(native: &NativeName) -> bool {
    native.parse().is_some_and(|(form, ..)| form == NativeForm::Temporary)
}

impl SimWorld {
    /// Returns an empty pool that was never used. Its identity will be derived from the seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Returns an empty pool with a capacity.
    pub fn with_capacity(seed: u64, capacity: Size) -> Self {
        Self { capacity: Some(capacity), ..Self::new(seed) }
    }

    /// Returns the identity of the pool, if it has one.
    pub fn pool(&self) -> Option<&PoolId> {
        self.pool.as_ref()
    }

    /// Returns a live or incomplete object.
    pub fn live(&self, native: &NativeName) -> Option<&SimObject> {
        self.live.get(native).map(Arc::as_ref)
    }

    /// Returns an object in the trash.
    pub fn trashed(&self, native: &NativeName, uid: Uid) -> Option<&SimObject> {
        self.trash.get(&(native.clone(), uid)).map(Arc::as_ref)
    }

    /// Returns all live and incomplete objects, by name.
    pub fn live_objects(&self) -> impl Iterator<Item = (&NativeName, &SimObject)> {
        self.live.iter().map(|(native, object)| (native, object.as_ref()))
    }

    /// Returns all objects in the trash.
    pub fn trashed_objects(&self) -> impl Iterator<Item = (&NativeName, Uid, &SimObject)> {
        self.trash.iter().map(|((native, uid), object)| (native, *uid, object.as_ref()))
    }

    /// Returns the newest intact ledger of an owner.
    pub fn ledger(&self, owner: &Owner) -> Option<&Ledger> {
        self.ledgers.get(owner)?.0.iter().flatten().next()
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
        let object = self.live.get(native)?;
        (block < object.size.bytes() / BLOCK).then(|| object.content.get(&block).copied().unwrap_or(0))
    }

    /// Writes a stamp as a client; 0 discards the block. Returns `false` without such an object or block, for a snapshot, and without space.
    pub fn write(&mut self, native: &NativeName, block: u64, stamp: u64) -> bool {
        let Some(object) = self.live.get(native) else { return false };
        let snapshot = identity_of(native, object).0.is_some_and(|id| id.kind == Kind::Snapshot);
        let no_room = !object.thick
            && !object.content.contains_key(&block)
            && self.capacity.is_some_and(|capacity| self.used() + BLOCK > capacity.bytes());
        if snapshot || block >= object.size.bytes() / BLOCK || (stamp != 0 && no_room) {
            return false;
        }
        self.change(native, |object| {
            let content = Arc::make_mut(&mut object.content);
            match stamp {
                0 => content.remove(&block),
                _ => content.insert(block, stamp),
            };
        })
    }

    /// Opens a live object as `client`; it stays open until [`SimWorld::close`].
    pub fn open(&mut self, native: &NativeName, client: &str) -> bool {
        let there = self.live.contains_key(native);
        if there {
            self.open.entry(native.clone()).or_default().push(client.to_owned());
        }
        there
    }

    /// Closes an object for a client.
    pub fn close(&mut self, native: &NativeName, client: &str) {
        if let Some(clients) = self.open.get_mut(native) {
            clients.retain(|c| c != client);
            if clients.is_empty() {
                self.open.remove(native);
            }
        }
    }

    /// As another program: creates or replaces an object.
    pub fn make_by_hand(&mut self, native: &NativeName, object: SimObject) {
        self.put_live(native, Some(Arc::new(object)));
    }

    /// As another program: removes a live object.
    pub fn delete_by_hand(&mut self, native: &NativeName) -> bool {
        let there = self.live.contains_key(native);
        self.put_live(native, None);
        there
    }

    /// As another program: empties the trash.
    pub fn empty_trash_by_hand(&mut self) {
        for key in self.trash.keys().cloned().collect::<Vec<_>>() {
            self.put_trash(&key.0, key.1, None);
        }
    }

    /// As another program: resizes a live object; content beyond the size is lost.
    pub fn resize_by_hand(&mut self, native: &NativeName, size: Size) -> bool {
        self.change(native, |object| {
            object.size = size;
            Arc::make_mut(&mut object.content).retain(|block, _| *block < size.bytes() / BLOCK);
        })
    }

    /// As another program: renames a live object, and replaces an object of the new name.
    pub fn rename_by_hand(&mut self, from: &NativeName, to: &NativeName) -> bool {
        let Some(object) = self.live.get(from).cloned() else { return false };
        self.put_live(from, None);
        self.put_live(to, Some(object));
        true
    }

    /// As another program: changes the tags of a live object.
    pub fn retag_by_hand(&mut self, native: &NativeName, retag: impl FnOnce(&mut Tags)) -> bool {
        self.change(native, |object| retag(&mut object.tags))
    }

    /// As another program: renames an object in the trash. Returns whether there is one of this name.
    pub fn rename_trashed_by_hand(&mut self, from: &str, to: &str) -> bool {
        let renamed = |native: &NativeName| {
            let (form, owner, _, uid) = native.parse().filter(|(_, _, name, _)| name.as_str() == from)?;
            Some((NativeName::of(form, &owner, &to.parse().ok()?, uid), uid))
        };
        let found = self.trash.iter().find_map(|((native, _), o)| Some((native.clone(), renamed(native)?, o.clone())));
        let Some((old, (new, uid), object)) = found else { return false };
        self.put_trash(&old, uid, None);
        self.put_trash(&new, uid, Some(object));
        true
    }

    /// As another program: makes a clone independent of its snapshot. Returns whether there is such an object.
    pub fn detach_by_hand(&mut self, native: &NativeName) -> bool {
        self.change(native, |object| object.parent = None)
    }

    /// Damages the tags of a live object.
    pub fn damage_tags(&mut self, native: &NativeName) -> bool {
        self.change(native, |object| object.tags_unreadable = true)
    }

    /// Damages the newest copy of a ledger, or both.
    pub fn damage_ledger(&mut self, owner: &Owner, both: bool) {
        if let Some(copies) = self.ledgers.get_mut(owner) {
            let last = if both { copies.0.len() } else { 1 };
            copies.0.iter_mut().take(last).for_each(|copy| *copy = None);
            self.delta.ledgers.insert(owner.clone());
        }
    }

    /// As another program: removes both copies of a ledger.
    pub fn lose_ledger(&mut self, owner: &Owner) {
        self.ledgers.remove(owner);
        self.delta.ledgers.insert(owner.clone());
    }

    /// Makes all suspension records of an owner unreadable. Returns whether there were any.
    pub fn damage_suspensions(&mut self, owner: &Owner) -> bool {
        let keys: Vec<_> = self.suspensions.keys().filter(|(of, _)| of == owner).cloned().collect();
        keys.iter().for_each(|key| self.put_suspension(key.clone(), None));
        !keys.is_empty()
    }

    /// Returns all suspension records of an owner. `None` if one cannot be read.
    pub(super) fn suspensions_of(&self, owner: &Owner) -> Option<Vec<Suspension>> {
        self.suspensions.iter().filter(|((of, _), _)| of == owner).map(|(_, record)| record.clone()).collect()
    }

    /// Records a suspension or its end. Returns `false` if the maximum number is in force.
    pub(super) fn record_suspension(&mut self, suspension: &Suspension) -> bool {
        let key = (suspension.owner.clone(), suspension.id());
        match self.suspensions.get(&key) {
            Some(Some(there)) if there.resumed.is_some() || suspension.resumed.is_none() => return true,
            Some(_) => {}
            None => {
                let mine = || self.suspensions.iter().filter(|((of, _), _)| *of == suspension.owner);
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
        self.suspensions.insert(key.clone(), record);
        self.delta.suspensions.insert(key);
    }

    /// Changes or removes the identity of the pool, as if another pool were mounted in its place.
    pub fn swap_pool(&mut self, pool: Option<PoolId>) {
        self.pool = pool;
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
        self.live.values().chain(self.trash.values()).map(|object| object.used()).sum()
    }

    /// Returns the ledgers as observed.
    pub(super) fn ledger_views(&self) -> BTreeMap<Owner, LedgerView> {
        let damaged = || "the checksum of its newest copy does not match".to_owned();
        let view = |copies: &Copies| match copies.0.as_slice() {
            [Some(newest), ..] => LedgerView::Good(newest.clone()),
            [None, Some(older), ..] => LedgerView::Older(older.clone(), damaged()),
            _ => LedgerView::Damaged("no copy of it has a matching checksum".to_owned()),
        };
        self.ledgers.iter().map(|(owner, copies)| (owner.clone(), view(copies))).collect()
    }

    /// Returns the names of live, incomplete and trashed objects that depend on this one.
    pub(super) fn dependents(&self, uid: Uid) -> Vec<NativeName> {
        let live = self.live.iter().filter(|(_, o)| o.parent == Some(uid)).map(|(native, _)| native.clone());
        let trash = self.trash.iter().filter(|(_, o)| o.parent == Some(uid)).map(|((native, _), _)| native.clone());
        live.chain(trash).collect()
    }

    pub(super) fn describe(&self, native: &NativeName, place: Place, object: &SimObject, closely: bool) -> Object {
        let (identity, conflict) = identity_of(native, object);
        let written = match (closely, object.content.is_empty()) {
            (false, _) => Written::Unknown,
            (true, true) => Written::Never,
            (true, false) => Written::Yes,
        };
        let clients = match (closely, self.open.get(native)) {
            (false, _) => Clients::Unknown,
            (true, Some(clients)) if place != Place::Trash => Clients::Some(clients.clone()),
            (true, _) => Clients::None,
        };
        Object {
            used: Some(object.used()),
            tags: object.tags.clone(),
            conflict,
            parent: object.parent,
            clients,
            written,
            identity,
            ..Object::new(
                native.clone(),
                if place == Place::Live && is_temporary(native) { Place::Temporary } else { place },
                object.size,
            )
        }
    }

    pub(super) fn put_live(&mut self, native: &NativeName, object: Option<Arc<SimObject>>) {
        let old = match object {
            Some(object) => self.live.insert(native.clone(), object),
            None => self.live.remove(native),
        };
        // Keeps the first value that the change replaced.
        self.delta.live.entry(native.clone()).or_insert(old);
    }

    pub(super) fn put_trash(&mut self, native: &NativeName, uid: Uid, object: Option<Arc<SimObject>>) {
        let key = (native.clone(), uid);
        let old = match object {
            Some(object) => self.trash.insert(key.clone(), object),
            None => self.trash.remove(&key),
        };
        self.delta.trash.entry(key).or_insert(old);
    }

    pub(super) fn change(&mut self, native: &NativeName, change: impl FnOnce(&mut SimObject)) -> bool {
        let Some(mut object) = self.live.get(native).cloned() else { return false };
        change(Arc::make_mut(&mut object));
        self.put_live(native, Some(object));
        true
    }

    /// Ends a change: stale listings show what it replaced.
    pub(super) fn settle(&mut self) {
        if !self.delta.is_empty() {
            self.before = std::mem::take(&mut self.delta);
        }
    }

    pub(super) fn record(&mut self, uid: Uid, native: &NativeName, effect: SimEffect) {
        self.events.push(SimEvent { uid, native: native.clone(), effect });
    }
}
