//! Several Stacks near each other: in one tree of manifests, in one parent directory, with one store.

use std::fs;

use crate::sandbox::{STACK, Sandbox};

#[test]
fn a_stack_whose_store_is_that_of_another_is_told_to_have_its_own_and_gives_nothing_up() {
    let sandbox = Sandbox::new();
    sandbox.kiln("init prod/specs").ends(0);
    let init = sandbox.kiln("init test/specs").ends(0);
    init.warns("prod/specs/kiln.yaml is another Stack").warns("`--state DIR`");
    sandbox.kiln("apply prod/specs").ends(0);
    let before = sandbox.tree("prod");
    for renamed in [false, true] {
        if renamed {
            let text = fs::read_to_string(sandbox.path("test/specs/kiln.yaml")).unwrap();
            sandbox.write("test/specs/kiln.yaml", &text.replace("name: main", "name: test"));
        }
        let held = sandbox.kiln("apply test/specs").ends(6);
        let held = held.says("OwnerChanged").says("that of the Stack main").says("`--state DIR`");
        assert!(!held.out.contains("forget"), "{}", held.out);
        sandbox
            .kiln("forget backend/local --specs test/specs")
            .ends(4)
            .warns("of the Stack main")
            .warns("`--state DIR`");
        // Nor once its document is deleted.
        sandbox.write("none/stack.yaml", &STACK.replace("name: prod", "name: none"));
        sandbox.kiln("forget backend/local --specs none").ends(4).warns("of the Stack main");
    }
    sandbox.kiln("plan prod/specs --detailed-exitcode").ends(0);
    let got = sandbox.kiln("get volume/data --specs prod/specs -o json").ends(0).json();
    assert_eq!(got[0]["status"]["condition"], "Settled");
    assert_eq!(sandbox.tree("prod"), before);
    sandbox.kiln("apply test/specs --state test/state").ends(0);
}

#[test]
fn accepting_a_pool_gives_up_no_object_of_another_stack_on_it() {
    let sandbox = Sandbox::with_volumes(&["db", "web"]);
    sandbox.kiln("apply").ends(0);
    sandbox.write("test/stack.yaml", &STACK.replace("name: prod", "name: test").replace("id: ", "id: t"));
    sandbox.kiln("apply test").ends(0);
    let lost = sandbox.data_file("volume/db").parent().unwrap().to_owned();
    fs::remove_dir_all(lost).unwrap();
    let accepted = sandbox.kiln("forget backend/fast --specs test").ends(0).says("is accepted as it is");
    assert!(!accepted.out.contains("given up"), "{}", accepted.out);
    sandbox.kiln("plan").ends(4).says("Lost");
    let given_up = sandbox.kiln("log --specs test").ends(0).out;
    assert!(!given_up.contains("volume/db"), "{given_up}");
}

#[test]
fn a_renamed_and_a_restored_volume_are_shown_with_their_paths() {
    let sandbox = Sandbox::with_volumes(&["db", "kept"]);
    let lines = sandbox.kiln("apply -o json").ends(0).out;
    let path = |name: &str| sandbox.object(name)["status"]["path"].as_str().unwrap().to_owned();
    let summary: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(summary["paths"][0], serde_json::json!({"object": "volume/db", "path": path("volume/db")}));
    let text = fs::read_to_string(sandbox.path("specs/db.yaml")).unwrap();
    sandbox.write("specs/db.yaml", &text.replace("{name: db}", "{name: data, renamedFrom: db}"));
    let renamed = sandbox.kiln("apply").ends(0);
    renamed.says(&path("volume/data"));
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("trash restore volume/dat").ends(2).warns("no volume dat is in the trash; did you mean data?");
    let restored = sandbox.kiln("trash restore volume/data").ends(0);
    restored.says(&path("volume/data"));
    sandbox.kiln("log volume/dat").ends(0).says("No steps recorded on volume/dat; did you mean data?");
    let unknown = "No steps recorded on volume/zzzzzz, and the store does not know it";
    sandbox.kiln("log volume/zzzzzz").ends(0).says(unknown);
    assert_eq!(sandbox.kiln("log volume/zzzzzz -o json").ends(0).warns(unknown).out, "[]\n");
}

#[test]
fn init_adds_no_second_stack_to_a_tree_of_manifests() {
    let sandbox = Sandbox::new();
    sandbox.kiln("init").ends(0);
    let before = sandbox.tree("specs");
    for dir in ["specs/specs", "specs/a/b", "."] {
        let ran = sandbox.kiln(&format!("init {dir}")).ends(2).warns("specs/kiln.yaml has a Stack already");
        assert!(ran.out.is_empty(), "{}", ran.out);
    }
    assert_eq!(sandbox.tree("specs"), before);
    // Above the manifests is another directory than beside them.
    let mut inside = sandbox.command();
    inside.current_dir(sandbox.path("specs")).args(["init", "../other"]).assert().success();
    assert!(sandbox.has("other/kiln.yaml"));
    sandbox.kiln("check").ends(0);
}
