//! No wildcard arm over what a new variant must be thought of for: kinds of documents, actions, and reasons to hold.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Arm, ExprMatch, ImplItemFn, Item, Pat};

use crate::source::{attributes, is_cfg_test};

/// The enums that a `match` names variant by variant.
const ENUMS: [&str; 3] = ["Action", "HeldReason", "Kind"];

/// The wildcard arms of the files outside their tests, as `FILE: ENUM`.
pub(crate) fn wildcard_arms<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (path, text) in files {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut matches = Matches(Vec::new());
        matches.visit_file(&file);
        for (line, name) in matches.0 {
            found.entry(format!("{path}: {name}")).or_default().insert(line);
        }
    }
    let lines = |lines: BTreeSet<usize>| lines.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    found.into_iter().map(|(breach, at)| (breach, format!("line {}", lines(at)))).collect()
}

/// The lines of wildcard arms, with the enum that each is over.
struct Matches(Vec<(usize, &'static str)>);

impl<'s> Visit<'s> for Matches {
    fn visit_item(&mut self, item: &'s Item) {
        if !attributes(item).iter().any(is_cfg_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'s ImplItemFn) {
        if !function.attrs.iter().any(is_cfg_test) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_expr_match(&mut self, found: &'s ExprMatch) {
        // Of a match over a tuple each element counts by itself.
        for at in 0..found.arms.iter().map(|arm| elements(&arm.pat).len()).max().unwrap_or(0) {
            let element = |arm: &'s Arm| elements(&arm.pat).get(at).copied();
            let named = found.arms.iter().filter_map(element).find_map(enum_of);
            let wild = found.arms.iter().find(|arm| is_wild(&arm.pat));
            if let (Some(name), Some(arm)) = (named, wild) {
                self.0.push((arm.fat_arrow_token.spans[0].start().line, name));
            }
        }
        visit::visit_expr_match(self, found);
    }
}

/// The patterns of a tuple, or the pattern itself.
fn elements(pattern: &Pat) -> Vec<&Pat> {
    match pattern {
        Pat::Guard(of) => elements(&of.pat),
        Pat::Tuple(tuple) => tuple.elems.iter().collect(),
        Pat::Or(or) => or.cases.iter().flat_map(elements).collect(),
        pattern => vec![pattern],
    }
}

/// Whether an arm takes everything that is left; one with a guard does not.
fn is_wild(pattern: &Pat) -> bool {
    match pattern {
        Pat::Tuple(tuple) => tuple.elems.iter().all(is_wild),
        Pat::Wild(_) => true,
        Pat::Ident(ident) => ident.subpat.is_none(),
        _ => false,
    }
}

/// The enum that a pattern names a variant of.
fn enum_of(pattern: &Pat) -> Option<&'static str> {
    let path = match pattern {
        Pat::Path(path) => &path.path,
        Pat::Struct(of) => &of.path,
        Pat::TupleStruct(of) => &of.path,
        Pat::Or(or) => return or.cases.iter().find_map(enum_of),
        Pat::Ident(ident) => return ident.subpat.as_ref().and_then(|(_, pattern)| enum_of(pattern)),
        Pat::Reference(of) => return enum_of(&of.pat),
        Pat::Paren(of) => return enum_of(&of.pat),
        _ => return None,
    };
    let owner = path.segments.iter().rev().nth(1)?;
    ENUMS.into_iter().find(|name| owner.ident == name)
}

#[test]
fn a_wildcard_arm_is_seen() {
    let of = |body: &str| {
        let text = format!("fn f() {{ match x {{ {body} }} }}");
        wildcard_arms([("src/a.rs", text.as_str())].into_iter()).into_keys().collect::<Vec<_>>()
    };
    for wild in ["Kind::A => 1, _ => 2", "Kind::A | Kind::B => 1, kind => 2", "(Kind::A, 1) => 1, (_, _) => 2"] {
        assert_eq!(of(wild), ["src/a.rs: Kind"], "{wild}");
    }
    assert_eq!(
        of("Action::A { .. } | Action::B(_) => match y { HeldReason::A if z => 1, other => 2 }, _ => 3"),
        ["src/a.rs: Action", "src/a.rs: HeldReason"]
    );
    for exact in ["Kind::A => 1, Kind::B => 2", "Some(1) => 1, _ => 2", "Other::A => 1, _ => 2"] {
        assert_eq!(of(exact), Vec::<String>::new(), "{exact}");
    }
    let test = "#[cfg(test)] mod tests { fn f() { match x { Kind::A => 1, _ => 2 } } }";
    assert_eq!(wildcard_arms([("src/a.rs", test)].into_iter()), BTreeMap::new());
}
