//! One object as it stands on disk: how it is recognised, and how its tags are kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content;
use super::file_id::FileId;
use super::pool::{self, DirEntry, ListBuffer, LocalPool};
use crate::model::{Identity, Kind, NativeForm, NativeName, Owner, Place, Tags, Uid};

/// The tags of an object, in its directory.
pub(super) const TAGS: &str = "tags.json";
/// The tags being replaced: of no meaning, whatever it holds.
const TAGS_BESIDE: &str = "tags.json.new";
/// What data files end with.
pub(super) const IMAGE: &str = ".img";
/// More than any manifest's labels; what is longer was not written by Kiln.
const TAGS_LIMIT: u64 = 1 << 20;
/// Of the stored tags. A newer one is a conflict: nothing is done to what is not understood.
pub(super) const TAGS_FORMAT: u32 = 1;

/// Why a file is not taken over that has more than one name.
const HARD_LINKS: &str = "it has other names (hard links), under which others may change it";

/// An object, or something that stands where objects do.
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
    /// Of a plain file that is live: which file it is.
    pub(super) file: Option<FileId>,
}

/// How it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A directory with its data file, whose name is that of the directory, unless a rename was cut short.
    Directory {
        /// The data file.
        image: Option<String>,
    },
    /// A plain file: made by others, adopted or not.
    File,
    /// Neither: nothing that Kiln would touch.
    Other,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    tags: Tags,
    /// Of a directory that an adopted file is moved into: which files may be its data. Any, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileId>,
}

/// The data file's name in the directory of an object.
pub(super) fn image_name(native: &str) -> String {
    format!("{native}{IMAGE}")
}

/// The directory that a place is.
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
    /// The directory in which the objects of a place are; `None`: there is no trash yet.
    pub(super) fn place(&self, place: Place) -> Result<Option<PlaceDir<'_>>, Errno> {
        match place {
            Place::Live | Place::Temporary => Ok(Some(PlaceDir::Root(self.root()))),
            Place::Trash => Ok(self.trash()?.map(PlaceDir::Trash)),
        }
    }

    /// Looks for one object in one place. `None`: it is not there.
    pub(super) fn find(&self, native: &str, place: Place) -> Result<Option<FoundObject>, Errno> {
        let mut buffer = ListBuffer::new();
        // A stranger's rename between two of our calls shows as ENOENT: look again. Three such in a row are no accident.
        for _ in 0..3 {
            let Some(dir) = self.place(place)? else { return Ok(None) };
            match self.look(dir.as_fd(), native, place, &mut buffer) {
                Err(Errno::NOENT) if pool::stat_in(dir.as_fd(), native)?.is_none() => return Ok(None),
                Err(Errno::NOENT) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Looks at an entry of a place.
    ///
    /// `Ok(None)`: nothing of meaning stands there (the trash prepared for an adopted file that has not moved yet; the directory of
    /// an object without its data file). `ENOENT`: it, or something in it, has just gone: look again.
    pub(super) fn look(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        place: Place,
        buffer: &mut ListBuffer,
    ) -> Result<Option<FoundObject>, Errno> {
        let native = NativeName::new(name);
        let parsed = native.parse().filter(|(form, ..)| *form != NativeForm::Temporary || place != Place::Trash);
        let by_name = parsed.map(|(form, owner, name, uid)| {
            let kind = if form == NativeForm::Snapshot { Kind::Snapshot } else { Kind::Volume };
            (form, Identity { owner, kind, name, uid })
        });
        let temporary = by_name.as_ref().is_some_and(|(form, _)| *form == NativeForm::Temporary);
        let mut found = FoundObject {
            native: name.to_owned(),
            place: if temporary { Place::Temporary } else { place },
            form: Form::Other,
            identity: by_name.map(|(_, identity)| identity),
            size: 0,
            used: 0,
            tags: Tags::default(),
            conflict: None,
            file: None,
        };
        match pool::open_dir(dir, name) {
            Ok(own) => {
                return match self.look_inside(found, own.as_fd(), buffer)? {
                    Some(found) => Ok(Some(found.unfit("it is a directory and not a regular file"))),
                    // What is removed loses its data file, but not under its name: what stood here may have been exchanged for
                    // another since it was opened.
                    None if is_still(dir, name, &own)? => Ok(None),
                    None => Err(Errno::NOENT),
                };
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            // `lost+found`, say. What Kiln makes it can open: a directory that bears none of its names is somebody else's.
            Err(Errno::ACCESS) if found.identity.is_none() => {
                found.form = Form::Directory { image: None };
                found.conflict = Some("it may not be opened by this user".to_owned());
                return Ok(Some(found));
            }
            Err(errno) => return Err(errno),
        }
        let stat = pool::stat_in(dir, name)?.ok_or(Errno::NOENT)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_file && place == Place::Live {
            found.form = Form::File;
            found.measure(&stat);
            found.file = Some(FileId::of(dir, name)?);
        }
        if found.identity.is_some() {
            found.conflict = Some(format!("it should be a directory and is {}", kind_of(&stat)));
        } else if found.form == Form::File {
            self.read_mark(&mut found)?;
        }
        Ok(Some(match (is_file, stat.st_nlink) {
            (true, 0 | 1) => found,
            (true, _) => found.unfit(HARD_LINKS),
            (false, _) => found.unfit(&format!("it is {} and not a regular file", kind_of(&stat))),
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
                found.read_tags(own, TAGS)?;
            }
            images = found.take_image(own, &entries)?;
        } else if found.read_tags(own, TAGS)? {
            // A directory under a name of its own choice is ours only by its tags.
            found.identity = found.tags.identity.as_deref().cloned();
            if found.identity.is_some() || found.conflict.is_some() {
                images = found.take_image(own, &pool::list(own, buffer)?)?;
            }
            if displaced_in(own)?.is_some() {
                (found.identity, found.tags) = (None, Tags::default());
                found.conflict = Some("its data is not the file that was adopted under this name".to_owned());
            }
        } else if let Some(stat) = pool::stat_in(own, &image_name(&found.native))? {
            found.measure(&stat);
        }
        // Without its data an object is not there, whatever else somebody has left of it: only then is it Lost, and can be
        // forgotten; and it is there again once the file is put back.
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

    /// Nobody's, and nothing that could be taken over where it is.
    fn unfit(mut self, why: &str) -> Self {
        if self.identity.is_none() && self.conflict.is_none() && self.place == Place::Live {
            self.conflict = Some(why.to_owned());
        }
        self
    }

    fn measure(&mut self, stat: &Stat) {
        self.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.used = content::allocated(stat);
    }

    /// Whether there were any.
    fn read_tags(&mut self, own: BorrowedFd<'_>, file: &str) -> Result<bool, Errno> {
        let temporary = self.place == Place::Temporary;
        match read_tags(own, file)? {
            None => return Ok(false),
            Some(Err(why)) => self.complain(why),
            Some(Ok(tags)) => {
                if let (Some(said), Some(named), false) = (tags.identity.as_deref(), &self.identity, temporary)
                    && said != named
                {
                    self.conflict = Some(format!(
                        "its tags say {} {}/{} ({}), its name another",
                        said.kind, said.owner, said.name, said.uid
                    ));
                }
                self.tags = tags;
            }
        }
        Ok(true)
    }

    /// Finds the data file among what is in the object's directory. How many there are that could be it.
    fn take_image(&mut self, own: BorrowedFd<'_>, entries: &[DirEntry]) -> Result<usize, Errno> {
        let images: Vec<&str> =
            entries.iter().filter(|e| e.exact && e.name.ends_with(IMAGE)).map(|e| e.name.as_str()).collect();
        let image = match images[..] {
            [only] => only.to_owned(),
            [] => {
                self.complain("its directory holds no data file (*.img)".to_owned());
                return Ok(0);
            }
            ref several => {
                self.complain(format!("its directory holds several data files: {}", several.join(", ")));
                return Ok(several.len());
            }
        };
        let stat = pool::stat_in(own, &image)?.ok_or(Errno::NOENT)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            self.measure(&stat);
        } else {
            self.complain(format!("its data file {image} is {}", kind_of(&stat)));
        }
        self.form = Form::Directory { image: Some(image) };
        Ok(1)
    }

    /// What is half made has no form to keep to.
    fn complain(&mut self, why: String) {
        if self.place != Place::Temporary && self.conflict.is_none() {
            self.conflict = Some(why);
        }
    }
}

/// Whether a name is still that of an open directory.
fn is_still(dir: BorrowedFd<'_>, name: &str, own: &OwnedFd) -> Result<bool, Errno> {
    let own = fs::fstat(own)?;
    Ok(pool::stat_in(dir, name)?.is_some_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)))
}

fn kind_of(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// The tags in an object's directory: why not, in words, if they cannot be believed.
pub(super) fn tags_in(own: BorrowedFd<'_>) -> Result<Option<Result<Tags, String>>, Errno> {
    read_tags(own, TAGS)
}

fn read_tags(dir: BorrowedFd<'_>, file: &str) -> Result<Option<Result<Tags, String>>, Errno> {
    let stored = read_stored::<Stored>(dir, file)?;
    Ok(stored.map(|stored| stored.map(|stored| stored.tags)))
}

/// What is stored in a file of [`TAGS_FORMAT`]: why not, in words, if it cannot be believed.
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
                Err(format!("{file} has format {format}; this kiln reads {TAGS_FORMAT}"))
            }
            _ => serde_json::from_value(value).map_err(unreadable),
        }
    })))
}

pub(super) fn encode(stored: &impl Serialize) -> Vec<u8> {
    // Maps with text keys and plain values always serialise.
    let mut bytes = serde_json::to_vec(stored).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn encode_tags(tags: &Tags, files: &[FileId]) -> Vec<u8> {
    encode(&Stored { format: TAGS_FORMAT, tags: tags.clone(), files: files.to_vec() })
}

/// Writes the tags of an object that nobody sees yet. `files`: see [`displaced_in`].
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

/// Returns the name of the data file in a directory that an adopted file was to be moved into, if it is another file: one that
/// somebody put in its place just before the rename. A process that was killed between the rename and its check leaves that.
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

/// Sees to it that the data file bears the directory's name: what a rename that was cut short left to do.
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

/// What in an object's directory is not of Kiln's making, and keeps it from being removed.
pub(super) fn stranger_in(own: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    let entries = pool::list(own, &mut ListBuffer::new())?;
    Ok(entries.into_iter().find(is_strange).map(|entry| entry.name))
}

fn is_strange(entry: &DirEntry) -> bool {
    let known = entry.name.ends_with(IMAGE) || [TAGS, TAGS_BESIDE].contains(&entry.name.as_str());
    !known || !entry.exact || entry.file_type == FileType::Directory
}

/// Removes an object's directory with what Kiln puts into one, data first: what is left by a crash is still known by its tags.
/// Whether there was one. Anything strange in it makes this `ENOTEMPTY`, and then nothing is removed.
pub(super) fn remove_directory(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let Some(own) = pool::absent_is_none(pool::open_dir(dir, name))? else { return Ok(false) };
    let mut entries = pool::list(own.as_fd(), &mut ListBuffer::new())?;
    if entries.iter().any(is_strange) {
        return Err(Errno::NOTEMPTY);
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

/// The path, below `dir`, of what the immutable or append-only attribute keeps from being removed: the object's directory, or a file in
/// it.
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

/// Whether all that stands there is what is left of an object whose data file somebody has removed. It must not be in the way of
/// one that is to have its name. What holds data, or anything strange, is no such shell.
pub(super) fn is_shell(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let own = match pool::open_dir(dir, name) {
        Ok(own) => own,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    let entries = pool::list(own.as_fd(), &mut ListBuffer::new())?;
    Ok(!entries.iter().any(|entry| entry.name.ends_with(IMAGE) || is_strange(entry)))
}

/// Removes what is left of this object where somebody has removed its data file. What holds data, or anything strange, stays.
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

/// Another file bears the name of the one that was found.
pub(super) const REPLACED: Errno = Errno::STALE;

/// Opens the data of an object. [`REPLACED`]: a plain file is not the one that was found.
pub(super) fn open_data(dir: BorrowedFd<'_>, found: &FoundObject, flags: OFlags) -> Result<OwnedFd, Errno> {
    let data = match &found.form {
        Form::Directory { image: Some(image) } => {
            let own = pool::open_dir(dir, &found.native)?;
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
