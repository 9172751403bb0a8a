//! Ctrl-C: the first finishes what runs, the second stops at once, and neither loses anything.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::Sandbox;

/// Far longer than any of this takes on a slow machine, and not for ever.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn start(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    #[expect(clippy::disallowed_methods, reason = "the program under test, to be sent signals while it runs")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(arguments).current_dir(sandbox.path("")).env_remove("KILN_STATE").env_remove("KILN_SPECS");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Reads all that a child says from here on, beside everything else: nobody waits for a full pipe.
fn said(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

#[test]
fn the_first_ctrl_c_finishes_the_running_steps_and_the_next_run_goes_on() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::with_stack();
        // So many that they are not all done in the time between the first of them and the signal.
        let volumes: Vec<String> = (0..1000)
            .map(|n| {
                format!(
                    "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: v{n}}}\nspec: {{backend: fast, size: 4Ki}}\n"
                )
            })
            .collect();
        sandbox.write("specs/many.yaml", &volumes.concat());
        let mut child = start(&sandbox, &["apply"]);
        let err = said(child.stderr.take().unwrap());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("created ") {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended before anything was created");
        }
        send(&child, signal);
        let (rest, err) = (said(out).join().unwrap(), err.join().unwrap());
        assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}\n{err}");
        assert!(err.contains("finishing") && err.contains("press Ctrl-C again to stop at once"), "{err}");
        let last = rest.lines().last().unwrap_or_default();
        assert!(last.starts_with("Stopped: ") && last.contains(" not started"), "{last}");

        let done = 1 + rest.lines().filter(|line| line.starts_with("created ")).count();
        let left = sandbox.kiln("plan -o json").ends(0).json();
        assert_eq!(left["summary"]["create"], 1000 - done, "what was said to be done is done, and nothing else");
        sandbox.kiln("apply").ends(0).says(&format!("Applied: {} steps done.", 1000 - done));
    }
}

#[test]
fn the_second_ctrl_c_stops_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "specs/sim.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: sim}\nspec: {driver: sim, sim: {faults: {hang: 100%}}, timeout: 1h}\n",
    );
    let mut child = start(&sandbox, &["apply"]);
    wait_until_caught(&child, Signal::INT);
    send(&child, Signal::INT);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("press Ctrl-C again to stop at once") {
        line.clear();
        assert_ne!(err.read_line(&mut line).unwrap(), 0, "it says what the first one does");
    }
    assert_eq!(child.try_wait().unwrap(), None, "the backend hangs, and what runs is waited for");
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let rest = said(err).join().unwrap();
    assert!(rest.contains("stopped at once; `kiln apply` continues"), "{rest}");
}

#[test]
fn a_terminal_shows_at_once_what_the_command_waits_for() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "specs/sim.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: sim}\nspec: {driver: sim, sim: {faults: {hang: 100%}}, timeout: 1h}\n",
    );
    for command in ["plan", "apply"] {
        // It gives its child a terminal. (util-linux; Debian has it always.)
        #[expect(clippy::disallowed_methods, reason = "the program under test, on a terminal")]
        let mut script = std::process::Command::new("script");
        let mut child = script
            .args(["--quiet", "--return", "--command"])
            .arg(format!("{} {command}", env!("CARGO_BIN_EXE_kiln")))
            .arg("/dev/null")
            .current_dir(sandbox.path(""))
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = Vec::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !String::from_utf8_lossy(&seen).contains("observing the backends") {
            let more = out.fill_buf().unwrap().to_vec();
            assert!(!more.is_empty(), "{command} ended: {}", String::from_utf8_lossy(&seen));
            out.consume(more.len());
            seen.extend(more);
        }
        send(&child, Signal::TERM);
        child.wait().unwrap();
    }
}

/// Waits until a child has a handler of its own for a signal, as the kernel tells.
fn wait_until_caught(child: &Child, signal: Signal) {
    let begun = Instant::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        if u64::from_str_radix(caught, 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no handler: {status}");
        std::thread::yield_now();
    }
}
