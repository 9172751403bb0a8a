//! The directory of a store.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::{StoreError, trouble};

pub(super) const DATABASE: &str = "db";
const ROOM: &str = "room";

/// The space in bytes that sled needs to open a database: its smallest file is a segment of 512 KiB, and it writes before it reads.
const NEEDED: usize = 1024 * 1024;

/// Whether an entry exists. A dangling link does.
pub(super) fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

pub(super) fn make_directory(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    // Readable by this user only: the records name every volume.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| trouble(dir, "the directory cannot be made", &e))
}

/// Checks by writing that there is space for what sled is about to write. On a full disk, sled panics or reports damage. (The free space
/// that a file system reports does not include quotas.)
pub(super) fn make_sure_of_room(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(ROOM);
    let written = fs::write(&path, vec![0; NEEDED]);
    let removed = match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    written.and(removed).map_err(|e| trouble(dir, "no file can be written in it", &e))
}

pub(super) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
