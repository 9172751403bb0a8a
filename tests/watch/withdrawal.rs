//! What the daemon does not take for an edit: a file that is being written, a directory that went away, and what its file never declared.

use std::fs::{self, File};
use std::io::Write;
use std::time::Instant;

use crate::daemon::{CONFIRMATION_READ, Daemon, arrives, document, live, patient, trash, wait};
use crate::sandbox::Sandbox;

#[test]
fn missing_manifests_are_not_always_withdrawn() {
    at_once!(
        a_pass_waits_for_a_file_that_is_being_written,
        a_briefly_missing_directory_loses_nothing,
        a_mount_missing_at_the_start_loses_nothing,
        a_watched_file_withdraws_what_it_declared_and_nothing_else,
    );
}

fn following() -> (Sandbox, Daemon) {
    let sandbox = patient();
    sandbox.volume("canary", "size: 1Mi");
    sandbox.write("specs/team/db.yaml", &document("db", "1Mi").replace("size:", "onRemove: Delete, size:"));
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox), ["canary", "db"]);
    (sandbox, daemon)
}

/// What is there, as the pool calls it: another incarnation of a name has another name there.
fn natives(sandbox: &Sandbox) -> Vec<String> {
    let names = fs::read_dir(sandbox.path("pool")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("kiln.prod."));
    names.sort();
    names
}

fn a_pass_waits_for_a_file_that_is_being_written() {
    let (sandbox, daemon) = following();
    let before = natives(&sandbox);
    // One document of the two that the generator writes, the other one later.
    let mut file = File::create(sandbox.path("specs/team/db.yaml")).unwrap();
    file.write_all(document("early", "1Mi").as_bytes()).unwrap();
    wait("that the writer is told", || daemon.log().contains("open for writing"));
    let told = Instant::now();
    wait("twice the time of a confirmation read", || told.elapsed() > CONFIRMATION_READ * 2);
    assert_eq!(natives(&sandbox), before);
    file.write_all(document("db", "1Mi").replace("size:", "onRemove: Delete, size:").as_bytes()).unwrap();
    drop(file);
    arrives(&sandbox, "early");
    daemon.confirmation_read();
    assert!(before.iter().all(|native| natives(&sandbox).contains(native)), "{before:?} {:?}", natives(&sandbox));
    assert_eq!(daemon.log().matches("open for writing").count(), 1, "{}", daemon.log());
}

fn a_briefly_missing_directory_loses_nothing() {
    let (sandbox, daemon) = following();
    let before = natives(&sandbox);
    fs::rename(sandbox.path("specs/team"), sandbox.path("away")).unwrap();
    daemon.confirmation_read();
    assert!(daemon.log().contains("when it has been missing for 60 s"), "{}", daemon.log());
    assert_eq!(natives(&sandbox), before);
    // Each command says what waits and until when, and an apply by a person waits too.
    for command in ["status", "plan", "get -o json volume/db", "apply --yes"] {
        let ran = sandbox.kiln(command);
        let ran = ran.says("SourceBroken").says("the removal waits until 20").says("missing for 60 s");
        assert!(!ran.out.contains("- volume/db"), "{command}: {}", ran.out);
    }
    sandbox.kiln("status").says("Waiting for approval: 1 held step. `kiln approve ");
    sandbox.kiln("apply --yes").ends(4);
    daemon.confirmation_read();
    assert_eq!(natives(&sandbox), before);
    // What was deleted by itself is gone after the confirmation read.
    // (One of the size of db would wait with it: it may be db under another name.)
    sandbox.volume("extra", "size: 2Mi");
    arrives(&sandbox, "extra");
    sandbox.remove("specs/extra.yaml");
    wait("the removal", || trash(&sandbox) == ["extra"]);
    assert_eq!(natives(&sandbox), before);
    fs::create_dir(sandbox.path("specs/team")).unwrap();
    daemon.confirmation_read();
    assert_eq!(natives(&sandbox), before);
    fs::remove_dir(sandbox.path("specs/team")).unwrap();
    fs::rename(sandbox.path("away"), sandbox.path("specs/team")).unwrap();
    daemon.confirmation_read();
    assert_eq!(natives(&sandbox), before);
    // A person who approves it does not wait.
    fs::rename(sandbox.path("specs/team"), sandbox.path("away")).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&sandbox.kiln("plan -o json").ends(4).out).unwrap();
    let digest = plan["approval"].as_str().unwrap();
    sandbox.kiln(&format!("apply --approve {digest}")).ends(0).says("destroyed volume/db");
}

fn a_mount_missing_at_the_start_loses_nothing() {
    let (sandbox, daemon) = following();
    let before = natives(&sandbox);
    assert_eq!(daemon.end(), Some(0));
    // As after a reboot: the mount point is there, empty, and the store is gone.
    fs::rename(sandbox.path("specs/team"), sandbox.path("away")).unwrap();
    fs::create_dir(sandbox.path("specs/team")).unwrap();
    sandbox.remove("state");
    let daemon = Daemon::start(&sandbox);
    daemon.confirmation_read();
    assert_eq!((natives(&sandbox), trash(&sandbox)), (before, vec![]));
}

fn a_watched_file_withdraws_what_it_declared_and_nothing_else() {
    let sandbox = patient();
    sandbox.volume("other", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    let all = |names: &[&str]| {
        let documents: String = names.iter().map(|name| document(name, "1Mi")).collect();
        format!("{}{documents}", crate::daemon::stack("interval: 1h"))
    };
    sandbox.write("one.yaml", &all(&["a", "b"]).replace("../pool", "pool"));
    let daemon = Daemon::spawn(&sandbox, "state", &["watch", "one.yaml"], &[]);
    daemon.is_up();
    arrives(&sandbox, "b");
    sandbox.write("new", &all(&["a"]).replace("../pool", "pool"));
    fs::rename(sandbox.path("new"), sandbox.path("one.yaml")).unwrap();
    wait("the removal", || trash(&sandbox) == ["b"]);
    assert_eq!(live(&sandbox), ["a", "other"]);
    daemon.confirmation_read();
    assert_eq!(live(&sandbox), ["a", "other"]);
}
