//! Where types may be defined, and how often a name.

use std::collections::BTreeMap;

use crate::source::Source;

/// The types that a `mod.rs` defines, as `FILE: NAME`. It holds the story of its module and its re-exports.
pub(crate) fn types_in_mod_rs<'a>(sources: impl Iterator<Item = &'a Source>) -> BTreeMap<String, String> {
    let files = sources.filter(|source| source.path.ends_with("/mod.rs"));
    let types = files.flat_map(|source| source.types.iter().map(|(line, name)| (&source.path, line, name)));
    types.map(|(path, line, name)| (format!("{path}: {name}"), format!("line {line}"))).collect()
}

/// The names by which more than one type is defined, private ones included, with the places.
pub(crate) fn types_defined_twice<'a>(sources: impl Iterator<Item = &'a Source>) -> BTreeMap<String, String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources {
        for (line, name) in &source.types {
            places.entry(name).or_default().push(format!("{}:{line}", source.path));
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice.map(|(name, places)| (name.to_owned(), places.join(", "))).collect()
}

#[test]
fn a_type_in_mod_rs_is_seen() {
    let text = "struct A; enum B {}\ntrait C {} union D { a: u8 } type E = u8; fn f() {}\n#[cfg(test)] mod tests { struct F; }";
    let [in_mod, elsewhere] = ["src/m/mod.rs", "src/m/a.rs"].map(|path| Source::parse(path, text));
    let found = types_in_mod_rs([in_mod, elsewhere].iter());
    assert!(found.keys().eq(["A", "B", "C", "D", "E"].map(|name| format!("src/m/mod.rs: {name}")).iter()), "{found:?}");
    assert_eq!(found["src/m/mod.rs: C"], "line 2");
}

#[test]
fn a_type_name_defined_twice_is_seen() {
    let a = Source::parse("src/m/a.rs", "struct A; struct B; impl I for B { type C = u8; } trait I { type C; }");
    let b = Source::parse(
        "src/n/b.rs",
        "enum B {}\nfn f() { type A = u8; }\n#[cfg(test)] mod tests { struct I; type C = u8; }",
    );
    let found = types_defined_twice([a, b].iter());
    let places = |name: &str, line: u32| (name.to_owned(), format!("src/m/a.rs:1, src/n/b.rs:{line}"));
    assert_eq!(found, BTreeMap::from([places("A", 2), places("B", 1)]));
}
