//! Saved plans as files: written whole or not at all, readable by their owner alone.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::exit::Exit;
use super::failure::Failure;
use crate::driver::NewFile;
use crate::plan::{NotSaved, Saved};

/// Writes a plan beside its place and moves it there, so that a crash leaves the old file or the new one.
///
/// # Errors
/// Exit code 1 if it cannot be written.
pub(crate) fn save(path: &Path, saved: &Saved) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("the plan cannot be saved as {}: {error}", path.display()))
            .hint("nothing was changed; give another place with --out FILE")
    };
    let text = saved.to_json().map_err(|error| failed(&error))?;
    // A plan names every object and where it is: for its owner alone, until that one says otherwise.
    NewFile::begin(path, 0o600)
        .and_then(|file| {
            file.write(text.as_bytes())?;
            file.publish(true)
        })
        .map_err(|error| failed(&error))
}

/// The saved plan in a file; none where SPECS is something else, which is then to be read as manifests.
///
/// # Errors
/// Exit code 5 if it is a saved plan that cannot be used.
pub(crate) fn read(path: &Path) -> Result<Option<Saved>, Failure> {
    // What cannot be read is a problem that the reader of manifests reports best.
    let Some(text) = read_json(path).ok().flatten() else { return Ok(None) };
    match Saved::parse(&text) {
        Ok(saved) => Ok(Some(saved)),
        Err(NotSaved::Other) => Ok(None),
        Err(error) => Err(Failure::new(Exit::Invalid, format!("{}: {error}", path.display()))
            .hint("make a new one with `kiln plan SPECS --out FILE`")),
    }
}

/// The text of a regular file that begins like a JSON object.
fn read_json(path: &Path) -> io::Result<Option<String>> {
    // Opening a pipe would wait for its other end.
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
