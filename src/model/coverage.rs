//! What a reading of the manifests covers, and what makes it doubtful that an object it does not name was removed from them.
//!
//! The reading carries facts (files, directories, the commit that is checked out) and this module judges them. It does no input or
//! output. What must be known of earlier readings is in the ledger of the object's pool, so that a lost store loses no protection.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How much a reading withdraws by not naming it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Extent {
    /// A directory, or a file or standard input with `--prune`: everything that it does not name.
    #[default]
    Whole,
    /// A file or standard input: nothing.
    Partial,
    /// The file that `kiln watch FILE` follows: what this file declared before.
    OneFile,
}

/// What a reading covers, with the facts from which that is judged. Paths are relative to SPECS, with `/` between their parts; the
/// file of a reading of a single file has its name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Coverage {
    /// How much it withdraws.
    pub extent: Extent,
    /// SPECS, as in the places of documents.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// The absolute path of a single file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether it is standard input, whose end may be that of a pipe cut short.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// The files that were read.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub files: BTreeSet<String>,
    /// The file of the Stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Files of white space alone that the commit does not hold like that, or that no commit holds.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub emptied: BTreeSet<String>,
    /// The directories below SPECS, and whether each lies on another file system than SPECS.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub directories: BTreeMap<String, bool>,
    /// Directories that hold manifests in the commit that is checked out, or are submodules there, and hold none here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub not_checked_out: BTreeSet<String>,
    /// Where SPECS lies below the Git work tree that it lies in, whether or not a commit holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Directories that hold manifests here, and none in the commit that is checked out.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub untracked: BTreeSet<String>,
    /// Where SPECS lies below its Git work tree. None outside of Git, before the first commit, and where Git cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Whether these files have been as they are for less time than a vanished directory waits, as far as is known: it may come back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub young: bool,
    /// Until when young files are so, in seconds since 1970. None where a command reads once, and knows nothing of the time before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub young_until: Option<u64>,
}

/// What the ledger keeps of the last whole reading that withdrew what it did not name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LastReading {
    /// Where SPECS lay below its Git work tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Its files.
    pub files: BTreeSet<String>,
    /// Directories that lay on another file system than SPECS.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub mounts: BTreeSet<String>,
    /// Directories that held manifests, and none in the commit: what Git cannot say of them is asked as outside of Git.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub untracked: BTreeSet<String>,
}

/// Why an object that a reading does not name may be declared all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Some manifest has a problem.
    Problem,
    /// The manifests were read once only.
    ReadOnce,
    /// This directory is gone, and has not been gone for long as far as is known. If it is known until when it is to be waited for, in
    /// seconds since 1970.
    Vanished(String, Option<u64>),
    /// This directory holds manifests in the commit that is checked out, or is a submodule, and holds none here.
    NotCheckedOut(String),
    /// This directory is gone, and SPECS, which lay in a Git work tree, does not now as far as can be read.
    GitUnreadable(String),
    /// This directory lay on another file system, and is not there.
    Unmounted(String),
    /// This directory exists without manifests.
    Bare(String),
    /// This file holds white space alone.
    Emptied(String),
    /// The reading shares no file with the last whole one.
    OtherFiles,
    /// SPECS lay here in its work tree, and lies elsewhere now.
    OtherPlace(String),
}

impl Doubt {
    /// Whether a person may say that the object is withdrawn all the same. The other doubts end within seconds or with the manifests'
    /// problem.
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
    /// Makes a reading of a file or of standard input a whole one: `--prune`.
    pub fn prune(&mut self) {
        self.extent = Extent::Whole;
    }

    /// Whether it is whole only because of `--prune`.
    pub fn is_pruned(&self) -> bool {
        self.extent == Extent::Whole && (self.stdin || self.file.is_some())
    }

    /// What messages call the source.
    pub fn called(&self) -> &str {
        if self.stdin { "standard input" } else { &self.root }
    }

    /// Whether a manifest was read in a directory or below it.
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

    /// The highest directory above a file that is gone (the others went with it), if Git cannot say that it was removed.
    pub(super) fn vanished<'f>(&self, declared_in: &'f str, last: Option<&LastReading>) -> Option<&'f str> {
        if self.file.is_some() || self.stdin {
            return None;
        }
        let unknown_to_git = |directory: &&str| self.is_unknown_to_git(directory, last);
        let above = ancestors(declared_in).filter(unknown_to_git);
        above.take_while(|directory| !self.directories.contains_key(*directory)).last()
    }

    /// Of a directory that the commit never held, Git says as little as outside of Git.
    fn is_unknown_to_git(&self, directory: &str, last: Option<&LastReading>) -> bool {
        self.below.is_none() || last.is_some_and(|last| last.untracked.contains(directory))
    }

    /// Whether SPECS is not what was last read whole.
    pub(super) fn differs_from(&self, last: &LastReading) -> Option<Doubt> {
        if let (Some(before), Some(now)) = (&last.below, self.place.as_ref().or(self.below.as_ref()))
            && before != now
        {
            return Some(Doubt::OtherPlace(before.clone()));
        }
        // The Stack's own file has the same name in most directories, so the others tell, where both readings have others.
        let is_other = |file: &&String| Some(*file) != self.stack.as_ref();
        let both_have_others =
            last.files.iter().any(|file| is_other(&file)) && self.files.iter().any(|file| is_other(&file));
        let counts = |file: &&String| !both_have_others || is_other(file);
        let shares_one = last.files.iter().filter(counts).any(|file| self.files.contains(file));
        let differs = !shares_one && !last.files.is_empty() && !self.files.is_empty();
        differs.then_some(Doubt::OtherFiles)
    }

    /// What a ledger keeps of this reading after `last`. `is_given`: whether an object of the ledger is declared in a directory.
    pub fn remembered(&self, last: Option<&LastReading>, is_given: impl Fn(&str) -> bool) -> LastReading {
        let here = self.directories.iter().filter(|(name, elsewhere)| **elsewhere && self.holds_manifests(name));
        let mut mounts: BTreeSet<String> = here.map(|(name, _)| name.clone()).collect();
        let still = |name: &&String| !self.holds_manifests(name) && is_given(name);
        mounts.extend(last.into_iter().flat_map(|last| &last.mounts).filter(still).cloned());
        let mut untracked = self.untracked.clone();
        untracked.extend(last.into_iter().flat_map(|last| &last.untracked).filter(still).cloned());
        // A repository that cannot be read for once is not forgotten.
        let below = self.below.clone().or_else(|| last?.below.clone());
        LastReading { below, files: self.files.clone(), mounts, untracked }
    }
}

/// The directories above a file, the nearest first, without SPECS itself.
pub(super) fn ancestors(file: &str) -> impl Iterator<Item = &str> {
    let up = |path: &str| path.rfind('/').filter(|at| *at > 0);
    let relative = Some(file).filter(|file| !file.starts_with('/'));
    std::iter::successors(relative, move |path| up(path).map(|at| &path[..at])).skip(1)
}
