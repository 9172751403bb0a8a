//! An object on disk: how it is recognised, and how its tags are stored.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::{SmolStr, format_smolstr};

use super::entry_status::EntryStatus;
use super::file_id::FileId;
use super::pool::{self, DirEntry, ListBuffer, LocalPool};
use crate::model::{Identity, NativeName, Owner, Place, Tags, Uid};

/// The tags of an object, in its directory.
const TAGS: &str = "tags.json";
/// The new tags during a replacement. The file has no meaning, whatever its content.
const TAGS_BESIDE: &str = "tags.json.new";
/// The suffix of data files.
pub(super) const IMAGE: &str = ".img";
/// The limit of a tags file in bytes: more than the labels of any manifest. Kiln did not write a longer one.
const TAGS_LIMIT: u64 = 1 << 20;
/// The format of the stored tags. A newer one is a conflict: Kiln does not change what it cannot read.
pub(super) const TAGS_FORMAT: u32 = 1;

/// Why a file with several names is not adopted.
const HARD_LINKS: &str = "it has other names (hard links), under which other programs may change it";

/// Why a directory under a temporary name is not removed.
pub(super) const NOT_THE_ONE: &str =
    "it is not the directory that Kiln left here, but another that took its place (or the pool is a copy)";

/// An object, or another entry in the place of objects.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundObject {
    pub(super) native: String,
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) identity: Option<Identity>,
    pub(super) size: u64,
    pub(super) used: u64,
    pub(super) tags: Tags,
    pub(super) conflict: Option<String>,
    /// The identity of a live plain file.
    pub(super) file: Option<FileId>,
    /// The identity of its directory.
    pub(super) own: Option<FileId>,
    /// The identity of its data file.
    pub(super) data: Option<FileId>,
}

/// The form of an object on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A directory with its data file, which has the name of the directory unless a rename was interrupted.
    Directory {
        /// The data file.
        image: Option<String>,
    },
    /// A plain file that another program made, adopted or not.
    File,
    /// Any other entry, which Kiln never changes.
    Other,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    tags: Tags,
    /// In a directory that an adopted file is moved into: the files that may be its data. Empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileId>,
}

/// The data file's name in the directory of an object.
pub(super) fn image_name(native: &str) -> String {
    format!("{native}{IMAGE}")
}

/// The directory of a place.
pub(super) enum PlaceDir<'a> {
    Root(BorrowedFd<'a>),
    Trash(OwnedFd),
}

impl AsFd for PlaceDir<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            PlaceDir::Root(fd) => fd.as_fd(),
            PlaceDir::Trash(fd) => fd.as_fd(),
        }
    }
}

impl LocalPool {
    /// The directory with the objects of a place. `None` if there is no trash yet.
    pub(super) fn place(&self, place: Place) -> Result<Option<PlaceDir<'_>>, Errno> {
        match place {
            Place::Live | Place::Temporary => Ok(Some(PlaceDir::Root(self.root()))),
            Place::Trash => Ok(self.trash()?.map(PlaceDir::Trash)),
        }
    }

    /// Finds one object in one place. `None` if it does not exist.
    pub(super) fn find(&self, native: &str, place: Place) -> Result<Option<FoundObject>, Errno> {
        let mut buffer = ListBuffer::new();
        // Another program's rename between two calls appears as ENOENT: try again. Three in a row are not a coincidence.
        for _ in 0..3 {
            let Some(dir) = self.place(place)? else { return Ok(None) };
            match self.read_entry(dir.as_fd(), native, place, &mut buffer) {
                Err(Errno::NOENT) if pool::stat_in(dir.as_fd(), native)?.is_none() => return Ok(None),
                Err(Errno::NOENT) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Reads an entry of a place.
    ///
    /// `Ok(None)`: the entry has no meaning (the trash prepared for an adopted file that has not moved yet; the directory of
    /// an object without its data file). `ENOENT`: it, or something in it, has just been removed: try again.
    pub(super) fn read_entry(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        place: Place,
        buffer: &mut ListBuffer,
    ) -> Result<Option<FoundObject>, Errno> {
        let native = NativeName::new(name);
        let temporary = native.is_temporary();
        let identity = Identity::of(&native).filter(|_| !temporary || place != Place::Trash);
        let mut found = FoundObject {
            native: name.to_owned(),
            place: if temporary && identity.is_some() { Place::Temporary } else { place },
            form: Form::Other,
            identity,
            size: 0,
            used: 0,
            tags: Tags::default(),
            conflict: None,
            file: None,
            own: None,
            data: None,
        };
        match pool::open_dir(dir, name) {
            Ok(own) => {
                found.own = Some(FileId::of_open(own.as_fd())?);
                return match self.look_inside(found, own.as_fd(), buffer)? {
                    Some(found) => Ok(Some(found.unfit("it is a directory and not a regular file"))),
                    // A removal does not remove the data file under this name: the entry may have been exchanged for another
                    // after it was opened.
                    None if is_still(dir, name, &own)? => Ok(None),
                    None => Err(Errno::NOENT),
                };
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            // For example `lost+found`. Kiln can open what it makes, so a directory without one of its names is not Kiln's.
            Err(Errno::ACCESS) if found.identity.is_none() => {
                found.form = Form::Directory { image: None };
                found.conflict = Some("this user may not open it".to_owned());
                return Ok(Some(found));
            }
            Err(errno) => return Err(errno),
        }
        let entry = EntryStatus::of(dir, name)?;
        let is_file = entry.kind == FileType::RegularFile;
        if is_file && place == Place::Live {
            found.form = Form::File;
            found.measure(&entry);
            found.file = Some(entry.id);
            found.data = found.file;
        }
        if found.identity.is_some() {
            found.conflict = Some(format!("it must be a directory and is {}", entry.kind_name()));
        } else if found.form == Form::File {
            self.read_mark(&mut found)?;
        }
        Ok(Some(match (is_file, entry.links) {
            (true, 0 | 1) => found,
            (true, _) => found.unfit(HARD_LINKS),
            (false, _) => found.unfit(&format!("it is {} and not a regular file", entry.kind_name())),
        }))
    }

    fn look_inside(
        &self,
        mut found: FoundObject,
        own: BorrowedFd<'_>,
        buffer: &mut ListBuffer,
    ) -> Result<Option<FoundObject>, Errno> {
        found.form = Form::Directory { image: None };
        let mut images = 0;
        let named = found.identity.is_some();
        if named {
            let entries = pool::list(own, buffer)?;
            if entries.iter().any(|entry| entry.name == TAGS) {
                found.take_tags(own)?;
            }
            images = found.take_image(own, &entries)?;
            if images > 0 && !found.own.is_none_or(|own| own.is_named_by(&found.native)) {
                found.conflict = Some(NOT_THE_ONE.to_owned());
            }
        } else if found.take_tags(own)? {
            // A directory under any other name belongs to Kiln only by its tags.
            found.identity = found.tags.identity.as_deref().cloned();
            if found.identity.is_some() || found.conflict.is_some() {
                images = found.take_image(own, &pool::list(own, buffer)?)?;
            }
            if displaced_in(own)?.is_some() {
                (found.identity, found.tags) = (None, Tags::default());
                found.conflict = Some("its data is not the file that was adopted under this name".to_owned());
            }
        } else if let Some(entry) = pool::absent_is_none(EntryStatus::of(own, &image_name(&found.native)))? {
            found.measure(&entry);
        }
        // An object without its data file does not exist, whatever else is left of it: only then is it Lost and can be forgotten. It
        // exists again when the file is put back.
        let absent = images == 0 && found.identity.is_some() && found.place != Place::Temporary;
        Ok((!absent).then_some(found))
    }
}

impl FoundObject {
    /// Whether a rename was interrupted between the directory and its data file.
    pub(super) fn is_unfinished(&self) -> bool {
        let Form::Directory { image: Some(image) } = &self.form else { return false };
        self.identity.is_some() && self.place == Place::Live && *image != image_name(&self.native)
    }

    /// What tells it apart: its data file, which it keeps in the trash and under another name, but not when it is restored from a snapshot.
    pub(super) fn id(&self) -> Option<SmolStr> {
        self.data.map(|id| format_smolstr!("{id}"))
    }

    /// Not an object of Kiln, and not one that could be adopted.
    fn unfit(mut self, why: &str) -> Self {
        if self.identity.is_none() && self.conflict.is_none() && self.place == Place::Live {
            self.conflict = Some(why.to_owned());
        }
        self
    }

    fn measure(&mut self, entry: &EntryStatus) {
        self.size = entry.size;
        self.used = entry.used;
    }

    /// Reads the tags in the object's directory. Returns whether there were any.
    fn take_tags(&mut self, own: BorrowedFd<'_>) -> Result<bool, Errno> {
        let temporary = self.place == Place::Temporary;
        match tags_in(own)? {
            None => return Ok(false),
            Some(Err(why)) => self.complain(why),
            Some(Ok(tags)) => {
                if let (Some(said), Some(named), false) = (tags.identity.as_deref(), &self.identity, temporary)
                    && said != named
                {
                    self.conflict = Some(format!(
                        "its tags name {} {}/{} ({}), and its name another",
                        said.kind, said.owner, said.name, said.uid
                    ));
                }
                self.tags = tags;
            }
        }
        Ok(true)
    }

    /// Finds the data file in the object's directory. Returns the number of candidates.
    fn take_image(&mut self, own: BorrowedFd<'_>, entries: &[DirEntry]) -> Result<usize, Errno> {
        let images: Vec<&str> =
            entries.iter().filter(|e| e.exact && e.name.ends_with(IMAGE)).map(|e| e.name.as_str()).collect();
        let image = match images[..] {
            [only] => only.to_owned(),
            [] => {
                self.complain("its directory contains no data file (*.img)".to_owned());
                return Ok(0);
            }
            ref several => {
                self.complain(format!("its directory contains several data files: {}", several.join(", ")));
                return Ok(several.len());
            }
        };
        let entry = EntryStatus::of(own, &image)?;
        if entry.kind == FileType::RegularFile {
            self.measure(&entry);
            self.data = Some(entry.id);
        } else {
            self.complain(format!("its data file {image} is {}", entry.kind_name()));
        }
        self.form = Form::Directory { image: Some(image) };
        Ok(1)
    }

    /// An incomplete object has no required form.
    fn complain(&mut self, why: String) {
        if self.place != Place::Temporary && self.conflict.is_none() {
            self.conflict = Some(why);
        }
    }
}

/// Whether an open directory still has this name.
fn is_still(dir: BorrowedFd<'_>, name: &str, own: &OwnedFd) -> Result<bool, Errno> {
    let own = fs::fstat(own)?;
    Ok(pool::stat_in(dir, name)?.is_some_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)))
}

/// The tags in an object's directory. The inner `Err` is the message about tags that are inconsistent.
pub(super) fn tags_in(own: BorrowedFd<'_>) -> Result<Option<Result<Tags, String>>, Errno> {
    let stored = read_stored::<Stored>(own, TAGS)?;
    Ok(stored.map(|stored| stored.map(|stored| stored.tags)))
}

/// The content of a file of [`TAGS_FORMAT`]. The inner `Err` is the message about content that is inconsistent.
pub(super) fn read_stored<T: DeserializeOwned>(
    dir: BorrowedFd<'_>,
    file: &str,
) -> Result<Option<Result<T, String>>, Errno> {
    let bytes = match pool::read_small(dir, file, TAGS_LIMIT) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => bytes,
        Err(Errno::TOOBIG | Errno::INVAL | Errno::LOOP | Errno::NXIO) => {
            return Ok(Some(Err(format!("{file} is not a file that Kiln wrote"))));
        }
        Err(errno) => return Err(errno),
    };
    let unreadable = |why| format!("{file} cannot be read: {why}");
    Ok(Some(serde_json::from_slice::<Value>(&bytes).map_err(unreadable).and_then(|value| {
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format != u64::from(TAGS_FORMAT) => {
                Err(format!("{file} has format {format}; this version of kiln reads {TAGS_FORMAT}"))
            }
            _ => serde_json::from_value(value).map_err(unreadable),
        }
    })))
}

pub(super) fn encode(stored: &impl Serialize) -> Vec<u8> {
    // Maps with text keys and plain values can always be serialised.
    let mut bytes = serde_json::to_vec(stored).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn encode_tags(tags: &Tags, files: &[FileId]) -> Vec<u8> {
    encode(&Stored { format: TAGS_FORMAT, tags: tags.clone(), files: files.to_vec() })
}

/// Writes the tags of an object that is not published yet. `files`: see [`displaced_in`].
pub(super) fn write_first_tags(own: BorrowedFd<'_>, tags: &Tags, files: &[FileId]) -> Result<(), Errno> {
    let nothing_to_say = tags.is_plain() && files.is_empty();
    if nothing_to_say { Ok(()) } else { pool::write_new(own, TAGS, &encode_tags(tags, files)) }
}

/// Replaces the tags in an object's directory by one rename, durably.
pub(super) fn write_tags(own: BorrowedFd<'_>, tags: &Tags) -> Result<(), Errno> {
    if tags.is_plain() {
        pool::remove_file(own, TAGS_BESIDE)?;
        pool::remove_file(own, TAGS)?;
        return pool::sync(own);
    }
    write_tags_of(own, tags, &[])
}

/// Replaces the tags in a directory that an adopted file is moved into. `files`: see [`displaced_in`].
pub(super) fn write_tags_of(own: BorrowedFd<'_>, tags: &Tags, files: &[FileId]) -> Result<(), Errno> {
    replace(own, TAGS, TAGS_BESIDE, &encode_tags(tags, files))
}

/// Returns the name of the data file in a directory that an adopted file was to be moved into, if it is another file, which replaced
/// the adopted one just before the rename. A process that is killed between the rename and its check leaves that state.
pub(super) fn displaced_in(own: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    let Some(Ok(Stored { files, .. })) = read_stored(own, TAGS)? else { return Ok(None) };
    if files.is_empty() {
        return Ok(None);
    }
    let entries = pool::list(own, &mut ListBuffer::new())?;
    for DirEntry { name, .. } in entries.into_iter().filter(|entry| entry.exact && entry.name.ends_with(IMAGE)) {
        let file = FileId::of(own, &name)?;
        if !files.iter().any(|named| named.is(file)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

pub(super) fn replace(dir: BorrowedFd<'_>, name: &str, beside: &str, bytes: &[u8]) -> Result<(), Errno> {
    pool::write_beside(dir, beside, bytes)?;
    pool::rename(dir, beside, dir, name, RenameFlags::empty())?;
    pool::sync(dir)
}

/// Gives the data file the name of the directory, which completes an interrupted rename.
pub(super) fn settle_image(own: BorrowedFd<'_>, found: &FoundObject) -> Result<bool, Errno> {
    let Form::Directory { image: Some(image) } = &found.form else { return Ok(false) };
    let wanted = image_name(&found.native);
    if *image == wanted {
        return Ok(false);
    }
    pool::rename(own, image, own, &wanted, RenameFlags::NOREPLACE)?;
    pool::sync(own)?;
    Ok(true)
}

/// The entry in an object's directory that Kiln did not make and that keeps the directory from being removed.
pub(super) fn stranger_in(own: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    let entries = pool::list(own, &mut ListBuffer::new())?;
    Ok(entries.into_iter().find(is_strange).map(|entry| entry.name))
}

fn is_strange(entry: &DirEntry) -> bool {
    let known = entry.name.ends_with(IMAGE) || [TAGS, TAGS_BESIDE].contains(&entry.name.as_str());
    !known || !entry.exact || entry.file_type == FileType::Directory
}

/// Removes an object's directory with the files that Kiln puts into one, the data first: what a crash leaves is still identified by its
/// tags. Returns whether there was one. Another entry in it makes this `ENOTEMPTY`, and data under the temporary name of another
/// directory [`REPLACED`]; then nothing is removed.
pub(super) fn remove_directory(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let Some(own) = pool::absent_is_none(pool::open_dir(dir, name))? else { return Ok(false) };
    let mut entries = pool::list(own.as_fd(), &mut ListBuffer::new())?;
    if entries.iter().any(is_strange) {
        return Err(Errno::NOTEMPTY);
    }
    if entries.iter().any(|entry| entry.name.ends_with(IMAGE)) && !FileId::of_open(own.as_fd())?.is_named_by(name) {
        return Err(REPLACED);
    }
    entries.sort_by_key(|entry| !entry.name.ends_with(IMAGE));
    for entry in entries {
        pool::remove_file(own.as_fd(), &entry.name)?;
    }
    pool::absent_is_none(pool::unlink(dir, name, fs::AtFlags::REMOVEDIR))?;
    pool::sync(dir)?;
    Ok(true)
}

/// Whether an object's directory holds a data file.
pub(super) fn holds_data(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let own = pool::open_dir(dir, name)?;
    Ok(pool::list(own.as_fd(), &mut ListBuffer::new())?.iter().any(|entry| entry.name.ends_with(IMAGE)))
}

/// The path, below `dir`, that cannot be removed because it is immutable or append-only: the object's directory, or a file in it.
pub(super) fn immutable_in(dir: BorrowedFd<'_>, name: &str) -> Option<String> {
    let is_immutable = |dir: BorrowedFd<'_>, name: &str| {
        let stat = fs::statx(dir, name, fs::AtFlags::SYMLINK_NOFOLLOW, fs::StatxFlags::empty());
        let fixed = fs::StatxAttributes::IMMUTABLE | fs::StatxAttributes::APPEND;
        stat.is_ok_and(|stat| stat.stx_attributes.intersects(fixed))
    };
    if is_immutable(dir, name) {
        return Some(name.to_owned());
    }
    let own = pool::open_dir(dir, name).ok()?;
    let entries = pool::list(own.as_fd(), &mut ListBuffer::new()).ok()?;
    let fixed = entries.into_iter().find(|entry| is_immutable(own.as_fd(), &entry.name))?;
    Some(format!("{name}/{}", fixed.name))
}

/// Whether the entry is a shell: the directory of an object whose data file was removed by another program. A shell does not block its
/// name for another object. A directory with data, or with entries that Kiln did not make, is not a shell.
pub(super) fn is_shell(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let own = match pool::open_dir(dir, name) {
        Ok(own) => own,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    let entries = pool::list(own.as_fd(), &mut ListBuffer::new())?;
    Ok(!entries.iter().any(|entry| entry.name.ends_with(IMAGE) || is_strange(entry)))
}

/// Removes the shell of this object. A directory with data, or with entries that Kiln did not make, stays.
pub(super) fn remove_shell(dir: BorrowedFd<'_>, name: &str, owner: &Owner, uid: Uid) -> Result<(), Errno> {
    if !is_shell(dir, name)? {
        return Ok(());
    }
    let by_name = NativeName::new(name).parse().map(|(_, owner, _, uid)| (owner, uid));
    let by_tags = || match pool::open_dir(dir, name).and_then(|own| tags_in(own.as_fd())) {
        Ok(Some(Ok(tags))) => tags.identity.map(|id| (id.owner, id.uid)),
        _ => None,
    };
    if by_name.or_else(by_tags) == Some((owner.clone(), uid)) {
        remove_directory(dir, name)?;
    }
    Ok(())
}

/// The error of a plain file or a directory that was replaced after it was found.
pub(super) const REPLACED: Errno = Errno::STALE;

/// Opens the directory of an object. Fails with [`REPLACED`] if it is not the one that was found.
pub(super) fn open_own(dir: BorrowedFd<'_>, found: &FoundObject) -> Result<OwnedFd, Errno> {
    let own = pool::open_dir(dir, &found.native)?;
    match found.own {
        Some(file) if !file.is(FileId::of_open(own.as_fd())?) => Err(REPLACED),
        _ => Ok(own),
    }
}

/// Opens the data of an object. Fails with [`REPLACED`] if a plain file or a directory is not the one that was found.
pub(super) fn open_data(dir: BorrowedFd<'_>, found: &FoundObject, flags: OFlags) -> Result<OwnedFd, Errno> {
    let data = match &found.form {
        Form::Directory { image: Some(image) } => {
            let own = open_own(dir, found)?;
            pool::open_in(own.as_fd(), image, flags, fs::Mode::empty())?
        }
        Form::File => {
            let data = pool::open_in(dir, &found.native, flags, fs::Mode::empty())?;
            match found.file {
                Some(file) if !file.is(FileId::of_open(data.as_fd())?) => return Err(REPLACED),
                _ => data,
            }
        }
        Form::Directory { image: None } | Form::Other => return Err(Errno::NOENT),
    };
    match FileType::from_raw_mode(fs::fstat(&data)?.st_mode) {
        FileType::RegularFile => Ok(data),
        _ => Err(Errno::INVAL),
    }
}
