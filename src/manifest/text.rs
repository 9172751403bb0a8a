//! The text of a manifest file with its lines, and the problems found in it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::known::is_secret;
use super::lines::{Line, SourceLines, Typo};
use super::problem::{Problem, clip};
use super::slips::no_colon;
use super::span::{Chunk, Span};
use crate::model::SourcePlace;
use crate::text::is_unsafe;

/// Characters of a line that an excerpt shows. More than handwritten lines have, and few enough that a thousand problems on one line of
/// a megabyte take little memory.
const EXCERPT_CHARS: usize = 400;

/// Problems that are kept per file; further ones are counted. Ten times as many as are shown, so that sorting finds the first ones.
const KEPT: usize = 1000;

/// The message about a value that parsers read differently.
const AMBIGUOUS: &str = "this is ambiguous: YAML parsers read it differently";

/// The message and the hint about a merge conflict.
pub(super) const CONFLICT: (&str, &str) = (
    "a merge conflict is not resolved here",
    "keep one of the versions, and remove the lines `<<<<<<<`, `=======` and `>>>>>>>`",
);

/// Words of lines that may contain a secret. Problems never show such a line.
const SECRET_WORDS: [&str; 4] = ["password", "passphrase", "secret", "credential"];

/// Lines above a line that can contain its key. A line without a key in them may be a secret.
const VALUE_LINES: usize = 30;

/// Lines above a line that can contain the field around it: more than the longest list has.
const SECTION_LINES: usize = 2000;

/// A manifest file.
pub(super) struct File {
    /// Its name in messages: the path from the command line, and the path below it.
    pub(super) name: Arc<str>,
    /// The absolute directory from which relative paths in it start.
    pub(super) directory: PathBuf,
    text: String,
    /// The bytes of the file, where they differ from the text.
    original: Option<Vec<u8>>,
    /// Byte offsets of the lines.
    lines: Vec<u32>,
    problems: RefCell<FileProblems>,
    /// Paths in the current document.
    paths: RefCell<Vec<PathBuf>>,
}

/// The number of problems of a file at some time: see [`File::remove_problems_after`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProblemMark {
    kept: usize,
    total: usize,
}

#[derive(Default)]
struct FileProblems {
    kept: Vec<Problem>,
    total: usize,
}

impl File {
    /// Creates a file. If `bytes` are not UTF-8 text without unsafe characters, the file has no text, and a problem says why.
    pub(super) fn new(name: impl Into<Arc<str>>, directory: PathBuf, bytes: Vec<u8>) -> Self {
        let mut original = None;
        let (bytes, problem) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                original = Some(error.into_bytes());
                (text, Some((valid, "the file is not UTF-8 from here on".to_owned(), "save it as UTF-8")))
            }
        };
        let text = match bytes.strip_prefix('\u{feff}').map(str::to_owned) {
            Some(text) => {
                original.get_or_insert(bytes.into_bytes());
                text
            }
            None => bytes,
        };
        let lines = line_starts(&text);
        let (problems, paths) = (RefCell::default(), RefCell::default());
        let mut file = Self { name: name.into(), directory, text, original, lines, problems, paths };
        let problem = file.misleading().or(problem);
        if let Some((at, message, hint)) = problem {
            file.report(file.span_of(at), message, hint);
            let text = std::mem::take(&mut file.text);
            file.original.get_or_insert(text.into_bytes());
        }
        file
    }

    /// Creates a file without text, for documents of earlier content.
    pub(super) fn named(name: Arc<str>) -> Self {
        Self {
            name,
            directory: PathBuf::new(),
            text: String::new(),
            original: None,
            lines: vec![0],
            problems: RefCell::default(),
            paths: RefCell::default(),
        }
    }

    /// Creates a file that could not be read, or all of SPECS, with a problem at 1:1.
    pub(super) fn unread(name: impl Into<Arc<str>>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let file = Self::named(name.into());
        file.report(Span::START, message, hint);
        file
    }

    /// Returns the bytes of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.original.as_deref().unwrap_or(self.text.as_bytes())
    }

    /// Records a path that the current document names.
    pub(super) fn record_path(&self, path: PathBuf) {
        self.paths.borrow_mut().push(path);
    }

    /// Returns the paths recorded since the last call.
    pub(super) fn take_paths(&self) -> Vec<PathBuf> {
        self.paths.take()
    }

    /// Returns the first character that people and parsers may read differently: its byte offset, a message and a hint.
    fn misleading(&self) -> Option<(usize, String, &'static str)> {
        let text = &*self.text;
        let mut lines = self.lines.iter().map(|start| *start as usize);
        if let Some(at) = lines.find(|start| is_of_merge_conflict(&text[*start..])) {
            return Some((at, CONFLICT.0.to_owned(), CONFLICT.1));
        }
        let bytes = text.as_bytes();
        if bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
            return None;
        }
        let mut line = LineStart::default();
        let at_fault = |(at, c): &(usize, char)| {
            let before = line;
            line = before.and(*c);
            match c {
                '\t' | '\n' => false,
                // YAML ends a line here, and a terminal overwrites the line.
                '\r' => bytes.get(at + 1) != Some(&b'\n'),
                c if is_wide_blank(*c) => before.is_separated(),
                c => is_unsafe(*c),
            }
        };
        let (at, c) = text.char_indices().find(at_fault)?;
        if c == '\r' {
            let message =
                "a carriage return without a line feed: YAML starts a new line here, but many tools do not show it";
            return Some((
                at,
                message.to_owned(),
                "end lines with a line feed, or with a carriage return and a line feed",
            ));
        }
        if is_wide_blank(c) {
            let message = format!("this blank is not a space but U+{:04X}, which YAML takes for a letter", c as u32);
            return Some((at, message, "replace it with a space"));
        }
        let message = format!("the file contains the character U+{:04X}, which manifests must not contain", c as u32);
        Some((at, message, "remove it"))
    }

    fn span_of(&self, byte: usize) -> Span {
        let line = self.lines.partition_point(|start| *start as usize <= byte).max(1);
        let start = self.lines[line - 1] as usize;
        let column = self.text.get(start..byte).map_or(0, |before| before.chars().count());
        Span { line: line as u32, column: column as u32 + 1, len: 1 }
    }

    /// Returns the text of a line without its line end.
    pub(super) fn line(&self, number: u32) -> &str {
        let index = (number as usize).saturating_sub(1);
        let Some(start) = self.lines.get(index) else { return "" };
        let end = self.lines.get(index + 1).map_or(self.text.len(), |end| *end as usize);
        self.text.get(*start as usize..end).unwrap_or("").trim_end_matches(['\n', '\r'])
    }

    /// Returns the documents in order.
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

    /// Records a problem with its line, unless that line may contain a secret.
    pub(super) fn report(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        let excerpt = (!self.is_full() && span.column as usize <= EXCERPT_CHARS).then(|| self.excerpt(span)).flatten();
        self.push(span, message.into(), hint.into(), excerpt);
    }

    /// Records a typing error. Beside a secret only what is wrong, without the words of the file.
    pub(super) fn report_typo(&self, typo: Typo) {
        let Typo { span, what, of, fix } = typo;
        match self.may_be_secret(span.line) {
            true => self.report_hidden(span, what, "check the quotes, colons and indentation of this line"),
            false => self.report(span, format!("{what}{of}"), fix),
        }
    }

    /// Reports a line without a colon, where fields are expected. Returns `false`, with nothing reported, if the line is something else.
    pub(super) fn report_no_colon(&self, span: Span) -> bool {
        let text = self.line(span.line);
        let lines = SourceLines { first: span.line, lines: vec![text] };
        let typo = Line::of(0, text).filter(|line| line.indent + 1 == span.column as usize);
        match typo.and_then(|line| no_colon(&lines, line)) {
            Some(typo) => self.report_typo(typo),
            None => return false,
        }
        true
    }

    /// Whether a line may contain a secret, which problems never show. A value may be on lines below its key.
    pub(super) fn may_be_secret(&self, line: u32) -> bool {
        let start = |line: u32| {
            let text = self.line(line);
            text.char_indices().nth(EXCERPT_CHARS).map_or(text, |(end, _)| &text[..end])
        };
        if names_secret(start(line)) {
            return true;
        }
        // Whether this line may belong to the value of the line above, however it is indented.
        let mut continues = true;
        let mut indent = start(line).len() - start(line).trim_start().len();
        for (distance, number) in (1..line).rev().enumerate() {
            let text = start(number);
            let Some(above) = Line::of(0, text) else { continue };
            let is_around = above.indent < indent;
            if (is_around || (continues && above.is_open())) && names_secret(text) {
                return true;
            }
            indent = indent.min(above.indent);
            continues &= above.field().is_none();
            if text.starts_with("---") || (!continues && indent == 0) {
                return false;
            }
            if distance >= if continues { VALUE_LINES } else { SECTION_LINES } {
                return true;
            }
        }
        false
    }

    fn excerpt(&self, span: Span) -> Option<(String, u32)> {
        let text = self.line(span.line).chars().take(EXCERPT_CHARS).collect::<String>();
        if text.trim().is_empty() || self.may_be_secret(span.line) {
            return None;
        }
        let room = (text.trim_end().chars().count() as u32 + 1).saturating_sub(span.column);
        Some((text, span.len.clamp(1, room.max(1))))
    }

    /// Whether further problems are only counted, so that their messages need not be written.
    pub(super) fn is_full(&self) -> bool {
        self.problems.borrow().kept.len() >= KEPT
    }

    /// Records that parsers read a value differently.
    pub(super) fn report_ambiguous(&self, span: Span, hint: &str) {
        self.report(span, AMBIGUOUS, hint);
    }

    /// Removes what [`File::report_ambiguous`] recorded for values with another problem, which says more.
    pub(super) fn settle_ambiguous(&self) {
        let mut problems = self.problems.borrow_mut();
        let FileProblems { kept, total } = &mut *problems;
        let is_ambiguous = |problem: &Problem| problem.message == AMBIGUOUS;
        if !kept.iter().any(is_ambiguous) {
            return;
        }
        let others: HashSet<_> = kept.iter().filter(|problem| !is_ambiguous(problem)).map(line_and_column).collect();
        let before = kept.len();
        kept.retain(|problem| !is_ambiguous(problem) || !others.contains(&line_and_column(problem)));
        *total -= before - kept.len();
    }

    /// Records a problem without its line.
    pub(super) fn report_hidden(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(span, message.into(), hint.into(), None);
    }

    fn push(&self, span: Span, message: String, hint: String, excerpt: Option<(String, u32)>) {
        // The parser places the end of a document after the last line.
        let last = self.lines.len() as u32;
        let width = || (self.line(last).chars().count() as u32).max(1);
        let span = if span.line > last { Span { line: last, column: width(), len: 1 } } else { span };
        let mut problems = self.problems.borrow_mut();
        problems.total += 1;
        if problems.kept.len() < KEPT {
            let hint = (!hint.is_empty()).then_some(hint);
            problems.kept.push(Problem { place: self.place(span), message, hint, excerpt });
        }
    }

    /// Returns the number of problems so far. Reading succeeded if it added none.
    pub(super) fn count(&self) -> usize {
        self.problems.borrow().total
    }

    /// Marks the current end of the problems.
    pub(super) fn mark(&self) -> ProblemMark {
        let problems = self.problems.borrow();
        ProblemMark { kept: problems.kept.len(), total: problems.total }
    }

    /// Removes the problems that were recorded after the mark, and returns the first.
    pub(super) fn remove_problems_after(&self, mark: ProblemMark) -> Option<Problem> {
        let mut problems = self.problems.borrow_mut();
        let FileProblems { kept, total } = &mut *problems;
        *total = mark.total;
        kept.drain(mark.kept.min(kept.len())..).next()
    }

    pub(super) fn place(&self, span: Span) -> SourcePlace {
        SourcePlace { file: self.name.clone(), line: span.line, column: span.column }
    }

    /// Returns the problems in order without duplicates, at most `shown`, and then the number of further ones.
    pub(super) fn problems(&self, shown: usize) -> Vec<Problem> {
        let (mut kept, total) = {
            let FileProblems { kept, total } = &*self.problems.borrow();
            (kept.clone(), *total)
        };
        let order = |a: &Problem, b: &Problem| line_and_column(a).cmp(&line_and_column(b));
        kept.sort_by(|a, b| order(a, b).then_with(|| a.message.cmp(&b.message)));
        let before = kept.len();
        kept.dedup();
        let more = (total - (before - kept.len())).saturating_sub(shown);
        kept.truncate(shown);
        if let (true, Some(last)) = (more > 0, kept.last()) {
            let message = format!("{more} more problem{} in this file", if more == 1 { " is" } else { "s are" });
            let hint = Some("fix the problems above first".to_owned());
            kept.push(Problem { place: last.place.clone(), message, hint, excerpt: None });
        }
        kept
    }
}

/// Whether a text contains a key of CephX: 28 bytes in base64, of which the first are its type.
pub(super) fn has_cephx_key(text: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let is_key = |word: &str| word.len() == 40 && word.starts_with("AQ") && word.ends_with("==");
    text.split(|c| !is_base64(c)).any(is_key)
}

/// Whether a line names a secret, or a field that may contain one.
pub(super) fn names_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    SECRET_WORDS.iter().any(|word| lower.contains(word)) || words.any(is_secret) || has_cephx_key(text)
}

fn line_and_column(problem: &Problem) -> (u32, u32) {
    (problem.place.line, problem.place.column)
}

/// Whether a line is one of a merge conflict. No line of a valid manifest begins like one.
pub(super) fn is_of_merge_conflict(line: &str) -> bool {
    let Some((mark, rest)) = line.split_at_checked(7) else { return false };
    let ends = rest.is_empty() || rest.starts_with(['\n', '\r']);
    matches!(mark, "<<<<<<<" | "|||||||" | "=======" | ">>>>>>>")
        && (ends || (mark != "=======" && rest.starts_with(' ')))
}

/// Whether a character is a blank other than a space.
fn is_wide_blank(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// What a line contains before a character. Kept from character to character, so that long lines are gone through once.
#[derive(Clone, Copy, Default)]
struct LineStart {
    has_text: bool,
    has_hash: bool,
    ends_with_colon: bool,
}

impl LineStart {
    /// Returns what the line contains with one more character.
    fn and(self, c: char) -> Self {
        match c {
            '\n' => Self::default(),
            c => Self {
                has_text: self.has_text || !c.is_whitespace(),
                has_hash: self.has_hash || c == '#',
                ends_with_colon: c == ':',
            },
        }
    }

    /// Whether a blank here indents the line or follows a colon, outside of a comment.
    fn is_separated(self) -> bool {
        !self.has_hash && (!self.has_text || self.ends_with_colon)
    }
}

fn line_starts(text: &str) -> Vec<u32> {
    let ends = text.bytes().enumerate().filter(|(index, byte)| *byte == b'\n' && index + 1 < text.len());
    std::iter::once(0).chain(ends.map(|(index, _)| u32::try_from(index + 1).unwrap_or(u32::MAX))).collect()
}

/// Quotes a value for messages, truncated to 60 characters.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", clip(text, 60))
}
