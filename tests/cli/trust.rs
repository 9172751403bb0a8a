//! What Kiln believes of a pool, and what it does not: ledgers and stores that cannot be read, pools that were rolled back, losses
//! that a person accepted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::decide::kiln_by;
use crate::sandbox::{Ran, STACK, Sandbox};

/// Nobody, and not root.
const OTHER: u32 = 65_534;

/// Runs `kiln` as a user who can read everything but these paths.
#[expect(clippy::disallowed_methods, reason = "only so can it be run as another user")]
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
        fs::set_permissions(sandbox.path(path), fs::Permissions::from_mode(0o000)).unwrap();
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
    let sandbox = Sandbox::with_volumes(&["cut", "lost", "other"]);
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
    let sandbox = Sandbox::with_volumes(&["db"]);
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

/// Cuts a volume's data file.
fn cut(sandbox: &Sandbox, name: &str) -> PathBuf {
    let file = sandbox.data_file(name);
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(4096).unwrap();
    file
}

#[test]
fn a_cut_volume_that_was_forgotten_keeps_its_size_until_growing_is_asked_for_anew() {
    let sandbox = Sandbox::with_volumes(&["a", "b", "c"]);
    sandbox.kiln("apply").ends(0);
    let files = ["volume/a", "volume/b", "volume/c"].map(|name| cut(&sandbox, name));
    sandbox.kiln("apply").ends(4).says("Lost");
    for name in ["a", "b", "c"] {
        let ran = kiln_by(&sandbox, "alice", &format!("forget volume/{name}")).ends(0);
        ran.says("is accepted as it is, with 4Ki").says("not grown back to 1Mi");
    }
    sandbox.kiln("log volume/a").ends(0).says("forget").says("accepted with 4Ki, instead of 1Mi, by alice");
    for state in ["state", "elsewhere"] {
        sandbox.kiln(&format!("apply --yes --state {state}")).ends(4).says("GrowRefused").says("write `size: 4Ki`");
    }
    assert_eq!(files.each_ref().map(|file| length(file)), [4096; 3], "they were grown back as zeroes");
    sandbox.kiln("forget volume/a").ends(2);
    // The three ways that the plan names.
    sandbox.volume("a", "size: 4Ki");
    sandbox.volume("b", "size: 2Mi");
    let ran = sandbox.kiln("apply").ends(4).says("GrowRefused");
    assert_eq!(files.each_ref().map(|file| length(file)), [4096, 2 << 20, 4096]);
    let digest = ran.out.split("kiln approve ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    sandbox.kiln(&format!("apply --approve {digest}")).ends(0).says("grew volume/c");
    assert_eq!(length(&files[2]), 1 << 20);
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a backup keeps owners, modes and times")]
fn a_pool_restored_from_a_backup_under_a_kept_store_is_not_grown_with_zeroes() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("apply").ends(0);
    let backup = Command::new("cp").args(["-a", "pool", "backup"]).current_dir(sandbox.path(".")).status().unwrap();
    assert!(backup.success());
    sandbox.volume("db", "size: 4Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("pool");
    fs::rename(sandbox.path("backup"), sandbox.path("pool")).unwrap();
    sandbox.kiln("plan").ends(6).says("BackendChanged").says("rolled back or restored from a backup");
    sandbox.kiln("apply --yes").ends(6);
    sandbox.kiln("forget backend/fast").ends(0).says("volume db (1Mi, was 4Mi)");
    let db = sandbox.data_file("volume/db");
    let digest = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    for command in ["apply --yes", "apply --state elsewhere"] {
        sandbox.kiln(command).ends(4).says("GrowRefused");
        assert_eq!(length(&db), 1 << 20);
    }
    sandbox.kiln(&format!("approve {digest}")).ends(0).says("grow to 4Mi");
    sandbox.kiln("apply").ends(0).says("grew volume/db");
    assert_eq!(length(&db), 4 << 20);
}

#[test]
fn a_volume_that_vanished_before_its_removal_is_lost_and_not_made_anew() {
    let sandbox = Sandbox::with_volumes(&["db", "other", "third"]);
    sandbox.kiln("apply").ends(0);
    let db = sandbox.data_file("volume/db");
    sandbox.remove("specs/db.yaml");
    // The removal is announced, and fails before the move: the trash is a file.
    sandbox.remove("pool/.trash");
    sandbox.write("pool/.trash", "");
    let ran = sandbox.kiln("apply --yes");
    assert_ne!(ran.code, 0, "{}", ran.out);
    sandbox.remove("pool/.trash");
    fs::remove_dir_all(db.parent().unwrap()).unwrap();
    sandbox.volume("db", "size: 1Mi");
    for state in ["state", "elsewhere"] {
        sandbox.kiln(&format!("apply --yes --state {state}")).ends(4).says("Lost");
        assert!(!db.exists());
    }
}

#[test]
fn a_trash_restore_brings_no_older_object_back_beside_one_that_cannot_be_observed() {
    let sandbox = Sandbox::with_stack();
    let second = "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: second}\n\
                  spec: {driver: local, local: {path: ../second, create: true}, maxFill: 100%}\n";
    sandbox.write("specs/stack.yaml", &format!("{STACK}{second}"));
    let on_second = |name| {
        let document = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: N}\nspec: {backend: second, size: 1Mi}\n";
        sandbox.write(&format!("specs/{name}.yaml"), &document.replace('N', name));
    };
    ["db", "other"].into_iter().for_each(on_second);
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0);
    // Declared again it would come back: so the trash is hidden while another is created under its name.
    fs::rename(sandbox.path("second/.trash"), sandbox.path("hidden")).unwrap();
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0).says("created volume/db on fast");
    fs::remove_dir(sandbox.path("second/.trash")).unwrap_or(());
    fs::rename(sandbox.path("hidden"), sandbox.path("second/.trash")).unwrap();
    fs::rename(sandbox.path("pool"), sandbox.path("away")).unwrap();
    sandbox.write("pool", "");
    let before = sandbox.tree("second/.trash");
    assert!(!before.is_empty());
    sandbox.kiln("trash restore volume/db").ends(6).warns("volume/db was last seen on fast, which was not observed");
    assert_eq!(sandbox.tree("second/.trash"), before);
}
