//! Runs external tools. No other file does.
//!
//! A tool is run by its absolute path with an argument vector, never through a shell. Its environment contains only `LC_ALL=C`, its standard
//! input is empty, and its output, memory, processor time and file size are limited. It runs in its own process group, which is killed at
//! the time limit or when the caller stops waiting. It is killed when the thread that waits for it ends, and so with this process.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::model::{DriverError, Effect, ErrorKind};
use crate::text::is_unsafe;

/// The directories of tools. `PATH` is not used, because the caller controls it and Kiln may run as root.
const PLACES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];
/// Limit for standard output and standard error each. `qemu-img info` writes 100 kB for an image with a few hundred snapshots.
const OUTPUT_LIMIT: usize = 1 << 20;
/// How often `go_on` is called while a tool writes nothing: often enough for a progress line.
const ASK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The limits of a tool.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToolLimits {
    /// Wall-clock time; `None` for work that takes as long as there is data, and that the caller can end.
    pub(super) time: Option<Duration>,
    /// Seconds of processor time.
    pub(super) cpu: Option<u64>,
    /// Bytes of address space.
    pub(super) memory: u64,
    /// Maximum size of a file that it writes, in bytes; `u64::MAX` for no limit.
    pub(super) file: u64,
}

/// The result of a tool that was not killed.
#[derive(Debug)]
pub(super) struct ToolOutput {
    pub(super) status: ExitStatus,
    pub(super) out: Vec<u8>,
    err: Vec<u8>,
}

impl ToolOutput {
    /// Returns the last line of its standard error, without unsafe characters.
    pub(super) fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.err);
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
        line.chars().filter(|c| !is_unsafe(*c)).take(300).collect()
    }
}

/// Runs a tool until it ends. `go_on` is called about ten times a second, and ends the tool by an error.
///
/// # Errors
/// `Unsupported` if it is not installed, `TimedOut`, `Permanent` if its output exceeds the limit; and the errors of `go_on`.
pub(super) fn run(
    name: &str,
    arguments: &[String],
    limits: ToolLimits,
    go_on: &mut dyn FnMut() -> Result<(), DriverError>,
) -> Result<ToolOutput, DriverError> {
    let mut running = RunningTool(start(name, arguments, limits)?);
    let failed = |what: &str, why: String| DriverError {
        kind: ErrorKind::Transient,
        effect: Effect::No,
        message: format!("{what} {name}: {why}"),
        fix: None,
    };
    let ended = Pid::from_raw(i32::try_from(running.0.id()).unwrap_or(0)).ok_or(Errno::SRCH);
    let ended = ended.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let ended = ended.map_err(|errno| failed("watching", errno.to_string()))?;
    let (Some(mut out), Some(mut err)) = (running.0.stdout.take(), running.0.stderr.take()) else {
        return Err(failed("listening to", "it has no output".to_owned()));
    };
    let begun = Instant::now();
    let (mut out_said, mut err_said) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open, mut alive) = (true, true, true);
    while alive || out_open || err_open {
        go_on()?;
        if let Some(limit) = limits.time.filter(|limit| begun.elapsed() > *limit) {
            return Err(DriverError {
                effect: Effect::No,
                ..DriverError::unknown(ErrorKind::TimedOut, format!("{name} did not end within {} s", limit.as_secs()))
            });
        }
        let mut ready = [false; 3];
        {
            let interest = |wanted: bool| if wanted { PollFlags::IN } else { PollFlags::empty() };
            let mut fds = [
                PollFd::from_borrowed_fd(out.as_fd(), interest(out_open)),
                PollFd::from_borrowed_fd(err.as_fd(), interest(err_open)),
                PollFd::from_borrowed_fd(ended.as_fd(), interest(alive)),
            ];
            match poll(&mut fds, Some(&ASK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("waiting for", errno.to_string())),
            }
            for (ready, fd) in ready.iter_mut().zip(&fds) {
                *ready = !fd.revents().is_empty();
            }
        }
        let take = |from: &mut dyn Read, said: &mut Vec<u8>| -> Result<bool, DriverError> {
            let mut buffer = [0; 8192];
            let n = from.read(&mut buffer).map_err(|error| failed("listening to", error.to_string()))?;
            if said.len() + n > OUTPUT_LIMIT {
                let message = format!("{name} wrote more than {OUTPUT_LIMIT} bytes");
                return Err(DriverError::before(ErrorKind::Permanent, message));
            }
            said.extend_from_slice(&buffer[..n]);
            Ok(n > 0)
        };
        if ready[0] && out_open {
            out_open = take(&mut out, &mut out_said)?;
        }
        if ready[1] && err_open {
            err_open = take(&mut err, &mut err_said)?;
        }
        alive = alive && !ready[2];
    }
    let status = running.0.wait().map_err(|error| failed("waiting for", error.to_string()))?;
    Ok(ToolOutput { status, out: out_said, err: err_said })
}

/// Returns the path of a tool.
///
/// # Errors
/// `Unsupported` if it is not installed.
fn find(name: &str) -> Result<PathBuf, DriverError> {
    let paths = PLACES.map(|place| PathBuf::from(place).join(name));
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let message = format!("the tool {name} is not installed (searched {})", PLACES.join(", "));
        DriverError::before(ErrorKind::Unsupported, message)
    })
}

/// Runs `work` while no tool is between fork and exec, because a child has all files of this process open until exec.
pub(super) fn while_none_starts<T>(work: impl FnOnce() -> T) -> T {
    static STARTING: Mutex<()> = Mutex::new(());
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// `prlimit` and `setpriv` of util-linux set the limits and then execute the tool, so there is one process, which never runs without limits.
#[expect(clippy::disallowed_methods, reason = "the only function that starts tools")]
fn start(name: &str, arguments: &[String], limits: ToolLimits) -> Result<Child, DriverError> {
    let fsize = if limits.file == u64::MAX { "unlimited".to_owned() } else { limits.file.to_string() };
    let mut command = Command::new(find("prlimit")?);
    command.arg(format!("--as={}", limits.memory)).arg(format!("--fsize={fsize}")).arg("--core=0");
    if let Some(seconds) = limits.cpu {
        command.arg(format!("--cpu={seconds}"));
    }
    command.arg("--").arg(find("setpriv")?).args(["--pdeathsig", "KILL", "--no-new-privs", "--"]);
    command.arg(find(name)?).args(arguments);
    command.env_clear().env("LC_ALL", "C").current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    while_none_starts(|| command.spawn())
        .map_err(|error| DriverError::before(ErrorKind::Transient, format!("starting {name}: {error}")))
}

/// A process that is killed on drop.
struct RunningTool(Child);

impl Drop for RunningTool {
    fn drop(&mut self) {
        // After it was waited for, its id may belong to another process.
        if let Ok(None) = self.0.try_wait() {
            if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ToolLimits =
        ToolLimits { time: Some(Duration::from_secs(20)), cpu: Some(5), memory: 1 << 30, file: 1 << 20 };

    fn sh(script: &str, limits: ToolLimits) -> Result<ToolOutput, DriverError> {
        run("sh", &["-c".to_owned(), script.to_owned()], limits, &mut || Ok(()))
    }

    #[test]
    fn a_tool_has_no_environment_no_input_and_its_limits() {
        let said = sh("env; cat; ulimit -v; ulimit -t; ulimit -c; pwd; echo wrong >&2; exit 3", LIMITS).unwrap();
        let out = String::from_utf8(said.out.clone()).unwrap();
        assert!(out.contains("LC_ALL=C\n") && !out.contains("HOME=") && !out.contains("PATH="), "{out}");
        assert!(out.ends_with("1048576\n5\n0\n/\n"), "{out}");
        assert_eq!((said.status.code(), said.complaint()), (Some(3), "wrong".to_owned()));
    }

    #[test]
    fn arguments_are_no_shell() {
        let hostile = ["%s|".to_owned(), "$(id)".to_owned(), "; id".to_owned(), "--help".to_owned()];
        let said = run("printf", &hostile, LIMITS, &mut || Ok(())).unwrap();
        assert_eq!(said.out, b"$(id)|; id|--help|");
    }

    #[test]
    fn a_tool_that_exceeds_its_limits_is_killed_with_its_children() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let begun = Instant::now();
        let error = sh(&script, ToolLimits { time: Some(Duration::from_millis(500)), ..LIMITS }).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::TimedOut, Effect::No), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(15));
        let child = std::fs::read_to_string(file).unwrap();
        // A killed process is there until it has given back what it had.
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        while !(stat().is_empty() || stat().contains(") Z ")) {
            assert!(begun.elapsed() < Duration::from_secs(15), "its child lives: {}", stat());
            std::thread::yield_now();
        }
        let error = sh("while :; do echo much; done", LIMITS).unwrap_err();
        assert!(error.message.contains("wrote more than"), "{error}");
        assert!(!sh("exec dd if=/dev/zero of=/dev/null bs=2G count=1", LIMITS).unwrap().status.success(), "memory");
        let large = format!("dd if=/dev/zero of={}/x bs=1M count=2", home.path().display());
        assert!(!sh(&large, LIMITS).unwrap().status.success(), "file size");
    }

    #[test]
    fn a_caller_who_goes_ends_it() {
        let mut asked = 0;
        let error = run("sleep", &["1000".to_owned()], LIMITS, &mut || {
            asked += 1;
            if asked > 2 { Err(DriverError::before(ErrorKind::Transient, "gone")) } else { Ok(()) }
        });
        assert_eq!(error.unwrap_err().message, "gone");
        assert!(sh("true", LIMITS).unwrap().status.success());
        assert_eq!(run("no-such-tool", &[], LIMITS, &mut || Ok(())).unwrap_err().kind, ErrorKind::Unsupported);
    }

    #[test]
    fn a_tool_gains_no_privileges() {
        let said = sh("grep NoNewPrivs /proc/self/status", LIMITS).unwrap();
        assert_eq!(String::from_utf8_lossy(&said.out), "NoNewPrivs:\t1\n");
    }

    const PLACE: &str = "KILN_TEST_TOOL_CHILD";

    /// The process that is killed while it waits for a tool.
    #[test]
    #[ignore = "run by a_tool_dies_with_its_caller, as a process of its own"]
    #[expect(clippy::disallowed_methods, reason = "a test that is told where to write")]
    fn child() {
        let place = std::env::var(PLACE).expect("run by another test");
        let _ = sh(&format!("echo $$ > {place}.new; mv {place}.new {place}; exec sleep 1000"), LIMITS);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the process that is killed must be another one than this")]
    fn a_tool_dies_with_its_caller() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("pid");
        let mut caller = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "driver::tool::tests::child", "--ignored"])
            .env(PLACE, &place)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !place.exists() {
            assert!(begun.elapsed() < Duration::from_secs(15), "the tool never began");
            std::thread::sleep(Duration::from_millis(5));
        }
        let tool: i32 = std::fs::read_to_string(&place).unwrap().trim().parse().unwrap();
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{tool}/stat")).unwrap_or_default();
            !(stat.is_empty() || stat.contains(") Z "))
        };
        assert!(lives());
        caller.kill().unwrap();
        caller.wait().unwrap();
        let killed = Instant::now();
        while lives() && killed.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = lives();
        if left {
            let _ = rustix::process::kill_process(Pid::from_raw(tool).unwrap(), Signal::KILL);
        }
        assert!(!left, "the tool outlives its caller");
    }
}
