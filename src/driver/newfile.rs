//! Files that are written completely or not at all: under a temporary name in the same directory, then synced and renamed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::local::fail;
use super::local::parent_of;
use crate::model::{DriverError, ErrorKind};

/// A file that is being written. Dropping it before [`NewFile::publish`] removes it. The next process that writes the same file removes
/// a temporary file that a crash left.
pub struct NewFile {
    dir: OwnedFd,
    temporary: String,
    name: String,
    path: PathBuf,
    file: OwnedFd,
    published: bool,
}

impl NewFile {
    /// Begins a file with this mode, restricted by the umask of the process.
    ///
    /// # Errors
    /// `Busy` if another process is writing the same file; `Conflict` if the path does not name a file; `Full`, `Denied`, …
    pub fn begin(path: &Path, mode: u32) -> Result<Self, DriverError> {
        let failed = |e| fail::before(format!("making a temporary file beside {}", path.display()), e);
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| fail::conflict(format!("{} names no file", path.display())))?;
        let parent = parent_of(path);
        let dir = fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| fail::before(format!("opening {}", parent.display()), e))?;
        let temporary = format!(".{name}.kiln-tmp");
        // A temporary file is locked while it is open: one that is not locked was left by a crash.
        let lock = |file: &OwnedFd| fs::flock(file, FlockOperation::NonBlockingLockExclusive);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        for _ in 0..2 {
            match fs::openat(&dir, &*temporary, flags | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(mode)) {
                Ok(file) => {
                    #[cfg(test)]
                    tests::made();
                    lock(&file).map_err(failed)?;
                    // Another process may have removed it before it was locked.
                    let own = fs::fstat(&file).map_err(failed)?;
                    let there = fs::statat(&dir, &*temporary, AtFlags::SYMLINK_NOFOLLOW);
                    if there.map(|there| (there.st_dev, there.st_ino)) != Ok((own.st_dev, own.st_ino)) {
                        continue;
                    }
                    let (name, path) = (name.to_owned(), path.to_owned());
                    return Ok(Self { dir, temporary, name, path, file, published: false });
                }
                Err(Errno::EXIST) => {
                    let left = fs::openat(&dir, &*temporary, flags, Mode::empty()).map_err(failed)?;
                    if lock(&left).is_err() {
                        let message = format!("another process is writing {}", path.display());
                        return Err(DriverError::before(ErrorKind::Busy, message));
                    }
                    fs::unlinkat(&dir, &*temporary, AtFlags::empty()).map_err(failed)?;
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(failed(Errno::EXIST))
    }

    /// The file.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Writes at the end of the file.
    ///
    /// # Errors
    /// `Full`, …
    pub fn write(&self, mut bytes: &[u8]) -> Result<(), DriverError> {
        while !bytes.is_empty() {
            let written = retry_on_intr(|| rustix::io::write(&self.file, bytes));
            bytes = &bytes[written.map_err(|errno| self.failed(errno))?..];
        }
        Ok(())
    }

    /// Makes the content durable and gives the file its name. Replaces an existing file only if `replaces`.
    ///
    /// # Errors
    /// `Conflict` if a file of this name exists and is not to be replaced; `Full`, …
    pub fn publish(mut self, replaces: bool) -> Result<(), DriverError> {
        let (dir, temporary, name) = (self.dir.as_fd(), self.temporary.as_str(), self.name.as_str());
        fs::fsync(&self.file).map_err(|errno| self.failed(errno))?;
        let named = match replaces {
            true => fs::renameat(dir, temporary, dir, name),
            false => name_if_free(dir, temporary, name),
        };
        named.map_err(|errno| match errno {
            Errno::EXIST => fail::conflict(format!("{} exists", self.path.display())),
            errno => self.failed(errno),
        })?;
        self.published = true;
        match fs::fsync(&self.dir) {
            // Some file systems do not support fsync of directories.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(fail::after(format!("making {} durable", self.path.display()), errno)),
        }
    }

    fn failed(&self, errno: Errno) -> DriverError {
        fail::before(format!("writing {}", self.path.display()), errno)
    }
}

fn name_if_free(dir: BorrowedFd<'_>, temporary: &str, name: &str) -> Result<(), Errno> {
    match fs::renameat_with(dir, temporary, dir, name, RenameFlags::NOREPLACE) {
        // Not supported by the file system (NFS): make a hard link, which also needs a free name, and remove the first name.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::linkat(dir, temporary, dir, name, AtFlags::empty())?;
            fs::unlinkat(dir, temporary, AtFlags::empty())
        }
        other => other,
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::unlinkat(&self.dir, &*self.temporary, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    type Operation = Box<dyn FnOnce()>;

    thread_local! {
        static MEANWHILE: RefCell<Option<Operation>> = const { RefCell::new(None) };
    }

    /// Called when a temporary file has been made and is not locked yet.
    pub(super) fn made() {
        if let Some(act) = MEANWHILE.take() {
            act();
        }
    }

    #[test]
    fn two_writers_of_one_file_never_publish_the_others_half() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        // Another takes what was just made for what a crash left, and begins its own.
        let slot = std::rc::Rc::new(RefCell::new(None));
        let (theirs, at) = (slot.clone(), path.clone());
        MEANWHILE.set(Some(Box::new(move || {
            let other = NewFile::begin(&at, 0o600).unwrap();
            other.write(b"ha").unwrap();
            *theirs.borrow_mut() = Some(other);
        })));
        let ours = NewFile::begin(&path, 0o600).map(|_| ()).map_err(|error| error.kind);
        assert_eq!(ours, Err(ErrorKind::Busy));
        let other = slot.borrow_mut().take().unwrap();
        other.write(b"lf").unwrap();
        other.publish(false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"half");
        // The other one ends before ours is locked: ours is made anew.
        let at = path.clone();
        MEANWHILE.set(Some(Box::new(move || drop(NewFile::begin(&at, 0o600).unwrap()))));
        let ours = NewFile::begin(&path, 0o600).unwrap();
        ours.write(b"ours").unwrap();
        ours.publish(true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ours");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
