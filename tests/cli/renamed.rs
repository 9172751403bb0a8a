//! A volume renamed in the manifests, as `kiln apply` tells of it.

use std::fs;

use crate::sandbox::Sandbox;

fn with_data(spec: &str) -> Sandbox {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("web", "size: 8Mi");
    sandbox.volume("db", &format!("size: 1Mi{spec}"));
    sandbox.kiln("apply").ends(0);
    sandbox.write_data("db");
    sandbox.remove("specs/db.yaml");
    sandbox.volume("database", "size: 1Mi");
    sandbox
}

fn said(sandbox: &Sandbox) {
    let text = fs::read_to_string(sandbox.path("specs/database.yaml")).unwrap();
    sandbox.write("specs/database.yaml", &text.replace("name: database", "name: database, renamedFrom: db"));
}

#[test]
fn a_volume_destroyed_beside_one_like_it_is_held_even_with_yes() {
    let sandbox = with_data(", onRemove: Delete");
    let plan = sandbox.kiln("plan").ends(4).out;
    assert_eq!(plan.matches("LooksLikeRename").count(), 1, "{plan}");
    assert!(plan.contains("! destroy  volume/db\n") && plan.contains("+ create   volume/database\n"), "{plan}");
    assert!(
        plan.contains("write `renamedFrom: db` under `metadata` of volume database (./specs/database.yaml:3:1)"),
        "{plan}"
    );
    sandbox.kiln("apply --yes").ends(4);
    assert!(sandbox.holds_data("db"));
    said(&sandbox);
    sandbox.kiln("apply").ends(0);
    assert!(sandbox.holds_data("database"));
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

#[test]
fn a_volume_taken_for_renamed_is_destroyed_by_its_digest() {
    let sandbox = with_data(", onRemove: Delete");
    let plan = sandbox.kiln("plan").ends(4).out;
    let digest =
        plan.split("kiln approve ").nth(1).and_then(|rest| rest.split(['`', ' ', '\n']).next()).unwrap().to_owned();
    sandbox.kiln(&format!("apply --approve {digest}")).ends(0);
    assert!(!sandbox.holds_data("database"));
    assert!(!sandbox.kiln("get").ends(0).out.contains("db "));
}

#[test]
fn a_volume_like_one_whose_destruction_is_held_waits_until_that_is_decided() {
    let sandbox = with_data(", onRemove: Delete");
    sandbox.kiln("plan --out before.plan").ends(4);
    sandbox.kiln("suspend volume/db --reason check").ends(0);
    for command in ["plan volume/database", "apply volume/database --yes", "apply --yes", "apply before.plan --yes"] {
        let told = sandbox.kiln(command).ends(4);
        told.says("while the destruction of volume db, of the same backend, size and labels, is held");
    }
    assert!(sandbox.holds_data("db"));
    sandbox.kiln("get volume/database").says("LooksLikeRename");
    // Both ways on are in the fix.
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.kiln("apply").ends(0).says("created volume/database");
    assert!(sandbox.holds_data("db") && !sandbox.holds_data("database"));

    let sandbox = with_data(", onRemove: Delete");
    sandbox.kiln("suspend volume/db --reason check").ends(0);
    sandbox.kiln("apply --yes").ends(4);
    said(&sandbox);
    sandbox.kiln("resume volume/db").ends(0);
    sandbox.kiln("apply").ends(0);
    assert!(sandbox.holds_data("database"));
}

#[test]
fn renamed_from_written_after_the_apply_brings_the_data_back() {
    let sandbox = with_data("");
    sandbox.kiln("apply").ends(0).says("LooksLikeRename");
    assert!(!sandbox.holds_data("database"));
    said(&sandbox);
    sandbox.kiln("apply").ends(0);
    assert!(sandbox.holds_data("database"));
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}

#[test]
fn renamed_from_beside_data_holds_and_its_fix_keeps_both() {
    let sandbox = with_data("");
    sandbox.kiln("apply").ends(0);
    sandbox.write_data("database");
    said(&sandbox);
    let plan = sandbox.kiln("apply").ends(4).out;
    assert!(
        plan.contains("Ambiguous")
            && plan.contains("remove `renamedFrom: db` (./specs/database.yaml:3:28) and declare db again"),
        "{plan}"
    );
    sandbox.volume("database", "size: 1Mi");
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    assert!(sandbox.holds_data("db") && sandbox.holds_data("database"));
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
    assert!(sandbox.holds_data("database"));
}

#[test]
fn likely_renames_are_one_warning_with_the_names_and_places_of_each() {
    let sandbox = Sandbox::with_stack();
    for (number, name) in ["db", "web", "log", "keep"].into_iter().enumerate() {
        sandbox.volume(name, &format!("size: {}Mi", number + 1));
    }
    sandbox.kiln("apply").ends(0);
    for (number, name) in ["db", "web"].into_iter().enumerate() {
        sandbox.remove(&format!("specs/{name}.yaml"));
        sandbox.volume(&format!("new-{name}"), &format!("size: {}Mi", number + 1));
    }
    let plan = sandbox.kiln("plan").ends(0).out;
    assert_eq!(plan.matches("LooksLikeRename").count(), 1, "{plan}");
    for (name, both) in [("db", "volume/db, volume/new-db"), ("web", "volume/new-web, volume/web")] {
        let line = format!("      {both} (`renamedFrom: {name}`, ./specs/new-{name}.yaml:3:1)\n");
        assert!(plan.contains(&line), "{plan}");
    }
    assert!(
        plan.contains("fix: if <old> was renamed, write `renamedFrom: <old>` under `metadata` of volume <new>\n"),
        "{plan}"
    );
    sandbox.kiln("plan -o markdown").ends(0).says("\n  - volume/new-web, volume/web (`renamedFrom: web`, ");
    let warnings = sandbox.kiln("plan -o json").ends(0).json()["warnings"].as_array().map(Vec::len);
    assert_eq!(warnings, Some(2), "programs get one for each");
}

#[test]
fn the_new_volume_of_a_likely_rename_is_not_offered_empty() {
    let sandbox = Sandbox::with_volumes(&["keep"]);
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.kiln("apply").ends(0);
    sandbox.write_data("db");
    sandbox.remove("specs/db.yaml");
    sandbox.volume("db-1", "size: 1Mi, onRemove: Delete");
    let rename = "if db was renamed, write `renamedFrom: db` under `metadata` of volume db-1 (./specs/db-1.yaml:3:1); ";
    for command in ["plan volume/db-1", "describe volume/db-1"] {
        let shown = sandbox.kiln(command).says(&format!("{rename}otherwise db-1 waits for the decision about db")).out;
        assert!(!shown.contains("approve"), "{command}: {shown}");
    }
    sandbox.kiln("plan volume/db").ends(4).says(&format!("{rename}to destroy db, `kiln apply volume/db --approve "));
    // What the fix says is done.
    sandbox.write(
        "specs/db-1.yaml",
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db-1, renamedFrom: db}\nspec: {backend: fast, size: 1Mi}\n",
    );
    sandbox.kiln("apply volume/db-1").ends(0).says("renamed");
    assert!(sandbox.holds_data("db-1"));
}

#[test]
fn a_return_from_the_trash_is_called_a_restore() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi");
    sandbox.volume("web", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0);
    sandbox.volume("db", "size: 1Mi");
    let plan =
        sandbox.kiln("plan").ends(0).says("= volume/db  restore  from the trash of fast").says("Plan: 1 to restore.");
    assert!(!plan.out.contains("adopt"), "{}", plan.out);
    sandbox.kiln("plan -o markdown").ends(0).says("| volume/db | restore |");
    let json = sandbox.kiln("plan -o json").ends(0).json();
    assert_eq!((&json["steps"][0]["action"], &json["summary"]["adopt"]), (&"adopt".into(), &1.into()), "the contract");
    sandbox.kiln("apply").ends(0).says("restored volume/db from the trash");
    let log = sandbox.kiln("log").ends(0).out;
    assert!(log.contains("  restore  volume/db ") && !log.contains("adopt"), "{log}");
}
