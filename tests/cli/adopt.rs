//! Adopting: what nobody owns is listed and declared, taken over as it is, and let go as it was.

use std::fs;
use std::os::unix::fs::symlink;

use kiln::driver::sim::{SimDriver, SimObject};
use kiln::model::{NativeName, Qos, Size, VolumeSettings};
use serde_json::{Value, json};

use super::sandbox::Sandbox;

/// A pool that others made, with things of all sorts in it.
fn world() -> Sandbox {
    let sandbox = Sandbox::with_stack();
    let file = |name: &str, size: u64| {
        sandbox.write(&format!("pool/{name}"), "");
        fs::File::options().write(true).open(sandbox.path(&format!("pool/{name}"))).unwrap().set_len(size).unwrap();
    };
    file("db01.img", 1 << 20);
    file("DB01", 3 << 20);
    file("odd size", 1_234_567);
    file("123", 512);
    file(":{'\"#é", 4096);
    file("empty", 0);
    file("-dash", 4096);
    fs::write(sandbox.path("pool/db01.img"), vec![7; 1 << 20]).unwrap();
    fs::create_dir(sandbox.path("pool/lost+found")).unwrap();
    symlink("db01.img", sandbox.path("pool/link")).unwrap();
    sandbox
}

/// The verbs of a plan's steps, and how many things are held.
fn planned(sandbox: &Sandbox) -> (Vec<String>, usize) {
    let plan = sandbox.kiln("plan -o json").json();
    let steps = plan["steps"].as_array().unwrap();
    let verbs = steps.iter().map(|step| step["action"].as_str().unwrap().to_owned()).collect();
    (verbs, plan["held"].as_array().unwrap().len())
}

#[test]
fn objects_without_an_owner_are_listed_and_not_changed() {
    let sandbox = world();
    let before = sandbox.tree(".");
    sandbox
        .kiln("adopt fast")
        .ends(0)
        .says("db01.img")
        .says("1Mi")
        .says("could be volume/db01")
        .says("5 objects can be adopted");
    let all = sandbox.kiln("adopt fast -o json").ends(0).json();
    let of = |native: &str| {
        all.as_array().unwrap().iter().find(|one| one["object"] == native).cloned().unwrap_or(Value::Null)
    };
    assert_eq!((&of("db01.img")["size"], &of("db01.img")["backend"]), (&json!(1 << 20), &json!("fast")));
    assert_eq!(of("odd size")["size"], 1_234_567);
    // Sorted by native name, the capital comes first and has the name.
    assert_eq!((&of("DB01")["name"], &of("db01.img")["name"]), (&json!("db01"), &json!("db01-2")));
    for native in ["empty", "-dash", "lost+found", "link"] {
        assert!(of(native)["name"].is_null() && of(native)["message"].is_string(), "{native}: {all}");
    }
    assert_eq!(sandbox.tree("."), before, "it only looks");
    sandbox.kiln("adopt slow").ends(2).warns("no Backend slow is declared");
}

#[test]
fn manifests_are_written_that_adopt_and_then_nothing() {
    let sandbox = world();
    sandbox.volume("db01", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("adopt fast --write specs/adopted").ends(0).says("Wrote 5 manifests to specs/adopted");
    let text = fs::read_to_string(sandbox.path("specs/adopted/db01-2.yaml")).unwrap();
    assert!(text.starts_with("# yaml-language-server: $schema=./kiln.schema.json\napiVersion: kiln/v1\n"), "{text}");
    assert!(!text.contains("onRemove"), "{text}");
    let schema: Value =
        serde_json::from_slice(&fs::read(sandbox.path("specs/adopted/kiln.schema.json")).unwrap()).unwrap();
    assert_eq!(schema, sandbox.kiln("schema").json());

    let before = sandbox.tree("pool");
    assert_eq!(planned(&sandbox), (vec!["adopt".to_owned(); 5], 0));
    sandbox.kiln("apply").ends(0);
    assert_eq!(planned(&sandbox), (Vec::new(), 0));
    for (path, content) in before.into_iter().filter(|(path, _)| !path.display().to_string().contains(".kiln")) {
        assert_eq!(fs::read(&path).unwrap(), content, "{}", path.display());
    }
    let all = sandbox.kiln("adopt fast -o json").ends(0).json();
    assert!(all.as_array().unwrap().iter().all(|one| one["name"].is_null()), "{all}");

    // They are let go when their manifests go, and stay where they are.
    sandbox.remove("specs/adopted");
    sandbox.kiln("apply").ends(0);
    assert_eq!(fs::read(sandbox.path("pool/db01.img")).unwrap(), vec![7; 1 << 20]);
    sandbox.kiln("trash list").ends(0).says("empty");
}

#[test]
fn adopt_overwrites_no_file_and_declares_nothing_twice() {
    let sandbox = world();
    sandbox.kiln("adopt fast --write specs").ends(0);
    sandbox.kiln("adopt fast").ends(0).says("declared as volume/db01");
    sandbox.kiln("adopt fast --write specs").ends(0).says("Wrote 0 manifests");
    let other = world();
    other.write("out/db01-2.yaml", "mine");
    other.kiln("adopt fast --write out").ends(2).warns("db01-2.yaml already exists");
    assert_eq!(other.tree("out").len(), 1, "none or all");
}

/// Creates a file for each character in `chars` that a file name may contain.
fn files_named_with(sandbox: &Sandbox, chars: impl Iterator<Item = char>) {
    for c in chars.filter(|c| !['/', '\0'].contains(c)) {
        let path = sandbox.path("pool").join(format!("a{c}{:x}", c as u32));
        fs::File::create(path).unwrap().set_len(512).unwrap();
    }
}

#[test]
fn every_written_manifest_is_read_back_whatever_the_name_of_the_file() {
    let sandbox = Sandbox::with_stack();
    sandbox.write("pool/e\u{301}", &"x".repeat(512));
    let blocks = [0..0x100, 0x300..0x310, 0x600..0x620, 0x1780..0x17c0, 0x2000..0x2070, 0x3160..0x3168];
    let more =
        [0x34f, 0x70f, 0x890, 0x8e2, 0x115f, 0x180e, 0xe000, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0xfffd, 0x110bd, 0xe0041];
    files_named_with(&sandbox, blocks.into_iter().flatten().chain(more).filter_map(char::from_u32));
    let listed = sandbox.kiln("adopt fast -o json").ends(0).json();
    let named = listed.as_array().unwrap().iter().filter(|one| !one["name"].is_null()).count();
    let unsafe_ones = |text: &str| text.contains(['\u{200b}', '\u{202e}', '\u{34f}', '\u{3164}', '\u{fffd}']);
    for one in listed.as_array().unwrap() {
        let native = one["object"].as_str().unwrap();
        assert!(!unsafe_ones(native) || one["name"].is_null(), "{one}");
    }
    assert!(listed.as_array().unwrap().iter().any(|one| one["object"] == "e\u{301}" && !one["name"].is_null()));
    sandbox.kiln("adopt fast --write specs/adopted").ends(0).says(&format!("Wrote {named} manifests"));
    sandbox.kiln("check").ends(0);
    assert_eq!(planned(&sandbox), (vec!["adopt".to_owned(); named], 0));
}

#[test]
fn manifests_go_to_standard_output_too() {
    let sandbox = world();
    let yaml = sandbox.kiln("adopt fast -o yaml").ends(0).out;
    sandbox.write("specs/adopted.yaml", &yaml);
    assert_eq!(planned(&sandbox), (vec!["adopt".to_owned(); 5], 0));
}

#[test]
fn a_backend_that_cannot_be_seen_lists_nothing() {
    let sandbox = Sandbox::with_stack();
    sandbox.write("pool", "a file");
    sandbox.kiln("adopt fast").ends(6).warns("could not be observed");
    sandbox.kiln("adopt fast --write out").ends(6);
    assert!(!sandbox.has("out"));
}

/// On backends that keep snapshots inside of their volumes, and on those that keep them beside them.
#[test]
fn snapshots_without_an_owner_are_listed_as_such_and_adopted_with_their_volumes() {
    for nested in [true, false] {
        let sandbox = Sandbox::with_stack();
        let mode = if nested { ", mode: {nestedSnapshots: true}" } else { "" };
        let backend = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: pool}\n";
        sandbox
            .write("specs/pool.yaml", &format!("{backend}spec: {{driver: sim, sim: {{path: ../sim.pool{mode}}}}}\n"));
        let db =
            "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec: {backend: pool, size: 1Mi, object: db}\n";
        sandbox.write("specs/db.yaml", db);
        sandbox.kiln("apply").ends(0);
        let (db, disk, s) = ("db", "disk", NativeName::new("s"));
        let by_hand = SimDriver::at(&sandbox.path("sim.pool"), 0);
        by_hand
            .edit(|world| {
                world.make_by_hand(&NativeName::new(disk), SimObject::empty(Size(1 << 20)));
                for volume in [db, disk].map(NativeName::new) {
                    let snapshot = SimObject::empty(Size(1 << 20));
                    match nested {
                        true => world.make_inside_by_hand(&volume, &s, snapshot),
                        false => {
                            let native = NativeName::new(format!("{volume}-s"));
                            world.make_by_hand(&native, SimObject { of_volume: Some(Box::new(volume)), ..snapshot });
                        }
                    }
                }
            })
            .unwrap();
        let all = sandbox.kiln("adopt pool -o json").ends(0).json();
        let kinds: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "Snapshot").count(), 2, "{all}");
        assert_eq!(kinds.iter().filter(|kind| **kind == "Volume").count(), 1, "{all}");
        let shown = if nested { "db@s" } else { "db-s" };
        sandbox.kiln("adopt pool").ends(0).says(shown).says("of volume/db").says("of volume/disk");
        sandbox.kiln("adopt pool --write specs/adopted").ends(0).says("Wrote 3 manifests");
        assert_eq!(planned(&sandbox), (vec!["adopt".to_owned(); 3], 0), "nested {nested}");
        sandbox.kiln("apply").ends(0);
        assert_eq!(planned(&sandbox), (Vec::new(), 0));
        sandbox.kiln("adopt pool").ends(0).says("no objects without an owner");
        // Their documents removed, they are released as they are.
        sandbox.remove("specs/adopted");
        sandbox.kiln("apply --yes").ends(0);
        let gone = by_hand.edit(|world| world.trashed_objects().count()).unwrap();
        assert_eq!(gone, 0, "nested {nested}");
    }
}

#[test]
fn a_manifest_that_adopts_a_volume_keeps_its_limits() {
    let sandbox = Sandbox::with_stack();
    let backend = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: pool}\n";
    sandbox.write("specs/pool.yaml", &format!("{backend}spec: {{driver: sim, sim: {{path: ../sim.pool}}}}\n"));
    let db = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec: {backend: pool, size: 1Mi}\n";
    sandbox.write("specs/db.yaml", db);
    sandbox.kiln("apply").ends(0);
    let qos = Some(Box::new(Qos { iops: Some(500), write_bps: Some(Size(3 << 20).into()), ..Qos::default() }));
    let limited = VolumeSettings { qos, encrypted: false };
    let encrypted = VolumeSettings { qos: None, encrypted: true };
    let by_hand = SimDriver::at(&sandbox.path("sim.pool"), 0);
    by_hand
        .edit(|world| {
            for (native, settings) in [("limited", &limited), ("dark", &encrypted)] {
                let object = SimObject { settings: settings.clone(), ..SimObject::empty(Size(1 << 20)) };
                world.make_by_hand(&NativeName::new(native), object);
            }
        })
        .unwrap();
    sandbox.kiln("adopt pool").ends(0).says("it is encrypted");
    sandbox.kiln("adopt pool --write specs/adopted").ends(0).says("Wrote 1 manifest");
    assert_eq!(planned(&sandbox), (vec!["adopt".to_owned()], 0));
    sandbox.kiln("apply").ends(0);
    assert_eq!(planned(&sandbox), (Vec::new(), 0));
    let settings = by_hand.edit(|world| world.live_objects().map(|(_, one)| one.settings.clone()).collect::<Vec<_>>());
    assert!(settings.unwrap().contains(&limited));
}

#[test]
fn what_cannot_be_adopted_is_not_proposed_for_it() {
    let sandbox = Sandbox::with_stack();
    std::fs::create_dir_all(sandbox.path("pool/old")).unwrap();
    sandbox.volume("a", "size: 1Mi, object: old");
    sandbox.volume("b", "size: 1Mi, adopt: {name: old}");
    let why = "it is a directory and not a regular file";
    let held = sandbox.kiln("plan").ends(4).out;
    assert!(held.contains(&format!("old cannot be adopted: {why}")), "{held}");
    sandbox.remove("specs/b.yaml");
    let held = sandbox.kiln("plan").ends(4).out;
    assert!(held.contains(&format!("already exists and has no owner; it cannot be adopted: {why}")), "{held}");
    assert!(held.contains("write another `object`") && !held.contains("`adopt: "), "{held}");
    sandbox.volume("b", "size: 1Mi, adopt: {name: old}");
    sandbox.kiln("adopt fast").ends(0).says(&format!("declared as volume/b, and cannot be adopted: {why}"));
}
