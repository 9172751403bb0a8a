//! Collects the facts that tell an edit of the manifests from a missing directory. [`Reading::withdraws`] judges them.
//!
//! [`Reading::withdraws`]: crate::model::Reading::withdraws

use std::path::{Path, PathBuf};

use super::files::{Layout, is_blank};
use super::git::{Checkout, place_in_work_tree};
use super::kinds::Document;
use super::source::Source;
use super::text::File;
use crate::model::{Coverage, Extent, Kind};

/// A file that was read.
pub(super) struct ReadFile<'a> {
    pub(super) relative: &'a Path,
    pub(super) file: &'a File,
    /// Whether its bytes could be read.
    pub(super) readable: bool,
    pub(super) holds_stack: bool,
}

/// Whether one of these documents is a Stack.
pub(super) fn holds_stack<'d>(mut documents: impl Iterator<Item = &'d Document>) -> bool {
    documents.any(|document| document.kind == Kind::Stack)
}

/// Returns the coverage of a reading. `of_file`: the extent if SPECS is a single file.
pub(super) fn coverage<'a>(
    source: &Source,
    layout: &Layout,
    files: impl Iterator<Item = ReadFile<'a>>,
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
    if let Some(file) = &layout.file {
        (coverage.file, coverage.extent) = (Some(file.display().to_string()), of_file);
    }
    let facts = checkout.and_then(|checkout| checkout.facts.as_ref());
    for ReadFile { relative, file, readable, holds_stack } in files.filter(|seen| !seen.relative.as_os_str().is_empty())
    {
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
    coverage.directories = layout.directories.iter().map(|(path, elsewhere)| (shown(path), *elsewhere)).collect();
    coverage.place = place_in_work_tree(source);
    coverage.untracked = facts.into_iter().flat_map(|facts| &facts.untracked).map(shown).collect();
    coverage.not_checked_out = facts.into_iter().flat_map(|facts| &facts.not_checked_out).map(shown).collect();
    coverage
}
