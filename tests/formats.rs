//! Files that earlier versions of Kiln wrote stay readable, and no renamed Rust type changes what is written.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says with which files"
)]

#[expect(dead_code, reason = "states bring their own manifests")]
#[path = "cli/sandbox.rs"]
mod sandbox;
#[path = "formats/state.rs"]
mod state;
#[path = "formats/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kiln::driver::sim::SimObject;
use kiln::model::{
    BackendRecord, JournalEntry, Ledger, LedgerCommit, ObjectRecord, OpenIntent, PoolId, Suspension, Tags,
};
use kiln::plan::{NotSaved, Saved};
use sandbox::Sandbox;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use state::{Content, Stored};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

/// The commits whose files are kept, the oldest first.
fn commits() -> Vec<String> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap());
    let mut commits: Vec<String> = entries
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    commits.sort();
    assert!(commits.len() >= 2, "{commits:?}");
    commits
}

fn text(commit: &str, state: &str) -> String {
    fs::read_to_string(directory().join(commit).join(format!("{state}.txt"))).unwrap()
}

fn installed(commit: &str, state: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    state::install(&text(commit, state), &sandbox.path("."));
    sandbox
}

/// Asserts that all of `old` is in `new`, which may have more fields.
fn assert_keeps(old: &Value, new: &Value, what: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let none = Value::Null;
                assert_keeps(value, new.get(key).unwrap_or(&none), &format!("{what}.{key}"));
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).for_each(|(old, new)| assert_keeps(old, new, what));
        }
        _ => assert_eq!(old, new, "{what}"),
    }
}

/// Reads a value, writes it as this version does, and reads that.
fn again<T: Serialize + DeserializeOwned>(stored: &Value, what: &str) {
    let read =
        |value: &Value| -> T { T::deserialize(value).unwrap_or_else(|error| panic!("{what}: {error}: {value}")) };
    let written = serde_json::to_value(read(stored)).unwrap();
    assert_keeps(stored, &written, what);
    assert_eq!(serde_json::to_value(read(&written)).unwrap(), written, "{what}");
}

/// Checks a row of the simulator's file, and returns its word.
fn sim_row(row: &Value, what: &str) -> String {
    let (word, value) = row.as_object().unwrap().iter().next().unwrap();
    let unless_gone = |value: &Value, check: fn(&Value, &str)| {
        if !value.is_null() {
            check(value, what);
        }
    };
    match word.as_str() {
        "Live" => unless_gone(&value[1], again::<SimObject>),
        "Trash" => unless_gone(&value[2], again::<SimObject>),
        "Ledger" => value[1].as_array().unwrap().iter().for_each(|copy| unless_gone(copy, again::<Ledger>)),
        "Pool" => unless_gone(value, again::<PoolId>),
        "Copies" => unless_gone(&value[1]["newest"], again::<Ledger>),
        "Change" => again::<LedgerCommit>(value, what),
        "Suspension" => unless_gone(&value[2], again::<Suspension>),
        other => panic!("{what}: {other}"),
    }
    format!("sim {word}")
}

/// Checks a value of the store, and returns its kind.
fn store_value(line: &str, what: &str) -> &'static str {
    let [key, _, json] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let value: Value = serde_json::from_str(json).unwrap();
    let (check, kind): (fn(&Value, &str), _) = match &key[..1] {
        "b" => (again::<BackendRecord>, "backend record"),
        "i" => (again::<OpenIntent>, "intent"),
        "j" => (again::<JournalEntry>, "journal entry"),
        "o" => (again::<ObjectRecord>, "object record"),
        "s" => (again::<Suspension>, "suspension"),
        other => panic!("{what}: {other}"),
    };
    check(&value, what);
    kind
}

/// Checks every record of a file, and adds their kinds.
fn check(file: &Stored, what: &str, kinds: &mut BTreeSet<String>) {
    let (path, what) = (file.path.as_str(), &format!("{what}: {}", file.path));
    let text = match &file.content {
        Content::Zeroes(_) => return,
        Content::Text(text) | Content::Values(text) => text,
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{what}: {error}"));
    let below_head = || json(text.split_once('\n').unwrap().1);
    let kind = if path == "state/db" {
        kinds.extend(text.lines().map(|line| store_value(line, what).to_owned()));
        return;
    } else if path == "sim.log" {
        let rows = text.lines().skip(1).map(|line| json(line.split_once(' ').unwrap().1));
        kinds.extend(rows.flat_map(|rows| rows.as_array().unwrap().clone()).map(|row| sim_row(&row, what)));
        return;
    } else if path.ends_with(".ledger") || path.ends_with(".ledger.old") {
        again::<Ledger>(&below_head(), what);
        "ledger"
    } else if path.contains("/suspended/") {
        again::<Suspension>(&below_head(), what);
        "suspension on a pool"
    } else if path.contains("/adopted/") {
        again::<Tags>(&json(text)["tags"], what);
        "mark"
    } else if path.ends_with("tags.json") {
        again::<Tags>(&json(text)["tags"], what);
        "tags"
    } else if path.ends_with(".json") {
        match Saved::parse(text) {
            Ok(_) => {
                let mut saved = json(text);
                // Once written, and never read.
                saved["plan"].as_object_mut().unwrap().remove("digest");
                again::<Saved>(&saved, what);
            }
            Err(error) => assert_eq!(error, NotSaved::Version("kiln.saved/v1".to_owned()), "{what}"),
        }
        "saved plan"
    } else {
        // What ends with `.new` was being written when its writer died.
        let known = path.starts_with("specs/") || path == "pool/.kiln-pool/id" || path.ends_with(".new");
        assert!(known, "{what}: nothing reads it");
        return;
    };
    kinds.insert(kind.to_owned());
}

#[test]
fn records_of_every_version_are_read_and_keep_their_form() {
    for commit in commits() {
        let mut kinds = BTreeSet::new();
        for state in ["before", "killed", "after"] {
            let files = state::read(&text(&commit, state), Path::new("/srv/kiln"));
            files.iter().for_each(|file| check(file, &format!("{commit}/{state}"), &mut kinds));
        }
        let mut all =
            vec!["backend record", "intent", "journal entry", "ledger", "mark", "object record", "saved plan"];
        all.extend(["sim Live", "sim Pool", "sim Trash", "suspension", "tags"]);
        // Since the third, the simulator writes what changes in a ledger.
        all.extend(if commits().iter().position(|one| *one == commit) < Some(2) {
            ["sim Ledger"].as_slice()
        } else {
            &["sim Change", "sim Copies"]
        });
        // At first, suspensions were in the store alone.
        if commit != commits()[0] {
            all.extend(["sim Suspension", "suspension on a pool"]);
        }
        assert_eq!(kinds, all.into_iter().map(str::to_owned).collect(), "{commit}");
    }
}

/// Asserts that nothing is planned, with the store and without it.
fn assert_settled(sandbox: &Sandbox, commit: &str) {
    println!("files of {commit}");
    sandbox.kiln("plan --detailed-exitcode").ends(0).says("Nothing to do.");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    sandbox.remove("state");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
}

#[test]
fn a_pool_and_a_store_of_every_version_plan_nothing() {
    for commit in commits() {
        assert_settled(&installed(&commit, "after"), &commit);
    }
}

#[test]
fn a_pool_of_every_version_without_its_store_plans_nothing() {
    for commit in commits() {
        let sandbox = installed(&commit, "after");
        sandbox.remove("state");
        assert_settled(&sandbox, &commit);
    }
}

#[test]
fn a_run_of_every_version_that_was_killed_is_completed() {
    for commit in commits() {
        let sandbox = installed(&commit, "killed");
        sandbox.kiln("apply --yes").ends(0);
        assert_settled(&sandbox, &commit);
    }
}

#[test]
fn a_journal_line_with_a_word_of_a_newer_version_is_left_out_and_hides_no_other() {
    let last = commits().last().unwrap().clone();
    for state in ["after", "killed"] {
        let text = text(&last, state);
        let line = text.lines().find(|line| line.starts_with("j0 1 {")).unwrap();
        let newer = line.replace(r#""kind":"Volume""#, r#""kind":"Pool""#);
        assert_ne!(line, newer);
        let sandbox = Sandbox::new();
        state::install(&text.replace(line, &newer), &sandbox.path("."));
        let shown = text.lines().filter(|line| line.starts_with('j')).count() - 1;
        let log = sandbox.kiln("log --lines 1000 -o json").ends(0).warns("left out lines of the journal");
        let Value::Array(lines) = serde_json::from_str(&log.out).unwrap() else { panic!("{}", log.out) };
        assert_eq!(lines.len(), shown, "{state}");
        sandbox.kiln("apply --yes").ends(0);
        assert_settled(&sandbox, &last);
    }
}

#[test]
fn a_saved_plan_of_every_version_is_applied_or_refused_by_name() {
    for commit in commits() {
        let sandbox = installed(&commit, "before");
        if text(&commit, "before").contains(r#"{"format":"kiln.saved/v1","#) {
            for command in ["plan held.json", "apply saved.json --yes"] {
                sandbox.kiln(command).ends(5).warns("kiln.saved/v1").warns("kiln plan SPECS --out FILE");
            }
            sandbox.kiln("plan --out saved.json").ends(0);
        } else {
            sandbox.kiln("plan held.json").ends(4).says("RemovalLimit");
        }
        sandbox.kiln("apply saved.json --yes").ends(0).says("renamed").says("restored").says("destroyed");
        assert_settled(&sandbox, &commit);
    }
}

#[test]
fn a_mark_of_two_files_gives_each_its_tags() {
    let sandbox = installed(commits().last().unwrap(), "after");
    let path = sandbox.path("pool/.kiln-pool/adopted/disk.raw.json");
    let mut mark: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let (file, mut tags) = (mark["file"].clone(), mark["tags"].clone());
    mark["next"] = json!({"file": file, "tags": tags});
    mark["file"] = json!({"inode": 1, "born": [1, 1]});
    tags["labels"] = json!({"of": "the other"});
    mark["tags"] = tags;
    fs::write(&path, mark.to_string()).unwrap();
    sandbox.kiln("plan --detailed-exitcode").ends(0).says("Nothing to do.");
    let Value::Object(fields) = mark else { panic!("{mark}") };
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["file", "format", "next", "tags"]);
}

/// Makes the text of the states that the script `make` left in KILN_STATES/before, …/killed and …/after, where they were made in
/// KILN_STATES/work. `cargo test --test formats -- --ignored` with KILN_COMMIT, which names the directory.
#[test]
#[ignore = "writes tests/formats/KILN_COMMIT"]
fn write_the_states() {
    let [from, commit] = ["KILN_STATES", "KILN_COMMIT"].map(|name| std::env::var_os(name).unwrap());
    let (from, to) = (Path::new(&from), directory().join(commit));
    fs::create_dir_all(&to).unwrap();
    for state in ["before", "killed", "after"] {
        fs::write(to.join(format!("{state}.txt")), state::write(&from.join(state), &from.join("work"))).unwrap();
    }
}
