//! What a driver has just reported, with its gaps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Kind, LedgerView, Name, NativeForm, NativeName, ObjectId, OnRemove, Owner, PoolId, Provisioning, Size, Uid,
};

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Everything on the pool, as cheaply as it can be listed. Clients are not looked for.
    All,
    /// Only these objects, with who has them open and whether they hold data. Objects that are not there are proven absent by being left out of a
    /// report whose [`Listed`] is complete.
    Objects(Vec<NativeName>),
}

/// One look at one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The pool's identity, made once on first use. `None`: Kiln has never written here, or its mark is gone.
    pub pool: Option<PoolId>,
    /// Which lists are complete. What is missing from a list that is not complete is Unknown, not Absent.
    pub listed: Listed,
    /// One sentence for each thing that could not be seen.
    pub gaps: Vec<String>,
    /// All objects: ours, other owners', and those that nobody owns; sorted by native name, then place.
    pub objects: Vec<Object>,
    /// The ledgers of all owners on this pool.
    pub ledgers: BTreeMap<Owner, LedgerView>,
    /// Room, where it is known.
    pub capacity: Option<Capacity>,
    /// Owners whose writer lock was held when this look was taken: their temporary objects are work in progress.
    pub locked: Vec<Owner>,
    /// For each owner, the other living processes of this host that have written to the pool, as far as they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub writers: BTreeMap<Owner, Vec<Writer>>,
}

/// A living process that has written to a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Its number on this host.
    pub pid: u32,
    /// Its command line, cut to a length that can be shown; empty if it cannot be read.
    pub command: String,
}

impl Observed {
    /// All of a place where nothing is.
    pub fn nothing() -> Self {
        Self {
            pool: None,
            listed: Listed::COMPLETE,
            gaps: Vec::new(),
            objects: Vec::new(),
            ledgers: BTreeMap::new(),
            capacity: None,
            locked: Vec::new(),
            writers: BTreeMap::new(),
        }
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
    /// Everything was listed to its end.
    pub const COMPLETE: Listed = Listed { volumes: true, snapshots: true, trash: true };

    /// Whether the absence of an object of this kind, anywhere on the pool, is proven by its not being listed.
    pub fn proves_absence_of(self, kind: Kind) -> bool {
        match kind {
            Kind::Snapshot => self.snapshots && self.trash,
            Kind::Volume | Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => {
                self.volumes && self.trash
            }
        }
    }
}

/// Room on a backend, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// All there is.
    pub total: u64,
    /// What is taken, by whomever.
    pub used: u64,
    /// How many more objects can be made, where something besides bytes limits that (inodes).
    #[serde(default)]
    pub objects: Option<u64>,
}

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// In use under its name.
    Live,
    /// In the trash.
    Trash,
    /// Half made, under a `kiln-tmp` name.
    Temporary,
}

/// Who has an object open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clients {
    /// Not looked at (a listing does not), or it cannot be seen.
    Unknown,
    /// Nobody that the backend can show.
    None,
    /// These.
    Some(Vec<String>),
}

/// Whether clients have written to an object since Kiln made it, by what the backend shows of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Written {
    /// Not observed: a listing does not show it.
    #[default]
    Unknown,
    /// Never: the object holds no data, only holes and room that was reserved.
    Never,
    /// The object holds data, or the backend cannot tell.
    Yes,
}

impl Written {
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// Whose an object is, and which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The Stack.
    pub owner: Owner,
    /// Volume or Snapshot.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: Name,
    /// Which incarnation.
    pub uid: Uid,
}

impl Identity {
    /// Returns the id of the document that declares the object.
    pub fn id(&self) -> ObjectId {
        ObjectId::new(self.kind, &self.name)
    }

    /// The native name that Kiln gives to an object of this identity.
    pub fn native(&self) -> NativeName {
        let form = match self.kind {
            Kind::Snapshot => NativeForm::Snapshot,
            Kind::Volume | Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => {
                NativeForm::Volume
            }
        };
        NativeName::of(form, &self.owner, &self.name, self.uid)
    }
}

/// One object on a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What the backend calls it.
    pub native: NativeName,
    /// Where it is.
    pub place: Place,
    /// Whose it is, by its name, or by its tags where its name is not Kiln's. `None`: nobody's (foreign). Of a temporary
    /// object only owner, name and uid mean something; its kind is given as Volume.
    pub identity: Option<Identity>,
    /// Its length in bytes, as a client would see it.
    pub size: Size,
    /// What it takes up on the backend, where that is cheap to know.
    pub used: Option<u64>,
    /// What is not plain about it.
    pub tags: Tags,
    /// Why its marks cannot be believed, in one sentence: tags that cannot be read or that contradict the name. Becomes
    /// Held(Conflict): nothing is done to it.
    pub conflict: Option<String>,
    /// A rename of it was interrupted: it has its new native name, and [`Action::Rename`](super::Action) in place completes it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unfinished: bool,
    /// The object that this clone goes on needing, where `clones_depend`.
    pub parent: Option<Uid>,
    /// Who has it open.
    pub clients: Clients,
    /// The image format (`qcow2`, `vmdk`, …) that the content of an object without an owner begins like, if any: it is then no raw
    /// disk. Only known after an observation of this object by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Whether it holds data. A report on named objects never leaves this Unknown.
    #[serde(default, skip_serializing_if = "Written::is_unknown")]
    pub written: Written,
}

#[cfg(test)]
thread_local! {
    /// How often an object was looked at to compare it with another, on this thread.
    pub(crate) static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Object {
    /// Whether it is an object of `owner` under this kind and name.
    pub fn is(&self, owner: &Owner, kind: Kind, name: &Name) -> bool {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        self.identity.as_ref().is_some_and(|id| id.owner == *owner && id.kind == kind && id.name == *name)
    }

    /// Its uid, where it has an owner.
    pub fn uid(&self) -> Option<Uid> {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        self.identity.as_ref().map(|id| id.uid)
    }
}

/// What a backend stores beside an object because its name does not say it. A plain volume has none of them
/// (`Tags::default()`), and then nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Tags {
    /// `metadata.labels`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Blocks every step that could lose data.
    #[serde(skip_serializing_if = "is_false")]
    pub protected: bool,
    /// What happens when its manifest goes; none means Trash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
    /// Thick where it was made so; none means thin, or not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Provisioning>,
    /// Its manifest is gone and it was released: it stays, and nothing is planned for it until it is declared again.
    #[serde(skip_serializing_if = "is_false")]
    pub retained: bool,
    /// In the trash: when it may be purged, in seconds since 1970 by the host's clock. Without meaning on a live object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whose it is, where its native name is not one of Kiln's. (Few are; boxed, since there are many tags.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Box<Identity>>,
    /// It was made by others and taken over.
    #[serde(skip_serializing_if = "is_false")]
    pub adopted: bool,
    /// Of a snapshot: the uid of its volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Uid>,
    /// The last restore that was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// The restore that was begun and is not known to be done, on backends where it is not one atomic step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restoring: Option<String>,
}

impl Tags {
    /// What happens when the manifest goes.
    pub fn on_remove(&self) -> OnRemove {
        self.on_remove.unwrap_or(OnRemove::Trash)
    }

    /// Whether there is nothing to store.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
