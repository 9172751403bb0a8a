//! Which commit the manifests are, where they lie in a Git work tree.
//!
//! Read with the objects and names of the repository alone. The `git` program is never run: the configuration of a repository can
//! make it run commands, and whoever may write there need not hold the host's root. That somebody else owns the repository is no
//! matter for the same reason. Content is compared as it lies in the work tree: where filters change it on checkout (`autocrlf`),
//! and where files of the commit are not checked out (sparse checkouts), it shows as `-dirty`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use gix_hash::ObjectId;
use gix_object::tree::EntryKind;
use gix_object::{CommitRefIter, Find, TreeRefIter};
use gix_ref::Target;

use super::Source;
use super::coverage::is_blank;
use super::files::{MAX_DEPTH, is_manifest, passed_over};

/// Whoever makes Git write to the work tree holds `index.lock` meanwhile. Checkouts of a gigabyte take less than this; a lock that is
/// older was left behind by a killed `git`, and nobody takes it away.
const STALE: Duration = Duration::from_secs(60);

/// Links that are followed on the way to one file, as Linux does.
const MAX_LINKS: usize = 40;

/// Trees that are looked through below the manifests. A repository can hold more with no effort: trees in trees, each many times.
const MAX_TREES: usize = 100_000;

/// Bytes of one object: a tree of that size has half a million entries.
const MAX_OBJECT: usize = 32 << 20;

/// References to references, as Git does.
const MAX_SYMBOLIC: usize = 5;

/// A file of manifests, as read.
pub(super) struct Manifest<'a> {
    /// Its path below SPECS; of a single file its name.
    pub(super) relative: &'a Path,
    /// `None` if it could not be read.
    pub(super) bytes: Option<(&'a [u8], blake3::Hash)>,
}

/// What was found out about a repository, so that nothing is asked twice.
#[derive(Default)]
pub(super) struct Memory {
    /// For this commit and content: whether they differ, and what the commit holds besides.
    known: Option<(ObjectId, String, bool, Option<Facts>)>,
    /// Contents as Git names them.
    blobs: HashMap<blake3::Hash, ObjectId>,
}

/// The commit that is checked out.
pub(super) struct Checkout {
    /// Its id, with `-dirty` if what was read is anything else than what it holds.
    pub(super) revision: String,
    /// `None` if it does not hold SPECS, or cannot be read as a whole.
    pub(super) facts: Option<Facts>,
}

/// What a commit holds and a reading lacks. Paths are relative to SPECS.
#[derive(Clone)]
pub(super) struct Facts {
    /// Where SPECS lies below the work tree.
    pub(super) below: String,
    /// Directories that hold manifests in the commit, or are submodules there, and hold none in the reading.
    pub(super) not_checked_out: BTreeSet<PathBuf>,
    /// Directories that hold manifests in the reading, and none in the commit.
    pub(super) untracked: BTreeSet<PathBuf>,
    /// Files of white space alone that are not so in the commit.
    pub(super) emptied: BTreeSet<PathBuf>,
}

impl Memory {
    /// The commit that is checked out. `None` outside of Git, before the first commit, and where the repository cannot be understood.
    pub(super) fn checkout<'a>(
        &mut self,
        source: &Source,
        content: &str,
        files: impl FnOnce() -> Vec<Manifest<'a>>,
    ) -> Option<Checkout> {
        let place = Place::of(source)?;
        // Whatever somebody may have written there, it costs the name of the revision and no more.
        let known = catch_unwind(AssertUnwindSafe(|| {
            let references = References::open(&place);
            let head = references.head()?;
            if !matches!(&self.known, Some((commit, known, ..)) if *commit == head && known == content) {
                let (repository, files) = (Repository::open(&references)?, files());
                let dirty = self.differs(&repository, &place, head, &files)?;
                let facts = Commit::open(&repository, head).and_then(|mut commit| commit.facts(&place, &files));
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
        place: &Place,
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
            differs |= commit.find(&place.below.join(relative))? != Some(Entry::File(id));
        }
        self.blobs = blobs;
        if differs || place.one_file {
            return Some(differs);
        }
        commit.holds_more(&place.below, &read)
    }
}

/// How long ago Git began to change the work tree in which the manifests lie, if it is at it now. `now` by the clock of the system.
pub fn checkout_in_progress(source: &Source, now: SystemTime) -> Option<Duration> {
    let place = Place::of(source)?;
    let changed = fs::symlink_metadata(place.git_dir.join("index.lock")).and_then(|meta| meta.modified()).ok()?;
    // A file system may have a clock of its own, a little ahead.
    let (age, ahead) = (now.duration_since(changed), changed.duration_since(now));
    match (age, ahead) {
        (Ok(age), _) => (age < STALE).then_some(age),
        (_, Ok(ahead)) => (ahead < STALE).then_some(Duration::ZERO),
        _ => None,
    }
}

/// The commit that is checked out where the manifests lie, if they lie in a Git work tree. Reads a few small files.
pub fn commit_of(source: &Source) -> Option<String> {
    let place = Place::of(source)?;
    let head = catch_unwind(AssertUnwindSafe(|| References::open(&place).head())).ok().flatten();
    head.map(|head| head.to_hex().to_string())
}

/// Where SPECS lies below the work tree that it lies in, whether or not a commit holds it. `None` outside of Git.
pub(super) fn place_in_work_tree(source: &Source) -> Option<String> {
    Place::of(source).map(|place| place.below.display().to_string())
}

/// Where in a work tree the manifests lie.
struct Place {
    /// What is this work tree's own: its HEAD, its index.
    git_dir: PathBuf,
    /// The directory of the manifests, below the work tree.
    below: PathBuf,
    one_file: bool,
}

impl Place {
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

/// The Git directory and the root of the work tree that a directory lies in.
fn work_tree(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    directory.ancestors().all(|above| can_be_read(&above.join(".git"))).then_some(())?;
    let options = gix_discover::upwards::Options { dot_git_only: true, ..Default::default() };
    let (found, _) = gix_discover::upwards_opts(directory, options).ok()?;
    let (git_dir, work_tree) = found.into_repository_and_work_tree_directories();
    Some((git_dir, fs::canonicalize(work_tree?).ok()?))
}

/// A file's path from the root of the Git work tree that it lies in, links resolved; `None` outside of Git.
pub fn path_in_work_tree(file: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(file).ok()?;
    let (_, root) = work_tree(real.parent()?)?;
    real.strip_prefix(root).ok().map(Path::to_owned)
}

/// A file, or nothing, or a directory: nothing that keeps whoever opens it.
fn is_plain(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |meta| meta.is_file() || meta.is_dir())
}

/// Whether reading what is there of a repository cannot hang: a pipe in place of one of its files would, for good.
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

/// The names of a repository.
struct References {
    hash: gix_hash::Kind,
    /// What all work trees of the repository share.
    common: PathBuf,
    store: gix_ref::file::Store,
}

impl References {
    fn open(place: &Place) -> Self {
        let git_dir = &place.git_dir;
        let common = gix_discover::path::from_plain_file_relative_to_file(&git_dir.join("commondir"));
        let common = common.and_then(Result::ok).unwrap_or_else(|| git_dir.clone());
        // Of the configuration only this matters: with another hash everything is called otherwise.
        let config = fs::read_to_string(common.join("config")).unwrap_or_default().to_lowercase();
        let is_sha256 = |line: &str| line.replace([' ', '\t', '"'], "").starts_with("objectformat=sha256");
        let hash = if config.lines().any(is_sha256) { gix_hash::Kind::Sha256 } else { gix_hash::Kind::Sha1 };
        let store = gix_ref::file::Store::for_linked_worktree(git_dir.clone(), common.clone(), hash);
        Self { hash, common, store }
    }

    /// The commit that is checked out; `None` before the first.
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

/// What a commit holds under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Tree(ObjectId),
    File(ObjectId),
    Link(ObjectId),
    /// Another repository.
    Other,
}

/// What a walk through a commit meets.
#[derive(Clone, Copy)]
enum Visited {
    Manifest,
    Submodule,
}

struct Commit<'r> {
    repository: &'r Repository,
    root: ObjectId,
    /// Trees that were read, by their names.
    trees: HashMap<ObjectId, HashMap<Vec<u8>, Entry>>,
    /// How many were looked through.
    visited: usize,
}

impl<'r> Commit<'r> {
    fn open(repository: &'r Repository, id: ObjectId) -> Option<Self> {
        let mut buffer = Vec::new();
        let data = repository.objects.try_find(&id, &mut buffer).ok()??;
        let root = CommitRefIter::from_bytes(data.data, repository.hash).tree_id().ok()?;
        (data.kind == gix_object::Kind::Commit).then(|| Self { repository, root, trees: HashMap::new(), visited: 0 })
    }

    fn tree(&mut self, id: ObjectId) -> Option<&HashMap<Vec<u8>, Entry>> {
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
                    EntryKind::Tree => Entry::Tree(id),
                    EntryKind::Blob | EntryKind::BlobExecutable => Entry::File(id),
                    EntryKind::Link => Entry::Link(id),
                    EntryKind::Commit => Entry::Other,
                };
                entries.insert(entry.filename.to_vec(), what);
            }
            self.trees.insert(id, entries);
        }
        self.trees.get(&id)
    }

    /// What stands under a path, with links followed as they are in the commit. The outer `None`: it cannot be read.
    #[expect(clippy::option_option, reason = "not known is not the same as not there")]
    fn find(&mut self, path: &Path) -> Option<Option<Entry>> {
        // Parts still to be walked, the next one last; and the trees walked through, the outermost first.
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
                Some(Entry::Tree(id)) => above.push(id),
                Some(Entry::Link(id)) => {
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
        Some(above.last().map(|id| Entry::Tree(*id)))
    }

    /// What this commit holds and the files that were read lack.
    fn facts(&mut self, place: &Place, files: &[Manifest<'_>]) -> Option<Facts> {
        let Some(Entry::Tree(_)) = self.find(&place.below)? else { return None };
        let below = place.below.display().to_string();
        let (not_checked_out, untracked, emptied) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut facts = Facts { below, not_checked_out, untracked, emptied };
        if place.one_file {
            return Some(facts);
        }
        // Directories with a manifest in them or below, and submodules.
        let mut held = BTreeSet::new();
        self.walk(&place.below, Path::new(""), 0, &mut |path, visited| match visited {
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
            if bytes.is_some_and(|(bytes, _)| is_blank(bytes)) && !self.holds_blank(&place.below.join(relative))? {
                facts.emptied.insert(relative.to_path_buf());
            }
        }
        Some(facts)
    }

    /// Visits the manifests and the submodules below a directory. `None`: not all of them can be read.
    fn walk(&mut self, root: &Path, below: &Path, depth: usize, visit: &mut dyn FnMut(&Path, Visited)) -> Option<()> {
        let Some(Entry::Tree(tree)) = self.find(&root.join(below))? else { return Some(()) };
        self.visited += 1;
        if depth > MAX_DEPTH || self.visited > MAX_TREES {
            return None;
        }
        for (name, entry) in self.tree(tree)?.clone() {
            let Ok(name) = String::from_utf8(name) else { continue };
            let path = below.join(&name);
            if passed_over(&name) {
                continue;
            }
            let entry = match entry {
                Entry::Link(_) => self.find(&root.join(&path))?,
                entry => Some(entry),
            };
            match entry {
                Some(Entry::File(_)) if is_manifest(&path) => visit(&path, Visited::Manifest),
                Some(Entry::Tree(_)) if !is_manifest(&path) => self.walk(root, &path, depth + 1, visit)?,
                Some(Entry::Other) => visit(&path, Visited::Submodule),
                Some(Entry::File(_) | Entry::Tree(_) | Entry::Link(_)) | None => {}
            }
        }
        Some(())
    }

    /// Whether a file holds white space alone in the commit, too.
    fn holds_blank(&mut self, path: &Path) -> Option<bool> {
        let Some(Entry::File(id)) = self.find(path)? else { return Some(false) };
        let mut buffer = Vec::new();
        let data = self.repository.objects.try_find(&id, &mut buffer).ok()??;
        Some(is_blank(data.data))
    }

    /// Whether there is a manifest below that was not read. `None`: it cannot be said.
    fn holds_more(&mut self, root: &Path, read: &HashSet<&Path>) -> Option<bool> {
        let mut more = false;
        let walked = self.walk(root, Path::new(""), 0, &mut |path, visited| match visited {
            Visited::Manifest => more |= !read.contains(path),
            Visited::Submodule => {}
        });
        if more { Some(true) } else { walked.map(|()| false) }
    }
}

/// The parts of a path, the last one first.
fn reversed(path: &Path) -> Vec<Vec<u8>> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(part) => Some(part.as_encoded_bytes().to_vec()),
        Component::ParentDir => Some(b"..".to_vec()),
        _ => None,
    });
    parts.collect()
}
