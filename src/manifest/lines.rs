//! The lines of a document, for the functions that recognise typing errors in text which the parser refused.

use super::span::{Chunk, Span};

/// The fields of every document.
pub(super) const TOP: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// A typing error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typo {
    pub(super) span: Span,
    /// What is wrong, without words of the file.
    pub(super) what: &'static str,
    /// The rest of the sentence, with words of the file. Not shown beside a secret.
    pub(super) of: String,
    /// What to write, with words of the file. Not shown beside a secret.
    pub(super) fix: String,
}

/// The lines of a document, or of a part of it.
pub(super) struct SourceLines<'a> {
    pub(super) first: u32,
    pub(super) lines: Vec<&'a str>,
}

impl<'a> SourceLines<'a> {
    pub(super) fn of(chunk: Chunk<'a>) -> Self {
        Self { first: chunk.first_line, lines: chunk.text.lines().collect() }
    }

    /// Returns the place of `len` characters in a line, from a byte on.
    pub(super) fn span(&self, line: usize, byte: usize, len: usize) -> Span {
        let column = self.lines[line].get(..byte).map_or(0, |before| before.chars().count());
        Span { line: self.first + line as u32, column: column as u32 + 1, len: len as u32 }
    }

    /// Returns the next line after `line` with text in it.
    pub(super) fn next(&self, line: usize) -> Option<Line<'a>> {
        (line + 1..self.lines.len()).find_map(|index| Line::of(index, self.lines[index]))
    }

    /// Returns a line with `text` put in place of the bytes from `start` to `end`.
    pub(super) fn edited(&self, line: usize, start: usize, end: usize, text: &str) -> String {
        let (old, column) = (self.lines[line], self.span(line, start, 1).column);
        match write(&format!("{}{text}{}", &old[..start], &old[end..])) {
            fix if !fix.is_empty() => fix,
            // Of a long line only what changes.
            _ => match (&old[start..end], text.trim()) {
                ("", text) => format!("insert `{text}` at column {column}"),
                (old, "") if old.chars().count() <= 20 => format!("remove `{old}` at column {column}"),
                (_, text) if text.chars().count() <= 80 => format!("write `{text}` at column {column}"),
                _ => String::new(),
            },
        }
    }
}

/// Formats the fix that writes a line. A long line is not repeated.
pub(super) fn write(line: &str) -> String {
    match line.trim() {
        line if line.chars().count() <= 100 => format!("write `{line}`"),
        _ => String::new(),
    }
}

/// A line with text.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// In the document, from 0.
    pub(super) index: usize,
    /// Number of blanks before the text.
    pub(super) indent: usize,
    /// The text, without a comment.
    pub(super) text: &'a str,
}

impl<'a> Line<'a> {
    /// Returns `None` for a blank line or a comment.
    pub(super) fn of(index: usize, line: &'a str) -> Option<Self> {
        let text = line.trim_start();
        let without_comment = match text.starts_with('#') {
            true => "",
            false => text.find(" #").map_or(text, |comment| &text[..comment]).trim_end(),
        };
        (!without_comment.is_empty()).then_some(Self { index, indent: line.len() - text.len(), text: without_comment })
    }

    /// Returns the key of the line and the byte in the line at which its value begins (or the line ends).
    pub(super) fn field(&self) -> Option<(&'a str, usize)> {
        let text = self.text;
        let from = match text.chars().next()? {
            quote @ ('"' | '\'') => text[1..].find(quote)? + 2,
            '{' | '[' => return None,
            _ => 0,
        };
        let colon = text[from..].match_indices(':').map(|(at, _)| at + from);
        // `spec {size: 1Gi}` is a field without its colon.
        let brackets = text.find(['{', '[']).filter(|_| from == 0).unwrap_or(text.len());
        let is_key = |at: &usize| *at < brackets;
        let mut ends =
            colon.filter(is_key).filter(|at| text[at + 1..].is_empty() || text[at + 1..].starts_with([' ', '\t']));
        let colon = ends.next()?;
        let value = text[colon + 1..].trim_start();
        Some((&text[..colon], self.indent + text.len() - value.len()))
    }

    /// Whether the value of the line goes on below it: after a colon, `|`, `>`, an opening quote or bracket.
    pub(super) fn is_open(&self) -> bool {
        let value = self.field().map_or("", |(_, start)| &self.text[start - self.indent..]);
        let ends = |last: char| value.len() > 1 && value.ends_with(last);
        match value.chars().next() {
            None => self.text.ends_with(':'),
            Some('|' | '>') => true,
            Some(quote @ ('"' | '\'')) => !ends(quote),
            Some('{') => !ends('}'),
            Some('[') => !ends(']'),
            Some(_) => false,
        }
    }

    /// Whether the line is an item of a list.
    pub(super) fn is_item(&self) -> bool {
        self.text.starts_with("- ") || self.text == "-"
    }

    /// Whether the line begins with a word and a colon, or with a dash.
    pub(super) fn is_field(&self) -> bool {
        self.is_item() || self.field().is_some_and(|(key, _)| is_word(key.trim_matches(['"', '\''])))
    }
}

/// Whether a text has the form of the name of a field.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}
