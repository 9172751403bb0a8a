//! The plan (steps, held objects and drift), and the observations that it is made from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{
    Address, ApprovalSet, Capabilities, DriverFix, Endpoint, Kind, Ledger, Name, Object, ObjectId, Observed, Owner,
    Step, Uid, Verb,
};

/// The observations of all declared backends, by Backend name.
pub type World = BTreeMap<Name, Observation>;

/// The result of observing one backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Observation {
    /// The backend answered, possibly with gaps.
    Seen {
        /// The capabilities of the backend.
        capabilities: Capabilities,
        /// The observed objects, ledgers and capacity.
        observed: Observed,
    },
    /// The backend did not answer: all its objects are Unknown.
    Failed {
        /// The error, in one sentence.
        why: String,
        /// What to run or write, if the driver knows.
        fix: Option<DriverFix>,
    },
    /// This version of Kiln does not have the driver.
    Unsupported,
    /// Another process holds the writer lock for this owner: the backend was observed and must not be written to.
    LockedBy {
        /// The holder of the lock, in one sentence.
        by: String,
        /// The capabilities of the backend.
        capabilities: Capabilities,
        /// The observed objects, ledgers and capacity.
        observed: Observed,
    },
}

impl Observation {
    /// Returns what was observed, if the backend answered.
    pub fn observed(&self) -> Option<&Observed> {
        match self {
            Self::Seen { observed, .. } | Self::LockedBy { observed, .. } => Some(observed),
            Self::Failed { .. } | Self::Unsupported => None,
        }
    }

    /// Returns the capabilities of the backend, if it answered.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        match self {
            Self::Seen { capabilities, .. } | Self::LockedBy { capabilities, .. } => Some(capabilities),
            Self::Failed { .. } | Self::Unsupported => None,
        }
    }

    /// Whether everything was observed that can depend on an object: see [`Observed::shows_all`].
    pub fn shows_all(&self, ledger: Option<&Ledger>) -> bool {
        match self {
            Self::Seen { capabilities, observed } | Self::LockedBy { by: _, capabilities, observed } => {
                observed.shows_all(capabilities.absence, ledger)
            }
            Self::Failed { .. } | Self::Unsupported => false,
        }
    }

    /// Returns the observed objects; none if the backend did not answer.
    pub fn objects(&self) -> &[Object] {
        self.observed().map_or(&[], |observed| &observed.objects)
    }
}

/// The steps that make the backends match the specs, and everything that is not done, with reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The owner whose objects are planned.
    pub owner: Owner,
    /// The revision of the specs.
    pub revision: String,
    /// The steps, in an order in which they can run one by one; each step's `after` lists those it must wait for.
    pub steps: Vec<Step>,
    /// Objects that do not match their spec and are left so, with reasons; sorted by kind and name.
    pub held: Vec<Held>,
    /// Changes made outside of Kiln since it last settled an object.
    pub drift: Vec<Drift>,
    /// Findings that deserve attention and stop nothing.
    pub warnings: Vec<Warning>,
    /// Backends that could not be observed completely, or whose pool changed.
    pub unobserved: Vec<Unobserved>,
    /// The removals and irreversible steps that wait for confirmation or approval.
    #[serde(rename = "approval")]
    pub awaiting: Option<ApprovalSet>,
    /// Approvals that this plan uses, each with its whole set. They are written to the ledgers before the first step.
    pub used: Vec<ApprovalSet>,
    /// Removals that exceed the removal limits, held or approved in this run; the ledgers record those that remain.
    pub too_much: BTreeSet<Uid>,
    /// Objects that no document declares although they may still be declared, or whose protection these manifests would lift although
    /// they replace other manifests. While there are any, the ledger keeps the reading that these manifests are compared with.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub doubted: BTreeSet<Uid>,
    /// Whether a removal waits only until the manifests have stayed unchanged for longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
    /// Objects of which the plan must know whether they were ever written to, and does not: the caller observes them and plans again.
    #[serde(skip)]
    pub to_inspect: BTreeSet<(Name, Address)>,
}

impl Held {
    /// Returns the object's Backend, if it is known and no Target.
    pub fn backend(&self) -> Option<&Name> {
        self.endpoint.as_ref()?.backend()
    }

    /// Returns the word for people for the action that is not taken: the verb, but an object that returns from the trash is restored and
    /// not adopted.
    pub fn word(&self) -> &'static str {
        if self.action == Verb::Adopt && self.in_trash { "restore" } else { self.action.as_str() }
    }

    /// Whether it is not known that the object needs a step: it exists, and is held only because its backend is one of the unobserved.
    pub fn may_need_no_step(&self, unobserved: &[Unobserved]) -> bool {
        let is_by = |by: &Unobserved| self.backend() == Some(&by.backend) && self.message == by.message;
        self.action == Verb::Update && unobserved.iter().any(is_by)
    }
}

impl Plan {
    /// Whether a step belongs to the set that waits for confirmation or approval.
    pub fn waits_for_yes(&self, step: &Step) -> bool {
        self.awaiting.as_ref().is_some_and(|set| set.covers(&step.approval_item()))
    }

    /// Whether a digest names the waiting set, or a set whose approval this plan uses.
    pub fn knows_approval(&self, digest: &str) -> bool {
        self.awaiting.iter().chain(&self.used).any(|set| set.digest == digest)
    }

    /// A plan of these steps alone.
    pub fn of(owner: Owner, revision: String, steps: Vec<Step>) -> Self {
        Self {
            owner,
            revision,
            steps,
            held: Vec::new(),
            drift: Vec::new(),
            warnings: Vec::new(),
            unobserved: Vec::new(),
            awaiting: None,
            used: Vec::new(),
            too_much: BTreeSet::new(),
            doubted: BTreeSet::new(),
            unsettled: false,
            to_inspect: BTreeSet::new(),
        }
    }
}

/// An object that is not changed as declared, with the reason and the fix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: Name,
    /// The action that is not taken.
    pub action: Verb,
    /// The object's Backend or Target, if known.
    #[serde(rename = "backend")]
    pub endpoint: Option<Endpoint>,
    /// The object's uid, if it exists.
    pub uid: Option<Uid>,
    /// The reason, for people. It is also a label of a metric. Its name may change; what is stored keeps the old name.
    pub reason: HeldReason,
    /// The cause, in one sentence.
    pub message: String,
    /// What to write or run to end the hold.
    pub fix: String,
    /// Whether the object is in the trash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_trash: bool,
}

macro_rules! held_reasons {
    ($($(#[$doc:meta])* $reason:ident,)+) => {
        /// Why an object is held: a closed list, for people. Code never branches on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum HeldReason { $($(#[$doc])* $reason,)+ }
        impl HeldReason {
            /// Every reason.
            pub const ALL: &'static [HeldReason] = &[$(HeldReason::$reason,)+];
            /// Returns the reason as written in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(HeldReason::$reason => stringify!($reason),)+ }
            }
        }
    };
}
held_reasons! {
    /// The driver does not support it, or this version of Kiln does not have the driver.
    Unsupported,
    /// The declared size is smaller than the object.
    ShrinkRefused,
    /// Its smaller size was accepted, and its document still declares the size from before.
    GrowRefused,
    /// The field cannot change once the object exists.
    Immutable,
    /// Protection blocks a step that could lose data.
    Protected,
    /// Other objects depend on it.
    HasDependents,
    /// A client has it open.
    InUse,
    /// The removals of 24 hours would exceed a limit.
    RemovalLimit,
    /// A manifest is invalid or missing: an undeclared object may still be declared.
    SourceBroken,
    /// The manifests are not those that this Stack was last applied from.
    SourceChanged,
    /// The backend could not be observed, or not completely.
    Unobserved,
    /// The complete object is proven absent.
    Lost,
    /// An object with a known uid has another name.
    Renamed,
    /// Its native name belongs to an object of another owner, or of none.
    Foreign,
    /// Its tags or its files are inconsistent or unreadable.
    Conflict,
    /// More than one object matches.
    Ambiguous,
    /// Another process holds the writer lock for this owner.
    OtherWriter,
    /// The pool belongs to another owner, or to another Stack of this name.
    OwnerChanged,
    /// The pool is not the one that was recorded, or is an older state of it.
    BackendChanged,
    /// Its backend is no longer declared.
    BackendUndeclared,
    /// The object to adopt does not exist.
    AdoptMissing,
    /// Its source does not exist.
    SourceMissing,
    /// A restore is not complete.
    HalfRestored,
    /// Its declared size is smaller than its source.
    SizeBelowSource,
    /// A volume would be destroyed and a similar one created empty.
    LooksLikeRename,
    /// The step cannot be undone and was not confirmed.
    NeedsConfirmation,
    /// The export does not say which clients may connect.
    OpenExport,
    /// The pool would exceed a limit of its Backend, or has no inodes left.
    PoolFull,
    /// The native name is longer than the backend allows.
    NameTooLong,
    /// The host configuration does not allow it.
    NotAllowed,
    /// It is suspended.
    Suspended,
    /// A step of an earlier pass on it still runs, or copies from it.
    Progressing,
    /// An object that it depends on is held or failed.
    DependencyHeld,
    /// Something else on its backend keeps it from being changed: mirroring, a group, a lock, a migration.
    Blocked,
}

impl std::fmt::Display for HeldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A field that changed outside of Kiln since Kiln last settled the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: Name,
    /// The object's Backend or Target.
    #[serde(rename = "backend", default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The field's path.
    pub path: String,
    /// The value that Kiln recorded.
    pub recorded: Value,
    /// The observed value; null if the object is absent.
    pub observed: Value,
}

/// A finding that deserves attention and stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The kind of warning, for programs.
    pub code: String,
    /// The warning, in one sentence.
    pub message: String,
    /// The objects that it is about: it is shown with a part of the plan that has one of them. Not in what is shown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub objects: BTreeSet<ObjectId>,
}

/// A backend that was not observed completely, or whose pool changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unobserved {
    /// The Backend's name.
    pub backend: Name,
    /// The cause, in one sentence.
    pub message: String,
}
