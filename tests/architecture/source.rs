//! What the checks need to know of a source file, read once by `syn`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// The path of a module: `["plan", "types"]` for `crate::plan::types`.
pub(crate) type Module = Vec<String>;

/// The facts of one source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// From the root of the project, with `/`.
    pub(crate) path: String,
    pub(crate) module: Module,
    /// It belongs to a module that is `#[cfg(test)]`: all of it is test code.
    pub(crate) is_test: bool,
    /// Lines without those of test modules.
    pub(crate) lines: usize,
    /// Every path that the code names, `use` declarations included.
    pub(crate) names: Vec<Name>,
    /// The file's module, and the modules written inside the file.
    pub(crate) scopes: BTreeMap<Module, Scope>,
    /// The types that it defines outside tests, with their lines. Associated types do not count.
    pub(crate) types: Vec<(usize, String)>,
    /// The modules in other files that it declares as `#[cfg(test)]`.
    pub(crate) test_modules: Vec<Module>,
    /// The names of the test functions that are run.
    pub(crate) tests: Vec<String>,
    /// String literals outside tests, with their lines.
    pub(crate) strings: Vec<(usize, String)>,
    /// Lines of doc comments outside tests.
    pub(crate) docs: Vec<(usize, String)>,
}

/// What a module defines and what its `use` declarations bind.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) items: BTreeSet<String>,
    pub(crate) uses: BTreeMap<String, Vec<String>>,
}

/// A path that the code names.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) line: usize,
    /// Begins with `crate` if it was written with `crate`, `self` or `super`; otherwise as written.
    pub(crate) path: Vec<String>,
    /// The module in which it stands.
    pub(crate) scope: Module,
    pub(crate) role: Role,
    pub(crate) in_test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Role {
    /// A `use` declaration for the module itself.
    Import,
    /// A `use` declaration with a visibility.
    ReExport,
    /// A macro that is called.
    Macro,
    /// A function that is called without arguments.
    EmptyCall,
    /// Any other place.
    Code,
}

impl Source {
    /// Reads files, given by path and text, that together are a crate.
    pub(crate) fn parse_all<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Self> {
        let mut sources: Vec<Self> = files.into_iter().map(|(path, text)| Self::parse(path, text)).collect();
        let tests: BTreeSet<Module> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
        for source in &mut sources {
            if (1..=source.module.len()).any(|depth| tests.contains(&source.module[..depth])) {
                source.is_test = true;
                source.names.iter_mut().for_each(|name| name.in_test = true);
                (source.types, source.strings, source.docs) = Default::default();
            }
        }
        sources
    }

    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let module = module_of(path);
        let source = Self { path: path.to_owned(), module: module.clone(), ..Self::default() };
        let mut reader = Reader { source, scope: module, in_test: false, test_lines: BTreeSet::new() };
        reader.source.scopes.entry(reader.scope.clone()).or_default();
        reader.visit_file(&file);
        reader.source.lines = text.lines().count() - reader.test_lines.len();
        reader.source
    }
}

/// The module that a file under `src` holds.
pub(crate) fn module_of(path: &str) -> Module {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    inner.split('/').filter(|part| !["mod", "lib"].contains(part)).map(str::to_owned).collect()
}

struct Reader {
    source: Source,
    scope: Module,
    in_test: bool,
    test_lines: BTreeSet<usize>,
}

impl Reader {
    fn name(&mut self, line: usize, written: &[String], role: Role) {
        let use_ = [Role::Import, Role::ReExport].contains(&role);
        if !use_ && ["self", "super", "crate"].iter().any(|word| written == [*word]) {
            return; // the receiver of a method, a visibility
        }
        let path = absolute(&self.scope, written);
        let scope = self.scope.clone();
        self.source.names.push(Name { line, path, scope, role, in_test: self.in_test });
    }

    fn path(&mut self, path: &syn::Path, role: Role) {
        let written: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.name(path.segments[0].ident.span().start().line, &written, role);
    }

    fn item(&mut self, name: &syn::Ident) {
        self.source.scopes.entry(self.scope.clone()).or_default().items.insert(name.to_string());
    }

    fn type_(&mut self, name: &syn::Ident) {
        self.item(name);
        if !self.in_test {
            self.source.types.push((name.span().start().line, name.to_string()));
        }
    }

    fn string(&mut self, text: &syn::LitStr) {
        if !self.in_test {
            self.source.strings.push((text.span().start().line, text.value()));
        }
    }

    fn use_tree(&mut self, tree: &UseTree, prefix: &[String], role: Role) {
        let (ident, bound) = match tree {
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.use_tree(tree, prefix, role)),
            UseTree::Path(path) => {
                return self.use_tree(&path.tree, &[prefix, &[path.ident.to_string()]].concat(), role);
            }
            UseTree::Glob(glob) => {
                let written = [prefix, &["*".to_owned()]].concat();
                return self.name(glob.star_token.spans[0].start().line, &written, role);
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(name) => (&name.ident, &name.rename),
        };
        let itself = ident == "self" && !prefix.is_empty();
        let written = if itself { prefix.to_vec() } else { [prefix, &[ident.to_string()]].concat() };
        let bound = if itself && bound == "self" { written.last().cloned() } else { Some(bound.to_string()) };
        self.name(ident.span().start().line, &written, role);
        if let (Some(bound), false) = (bound, self.in_test) {
            let path = absolute(&self.scope, &written);
            self.source.scopes.entry(self.scope.clone()).or_default().uses.insert(bound, path);
        }
    }

    /// The tokens of a macro call, which are no syntax tree: paths and strings are read from them.
    fn tokens(&mut self, tokens: &TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let punct = |at: usize, c: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.tokens(&group.stream()),
                TokenTree::Literal(literal) => {
                    if let syn::Lit::Str(text) = syn::Lit::new(literal.clone()) {
                        self.string(&text);
                    }
                }
                TokenTree::Ident(first) => {
                    let mut written = vec![first.to_string()];
                    while let (true, true, Some(TokenTree::Ident(next))) =
                        (punct(at, ':'), punct(at + 1, ':'), tokens.get(at + 2))
                    {
                        written.push(next.to_string());
                        at += 3;
                    }
                    let role = match tokens.get(at) {
                        Some(TokenTree::Punct(_)) if punct(at, '!') && !punct(at + 1, '=') => Role::Macro,
                        Some(TokenTree::Group(group)) if group.stream().is_empty() => Role::EmptyCall,
                        _ => Role::Code,
                    };
                    self.name(first.span().start().line, &written, role);
                }
                TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let outside = self.in_test;
        self.in_test |= attributes(item).iter().any(is_cfg_test);
        match item {
            Item::Struct(item) => self.type_(&item.ident),
            Item::Enum(item) => self.type_(&item.ident),
            Item::Union(item) => self.type_(&item.ident),
            Item::Trait(item) => self.type_(&item.ident),
            Item::Type(item) => self.type_(&item.ident),
            Item::Fn(item) => self.item(&item.sig.ident),
            Item::Const(item) => self.item(&item.ident),
            Item::Static(item) => self.item(&item.ident),
            Item::Macro(item) => item.ident.iter().for_each(|name| self.item(name)),
            _ => {}
        }
        visit::visit_item(self, item);
        self.in_test = outside;
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.scope.push(item.ident.to_string());
        match &item.content {
            Some((brace, _)) => {
                if item.attrs.iter().any(is_cfg_test) {
                    let first = item.attrs[0].pound_token.spans[0].start().line;
                    self.test_lines.extend(first..=brace.span.close().end().line);
                }
                self.source.scopes.entry(self.scope.clone()).or_default();
                visit::visit_item_mod(self, item);
            }
            None if self.in_test => self.source.test_modules.push(self.scope.clone()),
            None => {}
        }
        self.scope.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let has = |name: &str| item.attrs.iter().any(|a| a.path().segments.last().is_some_and(|s| s.ident == name));
        if has("test") && !has("ignore") {
            self.source.tests.push(item.sig.ident.to_string());
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.name(item.ident.span().start().line, &[item.ident.to_string()], Role::Import);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let private = matches!(item.vis, syn::Visibility::Inherited);
        self.use_tree(&item.tree, &[], if private { Role::Import } else { Role::ReExport });
    }

    /// `pub(super)` names nothing that is used.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(path, Role::Code);
        visit::visit_path(self, path);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let (syn::Expr::Path(function), true) = (&*call.func, call.args.is_empty()) {
            self.path(&function.path, Role::EmptyCall);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.path(&call.path, Role::Macro);
        self.tokens(&call.tokens);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.string(text);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => {
                if let (syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }), false) =
                    (&pair.value, self.in_test)
                {
                    let first = text.span().start().line;
                    let lines = text.value();
                    self.source.docs.extend(lines.lines().enumerate().map(|(i, line)| (first + i, line.to_owned())));
                }
            }
            syn::Meta::NameValue(pair) => self.visit_expr(&pair.value),
            syn::Meta::List(list) => self.tokens(&list.tokens),
            syn::Meta::Path(_) => {}
        }
    }
}

/// `written` as a path from the crate's root, if it was written with `crate`, `self` or `super`.
fn absolute(scope: &[String], written: &[String]) -> Vec<String> {
    let supers = written.iter().take_while(|part| *part == "super" || *part == "self").count();
    if supers == 0 {
        return written.to_vec();
    }
    let up = written[..supers].iter().filter(|part| *part == "super").count();
    let mut path = vec!["crate".to_owned()];
    path.extend_from_slice(&scope[..scope.len().saturating_sub(up)]);
    path.extend_from_slice(&written[supers..]);
    path
}

pub(crate) fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "//! crate::a\nconst A: &str = \"crate::b \\\" \"; /* crate::c /* d */ \" */\n\
                fn f<'m>() { g(r#\"crate::h \" i\"#, b\"j\\\"\", 'k', b'\\'', '\"'); println!(\"crate::l\"); }";
    let source = Source::parse("src/lib.rs", text);
    let names: Vec<String> = source.names.iter().map(|name| name.path.join("::")).collect();
    assert_eq!(names, ["str", "g", "println"]);
    let strings: Vec<(usize, &str)> = source.strings.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(strings, [(2, "crate::b \" "), (3, "crate::h \" i"), (3, "crate::l")]);
    assert_eq!(source.docs, [(1, " crate::a".to_owned())]);
}

#[test]
fn the_module_of_a_file_follows_from_its_path() {
    for (path, module) in [
        ("src/lib.rs", vec![]),
        ("src/plan.rs", vec!["plan"]),
        ("src/plan/mod.rs", vec!["plan"]),
        ("src/plan/types.rs", vec!["plan", "types"]),
        ("src/driver/local/mod.rs", vec!["driver", "local"]),
        ("src/driver/local/trash.rs", vec!["driver", "local", "trash"]),
    ] {
        assert_eq!(module_of(path), module, "{path}");
    }
}

#[test]
fn files_of_a_test_module_are_tests() {
    let text = "struct S; fn f() { x::y(\"t\") }";
    let files = [("src/m/mod.rs", "#[cfg(test)] mod aid; mod b;"), ("src/m/aid/deep.rs", text), ("src/m/b.rs", text)];
    let [_, aid, b] = &Source::parse_all(files)[..] else { panic!("three files") };
    assert!(aid.is_test && aid.types.is_empty() && aid.strings.is_empty() && aid.names.iter().all(|name| name.in_test));
    assert!(!b.is_test && b.types.len() == 1 && b.strings.len() == 1 && !b.names.iter().any(|name| name.in_test));
}

#[test]
fn tests_are_told_from_other_code() {
    let text = "#[cfg(test)]\nmod a {\n struct T;\n fn f() { x::y(\"t\") }\n}\n#[cfg(test)] mod b;\nmod c;\nstruct S;\n\
                impl I for S { type Associated = S; }\n#[test] fn run() {}\n#[test] #[ignore] fn asleep() {}";
    let source = Source::parse("src/m/mod.rs", text);
    assert_eq!(source.test_modules, [["m", "b"]]);
    assert_eq!(source.types, [(8, "S".to_owned())]);
    assert_eq!(source.strings, []);
    assert_eq!(source.tests, ["run"]);
    assert_eq!(source.lines, 6);
    let in_test = |path: &[&str]| source.names.iter().find(|name| name.path == path).map(|name| name.in_test);
    assert_eq!([in_test(&["x", "y"]), in_test(&["S"])], [Some(true), Some(false)]);
}
