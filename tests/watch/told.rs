//! Signals, and what the service manager is told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::daemon::{Daemon, PATIENCE, arrives, live, patient, stack, until, wait};
use crate::sandbox::Sandbox;

#[test]
fn a_signal_ends_the_daemon_with_0_and_no_partial_objects() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = patient();
        sandbox.volume("a", "size: 1Mi");
        let mut daemon = Daemon::start(&sandbox);
        daemon.send(signal);
        assert_eq!(daemon.ended(), Some(0));
        assert!(!sandbox.has("state/kiln.sock"), "nobody serves it any more");
        sandbox.kiln("plan --detailed-exitcode").ends(0);
    }
}

#[test]
fn sigterm_lets_a_running_copy_finish() {
    let sandbox = patient();
    // So large that it is still being copied when the signal comes, and not so large that anybody waits for it.
    const LENGTH: usize = 192 << 20;
    let block: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let image = sandbox.path("image.raw");
    fs::write(&image, block.repeat(LENGTH / block.len())).unwrap();
    let daemon = Daemon::start(&sandbox);
    sandbox.volume("copy", "size: 192Mi, source: {image: {path: ../image.raw, format: raw}}");
    sandbox.volume("small", "size: 1Mi");
    let half_made = || {
        let entries = fs::read_dir(sandbox.path("pool")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("kiln-tmp")).count()
    };
    wait("the copy to begin", || half_made() > 0);
    daemon.send(Signal::TERM);
    let began = Instant::now();
    let log = sandbox.path("state.log");
    let mut daemon = daemon;
    assert_eq!(daemon.ended(), Some(0));
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(half_made(), 0, "the step that ran came to its end");
    let volume = sandbox.data_file("volume/copy");
    assert!(fs::read(volume).unwrap() == fs::read(image).unwrap(), "all of it was copied");
    assert!(fs::read_to_string(log).unwrap().contains("SIGTERM: waiting for the running steps to finish"));
    sandbox.kiln("apply").ends(0);
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let sandbox = patient();
    sandbox.write(
        "specs/slow.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n\
         spec: {driver: sim, sim: {path: ../sim.pool, faults: {hang: 100%}}, timeout: 1h}\n",
    );
    let mut daemon = Daemon::spawn(&sandbox, "state", &["watch"], &[]);
    wait("the first pass to begin", || {
        daemon.try_ask("GET /v1/daemon").is_some_and(|view| view.contains("\"running\":{"))
    });
    daemon.send(Signal::TERM);
    wait("that it is told", || daemon.log().contains("SIGTERM: waiting for the running steps to finish"));
    assert_eq!(daemon.child.try_wait().unwrap(), None, "it waits for the backend");
    daemon.send(Signal::TERM);
    let began = Instant::now();
    assert_eq!(daemon.ended(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn sighup_reloads_the_host_configuration() {
    let sandbox = Sandbox::new();
    let outside = tempfile::tempdir().unwrap();
    let pool = outside.path().join("pool");
    let allow = |what: &str| sandbox.write("kiln.toml", &format!("[allow]\npaths = [{what}]\n"));
    allow("");
    sandbox.write("specs/stack.yaml", &stack("interval: 1h").replace("../pool", pool.to_str().unwrap()));
    sandbox.volume("a", "size: 1Mi");
    let daemon = Daemon::spawn(&sandbox, "state", &["--config", "kiln.toml", "watch"], &[]);
    daemon.is_up();
    assert!(daemon.ask("GET /metrics").contains("kiln_held{reason=\"NotAllowed\"}"));
    allow(&format!("\"{}\"", outside.path().display()));
    daemon.pass();
    assert!(!pool.exists(), "it was not told yet");
    daemon.send(Signal::HUP);
    wait("the volume", || {
        fs::read_dir(&pool)
            .is_ok_and(|all| all.flatten().any(|e| e.file_name().to_string_lossy().starts_with("kiln.prod.a.")))
    });
    // A slip of the pen takes nothing away.
    sandbox.write("kiln.toml", "[alow]\n");
    daemon.send(Signal::HUP);
    wait("that it is told", || daemon.log().contains("the previous host configuration stays in use"));
    daemon.pass();
    assert_eq!(daemon.metric("kiln_held"), 0.0);
    assert_eq!(daemon.end(), Some(0));
}

/// The length, inode and times of every file and directory.
fn files(sandbox: &Sandbox, of: &[&str]) -> BTreeMap<PathBuf, [i64; 4]> {
    let mut files = BTreeMap::new();
    let mut open: Vec<PathBuf> = of.iter().map(|name| sandbox.path(name)).collect();
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let (length, inode) = (i64::try_from(stat.len()).unwrap(), i64::try_from(stat.ino()).unwrap());
        files.insert(path, [length, inode, stat.mtime(), stat.mtime_nsec()]);
    }
    files
}

#[test]
fn passes_with_nothing_to_do_write_nothing_to_the_store_and_the_pools() {
    let sandbox = patient();
    let sim = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: other}\n\
               spec: {driver: sim, sim: {path: ../other/sim.pool}}\n---\n\
               apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: b}\nspec: {backend: other, size: 1Mi}\n";
    sandbox.write("specs/other.yaml", sim);
    sandbox.volume("a", "size: 1Mi");
    sandbox.write("specs/s.yaml", "apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {name: s}\nspec: {volume: a}\n");
    let daemon = Daemon::start(&sandbox);
    daemon.confirmation_read();
    let now = || files(&sandbox, &["state", "pool", "other"]);
    let before = now();
    assert!(before.len() > 15, "{before:?}");
    for _ in 0..3 {
        let passes = daemon.passes();
        daemon.send(Signal::HUP);
        wait("a pass", || daemon.passes() > passes);
        daemon.pass();
        assert_eq!(now(), before);
    }
    // One that has something to do is seen.
    sandbox.volume("c", "size: 1Mi");
    arrives(&sandbox, "c");
    daemon.pass();
    assert_ne!(now(), before);
}

#[test]
fn the_daemon_survives_an_unwritable_log() {
    let sandbox = patient();
    let mut daemon = Daemon::spawn_with_log(&sandbox, "state", &["watch"], &[], "/dev/full".into());
    daemon.is_up();
    sandbox.volume("a", "size: 1Mi");
    arrives(&sandbox, "a");
    sandbox.volume("a", "size: [");
    daemon.confirmation_read();
    assert_eq!(daemon.metric("kiln_manifest_problems"), 1.0);
    daemon.send(Signal::TERM);
    assert_eq!(daemon.ended(), Some(0));
}

/// What came from the daemon, line by line.
fn told(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
}

#[test]
fn the_service_manager_is_notified() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let path = sandbox.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let mut daemon = Daemon::spawn(&sandbox, "state", &["watch"], &environment);
    let has = |lines: &[String], what: &str| lines.iter().any(|line| line == what);
    let next = |what: &str| until(what, || Some(told(&socket)).filter(|lines| has(lines, what)));
    next("READY=1");
    let mut beats = Vec::new();
    for _ in 0..4 {
        next("WATCHDOG=1");
        beats.push(Instant::now());
    }
    // Twice as often as it is waited for; on a machine with much else to do, seldom enough to be killed is what must not be.
    let slowest = beats.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(slowest < Duration::from_millis(600) * 4, "{slowest:?}");
    daemon.send(Signal::HUP);
    let reloading = next("RELOADING=1");
    assert!(
        reloading.iter().any(|line| line.strip_prefix("MONOTONIC_USEC=").is_some_and(|at| at.parse::<u64>().is_ok())),
        "{reloading:?}"
    );
    next("READY=1");
    let says = until("its status", || told(&socket).into_iter().find(|line| line.starts_with("STATUS=last pass ")));
    assert!(says.ends_with(": done"), "{says}");
    daemon.send(Signal::TERM);
    next("STOPPING=1");
    assert_eq!(daemon.ended(), Some(0));
    arrives(&sandbox, "a");
    assert_eq!(live(&sandbox), ["a"]);
}

#[test]
fn log_lines_for_the_journal_have_priorities() {
    let sandbox = patient();
    let log = sandbox.path("state.log");
    let metadata = fs::File::create(&log).unwrap().metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    sandbox.volume("a", "size: 1Mi");
    let mut daemon = Daemon::spawn(&sandbox, "state", &["watch"], &[("JOURNAL_STREAM", &stream)]);
    daemon.is_up();
    sandbox.write("specs/bad.yaml", "kind: [\n");
    let lines = || fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect::<Vec<String>>();
    let has = |begin: &str, part: &str| lines().iter().any(|line| line.starts_with(begin) && line.contains(part));
    wait("a warning", || has("<4>", "bad.yaml"));
    assert!(has("<6>", "done: create"), "{:#?}", lines());
    daemon.send(Signal::TERM);
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn a_warning_of_the_plan_is_logged_once() {
    let sandbox = patient();
    let approval = "apiVersion: kiln/v1\nkind: Approval\nmetadata: {name: late}\nspec: {digest: abcdef0123456789}\n";
    sandbox.write("specs/approval.yaml", approval);
    let daemon = Daemon::start(&sandbox);
    daemon.pass();
    let told = || daemon.log().matches("ApprovalUnmatched").count();
    assert_eq!(told(), 1, "{}", daemon.log());
    sandbox.remove("specs/approval.yaml");
    daemon.pass();
    sandbox.write("specs/approval.yaml", approval);
    daemon.pass();
    assert_eq!(told(), 2, "{}", daemon.log());
}
