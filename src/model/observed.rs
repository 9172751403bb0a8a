//! What a driver reports about a backend, including what it could not observe.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::table::choices;
use super::{
    Address, Identity, Kind, LedgerView, Name, NativeName, ObjectTags, Owner, PoolId, Provisioning, Size, Uid,
    VolumeSettings,
};

/// What to observe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Everything on the pool, in the cheapest listing, and the ledger of this owner. Clients are not observed.
    All {
        /// Whose ledger is read.
        owner: Owner,
    },
    /// Only the objects at these addresses, live, in the trash and incomplete, with their clients and whether they contain data. See
    /// [`Observed::queried`].
    Objects(Vec<Address>),
}

/// One observation of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The identity of the pool, generated on first use. `None`: Kiln has never written here, or its identity file is gone.
    pub pool: Option<PoolId>,
    /// Which lists are complete. An object that is missing from an incomplete list is Unknown, not absent. An observation by name has no
    /// list.
    pub listed: Listed,
    /// The addresses that were asked for by name, and for which the backend answered: whatever is there is among the objects. Where absence
    /// is proven by the ledger (`Absence::ByLedger`), Kiln itself answers: with the addresses of objects that are shown, and with those at
    /// which neither the ledger nor the store knows of an object.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub queried: BTreeSet<Address>,
    /// One sentence for each thing that could not be observed.
    pub gaps: Vec<String>,
    /// All objects, of this owner, of other owners and without owner, sorted by [`Address`], then place.
    pub objects: Vec<Object>,
    /// The ledger of the owner who asked.
    pub ledger: Option<LedgerView>,
    /// Every owner that has a ledger on this pool. Of few objects only, an observation has no ledger and no owners.
    pub owners: BTreeSet<Owner>,
    /// The ledgers of other owners, if they were asked for too: where no Stack is declared, they say whose document is missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<Owner, LedgerView>,
    /// The capacities that are known, at most one of each resource.
    pub capacities: Vec<Capacity>,
    /// Owners whose writer lock was held during the observation. Their temporary objects are being created.
    pub locked: Vec<Owner>,
    /// For each owner, the other live processes on this host that are known to have written to the pool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub writers: BTreeMap<Owner, Vec<Writer>>,
}

/// A live process that has written to a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Its process id on this host.
    pub pid: u32,
    /// Its command line, truncated; empty if it cannot be read.
    pub command: String,
}

impl Observed {
    /// Returns the observation of an empty place.
    pub fn nothing_in(scope: &Scope) -> Self {
        match scope {
            Scope::All { .. } => Self::nothing(),
            Scope::Objects(asked) => {
                Self { listed: Listed::NONE, queried: asked.iter().cloned().collect(), ..Self::nothing() }
            }
        }
    }

    /// Returns the complete observation of an empty place.
    pub fn nothing() -> Self {
        Self {
            pool: None,
            listed: Listed::COMPLETE,
            queried: BTreeSet::new(),
            gaps: Vec::new(),
            objects: Vec::new(),
            ledger: None,
            owners: BTreeSet::new(),
            others: BTreeMap::new(),
            capacities: Vec::new(),
            locked: Vec::new(),
            writers: BTreeMap::new(),
        }
    }
}

impl Observed {
    /// Whether an object of this kind at this address is proven absent, if it is not among the objects: a complete list lacks it, or it
    /// was asked for by name.
    pub fn proves_absence(&self, kind: Kind, at: &Address) -> bool {
        self.proves_gone(kind, std::slice::from_ref(at))
    }

    /// Whether an object of this kind is proven to be nowhere on the pool, if it is not among the objects. `known`: every address at which
    /// it can be; if none is known, only a complete list proves it.
    pub fn proves_gone(&self, kind: Kind, known: &[Address]) -> bool {
        let asked = || !known.is_empty() && known.iter().all(|at| self.queried.contains(at));
        self.listed.has_all(kind) || asked()
    }

    /// Whether every object of the pool is among the objects.
    pub fn lists_all(&self) -> bool {
        self.listed == Listed::COMPLETE
    }

    /// Adds the answers of an observation by name, which is later.
    pub fn add(&mut self, answers: Observed) {
        let Observed { queried, gaps, objects, .. } = answers;
        let shown: BTreeSet<(Address, Place)> = objects.iter().map(|object| (object.address(), object.place)).collect();
        self.objects.retain(|object| {
            let at = object.address();
            !queried.contains(&at) && !shown.contains(&(at, object.place))
        });
        self.objects.extend(objects);
        self.objects
            .sort_by(|a, b| (&a.native, &a.parent_volume, a.place).cmp(&(&b.native, &b.parent_volume, b.place)));
        self.queried.extend(queried);
        self.gaps.extend(gaps);
    }

    /// Returns the capacity of a resource, if it is known.
    pub fn capacity(&self, resource: Resource) -> Option<Capacity> {
        self.capacities.iter().copied().find(|capacity| capacity.resource == resource)
    }

    /// Removes what does not show whether space is reserved, on a backend that does not count it.
    #[must_use]
    pub fn without_provisioning(mut self) -> Self {
        self.objects.iter_mut().for_each(|object| object.provisioning = None);
        self
    }
}

/// Which lists of a report are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Live volumes.
    pub volumes: bool,
    /// Live snapshots.
    pub snapshots: bool,
    /// The trash.
    pub trash: bool,
}

impl Listed {
    /// All lists are complete.
    pub const COMPLETE: Listed = Listed { volumes: true, snapshots: true, trash: true };

    /// No list is complete.
    pub const NONE: Listed = Listed { volumes: false, snapshots: false, trash: false };

    /// Whether every object of this kind is listed, live or in the trash.
    fn has_all(self, kind: Kind) -> bool {
        match kind {
            Kind::Snapshot => self.snapshots && self.trash,
            Kind::Volume | Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => {
                self.volumes && self.trash
            }
        }
    }
}

/// How much of a resource a backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// The resource.
    pub resource: Resource,
    /// All of it, in the unit of the resource.
    pub total: u64,
    /// The used part, by Kiln and others.
    pub used: u64,
    /// What each new object takes, whatever its size.
    pub per_object: u64,
}

choices! {
    /// What a backend can run out of.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Resource("Resource") {
        /// Bytes of content.
        "data" => Data,
        /// Bytes in which the backend keeps where the content is.
        "metadata" => Metadata,
        /// Entries for objects.
        "objects" => Objects,
        /// Inodes of a file system.
        "inodes" => Inodes,
    }
}

impl Resource {
    /// Whether it is measured in bytes. Of these a part is kept free (`maxFill`); others can be used up.
    pub fn is_bytes(self) -> bool {
        match self {
            Self::Data | Self::Metadata => true,
            Self::Objects | Self::Inodes => false,
        }
    }
}

impl Capacity {
    /// Returns the bytes of content of a backend.
    pub fn data(total: u64, used: u64) -> Self {
        Self { resource: Resource::Data, total, used, per_object: 0 }
    }

    /// Returns how many more objects there is room for, whatever their sizes. `None`: an object takes nothing of it.
    pub fn more_objects(&self) -> Option<u64> {
        self.total.saturating_sub(self.used).checked_div(self.per_object)
    }
}

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// In use under its name.
    Live,
    /// In the trash.
    Trash,
    /// Incomplete, under a `kiln-tmp` name.
    Temporary,
}

/// Which clients of an object a backend shows. A client that it does show is one everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ClientVisibility {
    /// All: if it shows none, there is none.
    #[default]
    All,
    /// Those on this host.
    Host,
    /// Perhaps some; their absence proves nothing.
    None,
}

/// The clients that have an object open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clients {
    /// Not observed, as in a listing. In a report on named objects: they cannot be seen.
    Unknown,
    /// None that the backend reports.
    None,
    /// These clients.
    Some(Vec<String>),
}

/// Whether clients have written to an object since Kiln created it, as far as the backend reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Written {
    /// Not observed, as in a listing.
    #[default]
    Unknown,
    /// Never: the object contains only holes and reserved space.
    Never,
    /// The object contains data, or the backend cannot tell.
    Yes,
}

impl Written {
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// What keeps an object from being changed on its backend. Becomes Held(Blocked).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// The kind of obstacle.
    pub reason: BlockerReason,
    /// The obstacle, as a sentence about the object that begins with "it".
    pub message: String,
}

choices! {
    /// Kinds of obstacles to a change of an object.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum BlockerReason("BlockerReason") {
        /// It is mirrored to another cluster, or from one.
        "Mirrored" => Mirrored,
        /// It belongs to a group, which can only be changed as a whole.
        "InGroup" => InGroup,
        /// Another program has locked it.
        "Locked" => Locked,
        /// It is being moved.
        "Migrating" => Migrating,
    }
}

impl Blocker {
    /// Returns what ends it.
    pub fn fix(&self) -> &'static str {
        match self.reason {
            BlockerReason::Mirrored => "end the mirroring of it on its backend, then run `kiln apply`",
            BlockerReason::InGroup => "remove it from the group on its backend, then run `kiln apply`",
            BlockerReason::Locked => "release the lock on its backend, then run `kiln apply`",
            BlockerReason::Migrating => {
                "wait until it has been moved, or end that on its backend, then run `kiln apply`"
            }
        }
    }
}

/// One object on a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its native name.
    pub native: NativeName,
    /// The native name of the volume that it is inside of, for a snapshot on a backend that nests them. Names of such snapshots are
    /// unique only within their volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_volume: Option<NativeName>,
    /// What the backend tells it apart by from another object that has or had its name (an image id, an inode with its birth time), if
    /// it does. Compared between an observation and the steps that are planned from it, and not recorded: in a pool that was copied or
    /// restored every object has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SmolStr>,
    /// Where it is.
    pub place: Place,
    /// Its identity, from its native name, or from its tags if the native name is its own. `None`: it has no owner (foreign). For a temporary
    /// object the kind is always Volume.
    pub identity: Option<Identity>,
    /// Whether it is a volume or a snapshot, if it has no owner: see [`Object::kind`].
    #[serde(default = "volume", skip_serializing_if = "is_volume")]
    pub unowned_kind: Kind,
    /// Of a snapshot that is inside of no volume, and has no owner: the native name of the volume that it was taken of, as far as the
    /// backend shows it. (Boxed, because it is rare.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_volume: Option<Box<NativeName>>,
    /// The identity that it would have, if it is a copy of an object on another pool: it has no owner then. Set by the planner, never by a
    /// driver. (Boxed, because it is rare.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<Box<Identity>>,
    /// Its size in bytes, as a client sees it.
    pub size: Size,
    /// The bytes that it occupies on the backend, if that is cheap to observe.
    pub used: Option<u64>,
    /// When a snapshot was created, in seconds since 1970, if the backend reports it. `None` for other objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// Whether all of its space is reserved (thick) or not (thin), for a volume whose backend shows it. Where the space of a thin volume
    /// becomes as large by writing, a volume that is not tagged as thick is never shown as thick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Provisioning>,
    /// Its tags.
    pub tags: ObjectTags,
    /// Its settings.
    #[serde(default, skip_serializing_if = "VolumeSettings::is_plain")]
    pub settings: VolumeSettings,
    /// Why it is inconsistent, in one sentence: its tags cannot be read or contradict its name, or its files are not as Kiln makes them.
    /// Becomes Held(Conflict): no step changes the object.
    pub conflict: Option<String>,
    /// What keeps it from being changed on its backend. It is consistent, and can be read and copied. (Boxed, because it is rare.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<Box<Blocker>>,
    /// Whether a rename of it was interrupted: it has its new native name, and [`Action::Rename`](super::Action) in place completes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// The object that this clone depends on, on backends where clones depend on their source.
    pub parent: Option<Uid>,
    /// What depends on it and is not among this backend's objects, one description each: a clone in another pool, or one of another
    /// program.
    #[serde(default, rename = "neededBy", skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<String>,
    /// The clients that have it open.
    pub clients: Clients,
    /// The image format (`qcow2`, `vmdk`, …) whose header the content of an object without owner starts with: it is not a raw disk then.
    /// Known only after this object was observed by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Whether it contains data. Never Unknown in a report on named objects.
    #[serde(default, skip_serializing_if = "Written::is_unknown")]
    pub written: Written,
}

fn volume() -> Kind {
    Kind::Volume
}

fn is_volume(kind: &Kind) -> bool {
    *kind == Kind::Volume
}

#[cfg(test)]
thread_local! {
    /// Number of comparisons with an object on this thread.
    pub(crate) static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Object {
    /// Returns why no document can adopt it, whatever its name and its owner are, in one sentence.
    pub fn why_not_adopted(&self) -> Option<String> {
        let image =
            || self.image.as_ref().map(|format| format!("it holds an image of the format {format}, not a raw disk"));
        self.conflict.clone().or_else(image)
    }

    /// Returns an object without owner, of which nothing else was observed.
    pub fn new(native: NativeName, place: Place, size: Size) -> Self {
        Self {
            native,
            parent_volume: None,
            id: None,
            place,
            identity: None,
            unowned_kind: Kind::Volume,
            of_volume: None,
            copy_of: None,
            size,
            used: None,
            created: None,
            provisioning: None,
            tags: ObjectTags::default(),
            settings: VolumeSettings::default(),
            conflict: None,
            blocker: None,
            unfinished: false,
            parent: None,
            needed_by: Vec::new(),
            clients: Clients::Unknown,
            image: None,
            written: Written::Unknown,
        }
    }

    /// Returns an object of this identity, under the name that Kiln gives it, of which nothing else was observed.
    pub fn of(identity: Identity, place: Place, size: Size) -> Self {
        Self { identity: Some(identity.clone()), ..Self::new(identity.native(), place, size) }
    }

    /// Whether it is the object of `owner` with this kind and name.
    pub fn is(&self, owner: &Owner, kind: Kind, name: &Name) -> bool {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        self.identity.as_ref().is_some_and(|id| id.owner == *owner && id.kind == kind && id.name == *name)
    }

    /// Whether it is a volume or a snapshot: by its identity, or as the backend shows it.
    pub fn kind(&self) -> Kind {
        self.identity.as_ref().map_or(self.unowned_kind, |identity| identity.kind)
    }

    /// Returns the native name of the volume that a snapshot is of, as far as the backend shows it.
    pub fn volume_native(&self) -> Option<&NativeName> {
        self.parent_volume.as_ref().or(self.of_volume.as_deref())
    }

    /// Returns what the backend finds it by.
    pub fn address(&self) -> Address {
        Address { native: self.native.clone(), parent_volume: self.parent_volume.clone() }
    }

    /// Whether the backend finds it by this address.
    pub fn is_at(&self, at: &Address) -> bool {
        self.native == at.native && self.parent_volume == at.parent_volume
    }

    /// Whether clients may have it open that the backend does not show. A live object that was only listed counts as closed if the
    /// backend shows all clients: the planner asks about it by name.
    pub fn may_have_unseen_clients(&self, shown: ClientVisibility) -> bool {
        match (&self.clients, shown) {
            (Clients::Some(_), _) | (Clients::None, ClientVisibility::All) => false,
            (Clients::None | Clients::Unknown, ClientVisibility::Host | ClientVisibility::None) => true,
            (Clients::Unknown, ClientVisibility::All) => self.was_named(),
        }
    }

    /// Returns its size, or the one that it gets again when its restore is complete.
    pub fn whole_size(&self) -> Size {
        let before = self.tags.restoring.as_ref().and_then(|begun| begun.size);
        before.map_or(self.size, |before| before.max(self.size))
    }

    /// Whether it was observed by its name, and not only listed.
    pub fn was_named(&self) -> bool {
        self.written != Written::Unknown
    }

    /// Returns its uid, if it has an owner.
    pub fn uid(&self) -> Option<Uid> {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        self.identity.as_ref().map(|id| id.uid)
    }
}
