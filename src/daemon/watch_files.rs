//! Notices that the manifests may have changed. Events are hints: some are lost and some are unnecessary, so they only cause the manifests
//! to be read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::manifest::{Source, commit_of};

/// How often names, sizes and times are compared where the kernel reports no changes (network file systems, FUSE, no watches left).
const POLL: Duration = Duration::from_secs(2);
/// The greatest depth of directories, as in the reader of manifests.
const MAX_DEPTH: usize = 16;

/// Watches SPECS, a directory or a single file.
pub(super) struct ManifestWatcher {
    specs: PathBuf,
    dirty: Arc<Notify>,
    /// None where the kernel reports no changes.
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the watched directory. A replaced, unmounted or recreated one is another directory.
    root: Option<(u64, u64)>,
    /// The result of the last poll, and its time.
    polled: Option<(blake3::Hash, Instant)>,
    /// Why the kernel reports no changes, once logged.
    logged: Option<String>,
    /// The commit that was checked out. Another commit is another revision even if no file differs.
    commit: Option<String>,
}

impl ManifestWatcher {
    /// Starts to watch. `dirty` is notified whenever the manifests may have changed.
    pub(super) fn start(specs: &Path, dirty: Arc<Notify>) -> Self {
        let specs = specs.to_owned();
        let mut watcher = Self { specs, dirty, watcher: None, root: None, polled: None, logged: None, commit: None };
        watcher.commit = watcher.commit();
        watcher.root = identity(&watcher.directory());
        watcher.watch();
        watcher
    }

    /// The directory to watch. For a single file it is the directory around it, because editors replace the file.
    fn directory(&self) -> PathBuf {
        match fs::metadata(&self.specs) {
            Ok(meta) if !meta.is_dir() => {
                let parent = self.specs.parent().filter(|parent| !parent.as_os_str().is_empty());
                parent.unwrap_or(Path::new(".")).to_owned()
            }
            _ => self.specs.clone(),
        }
    }

    fn commit(&self) -> Option<String> {
        commit_of(&Source::Path(self.specs.clone()))
    }

    fn watch(&mut self) {
        self.watcher = None;
        if self.root.is_none() {
            return;
        }
        let directory = self.directory();
        let why = match on_network(&directory) {
            Some(kind) => format!("{} is on {kind}, which does not report changes by other hosts", directory.display()),
            None => match self.subscribe(&directory) {
                Ok(watcher) => {
                    self.watcher = Some(watcher);
                    self.polled = None;
                    self.logged = None;
                    return;
                }
                Err(error) => format!("{} cannot be watched: {error}", directory.display()),
            },
        };
        if self.logged.as_ref() != Some(&why) {
            tracing::info!("{why}; checking it for changes every {} s", POLL.as_secs());
            self.logged = Some(why);
        }
    }

    fn subscribe(&self, directory: &Path) -> notify::Result<RecommendedWatcher> {
        let dirty = Arc::clone(&self.dirty);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change, and the daemon itself reads. An error, such as an overflow, may hide a change.
            let is_no_change = |event: &notify::Event| {
                matches!(event.kind, EventKind::Access(_))
                    || matches!(
                        event.kind,
                        EventKind::Modify(ModifyKind::Metadata(notify::event::MetadataKind::AccessTime))
                    )
            };
            if !event.as_ref().is_ok_and(is_no_change) {
                dirty.notify_one();
            }
        })?;
        let mode = match self.specs == directory {
            true => RecursiveMode::Recursive,
            false => RecursiveMode::NonRecursive,
        };
        watcher.watch(directory, mode)?;
        Ok(watcher)
    }

    /// Checks that the watched directory is still in place and, where the kernel reports no changes, whether anything changed. Blocks for
    /// as long as the file system hangs.
    pub(super) fn check(&mut self) {
        let root = identity(&self.directory());
        if root != self.root {
            self.root = root;
            self.watch();
            self.dirty.notify_one();
        }
        let commit = self.commit();
        if commit != self.commit {
            self.commit = commit;
            self.dirty.notify_one();
        }
        if self.watcher.is_some() {
            return;
        }
        if self.polled.is_none_or(|(_, at)| at.elapsed() >= POLL) {
            let mut hash = blake3::Hasher::new();
            stamp(&self.specs, 0, &mut hash);
            let hash = hash.finalize();
            if self.polled.is_some_and(|(known, _)| known != hash) {
                self.dirty.notify_one();
            }
            self.polled = Some((hash, Instant::now()));
        }
    }
}

/// Returns device and inode of a directory.
fn identity(directory: &Path) -> Option<(u64, u64)> {
    fs::metadata(directory).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Returns the type of a file system whose other clients can change files without this kernel noticing.
fn on_network(directory: &Path) -> Option<&'static str> {
    // From linux/magic.h and the sources of the file systems.
    const KNOWN: [(u64, &str); 10] = [
        (0x6969, "NFS"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB"),
        (0x517B, "SMB"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9P"),
        (0x00C3_6400, "Ceph"),
        (0x5346_414F, "AFS"),
        (0x7461_636F, "OCFS2"),
        (0x0116_1970, "GFS2"),
    ];
    let magic = rustix::fs::statfs(directory).ok()?.f_type;
    // The numbers have 32 bits; on some platforms they are signed.
    let magic = u64::try_from(magic & 0xFFFF_FFFF).ok()?;
    KNOWN.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Hashes names, sizes and times of everything below a path.
fn stamp(path: &Path, depth: usize, hash: &mut blake3::Hasher) {
    let Ok(meta) = fs::metadata(path) else {
        hash.update(b"gone\n");
        return;
    };
    let facts =
        [meta.dev(), meta.ino(), meta.size(), meta.mtime() as u64, meta.mtime_nsec() as u64, meta.ctime() as u64];
    hash.update(path.as_os_str().as_encoded_bytes());
    for fact in facts {
        hash.update(&fact.to_le_bytes());
    }
    if !meta.is_dir() || depth >= MAX_DEPTH {
        return;
    }
    let mut below: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    below.sort();
    below.iter().for_each(|path| stamp(path, depth + 1, hash));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp_of(path: &Path) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        stamp(path, 0, &mut hash);
        hash.finalize()
    }

    #[test]
    fn a_stamp_changes_with_every_kind_of_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/a.yaml");
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(&file, "a").unwrap();
        let mut known = vec![stamp_of(dir.path())];
        assert_eq!(stamp_of(dir.path()), known[0], "nothing changed");
        fs::write(&file, "ab").unwrap();
        known.push(stamp_of(dir.path()));
        fs::write(dir.path().join("sub/b.yaml"), "").unwrap();
        known.push(stamp_of(dir.path()));
        fs::rename(&file, dir.path().join("sub/c.yaml")).unwrap();
        known.push(stamp_of(dir.path()));
        fs::remove_dir_all(dir.path()).unwrap();
        known.push(stamp_of(dir.path()));
        let distinct: std::collections::BTreeSet<[u8; 32]> = known.iter().map(|hash| *hash.as_bytes()).collect();
        assert_eq!(distinct.len(), known.len());
    }

    #[test]
    fn a_directory_that_is_created_later_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let specs = dir.path().join("specs");
        let dirty = Arc::new(Notify::new());
        let mut watcher = ManifestWatcher::start(&specs, dirty.clone());
        watcher.check();
        let is_notified = |dirty: &Arc<Notify>| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let wait =
                runtime.block_on(async { tokio::time::timeout(Duration::from_millis(1), dirty.notified()).await });
            wait.is_ok()
        };
        assert!(!is_notified(&dirty));
        fs::create_dir(&specs).unwrap();
        watcher.check();
        assert!(is_notified(&dirty) && watcher.watcher.is_some());
        fs::remove_dir(&specs).unwrap();
        watcher.check();
        assert!(is_notified(&dirty) && watcher.watcher.is_none());
    }
}
