//! Every typing error is one problem, at the place to edit, with the line to write.
//!
//! `tests/typos/*.txt` contain small cases: a line `=== CLAIM`, a manifest `typo.yaml`, and after `> ` what `kiln check` shows for it
//! beside `common.yaml`. `KILN_BLESS=1` rewrites what is shown; read the difference before you commit it.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use kiln::manifest::{Limits, Problem, Source, load};

const COMMON: &str = include_str!("typos/common.yaml");
/// Documents of all kinds, as people write them.
const ALL_KINDS: &str = include_str!("typos/all-kinds.yaml");

/// Reads `typo.yaml` beside the common documents. Paths are as in a run within the directory.
fn problems(root: &Path, text: &str) -> Vec<Problem> {
    fs::write(root.join("common.yaml"), COMMON).unwrap();
    fs::write(root.join("typo.yaml"), text).unwrap();
    let mut problems = load(&Source::Path(root.to_owned()), &Limits::default()).problems;
    for problem in &mut problems {
        problem.place.file = Path::new(&*problem.place.file).file_name().unwrap().to_str().unwrap().into();
    }
    problems
}

/// Whether a place is one of the text: a character, or the end of a line.
fn is_inside(text: &str, line: u32, column: u32) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let ends_here = line as usize == lines.len() && !text.ends_with('\n');
    let width = lines.get(line as usize - 1).map_or(0, |line| line.chars().count());
    column as usize <= width + usize::from(!ends_here)
}

/// Returns what a hint writes: one text between backquotes, or several with `or` between them.
fn written(hint: &str) -> Vec<&str> {
    let rest = hint.strip_prefix("write ").or_else(|| hint.strip_prefix("did you mean "));
    let mut parts = rest.and_then(|rest| rest.strip_prefix('`')).unwrap_or_default().split('`');
    let mut all = Vec::new();
    while let Some(text) = parts.next().filter(|text| !text.is_empty()) {
        all.push(text);
        if parts.next() != Some(" or ") {
            break;
        }
    }
    all
}

/// Returns the manifest with `fix` written at each place that a person may take for the one that is meant: in place of the line, or of a
/// part of it, or of the lines that belong to it; on a line of its own; in place of the field of the same name.
fn corrections(manifest: &str, line: u32, fix: &str) -> Vec<String> {
    let lines: Vec<&str> = manifest.lines().collect();
    let index = line as usize - 1;
    let old = lines[index];
    let width = |line: &str| line.len() - line.trim_start().len();
    let indent = &old[..width(old)];
    let replaced = |from: usize, to: usize, with: &[String]| {
        let lines = || lines.iter().map(|line| (*line).to_owned());
        let all: Vec<String> = lines().take(from).chain(with.iter().cloned()).chain(lines().skip(to)).collect();
        all.join("\n") + "\n"
    };
    let one = |with: String| replaced(index, index + 1, &[with]);
    let mut all = vec![one(format!("{indent}{fix}")), one(format!("{indent}- {fix}")), one(fix.to_owned())];
    let is_start = |at: &usize| *at == 0 || old[..*at].ends_with([' ', '{', '[', ',']);
    let is_end = |at: &usize| old[*at..].is_empty() || old[*at..].starts_with([',', '}', ']', ' ', ':']);
    let at = || (indent.len()..=old.len()).filter(|at| old.is_char_boundary(*at));
    for start in at().filter(is_start) {
        all.extend(
            at().filter(|end| *end >= start)
                .filter(is_end)
                .map(|end| one(format!("{}{fix}{}", &old[..start], &old[end..]))),
        );
    }
    // With the lines below it, with the line above it, and beside the line.
    let deeper = lines[index + 1..].iter().take_while(|line| width(line) > indent.len()).count();
    let without = old.replacen(fix, "", 1).trim_end().to_owned();
    all.push(replaced(index, index + 1 + deeper, &[format!("{indent}{fix}")]));
    all.push(replaced(index.saturating_sub(1), index + 1, &[format!("{indent}{fix}")]));
    all.push(replaced(index, index, &[fix.to_owned()]));
    let above = lines[..index].last().map_or(0, |above| width(above));
    all.push(replaced(index, index, &[format!("{}{fix}", " ".repeat(above))]));
    for blanks in [indent.to_owned(), format!("{indent}  ")] {
        all.push(replaced(index, index + 1, &[without.clone(), format!("{blanks}{fix}")]));
        all.push(replaced(index + 1, index + 1, &[format!("{blanks}{fix}")]));
    }
    // In place of the field elsewhere, or without the dash before it; or at the end.
    let section = fix.split(':').next().unwrap_or(fix);
    for (other, text) in lines.iter().enumerate() {
        let blanks = " ".repeat(width(text));
        let kept = |line: &usize| *line != index || *line == other;
        if text.trim_start().trim_start_matches("- ").starts_with(section) {
            let with = |line: usize| if line == other { format!("{blanks}{fix}") } else { lines[line].to_owned() };
            for kept in [(0..lines.len()).collect::<Vec<_>>(), (0..lines.len()).filter(kept).collect()] {
                all.push(kept.into_iter().map(|line| with(line) + "\n").collect());
            }
        }
    }
    all.push(replaced(index, index + 1, &[]) + fix + "\n");
    all
}

/// Returns the manifest without what a hint removes, if it says what on this line.
fn without(manifest: &str, line: u32, hint: &str) -> Option<String> {
    let mut lines: Vec<&str> = manifest.lines().collect();
    let index = line as usize - 1;
    let kept = match hint.strip_prefix("remove the ")? {
        "line" => None,
        "number and the space after it" => {
            let rest = lines[index].trim_start_matches(|c: char| c.is_ascii_digit());
            Some(rest.strip_prefix(' ')?.to_owned())
        }
        sign => {
            let sign = sign.strip_prefix('`')?.strip_suffix('`').filter(|sign| !sign.contains('`'))?;
            Some(lines[index].replacen(sign, "", 1))
        }
    };
    match &kept {
        Some(text) => lines[index] = text,
        None => drop(lines.remove(index)),
    }
    Some(lines.join("\n") + "\n")
}

struct Case {
    claim: String,
    manifest: String,
    expected: String,
}

fn cases(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).unwrap();
    let parts = text.strip_prefix("=== ").unwrap_or_else(|| panic!("{}: no `=== CLAIM`", file.display()));
    let case = |part: &str| {
        let (claim, rest) = part.split_once('\n').unwrap();
        let is_expected = |line: &&str| line.starts_with("> ");
        let lines = || rest.split_inclusive('\n');
        let manifest = lines().take_while(|line| !is_expected(line)).collect::<String>();
        let expected = lines().filter(is_expected).collect();
        Case { claim: claim.to_owned(), manifest: manifest.trim_end_matches('\n').to_owned() + "\n", expected }
    };
    parts.split("\n=== ").map(case).collect()
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/typos");
    let mut files: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn every_typo_is_one_problem_at_its_place() {
    #[expect(clippy::disallowed_methods, reason = "the switch that rewrites the expectations")]
    let bless = std::env::var("KILN_BLESS").is_ok();
    let root = tempfile::tempdir().unwrap();
    let (mut wrong, mut count) = (String::new(), 0);
    for file in files() {
        let mut blessed = Vec::new();
        for Case { claim, manifest, expected } in cases(&file) {
            count += 1;
            let found = problems(root.path(), &manifest);
            assert_eq!(found.len(), 1, "{claim}: not one problem:\n{found:#?}");
            let got: String = found[0].to_string().lines().fold(String::new(), |got, line| got + "> " + line + "\n");
            let place = &found[0].place;
            assert!(&*place.file == "typo.yaml" && is_inside(&manifest, place.line, place.column), "{claim}: {place}");
            // The same without the last line end, and with those of Windows.
            let cut = manifest.trim_end();
            let same =
                [cut.to_owned(), manifest.replace('\n', "\r\n")].map(|text| (problems(root.path(), &text), text));
            for (other, text) in same {
                assert_eq!(other, found, "{claim}: another problem for\n{text:?}");
                assert!(is_inside(&text, place.line, place.column), "{claim}: {place} is outside of\n{text:?}");
            }
            if got != expected {
                write!(wrong, "{}: {claim}\n{got}\n", file.display()).unwrap();
            }
            blessed.push(format!("=== {claim}\n{manifest}{got}"));
        }
        if bless {
            fs::write(&file, blessed.join("\n")).unwrap();
        }
    }
    assert!(bless || wrong.is_empty(), "run with KILN_BLESS=1 and read the difference:\n{wrong}");
    assert!(count >= 100, "only {count} cases");
}

/// Hints that are to be completed, or that correct only one of several lines.
const INCOMPLETE: &[&str] = &[
    "driver is a map",
    "driver and section misspelled alike",
    "driver and section misspelled alike by other letters",
    "driver misspelled, with an empty section",
    "planned driver misspelled",
    "ceph misspelled",
    "driver misspelled without its required section",
    "half a document",
    "stray character on its own line",
    "list dash without a space",
    "text in backquotes",
    "equals signs as in terraform",
    "spec without spec",
    "secret in place of a field",
    "password deep below a field of another tool",
    "truth value for a section",
    "a misspelt field with words for a number",
    "a misspelt field with a list for a name",
    "a colon in the second line of a text in quotes, and a quote not closed below",
];

#[test]
fn what_a_hint_writes_is_valid() {
    let root = tempfile::tempdir().unwrap();
    let (mut wrong, mut count, mut removals) = (String::new(), 0, 0);
    for Case { claim, manifest, .. } in files().iter().flat_map(|file| cases(file)) {
        let found = problems(root.path(), &manifest);
        let hint = found[0].hint.clone().unwrap_or_default();
        for fix in written(&hint) {
            count += 1;
            let mut texts = corrections(&manifest, found[0].place.line, fix).into_iter();
            let is_valid = texts.any(|text| problems(root.path(), &text).is_empty());
            if is_valid == INCOMPLETE.contains(&claim.as_str()) {
                writeln!(wrong, "{claim}: {fix}").unwrap();
            }
        }
        if let Some(text) = without(&manifest, found[0].place.line, &hint) {
            removals += 1;
            if !problems(root.path(), &text).is_empty() {
                writeln!(wrong, "{claim}: {hint}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "valid nowhere, or valid although it is listed as incomplete:\n{wrong}");
    assert!(count >= 100, "only {count} hints");
    assert!(removals >= 4, "only {removals} hints to remove something");
}

/// Slips of the hand, in every line of documents of all kinds: what the line becomes.
fn slips(line: &str) -> Vec<(&'static str, String)> {
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    let mut slips = vec![
        ("a space more before it", format!(" {line}")),
        ("the line twice", format!("{line}\n{line}")),
        ("a stray word above it", format!("x\n{line}")),
        ("a comma at its end", format!("{line},")),
        ("a brace at its end", format!("{line}}}")),
    ];
    let mut replace = |what, old: &str, new: &str| {
        if line.contains(old) {
            slips.push((what, line.replacen(old, new, 1)));
        }
    };
    replace("no colon", ": ", " ");
    replace("no space after the colon", ": ", ":");
    replace("an equals sign", ": ", " = ");
    replace("a semicolon for a comma", ", ", "; ");
    replace("no comma", ", ", " ");
    replace("no opening brace", "{", "");
    replace("no opening bracket", "[", "");
    replace("no opening quote", "\"", "");
    let mut cut = |what, last: char| {
        if let Some(at) = line.rfind(last) {
            slips.push((what, format!("{}{}", &line[..at], &line[at + 1..])));
        }
    };
    cut("no closing brace", '}');
    cut("no closing bracket", ']');
    cut("no closing quote", '"');
    if let Some(less) = line.strip_prefix(' ') {
        slips.push(("a space less before it", less.to_owned()));
        slips.push(("a tab before it", format!("\t{text}")));
        slips.push(("no indentation", text.to_owned()));
    }
    if text == "---" {
        slips.extend([
            ("no separator", "#".to_owned()),
            ("a dash too few", "--".to_owned()),
            ("a dash more", "----".to_owned()),
        ]);
    }
    let key = text.find(':').map_or("", |colon| &text[..colon]);
    if key.len() > 3 && key.is_ascii() {
        slips.push(("two letters swapped", format!("{indent}{}{}{}{}", &key[..1], &key[2..3], &key[1..2], &text[3..])));
        slips.push(("a letter missing", format!("{indent}{}{}", &key[..2], &text[3..])));
        slips.push(("a capital", format!("{indent}{}{}", key[..1].to_ascii_uppercase(), &text[1..])));
    }
    slips
}

#[test]
fn a_slip_of_the_hand_is_one_problem_beside_it() {
    let problems = |text: &str| load(&Source::Text(text.to_owned()), &Limits::default()).problems;
    let lines: Vec<&str> = ALL_KINDS.lines().collect();
    assert_eq!(problems(ALL_KINDS), []);
    let (mut wrong, mut count) = (String::new(), 0);
    for (index, line) in lines.iter().enumerate() {
        for (what, slip) in slips(line) {
            let mut text = lines.clone();
            text[index] = &slip;
            let text = text.join("\n") + "\n";
            let found = problems(&text);
            count += 1;
            let number = index as u32 + 1;
            let near = |problem: &Problem| {
                let place = &problem.place;
                (number.saturating_sub(1)..=number + 1).contains(&place.line)
                    && is_inside(&text, place.line, place.column)
            };
            let vague = |problem: &Problem| problem.message.contains("not valid YAML");
            if found.len() > 1 || !found.iter().all(near) || found.iter().any(vague) {
                writeln!(wrong, "--- {what}: {slip}").unwrap();
                found.iter().for_each(|problem| writeln!(wrong, "{problem}").unwrap());
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} slips:\n{wrong}", wrong.matches("--- ").count());
}
