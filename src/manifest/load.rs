//! Loads manifests once: files, documents, values and fields, then links the documents.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::coverage::{ReadFile, coverage, holds_stack as holds_stack_of};
use super::files::{self, Layout, Raw, Refusal};
use super::git;
use super::kinds::{self, Document};
use super::link::{Linked, ResolvedPools, Unread, link};
use super::path_policy::{Allowed, NamedPath, refused_paths};
use super::problem::Problem;
use super::resolve::host;
use super::scan::{Scanned, scan};
use super::span::Span;
use super::text::File;
use super::value::settle;
use super::{Limits, Source};
use crate::model::{Extent, Reading};

/// Files that a thread takes at a time. Parsing fewer takes less time than starting a thread.
const BATCH: usize = 8;

/// The name of standard input in messages.
const STDIN: &str = "<stdin>";

/// The result of [`load`].
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the valid documents declare; `broken` if there is any problem.
    pub reading: Reading,
    /// In order of file, line and column. If there are any, a one-shot command exits with 5.
    pub problems: Vec<Problem>,
    /// Every path that a document names: see [`Loaded::apply_path_policy`].
    pub paths: Vec<NamedPath>,
}

impl Loaded {
    /// Records in the reading which documents name a path that the policy refuses. The planner holds these as NotAllowed.
    pub fn apply_path_policy(&mut self, source: &Source, allowed: &Allowed) {
        self.reading.not_allowed = refused_paths(&self.paths, source, allowed, host());
    }
}

/// Reads and checks all manifests of `source`. Never fails and never panics: [`Loaded::problems`] has every problem, and
/// [`Loaded::reading`] everything that no problem affects.
pub fn load(source: &Source, limits: &Limits) -> Loaded {
    let (raws, place) = read_source(source, limits);
    let (all, documents) = parse_joined(raws, limits);
    let content = content_hash(all.iter().map(|parsed| (parsed.relative.as_path(), parsed.hash)));
    let manifests = || all.iter().map(|parsed| manifest(&parsed.relative, &parsed.file, parsed.hash)).collect();
    let checkout = git::Cache::default().checkout(source, &content, manifests);
    let seen = all.iter().map(|parsed| ReadFile {
        relative: &parsed.relative,
        file: &parsed.file,
        readable: parsed.hash.is_some(),
        holds_stack: parsed.holds_stack,
    });
    let mut coverage = coverage(source, &place, seen, checkout.as_ref(), Extent::Partial);
    coverage.young = true;
    let revision = checkout.map_or(content, |checkout| checkout.revision);
    let mut unread = Unread::default();
    all.iter().for_each(|parsed| unread.add(&parsed.unread));
    let files: Vec<&File> = all.iter().map(|parsed| &parsed.file).collect();
    report_no_documents(&files, all.iter().any(|parsed| parsed.has_documents));
    let paths = documents.iter().flat_map(NamedPath::of).collect();
    let pools = ResolvedPools::of(documents.iter(), host());
    let Linked { mut reading, .. } = link(&files, documents, &unread, &pools);
    (reading.revision, reading.coverage) = (revision, coverage);
    let problems = files.iter().flat_map(|file| file.problems(limits.shown)).collect();
    Loaded { reading, problems, paths }
}

/// Reads the files of a source.
pub(super) fn read_source(source: &Source, limits: &Limits) -> (Vec<Raw>, Layout) {
    let text = match source {
        Source::Path(path) => return files::read(path, limits),
        Source::Text(text) => text,
    };
    let too_large = text.len() as u64 > limits.file_bytes;
    let size = crate::model::Size(limits.file_bytes);
    let refusal = || Refusal {
        message: format!("standard input has more than {size} bytes").into(),
        hint: "split it into several files",
        hides: true,
    };
    let raw = Raw {
        relative: PathBuf::new(),
        shown: STDIN.to_owned(),
        directory: files::absolute(Path::new(".")),
        bytes: if too_large { Err(refusal()) } else { Ok(text.as_bytes().to_vec()) },
    };
    (vec![raw], Layout::default())
}

/// Reports files that contain no document at all, unless another problem was reported.
pub(super) fn report_no_documents(files: &[&File], has_documents: bool) {
    let has_problems = files.iter().any(|file| file.count() > 0);
    if let (false, false, Some(first)) = (has_documents, has_problems, files.first()) {
        let hint = "write a document, or create one with `kiln init`";
        first.report(Span::START, "the manifests contain no documents", hint);
    }
}

/// A parsed file, before linking.
pub(super) struct Parsed {
    /// Its path below SPECS.
    pub(super) relative: PathBuf,
    pub(super) file: File,
    /// Of its bytes; `None` if they could not be read.
    pub(super) hash: Option<blake3::Hash>,
    /// Why the file could not be read.
    pub(super) refusal: Option<Refusal>,
    pub(super) documents: Vec<Document>,
    /// Whether a Stack is among them.
    pub(super) holds_stack: bool,
    /// Whether it contains any document, valid or not.
    pub(super) has_documents: bool,
    pub(super) unread: Unread,
}

impl Parsed {
    fn new(raw: Raw, limits: &Limits) -> Self {
        let Raw { relative, shown, directory, bytes } = raw;
        let (file, hash, refusal) = match bytes {
            Ok(bytes) => {
                let hash = blake3::hash(&bytes);
                (File::new(shown, directory, bytes), Some(hash), None)
            }
            Err(refusal) => (File::unread(shown, refusal.message.clone(), refusal.hint), None, Some(refusal)),
        };
        // A file that is not text may contain any document.
        let unseen = refusal.as_ref().map_or(file.count() > 0, |refusal| refusal.hides);
        let unread = Unread { unseen, ..Unread::default() };
        let (documents, holds_stack, has_documents) = (Vec::new(), false, false);
        let mut parsed = Self { relative, file, hash, refusal, documents, holds_stack, has_documents, unread };
        parsed.read(limits);
        parsed.holds_stack = holds_stack_of(parsed.documents.iter());
        parsed
    }

    fn read(&mut self, limits: &Limits) {
        let file = &self.file;
        for (number, chunk) in file.chunks().enumerate() {
            if number >= limits.documents {
                let message = format!("the file has more than {} documents", limits.documents);
                file.report(Span { line: chunk.first_line, column: 1, len: 3 }, message, "split it into several files");
                self.unread.unseen = true;
                break;
            }
            let before = file.count();
            let document = match scan(file, chunk, limits) {
                Scanned::Empty => continue,
                Scanned::Broken => None,
                Scanned::Tree(mut tree) => {
                    let document = settle(file, chunk, &mut tree).and_then(|()| kinds::document(file, &tree, before));
                    if document.is_none() {
                        self.unread.unnamed.extend(kinds::unnamed(&tree));
                        self.unread.misnamed.extend(kinds::name_as_written(&tree));
                    }
                    document
                }
            };
            self.has_documents = true;
            match document {
                Some(document) => self.documents.push(document),
                None => self.unread.seen.push(chunk.text.to_owned()),
            }
        }
    }
}

/// Parses files in parallel, on as many threads as there are processors. Returns them in their order.
pub(super) fn parse(files: Vec<Raw>, limits: &Limits) -> Vec<Parsed> {
    parse_with(files, limits, |_, _, _| {}).0
}

/// Likewise, with the documents of all files in one list, in their order. A list of each file would stay in memory beside it.
fn parse_joined(files: Vec<Raw>, limits: &Limits) -> (Vec<Parsed>, Vec<Document>) {
    let join = |index: usize, parsed: &mut Parsed, documents: &mut Vec<Document>| {
        let of_file = std::mem::take(&mut parsed.documents);
        documents.extend(of_file.into_iter().map(|document| Document { file: index, ..document }));
    };
    let (all, mut documents) = parse_with(files, limits, join);
    documents.sort_by_key(|document| document.file);
    (all, documents)
}

/// Parses files, and calls `each` with every one on the thread that parsed it, with a list of that thread. Returns the lists joined.
fn parse_with(
    files: Vec<Raw>,
    limits: &Limits,
    each: impl Fn(usize, &mut Parsed, &mut Vec<Document>) + Sync,
) -> (Vec<Parsed>, Vec<Document>) {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = (processors - 1).min(files.len() / BATCH);
    let left = Mutex::new(files.into_iter().enumerate());
    let work = || {
        let (mut done, mut documents) = (Vec::new(), Vec::new());
        loop {
            let batch: Vec<_> = left.lock().unwrap_or_else(PoisonError::into_inner).by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return (done, documents);
            }
            for (index, raw) in batch {
                let mut parsed = Parsed::new(raw, limits);
                each(index, &mut parsed, &mut documents);
                done.push((index, parsed));
            }
        }
    };
    let (mut all, documents) = thread::scope(|scope| {
        // If no thread can be started, this one parses all files.
        let threads: Vec<_> =
            (0..helpers).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let (mut all, mut documents) = work();
        for thread in threads {
            let (more, mut of_thread) = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            all.extend(more);
            documents.append(&mut of_thread);
        }
        (all, documents)
    });
    all.sort_by_key(|(index, _)| *index);
    (all.into_iter().map(|(_, parsed)| parsed).collect(), documents)
}

/// A file in the form that is compared with a commit.
pub(super) fn manifest<'a>(relative: &'a Path, file: &'a File, hash: Option<blake3::Hash>) -> git::Manifest<'a> {
    git::Manifest { relative, bytes: hash.map(|hash| (file.bytes(), hash)) }
}

/// Hashes the paths and bytes of all files. The hash does not depend on the machine or on the path of SPECS; it serves as the revision
/// outside of Git. 128 bits suffice, because no decision depends on it.
pub(super) fn content_hash<'p>(files: impl Iterator<Item = (&'p Path, Option<blake3::Hash>)>) -> String {
    let mut hash = blake3::Hasher::new();
    for (path, bytes) in files {
        let path = path.as_os_str().as_encoded_bytes();
        hash.update(&(path.len() as u64).to_le_bytes()).update(path);
        hash.update(bytes.as_ref().map_or(&[0; 32], |hash| hash.as_bytes()));
    }
    hash.finalize().to_hex()[..32].to_owned()
}
