//! The steps that trash, destroy, purge and sweep objects, and the step that restores one from the trash.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{OFlags, RenameFlags};
use rustix::io::Errno;

use super::fail;
use super::file_id::FileId;
use super::lease::{self, Lease, Leased};
use super::object::{self, Form, FoundObject, NOT_THE_ONE, image_name};
use super::pool;
use super::steps::{Task, in_use, replaced};
use crate::model::{DriverError, Effect, ErrorKind, Outcome, Place, Tags};
use crate::text::quoted;

impl Task<'_> {
    /// Moves the object to the trash. The expiry is written first: on a live object it has no meaning, and no object is in the trash
    /// without one.
    pub(super) fn trash(&self, ttl: u64) -> Result<Outcome, DriverError> {
        let native = self.native()?;
        let Some(found) = self.find(native, Place::Live)? else {
            if let Some(trash) = self.pool.trash().map_err(|e| fail::before("opening the trash", e))?
                && self.give_back(trash.as_fd(), native)?
            {
                return Err(replaced(native));
            }
            return self.not_live();
        };
        if !self.is_it(&found)
            && let Some(trashed) = self.in_trash()?
        {
            // Another program has put an entry under its name.
            return self.is_trashed(&trashed);
        }
        self.expected(&found, None)?;
        self.idle(&found)?;
        // Again, by those who had it open until just now.
        self.still_unwritten(&found)?;
        self.to_trash(&found, self.work.now.saturating_add(ttl))?;
        Ok(Outcome::Changed)
    }

    fn to_trash(&self, found: &FoundObject, expires: u64) -> Result<(), DriverError> {
        let mut tags = self.stored(&found.tags, found.form == Form::File);
        tags.expires = Some(expires);
        match found.form {
            Form::File => self.file_to_trash(found, &tags),
            _ => self.directory_to_trash(found, &tags),
        }
    }

    fn directory_to_trash(&self, found: &FoundObject, tags: &Tags) -> Result<(), DriverError> {
        let (native, root) = (self.native()?, self.pool.root());
        let trash = self.pool.trash_made()?;
        // Checked before the expiry is written: a failing rename would leave the expiry on a live object.
        if self.find(native, Place::Trash)?.is_some() {
            return Err(fail::conflict(format!("another {native} is in the trash; purge it first")));
        }
        self.settle(found)?;
        self.pool.with_spares(|| self.write_tags(found, tags))?;
        self.rename_free(root, native, &trash).map_err(|e| fail::before(format!("moving {native} to the trash"), e))?;
        self.moved(found, root, (trash.as_fd(), native))?;
        self.synced(trash.as_fd())?;
        self.synced(root)
    }

    /// Moves an adopted file to the trash: makes a directory with its tags there, moves the file into it by one rename, and only then
    /// removes its mark.
    fn file_to_trash(&self, found: &FoundObject, tags: &Tags) -> Result<(), DriverError> {
        let (native, root) = (self.native()?, self.pool.root());
        let failed = |e| fail::before(format!("moving {native} to the trash"), e);
        let trash = self.pool.trash_made()?;
        if self.find(native, Place::Trash)?.is_some() {
            return Err(fail::conflict(format!("another {native} is in the trash; purge it first")));
        }
        let own = match pool::absent_is_none(pool::open_dir(trash.as_fd(), native)).map_err(failed)? {
            Some(own) => {
                let files = Vec::from_iter(found.file);
                self.pool.with_spares(|| object::write_tags_of(own.as_fd(), tags, &files).map_err(failed))?;
                own
            }
            None => {
                let own = self.pool.with_spares(|| self.prepare(tags, found.file, None))?;
                pool::rename(root, &self.temporary(), &trash, native, RenameFlags::NOREPLACE).map_err(failed)?;
                pool::sync(trash.as_fd()).map_err(failed)?;
                own
            }
        };
        self.take_file(found, own.as_fd())?;
        self.taken(own.as_fd(), tags)
    }

    /// Removes what was kept while an adopted file was moved to the trash: its mark, and the file identity in its tags, which would be
    /// wrong in a copy of the pool.
    fn taken(&self, own: BorrowedFd<'_>, tags: &Tags) -> Result<(), DriverError> {
        self.drop_mark()?;
        // The file is in the trash even if this fails.
        let _ = object::write_tags(own, tags);
        Ok(())
    }

    /// Moves the file into a directory of Kiln by one rename. If another file replaced it just before, that file is moved back: now or,
    /// if this process is killed first, by the next one that clears the directory.
    fn take_file(&self, found: &FoundObject, own: BorrowedFd<'_>) -> Result<(), DriverError> {
        let (native, root, image) = (self.native()?, self.pool.root(), image_name(self.native()?));
        let failed = |e| fail::before(format!("moving {native}"), e);
        self.is_still(found, root, native)?;
        pool::rename(root, native, own, &image, RenameFlags::NOREPLACE).map_err(failed)?;
        self.moved(found, root, (own, &image))?;
        self.synced(own)?;
        self.synced(root)
    }

    /// Checks after a rename that it moved the file or directory that was found. One that replaced it just before is moved back.
    pub(super) fn moved(
        &self,
        found: &FoundObject,
        from: BorrowedFd<'_>,
        (to, name): (BorrowedFd<'_>, &str),
    ) -> Result<(), DriverError> {
        let Err(error) = self.is_still(found, to, name) else { return Ok(()) };
        let native = &found.native;
        pool::rename(to, name, from, native, RenameFlags::NOREPLACE)
            .map_err(|e| fail::after(format!("moving {native} back"), e))?;
        Err(error)
    }

    /// Refuses a file or directory that is not the one that was found.
    pub(super) fn is_still(&self, found: &FoundObject, dir: BorrowedFd<'_>, name: &str) -> Result<(), DriverError> {
        let Some(file) = found.file.or(found.own) else { return Ok(()) };
        match FileId::of(dir, name) {
            Ok(there) if there.is(file) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(replaced(&found.native)),
            Err(errno) => Err(fail::before(format!("checking {}", found.native), errno)),
        }
    }

    /// Moves back a file of another program that a killed process moved into a directory of Kiln. Returns whether there was one.
    pub(super) fn give_back(&self, dir: BorrowedFd<'_>, name: &str) -> Result<bool, DriverError> {
        let failed = |e| fail::before(format!("moving back the file in {name}"), e);
        let Some(own) = pool::absent_is_none(pool::open_dir(dir, name)).map_err(failed)? else { return Ok(false) };
        let Some(image) = object::displaced_in(own.as_fd()).map_err(failed)? else { return Ok(false) };
        let native = image.strip_suffix(object::IMAGE).unwrap_or(&image);
        match pool::rename(&own, &image, self.pool.root(), native, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Err(fail::conflict(format!(
                "{name}/{image} does not belong to Kiln: it had the name {native}, which another file has now; move one of them away"
            ))),
            other => {
                other.map_err(failed)?;
                self.synced(self.pool.root())?;
                self.synced(own.as_fd())?;
                let pool = self.pool.path.display();
                tracing::warn!(%pool, native, "moved a file back that an interrupted run had moved in place of the adopted one");
                Ok(true)
            }
        }
    }

    /// Restores the object from the trash by one rename. Its new tags are written before, still with the expiry: after a crash, no live
    /// object has its old tags, because of which the next plan could remove it again.
    pub(super) fn undelete(&self, tags: &Tags) -> Result<Outcome, DriverError> {
        let native = self.native()?;
        let trashed = self.in_trash()?;
        let live = self.find(native, Place::Live)?;
        match (live, trashed) {
            (None, None) => Err(DriverError::before(ErrorKind::NotFound, format!("{native} is not in the trash"))),
            (Some(live), Some(_)) => {
                Err(fail::conflict(format!("{} is live; the object in the trash needs its name", live.native)))
            }
            (Some(live), None) => {
                self.mine(&live)?;
                self.settle(&live)?;
                let tags = self.stored(tags, live.form == Form::File);
                // The directory in the trash of a file that is live again.
                let left = match self.pool.trash().map_err(|e| fail::before("opening the trash", e))? {
                    Some(trash) if live.form == Form::File => {
                        let clear = || match object::is_shell(trash.as_fd(), native)? {
                            true => object::remove_directory(trash.as_fd(), native),
                            // Another object with this native name, and its data.
                            false => Ok(false),
                        };
                        clear().map_err(|e| fail::before(format!("removing {native} from the trash"), e))?
                    }
                    _ => false,
                };
                if live.tags == tags {
                    return Ok(if left { Outcome::Changed } else { Outcome::Unchanged });
                }
                self.write_tags(&live, &tags)?;
                Ok(Outcome::Changed)
            }
            (None, Some(found)) => {
                let tags = self.stored(tags, found.tags.adopted);
                self.expected(&found, Some(&tags))?;
                self.settle(&found)?;
                if found.tags.adopted {
                    self.file_back(&found, &tags)?
                } else {
                    self.directory_back(&found, &tags)?
                }
                Ok(Outcome::Changed)
            }
        }
    }

    fn directory_back(&self, found: &FoundObject, tags: &Tags) -> Result<(), DriverError> {
        let (native, root) = (self.native()?, self.pool.root());
        self.write_tags(found, &Tags { expires: found.tags.expires, ..tags.clone() })?;
        let trash = self.place(Place::Trash)?;
        self.rename_free(&trash, native, root)
            .map_err(|e| fail::before(format!("restoring {native} from the trash"), e))?;
        self.moved(found, trash.as_fd(), (root, native))?;
        self.synced(root)?;
        self.synced(trash.as_fd())?;
        self.write_tags(&self.live()?, tags)
    }

    fn file_back(&self, found: &FoundObject, tags: &Tags) -> Result<(), DriverError> {
        let (native, root) = (self.native()?, self.pool.root());
        let failed = |e| fail::before(format!("restoring {native} from the trash"), e);
        let own = self.own_dir(found)?;
        let file = FileId::of(own.as_fd(), &image_name(native)).map_err(failed)?;
        // The mark has no meaning while the object is in the trash.
        self.pool.write_mark(native, file, tags).map_err(failed)?;
        pool::rename(&own, &image_name(native), root, native, RenameFlags::NOREPLACE).map_err(failed)?;
        self.synced(root)?;
        self.synced(own.as_fd())?;
        object::remove_directory(self.place(Place::Trash)?.as_fd(), native)
            .map_err(|e| fail::after(format!("removing {native} from the trash"), e))?;
        Ok(())
    }

    /// Destroys a live object.
    pub(super) fn destroy(&self) -> Result<Outcome, DriverError> {
        let native = self.native()?;
        let found = self.find(native, Place::Live)?;
        let Some(found) = found else { return self.not_live() };
        self.expected(&found, None)?;
        if found.form == Form::File {
            self.idle(&found)?;
            self.destroy_file(&found)
        } else {
            self.remove(&found)
        }
    }

    /// Destroys an adopted file: moves it by one rename into a temporary directory, which is then removed.
    fn destroy_file(&self, found: &FoundObject) -> Result<Outcome, DriverError> {
        let (native, root) = (self.native()?, self.pool.root());
        let own = self.prepare(&self.stored(&found.tags, true), found.file, None)?;
        self.take_file(found, own.as_fd())?;
        self.drop_mark()?;
        object::remove_directory(root, &self.temporary()).map_err(|e| fail::after(format!("removing {native}"), e))?;
        Ok(Outcome::Changed)
    }

    /// Destroys an object in the trash.
    pub(super) fn purge(&self) -> Result<Outcome, DriverError> {
        let native = self.native()?;
        match self.find(native, Place::Trash)? {
            Some(found) => {
                self.expected(&found, None)?;
                self.remove(&found)
            }
            None => {
                if self.find(native, Place::Live)?.is_some_and(|live| self.is_it(&live)) {
                    return Err(fail::conflict(format!("{native} is no longer in the trash: it was restored")));
                }
                self.left_over()
            }
        }
    }

    /// Removes an object's directory. It is first renamed to a temporary name, by which a later run recognises an interrupted removal.
    /// If its data cannot be removed, or a client opens it, the directory is renamed back: a failed removal leaves the object in place.
    fn remove(&self, found: &FoundObject) -> Result<Outcome, DriverError> {
        let (native, root, temporary) = (self.native()?, self.pool.root(), self.temporary_of(found.own));
        let dir = self.place(found.place)?;
        self.no_stranger(found)?;
        // A data file that cannot be opened may be damaged, and is removed too.
        let data = self.open(found, OFlags::RDONLY).ok();
        let lease = match data.as_ref().map(|data| Lease::take(data.as_fd())) {
            Some(Leased::Idle(lease) | Leased::Unproven(lease)) => Some(lease),
            Some(Leased::Writers) => {
                let who = data.as_ref().map(|data| lease::writers(data.as_fd()));
                return Err(in_use(native, &who.unwrap_or_default()));
            }
            Some(Leased::Unknown) | None => None,
        };
        if found.tags.adopted {
            self.drop_mark()?;
        }
        pool::rename(&dir, native, root, &temporary, RenameFlags::NOREPLACE)
            .map_err(|errno| self.not_removable(found.place, native, errno))?;
        self.moved(found, dir.as_fd(), (root, &temporary))?;
        let back = || pool::rename(root, &temporary, &dir, native, RenameFlags::NOREPLACE);
        if lease.as_ref().is_some_and(Lease::broken) {
            back().map_err(|e| fail::after(format!("moving {native} back"), e))?;
            return Err(in_use(native, &["a client that has just opened it".to_owned()]));
        }
        drop(lease);
        self.synced(root)?;
        self.synced(dir.as_fd())?;
        if let Err(errno) = object::remove_directory(root, &temporary) {
            if errno == object::REPLACED {
                // Under the object's own name it would be taken for the object.
                return Err(DriverError { effect: Effect::Yes, ..self.is_another(&temporary) });
            }
            // The data file is removed first: while it exists, nothing has been removed.
            let intact = object::holds_data(root, &temporary).unwrap_or(false);
            if intact && back().is_ok() {
                self.synced(dir.as_fd())?;
                self.synced(root)?;
                return Err(self.not_removable(found.place, native, errno));
            }
            let error = self.not_removable(Place::Temporary, &temporary, errno);
            return Err(DriverError { effect: Effect::Yes, ..error });
        }
        Ok(Outcome::Changed)
    }

    /// The error of a directory that could not be removed. Names an immutable file with the command that fixes it.
    fn not_removable(&self, place: Place, name: &str, errno: Errno) -> DriverError {
        let error = fail::before(format!("removing {name}"), errno);
        let dir = self.pool.place(place).ok().flatten();
        let Some(file) = dir.and_then(|dir| object::immutable_in(dir.as_fd(), name)) else { return error };
        let trash = if place == Place::Trash { ".trash/" } else { "" };
        let path = format!("{}/{trash}{file}", self.pool.path.display());
        DriverError { message: format!("{}; fix: chattr -i -a {path}", error.message), ..error }
    }

    /// The error of a directory under a temporary name that is not the one that Kiln renamed. The command of its fix makes it an entry
    /// that Kiln does not touch.
    fn is_another(&self, native: &str) -> DriverError {
        let path = |name: &str| quoted(&self.pool.path.join(name).display().to_string());
        let aside = native.replacen("kiln-tmp.", "not-removed.", 1);
        fail::conflict(format!("{NOT_THE_ONE}; fix: mv {} {}", path(native), path(&aside)))
    }

    /// Refuses to remove a directory with a file that Kiln did not put there.
    pub(super) fn no_stranger(&self, found: &FoundObject) -> Result<(), DriverError> {
        let native = &found.native;
        let stranger = object::stranger_in(self.own_dir(found)?.as_fd())
            .map_err(|e| fail::before(format!("reading {native}"), e))?;
        match stranger {
            None => Ok(()),
            Some(stranger) => Err(fail::conflict(format!(
                "{native} contains {stranger:?}, which Kiln did not put there; move it away and run the command again"
            ))),
        }
    }

    /// Removes what a crash left under a temporary name.
    pub(super) fn sweep(&self) -> Result<Outcome, DriverError> {
        let native = self.native()?;
        if !self.step.native.is_temporary() {
            return Err(fail::conflict(format!("{native} is not a temporary name")));
        }
        self.give_back(self.pool.root(), native)?;
        let removed = object::remove_directory(self.pool.root(), native).map_err(|errno| match errno {
            object::REPLACED => self.is_another(native),
            errno => DriverError { effect: Effect::Unknown, ..self.not_removable(Place::Temporary, native, errno) },
        })?;
        Ok(if removed { Outcome::Changed } else { Outcome::Unchanged })
    }

    /// Succeeds for an object that does not exist, and removes what a crash left of it.
    fn left_over(&self) -> Result<Outcome, DriverError> {
        let cleared = self.clear_temporary()?;
        self.drop_mark()?;
        Ok(if cleared { Outcome::Changed } else { Outcome::Unchanged })
    }

    fn not_live(&self) -> Result<Outcome, DriverError> {
        match self.in_trash()? {
            Some(_) if self.step.action == crate::model::Action::Destroy => {
                Err(fail::conflict(format!("{} is in the trash", self.step.native)))
            }
            Some(trashed) => self.is_trashed(&trashed),
            None => self.left_over(),
        }
    }

    /// Removes the mark of an adopted file, the only thing that is left.
    fn is_trashed(&self, trashed: &FoundObject) -> Result<Outcome, DriverError> {
        if trashed.tags.adopted {
            self.taken(self.own_dir(trashed)?.as_fd(), &trashed.tags)?;
        }
        Ok(Outcome::Unchanged)
    }

    /// This object, if it is in the trash.
    fn in_trash(&self) -> Result<Option<FoundObject>, DriverError> {
        Ok(self.find(self.native()?, Place::Trash)?.filter(|found| self.is_it(found)))
    }

    /// Removes the mark of this step's object, not that of another object whose file has the same name.
    fn drop_mark(&self) -> Result<(), DriverError> {
        let (native, identity) = (self.native()?, &self.step.identity);
        let failed = |e| fail::after(format!("removing the mark of {native}"), e);
        self.pool.drop_mark(native, &identity.owner, identity.uid).map(drop).map_err(failed)
    }
}
