//! Images: files on the host from which volumes are created, and to which they are exported.
//!
//! The author of an image may be hostile, and `qemu-img` trusts its header, which can name any file of the host as a backing file or a data
//! file. Therefore the format is always the declared one; the first bytes and the qcow2 header of a file are checked ([`head`]) before a
//! tool opens it; and the tool runs under limits. A file is opened once, and inspection, checksum and copy use the open file, so renaming
//! or replacing the file has no effect on them.

mod export;
mod fill;
mod head;
mod inspect;
#[cfg(test)]
mod tests;

pub use export::{Export, export};
pub(super) use fill::open;
pub(super) use inspect::format_of;
pub use inspect::look;
