//! SIGKILL of the daemon at random moments, while somebody edits the manifests at random: what is declared comes to be, once, and what
//! clients wrote is still there.

use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{Daemon, wait, with_stack};
use crate::editor::{Editor, Marks, Random, is_as_declared};

#[test]
fn a_killed_daemon_continues_after_a_restart() {
    let sandbox = with_stack("interval: 1s, safety: {maxRemovals: 1000, maxRemovedPercent: 100%}");
    // The last volume of an owner is not removed just so.
    sandbox.volume("anchor", "size: 1Mi");
    let mut editor = Editor::new(Random::new("killed"));
    let mut marks = Marks::default();
    for round in 0..15 {
        let mut daemon = Daemon::spawn(&sandbox, "state", &["watch"], &[]);
        if round % 5 == 2 {
            // Long enough for removals.
            daemon.is_up();
            daemon.confirmation_read();
        }
        for _ in 0..=editor.random.below(8) {
            editor.edit(&sandbox, true);
            // Not for luck: wherever the kill hits, the outcome must be the same.
            std::thread::sleep(Duration::from_millis(editor.random.below(150)));
        }
        daemon.send(Signal::KILL);
        daemon.ended();
        marks.check_and_write(&sandbox);
        if round % 5 == 4 {
            sandbox.remove("state");
        }
    }
    editor.mend(&sandbox);
    let daemon = Daemon::start(&sandbox);
    daemon.confirmation_read();
    wait("everything to be done", || {
        let last = &daemon.view()["lastPass"];
        last["ending"] == "done" && last["changed"] == 0 && last["held"] == 0
    });
    sandbox.kiln("plan --detailed-exitcode").ends(0);
    let mut declared = editor.declared();
    declared.insert(0, "anchor".to_owned());
    is_as_declared(&sandbox, &declared);
    let steps = daemon.metric("kiln_steps_total");
    (0..3).for_each(|_| daemon.pass());
    assert_eq!(daemon.metric("kiln_steps_total"), steps, "three more passes have no effect");
    assert_eq!(daemon.end(), Some(0));
    marks.check_and_write(&sandbox);
}
