//! Finding one's way: explain, man, schema, doctor, labels, and the other forms in which things are shown.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::sandbox::Sandbox;

#[test]
fn explain_agrees_with_the_schema() {
    let sandbox = Sandbox::new();
    sandbox.kiln("explain").ends(0).says("volume ").says("approval");
    sandbox
        .kiln("explain volume.spec.size")
        .ends(0)
        .says("volume.spec.size <integer or string, required>")
        .says("can only grow")
        .says("10Gi");
    sandbox.kiln("explain volume.spec.source").ends(0).says("snapshot").says("A copy of an image");
    let restore = sandbox.kiln("explain volume.spec.restore").ends(0).says("once for each distinct request").out;
    assert_eq!(restore.matches("Restores a snapshot").count(), 1, "{restore}");
    sandbox.kiln("explain volume.spec.source.image.format").ends(0).says("Never detected").says("qcow2");
    sandbox.kiln("explain volume.spec.onRemove").ends(0).says("Choices:").says("cannot be undone");
    sandbox.kiln("explain Volumes.spec").ends(0).says("size *");
    sandbox.kiln("explain volume.spec.sice").ends(2).warns("did you mean volume.spec.size?");
    sandbox.kiln("explain volume.size").ends(2).warns("did you mean volume.spec.size?");
    sandbox.kiln("explain volume.nonsense").ends(2).warns("its fields: apiVersion, kind, metadata, spec");
    sandbox.kiln("explain volume.spec.size.x").ends(2).warns("plain value");
    sandbox.kiln("explain volumne").ends(2).warns("did you mean");
    let json = sandbox.kiln("explain snapshot.spec.volume -o json").ends(0).json();
    assert_eq!((&json["path"], &json["required"]), (&"snapshot.spec.volume".into(), &true.into()), "{json}");
    assert_eq!(json["schema"]["description"], "The declared volume.");
}

/// Every path below a schema, as `explain` takes it.
fn paths(root: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    let value = value["$ref"].as_str().map_or(value, |to| root.pointer(to.trim_start_matches('#')).unwrap());
    out.push(at.to_owned());
    for (name, field) in value["properties"].as_object().into_iter().flatten() {
        paths(root, field, &format!("{at}.{name}"), out);
    }
}

#[test]
fn every_field_of_the_schema_is_explained() {
    let sandbox = Sandbox::new();
    let root = sandbox.kiln("schema volume").ends(0).json();
    let mut all = Vec::new();
    paths(&root, &root, "volume", &mut all);
    assert!(all.len() > 35, "{all:?}");
    for path in all {
        let ran = sandbox.kiln(&format!("explain {path}")).ends(0);
        let said = ran.out.lines().nth(2).unwrap_or_default().trim();
        assert!(ran.out.starts_with(&format!("{path} <")) && !said.is_empty(), "{path}: {}", ran.out);
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let sandbox = Sandbox::new();
    let page = sandbox.kiln("man").ends(0);
    assert!(page.out.contains(".TH KILN 1") && page.out.contains(".SH EXIT STATUS"), "{}", page.out);
    sandbox.kiln("man --all pages").ends(0).says("pages to pages");
    for name in ["kiln", "kiln-plan", "kiln-trash", "kiln-trash-purge", "kiln-doctor"] {
        let text = std::fs::read_to_string(sandbox.path(&format!("pages/{name}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {} 1", name.to_uppercase())), "{name}: {text}");
        assert!(text.contains(".SH EXAMPLES\n  kiln "), "{name}: {text}");
    }
    let mut command = sandbox.command();
    command.arg("man").env("KILN_STATE", "/somewhere/private");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), page.out, "the page does not depend on who makes it");
}

#[test]
fn things_are_chosen_by_label_and_shown_wide_and_as_yaml() {
    let sandbox = Sandbox::with_stack();
    for (name, labels) in [("a", "{team: red, tier: one}"), ("b", "{team: red}"), ("c", "{team: blue}")] {
        sandbox.write(
            &format!("specs/{name}.yaml"),
            &format!(
                "apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{backend: fast, size: 1Mi}}\n"
            ),
        );
    }
    sandbox.kiln("apply").ends(0);
    let names = |arguments: &str| sandbox.kiln(arguments).ends(0).out;
    assert_eq!(names("get -o name -l team=red"), "volume/a\nvolume/b\n");
    assert_eq!(names("get volumes -o name -l team=red -l tier=one"), "volume/a\n");
    assert_eq!(names("get -o name -l team=green"), "");
    sandbox.kiln("get -l team=green").ends(0).says("No objects have these labels");
    assert_eq!(names("get -o name -l tier"), "volume/a\n");
    assert_eq!(names("get -o name -l team=red,tier!=one"), "volume/b\n");
    assert_eq!(names("get -o name -l !tier --label team=red"), "volume/b\n");
    let mut command = sandbox.command();
    let some = command.args(["get", "-o", "name", "--selector", "team in (blue, green), tier notin (one)"]).output();
    assert_eq!(String::from_utf8(some.unwrap().stdout).unwrap(), "volume/c\n");
    let refused = sandbox.kiln("get -l team=red,,tier").ends(2).warns("a label's key is missing here");
    assert!(refused.err.contains("  team=red,,tier\n           ^\n"), "{}", refused.err);
    let object = sandbox.object("volume/a");
    let wide = sandbox.kiln("get volume/a -o wide").ends(0);
    for text in ["UID", object["status"]["uid"].as_str().unwrap(), "kiln.prod.a.", "team=red,tier=one"] {
        assert!(wide.out.contains(text), "{text}: {}", wide.out);
    }
    let as_yaml = |text: &str| serde_yaml_of(text);
    let without_time = |mut all: Value| {
        for object in all.as_array_mut().unwrap() {
            object["status"]["observedAt"] = Value::Null;
        }
        all
    };
    let yaml = without_time(as_yaml(&names("get -o yaml")));
    assert_eq!(yaml, without_time(sandbox.kiln("get -o json").ends(0).json()));
    let described = as_yaml(&names("describe volume/a -o yaml"));
    assert_eq!(described["objects"][0]["metadata"]["name"], "a");
    assert_eq!(described["history"][0]["outcome"], "changed", "{described}");
}

fn serde_yaml_of(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn specs_come_from_standard_input_and_single_files_too() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("apply").ends(0);
    let all = ["stack", "db"].map(|name| std::fs::read_to_string(sandbox.path(&format!("specs/{name}.yaml"))).unwrap());
    // Paths are relative to the working directory then.
    let all = all.join("---\n").replace("../pool", "pool");
    for (command, text) in [
        ("check -", "no problem"),
        ("plan -", "Nothing to do"),
        ("apply -", ""),
        ("get --specs -", "volume/db"),
        ("describe volume/db --specs -", "kiln.prod.db"),
        ("doctor --specs -", "No problems found"),
        ("trash list --specs -", "empty"),
    ] {
        sandbox.run(command, &all).ends(0).says(text);
    }
    sandbox.write("one.yaml", &all);
    sandbox.kiln("plan one.yaml").ends(0).says("Nothing to do");
    sandbox.kiln("get volume/db -o name --specs one.yaml").ends(0).says("volume/db");
}

#[test]
fn doctor_finds_nothing_where_nothing_is_wrong() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("doctor").ends(0).says("No problems found.");
    sandbox.kiln("apply").ends(0);
    let before = sandbox.tree(".");
    sandbox.kiln("doctor").ends(0).says("No problems found.");
    let json = sandbox.kiln("doctor -o json").ends(0).json();
    assert_eq!(json["findings"], Value::Array(Vec::new()));
    assert_eq!(sandbox.tree("."), before, "it only looks");
}

#[test]
fn doctor_lists_each_problem_with_the_command_that_fixes_it() {
    let sandbox = Sandbox::with_volumes(&["a", "b", "c"]);
    sandbox.kiln("apply").ends(0);

    // Lost.
    let object = sandbox.data_file("volume/a").parent().unwrap().to_owned();
    std::fs::rename(&object, sandbox.path("elsewhere")).unwrap();
    sandbox.kiln("doctor").ends(4).says("volume/a  Lost: ").says("kiln forget volume/a");
    std::fs::rename(sandbox.path("elsewhere"), &object).unwrap();
    sandbox.kiln("doctor").ends(0);

    // A problem in the manifests, in the way of everything else.
    sandbox.volume("broken", "size: 1Zi");
    let ran = sandbox.kiln("doctor").ends(5).says("specs/broken.yaml:4:").says("fix: ");
    assert!(!ran.out.contains("Lost"));
    sandbox.remove("specs/broken.yaml");

    // A backend that is away.
    std::fs::rename(sandbox.path("pool"), sandbox.path("away")).unwrap();
    let json = sandbox.kiln("doctor -o json").ends(6).json();
    let of_backend = json["findings"].as_array().unwrap().iter().find(|f| f["what"] == "backend/fast").unwrap();
    assert_eq!((&of_backend["reason"], &of_backend["wrong"]), (&"Unobserved".into(), &true.into()), "{json}");
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(1), "its volumes are not told one by one: {json}");
    assert!(of_backend["message"].as_str().unwrap().contains("objects held on it: 3"), "{json}");
    std::fs::rename(sandbox.path("away"), sandbox.path("pool")).unwrap();

    // The same of many is said once.
    for name in ["b", "c"] {
        sandbox.volume(name, "size: 1Mi, qos: {iops: 5}");
    }
    let ran = sandbox.kiln("doctor").ends(4).says("2 volumes  Unsupported: ");
    let ran = ran.says("volume/b (./specs/b.yaml:4:34)\n      volume/c (./specs/c.yaml:4:34)\n");
    assert_eq!(ran.out.matches("Unsupported").count(), 1, "{}", ran.out);
    assert!(ran.out.contains("fix: remove `qos`, or choose another backend"), "{}", ran.out);
    for name in ["b", "c"] {
        sandbox.volume(name, "size: 1Mi");
    }

    // A store that cannot be believed; then the one that was set aside.
    let database: Vec<_> = sandbox.tree("state").into_iter().filter(|(path, _)| path.ends_with("db")).collect();
    assert_eq!(database.len(), 1, "{database:?}");
    std::fs::write(&database[0].0, b"no database").unwrap();
    sandbox.kiln("doctor").ends(7).says("store  Damaged: ").says("kiln apply");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("doctor").ends(0).says("store  SetAside: ").says("rm -r ").says("No problems; 1 warning.");
}

#[test]
fn doctor_reports_warnings_and_exits_with_0() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "specs/stack.yaml",
        &super::sandbox::STACK.replace("{id: 5c1d2e8a90}", "{id: 5c1d2e8a90, trash: {ttl: 1s}}"),
    );
    for name in ["a", "b", "c"] {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/a.yaml");
    sandbox.kiln("apply").ends(0);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let ran = loop {
        let ran = sandbox.kiln("doctor").ends(0);
        if ran.out.contains("Expired") || std::time::Instant::now() > patience {
            break ran;
        }
    };
    ran.says("volume/a  Expired: ").says("kiln trash purge");
    let found = sandbox.kiln("doctor -o json").ends(0).json()["findings"][0].clone();
    let (bytes, since) = (found["bytes"].as_u64(), found["since"].as_str());
    assert!(
        bytes.is_some() && since.is_some_and(|since| found["message"].as_str().unwrap().ends_with(since)),
        "{found}"
    );
    // What a document names is not purged, and no command that would not do it is told.
    let named =
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: z, renamedFrom: a}\nspec: {size: 1Mi, backend: fast}\n";
    sandbox.write("specs/z.yaml", named);
    sandbox.kiln("doctor").ends(0).says("it stays while a document refers to it").says("once no document does");
    sandbox.remove("specs/z.yaml");
    sandbox.kiln("trash purge --yes").ends(0);
    sandbox.kiln("doctor").ends(0).says("No problems found.");
    // What a crash left unfinished.
    std::fs::create_dir(sandbox.path("pool/kiln-tmp.prod.a.abcdefgh")).unwrap();
    let ran = sandbox.kiln("doctor").ends(0).says("LeftOver").says("kiln apply");
    assert!(ran.out.contains("kiln-tmp.prod.a.abcdefgh"), "{}", ran.out);
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("doctor").ends(0).says("No problems found.");
}

#[test]
fn doctor_names_programs_that_are_missing() {
    let sandbox = Sandbox::with_stack();
    sandbox.write("specs/a.raw", "");
    sandbox.volume("image", "size: 1Mi, source: {image: {path: a.raw, format: raw}}");
    let doctor = |path: &std::path::Path| {
        let mut command = sandbox.command();
        command.args(["doctor", "-o", "json"]).env("PATH", path);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(doctor(&sandbox.path("specs")).contains("ToolMissing"));
    sandbox.write("bin/qemu-img", "#!/bin/sh\n");
    let tool = sandbox.path("bin/qemu-img");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!doctor(&sandbox.path("bin")).contains("ToolMissing"));
}

#[test]
fn a_mark_that_cannot_be_read_is_not_called_missing() {
    let sandbox = Sandbox::with_volumes(&["a"]);
    sandbox.kiln("apply").ends(0);
    sandbox.write("pool/.kiln-pool/id", "half of it");
    sandbox.volume("b", "size: 1Mi");
    let ran = sandbox.kiln("plan").ends(6).says("Unobserved").says("it must hold 32 hexadecimal digits");
    assert!(!ran.out.contains("kiln forget"), "{}", ran.out);
}
