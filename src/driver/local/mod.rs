//! The `local` driver: a directory with one directory per object. It needs only a file system.
//!
//! ```text
//! POOL/kiln.OWNER.NAME.UID/kiln.OWNER.NAME.UID.img      the data: its length is the size
//! POOL/kiln.OWNER.NAME.UID/tags.json                    the tags, unless they are the default
//! POOL/kiln-tmp.OWNER.NAME.UID/                         being created
//! POOL/kiln-tmp.OWNER.NAME.UID.ID/                      being removed: ID says which directory may be removed under this name
//! POOL/.trash/kiln.OWNER.NAME.UID/                      in the trash
//! POOL/.kiln-pool/id                                    the pool's identity
//! POOL/.kiln-pool/OWNER.lock                            the writer lock
//! POOL/.kiln-pool/OWNER.ledger, OWNER.ledger.old        the ledger, and the one before
//! POOL/.kiln-pool/suspended/OWNER.ID.suspended         a suspension; OWNER.ID.resumed after it was ended
//! POOL/.kiln-pool/reserve                               space for a ledger on a full file system
//! POOL/.kiln-pool/adopted/FILE.json                     identity and tags of an adopted file
//! ```
//!
//! An object is created completely under its temporary name, synced, and published by one rename; it is removed by one rename too. A restore
//! exchanges two directories. A crash therefore leaves an object either in its old or its new place, and never an incomplete one under its
//! final name. Changes in two steps (a rename, and then that of the data file) have an order in which the intermediate state is recognised:
//! see [`object`] and [`steps`]. An interrupted rename is observed as such ([`Object::unfinished`](crate::model::Object)), and the planner
//! completes it.
//!
//! `driver` implements the contract around `pool`, which alone accesses files; `lock`, `ledger` and `suspended` keep the records in
//! `.kiln-pool`. `observe` lists what `object` and `marks` recognise. `steps` dispatches each action; `removal` and `restore` have the
//! longer ones, `content` allocates and copies. `ability` tries what the file system can do, `lease` and
//! `evidence` detect who has a file open, and `claims` keeps steps apart that work on one object or name.

mod ability;
mod checked;
mod claims;
pub(super) mod content;
mod driver;
mod entry_status;
pub(super) mod evidence;
pub(super) mod fail;
mod file_id;
pub(super) mod lease;
mod ledger;
mod lock;
mod marks;
mod object;
mod observe;
mod pool;
mod removal;
mod restore;
mod settings;
mod steps;
mod suspended;
#[cfg(test)]
mod tests;

pub use driver::Local;
pub(super) use driver::open;
pub(super) use pool::parent_of;
pub use settings::LocalSettings;
pub(super) use settings::TABLE;
