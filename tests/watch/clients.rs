//! Clients that the daemon has to bear: many, slow, and such as speak something else.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, PATIENCE, arrives, ask, patient, wait};
use crate::sandbox::Sandbox;

/// Descriptors and threads of a process.
pub(crate) fn holds(daemon: &Daemon) -> (usize, usize) {
    let of = |what: &str| fs::read_dir(format!("/proc/{}/{what}", daemon.child.id())).unwrap().count();
    (of("fd"), of("task"))
}

fn connect(sandbox: &Sandbox) -> UnixStream {
    let stream = UnixStream::connect(sandbox.path("state/kiln.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks for everything, in the way that is measured.
fn ask_for_all(sandbox: &Sandbox) {
    for request in ["GET /v1/daemon", "GET /v1/objects", "GET /metrics", "GET /healthz", "GET /v1/store?journal=10"] {
        assert!(ask(&sandbox.path("state"), request).is_some(), "{request}");
    }
}

#[test]
fn slow_and_invalid_clients_delay_no_others() {
    let sandbox = patient();
    (0..20).for_each(|n| sandbox.volume(&format!("v{n}"), "size: 1Mi"));
    let daemon = Daemon::start(&sandbox);
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| ask_for_all(&sandbox)))));
    daemon.confirmation_read();
    let before = holds(&daemon);

    // Those that say nothing, half a head, or never read; they stay while others are served.
    let silent: Vec<UnixStream> = (0..20).map(|_| connect(&sandbox)).collect();
    let deaf: Vec<UnixStream> = (0..20)
        .map(|n| {
            let mut stream = connect(&sandbox);
            let request = if n % 2 == 0 {
                "GET /v1/objects HTTP/1.1\r\nhost: kiln\r\nkiln-version: 0.1.0\r\n\r\n"
            } else {
                "GET /met"
            };
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    std::thread::scope(|scope| {
        for n in 0..50 {
            let sandbox = &sandbox;
            scope.spawn(move || match n % 5 {
                0 => drop(sandbox.kiln("get -o json").ends(0)),
                1 => drop(sandbox.kiln("status").ends(0)),
                2 => ask_for_all(sandbox),
                3 => {
                    // No HTTP at all. What comes back, if anything, is a refusal.
                    let mut stream = connect(sandbox);
                    let garbage: Vec<u8> =
                        (0..4096_u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
                    let mut answer = Vec::new();
                    // It may be hung up on while it still talks.
                    if stream.write_all(&garbage).is_ok() && stream.read_to_end(&mut answer).is_ok() {
                        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
                    }
                }
                _ => {
                    let mut stream = connect(sandbox);
                    let head = format!("GET /metrics HTTP/1.1\r\nhost: kiln\r\nx: {}\r\n\r\n", "x".repeat(4 << 20));
                    let mut answer = Vec::new();
                    if stream.write_all(head.as_bytes()).is_ok() && stream.read_to_end(&mut answer).is_ok() {
                        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
                    }
                }
            });
        }
        // Meanwhile it does what it is there for.
        sandbox.volume("meanwhile", "size: 1Mi");
        arrives(&sandbox, "meanwhile");
    });
    // Half a head is waited for only so long.
    let mut answer = Vec::new();
    let began = Instant::now();
    (&silent[0]).read_to_end(&mut answer).unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop((silent, deaf));
    wait("descriptors and threads to be given back", || {
        let now = holds(&daemon);
        // A thread more may wait for work.
        now.0 <= before.0 + 1 && now.1 <= before.1 + 4
    });
    ask_for_all(&sandbox);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_client_of_another_version_is_refused() {
    let sandbox = Sandbox::with_stack();
    let _daemon = Daemon::start(&sandbox);
    let mut stream = connect(&sandbox);
    stream
        .write_all(b"GET /v1/daemon HTTP/1.1\r\nhost: kiln\r\nkiln-version: 99.0.0\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("99.0.0"), "{answer}");
}

#[test]
fn other_users_cannot_use_the_socket() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_stack();
    let _daemon = Daemon::start(&sandbox);
    let mode = |path: &str| fs::metadata(sandbox.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state/kiln.sock"), 0o600);
}

#[test]
fn idle_connections_do_not_block_a_command() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let daemon = Daemon::start(&sandbox);
    // As many as this process may open, up to a thousand; each is connected anew when it is closed.
    let mut idle: Vec<UnixStream> = Vec::new();
    while idle.len() < 1000 {
        match UnixStream::connect(sandbox.path("state/kiln.sock")) {
            Ok(stream) => idle.push(stream),
            Err(_) => break,
        }
    }
    assert!(idle.len() > 300, "{}", idle.len());
    // Those that are left for the commands.
    idle.truncate(idle.len() - 20);
    sandbox.kiln("status").ends(0).says(&format!("process {}", daemon.child.id()));
    sandbox.kiln("suspend volume/a --reason busy").ends(0).says("recorded on fast");
    ask_for_all(&sandbox);
    assert!(holds(&daemon).0 < 250, "{:?}", holds(&daemon));
    drop(idle);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_socket_that_another_user_serves_is_not_asked() {
    use std::os::unix::fs::{PermissionsExt, chown};
    const OTHER: u32 = 65_534;
    // Another user needs one who may give files away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::with_volumes(&["a"]);
    fs::create_dir(sandbox.path("state")).unwrap();
    fs::set_permissions(sandbox.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    [".", "specs"].iter().for_each(|path| chown(sandbox.path(path), Some(OTHER), Some(OTHER)).unwrap());
    let daemon = Daemon::start_as(&sandbox, OTHER);
    let status = sandbox.kiln("status");
    let status = status.warns(&format!("it is served by another user ({OTHER})"));
    assert!(!status.out.contains("follows"), "{}", status.out);
    assert_eq!(daemon.end(), Some(0));
}
