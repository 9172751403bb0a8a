//! A daemon whose store, socket or pool somebody else reaches: it ends, makes the socket again, or heeds what it finds.

use std::fs;

use crate::daemon::{Daemon, arrives, live, patient, wait, with_stack};

#[test]
fn beside_what_others_do_to_its_store() {
    at_once!(
        a_daemon_whose_store_was_removed_ends,
        a_daemon_whose_store_was_replaced_leaves_the_socket_of_the_other_alone,
        a_socket_that_was_removed_is_made_again,
        what_another_store_suspends_is_held_by_the_daemon,
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

fn a_daemon_whose_store_was_replaced_leaves_the_socket_of_the_other_alone() {
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

fn a_socket_that_was_removed_is_made_again() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let daemon = Daemon::start(&sandbox);
    sandbox.remove("state/kiln.sock");
    wait("the socket", || sandbox.has("state/kiln.sock"));
    sandbox.kiln("status").ends(0).says(&format!("process {}", daemon.child.id()));
    assert_eq!(daemon.end(), Some(0));
    assert!(!sandbox.has("state/kiln.sock"));
}

fn what_another_store_suspends_is_held_by_the_daemon() {
    let sandbox = with_stack("interval: 1s, safety: {maxRemovedPercent: 100%}");
    ["a", "b", "c"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi, onRemove: Delete"));
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox), ["a", "b", "c"]);
    sandbox.kiln("suspend volume/b --reason forensics --state elsewhere").ends(0).says("recorded on fast");
    ["a", "b"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    wait("the removal of the other", || live(&sandbox) == ["b", "c"]);
    daemon.second_look();
    assert_eq!(live(&sandbox), ["b", "c"]);
    sandbox.kiln("status").says("volume/b: it is suspended: forensics");
    sandbox.kiln("resume volume/b --state a-third").ends(0);
    wait("the removal of this one", || live(&sandbox) == ["c"]);
}
