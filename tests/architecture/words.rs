//! Words that Kiln's texts do not use. A sentence says who does what to what, in the terms of storage engineers.

use std::collections::BTreeMap;

use crate::project::File;
use crate::source::Source;

/// Whole words, compared without case. An entry that begins with a capital is compared with case: it is a sentence of one word.
const BANNED: [&str; 19] = [
    "Which.",
    "Whose.",
    "by hand:",
    "cannot be believed",
    "left alone",
    "look",
    "looked",
    "looking",
    "looks",
    "mend",
    "mended",
    "mending",
    "mends",
    "nobody",
    "that which",
    "way out",
    "ways out",
    "what is there",
    "whoever",
];

/// The files whose strings, documents or examples say a banned word, with the words.
pub(crate) fn for_users(sources: &[Source], files: &[File]) -> BTreeMap<String, String> {
    let strings = sources.iter().map(|source| {
        let words = source.strings.iter().flat_map(|(line, text)| banned([(*line, text.as_str())]));
        (&source.path, words.collect::<Vec<_>>())
    });
    let documents = ["README.md", "CHANGELOG.md", "docs/", "examples/", "specs/", "dist/"];
    listed(strings.chain(of_files(files, &documents)))
}

/// The files whose doc comments or documents for developers say a banned word, with the words.
pub(crate) fn for_developers(sources: &[Source], files: &[File]) -> BTreeMap<String, String> {
    let comments = sources.iter().map(|source| {
        let lines = source.docs.iter().map(|(line, text)| (*line, text.as_str()));
        (&source.path, banned(lines))
    });
    listed(comments.chain(of_files(files, &["ARCHITECTURE.md", "CONTRIBUTING.md", "benches/README.md"])))
}

fn of_files<'a>(files: &'a [File], beginnings: &[&str]) -> impl Iterator<Item = (&'a String, Vec<String>)> {
    let files = files.iter().filter(|file| beginnings.iter().any(|begin| file.path.starts_with(begin)));
    files.map(|file| (&file.path, banned((1..).zip(file.text.lines()))))
}

fn listed<'a>(files: impl Iterator<Item = (&'a String, Vec<String>)>) -> BTreeMap<String, String> {
    let files = files.filter(|(_, words)| !words.is_empty());
    files.map(|(path, words)| (path.clone(), words.join(", "))).collect()
}

/// The banned words in a text whose lines are given with their numbers, as `LINE: WORD`. A phrase may continue on the next line.
pub(crate) fn banned<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<String> {
    let mut text = String::new();
    let mut starts = Vec::new();
    for (line, part) in lines {
        starts.push((text.len(), line));
        for word in part.split_whitespace() {
            text.push_str(word);
            text.push(' ');
        }
    }
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for word in BANNED {
        let text = if word.starts_with(char::is_uppercase) { &text } else { &lower };
        for (at, _) in text.match_indices(word) {
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
            let inside_a_word = letter(before) || letter(word.chars().next_back()) && letter(after);
            if !inside_a_word {
                let line = starts.iter().rev().find(|(start, _)| *start <= at).map_or(0, |(_, line)| *line);
                found.push((line, word));
            }
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(line, word)| format!("{line}: {word}")).collect()
}

#[test]
fn banned_words_are_seen() {
    for (text, expected) in [
        ("Nobody asks whoever it is.", vec!["1: nobody", "1: whoever"]),
        ("a\nThe way\n  out: mend it", vec!["2: way out", "3: mend"]),
        ("Say what.  Whose. And whose.", vec!["1: Whose."]),
        ("by hand: rm; do it by hand", vec!["1: by hand:"]),
        ("`look`, \"looked\", lookup, overlook, look_up, lookedAt, recommend, amended", vec!["1: look", "1: looked"]),
    ] {
        assert_eq!(banned((1..).zip(text.lines())), expected, "{text}");
    }
}
