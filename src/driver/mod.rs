//! Drivers: the backends that Kiln reconciles.
//!
//! A driver reports its capabilities, observes a pool ([`Driver::observe`]), says how an object is opened ([`Driver::access`]) and
//! executes every step with one method ([`Driver::execute`]). It also keeps the pool's [metadata](PoolMetadata): identity, ledgers, writer
//! locks and suspensions. `contract.rs` says what each method must do. Each step is
//!
//! - **repeatable**: executed twice, it leaves the same state as once, and the second call returns `Unchanged`. Removing an object
//!   that does not exist succeeds. Creating an object that exists with the same identity and size succeeds; otherwise it is a Conflict.
//!   A driver that cannot tell whether the object exists declares it (`Capabilities::repeatable`), and is asked before it is called again;
//! - **honest**: an error says whether the effect happened, and `Unknown` if the driver cannot tell;
//! - **exact**: a clone or restore into a larger size is grown; an incomplete object never has its final name;
//! - **restricted to what the step expects**: the expectation is checked again just before the effect; if it does not hold, the step
//!   is a Conflict and changes nothing. A step whose effect is already there is Unchanged, whatever it expects;
//! - **addressed**: an object is found by its [`Address`](crate::model::Address); the same name inside of another volume is another object.
//!   So is one of another identity, by its name or its tags, under the name of the step: a Conflict. Only a sweep is aimed at a temporary
//!   name, and a creation takes the place of what an earlier one left there;
//! - **whole**: a volume goes to the trash, or comes back, with exactly the snapshots inside of it that the step names, or not at all;
//! - **complete**: a restore that takes several steps (`Restores::InSteps`) tags the volume with [`Restoring`](crate::model::Restoring)
//!   before it changes the first byte, and replaces that tag with `restored` after the last. Called again, it completes what it began: its
//!   own tag, and the size that it changed, fit the expectation. A volume with that tag is not copied or changed by another step, and the
//!   snapshot is not removed; only when the snapshot is gone does another restore replace it;
//! - **never forced**: an object in use is Busy, and the error names the client;
//! - **answering**: one whose lists may lack objects (`Absence::ByName`) answers truly for each name, live, in the trash and unfinished, and
//!   gives an unfinished object exactly the name of `NativeName::temporary`. Kiln may not know all objects that depend on one: the driver
//!   refuses a removal that would take them along;
//! - **remembering**: one whose backend answers for nothing (`Absence::ByLedger`) keeps a record of each object on the pool, and shows these
//!   ([`Driver::observe`]). It has no trash and adopts nothing. A creation whose reply was lost leaves no record: Kiln does not repeat it;
//! - **declared**: what `Capabilities` does not contain is Unsupported, and changes nothing. Each driver first calls
//!   [`Capabilities::check`](crate::model::Capabilities::check).
//!
//! `tests/conformance` tests every driver for these guarantees.

mod contract;
mod flock;
pub mod image;
mod local;
mod newfile;
mod rbd;
mod registry;
pub mod settings;
pub mod sim;
mod tgt;
mod tool;

pub use contract::{Driver, PoolMetadata, StepContext, WriterLock};
pub(crate) use local::lease::has_writer;
pub use local::{Local, LocalSettings};
pub use newfile::NewFile;
pub use registry::connect;
