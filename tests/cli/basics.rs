//! What needs no backend: help, usage, init, check, schema, completions, and the exit codes 2, 5 and 7.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::sandbox::Sandbox;

#[expect(clippy::disallowed_methods, reason = "what users run beside Kiln")]
fn tool(name: &str) -> Command {
    Command::new(name)
}

#[test]
fn help_names_every_command_and_every_exit_code() {
    let help = Sandbox::new().kiln("--help").ends(0);
    let commands = help.out.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    // A line of its own each, two blanks in; what it says goes on further in.
    let named = commands.lines().filter(|line| !line.starts_with("   "));
    let named: Vec<&str> = named
        .map(|line| {
            let (name, says) = line.trim().split_once(' ').unwrap_or((line, ""));
            assert!(!says.trim().is_empty(), "{name} says what it does");
            name
        })
        .collect();
    let expected = "init check plan apply watch get describe status log trash approve suspend resume forget adopt image doctor schema explain man completions";
    assert_eq!(named.join(" "), expected);
    assert!(help.out.contains("order 5, 7, 6, 1, 4, 3 wins"));
    assert!(help.err.is_empty());
}

#[test]
fn version_is_that_of_the_package() {
    Sandbox::new().kiln("--version").ends(0).says(concat!("kiln ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_end_with_2_and_touch_nothing() {
    let sandbox = Sandbox::new();
    for arguments in [
        "",
        "aply",
        "plan --no-such-option",
        "plan a b",
        "get Nothing",
        "get volume volume/db",
        "get nothing,volumes",
        "get volumne/db",
        "get stack",
        "describe",
        "describe stack",
        "describe volume/DB",
        "trash",
        "trash restore",
        "trash restore volume/*",
        "trash purge db",
        "trash purge volume/*",
        "trash purge volume a b",
        "forget db",
        "forget volume/*",
        "log db",
        "forget export/x",
        "forget volume/../x",
        "adopt",
        "adopt fast --from-owner x --write y",
        "adopt fast --from-owner Not-A-Name",
        "schema nothing",
        "completions nothing",
        "get -o toml",
        "get -l a=b,,c",
        "diff",
        "apply --dry-run",
        "explain nothing",
        "explain volume.spec.sice",
        "log -n -1",
        "--log x=y=z log",
        "--state= log",
    ] {
        let ran = sandbox.kiln(arguments).ends(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{arguments}: {ran:?}");
    }
    assert_eq!(sandbox.tree("."), []);
}

#[test]
fn init_makes_what_check_accepts_and_overwrites_nothing() {
    let sandbox = Sandbox::new();
    sandbox.kiln("init").ends(0).says("specs/kiln.yaml");
    sandbox.kiln("check").ends(0).says("3 documents, no problem");
    let before = sandbox.tree("specs");
    sandbox.kiln("init").ends(2).warns("already holds manifests: kiln.yaml").warns("hint: ");
    assert_eq!(sandbox.tree("specs"), before);
    sandbox.kiln("init elsewhere/deep").ends(0);
    let example = |path: &str| std::fs::read_to_string(sandbox.path(path)).unwrap();
    assert_ne!(example("elsewhere/deep/kiln.yaml"), example("specs/kiln.yaml"), "every id is another");
    sandbox.write("third/other.yml", "");
    sandbox.kiln("init third").ends(2).warns("other.yml");
    sandbox.kiln("init help").ends(2).warns("`kiln init ./help`").warns("`kiln init --help` explains");
    assert!(!sandbox.path("help").exists());
    sandbox.kiln("init ./help").ends(0);
}

#[test]
fn init_names_the_lines_to_edit() {
    let sandbox = Sandbox::new();
    let ran = sandbox.kiln("init").ends(0).says("Next: in specs/kiln.yaml, edit the path of the pool (line ");
    let text = std::fs::read_to_string(sandbox.path("specs/kiln.yaml")).unwrap();
    let lines: Vec<usize> =
        ran.out.split("(line ").skip(1).map(|rest| rest.split(')').next().unwrap().parse().unwrap()).collect();
    let named: Vec<&str> = lines.iter().map(|line| text.lines().nth(line - 1).unwrap().trim()).collect();
    assert!(named[0].starts_with("local: {path: ../pool") && named[1].starts_with("size: 1Gi"), "{named:?}");
}

#[test]
fn a_file_in_place_of_a_directory_is_named_with_a_fix() {
    let sandbox = Sandbox::with_stack();
    sandbox.kiln("apply").ends(0);
    sandbox.write("pool/disk.img", &"x".repeat(4096));
    sandbox.write("file", "mine");
    for command in ["init file", "init file/below/it", "adopt fast --write file", "man --all file"] {
        let ran = sandbox.kiln(command).ends(2).warns("error: file exists and is no directory");
        assert!(ran.err.contains("hint: nothing was written: choose another directory"), "{}", ran.err);
    }
    assert_eq!(std::fs::read_to_string(sandbox.path("file")).unwrap(), "mine");
}

#[test]
fn an_error_is_not_followed_by_lines_that_do_not_help() {
    let sandbox = Sandbox::with_stack();
    let ran = sandbox.kiln("get -l a=b,,c").ends(2).warns("a label's key is missing here");
    assert!(ran.err.trim_end().ends_with('^') && !ran.err.contains("For more information"), "{}", ran.err);
    let ran = sandbox.command().args(["get", "-l", "a=b,,c", "--color", "always"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&ran.stderr).contains("For more information"));
    // An unknown option is explained by the help.
    sandbox.kiln("get --frobnicate").ends(2).warns("For more information, try '--help'");
    sandbox.volume("db", "size: 1Gi, colour: red");
    let ran = sandbox.kiln("check").ends(5);
    assert!(ran.err.ends_with("\nerror: the manifests have 1 problem\n"), "{}", ran.err);
}

#[test]
fn a_size_that_is_rounded_up_is_shown_as_it_was_written_and_as_it_becomes() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("odd", "size: 1500M");
    let both = "size: 1500M, rounded up by the backend to 1.40Gi (1500000256 bytes)";
    sandbox.kiln("plan").ends(0).says("create   1500M on fast\n").says(both);
    sandbox.kiln("plan -o markdown").ends(0).says(both);
    sandbox.kiln("apply").ends(0);
    let described = sandbox.kiln("describe volume/odd").ends(0);
    let described = described.says("1.40Gi (1500000256 bytes)").says("1500M (1500000000 bytes)");
    assert!(described.out.contains("  used         0\n"), "{}", described.out);
    assert_eq!(sandbox.kiln("plan").ends(0).out, "Nothing to do.\n");
}

#[test]
fn init_writes_the_schema_for_editors_and_a_gitignore() {
    let sandbox = Sandbox::new();
    let read = |path: &str| std::fs::read_to_string(sandbox.path(path)).unwrap();
    sandbox.kiln("init").ends(0).says("specs/kiln.schema.json").says("Wrote .gitignore");
    assert!(read("specs/kiln.yaml").starts_with("# yaml-language-server: $schema=./kiln.schema.json\n"));
    assert_eq!(read("specs/kiln.schema.json"), sandbox.kiln("schema").ends(0).out);
    assert_eq!(read(".gitignore"), "# The pool and the store of Kiln.\n/pool/\n/state/\n");
    // Git agrees that what a run makes is ignored.
    let git = |arguments: &str| {
        let output = tool("git").args(arguments.split_whitespace()).current_dir(sandbox.path(".")).output().unwrap();
        assert!(output.status.success(), "{arguments}");
        String::from_utf8(output.stdout).unwrap()
    };
    git("init -q");
    sandbox.write("pool/x", "");
    sandbox.write("state/x", "");
    assert_eq!(git("status --porcelain -uall"), "?? .gitignore\n?? specs/kiln.schema.json\n?? specs/kiln.yaml\n");
    // An existing file is not changed; the printed command adds what it lacks.
    sandbox.write(".gitignore", "/state/*");
    let told = sandbox.kiln("init o$(touch${IFS}x)/specs").ends(0).warns(".gitignore exists and was not changed");
    assert_eq!(read(".gitignore"), "/state/*");
    let command = told.err.split('`').nth(1).unwrap();
    let pasted = tool("sh").args(["-c", command]).current_dir(sandbox.path(".")).status();
    assert!(pasted.unwrap().success(), "{command}");
    assert_eq!(read(".gitignore"), "/state/*\n/o$(touch${IFS}x)/pool/\n");
    assert!(!sandbox.has("x"), "the name of a directory was run");
    let again = sandbox.kiln("init o$(touch${IFS}x)/second").ends(0);
    let is_other_stack = again.err.starts_with("note: o$(touch${IFS}x)/specs/kiln.yaml is another Stack: ");
    assert!(is_other_stack && again.err.lines().count() == 1, "nothing is missing: {}", again.err);
}

#[test]
fn check_reports_the_place_of_each_problem() {
    let sandbox = Sandbox::with_stack();
    sandbox.kiln("check").ends(0).says("2 documents, no problem");
    sandbox.volume("a", "sise: 1Gi");
    sandbox.volume("b", "size: lots");
    let ran = sandbox.kiln("check").ends(5).warns("specs/a.yaml:4:").warns("specs/b.yaml:4:").warns("error: ");
    assert!(ran.out.is_empty());
    let json = sandbox.kiln("check -o json").ends(5).json();
    let problems = json["problems"].as_array().unwrap();
    let of = |file: &str, word: &str| {
        let about = |p: &&serde_json::Value| {
            p["file"].as_str().unwrap().ends_with(file) && p["message"].as_str().unwrap().contains(word)
        };
        problems.iter().find(about).unwrap_or_else(|| panic!("{file} about {word}: {json}")).clone()
    };
    let unknown = of("a.yaml", "sise");
    assert_eq!((&unknown["line"], &unknown["column"]), (&json!(4), &json!(23)));
    assert!(unknown["hint"].as_str().unwrap().contains("size"));
    assert_eq!(of("b.yaml", "lots")["line"], 4);
}

#[test]
fn check_of_good_manifests_as_json_has_no_problems() {
    assert_eq!(
        Sandbox::with_stack().kiln("check -o json").ends(0).json(),
        json!({"format": "kiln.check/v1", "problems": []})
    );
}

#[test]
fn specs_come_from_a_file_or_standard_input_too() {
    let sandbox = Sandbox::with_stack();
    sandbox.kiln("check specs/stack.yaml").ends(0);
    let stack = std::fs::read_to_string(sandbox.path("specs/stack.yaml")).unwrap().replace("../pool", "pool");
    sandbox.run("check -", &stack).ends(0).says("2 documents, no problem");
    sandbox.run("check -", "kind: [").ends(5);
    sandbox.run("check -", "").ends(5);
    sandbox.run("check -", &"#".repeat((1 << 20) + 1)).ends(5);
    sandbox.command().args(["check", "-"]).write_stdin(b"\xff\xfe".to_vec()).assert().code(5);
}

#[test]
fn no_manifest_at_all_is_a_problem_for_every_command_that_reads_them() {
    let sandbox = Sandbox::new();
    sandbox.write("empty/note.txt", "no manifest");
    for specs in ["empty", "missing"] {
        for command in ["check", "plan", "apply"] {
            sandbox.kiln(&format!("{command} {specs}")).ends(5).warns("error: ");
        }
        for command in ["get", "describe volume/db", "trash list", "trash purge", "forget volume/db"] {
            sandbox.kiln(&format!("{command} --specs {specs}")).ends(5).warns("error: ");
        }
    }
    assert!(!sandbox.has("state"), "nothing was opened");
}

#[test]
fn text_of_manifests_cannot_steer_the_terminal() {
    let sandbox = Sandbox::with_stack();
    sandbox.write(
        "specs/evil.yaml",
        "apiVersion: kiln/v1\nkind: \"Vol\\e[2Jume\\u202e\"\nmetadata: {name: x}\nspec: {}\n",
    );
    let ran = sandbox.kiln("check").ends(5);
    assert!(!ran.err.contains(['\u{1b}', '\u{202e}']), "{:?}", ran.err);
}

#[test]
fn a_schema_is_there_for_all_kinds_and_for_each() {
    let sandbox = Sandbox::new();
    assert!(sandbox.kiln("schema").ends(0).json().is_object());
    let all: Vec<String> = ["stack", "backend", "volume", "snapshot", "target", "export", "approval"]
        .iter()
        .map(|kind| {
            let ran = sandbox.kiln(&format!("schema {kind}")).ends(0);
            assert!(ran.json().is_object());
            ran.out
        })
        .collect();
    assert!(all[2].contains("onRemove"));
    assert!(all.iter().enumerate().all(|(index, schema)| !all[..index].contains(schema)), "no two are the same");
}

#[test]
fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        Sandbox::new().kiln(&format!("completions {shell}")).ends(0).says("detailed-exitcode");
    }
}

#[test]
fn a_log_without_a_store_is_empty_and_makes_none() {
    let sandbox = Sandbox::new();
    sandbox.kiln("log").ends(0).says("No steps recorded.");
    assert_eq!(sandbox.kiln("log -o json").ends(0).json(), json!([]));
    assert!(!sandbox.has("state"));
}

#[test]
fn a_store_that_a_living_process_holds_ends_writers_with_7_and_names_it() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    let held = kiln::store::open(&sandbox.path("state"), 1_795_305_600).unwrap();
    let pid = format!("process {}", std::process::id());
    for command in [
        "apply",
        "apply --yes",
        "trash restore volume/db",
        "trash purge --yes",
        "forget volume/db",
        "adopt fast --from-owner x",
        "log",
    ] {
        sandbox.kiln(command).ends(7).warns(&pid).warns("hint: ");
    }
    assert!(!sandbox.has("pool"), "nothing was done");
    drop(held);
    // A process that another test is just starting has a copy of the lock's descriptor until its exec: the lock is let go with the
    // last of them.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while sandbox.kiln("log").code == 7 {
        assert!(std::time::Instant::now() < patience, "the lock was never let go");
    }
    sandbox.kiln("log").ends(0);
}

#[test]
fn a_store_that_cannot_be_a_directory_ends_with_7() {
    let sandbox = Sandbox::with_stack();
    sandbox.write("file", "");
    sandbox.kiln("apply --state file").ends(7).warns("file").warns("hint: ");
    sandbox.kiln("apply --state file/below").ends(7);
    assert!(!sandbox.has("pool"), "nothing was done");
}

#[test]
fn colour_is_a_choice() {
    let sandbox = Sandbox::new();
    let painted = |arguments: &str| sandbox.kiln(arguments).ends(5).err.contains('\u{1b}');
    assert!(painted("check --color always"));
    assert!(!painted("check --color never"));
    assert!(!painted("check"), "standard error is no terminal here");
}

#[test]
fn a_reader_that_left_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = run_with_stdout(Stdio::from(writer));
    assert_eq!(ran.status.code(), Some(0));
    assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn data_that_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = run_with_stdout(Stdio::from(full));
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("stdout cannot be written"));
}

fn run_with_stdout(stdout: Stdio) -> std::process::Output {
    #[expect(clippy::disallowed_methods, reason = "the program under test, with a standard output of our choice")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"));
    command
        .args(["completions", "bash"])
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

#[test]
fn places_come_from_the_environment_too_and_options_are_stronger() {
    let sandbox = Sandbox::with_stack();
    std::fs::rename(sandbox.path("specs"), sandbox.path("declared")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command();
        command
            .env("KILN_SPECS", "declared")
            .env("KILN_STATE", "remembered")
            .args(arguments)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(run(&["check"]), Some(0));
    assert_eq!(run(&["get"]), Some(0));
    assert_eq!(run(&["check", "specs"]), Some(5));
    assert_eq!(run(&["get", "--specs", "specs"]), Some(5));
    assert_eq!(run(&["apply"]), Some(0));
    assert!(sandbox.has("remembered") && !sandbox.has("state"));
    assert_eq!(run(&["--state", "other", "apply"]), Some(0));
    assert!(sandbox.has("other"));
}
