//! A directory to run `kiln` in, and what a run gave.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

const CANARY: &[u8] = b"canary";

/// A fresh directory: `specs/`, `state/` and `pool/` in it are what the tests are about.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With a Stack and a local Backend `fast` in `specs/stack.yaml`.
    pub(crate) fn with_stack() -> Self {
        let sandbox = Self::new();
        sandbox.write("specs/stack.yaml", STACK);
        sandbox
    }

    /// Likewise, with volumes of 1Mi on that Backend.
    pub(crate) fn with_volumes(names: &[&str]) -> Self {
        let sandbox = Self::with_stack();
        names.iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
        sandbox
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// A volume in a file of its own.
    pub(crate) fn volume(&self, name: &str, spec: &str) {
        self.write(
            &format!("specs/{name}.yaml"),
            &format!(
                "apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: fast, {spec}}}\n"
            ),
        );
    }

    /// A snapshot in a file of its own.
    pub(crate) fn snapshot(&self, name: &str, spec: &str) {
        self.write(
            &format!("specs/{name}.yaml"),
            &format!("apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"),
        );
    }

    /// Runs `kiln` with arguments separated by blanks.
    pub(crate) fn kiln(&self, arguments: &str) -> Ran {
        self.run(arguments, "")
    }

    /// Runs `kiln` with something on standard input.
    pub(crate) fn run(&self, arguments: &str, stdin: &str) -> Ran {
        let mut command = self.command();
        command.args(arguments.split_whitespace()).write_stdin(stdin.to_owned());
        Ran::of(command.output().unwrap())
    }

    pub(crate) fn command(&self) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.current_dir(self.dir.path()).timeout(std::time::Duration::from_secs(60));
        for variable in ["KILN_STATE", "KILN_SPECS", "KILN_CONFIG", "NO_COLOR"] {
            command.env_remove(variable);
        }
        command
    }

    /// The one object of `kiln get KIND/NAME -o json`.
    pub(crate) fn object(&self, name: &str) -> Value {
        let all = self.kiln(&format!("get {name} -o json")).json();
        assert_eq!(all.as_array().map(Vec::len), Some(1), "{name}: {all}");
        all[0].clone()
    }

    /// The data file of an object that is there.
    pub(crate) fn data_file(&self, name: &str) -> PathBuf {
        let native = self.object(name)["status"]["object"].as_str().unwrap().to_owned();
        self.path("pool").join(&native).join(format!("{native}.img"))
    }

    /// The data file of the live object of a volume: another may be in the trash under its name.
    pub(crate) fn live_file(&self, volume: &str) -> PathBuf {
        let begin = format!("kiln.prod.{volume}.");
        let entries = fs::read_dir(self.path("pool")).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let native = names.find(|name| name.starts_with(&begin)).unwrap_or_else(|| panic!("{volume} is not live"));
        self.path(&format!("pool/{native}/{native}.img"))
    }

    /// Writes to a volume as a client does.
    pub(crate) fn write_data(&self, volume: &str) {
        fs::File::options().write(true).open(self.live_file(volume)).unwrap().write_all_at(CANARY, 4096).unwrap();
    }

    /// Whether a volume holds what [`Self::write_data`] wrote.
    pub(crate) fn holds_data(&self, volume: &str) -> bool {
        let mut read = [0; CANARY.len()];
        fs::File::open(self.live_file(volume)).unwrap().read_exact_at(&mut read, 4096).is_ok() && read == CANARY
    }

    /// Every file below a directory with its content, for "nothing was touched".
    pub(crate) fn tree(&self, path: &str) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(dir: &Path, out: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, out) } else { out.push((path.clone(), fs::read(path).unwrap())) }
            }
        }
        let mut out = Vec::new();
        walk(&self.path(path), &mut out);
        out.sort();
        out
    }
}

impl Ran {
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    /// Asserts that standard output holds a text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    /// Asserts that standard error holds a text.
    #[track_caller]
    pub(crate) fn warns(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in\n--- stderr\n{}\n--- stdout\n{}", self.err, self.out);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err))
    }
}

/// Keeps a file from being removed, as `chattr +i` does (as root; else the mode of its directory does).
pub(crate) fn pin(file: &Path, pinned: bool) {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        let file = fs::File::open(file).unwrap();
        let mut flags = rustix::fs::ioctl_getflags(&file).unwrap();
        flags.set(rustix::fs::IFlags::IMMUTABLE, pinned);
        rustix::fs::ioctl_setflags(&file, flags).unwrap();
    } else {
        let mode = if pinned { 0o500 } else { 0o700 };
        fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// How full the disk of the machine is must not matter: hence `maxFill`.
pub(crate) const STACK: &str = "\
apiVersion: kiln/v1
kind: Stack
metadata: {name: prod}
spec: {id: 5c1d2e8a90}
---
apiVersion: kiln/v1
kind: Backend
metadata: {name: fast}
spec: {driver: local, local: {path: ../pool, create: true}, maxFill: 100%}
";
