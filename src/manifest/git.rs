//! Determines the checked-out commit of manifests in a Git work tree.
//!
//! Reads only the objects and references of the repository. The `git` program is never run, because the configuration of a repository
//! can make it run commands, and a user who may write there need not be root on the host. For the same reason the owner of the
//! repository does not matter. Content is compared as it is in the work tree: where filters change it on checkout (`autocrlf`), and
//! where files of the commit are not checked out (sparse checkouts), the revision is marked `-dirty`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use gix_hash::ObjectId;
use gix_object::tree::EntryKind;
use gix_object::{CommitRefIter, Find, TreeRefIter};
use gix_ref::Target;

use super::files::{MAX_DEPTH, is_blank, is_ignored, is_manifest};
use super::source::Source;

/// The age after which `index.lock` is stale. Git holds this lock while it changes the work tree; checkouts of a gigabyte take less
/// time. A killed `git` leaves the lock behind.
const STALE: Duration = Duration::from_secs(60);

/// Links that are followed to one file: the limit of Linux.
const MAX_LINKS: usize = 40;

/// Trees that are visited below the manifests. A small repository can reference more: trees in trees, each many times.
const MAX_TREES: usize = 100_000;

/// Bytes per object. A tree of this size has half a million entries.
const MAX_OBJECT: usize = 32 << 20;

/// Symbolic references that are followed: the limit of Git.
const MAX_SYMBOLIC: usize = 5;

/// A manifest file as it was read.
pub(super) struct Manifest<'a> {
    /// Its path below SPECS; its name if SPECS is a single file.
    pub(super) relative: &'a Path,
    /// `None` if it could not be read.
    pub(super) bytes: Option<(&'a [u8], blake3::Hash)>,
}

/// Results of earlier reads of a repository.
#[derive(Default)]
pub(super) struct Cache {
    /// For a commit and a content: whether they differ, and the facts about the commit.
    known: Option<(ObjectId, String, bool, Option<Facts>)>,
    /// The blob ids of contents.
    blobs: HashMap<blake3::Hash, ObjectId>,
}

/// The checked-out commit.
pub(super) struct Checkout {
    /// Its id, with `-dirty` if the files that were read differ from it.
    pub(super) revision: String,
    /// `None` if it does not contain SPECS, or cannot be read completely.
    pub(super) facts: Option<Facts>,
}

/// How a commit differs from a reading. Paths are relative to SPECS.
#[derive(Clone)]
pub(super) struct Facts {
    /// The path of SPECS below the root of the work tree.
    pub(super) below: String,
    /// Directories that contain manifests in the commit, or are submodules there, and contain none in the reading.
    pub(super) not_checked_out: BTreeSet<PathBuf>,
    /// Directories that contain manifests in the reading, and none in the commit.
    pub(super) untracked: BTreeSet<PathBuf>,
    /// Files of white space only that have other content in the commit.
    pub(super) emptied: BTreeSet<PathBuf>,
}

impl Cache {
    /// Returns the checked-out commit. `None` outside of Git, before the first commit, and if the repository cannot be read.
    pub(super) fn checkout<'a>(
        &mut self,
        source: &Source,
        content: &str,
        files: impl FnOnce() -> Vec<Manifest<'a>>,
    ) -> Option<Checkout> {
        let location = Location::of(source)?;
        // A malformed repository costs the revision, and nothing else.
        let known = catch_unwind(AssertUnwindSafe(|| {
            let references = References::open(&location);
            let head = references.head()?;
            if !matches!(&self.known, Some((commit, known, ..)) if *commit == head && known == content) {
                let (repository, files) = (Repository::open(&references)?, files());
                let dirty = self.differs(&repository, &location, head, &files)?;
                let facts = Commit::open(&repository, head).and_then(|mut commit| commit.facts(&location, &files));
                self.known = Some((head, content.to_owned(), dirty, facts));
            }
            self.known.clone()
        }));
        let (head, _, dirty, facts) = known.ok().flatten()?;
        Some(Checkout { revision: format!("{}{}", head.to_hex(), if dirty { "-dirty" } else { "" }), facts })
    }

    fn differs(
        &mut self,
        repository: &Repository,
        location: &Location,
        head: ObjectId,
        files: &[Manifest<'_>],
    ) -> Option<bool> {
        let mut commit = Commit::open(repository, head)?;
        let mut blobs = HashMap::with_capacity(files.len());
        let mut read = HashSet::with_capacity(files.len());
        let mut differs = false;
        for Manifest { relative, bytes } in files {
            read.insert(*relative);
            let Some((bytes, hash)) = bytes else {
                differs = true;
                continue;
            };
            let id = match self.blobs.get(hash) {
                Some(id) if id.kind() == repository.hash => *id,
                _ => gix_object::compute_hash(repository.hash, gix_object::Kind::Blob, bytes).ok()?,
            };
            blobs.insert(*hash, id);
            differs |= commit.find(&location.below.join(relative))? != Some(TreeEntry::File(id));
        }
        self.blobs = blobs;
        if differs || location.one_file {
            return Some(differs);
        }
        commit.holds_more(&location.below, &read)
    }
}

/// Returns how long ago Git began to change the work tree of the manifests, if it is changing it now. `now`: the system time.
pub fn checkout_in_progress(source: &Source, now: SystemTime) -> Option<Duration> {
    let location = Location::of(source)?;
    let changed = fs::symlink_metadata(location.git_dir.join("index.lock")).and_then(|meta| meta.modified()).ok()?;
    // The clock of a file system may be slightly ahead.
    let (age, ahead) = (now.duration_since(changed), changed.duration_since(now));
    match (age, ahead) {
        (Ok(age), _) => (age < STALE).then_some(age),
        (_, Ok(ahead)) => (ahead < STALE).then_some(Duration::ZERO),
        _ => None,
    }
}

/// Returns the checked-out commit if the manifests are in a Git work tree. Reads a few small files.
pub fn commit_of(source: &Source) -> Option<String> {
    let location = Location::of(source)?;
    let head = catch_unwind(AssertUnwindSafe(|| References::open(&location).head())).ok().flatten();
    head.map(|head| head.to_hex().to_string())
}

/// Returns the path of SPECS below its work tree, whether or not a commit contains it. `None` outside of Git.
pub(super) fn place_in_work_tree(source: &Source) -> Option<String> {
    Location::of(source).map(|location| location.below.display().to_string())
}

/// Where the manifests are in a work tree.
struct Location {
    /// The Git directory of this work tree, with its HEAD and its index.
    git_dir: PathBuf,
    /// The path of the directory of the manifests, below the root of the work tree.
    below: PathBuf,
    one_file: bool,
}

impl Location {
    fn of(source: &Source) -> Option<Self> {
        let Source::Path(path) = source else { return None };
        let real = fs::canonicalize(path).ok()?;
        let one_file = !real.is_dir();
        let directory = if one_file { real.parent()? } else { &real };
        let (git_dir, work_tree) = work_tree(directory)?;
        let below = directory.strip_prefix(work_tree).ok()?.to_owned();
        Some(Self { git_dir, below, one_file })
    }
}

/// Returns the Git directory and the root of the work tree that contains a directory.
fn work_tree(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    directory.ancestors().all(|above| can_be_read(&above.join(".git"))).then_some(())?;
    let options = gix_discover::upwards::Options { dot_git_only: true, ..Default::default() };
    let (found, _) = gix_discover::upwards_opts(directory, options).ok()?;
    let (git_dir, work_tree) = found.into_repository_and_work_tree_directories();
    Some((git_dir, fs::canonicalize(work_tree?).ok()?))
}

/// Returns the path of a file below the root of its Git work tree, with links resolved. `None` outside of Git.
pub fn path_in_work_tree(file: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(file).ok()?;
    let (_, root) = work_tree(real.parent()?)?;
    real.strip_prefix(root).ok().map(Path::to_owned)
}

/// Whether a path is a file, a directory or missing, so that opening it cannot block.
fn is_plain(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |meta| meta.is_file() || meta.is_dir())
}

/// Whether the files of a repository can be read without blocking. A pipe in place of one of them would block forever.
fn can_be_read(git: &Path) -> bool {
    let git_dir = match fs::metadata(git) {
        Ok(meta) if meta.is_dir() => git.to_owned(),
        Ok(meta) if meta.is_file() => match gix_discover::path::from_gitdir_file(git) {
            Ok(git_dir) => git_dir,
            Err(_) => return true,
        },
        Ok(_) => return false,
        Err(_) => return true,
    };
    if !["HEAD", "commondir", "gitdir"].iter().all(|name| is_plain(&git_dir.join(name))) {
        return false;
    }
    let common = gix_discover::path::from_plain_file_relative_to_file(&git_dir.join("commondir"));
    let common = common.and_then(Result::ok).unwrap_or_else(|| git_dir.clone());
    ["config", "packed-refs", "objects/info/alternates"].iter().all(|name| is_plain(&common.join(name)))
}

/// The references of a repository.
struct References {
    hash: gix_hash::Kind,
    /// The Git directory that all work trees share.
    common: PathBuf,
    store: gix_ref::file::Store,
}

impl References {
    fn open(location: &Location) -> Self {
        let git_dir = &location.git_dir;
        let common = gix_discover::path::from_plain_file_relative_to_file(&git_dir.join("commondir"));
        let common = common.and_then(Result::ok).unwrap_or_else(|| git_dir.clone());
        // The hash algorithm is the only setting that matters here: it determines all object ids.
        let config = fs::read_to_string(common.join("config")).unwrap_or_default().to_lowercase();
        let is_sha256 = |line: &str| line.replace([' ', '\t', '"'], "").starts_with("objectformat=sha256");
        let hash = if config.lines().any(is_sha256) { gix_hash::Kind::Sha256 } else { gix_hash::Kind::Sha1 };
        let store = gix_ref::file::Store::for_linked_worktree(git_dir.clone(), common.clone(), hash);
        Self { hash, common, store }
    }

    /// Returns the checked-out commit; `None` before the first one.
    fn head(&self) -> Option<ObjectId> {
        let mut found = self.store.try_find("HEAD").ok()??;
        for _ in 0..MAX_SYMBOLIC {
            match &found.target {
                Target::Object(id) => return Some(*id),
                Target::Symbolic(name) => {
                    let path = std::str::from_utf8(name.as_bstr()).ok()?;
                    let places = [self.store.git_dir(), self.store.common_dir_resolved()];
                    if !places.iter().all(|place| is_plain(&place.join(path))) {
                        return None;
                    }
                    found = self.store.try_find(name.as_ref()).ok()??;
                }
            }
        }
        None
    }
}

struct Repository {
    hash: gix_hash::Kind,
    objects: gix_odb::Handle,
}

impl Repository {
    fn open(References { hash, common, store: _ }: &References) -> Option<Self> {
        let options = gix_odb::store::init::Options { alloc_limit_bytes: Some(MAX_OBJECT), ..Default::default() };
        let objects = gix_odb::at_opts(common.join("objects"), *hash, None, options).ok()?;
        Some(Self { hash: *hash, objects })
    }
}

/// An object at a path in a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TreeEntry {
    Tree(ObjectId),
    File(ObjectId),
    Link(ObjectId),
    /// A submodule.
    Submodule,
}

/// An item that [`Commit::walk`] visits.
#[derive(Clone, Copy)]
enum Visited {
    Manifest,
    Submodule,
}

struct Commit<'r> {
    repository: &'r Repository,
    root: ObjectId,
    /// Trees that were read, by their ids.
    trees: HashMap<ObjectId, HashMap<Vec<u8>, TreeEntry>>,
    /// Number of trees that were visited.
    visited: usize,
}

impl<'r> Commit<'r> {
    fn open(repository: &'r Repository, id: ObjectId) -> Option<Self> {
        let mut buffer = Vec::new();
        let data = repository.objects.try_find(&id, &mut buffer).ok()??;
        let root = CommitRefIter::from_bytes(data.data, repository.hash).tree_id().ok()?;
        (data.kind == gix_object::Kind::Commit).then(|| Self { repository, root, trees: HashMap::new(), visited: 0 })
    }

    fn tree(&mut self, id: ObjectId) -> Option<&HashMap<Vec<u8>, TreeEntry>> {
        if !self.trees.contains_key(&id) {
            let mut buffer = Vec::new();
            let data = self.repository.objects.try_find(&id, &mut buffer).ok()??;
            if data.kind != gix_object::Kind::Tree {
                return None;
            }
            let mut entries = HashMap::new();
            for entry in TreeRefIter::from_bytes(data.data, self.repository.hash) {
                let entry = entry.ok()?;
                let id = entry.oid.to_owned();
                let what = match entry.mode.kind() {
                    EntryKind::Tree => TreeEntry::Tree(id),
                    EntryKind::Blob | EntryKind::BlobExecutable => TreeEntry::File(id),
                    EntryKind::Link => TreeEntry::Link(id),
                    EntryKind::Commit => TreeEntry::Submodule,
                };
                entries.insert(entry.filename.to_vec(), what);
            }
            self.trees.insert(id, entries);
        }
        self.trees.get(&id)
    }

    /// Returns the object at a path, following links within the commit. The outer `None`: the commit cannot be read.
    #[expect(clippy::option_option, reason = "unknown differs from absent")]
    fn find(&mut self, path: &Path) -> Option<Option<TreeEntry>> {
        // The remaining parts, the next one last; and the trees above, the outermost first.
        let mut parts: Vec<Vec<u8>> = reversed(path);
        let mut above = vec![self.root];
        let mut links = 0;
        while let Some(part) = parts.pop() {
            if part == b".." {
                above.pop();
            }
            let Some(tree) = above.last().copied() else { return Some(None) };
            if part == b".." {
                continue;
            }
            match self.tree(tree)?.get(&part).copied() {
                Some(TreeEntry::Tree(id)) => above.push(id),
                Some(TreeEntry::Link(id)) => {
                    links += 1;
                    let mut buffer = Vec::new();
                    let data = self.repository.objects.try_find(&id, &mut buffer).ok()??;
                    let target = std::str::from_utf8(data.data).ok()?;
                    if links > MAX_LINKS || Path::new(target).is_absolute() {
                        return Some(None);
                    }
                    parts.extend(reversed(Path::new(target)));
                }
                Some(entry) if parts.is_empty() => return Some(Some(entry)),
                _ => return Some(None),
            }
        }
        Some(above.last().map(|id| TreeEntry::Tree(*id)))
    }

    /// Compares this commit with the files that were read.
    fn facts(&mut self, location: &Location, files: &[Manifest<'_>]) -> Option<Facts> {
        let Some(TreeEntry::Tree(_)) = self.find(&location.below)? else { return None };
        let below = location.below.display().to_string();
        let (not_checked_out, untracked, emptied) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut facts = Facts { below, not_checked_out, untracked, emptied };
        if location.one_file {
            return Some(facts);
        }
        // Directories with a manifest in or below them, and submodules.
        let mut held = BTreeSet::new();
        self.walk(&location.below, Path::new(""), 0, &mut |path, visited| match visited {
            Visited::Manifest => held.extend(path.ancestors().skip(1).map(Path::to_path_buf)),
            Visited::Submodule => held.extend([path.to_path_buf()]),
        })?;
        facts.not_checked_out.clone_from(&held);
        for Manifest { relative, bytes } in files {
            for above in relative.ancestors().skip(1) {
                facts.not_checked_out.remove(above);
                if !held.contains(above) {
                    facts.untracked.insert(above.to_path_buf());
                }
            }
            if bytes.is_some_and(|(bytes, _)| is_blank(bytes)) && !self.holds_blank(&location.below.join(relative))? {
                facts.emptied.insert(relative.to_path_buf());
            }
        }
        Some(facts)
    }

    /// Visits the manifests and the submodules below a directory. `None` if not all of them can be read.
    fn walk(&mut self, root: &Path, below: &Path, depth: usize, visit: &mut dyn FnMut(&Path, Visited)) -> Option<()> {
        let Some(TreeEntry::Tree(tree)) = self.find(&root.join(below))? else { return Some(()) };
        self.visited += 1;
        if depth > MAX_DEPTH || self.visited > MAX_TREES {
            return None;
        }
        for (name, entry) in self.tree(tree)?.clone() {
            let Ok(name) = String::from_utf8(name) else { continue };
            let path = below.join(&name);
            if is_ignored(&name) {
                continue;
            }
            let entry = match entry {
                TreeEntry::Link(_) => self.find(&root.join(&path))?,
                entry => Some(entry),
            };
            match entry {
                Some(TreeEntry::File(_)) if is_manifest(&path) => visit(&path, Visited::Manifest),
                Some(TreeEntry::Tree(_)) if !is_manifest(&path) => self.walk(root, &path, depth + 1, visit)?,
                Some(TreeEntry::Submodule) => visit(&path, Visited::Submodule),
                Some(TreeEntry::File(_) | TreeEntry::Tree(_) | TreeEntry::Link(_)) | None => {}
            }
        }
        Some(())
    }

    /// Whether a file is white space only in the commit.
    fn holds_blank(&mut self, path: &Path) -> Option<bool> {
        let Some(TreeEntry::File(id)) = self.find(path)? else { return Some(false) };
        let mut buffer = Vec::new();
        let data = self.repository.objects.try_find(&id, &mut buffer).ok()??;
        Some(is_blank(data.data))
    }

    /// Whether the commit has a manifest below `root` that was not read. `None` if the commit cannot be read.
    fn holds_more(&mut self, root: &Path, read: &HashSet<&Path>) -> Option<bool> {
        let mut more = false;
        let walked = self.walk(root, Path::new(""), 0, &mut |path, visited| match visited {
            Visited::Manifest => more |= !read.contains(path),
            Visited::Submodule => {}
        });
        if more { Some(true) } else { walked.map(|()| false) }
    }
}

/// Returns the parts of a path, the last one first.
fn reversed(path: &Path) -> Vec<Vec<u8>> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(part) => Some(part.as_encoded_bytes().to_vec()),
        Component::ParentDir => Some(b"..".to_vec()),
        _ => None,
    });
    parts.collect()
}
