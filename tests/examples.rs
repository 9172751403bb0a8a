//! Every directory of `examples/`: its README is typed from top to bottom, in a copy. The first plan that it has printed is
//! `expected`, the first of `after/` is `expected-after`. `KILN_BLESS=1` rewrites both; look at the difference before you commit it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod typed;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// What a directory holds, sorted; but for what the commands of an example make when they are typed in place.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let names = entries.map(|entry| entry.expect("an example is readable").file_name().to_string_lossy().into_owned());
    names
        .filter(|name| !["images", "pool", "state"].contains(&name.as_str()) && !name.starts_with("pretend.sim"))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A copy of what an example consists of.
fn copied(example: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        for name in names(from) {
            let (from, to) = (from.join(&name), to.join(&name));
            if from.is_dir() {
                fs::create_dir(&to).expect("a directory for the copy");
                copy(&from, &to);
            } else {
                fs::copy(&from, &to).expect("a copy of a file");
            }
        }
    }
    let dir = tempfile::tempdir().expect("a directory for the copy");
    copy(example, dir.path());
    dir
}

/// The files that an example may consist of, and those that it must have.
fn complaints_about_files(files: &BTreeSet<String>) -> Vec<String> {
    let has = |name: &str| files.contains(name);
    let known = ["README.md", "specs", "expected", "after", "expected-after", "fleet.sh"];
    let orphans = files.iter().filter(|name| !known.contains(&name.as_str()));
    let mut complaints: Vec<String> = orphans.map(|name| format!("{name} is an orphan: no test reads it")).collect();
    if !has("README.md") {
        complaints.push("there is no README.md".to_owned());
    }
    if has("specs") == has("fleet.sh") {
        complaints.push("manifests come either from specs/ or from fleet.sh".to_owned());
    }
    if has("expected-after") && !has("after") {
        complaints.push("expected-after is an orphan: there is no after/".to_owned());
    }
    complaints
}

/// Which expectation the output of a command is compared with.
fn expectation(command: &str) -> Option<&'static str> {
    let last = command.rsplit(" | ").next().unwrap_or(command);
    match last.split_whitespace().collect::<Vec<_>>()[..] {
        ["kiln", "plan"] | ["kiln", "plan", "-"] => Some("expected"),
        ["kiln", "plan", "after"] => Some("expected-after"),
        _ => None,
    }
}

/// Types the README of an example, and says what was not as it should be.
fn complaints_about(example: &Path, bless: bool) -> Vec<String> {
    let files = names(example);
    let mut complaints = complaints_about_files(&files);
    let readme = read(&example.join("README.md"));
    let length = readme.lines().count();
    if !(10..=40).contains(&length) {
        complaints.push(format!("README.md has {length} lines: an example says one thing, shortly"));
    }

    let copy = copied(example);
    for specs in ["specs", "after"].into_iter().filter(|name| files.contains(*name)) {
        typed::run(copy.path(), &format!("kiln check {specs}"), 0);
    }
    if files.contains("after") {
        // What does not differ between the two states must not look as if it did.
        let stacks = ["specs", "after"].map(|state| read(&example.join(state).join("stack.yaml")));
        if stacks[0] != stacks[1] {
            complaints.push("after/stack.yaml is not that of specs/".to_owned());
        }
    }

    let mut shown: BTreeSet<&str> = BTreeSet::new();
    let mut applied = 0;
    for line in typed::blocks(&readme, |_| true).iter().flatten() {
        let out = typed::run(copy.path(), &line.command, line.exit);
        // Where the copy is differs from run to run.
        let out = out.replace(&copy.path().display().to_string(), "$PWD");
        if let Some(expected) = expectation(&line.command).filter(|expected| shown.insert(expected)) {
            let file = example.join(expected);
            if bless {
                fs::write(&file, &out).expect("the expectation can be written");
            }
            let wanted = fs::read_to_string(&file).unwrap_or_default();
            if wanted != out {
                complaints.push(format!("{expected} differs; wanted:\n{wanted}\ngot:\n{out}"));
            }
        }
        if line.command.contains("kiln apply") && [0, 4].contains(&line.exit) {
            applied += 1;
            let again = typed::run(copy.path(), &line.command, line.exit);
            if again.contains("Applied:")
                || again.contains("Stopped:")
                || !(again.contains("Nothing to do") || again.contains("No changes can be applied"))
            {
                complaints.push(format!("{}: typed again, it has something to do:\n{again}", line.command));
            }
        }
    }
    if applied == 0 {
        complaints.push("nothing is applied".to_owned());
    }
    // An expectation that nothing prints would hold whatever Kiln did.
    let promised = [("expected", true), ("expected-after", files.contains("after"))];
    for (expected, promised) in promised {
        if promised != shown.contains(expected) {
            let has = if promised { "has no plan" } else { "has a plan that nobody asked" };
            complaints.push(format!("README.md {has} for {expected}"));
        }
    }
    let name = example.file_name().unwrap_or_default().to_string_lossy();
    complaints.iter().map(|complaint| format!("{name}: {complaint}")).collect()
}

#[test]
fn every_example_does_what_it_says() {
    #[expect(clippy::disallowed_methods, reason = "the switch that rewrites the expectations")]
    let bless = std::env::var("KILN_BLESS").is_ok();
    let list = read(&root().join("README.md"));
    let mut complaints = Vec::new();
    let mut examples = names(&root());
    assert!(examples.remove("README.md"));
    assert!(examples.len() >= 13, "only {} examples", examples.len());
    for example in &examples {
        complaints.extend(complaints_about(&root().join(example), bless));
        if !list.contains(&format!("[{example}]({example}/)")) {
            complaints.push(format!("{example}: examples/README.md does not list it"));
        }
    }
    let listed = list.lines().filter(|line| line.starts_with("| [")).count();
    assert_eq!(listed, examples.len(), "examples/README.md lists what is not there");
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn problems_of_an_example_are_reported() {
    let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(complaints_about_files(&files(&["README.md", "specs", "expected"])), Vec::<String>::new());
    assert_eq!(complaints_about_files(&files(&["README.md", "specs", "notes"])).len(), 1);
    assert_eq!(complaints_about_files(&files(&["README.md", "specs", "fleet.sh"])).len(), 1);
    assert_eq!(complaints_about_files(&files(&["specs", "expected-after"])).len(), 2);
    assert_eq!(expectation("./fleet.sh 3 | kiln plan -"), Some("expected"));
    assert_eq!(expectation("kiln plan after"), Some("expected-after"));
    assert_eq!(expectation("kiln plan --detailed-exitcode"), None);
}
