//! What the file system of a pool can do, found by trying it, once in each process: a pass with nothing to do writes nothing.
//!
//! The trials use files of their own in a temporary directory: in `.kiln-pool` or, before that exists, in the pool or its parent.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self, AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::content::{self, GRANULARITY};
use super::evidence::lease_proves_idleness;
use super::pool::{self, FILE_MODE, MARK, MAX_NAME, TRIES};
use crate::model::{
    Absence, Capabilities, ClientVisibility, CloneAbility, Growth, NameRules, Reservation, Restores, SettingsAbility,
    Size, SnapshotAbility, TrashAbility,
};

const FILES: [&str; 3] = ["a", "b", "c"];

/// The abilities of the file systems that this process has tried, by the directory of the trials: its device and inode, and the type and
/// size of its file system, which differ if another one is mounted there.
static TRIED: Mutex<BTreeMap<(u64, u64, i64, u64), Ability>> = Mutex::new(BTreeMap::new());

/// The result of the trials.
#[derive(Clone)]
struct Ability {
    shares_blocks: Option<u64>,
    thick: bool,
    /// Whether space that is allocated is counted at once.
    counts_allocated: bool,
    max_size: u64,
    exchange: bool,
    /// What every step needs and the file system does not support.
    lacks: Vec<&'static str>,
}

impl Ability {
    /// The assumption if nothing can be tried (no space, read-only, not permitted): everything that a step needs, and nothing else.
    fn unknown() -> Self {
        Self {
            shares_blocks: None,
            thick: true,
            counts_allocated: false,
            max_size: Size::MAX.bytes(),
            exchange: true,
            lacks: Vec::new(),
        }
    }
}

/// The capabilities of the pool at `path`, found by trying.
#[cfg(test)]
pub(super) fn capabilities(path: &Path) -> Capabilities {
    capabilities_by(path, place(path).and_then(|place| tried(&place)))
}

/// The capabilities of the pool at `path`, by an earlier trial of this process if there was one.
pub(super) fn known_capabilities(path: &Path) -> Capabilities {
    capabilities_by(path, tried_once(path))
}

fn capabilities_by(path: &Path, ability: Result<Ability, Errno>) -> Capabilities {
    let Ability { shares_blocks, thick, counts_allocated, max_size, exchange, lacks } =
        ability.unwrap_or_else(|_| Ability::unknown());
    let unusable = (!lacks.is_empty())
        .then(|| format!("the file system of {} has no {}", path.display(), lacks.join(", and no ")));
    Capabilities {
        granularity: GRANULARITY,
        max_size: max_size - max_size % GRANULARITY,
        names: NameRules::up_to(MAX_NAME),
        thin: true,
        thick,
        reservation: if counts_allocated { Reservation::Changeable } else { Reservation::Hidden },
        grow: Growth::Open,
        snapshots: Some(SnapshotAbility { nested: false, while_open: shares_blocks.is_some(), adopt: false }),
        clones: Some(CloneAbility { of_volume: true, depend: false, detach: true }),
        client_visibility: visibility(path),
        absence: Absence::ByList,
        restore: if exchange { Restores::Atomic } else { Restores::No },
        rename: true,
        adopt: true,
        trash: TrashAbility::All,
        repeatable: true,
        settings: SettingsAbility { qos: false, qos_live: false, encryption: false },
        images: true,
        shares_blocks,
        unusable,
    }
}

/// Whether the clients of all hosts are seen, by the file system of the pool.
fn visibility(path: &Path) -> ClientVisibility {
    match place(path) {
        Ok(dir) if lease_proves_idleness(dir.as_fd()) => ClientVisibility::All,
        Ok(_) => ClientVisibility::None,
        // Nothing can be observed either.
        Err(_) => ClientVisibility::All,
    }
}

/// The directory for the trials.
fn place(path: &Path) -> Result<OwnedFd, Errno> {
    let open = |path: &Path| fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let pool = match open(path) {
        Err(Errno::NOENT) => return open(pool::parent_of(path)),
        other => other?,
    };
    Ok(pool::absent_is_none(pool::open_dir(pool.as_fd(), MARK))?.unwrap_or(pool))
}

fn tried_once(path: &Path) -> Result<Ability, Errno> {
    let place = place(path)?;
    let (stat, system) = (fs::fstat(&place)?, fs::fstatfs(&place)?);
    let key = (stat.st_dev, stat.st_ino, system.f_type, system.f_blocks);
    let known = TRIED.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let ability = tried(&place)?;
    // What is missing may be added by mounting it in another way.
    if ability.lacks.is_empty() {
        TRIED.lock().unwrap_or_else(PoisonError::into_inner).insert(key, ability.clone());
    }
    Ok(ability)
}

fn tried(place: &OwnedFd) -> Result<Ability, Errno> {
    let synced = pool::sync(place.as_fd());
    // One trial at a time: a directory that another process uses was not left by a crash. The wait is bounded.
    for _ in 0..50 {
        match pool::mkdir(place, TRIES) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let Some(dir) = pool::absent_is_none(pool::open_dir(place.as_fd(), TRIES))? else { continue };
        // If locks are not supported, the trial reports it.
        if fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) == Err(Errno::AGAIN) {
            std::thread::sleep(std::time::Duration::from_millis(2));
            continue;
        }
        let still = pool::stat_in(place.as_fd(), TRIES)?;
        let own = fs::fstat(&dir)?;
        if still.is_none_or(|still| (still.st_dev, still.st_ino) != (own.st_dev, own.st_ino)) {
            continue;
        }
        clear(&dir);
        let ability = try_in(dir.as_fd(), synced);
        clear(&dir);
        let _ = pool::unlink(place, TRIES, AtFlags::REMOVEDIR);
        return ability;
    }
    Err(Errno::AGAIN)
}

fn clear(dir: &OwnedFd) {
    for name in FILES {
        let _ = pool::remove_file(dir.as_fd(), name);
    }
}

/// Whether an error says that the file system does not support a call. Any other error proves nothing.
fn is_unknown(answer: Result<(), Errno>) -> bool {
    matches!(
        answer,
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::NOTTY | Errno::NOLCK | Errno::MLINK)
    )
}

fn try_in(dir: BorrowedFd<'_>, synced: Result<(), Errno>) -> Result<Ability, Errno> {
    let [a, b, c] = FILES;
    let open = |name| pool::open_in(dir, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, FILE_MODE);
    let (one, other) = (open(a)?, open(b)?);
    let max_size = largest(&one);
    let filled = rustix::io::pwrite(&one, &[1; GRANULARITY as usize], 0).is_ok();
    let shares_blocks = filled && content::shares_blocks(&other, &one);
    let device = fs::fstat(&one)?.st_dev;
    let allotted = fs::fallocate(&other, FallocateFlags::empty(), 0, GRANULARITY);
    let thick = !matches!(allotted, Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL));
    // Some file systems accept the call and allocate nothing, or count only what was written.
    let counts_allocated = allotted.is_ok() && content::allocated(&fs::fstat(&other)?) >= GRANULARITY;
    let exchange = !is_unknown(pool::rename(dir, a, dir, b, RenameFlags::EXCHANGE));
    let lock = fs::flock(&one, FlockOperation::NonBlockingLockExclusive);
    let needed = [
        ("rename that replaces nothing (RENAME_NOREPLACE)", pool::rename(dir, a, dir, c, RenameFlags::NOREPLACE)),
        ("hard links", pool::link(dir, b, a)),
        ("locks (flock)", lock),
        ("fsync of directories", synced.and_then(|()| pool::sync(dir))),
    ];
    let lacks = needed.into_iter().filter(|(_, answer)| is_unknown(*answer)).map(|(what, _)| what).collect();
    Ok(Ability { shares_blocks: shares_blocks.then_some(device), thick, counts_allocated, max_size, exchange, lacks })
}

/// The largest length of a file on this file system, found by bisection. Sparse files need no space.
fn largest(file: &OwnedFd) -> u64 {
    // A resource limit of this process also limits volumes, and exceeding it would raise a fatal signal.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX);
    let (mut fits, mut too_large) = (0, Size::MAX.bytes().min(limit) / GRANULARITY + 1);
    while too_large - fits > 1 {
        let middle = fits + (too_large - fits) / 2;
        if fs::ftruncate(file, middle * GRANULARITY).is_ok() {
            fits = middle;
        } else {
            too_large = middle;
        }
    }
    let _ = fs::ftruncate(file, 0);
    fits * GRANULARITY
}
