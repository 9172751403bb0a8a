//! What a reading of the manifests covers, and when it is doubtful that an undeclared object was removed from them.
//!
//! The reading carries facts (files, directories, the checked-out commit), and this module judges them without input or output. The facts
//! about earlier readings are in the ledger of the object's pool, so losing the store loses no protection.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Which undeclared objects a reading withdraws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Extent {
    /// All of them: a directory, or a file or standard input with `--prune`.
    #[default]
    Whole,
    /// None of them: a file or standard input.
    Partial,
    /// Those that this file declared before: the file that `kiln watch FILE` follows.
    OneFile,
}

/// What a reading covers, as facts. Paths are relative to SPECS and separated by `/`; a single file has its name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Coverage {
    /// Which undeclared objects it withdraws.
    pub extent: Extent,
    /// SPECS, as in the places of documents.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// The absolute path of a single file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether it is standard input, which may be truncated.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// The files that were read.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub files: BTreeSet<String>,
    /// The file of the Stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Files of white space only that have other content in the commit, or are in no commit.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub emptied: BTreeSet<String>,
    /// The directories below SPECS, and whether each is on another file system than SPECS.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub directories: BTreeMap<String, bool>,
    /// Directories that contain manifests in the checked-out commit, or are submodules there, and contain none here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub not_checked_out: BTreeSet<String>,
    /// The path of SPECS below its Git work tree, whether or not a commit contains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Directories that contain manifests here, and none in the checked-out commit.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub untracked: BTreeSet<String>,
    /// The path of SPECS below its Git work tree. `None` outside of Git, before the first commit, and if Git cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Whether these files are known to be unchanged for less time than a vanished directory is waited for, which may come back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub young: bool,
    /// Until when the files are `young`, in seconds since 1970. `None` for a one-shot command, which knows no earlier reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub young_until: Option<u64>,
}

/// What the ledger stores about the last whole reading.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LastReading {
    /// The path of SPECS below its Git work tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Its files.
    pub files: BTreeSet<String>,
    /// Directories that were on another file system than SPECS.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub mounts: BTreeSet<String>,
    /// Directories that contained manifests, but none in the commit. They are judged as outside of Git.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub untracked: BTreeSet<String>,
}

/// Why an object that a reading does not declare may be declared nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A manifest has a problem.
    Problem,
    /// The manifests were read only once.
    ReadOnce,
    /// This directory is gone, and is not known to be gone for long; with the time until when it is waited for, if known, in seconds since
    /// 1970.
    Vanished(String, Option<u64>),
    /// This directory contains manifests in the checked-out commit, or is a submodule, and contains none here.
    NotCheckedOut(String),
    /// This directory is gone, and SPECS, which was in a Git work tree, is not known to be in one now.
    GitUnreadable(String),
    /// This directory was on another file system, and is gone or empty.
    Unmounted(String),
    /// This directory exists without manifests.
    Bare(String),
    /// This file contains only white space.
    Emptied(String),
    /// The reading shares no file with the last whole one.
    OtherFiles,
    /// SPECS was at this path in its work tree, and is at another now.
    OtherPlace(String),
}

impl Doubt {
    /// Whether a person may approve that the object is withdrawn. The other doubts end within seconds, or with the problem of the manifests.
    pub fn may_be_approved(&self) -> bool {
        match self {
            Doubt::Problem | Doubt::ReadOnce => false,
            Doubt::Vanished(..) | Doubt::NotCheckedOut(_) | Doubt::GitUnreadable(_) => true,
            Doubt::Unmounted(_) | Doubt::Bare(_) | Doubt::Emptied(_) => true,
            Doubt::OtherFiles | Doubt::OtherPlace(_) => true,
        }
    }
}

impl Coverage {
    /// Makes the reading a whole one: `--prune`.
    pub fn prune(&mut self) {
        self.extent = Extent::Whole;
    }

    /// Whether it is whole only because of `--prune`.
    pub fn is_pruned(&self) -> bool {
        self.extent == Extent::Whole && (self.stdin || self.file.is_some())
    }

    /// Returns the name of the source for messages.
    pub fn called(&self) -> &str {
        if self.stdin { "standard input" } else { &self.root }
    }

    /// Returns a path below SPECS as it is shown, in the form of the places of documents.
    pub fn shown(&self, below: &str) -> String {
        match self.file {
            Some(_) => self.root.clone(),
            None => Path::new(&self.root).join(below).display().to_string(),
        }
    }

    /// Whether a manifest was read from a directory or below it.
    fn holds_manifests(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        self.files.range(below.clone()..).next().is_some_and(|file| file.starts_with(&below))
    }

    pub(super) fn doubt(&self, declared_in: &str, last: Option<&LastReading>) -> Option<Doubt> {
        let in_git = self.below.is_some();
        let above = || ancestors(declared_in);
        let without = |directory: &&str| !self.holds_manifests(directory);
        if let Some(directory) = above().find(|directory| self.not_checked_out.contains(*directory)) {
            return Some(Doubt::NotCheckedOut(directory.to_owned()));
        }
        let lay_elsewhere = |directory: &&str| last.is_some_and(|last| last.mounts.contains(*directory));
        if let Some(directory) = above().filter(without).find(lay_elsewhere) {
            return Some(Doubt::Unmounted(directory.to_owned()));
        }
        if self.emptied.contains(declared_in) {
            return Some(Doubt::Emptied(declared_in.to_owned()));
        }
        if self.file.is_some() || self.stdin {
            return None;
        }
        let unknown_to_git = |directory: &&str| self.is_unknown_to_git(directory, last);
        let exists = |directory: &&str| self.directories.contains_key(*directory);
        if let Some(directory) = above().filter(unknown_to_git).filter(without).find(exists) {
            return Some(Doubt::Bare(directory.to_owned()));
        }
        let gone = self.vanished(declared_in, last)?;
        if !in_git && last.is_some_and(|last| last.below.is_some()) {
            return Some(Doubt::GitUnreadable(gone.to_owned()));
        }
        let until = self.young_until.filter(|_| self.young)?;
        Some(Doubt::Vanished(gone.to_owned(), Some(until)))
    }

    /// Returns the highest directory above a file that is gone, unless Git shows that it was removed.
    pub(super) fn vanished<'f>(&self, declared_in: &'f str, last: Option<&LastReading>) -> Option<&'f str> {
        if self.file.is_some() || self.stdin {
            return None;
        }
        let unknown_to_git = |directory: &&str| self.is_unknown_to_git(directory, last);
        let above = ancestors(declared_in).filter(unknown_to_git);
        above.take_while(|directory| !self.directories.contains_key(*directory)).last()
    }

    /// Whether Git says nothing about a directory, because no commit contained it or there is no Git.
    fn is_unknown_to_git(&self, directory: &str, last: Option<&LastReading>) -> bool {
        self.below.is_none() || last.is_some_and(|last| last.untracked.contains(directory))
    }

    /// Returns the doubt that SPECS differs from what was last read whole.
    pub(super) fn differs_from(&self, last: &LastReading) -> Option<Doubt> {
        if let (Some(before), Some(now)) = (&last.below, self.place.as_ref().or(self.below.as_ref()))
            && before != now
        {
            return Some(Doubt::OtherPlace(before.clone()));
        }
        // The file of the Stack has the same name in most directories, so it counts only if a reading has no other file.
        let is_other = |file: &&String| Some(*file) != self.stack.as_ref();
        let both_have_others =
            last.files.iter().any(|file| is_other(&file)) && self.files.iter().any(|file| is_other(&file));
        let counts = |file: &&String| !both_have_others || is_other(file);
        let shares_one = last.files.iter().filter(counts).any(|file| self.files.contains(file));
        let differs = !shares_one && !last.files.is_empty() && !self.files.is_empty();
        differs.then_some(Doubt::OtherFiles)
    }

    /// Returns what a ledger stores about this reading after `last`. `is_given`: whether an object of the ledger was declared in a directory.
    pub fn remembered(&self, last: Option<&LastReading>, is_given: impl Fn(&str) -> bool) -> LastReading {
        let here = self.directories.iter().filter(|(name, elsewhere)| **elsewhere && self.holds_manifests(name));
        let mut mounts: BTreeSet<String> = here.map(|(name, _)| name.clone()).collect();
        let still = |name: &&String| !self.holds_manifests(name) && is_given(name);
        mounts.extend(last.into_iter().flat_map(|last| &last.mounts).filter(still).cloned());
        let mut untracked = self.untracked.clone();
        untracked.extend(last.into_iter().flat_map(|last| &last.untracked).filter(still).cloned());
        // Keep the path in a repository that cannot be read this time.
        let below = self.below.clone().or_else(|| last?.below.clone());
        LastReading { below, files: self.files.clone(), mounts, untracked }
    }
}

/// Returns the directories above a file, the nearest first, without SPECS itself.
pub(super) fn ancestors(file: &str) -> impl Iterator<Item = &str> {
    let up = |path: &str| path.rfind('/').filter(|at| *at > 0);
    let relative = Some(file).filter(|file| !file.starts_with('/'));
    std::iter::successors(relative, move |path| up(path).map(|at| &path[..at])).skip(1)
}
