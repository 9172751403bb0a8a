//! More situations in which something is held, and their fixes carried out: see [`crate::fixes`].

use std::fs::{self, File};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fixes::{Case, carry_out_all, declare, directory_of, image, quoted, run, settled};
use crate::sandbox::{STACK, Sandbox};

/// What a client, or another writer, has open until the fix ends that.
static OPEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

fn keep_open(file: File) {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(file);
}

fn close(_: &Sandbox, _: &[String]) {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn snapshot_of_db(sandbox: &Sandbox, more: &str) {
    sandbox.snapshot("s", &format!("volume: db{more}"));
    sandbox.kiln("apply").ends(0);
}

/// `db` is destroyed when it goes, and a volume like it comes.
fn looks_renamed(sandbox: &Sandbox) {
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.volume("database", "size: 1Mi");
}

fn cut(sandbox: &Sandbox) {
    let file = fs::OpenOptions::new().write(true).open(image(sandbox, "db")).unwrap();
    file.set_len(4096).unwrap();
    sandbox.kiln("forget volume/db").ends(0);
}

/// Other manifests with the same Stack, in the place of those that were applied.
fn other_manifests(sandbox: &Sandbox) {
    fs::rename(sandbox.path("specs"), sandbox.path("applied")).unwrap();
    sandbox.write("specs/other.yaml", STACK);
}

fn without_backend(sandbox: &Sandbox) {
    sandbox.write("specs/stack.yaml", STACK.split_once("---\n").unwrap().0);
    ["db", "b", "c", "d"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
}

fn emptied(sandbox: &Sandbox) {
    sandbox.write("specs/db.yaml", "");
}

pub(crate) fn more() -> Vec<Case> {
    let case = |reason, object, make, follow, gone| Case { reason, object, make, follow, gone };
    vec![
        case(
            "PoolFull",
            "volume/new",
            |sandbox| sandbox.volume("new", "size: 15Ti"),
            |sandbox, _| {
                let raised = STACK.replace("maxFill: 100%", "maxFill: 100%, overcommit: 1000000");
                sandbox.write("specs/stack.yaml", &raised);
            },
            &[],
        ),
        case(
            "NameTooLong",
            "volume/new",
            |sandbox| sandbox.volume("new", &format!("size: 1Mi, object: {}", "x".repeat(250))),
            |sandbox, _| declare(sandbox, "new", "size: 1Mi, object: short"),
            &[],
        ),
        case(
            "NotAllowed",
            "volume/new",
            |sandbox| {
                sandbox.write("image.raw", "content");
                sandbox.volume("new", "size: 1Mi, source: {image: {path: /etc/hostname, format: raw}}");
            },
            |sandbox, _| declare(sandbox, "new", "size: 1Mi, source: {image: {path: ../image.raw, format: raw}}"),
            &[],
        ),
        case(
            "DependencyHeld",
            "volume/new",
            |sandbox| {
                sandbox.volume("db", "size: 2Mi");
                sandbox.kiln("suspend volume/db --reason fsck").ends(0);
                sandbox.volume("new", "size: 2Mi, source: {volume: db}");
            },
            |sandbox, printed| {
                run(sandbox, &printed[0]);
                let described = sandbox.kiln(printed[0].strip_prefix("kiln ").unwrap()).out;
                run(sandbox, described.split('`').nth(1).unwrap());
            },
            // It is copied.
            &["db"],
        ),
        case(
            "InUse",
            "volume/db",
            |sandbox| {
                sandbox.volume("db", "size: 1Mi, onRemove: Delete");
                sandbox.kiln("apply").ends(0);
                sandbox.remove("specs/db.yaml");
                keep_open(File::options().write(true).open(image(sandbox, "db")).unwrap());
            },
            close,
            // Its document says so.
            &["db"],
        ),
        case(
            "OtherWriter",
            "volume/db",
            |sandbox| {
                sandbox.volume("db", "size: 2Mi");
                let lock = File::options().write(true).open(sandbox.path("pool/.kiln-pool/prod.lock")).unwrap();
                rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
                keep_open(lock);
            },
            close,
            &[],
        ),
        case(
            "NeedsConfirmation",
            "volume/db",
            |sandbox| {
                snapshot_of_db(sandbox, "");
                sandbox.volume("db", "size: 1Mi, restore: {snapshot: s, request: a}");
            },
            |sandbox, printed| run(sandbox, printed.last().unwrap()),
            // The snapshot has a copy.
            &["db"],
        ),
        case(
            "HasDependents",
            "volume/db",
            |sandbox| {
                snapshot_of_db(sandbox, ", protected: true");
                sandbox.remove("specs/s.yaml");
                sandbox.remove("specs/db.yaml");
            },
            |sandbox, _| {
                // What holds the snapshot says how it is let go.
                sandbox.volume("db", "size: 1Mi");
                snapshot_of_db(sandbox, ", protected: false");
                sandbox.remove("specs/s.yaml");
                sandbox.remove("specs/db.yaml");
            },
            &["db"],
        ),
        case("BackendUndeclared", "volume/db", without_backend, |sandbox, printed| run(sandbox, &printed[0]), &[]),
        case(
            "BackendUndeclared",
            "volume/db",
            without_backend,
            |sandbox, _| sandbox.write("specs/stack.yaml", STACK),
            &[],
        ),
        case(
            "Conflict",
            "volume/db",
            |sandbox| {
                sandbox.volume("db", "size: 1Mi, protected: true");
                sandbox.kiln("apply").ends(0);
                let tags = directory_of(sandbox, "db").join("tags.json");
                fs::copy(&tags, sandbox.path("tags.json")).unwrap();
                fs::write(tags, "{}").unwrap();
            },
            |sandbox, _| {
                fs::copy(sandbox.path("tags.json"), directory_of(sandbox, "db").join("tags.json")).unwrap();
            },
            &[],
        ),
        // Its own data is what the restore discards.
        case("HalfRestored", "volume/db", half_restored, |sandbox, printed| run(sandbox, &printed[0]), &["db"]),
        case("SourceBroken", "volume/db", emptied, |sandbox, _| sandbox.volume("db", "size: 1Mi"), &[]),
        case("SourceBroken", "volume/db", emptied, |sandbox, printed| run(sandbox, &printed[0]), &[]),
        case(
            "LooksLikeRename",
            "volume/database",
            looks_renamed,
            |sandbox, printed| {
                let text = fs::read_to_string(sandbox.path("specs/database.yaml")).unwrap();
                sandbox.write(
                    "specs/database.yaml",
                    &text.replace("name: database", &format!("name: database, {}", printed[0])),
                );
            },
            &[],
        ),
        case(
            "LooksLikeRename",
            "volume/db",
            looks_renamed,
            |sandbox, printed| run(sandbox, printed.last().unwrap()),
            &["db"],
        ),
        case("GrowRefused", "volume/db", cut, |sandbox, printed| declare(sandbox, "db", &printed[0]), &[]),
        case("GrowRefused", "volume/db", cut, |sandbox, printed| run(sandbox, &printed[1]), &[]),
        case(
            "SourceChanged",
            "volume/db",
            other_manifests,
            |sandbox, _| {
                fs::remove_dir_all(sandbox.path("specs")).unwrap();
                fs::rename(sandbox.path("applied"), sandbox.path("specs")).unwrap();
            },
            &[],
        ),
        case("SourceChanged", "volume/db", other_manifests, |sandbox, printed| run(sandbox, &printed[0]), &[]),
    ]
}

#[test]
fn every_other_fix_that_is_printed_frees_its_object_and_loses_no_data() {
    carry_out_all(more());
}

/// What `kiln doctor` finds: of what, and why; and its fix.
fn findings(sandbox: &Sandbox) -> Vec<([String; 2], String)> {
    let all = sandbox.kiln("doctor -o json").json()["findings"].as_array().unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    all.iter().map(|one| ([text(&one["what"]), text(&one["reason"])], text(&one["fix"]))).collect()
}

#[test]
fn fixes_of_doctor_and_status_end_their_problem() {
    let sandbox = settled();
    let stack = STACK.replace("90}", "90, trash: {ttl: 1s}, safety: {maxRemovals: 1}}");
    sandbox.write("specs/stack.yaml", &stack);
    // Past its time in the trash.
    sandbox.remove("specs/b.yaml");
    sandbox.kiln("apply").ends(0);
    let is_expired = |all: &[([String; 2], String)]| all.iter().any(|([_, reason], _)| reason == "Expired");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_expired(&findings(&sandbox)) {
        assert!(Instant::now() < deadline, "{:?}", findings(&sandbox));
        std::thread::sleep(Duration::from_millis(100));
    }
    // What waits for a person, what is suspended, and a copy that a killed run left behind.
    sandbox.volume("db", "size: 2Mi");
    sandbox.kiln("suspend volume/db --reason fsck").ends(0);
    sandbox.remove("specs/c.yaml");
    sandbox.remove("specs/d.yaml");
    fs::create_dir(sandbox.path("pool/kiln-tmp.prod.old.abcdefgh")).unwrap();
    let found = findings(&sandbox);
    for reason in ["Expired", "Suspended", "RemovalLimit", "LeftOver"] {
        assert!(found.iter().any(|([_, of], _)| of == reason), "no {reason} in {found:?}");
    }
    for (what, fix) in &found {
        // Several of them may have one fix, which is carried out once.
        for command in quoted(fix).iter().filter(|printed| printed.starts_with("kiln ")) {
            if findings(&sandbox).iter().any(|(other, _)| other == what) {
                run(&sandbox, command);
            }
        }
        assert!(findings(&sandbox).iter().all(|(other, _)| other != what), "{what:?} is found after: {fix}");
    }
    // The same, as `status` prints it.
    sandbox.kiln("suspend --reason all").ends(0);
    for name in ["c", "d"] {
        sandbox.volume(name, "size: 1Mi");
    }
    let said = sandbox.kiln("status").ends(0).out;
    let resume = quoted(said.split("Suspended:").nth(1).unwrap()).into_iter().next().unwrap();
    run(&sandbox, &resume);
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/c.yaml");
    sandbox.remove("specs/d.yaml");
    let said = sandbox.kiln("status").ends(0).out;
    let approve = quoted(said.split("Waiting for approval").nth(1).unwrap()).remove(0);
    run(&sandbox, &approve);
    sandbox.kiln("apply").ends(0).says("removed volume/c").says("removed volume/d");
    assert!(!sandbox.kiln("status").ends(0).out.contains("Waiting for approval"));
}

/// A restore of `db` was interrupted, on a backend where it takes several steps, and its document has changed since.
fn half_restored(sandbox: &Sandbox) {
    sandbox.snapshot("monday", "volume: db");
    sandbox.volume("db", "size: 1Mi, protected: true");
    sandbox.kiln("apply").ends(0);
    let entries = fs::read_dir(sandbox.path("pool")).unwrap().flatten().map(|entry| entry.file_name());
    let natives = entries.filter_map(|name| name.into_string().ok()).collect::<Vec<_>>();
    let uid = natives.iter().find_map(|native| native.strip_prefix("kiln-snap.prod.monday.")).unwrap();
    let file = directory_of(sandbox, "db").join("tags.json");
    let mut stored: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    stored["tags"]["restoring"] = serde_json::json!({"request": "once", "snapshot": uid});
    fs::write(file, stored.to_string()).unwrap();
    sandbox.volume("db", "size: 2Mi, protected: true");
}
