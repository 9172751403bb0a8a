//! Restores a volume from a snapshot: the copy is made under another name and then exchanged with the volume's content.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::file_id::FileId;
use super::lease::{self, Lease, Leased};
use super::object::{self, Form, FoundObject, image_name};
use super::pool::{self, FILE_MODE};
use super::steps::{Task, in_use};
use super::{content, fail};
use crate::model::{DriverError, ObjectRef, Outcome, Place, Provisioning};

impl Task<'_> {
    /// See [`crate::model::Action::Restore`].
    pub(super) fn restore(&self, snapshot: &ObjectRef, request: &str) -> Result<Outcome, DriverError> {
        let found = self.live()?;
        self.mine(&found)?;
        if found.tags.restoring.is_none() && found.tags.restored.as_deref() == Some(request) {
            if found.form == Form::File {
                // The mark may still name both files.
                self.write_tags(&found, &found.tags)?;
            }
            // The content from before the restore may still be under the temporary name.
            self.clear_temporary()?;
            return Ok(Outcome::Unchanged);
        }
        self.expected(&found, None)?;
        self.settle(&found)?;
        let native = self.native()?;
        let failed = |e| fail::before(format!("restoring {native}"), e);
        if found.form != Form::File {
            // It would be moved away with the old content, which could then not be removed.
            self.no_stranger(&found)?;
        }

        // Held until after the exchange: a process that opens the volume for writing before it would write to the old content.
        let old = self.open(&FoundObject { form: settled(&found), ..found.clone() }, OFlags::RDONLY)?;
        let lease = match Lease::take(old.as_fd()) {
            Leased::Idle(lease) | Leased::Unproven(lease) => Some(lease),
            Leased::Writers => return Err(in_use(native, &lease::writers(old.as_fd()))),
            Leased::Unknown => None,
        };
        let source = self.source(snapshot)?;
        let of = self.find(pool::check_name(&snapshot.native)?, Place::Live)?.and_then(|found| found.tags.volume);
        if of != Some(self.step.identity.uid) {
            return Err(fail::conflict(format!("{} is not a snapshot of this volume", snapshot.native)));
        }
        let mut tags = self.stored(&found.tags, found.form == Form::File);
        tags.restored = Some(request.to_owned());
        tags.restoring = None;
        let thick = tags.provisioning == Some(Provisioning::Thick);
        self.clear_temporary()?;
        let own = self.prepare(
            &tags,
            found.file,
            Some((FILE_MODE, &|data| {
                content::fill(data, &source, found.size, thick, snapshot.native.as_str(), self.work)?;
                // The copy keeps the permissions of the volume.
                let stat = fs::fstat(&old).map_err(failed)?;
                keep_access(data, &stat).map_err(failed)
            })),
        )?;
        let root = self.pool.root();
        let (new_dir, new): (BorrowedFd<'_>, String) = match found.form {
            Form::File => (own.as_fd(), image_name(native)),
            _ => {
                let stat = fs::fstat(self.own_dir(&found)?).map_err(failed)?;
                keep_access(&own, &stat).map_err(failed)?;
                let new = FileId::of_open(own.as_fd()).map_err(failed)?;
                (root, self.rename_temporary(found.own.into_iter().chain([new])).map_err(failed)?)
            }
        };
        let file = match found.file {
            Some(old) => {
                let copy = FileId::of(own.as_fd(), &image_name(native)).map_err(failed)?;
                // The exchange completes the restore and makes it visible: a crash cannot come between the two.
                self.pool.write_mark_of_both(native, (old, &found.tags), (copy, &tags)).map_err(failed)?;
                Some(copy)
            }
            None => None,
        };
        let exchange = || pool::rename(new_dir, &new, root, native, RenameFlags::EXCHANGE);
        let opened = || lease.as_ref().is_some_and(Lease::broken);
        let late = || in_use(native, &["a process that opened it meanwhile".to_owned()]);
        // The first error is the one to report.
        let give_up = || {
            if file.is_some() {
                let _ = self.write_tags(&found, &found.tags);
            }
            let _ = self.clear_temporary();
        };
        if opened() {
            give_up();
            return Err(late());
        }
        self.is_still(&found, root, native).inspect_err(|_| give_up())?;
        exchange().map_err(|errno| {
            give_up();
            failed(errno)
        })?;
        if let Err(error) = self.is_still(&found, new_dir, &new) {
            exchange().map_err(|e| fail::after(format!("moving {native} back"), e))?;
            give_up();
            return Err(error);
        }
        if opened() {
            // A process opened it just before the exchange: exchange again.
            exchange().map_err(|e| fail::after(format!("moving {native} back"), e))?;
            give_up();
            return Err(late());
        }
        self.synced(own.as_fd())?;
        self.synced(root)?;
        if file.is_some() {
            self.write_tags(&FoundObject { file, ..found.clone() }, &tags)?;
        }
        drop(lease);
        let temporary = if found.form == Form::File { self.temporary() } else { new };
        object::remove_directory(root, &temporary)
            .map_err(|e| fail::after(format!("removing the previous content of {native}"), e))?;
        Ok(Outcome::Changed)
    }
}

/// The form after an interrupted rename is completed.
fn settled(found: &FoundObject) -> Form {
    match &found.form {
        Form::Directory { image: Some(_) } => Form::Directory { image: Some(image_name(&found.native)) },
        other => other.clone(),
    }
}

/// Gives a new file or directory the owner and the mode of the one that it replaces.
fn keep_access(new: &OwnedFd, old: &fs::Stat) -> Result<(), Errno> {
    let stat = fs::fstat(new)?;
    if (stat.st_uid, stat.st_gid) != (old.st_uid, old.st_gid) {
        fs::fchown(new, Some(fs::Uid::from_raw(old.st_uid)), Some(fs::Gid::from_raw(old.st_gid)))?;
    }
    fs::fchmod(new, Mode::from_raw_mode(old.st_mode & 0o7777))
}
