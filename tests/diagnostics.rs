//! Every diagnostic, as a directory of `tests/diagnostics`: `specs/` or `specs.yaml` is read, and the problems are `expected`.
//! The name of a directory is the claim. `KILN_BLESS=1` rewrites what is expected; look at the difference before you commit it.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use kiln::manifest::{Limits, Source, load};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// What `kiln check` would show, with paths as they are on any machine.
fn shown(case: &Path) -> String {
    let specs = ["specs", "specs.yaml"].map(|name| case.join(name)).into_iter().find(|path| path.exists());
    let specs = specs.unwrap_or_else(|| case.join("specs"));
    let loaded = load(&Source::Path(specs), &Limits::default());
    assert_eq!(loaded.reading.broken, !loaded.problems.is_empty(), "{}", case.display());
    let text: String = loaded.problems.iter().map(|problem| format!("{problem}\n\n")).collect();
    text.replace(&format!("{}/", case.display()), "")
}

#[test]
fn every_case_shows_what_is_expected() {
    #[expect(clippy::disallowed_methods, reason = "the switch that rewrites the expectations")]
    let bless = std::env::var("KILN_BLESS").is_ok();
    let cases = cases();
    let mut wrong = Vec::new();
    for case in &cases {
        let (expected, got) = (case.join("expected"), shown(case));
        if bless {
            fs::write(&expected, &got).unwrap();
        }
        let claims_silence = case.file_name().unwrap().to_string_lossy().ends_with("-is-good");
        assert_eq!(got.is_empty(), claims_silence, "{}: only `…-is-good` expects no problem\n{got}", case.display());
        for entry in fs::read_dir(case).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = ["specs", "specs.yaml", "expected"].contains(&name.as_str());
            assert!(known, "{}/{name} is an orphan: no test reads it", case.display());
        }
        match fs::read_to_string(&expected) {
            Ok(want) if want == got => {}
            Ok(want) => wrong.push(format!("{}\n--- expected\n{want}--- got\n{got}", case.display())),
            Err(error) => wrong.push(format!("{}: {error}; run with KILN_BLESS=1", expected.display())),
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases differ:\n\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 45, "only {} cases", cases.len());
}
