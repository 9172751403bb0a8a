//! Commands that are printed, pasted into a shell: they are about the same manifests, store and host configuration.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sandbox::{Ran, STACK, Sandbox};

/// Specs elsewhere than by default, with a blank in their name, another store and a host configuration. Where the default is, another
/// Stack is declared whose volumes are to leave: a command that forgets where it came from removes those.
fn elsewhere() -> Sandbox {
    let sandbox = Sandbox::new();
    for (dir, stack, pool) in [("specs", "other", "../pool"), ("st dir", "prod", "../second")] {
        sandbox.write(&format!("{dir}/stack.yaml"), &self::stack(stack, pool));
        for name in ["db", "web"] {
            sandbox.write(&format!("{dir}/{name}.yaml"), &volume(name, "1Mi"));
        }
    }
    sandbox.write("host.toml", "");
    sandbox.kiln("apply").ends(0);
    there(&sandbox, &["apply", "st dir"]).ends(0);
    for dir in ["specs", "st dir"] {
        sandbox.remove(&format!("{dir}/db.yaml"));
        sandbox.remove(&format!("{dir}/web.yaml"));
    }
    sandbox
}

fn stack(name: &str, pool: &str) -> String {
    STACK.replace("name: prod", &format!("name: {name}")).replace("../pool", pool)
}

fn volume(name: &str, size: &str) -> String {
    format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: fast, size: {size}}}\n")
}

/// The objects in a pool. (The lock's file and the ledger say who was there last.)
fn objects(sandbox: &Sandbox, pool: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = sandbox.tree(pool);
    all.retain(|(path, _)| !path.to_string_lossy().contains(".kiln-pool"));
    all
}

/// Runs a command on the store and the host configuration that are no default.
fn there(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command();
    command.args(arguments).args(["--state", "X", "--config", "host.toml"]);
    Ran::of(command.output().unwrap())
}

/// Runs a line as a person pastes it.
fn paste(sandbox: &Sandbox, line: &str, stdin: &str) -> Ran {
    let bin = Path::new(env!("CARGO_BIN_EXE_kiln")).parent().unwrap();
    let mut command = assert_cmd::Command::new("/bin/sh");
    command.args(["-c", line]).current_dir(sandbox.path(".")).env("PATH", bin).write_stdin(stdin.to_owned());
    for variable in ["KILN_STATE", "KILN_SPECS", "KILN_CONFIG"] {
        command.env_remove(variable);
    }
    Ran::of(command.output().unwrap())
}

/// The commands of Kiln that a text names: between backticks, or as code of Markdown.
fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text.split('`').filter(|part| part.starts_with("kiln ")).map(str::to_owned).collect();
    let code = text.split("<code>").skip(1).map(|rest| rest.split("</code>").next().unwrap());
    found.extend(code.filter(|code| code.starts_with("kiln ")).map(str::to_owned));
    found
}

fn strings(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.extend([text.as_str(), "\n"]),
        Value::Array(all) => all.iter().for_each(|value| strings(value, out)),
        Value::Object(all) => all.values().for_each(|value| strings(value, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn every_command_that_is_printed_names_its_specs_store_and_configuration() {
    let sandbox = elsewhere();
    // Something that is suspended, besides what waits for an approval.
    sandbox.write("st dir/log.yaml", &volume("log", "1Mi"));
    there(&sandbox, &["apply", "st dir", "volume/log"]).ends(0);
    sandbox.write("st dir/log.yaml", &volume("log", "2Mi"));
    sandbox.write("st dir/stack.yaml", &stack("prod", "../second").replace("90}", "90, safety: {maxRemovals: 1}}"));
    there(&sandbox, &["suspend", "volume/log", "--reason", "fsck", "--specs", "st dir"]).ends(0);
    let mut seen = 0;
    for (arguments, at_least) in [
        (&["plan", "st dir"][..], 3),
        (&["plan", "st dir", "-o", "json"], 2),
        (&["plan", "st dir", "-o", "markdown"], 3),
        (&["plan", "st dir", "--annotations", "github"], 3),
        (&["apply", "st dir"], 3),
        (&["apply", "st dir", "-o", "json"], 2),
        (&["status", "--specs", "st dir"], 4),
        (&["status", "--specs", "st dir", "-o", "json"], 2),
        (&["doctor", "--specs", "st dir"], 2),
        (&["doctor", "--specs", "st dir", "-o", "json"], 2),
        (&["describe", "volume/db", "--specs", "st dir"], 1),
        (&["get", "--specs", "st dir", "-o", "json"], 2),
        (&["get", "volume/none", "--specs", "st dir"], 1),
        (&["forget", "volume/none", "--specs", "st dir"], 2),
        (&["trash", "restore", "volume/none", "--specs", "st dir"], 2),
        (&["adopt", "fast", "--specs", "st dir"], 0),
        (&["apply", "st dir", "--approve", "0000000000000000"], 1),
    ] {
        let ran = there(&sandbox, arguments);
        // A line of JSON is taken apart: in it, what is printed is escaped.
        let mut text = ran.err.clone();
        for line in ran.out.lines() {
            match serde_json::from_str::<Value>(line) {
                Ok(value) if value.is_object() => strings(&value, &mut text),
                _ => text.extend([line, "\n"]),
            }
        }
        if let Ok(value) = serde_json::from_str::<Value>(&ran.out) {
            text = ran.err.clone();
            strings(&value, &mut text);
        }
        let found = commands(&text);
        assert!(found.len() >= at_least, "{arguments:?}: {found:?}\n{}\n{}", ran.out, ran.err);
        for command in &found {
            let mut needed = vec!["'st dir'", "--config host.toml"];
            if !command.starts_with("kiln check") {
                needed.push("--state X");
            }
            assert!(needed.iter().all(|part| command.contains(part)), "{arguments:?} prints {command}");
        }
        seen += found.len();
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn a_pasted_approval_removes_exactly_the_objects_shown() {
    for json in [false, true] {
        let sandbox = elsewhere();
        let shown = match json {
            false => there(&sandbox, &["plan", "st dir"]).ends(4).out,
            true => there(&sandbox, &["plan", "st dir", "-o", "json"]).ends(4).json()["held"][0]["fix"].to_string(),
        };
        let line = commands(&shown).pop().unwrap();
        let before = objects(&sandbox, "pool");
        let mut ran = paste(&sandbox, &line, "").ends(0);
        if line.starts_with("kiln approve ") {
            ran = there(&sandbox, &["apply", "st dir"]).ends(0);
        }
        ran.says("removed volume/db").says("removed volume/web");
        assert!(objects(&sandbox, "pool") == before, "{line}");
    }
}

#[test]
fn fixes_for_a_pipe_with_prune_name_both() {
    let sandbox = elsewhere();
    let text = std::fs::read_to_string(sandbox.path("st dir/stack.yaml")).unwrap().replace("../second", "second");
    let mut command = sandbox.command();
    let plan = command.args(["plan", "-", "--prune", "--state", "X"]).write_stdin(text.clone());
    let shown = Ran::of(plan.output().unwrap()).ends(4).out;
    let line = commands(&shown).pop().unwrap();
    assert!(line.contains(" - ") && line.contains("--prune"), "{line}");
    paste(&sandbox, &line, &text).ends(0).says("removed volume/db").says("removed volume/web");
}

#[test]
fn objects_selected_by_name_are_approved_by_name() {
    let sandbox = elsewhere();
    let shown = there(&sandbox, &["apply", "st dir", "volume/db"]).ends(4).out;
    // The last line names no digest: the set has an object that is not shown. The fix of the one that is shown does.
    let line = commands(&shown).into_iter().find(|command| command.contains("--approve")).expect(&shown);
    assert!(line.starts_with("kiln apply 'st dir' volume/db --approve "), "{line}");
    let ran = paste(&sandbox, &line, "").says("removed volume/db");
    assert!(!ran.out.contains("volume/web"), "{}", ran.out);
}

#[test]
fn an_apply_with_an_approval_of_something_else_does_nothing() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    let ran = sandbox.kiln("apply --approve 0123456789abcdef").ends(4).warns("nothing waits for an approval");
    assert!(ran.err.contains("nothing was changed") && !sandbox.has("pool"), "{}", ran.err);
    sandbox.kiln("apply").ends(0);
    // A right one beside a wrong one does not help.
    sandbox.volume("web", "size: 1Mi");
    sandbox.remove("specs/db.yaml");
    let plan = sandbox.kiln("plan -o json").ends(4).json();
    let right = plan["approval"].as_str().unwrap().to_owned();
    let before = objects(&sandbox, "pool");
    sandbox
        .kiln(&format!("apply --approve {right} --approve 0123456789abcdef"))
        .ends(4)
        .warns("approval 0123456789abcdef is not what waits now");
    let summary = sandbox.kiln("apply --approve 0123456789abcdef -o json").ends(4).out;
    assert!(summary.lines().last().unwrap().contains("0123456789abcdef is not what waits now"), "{summary}");
    assert!(objects(&sandbox, "pool") == before, "something was done");
    sandbox.kiln(&format!("apply --approve {right}")).ends(0).says("removed volume/db").says("created volume/web");
}
