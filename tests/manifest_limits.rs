//! No file makes reading it take more than 64 MiB, or much longer than ten thousand volumes take. A test of its own, since it looks at the
//! memory and the time of its process.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln::manifest::{Limits, Loaded, Source, load};
use rustix::time::{ClockId, clock_gettime};
use saphyr_parser::{Event, Parser};

const MIB: usize = 1 << 20;
/// How much longer than ten thousand volumes the worst file may take to read. Both are measured here: milliseconds alone would say how fast
/// the machine is.
const WORST: f64 = 1.5;
/// How much longer ten thousand volumes may take to read than the YAML parser takes for their text.
const OVER_BARE: f64 = 8.0;

/// Makes a file that is at most as long as files may be.
type Make = fn() -> String;

/// Memory and time are those of the whole process, and each test is to see only its own.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of the processor, not of the wall: other processes run beside this one.
fn cpu_millis() -> i64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// The least time that `work` takes in three tries, in milliseconds of the processor.
fn millis_of(mut work: impl FnMut()) -> i64 {
    let once = |_| {
        let start = cpu_millis();
        work();
        cpu_millis() - start
    };
    (0..3).map(once).min().unwrap()
}

/// The most memory that was resident since the last call of `reset_peak`, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn filled(unit: &str) -> String {
    unit.repeat((MIB - 64) / unit.len())
}

fn quadratic_bomb() -> String {
    // 160 KB: a list of 40,000 aliases of a list of 40,000 items.
    format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(40_000), "*a,".repeat(27_000))
}

fn one_map() -> String {
    (0..MIB / 12).map(|n| format!("k{n:06}: 1\n")).collect()
}

/// Documents as large as may be, of fields that nobody knows.
fn unknown_fields(between: &str) -> String {
    let fields: Vec<String> = (0..2500).map(|n| format!("siz{n}: 1")).collect();
    let one = format!("---\n{{{}}}\n", fields.join(between));
    one.repeat((MIB - 64) / one.len())
}

fn dangling(count: usize) -> String {
    let document = |n| {
        format!(
            "kind: Volume\napiVersion: kiln/v1\nmetadata: {{name: name-{n}}}\nspec: {{size: 1, backend: name-x{n}}}\n---\n\
                 kind: Backend\napiVersion: kiln/v1\nmetadata: {{name: name-{n}}}\nspec: {{driver: sim}}\n---\n"
        )
    };
    (0..count).map(document).collect()
}

fn volumes() -> String {
    let document = |n| format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: v{n}}}\nspec: {{size: 1}}\n---\n");
    (0..MIB / 80).map(document).collect()
}

fn exponential_bomb() -> String {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..60 {
        let before = n - 1;
        text += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{before}"); 9].join(","));
    }
    text
}

/// The beginning of the text, again and again, each time in a document of nearly the largest size.
fn cut_into_documents(text: &str) -> String {
    let most = Limits::default().document_bytes - 16;
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap();
    let one = format!("---\n{}\n", &text[..end]);
    one.repeat((MIB / one.len()).max(1))
}

#[test]
fn no_file_costs_more_than_is_promised() {
    let _alone = alone();
    let hostile: Vec<(&str, Make)> = vec![
        ("exponential aliases", exponential_bomb),
        ("quadratic aliases", quadratic_bomb),
        ("brackets", || filled("[")),
        ("braces", || filled("{")),
        ("brackets, 200,000 deep and closed", || format!("{}{}", "[".repeat(200_000), "]".repeat(200_000))),
        ("dashes on one line", || filled("- ")),
        ("dashes on lines", || filled("-\n")),
        ("ever deeper dashes", || (0..1400).map(|n: usize| format!("{}-\n", " ".repeat(n))).collect()),
        ("ever deeper keys", || (0..1400).map(|n: usize| format!("{}a:\n", " ".repeat(n))).collect()),
        ("documents", || filled("---\n")),
        ("documents with a value", || filled("---\na\n")),
        ("documents with a problem", || filled("---\na: [\n")),
        ("question marks", || filled("? ")),
        ("colons", || filled(": ")),
        ("colons after a brace", || filled(&format!("a: 1\nx{{{}\n---\n", "a: ".repeat(10_000)))),
        ("colons without a space", || filled(&format!("a: 1\n{}\n---\n", "a:".repeat(15_000)))),
        ("one word to a line", || filled(&format!("a: 1\n{}b\n---\n", "  a\n".repeat(8_000)))),
        ("comments in brackets", || filled(&format!("a: [\n{}---\n", "  # c\n  a,\n".repeat(2_500)))),
        ("commas", || format!("[{}", filled(", "))),
        ("anchors", || filled("&a ")),
        ("anchored items", || format!("[{}]", filled("&a x,"))),
        ("tags", || filled("!a ")),
        ("directives", || filled("%a\n")),
        ("one plain scalar", || format!("a: {}", filled("x"))),
        ("one quoted scalar", || format!("a: \"{}\"", filled("\\u0041"))),
        ("one block scalar", || format!("a: |\n{}", filled("  x\n"))),
        ("a quote that is never closed", || format!("a: \"{}", filled("x\n "))),
        ("quotes that are never closed", || filled("\"\n---\n")),
        ("a map of a hundred thousand keys", one_map),
        ("unknown fields", || unknown_fields(",\n")),
        ("unknown fields on one line", || unknown_fields(", ")),
        ("long unknown fields", || format!("{{{}: 1}}", "size".repeat(8000))),
        ("dangling references", || dangling(4400)),
        ("long dangling references", || dangling(2700).replace("name-", &"name-".repeat(10))),
        ("one key", || filled("a: 1\n")),
        ("blanks", || filled(" ")),
        ("wide blanks", || format!("x{}", filled("\u{a0}"))),
        ("wide blanks in a comment", || format!("x\n#{}", filled("\u{3000}"))),
        ("line ends", || filled("\n")),
        ("tabs", || filled("\t\n")),
        ("comments", || filled("#\n")),
        ("wide characters", || filled("値: ")),
        ("as many volumes as there is room for", volumes),
        ("as many broken volumes as there is room for", || filled("---\nkind: Volume\nx: y\n")),
        ("more than there may be", || "x".repeat(MIB + 1)),
    ];
    // Each of them as one document, and cut into as many of the largest size as fit.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hostile.yaml");
    let (mut large, mut took) = (Vec::new(), Vec::new());
    let cost = |name: &str| {
        reset_peak();
        let start = cpu_millis();
        let Loaded { reading, problems, paths: _ } = load(&Source::Path(path.clone()), &Limits::default());
        let millis = cpu_millis() - start;
        assert!(reading.broken && !problems.is_empty(), "{name} is not a manifest");
        assert!(problems.len() <= 101, "{name}: {} problems", problems.len());
        (millis, peak_kib(), problems)
    };
    // What the process takes for itself. Measured once: memory that is kept for the next file counts.
    fs::write(&path, "x").unwrap();
    let (_, base, _) = cost("warming up");
    for (name, text, cut) in hostile.iter().flat_map(|(name, text)| [(*name, text, false), (*name, text, true)]) {
        let bytes = if cut { cut_into_documents(&text()) } else { text() };
        assert!((100..=MIB + 1).contains(&bytes.len()), "{name}: {} bytes", bytes.len());
        fs::write(&path, bytes).unwrap();
        let (millis, kib, problems) = cost(name);
        let mib = kib.saturating_sub(base) >> 10;
        println!(
            "{name}{}: {millis} ms, {mib} MiB, {} problems, first: {}",
            if cut { ", in documents" } else { "" },
            problems.len(),
            problems[0].message
        );
        let too_large = problems[0].message.contains("more than 1Mi bytes");
        assert_eq!(too_large, name == "more than there may be" && !cut, "{name}");
        if mib >= 64 {
            large.push(format!("{name}: {mib} MiB"));
        }
        took.push((name, text, cut, millis));
    }
    assert!(large.is_empty(), "over 64 MiB:\n{}", large.join("\n"));
    // After the memory was measured, since they keep some.
    let ordinary = TenThousand::new();
    let most = |millis: i64| (millis as f64 * WORST) as i64;
    let yard = millis_of(|| drop(ordinary.load()));
    let mut slow = Vec::new();
    for (name, text, cut, _) in took.into_iter().filter(|(.., millis)| *millis > most(yard)) {
        fs::write(&path, if cut { cut_into_documents(&text()) } else { text() }).unwrap();
        // In turns: the machine may be slower for a while.
        let tries: Vec<(i64, i64)> = (0..3).map(|_| (cost(name).0, millis_of(|| drop(ordinary.load())))).collect();
        let (millis, yard) = (tries.iter().map(|t| t.0).min().unwrap(), tries.iter().map(|t| t.1).min().unwrap());
        println!("{name}: {millis} ms; 10,000 volumes: {yard} ms");
        if millis > most(yard) {
            slow.push(format!("{name}: {millis} ms; 10,000 volumes: {yard} ms"));
        }
    }
    assert!(slow.is_empty(), "over {WORST} times what 10,000 volumes take:\n{}", slow.join("\n"));
}

/// Ten thousand volumes in a hundred files.
struct TenThousand(tempfile::TempDir);

impl TenThousand {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let backend = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";
        fs::write(directory.path().join("backend.yaml"), backend).unwrap();
        for file in 0..100 {
            let documents: Vec<String> = (0..100)
                .map(|n| {
                    format!(
                        "apiVersion: kiln/v1\nkind: Volume\nmetadata:\n  name: v{file}-{n}\n  labels: {{team: storage}}\nspec:\n  \
                         backend: fast\n  size: {}Gi\n  provisioning: thin\n  protected: true\n  onRemove: Retain\n",
                        n + 1
                    )
                })
                .collect();
            let below = directory.path().join(format!("d{}", file % 10));
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(format!("f{file}.yaml")), documents.join("---\n")).unwrap();
        }
        Self(directory)
    }

    fn load(&self) -> Loaded {
        load(&Source::Path(self.0.path().to_owned()), &Limits::default())
    }

    /// Parses the same text, and does nothing with it. Returns how many scalars it has.
    fn parse(&self) -> usize {
        let scalars = |file: usize| {
            let text = fs::read_to_string(self.0.path().join(format!("d{}/f{file}.yaml", file % 10))).unwrap();
            let events = Parser::new_from_str(&text).map(|event| event.unwrap().0);
            events.filter(|event| matches!(event, Event::Scalar(..))).count()
        };
        (0..100).map(scalars).sum()
    }
}

#[test]
fn ten_thousand_volumes_load_quickly() {
    let _alone = alone();
    let volumes = TenThousand::new();
    let loaded = volumes.load();
    assert_eq!((loaded.problems.len(), loaded.reading.specs.volumes.len()), (0, 10_000));
    assert_eq!(volumes.parse(), 10_000 * 21);
    let (ours, bare) = (
        millis_of(|| drop(volumes.load())),
        millis_of(|| {
            volumes.parse();
        }),
    );
    println!("10,000 volumes: {ours} ms, bare: {bare} ms");
    assert!((ours as f64) < bare as f64 * OVER_BARE, "{ours} ms, and the parser alone: {bare} ms");
}
