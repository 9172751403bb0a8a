//! A step: one driver call, with what it expects and why it is made.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Identity, Name, NativeName, Object, Origin, Place, Provisioning, Seconds, Size, Tags, Uid};

/// One driver call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The Backend whose driver makes it.
    pub backend: Name,
    /// The object's identity, when the step is done. (A renamed object has its new name here.)
    pub identity: Identity,
    /// What the backend calls the object when the step is done.
    pub native: NativeName,
    /// What to do.
    pub action: Action,
    /// What must be so just before the effect; otherwise Conflict, and nothing touched.
    pub expect: Expect,
    /// What could be lost by it.
    pub risk: Risk,
    /// Why. For people; code never branches on it.
    pub reason: Reason,
    /// Field by field, for people and for the digest.
    pub changes: Vec<FieldChange>,
    /// The size that leaves reach by this step, in bytes: what is added up as bytes at risk.
    pub bytes: Size,
    /// Indexes, in the same plan, of the steps that must have succeeded before.
    pub after: Vec<usize>,
}

impl Step {
    /// Whether the object leaves by it, into the trash or for good. (Being released is not leaving.)
    pub fn is_removal(&self) -> bool {
        matches!(self.action, Action::Trash { .. } | Action::Destroy)
    }

    /// What the backend calls the object before the step.
    pub fn native_before(&self) -> &NativeName {
        match &self.action {
            Action::Rename { from, .. } => from,
            _ => &self.native,
        }
    }
}

/// What a step does. A closed list: every driver matches it in full.
///
/// Each is repeatable: what is already so is [`Outcome::Unchanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Makes a volume, empty or from an origin, whole or not at all.
    Create {
        /// At least what the origin has. Already a multiple of the granularity.
        size: Size,
        /// Thin or thick.
        provisioning: Provisioning,
        /// Where the content comes from; `None`: all zeroes.
        origin: Option<Origin>,
        /// Written with the object, in the same atomic step.
        tags: Tags,
        /// Which of the name's uids it gets, for the ledger.
        n: u32,
    },
    /// Makes a snapshot of a volume. Its `tags.volume` is the volume's uid.
    Snapshot {
        /// Of which.
        volume: ObjectRef,
        /// Written with it.
        tags: Tags,
        /// Which of the name's uids it gets, for the ledger.
        n: u32,
    },
    /// Makes a volume larger; never smaller.
    Grow {
        /// The new size.
        to: Size,
    },
    /// Brings a volume's content back to a snapshot's, keeping its size, and tags it as restored.
    Restore {
        /// Which.
        snapshot: ObjectRef,
        /// The request that asked for it; written as `tags.restored`.
        request: String,
    },
    /// Replaces the tags.
    SetTags {
        /// All of them.
        tags: Tags,
    },
    /// Gives an object its new native name. What it had is in `from`.
    Rename {
        /// The old native name.
        from: NativeName,
        /// All tags, where they change with it (an object with its own native name keeps its identity there).
        tags: Tags,
    },
    /// Takes over an object that nobody owns, under the name it has. Tags carry our identity and `adopted`.
    Adopt {
        /// All of them.
        tags: Tags,
        /// Which of the name's uids it gets, for the ledger.
        n: u32,
    },
    /// Moves an object to the trash, expiring `ttl` after the step by the host's clock.
    Trash {
        /// How long it can be brought back.
        ttl: Seconds,
    },
    /// Brings an object back from the trash.
    Undelete {
        /// All of them.
        tags: Tags,
    },
    /// Destroys a live object: `onRemove: Delete`.
    Destroy,
    /// Destroys an object in the trash. Never part of a plan.
    Purge,
    /// Removes what a crash left under a temporary name. Never part of a plan.
    Sweep,
    /// Makes all clones of a snapshot independent of it.
    Detach,
}

impl Action {
    /// The verb, one of six, under which people see it.
    pub fn verb(&self) -> Verb {
        match self {
            Action::Create { .. } | Action::Snapshot { .. } => Verb::Create,
            Action::Grow { .. } | Action::Restore { .. } | Action::Detach => Verb::Update,
            // Releasing is a change of tags, seen as a removal.
            Action::SetTags { tags } if tags.retained => Verb::Remove,
            Action::SetTags { .. } => Verb::Update,
            Action::Rename { .. } => Verb::Move,
            Action::Adopt { .. } | Action::Undelete { .. } => Verb::Adopt,
            Action::Trash { .. } => Verb::Remove,
            Action::Destroy | Action::Purge | Action::Sweep => Verb::Destroy,
        }
    }

    /// Whether it copies or frees much data, so that it may take far longer than a call: no time-out applies, and progress is
    /// shown.
    pub fn is_long(&self) -> bool {
        match self {
            Action::Create { origin, provisioning, .. } => origin.is_some() || *provisioning == Provisioning::Thick,
            Action::Snapshot { .. }
            | Action::Restore { .. }
            | Action::Destroy
            | Action::Purge
            | Action::Sweep
            | Action::Detach => true,
            Action::Grow { .. }
            | Action::SetTags { .. }
            | Action::Rename { .. }
            | Action::Adopt { .. }
            | Action::Trash { .. }
            | Action::Undelete { .. } => false,
        }
    }
}

impl fmt::Display for Action {
    /// What in particular is done, for the journal and for progress lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Create { size, origin: None, .. } => write!(f, "create {size}"),
            Action::Create { size, origin: Some(origin), .. } => {
                write!(f, "create {size} from {origin}")
            }
            Action::Snapshot { volume, .. } => write!(f, "snapshot of {}", volume.native),
            Action::Grow { to } => write!(f, "grow to {to}"),
            Action::Restore { snapshot, request } => write!(f, "restore from {} ({request})", snapshot.native),
            Action::SetTags { tags } if tags.retained => f.write_str("release"),
            Action::SetTags { .. } => f.write_str("set tags"),
            Action::Rename { from, .. } => write!(f, "rename from {from}"),
            Action::Adopt { .. } => f.write_str("take over"),
            Action::Trash { ttl } => write!(f, "into the trash for {ttl}"),
            Action::Undelete { .. } => f.write_str("bring back from the trash"),
            Action::Destroy => f.write_str("destroy"),
            Action::Purge => f.write_str("purge from the trash"),
            Action::Sweep => f.write_str("remove what a crash left half made"),
            Action::Detach => f.write_str("make its clones independent"),
        }
    }
}

/// The six verbs of plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// `+`
    Create,
    /// `~` grow, restore, tags, access.
    Update,
    /// `>` another name or another place.
    Move,
    /// `=` take over, or bring back.
    Adopt,
    /// `-` into the trash, or released.
    Remove,
    /// `!` cannot be undone.
    Destroy,
}

impl Verb {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Move => "move",
            Verb::Adopt => "adopt",
            Verb::Remove => "remove",
            Verb::Destroy => "destroy",
        }
    }

    /// As in listings.
    pub fn glyph(self) -> char {
        match self {
            Verb::Create => '+',
            Verb::Update => '~',
            Verb::Move => '>',
            Verb::Adopt => '=',
            Verb::Remove => '-',
            Verb::Destroy => '!',
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An object that a step reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// What the backend calls it.
    pub native: NativeName,
    /// Which incarnation; the driver refuses another.
    pub uid: Uid,
    /// Its size when planned.
    pub size: Size,
}

/// What must be so just before the effect. `None` and `false` ask nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expect {
    /// Where the object is; `None`: it is not there at all (being created).
    pub place: Option<Place>,
    /// Its size.
    pub size: Option<Size>,
    /// Its tags, `expires` apart.
    pub tags: Option<Tags>,
    /// That nobody has it open, as far as the backend can see.
    pub idle: bool,
    /// That it was never written to: the backend proves that it holds no data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwritten: bool,
}

impl Expect {
    /// Expects a live object to be as it was observed.
    pub fn live(object: &Object) -> Self {
        Self {
            place: Some(Place::Live),
            size: Some(object.size),
            tags: Some(Tags { expires: None, ..object.tags.clone() }),
            idle: false,
            unwritten: false,
        }
    }
}

/// What could be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nothing.
    None,
    /// Clients notice.
    Disruptive,
    /// It can be brought back.
    Recoverable,
    /// It cannot.
    Irreversible,
}

/// Why a step is made. For people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Declared, and proven not to be there.
    NotThere,
    /// Declared, and in the trash.
    InTrash,
    /// Declared again after it was released.
    WasRetained,
    /// The declared size is larger.
    Grown,
    /// Labels, protection or `onRemove` differ.
    TagsDiffer,
    /// A restore was requested.
    RestoreRequested,
    /// `metadata.renamedFrom`.
    RenamedFrom,
    /// `spec.adopt`.
    AdoptRequested,
    /// `kiln adopt --from-owner`.
    OwnerGiven,
    /// No longer declared.
    NotDeclared,
    /// Past its time in the trash, or named by a person.
    Purged,
    /// Left half made by a crash.
    LeftOver,
    /// Clones need it.
    HasClones,
    /// Never written to, and in the place of the object that its document was renamed from.
    GivesWay,
}

/// One field before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field of the manifest.
    pub path: String,
    /// Null where there is nothing.
    pub before: Value,
    /// Null where there is nothing.
    pub after: Value,
}

/// What a call that did not fail found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done.
    Changed,
    /// It was already so.
    Unchanged,
}
