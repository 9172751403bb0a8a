//! Places in the text of a file.

/// A range within a file. Lines and columns count from 1; columns and `len` are in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) len: u32,
}

impl Span {
    pub(super) const START: Span = Span { line: 1, column: 1, len: 0 };
}

/// The part of a file with one document. A line that begins with `---` and a blank starts a document even inside a scalar, so files can
/// be split before they are parsed, and a syntax error affects one document only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// Number of its first line.
    pub(super) first_line: u32,
    pub(super) text: &'a str,
}

impl Chunk<'_> {
    /// Returns the place, or the last character of the document if the place is after its end.
    pub(super) fn within(&self, span: Span) -> Span {
        let text = self.text.trim_end();
        let last = self.first_line + text.matches('\n').count() as u32;
        if span.line <= last {
            return span;
        }
        let column = text.rsplit('\n').next().map_or(0, |line| line.chars().count());
        Span { line: last, column: (column as u32).max(1), len: 1 }
    }
}
