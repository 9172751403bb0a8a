//! What manifests declare, checked: values that could not be acted on do not get here.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Coverage, Kind, Name, Owner, Percent, Seconds, Size};

/// Everything that the files of one spec directory declare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specs {
    /// The Stack; without one, [`Stack::unnamed`].
    pub stack: Stack,
    /// By name, as everything below.
    pub backends: BTreeMap<Name, BackendSpec>,
    /// Volumes.
    pub volumes: BTreeMap<Name, VolumeSpec>,
    /// Snapshots.
    pub snapshots: BTreeMap<Name, SnapshotSpec>,
    /// Targets.
    pub targets: BTreeMap<Name, TargetSpec>,
    /// Exports.
    pub exports: BTreeMap<Name, ExportSpec>,
    /// Approvals.
    pub approvals: BTreeMap<Name, ApprovalSpec>,
    /// In a Git work tree the id of the commit, with `-dirty` after it if what was read is anything else. Elsewhere a hash of the content
    /// of all files with their paths. Equal specs, equal revision, on any machine.
    pub revision: String,
    /// Whether some file had a problem, so that what is missing here may only be unreadable. One-shot commands refuse before
    /// it matters; the daemon goes on with what is good, and then nothing is removed.
    pub broken: bool,
    /// Whether these files were read only once: a document that is missing may be in a file that is just being written.
    #[serde(default)]
    pub unconfirmed: bool,
    /// What the reading covers: see [`Specs::withdraws`]. Without it (older saved plans) it is a whole reading.
    #[serde(default)]
    pub coverage: Coverage,
    /// Documents that name a path which manifests may not reach on this host: they are Held(NotAllowed), and nothing is opened
    /// for them. One of each, sorted by kind and name.
    pub not_allowed: Vec<NotAllowed>,
    /// Documents that have no valid meaning as they are written now. One-shot commands never have any, since they refuse; the
    /// daemon goes on, by what these said last where that is known. One of each, sorted by kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

impl Specs {
    /// What these specs declare, whatever file and line declares it and whatever the revision is called. Two specs that declare
    /// the same are equal in it, and no others are.
    #[must_use]
    pub fn meaning(&self) -> Specs {
        fn all<T: Clone>(specs: &BTreeMap<Name, T>, meta: fn(&mut T) -> &mut Meta) -> BTreeMap<Name, T> {
            let mut specs = specs.clone();
            specs.values_mut().for_each(|spec| meta(spec).place = SourcePlace::default());
            specs
        }
        let Specs {
            stack,
            backends,
            volumes,
            snapshots,
            targets,
            exports,
            approvals,
            revision: _,
            broken: _,
            unconfirmed: _,
            coverage: _,
            not_allowed,
            unreadable,
        } = self;
        Specs {
            stack: stack.clone(),
            backends: all(backends, |spec| &mut spec.meta),
            volumes: all(volumes, |spec| &mut spec.meta),
            snapshots: all(snapshots, |spec| &mut spec.meta),
            targets: all(targets, |spec| &mut spec.meta),
            exports: all(exports, |spec| &mut spec.meta),
            approvals: all(approvals, |spec| &mut spec.meta),
            revision: String::new(),
            broken: false,
            unconfirmed: false,
            coverage: Coverage::default(),
            not_allowed: not_allowed.clone(),
            unreadable: unreadable.clone(),
        }
    }

    /// Why a document may not be acted on, if it names a path out of reach.
    pub fn not_allowed(&self, kind: Kind, name: &Name) -> Option<&NotAllowed> {
        let found = self.not_allowed.binary_search_by(|barred| (barred.kind, &barred.name).cmp(&(kind, name)));
        found.ok().map(|index| &self.not_allowed[index])
    }
}

/// A path that manifests may not reach, and the document that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAllowed {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// Why, in one sentence.
    pub message: String,
    /// What to do about it.
    pub unblock: String,
    /// Whether the path did not answer in time, so that nobody knows where it leads: what is there is Unobserved until it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

/// A document that has no valid meaning as it is written now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// Where and what the problem is, and whether what it said last holds, in one sentence.
    pub message: String,
    /// What to do about it.
    pub unblock: String,
}

/// Where a document stands: `FILE:LINE:COLUMN` for messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct SourcePlace {
    /// The file, as given on the command line and found below it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// `metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Unique per kind.
    pub name: Name,
    /// Free text by key, kept on the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The name it used to be declared under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<Name>,
    /// Where the document begins.
    pub place: SourcePlace,
}

/// The owner and its policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// `metadata.name`.
    pub owner: Owner,
    /// Tells two Stacks of one name apart. Empty without a Stack document.
    pub id: String,
    /// Whether there is a Stack document.
    pub declared: bool,
    /// For what documents leave out.
    pub defaults: Defaults,
    /// How often watch mode observes everything again.
    pub interval: Seconds,
    /// How long the trash is kept.
    pub trash: TrashPolicy,
    /// How much may leave at once without being asked.
    pub safety: Safety,
}

impl Stack {
    /// What holds without a Stack document.
    pub fn unnamed() -> Self {
        Self {
            owner: Owner::unnamed(),
            id: String::new(),
            declared: false,
            defaults: Defaults::default(),
            interval: Seconds(60),
            trash: TrashPolicy::default(),
            safety: Safety::default(),
        }
    }
}

/// `Stack.spec.defaults`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Defaults {
    /// Volumes that name no backend are there.
    pub backend: Option<Name>,
    /// For objects being created whose documents do not say it.
    pub on_remove: Option<OnRemove>,
    /// Likewise.
    pub protected: Option<bool>,
}

/// `Stack.spec.trash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashPolicy {
    /// How long what was removed can be brought back.
    pub ttl: Seconds,
    /// Who purges.
    pub purge: PurgeMode,
}

impl Default for TrashPolicy {
    fn default() -> Self {
        Self { ttl: Seconds(7 * 86_400), purge: PurgeMode::Auto }
    }
}

/// `Stack.spec.trash.purge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeMode {
    /// The daemon purges what is past its time.
    Auto,
    /// Only `kiln trash purge` does.
    Manual,
}

/// `Stack.spec.safety`: limits within 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safety {
    /// Objects.
    pub max_removals: u32,
    /// Share of the objects that are whole now plus those removed.
    pub max_removed_percent: Percent,
    /// Bytes.
    pub max_removed_bytes: Size,
}

impl Default for Safety {
    fn default() -> Self {
        Self { max_removals: 10, max_removed_percent: Percent(50), max_removed_bytes: Size(1 << 40) }
    }
}

/// A pool of storage behind a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSpec {
    /// `metadata`.
    pub meta: Meta,
    /// The driver and its section.
    pub config: DriverConfig,
    /// Calls in flight at once.
    pub concurrency: NonZeroU32,
    /// Of one call.
    pub timeout: Seconds,
    /// Of the capacity: past it nothing is created or grown.
    pub max_fill: Percent,
    /// Provisioned bytes by capacity, for thin volumes. `None`: without limit.
    pub overcommit: Option<Percent>,
    /// The command before the driver; empty for none.
    pub via: Vec<String>,
}

impl BackendSpec {
    /// Whether a call reaches the same thing in the same way as under `other`: what failed there would fail here.
    pub fn is_reached_like(&self, other: &BackendSpec) -> bool {
        self.config == other.config && self.via == other.via && self.timeout == other.timeout
    }
}

/// `Backend.spec.driver` with its section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DriverConfig {
    /// A directory with a directory per object.
    Local {
        /// The pool; relative paths are already resolved against the file that names them.
        path: PathBuf,
        /// Whether the directory is made on first use.
        create: bool,
    },
    /// The simulator.
    Sim {
        /// The file that keeps it; in memory without one.
        path: Option<PathBuf>,
        /// Of its faults.
        seed: u64,
        /// `None`: without limit.
        capacity: Option<Size>,
        /// How often each fault occurs.
        faults: FaultRates,
    },
    /// A driver that this Kiln does not have: its objects are Held(Unsupported).
    Unbuilt {
        /// What was written.
        driver: String,
    },
}

impl DriverConfig {
    /// As in `spec.driver`.
    pub fn driver(&self) -> &str {
        match self {
            DriverConfig::Local { .. } => "local",
            DriverConfig::Sim { .. } => "sim",
            DriverConfig::Unbuilt { driver } => driver,
        }
    }

    /// Where the pool is, in words for people; equal for two Backends that certainly point to one pool.
    pub fn place(&self) -> String {
        match self {
            DriverConfig::Local { path, .. } => path.display().to_string(),
            DriverConfig::Sim { path: Some(path), .. } => path.display().to_string(),
            DriverConfig::Sim { path: None, .. } => "memory".to_owned(),
            DriverConfig::Unbuilt { driver } => driver.clone(),
        }
    }
}

/// How often each fault of the simulator occurs, per call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRates {
    /// An error before the effect.
    pub error: Percent,
    /// The effect, with its reply lost.
    pub lost_reply: Percent,
    /// Half an effect: what is being made stays under its temporary name.
    pub half: Percent,
    /// A listing that shows the world as it was one call ago.
    pub stale: Percent,
    /// A listing that is cut short, and says so.
    pub cut: Percent,
    /// A call that takes ten seconds.
    pub slow: Percent,
    /// A call that never ends.
    pub hang: Percent,
    /// Success is reported, and nothing was done.
    pub lie: Percent,
}

impl FaultRates {
    /// No faults.
    pub const NONE: FaultRates = FaultRates {
        error: Percent(0),
        lost_reply: Percent(0),
        half: Percent(0),
        stale: Percent(0),
        cut: Percent(0),
        slow: Percent(0),
        hang: Percent(0),
        lie: Percent(0),
    };
}

/// What happens to an object whose manifest goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OnRemove {
    /// Into the trash, from where it can be brought back.
    Trash,
    /// It stays, released.
    Retain,
    /// Destroyed at once: cannot be undone.
    Delete,
    /// Snapshots only: clones are made independent of it first, then Trash.
    Detach,
}

/// Whether space is taken when an object is made or when it is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provisioning {
    /// When written.
    Thin,
    /// When made.
    Thick,
}

/// A Volume document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// `metadata`.
    pub meta: Meta,
    /// The Backend it is declared on, the Stack's default resolved. It is declared.
    pub backend: Name,
    /// At least one byte.
    pub size: Size,
    /// Thin or thick, where written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Provisioning>,
    /// How it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// Where written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Where written; never Detach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
    /// The native name, where it must be known beforehand. Not one of Kiln's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The native name of an object to take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<String>,
    /// Back to a snapshot, once for each distinct request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreSpec>,
    /// Rate limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<Qos>,
    /// Whether `encryption` is there. (No driver can do it yet, so nothing more of it is kept.)
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
}

/// `Volume.spec.source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceSpec {
    /// A declared or owned snapshot.
    Snapshot(Name),
    /// A volume as it is at that moment.
    Volume(Name),
    /// A file with an image.
    Image(super::ImageRef),
}

/// `Volume.spec.restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreSpec {
    /// Which.
    pub snapshot: Name,
    /// Any text; another text is another restore.
    pub request: String,
}

/// `Volume.spec.qos`: operations and bytes a second.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Qos {
    /// Reads and writes together.
    pub iops: Option<u64>,
    /// Reads.
    pub read_iops: Option<u64>,
    /// Writes.
    pub write_iops: Option<u64>,
    /// Bytes read and written.
    pub bps: Option<u64>,
    /// Bytes read.
    pub read_bps: Option<u64>,
    /// Bytes written.
    pub write_bps: Option<u64>,
    /// Operations above `iops` for a short while.
    pub iops_burst: Option<u64>,
    /// Bytes above `bps` for a short while.
    pub bps_burst: Option<u64>,
}

/// A Snapshot document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSpec {
    /// `metadata`.
    pub meta: Meta,
    /// The declared volume it is of.
    pub volume: Name,
    /// Where written.
    pub protected: Option<bool>,
    /// Where written.
    pub on_remove: Option<OnRemove>,
    /// The native name of a snapshot to take over.
    pub adopt: Option<String>,
}

/// A Target document. No target driver is built yet: what is exported by it is Held(Unsupported).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSpec {
    /// `metadata`.
    pub meta: Meta,
    /// `tgt`, `nbd`, `lio`, `nvmet`, …
    pub driver: String,
}

/// An Export document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSpec {
    /// `metadata`.
    pub meta: Meta,
    /// What is exported.
    pub what: ExportedThing,
    /// The declared Target.
    pub target: Name,
    /// `iscsi`, `iser`, `nvme-tcp`, `nvme-rdma` or `nbd`.
    pub protocol: String,
}

/// What an Export exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportedThing {
    /// A declared volume.
    Volume(Name),
    /// A declared snapshot, read-only.
    Snapshot(Name),
}

/// An Approval document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalSpec {
    /// `metadata`.
    pub meta: Meta,
    /// As printed by `kiln plan`.
    pub digest: String,
}

/// Where the content of a new volume comes from, found on the backend. Its fields are those of the object at plan time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A snapshot.
    Snapshot(super::ObjectRef),
    /// A volume as it is when the step runs.
    Volume(super::ObjectRef),
    /// A file of the host.
    Image {
        /// Which.
        image: super::ImageRef,
        /// Of the disk in it, when it was looked at; the driver refuses another. `None`: nobody has looked yet, and such a step is
        /// not made.
        size: Option<Size>,
    },
}

impl Origin {
    /// The object, if it is one.
    pub fn object(&self) -> Option<&super::ObjectRef> {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => Some(object),
            Origin::Image { .. } => None,
        }
    }

    /// What a volume made from it must have at least; `None`: not known yet.
    pub fn size(&self) -> Option<Size> {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => Some(object.size),
            Origin::Image { size, .. } => *size,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Snapshot(object) | Origin::Volume(object) => object.native.fmt(f),
            Origin::Image { image, .. } => write!(f, "the {} image {}", image.format, image.path.display()),
        }
    }
}
