//! The sources hold to ARCHITECTURE.md: who may import whom, what only one place may do, how long a file may be, and that every
//! invariant names tests that exist.
//!
//! Every check is a function from text to a list of complaints, so that each is shown to complain about a bad sample first. Comments
//! and the contents of literals are blanked before anything is looked for: a word in a comment breaks no rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// For each module at the top of `src`: what it may import, itself apart. `None`: anything.
const MAY_IMPORT: [(&str, Option<&[&str]>); 8] = [
    ("model", Some(&[])),
    ("manifest", Some(&["model"])),
    ("plan", Some(&["model"])),
    ("driver", Some(&["model"])),
    ("store", Some(&["model"])),
    ("engine", Some(&["model", "manifest", "plan", "driver", "store"])),
    ("daemon", Some(&["model", "manifest", "plan", "driver", "store", "engine"])),
    ("cli", None),
];

/// Lines of a file under `src` without its tests. What is longer is more than one thing.
const MAX_LINES: usize = 800;

/// The invariants that ARCHITECTURE.md lists.
const INVARIANTS: std::ops::RangeInclusive<u32> = 1..=19;

// What is read.

struct File {
    /// From the root of the project, with `/`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` that the project is made of: not what Git keeps, what cargo builds, or what the demo makes.
fn files_below(dir: &Path) -> Vec<File> {
    let mut files = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the project is readable") {
            let path = entry.expect("a directory of the project is readable").path();
            let name = relative(&path);
            if [".git", "target", "pool", "state"].contains(&name.as_str()) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).expect("a file of the project is readable");
                files.push(File { path: name, text: String::from_utf8_lossy(&bytes).into_owned() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("the file is in the project").to_string_lossy().into_owned()
}

fn sources() -> Vec<File> {
    let files: Vec<File> = files_below(&root().join("src")).into_iter().filter(|f| f.path.ends_with(".rs")).collect();
    assert!(files.len() > 10, "only {} sources were found: the search is wrong", files.len());
    files
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

// A small reader of Rust: enough to know code from text, and one path from another.

/// The text with the contents of comments, strings and characters replaced by blanks. Line breaks stay where they were.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_literal(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself if there is none.
fn skip_literal(chars: &[char], at: usize) -> usize {
    let is = |i: usize, c: char| chars.get(i) == Some(&c);
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if is(at + 1, '/') => (at..chars.len()).find(|i| is(*i, '\n')).unwrap_or(chars.len()),
        '/' if is(at + 1, '*') => {
            let (mut depth, mut i) = (0_usize, at);
            while i < chars.len() {
                if is(i, '/') && is(i + 1, '*') {
                    (depth, i) = (depth + 1, i + 2);
                } else if is(i, '*') && is(i + 1, '/') {
                    (depth, i) = (depth - 1, i + 2);
                    if depth == 0 {
                        return i;
                    }
                } else {
                    i += 1;
                }
            }
            i
        }
        '"' => end_of_quoted(chars, at, '"'),
        // `b` and `c` before a quote are left as words; only `r` changes how the literal ends.
        'r' if !word_before || ((is(at - 1, 'b') || is(at - 1, 'c')) && !before_is_word(chars, at - 1)) => {
            let hashes = (at + 1..).take_while(|i| is(*i, '#')).count();
            let open = at + 1 + hashes;
            if !is(open, '"') {
                return at;
            }
            (open + 1..chars.len())
                .find(|i| is(*i, '"') && (1..=hashes).all(|h| is(i + h, '#')))
                .map_or(chars.len(), |i| i + 1 + hashes)
        }
        // 'x' and '\n' are characters, 'a is a lifetime.
        '\'' if is(at + 1, '\\') || is(at + 2, '\'') => end_of_quoted(chars, at, '\''),
        _ => at,
    }
}

fn before_is_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn end_of_quoted(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Token<'a> {
    /// A word, `::`, or one other character.
    text: &'a str,
    line: usize,
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let len = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            out.push(Token { text: &rest[..len], line: line + 1 });
            rest = rest[len..].trim_start();
        }
    }
    out
}

/// Where the brace at `open` is closed; the end if it never is.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The lines of `#[cfg(test)] mod … { … }`, from 1.
fn test_lines(code: &str) -> BTreeSet<usize> {
    let all = tokens(code);
    let mut lines = BTreeSet::new();
    for (i, window) in all.windows(7).enumerate() {
        if !window.iter().map(|t| t.text).eq(["#", "[", "cfg", "(", "test", ")", "]"]) {
            continue;
        }
        let mut next = i + 7;
        while all.get(next).is_some_and(|t| t.text == "#") {
            next = all.iter().skip(next).position(|t| t.text == "]").map_or(all.len(), |n| next + n + 1);
        }
        if [next, next + 2].map(|i| all.get(i).map(|t| t.text)) == [Some("mod"), Some("{")] {
            let last = all.get(closing(&all, next + 2)).or(all.last()).map_or(0, |t| t.line);
            lines.extend(window[0].line..=last);
        }
    }
    lines
}

/// How many modules deep the code of a file under `src` lies: 0 for `lib.rs`, 1 for `plan/mod.rs`, 2 for `plan/types.rs`.
fn depth_of(path: &str) -> usize {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    match inner.rsplit_once('/') {
        Some((dirs, "mod.rs")) => dirs.split('/').count(),
        Some((dirs, _)) => dirs.split('/').count() + 1,
        None if inner == "lib.rs" || inner == "main.rs" => 0,
        None => 1,
    }
}

/// The top modules that code names by `crate::…` or by enough `super::`, with the line. `*` stands for all of them at once.
fn imports(path: &str, code: &str) -> BTreeSet<(usize, String)> {
    let all = tokens(code);
    let mut found = BTreeSet::new();
    let mut inline = Vec::new(); // where the inline modules around this token end
    for (i, token) in all.iter().enumerate() {
        inline.retain(|end| i < *end);
        if token.text == "mod" && all.get(i + 2).is_some_and(|t| t.text == "{") {
            inline.push(closing(&all, i + 2));
        }
        let follows_path = i > 0 && all[i - 1].text == "::";
        let begins_path = all.get(i + 1).is_some_and(|t| t.text == "::");
        match token.text {
            "crate" if begins_path => read_path(&all, i + 2, 0, &mut found),
            "crate" if all.get(i + 1).is_some_and(|t| t.text == "as") => {
                found.insert((token.line, "*".to_owned()));
            }
            "super" if begins_path && !follows_path => {
                read_path(&all, i + 2, (depth_of(path) + inline.len()).saturating_sub(1), &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Reads what follows `…::`, from a module that lies `depth` deep, up to the first name.
fn read_path(all: &[Token<'_>], at: usize, depth: usize, found: &mut BTreeSet<(usize, String)>) {
    let Some(token) = all.get(at) else { return };
    match token.text {
        "super" if all.get(at + 1).is_some_and(|t| t.text == "::") => {
            read_path(all, at + 2, depth.saturating_sub(1), found);
        }
        "{" => {
            let end = closing(all, at);
            let mut nested = 0_usize;
            for i in at..end {
                match all[i].text {
                    "{" => nested += 1,
                    "}" => nested -= 1,
                    _ => {}
                }
                if nested == 1 && matches!(all[i].text, "{" | ",") && all[i + 1].text != "}" {
                    read_path(all, i + 1, depth, found);
                }
            }
        }
        "*" | "self" if depth == 0 => {
            found.insert((token.line, "*".to_owned()));
        }
        name if depth == 0 => {
            found.insert((token.line, name.to_owned()));
        }
        _ => {}
    }
}

// The checks.

/// Who may import whom.
fn check_imports(path: &str, text: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let module = inner.split_once('/').map_or(inner.trim_end_matches(".rs"), |(module, _)| module);
    let code = code_of(text);
    let mut complaints = Vec::new();
    if module != "main" {
        for token in tokens(&code).windows(2).filter(|w| w[0].text == "kiln" && w[1].text == "::") {
            complaints.push(format!("{path}:{}: the library names itself; write crate::", token[0].line));
        }
    }
    let allowed = match MAY_IMPORT.iter().find(|(name, _)| *name == module) {
        Some((_, None)) => return complaints,
        Some((_, Some(allowed))) => *allowed,
        None if module == "lib" || module == "main" => &[],
        None => {
            complaints.push(format!("{path}:1: the module {module:?} has no place in the import rule"));
            return complaints;
        }
    };
    for (line, import) in imports(path, &code) {
        if import != module && !allowed.contains(&import.as_str()) {
            complaints.push(format!("{path}:{line}: {module} must not import {import}"));
        }
    }
    complaints
}

/// Whether the code uses the crate `sled` (and not a module of that name).
fn names_sled(text: &str) -> bool {
    let code = code_of(text);
    let all = tokens(&code);
    all.iter().enumerate().any(|(i, token)| {
        let before = |n: usize| i.checked_sub(n).map_or("", |i| all[i].text);
        let begins_path = all.get(i + 1).is_some_and(|t| t.text == "::");
        let is_word = |text: &str| text.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let inside_path = before(1) == "::" && is_word(before(2)) && before(2) != "use";
        token.text == "sled" && !inside_path && (begins_path || matches!(before(1), "use" | "crate"))
    })
}

/// Printing and ending the process are for `cli`.
fn check_talk(path: &str, text: &str) -> Vec<String> {
    let tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    if tests || path.starts_with("src/cli/") || path == "src/main.rs" {
        return Vec::new();
    }
    let code = code_of(text);
    let in_tests = test_lines(&code);
    let mut complaints = Vec::new();
    for window in tokens(&code).windows(3).filter(|w| !in_tests.contains(&w[0].line)) {
        let texts = [window[0].text, window[1].text, window[2].text];
        let what = match texts {
            ["print" | "println" | "eprint" | "eprintln" | "dbg", "!", _] => "prints",
            // With an argument it says where the output of another process goes.
            ["stdout" | "stderr", "(", ")"] => "takes hold of an output of the process",
            ["process", "::", "exit" | "abort" | "ExitCode"] => "ends the process",
            _ => continue,
        };
        complaints.push(format!("{path}:{}: {what}; only cli does", window[0].line));
    }
    complaints
}

/// How long a file may be.
fn check_length(path: &str, text: &str) -> Vec<String> {
    match text.lines().count() - test_lines(&code_of(text)).len() {
        lines if lines > MAX_LINES => vec![format!("{path}: {lines} lines without tests; at most {MAX_LINES}")],
        _ => Vec::new(),
    }
}

/// The project stands alone: nothing in it leads to where it was designed.
fn check_stands_alone(path: &str, text: &str) -> Vec<String> {
    // In two pieces, so that this file does not hold what it looks for.
    let elsewhere = concat!("../", "shared");
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(elsewhere));
    lines.map(|(i, _)| format!("{path}:{}: mentions {elsewhere}", i + 1)).collect()
}

/// Whether `code` holds a test of this name that is run.
fn has_test(text: &str, name: &str) -> bool {
    let code = code_of(text);
    let all = tokens(&code);
    all.windows(2).enumerate().any(|(i, window)| {
        // What stands between the item before and this function: its attributes.
        let attributes = all[..i].iter().rev().map(|t| t.text).take_while(|t| !matches!(*t, ";" | "}" | "{"));
        let attributes: Vec<&str> = attributes.collect();
        // Read backwards: `#[test]` or `#[tokio::test…]`, not `#[cfg(test)]`.
        let is_test = attributes.windows(2).any(|w| w[0] == "test" && matches!(w[1], "[" | "::"));
        window[0].text == "fn" && window[1].text == name && is_test && !attributes.contains(&"ignore")
    })
}

/// Every invariant stands once in the table, and names at least one test that exists. `read` gives the text of a file.
fn check_invariants(architecture: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut seen = Vec::new();
    for line in architecture.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let number = cells[0].strip_prefix('I').and_then(|n| n.parse::<u32>().ok());
        let (Some(number), Some(tests)) = (number, cells.last()) else { continue };
        seen.push(number);
        let named: Vec<(&str, &str)> = tests.split('`').filter_map(|part| part.split_once("::")).collect();
        if named.is_empty() {
            complaints.push(format!("I{number} names no test"));
        }
        for (file, test) in named {
            match read(file) {
                None => complaints.push(format!("I{number} names {file}, which does not exist")),
                Some(text) if !has_test(&text, test) => {
                    complaints.push(format!("I{number} names {file}::{test}; there is no such test"));
                }
                Some(_) => {}
            }
        }
    }
    if seen != INVARIANTS.collect::<Vec<_>>() {
        complaints.push(format!("the table lists the invariants {seen:?}; it should list each of {INVARIANTS:?} once"));
    }
    complaints
}

// The project holds to them.

#[test]
fn modules_import_only_what_the_arrow_allows() {
    assert_none(sources().iter().flat_map(|f| check_imports(&f.path, &f.text)).collect());
}

#[test]
fn one_file_names_sled() {
    let files = sources();
    let naming: Vec<&str> = files.iter().filter(|f| names_sled(&f.text)).map(|f| f.path.as_str()).collect();
    assert_eq!(naming.len(), 1, "sled is named by {naming:?}");
    assert!(naming[0].starts_with("src/store/"), "sled is named by {naming:?}");
}

#[test]
fn only_cli_prints_and_exits() {
    assert_none(sources().iter().flat_map(|f| check_talk(&f.path, &f.text)).collect());
}

#[test]
fn files_are_short_enough_to_be_read() {
    assert_none(sources().iter().flat_map(|f| check_length(&f.path, &f.text)).collect());
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is readable");
    assert_none(check_invariants(&architecture, |file| fs::read_to_string(root().join(file)).ok()));
}

#[test]
fn the_project_stands_alone() {
    let files = files_below(root());
    assert!(files.iter().any(|f| f.path == "Cargo.toml"), "the search is wrong");
    assert_none(files.iter().flat_map(|f| check_stands_alone(&f.path, &f.text)).collect());
}

// The checks see what they look for.

fn imported(path: &str, code: &str) -> Vec<String> {
    imports(path, &code_of(code)).into_iter().map(|(_, module)| module).collect()
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = "a // crate::b\n/* crate::c /* d */ \" */ e \"crate::f \\\" g\" r#\"h \" i\"# br\"j\\\" 'k' b'\\'' '\"' l<'m> /**/n";
    let code = code_of(text);
    let words: Vec<&str> = tokens(&code).iter().map(|t| t.text).filter(|t| t.len() == 1 && *t != "b").collect();
    assert_eq!(words, ["a", "e", "l", "<", "'", "m", ">", "n"]);
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn imports_are_found_in_every_form() {
    for (code, expected) in [
        ("use crate::driver::Driver;", vec!["driver"]),
        ("use crate::{model::{Name, Size}, store, plan::{self}};", vec!["model", "plan", "store"]),
        ("fn f() -> crate::engine::Report { crate :: cli :: main() }", vec!["cli", "engine"]),
        ("pub(crate) use super::types::Plan;", vec![]),
        ("use super::super::driver::Driver;", vec!["driver"]),
        ("use super::{types, super::store::{Store, Batch}};", vec!["store"]),
        ("mod tests { use super::super::*; }", vec![]),
        ("mod tests { use super::super::super::engine; } use super::super::cli;", vec!["cli", "engine"]),
        ("use crate::*;", vec!["*"]),
        ("use crate as everything;", vec!["*"]),
        ("macro_rules! m { () => { $crate::driver::connect() } }", vec!["driver"]),
        ("// use crate::driver;\nconst A: &str = \"crate::store\";", vec![]),
    ] {
        let mut found = imported("src/plan/types.rs", code);
        found.sort();
        assert_eq!(found, expected, "{code}");
    }
    assert_eq!(imported("src/plan/mod.rs", "use super::store::Store;"), ["store"]);
    assert_eq!(imported("src/driver/local/trash.rs", "use super::super::sim;"), Vec::<String>::new());
}

#[test]
fn a_breach_of_the_import_rule_is_seen() {
    let complaints = check_imports("src/plan/order.rs", "use crate::model::Name;\nuse crate::driver::Driver;\n");
    assert_eq!(complaints, ["src/plan/order.rs:2: plan must not import driver"]);
    assert_eq!(check_imports("src/model/name.rs", "use crate::plan::Plan;").len(), 1);
    assert_eq!(check_imports("src/engine/run.rs", "use crate::cli::Colour;").len(), 1);
    assert_eq!(check_imports("src/util/mod.rs", "").len(), 1, "a module without a place in the rule");
    assert_eq!(check_imports("src/store/mod.rs", "use kiln::model::Name;").len(), 1);
    assert_eq!(check_imports("src/cli/apply.rs", "use crate::{driver, engine, store};"), Vec::<String>::new());
    assert_eq!(check_imports("src/main.rs", "fn main() { kiln::cli::main() }"), Vec::<String>::new());
}

#[test]
fn naming_sled_is_seen() {
    for code in ["use sled::Db;", "let db = sled::open(path);", "let db = ::sled::open(path);", "extern crate sled;"] {
        assert!(names_sled(code), "{code}");
    }
    for code in
        ["mod sled;", "pub use self::sled::SledStore;", "// sled::open", "let sled = 1;", "crate::store::sled::x()"]
    {
        assert!(!names_sled(code), "{code}");
    }
}

#[test]
fn printing_and_exiting_are_seen() {
    for code in
        ["println!(\"\");", "std::eprint!(x);", "std::process::exit(1)", "std::io::stdout().lock();", "dbg!(x);"]
    {
        assert_eq!(check_talk("src/engine/run.rs", code).len(), 1, "{code}");
        assert_eq!(check_talk("src/cli/apply.rs", code), Vec::<String>::new());
    }
    let in_tests = "fn f() {}\n#[cfg(test)]\nmod tests {\n fn g() { println!(); }\n}\n";
    assert_eq!(check_talk("src/engine/run.rs", in_tests), Vec::<String>::new());
    assert_eq!(check_talk("src/engine/run.rs", &format!("{in_tests}fn h() {{ println!(); }}")).len(), 1);
}

#[test]
fn a_long_file_is_seen_and_its_tests_do_not_count() {
    let line = "fn f() {}\n";
    let tests = |lines: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(lines));
    assert_eq!(check_length("a.rs", &line.repeat(MAX_LINES)), Vec::<String>::new());
    assert_eq!(check_length("a.rs", &line.repeat(MAX_LINES + 1)).len(), 1);
    assert_eq!(check_length("a.rs", &(line.repeat(MAX_LINES) + &tests(500))), Vec::<String>::new());
    assert_eq!(check_length("a.rs", &(tests(500) + &line.repeat(MAX_LINES + 1))).len(), 1);
}

#[test]
fn an_invariant_without_its_test_is_seen() {
    let read = |file: &str| {
        let text = "#[test]\nfn real() {}\n#[tokio::test(start_paused = true)]\nasync fn slow() {}\nfn plain() {}\n#[cfg(test)]\nfn aid() {}\n\
                    #[test]\n#[ignore]\nfn asleep() {}\n// #[test] fn commented() {}";
        (file == "tests/a.rs").then(|| text.to_owned())
    };
    let table = |test: &str| INVARIANTS.map(|n| format!("| I{n} | it holds | `{test}` |\n")).collect::<String>();
    for good in ["tests/a.rs::real", "tests/a.rs::slow"] {
        assert_eq!(check_invariants(&table(good), read), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "tests/a.rs::plain",
        "tests/a.rs::aid",
        "tests/a.rs::asleep",
        "tests/a.rs::commented",
        "tests/b.rs::real",
        "soon",
    ] {
        assert_eq!(check_invariants(&table(bad), read).len(), INVARIANTS.count(), "{bad}");
    }
    let without_last: String = table("tests/a.rs::real").lines().take(9).map(|line| format!("{line}\n")).collect();
    assert_eq!(check_invariants(&without_last, read).len(), 1);
}

#[test]
fn a_way_out_of_the_project_is_seen() {
    assert_eq!(
        check_stands_alone("a.md", concat!("one\nsee ../", "shared/x\n")),
        [concat!("a.md:2: mentions ../", "shared")]
    );
    assert_eq!(check_stands_alone("a.md", "path: ../pool"), Vec::<String>::new());
}

#[test]
fn the_depth_of_a_file_is_that_of_its_module() {
    for (path, depth) in [
        ("src/lib.rs", 0),
        ("src/plan.rs", 1),
        ("src/plan/mod.rs", 1),
        ("src/plan/types.rs", 2),
        ("src/driver/local/mod.rs", 2),
        ("src/driver/local/trash.rs", 3),
    ] {
        assert_eq!(depth_of(path), depth, "{path}");
    }
    assert_eq!(relative(&PathBuf::from(root()).join("src/lib.rs")), "src/lib.rs");
}
