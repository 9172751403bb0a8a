//! Every driver keeps the contract of `kiln::driver`: the same claims, on every backend that can be had here.
//!
//! The local driver is held to it on the file system of the temporary directory, whatever that is, and in images mounted for the test
//! on ext4 (where a copy is made byte by byte) and on XFS and btrfs (which can share blocks between files). That needs root, loop
//! devices, e2fsprogs, xfsprogs and btrfs-progs; without them those tests fail and say so, since a contract that was not looked at is
//! not kept.

#![expect(
    clippy::unwrap_used,
    reason = "in a test it is an assertion; clippy.toml excuses only functions marked as tests"
)]

#[path = "conformance/mod.rs"]
mod suite;

use std::path::{Path, PathBuf};
use std::process::Command;

use suite::{LocalBench, SimBench, hold_all};

#[test]
fn the_simulator_in_memory() {
    hold_all("the simulator in memory", |_| SimBench::in_memory());
}

#[test]
fn the_simulator_in_a_file() {
    hold_all("the simulator in a file", |_| SimBench::in_a_file());
}

#[test]
fn a_simulator_that_can_do_little() {
    hold_all("a simulator that can do little", |_| {
        SimBench::able_to(|can| {
            can.granularity = 1 << 22;
            can.thick = false;
            can.snapshot_while_open = false;
            can.grow_while_open = false;
            can.clones_depend = false;
            can.clone_volume = false;
            can.restore = false;
            can.rename = false;
            can.own_names = false;
            can.adopt = false;
            can.detach = false;
        })
    });
}

#[test]
fn local_on_the_file_system_of_the_temporary_directory() {
    let dir = tempfile::tempdir().unwrap();
    hold_all("local", |_| LocalBench::below(dir.path()));
}

#[test]
fn local_on_ext4() {
    // As large as that of XFS: what fits there must fit here, and the image is sparse.
    let mount = Mounted::new("ext4", "e2fsprogs", 320 << 20);
    hold_all("local on ext4", |_| LocalBench::below(&mount.at));
}

#[test]
fn local_on_xfs() {
    // Below 300 MB, mkfs.xfs makes nothing.
    let mount = Mounted::new("xfs", "xfsprogs", 320 << 20);
    hold_all("local on XFS", |_| LocalBench::below(&mount.at));
}

#[test]
fn local_on_btrfs() {
    // Below 109 MiB, mkfs.btrfs makes nothing.
    let mount = Mounted::new("btrfs", "btrfs-progs", 512 << 20);
    hold_all("local on btrfs", |_| LocalBench::below(&mount.at));
}

/// A new file system in a sparse image, mounted until this is dropped, also by a panic.
struct Mounted {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mounted {
    fn new(kind: &str, package: &str, size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        std::fs::File::create(&image).unwrap().set_len(size).unwrap();
        std::fs::create_dir(&at).unwrap();
        let make = format!("mkfs.{kind}");
        run(&make, &["-q"], &[&image], &format!("install the package {package}"));
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
fn run(program: &str, options: &[&str], operands: &[&Path], advice: &str) {
    match Command::new(program).args(options).args(operands).output() {
        Ok(output) if output.status.success() => (),
        Ok(output) => panic!("{program} failed ({advice}): {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{program} cannot be run ({advice}): {error}"),
    }
}
