//! States that an interrupted run, or somebody else, leaves half-way: each is seen as what it is, completed, or held with a fix that helps.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sandbox::{STACK, Sandbox, pin};

/// The directory of an object in the pool.
fn directory(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.data_file(name).parent().unwrap().to_owned()
}

/// Leaves the directory of an object renamed, and its data file not yet: what a run leaves that is killed between the two.
fn half_renamed(old: &Path, new: &Path) {
    fs::rename(old, new).unwrap();
}

/// The name of the directory of an object in the pool, by the object's name.
fn directory_of(sandbox: &Sandbox, object: &str) -> String {
    let names =
        fs::read_dir(sandbox.path("pool")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.into_iter().find(|name| name.starts_with(&format!("kiln.prod.{object}."))).unwrap()
}

fn with_name(directory: &Path, part: usize, text: &str) -> PathBuf {
    let name = directory.file_name().unwrap().to_str().unwrap();
    let mut parts: Vec<&str> = name.split('.').collect();
    parts[part] = text;
    directory.with_file_name(parts.join("."))
}

/// Every object in the pool has its data file under its own name.
fn all_can_be_opened(sandbox: &Sandbox) -> usize {
    let objects = fs::read_dir(sandbox.path("pool")).unwrap().map(|entry| entry.unwrap().path());
    let objects: Vec<PathBuf> = objects.filter(|path| path.to_str().unwrap().contains("/kiln.")).collect();
    for object in &objects {
        let file = object.join(format!("{}.img", object.file_name().unwrap().to_str().unwrap()));
        assert!(file.is_file(), "{} is not there", file.display());
    }
    objects.len()
}

#[test]
fn interrupted_renames_are_completed_also_without_the_store() {
    for with_store in [true, false] {
        let sandbox = Sandbox::with_volumes(&["a", "b", "c", "kept"]);
        sandbox.volume("released", "size: 1Mi, onRemove: Retain");
        sandbox.kiln("apply").ends(0);
        fs::write(sandbox.data_file("volume/a"), vec![7; 1 << 20]).unwrap();
        for name in ["a", "b", "c"] {
            let old = directory(&sandbox, &format!("volume/{name}"));
            sandbox.remove(&format!("specs/{name}.yaml"));
            let renamed = format!(
                "apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}{name}, renamedFrom: {name}}}\nspec: {{backend: fast, size: 1Mi}}\n"
            );
            sandbox.write(&format!("specs/{name}{name}.yaml"), &renamed);
            half_renamed(&old, &with_name(&old, 2, &format!("{name}{name}")));
        }
        // Of one nothing is left to do but to record it.
        let native = directory_of(&sandbox, "cc");
        let image = |name: &str| sandbox.path("pool").join(&native).join(format!("{name}.img"));
        fs::rename(image(&native.replace(".cc.", ".c.")), image(&native)).unwrap();
        // One of an object that no document declares any more: its rename is completed as well.
        let released = sandbox.data_file("volume/released");
        sandbox.remove("specs/released.yaml");
        sandbox.kiln("apply volume/kept").ends(0);
        fs::rename(&released, released.with_file_name("kiln.prod.before.img")).unwrap();
        if !with_store {
            sandbox.remove("state");
        }
        sandbox.kiln("plan").ends(0).says("aa").says("bb").says("complete its interrupted rename");
        let conditions = |name: &str| sandbox.object(name)["status"]["condition"].as_str().unwrap().to_owned();
        assert_ne!(conditions("volume/aa"), "Settled");
        sandbox.kiln("apply").ends(0);
        assert_eq!(all_can_be_opened(&sandbox), 5);
        assert_eq!(fs::read(sandbox.data_file("volume/aa")).unwrap(), vec![7; 1 << 20]);
        // Nothing more to do, and no drift to report.
        let plan = sandbox.kiln("plan -o json --detailed-exitcode").ends(0).json();
        assert_eq!(plan["drift"].as_array().map(Vec::len), Some(0), "{plan}");
        assert_eq!(conditions("volume/aa"), "Settled");
    }
}

#[test]
fn an_interrupted_adoption_of_all_objects_of_an_owner_is_completed() {
    let sandbox = Sandbox::with_volumes(&["a", "b", "c"]);
    sandbox.kiln("apply").ends(0);
    sandbox.write("specs/stack.yaml", &STACK.replace("name: prod", "name: next"));
    // Killed while two of three objects are being given: their directories are renamed, their data files not.
    sandbox.kiln("adopt fast --from-owner prod").ends(0);
    for name in ["a", "b"] {
        let file = sandbox.data_file(&format!("volume/{name}"));
        let native = file.file_stem().unwrap().to_str().unwrap().replace(".next.", ".prod.");
        fs::rename(&file, file.with_file_name(format!("{native}.img"))).unwrap();
    }
    sandbox.kiln("apply").ends(0).says("complete its interrupted rename");
    assert_eq!(all_can_be_opened(&sandbox), 3);
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

#[test]
fn a_purge_that_fails_keeps_the_object_listed_and_ends_with_1() {
    let sandbox = Sandbox::with_volumes(&["db", "other"]);
    sandbox.kiln("apply").ends(0);
    let file = sandbox.data_file("volume/db");
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0);
    let directory = file.parent().unwrap();
    let trashed = sandbox.path("pool/.trash").join(directory.file_name().unwrap()).join(file.file_name().unwrap());
    pin(&trashed, true);
    for _ in 0..2 {
        let ran = sandbox.kiln("trash purge volume/db --yes");
        let ran = ran.ends(1).warns("Operation not permitted");
        if let Some((_, fix)) = ran.err.split_once("fix: ") {
            let file = fix.lines().next().unwrap().strip_prefix("chattr -i -a ").unwrap();
            assert_eq!(fs::canonicalize(sandbox.path(file)).ok(), fs::canonicalize(&trashed).ok(), "{ran:?}");
        } else {
            assert!(!rustix::process::geteuid().is_root(), "{ran:?}");
        }
        sandbox.kiln("trash list").ends(0).says("volume/db");
        sandbox.kiln("apply").ends(0);
        sandbox.kiln("trash list").ends(0).says("volume/db");
    }
    pin(&trashed, false);
    sandbox.kiln("trash purge volume/db --yes").ends(0);
    assert!(!trashed.exists());
    assert!(!sandbox.kiln("trash list").ends(0).out.contains("db"));
}

#[test]
fn a_purge_reports_what_it_destroyed_also_where_it_leaves_an_object() {
    let sandbox = Sandbox::with_stack();
    sandbox.write("specs/stack.yaml", &STACK.replace("id: 5c1d2e8a90", "id: 5c1d2e8a90, trash: {ttl: 1s}"));
    for name in ["a", "b", "c", "keep"] {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.kiln("apply").ends(0);
    let file = sandbox.data_file("volume/b");
    ["a", "b", "c"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    sandbox.kiln("apply --yes").ends(0);
    let directory = file.parent().unwrap();
    let trashed = sandbox.path("pool/.trash").join(directory.file_name().unwrap()).join(file.file_name().unwrap());
    pin(&trashed, true);
    let deadline = Instant::now() + Duration::from_secs(30);
    let ran = loop {
        let ran = sandbox.kiln("trash purge");
        if !ran.out.contains("Nothing in the trash has expired") || Instant::now() > deadline {
            break ran;
        }
    };
    pin(&trashed, false);
    let ran = ran.ends(1).says("purged volume a from fast").says("purged volume c from fast");
    let ran = ran.warns("error: volume b: ").warns("Operation not permitted");
    assert!(!ran.out.contains("purged volume b") && !ran.err.contains("nothing is lost"), "{ran:?}");
}

#[test]
fn an_unsweepable_object_is_reported_by_every_apply() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("apply").ends(0);
    let left = with_name(&directory(&sandbox, "volume/db"), 0, "kiln-tmp");
    let left = with_name(&left, 3, "aaaaaaaa");
    fs::create_dir(&left).unwrap();
    let file = left.join("tags.json");
    fs::write(&file, "{}").unwrap();
    pin(&file, true);
    for _ in 0..2 {
        sandbox.kiln("apply").ends(1).warns("was left unfinished and cannot be removed");
    }
    pin(&file, false);
    sandbox.kiln("apply").ends(0);
    assert!(!left.exists());
}

#[test]
fn a_directory_that_took_the_place_of_a_removed_one_is_kept_and_reported_until_it_is_moved() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("apply").ends(0);
    // The temporary name says which directory was renamed to it: not this one.
    let left = "kiln-tmp.prod.old.aaaaaaaa.1-1-1";
    sandbox.write(&format!("pool/{left}/old.img"), "a stranger's");
    for _ in 0..2 {
        sandbox.kiln("plan").ends(0);
        sandbox.kiln("doctor").ends(0).says("is not removed: it is not the directory that Kiln left here");
        sandbox.kiln("apply").ends(1).warns("it is not the directory that Kiln left here");
    }
    let ran = sandbox.kiln("apply");
    let fix = ran.err.lines().find_map(|line| line.split_once("; fix: ")).expect(&ran.err).1;
    assert_cmd::Command::new("/bin/sh").args(["-c", fix]).current_dir(sandbox.path("")).assert().success();
    sandbox.kiln("apply").ends(0);
    assert_eq!(
        fs::read_to_string(sandbox.path("pool/not-removed.prod.old.aaaaaaaa.1-1-1/old.img")).unwrap(),
        "a stranger's"
    );
}

#[test]
fn a_strangers_file_in_the_way_holds_what_would_come_back() {
    let sandbox = Sandbox::with_stack();
    sandbox.kiln("apply").ends(0);
    sandbox.volume("other", "size: 1Mi");
    sandbox.write("pool/disk.raw", &"x".repeat(8192));
    sandbox.volume("db", "size: 8Ki, adopt: {name: disk.raw}, onRemove: Trash");
    sandbox.kiln("apply").ends(0);
    let document = fs::read_to_string(sandbox.path("specs/db.yaml")).unwrap();
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0);
    sandbox.write("pool/disk.raw", "a stranger's");
    sandbox.write("specs/db.yaml", &document);
    for command in ["plan", "apply", "apply"] {
        sandbox.kiln(command).ends(4).says("a live object named disk.raw").says("rename or move disk.raw");
    }
    assert_eq!(fs::read_to_string(sandbox.path("pool/disk.raw")).unwrap(), "a stranger's");
    // The fix helps.
    fs::rename(sandbox.path("pool/disk.raw"), sandbox.path("elsewhere")).unwrap();
    sandbox.kiln("apply").ends(0);
    assert_eq!(fs::read_to_string(sandbox.path("pool/disk.raw")).unwrap(), "x".repeat(8192));
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_foreign_copy_of_a_snapshot_holds_no_removal() {
    let sandbox = Sandbox::with_volumes(&["db", "other"]);
    sandbox.snapshot("monday", "volume: db");
    sandbox.kiln("apply").ends(0);
    copy_directory(&directory(&sandbox, "snapshot/monday"), &sandbox.path("pool/backup-of-monday"));
    for name in ["db", "monday"] {
        sandbox.remove(&format!("specs/{name}.yaml"));
    }
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("trash list").ends(0).says("volume/db").says("snapshot/monday");
    assert!(sandbox.has("pool/backup-of-monday/tags.json"));
}

#[test]
fn a_copy_that_was_removed_as_told_leaves_no_drift() {
    // With the store, and with one that first saw the object and its copy together.
    for with_store in [true, false] {
        let sandbox = Sandbox::with_volumes(&["db", "other"]);
        sandbox.kiln("apply").ends(0);
        let db = directory(&sandbox, "volume/db");
        for copied in ["aa", "zz"] {
            let copy = with_name(&db, 2, copied);
            copy_directory(&db, &copy);
            if !with_store {
                sandbox.remove("state");
            }
            let ran = sandbox.kiln("apply");
            assert_eq!(ran.code, 4, "{ran:?}");
            fs::remove_dir_all(&copy).unwrap();
            sandbox.kiln("apply").ends(0);
            let plan = sandbox.kiln("plan -o json --detailed-exitcode").ends(0).json();
            assert_eq!(plan["drift"].as_array().map(Vec::len), Some(0), "{copied}, store {with_store}: {plan}");
        }
    }
}

#[test]
fn the_protection_of_a_snapshot_whose_volume_was_forgotten_can_be_lifted() {
    let sandbox = Sandbox::with_volumes(&["db", "other"]);
    sandbox.snapshot("monday", "volume: db, protected: true");
    sandbox.kiln("apply").ends(0);
    fs::remove_dir_all(directory(&sandbox, "volume/db")).unwrap();
    sandbox.remove("specs/db.yaml");
    sandbox.remove("specs/monday.yaml");
    sandbox.kiln("apply").ends(4).says("Protected").says("as a snapshot of any declared volume");
    sandbox.snapshot("monday", "volume: other, protected: false");
    sandbox.kiln("apply").ends(4).says("Immutable");
    sandbox.remove("specs/monday.yaml");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("trash list").ends(0).says("snapshot/monday");
}

#[test]
fn a_lost_volume_that_was_to_be_renamed_is_forgotten_as_told() {
    let sandbox = Sandbox::with_volumes(&["db", "other"]);
    sandbox.kiln("apply").ends(0);
    fs::remove_dir_all(directory(&sandbox, "volume/db")).unwrap();
    sandbox.remove("specs/db.yaml");
    sandbox.write(
        "specs/db2.yaml",
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db2, renamedFrom: db}\nspec: {backend: fast, size: 1Mi}\n",
    );
    sandbox.kiln("apply").ends(4).says("`kiln forget volume/db`");
    sandbox.kiln("forget volume/db").ends(0);
    sandbox.kiln("apply").ends(0);
    assert!(sandbox.data_file("volume/db2").is_file());
}
