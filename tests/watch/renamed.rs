//! A volume renamed in the manifests of a daemon, with and without `renamedFrom`.

use std::time::Instant;

use crate::daemon::{CONFIRMATION_READ, Daemon, arrives, live, patient, trash, wait};
use crate::sandbox::Sandbox;

#[test]
fn renames_beside_a_daemon() {
    at_once!(
        a_rename_without_renamed_from_is_logged_and_can_be_reverted,
        a_destroy_that_looks_like_a_rename_waits_for_an_approval,
        an_approval_destroys_the_old_volume_and_creates_the_new_one,
        a_new_volume_waits_until_the_suspended_one_is_decided,
        a_rename_in_two_edits_is_logged,
        a_removal_without_a_similar_new_volume_does_not_wait,
    );
}

/// A daemon with the volume `db`, which holds data, and another.
fn following(spec: &str) -> (Sandbox, Daemon) {
    let sandbox = patient();
    sandbox.volume("web", "size: 8Mi");
    sandbox.volume("db", &format!("size: 1Mi{spec}"));
    let daemon = Daemon::start(&sandbox);
    sandbox.write_data("db");
    (sandbox, daemon)
}

fn renamed(sandbox: &Sandbox, meta: &str) {
    let text = format!(
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: database{meta}}}\nspec: {{backend: fast, size: 1Mi}}\n"
    );
    sandbox.write("specs/database.yaml", &text);
}

#[track_caller]
fn line_of(daemon: &Daemon, parts: &[&str]) -> usize {
    let log = daemon.log();
    let line = log.lines().position(|line| parts.iter().all(|part| line.contains(part)));
    line.unwrap_or_else(|| panic!("no line with {parts:?} in\n{log}"))
}

fn a_rename_without_renamed_from_is_logged_and_can_be_reverted() {
    let (sandbox, daemon) = following("");
    let began = Instant::now();
    renamed(&sandbox, "");
    sandbox.remove("specs/db.yaml");
    arrives(&sandbox, "database");
    assert!(began.elapsed() > CONFIRMATION_READ, "it waited for the confirmation read: {:?}", began.elapsed());
    wait("the removal", || trash(&sandbox) == ["db"]);
    let told =
        "volume db is no longer declared, and volume database, which has its backend, size and labels, begins empty";
    wait("that it is told", || daemon.log().contains(told));
    let fix = "write `renamedFrom: db` under `metadata` of volume database (./specs/database.yaml:3:1)";
    line_of(&daemon, &["LooksLikeRename", told, fix]);
    // As the warning says.
    renamed(&sandbox, ", renamedFrom: db");
    wait("the exchange", || trash(&sandbox) == ["database"]);
    wait("the rename", || live(&sandbox) == ["database", "web"]);
    daemon.pass();
    assert!(sandbox.holds_data("database"));
    daemon.confirmation_read();
    assert_eq!(
        (live(&sandbox), trash(&sandbox)),
        (vec!["database".to_owned(), "web".to_owned()], vec!["database".to_owned()])
    );
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

fn a_destroy_that_looks_like_a_rename_waits_for_an_approval() {
    let (sandbox, daemon) = following(", onRemove: Delete");
    sandbox.remove("specs/db.yaml");
    renamed(&sandbox, "");
    let both = "held: volume/database (create); volume/db (destroy): LooksLikeRename: volume db, of the same ";
    wait("that both are told", || {
        daemon.log().lines().any(|line| line.contains(both) && line.contains("; fix: if db was renamed, "))
    });
    daemon.confirmation_read();
    assert_eq!(live(&sandbox), ["db", "web"]);
    let status = sandbox.kiln("status").out;
    for part in ["LooksLikeRename", "`renamedFrom: db`", "kiln approve "] {
        assert!(status.contains(part), "{part} in\n{status}");
    }
    renamed(&sandbox, ", renamedFrom: db");
    wait("the rename", || live(&sandbox) == ["database", "web"]);
    daemon.pass();
    assert!(sandbox.holds_data("database"));
    assert_eq!(trash(&sandbox), Vec::<String>::new());
}

fn an_approval_destroys_the_old_volume_and_creates_the_new_one() {
    let (sandbox, daemon) = following(", onRemove: Delete");
    sandbox.remove("specs/db.yaml");
    renamed(&sandbox, "");
    let line =
        || daemon.log().lines().find(|line| line.contains("volume/db (destroy): LooksLikeRename")).map(str::to_owned);
    wait("that it is told", || line().is_some());
    let line = line().unwrap();
    let digest = line.split("`kiln approve ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    sandbox.kiln(&format!("approve {digest}")).ends(0);
    wait("both steps", || live(&sandbox) == ["database", "web"]);
    daemon.pass();
    assert!(!sandbox.holds_data("database"));
    assert_eq!(trash(&sandbox), Vec::<String>::new());
}

fn a_new_volume_waits_until_the_suspended_one_is_decided() {
    let (sandbox, daemon) = following(", onRemove: Delete");
    sandbox.kiln("suspend volume/db --reason check").ends(0);
    sandbox.remove("specs/db.yaml");
    renamed(&sandbox, "");
    wait("that it is told", || daemon.log().contains("while the destruction of volume db, of the same backend, "));
    daemon.confirmation_read();
    assert_eq!(live(&sandbox), ["db", "web"]);
    sandbox.kiln("resume volume/db").ends(0);
    let line =
        || daemon.log().lines().find(|line| line.contains("volume/db (destroy): LooksLikeRename")).map(str::to_owned);
    wait("that it still waits", || line().is_some());
    assert_eq!(live(&sandbox), ["db", "web"]);
    let line = line().unwrap();
    let digest = line.split("`kiln approve ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    sandbox.kiln(&format!("approve {digest}")).ends(0);
    wait("both steps", || live(&sandbox) == ["database", "web"]);
}

fn a_rename_in_two_edits_is_logged() {
    let (sandbox, daemon) = following("");
    sandbox.remove("specs/db.yaml");
    daemon.pass();
    assert_eq!(live(&sandbox), ["db", "web"], "the removal waits for the confirmation read");
    renamed(&sandbox, "");
    wait("the removal", || trash(&sandbox) == ["db"]);
    arrives(&sandbox, "database");
    wait("that it is told", || daemon.log().contains("LooksLikeRename: volume db is no longer declared"));
}

fn a_removal_without_a_similar_new_volume_does_not_wait() {
    let (sandbox, daemon) = following("");
    sandbox.remove("specs/db.yaml");
    sandbox.volume("small", "size: 4Ki");
    sandbox.volume("copy", "size: 8Mi, source: {volume: web}");
    wait("the removal", || trash(&sandbox) == ["db"]);
    daemon.pass();
    let gone = line_of(&daemon, &["volume/db", "done: move to the trash"]);
    for name in ["volume/small", "volume/copy"] {
        let made = line_of(&daemon, &[name, "done: create"]);
        assert!(made < gone, "{name} in line {made}, db in {gone}");
    }
    assert!(!daemon.log().contains("LooksLikeRename"));
}
