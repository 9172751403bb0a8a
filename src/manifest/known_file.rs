//! What the reader keeps of one file between readings.

use std::collections::HashMap;
use std::sync::Arc;

use super::files::{Raw, Refusal};
use super::kinds::Document;
use super::link::Unread;
use super::load::Parsed;
use super::text::{File, ProblemMark};
use crate::model::SourcePlace;

/// A document from a file that was valid.
#[derive(Clone)]
pub(super) struct LastGood {
    pub(super) document: Arc<Document>,
    /// The name of its file.
    pub(super) file: Arc<str>,
    /// The last pass in which the file was valid.
    pub(super) pass: u64,
}

/// A manifest file, or a directory that cannot be read.
pub(super) struct KnownFile {
    pub(super) hash: Option<blake3::Hash>,
    refusal: Option<Refusal>,
    pub(super) file: File,
    pub(super) documents: Vec<Arc<Document>>,
    /// Whether the file holds any document, valid or not.
    pub(super) has_documents: bool,
    pub(super) unread: Unread,
    /// Separates the problems of the file itself from those that linking added.
    mark: ProblemMark,
    /// The last pass in which this content had no problem.
    pub(super) valid_in: Option<u64>,
    /// The documents of the last valid content, while this content has a problem. `None`: no content was ever valid.
    pub(super) last_good: Option<Vec<LastGood>>,
    /// Whether the current reading found the file. A file that was not found and is kept lies below a directory that cannot be read.
    pub(super) found: bool,
    /// Whether the reading before found it.
    pub(super) was_found: bool,
}

impl KnownFile {
    pub(super) fn new(parsed: Parsed, last_good: Option<Vec<LastGood>>) -> Self {
        let Parsed { relative: _, file, hash, refusal, documents, holds_stack: _, has_documents, unread } = parsed;
        let documents = documents.into_iter().map(Arc::new).collect();
        Self {
            hash,
            refusal,
            mark: file.mark(),
            file,
            documents,
            has_documents,
            unread,
            valid_in: None,
            last_good,
            found: true,
            was_found: false,
        }
    }

    /// Whether the file still has this content, or is refused for the same reason.
    pub(super) fn is_unchanged(&self, raw: &Raw) -> bool {
        match &raw.bytes {
            Ok(bytes) => self.hash.is_some() && self.file.bytes() == bytes,
            Err(refusal) => self.refusal.as_ref() == Some(refusal),
        }
    }

    /// Marks the file as invalid or hidden: its documents become its last good ones if it was valid until now.
    pub(super) fn invalidate(&mut self) {
        if let Some(pass) = self.valid_in.take() {
            self.last_good = Some(self.as_last_good(pass).collect());
        }
    }

    pub(super) fn as_last_good(&self, pass: u64) -> impl Iterator<Item = LastGood> {
        let file = self.file.name.clone();
        self.documents.iter().map(move |document| LastGood { document: document.clone(), file: file.clone(), pass })
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Returns the first problem of the file with its place, or else a problem in `shared` that involves the file.
    pub(super) fn first_problem(&self, shared: &HashMap<Arc<str>, (SourcePlace, String)>) -> Option<String> {
        let own = self.file.problems(1).into_iter().next().map(|problem| (problem.place, problem.message));
        own.or_else(|| shared.get(&self.file.name).cloned()).map(|(place, message)| place.beside(&message))
    }

    /// Removes the problems that linking added.
    pub(super) fn remove_link_problems(&self) {
        self.file.remove_problems_after(self.mark);
    }
}
