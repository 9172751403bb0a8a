//! The records of suspensions: a file each in `.kiln-pool/suspended`, never changed once it has its name.
//!
//! A record is a line `kiln-suspension 1 HASH`, followed by JSON. HASH is the BLAKE3 hash of the JSON. It is written under a temporary
//! name, made durable, and published by a rename, so it needs no writer lock. A temporary file is locked until then: one that is not
//! locked was left by a killed process, and [`clean`] removes it. The name of a record contains its owner, its id, and whether it has
//! ended: `OWNER.ID.suspended`, `OWNER.ID.resumed`. The second is written before the first is removed, so at least one exists at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::pool::{self, DirEntry, FILE_MODE, ListBuffer, LocalPool, MARK};
use super::{checked, fail};
use crate::model::{DriverError, ErrorKind, Owner, Suspension, SuspensionId};

/// The directory of the records, in [`MARK`].
const DIR: &str = "suspended";
/// The text before the hash. The number is that of the format.
const HEAD: &str = "kiln-suspension 1 ";
/// The suffix of temporary files.
const BESIDE: &str = ".new";
/// The largest record in bytes. A reason has at most 1,000.
const LIMIT: u64 = 16 << 10;
/// The limit of entries in the directory: more than the owners of any shared pool write.
const ENTRIES: usize = 256 * Suspension::MOST;

/// The records that a driver has read, by file name. A record never changes.
pub(super) type Recorded = BTreeMap<String, Suspension>;

/// The state that a file name contains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RecordState {
    Suspended,
    Resumed,
}

impl RecordState {
    fn ending(self) -> &'static str {
        match self {
            RecordState::Suspended => "suspended",
            RecordState::Resumed => "resumed",
        }
    }
}

fn file_name(owner: &Owner, id: &SuspensionId, state: RecordState) -> String {
    format!("{owner}.{id}.{}", state.ending())
}

/// The open directory, with the names of one owner's records.
struct RecordDir {
    dir: OwnedFd,
    names: BTreeMap<String, RecordState>,
    shown: String,
}

impl RecordDir {
    /// Lists the records of an owner. `None` if there is no directory.
    fn list(pool: &LocalPool, owner: &Owner) -> Result<Option<Self>, DriverError> {
        let shown = format!("{}/{MARK}/{DIR}", pool.path.display());
        let unreadable = |errno| unreadable(&shown, &fail::describe(errno));
        let Some(mark) = pool.mark().map_err(unreadable)? else { return Ok(None) };
        let Some(dir) = pool::absent_is_none(pool::open_dir(mark, DIR)).map_err(unreadable)? else { return Ok(None) };
        let entries = pool::list(dir.as_fd(), &mut ListBuffer::new()).map_err(unreadable)?;
        if entries.len() > ENTRIES {
            return Err(self::unreadable(&shown, &format!("it has {} entries", entries.len())));
        }
        let mut names = BTreeMap::new();
        // A temporary file is not a record.
        for entry in entries.into_iter().filter(|entry| !is_beside(entry)) {
            match parse(&entry.name).filter(|_| entry.exact) {
                Some((of, _, state)) if of == *owner => drop(names.insert(entry.name, state)),
                Some(_) => {}
                // It may be a record that was renamed.
                None => {
                    return Err(self::unreadable(
                        &format!("{shown}/{}", entry.name),
                        "its name is not that of a record",
                    ));
                }
            }
        }
        Ok(Some(Self { dir, names, shown }))
    }

    fn read(&self, name: &str) -> Result<Option<Suspension>, DriverError> {
        let shown = format!("{}/{name}", self.shown);
        let bytes = pool::read_small(self.dir.as_fd(), name, LIMIT);
        let Some(bytes) = bytes.map_err(|errno| unreadable(&shown, &fail::describe(errno)))? else { return Ok(None) };
        let damaged = || unreadable(&shown, "it is damaged");
        let record: Suspension =
            checked::body_of(HEAD, &bytes).and_then(|body| serde_json::from_slice(body).ok()).ok_or_else(damaged)?;
        let state = if record.resumed.is_some() { RecordState::Resumed } else { RecordState::Suspended };
        let is_named_so = record.id.as_ref().is_some_and(|id| file_name(&record.owner, id, state) == name);
        if is_named_so { Ok(Some(record)) } else { Err(damaged()) }
    }
}

fn unreadable(shown: &str, why: &str) -> DriverError {
    DriverError::before(
        ErrorKind::Unreachable,
        format!(
            "{shown} may suspend anything and cannot be read: {why}; make it readable, or remove it if nothing on this pool is to \
             be suspended"
        ),
    )
}

fn parse(name: &str) -> Option<(Owner, SuspensionId, RecordState)> {
    let (rest, ending) = name.rsplit_once('.')?;
    let (owner, id) = rest.rsplit_once('.')?;
    let state = [RecordState::Suspended, RecordState::Resumed].into_iter().find(|state| state.ending() == ending)?;
    Some((owner.parse().ok()?, SuspensionId::try_from(id.to_owned()).ok()?, state))
}

/// Reads the records of an owner; those of `known` are not read again. See [`crate::driver::PoolMetadata::suspensions`].
pub(super) fn read(pool: &LocalPool, owner: &Owner, known: &mut Recorded) -> Result<Vec<Suspension>, DriverError> {
    let Some(records) = RecordDir::list(pool, owner)? else {
        known.clear();
        return Ok(Vec::new());
    };
    known.retain(|name, _| records.names.contains_key(name));
    for name in records.names.keys() {
        if !known.contains_key(name) {
            // A record that vanished after the listing was ended, or removed after its end.
            let Some(record) = records.read(name)? else { continue };
            known.insert(name.clone(), record);
        }
    }
    Ok(records.names.keys().filter_map(|name| known.get(name)).cloned().collect())
}

/// Writes a record. See [`crate::driver::PoolMetadata::write_suspension`].
pub(super) fn write(pool: &LocalPool, record: &Suspension) -> Result<(), DriverError> {
    let owner = &record.owner;
    let shown = format!("{}/{MARK}/{DIR}", pool.path.display());
    let doing = format!("recording the suspension of {owner} in {shown}");
    let failed = |errno| fail::before(&doing, errno);
    let id = record.id();
    let record = Suspension { id: Some(id.clone()), ..record.clone() };
    let state = if record.resumed.is_some() { RecordState::Resumed } else { RecordState::Suspended };
    super::lock::identity(pool)?;
    let mark = pool.mark().and_then(|mark| mark.ok_or(Errno::NOENT)).map_err(failed)?;
    // A suspension must be possible on a full pool.
    let dir = pool.with_spares(|| pool::make_dir(mark, DIR).map_err(failed))?;
    let names = RecordDir::list(pool, owner)?.map(|records| records.names).unwrap_or_default();
    let (suspended, resumed) =
        (file_name(owner, &id, RecordState::Suspended), file_name(owner, &id, RecordState::Resumed));
    let name = if state == RecordState::Resumed { &resumed } else { &suspended };
    if !names.contains_key(name) && !names.contains_key(&resumed) {
        let in_force = names.values().filter(|state| **state == RecordState::Suspended).count();
        if state == RecordState::Suspended && in_force >= Suspension::MOST {
            let message =
                format!("{doing}: {in_force} suspensions are in force; resume some, or suspend the whole owner");
            return Err(DriverError::before(ErrorKind::Permanent, message));
        }
        let bytes = checked::encode(HEAD, &record)
            .map_err(|why| DriverError::before(ErrorKind::Permanent, format!("{doing}: {why}")))?;
        pool.with_spares(|| {
            let published = match publish(dir.as_fd(), name, &bytes) {
                // Another process removed the temporary file before it was locked.
                Err(Errno::NOENT) => publish(dir.as_fd(), name, &bytes),
                other => other,
            };
            published.map_err(failed)
        })?;
    }
    let after = |errno| fail::after(&doing, errno);
    pool::sync(dir.as_fd()).map_err(after)?;
    if state == RecordState::Resumed {
        pool::remove_file(dir.as_fd(), &suspended).map_err(after)?;
        forget_oldest(&RecordDir { dir, names, shown }, &resumed).map_err(after)?;
    }
    Ok(())
}

/// Writes a temporary file, and renames it. Two writers of one record write the same bytes, each in a file of its own.
fn publish(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let beside = format!("{name}.{}.{}{BESIDE}", std::process::id(), pool::random_hex()?);
    let write = || {
        let file = pool::open_in(dir, &beside, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
        // Waits for [`clean`] in another process at most, which unlocks the file at once.
        pool::lock(&file)?;
        pool::write_all(&file, bytes)?;
        pool::sync(file.as_fd())?;
        pool::rename(dir, &beside, dir, name, RenameFlags::empty())
    };
    write().inspect_err(|_| {
        // The temporary file is of no use.
        let _ = pool::remove_file(dir, &beside);
    })
}

/// Removes the temporary files of killed processes. Errors are ignored.
pub(super) fn clean(pool: &LocalPool) {
    let left = || {
        let Some(mark) = pool.mark()? else { return Ok(()) };
        let Some(dir) = pool::absent_is_none(pool::open_dir(mark, DIR))? else { return Ok(()) };
        let entries = pool::list(dir.as_fd(), &mut ListBuffer::new())?;
        for DirEntry { name, .. } in entries.into_iter().filter(is_beside) {
            let file = pool::absent_is_none(pool::open_in(dir.as_fd(), &name, OFlags::RDONLY, Mode::empty()))?;
            if file.is_some_and(|file| fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()) {
                pool::remove_file(dir.as_fd(), &name)?;
            }
        }
        Ok(())
    };
    if let Err(errno) = left() as Result<(), Errno> {
        tracing::debug!(pool = %pool.path.display(), %errno, "temporary files of suspensions cannot be removed");
    }
}

fn is_beside(entry: &DirEntry) -> bool {
    entry.exact && entry.name.ends_with(BESIDE)
}

/// Removes the oldest records of ended suspensions beyond [`Suspension::MOST`]. On a pool that was not reachable meanwhile, such a
/// suspension is in force again until it is resumed once more.
fn forget_oldest(records: &RecordDir, newest: &str) -> Result<(), Errno> {
    let ended: BTreeSet<&String> = records
        .names
        .iter()
        .filter(|(name, state)| **state == RecordState::Resumed && *name != newest)
        .map(|(name, _)| name)
        .collect();
    if ended.len() < Suspension::MOST {
        return Ok(());
    }
    let mut by_age = Vec::with_capacity(ended.len());
    for name in ended {
        let stat = pool::stat_in(records.dir.as_fd(), name)?;
        by_age.push((stat.map(|stat| (stat.st_mtime, stat.st_mtime_nsec)), name));
    }
    by_age.sort();
    let too_many = by_age.len() + 1 - Suspension::MOST;
    by_age.iter().take(too_many).try_for_each(|(_, name)| pool::remove_file(records.dir.as_fd(), name).map(drop))
}
