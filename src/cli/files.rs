//! Files that a command writes together, and the schema that manifests point editors to.

use std::fs;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::failure::Failure;
use crate::driver::NewFile;
use crate::manifest;

/// The schema of manifests, written beside them. The reader skips it.
const SCHEMA: &str = "kiln.schema.json";

/// Returns the first line of a manifest, which points editors to the schema.
pub(crate) fn modeline() -> String {
    format!("# yaml-language-server: $schema=./{SCHEMA}\n")
}

/// Returns the path and the content of the schema in a directory of manifests; None if the file exists.
pub(crate) fn missing_schema(dir: &Path) -> Option<(PathBuf, String)> {
    let path = dir.join(SCHEMA);
    let text = || serde_json::to_string_pretty(&manifest::schema(None)).unwrap_or_default() + "\n";
    fs::symlink_metadata(&path).is_err().then(|| (path, text()))
}

/// Creates a directory, with those above it.
///
/// # Errors
/// Exit code 2 if there is something else in its place; exit code 1 if it cannot be created.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Failure> {
    let shown = dir.display();
    fs::create_dir_all(dir).map_err(|error| {
        let there = dir.ancestors().find(|above| fs::symlink_metadata(above).is_ok());
        match there.filter(|there| !there.is_dir()) {
            Some(there) => Failure::new(Exit::Usage, format!("{} exists and is no directory", there.display()))
                .hint("nothing was written: choose another directory, or move that file"),
            None => Failure::new(Exit::Failed, format!("the directory {shown} cannot be created: {error}"))
                .hint("nothing was written: choose a directory that you may write to"),
        }
    })
}

/// Writes files: all of them or none. Overwrites nothing.
///
/// # Errors
/// Exit code 1 if a file exists or cannot be written.
pub(crate) fn write_new(files: Vec<(PathBuf, String)>) -> Result<(), Failure> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("{} cannot be written: {error}", path.display()))
    };
    // All are written before the first is moved to its place.
    let begin = |(path, text): (PathBuf, String)| {
        let file = NewFile::begin(&path, 0o666).and_then(|file| file.write(text.as_bytes()).map(|()| file));
        file.map(|file| (path.clone(), file)).map_err(|error| failed(&path, &error))
    };
    let files = files.into_iter().map(begin).collect::<Result<Vec<_>, _>>()?;
    let mut published = Vec::new();
    for (path, file) in files {
        if let Err(error) = file.publish(false) {
            for path in &published {
                let _ = fs::remove_file(path);
            }
            return Err(failed(&path, &error));
        }
        published.push(path);
    }
    Ok(())
}
