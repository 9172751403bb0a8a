//! Output on a terminal: every line fits it, no word is broken, and nothing of what changes while Kiln works is left.

use std::io::{BufReader, Read, Write};
use std::process::{ChildStdin, Stdio};

use crate::sandbox::Sandbox;

/// What a terminal shows at the end.
struct Screen {
    /// Its lines, from the first that was ever written.
    lines: Vec<String>,
    /// Those that the terminal itself broke, because they are longer than it is wide.
    too_long: Vec<String>,
    /// All bytes that it received.
    received: String,
    code: i32,
}

impl Screen {
    /// Interprets the sequences that Kiln writes, on a terminal of `columns`.
    fn new(received: String, columns: usize, code: i32) -> Self {
        let (mut lines, mut broken) = (vec![Vec::new()], Vec::new());
        let (mut row, mut column) = (0, 0);
        let mut chars = received.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => column = 0,
                '\n' => {
                    row += 1;
                    if row == lines.len() {
                        lines.push(Vec::new());
                    }
                }
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['), "{received:?}");
                    let sequence: String = chars.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    // `take_while` took the letter, which follows the number.
                    let at = received.len() - chars.as_str().len();
                    let count = sequence.parse().unwrap_or(1);
                    match received[..at].chars().last().unwrap() {
                        'A' => row = row.saturating_sub(count),
                        'B' => row = (row + count).min(lines.len() - 1),
                        'K' if sequence == "2" => lines[row].clear(),
                        'K' => lines[row].truncate(column),
                        'm' => {}
                        other => panic!("an unknown sequence ends with {other:?}: {received:?}"),
                    }
                }
                c => {
                    if column == columns {
                        (row, column) = (row + 1, 0);
                        broken.push(row);
                        if row == lines.len() {
                            lines.push(Vec::new());
                        }
                    }
                    let line = &mut lines[row];
                    line.resize(line.len().max(column + 1), ' ');
                    line[column] = c;
                    column += 1;
                }
            }
        }
        // What the terminal broke is one line for who copies it.
        let mut whole: Vec<String> = Vec::new();
        let mut too_long = Vec::new();
        for (row, line) in lines.into_iter().enumerate() {
            let line: String = line.into_iter().collect();
            match whole.last_mut() {
                Some(begin) if broken.contains(&row) => {
                    begin.push_str(&line);
                    too_long.push(begin.clone());
                }
                _ => whole.push(line.trim_end().to_owned()),
            }
        }
        Self { lines: whole, too_long, received, code }
    }

    fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// A command at a terminal.
struct AtTerminal {
    child: std::process::Child,
    columns: usize,
}

impl AtTerminal {
    /// `script` gives its child a terminal. (util-linux; Debian has it always.)
    fn start(sandbox: &Sandbox, columns: usize, variables: &[(&str, &str)], arguments: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the program under test, on a terminal")]
        let mut script = std::process::Command::new("script");
        let command = format!("stty cols {columns} rows 50; exec {} {arguments}", env!("CARGO_BIN_EXE_kiln"));
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).current_dir(sandbox.path(""));
        for variable in ["KILN_STATE", "KILN_SPECS", "KILN_CONFIG", "NO_COLOR", "CLICOLOR_FORCE", "LC_CTYPE", "LANG"] {
            script.env_remove(variable);
        }
        script.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").envs(variables.iter().copied());
        let child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, columns }
    }

    fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Reads until the terminal has received a text, and returns all until then.
    fn read_until(&mut self, text: &str) -> Vec<u8> {
        let out = self.child.stdout.as_mut().unwrap();
        let (mut received, mut byte) = (Vec::new(), [0]);
        while !received.ends_with(text.as_bytes()) {
            assert_eq!(out.read(&mut byte).unwrap(), 1, "no {text:?} in {}", String::from_utf8_lossy(&received));
            received.push(byte[0]);
        }
        received
    }

    fn end(mut self, mut received: Vec<u8>) -> Screen {
        BufReader::new(self.child.stdout.take().unwrap()).read_to_end(&mut received).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        Screen::new(String::from_utf8(received).unwrap(), self.columns, code)
    }
}

fn screen(sandbox: &Sandbox, columns: usize, variables: &[(&str, &str)], arguments: &str) -> Screen {
    AtTerminal::start(sandbox, columns, variables, arguments).end(Vec::new())
}

/// The words of a text. Numbers may change between two runs.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> =
        text.split_whitespace().map(|word| word.replace(|c: char| c.is_ascii_digit(), "0")).collect();
    words.iter_mut().for_each(|word| {
        while word.contains("00") {
            *word = word.replace("00", "0");
        }
    });
    words.sort();
    words
}

/// The words that are beyond those of another list, as often as they are.
fn beyond(words: &[String], others: &[String]) -> Vec<String> {
    let mut rest = others.to_vec();
    let is_beyond = |word: &&String| match rest.iter().position(|other| other == *word) {
        Some(at) => {
            rest.swap_remove(at);
            false
        }
        None => true,
    };
    words.iter().filter(is_beyond).cloned().collect()
}

/// Whether a word may be missing or repeated on a terminal: the heading of a column, and what stands for no text.
fn is_of_a_table(word: &str) -> bool {
    word == "-" || word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Objects with long names, long messages and long labels, in every condition.
fn crowded() -> Sandbox {
    let sandbox = Sandbox::with_stack();
    sandbox.write(
        "specs/slow.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: archive-of-the-other-site}\n\
         spec: {driver: local, local: {path: ../not-mounted}}\n",
    );
    sandbox.write(
        "specs/far.yaml",
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: far}\n\
         spec: {backend: archive-of-the-other-site, size: 1500M}\n",
    );
    sandbox.volume("payments-postgres-primary-replica-2-in-zone-b", "size: 1500Mi, protected: true");
    sandbox.volume("metrics", "size: 3Mi");
    sandbox.volume("cache", "size: 1Mi");
    sandbox.snapshot("metrics-before-the-migration-to-the-new-cluster", "volume: metrics");
    sandbox.kiln("apply").ends(6);
    sandbox.volume("metrics", "size: 2Mi");
    sandbox.volume("new", "size: 4Mi");
    sandbox.remove("specs/payments-postgres-primary-replica-2-in-zone-b.yaml");
    sandbox.remove("specs/cache.yaml");
    sandbox
}

const COMMANDS: [&str; 18] = [
    "plan",
    "get",
    "get -o wide",
    "get -o name",
    "get backends",
    "describe volume/payments-postgres-primary-replica-2-in-zone-b",
    "describe volume/metrics",
    "status",
    "doctor",
    "log",
    "trash list",
    "adopt fast",
    "explain",
    "explain volume.spec",
    "explain backend.spec",
    "check",
    "describe nonsense/of-a-kind-that-does-not-exist",
    "get volume/that-does-not-exist-anywhere",
];

#[test]
fn at_any_width_every_line_fits_and_no_word_is_broken() {
    let sandbox = crowded();
    let on_a_pipe = COMMANDS.map(|command| sandbox.kiln(command));
    for columns in [60, 80, 120] {
        for (command, on_a_pipe) in COMMANDS.iter().zip(&on_a_pipe) {
            let screen = screen(&sandbox, columns, &[], command);
            let text = screen.text();
            assert_eq!(screen.code, on_a_pipe.code, "{command}: {text}");
            let piped = format!("{}{}", on_a_pipe.out, on_a_pipe.err);
            let (shown, meant) = (words(&text), words(&piped));
            // What is part of a path is not repeated, nor is the described object in its history.
            let is_told = |word: &String| {
                is_of_a_table(word)
                    || command.ends_with("-o wide") && ["AsDeclared", "Observed"].contains(&word.as_str())
                    || shown.iter().any(|other| other != word && other.contains(word.as_str()))
                    || command.starts_with("describe ") && shown.contains(word)
            };
            let lost: Vec<String> = beyond(&meant, &shown).into_iter().filter(|word| !is_told(word)).collect();
            let added: Vec<String> = beyond(&shown, &meant).into_iter().filter(|word| !is_of_a_table(word)).collect();
            assert!(
                lost.is_empty() && added.is_empty(),
                "{command} at {columns} columns has no {lost:?}, and more {added:?}:\n{text}"
            );
            for line in &screen.too_long {
                // What is copied is whole: a path or a native name is on a line of its own, or beside the name of its field.
                let words = line.split_whitespace().count();
                assert!(words <= 2, "{command} at {columns} columns: {line:?}\n{text}");
            }
        }
    }
}

#[test]
fn log_lines_are_broken_between_words_except_those_for_programs() {
    let sandbox = crowded();
    let text = screen(&sandbox, 60, &[], "plan --log debug");
    assert!(text.lines.iter().filter(|line| line.contains(" DEBUG")).count() > 1, "{}", text.text());
    for line in &text.too_long {
        assert!(line.split_whitespace().count() <= 2, "{line:?}\n{}", text.text());
    }
    let json = screen(&sandbox, 60, &[], "plan --log debug --log-format json");
    let lines: Vec<&String> = json.lines.iter().filter(|line| line.starts_with('{')).collect();
    assert!(lines.len() > 1, "{}", json.text());
    for line in lines {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn tables_at_80_columns_have_one_heading_above_aligned_columns() {
    let sandbox = Sandbox::with_stack();
    let long = "n".repeat(63);
    for name in ["db", "web", "logs", &long] {
        sandbox.volume(name, "size: 1Mi");
    }
    let applied = screen(&sandbox, 80, &[], "apply").lines;
    let path = applied.iter().position(|line| line == "volume/db").expect("a row of the new volumes") + 1;
    assert!(applied[path].starts_with("    PATH /"), "{applied:#?}");
    let lines_of = |command: &str| screen(&sandbox, 80, &[], command).lines;
    let wide = lines_of("get -o wide volumes");
    let heading = "NAME         BACKEND  SIZE  USED  CONDITION  PROTECTED  ONREMOVE";
    assert!(wide[0].split_whitespace().eq(heading.split_whitespace()), "{wide:#?}");
    let column = |name: &str| wide[0].find(name).unwrap();
    let row = wide.iter().position(|line| line.starts_with("volume/db ")).unwrap();
    assert_eq!(wide[row].find("Settled"), Some(column("CONDITION")), "{wide:#?}");
    assert_eq!(wide[row].find("Trash"), Some(column("ONREMOVE")), "{wide:#?}");
    assert!(wide[row + 1].starts_with("    PATH ") && wide[row + 1].ends_with(".img"), "{wide:#?}");
    assert!(wide[row + 2].starts_with("volume/"), "two lines for an object: {wide:#?}");
    // A pipe gets every column, and one line for each object.
    let piped = sandbox.kiln("get -o wide volumes").ends(0).out;
    let mut piped = piped.lines();
    let columns = "NAME BACKEND SIZE USED AGE PROTECTED ONREMOVE UID OBJECT PATH LABELS CONDITION REASON MESSAGE";
    assert!(piped.next().unwrap().split_whitespace().eq(columns.split(' ')));
    assert_eq!(piped.count(), 4);
    let log = lines_of("log");
    assert!(log[0].starts_with("TIME ") && log[0].contains("  OBJECT ") && log[0].contains("OUTCOME"), "{log:#?}");
    let rows: Vec<&String> = log.iter().filter(|line| line.contains("volume/db ")).collect();
    assert_eq!(rows.len(), 1, "{log:#?}");
    assert_eq!(rows[0].find("volume/db "), log[0].find("OBJECT"), "{log:#?}");
    assert_eq!(rows[0].find("changed"), log[0].find("OUTCOME"), "{log:#?}");
    assert_eq!(rows[0].find("create 1Mi"), log[0].find("DETAIL"), "{log:#?}");
    assert!(log.iter().any(|line| line.starts_with("    REVISION ")), "{log:#?}");
}

#[test]
fn help_fits_the_terminal() {
    let sandbox = Sandbox::with_stack();
    for command in ["--help", "apply --help", "watch --help", "trash --help", "image export --help"] {
        let screen = screen(&sandbox, 80, &[], command);
        assert_eq!((screen.code, screen.too_long.as_slice()), (0, &[][..]), "{}", screen.text());
    }
}

#[test]
fn colours_follow_the_flag_then_no_color_then_clicolor_force_then_the_terminal() {
    let sandbox = crowded();
    let colours = |text: &str| {
        text.split("\u{1b}[")
            .skip(1)
            .filter(|rest| {
                rest.split('m')
                    .next()
                    .is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'))
            })
            .count()
    };
    for (variables, flag, coloured) in [
        (&[][..], "", true),
        (&[("NO_COLOR", "1")][..], "", false),
        (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")][..], "", false),
        (&[("NO_COLOR", "1")][..], " --color always", true),
        (&[][..], " --color never", false),
        (&[("TERM", "dumb")][..], "", false),
    ] {
        for command in
            ["get", "plan", "doctor", "status", "describe volume/metrics", "apply --help", "get volume/nothing"]
        {
            let screen = screen(&sandbox, 80, variables, &format!("{command}{flag}"));
            assert_eq!(colours(&screen.received) > 0, coloured, "{command}{flag} {variables:?}: {:?}", screen.received);
        }
    }
    for (variable, flag, coloured) in [
        ("CLICOLOR_FORCE", "", true),
        ("NO_COLOR", "", false),
        ("NONE", "", false),
        ("NO_COLOR", "--color=always", true),
    ] {
        let ran = sandbox
            .command()
            .env_remove("CLICOLOR_FORCE")
            .env(variable, "1")
            .args(["get", flag].iter().filter(|text| !text.is_empty()))
            .output()
            .unwrap();
        let out = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(colours(&out) > 0, coloured, "{variable} {flag}: {out:?}");
        let longest = out.lines().map(str::len).max().unwrap();
        assert!(longest > 120, "a pipe has no width: {out}");
    }
}

#[test]
fn without_utf8_kiln_writes_ascii_and_leaves_the_text_of_users_alone() {
    let sandbox = crowded();
    sandbox.volume("cache", "size: 2Mi");
    sandbox.write("specs/broken.yaml", "apiVersion: kiln/v1\nkind: Volume\nmetadata: nothing\n");
    for command in ["check", "apply --help", "explain volume.spec.size", "explain backend.spec.driver"] {
        let ascii = screen(&sandbox, 80, &[("LC_ALL", "C")], command);
        assert!(ascii.received.is_ascii(), "{command}: {:?}", ascii.received);
    }
    sandbox.remove("specs/broken.yaml");
    let ascii = screen(&sandbox, 80, &[("LC_ALL", "POSIX")], "plan");
    assert!(ascii.received.is_ascii() && ascii.text().contains("size: 1Mi -> 2Mi"), "{}", ascii.text());
    let utf8 = screen(&sandbox, 80, &[("LC_ALL", ""), ("LANG", "C.UTF-8")], "plan");
    assert!(utf8.text().contains("size: 1Mi → 2Mi"), "{}", utf8.text());
    sandbox.write(
        "specs/cache.yaml",
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: cache, labels: {team: 'Zürich → Köln'}}\n\
         spec: {backend: fast, size: 2Mi}\n",
    );
    let ascii = screen(&sandbox, 80, &[("LC_ALL", "C")], "plan");
    assert!(ascii.text().contains("labels.team: Zürich → Köln"), "{}", ascii.text());
    // A pipe has no locale.
    let ran = sandbox.command().env("LC_ALL", "C").arg("plan").output().unwrap();
    assert!(String::from_utf8(ran.stdout).unwrap().contains("size: 1Mi → 2Mi"));
}

#[test]
fn progress_shows_the_whole_run_and_is_cleared() {
    let sandbox = Sandbox::with_stack();
    for number in 0..30 {
        sandbox.volume(&format!("volume-{number}"), "size: 1Mi");
    }
    let screen = screen(&sandbox, 80, &[("NO_COLOR", "1")], "apply");
    assert_eq!(screen.code, 0, "{}", screen.text());
    assert!(screen.received.contains(" of 30 steps"), "{:?}", screen.received);
    let text = screen.text();
    let done = screen.lines.iter().filter(|line| line.starts_with("created volume/volume-")).count();
    assert_eq!(done, 30, "{text}");
    assert!(!text.contains("of 30 steps") && !text.contains("creating ") && !text.contains("observing"), "{text}");
    let piped = sandbox.kiln("apply").ends(0);
    assert!(
        piped.err.is_empty() && !piped.out.contains('\u{1b}'),
        "a pipe gets no progress: {}{}",
        piped.out,
        piped.err
    );
}

/// A backend whose calls never answer.
const HANGS: &str = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: sim}\nspec: {driver: sim, sim: {faults: {hang: 100%}}, timeout: 1h}\n";

#[test]
fn ctrl_c_leaves_nothing_on_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.write("specs/sim.yaml", HANGS);
    // A command that only reads ends as any program that Ctrl-C ends.
    let mut plan = AtTerminal::start(&sandbox, 80, &[], "plan");
    let mut stdin = plan.stdin();
    let received = plan.read_until("observing the backends");
    stdin.write_all(b"\x03").unwrap();
    let screen = plan.end(received);
    assert_eq!((screen.code, screen.text().trim()), (128 + 2, ""), "{:?}", screen.received);

    let mut apply = AtTerminal::start(&sandbox, 80, &[], "apply");
    let mut stdin = apply.stdin();
    let mut received = apply.read_until("observing the backends");
    stdin.write_all(b"\x03").unwrap();
    received.extend(apply.read_until("again to continue"));
    stdin.write_all(b"\x03").unwrap();
    let screen = apply.end(received);
    let text = screen.text();
    assert_eq!(screen.code, 1, "{text}");
    assert!(!text.contains("observing") && !text.contains("^C"), "{text}\n{:?}", screen.received);
    assert_eq!(text.matches("safe: run `kiln apply` again to continue").count(), 1, "{text}");
}

#[test]
fn a_question_ends_with_a_blank_and_has_room_for_the_answer_at_any_width() {
    for columns in [40, 60, 73, 75, 80, 120] {
        let sandbox = Sandbox::with_volumes(&["db"]);
        let mut apply = AtTerminal::start(&sandbox, columns, &[], "apply --ask");
        let mut stdin = apply.stdin();
        let received = apply.read_until("nothing: ");
        stdin.write_all(b"yes\n").unwrap();
        let screen = apply.end(received);
        assert_eq!(screen.code, 0, "{columns}: {}", screen.text());
        // Only a path may be longer than the terminal is wide.
        assert!(screen.too_long.iter().all(|line| line.contains("PATH ")), "{columns}: {:#?}", screen.too_long);
        assert!(screen.text().contains("nothing: yes\n"), "{columns}: {}", screen.text());
    }
}
