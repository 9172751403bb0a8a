//! The question of `apply`, at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::sandbox::{STACK, Sandbox};
use crate::signals::{send, start};

/// Starts `kiln` at a terminal. Returns it, and the side of the terminal at which a person sits.
fn start_at_a_terminal(sandbox: &Sandbox, arguments: &str) -> (Child, File) {
    start_with_stdout(sandbox, arguments, None)
}

/// Likewise, with stdout in a file.
fn start_with_stdout(sandbox: &Sandbox, arguments: &str, stdout: Option<File>) -> (Child, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let terminal = openpt(flags).map(File::from).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let end = File::from(rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
    let stream = || Stdio::from(end.try_clone().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the program under test, at a terminal")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(arguments.split_whitespace()).current_dir(sandbox.path(""));
    command.env_remove("KILN_STATE").env_remove("KILN_SPECS").env("NO_COLOR", "1");
    let stdout = stdout.map_or_else(stream, Stdio::from);
    let child = command.stdin(stream()).stdout(stdout).stderr(stream()).spawn().unwrap();
    (child, terminal)
}

/// Reads what a terminal shows until it shows a text; without one, all.
fn shown_until(terminal: &mut File, text: Option<&str>) -> String {
    let mut shown = Vec::new();
    let mut part = [0; 4096];
    let read = |shown: &[u8]| String::from_utf8_lossy(shown).replace('\r', "");
    // A terminal whose other end is closed cannot be read.
    while !text.is_some_and(|text| read(&shown).contains(text))
        && let Ok(count @ 1..) = terminal.read(&mut part)
    {
        shown.extend_from_slice(&part[..count]);
    }
    read(&shown)
}

/// Runs `kiln` at a terminal that `answer` was typed into. Returns the exit code and all that the terminal shows.
fn at_a_terminal(sandbox: &Sandbox, arguments: &str, answer: &str) -> (i32, String) {
    let (mut child, mut terminal) = start_at_a_terminal(sandbox, arguments);
    // The terminal keeps what is typed until it is read.
    terminal.write_all(format!("{answer}\n").as_bytes()).unwrap();
    let shown = shown_until(&mut terminal, None);
    (child.wait().unwrap().code().unwrap(), shown)
}

fn names(trees: &[Vec<(PathBuf, Vec<u8>)>]) -> Vec<&PathBuf> {
    trees.iter().flatten().map(|(path, _)| path).collect()
}

/// One volume to grow, and one to destroy; and one on another pool.
fn with_a_step_that_cannot_be_undone() -> Sandbox {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.write(
        "specs/sim.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: sim}\nspec: {driver: sim, sim: {path: ../simulated/pool}}\n\
         ---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {name: other}\nspec: {backend: sim, size: 1Mi}\n",
    );
    sandbox.volume("gone", "size: 1Mi, onRemove: Delete");
    sandbox.kiln("apply").ends(0);
    sandbox.volume("db", "size: 2Mi");
    sandbox.remove("specs/gone.yaml");
    sandbox
}

#[test]
fn no_to_the_question_executes_nothing_at_all() {
    let sandbox = with_a_step_that_cannot_be_undone();
    let files = || ["pool", "state", "simulated"].map(|tree| sandbox.tree(tree));
    let before = files();
    assert!(before.iter().all(|tree| !tree.is_empty()), "there is a pool, a store and a simulated pool");
    let digest = sandbox.kiln("plan -o json").json()["approval"].as_str().unwrap().to_owned();
    for answer in ["no", "y", ""] {
        let (code, shown) = at_a_terminal(&sandbox, "apply", answer);
        assert_eq!(code, 4, "{shown}");
        let (plan, rest) = shown.split_once("Execute this plan?").unwrap_or_else(|| panic!("no question: {shown}"));
        assert!(plan.contains("grow to 2Mi") && plan.contains("Plan: 1 to update, 1 to destroy"), "{shown}");
        assert!(plan.contains("1 step cannot be undone: destroy volume/gone."), "{shown}");
        assert!(!plan.contains(&digest) && !plan.contains("Waiting for approval"), "the answer decides: {shown}");
        assert!(rest.contains("the plan was not confirmed; nothing was changed"), "{shown}");
        assert_eq!(names(&files()), names(&before));
        assert!(files() == before, "a pool or the store was changed");
    }
    // Of a Stack that nothing has been written for, neither.
    sandbox.write("other/stack.yaml", &STACK.replace("prod", "other").replace("5c1d2e8a90", "ab23456789"));
    let own = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: own}\nspec: {backend: fast, size: 1Mi}\n";
    sandbox.write("other/own.yaml", own);
    let (code, shown) = at_a_terminal(&sandbox, "apply other --ask", "no");
    assert!(code == 4 && shown.contains("Execute this plan?"), "{shown}");
    assert_eq!(names(&files()), names(&before));
    assert!(files() == before, "a pool or the store was changed");
    let (code, shown) = at_a_terminal(&sandbox, "apply", "yes");
    assert_eq!(code, 0, "{shown}");
    assert_eq!(shown.matches("Steps:").count(), 1, "the plan is shown once: {shown}");
    assert!(shown.contains("grew volume/db") && shown.contains("destroyed volume/gone"), "{shown}");
}

#[test]
fn while_a_question_is_open_others_read_the_store_and_no_one_writes() {
    let sandbox = with_a_step_that_cannot_be_undone();
    let simulated = std::fs::read_to_string(sandbox.path("specs/sim.yaml")).unwrap().replace("1Mi", "2Mi");
    sandbox.write("specs/sim.yaml", &simulated);
    let question = "any other answer changes nothing: ";
    let (mut child, mut terminal) = start_at_a_terminal(&sandbox, "apply");
    let asked = shown_until(&mut terminal, Some(question));
    assert!(asked.ends_with(question), "{asked}");
    assert_eq!(sandbox.kiln("log").ends(0).err, "");
    assert!(sandbox.kiln("log").ends(0).out.contains("volume/gone"));
    assert_eq!(sandbox.kiln("get volume/db").ends(0).err, "");
    // The lock of the pool is held, and its holder is found although it has not written its name.
    let refused = sandbox.kiln("apply --yes").ends(4).says("OtherWriter");
    let pid = child.id();
    assert!(refused.out.contains(&format!("pid {pid} on ")), "{}", refused.out);
    assert!(refused.out.contains(&format!("process {pid} is writing")), "{}", refused.out);
    terminal.write_all(b"yes\n").unwrap();
    let shown = shown_until(&mut terminal, None);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{shown}");
    assert!(shown.contains("destroyed volume/gone"), "{shown}");
}

#[test]
fn a_store_that_changed_during_the_question_is_not_written_to() {
    let sandbox = with_a_step_that_cannot_be_undone();
    let pool = sandbox.tree("pool");
    let (mut child, mut terminal) = start_at_a_terminal(&sandbox, "apply");
    let asked = shown_until(&mut terminal, Some("any other answer changes nothing: "));
    // Another Stack with the same store.
    let other = [("prod", "other"), ("5c1d2e8a90", "ab23456789"), ("../pool", "../pool2"), ("fast", "slow")];
    let stack = other.into_iter().fold(STACK.to_owned(), |stack, (from, to)| stack.replace(from, to));
    sandbox.write("elsewhere/stack.yaml", &stack);
    let own = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: own}\nspec: {backend: slow, size: 1Mi}\n";
    sandbox.write("elsewhere/own.yaml", own);
    sandbox.kiln("apply elsewhere").ends(0);
    terminal.write_all(b"yes\n").unwrap();
    let shown = asked + &shown_until(&mut terminal, None);
    assert_eq!(child.wait().unwrap().code(), Some(7), "{shown}");
    assert!(shown.contains("is not as it was when the plan was made; this run changed nothing"), "{shown}");
    assert!(sandbox.tree("pool") == pool, "the pool was changed");
    let (code, shown) = at_a_terminal(&sandbox, "apply", "yes");
    assert_eq!(code, 0, "{shown}");
}

/// Where ledgers announce what is created, an announcement without its intent would be held as begun.
#[test]
fn a_store_that_changed_during_the_question_leaves_ledgers_as_they_were() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    let sim = "spec: {driver: sim, sim: {path: ../simulated/pool, mode: {absence: ByLedger}}}";
    let volume = |name: &str| {
        format!(
            "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: sim, size: 1Mi}}\n"
        )
    };
    let backend = format!("apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: sim}}\n{sim}\n");
    sandbox.write("specs/sim.yaml", &(backend.clone() + &volume("first")));
    sandbox.kiln("apply").ends(0);
    sandbox.write("specs/sim.yaml", &(backend + &volume("first") + &volume("second")));
    sandbox.volume("more", "size: 1Mi");
    let (mut child, mut terminal) = start_at_a_terminal(&sandbox, "apply --ask");
    let asked = shown_until(&mut terminal, Some("any other answer changes nothing: "));
    sandbox.kiln("suspend volume/db --reason maintenance").ends(0);
    let files = || ["pool", "simulated"].map(|tree| sandbox.tree(tree));
    let before = files();
    terminal.write_all(b"yes\n").unwrap();
    let shown = asked + &shown_until(&mut terminal, None);
    assert_eq!(child.wait().unwrap().code(), Some(7), "{shown}");
    assert!(shown.contains("is not as it was when the plan was made"), "{shown}");
    assert!(shown.contains("run the command again"), "{shown}");
    assert!(files() == before, "a pool was changed: {shown}");
    sandbox.kiln("resume volume/db").ends(0);
    sandbox.kiln("apply").ends(0);
}

#[test]
fn no_digest_is_shown_that_the_run_changes() {
    let sandbox = Sandbox::with_volumes(&["a", "b", "keep", "db"]);
    sandbox.write("specs/stack.yaml", &STACK.replace("}\n---", ", safety: {maxRemovals: 1}}\n---"));
    sandbox.snapshot("monday", "volume: db");
    sandbox.kiln("apply").ends(0);
    sandbox.volume("db", "size: 1Mi, restore: {snapshot: monday, request: one}");
    ["a", "b"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    let approval = || sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    let before = approval();
    let (_, shown) = at_a_terminal(&sandbox, "apply", "no");
    assert!(!shown.contains(&before) && shown.contains("Waiting for approval after this run: 2 steps."), "{shown}");
    let lines = sandbox.kiln("apply --yes -o json").ends(4).out;
    let summary: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(summary["held"][0]["fix"], "`kiln plan` shows what approves it after this run", "{lines}");
    assert_ne!(approval(), before);
    // What is not changed is shown.
    let (_, shown) = at_a_terminal(&sandbox, "apply", "yes");
    assert!(shown.contains(&format!("fix: `kiln approve {}` approves all 2 steps that wait", approval())), "{shown}");
}

#[test]
fn the_plan_is_shown_where_the_question_is_asked() {
    let sandbox = with_a_step_that_cannot_be_undone();
    let file = File::create(sandbox.path("out.txt")).unwrap();
    let (mut child, mut terminal) = start_with_stdout(&sandbox, "apply", Some(file));
    terminal.write_all(b"no\n").unwrap();
    let shown = shown_until(&mut terminal, None);
    assert_eq!(child.wait().unwrap().code(), Some(4), "{shown}");
    let (plan, _) = shown.split_once("Execute this plan?").unwrap_or_else(|| panic!("no question: {shown}"));
    assert!(plan.contains("grow to 2Mi") && plan.contains("Plan: 1 to update, 1 to destroy"), "{shown}");
    assert!(std::fs::read_to_string(sandbox.path("out.txt")).unwrap().contains("Plan: 1 to update, 1 to destroy"));
}

#[test]
fn without_a_terminal_the_steps_that_need_confirmation_are_held_and_the_others_run() {
    let sandbox = with_a_step_that_cannot_be_undone();
    let ran = sandbox.kiln("apply").ends(4).says("NeedsConfirmation").says("grew volume/db");
    assert!(!ran.err.contains("Execute this plan?"), "{}", ran.err);
    assert_eq!(sandbox.kiln("plan -o json").json()["summary"]["destroy"], 1);
}

#[test]
fn apply_ask_asks_before_reversible_steps_too() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    let (code, shown) = at_a_terminal(&sandbox, "apply --ask", "no");
    assert_eq!(code, 4, "{shown}");
    assert!(shown.contains("1Mi on fast") && !shown.contains("cannot be undone"), "{shown}");
    let created = || sandbox.kiln("get volume/db -o json").json()[0]["status"]["object"].is_string();
    assert!(!created());
    assert!(!sandbox.has("state") && !sandbox.has("pool"), "a run that was not confirmed leaves nothing");
    let (code, shown) = at_a_terminal(&sandbox, "apply --ask", "yes");
    assert_eq!(code, 0, "{shown}");
    assert!(created() && sandbox.has("state/db"));
    assert_eq!(shown.matches("a new store was made").count(), 1, "{shown}");
    sandbox.kiln("log").ends(0).says("volume/db");
    // Without a step there is no question.
    let (code, shown) = at_a_terminal(&sandbox, "apply --ask", "no");
    assert!(code == 0 && shown.contains("Nothing to do.") && !shown.contains("Execute"), "{code}: {shown}");
}

#[test]
fn what_follows_an_unanswered_question_begins_a_line() {
    let apply = ("apply", "any other answer changes nothing: ", "the plan was not confirmed");
    let purge = ("trash purge volume/trashed", "Only `yes` is accepted: ", "nothing was purged");
    for ((arguments, question, end), is_interrupted, expected) in
        [(apply, true, 4), (apply, false, 4), (purge, false, 4)]
    {
        let sandbox = Sandbox::with_stack();
        sandbox.volume("db", "size: 1Mi");
        sandbox.volume("gone", "size: 1Mi, onRemove: Delete");
        sandbox.volume("trashed", "size: 1Mi");
        sandbox.kiln("apply").ends(0);
        sandbox.remove("specs/trashed.yaml");
        sandbox.kiln("apply").ends(0);
        sandbox.remove("specs/gone.yaml");
        let files = || ["pool", "state"].map(|tree| sandbox.tree(tree));
        let before = files();
        let (mut child, mut terminal) = start_at_a_terminal(&sandbox, arguments);
        let asked = shown_until(&mut terminal, Some(question));
        match is_interrupted {
            true => send(&child, Signal::INT),
            // The end of the input, as Ctrl-D types it.
            false => terminal.write_all(b"\x04").unwrap(),
        }
        let shown = asked + &shown_until(&mut terminal, None);
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{shown}");
        let after = shown.split_once(question).unwrap_or_else(|| panic!("no question: {shown}")).1;
        assert!(after.starts_with('\n') && after.contains(end), "{shown}");
        assert!(!after.contains("stopping") && !after.contains("Ctrl-C again"), "nothing ran: {shown}");
        assert!(!after.trim_start_matches('\n').contains("\n\n"), "one line feed ends the question: {shown}");
        assert_eq!(names(&files()), names(&before));
        assert!(files() == before, "the pool or the store was changed");
    }
}

#[test]
fn apply_ask_without_a_terminal_is_a_usage_error() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("apply --ask").ends(2).warns("--ask needs a terminal").warns("`kiln plan --out FILE`");
    sandbox.kiln("apply --ask --yes").ends(2).warns("cannot be used with");
    assert!(!sandbox.has("state") && !sandbox.has("pool"));
}

#[test]
fn no_to_the_question_executes_nothing_through_the_daemon_either() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.snapshot("monday", "volume: db");
    sandbox.kiln("apply").ends(0);
    sandbox.write_data("db");
    let mut daemon = start(&sandbox, &["watch"]);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !sandbox.kiln("status -o json").out.contains("\"uptimeSeconds\"") {
        assert!(std::time::Instant::now() < patience, "the daemon does not answer");
    }
    sandbox.volume("db", "size: 1Mi, restore: {snapshot: monday, request: one}");
    let (code, shown) = at_a_terminal(&sandbox, "apply", "no");
    assert_eq!(code, 4, "{shown}");
    assert!(shown.contains("1 step cannot be undone: update volume/db."), "{shown}");
    assert!(sandbox.holds_data("db"), "it was restored");
    let (code, shown) = at_a_terminal(&sandbox, "apply", "yes");
    assert_eq!(code, 0, "{shown}");
    assert!(!sandbox.holds_data("db"), "it was not restored");
    send(&daemon, Signal::TERM);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}
