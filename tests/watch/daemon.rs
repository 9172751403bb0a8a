//! A daemon under test, and how tests wait for what it does.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sandbox::{STACK, Sandbox};

/// What a person would wait for. Far longer than anything here takes on a machine that does nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A removal is made no earlier than this after its document went.
pub(crate) const CONFIRMATION_READ: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(25);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(POLL);
    }
}

/// Likewise, for something to be so.
#[track_caller]
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    until(what, || is_so().then_some(()));
}

/// Runs tests at once, each on a thread of its name: most of their time they wait.
pub(crate) fn all_at_once(tests: &[(&str, fn())]) {
    let spawn =
        |(name, test): &(&str, fn())| std::thread::Builder::new().name((*name).to_owned()).spawn(*test).unwrap();
    let threads: Vec<_> = tests.iter().map(spawn).collect();
    let ended = tests.iter().zip(threads).map(|((name, _), thread)| (*name, thread.join()));
    let failed: Vec<&str> = ended.filter(|(_, end)| end.is_err()).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

/// [`all_at_once`], by their names.
macro_rules! at_once {
    ($($test:ident),+ $(,)?) => {
        $crate::daemon::all_at_once(&[$((stringify!($test), $test as fn())),+])
    };
}

/// A running `kiln watch`. Dropped, it is killed.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    state: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Follows `specs/` with the store in `state/`, and has made its first pass.
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        let daemon = Self::spawn(sandbox, "state", &["watch"], &[]);
        daemon.is_up();
        daemon
    }

    pub(crate) fn spawn(sandbox: &Sandbox, state: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = sandbox.path(&format!("{state}.log"));
        Self::spawn_with_log(sandbox, state, arguments, environment, log)
    }

    pub(crate) fn spawn_with_log(
        sandbox: &Sandbox,
        state: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        log: PathBuf,
    ) -> Self {
        let (state, mut command) = (sandbox.path(state), Self::command(sandbox, state, arguments, environment, &log));
        Self { child: command.spawn().unwrap(), state, log }
    }

    /// With its first pass made, as another user, who can write to `state/`.
    pub(crate) fn start_as(sandbox: &Sandbox, user: u32) -> Self {
        let (state, log) = (sandbox.path("state"), sandbox.path("state.log"));
        let mut command = Self::command(sandbox, "state", &["watch"], &[], &log);
        let child = std::os::unix::process::CommandExt::uid(&mut command, user).spawn().unwrap();
        let daemon = Self { child, state, log };
        daemon.is_up();
        daemon
    }

    fn command(
        sandbox: &Sandbox,
        state: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> std::process::Command {
        let file = File::options().create(true).append(true).open(log).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the program under test, which runs beside the test")]
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"));
        for variable in ["KILN_STATE", "KILN_SPECS", "KILN_CONFIG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command.args(["--state", state]).args(arguments).envs(environment.iter().copied());
        command.current_dir(sandbox.path("")).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        command
    }

    /// Waits for the end of the first pass.
    pub(crate) fn is_up(&self) {
        wait("the first pass", || self.try_ask("GET /v1/daemon").is_some_and(|view| view.contains("\"lastPass\":{")));
        self.has_caught_up();
    }

    /// Waits for the backends that answered too late for a pass: on a busy machine every backend may.
    #[track_caller]
    fn has_caught_up(&self) {
        wait("slow backends", || {
            let view = self.view();
            view["slowBackends"] == Value::Array(Vec::new()) && view["running"].is_null()
        });
    }

    /// The body of an answer with 200; none if there is no other answer.
    pub(crate) fn try_ask(&self, request: &str) -> Option<String> {
        ask(&self.state, request)
    }

    #[track_caller]
    pub(crate) fn ask(&self, request: &str) -> String {
        self.try_ask(request).unwrap_or_else(|| panic!("no answer to {request}\n{}", self.log()))
    }

    /// `GET /v1/daemon`.
    #[track_caller]
    pub(crate) fn view(&self) -> Value {
        serde_json::from_str(&self.ask("GET /v1/daemon")).unwrap()
    }

    /// The samples of a metric added up.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.ask("GET /metrics");
        let samples =
            text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
        samples.map(|rest| rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// Passes that have ended.
    pub(crate) fn passes(&self) -> f64 {
        self.metric("kiln_reconcile_total")
    }

    /// Waits for the end of a pass that began after now: what is there now was read by it.
    #[track_caller]
    pub(crate) fn pass(&self) {
        // The first may have begun before.
        for _ in 0..2 {
            let before = self.passes();
            self.ask("POST /v1/reconcile");
            wait("a pass", || self.passes() > before);
        }
        self.has_caught_up();
    }

    /// Waits for two passes with the time of a confirmation read between them: afterwards removals are done too.
    #[track_caller]
    pub(crate) fn confirmation_read(&self) {
        self.pass();
        let seen = Instant::now();
        wait("the confirmation read", || seen.elapsed() > CONFIRMATION_READ);
        self.pass();
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it, and gives its exit code.
    #[track_caller]
    pub(crate) fn end(mut self) -> Option<i32> {
        self.send(Signal::TERM);
        self.ended()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        until("the end of the daemon", || self.child.try_wait().unwrap()).code()
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A device is no log to be shown.
        if std::thread::panicking() && self.log.is_file() {
            let log = self.log();
            let last = log.lines().count().saturating_sub(60);
            let lines: Vec<&str> = log.lines().skip(last).collect();
            #[expect(clippy::print_stderr, reason = "shown with a test that fails")]
            {
                eprintln!("--- the end of the daemon's log:\n{}\n---", lines.join("\n"));
            }
        }
    }
}

/// A request such as `GET /metrics` to the daemon that has a store.
pub(crate) fn ask(state: &Path, request: &str) -> Option<String> {
    let mut stream = UnixStream::connect(state.join("kiln.sock")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let head = "connection: close\r\ncontent-length: 0\r\ncontent-type: application/json";
    write!(stream, "{request} HTTP/1.1\r\nhost: kiln\r\nkiln-version: {version}\r\n{head}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
}

/// With a Stack whose interval is so long that nothing is noticed by looking again: what arrives was noticed.
pub(crate) fn patient() -> Sandbox {
    with_stack("interval: 1h")
}

/// With more of a Stack's spec.
pub(crate) fn with_stack(spec: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", &stack(spec));
    sandbox
}

/// The text of a Stack and the Backend `fast`, with more of the Stack's spec.
pub(crate) fn stack(spec: &str) -> String {
    STACK.replace("{id: 5c1d2e8a90}", &format!("{{id: 5c1d2e8a90, {spec}}}"))
}

/// A document of a volume of a size.
pub(crate) fn document(name: &str, size: &str) -> String {
    format!(
        "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: fast, size: {size}}}\n"
    )
}

/// The names of the volumes in a directory of the pool, and the sizes of their images.
fn volumes(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let native = entry.file_name().into_string().unwrap();
        let image = entry.path().join(format!("{native}.img"));
        if let (Some(name), Ok(meta)) = (native.strip_prefix("kiln.prod."), fs::metadata(image)) {
            found.push((name.split_once('.').unwrap().0.to_owned(), meta.len()));
        }
    }
    found.sort();
    found
}

/// What is live in the pool.
pub(crate) fn live(sandbox: &Sandbox) -> Vec<String> {
    volumes(&sandbox.path("pool")).into_iter().map(|(name, _)| name).collect()
}

/// What is in its trash.
pub(crate) fn trash(sandbox: &Sandbox) -> Vec<String> {
    volumes(&sandbox.path("pool/.trash")).into_iter().map(|(name, _)| name).collect()
}

/// Waits for a volume.
#[track_caller]
pub(crate) fn arrives(sandbox: &Sandbox, name: &str) {
    wait(&format!("the volume {name}"), || live(sandbox).iter().any(|have| have == name));
}

/// Waits for a volume to have a size.
#[track_caller]
pub(crate) fn grows(sandbox: &Sandbox, name: &str, bytes: u64) {
    let wanted = (name.to_owned(), bytes);
    wait(&format!("{name} of {bytes} bytes"), || volumes(&sandbox.path("pool")).contains(&wanted));
}

/// A daemon and one volume that has to stay.
pub(crate) fn following() -> (Sandbox, Daemon) {
    let sandbox = patient();
    sandbox.volume("canary", "size: 1Mi");
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox), ["canary"]);
    (sandbox, daemon)
}

/// Asserts that nothing was removed, and nothing will be.
#[track_caller]
pub(crate) fn all_stay(sandbox: &Sandbox, daemon: &Daemon, names: &[&str]) {
    daemon.confirmation_read();
    assert_eq!((live(sandbox), trash(sandbox)), (names.iter().map(|name| (*name).to_owned()).collect(), vec![]));
}
