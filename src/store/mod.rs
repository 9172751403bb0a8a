//! The store: what Kiln remembers between runs, behind a trait. Losing it loses nothing essential.
//!
//! [`open`] opens the store's directory for writing, [`open_read_only`] reads it and changes nothing. Both return a usable store or a
//! [`StoreError`]: a damaged database is moved to a directory of its own and replaced by a new one, which the next pass fills from the
//! observed backends.
//!
//! ```text
//! DIR/lock         a kernel lock of the process that has the store open, see `lock`
//! DIR/mark         the format, and the number of the last batch, which the database must contain, see `mark`
//! DIR/db/          the database: rows with checksums, and one row about all of them, see `codec`
//! DIR/db.new/      a database being created. It is renamed to `db` when it is complete, so a `db` without its rows is damaged
//! DIR/damaged-…/   damaged databases
//! ```
//!
//! One thread (`commit`) writes all changes, and combines those that wait. Only `db` uses sled.

mod codec;
mod commit;
mod contract;
mod db;
mod dir;
mod error;
mod load;
mod lock;
mod mark;
mod memory;
mod open;
mod persistent;
mod record_cache;
#[cfg(test)]
mod tests;

pub use contract::{Batch, JOURNAL_LINES, QueuedCommit, Store};
pub use error::StoreError;
pub use memory::{CrashPoint, MemoryStore};
pub use open::{OpenedStore, StoreCondition, from_daemon, open, open_read_only, try_writing};
