//! What a reader that is asked again and again makes of manifests that change, and of such as have problems.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln::manifest::{Allowed, Limits, ManifestState, Reader, Source, load};
use kiln::model::{Kind, NotAllowed, Observed, Reading, Records, Size, Specs, Verb};
use kiln::plan::{HeldReason, Inputs, Observation, Plan, lint, plan};

const STACK: &str =
    "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: 5c1d2e8a90, defaults: {backend: fast}}\n";
const BACKEND: &str = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";
const BAD: &str = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: bad}\nspec: {size: 1Gb?}\n";

fn volume(name: &str, gib: u64) -> String {
    format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{size: {gib}Gi}}\n")
}

fn snapshot(name: &str, of: &str) -> String {
    format!("apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {{name: {name}}}\nspec: {{volume: {of}}}\n")
}

fn documents(documents: &[&str]) -> String {
    documents.join("---\n")
}

/// A directory of manifests with its reader.
struct Desk {
    dir: tempfile::TempDir,
    reader: Reader,
}

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("specs")).unwrap();
        let reader = Reader::new(Source::Path(dir.path().join("specs")), Limits::default());
        let desk = Self { dir, reader };
        for (name, text) in files {
            desk.write(name, text);
        }
        desk
    }

    /// A Stack and a Backend in files of their own, beside these.
    fn usual(files: &[(&str, &str)]) -> Self {
        let desk = Self::new(files);
        desk.write("stack.yaml", STACK);
        desk.write("backend.yaml", BACKEND);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("specs").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Reads, and compares what must be the same with a reading that remembers nothing.
    fn read(&mut self) -> ManifestState {
        let manifests = self.reader.read(&Allowed::default());
        let fresh = load(&Source::Path(self.dir.path().join("specs")), &Limits::default());
        assert_eq!(manifests.problems.to_vec(), fresh.problems);
        assert_eq!(manifests.reading.broken, !fresh.problems.is_empty());
        if fresh.problems.is_empty() {
            let mut reading = (*manifests.reading).clone();
            reading.not_allowed.clear();
            // One reading cannot tell for how long the manifests have been as they are; who reads again and again can.
            assert!(fresh.reading.coverage.young && !reading.coverage.young);
            reading.coverage.young = true;
            assert_eq!(reading, fresh.reading);
            assert!(manifests.usable && manifests.reading.unreadable.is_empty());
        }
        manifests
    }

    /// Reads what must be good.
    fn good(&mut self) -> ManifestState {
        let manifests = self.read();
        assert_eq!(manifests.problems.to_vec(), []);
        manifests
    }

    /// Reads what must have a problem.
    fn broken(&mut self) -> ManifestState {
        let manifests = self.read();
        assert!(manifests.reading.broken && !manifests.problems.is_empty());
        manifests
    }
}

/// The volumes with their sizes in GiB.
fn volumes(specs: &Specs) -> Vec<(String, u64)> {
    specs.volumes.values().map(|volume| (volume.meta.name.to_string(), volume.size.bytes() >> 30)).collect()
}

fn sizes(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

/// What is said of the documents without a valid meaning: kind, name, and how the sentence ends.
fn unreadable(manifests: &ManifestState) -> Vec<(Kind, String, bool)> {
    let all = manifests.reading.unreadable.iter();
    let all: Vec<_> = all
        .map(|one| {
            let known = one.message.ends_with("; its last valid content applies");
            assert!(known || one.message.ends_with("; no earlier valid content is known"), "{one:?}");
            assert!(one.message.contains(".yaml:") && one.fix.contains("kiln check"), "{one:?}");
            (one.kind, one.name.to_string(), known)
        })
        .collect();
    assert!(all.is_sorted(), "{all:?}");
    all
}

#[test]
fn nothing_that_is_known_is_parsed_or_linked_again() {
    let texts: Vec<String> = (0..20).map(|n| volume(&format!("v{n}"), 1)).collect();
    let mut desk = Desk::usual(&[]);
    for (n, text) in texts.iter().enumerate() {
        desk.write(&format!("deep/{n}.yaml"), text);
    }
    let first = desk.good();
    assert_eq!((first.parsed, first.reading.specs.volumes.len()), (22, 20));
    let second = desk.good();
    assert_eq!(second.parsed, 0);
    assert!(Arc::ptr_eq(&first.reading.specs, &second.reading.specs) && Arc::ptr_eq(&first.problems, &second.problems));
    assert_eq!(first.content, second.content);
    desk.write("deep/7.yaml", &volume("v7", 2));
    let third = desk.good();
    assert_eq!((third.parsed, *third.reading.specs.volumes["v7"].size), (1, Size(2 << 30)));
    assert_ne!(third.content, second.content);
    // Gone, and there again: it was not kept.
    desk.remove("deep/7.yaml");
    let fourth = desk.good();
    assert_eq!((fourth.parsed, fourth.reading.specs.volumes.len()), (0, 19));
    desk.write("deep/7.yaml", &volume("v7", 2));
    let fifth = desk.good();
    assert_eq!((fifth.parsed, &fifth.content), (1, &third.content));
    assert_eq!(fifth.reading.specs, third.reading.specs);
    // The same content under another name is another file.
    fs::rename(desk.path("deep/7.yaml"), desk.path("deep/8b.yaml")).unwrap();
    assert_eq!(desk.good().parsed, 1);
    // Only a byte order mark more: the content is another, the meaning is not.
    desk.write("deep/8b.yaml", &format!("\u{feff}{}", volume("v7", 2)));
    let marked = desk.good();
    assert_eq!((marked.parsed, desk.good().parsed), (1, 0));
    assert_eq!(marked.reading.specs, fifth.reading.specs, "the file of a document is no part of what it declares");
    let v7 = "v7".parse().unwrap();
    let files = [&fifth, &marked].map(|manifests| manifests.reading.place(Kind::Volume, &v7).unwrap().file.clone());
    assert_eq!(files[1].to_string(), files[0].replace("/7.yaml", "/8b.yaml"));
}

#[test]
fn a_file_with_a_problem_keeps_what_it_last_said() {
    let mut desk =
        Desk::usual(&[("a.yaml", &volume("a", 1)), ("b.yaml", &documents(&[&volume("b", 1), &volume("c", 1)]))]);
    desk.good();
    // One document bad, one changed, one new: the file is the unit. What is good elsewhere is as written.
    let bad = documents(&[&volume("b", 1).replace("1Gi", "1Gb?"), &volume("c", 9), &volume("new", 9)]);
    desk.write("b.yaml", &bad);
    desk.write("a.yaml", &documents(&[&volume("a", 2), &snapshot("s", "c")]));
    let manifests = desk.broken();
    assert!(manifests.usable);
    assert_eq!(volumes(&manifests.reading.specs), sizes(&[("a", 2), ("b", 1), ("c", 1)]));
    assert_eq!(manifests.reading.specs.snapshots.len(), 1, "it is of a volume that is known");
    let said = |kind, name: &str, known| (kind, name.to_owned(), known);
    let volume_said = |name, known| said(Kind::Volume, name, known);
    assert_eq!(unreadable(&manifests), [volume_said("b", true), volume_said("c", true), volume_said("new", false)]);
    let message = &manifests.reading.unreadable[0].message;
    let first = manifests.problems.iter().find(|problem| problem.place.file.ends_with("b.yaml")).unwrap();
    assert!(message.starts_with(&format!("{}: {}; ", first.place, first.message)), "{message}");
    // Asked again, the same; and what it said last stays that, however often it is broken in another way.
    let again = desk.broken();
    assert!(Arc::ptr_eq(&again.reading.specs, &manifests.reading.specs) && again.parsed == 0);
    desk.write("b.yaml", "kind: [\n");
    let manifests = desk.broken();
    assert_eq!(volumes(&manifests.reading.specs), sizes(&[("a", 2), ("b", 1), ("c", 1)]));
    // Mended, it acts as written.
    desk.write("b.yaml", &documents(&[&volume("b", 3), &volume("new", 9)]));
    desk.write("a.yaml", &volume("a", 2));
    assert_eq!(volumes(&desk.good().reading.specs), sizes(&[("a", 2), ("b", 3), ("new", 9)]));
}

#[test]
fn a_file_that_never_was_good_acts_by_its_good_documents() {
    let mut desk = Desk::usual(&[("b.yaml", &documents(&[&volume("b", 1), BAD]))]);
    let manifests = desk.broken();
    assert_eq!(volumes(&manifests.reading.specs), sizes(&[("b", 1)]));
    assert_eq!(unreadable(&manifests), [(Kind::Volume, "bad".to_owned(), false)]);
    desk.write("b.yaml", &documents(&[&volume("b", 2), BAD]));
    assert_eq!(volumes(&desk.broken().reading.specs), sizes(&[("b", 2)]));
}

#[test]
fn problems_of_references_are_found_at_each_read() {
    let mut desk = Desk::usual(&[("a.yaml", &volume("a", 1)), ("s.yaml", &snapshot("s", "a"))]);
    desk.good();
    desk.write("a.yaml", &volume("b", 1));
    for _ in 0..3 {
        // The snapshot is of nothing now: its file keeps what it said, which cannot hold without its volume.
        let manifests = desk.broken();
        assert_eq!(volumes(&manifests.reading.specs), sizes(&[("b", 1)]));
        assert!(manifests.reading.specs.snapshots.is_empty());
        let message = &manifests.reading.unreadable[0].message;
        assert!(message.contains("its last valid content cannot apply: `volume` is a"), "{message}");
        desk.write("other.yaml", &volume("other", 1));
        desk.broken();
        desk.remove("other.yaml");
    }
    desk.write("a.yaml", &documents(&[&volume("a", 1), &volume("b", 1)]));
    assert_eq!(desk.good().reading.specs.snapshots.len(), 1);
}

#[test]
fn a_document_that_refers_into_a_broken_file_keeps_its_last_valid_content() {
    let mut desk = Desk::usual(&[
        ("a.yaml", &documents(&[&volume("a", 1), &volume("b", 1)])),
        ("s.yaml", &documents(&[&snapshot("s", "a"), &volume("c", 1)])),
    ]);
    desk.good();
    desk.write("a.yaml", &documents(&[&volume("a", 1), &volume("b", 1), &volume("new", 1), BAD]));
    desk.write("s.yaml", &documents(&[&snapshot("s", "new"), &volume("c", 5)]));
    let manifests = desk.broken();
    assert_eq!(volumes(&manifests.reading.specs), sizes(&[("a", 1), ("b", 1), ("c", 1)]));
    assert_eq!(manifests.reading.specs.snapshots["s"].volume.as_str(), "a");
}

#[test]
fn a_copied_file_takes_nothing_over_whatever_it_is_called() {
    for copy in ["a copy.yaml", "b.yaml"] {
        let mut desk = Desk::usual(&[("a.yaml", &documents(&[&volume("a", 1), &volume("b", 1)]))]);
        desk.good();
        // Already edited where it was copied.
        desk.write(copy, &documents(&[&volume("a", 7), &volume("b", 1), &volume("c", 1)]));
        let manifests = desk.broken();
        assert_eq!(volumes(&manifests.reading.specs), sizes(&[("a", 1), ("b", 1), ("c", 1)]), "{copy}");
        let said: Vec<_> = unreadable(&manifests).into_iter().map(|(_, name, known)| (name, known)).collect();
        assert_eq!(said, [("a".to_owned(), true), ("b".to_owned(), true)], "{copy}");
        desk.remove("a.yaml");
        assert_eq!(volumes(&desk.good().reading.specs), sizes(&[("a", 7), ("b", 1), ("c", 1)]));
    }
}

#[test]
fn two_files_may_be_swapped() {
    let (a, b) = (volume("a", 1), volume("b", 1));
    let mut desk = Desk::usual(&[("a.yaml", &a), ("b.yaml", &b)]);
    desk.good();
    // Seen half-way.
    desk.write("a.yaml", &b);
    let manifests = desk.broken();
    assert_eq!(volumes(&manifests.reading.specs), sizes(&[("a", 1), ("b", 1)]));
    desk.write("b.yaml", &a);
    assert_eq!(volumes(&desk.good().reading.specs), sizes(&[("a", 1), ("b", 1)]));
}

#[test]
fn a_document_moved_into_a_broken_file_keeps_its_meaning() {
    for before in [volume("b", 1), documents(&[&volume("b", 1), BAD])] {
        let mut desk = Desk::usual(&[("a.yaml", &documents(&[&volume("a", 1), &volume("x", 1)])), ("b.yaml", &before)]);
        desk.read();
        desk.write("a.yaml", &volume("a", 1));
        desk.write("b.yaml", &documents(&[&volume("b", 1), &volume("x", 9), BAD]));
        for _ in 0..2 {
            assert_eq!(volumes(&desk.broken().reading.specs), sizes(&[("a", 1), ("b", 1), ("x", 1)]));
            desk.write("b.yaml", &documents(&[&volume("b", 1), &volume("x", 10), BAD]));
        }
        desk.write("b.yaml", &documents(&[&volume("b", 1), &volume("x", 10)]));
        assert_eq!(volumes(&desk.good().reading.specs), sizes(&[("a", 1), ("b", 1), ("x", 10)]));
    }
}

#[test]
fn a_document_moved_to_a_valid_file_does_not_return_in_the_broken_one() {
    let mut desk =
        Desk::usual(&[("a.yaml", &documents(&[&volume("a", 1), &volume("x", 1)])), ("b.yaml", &volume("b", 1))]);
    desk.good();
    desk.write("a.yaml", "kind: [\n");
    desk.write("b.yaml", &documents(&[&volume("b", 1), &volume("x", 5)]));
    assert_eq!(volumes(&desk.broken().reading.specs), sizes(&[("a", 1), ("b", 1), ("x", 5)]));
    desk.write("b.yaml", &volume("b", 1));
    assert_eq!(
        volumes(&desk.broken().reading.specs),
        sizes(&[("a", 1), ("b", 1)]),
        "not as it was before it was moved"
    );
}

#[test]
fn a_new_name_in_a_good_file_ends_the_old_one_in_a_broken_file() {
    let mut desk =
        Desk::usual(&[("a.yaml", &documents(&[&volume("a", 1), &volume("old", 1)])), ("b.yaml", &volume("b", 1))]);
    desk.good();
    desk.write("a.yaml", "kind: [\n");
    let renamed = volume("new", 1).replace("{name: new}", "{name: new, renamedFrom: old}");
    desk.write("b.yaml", &documents(&[&volume("b", 1), &renamed]));
    assert_eq!(volumes(&desk.broken().reading.specs), sizes(&[("a", 1), ("b", 1), ("new", 1)]));
    // The field may go once it is done, and the old name stays what it is: gone.
    desk.write("b.yaml", &documents(&[&volume("b", 1), &volume("new", 1)]));
    assert_eq!(volumes(&desk.broken().reading.specs), sizes(&[("a", 1), ("b", 1), ("new", 1)]));
}

#[test]
fn the_stack_that_is_known_stays_while_there_is_a_problem() {
    let mut desk = Desk::usual(&[("a.yaml", &volume("a", 1))]);
    desk.good();
    let owned = |manifests: ManifestState, why: &str| {
        let stack = &manifests.reading.specs.stack;
        assert!(manifests.usable && stack.declared && stack.owner.to_string() == "prod", "{why}");
        assert_eq!(volumes(&manifests.reading.specs), sizes(&[("a", 1)]), "{why}");
    };
    desk.write("stack.yaml", "kind: Stack\n  bad\n");
    owned(desk.broken(), "its file is broken");
    desk.write("stack.yaml", "# later\n");
    desk.write("new.yaml", "kind: Stack\n  bad\n");
    owned(desk.broken(), "it was moved into a broken file");
    desk.write("new.yaml", STACK);
    owned(desk.good(), "it is there again");
    for second in ["a first.yaml", "z.yaml"] {
        desk.write(second, &STACK.replace("prod", "other").replace("5c1d2e8a90", "77777777"));
        owned(desk.broken(), "a second Stack is no takeover");
        desk.remove(second);
        owned(desk.good(), "and it went");
    }
    desk.remove("new.yaml");
    desk.write("z.yaml", BAD);
    owned(desk.broken(), "it went while something else is broken");
}

#[test]
fn without_any_knowledge_of_the_stack_nothing_can_be_used() {
    for broken in ["kind: Stack\n  bad\n", &STACK.replace("5c1d2e8a90", "BAD"), "kind: [\n", "\u{7}"] {
        let mut desk = Desk::new(&[("a.yaml", BACKEND), ("b.yaml", &volume("b", 1)), ("stack.yaml", broken)]);
        let manifests = desk.broken();
        assert!(
            !manifests.usable
                && manifests.reading.specs.volumes.is_empty()
                && manifests.reading.specs.backends.is_empty(),
            "{broken}"
        );
        desk.write("stack.yaml", STACK);
        assert!(desk.good().usable);
        // And from then on it is known.
        desk.write("stack.yaml", broken);
        let manifests = desk.broken();
        assert!(manifests.usable && manifests.reading.specs.volumes.len() == 1, "{broken}");
    }
    // No Stack is a meaning too, and a file that was good is known to have held none.
    let backend = BACKEND.replace("name: fast", "name: b");
    let mut desk = Desk::new(&[("a.yaml", &backend), ("b.yaml", "# nothing yet\n")]);
    desk.good();
    desk.write("b.yaml", "kind: [\n");
    assert!(desk.broken().usable);
    desk.write("c.yaml", "kind: [\n");
    assert!(!desk.broken().usable, "this one may hold a Stack");
}

#[test]
fn an_unreadable_directory_keeps_everything_below_it() {
    let mut desk =
        Desk::usual(&[("d/e/a.yaml", &volume("a", 1)), ("d/b.yaml", &volume("b", 1)), ("dd.yaml", &volume("c", 1))]);
    let before = desk.good();
    let (d, away) = (desk.path("d"), desk.dir.path().join("away"));
    // Root may look into any directory, but not out of the manifests.
    fs::rename(&d, &away).unwrap();
    std::os::unix::fs::symlink(&away, &d).unwrap();
    for _ in 0..2 {
        let manifests = desk.broken();
        assert!(manifests.usable && manifests.parsed == 0);
        assert_eq!(volumes(&manifests.reading.specs), volumes(&before.reading.specs));
        desk.write("dd.yaml", &documents(&[&volume("c", 1), "# a comment\n"]));
        desk.reader.read(&Allowed::default());
    }
    fs::remove_file(&d).unwrap();
    fs::rename(&away, &d).unwrap();
    let manifests = desk.good();
    assert_eq!((manifests.parsed, volumes(&manifests.reading.specs)), (0, volumes(&before.reading.specs)));
    // Simply gone is an edit.
    fs::rename(&d, &away).unwrap();
    assert_eq!(volumes(&desk.good().reading.specs), sizes(&[("c", 1)]));
}

#[test]
fn a_missing_or_empty_spec_directory_removes_nothing() {
    let mut desk = Desk::usual(&[("d/a.yaml", &volume("a", 1)), ("b.yaml", &volume("b", 1))]);
    assert!(!Reader::new(Source::Path(desk.path("none")), Limits::default()).read(&Allowed::default()).usable);
    let before = desk.good();
    let (specs, away) = (desk.dir.path().join("specs"), desk.dir.path().join("away"));
    fs::rename(&specs, &away).unwrap();
    let same = |manifests: ManifestState, why: &str| {
        assert!(manifests.usable && manifests.reading.specs.stack.declared, "{why}");
        assert_eq!(volumes(&manifests.reading.specs), volumes(&before.reading.specs), "{why}");
        assert_eq!(manifests.reading.unreadable.len(), 4, "{why}: {:?}", manifests.reading.unreadable);
    };
    same(desk.broken(), "gone");
    fs::create_dir(&specs).unwrap();
    same(desk.broken(), "empty");
    desk.write("b.yaml", "# only this\n");
    same(desk.broken(), "no document");
    same(desk.broken(), "still none");
    fs::remove_dir_all(&specs).unwrap();
    fs::rename(&away, &specs).unwrap();
    assert_eq!(volumes(&desk.good().reading.specs), volumes(&before.reading.specs));
    // Of no manifests at all nobody can say whose they were.
    let mut empty = Desk::new(&[("a.yaml", "# only this\n")]);
    assert!(!empty.broken().usable);
}

#[test]
fn a_single_file_and_standard_input_are_read_the_same_way() {
    let desk = Desk::new(&[("all.yaml", &documents(&[STACK, BACKEND, &volume("a", 1)]))]);
    let mut reader = Reader::new(Source::Path(desk.path("all.yaml")), Limits::default());
    let first = reader.read(&Allowed::default());
    assert_eq!((first.parsed, reader.read(&Allowed::default()).parsed), (1, 0));
    for text in [None, Some("kind: [\n"), Some("")] {
        match text {
            Some(text) => desk.write("all.yaml", text),
            None => desk.remove("all.yaml"),
        }
        let manifests = reader.read(&Allowed::default());
        assert!(manifests.usable && manifests.reading.broken, "{text:?}");
        assert_eq!(volumes(&manifests.reading.specs), volumes(&first.reading.specs), "{text:?}");
    }
    let mut reader = Reader::new(Source::Text(BACKEND.to_owned()), Limits::default());
    let first = reader.read(&Allowed::default());
    assert!(
        first.problems.is_empty() && Arc::ptr_eq(&first.reading.specs, &reader.read(&Allowed::default()).reading.specs)
    );
}

#[test]
fn paths_are_checked_at_each_read() {
    let backend =
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: local, local: {path: ../pool}}\n";
    let mut desk = Desk::new(&[("a.yaml", backend)]);
    let first = desk.good();
    assert!(first.reading.not_allowed.is_empty());
    std::os::unix::fs::symlink("/etc", desk.dir.path().join("pool")).unwrap();
    let second = desk.reader.read(&Allowed::default());
    assert_eq!((second.parsed, second.reading.not_allowed.len()), (0, 1));
    assert!(first.reading.not_allowed.is_empty(), "what was handed out is not changed");
    let allowed = Allowed { paths: vec!["/etc".into()], ..Allowed::default() };
    assert!(desk.reader.read(&allowed).reading.not_allowed.is_empty());
}

/// What is planned where every backend is seen, and empty.
fn planned(reading: &Reading) -> Plan {
    let seen = |backend| {
        let capabilities = kiln::driver::connect(backend).unwrap().capabilities().clone();
        Observation::Seen { capabilities, observed: Observed::nothing() }
    };
    let world = reading.specs.backends.iter().map(|(name, backend)| (name.clone(), seen(backend))).collect();
    let records = Records::default();
    let inputs = Inputs::new(reading, &world, &records);
    let plan = plan(&inputs);
    assert_eq!(lint(&plan, &inputs), Vec::<String>::new());
    plan
}

#[test]
fn a_document_with_its_last_valid_content_has_holds_and_steps() {
    let mut desk = Desk::usual(&[("a.yaml", &volume("a", 1))]);
    desk.good();
    desk.write("a.yaml", &documents(&[&volume("a", 2), BAD]));
    let manifests = desk.broken();
    let reading = &*manifests.reading;
    let plan = planned(reading);
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.action.verb(), step.identity.name.as_str())).collect();
    assert_eq!(steps, [(Verb::Create, "a")]);
    let held: Vec<_> = plan.held.iter().map(|held| (held.reason, held.action, held.name.as_str())).collect();
    assert_eq!(held, [(HeldReason::SourceBroken, Verb::Update, "a"), (HeldReason::SourceBroken, Verb::Update, "bad")]);
    assert!(
        plan.held[0].message.ends_with("its last valid content applies") && plan.held[0].fix.contains("kiln check")
    );
    // A saved plan keeps what was known; one without any says nothing of it.
    let json = serde_json::to_string(reading).unwrap();
    assert_eq!(serde_json::from_str::<Reading>(&json).unwrap(), *reading);
    assert!(!serde_json::to_string(&*Desk::usual(&[]).good().reading).unwrap().contains("unreadable"));
}

#[test]
fn an_unresponsive_path_makes_only_its_own_backend_unobserved() {
    let slow = BACKEND.replace("fast", "slow");
    let there = volume("there", 1).replace("spec: {", "spec: {backend: slow, ");
    let mut desk = Desk::usual(&[("slow.yaml", &slow), ("a.yaml", &volume("a", 1)), ("there.yaml", &there)]);
    let mut reading = (*desk.good().reading).clone();
    reading.not_allowed = vec![NotAllowed {
        kind: Kind::Backend,
        name: "slow".parse().unwrap(),
        message: "/mnt/slow did not respond within 2 s".to_owned(),
        fix: "see what is mounted there".to_owned(),
        unresponsive: true,
    }];
    let plan = planned(&reading);
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.action.verb(), step.identity.name.as_str())).collect();
    assert_eq!(steps, [(Verb::Create, "a")]);
    let held: Vec<_> = plan.held.iter().map(|held| (held.reason, held.name.as_str())).collect();
    assert_eq!(held, [(HeldReason::Unobserved, "there")]);
    assert!(plan.held[0].message.ends_with("/mnt/slow did not respond within 2 s"), "{}", plan.held[0].message);
    assert_eq!(plan.unobserved.len(), 1, "it counts for exit code 6");
}

#[test]
fn a_reader_may_be_asked_from_any_thread() {
    fn is_send<T: Send>() {}
    is_send::<Reader>();
    is_send::<ManifestState>();
}

/// Every kind that can be declared, and all that refers to something.
fn rich() -> String {
    let set = "a-full-set-of-manifests-is-good/specs";
    let all = ["stack.yaml", "storage", "volumes.yaml", "export.yaml"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics").join(set).join(name);
        match path.is_dir() {
            true => fs::read_dir(path)
                .unwrap()
                .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
                .collect::<Vec<_>>()
                .join("---\n"),
            false => fs::read_to_string(path).unwrap(),
        }
    });
    all.join("---\n")
}

fn named(specs: &Specs) -> Vec<(Kind, String)> {
    let keys = |kind: Kind, names: Vec<String>| names.into_iter().map(move |name| (kind, name));
    let strings = |names: &mut dyn Iterator<Item = &kiln::model::Name>| names.map(ToString::to_string).collect();
    keys(Kind::Backend, strings(&mut specs.backends.keys()))
        .chain(keys(Kind::Volume, strings(&mut specs.volumes.keys())))
        .chain(keys(Kind::Snapshot, strings(&mut specs.snapshots.keys())))
        .chain(keys(Kind::Target, strings(&mut specs.targets.keys())))
        .chain(keys(Kind::Export, strings(&mut specs.exports.keys())))
        .chain(keys(Kind::Approval, strings(&mut specs.approvals.keys())))
        .collect()
}

/// `cut`: what is cut; `rest`: what else there is.
fn cut_at_every_byte(cut: &str, rest: &str) {
    let mut desk = Desk::new(&[("cut.yaml", cut), ("rest.yaml", rest)]);
    let whole = desk.good();
    let (all, stack) = (named(&whole.reading.specs), whole.reading.specs.stack.clone());
    assert!(all.len() > 10, "{all:?}");
    let mut edits = 0;
    for end in 0..cut.len() {
        fs::write(desk.path("cut.yaml"), &cut.as_bytes()[..end]).unwrap();
        let manifests = desk.reader.read(&Allowed::default());
        let is_edit = manifests.problems.is_empty();
        if is_edit {
            // Nobody can tell.
            assert_eq!(desk.good().reading.specs, manifests.reading.specs);
            edits += 1;
        } else {
            assert!(manifests.usable && manifests.reading.specs.stack == stack, "cut at {end}");
            assert_eq!(named(&manifests.reading.specs), all, "cut at {end}");
            let (got, good) = (&manifests.reading.specs, &whole.reading.specs);
            assert_eq!((&got.volumes, &got.backends), (&good.volumes, &good.backends), "cut at {end}");
            assert_eq!((&got.snapshots, &got.exports), (&good.snapshots, &good.exports), "cut at {end}");
        }
        // Now from whole to cut, now from one cut to the next.
        if is_edit || end % 8 == 0 {
            fs::write(desk.path("cut.yaml"), cut).unwrap();
            assert!(!desk.reader.read(&Allowed::default()).reading.broken);
        }
    }
    assert!(edits > 0 && edits < cut.len() / 4, "{edits}");
}

#[test]
fn a_file_cut_at_any_byte_loses_nothing_it_declared() {
    let other = BACKEND.replace("name: fast", "name: other");
    cut_at_every_byte(&rich(), &other);
}

#[test]
fn a_file_cut_between_documents_is_edited() {
    let mut desk = Desk::usual(&[("a.yaml", &documents(&[&volume("a", 1), &volume("b", 1)]))]);
    desk.good();
    desk.write("a.yaml", &volume("a", 1));
    assert_eq!(volumes(&desk.good().reading.specs), sizes(&[("a", 1)]));
    desk.write("a.yaml", "");
    assert_eq!(volumes(&desk.good().reading.specs), []);
}
