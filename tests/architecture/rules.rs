//! Who may import whom, what only one place may do, how long a file may be, which tests hold an invariant.

use std::collections::BTreeSet;

use crate::source::{Role, Source};

/// For each module at the top of `src`: what it may import, itself apart. `None`: anything.
const MAY_IMPORT: [(&str, Option<&[&str]>); 10] = [
    ("model", Some(&[])),
    ("text", Some(&["model"])),
    ("manifest", Some(&["model", "text", "driver"])),
    ("plan", Some(&["model", "text"])),
    ("report", Some(&["model", "text", "plan"])),
    ("driver", Some(&["model", "text"])),
    ("store", Some(&["model", "text"])),
    ("engine", Some(&["model", "text", "manifest", "plan", "driver", "store"])),
    ("daemon", Some(&["model", "text", "manifest", "plan", "report", "driver", "store", "engine"])),
    ("cli", None),
];

/// What a module may import of another one of which it may not import everything: manifests hold the settings of drivers and call no
/// driver; the planner writes sentences, and neither colours nor escapes them.
const ONLY: [(&str, &str, &[&str]); 2] =
    [("manifest", "driver", &["settings"]), ("plan", "text", &["closest", "quoted", "rfc3339"])];

/// Lines of a file under `src` without its tests. A longer file is more than one thing.
const MAX_LINES: usize = 800;

/// The invariants that ARCHITECTURE.md lists.
const INVARIANTS: std::ops::RangeInclusive<u32> = 1..=20;

/// The top modules that a file names, with the line. `*` stands for all of them at once.
fn imports(source: &Source) -> BTreeSet<(usize, &str)> {
    let absolute = source.names.iter().filter(|name| name.path[0] == "crate");
    absolute.map(|name| (name.line, name.path.get(1).map_or("*", String::as_str))).collect()
}

/// Who may import whom.
pub(crate) fn check_imports(source: &Source) -> Vec<String> {
    let path = &source.path;
    let module = source.module.first().map_or("lib", String::as_str);
    let mut complaints = Vec::new();
    if module != "main" {
        let itself = source.names.iter().filter(|name| name.path[0] == "kiln" && name.path.len() > 1);
        complaints.extend(itself.map(|n| format!("{path}:{}: the library names itself; write crate::", n.line)));
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
    let forbidden = imports(source).into_iter().filter(|(_, import)| *import != module && !allowed.contains(import));
    complaints.extend(forbidden.map(|(line, import)| format!("{path}:{line}: {module} must not import {import}")));
    for (_, of, only) in ONLY.iter().filter(|(importer, ..)| *importer == module) {
        let named =
            source.names.iter().filter(|name| name.path[0] == "crate" && name.path.get(1).is_some_and(|m| m == of));
        let others = named.filter(|name| name.path.get(2).is_none_or(|part| !only.contains(&part.as_str())));
        let only = only.join(", ");
        complaints.extend(others.map(|name| format!("{path}:{}: of {of}, {module} may import only {only}", name.line)));
    }
    complaints
}

/// Whether the code uses the crate `sled` (and not a module of that name).
pub(crate) fn names_sled(source: &Source) -> bool {
    source.names.iter().any(|name| {
        name.path[0] == "sled" && (name.path.len() > 1 || matches!(name.role, Role::Import | Role::ReExport))
    })
}

/// Printing and ending the process are for `cli`.
pub(crate) fn check_talk(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/cli/") || source.path == "src/main.rs" {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for name in source.names.iter().filter(|name| !name.in_test) {
        let last = name.path.last().map_or("", String::as_str);
        let pairs = name.path.windows(2);
        let what = match name.role {
            Role::Macro if ["print", "println", "eprint", "eprintln", "dbg"].contains(&last) => "prints",
            // With an argument it says where the output of another process goes.
            Role::EmptyCall if ["stdout", "stderr"].contains(&last) => "takes hold of an output of the process",
            Role::EmptyCall => continue, // named a second time, as a path
            _ if pairs.into_iter().any(|w| w[0] == "process" && ["exit", "abort", "ExitCode"].contains(&&*w[1])) => {
                "ends the process"
            }
            _ => continue,
        };
        complaints.push(format!("{}:{}: {what}; only cli does", source.path, name.line));
    }
    complaints
}

/// How long a file may be.
pub(crate) fn check_length(source: &Source) -> Vec<String> {
    let too_long = source.lines > MAX_LINES;
    let complaint = || format!("{}: {} lines without tests; at most {MAX_LINES}", source.path, source.lines);
    too_long.then(complaint).into_iter().collect()
}

/// The project stands alone: nothing in it leads to where it was designed.
pub(crate) fn check_stands_alone(path: &str, text: &str) -> Vec<String> {
    // In two pieces, so that this file does not hold what it looks for.
    let elsewhere = concat!("../", "shared");
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(elsewhere));
    lines.map(|(i, _)| format!("{path}:{}: mentions {elsewhere}", i + 1)).collect()
}

/// Every invariant stands once in the table, and names at least one test that exists. `read` gives a file by its path.
pub(crate) fn check_invariants(architecture: &str, mut read: impl FnMut(&str) -> Option<Source>) -> Vec<String> {
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
                Some(source) if !source.tests.iter().any(|name| name == test) => {
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

// The checks see what they look for.

#[cfg(test)]
const NONE: [String; 0] = [];

#[test]
fn imports_are_found_in_every_form() {
    for (code, expected) in [
        ("use crate::driver::Driver;", vec!["driver"]),
        ("use crate::{model::{Name, Size}, store, plan::{self}};", vec!["model", "plan", "store"]),
        ("fn f() -> crate::engine::Report { crate :: cli :: main() }", vec!["cli", "engine"]),
        ("pub(crate) use super::types::Plan;", vec!["plan"]),
        ("use super::super::driver::Driver;", vec!["driver"]),
        ("use super::{types, super::store::{Store, Batch}};", vec!["plan", "store"]),
        ("mod tests { use super::super::*; }", vec!["plan"]),
        ("mod tests { use super::super::super::engine; } use super::super::cli;", vec!["cli", "engine"]),
        ("use crate::*;", vec!["*"]),
        ("use crate as everything;", vec!["*"]),
        ("use crate::{self as everything};", vec!["*"]),
        ("macro_rules! m { () => { $crate::driver::connect() } }", vec!["driver"]),
        ("fn f() { assert!(g(&[crate::store::open()])); }", vec!["store"]),
        ("impl crate::store::Store for Vec<crate::model::Name> {}", vec!["model", "store"]),
        ("// use crate::driver;\nconst A: &str = \"crate::store\";", vec![]),
    ] {
        let source = Source::parse("src/plan/types.rs", code);
        let found: BTreeSet<&str> = imports(&source).into_iter().map(|(_, module)| module).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{code}");
    }
    let imports_of = |path: &str, code: &str| check_imports(&Source::parse(path, code)).len();
    assert_eq!(imports_of("src/plan/mod.rs", "use super::store::Store;"), 1);
    assert_eq!(imports_of("src/driver/local/trash.rs", "use super::super::sim;"), 0);
}

#[test]
fn a_breach_of_the_import_rule_is_seen() {
    let check = |path: &str, text: &str| check_imports(&Source::parse(path, text));
    let complaints = check("src/plan/order.rs", "use crate::model::Name;\nuse crate::driver::Driver;\n");
    assert_eq!(complaints, ["src/plan/order.rs:2: plan must not import driver"]);
    assert_eq!(check("src/model/name.rs", "use crate::plan::Plan;").len(), 1);
    assert_eq!(check("src/engine/run.rs", "use crate::cli::Colour;").len(), 1);
    assert_eq!(check("src/engine/run.rs", "#[cfg(test)] mod tests { use crate::cli::Colour; }").len(), 1);
    assert_eq!(check("src/plan/order.rs", "use crate::text::{closest, quoted, rfc3339};"), NONE);
    assert_eq!(check("src/plan/order.rs", "use crate::text::{Paint, escape};").len(), 2);
    assert_eq!(check("src/util/mod.rs", "").len(), 1, "a module without a place in the rule");
    assert_eq!(check("src/store/mod.rs", "use kiln::model::Name;").len(), 1);
    assert_eq!(check("src/cli/apply.rs", "use crate::{driver, engine, store};"), NONE);
    assert_eq!(check("src/main.rs", "fn main() { kiln::cli::main() }"), NONE);
}

#[test]
fn naming_sled_is_seen() {
    let names = |code: &str| names_sled(&Source::parse("src/store/db.rs", code));
    for code in [
        "use sled::Db;",
        "use sled;",
        "fn f() { let db = sled::open(path); }",
        "fn f() { let db = ::sled::open(path); }",
        "fn f() { assert!(sled::open(path)); }",
        "extern crate sled;",
    ] {
        assert!(names(code), "{code}");
    }
    for code in [
        "mod sled;",
        "pub use self::sled::SledStore;",
        "// sled::open",
        "fn f() { let sled = 1; sled }",
        "fn f() { crate::store::sled::x() }",
    ] {
        assert!(!names(code), "{code}");
    }
}

#[test]
fn printing_and_exiting_are_seen() {
    let check = |path: &str, code: &str| check_talk(&Source::parse(path, code));
    for code in [
        "println!(\"\")",
        "std::eprint!(x)",
        "std::process::exit(1)",
        "process::abort()",
        "std::io::stdout().lock()",
        "dbg!(x)",
        "vec![std::io::stderr()]",
        "vec![println!()]",
    ] {
        let code = format!("fn f() {{ {code}; }}");
        assert_eq!(check("src/engine/run.rs", &code).len(), 1, "{code}");
        assert_eq!(check("src/cli/apply.rs", &code), NONE);
    }
    assert_eq!(check("src/engine/run.rs", "use std::process::{self, ExitCode};").len(), 1);
    assert_eq!(check("src/engine/run.rs", "fn f(c: Command) { c.stdout(Stdio::piped()); }"), NONE);
    let in_tests = "fn f() {}\n#[cfg(test)]\nmod tests {\n fn g() { println!(); }\n}\n";
    assert_eq!(check("src/engine/run.rs", in_tests), NONE);
    assert_eq!(check("src/engine/run.rs", &format!("{in_tests}fn h() {{ println!(); }}")).len(), 1);
}

#[test]
fn a_long_file_is_seen_and_its_tests_do_not_count() {
    let check = |text: &str| check_length(&Source::parse("src/a.rs", text));
    let line = "fn f() {}\n";
    let tests = |lines: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(lines));
    assert_eq!(check(&line.repeat(MAX_LINES)), NONE);
    assert_eq!(check(&line.repeat(MAX_LINES + 1)).len(), 1);
    assert_eq!(check(&(line.repeat(MAX_LINES) + &tests(500))), NONE);
    assert_eq!(check(&(tests(500) + &line.repeat(MAX_LINES + 1))).len(), 1);
}

#[test]
fn an_invariant_without_its_test_is_seen() {
    let read = |file: &str| {
        let text = "#[test]\nfn real() {}\n#[tokio::test(start_paused = true)]\nasync fn slow() {}\nfn plain() {}\n#[cfg(test)]\nfn aid() {}\n\
                    #[test]\n#[ignore]\nfn asleep() {}\n// #[test] fn commented() {}";
        (file == "tests/a.rs").then(|| Source::parse(file, text))
    };
    let table = |test: &str| INVARIANTS.map(|n| format!("| I{n} | it holds | `{test}` |\n")).collect::<String>();
    for good in ["tests/a.rs::real", "tests/a.rs::slow"] {
        assert_eq!(check_invariants(&table(good), read), NONE, "{good}");
    }
    for bad in ["plain", "aid", "asleep", "commented"].map(|test| format!("tests/a.rs::{test}")) {
        assert_eq!(check_invariants(&table(&bad), read).len(), INVARIANTS.count(), "{bad}");
    }
    for bad in ["tests/b.rs::real", "soon"] {
        assert_eq!(check_invariants(&table(bad), read).len(), INVARIANTS.count(), "{bad}");
    }
    let without_last: String =
        table("tests/a.rs::real").lines().take(INVARIANTS.count() - 1).map(|line| format!("{line}\n")).collect();
    assert_eq!(check_invariants(&without_last, read).len(), 1);
}

#[test]
fn a_link_out_of_the_project_is_seen() {
    let text = concat!("one\nsee ../", "shared/x\n");
    assert_eq!(check_stands_alone("a.md", text), [concat!("a.md:2: mentions ../", "shared")]);
    assert_eq!(check_stands_alone("a.md", "path: ../pool"), NONE);
}
