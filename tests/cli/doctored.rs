//! `kiln doctor` finds what keeps `kiln apply` from beginning.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{Ran, STACK, Sandbox, pin};

/// A tmpfs, unmounted when it is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn at(path: PathBuf, options: &str) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "none"], &path);
        Self(path)
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}")], &self.0);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "what keeps a store from being written is made by the host")]
fn run(program: &str, options: &[&str], path: &Path) {
    let output = Command::new(program).args(options).arg(path).output().unwrap();
    assert!(output.status.success(), "{program}: {} (mounting takes root)", String::from_utf8_lossy(&output.stderr));
}

fn with_db() -> Sandbox {
    Sandbox::with_volumes(&["db"])
}

#[track_caller]
fn both_end_with_7(sandbox: &Sandbox, why: &str) {
    sandbox.kiln("apply").ends(7).warns(why);
    sandbox.kiln("doctor").ends(7).says("store  Unusable: ").says(why).says("use another store: --state DIR");
}

#[test]
fn doctor_finds_a_store_without_room_and_one_that_is_read_only() {
    let sandbox = with_db();
    sandbox.kiln("doctor").ends(0).says("No problems found.");
    assert!(!sandbox.has("state"), "doctor makes no store");
    let state = Tmpfs::at(sandbox.path("state"), "size=256k");
    both_end_with_7(&sandbox, "no space is left");
    state.remount("size=64m");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("doctor").ends(0).says("No problems found.");
    let filler = sandbox.path("state/filler");
    // The store itself has its room already: what is missing is that for the next records.
    let filled = std::fs::write(&filler, vec![1; 64 << 20]);
    assert!(filled.is_err(), "the file system is not full");
    both_end_with_7(&sandbox, "no space is left");
    std::fs::remove_file(filler).unwrap();
    state.remount("ro");
    both_end_with_7(&sandbox, "the file system is read-only");
    drop(state);
    // A store that is not there yet, where none can be made.
    let above = Tmpfs::at(sandbox.path("above"), "ro");
    let missing = "--state above/sub/state";
    sandbox.kiln(&format!("apply {missing}")).ends(7).warns("read-only");
    sandbox.kiln(&format!("doctor {missing}")).ends(7).says("store  Unusable: ").says("read-only");
    above.remount("rw");
    sandbox.kiln(&format!("doctor {missing}")).ends(0);
    assert_eq!(std::fs::read_dir(&above.0).unwrap().count(), 0, "doctor leaves nothing behind");
}

/// Nobody, and not root.
const OTHER: u32 = 65_534;

/// Runs `kiln` as a user to whom everything belongs but `state`, which nobody but root may read.
fn without_the_store(sandbox: &Sandbox, arguments: &str) -> Ran {
    fn give(path: &Path) {
        chown(path, Some(OTHER), Some(OTHER)).unwrap();
        for entry in std::fs::read_dir(path).into_iter().flatten() {
            give(&entry.unwrap().path());
        }
    }
    let state = sandbox.path("state");
    if rustix::process::geteuid().is_root() {
        give(&sandbox.path("."));
        chown(&state, Some(0), Some(0)).unwrap();
    }
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o000)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the program under test, as another user")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.current_dir(sandbox.path(".")).args(arguments.split(' ')).env_remove("KILN_STATE");
    if rustix::process::geteuid().is_root() {
        command.uid(OTHER).gid(OTHER);
    }
    let output = command.output().unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_store_that_cannot_be_read_is_neither_damaged_nor_empty() {
    let sandbox = with_db();
    sandbox.kiln("apply").ends(0);
    without_the_store(&sandbox, "apply").ends(7);
    let told = without_the_store(&sandbox, "doctor").ends(7).says("store  Unusable: ");
    assert!(!told.out.contains("Damaged") && !told.out.contains("nothing is lost"), "{}", told.out);
    for command in ["log", "log -o json"] {
        let told = without_the_store(&sandbox, command).ends(7).warns("state is not used: its lock cannot be opened");
        assert!(!told.out.contains("No steps recorded"), "{}", told.out);
    }
    sandbox.kiln("log").ends(0).says("volume/db");
    // Nor is a damaged one empty.
    std::fs::write(sandbox.path("state/db/db"), b"no database").unwrap();
    sandbox.kiln("log").ends(7).warns("it is damaged").warns("`kiln apply` sets it aside");
    sandbox.kiln("doctor").ends(7).says("store  Damaged: ");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("log").ends(0);
}

#[test]
fn doctor_finds_a_file_of_the_store_that_cannot_be_written() {
    let sandbox = with_db();
    sandbox.kiln("apply").ends(0);
    let mark = sandbox.path("state/mark");
    let set = |pinned: bool| match rustix::process::geteuid().is_root() {
        true => pin(&mark, pinned),
        false => {
            let mode = std::fs::Permissions::from_mode(if pinned { 0o400 } else { 0o600 });
            std::fs::set_permissions(&mark, mode).unwrap();
        }
    };
    set(true);
    let found = sandbox.kiln("doctor");
    let applied = sandbox.kiln("apply");
    set(false);
    found.ends(7).says("store  Unusable: ").says("state/mark");
    applied.ends(7);
    sandbox.kiln("doctor").ends(0);
}

#[test]
fn doctor_prints_the_command_that_makes_a_missing_pool() {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", &STACK.replace(", create: true", ""));
    let missing = |sandbox: &Sandbox, command: &str| {
        let told = sandbox.kiln(command).ends(6).says("/pool does not exist");
        let (_, fix) =
            told.out.split_once("for a new pool, `mkdir -p ").unwrap_or_else(|| panic!("no command in {told:?}"));
        format!("mkdir -p {}", fix.split_once('`').unwrap().0)
    };
    // Without any object on it, and with one.
    let command = missing(&sandbox, "doctor");
    sandbox.volume("db", "size: 1Mi");
    assert_eq!(missing(&sandbox, "doctor"), command);
    assert_eq!(missing(&sandbox, "apply"), command);
    assert_cmd::Command::new("/bin/sh").args(["-c", &command]).current_dir(sandbox.path("")).assert().success();
    sandbox.kiln("apply").ends(0).says("created volume/db");
    sandbox.kiln("doctor").ends(0).says("No problems found.");
}

#[test]
fn a_hold_names_the_line_to_change() {
    let sandbox = with_db();
    sandbox.kiln("apply").ends(0);
    sandbox.volume("db", "size: 512Ki");
    sandbox.kiln("plan").ends(4).says("fix: write `size: 1Mi` (./specs/db.yaml:4:23), or");
    sandbox.kiln("doctor").ends(4).says("fix: write `size: 1Mi` (./specs/db.yaml:4:23), or");
}
