//! The `local` driver: a directory with a directory per object. Nothing but a file system is needed.
//!
//! ```text
//! POOL/kiln.OWNER.NAME.UID/kiln.OWNER.NAME.UID.img      the data: its length is the size
//! POOL/kiln.OWNER.NAME.UID/tags.json                    only if there is more to say than the name does
//! POOL/kiln-tmp.OWNER.NAME.UID/                         being made, or being removed
//! POOL/.trash/kiln.OWNER.NAME.UID/                      can be brought back
//! POOL/.kiln-pool/id                                    the pool's identity
//! POOL/.kiln-pool/OWNER.lock                            the writer lock
//! POOL/.kiln-pool/OWNER.ledger, OWNER.ledger.old        the ledger, and the one before
//! POOL/.kiln-pool/suspended/OWNER.ID.suspended         what a person suspended; OWNER.ID.resumed once it was ended
//! POOL/.kiln-pool/reserve                               room for a ledger when there is none left
//! POOL/.kiln-pool/adopted/FILE.json                     mark of an adopted file: which file, and its tags
//! ```
//!
//! An object is made whole under its temporary name, made durable, and published by one rename; it leaves by one rename too. A
//! restore exchanges two directories. So a crash leaves an object where it was or where it was going, and never half of one
//! under a name that means something. What must happen in two steps (a rename, and the data file's name inside) has an order
//! in which the state between is recognised: see [`object`] and [`steps`]. An interrupted rename is observed as such
//! ([`Object::unfinished`](crate::model::Object)), and the planner plans its completion.

mod ability;
mod claims;
pub(super) mod content;
mod driver;
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
pub use settings::LocalSettings;
pub(super) use settings::TABLE;
