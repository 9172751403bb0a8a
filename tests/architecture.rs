//! The sources hold to ARCHITECTURE.md: who may import whom, what only one place may do, how long a file may be, no cycles of files,
//! no wildcard arm over kinds, actions and reasons to hold, one home and one name for each type, plain words, and invariants that name tests which exist.
//!
//! Every check is a function from what was read to complaints, so that each is shown to complain about a bad sample, beside it.

#[path = "architecture/arms.rs"]
mod arms;
#[path = "architecture/cycles.rs"]
mod cycles;
#[path = "architecture/project.rs"]
mod project;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/types.rs"]
mod types;
#[path = "architecture/words.rs"]
mod words;

use std::collections::BTreeMap;

use project::{FILES, File, SOURCES};
use source::Source;

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// `breaches`: details by breach.
fn assert_no_breach(breaches: &BTreeMap<String, String>) {
    assert_none(breaches.iter().map(|(breach, details)| format!("{breach} ({details})")).collect());
}

fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

#[test]
fn modules_import_only_what_the_arrow_allows() {
    assert_none(SOURCES.iter().flat_map(rules::check_imports).collect());
}

#[test]
fn one_file_names_sled() {
    let naming: Vec<&str> = SOURCES.iter().filter(|f| rules::names_sled(f)).map(|f| f.path.as_str()).collect();
    assert_eq!(naming.len(), 1, "sled is named by {naming:?}");
    assert!(naming[0].starts_with("src/store/"), "sled is named by {naming:?}");
}

#[test]
fn only_cli_prints_and_exits() {
    assert_none(SOURCES.iter().flat_map(rules::check_talk).collect());
}

#[test]
fn files_are_short_enough_to_be_read() {
    assert_none(SOURCES.iter().flat_map(rules::check_length).collect());
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let architecture = file("ARCHITECTURE.md").expect("ARCHITECTURE.md exists");
    let read = |path: &str| file(path).map(|file| Source::parse(path, &file.text));
    assert_none(rules::check_invariants(&architecture.text, read));
}

#[test]
fn the_project_stands_alone() {
    assert_none(FILES.iter().flat_map(|f| rules::check_stands_alone(&f.path, &f.text)).collect());
}

#[test]
fn files_form_no_cycles() {
    assert_no_breach(&cycles::cycles(&SOURCES));
}

#[test]
fn kinds_actions_and_reasons_are_matched_one_by_one() {
    let is_test = |path: &str| SOURCES.iter().any(|source| source.path == path && source.is_test);
    let files = FILES.iter().map(|file| (file.path.as_str(), file.text.as_str()));
    let files = files.filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs") && !is_test(path));
    assert_no_breach(&arms::wildcard_arms(files));
}

#[test]
fn mod_rs_defines_no_types() {
    assert_no_breach(&types::types_in_mod_rs(SOURCES.iter()));
}

#[test]
fn no_type_name_is_defined_twice() {
    assert_no_breach(&types::types_defined_twice(SOURCES.iter()));
}

#[test]
fn users_read_plain_words() {
    assert_no_breach(&words::for_users(&SOURCES, &FILES));
}

#[test]
fn developers_read_plain_words() {
    assert_no_breach(&words::for_developers(&SOURCES, &FILES));
}
