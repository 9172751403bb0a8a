//! What the README tells a newcomer to type, typed: every command of "Try it", of the walk and of "Clean up", in a copy of the demo.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

mod typed;

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

    fn run(&self, command: &str, exit: i32) -> String {
        // What cargo would build here is built already.
        typed::run(self.dir.path(), &command.replace("cargo run --release --", "kiln"), exit)
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
    let blocks = typed::blocks(&readme, |heading| ["Try it", "A walk through the demo", "Clean up"].contains(&heading));
    assert!(blocks.len() >= 6, "the README has only {} blocks of commands", blocks.len());
    let checkout = Checkout::new();

    let (clean_up, walk) = blocks.split_last().expect("the README has blocks");

    let mut first: Option<BTreeMap<String, PathBuf>> = None;
    for block in walk {
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
    // The last block undoes everything.
    for line in clean_up {
        checkout.run(&line.command, line.exit);
    }
    assert_eq!(checkout.run("git status --porcelain --ignored --untracked-files=all", 0), "", "after {clean_up:?}");
    assert!(!checkout.dir.path().join("pool").exists(), "the pool is gone");
    let left = fs::read_dir(checkout.dir.path().join("state")).expect("the directory is in the repository");
    let left: Vec<_> = left.map(|entry| entry.expect("it is readable").file_name()).collect();
    assert_eq!(left, ["README.md"], "the store is gone");
}
