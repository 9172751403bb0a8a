//! A person's session: declaring, growing, snapshotting, cloning, removing, undeleting, protecting, losing.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use crate::sandbox::{STACK, Sandbox};

/// Content that must survive, at the beginning of a volume.
const CANARY: &[u8] = b"what was written must be there";

fn put_canary(sandbox: &Sandbox, name: &str) {
    let mut file = fs::OpenOptions::new().write(true).open(sandbox.data_file(name)).unwrap();
    file.write_all(CANARY).unwrap();
}

#[track_caller]
fn assert_canary(sandbox: &Sandbox, name: &str) {
    assert!(fs::read(sandbox.data_file(name)).unwrap().starts_with(CANARY), "{name} holds what was written");
}

fn with_db() -> Sandbox {
    let sandbox = Sandbox::with_volumes(&["db"]);
    // A second one, so that removing the first is not removing the last.
    sandbox.volume("other", "size: 1Mi");
    sandbox.volume("third", "size: 1Mi");
    sandbox.kiln("apply").ends(0).says("created volume/db on fast (").says("Applied: 3 steps done.");
    sandbox
}

#[test]
fn the_shown_path_of_a_volume_is_its_disk() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    let applied = sandbox.kiln("apply").ends(0);
    let shown = sandbox.kiln("get volume/db -o json").ends(0).json();
    let path = shown[0]["status"]["path"].as_str().unwrap();
    assert_eq!(fs::metadata(path).unwrap().len(), 1 << 20);
    assert!(applied.err.contains(path) || applied.out.contains(path), "{}{}", applied.out, applied.err);
    sandbox.kiln("describe volume/db").ends(0).says(path);
    sandbox.kiln("get -o wide").ends(0).says(path);
}

#[test]
fn applied_twice_nothing_is_left_to_do() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("plan").ends(0).says("+ volume/db").says("Plan: 1 to create.");
    sandbox.kiln("plan --detailed-exitcode").ends(3);
    assert!(!sandbox.has("pool") && !sandbox.has("state"), "a plan writes nothing");
    sandbox.kiln("apply").ends(0).says("created volume/db on fast (");
    let before = sandbox.tree("pool");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    sandbox.kiln("plan --detailed-exitcode").ends(0).says("Nothing to do.");
    let images = |tree: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
        tree.into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "img")).collect()
    };
    assert_eq!(images(sandbox.tree("pool")), images(before));
    assert_eq!(fs::metadata(sandbox.data_file("volume/db")).unwrap().len(), 1 << 20);
}

#[test]
fn growing_keeps_the_content_and_shrinking_is_held() {
    let sandbox = with_db();
    put_canary(&sandbox, "volume/db");
    sandbox.volume("db", "size: 2Mi");
    sandbox.kiln("plan").ends(0).says("~ volume/db").says("size: 1Mi → 2Mi");
    sandbox.kiln("apply").ends(0).says("grew volume/db on fast to 2Mi");
    assert_eq!(sandbox.object("volume/db")["status"]["size"], 2 << 20);
    assert_canary(&sandbox, "volume/db");
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(4).says("ShrinkRefused").says("fix: ");
    sandbox.kiln("apply --allow-held").ends(0);
    assert_eq!(sandbox.object("volume/db")["status"]["condition"], "Held");
    assert_eq!(fs::metadata(sandbox.data_file("volume/db")).unwrap().len(), 2 << 20);
}

#[test]
fn a_removed_object_returns_when_it_is_declared_again() {
    let sandbox = with_db();
    put_canary(&sandbox, "volume/db");
    let uid = sandbox.object("volume/db")["status"]["uid"].clone();
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0).says("- volume/db").says("removed volume/db on fast: moved to the trash");
    let trashed = sandbox.object("volume/db");
    assert_eq!((&trashed["spec"], &trashed["status"]["condition"]), (&Value::Null, &json!("Trashed")));
    sandbox.kiln("trash list").ends(0).says("volume/db");
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0).says("= volume/db").says("restored volume/db from the trash");
    assert_eq!(sandbox.object("volume/db")["status"]["uid"], uid);
    assert_canary(&sandbox, "volume/db");
}

#[test]
fn a_native_name_passes_on_in_one_run_when_its_bearer_is_destroyed() {
    let sandbox = with_db();
    sandbox.volume("old", "size: 1Mi, object: x.img, onRemove: Delete");
    sandbox.kiln("apply").ends(0);
    put_canary(&sandbox, "volume/old");
    sandbox.remove("specs/old.yaml");
    sandbox.volume("new", "size: 2Mi, object: x.img");
    sandbox.kiln("apply").ends(4).says("NeedsConfirmation").says("it waits for volume old");
    assert_canary(&sandbox, "volume/old");
    sandbox.kiln("apply --yes").ends(0).says("destroyed volume/old").says("created volume/new");
    let new = std::fs::read(sandbox.data_file("volume/new")).unwrap();
    assert!(new.len() == 2 << 20 && new.iter().all(|byte| *byte == 0), "nothing of the old volume is in the new one");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
}

#[test]
fn trash_list_restore_and_purge_work() {
    let sandbox = with_db();
    put_canary(&sandbox, "volume/db");
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0);
    let list = sandbox.kiln("trash list -o json").ends(0).json();
    assert_eq!(list[0]["name"], "db");
    assert_eq!(list[0]["size"], 1 << 20);
    assert!(list[0]["expires"].as_str().unwrap().ends_with('Z'));
    sandbox.kiln("trash restore volume/db").ends(0).says("db");
    assert_eq!(sandbox.kiln("trash list -o json").ends(0).json(), json!([]));
    assert_canary(&sandbox, "volume/db");
    // Not declared, and yet it stays: it is released until it is.
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    sandbox.kiln("trash restore volume/db").ends(2).warns("error: ");

    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("trash purge").ends(0).says("Nothing in the trash has expired.");
    sandbox.kiln("trash purge volume/db").ends(4).warns("--yes");
    sandbox.kiln("trash list").ends(0).says("volume/db");
    sandbox.kiln("trash purge volume/db --yes").ends(0);
    sandbox.kiln("trash list").ends(0).says("The trash is empty.");
    // Declared again it is another, empty one.
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0).says("+ volume/db");
    assert!(!fs::read(sandbox.data_file("volume/db")).unwrap().starts_with(CANARY));
}

#[test]
fn protection_outlives_the_manifest_that_declared_it() {
    let sandbox = with_db();
    sandbox.volume("db", "size: 1Mi, protected: true");
    sandbox.kiln("apply").ends(0);
    assert_eq!(sandbox.object("volume/db")["status"]["protected"], true);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(4).says("Protected").says("fix: ");
    assert!(sandbox.data_file("volume/db").exists());
    sandbox.volume("db", "size: 1Mi, protected: false");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0).says("- volume/db");
}

#[test]
fn the_store_is_disposable() {
    let sandbox = with_db();
    put_canary(&sandbox, "volume/db");
    sandbox.remove("state");
    sandbox.kiln("plan --detailed-exitcode").ends(0).says("Nothing to do.");
    sandbox.kiln("get").ends(0).says("volume/db").says("Settled");
    assert!(!sandbox.has("state"), "looking makes no store");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    assert_canary(&sandbox, "volume/db");
}

#[test]
fn emptied_specs_remove_nothing_without_approval() {
    let sandbox = with_db();
    for name in ["db", "other", "third"] {
        sandbox.remove(&format!("specs/{name}.yaml"));
    }
    let plan = sandbox.kiln("plan -o json").ends(4).json();
    assert_eq!(plan["held"].as_array().map(Vec::len), Some(3));
    assert!(plan["held"].as_array().unwrap().iter().all(|held| held["reason"] == "RemovalLimit"), "{plan}");
    let approval = plan["approval"].as_str().unwrap().to_owned();
    sandbox.kiln("plan").ends(4).says(&format!("kiln approve {approval}"));
    sandbox.kiln("apply").ends(4);
    sandbox.kiln("apply --yes").ends(4);
    sandbox.kiln("apply --approve 0123456789abcdef").ends(4);
    assert!(sandbox.data_file("volume/db").exists());
    sandbox.kiln(&format!("apply --approve {approval}")).ends(0).says("removed volume/db");
    assert_eq!(sandbox.kiln("trash list -o json").ends(0).json().as_array().map(Vec::len), Some(3));

    // No document at all is not an empty declaration, but none.
    sandbox.remove("specs/stack.yaml");
    sandbox.kiln("apply").ends(5);
}

#[test]
fn a_volume_deleted_outside_kiln_is_lost_and_not_recreated() {
    let sandbox = with_db();
    let directory = sandbox.data_file("volume/db").parent().unwrap().to_owned();
    fs::remove_dir_all(directory).unwrap();
    for state in ["with", "without"] {
        sandbox.kiln("apply").ends(4).says("Lost").says("kiln forget volume/db");
        assert_eq!(sandbox.object("volume/db")["status"]["condition"], "Held", "{state} the store");
        if state == "with" {
            sandbox.remove("state");
        }
    }
    sandbox.kiln("forget volume/other").ends(2).warns("error: ");
    sandbox.kiln("forget volume/db").ends(0);
    sandbox.kiln("apply").ends(0).says("created volume/db on fast (");
}

#[test]
fn a_backend_that_is_away_ends_with_6_and_shows_the_last_observation() {
    let sandbox = with_db();
    fs::rename(sandbox.path("pool"), sandbox.path("pool.away")).unwrap();
    sandbox.write("pool", "not a directory");
    sandbox.kiln("plan").ends(6).says("backend/fast");
    let plan = sandbox.kiln("plan -o json").ends(6).json();
    assert_eq!(plan["unobserved"][0]["backend"], "fast");
    assert_eq!(plan["steps"], json!([]));
    sandbox.kiln("apply").ends(6);
    sandbox.kiln("get").ends(6).says("Unknown");
    let get = sandbox.kiln("get volume/db -o json").ends(6).json();
    assert_eq!(get[0]["status"]["condition"], "Unknown");
    assert_eq!(get[0]["status"]["size"], 1 << 20);
    assert!(get[0]["status"]["observedAt"].as_str().unwrap().ends_with('Z'));
    sandbox.kiln("get backend/fast").ends(6).says("Unknown");
    assert_eq!(fs::read_to_string(sandbox.path("pool")).unwrap(), "not a directory");
    sandbox.remove("pool");
    fs::rename(sandbox.path("pool.away"), sandbox.path("pool")).unwrap();
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
}

#[test]
fn no_command_takes_a_missing_pool_for_an_empty_one() {
    let sandbox = with_db();
    std::fs::rename(sandbox.path("pool"), sandbox.path("elsewhere")).unwrap();
    for command in [
        "plan",
        "apply",
        "get",
        "describe volume/db",
        "trash list",
        "forget volume/db",
        "image export volume/db out.img --format raw",
        "adopt fast --from-owner prod",
    ] {
        let ran = sandbox.kiln(command).ends(6);
        assert!(format!("{}{}", ran.out, ran.err).contains("is it mounted?"), "{command}: {}\n{}", ran.out, ran.err);
        assert!(!sandbox.has("pool") && !sandbox.has("out.img"), "{command}");
    }
    sandbox.kiln("suspend volume/gone --reason repair").ends(2).warns("is it mounted?");
    std::fs::rename(sandbox.path("elsewhere"), sandbox.path("pool")).unwrap();
    sandbox.kiln("plan").ends(0).says("Nothing to do.");
}

#[test]
fn another_pool_under_the_same_path_is_not_filled() {
    let sandbox = with_db();
    fs::rename(sandbox.path("pool"), sandbox.path("pool.away")).unwrap();
    fs::create_dir(sandbox.path("pool")).unwrap();
    let ran = sandbox.kiln("apply").ends(6);
    assert!(ran.out.contains("BackendChanged"), "{ran:?}");
    let get = sandbox.kiln("get volume/db -o json").ends(6).json();
    assert_eq!(
        (&get[0]["status"]["condition"], &get[0]["status"]["reason"], &get[0]["status"]["size"]),
        (&json!("Unknown"), &json!("BackendChanged"), &json!(1 << 20))
    );
    sandbox.kiln("get backends").ends(6).says("Unknown");
    assert_eq!(sandbox.tree("pool"), []);
}

#[test]
fn irreversible_steps_are_held_without_a_terminal() {
    let sandbox = with_db();
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.kiln("apply").ends(0);
    let file = sandbox.data_file("volume/db");
    sandbox.remove("specs/db.yaml");
    sandbox.volume("new", "size: 2Mi");
    sandbox.kiln("plan").ends(0).says("! volume/db").says("irreversible");
    // The rest is done.
    sandbox.kiln("apply").ends(4).says("NeedsConfirmation").says("created volume/new");
    assert!(file.exists());
    sandbox.kiln("apply --yes").ends(0).says("destroyed volume/db");
    assert!(!file.exists());
}

#[test]
fn snapshots_and_clones_hold_what_the_volume_held() {
    let sandbox = with_db();
    put_canary(&sandbox, "volume/db");
    sandbox.snapshot("monday", "volume: db");
    sandbox.kiln("apply").ends(0).says("created snapshot/monday on fast");
    fs::write(sandbox.data_file("volume/db"), vec![b'x'; 1 << 20]).unwrap();
    sandbox.volume("copy", "size: 2Mi, source: {snapshot: monday}");
    sandbox.kiln("apply").ends(0).says("created volume/copy on fast");
    assert_canary(&sandbox, "volume/copy");
    assert_eq!(sandbox.object("volume/copy")["status"]["size"], 2 << 20);
    assert_eq!(sandbox.object("snapshot/monday")["spec"]["volume"], "db");
    sandbox.volume("db", "size: 1Mi, restore: {snapshot: monday, request: a}");
    sandbox.kiln("apply --yes").ends(0).says("restored volume/db");
    assert_canary(&sandbox, "volume/db");
    sandbox.kiln("apply --yes").ends(0).says("Nothing to do.");
}

#[test]
fn equal_inputs_give_equal_bytes_and_the_keys_of_the_contract() {
    let plans = [(); 2].map(|()| {
        let sandbox = Sandbox::with_stack();
        sandbox.volume("db", "size: 10Mi");
        sandbox.kiln("plan -o json").ends(0).out
    });
    assert_eq!(plans[0], plans[1], "two machines plan the same");
    let plan: Value = serde_json::from_str(&plans[0]).unwrap();
    let step = &plan["steps"][0];
    assert_eq!(
        (&plan["format"], &plan["owner"], &plan["approval"]),
        (&json!("kiln.plan/v1"), &json!("prod"), &Value::Null)
    );
    assert_eq!(
        (&step["action"], &step["kind"], &step["name"], &step["risk"]),
        (&json!("create"), &json!("Volume"), &json!("db"), &json!("none"))
    );
    assert!(step["object"].as_str().unwrap().starts_with("kiln.prod.db."));
    let size = json!({"path": "size", "before": null, "after": 10 << 20});
    assert!(step["changes"].as_array().unwrap().contains(&size), "{step}");
    assert_eq!(plan["summary"]["create"], 1);
}

#[test]
fn get_shows_declared_and_observed_objects() {
    let sandbox = with_db();
    let all = sandbox.kiln("get -o json").ends(0).json();
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    let db = sandbox.object("volume/db");
    assert_eq!((&db["apiVersion"], &db["kind"]), (&json!("kiln/v1"), &json!("Volume")));
    assert_eq!(db["metadata"], json!({"name": "db"}));
    assert_eq!(db["spec"]["size"], 1 << 20);
    assert_eq!((&db["status"]["condition"], &db["status"]["owner"]), (&json!("Settled"), &json!("prod")));
    assert_eq!(sandbox.kiln("get volumes -o name").ends(0).out, "volume/db\nvolume/other\nvolume/third\n");
    sandbox.kiln("get volume/none").ends(2).warns("there is no volume/none: it is neither declared nor observed");
    for command in ["get", "describe", "get -o json"] {
        let some = sandbox.kiln(&format!("{command} volume/db volume/none")).ends(2).says("db");
        assert!(some.err.contains("there is no volume/none: it is neither"), "{}", some.err);
    }
    sandbox.kiln("get backends").ends(0).says("backend/fast").says("Settled");
    assert_eq!(sandbox.kiln("get snapshots -o json").ends(0).json(), json!([]));
    sandbox.volume("new", "size: 1Mi");
    assert_eq!(sandbox.object("volume/new")["status"]["condition"], "Progressing");
}

#[test]
fn describe_and_log_tell_the_history() {
    let sandbox = with_db();
    sandbox.volume("db", "size: 2Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("describe volume/db").ends(0).says("Settled").says("History:").says("create").says("update");
    let described = sandbox.kiln("describe volume/db -o json").ends(0).json();
    assert_eq!(described["objects"][0]["metadata"]["name"], "db");
    assert_eq!(described["history"].as_array().map(Vec::len), Some(2));
    sandbox.kiln("describe volume/none").ends(2);

    let log = sandbox.kiln("log -o json").ends(0).json();
    assert_eq!(log.as_array().map(Vec::len), Some(4));
    let last = sandbox.kiln("log -n 1 volume/db -o json").ends(0).json();
    assert_eq!(last.as_array().map(Vec::len), Some(1));
    assert_eq!((&last[0]["action"], &last[0]["outcome"]), (&json!("update"), &json!("changed")));
    assert!(last[0]["time"].as_str().unwrap().ends_with('Z'));
    sandbox.kiln("log").ends(0).says("volume/db").says("changed");
}

#[test]
fn reading_continues_while_another_process_has_the_store() {
    let sandbox = with_db();
    let held = kiln::store::open(&sandbox.path("state"), 1_795_305_600).unwrap();
    for command in ["plan", "get", "describe volume/db", "trash list"] {
        let ran = sandbox.kiln(command).ends(0).warns("continuing without the store");
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
    drop(held);
}

/// The lines of `apply -o json`, each as JSON.
fn lines(out: &str) -> Vec<Value> {
    assert!(out.ends_with('\n'));
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn apply_as_json_is_a_line_for_each_event() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    let told = lines(&sandbox.kiln("apply -o json").ends(0).warns("created volume/db").out);
    let events: Vec<&str> = told.iter().map(|line| line["event"].as_str().unwrap_or("-")).collect();
    assert_eq!(events, ["-", "planned", "started", "finished", "summary"]);
    assert_eq!((&told[0]["format"], &told[0]["owner"]), (&json!("kiln.apply/v1"), &json!("prod")));
    assert_eq!(
        (&told[1]["plan"]["format"], &told[1]["plan"]["summary"]["create"]),
        (&json!("kiln.plan/v1"), &json!(1))
    );
    let object = &told[2]["object"];
    assert_eq!(
        (&object["action"], &object["kind"], &object["name"]),
        (&json!("create"), &json!("Volume"), &json!("db"))
    );
    assert_eq!(
        (&told[3]["step"], &told[3]["outcome"], &told[3]["message"]),
        (&json!(0), &json!("changed"), &Value::Null)
    );
    assert_eq!((&told[4]["changed"], &told[4]["failed"], &told[4]["exitCode"]), (&json!(1), &json!(0), &json!(0)));
    let told = lines(&sandbox.kiln("apply -o json").ends(0).out);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[1]["plan"]["steps"], json!([]));
}

#[test]
fn failures_and_holds_are_in_the_json_output() {
    let sandbox = with_db();
    sandbox.volume("db", "size: 2Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.volume("db", "size: 1Mi");
    let told = lines(&sandbox.kiln("apply -o json").ends(4).out);
    let last = told.last().unwrap();
    assert_eq!((&last["event"], &last["exitCode"]), (&json!("summary"), &json!(4)));
    assert_eq!(last["held"][0]["reason"], "ShrinkRefused");

    sandbox.volume("db", "size: 4Mi");
    sandbox.volume("copy", "size: 4Mi, source: {volume: db}");
    sandbox.kiln("plan --out p").ends(0);
    sandbox.volume("db", "size: 3Mi");
    sandbox.kiln("apply volume/db").ends(0);
    let told = lines(&sandbox.kiln("apply p -o json").ends(4).out);
    let last = told.last().unwrap();
    assert!(last["refused"][0].as_str().unwrap().contains("volume/db"), "{last}");
    assert!(told.iter().all(|line| line["event"] != "started"), "{told:?}");
}

#[test]
fn annotations_are_written_only_when_asked_for_and_beside_the_data() {
    let sandbox = with_db();
    sandbox.volume("db", "size: 512Ki");
    let ran = sandbox.kiln("plan -o json --annotations github").ends(4);
    assert_eq!(ran.json()["held"][0]["reason"], "ShrinkRefused");
    assert!(
        ran.err.starts_with("::warning file=specs/db.yaml,line=4,col=23::volume/db is held (ShrinkRefused): "),
        "{}",
        ran.err
    );
    assert!(!sandbox.kiln("plan").ends(4).err.contains("::"));
    sandbox.volume("db", "sise: 1Mi");
    for command in ["check", "check -o json", "plan"] {
        let ran = sandbox.kiln(&format!("{command} --annotations github")).ends(5);
        assert!(ran.err.lines().any(|line| line.starts_with("::error file=specs/db.yaml,line=4,col=")), "{}", ran.err);
        assert!(!sandbox.kiln(command).ends(5).err.contains("::"));
    }
    sandbox.kiln("check --annotations gitlab").ends(2);
}

#[test]
fn a_stack_of_another_name_takes_over_only_when_told() {
    let sandbox = with_db();
    put_canary(&sandbox, "volume/db");
    let stack = fs::read_to_string(sandbox.path("specs/stack.yaml")).unwrap();
    sandbox.write("specs/stack.yaml", &stack.replace("name: prod", "name: next"));
    sandbox.kiln("apply").ends(4).says("OwnerChanged").says("--from-owner prod");
    sandbox.kiln("adopt fast --from-owner prod").ends(0).says("db");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    assert_canary(&sandbox, "volume/db");
    assert_eq!(sandbox.object("volume/db")["status"]["owner"], "next");
}

#[test]
fn what_init_writes_can_be_applied() {
    let sandbox = Sandbox::new();
    sandbox.kiln("init").ends(0);
    // But for how full the disk of this machine may be.
    let written = fs::read_to_string(sandbox.path("specs/kiln.yaml")).unwrap();
    let write = |text: &str| {
        sandbox.write("specs/kiln.yaml", &text.replace("  driver: local\n", "  driver: local\n  maxFill: 100%\n"));
    };
    write(&written);
    sandbox.kiln("apply").ends(0).says("created volume/data on local");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    // The example at the end, without one `# ` in each line.
    let without = |text: &str| {
        let line = |line: &str| match line.trim_start().starts_with('#') {
            true => line.replacen("# ", "", 1) + "\n",
            false => format!("{line}\n"),
        };
        text.lines().map(line).collect::<String>()
    };
    let (declared, example) = written.split_once("\n## To declare").unwrap();
    let example = without(example.split_once('\n').unwrap().1);
    write(&format!("{declared}\n{example}"));
    sandbox.kiln("check").ends(0).says("5 documents, no problem");
    sandbox.kiln("apply").ends(0).says("created snapshot/data-monday").says("created volume/data-copy");
    assert_eq!(sandbox.kiln("get data* -o name").ends(0).out, "volume/data\nvolume/data-copy\nsnapshot/data-monday\n");
    // So are the fields of the volume, and the line above the example.
    let (head, fields) = declared.split_once("  # protected").unwrap();
    let fields = without(&format!("  # protected{fields}"));
    write(&format!("{head}{fields}{}{example}", without("## To declare")));
    sandbox.kiln("apply").ends(0);
    let data = sandbox.object("volume/data");
    assert_eq!((&data["spec"]["protected"], &data["spec"]["onRemove"]), (&json!(true), &json!("Retain")));
}

#[test]
fn annotations_name_files_from_the_root_of_the_repository() {
    let sandbox = Sandbox::new();
    sandbox.write("repo/deploy/specs/stack.yaml", &format!("{STACK}colour: red\n"));
    std::os::unix::fs::symlink("repo/deploy", sandbox.path("link")).unwrap();
    let absolute = sandbox.path("repo/deploy/specs");
    let runs = [
        ("repo/deploy", "specs"),
        ("repo/deploy", "./specs/"),
        ("repo/deploy/specs", "."),
        ("repo/deploy/specs", "stack.yaml"),
        ("", "repo/deploy/specs"),
        ("", absolute.to_str().unwrap()),
        ("link", "specs"),
    ];
    let files = || -> Vec<String> {
        let file = |(directory, specs): &(&str, &str)| {
            let mut command = sandbox.command();
            command.current_dir(sandbox.path(directory)).args(["check", specs, "--annotations", "github"]);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(5));
            let said = String::from_utf8(output.stderr).unwrap();
            let named = said.lines().find_map(|line| line.strip_prefix("::error file="));
            named.unwrap_or_else(|| panic!("no annotation in {said}")).split(',').next().unwrap().to_owned()
        };
        runs.iter().map(file).collect()
    };
    assert_eq!(files()[..4], ["specs/stack.yaml", "specs/stack.yaml", "stack.yaml", "stack.yaml"], "outside of Git");
    assert_cmd::Command::new("git").args(["init", "-q"]).arg(sandbox.path("repo")).assert().success();
    assert_eq!(files(), vec!["deploy/specs/stack.yaml"; runs.len()]);
    // So do the places in the texts.
    let web =
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: web}\nspec: {backend: fast, size: 1Mi}\ncolour: red\n";
    sandbox.write("repo/deploy/specs/web.yaml", web);
    for (directory, specs) in [("repo/deploy", "./specs/"), ("", "repo/deploy/specs")] {
        let mut command = sandbox.command();
        let output = command
            .current_dir(sandbox.path(directory))
            .args(["check", specs, "--annotations", "github"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("%0Aalso at deploy/specs/web.yaml:5:1\n"), "{said}");
    }
}

#[test]
fn objects_that_another_stack_adopted_are_taken_back_and_not_recreated() {
    let sandbox = with_db();
    put_canary(&sandbox, "volume/db");
    let stack = fs::read_to_string(sandbox.path("specs/stack.yaml")).unwrap();
    sandbox
        .write("specs/stack.yaml", &stack.replace("{name: prod}", "{name: new}").replace("5c1d2e8a90", "6c1d2e8a90"));
    sandbox.kiln("adopt fast --from-owner prod").ends(0);
    sandbox.write("specs/stack.yaml", &stack);
    let told = sandbox.kiln("apply").ends(4).says("OwnerChanged").says("`kiln adopt fast --from-owner new`");
    assert!(!told.out.contains("forget backend"), "it would make empty ones: {}", told.out);
    sandbox.kiln("adopt fast --from-owner new").ends(0);
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    assert_canary(&sandbox, "volume/db");
}

#[test]
fn a_held_object_in_the_trash_is_restored_and_not_adopted() {
    let sandbox = Sandbox::with_volumes(&["other", "third", "fourth"]);
    sandbox.volume("db", "size: 2Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0).says("removed volume/db");
    sandbox.volume("db", "size: 1Mi");
    for command in ["plan", "status"] {
        sandbox.kiln(command).says("  = volume/db  restore  ShrinkRefused: ");
    }
    let markdown = sandbox.kiln("plan -o markdown").out;
    assert!(markdown.contains("\n  - restore volume/db\n"), "{markdown}");
    let json = sandbox.kiln("plan -o json").json();
    assert_eq!(json["held"][0]["action"], "adopt", "programs get one of six verbs");
    // The fix works.
    sandbox.volume("db", "size: 2Mi");
    sandbox.kiln("apply").ends(0).says("restored volume/db");
}
