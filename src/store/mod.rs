//! The store: what Kiln remembers between runs, behind a trait. Never the only truth.
//!
//! [`open`] takes the store's directory for writing, [`look`] reads it and changes nothing. Whatever they find there, they end
//! in a store that can be used or in one of the three errors of [`StoreError`]: a damaged database is set aside under its own
//! directory, and a new one begun, which the next pass fills from what the backends show.
//!
//! ```text
//! DIR/lock         who has it: a lock of the kernel's, see `lock`
//! DIR/mark         the format, and the number of the last batch: what the database must have at least, see `mark`
//! DIR/db/          the database: rows with checksums, and one row about all others, see `codec`
//! DIR/db.new/      a database being made; it becomes `db` by a rename, so a `db` without its rows is a damaged one
//! DIR/damaged-…/   databases that could not be believed
//! ```
//!
//! Changes go through one thread (`commit`), which gathers what is waiting into one batch. Only `db` knows sled.

mod codec;
mod commit;
mod contract;
mod db;
mod dir;
mod error;
mod frozen;
mod load;
mod lock;
mod mark;
mod memory;
mod open;
mod persistent;
mod record_cache;
#[cfg(test)]
mod tests;

pub use contract::{Batch, JOURNAL_LINES, Store};
pub use error::StoreError;
pub use memory::{CrashPoint, MemoryStore};
pub use open::{OpenedStore, StoreCondition, look, look_briefly, open, told, try_writing};
