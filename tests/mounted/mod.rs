//! File systems made and mounted for a test. It takes root and loop devices.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A new file system in a sparse image, mounted until this is dropped, also by a panic.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mounted {
    /// Of a kind, made by a package of Debian's, with so many bytes and with more options of its `mkfs`.
    pub(crate) fn new(kind: &str, package: &str, size: u64, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        std::fs::File::create(&image).unwrap().set_len(size).unwrap();
        std::fs::create_dir(&at).unwrap();
        let make = format!("mkfs.{kind}");
        let options: Vec<&str> = ["-q"].into_iter().chain(options.iter().copied()).collect();
        run(&make, &options, &[&image], &format!("install the package {package}"));
        let advice = "it takes root and loop devices; the package is mount";
        run("mount", &["-t", kind, "-o", "loop"], &[&image, &at], advice);
        Self { at, _dir: dir }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: what a test that failed still has open must not keep the image mounted for ever.
        run("umount", &["--lazy"], &[&self.at], "the package is mount");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "making and mounting file systems is what this test needs other programs for"
)]
pub(crate) fn run(program: &str, options: &[&str], operands: &[&Path], advice: &str) {
    match Command::new(program).args(options).args(operands).output() {
        Ok(output) if output.status.success() => (),
        Ok(output) => panic!("{program} failed ({advice}): {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{program} cannot be run ({advice}): {error}"),
    }
}
