//! What a document tells a reader to type, typed.

use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;

/// A command as the document has it. A comment `exit N` behind it says how it ends, else it succeeds.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) command: String,
    pub(crate) exit: i32,
}

/// The shell blocks of the sections whose headings are wanted. What stands before the first heading is under "".
pub(crate) fn blocks(document: &str, wanted: impl Fn(&str) -> bool) -> Vec<Vec<Line>> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<Line>> = None;
    let mut heading = "";
    for line in document.lines() {
        match (&mut open, line) {
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), _) => {
                let (command, comment) = line.split_once(" #").unwrap_or((line, ""));
                let exit = comment.split_once("exit ").map_or(0, |(_, code)| {
                    let code = code.split(|c: char| !c.is_ascii_digit()).next();
                    code.and_then(|code| code.parse().ok()).expect("a number follows `exit`")
                });
                block.push(Line { command: command.trim().to_owned(), exit });
            }
            (None, "```sh") if wanted(heading) => open = Some(Vec::new()),
            (None, _) => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    blocks
}

/// Runs a command as a shell does, in a directory and with `kiln` on the path, and returns what it printed.
pub(crate) fn run(dir: &Path, command: &str, exit: i32) -> String {
    let kiln = Path::new(env!("CARGO_BIN_EXE_kiln"));
    let output = Command::new("bash")
        .args(["-c", &format!("PATH=\"$0:$PATH\"; {command}")])
        .arg(kiln.parent().expect("the binary is in a directory"))
        .current_dir(dir)
        .env_remove("KILN_STATE")
        .env_remove("KILN_SPECS")
        .env_remove("KILN_CONFIG")
        // Far more than any of them takes: a hang is a failure, not a wait.
        .timeout(Duration::from_secs(60))
        .output()
        .expect("bash runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{command}\n--- stdout\n{out}\n--- stderr\n{err}");
    out.into_owned()
}

#[test]
fn commands_are_read_as_written() {
    let document =
        "## A\n```sh\nno\n```\n## B\ntext\n```sh\nkiln plan   # exit 4: held\nkiln apply\n```\n```yaml\nno: 1\n```\n";
    let line = |command: &str, exit| Line { command: command.to_owned(), exit };
    assert_eq!(blocks(document, |heading| heading == "B"), [vec![line("kiln plan", 4), line("kiln apply", 0)]]);
}
