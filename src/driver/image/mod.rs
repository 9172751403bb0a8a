//! Images: files of the host from which volumes are made, and to which they are written.
//!
//! The author of an image may be hostile, and `qemu-img` trusts what it reads: a backing file or a data file in a header can name
//! any file of the host. So the format is always the one that the manifest writes; a file is checked here, by its first bytes and
//! by its qcow2 header ([`head`]), before a tool opens it; and the tool runs under limits. A file is opened once, and everything
//! (inspection, checksum, copy) uses that open file: what was checked is what is read, whatever happens to the name meanwhile.

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
