//! `kiln apply` beside a daemon: a run inside of it, which ends with its client. While `.git/index.lock` is there, the daemon makes no
//! pass of its own: what is done is done by the run.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::beside::without_place_and_time;
use crate::daemon::{Daemon, document, live, patient, trash, wait};
use crate::sandbox::Sandbox;

/// A daemon that makes no pass of its own as long as the file is there.
fn idle() -> (Sandbox, Daemon, std::path::PathBuf) {
    let sandbox = patient();
    sandbox.volume("first", "size: 1Mi");
    for (path, text) in
        [("HEAD", "ref: refs/heads/main\n"), ("config", "[core]\n"), ("objects/info/x", ""), ("refs/heads/x/y", "")]
    {
        sandbox.write(&format!("specs/.git/{path}"), text);
    }
    let daemon = Daemon::start(&sandbox);
    let lock = sandbox.path("specs/.git/index.lock");
    File::create(&lock).unwrap();
    wait("the end of what runs", || daemon.view()["running"].is_null());
    (sandbox, daemon, lock)
}

#[test]
fn it_says_what_it_would_say_without_a_daemon() {
    let alone = patient();
    alone.volume("first", "size: 1Mi");
    alone.kiln("apply").ends(0);
    let (beside, daemon, lock) = idle();
    let both = [&alone, &beside];
    let lines = |text: &str| {
        // Steps that run side by side end in any order.
        let mut lines: Vec<String> = without_place_and_time(&alone, text).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for (command, exit) in [("apply", 0), ("apply --yes", 4), ("apply volume/c0", 0), ("apply", 5)] {
        for sandbox in both {
            match (command, exit) {
                ("apply", 0) => (0..9).for_each(|n| sandbox.volume(&format!("a{n}"), "size: 1Mi")),
                ("apply --yes", _) => {
                    // More than may leave at once.
                    (0..9).for_each(|n| sandbox.remove(&format!("specs/a{n}.yaml")));
                    sandbox.volume("b", "size: 1Mi");
                }
                ("apply volume/c0", _) => (0..2).for_each(|n| sandbox.volume(&format!("c{n}"), "size: 1Mi")),
                _ => sandbox.volume("broken", "size: ["),
            }
        }
        let [here, there] = both.map(|sandbox| sandbox.kiln(command).ends(exit));
        assert_eq!(lines(&there.out), lines(&here.out), "{command}");
        assert_eq!(lines(&there.err), lines(&here.err), "{command}");
        assert_eq!((live(&alone), trash(&alone)), (live(&beside), trash(&beside)), "{command}");
    }
    for sandbox in both {
        sandbox.remove("specs/broken.yaml");
        sandbox.volume("d", "size: 1Mi");
    }
    let [here, there] = both.map(|sandbox| sandbox.kiln("apply -o json").ends(4));
    let kinds = |text: &str| -> Vec<serde_json::Value> {
        let mut events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.iter_mut().for_each(|event| {
            let event = event.as_object_mut().unwrap();
            ["at", "time", "digest", "revision", "plan"].iter().for_each(|field| drop(event.remove(*field)));
        });
        events
    };
    assert_eq!(kinds(&there.out).len(), kinds(&here.out).len(), "{}\n{}", here.out, there.out);
    assert_eq!(kinds(&there.out).first(), kinds(&here.out).first());
    assert_eq!(kinds(&there.out).last(), kinds(&here.out).last());
    // A saved plan is applied as it is; one of other manifests is not.
    for sandbox in both {
        sandbox.volume("e", "size: 1Mi");
        sandbox.kiln("plan --out e.plan").ends(4);
    }
    let [here, there] = both.map(|sandbox| sandbox.kiln("apply e.plan").ends(4));
    assert_eq!(lines(&there.out), lines(&here.out));
    beside.volume("f", "size: 1Mi");
    beside.kiln("apply e.plan").ends(7).warns("revision");
    assert!(!live(&beside).contains(&"f".to_owned()));
    fs::remove_file(lock).unwrap();
    wait("what was left", || live(&beside).contains(&"f".to_owned()));
    drop(daemon);
}

const MANY: usize = 1_000;

/// An apply of many volumes, of which the first is made.
fn begun(sandbox: &Sandbox) -> (Child, BufReader<impl Read + use<>>) {
    let many: String = (0..MANY).map(|n| document(&format!("v{n}"), "4Ki")).collect();
    sandbox.write("specs/many.yaml", &many);
    #[expect(clippy::disallowed_methods, reason = "the program under test, which is sent signals")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"));
    command
        .arg("apply")
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("created ") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended before anything was made");
    }
    (child, out)
}

#[test]
fn ctrl_c_on_the_client_stops_the_run_at_its_next_step() {
    let (sandbox, daemon, lock) = idle();
    let (mut child, mut out) = begun(&sandbox);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    let last = rest.lines().last().unwrap_or_default();
    assert!(last.starts_with("Stopped: ") && last.contains(" not begun"), "{last}");
    let done = 1 + rest.lines().filter(|line| line.starts_with("created ")).count();
    assert_eq!(live(&sandbox).len(), 1 + done, "what was said to be done is done, and nothing else");
    assert!(done < MANY);
    fs::remove_file(lock).unwrap();
    wait("the daemon to go on", || live(&sandbox).len() == 1 + MANY);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_client_that_is_killed_stops_its_run_and_the_daemon_lives() {
    let (sandbox, daemon, lock) = idle();
    let (mut child, out) = begun(&sandbox);
    assert_eq!(daemon.view()["running"]["byHand"], true);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    drop(out);
    wait("the end of the run", || daemon.view()["running"].is_null());
    let done = live(&sandbox).len();
    assert!(done < MANY, "it went on to its end");
    let last = daemon.view()["lastPass"].clone();
    assert_eq!(last["ending"], "stopped", "{last}");
    fs::remove_file(lock).unwrap();
    wait("the daemon to go on", || live(&sandbox).len() == 1 + MANY);
    assert_eq!(daemon.end(), Some(0));
}
