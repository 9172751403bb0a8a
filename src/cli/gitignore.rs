//! What Git should ignore beside new manifests: the store and the pool.

use std::fs;
use std::path::{Path, PathBuf};

/// A `.gitignore`, and the lines that it should have.
#[derive(Debug, PartialEq)]
pub(crate) struct GitIgnore {
    /// The file.
    pub(crate) path: PathBuf,
    /// The lines that it lacks; all if it does not exist.
    pub(crate) lines: Vec<String>,
    /// Whether it exists.
    pub(crate) exists: bool,
    /// Whether its last line has no end, so that what is appended would continue that line.
    pub(crate) is_open: bool,
}

impl GitIgnore {
    /// Returns the file for a directory of manifests: in the working directory if that contains it, and not above the work tree; without a
    /// work tree, only beside the manifests. None if there is nothing to ignore below it, or if it has all lines. All paths are absolute,
    /// without links.
    pub(crate) fn new(manifests: &Path, working: &Path, state: &Path) -> Option<Self> {
        let tree = manifests.ancestors().find(|above| above.join(".git").exists());
        let beside = manifests.parent()?;
        let base = match tree {
            Some(_) if manifests.starts_with(working) => working,
            None if beside != working && manifests != working => return None,
            None => working,
            Some(_) => beside,
        };
        let base = tree.filter(|tree| !base.starts_with(tree)).unwrap_or(base);
        let pool = beside.join("pool");
        let lines: Vec<String> = [pool.as_path(), state].into_iter().filter_map(|path| line(path, base)).collect();
        let path = base.join(".gitignore");
        let exists = fs::symlink_metadata(&path).is_ok();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let is_open = !text.is_empty() && !text.ends_with('\n');
        let plain =
            |line: &str| line.trim().trim_start_matches('/').trim_end_matches("/*").trim_end_matches('/').to_owned();
        let has = |wanted: &str| text.lines().any(|line| plain(line) == plain(wanted));
        let lines: Vec<String> = lines.into_iter().filter(|line| !has(line)).collect();
        (!lines.is_empty()).then_some(Self { path, lines, exists, is_open })
    }

    /// Returns the content of a new file.
    pub(crate) fn text(&self) -> String {
        format!("# The pool and the store of Kiln.\n{}\n", self.lines.join("\n"))
    }
}

/// Returns the line that ignores a directory below another.
fn line(path: &Path, base: &Path) -> Option<String> {
    let below = path.strip_prefix(base).ok()?.to_str().filter(|below| !below.is_empty())?;
    let mut line = String::from("/");
    for c in below.chars() {
        if matches!(c, '*' | '?' | '[' | '\\' | ' ') {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('/');
    (!line.contains('\n')).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(manifests: &Path, working: &Path, state: &Path) -> Option<(PathBuf, String)> {
        let found = GitIgnore::new(manifests, working, state)?;
        Some((found.path.clone(), found.lines.join(" ")))
    }

    #[test]
    fn the_pool_and_the_store_are_ignored_where_git_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let file = |below: &str| top.join(below).join(".gitignore");
        let all = |below: &str, lines: &str| Some((file(below), lines.to_owned()));
        for below in ["repo/deploy/specs", "plain/specs"] {
            fs::create_dir_all(top.join(below)).unwrap();
        }
        fs::create_dir(top.join("repo/.git")).unwrap();
        let plain = top.join("plain");
        let state = plain.join("state");
        assert_eq!(ignored(&plain.join("specs"), &plain, &state), all("plain", "/pool/ /state/"));
        assert_eq!(ignored(&plain.join("a/specs"), &plain, &state), None, "not beside the manifests, without Git");
        // In the directory of the manifests itself, the pool is outside.
        assert_eq!(ignored(&plain, &plain, &state), all("plain", "/state/"));
        assert_eq!(ignored(&plain.join("specs"), &plain, Path::new("/var/lib/kiln")), all("plain", "/pool/"));
        assert_eq!(ignored(&plain.join("specs"), &top.join("repo"), &state), None, "elsewhere, without Git");
        let specs = top.join("repo/deploy/specs");
        let state = top.join("repo/state");
        assert_eq!(ignored(&specs, &top.join("repo"), &state), all("repo", "/deploy/pool/ /state/"));
        assert_eq!(ignored(&top.join("repo/a b/c"), &top.join("repo"), &state), all("repo", "/a\\ b/pool/ /state/"));
        assert_eq!(ignored(&specs, &top, &top.join("state")), all("repo", "/deploy/pool/"), "not above the work tree");
        assert_eq!(ignored(&specs, &plain, &plain.join("state")), all("repo/deploy", "/pool/"));
    }

    #[test]
    fn lines_that_a_file_has_are_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let (specs, state) = (top.join("specs"), top.join("state"));
        let lines = |text: &str| {
            fs::write(top.join(".gitignore"), text).unwrap();
            GitIgnore::new(&specs, &top, &state).map(|found| (found.exists, found.lines.join(" ")))
        };
        assert_eq!(lines(""), Some((true, "/pool/ /state/".to_owned())));
        assert_eq!(lines("target\n/state/*\n"), Some((true, "/pool/".to_owned())));
        assert_eq!(lines("pool\nstate/\n"), None);
        assert_eq!(lines("# /pool/\nspool/\n/state"), Some((true, "/pool/".to_owned())));
    }
}
