//! Opens the store, for writing or read-only.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::codec::{self, Checksum, FORMAT, StoreMeta};
use super::commit::meta_rows;
use super::contract::Store;
use super::db::{self, Db};
use super::dir::{DATABASE, exists, make_directory, make_sure_of_room, sync_directory};
use super::error::{DbError, StoreError, sentence, trouble};
use super::load::{LoadedStore, load};
use super::lock;
use super::mark::{self, MarkFile, StoreMark};
use super::memory::MemoryStore;
use super::persistent::Persistent;
use crate::text::rfc3339;

const UNFINISHED: &str = "db.new";
const DAMAGED: &str = "damaged-";

/// The number of damaged databases that are kept: enough to analyse a recurring fault, and a limit on their space.
const KEPT: usize = 3;

/// The condition in which a store was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreCondition {
    /// Complete, or new and empty.
    Whole,
    /// It could not be read. Its content may be complete.
    Unreadable,
    /// It was read and is damaged.
    Damaged,
}

/// An open store, with notes for the user.
pub struct OpenedStore {
    /// Dropping the last handle closes it.
    pub store: Arc<dyn Store>,
    /// One sentence each.
    pub notes: Vec<String>,
    /// Always [`StoreCondition::Whole`] for a store that is opened for writing.
    pub found: StoreCondition,
}

impl std::fmt::Debug for OpenedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedStore").field("notes", &self.notes).field("found", &self.found).finish_non_exhaustive()
    }
}

/// Opens the store in `dir` for writing, at `now` (seconds since 1970). Makes the directory and the store if they do not exist. A damaged
/// database is set aside and replaced by an empty one; a note says so. Blocks: all of the content is read and checked.
///
/// # Errors
/// [`StoreError::Locked`] while another process has it open, [`StoreError::Newer`], and [`StoreError::Io`] if the directory cannot be
/// made or written to or has no space. An error leaves the content unchanged.
pub fn open(dir: &Path, now: u64) -> Result<OpenedStore, StoreError> {
    make_directory(dir)?;
    let lock = lock::exclusive(dir, now)?;
    make_sure_of_room(dir)?;
    let mark = mark::read(dir).map_err(|e| trouble(dir, "its mark cannot be read", &e))?;
    if let StoreMark::Newer(found) = mark {
        return Err(newer(dir, found));
    }
    remove_unfinished(dir)?;
    let mut notes = Vec::new();
    let (db, loaded) = match existing(dir, mark, now, &mut notes)? {
        Some(both) => both,
        None => make(dir)?,
    };
    // Batches that a killed process wrote and did not sync were read from the page cache. They must be on disk before the mark requires
    // them; otherwise, after a power cut, a complete database would seem to have lost a batch.
    db.sync().map_err(|bad| unusable(dir, bad))?;
    let mark = MarkFile::open(dir, loaded.seq).map_err(|e| trouble(dir, "its mark cannot be written", &e))?;
    let store = Persistent::start(dir, lock, db, mark, loaded)?;
    Ok(OpenedStore { store: Arc::new(store), notes, found: StoreCondition::Whole })
}

/// The existing database. A damaged one is set aside.
fn existing(
    dir: &Path,
    mark: StoreMark,
    now: u64,
    notes: &mut Vec<String>,
) -> Result<Option<(Db, LoadedStore)>, StoreError> {
    let database = dir.join(DATABASE);
    if !exists(&database).map_err(|e| trouble(dir, "it cannot be read", &e))? {
        notes.push(match mark {
            StoreMark::Missing | StoreMark::Current { seq: 0 } => format!("a new store was made in {}", dir.display()),
            _ => format!(
                "the store's database {} was missing; a new one was made and is rebuilt from the observed backends",
                database.display()
            ),
        });
        return Ok(None);
    }
    match read(&database, mark, 0) {
        Ok(both) => {
            if mark == StoreMark::Unreadable {
                let path = dir.join(mark::FILE);
                notes.push(format!("the store's mark {} was damaged and has been rewritten", path.display()));
            }
            Ok(Some(both))
        }
        Err(DbError::Damaged(how)) => {
            // sled can report a full disk as damage.
            make_sure_of_room(dir)?;
            let aside = set_aside(dir, now).map_err(|e| trouble(dir, "it is damaged and cannot be set aside", &e))?;
            notes.push(format!(
                "the store was damaged ({how}); it was set aside as {} and is rebuilt from the observed backends",
                aside.display()
            ));
            Ok(None)
        }
        Err(bad) => Err(unusable(dir, bad)),
    }
}

/// Reads the store in `dir` into memory for a read-only command, with the last `journal` lines of the journal. Changes nothing there, and
/// does not keep other processes from opening it afterwards. `None` if there is no store. A store that is damaged or cannot be read is
/// returned as an empty one, with a note: a command that writes would also start from an empty one.
///
/// # Errors
/// [`StoreError::Locked`] and [`StoreError::Newer`], as with [`open`]; never [`StoreError::Io`].
pub fn open_read_only(dir: &Path, journal: usize) -> Result<Option<OpenedStore>, StoreError> {
    let empty = |found: StoreCondition, why: String| {
        let note = format!("the store {} is not used: {why}", dir.display());
        let store = MemoryStore::read_from(dir, Arc::default(), Vec::new(), Vec::new());
        Ok(Some(OpenedStore { store: Arc::new(store), notes: vec![note], found }))
    };
    let without = |why: String| empty(StoreCondition::Unreadable, why);
    match exists(dir) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(e) => return without(sentence(&e.to_string(), e.raw_os_error())),
    }
    let held = match lock::shared(dir) {
        Ok(held) => held,
        Err(StoreError::Io { message, .. }) => return without(message),
        Err(other) => return Err(other),
    };
    let mark = match mark::read(dir) {
        Ok(StoreMark::Newer(found)) => return Err(newer(dir, found)),
        Ok(mark) => mark,
        Err(e) => return without(format!("its mark cannot be read: {}", sentence(&e.to_string(), e.raw_os_error()))),
    };
    let database = dir.join(DATABASE);
    let scratch = match exists(&database) {
        Ok(false) => return Ok(None),
        Ok(true) => Scratch::copy_of(&database),
        Err(e) => Err(e),
    };
    drop(held);
    let scratch = match scratch {
        Ok(scratch) => scratch,
        Err(e) => return without(format!("it cannot be copied for reading: {e}")),
    };
    match read(&scratch.0, mark, journal) {
        Ok((db, loaded)) => {
            let notes = match db.close() {
                Ok(()) => Vec::new(),
                // The content has been checked already.
                Err(trouble) => vec![format!("the copy of the store could not be closed: {trouble:?}")],
            };
            let LoadedStore { records, intents, journal, .. } = loaded;
            let journal = codec::journal_entries(journal.iter().map(Vec::as_slice));
            let store = Arc::new(MemoryStore::read_from(dir, Arc::new(records), intents, journal));
            Ok(Some(OpenedStore { store, notes, found: StoreCondition::Whole }))
        }
        Err(DbError::Newer(format)) => Err(newer(dir, format)),
        Err(DbError::Io(message, errno)) => without(format!("its copy cannot be read: {}", sentence(&message, errno))),
        Err(DbError::Damaged(how)) => {
            empty(StoreCondition::Damaged, format!("it is damaged ({how}); the next command that writes sets it aside"))
        }
    }
}

/// Checks whether [`open`] would find the store in `dir` writable, with enough space. Changes nothing.
///
/// # Errors
/// As [`open`], but for [`StoreError::Locked`] and [`StoreError::Newer`].
pub fn try_writing(dir: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.is_dir()).collect();
    let tried = make_directory(dir).and_then(|()| make_sure_of_room(dir)).and_then(|()| open_for_writing(dir));
    for made in missing {
        // A directory that is no longer empty stays.
        let _ = fs::remove_dir(made);
    }
    tried
}

/// Opens every file of a store for writing, without writing.
fn open_for_writing(dir: &Path) -> Result<(), StoreError> {
    let below = fs::read_dir(dir.join(DATABASE)).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = [lock::FILE, mark::FILE].into_iter().map(|name| dir.join(name)).chain(below);
    for file in files.filter(|file| file.is_file()) {
        let opened = File::options().write(true).custom_flags(lock::NO_WAIT).open(&file);
        opened.map_err(|e| trouble(dir, &format!("{} cannot be opened for writing", file.display()), &e))?;
    }
    Ok(())
}

/// A read-only store with the content that the daemon reported.
pub fn from_daemon(
    dir: &Path,
    records: Arc<crate::model::Records>,
    intents: Vec<crate::model::OpenIntent>,
    journal: Vec<crate::model::JournalEntry>,
) -> OpenedStore {
    let store = Arc::new(MemoryStore::read_from(dir, records, intents, journal));
    OpenedStore { store, notes: Vec::new(), found: StoreCondition::Whole }
}

fn newer(dir: &Path, found: u32) -> StoreError {
    StoreError::Newer { path: dir.display().to_string(), found, known: u32::from(FORMAT) }
}

fn unusable(dir: &Path, bad: DbError) -> StoreError {
    match bad {
        DbError::Newer(format) => newer(dir, format),
        DbError::Damaged(_) | DbError::Io(..) => failed(dir, bad.sentence()),
    }
}

fn failed(dir: &Path, message: String) -> StoreError {
    StoreError::Io { path: dir.display().to_string(), message }
}

/// Opens a database and reads all of it.
fn read(path: &Path, mark: StoreMark, journal: usize) -> Result<(Db, LoadedStore), DbError> {
    let at_least = match mark {
        StoreMark::Current { seq } => seq,
        StoreMark::Missing | StoreMark::Unreadable | StoreMark::Newer(_) => 0,
    };
    // sled would create a missing file. A database gets its name only when it is complete, so a missing file is damage.
    match fs::metadata(path.join("db")) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(DbError::Damaged("its file is not a regular file".to_owned())),
        Err(error) => {
            return Err(match db::from_io(&error) {
                DbError::Damaged(_) => DbError::Damaged("its file is missing".to_owned()),
                other => other,
            });
        }
    }
    let db = Db::open(path)?;
    let loaded = load(&db, at_least, journal)?;
    Ok((db, loaded))
}

/// Makes an empty database under another name, and renames it when it is complete and on disk.
fn make(dir: &Path) -> Result<(Db, LoadedStore), StoreError> {
    let cannot = |bad| unusable(dir, bad);
    let unfinished = dir.join(UNFINISHED);
    let io = |e: io::Error| trouble(dir, "a new one cannot be made", &e);
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(io)?;
    let first = StoreMeta { seq: 0, rows: 0, checksum: Checksum::default().to_hex() };
    let db = Db::open(&unfinished).map_err(cannot)?;
    db.write(meta_rows(&first).map_err(|message| failed(dir, message))?).map_err(cannot)?;
    db.sync().map_err(cannot)?;
    db.close().map_err(cannot)?;
    for entry in fs::read_dir(&unfinished).map_err(io)? {
        let path = entry.map_err(io)?.path();
        File::open(path).and_then(|file| file.sync_all()).map_err(io)?;
    }
    sync_directory(&unfinished).map_err(io)?;
    // The mark first: an old one would require batches that the new database does not have.
    MarkFile::open(dir, 0).map_err(io)?;
    fs::rename(&unfinished, dir.join(DATABASE)).map_err(io)?;
    sync_directory(dir).map_err(io)?;
    read(&dir.join(DATABASE), StoreMark::Current { seq: 0 }, 0).map_err(cannot)
}

fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir.join(UNFINISHED)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(trouble(dir, "an incomplete database of an earlier run cannot be removed", &e))
        }
        _ => Ok(()),
    }
}

/// Moves the database and its mark to a new directory, and returns its path.
fn set_aside(dir: &Path, now: u64) -> io::Result<PathBuf> {
    let since: String = rfc3339(now).chars().filter(|c| !matches!(c, '-' | ':' | ' ')).collect();
    let mut number = 1;
    let aside = loop {
        let path = dir.join(format!("{DAMAGED}{since}-{number}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => break path,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(e),
        }
    };
    fs::rename(dir.join(DATABASE), aside.join(DATABASE))?;
    match fs::rename(dir.join(mark::FILE), aside.join(mark::FILE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut older: Vec<(std::time::SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        // Only directories that this function has made: `damaged-`, digits with T and Z, a number.
        let Some((since, number)) = name.to_str().and_then(|n| n.strip_prefix(DAMAGED)?.rsplit_once('-')) else {
            continue;
        };
        let is_ours = since.chars().all(|c| c.is_ascii_digit() || matches!(c, 'T' | 'Z'));
        if let (true, Ok(number), false) = (is_ours, number.parse(), entry.path() == aside) {
            older.push((entry.metadata()?.modified()?, number, entry.path()));
        }
    }
    // By modification time, not by the time in the name: clocks are turned back.
    older.sort();
    for (.., path) in older.iter().rev().skip(KEPT - 1) {
        fs::remove_dir_all(path)?;
    }
    sync_directory(dir)?;
    Ok(aside)
}

/// A temporary copy of a database for reading, removed on drop. sled writes when it opens a database.
struct Scratch(PathBuf);

impl Scratch {
    fn copy_of(database: &Path) -> io::Result<Scratch> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let scratch = loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("kiln-read-{}-{count}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break Scratch(path),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        };
        copy_files(database, &scratch.0)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the system's directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        // Links are followed as sled follows them. Other file types do not belong to sled and could block.
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() && entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_files(&path, &target)?;
        } else if metadata.is_file() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
