//! The pool directory, and the only functions that access files inside it.
//!
//! `openat2` resolves every path relative to a descriptor of the pool, beneath it and without symbolic links. The kernel therefore refuses a
//! link that is created while Kiln runs; there is no separate check that could race with it.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, Stat,
};
use rustix::io::{Errno, retry_on_intr};

use super::fail;
use crate::model::{DriverError, ErrorKind, NativeName, PoolId};
use crate::text::quoted;

/// The directory of the pool's identity, locks, ledgers and tags of adopted files.
pub(super) const MARK: &str = ".kiln-pool";
/// The trash directory.
pub(super) const TRASH: &str = ".trash";
/// The directory in which a connection tries what the file system can do. The next connection uses and removes one that a crash left.
pub(super) const TRIES: &str = ".kiln-try";
/// The identity, in [`MARK`].
const ID: &str = "id";
/// Only the owner can access directories, and so the content of volumes.
pub(super) const DIR_MODE: Mode = Mode::RWXU;
/// Data files, tags and ledgers.
pub(super) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Spare files in [`MARK`]. One is removed when the removal or suspension of an object needs an inode or a block and none is left.
const SPARE: &str = "spare";
/// The number of spare files: as many objects can be trashed on a full file system before trash must be purged.
pub(super) const SPARES: u64 = 32;
/// The size of each in bytes. The tags of an object take one block.
pub(super) const SPARE_SIZE: u64 = 4096;

/// The length of an object's name in bytes. File names have at most 255 on every file system in use; `.img` and `.json.new` are
/// appended.
pub(super) const MAX_NAME: usize = 240;

/// Listings are read in pieces of this many bytes: about 250 of Kiln's names in a call, and small enough for a thread's stack.
const LISTING_BUFFER: usize = 32 * 1024;

/// The open pool. It is opened for each call, so that the call sees what is mounted at the path at that time.
pub(super) struct LocalPool {
    root: OwnedFd,
    /// The directory [`MARK`], as it was when the pool was opened.
    mark: Result<Option<OwnedFd>, Errno>,
    /// As declared, for messages.
    pub(super) path: PathBuf,
}

/// Why the pool could not be opened.
pub(super) enum Closed {
    /// The path does not exist.
    Missing,
    /// It exists and cannot be used.
    Error(DriverError),
}

/// An entry of a directory: its name, and its type if the listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirEntry {
    pub(super) name: String,
    /// False if the name on disk is not UTF-8. Then `name` is for messages only and opens nothing.
    pub(super) exact: bool,
    pub(super) file_type: FileType,
}

impl LocalPool {
    /// Opens the directory, without checking that it can be written to.
    pub(super) fn reach(path: &Path) -> Result<Self, Closed> {
        let unreachable = |message: String| DriverError::before(ErrorKind::Unreachable, message);
        let shown = path.display();
        // The configured path may lead through links. Only paths inside the pool may not.
        let root = match fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Err(Closed::Missing),
            Err(Errno::NOTDIR) => {
                let fix = "correct the `path` of the Backend, or move that file away";
                return Err(Closed::Error(unreachable(format!("{shown} is not a directory")).with_fix(fix)));
            }
            Err(Errno::ACCESS) => {
                let error = unreachable(format!("this user may not read {shown}")).with_fix(give_to_user(path));
                return Err(Closed::Error(error));
            }
            Err(errno) => {
                return Err(Closed::Error(unreachable(format!("{shown} cannot be opened: {}", fail::describe(errno)))));
            }
        };
        let mark = absent_is_none(open_dir(root.as_fd(), MARK));
        Ok(Self { root, mark, path: path.to_owned() })
    }

    /// Opens the directory, and checks that it and its [`MARK`], if there is one, can be read and written to.
    pub(super) fn open(path: &Path) -> Result<Self, Closed> {
        let unreachable = |message: String, fix: String| {
            Closed::Error(DriverError::before(ErrorKind::Unreachable, message).with_fix(fix))
        };
        let shown = path.display();
        let pool = Self::reach(path)?;
        let me = rustix::process::geteuid();
        let owner = fs::fstat(&pool.root).map_or(me.as_raw(), |stat| stat.st_uid);
        if !me.is_root() && owner != 0 && owner != me.as_raw() {
            let message = format!(
                "{shown} belongs to user {owner}, who could not read the files that this user ({}) makes in it",
                me.as_raw()
            );
            return Err(unreachable(
                message,
                format!("run kiln as user {owner} (`sudo -u '#{owner}' kiln apply`) or as root"),
            ));
        }
        match fs::accessat(&pool.root, ".", fs::Access::WRITE_OK | fs::Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => {
                pool.mark_usable().map_err(|message| unreachable(message, give_to_user(path)))?;
                Ok(pool)
            }
            Err(Errno::ROFS) => {
                let fix = format!(
                    "`mount -o remount,rw {0}`, or in a systemd unit `ReadWritePaths={0}` and a restart",
                    quoted(&shown.to_string())
                );
                Err(unreachable(format!("{shown} is read-only"), fix))
            }
            Err(errno) => Err(unreachable(format!("this user may not write to {shown} ({errno})"), give_to_user(path))),
        }
    }

    /// The pool's own directory.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The trash directory, if it exists.
    pub(super) fn trash(&self) -> Result<Option<OwnedFd>, Errno> {
        absent_is_none(open_dir(self.root(), TRASH))
    }

    /// The trash directory, which is made if it does not exist.
    pub(super) fn trash_made(&self) -> Result<OwnedFd, DriverError> {
        make_dir(self.root(), TRASH)
            .map_err(|e| fail::before(format!("making the trash {}/{TRASH}", self.path.display()), e))
    }

    /// Does work that removes or suspends an object. If there is no space for it, removes spare files until there is.
    pub(super) fn with_spares<T>(&self, work: impl Fn() -> Result<T, DriverError>) -> Result<T, DriverError> {
        let no_room = |error: &DriverError| error.kind == ErrorKind::Full;
        let mut answer = work();
        let Ok(Some(mark)) = self.mark() else { return answer };
        for n in 0..SPARES {
            if !answer.as_ref().is_err_and(no_room) {
                break;
            }
            if remove_file(mark, &format!("{SPARE}.{n}")) == Ok(true) {
                answer = work();
            }
        }
        answer
    }

    /// The directory [`MARK`], if the pool had one when it was opened.
    pub(super) fn mark(&self) -> Result<Option<BorrowedFd<'_>>, Errno> {
        self.mark.as_ref().map(|mark| mark.as_ref().map(AsFd::as_fd)).map_err(|errno| *errno)
    }

    /// Checks that the ledger can be written before there is anything to enter into it, and that an unreadable [`MARK`] is not taken
    /// for a missing one. `Err` is the message.
    fn mark_usable(&self) -> Result<(), String> {
        let shown = self.path.display();
        let mark = match self.mark() {
            Ok(Some(mark)) => mark,
            Err(Errno::ACCESS) => return Err(format!("this user may not read {shown}/{MARK}")),
            // Other errors are reported where the content is read.
            Ok(None) | Err(_) => return Ok(()),
        };
        let may = |name, access| fs::accessat(mark, name, access, AtFlags::EACCESS);
        if may(".", fs::Access::EXEC_OK) == Err(Errno::ACCESS) || may(ID, fs::Access::READ_OK) == Err(Errno::ACCESS) {
            return Err(format!("this user may not read {shown}/{MARK}/{ID}"));
        }
        match may(".", fs::Access::WRITE_OK) {
            Ok(()) => Ok(()),
            Err(errno) => Err(format!("this user may not write to {shown}/{MARK} ({errno})")),
        }
    }

    /// The pool's identity. `Err` is the message about one that cannot be read.
    pub(super) fn id(&self) -> Result<Option<PoolId>, String> {
        self.id_in(self.mark())
    }

    fn id_in(&self, mark: Result<Option<BorrowedFd<'_>>, Errno>) -> Result<Option<PoolId>, String> {
        let shown = self.path.display();
        let text = match mark.and_then(|mark| match mark {
            Some(mark) => read_small(mark, ID, 4096),
            None => Ok(None),
        }) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => text,
            Err(e) => return Err(format!("{shown}/{MARK}/{ID} cannot be read: {}", fail::describe(e))),
        };
        let text = text.trim_ascii_end();
        match std::str::from_utf8(text) {
            Ok(id) if id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Some(PoolId(id.to_owned())))
            }
            _ => Err(format!(
                "{shown}/{MARK}/{ID} is damaged: it must hold 32 hexadecimal digits; restore it from a copy, or remove the file to \
                 give the pool a new identity"
            )),
        }
    }

    /// Gives the pool its identity. Two concurrent calls both return the first.
    pub(super) fn mark_made(&self) -> Result<PoolId, DriverError> {
        let shown = self.path.display();
        let failed = |e| fail::before(format!("giving the pool {shown} its identity"), e);
        match self.id() {
            Ok(Some(id)) => return Ok(id),
            Ok(None) => {}
            Err(why) => return Err(DriverError::before(ErrorKind::Permanent, why)),
        }
        let mark = make_dir(self.root(), MARK).map_err(failed)?;
        self.trash_made()?;
        let id = random_hex().map_err(failed)?;
        // Written under another name, then renamed to a name that must be free: an incomplete identity never has this name.
        let beside = format!("{ID}.{id}");
        write_new(mark.as_fd(), &beside, format!("{id}\n").as_bytes()).map_err(failed)?;
        let published = rename(&mark, &beside, &mark, ID, RenameFlags::NOREPLACE);
        if published.is_err() {
            // The temporary file is of no use, whatever the error.
            let _ = unlink(&mark, &beside, AtFlags::empty());
        }
        match published {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        sync(mark.as_fd()).map_err(|e| fail::after(format!("giving the pool {shown} its identity"), e))?;
        match self.id_in(Ok(Some(mark.as_fd()))) {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(DriverError::unknown(
                ErrorKind::Transient,
                format!("the identity of {shown} vanished after it was written"),
            )),
            Err(why) => Err(DriverError::unknown(ErrorKind::Permanent, why)),
        }
    }
}

/// The fix for a pool that this user may not use.
fn give_to_user(path: &Path) -> String {
    let user = rustix::process::geteuid().as_raw();
    format!(
        "as root, `chown -R {user} {}`, or run kiln as the user that it belongs to",
        quoted(&path.display().to_string())
    )
}

/// Returns the directory that contains a path.
pub(in crate::driver) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Returns the name if it can be the name of an object in the pool.
pub(super) fn check_name(native: &NativeName) -> Result<&str, DriverError> {
    let name = native.as_str();
    let bad = name.is_empty()
        || name.contains(['/', '\0'])
        || [".", "..", MARK, TRASH, TRIES].contains(&name)
        || name.len() > MAX_NAME;
    if bad {
        return Err(DriverError::before(
            ErrorKind::Permanent,
            format!(
                "{name:?} cannot be the name of an object; it must be a file name without `/` of at most {} bytes",
                MAX_NAME
            ),
        ));
    }
    Ok(name)
}

/// Opens one entry of a directory, never through a link and never outside it. Does not block, even on a FIFO. A new file belongs to
/// the owner of the directory.
pub(super) fn open_in(dir: BorrowedFd<'_>, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    if !flags.contains(OFlags::CREATE) {
        return open_entry(dir, name, flags, mode);
    }
    #[cfg(test)]
    super::tests::fault::answer(super::tests::fault::Call::Create)?;
    match open_entry(dir, name, flags | OFlags::EXCL, mode) {
        Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => open_entry(dir, name, flags, mode),
        other => {
            let file = other?;
            if let Err(errno) = keep_owner(dir, file.as_fd()) {
                let _ = unlink(dir, name, AtFlags::empty());
                return Err(errno);
            }
            Ok(file)
        }
    }
}

/// Gives an entry that root has just made to the owner of its directory, so that the owner of a pool can read all of it.
fn keep_owner(dir: BorrowedFd<'_>, made: BorrowedFd<'_>) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (dir, own) = (fs::fstat(dir)?, fs::fstat(made)?);
    if (dir.st_uid, dir.st_gid) == (own.st_uid, own.st_gid) {
        return Ok(());
    }
    fs::fchown(made, Some(fs::Uid::from_raw(dir.st_uid)), Some(fs::Gid::from_raw(dir.st_gid)))
}

fn open_entry(dir: BorrowedFd<'_>, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    crash_point();
    retry_on_intr(|| fs::openat2(dir, name, flags, mode, resolve))
}

/// Opens a directory inside another.
pub(super) fn open_dir(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    open_in(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens a directory inside another. Makes it, durably, if it does not exist.
pub(super) fn make_dir(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    match mkdir(dir, name) {
        Ok(()) => sync(dir)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    open_dir(dir, name)
}

/// The status of an entry, links not followed. `None` if it does not exist.
pub(super) fn stat_in(dir: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Errno> {
    absent_is_none(fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW))
}

/// All entries but `.` and `..`.
pub(super) fn list(dir: BorrowedFd<'_>, buffer: &mut ListBuffer) -> Result<Vec<DirEntry>, Errno> {
    let mut entries = Vec::new();
    // The offset of a descriptor that was listed before is at the end.
    fs::seek(dir, fs::SeekFrom::Start(0))?;
    let mut raw = RawDir::new(dir, &mut buffer.0);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        if is_dots(entry.file_name()) {
            continue;
        }
        let (name, exact) = match entry.file_name().to_str() {
            Ok(name) => (name.to_owned(), true),
            Err(_) => (entry.file_name().to_string_lossy().into_owned(), false),
        };
        let mut file_type = entry.file_type();
        if file_type == FileType::Unknown {
            match stat_in(dir, &name)? {
                Some(stat) => file_type = FileType::from_raw_mode(stat.st_mode),
                None if exact => continue,
                None => {}
            }
        }
        entries.push(DirEntry { name, exact, file_type });
    }
    Ok(entries)
}

/// The buffer of listings, which is reused.
pub(super) struct ListBuffer(Box<[MaybeUninit<u8>]>);

impl ListBuffer {
    pub(super) fn new() -> Self {
        Self(vec![MaybeUninit::uninit(); LISTING_BUFFER].into_boxed_slice())
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Reads a small regular file. `None` if there is none; `TOOBIG` past the limit.
pub(super) fn read_small(dir: BorrowedFd<'_>, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Errno> {
    let Some(fd) = absent_is_none(open_in(dir, name, OFlags::RDONLY, Mode::empty()))? else { return Ok(None) };
    let stat = fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(1 << 20));
    File::from(fd).take(limit + 1).read_to_end(&mut bytes).map_err(errno_of)?;
    if bytes.len() as u64 > limit { Err(Errno::TOOBIG) } else { Ok(Some(bytes)) }
}

/// Creates a file, and makes its content (not its name) durable.
pub(super) fn write_new(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let fd = open_in(dir, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
    write_all(&fd, bytes)?;
    sync(fd.as_fd())
}

/// Writes a file under a temporary name, and replaces one that a crash left.
pub(super) fn write_beside(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    remove_file(dir, name)?;
    write_new(dir, name, bytes)
}

/// Creates the missing spare files, as far as there is space.
pub(super) fn keep_spares(mark: BorrowedFd<'_>) {
    for n in (0..SPARES).rev() {
        let name = format!("{SPARE}.{n}");
        if !matches!(stat_in(mark, &name), Ok(None)) {
            continue;
        }
        let made = open_in(mark, &name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, FILE_MODE);
        if !made.is_ok_and(|file| fs::fallocate(&file, FallocateFlags::empty(), 0, SPARE_SIZE).is_ok()) {
            return;
        }
    }
}

/// Writes all bytes.
pub(super) fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    crash_point();
    while !bytes.is_empty() {
        match retry_on_intr(|| rustix::io::write(fd, bytes))? {
            0 => return Err(Errno::IO),
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}

/// Removes a file. Returns whether it existed.
pub(super) fn remove_file(dir: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    absent_is_none(unlink(dir, name, AtFlags::empty())).map(|done| done.is_some())
}

/// Makes a file or directory durable.
pub(super) fn sync(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    crash_point();
    #[cfg(test)]
    super::tests::fault::answer(super::tests::fault::Call::Sync)?;
    let synced = retry_on_intr(|| fs::fsync(fd));
    #[cfg(test)]
    super::tests::power::synced(fd);
    synced
}

/// Locks a file until it is closed. Waits until no other process holds the lock.
pub(super) fn lock(file: impl AsFd) -> Result<(), Errno> {
    crash_point();
    fs::flock(file, FlockOperation::LockExclusive)
}

/// Tries to lock a file. Returns whether it is locked now.
pub(super) fn try_lock(file: impl AsFd, operation: FlockOperation) -> Result<bool, Errno> {
    crash_point();
    let locked = match fs::flock(&file, operation) {
        Ok(()) => true,
        Err(Errno::AGAIN) => false,
        Err(errno) => return Err(errno),
    };
    #[cfg(test)]
    super::tests::locks::tried(file.as_fd());
    // What the kernel answers may no longer be so when it is read.
    crash_point();
    Ok(locked)
}

/// Unlocks a file. Closing it is not enough: a child process between fork and exec may have a copy of the descriptor.
pub(super) fn unlock(file: impl AsFd) -> Result<(), Errno> {
    fs::flock(file, FlockOperation::Unlock)
}

/// Renames an entry, with [`RenameFlags`] to require a free name or to exchange entries.
pub(super) fn rename(
    from_dir: impl AsFd,
    from: &str,
    to_dir: impl AsFd,
    to: &str,
    flags: RenameFlags,
) -> Result<(), Errno> {
    crash_point();
    #[cfg(test)]
    {
        super::tests::power::renaming((from_dir.as_fd(), from), (to_dir.as_fd(), to));
        if !flags.is_empty() {
            super::tests::fault::answer(super::tests::fault::Call::Rename)?;
        }
    }
    fs::renameat_with(from_dir, from, to_dir, to, flags)
}

/// Creates a hard link in the same directory.
pub(super) fn link(dir: impl AsFd, from: &str, to: &str) -> Result<(), Errno> {
    crash_point();
    #[cfg(test)]
    super::tests::fault::answer(super::tests::fault::Call::Link)?;
    fs::linkat(&dir, from, &dir, to, AtFlags::empty())
}

/// Creates a directory that only the owner of its parent directory can access.
pub(super) fn mkdir(dir: impl AsFd, name: &str) -> Result<(), Errno> {
    crash_point();
    let dir = dir.as_fd();
    fs::mkdirat(dir, name, DIR_MODE)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let kept = open_dir(dir, name).and_then(|own| keep_owner(dir, own.as_fd()));
    if kept.is_err() {
        let _ = unlink(dir, name, AtFlags::REMOVEDIR);
    }
    kept
}

/// Removes an entry.
pub(super) fn unlink(dir: impl AsFd, name: &str, flags: AtFlags) -> Result<(), Errno> {
    crash_point();
    fs::unlinkat(dir, name, flags)
}

/// Simulates crashes in tests: called before every call that changes or opens something in the pool.
#[inline]
fn crash_point() {
    #[cfg(test)]
    {
        super::tests::power::point();
        super::tests::crash::point();
    }
}

/// Converts `ENOENT` to `None`.
pub(super) fn absent_is_none<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Returns the kernel error in a standard error.
pub(super) fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Returns 32 random hexadecimal digits.
pub(super) fn random_hex() -> Result<String, Errno> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(errno_of)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
