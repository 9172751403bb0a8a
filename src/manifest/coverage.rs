//! What a reading covers: the facts that tell an edit from a directory that is not there. [`Reading::withdraws`] judges them.
//!
//! [`Reading::withdraws`]: crate::model::Reading::withdraws

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Source;
use super::git::{Checkout, place_in_work_tree};
use super::kinds::Document;
use super::text::File;
use crate::model::{Coverage, Extent, Kind};

/// A file that was read.
pub(super) struct Seen<'a> {
    pub(super) relative: &'a Path,
    pub(super) file: &'a File,
    /// Whether it could be read.
    pub(super) readable: bool,
    pub(super) holds_stack: bool,
}

/// Whether one of these documents is a Stack.
pub(super) fn holds_stack<'d>(mut documents: impl Iterator<Item = &'d Document>) -> bool {
    documents.any(|document| document.kind == Kind::Stack)
}

/// The facts of a reading. `of_file`: what a reading of a single file withdraws.
pub(super) fn coverage<'a>(
    source: &Source,
    place: &Place,
    files: impl Iterator<Item = Seen<'a>>,
    checkout: Option<&Checkout>,
    of_file: Extent,
) -> Coverage {
    let mut coverage = Coverage {
        extent: Extent::Whole,
        below: checkout.and_then(|checkout| checkout.facts.as_ref()).map(|facts| facts.below.clone()),
        ..Coverage::default()
    };
    match source {
        Source::Text(_) => (coverage.stdin, coverage.extent) = (true, Extent::Partial),
        Source::Path(path) => coverage.root = path.display().to_string(),
    }
    if let Some(file) = &place.file {
        (coverage.file, coverage.extent) = (Some(file.display().to_string()), of_file);
    }
    let facts = checkout.and_then(|checkout| checkout.facts.as_ref());
    for Seen { relative, file, readable, holds_stack } in files.filter(|seen| !seen.relative.as_os_str().is_empty()) {
        let name = relative.display().to_string();
        let emptied = || facts.is_none_or(|facts| facts.emptied.contains(relative));
        if readable && is_blank(file.bytes()) && emptied() {
            coverage.emptied.insert(name.clone());
        }
        if holds_stack {
            coverage.stack = Some(name.clone());
        }
        coverage.files.insert(name);
    }
    let shown = |path: &PathBuf| path.display().to_string();
    coverage.directories = place.directories.iter().map(|(path, elsewhere)| (shown(path), *elsewhere)).collect();
    coverage.place = place_in_work_tree(source);
    coverage.untracked = facts.into_iter().flat_map(|facts| &facts.untracked).map(shown).collect();
    coverage.not_checked_out = facts.into_iter().flat_map(|facts| &facts.not_checked_out).map(shown).collect();
    coverage
}

/// Where the files are.
#[derive(Default)]
pub(super) struct Place {
    /// The directories below SPECS, and whether each lies on another file system than SPECS.
    pub(super) directories: BTreeMap<PathBuf, bool>,
    /// Where SPECS really is, if it is a single file.
    pub(super) file: Option<PathBuf>,
}

/// Whether there is nothing but white space.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).iter().all(u8::is_ascii_whitespace)
}
