//! The fixes that are printed, carried out: afterwards nothing is held for their reason, and no data is lost or doubled.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kiln::plan::HeldReason;

use crate::sandbox::{STACK, Sandbox};
use crate::situations::more;

const NAMES: [&str; 4] = ["db", "b", "c", "d"];

/// What is held, as `kiln plan -o json` shows it.
struct Held {
    reason: String,
    object: String,
    fix: String,
}

pub(crate) struct Case {
    /// Why it is held, and what.
    pub(crate) reason: &'static str,
    pub(crate) object: &'static str,
    /// Brings a settled Stack with four volumes into the situation.
    pub(crate) make: fn(&Sandbox),
    /// Does what the fix says. What stands between backticks in it, in order.
    pub(crate) follow: fn(&Sandbox, &[String]),
    /// Volumes whose data is given up by the situation or by the fix, which says so.
    pub(crate) gone: &'static [&'static str],
}

fn canary(name: &str) -> Vec<u8> {
    format!("canary of {name}!").into_bytes()
}

pub(crate) fn settled() -> Sandbox {
    let sandbox = Sandbox::with_stack();
    for name in NAMES {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.kiln("apply").ends(0);
    for name in NAMES {
        let file = fs::OpenOptions::new().write(true).open(image(&sandbox, name)).unwrap();
        file.write_all_at(&canary(name), 0).unwrap();
    }
    sandbox
}

fn held(sandbox: &Sandbox) -> Vec<Held> {
    let plan = sandbox.kiln("plan -o json").json();
    let mut all = plan["held"].as_array().cloned().unwrap_or_default();
    // Where nobody can be asked, an apply holds more.
    if all.is_empty() {
        let told = sandbox.kiln("apply -o json").out;
        let summary: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        all = summary["held"].as_array().cloned().unwrap_or_default();
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|held| Held {
            reason: text(&held["reason"]),
            object: format!("{}/{}", text(&held["kind"]).to_lowercase(), text(&held["name"])),
            fix: text(&held["fix"]),
        })
        .collect()
}

/// What stands between backticks.
pub(crate) fn quoted(fix: &str) -> Vec<String> {
    fix.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Runs a command as it is printed.
pub(crate) fn run(sandbox: &Sandbox, printed: &str) {
    let arguments = printed.strip_prefix("kiln ").unwrap_or_else(|| panic!("{printed:?} is no command of kiln"));
    let ran = sandbox.kiln(arguments);
    assert!(matches!(ran.code, 0 | 4), "`{printed}` ends with {}\n{}\n{}", ran.code, ran.out, ran.err);
}

/// Writes the document of a volume with more fields, as the fix prints them.
pub(crate) fn declare(sandbox: &Sandbox, name: &str, spec: &str) {
    sandbox.volume(name, spec);
}

/// Files below a directory whose content begins so.
fn holding(dir: &Path, content: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, content));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.starts_with(content)) {
            found.push(path);
        }
    }
    found
}

/// The directory of a live volume.
pub(crate) fn directory_of(sandbox: &Sandbox, name: &str) -> PathBuf {
    let entries = fs::read_dir(sandbox.path("pool")).unwrap().flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.file_name().unwrap().to_str().is_some_and(|file| file.starts_with(&format!("kiln.prod.{name}.")))
    };
    entries.into_iter().find(is_it).unwrap()
}

pub(crate) fn image(sandbox: &Sandbox, name: &str) -> PathBuf {
    let directory = directory_of(sandbox, name);
    let file = format!("{}.img", directory.file_name().unwrap().to_str().unwrap());
    directory.join(file)
}

fn stack(sandbox: &Sandbox, from: &str, to: &str) {
    assert!(STACK.contains(from));
    sandbox.write("specs/stack.yaml", &STACK.replace(from, to));
}

/// An object that is nobody's, in the pool.
fn stranger(sandbox: &Sandbox, name: &str) {
    fs::write(sandbox.path("pool").join(name), canary("stranger").into_iter().chain([0; 4096]).collect::<Vec<u8>>())
        .unwrap();
}

fn cases() -> Vec<Case> {
    let case = |reason, object, make, follow, gone| Case { reason, object, make, follow, gone };
    vec![
        case(
            "Suspended",
            "volume/db",
            |sandbox| {
                sandbox.volume("db", "size: 2Mi");
                sandbox.kiln("suspend volume/db --reason fsck").ends(0);
            },
            |sandbox, printed| run(sandbox, &printed[0]),
            &[],
        ),
        case(
            "Lost",
            "volume/db",
            |sandbox| fs::remove_dir_all(directory_of(sandbox, "db")).unwrap(),
            |sandbox, printed| run(sandbox, &printed[0]),
            &["db"],
        ),
        case(
            "Lost",
            "volume/db",
            |sandbox| {
                let file = fs::OpenOptions::new().write(true).open(image(sandbox, "db")).unwrap();
                file.set_len(4096).unwrap();
            },
            |sandbox, printed| run(sandbox, &printed[0]),
            &[],
        ),
        case(
            "Renamed",
            "volume/db",
            rename_by_hand,
            |sandbox, printed| {
                sandbox.remove("specs/db.yaml");
                let text = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: database, RENAMED}\nspec: {backend: fast, size: 1Mi}\n";
                sandbox.write("specs/database.yaml", &text.replace("RENAMED", &printed[0]));
            },
            &[],
        ),
        case(
            "Protected",
            "volume/db",
            |sandbox| {
                sandbox.volume("db", "size: 1Mi, protected: true");
                sandbox.kiln("apply").ends(0);
                sandbox.remove("specs/db.yaml");
            },
            |sandbox, printed| {
                declare(sandbox, "db", &format!("size: 1Mi, {}", printed[0]));
                sandbox.kiln("apply").ends(0);
                sandbox.remove("specs/db.yaml");
            },
            &[],
        ),
        case(
            "RemovalLimit",
            "volume/db",
            |sandbox| NAMES.iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml"))),
            |sandbox, printed| run(sandbox, &printed[0]),
            &[],
        ),
        case(
            "ShrinkRefused",
            "volume/db",
            |sandbox| sandbox.volume("db", "size: 512Ki"),
            |sandbox, printed| declare(sandbox, "db", &printed[0]),
            &[],
        ),
        case(
            "Immutable",
            "volume/db",
            |sandbox| {
                sandbox.volume("db", "size: 1Mi, provisioning: thick");
                sandbox.kiln("apply").ends(0);
                sandbox.volume("db", "size: 1Mi, provisioning: thin");
            },
            |sandbox, printed| declare(sandbox, "db", &format!("size: 1Mi, {}", printed[0])),
            &[],
        ),
        case(
            "Unsupported",
            "volume/db",
            |sandbox| sandbox.volume("db", "size: 2Mi, qos: {iops: 5}"),
            |sandbox, _| declare(sandbox, "db", "size: 2Mi"),
            &[],
        ),
        case(
            "Foreign",
            "volume/new",
            |sandbox| {
                stranger(sandbox, "disk.raw");
                sandbox.volume("new", "size: 1Mi, object: disk.raw");
            },
            |sandbox, printed| {
                assert_eq!(printed[1], "object", "{printed:?}");
                declare(sandbox, "new", &format!("size: 1Mi, {}", printed[0]));
            },
            &[],
        ),
        case(
            "AdoptMissing",
            "volume/new",
            |sandbox| {
                stranger(sandbox, "disk.raw");
                sandbox.volume("new", "size: 1Mi, adopt: {name: dsik.raw}");
            },
            |sandbox, _| declare(sandbox, "new", "size: 1Mi, adopt: {name: disk.raw}"),
            &[],
        ),
        case(
            "SourceMissing",
            "volume/new",
            |sandbox| sandbox.volume("new", "size: 1Mi, source: {image: {path: ../none.raw, format: raw}}"),
            |sandbox, printed| {
                assert!(printed.iter().any(|printed| printed == "source"), "{printed:?}");
                declare(sandbox, "new", "size: 1Mi");
            },
            &[],
        ),
        case(
            "SizeBelowSource",
            "volume/new",
            |sandbox| sandbox.volume("new", "size: 512Ki, source: {volume: b}"),
            |sandbox, printed| declare(sandbox, "new", &format!("{}, source: {{volume: b}}", printed[0])),
            // It is copied.
            &["b"],
        ),
        case(
            "OwnerChanged",
            "volume/db",
            |sandbox| stack(sandbox, "name: prod", "name: next"),
            |sandbox, printed| {
                assert_eq!(printed[0], "metadata: {name: prod}");
                sandbox.write("specs/stack.yaml", &STACK.replace("metadata: {name: prod}", &printed[0]));
            },
            &[],
        ),
        case(
            "OwnerChanged",
            "volume/db",
            |sandbox| stack(sandbox, "name: prod", "name: next"),
            |sandbox, printed| run(sandbox, &printed[1]),
            &[],
        ),
        case(
            "OwnerChanged",
            "volume/db",
            |sandbox| stack(sandbox, "id: 5c1d2e8a90", "id: 0000000000x"),
            |sandbox, printed| {
                assert_eq!(printed[0], "spec: {id: 5c1d2e8a90}");
                sandbox.write("specs/stack.yaml", &STACK.replace("spec: {id: 5c1d2e8a90}", &printed[0]));
            },
            &[],
        ),
        case(
            "OwnerChanged",
            "volume/db",
            |sandbox| stack(sandbox, "id: 5c1d2e8a90", "id: 0000000000x"),
            |sandbox, printed| run(sandbox, &printed[1]),
            &[],
        ),
        // The Stack's file is emptied.
        case(
            "OwnerChanged",
            "volume/db",
            |sandbox| {
                let (_, backend) = STACK.split_once("---\n").unwrap();
                sandbox.write("specs/backend.yaml", backend);
                sandbox.write("specs/stack.yaml", "");
            },
            |sandbox, printed| {
                assert!(printed.iter().all(|printed| !printed.starts_with("kiln ")), "{printed:?}");
                let fields = printed.join("\n");
                sandbox.write("specs/stack.yaml", &format!("apiVersion: kiln/v1\n{fields}\n"));
            },
            &[],
        ),
        case(
            "BackendChanged",
            "volume/db",
            |sandbox| {
                fs::rename(sandbox.path("pool"), sandbox.path("away")).unwrap();
                fs::create_dir(sandbox.path("pool")).unwrap();
            },
            |sandbox, _| {
                fs::remove_dir(sandbox.path("pool")).unwrap();
                fs::rename(sandbox.path("away"), sandbox.path("pool")).unwrap();
            },
            &[],
        ),
        case(
            "Unobserved",
            "volume/db",
            |sandbox| {
                fs::rename(sandbox.path("pool"), sandbox.path("away")).unwrap();
                fs::write(sandbox.path("pool"), "no directory").unwrap();
            },
            |sandbox, _| {
                fs::remove_file(sandbox.path("pool")).unwrap();
                fs::rename(sandbox.path("away"), sandbox.path("pool")).unwrap();
            },
            &[],
        ),
        // Two of one name are in the trash: the one that left last comes back.
        case(
            "Ambiguous",
            "volume/db",
            |sandbox| {
                sandbox.remove("specs/db.yaml");
                sandbox.kiln("apply").ends(0);
                sandbox.remove("specs/b.yaml");
                let text = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db, renamedFrom: b}\nspec: {backend: fast, size: 1Mi}\n";
                sandbox.write("specs/db.yaml", text);
                sandbox.kiln("apply").ends(0);
                sandbox.remove("specs/db.yaml");
                sandbox.kiln("apply").ends(0);
                sandbox.volume("db", "size: 1Mi");
            },
            |sandbox, printed| run(sandbox, &printed[0]),
            &[],
        ),
    ]
}

/// Somebody gives the directory of `db`, and the image in it, another name on the pool.
fn rename_by_hand(sandbox: &Sandbox) {
    let directory = directory_of(sandbox, "db");
    let native = directory.file_name().unwrap().to_str().unwrap().to_owned();
    let other = native.replace(".db.", ".database.");
    fs::rename(directory.join(format!("{native}.img")), directory.join(format!("{other}.img"))).unwrap();
    fs::rename(&directory, sandbox.path("pool").join(other)).unwrap();
}

/// Where the fix of a reason is carried out.
#[derive(PartialEq, Eq)]
enum CarriedOut {
    /// By a case here.
    Here,
    /// Nowhere: nothing is held for it yet.
    Nowhere,
}

/// A new reason does not compile before somebody has said where its fix is carried out.
fn carried_out(reason: HeldReason) -> CarriedOut {
    match reason {
        HeldReason::Unsupported
        | HeldReason::ShrinkRefused
        | HeldReason::GrowRefused
        | HeldReason::Immutable
        | HeldReason::Protected
        | HeldReason::HasDependents
        | HeldReason::InUse
        | HeldReason::RemovalLimit
        | HeldReason::SourceBroken
        | HeldReason::SourceChanged
        | HeldReason::Unobserved
        | HeldReason::Lost
        | HeldReason::Renamed
        | HeldReason::Foreign
        | HeldReason::Conflict
        | HeldReason::Ambiguous
        | HeldReason::OtherWriter
        | HeldReason::OwnerChanged
        | HeldReason::BackendChanged
        | HeldReason::BackendUndeclared
        | HeldReason::AdoptMissing
        | HeldReason::SourceMissing
        | HeldReason::HalfRestored
        | HeldReason::SizeBelowSource
        | HeldReason::LooksLikeRename
        | HeldReason::NeedsConfirmation
        | HeldReason::PoolFull
        | HeldReason::NameTooLong
        | HeldReason::NotAllowed
        | HeldReason::Suspended
        | HeldReason::DependencyHeld => CarriedOut::Here,
        // Progressing: its fix is to wait, which `daemon::tests::jobs` does.
        HeldReason::OpenExport | HeldReason::Blocked | HeldReason::Progressing => CarriedOut::Nowhere,
    }
}

#[test]
fn every_reason_that_holds_something_has_its_fix_carried_out() {
    let cases: Vec<Case> = cases().into_iter().chain(more()).collect();
    for reason in HeldReason::ALL {
        let has_case = cases.iter().any(|case| case.reason == reason.as_str());
        assert_eq!(has_case, carried_out(*reason) == CarriedOut::Here, "{reason}");
    }
}

#[test]
fn every_fix_that_is_printed_frees_its_object_and_loses_no_data() {
    carry_out_all(cases());
}

pub(crate) fn carry_out_all(cases: Vec<Case>) {
    let mut failed = Vec::new();
    for (number, case) in cases.into_iter().enumerate() {
        let title = format!("{number}: {} of {}", case.reason, case.object);
        let tried = std::panic::catch_unwind(|| carry_out(&case));
        if tried.is_err() {
            failed.push(title);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn carry_out(case: &Case) {
    let Case { reason, object, make, follow, gone } = case;
    let sandbox = settled();
    make(&sandbox);
    let strangers = holding(&sandbox.path("."), &canary("stranger")).len();
    let is_it = |held: &Held| held.reason == *reason && held.object == *object;
    let all = held(&sandbox);
    let found = all.iter().find(|held| is_it(held));
    let said = || all.iter().map(|held| format!("{} {}: {}", held.reason, held.object, held.fix)).collect::<Vec<_>>();
    let fix = found.unwrap_or_else(|| panic!("{reason} {object} is not held: {:?}", said())).fix.clone();
    follow(&sandbox, &quoted(&fix));
    sandbox.kiln("apply");
    let after = held(&sandbox);
    assert!(!after.iter().any(is_it), "{reason} {object} is still held after: {fix}");
    for name in NAMES {
        let files = holding(&sandbox.path("."), &canary(name));
        assert!(
            files.len() == 1 || gone.contains(&name),
            "{reason} {object}: the data of {name} is in {files:?} after: {fix}"
        );
        let live = fs::read_dir(sandbox.path("pool")).unwrap().flatten();
        let named = |entry: &fs::DirEntry| {
            let file = entry.file_name().into_string().unwrap();
            file.split('.').nth(2) == Some(name) && file.starts_with("kiln.")
        };
        let live: Vec<_> = live.filter(named).collect();
        assert!(live.len() <= 1, "{reason} {object}: {name} is there twice: {live:?} after: {fix}");
    }
    assert_eq!(holding(&sandbox.path("."), &canary("stranger")).len(), strangers, "{reason} {object}: after: {fix}");
}
