//! A simulated pool in a file that several processes share.
//!
//! The file is a log: a header, a line with the whole pool, then one line per change. A line has a checksum and the new value of
//! everything that the change touched (of a ledger, the changes), so a crash leaves a complete change or a torn last line, which the next writer overwrites. When the
//! changes are much longer than the first line, the log is rewritten: to a new file, synced and renamed; the generation in the header
//! tells readers. Every access holds `flock` on `FILE.lock`, which is never replaced; the writer lock of an owner is `FILE.OWNER.lock`.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::driver::flock::holder;
use crate::model::{
    DriverError, ErrorKind, Ledger, LedgerCommit, NativeName, Owner, PoolId, Suspension, SuspensionId, Uid,
};

use super::copies::Copies;
use super::world::{Delta, SimContent, SimKey, SimObject, SimWorld, put};

/// The header before the generation. Format 1 had each ledger as a whole in every change: a file of that format is read, and rewritten by
/// the first change.
const MAGIC: &str = "kiln-sim 2 ";
const MAGIC_1: &str = "kiln-sim 1 ";
/// Length of the header: magic, 16 digits, line feed.
const HEADER: usize = MAGIC.len() + 17;
/// Bytes of a buffer that is large.
const LARGE: usize = 1 << 20;
/// Bytes of a buffer that glibc gives back to the system whatever was allocated before: more than its largest `M_MMAP_THRESHOLD`. Memory that
/// is not used takes none.
const GIVEN_BACK: usize = (32 << 20) + 1;
/// Bytes of changes after which the log is rewritten, in addition to three times its first line.
const SPARE: u64 = 64 << 10;

/// The new value of one thing; `None` if it was removed.
#[derive(Serialize, Deserialize)]
enum Row {
    Live(NativeName, Option<SimObject>),
    Trash(NativeName, Uid, Option<SimObject>),
    /// A snapshot inside of a volume: the volume, its own name and, in the trash, its uid.
    Inside(NativeName, NativeName, Option<Uid>, Option<SimObject>),
    /// Of format 1; and of a ledger that was removed.
    Ledger(Owner, Option<Vec<Option<Arc<Ledger>>>>),
    Copies(Owner, Copies),
    Change(LedgerCommit),
    Pool(Option<PoolId>),
    Suspension(Owner, SuspensionId, Option<Suspension>),
}

/// The part of the file that the world in memory contains.
#[derive(Default)]
struct Position {
    /// The generation of the file; empty if there was no file.
    generation: String,
    /// Whether the file has an earlier format, and must be rewritten.
    old: bool,
    /// End of the first line.
    base: u64,
    /// End of the last line.
    offset: u64,
}

impl Position {
    fn start(generation: String) -> Self {
        Self { generation, old: false, base: 0, offset: HEADER as u64 }
    }

    /// A position in no file: the next access reads everything.
    fn lost() -> Self {
        Self::start("lost".to_owned())
    }

    /// Advances past a line.
    fn advance(&mut self, line: &[u8]) {
        self.offset += line.len() as u64;
        if self.base == 0 {
            self.base = self.offset;
        }
    }
}

/// The file of a simulated pool.
pub(super) struct SimFile {
    path: PathBuf,
    position: Mutex<Position>,
}

impl SimFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), position: Mutex::default() }
    }

    /// Updates `world` from the file, then reads or changes it. Changes are on disk when this returns.
    ///
    /// # Errors
    /// `Unreachable` if the file cannot be read. If it cannot be written, the effect of the change is unknown.
    pub(super) fn access<T>(
        &self,
        world: &Mutex<SimWorld>,
        write: bool,
        act: impl FnOnce(&mut SimWorld) -> T,
    ) -> Result<T, DriverError> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let _guard = self.guard(write).map_err(|e| self.unreachable(&e))?;
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow(&mut position, &mut world).map_err(|e| self.unreachable(&e))?;
        let answer = act(&mut world);
        if world.delta != Delta::default() {
            let saved = self.save(&mut position, &world);
            world.settle();
            if let Err(error) = saved {
                // The world in memory may differ from the file.
                *position = Position::lost();
                let kind =
                    if error.kind() == io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::Transient };
                let message = format!("{} cannot be written: {error}", self.path.display());
                return Err(DriverError::unknown(kind, message));
            }
        }
        Ok(answer)
    }

    /// Creates the directory of the file.
    pub(super) fn create_directory(&self) -> Result<(), DriverError> {
        self.path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|e| self.unreachable(&e))
    }

    /// Returns a number that depends on the history of the pool: the length of the file.
    pub(super) fn age(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    fn unreachable(&self, error: &io::Error) -> DriverError {
        let kind =
            if error.kind() == io::ErrorKind::PermissionDenied { ErrorKind::Denied } else { ErrorKind::Unreachable };
        DriverError::before(kind, format!("{}: {error}", self.path.display()))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Locks the file for one access. Reading creates no lock file: if there is none, there is no other access.
    fn guard(&self, write: bool) -> io::Result<Option<File>> {
        let path = self.beside(".lock");
        let file = match write {
            true => open_lock(&path)?,
            false => match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            },
        };
        flock(&file, if write { FlockOperation::LockExclusive } else { FlockOperation::LockShared })?;
        Ok(Some(file))
    }

    /// Reads the changes since the last access.
    fn follow(&self, position: &mut Position, world: &mut SimWorld) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !position.generation.is_empty() {
                    (world.content, world.before) = Default::default();
                    *position = Position::default();
                }
                return Ok(());
            }
            other => other?,
        };
        let mut header = [0; HEADER];
        let read = file.read_exact(&mut header);
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            other => Some(other?),
        };
        let header = read.and_then(|()| std::str::from_utf8(&header).ok()?.strip_suffix('\n'));
        let old = header.and_then(|header| header.strip_prefix(MAGIC_1));
        let generation = old.or_else(|| header?.strip_prefix(MAGIC));
        let generation = generation.ok_or_else(|| io::Error::other("is not a pool of this simulator"))?;
        if generation != position.generation || file.metadata()?.len() < position.offset {
            (world.content, world.before) = Default::default();
            *position = Position { old: old.is_some(), ..Position::start(generation.to_owned()) };
        }
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(position.offset))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        // Allocated once: a buffer that grows leaves gaps in the memory of the process. A large one leaves a gap where it was, unless it is so large that
        // the C library gives it back to the system.
        let unread = usize::try_from(len.saturating_sub(position.offset)).unwrap_or(0);
        let mut line = Vec::with_capacity(if unread < LARGE { unread } else { unread.max(GIVEN_BACK) });
        let known = position.offset;
        // A line without a line feed is torn.
        while file.read_until(b'\n', &mut line)? > 0 && line.last() == Some(&b'\n') {
            match enter_line(&mut world.content, &line[..line.len() - 1]) {
                Some(Ok(())) => {
                    position.advance(&line);
                    // The last change is not one of this driver, which knows only what its own changes replaced.
                    world.before = Default::default();
                }
                Some(Err(why)) => {
                    *position = Position::lost();
                    return Err(io::Error::other(format!("is damaged: {why}")));
                }
                // The end of a torn write may reach the disk before its start. The first line was renamed into place, and cannot be torn.
                None if position.base > 0 && position.offset + line.len() as u64 == len => break,
                None => {
                    // The world in memory is incomplete.
                    *position = Position::lost();
                    return Err(io::Error::other("is damaged: the checksum of a line does not match"));
                }
            }
            line.clear();
        }
        if position.base == 0 {
            return Err(io::Error::other("is damaged: its first line is incomplete"));
        }
        if position.offset > known {
            world.know_ids();
        }
        Ok(())
    }

    fn save(&self, position: &mut Position, world: &SimWorld) -> io::Result<()> {
        if position.generation.is_empty() || position.old || position.offset > 4 * position.base + SPARE {
            return self.rewrite(position, world);
        }
        let line = write_line(&changed(world))?;
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(position.offset)?;
        file.seek(SeekFrom::Start(position.offset))?;
        file.write_all(&line)?;
        file.sync_data()?;
        position.advance(&line);
        Ok(())
    }

    fn rewrite(&self, position: &mut Position, world: &SimWorld) -> io::Result<()> {
        let beside = self.beside(".new");
        let generation = format!("{:016x}", random());
        let line = write_line(&all(&world.content))?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(format!("{MAGIC}{generation}\n").as_bytes())?;
        file.write_all(&line)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()?;
        *position = Position::start(generation);
        position.advance(&line);
        Ok(())
    }

    /// Takes the writer lock of an owner.
    pub(super) fn lock_owner(&self, owner: &Owner) -> Result<FileLock, DriverError> {
        let path = self.beside(&format!(".{owner}.lock"));
        let io = |error: io::Error| self.unreachable(&error);
        // Hold the file lock meanwhile: an observation that tries the same lock briefly is no writer.
        let _guard = self.guard(true).map_err(io)?;
        let made = !path.exists();
        let mut file = open_lock(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                let by_kernel = holder(&file);
                let mut noted = String::new();
                file.read_to_string(&mut noted).map_err(io)?;
                let holder = match by_kernel {
                    Some(pid) => format!("process {pid}"),
                    None if noted.is_empty() => "another process".to_owned(),
                    None => noted.trim().to_owned(),
                };
                let message = format!("{holder} is writing for {owner}");
                return Err(DriverError::before(ErrorKind::OtherWriter, message));
            }
            other => other.map_err(|error| io(error.into()))?,
        }
        Ok(FileLock { file, made, noted: AtomicBool::new(false), pool: SimFile::new(&self.path), path })
    }

    /// Returns the owners whose writer locks are held by any process. Called within [`SimFile::access`].
    pub(super) fn locked(&self) -> Vec<Owner> {
        let (Some(name), Some(parent)) = (self.path.file_name().and_then(|n| n.to_str()), self.path.parent()) else {
            return Vec::new();
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
        let mut locked: Vec<Owner> = entries
            .flatten()
            .filter_map(|entry| {
                let owner: Owner = entry
                    .file_name()
                    .to_str()?
                    .strip_prefix(name)?
                    .strip_prefix('.')?
                    .strip_suffix(".lock")?
                    .parse()
                    .ok()?;
                let file = File::open(entry.path()).ok()?;
                let held = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
                // Explicitly: a child process that is being started may have a copy of the file descriptor.
                let _ = flock(&file, FlockOperation::Unlock);
                held.then_some(owner)
            })
            .collect();
        locked.sort();
        locked
    }
}

/// The writer lock of an owner.
pub(super) struct FileLock {
    file: File,
    path: PathBuf,
    /// Whether this process has made the file.
    made: bool,
    /// Whether the file names this process.
    noted: AtomicBool,
    /// Taken while the file is removed: under it, locks are taken.
    pool: SimFile,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // A run that changed nothing leaves no file.
        if self.made
            && !self.noted.load(Ordering::SeqCst)
            && let Ok(_guard) = self.pool.guard(true)
            && self.check().is_ok()
        {
            let _ = fs::remove_file(&self.path);
        }
        // Unlocks explicitly: a child process that is being started may have a copy of the file descriptor.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl FileLock {
    /// Names this process in the file, once. Errors are ignored: it is only for messages.
    pub(super) fn note(&self) {
        if !self.noted.swap(true, Ordering::SeqCst) {
            let ours = format!("process {}\n", std::process::id());
            let _ = self.file.write_all_at(ours.as_bytes(), 0).and_then(|()| self.file.set_len(ours.len() as u64));
        }
    }

    /// Checks that the file still has its name.
    pub(super) fn check(&self) -> Result<(), DriverError> {
        let ours = self.file.metadata().map(|m| (m.dev(), m.ino()));
        let there = fs::metadata(&self.path).map(|m| (m.dev(), m.ino()));
        match (ours, there) {
            (Ok(ours), Ok(there)) if ours == there => Ok(()),
            (Err(error), _) => Err(DriverError::before(ErrorKind::Unreachable, error.to_string())),
            _ => Err(DriverError::before(ErrorKind::OtherWriter, format!("{} was replaced", self.path.display()))),
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Enters a row. Returns `false` if it changes a ledger that is not there.
fn enter(content: &mut SimContent, row: Row) -> bool {
    match row {
        Row::Live(native, object) => enter_object(content, SimKey { native, volume: None, trashed: None }, object),
        Row::Trash(native, uid, object) => {
            enter_object(content, SimKey { native, volume: None, trashed: Some(uid) }, object);
        }
        Row::Inside(volume, native, trashed, object) => {
            enter_object(content, SimKey { native, volume: Some(volume), trashed }, object);
        }
        Row::Ledger(owner, copies) => drop(put(&mut content.ledgers, owner, copies.map(Copies::from))),
        Row::Copies(owner, copies) => drop(content.ledgers.insert(owner, copies)),
        Row::Change(commit) => {
            return content.ledgers.get_mut(&commit.owner).is_some_and(|copies| copies.change(&commit));
        }
        Row::Pool(pool) => content.pool = pool,
        Row::Suspension(owner, id, record) => drop(content.suspensions.insert((owner, id), record)),
    }
    true
}

fn enter_object(content: &mut SimContent, key: SimKey, object: Option<SimObject>) {
    put(&mut content.objects, key, object.map(Arc::new));
}

fn object_row(key: &SimKey, object: Option<&Arc<SimObject>>) -> Row {
    let SimKey { native, volume, trashed } = key.clone();
    let object = object.map(|object| SimObject::clone(object));
    match (volume, trashed) {
        (None, None) => Row::Live(native, object),
        (None, Some(uid)) => Row::Trash(native, uid, object),
        (Some(volume), trashed) => Row::Inside(volume, native, trashed, object),
    }
}

/// Returns the rows that the current change touched.
fn changed(world: &SimWorld) -> Vec<Row> {
    let SimWorld { content, delta: Delta { objects, ledgers, suspensions, pool }, .. } = world;
    let objects = objects.keys().map(|key| object_row(key, content.objects.get(key)));
    let ledgers = ledgers.iter().map(|(owner, commit)| match commit {
        Some(commit) => Row::Change(commit.clone()),
        None => match content.ledgers.get(owner) {
            Some(copies) => Row::Copies(owner.clone(), copies.clone()),
            None => Row::Ledger(owner.clone(), None),
        },
    });
    let record = |key: &(Owner, SuspensionId)| content.suspensions.get(key).cloned().flatten();
    let suspensions = suspensions.iter().map(|key| Row::Suspension(key.0.clone(), key.1.clone(), record(key)));
    objects.chain(ledgers).chain(suspensions).chain(pool.then(|| Row::Pool(content.pool.clone()))).collect()
}

/// Returns all rows of the pool.
fn all(content: &SimContent) -> Vec<Row> {
    let SimContent { pool, objects, ledgers, suspensions } = content;
    let objects = objects.iter().map(|(key, object)| object_row(key, Some(object)));
    let ledgers = ledgers.iter().map(|(owner, copies)| Row::Copies(owner.clone(), copies.clone()));
    let suspensions =
        suspensions.iter().map(|((owner, id), one)| Row::Suspension(owner.clone(), id.clone(), one.clone()));
    std::iter::once(Row::Pool(pool.clone())).chain(ledgers).chain(suspensions).chain(objects).collect()
}

fn write_line(rows: &[Row]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(rows)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// Enters the rows of a line one by one: the first line has the whole pool. `None` if its checksum does not match. After an error, part of
/// it is entered.
fn enter_line(content: &mut SimContent, line: &[u8]) -> Option<Result<(), serde_json::Error>> {
    let (sum, json) = (line.get(..8)?, line.get(8..)?.strip_prefix(b" ")?);
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    let mut rows = serde_json::Deserializer::from_slice(json);
    (crc32fast::hash(json) == sum).then(|| rows.deserialize_seq(EnteredRows(content)).and_then(|()| rows.end()))
}

/// Enters the rows that it reads.
struct EnteredRows<'c>(&'c mut SimContent);

impl<'de> Visitor<'de> for EnteredRows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rows of a line")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element()? {
            if !enter(self.0, row) {
                return Err(A::Error::custom("a line changes a ledger that is not there"));
            }
        }
        Ok(())
    }
}

/// Returns a random number: the standard library seeds its hash maps with the system's randomness.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
