//! A file's text with its lines, and the problems found in it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use super::Problem;
use super::render::clip;
use crate::model::SourcePlace;

/// Lines longer than this are shown up to here only. Longer than any line a person writes, and small enough that a thousand
/// problems on one line of a megabyte take no memory worth naming.
const EXCERPT_CHARS: usize = 400;

/// Problems that are kept of one file; the rest is counted. Ten times what is shown, so that sorting still finds the first ones.
const KEPT: usize = 1000;

/// Words that mark a line as one that may hold a secret: it is never repeated in a problem.
const SECRET_WORDS: [&str; 4] = ["password", "passphrase", "secret", "credential"];

/// Where something stands in its file. Lines and columns count from 1, columns and `len` in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) len: u32,
}

impl Span {
    pub(super) const START: Span = Span { line: 1, column: 1, len: 0 };
}

/// A document's share of its file. A line that begins with `---` and a blank begins a document wherever it stands, inside of
/// scalars too, so that files can be cut before they are parsed, and a syntax error costs one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// The number of its first line.
    pub(super) first_line: u32,
    pub(super) text: &'a str,
}

/// One file of manifests, read.
pub(super) struct File {
    /// As shown: what was given on the command line, and the path below it.
    pub(super) name: Arc<str>,
    /// What relative paths in it are relative to; absolute.
    pub(super) directory: PathBuf,
    text: String,
    /// The bytes of the file, where the text is not all of them as they are.
    odd: Option<Vec<u8>>,
    /// Where each line begins, in bytes.
    lines: Vec<u32>,
    found: RefCell<Found>,
    /// Paths in the document that is being read.
    paths: RefCell<Vec<PathBuf>>,
}

/// How many problems of a file there were at some moment: [`File::cut_back`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    kept: usize,
    total: usize,
}

#[derive(Default)]
struct Found {
    kept: Vec<Problem>,
    total: usize,
}

impl File {
    /// `bytes` must be UTF-8 without control characters; otherwise the file has no text, and the problem says why.
    pub(super) fn new(name: impl Into<Arc<str>>, directory: PathBuf, bytes: Vec<u8>) -> Self {
        let mut odd = None;
        let (bytes, problem) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                odd = Some(error.into_bytes());
                (text, Some((valid, "the file is not UTF-8 text from here on".to_owned(), "save it as UTF-8")))
            }
        };
        let text = match bytes.strip_prefix('\u{feff}').map(str::to_owned) {
            Some(text) => {
                odd.get_or_insert(bytes.into_bytes());
                text
            }
            None => bytes,
        };
        let lines = line_starts(&text);
        let (found, paths) = (RefCell::default(), RefCell::default());
        let mut file = Self { name: name.into(), directory, text, odd, lines, found, paths };
        let problem = misleading(&file.text).or(problem);
        if let Some((at, message, hint)) = problem {
            file.report(file.span_of(at), message, hint);
            let text = std::mem::take(&mut file.text);
            file.odd.get_or_insert(text.into_bytes());
        }
        file
    }

    /// No file but its name: where documents stand of which only the meaning is still known.
    pub(super) fn named(name: Arc<str>) -> Self {
        Self {
            name,
            directory: PathBuf::new(),
            text: String::new(),
            odd: None,
            lines: vec![0],
            found: RefCell::default(),
            paths: RefCell::default(),
        }
    }

    /// A file that could not be read, or the whole of SPECS; its problems stand at 1:1.
    pub(super) fn unread(name: impl Into<Arc<str>>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let file = Self::named(name.into());
        file.report(Span::START, message, hint);
        file
    }

    /// All that was read.
    pub(super) fn bytes(&self) -> &[u8] {
        self.odd.as_deref().unwrap_or(self.text.as_bytes())
    }

    /// Notes a path that the document being read names.
    pub(super) fn note_path(&self, path: PathBuf) {
        self.paths.borrow_mut().push(path);
    }

    /// The paths noted since this was asked last.
    pub(super) fn take_paths(&self) -> Vec<PathBuf> {
        self.paths.take()
    }

    fn span_of(&self, byte: usize) -> Span {
        let line = self.lines.partition_point(|start| *start as usize <= byte).max(1);
        let start = self.lines[line - 1] as usize;
        let column = self.text.get(start..byte).map_or(0, |before| before.chars().count());
        Span { line: line as u32, column: column as u32 + 1, len: 1 }
    }

    /// The text of a line, without its end.
    fn line(&self, number: u32) -> &str {
        let index = (number as usize).saturating_sub(1);
        let Some(start) = self.lines.get(index) else { return "" };
        let end = self.lines.get(index + 1).map_or(self.text.len(), |end| *end as usize);
        self.text.get(*start as usize..end).unwrap_or("").trim_end_matches(['\n', '\r'])
    }

    /// The documents, in order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        let marks = |index: usize| {
            let rest = &self.text[self.lines[index] as usize..];
            rest.strip_prefix("---").is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t', '\n', '\r']))
        };
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = next;
            if first >= self.lines.len() || self.text.is_empty() {
                return None;
            }
            next = (first + 1..self.lines.len()).find(|index| marks(*index)).unwrap_or(self.lines.len());
            let end = self.lines.get(next).map_or(self.text.len(), |end| *end as usize);
            Some(Chunk { first_line: first as u32 + 1, text: &self.text[self.lines[first] as usize..end] })
        })
    }

    /// Notes a problem and shows its line, unless that line may hold a secret.
    pub(super) fn report(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        let excerpt = (!self.is_full() && span.column as usize <= EXCERPT_CHARS).then(|| self.excerpt(span)).flatten();
        self.push(span, message.into(), hint.into(), excerpt);
    }

    fn excerpt(&self, span: Span) -> Option<(String, u32)> {
        let start = |number| self.line(number).chars().take(EXCERPT_CHARS).collect::<String>();
        let text = start(span.line);
        // A value may stand on the line after its key.
        let above = start(span.line.saturating_sub(1).max(1));
        let secret = |text: &str| {
            let lower = text.to_ascii_lowercase();
            SECRET_WORDS.iter().any(|word| lower.contains(word))
        };
        if text.trim().is_empty() || secret(&text) || (above.trim_end().ends_with(':') && secret(&above)) {
            return None;
        }
        let room = (text.trim_end().chars().count() as u32 + 1).saturating_sub(span.column);
        Some((text, span.len.clamp(1, room.max(1))))
    }

    /// Whether there are so many problems that further ones are only counted: nothing need be spent on their words.
    pub(super) fn is_full(&self) -> bool {
        self.found.borrow().kept.len() >= KEPT
    }

    /// Notes a problem without showing its line.
    pub(super) fn report_hidden(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(span, message.into(), hint.into(), None);
    }

    fn push(&self, span: Span, message: String, hint: String, excerpt: Option<(String, u32)>) {
        let mut found = self.found.borrow_mut();
        found.total += 1;
        if found.kept.len() < KEPT {
            let hint = (!hint.is_empty()).then_some(hint);
            found.kept.push(Problem { place: self.place(span), message, hint, excerpt });
        }
    }

    /// How many problems there are so far: a reader that adds none has succeeded.
    pub(super) fn count(&self) -> usize {
        self.found.borrow().total
    }

    /// How many problems there are so far.
    pub(super) fn mark(&self) -> Mark {
        let found = self.found.borrow();
        Mark { kept: found.kept.len(), total: found.total }
    }

    /// Forgets the problems that were found since.
    pub(super) fn cut_back(&self, mark: Mark) {
        let mut found = self.found.borrow_mut();
        found.kept.truncate(mark.kept);
        found.total = mark.total;
    }

    pub(super) fn place(&self, span: Span) -> SourcePlace {
        SourcePlace { file: self.name.clone(), line: span.line, column: span.column }
    }

    /// The problems in order, each once, at most `shown`; then how many there are beyond.
    pub(super) fn problems(&self, shown: usize) -> Vec<Problem> {
        let (mut kept, total) = {
            let Found { kept, total } = &*self.found.borrow();
            (kept.clone(), *total)
        };
        let order = |p: &Problem| (p.place.line, p.place.column);
        kept.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.message.cmp(&b.message)));
        let before = kept.len();
        kept.dedup();
        let more = (total - (before - kept.len())).saturating_sub(shown);
        kept.truncate(shown);
        if let (true, Some(last)) = (more > 0, kept.last()) {
            let message = format!("{more} more problem{} in this file", if more == 1 { " is" } else { "s are" });
            let hint = Some("mend those above first".to_owned());
            kept.push(Problem { place: last.place.clone(), message, hint, excerpt: None });
        }
        kept
    }
}

/// The first character that makes people and parsers read different texts: its place in bytes, what to say, and a hint.
fn misleading(text: &str) -> Option<(usize, String, &'static str)> {
    let bytes = text.as_bytes();
    let at_fault = |(at, c): &(usize, char)| match c {
        '\t' | '\n' => false,
        // YAML ends a line here, and a terminal writes over the one before.
        '\r' => bytes.get(at + 1) != Some(&b'\n'),
        c => c.is_control() || is_unseen(*c),
    };
    let (at, c) = text.char_indices().find(at_fault)?;
    if c == '\r' {
        let message = "a carriage return without a line feed: YAML begins a line here, and many tools show none";
        return Some((at, message.to_owned(), "end lines with a line feed, or with a carriage return and a line feed"));
    }
    let message = format!("the file holds the character U+{:04X}, which has no place in a manifest", c as u32);
    Some((at, message, "remove it"))
}

/// Whether a character takes no room where it stands, hides or reorders its neighbours, or ends a line for some readers only:
/// Unicode's categories Cf, Zl and Zp, and the fillers that are letters by category. (Of version 16; variation selectors, which
/// choose between pictures, do none of this.)
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}')
}

fn line_starts(text: &str) -> Vec<u32> {
    let ends = text.bytes().enumerate().filter(|(index, byte)| *byte == b'\n' && index + 1 < text.len());
    std::iter::once(0).chain(ends.map(|(index, _)| u32::try_from(index + 1).unwrap_or(u32::MAX))).collect()
}

/// A value as shown in messages: in quotes, and not longer than a person reads.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", clip(text, 60))
}

/// The candidate that was probably meant.
pub(super) fn closest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let (lower, len) = (text.to_lowercase(), text.chars().count());
    candidates
        .into_iter()
        .filter_map(|candidate| {
            // A third of the letters may differ: beyond that, guesses are more often wrong than right. Lengths that differ by more
            // need no comparison, whose time is the product of both.
            let most = candidate.chars().count().max(3) / 3;
            let near = len.abs_diff(candidate.chars().count()) <= most;
            let distance = near.then(|| strsim::osa_distance(&lower, &candidate.to_lowercase()))?;
            (distance <= most).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}
