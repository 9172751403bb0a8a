//! Stacks near a directory that `kiln init` writes to: above and below it, where one reading would have two, and beside it.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns a manifest with a Stack in a directory above `dir`, or in one directly below it. `dir`: absolute; it need not exist.
pub(super) fn around(dir: &Path) -> Option<PathBuf> {
    // Without `..`, which would lead through directories that are not above it.
    let above = dir.ancestors().skip(1).find_map(|above| fs::canonicalize(above).ok())?;
    above.ancestors().find_map(stack_in).or_else(|| entries(dir).into_iter().find_map(|below| stack_in(&below)))
}

/// Returns the manifest of a Stack that `kiln init` wrote beside `dir`: to another directory of its parent, or to the directory of this
/// name in another directory of `working`, as in `prod/specs` and `test/specs`. Both paths are canonical.
pub(super) fn beside(dir: &Path, working: &Path) -> Option<PathBuf> {
    let (parent, name) = (dir.parent()?, dir.file_name()?);
    let mut near = entries(parent);
    let above = parent.parent().filter(|above| above.starts_with(working));
    near.extend(above.into_iter().flat_map(entries).map(|other| other.join(name)));
    near.retain(|other| other != dir);
    near.into_iter().map(|other| other.join("kiln.yaml")).find(|file| is_stack(file))
}

/// Returns a manifest directly in `dir` that has a Stack.
fn stack_in(dir: &Path) -> Option<PathBuf> {
    entries(dir).into_iter().find(|path| is_stack(path))
}

/// Returns what is in a directory, in order of names; nothing if it cannot be read.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The most bytes of a manifest that is searched.
const SEARCHED: u64 = 1 << 20;

/// Whether a file is a manifest of Kiln with a Stack in it.
fn is_stack(path: &Path) -> bool {
    let is_yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    if !is_yaml || !fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= SEARCHED) {
        return false;
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    let has = |begin: &str| text.lines().any(|line| line.starts_with(begin));
    has("apiVersion: kiln/") && has("kind: Stack")
}
