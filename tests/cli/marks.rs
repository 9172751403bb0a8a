//! Marks that outlive what they mark: no file is destroyed, moved or claimed for having an adopted file's name.

use std::fs;
use std::path::Path;

use super::sandbox::Sandbox;

const STRANGER: &[u8] = b"nobody's but the stranger's";

/// A pool in which `disk.raw` was adopted, and what is in the file.
fn with_adopted(on_remove: &str) -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::with_stack();
    let disk = vec![7; 1 << 20];
    sandbox.write("pool/disk.raw", "");
    fs::write(sandbox.path("pool/disk.raw"), &disk).unwrap();
    sandbox.volume("other", "size: 1Mi");
    sandbox.volume("other2", "size: 1Mi");
    sandbox.volume("disk", &format!("size: 1Mi, adopt: {{name: disk.raw}}, onRemove: {on_remove}"));
    sandbox.kiln("apply").ends(0);
    (sandbox, disk)
}

#[test]
fn a_strangers_file_under_the_name_of_an_adopted_one_is_never_touched() {
    for (on_remove, forgotten) in [("Delete", false), ("Delete", true), ("Trash", false), ("Retain", false)] {
        let (sandbox, _) = with_adopted(on_remove);
        let file = sandbox.path("pool/disk.raw");
        fs::remove_file(&file).unwrap();
        if forgotten {
            sandbox.kiln("forget volume/disk").ends(0);
        }
        sandbox.remove("specs/disk.yaml");
        sandbox.kiln("apply --yes").ends(0);
        fs::write(&file, STRANGER).unwrap();
        for command in ["plan", "apply --yes", "apply --yes"] {
            sandbox.kiln(command).ends(0).says("Nothing to do");
        }
        assert_eq!(fs::read(&file).unwrap(), STRANGER, "{on_remove}");
        assert_eq!(sandbox.kiln("trash list -o json").json(), serde_json::json!([]), "{on_remove}");
        sandbox.kiln("adopt fast").ends(0).says("disk.raw").says("could be volume/disk");
    }
}

#[test]
fn a_file_that_replaced_an_adopted_one_is_held_and_outlives_the_document() {
    let (sandbox, _) = with_adopted("Delete");
    let file = sandbox.path("pool/disk.raw");
    fs::remove_file(&file).unwrap();
    fs::write(&file, STRANGER).unwrap();
    for command in ["plan", "apply --yes"] {
        sandbox
            .kiln(command)
            .ends(4)
            .says("Conflict")
            .says("it was replaced or copied")
            .says("kiln forget volume/disk");
    }
    sandbox.remove("specs/disk.yaml");
    sandbox.kiln("apply --yes").ends(0);
    sandbox.kiln("apply --yes").ends(0).says("Nothing to do");
    assert_eq!(fs::read(&file).unwrap(), STRANGER);
}

/// As a backup that was unpacked, or a move to another disk.
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
            fs::File::open(&target).unwrap().set_modified(path.metadata().unwrap().modified().unwrap()).unwrap();
        }
    }
}

#[test]
fn a_copied_pool_holds_adopted_volumes_until_a_person_accepts_them() {
    let (sandbox, disk) = with_adopted("Delete");
    copy_all(&sandbox.path("pool"), &sandbox.path("copy"));
    sandbox.remove("pool");
    fs::rename(sandbox.path("copy"), sandbox.path("pool")).unwrap();
    let file = sandbox.path("pool/disk.raw");
    sandbox
        .kiln("apply --yes")
        .ends(4)
        .says("Conflict")
        .says("disk.raw on fast is not the object that was volume disk");
    assert!(fs::read(&file).unwrap() == disk);
    // The fix that it prints is carried out.
    sandbox.kiln("forget volume/disk").ends(0);
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("apply").ends(0).says("Nothing to do");
    assert_eq!(sandbox.object("volume/disk")["status"]["object"], "disk.raw");
    assert!(fs::read(&file).unwrap() == disk);
    // From now on it is Kiln's, as before.
    sandbox.remove("specs/disk.yaml");
    sandbox.kiln("apply --yes").ends(0);
    assert!(!file.exists());
}

#[test]
fn an_adopted_file_that_was_moved_away_and_back_is_the_volume() {
    let (sandbox, disk) = with_adopted("Delete");
    let (file, away) = (sandbox.path("pool/disk.raw"), sandbox.path("away"));
    fs::rename(&file, &away).unwrap();
    sandbox.kiln("apply").ends(4).says("Lost");
    fs::rename(&away, &file).unwrap();
    sandbox.kiln("apply").ends(0).says("Nothing to do");
    assert!(fs::read(&file).unwrap() == disk);
}
