//! What a run is chosen by: a seed, from the environment or from the commit that is checked out.

use std::fs;
use std::path::Path;

/// Returns a number from the environment.
#[expect(clippy::disallowed_methods, reason = "a test is told its seeds by the environment")]
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Returns a text from the environment; empty if there is none.
#[expect(clippy::disallowed_methods, reason = "a test is told its cases by the environment")]
pub fn text(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Whether everything is to be tried.
pub fn is_full() -> bool {
    number("KILN_FULL").is_some_and(|full| full > 0)
}

/// Returns the seed of this run: `KILN_SEED`, a number or the id of a commit; or else the first digits of the commit that is checked out.
/// Each commit tries another sample, and each run of a commit the same.
pub fn seed() -> u64 {
    let given = text("KILN_SEED");
    let id = if given.is_empty() { head().unwrap_or_default() } else { given };
    id.parse().ok().or_else(|| u64::from_str_radix(id.get(..8)?, 16).ok()).unwrap_or(0)
}

/// Reads the id of the commit from the files of Git: a configuration of Git could name commands.
fn head() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dot_git = root.join(".git");
    // In a work tree of its own, it is a file that names the directory.
    let git = match fs::read_to_string(&dot_git) {
        Ok(text) => root.join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => dot_git,
    };
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return Some(head.trim().to_owned()) };
    let common = fs::read_to_string(git.join("commondir")).map(|dir| git.join(dir.trim())).unwrap_or(git);
    let packed = || {
        let refs = fs::read_to_string(common.join("packed-refs")).ok()?;
        refs.lines().find_map(|line| line.strip_suffix(name).map(|id| id.trim().to_owned()))
    };
    fs::read_to_string(common.join(name)).ok().map(|id| id.trim().to_owned()).or_else(packed)
}
