//! The documents keep up with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln::manifest::{Limits, Source, load, schema};
use kiln::model::Kind;
use kiln::plan::HeldReason;
use serde_json::Value;

mod typed;

/// The documents whose links are followed.
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/exit-codes.md",
    "docs/held.md",
    "docs/manifests.md",
    "docs/recovery.md",
    "docs/watch.md",
    "dist/README.md",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The headings of the second level, in order.
fn sections(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

/// The headings of every level below the title.
fn headings(text: &str) -> Vec<&str> {
    let all = text.lines().filter(|line| line.starts_with("##"));
    all.map(|line| line.trim_start_matches('#').trim_start()).collect()
}

/// As GitHub makes anchors of headings.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The targets of `[…](…)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

#[test]
fn every_held_reason_is_explained_once() {
    let text = read("docs/held.md");
    let explained = sections(&text);
    let unique: BTreeSet<&str> = explained.iter().copied().collect();
    assert_eq!(unique.len(), explained.len(), "a reason is explained twice");
    assert_eq!(unique, HeldReason::ALL.iter().map(|reason| reason.as_str()).collect());
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for link in links(&text).into_iter().filter(|link| !link.starts_with("https://")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match Path::new(document).parent() {
                _ if file.is_empty() => document.to_owned(),
                Some(dir) => dir.join(file).to_string_lossy().into_owned(),
                None => file.to_owned(),
            };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&target);
            assert!(path.exists(), "{document}: the link {link} leads nowhere");
            if !fragment.is_empty() {
                let found = headings(&read(&target)).into_iter().any(|heading| anchor(heading) == fragment);
                assert!(found, "{document}: {target} has no section {fragment}");
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "only {followed} links were found");
}

/// The Rust sources that a document names in code, with their directories.
fn sources_in(text: &str) -> Vec<&str> {
    let named = text.split('`').skip(1).step_by(2).map(|code| code.split("::").next().unwrap_or_default());
    named.filter(|code| code.contains('/') && code.ends_with(".rs") && !code.contains(' ')).collect()
}

#[test]
fn every_source_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for source in without_code(&read(document)).as_str().lines().flat_map(sources_in) {
            let exists = [root.join(source), root.join("src").join(source)].iter().any(|path| path.exists());
            assert!(exists, "{document}: there is no {source}");
            named += 1;
        }
    }
    assert!(named > 20, "only {named} sources were found");
    assert_eq!(sources_in("`a/b.rs`, `c.rs`, `d/e.rs::f` and `cargo run g/h.rs`"), ["a/b.rs", "d/e.rs"]);
}

#[test]
fn the_sample_of_a_field_is_that_of_the_source() {
    let text = read("CONTRIBUTING.md");
    let (_, rest) = text.split_once("```rust\n").unwrap();
    let (sample, rest) = rest.split_once("```").unwrap();
    assert!(!rest.contains("```rust"), "there is one sample");
    let source: String =
        read("src/model/document/volume.rs").lines().map(|line| format!("{}\n", line.trim())).collect();
    assert!(source.contains(sample), "volume.rs has no\n{sample}");
}

#[test]
fn links_and_anchors_are_read_as_written() {
    assert_eq!(links("see [a](b.md#c), [d](https://e) (f)"), ["b.md#c", "https://e"]);
    assert_eq!(anchor("The store is in use (exit code 7)"), "the-store-is-in-use-exit-code-7");
    assert_eq!(anchor("volume.spec.size"), "volumespecsize");
    assert_eq!(sections("# a\n## b\ntext\n### c\n## d"), ["b", "d"]);
    assert_eq!(headings("# a\n## b\ntext\n### c\n## d"), ["b", "c", "d"]);
}

/// The text and the examples of a field on a page.
#[derive(Debug, Default, PartialEq)]
struct FieldText {
    /// In running words: one blank between words, and no marks of code.
    text: String,
    /// Only where the field has a section of its own, and not a row of a table.
    examples: Option<Vec<String>>,
}

/// The fields that a page is about, by path: sections of the third level, and rows of tables that begin with one.
fn fields_on(page: &str) -> BTreeMap<String, FieldText> {
    let mut fields: BTreeMap<String, FieldText> = BTreeMap::new();
    let mut add = |path: &str, said: FieldText| {
        assert!(fields.insert(path.to_owned(), said).is_none(), "{path} is explained twice");
    };
    for section in page.split("\n### ").skip(1) {
        let section = section.split("\n## ").next().unwrap_or_default();
        let (path, body) = section.split_once('\n').unwrap_or((section, ""));
        let mut own = String::new();
        for line in without_code(body).lines() {
            match line.strip_prefix("| `").and_then(|row| row.split_once("` |")) {
                Some((path, text)) => add(path, FieldText { text: in_words(text), examples: None }),
                None => own.extend([line, "\n"]),
            }
        }
        add(path, FieldText { text: in_words(&own), examples: Some(code(body, "yaml")) });
    }
    fields
}

fn in_words(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The blocks of code of one language.
fn code(text: &str, language: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let wanted = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    wanted.map(str::to_owned).collect()
}

fn without_code(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// A field as the schema has it.
#[derive(Debug)]
struct Field {
    required: bool,
    /// `1m` of "… Default: 1m.", where a default is described.
    default: Option<String>,
    /// The words that it may be, where there are only a few.
    choices: Vec<String>,
}

/// Every field that the schema knows, by its path as `kiln explain` takes it. What all kinds have is there once, without a kind.
fn fields_of_the_schema() -> BTreeMap<String, Field> {
    let mut fields = BTreeMap::new();
    for kind in Kind::ALL {
        let root = schema(Some(kind));
        walk(&root, &root, kind.as_lower(), &mut fields);
    }
    fields
}

fn resolve<'v>(root: &'v Value, value: &'v Value) -> &'v Value {
    let reference = value["$ref"].as_str().and_then(|reference| root.pointer(reference.trim_start_matches('#')));
    reference.unwrap_or(value)
}

fn walk(root: &Value, map: &Value, path: &str, fields: &mut BTreeMap<String, Field>) {
    let required: Vec<&str> = map["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in map["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let value = resolve(root, field);
        let inner = if value["type"] == "array" { resolve(root, &value["items"]) } else { value };
        let own = field["description"].as_str().or(value["description"].as_str()).unwrap_or_default();
        let default = own.split_once("Default: ").map(|(_, rest)| {
            let ends = [". ", ", ", "; "].iter().filter_map(|end| rest.find(end));
            rest[..ends.min().unwrap_or(rest.len())].trim_end_matches('.').to_owned()
        });
        let choices = inner["oneOf"].as_array().into_iter().flatten().filter_map(|one| one["const"].as_str());
        let choices = choices.map(str::to_owned).collect();
        let (_, common) = path.split_once('.').expect("a path has a kind");
        let shown = if common == "spec" || !common.starts_with("spec") { common } else { &path };
        fields.insert(shown.to_owned(), Field { required: required.contains(&name.as_str()), default, choices });
        walk(root, inner, &path, fields);
    }
}

#[test]
fn every_field_of_the_schema_is_explained_and_no_other() {
    let schema = fields_of_the_schema();
    assert!(schema.len() > 100, "the schema has only {} fields", schema.len());
    let page = fields_on(&read("docs/manifests.md"));
    let (known, explained): (BTreeSet<_>, BTreeSet<_>) = (schema.keys().collect(), page.keys().collect());
    let forgotten: Vec<_> = known.difference(&explained).collect();
    let unknown: Vec<_> = explained.difference(&known).collect();
    assert!(forgotten.is_empty() && unknown.is_empty(), "not explained: {forgotten:?}; not in the schema: {unknown:?}");
    for (path, field) in &schema {
        let FieldText { text, .. } = &page[path];
        assert_eq!(text.contains("Required"), field.required, "{path}: whether it is required: {text}");
        if let Some(default) = &field.default {
            assert!(says_default(text, default), "{path}: its default is {default}: {text}");
        }
        for choice in &field.choices {
            let is_it = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()) == choice;
            assert!(text.split_whitespace().any(is_it), "{path} may be {choice}: {text}");
        }
    }
}

fn says_default(text: &str, default: &str) -> bool {
    let rest = text.split_once("Default: ").and_then(|(_, rest)| rest.strip_prefix(default));
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// Loads documents, which must be good.
fn good(text: &str) -> kiln::model::Reading {
    let loaded = load(&Source::Text(text.to_owned()), &Limits::default());
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{}\n\n{text}", problems.join("\n"));
    loaded.reading
}

/// The documents of a block, parsed.
fn documents(block: &str) -> Vec<(&str, Value)> {
    let texts = block.split("---\n");
    texts.map(|text| (text, serde_yaml::from_str(text).expect("an example is YAML"))).collect()
}

/// A block with those documents of the frame that it does not declare itself. There is one Stack.
fn framed(block: &str, frame: &str) -> String {
    let what = |document: &Value| match &document["kind"] {
        kind if kind == "Stack" => (kind.clone(), Value::Null),
        kind => (kind.clone(), document["metadata"]["name"].clone()),
    };
    let own: Vec<(Value, Value)> = documents(block).iter().map(|(_, document)| what(document)).collect();
    let others = documents(frame).into_iter().filter(|(_, document)| !own.contains(&what(document)));
    std::iter::once(block).chain(others.map(|(text, _)| text)).collect::<Vec<_>>().join("---\n")
}

#[test]
fn every_example_of_a_manifest_is_good() {
    let text = read("docs/manifests.md");
    let (_, rest) = text.split_once("\n## Documents that every example assumes\n").expect("the page has a frame");
    let frame = code(rest, "yaml").remove(0);
    let blocks = code(&text, "yaml");
    assert_eq!(blocks.len(), text.matches("```").count() / 2, "a block is not one of manifests");
    assert!(blocks.len() > 45, "there are only {} examples", blocks.len());
    for block in &blocks {
        let reading = good(&framed(block, &frame));
        assert!(reading.specs.stack.declared && !reading.broken);
    }
    // Every section of a field shows it.
    for (path, FieldText { examples, .. }) in fields_on(&text) {
        let Some(examples) = examples else { continue };
        let (kind, rest) = match path.split_once('.') {
            Some((kind, rest)) if rest.starts_with("spec") => (Some(kind), rest),
            _ => (None, path.as_str()),
        };
        let pointer = format!("/{}", rest.replace('.', "/"));
        let shows = |document: &Value| {
            let of_kind = kind.is_none_or(|kind| document["kind"].as_str().is_some_and(|k| k.to_lowercase() == kind));
            of_kind && document.pointer(&pointer).is_some()
        };
        let shown = examples.iter().flat_map(|block| documents(block)).any(|(_, document)| shows(&document));
        assert!(shown, "no example of {path} has the field");
    }
}

#[test]
fn pages_of_fields_are_read_as_written() {
    let page = "## A\n### a.spec.b\nIt is\n`b`.\n\n| `a.spec.b.c` | Text. Required. |\n|---|---|\n```yaml\nb: 1\n```\n## B\nnot\n";
    let fields = fields_on(page);
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["a.spec.b", "a.spec.b.c"]);
    assert_eq!(
        fields["a.spec.b"],
        FieldText { text: "It is b. |---|---|".into(), examples: Some(vec!["b: 1\n".into()]) }
    );
    assert_eq!(fields["a.spec.b.c"], FieldText { text: "Text. Required. |".into(), examples: None });
    assert!(says_default("A. Default: 1; B", "1") && !says_default("Default: 10", "1") && !says_default("A. 1", "1"));
    let (one, two) = ("kind: X\nmetadata: {name: a}\n", "kind: X\nmetadata: {name: b}\n");
    assert_eq!(framed(one, &format!("{one}---\n{two}")), format!("{one}---\n{two}"));
}

/// What the reader takes where nothing is written, and how much it takes, is what the page says.
#[test]
fn the_defaults_and_limits_on_the_page_are_the_readers() {
    let text = read("docs/manifests.md");
    let fields = fields_on(&text);
    let head = "apiVersion: kiln/v1\nmetadata: {name: x}\n";
    let reading = good(&format!(
        "{head}kind: Stack\nspec: {{id: 5c1d2e8a90}}\n---\n{head}kind: Backend\nspec: {{driver: local, local: {{path: pool}}}}"
    ));
    let specs = &reading.specs;
    let (stack, backend) = (&specs.stack, specs.backends.values().next().expect("there is a Backend"));
    let overcommit = f64::from(backend.overcommit.expect("local has a limit").0) / 100.0;
    for (path, default) in [
        ("stack.spec.interval", stack.interval.to_string()),
        ("stack.spec.trash.ttl", stack.trash.ttl.to_string()),
        ("stack.spec.safety.maxRemovals", stack.safety.max_removals.to_string()),
        ("stack.spec.safety.maxRemovedPercent", stack.safety.max_removed_percent.to_string()),
        ("stack.spec.safety.maxRemovedBytes", stack.safety.max_removed_bytes.to_string()),
        ("backend.spec.concurrency", backend.concurrency.to_string()),
        ("backend.spec.timeout", backend.timeout.to_string()),
        ("backend.spec.maxFill", backend.max_fill.to_string()),
        ("backend.spec.overcommit", format!("{overcommit:.1}")),
    ] {
        let FieldText { text, .. } = &fields[path];
        assert!(says_default(text, &default), "{path}: the default is {default}: {text}");
    }
    let Limits { file_bytes, total_bytes, files, documents, document_bytes, nodes, depth, shown } = Limits::default();
    let source = read("src/manifest/files.rs");
    let (_, rest) = source.split_once("const MAX_DEPTH: usize = ").expect("the walk has a limit");
    let directories = rest.split(';').next().unwrap_or_default();
    let thousands = |number: usize| match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    };
    for row in [
        format!("| one file, and stdin | {} MiB |", file_bytes >> 20),
        format!("| all files together | {} MiB |", total_bytes >> 20),
        format!("| files | {} |", thousands(files)),
        format!("| documents in a file | {} |", thousands(documents)),
        format!("| one document | {} KiB |", document_bytes >> 10),
        format!("| values and keys in a document | {} |", thousands(nodes)),
        format!("| nested lists and maps | {depth} |"),
        format!("| problems shown per file | {shown} |"),
        format!("| nested directories | {directories} |"),
    ] {
        assert!(text.contains(&row), "the page lacks {row}");
    }
}

/// `Name = 3,` of the enum in the source of the exit codes, and the names in the order in which they win.
fn exit_codes() -> (BTreeMap<String, u8>, Vec<String>) {
    let source = read("src/cli/exit.rs");
    let between = |begin: &str, end: &str| {
        let (_, rest) = source.split_once(begin).expect("the source has it");
        rest.split_once(end).expect("it ends").0.to_owned()
    };
    let variants = between("enum Exit {", "\n}");
    let codes = variants.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let codes = codes.map(|(name, code)| (name.to_owned(), code.parse().expect("a code is a number"))).collect();
    let order = between("const ORDER: [Exit; ", "];");
    let order = order.split("Exit::").skip(1).map(|rest| rest.split(',').next().unwrap_or_default().to_owned());
    (codes, order.collect())
}

#[test]
fn every_exit_code_is_explained_and_no_other() {
    let text = read("docs/exit-codes.md");
    let (codes, order) = exit_codes();
    let known: BTreeSet<u8> = codes.values().copied().collect();
    assert!(known.len() >= 8 && known.len() == codes.len(), "{codes:?}");
    let number = |text: &str| text.parse::<u8>().ok();
    let explained: Vec<u8> = sections(&text).iter().filter_map(|heading| number(heading.split_once(": ")?.0)).collect();
    let rows: Vec<u8> = text.lines().filter_map(|line| number(line.strip_prefix("| ")?.split_once(" | ")?.0)).collect();
    assert_eq!(explained, known.iter().copied().collect::<Vec<_>>(), "the sections, each once, in order");
    assert_eq!(rows, explained, "the table at the top");
    let wins: Vec<String> = order.iter().map(|name| codes[name].to_string()).collect();
    let [usage, wins @ .., done] = wins.as_slice() else { panic!("{wins:?}") };
    assert_eq!((usage.as_str(), done.as_str()), ("2", "0"));
    assert!(in_words(&text).contains(&format!("the first of {} wins", wins.join(", "))), "which one wins: {wins:?}");

    let by_command = codes_by_command(&text);
    let given: BTreeSet<u8> = by_command.values().flatten().copied().collect();
    assert_eq!(given, known, "each is given by some command");
}

/// The table by command.
fn codes_by_command(page: &str) -> BTreeMap<String, BTreeSet<u8>> {
    let (_, table) = page.split_once("\n## By command\n").expect("the page has a table by command");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    let codes = |row: &str| row.split(", ").map(|code| code.parse().expect("a row has codes")).collect();
    rows.map(|(command, row)| (command.to_owned(), codes(row))).collect()
}

/// A directory with specs of one volume.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir(host.0.path().join("specs")).expect("a directory");
        let head = "apiVersion: kiln/v1\nmetadata: {name: x}\n";
        let backend = "spec: {driver: local, local: {path: ../pool, create: true}, maxFill: 100%}";
        host.write("specs/backend.yaml", &format!("{head}kind: Backend\n{backend}\n"));
        host.declare("2Mi");
        host
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.path().join(file), text).expect("a file");
    }

    fn declare(&self, size: &str) {
        let head = "apiVersion: kiln/v1\nmetadata: {name: x}\n";
        self.write("specs/volume.yaml", &format!("{head}kind: Volume\nspec: {{backend: x, size: {size}}}\n"));
    }

    /// A file in the place of the pool: nothing can be seen there.
    fn hide_the_pool(&self) {
        fs::rename(self.0.path().join("pool"), self.0.path().join("away")).expect("the pool is there");
        self.write("pool", "");
    }

    fn run(&self, script: &str, exit: i32) -> String {
        typed::run(self.0.path(), script, exit)
    }

    /// How each command ends here.
    fn ends(&self, page: &BTreeMap<String, BTreeSet<u8>>) -> BTreeMap<String, u8> {
        let ends = page.keys().map(|command| {
            let arguments = match command.as_str() {
                "describe" | "forget" | "resume" => "volume/x",
                "approve" => "0123456789abcdef",
                "suspend" => "volume/x --reason work",
                "trash" => "purge volume/x --yes",
                "adopt" => "x --from-owner other",
                "image" => "export volume/x x.raw --format raw --force",
                "completions" => "bash",
                "explain" => "volume",
                _ => "",
            };
            let line = format!("kiln {command} {arguments} > /dev/null");
            let said = match command.as_str() {
                // Once it answers it is ended by a signal.
                "watch" => self.run(
                    &format!("{line} & until [ -S state/kiln.sock ] || ! kill -0 $!; do sleep 0.02; done; kill $!; wait $!; echo $?"),
                    0,
                ),
                _ => self.run(&format!("{line}; echo $?"), 0),
            };
            (command.clone(), said.trim().parse().expect("a code"))
        });
        ends.collect()
    }
}

#[test]
fn the_codes_by_command_are_those_that_commands_end_with() {
    let page = codes_by_command(&read("docs/exit-codes.md"));
    let here = Host::new();
    let help = here.run("kiln --help", 0);
    let (_, help) = help.split_once("\nCommands:\n").expect("the help lists the commands");
    let commands = help.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("    "));
    let commands: BTreeSet<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(page.keys().map(String::as_str).collect::<BTreeSet<_>>(), commands);
    for (command, codes) in &page {
        assert!([0, 1, 2].iter().all(|code| codes.contains(code)), "{command} can end so: {codes:?}");
        here.run(&format!("kiln {command} --no-such-option"), 2);
    }
    here.run("kiln apply", 0);

    // In each of these worlds, exactly the commands whose rows have the code end with it.
    let compare = |code: u8, ends: &BTreeMap<String, u8>| {
        for (command, codes) in &page {
            let end = ends[command];
            assert!(codes.contains(&end), "{command} ended with {end}, and its row has {codes:?}");
            assert_eq!(end == code, codes.contains(&code), "{command} ended with {end}: {code} applies here");
        }
    };
    here.declare("1Mi");
    let held = here.ends(&page);
    assert_eq!((held["plan"], held["apply"], held["doctor"]), (4, 4, 4), "{held:?}");
    assert!(held.iter().all(|(command, end)| page[command].contains(end)), "{held:?}");
    here.declare("2Mi");
    let lock = fs::File::open(here.0.path().join("state/lock")).expect("the store has a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("nobody has the lock");
    compare(7, &here.ends(&page));
    drop(lock);
    here.hide_the_pool();
    compare(6, &here.ends(&page));
    here.write("specs/volume.yaml", "size: ?\n");
    compare(5, &here.ends(&page));
}

#[test]
fn the_script_for_pipelines_does_what_it_says() {
    let text = read("docs/exit-codes.md");
    let (_, section) = text.split_once("\n## In a pipeline\n").expect("the page has a script");
    let script = code(section, "sh").remove(0);
    let here = Host::new();
    let first = here.run(&script, 0);
    assert!(!first.contains("nothing to do"), "{first}");
    assert!(here.0.path().join("pool").exists(), "what was pending is applied");
    let second = here.run(&script, 0);
    assert!(second.contains("nothing to do"), "{second}");
    here.declare("1Mi");
    let held = here.run(&script, 1);
    assert!(held.contains("something is held"), "{held}");
    here.hide_the_pool();
    let later = here.run(&script, 75);
    assert!(later.contains("later"), "{later}");
    here.write("specs/volume.yaml", "size: ?\n");
    let broken = here.run(&script, 1);
    assert!(!broken.contains("held"), "{broken}");
}

/// A daemon, killed when it is let go of.
struct Watch(std::process::Child);

impl Drop for Watch {
    fn drop(&mut self) {
        // A second time if it has ended already: then nothing is there to be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `/metrics` prints, as rows of the page: name, type and labels.
fn metrics_in(text: &str) -> BTreeSet<[String; 3]> {
    let mut types: BTreeMap<&str, (String, &str)> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else { continue };
        let suffix = if kind == "counter" { "_total" } else { "" };
        let suffix = if kind == "info" { "_info" } else { suffix };
        types.insert(name, (format!("{name}{suffix}"), kind));
    }
    let samples =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once('{').unwrap_or((line, "")));
    let rows = samples.map(|(sample, labels)| {
        let sample = sample.split(' ').next().unwrap_or_default();
        let of = |(family, (name, _)): &(&&str, &(String, &str))| {
            sample == name
                || sample.strip_prefix(**family).is_some_and(|rest| ["_sum", "_count", "_bucket"].contains(&rest))
        };
        let (_, (name, kind)) = types.iter().find(of).unwrap_or_else(|| panic!("{sample} has no type"));
        let names: Vec<&str> = labels.split("=\"").filter_map(|part| part.rsplit([',', '{', '"']).next()).collect();
        let names = names.into_iter().filter(|name| !name.is_empty() && *name != "le" && !name.starts_with('}'));
        [name.clone(), (*kind).to_owned(), names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")]
    });
    rows.collect()
}

#[test]
fn every_metric_is_explained_and_no_other() {
    let page = read("docs/watch.md");
    let (_, table) = page.split_once("\n## Metrics\n").expect("the page has a table of metrics");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `kiln_"));
    let explained: Vec<[String; 3]> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            [format!("kiln_{}", cells[0].trim_end_matches('`')), cells[1].to_owned(), cells[2].to_owned()]
        })
        .collect();
    let unique: BTreeSet<[String; 3]> = explained.iter().cloned().collect();
    assert_eq!(unique.len(), explained.len(), "one is explained twice");

    // A world in which each of them has something to tell.
    let here = Host::new();
    let head = "apiVersion: kiln/v1\nmetadata: {name: y}\n";
    here.write(
        "specs/stack.yaml",
        &format!("{head}kind: Stack\nspec: {{id: 5c1d2e8a90, trash: {{ttl: 1s, purge: manual}}}}\n"),
    );
    here.write("specs/trashed.yaml", &format!("{head}kind: Volume\nspec: {{backend: x, size: 1Mi}}\n"));
    here.run("kiln apply && rm specs/trashed.yaml && kiln apply && truncate -s 64K image.raw", 0);
    here.declare("1Mi");
    let image = format!("{{image: {{path: ../image.raw, format: raw, sha256: \"{:064}\"}}}}", 0);
    here.write(
        "specs/failing.yaml",
        &format!(
            "{}kind: Volume\nspec: {{backend: x, size: 1Mi, source: {image}}}\n",
            head.replace("name: y", "name: z")
        ),
    );
    #[expect(clippy::disallowed_methods, reason = "the program under test, asked while it runs")]
    let mut kiln = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"));
    kiln.args(["--state", "state", "watch", "specs"]).current_dir(here.0.path()).stderr(std::process::Stdio::null());
    let _watch = Watch(kiln.spawn().expect("it runs"));

    let asked = || {
        let mut stream = UnixStream::connect(here.0.path().join("state/kiln.sock")).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: kiln\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    };
    let begun = Instant::now();
    loop {
        let printed = metrics_in(&asked().unwrap_or_default());
        let unknown: Vec<_> = printed.difference(&unique).collect();
        assert!(unknown.is_empty(), "not explained so: {unknown:?}");
        let silent: Vec<_> = unique.difference(&printed).collect();
        if silent.is_empty() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not printed: {silent:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn metrics_are_read_as_printed() {
    let text = "# HELP a It.\n# TYPE a counter\na_total{x=\"1\",y=\"2,3\"} 1\n# TYPE b histogram\nb_sum 1.0\nb_bucket{le=\"+Inf\"} 1\n# TYPE c info\nc_info{v=\"0\"} 1\n# EOF\n";
    let row = |row: [&str; 3]| row.map(str::to_owned);
    let rows = [["a_total", "counter", "`x`, `y`"], ["b", "histogram", ""], ["c_info", "info", "`v`"]];
    assert_eq!(metrics_in(text), rows.map(row).into());
}

/// How long the daemon waits is what the page says.
#[test]
fn the_times_on_the_page_are_the_daemons() {
    let page = in_words(&read("docs/watch.md"));
    for (file, constant, said) in [
        ("schedule", "QUIET: Duration = Duration::from_millis(300)", "0.3 s after the last change"),
        ("schedule", "AT_MOST: Duration = Duration::from_secs(2)", "at most 2 s after the first"),
        ("schedule", "CONFIRM: Duration = Duration::from_secs(2)", "two reads, at least 2 s apart"),
        ("schedule", "VERIFY: Duration = Duration::from_secs(1)", "1 s later, to check that nothing is left"),
        ("watch_files", "POLL: Duration = Duration::from_secs(2)", "compares names, sizes and times every 2 s"),
        ("reconciler", "WRITER_RETRY: Duration = Duration::from_millis(200)", "it checks again every 0.2 s"),
        ("run_loop", "GRACE: Duration = Duration::from_secs(60)", "After a second signal, or after 60 s, it exits"),
        (
            "backoff",
            "Duration::from_secs(2), most: Duration::from_secs(300)",
            "2 s at first, doubled each time up to 5 minutes",
        ),
        ("breaker", "Duration::from_secs(1), most: Duration::from_secs(60)", "after 1 s, doubled up to 60 s"),
        ("breaker", "FAILED_CALLS: u32 = 5", "five calls in a row"),
        ("expiry", "GRACE: Duration = Duration::from_secs(86_400)", "it waits for a day"),
        ("api/runs", "ANSWER: Duration = Duration::from_secs(120)", "no answer within 2 minutes counts as no"),
        ("health", "LOOP_STUCK: Duration = Duration::from_secs(10)", "stopped for more than 10 s"),
        ("health", "READ_HANGS: Duration = Duration::from_secs(30)", "has taken more than 30 s"),
        ("api/tls", "TOKEN_LENGTH: usize = 16", "at least 16 characters"),
    ] {
        assert!(
            read(&format!("src/daemon/{file}.rs")).contains(constant),
            "{file} has not {constant}: mend the page, too"
        );
        assert!(page.contains(said), "the page does not say: {said}");
    }
    let unit = read("dist/kiln.service");
    assert!(unit.contains("TimeoutStopSec=90s"), "the service manager waits longer than the daemon");
    let refuses = unit.lines().any(|line| line.starts_with("RestrictSUIDSGID=") || line.starts_with("DynamicUser="));
    assert!(!refuses, "systemd would refuse openat2, without which no pool can be opened");
}
