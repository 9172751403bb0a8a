//! Saved plans as files: written whole or not at all, readable by their owner alone.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::failure::Failure;
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
    let name = path.file_name().ok_or_else(|| failed(&"it is no file name"))?;
    let beside = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write(&beside, text.as_bytes()).and_then(|()| fs::rename(&beside, path));
    written.and_then(|()| sync_directory(path)).map_err(|error| {
        // It may never have been there; and what could not be written is worth no second message.
        let _ = fs::remove_file(&beside);
        failed(&error)
    })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A plan names every object and where it is: nobody else's business until its owner says so.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf))?.sync_all()
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
            .hint("make a new one with `kiln plan --out FILE`")),
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
