//! What Kiln believes of a pool, and what it does not: ledgers and stores that cannot be read, pools that were rolled back, losses
//! that a person accepted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::sandbox::{Ran, Sandbox};

/// Nobody, and not root.
const OTHER: u32 = 65_534;

/// Runs `kiln` as a user who can read everything but these paths.
fn without_access(sandbox: &Sandbox, paths: &[&str], arguments: &str) -> Ran {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.current_dir(sandbox.path(".")).args(arguments.split_whitespace()).env_remove("KILN_STATE");
    if is_root {
        give(&sandbox.path("."), OTHER);
        paths.iter().for_each(|path| give(&sandbox.path(path), 0));
        command.uid(OTHER).gid(OTHER);
    }
    let modes: Vec<_> = paths.iter().map(|path| fs::metadata(sandbox.path(path)).unwrap().permissions()).collect();
    for path in paths {
        fs::set_permissions(sandbox.path(path), fs::Permissions::from_mode(0)).unwrap();
    }
    let ran = Ran::of(command.output().unwrap());
    for (path, mode) in paths.iter().zip(modes) {
        fs::set_permissions(sandbox.path(path), mode).unwrap();
    }
    ran
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path(), user)
        } else {
            chown(entry.path(), Some(user), Some(user)).unwrap()
        }
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn an_unreadable_ledger_lets_nothing_be_grown_back_or_made_anew() {
    let sandbox = Sandbox::with_stack();
    for name in ["cut", "lost", "other"] {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.kiln("apply").ends(0);
    let (cut, lost) = (sandbox.data_file("volume/cut"), sandbox.data_file("volume/lost"));
    // The copy before the newest knows of no volume.
    let old = sandbox.path("pool/.kiln-pool/prod.ledger.old");
    assert!(
        !fs::read_to_string(&old).unwrap().contains("kiln.prod.cut"),
        "what the older copy knows makes no difference"
    );
    fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(4096).unwrap();
    fs::remove_dir_all(lost.parent().unwrap()).unwrap();
    let ledger = "pool/.kiln-pool/prod.ledger";
    let before = sandbox.tree("pool/.kiln-pool");
    for state in ["state", "elsewhere"] {
        for command in ["plan", "apply --yes", "forget backend/fast"] {
            let ran = without_access(&sandbox, &[ledger], &format!("{command} --state {state}")).ends(6);
            let said = format!("{}{}", ran.out, ran.err);
            assert!(said.contains("prod.ledger cannot be read: Permission denied"), "{said}");
        }
    }
    assert_eq!(length(&cut), 4096, "it was grown back as zeroes");
    assert!(!lost.exists(), "it was made anew");
    let without_lock = |tree: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
        tree.into_iter().filter(|(path, _)| path.extension().is_none_or(|end| end != "lock")).collect()
    };
    assert_eq!(without_lock(sandbox.tree("pool/.kiln-pool")), without_lock(before), "the ledger was written over");
    sandbox.kiln("apply").ends(4).says("Lost");
}

#[test]
fn a_store_that_cannot_be_read_is_not_set_aside_as_damaged() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    let ran = without_access(&sandbox, &["state/db"], "apply").ends(7);
    assert!(!ran.err.contains("damaged"), "{}", ran.err);
    assert_eq!(
        fs::read_dir(sandbox.path("state"))
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("damaged"))
            .count(),
        0
    );
    sandbox.kiln("log").ends(0).says("volume/db");
}
