//! The way of a manifest: files, documents, values, fields, and then all of them together.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::files::{self, Found};
use super::kinds::{self, Document};
use super::link::{Unread, link};
use super::reach::Named;
use super::scan::{Scanned, scan};
use super::text::{File, Span};
use super::value::settle;
use super::{Limits, Loaded, Source};

/// Files that are read in one go: fewer are read sooner than a thread is started.
const BATCH: usize = 8;

/// How standard input is called in messages.
const STDIN: &str = "<stdin>";

/// Reads all manifests of `source` and checks them. Never fails and never panics: what is wrong is in [`Loaded::problems`], all of it
/// at once, and what is not affected by that is in [`Loaded::specs`].
pub fn load(source: &Source, limits: &Limits) -> Loaded {
    let mut files = match source {
        Source::Path(path) => files::read(path, limits),
        Source::Text(text) => vec![standard_input(text, limits)],
    };
    let mut documents = Vec::new();
    let mut unread = Unread { unseen: files.iter().any(|found| found.hides), seen: Vec::new() };
    let mut any = false;
    for read in read_all(&mut files, limits) {
        any |= read.any;
        unread.unseen |= read.unread.unseen;
        unread.seen.extend(read.unread.seen);
        documents.extend(read.documents);
    }
    let told = files.iter().any(|found| found.file.count() > 0);
    if let (false, false, Some(first)) = (any, told, files.first()) {
        let hint = "write one, or make a first one with `kiln init`";
        first.file.report(Span::START, "there are no documents in the manifests", hint);
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
    Found { relative, hides: file.count() > 0, file, hash: Some(blake3::hash(text.as_bytes())) }
}

/// What one file came to.
#[derive(Default)]
struct Read {
    documents: Vec<Document>,
    /// Whether there is any document, good or not.
    any: bool,
    unread: Unread,
}

/// Reads files side by side, as far as the machine has processors; what they came to, in their order.
fn read_all(files: &mut [Found], limits: &Limits) -> Vec<Read> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = (processors - 1).min(files.len() / BATCH);
    let batches = Mutex::new(files.chunks_mut(BATCH).enumerate());
    let work = || {
        let mut done = Vec::new();
        loop {
            let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, files)) = batch else { return done };
            let numbered = files.iter().enumerate().map(|(index, found)| (number * BATCH + index, &found.file));
            done.extend(numbered.map(|(index, file)| (index, read(index, file, limits))));
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
    all.into_iter().map(|(_, read)| read).collect()
}

fn read(index: usize, file: &File, limits: &Limits) -> Read {
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
