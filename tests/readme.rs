//! What the README tells a newcomer to type, typed: every command of "Try it" and of the walk, in a copy of the demo.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;

/// A command as the README has it. A comment `exit N` behind it says how it ends, else it succeeds.
#[derive(Debug, PartialEq)]
struct Line {
    command: String,
    exit: i32,
}

/// The shell blocks of the sections whose headings are given.
fn blocks(readme: &str, headings: &[&str]) -> Vec<Vec<Line>> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<Line>> = None;
    let mut wanted = false;
    for line in readme.lines() {
        match (&mut open, line) {
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), _) => {
                let (command, comment) = line.split_once(" #").unwrap_or((line, ""));
                let exit = comment.split_once("exit ").map_or(0, |(_, code)| {
                    let code = code.split(|c: char| !c.is_ascii_digit()).next();
                    code.and_then(|code| code.parse().ok()).expect("a number follows `exit`")
                });
                block.push(Line { command: command.trim().to_owned(), exit });
            }
            (None, "```sh") if wanted => open = Some(Vec::new()),
            (None, _) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    wanted = headings.contains(&heading);
                }
            }
        }
    }
    blocks
}

/// A fresh checkout, as far as the demo needs one, with `kiln` on the path.
struct Checkout {
    dir: tempfile::TempDir,
}

impl Checkout {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the demo");
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["specs", "state"] {
            fs::create_dir(dir.path().join(part)).expect("a directory for the demo");
        }
        let specs = fs::read_dir(project.join("specs")).expect("the demo is there");
        let specs = specs.map(|entry| PathBuf::from("specs").join(entry.expect("the demo is readable").file_name()));
        for file in specs.chain([PathBuf::from("state/README.md"), PathBuf::from(".gitignore")]) {
            fs::copy(project.join(&file), dir.path().join(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
        let checkout = Self { dir };
        for command in ["git init -q", "git add -A", "git -c user.name=t -c user.email=t@example.org commit -qm demo"] {
            checkout.run(command, 0);
        }
        checkout
    }

    /// Runs a command as a shell does, and returns what it printed.
    fn run(&self, command: &str, exit: i32) -> String {
        let kiln = Path::new(env!("CARGO_BIN_EXE_kiln"));
        // What cargo would build here is built already.
        let command = command.replace("cargo run --release --", "kiln");
        let output = Command::new("bash")
            .args(["-c", &format!("PATH=\"$0:$PATH\"; {command}")])
            .arg(kiln.parent().expect("the binary is in a directory"))
            .current_dir(self.dir.path())
            .env_remove("KILN_STATE")
            .env_remove("KILN_SPECS")
            .env_remove("KILN_CONFIG")
            // Far more than any of them takes: a hang is a failure, not a wait.
            .timeout(Duration::from_secs(60))
            .output()
            .expect("bash runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{command}\n--- stdout\n{out}\n--- stderr\n{err}");
        out.into_owned()
    }

    /// The live objects of the pool, by native name, with their data files.
    fn live(&self) -> BTreeMap<String, PathBuf> {
        let Ok(entries) = fs::read_dir(self.dir.path().join("pool")) else { return BTreeMap::new() };
        let names = entries.map(|e| e.expect("the pool is readable").file_name().to_string_lossy().into_owned());
        let live = names.filter(|name| name.starts_with("kiln"));
        live.map(|name| (name.clone(), self.dir.path().join("pool").join(&name).join(format!("{name}.img")))).collect()
    }

    fn file_of(&self, volume: &str) -> Option<PathBuf> {
        self.live()
            .into_iter()
            .find(|(name, _)| name.starts_with(&format!("kiln.demo.{volume}.")))
            .map(|(_, file)| file)
    }
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README");
    let blocks = blocks(&readme, &["Try it", "A walk through the demo"]);
    assert!(blocks.len() >= 6, "the README has only {} blocks of commands", blocks.len());
    let checkout = Checkout::new();

    let mut first: Option<BTreeMap<String, PathBuf>> = None;
    for block in &blocks {
        for line in block {
            checkout.run(&line.command, line.exit);
            if line.command.ends_with("apply") {
                let declared = checkout.dir.path().join("specs/build-cache.yaml").exists();
                assert_eq!(
                    checkout.file_of("build-cache").is_some(),
                    declared,
                    "after {:?} of {block:?}",
                    line.command
                );
            }
        }
        // After each of them all is as declared, and every object is the one that it was.
        checkout.run("kiln plan --detailed-exitcode", 0);
        match &first {
            Some(first) => assert_eq!(checkout.live(), *first, "after {block:?}"),
            None => {
                let live = checkout.live();
                assert_eq!(live.len(), 5, "four volumes and a snapshot: {live:?}");
                for volume in ["postgres", "grafana", "build-cache"] {
                    let file = checkout.file_of(volume).expect("the volume was made");
                    let mut data = fs::OpenOptions::new().write(true).open(file).expect("a client can open the volume");
                    std::io::Write::write_all(&mut data, volume.as_bytes()).expect("a client can write");
                }
                first = Some(live);
            }
        }
    }

    for (volume, size) in [("postgres", 2_u64 << 30), ("grafana", 512 << 20), ("build-cache", 64 << 20)] {
        let file = checkout.file_of(volume).expect("the volume is there");
        assert_eq!(fs::metadata(&file).expect("the volume is there").len(), size, "{volume}");
        let mut data = vec![0; volume.len()];
        let mut open = fs::File::open(&file).expect("the volume is there");
        std::io::Read::read_exact(&mut open, &mut data).expect("the volume can be read");
        assert_eq!(data, volume.as_bytes(), "{volume} kept its data");
    }
}

#[test]
fn commands_are_read_as_written() {
    let readme =
        "## A\n```sh\nno\n```\n## B\ntext\n```sh\nkiln plan   # exit 4: held\nkiln apply\n```\n```yaml\nno: 1\n```\n";
    let line = |command: &str, exit| Line { command: command.to_owned(), exit };
    assert_eq!(blocks(readme, &["B"]), [vec![line("kiln plan", 4), line("kiln apply", 0)]]);
}
