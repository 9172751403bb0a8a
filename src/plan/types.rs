//! A plan: what would be done, what would not and why, and what was found to be different.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{
    ApprovalSet, Capabilities, Images, Kind, Name, NativeName, Object, Observed, Owner, Reading, Records, Removal,
    Step, Suspension, Uid, Verb,
};

/// Everything that the planner looks at. Equal inputs give equal plans.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What is declared, and how far it can be relied on.
    pub reading: &'a Reading,
    /// What every declared backend showed.
    pub world: &'a World,
    /// What the store remembers.
    pub records: &'a Records,
    /// Removals of the last 24 hours, of all this owner's ledgers (the planner has no clock to choose them with).
    pub recent: &'a [Removal],
    /// What is suspended of this owner's and whose time has not passed (the planner has no clock to tell by).
    pub suspended: &'a [Suspension],
    /// Digests that a person approves now, on the command line: they hold even if spent.
    pub approved: &'a [String],
    /// What a look showed of the images that something is to be made from; one that is not in here was not looked at.
    pub images: &'a Images,
    /// What becomes of steps that cannot be undone.
    pub irreversible: Irreversible,
}

/// What the planner does with steps that cannot be undone and that no approval covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Irreversible {
    /// Lists them as steps: for showing, or after a person said yes.
    List,
    /// Holds them: NeedsConfirmation.
    Hold,
    /// Holds restores only, for runs where nobody can be asked: `onRemove: Delete`, which was declared, is its own confirmation
    /// of what it destroys (limits apply to it as to every removal).
    HoldRestores,
}

/// By the name of the Backend: one view of each that is declared.
pub type World = BTreeMap<Name, Observation>;

/// What is known of a backend now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Observation {
    /// It answered, perhaps with gaps.
    Seen {
        /// What it can do.
        capabilities: Capabilities,
        /// What it showed.
        observed: Observed,
    },
    /// It did not answer: all that was on it is Unknown.
    Failed {
        /// One sentence.
        why: String,
    },
    /// Its driver is not built.
    Unsupported,
    /// Another process is writing to it for this owner: looked at, but not to be written to.
    LockedBy {
        /// Who, in one sentence.
        by: String,
        /// What it can do.
        capabilities: Capabilities,
        /// What it showed.
        observed: Observed,
    },
}

impl Observation {
    /// What the backend showed, if it answered.
    pub fn observed(&self) -> Option<&Observed> {
        match self {
            Self::Seen { observed, .. } | Self::LockedBy { observed, .. } => Some(observed),
            Self::Failed { .. } | Self::Unsupported => None,
        }
    }

    /// The objects that the backend showed; none if it did not answer.
    pub fn objects(&self) -> &[Object] {
        self.observed().map_or(&[], |observed| &observed.objects)
    }
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose.
    pub owner: Owner,
    /// Of the specs.
    pub revision: String,
    /// In an order in which they can be made one after the other; `after` says which really must wait.
    pub steps: Vec<Step>,
    /// What is not brought to its spec, and why; sorted by kind and name.
    pub held: Vec<Held>,
    /// What somebody else changed since Kiln last settled it.
    pub drift: Vec<Drift>,
    /// What deserves a second look.
    pub warnings: Vec<Warning>,
    /// Backends that could not be observed, or are not the ones they were.
    pub unobserved: Vec<Unobserved>,
    /// The set that waits for a person.
    pub approval: Option<ApprovalSet>,
    /// Approvals that this plan makes use of, with the whole set of each: they go into the ledgers before the first step.
    pub used: Vec<ApprovalSet>,
    /// Removals that are held because they are too much at once: the ledgers remember them.
    pub too_much: BTreeSet<Uid>,
    /// Objects that may be declared all the same though no document names them, or that these manifests would unprotect in place of others.
    /// While there are any, the ledger keeps the reading that these manifests are compared with.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub doubted: BTreeSet<Uid>,
    /// Whether a removal waits only for the manifests to stay as they are for longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
    /// Objects of which it must be known whether they were ever written to, and is not: one looks closer, and plans again.
    #[serde(skip)]
    pub look_inside: BTreeSet<(Name, NativeName)>,
    /// Over the declared fields, identities, sizes and tags concerned, and the steps; never times or revision.
    pub digest: String,
}

impl Plan {
    /// Whether a step is part of the set that waits for a person.
    pub fn waits_for_yes(&self, step: &Step) -> bool {
        self.approval.as_ref().is_some_and(|approval| approval.covers(&step.approval_item()))
    }

    /// Whether a digest names the set that waits for a person, or one whose approval this plan makes use of.
    pub fn knows_approval(&self, digest: &str) -> bool {
        self.approval.iter().chain(&self.used).any(|set| set.digest == digest)
    }

    /// These steps, and nothing else to say.
    pub fn of(owner: Owner, revision: String, steps: Vec<Step>) -> Self {
        Self {
            owner,
            revision,
            steps,
            held: Vec::new(),
            drift: Vec::new(),
            warnings: Vec::new(),
            unobserved: Vec::new(),
            approval: None,
            used: Vec::new(),
            too_much: BTreeSet::new(),
            doubted: BTreeSet::new(),
            unsettled: false,
            look_inside: BTreeSet::new(),
            digest: String::new(),
        }
    }
}

/// Something that is not done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    /// Of the object.
    pub kind: Kind,
    /// Of the object.
    pub name: Name,
    /// What would be done.
    pub action: Verb,
    /// Where.
    pub backend: Option<Name>,
    /// Which incarnation, where there is one.
    pub uid: Option<Uid>,
    /// Why not.
    pub reason: HeldReason,
    /// Why not, in one sentence.
    pub message: String,
    /// What to do about it: a command where there is one.
    pub fix: String,
}

macro_rules! held_reasons {
    ($($(#[$doc:meta])* $reason:ident,)+) => {
        /// Why something is not done: a closed list, for people. Code never branches on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum HeldReason { $($(#[$doc])* $reason,)+ }
        impl HeldReason {
            /// All of them.
            pub const ALL: &'static [HeldReason] = &[$(HeldReason::$reason,)+];
            /// As in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(HeldReason::$reason => stringify!($reason),)+ }
            }
        }
    };
}
held_reasons! {
    /// The driver cannot do it, or is not built.
    Unsupported,
    /// The declared size is smaller than what is there.
    ShrinkRefused,
    /// It was accepted as smaller than it was, and its document declares the size from before.
    GrowRefused,
    /// The field cannot change once the object is there.
    Immutable,
    /// Protection blocks a step that could lose data.
    Protected,
    /// Other objects need it.
    HasDependents,
    /// Somebody has it open.
    InUse,
    /// Too much would leave within 24 hours.
    RemovalLimit,
    /// A file has a problem: what is missing may only be unreadable.
    SourceBroken,
    /// The manifests are not those that were last read whole for this Stack.
    SourceChanged,
    /// The backend did not show enough.
    Unobserved,
    /// It was whole, and is proven absent.
    Lost,
    /// A known uid stands under another name.
    Renamed,
    /// An object in the way is not ours.
    Foreign,
    /// Its tags disagree with its name, or cannot be read.
    Conflict,
    /// Two objects could be it.
    Ambiguous,
    /// Another process writes there for this owner.
    OtherWriter,
    /// It belongs to another owner, or to another Stack of this name.
    OwnerChanged,
    /// The pool is not the one it was.
    BackendChanged,
    /// It is on a backend that is no longer declared.
    BackendUndeclared,
    /// What was to be adopted was never seen.
    AdoptMissing,
    /// Its source does not exist.
    SourceMissing,
    /// It is declared smaller than its source.
    SizeBelowSource,
    /// A volume would be destroyed, and one like it would begin empty.
    LooksLikeRename,
    /// It cannot be undone, and nobody was asked.
    NeedsConfirmation,
    /// An export that says nothing about who may connect.
    OpenExport,
    /// No room within the limits of the Backend.
    PoolFull,
    /// The backend does not allow names this long.
    NameTooLong,
    /// The host's operator does not allow it.
    NotAllowed,
    /// A person suspended it.
    Suspended,
    /// What it depends on is held, or failed.
    DependencyHeld,
    /// It is mirrored to another cluster.
    Mirrored,
}

impl std::fmt::Display for HeldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A difference between what Kiln last settled and what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Of the object.
    pub kind: Kind,
    /// Of the object.
    pub name: Name,
    /// The field.
    pub path: String,
    /// What it was.
    pub recorded: Value,
    /// What it is; null if the object is not there.
    pub observed: Value,
}

/// Something that deserves a second look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// A backend of which nothing is known now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unobserved {
    /// Which.
    pub backend: Name,
    /// Why, in one sentence.
    pub message: String,
}
