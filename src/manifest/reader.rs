//! Reading the same manifests again and again: [`Reader::read`].
//!
//! The reader parses a file only when its content changed, and links the documents only when any file changed. It keeps the results in
//! memory, and drops those of removed files.
//!
//! A one-shot command refuses manifests with a problem. The reader instead falls back to **last good content**, file by file: while a
//! file has a problem, the documents of its last valid content apply. A file that was saved halfway therefore still declares what it
//! declared before, and none of its objects are removed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::coverage::{ReadFile, coverage, holds_stack};
use super::files::Raw;
use super::git;
use super::kinds::Document;
use super::known_file::{KnownFile, LastGood};
use super::last_good::{Broken, Substituted, substitute_last_good};
use super::limits::Limits;
use super::link::{Linked, ResolvedPools, Unread, link};
use super::load::{content_hash, manifest, parse, read_source, report_no_documents};
use super::path_policy::{Allowed, NamedPath, refused_paths};
use super::problem::Problem;
use super::resolve::{Resolver, host};
use super::source::Source;
use crate::model::{Extent, Reading};

/// Reads the manifests of one source repeatedly.
pub struct Reader {
    source: Source,
    limits: Limits,
    files: BTreeMap<PathBuf, KnownFile>,
    /// The documents in force after the last reading: those of valid files and those that replaced them in invalid files.
    last_good: Vec<LastGood>,
    /// Counts the readings that linked the documents.
    pass: u64,
    /// The paths that documents name.
    paths: Vec<NamedPath>,
    resolver: &'static Resolver,
    /// Pools that did not respond when the documents were last linked.
    unresponsive: Vec<PathBuf>,
    git: git::Cache,
    last: Option<ManifestState>,
}

/// The manifests as of the last reading.
#[derive(Debug, Clone)]
pub struct ManifestState {
    /// The same `Arc` as before if no file, no path decision and not the revision changed.
    pub reading: Arc<Reading>,
    /// As [`super::load`] reports them.
    pub problems: Arc<[Problem]>,
    /// A hash over the paths and contents of all files.
    pub content: String,
    /// Number of files that were parsed for this reading.
    pub parsed: usize,
    /// `false` if the owner is unknown: the Stack, or a file that may contain it, cannot be read, and has no last good content. Nothing may
    /// be done then.
    pub usable: bool,
}

impl Reader {
    /// Creates a reader that has read nothing yet.
    pub fn new(source: Source, limits: Limits) -> Self {
        Self {
            source,
            limits,
            files: BTreeMap::new(),
            last_good: Vec::new(),
            pass: 0,
            paths: Vec::new(),
            resolver: host(),
            unresponsive: Vec::new(),
            git: git::Cache::default(),
            last: None,
        }
    }

    /// Reads all files, parses those that changed, links the documents if any file changed, and applies the path policy. Never fails and
    /// never panics, like [`super::load`].
    pub fn read(&mut self, allowed: &Allowed) -> ManifestState {
        let (raws, layout) = read_source(&self.source, &self.limits);
        let (parsed, changed) = self.update_files(raws);
        let found = || self.files.iter().filter(|(_, file)| file.found);
        let content = content_hash(found().map(|(path, file)| (path.as_path(), file.hash)));
        let manifests = || found().map(|(path, file)| manifest(path, &file.file, file.hash)).collect();
        let checkout = self.git.checkout(&self.source, &content, manifests);
        let files = found().map(|(path, file)| ReadFile {
            relative: path,
            file: &file.file,
            readable: file.hash.is_some(),
            holds_stack: holds_stack(file.documents.iter().map(|document| &**document)),
        });
        let coverage = coverage(&self.source, &layout, files, checkout.as_ref(), Extent::OneFile);
        let revision = checkout.map_or_else(|| content.clone(), |checkout| checkout.revision);
        let mut state = match self.last.take() {
            Some(last) if !changed && !self.a_pool_may_respond_again() => last,
            _ => self.link_all(),
        };
        let not_allowed = refused_paths(&self.paths, &self.source, allowed, self.resolver);
        let now = &state.reading;
        if now.not_allowed != not_allowed || now.revision != revision || now.coverage != coverage {
            let reading = Arc::make_mut(&mut state.reading);
            (reading.not_allowed, reading.revision, reading.coverage) = (not_allowed, revision, coverage);
        }
        state.content = content;
        state.parsed = parsed;
        self.last = Some(state.clone());
        state
    }

    /// Updates the known files. Returns how many files were parsed, and whether anything changed.
    fn update_files(&mut self, raws: Vec<Raw>) -> (usize, bool) {
        for file in self.files.values_mut() {
            file.was_found = std::mem::take(&mut file.found);
        }
        let mut fresh = Vec::new();
        for raw in raws {
            match self.files.get_mut(&raw.relative) {
                Some(file) if file.is_unchanged(&raw) => file.found = true,
                _ => fresh.push(raw),
            }
        }
        let changed = !fresh.is_empty() || self.files.values().any(|file| file.found != file.was_found);
        let parsed = fresh.iter().filter(|raw| raw.bytes.is_ok()).count();
        for mut parsed in parse(fresh, &self.limits) {
            let last_good = self.files.remove(&parsed.relative).and_then(|mut old| {
                old.invalidate();
                old.last_good
            });
            let path = std::mem::take(&mut parsed.relative);
            self.files.insert(path, KnownFile::new(parsed, last_good));
        }
        if changed {
            self.drop_removed_files();
        }
        (parsed, changed)
    }

    /// Whether no readable file contains a document. Removing all of them at once is more likely a mistake than an edit.
    fn is_empty(&self) -> bool {
        !self.files.values().any(|file| file.found && file.has_documents)
    }

    /// Drops the files that were removed. A file below a directory that cannot be read may still exist: it keeps its last good content.
    fn drop_removed_files(&mut self) {
        let is_empty = self.is_empty();
        let refused = self.files.iter().filter(|(_, file)| file.found && file.is_refused());
        let closed: Vec<PathBuf> = refused.map(|(path, _)| path.clone()).collect();
        self.files.retain(|path, file| {
            let hidden = || is_empty || closed.iter().any(|closed| path.starts_with(closed));
            if !file.found && hidden() {
                file.invalidate();
                return true;
            }
            file.found
        });
    }

    /// Whether a pool that was compared by its written path may respond now, and turn out to be the same as another.
    fn a_pool_may_respond_again(&self) -> bool {
        self.unresponsive.iter().any(|path| !self.resolver.is_out(path))
    }

    /// Resolves the pools of all documents, the last good ones included.
    fn pools(&self) -> ResolvedPools {
        let files = || self.files.values();
        let now = files().flat_map(|file| &file.documents);
        let before = self.last_good.iter().chain(files().filter_map(|file| file.last_good.as_ref()).flatten());
        let documents = now.chain(before.map(|last| &last.document));
        ResolvedPools::of(documents.map(|document| &**document), self.resolver)
    }

    /// Links all documents. Last good documents replace those of files with a problem.
    fn link_all(&mut self) -> ManifestState {
        self.pass += 1;
        let pools = self.pools();
        let Linked { reading, owned, shared, .. } = self.link_as_written(&pools);
        let found = || self.files.iter().filter(|(_, file)| file.found);
        let problems: Arc<[Problem]> = found().flat_map(|(_, file)| file.file.problems(self.limits.shown)).collect();
        let first = problems.first().map(|first| first.place.beside(&first.message)).unwrap_or_default();
        let is_empty = self.is_empty();
        let broken: Broken = found()
            .filter_map(|(path, file)| {
                let problem = file.first_problem(&shared).or_else(|| is_empty.then(|| first.clone()));
                Some((path.clone(), problem?))
            })
            .collect();
        self.files.values().for_each(KnownFile::remove_link_problems);
        let (reading, usable, broken) = if broken.is_empty() {
            self.last_good = self.files.values().flat_map(|file| file.as_last_good(self.pass)).collect();
            self.paths = self.last_good.iter().flat_map(|last| NamedPath::of(&last.document)).collect();
            (reading, owned, broken)
        } else {
            let Substituted { reading, owned, documents, last_good, broken } =
                substitute_last_good(&mut self.files, &self.last_good, broken, &first, self.pass, &pools);
            self.paths = documents.iter().flat_map(|document| NamedPath::of(document)).collect();
            if owned {
                self.last_good = last_good;
            }
            // Without any manifest the owner is unknown.
            (reading, owned && !(is_empty && documents.is_empty()), broken)
        };
        for (_, file) in self.files.iter_mut().filter(|(path, file)| file.found && !broken.contains_key(*path)) {
            (file.valid_in, file.last_good) = (Some(self.pass), None);
        }
        self.unresponsive = pools.unresponsive;
        ManifestState { reading: Arc::new(reading), problems, content: String::new(), parsed: 0, usable }
    }

    /// Links the documents of all found files, like [`super::load`].
    fn link_as_written(&self, pools: &ResolvedPools) -> Linked {
        let mut unread = Unread::default();
        let (mut files, mut documents) = (Vec::new(), Vec::new());
        for (number, file) in self.files.values().filter(|file| file.found).enumerate() {
            unread.add(&file.unread);
            files.push(&file.file);
            documents.extend(file.documents.iter().map(|document| Document { file: number, ..(**document).clone() }));
        }
        report_no_documents(&files, !self.is_empty());
        link(&files, documents, &unread, pools)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::super::resolve::hanging::{Hanging, wait_until_back};
    use super::*;
    use crate::model::{Kind, Name};

    fn backend(name: &str, pool: &str) -> String {
        format!(
            "apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: {name}}}\nspec: {{driver: local, local: {{path: {pool}}}}}\n---\n"
        )
    }

    fn unresponsive(state: &ManifestState) -> Vec<&str> {
        let all = state.reading.not_allowed.iter();
        all.filter(|barred| barred.unresponsive && barred.kind == Kind::Backend)
            .map(|barred| barred.name.as_str())
            .collect()
    }

    #[test]
    fn a_hanging_pool_holds_its_backend_and_delays_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        let at = |path: &str| real.join(path);
        fs::create_dir_all(at("specs")).unwrap();
        fs::create_dir_all(at("pool")).unwrap();
        std::os::unix::fs::symlink("pool", at("dead")).unwrap();
        fs::write(at("specs/a.yaml"), backend("a", "../dead") + &backend("b", "../other")).unwrap();
        let hanging = Hanging::default();
        hanging.hang(&at("dead"));
        let resolver: &Resolver = Box::leak(Box::new(hanging.resolver(Duration::from_millis(100))));
        let mut reader = Reader::new(Source::Path(at("specs")), Limits::default());
        reader.resolver = resolver;

        let first = reader.read(&Allowed::default());
        assert!(first.problems.is_empty() && first.usable, "{:?}", first.problems);
        assert_eq!(unresponsive(&first), ["a"]);
        let barred = first.reading.not_allowed(Kind::Backend, &"a".parse::<Name>().unwrap()).unwrap();
        assert_eq!(barred.message, format!("{} did not respond within 2 s", at("dead").display()));
        assert_eq!(first.reading.specs.backends.len(), 2, "both stay declared");
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&first.reading, &reader.read(&Allowed::default()).reading));
            assert_eq!(hanging.threads(), 1);
        }
        // Another path to the same pool: the reader cannot know this yet, and the hanging Backend stays held.
        fs::write(at("specs/a.yaml"), backend("a", "../dead") + &backend("b", "../pool")).unwrap();
        let blind = reader.read(&Allowed::default());
        assert!(blind.problems.is_empty() && unresponsive(&blind) == ["a"]);
        hanging.let_go(Path::new(&at("dead")));
        wait_until_back(resolver, &at("dead"));
        // The pools are compared again although no file changed.
        let seen = reader.read(&Allowed::default());
        assert_eq!((seen.parsed, unresponsive(&seen).len()), (0, 0));
        assert!(
            seen.problems.iter().any(|p| p.message.contains("this is the pool of Backend a")),
            "{:?}",
            seen.problems
        );
        fs::write(at("specs/a.yaml"), backend("a", "../dead") + &backend("b", "../other")).unwrap();
        let last = reader.read(&Allowed::default());
        assert!(last.problems.is_empty() && last.reading.not_allowed.is_empty(), "{:?}", last.reading.not_allowed);
    }
}
