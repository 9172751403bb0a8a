//! The lists of known breaches under tests/architecture/known, one breach per line. They may only shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::project::root;

/// Compares the breaches that were `found`, each with its details, with the list. Complains of a breach that is not listed, and of a
/// listed one that is gone. `KILN_BLESS=1` deletes the lines that are gone and adds none. A list that does not exist is empty.
pub(crate) fn check_known(list: &str, found: &BTreeMap<String, String>) -> Vec<String> {
    let path = root().join("tests/architecture/known").join(list);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (kept, mut complaints) = compare(list, &text, found);
    if kept != text && std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&path, kept).expect("the list of known breaches is writable");
        complaints.retain(|complaint| !complaint.starts_with("gone"));
    }
    complaints
}

/// What stays of the list, and the complaints.
fn compare(list: &str, text: &str, found: &BTreeMap<String, String>) -> (String, Vec<String>) {
    let known: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let new = found.iter().filter(|(breach, _)| !known.contains(breach.as_str()));
    let mut complaints: Vec<String> = new
        .map(|(breach, details)| format!("new, not in tests/architecture/known/{list}: {breach} ({details})"))
        .collect();
    let (kept, gone): (Vec<&str>, Vec<&str>) = known.iter().partition(|breach| found.contains_key(**breach));
    let delete = |breach| {
        format!("gone: delete this line of tests/architecture/known/{list}, or run with KILN_BLESS=1: {breach}")
    };
    complaints.extend(gone.into_iter().map(delete));
    (kept.into_iter().map(|breach| format!("{breach}\n")).collect(), complaints)
}

#[test]
fn a_list_of_known_breaches_is_exact() {
    let found = |breaches: &[&str]| breaches.iter().map(|b| ((*b).to_owned(), "line 1".to_owned())).collect();
    assert_eq!(compare("l", "a\nb\n", &found(&["a", "b"])), ("a\nb\n".to_owned(), vec![]));
    let (kept, complaints) = compare("l", "a\nb\n", &found(&["b", "c"]));
    assert_eq!(kept, "b\n");
    let gone = "gone: delete this line of tests/architecture/known/l, or run with KILN_BLESS=1: a";
    assert_eq!(complaints, ["new, not in tests/architecture/known/l: c (line 1)", gone]);
}
