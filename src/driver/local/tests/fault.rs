//! Calls of the file system that fail as told, once, in the thread that asked for it.

use std::cell::RefCell;

use rustix::io::Errno;

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver::local) enum Call {
    /// Making a file.
    Create,
    /// Syncing a file or directory.
    Sync,
    /// A rename with flags.
    Rename,
    /// A second name.
    Link,
}

thread_local! {
    static FAULTS: RefCell<Vec<(Call, Errno)>> = const { RefCell::new(Vec::new()) };
}

/// The next of these calls fails so.
pub(super) fn fail_once(call: Call, errno: Errno) {
    FAULTS.with_borrow_mut(|faults| faults.push((call, errno)));
}

/// Whether a call is to fail.
pub(in crate::driver::local) fn answer(call: Call) -> Result<(), Errno> {
    FAULTS.with_borrow_mut(|faults| match faults.iter().position(|(of, _)| *of == call) {
        Some(index) => Err(faults.remove(index).1),
        None => Ok(()),
    })
}
