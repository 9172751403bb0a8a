//! The headline: [`Reader::read`], for whoever asks again and again.
//!
//! A file is parsed when its content is not known, and documents are linked when any file changed. What files came to is kept in
//! memory only, and no longer than they are there.
//!
//! A one-shot command refuses manifests with a problem. Whoever must go on keeps to their **last good meaning**: the unit is the
//! file, and one with a problem is stood in for by what it declared when it was last without one. So a file that was saved half
//! declares what it declared before, and nothing of it goes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::coverage::{Seen, coverage, holds_stack};
use super::files::{Raw, Refusal};
use super::git;
use super::kinds::Document;
use super::last_good::{Broken, LastGood, Meaning, meaning};
use super::link::{Linked, Pools, Unread, link};
use super::load::{Parsed, content, gather, manifest, parse, tell_of_nothing};
use super::path_policy::{Allowed, Named, refused_paths};
use super::resolve::{Resolver, host};
use super::text::{File, Mark};
use super::{Limits, Problem, Source};
use crate::model::{Extent, Reading, SourcePlace};

/// Reads the manifests of one source, time and again.
pub struct Reader {
    source: Source,
    limits: Limits,
    entries: BTreeMap<PathBuf, Entry>,
    /// What is declared by good files, or by what stood in for others, as of the last reading.
    meant: Vec<LastGood>,
    /// Readings that understood something new.
    pass: u64,
    /// The paths that documents name.
    paths: Vec<Named>,
    resolver: &'static Resolver,
    /// Pools that did not answer when documents were last linked.
    silent: Vec<PathBuf>,
    git: git::Memory,
    last: Option<ManifestState>,
}

/// The manifests as they were read last.
#[derive(Debug, Clone)]
pub struct ManifestState {
    /// The very same as before if nothing changed: neither a file, nor what may be reached, nor the revision.
    pub reading: Arc<Reading>,
    /// As [`super::load`] gives them.
    pub problems: Arc<[Problem]>,
    /// A hash of the content of all files with their paths.
    pub content: String,
    /// Files that were parsed for this reading.
    pub parsed: usize,
    /// `false`: nobody can say whose objects these are, because the Stack, or a file that may hold it, cannot be read, and no last
    /// good meaning of it is known. Then nothing at all may be done.
    pub usable: bool,
}

/// A file, or a directory that cannot be read.
pub(super) struct Entry {
    hash: Option<blake3::Hash>,
    refusal: Option<Refusal>,
    pub(super) file: File,
    pub(super) documents: Vec<Arc<Document>>,
    pub(super) any: bool,
    pub(super) unread: Unread,
    /// The problems of the file itself; those beyond were found by linking.
    mark: Mark,
    /// In which pass this content was last without any problem.
    pub(super) good: Option<u64>,
    /// What an earlier content meant that was good, while this one is not. `None`: none ever was.
    pub(super) last: Option<Vec<LastGood>>,
    /// Whether it was found by the reading now made. One that was not, and is kept, lies below what could not be read.
    pub(super) seen: bool,
    /// Likewise by the one before.
    was_seen: bool,
}

impl Entry {
    fn new(parsed: Parsed, last: Option<Vec<LastGood>>) -> Self {
        let Parsed { relative: _, file, hash, refusal, documents, any, unread } = parsed;
        let documents = documents.into_iter().map(Arc::new).collect();
        Self {
            hash,
            refusal,
            mark: file.mark(),
            file,
            documents,
            any,
            unread,
            good: None,
            last,
            seen: true,
            was_seen: false,
        }
    }

    fn is(&self, raw: &Raw) -> bool {
        match &raw.bytes {
            Ok(bytes) => self.hash.is_some() && self.file.bytes() == bytes,
            Err(refusal) => self.refusal.as_ref() == Some(refusal),
        }
    }

    /// From now on it has a problem, or is out of sight: what it meant when it was last good is its last good meaning.
    pub(super) fn lapse(&mut self) {
        if let Some(pass) = self.good.take() {
            self.last = Some(self.meant(pass).collect());
        }
    }

    fn meant(&self, pass: u64) -> impl Iterator<Item = LastGood> {
        let file = self.file.name.clone();
        self.documents.iter().map(move |document| LastGood { document: document.clone(), file: file.clone(), pass })
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// The first problem of the file, or one that it has a share in, with its place.
    pub(super) fn first_problem(&self, shared: &HashMap<Arc<str>, (SourcePlace, String)>) -> Option<String> {
        let own = self.file.problems(1).into_iter().next().map(|problem| (problem.place, problem.message));
        own.or_else(|| shared.get(&self.file.name).cloned()).map(|(place, message)| format!("{place}: {message}"))
    }

    /// Forgets the problems that linking found.
    pub(super) fn cut_back(&self) {
        self.file.cut_back(self.mark);
    }
}

impl Reader {
    /// Nothing is read yet.
    pub fn new(source: Source, limits: Limits) -> Self {
        Self {
            source,
            limits,
            entries: BTreeMap::new(),
            meant: Vec::new(),
            pass: 0,
            paths: Vec::new(),
            resolver: host(),
            silent: Vec::new(),
            git: git::Memory::default(),
            last: None,
        }
    }

    /// Reads all files; parses those whose content is not known; links, if anything changed; judges what paths reach. Never fails and
    /// never panics, as [`super::load`].
    pub fn read(&mut self, allowed: &Allowed) -> ManifestState {
        let (raws, place) = gather(&self.source, &self.limits);
        let (parsed, changed) = self.take(raws);
        let seen = || self.entries.iter().filter(|(_, entry)| entry.seen);
        let content = content(seen().map(|(path, entry)| (path.as_path(), entry.hash)));
        let manifests = || seen().map(|(path, entry)| manifest(path, &entry.file, entry.hash)).collect();
        let checkout = self.git.checkout(&self.source, &content, manifests);
        let files = seen().map(|(path, entry)| Seen {
            relative: path,
            file: &entry.file,
            readable: entry.hash.is_some(),
            holds_stack: holds_stack(entry.documents.iter().map(|document| &**document)),
        });
        let coverage = coverage(&self.source, &place, files, checkout.as_ref(), Extent::OneFile);
        let revision = checkout.map_or_else(|| content.clone(), |checkout| checkout.revision);
        let mut state = match self.last.take() {
            Some(last) if !changed && !self.answers_again() => last,
            _ => self.understand(),
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

    /// Brings the entries to what was found: how many files were parsed, and whether anything changed.
    fn take(&mut self, raws: Vec<Raw>) -> (usize, bool) {
        for entry in self.entries.values_mut() {
            entry.was_seen = std::mem::take(&mut entry.seen);
        }
        let mut fresh = Vec::new();
        for raw in raws {
            match self.entries.get_mut(&raw.relative) {
                Some(entry) if entry.is(&raw) => entry.seen = true,
                _ => fresh.push(raw),
            }
        }
        let changed = !fresh.is_empty() || self.entries.values().any(|entry| entry.seen != entry.was_seen);
        let parsed = fresh.iter().filter(|raw| raw.bytes.is_ok()).count();
        for mut parsed in parse(fresh, &self.limits) {
            let last = self.entries.remove(&parsed.relative).and_then(|mut old| {
                old.lapse();
                old.last
            });
            let path = std::mem::take(&mut parsed.relative);
            self.entries.insert(path, Entry::new(parsed, last));
        }
        if changed {
            self.forget_what_is_gone();
        }
        (parsed, changed)
    }

    /// Whether there is no document in what can be read: whoever took them all away most likely meant something else.
    fn nothing_is_left(&self) -> bool {
        !self.entries.values().any(|entry| entry.seen && entry.any)
    }

    /// A file that is not there any more is gone, unless it lies where nobody can look: then it keeps its last good meaning.
    fn forget_what_is_gone(&mut self) {
        let nothing = self.nothing_is_left();
        let refused = self.entries.iter().filter(|(_, entry)| entry.seen && entry.is_refused());
        let closed: Vec<PathBuf> = refused.map(|(path, _)| path.clone()).collect();
        self.entries.retain(|path, entry| {
            let hidden = || nothing || closed.iter().any(|closed| path.starts_with(closed));
            if !entry.seen && hidden() {
                entry.lapse();
                return true;
            }
            entry.seen
        });
    }

    /// Whether a pool may answer that was compared as it is written: it may turn out to be another one.
    fn answers_again(&self) -> bool {
        self.silent.iter().any(|path| !self.resolver.is_out(path))
    }

    /// The pools of all that is or was declared.
    fn pools(&self) -> Pools {
        let entries = || self.entries.values();
        let now = entries().flat_map(|entry| &entry.documents);
        let before = self.meant.iter().chain(entries().filter_map(|entry| entry.last.as_ref()).flatten());
        Pools::of(now.chain(before.map(|meant| &meant.document)).map(|document| &**document), self.resolver)
    }

    /// Links all documents, and finds out what those stand for that have a problem.
    fn understand(&mut self) -> ManifestState {
        self.pass += 1;
        let pools = self.pools();
        let Linked { reading, owned, shared, .. } = self.link_as_written(&pools);
        let seen = || self.entries.iter().filter(|(_, entry)| entry.seen);
        let problems: Arc<[Problem]> = seen().flat_map(|(_, entry)| entry.file.problems(self.limits.shown)).collect();
        let first = problems.first().map(|first| format!("{}: {}", first.place, first.message)).unwrap_or_default();
        let nothing = self.nothing_is_left();
        let broken: Broken = seen()
            .filter_map(|(path, entry)| {
                let problem = entry.first_problem(&shared).or_else(|| nothing.then(|| first.clone()));
                Some((path.clone(), problem?))
            })
            .collect();
        self.entries.values().for_each(Entry::cut_back);
        let (reading, usable, broken) = if broken.is_empty() {
            self.meant = self.entries.values().flat_map(|entry| entry.meant(self.pass)).collect();
            self.paths = self.meant.iter().flat_map(|meant| Named::of(&meant.document)).collect();
            (reading, owned, broken)
        } else {
            let Meaning { reading, owned, documents, meant, broken } =
                meaning(&mut self.entries, &self.meant, broken, &first, self.pass, &pools);
            self.paths = documents.iter().flat_map(|document| Named::of(document)).collect();
            if owned {
                self.meant = meant;
            }
            // Of no manifests at all nobody can say whose they were.
            (reading, owned && !(nothing && documents.is_empty()), broken)
        };
        for (_, entry) in self.entries.iter_mut().filter(|(path, entry)| entry.seen && !broken.contains_key(*path)) {
            (entry.good, entry.last) = (Some(self.pass), None);
        }
        self.silent = pools.silent;
        ManifestState { reading: Arc::new(reading), problems, content: String::new(), parsed: 0, usable }
    }

    /// All documents that can be seen, as [`super::load`] links them.
    fn link_as_written(&self, pools: &Pools) -> Linked {
        let mut unread = Unread::default();
        let (mut files, mut documents) = (Vec::new(), Vec::new());
        for (number, entry) in self.entries.values().filter(|entry| entry.seen).enumerate() {
            unread.add(&entry.unread);
            files.push(&entry.file);
            documents.extend(entry.documents.iter().map(|document| Document { file: number, ..(**document).clone() }));
        }
        tell_of_nothing(&files, !self.nothing_is_left());
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

    fn silent(state: &ManifestState) -> Vec<&str> {
        let all = state.reading.not_allowed.iter();
        all.filter(|barred| barred.silent && barred.kind == Kind::Backend).map(|barred| barred.name.as_str()).collect()
    }

    #[test]
    fn a_pool_that_hangs_holds_its_backend_and_keeps_nobody() {
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
        assert_eq!(silent(&first), ["a"]);
        let barred = first.reading.not_allowed(Kind::Backend, &"a".parse::<Name>().unwrap()).unwrap();
        assert_eq!(barred.message, format!("{} did not answer within 2 s", at("dead").display()));
        assert_eq!(first.reading.specs.backends.len(), 2, "they are declared as before");
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&first.reading, &reader.read(&Allowed::default()).reading));
            assert_eq!(hanging.threads(), 1);
        }
        // Another way to the same pool: it cannot be known yet, and what hangs stays held.
        fs::write(at("specs/a.yaml"), backend("a", "../dead") + &backend("b", "../pool")).unwrap();
        let blind = reader.read(&Allowed::default());
        assert!(blind.problems.is_empty() && silent(&blind) == ["a"]);
        hanging.let_go(Path::new(&at("dead")));
        wait_until_back(resolver, &at("dead"));
        // Though no file changed, they are compared anew.
        let seen = reader.read(&Allowed::default());
        assert_eq!((seen.parsed, silent(&seen).len()), (0, 0));
        assert!(
            seen.problems.iter().any(|p| p.message.contains("this is the pool that Backend a points to")),
            "{:?}",
            seen.problems
        );
        fs::write(at("specs/a.yaml"), backend("a", "../dead") + &backend("b", "../other")).unwrap();
        let last = reader.read(&Allowed::default());
        assert!(last.problems.is_empty() && last.reading.not_allowed.is_empty(), "{:?}", last.reading.not_allowed);
    }
}
