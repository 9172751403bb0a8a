//! A daemon whose store, socket or pool somebody else reaches: it ends, makes the socket again, or heeds what it finds.

use std::fs;

use crate::daemon::{Daemon, arrives, live, patient, wait, with_stack};

#[test]
fn changes_of_the_store_by_others() {
    at_once!(
        a_daemon_whose_store_was_removed_ends,
        a_daemon_whose_store_was_replaced_keeps_the_socket_of_the_other_daemon,
        a_removed_socket_is_created_again,
        the_daemon_holds_objects_suspended_through_another_store,
        a_running_daemon_with_another_store_is_named,
    );
}

fn a_daemon_whose_store_was_removed_ends() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let mut daemon = Daemon::start(&sandbox);
    sandbox.remove("state");
    assert_eq!(daemon.ended(), Some(7));
    let log = daemon.log();
    assert!(log.contains("was removed or replaced while it was in use"), "{log}");
    assert!(!sandbox.has("state"), "it makes nothing there");
    // What it made is there, and the next run goes on.
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

fn a_daemon_whose_store_was_replaced_keeps_the_socket_of_the_other_daemon() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let mut first = Daemon::start(&sandbox);
    fs::rename(sandbox.path("state"), sandbox.path("moved")).unwrap();
    let second = Daemon::start(&sandbox);
    assert_eq!(first.ended(), Some(7));
    sandbox.kiln("status").ends(0).says(&format!("process {}", second.child.id()));
    sandbox.volume("b", "size: 1Mi");
    arrives(&sandbox, "b");
}

fn a_removed_socket_is_created_again() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let daemon = Daemon::start(&sandbox);
    sandbox.remove("state/kiln.sock");
    wait("the socket", || sandbox.has("state/kiln.sock"));
    sandbox.kiln("status").ends(0).says(&format!("process {}", daemon.child.id()));
    assert_eq!(daemon.end(), Some(0));
    assert!(!sandbox.has("state/kiln.sock"));
}

fn the_daemon_holds_objects_suspended_through_another_store() {
    let sandbox = with_stack("interval: 1s, safety: {maxRemovedPercent: 100%}");
    ["a", "b", "c"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi, onRemove: Delete"));
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox), ["a", "b", "c"]);
    sandbox.kiln("suspend volume/b --reason forensics --state elsewhere").ends(0).says("recorded on fast");
    ["a", "b"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    wait("the removal of the other", || live(&sandbox) == ["b", "c"]);
    daemon.confirmation_read();
    assert_eq!(live(&sandbox), ["b", "c"]);
    sandbox.kiln("status").says("volume/b: it is suspended: forensics");
    sandbox.kiln("resume volume/b --state a-third").ends(0);
    wait("the removal of this one", || live(&sandbox) == ["c"]);
}

fn a_running_daemon_with_another_store_is_named() {
    let sandbox = with_stack("interval: 1h, safety: {maxRemovals: 1, maxRemovedPercent: 100%}");
    ["a", "b", "c"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi, onRemove: Delete"));
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox), ["a", "b", "c"]);
    let pid = daemon.child.id();
    let named = |out: &str| out.contains(&format!("process {pid} (")) && out.contains("writes to fast for prod");
    let status = || sandbox.kiln("status --state elsewhere").ends(0).out;
    let out = status();
    assert!(
        named(&out) && out.contains(" watch)") && !out.contains("`kiln watch --state elsewhere` starts one"),
        "{out}"
    );
    let ran = sandbox.kiln("suspend volume/c --reason forensics --state elsewhere").ends(0);
    assert!(named(&ran.out), "{}", ran.out);
    // Its own store leads to it: it is no other.
    assert!(!sandbox.kiln("status").ends(0).says(&format!("process {pid}")).out.contains("writes to"));

    ["a", "b"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    let waits = sandbox.kiln("status -o json --state elsewhere").ends(0).json();
    let digest = waits["approval"].as_str().unwrap();
    let ran = sandbox.kiln(&format!("approve {digest} --state elsewhere")).ends(0);
    assert!(named(&ran.out), "{}", ran.out);
    // The command had the pool's lock after the daemon.
    let out = status();
    assert!(named(&out), "{out}");
    assert_eq!(out.matches("writes to fast").count(), 1, "a process that has ended is not named: {out}");
    assert_eq!(daemon.end(), Some(0));
    let out = status();
    assert!(!out.contains("writes to") && out.contains("`kiln watch --state elsewhere` starts one"), "{out}");
}
