//! Marks of adopted files: `.kiln-pool/adopted/FILE.json`.
//!
//! A mark is stored apart from its file and can outlive it, so a file name alone proves nothing. A mark identifies the file by its inode
//! and birth time, and applies to that file only. Any other file under the name is foreign: made by another program, or a copy of the
//! adopted file (a pool that was restored to another disk). A person decides which; until then the volume is held.
//!
//! - A restore replaces the file by an exchange. It first writes a mark that names both files, each with its tags, so that the
//!   exchange itself makes the restore visible.
//! - The marks of an object that leaves the ledger are dropped before the ledger without it is written.
//! - Marks of earlier versions do not identify a file. They apply to a file that is not younger than the mark, and are updated when the
//!   owner's writer lock is taken.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::file_id::FileId;
use super::object::{self, FoundObject, image_name};
use super::pool::{self, ListBuffer, LocalPool, MARK};
use crate::model::{Ledger, LedgerView, NativeName, Owner, Place, Tags, Uid};

/// The directory, in [`MARK`], of the marks.
const ADOPTED: &str = "adopted";
/// The suffix of the names of marks.
const ENDING: &str = ".json";

/// A mark, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdoptedMark {
    format: u32,
    tags: Tags,
    /// The file that it is about; none in a mark of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<FileId>,
    /// The file that an exchange puts in its place, with its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// A file that is about to take the place of the marked one, and its tags.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    file: FileId,
    tags: Tags,
}

/// A mark that was read, and when it was written.
struct StoredMark {
    mark: AdoptedMark,
    written: (i64, u32),
}

impl StoredMark {
    /// The tags of this file. `None` if the mark is about another file.
    fn tags_of(self, file: FileId) -> Option<Tags> {
        let AdoptedMark { tags, file: marked, next, .. } = self.mark;
        if let Some(next) = next.filter(|next| next.file.is(file)) {
            return Some(next.tags);
        }
        let same = match marked {
            Some(marked) => marked.is(file),
            // The mark was written while its file existed.
            None => !file.is_born_after(self.written),
        };
        same.then_some(tags)
    }
}

fn name_of(native: &str) -> String {
    format!("{native}{ENDING}")
}

fn directory(pool: &LocalPool) -> Result<Option<OwnedFd>, Errno> {
    match pool.mark()? {
        Some(mark) => pool::absent_is_none(pool::open_dir(mark, ADOPTED)),
        None => Ok(None),
    }
}

/// The mark under a name. The inner `Err` is the message about a mark that is inconsistent.
fn read(marks: BorrowedFd<'_>, name: &str) -> Result<Option<Result<StoredMark, String>>, Errno> {
    let Some(written) = pool::stat_in(marks, name)? else { return Ok(None) };
    let written = (written.st_mtime, u32::try_from(written.st_mtime_nsec).unwrap_or(0));
    let mark: AdoptedMark = match object::read_stored(marks, name)? {
        None => return Ok(None),
        Some(Err(why)) => return Ok(Some(Err(why))),
        Some(Ok(mark)) => mark,
    };
    let owned = mark.tags.identity.is_some();
    let unowned = || "its stored tags do not contain its identity".to_owned();
    Ok(Some(if owned { Ok(StoredMark { mark, written }) } else { Err(unowned()) }))
}

impl LocalPool {
    /// Adds the identity and tags in the mark of a file to the object, if there is a mark.
    pub(super) fn read_mark(&self, found: &mut FoundObject) -> Result<(), Errno> {
        let (Some(file), Some(marks)) = (found.file, directory(self)?) else { return Ok(()) };
        let tags = match read(marks.as_fd(), &name_of(&found.native))? {
            None => return Ok(()),
            Some(Err(why)) => {
                found.conflict = Some(why);
                return Ok(());
            }
            Some(Ok(read)) => read.tags_of(file),
        };
        if let Some(tags) = tags
            && !self.trash_holds(&found.native, &tags)?
        {
            found.identity = tags.identity.as_deref().cloned();
            found.tags = tags;
        }
        Ok(())
    }

    /// Whether the object is in the trash. Then a crash left the mark, and the file is another one.
    fn trash_holds(&self, native: &str, tags: &Tags) -> Result<bool, Errno> {
        let Some(trash) = self.trash()? else { return Ok(false) };
        let Some(own) = pool::absent_is_none(pool::open_dir(trash.as_fd(), native))? else { return Ok(false) };
        let same = matches!(object::tags_in(own.as_fd())?, Some(Ok(trashed)) if trashed.identity == tags.identity);
        let is_there = || Ok(pool::stat_in(own.as_fd(), &image_name(native))?.is_some());
        Ok(same && object::displaced_in(own.as_fd())?.is_none() && is_there()?)
    }

    /// Replaces the mark of a file.
    pub(super) fn write_mark(&self, native: &str, file: FileId, tags: &Tags) -> Result<(), Errno> {
        self.replace_mark(native, file, tags, None)
    }

    /// Replaces the mark of a file that `next` is about to take the place of, with these tags.
    pub(super) fn write_mark_of_both(
        &self,
        native: &str,
        (file, tags): (FileId, &Tags),
        (next, next_tags): (FileId, &Tags),
    ) -> Result<(), Errno> {
        self.replace_mark(native, file, tags, Some(Next { file: next, tags: next_tags.clone() }))
    }

    fn replace_mark(&self, native: &str, file: FileId, tags: &Tags, next: Option<Next>) -> Result<(), Errno> {
        let marks = pool::make_dir(pool::open_dir(self.root(), MARK)?.as_fd(), ADOPTED)?;
        let mark = AdoptedMark { format: object::TAGS_FORMAT, tags: tags.clone(), file: Some(file), next };
        let name = name_of(native);
        object::replace(marks.as_fd(), &name, &format!("{name}.new"), &object::encode(&mark))
    }

    /// Removes the mark under a native name if it belongs to this object. Returns whether it did.
    pub(super) fn drop_mark(&self, native: &str, owner: &Owner, uid: Uid) -> Result<bool, Errno> {
        let (Some(marks), name) = (directory(self)?, name_of(native)) else { return Ok(false) };
        match read(marks.as_fd(), &name)? {
            Some(Ok(read)) if read.is_of(owner, uid) => {}
            _ => return Ok(false),
        }
        pool::remove_file(marks.as_fd(), &format!("{name}.new"))?;
        pool::remove_file(marks.as_fd(), &name)?;
        pool::sync(marks.as_fd())?;
        Ok(true)
    }
}

impl StoredMark {
    fn is_of(&self, owner: &Owner, uid: Uid) -> bool {
        self.mark.tags.identity.as_ref().is_some_and(|id| id.owner == *owner && id.uid == uid)
    }
}

/// Removes the marks of objects that a new ledger no longer lists, before the ledger is written, so that a later file under the same name
/// is not taken for the object. Errors are ignored: a mark identifies its file anyway.
pub(super) fn drop_unlisted(pool: &LocalPool, old: &Ledger, new: &Ledger) {
    for (uid, entry) in old.complete.iter().filter(|(uid, _)| !new.complete.contains_key(uid)) {
        let Ok(native) = pool::check_name(&entry.native) else { continue };
        let dropped = pool
            .drop_mark(native, &old.owner, *uid)
            .and_then(|_| object::remove_shell(pool.root(), native, &old.owner, *uid));
        if let Err(errno) = dropped {
            tracing::warn!(pool = %pool.path.display(), native, %errno, "the mark of a removed object cannot be removed");
        }
    }
}

/// Updates the marks that earlier versions wrote for an owner, under its writer lock. Errors are ignored.
pub(super) fn update(pool: &LocalPool, owner: &Owner, ledger: impl Fn() -> Option<LedgerView>) {
    if let Err(errno) = try_update(pool, owner, ledger) {
        tracing::debug!(pool = %pool.path.display(), %errno, "marks of earlier versions cannot be updated");
    }
}

fn try_update(pool: &LocalPool, owner: &Owner, ledger: impl Fn() -> Option<LedgerView>) -> Result<(), Errno> {
    let Some(marks) = directory(pool)? else { return Ok(()) };
    let mut view = None;
    for entry in pool::list(marks.as_fd(), &mut ListBuffer::new())? {
        let Some(native) = entry.name.strip_suffix(ENDING).filter(|_| entry.exact) else { continue };
        let Some(Ok(read)) = read(marks.as_fd(), &entry.name)? else { continue };
        let Some(identity) = read.mark.tags.identity.clone().filter(|id| id.owner == *owner) else { continue };
        if read.mark.file.is_some() || pool::check_name(&NativeName::new(native)).is_err() {
            continue;
        }
        // Read only where there is a mark of an earlier version.
        let Some(LedgerView::Good(ledger)) = view.get_or_insert_with(&ledger) else { return Ok(()) };
        if ledger.has_tombstone(identity.uid) {
            pool.drop_mark(native, owner, identity.uid)?;
        } else if ledger.complete.contains_key(&identity.uid)
            && let Some(found) = pool.find(native, Place::Live)?
            && let Some(file) = found.file
            && found.identity.as_ref() == Some(&*identity)
        {
            pool.write_mark(native, file, &found.tags)?;
        }
    }
    Ok(())
}
