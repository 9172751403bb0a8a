//! A volume renamed in the manifests, as `kiln apply` tells of it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::sandbox::Sandbox;

const CANARY: &[u8] = b"canary";

fn with_data(spec: &str) -> Sandbox {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("web", "size: 8Mi");
    sandbox.volume("db", &format!("size: 1Mi{spec}"));
    sandbox.kiln("apply").ends(0);
    write(&sandbox, "volume/db");
    sandbox.remove("specs/db.yaml");
    sandbox.volume("database", "size: 1Mi");
    sandbox
}

fn write(sandbox: &Sandbox, volume: &str) {
    let file = fs::File::options().write(true).open(live_file(sandbox, volume)).unwrap();
    file.write_all_at(CANARY, 4096).unwrap();
}

fn said(sandbox: &Sandbox) {
    let text = fs::read_to_string(sandbox.path("specs/database.yaml")).unwrap();
    sandbox.write("specs/database.yaml", &text.replace("name: database", "name: database, renamedFrom: db"));
}

/// The data file of the live object: another may lie in the trash under its name.
fn live_file(sandbox: &Sandbox, volume: &str) -> PathBuf {
    let begin = format!("kiln.prod.{}.", volume.trim_start_matches("volume/"));
    let mut names =
        fs::read_dir(sandbox.path("pool")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let native = names.find(|name| name.starts_with(&begin)).unwrap_or_else(|| panic!("{volume} is not live"));
    sandbox.path(&format!("pool/{native}/{native}.img"))
}

fn holds_the_data(sandbox: &Sandbox, volume: &str) -> bool {
    let mut read = [0; 6];
    fs::File::open(live_file(sandbox, volume)).unwrap().read_exact_at(&mut read, 4096).is_ok() && read == CANARY
}

#[test]
fn a_volume_destroyed_beside_one_like_it_is_held_even_with_yes() {
    let sandbox = with_data(", onRemove: Delete");
    let plan = sandbox.kiln("plan").ends(4).out;
    assert_eq!(plan.matches("LooksLikeRename").count(), 2, "{plan}");
    assert!(
        plan.contains("write `renamedFrom: db` under `metadata` of volume database (./specs/database.yaml:1:1)"),
        "{plan}"
    );
    sandbox.kiln("apply --yes").ends(4);
    assert!(holds_the_data(&sandbox, "volume/db"));
    said(&sandbox);
    sandbox.kiln("apply").ends(0);
    assert!(holds_the_data(&sandbox, "volume/database"));
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

#[test]
fn a_volume_taken_for_renamed_is_destroyed_by_its_digest() {
    let sandbox = with_data(", onRemove: Delete");
    let plan = sandbox.kiln("plan").ends(4).out;
    let digest =
        plan.split("--approve ").nth(1).and_then(|rest| rest.split(['`', ' ', '\n']).next()).unwrap().to_owned();
    sandbox.kiln(&format!("apply --approve {digest}")).ends(0);
    assert!(!holds_the_data(&sandbox, "volume/database"));
    assert!(!sandbox.kiln("get").ends(0).out.contains("db "));
}

#[test]
fn renamed_from_written_after_the_apply_brings_the_data_back() {
    let sandbox = with_data("");
    sandbox.kiln("apply").ends(0).says("LooksLikeRename");
    assert!(!holds_the_data(&sandbox, "volume/database"));
    said(&sandbox);
    sandbox.kiln("apply").ends(0);
    assert!(holds_the_data(&sandbox, "volume/database"));
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

#[test]
fn renamed_from_beside_data_holds_and_its_fix_keeps_both() {
    let sandbox = with_data("");
    sandbox.kiln("apply").ends(0);
    write(&sandbox, "volume/database");
    said(&sandbox);
    let plan = sandbox.kiln("apply").ends(4).out;
    assert!(plan.contains("Ambiguous") && plan.contains("remove `renamedFrom: db` and declare db again"), "{plan}");
    sandbox.volume("database", "size: 1Mi");
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    assert!(holds_the_data(&sandbox, "volume/db") && holds_the_data(&sandbox, "volume/database"));
}

#[test]
fn a_protected_volume_gives_way_as_its_fix_says() {
    let sandbox = with_data("");
    sandbox.volume("database", "size: 1Mi, protected: true");
    sandbox.kiln("apply").ends(0);
    said(&sandbox);
    let plan = sandbox.kiln("apply").ends(4).out;
    assert!(plan.contains("Protected"), "{plan}");
    sandbox.volume("database", "size: 1Mi, protected: false");
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    said(&sandbox);
    sandbox.kiln("apply").ends(0);
    assert!(holds_the_data(&sandbox, "volume/database"));
}
