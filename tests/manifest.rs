//! What `load` makes of files: which it reads, what it takes from them, and that nothing makes it panic.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use kiln::driver::LocalSettings;
use kiln::driver::settings::config;
use kiln::manifest::{Limits, Loaded, Problem, Source, load};
use kiln::model::{ImageFormat, ImageRef, Kind, Name, Percent, Seconds, Size, SourceSpec};
use proptest::prelude::*;

const BACKEND: &str = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";
const GOOD: &str = include_str!("diagnostics/a-full-set-of-manifests-is-good/specs/volumes.yaml");

fn volume(name: &str) -> String {
    format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: fast, size: 1Gi}}\n")
}

fn read(path: &Path) -> Loaded {
    load(&Source::Path(path.to_owned()), &Limits::default())
}

fn read_text(text: &str) -> Loaded {
    load(&Source::Text(text.to_owned()), &Limits::default())
}

/// The messages by file name.
fn told(root: &Path, problems: &[Problem]) -> Vec<(String, String)> {
    let below =
        |file: &str| file.strip_prefix(root.to_str().unwrap()).unwrap_or(file).trim_start_matches('/').to_owned();
    problems.iter().map(|problem| (below(&problem.place.file), problem.message.clone())).collect()
}

#[test]
fn special_files_are_problems_and_block_nothing() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x.yaml"), BACKEND).unwrap();
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("a.yaml"), BACKEND).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo.yaml"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _listening = UnixListener::bind(at("socket.yaml")).unwrap();
    symlink("/dev/zero", at("device.yaml")).unwrap();
    symlink(outside.path().join("x.yaml"), at("leaves.yaml")).unwrap();
    symlink(outside.path(), at("leaves")).unwrap();
    symlink("gone", at("dangling.yaml")).unwrap();
    symlink("..", at("up")).unwrap();
    symlink(".", at("loop")).unwrap();
    symlink("self.yaml", at("self.yaml")).unwrap();
    fs::create_dir(at("x.yaml")).unwrap();
    let loaded = read(root.path());
    let got = told(root.path(), &loaded.problems);
    let expect = [
        ("dangling.yaml", "this file cannot be read: no such file"),
        ("device.yaml", "this symbolic link leads out of the directory"),
        ("fifo.yaml", "this is a pipe, not a regular file"),
        ("leaves", "this symbolic link leads out of the directory"),
        ("leaves.yaml", "this symbolic link leads out of the directory"),
        ("loop", "this symbolic link leads to a directory above it"),
        ("self.yaml", "this file cannot be read: too many levels of symbolic links"),
        ("socket.yaml", "this is a socket, not a regular file"),
        ("up", "this symbolic link leads out of the directory"),
        ("x.yaml", "this directory is named like a manifest file"),
    ];
    assert_eq!(got.len(), expect.len(), "{got:#?}");
    for ((file, message), (want_file, want)) in got.iter().zip(expect) {
        assert!(file == want_file && message.starts_with(want), "{file}: {message}, and not {want_file}: {want}");
    }
    assert!(loaded.reading.broken);
    // What could not be read may hold the Stack: under which owner the rest would be is not known.
    assert!(loaded.reading.specs.backends.is_empty());
}

#[test]
fn links_that_stay_inside_are_followed() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    // As Kubernetes mounts a ConfigMap, and once more with an absolute link.
    fs::create_dir(at("..2026")).unwrap();
    fs::write(at("..2026/a.yaml"), BACKEND).unwrap();
    fs::write(at("..2026/b.yaml"), volume("db")).unwrap();
    symlink("..2026", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    symlink(at("..data/b.yaml"), at("b.yaml")).unwrap();
    let loaded = read(root.path());
    assert_eq!(loaded.problems, []);
    assert_eq!((loaded.reading.specs.backends.len(), loaded.reading.specs.volumes.len()), (1, 1));
}

#[test]
fn a_file_or_directory_without_permission_is_a_problem() {
    let root = tempfile::tempdir().unwrap();
    let (file, directory) = (root.path().join("a.yaml"), root.path().join("d"));
    fs::write(&file, BACKEND).unwrap();
    fs::create_dir(&directory).unwrap();
    for path in [&file, &directory] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
    }
    let got = told(root.path(), &read(root.path()).problems);
    // Root reads everything: then there is nothing to see here.
    if rustix::process::geteuid().is_root() {
        assert_eq!(got, []);
    } else {
        assert!(got.iter().all(|(_, message)| message.contains("permission denied")) && got.len() == 2, "{got:?}");
    }
}

#[test]
fn values_and_defaults_are_what_the_contract_says() {
    let root = tempfile::tempdir().unwrap();
    let specs = root.path().join("specs");
    fs::create_dir_all(specs.join("deep")).unwrap();
    let backend = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: local, local: {path: ../../pool}}\n";
    fs::write(specs.join("deep/backend.yaml"), backend).unwrap();
    let stack =
        "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: 5c1d2e8a90, defaults: {backend: fast}}\n";
    fs::write(specs.join("stack.yaml"), stack).unwrap();
    let volume = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec:\n  size: 1.5Gi\n  source: {image: {path: ../i.raw, \
                  format: raw}}\n";
    fs::write(specs.join("volume.yaml"), volume).unwrap();
    let loaded = read(&specs);
    assert_eq!(loaded.problems, []);
    let name: Name = "fast".parse().unwrap();
    let backend = &loaded.reading.specs.backends[&name];
    let settings = LocalSettings { path: root.path().join("pool"), create: false };
    assert_eq!(backend.config, config("local", settings.values()));
    let rest = (backend.concurrency.get(), backend.timeout, backend.max_fill, backend.overcommit);
    assert_eq!(rest, (8, Seconds(30), Percent(90), Some(Percent(100))));
    let db = &loaded.reading.specs.volumes["db"];
    assert_eq!((&db.backend, *db.size), (&name, Size(3 << 29)));
    assert_eq!((db.protected, db.on_remove, db.provisioning), (None, None, None), "what is not written is not made up");
    let place = loaded.reading.place(Kind::Volume, &db.meta.name).unwrap();
    let image = SourceSpec::Image(ImageRef { path: root.path().join("i.raw"), format: ImageFormat::Raw, sha256: None });
    assert_eq!(db.source, Some(image.into()));
    assert_eq!((place.line, place.column), (1, 1));
    // The same files elsewhere have the same revision; other bytes have another.
    let moved = root.path().join("moved");
    fs::rename(&specs, &moved).unwrap();
    assert_eq!(read(&moved).reading.revision, loaded.reading.revision);
    fs::write(moved.join("stack.yaml"), format!("{stack}# more\n")).unwrap();
    assert_ne!(read(&moved).reading.revision, loaded.reading.revision);
}

/// Of a document that says twice which it is nobody knows what is missing without it: a Stack, perhaps.
#[test]
fn a_document_with_two_kinds_or_names_is_unreadable() {
    let of = |document: &str| read_text(&format!("{document}---\n{BACKEND}---\n{}", volume("db"))).reading;
    let stack = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: 5c1d2e8a90}\n";
    assert_eq!(of(stack).specs.volumes.len(), 1);
    for twice in [
        stack.replace("kind: Stack", "kind: Volume\nkind: Stack"),
        stack.replace("kind: Stack", "kind: Stack\nkind: Volume"),
        stack.replace("metadata:", "metadata: {name: other}\nmetadata:"),
        stack.replace("{name: prod}", "{name: prod, name: other}"),
    ] {
        let reading = of(&twice);
        let specs = &reading.specs;
        assert!(reading.broken && specs.volumes.is_empty() && specs.backends.is_empty(), "{twice}");
    }
}

#[test]
fn a_problem_costs_its_document_and_what_depends_on_it() {
    let bad = volume("bad").replace("1Gi", "1Gb");
    let snapshot = |name: &str, of: &str| {
        format!("apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {{name: {name}}}\nspec: {{volume: {of}}}\n")
    };
    let loaded =
        read_text(&[BACKEND, &volume("good"), &bad, &snapshot("a", "good"), &snapshot("b", "bad")].join("---\n"));
    assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
    let names = |names: Vec<&Name>| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(loaded.reading.specs.volumes.keys().collect()), ["good"]);
    assert_eq!(names(loaded.reading.specs.snapshots.keys().collect()), ["a"]);
    assert!(loaded.reading.broken);
}

#[test]
fn without_a_readable_stack_nothing_is_acted_on() {
    let stack = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: BAD}\n";
    for broken in [stack, "kind: [\n", "kind: Stack\n  bad\n"] {
        let loaded = read_text(&[BACKEND, broken, &volume("db")].join("---\n"));
        assert!(
            loaded.reading.broken
                && loaded.reading.specs.volumes.is_empty()
                && loaded.reading.specs.backends.is_empty(),
            "{broken}"
        );
        assert!(!loaded.reading.specs.stack.declared);
    }
}

#[test]
fn only_so_many_problems_of_a_file_are_shown() {
    let text = (0..250).map(|n| format!("f{n}: 1\n")).collect::<String>();
    let problems = load(&Source::Text(format!("{BACKEND}{text}")), &Limits { shown: 3, ..Limits::default() }).problems;
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[3], "247 more problems are in this file");
}

#[test]
fn a_secret_is_never_repeated() {
    // Wherever it is written by mistake, and whatever else is wrong there.
    for line in [
        "encryption: {passphrase: hunter2secret}",
        "encryption: {passphraseFrom: hunter2secret}",
        "encryption: hunter2secret",
        "encryption: [hunter2secret]",
        "encryption: {passphraseFrom: {file: {a: hunter2secret}}}",
        "encryption:\n    hunter2secret",
        "password: hunter2secret",
        "password: &hunter2secret x",
        "passphrase: *hunter2secret",
        "passphrase: 'hunter2secret",
        "secret: hunter2secret: x",
        "password:hunter2secret",
        "password = hunter2secret",
        "password hunter2secret",
        "password: \"hunter2secret",
        "password: {a: hunter2secret",
        "password: {a: hunter2secret b: c}",
        "password: @hunter2secret",
        "password: \"a\\hunter2secret\"",
        "password:\n  hunter2secret",
        "password:\nhunter2secret",
        // A value without a word that would hide it by itself, below its key.
        "password:\n    hunter2",
        "password:\nhunter2",
        "password:\n\nhunter2",
        "password: # of the database\n\n# kept here\nhunter2",
        "password: |\nhunter2",
        "password: >-\n\nhunter2",
        "password: |2-\n      a\nhunter2",
        "password: \"a\nhunter2: b",
        "passwords:\n    - a\n    - @hunter2",
        " password: hunter2secret",
        "- password: hunter2secret",
        "secret-hunter2secret",
    ] {
        let text =
            volume("db").replace("{backend: fast, size: 1Gi}", &format!("\n  backend: fast\n  size: 1Gi\n  {line}"));
        let problems = read_text(&format!("{BACKEND}---\n{text}")).problems;
        assert!(!problems.is_empty(), "{line}");
        for problem in problems {
            let (text, json) = (problem.to_string(), serde_json::to_string(&problem).unwrap());
            assert!(!text.contains("hunter2") && !json.contains("hunter2"), "{line}: {text}");
        }
    }
}

/// What must hold whatever the bytes are.
fn sane(text: &str) -> Result<(), TestCaseError> {
    let Loaded { reading, problems, paths: _ } = read_text(text);
    prop_assert_eq!(reading.broken, !problems.is_empty());
    // Nothing follows the last line end.
    let text = text.trim_start_matches('\u{feff}');
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    for problem in &problems {
        let place = &problem.place;
        let line = place.line.checked_sub(1).and_then(|index| lines.get(index as usize));
        prop_assert!(line.is_some() && place.column >= 1, "{} of {} lines", place, lines.len());
        // The end of a line is a place to edit.
        let width = line.map_or(0, |line| line.chars().count());
        prop_assert!(place.column as usize <= width + 1, "{} beyond {:?}", place, line);
        prop_assert!(!problem.message.is_empty());
        let shown = problem.to_string();
        prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", shown);
        serde_json::to_string(problem).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
    let places: Vec<(u32, u32)> = problems.iter().map(|problem| (problem.place.line, problem.place.column)).collect();
    prop_assert!(places.is_sorted(), "{:?}", places);
    prop_assert!(reading.specs.volumes.values().all(|volume| reading.specs.backends.contains_key(&volume.backend)));
    prop_assert!(reading.specs.snapshots.values().all(|snapshot| reading.specs.volumes.contains_key(&snapshot.volume)));
    Ok(())
}

#[test]
fn a_file_cut_at_any_byte_never_panics() {
    let text = format!("{BACKEND}---\n{GOOD}");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        sane(&text[..end]).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let root = tempfile::tempdir()?;
        let path = root.path().join("x.yaml");
        fs::write(&path, &bytes)?;
        prop_assert!(read(&path).reading.broken);
        sane(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn yaml_like_text_never_panics(text in "[ \\n\\-:{}\\[\\],&*!|>'\"%#?@ab01.\\t\\r\u{85}\u{2028}\u{feff}値]{0,120}") {
        sane(&text)?;
    }

    #[test]
    fn mutated_documents_never_panic(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0..5_usize, "[ \\n:{}\\[\\]~'\"\\-a0]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = format!("{BACKEND}---\n{GOOD}").chars().collect();
        for (at, remove, insert) in edits {
            let start = at.index(text.len());
            let end = (start + remove).min(text.len());
            text.splice(start..end, insert.chars());
        }
        sane(&text.into_iter().collect::<String>())?;
    }
}

#[test]
fn specs_differ_by_what_they_declare_whatever_its_name_and_not_by_where_it_stands() {
    let specs = |volumes: &[&str]| {
        let stack = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: 5c1d2e8a90}\n---\n\
            apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";
        let volume = |metadata: &&str| {
            let spec = "spec: {backend: fast, size: 1Mi}";
            format!("---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{{metadata}}}\n{spec}\n")
        };
        let text = format!("{stack}{}", volumes.iter().map(volume).collect::<String>());
        let loaded =
            [text.clone(), format!("# a comment\n\n{text}")].map(|text| load(&Source::Text(text), &Limits::default()));
        assert!(loaded.iter().all(|loaded| loaded.problems.is_empty()), "{:?}", loaded[0].problems);
        assert_eq!(loaded[0].reading.specs, loaded[1].reading.specs, "{text}");
        assert_ne!(loaded[0].reading.places, loaded[1].reading.places);
        loaded[0].reading.specs.clone()
    };
    let plain = specs(&["name: db"]);
    for other in [
        &["name: db, labels: {place: rack-1}"][..],
        &["name: db, labels: {revision: a}"],
        &["name: db", "name: place"],
        &["name: place"],
        &[],
    ] {
        assert_ne!(plain, specs(other), "{other:?}");
    }
}

#[test]
fn a_document_has_at_most_so_many_values() {
    let labels = |count: usize| {
        let labels: Vec<String> = (0..count).map(|n| format!("k{n}: v")).collect();
        volume("db").replace("{name: db}", &format!("{{name: db, labels: {{{}}}}}", labels.join(", ")))
    };
    let limits = Limits { nodes: 60, ..Limits::default() };
    let read = |text: &str| load(&Source::Text(format!("{BACKEND}---\n{text}")), &limits);
    assert_eq!(read(&labels(10)).problems, []);
    let many = read(&labels(40));
    assert!(many.reading.specs.volumes.is_empty() && !many.problems.is_empty(), "{:?}", many.problems);
    // A document may be long enough to have too many.
    let flat = format!("x: [{}]\n", "1,".repeat(Limits::default().nodes));
    assert!(flat.len() < Limits::default().document_bytes);
    let told = read_text(&format!("{BACKEND}---\n{flat}")).problems;
    assert!(told.iter().any(|problem| problem.message.contains("10000")), "{told:?}");
}

#[test]
fn a_directory_has_at_most_so_many_files_and_bytes() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.yaml"), BACKEND).unwrap();
    for n in 0..4 {
        fs::write(root.path().join(format!("v{n}.yaml")), volume(&format!("v{n}"))).unwrap();
    }
    let source = Source::Path(root.path().to_owned());
    let all: u64 = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let read = |files: usize, total_bytes: u64| load(&source, &Limits { files, total_bytes, ..Limits::default() });
    assert_eq!(read(5, all).problems, []);
    for over in [read(4, all), read(5, all - 200)] {
        let told = told(root.path(), &over.problems);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].1.starts_with("the directory has more than"), "{told:?}");
        assert!(over.reading.broken, "what was not read may be declared");
    }
}
