//! Words that people type first, and that mean something else to Kiln or nothing: each is answered with the command that was meant.

use serde_json::Value;

use crate::sandbox::Sandbox;

/// Two volumes, and a snapshot whose name is that of a volume.
fn with_objects() -> Sandbox {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi");
    sandbox.volume("web", "size: 1Mi");
    sandbox.write(
        "specs/of-web.yaml",
        "apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {name: web}\nspec: {volume: web}\n",
    );
    sandbox
}

#[test]
fn a_bare_name_is_answered_with_the_command_for_the_object() {
    let sandbox = with_objects();
    for command in ["plan", "apply"] {
        for (word, hint) in [
            ("db", "hint: if you mean the object, write `kiln COMMAND volume/db`\n"),
            ("dbb", "hint: if you mean the object, write `kiln COMMAND volume/db`\n"),
            ("web", "write `kiln COMMAND volume/web` or `kiln COMMAND snapshot/web`\n"),
            ("pvc/db", "write `kiln COMMAND volume/db`\n"),
            ("volumes", "`kiln COMMAND KIND/NAME`"),
            ("help", "`kiln COMMAND --help`"),
            ("nothing", "hint: name the directory of the manifests, or create one with `kiln init`"),
        ] {
            let ran = sandbox.kiln(&format!("{command} {word}")).ends(5);
            let ran = ran.warns(&format!("error: there is no file or directory {word}\n"));
            ran.warns(&hint.replace("COMMAND", command));
        }
        let json = sandbox.kiln(&format!("{command} db -o json")).ends(5).json();
        let problem = &json["problems"][0];
        assert_eq!((&problem["file"], &json["problems"][1]), (&Value::Null, &Value::Null), "{json}");
        assert!(problem["hint"].as_str().unwrap().contains("volume/db"), "{json}");
        // Objects after SPECS.
        let ran = sandbox.kiln(&format!("{command} specs db")).ends(2).warns("does not name an object in full");
        ran.warns(&format!("hint: write `kiln {command} volume/db`\n"));
        sandbox.kiln(&format!("{command} specs web")).ends(2).warns("[KIND/NAME …]");
    }
    // The manifests that are read without the word.
    std::fs::rename(sandbox.path("specs"), sandbox.path("prod")).unwrap();
    let mut command = sandbox.command();
    command.args(["plan", "db"]).env("KILN_SPECS", "prod");
    crate::sandbox::Ran::of(command.output().unwrap()).ends(5).warns("write `kiln plan prod volume/db`\n");
    sandbox.kiln("plan db --specs prod").ends(2).warns("SPECS is given twice").warns("objects as KIND/NAME");
    assert!(!sandbox.has("state") && !sandbox.has("pool"));
}

#[test]
fn check_and_watch_refuse_objects() {
    let sandbox = with_objects();
    for (command, instead) in [("check", "`kiln plan volume/db`"), ("watch", "`kiln apply volume/db`")] {
        for arguments in ["volume/db", "volume/db --specs specs"] {
            let ran = sandbox.kiln(&format!("{command} {arguments}")).ends(2).warns(instead);
            ran.warns("takes a directory or a file with manifests, and no objects").warns("directory volume/db\n");
        }
    }
    // A file of that name is read.
    sandbox.write("volume/db", "");
    sandbox.kiln("check volume/db").ends(5).warns("the manifests contain no documents");
}

#[test]
fn missing_manifests_have_no_place_and_those_of_the_working_directory_are_named() {
    let sandbox = Sandbox::new();
    let commands =
        ["check", "plan", "apply", "get", "status", "describe volume/db", "trash list", "suspend --reason x"];
    for command in commands {
        let ran = sandbox.kiln(command).ends(5).warns("error: there are no manifests: ./specs does not exist\n");
        assert!(!ran.err.contains(":1:1") && !ran.err.contains("the problems above"), "{command}: {}", ran.err);
        ran.warns("hint: name the directory of the manifests, or create one with `kiln init`\n");
    }
    let json = sandbox.kiln("check -o json").ends(5).json();
    assert_eq!(json["problems"][0]["file"], Value::Null, "{json}");
    let annotated = sandbox.kiln("check --annotations github").ends(5);
    annotated.warns("::error::there are no manifests: ./specs does not exist");
    // YAML of other tools is none of Kiln's.
    sandbox.write("deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n");
    assert!(!sandbox.kiln("check").ends(5).err.contains("working directory"));
    sandbox.write("kiln.yaml", &crate::sandbox::STACK.replace("../pool", "pool"));
    for command in commands {
        sandbox.kiln(command).ends(5).warns("the working directory contains manifests: name it, as in `kiln check .`");
    }
    sandbox.remove("deployment.yaml");
    sandbox.kiln("check .").ends(0);
    sandbox.kiln("get --specs .").ends(0);
    sandbox.write("empty/README.md", "");
    sandbox.kiln("check empty").ends(5).warns("error: there are no manifests: the directory empty contains no");
}

#[test]
fn words_of_other_tools_get_a_command_of_kiln() {
    let sandbox = with_objects();
    for (arguments, message, hint) in [
        ("unsuspend volume/db", "kiln has no command 'unsuspend'", "`kiln resume` ends"),
        ("log -f", "unexpected argument '-f'", "`watch kiln log`"),
        ("log --follow", "unexpected argument '--follow'", "`watch kiln log`"),
        ("state list", "kiln has no command 'state'", "`kiln get` lists all objects"),
        ("down", "kiln has no command 'down'", "delete the document"),
        ("fmt", "kiln has no command 'fmt'", "`kiln check` validates"),
        ("drift", "kiln has no command 'drift'", "`kiln plan` lists drift"),
        ("describe -l team=blue", "unexpected argument '-l'", "`kiln get -l SELECTOR`"),
        ("check volume db", "unexpected argument 'db'", "`kiln plan KIND/NAME`"),
        ("status volume/db", "unexpected argument 'volume/db'", "`kiln describe KIND/NAME`"),
        ("get vol/db", "unknown kind \"vol\"; did you mean \"volume\"?", "volume/db"),
        (
            "get pvc",
            "there is no object pvc; did you mean volume?",
            "the kinds are volume, snapshot, export and backend",
        ),
        ("get pods", "there is no object pods", "the kinds are volume, snapshot, export and backend"),
        (
            "get all",
            "there is no object all; did you mean '*', which matches all objects?",
            "`kiln get` lists all objects",
        ),
        ("log all", "there is no object all; did you mean '*'", "`kiln log` shows the steps on all objects"),
        ("get stack", "documents of kind Stack have no status", "`kiln status` shows the Stack"),
        ("get help", "there is no object help", "`kiln get --help`"),
        ("describe help", "there is no object help", "`kiln describe --help`"),
        ("trash help", "kiln has no command 'help'", "`kiln COMMAND --help`"),
    ] {
        sandbox.kiln(arguments).ends(2).warns(&format!("error: {message}")).warns("hint: ").warns(hint);
    }
    // Another number is another object, and no typing error.
    sandbox.volume("e1", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    let unknown =
        sandbox.kiln("log volume/e11").ends(0).says("No steps recorded on volume/e11, and the store does not know it");
    assert!(!unknown.out.contains("did you mean"), "{}", unknown.out);
    sandbox.kiln("get volume/e11").ends(2).warns("there is no volume/e11: it is neither declared nor observed");
    sandbox.kiln("log volume/ee1").ends(0).says("No steps recorded on volume/ee1; did you mean e1?");
    sandbox.kiln("plan all").ends(5).warns("there is no file or directory all").warns("`kiln plan` covers all objects");
    sandbox.kiln("check help").ends(5).warns("`kiln check --help` explains");
    for (arguments, line) in [
        ("help", "Usage: kiln [OPTIONS] <COMMAND>"),
        ("help plan", "plan [OPTIONS]"),
        ("help trash list", "trash list [OPTIONS]"),
    ] {
        sandbox.kiln(arguments).ends(0).says(line);
    }
}

#[test]
fn a_bare_name_is_accepted_or_answered_with_the_whole_command() {
    let sandbox = with_objects();
    sandbox.volume("gone", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/gone.yaml");
    sandbox.kiln("apply").ends(0);
    let before = sandbox.tree("pool");
    for (arguments, hint) in [
        ("forget db", "hint: write `kiln forget volume/db`\n"),
        ("forget fast", "hint: write `kiln forget backend/fast`\n"),
        ("forget web", "hint: write `kiln forget snapshot/web` or `kiln forget volume/web`\n"),
        ("trash purge gone --yes", "hint: write `kiln trash purge volume/gone`\n"),
        // It is no object of the trash.
        ("trash purge db --yes", "hint: write KIND/NAME"),
        ("image export db a.img --format raw --force", "`kiln image export volume/db a.img --format raw --force`\n"),
    ] {
        sandbox.kiln(arguments).ends(2).warns("does not name an object in full").warns(hint);
    }
    sandbox.kiln("forget dbb").ends(2).warns("there is no object dbb; did you mean volume/db?");
    sandbox.kiln("adopt backend/fast").ends(0);
    sandbox.kiln("adopt volume/fast").ends(2).warns("not '/'");
    assert_eq!(sandbox.tree("pool"), before);
    // The journal has objects that are no longer declared.
    let entries = |arguments: &str| {
        let log = sandbox.kiln(&format!("log {arguments} -o json")).ends(0).json();
        log.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(entries("gone"), ["gone", "gone"]);
    assert_eq!(entries("gone -n 1"), ["gone"]);
    assert_eq!(entries("db"), entries("volume/db"));
    sandbox.kiln("log web").ends(2).warns("web is the name of several objects: volume/web, snapshot/web");
    sandbox.kiln("log gne").ends(2).warns("there is no object gne; did you mean volume/gone?");
    sandbox.kiln("log fast").ends(2).warns("there is no object fast: the journal has no step on it");
    sandbox.kiln("log volume/*").ends(2).warns("does not name an object in full");
}

#[test]
fn approve_says_what_waits() {
    let sandbox = Sandbox::with_stack();
    for name in ["a", "b"] {
        sandbox.volume(name, "size: 1Mi, onRemove: Delete");
    }
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("approve").ends(0).says("Nothing waits for an approval.");
    let unknown = sandbox.kiln("approve 8a8c0c3b0e783991").ends(4).warns("nothing waits for an approval");
    unknown.warns("hint: `kiln plan` shows the approval that waits, with its command");
    sandbox.remove("specs/a.yaml");
    let digest = sandbox.kiln("status -o json").json()["approval"].as_str().unwrap().to_owned();
    let waits = sandbox.kiln("approve").ends(2).warns(&format!("{digest} waits: destroy volume/a"));
    waits.warns(&format!("`kiln approve {digest}` approves it"));
    sandbox.kiln(&format!("approve {digest}")).ends(0);
    sandbox.kiln("apply").ends(0).says("destroyed volume/a");
}

#[test]
fn log_takes_specs_as_other_commands_do() {
    let sandbox = with_objects();
    sandbox.kiln("apply").ends(0);
    // Another Stack with the same store.
    let other = crate::sandbox::STACK
        .replace("prod", "test")
        .replace("5c1d2e8a90", "0f1d2e8a90")
        .replace("../pool", "../pool2");
    let volume = "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {name: only}\nspec: {backend: slow, size: 1Mi}\n";
    sandbox.write("other/all.yaml", &(other.replace("fast", "slow") + volume));
    sandbox.kiln("apply other").ends(0);
    let owners = |arguments: &str| {
        let log = sandbox.kiln(&format!("log {arguments} -o json")).ends(0).json();
        let mut owners: Vec<String> =
            log.as_array().unwrap().iter().map(|entry| entry["owner"].as_str().unwrap().to_owned()).collect();
        owners.dedup();
        owners
    };
    assert_eq!(owners(""), ["prod", "test"]);
    assert_eq!(owners("--specs specs"), ["prod"]);
    assert_eq!(owners("--specs other -n 1"), ["test"]);
    assert_eq!(owners("--specs specs -n 1"), ["prod"], "the last entry of this Stack");
    sandbox.kiln("log only --specs specs").ends(2).warns("there is no object only");
    // The Stack is enough; without it, the manifests must be valid.
    sandbox.write("specs/db.yaml", "kind: Volume\n");
    assert_eq!(owners("--specs specs"), ["prod"]);
    sandbox.kiln("log --specs missing").ends(5).warns("there are no manifests: missing does not exist");
}
