//! The types that all other modules share.
//!
//! Each noun has three shapes: a **Spec** is what a manifest declares, **Observed** is what a driver reported, and a **Record** is what
//! the store keeps. A [`Step`] is one driver call that brings an observed object closer to its spec. This module does no input or output,
//! and imports no other module of Kiln.

mod address;
mod approval;
mod capability;
mod capability_check;
mod coverage;
mod document;
mod endpoint;
mod error;
mod field_place;
#[cfg(test)]
pub(crate) mod fixtures;
mod identity;
mod image;
mod journal;
mod known_address;
mod ledger;
mod ledger_change;
mod name;
mod name_rules;
mod observed;
mod origin;
mod problem;
mod quantity;
mod reading;
mod record;
mod restoring;
mod spec;
mod step;
mod suspension;
pub mod table;
mod tags;
mod verb;
mod volume_settings;

pub use address::Address;
pub use approval::{ApprovalItem, ApprovalSet};
pub use capability::{
    Absence, Access, Capabilities, CloneAbility, Growth, Reservation, Restores, SettingsAbility, SnapshotAbility,
    TrashAbility,
};
pub use coverage::{Coverage, Doubt, Extent, LastReading};
pub use document::{
    ApprovalSpec, BackendSpec, Defaults, DriverConfig, DriverTable, ExportSpec, ExportedThing, Meta, OnRemove,
    Provisioning, PurgeMode, Qos, RestoreSpec, Safety, SnapshotSpec, SourcePlace, SourceSpec, Stack, TargetSpec,
    TrashPolicy, VolumeSpec,
};
pub use endpoint::Endpoint;
pub use error::{DriverError, DriverFix, Effect, ErrorKind};
pub use field_place::{FieldPlace, PlacedField};
pub use identity::Identity;
pub use image::{ImageFormat, ImageObservation, ImageRef, Images};
pub use journal::{JournalAction, JournalEntry, JournalOutcome};
pub use ledger::{Ledger, LedgerEntry, LedgerView, PoolId, Removal, Tombstone};
pub use ledger_change::{LedgerChange, LedgerCommit};
pub use name::{Kind, Name, NameError, NativeForm, NativeName, ObjectId, Owner, Uid};
pub use name_rules::{NameAlphabet, NameFault, NameRules};
#[cfg(test)]
pub(crate) use observed::COMPARED;
pub use observed::{
    Blocker, BlockerReason, Capacity, ClientVisibility, Clients, Listed, Object, Observed, Place, Resource, Scope,
    Writer, Written,
};
pub use origin::{ObjectRef, Origin};
pub use problem::ProblemView;
pub use quantity::{DeclaredSize, Percent, QuantityError, Seconds, Size};
pub use reading::{FieldPlaces, NotAllowed, Places, Reading, Unreadable, Withdrawal};
pub use record::{BackendRecord, IntentId, ObjectRecord, OpenIntent, Records, SeenObject};
pub use restoring::Restoring;
pub use spec::{Specs, WrittenSizes};
pub use step::{Action, Cost, Expect, FieldChange, InnerSnapshot, Outcome, Reason, Risk, Step};
pub use suspension::{Suspension, SuspensionId, Suspensions};
pub use table::DocumentTable;
pub use tags::{ObjectTags, Tags};
pub use verb::Verb;
pub use volume_settings::VolumeSettings;
