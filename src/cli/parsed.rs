//! What manifests came to, kept beside the store. Where it cannot be read or written, files are just parsed again.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::manifest::Parsed;

const NAME: &str = "parsed";

/// What is known of manifests; none where this program cannot be told from others.
pub(crate) fn read(state: &Path) -> Option<Parsed> {
    let reader = this_program()?;
    Some(match fs::read(state.join(NAME)) {
        Ok(bytes) => Parsed::read(reader, bytes),
        Err(_) => Parsed::nothing(reader),
    })
}

/// Keeps what manifests came to, as a whole or not at all.
pub(crate) fn write(state: &Path, parsed: &Parsed) {
    let beside = state.join(format!(".{NAME}.{}.tmp", std::process::id()));
    if let Err(error) = write_to(&beside, parsed).and_then(|()| fs::rename(&beside, state.join(NAME))) {
        tracing::debug!(%error, "what manifests came to is not kept");
        // It may never have been there.
        let _ = fs::remove_file(&beside);
    }
}

fn write_to(path: &Path, parsed: &Parsed) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut file = BufWriter::new(file);
    // Not synced: a file that a crash cut short does not have its checksum.
    parsed.write(&mut file)?;
    file.flush()
}

/// This very build: another one may read the same bytes another way.
fn this_program() -> Option<String> {
    let file = fs::metadata(std::env::current_exe().ok()?).ok()?;
    let version = env!("CARGO_PKG_VERSION");
    let changed = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
    Some(format!("{version} {}:{} {} {changed:?}", file.dev(), file.ino(), file.size()))
}
