//! `kiln apply` beside a daemon: a run inside of it, which ends with its client. While `.git/index.lock` is there, the daemon makes no
//! pass of its own: what is done is done by the run.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::beside::without_place_and_time;
use crate::daemon::{Daemon, document, live, patient, trash, wait};
use crate::sandbox::Sandbox;

#[test]
fn applies_through_a_daemon() {
    at_once!(
        an_apply_prints_the_same_with_and_without_a_daemon,
        ctrl_c_on_the_client_stops_the_run_at_its_next_step,
        a_client_that_is_killed_stops_its_run_and_the_daemon_lives,
        a_daemon_that_exits_ends_its_runs_and_their_clients,
        simultaneous_runs_are_executed_one_after_another,
        a_run_without_a_terminal_holds_steps_that_the_daemon_makes,
        the_daemon_executes_approved_steps,
    );
}

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

fn an_apply_prints_the_same_with_and_without_a_daemon() {
    let alone = patient();
    alone.volume("first", "size: 1Mi");
    alone.kiln("apply").ends(0);
    let (beside, daemon, lock) = idle();
    let both = [&alone, &beside];
    let lines = |sandbox: &Sandbox, text: &str| {
        // Steps that run side by side end in any order.
        let mut lines: Vec<String> = without_place_and_time(sandbox, text).lines().map(str::to_owned).collect();
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
        assert_eq!(lines(&beside, &there.out), lines(&alone, &here.out), "{command}");
        // A daemon that finds the lock, and leaves the pass, may just then be at it.
        let mut said = lines(&beside, &there.err);
        said.retain(|line| line != "note: the daemon is making a pass; this one follows it");
        assert_eq!(said, lines(&alone, &here.err), "{command}");
        assert_eq!((live(&alone), trash(&alone)), (live(&beside), trash(&beside)), "{command}");
    }
    for sandbox in both {
        sandbox.remove("specs/broken.yaml");
        sandbox.volume("d", "size: 1Mi");
    }
    let [here, there] = both.map(|sandbox| sandbox.kiln("apply -o json").ends(4));
    let kinds = |sandbox: &Sandbox, text: &str| -> Vec<serde_json::Value> {
        // Each has the paths of its own pool.
        let text = text.replace(sandbox.path("").to_str().unwrap().trim_end_matches('/'), "HERE");
        let mut events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.iter_mut().for_each(|event| {
            let event = event.as_object_mut().unwrap();
            ["at", "time", "revision", "plan"].iter().for_each(|field| drop(event.remove(*field)));
        });
        events
    };
    let (here_events, there_events) = (kinds(&alone, &here.out), kinds(&beside, &there.out));
    assert_eq!(there_events.len(), here_events.len(), "{}\n{}", here.out, there.out);
    assert_eq!(there_events.first(), here_events.first());
    assert_eq!(there_events.last(), here_events.last());
    // A saved plan is applied as it is; one of other manifests is not.
    for sandbox in both {
        sandbox.volume("e", "size: 1Mi");
        sandbox.kiln("plan --out e.plan").ends(4);
    }
    let [here, there] = both.map(|sandbox| sandbox.kiln("apply e.plan").ends(4));
    assert_eq!(lines(&beside, &there.out), lines(&alone, &here.out));
    // Manifests differ by what they declare, whatever its name is; where it stands in them is no difference.
    let labelled = |labels: &str| format!("# moved\n{}", document("e", "1Mi").replace("name: e", labels));
    beside.write("specs/place.yaml", &labelled("name: e, labels: {}"));
    beside.remove("specs/e.yaml");
    beside.kiln("apply e.plan").ends(4);
    beside.write("specs/place.yaml", &labelled("name: e, labels: {place: rack-1}"));
    beside.kiln("apply e.plan").ends(7).warns("made for other manifests");
    beside.write("specs/place.yaml", &labelled("name: e, labels: {}"));
    beside.volume("place", "size: 1Mi");
    beside.kiln("apply e.plan").ends(7).warns("made for other manifests");
    beside.remove("specs/place.yaml");
    beside.volume("e", "size: 1Mi");
    beside.kiln("apply e.plan").ends(4);
    beside.volume("f", "size: 1Mi");
    beside.kiln("apply e.plan").ends(7).warns("made for other manifests");
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

fn ctrl_c_on_the_client_stops_the_run_at_its_next_step() {
    let (sandbox, daemon, lock) = idle();
    let (mut child, mut out) = begun(&sandbox);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    let last = rest.lines().last().unwrap_or_default();
    assert!(last.starts_with("Stopped: ") && last.contains(" not started"), "{last}");
    let done = 1 + rest.lines().filter(|line| line.starts_with("created ")).count();
    assert_eq!(live(&sandbox).len(), 1 + done, "what was said to be done is done, and nothing else");
    assert!(done < MANY);
    fs::remove_file(lock).unwrap();
    wait("the daemon to go on", || live(&sandbox).len() == 1 + MANY);
    assert_eq!(daemon.end(), Some(0));
}

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

fn a_daemon_that_exits_ends_its_runs_and_their_clients() {
    for (signal, code, daemons) in [(Signal::TERM, 1, Some(0)), (Signal::KILL, 7, None)] {
        let (sandbox, mut daemon, lock) = idle();
        let (mut child, mut out) = begun(&sandbox);
        daemon.send(signal);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{rest}");
        assert_eq!(daemon.ended(), daemons);
        let done = live(&sandbox).len();
        assert!(done < 1 + MANY, "it was not in time");
        fs::remove_file(lock).unwrap();
        sandbox.kiln("apply").ends(0);
        assert_eq!(live(&sandbox).len(), 1 + MANY);
    }
}

fn simultaneous_runs_are_executed_one_after_another() {
    let (sandbox, daemon, _lock) = idle();
    let many: String = (0..200).map(|n| document(&format!("v{n}"), "4Ki")).collect();
    sandbox.write("specs/many.yaml", &many);
    let said: Vec<String> = std::thread::scope(|scope| {
        let applies: Vec<_> = (0..4).map(|_| scope.spawn(|| sandbox.kiln("apply").ends(0).out)).collect();
        applies.into_iter().map(|apply| apply.join().unwrap()).collect()
    });
    let made = said.iter().flat_map(|out| out.lines()).filter(|line| line.starts_with("created ")).count();
    assert_eq!((made, live(&sandbox).len()), (200, 201), "each was made by one of them");
    assert_eq!(said.iter().filter(|out| out.contains("Nothing to do.")).count(), 3, "{said:?}");
    assert_eq!(daemon.end(), Some(0));
}

fn a_run_without_a_terminal_holds_steps_that_the_daemon_makes() {
    let (sandbox, daemon, lock) = idle();
    sandbox.volume("fleeting", "size: 1Mi, onRemove: Delete");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/fleeting.yaml");
    sandbox.kiln("apply").ends(4).says("NeedsConfirmation");
    assert_eq!(live(&sandbox), ["first", "fleeting"]);
    // Of a saved plan it makes all steps or none.
    sandbox.volume("first", "size: 2Mi");
    sandbox.kiln("plan --out p").ends(0).warns("1 step waits for an approval: `kiln apply p --approve ");
    let ran = sandbox.kiln("apply p").ends(4).warns("1 step waits for an approval: destroy volume/fleeting");
    ran.warns("the saved plan was not approved; nothing was changed").warns("`kiln apply p --approve ");
    assert_eq!(sandbox.object("volume/first")["status"]["size"], 1 << 20);
    // That it was declared so is the daemon's confirmation.
    fs::remove_file(lock).unwrap();
    daemon.ask("POST /v1/reconcile");
    wait("its end", || live(&sandbox) == ["first"]);
    assert_eq!(trash(&sandbox), Vec::<String>::new());
}

fn the_daemon_executes_approved_steps() {
    let sandbox = patient();
    (0..20).for_each(|n| sandbox.volume(&format!("v{n}"), "size: 1Mi"));
    let daemon = Daemon::start(&sandbox);
    (0..15).for_each(|n| sandbox.remove(&format!("specs/v{n}.yaml")));
    daemon.confirmation_read();
    assert_eq!((live(&sandbox).len(), trash(&sandbox).len()), (20, 0), "that many wait");
    let status = sandbox.kiln("status -o json").ends(0).json();
    let digest = status["approval"].as_str().unwrap();
    sandbox.kiln("status").says(&format!("kiln approve {digest}"));
    // Who reads the log is somewhere else.
    let place = |dir: &str| std::fs::canonicalize(sandbox.path(dir)).unwrap().display().to_string();
    let whole = format!("`kiln approve {digest} --specs {} --state {}`", place("specs"), place("state"));
    assert!(daemon.log().contains(&whole), "no {whole} in {}", daemon.log());
    // More of them are another set: what was approved is gone, and nothing else.
    sandbox.remove("specs/v15.yaml");
    daemon.confirmation_read();
    sandbox.kiln(&format!("approve {digest}"));
    daemon.confirmation_read();
    assert_eq!(trash(&sandbox).len(), 0, "another set than the one that is declared away now");
    let status = sandbox.kiln("status -o json").ends(0).json();
    sandbox.kiln(&format!("approve {}", status["approval"].as_str().unwrap())).ends(0);
    wait("the removals", || trash(&sandbox).len() == 16);
    assert_eq!(live(&sandbox), ["v16", "v17", "v18", "v19"]);
}
