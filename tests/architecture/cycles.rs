//! Which file uses which, and the cycles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::source::{Role, Source};

/// The files that a file uses, each with a name by which it does.
type Uses<'a> = BTreeMap<&'a str, BTreeMap<&'a str, String>>;

/// Every file that lies on a cycle, with a shortest cycle through it.
///
/// A file uses the file that defines a name which it imports, or writes in its code: re-exports are followed, and a `mod.rs` does not
/// use what it only re-exports. Method calls are not seen, since their types are not known here.
pub(crate) fn cycles(sources: &[Source]) -> BTreeMap<String, String> {
    let uses = uses(sources);
    uses.keys().filter_map(|file| Some(((*file).to_owned(), shortest_cycle(&uses, file)?))).collect()
}

fn uses(sources: &[Source]) -> Uses<'_> {
    let library = sources.iter().filter(|source| source.path != "src/main.rs");
    let modules = library.flat_map(|source| source.scopes.keys().map(move |scope| (scope.as_slice(), source)));
    let tree = Tree { modules: modules.collect() };
    let mut uses = Uses::new();
    for source in sources {
        for name in source.names.iter().filter(|name| !name.in_test) {
            let only_passed_on = name.role == Role::ReExport && source.path.ends_with("/mod.rs");
            if let Some((target, item)) = tree.definition(&name.scope, &name.path, 0)
                && !only_passed_on
                && target.path != source.path
            {
                let by = || format!("{item}, line {}", name.line);
                uses.entry(&source.path).or_default().entry(&target.path).or_insert_with(by);
            }
        }
    }
    uses
}

fn shortest_cycle(uses: &Uses<'_>, start: &str) -> Option<String> {
    let mut reached = BTreeSet::new();
    let mut left = VecDeque::from([(start, start.to_owned())]);
    while let Some((file, way)) = left.pop_front() {
        for (next, by) in uses.get(file).into_iter().flatten() {
            let way = format!("{way} uses {next} ({by})");
            if *next == start {
                return Some(way);
            } else if reached.insert(next) {
                left.push_back((next, way));
            }
        }
    }
    None
}

struct Tree<'a> {
    modules: BTreeMap<&'a [String], &'a Source>,
}

impl<'a> Tree<'a> {
    /// The file that defines what `path` names in `scope`, and the item there. `None` for a module, a test, or another crate.
    fn definition(&self, scope: &[String], path: &[String], depth: usize) -> Option<(&'a Source, String)> {
        assert!(depth < 32, "{path:?} in {scope:?} is re-exported in a cycle");
        let (mut module, mut rest) = match path.split_first()? {
            (first, rest) if first == "crate" => (Vec::new(), rest),
            _ => (scope.to_vec(), path),
        };
        loop {
            let (name, after) = rest.split_first()?;
            let source = *self.modules.get(module.as_slice())?;
            let here = &source.scopes[&module];
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            if !after.is_empty() && self.modules.contains_key(child.as_slice()) {
                (module, rest) = (child, after);
            } else if name == "*" || here.items.contains(name) {
                return (!source.is_test).then(|| (source, name.clone()));
            } else {
                let bound = here.uses.get(name).filter(|bound| *bound != path)?;
                return self.definition(&module, &[bound, after].concat(), depth + 1);
            }
        }
    }
}

#[cfg(test)]
fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
    let lib = ("src/lib.rs", "pub mod m;");
    cycles(&Source::parse_all(files.iter().copied().chain([lib]))).into_values().collect()
}

#[test]
fn a_cycle_of_files_is_seen_in_every_form() {
    let b = ("src/m/b.rs", "pub struct B; fn b() { super::a::a() }");
    for a in [
        "use super::b::B; pub fn a() {}",
        "use crate::m::B; pub fn a() {}",
        "use super::{b::{B as C}}; pub fn a() {}",
        "pub fn a() { super::B; }",
        "pub fn a() { vec![super::B::new()] }",
        "use super::b; pub fn a() -> b::B {}",
        "pub fn a() { use crate::m as n; n::B {} }",
        "mod inner { use super::super::B; } pub fn a() {}",
    ] {
        let found = cycles_of(&[("src/m/mod.rs", "mod a; mod b; pub use b::B;"), ("src/m/a.rs", a), b]);
        let [a_to_b, b_to_a] = ["src/m/a.rs uses src/m/b.rs (B, line 1)", "src/m/b.rs uses src/m/a.rs (a, line 1)"];
        assert_eq!(
            found,
            [format!("{a_to_b} uses src/m/a.rs (a, line 1)"), format!("{b_to_a} uses src/m/b.rs (B, line 1)")],
            "{a}"
        );
    }
}

#[test]
fn a_cycle_through_mod_rs_or_over_several_files_is_seen() {
    let a = ("src/m/a.rs", "use super::help; pub fn run() {}");
    for m in ["mod a; pub fn help() {} fn f() { a::run() }", "mod a; pub use a::run; fn f() { run() } pub fn help() {}"]
    {
        assert_eq!(cycles_of(&[("src/m/mod.rs", m), a]).len(), 2, "{m}");
    }
    let three = [
        ("src/m/mod.rs", "mod a; mod b; mod c; mod d; pub use a::A;"),
        ("src/m/a.rs", "use super::b::B; use super::d::D; pub struct A;"),
        ("src/m/b.rs", "use super::c::C; pub struct B;"),
        ("src/m/c.rs", "use super::A; use super::d::D; pub struct C;"),
        ("src/m/d.rs", "pub struct D;"),
    ];
    assert_eq!(cycles_of(&three).len(), 3);
}

#[test]
fn re_exports_and_tests_make_no_cycle() {
    let m = "mod a; #[cfg(test)] mod tests; pub use a::run; pub const LIMIT: u32 = 1;";
    let a = "use super::LIMIT; pub fn run() { #[cfg(test)] super::tests::fault() }\n\
             #[cfg(test)] mod tests { use super::super::b::B; }";
    let b = ("src/m/b.rs", "use super::a::run; pub struct B;");
    let tests = ("src/m/tests.rs", "use super::a::run; pub fn fault() {}");
    assert_eq!(cycles_of(&[("src/m/mod.rs", m), ("src/m/a.rs", a), b, tests]), Vec::<String>::new());
}
