//! Saved plans as files: complete or not written at all, readable by their owner only.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::exit::Exit;
use super::failure::Failure;
use crate::driver::NewFile;
use crate::plan::{NotSaved, Saved};

/// Writes a plan to a temporary file and renames it, so that a crash leaves the old file or the new one.
///
/// # Errors
/// Exit code 1 if the file cannot be written.
pub(crate) fn save(path: &Path, saved: &Saved) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("the plan cannot be saved as {}: {error}", path.display()))
            .hint("nothing was changed; choose another file with --out FILE")
    };
    let text = saved.to_json().map_err(|error| failed(&error))?;
    // A plan names every object and its place: only its owner may read it, until they change its mode.
    NewFile::begin(path, 0o600)
        .and_then(|file| {
            file.write(text.as_bytes())?;
            file.publish(true)
        })
        .map_err(|error| failed(&error))
}

/// Reads the saved plan in a file; none if it is something else, which is then read as manifests.
///
/// # Errors
/// Exit code 5 if it is a saved plan that cannot be used.
pub(crate) fn read(path: &Path) -> Result<Option<Saved>, Failure> {
    // The reader of manifests reports an unreadable file best.
    let Some(text) = read_json(path).ok().flatten() else { return Ok(None) };
    match Saved::parse(&text) {
        Ok(saved) => Ok(Some(saved)),
        Err(NotSaved::Other) => Ok(None),
        Err(error) => Err(Failure::new(Exit::Invalid, format!("{}: {error}", path.display()))
            .hint("save a new plan: `kiln plan SPECS --out FILE`")),
    }
}

/// Returns the text of a regular file that begins like a JSON object.
fn read_json(path: &Path) -> io::Result<Option<String>> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut file = fs::File::open(path)?;
    let mut first = [0; 1];
    if file.read(&mut first)? == 0 || first[0] != b'{' {
        return Ok(None);
    }
    let mut bytes = vec![b'{'];
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).ok())
}
