//! Manifests in the working directory, where SPECS do not exist.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Entries of the working directory that are read. It may be any directory.
const ENTRIES: usize = 200;

/// Bytes of a file that are read. A manifest begins with its `apiVersion`, below comments at most.
const BEGINNING: u64 = 4096;

/// Returns the hint for SPECS that do not exist, if the working directory contains manifests.
pub(super) fn hint() -> Option<String> {
    let entries = fs::read_dir(".").ok()?.take(ENTRIES).flatten();
    let mut files = entries.map(|entry| entry.path()).filter(|path| {
        // Opening a pipe would wait for its writer.
        path.extension().is_some_and(|end| end == "yaml" || end == "yml") && path.is_file()
    });
    let hint = "the working directory contains manifests: name it, as in `kiln check .` or `kiln get --specs .`";
    files.any(|path| is_manifest(&path)).then(|| hint.to_owned())
}

/// Whether a YAML file declares an object of Kiln.
fn is_manifest(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let is_read = File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut bytes)).is_ok();
    let versions = |line: &str| line.strip_prefix("apiVersion:").map(|version| version.replace(['"', '\''], ""));
    is_read
        && String::from_utf8_lossy(&bytes)
            .lines()
            .filter_map(versions)
            .any(|version| version.trim_start().starts_with("kiln/"))
}
