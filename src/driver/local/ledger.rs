//! The ledgers: two copies each, with checksums, replaced by renames.
//!
//! A ledger is a line `kiln-ledger 1 HASH`, followed by JSON. HASH is the BLAKE3 hash of the JSON.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::pool::{self, ListBuffer, LocalPool, MARK};
use super::{checked, fail, marks};
use crate::model::{Capacity, DriverError, ErrorKind, Ledger, LedgerCommit, LedgerView, Owner, Resource};

/// The beginning of every format. The number of the format and a space follow.
const MAGIC: &str = "kiln-ledger ";
/// The format that this program writes, and reads.
const FORMAT: u32 = 1;
/// The text before the hash.
const HEAD: &str = "kiln-ledger 1 ";
/// The largest ledger in bytes. A ledger of a million objects has about 200 MB.
const LIMIT: u64 = 1 << 30;

/// The file that reserves space for a ledger on a full pool: the ledger is written before an object is removed. The reserve is renamed
/// and overwritten to become the new ledger, which needs neither space nor an inode.
const RESERVE: &str = "reserve";
/// A ledger of 10,000 objects takes 2 MB; the reserve of a larger one grows with it.
const RESERVE_SIZE: u64 = 4 << 20;
/// The space in bytes that is reserved in all, before the ledger has grown.
const KEPT: u64 = RESERVE_SIZE + pool::SPARES * pool::SPARE_SIZE;

/// The inodes that are not used for new objects, so that ledgers and tags can be written when objects are removed.
pub(super) const KEPT_INODES: u64 = 64;

const MAIN: &str = ".ledger";
const OLD: &str = ".ledger.old";
const BESIDE: &str = ".ledger.new";

/// The owners that have a ledger on the pool. `Err` is the message if they cannot be listed: an unreadable ledger is not a missing one.
pub(super) fn all_owners(pool: &LocalPool) -> Result<BTreeSet<Owner>, DriverError> {
    let unreadable = |errno| {
        let why = format!("{}/{MARK} cannot be read: {}", pool.path.display(), fail::describe(errno));
        DriverError::before(ErrorKind::Unreachable, why)
    };
    let Some(mark) = pool.mark().map_err(unreadable)? else { return Ok(BTreeSet::new()) };
    Ok(owners(mark, &[MAIN, OLD]).map_err(unreadable)?.into_iter().collect())
}

/// The owners that have a file of one of these endings beside the mark.
pub(super) fn owners(mark: BorrowedFd<'_>, endings: &[&str]) -> Result<Vec<Owner>, Errno> {
    let entries = pool::list(mark, &mut ListBuffer::new())?;
    let owner = |name: &str| endings.iter().find_map(|ending| name.strip_suffix(ending)?.parse().ok());
    let mut owners: Vec<Owner> = entries.iter().filter_map(|entry| owner(&entry.name)).collect();
    owners.sort();
    owners.dedup();
    Ok(owners)
}

/// Reads an owner's ledger. `None` if the pool has none, or its mark cannot be opened.
pub(super) fn read_of(pool: &LocalPool, owner: &Owner) -> Option<LedgerView> {
    read(pool.mark().ok().flatten()?, owner)
}

/// Reads both copies of a ledger. The first is the newer one, and is only ever replaced by a rename. If it cannot be read, the second
/// is not used: entries made since would be lost.
pub(super) fn read(mark: BorrowedFd<'_>, owner: &Owner) -> Option<LedgerView> {
    let why = match read_copy(mark, owner, MAIN) {
        Ok(Some(ledger)) => return Some(LedgerView::Good(Arc::new(ledger))),
        Ok(None) => None,
        Err(CopyError::Unreadable(why)) => return Some(LedgerView::Unreadable(why)),
        Err(CopyError::Damaged(why)) => Some(why),
    };
    match (read_copy(mark, owner, OLD), why) {
        (Ok(Some(ledger)), why) => {
            let why = why.unwrap_or_else(|| format!("{MARK}/{owner}{MAIN} is missing"));
            Some(LedgerView::Older(Arc::new(ledger), why))
        }
        (Ok(None), None) => None,
        (Ok(None), Some(why)) | (Err(CopyError::Damaged(why)), None) => Some(LedgerView::Damaged(why)),
        (Err(CopyError::Damaged(older)), Some(why)) => Some(LedgerView::Damaged(format!("{why}; {older}"))),
        (Err(CopyError::Unreadable(why)), _) => Some(LedgerView::Unreadable(why)),
    }
}

/// Why a copy cannot be used.
enum CopyError {
    /// It is damaged.
    Damaged(String),
    /// It may be complete: it could not be read, or not by this version.
    Unreadable(String),
}

fn read_copy(mark: BorrowedFd<'_>, owner: &Owner, ending: &str) -> Result<Option<Ledger>, CopyError> {
    let name = format!("{owner}{ending}");
    let bytes = match pool::read_small(mark, &name, LIMIT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(errno) => {
            let advice = match errno {
                Errno::ACCESS | Errno::PERM => "; chown it to the user that runs kiln",
                _ => "",
            };
            let why = format!("{MARK}/{name} cannot be read: {}{advice}", fail::describe(errno));
            return Err(CopyError::Unreadable(why));
        }
    };
    let damaged = || CopyError::Damaged(format!("{MARK}/{name} is damaged"));
    let Some(body) = checked::body_of(HEAD, &bytes) else {
        return Err(match newer_format(&bytes) {
            Some(format) => CopyError::Unreadable(format!(
                "{MARK}/{name} has format {format}, which a newer version of kiln wrote; use that version or a later one"
            )),
            None => damaged(),
        });
    };
    match serde_json::from_slice::<Ledger>(body) {
        Ok(ledger) if ledger.owner == *owner => Ok(Some(ledger)),
        Ok(ledger) => Err(CopyError::Damaged(format!("{MARK}/{name} is the ledger of {}", ledger.owner))),
        // Its checksum is right, so it is not damaged.
        Err(why) => Err(CopyError::Unreadable(format!("{MARK}/{name} cannot be read by this version of kiln: {why}"))),
    }
}

/// The number of a newer format.
fn newer_format(bytes: &[u8]) -> Option<u32> {
    let number = bytes.strip_prefix(MAGIC.as_bytes())?.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok().filter(|format| *format > FORMAT)
}

fn doing(pool: &LocalPool, owner: &Owner) -> String {
    format!("writing the ledger of {owner} in {}/{MARK}", pool.path.display())
}

/// Opens the mark and reads the ledger that is about to be replaced.
fn open(pool: &LocalPool, owner: &Owner) -> Result<(OwnedFd, Option<LedgerView>), DriverError> {
    let mark = pool::open_dir(pool.root(), MARK).map_err(|errno| fail::before(doing(pool, owner), errno))?;
    match read(mark.as_fd(), owner) {
        Some(LedgerView::Unreadable(why)) => {
            Err(DriverError::before(ErrorKind::Unreachable, format!("{}: {why}", doing(pool, owner))))
        }
        view => Ok((mark, view)),
    }
}

/// Replaces a ledger. See [`crate::driver::PoolMetadata::write_ledger`].
///
/// Only a newer ledger replaces one: an abandoned write that comes late must not undo later entries.
pub(super) fn write(pool: &LocalPool, ledger: &Ledger) -> Result<(), DriverError> {
    let (mark, view) = open(pool, &ledger.owner)?;
    if let Some(there) = view.as_ref().and_then(LedgerView::ledger) {
        if there == ledger {
            return Ok(());
        }
        if there.serial >= ledger.serial {
            return Err(fail::conflict(format!(
                "{}: the pool already has number {}, and this is number {}",
                doing(pool, &ledger.owner),
                there.serial,
                ledger.serial
            )));
        }
    }
    replace(pool, &mark, view.as_ref(), ledger)
}

/// Changes a ledger. See [`crate::driver::PoolMetadata::change_ledger`]. A file cannot be changed in one step, so it is replaced.
pub(super) fn change(pool: &LocalPool, commit: &LedgerCommit) -> Result<(), DriverError> {
    let conflict = |why: String| fail::conflict(format!("{}: {why}", doing(pool, &commit.owner)));
    if commit.to <= commit.from {
        return Err(conflict(format!("number {} does not follow number {}", commit.to, commit.from)));
    }
    let (mark, view) = open(pool, &commit.owner)?;
    let there = match &view {
        Some(LedgerView::Good(there)) if there.pool == commit.pool => there,
        _ => return Err(conflict(format!("the pool does not have number {}, intact", commit.from))),
    };
    if ![commit.from, commit.to].contains(&there.serial) {
        return Err(conflict(format!("the pool has number {}, and this follows number {}", there.serial, commit.from)));
    }
    let mut ledger = Ledger::clone(there);
    ledger.apply(commit).map_err(|key| conflict(format!("there is no entry {key}")))?;
    match (there.serial == commit.to, ledger == **there) {
        (true, true) => Ok(()),
        (true, false) => Err(conflict(format!("the pool has another number {}", commit.to))),
        (false, _) => replace(pool, &mark, view.as_ref(), &ledger),
    }
}

/// Writes a ledger in the place of the one that was read.
fn replace(pool: &LocalPool, mark: &OwnedFd, view: Option<&LedgerView>, ledger: &Ledger) -> Result<(), DriverError> {
    let owner = &ledger.owner;
    let doing = doing(pool, owner);
    let failed = |errno| fail::before(&doing, errno);
    let bytes = checked::encode(HEAD, ledger)
        .map_err(|why| DriverError::before(ErrorKind::Permanent, format!("{doing}: {why}")))?;
    if let Some(there) = view.and_then(LedgerView::ledger) {
        marks::drop_unlisted(pool, there, ledger);
    }
    let [main, old, beside] = [MAIN, OLD, BESIDE].map(|ending| format!("{owner}{ending}"));
    // A damaged first copy must not replace a second copy that may be complete.
    let main_is_whole = matches!(view, Some(LedgerView::Good(_)));
    match pool::write_beside(mark.as_fd(), &beside, &bytes) {
        Err(Errno::NOSPC | Errno::DQUOT) => {
            // Without a reserve, the older copy is overwritten if the newer one is complete.
            let spare = [Some(RESERVE), main_is_whole.then_some(old.as_str())];
            write_over(mark.as_fd(), &spare, &beside, &bytes).map_err(failed)?;
        }
        other => {
            other.map_err(failed)?;
            keep_reserve(mark.as_fd(), bytes.len() as u64);
        }
    }
    if main_is_whole {
        // At least one complete copy exists at any time: the second is removed only while the first exists.
        pool::remove_file(mark.as_fd(), &old).map_err(failed)?;
        pool::link(mark, &main, &old).map_err(failed)?;
    }
    pool::rename(mark, &beside, mark, &main, RenameFlags::empty()).map_err(failed)?;
    pool::sync(mark.as_fd()).map_err(|errno| fail::after(&doing, errno))
}

/// Writes a file when there is no space for a new one: overwrites the first of these files that exists and is large enough.
fn write_over(mark: BorrowedFd<'_>, spare: &[Option<&str>], name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let mut answer = Errno::NOSPC;
    for spare in spare.iter().flatten() {
        pool::remove_file(mark, name)?;
        if pool::stat_in(mark, spare)?.is_none() {
            continue;
        }
        pool::rename(mark, spare, mark, name, RenameFlags::empty())?;
        let file = pool::open_in(mark, name, OFlags::WRONLY, Mode::empty())?;
        let written = pool::write_all(&file, bytes).and_then(|()| {
            fs::ftruncate(&file, bytes.len() as u64)?;
            pool::sync(file.as_fd())
        });
        match written {
            Ok(()) => return Ok(()),
            Err(errno) => answer = errno,
        }
    }
    Err(answer)
}

/// Keeps a reserve for a ledger of this length, and spare inodes. Errors are ignored.
fn keep_reserve(mark: BorrowedFd<'_>, length: u64) {
    // Half as much again: a ledger grows while objects are removed.
    let wanted = RESERVE_SIZE.max((length + length / 2).next_multiple_of(1 << 20));
    let kept = pool::stat_in(mark, RESERVE).ok().flatten();
    if kept.as_ref().is_none_or(|kept| u64::try_from(kept.st_size).unwrap_or(0) < wanted)
        && let Ok(file) = pool::open_in(mark, RESERVE, OFlags::WRONLY | OFlags::CREATE, pool::FILE_MODE)
        && fs::fallocate(&file, FallocateFlags::empty(), 0, wanted).is_err()
        && kept.is_none()
    {
        // An incomplete reserve would be taken for a complete one.
        let _ = pool::remove_file(mark, RESERVE);
    }
    pool::keep_spares(mark);
}

/// Whether there is a reserve. If not, the next ledger that is written makes one.
pub(super) fn has_reserve(pool: &LocalPool) -> bool {
    let mark = pool.mark().ok().flatten();
    mark.is_some_and(|mark| pool::stat_in(mark, RESERVE).is_ok_and(|reserve| reserve.is_some()))
}

/// The capacities for volumes on a pool without a reserve: the space of the future reserve is not available to them.
pub(super) fn less_reserve(mut room: Vec<Capacity>) -> Vec<Capacity> {
    for capacity in room.iter_mut().filter(|capacity| capacity.resource == Resource::Data) {
        capacity.used = capacity.used.saturating_add(KEPT).min(capacity.total);
    }
    room
}

/// Removes a ledger with its copies.
pub(super) fn remove(pool: &LocalPool, owner: &Owner) -> Result<(), DriverError> {
    let doing = format!("removing the ledger of {owner} in {}/{MARK}", pool.path.display());
    let failed = |errno| fail::after(&doing, errno);
    let Some(mark) = pool.mark().map_err(failed)? else { return Ok(()) };
    // The first copy is removed last: the older one alone would be taken for the current ledger.
    for ending in [BESIDE, OLD, MAIN] {
        pool::remove_file(mark, &format!("{owner}{ending}")).map_err(failed)?;
    }
    pool::sync(mark).map_err(failed)
}
