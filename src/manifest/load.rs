//! The way of a manifest: files, documents, values, fields, and then all of them together.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::coverage::{Place, Seen, coverage, holds_stack};
use super::files::{self, Raw, Refusal};
use super::git;
use super::kinds::{self, Document};
use super::link::{Linked, Pools, Unread, link};
use super::path_policy::Named;
use super::resolve::host;
use super::scan::{Scanned, scan};
use super::text::{File, Span};
use super::value::settle;
use super::{Limits, Loaded, Source};
use crate::model::Extent;

/// Files that are read in one go: fewer are read sooner than a thread is started.
const BATCH: usize = 8;

/// How standard input is called in messages.
const STDIN: &str = "<stdin>";

/// Reads all manifests of `source` and checks them. Never fails and never panics: what is wrong is in [`Loaded::problems`], all of it
/// at once, and what is not affected by that is in [`Loaded::reading`].
pub fn load(source: &Source, limits: &Limits) -> Loaded {
    let (raws, place) = gather(source, limits);
    let mut all = parse(raws, limits);
    let content = content(all.iter().map(|parsed| (parsed.relative.as_path(), parsed.hash)));
    let manifests = || all.iter().map(|parsed| manifest(&parsed.relative, &parsed.file, parsed.hash)).collect();
    let checkout = git::Memory::default().checkout(source, &content, manifests);
    let seen = all.iter().map(|parsed| Seen {
        relative: &parsed.relative,
        file: &parsed.file,
        readable: parsed.hash.is_some(),
        holds_stack: holds_stack(parsed.documents.iter()),
    });
    let mut coverage = coverage(source, &place, seen, checkout.as_ref(), Extent::Partial);
    coverage.young = true;
    let revision = checkout.map_or(content, |checkout| checkout.revision);
    let mut documents = Vec::new();
    let mut unread = Unread::default();
    for (index, parsed) in all.iter_mut().enumerate() {
        unread.add(&parsed.unread);
        documents.extend(parsed.documents.drain(..).map(|document| Document { file: index, ..document }));
    }
    let files: Vec<&File> = all.iter().map(|parsed| &parsed.file).collect();
    tell_of_nothing(&files, all.iter().any(|parsed| parsed.any));
    let paths = documents.iter().flat_map(Named::of).collect();
    let pools = Pools::of(documents.iter(), host());
    let Linked { mut reading, .. } = link(&files, documents, &unread, &pools);
    (reading.revision, reading.coverage) = (revision, coverage);
    let problems = files.iter().flat_map(|file| file.problems(limits.shown)).collect();
    Loaded { reading, problems, paths }
}

/// The files of a source, as they are now.
pub(super) fn gather(source: &Source, limits: &Limits) -> (Vec<Raw>, Place) {
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
    (vec![raw], Place::default())
}

/// Files that hold no document at all are a mistake, unless they have others that explain it.
pub(super) fn tell_of_nothing(files: &[&File], any: bool) {
    let told = files.iter().any(|file| file.count() > 0);
    if let (false, false, Some(first)) = (any, told, files.first()) {
        let hint = "write one, or make a first one with `kiln init`";
        first.report(Span::START, "there are no documents in the manifests", hint);
    }
}

/// What one file came to by itself.
pub(super) struct Parsed {
    /// Its path below SPECS.
    pub(super) relative: PathBuf,
    pub(super) file: File,
    /// Of its bytes; `None` where they could not be read.
    pub(super) hash: Option<blake3::Hash>,
    /// Why there are no bytes.
    pub(super) refusal: Option<Refusal>,
    pub(super) documents: Vec<Document>,
    /// Whether there is any document, good or not.
    pub(super) any: bool,
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
        // Of what could not be made text of, nobody knows what is in it.
        let unseen = refusal.as_ref().map_or(file.count() > 0, |refusal| refusal.hides);
        let unread = Unread { unseen, seen: Vec::new() };
        let mut parsed = Self { relative, file, hash, refusal, documents: Vec::new(), any: false, unread };
        parsed.read(limits);
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
                    settle(file, chunk, &mut tree).and_then(|()| kinds::document(file, &tree, before))
                }
            };
            self.any = true;
            match document {
                Some(document) => self.documents.push(document),
                None => self.unread.seen.push(chunk.text.to_owned()),
            }
        }
    }
}

/// Parses files side by side, as far as the machine has processors; what they came to, in their order.
pub(super) fn parse(files: Vec<Raw>, limits: &Limits) -> Vec<Parsed> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = (processors - 1).min(files.len() / BATCH);
    let left = Mutex::new(files.into_iter().enumerate());
    let work = || {
        let mut done = Vec::new();
        loop {
            let batch: Vec<_> = left.lock().unwrap_or_else(PoisonError::into_inner).by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return done;
            }
            done.extend(batch.into_iter().map(|(index, raw)| (index, Parsed::new(raw, limits))));
        }
    };
    let mut all = thread::scope(|scope| {
        // Where the host gives no thread, this one does it all.
        let threads: Vec<_> =
            (0..helpers).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut all = work();
        for thread in threads {
            all.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, parsed)| parsed).collect()
}

/// A file, as it is compared with a commit.
pub(super) fn manifest<'a>(relative: &'a Path, file: &'a File, hash: Option<blake3::Hash>) -> git::Manifest<'a> {
    git::Manifest { relative, bytes: hash.map(|hash| (file.bytes(), hash)) }
}

/// Over the paths and bytes of all files: equal on any machine, whatever SPECS is called there. 128 bits are enough, since
/// nothing is ever done because of it. It is the revision, where Git gives none.
pub(super) fn content<'p>(files: impl Iterator<Item = (&'p Path, Option<blake3::Hash>)>) -> String {
    let mut hash = blake3::Hasher::new();
    for (path, bytes) in files {
        let path = path.as_os_str().as_encoded_bytes();
        hash.update(&(path.len() as u64).to_le_bytes()).update(path);
        hash.update(bytes.as_ref().map_or(&[0; 32], |hash| hash.as_bytes()));
    }
    hash.finalize().to_hex()[..32].to_owned()
}
