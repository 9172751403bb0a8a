//! Which system calls the binary makes so that what it says to be done survives a power cut. What follows from them is tried in the
//! drivers' and the store's own tests, on models of a disk; here they are seen to be made.

use std::fs;
use std::process::Command;

use crate::sandbox::Sandbox;

/// Runs `kiln` under `strace`; the successful calls of these kinds, in order, with the paths of their descriptors.
fn traced(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let out = sandbox.path("trace");
    #[expect(clippy::disallowed_methods, reason = "the tool that sees system calls; the package is strace")]
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "200", "-e", "trace=fsync,fdatasync,mkdirat,renameat2,ftruncate", "-o"])
        .arg(&out)
        .arg(env!("CARGO_BIN_EXE_kiln"))
        .args(arguments)
        .current_dir(sandbox.path(""))
        .env_remove("KILN_STATE")
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let trace = fs::read_to_string(&out).unwrap();
    // A call that another thread came between is told in two lines: its name and arguments are in the first.
    let calls = trace.lines().filter(|line| !line.contains("resumed>") && !line.contains("= -1"));
    calls.filter_map(|line| Some(line.split_once(' ')?.1.trim().to_owned())).collect()
}

/// Where a call with these words is, at or behind `from`.
#[track_caller]
fn call(calls: &[String], from: usize, words: &[&str]) -> usize {
    let found = calls[from..].iter().position(|call| words.iter().all(|word| call.contains(word)));
    from + found.unwrap_or_else(|| panic!("no {words:?} behind call {from} of {calls:#?}"))
}

#[test]
fn every_reported_step_was_synced_in_order() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi, protected: true");
    let calls = traced(&sandbox, &["apply"]);
    // The mark, the ledger, the intent, and only then the object.
    let id = call(&calls, 0, &["fsync", "/pool/.kiln-pool/id."]);
    let id = call(&calls, id, &["renameat2", "\"id\""]);
    let mark = call(&calls, id, &["fsync", "/pool/.kiln-pool>"]);
    let ledger = call(&calls, mark, &["fsync", "/pool/.kiln-pool/prod.ledger.new"]);
    let ledger = call(&calls, ledger, &["renameat2", "\"prod.ledger\""]);
    call(&calls, ledger, &["fsync", "/pool/.kiln-pool>"]);
    let made = call(&calls, 0, &["mkdirat", "kiln-tmp.prod.db"]);
    let intent = call(&calls, 0, &["fdatasync", "/state/db/db>"]);
    assert!(intent < made, "the intent is durable before its effect");
    let data = call(&calls, made, &["fsync", "/pool/kiln-tmp.prod.db", ".img>"]);
    let tags = call(&calls, made, &["fsync", "/pool/kiln-tmp.prod.db", "tags.json>"]);
    let publish = call(&calls, made, &["renameat2", "kiln-tmp.prod.db"]);
    let own = calls[made..publish].iter().rposition(|call| call.contains("fsync") && !call.contains(".img>"));
    assert!(data < publish && tags < publish && own.is_some());
    let root = call(&calls, publish, &["fsync", "/pool>"]);
    call(&calls, root, &["fdatasync", "/state/db/db>"]);

    let calls = traced(&sandbox, &["init", "new"]);
    let written = call(&calls, 0, &["fsync", "/new/.kiln.yaml.kiln-tmp>"]);
    let named = call(&calls, written, &["renameat2", "\"kiln.yaml\""]);
    call(&calls, named, &["fsync", "/new>"]);

    sandbox.volume("db", "size: 2Mi, protected: true, onRemove: Delete");
    let calls = traced(&sandbox, &["apply"]);
    let tags = call(&calls, 0, &["fsync", "tags.json.new"]);
    call(&calls, tags, &["renameat2", "\"tags.json.new\"", "\"tags.json\""]);
    let grown = call(&calls, 0, &["ftruncate", "/pool/kiln.prod.db", "2097152"]);
    call(&calls, grown, &["fsync", "/pool/kiln.prod.db", ".img>"]);

    sandbox.volume("db", "size: 2Mi, protected: false, onRemove: Trash");
    sandbox.volume("other", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    let calls = traced(&sandbox, &["apply"]);
    let moved = call(&calls, 0, &["renameat2", "/pool>", "/pool/.trash>", "kiln.prod.db"]);
    call(&calls, moved, &["fsync", "/pool/.trash>"]);
    call(&calls, moved, &["fsync", "/pool>"]);
    call(&traced(&sandbox, &["trash", "purge", "volume/db", "--yes"]), 0, &["fsync", "/pool/.trash>"]);
}
