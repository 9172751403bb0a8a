//! The steps on a pool directory.
//!
//! Each step first finds its object: if the effect is already there, the step is Unchanged; if the object is not as expected, it is a
//! Conflict. Then follows the effect, as one rename where possible. The order of calls is such that the next observation recognises
//! every state that a crash can leave, and the same step completes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use smol_str::SmolStr;

use super::content::GRANULARITY;
use super::content::{self, CopyWork};
use super::fail;
use super::file_id::FileId;
use super::lease;
use super::object::{self, Form, FoundObject, image_name};
use super::pool::{self, FILE_MODE, ListBuffer, LocalPool};
use crate::driver::image;
use crate::model::{
    Action, DriverError, ErrorKind, Expect, Identity, Kind, NativeName, ObjectRef, Origin, Outcome, Place,
    Provisioning, Size, Step, Tags,
};

/// Snapshots are read-only.
const SNAPSHOT_MODE: Mode = Mode::RUSR;

/// Fills a new data file.
type Fill<'a> = &'a dyn Fn(&OwnedFd) -> Result<(), DriverError>;

/// A step that is being executed.
pub(super) struct Task<'a> {
    pub(super) pool: &'a LocalPool,
    pub(super) step: &'a Step,
    pub(super) work: &'a CopyWork,
}

impl Task<'_> {
    /// Executes the step. See [`crate::driver::Driver::execute`].
    pub(super) fn run(&self) -> Result<Outcome, DriverError> {
        // First of all: the name becomes a part of paths.
        self.native()?;
        match &self.step.action {
            Action::Reserve => self.reserve(),
            // No file has settings.
            Action::Configure { settings: _ } => Ok(Outcome::Unchanged),
            Action::Create { size, provisioning, origin, tags, settings: _, n: _ } => {
                self.create(*size, *provisioning, origin.as_ref(), tags)
            }
            Action::Snapshot { volume, tags, n: _ } => self.snapshot(volume, tags),
            Action::Grow { to } => self.grow(*to),
            Action::Restore { snapshot, request } => self.restore(snapshot, request),
            Action::SetTags { tags } => self.set_tags(tags),
            Action::Rename { from, tags } => self.rename(from, tags),
            Action::Adopt { tags, n: _ } => self.adopt(tags),
            Action::Trash { ttl, with: _ } => self.trash(ttl.0),
            Action::Undelete { tags, with: _ } => self.undelete(tags),
            Action::Destroy => self.destroy(),
            Action::Purge => self.purge(),
            Action::Sweep => self.sweep(),
            // No clone of a file depends on its source.
            Action::Detach => Ok(Outcome::Unchanged),
        }
    }

    pub(super) fn native(&self) -> Result<&str, DriverError> {
        pool::check_name(&self.step.native)
    }

    /// The name under which this object is created.
    pub(super) fn temporary(&self) -> String {
        self.step.identity.temporary().as_str().to_owned()
    }

    /// A temporary name that only these directories may be removed under: see [`FileId::is_named_by`].
    pub(super) fn temporary_of(&self, dirs: impl IntoIterator<Item = FileId>) -> String {
        dirs.into_iter().fold(self.temporary(), |name, id| format!("{name}.{id}"))
    }

    pub(super) fn find(&self, native: &str, place: Place) -> Result<Option<FoundObject>, DriverError> {
        self.pool.find(native, place).map_err(|e| fail::before(format!("reading {native}"), e))
    }

    /// Whether it is the object of this step.
    pub(super) fn is_it(&self, found: &FoundObject) -> bool {
        found.identity.as_ref().is_some_and(|id| id.uid == self.step.identity.uid)
    }

    /// Refuses an object with another identity, or one that is inconsistent.
    pub(super) fn mine(&self, found: &FoundObject) -> Result<(), DriverError> {
        same_object(found, &self.step.identity)
    }

    /// Refuses an object that is not as the step expects. `written`: the tags that the step itself writes; they may be there already.
    pub(super) fn expected(&self, found: &FoundObject, written: Option<&Tags>) -> Result<(), DriverError> {
        self.mine(found)?;
        self.as_planned(found, written)
    }

    /// Refuses an object that is not as it was when the step was planned, whatever its identity.
    fn as_planned(&self, found: &FoundObject, written: Option<&Tags>) -> Result<(), DriverError> {
        // Every field is named, so that a new one is not overlooked. `unwritten`: see `still_unwritten`.
        let Expect { place, id, size, tags, settings, idle, unwritten: _ } = &self.step.expect;
        let name = &found.native;
        if place.is_some_and(|place| place != found.place) {
            return Err(fail::conflict(format!("{name} is not where the plan expects it")));
        }
        self.same_id(found, id.as_ref())?;
        if let Some(size) = size
            && size.bytes() != found.size
        {
            return Err(fail::conflict(format!("{name} has {} bytes, and the plan expects {size}", found.size)));
        }
        if let Some(tags) = tags {
            let there = comparable(&found.tags);
            if there != comparable(tags) && written.map(comparable).as_ref() != Some(&there) {
                return Err(fail::conflict(format!("the tags of {name} have changed since it was planned")));
            }
        }
        if settings.as_ref().is_some_and(|settings| !settings.is_plain()) {
            return Err(fail::conflict(format!("{name} has no settings, and the plan expects some")));
        }
        if *idle {
            self.idle(found)?;
        }
        self.still_unwritten(found)
    }

    /// Refuses an object that was written to, if the step expects that it was not.
    pub(super) fn still_unwritten(&self, found: &FoundObject) -> Result<(), DriverError> {
        if self.step.expect.unwritten && !content::holds_no_data(&self.open(found, OFlags::RDONLY)?) {
            return Err(fail::conflict(format!("{} was written to after the plan was made", found.native)));
        }
        Ok(())
    }

    /// Refuses an object that was deleted and made again since it was observed.
    fn same_id(&self, found: &FoundObject, id: Option<&SmolStr>) -> Result<(), DriverError> {
        match (id, found.id()) {
            (Some(id), Some(there)) if *id != there => {
                Err(fail::conflict(format!("{} was replaced by another object after it was observed", found.native)))
            }
            _ => Ok(()),
        }
    }

    /// Busy if a process is known to have the object open for writing.
    pub(super) fn idle(&self, found: &FoundObject) -> Result<(), DriverError> {
        let data = self.open(found, OFlags::RDONLY)?;
        match lease::writers_of(&data) {
            Some(who) if !who.is_empty() => Err(in_use(&found.native, &who)),
            _ => Ok(()),
        }
    }

    pub(super) fn place(&self, place: Place) -> Result<object::PlaceDir<'_>, DriverError> {
        let failed = |e| fail::before("opening the trash", e);
        self.pool.place(place).map_err(failed)?.ok_or_else(|| failed(Errno::NOENT))
    }

    pub(super) fn open(&self, found: &FoundObject, flags: OFlags) -> Result<OwnedFd, DriverError> {
        let dir = self.place(found.place)?;
        object::open_data(dir.as_fd(), found, flags).map_err(|e| not_opened(found, e))
    }

    /// The directory of an object that has one.
    pub(super) fn own_dir(&self, found: &FoundObject) -> Result<OwnedFd, DriverError> {
        object::open_own(self.place(found.place)?.as_fd(), found).map_err(|e| not_opened(found, e))
    }

    /// The tags as they are stored. They include the identity of an object whose name does not.
    pub(super) fn stored(&self, tags: &Tags, adopted: bool) -> Tags {
        let mut tags = tags.clone();
        if self.step.native.parse().is_none() && tags.identity.is_none() {
            tags.identity = Some(Box::new(self.step.identity.clone()));
        }
        tags.adopted |= adopted;
        tags
    }

    pub(super) fn write_tags(&self, found: &FoundObject, tags: &Tags) -> Result<(), DriverError> {
        let failed = |e| fail::after(format!("writing the tags of {}", found.native), e);
        match found.form {
            Form::File => {
                let file = found.file.ok_or_else(|| fail::conflict(format!("{} is not a file", found.native)))?;
                self.pool.write_mark(&found.native, file, tags).map_err(failed)
            }
            Form::Directory { .. } => object::write_tags(self.own_dir(found)?.as_fd(), tags).map_err(failed),
            Form::Other => Err(fail::conflict(format!("{} is not an object", found.native))),
        }
    }

    /// Renames what was made under the temporary name to [`Self::temporary_of`], before another directory comes to that name.
    pub(super) fn rename_temporary(&self, dirs: impl IntoIterator<Item = FileId>) -> Result<String, Errno> {
        let (root, name) = (self.pool.root(), self.temporary_of(dirs));
        pool::rename(root, &self.temporary(), root, &name, RenameFlags::NOREPLACE)?;
        Ok(name)
    }

    /// Removes what a crash left under the temporary names of this object, but no directory that is not Kiln's. Returns whether
    /// anything was removed. Lists the pool.
    pub(super) fn clear_temporary(&self) -> Result<bool, DriverError> {
        let name = self.temporary();
        let entries = pool::list(self.pool.root(), &mut ListBuffer::new())
            .map_err(|e| fail::before(format!("searching for what was left of {}", self.step.native), e))?;
        let own = |of: &str| of.strip_prefix(&name).is_some_and(|ids| ids.is_empty() || ids.starts_with('.'));
        let mut cleared = false;
        for entry in entries.iter().filter(|entry| entry.file_type == FileType::Directory && own(&entry.name)) {
            cleared |= self.clear(&entry.name)?;
        }
        Ok(cleared)
    }

    /// Removes what a crash left under one temporary name.
    fn clear(&self, name: &str) -> Result<bool, DriverError> {
        if self.give_back(self.pool.root(), name)? {
            return Err(replaced(self.native()?));
        }
        match object::remove_directory(self.pool.root(), name) {
            Err(object::REPLACED) => Ok(false),
            other => other.map_err(|e| fail::before(format!("removing what was left at {name}"), e)),
        }
    }

    /// Renames to this step's native name, which must be free. A shell under that name is exchanged with the renamed entry, so that a
    /// crash never leaves both names empty, and is then removed. Not under the name of a new object, which a sweep would remove with the
    /// data if that was put back just before.
    pub(super) fn rename_free(&self, from_dir: impl AsFd, from: &str, to_dir: impl AsFd) -> Result<(), Errno> {
        let to = self.step.native.as_str();
        let free = pool::rename(&from_dir, from, &to_dir, to, RenameFlags::NOREPLACE);
        if free != Err(Errno::EXIST) || !object::is_shell(to_dir.as_fd(), to)? {
            return free;
        }
        let named = match from == self.temporary() {
            true => self.rename_temporary([FileId::of(from_dir.as_fd(), from)?])?,
            false => from.to_owned(),
        };
        let from = named.as_str();
        let exchange = || pool::rename(&from_dir, from, &to_dir, to, RenameFlags::EXCHANGE);
        exchange()?;
        if object::is_shell(from_dir.as_fd(), from)? {
            // The shell has no meaning at its new place; the next step that needs the name removes it.
            let _ = object::remove_directory(from_dir.as_fd(), from);
            return Ok(());
        }
        // The file was put back between the two calls.
        exchange()?;
        Err(Errno::EXIST)
    }

    fn create(
        &self,
        size: Size,
        provisioning: Provisioning,
        origin: Option<&Origin>,
        tags: &Tags,
    ) -> Result<Outcome, DriverError> {
        let size = size.round_up(GRANULARITY).bytes();
        let thick = provisioning == Provisioning::Thick;
        if self.already_made(Some(size))? {
            return Ok(Outcome::Unchanged);
        }
        match origin {
            None => self.make(tags, FILE_MODE, |data| {
                content::allot(data, size, thick).map_err(|e| fail::before("allocating space", e))
            }),
            Some(Origin::Snapshot(object) | Origin::Volume(object)) => {
                let source = self.source(object)?;
                self.make(tags, FILE_MODE, |data| {
                    content::fill(data, &source, size, thick, object.native.as_str(), self.work)
                })
            }
            Some(Origin::Image { image, size: seen }) => {
                let source = image::open(image, *seen, size)?;
                self.make(tags, FILE_MODE, |data| source.fill(data, size, thick, self.work))
            }
        }
    }

    fn snapshot(&self, volume: &ObjectRef, tags: &Tags) -> Result<Outcome, DriverError> {
        if self.already_made(None)? {
            return Ok(Outcome::Unchanged);
        }
        let source = self.source(volume)?;
        let stat = fs::fstat(&source).map_err(|e| fail::before(format!("reading {}", volume.native), e))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.make(tags, SNAPSHOT_MODE, |data| {
            content::fill(data, &source, size, false, volume.native.as_str(), self.work)
        })
    }

    /// Whether the object already exists, complete.
    fn already_made(&self, size: Option<u64>) -> Result<bool, DriverError> {
        let native = self.native()?;
        if let Some(found) = self.find(native, Place::Live)? {
            self.mine(&found)?;
            if let Some(size) = size
                && found.size != size
            {
                return Err(fail::conflict(format!("{native} exists with {} bytes instead of {size}", found.size)));
            }
            self.settle(&found)?;
            self.clear_temporary()?;
            return Ok(true);
        }
        match self.find(native, Place::Trash)? {
            Some(found) if self.is_it(&found) => Err(fail::conflict(format!("{native} is in the trash"))),
            _ => Ok(false),
        }
    }

    /// Opens the content of another object after checking its identity.
    pub(super) fn source(&self, source: &ObjectRef) -> Result<OwnedFd, DriverError> {
        let native = pool::check_name(&source.native)?;
        let found = self.find(native, Place::Live)?.ok_or_else(|| {
            DriverError::before(ErrorKind::NotFound, format!("{native}, the source of the copy, does not exist"))
        })?;
        if let Some(why) = &found.conflict {
            return Err(fail::conflict(format!("{native} is inconsistent: {why}")));
        }
        if found.identity.as_ref().map(|id| id.uid) != Some(source.uid) {
            return Err(fail::conflict(format!("{native} is not the object {} of the plan", source.uid)));
        }
        self.same_id(&found, source.id.as_ref())?;
        self.open(&found, OFlags::RDONLY)
    }

    /// Makes an object's directory under its temporary name, complete and durable: the data file under its final name, and tags.
    /// `takes`: the adopted file that is to be moved into it.
    pub(super) fn prepare(
        &self,
        tags: &Tags,
        takes: Option<FileId>,
        data: Option<(Mode, Fill<'_>)>,
    ) -> Result<OwnedFd, DriverError> {
        let (native, temporary) = (self.native()?, self.temporary());
        let failed = |e| fail::before(format!("making {native}"), e);
        let result = (|| {
            let mut made = pool::mkdir(self.pool.root(), &temporary);
            if made == Err(Errno::EXIST) {
                self.clear(&temporary)?;
                made = pool::mkdir(self.pool.root(), &temporary);
            }
            made.map_err(failed)?;
            let own = pool::open_dir(self.pool.root(), &temporary).map_err(failed)?;
            let mut files = Vec::from_iter(takes);
            if let Some((mode, fill)) = data {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
                let data = pool::open_in(own.as_fd(), &image_name(native), flags, mode).map_err(failed)?;
                fill(&data)?;
                pool::sync(data.as_fd()).map_err(failed)?;
                if !files.is_empty() {
                    files.push(FileId::of_open(data.as_fd()).map_err(failed)?);
                }
            }
            object::write_first_tags(own.as_fd(), tags, &files).map_err(failed)?;
            pool::sync(own.as_fd()).map_err(failed)?;
            Ok(own)
        })();
        if result.is_err() {
            // An incomplete object is of no use, and takes space that may be missing. The first error is the one to report.
            let _ = self.clear(&temporary);
        }
        result
    }

    fn make(
        &self,
        tags: &Tags,
        mode: Mode,
        fill: impl Fn(&OwnedFd) -> Result<(), DriverError>,
    ) -> Result<Outcome, DriverError> {
        self.prepare(&self.stored(tags, false), None, Some((mode, &fill)))?;
        let (native, temporary, root) = (self.native()?, self.temporary(), self.pool.root());
        if let Err(errno) = self.rename_free(root, &temporary, root) {
            let _ = self.clear_temporary();
            return Err(fail::before(format!("publishing {native}"), errno));
        }
        self.synced(root)?;
        Ok(Outcome::Changed)
    }

    /// Makes the entries of a directory durable, after the effect.
    pub(super) fn synced(&self, dir: BorrowedFd<'_>) -> Result<(), DriverError> {
        pool::sync(dir).map_err(|e| fail::after(format!("making the change of {} durable", self.step.native), e))
    }

    /// Completes an interrupted rename. Returns whether there was one.
    pub(super) fn settle(&self, found: &FoundObject) -> Result<bool, DriverError> {
        if !matches!(found.form, Form::Directory { .. }) {
            return Ok(false);
        }
        object::settle_image(self.own_dir(found)?.as_fd(), found)
            .map_err(|e| fail::after(format!("finishing the rename of {}", found.native), e))
    }

    /// The live object of this step, or the error that it does not exist.
    pub(super) fn live(&self) -> Result<FoundObject, DriverError> {
        let native = self.native()?;
        match self.find(native, Place::Live)? {
            Some(found) => Ok(found),
            None => Err(fail::conflict(format!("{native} does not exist"))),
        }
    }

    fn grow(&self, to: Size) -> Result<Outcome, DriverError> {
        let to = to.round_up(GRANULARITY).bytes();
        let found = self.live()?;
        self.mine(&found)?;
        if self.step.identity.kind == Kind::Snapshot {
            return Err(fail::conflict("a snapshot cannot be resized"));
        }
        if found.size == to {
            return Ok(Outcome::Unchanged);
        }
        self.expected(&found, None)?;
        if found.size > to {
            return Err(fail::conflict(format!(
                "its size is already {}; Kiln never shrinks an object",
                Size(found.size)
            )));
        }
        let doing = format!("growing {}", found.native);
        let data = self.open(&found, OFlags::WRONLY)?;
        let thick = found.tags.provisioning == Some(Provisioning::Thick);
        content::lengthen(&data, found.size, to, thick).map_err(|e| fail::before(&doing, e))?;
        pool::sync(data.as_fd()).map_err(|e| fail::after(&doing, e))?;
        Ok(Outcome::Changed)
    }

    fn reserve(&self) -> Result<Outcome, DriverError> {
        let found = self.live()?;
        self.mine(&found)?;
        if self.step.identity.kind == Kind::Snapshot {
            return Err(fail::conflict("a snapshot is not thick"));
        }
        self.expected(&found, None)?;
        let doing = format!("reserving the space of {}", found.native);
        let data = self.open(&found, OFlags::WRONLY)?;
        // What a file occupies includes the list of its extents: it may have holes even if that is as much as its size.
        let used =
            || rustix::fs::fstat(&data).map(|stat| content::allocated(&stat)).map_err(|e| fail::after(&doing, e));
        let before = used()?;
        content::reserve(&data, found.size, &doing, self.work)?;
        pool::sync(data.as_fd()).map_err(|e| fail::after(&doing, e))?;
        Ok(if used()? == before { Outcome::Unchanged } else { Outcome::Changed })
    }

    fn set_tags(&self, tags: &Tags) -> Result<Outcome, DriverError> {
        let native = self.native()?;
        let place = self.step.expect.place.unwrap_or(Place::Live);
        let found = self
            .find(native, place)?
            .ok_or_else(|| fail::conflict(format!("{native} is not where the plan expects it")))?;
        self.mine(&found)?;
        let mut tags = self.stored(tags, found.form == Form::File);
        if place == Place::Trash && tags.expires.is_none() {
            // An object in the trash keeps its expiry.
            tags.expires = found.tags.expires;
        }
        self.expected(&found, Some(&tags))?;
        self.finish(&found, &tags)
    }

    fn rename(&self, from: &NativeName, tags: &Tags) -> Result<Outcome, DriverError> {
        let (from, to) = (pool::check_name(from)?, self.native()?);
        if from == to {
            return self.set_tags(tags);
        }
        let tags = self.stored(tags, false);
        let (old, new) = (self.find(from, Place::Live)?, self.find(to, Place::Live)?);
        let old = old.filter(|old| self.is_it(old));
        match (old, new) {
            (Some(_), Some(_)) => Err(fail::conflict(format!("both {from} and {to} exist"))),
            (None, None) => Err(DriverError::before(
                ErrorKind::NotFound,
                format!("neither {from} nor {to} of this identity exists"),
            )),
            (None, Some(found)) => self.finish(&found, &tags),
            (Some(found), None) => {
                self.expected(&found, Some(&tags))?;
                if !matches!(found.form, Form::Directory { .. }) {
                    return Err(DriverError::before(
                        ErrorKind::Unsupported,
                        format!("{from} is an adopted file, which keeps its name"),
                    ));
                }
                let named = |name: &str| NativeName::new(name).parse().is_some();
                if !(named(from) && named(to)) {
                    // A name without the identity needs it in the tags before the old name is gone.
                    let said = Tags { identity: Some(Box::new(self.step.identity.clone())), ..tags.clone() };
                    self.write_tags(&found, &said)?;
                }
                let root = self.pool.root();
                self.rename_free(root, from, root).map_err(|e| fail::before(format!("renaming {from} to {to}"), e))?;
                self.moved(&found, root, (root, to))?;
                self.synced(root)?;
                self.finish(&self.live()?, &tags)?;
                Ok(Outcome::Changed)
            }
        }
    }

    /// Completes an interrupted rename of this step's object, and gives it these tags.
    fn finish(&self, found: &FoundObject, tags: &Tags) -> Result<Outcome, DriverError> {
        self.mine(found)?;
        let settled = self.settle(found)?;
        if found.tags == *tags {
            return Ok(if settled { Outcome::Changed } else { Outcome::Unchanged });
        }
        self.write_tags(found, tags)?;
        Ok(Outcome::Changed)
    }

    fn adopt(&self, tags: &Tags) -> Result<Outcome, DriverError> {
        let found = self.live()?;
        let tags = self.stored(tags, true);
        if found.identity.is_some() {
            self.expected(&found, Some(&tags))?;
            if found.tags == tags {
                return Ok(Outcome::Unchanged);
            }
        } else {
            // Anything but a regular file with one name has a conflict.
            if let Some(why) = &found.conflict {
                return Err(fail::conflict(format!("{} cannot be adopted: {why}", found.native)));
            }
            self.as_planned(&found, None)?;
            let data = self.open(&found, OFlags::RDONLY)?;
            let format = image::format_of(&data).map_err(|e| fail::before(format!("reading {}", found.native), e))?;
            if let Some(format) = format {
                return Err(fail::conflict(format!(
                    "{} holds an image of the format {format}, not a raw disk",
                    found.native
                )));
            }
        }
        self.write_tags(&found, &tags)?;
        Ok(Outcome::Changed)
    }
}

/// Refuses an object with another identity, or one that is inconsistent.
fn same_object(found: &FoundObject, identity: &Identity) -> Result<(), DriverError> {
    let native = &found.native;
    if let Some(why) = &found.conflict {
        return Err(fail::conflict(format!("{native} is inconsistent: {why}")));
    }
    match &found.identity {
        Some(there) if there.uid == identity.uid && there.kind == identity.kind => Ok(()),
        Some(there) => Err(fail::conflict(format!("{native} is {} {} ({})", there.kind, there.name, there.uid))),
        None => Err(fail::conflict(format!("{native} is not an object of Kiln"))),
    }
}

/// The tags that a plan compares. The others belong to the backend, and the identity was checked by its uid.
fn comparable(tags: &Tags) -> Tags {
    Tags { expires: None, identity: None, adopted: false, ..tags.clone() }
}

pub(super) fn replaced(native: &str) -> DriverError {
    fail::conflict(format!("{native} was replaced by another file or directory"))
}

fn not_opened(found: &FoundObject, errno: Errno) -> DriverError {
    match errno {
        object::REPLACED => replaced(&found.native),
        errno => fail::before(format!("opening {}", found.native), errno),
    }
}

pub(super) fn in_use(native: &str, who: &[String]) -> DriverError {
    DriverError::before(ErrorKind::Busy, format!("{native} is open for writing by {}", who.join(", ")))
}
