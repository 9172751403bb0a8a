//! Who tells that manifests may have changed. Events are hints: they carry nothing, some are lost, and some come for nothing; what is
//! there is read by `manifest`. So the only question here is whether to look.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::manifest::{Source, commit_of};

/// Where the kernel tells nothing (network file systems, FUSE, no watches left), names, sizes and times are compared this often.
const POLL: Duration = Duration::from_secs(2);
/// Directories below one another, as the reader of manifests has it.
const MAX_DEPTH: usize = 16;

/// Watches SPECS, a directory or a single file.
pub(super) struct Files {
    specs: PathBuf,
    dirty: Arc<Notify>,
    /// None where the kernel cannot tell.
    watcher: Option<RecommendedWatcher>,
    /// What is watched: the directory as it was then. One that was replaced, unmounted or made again is another.
    root: Option<(u64, u64)>,
    /// What the last poll found, and when.
    polled: Option<(blake3::Hash, Instant)>,
    /// Why the kernel cannot tell, once said.
    why: Option<String>,
    /// The commit that was checked out: another one is another revision, though no file has changed.
    commit: Option<String>,
}

impl Files {
    /// Begins to watch. `dirty` is notified whenever there may be something new.
    pub(super) fn watch(specs: &Path, dirty: Arc<Notify>) -> Self {
        let specs = specs.to_owned();
        let mut files = Self { specs, dirty, watcher: None, root: None, polled: None, why: None, commit: None };
        files.commit = files.commit();
        files.root = identity(&files.directory());
        files.begin();
        files
    }

    /// The directory to watch: of a single file the one that it is in, since what replaces a file is another one.
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

    fn begin(&mut self) {
        self.watcher = None;
        if self.root.is_none() {
            return;
        }
        let directory = self.directory();
        let why = match on_network(&directory) {
            Some(kind) => format!("{} is on {kind}, which tells of no change made elsewhere", directory.display()),
            None => match self.listen(&directory) {
                Ok(watcher) => {
                    self.watcher = Some(watcher);
                    self.polled = None;
                    self.why = None;
                    return;
                }
                Err(error) => format!("{} cannot be watched: {error}", directory.display()),
            },
        };
        if self.why.as_ref() != Some(&why) {
            tracing::info!("{why}; it is looked at every {} s", POLL.as_secs());
            self.why = Some(why);
        }
    }

    fn listen(&self, directory: &Path) -> notify::Result<RecommendedWatcher> {
        let dirty = Arc::clone(&self.dirty);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // That somebody reads is no change; the daemon itself does. An error (an overflow among them) may hide one.
            let tells_nothing = |event: &notify::Event| {
                matches!(event.kind, EventKind::Access(_))
                    || matches!(
                        event.kind,
                        EventKind::Modify(ModifyKind::Metadata(notify::event::MetadataKind::AccessTime))
                    )
            };
            if !event.as_ref().is_ok_and(tells_nothing) {
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

    /// Looks whether what is watched is still what is there, and where the kernel cannot tell, whether something changed. Blocks: a
    /// file system that hangs hangs here.
    pub(super) fn check(&mut self) {
        let root = identity(&self.directory());
        if root != self.root {
            self.root = root;
            self.begin();
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

/// Which directory it is.
fn identity(directory: &Path) -> Option<(u64, u64)> {
    fs::metadata(directory).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// File systems whose other clients change files unseen by this kernel.
fn on_network(directory: &Path) -> Option<&'static str> {
    // From linux/magic.h, and of the file systems' own sources.
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
    // The kernel's numbers are 32 bits wide; some platforms have them signed.
    let magic = u64::try_from(magic & 0xFFFF_FFFF).ok()?;
    KNOWN.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Names, sizes and times of everything below a path.
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
    fn a_directory_that_is_not_there_yet_is_noticed_when_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let specs = dir.path().join("specs");
        let dirty = Arc::new(Notify::new());
        let mut files = Files::watch(&specs, dirty.clone());
        files.check();
        let told = |dirty: &Arc<Notify>| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let wait =
                runtime.block_on(async { tokio::time::timeout(Duration::from_millis(1), dirty.notified()).await });
            wait.is_ok()
        };
        assert!(!told(&dirty));
        fs::create_dir(&specs).unwrap();
        files.check();
        assert!(told(&dirty) && files.watcher.is_some());
        fs::remove_dir(&specs).unwrap();
        files.check();
        assert!(told(&dirty) && files.watcher.is_none());
    }
}
