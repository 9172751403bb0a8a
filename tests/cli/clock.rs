//! The binary under a clock that is wrong (the package faketime): what it stamps counts no longer than it should, Kiln says so, and a
//! single run does not destroy by it.

use std::process::Command;

use crate::sandbox::{Ran, STACK, Sandbox};

/// Runs `kiln` under a clock that is ahead of that of the host.
fn later(sandbox: &Sandbox, by: &str, arguments: &str) -> Ran {
    #[expect(clippy::disallowed_methods, reason = "the tool that moves the clock of one program")]
    let mut command = Command::new("faketime");
    command.arg(by).arg(env!("CARGO_BIN_EXE_kiln")).args(arguments.split(' ')).current_dir(sandbox.path(""));
    // The tool cannot move the monotonic clock of waits in the kernel: a wait with a limit would end days late.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    for variable in ["KILN_STATE", "KILN_SPECS", "KILN_CONFIG"] {
        command.env_remove(variable);
    }
    Ran::of(command.output().unwrap())
}

fn with_volumes(safety: &str) -> Sandbox {
    let sandbox = Sandbox::with_stack();
    sandbox.write("specs/stack.yaml", &STACK.replace("{id:", &format!("{{safety: {{{safety}}}, id:")));
    for name in ["a", "b", "c"] {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.kiln("apply").ends(0);
    sandbox
}

#[test]
fn a_removal_stamped_in_the_future_counts_for_a_day_and_apply_says_so() {
    let sandbox = with_volumes("maxRemovals: 1");
    sandbox.remove("specs/a.yaml");
    later(&sandbox, "+2 days", "apply").ends(0).says("removed volume/a");
    let told = sandbox.kiln("apply").ends(0).warns("a clock was ahead when they were noted");
    assert!(told.err.contains("They count against the limits of the Stack for 24 h from now"), "{told:?}");
    assert!(!sandbox.kiln("apply").ends(0).err.contains("clock"), "it says so once");
    sandbox.remove("specs/b.yaml");
    later(&sandbox, "+23 hours", "plan")
        .ends(4)
        .says("RemovalLimit: 1 object would be removed now, after 1 in the last 24 hours");
    later(&sandbox, "+25 hours", "apply").ends(0).says("removed volume/b");
}

#[test]
fn a_purge_destroys_nothing_by_a_clock_that_no_earlier_run_confirms() {
    let sandbox = with_volumes("maxRemovals: 3");
    sandbox.remove("specs/a.yaml");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("trash purge").ends(0).says("Nothing in the trash has expired");
    for _ in 0..2 {
        let ran = later(&sandbox, "+30 days", "trash purge --yes").ends(0).says("Nothing is purged");
        assert!(ran.err.contains("by the host's clock") && ran.err.contains("run `kiln apply`"), "{ran:?}");
    }
    sandbox.kiln("trash list").ends(0).says("volume/a");
    // A run less than a day before the end of its time records that the time has passed.
    later(&sandbox, "+164 hours", "apply").ends(0);
    later(&sandbox, "+170 hours", "trash purge").ends(0).says("purged volume a");
}
