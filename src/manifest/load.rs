//! The way of a manifest: files, documents, values, fields, and then all of them together.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;

use super::files::{self, Found};
use super::kinds::{self, Document};
use super::link::{Unread, link};
use super::parsed::{Parsed, Remembered};
use super::reach::Named;
use super::scan::{Scanned, scan};
use super::text::{File, Span};
use super::value::settle;
use super::{Limits, Loaded, Source};

/// Fewer are read sooner than a thread is started.
const FILES_PER_THREAD: usize = 8;

/// How standard input is called in messages.
const STDIN: &str = "<stdin>";

/// Reads all manifests of `source` and checks them. Never fails and never panics: what is wrong is in [`Loaded::problems`], all of it
/// at once, and what is not affected by that is in [`Loaded::specs`].
pub fn load(source: &Source, limits: &Limits) -> Loaded {
    load_known(source, limits, None)
}

/// Like [`load`], but files that are known in `parsed` are not parsed again. It is told what this reading came to.
pub fn load_known(source: &Source, limits: &Limits, mut parsed: Option<&mut Parsed>) -> Loaded {
    let mut files = match source {
        Source::Path(path) => files::read(path, limits),
        Source::Text(text) => vec![standard_input(text, limits)],
    };
    let mut documents = Vec::new();
    let mut unread = Unread { unseen: files.iter().any(|found| found.file.count() > 0), seen: Vec::new() };
    let mut any = false;
    let mut remembered = Vec::new();
    for read in read_all(&mut files, limits, parsed.as_deref()) {
        remembered.extend(read.remembered);
        any |= read.any;
        unread.unseen |= read.unread.unseen;
        unread.seen.extend(read.unread.seen);
        documents.extend(read.documents);
    }
    if let (false, false, Some(first)) = (any, unread.any(), files.first()) {
        let hint = "write one, or make a first one with `kiln init`";
        first.file.report(Span::START, "there are no documents in the manifests", hint);
    }
    if let Some(parsed) = &mut parsed {
        parsed.note(remembered.into_iter());
    }
    let paths = documents.iter().flat_map(Named::of).collect();
    let specs = link(&files, documents, &unread, revision(&files));
    let mut problems = Vec::new();
    for found in files {
        problems.extend(found.file.problems(limits.shown));
    }
    Loaded { specs, problems, paths }
}

fn standard_input(text: &str, limits: &Limits) -> Found {
    let (name, relative) = (STDIN.to_owned(), Path::new("").to_owned());
    let size = crate::model::Size(limits.file_bytes);
    let file = match text.len() as u64 > limits.file_bytes {
        true => File::unread(name, format!("standard input has more than {size} bytes"), "split it into several files"),
        false => File::new(name, files::absolute(Path::new(".")), text.as_bytes().to_vec()),
    };
    Found { relative, file, hash: Some(blake3::hash(text.as_bytes())) }
}

/// What one file came to.
#[derive(Default)]
struct Read {
    documents: Vec<Document>,
    /// Whether there is any document, good or not.
    any: bool,
    unread: Unread,
    /// What is to be kept of it.
    remembered: Option<Remembered>,
}

/// Reads files side by side, as far as the machine has processors; what they came to, in their order.
fn read_all(files: &mut [Found], limits: &Limits, parsed: Option<&Parsed>) -> Vec<Read> {
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = files.len().div_ceil(workers).max(FILES_PER_THREAD);
    let some = |share_number: usize, files: &mut [Found]| -> Vec<Read> {
        let numbered = files.iter().enumerate();
        numbered.map(|(index, found)| read(share_number * share + index, found, limits, parsed)).collect()
    };
    if files.len() <= share {
        return some(0, files);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = files
            .chunks_mut(share)
            .enumerate()
            .map(|(number, files)| scope.spawn(move || some(number, files)))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn read(index: usize, found: &Found, limits: &Limits, parsed: Option<&Parsed>) -> Read {
    if let Some((documents, remembered)) = parsed.and_then(|parsed| parsed.find(index, found, limits)) {
        let any = !documents.is_empty();
        return Read { documents, any, unread: Unread::default(), remembered: Some(remembered) };
    }
    let mut out = parse(index, &found.file, limits);
    if found.file.count() == 0 {
        out.remembered = parsed.and_then(|parsed| parsed.keep(found, limits, &out.documents));
    }
    out
}

fn parse(index: usize, file: &File, limits: &Limits) -> Read {
    let mut out = Read::default();
    for (number, chunk) in file.chunks().enumerate() {
        if number >= limits.documents {
            let message = format!("the file has more than {} documents", limits.documents);
            file.report(Span { line: chunk.first_line, column: 1, len: 3 }, message, "split it into several files");
            out.unread.unseen = true;
            break;
        }
        let before = file.count();
        let document = match scan(file, chunk, limits) {
            Scanned::Empty => continue,
            Scanned::Broken => None,
            Scanned::Tree(mut tree) => {
                settle(file, chunk, &mut tree).and_then(|()| kinds::document(index, file, &tree, before))
            }
        };
        out.any = true;
        match document {
            Some(document) => out.documents.push(document),
            None => out.unread.seen.push(chunk.text.to_owned()),
        }
    }
    out
}

/// Over the paths and bytes of all files: equal on any machine, whatever SPECS is called there. 128 bits are enough, since
/// nothing is ever done because of it.
fn revision(files: &[Found]) -> String {
    let mut hash = blake3::Hasher::new();
    for found in files {
        let path = found.relative.as_os_str().as_encoded_bytes();
        hash.update(&(path.len() as u64).to_le_bytes()).update(path);
        hash.update(found.hash.as_ref().map_or(&[0; 32], |hash| hash.as_bytes()));
    }
    hash.finalize().to_hex()[..32].to_owned()
}
