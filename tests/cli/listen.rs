//! `kiln watch --listen`: what it answers over TCP, whom, and what it refuses. All traffic is on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::sandbox::Sandbox;
use crate::signals::{send, start};

/// Far longer than any of this takes on a slow machine, and not for ever.
const PATIENCE: Duration = Duration::from_secs(60);

const TOKEN: &str = "canary-0123456789abcdef";

/// A daemon that listens.
struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    logging: Option<JoinHandle<()>>,
    scheme: String,
    port: u16,
}

impl Daemon {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut child = start(sandbox, &[&["watch", "--log", "trace"], arguments].concat());
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let url = loop {
            let from = log.len();
            assert_ne!(err.read_line(&mut log).unwrap(), 0, "it ended before it listened:\n{log}");
            if let Some((_, url)) = log[from..].split_once("listening on ") {
                break url.trim().to_owned();
            }
        };
        let log = Arc::new(Mutex::new(log));
        let more = Arc::clone(&log);
        let logging = std::thread::spawn(move || {
            for line in err.lines() {
                more.lock().unwrap().extend([&line.unwrap(), "\n"]);
            }
        });
        let (scheme, address) = url.split_once("://").unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        assert_ne!(port, 0, "the port that was free is told");
        Self { child, log, logging: Some(logging), scheme: scheme.to_owned(), port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The answer to a request of these lines, over plain TCP.
    fn ask(&self, lines: &[&str]) -> String {
        asked(self.connect(), lines)
    }

    fn get(&self, path: &str) -> String {
        self.ask(&[&format!("GET {path} HTTP/1.1"), "Host: localhost"])
    }

    /// The answer over TLS, from who shows the certificate in `ca`.
    fn ask_tls(&self, sandbox: &Sandbox, ca: &str, lines: &[&str]) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(sandbox.path(ca)).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let to = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);
        let client = ClientConnection::new(Arc::new(config), to.into()).unwrap();
        let mut stream = StreamOwned::new(client, self.connect());
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(asked(stream, lines))
    }

    /// Asks until the answer has this in it.
    fn until(&self, want: &str, mut ask: impl FnMut(&Self) -> String) {
        let begun = Instant::now();
        loop {
            let answer = ask(self);
            if answer.contains(want) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {want:?}: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it by a signal, and gives its log.
    fn end(mut self) -> String {
        send(&self.child, Signal::TERM);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.logging.take().unwrap().join().unwrap();
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed leaves none behind; one that has ended already is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asked(mut stream: impl Read + Write, lines: &[&str]) -> String {
    let request = format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// A key and a certificate of its own for 127.0.0.1, as `NAME.key` and `NAME.pem`.
fn certify(sandbox: &Sandbox, name: &str) {
    sandbox.write(
        "req.cnf",
        "[req]\nprompt = no\ndistinguished_name = dn\nx509_extensions = ext\n[dn]\nCN = kiln\n\
         [ext]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = IP:127.0.0.1\n",
    );
    let arguments = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -config req.cnf -keyout {name}.key -out {name}.pem"
    );
    let mut openssl = assert_cmd::Command::new("openssl");
    openssl.args(arguments.split(' ')).current_dir(sandbox.path("")).assert().success();
    secret(sandbox, &format!("{name}.key"), None);
}

/// Makes a file a secret, with a new content perhaps.
fn secret(sandbox: &Sandbox, path: &str, text: Option<&str>) {
    text.into_iter().for_each(|text| sandbox.write(path, text));
    mode(sandbox, path, 0o640);
}

fn mode(sandbox: &Sandbox, path: &str, mode: u32) {
    std::fs::set_permissions(sandbox.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn tcp_serves_only_monitoring() {
    let sandbox = Sandbox::with_stack();
    let daemon = Daemon::start(&sandbox, &["--listen", "127.0.0.1:0"]);
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200 "));
    daemon.until("HTTP/1.1 200 ", |daemon| daemon.get("/readyz"));
    // The daemon is ready before its first pass ends.
    daemon.until("\nkiln_reconcile_total{result=\"done\"} 1\n", |daemon| daemon.get("/metrics"));
    let metrics = daemon.get("/metrics");
    assert!(
        metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("\r\ncontent-type: application/openmetrics-text;")
    );

    let version = format!("kiln-version: {}", env!("CARGO_PKG_VERSION"));
    for request in [
        "GET /v1/daemon",
        "GET /v1/objects",
        "GET /v1/status",
        "GET /v1/plan",
        "GET /v1/doctor",
        "GET /v1/trash",
        "GET /v1/unowned?backend=fast",
        "GET /v1/journal?limit=9",
        "GET /v1/store?journal=9",
        "POST /v1/apply",
        "POST /v1/runs/0/stop",
        "POST /v1/operation",
        "POST /v1/reconcile",
        "GET /",
    ] {
        let answer = daemon.ask(&[&format!("{request} HTTP/1.1"), "Host: localhost", &version, "Content-Length: 0"]);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{request}: {answer}");
    }

    let url = format!("http://127.0.0.1:{}", daemon.port);
    sandbox.kiln("status").ends(0).says(&format!("listening   {url}\n"));
    assert_eq!(sandbox.kiln("status -o json").json()["daemon"]["listening"], url);
    daemon.end();
}

#[test]
fn dns_rebinding_is_refused() {
    let sandbox = Sandbox::with_stack();
    let daemon = Daemon::start(&sandbox, &["--listen", "127.0.0.1:0"]);
    let port = daemon.port;
    for host in ["localhost".to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}"), "[::1]".to_owned()] {
        let answer = daemon.ask(&["GET /healthz HTTP/1.1", &format!("Host: {host}")]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    for hosts in [
        vec![format!("Host: example.org:{port}")],
        vec!["Host: 127.0.0.1.example.org".to_owned()],
        vec!["Host: localhost".to_owned(), "Host: example.org".to_owned()],
        vec![],
    ] {
        for path in ["/healthz", "/readyz", "/metrics", "/v1/daemon"] {
            let mut lines = vec![format!("GET {path} HTTP/1.1")];
            lines.extend(hosts.clone());
            let answer = daemon.ask(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("use localhost"), "{hosts:?}: {answer}");
        }
    }
    daemon.end();
}

#[test]
fn tcp_connections_do_not_exhaust_the_control_socket() {
    let sandbox = Sandbox::with_stack();
    let daemon = Daemon::start(&sandbox, &["--listen", "127.0.0.1:0"]);
    let idle: Vec<TcpStream> = (0..150).map(|_| daemon.connect()).collect();
    sandbox.kiln("status").ends(0).says("listening");
    // They are let go of, since none of them asks for anything.
    daemon.until("HTTP/1.1 200 ", |daemon| daemon.get("/healthz"));
    drop(idle);
    daemon.end();
}

#[test]
fn addresses_beyond_loopback_require_tls_and_a_token() {
    let sandbox = Sandbox::with_stack();
    certify(&sandbox, "a");
    secret(&sandbox, "token", Some(TOKEN));
    let options = ["--tls-cert a.pem", "--tls-key a.key", "--token-file token"];
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9641"] {
        for given in 0..7 {
            let (there, missing): (Vec<_>, Vec<_>) = (0..3).partition(|n| given >> n & 1 == 1);
            let there: Vec<&str> = there.into_iter().map(|n: usize| options[n]).collect();
            let missing: Vec<&str> = missing.into_iter().map(|n| options[n].split_once(' ').unwrap().0).collect();
            let ran = sandbox.kiln(&format!("watch --listen {address} {}", there.join(" "))).ends(2);
            ran.warns(&format!("missing: {}\n", missing.join(", "))).warns("hint: ");
        }
    }
    assert!(!sandbox.has("state"), "it has not begun");
}

#[test]
fn requests_over_tls_need_the_token() {
    let sandbox = Sandbox::with_stack();
    certify(&sandbox, "a");
    secret(&sandbox, "token", Some(&format!("  {TOKEN}\n")));
    let options = ["--listen", "0.0.0.0:0", "--tls-cert", "a.pem", "--tls-key", "a.key", "--token-file", "token"];
    let daemon = Daemon::start(&sandbox, &options);
    assert_eq!(daemon.scheme, "https");
    let get = |daemon: &Daemon, path: &str, ca: &str, token: &str| {
        let lines = [&format!("GET {path} HTTP/1.1"), "Host: storage.example.org", token];
        daemon.ask_tls(&sandbox, ca, if token.is_empty() { &lines[..2] } else { &lines })
    };
    let right = format!("Authorization: Bearer {TOKEN}");
    for path in ["/healthz", "/metrics"] {
        assert!(get(&daemon, path, "a.pem", &right).unwrap().starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert!(get(&daemon, "/v1/daemon", "a.pem", &right).unwrap().starts_with("HTTP/1.1 404 "));
    for wrong in
        ["", "Authorization: Bearer", "Authorization: Bearer canary-0123456789abcdeg", "Authorization: Basic x"]
    {
        for path in ["/healthz", "/readyz", "/metrics", "/v1/daemon"] {
            let answer = get(&daemon, path, "a.pem", wrong).unwrap();
            let head = answer.to_lowercase();
            assert!(head.starts_with("http/1.1 401 ") && head.contains("\r\nwww-authenticate: bearer"), "{answer}");
        }
    }
    // Who speaks no TLS is not answered in the clear.
    let mut plain = daemon.connect();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|bytes| bytes == b"HTTP"), "{answer:?}");

    // What cannot be used changes nothing; what can is taken from the next connection on.
    certify(&sandbox, "b");
    std::fs::rename(sandbox.path("b.key"), sandbox.path("a.key")).unwrap();
    send(&daemon.child, Signal::HUP);
    daemon.until("the previous certificate and token stay in use", |daemon| daemon.log.lock().unwrap().clone());
    assert!(get(&daemon, "/healthz", "a.pem", &right).unwrap().starts_with("HTTP/1.1 200 "));
    std::fs::copy(sandbox.path("b.pem"), sandbox.path("a.pem")).unwrap();
    secret(&sandbox, "token", Some("another-0123456789"));
    send(&daemon.child, Signal::HUP);
    let other = "Authorization: Bearer another-0123456789";
    daemon.until("HTTP/1.1 200 ", |daemon| get(daemon, "/healthz", "b.pem", other).unwrap_or_default());
    assert!(get(&daemon, "/healthz", "b.pem", &right).unwrap().starts_with("HTTP/1.1 401 "));

    let log = daemon.end();
    assert!(log.contains("cannot be used together"), "{log}");
    assert!(!log.contains("canary") && !log.contains("another-0"), "no token is logged");
}

#[test]
fn a_token_or_tls_given_for_loopback_is_required() {
    let sandbox = Sandbox::with_stack();
    certify(&sandbox, "a");
    secret(&sandbox, "token", Some(TOKEN));
    let daemon = Daemon::start(&sandbox, &["--listen", "127.0.0.1:0", "--token-file", "token"]);
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 401 "));
    let right = format!("Authorization: Bearer {TOKEN}");
    let answer = daemon.ask(&["GET /healthz HTTP/1.1", "Host: localhost", &right]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    daemon.end();

    let daemon = Daemon::start(&sandbox, &["--listen", "127.0.0.1:0", "--tls-cert", "a.pem", "--tls-key", "a.key"]);
    let answer = daemon.ask_tls(&sandbox, "a.pem", &["GET /healthz HTTP/1.1", "Host: storage.example.org"]);
    assert!(answer.unwrap().starts_with("HTTP/1.1 200 "));
    daemon.end();
}

#[test]
fn an_invalid_listener_ends_the_start() {
    let sandbox = Sandbox::with_stack();
    certify(&sandbox, "a");
    certify(&sandbox, "b");
    sandbox.write("no.pem", &format!("-----BEGIN PRIVATE KEY-----\n{TOKEN}\n"));
    mode(&sandbox, "no.pem", 0o600);
    secret(&sandbox, "short", Some("canary-01234567"));
    secret(&sandbox, "two", Some("canary-01234567 89abcdef"));
    sandbox.write("open", TOKEN);
    mode(&sandbox, "open", 0o644);
    sandbox.write("open.key", &std::fs::read_to_string(sandbox.path("a.key")).unwrap());
    mode(&sandbox, "open.key", 0o660);
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = format!("--listen {}", other.local_addr().unwrap());
    let here = "--listen 127.0.0.1:0";
    for (arguments, exit, why) in [
        (taken.as_str(), 1, ": Address already in use"),
        ("--listen localhost:1", 2, "not an IP address with a port"),
        ("--listen 9641", 2, "not an IP address with a port"),
        ("--token-file open", 2, "--listen"),
        (&format!("{here} --tls-cert a.pem"), 2, "must be given together"),
        (&format!("{here} --tls-cert a.pem --tls-key b.key"), 2, "cannot be used together"),
        (&format!("{here} --tls-cert a.key --tls-key a.key"), 2, "no certificate"),
        (&format!("{here} --tls-cert no.pem --tls-key a.key"), 2, "no certificate"),
        (&format!("{here} --tls-cert a.pem --tls-key no.pem"), 2, "no private key"),
        (&format!("{here} --tls-cert a.pem --tls-key open.key"), 2, "its mode 0660"),
        (&format!("{here} --tls-cert not-there --tls-key a.key"), 2, "not-there cannot be read"),
        (&format!("{here} --token-file open"), 2, "its mode 0644"),
        (&format!("{here} --token-file short"), 2, "at least 16 ASCII characters"),
        (&format!("{here} --token-file two"), 2, "at least 16 ASCII characters"),
        (&format!("{here} --token-file specs"), 2, "is not a regular file"),
    ] {
        let ran = sandbox.kiln(&format!("watch {arguments}")).ends(exit).warns(why);
        assert!(!ran.err.contains("canary"), "{}", ran.err);
        assert_eq!(sandbox.has("state"), exit == 1, "{arguments}: all but the address is looked at first");
        if exit == 1 {
            assert!(!sandbox.has("state/kiln.sock"), "no socket is left");
            sandbox.remove("state");
        }
    }
}
