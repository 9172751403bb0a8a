//! The documents keep up with the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kiln::plan::HeldReason;

/// The documents whose links are followed.
const DOCUMENTS: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/held.md", "docs/recovery.md"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The headings of the second level, in order.
fn sections(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("## ")).collect()
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
                let found = sections(&read(&target)).into_iter().any(|heading| anchor(heading) == fragment);
                assert!(found, "{document}: {target} has no section {fragment}");
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "only {followed} links were found");
}

#[test]
fn links_and_anchors_are_read_as_written() {
    assert_eq!(links("see [a](b.md#c), [d](https://e) (f)"), ["b.md#c", "https://e"]);
    assert_eq!(anchor("The store is in use (exit code 7)"), "the-store-is-in-use-exit-code-7");
    assert_eq!(sections("# a\n## b\ntext\n### c\n## d"), ["b", "d"]);
}
