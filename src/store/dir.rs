//! The directory of a store.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::{StoreError, trouble};

pub(super) const DATABASE: &str = "db";
const ROOM: &str = "room";

/// What sled needs to open anything: its smallest file is a segment of 512 KiB, and it writes before it reads.
const NEEDED: usize = 1024 * 1024;

/// Whether something is there, be it a link that leads nowhere.
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
    // What is remembered names every volume: other users have no business in it.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| trouble(dir, "the directory cannot be made", &e))
}

/// Tries whether there is room for what sled is about to write. sled itself, opened on a full disk, panics or takes the data
/// for damaged. (The free space that a file system reports does not know quotas; writing does.)
pub(super) fn make_sure_of_room(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(ROOM);
    let written = fs::write(&path, vec![0; NEEDED]);
    let removed = match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    written.and(removed).map_err(|e| trouble(dir, "nothing can be written in it", &e))
}

pub(super) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
