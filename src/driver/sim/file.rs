//! A simulated pool kept in a file, for several processes.
//!
//! The file is a log: a header, then one line for each change, which carries the new value of all that the change touched, with a
//! checksum before it. A change is one line, so that a crash leaves all of it or a torn last line, which the next writer cuts off.
//! Once most lines are out of date the log is written anew beside, synced and renamed; the header's generation tells readers.
//! Every access holds `flock` on `FILE.lock`, which is never replaced; the writer lock of an owner is `FILE.OWNER.lock`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::model::{DriverError, ErrorKind, NativeName, Owner, PoolId, Suspension, SuspensionId, Uid};

use super::world::{Copies, Delta, SimObject, SimWorld};

/// What the header says before the generation.
const MAGIC: &str = "kiln-sim 1 ";
/// Magic, sixteen digits, end of line.
const HEADER: usize = MAGIC.len() + 17;
/// Lines that may be out of date before the log is written anew, besides four for each object: rewriting then costs each change
/// less than the change itself, and a small pool stays a small file.
const SPARE_LINES: u64 = 1000;
/// The same for ledgers, in bytes, besides half of the file: a line of theirs is as long as there are objects.
const SPARE_LEDGERS: u64 = 1 << 20;

/// The new value of one thing; nothing where it is gone.
#[derive(Serialize, Deserialize)]
enum Row {
    Live(NativeName, Option<SimObject>),
    Trash(NativeName, Uid, Option<SimObject>),
    Ledger(Owner, Option<Copies>),
    Pool(Option<PoolId>),
    Suspension(Owner, SuspensionId, Option<Suspension>),
}

/// How far the world in memory has followed the file.
#[derive(Default)]
struct Position {
    /// Of the file that was read; empty: none was.
    generation: String,
    offset: u64,
    lines: u64,
    /// By owner, the length of the line that holds its ledger; and that of all lines that held one before.
    ledgers: BTreeMap<Owner, u64>,
    old_ledgers: u64,
}

impl Position {
    fn begin(generation: String) -> Self {
        Self { generation, offset: HEADER as u64, ..Self::default() }
    }

    /// Goes past a line.
    fn pass(&mut self, rows: &[Row], len: u64) {
        for row in rows {
            if let Row::Ledger(owner, copies) = row {
                let before = match copies {
                    Some(_) => self.ledgers.insert(owner.clone(), len),
                    None => self.ledgers.remove(owner),
                };
                self.old_ledgers += before.unwrap_or(0);
            }
        }
        self.offset += len;
        self.lines += 1;
    }

    fn is_mostly_old(&self, objects: u64) -> bool {
        self.lines > SPARE_LINES + 4 * objects || self.old_ledgers > SPARE_LEDGERS + self.offset / 2
    }
}

pub(super) struct SimFile {
    path: PathBuf,
    position: Mutex<Position>,
}

impl SimFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), position: Mutex::default() }
    }

    /// Brings `world` up to date and reads or changes it. Changes are on disk when this returns.
    ///
    /// # Errors
    /// `Unreachable` if the file cannot be read; if it cannot be written, it is unknown whether the change was made.
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
        if !world.delta.is_empty() {
            let saved = self.save(&mut position, &world);
            world.settle();
            if let Err(error) = saved {
                // What is in memory is not what is on disk: read it all again next time.
                *position = Position { generation: "none".to_owned(), ..Position::default() };
                let kind =
                    if error.kind() == io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::Transient };
                let message = format!("{} cannot be written: {error}", self.path.display());
                return Err(DriverError::unknown(kind, message));
            }
        }
        Ok(answer)
    }

    /// Makes the directory that the file is to lie in.
    pub(super) fn make_room(&self) -> Result<(), DriverError> {
        self.path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|e| self.unreachable(&e))
    }

    /// A number that the same history always gives, and another history hardly.
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

    /// The lock of one access. Reading makes no file: if none exists, there is no other access to wait for.
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

    /// Reads what others have added since the last access.
    fn follow(&self, position: &mut Position, world: &mut SimWorld) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !position.generation.is_empty() {
                    clear(world);
                    *position = Position::default();
                }
                return Ok(());
            }
            other => other?,
        };
        let mut header = [0; HEADER];
        let read = file.read_exact(&mut header);
        if let Err(error) = &read
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let header = std::str::from_utf8(&header).ok().and_then(|text| text.strip_prefix(MAGIC));
        let Some(generation) = read.ok().and(header).and_then(|rest| rest.strip_suffix('\n')) else {
            return Err(io::Error::other("is not a pool of this simulator"));
        };
        if generation != position.generation || file.metadata()?.len() < position.offset {
            clear(world);
            *position = Position::begin(generation.to_owned());
        }
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(position.offset))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        // Without its end, a line was torn.
        while file.read_until(b'\n', &mut line)? > 0 && line.last() == Some(&b'\n') {
            match read_line(&line[..line.len() - 1]) {
                Some(rows) => {
                    position.pass(&rows, line.len() as u64);
                    rows.into_iter().for_each(|row| put(world, row));
                    // The last change is no longer this driver's own, and only of its own it knows what they replaced.
                    world.before = Delta::default();
                }
                // Of a torn write the end may be on disk before the beginning.
                None if position.offset + line.len() as u64 == len => break,
                None => {
                    // What was read of it must not be taken for the whole.
                    *position = Position { generation: "none".to_owned(), ..Position::default() };
                    return Err(io::Error::other("is damaged: a line has a checksum that does not fit"));
                }
            }
            line.clear();
        }
        Ok(())
    }

    fn save(&self, position: &mut Position, world: &SimWorld) -> io::Result<()> {
        let objects = (world.live.len() + world.trash.len()) as u64;
        if position.generation.is_empty() || position.is_mostly_old(objects) {
            return self.rewrite(position, world);
        }
        let rows = changed(world);
        let line = write_line(&rows)?;
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(position.offset)?;
        file.seek(SeekFrom::Start(position.offset))?;
        file.write_all(&line)?;
        file.sync_data()?;
        position.pass(&rows, line.len() as u64);
        Ok(())
    }

    fn rewrite(&self, position: &mut Position, world: &SimWorld) -> io::Result<()> {
        let beside = self.beside(".new");
        let generation = format!("{:016x}", random());
        let mut text = format!("{MAGIC}{generation}\n").into_bytes();
        let mut anew = Position::begin(generation);
        for row in all(world) {
            let (row, begin) = ([row], text.len());
            text.extend(write_line(&row)?);
            anew.pass(&row, (text.len() - begin) as u64);
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()?;
        *position = anew;
        Ok(())
    }

    /// Takes the writer lock of an owner.
    pub(super) fn lock_owner(&self, owner: &Owner) -> Result<FileLock, DriverError> {
        let path = self.beside(&format!(".{owner}.lock"));
        let take = || -> io::Result<Result<FileLock, String>> {
            // Held while trying, so that an observation that briefly tries the same lock is not taken for a writer.
            let _guard = self.guard(true)?;
            let mut file = open_lock(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)?;
                    return Ok(Err(holder.trim().to_owned()));
                }
                other => other?,
            }
            file.set_len(0)?;
            file.write_all(format!("process {}\n", std::process::id()).as_bytes())?;
            Ok(Ok(FileLock { file, path: path.clone() }))
        };
        match take().map_err(|e| self.unreachable(&e))? {
            Ok(lock) => Ok(lock),
            Err(holder) => {
                let holder = if holder.is_empty() { "another process" } else { &holder };
                let message = format!("{holder} is writing for {owner}");
                Err(DriverError::before(ErrorKind::OtherWriter, message))
            }
        }
    }

    /// Whose writer locks are held, by whomever. Called within [`SimFile::access`].
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
                flock(&file, FlockOperation::NonBlockingLockShared).is_err().then_some(owner)
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
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // OperationResult and not left to the closing of the file: a child that is just being started has a copy of it.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl FileLock {
    /// The same file must still be under the same name.
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

fn clear(world: &mut SimWorld) {
    world.pool = None;
    world.live.clear();
    world.trash.clear();
    world.ledgers.clear();
    world.suspensions.clear();
    world.before = Delta::default();
}

fn put(world: &mut SimWorld, row: Row) {
    match row {
        Row::Live(native, Some(object)) => drop(world.live.insert(native, Arc::new(object))),
        Row::Live(native, None) => drop(world.live.remove(&native)),
        Row::Trash(native, uid, Some(object)) => drop(world.trash.insert((native, uid), Arc::new(object))),
        Row::Trash(native, uid, None) => drop(world.trash.remove(&(native, uid))),
        Row::Ledger(owner, Some(copies)) => drop(world.ledgers.insert(owner, copies)),
        Row::Ledger(owner, None) => drop(world.ledgers.remove(&owner)),
        Row::Pool(pool) => world.pool = pool,
        Row::Suspension(owner, id, record) => drop(world.suspensions.insert((owner, id), record)),
    }
}

/// What the change in progress touched.
fn changed(world: &SimWorld) -> Vec<Row> {
    let Delta { live, trash, ledgers, suspensions, pool } = &world.delta;
    let live = live.keys().map(|native| Row::Live(native.clone(), world.live.get(native).map(|o| (**o).clone())));
    let trash = trash.keys().map(|key| Row::Trash(key.0.clone(), key.1, world.trash.get(key).map(|o| (**o).clone())));
    let ledgers = ledgers.iter().map(|owner| Row::Ledger(owner.clone(), world.ledgers.get(owner).cloned()));
    let pool = pool.then(|| Row::Pool(world.pool.clone()));
    let record = |key: &(Owner, SuspensionId)| world.suspensions.get(key).cloned().flatten();
    let suspensions = suspensions.iter().map(|key| Row::Suspension(key.0.clone(), key.1.clone(), record(key)));
    live.chain(trash).chain(ledgers).chain(suspensions).chain(pool).collect()
}

fn all(world: &SimWorld) -> impl Iterator<Item = Row> {
    let live = world.live.iter().map(|(native, o)| Row::Live(native.clone(), Some((**o).clone())));
    let trash = world.trash.iter().map(|((native, uid), o)| Row::Trash(native.clone(), *uid, Some((**o).clone())));
    let ledgers = world.ledgers.iter().map(|(owner, copies)| Row::Ledger(owner.clone(), Some(copies.clone())));
    let suspensions = world.suspensions.iter();
    let suspensions = suspensions.map(|((owner, id), one)| Row::Suspension(owner.clone(), id.clone(), one.clone()));
    std::iter::once(Row::Pool(world.pool.clone())).chain(ledgers).chain(suspensions).chain(live).chain(trash)
}

fn write_line(rows: &[Row]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(rows)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

fn read_line(line: &[u8]) -> Option<Vec<Row>> {
    let (sum, json) = (line.get(..8)?, line.get(8..)?.strip_prefix(b" ")?);
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (crc32fast::hash(json) == sum).then(|| serde_json::from_slice(json).ok()).flatten()
}

/// A number that no other process gets: std keys its hash maps with the system's randomness, and needs no crate for it.
pub(super) fn random() -> u64 {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_rows_are_those_of_stored_files() {
        let owner: Owner = "prod".parse().unwrap();
        let rows = [
            Row::Live(NativeName::new("db"), None),
            Row::Trash(NativeName::new("db"), "aaaaaaaa".parse().unwrap(), None),
            Row::Ledger(owner.clone(), None),
            Row::Pool(None),
            Row::Suspension(owner, SuspensionId::of("db"), None),
        ];
        let word = |row: &Row| match row {
            Row::Live(..) => "Live",
            Row::Trash(..) => "Trash",
            Row::Ledger(..) => "Ledger",
            Row::Pool(..) => "Pool",
            Row::Suspension(..) => "Suspension",
        };
        for row in &rows {
            let json = serde_json::to_value(row).unwrap();
            assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), [word(row)]);
        }
        assert_eq!(rows.iter().map(word).collect::<Vec<_>>(), ["Live", "Trash", "Ledger", "Pool", "Suspension"]);
    }
}
